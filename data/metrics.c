/* Overlap and surface distances in 3D on the native grid, and their summaries. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/distance.h"
#include "mitral/data.h"
#include "runtime/context.h"

/* The part of a volume that holds both structures: distances are measured within it alone. */
struct region {
    int64_t low[3], size[3];
};

static bool find_region(struct region *out, const uint8_t *a, const uint8_t *b, const int64_t size[3], uint8_t label)
{
    int64_t low[3] = {INT64_MAX, INT64_MAX, INT64_MAX}, high[3] = {-1, -1, -1};
    for (int64_t z = 0; z < size[2]; z++) {
        for (int64_t y = 0; y < size[1]; y++) {
            for (int64_t x = 0; x < size[0]; x++, a++, b++) {
                if (*a != label && *b != label)
                    continue;
                const int64_t place[3] = {x, y, z};
                for (int i = 0; i < 3; i++) {
                    low[i] = place[i] < low[i] ? place[i] : low[i];
                    high[i] = place[i] > high[i] ? place[i] : high[i];
                }
            }
        }
    }
    for (int i = 0; i < 3; i++) {
        out->low[i] = low[i];
        out->size[i] = high[i] - low[i] + 1;
    }
    return high[0] >= 0;
}

/* Voxels of a structure with a face neighbour that is not of it; what is beyond the volume is not. Returns their count. */
static int64_t mark_surface(uint8_t *out, const uint8_t *labels, const int64_t size[3], const struct region *region, uint8_t label)
{
    const int64_t step[3] = {1, size[0], size[0] * size[1]};
    int64_t count = 0;
    for (int64_t z = 0; z < region->size[2]; z++) {
        for (int64_t y = 0; y < region->size[1]; y++) {
            for (int64_t x = 0; x < region->size[0]; x++) {
                const int64_t place[3] = {region->low[0] + x, region->low[1] + y, region->low[2] + z};
                const uint8_t *voxel = labels + place[0] + place[1] * step[1] + place[2] * step[2];
                bool surface = false;
                for (int i = 0; i < 3 && *voxel == label; i++)
                    surface |= place[i] == 0 || place[i] == size[i] - 1 || voxel[-step[i]] != label || voxel[step[i]] != label;
                *out++ = surface;
                count += surface;
            }
        }
    }
    return count;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double percentile(double *values, int64_t count, double fraction)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    double place = fraction * (double)(count - 1);
    int64_t low = (int64_t)place;
    int64_t high = low + 1 < count ? low + 1 : low;
    return values[low] + (values[high] - values[low]) * (place - (double)low);
}

/* distances[0 … count of `from`): of each voxel of one surface to the other. */
static mitral_status surface_distances(double *distances, mitral_context *context, double *field, const uint8_t *from,
                                       const uint8_t *to, const struct region *region, const double spacing[3])
{
    TRY(distance_squared(field, context, to, region->size, spacing));
    int64_t voxels = region->size[0] * region->size[1] * region->size[2];
    for (int64_t i = 0; i < voxels; i++)
        if (from[i])
            *distances++ = sqrt(field[i]);
    return MITRAL_OK;
}

static mitral_status measure_surfaces(mitral_overlap *out, mitral_context *context, const uint8_t *prediction,
                                      const uint8_t *reference, const mitral_geometry *geometry, const struct region *region,
                                      uint8_t label, uint8_t *surfaces, double *field)
{
    int64_t voxels = region->size[0] * region->size[1] * region->size[2];
    uint8_t *a = surfaces, *b = surfaces + voxels;
    int64_t count_a = mark_surface(a, prediction, geometry->size, region, label);
    int64_t count_b = mark_surface(b, reference, geometry->size, region, label);
    double *distances = mitral_allocate_raw(context, (size_t)(count_a + count_b) * sizeof *distances);
    if (!distances)
        return MITRAL_NO_MEMORY;
    mitral_status status = surface_distances(distances, context, field, a, b, region, geometry->spacing);
    if (status == MITRAL_OK)
        status = surface_distances(distances + count_a, context, field, b, a, region, geometry->spacing);
    if (status == MITRAL_OK) {
        out->hausdorff95_mm = percentile(distances, count_a + count_b, 0.95);
        out->hausdorff_mm = distances[count_a + count_b - 1]; /* sorted by now */
    }
    mitral_release(context, distances);
    return status;
}

