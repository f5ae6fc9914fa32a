/* Weight gradients of 3×3 filters by Winograd: along the rows, or by squares across the columns, too. */
#include <omp.h>

#include "runtime/kernels/training/convolution_weights.h"

void weights_rows_ahead(const struct state *state, const struct operands *o, int64_t item, struct training_ahead *ahead)
{
    const struct slide *s = &state->slide;
    const struct segments *q = &state->segments;
    const ptrdiff_t in_plane = (ptrdiff_t)(s->input[0] * s->input[1]), out_plane = (ptrdiff_t)(s->output[0] * s->output[1]);
    const int64_t first = item * q->together, left = s->batch * q->down - first;
    int count = 0;
    for (int i = 0; i < (left < q->together ? left : q->together); i++) {
        const int64_t image = (first + i) / q->down, y = segment_row((first + i) % q->down, s->dilation[0]);
        for (int r = 0; r < WINOGRAD_OUTPUTS; r++) {
            const int64_t from = y - s->pad[0] + (r + 2) * s->dilation[0], to = y + r * s->dilation[0];
            for (int64_t c = 0; from < s->input[0] && from >= 0 && c < s->channels; c++)
                o->ahead[count++] = o->x + (image * s->channels + c) * in_plane + from * s->input[1];
            for (int64_t f = 0; to < s->output[0] && f < s->features; f++)
                o->ahead[count++] = o->dy + (image * s->features + f) * out_plane + to * s->output[1];
        }
    }
    *ahead = (struct training_ahead){.rows = o->ahead, .count = count, .lines = (int)((s->output[1] + 15) / 16)};
}

/* Both across their columns, too. Every thread has rows of its own, which are zero beyond the image. */
static void spread_squares(const struct state *state, const struct operands *o, int i, int64_t channel, struct training_spread spread,
                           int64_t feature, struct training_spread arriving)
{
    const struct training_blocks *across = training_column_blocks(state->blocks);
    const struct segments *q = &state->segments;
    float *rows = o->own + (size_t)omp_get_thread_num() * weights_thread_floats(state) + state->slid + state->gradient;
    struct training_columns columns = {.groups = state->square.groups, .dilation = (int)state->slide.dilation[1], .rows = rows,
                                       .row_pitch = state->square.row_pitch, .tiles = o->own + channel * q->width + i * q->step,
                                       .position = state->slid_position, .pitch = q->width};
    spread.output = columns.rows + state->slide.pad[1];
    square_spread(state->blocks->spread_input, across->spread_columns, spread, columns);
    columns.rows = rows + state->rows;
    columns.tiles = o->own + state->slid + feature * state->gradient_pitch + i * q->step;
    columns.position = state->gradient_position;
    arriving.output = columns.rows;
    square_spread(state->blocks->spread_gradient, across->scatter_columns, arriving, columns);
}

/* The rows of some channels of X and features of dY, spread for `count` groups from `first` on. */
static void spread_rows(const struct state *state, const struct operands *o, int64_t first, int count, const int64_t channels[2],
                        const int64_t features[2])
{
    const struct slide *s = &state->slide;
    const struct segments *q = &state->segments;
    const ptrdiff_t in_plane = (ptrdiff_t)(s->input[0] * s->input[1]), out_plane = (ptrdiff_t)(s->output[0] * s->output[1]);
    for (int i = 0; i < count; i++) {
        const int64_t image = (first + i) / q->down, y = segment_row((first + i) % q->down, s->dilation[0]);
        const float *x = o->x + (image * s->channels + channels[0]) * in_plane, *dy = o->dy + (image * s->features + features[0]) * out_plane;
        struct training_spread spread = {.channels = (int)(channels[1] - channels[0]), .columns = (int)s->input[1], .channel = in_plane,
                                         .output = o->own + channels[0] * q->width + i * q->step + s->pad[1],
                                         .position = state->slid_position, .pitch = q->width};
        struct training_spread arriving = {.channels = (int)(features[1] - features[0]), .columns = (int)s->output[1], .channel = out_plane,
                                           .output = o->own + state->slid + features[0] * state->gradient_pitch + i * q->step,
                                           .position = state->gradient_position, .pitch = state->gradient_pitch};
        for (int r = 0; r < WINOGRAD_INPUTS; r++) {
            const int64_t row = y - s->pad[0] + r * s->dilation[0];
            spread.rows[r] = row < 0 || row >= s->input[0] ? NULL : x + row * s->input[1];
        }
        for (int r = 0; r < WINOGRAD_OUTPUTS; r++) {
            const int64_t row = y + r * s->dilation[0];
            arriving.rows[r] = row >= s->output[0] ? NULL : dy + row * s->output[1];
        }
        if (state->way == BY_SQUARES) {
            spread_squares(state, o, i, channels[0], spread, features[0], arriving);
            continue;
        }
        state->blocks->spread_input(&spread);
        state->blocks->spread_gradient(&arriving);
    }
}

void weights_run_rows(const struct state *state, const struct operands *o, int64_t item, float *sums)
{
    const struct slide *s = &state->slide;
    const struct segments *q = &state->segments;
    const int64_t first = item * q->together, left = s->batch * q->down - first;
    const int count = left < q->together ? (int)left : q->together, slices = 16;
    const bool shared = state->units == 1 && state->threads > 1;
    const ptrdiff_t columns = (ptrdiff_t)((count - 1) * q->step + (state->way == BY_ROWS ? s->output[1] : q->step));
    struct training_ahead ahead;
    weights_look_ahead(state, o, item, shared ? 0 : state->positions * training_outer_steps(state->blocks, s->features, state->depth, columns), &ahead);
#pragma omp parallel num_threads(state->threads) if (shared)
    {
#pragma omp for schedule(static)
        for (int i = 0; i < slices; i++) {
            const int64_t channels[2] = {s->channels * i / slices, s->channels * (i + 1) / slices};
            const int64_t features[2] = {s->features * i / slices, s->features * (i + 1) / slices};
            spread_rows(state, o, first, count, channels, features);
        }
#pragma omp for schedule(static)
        for (int i = 0; i < state->positions; i++) {
            struct training_outer outer = {.rows = (int)s->features, .depth = (int)state->depth,
                                           .columns = (int)columns, .ahead = shared ? NULL : &ahead,
                                           .a = o->own + state->slid + i * state->gradient_position, .pitch = state->gradient_pitch,
                                           .b = o->own + i * state->slid_position, .offsets = o->offsets,
                                           .sums = sums + i * s->features * state->depth, .sum_pitch = (ptrdiff_t)state->depth};
            state->blocks->outer(&outer);
        }
    }
}
