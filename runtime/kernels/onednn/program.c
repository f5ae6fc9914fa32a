/* Programs: made in prepare, run by any number of threads. */
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "runtime/kernels/onednn/program.h"
#include "runtime/round.h"

enum { SCRATCHPAD = PLACE_NONE + 1 }; /* behind the intermediates */

/* ---- building ------------------------------------------------------------------------------------------------------- */

mitral_status onednn_program_create(struct onednn_program **out, const struct kernel_call *call)
{
    *out = NULL;
    struct onednn_program *program = mitral_allocate(call->context, sizeof *program);
    if (!program)
        return MITRAL_NO_MEMORY;
    program->threads = call->threads > 1 ? call->threads : 1;
    arena_initialise(&program->arena, call->context);
    pthread_mutex_init(&program->lock, NULL);
    *out = program;
    return MITRAL_OK;
}

static void destroy_frame(mitral_context *context, const struct onednn_program *program, struct frame *frame)
{
    for (size_t i = 0; frame->arguments && i < program->argument_count; i++)
        if (frame->arguments[i].memory)
            dnnl.memory_destroy(frame->arguments[i].memory);
    if (frame->stream)
        dnnl.stream_destroy(frame->stream);
    mitral_release(context, frame->arguments);
    mitral_release(context, frame);
}

void onednn_program_destroy(mitral_context *context, void *state)
{
    struct onednn_program *program = state;
    if (!program)
        return;
    while (program->frames) {
        struct frame *next = program->frames->next;
        destroy_frame(context, program, program->frames);
        program->frames = next;
    }
    for (struct operation *operation = program->first; operation; operation = operation->next) {
        if (operation->primitive)
            dnnl.primitive_destroy(operation->primitive);
        if (operation->delegate && operation->delegate->state && operation->delegate->kernel->release)
            operation->delegate->kernel->release(context, operation->delegate->state);
    }
    pthread_mutex_destroy(&program->lock);
    program->arena.context = context; /* that of prepare may be gone */
    arena_clear(&program->arena);
    mitral_release(context, program);
}

mitral_status onednn_program_finish(struct onednn_program *program, const struct kernel_call *call, mitral_status status, void **state,
                                    size_t *scratch_bytes)
{
    *state = NULL;
    if (status != MITRAL_OK) {
        onednn_program_destroy(call->context, program);
        return status;
    }
    *state = program;
    *scratch_bytes = program->scratch_bytes + program->work_bytes;
    return MITRAL_OK;
}

void onednn_program_say(struct onednn_program *program, const char *text)
{
    size_t used = strlen(program->description);
    snprintf(program->description + used, sizeof program->description - used, "%s%s", used ? " + " : "", text);
}

const char *onednn_program_describe(const void *state)
{
    return ((const struct onednn_program *)state)->description;
}

struct onednn_where onednn_scratch(struct onednn_program *program, size_t bytes)
{
    struct onednn_where where = {PLACE_SCRATCH, program->scratch_bytes, 0};
    program->scratch_bytes += aligned_bytes(bytes);
    return where;
}

struct operation *onednn_append(struct onednn_program *program, size_t operand_count)
{
    struct operation *operation = arena_allocate(&program->arena, sizeof *operation);
    if (!operation)
        return NULL;
    operation->count = operand_count;
    operation->wheres = arena_allocate(&program->arena, (operand_count + 1) * sizeof *operation->wheres);
    operation->arguments = arena_allocate(&program->arena, (operand_count + 1) * sizeof *operation->arguments);
    if (!operation->wheres || !operation->arguments)
        return NULL;
    if (program->last)
        program->last->next = operation;
    else
        program->first = operation;
    program->last = operation;
    return operation;
}

bool onednn_is_reference(const_dnnl_primitive_desc_t descriptor)
{
    const char *text = "";
    dnnl.primitive_desc_query(descriptor, dnnl_query_impl_info_str, 0, &text);
    /* "ref:any", "simple:any" of reorders is fine; "gemm:ref" multiplies by plain loops. */
    return strstr(text, "ref") != NULL;
}

bool onednn_depends_on_threads(const_dnnl_primitive_desc_t descriptor, bool usual_window)
{
    const char *text = "";
    dnnl.primitive_desc_query(descriptor, dnnl_query_impl_info_str, 0, &text);
    /* "brgemm:…" divides outputs only; "brgconv_strided:…" cuts the taps of strided transposed convolutions by the threads it finds. */
    return strstr(text, "gemm:jit") != NULL || strstr(text, "brgconv_strided") != NULL
           || (!usual_window && (strstr(text, "brgconv") != NULL || strstr(text, "brg_conv") != NULL));
}

int onednn_serial_begin(void)
{
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    return before;
}

