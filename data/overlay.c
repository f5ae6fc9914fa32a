/* Slices with contours of label maps. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mitral/data.h"
#include "runtime/context.h"

#define MAX_TILES 64
#define GAP 2
#define TEXT_SCALE 2
#define LINE_HEIGHT (12 * TEXT_SCALE)

/* Blue, yellow and vermilion stay apart for eyes that confuse red with green; the rest for networks with more classes. */
static const uint32_t colours[] = {0x000000, 0x4fb3ff, 0xf2e24b, 0xff5f3a, 0x3fd39b, 0xd98cff, 0xff9ec4, 0x9be15d};
static const char *const acdc_names[] = {"background", "RV", "myocardium", "LV"};

static uint32_t colour_of(int label)
{
    return label < 8 ? colours[label] : colours[1 + label % 7];
}

/* Where a tile lies in the slice: `scale` native pixels a picture pixel. */
struct view {
    double left, top, scale_x, scale_y;
    int64_t width, height; /* of the tile */
    float dark, bright;    /* intensities of black and white */
};

/* The 1st and 99.5th percentiles, from a histogram. */
static void find_window(struct view *view, const float *voxels, int64_t count)
{
    enum { BINS = 4096 };
    float least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(voxels[i]))
            continue;
        least = fminf(least, voxels[i]);
        most = fmaxf(most, voxels[i]);
    }
    view->dark = least;
    view->bright = most;
    if (!(most > least) || !isfinite(most - least))
        return;
    int64_t bins[BINS] = {0}, total = 0, seen = 0;
    float scale = (BINS - 1) / (most - least);
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(voxels[i]))
            continue;
        bins[(int)((voxels[i] - least) * scale)]++;
        total++;
    }
    bool found_dark = false;
    for (int i = 0; i < BINS; i++) {
        seen += bins[i];
        if (!found_dark && (double)seen >= 0.01 * (double)total) {
            view->dark = least + (float)i / scale;
            found_dark = true;
        }
        if ((double)seen >= 0.995 * (double)total) {
            view->bright = least + (float)(i + 1) / scale;
            break;
        }
    }
}

/* Everything that is labelled, with a margin; the whole slice when nothing is. */
static void find_crop(double box[4], const mitral_geometry *geometry, const uint8_t *const maps[2])
{
    int64_t width = geometry->size[0], height = geometry->size[1];
    int64_t left = width, right = -1, top = height, bottom = -1;
    for (int m = 0; m < 2; m++) {
        for (int64_t i = 0; maps[m] && i < mitral_geometry_frame_voxels(geometry); i++) {
            if (!maps[m][i])
                continue;
            int64_t x = i % width, y = i / width % height;
            left = x < left ? x : left;
            right = x > right ? x : right;
            top = y < top ? y : top;
            bottom = y > bottom ? y : bottom;
        }
    }
    if (right < 0) {
        left = top = 0;
        right = width - 1;
        bottom = height - 1;
    }
    double margin = 0.18 * (double)((right - left > bottom - top ? right - left : bottom - top) + 1);
    box[0] = fmax((double)left - margin, 0);
    box[1] = fmax((double)top - margin, 0);
    box[2] = fmin((double)right + margin, (double)width - 1);
    box[3] = fmin((double)bottom + margin, (double)height - 1);
}

static void make_view(struct view *view, const mitral_geometry *geometry, const double box[4], int64_t tile)
{
    double step_x = geometry->spacing[0] > 0 ? geometry->spacing[0] : 1,
           step_y = geometry->spacing[1] > 0 ? geometry->spacing[1] : 1;
    double width = (box[2] - box[0] + 1) * step_x, height = (box[3] - box[1] + 1) * step_y;
    double scale = (double)tile / fmax(width, height);
    view->width = (int64_t)fmax(1, round(width * scale));
    view->height = (int64_t)fmax(1, round(height * scale));
    view->left = box[0] - 0.5;
    view->top = box[1] - 0.5;
    view->scale_x = (box[2] - box[0] + 1) / (double)view->width;
    view->scale_y = (box[3] - box[1] + 1) / (double)view->height;
}

