/* What compositions of attention share. */
#ifndef MITRAL_COMPILER_COMPOSE_ATTENTION_H
#define MITRAL_COMPILER_COMPOSE_ATTENTION_H

#include "compiler/gradients/compose.h"

struct heads {
    int64_t batch, heads, kv_heads, queries, past, keys, head_size, value_size;
    double scale, softcap;
    bool causal;
    int64_t left_window, right_window; /* -1: unbounded */
    value_id q, k, v;                  /* [batch, (kv_)heads, positions, size]; keys and values with their past */
    value_id bias;                     /* broadcasts to [batch, heads, queries, keys]; NO_VALUE: none */
    value_id lengths;                  /* keys of each sequence; NO_VALUE: all */
    value_id sinks;                    /* [batch, heads, queries, 1], scores beside those of the keys; NO_VALUE: none */
    bool may_be_empty;                 /* a query may have no key at all */
};

bool attention_is_static(const struct composer *c);
mitral_status attention_fail_symbolic(const struct composer *c);
/* [batch, positions, heads · size] as [batch, heads, positions, size]. */
value_id attention_by_head(struct composer *c, value_id a, int64_t batch, int64_t positions, int64_t heads, int64_t size);
/* Y [batch, heads, queries, value_size] as [batch, queries, heads · value_size]. */
value_id attention_merged(struct composer *c, value_id y, const struct heads *h);
/* 0, 1, …: [1, count], or [count, 1] as a column. */
value_id attention_positions(struct composer *c, int64_t count, bool column);
/* Keys or values after those of input `past`, if there are such. */
value_id attention_with_past(struct composer *c, size_t past, value_id now);
/* Y [batch, heads, queries, value_size]; stages[0…3]: products, capped, with bias, probabilities. */
value_id attention_attend(struct composer *c, const struct heads *h, value_id stages[4]);
/* Heads [batch, heads, length, size] (`dims`) turned by angles whose last dimension is `half`, the others broadcast. */
value_id attention_turned(struct composer *c, value_id a, const int64_t dims[4], int64_t half, bool interleaved, value_id cosine, value_id sine);

#endif
