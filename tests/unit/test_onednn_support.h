/* Calls kernels directly, the way the executor does, for the tests of the oneDNN kernels. */
#ifndef MITRAL_TEST_ONEDNN_SUPPORT_H
#define MITRAL_TEST_ONEDNN_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/kernel.h"

enum { BENCH_VALUES = 12 };

/* One kernel call under construction. Everything lives in `arena`. */
struct bench {
    mitral_context *context;
    struct arena arena;
    struct attributes attributes;
    mitral_value inputs[BENCH_VALUES], outputs[BENCH_VALUES];
    const mitral_value *input_list[BENCH_VALUES];
    mitral_value *output_list[BENCH_VALUES];
    size_t input_count, output_count;
    int opset, threads;
    char description[256]; /* of the last run */
    size_t scratch_bytes;
    mitral_tensor packed;  /* input 1 as the last run packed it; data NULL: not */
};

void bench_open(struct bench *bench);
void bench_close(struct bench *bench);
/* Uniform in [-1, 1), the same for the same seed; integers in [-8, 8). NULL dims: the input is left out. */
mitral_tensor *bench_input(struct bench *bench, int32_t dtype, int32_t rank, const int64_t *dims, uint32_t seed);
mitral_tensor *bench_absent(struct bench *bench);
void bench_int(struct bench *bench, const char *name, int64_t value);
void bench_float(struct bench *bench, const char *name, float value);
void bench_text(struct bench *bench, const char *name, const char *value);
void bench_ints(struct bench *bench, const char *name, size_t count, const int64_t *values);
/* Shape, prepare, run. The outputs' layout and dtype are as preset in bench->outputs[i].tensor; count of outputs: at least 1.
 * `known`: the inputs' data are there in prepare. The result of a failed step is returned. */
mitral_status bench_run(struct bench *bench, const char *kernel, bool known);
/* A copy in the other layout, in the bench's arena. */
mitral_tensor bench_relayout(struct bench *bench, const mitral_tensor *tensor, int layout);
/* Largest |a − b| / (1 + |b|) over the elements, whatever the layouts. */
double bench_distance(struct bench *bench, const mitral_tensor *a, const mitral_tensor *b);

#endif
