#include "compiler/evaluate.h"

struct kernel_call evaluate_call(mitral_context *context, const struct node *node, const mitral_value *const *inputs,
                                 mitral_value *const *outputs, struct arena *arena)
{
    return (struct kernel_call){.context = context, .kernel = op_kernel(node->op), .name = node->name, .attributes = &node->attributes, .opset = node->version,
                                .threads = 1, .input_count = node->input_count, .inputs = inputs,
                                .output_count = node->output_count, .outputs = outputs, .arena = arena};
}

mitral_status evaluate_run(const struct kernel *kernel, struct kernel_call *call)
{
    for (size_t i = 0; i < call->output_count; i++) {
        if (!call->outputs[i])
            continue;
        mitral_tensor *tensor = &call->outputs[i]->tensor;
        TRY(tensor_check_size(call->context, tensor));
        size_t bytes = tensor_bytes(tensor);
        tensor->data = arena_allocate(call->arena, bytes ? bytes : 1);
        if (!tensor->data)
            return MITRAL_NO_MEMORY;
    }
    size_t scratch = 0;
    mitral_status status = kernel->prepare ? kernel->prepare(call, &call->state, &scratch) : MITRAL_OK;
    if (status == MITRAL_OK && scratch && !(call->scratch = arena_allocate(call->arena, scratch)))
        status = MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = kernel->run(call);
    if (call->state && kernel->release)
        kernel->release(call->context, call->state);
    call->state = NULL;
    return status;
}
