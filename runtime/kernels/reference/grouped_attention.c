/* com.microsoft's GroupQueryAttention: causal attention with a cache, several query heads to a key head, turned by position on the way.
 * Inputs Q [batch, length, heads · size] (or Q, K and V packed), K, V [batch, length, kv_heads · size]?, past K, V [batch, kv_heads, room, size]?,
 * the last position of each batch, the longest total length, cos and sin caches?, position ids?, bias?, sinks?. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/operand.h"

enum { Q, K, V, PAST_KEY, PAST_VALUE, LAST, TOTAL, COSINE, SINE, POSITIONS, BIAS, SINKS, INPUTS };

struct grouped {
    int64_t batch, length, heads, kv_heads, size, room, present, window, half;
    bool packed, first, turned, interleaved, smooth;
    double scale, softcap;
};

static mitral_status check_cache(const struct kernel_call *call, struct grouped *g)
{
    const mitral_tensor *cosine = call_input(call, COSINE), *sine = call_input(call, SINE), *ids = call_input(call, POSITIONS);
    g->turned = attribute_int(call->attributes, "do_rotary", 0) != 0;
    if (!g->turned)
        return MITRAL_OK;
    if (!cosine || !sine || cosine->rank != 2 || !tensor_same_shape(cosine, sine) || 2 * cosine->dims[1] > g->size || !dtype_is_float(cosine->dtype)
        || sine->dtype != cosine->dtype)
        return call_fail(call, MITRAL_INVALID, "caches of one shape, of at most half a head's %lld elements, expected", (long long)g->size);
    if (ids && (ids->dtype != MITRAL_INT64 || tensor_count(ids) != g->batch * g->length))
        return call_fail(call, MITRAL_INVALID, "%lld int64 position ids expected", (long long)(g->batch * g->length));
    g->half = cosine->dims[1];
    g->interleaved = attribute_int(call->attributes, "rotary_interleaved", 0) != 0;
    return MITRAL_OK;
}

static mitral_status check_bias(const struct kernel_call *call, const struct grouped *g)
{
    const mitral_tensor *bias = call_input(call, BIAS), *sinks = call_input(call, SINKS);
    char text[160];
    if (bias && (bias->rank != 4 || !dtype_is_float(bias->dtype) || (bias->dims[0] != 1 && bias->dims[0] != g->batch)
                 || (bias->dims[1] != 1 && bias->dims[1] != g->heads) || bias->dims[2] != g->length))
        return call_fail(call, MITRAL_INVALID, "a bias [1 or %lld, 1 or %lld, %lld, keys] expected, found %s", (long long)g->batch, (long long)g->heads,
                         (long long)g->length, tensor_describe(bias, text, sizeof(text)));
    if (sinks && (!dtype_is_float(sinks->dtype) || tensor_count(sinks) != g->heads))
        return call_fail(call, MITRAL_INVALID, "%lld sinks expected, found %s", (long long)g->heads, tensor_describe(sinks, text, sizeof(text)));
    return MITRAL_OK;
}

/* Everything but what the total length says. */
static mitral_status decode(const struct kernel_call *call, struct grouped *g)
{
    const mitral_tensor *q = call_input(call, Q), *k = call_input(call, K), *v = call_input(call, V);
    const mitral_tensor *past[2] = {call_input(call, PAST_KEY), call_input(call, PAST_VALUE)}, *last = call_input(call, LAST), *total = call_input(call, TOTAL);
    char text[2][160];
    *g = (struct grouped){.heads = attribute_int(call->attributes, "num_heads", 0), .kv_heads = attribute_int(call->attributes, "kv_num_heads", 0),
                          .window = attribute_int(call->attributes, "local_window_size", -1), .packed = !k,
                          .softcap = (double)attribute_float(call->attributes, "softcap", 0),
                          .smooth = attribute_int(call->attributes, "smooth_softmax", 0) != 0 || call_input(call, SINKS)};
    if (!q || q->rank != 3 || g->heads < 1 || g->kv_heads < 1 || g->heads % g->kv_heads || !k != !v || call->input_count > INPUTS)
        return call_fail(call, MITRAL_INVALID, "Q of rank 3 and num_heads that kv_num_heads divides expected, found %s, %lld and %lld",
                         q ? tensor_describe(q, text[0], sizeof(text[0])) : "none", (long long)g->heads, (long long)g->kv_heads);
    g->batch = q->dims[0];
    g->length = q->dims[1];
    int64_t columns;
    if (__builtin_add_overflow(g->heads, g->packed ? 2 * g->kv_heads : 0, &columns) || q->dims[2] % columns)
        return call_fail(call, MITRAL_INVALID, "Q of %lld heads expected, found %s", (long long)columns, tensor_describe(q, text[0], sizeof(text[0])));
    g->size = q->dims[2] / columns;
    const int64_t kv[3] = {g->batch, g->length, g->kv_heads * g->size};
    for (size_t i = 0; i < 2 && !g->packed; i++) {
        const mitral_tensor *t = i ? v : k;
        if (t->rank != 3 || t->dtype != q->dtype || memcmp(t->dims, kv, sizeof(kv)) != 0)
            return call_fail(call, MITRAL_INVALID, "K and V [%lld,%lld,%lld] expected, found %s", (long long)kv[0], (long long)kv[1], (long long)kv[2],
                             tensor_describe(t, text[0], sizeof(text[0])));
    }
    for (size_t i = 0; i < 2; i++)
        if (!past[i] != !past[0]
            || (past[i] && (past[i]->rank != 4 || past[i]->dtype != q->dtype || past[i]->dims[0] != g->batch || past[i]->dims[1] != g->kv_heads
                            || past[i]->dims[3] != g->size || past[i]->dims[2] != past[0]->dims[2])))
            return call_fail(call, MITRAL_INVALID, "past K and V [%lld,%lld,room,%lld] expected, found %s", (long long)g->batch, (long long)g->kv_heads,
                             (long long)g->size, past[i] ? tensor_describe(past[i], text[0], sizeof(text[0])) : "none");
    if (!last || last->dtype != MITRAL_INT32 || tensor_count(last) != g->batch || !total || total->dtype != MITRAL_INT32 || tensor_count(total) != 1)
        return call_fail(call, MITRAL_INVALID, "an int32 last position for each of %lld batches and one int32 total length expected", (long long)g->batch);
    g->room = past[0] ? past[0]->dims[2] : 0;
    const float scale = attribute_float(call->attributes, "scale", 0);
    g->scale = scale != 0 ? (double)scale : 1 / sqrt((double)(g->size ? g->size : 1));
    if (call_output(call, 3))
        return call_fail(call, MITRAL_UNSUPPORTED, "three outputs expected: products of queries and keys are not given out");
    TRY(check_cache(call, g));
    return check_bias(call, g);
}

