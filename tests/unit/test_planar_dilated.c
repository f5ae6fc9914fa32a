/* planar.dilated_block against mitral.DilatedParallelBlock: forms, sizes, layouts, threads, stored weights, bad forms.
 * With --bench also the time of DPU-Net's blocks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planar_support.h"
#include "runtime/kernels/planar/dilated.h"

struct form {
    int64_t batch, size[2], channels[2], scales[2], reduced, outputs;
    int branches;
    int64_t dilations[6], branch_channels[6];
    const char *merge;
    int64_t running_from, shortcut, shortcut_first, reduce_activation, activation;
    bool affine;
    int64_t head, head_activation;
};

static const struct form forms[] = {
    /* DPU-Net: identity, projection, pooled, decoder. */
    {1, {40, 40}, {32}, {1}, 8, 32, 4, {1, 2, 4, 8}, {8, 8, 8, 8}, "running", 1, 1, 0, 1, 1, true},
    {1, {38, 53}, {64}, {1}, 16, 64, 4, {1, 2, 4, 8}, {16, 16, 16, 16}, "running", 1, 1, 0, 1, 1, true},
    {2, {28, 28}, {96}, {1}, 24, 96, 4, {1, 2, 4, 8}, {24, 24, 24, 24}, "running", 1, 1, 0, 1, 1, true},
    {1, {28, 28}, {48}, {1}, 32, 128, 4, {1, 2, 4, 8}, {32, 32, 32, 32}, "running", 1, 2, 0, 1, 1, true},
    {1, {14, 14}, {64}, {-2}, 40, 160, 4, {1, 2, 3, 4}, {40, 40, 40, 40}, "running", 1, 2, 0, 1, 1, true},
    {1, {48, 96}, {32, 32}, {2, 1}, 8, 32, 4, {1, 2, 4, 8}, {8, 8, 8, 8}, "running", 1, 2, 0, 1, 1, true},
    {2, {28, 56}, {64, 64}, {2, 1}, 16, 64, 4, {1, 2, 4, 8}, {16, 16, 16, 16}, "running", 1, 2, 0, 1, 1, true},
    {1, {26, 30}, {16, 24}, {1, 2}, 12, 20, 3, {1, 3, 5}, {8, 6, 6}, "running", 1, 2, 0, 2, 2, true},
    {1, {12, 20}, {16}, {2}, 8, 8, 1, {1}, {8}, "concat", 0, 2, 0, 1, 1, true},
    /* ESPNet: unequal widths, the shortcut before the affine, PReLU. */
    {1, {33, 64}, {64}, {1}, 12, 64, 5, {1, 2, 4, 8, 16}, {16, 12, 12, 12, 12}, "running", 1, 1, 1, 0, 2, true},
    {1, {17, 23}, {36}, {1}, 7, 36, 5, {1, 2, 4, 8, 16}, {8, 7, 7, 7, 7}, "running", 1, 1, 1, 0, 2, true},
    /* Other merges and ends. */
    {1, {19, 21}, {20}, {1}, 8, 20, 3, {1, 2, 3}, {20, 20, 20}, "sum", 0, 1, 0, 1, 1, false},
    {1, {40, 24}, {12}, {-2}, 16, 48, 3, {6, 12, 18}, {16, 16, 16}, "concat", 0, 0, 0, 1, 1, true},
    {1, {9, 11}, {8}, {1}, 4, 12, 3, {1, 2, 4}, {4, 4, 4}, "running", 0, 0, 0, 1, 0, false},
    {1, {16, 16}, {16}, {1}, 0, 48, 3, {1, 2, 4}, {16, 16, 16}, "concat", 0, 0, 0, 0, 1, true},
    {1, {20, 300}, {8}, {1}, 0, 8, 2, {2, 4}, {8, 8}, "sum", 0, 1, 0, 0, 1, false},
    {1, {1, 1}, {8}, {1}, 4, 8, 2, {1, 2}, {4, 4}, "concat", 0, 1, 0, 1, 1, true},
    {1, {3, 200}, {20}, {1}, 5, 20, 4, {1, 2, 4, 8}, {5, 5, 5, 5}, "running", 1, 1, 0, 1, 1, true},
    /* A head: of a decoder's block, of one with an identity shortcut, of small and odd maps, of none that has a shortcut. */
    {2, {48, 96}, {32, 32}, {2, 1}, 8, 32, 4, {1, 2, 4, 8}, {8, 8, 8, 8}, "running", 1, 2, 0, 1, 1, true, 4, 0},
    {1, {70, 67}, {32}, {1}, 8, 32, 4, {1, 2, 4, 8}, {8, 8, 8, 8}, "running", 1, 1, 0, 1, 1, true, 24, 1},
    {1, {14, 14}, {64}, {-2}, 40, 160, 4, {1, 2, 3, 4}, {40, 40, 40, 40}, "running", 1, 2, 0, 1, 1, true, 128, 1},
    {1, {35, 41}, {16}, {-2}, 8, 20, 3, {1, 3, 5}, {8, 6, 6}, "running", 1, 2, 0, 2, 2, true, 3, 2},
    {1, {40, 24}, {12}, {1}, 0, 48, 3, {6, 12, 18}, {16, 16, 16}, "concat", 0, 0, 0, 1, 1, true, 5, 1},
    {1, {33, 64}, {64}, {1}, 12, 64, 5, {1, 2, 4, 8, 16}, {16, 12, 12, 12, 12}, "running", 1, 1, 1, 0, 2, true, 19, 2},
    /* Fewer channels than narrow vectors have lanes: planes on every instruction set, of several bands, some of them cut, and stripes. */
    {1, {70, 67}, {24}, {1}, 6, 24, 4, {1, 2, 4, 8}, {6, 6, 6, 6}, "running", 1, 1, 0, 1, 1, true},
    {2, {86, 131}, {12}, {1}, 3, 12, 4, {1, 2, 2, 4}, {3, 3, 3, 3}, "concat", 0, 1, 0, 2, 2, true},
    {1, {70, 300}, {10}, {1}, 3, 10, 2, {1, 2}, {10, 10}, "sum", 0, 1, 1, 1, 1, true},
    {1, {40, 280}, {3}, {1}, 0, 3, 2, {2, 4}, {3, 3}, "sum", 0, 1, 0, 0, 1, false},
    {2, {80, 96}, {12, 20}, {2, 1}, 5, 20, 3, {1, 2, 4}, {10, 5, 5}, "running", 1, 2, 0, 1, 1, true},
    {1, {70, 75}, {9}, {-2}, 3, 12, 3, {1, 3, 4}, {4, 4, 4}, "concat", 0, 2, 1, 2, 1, true},
    {1, {64, 160}, {16, 8}, {2, 1}, 7, 28, 4, {1, 2, 4, 4}, {7, 7, 7, 7}, "running", 1, 2, 0, 1, 1, true, 4, 0},
    {2, {70, 67}, {16}, {1}, 3, 16, 4, {1, 2, 3, 1}, {4, 4, 4, 4}, "running", 0, 1, 0, 1, 1, true, 5, 1},
    {1, {75, 261}, {6}, {-2}, 6, 8, 2, {1, 2}, {5, 3}, "concat", 0, 2, 0, 2, 2, true, 3, 2},
};
enum { FORMS = sizeof forms / sizeof *forms };

