/* Operators that sample maps: GridSample, RoiAlign, MaxRoiPool; Det; and Col2Im, whose gradient reads where it wrote. */
#include <string.h>

#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

/* The forward operator's attributes and its version, which says what they mean. */
static mitral_status with_version(struct gradient *gradient, const struct node *node, struct attributes *out)
{
    TRY(attributes_copy(out, gradient_graph(gradient)->arena, &node->attributes));
    return attributes_set_int(out, gradient_graph(gradient)->arena, "forward_version", node->version);
}

mitral_status differentiate_grid_sample(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    value_id values[2] = {NO_VALUE, NO_VALUE};
    TRY(with_version(gradient, node, &attributes));
    TRY(gradient_emit(gradient, "mitral.GridSampleGradient", &attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node->inputs[0], node->inputs[1]}, 3, values, 2));
    TRY(gradient_contribute(gradient, node, 0, values[0]));
    return gradient_contribute(gradient, node, 1, values[1]);
}

/* Regions get no gradient: they are proposals, and torchvision gives them none either. */
mitral_status differentiate_roi_align(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    value_id inputs[4] = {gradient_of(gradient, node, 0), node->inputs[1], node->inputs[2], NO_VALUE}, value;
    size_t count = 3;
    if (!gradient_wants(gradient, node, 0))
        return MITRAL_OK;
    TRY(with_version(gradient, node, &attributes));
    if (strcmp(attribute_string(&node->attributes, "mode", "avg"), "max") == 0)
        inputs[count++] = node->inputs[0];
    else
        TRY(gradient_set_shape(gradient, &attributes, node->inputs[0], inputs, &count));
    TRY(gradient_emit(gradient, "mitral.RoiAlignGradient", &attributes, inputs, count, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

/* Regions are rounded, so the maximum moves with the map alone. */
mitral_status differentiate_max_roi_pool(struct gradient *gradient, const struct node *node)
{
    value_id value;
    if (!gradient_wants(gradient, node, 0))
        return MITRAL_OK;
    TRY(gradient_emit(gradient, "mitral.MaxRoiPoolGradient", &node->attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node->inputs[1], node->inputs[0]}, 3, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_determinant(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(gradient_binary(gradient, &value, "mitral.DetGradient", gradient_of(gradient, node, 0), node->inputs[0]));
    return gradient_contribute(gradient, node, 0, value);
}

/* ---- Col2Im ---------------------------------------------------------------------------------------------------------- */

struct folding {
    int32_t spatial;
    int64_t window[MITRAL_MAX_RANK], strides[MITRAL_MAX_RANK], dilations[MITRAL_MAX_RANK], padded[MITRAL_MAX_RANK], blocks[MITRAL_MAX_RANK];
    int64_t taps, positions;
};

static int64_t entry(const struct node *node, const char *name, size_t index, int64_t fallback)
{
    size_t count;
    const int64_t *list = attribute_ints(&node->attributes, name, &count);
    return index < count ? list[index] : fallback;
}

/* Places of the padded map, for every tap of every block. */
static int64_t *places(struct gradient *gradient, const struct folding *f)
{
    int64_t *out = arena_allocate(gradient_graph(gradient)->arena, (size_t)(f->taps * f->positions + 1) * sizeof *out);
    for (int64_t i = 0; out && i < f->taps * f->positions; i++) {
        int64_t tap = i / f->positions, block = i % f->positions, scale = 1;
        out[i] = 0;
        for (int32_t d = f->spatial - 1; d >= 0; d--) {
            out[i] += scale * (block % f->blocks[d] * f->strides[d] + tap % f->window[d] * f->dilations[d]);
            scale *= f->padded[d];
            tap /= f->window[d];
            block /= f->blocks[d];
        }
    }
    return out;
}

mitral_status differentiate_col2im(struct gradient *gradient, const struct node *node)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type y = *gradient_type(gradient, node->outputs[0]), x = input_type(&c, 0);
    struct attributes along = {0};
    size_t count;
    const int64_t *window = gradient_constant_ints(gradient, node, 2, &count);
    if (!type_is_static(&y) || !type_is_static(&x) || !window || (int32_t)count != y.rank - 2)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected columns of fixed shape and constant sizes");
    struct folding f = {.spatial = y.rank - 2, .taps = 1, .positions = 1};
    int64_t pads[2 * MITRAL_MAX_RANK] = {0}, flat[3] = {y.dims[0], y.dims[1], -1};
    for (int32_t d = 0; d < f.spatial; d++) {
        f.window[d] = window[d];
        f.strides[d] = entry(node, "strides", (size_t)d, 1);
        f.dilations[d] = entry(node, "dilations", (size_t)d, 1);
        pads[2 + d] = entry(node, "pads", (size_t)d, 0);
        pads[y.rank + 2 + d] = entry(node, "pads", (size_t)(f.spatial + d), 0);
        f.padded[d] = y.dims[2 + d] + pads[2 + d] + pads[y.rank + 2 + d];
        f.blocks[d] = (f.padded[d] - f.dilations[d] * (f.window[d] - 1) - 1) / f.strides[d] + 1;
        f.taps *= f.window[d];
        f.positions *= f.blocks[d];
    }
    const int64_t *indices = places(gradient, &f);
    if (!indices)
        return MITRAL_NO_MEMORY;
    TRY(attributes_set_int(&along, gradient_graph(gradient)->arena, "axis", 2));
    value_id map = apply(&c, "Pad", NULL, (value_id[]){gradient_of(gradient, node, 0), integers(&c, pads, 2 * (size_t)y.rank), number(&c, 0)}, 3);
    value_id list = integers(&c, indices, (size_t)(f.taps * f.positions));
    value_id columns = apply(&c, "Gather", &along, (value_id[]){reshaped(&c, map, 3, flat), list}, 2);
    columns = reshaped(&c, columns, x.rank, x.dims);
    TRY(c.status);
    return gradient_contribute(gradient, node, 0, columns);
}
