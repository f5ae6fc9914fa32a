#include "test_data_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

enum { W = 30, H = 20, Z = 5 };

static void make(mitral_volume *volume, uint8_t *labels, float *voxels)
{
    *volume = (mitral_volume){{.size = {W, H, Z, 1}, .spacing = {1, 2, 8, 0}, .qfac = 1, .units = 2}, voxels};
    for (int z = 0; z < Z; z++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                int i = (z * H + y) * W + x;
                double r = hypot(x - 14, 2 * (y - 10));
                labels[i] = r < 5 ? 3 : r < 8 ? 2 : x < 10 && r < 10 ? 1 : 0;
                voxels[i] = (float)(1000 * exp(-r / 20));
            }
}

static int64_t count_colour(const mitral_picture *picture, uint32_t colour, int64_t top, int64_t bottom)
{
    int64_t count = 0;
    for (int64_t i = top * picture->width; i < bottom * picture->width; i++) {
        const uint8_t *p = picture->pixels + 3 * i;
        count += ((uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]) == colour;
    }
    return count;
}

static const uint32_t rv = 0x4fb3ff, myocardium = 0xf2e24b, lv = 0xff5f3a;

static void test_overlay(void **state)
{
    struct bench *bench = *state;
    static float voxels[W * H * Z];
    static uint8_t labels[W * H * Z];
    mitral_volume volume;
    mitral_picture picture, crop, bare;
    make(&volume, labels, voxels);
    mitral_overlay_options options = {.title = "A title", .tile = 120, .columns = 3};
    assert_ok(mitral_picture_overlay(&picture, bench->context, &volume, 0, labels, &options));
    /* 30 x 40 mm: tiles of 90 x 120 pixels, in two rows of three. */
    assert_true(picture.width >= 3 * 90 + 2 * 2 && picture.height == 2 * 120 + 2 + 2 * 24);
    int64_t legend = picture.height - 24;
    const uint32_t all[3] = {rv, myocardium, lv};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count_colour(&picture, all[i], legend, picture.height), 14 * 14); /* a swatch each */
        assert_true(count_colour(&picture, all[i], 24, legend) > 5 * 20);                  /* a contour a slice */
    }
    assert_true(count_colour(&picture, 0xffffff, legend, picture.height) > 100); /* names */
    assert_true(count_colour(&picture, 0xffffff, 0, 24) > 50);                   /* the title */
    options.crop = true;
    assert_ok(mitral_picture_overlay(&crop, bench->context, &volume, 0, labels, &options));
    assert_true(count_colour(&crop, lv, 24, crop.height - 24) > count_colour(&picture, lv, 24, legend));
    assert_ok(mitral_picture_overlay(&bare, bench->context, &volume, 0, NULL, NULL));
    assert_int_equal(count_colour(&bare, lv, 0, bare.height), 0);
    mitral_picture_free(bench->context, &picture);
    mitral_picture_free(bench->context, &crop);
    mitral_picture_free(bench->context, &bare);
}

static void test_refused(void **state)
{
    struct bench *bench = *state;
    static float voxels[W * H * Z];
    static uint8_t labels[W * H * Z];
    mitral_volume volume;
    mitral_picture picture;
    make(&volume, labels, voxels);
    assert_refused(mitral_picture_overlay(&picture, bench->context, &volume, 1, labels, NULL), MITRAL_INVALID, "frame below 1");
    mitral_overlay_options options = {.first = 4, .count = 2};
    assert_refused(mitral_picture_overlay(&picture, bench->context, &volume, 0, labels, &options), MITRAL_INVALID, "within 5");
    options = (mitral_overlay_options){.tile = 5000};
    assert_refused(mitral_picture_overlay(&picture, bench->context, &volume, 0, labels, &options), MITRAL_INVALID, "5000");
    options = (mitral_overlay_options){.class_count = 7};
    assert_refused(mitral_picture_overlay(&picture, bench->context, &volume, 0, labels, &options), MITRAL_INVALID, "names");
    options = (mitral_overlay_options){.tile = 2048, .columns = 5};
    volume.geometry.spacing[0] = volume.geometry.spacing[1] = 0; /* not stated: square pixels */
    assert_ok(mitral_picture_overlay(&picture, bench->context, &volume, 0, labels, &options));
    mitral_picture_free(bench->context, &picture);
    assert_refused(mitral_picture_create(&picture, bench->context, 30000, 30000, 0), MITRAL_LIMIT, "30000");
    for (int i = 0; i < W * H * Z; i++)
        voxels[i] = i % 2 ? NAN : INFINITY;
    assert_ok(mitral_picture_overlay(&picture, bench->context, &volume, 0, labels, NULL));
    mitral_picture_free(bench->context, &picture);
}

/* libpng's own reader gets back what was drawn. */
static void test_png(void **state)
{
    struct bench *bench = *state;
    mitral_picture picture;
    assert_ok(mitral_picture_create(&picture, bench->context, 61, 37, 0x204060));
    mitral_picture_rectangle(&picture, -5, 30, 20, 20, 0xff0000);
    mitral_picture_line(&picture, -100, -100, 200, 90, 2, 0x00ff00);
    mitral_picture_line(&picture, NAN, 0, 5, 5, 2, 0x00ff00);
    mitral_picture_text(&picture, 50, 33, 2, 0xffffff, "clipped \x01\xff");
    assert_ok(mitral_picture_write(bench->context, &picture, bench_path(bench, "out.png")));
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_file(&image, bench_path(bench, "out.png")));
    image.format = PNG_FORMAT_RGB;
    assert_int_equal(image.width, 61);
    assert_int_equal(image.height, 37);
    uint8_t *pixels = malloc(PNG_IMAGE_SIZE(image));
    assert_true(png_image_finish_read(&image, NULL, pixels, 0, NULL));
    assert_memory_equal(pixels, picture.pixels, 61 * 37 * 3);
    free(pixels);
    assert_int_equal(mitral_picture_write(bench->context, &picture, bench_path(bench, "none/out.png")), MITRAL_IO);
    mitral_picture_free(bench->context, &picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_overlay, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_refused, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_png, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
