/* Fourier transforms. DFT is linear: its gradient is the adjoint transform. STFT is a DFT of windowed frames. */
#include <string.h>

#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

static value_id transform(struct composer *c, value_id a, int64_t axis, bool inverse, bool onesided)
{
    struct attributes attributes = {0};
    value_id where_to = NO_VALUE;
    set_int(c, &attributes, "inverse", inverse);
    set_int(c, &attributes, "onesided", onesided);
    if (c->status == MITRAL_OK)
        c->status = gradient_scalar(c->gradient, &where_to, MITRAL_INT64, (double)axis);
    return apply(c, "DFT", &attributes, (value_id[]){a, NO_VALUE, where_to}, 3);
}

/* The first `wanted` of `have` elements of an axis, zeros behind them where there are fewer. */
static value_id fitted(struct composer *c, value_id a, int64_t axis, int64_t have, int64_t wanted)
{
    const int64_t pads[2] = {0, wanted - have};
    if (wanted < have)
        return part(c, a, axis, 0, wanted);
    if (wanted == have)
        return a;
    return apply(c, "Pad", NULL, (value_id[]){a, integers(c, pads, 2), number(c, 0), integers(c, &axis, 1)}, 4);
}

/* What the mirrored half adds to each element of the first one, over the length. */
static value_id half_weights(struct composer *c, int64_t axis, int32_t rank, int64_t bins, int64_t length)
{
    int64_t dims[MITRAL_MAX_RANK];
    double *values = arena_allocate(arena_of(c), (size_t)(bins + 1) * sizeof *values);
    if (!values) {
        c->status = MITRAL_NO_MEMORY;
        return NO_VALUE;
    }
    for (int64_t k = 0; k < bins; k++)
        values[k] = (k == 0 || 2 * k == length ? 1 : 2) / (double)length;
    for (int32_t i = 0; i < rank; i++)
        dims[i] = i == axis ? bins : 1;
    return numbers(c, values, rank, dims);
}

mitral_status differentiate_dft(struct gradient *gradient, const struct node *node)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type x = input_type(&c, 0), y = *gradient_type(gradient, node->outputs[0]);
    const bool inverse = attribute_int(&node->attributes, "inverse", 0) != 0;
    const bool onesided = attribute_int(&node->attributes, "onesided", 0) != 0;
    int64_t axis = node->version < 20 ? attribute_int(&node->attributes, "axis", 1) : -2, length;
    size_t count;
    if (!type_is_static(&x) || !type_is_static(&y))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected an input of fixed shape and constant settings");
    if (node->version >= 20 && node_input(node, 2) != NO_VALUE) {
        const int64_t *given = gradient_constant_ints(gradient, node, 2, &count);
        if (!given || count != 1)
            return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected a constant axis");
        axis = given[0];
    }
    axis += axis < 0 ? x.rank : 0;
    length = y.dims[axis];
    value_id value = gradient_of(gradient, node, 0);
    if (onesided && !inverse) { /* its length cannot be read off the bins */
        const int64_t *given = gradient_constant_ints(gradient, node, 1, &count);
        length = given && count == 1 ? given[0] : x.dims[axis];
        value = fitted(&c, value, axis, y.dims[axis], length);
    }
    if (onesided && inverse) {
        const int64_t bins = length / 2 + 1;
        value = multiply(&c, transform(&c, value, axis, false, true), half_weights(&c, axis, x.rank, bins, length));
        value = fitted(&c, value, axis, bins, x.dims[axis]);
    } else {
        value = transform(&c, value, axis, !inverse, false);
        value = scaled(&c, value, inverse ? 1 / (double)length : (double)length);
        value = fitted(&c, value, axis, length, x.dims[axis]);
    }
    if (x.dims[x.rank - 1] == 1)
        value = part(&c, value, x.rank - 1, 0, 1);
    TRY(c.status);
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status compose_stft(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type x = input_type(&c, 0), window = input_type(&c, 2);
    struct attributes along = {0};
    size_t count;
    const int64_t *step = gradient_constant_ints(gradient, node, 1, &count);
    if (!type_is_static(&x) || x.rank != 3 || !step || count != 1 || step[0] < 1)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected a signal of fixed shape and constant settings");
    int64_t length = window.rank == 1 ? window.dims[0] : x.dims[1];
    const int64_t *given = gradient_constant_ints(gradient, node, 3, &count);
    length = given && count == 1 ? given[0] : length;
    const int64_t frames = (x.dims[1] - length) / step[0] + 1, dims[2] = {frames, length}, column[2] = {length, 1};
    int64_t *places = arena_allocate(arena_of(&c), (size_t)(frames * length + 1) * sizeof *places);
    if (!places)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < frames * length; i++)
        places[i] = i / length * step[0] + i % length;
    set_int(&c, &along, "axis", 1);
    value_id indices = reshaped(&c, integers(&c, places, (size_t)(frames * length)), 2, dims);
    value_id signal = apply(&c, "Gather", &along, (value_id[]){input_of(&c, 0), indices}, 2);
    if (input_of(&c, 2) != NO_VALUE)
        signal = multiply(&c, signal, reshaped(&c, input_of(&c, 2), 2, column));
    become(&c, 0, transform(&c, signal, 2, false, attribute_int(&node->attributes, "onesided", 1) != 0));
    return composer_end(&c, done);
}
