/* BMP and the portable anymaps, read by hand. */
#include <string.h>

#include "runtime/kernels/reference/image.h"

static uint32_t little(const uint8_t *data, int bytes)
{
    uint32_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | data[i];
    return value;
}

/* ---- BMP ------------------------------------------------------------------------------------------------------------- */

struct bitmap {
    uint32_t bits, compression, colours;
    bool top_down;
    const uint8_t *palette; /* `colours` entries of `entry` bytes: blue, green, red */
    size_t entry;
    uint32_t masks[3];
    const uint8_t *pixels;
    size_t size;
};

/* The bits of a mask, scaled to 0 … 255. */
static uint8_t masked(uint32_t value, uint32_t mask)
{
    if (!mask)
        return 0;
    value &= mask;
    while (!(mask & 1)) {
        mask >>= 1;
        value >>= 1;
    }
    return (uint8_t)(((uint64_t)value * 255 + mask / 2) / mask);
}

static mitral_status read_bitmap(struct image *image, struct bitmap *bitmap)
{
    const uint8_t *data = image->data;
    if (image->size < 26)
        return MITRAL_CORRUPT;
    uint32_t offset = little(data + 10, 4), header = little(data + 14, 4);
    bool old = header == 12;
    if ((!old && header < 40) || header > image->size - 14)
        return MITRAL_CORRUPT;
    int64_t width = old ? (int64_t)little(data + 18, 2) : (int32_t)little(data + 18, 4);
    int64_t height = old ? (int64_t)little(data + 20, 2) : (int32_t)little(data + 22, 4);
    bitmap->bits = little(data + (old ? 24 : 28), 2);
    bitmap->compression = old ? 0 : little(data + 30, 4);
    bitmap->colours = old ? 0 : little(data + 46, 4);
    bitmap->entry = old ? 3 : 4;
    bitmap->top_down = height < 0;
    size_t end = 14 + (size_t)header;
    if (bitmap->bits == 16)
        memcpy(bitmap->masks, (uint32_t[]){0x7c00, 0x3e0, 0x1f}, sizeof(bitmap->masks));
    else
        memcpy(bitmap->masks, (uint32_t[]){0xff0000, 0xff00, 0xff}, sizeof(bitmap->masks));
    if (bitmap->compression == 3 || bitmap->compression == 6) { /* masks follow the 40 bytes, within a longer header or after */
        if (image->size < 66 || (bitmap->bits != 16 && bitmap->bits != 32))
            return MITRAL_CORRUPT;
        for (int i = 0; i < 3; i++)
            bitmap->masks[i] = little(data + 54 + 4 * i, 4);
        if (header == 40)
            end += bitmap->compression == 6 ? 16 : 12;
        bitmap->compression = 0;
    }
    if (bitmap->bits <= 8) {
        if (bitmap->colours == 0 || bitmap->colours > 1u << bitmap->bits)
            bitmap->colours = 1u << bitmap->bits;
        if (end > image->size || (image->size - end) / bitmap->entry < bitmap->colours)
            return MITRAL_CORRUPT;
        bitmap->palette = data + end;
    }
    if (offset >= image->size)
        return MITRAL_CORRUPT;
    bitmap->pixels = data + offset;
    bitmap->size = image->size - offset;
    return image_start(image, width, height < 0 ? -height : height);
}

static uint8_t *bitmap_row(const struct image *image, const struct bitmap *bitmap, int64_t y)
{
    return image->pixels + (bitmap->top_down ? y : image->height - 1 - y) * image->width * 3;
}

static void put_colour(uint8_t *pixel, const struct bitmap *bitmap, uint32_t index)
{
    if (index >= bitmap->colours)
        return;
    const uint8_t *colour = bitmap->palette + index * bitmap->entry;
    pixel[0] = colour[2];
    pixel[1] = colour[1];
    pixel[2] = colour[0];
}

static mitral_status read_rows(struct image *image, const struct bitmap *bitmap)
{
    uint64_t stride = ((uint64_t)image->width * bitmap->bits + 31) / 32 * 4;
    if (bitmap->size / stride < (uint64_t)image->height && /* the last row may lack its padding */
        bitmap->size < stride * (uint64_t)(image->height - 1) + ((uint64_t)image->width * bitmap->bits + 7) / 8)
        return MITRAL_CORRUPT;
    for (int64_t y = 0; y < image->height; y++) {
        const uint8_t *from = bitmap->pixels + (uint64_t)y * stride;
        uint8_t *to = bitmap_row(image, bitmap, y);
        for (int64_t x = 0; x < image->width; x++, to += 3) {
            if (bitmap->bits <= 8) {
                uint64_t bit = (uint64_t)x * bitmap->bits;
                put_colour(to, bitmap, from[bit / 8] >> (8 - bitmap->bits - bit % 8) & ((1u << bitmap->bits) - 1));
            } else if (bitmap->bits == 24) {
                to[0] = from[3 * x + 2];
                to[1] = from[3 * x + 1];
                to[2] = from[3 * x];
            } else {
                uint32_t value = little(from + x * (bitmap->bits / 8), (int)bitmap->bits / 8);
                for (int c = 0; c < 3; c++)
                    to[c] = masked(value, bitmap->masks[c]);
            }
        }
    }
    return MITRAL_OK;
}