struct place {
    int64_t left, right, top, bottom;
    float u, v;
};

static void locate(int64_t *low, int64_t *high, float *fraction, double position, int64_t size)
{
    position = fmin(fmax(position, 0), (double)(size - 1));
    *low = (int64_t)position;
    *high = *low + 1 < size ? *low + 1 : *low;
    *fraction = (float)(position - (double)*low);
}

static struct place place_of(const struct view *view, const mitral_geometry *geometry, int64_t x, int64_t y)
{
    struct place place;
    locate(&place.left, &place.right, &place.u, view->left + ((double)x + 0.5) * view->scale_x, geometry->size[0]);
    locate(&place.top, &place.bottom, &place.v, view->top + ((double)y + 0.5) * view->scale_y, geometry->size[1]);
    return place;
}

/* The label that most of the four neighbours' weight is for: contours come out smooth, not as staircases. */
static uint8_t label_at(const uint8_t *labels, int64_t width, const struct place *p)
{
    const uint8_t around[4] = {labels[p->top * width + p->left], labels[p->top * width + p->right],
                               labels[p->bottom * width + p->left], labels[p->bottom * width + p->right]};
    const float weights[4] = {(1 - p->u) * (1 - p->v), p->u * (1 - p->v), (1 - p->u) * p->v, p->u * p->v};
    uint8_t best = around[0];
    float most = -1;
    for (int i = 0; i < 4; i++) {
        float sum = 0;
        for (int j = 0; j < 4; j++)
            sum += around[j] == around[i] ? weights[j] : 0;
        if (sum > most) {
            most = sum;
            best = around[i];
        }
    }
    return best;
}

static void put(mitral_picture *picture, int64_t x, int64_t y, uint32_t colour, float weight)
{
    uint8_t *pixel = picture->pixels + 3 * (y * picture->width + x);
    for (int i = 0; i < 3; i++)
        pixel[i] = (uint8_t)((float)pixel[i] * (1 - weight) + (float)((colour >> (16 - 8 * i)) & 0xff) * weight + 0.5f);
}

static void draw_image(mitral_picture *picture, int64_t x0, int64_t y0, const struct view *view, const mitral_geometry *geometry,
                       const float *slice)
{
    int64_t width = geometry->size[0];
    float range = view->bright > view->dark ? view->bright - view->dark : 1;
    for (int64_t y = 0; y < view->height; y++) {
        for (int64_t x = 0; x < view->width; x++) {
            struct place p = place_of(view, geometry, x, y);
            float above = slice[p.top * width + p.left] * (1 - p.u) + slice[p.top * width + p.right] * p.u;
            float below = slice[p.bottom * width + p.left] * (1 - p.u) + slice[p.bottom * width + p.right] * p.u;
            float value = (above * (1 - p.v) + below * p.v - view->dark) / range;
            value = value > 0 ? value < 1 ? value : 1 : 0; /* NaN is black */
            uint32_t grey = (uint32_t)(255 * value + 0.5f);
            put(picture, x0 + x, y0 + y, grey << 16 | grey << 8 | grey, 1);
        }
    }
}

/* A structure's contour is drawn inside of it, two pixels thick. */
static void draw_labels(mitral_picture *picture, int64_t x0, int64_t y0, const struct view *view, const mitral_geometry *geometry,
                        const uint8_t *slice, uint8_t *map, bool fill, bool dashed)
{
    int64_t width = view->width, height = view->height;
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            struct place p = place_of(view, geometry, x, y);
            map[y * width + x] = label_at(slice, geometry->size[0], &p);
        }
    }
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            uint8_t label = map[y * width + x];
            if (!label)
                continue;
            bool edge = false;
            for (int64_t dy = -1; dy <= 1; dy++)
                for (int64_t dx = -1; dx <= 1; dx++)
                    edge |=
                        y + dy >= 0 && y + dy < height && x + dx >= 0 && x + dx < width && map[(y + dy) * width + x + dx] != label;
            if (edge && (!dashed || ((x + y) / 5) % 2 == 0))
                put(picture, x0 + x, y0 + y, dashed ? 0xffffff : colour_of(label), dashed ? 0.8f : 1.0f);
            else if (fill && !dashed)
                put(picture, x0 + x, y0 + y, colour_of(label), 0.28f);
        }
    }
}

