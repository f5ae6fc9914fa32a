/* planar.dilated_block against mitral.DilatedParallelBlock: the forms of other networks, which run stage by stage. */
#include <math.h>
#include <string.h>

#include "planar_support.h"
#include "runtime/kernels/planar/dilated.h"

struct stage {
    int64_t from, kind, groups, channels, outputs, kernel[2], stride, dilation[2], activation;
    bool bias;
};

struct ends {
    const char *merge;
    int64_t running_from, branches[6];
    size_t branch_count;
    int64_t merged_channels, outputs, affine, merged_activation, shortcut, shortcut_first, shortcut_stage, tail, gate[2], activation;
};

static void add_stages(struct rig *rig, const struct stage *stages, size_t count)
{
    int64_t fields[12 * DILATED_STAGES];
    for (size_t i = 0; i < count; i++) {
        const struct stage *s = &stages[i];
        int64_t *f = fields + 12 * i, pads[2] = {s->kernel[0] / 2 * s->dilation[0], s->kernel[1] / 2 * s->dilation[1]};
        const int64_t dims[] = {s->outputs, s->channels / s->groups, s->kernel[0], s->kernel[1]};
        const int64_t values[] = {s->from, s->kind, s->groups, s->stride, s->stride, s->dilation[0], s->dilation[1],
                                  pads[0], pads[1], pads[0], pads[1], s->activation};
        double range = sqrt(3.0 / (double)(dims[1] * dims[2] * dims[3]));
        memcpy(f, values, sizeof values);
        if (s->kind == STAGE_ACTIVATION)
            rig_absent(rig);
        else
            rig_input(rig, 4, dims, -range, range);
        if (s->bias)
            rig_input(rig, 1, &s->outputs, -0.3, 0.3);
        else
            rig_absent(rig);
        if (s->activation == PLANAR_SLOPE)
            rig_input(rig, 1, &s->outputs, -0.5, 0.5);
        else
            rig_absent(rig);
    }
    rig_ints(rig, "stages", fields, 12 * count);
}

static void add_ends(struct rig *rig, const struct ends *e)
{
    for (int i = 0; i < 2; i++)
        if (e->affine)
            rig_input(rig, 1, &e->merged_channels, i ? -0.5 : 0.5, i ? 0.5 : 1.5);
        else
            rig_absent(rig);
    if (e->merged_activation == PLANAR_SLOPE)
        rig_input(rig, 1, &e->merged_channels, -0.5, 0.5);
    else
        rig_absent(rig);
    if (e->activation == PLANAR_SLOPE)
        rig_input(rig, 1, &e->outputs, -0.5, 0.5);
    else
        rig_absent(rig);
    rig_text(rig, "merge", e->merge);
    rig_int(rig, "running_from", e->running_from);
    rig_ints(rig, "branches", e->branches, e->branch_count);
    rig_int(rig, "merged_activation", e->merged_activation);
    rig_int(rig, "shortcut", e->shortcut);
    rig_int(rig, "shortcut_first", e->shortcut_first);
    rig_int(rig, "shortcut_stage", e->shortcut_stage);
    rig_int(rig, "tail", e->tail);
    rig_int(rig, "gate_first", e->gate[0]);
    rig_int(rig, "gate_second", e->gate[1]);
    rig_int(rig, "activation", e->activation);
}

