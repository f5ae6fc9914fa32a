/* Attention in all its forms, and rotary embeddings. */
#include <math.h>
#include <string.h>

#include "compiler/gradients/compose.h"

struct heads {
    int64_t batch, heads, kv_heads, queries, past, keys, head_size, value_size;
    double scale, softcap;
    bool causal;
    int64_t left_window, right_window; /* -1: unbounded */
    value_id q, k, v;                  /* [batch, (kv_)heads, positions, size]; keys and values with their past */
    value_id bias;                     /* broadcasts to [batch, heads, queries, keys]; NO_VALUE: none */
    value_id lengths;                  /* keys of each sequence; NO_VALUE: all */
    bool may_be_empty;                 /* a query may have no key at all */
};

static bool are_static(const struct composer *c)
{
    for (size_t i = 0; i < c->node->input_count; i++)
        if (c->node->inputs[i] != NO_VALUE && !type_is_static(gradient_type(c->gradient, c->node->inputs[i])))
            return false;
    return true;
}

static mitral_status fail_symbolic(const struct composer *c)
{
    return gradient_fail(c->gradient, c->node, MITRAL_UNSUPPORTED, "expected inputs of fixed shape");
}

/* [batch, positions, heads · size] as [batch, heads, positions, size]. */
static value_id by_head(struct composer *c, value_id a, int64_t batch, int64_t positions, int64_t heads, int64_t size)
{
    const int64_t dims[4] = {batch, positions, heads, size}, order[4] = {0, 2, 1, 3};
    return permuted(c, reshaped(c, a, 4, dims), 4, order);
}

static value_id merged(struct composer *c, value_id a, const struct heads *h)
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
    double *values = arena_allocate(gradient_graph(c->gradient)->arena, (size_t)(h->queries * h->keys + 1) * sizeof *values);
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

static value_id positions(struct composer *c, int64_t count, bool column)
{
    int64_t *values = arena_allocate(gradient_graph(c->gradient)->arena, (size_t)(count + 1) * sizeof *values);
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
    value_id lengths = reshaped(c, h->lengths, 4, dims), j = positions(c, h->keys, false);
    value_id out = binary(c, "GreaterOrEqual", j, lengths);
    value_id at = add(c, positions(c, h->queries, true), subtract(c, lengths, integers(c, &h->queries, 1)));
    if (h->causal)
        out = binary(c, "Or", out, binary(c, "Greater", j, at));
    if (h->left_window >= 0)
        out = binary(c, "Or", out, binary(c, "Less", j, subtract(c, at, integers(c, &h->left_window, 1))));
    if (h->right_window >= 0)
        out = binary(c, "Or", out, binary(c, "Greater", j, add(c, at, integers(c, &h->right_window, 1))));
    return where(c, out, number(c, -INFINITY), number(c, 0));
}

/* Y [batch, heads, queries, value_size]; stages[0…3]: products, capped, with bias, probabilities. */
static value_id attend(struct composer *c, const struct heads *h, value_id stages[4])
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

static value_id with_past(struct composer *c, size_t past, value_id now)
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
    if (!are_static(&c))
        return fail_symbolic(&c);
    const int64_t fresh = k.dims[split ? 2 : 1];
    struct heads h = {.batch = q.dims[0], .queries = q.dims[split ? 2 : 1], .past = past.rank == 4 ? past.dims[2] : 0,
                      .heads = split ? q.dims[1] : attribute_int(attributes, "q_num_heads", 1),
                      .kv_heads = split ? k.dims[1] : attribute_int(attributes, "kv_num_heads", 1),
                      .causal = attribute_int(attributes, "is_causal", 0) != 0,
                      .left_window = attribute_int(attributes, "left_window_size", -1),
                      .right_window = attribute_int(attributes, "right_window_size", -1),
                      .softcap = (double)attribute_float(attributes, "softcap", 0), .lengths = input_of(&c, 6)};
    h.keys = h.past + fresh;
    h.head_size = split ? q.dims[3] : q.dims[2] / h.heads;
    h.value_size = split ? v.dims[3] : v.dims[2] / h.kv_heads;
    h.scale = attribute_has(attributes, "scale") ? (double)attribute_float(attributes, "scale", 0) : 1 / sqrt((double)h.head_size);
    h.q = split ? input_of(&c, 0) : by_head(&c, input_of(&c, 0), h.batch, h.queries, h.heads, h.head_size);
    h.k = split ? input_of(&c, 1) : by_head(&c, input_of(&c, 1), h.batch, fresh, h.kv_heads, h.head_size);
    h.v = split ? input_of(&c, 2) : by_head(&c, input_of(&c, 2), h.batch, fresh, h.kv_heads, h.value_size);
    h.k = with_past(&c, 4, h.k);
    h.v = with_past(&c, 5, h.v);
    h.bias = bias_of_mask(&c, &h);
    h.may_be_empty = h.bias != NO_VALUE || h.lengths != NO_VALUE || h.left_window >= 0 || h.right_window >= 0;
    value_id y = attend(&c, &h, stages);
    become(&c, 0, split ? y : merged(&c, y, &h));
    become(&c, 1, h.k);
    become(&c, 2, h.v);
    const int64_t mode = attribute_int(attributes, "qk_matmul_output_mode", 0);
    become(&c, 3, stages[mode >= 0 && mode <= 3 ? mode : 0]);
    return composer_end(&c, done);
}

