/* Operators of com.microsoft that are several of the standard's in one. */
#include <string.h>

#include "compiler/gradients/compose.h"

static void set_float(struct composer *c, struct attributes *attributes, const char *name, float value)
{
    if (c->status == MITRAL_OK)
        c->status = attributes_set_float(attributes, arena_of(c), name, value);
}

/* The activation of the name that the node gives; parameters that are not given have their usual values. */
static value_id finish(struct composer *c, const float *parameters, size_t count, value_id a)
{
    static const struct {
        const char *name;
        double alpha, beta;
    } usual[] = {{"LeakyRelu", 0.01, 0}, {"HardSigmoid", 0.2, 0.5}, {"Elu", 1, 0}, {"Celu", 1, 0}, {"ThresholdedRelu", 1, 0},
                 {"Selu", 1.67326319217681884765625, 1.05070102214813232421875}};
    const char *name = attribute_string(&c->node->attributes, "activation", "");
    double values[2] = {0, 0};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (strcmp(usual[i].name, name) == 0) {
            values[0] = usual[i].alpha;
            values[1] = usual[i].beta;
        }
    for (size_t i = 0; i < count && i < 2; i++)
        values[i] = (double)parameters[i];
    return *name ? activated(c, name, values[0], values[1], a) : a;
}

mitral_status compose_fused_gemm(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    struct attributes attributes = {0};
    const float parameters[2] = {attribute_float(&node->attributes, "activation_alpha", 0),
                                 attribute_float(&node->attributes, "activation_beta", 0)};
    const size_t count = attribute_has(&node->attributes, "activation_beta")    ? 2
                         : attribute_has(&node->attributes, "activation_alpha") ? 1
                                                                                : 0;
    TRY(attributes_copy(&attributes, arena_of(&c), &node->attributes));
    attributes_remove(&attributes, "activation");
    attributes_remove(&attributes, "activation_alpha");
    attributes_remove(&attributes, "activation_beta");
    become(&c, 0, finish(&c, parameters, count, apply(&c, "Gemm", &attributes, node->inputs, node->input_count)));
    return composer_end(&c, done);
}

static value_id product_operand(struct composer *c, size_t index)
{
    const struct attributes *attributes = &c->node->attributes;
    const int32_t rank = input_type(c, index).rank;
    int64_t order[MITRAL_MAX_RANK];
    bool moved = false;
    for (int32_t i = 0; i < rank; i++)
        order[i] = i;
    if (rank > 2 && attribute_int(attributes, index ? "transBatchB" : "transBatchA", 0)) {
        moved = true;
        for (int32_t i = 0; i < rank - 2; i++)
            order[i] = i + 1;
        order[rank - 2] = 0;
    }
    if (rank > 1 && attribute_int(attributes, index ? "transB" : "transA", 0)) {
        const int64_t swap = order[rank - 1];
        moved = true;
        order[rank - 1] = order[rank - 2];
        order[rank - 2] = swap;
    }
    return moved ? permuted(c, input_of(c, index), rank, order) : input_of(c, index);
}

mitral_status compose_fused_matmul(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    if (input_type(&c, 0).rank < 0 || input_type(&c, 1).rank < 0)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected operands of known rank");
    value_id y = matrix_product(&c, product_operand(&c, 0), product_operand(&c, 1));
    become(&c, 0, scaled(&c, y, (double)attribute_float(&node->attributes, "alpha", 1)));
    return composer_end(&c, done);
}

/* ---- normalisations -------------------------------------------------------------------------------------------------- */

static value_id normalised(struct composer *c, value_id a, value_id scale, value_id bias, bool centred, int64_t axis, float epsilon,
                           value_id statistics[2])
{
    struct attributes attributes = {0};
    value_id outputs[3];
    set_int(c, &attributes, "axis", axis);
    set_float(c, &attributes, "epsilon", epsilon);
    set_int(c, &attributes, "stash_type", 1);
    if (!centred)
        return apply(c, "RMSNormalization", &attributes, (value_id[]){a, scale}, 2);
    apply_many(c, "LayerNormalization", &attributes, (value_id[]){a, scale, bias}, bias == NO_VALUE ? 2 : 3, outputs, statistics ? 3 : 1);
    for (size_t i = 0; statistics && i < 2; i++)
        statistics[i] = outputs[i + 1];
    return outputs[0];
}

