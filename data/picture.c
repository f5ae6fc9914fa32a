/* Canvases and PNG. */
#include <math.h>
#include <string.h>

#include <png.h>

#include "data/font.h"
#include "mitral/data.h"
#include "runtime/context.h"
#include "runtime/file.h"

#define MAX_SIDE 32768
#define MAX_PIXELS ((int64_t)1 << 26)

mitral_status mitral_picture_create(mitral_picture *out, mitral_context *context, int64_t width, int64_t height, uint32_t colour)
{
    *out = (mitral_picture){0};
    if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS)
        return mitral_fail(context, MITRAL_LIMIT, "picture: expected sides to %d and %lld pixels, found %lldx%lld", MAX_SIDE,
                           (long long)MAX_PIXELS, (long long)width, (long long)height);
    out->pixels = mitral_allocate_raw(context, (size_t)(width * height) * 3);
    if (!out->pixels)
        return MITRAL_NO_MEMORY;
    out->width = width;
    out->height = height;
    mitral_picture_rectangle(out, 0, 0, width, height, colour);
    return MITRAL_OK;
}

static void set_pixel(mitral_picture *picture, int64_t x, int64_t y, uint32_t colour, double weight)
{
    if (x < 0 || y < 0 || x >= picture->width || y >= picture->height || weight <= 0)
        return;
    uint8_t *pixel = picture->pixels + 3 * (y * picture->width + x);
    for (int i = 0; i < 3; i++) {
        double target = (double)((colour >> (16 - 8 * i)) & 0xff);
        pixel[i] = (uint8_t)(pixel[i] + (target - pixel[i]) * (weight < 1 ? weight : 1) + 0.5);
    }
}

void mitral_picture_rectangle(mitral_picture *picture, int64_t x, int64_t y, int64_t width, int64_t height, uint32_t colour)
{
    int64_t right = x + width < picture->width ? x + width : picture->width;
    int64_t bottom = y + height < picture->height ? y + height : picture->height;
    for (int64_t row = y > 0 ? y : 0; row < bottom; row++)
        for (int64_t column = x > 0 ? x : 0; column < right; column++)
            set_pixel(picture, column, row, colour, 1);
}

void mitral_picture_line(mitral_picture *picture, double x0, double y0, double x1, double y1, double thickness, uint32_t colour)
{
    if (!isfinite(x0) || !isfinite(y0) || !isfinite(x1) || !isfinite(y1) || !(thickness > 0 && thickness < MAX_SIDE))
        return;
    double reach = 0.5 * thickness + 1;
    double left = fmax(floor(fmin(x0, x1) - reach), 0), right = fmin(ceil(fmax(x0, x1) + reach), (double)(picture->width - 1));
    double top = fmax(floor(fmin(y0, y1) - reach), 0), bottom = fmin(ceil(fmax(y0, y1) + reach), (double)(picture->height - 1));
    double dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
    for (double y = top; y <= bottom; y++) {
        for (double x = left; x <= right; x++) {
            double along = length > 0 ? ((x - x0) * dx + (y - y0) * dy) / length : 0;
            along = along < 0 ? 0 : along > 1 ? 1 : along;
            double away = hypot(x - x0 - along * dx, y - y0 - along * dy);
            set_pixel(picture, (int64_t)x, (int64_t)y, colour, 0.5 * thickness + 0.5 - away);
        }
    }
}

void mitral_picture_text(mitral_picture *picture, int64_t x, int64_t y, int scale, uint32_t colour, const char *text)
{
    for (; *text && x < picture->width && scale > 0; text++, x += (FONT_WIDTH + 1) * scale) {
        unsigned char character = (unsigned char)*text;
        if (character < FONT_FIRST || character > FONT_LAST)
            character = '?';
        const uint8_t *rows = font_rows[character - FONT_FIRST];
        for (int row = 0; row < FONT_HEIGHT; row++)
            for (int column = 0; column < FONT_WIDTH; column++)
                if (rows[row] >> (FONT_WIDTH - 1 - column) & 1)
                    mitral_picture_rectangle(picture, x + column * scale, y + row * scale, scale, scale, colour);
    }
}

mitral_status mitral_picture_write(mitral_context *context, const mitral_picture *picture, const char *path)
{
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)picture->width,
                       .height = (png_uint_32)picture->height,
                       .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    void *bytes = mitral_allocate_raw(context, size);
    if (!bytes)
        return MITRAL_NO_MEMORY;
    mitral_status status;
    if (png_image_write_to_memory(&image, bytes, &size, 0, picture->pixels, 0, NULL))
        status = file_write_bytes(context, path, bytes, size);
    else
        status = mitral_fail(context, MITRAL_NO_MEMORY, "%s: expected libpng to write the picture, found: %s", path, image.message);
    png_image_free(&image);
    mitral_release(context, bytes);
    return status;
}

void mitral_picture_free(mitral_context *context, mitral_picture *picture)
{
    if (!picture)
        return;
    mitral_release(context, picture->pixels);
    *picture = (mitral_picture){0};
}
