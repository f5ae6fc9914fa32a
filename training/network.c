#include "training/network.h"

#include <math.h>
#include <string.h>

#include "compiler/gradient.h"
#include "compiler/pipeline.h"
#include "data/random.h"
#include "training/coarse.h"
#include "training/disjoint.h"

enum { STREAM_ADAPTERS = 1000, STREAM_HEADS = 2000 }; /* of random numbers */

/* ---- what the network looks like ---------------------------------------------------------------------------------------- */

static value_id before_softmax(const struct graph *graph, value_id value)
{
    for (int depth = 0; depth < 4; depth++) {
        const struct node *node = graph->values[value].producer == NO_NODE ? NULL : &graph->nodes[graph->values[value].producer];
        if (!node || (!node_is(node, "Softmax") && !node_is(node, "LogSoftmax") && !node_is(node, "Identity")))
            break;
        const int64_t axis = attribute_int(&node->attributes, "axis", node->version < 13 ? 1 : -1);
        const int32_t rank = graph->values[value].type.rank;
        if (!node_is(node, "Identity") && (axis < 0 ? axis + rank : axis) != 1)
            break;
        value = node->inputs[0];
    }
    return value;
}

static mitral_status check_interface(struct interface *out, struct graph *graph, const char *whose)
{
    const struct value_type *input = &graph->values[out->input].type;
    out->logits = before_softmax(graph, graph->outputs[0]);
    const struct value_type *output = &graph->values[out->logits].type;
    if (!type_is_static(input))
        return mitral_fail(graph->context, MITRAL_INVALID, "%s: expected an input '%s' of known size, found dimensions without one", whose,
                           graph->values[out->input].name);
    if (!type_is_static(output))
        TRY(graph_check_shaped(graph, whose));
    if (output->kind != MITRAL_TENSOR || output->dtype != MITRAL_FLOAT || output->rank != input->rank || !type_is_static(output)) {
        char text[160];
        mitral_tensor tensor = {.dtype = output->dtype, .rank = output->rank > 0 ? output->rank : 0};
        memcpy(tensor.dims, output->dims, sizeof tensor.dims);
        return mitral_fail(graph->context, MITRAL_INVALID, "%s: expected class scores float32[batch, classes, height, width], found '%s' %s",
                           whose, graph->values[out->logits].name, tensor_describe(&tensor, text, sizeof text));
    }
    /* A volume is a stack of slices, one below the other. */
    out->depth = input->rank == 5 ? input->dims[2] : 1;
    out->channels = input->dims[1];
    out->height = out->depth * input->dims[input->rank - 2];
    out->width = input->dims[input->rank - 1];
    out->classes = output->dims[1];
    out->output_height = (input->rank == 5 ? output->dims[2] : 1) * output->dims[input->rank - 2];
    out->output_width = output->dims[input->rank - 1];
    if (input->rank == 5 && (out->depth < 1 || memcmp(input->dims + 2, output->dims + 2, 3 * sizeof *input->dims) != 0))
        return mitral_fail(graph->context, MITRAL_INVALID, "%s: expected scores of the volume's size %lldx%lldx%lld, found %lldx%lldx%lld", whose,
                           (long long)input->dims[2], (long long)input->dims[3], (long long)input->dims[4], (long long)output->dims[2],
                           (long long)output->dims[3], (long long)output->dims[4]);
    if (output->dims[0] != input->dims[0] || out->classes < 2)
        return mitral_fail(graph->context, MITRAL_INVALID, "%s: expected scores of at least 2 classes for each of %lld images, found %lld for %lld",
                           whose, (long long)input->dims[0], (long long)out->classes, (long long)output->dims[0]);
    return MITRAL_OK;
}

