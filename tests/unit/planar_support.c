#include "planar_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "missing_isa.h"

bool rig_bench;
const double rig_exact_tolerance = 5e-6;

double rig_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void rig_open(struct rig *rig, uint32_t seed)
{
    memset(rig, 0, sizeof *rig);
    assert_int_equal(mitral_context_create(&rig->context, NULL), MITRAL_OK);
    arena_initialise(&rig->arena, rig->context);
    rig->threads = 1;
    rig->repeat = 1;
    rig->random = seed * 2654435761u + 12345u;
}

void rig_close(struct rig *rig)
{
    arena_clear(&rig->arena);
    mitral_context_destroy(&rig->context);
}

float *rig_floats(struct rig *rig, size_t count, double low, double high)
{
    float *values = arena_allocate(&rig->arena, (count + 64) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) {
        rig->random ^= rig->random << 13;
        rig->random ^= rig->random >> 17;
        rig->random ^= rig->random << 5;
        values[i] = (float)(low + (high - low) * rig->random / 4294967296.0);
    }
    return values;
}

mitral_tensor *rig_input(struct rig *rig, int32_t rank, const int64_t *dims, double low, double high)
{
    assert_true(rig->input_count < RIG_INPUTS);
    mitral_value *value = &rig->inputs[rig->input_count];
    rig->input_list[rig->input_count++] = value;
    tensor_set(&value->tensor, MITRAL_FLOAT, rank, dims);
    value->tensor.data = rig_floats(rig, (size_t)tensor_count(&value->tensor), low, high);
    return &value->tensor;
}

void rig_absent(struct rig *rig)
{
    assert_true(rig->input_count < RIG_INPUTS);
    rig->input_list[rig->input_count++] = NULL;
}

void rig_int(struct rig *rig, const char *name, int64_t value)
{
    assert_int_equal(attributes_set_int(&rig->attributes, &rig->arena, name, value), MITRAL_OK);
}

void rig_text(struct rig *rig, const char *name, const char *value)
{
    assert_int_equal(attributes_set_string(&rig->attributes, &rig->arena, name, value), MITRAL_OK);
}

void rig_ints(struct rig *rig, const char *name, const int64_t *values, size_t count)
{
    assert_int_equal(attributes_set_ints(&rig->attributes, &rig->arena, name, values, count), MITRAL_OK);
}

static mitral_status run_prepared(struct rig *rig, const struct kernel *kernel, struct kernel_call *call)
{
    rig->milliseconds = INFINITY;
    for (int i = 0; i < rig->repeat; i++) {
        double start = rig_now();
        TRY(kernel->run(call));
        double time = 1e3 * (rig_now() - start);
        rig->milliseconds = time < rig->milliseconds ? time : rig->milliseconds;
    }
    if (kernel->describe && call->state)
        snprintf(rig->description, sizeof rig->description, "%s", kernel->describe(call->state));
    for (size_t i = 0; i < rig->input_count; i++) {
        rig->packed[i].data = NULL;
        mitral_tensor packed = kernel->packed && call->state ? kernel->packed(call->state, i) : (mitral_tensor){.data = NULL};
        if (packed.data)
            TRY(tensor_copy(&rig->packed[i], &rig->arena, &packed));
    }
    return MITRAL_OK;
}

/* Where the kernel allows it: the same bits when the output takes the place of the first input. */
static void check_in_place(struct rig *rig, const struct kernel *kernel, struct kernel_call *call)
{
    mitral_tensor *input = &rig->inputs[0].tensor, *output = &rig->output.tensor;
    if (!kernel->in_place || !kernel->in_place(call->state) || tensor_bytes(input) != tensor_bytes(output))
        return;
    void *input_data = input->data, *expected = output->data, *shared = arena_allocate(&rig->arena, tensor_bytes(output) + 64);
    assert_non_null(shared);
    memcpy(shared, input_data, tensor_bytes(input));
    input->data = output->data = shared;
    assert_int_equal(kernel->run(call), MITRAL_OK);
    assert_memory_equal(shared, expected, tensor_bytes(output));
    input->data = input_data;
    output->data = expected;
}

