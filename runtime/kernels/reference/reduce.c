/* Reduce*: over any set of axes. Elements pass through blocks of one of four accumulator types, so that every element
 * type takes the same way; an output is the work of one thread, whatever the number of threads. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/axes.h"
#include "runtime/kernels/reference/convert.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/vector_math.h"

enum { BLOCK = 512, LANES = 16, PARALLEL_COUNT = 32768 };

enum map { MAP_NONE, MAP_SQUARE, MAP_ABSOLUTE, MAP_EXPONENTIAL };
enum combine { COMBINE_SUM, COMBINE_PRODUCT, COMBINE_MAX, COMBINE_MIN };
enum finish { FINISH_NONE, FINISH_MEAN, FINISH_ROOT, FINISH_LOG };

struct reducer {
    enum map map;
    enum combine combine;
    enum finish finish;
    bool real;          /* computed in double for integers too */
    bool bool_allowed;
    bool small_allowed; /* 8-bit integers */
};

struct extent {
    int rank;
    int64_t dims[MITRAL_MAX_RANK];
    ptrdiff_t strides[MITRAL_MAX_RANK];
};

struct reduction {
    const struct reducer *reducer;
    const mitral_tensor *input;
    mitral_tensor *output;
    size_t element_size;
    struct extent kept, reduced; /* neighbouring dimensions merged; dimensions of 1 left out */
    int64_t reduced_count;
    bool across;                 /* the innermost dimension is kept */
    bool direct;                 /* TAKE_FLOATS does it: without a block between */
};

static void add_dimension(struct extent *extent, int64_t size, ptrdiff_t stride, bool merge)
{
    if (merge && extent->rank && extent->strides[extent->rank - 1] == stride * (ptrdiff_t)size) {
        extent->dims[extent->rank - 1] *= size;
        extent->strides[extent->rank - 1] = stride;
        return;
    }
    extent->dims[extent->rank] = size;
    extent->strides[extent->rank++] = stride;
}

static int64_t offset_of(const struct extent *extent, int last, int64_t index)
{
    int64_t offset = 0;
    for (int i = last; i >= 0; i--) {
        offset += index % extent->dims[i] * extent->strides[i];
        index /= extent->dims[i];
    }
    return offset;
}

static void advance(const struct extent *extent, int last, int64_t *index, int64_t *offset)
{
    for (int i = last; i >= 0; i--) {
        *offset += extent->strides[i];
        if (++index[i] < extent->dims[i])
            return;
        *offset -= index[i] * extent->strides[i];
        index[i] = 0;
    }
}

/* What a set without elements gives. */
static double double_initial(const struct reduction *r)
{
    switch (r->reducer->combine) {
    case COMBINE_PRODUCT: return 1;
    case COMBINE_MAX: return -INFINITY;
    case COMBINE_MIN: return INFINITY;
    default: return 0;
    }
}

static int64_t signed_initial(const struct reduction *r)
{
    int bits = dtype_bits(r->input->dtype);
    int64_t lowest = bits >= 64 ? INT64_MIN : -((int64_t)1 << (bits - 1));
    switch (r->reducer->combine) {
    case COMBINE_PRODUCT: return 1;
    case COMBINE_MAX: return lowest;
    case COMBINE_MIN: return -(lowest + 1);
    default: return 0;
    }
}

static uint64_t unsigned_initial(const struct reduction *r)
{
    int bits = r->input->dtype == MITRAL_BOOL ? 1 : dtype_bits(r->input->dtype);
    switch (r->reducer->combine) {
    case COMBINE_PRODUCT: return 1;
    case COMBINE_MIN: return bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    default: return 0;
    }
}

static double double_finish(const struct reduction *r, double value, double shift)
{
    switch (r->reducer->finish) {
    case FINISH_MEAN: return value / (double)r->reduced_count;
    case FINISH_ROOT: return sqrt(value);
    case FINISH_LOG: return log(value) + (r->reducer->map == MAP_EXPONENTIAL ? shift : 0);
    default: return value;
    }
}

static int64_t signed_finish(const struct reduction *r, int64_t value, int64_t shift)
{
    (void)shift;
    return r->reducer->finish == FINISH_MEAN && r->reduced_count ? value / r->reduced_count : value;
}

static uint64_t unsigned_finish(const struct reduction *r, uint64_t value, uint64_t shift)
{
    (void)shift;
    return r->reducer->finish == FINISH_MEAN && r->reduced_count ? value / (uint64_t)r->reduced_count : value;
}

#define KEEP_LARGEST(into, value) into = into > (value) || into != into ? into : (value) /* NaN stays */
#define KEEP_SMALLEST(into, value) into = into < (value) || into != into ? into : (value)
#define ADD_SQUARE(into, value) into += (double)(value) * (double)(value)
#define ADD(into, value) into += (double)(value)
#define EACH(operation)                                                                                                \
    for (size_t i = 0; i < count; i++)                                                                                 \
    operation(into[i], from[i])
