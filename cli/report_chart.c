/* Curves as SVG that takes its colours from the page. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report.h"

enum { WIDTH = 760, HEIGHT = 300, LEFT = 72, RIGHT = 16, TOP = 16, BOTTOM = 46, MAX_POINTS = 400, COLOURS = 8 };

struct axis {
    double low, high, step;
    int decimals;
};

/* Ticks at 1, 2 or 5 times a power of ten, about `wanted` of them. */
static struct axis make_axis(double low, double high, int wanted)
{
    struct axis axis;
    if (!(high > low)) {
        const double margin = low == 0 ? 1 : 0.1 * fabs(low);
        low -= margin;
        high += margin;
    }
    const double raw = (high - low) / wanted, power = pow(10, floor(log10(raw)));
    axis.step = power * (raw / power <= 1 ? 1 : raw / power <= 2 ? 2 : raw / power <= 5 ? 5 : 10);
    axis.low = floor(low / axis.step + 1e-9) * axis.step;
    axis.high = ceil(high / axis.step - 1e-9) * axis.step;
    const int decimals = -(int)floor(log10(axis.step) + 1e-9);
    axis.decimals = decimals > 0 ? decimals : 0;
    return axis;
}

static double place_x(const struct axis *axis, double x)
{
    return LEFT + (x - axis->low) / (axis->high - axis->low) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const struct axis *axis, double y)
{
    return HEIGHT - BOTTOM - (y - axis->low) / (axis->high - axis->low) * (HEIGHT - TOP - BOTTOM);
}

static void find_range(const struct chart *chart, double *x, double *y)
{
    x[0] = y[0] = INFINITY;
    x[1] = y[1] = -INFINITY;
    for (size_t s = 0; s < chart->count; s++)
        for (size_t i = 0; i < chart->series[s].count; i++) {
            const struct series *series = &chart->series[s];
            if (!isfinite(series->y[i]))
                continue;
            x[0] = fmin(x[0], series->x[i]);
            x[1] = fmax(x[1], series->x[i]);
            y[0] = fmin(y[0], series->y[i]);
            y[1] = fmax(y[1], series->y[i]);
        }
    if (chart->from_zero && y[0] > 0)
        y[0] = 0;
}

static void write_number(FILE *out, const struct axis *axis, double number)
{
    if (fabs(number) < axis->step * 1e-6)
        fputs("0", out);
    else if (axis->decimals > 4 || fabs(number) >= 1e7)
        fprintf(out, "%.3g", number);
    else
        fprintf(out, "%.*f", axis->decimals, number);
}

static void write_axes(FILE *out, const struct chart *chart, const struct axis *x, const struct axis *y)
{
    for (double tick = y->low; tick <= y->high + y->step / 2; tick += y->step) {
        const double at = place_y(y, tick);
        fprintf(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, WIDTH - RIGHT, at, at);
        fprintf(out, "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT - 8, at + 4);
        write_number(out, y, tick);
        fputs("</text>\n", out);
    }
    for (double tick = x->low; tick <= x->high + x->step / 2; tick += x->step) {
        const double at = place_x(x, tick);
        fprintf(out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", at, at, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4);
        fprintf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", at, HEIGHT - BOTTOM + 17);
        write_number(out, x, tick);
        fputs("</text>\n", out);
    }
    fprintf(out, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>", LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM);
    fprintf(out, "<text class=\"label\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, chart->x_label);
    fprintf(out, "<text class=\"label\" transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", (TOP + HEIGHT - BOTTOM) / 2,
            chart->y_label);
}

/* Means of equal stretches, so that a long run draws no more than a few hundred points; NaNs are left out. */
static size_t thin(const struct series *series, double *x, double *y)
{
    const size_t parts = series->count < MAX_POINTS ? series->count : MAX_POINTS;
    size_t made = 0;
    for (size_t p = 0; p < parts; p++) {
        double sum_x = 0, sum_y = 0;
        size_t found = 0;
        for (size_t i = p * series->count / parts; i < (p + 1) * series->count / parts; i++)
            if (isfinite(series->y[i])) {
                sum_x += series->x[i];
                sum_y += series->y[i];
                found++;
            }
        if (found) {
            x[made] = sum_x / (double)found;
            y[made++] = sum_y / (double)found;
        }
    }
    return made;
}

static void write_curve(FILE *out, const double *x, const double *y, size_t count, const struct axis *x_axis, const struct axis *y_axis,
                        size_t colour, const char *kind)
{
    fprintf(out, "<polyline class=\"%s c%zu\" points=\"", kind, colour % COLOURS);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%.1f,%.1f ", place_x(x_axis, x[i]), place_y(y_axis, y[i]));
    fputs("\"/>\n", out);
}

static void write_series(FILE *out, const struct chart *chart, size_t index, const struct axis *x_axis, const struct axis *y_axis)
{
    const struct series *series = &chart->series[index];
    double x[MAX_POINTS], y[MAX_POINTS], mean[MAX_POINTS];
    const size_t count = thin(series, x, y), window = count / 25;
    const bool smooth = chart->smooth && window >= 2;
    write_curve(out, x, y, count, x_axis, y_axis, index, smooth ? "faint" : "curve");
    if (smooth) {
        for (size_t i = 0; i < count; i++) {
            const size_t first = i > window ? i - window : 0, last = i + window < count ? i + window : count - 1;
            double sum = 0;
            for (size_t k = first; k <= last; k++)
                sum += y[k];
            mean[i] = sum / (double)(last - first + 1);
        }
        write_curve(out, x, mean, count, x_axis, y_axis, index, "curve");
    }
    for (size_t i = 0; i < count && chart->markers; i++)
        fprintf(out, "<circle class=\"point c%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>%s: %.4g at step %.0f</title></circle>\n", index % COLOURS,
                place_x(x_axis, x[i]), place_y(y_axis, y[i]), series->name, y[i], x[i]);
}

static void write_legend(FILE *out, const struct chart *chart)
{
    if (chart->count < 2)
        return;
    fputs("<p class=\"legend\">", out);
    for (size_t s = 0; s < chart->count; s++) {
        fprintf(out, "<span><i class=\"b%zu\"></i>", s % COLOURS);
        report_escape(out, chart->series[s].name);
        fputs("</span> ", out);
    }
    fputs("</p>\n", out);
}

void chart_write(FILE *out, const struct chart *chart)
{
    double x[2], y[2];
    find_range(chart, x, y);
    fputs("<figure>\n", out);
    fprintf(out, "<figcaption>%s</figcaption>\n", chart->title);
    if (!(x[1] >= x[0])) {
        fputs("<p class=\"none\">The log has no such values.</p></figure>\n", out);
        return;
    }
    struct axis x_axis = make_axis(x[0], x[1], 8);
    const struct axis y_axis = make_axis(y[0], y[1], 5);
    x_axis.low = x[0] <= x_axis.step ? 0 : x_axis.low;
    write_legend(out, chart);
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT, chart->title);
    write_axes(out, chart, &x_axis, &y_axis);
    if (isfinite(chart->mark)) {
        const double at = place_x(&x_axis, chart->mark);
        const bool left = at > (LEFT + WIDTH) / 2.0;
        fprintf(out, "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", at, at, TOP, HEIGHT - BOTTOM);
        fprintf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%s</text>\n", at + (left ? -6 : 6), HEIGHT - BOTTOM - 8,
                left ? "end" : "start", chart->mark_label);
    }
    for (size_t s = 0; s < chart->count; s++)
        write_series(out, chart, s, &x_axis, &y_axis);
    fputs("</svg>\n</figure>\n", out);
}