void onednn_serial_end(int before)
{
    omp_set_num_threads(before);
}

/* Of an operation whose arguments are there `teams` times. */
static mitral_status create_primitive(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_desc_t descriptor,
                                      struct operation *operation, const struct onednn_operand *operands, size_t count, size_t teams)
{
    dnnl_status_t status = operation ? dnnl.primitive_create(&operation->primitive, descriptor) : dnnl_out_of_memory;
    if (status == dnnl_success) {
        const char *text = "?";
        dnnl.primitive_desc_query(descriptor, dnnl_query_impl_info_str, 0, &text);
        onednn_program_say(program, text);
        operation->work_bytes = aligned_bytes(dnnl.memory_desc_get_size(dnnl.primitive_desc_query_md(descriptor, dnnl_query_scratchpad_md, 0)));
        const size_t bytes = operation->work_bytes * teams;
        program->work_bytes = bytes > program->work_bytes ? bytes : program->work_bytes;
    }
    dnnl.primitive_desc_destroy(descriptor);
    DNNL_TRY(call, status, "primitive");
    for (size_t i = 0; i < count; i++) {
        operation->arguments[i] = operands[i].argument;
        operation->wheres[i] = operands[i].where;
    }
    operation->arguments[count] = DNNL_ARG_SCRATCHPAD;
    operation->wheres[count].place = (enum onednn_place)SCRATCHPAD;
    program->argument_count += (count + 1) * teams;
    return MITRAL_OK;
}

mitral_status onednn_add_primitive(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_desc_t descriptor,
                                   const struct onednn_operand *operands, size_t count)
{
    return create_primitive(program, call, descriptor, onednn_append(program, count + 1), operands, count, 1);
}

mitral_status onednn_add_parts(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_desc_t descriptor,
                               const struct onednn_operand *operands, const size_t *steps, size_t count, size_t parts)
{
    struct operation *operation = onednn_append(program, count + 1);
    size_t *copy = arena_allocate(&program->arena, (count + 1) * sizeof *copy);
    if (operation && copy) {
        memcpy(copy, steps, count * sizeof *copy);
        operation->steps = copy;
        operation->parts = parts;
    }
    const int before = onednn_serial_begin();
    mitral_status status = create_primitive(program, call, descriptor, copy ? operation : NULL, operands, count, (size_t)program->threads);
    onednn_serial_end(before);
    return status;
}

mitral_status onednn_add_function(struct onednn_program *program, const struct kernel_call *call, onednn_function *function,
                                  const struct onednn_where *wheres, size_t count, const void *data, size_t size)
{
    (void)call;
    struct operation *operation = onednn_append(program, count);
    void *copy = arena_allocate(&program->arena, size + 1);
    if (!operation || !copy)
        return MITRAL_NO_MEMORY;
    if (size)
        memcpy(copy, data, size);
    operation->function = function;
    operation->data = copy;
    memcpy(operation->wheres, wheres, count * sizeof *wheres);
    return MITRAL_OK;
}

mitral_status onednn_attributes(const struct kernel_call *call, dnnl_primitive_attr_t *out)
{
    *out = NULL;
    TRY(onednn_open(call->context));
    DNNL_TRY(call, dnnl.primitive_attr_create(out), "attributes");
    dnnl_status_t status = dnnl.primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (status != dnnl_success)
        dnnl.primitive_attr_destroy(*out);
    DNNL_TRY(call, status, "scratchpad mode");
    return MITRAL_OK;
}

mitral_status onednn_shape_keeping_layouts(struct kernel_call *call, mitral_status (*shape)(struct kernel_call *call))
{
    enum { OUTPUTS = 64 };
    int32_t layouts[OUTPUTS] = {0};
    for (size_t i = 0; i < call->output_count && i < OUTPUTS; i++)
        if (call->outputs[i])
            layouts[i] = call->outputs[i]->tensor.layout;
    mitral_status status = shape(call);
    for (size_t i = 0; i < call->output_count && i < OUTPUTS; i++)
        if (call->outputs[i])
            call->outputs[i]->tensor.layout = layouts[i];
    return status;
}

/* ---- running -------------------------------------------------------------------------------------------------------- */

/* Tensors without elements need no memory. */
static void *beyond(void *data, size_t offset)
{
    return data ? (char *)data + offset : NULL;
}

static void *address(const struct onednn_program *program, const struct kernel_call *call, struct onednn_where where)
{
    switch ((int)where.place) {
    case PLACE_INPUT: return beyond(call->inputs[where.index]->tensor.data, where.offset);
    case PLACE_OUTPUT: return beyond(call->outputs[where.index]->tensor.data, where.offset);
    case PLACE_SCRATCH: return beyond(call->scratch, where.index + where.offset);
    case PLACE_BUFFER: {
        const struct buffer *buffer = program->buffers;
        for (size_t i = program->buffer_count - 1; i > where.index; i--)
            buffer = buffer->next;
        return (char *)buffer->data + where.offset;
    }
    case SCRATCHPAD: return program->work_bytes ? (char *)call->scratch + program->scratch_bytes : NULL;
    default: return NULL;
    }
}