/* Runs of 8- or 4-bit colours. */
static mitral_status read_runs(struct image *image, const struct bitmap *bitmap)
{
    const uint8_t *at = bitmap->pixels, *end = at + bitmap->size;
    int64_t x = 0, y = 0;
    bool nibbles = bitmap->bits == 4;
    while (end - at >= 2) {
        uint8_t count = at[0], value = at[1];
        at += 2;
        if (count == 0 && value == 1)
            return MITRAL_OK;
        if (count == 0 && value == 0) {
            x = 0;
            y++;
        } else if (count == 0 && value == 2) {
            if (end - at < 2)
                return MITRAL_CORRUPT;
            x += at[0];
            y += at[1];
            at += 2;
        } else {
            bool literal = count == 0;
            int64_t length = literal ? value : count, bytes = nibbles ? (length + 1) / 2 : length;
            if (literal && end - at < bytes)
                return MITRAL_CORRUPT;
            for (int64_t i = 0; i < length; i++, x++) {
                uint8_t byte = literal ? at[nibbles ? i / 2 : i] : value;
                uint8_t index = !nibbles ? byte : i % 2 ? byte & 15 : byte >> 4;
                if (x < image->width && y < image->height)
                    put_colour(bitmap_row(image, bitmap, y) + 3 * x, bitmap, index);
            }
            if (literal)
                at += bytes + (bytes & 1) > end - at ? end - at : bytes + (bytes & 1);
        }
    }
    return MITRAL_CORRUPT;
}

mitral_status decode_bmp(struct image *image)
{
    struct bitmap bitmap = {0};
    TRY(read_bitmap(image, &bitmap));
    if ((bitmap.compression == 1 && bitmap.bits == 8) || (bitmap.compression == 2 && bitmap.bits == 4))
        return read_runs(image, &bitmap);
    bool depth = bitmap.bits == 1 || bitmap.bits == 4 || bitmap.bits == 8 || bitmap.bits == 16 || bitmap.bits == 24 || bitmap.bits == 32;
    return bitmap.compression == 0 && depth ? read_rows(image, &bitmap) : MITRAL_CORRUPT;
}

/* ---- PBM, PGM, PPM ---------------------------------------------------------------------------------------------------- */

struct anymap {
    const uint8_t *at, *end;
};

/* A decimal number after white space and comments; -1 when there is none. */
static int64_t read_number(struct anymap *map, bool single_digit)
{
    while (map->at < map->end && (*map->at == '#' || *map->at == ' ' || (*map->at >= '\t' && *map->at <= '\r'))) {
        if (*map->at == '#')
            while (map->at < map->end && *map->at != '\n')
                map->at++;
        else
            map->at++;
    }
    int64_t value = -1;
    while (map->at < map->end && *map->at >= '0' && *map->at <= '9') {
        value = (value < 0 ? 0 : value) * 10 + (*map->at++ - '0');
        if (single_digit || value > INT32_MAX)
            break;
    }
    return value;
}

/* One sample, scaled to 0 … 255; -1 when the stream ends. */
static int read_sample(struct anymap *map, bool plain, int64_t largest)
{
    int64_t value;
    if (plain) {
        value = read_number(map, false);
        if (value < 0)
            return -1;
    } else {
        int bytes = largest > 255 ? 2 : 1;
        if (map->end - map->at < bytes)
            return -1;
        value = bytes == 2 ? map->at[0] << 8 | map->at[1] : map->at[0];
        map->at += bytes;
    }
    value = value > largest ? largest : value;
    return (int)(largest == 255 ? value : (value * 255 + largest / 2) / largest);
}

static mitral_status read_bits(struct image *image, struct anymap *map, bool plain)
{
    int64_t stride = (image->width + 7) / 8;
    if (!plain && (map->end - map->at) / stride < image->height)
        return MITRAL_CORRUPT;
    for (int64_t i = 0; i < image->width * image->height; i++) {
        int64_t x = i % image->width, black;
        if (plain)
            black = read_number(map, true);
        else
            black = map->at[i / image->width * stride + x / 8] >> (7 - x % 8) & 1;
        if (black < 0)
            return MITRAL_CORRUPT;
        memset(image->pixels + 3 * i, black ? 0 : 255, 3);
    }
    return MITRAL_OK;
}

mitral_status decode_pnm(struct image *image)
{
    int kind = image->data[1] - '0';
    bool plain = kind <= 3, colour = kind == 3 || kind == 6, bits = kind == 1 || kind == 4;
    struct anymap map = {image->data + 2, image->data + image->size};
    int64_t width = read_number(&map, false), height = read_number(&map, false);
    int64_t largest = bits ? 1 : read_number(&map, false);
    if (width < 1 || height < 1 || largest < 1 || largest > 65535)
        return MITRAL_CORRUPT;
    if (!plain) { /* one white space, then the samples */
        if (map.at == map.end)
            return MITRAL_CORRUPT;
        map.at++;
    }
    TRY(image_start(image, width, height));
    if (bits)
        return read_bits(image, &map, plain);
    for (int64_t i = 0; i < width * height; i++)
        for (int c = 0; c < 3; c++) {
            int value = c == 0 || colour ? read_sample(&map, plain, largest) : image->pixels[3 * i];
            if (value < 0)
                return MITRAL_CORRUPT;
            image->pixels[3 * i + c] = (uint8_t)value;
        }
    return MITRAL_OK;
}
