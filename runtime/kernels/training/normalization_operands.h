/* Where the operands of mitral.FusedNormalization and its kin stand: what the kernels read is what the passes write. What they mean is told
 * where the kernels are, in normalization.c and normalization_pair.c. */
#ifndef MITRAL_TRAINING_NORMALIZATION_OPERANDS_H
#define MITRAL_TRAINING_NORMALIZATION_OPERANDS_H

/* FusedNormalization; up to the variance, and of the outputs up to the inverse deviation, as mitral.BatchNormalizationTraining has them. */
enum {
    NORMALIZATION_INPUT_X,
    NORMALIZATION_INPUT_SCALE,
    NORMALIZATION_INPUT_SHIFT,
    NORMALIZATION_INPUT_MEAN,
    NORMALIZATION_INPUT_VARIANCE,
    NORMALIZATION_INPUT_RESIDUAL,
    NORMALIZATION_INPUT_PARTS, /* the second and further ones, to the end */
};
enum {
    NORMALIZATION_OUTPUT_Y,
    NORMALIZATION_OUTPUT_NEXT_MEAN,
    NORMALIZATION_OUTPUT_NEXT_VARIANCE,
    NORMALIZATION_OUTPUT_MEAN,
    NORMALIZATION_OUTPUT_INVERSE,
    NORMALIZATION_OUTPUT_POOLED,
    NORMALIZATION_OUTPUT_OPEN,
    NORMALIZATION_OUTPUTS,
};

/* FusedNormalizationGradient. */
enum {
    GRADIENT_INPUT_DY,
    GRADIENT_INPUT_SCALE,
    GRADIENT_INPUT_MEAN,
    GRADIENT_INPUT_INVERSE,
    GRADIENT_INPUT_SIGN,
    GRADIENT_INPUT_PARTS, /* all, to the end; with attribute `pooled` from one later on */
    GRADIENT_INPUT_POOLED = GRADIENT_INPUT_PARTS,
};
enum {
    GRADIENT_OUTPUT_DX, /* of the first part */
    GRADIENT_OUTPUT_DSCALE,
    GRADIENT_OUTPUT_DSHIFT,
    GRADIENT_OUTPUT_DZ,
    GRADIENT_OUTPUT_PARTS, /* of the second and further ones, to the end */
};

/* FusedNormalizationPair: X to variance of the first, the same of the second; Y, the four statistics of the first, those of the second. */
enum {
    PAIR_INPUT_FIRST = NORMALIZATION_INPUT_X,
    PAIR_INPUT_SECOND = NORMALIZATION_INPUT_VARIANCE + 1,
    PAIR_INPUT_PARTS = 2 * PAIR_INPUT_SECOND, /* of the first, the second and further ones, to the end */
};
enum {
    PAIR_STATISTICS = 4,
    PAIR_OUTPUT_Y = NORMALIZATION_OUTPUT_Y,
    PAIR_OUTPUT_FIRST,
    PAIR_OUTPUT_SECOND = PAIR_OUTPUT_FIRST + PAIR_STATISTICS,
    PAIR_OUTPUTS = PAIR_OUTPUT_SECOND + PAIR_STATISTICS,
};

/* FusedNormalizationPairGradient: what the second has stands PAIR_STATISTICS inputs, or PAIR_VECTORS outputs, after what the first has. */
enum {
    PAIR_GRADIENT_INPUT_DY,
    PAIR_GRADIENT_INPUT_SCALE,
    PAIR_GRADIENT_INPUT_SHIFT,
    PAIR_GRADIENT_INPUT_MEAN,
    PAIR_GRADIENT_INPUT_INVERSE,
    PAIR_GRADIENT_INPUT_SECOND = PAIR_GRADIENT_INPUT_SCALE + 2 * PAIR_STATISTICS, /* X2 */
    PAIR_GRADIENT_INPUT_PARTS,                                                    /* of the first, all, to the end */
};
enum {
    PAIR_VECTORS = 2,
    PAIR_GRADIENT_OUTPUT_DX2 = 0,
    PAIR_GRADIENT_OUTPUT_DSCALE,
    PAIR_GRADIENT_OUTPUT_DSHIFT,
    PAIR_GRADIENT_OUTPUT_PARTS = PAIR_GRADIENT_OUTPUT_DSCALE + 2 * PAIR_VECTORS, /* all, to the end */
};

#endif
