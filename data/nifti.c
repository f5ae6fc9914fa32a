/* Reading NIfTI. niftiio turns a header into geometry, and its znzlib opens plain and compressed files alike; but it trusts
 * what it reads, so every number is judged here before it gets there, and before memory is asked for. The voxels are read in
 * pieces: a file is hardly expanded past what its header declares, and never held twice. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include <nifti1_io.h>
#include <nifti2.h>
#include <zlib.h>

#include "mitral/data.h"
#include "runtime/context.h"

/* What deflate can do at best; a declared size past it cannot be true. */
#define BEST_DEFLATE_RATIO 1032
#define PIECE_BYTES ((size_t)1 << 20)

struct header {
    mitral_geometry geometry;
    int64_t count;  /* voxels of all frames */
    int64_t offset; /* of the first voxel in the expanded file */
    int32_t datatype;
    int bytes;               /* of a voxel */
    double slope, intercept; /* slope 0: not scaled */
    bool swapped;
};

/* A fixed-order field of a NIfTI-2 header, in place. */
static void swap_field(void *field, size_t size)
{
    uint8_t *bytes = field;
    for (size_t i = 0; i < size / 2; i++) {
        uint8_t kept = bytes[i];
        bytes[i] = bytes[size - 1 - i];
        bytes[size - 1 - i] = kept;
    }
}

static void swap_fields(void *fields, size_t size, size_t count)
{
    for (size_t i = 0; i < count; i++)
        swap_field((uint8_t *)fields + i * size, size);
}

static bool type_is_real(int32_t datatype)
{
    switch (datatype) {
    case DT_UINT8:
    case DT_INT8:
    case DT_UINT16:
    case DT_INT16:
    case DT_UINT32:
    case DT_INT32:
    case DT_UINT64:
    case DT_INT64:
    case DT_FLOAT32:
    case DT_FLOAT64: return true;
    default: return false;
    }
}

static mitral_status check_type(mitral_context *context, const char *path, int32_t datatype, int bits, int *bytes)
{
    int swap_size = 0;
    nifti_datatype_sizes(datatype, bytes, &swap_size);
    if (*bytes <= 0)
        return mitral_fail(context, MITRAL_INVALID, "%s: datatype: expected one of NIfTI's, found %d", path, (int)datatype);
    if (!type_is_real(datatype))
        return mitral_fail(context, MITRAL_UNSUPPORTED,
                           "%s: datatype: expected integers to 64 bits or floats of 32 or 64 bits, found %s", path,
                           nifti_datatype_string(datatype));
    if (bits != 0 && bits != *bytes * 8)
        return mitral_fail(context, MITRAL_INVALID, "%s: bitpix: expected %d for %s, found %d", path, *bytes * 8,
                           nifti_datatype_string(datatype), bits);
    return MITRAL_OK;
}

static mitral_status check_dimensions(mitral_context *context, const char *path, const int64_t dims[8], int64_t max_voxels,
                                      struct header *out)
{
    if (dims[0] < 1 || dims[0] > 7)
        return mitral_fail(context, MITRAL_INVALID, "%s: dim[0]: expected 1 to 7 dimensions, found %lld", path, (long long)dims[0]);
    for (int i = 0; i < 4; i++)
        out->geometry.size[i] = 1;
    out->count = 1;
    for (int i = 1; i <= dims[0]; i++) {
        if (dims[i] < 1)
            return mitral_fail(context, MITRAL_INVALID, "%s: dim[%d]: expected 1 or more, found %lld", path, i, (long long)dims[i]);
        if (dims[i] > max_voxels / out->count)
            return mitral_fail(context, MITRAL_LIMIT, "%s: dimensions: expected at most %lld voxels, found %lld x %lld and more",
                               path, (long long)max_voxels, (long long)out->count, (long long)dims[i]);
        out->count *= dims[i];
        out->geometry.size[i < 4 ? i - 1 : 3] *= dims[i];
    }
    return MITRAL_OK;
}

static mitral_status check_offset(mitral_context *context, const char *path, double offset, int64_t least, struct header *out)
{
    if (!(offset >= (double)least) || offset != floor(offset))
        return mitral_fail(context, MITRAL_INVALID, "%s: vox_offset: expected a whole number from %lld, found %g", path,
                           (long long)least, offset);
    if (offset > (double)MITRAL_MAX_VOXEL_OFFSET)
        return mitral_fail(context, MITRAL_LIMIT, "%s: vox_offset: expected at most %lld, found %g", path,
                           (long long)MITRAL_MAX_VOXEL_OFFSET, offset);
    out->offset = (int64_t)offset;
    return MITRAL_OK;
}

