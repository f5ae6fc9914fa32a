/* The steps of every instruction set that the machine has, against the C library in double. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kernels/elementwise/steps.h"
#include "runtime/kernels/reference/vector_math.h"

enum { COUNT = 1000 };

struct function {
    const char *name;
    enum elementwise_step step;
    double (*want)(double v, double w);
    double units;    /* largest error allowed, in units in the last place of the result … */
    double absolute; /* … or in itself, or of |v|, where that is larger: results that are differences */
    double relative;
};

static double want_celu(double v, double w) { (void)w; return v > 0 ? v : 0.75 * expm1(v / 0.75); }
static double want_elu(double v, double w) { (void)w; return v < 0 ? 0.75 * expm1(v) : v; }
static double want_erf(double v, double w) { (void)w; return erf(v); }
static double want_exp(double v, double w) { (void)w; return exp(v); }
static double want_gelu(double v, double w) { (void)w; return 0.5 * v * erfc(-v * sqrt(0.5)); }
static double want_gelu_tanh(double v, double w) { (void)w; return 0.5 * v * (1 + tanh(sqrt(2 / acos(-1)) * (v + 0.044715 * v * v * v))); }
static double want_log(double v, double w) { (void)w; return v < 0 ? NAN : log(v); }
static double want_mish(double v, double w) { (void)w; return v * tanh(v > 0 ? v + log1p(exp(-v)) : log1p(exp(v))); }
static double want_selu(double v, double w) { (void)w; return v > 0 ? 1.5 * v : 1.5 * 0.75 * expm1(v); }
static double want_sigmoid(double v, double w) { (void)w; return 1 / (1 + exp(-v)); }
static double want_softplus(double v, double w) { (void)w; return v > 0 ? v + log1p(exp(-v)) : log1p(exp(v)); }
static double want_sqrt(double v, double w) { (void)w; return v < 0 ? NAN : sqrt(v); }
static double want_swish(double v, double w) { (void)w; return v / (1 + exp(-0.75 * v)); }
static double want_tanh(double v, double w) { (void)w; return tanh(v); }
static double want_add(double v, double w) { return v + w; }
static double want_div(double v, double w) { return v / w; }
static double want_max(double v, double w) { return v != v || w != w ? NAN : v > w ? v : w; }
static double want_min(double v, double w) { return v != v || w != w ? NAN : v < w ? v : w; }
static double want_mul(double v, double w) { return v * w; }
static double want_prelu(double v, double w) { return v < 0 ? v * w : v; }
static double want_sub(double v, double w) { return v - w; }
static double want_swiglu(double v, double w) { return v / (1 + exp(-0.75 * v)) * w; }

static const struct function functions[] = {
    {"Celu", STEP_Celu, want_celu, 4, 0, 0},
    {"Elu", STEP_Elu, want_elu, 4, 0, 0},
    {"Erf", STEP_Erf, want_erf, 4, 0, 0},
    {"Exp", STEP_Exp, want_exp, 2, 1.5e-45, 0},
    {"GeluExact", STEP_GeluExact, want_gelu, 3, 0, 1e-7},
    {"GeluTanh", STEP_GeluTanh, want_gelu_tanh, 4, 0, 3e-7},
    {"Log", STEP_Log, want_log, 2.5, 0, 0},
    {"Mish", STEP_Mish, want_mish, 8, 2e-36, 0},
    {"Selu", STEP_Selu, want_selu, 5, 0, 0},
    {"Sigmoid", STEP_Sigmoid, want_sigmoid, 3, 0x1p-126, 0},
    {"Softplus", STEP_Softplus, want_softplus, 4, 0x1p-126, 0},
    {"Sqrt", STEP_Sqrt, want_sqrt, 0.5, 0, 0},
    {"Swish", STEP_Swish, want_swish, 4, 1e-36, 2e-5},
    {"Tanh", STEP_Tanh, want_tanh, 4, 0, 0},
    {"Add", STEP_Add, want_add, 0.5, 0, 0},
    {"Div", STEP_Div, want_div, 0.5, 0x1p-149, 0},
    {"Max", STEP_Max, want_max, 0, 0, 0},
    {"Min", STEP_Min, want_min, 0, 0, 0},
    {"Mul", STEP_Mul, want_mul, 0.5, 0x1p-149, 0},
    {"PRelu", STEP_PRelu, want_prelu, 0.5, 0x1p-149, 0},
    {"Sub", STEP_Sub, want_sub, 0.5, 0, 0},
    {"SwiGLU", STEP_SwiGLU, want_swiglu, 6, 1e-36, 2e-5},
};

static void check(const char *isa, const struct function *f, float v, float w, float found)
{
    const double want = f->want((double)v, (double)w);
    int exponent;
    frexp(want, &exponent);
    const double error = fabs((double)found - want), unit = ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
    const bool same = (isnan(want) && isnan(found)) || (double)found == want || (float)want == found || error <= f->absolute
                   || error <= f->relative * (double)fabsf(v) || error <= f->units * unit;
    if (!same)
        fail_msg("%s on %s of %a and %a: %a expected, found %a (%.1f units in the last place)", f->name, isa, (double)v, (double)w, want,
                 (double)found, error / unit);
}

