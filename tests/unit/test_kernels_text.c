/* Strings and encoded images: hostile patterns, odd text, broken streams. */
#include "kernel_bench.h"

#include <string.h>
#include <zlib.h>

#include "runtime/kernels/reference/image.h"

static mitral_string text_of(const char *text)
{
    return (mitral_string){text, strlen(text)};
}

static void test_regex_that_backtracks(void **state)
{
    (void)state;
    static char long_text[4001];
    memset(long_text, 'a', 4000);
    long_text[3999] = 'b';
    /* Exponential or polynomial for a backtracking matcher; each must come to an answer or a status, and soon. */
    static const char *const patterns[] = {"(a+)+", "(a|aa)+", "(a*)*a*a*a*a*a*", "(.*a){20}", "((a?){30}a{30})*"};
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        const mitral_string texts[2] = {text_of(long_text), text_of("aaaa")};
        struct bench bench;
        bench_open(&bench, "RegexFullMatch", 20);
        bench_text(&bench, "pattern", patterns[i]);
        bench_input(&bench, MITRAL_STRING, 1, DIMS(2), texts);
        mitral_status status = bench_run(&bench);
        if (status != MITRAL_OK && status != MITRAL_LIMIT)
            fail_msg("%s: %s", patterns[i], mitral_context_message(bench.context));
        if (status == MITRAL_OK)
            assert_int_equal(((uint8_t *)bench.outputs[0].tensor.data)[0], 0); /* ends in b */
        bench_close(&bench);
    }
}

static void test_regex_of_odd_text(void **state)
{
    (void)state;
    const mitral_string texts[5] = {text_of("\xc3\xa9"), {"\xff\xfe", 2}, {"a\0b", 3}, {NULL, 0}, text_of("a\n")};
    struct bench bench;
    bench_open(&bench, "RegexFullMatch", 20);
    bench_text(&bench, "pattern", ".|a$|a.b|");
    bench_input(&bench, MITRAL_STRING, 1, DIMS(5), texts);
    assert_ok(bench.context, bench_run(&bench));
    /* One letter; no UTF-8; a zero byte is a character; the empty text; $ is the very end. */
    assert_memory_equal(bench.outputs[0].tensor.data, ((uint8_t[]){1, 0, 1, 1, 0}), 5);
    bench_close(&bench);
    bench_open(&bench, "RegexFullMatch", 20);
    bench_text(&bench, "pattern", "(");
    bench_input(&bench, MITRAL_STRING, 1, DIMS(5), texts);
    bench_refuses(&bench, MITRAL_INVALID);
}

static void test_normaliser_letters(void **state)
{
    (void)state;
    const mitral_string texts[3] = {text_of("\xc3\x89t\xc3\xa9"), {"x\xff", 2}, text_of("\xd0\x96")};
    static const char *const want[2][3] = {{"\xc3\xa9t\xc3\xa9", "x\xff", "\xd0\xb6"}, {"\xc3\x89T\xc3\x89", "X\xff", "\xd0\x96"}};
    for (int upper = 0; upper < 2; upper++) {
        struct bench bench;
        bench_open(&bench, "StringNormalizer", 10);
        bench_text(&bench, "case_change_action", upper ? "UPPER" : "LOWER");
        bench_text(&bench, "locale", "no such place");
        bench_input(&bench, MITRAL_STRING, 1, DIMS(3), texts);
        assert_ok(bench.context, bench_run(&bench));
        for (int i = 0; i < 3; i++) {
            const mitral_string *found = (const mitral_string *)bench.outputs[0].tensor.data + i;
            assert_int_equal(found->size, strlen(want[upper][i]));
            assert_memory_equal(found->data, want[upper][i], found->size);
        }
        bench_close(&bench);
    }
}

static void open_tfidf(struct bench *bench, const int64_t *counts, size_t count, const int64_t *coordinates, int64_t longest)
{
    static const int64_t pool[4] = {1, 2, 1, 2}, input[3] = {1, 2, 1};
    bench_open(bench, "TfIdfVectorizer", 9);
    bench_text(bench, "mode", "TF");
    bench_int(bench, "min_gram_length", 1);
    bench_int(bench, "max_gram_length", longest);
    bench_int(bench, "max_skip_count", INT64_MAX); /* bounded by the row's length */
    bench_ints(bench, "ngram_counts", counts, count);
    bench_ints(bench, "ngram_indexes", coordinates, 3);
    bench_ints(bench, "pool_int64s", pool, 4);
    bench_input(bench, MITRAL_INT64, 1, DIMS(3), input);
}