/* Lengths come in metres, millimetres or micrometres, times in seconds down to microseconds; others are no times. */
static void set_spacing(mitral_geometry *geometry, const double pixdim[8], int dimensions)
{
    int length = geometry->units & 7, time = geometry->units & 0x38;
    double to_mm = length == NIFTI_UNITS_METER ? 1e3 : length == NIFTI_UNITS_MICRON ? 1e-3 : 1.0;
    double to_s = time == NIFTI_UNITS_MSEC ? 1e-3 : time == NIFTI_UNITS_USEC ? 1e-6 : 1.0;
    for (int i = 0; i < 4; i++) {
        double value = i < dimensions ? fabs(pixdim[i + 1]) * (i < 3 ? to_mm : to_s) : 0.0;
        geometry->spacing[i] = isfinite(value) && value > 0 ? value : 0.0;
    }
}

static double finite_or_zero(double value)
{
    return isfinite(value) ? value : 0.0;
}

static void set_scaling(struct header *out, double slope, double intercept)
{
    out->slope = finite_or_zero(slope);
    out->intercept = finite_or_zero(intercept);
}

static mitral_status decode_nifti1(struct header *out, mitral_context *context, const char *path, nifti_1_header *header,
                                   int64_t max_voxels)
{
    if (memcmp(header->magic, "ni1", 4) == 0)
        return mitral_fail(context, MITRAL_UNSUPPORTED, "%s: expected a header and voxels in one file, found a header alone", path);
    if (memcmp(header->magic, "n+1", 4) != 0)
        return mitral_fail(context, MITRAL_INVALID, "%s: magic: expected 'n+1', found something else", path);
    if (out->swapped)
        swap_nifti_header(header, 1);
    int64_t dims[8];
    double pixdim[8];
    for (int i = 0; i < 8; i++) {
        dims[i] = header->dim[i];
        pixdim[i] = header->pixdim[i];
    }
    TRY(check_dimensions(context, path, dims, max_voxels, out));
    TRY(check_type(context, path, header->datatype, header->bitpix, &out->bytes));
    TRY(check_offset(context, path, header->vox_offset, (int64_t)sizeof *header + 4, out));
    out->datatype = header->datatype;
    set_scaling(out, header->scl_slope, header->scl_inter);

    nifti_image *image = nifti_convert_nhdr2nim(*header, NULL);
    if (!image)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a sound NIfTI-1 header, found one that niftiio refuses", path);
    mitral_geometry *geometry = &out->geometry;
    geometry->units = (uint8_t)header->xyzt_units;
    geometry->qform_code = image->qform_code;
    geometry->sform_code = image->sform_code;
    geometry->qfac = header->pixdim[0] < 0 ? -1.0 : 1.0;
    const float quaternion[3] = {image->quatern_b, image->quatern_c, image->quatern_d};
    const float offset[3] = {image->qoffset_x, image->qoffset_y, image->qoffset_z};
    for (int i = 0; i < 3; i++) {
        geometry->quaternion[i] = quaternion[i];
        geometry->offset[i] = offset[i];
        for (int j = 0; j < 4; j++)
            geometry->sform[i][j] = finite_or_zero(image->sto_xyz.m[i][j]);
    }
    nifti_image_free(image);
    set_spacing(geometry, pixdim, (int)dims[0]);
    return MITRAL_OK;
}

static void swap_nifti2(nifti_2_header *header)
{
    swap_field(&header->datatype, sizeof header->datatype);
    swap_field(&header->bitpix, sizeof header->bitpix);
    swap_fields(header->dim, sizeof header->dim[0], 8);
    swap_fields(header->pixdim, sizeof header->pixdim[0], 8);
    swap_field(&header->vox_offset, sizeof header->vox_offset);
    swap_field(&header->scl_slope, sizeof header->scl_slope);
    swap_field(&header->scl_inter, sizeof header->scl_inter);
    swap_field(&header->qform_code, sizeof header->qform_code);
    swap_field(&header->sform_code, sizeof header->sform_code);
    swap_field(&header->quatern_b, sizeof header->quatern_b);
    swap_field(&header->quatern_c, sizeof header->quatern_c);
    swap_field(&header->quatern_d, sizeof header->quatern_d);
    swap_field(&header->qoffset_x, sizeof header->qoffset_x);
    swap_field(&header->qoffset_y, sizeof header->qoffset_y);
    swap_field(&header->qoffset_z, sizeof header->qoffset_z);
    swap_fields(header->srow_x, sizeof header->srow_x[0], 4);
    swap_fields(header->srow_y, sizeof header->srow_y[0], 4);
    swap_fields(header->srow_z, sizeof header->srow_z[0], 4);
    swap_field(&header->xyzt_units, sizeof header->xyzt_units);
}

