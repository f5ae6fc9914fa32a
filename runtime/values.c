#include "runtime/values.h"

#include "runtime/kinds.h"
#include "runtime/splitmix.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

mitral_status owned_value_create(struct owned_value **out, mitral_context *context)
{
    *out = mitral_allocate(context, sizeof **out);
    if (!*out)
        return MITRAL_NO_MEMORY;
    arena_initialise(&(*out)->arena, context);
    return MITRAL_OK;
}

void mitral_value_destroy(mitral_value **value)
{
    if (!value || !*value)
        return;
    struct owned_value *owned = (struct owned_value *)*value;
    mitral_context *context = owned->arena.context;
    arena_clear(&owned->arena);
    mitral_release(context, owned);
    *value = NULL;
}

/* ---- random -------------------------------------------------------------------------------------------------------- */

struct stream {
    uint64_t seed, next;
};

static uint64_t next_random(struct stream *stream)
{
    return splitmix_at(stream->seed, stream->next++);
}

/* Box–Muller. */
static double next_normal(struct stream *stream)
{
    double u = (double)((next_random(stream) >> 11) + 1) / 9007199254740993.0, v = (double)(next_random(stream) >> 11) / 9007199254740992.0;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

mitral_status mitral_value_random(mitral_value **out, mitral_context *context, const mitral_value_info *info, uint64_t seed)
{
    *out = NULL;
    if (info->kind != MITRAL_TENSOR || info->dtype == MITRAL_STRING || !mitral_dtype_size((mitral_dtype)info->dtype))
        return mitral_fail(context, MITRAL_UNSUPPORTED, "input '%s': expected a numeric tensor to fill at random; give it with -i", info->name);
    if (info->rank < 0)
        return mitral_fail(context, MITRAL_INVALID, "input '%s': expected a known rank; give its shape or its file", info->name);
    struct owned_value *owned;
    TRY(owned_value_create(&owned, context));
    mitral_tensor *tensor = &owned->value.tensor;
    tensor_set(tensor, info->dtype, info->rank, info->dims);
    for (int32_t d = 0; d < info->rank; d++)
        if (tensor->dims[d] < 0)
            tensor->dims[d] = 1;
    mitral_status status = tensor_check_size(context, tensor);
    if (status == MITRAL_OK) {
        tensor->data = arena_allocate(&owned->arena, tensor_bytes(tensor) + 1);
        status = tensor->data ? MITRAL_OK : MITRAL_NO_MEMORY;
    }
    if (status != MITRAL_OK) {
        mitral_value *value = &owned->value;
        mitral_value_destroy(&value);
        return status;
    }
    struct stream stream = {seed, 0};
    for (int64_t i = 0, n = tensor_count(tensor); i < n; i++)
        if (dtype_is_float(tensor->dtype) || tensor->dtype == MITRAL_COMPLEX64 || tensor->dtype == MITRAL_COMPLEX128)
            tensor_set_double(tensor, i, next_normal(&stream), true);
        else
            tensor_set_int(tensor, i, (int64_t)(next_random(&stream) % (tensor->dtype == MITRAL_BOOL ? 2 : 10)));
    *out = &owned->value;
    return MITRAL_OK;
}

/* ---- comparison ---------------------------------------------------------------------------------------------------- */

static bool numbers_equal(double got, double want, double rtol, double atol)
{
    if (isnan(got) || isnan(want))
        return isnan(got) && isnan(want);
    if (isinf(got) || isinf(want))
        return got == want;
    return fabs(got - want) <= atol + rtol * fabs(want);
}

static bool tensors_equal(const mitral_tensor *got, const mitral_tensor *want, double rtol, double atol, char *reason, size_t size)
{
    char a[256], b[256];
    if (got->dtype != want->dtype || !tensor_same_shape(got, want)) {
        snprintf(reason, size, "expected %s, found %s", tensor_describe(want, a, sizeof a), tensor_describe(got, b, sizeof b));
        return false;
    }
    bool complex = got->dtype == MITRAL_COMPLEX64 || got->dtype == MITRAL_COMPLEX128;
    mitral_tensor x = *got, y = *want;
    if (complex)
        x.dtype = y.dtype = got->dtype == MITRAL_COMPLEX64 ? MITRAL_FLOAT : MITRAL_DOUBLE;
    int64_t count = tensor_count(got) * (complex ? 2 : 1), different = 0;
    for (int64_t i = 0; i < count; i++) {
        if (got->dtype == MITRAL_STRING) {
            const mitral_string *p = (const mitral_string *)got->data + i, *q = (const mitral_string *)want->data + i;
            if (p->size == q->size && memcmp(p->data, q->data, p->size) == 0)
                continue;
            snprintf(reason, size, "element %lld: expected \"%.*s\", found \"%.*s\"", (long long)i, (int)q->size, q->data, (int)p->size, p->data);
            return false;
        }
        bool whole = dtype_is_integer(got->dtype) || got->dtype == MITRAL_BOOL;
        double p = tensor_get_double(&x, i), q = tensor_get_double(&y, i);
        if (whole ? tensor_get_int(&x, i) == tensor_get_int(&y, i) || numbers_equal(p, q, rtol, atol) : numbers_equal(p, q, rtol, atol))
            continue;
        if (different++ == 0)
            snprintf(reason, size, "element %lld: expected %.9g, found %.9g", (long long)i, q, p);
    }
    size_t used = strlen(reason);
    if (different > 1 && used < size)
        snprintf(reason + used, size - used, " (and %lld more of %lld)", (long long)different - 1, (long long)count);
    return different == 0;
}

bool mitral_value_equal(const mitral_value *got, const mitral_value *want, double rtol, double atol, char *reason, size_t reason_size)
{
    *reason = '\0';
    if (got->kind != want->kind || (got->kind != MITRAL_TENSOR && got->count != want->count)) {
        snprintf(reason, reason_size, "expected a value of kind %s with %d items, found %s with %d", kind_name(want->kind), want->count,
                 kind_name(got->kind), got->count);
        return false;
    }
    if (got->kind == MITRAL_TENSOR)
        return tensors_equal(&got->tensor, &want->tensor, rtol, atol, reason, reason_size);
    for (int32_t i = 0; i < got->count; i++)
        if (!mitral_value_equal(&got->items[i], &want->items[i], rtol, atol, reason, reason_size))
            return false;
    return true;
}
