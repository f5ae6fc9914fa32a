/* Attention of com.microsoft. */
#include <math.h>
#include <string.h>

#include "compiler/gradients/compose_attention.h"

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
        value_id j = attention_positions(c, h->keys, false);
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
    h->lengths = h->sinks = NO_VALUE;
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
    if (!attention_is_static(&c))
        return attention_fail_symbolic(&c);
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
    h.q = attention_by_head(&c, part(&c, columns, 2, 0, hidden), h.batch, h.queries, h.heads, h.head_size);
    h.k = attention_by_head(&c, part(&c, columns, 2, hidden, 2 * hidden), h.batch, h.queries, h.heads, h.head_size);
    h.v = attention_by_head(&c, part(&c, columns, 2, 2 * hidden, 2 * hidden + value), h.batch, h.queries, h.heads, h.value_size);
    if (h.past) {
        value_id both = input_of(&c, 4);
        h.k = joined(&c, (value_id[]){without_axis(&c, part(&c, both, 0, 0, 1), 0), h.k}, 2, 2);
        h.v = joined(&c, (value_id[]){without_axis(&c, part(&c, both, 0, 1, 2), 0), h.v}, 2, 2);
    }
    finish_heads(&c, &h, 3, 5);
    become(&c, 0, attention_merged(&c, attention_attend(&c, &h, stages), &h));
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
    if (!attention_is_static(&c))
        return attention_fail_symbolic(&c);
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
    h.q = attention_by_head(&c, query, h.batch, h.queries, h.heads, h.head_size);
    h.k = attention_with_past(&c, 6, split ? key : attention_by_head(&c, key, h.batch, fresh, h.heads, h.head_size));
    h.v = attention_with_past(&c, 7, split ? value : attention_by_head(&c, value, h.batch, fresh, h.heads, h.value_size));
    finish_heads(&c, &h, 4, 5);
    become(&c, 0, attention_merged(&c, attention_attend(&c, &h, stages), &h));
    become(&c, 1, h.k);
    become(&c, 2, h.v);
    return composer_end(&c, done);
}

/* ---- GroupQueryAttention --------------------------------------------------------------------------------------------- */

enum { Q, K, V, PAST_KEY, PAST_VALUE, LAST, TOTAL, COSINE, SINE, POSITIONS, BIAS, SINKS };

struct grouped {
    struct heads h;
    int64_t room, present;
    bool packed, first;         /* first: nothing of the caches' elements is used */
    value_id total, past;       /* [batch, 1] positions of each sequence, with the new ones and before them */
};

/* What the sequence has of keys or values: the cache's up to `past`, then the new ones, then zeros. */
static value_id with_cache(struct composer *c, const struct grouped *g, size_t cache, value_id now)
{
    const struct heads *h = &g->h;
    const int64_t fill = g->first ? g->present - h->queries : 1, pads[8] = {0, 0, 0, 0, 0, 0, fill, 0};
    const int64_t column[4] = {h->batch, 1, g->present, 1}, whole[4] = {h->batch, h->kv_heads, g->present, h->head_size};
    value_id all = g->first ? now : joined(c, (value_id[]){input_of(c, cache), now}, 2, 2);
    if (fill > 0)
        all = binary(c, "Pad", all, integers(c, pads, 8));
    if (g->first)
        return all;
    value_id j = attention_positions(c, g->present, false), room = integers(c, &g->room, 1);
    const int64_t behind_all = g->room + h->queries;
    value_id fresh = add(c, subtract(c, j, g->past), room), behind = integers(c, &behind_all, 1);
    value_id place = where(c, binary(c, "Less", j, g->past), j, where(c, binary(c, "Less", j, g->total), fresh, behind));
    struct attributes axis = {0};
    set_int(c, &axis, "axis", 2);
    place = binary(c, "Expand", reshaped(c, place, 4, column), integers(c, whole, 4));
    return apply(c, "GatherElements", &axis, (value_id[]){all, place}, 2);
}

/* Rows of the caches of angles: [batch, length]. Padding behind a sequence has a row that is there. */
static value_id rows_of_angles(struct composer *c, const struct grouped *g)
{
    const int64_t dims[2] = {g->h.batch, g->h.queries}, rows = input_type(c, COSINE).dims[0], padding = rows > 1 ? 1 : 0;
    if (input_of(c, POSITIONS) != NO_VALUE)
        return reshaped(c, input_of(c, POSITIONS), 2, dims);
    value_id at = add(c, g->past, attention_positions(c, g->h.queries, false));
    return where(c, binary(c, "Less", at, g->total), at, integers(c, &padding, 1));
}

static value_id turned(struct composer *c, const struct grouped *g, value_id a, int64_t heads, value_id rows)
{
    const int64_t dims[4] = {g->h.batch, heads, g->h.queries, g->h.head_size}, half = input_type(c, COSINE).dims[1];
    const bool interleaved = attribute_int(&c->node->attributes, "rotary_interleaved", 0) != 0;
    value_id cosine = with_axis(c, binary(c, "Gather", input_of(c, COSINE), rows), 1);
    value_id sine = with_axis(c, binary(c, "Gather", input_of(c, SINE), rows), 1);
    return attention_turned(c, a, dims, half, interleaved, cosine, sine);
}

