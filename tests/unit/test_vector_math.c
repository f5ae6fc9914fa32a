/* The vectorisable functions against the C library in double, at floats of every magnitude. */
#include "support.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/vector_math.h"

static double log1p_unit(double v)
{
    return log1p(v);
}

static double sigmoid(double v)
{
    return v < 0 ? exp(v) / (1 + exp(v)) : 1 / (1 + exp(-v));
}

static double expm1_of(double v)
{
    return expm1(v);
}

struct function {
    const char *name;
    float (*found)(float);
    double (*want)(double);
    double low, high;
    double units;    /* largest error allowed, in units in the last place of the result … */
    double absolute; /* … or in itself, where that is larger: results near 0 that are differences of numbers near 1 */
};

static float found_exp(float v) { return vector_exp(v); }
static float found_expm1(float v) { return vector_expm1(v); }
static float found_log(float v) { return vector_log(v); }
static float found_log1p(float v) { return vector_log1p_unit(v); }
static float found_sigmoid(float v) { return vector_sigmoid(v); }
static float found_tanh(float v) { return vector_tanh(v); }
static float found_quotient_sigmoid(float v) { return quotient_sigmoid(v); }
static float found_quotient_tanh(float v) { return quotient_tanh(v); }
static float found_runtime_exp(float v) { return runtime_exp(v); }
static float found_erf(float v) { return vector_erf(v); }
static float found_round(float v) { return vector_round(v); }

static void test_accuracy(void **state)
{
    (void)state;
    const struct function functions[] = {
        {"exp", found_exp, exp, -103, 88.72, 2.5, 1.5e-45},   {"expm1", found_expm1, expm1_of, -90, 88.72, 3.5, 0},
        {"log", found_log, log, 0, INFINITY, 2.5, 0},      {"log1p", found_log1p, log1p_unit, 0, 1, 2.5, 0},
        {"sigmoid", found_sigmoid, sigmoid, -87, 90, 4, 0}, {"tanh", found_tanh, tanh, -INFINITY, INFINITY, 3.5, 0},
        {"quotient_sigmoid", found_quotient_sigmoid, sigmoid, -INFINITY, INFINITY, 0, 2e-7},
        {"quotient_tanh", found_quotient_tanh, tanh, -INFINITY, INFINITY, 0, 4e-7},
        {"runtime_exp", found_runtime_exp, exp, -87, 0, 2.5, 0},
        {"erf", found_erf, erf, -INFINITY, INFINITY, 3.5, 0}, {"round", found_round, rint, -INFINITY, INFINITY, 0, 0}};
    for (size_t f = 0; f < sizeof(functions) / sizeof(functions[0]); f++) {
        const struct function *function = &functions[f];
        double worst = 0;
        float worst_at = 0;
        for (uint32_t bits = 0; bits < 0x7f800000u; bits += 977) {
            for (int sign = 0; sign < 2; sign++) {
                float v = float_of_bits(bits | (uint32_t)sign << 31);
                if (!((double)v >= function->low && (double)v <= function->high)
                    || (fabsf(v) < 0x1p-126f && v != 0 && function->want != log))
                    continue;
                double want = function->want((double)v), found = (double)function->found(v);
                int exponent;
                frexp(want, &exponent);
                double unit = ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
                double error = fabs(found - want);
                double units = isinf(want) || error <= function->absolute
                                 ? (found == want || error <= function->absolute ? 0 : 1e9)
                                 : error / unit;
                if (units > worst) {
                    worst = units;
                    worst_at = v;
                }
            }
        }
        if (!(worst <= function->units))
            fail_msg("%s: %g units in the last place at %a, at most %g expected", function->name, worst,
                     (double)worst_at, function->units);
    }
}

static void test_special_values(void **state)
{
    (void)state;
    assert_true(vector_exp(INFINITY) == INFINITY && vector_exp(-INFINITY) == 0 && isnan(vector_exp(NAN))
                && vector_exp(0) == 1);
    assert_true(vector_exp(1000) == INFINITY && vector_exp(-1000) == 0);
    assert_true(vector_expm1(-INFINITY) == -1 && vector_expm1(INFINITY) == INFINITY && isnan(vector_expm1(NAN)));
    assert_true(vector_log(0) == -INFINITY && vector_log(INFINITY) == INFINITY && isnan(vector_log(-1))
                && isnan(vector_log(NAN)));
    assert_true(vector_log(1) == 0);
    assert_true(vector_sigmoid(INFINITY) == 1 && vector_sigmoid(-INFINITY) == 0 && isnan(vector_sigmoid(NAN))
                && vector_sigmoid(0) == 0.5f);
    assert_true(vector_tanh(INFINITY) == 1 && vector_tanh(-INFINITY) == -1 && isnan(vector_tanh(NAN)));
    assert_true(isnan(quotient_sigmoid(NAN)) && isnan(quotient_tanh(NAN)) && quotient_sigmoid(0) == 0.5f && quotient_sigmoid(-INFINITY) >= 0);
    assert_true(signbit(vector_tanh(-0.0f)) && signbit(vector_erf(-0.0f)) && signbit(vector_round(-0.4f)));
    assert_true(vector_erf(INFINITY) == 1 && vector_erf(-INFINITY) == -1 && isnan(vector_erf(NAN)));
    assert_true(vector_round(2.5f) == 2 && vector_round(3.5f) == 4 && vector_round(-2.5f) == -2
                && isnan(vector_round(NAN)));
    assert_true(vector_round(INFINITY) == INFINITY && vector_round(8388609.0f) == 8388609.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accuracy), cmocka_unit_test(test_special_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
