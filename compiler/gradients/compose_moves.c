/* Operators that select, place and repeat elements, and what is composed of such. */
#include <string.h>

#include "compiler/gradients/compose.h"

static mitral_status fail_symbolic(const struct composer *c)
{
    return gradient_fail(c->gradient, c->node, MITRAL_UNSUPPORTED, "expected inputs of fixed shape and constant settings");
}

/* Elements moved by `by` along an axis; those that come in are `fill`. */
static value_id shifted(struct composer *c, value_id a, int64_t axis, int64_t by, double fill)
{
    const int64_t pads[2] = {by, -by};
    return apply(c, "Pad", NULL, (value_id[]){a, integers(c, pads, 2), number(c, fill), integers(c, &axis, 1)}, 4);
}

/* Products of 2, 4, 8, … neighbours: no division, so zeros are exact. */
mitral_status compose_cumulative_product(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type x = input_type(&c, 0);
    size_t count;
    const int64_t *axes = gradient_constant_ints(gradient, node, 1, &count);
    const bool reverse = attribute_int(&node->attributes, "reverse", 0) != 0;
    if (!axes || count != 1 || x.rank < 1)
        return fail_symbolic(&c);
    const int64_t axis = axes[0] + (axes[0] < 0 ? x.rank : 0), size = axis >= 0 && axis < x.rank ? x.dims[axis] : -1;
    if (size < 0)
        return fail_symbolic(&c);
    value_id y = reverse ? reversed(&c, input_of(&c, 0), axis) : input_of(&c, 0);
    if (attribute_int(&node->attributes, "exclusive", 0) && size > 0)
        y = shifted(&c, y, axis, 1, 1);
    for (int64_t step = 1; step < size; step *= 2)
        y = multiply(&c, y, shifted(&c, y, axis, step, 1));
    become(&c, 0, reverse ? reversed(&c, y, axis) : y);
    return composer_end(&c, done);
}

/* A product of the matrices with the positions, which are constants. */
mitral_status compose_affine_grid(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type y = *gradient_type(gradient, node->outputs[0]);
    const bool align = attribute_int(&node->attributes, "align_corners", 0) != 0;
    const int64_t swap[3] = {0, 2, 1};
    if (!type_is_static(&y) || y.rank < 3)
        return fail_symbolic(&c);
    const int32_t spatial = y.rank - 2;
    int64_t points = 1;
    for (int32_t i = 1; i <= spatial; i++)
        points *= y.dims[i];
    const int64_t dims[2] = {points, spatial + 1};
    double *positions = arena_allocate(arena_of(&c), (size_t)(points * (spatial + 1) + 1) * sizeof *positions);
    if (!positions)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < points; i++) {
        int64_t rest = i;
        for (int32_t d = spatial - 1; d >= 0; d--) { /* x first: the innermost dimension */
            const int64_t size = y.dims[d + 1], at = rest % size;
            const double aligned = size > 1 ? -1 + 2 * (double)at / (double)(size - 1) : 0;
            positions[i * (spatial + 1) + spatial - 1 - d] = align ? aligned : (2 * (double)at + 1) / (double)size - 1;
            rest /= size;
        }
        positions[i * (spatial + 1) + spatial] = 1;
    }
    value_id grid = matrix_product(&c, numbers(&c, positions, 2, dims), permuted(&c, input_of(&c, 0), 3, swap));
    become(&c, 0, reshaped(&c, grid, y.rank, y.dims));
    return composer_end(&c, done);
}

mitral_status compose_one_hot(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const int64_t off_on[2] = {0, 1};
    c.dtype = input_type(&c, 2).dtype;
    value_id mask = apply(&c, "OneHot", &node->attributes, (value_id[]){input_of(&c, 0), input_of(&c, 1), integers(&c, off_on, 2)}, 3);
    value_id off = part(&c, input_of(&c, 2), 0, 0, 1), on = part(&c, input_of(&c, 2), 0, 1, 2);
    become(&c, 0, where(&c, cast(&c, mask, MITRAL_BOOL), on, off));
    return composer_end(&c, done);
}

/* start + i · delta, with as many i as the range has elements. */
mitral_status compose_range(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    value_id bounds[3] = {NO_VALUE, NO_VALUE, NO_VALUE}, ends[2] = {NO_VALUE, NO_VALUE};
    if (!dtype_is_float(input_type(&c, 0).dtype)) {
        *done = false;
        return MITRAL_OK;
    }
    value_id size = unary(&c, "Shape", apply(&c, "Range", NULL, node->inputs, 3));
    for (int64_t i = 0; i < 2 && c.status == MITRAL_OK; i++)
        c.status = gradient_scalar(gradient, &ends[i], MITRAL_INT64, (double)i);
    bounds[0] = ends[0];
    bounds[1] = without_axis(&c, size, 0);
    bounds[2] = ends[1];
    value_id counted = cast(&c, apply(&c, "Range", NULL, bounds, 3), c.dtype);
    become(&c, 0, add(&c, input_of(&c, 0), multiply(&c, counted, input_of(&c, 2))));
    return composer_end(&c, done);
}

