/* QuantizeLinear and DequantizeLinear by one constant scale, between float32 and 8 bits. */
#ifndef MITRAL_COMPILER_PASSES_QUANTIZER_H
#define MITRAL_COMPILER_PASSES_QUANTIZER_H

#include "compiler/op.h"

struct quantizer {
    value_id input;
    float scale;
    int64_t zero;
    int32_t dtype; /* of the 8-bit side */
};

/* `node` may be NULL; false when it is not the operator `name` of that kind. */
bool quantizer_read(const struct graph *graph, const struct node *node, const char *name, struct quantizer *out);
/* The same scale, zero point and type: what one does the other undoes exactly. */
bool quantizer_undoes(const struct quantizer *a, const struct quantizer *b);

#endif