/* Scales and zero points are in no descriptor: a list as long as the memory that holds it. */
static mitral_status create_parameter(const struct onednn_program *program, const struct kernel_call *call, int argument,
                                      struct onednn_where where, dnnl_memory_t *out)
{
    int64_t count = 1;
    const struct buffer *buffer = program->buffers;
    for (size_t i = program->buffer_count; where.place == PLACE_BUFFER && i-- > where.index; buffer = buffer->next)
        count = (int64_t)(buffer->bytes / 4);
    dnnl_memory_desc_t descriptor;
    TRY(onednn_descriptor(call, &descriptor, argument & DNNL_ARG_ATTR_SCALES ? MITRAL_FLOAT : MITRAL_INT32, 1, &count, LAYOUT_PLAIN));
    dnnl_status_t status = dnnl.memory_create(out, descriptor, dnnl.engine, DNNL_MEMORY_NONE);
    onednn_descriptor_free(&descriptor);
    DNNL_TRY(call, status, "memory");
    return MITRAL_OK;
}

static mitral_status create_frame(const struct onednn_program *program, const struct kernel_call *call, struct frame *frame)
{
    frame->arguments = mitral_allocate(call->context, (program->argument_count + 1) * sizeof *frame->arguments);
    if (!frame->arguments)
        return MITRAL_NO_MEMORY;
    if (program->argument_count == 0) /* own loops only */
        return MITRAL_OK;
    DNNL_TRY(call, dnnl.stream_create(&frame->stream, dnnl.engine, dnnl_stream_default_flags), "stream");
    dnnl_exec_arg_t *argument = frame->arguments;
    for (const struct operation *operation = program->first; operation; operation = operation->next) {
        if (!operation->primitive)
            continue;
        const_dnnl_primitive_desc_t descriptor;
        DNNL_TRY(call, dnnl.primitive_get_primitive_desc(operation->primitive, &descriptor), "query");
        const size_t teams = operation->parts ? (size_t)program->threads : 1;
        for (size_t k = 0; k < operation->count * teams; k++, argument++) {
            const size_t i = k % operation->count;
            const_dnnl_memory_desc_t memory = dnnl.primitive_desc_query_md(descriptor, dnnl_query_exec_arg_md, operation->arguments[i]);
            argument->arg = operation->arguments[i];
            if (argument->arg & (DNNL_ARG_ATTR_SCALES | DNNL_ARG_ATTR_ZERO_POINTS)) {
                TRY(create_parameter(program, call, argument->arg, operation->wheres[i], &argument->memory));
                continue;
            }
            DNNL_TRY(call, dnnl.memory_create(&argument->memory, memory, dnnl.engine, DNNL_MEMORY_NONE), "memory");
        }
    }
    return MITRAL_OK;
}

static mitral_status take_frame(struct onednn_program *program, const struct kernel_call *call, struct frame **out)
{
    pthread_mutex_lock(&program->lock);
    *out = program->frames;
    if (*out)
        program->frames = (*out)->next;
    pthread_mutex_unlock(&program->lock);
    if (*out)
        return MITRAL_OK;
    struct frame *frame = mitral_allocate(call->context, sizeof *frame);
    if (!frame)
        return MITRAL_NO_MEMORY;
    mitral_status status = create_frame(program, call, frame);
    if (status != MITRAL_OK) {
        destroy_frame(call->context, program, frame);
        return status;
    }
    *out = frame;
    return MITRAL_OK;
}

static void put_frame(struct onednn_program *program, struct frame *frame)
{
    pthread_mutex_lock(&program->lock);
    frame->next = program->frames;
    program->frames = frame;
    pthread_mutex_unlock(&program->lock);
}

static mitral_status run_function(const struct onednn_program *program, const struct kernel_call *call, const struct operation *operation)
{
    enum { OPERANDS = 16 };
    void *addresses[OPERANDS];
    if (operation->count > OPERANDS)
        return call_fail(call, MITRAL_LIMIT, "expected at most %d operands, found %zu", OPERANDS, operation->count);
    for (size_t i = 0; i < operation->count; i++)
        addresses[i] = address(program, call, operation->wheres[i]);
    return operation->function(call, addresses, operation->data);
}

