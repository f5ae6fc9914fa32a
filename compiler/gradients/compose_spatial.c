/* Convolutions and pooling over more than three spatial dimensions, whose gradient kernels know three: the leading dimensions are taken
 * off, one after another. Pooling is separable; a convolution is a sum over the taps of its leading dimension. */
#include <string.h>

#include "compiler/gradients/compose.h"

enum { KERNEL_DIMENSIONS = 3 };

static int64_t entry(const struct attributes *attributes, const char *name, int32_t index, int64_t fallback)
{
    size_t count;
    const int64_t *list = attribute_ints(attributes, name, &count);
    return (size_t)index < count ? list[index] : fallback;
}

/* The entries of [first, first + count) of the lists that have one entry (pads: two) for each spatial dimension; `more` dimensions of
 * size 1 behind them. */
static void choose_dimensions(struct composer *c, struct attributes *out, int32_t spatial, int32_t first, int32_t count, int32_t more)
{
    static const char *const names[] = {"kernel_shape", "strides", "dilations", "output_padding", "pads"};
    if (c->status == MITRAL_OK)
        c->status = attributes_copy(out, arena_of(c), &c->node->attributes);
    attributes_remove(out, "output_shape");
    for (size_t i = 0; i < sizeof names / sizeof *names && c->status == MITRAL_OK; i++) {
        const bool pads = i == 4;
        int64_t values[2 * MITRAL_MAX_RANK] = {0};
        size_t length;
        if (!attribute_ints(&c->node->attributes, names[i], &length) || length == 0)
            continue;
        for (int32_t k = 0; k < count + more; k++) {
            const int64_t single = i < 3 ? 1 : 0;
            values[k] = k < count ? entry(&c->node->attributes, names[i], first + k, single) : single;
            if (pads)
                values[count + more + k] = k < count ? entry(&c->node->attributes, names[i], spatial + first + k, 0) : 0;
        }
        c->status = attributes_set_ints(out, arena_of(c), names[i], values, (size_t)(pads ? 2 : 1) * (size_t)(count + more));
    }
}

static int64_t product(const int64_t *dims, int32_t from, int32_t to)
{
    int64_t total = 1;
    for (int32_t i = from; i < to; i++)
        total *= dims[i];
    return total;
}

static bool has_too_many(const struct composer *c)
{
    const struct value_type y = *gradient_type(c->gradient, c->node->outputs[0]);
    for (size_t i = 0; i < c->node->input_count && i < 2; i++)
        if (c->node->inputs[i] == NO_VALUE || !type_is_static(gradient_type(c->gradient, c->node->inputs[i])))
            return false;
    return type_is_static(&y) && y.rank - 2 > KERNEL_DIMENSIONS;
}

/* The trailing three dimensions at once, then each leading one with all behind it as rows. */
mitral_status compose_pooling(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    *done = false;
    if (!has_too_many(&c) || node_output(node, 1) != NO_VALUE)
        return MITRAL_OK;
    const struct value_type x = input_type(&c, 0), y = *gradient_type(gradient, node->outputs[0]);
    const int32_t spatial = x.rank - 2, lead = spatial - KERNEL_DIMENSIONS;
    struct attributes tail = {0};
    int64_t dims[MITRAL_MAX_RANK];
    memcpy(dims, x.dims, sizeof dims);
    const int64_t maps[5] = {x.dims[0], product(x.dims, 1, 2 + lead), x.dims[x.rank - 3], x.dims[x.rank - 2], x.dims[x.rank - 1]};
    choose_dimensions(&c, &tail, spatial, lead, KERNEL_DIMENSIONS, 0);
    value_id value = reshaped(&c, input_of(&c, 0), 5, maps);
    value = apply(&c, node->op->name, &tail, &value, 1);
    memcpy(dims + 2 + lead, y.dims + 2 + lead, KERNEL_DIMENSIONS * sizeof *dims);
    for (int32_t i = lead - 1; i >= 0; i--) {
        struct attributes one = {0};
        const int64_t rows[4] = {product(dims, 0, 2 + i), 1, dims[2 + i], product(dims, 3 + i, x.rank)};
        choose_dimensions(&c, &one, spatial, i, 1, 1);
        value = reshaped(&c, value, 4, rows);
        value = apply(&c, node->op->name, &one, &value, 1);
        dims[2 + i] = y.dims[2 + i];
    }
    become(&c, 0, reshaped(&c, value, y.rank, y.dims));
    return composer_end(&c, done);
}

