#include <math.h>
#include <string.h>

#include <nifti1.h>

#include "data/output.h"
#include "mitral/data.h"

#define COMPRESSION_LEVEL 6
#define PIECE_VOXELS ((size_t)1 << 18)

static double unit_of_length(int32_t units)
{
    int length = units & 7;
    return length == NIFTI_UNITS_METER ? 1e3 : length == NIFTI_UNITS_MICRON ? 1e-3 : 1.0;
}

static double unit_of_time(int32_t units)
{
    int time = units & 0x38;
    return time == NIFTI_UNITS_MSEC ? 1e-3 : time == NIFTI_UNITS_USEC ? 1e-6 : 1.0;
}

static mitral_status fill_header(nifti_1_header *header, mitral_context *context, const mitral_geometry *geometry,
                                 int16_t datatype, int16_t bits, const char *path)
{
    *header = (nifti_1_header){0};
    header->sizeof_hdr = sizeof *header;
    header->regular = 'r';
    header->dim[0] = geometry->size[3] > 1 ? 4 : 3;
    for (int i = 0; i < 7; i++)
        header->dim[i + 1] = 1;
    header->pixdim[0] = geometry->qfac < 0 ? -1.0f : 1.0f;
    for (int i = 0; i < 4; i++) {
        if (geometry->size[i] < 1 || geometry->size[i] > INT16_MAX)
            return mitral_fail(context, MITRAL_UNSUPPORTED, "%s: dimension %d: expected 1 to %d, which NIfTI-1 holds, found %lld",
                               path, i + 1, INT16_MAX, (long long)geometry->size[i]);
        header->dim[i + 1] = (int16_t)geometry->size[i];
        header->pixdim[i + 1] = (float)(geometry->spacing[i] / (i < 3 ? unit_of_length(geometry->units)
                                                                      : unit_of_time(geometry->units)));
    }
    header->datatype = datatype;
    header->bitpix = bits;
    header->vox_offset = 352;
    header->scl_slope = 1;
    header->xyzt_units = (char)geometry->units;
    memcpy(header->descrip, "mitral", 7);
    header->qform_code = (int16_t)geometry->qform_code;
    header->sform_code = (int16_t)geometry->sform_code;
    header->quatern_b = (float)geometry->quaternion[0];
    header->quatern_c = (float)geometry->quaternion[1];
    header->quatern_d = (float)geometry->quaternion[2];
    header->qoffset_x = (float)geometry->offset[0];
    header->qoffset_y = (float)geometry->offset[1];
    header->qoffset_z = (float)geometry->offset[2];
    for (int i = 0; i < 4; i++) {
        header->srow_x[i] = (float)geometry->sform[0][i];
        header->srow_y[i] = (float)geometry->sform[1][i];
        header->srow_z[i] = (float)geometry->sform[2][i];
    }
    memcpy(header->magic, "n+1", 4);
    return MITRAL_OK;
}

static bool name_ends_in(const char *path, const char *ending)
{
    size_t length = strlen(path), tail = strlen(ending);
    return length >= tail && strcmp(path + length - tail, ending) == 0;
}

static mitral_status start(struct output_file *file, mitral_context *context, const mitral_geometry *geometry, int16_t datatype,
                           int16_t bits, const char *path, int level)
{
    *file = (struct output_file){.descriptor = -1};
    nifti_1_header header;
    bool compress = name_ends_in(path, ".gz");
    if (!compress && !name_ends_in(path, ".nii"))
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a name ending in .nii or .nii.gz, found another", path);
    TRY(fill_header(&header, context, geometry, datatype, bits, path));
    TRY(output_open(file, context, path));
    TRY(output_stream(file, context, compress ? level : 0));
    const uint8_t no_extension[4] = {0};
    TRY(output_write(file, context, &header, sizeof header));
    return output_write(file, context, no_extension, sizeof no_extension);
}

static mitral_status finish(mitral_status status, struct output_file *file, mitral_context *context)
{
    if (status == MITRAL_OK)
        return output_commit(file, context);
    output_abandon(file, context);
    return status;
}

mitral_status mitral_labels_write(mitral_context *context, const mitral_labels *labels, const char *path)
{
    struct output_file file;
    mitral_status status = start(&file, context, &labels->geometry, DT_UINT8, 8, path, COMPRESSION_LEVEL);
    if (status == MITRAL_OK) {
        int64_t count = mitral_geometry_frame_voxels(&labels->geometry) * labels->geometry.size[3];
        status = output_write(&file, context, labels->voxels, (size_t)count);
    }
    return finish(status, &file, context);
}

static bool all_int16(const float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!(values[i] >= INT16_MIN && values[i] <= INT16_MAX) || values[i] != floorf(values[i]))
            return false;
    return true;
}

static mitral_status write_as_int16(struct output_file *file, mitral_context *context, const float *voxels, int64_t count)
{
    int16_t *piece = mitral_allocate_raw(context, PIECE_VOXELS * sizeof *piece);
    mitral_status status = piece ? MITRAL_OK : MITRAL_NO_MEMORY;
    for (int64_t done = 0; done < count && status == MITRAL_OK;) {
        size_t size = count - done < (int64_t)PIECE_VOXELS ? (size_t)(count - done) : PIECE_VOXELS;
        for (size_t i = 0; i < size; i++)
            piece[i] = (int16_t)voxels[done + (int64_t)i];
        status = output_write(file, context, piece, size * sizeof *piece);
        done += (int64_t)size;
    }
    mitral_release(context, piece);
    return status;
}

mitral_status mitral_volume_write(mitral_context *context, const mitral_volume *volume, const char *path)
{
    struct output_file file;
    int64_t count = mitral_geometry_frame_voxels(&volume->geometry) * volume->geometry.size[3];
    bool whole = all_int16(volume->voxels, count);
    mitral_status status = start(&file, context, &volume->geometry, whole ? DT_INT16 : DT_FLOAT32, whole ? 16 : 32, path,
                                 COMPRESSION_LEVEL);
    if (status == MITRAL_OK)
        status = whole ? write_as_int16(&file, context, volume->voxels, count)
                       : output_write(&file, context, volume->voxels, (size_t)count * sizeof(float));
    return finish(status, &file, context);
}
