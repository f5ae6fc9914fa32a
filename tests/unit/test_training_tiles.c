/* The products in bfloat16 of training against the reference kernels of Conv and its gradients on operands that were rounded before: every
 * kind of edge, addends, threads. With --bench: times of the layers of a U-Net beside the kernels of float32. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "planar_support.h"
#include "runtime/kernels/training/tiles.h"

struct form {
    int64_t batch, channels, features, size[2], kernel[2], dilation[2], pads[4];
};

static const struct form forms[] = {
    {2, 32, 32, {20, 32}, {3, 3}, {1, 1}, {1, 1, 1, 1}},   /* whole tiles */
    {2, 16, 48, {33, 48}, {3, 3}, {1, 1}, {1, 1, 1, 1}},
    {1, 64, 32, {150, 224}, {3, 3}, {1, 1}, {1, 1, 1, 1}}, /* several bands */
    {3, 33, 47, {14, 14}, {3, 3}, {1, 1}, {1, 1, 1, 1}},   /* tiles across rows, parts of tiles */
    {5, 130, 70, {7, 7}, {3, 3}, {1, 1}, {1, 1, 1, 1}},    /* several images together */
    {2, 40, 24, {19, 37}, {3, 3}, {2, 2}, {2, 2, 2, 2}},
    {1, 20, 33, {33, 50}, {3, 3}, {8, 8}, {8, 8, 8, 8}},
    {2, 3, 5, {9, 8}, {3, 3}, {3, 3}, {3, 3, 3, 3}},       /* rows shorter than what lies between them */
    {1, 6, 9, {20, 21}, {3, 3}, {1, 1}, {0}},
    {1, 40, 32, {14, 33}, {3, 3}, {3, 1}, {2, 0, 0, 2}},
    {1, 24, 24, {5, 64}, {3, 3}, {1, 8}, {1, 3, 0, 12}},
    {1, 12, 12, {1, 1}, {3, 3}, {1, 1}, {1, 1, 1, 1}},
    {2, 32, 8, {24, 24}, {1, 1}, {1, 1}, {0}},
    {2, 300, 20, {7, 9}, {1, 1}, {1, 1}, {0}},
    {1, 7, 33, {40, 33}, {1, 1}, {1, 1}, {0}},
    {2, 18, 30, {11, 17}, {5, 2}, {1, 2}, {2, 1, 2, 1}},
};
enum { FORMS = sizeof forms / sizeof *forms };

/* Both sum the same products in float32, in another order; over pixels there are more of them, of both signs. */
static const double tolerance = 2e-6, sum_tolerance = 1e-5;

static int64_t positions(const struct form *f, int i)
{
    return f->size[i] + f->pads[i] + f->pads[2 + i] - (f->kernel[i] - 1) * f->dilation[i];
}

static void set_window(struct rig *rig, const struct form *f)
{
    rig_ints(rig, "dilations", f->dilation, 2);
    rig_ints(rig, "pads", f->pads, 4);
}

