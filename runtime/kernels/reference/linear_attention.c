/* LinearAttention: query, key, value, past state?, decay?, beta? -> output, present state. A state [d_k, d_v] for each
 * key head is carried along the sequence; accumulation is in float. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/operand.h"

struct linear_attention {
    int64_t batch, length, heads, kv_heads, key_size, value_size;
    int64_t decay_size; /* of one head: 1 or key_size; 0: no decay */
    int64_t beta_heads; /* kv_heads or 1; 0: no beta */
    float scale;
};

static mitral_status decode(const struct kernel_call *call, struct linear_attention *a)
{
    const mitral_tensor *q = call_input(call, 0), *k = call_input(call, 1), *v = call_input(call, 2);
    const mitral_tensor *past = call_input(call, 3), *decay = call_input(call, 4), *beta = call_input(call, 5);
    char text[3][160];
    const char *rule = attribute_string(call->attributes, "update_rule", "gated_delta");
    const bool gated = strcmp(rule, "gated") == 0 || strcmp(rule, "gated_delta") == 0;
    const bool delta = strcmp(rule, "delta") == 0 || strcmp(rule, "gated_delta") == 0;
    if (!gated && !delta && strcmp(rule, "linear") != 0)
        return call_fail(call, MITRAL_INVALID, "update_rule linear, gated, delta or gated_delta expected, found %.40s",
                         rule);
    if (gated != (decay != NULL) || delta != (beta != NULL))
        return call_fail(call, MITRAL_INVALID, "%s decay and %s beta for update_rule %s expected", gated ? "a" : "no",
                         delta ? "a" : "no", rule);
    *a = (struct linear_attention){.heads = attribute_int(call->attributes, "q_num_heads", 0),
                                   .kv_heads = attribute_int(call->attributes, "kv_num_heads", 0)};
    if (a->heads < 1 || a->kv_heads < 1 || a->heads % a->kv_heads)
        return call_fail(call, MITRAL_INVALID,
                         "q_num_heads that is a multiple of kv_num_heads expected, found %lld and %lld",
                         (long long)a->heads, (long long)a->kv_heads);
    if (!q || !k || !v || q->rank != 3 || k->rank != 3 || v->rank != 3 || q->dims[2] % a->heads
        || k->dims[2] % a->kv_heads || v->dims[2] % a->kv_heads || k->dims[2] / a->kv_heads != q->dims[2] / a->heads
        || memcmp(q->dims, k->dims, 2 * sizeof(int64_t)) != 0 || memcmp(q->dims, v->dims, 2 * sizeof(int64_t)) != 0
        || k->dtype != q->dtype || v->dtype != q->dtype)
        return call_fail(call, MITRAL_INVALID,
                         "query, key and value [B, T, heads · size] that agree expected, found %s, %s, %s",
                         q ? tensor_describe(q, text[0], sizeof(text[0])) : "none",
                         k ? tensor_describe(k, text[1], sizeof(text[1])) : "none",
                         v ? tensor_describe(v, text[2], sizeof(text[2])) : "none");
    a->batch = q->dims[0];
    a->length = q->dims[1];
    a->key_size = q->dims[2] / a->heads;
    a->value_size = v->dims[2] / a->kv_heads;
    a->decay_size = !decay || decay->rank != 3    ? 0
                  : decay->dims[2] == a->kv_heads ? 1
                  : decay->dims[2] == k->dims[2]  ? a->key_size
                                                  : 0;
    a->beta_heads = !beta || beta->rank != 3                           ? 0
                  : beta->dims[2] == a->kv_heads || beta->dims[2] == 1 ? beta->dims[2]
                                                                       : 0;
    if ((gated && (!a->decay_size || memcmp(q->dims, decay->dims, 2 * sizeof(int64_t)) != 0))
        || (delta && (!a->beta_heads || memcmp(q->dims, beta->dims, 2 * sizeof(int64_t)) != 0)))
        return call_fail(call, MITRAL_INVALID,
                         "a decay [B, T, heads (· d_k)] and a beta [B, T, heads or 1] expected, found %s and %s",
                         decay ? tensor_describe(decay, text[0], sizeof(text[0])) : "none",
                         beta ? tensor_describe(beta, text[1], sizeof(text[1])) : "none");
    const int64_t state[4] = {a->batch, a->kv_heads, a->key_size, a->value_size};
    if (past && (past->rank != 4 || memcmp(past->dims, state, sizeof(state)) != 0 || !dtype_is_float(past->dtype)))
        return call_fail(call, MITRAL_INVALID, "a past state [%lld,%lld,%lld,%lld] expected, found %s",
                         (long long)state[0], (long long)state[1], (long long)state[2], (long long)state[3],
                         tensor_describe(past, text[0], sizeof(text[0])));
    const float scale = attribute_float(call->attributes, "scale", 0);
    a->scale = scale != 0 ? scale : (float)(1 / sqrt((double)larger(a->key_size, 1)));
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call)
{
    enum compute compute;
    struct linear_attention a;
    TRY(check_float_operand(call, 0, &compute));
    TRY(decode(call, &a));
    int64_t dims[3] = {a.batch, a.length, 0};
    const int64_t state[4] = {a.batch, a.kv_heads, a.key_size, a.value_size};
    if (!multiply_sizes(a.heads, a.value_size, &dims[2]))
        return call_fail(call, MITRAL_LIMIT, "an output that can be addressed expected, its size overflows");
    const int32_t dtype = call_input(call, 0)->dtype;
    call_set_output(call, 0, dtype, 3, dims);
    call_set_output(call, 1, call_input(call, 3) ? call_input(call, 3)->dtype : dtype, 4, state);
    return MITRAL_OK;
}

