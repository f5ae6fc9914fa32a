/* The building blocks of the planar kernels, compiled once for each instruction set and chosen at run time. Pure functions over
 * pointers: no allocation, no threads, no checks. What they compute for one output element does not depend on how a caller
 * cuts the work into calls, so results are bitwise equal for any number of threads. */
#ifndef MITRAL_PLANAR_MICRO_H
#define MITRAL_PLANAR_MICRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/cpu.h"

enum planar_activation {
    PLANAR_LINEAR = 0,
    PLANAR_RELU = 1,
    PLANAR_SLOPE = 2 /* x > 0 ? x : slope[channel] · x */
};

/* Functions of one value that are more than a maximum, then value · scale + shift. As onednn_activation names and defines them. */
enum planar_function_kind {
    FUNCTION_NONE = 0,
    FUNCTION_RELU,
    FUNCTION_LEAKY_RELU,   /* alpha: slope */
    FUNCTION_CLIP,         /* alpha, beta: limits */
    FUNCTION_HARD_SIGMOID, /* alpha · x + beta within 0 and 1 */
    FUNCTION_HARD_SWISH,
    FUNCTION_SIGMOID,
    FUNCTION_SWISH,        /* x · sigmoid(alpha · x) */
    FUNCTION_GELU_TANH,
    FUNCTION_MISH
};

struct planar_function {
    enum planar_function_kind kind;
    float alpha, beta, scale, shift;
};

/* False when there is no function of that name. */
bool planar_function_of(const char *name, float alpha, float beta, float scale, float shift, struct planar_function *out);

/* How far beyond the last element that a caller asks for a block may read or write scratch memory, in floats. */
enum { PLANAR_SLACK = 64 };

/* output[r][c] = act(start + Σ_k weights[r][k] · input[offsets[k] + c] + residual[r][c]), lanes along c. `start` is what
 * output held (accumulate), else shift[r], else 0. */
struct plane_product {
    int rows, columns, depth;
    ptrdiff_t weight_step;     /* depth of the packed weights: depth, or more when this is a part of it */
    const float *weights;      /* [ceil(rows / 4)][weight_step][4], zeros where a group is not full */
    const float *input;
    const ptrdiff_t *offsets;  /* depth entries, in floats */
    float *output;
    ptrdiff_t stride;          /* between rows of output */
    const float *shift;        /* rows entries; NULL: zeros */
    const float *residual;     /* NULL: none */
    ptrdiff_t residual_stride;
    const float *slope;        /* rows entries, of PLANAR_SLOPE */
    bool accumulate;
    bool through;              /* output, rows and columns of whole lines, is too large to be found in a cache later */
    enum planar_activation activation;
    ptrdiff_t prefetch;        /* distance of what to fetch into the cache meanwhile; 0: nothing */
    /* Rows ahead[ahead_offsets[k] + c] of the input that come next, and what is written, are fetched meanwhile in even portions: of
     * every `ahead_step` rows, a group of rows of output fetches the one of its number from `ahead_first` on. NULL: none. */
    const float *ahead;
    const ptrdiff_t *ahead_offsets;
    int ahead_first, ahead_step;
    /* Vectors of AVX-512 take long runs of these rows instead, which CPUs' own fetching joins in on, into the second level: a row is
     * 1 << piece_shift pieces of AHEAD_PIECE floats, and each tile fetches `pieces` of them from number `first_piece` on. */
    int first_piece, pieces, piece_shift;
};
enum { AHEAD_PIECE = 64 };

/* `count` products of the same size with nothing before or after: output_i[r][c] = Σ_k weights_i[r][k] · input_i[offsets[k] + c].
 * Whole vectors and groups of four rows are read and written: outputs have room for them. */
struct plane_batch {
    int count, rows, columns, depth;
    const float *weights;      /* [count][ceil(rows / 4)][depth][4] */
    const float *input;
    ptrdiff_t position;        /* between inputs */
    const ptrdiff_t *offsets;
    float *output;
    ptrdiff_t position_out, pitch_out;
    /* Rows that the caller is going to write and to read, which are fetched into the cache meanwhile, one for each tile of products:
     * ahead_count rows of ahead_lines lines, ahead_rows of them ahead_row apart, then a step. */
    const float *written, *read;
    ptrdiff_t ahead_step, ahead_row;
    int ahead_rows, ahead_count, ahead_lines;
};

