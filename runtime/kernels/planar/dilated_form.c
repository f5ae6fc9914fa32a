/* The dilated-parallel block's attributes and shapes, read and checked once for every kernel that runs it. */
#include "runtime/kernels/planar/dilated.h"

#include <string.h>

enum { STAGE_FIELDS = 12, LARGEST_SPAN = WINOGRAD_OUTPUTS * DILATED_DILATION };

static mitral_status bounded(const struct kernel_call *call, const char *what, int64_t value, int64_t low, int64_t high, int *out)
{
    if (value < low || value > high)
        return call_fail(call, MITRAL_INVALID, "%s from %lld to %lld expected, found %lld", what, (long long)low, (long long)high,
                         (long long)value);
    *out = (int)value;
    return MITRAL_OK;
}

static mitral_status attribute(const struct kernel_call *call, const char *name, int64_t fallback, int64_t low, int64_t high, int *out)
{
    return bounded(call, name, attribute_int(call->attributes, name, fallback), low, high, out);
}

static mitral_status list(const struct kernel_call *call, const char *name, size_t least, size_t most, const int64_t **values,
                          size_t *count)
{
    *values = attribute_ints(call->attributes, name, count);
    if (*count < least || *count > most)
        return call_fail(call, MITRAL_INVALID, "attribute %s: %zu to %zu values expected, found %zu", name, least, most, *count);
    return MITRAL_OK;
}

static mitral_status activation(const struct kernel_call *call, const char *name, int64_t value, const mitral_tensor *slope,
                                enum planar_activation *out)
{
    int found;
    TRY(bounded(call, name, value, PLANAR_LINEAR, PLANAR_SLOPE, &found));
    if (found == PLANAR_SLOPE && !slope)
        return call_fail(call, MITRAL_INVALID, "%s: a slope expected, found none", name);
    *out = (enum planar_activation)found;
    return MITRAL_OK;
}

/* A vector of one value for each channel. */
static mitral_status vector(const struct kernel_call *call, const char *what, const mitral_tensor *tensor, int channels)
{
    char text[160];
    if (tensor && (tensor->dtype != MITRAL_FLOAT || tensor->rank != 1 || tensor->dims[0] != channels))
        return call_fail(call, MITRAL_INVALID, "%s: float32[%d] expected, found %s", what, channels,
                         tensor_describe(tensor, text, sizeof text));
    return MITRAL_OK;
}

static mitral_status decode_sources(const struct kernel_call *call, struct dilated_form *form)
{
    const int64_t *scales;
    size_t count;
    TRY(list(call, "source_scale", 1, DILATED_SOURCES, &scales, &count));
    form->source_count = (int)count;
    for (size_t i = 0; i < count; i++) {
        const mitral_tensor *x = call_input(call, i);
        int size[4], scale = (int)scales[i];
        if (scales[i] != SCALE_SAME && scales[i] != SCALE_UPSAMPLED && scales[i] != SCALE_POOLED)
            return call_fail(call, MITRAL_INVALID, "attribute source_scale: 1, 2 or -2 expected, found %lld", (long long)scales[i]);
        if (!x || (x->dtype != MITRAL_FLOAT && x->dtype != MITRAL_BFLOAT16) || x->rank != 4)
            return call_fail(call, MITRAL_INVALID, "source %zu: a float32 or bfloat16 tensor of rank 4 expected", i);
        for (int d = 0; d < 4; d++)
            TRY(bounded(call, "a size", x->dims[d], d == 1, d == 1 ? DILATED_CHANNELS : DILATED_SIZE, &size[d]));
        form->sources[i].height = size[2];
        form->sources[i].width = size[3];
        for (int d = 2; d < 4; d++)
            TRY(bounded(call, "a size", scale == SCALE_POOLED ? size[d] / 2 : size[d] * scale, 0, DILATED_SIZE, &size[d]));
        if ((int64_t)size[0] * size[2] > INT32_MAX)
            return call_fail(call, MITRAL_LIMIT, "fewer images or rows expected");
        form->sources[i].channels = size[1];
        form->sources[i].scale = scale;
        form->sources[i].rounded = x->dtype == MITRAL_BFLOAT16;
        form->channels += size[1];
        if (i > 0 && (size[0] != form->batch || size[2] != form->size[0] || size[3] != form->size[1]))
            return call_fail(call, MITRAL_INVALID, "source %zu: %d images of %dx%d expected, found %d of %dx%d", i, form->batch,
                             form->size[0], form->size[1], size[0], size[2], size[3]);
        form->batch = size[0];
        form->size[0] = size[2];
        form->size[1] = size[3];
    }
    return MITRAL_OK;
}

