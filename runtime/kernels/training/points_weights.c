/* training.points_weights: X, dY × outputs → dW × outputs [features, channels, 1, 1], the weight gradients of 1×1 convolutions that read one
 * map, which is read once. The sum over pixels is cut into units that the shapes decide, and the units' sums are added up in order. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/training/points.h"
#include "runtime/round.h"

/* Narrow vectors need fewer columns before the lanes' sums take little time, and then more of a chunk stays in a cache. */
enum { CHUNK = 1000, NARROW_CHUNK = 500, UNITS = 16, UNIT_BYTES = 8 << 20, TOGETHER = 64 };

struct sizes {
    int outputs, threads;
    int64_t batch, channels, pixels, chunk, chunks, items, units;
    int64_t features[POINTS_MOST], all_features;
    size_t unit; /* floats */
};

static mitral_status decode(const struct kernel_call *call, struct sizes *s)
{
    const mitral_tensor *x = call_input(call, 0);
    if (call->input_count < 2 || call->input_count > POINTS_MOST + 1 || !x || x->dtype != MITRAL_FLOAT || x->rank != 4 || x->dims[1] > INT32_MAX / 64)
        return call_fail(call, MITRAL_INVALID, "a float32 map of rank 4 and 1 to %d gradients expected, found %zu inputs", (int)POINTS_MOST,
                         call->input_count);
    *s = (struct sizes){.outputs = (int)call->input_count - 1, .threads = call->threads > 0 ? call->threads : 1, .batch = x->dims[0],
                        .channels = x->dims[1], .pixels = x->dims[2] * x->dims[3]};
    for (int j = 0; j < s->outputs; j++) {
        const mitral_tensor *dy = call_input(call, (size_t)j + 1);
        if (!dy || dy->dtype != MITRAL_FLOAT || dy->rank != 4 || dy->dims[0] != x->dims[0] || dy->dims[2] != x->dims[2]
            || dy->dims[3] != x->dims[3] || dy->dims[1] > INT32_MAX / 64)
            return call_fail(call, MITRAL_INVALID, "input %d: a float32 gradient as large as the map expected", j + 1);
        s->features[j] = dy->dims[1];
        s->all_features += dy->dims[1];
    }
    /* About as many pixels each, so that none has hardly any. */
    const int64_t most = training_blocks_of(cpu_isa())->lanes < 16 ? NARROW_CHUNK : CHUNK, about = divide_up(s->pixels, most);
    s->chunk = about ? round_up(divide_up(s->pixels, about), LINE_FLOATS) : most;
    s->chunks = divide_up(s->pixels, s->chunk);
    s->items = s->batch * s->chunks;
    const int64_t sums = s->all_features * s->channels, fits = UNIT_BYTES / (sums * (int64_t)sizeof(float) + 1);
    s->units = fits < 1 ? 1 : fits > UNITS ? UNITS : fits;
    if (s->units > s->items)
        s->units = s->items > 0 ? s->items : 1;
    s->unit = aligned_floats((size_t)sums);
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call)
{
    struct sizes s;
    TRY(decode(call, &s));
    for (int j = 0; j < s.outputs; j++)
        call_set_output(call, (size_t)j, MITRAL_FLOAT, 4, (const int64_t[]){s.features[j], s.channels, 1, 1});
    return MITRAL_OK;
}

static size_t offsets_bytes(const struct sizes *s)
{
    return aligned_bytes((size_t)s->channels * sizeof(ptrdiff_t));
}

/* A thread's rows of the item that comes next. */
static size_t ahead_bytes(const struct sizes *s)
{
    return aligned_bytes((size_t)(s->channels + s->all_features) * sizeof(float *));
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct sizes s;
    (void)state;
    TRY(decode(call, &s));
    *scratch_bytes = offsets_bytes(&s) + (size_t)s.threads * ahead_bytes(&s) + (size_t)s.units * s.unit * sizeof(float);
    return MITRAL_OK;
}

static ptrdiff_t columns_of(const struct sizes *s, int64_t item)
{
    const int64_t left = s->pixels - item % s->chunks * s->chunk;
    return (ptrdiff_t)(left < s->chunk ? left : s->chunk);
}

