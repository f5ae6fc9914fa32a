/* From sums to results, and the table of one instruction set. */
#include "runtime/kernels/quantized/lanes.h"

/* Adding it leaves no bits for a fraction: halves go to even. Its last bits count whole numbers. */
#define WHOLE 12582912.0f

INLINE bool any(signed_words mask)
{
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)mask) != 0;
#else
    int32_t all = 0;
    for (int i = 0; i < LANES; i++)
        all |= mask[i];
    return all != 0;
#endif
}

/* What is the same for all columns. */
struct common {
    vec low, high; /* of the rounded value, before the zero point is added */
    words shift;   /* from the bits of value + WHOLE to the result */
};

/* Results of one vector of columns; `doubt` collects the lanes that float32 cannot decide. */
INLINE words round_lanes(const struct quantized_columns *columns, const int32_t *sums, int64_t column, const struct common *common,
                         signed_words *doubt)
{
    const words sum = *(const words_unaligned *)sums + *(const words_unaligned *)(columns->offset + column);
    vec value = __builtin_convertvector((signed_words)sum, vec) * vec_load(columns->near_scale + column) + vec_load(columns->near_bias + column);
    value = vec_min(vec_max(value, common->low), common->high);
    const vec shifted = value + vec_set(WHOLE), apart = value - (shifted - vec_set(WHOLE));
    const vec distance = (vec)((words)apart & 0x7fffffffu);
    *doubt |= distance > vec_load(columns->near_limit + column);
    return (words)shifted + common->shift;
}

static __attribute__((noinline)) void decide(const struct quantized_columns *columns, const int32_t *sums, int64_t column, uint8_t *to)
{
    for (int i = 0; i < COLUMNS; i++)
        to[i] = (uint8_t)quantized_byte(columns, quantized_value(columns, column + i, sums[i]));
}

/* The low byte of each lane. */
INLINE void store_bytes(uint8_t *to, words low, words high)
{
#if defined(__AVX512F__)
    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8((__m512i)low));
    _mm_storeu_si128((__m128i *)(to + LANES), _mm512_cvtepi32_epi8((__m512i)high));
#elif defined(__AVX2__)
    const __m256i bytes = _mm256_set1_epi32(255);
    const __m256i parts = _mm256_packus_epi32(_mm256_and_si256((__m256i)low, bytes), _mm256_and_si256((__m256i)high, bytes));
    const __m256i both = _mm256_permute4x64_epi64(parts, 0xd8);
    _mm_storeu_si128((__m128i *)to, _mm_packus_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1)));
#else
    for (int i = 0; i < LANES; i++) {
        to[i] = (uint8_t)low[i];
        to[LANES + i] = (uint8_t)high[i];
    }
#endif
}

/* Fewer than COLUMNS, without a call. */
INLINE void copy_bytes(uint8_t *to, const uint8_t *from, int count)
{
#define COPY(size)                                                                                                     \
    if (COLUMNS > size && count & size) {                                                                              \
        memcpy(to, from, size);                                                                                        \
        to += size;                                                                                                    \
        from += size;                                                                                                  \
    }
    COPY(16)
    COPY(8)
    COPY(4)
    COPY(2)
    COPY(1)
#undef COPY
}

INLINE void finish_bytes(const struct quantized_finish *f, bool whole)
{
    const struct quantized_columns columns = *f->columns;
    const int64_t first = f->first;
    const bool is_signed = columns.result == RESULT_INT8;
    const float low = (float)((is_signed ? -128 : 0) - columns.y_zero), high = (float)((is_signed ? 127 : 255) - columns.y_zero);
    const struct common common = {vec_set(columns.rectified && low < 0 ? 0 : low), vec_set(high),
                                  (words){0} + (uint32_t)columns.y_zero - (words)vec_set(WHOLE)};
    for (int row = 0; row < f->row_count; row++) {
        const int32_t *sums = f->sums + row * COLUMNS;
        uint8_t bytes[COLUMNS], *to = whole ? (uint8_t *)f->to + row * f->stride : bytes;
        signed_words doubt = {0};
        const words low_lanes = round_lanes(&columns, sums, first, &common, &doubt);
        const words high_lanes = round_lanes(&columns, sums + LANES, first + LANES, &common, &doubt);
        store_bytes(to, low_lanes, high_lanes);
        if (any(doubt))
            decide(f->columns, sums, first, to);
        if (!whole)
            copy_bytes((uint8_t *)f->to + row * f->stride, bytes, f->column_count);
    }
}

static void finish_floats(const struct quantized_finish *f)
{
    const struct quantized_columns *columns = f->columns;
    const double *scale = columns->scale + f->first, *bias = columns->bias + f->first;
    const int32_t *offset = columns->offset + f->first;
    const double least = columns->rectified ? 0 : -__builtin_inf();
    for (int row = 0; row < f->row_count; row++) {
        const int32_t *sums = f->sums + row * COLUMNS;
        float values[COLUMNS];
        for (int i = 0; i < COLUMNS; i++) {
            const double value = (double)(int32_t)((uint32_t)sums[i] + (uint32_t)offset[i]) * scale[i] + bias[i];
            values[i] = (float)(value < least ? least : value);
        }
        memcpy(f->to + row * f->stride, values, (size_t)f->column_count * sizeof *values);
    }
}

void BLOCK(quantized_finish)(const struct quantized_finish *f)
{
    if (f->columns->result == RESULT_SUM)
        for (int row = 0; row < f->row_count; row++)
            memcpy(f->to + row * f->stride, f->sums + row * COLUMNS, (size_t)f->column_count * sizeof *f->sums);
    else if (f->columns->result == RESULT_FLOAT)
        finish_floats(f);
    else if (f->column_count == COLUMNS)
        finish_bytes(f, true);
    else
        finish_bytes(f, false);
}

const struct quantized_blocks BLOCK(quantized_blocks) = {
    .rows = ROWS,
    .columns = COLUMNS,
    .widen = BLOCK(quantized_widen),
    .product = BLOCK(quantized_product),
    .depthwise = BLOCK(quantized_depthwise),
    .spread = BLOCK(quantized_spread),
    .gather = BLOCK(quantized_gather),
    .finish = BLOCK(quantized_finish),
};
