/* The segmentation losses and their gradients: mitral.PixelCrossEntropy, mitral.SoftDice. */
#include "runtime/kernels/reference/gradient_soft.h"
#include "runtime/kernels/registry.h"

#define REAL float
#define EXP exp_float
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_loss_body.h"
#undef REAL
#undef EXP
#undef NAME
#define REAL double
#define EXP exp_double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_loss_body.h"
#undef REAL
#undef EXP
#undef NAME

static mitral_status check_weights(const struct kernel_call *call, size_t index, const struct class_map *map)
{
    const mitral_tensor *weights = call_input(call, index);
    char text[160];
    if (weights && (weights->rank != 1 || weights->dims[0] != map->channels))
        return call_fail(call, MITRAL_INVALID, "%lld class weights expected, found %s", (long long)map->channels,
                         tensor_describe(weights, text, sizeof(text)));
    return MITRAL_OK;
}

/* ---- PixelCrossEntropy: scores [N, C, …], labels [N, …], weights [C]? → loss, probabilities, Σ weights ----------------- */

static mitral_status entropy_shape(struct kernel_call *call)
{
    struct class_map map;
    enum compute compute;
    const mitral_tensor *x = call_input(call, 0);
    TRY(check_float_operand(call, 0, &compute));
    TRY(class_map_read(call, x, 1, &map));
    TRY(check_weights(call, 2, &map));
    call_set_output(call, 0, x->dtype, 0, NULL);
    call_set_output(call, 1, x->dtype, x->rank, x->dims);
    call_set_output(call, 2, x->dtype, 0, NULL);
    return MITRAL_OK;
}

static mitral_status entropy_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct class_map map;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    (void)state;
    TRY(class_map_read(call, call_input(call, 0), 1, &map));
    struct work work = {0};
    struct placed p;
    place_floats(call, &work, compute, &p);
    work_take(&work, class_map_chunks(&map) * 2, sizeof(double));
    work_take(&work, tensor_count(call_input(call, 0)), compute_size(compute));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status entropy_run(struct kernel_call *call)
{
    struct class_map map;
    struct placed p;
    const mitral_tensor *x = call_input(call, 0);
    const enum compute compute = compute_of(x->dtype);
    struct work work = work_of(call);
    TRY(class_map_read(call, x, 1, &map));
    TRY(class_map_check(call, &map));
    place_floats(call, &work, compute, &p);
    double *partial = work_take(&work, class_map_chunks(&map) * 2, sizeof *partial);
    void *probabilities = p.outputs[1] ? p.outputs[1] : work_take(&work, tensor_count(x), compute_size(compute));
    if (compute == COMPUTE_FLOAT)
        cross_entropy_float(&map, call->threads, p.inputs[0], p.inputs[2], probabilities, partial);
    else
        cross_entropy_double(&map, call->threads, p.inputs[0], p.inputs[2], probabilities, partial);
    double loss = 0, total = 0;
    for (int64_t i = 0; i < class_map_chunks(&map); i++) {
        loss += partial[2 * i];
        total += partial[2 * i + 1];
    }
    store_floats(call, compute, &p);
    if (call_output(call, 0))
        tensor_set_double(call_output(call, 0), 0, total != 0 ? loss / total : 0, false);
    if (call_output(call, 2))
        tensor_set_double(call_output(call, 2), 0, total, false);
    return MITRAL_OK;
}

/* d loss, probabilities, labels, weights?, Σ weights → d scores */
static mitral_status entropy_backward_shape(struct kernel_call *call)
{
    struct class_map map;
    enum compute compute;
    TRY(check_same_float(call, 2, &compute));
    TRY(class_map_read(call, call_input(call, 1), 2, &map));
    TRY(check_weights(call, 3, &map));
    if (!call_input(call, 4))
        return call_fail(call, MITRAL_INVALID, "the sum of the weights expected, found none");
    call_set_output_like(call, 0, call_input(call, 1));
    return MITRAL_OK;
}

static mitral_status entropy_backward_run(struct kernel_call *call)
{
    struct class_map map;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 1)->dtype);
    struct work work = work_of(call);
    TRY(class_map_read(call, call_input(call, 1), 2, &map));
    TRY(class_map_check(call, &map));
    place_floats(call, &work, compute, &p);
    const double total = call_scalar(call, 4, 0), factor = total != 0 ? call_scalar(call, 0, 0) / total : 0;
    if (compute == COMPUTE_FLOAT && p.outputs[0])
        cross_entropy_backward_float(&map, call->threads, factor, p.inputs[1], p.inputs[3], p.outputs[0]);
    else if (p.outputs[0])
        cross_entropy_backward_double(&map, call->threads, factor, p.inputs[1], p.inputs[3], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- SoftDice: probabilities [N, C, …], labels [N, …] → loss, intersections [C], sizes [C] ------------------------------ */

/* 1 - mean over classes of (2 I + ε) / (S + ε) with I = Σ p [label = c] and S = Σ p + Σ [label = c] over the batch; class 0 is left out
 * unless attribute background is set. */
static mitral_status dice_shape(struct kernel_call *call)
{
    struct class_map map;
    enum compute compute;
    const mitral_tensor *p = call_input(call, 0);
    TRY(check_float_operand(call, 0, &compute));
    TRY(class_map_read(call, p, 1, &map));
    if (map.channels < 2)
        return call_fail(call, MITRAL_INVALID, "at least 2 classes expected, found %lld", (long long)map.channels);
    call_set_output(call, 0, p->dtype, 0, NULL);
    call_set_output(call, 1, p->dtype, 1, &map.channels);
    call_set_output(call, 2, p->dtype, 1, &map.channels);
    return MITRAL_OK;
}

static mitral_status dice_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct class_map map;
    (void)state;
    TRY(class_map_read(call, call_input(call, 0), 1, &map));
    return prepare_partials(call, class_map_chunks(&map) * map.channels * 2, scratch_bytes);
}