/* What the next item reads is fetched during the steps of this one's products. */
static struct training_ahead look_ahead(const struct kernel_call *call, const struct sizes *s, int64_t item, const float **rows)
{
    struct training_ahead ahead = {.rows = rows};
    if (item + 1 >= s->items)
        return ahead;
    const int64_t image = (item + 1) / s->chunks, first = (item + 1) % s->chunks * s->chunk;
    int64_t steps = 0;
    for (int j = 0; j < s->outputs; j++) {
        for (int64_t f = 0; f < s->features[j]; f++)
            rows[ahead.count++] = (const float *)call_input(call, (size_t)j + 1)->data + (image * s->features[j] + f) * s->pixels + first;
        steps += training_outer_steps(training_blocks_of(cpu_isa()), s->features[j], s->channels, columns_of(s, item));
    }
    for (int64_t c = 0; c < s->channels; c++)
        rows[ahead.count++] = (const float *)call_input(call, 0)->data + (image * s->channels + c) * s->pixels + first;
    ahead.lines = (int)((columns_of(s, item + 1) + 15) / 16);
    training_ahead_pace(&ahead, steps);
    return ahead;
}

static void run_item(const struct kernel_call *call, const struct sizes *s, const ptrdiff_t *offsets, const float **rows, int64_t item, float *sums)
{
    const struct training_blocks *blocks = training_blocks_of(cpu_isa());
    const int64_t image = item / s->chunks, first = item % s->chunks * s->chunk;
    struct training_ahead ahead = look_ahead(call, s, item, rows);
    for (int j = 0; j < s->outputs; j++) {
        struct training_outer outer = {.rows = (int)s->features[j], .depth = (int)s->channels,
                                       .columns = (int)columns_of(s, item), .ahead = &ahead,
                                       .a = (const float *)call_input(call, (size_t)j + 1)->data + image * s->features[j] * s->pixels + first,
                                       .pitch = (ptrdiff_t)s->pixels,
                                       .b = (const float *)call_input(call, 0)->data + image * s->channels * s->pixels + first,
                                       .offsets = offsets, .sums = sums, .sum_pitch = (ptrdiff_t)s->channels};
        blocks->outer(&outer);
        sums += s->features[j] * s->channels;
    }
}

static void collect(const struct kernel_call *call, const struct sizes *s, const float *sums)
{
    for (int j = 0; j < s->outputs; j++) {
        mitral_tensor *dw = call_output(call, (size_t)j);
        const int64_t count = s->features[j] * s->channels;
        for (int64_t first = 0; dw && first < count; first += TOGETHER) {
            const int some = count - first < TOGETHER ? (int)(count - first) : TOGETHER;
            double totals[TOGETHER];
            training_total(sums + first, s->unit, s->units, some, totals);
            for (int i = 0; i < some; i++)
                ((float *)dw->data)[first + i] = (float)totals[i];
        }
        sums += count;
    }
}

static mitral_status run(struct kernel_call *call)
{
    struct sizes s;
    TRY(decode(call, &s));
    ptrdiff_t *offsets = call->scratch;
    char *threads = (char *)call->scratch + offsets_bytes(&s);
    float *sums = (float *)(threads + (size_t)s.threads * ahead_bytes(&s));
    for (int64_t c = 0; c < s.channels; c++)
        offsets[c] = (ptrdiff_t)(c * s.pixels);
#pragma omp parallel for num_threads(s.threads) schedule(static) if (s.threads > 1 && s.units > 1)
    for (int64_t u = 0; u < s.units; u++) {
        float *unit = sums + (size_t)u * s.unit;
        memset(unit, 0, s.unit * sizeof *unit);
        for (int64_t item = s.items * u / s.units; item < s.items * (u + 1) / s.units; item++)
            run_item(call, &s, offsets, (const float **)(threads + (size_t)omp_get_thread_num() * ahead_bytes(&s)), item, unit);
    }
    collect(call, &s, sums);
    return MITRAL_OK;
}

static double flops(const struct kernel_call *call)
{
    struct sizes s;
    return decode(call, &s) == MITRAL_OK ? 2.0 * (double)(s.batch * s.pixels) * (double)(s.channels * s.all_features) : 0;
}

const struct kernel training_points_weights[] = {
    {.name = "training.points_weights", .shape = shape, .prepare = prepare, .run = run, .flops = flops},
};
const size_t training_points_weights_count = sizeof training_points_weights / sizeof *training_points_weights;
