/* What import makes of a file: names, initializers, subgraphs, kinds, functions. */
#include "import_support.h"

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