/* Where a map is one window, its dimensions may as well be one. */
mitral_status compose_global_pooling(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type x = input_type(&c, 0), y = *gradient_type(gradient, node->outputs[0]);
    const int64_t row[3] = {x.dims[0], x.dims[1], product(x.dims, 2, x.rank)};
    *done = false;
    if (!has_too_many(&c))
        return MITRAL_OK;
    value_id value = reshaped(&c, input_of(&c, 0), 3, row);
    become(&c, 0, reshaped(&c, apply(&c, node->op->name, &node->attributes, &value, 1), y.rank, y.dims));
    return composer_end(&c, done);
}

/* The leading spatial dimension behind the batch, [batch · size, channels, …], and back. */
static value_id into_batch(struct composer *c, value_id a, const int64_t *dims, int32_t rank)
{
    int64_t order[MITRAL_MAX_RANK], merged[MITRAL_MAX_RANK] = {dims[0] * dims[2], dims[1]};
    for (int32_t i = 0; i < rank; i++)
        order[i] = i == 1 ? 2 : i == 2 ? 1 : i;
    memcpy(merged + 2, dims + 3, (size_t)(rank - 3) * sizeof *merged);
    return reshaped(c, permuted(c, a, rank, order), rank - 1, merged);
}

static value_id out_of_batch(struct composer *c, value_id a, const int64_t *dims, int32_t rank)
{
    int64_t order[MITRAL_MAX_RANK], split[MITRAL_MAX_RANK];
    for (int32_t i = 0; i < rank; i++)
        order[i] = i == 1 ? 2 : i == 2 ? 1 : i;
    memcpy(split, dims, (size_t)rank * sizeof *split);
    split[1] = dims[2];
    split[2] = dims[1];
    return permuted(c, reshaped(c, a, rank, split), rank, order);
}

static value_id padded(struct composer *c, value_id a, int64_t axis, int64_t begin, int64_t end)
{
    const int64_t pads[2] = {begin, end};
    return begin == 0 && end == 0 ? a : apply(c, "Pad", NULL, (value_id[]){a, integers(c, pads, 2), number(c, 0), integers(c, &axis, 1)}, 4);
}

static value_id tap_of(struct composer *c, int64_t k)
{
    return without_axis(c, part(c, input_of(c, 1), 2, k, k + 1), 2);
}

static value_id with_bias(struct composer *c, value_id a, int32_t rank)
{
    int64_t dims[MITRAL_MAX_RANK] = {1, -1};
    for (int32_t i = 2; i < rank; i++)
        dims[i] = 1;
    return input_of(c, 2) == NO_VALUE ? a : add(c, a, reshaped(c, input_of(c, 2), rank, dims));
}

