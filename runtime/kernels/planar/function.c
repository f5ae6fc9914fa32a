#include "runtime/kernels/planar/micro.h"

#include <string.h>

bool planar_function_of(const char *name, float alpha, float beta, float scale, float shift, struct planar_function *out)
{
    static const struct {
        const char *name;
        enum planar_function_kind kind;
    } rows[] = {{"Relu", FUNCTION_RELU}, {"LeakyRelu", FUNCTION_LEAKY_RELU}, {"Clip", FUNCTION_CLIP},
                {"HardSigmoid", FUNCTION_HARD_SIGMOID}, {"HardSwish", FUNCTION_HARD_SWISH}, {"Sigmoid", FUNCTION_SIGMOID},
                {"Swish", FUNCTION_SWISH}, {"GeluTanh", FUNCTION_GELU_TANH}, {"Mish", FUNCTION_MISH}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0) {
            *out = (struct planar_function){rows[i].kind, alpha, beta, scale, shift};
            return true;
        }
    return false;
}
