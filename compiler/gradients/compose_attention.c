/* Attention in all its forms, and rotary embeddings. */
#include <math.h>
#include <string.h>

#include "compiler/gradients/compose_attention.h"

bool attention_is_static(const struct composer *c)
{
    for (size_t i = 0; i < c->node->input_count; i++)
        if (c->node->inputs[i] != NO_VALUE && !type_is_static(gradient_type(c->gradient, c->node->inputs[i])))
            return false;
    return true;
}

mitral_status attention_fail_symbolic(const struct composer *c)
{
    return gradient_fail(c->gradient, c->node, MITRAL_UNSUPPORTED, "expected inputs of fixed shape");
}

value_id attention_by_head(struct composer *c, value_id a, int64_t batch, int64_t positions, int64_t heads, int64_t size)
{
    const int64_t dims[4] = {batch, positions, heads, size}, order[4] = {0, 2, 1, 3};
    return permuted(c, reshaped(c, a, 4, dims), 4, order);
}

value_id attention_merged(struct composer *c, value_id a, const struct heads *h)
{
    const int64_t dims[3] = {h->batch, h->queries, h->heads * h->value_size}, order[4] = {0, 2, 1, 3};
    return reshaped(c, permuted(c, a, 4, order), 3, dims);
}

/* One key head for several query heads. */
static value_id shared(struct composer *c, value_id a, const struct heads *h, int64_t size)
{
    const int64_t apart[5] = {h->batch, h->kv_heads, 1, h->keys, size};
    const int64_t repeated[5] = {h->batch, h->kv_heads, h->heads / h->kv_heads, h->keys, size};
    const int64_t dims[4] = {h->batch, h->heads, h->keys, size};
    if (h->heads == h->kv_heads)
        return a;
    return reshaped(c, binary(c, "Expand", reshaped(c, a, 5, apart), integers(c, repeated, 5)), 4, dims);
}

static bool position_is_out(const struct heads *h, int64_t i, int64_t j)
{
    return (h->causal && j > i + h->past) || (h->left_window >= 0 && j < i + h->past - h->left_window)
           || (h->right_window >= 0 && j > i + h->past + h->right_window);
}

/* Keys that a query may not see by their positions, as 0 and -∞; NO_VALUE: sees all. */
static value_id position_bias(struct composer *c, const struct heads *h)
{
    const int64_t dims[2] = {h->queries, h->keys};
    double *values = arena_allocate(arena_of(c), (size_t)(h->queries * h->keys + 1) * sizeof *values);
    if (!values) {
        c->status = MITRAL_NO_MEMORY;
        return NO_VALUE;
    }
    if (!h->causal && h->left_window < 0 && h->right_window < 0)
        return NO_VALUE;
    for (int64_t i = 0; i < h->queries; i++)
        for (int64_t j = 0; j < h->keys; j++)
            values[i * h->keys + j] = position_is_out(h, i, j) ? -INFINITY : 0;
    return numbers(c, values, 2, dims);
}

value_id attention_positions(struct composer *c, int64_t count, bool column)
{
    int64_t *values = arena_allocate(arena_of(c), (size_t)(count + 1) * sizeof *values);
    const int64_t dims[2] = {column ? count : 1, column ? 1 : count};
    if (!values) {
        c->status = MITRAL_NO_MEMORY;
        return NO_VALUE;
    }
    for (int64_t i = 0; i < count; i++)
        values[i] = i;
    return reshaped(c, integers(c, values, (size_t)count), 2, dims);
}

/* The same where the sequences have lengths of their own: the last query then sits on the last key. */
static value_id length_bias(struct composer *c, const struct heads *h)
{
    const int64_t dims[4] = {h->batch, 1, 1, 1};
    value_id lengths = reshaped(c, h->lengths, 4, dims), j = attention_positions(c, h->keys, false);
    value_id out = binary(c, "GreaterOrEqual", j, lengths);
    value_id at = add(c, attention_positions(c, h->queries, true), subtract(c, lengths, integers(c, &h->queries, 1)));
    if (h->causal)
        out = binary(c, "Or", out, binary(c, "Greater", j, at));
    if (h->left_window >= 0)
        out = binary(c, "Or", out, binary(c, "Less", j, subtract(c, at, integers(c, &h->left_window, 1))));
    if (h->right_window >= 0)
        out = binary(c, "Or", out, binary(c, "Greater", j, add(c, at, integers(c, &h->right_window, 1))));
    return where(c, out, number(c, -INFINITY), number(c, 0));
}

