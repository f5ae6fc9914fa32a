/* ScatterElements and ScatterND that multiply, or keep the largest or smallest. */
#include <string.h>

#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

struct scattering {
    struct composer c;
    bool elements;
    int64_t axis;
    value_id indices;
};

static value_id gathered(struct scattering *s, value_id a)
{
    struct attributes attributes = {0};
    if (s->elements)
        set_int(&s->c, &attributes, "axis", s->axis);
    return apply(&s->c, s->elements ? "GatherElements" : "GatherND", &attributes, (value_id[]){a, s->indices}, 2);
}

static value_id scattered(struct scattering *s, value_id into, value_id updates, const char *reduction)
{
    struct attributes attributes = {0};
    if (s->elements)
        set_int(&s->c, &attributes, "axis", s->axis);
    if (s->c.status == MITRAL_OK)
        s->c.status = attributes_set_string(&attributes, arena_of(&s->c), "reduction", reduction);
    return apply(&s->c, s->elements ? "ScatterElements" : "ScatterND", &attributes, (value_id[]){into, s->indices, updates}, 3);
}

static value_id equal(struct scattering *s, value_id a, value_id b)
{
    return binary(&s->c, "Equal", a, b);
}

/* dy times the product of the other factors: `product` is that of the factors that are not zero, `zeros` counts those that are. */
static value_id other_factors(struct scattering *s, value_id dy, value_id factor, value_id product, value_id zeros)
{
    struct composer *c = &s->c;
    value_id zero = number(c, 0), one = number(c, 1), is_zero = equal(s, factor, zero);
    value_id without = where(c, equal(s, zeros, one), product, zero);
    value_id with = where(c, equal(s, zeros, zero), divide(c, product, where(c, is_zero, one, factor)), zero);
    return multiply(c, dy, where(c, is_zero, without, with));
}

static void of_product(struct scattering *s, value_id dy, value_id out[2])
{
    struct composer *c = &s->c;
    value_id x = input_of(c, 0), updates = input_of(c, 2), zero = number(c, 0), one = number(c, 1);
    value_id x_zero = equal(s, x, zero), update_zero = equal(s, updates, zero);
    value_id zeros = scattered(s, cast(c, x_zero, c->dtype), cast(c, update_zero, c->dtype), "add");
    value_id product = scattered(s, where(c, x_zero, one, x), where(c, update_zero, one, updates), "mul");
    out[0] = other_factors(s, dy, x, product, zeros);
    out[1] = other_factors(s, gathered(s, dy), updates, gathered(s, product), gathered(s, zeros));
}

/* Shared evenly between those that reach the extremum. */
static void of_extremum(struct scattering *s, value_id dy, value_id out[2])
{
    struct composer *c = &s->c;
    value_id x = input_of(c, 0), updates = input_of(c, 2), y = c->node->outputs[0];
    value_id x_hits = cast(c, equal(s, x, y), c->dtype), update_hits = cast(c, equal(s, updates, gathered(s, y)), c->dtype);
    value_id share = divide(c, dy, scattered(s, x_hits, update_hits, "add"));
    out[0] = multiply(c, share, x_hits);
    out[1] = multiply(c, gathered(s, share), update_hits);
}

mitral_status differentiate_scatter_reduction(struct gradient *gradient, const struct node *node, const char *reduction, bool elements)
{
    struct scattering s = {.c = composer_start(gradient, node), .elements = elements, .axis = attribute_int(&node->attributes, "axis", 0),
                           .indices = node->inputs[1]};
    value_id values[2];
    if (strcmp(reduction, "mul") == 0)
        of_product(&s, gradient_of(gradient, node, 0), values);
    else
        of_extremum(&s, gradient_of(gradient, node, 0), values);
    TRY(s.c.status);
    TRY(gradient_contribute(gradient, node, 0, values[0]));
    return gradient_contribute(gradient, node, 2, values[1]);
}