/* ---- Winograd ------------------------------------------------------------------------------------------------------
 * F(4, 3) on the points 0, ±√½, ±√2, ∞: four outputs of a 3-tap filter from six products instead of twelve. With these points
 * the rounding error stays within a few times that of the direct sum. A dilated filter works on every d-th row (and column). */
enum { WINOGRAD_INPUTS = 6, WINOGRAD_OUTPUTS = 4 };

/* What happens to a convolution's result on its way out; all strides in floats. `sum` holds the running sum of the branches before
 * this one (read_sum) and is given the sum with this one (write_sum). Then
 * output = act(sum · scale[c] + shift[c] + residual), or act((sum + residual) · scale[c] + shift[c]) with residual_first. */
struct planar_finish {
    float *sum;
    ptrdiff_t sum_step, sum_row;
    bool read_sum, write_sum;
    float *output;         /* NULL: only the sum is wanted */
    uint16_t *rounded;     /* channel_gather alone: this instead of output, where the map is bfloat16 in memory; NULL: it is not */
    const float *residual; /* NULL: none; strides are output's; may be output itself */
    ptrdiff_t step, row;   /* step: between planes, or between columns on channels-last data; row: between the four rows of one
                              group (dilation × pitch) */
    bool residual_first;
    const float *scale, *shift; /* NULL: 1 and 0 */
    const float *slope;
    enum planar_activation activation;
    bool through;          /* planes without a residual: output is too large to be found in a cache later */
};

/* The same from channel `first` on, on channels-last data. */
static inline struct planar_finish planar_finish_from(const struct planar_finish *whole, int first)
{
    struct planar_finish finish = *whole;
    finish.output = finish.output ? finish.output + first : NULL;
    finish.residual = finish.residual ? finish.residual + first : NULL;
    finish.scale = finish.scale ? finish.scale + first : NULL;
    finish.shift = finish.shift ? finish.shift + first : NULL;
    finish.slope = finish.slope ? finish.slope + first : NULL;
    return finish;
}

/* Planes: output[i * position + c * pitch + x] for six positions i from six rows. */
struct plane_spread {
    int channels, columns;
    const float *rows[WINOGRAD_INPUTS]; /* of channel 0 */
    ptrdiff_t channel;
    float *output;
    ptrdiff_t position, pitch;
};

/* The way back: up to four rows of `channels` planes from six products at input[i * position + c * pitch + x]. */
struct plane_gather {
    int channels, columns, rows;
    const float *input;
    ptrdiff_t position, pitch;
    struct planar_finish finish; /* pointers to channel 0, row 0, column 0 */
};

/* Channels last: where one tile of 4×4 outputs (dilation apart) has its inputs and outputs. */
struct channel_tile {
    ptrdiff_t input;                     /* pixel of the map that is input row 0, column 0: one dilation above and left of the first
                                            output; it may lie outside the map */
    ptrdiff_t output;                    /* of the first output, in `output` and `residual` */
    uint8_t rows_there, columns_there;   /* bit i: input row (column) i lies inside the map; the others are zero */
    uint8_t rows, columns;               /* how many of the four output rows and columns lie inside */
};

/* output[(6i + j) * position + tile * pitch + c] for 36 positions. */
struct channel_spread {
    int count, channels;
    const struct channel_tile *tiles;
    const float *input;
    const uint16_t *rounded;             /* this instead of input, where the map is bfloat16 in memory; NULL: it is not */
    ptrdiff_t pixel;                     /* between neighbouring pixels of the map */
    ptrdiff_t row, column;               /* between neighbouring inputs of a tile (dilation × pitch) */
    float *output;
    ptrdiff_t position, pitch;
};

struct channel_gather {
    int count, channels;
    const struct channel_tile *tiles;
    const float *input;                  /* as channel_spread's output */
    ptrdiff_t position, pitch;
    struct planar_finish finish;         /* without sums; pointers to the map's channel 0 */
};

/* output[p][c] = act(start + Σ_tap Σ_k input[offsets[tap] + p * pixel + k * step] · weights[tap][k][c] + residual[p][c]), lanes
 * along c. `start` is what output held (accumulate), else shift[c], else 0. */
