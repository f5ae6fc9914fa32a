#include "onnx_builder.h"

#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "compiler/import.h"

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

static struct graph *import(void)
{
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    struct graph *graph;
    assert_ok(builder.context, import_onnx(&graph, builder.context, bytes, size, NULL));
    assert_ok(builder.context, graph_verify(graph));
    return graph;
}

static void imports_to(const char *want)
{
    struct graph *graph = import();
    assert_dump(graph, want);
    graph_destroy(&graph);
}

/* The import fails so, with all of the words in its message. */
static void refuses(mitral_status want, const char *const *words)
{
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    struct graph *graph;
    mitral_status status = import_onnx(&graph, builder.context, bytes, size, NULL);
    assert_null(graph);
    if (status != want)
        fail_msg("expected status %d, found %d: %s", want, status, mitral_context_message(builder.context));
    for (; *words; words++)
        if (!strstr(mitral_context_message(builder.context), *words))
            fail_msg("expected '%s' in the message, found: %s", *words, mitral_context_message(builder.context));
}
#define REFUSES(status, ...) refuses(status, (const char *const[]){__VA_ARGS__, NULL})

/* ---- the graph ----------------------------------------------------------------------------------------------------- */

static void keeps_names_symbols_and_metadata(void **state)
{
    (void)state;
    const char *symbols[] = {"N", NULL};
    builder_input(&builder, builder.graph, builder_info(&builder, "x", MITRAL_FLOAT, 2, (const int64_t[]){-1, 3}, symbols));
    builder_output(&builder, builder.graph, builder_info(&builder, "y", MITRAL_FLOAT, 2, (const int64_t[]){-1, 3}, symbols));
    builder_node(&builder, builder.graph, "Relu", "x", "y")->name = (char *)"first";
    builder.model.producer_name = (char *)"someone";
    builder.model.doc_string = (char *)"about it";
    Onnx__StringStringEntryProto entry, *entries = &entry;
    onnx__string_string_entry_proto__init(&entry);
    entry.key = (char *)"key";
    entry.value = (char *)"value";
    builder.model.metadata_props = &entries;
    builder.model.n_metadata_props = 1;
    struct graph *graph = import();
    assert_string_equal(graph->producer_name, "someone");
    assert_string_equal(graph->doc_string, "about it");
    assert_int_equal(graph->ir_version, 8);
    assert_int_equal(graph->opset, 17);
    assert_int_equal(graph->metadata_count, 1);
    assert_string_equal(graph->metadata[0].key, "key");
    assert_string_equal(graph->metadata[0].value, "value");
    assert_string_equal(graph->nodes[0].name, "first");
    assert_int_equal(graph->nodes[0].version, 14);
    assert_dump(graph, "input x: float32[N,3]\ny: float32[N,3] = Relu.14(x)\noutput y\n");
    graph_destroy(&graph);
}

static void initializers_listed_as_inputs_are_constants(void **state)
{
    (void)state;
    builder.model.ir_version = 3;
    builder.model.opset_import[0]->version = 7;
    builder_input_2x3(&builder, "x");
    builder_input(&builder, builder.graph, builder_info(&builder, "w", MITRAL_FLOAT, 1, (const int64_t[]){3}, NULL));
    builder_output_2x3(&builder, "y");
    builder_floats(&builder, builder_initializer(&builder, builder.graph, "w", MITRAL_FLOAT, 1, (const int64_t[]){3}), (const float[]){1, 2, 3}, 3);
    builder_node(&builder, builder.graph, "Add", "x,w", "y");
    struct graph *graph = import();
    assert_int_equal(graph->input_count, 1);
    bool found = false;
    for (size_t v = 0; v < graph->value_count; v++)
        if (strcmp(graph->values[v].name, "w") == 0) {
            found = true;
            assert_true(graph->values[v].parameter);
            assert_memory_equal(graph->values[v].constant->data, ((const float[]){1, 2, 3}), 12);
        }
    assert_true(found);
    graph_destroy(&graph);
}

