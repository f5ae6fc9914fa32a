/* planar.dilated_block: the whole dilated-parallel block as one step (dilated.h says what that is). */
#include "runtime/kernels/planar/dilated_composed.h"

#include <stdio.h>
#include <string.h>

#include "runtime/round.h"

static const char scheme[] = "planar.dilated";

struct state {
    struct dilated_form form;      /* its tensors are not read after prepare */
    bool fused;                    /* one loop; else stage by stage */
    bool converts;                 /* bfloat16 maps are float32 in scratch memory inside */
    size_t scratch;                /* bytes before those maps */
    struct dilated_plan plan;      /* of the one loop */
    struct composed composed;
    float *packed[DILATED_STAGES]; /* own: raw weights, then packed; NULL: the constant came packed so, or there is none */
    char description[DILATED_STAGES][96];
    struct mitral_packing packing[DILATED_STAGES];
    char text[160];
};

static size_t raw_floats(const struct dilated_stage *stage)
{
    return (size_t)stage->outputs * (size_t)(stage->channels / stage->groups) * (size_t)stage->kernel[0] * (size_t)stage->kernel[1];
}

static enum dilated_part part_of(const struct dilated_form *form, int stage)
{
    for (int k = 0; k < form->branch_count; k++)
        if (form->branches[k] == stage)
            return PART_BRANCH;
    return stage == form->head ? PART_HEAD : PART_OF_X;
}

/* Rows of pixels fill vectors where channels are too few to; tiles are of channels. */
bool dilated_prefers_planes(int channels, bool bfloat16)
{
    return !(bfloat16 && planar_amx_blocks()) && channels < planar_blocks_of(cpu_isa())->lanes && channels <= DILATED_PLANES;
}

static void choose_blocks(struct dilated_plan *plan, bool bfloat16)
{
    enum isa isa = cpu_isa();
    struct dilated_block *block = &plan->block;
    plan->blocks = planar_blocks_of(isa);
    block->amx = bfloat16 && planar_amx_blocks();
    block->planes = dilated_prefers_planes(block->reduced, bfloat16);
    int rest = block->reduced % plan->blocks->lanes;
    /* Half a vector is lost on the last channels, but where a wide vector is two halves anyway, narrow ones lose nothing. */
    if (!block->planes && cpu_splits_vectors(plan->blocks->lanes) && rest > 0 && rest <= plan->blocks->lanes / 2)
        plan->blocks = planar_blocks_of(ISA_AVX2);
    block->lanes = plan->blocks->lanes;
    block->pairs = block->amx || (bfloat16 && planar_pair_blocks() && (block->planes || block->reduce || block->shortcut == SHORTCUT_STAGE));
    plan->products = block->amx ? planar_amx_blocks() : block->pairs ? planar_pair_blocks() : plan->blocks;
}

static void describe_packing(const struct state *state, int stage, char *text, size_t size)
{
    const struct dilated_block *block = &state->plan.block;
    if (!state->fused) {
        snprintf(text, size, "%s:%d", composed_packing_name(&state->composed, stage), state->form.stages[stage].groups);
        return;
    }
    const enum dilated_part part = part_of(&state->form, stage);
    int length = snprintf(text, size, "%s%s:%s", block->amx ? "amx" : block->planes ? "planes" : "channels",
                          (part == PART_HEAD ? dilated_head_is_rounded(block) : block->pairs) ? ":bf16" : "",
                          part == PART_BRANCH ? "3x3" : "1x1");
    if (part == PART_BRANCH && !block->planes && !block->amx)
        snprintf(text + length, size - (size_t)length, ":%d", block->lanes);
    for (int s = 0; s < block->source_count && part == PART_OF_X && length > 0 && (size_t)length < size; s++)
        length += snprintf(text + length, size - (size_t)length, ":%d", block->sources[s].channels);
}

static size_t rounded_raw(const struct dilated_stage *stage)
{
    return aligned_floats(raw_floats(stage));
}

/* The stored form of a stage's weights is the plain one with the packed one behind it: any other kernel or packing can start again
 * from the plain one. */
