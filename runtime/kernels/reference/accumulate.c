/* ArgMax, ArgMin, CumSum, CumProd; the axes of reductions. */
#include "runtime/kernels/reference/axes.h"
#include "runtime/kernels/reference/convert.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/vector_math.h"

enum { BLOCK = 256, PARALLEL_COUNT = 32768 };

mitral_status reduced_axes(struct kernel_call *call, int input_since, bool reduced[MITRAL_MAX_RANK])
{
    const mitral_tensor *input = call_input(call, 0);
    const int64_t *axes;
    size_t count;
    if (call->opset >= input_since)
        TRY(call_int_values(call, 1, &axes, &count));
    else
        axes = attribute_ints(call->attributes, "axes", &count);
    bool all = count == 0 && (call->opset < input_since || !attribute_int(call->attributes, "noop_with_empty_axes", 0));
    for (int32_t i = 0; i < MITRAL_MAX_RANK; i++)
        reduced[i] = all;
    for (size_t i = 0; i < count; i++) {
        int64_t axis;
        TRY(call_axis(call, axes[i], input->rank, &axis));
        reduced[axis] = true;
    }
    return MITRAL_OK;
}

static bool is_number(int32_t dtype)
{
    return dtype_is_real(dtype) || (dtype_is_integer(dtype) && dtype_bits(dtype) >= 8);
}

/* The tensor as outer × length × inner around the axis. */
struct lines {
    int64_t outer, length, inner;
};

static struct lines lines_of(const mitral_tensor *tensor, int64_t axis)
{
    struct lines lines = {1, 1, 1};
    for (int32_t i = 0; i < tensor->rank; i++)
        *(i < axis ? &lines.outer : i > axis ? &lines.inner : &lines.length) *= tensor->dims[i];
    return lines;
}

/* ---- ArgMax, ArgMin ---------------------------------------------------------------------------------------------- */

static mitral_status arg_shape(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    int64_t axis, dims[MITRAL_MAX_RANK];
    if (!input)
        return call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    if (!is_number(input->dtype))
        return fail_type(call, 0, input);
    /* A scalar has one element, at index 0. */
    if (input->rank == 0) {
        call_set_output(call, 0, MITRAL_INT64, 0, NULL);
        return MITRAL_OK;
    }
    TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), input->rank, &axis));
    bool keep = attribute_int(call->attributes, "keepdims", 1) != 0;
    int32_t rank = 0;
    for (int32_t i = 0; i < input->rank; i++)
        if (i != axis || keep)
            dims[rank++] = i == axis ? 1 : input->dims[i];
    call_set_output(call, 0, MITRAL_INT64, rank, dims);
    if (input->dims[axis] == 0 && tensor_count(input) == 0) {
        for (int32_t i = 0; i < input->rank; i++)
            if (i != axis && input->dims[i] == 0)
                return MITRAL_OK; /* no outputs at all */
        return call_fail(call, MITRAL_INVALID, "at least one element along axis %lld expected, found none",
                         (long long)axis);
    }
    return MITRAL_OK;
}

/* Whether a candidate takes the place of the best so far: NaN wins, the first one. */
#define TAKES(candidate, best)                                                                                         \
    ((best) == (best)                                                                                                  \
     && ((candidate) != (candidate) || (largest ? (candidate) > (best) : (candidate) < (best))                         \
         || (last && (candidate) == (best))))

