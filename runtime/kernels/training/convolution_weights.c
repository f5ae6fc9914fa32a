/* training.convolution_weights: X, dY, like? → dW, dB?. The sum over pixels is cut into units that the shapes decide; each unit's sums
 * are its own, and are added up in order. 3×3 filters go through Winograd along the rows, or by squares across the columns, too, as the forward
 * convolution does: what its products' weights get as their gradient turns into that of the filters at the end. */
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "runtime/kernels/planar/pack.h"
#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/training/convolution_weights.h"
#include "runtime/round.h"

/* A tile's sums are added up over the lanes at the end of an item's columns, so there should be many; small maps have fewer, for threads to
 * share. */
enum { ROWS_COLUMNS = 960, ROWS_FEWER = 512, FEW_ITEMS = 4, POINT_COLUMNS = 800, TAPS_BYTES = 1 << 20, TAPS_COLUMNS = 900, UNITS = 16,
       UNIT_BYTES = 8 << 20, POINTER_FLOATS = 2, TOGETHER = 64 };
/* Both ways: channels and features from which on and up to which, together; an item's tiles, as many as fit in a part of the third cache level;
 * channels and features up to which memory is slower than the products, so that the next item is fetched meanwhile; bytes of all units' sums. */
enum { SQUARES = WINOGRAD_INPUTS * WINOGRAD_INPUTS, SQUARES_CHANNELS = 32, SQUARES_TOGETHER = 1024, SQUARES_BYTES = 4 << 20, SQUARES_TILES = 512,
       SQUARES_AHEAD = 128, SQUARES_UNIT_BYTES = 10 << 20 };

#define MOST_FLOATS 0x1p48

static enum way choose(const struct slide *s, const struct training_blocks *blocks)
{
    bool point = true, three = s->channels >= 2;
    for (int i = 0; i < 2; i++) {
        point = point && s->kernel[i] == 1 && s->stride[i] == 1 && s->pad[i] == 0 && s->input[i] == s->output[i];
        three = three && s->kernel[i] == 3 && s->stride[i] == 1;
    }
    const bool square = three && square_fits(s, blocks) && s->channels >= SQUARES_CHANNELS && s->features >= SQUARES_CHANNELS
                        && s->channels + s->features <= SQUARES_TOGETHER;
    return point ? BY_POINTS : square ? BY_SQUARES : three ? BY_ROWS : BY_TAPS;
}

/* Rows of one phase of the input's (rows a stride apart) that some output rows take their windows from. */
static int64_t phase_rows(const struct slide *s, int64_t outputs)
{
    return outputs + (s->kernel[0] - 1) * s->dilation[0] / s->stride[0];
}

/* What a thread's item holds at the least: a bound for all that is computed in 64 bits. */
static double taps_floats(const struct slide *s)
{
    return (double)(s->channels * s->kernel[1]) * (double)s->stride[0] * (double)phase_rows(s, 1) * (double)s->output[1];
}

static mitral_status shape(struct kernel_call *call)
{
    mitral_tensor w;
    struct slide slide;
    TRY(slide_of_weights(call, &w, &slide));
    if (choose(&slide, training_blocks_of(cpu_isa())) == BY_TAPS && taps_floats(&slide) > MOST_FLOATS)
        return call_fail(call, MITRAL_LIMIT, "smaller steps, windows or paddings expected");
    call_set_output(call, 0, MITRAL_FLOAT, w.rank, w.dims);
    call_set_output(call, 1, MITRAL_FLOAT, 1, w.dims);
    return MITRAL_OK;
}

static void measure_taps(struct state *state)
{
    const struct slide *s = &state->slide;
    state->together = s->output[1] > 0 && s->output[1] <= TAPS_COLUMNS ? (int)(TAPS_COLUMNS / s->output[1]) : 1;
    for (; state->together > 1; state->together /= 2)
        if (s->channels * s->kernel[1] * s->stride[0] * phase_rows(s, state->together) * s->output[1] * (int64_t)sizeof(float) <= TAPS_BYTES)
            break;
    state->plane = (ptrdiff_t)(phase_rows(s, state->together) * s->output[1]);
    state->items_each = (int)divide_up(s->output[0], state->together);
    state->slid = (size_t)round_up(s->channels * s->kernel[1] * s->stride[0] * state->plane + TRAINING_SLACK, LINE_FLOATS);
}

