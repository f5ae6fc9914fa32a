/* Softmax, LogSoftmax, Hardmax. */
#include "runtime/kernels/reference/softmax.h"

#include <math.h>

#include "runtime/cpu.h"
#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/shapes.h"
#include "runtime/kernels/reference/vector_math.h"

#undef EXP /* here of one type at a time */

enum { SOFTMAX_COLUMNS = 128 };

#define REAL float
#define EXP expf
#define NAME(x) x##_float
#include "runtime/kernels/reference/softmax_body.h"
#undef REAL
#undef EXP
#undef NAME
#define REAL double
#define EXP exp
#define NAME(x) x##_double
#include "runtime/kernels/reference/softmax_body.h"
#undef REAL
#undef EXP
#undef NAME

/* float16 and bfloat16: every step's result is rounded to the type, as the operators of the standard's definition
 * would. */
static void softmax_narrow(enum softmax_kind kind, int32_t dtype, int64_t outer, int64_t axis, int64_t inner,
                           int threads, const float *x, float *y)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < outer * inner; index++) {
        const float *from = x + index / inner * axis * inner + index % inner;
        float *to = y + index / inner * axis * inner + index % inner, most = axis ? from[0] : 0;
        for (int64_t i = 1; i < axis; i++)
            most = from[i * inner] > most ? from[i * inner] : most;
        for (int64_t i = 0; i < axis; i++) {
            float shifted = from[i * inner] - most;
            operand_round(dtype, &shifted, 1);
            to[i * inner] = expf(shifted);
            operand_round(dtype, &to[i * inner], 1);
        }
        const float sum = (float)operand_sum(dtype, to, axis, inner);
        float logarithm = logf(sum);
        operand_round(dtype, &logarithm, 1);
        for (int64_t i = 0; i < axis; i++) {
            float shifted = from[i * inner] - most;
            operand_round(dtype, &shifted, 1);
            to[i * inner] = kind == SOFTMAX_LOG ? shifted - logarithm : to[i * inner] / sum;
        }
    }
}

enum { PARTS = 8, WIDE_PARTS = 16 };

static inline __attribute__((always_inline)) float sum_in_parts(int64_t axis, const float *y, const int parts)
{
    const int64_t whole = axis - axis % parts;
    float sums[WIDE_PARTS] = {0};
    for (int64_t i = 0; i < whole; i += parts)
        for (int j = 0; j < parts; j++)
            sums[j] += y[i + j];
    for (int64_t i = whole; i < axis; i++)
        sums[i - whole] += y[i];
    for (int j = 0; j < PARTS && parts == WIDE_PARTS; j++)
        sums[j] += sums[PARTS + j];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/* By ONNX Runtime's sequence of operations on this CPU: sums in eight parts, with AVX-512 in sixteen. y may be x. */
VECTORISED_FUSED static void softmax_row(int64_t axis, const float *x, float *y, bool wide)
{
    const int64_t whole = axis - axis % PARTS;
    float mosts[PARTS], most = x[0];
    for (int j = 0; j < PARTS; j++)
        mosts[j] = x[0];
    for (int64_t i = 0; i < whole; i += PARTS)
        for (int j = 0; j < PARTS; j++)
            mosts[j] = x[i + j] > mosts[j] ? x[i + j] : mosts[j];
    for (int64_t i = 0; i < PARTS + axis - whole; i++) {
        const float value = i < PARTS ? mosts[i] : x[whole + i - PARTS];
        most = value > most ? value : most;
    }
    for (int64_t i = 0; i < axis; i++)
        y[i] = runtime_exp(x[i] - most);
    const float scale = 1.0f / (wide ? sum_in_parts(axis, y, WIDE_PARTS) : sum_in_parts(axis, y, PARTS));
    for (int64_t i = 0; i < axis; i++)
        y[i] *= scale;
}

static void softmax_rows(int64_t rows, int64_t axis, int threads, const float *x, float *y)
{
    const bool wide = cpu_isa_supported() >= ISA_AVX512; /* it does not follow MITRAL_ISA */
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        if (axis)
            softmax_row(axis, x + row * axis, y + row * axis, wide);
}

mitral_status call_softmax_sizes(const struct kernel_call *call, int64_t *outer, int64_t *axis, int64_t *inner)
{
    const mitral_tensor *x = call_input(call, 0);
    const bool flat = call->opset < 13;
    int64_t at;
    *outer = *axis = *inner = 1;
    if (x->rank == 0 && !flat)
        return MITRAL_OK;
    TRY(call_axis(call, attribute_int(call->attributes, "axis", flat ? 1 : -1), x->rank + (flat && x->rank == 1), &at));
    for (int32_t i = 0; i < x->rank; i++)
        *(i < at ? outer : flat || i == at ? axis : inner) *= x->dims[i];
    return MITRAL_OK;
}

mitral_status shape_softmax(struct kernel_call *call)
{
    enum compute compute;
    int64_t outer, axis, inner;
    TRY(check_float_operand(call, 0, &compute));
    TRY(call_softmax_sizes(call, &outer, &axis, &inner));
    call_set_output(call, 0, call_input(call, 0)->dtype, call_input(call, 0)->rank, call_input(call, 0)->dims);
    return MITRAL_OK;
}

static void place(const struct kernel_call *call, struct work *work, enum compute compute, const void **x, void **y)
{
    *x = work_operand(work, compute, call_input(call, 0));
    *y = work_result(work, compute, call_output(call, 0));
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    const void *x;
    void *y;
    place(call, &work, compute_of(call_input(call, 0)->dtype), &x, &y);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run(struct kernel_call *call, enum softmax_kind kind)
{
    int64_t outer, axis, inner;
    TRY(call_softmax_sizes(call, &outer, &axis, &inner));
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    const void *x;
    void *y;
    place(call, &work, compute, &x, &y);
    if (!y)
        return MITRAL_OK;
    const int32_t dtype = call_input(call, 0)->dtype;
    if (kind != SOFTMAX_HARD && (dtype == MITRAL_FLOAT16 || dtype == MITRAL_BFLOAT16))
        softmax_narrow(kind, dtype, outer, axis, inner, call->threads, x, y);
    else if (dtype == MITRAL_FLOAT && inner == 1 && attribute_int(call->attributes, "runtime_bits", 0))
        softmax_rows(outer, axis, call->threads, x, y);
    else if (compute == COMPUTE_FLOAT)
        softmax_float(kind, outer, axis, inner, call->threads, x, y);
    else
        softmax_double(kind, outer, axis, inner, call->threads, x, y);
    work_store(compute, call_output(call, 0), y);
    return MITRAL_OK;
}

static mitral_status run_plain(struct kernel_call *call)
{
    return run(call, SOFTMAX_PLAIN);
}

static mitral_status run_log(struct kernel_call *call)
{
    return run(call, SOFTMAX_LOG);
}

static mitral_status run_hard(struct kernel_call *call)
{
    return run(call, SOFTMAX_HARD);
}

const struct kernel reference_softmax[] = {
    {.name = "Hardmax", .flags = KERNEL_IN_PLACE, .shape = shape_softmax, .prepare = prepare, .run = run_hard},
    {.name = "LogSoftmax", .flags = KERNEL_IN_PLACE, .shape = shape_softmax, .prepare = prepare, .run = run_log},
    {.name = "Softmax", .flags = KERNEL_IN_PLACE, .shape = shape_softmax, .prepare = prepare, .run = run_plain},
};
const size_t reference_softmax_count = sizeof(reference_softmax) / sizeof(*reference_softmax);
