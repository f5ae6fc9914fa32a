/* Attention as ONNX Runtime's optimiser writes it: com.microsoft's Attention (with the projection of Q, K and V),
 * QAttention (the same with a quantized projection) and MultiHeadAttention. Padding is a large negative bias here, not
 * -∞. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/attention.h"
#include "runtime/kernels/reference/matmul.h"
#include "runtime/kernels/reference/quantized.h"

static const struct quantized_places places = {.a = 0, .b = 1, .a_scale = 3, .b_scale = 4, .a_zero = 6, .b_zero = 7};

enum operator_kind { KIND_ATTENTION, KIND_QUANTIZED, KIND_MULTI_HEAD };

struct form {
    enum operator_kind kind;
    struct attention a;
    int64_t input_size;          /* of a token, before the projection */
    int64_t fresh;               /* keys that are not in the past */
    const mitral_tensor *mask;   /* what says which keys take part */
    const mitral_tensor *bias;   /* added to the scores; broadcasts to [batch, heads, queries, keys] */
    const mitral_tensor *past;   /* [2, batch, heads, past, size]; of MultiHeadAttention the past key */
    bool key_by_head;            /* MultiHeadAttention: key and value come as [batch, heads, keys, size] */
};

/* Masks: [batch] or [2·batch] key counts (and starts), [batch, keys], [batch, queries, keys], [batch, 1, keys or more,
 * keys or more]. */
static mitral_status check_mask(const struct kernel_call *call, const struct form *l)
{
    const mitral_tensor *mask = l->mask;
    const struct attention *a = &l->a;
    if (!mask)
        return MITRAL_OK;
    if (mask->dtype != MITRAL_INT32)
        return call_fail_input(call, "an int32 mask", mask);
    const int64_t *d = mask->dims;
    const bool fits = mask->rank == 1 ? d[0] == a->batch || d[0] == 2 * a->batch
                    : mask->rank == 2 ? d[0] == a->batch && d[1] == a->keys
                    : mask->rank == 3 ? d[0] == a->batch && d[1] == a->queries && d[2] == a->keys
                    : mask->rank == 4
                        ? d[0] == a->batch && d[1] == 1 && d[2] == d[3] && d[3] >= a->keys && a->keys >= a->queries
                        : false;
    return fits ? MITRAL_OK
                : call_fail_input(call, "a mask [batch], [2·batch], [batch, keys], [batch, queries, keys] or square ones",
                             mask);
}

static mitral_status check_bias(const struct kernel_call *call, const struct form *l)
{
    struct attention_mask ignored = {0};
    return l->bias ? attention_mask_strides(call, &l->a, l->bias, false, &ignored) : MITRAL_OK;
}

static mitral_status decode_projected(const struct kernel_call *call, struct form *l)
{
    const bool quantized = l->kind == KIND_QUANTIZED;
    const mitral_tensor *x = call_input(call, 0), *w = call_input(call, 1), *b = call_input(call, 2);
    struct attention *a = &l->a;
    if (!x || x->rank != 3 || !w || w->rank != 2 || w->dims[0] != x->dims[2])
        return call_fail_input(call, "an input [batch, length, size] and weights [size, …]", w);
    a->heads = a->kv_heads = attribute_int(call->attributes, "num_heads", 0);
    size_t count;
    const int64_t *sizes = attribute_ints(call->attributes, "qkv_hidden_sizes", &count);
    const int64_t third = w->dims[1] / 3;
    const int64_t hidden = count == 3 ? sizes[0] : third, value = count == 3 ? sizes[2] : third;
    if (a->heads < 1 || hidden < 0 || value < 0 || hidden > w->dims[1] || hidden % a->heads || value % a->heads
        || (count == 3 && sizes[1] != hidden) || 2 * hidden + value != w->dims[1])
        return call_fail(call, MITRAL_INVALID,
                         "hidden sizes that num_heads %lld divides and that fill the %lld columns expected",
                         (long long)a->heads, (long long)w->dims[1]);
    if (b && (b->rank != 1 || b->dims[0] != w->dims[1]))
        return call_fail_input(call, "a bias for every column of the weights", b);
    if (attribute_int(call->attributes, "do_rotary", 0)
        || attribute_int(call->attributes, "past_present_share_buffer", 0) || (!quantized && call_input(call, 6)))
        return call_fail(call, MITRAL_UNSUPPORTED, "no rotary embedding and no shared cache expected");
    a->batch = x->dims[0];
    a->queries = l->fresh = x->dims[1];
    l->input_size = x->dims[2];
    a->head_size = hidden / a->heads;
    a->value_size = value / a->heads;
    l->mask = call_input(call, quantized ? 5 : 3);
    l->past = call_input(call, quantized ? 8 : 4);
    l->bias = quantized ? NULL : call_input(call, 5);
    if (l->past) {
        const int64_t *d = l->past->dims;
        if (l->past->rank != 5 || d[0] != 2 || d[1] != a->batch || d[2] != a->heads || d[4] != a->head_size
            || hidden != value)
            return call_fail_input(call, "a past [2, batch, heads, length, head size]", l->past);
        a->past = d[3];
    }
    return MITRAL_OK;
}