/* ---- com.microsoft --------------------------------------------------------------------------------------------------- */

/* Masks of int32: [batch] or [2 · batch] key counts (and starts), [batch, keys], [batch, queries, keys], [batch, 1, square]. */
static value_id filter_of_mask(struct composer *c, const struct heads *h, size_t input)
{
    const struct value_type type = input_type(c, input);
    const int64_t zero = 0, column[4] = {h->batch, 1, 1, 1};
    value_id mask = input_of(c, input), admits;
    if (mask == NO_VALUE)
        return NO_VALUE;
    mask = cast(c, mask, MITRAL_INT64);
    if (type.rank == 1) {
        value_id j = positions(c, h->keys, false);
        admits = binary(c, "Less", j, reshaped(c, part(c, mask, 0, 0, h->batch), 4, column));
        if (type.dims[0] != h->batch)
            admits = binary(c, "And", admits,
                            binary(c, "GreaterOrEqual", j, reshaped(c, part(c, mask, 0, h->batch, 2 * h->batch), 4, column)));
    } else {
        if (type.rank == 4)
            mask = part(c, part(c, mask, 2, h->past, h->past + h->queries), 3, 0, h->keys);
        else if (type.rank == 2)
            mask = with_axis(c, with_axis(c, mask, 1), 1);
        else
            mask = with_axis(c, mask, 1);
        admits = binary(c, "Greater", mask, integers(c, &zero, 1));
    }
    const double filter = (double)attribute_float(&c->node->attributes, "mask_filter_value", -10000);
    return where(c, admits, number(c, 0), number(c, filter));
}

static void finish_heads(struct composer *c, struct heads *h, size_t mask, size_t bias)
{
    const float scale = attribute_float(&c->node->attributes, "scale", 0);
    h->kv_heads = h->heads;
    h->left_window = h->right_window = -1;
    h->causal = attribute_int(&c->node->attributes, "unidirectional", 0) != 0;
    h->scale = scale != 0 ? (double)scale : 1 / sqrt((double)h->head_size);
    h->lengths = NO_VALUE;
    h->bias = filter_of_mask(c, h, mask);
    if (input_of(c, bias) != NO_VALUE)
        h->bias = h->bias == NO_VALUE ? input_of(c, bias) : add(c, h->bias, input_of(c, bias));
}

mitral_status compose_projected_attention(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type x = input_type(&c, 0), w = input_type(&c, 1), past = input_type(&c, 4);
    value_id stages[4];
    size_t count;
    if (!are_static(&c))
        return fail_symbolic(&c);
    const int64_t *sizes = attribute_ints(&node->attributes, "qkv_hidden_sizes", &count);
    const int64_t hidden = count == 3 ? sizes[0] : w.dims[1] / 3, value = count == 3 ? sizes[2] : w.dims[1] / 3;
    struct heads h = {.batch = x.dims[0], .queries = x.dims[1], .past = past.rank == 5 ? past.dims[3] : 0,
                      .heads = attribute_int(&node->attributes, "num_heads", 1)};
    h.keys = h.past + h.queries;
    h.head_size = hidden / h.heads;
    h.value_size = value / h.heads;
    value_id columns = matrix_product(&c, input_of(&c, 0), input_of(&c, 1));
    if (input_of(&c, 2) != NO_VALUE)
        columns = add(&c, columns, input_of(&c, 2));
    h.q = by_head(&c, part(&c, columns, 2, 0, hidden), h.batch, h.queries, h.heads, h.head_size);
    h.k = by_head(&c, part(&c, columns, 2, hidden, 2 * hidden), h.batch, h.queries, h.heads, h.head_size);
    h.v = by_head(&c, part(&c, columns, 2, 2 * hidden, 2 * hidden + value), h.batch, h.queries, h.heads, h.value_size);
    if (h.past) {
        value_id both = input_of(&c, 4);
        h.k = joined(&c, (value_id[]){without_axis(&c, part(&c, both, 0, 0, 1), 0), h.k}, 2, 2);
        h.v = joined(&c, (value_id[]){without_axis(&c, part(&c, both, 0, 1, 2), 0), h.v}, 2, 2);
    }
    finish_heads(&c, &h, 3, 5);
    become(&c, 0, merged(&c, attend(&c, &h, stages), &h));
    if (node_output(node, 1) != NO_VALUE)
        become(&c, 1, joined(&c, (value_id[]){with_axis(&c, h.k, 0), with_axis(&c, h.v, 0)}, 2, 0));
    return composer_end(&c, done);
}

