#include "compiler/lower_onednn.h"

static bool is_fast_type(const struct lowering *lowering, value_id value)
{
    if (value == NO_VALUE)
        return false;
    const struct value_type *type = lowering_type(lowering, value);
    return type->kind == MITRAL_TENSOR
           && (type->dtype == MITRAL_FLOAT || type->dtype == MITRAL_BFLOAT16 || type->dtype == MITRAL_FLOAT16);
}

static mitral_status lower_as(struct lowering *lowering, const struct node *node, const char *kernel, bool *done)
{
    return is_fast_type(lowering, node_input(node, 0)) ? lower_node(lowering, node, kernel, done) : MITRAL_OK;
}

mitral_status lower_convolution(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.convolution", done);
}

mitral_status lower_convolution_transpose(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.deconvolution", done);
}

mitral_status lower_matmul(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.matmul", done);
}

mitral_status lower_gemm(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.gemm", done);
}

mitral_status lower_max_pool(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.max_pool", done);
}

mitral_status lower_average_pool(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.average_pool", done);
}

mitral_status lower_global_average_pool(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.global_average_pool", done);
}

mitral_status lower_global_max_pool(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.global_max_pool", done);
}

mitral_status lower_concat(struct lowering *lowering, const struct node *node, bool *done)
{
    if (lowering->graph->values[node->outputs[0]].layout != LAYOUT_CHANNELS_LAST)
        return MITRAL_OK;
    return lower_node(lowering, node, "channels.concat", done);
}

mitral_status lower_split(struct lowering *lowering, const struct node *node, bool *done)
{
    bool channels_last = false;
    for (size_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NO_VALUE)
            channels_last |= lowering->graph->values[node->outputs[i]].layout == LAYOUT_CHANNELS_LAST;
    return channels_last ? lower_node(lowering, node, "channels.split", done) : MITRAL_OK;
}