static mitral_status decode_separate(const struct kernel_call *call, struct form *l)
{
    const mitral_tensor *q = call_input(call, 0), *k = call_input(call, 1), *v = call_input(call, 2),
                        *b = call_input(call, 3);
    const mitral_tensor *past_value = call_input(call, 7);
    struct attention *a = &l->a;
    a->heads = a->kv_heads = attribute_int(call->attributes, "num_heads", 0);
    if (!q || q->rank != 3 || !k || !v || (k->rank != 3 && k->rank != 4) || v->rank != k->rank)
        return call_fail(call, MITRAL_UNSUPPORTED,
                         "separate query [batch, length, size], key and value expected, found other forms");
    if (a->heads < 1 || q->dims[2] % a->heads)
        return call_fail(call, MITRAL_INVALID, "num_heads that divides %lld expected, found %lld",
                         (long long)q->dims[2], (long long)a->heads);
    if (call_input(call, 8) || call_input(call, 9) || call_output(call, 3))
        return call_fail(call, MITRAL_UNSUPPORTED,
                         "no shared cache, no cache indirection and no output of scores expected");
    l->key_by_head = k->rank == 4;
    a->batch = q->dims[0];
    a->queries = q->dims[1];
    a->head_size = q->dims[2] / a->heads;
    l->fresh = k->dims[l->key_by_head ? 2 : 1];
    a->value_size = l->key_by_head ? v->dims[3] : v->dims[2] / a->heads;
    const int64_t by_head[2][4] = {{a->batch, a->heads, l->fresh, a->head_size},
                                   {a->batch, a->heads, l->fresh, a->value_size}};
    const int64_t merged[2][3] = {{a->batch, l->fresh, a->heads * a->head_size},
                                  {a->batch, l->fresh, a->heads * a->value_size}};
    for (int i = 0; i < 2; i++) {
        const mitral_tensor *tensor = i ? v : k;
        if (tensor->dtype != q->dtype
            || memcmp(tensor->dims, l->key_by_head ? by_head[i] : merged[i], (size_t)tensor->rank * sizeof(int64_t))
                   != 0)
            return call_fail_input(call, i ? "a value that fits the key" : "a key that fits the query", tensor);
    }
    if (b && (b->rank != 1 || b->dims[0] != a->heads * (2 * a->head_size + a->value_size) || l->key_by_head))
        return call_fail_input(call, "a bias for query, key and value", b);
    l->mask = call_input(call, 4);
    l->bias = call_input(call, 5);
    l->past = call_input(call, 6);
    if (!l->past != !past_value)
        return call_fail(call, MITRAL_INVALID, "a past key and a past value together expected, found one of them");
    if (l->past) {
        a->past = l->past->rank == 4 ? l->past->dims[2] : 0;
        for (int i = 0; i < 2; i++) {
            const mitral_tensor *past = i ? past_value : l->past;
            if (past->rank != 4 || past->dims[0] != a->batch || past->dims[1] != a->heads || past->dims[2] != a->past
                || past->dims[3] != (i ? a->value_size : a->head_size))
                return call_fail_input(call, "a past [batch, heads, length, size]", past);
        }
    }
    return MITRAL_OK;
}

static mitral_status decode(const struct kernel_call *call, enum operator_kind kind, struct form *l)
{
    *l = (struct form){.kind = kind};
    TRY(kind == KIND_MULTI_HEAD ? decode_separate(call, l) : decode_projected(call, l));
    struct attention *a = &l->a;
    a->keys = a->past + l->fresh;
    a->dtype = a->softmax_dtype = MITRAL_FLOAT; /* intermediate results stay in float */
    a->causal = attribute_int(call->attributes, "unidirectional", 0) != 0;
    a->left_window = a->right_window = -1;
    const float scale = attribute_float(call->attributes, "scale", 0);
    a->scale = scale != 0 ? (double)scale : 1 / sqrt((double)larger(a->head_size, 1));
    if (!(a->scale >= 0))
        return call_fail(call, MITRAL_INVALID, "a scale from 0 expected, found %g", a->scale);
    TRY(check_mask(call, l));
    return check_bias(call, l);
}

