#include "onnx_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "build.h"
#include "compiler/export.h"
#include "compiler/import.h"
#include "runtime/file.h"

static struct builder builder;

static int start(void **state)
{
    (void)state;
    builder_start(&builder);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    builder_stop(&builder);
    return 0;
}

static struct graph *import_bytes(const void *bytes, size_t size)
{
    struct graph *graph;
    assert_ok(builder.context, import_onnx(&graph, builder.context, bytes, size, NULL));
    return graph;
}

static Onnx__ModelProto *exported(const struct graph *graph)
{
    void *bytes;
    size_t size;
    assert_ok(builder.context, export_onnx_bytes(builder.context, graph, &bytes, &size));
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, size, bytes);
    assert_non_null(model);
    mitral_release(builder.context, bytes);
    return model;
}

/* Each corpus model, imported, exported and imported again, is the same graph; exported again, the same bytes. */
static void round_trips_keep_the_graph(void **state)
{
    (void)state;
    /* `same`: as text too. Not so where constants that nobody reads, or absent inputs at the end of a list, are left out. */
    static const struct {
        const char *name;
        bool same;
    } models[] = {{"relu", true}, {"relu7", true}, {"attributes", true}, {"tensors", false}, {"sparse", true}, {"constants", false},
                  {"branches", false}, {"loop", true}, {"scan", true}, {"functions", false}, {"kinds", true}, {"convolution", true},
                  {"bodies", true}, {"initializer_inputs", true}, {"unsorted", true}, {"quantized", true}};
    const char *source = getenv("MITRAL_SOURCE");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[512], *before, *after;
        snprintf(path, sizeof path, "%s/tests/fuzz/corpus/import/%s.onnx", source ? source : ".", models[i].name);
        struct file_mapping file;
        assert_ok(builder.context, file_map(&file, builder.context, path));
        struct graph *first = import_bytes(file.data, file.size), *second;
        void *bytes, *again;
        size_t size, again_size;
        assert_ok(builder.context, export_onnx_bytes(builder.context, first, &bytes, &size));
        second = import_bytes(bytes, size);
        assert_ok(builder.context, export_onnx_bytes(builder.context, second, &again, &again_size));
        assert_int_equal(size, again_size);
        assert_memory_equal(bytes, again, size);
        assert_int_equal(first->node_count, second->node_count);
        assert_int_equal(first->input_count, second->input_count);
        assert_ok(builder.context, graph_dump(first, &before));
        assert_ok(builder.context, graph_dump(second, &after));
        if (models[i].same)
            assert_string_equal(before, after);
        mitral_release(builder.context, before);
        mitral_release(builder.context, after);
        mitral_release(builder.context, bytes);
        mitral_release(builder.context, again);
        graph_destroy(&first);
        graph_destroy(&second);
        file_unmap(&file);
    }
}

static void what_the_model_says_is_kept(void **state)
{
    (void)state;
    const char *symbols[] = {"N", NULL};
    builder_input(&builder, builder.graph, builder_info(&builder, "x", MITRAL_FLOAT, 2, (const int64_t[]){-1, 3}, symbols));
    builder_output(&builder, builder.graph, builder_info(&builder, "y", MITRAL_FLOAT, 2, (const int64_t[]){-1, 3}, symbols));
    builder_node(&builder, builder.graph, "Relu", "x", "y")->name = (char *)"first";
    builder.model.producer_name = (char *)"someone";
    builder.model.producer_version = (char *)"1.2";
    builder.model.domain = (char *)"there";
    builder.model.doc_string = (char *)"about it";
    builder.model.has_model_version = 1;
    builder.model.model_version = 42;
    builder.graph->doc_string = (char *)"about the graph";
    builder_opset(&builder, "com.microsoft", 1);
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    struct graph *graph = import_bytes(bytes, size);
    Onnx__ModelProto *model = exported(graph);
    assert_string_equal(model->producer_name, "someone");
    assert_string_equal(model->producer_version, "1.2");
    assert_string_equal(model->domain, "there");
    assert_string_equal(model->doc_string, "about it");
    assert_int_equal(model->model_version, 42);
    assert_int_equal(model->ir_version, 8);
    assert_int_equal(model->n_opset_import, 2);
    assert_int_equal(model->opset_import[0]->version, 17);
    assert_string_equal(model->opset_import[1]->domain, "com.microsoft");
    assert_string_equal(model->graph->doc_string, "about the graph");
    assert_string_equal(model->graph->name, "graph");
    assert_string_equal(model->graph->node[0]->name, "first");
    assert_string_equal(model->graph->input[0]->type->tensor_type->shape->dim[0]->dim_param, "N");
    assert_int_equal(model->graph->input[0]->type->tensor_type->shape->dim[1]->dim_value, 3);
    onnx__model_proto__free_unpacked(model, NULL);
    graph_destroy(&graph);
}

