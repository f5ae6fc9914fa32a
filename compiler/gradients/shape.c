/* Operators that move elements: the gradient moves them back, and adds where one was copied to several places. */
#include <string.h>

#include "compiler/gradients/gradients.h"

mitral_status differentiate_reshape(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_reshape_like(gradient, &value, gradient_of(gradient, node, 0), node->inputs[0]));
    return gradient_contribute(gradient, node, 0, value);
}

static mitral_status transpose(struct gradient *gradient, value_id *out, value_id value, const int64_t *permutation, int32_t rank)
{
    struct attributes attributes = {0};
    TRY(attributes_set_ints(&attributes, gradient_graph(gradient)->arena, "perm", permutation, (size_t)rank));
    return gradient_emit(gradient, "Transpose", &attributes, &value, 1, out, 1);
}

mitral_status differentiate_transpose(struct gradient *gradient, const struct node *node)
{
    size_t count;
    int64_t inverse[MITRAL_MAX_RANK];
    value_id value;
    const int64_t *permutation = attribute_ints(&node->attributes, "perm", &count);
    int32_t rank = gradient_type(gradient, node->inputs[0])->rank;
    if (rank < 0 || (permutation && (int32_t)count != rank))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected an input of known rank");
    for (int32_t i = 0; i < rank; i++)
        inverse[permutation ? permutation[i] : rank - 1 - i] = i;
    TRY(transpose(gradient, &value, gradient_of(gradient, node, 0), inverse, rank));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_concat(struct gradient *gradient, const struct node *node)
{
    struct graph *graph = gradient_graph(gradient);
    struct attributes attributes = {0};
    size_t count = node->input_count;
    int64_t *sizes = arena_allocate(graph->arena, count * sizeof *sizes), axis = attribute_int(&node->attributes, "axis", 1);
    value_id *parts = arena_allocate(graph->arena, count * sizeof *parts), lengths;
    if (!sizes || !parts)
        return MITRAL_NO_MEMORY;
    if (count == 1)
        return gradient_contribute(gradient, node, 0, gradient_of(gradient, node, 0));
    for (size_t i = 0; i < count; i++) {
        const struct value_type *type = gradient_type(gradient, node->inputs[i]);
        int64_t at = axis < 0 ? axis + type->rank : axis;
        if (type->rank <= at || at < 0 || type->dims[at] < 0)
            return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected inputs of fixed size along axis %lld",
                                 (long long)axis);
        sizes[i] = type->dims[at];
    }
    TRY(gradient_ints(gradient, &lengths, sizes, count));
    TRY(attributes_set_int(&attributes, graph->arena, "axis", axis));
    TRY(gradient_emit(gradient, "Split", &attributes, (value_id[]){gradient_of(gradient, node, 0), lengths}, 2, parts, count));
    for (size_t i = 0; i < count; i++)
        TRY(gradient_contribute(gradient, node, i, parts[i]));
    return MITRAL_OK;
}

