/* Scaled dot-product attention, for the kernels that contain one. */
#ifndef MITRAL_REFERENCE_ATTENTION_H
#define MITRAL_REFERENCE_ATTENTION_H

#include "runtime/kernels/reference/operand.h"

struct attention {
    int64_t batch, heads, kv_heads;      /* heads / kv_heads query heads share a key and value head */
    int64_t queries, past, keys;         /* positions: of the query; of the cache; of the cache and the new keys */
    int64_t head_size, value_size;
    double scale, softcap;
    bool causal;
    int64_t left_window, right_window;   /* -1: unbounded */
    int32_t dtype, softmax_dtype; /* intermediate results are rounded to the first, the soft-max's to the second */
    int64_t score_mode;           /* what `scores` receives: 0 products, 1 capped, 2 with bias, 3 probabilities */
};

/* Additive bias of query i of head h of batch b on key j: mask[b · strides[0] + h · strides[1] + i · strides[2] + j ·
 * strides[3]], for j < mask_keys; beyond, and for j ≥ lengths[b] (NULL: all), keys do not take part. A boolean mask
 * admits where it is not 0. */
struct attention_mask {
    const void *elements;                /* float or double, like the operands; NULL: none */
    bool boolean;
    int64_t strides[4], mask_keys;
    const int64_t *lengths;
};

/* Packed operands: q [batch, heads, queries, head_size] and k [batch, kv_heads, keys, head_size], both scaled already,
 * v [batch, kv_heads, keys, value_size]; y [batch, heads, queries, value_size] or, when `merged`, [batch, queries,
 * heads · value_size]. `rows` holds 2 · keys elements a thread; `scores` [batch, heads, queries, keys] may be NULL. */
struct attention_operands {
    const void *q, *k, *v;
    void *y, *scores, *rows;
    bool merged;
};

void attention_float(const struct attention *a, const struct attention_mask *mask, const struct attention_operands *o,
                     int threads);
void attention_double(const struct attention *a, const struct attention_mask *mask, const struct attention_operands *o,
                      int threads);
/* The last step alone: y from the probabilities in `scores`. */
void attention_values_float(const struct attention *a, const struct attention_operands *o, int threads);
void attention_values_double(const struct attention *a, const struct attention_operands *o, int threads);

/* Copies [batch, heads, length, size] (or merged [batch, length, heads · size]) into rows `first` … of [batch, heads,
 * total, size], times `factor`, rounded to `dtype`. */
void attention_pack(enum compute compute, void *to, const void *from, bool merged, int64_t batch, int64_t heads,
                    int64_t length, int64_t size, int64_t first, int64_t total, double factor, int32_t dtype);
/* Strides of a mask that broadcasts to [batch, heads, queries, keys]; its last dimension may be shorter than keys. */
mitral_status attention_mask_strides(const struct kernel_call *call, const struct attention *a,
                                     const mitral_tensor *mask, bool may_be_short, struct attention_mask *out);

#endif