static void an_input_must_have_its_initializers_type(void **state)
{
    (void)state;
    builder_input(&builder, builder.graph, builder_info(&builder, "w", MITRAL_FLOAT, 1, (const int64_t[]){4}, NULL));
    builder_floats(&builder, builder_initializer(&builder, builder.graph, "w", MITRAL_FLOAT, 1, (const int64_t[]){3}), (const float[]){1, 2, 3}, 3);
    REFUSES(MITRAL_INVALID, "input 'w'", "float32[3]");
}

static void sorts_nodes(void **state)
{
    (void)state;
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    builder_node(&builder, builder.graph, "Neg", "a", "y");
    builder_node(&builder, builder.graph, "Abs", "x", "a");
    imports_to("input x: float32[2,3]\na: ?[...] = Abs.13(x)\ny: float32[2,3] = Neg.13(a)\noutput y\n");
}

static void defaults_are_filled_in(void **state)
{
    (void)state;
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    builder_node(&builder, builder.graph, "Gemm", "x,x", "y");
    struct graph *graph = import();
    const struct attributes *attributes = &graph->nodes[0].attributes;
    assert_true(attribute_float(attributes, "alpha", 0) == 1.0f);
    assert_true(attribute_float(attributes, "beta", 0) == 1.0f);
    assert_int_equal(attribute_int(attributes, "transA", -1), 0);
    assert_int_equal(attribute_int(attributes, "transB", -1), 0);
    graph_destroy(&graph);
}

static void constant_nodes_become_constants(void **state)
{
    (void)state;
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    builder_float(&builder, builder_node(&builder, builder.graph, "Constant", "", "c"), "value_float", 2.5f);
    builder_node(&builder, builder.graph, "Mul", "x,c", "y");
    struct graph *graph = import();
    assert_int_equal(graph->node_count, 1);
    const mitral_tensor *constant = graph_constant(graph, graph->nodes[0].inputs[1]);
    assert_non_null(constant);
    assert_int_equal(constant->rank, 0);
    assert_true(*(const float *)constant->data == 2.5f);
    assert_false(graph->values[graph->nodes[0].inputs[1]].parameter);
    graph_destroy(&graph);
}

/* ---- subgraphs ----------------------------------------------------------------------------------------------------- */

static void nested_captures_become_inputs(void **state)
{
    (void)state;
    builder_input_2x3(&builder, "x");
    builder_input_2x3(&builder, "w");
    builder_input(&builder, builder.graph, builder_info(&builder, "c", MITRAL_BOOL, 0, NULL, NULL));
    builder_output_2x3(&builder, "y");
    Onnx__GraphProto *inner_then = builder_graph(&builder, "it"), *inner_else = builder_graph(&builder, "ie");
    Onnx__GraphProto *then = builder_graph(&builder, "t"), *other = builder_graph(&builder, "e");
    Onnx__ValueInfoProto *info = builder_info(&builder, "p", MITRAL_FLOAT, 2, (const int64_t[]){2, 3}, NULL);
    builder_node(&builder, inner_then, "Add", "w,m", "p");
    builder_output(&builder, inner_then, info);
    builder_node(&builder, inner_else, "Neg", "m", "p");
    builder_output(&builder, inner_else, info);
    builder_node(&builder, then, "Abs", "x", "m");
    Onnx__NodeProto *inner = builder_node(&builder, then, "If", "c", "q");
    builder_subgraph(&builder, inner, "then_branch", inner_then);
    builder_subgraph(&builder, inner, "else_branch", inner_else);
    builder_output(&builder, then, builder_info(&builder, "q", MITRAL_FLOAT, 2, (const int64_t[]){2, 3}, NULL));
    /* A branch may give an outer value as it is. */
    builder_output(&builder, other, builder_info(&builder, "x", MITRAL_FLOAT, 2, (const int64_t[]){2, 3}, NULL));
    Onnx__NodeProto *node = builder_node(&builder, builder.graph, "If", "c", "y");
    builder_subgraph(&builder, node, "then_branch", then);
    builder_subgraph(&builder, node, "else_branch", other);
    struct graph *graph = import();
    const struct node *outer = &graph->nodes[0];
    assert_int_equal(outer->subgraph_count, 2);
    assert_int_equal(outer->capture_count, 3); /* x, c and, for the graph inside the graph, w */
    assert_int_equal(outer->input_count, 4);
    for (size_t i = 0; i < 2; i++) {
        const struct graph *sub = outer->subgraphs[i];
        assert_int_equal(sub->input_count, 3);
        for (size_t k = 0; k < 3; k++)
            assert_string_equal(sub->values[sub->inputs[k]].name, graph->values[outer->inputs[1 + k]].name);
    }
    assert_int_equal(outer->subgraphs[1]->outputs[0], outer->subgraphs[1]->inputs[0]);
    const struct node *within = &outer->subgraphs[0]->nodes[1];
    assert_string_equal(within->op->name, "If");
    assert_int_equal(within->capture_count, 2); /* w and m */
    graph_destroy(&graph);
}

