#include "mitral/data.h"
#include "mitral/tools.h"
#include "runtime/context.h"

static mitral_status count_slices(int64_t *out, mitral_context *context, const mitral_dataset *dataset)
{
    *out = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        mitral_geometry geometry;
        TRY(mitral_geometry_read(&geometry, context, dataset->cases[i].image));
        *out += geometry.size[2]; /* each below MITRAL_MAX_VOXELS, and the number of cases is that of files */
    }
    return MITRAL_OK;
}

static mitral_status allocate(mitral_slices *out, mitral_context *context, const mitral_preprocessing *preprocessing, int64_t count,
                              bool labelled)
{
    int64_t pixels = preprocessing->height * preprocessing->width;
    int64_t limit = context ? context->options.max_tensor_bytes : INT64_MAX;
    if (count < 1 || count > limit / pixels / (int64_t)sizeof(float))
        return mitral_fail(context, MITRAL_LIMIT, "slices: expected 1 slice or more in at most %lld bytes " LIMIT_TENSOR_BYTES ", found %lld of %lldx%lld",
                           (long long)limit, (long long)count, (long long)preprocessing->height, (long long)preprocessing->width);
    out->images = mitral_allocate_raw(context, (size_t)(count * pixels) * sizeof(float));
    out->labels = labelled ? mitral_allocate_raw(context, (size_t)(count * pixels)) : NULL;
    out->cases = mitral_allocate_raw(context, (size_t)count * sizeof *out->cases);
    out->positions = mitral_allocate_raw(context, (size_t)count * sizeof *out->positions);
    if (!out->images || (labelled && !out->labels) || !out->cases || !out->positions)
        return MITRAL_NO_MEMORY;
    out->height = preprocessing->height;
    out->width = preprocessing->width;
    return MITRAL_OK;
}

static mitral_status append_case(mitral_slices *out, mitral_context *context, const mitral_dataset *dataset, size_t index,
                                 const mitral_preprocessing *preprocessing, int64_t total, int threads)
{
    mitral_volume image;
    mitral_labels labels = {0};
    TRY(mitral_case_read(&image, out->labels ? &labels : NULL, context, dataset, index));
    int64_t slices = image.geometry.size[2], pixels = out->height * out->width;
    mitral_status status = MITRAL_OK;
    if (slices > total - out->count)
        status = mitral_fail(context, MITRAL_INVALID, "expected a file that does not change, found %lld slices", (long long)slices);
    if (status == MITRAL_OK)
        status = mitral_preprocess_frame(out->images + out->count * pixels, context, preprocessing, &image, 0, threads);
    if (status == MITRAL_OK && out->labels)
        status = mitral_preprocess_labels(out->labels + out->count * pixels, context, preprocessing, &labels, 0, threads);
    status = mitral_context_about(context, status, dataset->cases[index].image);
    for (int64_t z = 0; z < slices && status == MITRAL_OK; z++) {
        out->cases[out->count] = (int32_t)index;
        out->positions[out->count++] = (int32_t)z;
    }
    mitral_volume_free(context, &image);
    mitral_labels_free(context, &labels);
    return status;
}

static mitral_status load(mitral_slices *out, mitral_context *context, const mitral_dataset *dataset,
                          const mitral_preprocessing *preprocessing, bool labelled, int threads)
{
    *out = (mitral_slices){0};
    if (labelled && dataset->class_count != preprocessing->class_count)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected %d classes as the network has, found %d", dataset->name,
                           (int)preprocessing->class_count, (int)dataset->class_count);
    int64_t total;
    TRY(count_slices(&total, context, dataset));
    mitral_status status = allocate(out, context, preprocessing, total, labelled);
    for (size_t i = 0; i < dataset->count && status == MITRAL_OK; i++) {
        status = append_case(out, context, dataset, i, preprocessing, total, threads);
        if (status == MITRAL_OK && mitral_cancelled(context))
            status = mitral_fail(context, MITRAL_CANCELLED, "%s: loading was cancelled", dataset->name);
    }
    if (status != MITRAL_OK)
        mitral_slices_free(context, out);
    return status;
}

mitral_status mitral_slices_load(mitral_slices *out, mitral_context *context, const mitral_dataset *dataset,
                                 const mitral_preprocessing *preprocessing, int threads)
{
    return load(out, context, dataset, preprocessing, true, threads);
}

mitral_status mitral_slices_load_images(mitral_slices *out, mitral_context *context, const mitral_dataset *dataset,
                                        const mitral_preprocessing *preprocessing, int threads)
{
    return load(out, context, dataset, preprocessing, false, threads);
}

void mitral_slices_free(mitral_context *context, mitral_slices *slices)
{
    if (!slices)
        return;
    mitral_release(context, slices->images);
    mitral_release(context, slices->labels);
    mitral_release(context, slices->cases);
    mitral_release(context, slices->positions);
    *slices = (mitral_slices){0};
}