static mitral_status pack_stage(struct kernel_call *call, struct state *state, int stage)
{
    const struct dilated_stage *s = &state->form.stages[stage];
    const enum dilated_part part = part_of(&state->form, stage);
    if (!s->weights)
        return MITRAL_OK;
    size_t raw = rounded_raw(s), packed = state->fused ? dilated_packed_size(&state->plan.block, s, part)
                                                       : composed_packed_floats(&state->composed, stage);
    describe_packing(state, stage, state->description[stage], sizeof state->description[stage]);
    state->packing[stage] = (struct mitral_packing){scheme, state->description[stage], (raw + packed + PLANAR_SLACK) * sizeof(float)};
    if (s->weights->layout == LAYOUT_PACKED && strcmp(s->weights->packing->description, state->description[stage]) == 0
        && s->weights->packing->bytes >= state->packing[stage].bytes)
        return MITRAL_OK;
    float *own = mitral_allocate(call->context, state->packing[stage].bytes);
    if (!own)
        return MITRAL_NO_MEMORY;
    state->packed[stage] = own;
    memcpy(own, s->weights->data, raw_floats(s) * sizeof *own);
    if (state->fused)
        dilated_pack(&state->plan.block, s, part, own, own + raw);
    else
        composed_pack(&state->composed, stage, own, own + raw);
    return MITRAL_OK;
}

static void release(mitral_context *context, void *opaque)
{
    struct state *state = opaque;
    if (!state)
        return;
    for (int i = 0; i < state->form.stage_count; i++)
        mitral_release(context, state->packed[i]);
    mitral_release(context, state);
}

/* Weights have to be there when the step is prepared, and be float32 as they are or as this kernel packs them. */
static mitral_status check_weights(struct kernel_call *call, const struct dilated_form *form)
{
    for (int i = 0; i < form->stage_count; i++) {
        const mitral_tensor *weights = form->stages[i].weights;
        if (!weights)
            continue;
        bool packed = weights->layout == LAYOUT_PACKED;
        if (!weights->data)
            return call_fail(call, MITRAL_UNSUPPORTED, "stage %d: constant weights expected, found computed ones", i);
        if (packed && (!weights->packing || strcmp(weights->packing->scheme, scheme) != 0
                       || weights->packing->bytes < raw_floats(&form->stages[i]) * sizeof(float)))
            return call_fail(call, MITRAL_UNSUPPORTED, "stage %d: plain weights or ones packed by %s expected, found packing '%s'", i,
                             scheme, weights->packing ? weights->packing->scheme : "");
    }
    return MITRAL_OK;
}

static void place_stages(struct state *state)
{
    const struct dilated_form *form = &state->form;
    struct dilated_plan *plan = &state->plan;
    int reduce = form->stages[form->branches[0]].from;
    plan->reduce_stage = plan->block.reduce ? reduce : -1;
    plan->shortcut_stage = form->shortcut == SHORTCUT_STAGE ? form->shortcut_stage : -1;
    plan->head_stage = form->head;
    for (int k = 0; k < form->branch_count; k++)
        plan->branch_stages[k] = form->branches[k];
}

static void prepare_fused(struct kernel_call *call, struct state *state)
{
    struct dilated_block *block = &state->plan.block;
    for (int i = 0; i < block->source_count; i++)
        block->sources[i].layout = call_input(call, (size_t)i)->layout;
    block->output_layout = call_output(call, 0) ? call_output(call, 0)->layout : LAYOUT_PLAIN;
    state->plan.threads = call->threads > 0 ? call->threads : 1;
    choose_blocks(&state->plan, attribute_int(call->attributes, "bfloat16", 0) != 0);
    place_stages(state);
    snprintf(state->text, sizeof state->text, "%s:%s:%s%s%s%s", block->planes ? "planes" : "channels",
             block->amx ? state->plan.products->name : state->plan.blocks->name,
             block->amx ? "direct" : block->planes ? "winograd4" : "winograd4x4", block->pairs ? ":bf16" : "",
             block->source_count > 1 ? ":concat" : "", block->head ? ":head" : "");
}

static void prepare_composed(struct kernel_call *call, struct state *state)
{
    struct composed *composed = &state->composed;
    composed->form = state->form;
    composed->blocks = planar_blocks_of(cpu_isa());
    composed->threads = call->threads > 0 ? call->threads : 1;
    for (int i = 0; i < state->form.source_count; i++)
        composed->source_layouts[i] = call_input(call, (size_t)i)->layout;
    composed->added_layout = state->form.added ? state->form.added->layout : LAYOUT_PLAIN;
    composed->output_layout = call_output(call, 0) ? call_output(call, 0)->layout : LAYOUT_PLAIN;
    composed_plan(composed);
    snprintf(state->text, sizeof state->text, "stages:%s%s", composed->blocks->name, composed->branches_merge ? ":depthwise" : "");
}

/* ---- maps of bfloat16 ---------------------------------------------------------------------------------------------------- */

