/* What a model holds, as text and as JSON. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/model.h"
#include "mitral/tools.h"
#include "runtime/text.h"

static size_t parameter_count(const struct graph *graph, double *elements)
{
    size_t count = 0;
    *elements = 0;
    for (size_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].parameter && graph->values[v].constant) {
            count++;
            *elements += (double)tensor_count(graph->values[v].constant);
        }
    return count;
}

static void type_dims(cJSON *item, const struct value_type *type)
{
    const char *dtype = mitral_dtype_name((mitral_dtype)type->dtype);
    cJSON_AddStringToObject(item, "dtype", dtype ? dtype : "unknown");
    cJSON *dims = cJSON_AddArrayToObject(item, "dims");
    for (int32_t d = 0; d < type->rank; d++)
        cJSON_AddItemToArray(dims, type->dims[d] >= 0 ? cJSON_CreateNumber((double)type->dims[d])
                                                      : cJSON_CreateString(type->symbols[d] ? type->symbols[d] : "?"));
}

static cJSON *value_list(const struct graph *graph, const value_id *ids, size_t count)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", graph->values[ids[i]].name);
        type_dims(item, &graph->values[ids[i]].type);
        cJSON_AddItemToArray(array, item);
    }
    return array;
}

static cJSON *name_list(const struct graph *graph, const value_id *ids, size_t count)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(array, cJSON_CreateString(ids[i] == NO_VALUE ? "" : graph->values[ids[i]].name));
    return array;
}

static mitral_status describe_json(struct text *text, const struct graph *graph)
{
    double elements;
    parameter_count(graph, &elements);
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "kind", "model");
    cJSON_AddNumberToObject(root, "ir_version", graph->ir_version);
    cJSON_AddNumberToObject(root, "opset", (double)graph->opset);
    cJSON_AddNumberToObject(root, "parameters", elements);
    cJSON_AddItemToObject(root, "inputs", value_list(graph, graph->inputs, graph->input_count));
    cJSON_AddItemToObject(root, "outputs", value_list(graph, graph->outputs, graph->output_count));
    cJSON *metadata = cJSON_AddObjectToObject(root, "metadata");
    for (size_t i = 0; i < graph->metadata_count; i++)
        cJSON_AddStringToObject(metadata, graph->metadata[i].key, graph->metadata[i].value);
    cJSON *nodes = cJSON_AddArrayToObject(root, "nodes");
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        if (!node->op)
            continue;
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", node->name);
        cJSON_AddStringToObject(item, "operator", node->op->name);
        cJSON_AddStringToObject(item, "domain", op_domain(node->op));
        cJSON_AddNumberToObject(item, "version", node->version);
        cJSON_AddItemToObject(item, "inputs", name_list(graph, node->inputs, node->input_count));
        cJSON_AddItemToObject(item, "outputs", name_list(graph, node->outputs, node->output_count));
        cJSON_AddItemToArray(nodes, item);
    }
    char *printed = cJSON_PrintUnformatted(root);
    if (printed)
        text_put(text, "%s", printed);
    free(printed);
    cJSON_Delete(root);
    return printed ? MITRAL_OK : MITRAL_NO_MEMORY;
}

static mitral_status describe_text(struct text *text, const struct graph *graph)
{
    double elements;
    size_t count = parameter_count(graph, &elements);
    text_put(text, "ONNX model, IR %d, opset %lld", graph->ir_version, (long long)graph->opset);
    if (graph->producer_name && *graph->producer_name)
        text_put(text, ", by %s %s", graph->producer_name, graph->producer_version ? graph->producer_version : "");
    text_put(text, ": %zu nodes, %.0f parameters in %zu tensors\n", graph->node_count, elements, count);
    for (size_t i = 0; i < graph->metadata_count; i++)
        text_put(text, "metadata %s = %s\n", graph->metadata[i].key, graph->metadata[i].value);
    char *dump;
    TRY(graph_dump(graph, &dump));
    text_put(text, "%s", dump);
    mitral_release(graph->context, dump);
    return MITRAL_OK;
}

mitral_status mitral_model_describe(char **out, mitral_context *context, const mitral_model *model, bool json)
{
    *out = NULL;
    struct graph *graph = NULL;
    TRY(graph_copy(&graph, model->graph));
    graph->context = context;
    /* Shapes are told where they can be; a graph whose shapes contradict each other is shown as it is. */
    if (graph_infer(graph) != MITRAL_OK)
        mitral_log(context, "shapes are shown as declared: %s", context->message);
    struct text text = {.context = context};
    mitral_status status = json ? describe_json(&text, graph) : describe_text(&text, graph);
    graph->context = model->context;
    graph_destroy(&graph);
    mitral_status finished = text_finish(&text, out);
    return status != MITRAL_OK ? status : finished;
}