static void measure_squares(struct state *state)
{
    const struct slide *s = &state->slide;
    const int64_t fits = SQUARES_BYTES / (SQUARES * (s->channels + s->features) * (int64_t)sizeof(float));
    const int64_t least = 2 * s->channels * s->features / (s->channels + s->features); /* else sums are read and written more than tiles */
    square_measure(&state->square, s, fits < least ? least : fits > SQUARES_TILES ? SQUARES_TILES : fits, s->batch, 1);
    state->segments = state->square.segments;
    state->slid_position = (ptrdiff_t)s->channels * state->segments.width + LINE_FLOATS;
    state->gradient_pitch = state->segments.width;
    state->gradient_position = (ptrdiff_t)s->features * state->gradient_pitch + LINE_FLOATS;
    state->slid = (size_t)round_up(SQUARES * state->slid_position + TRAINING_SLACK, LINE_FLOATS);
    state->gradient = (size_t)round_up(SQUARES * state->gradient_position + TRAINING_SLACK, LINE_FLOATS);
    state->rows = state->square.rows;
}

static void measure(struct state *state)
{
    const struct slide *s = &state->slide;
    state->way = choose(s, state->blocks);
    state->positions = state->way == BY_ROWS ? WINOGRAD_INPUTS : state->way == BY_SQUARES ? SQUARES : 1;
    state->depth = s->channels * (state->way == BY_ROWS ? 3 : state->way == BY_SQUARES ? 1 : s->kernel[0] * s->kernel[1]);
    if (state->way == BY_POINTS) {
        const int64_t pixels = s->output[0] * s->output[1];
        state->together = pixels ? (int)round_up(divide_up(pixels, divide_up(pixels, POINT_COLUMNS)), LINE_FLOATS) : 0; /* about as many each */
        state->items_each = pixels ? (int)divide_up(pixels, state->together) : 0;
    } else if (state->way == BY_TAPS) {
        measure_taps(state);
    } else if (state->way == BY_SQUARES) {
        measure_squares(state);
    } else {
        const int64_t each = s->batch * (s->output[0] / WINOGRAD_OUTPUTS) * s->output[1] / FEW_ITEMS;
        segments_measure(&state->segments, s, each < ROWS_FEWER ? ROWS_FEWER : each > ROWS_COLUMNS ? ROWS_COLUMNS : each, s->batch, 1);
        state->slid_position = (ptrdiff_t)s->channels * state->segments.width + LINE_FLOATS;
        state->gradient_pitch = round_up((int64_t)state->segments.together * state->segments.step, LINE_FLOATS) + TRAINING_SLACK;
        state->gradient_position = (ptrdiff_t)s->features * state->gradient_pitch + LINE_FLOATS;
        state->slid = (size_t)round_up(WINOGRAD_INPUTS * state->slid_position + TRAINING_SLACK, LINE_FLOATS);
        state->gradient = (size_t)round_up(WINOGRAD_INPUTS * state->gradient_position + TRAINING_SLACK, LINE_FLOATS);
    }
    state->ahead_rows = s->features + (state->way == BY_TAPS ? 0 : s->channels);
    if (state->way >= BY_ROWS)
        state->ahead_rows *= state->segments.together * WINOGRAD_OUTPUTS;
    if (state->way == BY_SQUARES && s->channels + s->features > SQUARES_AHEAD)
        state->ahead_rows = 0;
    state->items = state->way >= BY_ROWS ? state->segments.items : s->batch * state->items_each;
    const int64_t sums = state->positions * s->features * state->depth, bytes = state->way == BY_SQUARES ? SQUARES_UNIT_BYTES : UNIT_BYTES;
    const int64_t fits = bytes / (sums * (int64_t)sizeof(float) + 1);
    state->units = fits < 1 ? 1 : fits > UNITS ? UNITS : fits;
    if (state->units > state->items)
        state->units = state->items > 0 ? state->items : 1;
}

static size_t unit_floats(const struct state *state)
{
    return (size_t)round_up(state->positions * state->slide.features * state->depth, LINE_FLOATS);
}

