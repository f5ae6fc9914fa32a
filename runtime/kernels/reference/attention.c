/* Attention: Q, K, V, mask?, past key?, past value?, valid keys? (from version 24) -> Y, present key?, present value?,
 * scores?. FlexAttention: Q, K, V with subgraphs that change scores and probabilities. */
#include "runtime/kernels/reference/attention.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/softmax.h"

static mitral_status check_softmax_type(const struct kernel_call *call, int64_t type)
{
    if (type == MITRAL_FLOAT || type == MITRAL_FLOAT16 || type == MITRAL_DOUBLE || type == MITRAL_BFLOAT16)
        return MITRAL_OK;
    return call_fail(call, MITRAL_INVALID, "softmax_precision 1, 10, 11 or 16 expected, found %lld", (long long)type);
}

static mitral_status fail_operands(const struct kernel_call *call, const char *expected)
{
    char text[3][160];
    for (size_t i = 0; i < 3; i++) {
        const mitral_tensor *tensor = call_input(call, i);
        if (tensor)
            tensor_describe(tensor, text[i], sizeof(text[i]));
        else
            strcpy(text[i], "none");
    }
    return call_fail(call, MITRAL_INVALID, "%s expected, found %s, %s, %s", expected, text[0], text[1], text[2]);
}

/* Sizes from Q, K, V and the past. */
static mitral_status decode_sizes(const struct kernel_call *call, struct attention *a)
{
    const mitral_tensor *q = call_input(call, 0), *k = call_input(call, 1), *v = call_input(call, 2);
    const mitral_tensor *past_key = call_input(call, 4), *past_value = call_input(call, 5);
    *a = (struct attention){.left_window = -1, .right_window = -1};
    if (!q || !k || !v || (q->rank != 3 && q->rank != 4) || k->rank != q->rank || v->rank != q->rank
        || k->dtype != q->dtype || compute_of(v->dtype) != compute_of(q->dtype))
        return fail_operands(call, "Q, K and V of rank 3 or 4 and one type");
    int64_t new_keys = k->dims[q->rank - 2], key_size;
    a->batch = q->dims[0];
    a->queries = q->dims[q->rank - 2];
    a->dtype = q->dtype;
    if (q->rank == 4) {
        a->heads = q->dims[1];
        a->kv_heads = k->dims[1];
        a->head_size = q->dims[3];
        key_size = k->dims[3];
        a->value_size = v->dims[3];
        if (v->dims[1] != k->dims[1])
            return fail_operands(call, "keys and values with one number of heads");
    } else {
        a->heads = attribute_int(call->attributes, "q_num_heads", 0);
        a->kv_heads = attribute_int(call->attributes, "kv_num_heads", 0);
        if (a->heads < 1 || a->kv_heads < 1 || q->dims[2] % a->heads || k->dims[2] % a->kv_heads
            || v->dims[2] % a->kv_heads)
            return fail_operands(call, "q_num_heads and kv_num_heads that divide the last dimensions");
        a->head_size = q->dims[2] / a->heads;
        key_size = k->dims[2] / a->kv_heads;
        a->value_size = v->dims[2] / a->kv_heads;
    }
    if (k->dims[0] != a->batch || v->dims[0] != a->batch || key_size != a->head_size
        || v->dims[q->rank - 2] != new_keys)
        return fail_operands(call, "Q, K and V that agree in batch, head size and number of keys");
    if (a->kv_heads < 1 || a->heads % a->kv_heads)
        return call_fail(call, MITRAL_INVALID,
                         "a number of query heads that is a multiple of the key heads expected, found %lld and %lld",
                         (long long)a->heads, (long long)a->kv_heads);
    if (!past_key != !past_value)
        return call_fail(call, MITRAL_INVALID, "a past key and a past value together expected, found one of them");
    if (past_key) {
        a->past = past_key->rank == 4 ? past_key->dims[2] : 0;
        const int64_t sizes[2] = {a->head_size, a->value_size};
        for (size_t i = 4; i < 6; i++) {
            const mitral_tensor *past = call_input(call, i), *now = call_input(call, i - 3);
            const int64_t dims[4] = {a->batch, a->kv_heads, a->past, sizes[i - 4]};
            if (past->rank != 4 || past->dtype != now->dtype || memcmp(past->dims, dims, sizeof(dims)) != 0) {
                char text[160];
                return call_fail(call, MITRAL_INVALID,
                                 "a past [%lld,%lld,P,%lld] of the present's type expected, found %s",
                                 (long long)a->batch, (long long)a->kv_heads, (long long)sizes[i - 4],
                                 tensor_describe(past, text, sizeof(text)));
            }
        }
    }
    a->keys = a->past + new_keys;
    return MITRAL_OK;
}

