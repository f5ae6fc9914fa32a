/* Softmax and the standard's losses on class scores. */
#include <string.h>

#include "compiler/gradients/gradients.h"

static mitral_status softmax_gradient(struct gradient *gradient, const struct node *node, bool logarithm)
{
    struct attributes attributes = {0};
    struct arena *arena = gradient_graph(gradient)->arena;
    value_id value;
    bool flat = node->version < 13; /* then all dimensions from the axis on are one */
    TRY(attributes_set_int(&attributes, arena, "axis", attribute_int(&node->attributes, "axis", flat ? 1 : -1)));
    TRY(attributes_set_int(&attributes, arena, "flatten", flat));
    TRY(attributes_set_int(&attributes, arena, "logarithm", logarithm));
    TRY(gradient_emit(gradient, "mitral.SoftmaxGradient", &attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node->outputs[0]}, 2, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_softmax(struct gradient *gradient, const struct node *node)
{
    return softmax_gradient(gradient, node, false);
}

mitral_status differentiate_log_softmax(struct gradient *gradient, const struct node *node)
{
    return softmax_gradient(gradient, node, true);
}

static mitral_status class_loss(struct gradient *gradient, const struct node *node, bool scores_are_logits)
{
    struct attributes attributes = {0};
    struct arena *arena = gradient_graph(gradient)->arena;
    value_id value, arriving = gradient_of(gradient, node, 0);
    if (gradient_of(gradient, node, 1) != NO_VALUE)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected the loss to use the first output only");
    TRY(attributes_copy(&attributes, arena, &node->attributes));
    TRY(attributes_set_int(&attributes, arena, "logits", scores_are_logits));
    TRY(gradient_emit(gradient, "mitral.ClassLossGradient", &attributes,
                      (value_id[]){arriving, node->inputs[0], node->inputs[1], node_input(node, 2)}, 4, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_softmax_cross_entropy_loss(struct gradient *gradient, const struct node *node)
{
    return class_loss(gradient, node, true);
}

mitral_status differentiate_negative_log_likelihood_loss(struct gradient *gradient, const struct node *node)
{
    return class_loss(gradient, node, false);
}