static void names_inside_hide_nothing_outside(void **state)
{
    (void)state;
    builder_input(&builder, builder.graph, builder_info(&builder, "c", MITRAL_BOOL, 0, NULL, NULL));
    builder_output_2x3(&builder, "y");
    Onnx__GraphProto *then = builder_graph(&builder, "t");
    builder_node(&builder, then, "Neg", "nowhere", "q");
    builder_output(&builder, then, builder_info(&builder, "q", MITRAL_FLOAT, 0, NULL, NULL));
    Onnx__NodeProto *node = builder_node(&builder, builder.graph, "If", "c", "y");
    builder_subgraph(&builder, node, "then_branch", then);
    builder_subgraph(&builder, node, "else_branch", then);
    REFUSES(MITRAL_INVALID, "Neg 'q'", "'nowhere'");
}

/* ---- kinds -------------------------------------------------------------------------------------------------------- */

static Onnx__ValueInfoProto *info_of_kind(const char *name, bool sequence)
{
    Onnx__ValueInfoProto *info = builder_info(&builder, name, MITRAL_FLOAT, 0, NULL, NULL);
    if (sequence) {
        Onnx__TypeProto *type = arena_allocate(&builder.arena, sizeof *type);
        Onnx__TypeProto__Sequence *inner = arena_allocate(&builder.arena, sizeof *inner);
        onnx__type_proto__init(type);
        onnx__type_proto__sequence__init(inner);
        inner->elem_type = info->type;
        type->value_case = ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;
        type->sequence_type = inner;
        info->type = type;
    }
    return info;
}

static void kinds_follow_from_operators(void **state)
{
    (void)state;
    builder_input(&builder, builder.graph, info_of_kind("x", false));
    builder_input(&builder, builder.graph, builder_info(&builder, "c", MITRAL_BOOL, 0, NULL, NULL));
    builder_output(&builder, builder.graph, builder_info(&builder, "n", MITRAL_INT64, 0, NULL, NULL));
    builder_node(&builder, builder.graph, "SequenceConstruct", "x,x", "s");
    Onnx__GraphProto *branch = builder_graph(&builder, "b");
    builder_node(&builder, branch, "Identity", "s", "t");
    Onnx__ValueInfoProto *out = builder_info(&builder, "t", MITRAL_FLOAT, 0, NULL, NULL);
    out->type = NULL;
    builder_output(&builder, branch, out);
    Onnx__NodeProto *node = builder_node(&builder, builder.graph, "If", "c", "u");
    builder_subgraph(&builder, node, "then_branch", branch);
    builder_subgraph(&builder, node, "else_branch", branch);
    builder_node(&builder, builder.graph, "SequenceLength", "u", "n");
    struct graph *graph = import();
    for (size_t i = 0; i < 2; i++) /* SequenceConstruct and If */
        assert_int_equal(graph->values[graph->nodes[i].outputs[0]].type.kind, MITRAL_SEQUENCE);
    const struct graph *inner = graph->nodes[1].subgraphs[0];
    assert_int_equal(inner->values[inner->outputs[0]].type.kind, MITRAL_SEQUENCE);
    graph_destroy(&graph);
}

