/* Gradients of soft-max and of the standard's class losses: mitral.SoftmaxGradient, mitral.ClassLossGradient. */
#include "runtime/kernels/reference/gradient_soft.h"
#include "runtime/kernels/registry.h"

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_softmax_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_softmax_body.h"
#undef REAL
#undef NAME

/* dY, Y → dX; attributes axis, flatten (all dimensions from the axis on are one), logarithm. */
static mitral_status softmax_shape(struct kernel_call *call)
{
    enum compute compute;
    int64_t axis;
    TRY(check_same_float(call, 2, &compute));
    TRY(check_same_shape(call, 0, 1));
    const mitral_tensor *y = call_input(call, 1);
    if (y->rank > 0)
        TRY(call_axis(call, attribute_int(call->attributes, "axis", -1), y->rank, &axis));
    call_set_output_like(call, 0, y);
    return MITRAL_OK;
}

static mitral_status softmax_run(struct kernel_call *call)
{
    const mitral_tensor *y = call_input(call, 1);
    struct placed p;
    const enum compute compute = compute_of(y->dtype);
    struct work work = work_of(call);
    int64_t axis = 0, outer = 1, count = 1, inner = 1;
    const bool flatten = attribute_int(call->attributes, "flatten", 0) != 0;
    const bool logarithm = attribute_int(call->attributes, "logarithm", 0) != 0;
    if (y->rank > 0)
        TRY(call_axis(call, attribute_int(call->attributes, "axis", -1), y->rank, &axis));
    for (int32_t i = 0; i < y->rank; i++)
        *(i < axis ? &outer : i == axis || flatten ? &count : &inner) *= y->dims[i];
    place_floats(call, &work, compute, &p);
    if (compute == COMPUTE_FLOAT && p.outputs[0])
        softmax_backward_float(outer, count, inner, logarithm, call->threads, p.inputs[0], p.inputs[1], p.outputs[0]);
    else if (p.outputs[0])
        softmax_backward_double(outer, count, inner, logarithm, call->threads, p.inputs[0], p.inputs[1], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* d loss, scores, labels, weights? → d scores; attributes logits, reduction (mean), ignore_index (none). */
static mitral_status class_decode(const struct kernel_call *call, struct class_map *map)
{
    TRY(class_map_read(call, call_input(call, 1), 2, map));
    if (!attribute_has(call->attributes, "ignore_index"))
        map->ignored = INT64_MIN;
    const mitral_tensor *weights = call_input(call, 3);
    if (weights && (weights->rank != 1 || weights->dims[0] != map->channels))
        return call_fail(call, MITRAL_INVALID, "%lld class weights expected, found %lld", (long long)map->channels,
                         (long long)(weights->rank == 1 ? weights->dims[0] : -1));
    return MITRAL_OK;
}

static mitral_status class_shape(struct kernel_call *call)
{
    struct class_map map;
    enum compute compute;
    TRY(check_same_float(call, 2, &compute));
    TRY(class_decode(call, &map));
    call_set_output_like(call, 0, call_input(call, 1));
    return MITRAL_OK;
}

static mitral_status class_run(struct kernel_call *call)
{
    struct class_map map;
    struct placed p;
    const mitral_tensor *weights = call_input(call, 3);
    const enum compute compute = compute_of(call_input(call, 1)->dtype);
    struct work work = work_of(call);
    const char *reduction = attribute_string(call->attributes, "reduction", "mean");
    const bool logits = attribute_int(call->attributes, "logits", 1) != 0, reduced = strcmp(reduction, "none") != 0;
    double factor = 1;
    TRY(class_decode(call, &map));
    TRY(class_map_check(call, &map));
    if (strcmp(reduction, "mean") == 0) {
        double total = 0;
        for (int64_t i = 0; i < map.batch * map.plane; i++) {
            const int64_t label = label_at(map.labels, i);
            if (label != map.ignored)
                total += weights ? tensor_get_double(weights, label) : 1;
        }
        factor = total != 0 ? 1 / total : 0;
    }
    place_floats(call, &work, compute, &p);
    if (compute == COMPUTE_FLOAT && p.outputs[0])
        class_backward_float(&map, logits, reduced, factor, call->threads, p.inputs[0], p.inputs[1], p.inputs[3], p.outputs[0]);
    else if (p.outputs[0])
        class_backward_double(&map, logits, reduced, factor, call->threads, p.inputs[0], p.inputs[1], p.inputs[3], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

const struct kernel reference_gradient_softmax[] = {
    {.name = "mitral.ClassLossGradient", .shape = class_shape, .prepare = prepare_floats, .run = class_run},
    {.name = "mitral.SoftmaxGradient", .shape = softmax_shape, .prepare = prepare_floats, .run = softmax_run},
};
const size_t reference_gradient_softmax_count = sizeof reference_gradient_softmax / sizeof *reference_gradient_softmax;
