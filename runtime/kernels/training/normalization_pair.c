/* training.normalization_pair and its gradient: the sum of two batch normalisations, and the ReLU that follows, as blocks with a projected
 * shortcut have it. Neither normalised map is made, nor backward the gradient between.
 *
 * Forward: X, scale, B, mean, variance, X2, scale2, B2, mean2, variance2, further parts of X… → Y, next mean, next variance, the batch's mean,
 * its inverse deviation, and those four of the second. Backward, with the same attribute `relu`: dY, scale, B, mean, inverse deviation, those
 * four of the second, X2, X, further parts of X… → dX2, dscale, dB, dscale2, dB2, dX, further parts of dX…, which `sums` adds up as
 * training.normalization_gradient does. */
#include "runtime/kernels/training/normalization.h"

#include <math.h>

static mitral_status check_second(const struct kernel_call *call, size_t index, const mitral_tensor *whole)
{
    if (!call_input(call, index))
        return call_fail(call, MITRAL_INVALID, "input %zu: a second map expected, found none", index);
    return normalised_check_whole(call, index, whole);
}

/* The second map as parts of its own. */
static struct normalised_parts second_of(const struct kernel_call *call, size_t index, const struct normalised_parts *parts)
{
    return (struct normalised_parts){.count = 1, .inputs = {call_input(call, index)}, .batch = parts->batch, .channels = parts->channels,
                                     .plane = parts->plane};
}

/* ---- forward --------------------------------------------------------------------------------------------------------------- */

static mitral_status forward_shape(struct kernel_call *call)
{
    struct normalised_parts parts;
    TRY(normalised_parts_read(call, PAIR_INPUT_FIRST, PAIR_INPUT_PARTS, &parts));
    TRY(normalised_check_vectors(call, PAIR_INPUT_FIRST + 1, PAIR_INPUT_SECOND, parts.channels));
    TRY(normalised_check_vectors(call, PAIR_INPUT_SECOND + 1, PAIR_INPUT_PARTS, parts.channels));
    const mitral_tensor whole = normalised_whole(&parts);
    TRY(check_second(call, PAIR_INPUT_SECOND, &whole));
    call_set_output(call, PAIR_OUTPUT_Y, MITRAL_FLOAT, whole.rank, whole.dims);
    for (size_t i = PAIR_OUTPUT_FIRST; i < PAIR_OUTPUTS; i++)
        call_set_output(call, i, MITRAL_FLOAT, 1, &parts.channels);
    return MITRAL_OK;
}

/* Statistics of one of the two, whose inputs begin at `input` and outputs at `output`; y = a x + b. */
static void prepare_one(const struct kernel_call *call, const struct training_blocks *blocks, const struct normalised_parts *parts, int64_t c,
                        size_t input, size_t output, double ab[2])
{
    int64_t own = c;
    const mitral_tensor *part = parts->inputs[normalised_part_of(parts, &own)];
    double mean, variance;
    normalised_measure(blocks, parts, part, own, &mean, &variance);
    const double inverse = 1 / sqrt(variance + (double)attribute_float(call->attributes, "epsilon", 1e-5f));
    const float *scale = normalised_vector(call, input + NORMALIZATION_INPUT_SCALE);
    const float *shift = normalised_vector(call, input + NORMALIZATION_INPUT_SHIFT);
    normalised_line(scale[c], shift[c], mean, inverse, ab);
    normalised_put_statistics(call, input + NORMALIZATION_INPUT_MEAN, output, c, (double)parts->batch * (double)parts->plane, mean, variance, inverse);
}