static struct graph *empty_graph(void)
{
    struct graph *graph;
    assert_ok(builder.context, graph_create(&graph, builder.context));
    graph->opset = 17;
    return graph;
}

static void names_given_twice_are_told_apart(void **state)
{
    (void)state;
    struct graph *graph = empty_graph();
    value_id x = test_input(graph, "x", 1, (const int64_t[]){3});
    value_id a = test_node(graph, "Neg", "x", NULL, &x, 1), b = test_node(graph, "Abs", "y", NULL, &a, 1), c = test_node(graph, "Neg", "", NULL, &b, 1);
    value_id y = test_node(graph, "Abs", "y", NULL, &c, 1);
    assert_ok(builder.context, graph_add_output(graph, y));
    graph->values[y].type = graph->values[x].type;
    Onnx__ModelProto *model = exported(graph);
    const Onnx__GraphProto *proto = model->graph;
    assert_string_equal(proto->input[0]->name, "x"); /* inputs and outputs have theirs first */
    assert_string_equal(proto->output[0]->name, "y");
    for (size_t i = 0; i < proto->n_node; i++)
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(proto->node[i]->output[0], proto->node[j]->output[0]);
    for (size_t i = 0; i + 1 < proto->n_node; i++)
        assert_string_equal(proto->node[i]->output[0], proto->node[i + 1]->input[0]);
    onnx__model_proto__free_unpacked(model, NULL);
    graph_destroy(&graph);
}

static void defaults_are_left_out_and_others_written(void **state)
{
    (void)state;
    struct graph *graph = empty_graph();
    value_id x = test_input(graph, "x", 2, (const int64_t[]){2, 3});
    struct attributes attributes = {0};
    assert_ok(builder.context, attributes_set_float(&attributes, graph->arena, "alpha", 1.0f));
    assert_ok(builder.context, attributes_set_int(&attributes, graph->arena, "transB", 1));
    value_id y = test_node(graph, "Gemm", "y", &attributes, (const value_id[]){x, x}, 2);
    graph->values[y].type = graph->values[x].type;
    assert_ok(builder.context, graph_add_output(graph, y));
    Onnx__ModelProto *model = exported(graph);
    assert_int_equal(model->graph->node[0]->n_attribute, 1);
    assert_string_equal(model->graph->node[0]->attribute[0]->name, "transB");
    onnx__model_proto__free_unpacked(model, NULL);
    graph_destroy(&graph);
}

static void opsets_follow_the_nodes(void **state)
{
    (void)state;
    struct graph *graph = empty_graph();
    value_id x = test_input(graph, "x", 1, (const int64_t[]){3}), y, z;
    assert_ok(builder.context, graph_add_value(graph, "y", &graph->values[x].type, &y));
    assert_ok(builder.context, graph_add_node(graph, op_find(NULL, "Relu"), 14, NULL, NULL, &x, 1, &y, 1, NULL));
    assert_ok(builder.context, graph_add_output(graph, y));
    graph->opset = 13; /* older than what the node means */
    graph->ir_version = 7;
    Onnx__ModelProto *model = exported(graph);
    assert_int_equal(model->opset_import[0]->version, 14);
    onnx__model_proto__free_unpacked(model, NULL);
    /* Two versions that no opset has together. */
    assert_ok(builder.context, graph_add_value(graph, "z", &graph->values[x].type, &z));
    assert_ok(builder.context, graph_add_node(graph, op_find(NULL, "Relu"), 6, "old", NULL, &y, 1, &z, 1, NULL));
    void *bytes;
    size_t size;
    assert_int_equal(export_onnx_bytes(builder.context, graph, &bytes, &size), MITRAL_UNSUPPORTED);
    assert_null(bytes);
    assert_non_null(strstr(mitral_context_message(builder.context), "'old'"));
    graph_destroy(&graph);
}

