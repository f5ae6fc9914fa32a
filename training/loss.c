#include "training/loss.h"

#include <string.h>

bool method_has_taps(enum method method)
{
    return method != METHOD_NONE && method != METHOD_LOGITS;
}

/* Attention maps have no channels that would have to agree. */
bool method_has_adapters(enum method method)
{
    return method_has_taps(method) && method != METHOD_AT;
}

/* Adds to the term of that name, or begins it. */
static mitral_status add_term(struct emitter *emitter, struct loss *loss, const char *name, double weight, value_id value)
{
    for (size_t i = 0; i < loss->count; i++)
        if (strcmp(loss->terms[i].name, name) == 0)
            return emit_node(emitter, "Add", NULL, (value_id[]){loss->terms[i].value, value}, 2, &loss->terms[i].value, 1);
    if (loss->count == MAX_TERMS)
        return mitral_fail(emitter->graph->context, MITRAL_LIMIT, "expected at most %d terms of the loss", MAX_TERMS);
    loss->terms[loss->count].name = name;
    loss->terms[loss->count].weight = weight;
    loss->terms[loss->count++].value = value;
    return MITRAL_OK;
}

static mitral_status scaled(struct emitter *emitter, value_id *out, value_id value, double factor)
{
    value_id constant;
    if (factor == 1) {
        *out = value;
        return MITRAL_OK;
    }
    TRY(emit_scalar(emitter, &constant, factor));
    return emit_node(emitter, "Mul", NULL, (value_id[]){value, constant}, 2, out, 1);
}

/* Cross-entropy and soft Dice; NO_VALUE for one whose weight is 0. */
static mitral_status segmentation(struct emitter *emitter, const struct options *options, value_id logits, value_id labels, value_id *entropy,
                                  value_id *dice)
{
    value_id inputs[3] = {logits, labels, NO_VALUE}, outputs[3], made[3];
    struct attributes attributes = {0};
    const int64_t classes = emitter->graph->values[logits].type.dims[1];
    *entropy = *dice = NO_VALUE;
    if (options->class_weight_count) {
        if (options->class_weight_count != classes)
            return mitral_fail(emitter->graph->context, MITRAL_INVALID, "class-weights: expected one for each of %lld classes, found %lld",
                               (long long)classes, (long long)options->class_weight_count);
        TRY(emit_floats(emitter, &inputs[2], options->class_weights, (size_t)classes));
    }
    if (options->cross_entropy == 0 && options->dice == 0)
        return MITRAL_OK;
    if (*options->unlabelled)
        TRY(attributes_set_int(&attributes, emitter->graph->arena, "ignore_index", NO_LABEL));
    TRY(emit_node(emitter, "mitral.PixelCrossEntropy", &attributes, inputs, inputs[2] == NO_VALUE ? 2 : 3, outputs, 3));
    if (options->cross_entropy > 0)
        *entropy = outputs[0];
    if (options->dice > 0) {
        attributes = (struct attributes){0};
        if (*options->unlabelled)
            TRY(attributes_set_int(&attributes, emitter->graph->arena, "ignore_index", NO_LABEL));
        TRY(emit_node(emitter, "mitral.SoftDice", &attributes, (value_id[]){outputs[1], labels}, 2, made, 3));
        *dice = made[0];
    }
    return MITRAL_OK;
}

mitral_status loss_segmentation(struct emitter *emitter, struct loss *loss, const struct options *options, value_id logits, value_id labels)
{
    value_id entropy, dice;
    TRY(segmentation(emitter, options, logits, labels, &entropy, &dice));
    if (entropy != NO_VALUE)
        TRY(add_term(emitter, loss, "cross-entropy", options->cross_entropy, entropy));
    if (dice != NO_VALUE)
        TRY(add_term(emitter, loss, "dice", options->dice, dice));
    return MITRAL_OK;
}

mitral_status loss_deep(struct emitter *emitter, struct loss *loss, const struct options *options, double part, value_id logits, value_id labels)
{
    value_id entropy, dice;
    TRY(segmentation(emitter, options, logits, labels, &entropy, &dice));
    if (entropy != NO_VALUE) {
        TRY(scaled(emitter, &entropy, entropy, part * options->cross_entropy));
        TRY(add_term(emitter, loss, "deep", options->deep_weight, entropy));
    }
    if (dice != NO_VALUE) {
        TRY(scaled(emitter, &dice, dice, part * options->dice));
        TRY(add_term(emitter, loss, "deep", options->deep_weight, dice));
    }
    return MITRAL_OK;
}

static mitral_status divergence(struct emitter *emitter, value_id *out, const char *over, double temperature, value_id student,
                                value_id teacher, value_id weights)
{
    struct attributes attributes = {0};
    TRY(attributes_set_string(&attributes, emitter->graph->arena, "over", over));
    TRY(attributes_set_float(&attributes, emitter->graph->arena, "temperature", (float)temperature));
    return emit_node(emitter, "mitral.Divergence", &attributes, (value_id[]){student, teacher, weights}, weights == NO_VALUE ? 2 : 3, out, 1);
}