static mitral_status shape(struct kernel_call *call, enum operator_kind kind)
{
    struct form l;
    enum compute compute;
    struct matmul_parameters ignored;
    const int32_t dtype =
        call_input(call, kind == KIND_QUANTIZED ? 2 : 0) ? call_input(call, kind == KIND_QUANTIZED ? 2 : 0)->dtype : 0;
    if (kind == KIND_QUANTIZED)
        TRY(quantized_check_matmul(call, &places, &ignored));
    TRY(check_float_operand(call, kind == KIND_QUANTIZED ? 2 : 0, &compute));
    TRY(decode(call, kind, &l));
    const struct attention *a = &l.a;
    const int64_t y[3] = {a->batch, a->queries, a->heads * a->value_size};
    call_set_output(call, 0, dtype, 3, y);
    const int64_t key[4] = {a->batch, a->heads, a->keys, a->head_size},
                  value[4] = {a->batch, a->heads, a->keys, a->value_size};
    const int64_t both[5] = {2, a->batch, a->heads, a->keys, a->head_size};
    if (kind == KIND_MULTI_HEAD) {
        call_set_output(call, 1, dtype, 4, key);
        call_set_output(call, 2, dtype, 4, value);
    } else {
        call_set_output(call, 1, dtype, 5, both);
    }
    return MITRAL_OK;
}

/* ---- buffers: everything is float
 * -------------------------------------------------------------------------------------- */

struct buffers {
    float *q, *k, *v;                   /* merged, as the projection leaves them; or the inputs with their bias */
    float *packed_q, *packed_k, *packed_v, *rows, *mask, *y;
    const float *past_key, *past_value;
};

static int64_t product4(int64_t a, int64_t b, int64_t c, int64_t d)
{
    int64_t result;
    return multiply_sizes(a, b, &result) && multiply_sizes(result, c, &result) && multiply_sizes(result, d, &result)
             ? result
             : -1;
}

static void place(const struct kernel_call *call, struct work *work, const struct form *l, struct buffers *b)
{
    const struct attention *a = &l->a;
    b->q = work_take(work, product4(a->batch, a->heads, a->queries, a->head_size), sizeof(float));
    b->k = work_take(work, product4(a->batch, a->heads, l->fresh, a->head_size), sizeof(float));
    b->v = work_take(work, product4(a->batch, a->heads, l->fresh, a->value_size), sizeof(float));
    b->packed_q = work_take(work, product4(a->batch, a->heads, a->queries, a->head_size), sizeof(float));
    b->packed_k = work_take(work, product4(a->batch, a->heads, a->keys, a->head_size), sizeof(float));
    b->packed_v = work_take(work, product4(a->batch, a->heads, a->keys, a->value_size), sizeof(float));
    b->rows = work_take(work, product4(call->threads, 2, a->keys, 1), sizeof(float));
    b->mask =
        work_take(work, l->mask || l->bias ? product4(a->batch, a->heads, a->queries, a->keys) : 0, sizeof(float));
    b->y = work_take(work, product4(a->batch, a->heads, a->queries, a->value_size), sizeof(float));
    b->past_key = l->past ? work_operand(work, COMPUTE_FLOAT, l->past) : NULL;
    b->past_value = NULL;
    if (l->past && l->kind == KIND_MULTI_HEAD)
        b->past_value = work_operand(work, COMPUTE_FLOAT, call_input(call, 7));
    else if (b->past_key)
        b->past_value = b->past_key + a->batch * a->heads * a->past * a->head_size;
}

/* The projection's operands: tokens and one row of weights for each column. */
struct projection {
    const float *x, *w;
    void *integers;
    float *columns;
};