value_id attention_attend(struct composer *c, const struct heads *h, value_id stages[4])
{
    const int64_t last = -1, swap[4] = {0, 1, 3, 2};
    value_id key = permuted(c, shared(c, h->k, h, h->head_size), 4, swap);
    value_id scores = matrix_product(c, scaled(c, h->q, h->scale), key);
    stages[0] = scores;
    if (h->softcap > 0)
        scores = scaled(c, unary(c, "Tanh", scaled(c, scores, 1 / h->softcap)), h->softcap);
    stages[1] = scores;
    value_id bias = h->bias, place = h->lengths == NO_VALUE ? position_bias(c, h) : length_bias(c, h);
    if (place != NO_VALUE)
        bias = bias == NO_VALUE ? place : add(c, bias, place);
    stages[2] = bias == NO_VALUE ? scores : add(c, scores, bias);
    value_id probabilities, zero = number(c, 0);
    if (bias != NO_VALUE && h->may_be_empty) {
        value_id any = apply(c, "ReduceMax", NULL, (value_id[]){bias, integers(c, &last, 1)}, 2);
        any = binary(c, "Greater", any, number(c, -INFINITY));
        probabilities = softmax(c, add(c, scores, where(c, any, bias, zero)), -1);
        probabilities = where(c, any, probabilities, zero);
    } else if (h->sinks != NO_VALUE) {
        probabilities = part(c, softmax(c, joined(c, (value_id[]){stages[2], h->sinks}, 2, 3), -1), 3, 0, h->keys);
    } else {
        probabilities = softmax(c, stages[2], -1);
    }
    stages[3] = probabilities;
    return matrix_product(c, probabilities, shared(c, h->v, h, h->value_size));
}

/* ---- ai.onnx --------------------------------------------------------------------------------------------------------- */

/* The mask as a bias; where it is shorter than the keys, what is behind it takes no part. */
static value_id bias_of_mask(struct composer *c, const struct heads *h)
{
    const struct value_type type = input_type(c, 3);
    value_id bias = input_of(c, 3);
    if (bias == NO_VALUE)
        return NO_VALUE;
    if (type.dtype == MITRAL_BOOL)
        bias = where(c, bias, number(c, 0), number(c, -INFINITY));
    else if (type.dtype != c->dtype)
        bias = cast(c, bias, c->dtype);
    if (type.rank > 0 && c->node->version >= 24 && type.dims[type.rank - 1] < h->keys) {
        const int64_t pads[2] = {0, h->keys - type.dims[type.rank - 1]}, axis = type.rank - 1;
        bias = apply(c, "Pad", NULL, (value_id[]){bias, integers(c, pads, 2), number(c, -INFINITY), integers(c, &axis, 1)}, 4);
    }
    return bias;
}

value_id attention_with_past(struct composer *c, size_t past, value_id now)
{
    return input_of(c, past) == NO_VALUE ? now : joined(c, (value_id[]){input_of(c, past), now}, 2, 2);
}

