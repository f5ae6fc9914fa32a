/* mitral.Elementwise: several elementwise operators in one pass over memory, on float32 or between 8-bit tensors.
 *
 * Inputs X0 … Xn−1 broadcast to the output. Attribute "operations": names, one space between; "operands": two numbers an operation, of
 * inputs (0 … n−1) or of earlier operations (n + place), −1 where there is none; "parameters": two floats an operation. The last
 * operation gives the output. Attributes "scales" and "zeros": one an input and one of the output, used where that is uint8 or int8; the
 * output is so by attribute "output_dtype". */
#ifndef MITRAL_REFERENCE_CHAIN_H
#define MITRAL_REFERENCE_CHAIN_H

#include "runtime/kernels/reference/elementwise.h"

enum { CHAIN_INPUTS = ELEMENTWISE_OPERANDS - 1, CHAIN_OPERATIONS = 16 };

struct chain_operation {
    const char *name;          /* as in ONNX, but for Square, Cube and quotients */
    int arity;
    const char *parameters[2]; /* attributes of the operator; NULL: none */
    float defaults[2];
    enum elementwise_step step;
};

/* NULL: not one of those that a chain can have. */
const struct chain_operation *chain_find(const char *name, size_t length);

#endif
