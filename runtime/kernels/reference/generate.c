/* Tensors out of a few numbers: Constant, ConstantOfShape, EyeLike, Range. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/elementwise.h"

/* ---- Constant ---------------------------------------------------------------------------------------------------- */

/* The one value_* attribute as a tensor that borrows the attribute's memory. */
static mitral_status Constant_value(const struct kernel_call *call, mitral_tensor *out)
{
    static const struct {
        const char *name;
        int32_t dtype;
        bool list;
    } forms[] = {{"value_float", MITRAL_FLOAT, false}, {"value_floats", MITRAL_FLOAT, true},
                 {"value_int", MITRAL_INT64, false}, {"value_ints", MITRAL_INT64, true},
                 {"value_string", MITRAL_STRING, false}, {"value_strings", MITRAL_STRING, true}};
    const mitral_tensor *tensor = attribute_tensor(call->attributes, "value");
    if (tensor) {
        *out = *tensor;
        return MITRAL_OK;
    }
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        const struct attribute *attribute = attribute_find(call->attributes, forms[i].name);
        if (!attribute)
            continue;
        tensor_set(out, forms[i].dtype, forms[i].list, (const int64_t[]){(int64_t)attribute->count});
        const void *data = forms[i].dtype == MITRAL_FLOAT   ? (const void *)attribute->floats
                           : forms[i].dtype == MITRAL_INT64 ? (const void *)attribute->ints
                                                            : (const void *)attribute->strings;
        out->data = (void *)(uintptr_t)data;
        return MITRAL_OK;
    }
    return call_fail(call, MITRAL_INVALID,
                     "an attribute value, value_float, value_int, value_string or a list expected, found none");
}

static mitral_status Constant_shape(struct kernel_call *call)
{
    mitral_tensor value = {0};
    TRY(Constant_value(call, &value));
    call_set_output(call, 0, value.dtype, value.rank, value.dims);
    return MITRAL_OK;
}

static mitral_status Constant_run(struct kernel_call *call)
{
    mitral_tensor value = {0};
    TRY(Constant_value(call, &value));
    if (call_output(call, 0) && tensor_bytes(&value))
        memcpy(call_output(call, 0)->data, value.data, tensor_bytes(&value));
    return MITRAL_OK;
}

/* ---- ConstantOfShape --------------------------------------------------------------------------------------------- */

static mitral_status ConstantOfShape_shape(struct kernel_call *call)
{
    const mitral_tensor *value = attribute_tensor(call->attributes, "value");
    int32_t dtype = value ? value->dtype : MITRAL_FLOAT;
    const int64_t *dims;
    size_t rank;
    if (!call_input(call, 0))
        return call_fail(call, MITRAL_INVALID, "a shape expected, found no input");
    if (value && tensor_count(value) != 1) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "attribute value: one element expected, found %s",
                         tensor_describe(value, text, sizeof(text)));
    }
    call_set_output(call, 0, dtype, 0, NULL);
    TRY(call_int_values(call, 0, &dims, &rank));
    if (rank > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "a shape of at most %d dimensions expected, found %zu", MITRAL_MAX_RANK,
                         rank);
    for (size_t i = 0; i < rank; i++)
        if (dims[i] < 0)
            return call_fail(call, MITRAL_INVALID, "sizes of at least 0 expected, found %lld", (long long)dims[i]);
    call_set_output(call, 0, dtype, (int32_t)rank, dims);
    return MITRAL_OK;
}

static mitral_status ConstantOfShape_run(struct kernel_call *call)
{
    const mitral_tensor *value = attribute_tensor(call->attributes, "value");
    mitral_tensor *output = call_output(call, 0);
    size_t bytes = output ? tensor_bytes(output) : 0,
           size = output ? mitral_dtype_size((mitral_dtype)output->dtype) : 0;
    if (bytes == 0)
        return MITRAL_OK;
    if (!value) {
        memset(output->data, 0, bytes);
        return MITRAL_OK;
    }
    /* Doubling copies. */
    memcpy(output->data, value->data, size);
    for (size_t done = size; done < bytes; done *= 2)
        memcpy((char *)output->data + done, output->data, done < bytes - done ? done : bytes - done);
    return MITRAL_OK;
}

/* ---- EyeLike ----------------------------------------------------------------------------------------------------- */

static mitral_status EyeLike_shape(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    if (!input || input->rank != 2) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "a matrix expected, found %s",
                         input ? tensor_describe(input, text, sizeof(text)) : "none");
    }
    int64_t dtype = attribute_int(call->attributes, "dtype", input->dtype);
    if (dtype <= 0 || dtype >= MITRAL_DTYPE_COUNT || dtype == MITRAL_STRING || !mitral_dtype_size((mitral_dtype)dtype))
        return call_fail(call, MITRAL_INVALID, "a numeric dtype expected, found %lld", (long long)dtype);
    call_set_output(call, 0, (int32_t)dtype, 2, input->dims);
    return MITRAL_OK;
}

