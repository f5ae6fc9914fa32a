/* Normalisations, poolings and resizings of training against the reference kernels, for any number of threads. */
#include <math.h>
#include <string.h>

#include "planar_support.h"

enum { MOST_OUTPUTS = 9 };

/* A call with several outputs; they are new each time. With `in_place` they hold the inputs whose memory they may take. */
static mitral_status run_placed(struct rig *rig, const char *name, int count, const bool *absent, bool in_place, mitral_value outputs[MOST_OUTPUTS])
{
    const struct kernel *kernel = kernel_find(name);
    assert_non_null(kernel);
    mitral_value *list[MOST_OUTPUTS];
    memset(outputs, 0, MOST_OUTPUTS * sizeof *outputs);
    for (int i = 0; i < count; i++)
        list[i] = absent && absent[i] ? NULL : &outputs[i];
    struct kernel_call call = {.context = rig->context, .kernel = kernel, .name = "test", .attributes = &rig->attributes, .opset = 18,
                               .threads = rig->threads, .input_count = rig->input_count, .inputs = rig->input_list,
                               .output_count = (size_t)count, .outputs = list, .arena = &rig->arena};
    size_t scratch = 0;
    TRY(kernel->shape(&call));
    if (kernel->prepare)
        TRY(kernel->prepare(&call, &call.state, &scratch));
    call.scratch = arena_allocate(&rig->arena, scratch + 64);
    memset(call.scratch, 0xff, scratch);
    for (int i = 0; i < count; i++)
        if (list[i]) {
            outputs[i].tensor.data = arena_allocate(&rig->arena, tensor_bytes(&outputs[i].tensor) + 64);
            memset(outputs[i].tensor.data, 0xff, tensor_bytes(&outputs[i].tensor));
        }
    const mitral_value *inputs[sizeof rig->input_list / sizeof *rig->input_list];
    memcpy(inputs, rig->input_list, sizeof inputs);
    for (int i = 0; in_place && kernel->shares && i < count; i++) {
        const size_t input = list[i] ? kernel->shares(&call, (size_t)i) : SIZE_MAX;
        if (input >= call.input_count || !inputs[input])
            continue;
        assert_int_equal(tensor_bytes(&inputs[input]->tensor), tensor_bytes(&outputs[i].tensor));
        memcpy(outputs[i].tensor.data, inputs[input]->tensor.data, tensor_bytes(&outputs[i].tensor));
        inputs[input] = &outputs[i];
    }
    call.inputs = inputs;
    mitral_status status = kernel->run(&call);
    if (kernel->release)
        kernel->release(rig->context, call.state);
    return status;
}

static mitral_status run(struct rig *rig, const char *name, int count, const bool *absent, mitral_value outputs[MOST_OUTPUTS])
{
    return run_placed(rig, name, count, absent, false, outputs);
}

static void check_run(struct rig *rig, const char *name, int count, const bool *absent, mitral_value outputs[MOST_OUTPUTS])
{
    mitral_status status = run(rig, name, count, absent, outputs);
    if (status != MITRAL_OK)
        print_error("%s: %s\n", name, mitral_context_message(rig->context));
    assert_int_equal(status, MITRAL_OK);
}

static void check_near(const char *what, const mitral_tensor *found, const mitral_tensor *expected, double limit)
{
    double distance = rig_distance(found, expected);
    if (!(distance <= limit))
        print_error("%s is %g off\n", what, distance);
    assert_true(distance <= limit);
}

/* The same for all numbers of threads, and in the inputs' memory. */
static void check_threads(struct rig *rig, const char *name, int count, const bool *absent, const mitral_value *first)
{
    for (rig->threads = 2; rig->threads <= 4; rig->threads++) {
        mitral_value outputs[MOST_OUTPUTS];
        assert_int_equal(run_placed(rig, name, count, absent, rig->threads == 4, outputs), MITRAL_OK);
        for (int i = 0; i < count; i++)
            if (!absent || !absent[i])
                assert_memory_equal(outputs[i].tensor.data, first[i].tensor.data, tensor_bytes(&first[i].tensor));
    }
    rig->threads = 1;
}

/* ---- normalisation --------------------------------------------------------------------------------------------------------- */

struct form {
    int64_t batch, parts[4], size[2];
    int part_count;
    bool relu, residual;
    double offset; /* of the mean */
};

