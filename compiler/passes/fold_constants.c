/* Nodes whose inputs are all constant, or that read only shapes which are fixed, are computed now. */
#include <string.h>

#include "compiler/evaluate.h"
#include "compiler/passes/passes.h"

/* A folded value may grow the plan: up to the first size always, beyond it no further than its inputs. A file is to become smaller. */
enum { FREE_BYTES = 1 << 20, FREE_BYTES_OF_ONNX = 1 << 12 };

/* Weights of a plan are worth any size: known ones are packed once instead of in each run. */
static bool is_weight(const struct graph *graph, value_id value)
{
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        if (node->op && node_input(node, 1) == value
            && (node_is(node, "Conv") || node_is(node, "ConvTranspose") || node_is(node, "Gemm") || node_is(node, "MatMul")))
            return true;
    }
    return false;
}

static bool inputs_are_known(const struct graph *graph, const struct node *node, const struct kernel *kernel, size_t *bytes)
{
    *bytes = 0;
    for (size_t j = 0; j < node->input_count; j++) {
        value_id input = node->inputs[j];
        if (input == NO_VALUE)
            continue;
        const mitral_tensor *constant = graph_constant(graph, input);
        if (constant)
            *bytes += tensor_bytes(constant);
        else if (!(kernel->flags & KERNEL_READS_SHAPES_ONLY) || !type_is_static(&graph->values[input].type))
            return false;
    }
    return true;
}

/* In a file the numbers of a quantized model stay as they are: whoever reads it looks for DequantizeLinear. */
static bool stays_in_onnx(const struct node *node)
{
    return strcmp(node->op->name, "DequantizeLinear") == 0;
}

static bool is_worth_folding(const struct graph *graph, const struct node *node, size_t input_bytes, size_t output_bytes, bool onnx)
{
    if (output_bytes <= (onnx ? FREE_BYTES_OF_ONNX : FREE_BYTES) || output_bytes <= input_bytes)
        return true;
    return !onnx && node->output_count == 1 && is_weight(graph, node->outputs[0]);
}

static mitral_status fold_node(struct graph *graph, node_id id, bool onnx, bool *changed)
{
    struct node *node = &graph->nodes[id];
    const struct kernel *kernel = op_kernel(node->op);
    size_t input_bytes, output_bytes = 0;
    if (!kernel || node->subgraph_count || kernel->flags & (KERNEL_RANDOM | KERNEL_ALLOCATES) || node->op->traits & OP_RANDOM
        || (onnx && stays_in_onnx(node)) || !inputs_are_known(graph, node, kernel, &input_bytes))
        return MITRAL_OK;
    for (size_t j = 0; j < node->output_count; j++)
        if (node->outputs[j] != NO_VALUE && graph->values[node->outputs[j]].tap)
            return MITRAL_OK;
    struct arena *arena = graph->arena;
    mitral_value *values = arena_allocate(arena, (node->input_count + node->output_count + 1) * sizeof *values);
    const mitral_value **inputs = arena_allocate(arena, (node->input_count + 1) * sizeof *inputs);
    mitral_value **outputs = arena_allocate(arena, (node->output_count + 1) * sizeof *outputs);
    if (!values || !inputs || !outputs)
        return MITRAL_NO_MEMORY;
    for (size_t j = 0; j < node->input_count; j++) {
        if (node->inputs[j] == NO_VALUE)
            continue;
        const mitral_tensor *constant = graph_constant(graph, node->inputs[j]);
        if (constant)
            values[j].tensor = *constant;
        else
            type_to_tensor(&graph->values[node->inputs[j]].type, &values[j].tensor);
        inputs[j] = &values[j];
    }
    for (size_t j = 0; j < node->output_count; j++)
        outputs[j] = node->outputs[j] == NO_VALUE ? NULL : &values[node->input_count + j];
    struct kernel_call call = evaluate_call(graph->context, node, inputs, outputs, arena);
    mitral_status status = kernel->shape(&call);
    if (status == MITRAL_DEFERRED)
        return MITRAL_OK;
    TRY(status);
    for (size_t j = 0; j < node->output_count; j++)
        if (outputs[j]) {
            TRY(tensor_check_size(graph->context, &outputs[j]->tensor));
            output_bytes += tensor_bytes(&outputs[j]->tensor);
        }
    if (!is_worth_folding(graph, node, input_bytes, output_bytes, onnx))
        return MITRAL_OK;
    TRY(evaluate_run(kernel, &call));
    for (size_t j = 0; j < node->output_count; j++) {
        if (!outputs[j])
            continue;
        struct graph_value *value = &graph->values[node->outputs[j]];
        value->constant = &outputs[j]->tensor;
        type_of_tensor(value->constant, &value->type);
    }
    graph_remove_node(graph, id);
    *changed = true;
    return MITRAL_OK;
}

mitral_status pass_fold_constants(struct graph *graph, const struct pass_options *options, bool *changed)
{
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op)
            TRY(fold_node(graph, (node_id)i, options->onnx, changed));
    return MITRAL_OK;
}
