/* The dilated-parallel block: what the node says (struct dilated_form), and what the kernels make of it for given shapes.
 *
 *   x = the sources, concatenated along the channels; each as it is, upsampled ×2 (bilinear, half_pixel) or pooled (2×2 maximum)
 *   stages: convolutions with bias and activation, of x, of another stage, of the merged map or of y
 *   merged = the branches (each the result of a stage): concatenated, summed, or fused hierarchically: concatenated running sums
 *   y = activation(tail(activation(affine(merged (+ shortcut)))) · gate (+ shortcut))
 *   result = y, or the head of it
 *
 * The sources may be bfloat16; the result is where attribute "output_bfloat16" is 1.
 *
 * Inputs of the node: the sources; weights [M, C / groups, kh, kw], bias [M] and slope of each stage; then scale, shift and slope
 * of the affine, the slope of the last activation, and the shortcut where it is a value of its own. Absent ones are NULL. */
#ifndef MITRAL_PLANAR_DILATED_H
#define MITRAL_PLANAR_DILATED_H

#include "runtime/kernel.h"
#include "runtime/kernels/planar/micro.h"

enum { DILATED_SOURCES = 8, DILATED_STAGES = 48, DILATED_BRANCHES = 16, DILATED_PLANES = 64 };
/* Limits, so that kernels count in int. All but sizes are known from the graph, of which nothing larger is made a block. A size may be known only
 * when the block runs: its limit is that of planar convolutions, so that no block is refused a map that its convolutions would take. */
enum { DILATED_KERNEL = 64, DILATED_STRIDE = 64, DILATED_DILATION = 4096, DILATED_PAD = 1 << 20, DILATED_CHANNELS = 1 << 20,
       DILATED_SIZE = INT32_MAX / 4 };

enum dilated_scale { SCALE_POOLED = -2, SCALE_SAME = 1, SCALE_UPSAMPLED = 2 };
enum dilated_merge { MERGE_CONCAT, MERGE_SUM, MERGE_RUNNING }; /* running: branch k is given the sum of the branches up to k */
enum dilated_shortcut { SHORTCUT_NONE, SHORTCUT_IDENTITY, SHORTCUT_STAGE, SHORTCUT_INPUT };
enum dilated_from { FROM_X = -1, FROM_MERGED = -2, FROM_GATE = -3, FROM_Y = -4 }; /* gate: the mean of the merged map over its pixels */
/* Global: of the mean over the pixels, given to every pixel. Activation: that of another stage alone, no weights. */
enum dilated_kind { STAGE_CONVOLUTION = 0, STAGE_GLOBAL = 1, STAGE_ACTIVATION = 2 };

struct dilated_stage {
    int from, kind, groups;
    int kernel[2], stride[2], dilation[2], pad_begin[2], pad_end[2];
    enum planar_activation activation;
    int channels, outputs;          /* of its input, of its result */
    int input_size[2], size[2];     /* height and width */
    const mitral_tensor *weights, *bias, *slope;
};

struct dilated_form {
    int source_count, stage_count, branch_count;
    struct {
        int channels, scale, height, width;
        bool rounded;               /* bfloat16 */
    } sources[DILATED_SOURCES];
    bool rounded;                   /* the result is bfloat16 */
    struct dilated_stage stages[DILATED_STAGES];
    int branches[DILATED_BRANCHES]; /* stages */
    enum dilated_merge merge;
    int running_from;               /* MERGE_RUNNING: the first branch that is summed; the ones before stay alone */
    enum dilated_shortcut shortcut;
    int shortcut_stage;
    bool shortcut_first;            /* added before the affine */
    int tail;                       /* stage, −1: none */
    int gate[2];                    /* stages, −1: none; the second one ends in a sigmoid */
    int head;                       /* stage, −1: none; only where the whole runs as one loop */
    enum planar_activation merged_activation, activation;
    const mitral_tensor *scale, *shift, *merged_slope, *slope, *added; /* NULL: none; added: SHORTCUT_INPUT's */
    int batch, size[2];             /* height and width of x */
    int channels;                   /* of x */
    int merged_channels, outputs, results; /* of the merged map, of y, of the result */
    int output_size[2];
};

/* Reads and checks the call's attributes and the shapes of its inputs. */
mitral_status dilated_decode(const struct kernel_call *call, struct dilated_form *out);
mitral_status dilated_shape(struct kernel_call *call);
/* Multiply-adds times two, as the form says it (not as it may be computed). */
double dilated_flops(const struct dilated_form *form);

