/* planar.attention: Q [..., M, D], K [..., D, N], V [..., N, E] → softmax(alpha · Q K) V, all float32 of the same leading dimensions.
 * Some rows of scores at a time stay in the cache: the whole matrix is never written. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "runtime/cpu.h"
#include "runtime/kernel.h"
#include "runtime/kernels/planar/micro.h"
#include "runtime/kernels/planar/pack.h"
#include "runtime/kernels/reference/vector_math.h"
#include "runtime/round.h"

enum { Q, K, V, MOST_ROWS = 56, SCORES_BYTES = 256 << 10 };

struct state {
    const struct planar_blocks *blocks;
    int64_t heads, rows, depth, keys, outputs; /* heads: all leading dimensions together */
    int block;                                 /* rows at a time */
    ptrdiff_t key_width;                       /* between rows of scores */
    bool pack_keys, pack_values;
    size_t keys_floats;                        /* of one head's packed keys */
    size_t packed, thread;                     /* floats: of one head's packed keys and values; of one thread's rows */
    float alpha;
};

static int64_t last(const mitral_tensor *tensor, int32_t back)
{
    return tensor->dims[tensor->rank - back];
}

static mitral_status shape(struct kernel_call *call)
{
    const mitral_tensor *q = call_input(call, Q), *k = call_input(call, K), *v = call_input(call, V);
    int64_t dims[MITRAL_MAX_RANK];
    if (!q || !k || !v || q->dtype != MITRAL_FLOAT || k->dtype != MITRAL_FLOAT || v->dtype != MITRAL_FLOAT || q->rank < 2
        || k->rank != q->rank || v->rank != q->rank)
        return call_fail(call, MITRAL_INVALID, "three float32 tensors of one rank, at least 2, expected");
    for (int32_t i = 0; i < q->rank - 2; i++)
        if (k->dims[i] != q->dims[i] || v->dims[i] != q->dims[i])
            return call_fail(call, MITRAL_INVALID, "leading dimension %d: %lld expected, found %lld and %lld", (int)i, (long long)q->dims[i],
                             (long long)k->dims[i], (long long)v->dims[i]);
    if (last(k, 2) != last(q, 1) || last(v, 2) != last(k, 1))
        return call_fail(call, MITRAL_INVALID, "K [%lld, n] and V [n, e] expected, found [%lld, %lld] and [%lld, %lld]", (long long)last(q, 1),
                         (long long)last(k, 2), (long long)last(k, 1), (long long)last(v, 2), (long long)last(v, 1));
    memcpy(dims, q->dims, sizeof *dims * (size_t)q->rank);
    dims[q->rank - 1] = last(v, 1);
    call_set_output(call, 0, MITRAL_FLOAT, q->rank, dims);
    return MITRAL_OK;
}

/* Whether a matrix of so many columns is one panel of whole vectors as it lies. */
static bool lies_packed(int64_t columns)
{
    return columns <= PACK_PANEL && columns % PLANAR_WIDTH == 0;
}

static size_t packed_floats(int64_t depth, int64_t columns)
{
    return aligned_floats((size_t)depth * (size_t)round_up(columns, PLANAR_WIDTH) + PLANAR_SLACK);
}