static void add_stage(struct rig *rig, int64_t *stages, int *count, int64_t from, int64_t channels, int64_t outputs, int64_t kernel,
                      int64_t dilation, int64_t activation, bool bias)
{
    int64_t pad = kernel / 2 * dilation, fields[] = {from, 0, 1, 1, 1, dilation, dilation, pad, pad, pad, pad, activation};
    int64_t dims[] = {outputs, channels, kernel, kernel};
    double range = sqrt(3.0 / (double)(channels * kernel * kernel));
    memcpy(stages + 12 * *count, fields, sizeof fields);
    ++*count;
    rig_input(rig, 4, dims, -range, range);
    if (bias)
        rig_input(rig, 1, &outputs, -0.5, 0.5);
    else
        rig_absent(rig);
    if (activation == PLANAR_SLOPE)
        rig_input(rig, 1, &outputs, -0.5, 0.5);
    else
        rig_absent(rig);
}

static void set_up(struct rig *rig, const struct form *f)
{
    int64_t stages[12 * 8], branches[6], channels = 0;
    int sources = f->channels[1] ? 2 : 1, count = 0;
    for (int s = 0; s < sources; s++) {
        int64_t dims[4] = {f->batch, f->channels[s]};
        for (int d = 0; d < 2; d++)
            dims[2 + d] = f->scales[s] == 2 ? f->size[d] / 2 : f->scales[s] == -2 ? f->size[d] * 2 + d : f->size[d];
        rig_input(rig, 4, dims, -1, 1);
        channels += f->channels[s];
    }
    int64_t reduced = f->reduced ? f->reduced : channels;
    if (f->reduced)
        add_stage(rig, stages, &count, FROM_X, channels, f->reduced, 1, 1, f->reduce_activation, true);
    for (int k = 0; k < f->branches; k++) {
        branches[k] = count;
        add_stage(rig, stages, &count, f->reduced ? 0 : FROM_X, reduced, f->branch_channels[k], 3, f->dilations[k], 0, false);
    }
    if (f->shortcut == SHORTCUT_STAGE) {
        rig_int(rig, "shortcut_stage", count);
        add_stage(rig, stages, &count, FROM_X, channels, f->outputs, 1, 1, 0, true);
    }
    if (f->head) {
        rig_int(rig, "head", count);
        add_stage(rig, stages, &count, FROM_Y, f->outputs, f->head, 1, 1, f->head_activation, true);
    }
    if (f->affine) {
        rig_input(rig, 1, &f->outputs, 0.5, 1.5);
        rig_input(rig, 1, &f->outputs, -0.5, 0.5);
    } else {
        rig_absent(rig);
        rig_absent(rig);
    }
    rig_absent(rig);
    if (f->activation == PLANAR_SLOPE)
        rig_input(rig, 1, &f->outputs, -0.5, 0.5);
    else
        rig_absent(rig);
    rig_ints(rig, "source_scale", f->scales, (size_t)sources);
    rig_ints(rig, "stages", stages, 12 * (size_t)count);
    rig_ints(rig, "branches", branches, (size_t)f->branches);
    rig_text(rig, "merge", f->merge);
    rig_int(rig, "running_from", f->running_from);
    rig_int(rig, "shortcut", f->shortcut);
    rig_int(rig, "shortcut_first", f->shortcut_first);
    rig_int(rig, "activation", f->activation);
}