static void kinds_that_operators_do_not_give_are_refused(void **state)
{
    (void)state;
    builder_input(&builder, builder.graph, info_of_kind("x", false));
    builder_output(&builder, builder.graph, info_of_kind("y", true));
    builder_node(&builder, builder.graph, "Relu", "x", "y")->name = (char *)"the_node";
    REFUSES(MITRAL_INVALID, "Relu 'the_node'", "output 0 to be a tensor, found a sequence");
    builder.graph->node[0]->op_type = (char *)"Identity"; /* gives sequences too, but not of a tensor */
    REFUSES(MITRAL_INVALID, "Identity 'the_node'", "output 0 to be a tensor, found a sequence");
    builder.graph->n_input = builder.graph->n_output = 0;
    builder_input(&builder, builder.graph, info_of_kind("x", true));
    builder_output(&builder, builder.graph, info_of_kind("y", false));
    builder.graph->node[0]->op_type = (char *)"Relu";
    REFUSES(MITRAL_INVALID, "Relu 'the_node'", "input 0 to be a tensor, found a sequence");
}

/* ---- functions ----------------------------------------------------------------------------------------------------- */

/* Scaled(a; factor) = a * factor. */
static void add_scaled(void)
{
    builder_opset(&builder, "own", 1);
    Onnx__FunctionProto *function = builder_function(&builder, "own", "Scaled", "a", "b");
    function->attribute = arena_allocate(&builder.arena, sizeof *function->attribute);
    function->attribute[0] = (char *)"factor";
    function->n_attribute = 1;
    builder_reference(&builder, builder_function_node(&builder, function, "Constant", "", "k"), "value_float",
                      ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, "factor");
    builder_function_node(&builder, function, "Mul", "a,k", "b");
}

static void functions_are_expanded_with_their_attributes(void **state)
{
    (void)state;
    add_scaled();
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    const char *outputs[] = {"h", "y"}, *inputs[] = {"x", "h"};
    for (int i = 0; i < 2; i++) {
        Onnx__NodeProto *call = builder_node(&builder, builder.graph, "Scaled", inputs[i], outputs[i]);
        call->domain = (char *)"own";
        builder_float(&builder, call, "factor", 2.0f + (float)i);
    }
    struct graph *graph = import();
    assert_int_equal(graph->node_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(graph->nodes[i].op->name, "Mul");
        assert_true(*(const float *)graph_constant(graph, graph->nodes[i].inputs[1])->data == 2.0f + (float)i);
        assert_string_equal(graph->values[graph->nodes[i].outputs[0]].name, outputs[i]);
    }
    graph_destroy(&graph);
}

static void unknown_attributes_of_functions_are_refused(void **state)
{
    (void)state;
    add_scaled();
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    Onnx__NodeProto *call = builder_node(&builder, builder.graph, "Scaled", "x", "y");
    call->domain = (char *)"own";
    builder_float(&builder, call, "other", 1);
    REFUSES(MITRAL_INVALID, "Scaled 'y'", "'other'");
}

static void functions_that_call_themselves_are_refused(void **state)
{
    (void)state;
    builder_opset(&builder, "own", 1);
    const char *names[] = {"F", "G"};
    for (int i = 0; i < 2; i++) {
        Onnx__FunctionProto *function = builder_function(&builder, "own", names[i], "a", "b");
        builder_function_opset(&builder, function, "own", 1);
        builder_function_node(&builder, function, names[!i], "a", "b")->domain = (char *)"own";
    }
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    builder_node(&builder, builder.graph, "F", "x", "y")->domain = (char *)"own";
    REFUSES(MITRAL_INVALID, "call themselves");
}