static mitral_status prepare(struct kernel_call *call, void **out, size_t *scratch_bytes)
{
    const mitral_tensor *q = call_input(call, Q), *k = call_input(call, K), *v = call_input(call, V);
    enum { MOST = INT32_MAX / 64 };
    const int64_t sizes[] = {last(q, 2), last(q, 1), last(k, 1), last(v, 1)};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] > MOST)
            return call_fail(call, MITRAL_LIMIT, "matrices of at most %d rows and columns expected, found %lld", (int)MOST, (long long)sizes[i]);
    struct state *state = mitral_allocate(call->context, sizeof *state);
    if (!state)
        return MITRAL_NO_MEMORY;
    *state = (struct state){.blocks = planar_blocks_of(cpu_isa()), .heads = 1, .rows = last(q, 2), .depth = last(q, 1), .keys = last(k, 1),
                            .outputs = last(v, 1), .alpha = attribute_float(call->attributes, "alpha", 1)};
    for (int32_t i = 0; i < q->rank - 2; i++)
        state->heads *= q->dims[i];
    state->key_width = round_up(state->keys, PLANAR_WIDTH);
    if (state->key_width % 128 == 0)
        state->key_width += PLANAR_WIDTH; /* rows of scores that are read side by side shall not share the sets of a cache */
    state->block = SCORES_BYTES / (int)sizeof(float) / (state->key_width ? state->key_width : 1) >= MOST_ROWS ? MOST_ROWS : MOST_ROWS / 2;
    /* Blocks read whole vectors, of one stream: what does not lie so is copied. */
    state->pack_keys = !lies_packed(state->keys);
    state->pack_values = !lies_packed(state->outputs);
    state->keys_floats = state->pack_keys ? packed_floats(state->depth, state->keys) : 0;
    state->packed = state->keys_floats + (state->pack_values ? packed_floats(state->keys, state->outputs) : 0);
    state->thread = aligned_floats((size_t)state->block * (size_t)state->key_width + PLANAR_SLACK);
    *scratch_bytes = ((size_t)state->heads * state->packed + (size_t)(call->threads > 0 ? call->threads : 1) * state->thread) * sizeof(float);
    *out = state;
    return MITRAL_OK;
}

static void release(mitral_context *context, void *state)
{
    mitral_release(context, state);
}

/* A matrix in panels of PACK_PANEL columns, one behind the other. */
static void pack(const float *from, int64_t depth, int64_t columns, float *to)
{
    for (int64_t first = 0; first < columns; first += PACK_PANEL) {
        const int count = pack_panel_columns((int)columns, (int)first);
        const size_t width = pack_width((size_t)count);
        for (int64_t k = 0; k < depth; k++, to += width) {
            memcpy(to, from + k * columns + first, (size_t)count * sizeof *to);
            memset(to + count, 0, (width - (size_t)count) * sizeof *to);
        }
    }
}

/* output [rows, columns] = input [rows, depth] · weights, panel by panel. */
static void multiply(const struct state *s, int rows, const float *input, ptrdiff_t pixel, int64_t depth, const float *weights, int64_t columns,
                     float *output, ptrdiff_t stride)
{
    for (int64_t first = 0; first < columns; first += PACK_PANEL) {
        const int count = pack_panel_columns((int)columns, (int)first);
        const ptrdiff_t width = (ptrdiff_t)pack_width((size_t)count);
        const struct channel_product product = {.rows = rows, .columns = count, .depth = (int)depth, .taps = 1, .input = input, .pixel = pixel,
                                                .step = 1, .weights = weights, .width = width, .output = output + first, .stride = stride};
        s->blocks->channel_product(&product);
        weights += depth * width;
    }
}

VECTORISED static void scale_row(float *row, int64_t count, float factor)
{
    for (int64_t i = 0; i < count; i++)
        row[i] *= factor;
}

/* Sixteen partial results side by side, so that the loops become vectors and their order is the same on every machine. */
enum { LANES_OF_SUM = 16 };

VECTORISED static float largest(const float *row, int64_t count)
{
    float best[LANES_OF_SUM], result;
    int64_t i = 0;
    for (int k = 0; k < LANES_OF_SUM; k++)
        best[k] = -INFINITY;
    for (; i + LANES_OF_SUM <= count; i += LANES_OF_SUM)
        for (int k = 0; k < LANES_OF_SUM; k++)
            best[k] = row[i + k] > best[k] ? row[i + k] : best[k];
    result = best[0];
    for (int k = 1; k < LANES_OF_SUM; k++)
        result = best[k] > result ? best[k] : result;
    for (; i < count; i++)
        result = row[i] > result ? row[i] : result;
    return result;
}

