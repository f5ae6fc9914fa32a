/* One exact 8-bit convolution over channels-last data, made once and run by any number of threads. A product of matrices is a convolution
 * of 1 tap whose rows are positions. */
#ifndef MITRAL_QUANTIZED_STEP_H
#define MITRAL_QUANTIZED_STEP_H

#include "runtime/context.h"
#include "runtime/kernels/quantized/micro.h"

enum { QUANTIZED_SPATIAL = 3, WINOGRAD_SIDE = 4, WINOGRAD_PLANES = 36 };

struct quantized_shape {
    int64_t batch, channels, features, group;
    int64_t input[QUANTIZED_SPATIAL], kernel[QUANTIZED_SPATIAL], output[QUANTIZED_SPATIAL]; /* depth, height, width; 1 where there is none */
    int64_t stride[QUANTIZED_SPATIAL], dilation[QUANTIZED_SPATIAL], pad[QUANTIZED_SPATIAL]; /* the pads before */
};

/* Work is done in bands of output rows: what a band reads is widened to 16 bits, padding included, in memory that a thread has to itself. */
struct quantized_step {
    struct quantized_shape shape;
    struct quantized_columns columns;
    const struct quantized_blocks *blocks;
    bool depthwise, x_signed, shared; /* shared: taps of height use each other's rows */
    int64_t band_rows, bands;
    int64_t width;                /* of a widened row, in positions */
    int64_t slots;                /* widened rows of one tap of depth */
    int64_t tap_slots, row_slots; /* from tap to tap of height, from output row to output row */
    int64_t band_elements;
    int64_t run_length;           /* elements; taps of width that lie side by side are one run */
    int run_count, pairs;
    int64_t group_blocks, block_count; /* blocks of columns of a group, and of all */
    int64_t block_weights;        /* elements */
    int64_t chunks;               /* parts of the blocks that threads may take each its own of */
    /* Winograd (3×3, stride 1): planes of transformed data of so many tiles at a time, and the channels that sums may take at once. */
    bool winograd;
    int64_t tiles_across, tile_group, tile_channels, channel_chunk;
    ptrdiff_t *runs, *places;     /* where runs start, and positions of a band */
    int16_t *weights;
};

/* Decides how the work is cut; false: it is too large for this. Sets all but columns and memory. */
bool quantized_plan(const struct quantized_shape *shape, enum isa isa, int threads, struct quantized_step *out);
/* Weights, lists and tables lie in memory of so many bytes, zeroed. */
size_t quantized_memory_bytes(const struct quantized_step *step);
void quantized_place(struct quantized_step *step, void *memory);
/* Weights [features, channels / group, kernel…] less `zero` (one, or one a feature); of products [channels, features] when `turned`. */
struct quantized_weights_source {
    const void *data;
    bool is_signed, turned;
    const int32_t *zeros;
    int64_t zero_count;
};
mitral_status quantized_pack(mitral_context *context, struct quantized_step *step, const struct quantized_weights_source *source);
/* The column lists of feature `feature`. */
void quantized_set_column(struct quantized_step *step, int64_t feature, int32_t offset, double scale, double bias);

/* Whether the shape gains by Winograd; sets what belongs to it. */
bool quantized_suits_winograd(const struct quantized_shape *shape);
mitral_status quantized_pack_winograd(mitral_context *context, struct quantized_step *step, const struct quantized_weights_source *source);
int16_t quantized_source_weight(const struct quantized_weights_source *source, int64_t feature, int64_t index);

/* A part of the output that one thread computes: rows of one image and depth. */
struct quantized_band {
    int64_t image, depth, row, rows;
    const int16_t *data;  /* widened */
    void *work;           /* behind it */
    char *y;              /* of the whole output */
    int64_t result_bytes; /* of an element */
};
void quantized_run_winograd(const struct quantized_step *step, const struct quantized_band *band, int64_t first_block, int64_t end_block);
size_t quantized_winograd_work(const struct quantized_step *step);

size_t quantized_scratch_bytes(const struct quantized_step *step, int threads);
void quantized_run(const struct quantized_step *step, const void *x, int32_t x_zero, void *y, void *scratch, int threads);

#endif
