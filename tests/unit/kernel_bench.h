/* A kernel called by hand, the way the executor does: shape, prepare, run. */
#ifndef MITRAL_TESTS_KERNEL_BENCH_H
#define MITRAL_TESTS_KERNEL_BENCH_H

#include "support.h"

#include "runtime/kernel.h"

enum { BENCH_INPUTS = 12, BENCH_OUTPUTS = 6 };

struct bench {
    mitral_context *context;
    struct arena arena;
    struct attributes attributes;
    const struct kernel *kernel;
    struct kernel_call call;
    mitral_value inputs[BENCH_INPUTS], outputs[BENCH_OUTPUTS];
    const mitral_value *input_list[BENCH_INPUTS];
    mitral_value *output_list[BENCH_OUTPUTS];
};

/* One output and no inputs to begin with; `context` NULL: its own. */
void bench_open(struct bench *bench, const char *kernel, int opset);
void bench_close(struct bench *bench);
/* Appends an input tensor whose elements are borrowed; `data` NULL: not known. Returns it. */
mitral_tensor *bench_input(struct bench *bench, int32_t dtype, int32_t rank, const int64_t *dims, const void *data);
void bench_absent(struct bench *bench); /* appends an input that is left out */
void bench_int(struct bench *bench, const char *name, int64_t value);
void bench_float(struct bench *bench, const char *name, float value);
void bench_text(struct bench *bench, const char *name, const char *value);
void bench_ints(struct bench *bench, const char *name, const int64_t *values, size_t count);
void bench_floats(struct bench *bench, const char *name, const float *values, size_t count);
mitral_status bench_shape(struct bench *bench);
/* All three; outputs in the bench's arena. */
mitral_status bench_run(struct bench *bench);
/* The shape function, and where that succeeds the rest, refuses with this status and a message. */
void bench_refuses(struct bench *bench, mitral_status status);
void bench_expect_floats(const struct bench *bench, size_t output, const float *want, size_t count, double tolerance);

#define DIMS(...) (const int64_t[]){__VA_ARGS__}

#endif
