/* Operands of programs: reorders, constants that are packed, other layouts, reference kernels in place of a primitive. */
#include <string.h>

#include "runtime/kernels/onednn/program.h"

/* ---- reorders ------------------------------------------------------------------------------------------------------- */

static mitral_status reorder_descriptor(const struct kernel_call *call, const_dnnl_memory_desc_t from, const_dnnl_memory_desc_t to,
                                        dnnl_primitive_desc_t *out)
{
    dnnl_primitive_attr_t attributes;
    TRY(onednn_attributes(call, &attributes));
    dnnl_status_t status = dnnl.reorder_primitive_desc_create(out, from, dnnl.engine, to, dnnl.engine, attributes);
    dnnl.primitive_attr_destroy(attributes);
    DNNL_TRY(call, status, "reorder");
    return MITRAL_OK;
}

mitral_status onednn_add_reorder(struct onednn_program *program, const struct kernel_call *call, const_dnnl_memory_desc_t from,
                                 struct onednn_where from_where, const_dnnl_memory_desc_t to, struct onednn_where to_where)
{
    dnnl_primitive_desc_t descriptor;
    TRY(reorder_descriptor(call, from, to, &descriptor));
    const struct onednn_operand operands[] = {{DNNL_ARG_FROM, from_where}, {DNNL_ARG_TO, to_where}};
    return onednn_add_primitive(program, call, descriptor, operands, 2);
}

mitral_status onednn_reorder_now(const struct kernel_call *call, const_dnnl_memory_desc_t from, void *from_data,
                                 const_dnnl_memory_desc_t to, void *to_data)
{
    dnnl_primitive_desc_t descriptor;
    TRY(reorder_descriptor(call, from, to, &descriptor));
    size_t work_bytes = dnnl.memory_desc_get_size(dnnl.primitive_desc_query_md(descriptor, dnnl_query_scratchpad_md, 0));
    void *work = mitral_allocate_raw(call->context, work_bytes + 64);
    dnnl_primitive_t primitive = NULL;
    dnnl_memory_t memories[3] = {NULL};
    dnnl_stream_t stream = NULL;
    dnnl_status_t status = work ? dnnl.primitive_create(&primitive, descriptor) : dnnl_out_of_memory;
    if (status == dnnl_success)
        status = dnnl.stream_create(&stream, dnnl.engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = dnnl.memory_create(&memories[0], from, dnnl.engine, from_data);
    if (status == dnnl_success)
        status = dnnl.memory_create(&memories[1], to, dnnl.engine, to_data);
    if (status == dnnl_success)
        status = dnnl.memory_create(&memories[2], dnnl.primitive_desc_query_md(descriptor, dnnl_query_scratchpad_md, 0), dnnl.engine,
                                    work);
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_FROM, memories[0]}, {DNNL_ARG_TO, memories[1]}, {DNNL_ARG_SCRATCHPAD, memories[2]}};
    if (status == dnnl_success)
        status = dnnl.primitive_execute(primitive, stream, 3, arguments);
    if (status == dnnl_success)
        status = dnnl.stream_wait(stream);
    for (int i = 0; i < 3; i++)
        if (memories[i])
            dnnl.memory_destroy(memories[i]);
    if (stream)
        dnnl.stream_destroy(stream);
    if (primitive)
        dnnl.primitive_destroy(primitive);
    dnnl.primitive_desc_destroy(descriptor);
    mitral_release(call->context, work);
    DNNL_TRY(call, status, "reorder of weights");
    return MITRAL_OK;
}

/* ---- buffers -------------------------------------------------------------------------------------------------------- */

static struct buffer *append_buffer(struct onednn_program *program, size_t bytes, struct onednn_where *out)
{
    struct buffer *buffer = arena_allocate(&program->arena, sizeof *buffer);
    if (!buffer)
        return NULL;
    /* oneDNN reads whole vectors of packed weights; the descriptor's size includes its own padding. */
    buffer->data = arena_allocate(&program->arena, bytes ? bytes : 1);
    if (!buffer->data)
        return NULL;
    buffer->bytes = bytes;
    buffer->tensor.rank = -1;
    buffer->next = program->buffers;
    program->buffers = buffer;
    *out = (struct onednn_where){PLACE_BUFFER, program->buffer_count++, 0};
    return buffer;
}

mitral_status onednn_add_buffer(struct onednn_program *program, const struct kernel_call *call, size_t bytes, void **data,
                                struct onednn_where *out)
{
    (void)call;
    struct buffer *buffer = append_buffer(program, bytes, out);
    *data = buffer ? buffer->data : NULL;
    return buffer ? MITRAL_OK : MITRAL_NO_MEMORY;
}

mitral_tensor onednn_program_packed(const void *state, size_t index)
{
    const struct onednn_program *program = state;
    for (const struct buffer *buffer = program->buffers; buffer; buffer = buffer->next)
        if (buffer->tensor.rank >= 0 && buffer->input == index)
            return buffer->tensor;
    return (mitral_tensor){0};
}

/* ---- weights -------------------------------------------------------------------------------------------------------- */