/* Branches that Winograd runs in both directions stay in float32; on AMX tiles there are none. */
static bool multiplies_rounded(const struct form *form)
{
    int64_t channels = form->reduced ? form->reduced : form->channels[0] + form->channels[1];
    const bool planes = dilated_prefers_planes((int)channels, true);
    return planar_amx_blocks() || form->reduced || form->shortcut == SHORTCUT_STAGE || planes;
}

/* Operands have 8 bits: 2e-3 of each product by rounding, of which sums of random signs keep the size; Winograd's along the rows
 * loses one more bit. */
static const double rounded_tolerance = 1.5e-2;

static void check_form(const struct form *form, bool bfloat16)
{
    struct rig rig;
    double tolerance = bfloat16 ? rounded_tolerance : rig_exact_tolerance;
    rig_open(&rig, (uint32_t)(form - forms) + 1);
    set_up(&rig, form);
    rig_must_run(&rig, "mitral.DilatedParallelBlock");
    rig_int(&rig, "bfloat16", bfloat16);
    mitral_tensor expected = rig.output.tensor, first = {.data = NULL};
    for (int variant = 0; variant < 8; variant++) {
        rig.inputs[0].tensor = rig_relayout(&rig, &rig.inputs[0].tensor, variant & 1);
        if (form->channels[1])
            rig.inputs[1].tensor = rig_relayout(&rig, &rig.inputs[1].tensor, variant >> 2);
        rig.output.tensor = (mitral_tensor){.layout = variant >> 1 & 1};
        rig.threads = 1;
        rig_must_run(&rig, "planar.dilated_block");
        double distance = rig_distance(&rig.output.tensor, &expected);
        if (!(distance <= tolerance))
            print_error("form %d, layouts %d: %s is %g off\n", (int)(form - forms), variant, rig.description, distance);
        assert_true(distance <= tolerance);
        assert_int_equal(strstr(rig.description, "bf16") != NULL, bfloat16 && multiplies_rounded(form));
        first = rig.output.tensor;
        for (int threads = 2; threads <= 5; threads++) {
            rig.threads = threads;
            rig.output.tensor = (mitral_tensor){.layout = variant >> 1 & 1};
            rig_must_run(&rig, "planar.dilated_block");
            assert_memory_equal(rig.output.tensor.data, first.data, tensor_bytes(&first));
        }
    }
    rig_close(&rig);
}