/* Each function calls the next twice: 2^30 nodes from a file of a kilobyte. */
static void expansion_is_bounded(void **state)
{
    (void)state;
    builder_opset(&builder, "own", 1);
    enum { LEVELS = 30 };
    for (int i = 0; i < LEVELS; i++) {
        char *name = arena_format(&builder.arena, "F%d", i), *next = arena_format(&builder.arena, "F%d", i + 1);
        Onnx__FunctionProto *function = builder_function(&builder, "own", name, "a", "b");
        builder_function_opset(&builder, function, "own", 1);
        if (i + 1 == LEVELS) {
            builder_function_node(&builder, function, "Neg", "a", "b");
        } else {
            builder_function_node(&builder, function, next, "a", "h")->domain = (char *)"own";
            builder_function_node(&builder, function, next, "h", "b")->domain = (char *)"own";
        }
    }
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    builder_node(&builder, builder.graph, "F0", "x", "y")->domain = (char *)"own";
    REFUSES(MITRAL_LIMIT, "expand");
}

static void inputs_passed_through_are_copied(void **state)
{
    (void)state;
    builder_opset(&builder, "own", 1);
    builder_function(&builder, "own", "Pass", "a,b", "a,a");
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    builder_output_2x3(&builder, "z");
    builder_node(&builder, builder.graph, "Pass", "x", "y,z")->domain = (char *)"own"; /* b is left out */
    struct graph *graph = import();
    assert_int_equal(graph->node_count, 2);
    assert_string_equal(graph->nodes[0].op->name, "Identity");
    graph_destroy(&graph);
}

/* ---- what the schemas say ------------------------------------------------------------------------------------------ */

static void one_node(const char *op, const char *inputs, const char *outputs, Onnx__NodeProto **out)
{
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    *out = builder_node(&builder, builder.graph, op, inputs, outputs);
    (*out)->name = (char *)"the_node";
}

static void refuses_unknown_attributes(void **state)
{
    (void)state;
    Onnx__NodeProto *node;
    one_node("Relu", "x", "y", &node);
    builder_float(&builder, node, "slope", 1);
    REFUSES(MITRAL_INVALID, "Relu", "the_node", "opset 17", "slope");
}

static void refuses_attributes_of_another_kind(void **state)
{
    (void)state;
    Onnx__NodeProto *node;
    one_node("LeakyRelu", "x", "y", &node);
    builder_int(&builder, node, "alpha", 1);
    REFUSES(MITRAL_INVALID, "LeakyRelu", "the_node", "opset 17", "alpha", "float", "int");
}

static void refuses_attributes_given_twice(void **state)
{
    (void)state;
    Onnx__NodeProto *node;
    one_node("LeakyRelu", "x", "y", &node);
    builder_float(&builder, node, "alpha", 1);
    builder_float(&builder, node, "alpha", 2);
    REFUSES(MITRAL_INVALID, "the_node", "alpha", "twice");
}

static void refuses_missing_attributes(void **state)
{
    (void)state;
    Onnx__NodeProto *node;
    one_node("Concat", "x,x", "y", &node);
    REFUSES(MITRAL_INVALID, "Concat", "the_node", "opset 17", "axis");
}

static void refuses_wrong_counts(void **state)
{
    (void)state;
    Onnx__NodeProto *node;
    one_node("Add", "x", "y", &node);
    REFUSES(MITRAL_INVALID, "Add", "the_node", "2 inputs, found 1");
}

static void refuses_missing_inputs(void **state)
{
    (void)state;
    Onnx__NodeProto *node;
    one_node("Add", "x,", "y", &node);
    REFUSES(MITRAL_INVALID, "Add", "the_node", "input 1, 'B'");
}

