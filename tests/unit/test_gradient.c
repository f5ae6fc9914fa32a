/* Every gradient hook and composition against central differences in double precision, and every composition against the kernel that
 * it stands for.
 *
 * A case is one node. The loss is the sum of its outputs times fixed random weights; every element of every differentiated input is
 * moved by ±h and the quotient compared with what the gradient pass computes. With h = 1e-5 the quotient's own error is about
 * h² f''' (1e-10) plus rounding, 1e-16 · |loss| / h (1e-10), so that a tolerance of 1e-6 relative (1e-7 absolute below 0.1) leaves
 * room for badly scaled cases and none for a wrong formula. Each operator row with a gradient must have a case, each one without a
 * reason. */
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compiler/gradients/gradients.h"
#include "compiler/model.h"

/* Inputs, separated by spaces: a kind and dimensions ("f2x3"), the kinds being
 *   f  differentiated, uniform in ±1          p  differentiated, uniform in 0.5 … 1.5     g  the same in 1.2 … 2.2
 *   d  differentiated, all values 0.1 apart   n  a constant like f                        m  a constant like p
 *   c  integer constants ("c1,2,3", rank 1; "c" none)                      s  an integer constant of rank 0 ("s2")
 *   i  int64 constants below a bound ("i5:2x3")                r  the same, all different
 *   b  random bool constants ("b2x3")                          t  float32 constants ("t1,1,2,2")
 *   v  double constants ("v2x2:0.5,1,2,3")                     w  the same, differentiated
 *   k  int32 constants ("k2:3,1")                              u  int8 constants, h int64 constants of any rank
 *   -  absent
 * A kind in capitals is the same, but not differentiated and given as a graph input. */
struct gradient_case {
    const char *op;         /* "Conv", "mitral.Divergence", "com.microsoft.Gelu" */
    int version;            /* 0: the newest */
    const char *attributes; /* "strides=[2,2] mode=linear alpha=0.3": integers, floats (with a point), else strings; [] lists */
    const char *inputs;
    int outputs;            /* declared */
    int used;               /* outputs that the loss sums; 0: the first */
};

static const struct gradient_case cases[] = {
#include "tests/unit/test_gradient_cases.h"
};

#define MAX_INPUTS 12
#define MAX_ELEMENTS 4096

struct fixture {
    mitral_context *context;
    struct graph *graph;
    value_id inputs[MAX_INPUTS];
    bool differentiated[MAX_INPUTS];
    mitral_value values[MAX_INPUTS]; /* of the graph inputs, in order */
    size_t graph_input[MAX_INPUTS];
    size_t input_count;
    uint64_t random;
};

static double uniform(struct fixture *f)
{
    f->random = f->random * 6364136223846793005u + 1442695040888963407u;
    return (double)(f->random >> 11) / 9007199254740992.0;
}

static int32_t parse_dims(const char *text, int64_t *dims)
{
    int32_t rank = 0;
    while (*text && *text != ':') {
        char *end;
        dims[rank++] = strtoll(text, &end, 10);
        text = *end == 'x' ? end + 1 : end;
    }
    return rank;
}

static double element(struct fixture *f, char kind, int64_t index, int64_t count)
{
    switch (kind) {
    case 'p': case 'm': return 0.5 + uniform(f);
    case 'g': return 1.2 + uniform(f);
    case 'd': return 0.1 * (double)((index * 7919 + 13) % count) - 0.05 * (double)count; /* 7919 is prime: a permutation */
    default: return 2 * uniform(f) - 1;
    }
}

/* "2x3:1,2,3,4,5,6" */
static void add_list(mitral_tensor *tensor, char kind, const char *text)
{
    const char *at = strchr(text, ':') + 1;
    tensor->rank = parse_dims(text, tensor->dims);
    tensor->dtype = kind == 'k' ? MITRAL_INT32 : kind == 'u' ? MITRAL_INT8 : kind == 'h' ? MITRAL_INT64 : MITRAL_DOUBLE;
    for (int64_t i = 0; i < tensor_count(tensor); i++) {
        char *end;
        const double value = strtod(at, &end);
        if (tensor->dtype == MITRAL_DOUBLE)
            tensor_set_double(tensor, i, value, false);
        else
            tensor_set_int(tensor, i, (int64_t)value);
        at = *end == ',' ? end + 1 : end;
    }
}

