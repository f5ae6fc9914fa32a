/* ImageDecoder: finds the format by its first bytes, decodes to RGB, and orders the channels. */
#include "runtime/kernels/reference/image.h"

#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

mitral_status image_start(struct image *image, int64_t width, int64_t height)
{
    if (width <= 0 || height <= 0)
        return MITRAL_CORRUPT;
    const mitral_context_options *options = &image->call->context->options;
    int64_t pixels;
    if (__builtin_mul_overflow(width, height, &pixels) || pixels > options->max_image_pixels)
        return call_fail(image->call, MITRAL_LIMIT, "an image of at most %lld pixels " LIMIT_IMAGE_PIXELS " expected, found %lldx%lld",
                         (long long)options->max_image_pixels, (long long)width, (long long)height);
    if (pixels > options->max_tensor_bytes / 3)
        return call_fail(image->call, MITRAL_LIMIT, "an image of at most %lld bytes " LIMIT_TENSOR_BYTES " expected, found %lldx%lldx3",
                         (long long)options->max_tensor_bytes, (long long)height, (long long)width);
    image->width = width;
    image->height = height;
    image->pixels = mitral_allocate(image->call->context, (size_t)pixels * 3);
    return image->pixels ? MITRAL_OK : MITRAL_NO_MEMORY;
}

static bool begins_with(const struct image *image, size_t at, const char *magic, size_t size)
{
    return image->size >= at + size && memcmp(image->data + at, magic, size) == 0;
}

static mitral_status decode(struct image *image)
{
    if (begins_with(image, 0, "\x89PNG\r\n\x1a\n", 8))
        return decode_png(image);
    if (begins_with(image, 0, "\xff\xd8\xff", 3))
        return decode_jpeg(image);
    if (begins_with(image, 0, "II*\0", 4) || begins_with(image, 0, "MM\0*", 4))
        return decode_tiff(image);
    if (begins_with(image, 0, "RIFF", 4) && begins_with(image, 8, "WEBP", 4))
        return decode_webp(image);
    if (begins_with(image, 0, "\0\0\0\x0cjP  ", 8) || begins_with(image, 0, "\xff\x4f\xff\x51", 4))
        return decode_jpeg2000(image);
    if (begins_with(image, 0, "BM", 2))
        return decode_bmp(image);
    if (image->size > 2 && image->data[0] == 'P' && image->data[1] >= '1' && image->data[1] <= '6')
        return decode_pnm(image);
    return MITRAL_CORRUPT;
}

enum pixel_format { PIXEL_RGB, PIXEL_BGR, PIXEL_GRAY };

static mitral_status store(struct kernel_call *call, const struct image *image, enum pixel_format format)
{
    int64_t channels = format == PIXEL_GRAY ? 1 : 3, count = image->width * image->height;
    TRY(call_allocate(call, 0, MITRAL_UINT8, 3, (int64_t[]){image->height, image->width, channels}));
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    const uint8_t *from = image->pixels;
    uint8_t *to = output->data;
    if (format == PIXEL_RGB)
        memcpy(to, from, (size_t)count * 3);
    else if (format == PIXEL_BGR)
        for (int64_t i = 0; i < count; i++) {
            to[3 * i] = from[3 * i + 2];
            to[3 * i + 1] = from[3 * i + 1];
            to[3 * i + 2] = from[3 * i];
        }
    else /* ITU-R 601 luma in 16-bit fixed point: the three weights sum to 65536 */
        for (int64_t i = 0; i < count; i++)
            to[i] = (uint8_t)((19595u * from[3 * i] + 38470u * from[3 * i + 1] + 7471u * from[3 * i + 2] + 32768u) >> 16);
    return MITRAL_OK;
}

static mitral_status shape_image_decoder(struct kernel_call *call)
{
    return defer_output(call, 0, MITRAL_UINT8);
}

static mitral_status run_image_decoder(struct kernel_call *call)
{
    const mitral_tensor *stream;
    TRY(need_rank(call, 0, 1, &stream));
    const char *name = attribute_string(call->attributes, "pixel_format", "RGB");
    enum pixel_format format = strcmp(name, "BGR") == 0 ? PIXEL_BGR : strcmp(name, "Grayscale") == 0 ? PIXEL_GRAY : PIXEL_RGB;
    if (format == PIXEL_RGB && strcmp(name, "RGB") != 0)
        return call_fail(call, MITRAL_INVALID, "pixel_format RGB, BGR or Grayscale expected, found %s", name);
    if (stream->dtype != MITRAL_UINT8)
        return call_fail(call, MITRAL_INVALID, "a stream of uint8 expected, found %s", mitral_dtype_name((mitral_dtype)stream->dtype));
    struct image image = {.call = call, .data = stream->data, .size = (size_t)tensor_count(stream)};
    mitral_status status = decode(&image);
    if (status == MITRAL_OK)
        status = store(call, &image, format);
    else if (status == MITRAL_CORRUPT) /* as the operator is defined */
        status = call_allocate(call, 0, MITRAL_UINT8, 3, (int64_t[]){0, 0, format == PIXEL_GRAY ? 1 : 3});
    mitral_release(call->context, image.pixels);
    return status;
}

const struct kernel reference_image[] = {
    {.name = "ImageDecoder", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_image_decoder, .run = run_image_decoder},
};
const size_t reference_image_count = sizeof(reference_image) / sizeof(reference_image[0]);