static mitral_status run_delegate(const struct onednn_program *program, const struct kernel_call *call, const struct operation *operation)
{
    const struct delegate *delegate = operation->delegate;
    mitral_value inputs[DELEGATE_INPUTS], outputs[DELEGATE_OUTPUTS];
    const mitral_value *input_list[DELEGATE_INPUTS];
    mitral_value *output_list[DELEGATE_OUTPUTS];
    for (size_t i = 0; i < delegate->input_count; i++) {
        inputs[i] = (mitral_value){.kind = MITRAL_TENSOR, .tensor = delegate->inputs[i]};
        input_list[i] = delegate->inputs[i].rank < 0 ? NULL : &inputs[i];
        if (input_list[i])
            inputs[i].tensor.data = address(program, call, operation->wheres[i]);
    }
    for (size_t i = 0; i < delegate->output_count; i++) {
        outputs[i] = (mitral_value){.kind = MITRAL_TENSOR, .tensor = delegate->outputs[i]};
        output_list[i] = delegate->outputs[i].rank < 0 ? NULL : &outputs[i];
        if (output_list[i])
            outputs[i].tensor.data = address(program, call, operation->wheres[delegate->input_count + i]);
    }
    struct kernel_call inner = *call;
    inner.kernel = delegate->kernel;
    inner.input_count = delegate->input_count;
    inner.inputs = input_list;
    inner.output_count = delegate->output_count;
    inner.outputs = output_list;
    inner.state = delegate->state;
    inner.scratch = call->scratch ? (char *)call->scratch + program->scratch_bytes : NULL;
    return delegate->kernel->run(&inner);
}

/* `arguments` are those of this thread. */
static dnnl_status_t run_part(const struct onednn_program *program, const struct kernel_call *call, const struct operation *operation,
                              dnnl_stream_t stream, dnnl_exec_arg_t *arguments, size_t part, size_t thread)
{
    for (size_t i = 0; i < operation->count; i++) {
        char *at = address(program, call, operation->wheres[i]);
        if (at)
            at += operation->arguments[i] == DNNL_ARG_SCRATCHPAD ? thread * operation->work_bytes : part * operation->steps[i];
        dnnl_status_t status = dnnl.memory_set_data_handle(arguments[i].memory, at);
        if (status != dnnl_success)
            return status;
    }
    return dnnl.primitive_execute(operation->primitive, stream, (int)operation->count, arguments);
}

static mitral_status run_parts(const struct onednn_program *program, const struct kernel_call *call, const struct operation *operation,
                               dnnl_stream_t stream, dnnl_exec_arg_t *arguments)
{
    int failure = dnnl_success;
    /* In a team oneDNN takes one thread; without one (a single thread) it has only one. */
#pragma omp parallel for num_threads(program->threads) schedule(static)
    for (size_t part = 0; part < operation->parts; part++) {
        const size_t thread = (size_t)omp_get_thread_num();
        const dnnl_status_t status = run_part(program, call, operation, stream, arguments + thread * operation->count, part, thread);
        if (status != dnnl_success) {
#pragma omp atomic write
            failure = (int)status;
        }
    }
    return failure == dnnl_success ? MITRAL_OK : onednn_status(call, (dnnl_status_t)failure, "execution");
}

static mitral_status run_operations(const struct onednn_program *program, const struct kernel_call *call, struct frame *frame)
{
    dnnl_exec_arg_t *arguments = frame->arguments;
    for (const struct operation *operation = program->first; operation; operation = operation->next) {
        if (operation->function) {
            TRY(run_function(program, call, operation));
        } else if (operation->delegate) {
            TRY(run_delegate(program, call, operation));
        } else if (operation->parts) {
            TRY(run_parts(program, call, operation, frame->stream, arguments));
            arguments += operation->count * (size_t)program->threads;
        } else {
            for (size_t i = 0; i < operation->count; i++)
                DNNL_TRY(call, dnnl.memory_set_data_handle(arguments[i].memory, address(program, call, operation->wheres[i])), "address");
            DNNL_TRY(call, dnnl.primitive_execute(operation->primitive, frame->stream, (int)operation->count, arguments), "execution");
            arguments += operation->count;
        }
    }
    if (frame->stream)
        DNNL_TRY(call, dnnl.stream_wait(frame->stream), "stream");
    return MITRAL_OK;
}

mitral_status onednn_program_run(struct kernel_call *call)
{
    struct onednn_program *program = call->state;
    if (!program->first)
        return MITRAL_OK;
    struct frame *frame;
    TRY(take_frame(program, call, &frame));
    const int threads = omp_get_max_threads();
    if (threads != call->threads)
        omp_set_num_threads(call->threads);
    mitral_status status = run_operations(program, call, frame);
    if (threads != call->threads)
        omp_set_num_threads(threads);
    put_frame(program, frame);
    return status;
}
