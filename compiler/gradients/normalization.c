/* Normalisations. Statistics are recomputed from the input where the forward operator does not give them. */
#include <string.h>

#include "compiler/gradients/gradients.h"

/* dX, dscale and dB of a batch normalisation from the statistics that it used. */
static mitral_status batch_gradient(struct gradient *gradient, const struct node *node, value_id mean, value_id deviation,
                                    bool training)
{
    struct attributes attributes = {0};
    struct arena *arena = gradient_graph(gradient)->arena;
    value_id values[3];
    TRY(attributes_set_int(&attributes, arena, "training", training));
    TRY(attributes_set_float(&attributes, arena, "epsilon", attribute_float(&node->attributes, "epsilon", 1e-5f)));
    TRY(gradient_emit(gradient, "mitral.BatchNormalizationGradient", &attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node->inputs[0], node->inputs[1], mean, deviation}, 5, values, 3));
    for (size_t i = 0; i < 3; i++)
        TRY(gradient_contribute(gradient, node, i, values[i]));
    return MITRAL_OK;
}

mitral_status differentiate_batch_normalization(struct gradient *gradient, const struct node *node)
{
    value_id statistics[2];
    if (gradient_of(gradient, node, 0) == NO_VALUE)
        return MITRAL_OK;
    if (!attribute_int(&node->attributes, "training_mode", 0)) {
        if (gradient_wants(gradient, node, 3) || gradient_wants(gradient, node, 4))
            return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected running statistics that are not trained");
        return batch_gradient(gradient, node, node->inputs[3], node->inputs[4], false);
    }
    struct attributes attributes = {0};
    TRY(attributes_set_float(&attributes, gradient_graph(gradient)->arena, "epsilon",
                             attribute_float(&node->attributes, "epsilon", 1e-5f)));
    TRY(gradient_emit(gradient, "mitral.BatchNormalizationStatistics", &attributes, &node->inputs[0], 1, statistics, 2));
    return batch_gradient(gradient, node, statistics[0], statistics[1], true);
}

/* mitral.BatchNormalizationTraining: outputs 3 and 4 are the batch's mean and inverse deviation. */
mitral_status differentiate_batch_normalization_training(struct gradient *gradient, const struct node *node)
{
    if (gradient_of(gradient, node, 0) == NO_VALUE)
        return MITRAL_OK;
    if (node_output(node, 3) == NO_VALUE || node_output(node, 4) == NO_VALUE)
        return gradient_fail(gradient, node, MITRAL_INVALID, "expected the saved statistics among the outputs");
    return batch_gradient(gradient, node, node->outputs[3], node->outputs[4], true);
}

/* An operator "mitral.<Name>Gradient" of (dY, X, scale) that gives dX, dscale and dB in the shapes of the inputs. */
static mitral_status scaled_gradient(struct gradient *gradient, const struct node *node, const char *op)
{
    struct attributes attributes = {0};
    value_id values[3];
    TRY(attributes_copy(&attributes, gradient_graph(gradient)->arena, &node->attributes));
    TRY(gradient_emit(gradient, op, &attributes,
                      (value_id[]){gradient_of(gradient, node, 0), node->inputs[0], node->inputs[1]}, 3, values, 3));
    for (size_t i = 0; i < 3; i++)
        TRY(gradient_contribute(gradient, node, i, values[i]));
    return MITRAL_OK;
}

mitral_status differentiate_instance_normalization(struct gradient *gradient, const struct node *node)
{
    return scaled_gradient(gradient, node, "mitral.InstanceNormalizationGradient");
}

mitral_status differentiate_group_normalization(struct gradient *gradient, const struct node *node)
{
    return scaled_gradient(gradient, node, "mitral.GroupNormalizationGradient");
}

