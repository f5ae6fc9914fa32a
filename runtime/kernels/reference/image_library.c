/* PNG, JPEG, TIFF, WebP and JPEG 2000 through their libraries. Each is told to keep its messages to itself. */
#include <stdio.h>

#include <jpeglib.h>

#include <jerror.h>
#include <openjpeg.h>
#include <png.h>
#include <setjmp.h>
#include <string.h>
#include <tiffio.h>
#include <webp/decode.h>

#include "runtime/kernels/reference/image.h"

/* ---- PNG ------------------------------------------------------------------------------------------------------------- */

struct png_source {
    const uint8_t *at;
    size_t left;
};

static void png_take(png_structp png, png_bytep out, size_t size)
{
    struct png_source *source = png_get_io_ptr(png);
    if (size > source->left)
        png_error(png, "the stream ends early");
    memcpy(out, source->at, size);
    source->at += size;
    source->left -= size;
}

static void png_fail(png_structp png, png_const_charp text)
{
    (void)text;
    png_longjmp(png, 1);
}

static void png_ignore(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

/* The setjmp frame: what is used after a jump lives in the caller's structures. */
static mitral_status read_png(struct image *image, png_structp png, png_infop info, png_bytepp *rows)
{
    if (setjmp(png_jmpbuf(png)))
        return MITRAL_CORRUPT;
    png_set_user_limits(png, 0x7fffffff, 0x7fffffff); /* image_start checks */
    png_set_chunk_malloc_max(png, 8 * 1024 * 1024);
    png_read_info(png, info);
    TRY(image_start(image, png_get_image_width(png, info), png_get_image_height(png, info)));
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    if (png_get_rowbytes(png, info) != (size_t)image->width * 3)
        return MITRAL_CORRUPT;
    *rows = mitral_allocate_raw(image->call->context, (size_t)image->height * sizeof(**rows));
    if (!*rows)
        return MITRAL_NO_MEMORY;
    for (int64_t y = 0; y < image->height; y++)
        (*rows)[y] = image->pixels + y * image->width * 3;
    png_read_image(png, *rows);
    return MITRAL_OK;
}

mitral_status decode_png(struct image *image)
{
    struct png_source source = {image->data, image->size};
    png_bytepp rows = NULL;
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, png_fail, png_ignore);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    mitral_status status = MITRAL_NO_MEMORY;
    if (info) {
        png_set_read_fn(png, &source, png_take);
        status = read_png(image, png, info, &rows);
    } else {
        status = call_fail(image->call, MITRAL_NO_MEMORY, "out of memory while decoding");
    }
    mitral_release(image->call->context, rows);
    png_destroy_read_struct(&png, &info, NULL);
    return status;
}

/* ---- JPEG ------------------------------------------------------------------------------------------------------------ */

enum { JPEG_MAX_SCANS = 500 }; /* a progressive stream of more is an attack on the clock */

struct jpeg_state {
    struct jpeg_error_mgr errors; /* first: the library hands this address back */
    struct jpeg_progress_mgr progress;
    jmp_buf out;
    bool short_stream;
};

static void jpeg_fail(j_common_ptr jpeg)
{
    longjmp(((struct jpeg_state *)(void *)jpeg->err)->out, 1);
}

static void jpeg_message(j_common_ptr jpeg, int level)
{
    if (level < 0 && jpeg->err->msg_code == JWRN_JPEG_EOF)
        ((struct jpeg_state *)(void *)jpeg->err)->short_stream = true;
}

static void jpeg_progress(j_common_ptr jpeg)
{
    if (jpeg->is_decompressor && ((j_decompress_ptr)jpeg)->input_scan_number > JPEG_MAX_SCANS)
        jpeg_fail(jpeg);
}

static void cmyk_row(uint8_t *to, const uint8_t *from, int64_t width, bool inverted)
{
    for (int64_t x = 0; x < width; x++, from += 4)
        for (int c = 0; c < 3; c++) {
            unsigned ink = inverted ? from[c] : 255u - from[c], black = inverted ? from[3] : 255u - from[3];
            *to++ = (uint8_t)((ink * black + 127) / 255);
        }
}

static mitral_status read_jpeg(struct image *image, struct jpeg_decompress_struct *jpeg, struct jpeg_state *state, uint8_t **row)
{
    if (setjmp(state->out))
        return MITRAL_CORRUPT;
    jpeg_create_decompress(jpeg);
    state->progress.progress_monitor = jpeg_progress;
    jpeg->progress = &state->progress;
    jpeg_mem_src(jpeg, image->data, (unsigned long)image->size);
    jpeg_read_header(jpeg, TRUE);
    TRY(image_start(image, jpeg->image_width, jpeg->image_height));
    bool cmyk = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(jpeg);
    if ((int64_t)jpeg->output_width != image->width || (int64_t)jpeg->output_height != image->height)
        return MITRAL_CORRUPT;
    if (cmyk && !(*row = mitral_allocate_raw(image->call->context, (size_t)image->width * 4)))
        return MITRAL_NO_MEMORY;
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *target = image->pixels + (int64_t)jpeg->output_scanline * image->width * 3, *read = cmyk ? *row : target;
        if (jpeg_read_scanlines(jpeg, &read, 1) != 1)
            return MITRAL_CORRUPT;
        if (cmyk)
            cmyk_row(target, *row, image->width, jpeg->saw_Adobe_marker != 0);
    }
    return state->short_stream ? MITRAL_CORRUPT : MITRAL_OK;
}

