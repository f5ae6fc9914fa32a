/* What ONNX Runtime's optimiser and quantiser write, as the nodes that it stands for, so that all passes see them.
 *
 * ORT_ENABLE_EXTENDED writes FusedConv of com.microsoft: Conv, an addend, an activation. ORT_ENABLE_ALL writes com.microsoft.nchwc:
 * channels in blocks of 8 or 16, weights in the order of its kernels. A value with blocks becomes a plain one of as many channels
 * as its blocks hold: what fills a block up is computed, and cut off where the file itself leaves the layout. */
#include <stdio.h>
#include <string.h>

#include "compiler/import_internal.h"

/* ---- writing nodes -------------------------------------------------------------------------------------------------- */

enum { MOST_ATTRIBUTES = 12, MOST_INPUTS = 9 };

/* One node of the standard; what fails first is kept, and asked for at the end. */
struct writer {
    struct scope *scope;
    const onnx_node *original;
    onnx_node node;
    char *inputs[MOST_INPUTS];
    onnx_attribute *attributes[MOST_ATTRIBUTES];
    onnx_attribute nowhere; /* written where there is no memory for another */
    mitral_status status;
    int made; /* values that the file has no name for */
};

static void start(struct writer *w, const char *op)
{
    onnx__node_proto__init(&w->node);
    w->node.op_type = (char *)(uintptr_t)op;
    w->node.input = w->inputs;
    w->node.attribute = w->attributes;
}

static void take(struct writer *w, const char *name)
{
    w->inputs[w->node.n_input++] = (char *)(uintptr_t)name;
}

/* Attributes of the original that the node of the standard has too. */
static void keep(struct writer *w, const char *const *names)
{
    for (; *names; names++) {
        const onnx_attribute *found = import_attribute_of(w->original, *names);
        if (found)
            w->attributes[w->node.n_attribute++] = (onnx_attribute *)(uintptr_t)found;
    }
}

static onnx_attribute *set(struct writer *w, const char *name, Onnx__AttributeProto__AttributeType type)
{
    onnx_attribute *out = arena_allocate(&w->scope->importer->scratch, sizeof *out);
    if (!out) {
        w->status = MITRAL_NO_MEMORY;
        return &w->nowhere;
    }
    onnx__attribute_proto__init(out);
    out->name = (char *)(uintptr_t)name;
    out->has_type = 1;
    out->type = type;
    w->attributes[w->node.n_attribute++] = out;
    return out;
}

static void set_int(struct writer *w, const char *name, int64_t value)
{
    set(w, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT)->i = value;
}

static void set_float(struct writer *w, const char *name, float value)
{
    set(w, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT)->f = value;
}

static const char *own_output(const struct writer *w)
{
    return w->original->output[0];
}

/* The name by which nodes find a new value, or a constant. */
static const char *new_value(struct writer *w, const mitral_tensor *constant)
{
    struct arena *scratch = &w->scope->importer->scratch;
    char *key = arena_format(scratch, "%s\x1f%d", own_output(w), w->made);
    char *shown = arena_format(scratch, "%s_%d", own_output(w), w->made++);
    value_id id;
    if (!key || !shown)
        w->status = MITRAL_NO_MEMORY;
    if (w->status == MITRAL_OK)
        w->status = scope_add_unnamed(w->scope, key, shown, constant, &id);
    return key;
}

static const char *new_ints(struct writer *w, const int64_t *values, int64_t count)
{
    mitral_tensor tensor;
    tensor_set(&tensor, MITRAL_INT64, 1, &count);
    tensor.data = (void *)(uintptr_t)values;
    return new_value(w, &tensor);
}

static const char *new_int(struct writer *w, int64_t value)
{
    return new_ints(w, &value, 1);
}

static const char *new_floats(struct writer *w, const float *values, int32_t rank, int64_t count)
{
    mitral_tensor tensor;
    tensor_set(&tensor, MITRAL_FLOAT, rank, &count);
    tensor.data = (void *)(uintptr_t)values;
    return new_value(w, &tensor);
}

