/* Random variations of training slices. Everything random comes from (seed, sample), so that no thread depends on another. */
#include <math.h>

#include "data/random.h"
#include "mitral/data.h"

#define DEGREE 0.017453292519943295

void mitral_augmentation_default(mitral_augmentation *out)
{
    *out = (mitral_augmentation){.flip_x = 0.5,
                                 .flip_y = 0.5,
                                 .rotation = 20,
                                 .scale_min = 0.7,
                                 .scale_max = 1.4,
                                 .gamma_min = 0.7,
                                 .gamma_max = 1.5,
                                 .geometry_probability = 0.8,
                                 .gamma_probability = 0.5};
}

/* Uniform in the logarithm: halving is as likely as doubling. */
static double log_uniform(struct random *random, double low, double high)
{
    double value = random_unit(random);
    return low > 0 && high > 0 ? exp(log(low) + (log(high) - log(low)) * value) : 1;
}

struct variation {
    double xx, xy, yx, yy; /* from the result's pixels to the source's, about the centre */
    double gamma;          /* 1: none */
};

/* Every number is drawn whether it is used or not: switching one kind off leaves the others as they were. */
static struct variation draw(const mitral_augmentation *augmentation, uint64_t seed, uint64_t sample)
{
    struct random random = random_start(seed, sample);
    double flip_x = random_unit(&random) < augmentation->flip_x ? -1 : 1;
    double flip_y = random_unit(&random) < augmentation->flip_y ? -1 : 1;
    bool turned = random_unit(&random) < augmentation->geometry_probability;
    double angle = random_between(&random, -augmentation->rotation, augmentation->rotation) * DEGREE;
    double scale = log_uniform(&random, augmentation->scale_min, augmentation->scale_max);
    bool brightened = random_unit(&random) < augmentation->gamma_probability;
    double gamma = log_uniform(&random, augmentation->gamma_min, augmentation->gamma_max);
    if (!turned) {
        angle = 0;
        scale = 1;
    }
    double c = cos(angle) / scale, s = sin(angle) / scale;
    return (struct variation){flip_x * c, flip_x * s, -flip_y * s, flip_y * c, brightened ? gamma : 1};
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static void warp(float *out_image, uint8_t *out_label, const float *image, const uint8_t *label, int64_t height, int64_t width,
                 const struct variation *variation)
{
    double middle_x = 0.5 * (double)(width - 1), middle_y = 0.5 * (double)(height - 1);
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            double dx = (double)x - middle_x, dy = (double)y - middle_y;
            double from_x = middle_x + variation->xx * dx + variation->xy * dy;
            double from_y = middle_y + variation->yx * dx + variation->yy * dy;
            int64_t to = y * width + x;
            if (!(from_x >= -0.5 && from_x <= (double)width - 0.5 && from_y >= -0.5 && from_y <= (double)height - 0.5)) {
                out_image[to] = 0;
                out_label[to] = 0;
                continue;
            }
            from_x = clamp(from_x, 0, (double)(width - 1));
            from_y = clamp(from_y, 0, (double)(height - 1));
            int64_t left = (int64_t)from_x, top = (int64_t)from_y;
            int64_t right = left + 1 < width ? left + 1 : left, bottom = top + 1 < height ? top + 1 : top;
            float u = (float)(from_x - (double)left), v = (float)(from_y - (double)top);
            float above = image[top * width + left] + (image[top * width + right] - image[top * width + left]) * u;
            float below = image[bottom * width + left] + (image[bottom * width + right] - image[bottom * width + left]) * u;
            out_image[to] = above + (below - above) * v;
            out_label[to] = label[(v < 0.5f ? top : bottom) * width + (u < 0.5f ? left : right)];
        }
    }
}

struct statistics {
    double mean, deviation;
    float least, most;
};

static struct statistics measure(const float *values, int64_t count)
{
    struct statistics result = {0, 0, values[0], values[0]};
    for (int64_t i = 0; i < count; i++) {
        result.mean += values[i];
        result.least = values[i] < result.least ? values[i] : result.least;
        result.most = values[i] > result.most ? values[i] : result.most;
    }
    result.mean /= (double)count;
    for (int64_t i = 0; i < count; i++)
        result.deviation += (values[i] - result.mean) * (values[i] - result.mean);
    result.deviation = sqrt(result.deviation / (double)count);
    return result;
}

/* Bends intensities between the darkest and the brightest; mean and deviation stay, as normalisation has set them. */
static void bend(float *image, int64_t count, double gamma)
{
    struct statistics before = measure(image, count);
    float range = before.most - before.least;
    if (!(range > 0))
        return;
    for (int64_t i = 0; i < count; i++)
        image[i] = powf((image[i] - before.least) / range, (float)gamma);
    struct statistics after = measure(image, count);
    float scale = after.deviation > 0 ? (float)(before.deviation / after.deviation) : 1;
    for (int64_t i = 0; i < count; i++)
        image[i] = (float)before.mean + (image[i] - (float)after.mean) * scale;
}

void mitral_augment_slice(float *out_image, uint8_t *out_label, const float *image, const uint8_t *label, int64_t height,
                          int64_t width, const mitral_augmentation *augmentation, uint64_t seed, uint64_t sample)
{
    if (height < 1 || width < 1)
        return;
    struct variation variation = draw(augmentation, seed, sample);
    warp(out_image, out_label, image, label, height, width, &variation);
    if (variation.gamma != 1)
        bend(out_image, height * width, variation.gamma);
}
