/* Cast, CastLike and BitCast. */
#include <string.h>

#include "runtime/kernels/reference/convert.h"

enum { PARALLEL_COUNT = 32768, BLOCK = 8192 };

static mitral_status read_conversion(const struct kernel_call *call, int64_t to, struct conversion *out)
{
    const mitral_tensor *input = call_input(call, 0);
    if (!input)
        return call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    bool known = to > 0 && to < MITRAL_DTYPE_COUNT && mitral_dtype_size((mitral_dtype)to);
    if (!known || !conversion_exists(input->dtype, (int32_t)to)) {
        const char *from = mitral_dtype_name((mitral_dtype)input->dtype),
                   *name = known ? mitral_dtype_name((mitral_dtype)to) : NULL;
        return call_fail(call, MITRAL_UNSUPPORTED, "types that convert expected, found %s to %s (%lld)",
                         from ? from : "?", name ? name : "an unknown type", (long long)to);
    }
    const char *mode = attribute_string(call->attributes, "round_mode", "up");
    *out = (struct conversion){.from = input->dtype, .to = (int32_t)to,
                               .saturate = attribute_int(call->attributes, "saturate", 1) != 0};
    if (strcmp(mode, "up") == 0)
        out->mode = ROUND_UP;
    else if (strcmp(mode, "down") == 0)
        out->mode = ROUND_DOWN;
    else if (strcmp(mode, "nearest") == 0)
        out->mode = ROUND_NEAREST;
    else
        return call_fail(call, MITRAL_INVALID, "attribute round_mode: 'up', 'down' or 'nearest' expected, found '%s'",
                         mode);
    return MITRAL_OK;
}

static mitral_status set_shape(struct kernel_call *call, int32_t to)
{
    TRY(shape_same_as_first(call));
    if (call_output(call, 0))
        call_output(call, 0)->dtype = to;
    return MITRAL_OK;
}

static mitral_status cast_strings(struct kernel_call *call, const struct conversion *conversion)
{
    const mitral_tensor *input = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    for (int64_t i = 0, count = tensor_count(input); i < count; i++) {
        if (conversion->to == MITRAL_STRING) {
            TRY(number_to_string(call->arena, input, i, &((mitral_string *)output->data)[i]));
            continue;
        }
        mitral_string text = ((const mitral_string *)input->data)[i];
        if (!string_to_number(text, output, i, conversion))
            return call_fail(call, MITRAL_INVALID, "a number expected, found '%.*s'",
                             text.size < 64 ? (int)text.size : 64, text.data);
    }
    return MITRAL_OK;
}

static mitral_status cast_run(struct kernel_call *call, int64_t to)
{
    struct conversion conversion = {0};
    const mitral_tensor *input = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    TRY(read_conversion(call, to, &conversion));
    if (conversion.from != conversion.to && (conversion.from == MITRAL_STRING || conversion.to == MITRAL_STRING)) {
        struct plain_locale locale;
        if (!plain_locale_enter(&locale))
            return call_fail(call, MITRAL_NO_MEMORY, "no memory for a locale");
        mitral_status status = cast_strings(call, &conversion);
        plain_locale_leave(&locale);
        return status;
    }
    int64_t count = tensor_count(input);
    size_t from_size = mitral_dtype_size((mitral_dtype)conversion.from),
           to_size = mitral_dtype_size((mitral_dtype)conversion.to);
#pragma omp parallel for num_threads(call->threads) if (count > PARALLEL_COUNT) schedule(static)
    for (int64_t start = 0; start < count; start += BLOCK) {
        int64_t length = count - start < BLOCK ? count - start : BLOCK;
        convert(&conversion, (const char *)input->data + (size_t)start * from_size,
                (char *)output->data + (size_t)start * to_size, (size_t)length);
    }
    return MITRAL_OK;
}

static int64_t Cast_target(const struct kernel_call *call)
{
    return attribute_int(call->attributes, "to", 0);
}

static mitral_status Cast_shape(struct kernel_call *call)
{
    struct conversion conversion = {0};
    TRY(read_conversion(call, Cast_target(call), &conversion));
    return set_shape(call, conversion.to);
}

static mitral_status Cast_run(struct kernel_call *call)
{
    return cast_run(call, Cast_target(call));
}

static int64_t CastLike_target(const struct kernel_call *call)
{
    return call_input(call, 1) ? call_input(call, 1)->dtype : 0;
}

static mitral_status CastLike_shape(struct kernel_call *call)
{
    struct conversion conversion = {0};
    TRY(read_conversion(call, CastLike_target(call), &conversion));
    return set_shape(call, conversion.to);
}

static mitral_status CastLike_run(struct kernel_call *call)
{
    return cast_run(call, CastLike_target(call));
}

static mitral_status BitCast_shape(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    int64_t to = Cast_target(call);
    if (!input)
        return call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    int bits = to > 0 && to < MITRAL_DTYPE_COUNT && to != MITRAL_STRING ? dtype_bits((int32_t)to) : 0;
    if (!bits || bits != dtype_bits(input->dtype)) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "a type as wide as %s expected, found type %lld of %d bits",
                         tensor_describe(input, text, sizeof(text)), (long long)to, bits);
    }
    return set_shape(call, (int32_t)to);
}

static mitral_status BitCast_run(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    if (!output || !tensor_bytes(input))
        return MITRAL_OK;
    int bits = dtype_bits(input->dtype);
    if (bits >= 8) {
        if (output->data != input->data)
            memcpy(output->data, input->data, tensor_bytes(input));
        return MITRAL_OK;
    }
    /* Narrow types lie in bytes: integers extended by their sign, others by zeros. */
    int mask = (1 << bits) - 1,
        sign = dtype_is_integer(output->dtype) && dtype_is_signed(output->dtype) ? 1 << (bits - 1) : 0;
    const uint8_t *x = input->data;
    uint8_t *y = output->data;
    for (int64_t i = 0, count = tensor_count(input); i < count; i++)
        y[i] = (uint8_t)(((x[i] & mask) ^ sign) - sign);
    return MITRAL_OK;
}

enum { FLAGS = KERNEL_IN_PLACE | KERNEL_ANY_LAYOUT | KERNEL_EXACT };

const struct kernel reference_cast[] = {
    {"BitCast", FLAGS, BitCast_shape, NULL, BitCast_run},
    {"Cast", FLAGS, Cast_shape, NULL, Cast_run},
    {"CastLike", FLAGS, CastLike_shape, NULL, CastLike_run},
};
const size_t reference_cast_count = sizeof(reference_cast) / sizeof(reference_cast[0]);
