#include "models/builder.h"

#include <math.h>
#include <string.h>

#include "compiler/model.h"
#include "runtime/splitmix.h"

enum { OPSET = 17, IR_VERSION = 8 }; /* what every framework of the last years reads */

mitral_status build_start(struct builder *builder, mitral_context *context, const char *name, uint64_t seed)
{
    *builder = (struct builder){.seed = seed};
    TRY(graph_create(&builder->graph, context));
    builder->graph->name = name;
    builder->graph->opset = OPSET;
    builder->graph->ir_version = IR_VERSION;
    builder->graph->producer_name = "mitral";
    builder->graph->producer_version = mitral_version();
    return MITRAL_OK;
}

/* ---- initial weights ------------------------------------------------------------------------------------------------
 * Element i of a parameter is number i of the SplitMix64 stream that starts at
 * seed ^ FNV-1a(name): no element depends on another, and NumPy computes the same (models/networks.py). */

static uint64_t stream_of(uint64_t seed, const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash ^ seed;
}

static double uniform_at(uint64_t stream, uint64_t index)
{
    return (double)(splitmix_at(stream, index) >> 11) / 9007199254740992.0; /* 53 bits in [0, 1) */
}

static value_id add_parameter(struct builder *builder, const char *prefix, const char *suffix, int32_t rank, const int64_t *dims,
                              double bound, float constant)
{
    if (builder->status != MITRAL_OK)
        return NO_VALUE;
    struct graph *graph = builder->graph;
    value_id id = NO_VALUE;
    mitral_tensor tensor;
    tensor_set(&tensor, MITRAL_FLOAT, rank, dims);
    char *name = arena_format(graph->arena, "%s.%s", prefix, suffix);
    builder->status = tensor_check_size(graph->context, &tensor);
    if (builder->status == MITRAL_OK) {
        tensor.data = arena_allocate(graph->arena, tensor_bytes(&tensor) + 1);
        if (!name || !tensor.data)
            builder->status = MITRAL_NO_MEMORY;
    }
    if (builder->status != MITRAL_OK)
        return NO_VALUE;
    uint64_t stream = stream_of(builder->seed, name);
    for (int64_t i = 0, n = tensor_count(&tensor); i < n; i++)
        ((float *)tensor.data)[i] = bound > 0 ? (float)((2 * uniform_at(stream, (uint64_t)i) - 1) * bound) : constant;
    builder->status = graph_add_constant(graph, name, &tensor, true, &id);
    if (builder->status == MITRAL_OK)
        graph->values[id].parameter = true;
    return id;
}

/* ---- nodes ---------------------------------------------------------------------------------------------------------- */

static value_id add_node(struct builder *builder, const char *op, const char *name, const struct attributes *attributes,
                         const value_id *inputs, size_t count)
{
    value_id out = NO_VALUE;
    if (builder->status != MITRAL_OK)
        return out;
    builder->status = graph_add_value(builder->graph, name, NULL, &out);
    const struct op *row = op_find(NULL, op);
    if (builder->status == MITRAL_OK && !row)
        builder->status = mitral_fail(builder->graph->context, MITRAL_UNSUPPORTED, "expected the operator %s, found none", op);
    if (builder->status == MITRAL_OK)
        builder->status = graph_add_node(builder->graph, row, 0, name, attributes, inputs, count, &out, 1, NULL);
    return out;
}

static void set_ints(struct builder *builder, struct attributes *attributes, const char *name, const int64_t *values, size_t count)
{
    if (builder->status == MITRAL_OK)
        builder->status = attributes_set_ints(attributes, builder->graph->arena, name, values, count);
}

static void set_string(struct builder *builder, struct attributes *attributes, const char *name, const char *value)
{
    if (builder->status == MITRAL_OK)
        builder->status = attributes_set_string(attributes, builder->graph->arena, name, value);
}

static void set_int(struct builder *builder, struct attributes *attributes, const char *name, int64_t value)
{
    if (builder->status == MITRAL_OK)
        builder->status = attributes_set_int(attributes, builder->graph->arena, name, value);
}