/* What a stage is given: channels and size. */
static mitral_status stage_input(const struct kernel_call *call, const struct dilated_form *form, int index, struct dilated_stage *stage)
{
    if (stage->from >= index || stage->from < FROM_Y)
        return call_fail(call, MITRAL_INVALID, "stage %d: input of an earlier stage expected, found %d", index, stage->from);
    if (stage->from >= 0) {
        const struct dilated_stage *before = &form->stages[stage->from];
        stage->channels = before->outputs;
        memcpy(stage->input_size, before->size, sizeof stage->input_size);
    } else if (stage->from == FROM_X) {
        stage->channels = form->channels;
        memcpy(stage->input_size, form->size, sizeof stage->input_size);
    } else {
        stage->channels = form->merged_channels;
        for (int d = 0; d < 2; d++)
            stage->input_size[d] = stage->from == FROM_GATE ? 1 : form->output_size[d];
    }
    return MITRAL_OK;
}

static mitral_status decode_stage(const struct kernel_call *call, struct dilated_form *form, int index, const int64_t *fields)
{
    struct dilated_stage *stage = &form->stages[index];
    size_t input = (size_t)form->source_count + 3 * (size_t)index;
    char text[160];
    TRY(bounded(call, "a stage's input", fields[0], FROM_Y, DILATED_STAGES, &stage->from));
    TRY(bounded(call, "a stage's kind", fields[1], STAGE_CONVOLUTION, STAGE_ACTIVATION, &stage->kind));
    TRY(bounded(call, "a stage's groups", fields[2], 1, DILATED_CHANNELS, &stage->groups));
    TRY(stage_input(call, form, index, stage));
    stage->weights = call_input(call, input);
    stage->bias = call_input(call, input + 1);
    stage->slope = call_input(call, input + 2);
    const mitral_tensor *w = stage->weights;
    if (stage->kind == STAGE_ACTIVATION) {
        if (w || stage->bias)
            return call_fail(call, MITRAL_INVALID, "stage %d: an activation without weights expected, found some", index);
        stage->outputs = stage->channels;
        memcpy(stage->size, stage->input_size, sizeof stage->size);
        for (int d = 0; d < 2; d++)
            stage->kernel[d] = stage->stride[d] = stage->dilation[d] = 1;
        TRY(vector(call, "a stage's slope", stage->slope, stage->outputs));
        return activation(call, "a stage's activation", fields[11], stage->slope, &stage->activation);
    }
    if (!w || w->dtype != MITRAL_FLOAT || w->rank != 4 || w->dims[1] != stage->channels / stage->groups
        || stage->channels % stage->groups || w->dims[0] % stage->groups)
        return call_fail(call, MITRAL_INVALID, "stage %d: weights of %d channels in %d groups expected, found %s", index, stage->channels,
                         stage->groups, w ? tensor_describe(w, text, sizeof text) : "none");
    TRY(bounded(call, "a stage's channels", w->dims[0], 1, DILATED_CHANNELS, &stage->outputs));
    TRY(vector(call, "a stage's bias", stage->bias, stage->outputs));
    TRY(vector(call, "a stage's slope", stage->slope, stage->outputs));
    TRY(activation(call, "a stage's activation", fields[11], stage->slope, &stage->activation));
    for (int d = 0; d < 2; d++) {
        TRY(bounded(call, "a kernel", w->dims[2 + d], 1, DILATED_KERNEL, &stage->kernel[d]));
        TRY(bounded(call, "a stride", fields[3 + d], 1, DILATED_STRIDE, &stage->stride[d]));
        TRY(bounded(call, "a dilation", fields[5 + d], 1, DILATED_DILATION, &stage->dilation[d]));
        TRY(bounded(call, "a pad", fields[7 + d], 0, DILATED_PAD, &stage->pad_begin[d]));
        TRY(bounded(call, "a pad", fields[9 + d], 0, DILATED_PAD, &stage->pad_end[d]));
        int size = stage->kind == STAGE_GLOBAL ? 1 : stage->input_size[d];
        int free = size + stage->pad_begin[d] + stage->pad_end[d] - (stage->kernel[d] - 1) * stage->dilation[d] - 1;
        if (free < 0)
            return call_fail(call, MITRAL_INVALID, "stage %d: a kernel within the padded input expected, found one larger by %d", index,
                             -free);
        stage->size[d] = stage->kind == STAGE_GLOBAL ? stage->input_size[d] : free / stage->stride[d] + 1;
    }
    return MITRAL_OK;
}