#define EACH_IN_LANES(operation)                                                                                       \
    do {                                                                                                               \
        size_t i = 0;                                                                                                  \
        for (; i + LANES <= count; i += LANES)                                                                         \
            _Pragma("GCC unroll 1") for (size_t lane = 0; lane < LANES; lane++)                                        \
                operation(into[lane], from[i + lane]);                                                                 \
        for (size_t lane = 0; i < count; i++, lane++)                                                                  \
            operation(into[lane], from[i]);                                                                            \
    } while (0)

/* Floats taken in as they are: element i to into[i], or to lane i % LANES. Sums, of squares or not, in double; the largest and the smallest need
 * no wider type. */
#define TAKE(name, T, condition, operation, otherwise)                                                                 \
    VECTORISED static void name(const struct reducer *reducer, T *restrict into, const float *restrict from, size_t count)\
    {                                                                                                                  \
        if (reducer->condition)                                                                                        \
            EACH(operation);                                                                                           \
        else                                                                                                           \
            EACH(otherwise);                                                                                           \
    }                                                                                                                  \
    VECTORISED static void name##_in_lanes(const struct reducer *reducer, T *restrict into, const float *restrict from, size_t count)\
    {                                                                                                                  \
        if (reducer->condition)                                                                                        \
            EACH_IN_LANES(operation);                                                                                  \
        else                                                                                                           \
            EACH_IN_LANES(otherwise);                                                                                  \
    }
TAKE(take_sums, double, map == MAP_SQUARE, ADD_SQUARE, ADD)
TAKE(take_extremes, float, combine == COMBINE_MAX, KEEP_LARGEST, KEEP_SMALLEST)

#define ACCUMULATOR double
#define DIRECT r->direct
#define TAKE_FLOATS take_sums
#define TAKE_FLOATS_IN_LANES take_sums_in_lanes
#define ACCUMULATOR_DTYPE MITRAL_DOUBLE
#define PLUS(a, b) ((a) + (b))
#define TIMES(a, b) ((a) * (b))
#define IS_NAN(x) ((x) != (x))
#define NAME(x) double_##x
#include "runtime/kernels/reference/reduce_body.h"
#undef ACCUMULATOR
#undef ACCUMULATOR_DTYPE
#undef NAME
#undef TAKE_FLOATS
#undef TAKE_FLOATS_IN_LANES
#define ACCUMULATOR float
#define ACCUMULATOR_DTYPE MITRAL_FLOAT
#define TAKE_FLOATS take_extremes
#define TAKE_FLOATS_IN_LANES take_extremes_in_lanes
#define NAME(x) float_##x
#define float_initial double_initial
#define float_finish double_finish
#include "runtime/kernels/reference/reduce_body.h"
#undef ACCUMULATOR
#undef ACCUMULATOR_DTYPE
#undef DIRECT
#undef TAKE_FLOATS
#undef TAKE_FLOATS_IN_LANES
#undef PLUS
#undef TIMES
#undef IS_NAN
#undef NAME
/* Integers wrap. */
#define DIRECT false
#define TAKE_FLOATS(...) (void)0
#define TAKE_FLOATS_IN_LANES(...) (void)0
#define IS_NAN(x) false
#define PLUS(a, b) (ACCUMULATOR)((uint64_t)(a) + (uint64_t)(b))
#define TIMES(a, b) (ACCUMULATOR)((uint64_t)(a) * (uint64_t)(b))
#define ACCUMULATOR int64_t
#define ACCUMULATOR_DTYPE MITRAL_INT64
#define NAME(x) signed_##x
#include "runtime/kernels/reference/reduce_body.h"
#undef ACCUMULATOR
#undef ACCUMULATOR_DTYPE
#undef NAME
#define ACCUMULATOR uint64_t
#define ACCUMULATOR_DTYPE MITRAL_UINT64
#define NAME(x) unsigned_##x
#include "runtime/kernels/reference/reduce_body.h"

static mitral_status reduce_shape(struct kernel_call *call, const struct reducer *reducer, int axes_input_since)
{
    const mitral_tensor *input = call_input(call, 0);
    if (!input)
        return call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    int32_t dtype = input->dtype;
    bool allowed = dtype == MITRAL_FLOAT || dtype == MITRAL_DOUBLE || dtype == MITRAL_FLOAT16
                || dtype == MITRAL_BFLOAT16
                || (dtype_is_integer(dtype) && (dtype_bits(dtype) >= 32 || reducer->small_allowed))
                || (dtype == MITRAL_BOOL && reducer->bool_allowed);
    if (!allowed)
        return fail_type(call, 0, input);
    bool reduced[MITRAL_MAX_RANK];
    call_set_output(call, 0, dtype, 0, NULL);
    TRY(reduced_axes(call, axes_input_since, reduced));
    bool keep = attribute_int(call->attributes, "keepdims", 1) != 0;
    int64_t dims[MITRAL_MAX_RANK];
    int32_t rank = 0;
    for (int32_t i = 0; i < input->rank; i++)
        if (!reduced[i] || keep)
            dims[rank++] = reduced[i] ? 1 : input->dims[i];
    call_set_output(call, 0, dtype, rank, dims);
    return MITRAL_OK;
}