static mitral_status decode_all(const struct kernel_call *call, struct grouped *g)
{
    TRY(decode(call, g));
    const int64_t total = tensor_get_int(call_input(call, TOTAL), 0);
    if (total < g->length)
        return call_fail(call, MITRAL_INVALID, "a total length of at least %lld expected, found %lld", (long long)g->length, (long long)total);
    g->present = larger(g->room, total);
    g->first = total == g->length;
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call)
{
    struct grouped g;
    enum compute compute;
    TRY(check_float_operand(call, Q, &compute));
    TRY(decode(call, &g));
    const mitral_tensor *q = call_input(call, Q);
    const int64_t y[3] = {g.batch, g.length, g.heads * g.size};
    call_set_output(call, 0, q->dtype, 3, y);
    for (size_t i = 1; i < 3; i++)
        if (call_output(call, i))
            call_output(call, i)->dtype = q->dtype;
    if (!call_input(call, TOTAL)->data)
        return MITRAL_DEFERRED;
    TRY(decode_all(call, &g));
    const int64_t present[4] = {g.batch, g.kv_heads, g.present, g.size};
    call_set_output(call, 1, q->dtype, 4, present);
    call_set_output(call, 2, q->dtype, 4, present);
    return MITRAL_OK;
}

struct places {
    const float *q, *k, *v, *past_key, *past_value, *cosine, *sine;
    float *queries, *keys, *values, *scores, *y; /* queries turned; keys and values [batch, kv_heads, present, size] */
};