/* Maps of bfloat16 in memory: on AMX tiles as they are where they lie channels-last, else converted. */
static void check_rounded_maps(const struct form *form)
{
    struct rig rig;
    rig_open(&rig, (uint32_t)(form - forms) + 1);
    set_up(&rig, form);
    const int sources = form->channels[1] ? 2 : 1;
    mitral_tensor rounded[2];
    for (int i = 0; i < sources; i++) {
        rounded[i] = rig_recast(&rig, &rig.inputs[i].tensor, MITRAL_BFLOAT16);
        rig.inputs[i].tensor = rig_recast(&rig, &rounded[i], MITRAL_FLOAT);
    }
    rig_must_run(&rig, "mitral.DilatedParallelBlock");
    const mitral_tensor expected = rig.output.tensor;
    rig_int(&rig, "bfloat16", 1);
    for (int variant = 0; variant < 8; variant++) {
        const bool half = variant & 4 && expected.dims[1] % 2 == 0;
        rig_int(&rig, "output_bfloat16", half);
        for (int i = 0; i < sources; i++) {
            const mitral_tensor plain = rig_recast(&rig, &rounded[i], MITRAL_FLOAT), placed = rig_relayout(&rig, &plain, variant & 1);
            rig.inputs[i].tensor = i == 1 && half ? placed : rig_recast(&rig, &placed, MITRAL_BFLOAT16);
        }
        mitral_tensor first = {.data = NULL};
        for (int threads = 1; threads <= 3; threads++) {
            rig.threads = threads;
            rig.output.tensor = (mitral_tensor){.layout = variant >> 1 & 1};
            rig_must_run(&rig, "planar.dilated_block");
            assert_int_equal(rig.output.tensor.dtype, half ? MITRAL_BFLOAT16 : MITRAL_FLOAT);
            if (threads > 1) {
                assert_memory_equal(rig.output.tensor.data, first.data, tensor_bytes(&first));
                continue;
            }
            first = rig.output.tensor;
            const mitral_tensor wide = rig_recast(&rig, &first, MITRAL_FLOAT);
            const double distance = rig_distance(&wide, &expected);
            if (!(distance <= rounded_tolerance))
                print_error("form %d, variant %d: %s is %g off\n", (int)(form - forms), variant, rig.description, distance);
            assert_true(distance <= rounded_tolerance);
        }
    }
    rig_close(&rig);
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
    for (int i = 0; i < FORMS; i++) {
        check_form(&forms[i], true);
        check_rounded_maps(&forms[i]);
    }
}

/* What the kernel packed gives the same bits, and is not packed again. */
static void test_stored_weights(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct rig rig;
        rig_open(&rig, 7);
        set_up(&rig, &forms[i]);
        rig_must_run(&rig, "planar.dilated_block");
        mitral_tensor first = rig.output.tensor;
        int stored = 0;
        for (size_t j = 0; j < rig.input_count; j++)
            if (rig.packed[j].data) {
                rig.inputs[j].tensor = rig.packed[j];
                stored++;
            }
        assert_true(stored >= 5);
        rig_must_run(&rig, "planar.dilated_block");
        assert_memory_equal(rig.output.tensor.data, first.data, tensor_bytes(&first));
        for (size_t j = 0; j < rig.input_count; j++)
            assert_null(rig.packed[j].data);
        /* Packed otherwise: taken apart and packed again. */
        for (size_t j = 0; j < rig.input_count; j++)
            if (rig.inputs[j].tensor.packing) {
                static struct mitral_packing other;
                other = *rig.inputs[j].tensor.packing;
                other.description = "another";
                rig.inputs[j].tensor.packing = &other;
                break;
            }
        rig_must_run(&rig, "planar.dilated_block");
        assert_memory_equal(rig.output.tensor.data, first.data, tensor_bytes(&first));
        rig_close(&rig);
    }
}

static void expect_refusal(struct rig *rig, const char *word)
{
    assert_int_not_equal(rig_run(rig, "planar.dilated_block"), MITRAL_OK);
    if (!strstr(mitral_context_message(rig->context), word))
        print_error("'%s' is not in: %s\n", word, mitral_context_message(rig->context));
    assert_non_null(strstr(mitral_context_message(rig->context), word));
}

