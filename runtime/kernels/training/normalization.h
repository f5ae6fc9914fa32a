/* What the kernels of training's batch normalisation share: inputs that come in parts, and the statistics of a channel. */
#ifndef MITRAL_TRAINING_NORMALIZATION_H
#define MITRAL_TRAINING_NORMALIZATION_H

#include "runtime/kernels/planar/micro.h"
#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/training/blocks.h"
#include "runtime/kernels/training/normalization_operands.h"

enum { NORMALISED_PARTS = 16 };

struct normalised_parts {
    int count;
    const mitral_tensor *inputs[NORMALISED_PARTS];
    int64_t batch, channels, plane;
};

/* The parts are the inputs `first` and those from `next` on. */
mitral_status normalised_parts_read(const struct kernel_call *call, size_t first, size_t next, struct normalised_parts *out);
mitral_tensor normalised_whole(const struct normalised_parts *parts);
/* The part that channel *c of the whole lies in; *c becomes its channel there. */
int normalised_part_of(const struct normalised_parts *parts, int64_t *c);
/* Inputs `first` to before `last` are vectors of that many elements. */
mitral_status normalised_check_vectors(const struct kernel_call *call, size_t first, size_t last, int64_t channels);
/* An optional input has to have the shape of all parts together. */
mitral_status normalised_check_whole(const struct kernel_call *call, size_t index, const mitral_tensor *whole);
/* Mean and population variance of a channel, in one pass around a number near its mean. */
void normalised_measure(const struct training_blocks *blocks, const struct normalised_parts *parts, const mitral_tensor *part, int64_t c,
                        double *mean, double *variance);
/* Whether `to` is written past the caches, as what is large is: not where it takes the place of `from` (or `other`), which is there by then. */
bool normalised_is_through(const struct normalised_parts *parts, const float *to, const float *from, const float *other);
const float *normalised_vector(const struct kernel_call *call, size_t index); /* NULL: absent */
void normalised_put(const struct kernel_call *call, size_t index, int64_t c, double value);
/* Channel c of the four outputs from `output` on: the next running mean and variance (of those at inputs `input` and after it, and an unbiased
 * one of the batch's `count` elements), the batch's mean and its inverse deviation. */
void normalised_put_statistics(const struct kernel_call *call, size_t input, size_t output, int64_t c, double count, double mean, double variance,
                               double inverse);
/* y = line[0] x + line[1] of a channel. The statistics are taken as the backward half, and who computes it again, find them: rounded. */
void normalised_line(float scale, float shift, double mean, double inverse, double line[2]);
/* Bytes that say of a plane where its ReLU was open, and, where it is pooled, which elements are the largest. */
int64_t normalised_mark_bytes(int64_t plane, int64_t width);
/* With the 2×2 maximum of stride 2 of what is made, which may be wanted alone (y NULL). `scratch` has so many floats. */
size_t normalised_pool_floats(int64_t width);
void normalised_pool(const struct training_blocks *blocks, const struct training_normalise *plane, int64_t width, float *scratch, float *pooled);
/* The sums of a gradient that is dy plus that of such a maximum of y, `pooled`; dz is made meanwhile. */
void denormalised_pool_sums(const struct training_blocks *blocks, const struct training_denormalise *plane, int64_t width, const float *pooled,
                            double sums[2]);
/* Attribute `sums` of a gradient: whether what part i's gradient is has that of the part after it added, as running sums of branches have it.
 * Output `first` is the first part's, those of the others are from `next` on. */
mitral_status normalised_check_sums(const struct kernel_call *call, const struct normalised_parts *parts, size_t first, size_t next);
/* What is added to that of part `index`; NULL: nothing. */
const mitral_tensor *normalised_addend(const struct kernel_call *call, int index, size_t next);
/* Every channel by itself, shared out to the threads; with `sums` the channels of all parts that are added up, from the last part on. */
typedef void normalised_channel(const struct kernel_call *call, const struct training_blocks *blocks, const struct normalised_parts *parts,
                                int64_t c);
mitral_status normalised_run(const struct kernel_call *call, const struct normalised_parts *parts, normalised_channel *channel);

#endif