/* Floats of every magnitude, both signs, and w in no order. */
static void fill(uint32_t start, float *v, float *w)
{
    static const float special[] = {0, -0.0f, INFINITY, -INFINITY, NAN, 1, -1, 88.5f, -88.5f, 104.5f, -104.5f, 3.4e38f, -3.4e38f, 1e-38f, -1e-38f};
    for (uint32_t i = 0; i < COUNT; i++) {
        v[i] = float_of_bits((start + i / 2 * 6151) % 0x7f800000u | (i & 1) << 31);
        w[i] = (float)(int32_t)(start * 2654435761u + i * 40503u) * 0x1p-28f;
    }
    memcpy(v + start % (COUNT - 20), special, sizeof special);
}

static void test_values(void **state)
{
    (void)state;
    float v[COUNT], w[COUNT], y[COUNT];
    for (enum isa isa = ISA_PORTABLE; isa <= cpu_isa_supported(); isa++)
        for (size_t f = 0; f < sizeof functions / sizeof *functions; f++)
            for (uint32_t start = 0; start < 0x7f800000u; start += 0x1f9733u) {
                fill(start, v, w);
                elementwise_step(isa, functions[f].step)(y, v, w, 1, COUNT, 0.75f, 1.5f);
                for (int i = 0; i < COUNT; i++)
                    if (fabsf(v[i]) >= 0x1p-126f || v[i] == 0 || isnan(v[i])) /* tests of the others would depend on what the C library flushes */
                        check(cpu_isa_name(isa), &functions[f], v[i], w[i], y[i]);
            }
}

/* Of NaN any. */
static void assert_same_bits(const float *a, const float *b)
{
    for (int i = 0; i < COUNT; i++)
        if (!(isnan(a[i]) && isnan(b[i])))
            assert_int_equal(bits_of_float(a[i]), bits_of_float(b[i]));
}

/* The same bits at every place of a row of any length, with the second input standing still, and into either input. */
static void test_places(void **state)
{
    (void)state;
    float v[COUNT], w[COUNT], whole[COUNT], part[COUNT];
    for (enum isa isa = ISA_PORTABLE; isa <= cpu_isa_supported(); isa++)
        for (int s = 0; s < ELEMENTWISE_STEPS; s++) {
            const step_function step = elementwise_step(isa, (enum elementwise_step)s);
            fill(0x3e000000u + (uint32_t)s * 8191, v, w);
            for (int i = 0; i < COUNT; i++)
                w[i] = w[0];
            step(whole, v, w, 1, COUNT, 0.75f, 1.5f);
            for (size_t start = 0, count = 0; start < COUNT; start += count) {
                count = start % 37 + 1 < COUNT - start ? start % 37 + 1 : COUNT - start;
                step(part + start, v + start, w, 0, count, 0.75f, 1.5f);
            }
            assert_same_bits(whole, part);
            step(w, v, w, 1, COUNT, 0.75f, 1.5f);
            assert_same_bits(whole, w);
            step(v, v, &part[0], 0, 0, 0.75f, 1.5f); /* nothing to do */
        }
}

static float one(enum isa isa, enum elementwise_step step, float v)
{
    float y, w = 2;
    elementwise_step(isa, step)(&y, &v, &w, 1, 1, 3, 2);
    return y;
}

static void test_edges(void **state)
{
    (void)state;
    for (enum isa isa = ISA_PORTABLE; isa <= cpu_isa_supported(); isa++) {
        for (int s = 0; s < ELEMENTWISE_STEPS; s++)
            if (s != STEP_ThresholdedRelu)
                assert_true(isnan(one(isa, (enum elementwise_step)s, NAN)));
        static const enum elementwise_step odd[] = {STEP_Erf,   STEP_GeluExact, STEP_GeluTanh, STEP_Tanh,
                                                    STEP_Swish, STEP_Mish,      STEP_Relu,     STEP_LeakyRelu};
        for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
            assert_true(signbit(one(isa, odd[i], -0.0f)) && one(isa, odd[i], -0.0f) == 0);
        assert_true(one(isa, STEP_Clip, 0) == 2); /* limits that cross: the highest wins */
        assert_true(one(isa, STEP_GeluExact, INFINITY) == INFINITY && one(isa, STEP_GeluExact, -1000) == 0);
        assert_true(one(isa, STEP_Sigmoid, -INFINITY) == 0 && one(isa, STEP_Exp, -1000) == 0 && one(isa, STEP_Exp, 88.73f) == INFINITY);
        const float payload = float_of_bits(0x7fc12345u);
        assert_true(isnan(one(isa, STEP_Exp, payload)) && isnan(one(isa, STEP_Sigmoid, payload)) && isnan(one(isa, STEP_GeluExact, payload)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_places), cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
