#include "runtime/kernels/reference/quantized.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/integer.h"

mitral_status affine_check(const struct kernel_call *call, size_t scale, size_t zero, int32_t dtype)
{
    const mitral_tensor *s = call_input(call, scale), *z = call_input(call, zero);
    char first[160], second[160];
    if (dtype_is_byte(dtype) && s && s->dtype == MITRAL_FLOAT && tensor_count(s) == 1
        && (!z || (z->dtype == dtype && tensor_count(z) == 1)))
        return MITRAL_OK;
    return call_fail(
        call, MITRAL_INVALID,
        "8-bit elements, a float scale and a zero point of the elements' type %s expected, found %s and %s",
        mitral_dtype_name((mitral_dtype)dtype), s ? tensor_describe(s, first, sizeof(first)) : "none",
        z ? tensor_describe(z, second, sizeof(second)) : "none");
}

struct affine affine_of(const struct kernel_call *call, size_t scale, size_t zero, int32_t dtype)
{
    const mitral_tensor *z = call_input(call, zero);
    return (struct affine){((const float *)call_input(call, scale)->data)[0], z ? (int32_t)tensor_get_int(z, 0) : 0,
                           dtype == MITRAL_INT8};
}

void affine_store(const struct affine *affine, mitral_tensor *tensor, int64_t index, float value)
{
    const int32_t element = requantize((double)(value / affine->scale), affine->zero, affine->is_signed);
    if (affine->is_signed)
        ((int8_t *)tensor->data)[index] = (int8_t)element;
    else
        ((uint8_t *)tensor->data)[index] = (uint8_t)element;
}

