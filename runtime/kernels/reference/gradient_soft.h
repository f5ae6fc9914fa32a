/* An exponential that vectorises, for soft-max over many elements, and labels read as integers. */
#ifndef MITRAL_REFERENCE_GRADIENT_SOFT_H
#define MITRAL_REFERENCE_GRADIENT_SOFT_H

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/gradient.h"

/* Positions that a soft-max over channels handles at once: their maxima and sums stay in the first cache level. */
#define SOFT_BLOCK 512

/* exp(x) for x ≤ 0 within 2 units in the last place; 0 below the smallest normal number. Split x = n log 2 + r with |r| ≤ log 2 / 2, and
 * a polynomial in r (the Taylor coefficients suffice: the remainder is below 2^-26). */
static inline float exp_float(float x)
{
    const float bounded = x < -87.0f ? -87.0f : x;
    const float shifted = bounded * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    const float r = (bounded - n * 0.693359375f) - n * -2.12194440e-4f;
    float y = 1.0f / 5040;
    y = y * r + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return x < -87.0f ? 0.0f : y * scale;
}

static inline double exp_double(double x)
{
    return exp(x);
}

/* One label; the type has been checked to be uint8, int32 or int64. */
static inline int64_t label_at(const mitral_tensor *labels, int64_t index)
{
    switch (labels->dtype) {
    case MITRAL_UINT8:
        return ((const uint8_t *)labels->data)[index];
    case MITRAL_INT32:
        return ((const int32_t *)labels->data)[index];
    default:
        return ((const int64_t *)labels->data)[index];
    }
}

/* Scores [N, C, …] and labels [N, …] as one batch of planes. */
struct class_map {
    int64_t batch, channels, plane;
    const mitral_tensor *labels;
    int64_t ignored; /* attribute ignore_index, -100 */
};

/* Scores are input (or shape) `scores`, labels input `labels`. */
static inline mitral_status class_map_read(const struct kernel_call *call, const mitral_tensor *scores, size_t labels_index,
                                           struct class_map *out)
{
    const mitral_tensor *labels = call_input(call, labels_index);
    char first[160], second[160];
    *out = (struct class_map){0};
    if (!scores || scores->rank < 2 || !labels)
        return call_fail(call, MITRAL_INVALID, "scores of rank from 2 and labels expected");
    *out = (struct class_map){.batch = scores->dims[0], .channels = scores->dims[1], .plane = 1, .labels = labels};
    out->ignored = attribute_int(call->attributes, "ignore_index", -100);
    bool fits = labels->rank == scores->rank - 1 && labels->dims[0] == scores->dims[0];
    for (int32_t i = 2; i < scores->rank; i++) {
        fits = fits && labels->dims[i - 1] == scores->dims[i];
        out->plane *= scores->dims[i];
    }
    if (!fits || (labels->dtype != MITRAL_UINT8 && labels->dtype != MITRAL_INT32 && labels->dtype != MITRAL_INT64))
        return call_fail(call, MITRAL_INVALID, "uint8, int32 or int64 labels of the shape of %s without its dimension 1 expected, found %s",
                         tensor_describe(scores, first, sizeof(first)), tensor_describe(labels, second, sizeof(second)));
    return MITRAL_OK;
}

/* MITRAL_INVALID unless every label is a class or the ignored one. */
static inline mitral_status class_map_check(const struct kernel_call *call, const struct class_map *map)
{
    const int64_t count = map->batch * map->plane;
    int64_t wrong = 0, first = count;
#pragma omp parallel for num_threads(call->threads) reduction(+ : wrong) reduction(min : first) schedule(static)                  \
    if (call->threads > 1 && count > 65536)
    for (int64_t i = 0; i < count; i++) {
        const int64_t label = label_at(map->labels, i);
        if ((label < 0 || label >= map->channels) && label != map->ignored) {
            wrong++;
            first = smaller(first, i);
        }
    }
    if (wrong)
        return call_fail(call, MITRAL_INVALID, "labels from 0 to %lld expected, found %lld at element %lld",
                         (long long)map->channels - 1, (long long)label_at(map->labels, first), (long long)first);
    return MITRAL_OK;
}

static inline int64_t class_map_chunks(const struct class_map *map)
{
    return map->batch * ((map->plane + REDUCTION_CHUNK - 1) / REDUCTION_CHUNK);
}

#endif
