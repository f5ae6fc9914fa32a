/* training.normalization and training.normalization_gradient: batch normalisation as training does it, of an input that may come in
 * parts (a concatenation that is not made), with the addition and the ReLU that follow it.
 *
 * Forward: X, scale, B, mean, variance, residual?, further parts of X… → Y, next mean, next variance (unbiased), the batch's mean, its
 * inverse deviation, the 2×2 maximum of Y with stride 2, and in bits where the ReLU is open and which elements are maxima. With attribute
 * `known` mean and variance are the batch's mean and inverse deviation, and Y alone is made.
 *
 * Backward: dY, scale, mean, inverse deviation, Y? or its bits? or B? (of a ReLU), X, further parts… → dX, dscale, dB, dZ? (the gradient
 * before the ReLU), further parts of dX…. B, a vector, serves where there was no residual: then the sign of Y follows from X. With attribute
 * `pooled` the gradient of the 2×2 maximum of Y stands before X, and what it is to Y is added to dY; then dZ is wanted. With attribute
 * `sums` the gradient of a part has that of the part after it added, where there is a 1. A channel is one thread's from
 * beginning to end, so that it stays in the cache between the sums and what they are for. */
#include "runtime/kernels/training/normalization.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { PIVOT_ELEMENTS = 64 };

mitral_status normalised_parts_read(const struct kernel_call *call, size_t first, size_t next, struct normalised_parts *out)
{
    const mitral_tensor *x = call_input(call, first);
    if (!x || x->dtype != MITRAL_FLOAT || x->rank < 2)
        return call_fail(call, MITRAL_INVALID, "input %zu: float32 of rank from 2 expected", first);
    *out = (struct normalised_parts){.count = 1, .inputs = {x}, .batch = x->dims[0], .channels = x->dims[1], .plane = 1};
    for (int32_t i = 2; i < x->rank; i++)
        out->plane *= x->dims[i];
    for (size_t i = next; i < call->input_count; i++) {
        const mitral_tensor *part = call_input(call, i);
        if (out->count == NORMALISED_PARTS || !part || part->dtype != MITRAL_FLOAT || part->rank != x->rank)
            return call_fail(call, MITRAL_INVALID, "input %zu: at most %d parts of one type and rank expected", i, (int)NORMALISED_PARTS);
        for (int32_t d = 0; d < x->rank; d++)
            if (d != 1 && part->dims[d] != x->dims[d])
                return call_fail(call, MITRAL_INVALID, "input %zu: size %lld in dimension %d expected, found %lld", i, (long long)x->dims[d], d,
                                 (long long)part->dims[d]);
        out->inputs[out->count++] = part;
        out->channels += part->dims[1];
    }
    return MITRAL_OK;
}

mitral_status normalised_check_vectors(const struct kernel_call *call, size_t first, size_t last, int64_t channels)
{
    for (size_t i = first; i < last; i++) {
        const mitral_tensor *vector = call_input(call, i);
        if (!vector || vector->dtype != MITRAL_FLOAT || vector->rank != 1 || vector->dims[0] != channels)
            return call_fail(call, MITRAL_INVALID, "input %zu: a float32 vector of %lld elements expected", i, (long long)channels);
    }
    return MITRAL_OK;
}

mitral_status normalised_check_whole(const struct kernel_call *call, size_t index, const mitral_tensor *whole)
{
    const mitral_tensor *tensor = call_input(call, index);
    char first[160], second[160];
    if (tensor && (tensor->dtype != MITRAL_FLOAT || !tensor_same_shape(tensor, whole)))
        return call_fail(call, MITRAL_INVALID, "input %zu: %s expected, found %s", index, tensor_describe(whole, first, sizeof first),
                         tensor_describe(tensor, second, sizeof second));
    return MITRAL_OK;
}

mitral_tensor normalised_whole(const struct normalised_parts *parts)
{
    mitral_tensor whole;
    tensor_set(&whole, MITRAL_FLOAT, parts->inputs[0]->rank, parts->inputs[0]->dims);
    whole.dims[1] = parts->channels;
    return whole;
}

int normalised_part_of(const struct normalised_parts *parts, int64_t *c)
{
    int i = 0;
    for (; *c >= parts->inputs[i]->dims[1]; i++)
        *c -= parts->inputs[i]->dims[1];
    return i;
}