static int64_t text_width(const char *text)
{
    return (int64_t)strlen(text) * 6 * TEXT_SCALE;
}

struct mosaic {
    struct view view;
    const mitral_overlay_options *options;
    int64_t first, count, tiles, columns, rows;
};

static const char *name_of(const mitral_overlay_options *options, int label)
{
    return options->names ? options->names[label] : label < 4 ? acdc_names[label] : "?";
}

static void draw_legend(mitral_picture *picture, const mitral_overlay_options *options, int32_t classes, int64_t y)
{
    int64_t x = 6 * TEXT_SCALE;
    for (int32_t c = 1; c < classes; c++) {
        const char *name = name_of(options, c);
        mitral_picture_rectangle(picture, x, y, 7 * TEXT_SCALE, 7 * TEXT_SCALE, colour_of(c));
        mitral_picture_text(picture, x + 10 * TEXT_SCALE, y, TEXT_SCALE, 0xffffff, name);
        x += 10 * TEXT_SCALE + text_width(name) + 12 * TEXT_SCALE;
    }
    if (options->reference)
        mitral_picture_text(picture, x, y, TEXT_SCALE, 0xcccccc, "white dashes: reference");
}

static int64_t legend_width(const mitral_overlay_options *options, int32_t classes)
{
    int64_t width = 12 * TEXT_SCALE;
    for (int32_t c = 1; c < classes; c++)
        width += 22 * TEXT_SCALE + text_width(name_of(options, c));
    if (options->reference)
        width += text_width("white dashes: reference");
    if (options->title && text_width(options->title) + 12 * TEXT_SCALE > width)
        width = text_width(options->title) + 12 * TEXT_SCALE;
    return width;
}

static void draw_mosaic(mitral_picture *picture, const struct mosaic *mosaic, const mitral_volume *volume, int64_t frame,
                        const uint8_t *labels, uint8_t *map)
{
    const mitral_geometry *geometry = &volume->geometry;
    const mitral_overlay_options *options = mosaic->options;
    int64_t plane = geometry->size[0] * geometry->size[1], top = options->title ? LINE_HEIGHT : 0;
    if (options->title)
        mitral_picture_text(picture, 6 * TEXT_SCALE, 3 * TEXT_SCALE, TEXT_SCALE, 0xffffff, options->title);
    for (int64_t i = 0; i < mosaic->tiles; i++) {
        int64_t z = mosaic->first + (mosaic->tiles == mosaic->count ? i : i * (mosaic->count - 1) / (mosaic->tiles - 1));
        int64_t x0 = i % mosaic->columns * (mosaic->view.width + GAP), y0 = top + i / mosaic->columns * (mosaic->view.height + GAP);
        draw_image(picture, x0, y0, &mosaic->view, geometry, volume->voxels + (frame * geometry->size[2] + z) * plane);
        if (labels)
            draw_labels(picture, x0, y0, &mosaic->view, geometry, labels + z * plane, map, options->fill, false);
        if (options->reference)
            draw_labels(picture, x0, y0, &mosaic->view, geometry, options->reference + z * plane, map, false, true);
        char number[32];
        snprintf(number, sizeof number, "%lld", (long long)z + 1);
        for (int64_t i = 0; i < 9; i++) /* an edge, so that it is read on bright tissue too */
            mitral_picture_text(picture, x0 + 3 + i % 3, y0 + 3 + i / 3, 1, 0x101014, number);
        mitral_picture_text(picture, x0 + 4, y0 + 4, 1, 0xffffff, number);
    }
}