static void forward_channel(const struct kernel_call *call, const struct training_blocks *blocks, const struct normalised_parts *parts, int64_t c)
{
    const struct normalised_parts second = second_of(call, PAIR_INPUT_SECOND, parts);
    mitral_tensor *y = call_output(call, PAIR_OUTPUT_Y);
    double first_ab[2], second_ab[2];
    prepare_one(call, blocks, parts, c, PAIR_INPUT_FIRST, PAIR_OUTPUT_FIRST, first_ab);
    prepare_one(call, blocks, &second, c, PAIR_INPUT_SECOND, PAIR_OUTPUT_SECOND, second_ab);
    int64_t own = c;
    const mitral_tensor *part = parts->inputs[normalised_part_of(parts, &own)];
    for (int64_t n = parts->batch; y && n-- > 0;) {
        const int64_t at = (n * parts->channels + c) * parts->plane;
        struct training_normalise row = {.count = (ptrdiff_t)parts->plane, .a = (float)first_ab[0], .b = (float)(first_ab[1] + second_ab[1]),
                                         .c = (float)second_ab[0], .x = (const float *)part->data + (n * part->dims[1] + own) * parts->plane,
                                         .residual = (const float *)second.inputs[0]->data + at, .y = (float *)y->data + at,
                                         .relu = attribute_int(call->attributes, "relu", 0) != 0};
        row.through = normalised_is_through(parts, row.y, row.x, row.residual);
        blocks->normalise(&row);
    }
}

static mitral_status forward_run(struct kernel_call *call)
{
    struct normalised_parts parts;
    TRY(normalised_parts_read(call, PAIR_INPUT_FIRST, PAIR_INPUT_PARTS, &parts));
    return normalised_run(call, &parts, forward_channel);
}

/* ---- backward -------------------------------------------------------------------------------------------------------------- */

static mitral_status backward_shape(struct kernel_call *call)
{
    struct normalised_parts parts;
    TRY(normalised_parts_read(call, PAIR_GRADIENT_INPUT_PARTS, PAIR_GRADIENT_INPUT_PARTS + 1, &parts));
    TRY(normalised_check_vectors(call, PAIR_GRADIENT_INPUT_SCALE, PAIR_GRADIENT_INPUT_SECOND, parts.channels));
    const mitral_tensor whole = normalised_whole(&parts);
    if (!call_input(call, PAIR_GRADIENT_INPUT_DY))
        return call_fail(call, MITRAL_INVALID, "input %d: a gradient expected, found none", (int)PAIR_GRADIENT_INPUT_DY);
    TRY(normalised_check_whole(call, PAIR_GRADIENT_INPUT_DY, &whole));
    TRY(check_second(call, PAIR_GRADIENT_INPUT_SECOND, &whole));
    if (call->output_count > (size_t)(PAIR_GRADIENT_OUTPUT_PARTS + parts.count))
        return call_fail(call, MITRAL_INVALID, "at most %d outputs expected, found %zu", PAIR_GRADIENT_OUTPUT_PARTS + parts.count,
                         call->output_count);
    TRY(normalised_check_sums(call, &parts, PAIR_GRADIENT_OUTPUT_PARTS, PAIR_GRADIENT_OUTPUT_PARTS + 1));
    call_set_output(call, PAIR_GRADIENT_OUTPUT_DX2, MITRAL_FLOAT, whole.rank, whole.dims);
    for (size_t i = PAIR_GRADIENT_OUTPUT_DSCALE; i < PAIR_GRADIENT_OUTPUT_PARTS; i++)
        call_set_output(call, i, MITRAL_FLOAT, 1, &parts.channels);
    for (int i = 0; i < parts.count; i++)
        call_set_output(call, (size_t)(PAIR_GRADIENT_OUTPUT_PARTS + i), MITRAL_FLOAT, whole.rank, parts.inputs[i]->dims);
    return MITRAL_OK;
}

/* dX2 takes dY's place, and what is a part's gradient that part's. */
static size_t backward_shares(const struct kernel_call *call, size_t output)
{
    (void)call;
    if (output == PAIR_GRADIENT_OUTPUT_DX2)
        return PAIR_GRADIENT_INPUT_DY;
    return output >= PAIR_GRADIENT_OUTPUT_PARTS ? PAIR_GRADIENT_INPUT_PARTS + output - PAIR_GRADIENT_OUTPUT_PARTS : SIZE_MAX;
}