bool normalised_is_through(const struct normalised_parts *parts, const float *to, const float *from, const float *other)
{
    return to && to != from && to != other && training_is_large(parts->batch * parts->channels * parts->plane);
}

static bool is_poolable(const mitral_tensor *map)
{
    return map->rank == 4 && map->dims[2] % 2 == 0 && map->dims[3] % 2 == 0 && map->dims[3] < INT32_MAX;
}

static int64_t width_of(const struct normalised_parts *parts)
{
    return parts->inputs[0]->dims[3];
}

/* Of a plane. */
static int64_t open_bytes(const struct normalised_parts *parts, bool pooled)
{
    return pooled ? normalised_mark_bytes(parts->plane, width_of(parts)) : (parts->plane + 63) / 64 * 8;
}

/* ---- forward ------------------------------------------------------------------------------------------------------------- */

static mitral_status forward_shape(struct kernel_call *call)
{
    struct normalised_parts parts;
    TRY(normalised_parts_read(call, NORMALIZATION_INPUT_X, NORMALIZATION_INPUT_PARTS, &parts));
    TRY(normalised_check_vectors(call, NORMALIZATION_INPUT_SCALE, NORMALIZATION_INPUT_VARIANCE + 1, parts.channels));
    const mitral_tensor whole = normalised_whole(&parts);
    TRY(normalised_check_whole(call, NORMALIZATION_INPUT_RESIDUAL, &whole));
    call_set_output(call, NORMALIZATION_OUTPUT_Y, MITRAL_FLOAT, whole.rank, whole.dims);
    for (size_t i = NORMALIZATION_OUTPUT_NEXT_MEAN; i <= NORMALIZATION_OUTPUT_INVERSE; i++)
        call_set_output(call, i, MITRAL_FLOAT, 1, &parts.channels);
    const bool pooled = call_output(call, NORMALIZATION_OUTPUT_POOLED) != NULL;
    if (pooled && !is_poolable(&whole))
        return call_fail(call, MITRAL_INVALID, "maps of even height and width expected where their maximum is wanted");
    call_set_output(call, NORMALIZATION_OUTPUT_OPEN, MITRAL_UINT8, 3,
                    (const int64_t[]){parts.batch, parts.channels, open_bytes(&parts, pooled)});
    if (!pooled)
        return MITRAL_OK;
    const int64_t half[4] = {whole.dims[0], whole.dims[1], whole.dims[2] / 2, whole.dims[3] / 2};
    call_set_output(call, NORMALIZATION_OUTPUT_POOLED, MITRAL_FLOAT, 4, half);
    return MITRAL_OK;
}

static mitral_status forward_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct normalised_parts parts;
    (void)state;
    TRY(normalised_parts_read(call, NORMALIZATION_INPUT_X, NORMALIZATION_INPUT_PARTS, &parts));
    if (call_output(call, NORMALIZATION_OUTPUT_POOLED))
        *scratch_bytes = normalised_pool_floats(width_of(&parts)) * sizeof(float) * (size_t)(call->threads > 0 ? call->threads : 1);
    return MITRAL_OK;
}

/* Of the thread. */
static float *pool_scratch(const struct kernel_call *call, const struct normalised_parts *parts)
{
    return (float *)call->scratch + (size_t)omp_get_thread_num() * normalised_pool_floats(width_of(parts));
}

const float *normalised_vector(const struct kernel_call *call, size_t index)
{
    const mitral_tensor *tensor = call_input(call, index);
    return tensor ? tensor->data : NULL;
}

void normalised_put(const struct kernel_call *call, size_t index, int64_t c, double value)
{
    mitral_tensor *tensor = call_output(call, index);
    if (tensor)
        ((float *)tensor->data)[c] = (float)value;
}