static size_t offsets_bytes(const struct state *state)
{
    return aligned_bytes((size_t)state->depth * sizeof(ptrdiff_t));
}

/* Floats of a thread's scratch: the rows that come next, then what is spread. */
static size_t ahead_floats(const struct state *state)
{
    return (size_t)round_up(state->ahead_rows * POINTER_FLOATS, LINE_FLOATS);
}

size_t weights_thread_floats(const struct state *state)
{
    return ahead_floats(state) + state->slid + state->gradient + 2 * state->rows;
}

static mitral_status prepare(struct kernel_call *call, void **out, size_t *scratch_bytes)
{
    static const char *const names[] = {"pointwise:planes", "direct:planes", "winograd4:planes", "winograd4x4:planes"};
    mitral_tensor w;
    struct slide slide;
    TRY(slide_of_weights(call, &w, &slide));
    struct state *state = mitral_allocate(call->context, sizeof *state);
    if (!state)
        return MITRAL_NO_MEMORY;
    state->slide = slide;
    state->blocks = training_blocks_of(cpu_isa());
    state->threads = call->threads > 0 ? call->threads : 1;
    state->wants_weights = call_output(call, 0) != NULL;
    state->wants_bias = call_output(call, 1) != NULL;
    measure(state);
    *scratch_bytes = offsets_bytes(state)
                     + ((size_t)state->units * unit_floats(state) + (size_t)state->threads * weights_thread_floats(state)) * sizeof(float);
    snprintf(state->text, sizeof state->text, "%s:%s", names[state->way], state->blocks->name);
    *out = state;
    return MITRAL_OK;
}

static void release(mitral_context *context, void *state)
{
    mitral_release(context, state);
}

/* ---- items ---------------------------------------------------------------------------------------------------------------- */

/* Those of an item of pixels, or of gradients alone: by taps, X is smaller by far. */
static void pixels_ahead(const struct state *state, const struct operands *o, int64_t item, struct training_ahead *ahead)
{
    const struct slide *s = &state->slide;
    const ptrdiff_t pixels = (ptrdiff_t)(s->output[0] * s->output[1]), image = (ptrdiff_t)(item / state->items_each);
    const ptrdiff_t together = (ptrdiff_t)(state->together * (state->way == BY_TAPS ? s->output[1] : 1));
    const ptrdiff_t first = (ptrdiff_t)(item % state->items_each) * together, columns = pixels - first < together ? pixels - first : together;
    int count = 0;
    for (int64_t f = 0; f < s->features; f++)
        o->ahead[count++] = o->dy + (image * s->features + f) * pixels + first;
    for (int64_t c = 0; state->way == BY_POINTS && c < s->channels; c++)
        o->ahead[count++] = o->x + (image * s->channels + c) * pixels + first;
    *ahead = (struct training_ahead){.rows = o->ahead, .count = count, .lines = (int)((columns + 15) / 16)};
}

void weights_look_ahead(const struct state *state, const struct operands *o, int64_t item, int64_t steps, struct training_ahead *ahead)
{
    *ahead = (struct training_ahead){0};
    if (item + 1 >= state->items || steps < 1 || state->ahead_rows == 0)
        return;
    (state->way >= BY_ROWS ? weights_rows_ahead : pixels_ahead)(state, o, item + 1, ahead);
    training_ahead_pace(ahead, steps);
}

/* The whole of an item. */
static void run_outer(const struct state *state, const struct operands *o, int64_t item, struct training_outer *outer)
{
    struct training_ahead ahead;
    weights_look_ahead(state, o, item, training_outer_steps(state->blocks, outer->rows, outer->depth, outer->columns), &ahead);
    outer->ahead = &ahead;
    state->blocks->outer(outer);
}

static void run_points(const struct state *state, const struct operands *o, int64_t item, float *sums)
{
    const struct slide *s = &state->slide;
    const ptrdiff_t pixels = (ptrdiff_t)(s->output[0] * s->output[1]), image = (ptrdiff_t)(item / state->items_each);
    const ptrdiff_t first = (ptrdiff_t)(item % state->items_each) * state->together;
    struct training_outer outer = {.rows = (int)s->features, .depth = (int)state->depth,
                                   .columns = pixels - first < state->together ? (int)(pixels - first) : state->together,
                                   .a = o->dy + image * s->features * pixels + first, .pitch = pixels,
                                   .b = o->x + image * s->channels * pixels + first, .offsets = o->offsets, .sums = sums,
                                   .sum_pitch = (ptrdiff_t)state->depth};
    run_outer(state, o, item, &outer);
}