/* ESPNetv2's EESP: grouped reduction, depthwise branches, sums with the first, grouped tail. */
static const struct stage eesp[] = {
    {FROM_X, 0, 4, 32, 16, {1, 1}, 1, {1, 1}, 2, true}, {0, 0, 16, 16, 16, {3, 3}, 1, {1, 1}, 0, false},
    {0, 0, 16, 16, 16, {3, 3}, 1, {2, 2}, 0, false},    {0, 0, 16, 16, 16, {3, 3}, 1, {3, 3}, 0, false},
    {0, 0, 16, 16, 16, {3, 3}, 1, {4, 4}, 0, false},    {FROM_MERGED, 0, 4, 64, 32, {1, 1}, 1, {1, 1}, 0, true},
};
static const struct ends eesp_ends = {"running", 0, {1, 2, 3, 4}, 4, 64, 32, 1, 2, SHORTCUT_IDENTITY, 0, -1, 5, {-1, -1}, 2};
/* ESPNet's downsampler: a reduction of stride 2. */
static const struct stage down[] = {
    {FROM_X, 0, 1, 12, 8, {3, 3}, 2, {1, 1}, 0, false}, {0, 0, 1, 8, 9, {3, 3}, 1, {1, 1}, 0, false},
    {0, 0, 1, 8, 8, {3, 3}, 1, {2, 2}, 0, false},       {0, 0, 1, 8, 8, {3, 3}, 1, {4, 4}, 0, false},
};
static const struct ends down_ends = {"running", 1, {1, 2, 3}, 3, 25, 25, 1, 0, SHORTCUT_NONE, 0, -1, -1, {-1, -1}, 2};
/* CE-Net's DAC: chains that share their beginnings, an activation of a map that others read too. */
static const struct stage dac[] = {
    {FROM_X, 0, 1, 20, 20, {3, 3}, 1, {1, 1}, 0, true}, {0, STAGE_ACTIVATION, 1, 20, 20, {1, 1}, 1, {1, 1}, 1, false},
    {FROM_X, 0, 1, 20, 20, {3, 3}, 1, {3, 3}, 0, true}, {2, 0, 1, 20, 20, {1, 1}, 1, {1, 1}, 1, true},
    {0, 0, 1, 20, 20, {3, 3}, 1, {3, 3}, 0, true},      {4, 0, 1, 20, 20, {1, 1}, 1, {1, 1}, 1, true},
    {4, 0, 1, 20, 20, {3, 3}, 1, {5, 5}, 0, true},      {6, 0, 1, 20, 20, {1, 1}, 1, {1, 1}, 1, true},
};
static const struct ends dac_ends = {"sum", 0, {1, 3, 5, 7}, 4, 20, 20, 0, 0, SHORTCUT_IDENTITY, 0, -1, -1, {-1, -1}, 0};
/* CGNet: two depthwise branches, a gate. */
static const struct stage cgnet[] = {
    {FROM_X, 0, 1, 24, 12, {1, 1}, 1, {1, 1}, 2, true}, {0, 0, 12, 12, 12, {3, 3}, 1, {1, 1}, 0, false},
    {0, 0, 12, 12, 12, {3, 3}, 1, {2, 2}, 0, false},    {FROM_GATE, 0, 1, 24, 3, {1, 1}, 1, {1, 1}, 1, true},
    {3, 0, 1, 3, 24, {1, 1}, 1, {1, 1}, 0, true},
};
static const struct ends cgnet_ends = {"concat", 0, {1, 2}, 2, 24, 24, 1, 2, SHORTCUT_IDENTITY, 0, -1, -1, {3, 4}, 0};
/* DABNet: asymmetric depthwise pairs, summed, a tail, a shortcut that is not x. */
static const struct stage dabnet[] = {
    {FROM_X, 0, 1, 16, 8, {3, 3}, 1, {1, 1}, 2, true},  {0, 0, 8, 8, 8, {3, 1}, 1, {1, 1}, 2, true},
    {1, 0, 8, 8, 8, {1, 3}, 1, {1, 1}, 2, true},        {0, 0, 8, 8, 8, {3, 1}, 1, {4, 1}, 2, true},
    {3, 0, 8, 8, 8, {1, 3}, 1, {1, 4}, 2, true},        {FROM_MERGED, 0, 1, 8, 16, {1, 1}, 1, {1, 1}, 0, false},
};
static const struct ends dabnet_ends = {"sum", 0, {2, 4}, 2, 8, 16, 1, 2, SHORTCUT_INPUT, 0, -1, 5, {-1, -1}, 0};
/* ASPP: a 1×1 branch, dilated ones, the whole map's mean, a tail with its own activation. */
static const struct stage aspp[] = {
    {FROM_X, 0, 1, 40, 24, {1, 1}, 1, {1, 1}, 1, true},  {FROM_X, 0, 1, 40, 24, {3, 3}, 1, {6, 6}, 1, true},
    {FROM_X, 0, 1, 40, 24, {3, 3}, 1, {12, 12}, 1, true}, {FROM_X, STAGE_GLOBAL, 1, 40, 24, {1, 1}, 1, {1, 1}, 1, true},
    {FROM_MERGED, 0, 1, 96, 20, {1, 1}, 1, {1, 1}, 1, true},
};
static const struct ends aspp_ends = {"concat", 0, {0, 1, 2, 3}, 4, 96, 20, 0, 0, SHORTCUT_NONE, 0, -1, 4, {-1, -1}, 0};
/* Inception: each branch its own reduction. */
static const struct stage inception[] = {
    {FROM_X, 0, 1, 16, 6, {1, 1}, 1, {1, 1}, 1, true}, {0, 0, 1, 6, 10, {3, 3}, 1, {1, 1}, 1, true},
    {FROM_X, 0, 1, 16, 5, {1, 1}, 1, {1, 1}, 1, true}, {2, 0, 1, 5, 7, {3, 3}, 1, {2, 2}, 1, true},
    {FROM_X, 0, 1, 16, 13, {1, 1}, 1, {1, 1}, 1, true}, {4, 0, 1, 13, 14, {3, 3}, 1, {3, 3}, 1, true},
};
static const struct ends inception_ends = {"concat", 0, {1, 3, 5}, 3, 31, 31, 1, 1, SHORTCUT_NONE, 0, -1, -1, {-1, -1}, 2};