struct channel_product {
    int rows, columns, depth, taps;      /* pixels, output channels, input channels */
    const float *input;
    ptrdiff_t pixel, step;
    const ptrdiff_t *offsets;            /* NULL: one tap at 0 */
    const float *weights;                /* [taps][depth][width] */
    ptrdiff_t width;                     /* columns rounded up to PLANAR_WIDTH, zeros in between */
    float *output;
    ptrdiff_t stride;                    /* between pixels of output */
    const float *shift, *residual, *slope;
    ptrdiff_t residual_stride;
    bool whole;                          /* no other columns belong to these: equal columns have equal sums, whatever their number */
    bool accumulate, ahead;              /* ahead: the output is in no cache, and few products hide that */
    enum planar_activation activation;
    struct amx_shape *shape;             /* of planar_amx_blocks() alone: what the calling thread's tiles are shaped for */
};
enum { PLANAR_WIDTH = 16 };

/* Shaping tiles takes as long as thousands of products. All zeros: not shaped, as at first; before a thread goes on to anything else it
 * has to `release` them. */
struct amx_shape {
    int pairs, columns;
};

/* `count` products of the same size: output_i[p][c] = Σ_k input_i[p][k] · weights_i[k][c]. Whole vectors of channels are written:
 * pitch_out is at least columns rounded up to the lanes. */
struct channel_batch {
    int count, rows, columns, depth;
    const float *input;
    ptrdiff_t position, pitch;           /* between inputs, between rows of one */
    const float *weights;                /* [count][depth][width] */
    ptrdiff_t width;
    float *output;
    ptrdiff_t position_out, pitch_out;
    const float *next;                   /* of count 1: what is fetched into a cache meanwhile, next_row floats for each row; NULL: nothing */
    ptrdiff_t next_row;
};

/* How long a chain of sums may be: longer ones are cut, and their parts added up in the output. */
enum { BATCH_CHAIN = 32 };

/* Whether output may be the input: all of a row's columns are made at once. */
static inline bool channel_batch_in_place(int columns, int depth, int lanes)
{
    return columns <= 3 * lanes && depth <= BATCH_CHAIN;
}

/* ---- rows: what a product's input may have to go through first ------------------------------------------------------ */

/* One output row of a bilinear ×2 upsampling (half_pixel) of `planes` planes with channels = 0, or of a channels-last map with
 * `channels` channels to a pixel: weight · above + (1 − weight) · below down the rows, then along them; shift is added by plane
 * (by channel). Where the input goes on to the left (right), its next column is used, else its first (last) one again.
 * `temporary` is for planes alone: UPSAMPLED_TOGETHER times columns + PLANAR_SLACK floats. */
enum { UPSAMPLED_TOGETHER = 8 };
struct row_upsample {
    int planes, channels, columns;       /* columns of the input; the output has twice as many */
    bool goes_left, goes_right;
    const float *above, *below;
    float weight;
    ptrdiff_t step;                      /* between planes of the input */
    float *output;
    ptrdiff_t output_step;               /* between planes, or between pixels on channels-last data */
    const float *shift;                  /* NULL: zeros */
    float *temporary;
};

/* One output row of a 2×2 maximum of stride 2; channels as above. */
struct row_pool {
    int planes, channels, columns;       /* columns of the output */
    const float *above, *below;
    ptrdiff_t step;
    float *output;
    ptrdiff_t output_step;
};

/* Channels last: one output pixel, the maximum of `count` (1 or more) input pixels, and of what is there already where `onto` is set. A
 * NaN is the largest. */
struct pixel_maximum {
    ptrdiff_t channels;
    const float *input;
    const ptrdiff_t *offsets;            /* of the pixels from `input` */
    int count;
    bool onto;
    float *output;
};

/* The same of floats of 16 bits, of which `infinity` tells the kind. */
struct half_maximum {
    ptrdiff_t channels;
    const uint16_t *input;
    const ptrdiff_t *offsets;
    int count;
    bool onto;
    uint16_t *output;
    int16_t infinity;                    /* its bits */
};

/* `count` floats from or to bfloat16, rounded to nearest even; a NaN stays one. */
struct row_round {
    ptrdiff_t count;
    const float *input;
    uint16_t *output;
};
struct row_widen {
    ptrdiff_t count;
    const uint16_t *input;
    float *output;
};