struct affine affine_of_range(const float *values, int64_t count)
{
    float low = 0, high = 0;
    for (int64_t i = 0; i < count; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    const float scale = low == high ? 1 : (high - low) / 255;
    const float zero = rintf(fmaxf(0, fminf(255, -low / scale)));
    return (struct affine){scale, (int32_t)zero, false};
}

void affine_differences(const struct affine *affine, const float *values, int64_t count, int16_t *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (int16_t)(requantize((double)(values[i] / affine->scale), affine->zero, false) - affine->zero);
}

/* ---- products
 * ------------------------------------------------------------------------------------------------------------ */

static bool fits_columns(const mitral_tensor *tensor, int64_t columns)
{
    return tensor_count(tensor) == 1 || tensor_count(tensor) == columns;
}

mitral_status quantized_check_matmul(const struct kernel_call *call, const struct quantized_places *places,
                                     struct matmul_parameters *out)
{
    const mitral_tensor *a = call_input(call, places->a), *b = call_input(call, places->b),
                        *b_scale = call_input(call, places->b_scale);
    const mitral_tensor *b_zero = call_input(call, places->b_zero);
    const bool dynamic = places->a_scale == SIZE_MAX;
    char first[160], second[160];
    if (!a || !b || !dtype_is_byte(b->dtype) || (dynamic ? a->dtype != MITRAL_FLOAT : !dtype_is_byte(a->dtype)))
        return call_fail(call, MITRAL_INVALID, "%s and 8-bit operands expected, found %s and %s",
                         dynamic ? "float" : "8-bit", a ? tensor_describe(a, first, sizeof(first)) : "none",
                         b ? tensor_describe(b, second, sizeof(second)) : "none");
    TRY(matmul_decode(call, a, b, out));
    if (out->rank > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "a product of rank at most %d expected, found %d", MITRAL_MAX_RANK,
                         (int)out->rank);
    if (!dynamic) {
        const mitral_tensor *a_scale = call_input(call, places->a_scale), *a_zero = call_input(call, places->a_zero);
        if (!a_scale || !dtype_is_float(a_scale->dtype) || tensor_count(a_scale) != 1
            || (a_zero && (a_zero->dtype != a->dtype || tensor_count(a_zero) != 1)))
            return call_fail(call, MITRAL_UNSUPPORTED, "one scale and one zero point for A expected");
    }
    if (!b_scale || !dtype_is_float(b_scale->dtype) || !fits_columns(b_scale, out->n)
        || (b_zero && (b_zero->dtype != b->dtype || !fits_columns(b_zero, out->n))))
        return call_fail(call, MITRAL_INVALID,
                         "a scale and a zero point for B, or one for each of the %lld columns, expected",
                         (long long)out->n);
    return MITRAL_OK;
}

int64_t quantized_matmul_scratch(const struct kernel_call *call, const struct quantized_places *places)
{
    struct work work = {0};
    work_take(&work, tensor_count(call_input(call, places->a)), sizeof(int16_t));
    work_take(&work, tensor_count(call_input(call, places->b)), sizeof(int16_t));
    return work.overflow || work.used > INT64_MAX ? -1 : (int64_t)work.used;
}

static int32_t element(const mitral_tensor *tensor, int64_t index)
{
    return tensor->dtype == MITRAL_UINT8 ? ((const uint8_t *)tensor->data)[index]
                                         : ((const int8_t *)tensor->data)[index];
}

/* Both operands as differences from their zero points. */
struct differences {
    int16_t *left, *right; /* B is turned, so that both operands of a dot product are contiguous */
    float a_scale;
};

static struct differences find_differences(const struct kernel_call *call, const struct quantized_places *places,
                                           const struct matmul_parameters *p, void *scratch)
{
    const mitral_tensor *a = call_input(call, places->a), *b = call_input(call, places->b), *b_zero = call_input(call, places->b_zero);
    struct work work = {scratch, 0, false};
    struct differences d = {work_take(&work, tensor_count(a), sizeof(int16_t)), work_take(&work, tensor_count(b), sizeof(int16_t)), 0};
    if (places->a_scale == SIZE_MAX) {
        const struct affine affine = affine_of_range(a->data, tensor_count(a));
        affine_differences(&affine, a->data, tensor_count(a), d.left);
        d.a_scale = affine.scale;
    } else {
        const mitral_tensor *a_zero = call_input(call, places->a_zero);
        const int32_t zero = a_zero ? element(a_zero, 0) : 0;
        for (int64_t i = 0; i < tensor_count(a); i++)
            d.left[i] = (int16_t)(element(a, i) - zero);
        d.a_scale = (float)tensor_get_double(call_input(call, places->a_scale), 0);
    }
    const int64_t matrices = p->k && p->n ? tensor_count(b) / p->k / p->n : 0,
                  each_zero = b_zero && tensor_count(b_zero) > 1;
    for (int64_t i = 0; i < matrices * p->k * p->n; i++) {
        const int64_t matrix = i / (p->k * p->n), k = i / p->n % p->k, n = i % p->n;
        d.right[(matrix * p->n + n) * p->k + k] =
            (int16_t)(element(b, i) - (b_zero ? element(b_zero, each_zero ? n : 0) : 0));
    }
    return d;
}

/* The sum of element n of row `row` of all rows of all matrices. */
static int32_t sum_at(const struct differences *d, const struct matmul_parameters *p, int64_t row, int64_t n)
{
    const int64_t batch = row / p->m;
    return integer_dot(d->left + (matmul_batch_offset(p, p->a_strides, batch) * p->m + row % p->m) * p->k,
                       d->right + (matmul_batch_offset(p, p->b_strides, batch) * p->n + n) * p->k, p->k);
}

mitral_status quantized_matmul(const struct kernel_call *call, const struct quantized_places *places,
                               const struct matmul_parameters *p, void *scratch, float *out)
{
    const mitral_tensor *b_scale = call_input(call, places->b_scale);
    const struct differences d = find_differences(call, places, p, scratch);
    const bool each_scale = tensor_count(b_scale) > 1;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t row = 0; row < p->batches * p->m; row++)
        for (int64_t n = 0; n < p->n; n++)
            out[row * p->n + n] = (float)sum_at(&d, p, row, n)
                                  * (d.a_scale * (float)tensor_get_double(b_scale, each_scale ? n : 0));
    return MITRAL_OK;
}

mitral_status quantized_matmul_sums(const struct kernel_call *call, const struct quantized_places *places,
                                    const struct matmul_parameters *p, void *scratch, int32_t *out)
{
    const struct differences d = find_differences(call, places, p, scratch);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t row = 0; row < p->batches * p->m; row++)
        for (int64_t n = 0; n < p->n; n++)
            out[row * p->n + n] = sum_at(&d, p, row, n);
    return MITRAL_OK;
}