/* MultiHeadAttention: query, key, value, bias?, padding mask?, score bias?, past key?, past value? */
mitral_status compose_separate_attention(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type q = input_type(&c, 0), k = input_type(&c, 1), v = input_type(&c, 2), past = input_type(&c, 6);
    value_id stages[4], query = input_of(&c, 0), key = input_of(&c, 1), value = input_of(&c, 2), bias = input_of(&c, 3);
    if (!are_static(&c))
        return fail_symbolic(&c);
    if (k.rank < 3 || v.rank != k.rank)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected separate query, key and value");
    const bool split = k.rank == 4;
    const int64_t fresh = k.dims[split ? 2 : 1];
    struct heads h = {.batch = q.dims[0], .queries = q.dims[1], .past = past.rank == 4 ? past.dims[2] : 0,
                      .heads = attribute_int(&node->attributes, "num_heads", 1)};
    h.keys = h.past + fresh;
    h.head_size = q.dims[2] / h.heads;
    h.value_size = split ? v.dims[3] : v.dims[2] / h.heads;
    const int64_t hidden = h.heads * h.head_size;
    if (bias != NO_VALUE) {
        query = add(&c, query, part(&c, bias, 0, 0, hidden));
        key = add(&c, key, part(&c, bias, 0, hidden, 2 * hidden));
        value = add(&c, value, part(&c, bias, 0, 2 * hidden, 2 * hidden + h.heads * h.value_size));
    }
    h.q = by_head(&c, query, h.batch, h.queries, h.heads, h.head_size);
    h.k = with_past(&c, 6, split ? key : by_head(&c, key, h.batch, fresh, h.heads, h.head_size));
    h.v = with_past(&c, 7, split ? value : by_head(&c, value, h.batch, fresh, h.heads, h.value_size));
    finish_heads(&c, &h, 4, 5);
    become(&c, 0, merged(&c, attend(&c, &h, stages), &h));
    become(&c, 1, h.k);
    become(&c, 2, h.v);
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
        ids = add(c, reshaped(c, ids, 2, dims), positions(c, length, false));
    }
    return binary(c, "Gather", cache, ids);
}

mitral_status compose_rotary_embedding(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const bool microsoft = *op_domain(node->op) != 0, interleaved = attribute_int(&node->attributes, "interleaved", 0) != 0;
    const struct value_type x = input_type(&c, 0), cache = input_type(&c, microsoft ? 2 : 1);
    value_id ids = input_of(&c, microsoft ? 1 : 3), cosine = input_of(&c, microsoft ? 2 : 1), sine = input_of(&c, microsoft ? 3 : 2);
    if (!are_static(&c) || cache.rank < 1)
        return fail_symbolic(&c);
    const bool is_merged = x.rank == 3;
    const int64_t half = cache.dims[cache.rank - 1], length = is_merged ? x.dims[1] : x.dims[2], axis = is_merged ? 2 : 1;
    int64_t heads = is_merged ? attribute_int(&node->attributes, "num_heads", 0) : x.dims[1];
    if (heads == 0 && half > 0)
        heads = x.dims[2] / (2 * half);
    const int64_t size = is_merged ? x.dims[2] / (heads ? heads : 1) : x.dims[3];
    const int64_t dims[4] = {x.dims[0], is_merged ? length : heads, is_merged ? heads : length, size};
    value_id rows = is_merged ? reshaped(&c, input_of(&c, 0), 4, dims) : input_of(&c, 0), first, second, y;
    cosine = with_axis(&c, angles(&c, cosine, ids, length), axis);
    sine = with_axis(&c, angles(&c, sine, ids, length), axis);
    const int64_t pairs[5] = {dims[0], dims[1], dims[2], half, 2}, turned[4] = {dims[0], dims[1], dims[2], 2 * half};
    if (interleaved) {
        value_id both = reshaped(&c, part(&c, rows, 3, 0, 2 * half), 5, pairs);
        first = without_axis(&c, part(&c, both, 4, 0, 1), 4);
        second = without_axis(&c, part(&c, both, 4, 1, 2), 4);
    } else {
        first = part(&c, rows, 3, 0, half);
        second = part(&c, rows, 3, half, 2 * half);
    }
    value_id a = subtract(&c, multiply(&c, cosine, first), multiply(&c, sine, second));
    value_id b = add(&c, multiply(&c, sine, first), multiply(&c, cosine, second));
    if (interleaved)
        y = reshaped(&c, joined(&c, (value_id[]){with_axis(&c, a, 4), with_axis(&c, b, 4)}, 2, 4), 4, turned);
    else
        y = joined(&c, (value_id[]){a, b}, 2, 3);
    if (size > 2 * half)
        y = joined(&c, (value_id[]){y, part(&c, rows, 3, 2 * half, size)}, 2, 3);
    become(&c, 0, is_merged ? reshaped(&c, y, 3, x.dims) : y);
    return composer_end(&c, done);
}
