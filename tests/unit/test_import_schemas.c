/* What import holds files to: the schemas of operators, their versions, and what is supported. */
#include "import_support.h"

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

/* Of inputs of any rank the sizes that are given are all that is known. */
static void compiling_refuses_shapes_that_are_none(void **state)
{
    (void)state;
    Onnx__ValueInfoProto *any = builder_info(&builder, "x", MITRAL_FLOAT, 0, NULL, NULL);
    any->type->tensor_type->shape = NULL;
    builder_input(&builder, builder.graph, any);
    builder_output_2x3(&builder, "y");
    builder_node(&builder, builder.graph, "Relu", "x", "y");
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    mitral_model *model = NULL;
    mitral_plan *plan = NULL;
    assert_ok(builder.context, mitral_model_parse(&model, builder.context, bytes, size, NULL));
    const struct {
        mitral_shape shape;
        const char *message;
    } cases[] = {
        {{.name = "x", .rank = MITRAL_MAX_RANK + 1}, "shape of input 'x': expected 0 to 12 dimensions, found 13"},
        {{.name = "x", .rank = -1}, "shape of input 'x': expected 0 to 12 dimensions, found -1"},
        {{.name = "x", .rank = 2, .dims = {2, -3}}, "shape of input 'x': expected a size in dimension 1, found -3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mitral_compile_options options = {.threads = 1, .shapes = &cases[i].shape, .shape_count = 1};
        assert_int_equal(mitral_compile(&plan, builder.context, model, &options), MITRAL_INVALID);
        assert_string_equal(mitral_context_message(builder.context), cases[i].message);
    }
    const mitral_compile_options good = {.threads = 1, .shapes = &(mitral_shape){.name = "x", .rank = 2, .dims = {2, 3}}, .shape_count = 1};
    assert_ok(builder.context, mitral_compile(&plan, builder.context, model, &good));
    mitral_plan_destroy(&plan);
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
        TEST(refuses_unknown_attributes), TEST(refuses_attributes_of_another_kind), TEST(refuses_attributes_given_twice),
        TEST(refuses_missing_attributes), TEST(refuses_wrong_counts), TEST(refuses_missing_inputs),
        TEST(checks_types_after_inference), TEST(each_of_a_scans_values_has_its_own_type),
        TEST(compiling_refuses_types_that_break_a_constraint), TEST(compiling_refuses_shapes_that_are_none),
        TEST(schemas_are_found_by_version),
        TEST(all_unsupported_operators_are_reported_at_once), TEST(unsupported_operators_in_subgraphs_are_reported_too),
        TEST(operators_of_later_opsets_say_since_when), TEST(old_opsets_pass_where_nothing_changed),
        TEST(old_opsets_are_rewritten_where_something_is_the_same), TEST(old_opsets_fail_where_something_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