static mitral_status decode(const struct kernel_call *call, struct attention *a, struct attention_mask *mask)
{
    TRY(decode_sizes(call, a));
    const int64_t limit = (int64_t)1 << 40;
    const float scale = attribute_float(call->attributes, "scale", 0);
    a->scale = attribute_has(call->attributes, "scale") ? (double)scale : 1 / sqrt((double)larger(a->head_size, 1));
    a->softcap = (double)attribute_float(call->attributes, "softcap", 0);
    a->causal = attribute_int(call->attributes, "is_causal", 0) != 0;
    a->left_window = smaller(attribute_int(call->attributes, "left_window_size", -1), limit);
    a->right_window = smaller(attribute_int(call->attributes, "right_window_size", -1), limit);
    a->score_mode = attribute_int(call->attributes, "qk_matmul_output_mode", 0);
    const int64_t type = attribute_int(call->attributes, "softmax_precision", a->dtype);
    TRY(check_softmax_type(call, type));
    a->softmax_dtype = (int32_t)type;
    if (a->left_window < -1 || a->right_window < -1 || a->score_mode < 0 || a->score_mode > 3 || !(a->scale >= 0))
        return call_fail(call, MITRAL_INVALID,
                         "windows from -1, a scale from 0 and qk_matmul_output_mode 0 to 3 expected");
    *mask = (struct attention_mask){.mask_keys = a->keys};
    const mitral_tensor *given = call_input(call, 3), *lengths = call_input(call, 6);
    if (given) {
        TRY(attention_mask_strides(call, a, given, call->opset >= 24, mask));
        mask->boolean = given->dtype == MITRAL_BOOL;
    }
    if (lengths
        && (lengths->dtype != MITRAL_INT64 || lengths->rank != 1 || lengths->dims[0] != a->batch
            || call_input(call, 4)))
        return call_fail(call, MITRAL_INVALID, "nonpad_kv_seqlen [%lld] of int64, and no past, expected",
                         (long long)a->batch);
    return MITRAL_OK;
}

static void set_y(struct kernel_call *call, const struct attention *a)
{
    const mitral_tensor *q = call_input(call, 0);
    const int64_t split[4] = {a->batch, a->heads, a->queries, a->value_size};
    const int64_t merged[3] = {a->batch, a->queries, a->heads * a->value_size};
    call_set_output(call, 0, q->dtype, q->rank, q->rank == 4 ? split : merged);
}

static mitral_status shape_attention(struct kernel_call *call)
{
    struct attention a;
    struct attention_mask mask;
    enum compute compute;
    int64_t width;
    TRY(check_float_operand(call, 0, &compute));
    TRY(decode(call, &a, &mask));
    if (!multiply_sizes(a.heads, a.value_size, &width))
        return call_fail(call, MITRAL_LIMIT, "an output that can be addressed expected, its size overflows");
    set_y(call, &a);
    const int64_t key[4] = {a.batch, a.kv_heads, a.keys, a.head_size},
                  value[4] = {a.batch, a.kv_heads, a.keys, a.value_size};
    const int64_t scores[4] = {a.batch, a.heads, a.queries, a.keys};
    call_set_output(call, 1, call_input(call, 1)->dtype, 4, key);
    call_set_output(call, 2, call_input(call, 2)->dtype, 4, value);
    call_set_output(call, 3, a.dtype, 4, scores);
    return MITRAL_OK;
}

static int64_t elements(int64_t a, int64_t b, int64_t c, int64_t d)
{
    int64_t product;
    return multiply_sizes(a, b, &product) && multiply_sizes(product, c, &product)
                && multiply_sizes(product, d, &product)
             ? product
             : -1;
}

