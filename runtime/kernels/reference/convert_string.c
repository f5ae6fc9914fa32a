#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/kernels/reference/convert.h"

enum { MAX_DIGITS = 17, TEXT = 64, MAX_INPUT = 1100 };

bool plain_locale_enter(struct plain_locale *locale)
{
    locale->plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!locale->plain)
        return false;
    locale->previous = uselocale(locale->plain);
    return true;
}

void plain_locale_leave(struct plain_locale *locale)
{
    uselocale(locale->previous);
    freelocale(locale->plain);
}

static mitral_status set_string(struct arena *arena, const char *text, mitral_string *out)
{
    out->size = strlen(text);
    out->data = arena_string_sized(arena, text, out->size);
    return out->data ? MITRAL_OK : MITRAL_NO_MEMORY;
}

/* Whether `value`, converted to the tensor's type, is its element again. */
static bool reads_back(const mitral_tensor *tensor, int64_t index, const char *text)
{
    if (tensor->dtype == MITRAL_FLOAT)
        return strtof(text, NULL) == ((const float *)tensor->data)[index];
    double value = strtod(text, NULL), stored = tensor_get_double(tensor, index);
    if (tensor->dtype == MITRAL_DOUBLE)
        return value == stored;
    uint64_t back = 0;
    convert(&(struct conversion){MITRAL_DOUBLE, tensor->dtype, true, ROUND_UP}, &value, &back, 1);
    mitral_tensor one = {.dtype = tensor->dtype, .data = &back};
    return tensor_get_double(&one, 0) == stored;
}

/* `digits` (without a point) times 10^(exponent - count + 1), positional from 1e-4 up to below 1e16. */
static void format_digits(char *text, size_t size, bool negative, const char *digits, int exponent)
{
    int count = (int)strlen(digits);
    while (count > 1 && digits[count - 1] == '0')
        count--;
    const char *sign = negative ? "-" : "";
    if (exponent < -4 || exponent >= 16)
        snprintf(text, size, "%s%c%s%.*se%c%02d", sign, digits[0], count > 1 ? "." : "", count - 1, digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        snprintf(text, size, "%s0.%.*s%.*s", sign, -exponent - 1, "0000", count, digits);
    else if (count <= exponent + 1)
        snprintf(text, size, "%s%.*s%.*s.0", sign, count, digits, exponent + 1 - count, "0000000000000000");
    else
        snprintf(text, size, "%s%.*s.%.*s", sign, exponent + 1, digits, count - exponent - 1, digits + exponent + 1);
}

mitral_status number_to_string(struct arena *arena, const mitral_tensor *tensor, int64_t index, mitral_string *out)
{
    char text[TEXT], scientific[TEXT], digits[MAX_DIGITS + 1];
    if (tensor->dtype == MITRAL_BOOL)
        return set_string(arena, ((const uint8_t *)tensor->data)[index] ? "True" : "False", out);
    if (!dtype_is_float(tensor->dtype)) {
        int64_t value = tensor_get_int(tensor, index);
        if (dtype_is_signed(tensor->dtype))
            snprintf(text, sizeof(text), "%lld", (long long)value);
        else
            snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
        return set_string(arena, text, out);
    }
    double value = tensor_get_double(tensor, index);
    if (isnan(value))
        return set_string(arena, "nan", out);
    if (isinf(value))
        return set_string(arena, value < 0 ? "-inf" : "inf", out);
    for (int precision = 1; precision <= MAX_DIGITS; precision++) {
        snprintf(scientific, sizeof(scientific), "%.*e", precision - 1, value);
        if (precision < MAX_DIGITS && !reads_back(tensor, index, scientific))
            continue;
        int length = 0;
        const char *at = scientific;
        for (; *at && *at != 'e'; at++)
            if (isdigit((unsigned char)*at) && length < MAX_DIGITS)
                digits[length++] = *at;
        digits[length] = '\0';
        format_digits(text, sizeof(text), signbit(value), digits, *at ? atoi(at + 1) : 0);
        break;
    }
    return set_string(arena, text, out);
}

static bool is_truth(const char *text, bool *value)
{
    *value = strcasecmp(text, "true") == 0;
    return *value || strcasecmp(text, "false") == 0;
}

/* A decimal number or inf, infinity, nan with a sign; C's hexadecimal floats and nan(…) are not ONNX's. */
static bool is_number(const char *text)
{
    const char *body = text + (*text == '+' || *text == '-');
    if (strcasecmp(body, "inf") == 0 || strcasecmp(body, "infinity") == 0 || strcasecmp(body, "nan") == 0)
        return true;
    return *body && strspn(body, "0123456789.eE+-") == strlen(body) && !strchr("eE+-", *body);
}

bool string_to_number(mitral_string text, mitral_tensor *tensor, int64_t index, const struct conversion *conversion)
{
    char buffer[MAX_INPUT];
    while (text.size && isspace((unsigned char)text.data[0]))
        text.data++, text.size--;
    while (text.size && isspace((unsigned char)text.data[text.size - 1]))
        text.size--;
    if (text.size == 0 || text.size >= sizeof(buffer) || memchr(text.data, '\0', text.size))
        return false;
    memcpy(buffer, text.data, text.size);
    buffer[text.size] = '\0';
    bool truth;
    if (tensor->dtype == MITRAL_BOOL && is_truth(buffer, &truth)) {
        tensor_set_int(tensor, index, truth);
        return true;
    }
    if (!is_number(buffer))
        return false;
    char *end;
    if (tensor->dtype == MITRAL_FLOAT) {
        ((float *)tensor->data)[index] = strtof(buffer, &end);
        return *end == '\0';
    }
    if (dtype_is_integer(tensor->dtype)) {
        uint64_t whole = buffer[0] == '-' ? (uint64_t)strtoll(buffer, &end, 10) : strtoull(buffer, &end, 10);
        if (*end == '\0') {
            tensor_set_int(tensor, index, (int64_t)whole);
            return true;
        }
    }
    double value = strtod(buffer, &end);
    if (*end)
        return false;
    uint64_t converted = 0;
    struct conversion from_double = *conversion;
    from_double.from = MITRAL_DOUBLE;
    convert(&from_double, &value, &converted, 1);
    size_t size = mitral_dtype_size((mitral_dtype)tensor->dtype);
    memcpy((char *)tensor->data + (size_t)index * size, &converted, size);
    return true;
}