static void checks_types_after_inference(void **state)
{
    (void)state;
    builder_input_2x3(&builder, "x");
    builder_input(&builder, builder.graph, builder_info(&builder, "i", MITRAL_INT64, 2, (const int64_t[]){2, 3}, NULL));
    builder_output_2x3(&builder, "y");
    builder_node(&builder, builder.graph, "Add", "x,i", "y")->name = (char *)"sum";
    struct graph *graph = import();
    assert_int_equal(schema_check_types(graph), MITRAL_INVALID);
    const char *message = mitral_context_message(builder.context);
    assert_non_null(strstr(message, "Add 'sum'"));
    assert_non_null(strstr(message, "tensor(float)"));
    assert_non_null(strstr(message, "tensor(int64)"));
    graph->values[graph->inputs[1]].type.dtype = MITRAL_FLOAT;
    assert_int_equal(schema_check_types(graph), MITRAL_OK);
    graph->values[graph->inputs[0]].type.dtype = graph->values[graph->inputs[1]].type.dtype = MITRAL_BOOL;
    assert_int_equal(schema_check_types(graph), MITRAL_INVALID);
    graph_destroy(&graph);
}

/* Scan's state and rows have types of their own: what it gives has the types that its body gives. */
static void each_of_a_scans_values_has_its_own_type(void **state)
{
    (void)state;
    builder_input(&builder, builder.graph, builder_info(&builder, "s", MITRAL_FLOAT, 1, (const int64_t[]){3}, NULL));
    builder_input(&builder, builder.graph, builder_info(&builder, "x", MITRAL_INT64, 2, (const int64_t[]){4, 3}, NULL));
    builder_output(&builder, builder.graph, builder_info(&builder, "sum", MITRAL_FLOAT, 1, (const int64_t[]){3}, NULL));
    builder_output(&builder, builder.graph, builder_info(&builder, "rows", MITRAL_INT64, 2, (const int64_t[]){4, 3}, NULL));
    Onnx__GraphProto *body = builder_graph(&builder, "body");
    builder_input(&builder, body, builder_info(&builder, "s_in", MITRAL_FLOAT, 1, (const int64_t[]){3}, NULL));
    builder_input(&builder, body, builder_info(&builder, "x_in", MITRAL_INT64, 1, (const int64_t[]){3}, NULL));
    builder_int(&builder, builder_node(&builder, body, "Cast", "x_in", "c"), "to", MITRAL_FLOAT);
    builder_node(&builder, body, "Add", "s_in,c", "s_out");
    builder_node(&builder, body, "Neg", "x_in", "x_out");
    builder_output(&builder, body, builder_info(&builder, "s_out", MITRAL_FLOAT, 1, (const int64_t[]){3}, NULL));
    builder_output(&builder, body, builder_info(&builder, "x_out", MITRAL_INT64, 1, (const int64_t[]){3}, NULL));
    Onnx__NodeProto *scan = builder_node(&builder, builder.graph, "Scan", "s,x", "t,y");
    builder_int(&builder, scan, "num_scan_inputs", 1);
    builder_subgraph(&builder, scan, "body", body);
    builder_node(&builder, builder.graph, "Identity", "t", "sum");
    builder_node(&builder, builder.graph, "Identity", "y", "rows");
    struct graph *graph = import();
    assert_ok(builder.context, graph_infer(graph));
    assert_string_equal(graph->nodes[0].op->name, "Scan");
    assert_int_equal(graph->values[graph->nodes[0].outputs[0]].type.dtype, MITRAL_FLOAT);
    assert_int_equal(graph->values[graph->nodes[0].outputs[1]].type.dtype, MITRAL_INT64);
    assert_ok(builder.context, schema_check_types(graph));
    graph_destroy(&graph);
}