struct buffers {
    const void *q, *k, *v, *past_key, *past_value; /* as they come */
    void *packed_q, *packed_k, *packed_v, *rows, *y, *scores;
    const void *mask;
};

static void place(const struct kernel_call *call, struct work *work, enum compute compute, const struct attention *a,
                  bool flexible, struct buffers *out)
{
    const size_t size = compute_size(compute);
    *out = (struct buffers){0};
    out->q = work_operand(work, compute, call_input(call, 0));
    out->k = work_operand(work, compute, call_input(call, 1));
    out->v = work_operand(work, compute, call_input(call, 2));
    if (!flexible) {
        out->mask = work_operand(work, compute, call_input(call, 3));
        out->past_key = work_operand(work, compute, call_input(call, 4));
        out->past_value = work_operand(work, compute, call_input(call, 5));
    }
    out->packed_q = work_take(work, elements(a->batch, a->heads, a->queries, a->head_size), size);
    out->packed_k = work_take(work, elements(a->batch, a->kv_heads, a->keys, a->head_size), size);
    out->packed_v = work_take(work, elements(a->batch, a->kv_heads, a->keys, a->value_size), size);
    out->rows = work_take(work, elements(call->threads, 2, a->keys, 1), size);
    out->y = work_result(work, compute, call_output(call, 0));
    if (!flexible)
        out->scores = work_result(work, compute, call_output(call, 3));
}

static mitral_status prepare_attention(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct attention a;
    struct attention_mask mask;
    TRY(decode(call, &a, &mask));
    struct work work = {0};
    struct buffers buffers;
    place(call, &work, compute_of(a.dtype), &a, false, &buffers);
    return work_measure(call, &work, scratch_bytes);
}

/* The present is the past and what is new, as they are. */
static void write_present(const struct kernel_call *call, const struct attention *a, size_t index, int64_t size)
{
    mitral_tensor *present = call_output(call, index);
    const mitral_tensor *past = call_input(call, index + 3), *now = call_input(call, index);
    if (!present || !present->data)
        return;
    const size_t bytes = mitral_dtype_size((mitral_dtype)present->dtype) * (size_t)size;
    const int64_t fresh = a->keys - a->past;
    for (int64_t b = 0; b < a->batch; b++)
        for (int64_t h = 0; h < a->kv_heads; h++)
            for (int64_t j = 0; j < a->keys; j++) {
                const char *from;
                if (j < a->past)
                    from = (const char *)past->data + (size_t)((b * a->kv_heads + h) * a->past + j) * bytes;
                else if (now->rank == 4)
                    from = (const char *)now->data + (size_t)((b * a->kv_heads + h) * fresh + j - a->past) * bytes;
                else
                    from = (const char *)now->data + (size_t)((b * fresh + j - a->past) * a->kv_heads + h) * bytes;
                memcpy((char *)present->data + (size_t)((b * a->kv_heads + h) * a->keys + j) * bytes, from, bytes);
            }
}

static void pack_all(const struct attention *a, enum compute compute, bool merged, const struct buffers *b)
{
    /* Q and K are each scaled by the root, in their own type. */
    float root = (float)sqrt(a->scale);
    operand_round(a->dtype, &root, 1);
    const double factor = compute == COMPUTE_DOUBLE ? sqrt(a->scale) : (double)root;
    const int64_t fresh = a->keys - a->past;
    attention_pack(compute, b->packed_q, b->q, merged, a->batch, a->heads, a->queries, a->head_size, 0, a->queries,
                   factor, a->dtype);
    attention_pack(compute, b->packed_k, b->k, merged, a->batch, a->kv_heads, fresh, a->head_size, a->past, a->keys,
                   factor, a->dtype);
    attention_pack(compute, b->packed_v, b->v, merged, a->batch, a->kv_heads, fresh, a->value_size, a->past, a->keys, 1,
                   a->dtype);
    if (a->past) {
        attention_pack(compute, b->packed_k, b->past_key, false, a->batch, a->kv_heads, a->past, a->head_size, 0,
                       a->keys, factor, a->dtype);
        attention_pack(compute, b->packed_v, b->past_value, false, a->batch, a->kv_heads, a->past, a->value_size, 0,
                       a->keys, 1, a->dtype);
    }
}