/* ---- what runs fast as one loop ------------------------------------------------------------------------------------- */

/* A branch's part in the merge. */
struct dilated_branch {
    int channels, dilation, first; /* first: its first channel of the merged map */
    bool read_sum, write_sum;      /* it adds the sum of the branches before it; the ones after it add this one */
    bool output;
};

/* reduce? → 3×3 dilated branches of stride 1, groups 1 → merge → affine → shortcut → activation → head? */
struct dilated_block {
    int batch, height, width;
    int source_count;
    struct {
        int channels, scale, first;  /* first: its first channel of x */
        int height, width;           /* of the tensor */
        int layout;
        bool rounded;                /* bfloat16 */
    } sources[DILATED_SOURCES];
    bool rounded;                    /* the result is bfloat16 */
    int channels, reduced, outputs, results;  /* of x, of the branches' input, of y, of the result */
    bool reduce;                     /* false: the branches read x itself */
    int branch_count;
    struct dilated_branch branches[DILATED_BRANCHES];
    enum dilated_shortcut shortcut;
    bool shortcut_first;
    bool head;
    enum planar_activation reduce_activation, activation, head_activation;
    int output_layout;
    int widest;                      /* dilation */
    int span;                        /* rows and columns that all branches' tiles divide */
    bool planes;                     /* lanes along pixels (few channels), else along channels */
    int lanes;                       /* of a vector */
    bool amx;                        /* all products of bfloat16, on tiles, channels last and without Winograd */
    bool pairs;                      /* products of bfloat16: of x's pixels, and the branches' on planes (Winograd in both directions
                                        would lose too much) */
};

/* Floats from row to row of a branch's weights on channels-last data: whole vectors, so that small ones stay in the first-level cache. */
static inline int dilated_branch_width(const struct dilated_block *block, int channels)
{
    return (channels + block->lanes - 1) / block->lanes * block->lanes;
}

void dilated_place_branches(const struct dilated_form *form, struct dilated_branch branches[DILATED_BRANCHES]);
/* Whether branches that read so many channels run on planes on this machine, their products of bfloat16 or not. */
bool dilated_prefers_planes(int channels, bool bfloat16);
/* How many sources are (or are not) upsampled. */
int dilated_sources(const struct dilated_block *block, bool upsampled);
/* Rows and columns that the tiles of all these dilations divide; 0: more than one loop walks. */
int dilated_span(const int *dilations, int count);
/* False when the form is not of that kind. */
bool dilated_block_of(const struct dilated_form *form, struct dilated_block *out);

/* A head of few outputs gains nothing from bfloat16, and makes what a network gives. */
static inline bool dilated_head_is_rounded(const struct dilated_block *block)
{
    enum { FEW = 8 };
    return block->amx && block->results >= FEW;
}

/* A block with its packed weights, ready to run. */
struct dilated_plan {
    struct dilated_block block;
    const struct planar_blocks *blocks;
    const struct planar_blocks *products;   /* planar_pair_blocks() with pairs, else `blocks` */
    const float *weights[DILATED_STAGES];   /* [stage] packed */
    const float *shift[DILATED_STAGES], *slope[DILATED_STAGES]; /* [stage] NULL: none */
    const float *scale, *offset, *last_slope; /* of the affine and of the last activation; NULL: none */
    int reduce_stage, shortcut_stage, head_stage; /* −1: none */
    int branch_stages[DILATED_BRANCHES];
    int threads;
};

/* What a stage's weights are packed for: a product of x's pixels by source, a branch, a product of y's pixels. */
enum dilated_part { PART_OF_X, PART_BRANCH, PART_HEAD };

/* Floats of a stage's packed weights. */
size_t dilated_packed_size(const struct dilated_block *block, const struct dilated_stage *stage, enum dilated_part part);
void dilated_pack(const struct dilated_block *block, const struct dilated_stage *stage, enum dilated_part part, const float *weights,
                  float *out);

/* On planes, whether no part of the map reads columns of x that another part writes. */
bool dilated_planes_have_one_stripe(const struct dilated_block *block);
size_t dilated_planes_scratch(const struct dilated_plan *plan); /* bytes */
size_t dilated_channels_scratch(const struct dilated_plan *plan);
/* sources[i] and output are the tensors' data in the layouts and types that the block names. */
void dilated_planes_run(const struct dilated_plan *plan, const float *const *sources, float *output, void *scratch);
void dilated_channels_run(const struct dilated_plan *plan, const float *const *sources, float *output, void *scratch);

#endif
