/* Which values of student and teacher are compared. */
#ifndef MITRAL_TRAINING_TAPS_H
#define MITRAL_TRAINING_TAPS_H

#include "compiler/graph.h"

#define MAX_TAPS 16

struct tap_pair {
    value_id student, teacher;
};

/* `spec` is "auto" or "STUDENT=TEACHER,…", names of values. Types must have been inferred with fixed sizes.
 *
 * auto: at each size [h, w] the last activation on the way to the output, for the sizes that both networks have, the smallest first.
 * That is the bottleneck and the outputs of the decoder's stages. An activation that is written with several nodes, or is a factor of
 * something else, ends at the product. A pointwise convolution without more channels that only prepares an
 * upsampling does not end a stage. */
mitral_status taps_find(struct tap_pair *pairs, size_t *count, mitral_context *context, const char *spec, const struct graph *student,
                        const struct graph *teacher);

/* Values of one network alone, the largest first: those that `spec` names, or, for "auto", the ends of the stages below [height, width]. */
mitral_status taps_find_own(value_id *out, size_t *count, mitral_context *context, const char *spec, const struct graph *graph, int64_t height,
                            int64_t width);

#endif