mitral_status compose_attention(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct attributes *attributes = &node->attributes;
    const struct value_type q = input_type(&c, 0), k = input_type(&c, 1), v = input_type(&c, 2), past = input_type(&c, 4);
    const bool split = q.rank == 4;
    value_id stages[4];
    if (!attention_is_static(&c))
        return attention_fail_symbolic(&c);
    const int64_t fresh = k.dims[split ? 2 : 1];
    struct heads h = {.batch = q.dims[0], .queries = q.dims[split ? 2 : 1], .past = past.rank == 4 ? past.dims[2] : 0,
                      .heads = split ? q.dims[1] : attribute_int(attributes, "q_num_heads", 1),
                      .kv_heads = split ? k.dims[1] : attribute_int(attributes, "kv_num_heads", 1),
                      .causal = attribute_int(attributes, "is_causal", 0) != 0,
                      .left_window = attribute_int(attributes, "left_window_size", -1),
                      .right_window = attribute_int(attributes, "right_window_size", -1),
                      .softcap = (double)attribute_float(attributes, "softcap", 0), .lengths = input_of(&c, 6), .sinks = NO_VALUE};
    h.keys = h.past + fresh;
    h.head_size = split ? q.dims[3] : q.dims[2] / h.heads;
    h.value_size = split ? v.dims[3] : v.dims[2] / h.kv_heads;
    h.scale = attribute_has(attributes, "scale") ? (double)attribute_float(attributes, "scale", 0) : 1 / sqrt((double)h.head_size);
    h.q = split ? input_of(&c, 0) : attention_by_head(&c, input_of(&c, 0), h.batch, h.queries, h.heads, h.head_size);
    h.k = split ? input_of(&c, 1) : attention_by_head(&c, input_of(&c, 1), h.batch, fresh, h.kv_heads, h.head_size);
    h.v = split ? input_of(&c, 2) : attention_by_head(&c, input_of(&c, 2), h.batch, fresh, h.kv_heads, h.value_size);
    h.k = attention_with_past(&c, 4, h.k);
    h.v = attention_with_past(&c, 5, h.v);
    h.bias = bias_of_mask(&c, &h);
    h.may_be_empty = h.bias != NO_VALUE || h.lengths != NO_VALUE || h.left_window >= 0 || h.right_window >= 0;
    value_id y = attention_attend(&c, &h, stages);
    become(&c, 0, split ? y : attention_merged(&c, y, &h));
    become(&c, 1, h.k);
    become(&c, 2, h.v);
    const int64_t mode = attribute_int(attributes, "qk_matmul_output_mode", 0);
    become(&c, 3, stages[mode >= 0 && mode <= 3 ? mode : 0]);
    return composer_end(&c, done);
}

/* ---- FlexAttention --------------------------------------------------------------------------------------------------- */

/* The subgraph of that name over `a`; `a` where there is none. What subgraphs take from outside is behind the three inputs. */
static value_id modified(struct composer *c, const char *name, value_id a)
{
    const struct node *node = c->node;
    const int32_t index = attribute_subgraph(&node->attributes, name);
    if (c->status != MITRAL_OK || index < 0 || (size_t)index >= node->subgraph_count)
        return a;
    const struct graph *body = node->subgraphs[index];
    value_id *inputs = arena_allocate(arena_of(c), (node->capture_count + 1) * sizeof *inputs), out = NO_VALUE;
    if (!inputs) {
        c->status = MITRAL_NO_MEMORY;
        return NO_VALUE;
    }
    if (body->input_count != node->capture_count + 1 || body->output_count != 1) {
        c->status = gradient_fail(c->gradient, node, MITRAL_INVALID, "expected %s of one input and one output", name);
        return NO_VALUE;
    }
    inputs[0] = a;
    memcpy(inputs + 1, node->inputs + node->input_count - node->capture_count, node->capture_count * sizeof *inputs);
    c->status = gradient_inline(c->gradient, body, inputs, &out);
    return out;
}

mitral_status compose_flexible_attention(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type q = input_type(&c, 0), k = input_type(&c, 1), v = input_type(&c, 2);
    const int64_t swap[4] = {0, 1, 3, 2};
    if (!type_is_static(&q) || !type_is_static(&k) || !type_is_static(&v) || q.rank != 4 || k.rank != 4 || v.rank != 4)
        return attention_fail_symbolic(&c);
    const struct heads h = {.batch = q.dims[0], .heads = q.dims[1], .queries = q.dims[2], .head_size = q.dims[3],
                            .kv_heads = k.dims[1], .keys = k.dims[2], .value_size = v.dims[3]};
    const int32_t usual = c.dtype == MITRAL_DOUBLE ? MITRAL_DOUBLE : MITRAL_FLOAT;
    const int32_t precise = (int32_t)attribute_int(&node->attributes, "softmax_precision", usual);
    const float given = attribute_float(&node->attributes, "scale", 0);
    const double scale = attribute_has(&node->attributes, "scale") ? (double)given : 1 / sqrt((double)h.head_size);
    value_id key = permuted(&c, shared(&c, input_of(&c, 1), &h, h.head_size), 4, swap);
    value_id a = scaled(&c, matrix_product(&c, input_of(&c, 0), key), scale);
    a = modified(&c, "score_mod", precise == c.dtype ? a : cast(&c, a, precise));
    a = modified(&c, "prob_mod", softmax(&c, a, -1));
    become(&c, 0, matrix_product(&c, precise == c.dtype ? a : cast(&c, a, c.dtype), shared(&c, input_of(&c, 2), &h, h.value_size)));
    return composer_end(&c, done);
}