static void compiling_refuses_types_that_break_a_constraint(void **state)
{
    (void)state;
    builder_input_2x3(&builder, "x");
    builder_input(&builder, builder.graph, builder_info(&builder, "i", MITRAL_INT64, 2, (const int64_t[]){2, 3}, NULL));
    builder_output_2x3(&builder, "y");
    builder_node(&builder, builder.graph, "Identity", "i", "j");
    builder_node(&builder, builder.graph, "Add", "x,j", "y")->name = (char *)"sum"; /* j's type is known by inference only */
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    mitral_model *model = NULL;
    mitral_plan *plan = NULL;
    assert_ok(builder.context, mitral_model_parse(&model, builder.context, bytes, size, NULL));
    for (int interpret = 0; interpret < 2; interpret++) {
        assert_int_equal(mitral_compile(&plan, builder.context, model, &(mitral_compile_options){.threads = 1, .interpret = interpret}),
                         MITRAL_INVALID);
        assert_null(plan);
        assert_non_null(strstr(mitral_context_message(builder.context), "Add 'sum' (opset 14): expected input 1, 'B', to be tensor(float) "
                                                                         "like 'A', found tensor(int64)"));
    }
    assert_int_equal(mitral_model_optimize(builder.context, model, 1), MITRAL_INVALID);
    mitral_model_destroy(&model);
}

static void schemas_are_found_by_version(void **state)
{
    (void)state;
    assert_int_equal(schema_find("", "Relu", 17)->since_version, 14);
    assert_int_equal(schema_find("ai.onnx", "Relu", 13)->since_version, 13);
    assert_int_equal(schema_find(NULL, "Relu", 1)->since_version, 1);
    assert_null(schema_find("", "Relu", 0));
    assert_null(schema_find("", "Gelu", 19));
    assert_int_equal(schema_find("", "Gelu", 20)->since_version, 20);
    assert_null(schema_find("", "Reluu", 17));
    assert_null(schema_find("nobody", "Relu", 17));
    assert_non_null(schema_find("ai.onnx.ml", "Scaler", 1));
    for (size_t i = 0; i < schema_table_count; i++) {
        const struct schema *row = &schema_table[i];
        assert_ptr_equal(schema_find(row->domain, row->name, row->since_version), row);
        if (i == 0)
            continue;
        int order = strcmp(row[-1].domain, row->domain);
        order = order ? order : strcmp(row[-1].name, row->name);
        assert_true(order < 0 || (order == 0 && row[-1].since_version < row->since_version));
    }
    /* Spot checks of what a row holds. */
    const struct schema *conv = schema_find("", "Conv", 17);
    assert_int_equal(conv->min_input, 2);
    assert_int_equal(conv->max_input, 3);
    assert_int_equal(conv->inputs[2].option, 1);
    assert_non_null(schema_find("", "Mish", 18)->function_body);
    assert_int_equal(schema_find("", "Concat", 17)->inputs[0].option, 2);
}

/* ---- what is not supported ----------------------------------------------------------------------------------------- */

static void all_unsupported_operators_are_reported_at_once(void **state)
{
    (void)state;
    builder_opset(&builder, "strange", 3);
    builder_input_2x3(&builder, "x");
    builder_output_2x3(&builder, "y");
    builder_node(&builder, builder.graph, "Reluu", "x", "a")->name = (char *)"one";
    builder_node(&builder, builder.graph, "Reluu", "a", "b")->name = (char *)"two";
    Onnx__NodeProto *node = builder_node(&builder, builder.graph, "Warp", "b", "y");
    node->name = (char *)"three";
    node->domain = (char *)"strange";
    REFUSES(MITRAL_UNSUPPORTED, "2 unsupported operators", "Reluu (domain ai.onnx, opset 17, float32, node 'one' and 1 more", "Relu of ai.onnx",
            "Warp (domain strange, opset 3", "node 'three'");
}

static void unsupported_operators_in_subgraphs_are_reported_too(void **state)
{
    (void)state;
    builder_input(&builder, builder.graph, builder_info(&builder, "c", MITRAL_BOOL, 0, NULL, NULL));
    builder_output_2x3(&builder, "y");
    Onnx__GraphProto *then = builder_graph(&builder, "t");
    builder_node(&builder, then, "Nothing", "", "q");
    builder_output(&builder, then, builder_info(&builder, "q", MITRAL_FLOAT, 0, NULL, NULL));
    Onnx__NodeProto *node = builder_node(&builder, builder.graph, "If", "c", "y");
    builder_subgraph(&builder, node, "then_branch", then);
    builder_subgraph(&builder, node, "else_branch", then);
    REFUSES(MITRAL_UNSUPPORTED, "Nothing (domain ai.onnx");
}