static mitral_status decode_nifti2(struct header *out, mitral_context *context, const char *path, nifti_2_header *header,
                                   int64_t max_voxels)
{
    if (memcmp(header->magic, "ni2\0\r\n\032\n", 8) == 0)
        return mitral_fail(context, MITRAL_UNSUPPORTED, "%s: expected a header and voxels in one file, found a header alone", path);
    if (memcmp(header->magic, "n+2\0\r\n\032\n", 8) != 0)
        return mitral_fail(context, MITRAL_INVALID, "%s: magic: expected 'n+2', found something else", path);
    if (out->swapped)
        swap_nifti2(header);
    /* Copies: the structure is packed, and arrays of it may lie unaligned. */
    int64_t dims[8];
    double pixdim[8], rows[3][4];
    memcpy(dims, header->dim, sizeof dims);
    memcpy(pixdim, header->pixdim, sizeof pixdim);
    memcpy(rows[0], header->srow_x, sizeof rows[0]);
    memcpy(rows[1], header->srow_y, sizeof rows[1]);
    memcpy(rows[2], header->srow_z, sizeof rows[2]);
    TRY(check_dimensions(context, path, dims, max_voxels, out));
    TRY(check_type(context, path, header->datatype, header->bitpix, &out->bytes));
    TRY(check_offset(context, path, (double)header->vox_offset, (int64_t)sizeof *header + 4, out));
    out->datatype = header->datatype;
    set_scaling(out, header->scl_slope, header->scl_inter);
    mitral_geometry *geometry = &out->geometry;
    geometry->units = header->xyzt_units & 0xff;
    geometry->qform_code = header->qform_code > 0 ? header->qform_code : 0;
    geometry->sform_code = header->sform_code > 0 ? header->sform_code : 0;
    geometry->qfac = pixdim[0] < 0 ? -1.0 : 1.0;
    const double quaternion[3] = {header->quatern_b, header->quatern_c, header->quatern_d};
    const double offset[3] = {header->qoffset_x, header->qoffset_y, header->qoffset_z};
    for (int i = 0; i < 3; i++) {
        geometry->quaternion[i] = finite_or_zero(quaternion[i]);
        geometry->offset[i] = finite_or_zero(offset[i]);
        for (int j = 0; j < 4; j++)
            geometry->sform[i][j] = finite_or_zero(rows[i][j]);
    }
    set_spacing(geometry, pixdim, (int)dims[0]);
    return MITRAL_OK;
}

/* All of `size` bytes, or a message. */
static mitral_status read_bytes(znzFile file, mitral_context *context, const char *path, const char *what, void *bytes, size_t size)
{
    size_t count = znzread(bytes, 1, size, file);
    if (count == size)
        return MITRAL_OK;
    if (count > size)
        return mitral_fail(context, MITRAL_INVALID, "%s: %s: expected sound compressed data, found damage", path, what);
    return mitral_fail(context, MITRAL_INVALID, "%s: %s: expected %zu bytes more, found %zu", path, what, size, count);
}

static mitral_status read_header(struct header *out, znzFile file, mitral_context *context, const char *path, int64_t max_voxels)
{
    union {
        nifti_1_header first;
        nifti_2_header second;
        int32_t size;
    } header;
    memset(&header, 0, sizeof header);
    *out = (struct header){0};
    TRY(read_bytes(file, context, path, "NIfTI header", &header, sizeof header.first));
    int32_t size = header.size, swapped = size;
    swap_field(&swapped, sizeof swapped);
    out->swapped = size != (int32_t)sizeof header.first && size != (int32_t)sizeof header.second;
    if (out->swapped)
        size = swapped;
    if (size == (int32_t)sizeof header.first)
        return decode_nifti1(out, context, path, &header.first, max_voxels);
    if (size != (int32_t)sizeof header.second)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a NIfTI file, whose header is of 348 or 540 bytes, found %d",
                           path, (int)header.size);
    TRY(read_bytes(file, context, path, "header", (uint8_t *)&header + sizeof header.first,
                   sizeof header.second - sizeof header.first));
    return decode_nifti2(out, context, path, &header.second, max_voxels);
}