static void give_all(struct writer *w, char **outputs, size_t count)
{
    w->node.output = outputs;
    w->node.n_output = count;
    if (outputs[0] == own_output(w))
        w->node.name = w->original->name;
    if (w->status == MITRAL_OK)
        w->status = import_node(w->scope, &w->node);
}

/* Ends the node. `output` NULL: a new value; its name is given. */
static const char *give(struct writer *w, const char *output)
{
    if (!output)
        output = new_value(w, NULL);
    give_all(w, (char *[]){(char *)(uintptr_t)output}, 1);
    return output;
}

static mitral_status fail(struct writer *w, mitral_status status, const char *expected, int64_t found)
{
    return import_refuse(w->scope, w->original, status, expected, found);
}

/* ---- convolutions --------------------------------------------------------------------------------------------------- */

/* Bounds of Clip are inputs, of the type of the weights where the file tells it. */
static const char *new_bound(struct writer *w, float value)
{
    bool found = false;
    value_id id = NO_VALUE;
    if (w->status == MITRAL_OK)
        w->status = scope_find(w->scope, w->original->input[1], &id, &found);
    const int32_t dtype = found && id != NO_VALUE ? w->scope->graph->values[id].type.dtype : MITRAL_UNDEFINED;
    double memory = 0; /* as large as any float type */
    mitral_tensor tensor;
    tensor_set(&tensor, dtype_is_float(dtype) ? dtype : MITRAL_FLOAT, 0, NULL);
    tensor.data = &memory;
    tensor_set_double(&tensor, 0, (double)value, true);
    return new_value(w, &tensor);
}

static mitral_status write_activation(struct writer *w, const char *name, const char *from)
{
    static const struct {
        const char *name;
        size_t count;
        const char *parameters[2];
    } parametric[] = {{"Clip", 2, {"min", "max"}}, {"HardSigmoid", 2, {"alpha", "beta"}}, {"LeakyRelu", 1, {"alpha", NULL}}};
    const onnx_attribute *given = import_attribute_of(w->original, "activation_params");
    const char *inputs[2] = {NULL, NULL};
    size_t kind = 0, kinds = sizeof parametric / sizeof *parametric, count = 0;
    while (kind < kinds && strcmp(parametric[kind].name, name) != 0)
        kind++;
    if (kind < kinds)
        count = parametric[kind].count;
    if (count && (!given || given->n_floats < count))
        return fail(w, MITRAL_INVALID, count == 1 ? "activation_params of 1 number" : "activation_params of 2 numbers",
                    given ? (int64_t)given->n_floats : 0);
    const bool as_inputs = strcmp(name, "Clip") == 0 && w->scope->importer->opset >= 11;
    for (size_t i = 0; i < count && as_inputs; i++)
        inputs[i] = new_bound(w, given->floats[i]);
    start(w, name);
    take(w, from);
    for (size_t i = 0; i < count; i++)
        if (as_inputs)
            take(w, inputs[i]);
        else
            set_float(w, parametric[kind].parameters[i], given->floats[i]);
    give(w, own_output(w));
    return w->status;
}

static bool all_are(const onnx_node *proto, const char *name, int64_t value)
{
    const onnx_attribute *found = import_attribute_of(proto, name);
    for (size_t i = 0; found && i < found->n_ints; i++)
        if (found->ints[i] != value)
            return false;
    return true;
}

/* A factor and an addend a channel: what became of a BatchNormalization, which passes look for. */
static bool is_normalization(const onnx_node *proto, const mitral_tensor *weights)
{
    return weights && import_int_of(proto, "group", 1) == weights->dims[0] && tensor_count(weights) == weights->dims[0]
        && all_are(proto, "pads", 0) && all_are(proto, "strides", 1);
}

