#include "kernel_bench.h"

#include <math.h>
#include <string.h>

void bench_open(struct bench *bench, const char *kernel, int opset)
{
    memset(bench, 0, sizeof(*bench));
    const mitral_context_options options = {.max_tensor_bytes = 1 << 20};
    assert_int_equal(mitral_context_create(&bench->context, &options), MITRAL_OK);
    arena_initialise(&bench->arena, bench->context);
    bench->kernel = kernel_find(kernel);
    if (!bench->kernel)
        fail_msg("no kernel %s", kernel);
    bench->call = (struct kernel_call){.context = bench->context,
                                       .kernel = bench->kernel,
                                       .name = "node",
                                       .attributes = &bench->attributes,
                                       .opset = opset,
                                       .threads = 2,
                                       .inputs = bench->input_list,
                                       .output_count = 1,
                                       .outputs = bench->output_list,
                                       .arena = &bench->arena};
    for (size_t i = 0; i < BENCH_OUTPUTS; i++)
        bench->output_list[i] = &bench->outputs[i];
}

void bench_close(struct bench *bench)
{
    arena_clear(&bench->arena);
    mitral_context_destroy(&bench->context);
}

mitral_tensor *bench_input(struct bench *bench, int32_t dtype, int32_t rank, const int64_t *dims, const void *data)
{
    size_t index = bench->call.input_count++;
    assert_true(index < BENCH_INPUTS);
    mitral_value *value = &bench->inputs[index];
    *value = (mitral_value){.kind = MITRAL_TENSOR};
    tensor_set(&value->tensor, dtype, rank, dims);
    value->tensor.data = (void *)(uintptr_t)data;
    bench->input_list[index] = value;
    return &value->tensor;
}

void bench_absent(struct bench *bench)
{
    assert_true(bench->call.input_count < BENCH_INPUTS);
    bench->input_list[bench->call.input_count++] = NULL;
}

void bench_int(struct bench *bench, const char *name, int64_t value)
{
    assert_int_equal(attributes_set_int(&bench->attributes, &bench->arena, name, value), MITRAL_OK);
}

void bench_float(struct bench *bench, const char *name, float value)
{
    assert_int_equal(attributes_set_float(&bench->attributes, &bench->arena, name, value), MITRAL_OK);
}

void bench_text(struct bench *bench, const char *name, const char *value)
{
    assert_int_equal(attributes_set_string(&bench->attributes, &bench->arena, name, value), MITRAL_OK);
}

void bench_ints(struct bench *bench, const char *name, const int64_t *values, size_t count)
{
    assert_int_equal(attributes_set_ints(&bench->attributes, &bench->arena, name, values, count), MITRAL_OK);
}

void bench_floats(struct bench *bench, const char *name, const float *values, size_t count)
{
    assert_int_equal(attributes_set_floats(&bench->attributes, &bench->arena, name, values, count), MITRAL_OK);
}

mitral_status bench_shape(struct bench *bench)
{
    return bench->kernel->shape(&bench->call);
}

mitral_status bench_run(struct bench *bench)
{
    struct kernel_call *call = &bench->call;
    if (!(bench->kernel->flags & KERNEL_ALLOCATES)) {
        TRY(bench_shape(bench));
        for (size_t i = 0; i < call->output_count; i++) {
            if (!call->outputs[i])
                continue;
            mitral_tensor *tensor = &call->outputs[i]->tensor;
            TRY(tensor_check_size(bench->context, tensor));
            tensor->data = arena_allocate(&bench->arena, tensor_bytes(tensor) + 1);
            if (!tensor->data)
                return MITRAL_NO_MEMORY;
        }
    }
    size_t scratch = 0;
    mitral_status status = bench->kernel->prepare ? bench->kernel->prepare(call, &call->state, &scratch) : MITRAL_OK;
    if (status == MITRAL_OK && scratch && !(call->scratch = arena_allocate(&bench->arena, scratch)))
        status = MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = bench->kernel->run(call);
    if (bench->kernel->release)
        bench->kernel->release(bench->context, call->state);
    call->state = NULL;
    return status;
}

void bench_refuses(struct bench *bench, mitral_status status)
{
    mitral_status found = bench_run(bench);
    if (found != status)
        fail_msg("%s: status %d expected, found %d (%s)", bench->kernel->name, (int)status, (int)found,
                 mitral_context_message(bench->context));
    if (!*mitral_context_message(bench->context))
        fail_msg("%s: a message expected, found none", bench->kernel->name);
    bench_close(bench);
}

void bench_expect_floats(const struct bench *bench, size_t output, const float *want, size_t count, double tolerance)
{
    const mitral_tensor *tensor = &bench->outputs[output].tensor;
    assert_int_equal(tensor_count(tensor), count);
    for (size_t i = 0; i < count; i++) {
        double found = tensor_get_double(tensor, (int64_t)i);
        if (!(fabs(found - (double)want[i]) <= tolerance * (1 + fabs((double)want[i]))))
            fail_msg("%s: element %zu: %g expected, found %g", bench->kernel->name, i, (double)want[i], found);
    }
}
