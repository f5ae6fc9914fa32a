/* gradient_dump --operators: a line for each row of the operators' tables: domain, name, and "gradient" or why there is none.
 * gradient_dump MODEL.onnx FOLDER NAME=FILE.npy…: gradients of the model's first output (one element) with respect to every
 * float64 initializer and every float32 or float64 input but those given as @NAME=FILE.npy, as FOLDER/<index>.npy in the order of the lines on standard output, which name them; the
 * loss itself is FOLDER/loss.npy. */
#include <stdio.h>
#include <string.h>

#include "compiler/gradient.h"
#include "compiler/model.h"
#include "mitral/tools.h"

enum { MAX_VALUES = 512 };

static int fail(mitral_context *context, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, mitral_context_message(context));
    return 1;
}

static int list_operators(void)
{
    const struct op *op;
    for (size_t i = 0; (op = op_at(i)); i++)
        printf("%s\t%s\t%s\n", op_domain(op), op->name, gradient_reason(op) ? gradient_reason(op) : "gradient");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--operators") == 0)
        return list_operators();
    mitral_context *context;
    mitral_model *model = NULL;
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    mitral_value *loaded[MAX_VALUES] = {NULL};
    const mitral_value *inputs[MAX_VALUES], *outputs[MAX_VALUES];
    value_id wrt[MAX_VALUES], gradients[MAX_VALUES];
    char path[4096];
    size_t count = 0, found = 0;
    bool fixed[MAX_VALUES] = {false};
    if (argc < 3 || mitral_context_create(&context, NULL) != MITRAL_OK)
        return 64;
    if (mitral_model_load(&model, context, argv[1]) != MITRAL_OK)
        return fail(context, argv[1]);
    struct graph *graph = model->graph;
    for (size_t i = 0; i < graph->input_count; i++)
        for (int k = 3; k < argc; k++) {
            const char *argument = argv[k] + (*argv[k] == '@'), *name = graph->values[graph->inputs[i]].name;
            const char *equals = strchr(argument, '=');
            if (!equals || strlen(name) != (size_t)(equals - argument) || strncmp(name, argument, strlen(name)) != 0)
                continue;
            fixed[i] = *argv[k] == '@';
            if (mitral_value_load(&loaded[i], context, equals + 1, MITRAL_TENSOR) != MITRAL_OK)
                return fail(context, argv[k]);
            inputs[i] = loaded[i];
            type_of_tensor(&loaded[i]->tensor, &graph->values[graph->inputs[i]].type);
        }
    for (size_t i = 0; i < graph->input_count; i++)
        if (!loaded[i])
            return fail(context, graph->values[graph->inputs[i]].name);
    if (graph_infer(graph) != MITRAL_OK)
        return fail(context, "types");
    for (size_t v = 0; v < graph->value_count && count < MAX_VALUES; v++) {
        const int32_t dtype = graph->values[v].type.dtype;
        bool wanted = graph->values[v].parameter && graph->values[v].constant && dtype == MITRAL_DOUBLE;
        for (size_t i = 0; i < graph->input_count; i++)
            wanted |= graph->inputs[i] == v && !fixed[i] && (dtype == MITRAL_DOUBLE || dtype == MITRAL_FLOAT);
        if (wanted) {
            graph->values[v].variable = graph->values[v].constant != NULL;
            wrt[count++] = (value_id)v;
        }
    }
    if (gradient_build(graph, graph->outputs[0], wrt, count, gradients) != MITRAL_OK)
        return fail(context, "gradients");
    graph->output_count = 1;
    for (size_t i = 0; i < count; i++)
        if (gradients[i] != NO_VALUE) {
            printf("%s\n", graph->values[wrt[i]].name);
            if (graph_add_output(graph, gradients[i]) != MITRAL_OK)
                return 1;
        }
    found = graph->output_count;
    /* Each node by its reference kernel: these are what is checked. */
    if (compile_graph(&plan, context, graph, &(mitral_compile_options){.interpret = true, .threads = 2}, true) != MITRAL_OK
        || mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = 2, .keep_denormals = true}) != MITRAL_OK
        || mitral_session_run(session, inputs, graph->input_count, outputs, found) != MITRAL_OK)
        return fail(context, "run");
    for (size_t i = 0; i < found; i++) {
        snprintf(path, sizeof path, i ? "%s/%zu.npy" : "%s/loss.npy", argv[2], i - 1);
        if (mitral_value_save(context, outputs[i], "value", path) != MITRAL_OK)
            return fail(context, path);
    }
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    for (size_t i = 0; i < MAX_VALUES; i++)
        mitral_value_destroy(&loaded[i]);
    mitral_model_destroy(&model);
    mitral_context_destroy(&context);
    return 0;
}
