#include "runtime/kernels/planar/dilated_composed.h"

#include "runtime/kernels/planar/pack.h"
#include "runtime/round.h"

static size_t with_slack(size_t floats)
{
    return aligned_floats(floats + PLANAR_SLACK);
}

static size_t pixels_of(const int size[2])
{
    return (size_t)size[0] * (size_t)size[1];
}

/* ---- planning -------------------------------------------------------------------------------------------------------- */

static void plan_convolution(struct composed *c, int index)
{
    const struct dilated_stage *s = &c->form.stages[index];
    struct composed_stage *stage = &c->stages[index];
    stage->convolution = (struct convolution){.blocks = c->blocks, .threads = c->threads, .x_pitch = s->channels, .y_pitch = s->outputs};
    struct convolution_shape *shape = &stage->convolution.shape;
    *shape = (struct convolution_shape){.batch = c->form.batch, .channels = s->channels, .features = s->outputs,
                                        .groups = s->groups, .input_layout = LAYOUT_CHANNELS_LAST, .output_layout = LAYOUT_CHANNELS_LAST,
                                        .residual_layout = LAYOUT_CHANNELS_LAST, .activation = s->activation};
    for (int d = 0; d < 2; d++) {
        shape->input[d] = s->input_size[d];
        shape->output[d] = s->size[d];
        shape->kernel[d] = s->kernel[d];
        shape->stride[d] = s->stride[d];
        shape->dilation[d] = s->dilation[d];
        shape->pad_begin[d] = s->pad_begin[d];
    }
    stage->convolution.way = planar_convolution_way(shape);
    if (stage->convolution.way == WAY_NONE) { /* then it is called once a group */
        shape->channels /= s->groups;
        shape->features /= s->groups;
        shape->groups = 1;
        stage->convolution.way = planar_convolution_way(shape);
    }
    stage->group_floats = convolution_packed_floats(&stage->convolution);
    if (stage->convolution.way == WAY_DEPTHWISE) {
        stage->method = METHOD_DEPTHWISE;
        return;
    }
    size_t bytes = stage->convolution.way == WAY_WINOGRAD ? convolution_winograd_scratch(&stage->convolution)
                                                          : convolution_channels_scratch(&stage->convolution);
    size_t floats = with_slack(bytes / sizeof(float));
    c->stage_scratch = floats > c->stage_scratch ? floats : c->stage_scratch;
}

static void plan_stage(struct composed *c, int index)
{
    const struct dilated_stage *s = &c->form.stages[index];
    struct composed_stage *stage = &c->stages[index];
    *stage = (struct composed_stage){.pitch = s->outputs};
    if (s->kind == STAGE_ACTIVATION) {
        stage->method = METHOD_ACTIVATION;
    } else if (s->kind == STAGE_GLOBAL || s->from == FROM_GATE || index == c->form.gate[1]) {
        stage->method = METHOD_GLOBAL;
        stage->pitch = 0;
    } else {
        stage->method = s->groups > 1 ? METHOD_GROUPS : METHOD_CONVOLUTION;
        plan_convolution(c, index);
    }
}

static int readers(const struct dilated_form *form, int stage)
{
    int count = form->shortcut == SHORTCUT_STAGE && form->shortcut_stage == stage;
    for (int i = 0; i < form->stage_count; i++)
        count += form->stages[i].from == stage;
    for (int k = 0; k < form->branch_count; k++)
        count += form->branches[k] == stage;
    return count;
}

/* Depthwise branches that nobody else reads need no maps of their own. */
static bool can_merge_branches(const struct composed *c)
{
    const struct dilated_form *form = &c->form;
    for (int k = 0; k < form->branch_count; k++) {
        const struct dilated_stage *s = &form->stages[form->branches[k]];
        if (c->stages[form->branches[k]].method != METHOD_DEPTHWISE || s->activation != PLANAR_LINEAR || s->bias
            || readers(form, form->branches[k]) != 1)
            return false;
    }
    return true;
}

static size_t take(struct composed *c, size_t floats)
{
    size_t at = c->total;
    c->total += with_slack(floats);
    return at;
}

/* The merged map is the output where nothing follows that needs it whole. */
static bool merges_into_output(const struct dilated_form *form)
{
    return form->tail < 0 && form->gate[0] < 0;
}