void normalised_measure(const struct training_blocks *blocks, const struct normalised_parts *parts, const mitral_tensor *part, int64_t c, double *mean,
                    double *variance)
{
    const double count = (double)parts->batch * (double)parts->plane;
    const float *x = part->data;
    double sums[2] = {0, 0}, pivot[2] = {0, 0};
    const ptrdiff_t near = parts->plane < PIVOT_ELEMENTS ? (ptrdiff_t)parts->plane : PIVOT_ELEMENTS;
    for (int64_t n = 0; n < parts->batch; n++)
        blocks->moments(x + (n * part->dims[1] + c) * parts->plane + (parts->plane - near) / 2, near, 0, pivot);
    const float centre = (float)(pivot[0] / ((double)parts->batch * (double)near));
    for (int64_t n = 0; n < parts->batch; n++)
        blocks->moments(x + (n * part->dims[1] + c) * parts->plane, (ptrdiff_t)parts->plane, centre, sums);
    const double shift = sums[0] / count;
    *mean = (double)centre + shift;
    *variance = sums[1] / count - shift * shift;
    *variance = *variance < 0 ? 0 : *variance; /* a NaN stays one */
}

void normalised_put_statistics(const struct kernel_call *call, size_t input, size_t output, int64_t c, double count, double mean, double variance,
                               double inverse)
{
    const double keep = (double)attribute_float(call->attributes, "momentum", 0.9f);
    const double old_mean = (double)normalised_vector(call, input)[c], old_variance = (double)normalised_vector(call, input + 1)[c];
    normalised_put(call, output, c, keep * old_mean + (1 - keep) * mean);
    normalised_put(call, output + 1, c, keep * old_variance + (1 - keep) * variance * (count > 1 ? count / (count - 1) : 1));
    normalised_put(call, output + 2, c, mean);
    normalised_put(call, output + 3, c, inverse);
}

void normalised_line(float scale, float shift, double mean, double inverse, double line[2])
{
    line[0] = (double)scale * (double)(float)inverse;
    line[1] = (double)shift - (double)(float)mean * line[0];
}

static const int64_t *sums_of(const struct kernel_call *call, size_t *count)
{
    return attribute_ints(call->attributes, "sums", count);
}

mitral_status normalised_check_sums(const struct kernel_call *call, const struct normalised_parts *parts, size_t first, size_t next)
{
    size_t count;
    const int64_t *sums = sums_of(call, &count);
    bool fits = count == 0 || (count == (size_t)parts->count && !sums[count - 1]);
    for (size_t i = 0; fits && i + 1 < count; i++)
        fits = tensor_same_shape(parts->inputs[i], parts->inputs[i + 1])
               && (!sums[i] || (call_output(call, i ? next + i - 1 : first) && call_output(call, next + i)));
    return fits ? MITRAL_OK
                : call_fail(call, MITRAL_INVALID, "attribute sums: one for each of %d equal parts, 0 for the last, and their gradients expected",
                            parts->count);
}

const mitral_tensor *normalised_addend(const struct kernel_call *call, int index, size_t next)
{
    size_t count;
    const int64_t *sums = sums_of(call, &count);
    return count && sums[index] ? call_output(call, next + (size_t)index) : NULL;
}

mitral_status normalised_run(const struct kernel_call *call, const struct normalised_parts *parts, normalised_channel *channel)
{
    const struct training_blocks *blocks = training_blocks_of(cpu_isa());
    size_t sums;
    sums_of(call, &sums);
    const int64_t units = sums ? parts->inputs[0]->dims[1] : parts->channels;
    if (parts->batch * parts->plane == 0)
        return MITRAL_OK;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (call->threads > 1)
    for (int64_t unit = 0; unit < units; unit++)
        for (int64_t part = sums ? parts->count : 1; part-- > 0;)
            channel(call, blocks, parts, part * units + unit);
    return MITRAL_OK;
}