static const struct form forms[] = {
    {2, {5}, {7, 9}, 1, false, false, 0},
    {3, {8}, {40, 33}, 1, true, false, 3},
    {2, {4, 4, 4, 4}, {16, 16}, 4, true, true, -1},
    {1, {3, 1, 6}, {5, 5}, 3, true, false, 0},
    {4, {2, 7}, {70, 61}, 2, false, true, 100},
    {1, {3}, {1, 1}, 1, true, false, 0},
    {1, {2, 2}, {1024, 1024}, 2, true, true, 3}, /* large enough to be written past the caches */
    {1, {4}, {1024, 1024}, 1, false, false, 3},
};

static void concatenate(const struct form *f, const mitral_value *parts, mitral_tensor *whole)
{
    const int64_t plane = f->size[0] * f->size[1];
    float *to = whole->data;
    for (int64_t n = 0; n < f->batch; n++)
        for (int i = 0; i < f->part_count; i++) {
            memcpy(to, (const float *)parts[i].tensor.data + n * f->parts[i] * plane, (size_t)(f->parts[i] * plane) * sizeof *to);
            to += f->parts[i] * plane;
        }
}

static void float_attributes(struct rig *rig)
{
    assert_int_equal(attributes_set_float(&rig->attributes, &rig->arena, "epsilon", 1e-3f), MITRAL_OK);
    assert_int_equal(attributes_set_float(&rig->attributes, &rig->arena, "momentum", 0.8f), MITRAL_OK);
}