/* The merged map's channels and size, from the branches; called once all the stages that they name are decoded. */
static mitral_status decode_merge(const struct kernel_call *call, struct dilated_form *form)
{
    form->merged_channels = 0;
    for (int k = 0; k < form->branch_count; k++) {
        const struct dilated_stage *branch = &form->stages[form->branches[k]], *first = &form->stages[form->branches[0]];
        if (memcmp(branch->size, first->size, sizeof first->size) != 0)
            return call_fail(call, MITRAL_INVALID, "branch %d: %dx%d expected, found %dx%d", k, first->size[0], first->size[1],
                             branch->size[0], branch->size[1]);
        int together = form->merge == MERGE_SUM ? 0 : form->merge == MERGE_RUNNING ? form->running_from : form->branch_count;
        if (k > together && branch->outputs != form->stages[form->branches[k - 1]].outputs)
            return call_fail(call, MITRAL_INVALID, "branch %d: %d channels expected, found %d", k,
                             form->stages[form->branches[k - 1]].outputs, branch->outputs);
        form->merged_channels = form->merge == MERGE_SUM ? branch->outputs : form->merged_channels + branch->outputs;
    }
    memcpy(form->output_size, form->stages[form->branches[0]].size, sizeof form->output_size);
    return MITRAL_OK;
}

static mitral_status decode_stages(const struct kernel_call *call, struct dilated_form *form)
{
    const int64_t *fields, *branches;
    size_t count, branch_count, merged_at = 0;
    TRY(list(call, "stages", STAGE_FIELDS, STAGE_FIELDS * DILATED_STAGES, &fields, &count));
    TRY(list(call, "branches", 1, DILATED_BRANCHES, &branches, &branch_count));
    form->stage_count = (int)(count / STAGE_FIELDS);
    form->branch_count = (int)branch_count;
    for (size_t k = 0; k < branch_count; k++) {
        TRY(bounded(call, "a branch", branches[k], 0, form->stage_count - 1, &form->branches[k]));
        if (branches[k] + 1 > (int64_t)merged_at)
            merged_at = (size_t)branches[k] + 1;
    }
    const char *merge = attribute_string(call->attributes, "merge", "concat");
    form->merge = strcmp(merge, "sum") == 0 ? MERGE_SUM : strcmp(merge, "running") == 0 ? MERGE_RUNNING : MERGE_CONCAT;
    if (form->merge == MERGE_CONCAT && strcmp(merge, "concat") != 0)
        return call_fail(call, MITRAL_INVALID, "attribute merge: concat, sum or running expected, found %.40s", merge);
    TRY(attribute(call, "running_from", 0, 0, DILATED_BRANCHES, &form->running_from));
    for (int i = 0; i < form->stage_count; i++) {
        if (i == (int)merged_at)
            TRY(decode_merge(call, form));
        if (fields[i * STAGE_FIELDS] < FROM_X && i < (int)merged_at)
            return call_fail(call, MITRAL_INVALID, "stage %d: a branch that does not need the merged map expected", i);
        TRY(decode_stage(call, form, i, fields + i * STAGE_FIELDS));
    }
    return (int)merged_at == form->stage_count ? decode_merge(call, form) : MITRAL_OK;
}