static mitral_status measure_distances(mitral_overlap *out, mitral_context *context, const uint8_t *prediction,
                                       const uint8_t *reference, const mitral_geometry *geometry, uint8_t label)
{
    struct region region;
    if (!find_region(&region, prediction, reference, geometry->size, label))
        return MITRAL_OK;
    size_t voxels = (size_t)(region.size[0] * region.size[1] * region.size[2]);
    uint8_t *surfaces = mitral_allocate_raw(context, 2 * voxels);
    double *field = mitral_allocate_raw(context, voxels * sizeof *field);
    mitral_status status = surfaces && field ? MITRAL_OK : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = measure_surfaces(out, context, prediction, reference, geometry, &region, label, surfaces, field);
    mitral_release(context, surfaces);
    mitral_release(context, field);
    return status;
}

mitral_status mitral_measure_overlap(mitral_overlap *out, mitral_context *context, const uint8_t *prediction,
                                     const uint8_t *reference, const mitral_geometry *geometry, int32_t class_count)
{
    if (class_count < 1 || class_count > 256)
        return mitral_fail(context, MITRAL_INVALID, "metrics: expected 1 to 256 classes, found %d", (int)class_count);
    for (int i = 0; i < 3; i++)
        if (!(geometry->spacing[i] > 0))
            return mitral_fail(context, MITRAL_INVALID, "metrics: pixdim[%d]: expected a spacing in mm, found none", i + 1);
    double voxel_ml = geometry->spacing[0] * geometry->spacing[1] * geometry->spacing[2] * 1e-3;
    int64_t counts[3][256] = {{0}}; /* of the prediction, the reference, both */
    int64_t voxels = mitral_geometry_frame_voxels(geometry);
    for (int64_t i = 0; i < voxels; i++) {
        counts[0][prediction[i]]++;
        counts[1][reference[i]]++;
        counts[2][prediction[i]] += prediction[i] == reference[i];
    }
    for (int32_t c = 0; c < class_count; c++) {
        out[c] = (mitral_overlap){.in_prediction = counts[0][c] > 0,
                                  .in_reference = counts[1][c] > 0,
                                  .dice = NAN,
                                  .hausdorff_mm = NAN,
                                  .hausdorff95_mm = NAN,
                                  .prediction_ml = (double)counts[0][c] * voxel_ml,
                                  .reference_ml = (double)counts[1][c] * voxel_ml};
        if (c == 0 || !out[c].in_prediction || !out[c].in_reference)
            continue;
        out[c].dice = 2.0 * (double)counts[2][c] / (double)(counts[0][c] + counts[1][c]);
        TRY(measure_distances(&out[c], context, prediction, reference, geometry, (uint8_t)c));
    }
    return MITRAL_OK;
}

double mitral_ejection_fraction(double end_diastolic_ml, double end_systolic_ml)
{
    return end_diastolic_ml > 0 ? 100.0 * (end_diastolic_ml - end_systolic_ml) / end_diastolic_ml : NAN;
}

mitral_summary mitral_summarise(const double *values, size_t count)
{
    mitral_summary result = {0, NAN, NAN, NAN, NAN};
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i]))
            continue;
        result.minimum = result.count == 0 || values[i] < result.minimum ? values[i] : result.minimum;
        result.maximum = result.count == 0 || values[i] > result.maximum ? values[i] : result.maximum;
        sum += values[i];
        result.count++;
    }
    if (result.count == 0)
        return result;
    result.mean = sum / (double)result.count;
    for (size_t i = 0; i < count; i++)
        if (!isnan(values[i]))
            squares += (values[i] - result.mean) * (values[i] - result.mean);
    result.deviation = result.count > 1 ? sqrt(squares / (double)(result.count - 1)) : 0;
    return result;
}

mitral_agreement mitral_agree(const double *prediction, const double *reference, size_t count)
{
    mitral_agreement result = {0, NAN, NAN, NAN, NAN};
    double sum_a = 0, sum_b = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(prediction[i]) || isnan(reference[i]))
            continue;
        sum_a += prediction[i];
        sum_b += reference[i];
        result.count++;
    }
    if (result.count == 0)
        return result;
    double n = (double)result.count, mean_a = sum_a / n, mean_b = sum_b / n, aa = 0, bb = 0, ab = 0, dd = 0;
    result.bias = mean_a - mean_b;
    for (size_t i = 0; i < count; i++) {
        if (isnan(prediction[i]) || isnan(reference[i]))
            continue;
        double a = prediction[i] - mean_a, b = reference[i] - mean_b;
        aa += a * a;
        bb += b * b;
        ab += a * b;
        dd += (a - b) * (a - b);
    }
    if (result.count > 1) {
        double deviation = sqrt(dd / (n - 1));
        result.lower = result.bias - 1.96 * deviation;
        result.upper = result.bias + 1.96 * deviation;
    }
    if (result.count > 2 && aa > 0 && bb > 0) /* two points always lie on a line */
        result.correlation = ab / sqrt(aa * bb);
    return result;
}