static void test_tfidf(void **state)
{
    (void)state;
    struct bench bench;
    open_tfidf(&bench, DIMS(0, 2), 2, DIMS(0, 1, 2), 2);
    assert_ok(bench.context, bench_run(&bench));
    bench_expect_floats(&bench, 0, (float[]){2, 1, 1}, 3, 0);
    bench_close(&bench);
    open_tfidf(&bench, DIMS(0, 3), 2, DIMS(0, 1, 2), 2); /* one token left over for the pairs */
    bench_refuses(&bench, MITRAL_INVALID);
    open_tfidf(&bench, DIMS(0, -2), 2, DIMS(0, 1, 2), 2);
    bench_refuses(&bench, MITRAL_INVALID);
    open_tfidf(&bench, DIMS(0, 2), 2, DIMS(0, -1, 2), 2);
    bench_refuses(&bench, MITRAL_INVALID);
    open_tfidf(&bench, DIMS(0, 2), 2, DIMS(0, 1, (int64_t)1 << 30), 2);
    bench_refuses(&bench, MITRAL_LIMIT);
    open_tfidf(&bench, DIMS(0, 2), 2, DIMS(0, 1, 2), 3); /* longer than the counts say */
    bench_refuses(&bench, MITRAL_INVALID);
}

/* ---- images ------------------------------------------------------------------------------------------------------------ */

static mitral_status decode_stream(struct bench *bench, const void *data, size_t size, const char *format)
{
    bench_open(bench, "ImageDecoder", 20);
    bench_text(bench, "pixel_format", format);
    bench_input(bench, MITRAL_UINT8, 1, DIMS((int64_t)size), data);
    return bench_run(bench);
}

static void expect_pixels(const void *data, size_t size, const char *format, int64_t height, int64_t width, const char *want)
{
    struct bench bench;
    assert_ok(bench.context, decode_stream(&bench, data, size, format));
    const mitral_tensor *image = &bench.outputs[0].tensor;
    assert_int_equal(image->rank, 3);
    assert_int_equal(image->dims[0], height);
    assert_int_equal(image->dims[1], width);
    if (height)
        assert_memory_equal(image->data, want, tensor_bytes(image));
    bench_close(&bench);
}

#define EXPECT(stream, format, height, width, want) expect_pixels(stream, sizeof(stream) - 1, format, height, width, want)

static void test_portable_anymaps(void **state)
{
    (void)state;
    EXPECT("P1 # bits\n2 2\n1 0\n01", "RGB", 2, 2, "\0\0\0\xff\xff\xff\xff\xff\xff\0\0\0");
    EXPECT("P1 2 1 10", "Grayscale", 1, 2, "\0\xff");
    EXPECT("P4\n9 1\n\x80\x80", "Grayscale", 1, 9, "\0\xff\xff\xff\xff\xff\xff\xff\0");
    EXPECT("P2 2 1 3 0 3", "Grayscale", 1, 2, "\0\xff");
    EXPECT("P5\n2 1\n255\n\x07\x09", "Grayscale", 1, 2, "\x07\x09");
    EXPECT("P5\n1 1\n65535\n\xff\xff", "Grayscale", 1, 1, "\xff");
    EXPECT("P3 1 1 255 1 2 3", "BGR", 1, 1, "\3\2\1");
    EXPECT("P6\n1 1\n255\n\1\2\3", "RGB", 1, 1, "\1\2\3");
    EXPECT("P6\n1 1\n255\n\1\2", "RGB", 0, 0, ""); /* short: an empty result, as the operator says */
    EXPECT("P5\n0 1\n255\n", "RGB", 0, 0, "");
    EXPECT("P5\n1 1\n0\n\1", "RGB", 0, 0, "");
    EXPECT("nothing of the kind", "RGB", 0, 0, "");
    EXPECT("", "RGB", 0, 0, "");
}

/* A bitmap of two rows: 14 + 40 bytes of header, then what `tail` says. */
static size_t make_bitmap(uint8_t *out, int32_t width, int32_t height, int bits, int compression, uint32_t offset, const void *tail,
                          size_t tail_size)
{
    memset(out, 0, 54);
    memcpy(out, "BM", 2);
    memcpy(out + 10, &offset, 4);
    out[14] = 40;
    memcpy(out + 18, &width, 4);
    memcpy(out + 22, &height, 4);
    out[26] = 1;
    out[28] = (uint8_t)bits;
    out[30] = (uint8_t)compression;
    memcpy(out + 54, tail, tail_size);
    return 54 + tail_size;
}