mitral_status decode_jpeg(struct image *image)
{
    struct jpeg_decompress_struct jpeg = {0};
    struct jpeg_state state = {0};
    uint8_t *row = NULL;
    jpeg.err = jpeg_std_error(&state.errors);
    state.errors.error_exit = jpeg_fail;
    state.errors.emit_message = jpeg_message;
    mitral_status status = read_jpeg(image, &jpeg, &state, &row);
    jpeg_destroy_decompress(&jpeg);
    mitral_release(image->call->context, row);
    return status;
}

/* ---- TIFF ------------------------------------------------------------------------------------------------------------ */

struct tiff_source {
    const uint8_t *data;
    uint64_t size, at;
};

static tmsize_t tiff_read(thandle_t handle, void *out, tmsize_t size)
{
    struct tiff_source *source = handle;
    uint64_t left = source->at < source->size ? source->size - source->at : 0;
    size_t taken = (uint64_t)size < left ? (size_t)size : (size_t)left;
    if (size <= 0)
        return 0;
    if (taken)
        memcpy(out, source->data + source->at, taken);
    source->at += taken;
    return (tmsize_t)taken;
}

static tmsize_t tiff_write(thandle_t handle, void *data, tmsize_t size)
{
    (void)handle;
    (void)data;
    (void)size;
    return 0;
}

static toff_t tiff_seek(thandle_t handle, toff_t offset, int whence)
{
    struct tiff_source *source = handle;
    source->at = whence == SEEK_SET ? offset : whence == SEEK_CUR ? source->at + offset : source->size + offset;
    return source->at;
}

static int tiff_close(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t tiff_size(thandle_t handle)
{
    return ((struct tiff_source *)handle)->size;
}

static int tiff_message(TIFF *tiff, void *user, const char *module, const char *format, va_list arguments)
{
    (void)tiff;
    (void)user;
    (void)module;
    (void)format;
    (void)arguments;
    return 1; /* the library's own handlers stay silent */
}

static mitral_status read_tiff(struct image *image, TIFF *tiff, uint32_t **raster)
{
    uint32_t width = 0, height = 0;
    if (!TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width) || !TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height))
        return MITRAL_CORRUPT;
    TRY(image_start(image, width, height));
    *raster = mitral_allocate(image->call->context, (size_t)width * height * sizeof(**raster));
    if (!*raster)
        return MITRAL_NO_MEMORY;
    if (!TIFFReadRGBAImageOriented(tiff, width, height, *raster, ORIENTATION_TOPLEFT, 1))
        return MITRAL_CORRUPT;
    for (size_t i = 0; i < (size_t)width * height; i++) {
        image->pixels[3 * i] = (uint8_t)TIFFGetR((*raster)[i]);
        image->pixels[3 * i + 1] = (uint8_t)TIFFGetG((*raster)[i]);
        image->pixels[3 * i + 2] = (uint8_t)TIFFGetB((*raster)[i]);
    }
    return MITRAL_OK;
}

mitral_status decode_tiff(struct image *image)
{
    struct tiff_source source = {image->data, image->size, 0};
    uint32_t *raster = NULL;
    mitral_status status = MITRAL_CORRUPT;
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options)
        return call_fail(image->call, MITRAL_NO_MEMORY, "out of memory while decoding");
    const int64_t pixels = image->call->context->options.max_image_pixels;
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)(pixels > INT64_MAX / 4 ? INT64_MAX : pixels * 4));
    TIFFOpenOptionsSetErrorHandlerExtR(options, tiff_message, NULL);
    TIFFOpenOptionsSetWarningHandlerExtR(options, tiff_message, NULL);
    TIFF *tiff = TIFFClientOpenExt("stream", "rm", &source, tiff_read, tiff_write, tiff_seek, tiff_close, tiff_size, NULL, NULL, options);
    if (tiff) {
        status = read_tiff(image, tiff, &raster);
        TIFFClose(tiff);
    }
    TIFFOpenOptionsFree(options);
    mitral_release(image->call->context, raster);
    return status;
}

/* ---- WebP ------------------------------------------------------------------------------------------------------------ */

mitral_status decode_webp(struct image *image)
{
    int width, height;
    if (!WebPGetInfo(image->data, image->size, &width, &height))
        return MITRAL_CORRUPT;
    TRY(image_start(image, width, height));
    size_t bytes = (size_t)image->width * (size_t)image->height * 3;
    return WebPDecodeRGBInto(image->data, image->size, image->pixels, bytes, width * 3) ? MITRAL_OK : MITRAL_CORRUPT;
}

/* ---- JPEG 2000 --------------------------------------------------------------------------------------------------------- */

struct j2k_source {
    const uint8_t *data;
    size_t size, at;
};

