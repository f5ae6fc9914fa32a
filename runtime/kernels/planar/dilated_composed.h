/* Dilated-parallel blocks of every form, stage by stage on channels-last data. */
#ifndef MITRAL_PLANAR_DILATED_COMPOSED_H
#define MITRAL_PLANAR_DILATED_COMPOSED_H

#include "runtime/kernels/planar/convolution.h"
#include "runtime/kernels/planar/dilated.h"

enum { COMPOSED_CHUNK = 256 }; /* pixels that are finished together */

enum stage_method { METHOD_CONVOLUTION, METHOD_DEPTHWISE, METHOD_GROUPS, METHOD_GLOBAL, METHOD_ACTIVATION };

struct composed_stage {
    enum stage_method method;
    struct convolution convolution; /* of the stage, or of each of its groups */
    size_t group_floats;            /* packed weights of one call: of all groups, or of one */
    size_t result;                  /* floats into the scratch memory */
    ptrdiff_t pitch;                /* between its pixels; 0: one for all */
    bool skipped;                   /* a branch that is computed as it is merged */
};

struct composed {
    struct dilated_form form;
    const struct planar_blocks *blocks;
    int threads;
    int source_layouts[DILATED_SOURCES], added_layout, output_layout;
    struct composed_stage stages[DILATED_STAGES];
    struct dilated_branch branches[DILATED_BRANCHES];
    bool x_is_source;               /* the only source, as it lies */
    bool branches_merge;            /* depthwise branches of one stage: summed and finished row by row */
    /* Floats into the scratch memory, and of it. */
    size_t x, added, merged, output, means, rows, row_floats, stage_scratch, total;
};

/* What to run on a call: weights are packed for it. */
struct composed_call {
    const struct composed *composed;
    const float *weights[DILATED_STAGES], *bias[DILATED_STAGES], *slopes[DILATED_STAGES];
    const float *scale, *shift, *merged_slope, *slope, *added;
    const float *sources[DILATED_SOURCES];
    float *output;
    float *scratch;
};

/* Layouts, blocks and threads are filled in before. */
void composed_plan(struct composed *composed);
size_t composed_packed_floats(const struct composed *composed, int stage);
void composed_pack(const struct composed *composed, int stage, const float *weights, float *out);
const char *composed_packing_name(const struct composed *composed, int stage);
void composed_run(const struct composed_call *call);

#endif