static void forward_channel(const struct kernel_call *call, const struct training_blocks *blocks, const struct normalised_parts *parts, int64_t c)
{
    mitral_tensor *y = call_output(call, NORMALIZATION_OUTPUT_Y), *pooled = call_output(call, NORMALIZATION_OUTPUT_POOLED);
    mitral_tensor *open = call_output(call, NORMALIZATION_OUTPUT_OPEN);
    const float *residual = normalised_vector(call, NORMALIZATION_INPUT_RESIDUAL);
    int64_t own = c;
    const mitral_tensor *part = parts->inputs[normalised_part_of(parts, &own)];
    double mean, variance = 0, inverse, line[2];
    if (attribute_int(call->attributes, "known", 0)) {
        mean = (double)normalised_vector(call, NORMALIZATION_INPUT_MEAN)[c];
        inverse = (double)normalised_vector(call, NORMALIZATION_INPUT_VARIANCE)[c];
    } else {
        normalised_measure(blocks, parts, part, own, &mean, &variance);
        inverse = 1 / sqrt(variance + (double)attribute_float(call->attributes, "epsilon", 1e-5f));
    }
    const float scale = normalised_vector(call, NORMALIZATION_INPUT_SCALE)[c], shift = normalised_vector(call, NORMALIZATION_INPUT_SHIFT)[c];
    normalised_line(scale, shift, mean, inverse, line);
    for (int64_t n = parts->batch; (y || pooled) && n-- > 0;) {
        const int64_t at = (n * parts->channels + c) * parts->plane;
        struct training_normalise row = {.count = (ptrdiff_t)parts->plane, .a = (float)line[0], .b = (float)line[1], .c = 1,
                                         .x = (const float *)part->data + (n * part->dims[1] + own) * parts->plane,
                                         .residual = residual ? residual + at : NULL, .y = y ? (float *)y->data + at : NULL,
                                         .relu = attribute_int(call->attributes, "relu", 0) != 0};
        row.through = normalised_is_through(parts, row.y, row.x, row.residual);
        row.open = open ? (unsigned char *)open->data + (n * parts->channels + c) * open_bytes(parts, pooled != NULL) : NULL;
        if (pooled)
            normalised_pool(blocks, &row, width_of(parts), pool_scratch(call, parts), (float *)pooled->data + at / 4);
        else
            blocks->normalise(&row);
    }
    normalised_put_statistics(call, NORMALIZATION_INPUT_MEAN, NORMALIZATION_OUTPUT_NEXT_MEAN, c, (double)parts->batch * (double)parts->plane, mean,
                              variance, inverse);
}

static size_t forward_shares(const struct kernel_call *call, size_t output)
{
    (void)call;
    return output == NORMALIZATION_OUTPUT_Y ? NORMALIZATION_INPUT_RESIDUAL : SIZE_MAX;
}

static mitral_status forward_run(struct kernel_call *call)
{
    struct normalised_parts parts;
    TRY(normalised_parts_read(call, NORMALIZATION_INPUT_X, NORMALIZATION_INPUT_PARTS, &parts));
    return normalised_run(call, &parts, forward_channel);
}

/* ---- backward ------------------------------------------------------------------------------------------------------------ */

static bool is_pooled(const struct kernel_call *call)
{
    return attribute_int(call->attributes, "pooled", 0) != 0;
}

static size_t first_part(const struct kernel_call *call)
{
    return is_pooled(call) ? GRADIENT_INPUT_PARTS + 1 : GRADIENT_INPUT_PARTS;
}

static mitral_status backward_parts(const struct kernel_call *call, struct normalised_parts *parts)
{
    return normalised_parts_read(call, first_part(call), first_part(call) + 1, parts);
}

static enum training_sign sign_of(const struct kernel_call *call)
{
    const mitral_tensor *y = call_input(call, GRADIENT_INPUT_SIGN);
    return !y ? SIGN_ALL : y->rank == 1 ? SIGN_BY_LINE : y->dtype == MITRAL_UINT8 ? SIGN_BY_BITS : SIGN_BY_Y;
}

static mitral_status check_sign(const struct kernel_call *call, const struct normalised_parts *parts, const mitral_tensor *whole)
{
    const enum training_sign sign = sign_of(call);
    if (sign == SIGN_BY_LINE)
        return normalised_check_vectors(call, GRADIENT_INPUT_SIGN, GRADIENT_INPUT_SIGN + 1, parts->channels);
    if (sign != SIGN_BY_BITS)
        return normalised_check_whole(call, GRADIENT_INPUT_SIGN, whole);
    const int64_t dims[3] = {parts->batch, parts->channels, is_pooled(call) && whole->rank != 4 ? -1 : open_bytes(parts, is_pooled(call))};
    const mitral_tensor *bits = call_input(call, GRADIENT_INPUT_SIGN);
    if (bits->rank != 3 || memcmp(bits->dims, dims, sizeof dims) != 0)
        return call_fail(call, MITRAL_INVALID, "input %d: %lld bytes of each of %lld planes expected", (int)GRADIENT_INPUT_SIGN, (long long)dims[2],
                         (long long)(dims[0] * dims[1]));
    return MITRAL_OK;
}

