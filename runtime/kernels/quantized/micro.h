/* Exact 8-bit products on processors without 8-bit dot products: elements are widened to 16 bits less their zero point, multiplied in pairs
 * and added up in 32 bits (what vpmaddwd does). The instruction that multiplies bytes (vpmaddubsw) saturates, and needs a second one to
 * reach 32 bits: it would save nothing. The functions are compiled once for each instruction set; sums are taken modulo 2^32, as the reference
 * kernels do, so that every set gives the same bits. */
#ifndef MITRAL_QUANTIZED_MICRO_H
#define MITRAL_QUANTIZED_MICRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/cpu.h"

/* Rows of a tile, columns of a block: the most that any set has. */
enum { QUANTIZED_ROWS = 8, QUANTIZED_COLUMNS = 32 };

/* `count` bytes as differences from `zero`. */
struct quantized_widen {
    const void *from;
    bool is_signed;
    int32_t zero;
    int16_t *to;
    ptrdiff_t count;
};

/* A tile of sums: each row is a position whose data lie in runs, the same distances from wherever the row starts. */
struct quantized_tile {
    const int16_t *rows[QUANTIZED_ROWS];
    int row_count, column_count;
    const ptrdiff_t *runs;  /* product: where runs start; depthwise: where taps lie, an even number of them */
    int run_count, pairs;   /* product: pairs of elements in a run; depthwise: run_count is 1, pairs of taps */
    const int16_t *weights; /* of the block: [run][pair][column][2]; of depthwise [pair][column][2], columns in the order of the interleave */
    int32_t *sums;          /* [row][columns of a block] */
};

enum quantized_result { RESULT_SUM, RESULT_FLOAT, RESULT_UINT8, RESULT_INT8 };

/* What becomes of sums, column by column; lists are as long as all blocks. The value is (sum + offset) · scale + bias, at least 0 if rectified;
 * an 8-bit result is value / y_scale rounded to nearest even plus y_zero, saturated. All that in float64. Most elements are decided in
 * float32: only where its error could reach past a tie is float64 needed. */
struct quantized_columns {
    enum quantized_result result;
    bool rectified;
    double y_scale;
    int32_t y_zero;
    const int32_t *offset;
    const double *scale, *bias;
    const float *near_scale, *near_bias; /* scale / y_scale and bias / y_scale in float32 */
    const float *near_limit;             /* how far from a whole number the float32 value may lie to be trusted; negative: never */
};

struct quantized_finish {
    const int32_t *sums;
    const struct quantized_columns *columns;
    int64_t first;    /* column */
    int row_count, column_count;
    char *to;
    ptrdiff_t stride; /* bytes from row to row */
};

/* The data of one Winograd tile, 6×6 positions of so many channels, transformed into 36 planes. Whole vectors are read and written. */
struct quantized_spread {
    const int16_t *from;
    ptrdiff_t row_step, column_step; /* elements */
    int64_t channels;
    int16_t *to;
    ptrdiff_t plane; /* elements from one to the next */
};

/* The sums of a tile's 4×4 outputs, [output][columns of a block], from its products in 36 planes. */
struct quantized_gather {
    const int32_t *from;
    ptrdiff_t plane;
    int32_t *sums;
    bool add; /* to what is there */
};

struct quantized_blocks {
    int rows, columns; /* of a tile */
    void (*widen)(const struct quantized_widen *widen);
    void (*product)(const struct quantized_tile *tile);
    void (*depthwise)(const struct quantized_tile *tile);
    void (*spread)(const struct quantized_spread *spread);
    void (*gather)(const struct quantized_gather *gather);
    void (*finish)(const struct quantized_finish *finish);
};

extern const struct quantized_blocks quantized_blocks_portable, quantized_blocks_avx2, quantized_blocks_avx512;
/* A set that the machine has. */
const struct quantized_blocks *quantized_blocks_of(enum isa isa);

/* One element, all in float64. */
double quantized_value(const struct quantized_columns *columns, int64_t column, int32_t sum);
int32_t quantized_byte(const struct quantized_columns *columns, double value);

#endif
