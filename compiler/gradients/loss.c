/* The losses of training (operators of domain mitral, training/loss.h says what each computes). Labels, weights and teachers'
 * values get no gradient. */
#include <string.h>

#include "compiler/gradients/gradients.h"

/* Outputs of the node: loss, probabilities, Σ weights. The first two may be used. */
mitral_status differentiate_pixel_cross_entropy(struct gradient *gradient, const struct node *node)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    value_id value, loss = gradient_of(gradient, node, 0), through = gradient_of(gradient, node, 1);
    if (node_output(node, 1) == NO_VALUE || node_output(node, 2) == NO_VALUE)
        return gradient_fail(gradient, node, MITRAL_INVALID, "expected the probabilities and the weights' sum among the outputs");
    if (loss != NO_VALUE) {
        TRY(gradient_emit(gradient, "mitral.PixelCrossEntropyGradient", &node->attributes,
                          (value_id[]){loss, node->outputs[1], node->inputs[1], node_input(node, 2), node->outputs[2]}, 5,
                          &value, 1));
        TRY(gradient_contribute(gradient, node, 0, value));
    }
    if (through != NO_VALUE) {
        struct attributes attributes = {0};
        TRY(attributes_set_int(&attributes, arena, "axis", 1));
        TRY(gradient_emit(gradient, "mitral.SoftmaxGradient", &attributes, (value_id[]){through, node->outputs[1]}, 2, &value, 1));
        TRY(gradient_contribute(gradient, node, 0, value));
    }
    return MITRAL_OK;
}

/* Outputs of the node: loss, intersections, sizes. */
mitral_status differentiate_soft_dice(struct gradient *gradient, const struct node *node)
{
    struct attributes attributes = {0};
    value_id inputs[5] = {gradient_of(gradient, node, 0), node->inputs[1], node_output(node, 1), node_output(node, 2)}, value;
    size_t count = 4;
    if (inputs[2] == NO_VALUE || inputs[3] == NO_VALUE)
        return gradient_fail(gradient, node, MITRAL_INVALID, "expected the sums among the outputs");
    TRY(attributes_copy(&attributes, gradient_graph(gradient)->arena, &node->attributes));
    TRY(gradient_set_shape(gradient, &attributes, node->inputs[0], inputs, &count));
    TRY(gradient_emit(gradient, "mitral.SoftDiceGradient", &attributes, inputs, count, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

static mitral_status student_gradient(struct gradient *gradient, const struct node *node, const char *op)
{
    value_id value;
    if (gradient_wants(gradient, node, 1))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected a teacher that is not trained");
    TRY(gradient_emit(gradient, op, &node->attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node->inputs[0], node->inputs[1], node_input(node, 2)},
                      node->input_count > 2 ? 4 : 3, &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_divergence(struct gradient *gradient, const struct node *node)
{
    return student_gradient(gradient, node, "mitral.DivergenceGradient");
}

mitral_status differentiate_unit_distance(struct gradient *gradient, const struct node *node)
{
    return student_gradient(gradient, node, "mitral.UnitDistanceGradient");
}

mitral_status differentiate_mean_squared_error(struct gradient *gradient, const struct node *node)
{
    return student_gradient(gradient, node, "mitral.MeanSquaredErrorGradient");
}
