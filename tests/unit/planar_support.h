/* Calls planar kernels directly, the way the executor does, and times them. */
#ifndef MITRAL_TEST_PLANAR_SUPPORT_H
#define MITRAL_TEST_PLANAR_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "runtime/kernel.h"

enum { RIG_INPUTS = 96 };

/* One kernel call under construction. Everything lives in `arena`. */
struct rig {
    mitral_context *context;
    struct arena arena;
    struct attributes attributes;
    mitral_value inputs[RIG_INPUTS], output;
    const mitral_value *input_list[RIG_INPUTS];
    size_t input_count;
    int threads;
    uint32_t random;
    char description[256];    /* of the last run */
    double milliseconds;      /* the fastest of `repeat` runs of the last call, processor time of the calling thread */
    int repeat;
    mitral_tensor packed[RIG_INPUTS]; /* of the last run */
};

extern bool rig_bench; /* --bench was given */
/* Winograd's F(4, 3) in both directions loses up to two more bits than the direct sum, which itself is about 1e-6 of the range off in what
 * these tests compute. */
extern const double rig_exact_tolerance;

void rig_open(struct rig *rig, uint32_t seed);
void rig_close(struct rig *rig);
/* Uniform in [low, high). */
mitral_tensor *rig_input(struct rig *rig, int32_t rank, const int64_t *dims, double low, double high);
void rig_absent(struct rig *rig);
void rig_int(struct rig *rig, const char *name, int64_t value);
void rig_text(struct rig *rig, const char *name, const char *value);
void rig_ints(struct rig *rig, const char *name, const int64_t *values, size_t count);
/* Shape, prepare, run. The output's layout is as preset in rig->output.tensor. Its data are new each time. */
mitral_status rig_run(struct rig *rig, const char *kernel);
void rig_must_run(struct rig *rig, const char *kernel); /* or the test fails */
/* The same from an output without a layout. */
mitral_tensor rig_check_run(struct rig *rig, const char *kernel);
/* The kernel is near `expected`, and gives the same bits for any number of threads; `form` is said where it is not. */
void rig_check_kernel(struct rig *rig, const char *kernel, const mitral_tensor *expected, int form, double limit);
/* Element by element. */
void rig_add(mitral_tensor *to, const mitral_tensor *addend);
/* A copy in the other layout, in the rig's arena. */
mitral_tensor rig_relayout(struct rig *rig, const mitral_tensor *tensor, int layout);
/* A copy as float32 or bfloat16, in the rig's arena. */
mitral_tensor rig_recast(struct rig *rig, const mitral_tensor *tensor, int32_t dtype);
/* Largest |a − b|, divided by the largest |b|, whatever the layouts; infinite when the shapes or NaNs differ. */
double rig_distance(const mitral_tensor *a, const mitral_tensor *b);
float *rig_floats(struct rig *rig, size_t count, double low, double high);
double rig_now(void);

#endif