static mitral_status reduce_run(struct kernel_call *call, const struct reducer *reducer, int axes_input_since)
{
    const mitral_tensor *input = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    bool reduced[MITRAL_MAX_RANK], previous = false;
    TRY(reduced_axes(call, axes_input_since, reduced));
    struct reduction r = {.reducer = reducer, .input = input, .output = output, .reduced_count = 1,
                          .element_size = mitral_dtype_size((mitral_dtype)input->dtype)};
    ptrdiff_t strides[MITRAL_MAX_RANK] = {0};
    layout_strides(input, strides);
    for (int32_t i = 0; i < input->rank; i++) {
        if (reduced[i])
            r.reduced_count *= input->dims[i];
        if (input->dims[i] == 1)
            continue;
        bool first = r.kept.rank + r.reduced.rank == 0;
        add_dimension(reduced[i] ? &r.reduced : &r.kept, input->dims[i], strides[i], !first && previous == reduced[i]);
        previous = reduced[i];
        r.across = !reduced[i];
    }
    int64_t outputs = tensor_count(output), tasks = outputs;
    if (outputs == 0)
        return MITRAL_OK;
    if (r.across) {
        int64_t length = r.kept.dims[r.kept.rank - 1];
        tasks = outputs / length * ((length + BLOCK - 1) / BLOCK);
    }
    if (r.reduced.rank == 0)
        add_dimension(&r.reduced, 1, 0, false);
    const struct extent *inner = r.across ? &r.kept : &r.reduced;
    r.direct = input->dtype == MITRAL_FLOAT && reducer->combine != COMBINE_PRODUCT && inner->strides[inner->rank - 1] == 1
               && (reducer->map == MAP_NONE || (reducer->map == MAP_SQUARE && reducer->combine == COMBINE_SUM));
    bool real = dtype_is_float(input->dtype) || reducer->real;
    bool is_signed = dtype_is_signed(input->dtype);
    int64_t work = outputs * (r.reduced_count ? r.reduced_count : 1);
#pragma omp parallel for num_threads(call->threads) if (work > PARALLEL_COUNT && tasks > 1) schedule(static)
    for (int64_t task = 0; task < tasks; task++) {
        if (r.direct && reducer->combine != COMBINE_SUM)
            float_reduce(&r, task);
        else if (real)
            double_reduce(&r, task);
        else if (is_signed)
            signed_reduce(&r, task);
        else
            unsigned_reduce(&r, task);
    }
    return MITRAL_OK;
}

/* name, version since which the axes are an input, and the reducer's fields */
#define REDUCTION(name, since, ...)                                                                                    \
    static const struct reducer name##_reducer = {__VA_ARGS__};                                                        \
    static mitral_status name##_shape(struct kernel_call *call)                                                        \
    {                                                                                                                  \
        return reduce_shape(call, &name##_reducer, since);                                                             \
    }                                                                                                                  \
    static mitral_status name##_run(struct kernel_call *call)                                                          \
    {                                                                                                                  \
        return reduce_run(call, &name##_reducer, since);                                                               \
    }

REDUCTION(ReduceL1, 18, .map = MAP_ABSOLUTE)
REDUCTION(ReduceL2, 18, .map = MAP_SQUARE, .finish = FINISH_ROOT, .real = true)
REDUCTION(ReduceLogSum, 18, .finish = FINISH_LOG, .real = true)
REDUCTION(ReduceLogSumExp, 18, .map = MAP_EXPONENTIAL, .finish = FINISH_LOG, .real = true)
REDUCTION(ReduceMax, 18, .combine = COMBINE_MAX, .bool_allowed = true, .small_allowed = true)
REDUCTION(ReduceMean, 18, .finish = FINISH_MEAN)
REDUCTION(ReduceMin, 18, .combine = COMBINE_MIN, .bool_allowed = true, .small_allowed = true)
REDUCTION(ReduceProd, 18, .combine = COMBINE_PRODUCT)
REDUCTION(ReduceSum, 13, .combine = COMBINE_SUM)
REDUCTION(ReduceSumSquare, 18, .map = MAP_SQUARE)

const struct kernel reference_reduce[] = {
    {"ReduceL1", 0, ReduceL1_shape, NULL, ReduceL1_run},
    {"ReduceL2", 0, ReduceL2_shape, NULL, ReduceL2_run},
    {"ReduceLogSum", 0, ReduceLogSum_shape, NULL, ReduceLogSum_run},
    {"ReduceLogSumExp", 0, ReduceLogSumExp_shape, NULL, ReduceLogSumExp_run},
    {"ReduceMax", 0, ReduceMax_shape, NULL, ReduceMax_run},
    {"ReduceMean", 0, ReduceMean_shape, NULL, ReduceMean_run},
    {"ReduceMin", 0, ReduceMin_shape, NULL, ReduceMin_run},
    {"ReduceProd", 0, ReduceProd_shape, NULL, ReduceProd_run},
    {"ReduceSum", 0, ReduceSum_shape, NULL, ReduceSum_run},
    {"ReduceSumSquare", 0, ReduceSumSquare_shape, NULL, ReduceSumSquare_run},
};
const size_t reference_reduce_count = sizeof(reference_reduce) / sizeof(reference_reduce[0]);