struct operands {
    const float *q, *k, *v, *past, *decay, *beta;
    float *y, *states, *targets; /* a state and a row of values for each batch and key head */
};

static void place(const struct kernel_call *call, struct work *work, const struct linear_attention *a,
                  struct operands *o)
{
    const float **inputs[6] = {&o->q, &o->k, &o->v, &o->past, &o->decay, &o->beta};
    for (size_t i = 0; i < 6; i++)
        *inputs[i] = work_operand(work, COMPUTE_FLOAT, call_input(call, i));
    o->y = work_result(work, COMPUTE_FLOAT, call_output(call, 0));
    int64_t rows = a->batch * a->kv_heads, count;
    o->states = work_take(work, multiply_sizes(rows, a->key_size * a->value_size, &count) ? count : -1, sizeof(float));
    o->targets = work_take(work, multiply_sizes(rows, a->value_size, &count) ? count : -1, sizeof(float));
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct linear_attention a;
    struct operands operands;
    struct work work = {0};
    TRY(decode(call, &a));
    place(call, &work, &a, &operands);
    return work_measure(call, &work, scratch_bytes);
}

/* One position of one key head: decay, correct, write, read. */
static void step(const struct linear_attention *a, const struct operands *o, int64_t b, int64_t head, int64_t t)
{
    const int64_t at = b * a->length + t, d_k = a->key_size, d_v = a->value_size, group = a->heads / a->kv_heads;
    float *state = o->states + (b * a->kv_heads + head) * d_k * d_v,
          *target = o->targets + (b * a->kv_heads + head) * d_v;
    const float *k = o->k + (at * a->kv_heads + head) * d_k, *v = o->v + (at * a->kv_heads + head) * d_v;
    for (int64_t i = 0; a->decay_size && i < d_k; i++) {
        const float factor = expf(o->decay[(at * a->kv_heads + head) * a->decay_size + (a->decay_size == 1 ? 0 : i)]);
        for (int64_t j = 0; j < d_v; j++)
            state[i * d_v + j] *= factor;
    }
    memcpy(target, v, (size_t)d_v * sizeof(*target));
    if (a->beta_heads) {
        for (int64_t i = 0; i < d_k; i++)
            for (int64_t j = 0; j < d_v; j++)
                target[j] -= state[i * d_v + j] * k[i];
        const float beta = o->beta[at * a->beta_heads + (a->beta_heads == 1 ? 0 : head)];
        for (int64_t j = 0; j < d_v; j++)
            target[j] *= beta;
    }
    for (int64_t i = 0; i < d_k; i++)
        for (int64_t j = 0; j < d_v; j++)
            state[i * d_v + j] += k[i] * target[j];
    for (int64_t h = head * group; o->y && h < (head + 1) * group; h++) {
        float *y = o->y + (at * a->heads + h) * d_v;
        const float *q = o->q + (at * a->heads + h) * d_k;
        for (int64_t j = 0; j < d_v; j++)
            y[j] = 0;
        for (int64_t i = 0; i < d_k; i++)
            for (int64_t j = 0; j < d_v; j++)
                y[j] += q[i] * state[i * d_v + j];
        for (int64_t j = 0; j < d_v; j++)
            y[j] *= a->scale;
    }
}

static mitral_status run(struct kernel_call *call)
{
    struct linear_attention a;
    struct operands o;
    TRY(decode(call, &a));
    struct work work = work_of(call);
    place(call, &work, &a, &o);
    const int64_t heads = a.batch * a.kv_heads, size = a.key_size * a.value_size;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t index = 0; index < heads; index++) {
        if (o.past)
            memcpy(o.states + index * size, o.past + index * size, (size_t)size * sizeof(float));
        else if (size)
            memset(o.states + index * size, 0, (size_t)size * sizeof(float));
        for (int64_t t = 0; t < a.length; t++)
            step(&a, &o, index / a.kv_heads, index % a.kv_heads, t);
    }
    work_store(COMPUTE_FLOAT, call_output(call, 0), o.y);
    mitral_tensor *present = call_output(call, 1);
    for (int64_t i = 0; present && i < heads * size; i++)
        tensor_set_double(present, i, (double)o.states[i], true);
    return MITRAL_OK;
}

const struct kernel reference_linear_attention[] = {
    {.name = "LinearAttention", .shape = shape, .prepare = prepare, .run = run},
};
const size_t reference_linear_attention_count =
    sizeof(reference_linear_attention) / sizeof(*reference_linear_attention);