value_id build_input(struct builder *builder, const char *name, int64_t batch, int64_t channels, int64_t size)
{
    struct value_type type = {.kind = MITRAL_TENSOR, .dtype = MITRAL_FLOAT, .rank = 4,
                              .dims = {batch > 0 ? batch : -1, channels, size, size}, .symbols = {batch > 0 ? NULL : "batch"}};
    value_id id = NO_VALUE;
    if (builder->status == MITRAL_OK)
        builder->status = graph_add_value(builder->graph, name, &type, &id);
    if (builder->status == MITRAL_OK)
        builder->status = graph_add_input(builder->graph, id);
    return id;
}

value_id build_convolution(struct builder *builder, const char *prefix, value_id x, int64_t in, int64_t out, int64_t kernel,
                           int64_t dilation, bool bias, const char *name)
{
    int64_t pad = dilation * (kernel / 2);
    struct attributes attributes = {0};
    set_ints(builder, &attributes, "dilations", (int64_t[]){dilation, dilation}, 2);
    set_int(builder, &attributes, "group", 1);
    set_ints(builder, &attributes, "kernel_shape", (int64_t[]){kernel, kernel}, 2);
    set_ints(builder, &attributes, "pads", (int64_t[]){pad, pad, pad, pad}, 4);
    set_ints(builder, &attributes, "strides", (int64_t[]){1, 1}, 2);
    value_id inputs[3] = {x};
    inputs[1] = add_parameter(builder, prefix, "weight", 4, (int64_t[]){out, in, kernel, kernel},
                              sqrt(6.0 / (double)(in * kernel * kernel)), 0);
    if (bias)
        inputs[2] = add_parameter(builder, prefix, "bias", 1, &out, 0, 0);
    return add_node(builder, "Conv", name ? name : prefix, &attributes, inputs, bias ? 3 : 2);
}

value_id build_upsampling_convolution(struct builder *builder, const char *prefix, value_id x, int64_t in, int64_t out)
{
    struct attributes attributes = {0};
    set_ints(builder, &attributes, "dilations", (int64_t[]){1, 1}, 2);
    set_int(builder, &attributes, "group", 1);
    set_ints(builder, &attributes, "kernel_shape", (int64_t[]){2, 2}, 2);
    set_ints(builder, &attributes, "pads", (int64_t[]){0, 0, 0, 0}, 4);
    set_ints(builder, &attributes, "strides", (int64_t[]){2, 2}, 2);
    value_id inputs[3] = {x};
    /* Each output pixel of a 2×2 stride-2 transposed convolution sums over the input channels once. */
    inputs[1] = add_parameter(builder, prefix, "weight", 4, (int64_t[]){in, out, 2, 2}, sqrt(6.0 / (double)in), 0);
    inputs[2] = add_parameter(builder, prefix, "bias", 1, &out, 0, 0);
    return add_node(builder, "ConvTranspose", prefix, &attributes, inputs, 3);
}

value_id build_batch_norm(struct builder *builder, const char *prefix, value_id x, int64_t channels)
{
    struct attributes attributes = {0};
    if (builder->status == MITRAL_OK)
        builder->status = attributes_set_float(&attributes, builder->graph->arena, "epsilon", 1e-5f);
    if (builder->status == MITRAL_OK)
        builder->status = attributes_set_float(&attributes, builder->graph->arena, "momentum", 0.9f);
    set_int(builder, &attributes, "training_mode", 0);
    value_id inputs[5] = {x};
    inputs[1] = add_parameter(builder, prefix, "weight", 1, &channels, 0, 1);
    inputs[2] = add_parameter(builder, prefix, "bias", 1, &channels, 0, 0);
    inputs[3] = add_parameter(builder, prefix, "running_mean", 1, &channels, 0, 0);
    inputs[4] = add_parameter(builder, prefix, "running_var", 1, &channels, 0, 1);
    return add_node(builder, "BatchNormalization", prefix, &attributes, inputs, 5);
}

