/* Normalizations that ONNX Runtime's optimiser makes: SkipLayerNormalization and SkipSimplifiedLayerNormalization
 * (input, skip, gamma, beta? (not simplified), bias?), SimplifiedLayerNormalization (input, scale),
 * EmbedLayerNormalization. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/normalization.h"
#include "runtime/kernels/reference/operand.h"

static mitral_status expect_hidden(const struct kernel_call *call, size_t index, int64_t hidden)
{
    const mitral_tensor *tensor = call_input(call, index);
    if (tensor && (tensor->rank != 1 || tensor->dims[0] != hidden || !dtype_is_float(tensor->dtype)))
        return call_fail_input(call, "a vector of the last dimension's size", tensor);
    return MITRAL_OK;
}

static void normalize(const struct kernel_call *call, enum compute compute, const struct row_normalization *n,
                      const void *x, const void *scale, const void *bias, void *y, void *means, void *inverses)
{
    if (compute == COMPUTE_FLOAT)
        normalize_rows_float(n, call->threads, x, scale, bias, y, means, inverses);
    else
        normalize_rows_double(n, call->threads, x, scale, bias, y, means, inverses);
}

/* ---- SkipLayerNormalization
 * --------------------------------------------------------------------------------------------- */

static mitral_status shape_skip_any(struct kernel_call *call, bool simplified)
{
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0), *skip = call_input(call, 1);
    if (x->rank != 2 && x->rank != 3)
        return call_fail_input(call, "an input [batch, length, hidden] or [tokens, hidden]", x);
    /* The skip may leave out the batch, or have one for all. */
    const int32_t offset = skip ? x->rank - skip->rank : 0;
    bool fits = skip && skip->dtype == x->dtype && (offset == 0 || (offset == 1 && x->rank == 3));
    for (int32_t i = 0; fits && i < skip->rank; i++)
        fits = skip->dims[i] == x->dims[i + offset] || (skip->dims[i] == 1 && i == 0 && x->rank == 3 && offset == 0);
    if (!fits)
        return call_fail_input(call, "a skip of the input's shape, or without its batch,", skip);
    if (!call_input(call, 2))
        return call_fail_input(call, "a gamma", NULL);
    for (size_t i = 2; i < (simplified ? 4 : 5); i++)
        TRY(expect_hidden(call, i, x->dims[x->rank - 1]));
    int64_t dims[MITRAL_MAX_RANK];
    memcpy(dims, x->dims, sizeof(dims));
    dims[x->rank - 1] = 1;
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    call_set_output(call, 1, MITRAL_FLOAT, x->rank, dims);
    call_set_output(call, 2, MITRAL_FLOAT, x->rank, dims);
    call_set_output(call, 3, x->dtype, x->rank, x->dims);
    return MITRAL_OK;
}

struct skip_operands {
    const void *x, *skip, *gamma, *beta, *bias;
    void *sum, *y, *means, *inverses;
};

static void place_skip(const struct kernel_call *call, struct work *work, bool simplified, struct skip_operands *o)
{
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    o->x = work_operand(work, compute, call_input(call, 0));
    o->skip = work_operand(work, compute, call_input(call, 1));
    o->gamma = work_operand(work, compute, call_input(call, 2));
    o->beta = simplified ? NULL : work_operand(work, compute, call_input(call, 3));
    o->bias = work_operand(work, compute, call_input(call, simplified ? 3 : 4));
    o->sum = work_take(work, tensor_count(call_input(call, 0)), compute_size(compute));
    o->y = work_result(work, compute, call_output(call, 0));
    o->means = work_result(work, compute, call_output(call, 1));
    o->inverses = work_result(work, compute, call_output(call, 2));
}

static mitral_status prepare_skip_any(struct kernel_call *call, bool simplified, size_t *scratch_bytes)
{
    struct work work = {0};
    struct skip_operands operands;
    place_skip(call, &work, simplified, &operands);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_skip_any(struct kernel_call *call, bool simplified)
{
    const mitral_tensor *x = call_input(call, 0);
    const enum compute compute = compute_of(x->dtype);
    const int64_t count = tensor_count(x), skip_count = larger(tensor_count(call_input(call, 1)), 1),
                  hidden = larger(x->dims[x->rank - 1], 1);
    struct work work = work_of(call);
    struct skip_operands o;
    place_skip(call, &work, simplified, &o);
    for (int64_t i = 0; i < count; i++) {
        if (compute == COMPUTE_FLOAT)
            ((float *)o.sum)[i] = ((const float *)o.x)[i] + ((const float *)o.skip)[i % skip_count]
                                  + (o.bias ? ((const float *)o.bias)[i % hidden] : 0);
        else
            ((double *)o.sum)[i] = ((const double *)o.x)[i] + ((const double *)o.skip)[i % skip_count]
                                   + (o.bias ? ((const double *)o.bias)[i % hidden] : 0);
    }
    const struct row_normalization n = {.rows = count / hidden, .size = hidden, .scale_period = 1, .scale_span = 1,
                                        .epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-12f),
                                        .root_mean_square = simplified};
    normalize(call, compute, &n, o.sum, o.gamma, o.beta, o.y, o.means, o.inverses);
    work_store(compute, call_output(call, 0), o.y);
    work_store(compute, call_output(call, 1), o.means);
    work_store(compute, call_output(call, 2), o.inverses);
    mitral_tensor *sum = call_output(call, 3);
    for (int64_t i = 0; sum && i < count; i++)
        tensor_set_double(sum, i, compute == COMPUTE_FLOAT ? (double)((float *)o.sum)[i] : ((double *)o.sum)[i], true);
    return MITRAL_OK;
}