static void test_bad_forms(void **state)
{
    (void)state;
    struct rig rig;
    int64_t bad_branch[] = {9}, bad_scale[] = {3}, none[] = {0};
    rig_open(&rig, 3);
    set_up(&rig, &forms[0]);
    rig_text(&rig, "merge", "product");
    expect_refusal(&rig, "concat, sum or running");
    rig_text(&rig, "merge", "concat");
    rig_ints(&rig, "branches", bad_branch, 1);
    expect_refusal(&rig, "branch");
    rig_ints(&rig, "stages", none, 0);
    expect_refusal(&rig, "stages");
    rig_ints(&rig, "source_scale", bad_scale, 1);
    expect_refusal(&rig, "source_scale");
    rig_close(&rig);
    rig_open(&rig, 3);
    set_up(&rig, &forms[0]);
    rig.inputs[1].tensor.dims[1] = 31;
    expect_refusal(&rig, "32 channels");
    rig.inputs[1].tensor.dims[1] = 32;
    rig_int(&rig, "shortcut", SHORTCUT_STAGE);
    expect_refusal(&rig, "shortcut");
    rig_close(&rig);
    rig_open(&rig, 3);
    set_up(&rig, &forms[0]);
    rig_int(&rig, "head", 0); /* the reducing stage, which reads x */
    expect_refusal(&rig, "head: a 1x1 stage of the end");
    rig_close(&rig);
}

/* DPU-Net's blocks at their sizes. */
static void bench_blocks(void **state)
{
    (void)state;
    if (!rig_bench)
        skip();
    static const struct form blocks[] = {
        {1, {224, 224}, {32}, {1}, 8, 32, 4, {1, 2, 4, 8}, {8, 8, 8, 8}, "running", 1, 1, 0, 1, 1, true},
        {1, {112, 112}, {32}, {-2}, 16, 64, 4, {1, 2, 4, 8}, {16, 16, 16, 16}, "running", 1, 2, 0, 1, 1, true},
        {1, {112, 112}, {64}, {1}, 16, 64, 4, {1, 2, 4, 8}, {16, 16, 16, 16}, "running", 1, 1, 0, 1, 1, true},
        {1, {56, 56}, {96}, {1}, 24, 96, 4, {1, 2, 4, 8}, {24, 24, 24, 24}, "running", 1, 1, 0, 1, 1, true},
        {1, {28, 28}, {128}, {1}, 32, 128, 4, {1, 2, 4, 8}, {32, 32, 32, 32}, "running", 1, 1, 0, 1, 1, true},
        {1, {14, 14}, {160}, {1}, 40, 160, 4, {1, 2, 3, 4}, {40, 40, 40, 40}, "running", 1, 1, 0, 1, 1, true},
        {1, {28, 28}, {128, 128}, {2, 1}, 32, 128, 4, {1, 2, 4, 8}, {32, 32, 32, 32}, "running", 1, 2, 0, 1, 1, true},
        {1, {56, 56}, {96, 96}, {2, 1}, 24, 96, 4, {1, 2, 4, 8}, {24, 24, 24, 24}, "running", 1, 2, 0, 1, 1, true},
        {1, {112, 112}, {64, 64}, {2, 1}, 16, 64, 4, {1, 2, 4, 8}, {16, 16, 16, 16}, "running", 1, 2, 0, 1, 1, true},
        {1, {224, 224}, {32, 32}, {2, 1}, 8, 32, 4, {1, 2, 4, 8}, {8, 8, 8, 8}, "running", 1, 2, 0, 1, 1, true},
    };
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        for (int layout = 0; layout < 2; layout++) {
            struct rig rig;
            rig_open(&rig, 1);
            set_up(&rig, &blocks[i]);
            rig.inputs[0].tensor = rig_relayout(&rig, &rig.inputs[0].tensor, layout);
            if (blocks[i].channels[1])
                rig.inputs[1].tensor = rig_relayout(&rig, &rig.inputs[1].tensor, layout);
            rig.output.tensor.layout = layout;
            rig.repeat = 30;
            rig_must_run(&rig, "planar.dilated_block");
            mitral_value *outputs[] = {&rig.output};
            struct kernel_call call = {.context = rig.context, .attributes = &rig.attributes, .input_count = rig.input_count,
                                       .inputs = rig.input_list, .output_count = 1, .outputs = outputs};
            printf("%3dx%-3d %3d -> %3d %s %-40s %.3f ms, %.0f GFLOP/s\n", (int)blocks[i].size[0], (int)blocks[i].size[1],
                   (int)(blocks[i].channels[0] + blocks[i].channels[1]), (int)blocks[i].outputs, layout ? "last " : "plain",
                   rig.description, rig.milliseconds, kernel_find("planar.dilated_block")->flops(&call) / rig.milliseconds * 1e-6);
            rig_close(&rig);
        }
}

int main(int argc, char **argv)
{
    rig_bench = argc > 1 && strcmp(argv[1], "--bench") == 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_bfloat16), cmocka_unit_test(test_stored_weights),
                                       cmocka_unit_test(test_bad_forms), cmocka_unit_test(bench_blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
