#include "test_onednn_support.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "missing_isa.h"

void bench_open(struct bench *bench)
{
    memset(bench, 0, sizeof *bench);
    assert_int_equal(mitral_context_create(&bench->context, NULL), MITRAL_OK);
    arena_initialise(&bench->arena, bench->context);
    bench->threads = 1;
    bench->opset = 13;
    bench->output_count = 1;
}

void bench_close(struct bench *bench)
{
    arena_clear(&bench->arena);
    mitral_context_destroy(&bench->context);
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

mitral_tensor *bench_input(struct bench *bench, int32_t dtype, int32_t rank, const int64_t *dims, uint32_t seed)
{
    mitral_value *value = &bench->inputs[bench->input_count];
    bench->input_list[bench->input_count++] = value;
    memset(value, 0, sizeof *value);
    tensor_set(&value->tensor, dtype, rank, dims);
    value->tensor.data = arena_allocate(&bench->arena, tensor_bytes(&value->tensor) + 64);
    uint32_t state = seed * 2654435761u + 12345u;
    for (int64_t i = 0; i < tensor_count(&value->tensor); i++) {
        double number = next_random(&state) / 2147483648.0 - 1;
        if (dtype_is_float(dtype))
            tensor_set_double(&value->tensor, i, number, false);
        else
            tensor_set_int(&value->tensor, i, (int64_t)(number * 8));
    }
    return &value->tensor;
}

mitral_tensor *bench_absent(struct bench *bench)
{
    bench->input_list[bench->input_count++] = NULL;
    return NULL;
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

void bench_ints(struct bench *bench, const char *name, size_t count, const int64_t *values)
{
    assert_int_equal(attributes_set_ints(&bench->attributes, &bench->arena, name, values, count), MITRAL_OK);
}

static mitral_status run_prepared(struct bench *bench, const struct kernel *kernel, struct kernel_call *call)
{
    call->scratch = arena_allocate(&bench->arena, bench->scratch_bytes + 64);
    TRY(kernel->run(call));
    if (kernel->describe && call->state)
        snprintf(bench->description, sizeof bench->description, "%s", kernel->describe(call->state));
    memset(&bench->packed, 0, sizeof bench->packed);
    if (kernel->packed && call->state) {
        mitral_tensor packed = kernel->packed(call->state, 1);
        if (packed.data)
            TRY(tensor_copy(&bench->packed, &bench->arena, &packed));
    }
    return MITRAL_OK;
}

static mitral_status run(struct bench *bench, const char *name, bool known)
{
    const struct kernel *kernel = kernel_find(name);
    if (!kernel)
        return mitral_fail(bench->context, MITRAL_UNSUPPORTED, "no kernel %s", name);
    for (size_t i = 0; i < bench->output_count; i++)
        bench->output_list[i] = &bench->outputs[i];
    struct kernel_call call = {.context = bench->context, .kernel = kernel, .name = "test", .attributes = &bench->attributes,
                               .opset = bench->opset, .threads = bench->threads, .input_count = bench->input_count,
                               .inputs = bench->input_list, .output_count = bench->output_count, .outputs = bench->output_list,
                               .arena = &bench->arena};
    TRY(kernel->shape(&call));
    void *data[BENCH_VALUES];
    for (size_t i = 0; i < bench->input_count; i++) {
        data[i] = bench->inputs[i].tensor.data;
        if (!known)
            bench->inputs[i].tensor.data = NULL;
    }
    bench->scratch_bytes = 0;
    mitral_status status = kernel->prepare ? kernel->prepare(&call, &call.state, &bench->scratch_bytes) : MITRAL_OK;
    for (size_t i = 0; i < bench->input_count; i++)
        bench->inputs[i].tensor.data = data[i];
    for (size_t i = 0; i < bench->output_count; i++)
        bench->outputs[i].tensor.data = arena_allocate(&bench->arena, tensor_bytes(&bench->outputs[i].tensor) + 64);
    if (status == MITRAL_OK)
        status = run_prepared(bench, kernel, &call);
    if (call.state && kernel->release)
        kernel->release(bench->context, call.state);
    return status;
}

/* oneDNN takes the number of threads from OpenMP, as sessions set it. */
mitral_status bench_run(struct bench *bench, const char *name, bool known)
{
    const int before = omp_get_max_threads();
    omp_set_num_threads(bench->threads);
    const mitral_status status = run(bench, name, known);
    omp_set_num_threads(before);
    return status;
}

/* The position of row-major element `index` in a tensor of that layout. */
static int64_t position_of(const mitral_tensor *tensor, int64_t index)
{
    if (tensor->layout != LAYOUT_CHANNELS_LAST || tensor->rank < 3)
        return index;
    int64_t pixels = 1;
    for (int32_t i = 2; i < tensor->rank; i++)
        pixels *= tensor->dims[i];
    int64_t channels = tensor->dims[1], pixel = index % pixels, channel = index / pixels % channels, image = index / pixels / channels;
    return (image * pixels + pixel) * channels + channel;
}

mitral_tensor bench_relayout(struct bench *bench, const mitral_tensor *tensor, int layout)
{
    mitral_tensor out = *tensor;
    size_t size = mitral_dtype_size((mitral_dtype)tensor->dtype);
    out.layout = layout;
    out.data = arena_allocate(&bench->arena, tensor_bytes(tensor) + 64);
    for (int64_t i = 0; i < tensor_count(tensor); i++)
        memcpy((char *)out.data + (size_t)position_of(&out, i) * size, (char *)tensor->data + (size_t)position_of(tensor, i) * size, size);
    return out;
}

double bench_distance(struct bench *bench, const mitral_tensor *a, const mitral_tensor *b)
{
    (void)bench;
    if (!tensor_same_shape(a, b))
        return INFINITY;
    double most = 0;
    for (int64_t i = 0; i < tensor_count(a); i++) {
        double x = tensor_get_double(a, position_of(a, i)), y = tensor_get_double(b, position_of(b, i));
        double distance = x == y || (isnan(x) && isnan(y)) ? 0 : fabs(x - y) / (1 + fabs(y));
        if (!(distance <= most))
            most = isnan(distance) ? INFINITY : distance;
    }
    return most;
}
