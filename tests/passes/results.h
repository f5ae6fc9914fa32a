/* A pass must not change what a graph computes: both sides are lowered and run on the same random inputs. */
#ifndef MITRAL_TESTS_RESULTS_H
#define MITRAL_TESTS_RESULTS_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/build.h"

#include "compiler/lower.h"
#include "compiler/pipeline.h"

/* Uniform in [-1, 1). */
static inline float test_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state / 2147483648.0f;
}

/* A constant of random numbers around `middle`. */
static inline value_id test_random_constant(struct graph *graph, const char *name, int32_t rank, const int64_t *dims, float middle,
                                            float spread)
{
    uint32_t state = (uint32_t)graph->value_count * 7919u + 17u;
    int64_t count = 1;
    for (int32_t i = 0; i < rank; i++)
        count *= dims[i];
    float *data = malloc((size_t)(count + 1) * sizeof *data);
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++)
        data[i] = middle + spread * test_random(&state);
    value_id id = test_constant(graph, name, rank, dims, data);
    free(data);
    return id;
}

struct test_results {
    float *data[8];
    size_t counts[8];
    int32_t ranks[8];
    int64_t dims[8][MITRAL_MAX_RANK];
};

static inline void test_run(const struct graph *graph, struct test_results *out)
{
    struct mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    mitral_value inputs[8];
    const mitral_value *in[8], *results[8];
    mitral_context *context = graph->context;
    assert_ok(context, lower_graph(&plan, context, graph, 1, 1, MITRAL_PRECISION_F32, false));
    assert_ok(context, plan_pack(context, plan));
    assert_ok(context, mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = 1}));
    for (size_t i = 0; i < graph->input_count; i++) {
        uint32_t state = 99u + (uint32_t)i;
        inputs[i] = (mitral_value){.kind = MITRAL_TENSOR};
        type_to_tensor(&graph->values[graph->inputs[i]].type, &inputs[i].tensor);
        size_t count = (size_t)tensor_count(&inputs[i].tensor);
        float *data = malloc((count + 1) * sizeof *data);
        for (size_t k = 0; k < count; k++)
            data[k] = test_random(&state);
        inputs[i].tensor.data = data;
        in[i] = &inputs[i];
    }
    assert_ok(context, mitral_session_run(session, in, graph->input_count, results, graph->output_count));
    for (size_t i = 0; i < graph->output_count; i++) {
        out->counts[i] = (size_t)tensor_count(&results[i]->tensor);
        out->ranks[i] = results[i]->tensor.rank;
        for (int32_t d = 0; d < out->ranks[i]; d++)
            out->dims[i][d] = results[i]->tensor.dims[d];
        out->data[i] = malloc((out->counts[i] + 1) * sizeof(float));
        assert_int_equal(results[i]->tensor.dtype, MITRAL_FLOAT);
        assert_int_equal(results[i]->tensor.layout, LAYOUT_PLAIN);
        memcpy(out->data[i], results[i]->tensor.data, out->counts[i] * sizeof(float));
    }
    for (size_t i = 0; i < graph->input_count; i++)
        free(inputs[i].tensor.data);
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
}

/* Runs the passes on the graph; the outputs keep their shapes and stay within `tolerance` · (1 + |value|). */
static inline void test_passes_keep_results_in(struct graph *graph, const char *const *passes, size_t count, double tolerance,
                                               mitral_precision precision)
{
    struct test_results before = {0}, after = {0};
    const struct pass_options options = {.threads = 1, .precision = precision};
    assert_ok(graph->context, graph_infer(graph));
    test_run(graph, &before);
    for (size_t i = 0; i < count; i++)
        assert_ok(graph->context, pipeline_run_one(graph, passes[i], &options));
    test_run(graph, &after);
    for (size_t i = 0; i < graph->output_count; i++) {
        assert_int_equal(before.ranks[i], after.ranks[i]);
        for (int32_t d = 0; d < before.ranks[i]; d++)
            assert_int_equal(before.dims[i][d], after.dims[i][d]);
        for (size_t k = 0; k < before.counts[i]; k++) {
            double distance = fabs((double)after.data[i][k] - (double)before.data[i][k]) / (1 + fabs((double)before.data[i][k]));
            if (!(distance <= tolerance))
                print_error("output %zu, element %zu: %g, expected %g\n", i, k, (double)after.data[i][k], (double)before.data[i][k]);
            assert_true(distance <= tolerance);
        }
        free(before.data[i]);
        free(after.data[i]);
    }
}

static inline void test_passes_keep_results(struct graph *graph, const char *const *passes, size_t count, double tolerance)
{
    test_passes_keep_results_in(graph, passes, count, tolerance, MITRAL_PRECISION_F32);
}

/* How many nodes of that operator there are; domain NULL: the default one. */
static inline size_t test_count(const struct graph *graph, const char *domain, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        count += graph->nodes[i].op && strcmp(graph->nodes[i].op->name, name) == 0
                 && strcmp(op_domain(graph->nodes[i].op), domain ? domain : "") == 0;
    return count;
}

/* So many blocks among so many nodes; else the graph is shown. */
static inline void test_blocks(const struct graph *graph, size_t blocks, size_t nodes)
{
    if (graph->node_count != nodes || test_count(graph, "mitral", "DilatedParallelBlock") != blocks) {
        char *text;
        assert_ok(graph->context, graph_dump(graph, &text));
        print_error("%s", text);
        mitral_release(graph->context, text);
    }
    assert_int_equal(test_count(graph, "mitral", "DilatedParallelBlock"), blocks);
    assert_int_equal(graph->node_count, nodes);
}

/* A graph to build on; closed by test_close. */
static inline struct graph *test_open(void)
{
    struct graph *graph = NULL;
    mitral_context *context = test_context();
    assert_ok(context, graph_create(&graph, context));
    return graph;
}

static inline void test_close(struct graph *graph)
{
    mitral_context *context = graph->context;
    graph_destroy(&graph);
    mitral_context_destroy(&context);
}

static inline struct attributes test_ints(struct graph *graph, const char *name, const int64_t *values, size_t count)
{
    struct attributes attributes = {0};
    assert_ok(graph->context, attributes_set_ints(&attributes, graph->arena, name, values, count));
    return attributes;
}

#endif
