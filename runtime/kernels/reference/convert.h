/* Conversion between all element types, as the Cast operator defines it. */
#ifndef MITRAL_RUNTIME_KERNELS_REFERENCE_CONVERT_H
#define MITRAL_RUNTIME_KERNELS_REFERENCE_CONVERT_H

#include <locale.h>

#include "runtime/kernel.h"

enum round_mode { ROUND_UP, ROUND_DOWN, ROUND_NEAREST }; /* of conversions to float8e8m0 */

struct conversion {
    int32_t from, to;
    bool saturate; /* to 8-bit floats */
    enum round_mode mode;
};

/* Whether there is a conversion; strings convert to and from everything but complex numbers. */
bool conversion_exists(int32_t from, int32_t to);
/* `count` elements between numeric types, not in overlapping memory unless at the same address and of the same size. */
void convert(const struct conversion *conversion, const void *from, void *to, size_t count);
/* From the values to float, rounded to odd where the value is no float: rounding that once more to a type of 21 bits or
 * fewer is then the same as rounding the value itself. */
void convert_to_floats_odd(int32_t dtype, const void *from, float *to, size_t count);

/* Strings are read and written with a point, whatever the process's locale: between these two calls. */
struct plain_locale {
    locale_t plain, previous;
};
bool plain_locale_enter(struct plain_locale *locale); /* false: no memory */
void plain_locale_leave(struct plain_locale *locale);

/* Strings (convert_string.c), with the plain locale entered. The shortest decimal that reads back as the same value of
 * that type, as NumPy prints it. */
mitral_status number_to_string(struct arena *arena, const mitral_tensor *tensor, int64_t index, mitral_string *out);
/* false when it is no number. */
bool string_to_number(mitral_string text, mitral_tensor *tensor, int64_t index, const struct conversion *conversion);

#endif