/* 1 / √(mean a² + ε) over the axes from `axis` on. */
static value_id inverse_root(struct composer *c, value_id a, int64_t axis, int32_t rank, float epsilon)
{
    int64_t axes[MITRAL_MAX_RANK];
    size_t count = 0;
    for (int64_t i = axis < 0 ? axis + rank : axis; i < rank; i++)
        axes[count++] = i;
    value_id mean = apply(c, "ReduceMean", NULL, (value_id[]){multiply(c, a, a), integers(c, axes, count)}, 2);
    return unary(c, "Reciprocal", unary(c, "Sqrt", add(c, mean, number(c, (double)epsilon))));
}

/* x, skip, gamma, beta?, bias? (Simplified: x, skip, gamma, bias?) → y, mean?, inverse deviation?, sum? */
mitral_status compose_skip_normalization(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const bool simplified = strcmp(node->op->name, "SkipSimplifiedLayerNormalization") == 0;
    const float epsilon = attribute_float(&node->attributes, "epsilon", 1e-12f);
    const size_t bias = simplified ? 3 : 4;
    value_id sum = add(&c, input_of(&c, 0), input_of(&c, 1)), statistics[2];
    if (input_of(&c, bias) != NO_VALUE)
        sum = add(&c, sum, input_of(&c, bias));
    const bool asked = node_output(node, 1) != NO_VALUE || node_output(node, 2) != NO_VALUE;
    become(&c, 0, normalised(&c, sum, input_of(&c, 2), simplified ? NO_VALUE : input_of(&c, 3), !simplified, -1, epsilon,
                             asked && !simplified ? statistics : NULL));
    if (asked && simplified)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected outputs without statistics");
    for (size_t i = 0; asked && i < 2; i++)
        become(&c, i + 1, statistics[i]);
    become(&c, 3, sum);
    return composer_end(&c, done);
}

mitral_status compose_simplified_normalization(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const float epsilon = attribute_float(&node->attributes, "epsilon", 1e-5f);
    const int64_t axis = attribute_int(&node->attributes, "axis", -1);
    become(&c, 0, normalised(&c, input_of(&c, 0), input_of(&c, 1), NO_VALUE, false, axis, epsilon, NULL));
    if (node_output(node, 1) != NO_VALUE && input_type(&c, 0).rank > 0)
        become(&c, 1, cast(&c, inverse_root(&c, input_of(&c, 0), axis, input_type(&c, 0).rank, epsilon), MITRAL_FLOAT));
    return composer_end(&c, done);
}

/* ids, segments?, word, position and segment tables, gamma, beta, mask?, positions? → y, counts of the mask's ones?, sum? */
mitral_status compose_embedding(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type ids = input_type(&c, 0);
    const int64_t one = 1, last = 1;
    if (ids.rank != 2 || ids.dims[1] < 0)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected ids of a known length");
    value_id sum = binary(&c, "Gather", input_of(&c, 2), input_of(&c, 0));
    if (input_of(&c, 8) != NO_VALUE)
        sum = add(&c, sum, binary(&c, "Gather", input_of(&c, 3), input_of(&c, 8)));
    else
        sum = add(&c, sum, part(&c, input_of(&c, 3), 0, 0, ids.dims[1]));
    if (input_of(&c, 1) != NO_VALUE)
        sum = add(&c, sum, binary(&c, "Gather", input_of(&c, 4), input_of(&c, 1)));
    const float epsilon = attribute_float(&node->attributes, "epsilon", 1e-12f);
    become(&c, 0, normalised(&c, sum, input_of(&c, 5), input_of(&c, 6), true, -1, epsilon, NULL));
    if (node_output(node, 1) != NO_VALUE) {
        struct attributes flat = {0};
        value_id is_one = binary(&c, "Equal", cast(&c, input_of(&c, input_of(&c, 7) == NO_VALUE ? 0 : 7), MITRAL_INT64), integers(&c, &one, 1));
        value_id counted = cast(&c, is_one, MITRAL_INT32);
        if (input_of(&c, 7) == NO_VALUE)
            counted = subtract(&c, counted, counted);
        set_int(&c, &flat, "keepdims", 0);
        become(&c, 1, apply(&c, "ReduceSum", &flat, (value_id[]){counted, integers(&c, &last, 1)}, 2));
    }
    become(&c, 2, sum);
    return composer_end(&c, done);
}