static void place_projection(const struct kernel_call *call, struct work *work, const struct form *l,
                             struct projection *p)
{
    *p = (struct projection){0};
    if (l->kind == KIND_MULTI_HEAD)
        return;
    const int64_t columns = call_input(call, 1)->dims[1], tokens = product4(l->a.batch, l->a.queries, 1, 1);
    p->columns = work_take(work, product4(tokens, columns, 1, 1), sizeof(float));
    if (l->kind == KIND_QUANTIZED) {
        p->integers = work_take(work, quantized_matmul_scratch(call, &places), 1);
    } else {
        p->x = work_operand(work, COMPUTE_FLOAT, call_input(call, 0));
        p->w = work_operand(work, COMPUTE_FLOAT, call_input(call, 1));
    }
}

static mitral_status prepare(struct kernel_call *call, enum operator_kind kind, size_t *scratch_bytes)
{
    struct form l;
    struct buffers buffers;
    struct projection projection;
    struct work work = {0};
    TRY(decode(call, kind, &l));
    place(call, &work, &l, &buffers);
    place_projection(call, &work, &l, &projection);
    return work_measure(call, &work, scratch_bytes);
}

/* [tokens, q | k | v] of the projection into the three. */
static mitral_status project(const struct kernel_call *call, const struct form *l, const struct projection *p,
                             const struct buffers *b)
{
    const struct attention *a = &l->a;
    const mitral_tensor *bias = call_input(call, 2);
    const int64_t tokens = a->batch * a->queries, hidden = a->heads * a->head_size, value = a->heads * a->value_size;
    const int64_t columns = 2 * hidden + value;
    if (l->kind == KIND_QUANTIZED) {
        struct matmul_parameters m;
        TRY(quantized_check_matmul(call, &places, &m));
        TRY(quantized_matmul(call, &places, &m, p->integers, p->columns));
    } else {
        const struct matmul_parameters m = {.m = tokens, .k = l->input_size, .n = columns, .batches = 1};
        matmul_compute(COMPUTE_FLOAT, &m, call->threads, p->x, p->w, p->columns);
    }
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < columns; c++) {
            const float sum = p->columns[t * columns + c] + (bias ? (float)tensor_get_double(bias, c) : 0);
            if (c < hidden)
                b->q[t * hidden + c] = sum;
            else if (c < 2 * hidden)
                b->k[t * hidden + c - hidden] = sum;
            else
                b->v[t * value + c - 2 * hidden] = sum;
        }
    return MITRAL_OK;
}

static void load_separate(const struct kernel_call *call, const struct form *l, const struct buffers *b)
{
    const struct attention *a = &l->a;
    const mitral_tensor *bias = call_input(call, 3);
    float *const to[3] = {b->q, b->k, b->v};
    const int64_t widths[3] = {a->heads * a->head_size, a->heads * a->head_size, a->heads * a->value_size};
    for (size_t i = 0; i < 3; i++) {
        operand_load(COMPUTE_FLOAT, to[i], call_input(call, i));
        for (int64_t j = 0; bias && j < tensor_count(call_input(call, i)); j++)
            to[i][j] +=
                (float)tensor_get_double(bias, (i > 0 ? widths[0] : 0) + (i > 1 ? widths[1] : 0) + j % widths[i]);
    }
}

/* Whether the mask admits key j for query i of batch b. */
static bool admits(const struct form *l, int64_t b, int64_t i, int64_t j)
{
    const mitral_tensor *mask = l->mask;
    const int32_t *values = mask->data;
    const struct attention *a = &l->a;
    switch (mask->rank) {
    case 1: return j < values[b] && (mask->dims[0] == a->batch || j >= values[a->batch + b]);
    case 2: return values[b * a->keys + j] > 0;
    case 3: return values[(b * a->queries + i) * a->keys + j] > 0;
    default: return values[(b * mask->dims[2] + a->past + i) * mask->dims[3] + j] > 0;
    }
}

static void fill_mask(const struct kernel_call *call, const struct form *l, float *out)
{
    const struct attention *a = &l->a;
    const float filter = attribute_float(call->attributes, "mask_filter_value", -10000);
    struct attention_mask strides = {0};
    if (l->bias)
        (void)attention_mask_strides(call, a, l->bias, false, &strides);
    for (int64_t index = 0; index < a->batch * a->heads * a->queries; index++) {
        const int64_t i = index % a->queries, h = index / a->queries % a->heads, b = index / a->queries / a->heads;
        for (int64_t j = 0; j < a->keys; j++) {
            float value = l->mask && !admits(l, b, i, j) ? filter : 0;
            if (l->bias)
                value += (float)tensor_get_double(l->bias, b * strides.strides[0] + h * strides.strides[1]
                                                               + i * strides.strides[2] + j * strides.strides[3]);
            out[index * a->keys + j] = value;
        }
    }
}