mitral_status compose_convolution(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    *done = false;
    if (!has_too_many(&c))
        return MITRAL_OK;
    const struct value_type x = input_type(&c, 0), w = input_type(&c, 1), y = *gradient_type(gradient, node->outputs[0]);
    const struct attributes *attributes = &node->attributes;
    const char *mode = attribute_string(attributes, "auto_pad", "NOTSET");
    const int32_t spatial = x.rank - 2;
    const int64_t stride = entry(attributes, "strides", 0, 1), dilation = entry(attributes, "dilations", 0, 1), axis = 2;
    const int64_t covered = (y.dims[2] - 1) * stride + (w.dims[2] - 1) * dilation + 1;
    int64_t begin = entry(attributes, "pads", 0, 0);
    struct attributes rest = {0};
    if (strncmp(mode, "SAME", 4) == 0) {
        const int64_t total = covered > x.dims[2] ? covered - x.dims[2] : 0;
        begin = strcmp(mode, "SAME_UPPER") == 0 ? total / 2 : total - total / 2;
    }
    choose_dimensions(&c, &rest, spatial, 1, spatial - 1, 0);
    value_id map = padded(&c, input_of(&c, 0), 2, begin, covered - x.dims[2] - begin), sum = NO_VALUE;
    int64_t taken[MITRAL_MAX_RANK];
    memcpy(taken, x.dims, sizeof taken);
    taken[2] = y.dims[2];
    for (int64_t k = 0; k < w.dims[2]; k++) {
        const int64_t start = k * dilation, end = start + (y.dims[2] - 1) * stride + 1;
        value_id slice = apply(&c, "Slice", NULL, (value_id[]){map, integers(&c, &start, 1), integers(&c, &end, 1), integers(&c, &axis, 1),
                                                               integers(&c, &stride, 1)}, 5);
        value_id one = apply(&c, "Conv", &rest, (value_id[]){into_batch(&c, slice, taken, x.rank), tap_of(&c, k)}, 2);
        sum = sum == NO_VALUE ? one : add(&c, sum, one);
    }
    become(&c, 0, with_bias(&c, out_of_batch(&c, sum, y.dims, y.rank), y.rank));
    return composer_end(&c, done);
}

/* What each tap makes is set apart by the stride and moved to its place. */
mitral_status compose_transposed_convolution(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    size_t given;
    *done = false;
    if (!has_too_many(&c))
        return MITRAL_OK;
    const struct value_type x = input_type(&c, 0), w = input_type(&c, 1), y = *gradient_type(gradient, node->outputs[0]);
    const struct attributes *attributes = &node->attributes;
    const char *mode = attribute_string(attributes, "auto_pad", "NOTSET");
    attribute_ints(attributes, "output_shape", &given);
    if (given || (strcmp(mode, "NOTSET") != 0 && strcmp(mode, "VALID") != 0))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected explicit pads over more than %d dimensions", KERNEL_DIMENSIONS);
    const int32_t spatial = x.rank - 2;
    const int64_t stride = entry(attributes, "strides", 0, 1), dilation = entry(attributes, "dilations", 0, 1);
    const int64_t begin = entry(attributes, "pads", 0, 0), spread = (x.dims[2] - 1) * stride + 1;
    struct attributes rest = {0};
    int64_t made[MITRAL_MAX_RANK], apart[MITRAL_MAX_RANK + 1];
    choose_dimensions(&c, &rest, spatial, 1, spatial - 1, 0);
    memcpy(made, y.dims, sizeof made);
    made[2] = x.dims[2];
    memcpy(apart, made, sizeof made);
    apart[2] = x.dims[2] * stride;
    value_id map = into_batch(&c, input_of(&c, 0), x.dims, x.rank), sum = NO_VALUE;
    for (int64_t k = 0; k < w.dims[2]; k++) {
        value_id one = apply(&c, "ConvTranspose", &rest, (value_id[]){map, tap_of(&c, k)}, 2);
        one = out_of_batch(&c, one, made, y.rank);
        if (stride > 1)
            one = part(&c, reshaped(&c, padded(&c, with_axis(&c, one, 3), 3, 0, stride - 1), y.rank, apart), 2, 0, spread);
        const int64_t at = k * dilation - begin;
        one = padded(&c, one, 2, at, y.dims[2] - spread - at);
        sum = sum == NO_VALUE ? one : add(&c, sum, one);
    }
    become(&c, 0, with_bias(&c, sum, y.rank));
    return composer_end(&c, done);
}