static mitral_status shape_skip(struct kernel_call *call)
{
    return shape_skip_any(call, false);
}

static mitral_status prepare_skip(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare_skip_any(call, false, scratch_bytes);
}

static mitral_status run_skip(struct kernel_call *call)
{
    return run_skip_any(call, false);
}

static mitral_status shape_skip_simplified(struct kernel_call *call)
{
    return shape_skip_any(call, true);
}

static mitral_status prepare_skip_simplified(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    return prepare_skip_any(call, true, scratch_bytes);
}

static mitral_status run_skip_simplified(struct kernel_call *call)
{
    return run_skip_any(call, true);
}

/* ---- SimplifiedLayerNormalization: X, scale -> Y, inverse deviation?
 * ------------------------------------------------------ */

static mitral_status shape_simplified(struct kernel_call *call)
{
    enum compute compute;
    struct row_normalization n;
    int64_t axis;
    TRY(check_float_operand(call, 0, &compute));
    const mitral_tensor *x = call_input(call, 0), *scale = call_input(call, 1);
    TRY(layer_rows(call, x, attribute_int(call->attributes, "axis", -1), &axis, &n));
    if (!scale || !dtype_is_float(scale->dtype) || tensor_count(scale) != n.size)
        return call_fail_input(call, "a scale for the normalized dimensions", scale);
    int64_t dims[MITRAL_MAX_RANK];
    memcpy(dims, x->dims, sizeof(dims));
    for (int32_t i = (int32_t)axis; i < x->rank; i++)
        dims[i] = 1;
    call_set_output(call, 0, scale->dtype, x->rank, x->dims);
    call_set_output(call, 1, MITRAL_FLOAT, x->rank, dims);
    return MITRAL_OK;
}

static void place_simplified(const struct kernel_call *call, struct work *work, struct skip_operands *o)
{
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    o->x = work_operand(work, compute, call_input(call, 0));
    o->gamma = work_operand(work, compute, call_input(call, 1));
    o->y = work_result(work, compute, call_output(call, 0));
    o->inverses = work_result(work, compute, call_output(call, 1));
}