/* One row of X as a tap's column sees it: element x is what an output's column x multiplies. */
static void slide_row(const struct slide *s, const float *row, int64_t first, float *to)
{
    const int64_t stride = s->stride[1], width = s->output[1];
    int64_t x = 0, end = first >= s->input[1] ? 0 : (s->input[1] - first + stride - 1) / stride;
    end = end < width ? end : width;
    for (; x < end && first + x * stride < 0; x++)
        to[x] = 0;
    if (stride == 1 && x < end)
        memcpy(to + x, row + first + x, (size_t)(end - x) * sizeof *to);
    else
        for (int64_t i = x; i < end; i++)
            to[i] = row[first + i * stride];
    x = x > end ? x : end;
    memset(to + x, 0, (size_t)(width - x) * sizeof *to);
}

/* Each column of taps has a copy of X's rows, so that they are as long as those of dY, which lies where it is: a sum goes over several rows. */
static void run_taps(const struct state *state, const struct operands *o, int64_t item, float *sums)
{
    const struct slide *s = &state->slide;
    const ptrdiff_t in_plane = (ptrdiff_t)(s->input[0] * s->input[1]), out_plane = (ptrdiff_t)(s->output[0] * s->output[1]);
    const ptrdiff_t image = (ptrdiff_t)(item / state->items_each), width = (ptrdiff_t)s->output[1];
    const int64_t first = item % state->items_each * state->together;
    const int64_t count = s->output[0] - first < state->together ? s->output[0] - first : state->together;
    float *to = o->own;
    for (int64_t c = 0; c < s->channels; c++)
        for (int64_t x = 0; x < s->kernel[1]; x++)
            for (int64_t phase = 0; phase < s->stride[0]; phase++, to += state->plane)
                for (int64_t r = 0; r < phase_rows(s, count); r++) {
                    const int64_t row = (first + r) * s->stride[0] + phase - s->pad[0];
                    if (row < 0 || row >= s->input[0])
                        memset(to + r * width, 0, (size_t)width * sizeof *to);
                    else
                        slide_row(s, o->x + (image * s->channels + c) * in_plane + row * s->input[1], x * s->dilation[1] - s->pad[1], to + r * width);
                }
    struct training_outer outer = {.rows = (int)s->features, .depth = (int)state->depth, .columns = (int)(count * width),
                                   .a = o->dy + image * s->features * out_plane + first * width, .pitch = out_plane, .b = o->own,
                                   .offsets = o->offsets, .sums = sums, .sum_pitch = (ptrdiff_t)state->depth};
    run_outer(state, o, item, &outer);
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------ */

static void place_taps(const struct state *state, ptrdiff_t *offsets)
{
    const struct slide *s = &state->slide;
    for (int64_t k = 0; k < state->depth; k++) {
        if (state->way == BY_POINTS) {
            offsets[k] = (ptrdiff_t)(k * s->input[0] * s->input[1]);
        } else if (state->way == BY_SQUARES) {
            offsets[k] = (ptrdiff_t)k * state->segments.width;
        } else if (state->way == BY_ROWS) {
            offsets[k] = (ptrdiff_t)(k / 3) * state->segments.width + (ptrdiff_t)(k % 3 * s->dilation[1]);
        } else {
            const int64_t taps = s->kernel[0] * s->kernel[1];
            const int64_t row = k % taps / s->kernel[1] * s->dilation[0];
            offsets[k] = (ptrdiff_t)((k / taps * s->kernel[1] + k % s->kernel[1]) * s->stride[0] + row % s->stride[0]) * state->plane
                         + (ptrdiff_t)(row / s->stride[0] * s->output[1]);
        }
    }
}

/* Adds up what the units found. */
static void collect(const struct state *state, const float *sums, float *dw)
{
    const int64_t all = state->slide.features * state->depth;
#pragma omp parallel for num_threads(state->threads) schedule(static) if (state->threads > 1)
    for (int64_t first = 0; first < all; first += TOGETHER) {
        const int count = all - first < TOGETHER ? (int)(all - first) : TOGETHER;
        double totals[SQUARES][TOGETHER], filters[9][TOGETHER];
        for (int p = 0; p < state->positions; p++)
            training_total(sums + p * all + first, unit_floats(state), state->units, count, totals[p]);
        if (state->way == BY_SQUARES)
            pack_square_gradient(count, TOGETHER, totals[0], filters[0]);
        for (int i = 0; i < 9 * count && state->way == BY_SQUARES; i++)
            dw[9 * first + i] = (float)filters[i % 9][i / 9];
        for (int i = 0; i < count && state->way < BY_ROWS; i++)
            dw[first + i] = (float)totals[0][i];
        for (int i = 0; i < count && state->way == BY_ROWS; i++) {
            const int64_t filter = (first + i) / 3 * 9 + (first + i) % 3;
            double values[WINOGRAD_INPUTS], column[3];
            for (int p = 0; p < WINOGRAD_INPUTS; p++)
                values[p] = totals[p][i];
            pack_winograd_gradient(values, column);
            for (int y = 0; y < 3; y++)
                dw[filter + 3 * y] = (float)column[y];
        }
    }
}

void sum_features(const struct training_blocks *blocks, int threads, const struct slide *s, const float *dy, float *db)
{
    const ptrdiff_t plane = (ptrdiff_t)(s->output[0] * s->output[1]);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t f = 0; f < s->features; f++) {
        double value = 0;
        for (int64_t n = 0; n < s->batch; n++)
            value += blocks->sum(dy + (n * s->features + f) * plane, plane);
        db[f] = (float)value;
    }
}