static mitral_status stage_attribute(const struct kernel_call *call, const struct dilated_form *form, const char *name, int *out)
{
    return attribute(call, name, -1, -1, form->stage_count - 1, out);
}

static bool is_pointwise(const struct dilated_stage *s)
{
    return s->kind == STAGE_CONVOLUTION && s->groups == 1 && s->kernel[0] == 1 && s->kernel[1] == 1 && s->stride[0] == 1
           && s->stride[1] == 1 && s->pad_begin[0] + s->pad_begin[1] + s->pad_end[0] + s->pad_end[1] == 0;
}

static mitral_status check_head(const struct kernel_call *call, struct dilated_form *form)
{
    form->results = form->outputs;
    for (int i = 0; i < form->stage_count; i++)
        if (form->stages[i].from == FROM_Y && i != form->head)
            return call_fail(call, MITRAL_INVALID, "stage %d: no other stage of the end than the head expected", i);
    if (form->head < 0)
        return MITRAL_OK;
    const struct dilated_stage *head = &form->stages[form->head];
    if (head->from != FROM_Y || !is_pointwise(head) || form->tail >= 0 || form->gate[0] >= 0)
        return call_fail(call, MITRAL_INVALID, "head: a 1x1 stage of the end of a block without tail and gate expected");
    form->results = head->outputs;
    return MITRAL_OK;
}

/* The shortcut and the second gate stage have to fit what they are combined with. */
static mitral_status check_end(const struct kernel_call *call, struct dilated_form *form)
{
    form->outputs = form->merged_channels;
    if (form->tail >= 0) {
        const struct dilated_stage *tail = &form->stages[form->tail];
        if (tail->from != FROM_MERGED || memcmp(tail->size, form->output_size, sizeof tail->size) != 0)
            return call_fail(call, MITRAL_INVALID, "tail: a stage that keeps the merged map's size expected");
        form->outputs = tail->outputs;
    }
    if ((form->gate[0] < 0) != (form->gate[1] < 0))
        return call_fail(call, MITRAL_INVALID, "gate: two stages or none expected");
    if (form->gate[0] >= 0) {
        const struct dilated_stage *first = &form->stages[form->gate[0]], *second = &form->stages[form->gate[1]];
        if (first->from != FROM_GATE || second->from != form->gate[0] || second->outputs != form->merged_channels || form->tail >= 0)
            return call_fail(call, MITRAL_INVALID, "gate: two stages from the merged map's mean to its channels expected, no tail");
    }
    int channels = form->channels;
    const int *size = form->size;
    if (form->shortcut == SHORTCUT_INPUT) {
        const int64_t dims[] = {form->batch, form->shortcut_first ? form->merged_channels : form->outputs, form->output_size[0],
                                form->output_size[1]};
        if (!form->added || form->added->dtype != MITRAL_FLOAT || form->added->rank != 4
            || memcmp(form->added->dims, dims, sizeof dims) != 0)
            return call_fail(call, MITRAL_INVALID, "shortcut: float32[%lld,%lld,%lld,%lld] expected", (long long)dims[0],
                             (long long)dims[1], (long long)dims[2], (long long)dims[3]);
        channels = (int)dims[1];
        size = form->output_size;
    }
    if (form->shortcut == SHORTCUT_STAGE) {
        if (form->shortcut_stage < 0)
            return call_fail(call, MITRAL_INVALID, "shortcut: a stage expected, found none");
        const struct dilated_stage *stage = &form->stages[form->shortcut_stage];
        channels = stage->outputs;
        size = stage->size;
    }
    int wanted = form->shortcut_first ? form->merged_channels : form->outputs;
    if (form->shortcut != SHORTCUT_NONE && (channels != wanted || memcmp(size, form->output_size, sizeof form->output_size) != 0))
        return call_fail(call, MITRAL_INVALID, "shortcut: %d channels of %dx%d expected, found %d of %dx%d", wanted, form->output_size[0],
                         form->output_size[1], channels, size[0], size[1]);
    TRY(vector(call, "scale", form->scale, form->merged_channels));
    TRY(vector(call, "shift", form->shift, form->merged_channels));
    TRY(vector(call, "merged slope", form->merged_slope, form->merged_channels));
    TRY(vector(call, "slope", form->slope, form->outputs));
    return check_head(call, form);
}

