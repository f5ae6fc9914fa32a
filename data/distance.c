/* Exact Euclidean distances, one axis after the other: along each line the squared distance is the lower envelope of parabolas, one
 * a voxel (Felzenszwalb and Huttenlocher 2012). */
#include "data/distance.h"

#include <math.h>

#include "runtime/context.h"

struct line {
    double *values; /* in: squared distance so far; infinite: none */
    double *starts; /* where each parabola of the envelope begins */
    int64_t *places;
};

/* Where the parabola of `q` overtakes that of `p` < q, in steps of the line. */
static double crossing(const double *values, int64_t p, int64_t q, double step2)
{
    double a = (double)q, b = (double)p;
    return ((values[q] - values[p]) / step2 + a * a - b * b) / (2 * (a - b));
}

static void transform(double *out, int64_t stride, const struct line *line, int64_t count, double step2)
{
    int64_t last = -1;
    for (int64_t q = 0; q < count; q++) {
        if (isinf(line->values[q]))
            continue;
        double start = -INFINITY;
        while (last >= 0) {
            start = crossing(line->values, line->places[last], q, step2);
            if (start > line->starts[last])
                break;
            last--;
            start = -INFINITY;
        }
        last++;
        line->places[last] = q;
        line->starts[last] = start;
    }
    if (last < 0) {
        for (int64_t q = 0; q < count; q++)
            out[q * stride] = INFINITY;
        return;
    }
    int64_t current = 0;
    for (int64_t q = 0; q < count; q++) {
        while (current < last && line->starts[current + 1] < (double)q)
            current++;
        double away = (double)(q - line->places[current]);
        out[q * stride] = away * away * step2 + line->values[line->places[current]];
    }
}

static void transform_axis(double *out, const struct line *line, const int64_t size[3], int axis, double step)
{
    const int64_t strides[3] = {1, size[0], size[0] * size[1]};
    int one = axis == 0 ? 1 : 0, other = axis == 2 ? 1 : 2;
    for (int64_t j = 0; j < size[other]; j++) {
        for (int64_t i = 0; i < size[one]; i++) {
            double *first = out + i * strides[one] + j * strides[other];
            for (int64_t q = 0; q < size[axis]; q++)
                line->values[q] = first[q * strides[axis]];
            transform(first, strides[axis], line, size[axis], step * step);
        }
    }
}

mitral_status distance_squared(double *out, mitral_context *context, const uint8_t *mask, const int64_t size[3],
                               const double spacing[3])
{
    int64_t longest = size[0] > size[1] ? size[0] : size[1];
    longest = size[2] > longest ? size[2] : longest;
    struct line line = {mitral_allocate_raw(context, (size_t)longest * sizeof(double)),
                        mitral_allocate_raw(context, (size_t)longest * sizeof(double)),
                        mitral_allocate_raw(context, (size_t)longest * sizeof(int64_t))};
    bool enough = line.values && line.starts && line.places;
    if (enough) {
        int64_t voxels = size[0] * size[1] * size[2];
        for (int64_t i = 0; i < voxels; i++)
            out[i] = mask[i] ? 0 : INFINITY;
        for (int axis = 0; axis < 3; axis++)
            transform_axis(out, &line, size, axis, spacing[axis]);
    }
    mitral_release(context, line.values);
    mitral_release(context, line.starts);
    mitral_release(context, line.places);
    return enough ? MITRAL_OK : MITRAL_NO_MEMORY;
}
