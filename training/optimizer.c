#include "training/optimizer.h"

#include <math.h>

static mitral_status state(struct emitter *emitter, value_id *out, const char *kind, value_id variable)
{
    char *name = arena_format(emitter->graph->arena, "%s/%s", kind, emitter->graph->values[variable].name);
    return name ? emit_zero_variable(emitter, out, name, variable) : MITRAL_NO_MEMORY;
}

static mitral_status accumulate(struct emitter *emitter, const struct options *options, const struct update_inputs *inputs,
                                struct trained *trained)
{
    struct attributes attributes = {0};
    value_id sum, next;
    TRY(state(emitter, &sum, "sum", trained->variable));
    TRY(attributes_set_int(&attributes, emitter->graph->arena, "count", options->accumulate));
    TRY(emit_node(emitter, "mitral.GradientAccumulate", &attributes, (value_id[]){sum, trained->gradient, inputs->first}, 3, &next, 1));
    TRY(graph_add_update(emitter->graph, sum, next));
    trained->gradient = next;
    return MITRAL_OK;
}

static mitral_status update(struct emitter *emitter, const struct options *options, const struct update_inputs *inputs,
                            struct trained *trained, value_id scale)
{
    struct graph *graph = emitter->graph;
    struct attributes attributes = {0};
    const double decay = trained->decay ? options->weight_decay : 0;
    TRY(attributes_set_float(&attributes, graph->arena, "weight_decay", (float)decay));
    if (options->optimizer == OPTIMIZER_SGD) {
        value_id momentum = NO_VALUE, outputs[2] = {NO_VALUE, NO_VALUE};
        const bool has_momentum = options->momentum > 0;
        if (has_momentum)
            TRY(state(emitter, &momentum, "momentum", trained->variable));
        TRY(attributes_set_float(&attributes, graph->arena, "momentum", (float)options->momentum));
        TRY(attributes_set_int(&attributes, graph->arena, "nesterov", options->nesterov));
        TRY(emit_node(emitter, "mitral.SgdUpdate", &attributes,
                      (value_id[]){trained->variable, trained->gradient, momentum, inputs->rate, scale, inputs->apply}, 6, outputs,
                      has_momentum ? 2 : 1));
        TRY(graph_add_update(graph, trained->variable, outputs[0]));
        if (has_momentum)
            TRY(graph_add_update(graph, momentum, outputs[1]));
        trained->next = outputs[0];
        return MITRAL_OK;
    }
    value_id mean, square, outputs[3];
    TRY(state(emitter, &mean, "mean", trained->variable));
    TRY(state(emitter, &square, "square", trained->variable));
    TRY(attributes_set_float(&attributes, graph->arena, "beta1", (float)options->beta1));
    TRY(attributes_set_float(&attributes, graph->arena, "beta2", (float)options->beta2));
    TRY(attributes_set_float(&attributes, graph->arena, "epsilon", (float)options->epsilon));
    TRY(attributes_set_int(&attributes, graph->arena, "decoupled", options->optimizer == OPTIMIZER_ADAMW));
    TRY(emit_node(emitter, "mitral.AdamUpdate", &attributes,
                  (value_id[]){trained->variable, trained->gradient, mean, square, inputs->rate, inputs->step, scale, inputs->apply}, 8,
                  outputs, 3));
    TRY(graph_add_update(graph, trained->variable, outputs[0]));
    TRY(graph_add_update(graph, mean, outputs[1]));
    TRY(graph_add_update(graph, square, outputs[2]));
    trained->next = outputs[0];
    return MITRAL_OK;
}

mitral_status updates_emit(struct emitter *emitter, const struct options *options, const struct update_inputs *inputs,
                           struct trained *trained, size_t count, value_id *norm)
{
    value_id scale[2] = {NO_VALUE, NO_VALUE};
    if (options->accumulate > 1)
        for (size_t i = 0; i < count; i++)
            TRY(accumulate(emitter, options, inputs, &trained[i]));
    /* Without clipping too: every update waits for the scale, hence for all gradients, so that no order of the nodes changes a
     * weight in place while a gradient still has to read it. */
    struct attributes attributes = {0};
    value_id *gradients = arena_allocate(emitter->graph->arena, (count + 1) * sizeof *gradients);
    if (!gradients)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        gradients[i] = trained[i].gradient;
    TRY(attributes_set_float(&attributes, emitter->graph->arena, "maximum", (float)options->clip));
    TRY(emit_node(emitter, "mitral.GradientScale", &attributes, gradients, count, scale, 2));
    *norm = scale[1];
    for (size_t i = 0; i < count; i++)
        TRY(update(emitter, options, inputs, &trained[i], scale[0]));
    return MITRAL_OK;
}

mitral_status ema_emit(struct emitter *emitter, const struct options *options, const struct update_inputs *inputs, value_id variable,
                       value_id next)
{
    struct graph *graph = emitter->graph;
    struct attributes attributes = {0};
    value_id mean, out;
    char *name = arena_format(graph->arena, "ema/%s", graph->values[variable].name);
    if (!name)
        return MITRAL_NO_MEMORY;
    TRY(emit_variable(emitter, &mean, name, graph->values[variable].constant));
    TRY(attributes_set_float(&attributes, graph->arena, "decay", (float)options->ema));
    TRY(emit_node(emitter, "mitral.EmaUpdate", &attributes, (value_id[]){mean, next, inputs->apply}, 3, &out, 1));
    return graph_add_update(graph, mean, out);
}

double schedule_rate(const struct options *options, int64_t step)
{
    const double start = options->rate, end = options->final_rate;
    if (step < options->warmup)
        return start * (double)(step + 1) / (double)options->warmup;
    const double done = (double)(step - options->warmup) / (double)(options->steps - options->warmup);
    switch ((enum schedule)options->schedule) {
    case SCHEDULE_STEP:
        return start * pow(options->gamma, (double)((step - options->warmup) / options->step_size));
    case SCHEDULE_POLY:
        return end + (start - end) * pow(1 - (done < 1 ? done : 1), options->power);
    case SCHEDULE_COSINE:
        return end + (start - end) * 0.5 * (1 + cos(3.14159265358979323846 * (done < 1 ? done : 1)));
    default:
        return start;
    }
}