/* To the nearest bfloat16, ties to even. */
static float rounded(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

static void round_operands(struct rig *rig, bool back)
{
    static float *kept[2];
    for (int i = 0; i < 2; i++) {
        mitral_tensor *tensor = &rig->inputs[i].tensor;
        if (back) {
            tensor->data = kept[i];
            continue;
        }
        kept[i] = tensor->data;
        tensor->data = rig_floats(rig, (size_t)tensor_count(tensor), 0, 1);
        for (int64_t k = 0; k < tensor_count(tensor); k++)
            ((float *)tensor->data)[k] = rounded(kept[i][k]);
    }
}

static mitral_tensor reference(struct rig *rig, const char *kernel)
{
    round_operands(rig, false);
    mitral_tensor expected = rig_check_run(rig, kernel);
    round_operands(rig, true);
    return expected;
}

enum { FORWARD, DATA, WEIGHTS };

static void set_up(struct rig *rig, const struct form *f, int which)
{
    const int64_t x[] = {f->batch, f->channels, f->size[0], f->size[1]}, w[] = {f->features, f->channels, f->kernel[0], f->kernel[1]};
    const int64_t y[] = {f->batch, f->features, positions(f, 0), positions(f, 1)};
    const double range = sqrt(3.0 / (double)((which == DATA ? f->features : f->channels) * f->kernel[0] * f->kernel[1]));
    rig_open(rig, (uint32_t)(f->channels + 100 * which));
    rig_input(rig, 4, which == DATA ? y : x, -1, 1);
    if (which == WEIGHTS)
        rig_input(rig, 4, y, -1, 1);
    else
        rig_input(rig, 4, w, -range, range);
    if (which != FORWARD)
        rig_ints(rig, "shape", which == DATA ? x : w, 4);
    set_window(rig, f);
}

static void check_forward(const struct form *f, bool bias)
{
    struct rig rig;
    set_up(&rig, f, FORWARD);
    if (bias)
        rig_input(&rig, 1, &f->features, -0.5, 0.5);
    mitral_tensor expected = reference(&rig, "Conv");
    rig_check_kernel(&rig, "training.tiles", &expected, (int)(f - forms), tolerance);
    if (!bias)
        rig_absent(&rig);
    rig_add(&expected, rig_input(&rig, 4, expected.dims, -1, 1));
    rig_check_kernel(&rig, "training.tiles", &expected, (int)(f - forms), tolerance);
    rig_close(&rig);
}

static void check_data(const struct form *f)
{
    struct rig rig;
    set_up(&rig, f, DATA);
    mitral_tensor expected = reference(&rig, "mitral.ConvGradientData");
    rig_check_kernel(&rig, "training.tiles_data", &expected, (int)(f - forms), tolerance);
    rig_absent(&rig);
    rig_add(&expected, rig_input(&rig, 4, expected.dims, -1, 1));
    rig_check_kernel(&rig, "training.tiles_data", &expected, (int)(f - forms), tolerance);
    rig_close(&rig);
}

static void check_weights(const struct form *f)
{
    struct rig rig;
    set_up(&rig, f, WEIGHTS);
    mitral_tensor expected = reference(&rig, "mitral.ConvGradientWeights");
    rig_check_kernel(&rig, "training.tiles_weights", &expected, (int)(f - forms), sum_tolerance);
    rig_close(&rig);
}

static void test_forms(void **state)
{
    (void)state;
    if (!training_tile_blocks())
        skip();
    for (int i = 0; i < FORMS; i++) {
        check_forward(&forms[i], i % 2);
        check_data(&forms[i]);
        check_weights(&forms[i]);
    }
}

/* Where there are no tiles the kernels say so; nothing of the kind is planned there. */
static void test_refusals(void **state)
{
    (void)state;
    static const char *const names[] = {"training.tiles", "training.tiles_data", "training.tiles_weights"};
    for (int which = FORWARD; which <= WEIGHTS; which++) {
        struct rig rig;
        set_up(&rig, &forms[0], which);
        assert_int_equal(rig_run(&rig, names[which]), training_tile_blocks() ? MITRAL_OK : MITRAL_UNSUPPORTED);
        rig_close(&rig);
    }
}

static void test_bench(void **state)
{
    (void)state;
    static const struct form layers[] = {
        {8, 32, 32, {224, 224}, {3, 3}, {1, 1}, {1, 1, 1, 1}},  {8, 64, 64, {112, 112}, {3, 3}, {1, 1}, {1, 1, 1, 1}},
        {8, 128, 128, {56, 56}, {3, 3}, {1, 1}, {1, 1, 1, 1}},  {8, 256, 256, {28, 28}, {3, 3}, {1, 1}, {1, 1, 1, 1}},
        {8, 512, 512, {14, 14}, {3, 3}, {1, 1}, {1, 1, 1, 1}},  {8, 16, 16, {56, 56}, {3, 3}, {4, 4}, {4, 4, 4, 4}},
        {8, 64, 32, {112, 112}, {1, 1}, {1, 1}, {0}},
        {8, 8, 8, {224, 224}, {3, 3}, {4, 4}, {4, 4, 4, 4}}, {8, 16, 16, {112, 112}, {3, 3}, {4, 4}, {4, 4, 4, 4}}, {8, 32, 8, {224, 224}, {1, 1}, {1, 1}, {0}}, {8, 16, 64, {112, 112}, {1, 1}, {1, 1}, {0}},
    };
    static const char *const names[][2] = {{"training.convolution", "training.tiles"}, {"training.convolution_data", "training.tiles_data"},
                                           {"training.convolution_weights", "training.tiles_weights"}};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        for (int which = FORWARD; which <= WEIGHTS; which++) {
            double times[2];
            const struct form *f = &layers[i];
            struct rig rig;
            set_up(&rig, f, which);
            rig.repeat = 5;
            for (int k = 0; k < 2; k++) {
                rig_check_run(&rig, names[which][k]);
                times[k] = rig.milliseconds;
            }
            const double work = 2e-6 * (double)(f->batch * f->channels * f->features * f->size[0] * f->size[1] * f->kernel[0] * f->kernel[1]);
            print_message("%4lld -> %4lld at %3lld, %lldx%lld  %-28s %7.2f ms, in bfloat16 %7.2f ms  %7.1f GFLOP/s\n", (long long)f->channels,
                          (long long)f->features, (long long)f->size[0], (long long)f->kernel[0], (long long)f->kernel[1], names[which][0], times[0],
                          times[1], work / times[1]);
            rig_close(&rig);
        }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_refusals)}, bench[] = {cmocka_unit_test(test_bench)};
    rig_bench = argc > 1 && strcmp(argv[1], "--bench") == 0;
    return rig_bench ? cmocka_run_group_tests(bench, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