mitral_status interface_read(struct interface *out, struct graph *graph, const char *whose, int64_t batch, int64_t height, int64_t width)
{
    int64_t wanted[5] = {batch, 0, height, width};
    *out = (struct interface){.input = NO_VALUE};
    if (graph->input_count != 1 || graph->output_count < 1)
        return mitral_fail(graph->context, MITRAL_INVALID, "%s: expected one input and an output, found %zu and %zu", whose,
                           graph->input_count, graph->output_count);
    out->input = graph->inputs[0];
    struct value_type *type = &graph->values[out->input].type;
    if (type->kind != MITRAL_TENSOR || type->dtype != MITRAL_FLOAT || (type->rank != 4 && type->rank != 5))
        return mitral_fail(graph->context, MITRAL_INVALID,
                           "%s: expected an input float32[batch, channels, height, width] or [batch, channels, depth, height, width], found '%s' of rank %d",
                           whose, graph->values[out->input].name, (int)type->rank);
    if (type->rank == 5)
        wanted[2] = wanted[3] = 0; /* as declared: metadata speak of slices */
    for (int i = 0; i < type->rank; i++) {
        if (wanted[i] && type->dims[i] >= 0 && type->dims[i] != wanted[i])
            return mitral_fail(graph->context, MITRAL_INVALID, "%s: expected an input whose dimension %d is %lld or symbolic, found %lld%s", whose, i,
                               (long long)wanted[i], (long long)type->dims[i], i == 0 ? "; export it with a symbolic batch size" : "");
        if (wanted[i])
            type->dims[i] = wanted[i];
    }
    TRY(graph_infer_declared(graph));
    TRY(pipeline_run_one(graph, "choose-branch", &(struct pass_options){.threads = 1, .training = true}));
    return check_interface(out, graph, whose);
}

bool network_looks_folded(const struct graph *student, size_t *without, size_t *convolutions)
{
    *without = *convolutions = 0;
    size_t norms = 0;
    for (size_t n = 0; n < student->node_count; n++) {
        const struct node *node = &student->nodes[n];
        norms += node->op && strstr(node->op->name, "Normalization") != NULL;
        if (!node_is(node, "Conv"))
            continue;
        ++*convolutions;
        bool normalised = false, activated = false;
        for (size_t k = n + 1; k < student->node_count; k++)
            if (student->nodes[k].op && node_input(&student->nodes[k], 0) == node->outputs[0]) {
                normalised |= strstr(student->nodes[k].op->name, "Normalization") != NULL;
                activated |= (student->nodes[k].op->traits & OP_ACTIVATION) != 0;
            }
        *without += node_input(node, 2) != NO_VALUE && !normalised && activated;
    }
    (void)norms;
    return *without >= 2 && *without * 4 >= *convolutions;
}

/* ---- parameters ---------------------------------------------------------------------------------------------------------- */