static mitral_status run_attention(struct kernel_call *call)
{
    struct attention a;
    struct attention_mask mask;
    TRY(decode(call, &a, &mask));
    const mitral_tensor *lengths = call_input(call, 6);
    if (lengths)
        mask.lengths = lengths->data;
    for (int64_t b = 0; lengths && b < a.batch; b++)
        if (mask.lengths[b] < 0 || mask.lengths[b] > a.keys)
            return call_fail(call, MITRAL_INVALID, "nonpad_kv_seqlen from 0 to %lld expected, found %lld",
                             (long long)a.keys, (long long)mask.lengths[b]);
    enum compute compute = compute_of(a.dtype);
    struct work work = work_of(call);
    struct buffers buffers;
    place(call, &work, compute, &a, false, &buffers);
    write_present(call, &a, 1, a.head_size);
    write_present(call, &a, 2, a.value_size);
    if (!buffers.y && !buffers.scores)
        return MITRAL_OK;
    const bool merged = call_input(call, 0)->rank == 3;
    pack_all(&a, compute, merged, &buffers);
    mask.elements = buffers.mask;
    const struct attention_operands operands = {
        buffers.packed_q, buffers.packed_k, buffers.packed_v, buffers.y, buffers.scores, buffers.rows, merged};
    if (compute == COMPUTE_FLOAT)
        attention_float(&a, &mask, &operands, call->threads);
    else
        attention_double(&a, &mask, &operands, call->threads);
    work_store(compute, call_output(call, 0), buffers.y);
    work_store(compute, call_output(call, 3), buffers.scores);
    return MITRAL_OK;
}

/* ---- FlexAttention
 * ---------------------------------------------------------------------------------------------------- */

static mitral_status decode_flexible(const struct kernel_call *call, struct attention *a)
{
    /* Inputs from the fourth on are what the subgraphs capture. */
    struct kernel_call plain = *call;
    plain.input_count = call->input_count < 3 ? call->input_count : 3;
    TRY(decode_sizes(&plain, a));
    if (call_input(call, 0)->rank != 4 || call_input(call, 2)->dtype != a->dtype)
        return fail_operands(call, "Q, K and V of rank 4 and one type");
    a->scale = attribute_has(call->attributes, "scale") ? (double)attribute_float(call->attributes, "scale", 0)
                                                        : 1 / sqrt((double)larger(a->head_size, 1));
    const int64_t type =
        attribute_int(call->attributes, "softmax_precision", a->dtype == MITRAL_DOUBLE ? MITRAL_DOUBLE : MITRAL_FLOAT);
    TRY(check_softmax_type(call, type));
    a->softmax_dtype = (int32_t)type;
    return a->scale >= 0 ? MITRAL_OK : call_fail(call, MITRAL_INVALID, "a scale from 0 expected, found %g", a->scale);
}

static mitral_status shape_flexible(struct kernel_call *call)
{
    struct attention a;
    enum compute compute;
    TRY(check_float_operand(call, 0, &compute));
    TRY(decode_flexible(call, &a));
    set_y(call, &a);
    return MITRAL_OK;
}

/* The scores [batch, heads, queries, keys] go through a subgraph; what comes back takes their place. */
static mitral_status modify(struct kernel_call *call, const char *name, mitral_value *scores)
{
    const int32_t subgraph = attribute_subgraph(call->attributes, name);
    if (subgraph < 0)
        return MITRAL_OK;
    const size_t captured = call->input_count > 3 ? call->input_count - 3 : 0;
    const mitral_value **inputs = arena_allocate(call->arena, (captured + 1) * sizeof(*inputs));
    if (!inputs)
        return MITRAL_NO_MEMORY;
    inputs[0] = scores;
    for (size_t i = 0; i < captured; i++)
        inputs[i + 1] = call->inputs[3 + i];
    mitral_value changed = {0};
    if (!call->run_subplan)
        return call_fail(call, MITRAL_UNSUPPORTED, "an executor that runs subgraphs expected, found none");
    TRY(call->run_subplan(call, subgraph, inputs, captured + 1, &changed, 1));
    if (changed.kind != MITRAL_TENSOR || changed.tensor.dtype != scores->tensor.dtype
        || !tensor_same_shape(&changed.tensor, &scores->tensor)) {
        char expected[160], found[160];
        return call_fail(call, MITRAL_INVALID, "%s that gives %s expected, found %s", name,
                         tensor_describe(&scores->tensor, expected, sizeof(expected)),
                         tensor_describe(&changed.tensor, found, sizeof(found)));
    }
    *scores = changed;
    return MITRAL_OK;
}