static value_id flat(struct composer *c, value_id a)
{
    return reshaped(c, a, 1, (const int64_t[]){-1});
}

static value_id gathered(struct composer *c, value_id a, value_id indices, int64_t axis)
{
    struct attributes attributes = {0};
    set_int(c, &attributes, "axis", axis);
    return apply(c, "Gather", &attributes, (value_id[]){a, indices}, 2);
}

mitral_status compose_compress(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const bool whole = !attribute_has(&node->attributes, "axis");
    value_id chosen = without_axis(&c, unary(&c, "NonZero", input_of(&c, 1)), 0);
    value_id x = whole ? flat(&c, input_of(&c, 0)) : input_of(&c, 0);
    become(&c, 0, gathered(&c, x, chosen, whole ? 0 : attribute_int(&node->attributes, "axis", 0)));
    return composer_end(&c, done);
}

/* Each element that is kept comes from the place where it was seen first. */
mitral_status compose_unique(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const bool whole = !attribute_has(&node->attributes, "axis");
    value_id outputs[4], x = input_of(&c, 0);
    apply_many(&c, "Unique", &node->attributes, &x, 1, outputs, 4);
    become(&c, 0, gathered(&c, whole ? flat(&c, x) : x, outputs[1], whole ? 0 : attribute_int(&node->attributes, "axis", 0)));
    for (size_t i = 1; i < 4; i++)
        become(&c, i, outputs[i]);
    return composer_end(&c, done);
}

/* Every place of the cache reads the update's element that was written there, if one was. */
mitral_status compose_tensor_scatter(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type cache = input_type(&c, 0), update = input_type(&c, 1);
    const bool circular = strcmp(attribute_string(&node->attributes, "mode", "linear"), "circular") == 0;
    int64_t axis = attribute_int(&node->attributes, "axis", -2), zero = 0, last, column[2] = {-1, 1}, place[MITRAL_MAX_RANK];
    struct attributes attributes = {0};
    if (!type_is_static(&cache) || !type_is_static(&update))
        return fail_symbolic(&c);
    axis += axis < 0 ? cache.rank : 0;
    const int64_t longest = cache.dims[axis], length = update.dims[axis];
    int64_t *counted = arena_allocate(arena_of(&c), (size_t)(longest + 1) * sizeof *counted);
    if (!counted)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < longest; i++)
        counted[i] = i;
    last = length - 1;
    for (int32_t i = 0; i < cache.rank; i++)
        place[i] = i == 0 && input_of(&c, 2) != NO_VALUE ? cache.dims[0] : i == axis ? longest : 1;
    value_id at = integers(&c, counted, (size_t)longest);
    if (input_of(&c, 2) != NO_VALUE)
        at = subtract(&c, at, reshaped(&c, input_of(&c, 2), 2, column));
    if (circular)
        at = binary(&c, "Mod", at, integers(&c, &longest, 1));
    at = reshaped(&c, at, cache.rank, place);
    value_id first = integers(&c, &zero, 1), end = integers(&c, &last, 1);
    value_id written = binary(&c, "And", binary(&c, "GreaterOrEqual", at, first), binary(&c, "LessOrEqual", at, end));
    value_id within = binary(&c, "Min", binary(&c, "Max", at, first), end);
    within = binary(&c, "Expand", within, integers(&c, cache.dims, (size_t)cache.rank));
    set_int(&c, &attributes, "axis", axis);
    value_id read = apply(&c, "GatherElements", &attributes, (value_id[]){input_of(&c, 1), within}, 2);
    become(&c, 0, where(&c, written, read, input_of(&c, 0)));
    return composer_end(&c, done);
}

/* With the indices, which its gradient needs. */
mitral_status compose_top_k(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    struct attributes attributes = {0};
    value_id outputs[2], k = input_of(&c, 1);
    *done = false;
    if (node_output(node, 1) != NO_VALUE)
        return MITRAL_OK;
    TRY(attributes_copy(&attributes, arena_of(&c), &node->attributes));
    if (node->version < 10) {
        const int64_t count = attribute_int(&node->attributes, "k", 1);
        attributes_remove(&attributes, "k");
        k = integers(&c, &count, 1);
    }
    apply_many(&c, "TopK", &attributes, (value_id[]){input_of(&c, 0), k}, 2, outputs, 2);
    become(&c, 0, outputs[0]);
    return composer_end(&c, done);
}

