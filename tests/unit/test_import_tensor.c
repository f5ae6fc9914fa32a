#include "onnx_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compiler/import.h"
#include "compiler/op.h"

static struct builder builder;
static char folder[64];

static int start(void **state)
{
    (void)state;
    builder_start(&builder);
    strcpy(folder, "/tmp/mitral_import_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    builder_stop(&builder);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static mitral_status import_in(struct graph **graph, const char *where)
{
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    return import_onnx(graph, builder.context, bytes, size, where);
}

/* The constant of a name in a model of initializers alone. */
static const mitral_tensor *constant_of(const struct graph *graph, const char *name)
{
    for (size_t v = 0; v < graph->value_count; v++)
        if (strcmp(graph->values[v].name, name) == 0)
            return graph->values[v].constant;
    fail_msg("expected a constant '%s', found none", name);
    return NULL;
}

static void refuses(const char *where, mitral_status want, const char *word)
{
    struct graph *graph;
    mitral_status status = import_in(&graph, where);
    assert_null(graph);
    if (status != want || !strstr(mitral_context_message(builder.context), word))
        fail_msg("expected status %d and '%s', found %d: %s", want, word, status, mitral_context_message(builder.context));
}

/* ---- encodings ----------------------------------------------------------------------------------------------------- */

static Onnx__TensorProto *make(const char *name, int dtype, int64_t count)
{
    return builder_initializer(&builder, builder.graph, name, dtype, 1, &count);
}

static void expect(const char *name, int dtype, const void *bytes, size_t size)
{
    struct graph *graph;
    assert_ok(builder.context, import_in(&graph, NULL));
    const mitral_tensor *tensor = constant_of(graph, name);
    assert_int_equal(tensor->dtype, dtype);
    assert_int_equal(tensor_bytes(tensor), size);
    assert_memory_equal(tensor->data, bytes, size);
    graph_destroy(&graph);
    builder.graph->n_initializer = 0;
}

static void typed_fields_give_the_bits_of_raw_data(void **state)
{
    (void)state;
    /* Types whose elements sit in int32_data, one an entry: numbers, or the bits of small floats. */
    static const int types[] = {MITRAL_INT8, MITRAL_UINT8, MITRAL_INT16, MITRAL_UINT16, MITRAL_INT32, MITRAL_FLOAT16, MITRAL_BFLOAT16,
                                MITRAL_FLOAT8E4M3FN, MITRAL_FLOAT8E4M3FNUZ, MITRAL_FLOAT8E5M2, MITRAL_FLOAT8E5M2FNUZ, MITRAL_FLOAT8E8M0};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        size_t size = mitral_dtype_size((mitral_dtype)types[t]);
        int32_t entries[3] = {1, 0x7c, size == 1 ? -3 : -300};
        uint8_t raw[12];
        for (size_t i = 0; i < 3; i++)
            memcpy(raw + i * size, &entries[i], size);
        Onnx__TensorProto *tensor = make("t", types[t], 3);
        tensor->n_int32_data = 3;
        tensor->int32_data = entries;
        expect("t", types[t], raw, 3 * size);
        builder_raw(&builder, make("t", types[t], 3), raw, 3 * size);
        expect("t", types[t], raw, 3 * size);
    }
}

static void wide_types_have_fields_of_their_own(void **state)
{
    (void)state;
    Onnx__TensorProto *tensor = make("t", MITRAL_DOUBLE, 2);
    double doubles[] = {1.5, -2.25};
    tensor->n_double_data = 2;
    tensor->double_data = doubles;
    expect("t", MITRAL_DOUBLE, doubles, sizeof doubles);
    tensor = make("t", MITRAL_COMPLEX128, 1);
    tensor->n_double_data = 2;
    tensor->double_data = doubles;
    expect("t", MITRAL_COMPLEX128, doubles, sizeof doubles);
    float floats[] = {1, 2, 3, 4};
    tensor = make("t", MITRAL_COMPLEX64, 2);
    builder_floats(&builder, tensor, floats, 4);
    expect("t", MITRAL_COMPLEX64, floats, sizeof floats);
    int64_t ints[] = {INT64_MIN, INT64_MAX};
    tensor = make("t", MITRAL_INT64, 2);
    tensor->n_int64_data = 2;
    tensor->int64_data = ints;
    expect("t", MITRAL_INT64, ints, sizeof ints);
    uint64_t words[] = {UINT64_MAX, 7};
    tensor = make("t", MITRAL_UINT64, 2);
    tensor->n_uint64_data = 2;
    tensor->uint64_data = words;
    expect("t", MITRAL_UINT64, words, sizeof words);
    words[0] = UINT32_MAX;
    tensor = make("t", MITRAL_UINT32, 2);
    tensor->n_uint64_data = 2;
    tensor->uint64_data = words;
    expect("t", MITRAL_UINT32, ((const uint32_t[]){UINT32_MAX, 7}), 8);
}

static void narrow_types_are_one_element_a_byte(void **state)
{
    (void)state;
    /* From the least significant bits on; signed ones are extended. */
    static const struct {
        int dtype;
        int64_t count;
        uint8_t packed[2];
        int8_t elements[5];
    } cases[] = {
        {MITRAL_UINT4, 3, {0xf1, 0x07}, {1, 15, 7}},
        {MITRAL_INT4, 3, {0xf1, 0x08}, {1, -1, -8}},
        {MITRAL_FLOAT4E2M1, 3, {0xf1, 0x08}, {1, 15, 8}},
        {MITRAL_UINT2, 5, {0xe4, 0x02}, {0, 1, 2, 3, 2}},
        {MITRAL_INT2, 5, {0xe4, 0x02}, {0, 1, -2, -1, -2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        builder_raw(&builder, make("t", cases[i].dtype, cases[i].count), cases[i].packed, 2);
        expect("t", cases[i].dtype, cases[i].elements, (size_t)cases[i].count);
        int32_t entries[] = {cases[i].packed[0], cases[i].packed[1]};
        Onnx__TensorProto *tensor = make("t", cases[i].dtype, cases[i].count);
        tensor->n_int32_data = 2;
        tensor->int32_data = entries;
        expect("t", cases[i].dtype, cases[i].elements, (size_t)cases[i].count);
    }
}

/* Four elements in three bytes, the first in the lowest bits; one an entry in int32_data. */
static void six_bits_straddle_bytes(void **state)
{
    (void)state;
    static const uint8_t elements[] = {1, 63, 32, 21, 42}, packed[] = {0xc1, 0x0f, 0x56, 0x2a};
    const int types[] = {MITRAL_FLOAT6E2M3, MITRAL_FLOAT6E3M2};
    for (size_t i = 0; i < 2; i++) {
        builder_raw(&builder, make("t", types[i], 5), packed, sizeof packed);
        expect("t", types[i], elements, sizeof elements);
        int32_t entries[] = {1, 63, 32, 21, 42};
        Onnx__TensorProto *tensor = make("t", types[i], 5);
        tensor->n_int32_data = 5;
        tensor->int32_data = entries;
        expect("t", types[i], elements, sizeof elements);
    }
    builder_raw(&builder, make("t", types[0], 5), packed, sizeof packed - 1);
    refuses(NULL, MITRAL_INVALID, "4 bytes");
}

static void bools_are_0_or_1(void **state)
{
    (void)state;
    builder_raw(&builder, make("t", MITRAL_BOOL, 3), (const uint8_t[]){0, 1, 200}, 3);
    expect("t", MITRAL_BOOL, (const uint8_t[]){0, 1, 1}, 3);
}

static void strings_keep_their_bytes(void **state)
{
    (void)state;
    Onnx__TensorProto *tensor = make("t", MITRAL_STRING, 2);
    ProtobufCBinaryData strings[] = {{3, (uint8_t *)"a\0b"}, {0, NULL}};
    tensor->n_string_data = 2;
    tensor->string_data = strings;
    struct graph *graph;
    assert_ok(builder.context, import_in(&graph, NULL));
    const mitral_string *got = constant_of(graph, "t")->data;
    assert_int_equal(got[0].size, 3);
    assert_memory_equal(got[0].data, "a\0b", 4);
    assert_int_equal(got[1].size, 0);
    graph_destroy(&graph);
}

/* Data beyond the size from which they are kept where protobuf-c put them. */
static void large_tensors_are_whole(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    float *values = malloc(COUNT * sizeof *values);
    for (int i = 0; i < COUNT; i++)
        values[i] = (float)i;
    builder_floats(&builder, make("typed", MITRAL_FLOAT, COUNT), values, COUNT);
    builder_raw(&builder, make("raw", MITRAL_FLOAT, COUNT), values, COUNT * sizeof *values);
    struct graph *graph;
    assert_ok(builder.context, import_in(&graph, NULL));
    mitral_release(builder.context, builder.bytes);
    builder.bytes = NULL; /* the graph must not lean on the file */
    assert_memory_equal(constant_of(graph, "typed")->data, values, COUNT * sizeof *values);
    assert_memory_equal(constant_of(graph, "raw")->data, values, COUNT * sizeof *values);
    graph_destroy(&graph);
    free(values);
}

static void sizes_must_fit(void **state)
{
    (void)state;
    builder_raw(&builder, make("t", MITRAL_FLOAT, 3), (const float[]){1, 2}, 8);
    refuses(NULL, MITRAL_INVALID, "initializer 't': expected 12 bytes");
    builder.graph->n_initializer = 0;
    builder_floats(&builder, make("t", MITRAL_FLOAT, 3), (const float[]){1, 2, 3, 4}, 4);
    refuses(NULL, MITRAL_INVALID, "expected 3 entries");
    builder.graph->n_initializer = 0;
    builder_floats(&builder, make("t", MITRAL_INT8, 1), (const float[]){1}, 1); /* not the field of the type */
    refuses(NULL, MITRAL_INVALID, "int32_data");
    builder.graph->n_initializer = 0;
    make("t", 29, 1); /* a type that there is none of */
    refuses(NULL, MITRAL_UNSUPPORTED, "29");
    builder.graph->n_initializer = 0;
    make("t", MITRAL_FLOAT, -1);
    refuses(NULL, MITRAL_INVALID, "found -1");
    builder.graph->n_initializer = 0;
    builder_initializer(&builder, builder.graph, "t", MITRAL_FLOAT, 3, (const int64_t[]){INT64_MAX, INT64_MAX, 4});
    refuses(NULL, MITRAL_LIMIT, "'t'");
    builder.graph->n_initializer = 0;
    builder_initializer(&builder, builder.graph, "t", MITRAL_FLOAT, 13, (const int64_t[13]){0});
    refuses(NULL, MITRAL_UNSUPPORTED, "12 dimensions");
    builder.graph->n_initializer = 0;
    builder_initializer(&builder, builder.graph, "t", MITRAL_FLOAT, 2, (const int64_t[]){0, INT64_MAX}); /* empty, but not to be multiplied */
    refuses(NULL, MITRAL_LIMIT, "'t'");
    builder.graph->n_initializer = 0;
    builder_initializer(&builder, builder.graph, "t", MITRAL_FLOAT, 2, (const int64_t[]){0, 1000});
    expect("t", MITRAL_FLOAT, "", 0);
}

/* ---- sparse tensors ------------------------------------------------------------------------------------------------ */

static void make_sparse(const int64_t *dims, size_t rank, const int64_t *indices, int index_rank)
{
    Onnx__SparseTensorProto *sparse = arena_allocate(&builder.arena, sizeof *sparse), **list = arena_allocate(&builder.arena, sizeof *list);
    onnx__sparse_tensor_proto__init(sparse);
    sparse->values = builder_tensor(&builder, "s", MITRAL_FLOAT, 1, (const int64_t[]){2});
    builder_floats(&builder, sparse->values, (const float[]){5, 6}, 2);
    sparse->indices = builder_tensor(&builder, "", MITRAL_INT64, index_rank, (const int64_t[]){2, (int64_t)rank});
    builder_raw(&builder, sparse->indices, indices, (index_rank == 1 ? 2 : 2 * rank) * sizeof *indices);
    sparse->n_dims = rank;
    sparse->dims = (int64_t *)dims;
    list[0] = sparse;
    builder.graph->sparse_initializer = list;
    builder.graph->n_sparse_initializer = 1;
}

static void sparse_tensors_become_dense(void **state)
{
    (void)state;
    static const int64_t dims[] = {2, 3};
    make_sparse(dims, 2, (const int64_t[]){1, 5}, 1);
    expect("s", MITRAL_FLOAT, (const float[]){0, 5, 0, 0, 0, 6}, 24);
    make_sparse(dims, 2, (const int64_t[]){0, 2, 1, 0}, 2);
    expect("s", MITRAL_FLOAT, (const float[]){0, 0, 5, 6, 0, 0}, 24);
    make_sparse(dims, 2, (const int64_t[]){0, 6}, 1);
    refuses(NULL, MITRAL_INVALID, "from 0 to 5, found 6");
    make_sparse(dims, 2, (const int64_t[]){0, 2, 1, -1}, 2);
    refuses(NULL, MITRAL_INVALID, "found -1");
    static const int64_t huge[] = {1 << 20, 1 << 10}; /* 4 GiB from a file of a hundred bytes */
    make_sparse(huge, 2, (const int64_t[]){0, 6}, 1);
    refuses(NULL, MITRAL_LIMIT, "made dense");
}

/* ---- external data ------------------------------------------------------------------------------------------------- */

static void write_file(const char *name, const void *bytes, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static void external(const char *location, const char *offset, const char *length)
{
    builder.graph->n_initializer = 0;
    Onnx__TensorProto *tensor = make("w", MITRAL_FLOAT, 2);
    builder_external(&builder, tensor, "location", location);
    if (offset)
        builder_external(&builder, tensor, "offset", offset);
    if (length)
        builder_external(&builder, tensor, "length", length);
}

static void expect_external(void)
{
    struct graph *graph;
    assert_ok(builder.context, import_in(&graph, folder));
    assert_memory_equal(constant_of(graph, "w")->data, ((const float[]){2, 3}), 8);
    graph_destroy(&graph);
}

static void external_data_are_read_from_the_folder(void **state)
{
    (void)state;
    char path[256], target[256];
    write_file("weights", (const float[]){1, 2, 3}, 12);
    external("weights", "4", "8");
    expect_external();
    external("weights", "4", NULL);
    expect_external();
    external("./weights", "4", NULL);
    expect_external();
    snprintf(path, sizeof path, "%s/below", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file("below/weights", (const float[]){2, 3}, 8);
    external("below/weights", NULL, NULL);
    expect_external();
    /* A link that stays inside is none of our business. */
    snprintf(path, sizeof path, "%s/link", folder);
    snprintf(target, sizeof target, "below/weights");
    assert_int_equal(symlink(target, path), 0);
    external("link", NULL, NULL);
    expect_external();
    external("weights", "4", "8");
    refuses(NULL, MITRAL_INVALID, "folder");
}

static void external_data_stay_in_the_folder(void **state)
{
    (void)state;
    char path[256], outside[96], inside[128];
    snprintf(outside, sizeof outside, "%s/outside", folder);
    write_file("outside", (const float[]){2, 3}, 8);
    snprintf(inside, sizeof inside, "%s/model", folder);
    assert_int_equal(mkdir(inside, 0700), 0);
    static const char *const locations[] = {"../outside", "a/../../outside", "..", "a/..", "..\\outside"};
    for (size_t i = 0; i < sizeof locations / sizeof *locations; i++) {
        external(locations[i], NULL, NULL);
        refuses(inside, MITRAL_INVALID, "inside the model's folder");
    }
    external(outside, NULL, NULL);
    refuses(inside, MITRAL_INVALID, "inside the model's folder");
    snprintf(path, sizeof path, "%s/link", inside);
    assert_int_equal(symlink("../outside", path), 0);
    external("link", NULL, NULL);
    refuses(inside, MITRAL_INVALID, "a link out of it");
    snprintf(path, sizeof path, "%s/up", inside);
    assert_int_equal(symlink("..", path), 0);
    external("up/outside", NULL, NULL);
    refuses(inside, MITRAL_INVALID, "a link out of it");
    /* A sibling folder whose name begins like the model's. */
    snprintf(path, sizeof path, "%s/model2", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file("model2/weights", (const float[]){2, 3}, 8);
    snprintf(path, sizeof path, "%s/near", inside);
    assert_int_equal(symlink("../model2/weights", path), 0);
    external("near", NULL, NULL);
    refuses(inside, MITRAL_INVALID, "a link out of it");
}

static void external_data_must_be_there(void **state)
{
    (void)state;
    write_file("weights", (const float[]){1, 2, 3}, 12);
    external("nothing", NULL, NULL);
    refuses(folder, MITRAL_IO, "'nothing'");
    external("weights", "8", NULL);
    refuses(folder, MITRAL_INVALID, "expected 8 bytes at offset 8, found a file of 12");
    external("weights", "18446744073709551615", NULL);
    refuses(folder, MITRAL_INVALID, "found a file of 12");
    external("weights", "18446744073709551616", NULL);
    refuses(folder, MITRAL_INVALID, "expected a number for 'offset'");
    external("weights", "-4", NULL);
    refuses(folder, MITRAL_INVALID, "expected a number for 'offset'");
    external("weights", "0", "12");
    refuses(folder, MITRAL_INVALID, "a length of 12");
    external("", NULL, NULL);
    refuses(folder, MITRAL_INVALID, "expected a location");
    char path[256];
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not wait for a writer */
    external("pipe", NULL, NULL);
    refuses(folder, MITRAL_IO, "regular file");
    external(".", NULL, NULL);
    refuses(folder, MITRAL_INVALID, "model's folder");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(typed_fields_give_the_bits_of_raw_data), TEST(wide_types_have_fields_of_their_own), TEST(narrow_types_are_one_element_a_byte), TEST(six_bits_straddle_bytes),
        TEST(bools_are_0_or_1), TEST(strings_keep_their_bytes), TEST(large_tensors_are_whole), TEST(sizes_must_fit),
        TEST(sparse_tensors_become_dense), TEST(external_data_are_read_from_the_folder), TEST(external_data_stay_in_the_folder),
        TEST(external_data_must_be_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
