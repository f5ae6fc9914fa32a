/* Planes that are pooled when they have been normalised, and their gradients, which a pooling passes on: by a few rows at a time, which lie in
 * the first cache level meanwhile. */
#include "runtime/kernels/training/normalization.h"
#include "runtime/round.h"

enum { TOGETHER = 2048 };

/* Pairs of rows of a block. */
static int64_t pairs_of(int64_t width)
{
    return 2 * width < TOGETHER ? TOGETHER / (2 * width) : 1;
}

static size_t row_marks(int64_t width)
{
    return aligned_floats((size_t)width / 2);
}

/* Of the pair of rows that begins with that element of a plane. */
static unsigned char *marks_of(const unsigned char *plane, ptrdiff_t element, int64_t width)
{
    return (unsigned char *)plane + (size_t)(element / (2 * width)) * row_marks(width);
}

int64_t normalised_mark_bytes(int64_t plane, int64_t width)
{
    return width > 0 ? plane / (2 * width) * (int64_t)row_marks(width) : 0;
}

size_t normalised_pool_floats(int64_t width)
{
    return aligned_floats((size_t)(2 * width * pairs_of(width) + TRAINING_SLACK));
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
        rows.open = NULL;
        blocks->normalise(&rows);
        planar->row_pool(&(struct row_pool){.planes = (int)(rows.count / (2 * width)), .columns = (int)(width / 2), .above = rows.y,
                                            .below = rows.y + width, .step = (ptrdiff_t)(2 * width), .output = pooled,
                                            .output_step = (ptrdiff_t)(width / 2)});
        for (ptrdiff_t row = 0; plane->open && row < rows.count; row += 2 * width)
            blocks->mark(&(struct training_mark){.count = (ptrdiff_t)(width / 2), .upper = rows.y + row, .lower = rows.y + row + width,
                                                 .marks = marks_of(plane->open, first + row, width)});
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
        rows.y += plane->open ? 0 : first;
        rows.x += first;
        rows.dz += first;
        for (ptrdiff_t at = 0; at < rows.count; at += 2 * width, pooled += width / 2) {
            const float *y = plane->open ? NULL : rows.y + at, *dy = plane->dy + first + at;
            float *dz = rows.dz + at;
            blocks->unpool(&(struct training_unpool){.count = (ptrdiff_t)(width / 2), .dy = pooled, .upper = y, .lower = y ? y + width : NULL,
                                                     .marks = plane->open ? marks_of(plane->open, first + at, width) : NULL, .add_upper = dy,
                                                     .add_lower = dy + width, .to_upper = dz, .to_lower = dz + width});
        }
        rows.dy = rows.dz;
        rows.dx = NULL;
        rows.through = false;
        if (!plane->open)
            blocks->denormalise(&rows);
        rows.sign = SIGN_ALL;
        blocks->denormalise_sums(&rows, sums);
    }
}
