/* Volumes and label maps in memory, however their files are written. */
#include <math.h>

#include "mitral/data.h"
#include "runtime/context.h"

void mitral_volume_free(mitral_context *context, mitral_volume *volume)
{
    if (!volume)
        return;
    mitral_release(context, volume->voxels);
    *volume = (mitral_volume){0};
}

mitral_status mitral_labels_read(mitral_labels *out, mitral_context *context, const char *path, int32_t class_count,
                                 int64_t max_voxels)
{
    *out = (mitral_labels){0};
    if (class_count < 1 || class_count > 256)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected 1 to 256 classes, found %d", path, (int)class_count);
    mitral_volume volume;
    TRY(mitral_volume_read(&volume, context, path, max_voxels));
    int64_t count = mitral_geometry_frame_voxels(&volume.geometry) * volume.geometry.size[3];
    uint8_t *labels = mitral_allocate_raw(context, (size_t)count);
    mitral_status status = labels ? MITRAL_OK : MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < count && status == MITRAL_OK; i++) {
        float value = volume.voxels[i];
        if (!(value >= 0 && value < (float)class_count) || value != floorf(value))
            status = mitral_fail(context, MITRAL_INVALID, "%s: expected labels 0 to %d, found %g", path, (int)class_count - 1,
                                 (double)value);
        else
            labels[i] = (uint8_t)value;
    }
    if (status == MITRAL_OK) {
        out->geometry = volume.geometry;
        out->voxels = labels;
    } else {
        mitral_release(context, labels);
    }
    mitral_volume_free(context, &volume);
    return status;
}

void mitral_labels_free(mitral_context *context, mitral_labels *labels)
{
    if (!labels)
        return;
    mitral_release(context, labels->voxels);
    *labels = (mitral_labels){0};
}

int64_t mitral_geometry_frame_voxels(const mitral_geometry *geometry)
{
    return geometry->size[0] * geometry->size[1] * geometry->size[2];
}

bool mitral_geometry_matches(const mitral_geometry *a, const mitral_geometry *b, bool frames)
{
    for (int i = 0; i < (frames ? 4 : 3); i++)
        if (a->size[i] != b->size[i])
            return false;
    for (int i = 0; i < 3; i++)
        if (fabs(a->spacing[i] - b->spacing[i]) > 1e-3 * fmax(a->spacing[i], b->spacing[i]))
            return false;
    return true;
}