/* Inputs that are numbers of the operator's definition rather than weights. */
static bool is_setting(const struct node *node, size_t input)
{
    static const struct {
        const char *op;
        size_t from, to;
    } settings[] = {{"Resize", 1, 3}, {"Upsample", 1, 1}, {"BatchNormalization", 3, 4}, {"Clip", 1, 2}, {"Pad", 2, 2}, {"Dropout", 1, 1},
                    {"OneHot", 2, 2}, {"Range", 0, 2}, {"ThresholdedRelu", 1, 1}, {"QuantizeLinear", 1, 2}, {"DequantizeLinear", 1, 2}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (input >= settings[i].from && input <= settings[i].to && node_is(node, settings[i].op))
            return true;
    return false;
}

/* Initializers that are used as weights everywhere become variables. Numbers of rank 0 are constants of a formula in practice, and
 * stay. */
static mitral_status find_parameters(struct graph *graph, bool *is_weight)
{
    for (size_t v = 0; v < graph->value_count; v++) {
        const struct graph_value *value = &graph->values[v];
        is_weight[v] = value->parameter && value->constant && value->type.dtype == MITRAL_FLOAT && value->type.rank >= 1;
    }
    for (size_t n = 0; n < graph->node_count; n++)
        for (size_t i = 0; graph->nodes[n].op && i < graph->nodes[n].input_count; i++)
            if (graph->nodes[n].inputs[i] != NO_VALUE && is_setting(&graph->nodes[n], i))
                is_weight[graph->nodes[n].inputs[i]] = false;
    return MITRAL_OK;
}

/* Weight decay is for the weights of products and convolutions: not for vectors (biases, scales), unless asked. */
static bool decays(const struct graph *graph, const struct options *options, value_id value)
{
    const struct value_type *type = &graph->values[value].type;
    int large = 0;
    for (int32_t i = 0; i < type->rank; i++)
        large += type->dims[i] > 1;
    return options->decay_all || type->rank >= 4 || large > 1;
}

/* ---- batch norm in training mode ------------------------------------------------------------------------------------------ */

static mitral_status train_norm(struct graph *graph, node_id id)
{
    struct node *node = &graph->nodes[id];
    value_id *outputs = arena_allocate(graph->arena, 5 * sizeof *outputs);
    const struct op *op = op_find("mitral", "BatchNormalizationTraining");
    if (!outputs)
        return MITRAL_NO_MEMORY;
    if (!op)
        return mitral_fail(graph->context, MITRAL_UNSUPPORTED, "expected operator mitral.BatchNormalizationTraining, found none");
    for (size_t i = 3; i < 5; i++)
        if (node_input(node, i) == NO_VALUE || !graph->values[node->inputs[i]].constant)
            return mitral_fail(graph->context, MITRAL_UNSUPPORTED, "BatchNormalization '%s': expected running statistics that are initializers",
                               node->name);
    outputs[0] = node->outputs[0];
    for (size_t i = 1; i < 5; i++) {
        static const char *const names[] = {NULL, "running_mean", "running_variance", "batch_mean", "batch_deviation"};
        char *name = arena_format(graph->arena, "%s/%s", graph->nodes[id].name, names[i]);
        struct value_type type = graph->values[graph->nodes[id].inputs[3]].type;
        if (!name)
            return MITRAL_NO_MEMORY;
        TRY(graph_add_value(graph, name, &type, &outputs[i]));
        graph->values[outputs[i]].producer = id;
    }
    node = &graph->nodes[id];
    node->op = op;
    node->version = 1;
    node->outputs = outputs;
    node->output_count = 5;
    attributes_remove(&node->attributes, "training_mode");
    for (size_t i = 3; i < 5; i++) {
        graph->values[node->inputs[i]].variable = true;
        TRY(graph_add_update(graph, node->inputs[i], outputs[i - 2]));
    }
    return MITRAL_OK;
}

static bool is_norm(const struct node *node)
{
    return node_is(node, "BatchNormalization");
}

/* Running statistics, whatever the file says. */
static mitral_status freeze_norm(struct graph *graph, struct node *node)
{
    node->output_count = 1;
    return node->version < 14 ? MITRAL_OK : attributes_set_int(&node->attributes, graph->arena, "training_mode", 0);
}

/* Training mode for all batch norms, or inference mode where they are frozen. */
static mitral_status set_norm_mode(struct graph *graph, bool training)
{
    const size_t count = graph->node_count;
    for (size_t n = 0; n < count; n++)
        if (is_norm(&graph->nodes[n]))
            TRY(training ? train_norm(graph, (node_id)n) : freeze_norm(graph, &graph->nodes[n]));
    return MITRAL_OK;
}

mitral_status network_set_inference(struct graph *graph)
{
    enum { TRAINING_MODE = 2 };
    for (size_t n = 0; n < graph->node_count; n++) {
        struct node *node = &graph->nodes[n];
        if (node->op && is_norm(node))
            TRY(freeze_norm(graph, node));
        else if (node->op && node_is(node, "Dropout") && node->version >= 12 && node->input_count > TRAINING_MODE)
            node->input_count = TRAINING_MODE;
    }
    return MITRAL_OK;
}

/* ---- the graph ------------------------------------------------------------------------------------------------------------ */

/* A copy whose constants are values (not Constant nodes), sizes fixed. */
static mitral_status prepare_copy(struct graph **out, struct interface *interface, mitral_context *context, const struct graph *student,
                                  int64_t batch, int64_t height, int64_t width)
{
    const struct pass_options options = {.threads = 1, .training = true};
    TRY(graph_copy(out, student));
    (*out)->context = context;
    TRY(pipeline_run_one(*out, "sink-constants", &options));
    return interface_read(interface, *out, "student", batch, height, width);
}

/* A 1x1 convolution that is trained along and never exported; its first weights come from the seed and `stream`. */
static mitral_status add_adapter(struct emitter *emitter, struct network *network, const struct options *options, const char *kind, size_t index,
                                 uint64_t stream, value_id map, int64_t channels, value_id *out)
{
    struct graph *graph = emitter->graph;
    const int64_t in = graph->values[map].type.dims[1];
    mitral_tensor weights = {.dtype = MITRAL_FLOAT, .rank = 4, .dims = {channels, in, 1, 1}};
    mitral_tensor bias = {.dtype = MITRAL_FLOAT, .rank = 1, .dims = {channels}};
    value_id inputs[3] = {map};
    struct attributes attributes = {0};
    struct random random = random_start((uint64_t)options->seed, stream + index);
    const double bound = 1 / sqrt((double)in);
    weights.data = arena_allocate(graph->arena, tensor_bytes(&weights));
    bias.data = arena_allocate(graph->arena, tensor_bytes(&bias));
    char *names[2] = {arena_format(graph->arena, "%s%zu.weight", kind, index), arena_format(graph->arena, "%s%zu.bias", kind, index)};
    if (!weights.data || !bias.data || !names[0] || !names[1])
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < channels * in; i++)
        ((float *)weights.data)[i] = (float)random_between(&random, -bound, bound);
    TRY(emit_variable(emitter, &inputs[1], names[0], &weights));
    TRY(emit_variable(emitter, &inputs[2], names[1], &bias));
    network->trained[network->trained_count++] = (struct trained){.variable = inputs[1], .decay = true};
    network->trained[network->trained_count++] = (struct trained){.variable = inputs[2], .decay = options->decay_all};
    TRY(attributes_set_ints(&attributes, graph->arena, "kernel_shape", (const int64_t[]){1, 1}, 2));
    return emit_node(emitter, "Conv", &attributes, inputs, 3, out, 1);
}