/* With the mask, which its gradient needs. */
mitral_status compose_dropout(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    value_id outputs[2];
    *done = false;
    if (node_output(node, 1) != NO_VALUE || node_input(node, 2) == NO_VALUE)
        return MITRAL_OK;
    apply_many(&c, "Dropout", &node->attributes, node->inputs, node->input_count, outputs, 2);
    become(&c, 0, outputs[0]);
    return composer_end(&c, done);
}

/* batch_dims: the batch's own indices in front of the others. */
mitral_status compose_gather_nd(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type type = input_type(&c, 1);
    const int64_t batch = attribute_int(&node->attributes, "batch_dims", 0);
    value_id parts[MITRAL_MAX_RANK + 1];
    *done = false;
    if (batch == 0)
        return MITRAL_OK;
    if (!type_is_static(&type) || batch >= type.rank)
        return fail_symbolic(&c);
    for (int64_t d = 0; d < batch; d++) {
        int64_t dims[MITRAL_MAX_RANK], *counted = arena_allocate(arena_of(&c), (size_t)(type.dims[d] + 1) * sizeof *counted);
        if (!counted)
            return MITRAL_NO_MEMORY;
        for (int64_t i = 0; i < type.dims[d]; i++)
            counted[i] = i;
        for (int32_t i = 0; i < type.rank; i++)
            dims[i] = i == d ? type.dims[d] : 1;
        value_id own = reshaped(&c, integers(&c, counted, (size_t)type.dims[d]), type.rank, dims);
        memcpy(dims, type.dims, sizeof dims);
        dims[type.rank - 1] = 1;
        parts[d] = binary(&c, "Expand", own, integers(&c, dims, (size_t)type.rank));
    }
    parts[batch] = cast(&c, input_of(&c, 1), MITRAL_INT64);
    become(&c, 0, binary(&c, "GatherND", input_of(&c, 0), joined(&c, parts, (size_t)batch + 1, -1)));
    return composer_end(&c, done);
}

mitral_status compose_swiglu(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    value_id gate = unary(&c, "Sigmoid", scaled(&c, input_of(&c, 0), (double)attribute_float(&node->attributes, "alpha", 1)));
    become(&c, 0, multiply(&c, multiply(&c, input_of(&c, 0), gate), input_of(&c, 1)));
    return composer_end(&c, done);
}

/* A setting of one number, one for each place of an axis, or one for each block of an axis, as the input needs it. */
static value_id spread(struct composer *c, value_id setting, const struct value_type *of, const struct value_type *x)
{
    int64_t axis = attribute_int(&c->node->attributes, "axis", 1), block = attribute_int(&c->node->attributes, "block_size", 0);
    int64_t dims[MITRAL_MAX_RANK + 1];
    axis += axis < 0 ? x->rank : 0;
    if (block > 0) {
        memcpy(dims, of->dims, sizeof of->dims);
        memmove(dims + axis + 2, dims + axis + 1, (size_t)(of->rank - axis - 1) * sizeof *dims);
        dims[axis + 1] = block;
        value_id repeated = binary(c, "Expand", with_axis(c, setting, axis + 1), integers(c, dims, (size_t)of->rank + 1));
        memcpy(dims, of->dims, sizeof of->dims);
        dims[axis] *= block;
        return part(c, reshaped(c, repeated, of->rank, dims), axis, 0, x->dims[axis]);
    }
    if (of->rank == 0 || (of->rank == 1 && of->dims[0] == 1))
        return setting;
    for (int32_t i = 0; i < x->rank; i++)
        dims[i] = i == axis ? of->dims[0] : 1;
    return reshaped(c, setting, x->rank, dims);
}

/* (x - zero point) · scale: the scale is differentiated, the integers are not. */
mitral_status compose_dequantize(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type x = input_type(&c, 0), scale = input_type(&c, 1), zero = input_type(&c, 2);
    const int32_t dtype = gradient_type(gradient, node->outputs[0])->dtype;
    if (!type_is_static(&x) || !type_is_static(&scale))
        return fail_symbolic(&c);
    c.dtype = scale.dtype;
    value_id y = cast(&c, input_of(&c, 0), c.dtype);
    if (input_of(&c, 2) != NO_VALUE)
        y = subtract(&c, y, spread(&c, cast(&c, input_of(&c, 2), c.dtype), &zero, &x));
    y = multiply(&c, y, spread(&c, input_of(&c, 1), &scale, &x));
    become(&c, 0, dtype == c.dtype ? y : cast(&c, y, dtype));
    return composer_end(&c, done);
}