value_id build_relu(struct builder *builder, const char *name, value_id x)
{
    return add_node(builder, "Relu", name, NULL, &x, 1);
}

value_id build_add(struct builder *builder, const char *name, value_id a, value_id b)
{
    return add_node(builder, "Add", name, NULL, (value_id[]){a, b}, 2);
}

value_id build_concat(struct builder *builder, const char *name, const value_id *values, size_t count)
{
    struct attributes attributes = {0};
    set_int(builder, &attributes, "axis", 1);
    return add_node(builder, "Concat", name, &attributes, values, count);
}

value_id build_max_pool(struct builder *builder, const char *name, value_id x)
{
    struct attributes attributes = {0};
    set_int(builder, &attributes, "ceil_mode", 0);
    set_ints(builder, &attributes, "dilations", (int64_t[]){1, 1}, 2);
    set_ints(builder, &attributes, "kernel_shape", (int64_t[]){2, 2}, 2);
    set_ints(builder, &attributes, "pads", (int64_t[]){0, 0, 0, 0}, 4);
    set_ints(builder, &attributes, "strides", (int64_t[]){2, 2}, 2);
    return add_node(builder, "MaxPool", name, &attributes, &x, 1);
}

value_id build_resize_twice(struct builder *builder, const char *name, value_id x)
{
    struct attributes attributes = {0};
    set_string(builder, &attributes, "coordinate_transformation_mode", "half_pixel");
    set_string(builder, &attributes, "mode", "linear");
    value_id inputs[3] = {x, NO_VALUE, NO_VALUE};
    const float scales[4] = {1, 1, 2, 2};
    mitral_tensor tensor;
    tensor_set(&tensor, MITRAL_FLOAT, 1, (int64_t[]){4});
    tensor.data = (void *)scales;
    char *constant = arena_format(builder->graph->arena, "%s.scales", name);
    if (!constant)
        builder->status = MITRAL_NO_MEMORY;
    if (builder->status == MITRAL_OK)
        builder->status = graph_add_constant(builder->graph, constant, &tensor, false, &inputs[2]);
    return add_node(builder, "Resize", name, &attributes, inputs, 3);
}

static void add_metadata(struct builder *builder, int64_t classes, int64_t size)
{
    struct arena *arena = builder->graph->arena;
    struct graph_property *items = arena_allocate(arena, 5 * sizeof *items);
    char *input_size = arena_format(arena, "%lld,%lld", (long long)size, (long long)size);
    char *labels = arena_string(arena, classes == 4 ? "background,RV,myocardium,LV" : "background");
    for (int64_t i = 1; i < classes && classes != 4 && labels; i++)
        labels = arena_format(arena, "%s,class%lld", labels, (long long)i);
    if (!items || !input_size || !labels) {
        builder->status = MITRAL_NO_MEMORY;
        return;
    }
    items[0] = (struct graph_property){"mitral.spacing", "1.37,1.37"};
    items[1] = (struct graph_property){"mitral.normalisation", "zscore-volume"};
    items[2] = (struct graph_property){"mitral.input_size", input_size};
    items[3] = (struct graph_property){"mitral.labels", labels};
    items[4] = (struct graph_property){"mitral.output", "logits"};
    builder->graph->metadata = items;
    builder->graph->metadata_count = 5;
}

mitral_status build_finish(struct builder *builder, mitral_model **out, value_id output, int64_t classes, int64_t size)
{
    if (builder->status == MITRAL_OK)
        builder->status = graph_add_output(builder->graph, output);
    if (builder->status == MITRAL_OK)
        add_metadata(builder, classes, size);
    if (builder->status == MITRAL_OK)
        builder->status = graph_infer(builder->graph);
    if (builder->status == MITRAL_OK)
        builder->status = graph_verify(builder->graph);
    if (builder->status == MITRAL_OK)
        builder->status = model_create(out, builder->graph);
    if (builder->status != MITRAL_OK)
        graph_destroy(&builder->graph);
    return builder->status;
}
