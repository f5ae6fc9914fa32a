#include "onnx_builder.h"

#include <string.h>

static void *take(struct builder *builder, size_t size)
{
    void *memory = arena_allocate(&builder->arena, size);
    assert_non_null(memory);
    return memory;
}

static char *text(struct builder *builder, const char *string)
{
    char *copy = arena_string(&builder->arena, string);
    assert_non_null(copy);
    return copy;
}

/* Lists grow by a copy each time: they are short. */
static void append(struct builder *builder, void *list, size_t *count, void *item)
{
    void **old, **longer = take(builder, (*count + 1) * sizeof *longer);
    memcpy(&old, list, sizeof old);
    if (*count)
        memcpy(longer, old, *count * sizeof *longer);
    longer[(*count)++] = item;
    memcpy(list, &longer, sizeof longer);
}

static void append_names(struct builder *builder, char ***list, size_t *count, const char *names)
{
    if (!*names)
        return;
    for (const char *at = names;;) {
        size_t length = strcspn(at, ",");
        char *name = arena_string_sized(&builder->arena, at, length);
        assert_non_null(name);
        append(builder, list, count, name);
        if (!at[length])
            return;
        at += length + 1;
    }
}

void builder_start(struct builder *builder)
{
    *builder = (struct builder){.context = test_context()};
    arena_initialise(&builder->arena, builder->context);
    onnx__model_proto__init(&builder->model);
    builder->model.has_ir_version = 1;
    builder->model.ir_version = 8;
    builder->graph = builder->model.graph = builder_graph(builder, "graph");
    builder_opset(builder, "", 17);
}

void builder_stop(struct builder *builder)
{
    mitral_release(builder->context, builder->bytes);
    arena_clear(&builder->arena);
    mitral_context_destroy(&builder->context);
}

static Onnx__OperatorSetIdProto *make_opset(struct builder *builder, const char *domain, int64_t version)
{
    Onnx__OperatorSetIdProto *opset = take(builder, sizeof *opset);
    onnx__operator_set_id_proto__init(opset);
    opset->domain = text(builder, domain);
    opset->has_version = 1;
    opset->version = version;
    return opset;
}

void builder_opset(struct builder *builder, const char *domain, int64_t version)
{
    append(builder, &builder->model.opset_import, &builder->model.n_opset_import, make_opset(builder, domain, version));
}

Onnx__GraphProto *builder_graph(struct builder *builder, const char *name)
{
    Onnx__GraphProto *graph = take(builder, sizeof *graph);
    onnx__graph_proto__init(graph);
    graph->name = text(builder, name);
    return graph;
}

Onnx__ValueInfoProto *builder_info(struct builder *builder, const char *name, int dtype, int rank, const int64_t *dims, const char *const *symbols)
{
    Onnx__ValueInfoProto *info = take(builder, sizeof *info);
    Onnx__TypeProto *type = take(builder, sizeof *type);
    Onnx__TypeProto__Tensor *tensor = take(builder, sizeof *tensor);
    Onnx__TensorShapeProto *shape = take(builder, sizeof *shape);
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    info->name = text(builder, name);
    info->type = type;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    tensor->has_elem_type = 1;
    tensor->elem_type = dtype;
    tensor->shape = shape;
    for (int i = 0; i < rank; i++) {
        Onnx__TensorShapeProto__Dimension *dim = take(builder, sizeof *dim);
        onnx__tensor_shape_proto__dimension__init(dim);
        if (symbols && symbols[i]) {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dim->dim_param = text(builder, symbols[i]);
        } else {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim->dim_value = dims[i];
        }
        append(builder, &shape->dim, &shape->n_dim, dim);
    }
    return info;
}

void builder_input(struct builder *builder, Onnx__GraphProto *graph, Onnx__ValueInfoProto *info)
{
    append(builder, &graph->input, &graph->n_input, info);
}

void builder_output(struct builder *builder, Onnx__GraphProto *graph, Onnx__ValueInfoProto *info)
{
    append(builder, &graph->output, &graph->n_output, info);
}

void builder_input_2x3(struct builder *builder, const char *name)
{
    builder_input(builder, builder->graph, builder_info(builder, name, MITRAL_FLOAT, 2, (const int64_t[]){2, 3}, NULL));
}

void builder_output_2x3(struct builder *builder, const char *name)
{
    builder_output(builder, builder->graph, builder_info(builder, name, MITRAL_FLOAT, 2, (const int64_t[]){2, 3}, NULL));
}

static Onnx__NodeProto *make_node(struct builder *builder, const char *op, const char *inputs, const char *outputs)
{
    Onnx__NodeProto *node = take(builder, sizeof *node);
    onnx__node_proto__init(node);
    node->op_type = text(builder, op);
    append_names(builder, &node->input, &node->n_input, inputs);
    append_names(builder, &node->output, &node->n_output, outputs);
    return node;
}

Onnx__NodeProto *builder_node(struct builder *builder, Onnx__GraphProto *graph, const char *op, const char *inputs, const char *outputs)
{
    Onnx__NodeProto *node = make_node(builder, op, inputs, outputs);
    append(builder, &graph->node, &graph->n_node, node);
    return node;
}