static value_id bias_of(struct composer *c, const struct grouped *g)
{
    const struct value_type type = input_type(c, BIAS);
    value_id bias = input_of(c, BIAS);
    if (bias == NO_VALUE || type.dims[3] == g->h.keys)
        return bias;
    if (type.dims[3] > g->h.keys)
        return part(c, bias, 3, 0, g->h.keys);
    const int64_t pads[8] = {0, 0, 0, 0, 0, 0, 0, g->h.keys - type.dims[3]};
    return binary(c, "Pad", bias, integers(c, pads, 8));
}

static value_id sinks_of(struct composer *c, const struct heads *h)
{
    const int64_t each[4] = {1, h->heads, 1, 1}, whole[4] = {h->batch, h->heads, h->queries, 1};
    value_id sinks = input_of(c, SINKS);
    if (sinks == NO_VALUE && !attribute_int(&c->node->attributes, "smooth_softmax", 0))
        return NO_VALUE;
    sinks = sinks == NO_VALUE ? number(c, 0) : reshaped(c, sinks, 4, each);
    return binary(c, "Expand", sinks, integers(c, whole, 4));
}

mitral_status compose_grouped_attention(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type q = input_type(&c, Q), past = input_type(&c, PAST_KEY);
    const mitral_tensor *total = graph_constant(gradient_graph(gradient), node_input(node, TOTAL));
    struct grouped g = {.packed = input_of(&c, K) == NO_VALUE, .room = past.rank == 4 ? past.dims[2] : 0};
    struct heads *h = &g.h;
    value_id stages[4], q_part = input_of(&c, Q), k_part = input_of(&c, K), v_part = input_of(&c, V);
    if (!attention_is_static(&c))
        return attention_fail_symbolic(&c);
    if (!total)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected a total length that is a constant");
    const int64_t window = attribute_int(&node->attributes, "local_window_size", -1), length = tensor_get_int(total, 0), one = 1;
    *h = (struct heads){.batch = q.dims[0], .queries = q.dims[1], .heads = attribute_int(&node->attributes, "num_heads", 1),
                        .kv_heads = attribute_int(&node->attributes, "kv_num_heads", 1), .causal = true, .right_window = -1,
                        .left_window = window >= 0 ? window - 1 : -1, .softcap = (double)attribute_float(&node->attributes, "softcap", 0)};
    h->head_size = h->value_size = q.dims[2] / (g.packed ? h->heads + 2 * h->kv_heads : h->heads);
    const int64_t q_columns = h->heads * h->head_size, kv_columns = h->kv_heads * h->head_size, column[2] = {h->batch, 1};
    const float scale = attribute_float(&node->attributes, "scale", 0);
    h->scale = scale != 0 ? (double)scale : 1 / sqrt((double)h->head_size);
    g.first = length == h->queries;
    g.present = h->keys = length > g.room ? length : g.room;
    g.total = add(&c, reshaped(&c, cast(&c, input_of(&c, LAST), MITRAL_INT64), 2, column), integers(&c, &one, 1));
    g.past = subtract(&c, g.total, g.first ? g.total : integers(&c, &h->queries, 1)); /* of the first tokens: 0 */
    if (g.packed) {
        q_part = part(&c, input_of(&c, Q), 2, 0, q_columns);
        k_part = part(&c, input_of(&c, Q), 2, q_columns, q_columns + kv_columns);
        v_part = part(&c, input_of(&c, Q), 2, q_columns + kv_columns, q_columns + 2 * kv_columns);
    }
    h->q = attention_by_head(&c, q_part, h->batch, h->queries, h->heads, h->head_size);
    h->k = attention_by_head(&c, k_part, h->batch, h->queries, h->kv_heads, h->head_size);
    h->v = attention_by_head(&c, v_part, h->batch, h->queries, h->kv_heads, h->head_size);
    if (attribute_int(&node->attributes, "do_rotary", 0)) {
        value_id rows = rows_of_angles(&c, &g);
        h->q = turned(&c, &g, h->q, h->heads, rows);
        h->k = turned(&c, &g, h->k, h->kv_heads, rows);
    }
    h->k = with_cache(&c, &g, PAST_KEY, h->k);
    h->v = with_cache(&c, &g, PAST_VALUE, h->v);
    /* Padding behind a sequence looks further than its end, as the kernel lets it. */
    h->lengths = add(&c, g.past, integers(&c, &h->queries, 1));
    h->bias = bias_of(&c, &g);
    h->sinks = sinks_of(&c, h);
    become(&c, 0, attention_merged(&c, attention_attend(&c, h, stages), h));
    become(&c, 1, h->k);
    become(&c, 2, h->v);
    return composer_end(&c, done);
}