mitral_status differentiate_split(struct gradient *gradient, const struct node *node)
{
    struct graph *graph = gradient_graph(gradient);
    struct attributes attributes = {0};
    value_id *parts = arena_allocate(graph->arena, node->output_count * sizeof *parts), value;
    size_t count = 0;
    if (!parts)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] == NO_VALUE)
            return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected every output to be named, found output %zu absent", i);
        parts[count] = gradient_of(gradient, node, i);
        if (parts[count] == NO_VALUE)
            TRY(gradient_zeros(gradient, &parts[count], node->outputs[i]));
        count++;
    }
    TRY(attributes_set_int(&attributes, graph->arena, "axis", attribute_int(&node->attributes, "axis", 0)));
    TRY(gradient_emit(gradient, "Concat", &attributes, parts, count, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_slice(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    value_id inputs[6] = {gradient_of(gradient, node, 0), NO_VALUE, NO_VALUE, NO_VALUE, NO_VALUE}, value;
    size_t count = 5, length;
    if (node->version < 10) {
        const char *const names[] = {"starts", "ends", "axes"};
        for (size_t i = 0; i < 3; i++) {
            const int64_t *numbers = attribute_ints(&node->attributes, names[i], &length);
            if (numbers)
                TRY(gradient_ints(gradient, &inputs[1 + i], numbers, length));
        }
    } else {
        for (size_t i = 1; i < 5; i++)
            inputs[i] = node_input(node, i);
    }
    TRY(gradient_set_shape(gradient, &attributes, node->inputs[0], inputs, &count));
    TRY(gradient_emit(gradient, "mitral.SliceGradient", &attributes, inputs, count, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_pad(struct gradient *gradient, const struct node *node)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    struct attributes attributes = {0};
    size_t count, axis_count = 0, like = 1;
    const int64_t *pads = node->version < 11 ? attribute_ints(&node->attributes, "pads", &count)
                                             : gradient_constant_ints(gradient, node, 1, &count), *axes = NULL;
    int32_t rank = gradient_type(gradient, node->inputs[0])->rank;
    if (gradient_wants(gradient, node, 2))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected a padding value that is not trained");
    if (node_input(node, 3) != NO_VALUE) {
        axes = gradient_constant_ints(gradient, node, 3, &axis_count);
        if (!axes)
            return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected constant axes");
    }
    if (!pads || rank < 0)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected constant pads and an input of known rank");
    int64_t full[2 * MITRAL_MAX_RANK] = {0};
    size_t padded = axes ? axis_count : (size_t)rank;
    if (count != 2 * padded)
        return gradient_fail(gradient, node, MITRAL_INVALID, "expected %zu pads, found %zu", 2 * padded, count);
    for (size_t i = 0; i < padded; i++) {
        int64_t axis = axes ? axes[i] + (axes[i] < 0 ? rank : 0) : (int64_t)i;
        if (axis < 0 || axis >= rank)
            return gradient_fail(gradient, node, MITRAL_INVALID, "expected axes below %d, found %lld", (int)rank, (long long)axis);
        full[axis] = pads[i];
        full[rank + axis] = pads[padded + i];
    }
    value_id inputs[2] = {gradient_of(gradient, node, 0)}, value;
    TRY(attributes_set_ints(&attributes, arena, "pads", full, 2 * (size_t)rank));
    TRY(attributes_set_string(&attributes, arena, "mode", attribute_string(&node->attributes, "mode", "constant")));
    TRY(gradient_set_shape(gradient, &attributes, node->inputs[0], inputs, &like));
    TRY(gradient_emit(gradient, "mitral.PadGradient", &attributes, inputs, like, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_expand(struct gradient *gradient, const struct node *node)
{
    return gradient_contribute_reduced(gradient, node, 0, gradient_of(gradient, node, 0));
}

/* The repeats become axes of their own, [r0, d0, r1, d1, …], and are summed. */
mitral_status differentiate_tile(struct gradient *gradient, const struct node *node)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    const struct value_type in = *gradient_type(gradient, node->inputs[0]), out = *gradient_type(gradient, node->outputs[0]);
    int64_t split[MITRAL_MAX_RANK], axes[MITRAL_MAX_RANK];
    value_id shape, axis_list, value;
    struct attributes attributes = {0};
    if (!type_is_static(&in) || !type_is_static(&out) || in.rank != out.rank || 2 * in.rank > MITRAL_MAX_RANK)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected fixed shapes of rank up to %d", MITRAL_MAX_RANK / 2);
    if (in.rank == 0)
        return gradient_contribute(gradient, node, 0, gradient_of(gradient, node, 0));
    for (int32_t i = 0; i < in.rank; i++) {
        split[2 * i] = in.dims[i] ? out.dims[i] / in.dims[i] : 1;
        split[2 * i + 1] = in.dims[i];
        axes[i] = 2 * i;
    }
    TRY(gradient_ints(gradient, &shape, split, 2 * (size_t)in.rank));
    TRY(gradient_ints(gradient, &axis_list, axes, (size_t)in.rank));
    TRY(attributes_set_int(&attributes, arena, "allowzero", 1));
    TRY(gradient_emit(gradient, "Reshape", &attributes, (value_id[]){gradient_of(gradient, node, 0), shape}, 2, &value, 1));
    attributes = (struct attributes){0};
    TRY(attributes_set_int(&attributes, arena, "keepdims", 0));
    TRY(gradient_emit(gradient, "ReduceSum", &attributes, (value_id[]){value, axis_list}, 2, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_cast(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    value_id value;
    TRY(attributes_set_int(&attributes, gradient_graph(gradient)->arena, "to", gradient_type(gradient, node->inputs[0])->dtype));
    TRY(gradient_emit(gradient, "Cast", &attributes, (value_id[]){gradient_of(gradient, node, 0)}, 1, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

/* Identity outside of training; inside, the mask output says what was kept, and the kept part was divided by 1 - ratio. */
mitral_status differentiate_dropout(struct gradient *gradient, const struct node *node)
{
    value_id arriving = gradient_of(gradient, node, 0), value = arriving, mask = node_output(node, 1);
    value_id mode = node_input(node, 2);
    const mitral_tensor *training = mode == NO_VALUE ? NULL : graph_constant(gradient_graph(gradient), mode);
    bool inference = mode == NO_VALUE || (training && training->data && *(const uint8_t *)training->data == 0);
    if (!inference) {
        value_id ratio = node_input(node, 1), half, one, keep;
        if (mask == NO_VALUE)
            return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected the mask output to be named in training mode");
        int32_t dtype = gradient_type(gradient, node->inputs[0])->dtype;
        TRY(gradient_scalar(gradient, &half, dtype, 0.5));
        TRY(gradient_scalar(gradient, &one, dtype, 1));
        if (ratio != NO_VALUE)
            TRY(gradient_binary(gradient, &ratio, "CastLike", ratio, one));
        TRY(gradient_binary(gradient, &keep, "Sub", one, ratio == NO_VALUE ? half : ratio));
        TRY(gradient_binary(gradient, &mask, "CastLike", mask, one));
        TRY(gradient_binary(gradient, &value, "Mul", arriving, mask));
        TRY(gradient_binary(gradient, &value, "Div", value, keep));
    }
    return gradient_contribute(gradient, node, 0, value);
}

/* Mode DCR is undone by SpaceToDepth. CRD reads channels as [C', b, b], so the blocks go behind the channels when undone. */
mitral_status differentiate_depth_to_space(struct gradient *gradient, const struct node *node)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    value_id arriving = gradient_of(gradient, node, 0), value, shape;
    int64_t block = attribute_int(&node->attributes, "blocksize", 1);
    struct attributes attributes = {0};
    if (strcmp(attribute_string(&node->attributes, "mode", "DCR"), "CRD") != 0) {
        TRY(attributes_set_int(&attributes, arena, "blocksize", block));
        TRY(gradient_emit(gradient, "SpaceToDepth", &attributes, &arriving, 1, &value, 1));
        return gradient_contribute(gradient, node, 0, value);
    }
    const struct value_type type = *gradient_type(gradient, node->inputs[0]);
    if (!type_is_static(&type) || type.rank != 4 || block < 1)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected an input of fixed shape");
    int64_t split[6] = {type.dims[0], type.dims[1] / (block * block), type.dims[2], block, type.dims[3], block};
    TRY(gradient_ints(gradient, &shape, split, 6));
    TRY(gradient_binary(gradient, &value, "Reshape", arriving, shape));
    TRY(transpose(gradient, &value, value, (const int64_t[]){0, 1, 3, 5, 2, 4}, 6));
    TRY(gradient_reshape_like(gradient, &value, value, node->inputs[0]));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_space_to_depth(struct gradient *gradient, const struct node *node)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    struct attributes attributes = {0};
    value_id value;
    TRY(attributes_set_int(&attributes, arena, "blocksize", attribute_int(&node->attributes, "blocksize", 1)));
    TRY(attributes_set_string(&attributes, arena, "mode", "DCR"));
    TRY(gradient_emit(gradient, "DepthToSpace", &attributes, (value_id[]){gradient_of(gradient, node, 0)}, 1, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_triangle(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_emit(gradient, "Trilu", &node->attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node_input(node, 1)}, node->input_count > 1 ? 2 : 1, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

/* A pad of half the difference on each side, or a crop: a pad of negative width. */
mitral_status differentiate_centre_crop_pad(struct gradient *gradient, const struct node *node)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    const struct value_type in = *gradient_type(gradient, node->inputs[0]), out = *gradient_type(gradient, node->outputs[0]);
    struct attributes attributes = {0};
    int64_t pads[2 * MITRAL_MAX_RANK] = {0};
    value_id inputs[2] = {gradient_of(gradient, node, 0)}, value;
    size_t count = 1;
    if (!type_is_static(&in) || !type_is_static(&out) || in.rank != out.rank)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected fixed shapes");
    for (int32_t i = 0; i < in.rank; i++) {
        const int64_t more = out.dims[i] - in.dims[i];
        pads[i] = more >= 0 ? more / 2 : -(-more / 2);
        pads[in.rank + i] = more - pads[i];
    }
    TRY(attributes_set_ints(&attributes, arena, "pads", pads, 2 * (size_t)in.rank));
    TRY(attributes_set_string(&attributes, arena, "mode", "constant"));
    TRY(gradient_set_shape(gradient, &attributes, node->inputs[0], inputs, &count));
    TRY(gradient_emit(gradient, "mitral.PadGradient", &attributes, inputs, count, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

/* Reversing twice changes nothing. */
mitral_status differentiate_reverse_sequence(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_emit(gradient, "ReverseSequence", &node->attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node->inputs[1]}, 2, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}
