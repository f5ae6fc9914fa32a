/* Small graphs for tests. */
#ifndef MITRAL_TESTS_BUILD_H
#define MITRAL_TESTS_BUILD_H

#include "support.h"

#include "compiler/op.h"

static inline value_id test_input(struct graph *graph, const char *name, int32_t rank, const int64_t *dims)
{
    struct value_type type = {.kind = MITRAL_TENSOR, .dtype = MITRAL_FLOAT, .rank = rank};
    for (int32_t i = 0; i < rank; i++)
        type.dims[i] = dims[i];
    value_id id;
    assert_ok(graph->context, graph_add_value(graph, name, &type, &id));
    assert_ok(graph->context, graph_add_input(graph, id));
    return id;
}

static inline value_id test_constant(struct graph *graph, const char *name, int32_t rank, const int64_t *dims, const float *data)
{
    mitral_tensor tensor;
    tensor_set(&tensor, MITRAL_FLOAT, rank, dims);
    tensor.data = (void *)data;
    value_id id;
    assert_ok(graph->context, graph_add_constant(graph, name, &tensor, false, &id));
    return id;
}

static inline value_id test_integers(struct graph *graph, const char *name, const int64_t *values, int64_t count)
{
    mitral_tensor tensor;
    tensor_set(&tensor, MITRAL_INT64, 1, &count);
    tensor.data = (void *)values;
    value_id id;
    assert_ok(graph->context, graph_add_constant(graph, name, &tensor, false, &id));
    return id;
}

/* A node with one new output. */
static inline value_id test_node(struct graph *graph, const char *op, const char *output, const struct attributes *attributes,
                                 const value_id *inputs, size_t count)
{
    value_id id;
    assert_non_null(op_find(NULL, op));
    assert_ok(graph->context, graph_add_value(graph, output, NULL, &id));
    assert_ok(graph->context, graph_add_node(graph, op_find(NULL, op), 0, output, attributes, inputs, count, &id, 1, NULL));
    return id;
}

static inline void assert_dump(const struct graph *graph, const char *want)
{
    char *text = NULL;
    assert_ok(graph->context, graph_dump(graph, &text));
    assert_string_equal(text, want);
    mitral_release(graph->context, text);
}

#endif
