/* Elementwise operators of one input. */
#include "compiler/op.h"

enum { ELEMENTWISE = OP_ELEMENTWISE | OP_LAYOUT_ANY };

const struct op ops_unary[] = {
    {"Abs", .traits = ELEMENTWISE},
    {"Acos", .traits = ELEMENTWISE},
    {"Acosh", .traits = ELEMENTWISE},
    {"Asin", .traits = ELEMENTWISE},
    {"Asinh", .traits = ELEMENTWISE},
    {"Atan", .traits = ELEMENTWISE},
    {"Atanh", .traits = ELEMENTWISE},
    {"BitwiseNot", .traits = ELEMENTWISE},
    {"Ceil", .traits = ELEMENTWISE},
    {"Clip", .traits = ELEMENTWISE | OP_ACTIVATION},
    {"Cos", .traits = ELEMENTWISE},
    {"Cosh", .traits = ELEMENTWISE},
    {"Erf", .traits = ELEMENTWISE},
    {"Exp", .traits = ELEMENTWISE},
    {"Floor", .traits = ELEMENTWISE},
    {"Identity", .traits = ELEMENTWISE | OP_MOVES_DATA},
    {"IsInf", .traits = ELEMENTWISE},
    {"IsNaN", .traits = ELEMENTWISE},
    {"Log", .traits = ELEMENTWISE},
    {"Neg", .traits = ELEMENTWISE},
    {"Not", .traits = ELEMENTWISE},
    {"Reciprocal", .traits = ELEMENTWISE},
    {"Round", .traits = ELEMENTWISE},
    {"Sign", .traits = ELEMENTWISE},
    {"Sin", .traits = ELEMENTWISE},
    {"Sinh", .traits = ELEMENTWISE},
    {"Sqrt", .traits = ELEMENTWISE},
    {"Tan", .traits = ELEMENTWISE},
    {"Tanh", .traits = ELEMENTWISE | OP_ACTIVATION},
};
const size_t ops_unary_count = sizeof(ops_unary) / sizeof(ops_unary[0]);