static void swap_piece(uint8_t *bytes, size_t count, int size)
{
    if (size == 2)
        nifti_swap_2bytes(count, bytes);
    else if (size == 4)
        nifti_swap_4bytes(count, bytes);
    else if (size == 8)
        nifti_swap_8bytes(count, bytes);
}

/* Doubles carry the arithmetic, as in other readers; the result is rounded once. */
#define CONVERT(type)                                                                                                              \
    do {                                                                                                                           \
        const type *values = (const type *)(const void *)bytes;                                                                    \
        if (header->slope != 0.0)                                                                                                  \
            for (size_t i = 0; i < count; i++)                                                                                     \
                out[i] = (float)((double)values[i] * header->slope + header->intercept);                                           \
        else                                                                                                                       \
            for (size_t i = 0; i < count; i++)                                                                                     \
                out[i] = (float)(double)values[i];                                                                                 \
    } while (0)

static void convert(float *out, const uint8_t *bytes, size_t count, const struct header *header)
{
    switch (header->datatype) {
    case DT_UINT8: CONVERT(uint8_t); break;
    case DT_INT8: CONVERT(int8_t); break;
    case DT_UINT16: CONVERT(uint16_t); break;
    case DT_INT16: CONVERT(int16_t); break;
    case DT_UINT32: CONVERT(uint32_t); break;
    case DT_INT32: CONVERT(int32_t); break;
    case DT_UINT64: CONVERT(uint64_t); break;
    case DT_INT64: CONVERT(int64_t); break;
    case DT_FLOAT32: CONVERT(float); break;
    default: CONVERT(double); break; /* check_type lets no other through */
    }
}

static mitral_status read_voxels(float *voxels, znzFile file, mitral_context *context, const char *path,
                                 const struct header *header)
{
    uint8_t *piece = mitral_allocate_raw(context, PIECE_BYTES);
    if (!piece)
        return MITRAL_NO_MEMORY;
    mitral_status status = MITRAL_OK;
    size_t capacity = PIECE_BYTES / (size_t)header->bytes;
    for (int64_t done = 0; done < header->count && status == MITRAL_OK;) {
        int64_t left = header->count - done;
        size_t count = left < (int64_t)capacity ? (size_t)left : capacity;
        status = read_bytes(file, context, path, "voxels", piece, count * (size_t)header->bytes);
        if (status != MITRAL_OK)
            break;
        if (header->swapped)
            swap_piece(piece, count, header->bytes);
        convert(voxels + done, piece, count, header);
        done += (int64_t)count;
        if (mitral_cancelled(context))
            status = mitral_fail(context, MITRAL_CANCELLED, "%s: reading was cancelled", path);
    }
    mitral_release(context, piece);
    return status;
}

/* Extensions are skipped by reading: seeking in a compressed stream would do the same. */
static mitral_status skip_to_voxels(znzFile file, mitral_context *context, const char *path, const struct header *header)
{
    uint8_t bytes[4096];
    int64_t left = header->offset - (int64_t)znztell(file);
    while (left > 0) {
        size_t count = left < (int64_t)sizeof bytes ? (size_t)left : sizeof bytes;
        TRY(read_bytes(file, context, path, "extensions", bytes, count));
        left -= (int64_t)count;
    }
    return MITRAL_OK;
}

/* Refuses, before any memory is asked for, a file too short for what its header declares. */
static mitral_status check_file_size(mitral_context *context, const char *path, const struct header *header, int64_t size,
                                     bool compressed)
{
    int64_t needed = header->offset + header->count * header->bytes;
    int64_t possible = compressed ? (size > INT64_MAX / BEST_DEFLATE_RATIO ? INT64_MAX : size * BEST_DEFLATE_RATIO) : size;
    if (possible < needed)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected %lld bytes as the header declares, found a %sfile of %lld bytes",
                           path, (long long)needed, compressed ? "compressed " : "", (long long)size);
    return MITRAL_OK;
}

struct open_file {
    znzFile stream;
    int64_t size;
    bool compressed;
};