mitral_status loss_logits(struct emitter *emitter, struct loss *loss, const struct options *options, value_id student, value_id teacher)
{
    value_id value;
    TRY(divergence(emitter, &value, "channels", options->temperature, student, teacher, NO_VALUE));
    return add_term(emitter, loss, "logits", options->logits, value);
}

/* [N, C, h, w] → [N, C] */
static mitral_status pooled(struct emitter *emitter, value_id *out, value_id map)
{
    struct attributes attributes = {0};
    TRY(emit_node(emitter, "GlobalAveragePool", NULL, &map, 1, out, 1));
    TRY(attributes_set_int(&attributes, emitter->graph->arena, "axis", 1));
    return emit_node(emitter, "Flatten", &attributes, out, 1, out, 1);
}

/* a = C softmax(v / τ_a) */
static mitral_status guide(struct emitter *emitter, value_id *out, value_id vector, int64_t channels, double temperature)
{
    struct attributes attributes = {0};
    TRY(scaled(emitter, out, vector, 1 / temperature));
    TRY(attributes_set_int(&attributes, emitter->graph->arena, "axis", 1));
    TRY(emit_node(emitter, "Softmax", &attributes, out, 1, out, 1));
    return scaled(emitter, out, *out, (double)channels);
}

/* Σ_c F², flattened to [N, h w] */
static mitral_status attention(struct emitter *emitter, value_id *out, value_id map)
{
    struct attributes attributes = {0};
    value_id axes;
    TRY(emit_ints(emitter, &axes, (const int64_t[]){1}, 1));
    TRY(attributes_set_int(&attributes, emitter->graph->arena, "keepdims", 0));
    TRY(emit_node(emitter, "ReduceSumSquare", &attributes, (value_id[]){map, axes}, 2, out, 1));
    attributes = (struct attributes){0};
    TRY(attributes_set_int(&attributes, emitter->graph->arena, "axis", 1));
    return emit_node(emitter, "Flatten", &attributes, out, 1, out, 1);
}

mitral_status loss_feature(struct emitter *emitter, struct loss *loss, const struct options *options, double scale_weight, value_id adapted,
                           value_id teacher)
{
    value_id value, vector_teacher, vector_student, weights;
    const int64_t channels = emitter->graph->values[teacher].type.dims[1];
    switch ((enum method)options->method) {
    case METHOD_FITNET:
        TRY(emit_node(emitter, "mitral.MeanSquaredError", NULL, (value_id[]){adapted, teacher}, 2, &value, 1));
        TRY(scaled(emitter, &value, value, scale_weight));
        return add_term(emitter, loss, "fitnet", options->feature, value);
    case METHOD_CWD:
        TRY(divergence(emitter, &value, "positions", options->temperature, adapted, teacher, NO_VALUE));
        TRY(scaled(emitter, &value, value, scale_weight));
        return add_term(emitter, loss, "cwd", options->feature, value);
    case METHOD_AT:
        TRY(attention(emitter, &vector_student, adapted));
        TRY(attention(emitter, &vector_teacher, teacher));
        TRY(emit_node(emitter, "mitral.UnitDistance", NULL, (value_id[]){vector_student, vector_teacher}, 2, &value, 1));
        TRY(scaled(emitter, &value, value, scale_weight));
        return add_term(emitter, loss, "at", options->feature, value);
    case METHOD_MAVKD:
        TRY(pooled(emitter, &vector_teacher, teacher));
        if (options->vector > 0) {
            TRY(pooled(emitter, &vector_student, adapted));
            TRY(emit_node(emitter, "mitral.UnitDistance", NULL, (value_id[]){vector_student, vector_teacher}, 2, &value, 1));
            TRY(scaled(emitter, &value, value, scale_weight));
            TRY(add_term(emitter, loss, "vector", options->vector, value));
        }
        if (options->map > 0) {
            TRY(guide(emitter, &weights, vector_teacher, channels, options->guide_temperature));
            TRY(divergence(emitter, &value, "positions", options->temperature, adapted, teacher, weights));
            TRY(scaled(emitter, &value, value, scale_weight));
            TRY(add_term(emitter, loss, "map", options->map, value));
        }
        return MITRAL_OK;
    default:
        return MITRAL_OK;
    }
}

mitral_status loss_total(struct emitter *emitter, struct loss *loss)
{
    if (loss->count == 0)
        return mitral_fail(emitter->graph->context, MITRAL_INVALID, "expected a loss of weight above 0, found none");
    for (size_t i = 0; i < loss->count; i++) {
        value_id part;
        TRY(scaled(emitter, &part, loss->terms[i].value, loss->terms[i].weight));
        if (i == 0)
            loss->total = part;
        else
            TRY(emit_node(emitter, "Add", NULL, (value_id[]){loss->total, part}, 2, &loss->total, 1));
    }
    return MITRAL_OK;
}
