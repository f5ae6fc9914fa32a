#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mitral/tools.h"
#include "runtime/values.h"

static char path[64];

static int make_path(void **state)
{
    (void)state;
    strcpy(path, "/tmp/mitral_npy_XXXXXX.npy");
    int file = mkstemps(path, 4);
    return file < 0 ? -1 : close(file);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static size_t make_header(char *out, const char *dictionary)
{
    size_t length = strlen(dictionary);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)length;
    out[9] = (char)(length >> 8);
    memcpy(out + 10, dictionary, length);
    return 10 + length;
}

static void round_trip_keeps_type_shape_and_bits(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    const int32_t types[] = {MITRAL_FLOAT, MITRAL_DOUBLE, MITRAL_FLOAT16, MITRAL_INT8, MITRAL_UINT16, MITRAL_INT64, MITRAL_BOOL,
                             MITRAL_COMPLEX64};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int32_t rank = 0; rank <= 3; rank++) {
            mitral_value_info info = {.name = "x", .dtype = types[t], .rank = rank, .dims = {2, 3, 5}};
            mitral_value *value = NULL, *back = NULL;
            assert_ok(context, mitral_value_random(&value, context, &info, 7));
            assert_ok(context, mitral_value_save(context, value, "x", path));
            assert_ok(context, mitral_value_load(&back, context, path, MITRAL_TENSOR));
            assert_int_equal(back->tensor.dtype, types[t]);
            assert_true(tensor_same_shape(&back->tensor, &value->tensor));
            assert_memory_equal(back->tensor.data, value->tensor.data, tensor_bytes(&value->tensor));
            mitral_value_destroy(&value);
            mitral_value_destroy(&back);
        }
    mitral_context_destroy(&context);
}

static void reads_fortran_order_and_other_byte_order(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    char bytes[256];
    size_t start = make_header(bytes, "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n");
    for (int i = 0; i < 6; i++) {
        bytes[start + 2 * (size_t)i] = 0;
        bytes[start + 2 * (size_t)i + 1] = (char)i;
    }
    write_file(bytes, start + 12);
    mitral_value *value = NULL;
    assert_ok(context, mitral_value_load(&value, context, path, MITRAL_TENSOR));
    const int16_t want[] = {0, 2, 4, 1, 3, 5};
    assert_memory_equal(value->tensor.data, want, sizeof want);
    mitral_value_destroy(&value);
    mitral_context_destroy(&context);
}

static void refuses_what_is_no_npy(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n",     /* too few elements */
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n",        /* pickled objects */
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 8), }\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, ",
        "{}", ""};
    mitral_context *context = test_context();
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        char bytes[512];
        size_t size = make_header(bytes, headers[i]);
        memset(bytes + size, 0, 8);
        write_file(bytes, size + 8);
        mitral_value *value = NULL;
        assert_int_not_equal(mitral_value_load(&value, context, path, MITRAL_TENSOR), MITRAL_OK);
        assert_null(value);
        assert_true(strlen(mitral_context_message(context)) > 0);
        if (i == 1)
            assert_non_null(strstr(mitral_context_message(context), "element type, found '|O'"));
    }
    mitral_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trip_keeps_type_shape_and_bits, make_path, remove_path),
        cmocka_unit_test_setup_teardown(reads_fortran_order_and_other_byte_order, make_path, remove_path),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_npy, make_path, remove_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
