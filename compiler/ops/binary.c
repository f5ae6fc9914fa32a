/* Elementwise operators of two inputs. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

enum { ELEMENTWISE = OP_ELEMENTWISE | OP_LAYOUT_ANY };

const struct op ops_binary[] = {
    {"Add", .traits = ELEMENTWISE | OP_COMMUTATIVE, .gradient = differentiate_add},
    {"And", .traits = ELEMENTWISE | OP_COMMUTATIVE},
    {"BitShift", .traits = ELEMENTWISE},
    {"BitwiseAnd", .traits = ELEMENTWISE | OP_COMMUTATIVE},
    {"BitwiseOr", .traits = ELEMENTWISE | OP_COMMUTATIVE},
    {"BitwiseXor", .traits = ELEMENTWISE | OP_COMMUTATIVE},
    {"Div", .traits = ELEMENTWISE, .gradient = differentiate_divide},
    {"Equal", .traits = ELEMENTWISE | OP_COMMUTATIVE},
    {"Greater", .traits = ELEMENTWISE},
    {"GreaterOrEqual", .traits = ELEMENTWISE},
    {"Less", .traits = ELEMENTWISE},
    {"LessOrEqual", .traits = ELEMENTWISE},
    {"Mod", .traits = ELEMENTWISE, .gradient = differentiate_modulo},
    {"Mul", .traits = ELEMENTWISE | OP_COMMUTATIVE, .gradient = differentiate_multiply},
    {"Or", .traits = ELEMENTWISE | OP_COMMUTATIVE},
    {"PRelu", .traits = ELEMENTWISE | OP_ACTIVATION, .gradient = differentiate_prelu},
    {"Sub", .traits = ELEMENTWISE, .gradient = differentiate_subtract},
    {"SwiGLU", .traits = ELEMENTWISE, .compose = compose_swiglu},
    {"Xor", .traits = ELEMENTWISE | OP_COMMUTATIVE},
};
const size_t ops_binary_count = sizeof(ops_binary) / sizeof(ops_binary[0]);