static void add_input(struct fixture *f, const char *text)
{
    const size_t at = f->input_count++;
    char kind = *text;
    mitral_tensor tensor = {.dtype = MITRAL_DOUBLE};
    f->inputs[at] = NO_VALUE;
    if (kind == '-')
        return;
    void *data = calloc(MAX_ELEMENTS, sizeof(double));
    const bool graph_input = strchr("fpgdwFPGD", kind) != NULL;
    tensor.data = data;
    f->differentiated[at] = strchr("fpgdw", kind) != NULL;
    if (kind >= 'A' && kind <= 'Z')
        kind = (char)(kind - 'A' + 'a');
    if (kind == 'c' || kind == 's' || kind == 't') {
        int64_t count = 0;
        tensor.dtype = kind == 't' ? MITRAL_FLOAT : MITRAL_INT64;
        for (const char *p = text + 1; *p;) {
            char *end;
            if (kind == 't')
                ((float *)data)[count++] = strtof(p, &end);
            else
                ((int64_t *)data)[count++] = strtoll(p, &end, 10);
            p = *end == ',' ? end + 1 : end;
        }
        tensor.rank = kind == 's' ? 0 : 1;
        tensor.dims[0] = count;
    } else if (kind == 'i' || kind == 'r') {
        char *end;
        const int64_t bound = strtoll(text + 1, &end, 10);
        tensor.dtype = MITRAL_INT64;
        tensor.rank = parse_dims(end + 1, tensor.dims);
        for (int64_t i = 0; i < tensor_count(&tensor); i++)
            ((int64_t *)data)[i] = kind == 'r' ? (5 * i + 1) % bound : (int64_t)(uniform(f) * (double)bound);
    } else if (strchr("vwkuh", kind)) {
        add_list(&tensor, kind, text + 1);
    } else if (kind == 'b') {
        tensor.dtype = MITRAL_BOOL;
        tensor.rank = parse_dims(text + 1, tensor.dims);
        for (int64_t i = 0; i < tensor_count(&tensor); i++)
            ((uint8_t *)data)[i] = uniform(f) < 0.5;
    } else {
        tensor.rank = parse_dims(text + 1, tensor.dims);
        assert_true(tensor_count(&tensor) <= MAX_ELEMENTS);
        for (int64_t i = 0; i < tensor_count(&tensor); i++)
            ((double *)data)[i] = element(f, kind, i, tensor_count(&tensor));
    }
    char name[16];
    snprintf(name, sizeof name, "x%zu", at);
    if (graph_input) {
        struct value_type type;
        type_of_tensor(&tensor, &type);
        assert_int_equal(graph_add_value(f->graph, name, &type, &f->inputs[at]), MITRAL_OK);
        f->graph_input[at] = f->graph->input_count;
        assert_int_equal(graph_add_input(f->graph, f->inputs[at]), MITRAL_OK);
        f->values[f->graph->input_count - 1] = (mitral_value){.kind = MITRAL_TENSOR, .tensor = tensor};
    } else {
        assert_int_equal(graph_add_constant(f->graph, name, &tensor, false, &f->inputs[at]), MITRAL_OK);
        free(data);
    }
}

static void set_attribute(struct fixture *f, struct attributes *out, char *text)
{
    char *value = strchr(text, '=');
    *value++ = 0;
    const bool list = *value == '[';
    int64_t ints[16];
    float floats[16];
    size_t count = 0;
    bool real = false;
    if (list && isalpha((unsigned char)value[1])) {
        mitral_string strings[8];
        for (char *p = strtok_r(value + 1, ",]", &value); p; p = strtok_r(NULL, ",]", &value))
            strings[count++] = (mitral_string){.data = p, .size = strlen(p)};
        struct attribute attribute = {.name = text, .kind = ATTRIBUTE_STRINGS, .count = count, .strings = strings};
        assert_int_equal(attributes_set(out, f->graph->arena, &attribute), MITRAL_OK);
        return;
    }
    if (!list && !strchr("-0123456789", *value)) {
        assert_int_equal(attributes_set_string(out, f->graph->arena, text, value), MITRAL_OK);
        return;
    }
    for (char *p = list ? value + 1 : value; *p && *p != ']';) {
        char *end;
        floats[count] = strtof(p, &end);
        ints[count++] = strtoll(p, NULL, 10);
        real |= memchr(p, '.', (size_t)(end - p)) != NULL;
        p = *end == ',' ? end + 1 : end;
    }
    if (list)
        assert_int_equal(real ? attributes_set_floats(out, f->graph->arena, text, floats, count)
                              : attributes_set_ints(out, f->graph->arena, text, ints, count), MITRAL_OK);
    else
        assert_int_equal(real ? attributes_set_float(out, f->graph->arena, text, floats[0])
                              : attributes_set_int(out, f->graph->arena, text, ints[0]), MITRAL_OK);
}

