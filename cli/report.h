/* The page that `mitral report` writes. */
#ifndef MITRAL_CLI_REPORT_H
#define MITRAL_CLI_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include <cjson/cJSON.h>

enum { REPORT_TERMS = 10, REPORT_CLASSES = 32 };

/* A curve: x ascending; y NaN where there is none. */
struct series {
    char name[64];
    double *x, *y;
    size_t count;
};

struct chart {
    const char *title, *x_label, *y_label;
    const struct series *series;
    size_t count;
    bool smooth;    /* a running mean is drawn over the faint values */
    bool markers;   /* each value is a point with its number */
    bool from_zero; /* the axis begins at 0 */
    double mark;    /* an x to be marked; NaN: none */
    const char *mark_label;
};

/* What a run's folder holds; what is absent is NULL or empty. */
struct report {
    const char *folder;
    cJSON *configuration, *result, *evaluation;
    struct series loss[REPORT_TERMS], dice[REPORT_CLASSES], rate, norm;
    size_t loss_count, dice_count;
    double seconds; /* of all logged steps */
    size_t unread;  /* lines of the log that are none of a run's */
    char *pictures[3];
    size_t picture_sizes[3];
};

void chart_write(FILE *out, const struct chart *chart);
void report_page(FILE *out, const struct report *report);
/* As text of a page. */
void report_escape(FILE *out, const char *text);

#endif