/* work_store leaves a tensor of the computing type alone when it is computed in place, which this one is not. */
static void store_scores(enum compute compute, mitral_tensor *tensor, const void *elements_now)
{
    if (compute_size(compute) == mitral_dtype_size((mitral_dtype)tensor->dtype))
        memcpy(tensor->data, elements_now, tensor_bytes(tensor));
    else
        work_store(compute, tensor, elements_now);
}

/* Arithmetic is in double where the operands or the soft-max are. */
static enum compute flexible_compute(const struct attention *a)
{
    return a->dtype == MITRAL_DOUBLE || a->softmax_dtype == MITRAL_DOUBLE ? COMPUTE_DOUBLE : COMPUTE_FLOAT;
}

static void place_flexible(const struct kernel_call *call, struct work *work, const struct attention *a,
                           struct buffers *out)
{
    const enum compute compute = flexible_compute(a);
    place(call, work, compute, a, true, out);
    out->scores = work_take(work, elements(a->batch, a->heads, a->queries, a->keys), compute_size(compute));
}

static mitral_status prepare_flexible(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct attention a;
    TRY(decode_flexible(call, &a));
    struct work work = {0};
    struct buffers buffers;
    place_flexible(call, &work, &a, &buffers);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run_flexible(struct kernel_call *call)
{
    struct attention a;
    TRY(decode_flexible(call, &a));
    const enum compute compute = flexible_compute(&a);
    struct work work = work_of(call);
    struct buffers b;
    place_flexible(call, &work, &a, &b);
    if (!b.y)
        return MITRAL_OK;
    pack_all(&a, compute, false, &b);
    const struct attention_mask none = {.mask_keys = a.keys};
    const struct attention_operands products = {b.packed_q, b.packed_k, b.packed_v, NULL, b.scores, b.rows, false};
    (compute == COMPUTE_FLOAT ? attention_float : attention_double)(&a, &none, &products, call->threads);
    /* The subgraphs see the whole scores, in the soft-max's type. */
    mitral_value scores = {.kind = MITRAL_TENSOR};
    const int64_t dims[4] = {a.batch, a.heads, a.queries, a.keys};
    tensor_set(&scores.tensor, a.softmax_dtype, 4, dims);
    const size_t bytes = tensor_bytes(&scores.tensor);
    if (!(scores.tensor.data = arena_allocate(call->arena, bytes ? bytes : 1)))
        return MITRAL_NO_MEMORY;
    store_scores(compute, &scores.tensor, b.scores);
    TRY(modify(call, "score_mod", &scores));
    operand_load(compute, b.scores, &scores.tensor);
    if (compute == COMPUTE_FLOAT)
        softmax_float(SOFTMAX_PLAIN, a.batch * a.heads * a.queries, a.keys, 1, call->threads, b.scores, b.scores);
    else
        softmax_double(SOFTMAX_PLAIN, a.batch * a.heads * a.queries, a.keys, 1, call->threads, b.scores, b.scores);
    store_scores(compute, &scores.tensor, b.scores);
    TRY(modify(call, "prob_mod", &scores));
    operand_load(compute, b.scores, &scores.tensor);
    const struct attention_operands values = {NULL, NULL, b.packed_v, b.y, b.scores, NULL, false};
    (compute == COMPUTE_FLOAT ? attention_values_float : attention_values_double)(&a, &values, call->threads);
    work_store(compute, call_output(call, 0), b.y);
    return MITRAL_OK;
}

const struct kernel reference_attention[] = {
    {.name = "Attention", .shape = shape_attention, .prepare = prepare_attention, .run = run_attention},
    {.name = "preview.FlexAttention", .shape = shape_flexible, .prepare = prepare_flexible, .run = run_flexible},
};
const size_t reference_attention_count = sizeof(reference_attention) / sizeof(*reference_attention);