static const struct op *find_op(const char *name)
{
    static const char *const domains[] = {"mitral.", "com.microsoft."};
    for (size_t i = 0; i < 2; i++)
        if (strncmp(name, domains[i], strlen(domains[i])) == 0) {
            char domain[32];
            snprintf(domain, sizeof domain, "%.*s", (int)strlen(domains[i]) - 1, domains[i]);
            return op_find(domain, name + strlen(domains[i]));
        }
    return op_find(NULL, name);
}

static value_id emit(struct fixture *f, const char *op, const struct attributes *attributes, const value_id *inputs, size_t count)
{
    value_id out;
    node_id node;
    struct value_type type = {.rank = -1};
    const struct op *row = op_find(NULL, op);
    assert_non_null(row);
    assert_int_equal(graph_add_value(f->graph, NULL, &type, &out), MITRAL_OK);
    assert_int_equal(graph_add_node(f->graph, row, 0, NULL, attributes, inputs, count, &out, 1, &node), MITRAL_OK);
    return out;
}

/* Σ output · weights; Σ output² where the size is known only in a run */
static value_id weighted_sum(struct fixture *f, value_id output)
{
    const struct value_type type = f->graph->values[output].type;
    struct attributes whole = {0};
    mitral_tensor weights;
    if (!type_is_static(&type)) {
        value_id square = emit(f, "Mul", NULL, (value_id[]){output, output}, 2);
        assert_int_equal(attributes_set_int(&whole, f->graph->arena, "keepdims", 0), MITRAL_OK);
        return emit(f, "ReduceSum", &whole, &square, 1);
    }
    type_to_tensor(&type, &weights);
    const int64_t count = tensor_count(&weights);
    assert_true(count <= MAX_ELEMENTS);
    double data[MAX_ELEMENTS];
    weights.data = data;
    weights.dtype = MITRAL_DOUBLE;
    for (int64_t i = 0; i < count; i++)
        data[i] = 2 * uniform(f) - 1;
    value_id constant;
    struct attributes attributes = {0};
    assert_int_equal(graph_add_constant(f->graph, NULL, &weights, false, &constant), MITRAL_OK);
    value_id product = emit(f, "Mul", NULL, (value_id[]){output, constant}, 2);
    assert_int_equal(attributes_set_int(&attributes, f->graph->arena, "keepdims", 0), MITRAL_OK);
    return emit(f, "ReduceSum", &attributes, &product, 1);
}

static double run_loss(mitral_session *session, struct fixture *f, const mitral_value **outputs, size_t output_count)
{
    const mitral_value *inputs[MAX_INPUTS];
    for (size_t i = 0; i < f->graph->input_count; i++)
        inputs[i] = &f->values[i];
    if (mitral_session_run(session, inputs, f->graph->input_count, outputs, output_count) != MITRAL_OK)
        fail_msg("%s", mitral_context_message(f->context));
    return *(const double *)outputs[0]->tensor.data;
}

/* The loss as the operator's own kernel gives it, before anything is composed; NaN where the standard does not have the operator in
 * double precision (its parts have it). */