/* The parts lie apart in `apart`, which also holds what stands before them; in `together` they are one tensor. */
static void check_form(const struct form *f)
{
    struct rig apart, together, backward, reference;
    mitral_value parts[4], found[MOST_OUTPUTS], expected[MOST_OUTPUTS];
    int64_t channels = 0;
    for (int i = 0; i < f->part_count; i++)
        channels += f->parts[i];
    const int64_t dims[] = {f->batch, channels, f->size[0], f->size[1]};
    const int64_t elements = f->batch * channels * f->size[0] * f->size[1];
    rig_open(&apart, (uint32_t)(f - forms) + 1);
    rig_open(&together, (uint32_t)(f - forms) + 50);
    for (int i = 0; i < f->part_count; i++) {
        const int64_t part[] = {f->batch, f->parts[i], f->size[0], f->size[1]};
        tensor_set(&parts[i].tensor, MITRAL_FLOAT, 4, part);
        parts[i].kind = MITRAL_TENSOR;
        parts[i].tensor.data = rig_floats(&apart, (size_t)tensor_count(&parts[i].tensor), f->offset - 1, f->offset + 1);
    }
    /* Forward. */
    concatenate(f, parts, rig_input(&together, 4, dims, 0, 1));
    apart.input_list[apart.input_count++] = &parts[0];
    for (int i = 1; i < 5; i++) {
        const mitral_tensor *vector = rig_input(&together, 1, &channels, i == 4 ? 0.5 : -1, 1);
        apart.input_list[apart.input_count++] = &together.inputs[i];
        assert_non_null(vector);
    }
    const float *residual = f->residual ? rig_input(&apart, 4, dims, -1, 1)->data : NULL;
    if (!f->residual)
        rig_absent(&apart);
    for (int i = 1; i < f->part_count; i++)
        apart.input_list[apart.input_count++] = &parts[i];
    float_attributes(&apart);
    float_attributes(&together);
    rig_int(&apart, "relu", f->relu);
    check_run(&together, "mitral.BatchNormalizationTraining", 5, NULL, expected);
    check_run(&apart, "training.normalization", 5, NULL, found);
    float *y = expected[0].tensor.data;
    for (int64_t i = 0; i < elements; i++) {
        y[i] += residual ? residual[i] : 0;
        y[i] = f->relu && y[i] < 0 ? 0 : y[i];
    }
    /* One pass or two over numbers far from zero: the statistics lose as many bits as the mean has more than the deviation. */
    double limit = 1e-6 * (10 + fabs(f->offset) * fabs(f->offset));
    if (elements == channels) /* nothing varies: what is left are differences of numbers thirty times as large (1 / √ε), or nothing */
        limit *= 100;
    static const char *const names[] = {"y", "next mean", "next variance", "mean", "inverse deviation"};
    for (int i = 0; i < 5; i++)
        check_near(names[i], &found[i].tensor, &expected[i].tensor, limit);
    check_threads(&apart, "training.normalization", 5, NULL, found);
    /* Backward, from the same statistics. */
    rig_open(&backward, 9);
    rig_open(&reference, 9);
    const float *dy = rig_input(&backward, 4, dims, -1, 1)->data;
    float *dz = rig_input(&reference, 4, dims, -1, 1)->data;
    for (int64_t i = 0; i < elements; i++)
        dz[i] = f->relu && !(((const float *)found[0].tensor.data)[i] > 0) ? 0 : dy[i];
    reference.input_list[reference.input_count++] = &together.inputs[0];
    const mitral_value *shared[] = {&together.inputs[1], &found[3], &found[4]};
    for (int i = 0; i < 3; i++) {
        backward.input_list[backward.input_count++] = shared[i];
        reference.input_list[reference.input_count++] = shared[i];
    }
    backward.input_list[backward.input_count++] = f->relu ? &found[0] : NULL;
    for (int i = 0; i < f->part_count; i++)
        backward.input_list[backward.input_count++] = &parts[i];
    mitral_value gradients[MOST_OUTPUTS], together_gradients[MOST_OUTPUTS];
    check_run(&reference, "mitral.BatchNormalizationGradient", 3, NULL, together_gradients);
    for (int keeps = 0; keeps < 2; keeps++) {
        const bool absent[MOST_OUTPUTS] = {[3] = !keeps};
        check_run(&backward, "training.normalization_gradient", 3 + f->part_count, absent, gradients);
        mitral_value list[4] = {gradients[0], gradients[4], gradients[5], gradients[6]};
        mitral_tensor whole;
        tensor_set(&whole, MITRAL_FLOAT, 4, dims);
        whole.data = rig_floats(&backward, (size_t)elements, 0, 1);
        concatenate(f, list, &whole);
        if (elements > channels) /* of one element alone the gradient is zero but for rounding */
            check_near("dx", &whole, &together_gradients[0].tensor, limit);
        check_near("dscale", &gradients[1].tensor, &together_gradients[1].tensor, limit);
        check_near("dbias", &gradients[2].tensor, &together_gradients[2].tensor, limit);
        if (keeps)
            assert_memory_equal(gradients[3].tensor.data, dz, (size_t)elements * sizeof *dz);
        check_threads(&backward, "training.normalization_gradient", 3 + f->part_count, absent, gradients);
        if (f->relu) { /* so do y's bits */
            mitral_value marked[MOST_OUTPUTS];
            check_run(&apart, "training.normalization", 7, (const bool[MOST_OUTPUTS]){[5] = true}, marked);
            assert_memory_equal(marked[0].tensor.data, found[0].tensor.data, (size_t)elements * sizeof *y);
            backward.input_list[4] = &marked[6];
            check_threads(&backward, "training.normalization_gradient", 3 + f->part_count, absent, gradients);
            backward.input_list[4] = &found[0];
        }
        if (!f->relu || f->residual)
            continue;
        backward.input_list[4] = apart.input_list[2]; /* the shift says as much as y: the same bits */
        check_threads(&backward, "training.normalization_gradient", 3 + f->part_count, absent, gradients);
        backward.input_list[4] = &found[0];
    }
    rig_close(&reference);
    rig_close(&backward);
    rig_close(&together);
    rig_close(&apart);
}

static void test_normalization(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        check_form(&forms[i]);
}

/* With `sums` parts' gradients are running sums, from the last one on, to the bit. */
static void check_sums(bool pair)
{
    struct rig rig;
    mitral_value alone[MOST_OUTPUTS], found[MOST_OUTPUTS];
    const int64_t part[] = {2, 3, 9, 11}, whole[] = {2, 12, 9, 11}, channels = 12, sums[] = {0, 1, 1, 0}, last[] = {0, 1, 1, 1}, few[] = {1, 0};
    const char *name = pair ? "training.normalization_pair_gradient" : "training.normalization_gradient";
    const int outputs = pair ? 9 : 7, places[] = {pair ? 5 : 0, pair ? 6 : 4, pair ? 7 : 5, pair ? 8 : 6};
    rig_open(&rig, 11);
    rig_input(&rig, 4, whole, -1, 1);
    for (int i = 0; i < (pair ? 8 : 3); i++)
        rig_input(&rig, 1, &channels, 0.5, 1);
    rig_input(&rig, 4, whole, -1, 1); /* the second map, or Y */
    for (int i = 0; i < 4; i++)
        rig_input(&rig, 4, part, -1, 1);
    rig_int(&rig, "relu", 1);
    check_run(&rig, name, outputs, NULL, alone);
    rig_ints(&rig, "sums", sums, 4);
    check_run(&rig, name, outputs, NULL, found);
    for (int64_t k = 0, count = tensor_count(&alone[places[0]].tensor); k < count; k++) {
        float *from[4], sum = 0;
        for (int i = 3; i >= 0; i--) {
            from[i] = alone[places[i]].tensor.data;
            from[i][k] += sum;
            sum = i && sums[i - 1] ? from[i][k] : 0;
        }
    }
    for (int i = 0; i < outputs; i++)
        assert_memory_equal(found[i].tensor.data, alone[i].tensor.data, tensor_bytes(&alone[i].tensor));
    check_threads(&rig, name, outputs, NULL, found);
    rig_ints(&rig, "sums", last, 4);
    assert_int_equal(run(&rig, name, outputs, NULL, found), MITRAL_INVALID);
    rig_ints(&rig, "sums", few, 2);
    assert_int_equal(run(&rig, name, outputs, NULL, found), MITRAL_INVALID);
    rig_close(&rig);
}