static void check_stages(const struct stage *stages, size_t count, const struct ends *ends, int64_t height, int64_t width)
{
    struct rig rig;
    const int64_t batch = height % 2 + 1, scale = SCALE_SAME;
    rig_open(&rig, (uint32_t)(height + count));
    rig_input(&rig, 4, (int64_t[]){batch, stages[0].channels, height, width}, -1, 1);
    rig_ints(&rig, "source_scale", &scale, 1);
    add_stages(&rig, stages, count);
    add_ends(&rig, ends);
    if (ends->shortcut == SHORTCUT_INPUT)
        rig_input(&rig, 4, (int64_t[]){batch, ends->outputs, height, width}, -1, 1);
    size_t last = rig.input_count - 1;
    rig_must_run(&rig, "mitral.DilatedParallelBlock");
    mitral_tensor expected = rig.output.tensor, first;
    for (int layouts = 0; layouts < 4; layouts++) {
        rig.inputs[0].tensor = rig_relayout(&rig, &rig.inputs[0].tensor, layouts & 1);
        if (ends->shortcut == SHORTCUT_INPUT)
            rig.inputs[last].tensor = rig_relayout(&rig, &rig.inputs[last].tensor, layouts & 1);
        for (int threads = 1; threads <= 3; threads++) {
            rig.threads = threads;
            rig.output.tensor = (mitral_tensor){.layout = layouts >> 1};
            rig_must_run(&rig, "planar.dilated_block");
            double distance = rig_distance(&rig.output.tensor, &expected);
            if (!(distance <= rig_exact_tolerance))
                print_error("%zu stages, layouts %d: %s is %g off\n", count, layouts, rig.description, distance);
            assert_true(distance <= rig_exact_tolerance);
            if (threads == 1)
                first = rig.output.tensor;
            assert_memory_equal(rig.output.tensor.data, first.data, tensor_bytes(&first));
        }
    }
    for (size_t i = 0; i < rig.input_count; i++)
        if (rig.packed[i].data)
            rig.inputs[i].tensor = rig.packed[i];
    rig_must_run(&rig, "planar.dilated_block");
    assert_memory_equal(rig.output.tensor.data, first.data, tensor_bytes(&first));
    for (size_t i = 0; i < rig.input_count; i++)
        assert_null(rig.packed[i].data);
    rig_close(&rig);
}

#define CHECK_STAGES(name)                                                                                             \
    for (int size = 0; size < 3; size++)                                                                               \
    check_stages(name, sizeof name / sizeof *name, &name##_ends, size == 0 ? 20 : size == 1 ? 13 : 4, size == 0 ? 24 : size == 1 ? 31 : 3)

static void test_stages(void **state)
{
    (void)state;
    CHECK_STAGES(eesp);
    CHECK_STAGES(down);
    CHECK_STAGES(dac);
    CHECK_STAGES(cgnet);
    CHECK_STAGES(dabnet);
    CHECK_STAGES(aspp);
    CHECK_STAGES(inception);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