static double loss_of_kernels(struct fixture *f, value_id loss)
{
    struct graph *copy, *graph = f->graph;
    mitral_plan *plan;
    mitral_session *session;
    const mitral_value *result;
    assert_int_equal(graph_copy(&copy, graph), MITRAL_OK);
    assert_int_equal(graph_add_output(copy, loss), MITRAL_OK);
    if (compile_graph(&plan, f->context, copy, &(mitral_compile_options){.interpret = true, .threads = 1}, true) != MITRAL_OK) {
        graph_destroy(&copy);
        return NAN;
    }
    assert_int_equal(mitral_session_create(&session, f->context, plan, &(mitral_session_options){.threads = 1, .keep_denormals = true}), MITRAL_OK);
    const double value = run_loss(session, f, &result, 1);
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    graph_destroy(&copy);
    return value;
}

static int report(struct fixture *f, const struct gradient_case *test)
{
    print_error("%s (%s; %s): %s\n", test->op, test->attributes ? test->attributes : "", test->inputs, mitral_context_message(f->context));
    return 1;
}

static int check_case(const struct gradient_case *test)
{
    struct fixture f = {.random = 88172645463325252u};
    char text[512], *save = NULL;
    struct attributes attributes = {0};
    int failures = 0;
    assert_int_equal(mitral_context_create(&f.context, NULL), MITRAL_OK);
    assert_int_equal(graph_create(&f.graph, f.context), MITRAL_OK);
    f.graph->opset = schema_newest_opset;
    snprintf(text, sizeof text, "%s", test->inputs);
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        add_input(&f, word);
    snprintf(text, sizeof text, "%s", test->attributes ? test->attributes : "");
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        set_attribute(&f, &attributes, word);

    value_id outputs[8], loss = NO_VALUE;
    const int output_count = test->outputs ? test->outputs : 1;
    const struct op *op = find_op(test->op);
    assert_non_null(op);
    node_id node;
    for (int i = 0; i < output_count; i++) {
        struct value_type type = {.rank = -1};
        assert_int_equal(graph_add_value(f.graph, NULL, &type, &outputs[i]), MITRAL_OK);
    }
    assert_int_equal(graph_add_node(f.graph, op, test->version, "node", &attributes, f.inputs, f.input_count, outputs,
                                    (size_t)output_count, &node), MITRAL_OK);
    if (graph_infer(f.graph) != MITRAL_OK)
        return report(&f, test);
    for (int i = 0; i < (test->used ? test->used : 1); i++) {
        value_id part = weighted_sum(&f, outputs[i]);
        loss = loss == NO_VALUE ? part : emit(&f, "Add", NULL, (value_id[]){loss, part}, 2);
    }
    if (graph_infer(f.graph) != MITRAL_OK)
        return report(&f, test);

    const double plain = loss_of_kernels(&f, loss);
    value_id wrt[MAX_INPUTS], gradients[MAX_INPUTS];
    size_t which[MAX_INPUTS], count = 0;
    for (size_t i = 0; i < f.input_count; i++)
        if (f.differentiated[i]) {
            which[count] = i;
            wrt[count++] = f.inputs[i];
        }
    if (gradient_build(f.graph, loss, wrt, count, gradients) != MITRAL_OK)
        return report(&f, test);
    assert_int_equal(graph_add_output(f.graph, loss), MITRAL_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_not_equal(gradients[i], NO_VALUE);
        assert_int_equal(graph_add_output(f.graph, gradients[i]), MITRAL_OK);
    }
    mitral_plan *plan;
    mitral_session *session;
    const mitral_compile_options options = {.interpret = true, .threads = 1};
    if (compile_graph(&plan, f.context, f.graph, &options, true) != MITRAL_OK)
        return report(&f, test);
    const mitral_session_options session_options = {.threads = 1, .keep_denormals = true};
    assert_int_equal(mitral_session_create(&session, f.context, plan, &session_options), MITRAL_OK);
    const mitral_value *results[MAX_INPUTS + 1];
    const double composed = run_loss(session, &f, results, count + 1);
    /* Kernels of com.microsoft's attention compute in float whatever they get. */
    if (fabs(composed - plain) > 1e-6 * (1 + fabs(plain))) {
        failures++;
        print_error("%s (%s; %s): its parts give %.10g, its kernel %.10g\n", test->op, test->attributes ? test->attributes : "", test->inputs,
                    composed, plain);
    }
    double *expected[MAX_INPUTS];
    for (size_t k = 0; k < count; k++) {
        const mitral_tensor *gradient = &results[k + 1]->tensor, *x = &f.values[f.graph_input[which[k]]].tensor;
        assert_true(tensor_same_shape(gradient, x));
        assert_int_equal(gradient->dtype, MITRAL_DOUBLE);
        expected[k] = malloc(tensor_bytes(gradient) + 1);
        memcpy(expected[k], gradient->data, tensor_bytes(gradient));
    }
    for (size_t k = 0; k < count; k++) {
        mitral_tensor *x = &f.values[f.graph_input[which[k]]].tensor;
        double *data = x->data;
        for (int64_t i = 0; i < tensor_count(x); i++) {
            const double kept = data[i], step = 1e-5;
            data[i] = kept + step;
            const double above = run_loss(session, &f, results, count + 1);
            data[i] = kept - step;
            const double below = run_loss(session, &f, results, count + 1);
            data[i] = kept;
            const double quotient = (above - below) / (2 * step), found = expected[k][i];
            if (!(fabs(quotient - found) <= 1e-6 * (0.1 + fabs(quotient)))) {
                if (failures++ < 3)
                    print_error("%s (%s; %s): input %zu element %lld: differences give %.10g, the gradient %.10g\n", test->op,
                                test->attributes ? test->attributes : "", test->inputs, which[k], (long long)i, quotient, found);
            }
        }
    }
    for (size_t k = 0; k < count; k++)
        free(expected[k]);
    for (size_t i = 0; i < f.graph->input_count; i++)
        free(f.values[i].tensor.data);
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    graph_destroy(&f.graph);
    mitral_context_destroy(&f.context);
    return failures;
}