static void write_normalization(struct writer *w, const mitral_tensor *weights)
{
    const int64_t channels = weights->dims[0];
    float *zeros = arena_allocate(&w->scope->importer->scratch, 2 * (size_t)channels * sizeof *zeros), *ones = zeros + channels;
    if (!zeros) {
        w->status = MITRAL_NO_MEMORY;
        return;
    }
    for (int64_t i = 0; i < channels; i++) {
        zeros[i] = 0;
        ones[i] = 1;
    }
    const char *bias = w->original->n_input > 2 ? import_text(w->original->input[2]) : "";
    const char *scale = new_floats(w, weights->data, 1, channels), *mean = new_floats(w, zeros, 1, channels);
    const char *variance = new_floats(w, ones, 1, channels);
    start(w, "BatchNormalization");
    take(w, w->original->input[0]);
    take(w, scale);
    take(w, *bias ? bias : mean);
    take(w, mean);
    take(w, variance);
    set_float(w, "epsilon", 0);
}

static mitral_status write_product(struct writer *w)
{
    static const char *const kept[] = {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides", NULL};
    const onnx_node *original = w->original;
    const char *weights = original->input[1];
    if (strcmp(original->domain, IMPORT_BLOCKED_DOMAIN) == 0) {
        value_id id;
        const mitral_tensor *constant = import_blocked_weights(w->scope, original, &id);
        if (is_normalization(original, constant)) {
            write_normalization(w, constant);
            return MITRAL_OK;
        }
        TRY(import_plain_weights(w->scope, original, &weights));
    }
    start(w, "Conv");
    take(w, original->input[0]);
    take(w, weights);
    if (original->n_input > 2 && *import_text(original->input[2]))
        take(w, original->input[2]);
    keep(w, kept);
    return MITRAL_OK;
}

/* X, W, bias?, addend?; attributes activation, activation_params beside those of Conv. */
static mitral_status write_convolution(struct writer *w)
{
    const onnx_node *original = w->original;
    const onnx_attribute *activation = import_attribute_of(original, "activation");
    const bool activated = activation && activation->s.len, adds = original->n_input > 3 && *import_text(original->input[3]);
    TRY(write_product(w));
    const char *result = give(w, activated || adds ? NULL : own_output(w));
    if (adds) {
        start(w, "Add");
        take(w, result);
        take(w, original->input[3]);
        result = give(w, activated ? NULL : own_output(w));
    }
    if (!activated || w->status != MITRAL_OK)
        return w->status;
    const int longest = 64;
    const char *name = arena_format(&w->scope->importer->scratch, "%.*s", activation->s.len < 64 ? (int)activation->s.len : longest,
                                    (const char *)activation->s.data);
    return name ? write_activation(w, name, result) : MITRAL_NO_MEMORY;
}

/* ---- the others ----------------------------------------------------------------------------------------------------- */

static mitral_status write_pooling(struct writer *w)
{
    static const char *const kept[] = {"auto_pad", "ceil_mode",     "count_include_pad", "dilations", "kernel_shape",
                                       "pads",     "storage_order", "strides",           NULL};
    start(w, w->original->op_type);
    take(w, w->original->input[0]);
    keep(w, kept);
    give(w, own_output(w));
    return w->status;
}

/* Attributes scales, mode, coordinate_transformation_mode. Before opset 11 there was one way to place the points. */
static mitral_status write_upsampling(struct writer *w)
{
    static const char *const kept[] = {"mode", "coordinate_transformation_mode", NULL};
    static const char *const kept_early[] = {"mode", NULL};
    const int64_t opset = w->scope->importer->opset;
    const onnx_attribute *factors = import_attribute_of(w->original, "scales");
    float scales[4] = {1, 1, 1, 1};
    if (!factors || factors->n_ints != 4)
        return fail(w, MITRAL_INVALID, "4 scales", factors ? (int64_t)factors->n_ints : 0);
    for (size_t i = 0; i < 4; i++)
        scales[i] = (float)factors->ints[i];
    const char *sizes = new_floats(w, scales, 1, 4), *region = opset >= 11 && opset < 13 ? new_floats(w, scales, 1, 0) : "";
    start(w, opset >= 10 ? "Resize" : "Upsample");
    take(w, w->original->input[0]);
    if (opset >= 11)
        take(w, region);
    take(w, sizes);
    keep(w, opset >= 11 ? kept : kept_early);
    if (opset >= 11) {
        onnx_attribute *nearest = set(w, "nearest_mode", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
        nearest->s = (ProtobufCBinaryData){5, (uint8_t *)(uintptr_t)"floor"};
    }
    give(w, own_output(w));
    return w->status;
}

static const char *transposed(struct writer *w, const char *from, const int64_t permutation[4], const char *output)
{
    start(w, "Transpose");
    take(w, from);
    onnx_attribute *perm = set(w, "perm", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    perm->ints = (int64_t *)(uintptr_t)permutation;
    perm->n_ints = 4;
    return give(w, output);
}

/* Channels are filled up to whole blocks with zeros. How many there are, the file need not say: it follows from shapes. */
static mitral_status write_entry(struct writer *w)
{
    static const int64_t channels_first[4] = {0, 3, 1, 2};
    static const int64_t zeros[4] = {0};
    const char *from = w->original->input[0];
    if (w->scope->importer->opset < 11)
        return fail(w, MITRAL_UNSUPPORTED, "opset 11 of ai.onnx or a later one", w->scope->importer->opset);
    if (import_int_of(w->original, "channels_last", 0))
        from = transposed(w, from, channels_first, NULL);
    start(w, "Shape");
    take(w, from);
    const char *shape = give(w, NULL), *one = new_int(w, 1);
    start(w, "Gather");
    take(w, shape);
    take(w, one);
    const char *channels = give(w, NULL);
    start(w, "Neg");
    take(w, channels);
    const char *negative = give(w, NULL), *block = new_int(w, import_block(w->scope));
    start(w, "Mod");
    take(w, negative);
    take(w, block);
    const char *missing = give(w, NULL), *before = new_ints(w, zeros, 4), *single = new_ints(w, zeros, 1),
               *pair = new_ints(w, zeros, 2);
    /* Before: none of the four axes; after: batch, channels, rows and columns. */
    start(w, "Concat");
    take(w, before);
    take(w, single);
    take(w, missing);
    take(w, pair);
    set_int(w, "axis", 0);
    const char *pads = give(w, NULL);
    start(w, "Pad");
    take(w, from);
    take(w, pads);
    give(w, own_output(w));
    return w->status;
}

static mitral_status write_exit(struct writer *w)
{
    static const int64_t channels_last[4] = {0, 2, 3, 1};
    const int64_t channels = import_int_of(w->original, "channels", 0), block = import_block(w->scope);
    const bool turned = import_int_of(w->original, "channels_last", 0) != 0;
    const char *from = w->original->input[0];
    if (channels < 1)
        return fail(w, MITRAL_INVALID, "channels from 1", channels);
    if (channels % block) {
        if (w->scope->importer->opset < 10)
            return fail(w, MITRAL_UNSUPPORTED, "opset 10 of ai.onnx or a later one", w->scope->importer->opset);
        const char *first = new_int(w, 0), *end = new_int(w, channels), *axis = new_int(w, 1);
        start(w, "Slice");
        take(w, from);
        take(w, first);
        take(w, end);
        take(w, axis);
        from = give(w, turned ? NULL : own_output(w));
    } else if (!turned) {
        start(w, "Identity");
        take(w, from);
        give(w, own_output(w));
    }
    if (turned)
        transposed(w, from, channels_last, own_output(w));
    return w->status;
}

/* ---- 8 bits ---------------------------------------------------------------------------------------------------------- */

static const char *input_name(const struct writer *w, size_t index)
{
    return index < w->original->n_input ? import_text(w->original->input[index]) : "";
}

/* The float values of input `index`; "" where it is absent. */
static const char *dequantized(struct writer *w, size_t index, size_t scale, size_t zero)
{
    if (!*input_name(w, index))
        return "";
    start(w, "DequantizeLinear");
    take(w, input_name(w, index));
    take(w, input_name(w, scale));
    if (*input_name(w, zero))
        take(w, input_name(w, zero));
    return give(w, NULL);
}

/* Ids, segments?, tables of words, positions and segments?, gamma, beta, mask?; scales of those five, zero points of those five. */
static mitral_status write_embedding(struct writer *w)
{
    enum { TABLES = 2, MASK = 7, SCALES = 8, ZEROS = 13, COUNT = 5 };
    static const char *const kept[] = {"epsilon", NULL};
    const char *floats[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        floats[i] = dequantized(w, TABLES + i, SCALES + i, ZEROS + i);
    start(w, "EmbedLayerNormalization");
    w->node.domain = w->original->domain;
    take(w, input_name(w, 0));
    take(w, input_name(w, 1));
    for (size_t i = 0; i < COUNT; i++)
        take(w, floats[i]);
    if (*input_name(w, MASK))
        take(w, input_name(w, MASK));
    keep(w, kept);
    give_all(w, w->original->output, w->original->n_output);
    return w->status;
}

/* X, scale, zero point, scale and zero point of the result; attributes axes, keepdims. */
static mitral_status write_mean(struct writer *w)
{
    static const char *const kept[] = {"axes", "keepdims", NULL}, *const kept_late[] = {"keepdims", NULL};
    const bool late = w->scope->importer->opset >= 18;
    const onnx_attribute *axes = import_attribute_of(w->original, "axes");
    const char *x = dequantized(w, 0, 1, 2), *wanted = late && axes ? new_ints(w, axes->ints, (int64_t)axes->n_ints) : "";
    start(w, "ReduceMean");
    take(w, x);
    if (*wanted)
        take(w, wanted);
    keep(w, late ? kept_late : kept);
    const char *mean = give(w, NULL);
    start(w, "QuantizeLinear");
    take(w, mean);
    take(w, input_name(w, 3));
    if (*input_name(w, 4))
        take(w, input_name(w, 4));
    give(w, own_output(w));
    return w->status;
}

mitral_status import_runtime(struct scope *scope, const onnx_node *proto, int64_t opset, bool *done)
{
    static const struct {
        const char *domain, *name;
        size_t least_inputs, most_inputs, most_outputs;
        mitral_status (*write)(struct writer *w);
    } table[] = {
        {"com.microsoft", "FusedConv", 2, 4, 1, write_convolution},
        {"com.microsoft", "QEmbedLayerNormalization", 13, 18, 2, write_embedding},
        {"com.microsoft", "QLinearReduceMean", 4, 5, 1, write_mean},
        {IMPORT_BLOCKED_DOMAIN, "AveragePool", 1, 1, 1, write_pooling},
        {IMPORT_BLOCKED_DOMAIN, "Conv", 2, 4, 1, write_convolution},
        {IMPORT_BLOCKED_DOMAIN, "GlobalAveragePool", 1, 1, 1, write_pooling},
        {IMPORT_BLOCKED_DOMAIN, "GlobalMaxPool", 1, 1, 1, write_pooling},
        {IMPORT_BLOCKED_DOMAIN, "MaxPool", 1, 1, 1, write_pooling},
        {IMPORT_BLOCKED_DOMAIN, "ReorderInput", 1, 1, 1, write_entry},
        {IMPORT_BLOCKED_DOMAIN, "ReorderOutput", 1, 1, 1, write_exit},
        {IMPORT_BLOCKED_DOMAIN, "Upsample", 1, 1, 1, write_upsampling},
    };
    struct writer writer = {.scope = scope, .original = proto};
    const char *domain = import_domain(proto->domain);
    char expected[64];
    *done = true;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, proto->op_type) != 0 || strcmp(table[i].domain, domain) != 0)
            continue;
        snprintf(expected, sizeof expected, "1 to %zu outputs, the first with a name", table[i].most_outputs);
        if (proto->n_output < 1 || proto->n_output > table[i].most_outputs || !*import_text(proto->output[0]))
            return fail(&writer, MITRAL_INVALID, expected, (int64_t)proto->n_output);
        snprintf(expected, sizeof expected, "%zu to %zu inputs", table[i].least_inputs, table[i].most_inputs);
        if (proto->n_input < table[i].least_inputs || proto->n_input > table[i].most_inputs)
            return fail(&writer, MITRAL_INVALID, expected, (int64_t)proto->n_input);
        return table[i].write(&writer);
    }
    *done = strcmp(domain, IMPORT_BLOCKED_DOMAIN) == 0;
    return *done ? import_note_unsupported(scope, proto, opset) : MITRAL_OK;
}