static mitral_status add_distillation(struct emitter *emitter, struct network *network, const struct options *options, const struct graph *teacher,
                                      const struct interface *interface, value_id logits)
{
    struct graph *graph = emitter->graph;
    const enum method method = (enum method)options->method;
    if (method == METHOD_NONE || !teacher)
        return MITRAL_OK;
    if (options->logits > 0) {
        const struct value_type type = teacher->values[interface->logits].type;
        value_id theirs;
        TRY(emit_input(emitter, &network->teacher_logits, "teacher/logits", MITRAL_FLOAT, 4, type.dims));
        TRY(emit_resize(emitter, &theirs, network->teacher_logits, graph->values[logits].type.dims[2], graph->values[logits].type.dims[3]));
        TRY(loss_logits(emitter, &network->loss, options, logits, theirs));
    }
    if (options->scale_weight_count && (size_t)options->scale_weight_count != network->pair_count)
        return mitral_fail(graph->context, MITRAL_INVALID, "scale-weights: expected one for each of %zu taps, found %lld", network->pair_count,
                           (long long)options->scale_weight_count);
    for (size_t i = 0; i < network->pair_count; i++) {
        const struct value_type type = teacher->values[network->pairs[i].teacher].type;
        const double weight = options->scale_weight_count ? options->scale_weights[i] : 1.0 / (double)network->pair_count;
        value_id adapted = network->pairs[i].student;
        char *name = arena_format(graph->arena, "teacher/map%zu", i);
        if (!name)
            return MITRAL_NO_MEMORY;
        TRY(emit_input(emitter, &network->teacher_maps[i], name, MITRAL_FLOAT, 4, type.dims));
        TRY(emit_resize(emitter, &adapted, adapted, type.dims[2], type.dims[3]));
        TRY(graph_infer(graph));
        if (method_has_adapters(method))
            TRY(add_adapter(emitter, network, options, "adapter", i, STREAM_ADAPTERS, adapted, type.dims[1], &adapted));
        TRY(loss_feature(emitter, &network->loss, options, weight, adapted, network->teacher_maps[i]));
    }
    return MITRAL_OK;
}

/* Heads on maps of the student learn the labels too; each coarser one counts half of the one before, and all together 1. */
static mitral_status add_deep_supervision(struct emitter *emitter, struct network *network, const struct options *options,
                                          const value_id *maps, size_t count)
{
    struct graph *graph = emitter->graph;
    const double whole = 2 - ldexp(1, 1 - (int)count);
    for (size_t i = 0; i < count; i++) {
        value_id head;
        TRY(add_adapter(emitter, network, options, "deep", i, STREAM_HEADS, maps[i], network->classes, &head));
        TRY(graph_infer(graph));
        TRY(emit_resize(emitter, &head, head, network->height, network->width));
        TRY(graph_infer(graph));
        TRY(loss_deep(emitter, &network->loss, options, ldexp(1, -(int)i) / whole, head, network->labels));
    }
    return MITRAL_OK;
}

