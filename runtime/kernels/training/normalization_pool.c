/* Planes that are pooled when they have been normalised, and their gradients, which a pooling passes on: by a few rows at a time, which lie in
 * the first cache level meanwhile. */
#include "runtime/kernels/training/normalization.h"

enum { TOGETHER = 2048 };

/* Pairs of rows of a block. */
static int64_t pairs_of(int64_t width)
{
    return 2 * width < TOGETHER ? TOGETHER / (2 * width) : 1;
}

size_t normalised_pool_floats(int64_t width)
{
    return (size_t)(2 * width * pairs_of(width) + TRAINING_SLACK + 15) / 16 * 16;
}

void normalised_pool(const struct training_blocks *blocks, const struct training_normalise *plane, int64_t width, float *scratch, float *pooled)
{
    const struct planar_blocks *planar = planar_blocks_of(cpu_isa());
    const ptrdiff_t together = (ptrdiff_t)(2 * width * pairs_of(width));
    for (ptrdiff_t first = 0; first < plane->count; first += together, pooled += together / 4) {
        struct training_normalise rows = *plane;
        rows.count = plane->count - first < together ? plane->count - first : together;
        rows.x += first;
        rows.residual = plane->residual ? plane->residual + first : NULL;
        rows.y = plane->y && !plane->through ? plane->y + first : scratch;
        rows.through = false;
        blocks->normalise(&rows);
        planar->row_pool(&(struct row_pool){.planes = (int)(rows.count / (2 * width)), .columns = (int)(width / 2), .above = rows.y,
                                            .below = rows.y + width, .step = (ptrdiff_t)(2 * width), .output = pooled,
                                            .output_step = (ptrdiff_t)(width / 2)});
        if (plane->y && plane->through) /* a copy past the caches */
            blocks->normalise(&(struct training_normalise){.count = rows.count, .x = rows.y, .y = plane->y + first, .a = 1, .through = true});
    }
}

void denormalised_pool_sums(const struct training_blocks *blocks, const struct training_denormalise *plane, int64_t width, const float *pooled,
                            double sums[2])
{
    const ptrdiff_t together = (ptrdiff_t)(2 * width * pairs_of(width));
    for (ptrdiff_t first = 0; first < plane->count; first += together) {
        struct training_denormalise rows = *plane;
        rows.count = plane->count - first < together ? plane->count - first : together;
        rows.y += first;
        rows.x += first;
        rows.dz += first;
        for (ptrdiff_t at = 0; at < rows.count; at += 2 * width, pooled += width / 2) {
            const float *y = rows.y + at, *dy = plane->dy + first + at;
            float *dz = rows.dz + at;
            blocks->unpool(&(struct training_unpool){.count = (ptrdiff_t)(width / 2), .dy = pooled, .upper = y, .lower = y + width, .add_upper = dy,
                                                     .add_lower = dy + width, .to_upper = dz, .to_lower = dz + width});
        }
        rows.dy = rows.dz;
        rows.dx = NULL;
        rows.through = false;
        blocks->denormalise(&rows);
        rows.sign = SIGN_ALL;
        blocks->denormalise_sums(&rows, sums);
    }
}