static void test_summed_gradients(void **state)
{
    (void)state;
    check_sums(false);
    check_sums(true);
}

/* A map that is pooled where it is normalised, and the gradient of that: as one after the other. */
static void check_pooled(const int64_t parts[2], const int64_t size[2])
{
    struct rig forward, pool, backward, unpool;
    mitral_value found[MOST_OUTPUTS], alone[MOST_OUTPUTS], small[MOST_OUTPUTS], passed[MOST_OUTPUTS], expected[MOST_OUTPUTS], gradients[MOST_OUTPUTS];
    const int64_t channels = parts[0] + parts[1], dims[] = {2, channels, size[0], size[1]}, half[] = {2, channels, size[0] / 2, size[1] / 2};
    const int64_t first[] = {2, parts[0], size[0], size[1]}, second[] = {2, parts[1], size[0], size[1]}, two[] = {2, 2};
    static const bool unpooled[MOST_OUTPUTS] = {[5] = true};
    rig_open(&forward, 3);
    rig_open(&pool, 4);
    rig_open(&backward, 5);
    rig_open(&unpool, 6);
    rig_input(&forward, 4, first, -1, 1);
    for (int i = 1; i < 5; i++)
        rig_input(&forward, 1, &channels, i == 4 ? 0.5 : -1, 1);
    rig_input(&forward, 4, dims, -1, 1);
    rig_input(&forward, 4, second, -1, 1);
    rig_int(&forward, "relu", 1);
    check_run(&forward, "training.normalization", 6, unpooled, alone);
    check_run(&forward, "training.normalization", 6, NULL, found);
    assert_memory_equal(found[0].tensor.data, alone[0].tensor.data, tensor_bytes(&found[0].tensor));
    pool.input_list[pool.input_count++] = &found[0];
    check_run(&pool, "training.max_pool", 1, NULL, small);
    assert_memory_equal(found[5].tensor.data, small[0].tensor.data, tensor_bytes(&small[0].tensor));
    check_threads(&forward, "training.normalization", 6, NULL, found);
    /* Backward. */
    rig_ints(&unpool, "kernel_shape", two, 2);
    rig_ints(&unpool, "strides", two, 2);
    rig_input(&unpool, 4, half, -1, 1);
    unpool.input_list[unpool.input_count++] = &found[0];
    rig_input(&unpool, 4, dims, -1, 1);
    check_run(&unpool, "training.max_pool_gradient", 1, NULL, passed);
    const mitral_value *inputs[] = {&passed[0], forward.input_list[1], &found[3], &found[4], &found[0], forward.input_list[0], forward.input_list[6]};
    for (int i = 0; i < 7; i++)
        backward.input_list[backward.input_count++] = inputs[i];
    check_run(&backward, "training.normalization_gradient", 5, NULL, expected);
    const mitral_value *pooled[] = {unpool.input_list[2], inputs[1], inputs[2], inputs[3], inputs[4], unpool.input_list[0], inputs[5], inputs[6]};
    for (backward.input_count = 0; backward.input_count < 8; backward.input_count++)
        backward.input_list[backward.input_count] = pooled[backward.input_count];
    rig_int(&backward, "pooled", 1);
    check_run(&backward, "training.normalization_gradient", 5, NULL, gradients);
    assert_memory_equal(gradients[3].tensor.data, expected[3].tensor.data, tensor_bytes(&expected[3].tensor));
    for (int i = 0; i < 5; i++)
        check_near("gradient", &gradients[i].tensor, &expected[i].tensor, 2e-6); /* sums in another order */
    check_threads(&backward, "training.normalization_gradient", 5, NULL, gradients);
    mitral_value marked[MOST_OUTPUTS];
    check_run(&forward, "training.normalization", 7, NULL, marked);
    assert_memory_equal(marked[0].tensor.data, found[0].tensor.data, tensor_bytes(&found[0].tensor));
    backward.input_list[4] = &marked[6];
    check_threads(&backward, "training.normalization_gradient", 5, NULL, gradients);
    marked[6].tensor.dims[2]++;
    assert_int_equal(run(&backward, "training.normalization_gradient", 5, NULL, expected), MITRAL_INVALID);
    backward.input_list[4] = &found[0];
    static const bool lost[MOST_OUTPUTS] = {[3] = true};
    assert_int_equal(run(&backward, "training.normalization_gradient", 5, lost, gradients), MITRAL_INVALID);
    backward.input_list[5] = &found[0];
    assert_int_equal(run(&backward, "training.normalization_gradient", 5, NULL, gradients), MITRAL_INVALID);
    rig_close(&unpool);
    rig_close(&backward);
    rig_close(&pool);
    rig_close(&forward);
}

