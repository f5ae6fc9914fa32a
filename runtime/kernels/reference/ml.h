/* What the kernels of domain ai.onnx.ml share: rows of features, labels, transforms of scores. */
#ifndef MITRAL_RUNTIME_KERNELS_REFERENCE_ML_H
#define MITRAL_RUNTIME_KERNELS_REFERENCE_ML_H

#include "runtime/kernel.h"

enum post_transform { TRANSFORM_NONE, TRANSFORM_SOFTMAX, TRANSFORM_LOGISTIC, TRANSFORM_SOFTMAX_ZERO, TRANSFORM_PROBIT };

struct ml_rows {
    int64_t count, features; /* a vector is one row */
};

/* The labels of a classifier: strings, or ints, or none. */
struct ml_labels {
    const int64_t *ints;
    const mitral_string *strings;
    size_t count;
};

bool ml_is_number(int32_t dtype); /* float32, float64, int32, int64 */
/* [N, C], or [C]; numbers. */
mitral_status ml_rows(const struct kernel_call *call, struct ml_rows *out);
void ml_load_row(const mitral_tensor *x, int64_t row, int64_t features, double *to);
mitral_status ml_post_transform(const struct kernel_call *call, enum post_transform *out);
void ml_transform(enum post_transform transform, double *scores, size_t count);
/* The transform, and for a single score s the second column: `second` 0 or 1: 1 - s beside s; 2 or 3: -s beside s; both
 * logistic(-s) beside logistic(s) where that is the transform; -1: none. `scores` has room for two. Returns the number
 * of columns. */
size_t ml_write_scores(enum post_transform transform, double *scores, size_t count, int second);
/* Attributes `ints` and `strings`: one of the two. */
mitral_status ml_labels(const struct kernel_call *call, const char *ints, const char *strings, struct ml_labels *out);
/* Sets output 0 to [rows] labels and output 1 to [rows, columns] scores. */
void ml_set_classifier_outputs(struct kernel_call *call, const struct ml_labels *labels, int64_t rows, int64_t columns);
/* Label number `index`, or `index` itself where there are no labels. */
void ml_put_label(mitral_tensor *output, int64_t at, const struct ml_labels *labels, int64_t index);
/* Floats of a list attribute, or of a tensor attribute in its place (NULL: there is no such form); memory from
 * `arena`. */
mitral_status ml_floats(const struct kernel_call *call, struct arena *arena, const char *list, const char *tensor,
                        const double **values, size_t *count);
bool ml_same_string(mitral_string a, mitral_string b);

#endif