static int64_t times(int64_t a, int64_t b, int64_t c, int64_t d)
{
    int64_t result;
    return multiply_sizes(a, b, &result) && multiply_sizes(result, c, &result) && multiply_sizes(result, d, &result) ? result : -1;
}

static void place(const struct kernel_call *call, struct work *work, const struct grouped *g, struct places *p)
{
    p->q = work_operand(work, COMPUTE_FLOAT, call_input(call, Q));
    p->k = work_operand(work, COMPUTE_FLOAT, call_input(call, K));
    p->v = work_operand(work, COMPUTE_FLOAT, call_input(call, V));
    p->past_key = work_operand(work, COMPUTE_FLOAT, call_input(call, PAST_KEY));
    p->past_value = work_operand(work, COMPUTE_FLOAT, call_input(call, PAST_VALUE));
    p->cosine = g->turned ? work_operand(work, COMPUTE_FLOAT, call_input(call, COSINE)) : NULL;
    p->sine = g->turned ? work_operand(work, COMPUTE_FLOAT, call_input(call, SINE)) : NULL;
    p->queries = work_take(work, times(g->batch, g->length, g->heads, g->size), sizeof(float));
    p->keys = work_take(work, times(g->batch, g->kv_heads, g->present, g->size), sizeof(float));
    p->values = work_take(work, times(g->batch, g->kv_heads, g->present, g->size), sizeof(float));
    p->scores = work_take(work, times(call->threads, g->present, 1, 1), sizeof(float));
    p->y = work_take(work, times(g->batch, g->length, g->heads, g->size), sizeof(float));
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct grouped g;
    struct places places;
    struct work work = {0};
    (void)state;
    TRY(decode_all(call, &g));
    place(call, &work, &g, &places);
    return work_measure(call, &work, scratch_bytes);
}

/* One head's elements at one position, by the angles of `row` of the caches. */
static void turn(const struct grouped *g, const struct places *p, const float *from, int64_t row, float *to)
{
    memcpy(to, from, (size_t)g->size * sizeof(float));
    for (int64_t i = 0; i < g->half; i++) {
        const int64_t first = g->interleaved ? 2 * i : i, second = g->interleaved ? first + 1 : i + g->half;
        const float c = p->cosine[row * g->half + i], s = p->sine[row * g->half + i];
        to[first] = c * from[first] - s * from[second];
        to[second] = s * from[first] + c * from[second];
    }
}

static mitral_status load(const struct kernel_call *call, const struct grouped *g, const struct places *p)
{
    const mitral_tensor *ids = call_input(call, POSITIONS), *last = call_input(call, LAST);
    const int64_t columns = (g->packed ? g->heads + 2 * g->kv_heads : g->heads) * g->size, kv_columns = g->packed ? columns : g->kv_heads * g->size;
    const float *k = g->packed ? p->q + g->heads * g->size : p->k, *v = g->packed ? k + g->kv_heads * g->size : p->v;
    const int64_t rows = g->turned ? call_input(call, COSINE)->dims[0] : 0;
    memset(p->keys, 0, (size_t)(g->batch * g->kv_heads * g->present * g->size) * sizeof(float));
    memset(p->values, 0, (size_t)(g->batch * g->kv_heads * g->present * g->size) * sizeof(float));
    for (int64_t b = 0; b < g->batch; b++) {
        const int64_t total = tensor_get_int(last, b) + 1, past = g->first ? 0 : total - g->length;
        if (total < 1 || total > g->present || past < 0 || past > g->room)
            return call_fail(call, MITRAL_INVALID, "last positions from %lld to %lld expected, found %lld", (long long)(g->first ? 0 : g->length - 1),
                             (long long)g->present - 1, (long long)total - 1);
        for (int64_t h = 0; h < g->kv_heads && past; h++) {
            const int64_t to = (b * g->kv_heads + h) * g->present * g->size, from = (b * g->kv_heads + h) * g->room * g->size;
            memcpy(p->keys + to, p->past_key + from, (size_t)(past * g->size) * sizeof(float));
            memcpy(p->values + to, p->past_value + from, (size_t)(past * g->size) * sizeof(float));
        }
        for (int64_t t = 0; t < g->length; t++) {
            const int64_t token = b * g->length + t;
            const int64_t row = ids ? tensor_get_int(ids, token) : past + t < total ? past + t : smaller(1, rows - 1); /* padding */
            if (g->turned && (row < 0 || row >= rows))
                return call_fail(call, MITRAL_INVALID, "positions from 0 to %lld expected, found %lld", (long long)rows - 1, (long long)row);
            for (int64_t h = 0; h < g->heads; h++)
                turn(g, p, p->q + token * columns + h * g->size, row, p->queries + (token * g->heads + h) * g->size);
            for (int64_t h = 0; h < g->kv_heads && past + t < g->present; h++) {
                const int64_t to = ((b * g->kv_heads + h) * g->present + past + t) * g->size;
                turn(g, p, k + token * kv_columns + h * g->size, row, p->keys + to);
                memcpy(p->values + to, v + token * kv_columns + h * g->size, (size_t)g->size * sizeof(float));
            }
        }
    }
    return MITRAL_OK;
}