/* The kernel gives dX and dY·x̂; the latter, summed over what the scale was repeated to, is dscale. */
static mitral_status row_gradient(struct gradient *gradient, const struct node *node, bool centred)
{
    struct attributes attributes = {0};
    struct arena *arena = gradient_graph(gradient)->arena;
    value_id values[2], arriving = gradient_of(gradient, node, 0);
    if (arriving == NO_VALUE)
        return MITRAL_OK;
    if (gradient_of(gradient, node, 1) != NO_VALUE || gradient_of(gradient, node, 2) != NO_VALUE)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected the loss to use the first output only");
    TRY(attributes_copy(&attributes, arena, &node->attributes));
    TRY(attributes_set_int(&attributes, arena, "centred", centred));
    TRY(gradient_emit(gradient, "mitral.LayerNormalizationGradient", &attributes,
                      (value_id[]){arriving, node->inputs[0], node->inputs[1]}, 3, values, 2));
    TRY(gradient_contribute(gradient, node, 0, values[0]));
    TRY(gradient_contribute_reduced(gradient, node, 1, values[1]));
    return gradient_contribute_reduced(gradient, node, 2, arriving);
}

mitral_status differentiate_layer_normalization(struct gradient *gradient, const struct node *node)
{
    return row_gradient(gradient, node, true);
}

mitral_status differentiate_rms_normalization(struct gradient *gradient, const struct node *node)
{
    return row_gradient(gradient, node, false);
}

static mitral_status plain_gradient(struct gradient *gradient, const struct node *node, const char *op)
{
    value_id value;
    TRY(gradient_emit(gradient, op, &node->attributes, (value_id[]){gradient_of(gradient, node, 0), node->inputs[0]}, 2,
                      &value, 1));
    return gradient_contribute(gradient, node, 0, value);
}

mitral_status differentiate_lrn(struct gradient *gradient, const struct node *node)
{
    return plain_gradient(gradient, node, "mitral.LrnGradient");
}

mitral_status differentiate_lp_normalization(struct gradient *gradient, const struct node *node)
{
    return plain_gradient(gradient, node, "mitral.LpNormalizationGradient");
}

static mitral_status mean_over(struct gradient *gradient, value_id *out, value_id value, value_id axes)
{
    struct attributes attributes = {0};
    TRY(attributes_set_int(&attributes, gradient_graph(gradient)->arena, "keepdims", 1));
    return gradient_emit(gradient, "ReduceMean", &attributes, (value_id[]){value, axes}, 2, out, 1);
}

/* y = c / (s + ε) with c = x - mean x, s = √mean c²: dx = d - mean d, d = (dy - y (s + ε) / s · mean(dy y)) / (s + ε). */
mitral_status differentiate_mean_variance_normalization(struct gradient *gradient, const struct node *node)
{
    static const int64_t usual[] = {0, 2, 3};
    size_t count;
    const int64_t *axes = attribute_ints(&node->attributes, "axes", &count);
    value_id list, mean, centred, deviation, denominator, epsilon, value, part, arriving = gradient_of(gradient, node, 0);
    TRY(gradient_ints(gradient, &list, axes ? axes : usual, axes ? count : 3));
    TRY(gradient_scalar(gradient, &epsilon, gradient_type(gradient, node->inputs[0])->dtype, 1e-9));
    TRY(mean_over(gradient, &mean, node->inputs[0], list));
    TRY(gradient_binary(gradient, &centred, "Sub", node->inputs[0], mean));
    TRY(gradient_binary(gradient, &deviation, "Mul", centred, centred));
    TRY(mean_over(gradient, &deviation, deviation, list));
    TRY(gradient_unary(gradient, &deviation, "Sqrt", deviation));
    TRY(gradient_binary(gradient, &denominator, "Add", deviation, epsilon));
    TRY(gradient_binary(gradient, &part, "Mul", arriving, node->outputs[0]));
    TRY(mean_over(gradient, &part, part, list));
    TRY(gradient_binary(gradient, &part, "Mul", part, denominator));
    TRY(gradient_binary(gradient, &part, "Div", part, deviation));
    TRY(gradient_binary(gradient, &part, "Mul", part, node->outputs[0]));
    TRY(gradient_binary(gradient, &value, "Sub", arriving, part));
    TRY(gradient_binary(gradient, &value, "Div", value, denominator));
    TRY(mean_over(gradient, &mean, value, list));
    TRY(gradient_binary(gradient, &value, "Sub", value, mean));
    return gradient_contribute(gradient, node, 0, value);
}