static mitral_status backward_shape(struct kernel_call *call)
{
    struct normalised_parts parts;
    TRY(backward_parts(call, &parts));
    TRY(normalised_check_vectors(call, GRADIENT_INPUT_SCALE, GRADIENT_INPUT_INVERSE + 1, parts.channels));
    const mitral_tensor whole = normalised_whole(&parts);
    if (!call_input(call, GRADIENT_INPUT_DY))
        return call_fail(call, MITRAL_INVALID, "input %d: a gradient expected, found none", (int)GRADIENT_INPUT_DY);
    TRY(normalised_check_whole(call, GRADIENT_INPUT_DY, &whole));
    TRY(check_sign(call, &parts, &whole));
    if (is_pooled(call)) {
        const mitral_tensor *pooled = call_input(call, GRADIENT_INPUT_POOLED);
        const bool fits = is_poolable(&whole) && pooled && pooled->dtype == MITRAL_FLOAT && pooled->rank == 4 && pooled->dims[0] == whole.dims[0]
                          && pooled->dims[1] == whole.dims[1] && 2 * pooled->dims[2] == whole.dims[2] && 2 * pooled->dims[3] == whole.dims[3];
        if (!fits || (sign_of(call) != SIGN_BY_Y && sign_of(call) != SIGN_BY_BITS) || !call_output(call, GRADIENT_OUTPUT_DZ))
            return call_fail(call, MITRAL_INVALID, "Y or its bits, a gradient of half its height and width, and an output for dZ expected");
    }
    if (call->output_count != (size_t)(GRADIENT_OUTPUT_PARTS + parts.count - 1) && (parts.count > 1 || call->output_count > GRADIENT_OUTPUT_PARTS))
        return call_fail(call, MITRAL_INVALID, "%d outputs expected, found %zu", GRADIENT_OUTPUT_PARTS + parts.count - 1, call->output_count);
    TRY(normalised_check_sums(call, &parts, GRADIENT_OUTPUT_DX, GRADIENT_OUTPUT_PARTS));
    call_set_output(call, GRADIENT_OUTPUT_DX, MITRAL_FLOAT, whole.rank, parts.inputs[0]->dims);
    call_set_output(call, GRADIENT_OUTPUT_DSCALE, MITRAL_FLOAT, 1, &parts.channels);
    call_set_output(call, GRADIENT_OUTPUT_DSHIFT, MITRAL_FLOAT, 1, &parts.channels);
    call_set_output(call, GRADIENT_OUTPUT_DZ, MITRAL_FLOAT, whole.rank, whole.dims);
    for (int i = 1; i < parts.count; i++)
        call_set_output(call, (size_t)(GRADIENT_OUTPUT_PARTS + i - 1), MITRAL_FLOAT, whole.rank, parts.inputs[i]->dims);
    return MITRAL_OK;
}

/* dZ takes dY's place, and what is a part's gradient that part's; a single part's dY's, where there is no dZ. */
static size_t backward_shares(const struct kernel_call *call, size_t output)
{
    const size_t first = first_part(call);
    if (output == GRADIENT_OUTPUT_DX)
        return call_output(call, GRADIENT_OUTPUT_DZ) || call->input_count > first + 1 ? first : GRADIENT_INPUT_DY;
    if (output == GRADIENT_OUTPUT_DZ)
        return GRADIENT_INPUT_DY;
    return output >= GRADIENT_OUTPUT_PARTS ? first + 1 + output - GRADIENT_OUTPUT_PARTS : SIZE_MAX;
}