static mitral_status prepare_simplified(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct skip_operands operands;
    place_simplified(call, &work, &operands);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_simplified(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    const enum compute compute = compute_of(x->dtype);
    struct row_normalization n;
    int64_t axis;
    TRY(layer_rows(call, x, attribute_int(call->attributes, "axis", -1), &axis, &n));
    n.root_mean_square = true;
    struct work work = work_of(call);
    struct skip_operands o;
    place_simplified(call, &work, &o);
    normalize(call, compute, &n, o.x, o.gamma, NULL, o.y, NULL, o.inverses);
    work_store(compute, call_output(call, 0), o.y);
    work_store(compute, call_output(call, 1), o.inverses);
    return MITRAL_OK;
}

/* ---- EmbedLayerNormalization: ids, segments?, word, position, segment tables, gamma, beta, mask?, positions?
 * --------------- */

static mitral_status shape_embed(struct kernel_call *call)
{
    const mitral_tensor *ids = call_input(call, 0), *word = call_input(call, 2), *position = call_input(call, 3);
    const mitral_tensor *segments = call_input(call, 1), *segment = call_input(call, 4),
                        *positions = call_input(call, 8);
    enum compute compute;
    TRY(check_float_operand(call, 2, &compute));
    if (!ids || ids->rank != 2 || ids->dtype != MITRAL_INT32)
        return call_fail_input(call, "int32 ids [batch, length]", ids);
    const mitral_tensor *const tables[] = {word, position, segment};
    for (int i = 0; i < 3; i++)
        if ((i < 2 || segment)
            && (!tables[i] || tables[i]->rank != 2 || tables[i]->dims[1] != word->dims[1]
                || tables[i]->dtype != word->dtype))
            return call_fail_input(call, "tables [rows, hidden] of one type", tables[i]);
    if (!call_input(call, 5) || !call_input(call, 6))
        return call_fail_input(call, "a gamma and a beta", NULL);
    TRY(expect_hidden(call, 5, word->dims[1]));
    TRY(expect_hidden(call, 6, word->dims[1]));
    if (!segments != !segment || (segments && (segments->dtype != MITRAL_INT32 || !tensor_same_shape(segments, ids))))
        return call_fail_input(call, "segment ids like the word ids together with their table", segments);
    if (call_input(call, 7)
        && (call_input(call, 7)->dtype != MITRAL_INT32 || !tensor_same_shape(call_input(call, 7), ids)))
        return call_fail_input(call, "an int32 mask like the ids", call_input(call, 7));
    if (positions ? positions->dtype != MITRAL_INT32 || positions->rank != 2 || positions->dims[1] != ids->dims[1]
                        || (positions->dims[0] != 1 && positions->dims[0] != ids->dims[0])
                  : position->dims[0] < ids->dims[1])
        return call_fail_input(call, "positions within their table", positions ? positions : position);
    const int64_t dims[3] = {ids->dims[0], ids->dims[1], word->dims[1]};
    call_set_output(call, 0, word->dtype, 3, dims);
    call_set_output(call, 1, MITRAL_INT32, 1, dims);
    call_set_output(call, 2, word->dtype, 3, dims);
    return MITRAL_OK;
}

static void place_embed(const struct kernel_call *call, struct work *work, struct skip_operands *o)
{
    const enum compute compute = compute_of(call_input(call, 2)->dtype);
    int64_t count = tensor_count(call_input(call, 0));
    if (!multiply_sizes(count, call_input(call, 2)->dims[1], &count))
        count = -1;
    o->gamma = work_operand(work, compute, call_input(call, 5));
    o->beta = work_operand(work, compute, call_input(call, 6));
    o->sum = work_take(work, count, compute_size(compute));
    o->y = work_result(work, compute, call_output(call, 0));
}

static mitral_status prepare_embed(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    struct skip_operands operands;
    place_embed(call, &work, &operands);
    return work_measure(call, &work, scratch_bytes);
}

/* A row number from an id tensor, checked against its table. */
static mitral_status row_of(const struct kernel_call *call, const mitral_tensor *ids, int64_t index,
                            const mitral_tensor *table, int64_t *out)
{
    *out = ((const int32_t *)ids->data)[index];
    if (*out < 0 || *out >= table->dims[0])
        return call_fail(call, MITRAL_INVALID, "ids from 0 to %lld expected, found %lld", (long long)table->dims[0] - 1,
                         (long long)*out);
    return MITRAL_OK;
}

static mitral_status run_embed(struct kernel_call *call)
{
    const mitral_tensor *ids = call_input(call, 0), *segments = call_input(call, 1), *word = call_input(call, 2);
    const mitral_tensor *position = call_input(call, 3), *segment = call_input(call, 4), *mask = call_input(call, 7);
    const mitral_tensor *positions = call_input(call, 8);
    mitral_tensor *counts = call_output(call, 1), *sum = call_output(call, 2);
    const enum compute compute = compute_of(word->dtype);
    const int64_t length = ids->dims[1], tokens = ids->dims[0] * length, hidden = word->dims[1];
    struct work work = work_of(call);
    struct skip_operands o;
    place_embed(call, &work, &o);
    for (int64_t t = 0; t < tokens; t++) {
        int64_t a, b = t % larger(length, 1), c = 0;
        TRY(row_of(call, ids, t, word, &a));
        if (positions)
            TRY(row_of(call, positions, positions->dims[0] == 1 ? b : t, position, &b));
        if (segments)
            TRY(row_of(call, segments, t, segment, &c));
        for (int64_t i = 0; i < hidden; i++) {
            double value = tensor_get_double(word, a * hidden + i) + tensor_get_double(position, b * hidden + i);
            value += segments ? tensor_get_double(segment, c * hidden + i) : 0;
            if (compute == COMPUTE_FLOAT)
                ((float *)o.sum)[t * hidden + i] = (float)value;
            else
                ((double *)o.sum)[t * hidden + i] = value;
            if (sum)
                tensor_set_double(sum, t * hidden + i, value, true);
        }
    }
    for (int64_t b = 0; counts && b < ids->dims[0]; b++) {
        int32_t ones = 0;
        for (int64_t i = 0; mask && i < length; i++)
            ones += ((const int32_t *)mask->data)[b * length + i] == 1;
        ((int32_t *)counts->data)[b] = ones;
    }
    const struct row_normalization n = {.rows = tokens, .size = hidden, .scale_period = 1, .scale_span = 1,
                                        .epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-12f)};
    normalize(call, compute, &n, o.sum, o.gamma, o.beta, o.y, NULL, NULL);
    work_store(compute, call_output(call, 0), o.y);
    return MITRAL_OK;
}

const struct kernel reference_skip_normalization[] = {
    {.name = "SimplifiedLayerNormalization",
     .shape = shape_simplified,
     .prepare = prepare_simplified,
     .run = run_simplified},
    {.name = "microsoft.EmbedLayerNormalization", .shape = shape_embed, .prepare = prepare_embed, .run = run_embed},
    {.name = "microsoft.SkipLayerNormalization", .shape = shape_skip, .prepare = prepare_skip, .run = run_skip},
    {.name = "microsoft.SkipSimplifiedLayerNormalization",
     .shape = shape_skip_simplified,
     .prepare = prepare_skip_simplified,
     .run = run_skip_simplified},
};
const size_t reference_skip_normalization_count =
    sizeof(reference_skip_normalization) / sizeof(*reference_skip_normalization);
