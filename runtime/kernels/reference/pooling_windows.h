/* Which elements of the input a pooling window covers. */
#ifndef MITRAL_REFERENCE_POOLING_WINDOWS_H
#define MITRAL_REFERENCE_POOLING_WINDOWS_H

#include "runtime/kernels/reference/operand.h"
#include "runtime/kernels/reference/pooling.h"

/* The part of a window inside the input, in one dimension at one output coordinate. */
struct window_span {
    int64_t first, count; /* input coordinate of the first place inside; places from there, a dilation apart */
};

static inline struct window_span window_span(const struct pool_parameters *p, int32_t dimension, int64_t output)
{
    const int64_t start = output * p->strides[dimension] - p->pads_begin[dimension], dilation = p->dilations[dimension];
    const int64_t skip = start < 0 ? divide_up(-start, dilation) : 0;
    const int64_t end = smaller(divide_down(p->input[dimension] - 1 - start, dilation) + 1, p->kernel[dimension]);
    return (struct window_span){start + skip * dilation, larger(end - skip, 0)};
}

/* The input rows under the windows of one output row: `count` of them, which window_row numbers in row-major order. */
struct window_rows {
    struct window_span spans[MAX_SPATIAL];
    int64_t count;
};

static inline struct window_rows window_rows(const struct pool_parameters *p, int64_t output_row)
{
    struct window_rows rows = {.count = 1};
    for (int32_t i = p->spatial - 2; i >= 0; i--) {
        rows.spans[i] = window_span(p, i, output_row % p->output[i]);
        rows.count *= rows.spans[i].count;
        output_row /= p->output[i];
    }
    return rows;
}

/* Offset of the row in its plane. */
static inline int64_t window_row(const struct pool_parameters *p, const struct window_rows *rows, int64_t index)
{
    int64_t offset = 0, scale = p->input[p->spatial - 1];
    for (int32_t i = p->spatial - 2; i >= 0; i--) {
        offset += (rows->spans[i].first + index % rows->spans[i].count * p->dilations[i]) * scale;
        index /= rows->spans[i].count;
        scale *= p->input[i];
    }
    return offset;
}

#endif