static bool has_rounded(const struct dilated_form *form)
{
    bool any = form->rounded;
    for (int i = 0; i < form->source_count; i++)
        any = any || form->sources[i].rounded;
    return any;
}

/* On AMX tiles channels-last ones are read and written as they are. */
static bool takes_rounded(const struct state *state)
{
    const struct dilated_block *block = &state->plan.block;
    bool takes = state->fused && block->amx && (!block->rounded || block->output_layout == LAYOUT_CHANNELS_LAST);
    for (int i = 0; i < block->source_count; i++)
        takes = takes && (!block->sources[i].rounded || block->sources[i].layout == LAYOUT_CHANNELS_LAST);
    return takes;
}

static void convert_inside(struct state *state)
{
    state->converts = has_rounded(&state->form) && !takes_rounded(state);
    state->plan.block.rounded = state->plan.block.rounded && !state->converts;
    for (int i = 0; i < state->plan.block.source_count; i++)
        state->plan.block.sources[i].rounded = state->plan.block.sources[i].rounded && !state->converts;
}

static size_t map_bytes(const mitral_tensor *map)
{
    return aligned_bytes((size_t)tensor_count(map) * sizeof(float));
}

static size_t converted_bytes(const struct kernel_call *call, const struct state *state)
{
    size_t bytes = state->form.rounded && call_output(call, 0) ? map_bytes(call_output(call, 0)) : 0;
    for (int i = 0; i < state->form.source_count; i++)
        bytes += state->form.sources[i].rounded ? map_bytes(call_input(call, (size_t)i)) : 0;
    return bytes;
}

static const float *widened(const struct kernel_call *call, size_t index, float *out)
{
    const mitral_tensor *map = call_input(call, index);
    planar_blocks_of(cpu_isa())->row_widen(&(struct row_widen){(ptrdiff_t)tensor_count(map), map->data, out});
    return out;
}

static void narrow(const struct kernel_call *call, const float *from)
{
    mitral_tensor *map = call_output(call, 0);
    planar_blocks_of(cpu_isa())->row_round(&(struct row_round){(ptrdiff_t)tensor_count(map), from, map->data});
}

/* ---- the kernel ---------------------------------------------------------------------------------------------------------- */

static mitral_status prepare(struct kernel_call *call, void **out, size_t *scratch_bytes)
{
    struct state *state = mitral_allocate(call->context, sizeof *state);
    if (!state)
        return MITRAL_NO_MEMORY;
    mitral_status status = dilated_decode(call, &state->form);
    if (status == MITRAL_OK)
        status = check_weights(call, &state->form);
    if (status == MITRAL_OK) {
        state->fused = dilated_block_of(&state->form, &state->plan.block);
        if (state->fused)
            prepare_fused(call, state);
        else if (state->form.head >= 0)
            status = call_fail(call, MITRAL_UNSUPPORTED, "head: a block that runs as one loop expected, found one of stages");
        else
            prepare_composed(call, state);
        convert_inside(state);
    }
    for (int i = 0; i < state->form.stage_count && status == MITRAL_OK; i++)
        status = pack_stage(call, state, i);
    if (status != MITRAL_OK) {
        release(call->context, state);
        return status;
    }
    if (!state->fused)
        *scratch_bytes = state->composed.total * sizeof(float);
    else
        *scratch_bytes = state->plan.block.planes ? dilated_planes_scratch(&state->plan) : dilated_channels_scratch(&state->plan);
    state->scratch = aligned_bytes(*scratch_bytes);
    if (state->converts)
        *scratch_bytes = state->scratch + converted_bytes(call, state);
    *out = state;
    return MITRAL_OK;
}

static const float *vector_data(const struct kernel_call *call, size_t index)
{
    const mitral_tensor *tensor = call_input(call, index);
    return tensor ? tensor->data : NULL;
}

/* Where the stage's packed weights are; plain ones for a stage that needs no packing. */
static const float *stage_weights(const struct kernel_call *call, const struct state *state, int stage)
{
    const float *stored = state->packed[stage] ? state->packed[stage]
                                               : vector_data(call, (size_t)state->form.source_count + 3 * (size_t)stage);
    bool plain = !state->fused && state->composed.stages[stage].method == METHOD_GLOBAL;
    return stored && !plain ? stored + rounded_raw(&state->form.stages[stage]) : stored;
}