mitral_status onednn_add_weights(struct onednn_program *program, const struct kernel_call *call, size_t index,
                                 const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t descriptor, struct onednn_where *out)
{
    const mitral_tensor *tensor = call_input(call, index);
    const bool packed = tensor->data && tensor->layout == LAYOUT_PACKED;
    if (!packed && dnnl.memory_desc_equal(plain, descriptor)) {
        *out = (struct onednn_where){PLACE_INPUT, index, 0};
        return MITRAL_OK;
    }
    /* Own loops read whole vectors. */
    size_t bytes = (dnnl.memory_desc_get_size(descriptor) + 63) & ~(size_t)63;
    if (!tensor->data) {
        *out = onednn_scratch(program, bytes);
        return onednn_add_reorder(program, call, plain, (struct onednn_where){PLACE_INPUT, index, 0}, descriptor, *out);
    }
    char text[ONEDNN_TEXT];
    TRY(onednn_descriptor_text(call, plain, descriptor, text));
    if (packed && strcmp(tensor->packing->scheme, "onednn") == 0 && strcmp(tensor->packing->description, text) == 0
        && tensor->packing->bytes >= bytes) {
        *out = (struct onednn_where){PLACE_INPUT, index, 0};
        return MITRAL_OK;
    }
    struct buffer *buffer = append_buffer(program, bytes, out);
    if (!buffer)
        return MITRAL_NO_MEMORY;
    if (packed) {
        void *unpacked = mitral_allocate_raw(call->context, tensor_bytes(tensor));
        if (!unpacked)
            return MITRAL_NO_MEMORY;
        mitral_status status = onednn_unpack(call, tensor, unpacked);
        if (status == MITRAL_OK)
            status = onednn_reorder_now(call, plain, unpacked, descriptor, buffer->data);
        mitral_release(call->context, unpacked);
        TRY(status);
    } else {
        TRY(onednn_reorder_now(call, plain, tensor->data, descriptor, buffer->data));
    }
    buffer->input = index;
    buffer->packing = (struct mitral_packing){"onednn", arena_string(&program->arena, text), bytes};
    if (!buffer->packing.description)
        return MITRAL_NO_MEMORY;
    buffer->tensor = *tensor;
    buffer->tensor.data = buffer->data;
    buffer->tensor.layout = LAYOUT_PACKED;
    buffer->tensor.packing = &buffer->packing;
    return MITRAL_OK;
}

/* ---- other layouts --------------------------------------------------------------------------------------------------- */

static bool has_layout(const mitral_tensor *tensor, int layout)
{
    return tensor->layout == layout || onednn_layouts_agree(tensor->rank, tensor->dims);
}

mitral_status onednn_input_in(struct onednn_program *program, const struct kernel_call *call, size_t index, int layout,
                              struct onednn_where *where)
{
    const mitral_tensor *tensor = call_input(call, index);
    const struct onednn_where from = {PLACE_INPUT, index, 0};
    *where = from;
    if (has_layout(tensor, layout))
        return MITRAL_OK;
    *where = onednn_scratch(program, tensor_bytes(tensor));
    return onednn_add_relayout(program, call, tensor, tensor->layout, from, layout, *where);
}

struct onednn_where onednn_output_in(struct onednn_program *program, const struct kernel_call *call, size_t index, int layout)
{
    const mitral_tensor *tensor = call_output(call, index);
    return has_layout(tensor, layout) ? (struct onednn_where){PLACE_OUTPUT, index, 0} : onednn_scratch(program, tensor_bytes(tensor));
}

mitral_status onednn_finish_output(struct onednn_program *program, const struct kernel_call *call, size_t index, int layout,
                                   struct onednn_where where)
{
    const mitral_tensor *tensor = call_output(call, index);
    if (where.place == PLACE_OUTPUT)
        return MITRAL_OK;
    return onednn_add_relayout(program, call, tensor, layout, where, tensor->layout, (struct onednn_where){PLACE_OUTPUT, index, 0});
}

mitral_status onednn_input_as(struct onednn_program *program, const struct kernel_call *call, size_t index, int layout,
                              dnnl_memory_desc_t *descriptor, struct onednn_where *where)
{
    const mitral_tensor *tensor = call_input(call, index);
    TRY(onednn_descriptor(call, descriptor, tensor->dtype, tensor->rank, tensor->dims, layout));
    return onednn_input_in(program, call, index, layout, where);
}

mitral_status onednn_output_as(struct onednn_program *program, const struct kernel_call *call, size_t index, int layout,
                               dnnl_memory_desc_t *descriptor, struct onednn_where *where)
{
    const mitral_tensor *tensor = call_output(call, index);
    *where = onednn_output_in(program, call, index, layout);
    return onednn_descriptor(call, descriptor, tensor->dtype, tensor->rank, tensor->dims, layout);
}

/* ---- reference kernels ----------------------------------------------------------------------------------------------- */

/* The bytes of a packed constant in plain order, in a buffer of the program. */
static mitral_status unpack_input(struct onednn_program *program, const struct kernel_call *call, const mitral_tensor *tensor,
                                  struct onednn_where *where)
{
    void *data;
    TRY(onednn_add_buffer(program, call, tensor_bytes(tensor), &data, where));
    return onednn_unpack(call, tensor, data);
}