static void test_pooled_normalization(void **state)
{
    (void)state;
    check_pooled((int64_t[]){3, 2}, (int64_t[]){8, 10});
    check_pooled((int64_t[]){4, 4}, (int64_t[]){56, 38});
    check_pooled((int64_t[]){1, 2}, (int64_t[]){2, 2});
    check_pooled((int64_t[]){2, 2}, (int64_t[]){1024, 800}); /* past the caches */
    struct rig rig;
    mitral_value outputs[MOST_OUTPUTS];
    const int64_t x[] = {2, 3, 4, 5}, vector[] = {3};
    rig_open(&rig, 1);
    rig_input(&rig, 4, x, -1, 1);
    for (int i = 0; i < 4; i++)
        rig_input(&rig, 1, vector, 0, 1);
    assert_int_equal(run(&rig, "training.normalization", 6, NULL, outputs), MITRAL_INVALID); /* an odd width */
    rig_close(&rig);
}

static void test_refused_normalization(void **state)
{
    (void)state;
    struct rig rig;
    mitral_value outputs[MOST_OUTPUTS];
    const int64_t x[] = {2, 3, 4, 4}, vector[] = {3}, other[] = {2, 3, 4, 5}, wide[] = {4};
    for (int wrong = 0; wrong < 3; wrong++) {
        rig_open(&rig, 1);
        rig_input(&rig, 4, x, -1, 1);
        for (int i = 0; i < 4; i++)
            rig_input(&rig, 1, wrong == 0 && i == 2 ? wide : vector, 0, 1);
        if (wrong == 1)
            rig_input(&rig, 4, other, -1, 1);
        if (wrong == 2) {
            rig_absent(&rig);
            rig_input(&rig, 4, other, -1, 1);
        }
        assert_int_equal(run(&rig, "training.normalization", 5, NULL, outputs), MITRAL_INVALID);
        rig_close(&rig);
    }
    rig_open(&rig, 1);
    rig_input(&rig, 4, other, -1, 1);
    for (int i = 0; i < 3; i++)
        rig_input(&rig, 1, vector, 0, 1);
    rig_absent(&rig);
    rig_input(&rig, 4, x, -1, 1);
    assert_int_equal(run(&rig, "training.normalization_gradient", 4, NULL, outputs), MITRAL_INVALID);
    rig_close(&rig);
}

/* ---- pooling and resizing --------------------------------------------------------------------------------------------------- */

static const int64_t sizes[][2] = {{4, 4}, {7, 9}, {16, 33}, {1, 1}, {3, 100}};

static void test_pooling(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct rig rig;
        mitral_value expected[MOST_OUTPUTS], found[MOST_OUTPUTS];
        const int64_t two[] = {2, 2}, x[] = {2, 3, 2 * sizes[i][0], 2 * sizes[i][1]};
        rig_open(&rig, (uint32_t)i + 1);
        rig_ints(&rig, "kernel_shape", two, 2);
        rig_ints(&rig, "strides", two, 2);
        rig_input(&rig, 4, x, -3, 3);
        check_run(&rig, "MaxPool", 1, NULL, expected);
        check_run(&rig, "training.max_pool", 1, NULL, found);
        assert_memory_equal(found[0].tensor.data, expected[0].tensor.data, tensor_bytes(&found[0].tensor));
        check_threads(&rig, "training.max_pool", 1, NULL, found);
        rig.inputs[0].tensor.dims[3]++;
        assert_int_equal(run(&rig, "training.max_pool", 1, NULL, found), MITRAL_INVALID);
        rig_close(&rig);
    }
}