mitral_status dilated_decode(const struct kernel_call *call, struct dilated_form *form)
{
    int shortcut, first;
    *form = (struct dilated_form){.rounded = attribute_int(call->attributes, "output_bfloat16", 0) != 0};
    TRY(decode_sources(call, form));
    TRY(decode_stages(call, form));
    TRY(attribute(call, "shortcut", SHORTCUT_NONE, SHORTCUT_NONE, SHORTCUT_INPUT, &shortcut));
    form->shortcut = (enum dilated_shortcut)shortcut;
    TRY(attribute(call, "shortcut_first", 0, 0, 1, &first));
    form->shortcut_first = first != 0;
    TRY(stage_attribute(call, form, "shortcut_stage", &form->shortcut_stage));
    TRY(stage_attribute(call, form, "tail", &form->tail));
    TRY(stage_attribute(call, form, "gate_first", &form->gate[0]));
    TRY(stage_attribute(call, form, "gate_second", &form->gate[1]));
    TRY(stage_attribute(call, form, "head", &form->head));
    size_t after = (size_t)form->source_count + 3 * (size_t)form->stage_count;
    form->scale = call_input(call, after);
    form->shift = call_input(call, after + 1);
    form->merged_slope = call_input(call, after + 2);
    form->slope = call_input(call, after + 3);
    form->added = call_input(call, after + 4);
    TRY(activation(call, "merged_activation", attribute_int(call->attributes, "merged_activation", 0), form->merged_slope,
                   &form->merged_activation));
    TRY(activation(call, "activation", attribute_int(call->attributes, "activation", 0), form->slope, &form->activation));
    return check_end(call, form);
}

mitral_status dilated_shape(struct kernel_call *call)
{
    struct dilated_form form;
    TRY(dilated_decode(call, &form));
    const int64_t dims[] = {form.batch, form.results, form.output_size[0], form.output_size[1]};
    int32_t layout = call_output(call, 0) ? call_output(call, 0)->layout : LAYOUT_PLAIN;
    call_set_output(call, 0, form.rounded ? MITRAL_BFLOAT16 : MITRAL_FLOAT, 4, dims);
    if (call_output(call, 0))
        call_output(call, 0)->layout = layout;
    return MITRAL_OK;
}

double dilated_flops(const struct dilated_form *form)
{
    double sum = 0;
    for (int i = 0; i < form->stage_count; i++) {
        const struct dilated_stage *s = &form->stages[i];
        if (s->kind == STAGE_ACTIVATION)
            continue;
        double pixels = s->kind == STAGE_GLOBAL ? 1 : (double)s->size[0] * s->size[1];
        sum += 2.0 * form->batch * pixels * s->outputs * (s->channels / s->groups) * s->kernel[0] * s->kernel[1];
    }
    return sum;
}

/* ---- the kind that runs as one loop ---------------------------------------------------------------------------------- */

static bool is_branch(const struct dilated_stage *s)
{
    int d = s->dilation[0];
    return s->kind == STAGE_CONVOLUTION && s->groups == 1 && s->kernel[0] == 3 && s->kernel[1] == 3 && s->stride[0] == 1
           && s->stride[1] == 1 && s->dilation[1] == d && s->pad_begin[0] == d && s->pad_begin[1] == d && s->pad_end[0] == d
           && s->pad_end[1] == d && s->activation == PLANAR_LINEAR && !s->bias;
}

int dilated_span(const int *dilations, int count)
{
    int64_t span = WINOGRAD_OUTPUTS;
    for (int k = 0; k < count; k++) {
        int64_t x = span, y = WINOGRAD_OUTPUTS * (int64_t)dilations[k];
        while (y) {
            const int64_t rest = x % y;
            x = y;
            y = rest;
        }
        span = span / x * WINOGRAD_OUTPUTS * dilations[k]; /* their least common multiple */
        if (span > LARGEST_SPAN)
            return 0;
    }
    return (int)span;
}

