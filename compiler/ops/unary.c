/* Elementwise operators of one input. */
#include "compiler/gradients/gradients.h"

enum { ELEMENTWISE = OP_ELEMENTWISE | OP_LAYOUT_ANY };

const struct op ops_unary[] = {
    {"Abs", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Acos", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Acosh", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Asin", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Asinh", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Atan", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Atanh", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"BitwiseNot", .traits = ELEMENTWISE},
    {"Ceil", .traits = ELEMENTWISE, .gradient = differentiate_zero},
    {"Clip", .traits = ELEMENTWISE | OP_ACTIVATION, .gradient = differentiate_clip},
    {"Cos", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Cosh", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Erf", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Exp", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Floor", .traits = ELEMENTWISE, .gradient = differentiate_zero},
    {"Identity", .traits = ELEMENTWISE | OP_MOVES_DATA, .gradient = differentiate_reshape},
    {"IsInf", .traits = ELEMENTWISE},
    {"IsNaN", .traits = ELEMENTWISE},
    {"Log", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Neg", .traits = ELEMENTWISE, .gradient = differentiate_negate},
    {"Not", .traits = ELEMENTWISE},
    {"Reciprocal", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Round", .traits = ELEMENTWISE, .gradient = differentiate_zero},
    {"Sign", .traits = ELEMENTWISE, .gradient = differentiate_zero},
    {"Sin", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Sinh", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Sqrt", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Tan", .traits = ELEMENTWISE, .gradient = differentiate_elementwise},
    {"Tanh", .traits = ELEMENTWISE | OP_ACTIVATION, .gradient = differentiate_elementwise},
};
const size_t ops_unary_count = sizeof(ops_unary) / sizeof(ops_unary[0]);