static void test_means(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct rig rig;
        mitral_value expected[MOST_OUTPUTS], found[MOST_OUTPUTS];
        const int64_t x[] = {2, 3, sizes[i][0], sizes[i][1]};
        rig_open(&rig, (uint32_t)i + 1);
        rig_input(&rig, 4, x, -1, 3);
        check_run(&rig, "GlobalAveragePool", 1, NULL, expected);
        check_run(&rig, "training.global_average_pool", 1, NULL, found);
        check_near("mean", &found[0].tensor, &expected[0].tensor, 1e-6);
        check_threads(&rig, "training.global_average_pool", 1, NULL, found);
        rig.inputs[0].tensor.rank = 2;
        assert_int_equal(run(&rig, "training.global_average_pool", 1, NULL, found), MITRAL_INVALID);
        rig_close(&rig);
    }
}

static void test_pooling_gradient(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int addend = 0; addend < 2; addend++) {
            struct rig rig;
            mitral_value expected[MOST_OUTPUTS], found[MOST_OUTPUTS];
            const int64_t two[] = {2, 2}, y[] = {2, 3, sizes[i][0], sizes[i][1]}, x[] = {2, 3, 2 * sizes[i][0], 2 * sizes[i][1]};
            rig_open(&rig, (uint32_t)i + 1);
            rig_ints(&rig, "kernel_shape", two, 2);
            rig_ints(&rig, "strides", two, 2);
            rig_input(&rig, 4, y, -1, 1);
            mitral_tensor *values = rig_input(&rig, 4, x, -3, 3);
            for (int64_t k = 0; k < tensor_count(values); k++) /* many are equal */
                ((float *)values->data)[k] = truncf(((float *)values->data)[k]);
            if (addend)
                rig_input(&rig, 4, x, -1, 1);
            check_run(&rig, "mitral.MaxPoolGradient", 1, NULL, expected);
            check_run(&rig, "training.max_pool_gradient", 1, NULL, found);
            assert_memory_equal(found[0].tensor.data, expected[0].tensor.data, tensor_bytes(&found[0].tensor));
            check_threads(&rig, "training.max_pool_gradient", 1, NULL, found);
            rig.inputs[0].tensor.dims[3]++;
            assert_int_equal(run(&rig, "training.max_pool_gradient", 1, NULL, found), MITRAL_INVALID);
            rig_close(&rig);
        }
}

static void test_resizing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct rig rig;
        mitral_value expected[MOST_OUTPUTS], found[MOST_OUTPUTS];
        const int64_t y[] = {2, 3, 2 * sizes[i][0], 2 * sizes[i][1]}, x[] = {2, 3, sizes[i][0], sizes[i][1]}, four[] = {4};
        rig_open(&rig, (uint32_t)i + 1);
        rig_text(&rig, "mode", "linear");
        rig_ints(&rig, "shape", x, 4);
        rig_input(&rig, 4, y, -1, 1);
        rig_absent(&rig);
        float *scales = rig_input(&rig, 1, four, 0, 1)->data;
        scales[0] = scales[1] = 1;
        scales[2] = scales[3] = 2;
        check_run(&rig, "mitral.ResizeGradient", 1, NULL, expected);
        check_run(&rig, "training.resize_gradient", 1, NULL, found);
        check_near("dx", &found[0].tensor, &expected[0].tensor, 1e-6); /* a sum of sixteen in another order */
        check_threads(&rig, "training.resize_gradient", 1, NULL, found);
        rig.inputs[0].tensor.dims[2]++;
        assert_int_equal(run(&rig, "training.resize_gradient", 1, NULL, found), MITRAL_INVALID);
        rig_close(&rig);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_normalization), cmocka_unit_test(test_refused_normalization),
                                       cmocka_unit_test(test_pooled_normalization), cmocka_unit_test(test_summed_gradients),
                                       cmocka_unit_test(test_pooling), cmocka_unit_test(test_pooling_gradient),
                                       cmocka_unit_test(test_means), cmocka_unit_test(test_resizing)};
    rig_bench = argc > 1 && strcmp(argv[1], "--bench") == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