/* `count` neighbouring lines at a time; INDEX is as wide as T, for the vectoriser. */
#define ARG_BLOCK(name, T, DTYPE, INDEX)                                                                               \
    static inline void name##_step(T *best, INDEX *at, const T *row, INDEX k, size_t count, bool largest, bool last)   \
    {                                                                                                                  \
        for (size_t i = 0; i < count; i++) {                                                                           \
            bool takes = TAKES(row[i], best[i]);                                                                       \
            best[i] = takes ? row[i] : best[i];                                                                        \
            at[i] = takes ? k : at[i];                                                                                 \
        }                                                                                                              \
    }                                                                                                                  \
    VECTORISED static void name##_largest(T *best, INDEX *at, const T *row, INDEX k, size_t count)                     \
    {                                                                                                                  \
        name##_step(best, at, row, k, count, true, false);                                                             \
    }                                                                                                                  \
    VECTORISED static void name##_smallest(T *best, INDEX *at, const T *row, INDEX k, size_t count)                    \
    {                                                                                                                  \
        name##_step(best, at, row, k, count, false, false);                                                            \
    }                                                                                                                  \
    static void name(const mitral_tensor *input, int64_t offset, const struct lines *lines, size_t count, bool largest,\
                     bool last, int64_t *result)                                                                       \
    {                                                                                                                  \
        T best[BLOCK], row[BLOCK];                                                                                     \
        INDEX at[BLOCK] = {0};                                                                                         \
        size_t size = mitral_dtype_size((mitral_dtype)input->dtype);                                                   \
        const char *from = (const char *)input->data + (size_t)offset * size;                                          \
        const struct conversion conversion = {.from = input->dtype, .to = DTYPE};                                      \
        convert(&conversion, from, best, count);                                                                       \
        if (lines->inner == 1) { /* one line, in pieces */                                                             \
            for (int64_t start = 1; start < lines->length; start += BLOCK) {                                           \
                int64_t piece = lines->length - start < BLOCK ? lines->length - start : BLOCK;                         \
                convert(&conversion, from + (size_t)start * size, row, (size_t)piece);                                 \
                for (int64_t i = 0; i < piece; i++)                                                                    \
                    name##_step(best, at, row + i, (INDEX)(start + i), 1, largest, last);                              \
            }                                                                                                          \
        }                                                                                                              \
        for (int64_t k = 1; lines->inner > 1 && k < lines->length; k++) {                                              \
            convert(&conversion, from + (size_t)(k * lines->inner) * size, row, count);                                \
            if (last)                                                                                                  \
                name##_step(best, at, row, (INDEX)k, count, largest, last);                                            \
            else                                                                                                       \
                (largest ? name##_largest : name##_smallest)(best, at, row, (INDEX)k, count);                          \
        }                                                                                                              \
        for (size_t i = 0; i < count; i++)                                                                             \
            result[i] = at[i];                                                                                         \
    }
ARG_BLOCK(arg_double, double, MITRAL_DOUBLE, int64_t)
ARG_BLOCK(arg_signed, int64_t, MITRAL_INT64, int64_t)
ARG_BLOCK(arg_unsigned, uint64_t, MITRAL_UINT64, int64_t)
ARG_BLOCK(arg_float, float, MITRAL_FLOAT, int32_t)

static mitral_status arg_run(struct kernel_call *call, bool largest)
{
    const mitral_tensor *input = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    if (!output || tensor_count(output) == 0)
        return MITRAL_OK;
    int64_t axis = 0;
    if (input->rank)
        TRY(call_axis(call, attribute_int(call->attributes, "axis", 0), input->rank, &axis));
    bool last = call->opset >= 12 && attribute_int(call->attributes, "select_last_index", 0);
    struct lines lines = lines_of(input, axis);
    int64_t blocks = (lines.inner + BLOCK - 1) / BLOCK, tasks = lines.outer * blocks;
    bool is_double = input->dtype == MITRAL_DOUBLE || lines.length > INT32_MAX, is_float = dtype_is_float(input->dtype);
    bool is_signed = dtype_is_signed(input->dtype);
#pragma omp parallel for num_threads(call->threads) if (tensor_count(input) > PARALLEL_COUNT) schedule(static)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t outer = task / blocks, start = task % blocks * BLOCK;
        size_t count = (size_t)(lines.inner - start < BLOCK ? lines.inner - start : BLOCK);
        int64_t offset = outer * lines.length * lines.inner + start;
        int64_t *result = (int64_t *)output->data + outer * lines.inner + start;
        if (is_float && is_double)
            arg_double(input, offset, &lines, count, largest, last, result);
        else if (is_float)
            arg_float(input, offset, &lines, count, largest, last, result);
        else if (is_signed)
            arg_signed(input, offset, &lines, count, largest, last, result);
        else
            arg_unsigned(input, offset, &lines, count, largest, last, result);
    }
    return MITRAL_OK;
}

static mitral_status ArgMax_run(struct kernel_call *call)
{
    return arg_run(call, true);
}

static mitral_status ArgMin_run(struct kernel_call *call)
{
    return arg_run(call, false);
}

/* ---- CumSum, CumProd --------------------------------------------------------------------------------------------- */

static mitral_status cumulative_axis(struct kernel_call *call, int64_t *axis)
{
    const mitral_tensor *input = call_input(call, 0);
    const int64_t *values;
    size_t count;
    TRY(call_int_values(call, 1, &values, &count));
    if (count != 1)
        return call_fail(call, MITRAL_INVALID, "input 1: one axis expected, found %zu", count);
    return call_axis(call, values[0], input->rank, axis);
}

static mitral_status cumulative_shape(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    if (!input || !call_input(call, 1))
        return call_fail(call, MITRAL_INVALID, "2 inputs expected, one is missing");
    if (!is_number(input->dtype))
        return fail_type(call, 0, input);
    int64_t axis;
    mitral_status status = cumulative_axis(call, &axis);
    if (status != MITRAL_OK && status != MITRAL_DEFERRED)
        return status;
    call_set_output(call, 0, input->dtype, input->rank, input->dims); /* the shape does not depend on the axis */
    return MITRAL_OK;
}

/* The running values of `count` neighbouring lines, computed in T and rounded at each store; or of one line, in
 * pieces. */