static mitral_status check(mitral_context *context, const mitral_volume *volume, int64_t frame,
                           const mitral_overlay_options *options, int32_t classes)
{
    const int64_t *size = volume->geometry.size;
    if (frame < 0 || frame >= size[3])
        return mitral_fail(context, MITRAL_INVALID, "picture: expected a frame below %lld, found %lld", (long long)size[3],
                           (long long)frame);
    if (options->first < 0 || options->count < 0 || options->first >= size[2] || options->count > size[2] - options->first)
        return mitral_fail(context, MITRAL_INVALID, "picture: expected slices within %lld, found %lld from %lld",
                           (long long)size[2], (long long)options->count, (long long)options->first);
    if (classes < 1 || classes > MITRAL_MAX_CLASSES || (classes > 4 && !options->names))
        return mitral_fail(context, MITRAL_INVALID, "picture: expected names for 1 to %d classes, found %d", MITRAL_MAX_CLASSES,
                           (int)classes);
    if (options->tile != 0 && (options->tile < 32 || options->tile > 2048))
        return mitral_fail(context, MITRAL_INVALID, "picture: expected tiles of 32 to 2048 pixels, found %lld",
                           (long long)options->tile);
    return MITRAL_OK;
}

mitral_status mitral_picture_overlay(mitral_picture *out, mitral_context *context, const mitral_volume *volume, int64_t frame,
                                     const uint8_t *labels, const mitral_overlay_options *options)
{
    *out = (mitral_picture){0};
    const mitral_overlay_options none = {0};
    options = options ? options : &none;
    const mitral_geometry *geometry = &volume->geometry;
    int32_t classes = options->class_count ? options->class_count : 4;
    TRY(check(context, volume, frame, options, classes));

    struct mosaic mosaic = {.options = options, .first = options->first};
    mosaic.count = options->count ? options->count : geometry->size[2] - options->first;
    mosaic.tiles = mosaic.count < MAX_TILES ? mosaic.count : MAX_TILES;
    double box[4] = {0, 0, (double)geometry->size[0] - 1, (double)geometry->size[1] - 1};
    const uint8_t *maps[2] = {labels, options->reference};
    if (options->crop)
        find_crop(box, geometry, maps);
    make_view(&mosaic.view, geometry, box, options->tile ? options->tile : 256);
    find_window(&mosaic.view, volume->voxels + frame * mitral_geometry_frame_voxels(geometry),
                mitral_geometry_frame_voxels(geometry));
    mosaic.columns = options->columns > 0 ? options->columns : (int64_t)ceil(sqrt(1.4 * (double)mosaic.tiles));
    mosaic.columns = mosaic.columns < mosaic.tiles ? mosaic.columns : mosaic.tiles;
    mosaic.rows = (mosaic.tiles + mosaic.columns - 1) / mosaic.columns;

    int64_t width = mosaic.columns * (mosaic.view.width + GAP) - GAP, height = mosaic.rows * (mosaic.view.height + GAP) - GAP;
    int64_t legend = legend_width(options, classes);
    width = width > legend ? width : legend;
    int64_t bottom = height + (options->title ? LINE_HEIGHT : 0);
    TRY(mitral_picture_create(out, context, width, bottom + LINE_HEIGHT, 0x101014));
    uint8_t *map = mitral_allocate_raw(context, (size_t)(mosaic.view.width * mosaic.view.height));
    if (!map) {
        mitral_picture_free(context, out);
        return MITRAL_NO_MEMORY;
    }
    draw_mosaic(out, &mosaic, volume, frame, labels, map);
    if (labels || options->reference)
        draw_legend(out, options, classes, bottom + 3 * TEXT_SCALE);
    mitral_release(context, map);
    return MITRAL_OK;
}
