/* planar.convolution against the reference kernel Conv: every way, layouts, residual and activation, threads, stored weights.
 * With --bench also the time of some convolutions. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "planar_support.h"
#include "runtime/kernels/planar/convolution.h"

struct form {
    int64_t batch, channels, features, size[2], kernel[2], stride[2], dilation[2], pads[4];
    int64_t groups; /* 0: one */
};

static const struct form forms[] = {
    /* 1×1 */
    {1, 32, 4, {24, 24}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {2, 300, 20, {7, 9}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {1, 64, 32, {40, 33}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {1, 5, 7, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {3, 16, 96, {2, 113}, {1, 1}, {1, 1}, {1, 1}, {0}},
    /* stems */
    {1, 1, 32, {50, 37}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {1, 3, 40, {33, 47}, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}},
    {2, 3, 16, {24, 31}, {3, 3}, {2, 2}, {1, 1}, {0, 0, 1, 1}},
    {1, 4, 9, {19, 21}, {5, 3}, {1, 2}, {2, 1}, {4, 1, 4, 1}},
    {1, 3, 5, {20, 20}, {4, 4}, {4, 4}, {1, 1}, {0}},
    {1, 2, 3, {9, 30}, {3, 3}, {3, 3}, {3, 4}, {2, 5, 2, 3}},
    /* 3×3 */
    {1, 16, 16, {28, 28}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {2, 24, 40, {17, 23}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {1, 40, 24, {31, 20}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}},
    {1, 13, 17, {30, 30}, {3, 3}, {1, 1}, {6, 6}, {6, 6, 6, 6}},
    {1, 32, 16, {20, 20}, {3, 3}, {1, 1}, {1, 1}, {0}},
    {1, 16, 80, {12, 50}, {3, 3}, {1, 1}, {1, 1}, {2, 0, 0, 2}},
    {1, 96, 130, {14, 14}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {1, 20, 20, {15, 15}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}},
    {1, 20, 12, {15, 15}, {3, 1}, {1, 1}, {2, 1}, {2, 0, 2, 0}},
    {1, 20, 12, {15, 15}, {1, 3}, {1, 1}, {1, 4}, {0, 4, 0, 4}},
    {5, 16, 16, {4, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {1, 12, 12, {1, 1}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    /* taps that read more padding than pixels, or nothing else */
    {1, 64, 70, {21, 21}, {3, 3}, {1, 1}, {18, 18}, {18, 18, 18, 18}},
    {2, 96, 20, {9, 11}, {3, 3}, {1, 1}, {12, 6}, {12, 6, 12, 6}},
    {1, 64, 130, {5, 8}, {5, 3}, {1, 1}, {2, 3}, {4, 3, 4, 3}},
    {3, 70, 16, {6, 7}, {3, 3}, {1, 1}, {9, 2}, {9, 0, 9, 4}},
    /* weights in narrow panels */
    {1, 80, 176, {7, 7}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {2, 65, 48, {9, 8}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {1, 96, 112, {14, 15}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {1, 72, 32, {15, 15}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}},
    {2, 96, 48, {9, 11}, {3, 3}, {1, 1}, {12, 6}, {12, 6, 12, 6}},
    /* 1×1 of some pixels */
    {2, 24, 40, {17, 12}, {1, 1}, {2, 2}, {1, 1}, {0}},
    {1, 80, 176, {14, 29}, {1, 1}, {3, 2}, {1, 1}, {0}},
    {1, 32, 20, {12, 12}, {1, 1}, {1, 4}, {1, 1}, {0, 0, 0, 1}},
    /* one vector of outputs, or half of one: few and many pixels, odd and deep */
    {1, 64, 1, {5, 1}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {2, 30, 3, {1, 13}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {1, 33, 8, {6, 6}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {1, 514, 6, {5, 5}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {3, 512, 5, {3, 31}, {1, 1}, {1, 1}, {1, 1}, {0}},
    {1, 32, 8, {23, 13}, {1, 1}, {1, 1}, {1, 1}, {0}},
    /* depthwise: vectors and parts of one, few and many pixels, windows that lie in the padding in part or in whole */
    {1, 64, 64, {19, 23}, {3, 3}, {1, 1}, {6, 6}, {6, 6, 6, 6}, 64},
    {2, 21, 21, {17, 14}, {7, 5}, {1, 1}, {3, 2}, {9, 4, 9, 4}, 21},
    {1, 40, 40, {24, 33}, {3, 3}, {2, 2}, {1, 1}, {1, 0, 1, 2}, 40},
    {3, 19, 19, {5, 3}, {3, 3}, {1, 1}, {4, 5}, {4, 5, 4, 5}, 19},
    {1, 48, 48, {13, 31}, {1, 31}, {3, 1}, {1, 1}, {0, 15, 0, 15}, 48},
    {2, 24, 24, {12, 18}, {16, 3}, {1, 2}, {2, 3}, {20, 7, 20, 1}, 24},
    {1, 33, 33, {4, 6}, {1, 1}, {1, 1}, {1, 1}, {0}, 33},
    /* groups: less than a vector, parts of one at the end, more than a panel, narrow panels */
    {1, 12, 6, {5, 7}, {1, 1}, {1, 1}, {1, 1}, {0}, 3},
    {2, 24, 112, {9, 8}, {1, 1}, {1, 1}, {1, 1}, {0}, 4},
    {1, 136, 136, {14, 13}, {1, 1}, {1, 1}, {1, 1}, {0}, 4},
    {1, 20, 140, {16, 15}, {1, 1}, {1, 1}, {1, 1}, {0}, 2},
    {3, 330, 288, {4, 5}, {1, 1}, {1, 1}, {1, 1}, {0}, 2},
};
enum { FORMS = sizeof forms / sizeof *forms };

static int64_t groups_of(const struct form *f)
{
    return f->groups > 0 ? f->groups : 1;
}

static bool is_depthwise(const struct form *f)
{
    return f->groups > 1 && f->groups == f->channels && f->groups == f->features;
}

static void set_up(struct rig *rig, const struct form *f, bool bias)
{
    int64_t x[] = {f->batch, f->channels, f->size[0], f->size[1]}, group = groups_of(f);
    int64_t w[] = {f->features, f->channels / group, f->kernel[0], f->kernel[1]};
    double range = sqrt(3.0 / (double)(f->channels / group * f->kernel[0] * f->kernel[1]));
    rig_input(rig, 4, x, -1, 1);
    rig_input(rig, 4, w, -range, range);
    if (bias)
        rig_input(rig, 1, &f->features, -0.5, 0.5);
    rig_ints(rig, "strides", f->stride, 2);
    rig_ints(rig, "dilations", f->dilation, 2);
    rig_ints(rig, "pads", f->pads, 4);
    rig_int(rig, "group", group);
}

static void check_run(struct rig *rig, const char *kernel)
{
    mitral_status status = rig_run(rig, kernel);
    if (status != MITRAL_OK)
        print_error("%s: %s\n", kernel, mitral_context_message(rig->context));
    assert_int_equal(status, MITRAL_OK);
}

/* Winograd's F(4, 3) in both directions loses up to two more bits than the direct sum, which itself is below 1e-6 of the range off
 * here. */
static const double tolerance = 4e-6;
/* Of operands of 8 bits. */
static const double rounded_tolerance = 1e-2;

static void check_form(const struct form *form, bool bfloat16)
{
    struct rig rig;
    rig_open(&rig, (uint32_t)(form - forms) + 1);
    set_up(&rig, form, true);
    check_run(&rig, "Conv");
    mitral_tensor expected = rig.output.tensor;
    rig_int(&rig, "bfloat16", bfloat16);
    /* Groups: to channels-last data alone; depthwise: from it, too. */
    for (int layouts = is_depthwise(form) ? 3 : form->groups > 0 ? 2 : 0; layouts < 4; layouts++) {
        rig.inputs[0].tensor = rig_relayout(&rig, &rig.inputs[0].tensor, layouts & 1);
        rig.output.tensor = (mitral_tensor){.layout = layouts >> 1};
        rig.threads = 1;
        check_run(&rig, "planar.convolution");
        double distance = rig_distance(&rig.output.tensor, &expected);
        const bool rounded = strstr(rig.description, "bf16") != NULL;
        assert_int_equal(rounded, bfloat16 && form->groups == 0 && strstr(rig.description, "pointwise:channels") != NULL);
        if (!(distance <= (rounded ? rounded_tolerance : tolerance)))
            print_error("form %d, layouts %d: %s is %g off\n", (int)(form - forms), layouts, rig.description, distance);
        assert_true(distance <= (rounded ? rounded_tolerance : tolerance));
        mitral_tensor first = rig.output.tensor;
        for (int threads = 2; threads <= 4; threads++) {
            rig.threads = threads;
            rig.output.tensor = (mitral_tensor){.layout = layouts >> 1};
            check_run(&rig, "planar.convolution");
            assert_memory_equal(rig.output.tensor.data, first.data, tensor_bytes(&first));
        }
    }
    rig_close(&rig);
}

/* Channels-last maps of bfloat16 in memory, the sums as of float32: only what is read and written is rounded. Bit 0: x, bit 1: y. */
static void check_rounded_maps(const struct form *form, int which, bool residual)
{
    enum { OF_X = 1, OF_Y = 2 };
    const double half_place = 0x1p-8;
    struct rig rig;
    rig_open(&rig, (uint32_t)(form - forms) + 1);
    set_up(&rig, form, true);
    mitral_tensor *x = &rig.inputs[0].tensor, placed = rig_relayout(&rig, x, LAYOUT_CHANNELS_LAST);
    placed = rig_recast(&rig, &placed, which & OF_X ? MITRAL_BFLOAT16 : MITRAL_FLOAT);
    const mitral_tensor wide = rig_recast(&rig, &placed, MITRAL_FLOAT);
    *x = rig_relayout(&rig, &wide, LAYOUT_PLAIN);
    check_run(&rig, "Conv");
    mitral_tensor expected = rig.output.tensor;
    if (residual) {
        mitral_tensor *added = rig_input(&rig, 4, expected.dims, -1, 1);
        rig_add(&expected, added);
        *added = rig_relayout(&rig, added, LAYOUT_CHANNELS_LAST);
    }
    *x = placed;
    rig_int(&rig, "input_bfloat16", which & OF_X);
    rig_int(&rig, "output_bfloat16", which & OF_Y);
    mitral_tensor first = {.data = NULL};
    for (rig.threads = 1; rig.threads <= 3; rig.threads++) {
        rig.output.tensor = (mitral_tensor){.layout = LAYOUT_CHANNELS_LAST};
        const mitral_status status = rig_run(&rig, "planar.convolution");
        if (status != MITRAL_OK) { /* ways that have no such maps, and odd numbers of channels, say so */
            assert_int_equal(status, MITRAL_UNSUPPORTED);
            assert_non_null(strstr(mitral_context_message(rig.context), "channels-last maps, of an even number of channels, and a way that rounds"));
            break;
        }
        assert_int_equal(rig.output.tensor.dtype, which & OF_Y ? MITRAL_BFLOAT16 : MITRAL_FLOAT);
        if (first.data) {
            assert_memory_equal(rig.output.tensor.data, first.data, tensor_bytes(&first));
            continue;
        }
        first = rig.output.tensor;
        const mitral_tensor result = rig_recast(&rig, &first, MITRAL_FLOAT);
        assert_true(rig_distance(&result, &expected) <= (which & OF_Y ? half_place : tolerance));
    }
    rig_close(&rig);
}

static void test_rounded_maps(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++)
        for (int which = 1; which <= 3; which++)
            check_rounded_maps(&forms[i], which, which == 2 && i % 2 == 0);
}

/* The map's channels in parts of `sizes`: the same bits as of the whole; bit i of `rounded`: part i is bfloat16 in memory. */
static void check_parts(const struct form *form, const int64_t *sizes, size_t count, int rounded, bool together)
{
    struct rig rig;
    rig_open(&rig, 7);
    set_up(&rig, form, true);
    mitral_tensor *x = &rig.inputs[0].tensor;
    *x = rig_relayout(&rig, x, LAYOUT_CHANNELS_LAST);
    mitral_tensor whole = rig_recast(&rig, x, MITRAL_BFLOAT16);
    *x = whole = rig_recast(&rig, &whole, MITRAL_FLOAT);
    rig.output.tensor = (mitral_tensor){.layout = LAYOUT_CHANNELS_LAST};
    check_run(&rig, "planar.convolution");
    const mitral_tensor expected = rig.output.tensor;
    rig_absent(&rig);
    rig_absent(&rig);
    int64_t channel = 0;
    for (size_t i = 0; i < count; channel += sizes[i], i++) {
        const int64_t dims[] = {form->batch, sizes[i], form->size[0], form->size[1]};
        mitral_tensor *part = i == 0 ? x : rig_input(&rig, 4, dims, -1, 1);
        mitral_tensor values = whole;
        values.dims[1] = sizes[i];
        values.data = rig_floats(&rig, (size_t)tensor_count(&values), -1, 1);
        for (int64_t k = 0; k < tensor_count(&values); k++)
            ((float *)values.data)[k] = ((const float *)whole.data)[k / sizes[i] * form->channels + channel + k % sizes[i]];
        *part = rig_recast(&rig, &values, rounded >> i & 1 ? MITRAL_BFLOAT16 : MITRAL_FLOAT);
    }
    for (rig.threads = 1; rig.threads <= 3; rig.threads++) {
        rig.output.tensor = (mitral_tensor){.layout = LAYOUT_CHANNELS_LAST};
        check_run(&rig, "planar.convolution");
        assert_non_null(strstr(rig.description, "maps"));
        if (together || !strstr(rig.description, "winograd"))
            assert_non_null(strstr(rig.description, "brought together"));
        assert_int_equal(rig.output.tensor.dtype, MITRAL_FLOAT);
        assert_memory_equal(rig.output.tensor.data, expected.data, tensor_bytes(&expected));
    }
    rig.inputs[5].tensor.dims[2]++;
    assert_int_equal(rig_run(&rig, "planar.convolution"), MITRAL_INVALID);
    rig_close(&rig);
}

static void test_parts(void **state)
{
    (void)state;
    static const struct form winograd = {2, 80, 40, {17, 23}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}};
    static const struct form dilated = {1, 75, 24, {31, 20}, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}};
    static const struct form pointwise = {1, 80, 32, {20, 13}, {1, 1}, {1, 1}, {1, 1}, {0}};
    for (int rounded = 0; rounded < 8; rounded++) {
        check_parts(&winograd, (const int64_t[]){32, 48}, 2, rounded & 3, false);
        check_parts(&winograd, (const int64_t[]){16, 32, 32}, 3, rounded, false);
        check_parts(&winograd, (const int64_t[]){40, 30, 10}, 3, rounded, true);
        check_parts(&dilated, (const int64_t[]){32, 43}, 2, rounded & 3, false);
        check_parts(&pointwise, (const int64_t[]){32, 48}, 2, rounded & 3, true);
    }
}

static void test_forms(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++)
        check_form(&forms[i], false);
}

static void test_bfloat16(void **state)
{
    (void)state;
    if (!planar_pair_blocks())
        skip();
    for (int i = 0; i < FORMS; i++)
        check_form(&forms[i], true);
}

/* ---- residual and activation ------------------------------------------------------------------------------------------- */

static float follow(const char *activation, float value, float slope)
{
    const double x = (double)value, sigmoid = 1 / (1 + exp(-x));
    if (strcmp(activation, "Clip") == 0)
        return value < -0.5f ? -0.5f : value > 1 ? 1 : value;
    if (strcmp(activation, "HardSigmoid") == 0)
        return (float)fmin(fmax(0.25 * x + 0.5, 0), 1);
    if (strcmp(activation, "HardSwish") == 0)
        return (float)(x * fmin(fmax(x / 6 + 0.5, 0), 1));
    if (strcmp(activation, "Sigmoid") == 0)
        return (float)sigmoid;
    if (strcmp(activation, "Swish") == 0)
        return (float)(x / (1 + exp(-0.25 * x)));
    if (strcmp(activation, "GeluTanh") == 0)
        return (float)(0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))));
    if (strcmp(activation, "Mish") == 0)
        return (float)(x * tanh(log1p(exp(x))));
    if (strcmp(activation, "Relu") == 0)
        return value > 0 ? value : 0;
    return !*activation || value > 0 ? value : slope * value;
}

/* `scaled`: 1.5 times the activation, plus 0.75. */
static void check_ends(const struct form *form, const char *activation, bool residual, int layout, bool scaled)
{
    struct rig rig;
    rig_open(&rig, 5);
    set_up(&rig, form, false);
    rig_absent(&rig);
    check_run(&rig, "Conv");
    mitral_tensor expected = rig.output.tensor;
    float *values = expected.data, *slopes = NULL;
    const bool clips = strcmp(activation, "Clip") == 0;
    const float *added = residual ? rig_input(&rig, 4, expected.dims, -1, 1)->data : NULL;
    if (!residual)
        rig_absent(&rig);
    if (strcmp(activation, "PRelu") == 0)
        slopes = rig_input(&rig, 1, &form->features, -0.5, 0.5)->data;
    int64_t pixels = expected.dims[2] * expected.dims[3];
    for (int64_t i = 0; i < tensor_count(&expected); i++)
        values[i] = follow(activation, values[i] + (added ? added[i] : 0), slopes ? slopes[i / pixels % form->features] : 0.25f)
                    * (scaled ? 1.5f : 1) + (scaled ? 0.75f : 0);
    if (*activation)
        rig_text(&rig, "activation", activation);
    assert_int_equal(attributes_set_float(&rig.attributes, &rig.arena, "activation_alpha", clips ? -0.5f : 0.25f), MITRAL_OK);
    assert_int_equal(attributes_set_float(&rig.attributes, &rig.arena, "activation_beta", clips ? 1 : 0.5f), MITRAL_OK);
    if (scaled) {
        assert_int_equal(attributes_set_float(&rig.attributes, &rig.arena, "activation_scale", 1.5f), MITRAL_OK);
        assert_int_equal(attributes_set_float(&rig.attributes, &rig.arena, "activation_shift", 0.75f), MITRAL_OK);
    }
    rig.inputs[0].tensor = rig_relayout(&rig, &rig.inputs[0].tensor, layout);
    if (residual)
        rig.inputs[3].tensor = rig_relayout(&rig, &rig.inputs[3].tensor, layout);
    rig.output.tensor = (mitral_tensor){.layout = layout};
    check_run(&rig, "planar.convolution");
    const double distance = rig_distance(&rig.output.tensor, &expected);
    if (!(distance <= tolerance))
        print_error("form %d, %s, layout %d, residual %d, scaled %d: %s is %g off\n", (int)(form - forms), activation, layout, residual, scaled,
                    rig.description, distance);
    assert_true(distance <= tolerance);
    rig_close(&rig);
}

static void test_ends(void **state)
{
    (void)state;
    static const char *const activations[] = {"", "Relu", "LeakyRelu", "PRelu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid", "Swish",
                                              "GeluTanh", "Mish"};
    enum { ACTIVATIONS = sizeof activations / sizeof *activations };
    static const int chosen[] = {0, 1, 5, 6, 11, 12, 17, 20, 23, 25, FORMS - 12, FORMS - 11, FORMS - 10, FORMS - 7, FORMS - 6, FORMS - 3};
    for (size_t i = 0; i < sizeof chosen / sizeof *chosen; i++)
        for (int a = 0; a < ACTIVATIONS; a++)
            for (int variant = 0; variant < 8; variant++)
                if ((variant < 4 || (*activations[a] && strcmp(activations[a], "PRelu") != 0))
                    && (variant >> 1 & 1 || forms[chosen[i]].groups == 0))
                    check_ends(&forms[chosen[i]], activations[a], variant & 1, variant >> 1 & 1, variant >> 2);
}

/* A softmax over features that ought to be alike shows the last bit of large ones. */
static void test_equal_features(void **state)
{
    (void)state;
    static const struct form form = {1, 96, 104, {5, 7}, {1, 1}, {1, 1}, {1, 1}, {0}};
    struct rig rig;
    rig_open(&rig, 3);
    set_up(&rig, &form, false);
    float *weights = rig.inputs[1].tensor.data;
    for (int64_t i = form.channels; i < form.features * form.channels; i++)
        weights[i] = weights[i % form.channels];
    rig.inputs[0].tensor = rig_relayout(&rig, &rig.inputs[0].tensor, LAYOUT_CHANNELS_LAST);
    rig.output.tensor = (mitral_tensor){.layout = LAYOUT_CHANNELS_LAST};
    check_run(&rig, "planar.convolution");
    const float *pixels = rig.output.tensor.data;
    for (int64_t i = 0; i < tensor_count(&rig.output.tensor); i++)
        assert_true(pixels[i] == pixels[i / form.features * form.features]);
    rig_close(&rig);
}

static void test_stored_weights(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++)
        for (int layout = forms[i].groups > 0; layout < 2; layout++) {
            struct rig rig;
            rig_open(&rig, 2);
            set_up(&rig, &forms[i], true);
            rig.inputs[0].tensor = rig_relayout(&rig, &rig.inputs[0].tensor, layout);
            rig.output.tensor = (mitral_tensor){.layout = layout};
            check_run(&rig, "planar.convolution");
            mitral_tensor first = rig.output.tensor;
            assert_non_null(rig.packed[1].data);
            rig.inputs[1].tensor = rig.packed[1];
            check_run(&rig, "planar.convolution");
            assert_null(rig.packed[1].data);
            assert_memory_equal(rig.output.tensor.data, first.data, tensor_bytes(&first));
            if (forms[i].groups > 0) {
                rig_close(&rig);
                continue;
            }
            rig.output.tensor.layout = !layout; /* another way: packed again from what is stored */
            check_run(&rig, "planar.convolution");
            assert_true(rig_distance(&rig.output.tensor, &first) <= 2 * tolerance);
            rig_close(&rig);
        }
}

static void test_refusals(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 2);
    set_up(&rig, &forms[11], true);
    rig_text(&rig, "activation", "Sin");
    assert_int_equal(rig_run(&rig, "planar.convolution"), MITRAL_UNSUPPORTED);
    assert_non_null(strstr(mitral_context_message(rig.context), "Sin"));
    rig_text(&rig, "activation", "");
    rig.inputs[1].tensor.dims[1] = 8;
    rig_int(&rig, "group", 2);
    assert_int_equal(rig_run(&rig, "planar.convolution"), MITRAL_UNSUPPORTED);
    rig_int(&rig, "group", 3);
    assert_int_equal(rig_run(&rig, "planar.convolution"), MITRAL_INVALID);
    rig_close(&rig);
    rig_open(&rig, 2);
    set_up(&rig, &forms[FORMS - 1], true);
    assert_int_equal(rig_run(&rig, "planar.convolution"), MITRAL_UNSUPPORTED);
    assert_non_null(strstr(mitral_context_message(rig.context), "channels-last 1x1"));
    rig_close(&rig);
}

static void bench_convolutions(void **state)
{
    (void)state;
    if (!rig_bench)
        skip();
    static const struct form timed[] = {
        {1, 1, 32, {224, 224}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
        {1, 32, 4, {224, 224}, {1, 1}, {1, 1}, {1, 1}, {0}},
        {1, 64, 32, {112, 112}, {1, 1}, {1, 1}, {1, 1}, {0}},
        {1, 160, 128, {14, 14}, {1, 1}, {1, 1}, {1, 1}, {0}},
        {1, 3, 64, {224, 224}, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}},
        {1, 32, 32, {224, 224}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
        {1, 64, 64, {112, 112}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
        {1, 128, 128, {56, 56}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
        {1, 256, 256, {28, 28}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
        {1, 512, 512, {14, 14}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
        {1, 512, 512, {7, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
        {1, 256, 64, {56, 56}, {1, 1}, {1, 1}, {1, 1}, {0}},
        {1, 1024, 256, {14, 14}, {1, 1}, {1, 1}, {1, 1}, {0}},
    };
    for (size_t i = 0; i < sizeof timed / sizeof *timed; i++)
        for (int layout = 0; layout < 2; layout++) {
            struct rig rig;
            double own[2];
            rig_open(&rig, 1);
            set_up(&rig, &timed[i], true);
            rig.inputs[0].tensor = rig_relayout(&rig, &rig.inputs[0].tensor, layout);
            rig.repeat = 15;
            for (int k = 0; k < 2; k++) {
                rig.output.tensor.layout = layout;
                check_run(&rig, k ? "onednn.convolution" : "planar.convolution");
                own[k] = rig.milliseconds;
                if (k == 0)
                    printf("%4d -> %-3d %3dx%-3d %dx%d/%d %s %-26s", (int)timed[i].channels, (int)timed[i].features, (int)timed[i].size[0],
                           (int)timed[i].size[1], (int)timed[i].kernel[0], (int)timed[i].kernel[1], (int)timed[i].stride[0],
                           layout ? "last " : "plain", rig.description);
            }
            mitral_tensor y = rig.output.tensor;
            double flops = 2e-6 * (double)(tensor_count(&y) * timed[i].channels * timed[i].kernel[0] * timed[i].kernel[1]);
            printf(" %7.3f ms %4.0f GFLOP/s, oneDNN %7.3f ms\n", own[0], flops / own[0], own[1]);
            rig_close(&rig);
        }
}

int main(int argc, char **argv)
{
    rig_bench = argc > 1 && strcmp(argv[1], "--bench") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_bfloat16),
        cmocka_unit_test(test_rounded_maps),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_equal_features),
        cmocka_unit_test(test_stored_weights),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(bench_convolutions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