/* dx = scale r (dz − mean(dz) − x̂ mean(dz x̂)), r the inverse deviation, for both. */
static void backward_channel(const struct kernel_call *call, const struct training_blocks *blocks, const struct normalised_parts *parts, int64_t c)
{
    const double count = (double)parts->batch * (double)parts->plane;
    const float *dy = normalised_vector(call, PAIR_GRADIENT_INPUT_DY), *second = normalised_vector(call, PAIR_GRADIENT_INPUT_SECOND);
    int64_t own = c;
    const int index = normalised_part_of(parts, &own);
    const mitral_tensor *part = parts->inputs[index], *dx = call_output(call, (size_t)(PAIR_GRADIENT_OUTPUT_PARTS + index));
    const mitral_tensor *dx2 = call_output(call, PAIR_GRADIENT_OUTPUT_DX2);
    const mitral_tensor *addend = normalised_addend(call, index, PAIR_GRADIENT_OUTPUT_PARTS + 1);
    float scale[2];
    double sums[3] = {0, 0, 0}, mean[2], inverse[2], line[2][2];
    struct training_denormalise_pair row = {.count = (ptrdiff_t)parts->plane, .relu = attribute_int(call->attributes, "relu", 0) != 0};
    for (size_t k = 0; k < 2; k++) {
        const size_t before = PAIR_STATISTICS * k;
        scale[k] = normalised_vector(call, PAIR_GRADIENT_INPUT_SCALE + before)[c];
        mean[k] = (double)normalised_vector(call, PAIR_GRADIENT_INPUT_MEAN + before)[c];
        inverse[k] = (double)normalised_vector(call, PAIR_GRADIENT_INPUT_INVERSE + before)[c];
        row.mean[k] = (float)mean[k];
        normalised_line(scale[k], normalised_vector(call, PAIR_GRADIENT_INPUT_SHIFT + before)[c], mean[k], inverse[k], line[k]);
    }
    row.line[0] = (float)line[0][0];
    row.line[1] = (float)(line[0][1] + line[1][1]);
    row.line[2] = (float)line[1][0];
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < parts->batch; i++) {
            const int64_t n = pass ? parts->batch - 1 - i : i;
            const int64_t at = (n * parts->channels + c) * parts->plane, at_part = (n * part->dims[1] + own) * parts->plane;
            row.dy = dy + at;
            row.x[0] = (const float *)part->data + at_part;
            row.x[1] = second + at;
            row.addend = addend ? (const float *)addend->data + at_part : NULL;
            row.dx[0] = dx ? (float *)dx->data + at_part : NULL;
            row.dx[1] = dx2 ? (float *)dx2->data + at : NULL;
            row.through = normalised_is_through(parts, row.dx[0], row.x[0], row.dy) && normalised_is_through(parts, row.dx[1], row.x[1], row.dy);
            if (pass)
                blocks->denormalise_pair(&row);
            else
                blocks->denormalise_pair_sums(&row, sums);
        }
        for (size_t k = 0; k < 2 && pass == 0; k++) {
            const double product = sums[1 + k] * inverse[k], a = (double)scale[k] * inverse[k];
            const double b = -a * inverse[k] * product / count;
            normalised_put(call, PAIR_GRADIENT_OUTPUT_DSCALE + PAIR_VECTORS * k, c, product);
            normalised_put(call, PAIR_GRADIENT_OUTPUT_DSHIFT + PAIR_VECTORS * k, c, sums[0]);
            row.a[k] = (float)a;
            row.b[k] = (float)b;
            row.c[k] = (float)(-a * sums[0] / count - b * mean[k]);
        }
        if (!dx && !dx2)
            break;
    }
}

static mitral_status backward_run(struct kernel_call *call)
{
    struct normalised_parts parts;
    TRY(normalised_parts_read(call, PAIR_GRADIENT_INPUT_PARTS, PAIR_GRADIENT_INPUT_PARTS + 1, &parts));
    return normalised_run(call, &parts, backward_channel);
}

const struct kernel training_normalization_pair[] = {
    {.name = "training.normalization_pair", .shape = forward_shape, .run = forward_run},
    {.name = "training.normalization_pair_gradient", .shape = backward_shape, .run = backward_run, .shares = backward_shares},
};
const size_t training_normalization_pair_count = sizeof training_normalization_pair / sizeof *training_normalization_pair;