static mitral_status add_gradients(struct network *network)
{
    struct graph *graph = network->graph;
    value_id *variables = arena_allocate(graph->arena, (network->trained_count + 1) * sizeof *variables);
    value_id *gradients = arena_allocate(graph->arena, (network->trained_count + 1) * sizeof *gradients);
    size_t count = 0;
    if (!variables || !gradients)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < network->trained_count; i++)
        variables[i] = network->trained[i].variable;
    TRY(gradient_build(graph, network->loss.total, variables, network->trained_count, gradients));
    for (size_t i = 0; i < network->trained_count; i++) {
        network->trained[i].gradient = gradients[i];
        if (gradients[i] != NO_VALUE)
            network->trained[count++] = network->trained[i];
        else
            graph->values[variables[i]].variable = false; /* the loss does not depend on it: it stays as it is */
    }
    network->trained_count = count;
    if (count == 0)
        return mitral_fail(graph->context, MITRAL_INVALID, "student: expected weights that the output depends on, found none");
    return graph_infer(graph);
}

static mitral_status add_averages(struct emitter *emitter, struct network *network, const struct options *options)
{
    struct graph *graph = network->graph;
    for (size_t i = 0; i < network->trained_count; i++)
        TRY(ema_emit(emitter, options, &network->inputs, network->trained[i].variable, network->trained[i].next));
    /* Running statistics too, so that they fit the averaged weights. */
    for (size_t i = 0, count = graph->node_count; i < count; i++) {
        const struct node node = graph->nodes[i];
        if (node.op && strcmp(op_domain(node.op), "mitral") == 0 && strcmp(node.op->name, "BatchNormalizationTraining") == 0)
            for (size_t k = 3; k < 5; k++)
                TRY(ema_emit(emitter, options, &network->inputs, node.inputs[k], node.outputs[k - 2]));
    }
    return MITRAL_OK;
}

static mitral_status add_outputs(struct network *network)
{
    struct graph *graph = network->graph;
    graph->output_count = 0;
    TRY(graph_add_output(graph, network->loss.total));
    for (size_t i = 0; i < network->loss.count; i++)
        TRY(graph_add_output(graph, network->loss.terms[i].value));
    return graph_add_output(graph, network->norm);
}

static mitral_status collect_weights(struct network *network, const struct options *options)
{
    struct graph *graph = network->graph;
    bool *is_weight = arena_allocate(graph->arena, graph->value_count * sizeof *is_weight);
    network->trained = arena_allocate(graph->arena, (graph->value_count + 4 * MAX_TAPS) * sizeof *network->trained);
    if (!is_weight || !network->trained)
        return MITRAL_NO_MEMORY;
    TRY(find_parameters(graph, is_weight));
    for (size_t v = 0; v < graph->value_count; v++)
        if (is_weight[v]) {
            graph->values[v].variable = true;
            network->trained[network->trained_count++] = (struct trained){.variable = (value_id)v, .decay = decays(graph, options, (value_id)v)};
        }
    return MITRAL_OK;
}

/* Both facts of a misfit, before losses fail on it. */
static mitral_status check_fit(const struct network *student, mitral_context *context, const struct interface *teacher, const struct options *options)
{
    if (teacher->classes != student->classes)
        return mitral_fail(context, MITRAL_INVALID, "expected teacher and student of the same classes, found %lld in %s and %lld in %s",
                           (long long)teacher->classes, options->teacher, (long long)student->classes, options->student);
    if (teacher->channels != student->channels)
        return mitral_fail(context, MITRAL_INVALID, "expected teacher and student of the same input channels, found %lld in %s and %lld in %s",
                           (long long)teacher->channels, options->teacher, (long long)student->channels, options->student);
    return MITRAL_OK;
}

