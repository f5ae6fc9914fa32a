/* Elementwise operators of any number of inputs, Where, Pow. */
#include "compiler/op.h"

enum { ELEMENTWISE = OP_ELEMENTWISE | OP_LAYOUT_ANY };

const struct op ops_variadic[] = {
    {"Max", .traits = ELEMENTWISE | OP_COMMUTATIVE},
    {"Mean", .traits = ELEMENTWISE | OP_COMMUTATIVE},
    {"Min", .traits = ELEMENTWISE | OP_COMMUTATIVE},
    {"Pow", .traits = ELEMENTWISE},
    {"Sum", .traits = ELEMENTWISE | OP_COMMUTATIVE},
    {"Where", .traits = OP_ELEMENTWISE},
};
const size_t ops_variadic_count = sizeof(ops_variadic) / sizeof(ops_variadic[0]);