static mitral_status open_file(struct open_file *out, mitral_context *context, const char *path)
{
    struct stat facts;
    if (stat(path, &facts) != 0)
        return mitral_fail(context, MITRAL_IO, "%s: expected a NIfTI file, found: %s", path, strerror(errno));
    /* A pipe could block for ever. */
    if (!S_ISREG(facts.st_mode))
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a NIfTI file, found %s", path,
                           S_ISDIR(facts.st_mode) ? "a folder" : "no regular file");
    errno = 0;
    out->stream = znzopen(path, "rb", 1);
    if (znz_isnull(out->stream))
        return mitral_fail(context, MITRAL_IO, "%s: expected a readable NIfTI file, found: %s", path,
                           errno ? strerror(errno) : "no memory");
    out->size = facts.st_size;
    /* The stream tells plain and compressed apart by content; so must the check of the size. */
    uint8_t magic[2] = {0};
    FILE *plain = fopen(path, "rb");
    out->compressed = plain && fread(magic, 1, 2, plain) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
    if (plain)
        fclose(plain);
    return MITRAL_OK;
}

static mitral_status read_checked_header(struct header *out, const struct open_file *file, mitral_context *context,
                                         const char *path, int64_t max_voxels)
{
    if (max_voxels <= 0)
        max_voxels = MITRAL_MAX_VOXELS;
    if (max_voxels > INT64_MAX / 64)
        max_voxels = INT64_MAX / 64;
    TRY(read_header(out, file->stream, context, path, max_voxels));
    TRY(check_file_size(context, path, out, file->size, file->compressed));
    int64_t limit = context ? context->options.max_tensor_bytes : 0;
    if (limit > 0 && out->count > limit / (int64_t)sizeof(float))
        return mitral_fail(context, MITRAL_LIMIT, "%s: expected at most %lld bytes of voxels " LIMIT_TENSOR_BYTES ", found %lld", path, (long long)limit,
                           (long long)out->count * (int64_t)sizeof(float));
    return MITRAL_OK;
}

/* A compressed stream's checksum is compared where the stream ends. What follows the voxels is read for that, but not for ever. */
static mitral_status check_end(znzFile file, mitral_context *context, const char *path)
{
    uint8_t bytes[4096];
    size_t count = sizeof bytes;
    for (size_t done = 0; done < PIECE_BYTES && count == sizeof bytes; done += count)
        count = znzread(bytes, 1, sizeof bytes, file);
    if (count <= sizeof bytes)
        return MITRAL_OK;
    return mitral_fail(context, MITRAL_INVALID, "%s: expected compressed data that match their checksum, found damage", path);
}

static mitral_status read_open_file(mitral_volume *out, const struct open_file *file, mitral_context *context, const char *path,
                                    int64_t max_voxels)
{
    struct header header;
    TRY(read_checked_header(&header, file, context, path, max_voxels));
    TRY(skip_to_voxels(file->stream, context, path, &header));
    float *voxels = mitral_allocate_raw(context, (size_t)header.count * sizeof(float));
    if (!voxels)
        return MITRAL_NO_MEMORY;
    mitral_status status = read_voxels(voxels, file->stream, context, path, &header);
    if (status == MITRAL_OK)
        status = check_end(file->stream, context, path);
    if (status != MITRAL_OK) {
        mitral_release(context, voxels);
        return status;
    }
    out->geometry = header.geometry;
    out->voxels = voxels;
    return MITRAL_OK;
}

mitral_status mitral_volume_read(mitral_volume *out, mitral_context *context, const char *path, int64_t max_voxels)
{
    *out = (mitral_volume){0};
    struct open_file file;
    TRY(open_file(&file, context, path));
    mitral_status status = read_open_file(out, &file, context, path, max_voxels);
    if (znzclose(file.stream) == Z_BUF_ERROR && status == MITRAL_OK) {
        mitral_volume_free(context, out);
        status = mitral_fail(context, MITRAL_INVALID, "%s: expected compressed data with a checksum at their end, found a file cut short",
                             path);
    }
    return status;
}

mitral_status mitral_geometry_read(mitral_geometry *out, mitral_context *context, const char *path)
{
    *out = (mitral_geometry){0};
    struct open_file file;
    struct header header;
    TRY(open_file(&file, context, path));
    mitral_status status = read_checked_header(&header, &file, context, path, 0);
    znzclose(file.stream);
    if (status == MITRAL_OK)
        *out = header.geometry;
    return status;
}
