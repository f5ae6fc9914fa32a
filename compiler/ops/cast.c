/* Conversions between element types. */
#include "compiler/gradients/gradients.h"

enum { ELEMENTWISE = OP_ELEMENTWISE | OP_LAYOUT_ANY };

const struct op ops_cast[] = {
    {"BitCast", .traits = ELEMENTWISE},
    {"Cast", .traits = ELEMENTWISE, .gradient = differentiate_cast},
    {"CastLike", .traits = ELEMENTWISE, .gradient = differentiate_cast},
};
const size_t ops_cast_count = sizeof(ops_cast) / sizeof(ops_cast[0]);
