#include "support.h"

#include <math.h>
#include <string.h>

#include "runtime/tensor.h"

/* Every 16-bit pattern survives the way to float and back. */
static void sixteen_bits_round_trip(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float half = float16_to_float((uint16_t)bits), brain = bfloat16_to_float((uint16_t)bits);
        if (!isnan(half))
            assert_int_equal(float_to_float16(half), bits);
        else
            assert_true(isnan(float16_to_float(float_to_float16(half))));
        if (!isnan(brain))
            assert_int_equal(float_to_bfloat16(brain), bits);
        else
            assert_true(isnan(bfloat16_to_float(float_to_bfloat16(brain))));
    }
}

/* Rounding is to nearest, ties to even: checked against the neighbours of each midpoint. */
static void float16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint16_t bits = 0; bits < 0x7bff; bits++) {
        float low = float16_to_float(bits), high = float16_to_float((uint16_t)(bits + 1)), middle = low + (high - low) / 2;
        assert_int_equal(float_to_float16(middle), bits & 1 ? bits + 1 : bits);
        assert_int_equal(float_to_float16(nextafterf(middle, INFINITY)), bits + 1);
        assert_int_equal(float_to_float16(nextafterf(middle, 0)), bits);
    }
    assert_int_equal(float_to_float16(65519.996f), 0x7bff);
    assert_int_equal(float_to_float16(65520.0f), 0x7c00);
}

static void small_floats_round_trip(void **state)
{
    (void)state;
    const int32_t types[] = {MITRAL_FLOAT8E4M3FN, MITRAL_FLOAT8E4M3FNUZ, MITRAL_FLOAT8E5M2, MITRAL_FLOAT8E5M2FNUZ,
                             MITRAL_FLOAT4E2M1, MITRAL_FLOAT8E8M0, MITRAL_FLOAT6E2M3, MITRAL_FLOAT6E3M2};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int bits = 0; bits < 1 << dtype_bits(types[t]); bits++) {
            float value = small_float_to_float(types[t], (uint8_t)bits);
            uint8_t back = float_to_small_float(types[t], value, false);
            if (isnan(value))
                assert_true(isnan(small_float_to_float(types[t], back)));
            else
                assert_int_equal(back, bits);
        }
}

/* Known values of the specification's tables. */
static void small_floats_have_their_extremes(void **state)
{
    (void)state;
    assert_true(small_float_to_float(MITRAL_FLOAT8E4M3FN, 0x7e) == 448.0f);
    assert_true(small_float_to_float(MITRAL_FLOAT8E4M3FNUZ, 0x7f) == 240.0f);
    assert_true(small_float_to_float(MITRAL_FLOAT8E5M2, 0x7b) == 57344.0f);
    assert_true(small_float_to_float(MITRAL_FLOAT8E5M2FNUZ, 0x7f) == 57344.0f);
    assert_true(small_float_to_float(MITRAL_FLOAT4E2M1, 7) == 6.0f);
    assert_true(small_float_to_float(MITRAL_FLOAT6E2M3, 31) == 7.5f && small_float_to_float(MITRAL_FLOAT6E2M3, 1) == 0.125f);
    assert_true(small_float_to_float(MITRAL_FLOAT6E3M2, 31) == 28.0f && small_float_to_float(MITRAL_FLOAT6E3M2, 33) == -0.0625f);
    assert_int_equal(float_to_small_float(MITRAL_FLOAT6E3M2, -INFINITY, false), 63);
    assert_int_equal(float_to_small_float(MITRAL_FLOAT6E2M3, NAN, true), 32);
    assert_true(float_to_small_float(MITRAL_FLOAT8E4M3FN, 1e6f, true) == 0x7e);
    assert_true(isnan(small_float_to_float(MITRAL_FLOAT8E4M3FN, float_to_small_float(MITRAL_FLOAT8E4M3FN, 1e6f, false))));
    assert_true(isinf(small_float_to_float(MITRAL_FLOAT8E5M2, float_to_small_float(MITRAL_FLOAT8E5M2, 1e6f, false))));
}

static void sizes_do_not_overflow(void **state)
{
    (void)state;
    mitral_tensor tensor = {.dtype = MITRAL_FLOAT, .rank = 3, .dims = {INT64_MAX / 2, 4, 4}};
    assert_int_equal(mitral_tensor_count(&tensor), -1);
    tensor.dims[1] = 0;
    assert_int_equal(mitral_tensor_count(&tensor), 0);
    tensor = (mitral_tensor){.dtype = MITRAL_DOUBLE, .rank = 1, .dims = {INT64_MAX / 4}};
    assert_int_equal(mitral_tensor_size(&tensor), -1);
    tensor.dims[0] = -1;
    assert_int_equal(mitral_tensor_count(&tensor), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_bits_round_trip),
        cmocka_unit_test(float16_rounds_to_nearest_even),
        cmocka_unit_test(small_floats_round_trip),
        cmocka_unit_test(small_floats_have_their_extremes),
        cmocka_unit_test(sizes_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