void composed_plan(struct composed *c)
{
    const struct dilated_form *form = &c->form;
    size_t batch = (size_t)form->batch, output_pixels = batch * pixels_of(form->output_size);
    int widest = form->channels > form->merged_channels ? form->channels : form->merged_channels;
    c->total = c->stage_scratch = 0;
    dilated_place_branches(form, c->branches);
    for (int i = 0; i < form->stage_count; i++)
        plan_stage(c, i);
    c->branches_merge = can_merge_branches(c);
    for (int k = 0; k < form->branch_count && c->branches_merge; k++)
        c->stages[form->branches[k]].skipped = true;
    c->x_is_source = form->source_count == 1 && form->sources[0].scale == SCALE_SAME && c->source_layouts[0] == LAYOUT_CHANNELS_LAST;
    c->x = c->x_is_source ? 0 : take(c, batch * pixels_of(form->size) * (size_t)form->channels);
    bool added = form->shortcut == SHORTCUT_INPUT && c->added_layout != LAYOUT_CHANNELS_LAST;
    c->added = added ? take(c, output_pixels * (size_t)form->outputs) : 0;
    for (int i = 0; i < form->stage_count; i++) {
        const struct dilated_stage *s = &form->stages[i];
        if (!c->stages[i].skipped && i != form->tail)
            c->stages[i].result = take(c, batch * (c->stages[i].pitch ? pixels_of(s->size) : 1) * (size_t)s->outputs);
        widest = s->channels > widest ? s->channels : widest;
    }
    c->merged = merges_into_output(form) ? 0 : take(c, output_pixels * (size_t)form->merged_channels);
    c->output = c->output_layout == LAYOUT_CHANNELS_LAST ? 0 : take(c, output_pixels * (size_t)form->outputs);
    c->means = take(c, batch * (size_t)widest);
    size_t row = form->output_size[1] > COMPOSED_CHUNK ? (size_t)form->output_size[1] : COMPOSED_CHUNK;
    c->row_floats = with_slack(row * (size_t)widest); /* of a running sum */
    c->rows = take(c, c->row_floats * (size_t)c->threads);
    c->stage_scratch = take(c, c->stage_scratch);
}

/* ---- weights --------------------------------------------------------------------------------------------------------- */

size_t composed_packed_floats(const struct composed *c, int index)
{
    const struct dilated_stage *s = &c->form.stages[index];
    switch (c->stages[index].method) {
    case METHOD_CONVOLUTION:
    case METHOD_GROUPS:
    case METHOD_DEPTHWISE:
        return c->stages[index].group_floats * (size_t)(s->groups / c->stages[index].convolution.shape.groups);
    case METHOD_GLOBAL:
    case METHOD_ACTIVATION:
        break;
    }
    return 0;
}

void composed_pack(const struct composed *c, int index, const float *weights, float *out)
{
    const struct dilated_stage *s = &c->form.stages[index];
    const struct composed_stage *stage = &c->stages[index];
    ptrdiff_t taps = (ptrdiff_t)s->kernel[0] * s->kernel[1];
    if (stage->method == METHOD_CONVOLUTION || stage->method == METHOD_GROUPS || stage->method == METHOD_DEPTHWISE) {
        const ptrdiff_t group_weights = (ptrdiff_t)stage->convolution.shape.features * (s->channels / s->groups) * taps;
        for (int g = 0; g < s->groups / (int)stage->convolution.shape.groups; g++)
            convolution_pack(&stage->convolution, weights + g * group_weights, out + (size_t)g * stage->group_floats);
    }
}

const char *composed_packing_name(const struct composed *c, int index)
{
    static const char *const ways[2][7] = {{"", "", "1x1", "", "taps", "winograd4x4", "depthwise"},
                                           {"", "", "1x1:narrow", "", "taps:narrow", "winograd4x4:narrow", ""}};
    const struct convolution *convolution = &c->stages[index].convolution;
    switch (c->stages[index].method) {
    case METHOD_CONVOLUTION:
    case METHOD_GROUPS:
    case METHOD_DEPTHWISE:
        return ways[*convolution_panel_name(convolution) != 0][convolution->way];
    case METHOD_GLOBAL:
    case METHOD_ACTIVATION:
        break;
    }
    return "plain";
}