static void operators_of_later_opsets_say_since_when(void **state)
{
    (void)state;
    Onnx__NodeProto *node;
    one_node("Gelu", "x", "y", &node);
    REFUSES(MITRAL_UNSUPPORTED, "Gelu", "opset 17", "from opset 20");
}

static void old_opsets_pass_where_nothing_changed(void **state)
{
    (void)state;
    Onnx__NodeProto *node;
    builder.model.opset_import[0]->version = 6;
    one_node("Relu", "x", "y", &node); /* version 6 is what opset 7 has too */
    imports_to("input x: float32[2,3]\ny: float32[2,3] = Relu.6(x)\noutput y\n");
}

static void old_opsets_are_rewritten_where_something_is_the_same(void **state)
{
    (void)state;
    Onnx__NodeProto *node;
    builder.model.opset_import[0]->version = 6;
    one_node("Add", "x,b", "y", &node);
    builder_input(&builder, builder.graph, builder_info(&builder, "b", MITRAL_FLOAT, 1, (const int64_t[]){2}, NULL));
    builder_int(&builder, node, "broadcast", 1);
    builder_int(&builder, node, "axis", 0);
    imports_to("input x: float32[2,3]\ninput b: float32[2]\nb_1: ?[...] = Unsqueeze.1(b) {axes=[1]}\n"
               "y: float32[2,3] = Add.7(x, b_1)\noutput y\n");
    node->attribute[1]->i = 1; /* 2 numbers do not fit at the second dimension and end there, but that is for inference to find */
    imports_to("input x: float32[2,3]\ninput b: float32[2]\ny: float32[2,3] = Add.7(x, b)\noutput y\n");
    node->attribute[1]->i = 2;
    REFUSES(MITRAL_UNSUPPORTED, "Add 'the_node' (opset 6)", "axis 2");
}

static void old_opsets_fail_where_something_changed(void **state)
{
    (void)state;
    Onnx__NodeProto *node;
    builder.model.opset_import[0]->version = 6;
    one_node("Dropout", "x", "y", &node); /* of training, which opset 7 does not have */
    REFUSES(MITRAL_UNSUPPORTED, "Dropout", "opset 6", "from opset 7");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(keeps_names_symbols_and_metadata), TEST(initializers_listed_as_inputs_are_constants),
        TEST(an_input_must_have_its_initializers_type), TEST(sorts_nodes), TEST(defaults_are_filled_in),
        TEST(constant_nodes_become_constants), TEST(nested_captures_become_inputs), TEST(names_inside_hide_nothing_outside),
        TEST(kinds_follow_from_operators), TEST(kinds_that_operators_do_not_give_are_refused),
        TEST(functions_are_expanded_with_their_attributes), TEST(unknown_attributes_of_functions_are_refused),
        TEST(functions_that_call_themselves_are_refused), TEST(expansion_is_bounded), TEST(inputs_passed_through_are_copied),
        TEST(refuses_unknown_attributes), TEST(refuses_attributes_of_another_kind), TEST(refuses_attributes_given_twice),
        TEST(refuses_missing_attributes), TEST(refuses_wrong_counts), TEST(refuses_missing_inputs), TEST(checks_types_after_inference),
        TEST(each_of_a_scans_values_has_its_own_type), TEST(compiling_refuses_types_that_break_a_constraint),
        TEST(schemas_are_found_by_version), TEST(all_unsupported_operators_are_reported_at_once),
        TEST(unsupported_operators_in_subgraphs_are_reported_too), TEST(operators_of_later_opsets_say_since_when),
        TEST(old_opsets_pass_where_nothing_changed),
        TEST(old_opsets_are_rewritten_where_something_is_the_same), TEST(old_opsets_fail_where_something_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