/* One query of one head. */
static void attend(const struct kernel_call *call, const struct grouped *g, const struct places *p, int64_t b, int64_t t, int64_t h, float *scores)
{
    const mitral_tensor *bias = call_input(call, BIAS), *sinks = call_input(call, SINKS);
    const int64_t total = tensor_get_int(call_input(call, LAST), b) + 1, past = g->first ? 0 : total - g->length;
    const int64_t end = smaller(past + t + 1, g->present), start = g->window >= 0 ? larger(0, end - g->window) : 0;
    const int64_t head = (b * g->kv_heads + h / (g->heads / g->kv_heads)) * g->present * g->size, query = ((b * g->length + t) * g->heads + h) * g->size;
    float most = -INFINITY;
    for (int64_t j = start; j < end; j++) {
        double sum = 0;
        for (int64_t i = 0; i < g->size; i++)
            sum += (double)p->queries[query + i] * (double)p->keys[head + j * g->size + i];
        sum *= g->scale;
        if (g->softcap > 0)
            sum = g->softcap * tanh(sum / g->softcap);
        if (bias && j < bias->dims[3])
            sum += tensor_get_double(bias, (((bias->dims[0] > 1 ? b : 0) * bias->dims[1] + (bias->dims[1] > 1 ? h : 0)) * g->length + t) * bias->dims[3] + j);
        scores[j] = (float)sum;
        most = scores[j] > most ? scores[j] : most;
    }
    const float sink = sinks ? (float)tensor_get_double(sinks, h) : 0;
    most = g->smooth && sink > most ? sink : most;
    double all = g->smooth ? exp((double)(sink - most)) : 0;
    for (int64_t j = start; j < end; j++) {
        scores[j] = expf(scores[j] - most);
        all += (double)scores[j];
    }
    for (int64_t i = 0; i < g->size; i++) {
        double sum = 0;
        for (int64_t j = start; j < end; j++)
            sum += (double)scores[j] * (double)p->values[head + j * g->size + i];
        p->y[query + i] = (float)(all > 0 ? sum / all : 0);
    }
}

static mitral_status run(struct kernel_call *call)
{
    struct grouped g;
    struct places p;
    struct work work = work_of(call);
    TRY(decode_all(call, &g));
    place(call, &work, &g, &p);
    TRY(load(call, &g, &p));
    const int64_t tasks = g.batch * g.length * g.heads, parts = call->threads;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t part = 0; part < parts; part++)
        for (int64_t task = tasks * part / parts; task < tasks * (part + 1) / parts && call_output(call, 0); task++)
            attend(call, &g, &p, task / g.heads / g.length, task / g.heads % g.length, task % g.heads, p.scores + part * g.present);
    const float *const results[3] = {p.y, p.keys, p.values};
    for (size_t i = 0; i < 3; i++)
        if (call_output(call, i))
            for (int64_t j = 0; j < tensor_count(call_output(call, i)); j++)
                tensor_set_double(call_output(call, i), j, (double)results[i][j], true);
    return MITRAL_OK;
}

const struct kernel reference_grouped_attention[] = {
    {.name = "microsoft.GroupQueryAttention", .shape = shape, .prepare = prepare, .run = run},
};
const size_t reference_grouped_attention_count = sizeof(reference_grouped_attention) / sizeof(*reference_grouped_attention);
