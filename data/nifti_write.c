#include "data/nifti_write.h"

#include <math.h>
#include <string.h>

#include <nifti1.h>
#include <zlib.h>

#include "runtime/file.h"

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
                                 enum nifti_element element, const char *path)
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
        header->pixdim[i + 1] =
            (float)(geometry->spacing[i] / (i < 3 ? unit_of_length(geometry->units) : unit_of_time(geometry->units)));
    }
    static const int16_t datatypes[] = {DT_UINT8, DT_INT16, DT_FLOAT32}, bits[] = {8, 16, 32};
    header->datatype = datatypes[element];
    header->bitpix = bits[element];
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

/* ---- the stream ---------------------------------------------------------------------------------------------------- */

struct nifti_sink {
    mitral_context *context;
    struct file_writer *file;
    const nifti_1_header *header;
    int level; /* 0: not compressed */
    z_stream stream;
    uint8_t packed[1 << 16];
    mitral_status (*write)(struct nifti_sink *sink, void *user);
    void *user;
};

static mitral_status deflate_bytes(struct nifti_sink *sink, const void *bytes, size_t size, int flush)
{
    sink->stream.next_in = (Bytef *)(uintptr_t)bytes;
    sink->stream.avail_in = (uInt)size;
    for (;;) {
        sink->stream.next_out = sink->packed;
        sink->stream.avail_out = sizeof sink->packed;
        if (deflate(&sink->stream, flush) == Z_STREAM_ERROR)
            return mitral_fail(sink->context, MITRAL_INVALID, "NIfTI: zlib refused the data");
        TRY(file_append(sink->file, sink->packed, sizeof sink->packed - sink->stream.avail_out));
        if (sink->stream.avail_out > 0)
            return MITRAL_OK;
    }
}

mitral_status nifti_append(struct nifti_sink *sink, const void *voxels, size_t bytes)
{
    if (sink->level == 0)
        return file_append(sink->file, voxels, bytes);
    const uint8_t *next = voxels;
    while (bytes > 0) {
        size_t piece = bytes < (1u << 30) ? bytes : (1u << 30);
        TRY(deflate_bytes(sink, next, piece, Z_NO_FLUSH));
        next += piece;
        bytes -= piece;
    }
    return MITRAL_OK;
}

static mitral_status write_content(struct nifti_sink *sink)
{
    const uint8_t no_extension[4] = {0};
    TRY(nifti_append(sink, sink->header, sizeof *sink->header));
    TRY(nifti_append(sink, no_extension, sizeof no_extension));
    TRY(sink->write(sink, sink->user));
    return sink->level > 0 ? deflate_bytes(sink, NULL, 0, Z_FINISH) : MITRAL_OK;
}

/* zlib's own gzip header holds neither a time nor a name, so that the same voxels give the same bytes. */
static mitral_status write_file(struct file_writer *file, void *user)
{
    struct nifti_sink *sink = user;
    sink->file = file;
    if (sink->level > 0 && deflateInit2(&sink->stream, sink->level, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return mitral_fail(sink->context, MITRAL_NO_MEMORY, "NIfTI: expected memory to compress in, found none");
    mitral_status status = write_content(sink);
    if (sink->level > 0)
        deflateEnd(&sink->stream);
    return status;
}

static bool name_ends_in(const char *path, const char *ending)
{
    size_t length = strlen(path), tail = strlen(ending);
    return length >= tail && strcmp(path + length - tail, ending) == 0;
}

mitral_status nifti_write(mitral_context *context, const char *path, const mitral_geometry *geometry, enum nifti_element element,
                          int level, mitral_status (*write)(struct nifti_sink *sink, void *user), void *user)
{
    bool compress = name_ends_in(path, ".gz");
    if (!compress && !name_ends_in(path, ".nii"))
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a name ending in .nii or .nii.gz, found another", path);
    nifti_1_header header;
    TRY(fill_header(&header, context, geometry, element, path));
    struct nifti_sink *sink = mitral_allocate(context, sizeof *sink);
    if (!sink)
        return MITRAL_NO_MEMORY;
    sink->context = context;
    sink->header = &header;
    sink->level = compress ? level : 0;
    sink->write = write;
    sink->user = user;
    mitral_status status = file_write_whole(context, path, write_file, sink);
    mitral_release(context, sink);
    return status;
}

/* ---- whole volumes ------------------------------------------------------------------------------------------------- */

static mitral_status append_labels(struct nifti_sink *sink, void *user)
{
    const mitral_labels *labels = user;
    return nifti_append(sink, labels->voxels, (size_t)(mitral_geometry_frame_voxels(&labels->geometry) * labels->geometry.size[3]));
}

mitral_status mitral_labels_write(mitral_context *context, const mitral_labels *labels, const char *path)
{
    return nifti_write(context, path, &labels->geometry, NIFTI_ELEMENT_UINT8, COMPRESSION_LEVEL, append_labels,
                       (void *)(uintptr_t)labels);
}

static bool all_int16(const float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!(values[i] >= INT16_MIN && values[i] <= INT16_MAX) || values[i] != floorf(values[i]))
            return false;
    return true;
}

static mitral_status append_floats(struct nifti_sink *sink, void *user)
{
    const mitral_volume *volume = user;
    return nifti_append(sink, volume->voxels,
                        sizeof(float) * (size_t)(mitral_geometry_frame_voxels(&volume->geometry) * volume->geometry.size[3]));
}

static mitral_status append_as_int16(struct nifti_sink *sink, void *user)
{
    const mitral_volume *volume = user;
    int64_t count = mitral_geometry_frame_voxels(&volume->geometry) * volume->geometry.size[3];
    int16_t *piece = mitral_allocate_raw(sink->context, PIECE_VOXELS * sizeof *piece);
    mitral_status status = piece ? MITRAL_OK : MITRAL_NO_MEMORY;
    for (int64_t done = 0; done < count && status == MITRAL_OK;) {
        size_t size = count - done < (int64_t)PIECE_VOXELS ? (size_t)(count - done) : PIECE_VOXELS;
        for (size_t i = 0; i < size; i++)
            piece[i] = (int16_t)volume->voxels[done + (int64_t)i];
        status = nifti_append(sink, piece, size * sizeof *piece);
        done += (int64_t)size;
    }
    mitral_release(sink->context, piece);
    return status;
}

mitral_status mitral_volume_write(mitral_context *context, const mitral_volume *volume, const char *path)
{
    bool whole = all_int16(volume->voxels, mitral_geometry_frame_voxels(&volume->geometry) * volume->geometry.size[3]);
    return nifti_write(context, path, &volume->geometry, whole ? NIFTI_ELEMENT_INT16 : NIFTI_ELEMENT_FLOAT, COMPRESSION_LEVEL,
                       whole ? append_as_int16 : append_floats, (void *)(uintptr_t)volume);
}

mitral_status mitral_file_write(mitral_context *context, const char *path, const void *bytes, size_t size)
{
    return file_write_bytes(context, path, bytes, size);
}

mitral_status mitral_file_check(mitral_context *context, const char *path)
{
    return file_check_target(context, path);
}

mitral_status mitral_file_check_apart(mitral_context *context, const char *path, const char *input)
{
    return file_check_apart(context, path, input);
}