static mitral_status build(struct network *network, mitral_context *context, const struct graph *student, const struct graph *teacher,
                           const struct interface *teacher_interface, const struct options *options, int64_t height, int64_t width)
{
    struct interface interface;
    TRY(prepare_copy(&network->graph, &interface, context, student, options->batch, height, width));
    struct graph *graph = network->graph;
    network->batch = options->batch;
    network->channels = interface.channels;
    network->height = interface.height;
    network->width = interface.width;
    network->classes = interface.classes;
    const bool volumes = network->volumes = graph->values[interface.input].type.rank == 5;
    if (volumes && (teacher || *options->deep))
        return mitral_fail(context, MITRAL_UNSUPPORTED, "student: expected a network of slices with a teacher or deep supervision, found one of volumes");
    if (teacher)
        TRY(check_fit(network, context, teacher_interface, options));
    if (teacher && method_has_taps((enum method)options->method))
        TRY(taps_find(network->pairs, &network->pair_count, context, options->taps, graph, teacher));
    value_id deep[MAX_TAPS];
    size_t deep_count = 0;
    if (*options->deep)
        TRY(taps_find_own(deep, &deep_count, context, options->deep, graph, interface.output_height, interface.output_width));
    TRY(collect_weights(network, options));
    TRY(set_norm_mode(graph, !options->freeze_norm));
    struct emitter emitter = {.graph = graph, .prefix = "training/loss"};
    const int64_t label_dims[4] = {options->batch, interface.depth, interface.height / interface.depth, interface.width};
    const int64_t slice_dims[3] = {options->batch, interface.height, interface.width};
    value_id logits = interface.logits;
    TRY(emit_input(&emitter, &network->labels, "training/labels", MITRAL_UINT8, volumes ? 4 : 3, volumes ? label_dims : slice_dims));
    if (!volumes)
        TRY(emit_resize(&emitter, &logits, logits, interface.height, interface.width));
    TRY(graph_infer(graph));
    TRY(loss_segmentation(&emitter, &network->loss, options, logits, network->labels));
    TRY(add_deep_supervision(&emitter, network, options, deep, deep_count));
    TRY(add_distillation(&emitter, network, options, teacher, teacher_interface, logits));
    TRY(loss_total(&emitter, &network->loss));
    TRY(graph_infer(graph));
    TRY(coarse_convolutions(graph));
    TRY(disjoint_windows(graph));
    TRY(add_gradients(network));
    emitter.prefix = "training/update";
    TRY(emit_input(&emitter, &network->inputs.rate, "training/rate", MITRAL_FLOAT, 0, NULL));
    TRY(emit_input(&emitter, &network->inputs.step, "training/step", MITRAL_FLOAT, 0, NULL));
    TRY(emit_input(&emitter, &network->inputs.apply, "training/apply", MITRAL_FLOAT, 0, NULL));
    network->inputs.first = NO_VALUE;
    if (options->accumulate > 1)
        TRY(emit_input(&emitter, &network->inputs.first, "training/first", MITRAL_FLOAT, 0, NULL));
    TRY(updates_emit(&emitter, options, &network->inputs, network->trained, network->trained_count, &network->norm));
    if (options->ema > 0)
        TRY(add_averages(&emitter, network, options));
    TRY(add_outputs(network));
    TRY(graph_infer(graph));
    graph_remove_dead(graph);
    return graph_verify(graph);
}

mitral_status network_build(struct network *out, mitral_context *context, const struct graph *student, const struct graph *teacher,
                            const struct interface *teacher_interface, const struct options *options, int64_t height, int64_t width)
{
    *out = (struct network){.norm = NO_VALUE, .teacher_logits = NO_VALUE};
    mitral_status status = build(out, context, student, teacher, teacher_interface, options, height, width);
    if (status != MITRAL_OK)
        network_clear(out);
    return status;
}

void network_clear(struct network *network)
{
    graph_destroy(&network->graph);
    *network = (struct network){.norm = NO_VALUE, .teacher_logits = NO_VALUE};
}

mitral_status network_build_inference(struct graph **out, mitral_context *context, const struct graph *student, const struct options *options,
                                      int64_t batch, int64_t height, int64_t width)
{
    struct network network = {.norm = NO_VALUE, .teacher_logits = NO_VALUE};
    struct interface interface;
    *out = NULL;
    mitral_status status = prepare_copy(&network.graph, &interface, context, student, batch, height, width);
    if (status == MITRAL_OK)
        status = collect_weights(&network, options);
    if (status == MITRAL_OK)
        status = network_set_inference(network.graph);
    for (size_t n = 0; status == MITRAL_OK && n < network.graph->node_count; n++)
        for (size_t i = 3; is_norm(&network.graph->nodes[n]) && i < 5; i++)
            if (network.graph->values[network.graph->nodes[n].inputs[i]].constant)
                network.graph->values[network.graph->nodes[n].inputs[i]].variable = true;
    if (status == MITRAL_OK) {
        network.graph->output_count = 0;
        status = graph_add_output(network.graph, interface.logits);
    }
    if (status == MITRAL_OK) {
        graph_remove_dead(network.graph);
        *out = network.graph;
        return MITRAL_OK;
    }
    network_clear(&network);
    return status;
}
