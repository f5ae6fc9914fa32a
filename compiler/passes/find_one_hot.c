/* A product with a one-hot matrix, Cast(Equal(x, 0 … K − 1)) · W, is a row of W for each x, and zeros where x is none of these numbers:
 * Gather from W with a row of zeros behind it. */
#include <math.h>
#include <string.h>

#include "compiler/passes/passes.h"

/* [1, …, 1, K] of the numbers 0 … K − 1. */
static bool counts_up(const mitral_tensor *tensor, int64_t count)
{
    if (!tensor || (tensor->dtype != MITRAL_INT32 && tensor->dtype != MITRAL_INT64) || tensor->rank < 1
        || tensor->dims[tensor->rank - 1] != count || tensor_count(tensor) != count)
        return false;
    for (int64_t i = 0; i < count; i++)
        if (tensor_get_double(tensor, i) != (double)i)
            return false;
    return true;
}

/* What the rows of a one-hot matrix of `count` columns say, [..., 1]; NO_VALUE: it is another matrix. */
static value_id numbers_of(const struct graph *graph, value_id matrix, int64_t count)
{
    const struct node *cast = graph_producer(graph, matrix);
    const struct node *equal = cast && node_is(cast, "Cast") ? graph_producer(graph, cast->inputs[0]) : NULL;
    if (!equal || !node_is(equal, "Equal"))
        return NO_VALUE;
    const size_t side = graph_constant(graph, equal->inputs[0]) ? 1 : 0;
    const mitral_tensor *columns = graph_constant(graph, equal->inputs[1 - side]);
    const struct value_type *x = &graph->values[equal->inputs[side]].type;
    const bool fits = x->kind == MITRAL_TENSOR && x->rank >= 1 && x->dims[x->rank - 1] == 1 && counts_up(columns, count)
                      && columns->rank <= x->rank;
    return fits ? equal->inputs[side] : NO_VALUE;
}

/* W with a row of zeros behind it; NO_VALUE where a product with zero would not be zero. */
static mitral_status extend(struct graph *graph, const mitral_tensor *w, value_id *out)
{
    const int64_t count = tensor_count(w), dims[] = {w->dims[0] + 1, w->dims[1]};
    *out = NO_VALUE;
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(((const float *)w->data)[i]))
            return MITRAL_OK;
    mitral_tensor rows;
    tensor_set(&rows, MITRAL_FLOAT, 2, dims);
    float *data = rows.data = arena_allocate(graph->arena, tensor_bytes(&rows));
    if (!data)
        return MITRAL_NO_MEMORY;
    memcpy(data, w->data, (size_t)count * sizeof *data);
    memset(data + count, 0, (size_t)dims[1] * sizeof *data);
    return graph_add_constant(graph, NULL, &rows, true, out);
}

static mitral_status add_integer(struct graph *graph, mitral_dtype dtype, int32_t rank, int64_t number, value_id *out)
{
    int32_t narrow = (int32_t)number;
    mitral_tensor tensor;
    tensor_set(&tensor, dtype, rank, (const int64_t[]){1});
    tensor.data = dtype == MITRAL_INT32 ? (void *)&narrow : (void *)&number;
    return graph_add_constant(graph, NULL, &tensor, false, out);
}

static mitral_status append(struct graph *graph, const char *op, const char *name, const value_id *inputs, size_t count, value_id *out)
{
    TRY(graph_add_value(graph, NULL, NULL, out));
    return graph_add_node(graph, op_find(NULL, op), 0, name, NULL, inputs, count, out, 1, NULL);
}

static mitral_status find(struct graph *graph, node_id id, bool *changed)
{
    const struct node *node = &graph->nodes[id];
    const char *name = node->name;
    const mitral_tensor *w = graph_constant(graph, node->inputs[1]);
    if (!w || w->dtype != MITRAL_FLOAT || w->rank != 2 || w->layout != LAYOUT_PLAIN || w->dims[0] > INT32_MAX - 1)
        return MITRAL_OK;
    const value_id x = numbers_of(graph, node->inputs[0], w->dims[0]), result = node->outputs[0];
    if (x == NO_VALUE || graph->values[node->inputs[0]].type.dtype != MITRAL_FLOAT)
        return MITRAL_OK;
    const mitral_dtype dtype = (mitral_dtype)graph->values[x].type.dtype;
    value_id rows, least, most, last, clipped, indices;
    TRY(extend(graph, w, &rows));
    if (rows == NO_VALUE)
        return MITRAL_OK;
    TRY(add_integer(graph, dtype, 0, -1, &least)); /* from the end: zeros, as row K */
    TRY(add_integer(graph, dtype, 0, w->dims[0], &most));
    TRY(add_integer(graph, MITRAL_INT64, 1, -1, &last));
    TRY(append(graph, "Clip", name, (value_id[]){x, least, most}, 3, &clipped));
    TRY(append(graph, "Squeeze", name, (value_id[]){clipped, last}, 2, &indices));
    graph_remove_node(graph, id);
    *changed = true;
    return graph_add_node(graph, op_find(NULL, "Gather"), 0, name, NULL, (value_id[]){rows, indices}, 2, &result, 1, NULL);
}

mitral_status pass_find_one_hot(struct graph *graph, const struct pass_options *options, bool *changed)
{
    (void)options;
    mitral_status status = MITRAL_OK;
    for (size_t i = 0, count = graph->node_count; i < count && status == MITRAL_OK; i++)
        if (graph->nodes[i].op && node_is(&graph->nodes[i], "MatMul"))
            status = find(graph, (node_id)i, changed);
    return status;
}