static mitral_status dice_run(struct kernel_call *call)
{
    struct class_map map;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    const double epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-5f);
    const int64_t first = attribute_int(call->attributes, "background", 0) ? 0 : 1;
    TRY(class_map_read(call, call_input(call, 0), 1, &map));
    TRY(class_map_check(call, &map));
    place_floats(call, &work, compute, &p);
    const int64_t chunks = class_map_chunks(&map);
    double *partial = work_take(&work, chunks * map.channels * 2, sizeof *partial), loss = 1;
    if (compute == COMPUTE_FLOAT)
        dice_float(&map, call->threads, p.inputs[0], partial);
    else
        dice_double(&map, call->threads, p.inputs[0], partial);
    for (int64_t c = 0; c < map.channels; c++) {
        double intersection = 0, size = 0;
        for (int64_t i = 0; i < chunks; i++) {
            intersection += partial[(i * map.channels + c) * 2];
            size += partial[(i * map.channels + c) * 2 + 1];
        }
        if (c >= first)
            loss -= (2 * intersection + epsilon) / (size + epsilon) / (double)(map.channels - first);
        if (call_output(call, 1))
            tensor_set_double(call_output(call, 1), c, intersection, false);
        if (call_output(call, 2))
            tensor_set_double(call_output(call, 2), c, size, false);
    }
    if (call_output(call, 0))
        tensor_set_double(call_output(call, 0), 0, loss, false);
    return MITRAL_OK;
}

/* d loss, labels, intersections, sizes, like? → d probabilities */
static mitral_status dice_backward_decode(const struct kernel_call *call, mitral_tensor *like, struct class_map *map)
{
    TRY(call_gradient_shape(call, 4, like));
    TRY(class_map_read(call, like, 1, map));
    for (size_t i = 2; i < 4; i++)
        if (!call_input(call, i) || call_input(call, i)->rank != 1 || call_input(call, i)->dims[0] != map->channels)
            return call_fail(call, MITRAL_INVALID, "input %zu: %lld sums expected", i, (long long)map->channels);
    return MITRAL_OK;
}

static mitral_status dice_backward_shape(struct kernel_call *call)
{
    mitral_tensor like;
    struct class_map map;
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    TRY(dice_backward_decode(call, &like, &map));
    call_set_output(call, 0, like.dtype, like.rank, like.dims);
    return MITRAL_OK;
}

static mitral_status dice_backward_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    mitral_tensor like;
    struct class_map map;
    (void)state;
    TRY(dice_backward_decode(call, &like, &map));
    return prepare_partials(call, map.channels * 2, scratch_bytes);
}

static mitral_status dice_backward_run(struct kernel_call *call)
{
    mitral_tensor like;
    struct class_map map;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    const double epsilon = (double)attribute_float(call->attributes, "epsilon", 1e-5f), arriving = call_scalar(call, 0, 0);
    const int64_t first = attribute_int(call->attributes, "background", 0) ? 0 : 1;
    TRY(dice_backward_decode(call, &like, &map));
    TRY(class_map_check(call, &map));
    place_floats(call, &work, compute, &p);
    double *inside = work_take(&work, map.channels * 2, sizeof *inside), *outside = inside + map.channels;
    for (int64_t c = 0; c < map.channels; c++) {
        const double size = tensor_get_double(call_input(call, 3), c) + epsilon;
        const double top = 2 * tensor_get_double(call_input(call, 2), c) + epsilon;
        const double share = c < first ? 0 : -arriving / (double)(map.channels - first);
        outside[c] = -share * top / (size * size);
        inside[c] = share * 2 / size + outside[c];
    }
    if (compute == COMPUTE_FLOAT && p.outputs[0])
        dice_backward_float(&map, call->threads, inside, outside, p.outputs[0]);
    else if (p.outputs[0])
        dice_backward_double(&map, call->threads, inside, outside, p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

const struct kernel reference_gradient_loss[] = {
    {.name = "mitral.PixelCrossEntropy", .shape = entropy_shape, .prepare = entropy_prepare, .run = entropy_run},
    {.name = "mitral.PixelCrossEntropyGradient", .shape = entropy_backward_shape, .prepare = prepare_floats, .run = entropy_backward_run},
    {.name = "mitral.SoftDice", .shape = dice_shape, .prepare = dice_prepare, .run = dice_run},
    {.name = "mitral.SoftDiceGradient", .shape = dice_backward_shape, .prepare = dice_backward_prepare, .run = dice_backward_run},
};
const size_t reference_gradient_loss_count = sizeof reference_gradient_loss / sizeof *reference_gradient_loss;