static void store(mitral_tensor *tensor, int64_t offset, const float *from, int64_t count)
{
    for (int64_t i = 0; tensor && i < count; i++)
        tensor_set_double(tensor, offset + i, (double)from[i], true);
}

static mitral_status run(struct kernel_call *call, enum operator_kind kind)
{
    struct form l;
    struct buffers b;
    struct projection projection;
    TRY(decode(call, kind, &l));
    struct attention *a = &l.a;
    struct work work = work_of(call);
    place(call, &work, &l, &b);
    place_projection(call, &work, &l, &projection);
    if (kind == KIND_MULTI_HEAD)
        load_separate(call, &l, &b);
    else
        TRY(project(call, &l, &projection, &b));
    /* Keys are kept unscaled for the present; queries take the whole scale. */
    const bool merged = !l.key_by_head;
    attention_pack(COMPUTE_FLOAT, b.packed_q, b.q, true, a->batch, a->heads, a->queries, a->head_size, 0, a->queries,
                   a->scale, MITRAL_FLOAT);
    attention_pack(COMPUTE_FLOAT, b.packed_k, b.k, merged, a->batch, a->heads, l.fresh, a->head_size, a->past, a->keys,
                   1, MITRAL_FLOAT);
    attention_pack(COMPUTE_FLOAT, b.packed_v, b.v, merged, a->batch, a->heads, l.fresh, a->value_size, a->past, a->keys,
                   1, MITRAL_FLOAT);
    if (a->past) {
        attention_pack(COMPUTE_FLOAT, b.packed_k, b.past_key, false, a->batch, a->heads, a->past, a->head_size, 0,
                       a->keys, 1, MITRAL_FLOAT);
        attention_pack(COMPUTE_FLOAT, b.packed_v, b.past_value, false, a->batch, a->heads, a->past, a->value_size, 0,
                       a->keys, 1, MITRAL_FLOAT);
    }
    struct attention_mask mask = {.mask_keys = a->keys};
    if (l.mask || l.bias) {
        fill_mask(call, &l, b.mask);
        mask.elements = b.mask;
        mask.strides[0] = a->heads * a->queries * a->keys;
        mask.strides[1] = a->queries * a->keys;
        mask.strides[2] = a->keys;
        mask.strides[3] = 1;
    }
    const struct attention_operands operands = {b.packed_q, b.packed_k, b.packed_v, b.y, NULL, b.rows, true};
    if (call_output(call, 0)) {
        attention_float(a, &mask, &operands, call->threads);
        store(call_output(call, 0), 0, b.y, a->batch * a->heads * a->queries * a->value_size);
    }
    const int64_t keys = a->batch * a->heads * a->keys * a->head_size,
                  values = a->batch * a->heads * a->keys * a->value_size;
    store(call_output(call, 1), 0, b.packed_k, keys);
    store(call_output(call, kind == KIND_MULTI_HEAD ? 2 : 1), kind == KIND_MULTI_HEAD ? 0 : keys, b.packed_v, values);
    return MITRAL_OK;
}

#define KIND(name, value)                                                                                              \
    static mitral_status shape_##name(struct kernel_call *call)                                                        \
    {                                                                                                                  \
        return shape(call, value);                                                                                     \
    }                                                                                                                  \
    static mitral_status prepare_##name(struct kernel_call *call, void **state, size_t *scratch_bytes)                 \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        return prepare(call, value, scratch_bytes);                                                                    \
    }                                                                                                                  \
    static mitral_status run_##name(struct kernel_call *call)                                                          \
    {                                                                                                                  \
        return run(call, value);                                                                                       \
    }
KIND(attention, KIND_ATTENTION)
KIND(quantized, KIND_QUANTIZED)
KIND(multi_head, KIND_MULTI_HEAD)

const struct kernel reference_projected_attention[] = {
    {.name = "microsoft.Attention", .shape = shape_attention, .prepare = prepare_attention, .run = run_attention},
    {.name = "microsoft.MultiHeadAttention",
     .shape = shape_multi_head,
     .prepare = prepare_multi_head,
     .run = run_multi_head},
    {.name = "microsoft.QAttention", .shape = shape_quantized, .prepare = prepare_quantized, .run = run_quantized},
};
const size_t reference_projected_attention_count =
    sizeof(reference_projected_attention) / sizeof(*reference_projected_attention);