Onnx__TensorProto *builder_tensor(struct builder *builder, const char *name, int dtype, int rank, const int64_t *dims)
{
    Onnx__TensorProto *tensor = take(builder, sizeof *tensor);
    onnx__tensor_proto__init(tensor);
    tensor->name = text(builder, name);
    tensor->has_data_type = 1;
    tensor->data_type = dtype;
    tensor->n_dims = (size_t)rank;
    tensor->dims = take(builder, (size_t)(rank + 1) * sizeof *tensor->dims);
    if (rank)
        memcpy(tensor->dims, dims, (size_t)rank * sizeof *dims);
    return tensor;
}

Onnx__TensorProto *builder_initializer(struct builder *builder, Onnx__GraphProto *graph, const char *name, int dtype, int rank, const int64_t *dims)
{
    Onnx__TensorProto *tensor = builder_tensor(builder, name, dtype, rank, dims);
    append(builder, &graph->initializer, &graph->n_initializer, tensor);
    return tensor;
}

void builder_raw(struct builder *builder, Onnx__TensorProto *tensor, const void *bytes, size_t size)
{
    tensor->has_raw_data = 1;
    tensor->raw_data.len = size;
    tensor->raw_data.data = take(builder, size + 1);
    if (size)
        memcpy(tensor->raw_data.data, bytes, size);
}

void builder_floats(struct builder *builder, Onnx__TensorProto *tensor, const float *values, size_t count)
{
    tensor->n_float_data = count;
    tensor->float_data = take(builder, (count + 1) * sizeof *values);
    memcpy(tensor->float_data, values, count * sizeof *values);
}

void builder_external(struct builder *builder, Onnx__TensorProto *tensor, const char *key, const char *value)
{
    Onnx__StringStringEntryProto *entry = take(builder, sizeof *entry);
    onnx__string_string_entry_proto__init(entry);
    entry->key = text(builder, key);
    entry->value = text(builder, value);
    tensor->has_data_location = 1;
    tensor->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    append(builder, &tensor->external_data, &tensor->n_external_data, entry);
}

Onnx__AttributeProto *builder_attribute(struct builder *builder, Onnx__NodeProto *node, const char *name, int type)
{
    Onnx__AttributeProto *attribute = take(builder, sizeof *attribute);
    onnx__attribute_proto__init(attribute);
    attribute->name = text(builder, name);
    attribute->has_type = 1;
    attribute->type = (Onnx__AttributeProto__AttributeType)type;
    append(builder, &node->attribute, &node->n_attribute, attribute);
    return attribute;
}

void builder_int(struct builder *builder, Onnx__NodeProto *node, const char *name, int64_t value)
{
    Onnx__AttributeProto *attribute = builder_attribute(builder, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    attribute->has_i = 1;
    attribute->i = value;
}

void builder_float(struct builder *builder, Onnx__NodeProto *node, const char *name, float value)
{
    Onnx__AttributeProto *attribute = builder_attribute(builder, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    attribute->has_f = 1;
    attribute->f = value;
}

void builder_subgraph(struct builder *builder, Onnx__NodeProto *node, const char *name, Onnx__GraphProto *graph)
{
    builder_attribute(builder, node, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)->g = graph;
}

void builder_reference(struct builder *builder, Onnx__NodeProto *node, const char *name, int type, const char *target)
{
    builder_attribute(builder, node, name, type)->ref_attr_name = text(builder, target);
}

Onnx__FunctionProto *builder_function(struct builder *builder, const char *domain, const char *name, const char *inputs, const char *outputs)
{
    Onnx__FunctionProto *function = take(builder, sizeof *function);
    onnx__function_proto__init(function);
    function->domain = text(builder, domain);
    function->name = text(builder, name);
    append_names(builder, &function->input, &function->n_input, inputs);
    append_names(builder, &function->output, &function->n_output, outputs);
    builder_function_opset(builder, function, "", 17);
    append(builder, &builder->model.functions, &builder->model.n_functions, function);
    return function;
}

Onnx__NodeProto *builder_function_node(struct builder *builder, Onnx__FunctionProto *function, const char *op, const char *inputs,
                                       const char *outputs)
{
    Onnx__NodeProto *node = make_node(builder, op, inputs, outputs);
    append(builder, &function->node, &function->n_node, node);
    return node;
}

void builder_function_opset(struct builder *builder, Onnx__FunctionProto *function, const char *domain, int64_t version)
{
    append(builder, &function->opset_import, &function->n_opset_import, make_opset(builder, domain, version));
}

const void *builder_pack(struct builder *builder, size_t *size)
{
    mitral_release(builder->context, builder->bytes);
    *size = onnx__model_proto__get_packed_size(&builder->model);
    builder->bytes = mitral_allocate_raw(builder->context, *size);
    assert_non_null(builder->bytes);
    onnx__model_proto__pack(&builder->model, builder->bytes);
    return builder->bytes;
}
