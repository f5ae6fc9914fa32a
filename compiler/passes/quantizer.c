#include "compiler/passes/quantizer.h"

#include <math.h>
#include <string.h>

bool quantizer_read(const struct graph *graph, const struct node *node, const char *name, struct quantizer *out)
{
    if (!node || !node->op || !node_is(node, name) || attribute_int(&node->attributes, "block_size", 0) != 0)
        return false;
    const value_id input = node_input(node, 0), scale_value = node_input(node, 1), zero_value = node_input(node, 2);
    const mitral_tensor *scale = scale_value == NO_VALUE ? NULL : graph_constant(graph, scale_value);
    const mitral_tensor *zero = zero_value == NO_VALUE ? NULL : graph_constant(graph, zero_value);
    if (input == NO_VALUE || graph_constant(graph, input) || !scale || scale->dtype != MITRAL_FLOAT || tensor_count(scale) != 1
        || (zero_value != NO_VALUE && (!zero || tensor_count(zero) != 1)))
        return false;
    const bool quantizes = strcmp(name, "QuantizeLinear") == 0;
    const int64_t wanted = attribute_int(&node->attributes, "output_dtype", 0), precision = attribute_int(&node->attributes, "precision", 0);
    *out = (struct quantizer){.input = input, .scale = *(const float *)scale->data, .zero = zero ? tensor_get_int(zero, 0) : 0};
    if (quantizes)
        out->dtype = zero ? zero->dtype : wanted ? (int32_t)wanted : MITRAL_UINT8;
    else
        out->dtype = graph->values[input].type.dtype;
    const int32_t from = quantizes ? graph->values[input].type.dtype : wanted ? (int32_t)wanted : MITRAL_FLOAT;
    return from == MITRAL_FLOAT && (precision == 0 || precision == MITRAL_FLOAT) && dtype_is_byte(out->dtype) && out->scale > 0 && isnormal(out->scale)
           && graph->values[input].type.kind == MITRAL_TENSOR;
}

/* (q · s) / s rounds to q: both rounding errors together stay below half of one. Scales near the ends of float32 would overflow. */
bool quantizer_undoes(const struct quantizer *a, const struct quantizer *b)
{
    return a->scale == b->scale && a->zero == b->zero && a->dtype == b->dtype && a->scale > 1e-30f && a->scale < 1e30f;
}