/* dx = scale r (dz − mean(dz) − x̂ mean(dz x̂)), r the inverse deviation. */
static void backward_channel(const struct kernel_call *call, const struct training_blocks *blocks, const struct normalised_parts *parts, int64_t c)
{
    const double count = (double)parts->batch * (double)parts->plane;
    const double mean = (double)normalised_vector(call, GRADIENT_INPUT_MEAN)[c], inverse = (double)normalised_vector(call, GRADIENT_INPUT_INVERSE)[c];
    const float scale = normalised_vector(call, GRADIENT_INPUT_SCALE)[c];
    const enum training_sign sign = sign_of(call);
    const float *dy = normalised_vector(call, GRADIENT_INPUT_DY), *y = sign == SIGN_BY_Y ? normalised_vector(call, GRADIENT_INPUT_SIGN) : NULL;
    const float *pooled = is_pooled(call) ? normalised_vector(call, GRADIENT_INPUT_POOLED) : NULL;
    const mitral_tensor *dz = call_output(call, GRADIENT_OUTPUT_DZ), *open = sign == SIGN_BY_BITS ? call_input(call, GRADIENT_INPUT_SIGN) : NULL;
    int64_t own = c;
    const int index = normalised_part_of(parts, &own);
    const mitral_tensor *part = parts->inputs[index];
    const mitral_tensor *dx = call_output(call, index ? (size_t)(GRADIENT_OUTPUT_PARTS + index - 1) : GRADIENT_OUTPUT_DX);
    const mitral_tensor *addend = normalised_addend(call, index, GRADIENT_OUTPUT_PARTS);
    double sums[2] = {0, 0}, line[2];
    struct training_denormalise row = {.count = (ptrdiff_t)parts->plane, .sign = sign, .mean = (float)mean};
    if (sign == SIGN_BY_LINE) {
        normalised_line(scale, normalised_vector(call, GRADIENT_INPUT_SIGN)[c], mean, inverse, line);
        row.line[0] = (float)line[0];
        row.line[1] = (float)line[1];
    }
    for (int64_t n = 0; n < parts->batch; n++) {
        const int64_t at = (n * parts->channels + c) * parts->plane;
        row.dy = dy + at;
        row.y = y ? y + at : NULL;
        row.open = open ? (const unsigned char *)open->data + (n * parts->channels + c) * open->dims[2] : NULL;
        row.x = (const float *)part->data + (n * part->dims[1] + own) * parts->plane;
        row.dz = dz ? (float *)dz->data + at : NULL;
        if (pooled)
            denormalised_pool_sums(blocks, &row, width_of(parts), pooled + at / 4, sums);
        else
            blocks->denormalise_sums(&row, sums);
    }
    const double product = sums[1] * inverse, a = (double)scale * inverse, b = -a * inverse * product / count;
    normalised_put(call, GRADIENT_OUTPUT_DSCALE, c, product);
    normalised_put(call, GRADIENT_OUTPUT_DSHIFT, c, sums[0]);
    row.a = (float)a;
    row.b = (float)b;
    row.c = (float)(-a * sums[0] / count - b * mean);
    row.sign = pooled ? SIGN_ALL : sign; /* dz is there */
    for (int64_t n = parts->batch; (dx || (dz && !pooled)) && n-- > 0;) {
        const int64_t at = (n * parts->channels + c) * parts->plane, at_part = (n * part->dims[1] + own) * parts->plane;
        row.dy = pooled ? (const float *)dz->data + at : dy + at;
        row.y = y ? y + at : NULL;
        row.open = open ? (const unsigned char *)open->data + (n * parts->channels + c) * open->dims[2] : NULL;
        row.x = (const float *)part->data + at_part;
        row.addend = addend ? (const float *)addend->data + at_part : NULL;
        row.dx = dx ? (float *)dx->data + at_part : NULL;
        row.dz = dz && !pooled ? (float *)dz->data + at : NULL;
        row.through = normalised_is_through(parts, row.dx, row.x, row.dy) && row.dz != row.dy;
        blocks->denormalise(&row);
    }
}

static mitral_status backward_run(struct kernel_call *call)
{
    struct normalised_parts parts;
    TRY(backward_parts(call, &parts));
    return normalised_run(call, &parts, backward_channel);
}

const struct kernel training_normalization[] = {
    {.name = "training.normalization", .shape = forward_shape, .prepare = forward_prepare, .run = forward_run, .shares = forward_shares},
    {.name = "training.normalization_gradient", .shape = backward_shape, .run = backward_run, .shares = backward_shares},
};
const size_t training_normalization_count = sizeof training_normalization / sizeof *training_normalization;
