/* Gather and scatter: what was read from several times receives a sum; what was overwritten receives nothing. */
#include <string.h>

#include "compiler/gradients/gradients.h"

mitral_status differentiate_gather(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    value_id inputs[3] = {gradient_of(gradient, node, 0), node->inputs[1]}, value;
    size_t count = 2;
    TRY(attributes_set_int(&attributes, gradient_graph(gradient)->arena, "axis", attribute_int(&node->attributes, "axis", 0)));
    TRY(gradient_set_shape(gradient, &attributes, node->inputs[0], inputs, &count));
    TRY(gradient_emit(gradient, "mitral.GatherGradient", &attributes, inputs, count, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

/* Adds `updates` at `indices` into zeros of the shape of `like`. */
static mitral_status scatter_add(struct gradient *gradient, value_id *out, const struct node *node, const char *op,
                                 value_id like, value_id indices, value_id updates)
{
    struct attributes attributes = {0};
    struct arena *arena = gradient_graph(gradient)->arena;
    value_id zeros;
    TRY(attributes_set_string(&attributes, arena, "reduction", "add"));
    if (strcmp(op, "ScatterElements") == 0)
        TRY(attributes_set_int(&attributes, arena, "axis", attribute_int(&node->attributes, "axis", 0)));
    TRY(gradient_zeros(gradient, &zeros, like));
    return gradient_emit(gradient, op, &attributes, (value_id[]){zeros, indices, updates}, 3, out, 1);
}

mitral_status differentiate_gather_elements(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(scatter_add(gradient, &value, node, "ScatterElements", node->inputs[0], node->inputs[1], gradient_of(gradient, node, 0)));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_gather_nd(struct gradient *gradient, const struct node *node)
{
    value_id value;
    TRY(scatter_add(gradient, &value, node, "ScatterND", node->inputs[0], node->inputs[1], gradient_of(gradient, node, 0)));
    return gradient_contribute(gradient, node, 0, value);
}

/* `gather` reads what `node` scattered; reductions none and add are linear in both inputs. With none, duplicate indices are
 * undefined by the standard. */
static mitral_status scatter(struct gradient *gradient, const struct node *node, const char *gather)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    const char *reduction = attribute_string(&node->attributes, "reduction", "none");
    bool add = strcmp(reduction, "add") == 0, elements = strcmp(gather, "GatherElements") == 0;
    value_id arriving = gradient_of(gradient, node, 0), value, zeros;
    struct attributes attributes = {0};
    if (!add && strcmp(reduction, "none") != 0)
        return differentiate_scatter_reduction(gradient, node, reduction, elements);
    if (elements)
        TRY(attributes_set_int(&attributes, arena, "axis", attribute_int(&node->attributes, "axis", 0)));
    if (gradient_wants(gradient, node, 2)) {
        TRY(gradient_emit(gradient, gather, &attributes, (value_id[]){arriving, node->inputs[1]}, 2, &value, 1));
        TRY(gradient_contribute(gradient, node, 2, value));
    }
    if (!gradient_wants(gradient, node, 0))
        return MITRAL_OK;
    if (add)
        return gradient_contribute(gradient, node, 0, arriving);
    TRY(gradient_zeros(gradient, &zeros, node->inputs[2]));
    TRY(attributes_set_string(&attributes, arena, "reduction", "none"));
    TRY(gradient_emit(gradient, elements ? "ScatterElements" : "ScatterND", &attributes,
                      (value_id[]){arriving, node->inputs[1], zeros}, 3, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_scatter_elements(struct gradient *gradient, const struct node *node)
{
    return scatter(gradient, node, "GatherElements");
}

mitral_status differentiate_scatter_nd(struct gradient *gradient, const struct node *node)
{
    return scatter(gradient, node, "GatherND");
}