static void run_fused(const struct kernel_call *call, const struct state *state, const float *const *sources, float *output)
{
    struct dilated_plan plan = state->plan;
    size_t input = (size_t)state->form.source_count;
    for (int i = 0; i < state->form.stage_count; i++, input += 3) {
        plan.weights[i] = stage_weights(call, state, i);
        plan.shift[i] = vector_data(call, input + 1);
        plan.slope[i] = vector_data(call, input + 2);
    }
    plan.scale = vector_data(call, input);
    plan.offset = vector_data(call, input + 1);
    plan.last_slope = vector_data(call, input + 3);
    if (plan.block.planes)
        dilated_planes_run(&plan, sources, output, call->scratch);
    else
        dilated_channels_run(&plan, sources, output, call->scratch);
}

static void run_composed(const struct kernel_call *call, const struct state *state, const float *const *sources, float *output)
{
    struct composed_call run = {.composed = &state->composed, .output = output, .scratch = call->scratch};
    size_t input = (size_t)state->form.source_count;
    memcpy(run.sources, sources, sizeof run.sources);
    for (int i = 0; i < state->form.stage_count; i++, input += 3) {
        run.weights[i] = stage_weights(call, state, i);
        run.bias[i] = vector_data(call, input + 1);
        run.slopes[i] = vector_data(call, input + 2);
    }
    run.scale = vector_data(call, input);
    run.shift = vector_data(call, input + 1);
    run.merged_slope = vector_data(call, input + 2);
    run.slope = vector_data(call, input + 3);
    run.added = vector_data(call, input + 4);
    composed_run(&run);
}

static mitral_status run(struct kernel_call *call)
{
    const struct state *state = call->state;
    const float *sources[DILATED_SOURCES] = {NULL};
    mitral_tensor *output = call_output(call, 0);
    if (!output || tensor_count(output) == 0)
        return MITRAL_OK;
    char *converted = (char *)call->scratch + state->scratch;
    for (int i = 0; i < state->form.source_count; i++) {
        const bool widens = state->converts && state->form.sources[i].rounded;
        sources[i] = widens ? widened(call, (size_t)i, (float *)(void *)converted) : vector_data(call, (size_t)i);
        converted += widens ? map_bytes(call_input(call, (size_t)i)) : 0;
    }
    const bool narrows = state->converts && state->form.rounded;
    float *result = narrows ? (float *)(void *)converted : output->data;
    if (state->fused)
        run_fused(call, state, sources, result);
    else
        run_composed(call, state, sources, result);
    if (narrows)
        narrow(call, result);
    return MITRAL_OK;
}

static mitral_tensor packed(const void *opaque, size_t index)
{
    const struct state *state = opaque;
    size_t first = (size_t)state->form.source_count;
    mitral_tensor tensor = {.data = NULL};
    if (index < first || (index - first) % 3 != 0 || (index - first) / 3 >= (size_t)state->form.stage_count)
        return tensor;
    size_t stage = (index - first) / 3;
    const struct dilated_stage *s = &state->form.stages[stage];
    if (!state->packed[stage])
        return tensor;
    const int64_t dims[] = {s->outputs, s->channels / s->groups, s->kernel[0], s->kernel[1]};
    tensor_set(&tensor, MITRAL_FLOAT, 4, dims);
    tensor.data = state->packed[stage];
    tensor.layout = LAYOUT_PACKED;
    tensor.packing = &state->packing[stage];
    return tensor;
}

static const char *describe(const void *opaque)
{
    return ((const struct state *)opaque)->text;
}

/* The branches read the reduced map, which has all that they need of x's rows before any of y is written there; the shortcut's elements are
 * read just before those of y are written. */
static bool in_place(const void *opaque)
{
    const struct state *state = opaque;
    const struct dilated_block *block = &state->plan.block;
    const int layout = block->planes ? LAYOUT_PLAIN : LAYOUT_CHANNELS_LAST;
    return state->fused && block->reduce && block->source_count == 1 && block->shortcut == SHORTCUT_IDENTITY && !block->head
           && block->sources[0].layout == layout && block->output_layout == layout && state->form.sources[0].rounded == state->form.rounded
           && (!block->planes || dilated_planes_have_one_stripe(block));
}

static double flops(const struct kernel_call *call)
{
    struct dilated_form form;
    return dilated_decode(call, &form) == MITRAL_OK ? dilated_flops(&form) : 0;
}

const struct kernel planar_dilated_block[] = {
    {.name = "planar.dilated_block", .shape = dilated_shape, .prepare = prepare, .run = run, .release = release, .packed = packed,
     .describe = describe, .in_place = in_place, .flops = flops},
};
const size_t planar_dilated_block_count = sizeof planar_dilated_block / sizeof *planar_dilated_block;