#define CUMULATE(name, T, DTYPE, PLUS, TIMES)                                                                          \
    static void name##_line(const char *from, char *to, size_t size, int64_t length, const struct conversion *in,      \
                            const struct conversion *out, bool product, bool exclusive, bool reverse)                  \
    {                                                                                                                  \
        T running = (T)product, row[BLOCK];                                                                            \
        for (int64_t done = 0; done < length; done += BLOCK) {                                                         \
            int64_t piece = length - done < BLOCK ? length - done : BLOCK;                                             \
            size_t at = (size_t)(reverse ? length - done - piece : done) * size;                                       \
            convert(in, from + at, row, (size_t)piece);                                                                \
            for (int64_t k = 0; k < piece; k++) {                                                                      \
                T *element = &row[reverse ? piece - 1 - k : k], before = running;                                      \
                running = product ? TIMES(running, *element) : PLUS(running, *element);                                \
                *element = exclusive ? before : running;                                                               \
            }                                                                                                          \
            convert(out, row, to + at, (size_t)piece);                                                                 \
        }                                                                                                              \
    }                                                                                                                  \
    static void name(const mitral_tensor *input, mitral_tensor *output, int64_t offset, const struct lines *lines,     \
                     size_t count, bool product, bool exclusive, bool reverse)                                         \
    {                                                                                                                  \
        T running[BLOCK], row[BLOCK];                                                                                  \
        size_t size = mitral_dtype_size((mitral_dtype)input->dtype);                                                   \
        const struct conversion in = {.from = input->dtype, .to = DTYPE}, out = {.from = DTYPE, .to = input->dtype};   \
        const char *from = (const char *)input->data + (size_t)offset * size;                                          \
        char *to = (char *)output->data + (size_t)offset * size;                                                       \
        if (lines->inner == 1) {                                                                                       \
            name##_line(from, to, size, lines->length, &in, &out, product, exclusive, reverse);                        \
            return;                                                                                                    \
        }                                                                                                              \
        for (size_t i = 0; i < count; i++)                                                                             \
            running[i] = (T)product;                                                                                   \
        for (int64_t k = 0; k < lines->length; k++) {                                                                  \
            size_t at = (size_t)((reverse ? lines->length - 1 - k : k) * lines->inner) * size;                         \
            convert(&in, from + at, row, count);                                                                       \
            if (exclusive)                                                                                             \
                convert(&out, running, to + at, count);                                                                \
            for (size_t i = 0; i < count; i++)                                                                         \
                running[i] = product ? TIMES(running[i], row[i]) : PLUS(running[i], row[i]);                           \
            if (!exclusive)                                                                                            \
                convert(&out, running, to + at, count);                                                                \
        }                                                                                                              \
    }
#define REAL_PLUS(a, b) ((a) + (b))
#define REAL_TIMES(a, b) ((a) * (b))
#define WRAPPED_PLUS(a, b) (int64_t)((uint64_t)(a) + (uint64_t)(b))
#define WRAPPED_TIMES(a, b) (int64_t)((uint64_t)(a) * (uint64_t)(b))
CUMULATE(cumulate_double, double, MITRAL_DOUBLE, REAL_PLUS, REAL_TIMES)
CUMULATE(cumulate_integer, int64_t, MITRAL_INT64, WRAPPED_PLUS, WRAPPED_TIMES)

static mitral_status cumulative_run(struct kernel_call *call, bool product)
{
    const mitral_tensor *input = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    if (!output || tensor_count(output) == 0)
        return MITRAL_OK;
    int64_t axis;
    TRY(cumulative_axis(call, &axis));
    bool exclusive = attribute_int(call->attributes, "exclusive", 0) != 0;
    bool reverse = attribute_int(call->attributes, "reverse", 0) != 0, real = dtype_is_float(input->dtype);
    struct lines lines = lines_of(input, axis);
    int64_t blocks = (lines.inner + BLOCK - 1) / BLOCK, tasks = lines.outer * blocks;
#pragma omp parallel for num_threads(call->threads) if (tensor_count(input) > PARALLEL_COUNT) schedule(static)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t start = task % blocks * BLOCK, offset = task / blocks * lines.length * lines.inner + start;
        size_t count = (size_t)(lines.inner - start < BLOCK ? lines.inner - start : BLOCK);
        if (real)
            cumulate_double(input, output, offset, &lines, count, product, exclusive, reverse);
        else
            cumulate_integer(input, output, offset, &lines, count, product, exclusive, reverse);
    }
    return MITRAL_OK;
}

static mitral_status CumSum_run(struct kernel_call *call)
{
    return cumulative_run(call, false);
}

static mitral_status CumProd_run(struct kernel_call *call)
{
    return cumulative_run(call, true);
}

const struct kernel reference_accumulate[] = {
    {"ArgMax", 0, arg_shape, NULL, ArgMax_run},
    {"ArgMin", 0, arg_shape, NULL, ArgMin_run},
    {"CumProd", KERNEL_IN_PLACE, cumulative_shape, NULL, CumProd_run},
    {"CumSum", KERNEL_IN_PLACE, cumulative_shape, NULL, CumSum_run},
};
const size_t reference_accumulate_count = sizeof(reference_accumulate) / sizeof(reference_accumulate[0]);