/* row = e^(factor · (row − top)); their sum. */
VECTORISED static float exponentials(float *row, int64_t count, float top, float factor)
{
    float sums[LANES_OF_SUM] = {0}, result = 0;
    int64_t i = 0;
    for (; i + LANES_OF_SUM <= count; i += LANES_OF_SUM)
        for (int k = 0; k < LANES_OF_SUM; k++) {
            row[i + k] = vector_exp(factor * (row[i + k] - top));
            sums[k] += row[i + k];
        }
    for (int k = 0; k < LANES_OF_SUM; k++)
        result += sums[k];
    for (; i < count; i++) {
        row[i] = vector_exp(factor * (row[i] - top));
        result += row[i];
    }
    return result;
}

struct operands {
    const float *q, *k, *v;
    float *y, *scratch;
};

static void run_rows(const struct state *s, const struct operands *o, int64_t head, int64_t first, float *scores)
{
    const int rows = s->rows - first < s->block ? (int)(s->rows - first) : s->block;
    const float *packed = o->scratch + (size_t)head * s->packed;
    const float *keys = s->pack_keys ? packed : o->k + head * s->depth * s->keys;
    const float *values = s->pack_values ? packed + s->keys_floats : o->v + head * s->keys * s->outputs;
    float *output = o->y + (head * s->rows + first) * s->outputs, sums[MOST_ROWS];
    multiply(s, rows, o->q + (head * s->rows + first) * s->depth, (ptrdiff_t)s->depth, s->depth, keys, s->keys, scores, s->key_width);
    for (int r = 0; r < rows; r++) {
        float *row = scores + r * s->key_width, factor = s->alpha;
        if (factor < 0) { /* then the least score is the largest */
            scale_row(row, s->keys, factor);
            factor = 1;
        }
        sums[r] = exponentials(row, s->keys, largest(row, s->keys), factor);
    }
    multiply(s, rows, scores, s->key_width, s->keys, values, s->outputs, output, (ptrdiff_t)s->outputs);
    for (int r = 0; r < rows; r++)
        scale_row(output + r * s->outputs, s->outputs, 1 / sums[r]);
}

static mitral_status run(struct kernel_call *call)
{
    const struct state *s = call->state;
    mitral_tensor *y = call_output(call, 0);
    if (!y || tensor_count(y) == 0)
        return MITRAL_OK;
    const struct operands o = {call_input(call, Q)->data, call_input(call, K)->data, call_input(call, V)->data, y->data, call->scratch};
    if (s->keys == 0) {
        memset(y->data, 0, tensor_bytes(y));
        return MITRAL_OK;
    }
    const int64_t blocks = (s->rows + s->block - 1) / s->block;
    float *threads = o.scratch + (size_t)s->heads * s->packed;
#pragma omp parallel num_threads(call->threads)
    {
        if (s->packed) {
#pragma omp for schedule(static)
            for (int64_t head = 0; head < s->heads; head++) {
                float *to = o.scratch + (size_t)head * s->packed;
                if (s->pack_keys)
                    pack(o.k + head * s->depth * s->keys, s->depth, s->keys, to);
                if (s->pack_values)
                    pack(o.v + head * s->keys * s->outputs, s->keys, s->outputs, to + s->keys_floats);
            }
        }
#pragma omp for schedule(static)
        for (int64_t item = 0; item < s->heads * blocks; item++)
            run_rows(s, &o, item / blocks, item % blocks * s->block, threads + (size_t)omp_get_thread_num() * s->thread);
    }
    return MITRAL_OK;
}

static const char *describe(const void *state)
{
    return ((const struct state *)state)->blocks->name;
}

static double flops(const struct kernel_call *call)
{
    const mitral_tensor *q = call_input(call, Q), *v = call_input(call, V);
    return 2 * (double)tensor_count(q) * (double)last(v, 2) + 2 * (double)tensor_count(q) / (double)(last(q, 1) ? last(q, 1) : 1) * (double)last(v, 2) * (double)last(v, 1);
}

const struct kernel planar_attention[] = {
    {.name = "planar.attention", .shape = shape, .prepare = prepare, .run = run, .release = release, .describe = describe, .flops = flops},
};
const size_t planar_attention_count = sizeof planar_attention / sizeof *planar_attention;