static OPJ_SIZE_T j2k_read(void *out, OPJ_SIZE_T size, void *user)
{
    struct j2k_source *source = user;
    size_t left = source->size - source->at, taken = size < left ? size : left;
    if (taken == 0)
        return (OPJ_SIZE_T)-1;
    memcpy(out, source->data + source->at, taken);
    source->at += taken;
    return taken;
}

static OPJ_OFF_T j2k_skip(OPJ_OFF_T count, void *user)
{
    struct j2k_source *source = user;
    if (count < 0)
        return -1;
    size_t left = source->size - source->at, taken = (uint64_t)count < left ? (size_t)count : left;
    source->at += taken;
    return taken ? (OPJ_OFF_T)taken : -1;
}

static OPJ_BOOL j2k_seek(OPJ_OFF_T offset, void *user)
{
    struct j2k_source *source = user;
    if (offset < 0 || (uint64_t)offset > source->size)
        return OPJ_FALSE;
    source->at = (size_t)offset;
    return OPJ_TRUE;
}

/* A component's sample at a pixel of the image, as 0 … 255. */
static int j2k_sample(const opj_image_t *decoded, OPJ_UINT32 component, int64_t x, int64_t y)
{
    const opj_image_comp_t *comp = &decoded->comps[component];
    int64_t cx = x / comp->dx, cy = y / comp->dy;
    cx = cx < (int64_t)comp->w ? cx : (int64_t)comp->w - 1;
    cy = cy < (int64_t)comp->h ? cy : (int64_t)comp->h - 1;
    int64_t value = comp->data[cy * comp->w + cx], largest = ((int64_t)1 << comp->prec) - 1;
    if (comp->sgnd)
        value += (int64_t)1 << (comp->prec - 1);
    value = value < 0 ? 0 : value > largest ? largest : value;
    return (int)(comp->prec == 8 ? value : (value * 255 + largest / 2) / largest);
}

static uint8_t to_byte(double value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value + 0.5);
}

static mitral_status store_j2k(struct image *image, const opj_image_t *decoded)
{
    for (OPJ_UINT32 c = 0; c < decoded->numcomps; c++)
        if (!decoded->comps[c].data || !decoded->comps[c].w || !decoded->comps[c].h || !decoded->comps[c].dx ||
            !decoded->comps[c].dy || decoded->comps[c].prec < 1 || decoded->comps[c].prec > 31)
            return MITRAL_CORRUPT;
    bool colour = decoded->numcomps >= 3, ycc = colour && decoded->color_space == OPJ_CLRSPC_SYCC;
    uint8_t *to = image->pixels;
    for (int64_t y = 0; y < image->height; y++)
        for (int64_t x = 0; x < image->width; x++, to += 3) {
            int a = j2k_sample(decoded, 0, x, y);
            int b = colour ? j2k_sample(decoded, 1, x, y) : a, c = colour ? j2k_sample(decoded, 2, x, y) : a;
            to[0] = ycc ? to_byte(a + 1.402 * (c - 128)) : (uint8_t)a;
            to[1] = ycc ? to_byte(a - 0.344136 * (b - 128) - 0.714136 * (c - 128)) : (uint8_t)b;
            to[2] = ycc ? to_byte(a + 1.772 * (b - 128)) : (uint8_t)c;
        }
    return MITRAL_OK;
}

mitral_status decode_jpeg2000(struct image *image)
{
    struct j2k_source source = {image->data, image->size, 0};
    bool raw = image->data[0] == 0xff; /* a codestream without its container */
    opj_dparameters_t parameters;
    opj_image_t *decoded = NULL;
    mitral_status status = MITRAL_CORRUPT;
    opj_set_default_decoder_parameters(&parameters);
    opj_codec_t *codec = opj_create_decompress(raw ? OPJ_CODEC_J2K : OPJ_CODEC_JP2);
    opj_stream_t *stream = opj_stream_default_create(OPJ_TRUE);
    if (!codec || !stream) {
        status = call_fail(image->call, MITRAL_NO_MEMORY, "out of memory while decoding");
    } else {
        opj_stream_set_user_data(stream, &source, NULL);
        opj_stream_set_user_data_length(stream, source.size);
        opj_stream_set_read_function(stream, j2k_read);
        opj_stream_set_skip_function(stream, j2k_skip);
        opj_stream_set_seek_function(stream, j2k_seek);
        if (opj_setup_decoder(codec, &parameters) && opj_read_header(stream, codec, &decoded) && decoded->numcomps >= 1 &&
            decoded->numcomps <= 4 && decoded->x1 > decoded->x0 && decoded->y1 > decoded->y0) {
            status = image_start(image, (int64_t)decoded->x1 - decoded->x0, (int64_t)decoded->y1 - decoded->y0);
            if (status == MITRAL_OK)
                status = opj_decode(codec, stream, decoded) && opj_end_decompress(codec, stream) ? store_j2k(image, decoded)
                                                                                                 : MITRAL_CORRUPT;
        }
    }
    opj_image_destroy(decoded);
    opj_stream_destroy(stream);
    opj_destroy_codec(codec);
    return status;
}