void dilated_place_branches(const struct dilated_form *form, struct dilated_branch branches[DILATED_BRANCHES])
{
    int first = 0;
    const int from = form->merge == MERGE_SUM ? 0 : form->merge == MERGE_RUNNING ? form->running_from : form->branch_count;
    for (int k = 0; k < form->branch_count; k++) {
        const struct dilated_stage *s = &form->stages[form->branches[k]];
        const bool last = k == form->branch_count - 1;
        branches[k] = (struct dilated_branch){.channels = s->outputs, .dilation = s->dilation[0], .first = first,
                                              .read_sum = k > from, .write_sum = k >= from && !last,
                                              .output = form->merge != MERGE_SUM || last};
        first += form->merge == MERGE_SUM ? 0 : s->outputs;
    }
}

static bool check_branches(const struct dilated_form *form, struct dilated_block *block)
{
    int from = form->stages[form->branches[0]].from, dilations[DILATED_BRANCHES];
    for (int k = 0; k < form->branch_count; k++) {
        const struct dilated_stage *s = &form->stages[form->branches[k]];
        if (!is_branch(s) || s->from != from)
            return false;
        for (int j = 0; j < k; j++)
            if (form->branches[j] == form->branches[k])
                return false;
        if (s->dilation[0] > block->widest)
            block->widest = s->dilation[0];
        dilations[k] = s->dilation[0];
    }
    block->span = dilated_span(dilations, form->branch_count);
    block->branch_count = form->branch_count;
    dilated_place_branches(form, block->branches);
    return block->span > 0;
}

int dilated_sources(const struct dilated_block *block, bool upsampled)
{
    int count = 0;
    for (int s = 0; s < block->source_count; s++)
        count += (block->sources[s].scale == SCALE_UPSAMPLED) == upsampled;
    return count;
}

bool dilated_block_of(const struct dilated_form *form, struct dilated_block *block)
{
    *block = (struct dilated_block){.batch = form->batch, .height = form->size[0], .width = form->size[1],
                                    .source_count = form->source_count, .channels = form->channels, .outputs = form->outputs,
                                    .results = form->results, .rounded = form->rounded, .head = form->head >= 0,
                                    .shortcut = form->shortcut, .shortcut_first = form->shortcut_first, .activation = form->activation};
    int reduce = form->stages[form->branches[0]].from, stages = form->branch_count;
    if (form->shortcut == SHORTCUT_INPUT || form->tail >= 0 || form->gate[0] >= 0 || form->merged_activation != PLANAR_LINEAR || !check_branches(form, block))
        return false;
    block->reduce = reduce >= 0;
    block->reduced = form->channels;
    if (reduce >= 0) {
        const struct dilated_stage *stage = &form->stages[reduce];
        if (stage->from != FROM_X || !is_pointwise(stage))
            return false;
        block->reduced = stage->outputs;
        block->reduce_activation = stage->activation;
        stages++;
    } else if (reduce != FROM_X || form->source_count != 1 || form->sources[0].scale != SCALE_SAME) {
        return false;
    }
    if (form->shortcut == SHORTCUT_STAGE) {
        const struct dilated_stage *stage = &form->stages[form->shortcut_stage];
        if (stage->from != FROM_X || !is_pointwise(stage) || stage->activation != PLANAR_LINEAR)
            return false;
        stages++;
    } else if (form->shortcut == SHORTCUT_IDENTITY && (form->source_count != 1 || form->sources[0].scale != SCALE_SAME)) {
        return false;
    }
    if (block->head) {
        block->head_activation = form->stages[form->head].activation;
        stages++;
    }
    int first = 0;
    for (int i = 0; i < form->source_count; i++) {
        block->sources[i].channels = form->sources[i].channels;
        block->sources[i].scale = form->sources[i].scale;
        block->sources[i].height = form->sources[i].height;
        block->sources[i].width = form->sources[i].width;
        block->sources[i].first = first;
        block->sources[i].rounded = form->sources[i].rounded;
        first += form->sources[i].channels;
    }
    return stages == form->stage_count;
}
