/* Convolutions of a training step: two-dimensional, float32, one group, planar data, weights that change from step to step. */
#ifndef MITRAL_TRAINING_CONVOLUTION_H
#define MITRAL_TRAINING_CONVOLUTION_H

#include "runtime/kernel.h"
#include "runtime/kernels/planar/micro.h"
#include "runtime/kernels/training/blocks.h"

/* A map of `channels` planes slid over with stride 1; the data gradient of a convolution is one too. */
struct slide {
    int64_t batch, channels, features;
    int64_t input[2], output[2], kernel[2], stride[2], dilation[2], pad[2]; /* pads at the beginning */
};

/* The slides of calls of the three kinds of kernels; the shapes of what data and weight gradients give. */
mitral_status slide_of_forward(const struct kernel_call *call, struct slide *out);
mitral_status slide_of_data(const struct kernel_call *call, mitral_tensor *x, struct slide *out);
mitral_status slide_of_weights(const struct kernel_call *call, mitral_tensor *w, struct slide *out);
mitral_status shape_forward(struct kernel_call *call);
mitral_status shape_data(struct kernel_call *call);
double flops_forward(const struct kernel_call *call);
double flops_data(const struct kernel_call *call);
double flops_weights(const struct kernel_call *call);
/* From the first tap of a window to the last one, along an axis. */
static inline int64_t slide_reach(const struct slide *slide, int axis)
{
    return (slide->kernel[axis] - 1) * slide->dilation[axis];
}
/* Σ over images and pixels of each feature of dY. */
void sum_features(const struct training_blocks *blocks, int threads, const struct slide *slide, const float *dy, float *db);

/* Rows of Winograd's F(4, 3): groups of four output rows, a dilation apart. Several groups lie in a row one behind the other (a
 * segment each), with the zeros between them that their columns' padding needs. */
struct segments {
    int down;                    /* groups of an image */
    int together;                /* groups of an item */
    int64_t items;               /* of an image, or of the batch where items cross images */
    int step;                    /* columns from segment to segment */
    ptrdiff_t width;             /* floats of a row of the input's segments, with slack */
};
/* About as many columns to an item as wanted; `images` is 1, or the batch where an item may hold groups of several. */
void segments_measure(struct segments *out, const struct slide *slide, int64_t columns, int64_t images, int threads);
/* The first output row of a group. */
static inline int64_t segment_row(int64_t index, int64_t dilation)
{
    return index / dilation * 4 * dilation + index % dilation;
}

/* F(4×4, 3×3): every group of rows is a few groups of columns (struct training_columns), and its tiles a segment. */
struct square {
    struct segments segments; /* of tiles */
    int groups;
    ptrdiff_t row_pitch;      /* of rows that are transformed one way */
    size_t rows;              /* floats of these, of so many channels as are transformed together */
};
/* Whether there are transforms for it that are worth their time. */
bool square_fits(const struct slide *slide, const struct training_blocks *blocks);
/* About as many tiles to an item as wanted. */
void square_measure(struct square *out, const struct slide *slide, int64_t tiles, int64_t images, int threads);
/* Rows transformed down, from `spread` to columns.rows, and across, to columns.tiles, a few channels at a time. The caller says where rows come
 * from and where the first is written, and all of columns but its `row`. */
void square_spread(void (*down)(const struct training_spread *), void (*across)(const struct training_columns *), struct training_spread spread,
                   struct training_columns columns);

/* The same convolution by Winograd along the rows of planes, and across their columns where that pays. */
struct planes_call {
    struct slide slide;
    const struct planar_blocks *planar;
    const struct training_blocks *blocks;
    int threads;
    const float *x, *weights, *bias, *addend; /* weights packed by planes_pack */
    float *y;
    bool through; /* y is too large to be found in a cache later */
    void *scratch;
};
size_t planes_packed_floats(const struct planes_call *call);
void planes_pack(const struct planes_call *call, const float *weights, float *out);
size_t planes_scratch(const struct planes_call *call); /* bytes */
void planes_run(const struct planes_call *call);

/* The same in pieces: groups of one image, as many as the segments take together. `own` is a thread's: `spread` floats that are zero at first
 * and belong to this convolution alone, and `products` floats; `offsets` has 3 entries a channel. */
struct planes_geometry {
    struct square square;          /* its rows are at the beginning of each scratch memory; groups 0: segments of rows, along which alone is transformed */
    ptrdiff_t spread_position, product_pitch, product_position;
    size_t spread, products;
};
void planes_measure(const struct planes_call *call, int64_t images, struct planes_geometry *out);
void planes_place(const struct planes_call *call, const struct planes_geometry *geometry, ptrdiff_t *offsets);
struct planes_piece {
    int64_t image, first;
    struct {
        const struct planes_call *call; /* NULL: none */
        int64_t image, first;
    } next;                             /* what is done after these, maybe of another convolution of maps of the same size */
    int count;
    float *spread, *products;
    const ptrdiff_t *offsets;
    /* The running sum of several convolutions that goes on in a cache when y goes past it: rows from `sum_first` on, planes sum_step apart. */
    float *sum;
    bool read_sum, write_sum;
    int64_t sum_first;
    ptrdiff_t sum_step;
};
void planes_groups(const struct planes_call *call, const struct planes_geometry *geometry, const struct planes_piece *piece);

#endif
