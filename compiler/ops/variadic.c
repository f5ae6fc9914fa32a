/* Elementwise operators of any number of inputs, Where, Pow. */
#include "compiler/gradients/gradients.h"

enum { ELEMENTWISE = OP_ELEMENTWISE | OP_LAYOUT_ANY };

const struct op ops_variadic[] = {
    {"Max", .traits = ELEMENTWISE | OP_COMMUTATIVE, .gradient = differentiate_extremum},
    {"Mean", .traits = ELEMENTWISE | OP_COMMUTATIVE, .gradient = differentiate_mean},
    {"Min", .traits = ELEMENTWISE | OP_COMMUTATIVE, .gradient = differentiate_extremum},
    {"Pow", .traits = ELEMENTWISE, .gradient = differentiate_power},
    {"Sum", .traits = ELEMENTWISE | OP_COMMUTATIVE, .gradient = differentiate_sum},
    {"Where", .traits = OP_ELEMENTWISE, .gradient = differentiate_where},
};
const size_t ops_variadic_count = sizeof(ops_variadic) / sizeof(ops_variadic[0]);
