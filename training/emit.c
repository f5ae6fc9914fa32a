#include "training/emit.h"

#include <string.h>

mitral_status emit_node(struct emitter *emitter, const char *op, const struct attributes *attributes, const value_id *inputs,
                        size_t input_count, value_id *outputs, size_t output_count)
{
    struct graph *graph = emitter->graph;
    static const struct attributes none;
    const struct value_type unknown = {.kind = MITRAL_TENSOR, .dtype = MITRAL_UNDEFINED, .rank = -1};
    const bool own = strncmp(op, "mitral.", 7) == 0;
    const struct op *row = op_find(own ? "mitral" : NULL, own ? op + 7 : op);
    if (!row)
        return mitral_fail(graph->context, MITRAL_UNSUPPORTED, "expected operator %s, found none", op);
    value_id made[8]; /* the caller may pass one variable as input and output */
    if (output_count > sizeof made / sizeof *made)
        return mitral_fail(graph->context, MITRAL_LIMIT, "%s: expected at most %zu outputs", op, sizeof made / sizeof *made);
    for (size_t i = 0; i < output_count; i++) {
        char *name = arena_format(graph->arena, "%s/%zu", emitter->prefix, emitter->count++);
        if (!name)
            return MITRAL_NO_MEMORY;
        TRY(graph_add_value(graph, name, &unknown, &made[i]));
    }
    char *name = arena_format(graph->arena, "%s/%s%zu", emitter->prefix, row->name, emitter->count++);
    if (!name)
        return MITRAL_NO_MEMORY;
    const struct schema *schema = schema_find(op_domain(row), row->name, schema_newest_opset);
    node_id node;
    TRY(graph_add_node(graph, row, schema ? schema->since_version : 1, name, attributes ? attributes : &none, inputs, input_count, made,
                       output_count, &node));
    memcpy(outputs, made, output_count * sizeof *made);
    return MITRAL_OK;
}

static mitral_status emit_constant(struct emitter *emitter, value_id *out, const mitral_tensor *tensor)
{
    char *name = arena_format(emitter->graph->arena, "%s/constant%zu", emitter->prefix, emitter->count++);
    return name ? graph_add_constant(emitter->graph, name, tensor, false, out) : MITRAL_NO_MEMORY;
}

mitral_status emit_scalar(struct emitter *emitter, value_id *out, double number)
{
    float value = (float)number;
    const mitral_tensor tensor = {.dtype = MITRAL_FLOAT, .rank = 0, .data = &value};
    return emit_constant(emitter, out, &tensor);
}

mitral_status emit_floats(struct emitter *emitter, value_id *out, const double *numbers, size_t count)
{
    float *values = arena_allocate(emitter->graph->arena, (count + 1) * sizeof *values);
    if (!values)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        values[i] = (float)numbers[i];
    const mitral_tensor tensor = {.dtype = MITRAL_FLOAT, .rank = 1, .dims = {(int64_t)count}, .data = values};
    return emit_constant(emitter, out, &tensor);
}

mitral_status emit_ints(struct emitter *emitter, value_id *out, const int64_t *numbers, size_t count)
{
    const mitral_tensor tensor = {.dtype = MITRAL_INT64, .rank = 1, .dims = {(int64_t)count}, .data = (void *)numbers};
    return emit_constant(emitter, out, &tensor);
}

mitral_status emit_input(struct emitter *emitter, value_id *out, const char *name, int32_t dtype, int32_t rank, const int64_t *dims)
{
    struct value_type type = {.kind = MITRAL_TENSOR, .dtype = dtype, .rank = rank};
    for (int32_t i = 0; i < rank; i++)
        type.dims[i] = dims[i];
    TRY(graph_add_value(emitter->graph, name, &type, out));
    return graph_add_input(emitter->graph, *out);
}

mitral_status emit_variable(struct emitter *emitter, value_id *out, const char *name, const mitral_tensor *first)
{
    TRY(graph_add_constant(emitter->graph, name, first, true, out));
    emitter->graph->values[*out].variable = true;
    return MITRAL_OK;
}

mitral_status emit_zero_variable(struct emitter *emitter, value_id *out, const char *name, value_id like)
{
    mitral_tensor tensor;
    type_to_tensor(&emitter->graph->values[like].type, &tensor);
    const size_t bytes = tensor_bytes(&tensor);
    tensor.data = arena_allocate(emitter->graph->arena, bytes ? bytes : 1);
    return tensor.data ? emit_variable(emitter, out, name, &tensor) : MITRAL_NO_MEMORY;
}

mitral_status emit_resize(struct emitter *emitter, value_id *out, value_id x, int64_t height, int64_t width)
{
    const struct value_type type = emitter->graph->values[x].type;
    struct attributes attributes = {0};
    struct arena *arena = emitter->graph->arena;
    value_id sizes;
    if (type.rank == 4 && type.dims[2] == height && type.dims[3] == width) {
        *out = x;
        return MITRAL_OK;
    }
    TRY(emit_ints(emitter, &sizes, (const int64_t[]){type.dims[0], type.dims[1], height, width}, 4));
    TRY(attributes_set_string(&attributes, arena, "mode", "linear"));
    TRY(attributes_set_string(&attributes, arena, "coordinate_transformation_mode", "half_pixel"));
    return emit_node(emitter, "Resize", &attributes, (value_id[]){x, NO_VALUE, NO_VALUE, sizes}, 4, out, 1);
}