static void test_bitmaps(void **state)
{
    (void)state;
    uint8_t stream[256];
    size_t size = make_bitmap(stream, 1, 2, 24, 0, 54, "\1\2\3\0\4\5\6\0", 8);
    expect_pixels(stream, size, "RGB", 2, 1, "\6\5\4\3\2\1"); /* from the bottom up, blue first */
    expect_pixels(stream, size - 1, "RGB", 2, 1, "\6\5\4\3\2\1"); /* the last row lacks its padding */
    expect_pixels(stream, size - 2, "RGB", 0, 0, "");
    size = make_bitmap(stream, 1, -2, 24, 0, 54, "\1\2\3\0\4\5\6\0", 8);
    expect_pixels(stream, size, "RGB", 2, 1, "\3\2\1\6\5\4");
    static const uint8_t two_colours[] = {0, 0, 0, 0, 10, 20, 30, 0, 0xa0, 0, 0, 0};
    size = make_bitmap(stream, 3, 1, 1, 0, 62, two_colours, sizeof(two_colours));
    expect_pixels(stream, size, "RGB", 1, 3, "\x1e\x14\x0a\0\0\0\x1e\x14\x0a");
    static const uint8_t sixteen[] = {0xff, 0x7f, 0, 0};
    size = make_bitmap(stream, 1, 1, 16, 0, 54, sixteen, sizeof(sixteen));
    expect_pixels(stream, size, "RGB", 1, 1, "\xff\xff\xff");
    uint8_t runs[256 * 4 + 16] = {0}, large[54 + sizeof(runs)];
    runs[4] = 5; /* colour 1 is blue 5 */
    memcpy(runs + 1024, "\2\1\0\1", 4);
    size = make_bitmap(large, 2, 1, 8, 1, 54 + 1024, runs, 1024 + 4);
    expect_pixels(large, size, "RGB", 1, 2, "\0\0\5\0\0\5");
    expect_pixels(large, size - 2, "RGB", 0, 0, ""); /* no end of the runs */
    size = make_bitmap(stream, 1, 1, 7, 0, 54, "\0\0\0\0", 4);
    expect_pixels(stream, size, "RGB", 0, 0, "");
}

/* A stream of a few bytes that promises more pixels than the limits allow is refused before memory is taken for it. */
static void test_promises_are_bounded(void **state)
{
    (void)state;
    struct bench bench;
    static const char huge[] = "P6\n100000 100000\n255\n";
    assert_int_equal(decode_stream(&bench, huge, sizeof(huge) - 1, "RGB"), MITRAL_LIMIT);
    bench_close(&bench);
    uint8_t bitmap[64];
    size_t size = make_bitmap(bitmap, INT32_MAX, INT32_MIN, 24, 0, 54, "\0\0\0\0", 4);
    assert_int_equal(decode_stream(&bench, bitmap, size, "RGB"), MITRAL_LIMIT);
    bench_close(&bench);
    uint8_t png[42] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\1\0\0\0\1\0\0\x08\x02\0\0\0....\0\0\0\0IDAT";
    uLong check = crc32(0, png + 12, 17);
    for (int i = 0; i < 4; i++)
        png[29 + i] = (uint8_t)(check >> (24 - 8 * i));
    assert_int_equal(decode_stream(&bench, png, sizeof(png) - 1, "RGB"), MITRAL_LIMIT);
    bench_close(&bench);
}

/* Every prefix and many single-byte changes of one file of each kind read by hand, and of headers for the libraries. */
static void test_broken_streams(void **state)
{
    (void)state;
#define STREAM(text) {text, sizeof(text) - 1}
    static const struct {
        const char *data;
        size_t size;
    } streams[] = {
        STREAM("P3 2 1 255 1 2 3 4 5 6"),
        STREAM("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\1\0\0\0\1\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9c"),
        STREAM("\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\0\x0b\x08\0\1\0\1\1\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0\x7f"),
        STREAM("II*\0\x08\0\0\0\3\0\0\1\3\0\1\0\0\0\1\0\0\0\1\1\3\0\1\0\0\0\1\0\0\0\x11\1\4\0\1\0\0\0\0\0\0\0\0\0\0\0"),
        STREAM("RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0/\0\0\0\x10\7\x10\x11\x11\x88\x88\xfe\7\0"),
        STREAM("\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14" "ftypjp2 \0\0\0\0jp2 \0\0\0\x2djp2h\0\0\0\x16ihdr\0\0\0\1\0\0\0\1\0\3\7\7"),
        STREAM("\xff\x4f\xff\x51\0\x29\0\0\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\0\0\1\7\1\1"),
    };
    uint8_t copy[128];
    for (size_t s = 0; s < sizeof(streams) / sizeof(streams[0]); s++)
        for (size_t i = 0; i < streams[s].size * 9; i++) {
            size_t at = i % streams[s].size, change = i / streams[s].size, size = change ? streams[s].size : at;
            memcpy(copy, streams[s].data, streams[s].size);
            if (change)
                copy[at] ^= (uint8_t)(1u << (change - 1));
            struct bench bench;
            mitral_status status = decode_stream(&bench, copy, size, "RGB");
            assert_true(status == MITRAL_OK || status == MITRAL_LIMIT || status == MITRAL_NO_MEMORY);
            bench_close(&bench);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regex_that_backtracks), cmocka_unit_test(test_regex_of_odd_text),
        cmocka_unit_test(test_normaliser_letters),    cmocka_unit_test(test_tfidf),
        cmocka_unit_test(test_portable_anymaps),      cmocka_unit_test(test_bitmaps),
        cmocka_unit_test(test_promises_are_bounded),  cmocka_unit_test(test_broken_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