static const char *only; /* one operator, from the command line */

/* Operators with subgraphs, and those that the standard has in float32 alone, have their cases in tests/training/test_operators.py. */
static const char *const elsewhere[] = {"ConcatFromSequence", "DequantizeLinear", "If", "Loop", "OptionalGetElement", "Scan", "SequenceAt", "SequenceMap", "ai.onnx.preview.FlexAttention", "ai.onnx.ml.ArrayFeatureExtractor", "ai.onnx.ml.FeatureVectorizer",
                                        "ai.onnx.ml.Imputer", "ai.onnx.ml.LinearClassifier", "ai.onnx.ml.LinearRegressor", "ai.onnx.ml.SVMRegressor", "ai.onnx.ml.Normalizer", "ai.onnx.ml.Scaler"};

static bool has_gradient(const struct op *op)
{
    return op->compose || (op->gradient && op->gradient != differentiate_zero);
}

static void test_differences(void **state)
{
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (only && strcmp(only, cases[i].op) != 0)
            continue;
        const struct op *op = find_op(cases[i].op);
        if (!op || !has_gradient(op)) {
            print_error("%s has a case, but no row with a gradient\n", cases[i].op);
            failures++;
            continue;
        }
        failures += check_case(&cases[i]) != 0;
    }
    assert_int_equal(failures, 0);
}

static void test_every_row_has_a_case_or_a_reason(void **state)
{
    (void)state;
    int missing = 0;
    const struct op *op;
    for (size_t i = 0; (op = op_at(i)); i++) {
        char name[96];
        snprintf(name, sizeof name, "%s%s%s", op_domain(op), *op_domain(op) ? "." : "", op->name);
        if (has_gradient(op) == (gradient_reason(op) != NULL)) {
            print_error("%s has %s\n", name, has_gradient(op) ? "a gradient, and a reason for none" : "neither a gradient nor a reason for none");
            missing++;
        }
        bool found = !has_gradient(op);
        for (size_t k = 0; !found && k < sizeof elsewhere / sizeof *elsewhere; k++)
            found = strcmp(elsewhere[k], name) == 0;
        for (size_t k = 0; !found && k < sizeof cases / sizeof *cases; k++)
            found = find_op(cases[k].op) == op;
        if (!found) {
            print_error("%s has a gradient and no case\n", name);
            missing++;
        }
    }
    assert_int_equal(missing, 0);
}

int main(int argc, char **argv)
{
    only = argc > 1 ? argv[1] : NULL;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_differences), cmocka_unit_test(test_every_row_has_a_case_or_a_reason)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