static mitral_status run(struct kernel_call *call)
{
    static void (*const run_item[])(const struct state *, const struct operands *, int64_t, float *) = {run_points, run_taps, weights_run_rows, weights_run_rows};
    const struct state *state = call->state;
    const mitral_tensor *dy = call_input(call, 1);
    mitral_tensor *dw = call_output(call, 0), *db = call_output(call, 1);
    ptrdiff_t *offsets = call->scratch;
    float *sums = (float *)((char *)call->scratch + offsets_bytes(state)), *threads = sums + (size_t)state->units * unit_floats(state);
    if (db)
        sum_features(state->blocks, state->threads, &state->slide, dy->data, db->data);
    if (!dw || tensor_count(dw) == 0)
        return MITRAL_OK;
    place_taps(state, offsets);
#pragma omp parallel num_threads(state->threads) if (state->threads > 1 && state->units > 1)
    {
        struct operands o = {.x = call_input(call, 0)->data, .dy = dy->data, .offsets = offsets,
                             .ahead = (const float **)(threads + (size_t)omp_get_thread_num() * weights_thread_floats(state))};
        o.own = (float *)o.ahead + ahead_floats(state);
        if (state->way == BY_ROWS) /* what lies between the segments stays zero */
            memset(o.own, 0, (state->slid + state->gradient) * sizeof *o.own);
        else if (state->way == BY_SQUARES) /* and what lies beyond an image, in rows of all threads that a unit may be shared with */
            for (int t = 0; t < (state->units > 1 ? 1 : state->threads); t++)
                memset(o.own + (size_t)t * weights_thread_floats(state) + state->slid + state->gradient, 0, 2 * state->rows * sizeof *o.own);
#pragma omp for schedule(static)
        for (int64_t u = 0; u < state->units; u++) {
            float *unit = sums + (size_t)u * unit_floats(state);
            memset(unit, 0, unit_floats(state) * sizeof *unit);
            for (int64_t item = state->items * u / state->units; item < state->items * (u + 1) / state->units; item++)
                run_item[state->way](state, &o, item, unit);
        }
    }
    collect(state, sums, dw->data);
    return MITRAL_OK;
}

static const char *describe(const void *state)
{
    return ((const struct state *)state)->text;
}

const struct kernel training_convolution_weights[] = {
    {.name = "training.convolution_weights", .shape = shape, .prepare = prepare, .run = run, .release = release, .describe = describe,
     .flops = flops_weights},
};
const size_t training_convolution_weights_count = sizeof training_convolution_weights / sizeof *training_convolution_weights;