mitral_status rig_run(struct rig *rig, const char *name)
{
    const struct kernel *kernel = kernel_find(name);
    assert_non_null(kernel);
    mitral_value *outputs[] = {&rig->output};
    struct kernel_call call = {.context = rig->context, .kernel = kernel, .name = "test", .attributes = &rig->attributes, .opset = 1,
                               .threads = rig->threads, .input_count = rig->input_count, .inputs = rig->input_list, .output_count = 1,
                               .outputs = outputs, .arena = &rig->arena};
    size_t scratch = 0;
    TRY(kernel->shape(&call));
    mitral_status status = kernel->prepare ? kernel->prepare(&call, &call.state, &scratch) : MITRAL_OK;
    if (status != MITRAL_OK)
        return status;
    /* Scratch holds whatever was there before: NaN shows what is read before it is written. */
    call.scratch = arena_allocate(&rig->arena, scratch + 64);
    rig->output.tensor.data = arena_allocate(&rig->arena, tensor_bytes(&rig->output.tensor) + 64);
    assert_true(call.scratch && rig->output.tensor.data);
    memset(call.scratch, 0xff, scratch);
    memset(rig->output.tensor.data, 0xff, tensor_bytes(&rig->output.tensor));
    status = run_prepared(rig, kernel, &call);
    if (status == MITRAL_OK)
        check_in_place(rig, kernel, &call);
    if (kernel->release && call.state)
        kernel->release(rig->context, call.state);
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

mitral_tensor rig_relayout(struct rig *rig, const mitral_tensor *tensor, int layout)
{
    mitral_tensor out = *tensor;
    out.layout = layout;
    float *to = arena_allocate(&rig->arena, tensor_bytes(tensor) + 64);
    const float *from = tensor->data;
    assert_non_null(to);
    out.data = to;
    for (int64_t i = 0; i < tensor_count(tensor); i++)
        to[position_of(&out, i)] = from[position_of(tensor, i)];
    return out;
}

mitral_tensor rig_recast(struct rig *rig, const mitral_tensor *tensor, int32_t dtype)
{
    mitral_tensor out = *tensor;
    const bool from_half = tensor->dtype == MITRAL_BFLOAT16, to_half = dtype == MITRAL_BFLOAT16;
    out.dtype = dtype;
    out.data = arena_allocate(&rig->arena, tensor_bytes(&out) + 64);
    assert_non_null(out.data);
    for (int64_t i = 0; i < tensor_count(tensor); i++) {
        const float value = from_half ? bfloat16_to_float(((const uint16_t *)tensor->data)[i]) : ((const float *)tensor->data)[i];
        if (to_half)
            ((uint16_t *)out.data)[i] = float_to_bfloat16(value);
        else
            ((float *)out.data)[i] = value;
    }
    return out;
}

double rig_distance(const mitral_tensor *a, const mitral_tensor *b)
{
    const float *x = a->data, *y = b->data;
    double most = 0, range = 0;
    if (!tensor_same_shape(a, b))
        return INFINITY;
    for (int64_t i = 0; i < tensor_count(a); i++) {
        double u = (double)x[position_of(a, i)], v = (double)y[position_of(b, i)];
        double distance = u == v || (isnan(u) && isnan(v)) ? 0 : fabs(u - v);
        if (!(distance <= most))
            most = isnan(distance) ? INFINITY : distance;
        range = fabs(v) > range ? fabs(v) : range;
    }
    return range > 0 ? most / range : most;
}

void rig_must_run(struct rig *rig, const char *kernel)
{
    mitral_status status = rig_run(rig, kernel);
    if (status != MITRAL_OK)
        print_error("%s: %s\n", kernel, mitral_context_message(rig->context));
    assert_int_equal(status, MITRAL_OK);
}

mitral_tensor rig_check_run(struct rig *rig, const char *kernel)
{
    rig->output.tensor = (mitral_tensor){0};
    rig_must_run(rig, kernel);
    return rig->output.tensor;
}

void rig_check_kernel(struct rig *rig, const char *kernel, const mitral_tensor *expected, int form, double limit)
{
    rig->threads = 1;
    mitral_tensor first = rig_check_run(rig, kernel);
    double distance = rig_distance(&first, expected);
    if (!(distance <= limit))
        print_error("form %d: %s, %s is %g off\n", form, kernel, rig->description, distance);
    assert_true(distance <= limit);
    for (rig->threads = 2; rig->threads <= 4; rig->threads++) {
        mitral_tensor other = rig_check_run(rig, kernel);
        assert_memory_equal(other.data, first.data, tensor_bytes(&first));
    }
    rig->threads = 1;
}

void rig_add(mitral_tensor *to, const mitral_tensor *addend)
{
    for (int64_t i = 0; i < tensor_count(to); i++)
        ((float *)to->data)[i] += ((const float *)addend->data)[i];
}