static mitral_status delegate_inputs(struct onednn_program *program, const struct kernel_call *call, struct delegate *delegate,
                                     struct onednn_where *wheres)
{
    for (size_t i = 0; i < delegate->input_count; i++) {
        const mitral_tensor *tensor = call_input(call, i);
        delegate->inputs[i].rank = -1;
        wheres[i].place = PLACE_NONE;
        if (!tensor)
            continue;
        wheres[i] = (struct onednn_where){PLACE_INPUT, i, 0};
        if (tensor->layout == LAYOUT_PACKED) {
            TRY(unpack_input(program, call, tensor, &wheres[i]));
        } else {
            TRY(onednn_input_in(program, call, i, LAYOUT_PLAIN, &wheres[i]));
        }
        delegate->inputs[i] = *tensor;
        delegate->inputs[i].layout = LAYOUT_PLAIN;
        delegate->inputs[i].packing = NULL;
        delegate->inputs[i].data = NULL;
    }
    return MITRAL_OK;
}

static mitral_status prepare_delegate(struct onednn_program *program, const struct kernel_call *call, struct delegate *delegate,
                                      const struct onednn_where *wheres)
{
    if (!delegate->kernel->prepare)
        return MITRAL_OK;
    mitral_value inputs[DELEGATE_INPUTS], outputs[DELEGATE_OUTPUTS];
    const mitral_value *input_list[DELEGATE_INPUTS];
    mitral_value *output_list[DELEGATE_OUTPUTS];
    for (size_t i = 0; i < delegate->input_count; i++) {
        inputs[i] = (mitral_value){.kind = MITRAL_TENSOR, .tensor = delegate->inputs[i]};
        if (wheres[i].place == PLACE_INPUT)
            inputs[i].tensor.data = call_input(call, i)->data; /* NULL: not known yet */
        input_list[i] = delegate->inputs[i].rank < 0 ? NULL : &inputs[i];
    }
    for (size_t i = 0; i < delegate->output_count; i++) {
        outputs[i] = (mitral_value){.kind = MITRAL_TENSOR, .tensor = delegate->outputs[i]};
        output_list[i] = delegate->outputs[i].rank < 0 ? NULL : &outputs[i];
    }
    struct kernel_call inner = *call;
    inner.kernel = delegate->kernel;
    inner.input_count = delegate->input_count;
    inner.inputs = input_list;
    inner.output_count = delegate->output_count;
    inner.outputs = output_list;
    TRY(delegate->kernel->prepare(&inner, &delegate->state, &delegate->scratch_bytes));
    size_t bytes = (delegate->scratch_bytes + 63) & ~(size_t)63;
    program->work_bytes = bytes > program->work_bytes ? bytes : program->work_bytes;
    return MITRAL_OK;
}

mitral_status onednn_add_delegate(struct onednn_program *program, const struct kernel_call *call, const char *kernel,
                                  size_t input_count, struct onednn_where *output)
{
    struct delegate *delegate = arena_allocate(&program->arena, sizeof *delegate);
    if (!delegate)
        return MITRAL_NO_MEMORY;
    delegate->kernel = kernel_find(kernel);
    delegate->input_count = input_count < call->input_count ? input_count : call->input_count;
    delegate->output_count = call->output_count;
    if (!delegate->kernel || delegate->input_count > DELEGATE_INPUTS || delegate->output_count > DELEGATE_OUTPUTS)
        return call_fail(call, MITRAL_UNSUPPORTED, "expected the reference kernel '%s' and at most %d inputs", kernel, DELEGATE_INPUTS);
    struct onednn_where wheres[DELEGATE_INPUTS + DELEGATE_OUTPUTS];
    TRY(delegate_inputs(program, call, delegate, wheres));
    struct onednn_where *out = wheres + delegate->input_count;
    for (size_t i = 0; i < call->output_count; i++) {
        const mitral_tensor *tensor = call_output(call, i);
        delegate->outputs[i].rank = -1;
        out[i].place = PLACE_NONE;
        if (!tensor)
            continue;
        delegate->outputs[i] = *tensor;
        delegate->outputs[i].layout = LAYOUT_PLAIN;
        delegate->outputs[i].data = NULL;
        out[i] = onednn_output_in(program, call, i, LAYOUT_PLAIN);
    }
    struct operation *operation = onednn_append(program, delegate->input_count + delegate->output_count);
    if (!operation)
        return MITRAL_NO_MEMORY;
    operation->delegate = delegate;
    memcpy(operation->wheres, wheres, operation->count * sizeof *wheres);
    onednn_program_say(program, delegate->kernel->name);
    TRY(prepare_delegate(program, call, delegate, wheres));
    if (output)
        *output = out[0];
    for (size_t i = output ? 1 : 0; i < call->output_count; i++)
        if (out[i].place == PLACE_SCRATCH)
            TRY(onednn_finish_output(program, call, i, LAYOUT_PLAIN, out[i]));
    return MITRAL_OK;
}