static mitral_status EyeLike_run(struct kernel_call *call)
{
    mitral_tensor *output = call_output(call, 0);
    if (!output || tensor_count(output) == 0)
        return MITRAL_OK;
    int64_t k = attribute_int(call->attributes, "k", 0), rows = output->dims[0], columns = output->dims[1];
    memset(output->data, 0, tensor_bytes(output));
    if (k <= -rows || k >= columns)
        return MITRAL_OK;
    for (int64_t row = k < 0 ? -k : 0; row < rows && row + k < columns; row++)
        tensor_set_double(output, row * columns + row + k, 1, true);
    return MITRAL_OK;
}

/* ---- Range ------------------------------------------------------------------------------------------------------- */

static mitral_status Range_count(const struct kernel_call *call, int64_t *out)
{
    const mitral_tensor *start = call_input(call, 0), *limit = call_input(call, 1), *delta = call_input(call, 2);
    uint64_t count = 0;
    if (dtype_is_real(start->dtype)) {
        double step = tensor_get_double(delta, 0);
        double steps = ceil((tensor_get_double(limit, 0) - tensor_get_double(start, 0)) / step);
        if (step == 0 || isnan(steps))
            return call_fail(call, MITRAL_INVALID, "numbers and a step other than 0 expected, found a step of %g",
                             step);
        if (steps >= 0x1p62)
            return call_fail(call, MITRAL_LIMIT, "at most 2^62 elements expected, found %g", steps);
        count = steps > 0 ? (uint64_t)steps : 0;
    } else {
        int64_t from = tensor_get_int(start, 0), to = tensor_get_int(limit, 0), step = tensor_get_int(delta, 0);
        if (step == 0)
            return call_fail(call, MITRAL_INVALID, "a step other than 0 expected, found 0");
        /* Distances in unsigned numbers: they may not fit in signed ones. */
        uint64_t size = step > 0 ? (uint64_t)step : 0 - (uint64_t)step, distance = 0;
        if (step > 0 ? to > from : to < from)
            distance = step > 0 ? (uint64_t)to - (uint64_t)from : (uint64_t)from - (uint64_t)to;
        count = distance / size + (distance % size != 0);
        if (count > INT64_MAX)
            return call_fail(call, MITRAL_LIMIT, "at most 2^63 - 1 elements expected, found %llu",
                             (unsigned long long)count);
    }
    *out = (int64_t)count;
    return MITRAL_OK;
}

static mitral_status Range_shape(struct kernel_call *call)
{
    bool known = true;
    const mitral_tensor *start = call_input(call, 0);
    for (size_t i = 0; i < 3; i++) {
        const mitral_tensor *input = call_input(call, i);
        if (!input)
            return call_fail(call, MITRAL_INVALID, "3 inputs expected, input %zu is missing", i);
        bool number = dtype_is_real(input->dtype) || (dtype_is_integer(input->dtype) && dtype_bits(input->dtype) >= 8);
        if (!number || input->dtype != start->dtype)
            return fail_type(call, i, input);
        if (tensor_count(input) != 1)
            return call_fail(call, MITRAL_INVALID, "input %zu: one element expected, found %lld", i,
                             (long long)tensor_count(input));
        known = known && input->data;
    }
    call_set_output(call, 0, start->dtype, 1, (const int64_t[]){0});
    if (!known)
        return MITRAL_DEFERRED;
    int64_t count = 0;
    TRY(Range_count(call, &count));
    call_set_output(call, 0, start->dtype, 1, &count);
    return MITRAL_OK;
}

static mitral_status Range_run(struct kernel_call *call)
{
    mitral_tensor *output = call_output(call, 0);
    const mitral_tensor *start = call_input(call, 0), *delta = call_input(call, 2);
    int64_t count = output ? tensor_count(output) : 0;
    if (dtype_is_real(start->dtype)) {
        double from = tensor_get_double(start, 0), step = tensor_get_double(delta, 0);
        for (int64_t i = 0; i < count; i++)
            tensor_set_double(output, i, from + (double)i * step, true);
    } else {
        uint64_t from = (uint64_t)tensor_get_int(start, 0), step = (uint64_t)tensor_get_int(delta, 0);
        for (int64_t i = 0; i < count; i++)
            tensor_set_int(output, i, (int64_t)(from + (uint64_t)i * step));
    }
    return MITRAL_OK;
}

const struct kernel reference_generate[] = {
    {"Constant", KERNEL_EXACT, Constant_shape, NULL, Constant_run},
    {"ConstantOfShape", KERNEL_EXACT, ConstantOfShape_shape, NULL, ConstantOfShape_run},
    {"EyeLike", KERNEL_READS_SHAPES_ONLY, EyeLike_shape, NULL, EyeLike_run},
    {"Range", 0, Range_shape, NULL, Range_run},
};
const size_t reference_generate_count = sizeof(reference_generate) / sizeof(reference_generate[0]);