static void own_operators_are_refused(void **state)
{
    (void)state;
    const struct op *own = NULL;
    for (size_t i = 0; op_at(i) && !own; i++)
        if (strcmp(op_domain(op_at(i)), "mitral") == 0)
            own = op_at(i);
    if (!own)
        skip();
    struct graph *graph = empty_graph();
    value_id x = test_input(graph, "x", 1, (const int64_t[]){3}), y;
    assert_ok(builder.context, graph_add_value(graph, "y", &graph->values[x].type, &y));
    assert_ok(builder.context, graph_add_node(graph, own, 1, "ours", NULL, &x, 1, &y, 1, NULL));
    assert_ok(builder.context, graph_add_output(graph, y));
    assert_int_equal(export_onnx(builder.context, graph, "/tmp/mitral_never_written.onnx"), MITRAL_UNSUPPORTED);
    assert_non_null(strstr(mitral_context_message(builder.context), own->name));
    assert_non_null(strstr(mitral_context_message(builder.context), "'ours'"));
    assert_int_equal(access("/tmp/mitral_never_written.onnx", F_OK), -1);
    graph_destroy(&graph);
}

/* Captures are gone from the node's inputs, and the subgraph names the outer values; one that a branch gives as it is goes out as
 * a copy. */
static void captures_become_references(void **state)
{
    (void)state;
    builder_input_2x3(&builder, "x");
    builder_input(&builder, builder.graph, builder_info(&builder, "c", MITRAL_BOOL, 0, NULL, NULL));
    builder_output_2x3(&builder, "y");
    Onnx__GraphProto *then = builder_graph(&builder, "t"), *other = builder_graph(&builder, "e");
    Onnx__ValueInfoProto *info = builder_info(&builder, "q", MITRAL_FLOAT, 2, (const int64_t[]){2, 3}, NULL);
    builder_node(&builder, then, "Neg", "x", "q");
    builder_output(&builder, then, info);
    builder_output(&builder, other, builder_info(&builder, "x", MITRAL_FLOAT, 2, (const int64_t[]){2, 3}, NULL));
    Onnx__NodeProto *node = builder_node(&builder, builder.graph, "If", "c", "y");
    builder_subgraph(&builder, node, "then_branch", then);
    builder_subgraph(&builder, node, "else_branch", other);
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    struct graph *graph = import_bytes(bytes, size);
    Onnx__ModelProto *model = exported(graph);
    const Onnx__NodeProto *out = model->graph->node[0];
    assert_int_equal(out->n_input, 1);
    assert_int_equal(out->n_attribute, 2);
    for (size_t i = 0; i < 2; i++) {
        const Onnx__GraphProto *branch = out->attribute[i]->g;
        assert_int_equal(branch->n_input, 0);
        assert_int_equal(branch->n_node, 1);
        assert_string_equal(branch->node[0]->input[0], "x");
        assert_string_equal(branch->node[0]->op_type, strcmp(out->attribute[i]->name, "then_branch") == 0 ? "Neg" : "Identity");
        assert_string_equal(branch->node[0]->output[0], branch->output[0]->name);
    }
    onnx__model_proto__free_unpacked(model, NULL);
    graph_destroy(&graph);
}

static void files_hold_the_same_bytes(void **state)
{
    (void)state;
    struct graph *graph = empty_graph();
    value_id x = test_input(graph, "x", 1, (const int64_t[]){3});
    value_id w = test_constant(graph, "w", 1, (const int64_t[]){3}, (const float[]){1, 2, 3});
    value_id y = test_node(graph, "Add", "y", NULL, (const value_id[]){x, w}, 2);
    graph->values[y].type = graph->values[x].type;
    assert_ok(builder.context, graph_add_output(graph, y));
    char path[] = "/tmp/mitral_export_XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    assert_ok(builder.context, export_onnx(builder.context, graph, path));
    void *bytes;
    size_t size;
    assert_ok(builder.context, export_onnx_bytes(builder.context, graph, &bytes, &size));
    struct file_mapping mapping;
    assert_ok(builder.context, file_map(&mapping, builder.context, path));
    assert_int_equal(mapping.size, size);
    assert_memory_equal(mapping.data, bytes, size);
    file_unmap(&mapping);
    mitral_release(builder.context, bytes);
    unlink(path);
    graph_destroy(&graph);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(round_trips_keep_the_graph), TEST(what_the_model_says_is_kept), TEST(names_given_twice_are_told_apart),
        TEST(defaults_are_left_out_and_others_written), TEST(opsets_follow_the_nodes), TEST(own_operators_are_refused),
        TEST(captures_become_references), TEST(files_hold_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