/* ---- rotary embedding ------------------------------------------------------------------------------------------------ */

/* Rows of a cache for the positions: [batch or 1, length, half]. */
static value_id angles(struct composer *c, value_id cache, value_id ids, int64_t length)
{
    const struct value_type type = ids == NO_VALUE ? (struct value_type){.rank = -1} : *gradient_type(c->gradient, ids);
    if (ids == NO_VALUE)
        return cache;
    if (type.rank <= 1) { /* of com.microsoft: the position of the first element */
        const int64_t dims[2] = {1, 1};
        ids = add(c, reshaped(c, ids, 2, dims), attention_positions(c, length, false));
    }
    return binary(c, "Gather", cache, ids);
}

value_id attention_turned(struct composer *c, value_id a, const int64_t dims[4], int64_t half, bool interleaved, value_id cosine, value_id sine)
{
    const int64_t pairs[5] = {dims[0], dims[1], dims[2], half, 2}, turned[4] = {dims[0], dims[1], dims[2], 2 * half};
    value_id first, second, y;
    if (interleaved) {
        value_id both = reshaped(c, part(c, a, 3, 0, 2 * half), 5, pairs);
        first = without_axis(c, part(c, both, 4, 0, 1), 4);
        second = without_axis(c, part(c, both, 4, 1, 2), 4);
    } else {
        first = part(c, a, 3, 0, half);
        second = part(c, a, 3, half, 2 * half);
    }
    value_id left = subtract(c, multiply(c, cosine, first), multiply(c, sine, second));
    value_id right = add(c, multiply(c, sine, first), multiply(c, cosine, second));
    if (interleaved)
        y = reshaped(c, joined(c, (value_id[]){with_axis(c, left, 4), with_axis(c, right, 4)}, 2, 4), 4, turned);
    else
        y = joined(c, (value_id[]){left, right}, 2, 3);
    if (dims[3] > 2 * half)
        y = joined(c, (value_id[]){y, part(c, a, 3, 2 * half, dims[3])}, 2, 3);
    return y;
}

mitral_status compose_rotary_embedding(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const bool microsoft = *op_domain(node->op) != 0, interleaved = attribute_int(&node->attributes, "interleaved", 0) != 0;
    const struct value_type x = input_type(&c, 0), cache = input_type(&c, microsoft ? 2 : 1);
    value_id ids = input_of(&c, microsoft ? 1 : 3), cosine = input_of(&c, microsoft ? 2 : 1), sine = input_of(&c, microsoft ? 3 : 2);
    if (!attention_is_static(&c) || cache.rank < 1)
        return attention_fail_symbolic(&c);
    const bool is_merged = x.rank == 3;
    const int64_t half = cache.dims[cache.rank - 1], length = is_merged ? x.dims[1] : x.dims[2], axis = is_merged ? 2 : 1;
    int64_t heads = is_merged ? attribute_int(&node->attributes, "num_heads", 0) : x.dims[1];
    if (heads == 0 && half > 0)
        heads = x.dims[2] / (2 * half);
    const int64_t size = is_merged ? x.dims[2] / (heads ? heads : 1) : x.dims[3];
    const int64_t dims[4] = {x.dims[0], is_merged ? length : heads, is_merged ? heads : length, size};
    value_id rows = is_merged ? reshaped(&c, input_of(&c, 0), 4, dims) : input_of(&c, 0);
    cosine = with_axis(&c, angles(&c, cosine, ids, length), axis);
    sine = with_axis(&c, angles(&c, sine, ids, length), axis);
    value_id y = attention_turned(&c, rows, dims, half, interleaved, cosine, sine);
    become(&c, 0, is_merged ? reshaped(&c, y, 3, x.dims) : y);
    return composer_end(&c, done);
}