/* Pixels of a channels-last map to planes. */
struct row_planes {
    int pixels, channels;
    const float *input;
    ptrdiff_t pixel;
    float *output;
    ptrdiff_t plane;
};

/* Pixels of channels as pairs of bfloat16 for the products of planar_pair_blocks(): a pair (even channel in the lower half, the odd one
 * after it in the upper) takes a float's place; where the number is odd, the last partner is zero. Channels last (step is 1): output[p * pixel_out + c / 2]; planes (pixel is 1): output[c / 2 * step_out + p]. */
struct row_pairs {
    int pixels, channels;
    bool planes;
    const float *input;
    ptrdiff_t pixel, step;
    float *output;
    ptrdiff_t pixel_out, step_out;
};

/* Channels last: the finish by itself, of values input[p * pitch + c]. */
struct channel_finish {
    int pixels, channels;
    const float *input;
    ptrdiff_t pitch;
    struct planar_finish finish;         /* step and sum_step: between pixels */
};

/* The same of whole rows of channels, where the output, the residual or both are bfloat16 (steps are in elements). Without sums. */
struct rounded_finish {
    struct channel_finish finish;
    bool residual, output;
};

/* Channels last: one output row of a depthwise convolution and its finish. */
enum { DEPTHWISE_ROWS = 16 };
struct channel_depthwise {
    int pixels, channels;
    int kernel[2], stride, dilation, pad; /* the last three along the row */
    const float *rows[DEPTHWISE_ROWS];    /* kernel[0] input rows; NULL: outside, zero */
    int columns;                          /* of the input */
    ptrdiff_t pitch;                      /* between its pixels */
    const float *weights;                 /* [kernel[0]][kernel[1]][width] */
    ptrdiff_t width;                      /* channels rounded up to PLANAR_WIDTH */
    struct planar_finish finish;          /* step and sum_step: between output pixels */
};

/* values[r * stride + c] = function(values[r * stride + c]). */
struct row_function {
    struct planar_function function;
    int rows, columns;
    float *values;
    ptrdiff_t stride;
};

struct planar_blocks {
    const char *name;
    int lanes;
    void (*plane_product)(const struct plane_product *product);
    void (*plane_batch)(const struct plane_batch *batch);
    void (*plane_spread)(const struct plane_spread *spread);
    void (*plane_gather)(const struct plane_gather *gather);
    void (*channel_product)(const struct channel_product *product);
    void (*channel_batch)(const struct channel_batch *batch);
    void (*channel_spread)(const struct channel_spread *spread);
    void (*channel_gather)(const struct channel_gather *gather);
    void (*channel_finish)(const struct channel_finish *finish);
    void (*channel_depthwise)(const struct channel_depthwise *depthwise);
    void (*row_upsample)(const struct row_upsample *upsample);
    void (*row_pool)(const struct row_pool *pool);
    void (*pixel_maximum)(const struct pixel_maximum *maximum);
    void (*half_maximum)(const struct half_maximum *maximum);
    void (*row_round)(const struct row_round *round);
    void (*row_widen)(const struct row_widen *widen);
    void (*row_planes)(const struct row_planes *planes);
    void (*row_function)(const struct row_function *function);
    void (*row_pairs)(const struct row_pairs *pairs); /* of products of pairs alone */
    void (*rounded_finish)(const struct rounded_finish *finish); /* this one and the next of planar_amx_blocks() alone */
    void (*release)(struct amx_shape *shape);
};

/* The best table for `isa` (which the machine must be able to run). */
const struct planar_blocks *planar_blocks_of(enum isa isa);

/* Products whose operands are pairs of bfloat16, in depths of pairs, and what makes pairs: row_pairs, and plane_spread, which writes
 * them; their other members are NULL. NULL where the CPU has no such arithmetic. */
const struct planar_blocks *planar_pair_blocks(void);

/* The same on AMX tiles, channels last alone (amx.h has its conditions); plane_spread is NULL too. */
const struct planar_blocks *planar_amx_blocks(void);

extern const struct planar_blocks planar_blocks_amx, planar_blocks_avx512_bf16, planar_blocks_avx512, planar_blocks_avx2, planar_blocks_portable;

#endif
