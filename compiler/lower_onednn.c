#include "compiler/lower_onednn.h"

#include "compiler/lower_training.h"
#include "compiler/planar.h"

static bool is_fast_type(const struct lowering *lowering, value_id value)
{
    if (value == NO_VALUE)
        return false;
    const struct value_type *type = lowering_type(lowering, value);
    return type->kind == MITRAL_TENSOR
           && (type->dtype == MITRAL_FLOAT || type->dtype == MITRAL_BFLOAT16 || type->dtype == MITRAL_FLOAT16);
}

static bool is_channels_last(const struct lowering *lowering, value_id value)
{
    return value != NO_VALUE && lowering->graph->values[value].layout == LAYOUT_CHANNELS_LAST;
}

static mitral_status lower_as(struct lowering *lowering, const struct node *node, const char *kernel, bool *done)
{
    return is_fast_type(lowering, node_input(node, 0)) ? lower_node(lowering, node, kernel, done) : MITRAL_OK;
}

mitral_status lower_convolution(struct lowering *lowering, const struct node *node, bool *done)
{
    struct convolution_shape shape;
    if (lowering->level > 0 && !lowering->training && planar_convolution_of(lowering->graph, node, &shape)) {
        if (planar_convolution_has_rounded(node))
            return lower_node(lowering, node, "planar.convolution", done);
        const bool planar = planar_convolution_preferred(&shape);
        TRY(lower_node(lowering, node, planar ? "planar.convolution" : "onednn.convolution", done));
        lowering->plan->steps[lowering->plan->step_count - 1].alternative = kernel_find(planar ? "onednn.convolution" : "planar.convolution");
        return MITRAL_OK;
    }
    if (lowering->training && lowers_to_tiles(lowering, node))
        return lower_node(lowering, node, "training.tiles", done);
    if (lowering->training && node_input(node, 1) != NO_VALUE && lowers_to_training_convolution(lowering, node, node->inputs[1]))
        return lower_node(lowering, node, "training.convolution", done);
    return lower_as(lowering, node, "onednn.convolution", done);
}

mitral_status lower_convolution_transpose(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.deconvolution", done);
}

/* The interpreter keeps the reference kernels: they round once. */
static mitral_status lower_quantized(struct lowering *lowering, const struct node *node, const char *kernel, bool *done)
{
    return lowering->level > 0 ? lower_node(lowering, node, kernel, done) : MITRAL_OK;
}

mitral_status lower_convolution_integer(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_quantized(lowering, node, "onednn.integer_convolution", done);
}

mitral_status lower_convolution_qlinear(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_quantized(lowering, node, "onednn.qlinear_convolution", done);
}

mitral_status lower_matmul_integer(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_quantized(lowering, node, "onednn.integer_matmul", done);
}

mitral_status lower_matmul_qlinear(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_quantized(lowering, node, "onednn.qlinear_matmul", done);
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
    const int32_t dtype = node_input(node, 0) == NO_VALUE ? MITRAL_UNDEFINED : lowering_type(lowering, node_input(node, 0))->dtype;
    if (dtype_is_byte(dtype))
        return lower_node(lowering, node, "onednn.max_pool", done);
    if (lowering->training && lowers_to_training_max_pool(lowering, node))
        return lower_node(lowering, node, "training.max_pool", done);
    return lower_as(lowering, node, "onednn.max_pool", done);
}

mitral_status lower_average_pool(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.average_pool", done);
}

mitral_status lower_global_average_pool(struct lowering *lowering, const struct node *node, bool *done)
{
    const value_id x = node_input(node, 0);
    if (lowering->training && lowering->level > 0 && x != NO_VALUE && lowering_type(lowering, x)->dtype == MITRAL_FLOAT)
        return lower_node(lowering, node, "training.global_average_pool", done);
    return lower_as(lowering, node, "onednn.global_average_pool", done);
}

mitral_status lower_global_max_pool(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.global_max_pool", done);
}

mitral_status lower_concat(struct lowering *lowering, const struct node *node, bool *done)
{
    if (!is_channels_last(lowering, node->outputs[0]))
        return MITRAL_OK;
    return lower_node(lowering, node, "channels.concat", done);
}

/* Parts of one channel count as plain, whatever the whole map is. */
mitral_status lower_split(struct lowering *lowering, const struct node *node, bool *done)
{
    bool channels_last = is_channels_last(lowering, node->inputs[0]);
    for (size_t i = 0; i < node->output_count; i++)
        channels_last |= is_channels_last(lowering, node->outputs[i]);
    return channels_last ? lower_node(lowering, node, "channels.split", done) : MITRAL_OK;
}

mitral_status lower_resize(struct lowering *lowering, const struct node *node, bool *done)
{
    if (!is_channels_last(lowering, node_input(node, 0)) && !is_channels_last(lowering, node_output(node, 0)))
        return MITRAL_OK;
    return lower_node(lowering, node, node_is(node, "Upsample") ? "channels.upsample" : "channels.resize", done);
}

/* The interpreter keeps the reference kernel. */
mitral_status lower_recurrent(struct lowering *lowering, const struct node *node, bool *done)
{
    if (lowering->level == 0 || lowering->training || node_input(node, 0) == NO_VALUE || lowering_type(lowering, node_input(node, 0))->dtype != MITRAL_FLOAT)
        return MITRAL_OK;
    return lower_node(lowering, node, node_is(node, "LSTM") ? "onednn.lstm" : node_is(node, "GRU") ? "onednn.gru" : "onednn.rnn", done);
}

mitral_status lower_softmax(struct lowering *lowering, const struct node *node, bool *done)
{
    /* The standard defines soft-max by operators that each round to the type: of narrow types the reference kernel does. */
    if (node_input(node, 0) == NO_VALUE || lowering_type(lowering, node_input(node, 0))->dtype != MITRAL_FLOAT
        || attribute_has(&node->attributes, "runtime_bits"))
        return MITRAL_OK;
    return lower_as(lowering, node, node_is(node, "LogSoftmax") ? "onednn.log_softmax" : "onednn.softmax", done);
}

mitral_status lower_layer_normalization(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "onednn.layer_normalization", done);
}

mitral_status lower_lrn(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_as(lowering, node, "channels.lrn", done);
}
