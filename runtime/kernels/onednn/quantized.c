#include "runtime/kernels/onednn/quantized.h"

#include <string.h>

#include "runtime/cpu.h"
#include "runtime/kernels/onednn/program.h"

static bool is_known_list(const mitral_tensor *tensor, int64_t columns)
{
    return tensor->data && (tensor_count(tensor) == 1 || tensor_count(tensor) == columns);
}

bool quantized_fits(const struct kernel_call *call, const struct quantized_places *places, int64_t columns)
{
    const mitral_tensor *x = call_input(call, places->x), *w = call_input(call, places->w), *x_zero = call_input(call, places->x_zero);
    const mitral_tensor *w_zero = call_input(call, places->w_zero), *y_zero = call_input(call, places->y_zero);
    const mitral_tensor *scales[] = {call_input(call, places->x_scale), call_input(call, places->y_scale)};
    const mitral_tensor *w_scale = call_input(call, places->w_scale), *bias = call_input(call, places->bias);
    if (!dtype_is_byte(x->dtype) || !dtype_is_byte(w->dtype) || !w->data || w->layout != LAYOUT_PLAIN || (x_zero && tensor_count(x_zero) != 1)
        || (y_zero && (!y_zero->data || tensor_count(y_zero) != 1)) || (w_zero && !is_known_list(w_zero, columns))
        || (w_scale && (w_scale->dtype != MITRAL_FLOAT || !is_known_list(w_scale, columns))) || (bias && (!bias->data || tensor_count(bias) != columns)))
        return false;
    for (size_t i = 0; i < 2; i++)
        if (scales[i] && (scales[i]->dtype != MITRAL_FLOAT || !scales[i]->data || tensor_count(scales[i]) != 1))
            return false;
    return true;
}

bool quantized_suits_onednn(const struct kernel_call *call, const struct quantized_places *places)
{
    const mitral_tensor *w_zero = call_input(call, places->w_zero);
    const int64_t middle = call_input(call, places->w)->dtype == MITRAL_UINT8 ? 128 : 0;
    for (int64_t i = 0; w_zero && i < tensor_count(w_zero); i++)
        if (tensor_get_int(w_zero, i) != middle)
            return false;
    return cpu_has_avx512_vnni() && (w_zero || middle == 0);
}

mitral_status quantized_weights(struct onednn_program *program, const struct kernel_call *call, const struct quantized_places *places,
                                const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t descriptor, struct onednn_where *where)
{
    const mitral_tensor *w = call_input(call, places->w);
    const size_t count = tensor_bytes(w);
    void *packed;
    TRY(onednn_add_buffer(program, call, (dnnl.memory_desc_get_size(descriptor) + 63) & ~(size_t)63, &packed, where));
    if (w->dtype == MITRAL_INT8)
        return onednn_reorder_now(call, plain, w->data, descriptor, packed);
    int8_t *moved = mitral_allocate_raw(call->context, count);
    if (!moved)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        moved[i] = (int8_t)(((const uint8_t *)w->data)[i] - 128);
    mitral_status status = onednn_reorder_now(call, plain, moved, descriptor, packed);
    mitral_release(call->context, moved);
    return status;
}

mitral_status quantized_attributes(const struct kernel_call *call, const struct quantized_places *places, int weights_mask,
                                   dnnl_primitive_attr_t attributes)
{
    const mitral_tensor *w_scale = call_input(call, places->w_scale);
    if (call_input(call, places->x_zero))
        DNNL_TRY(call, dnnl.primitive_attr_set_zero_points_mask(attributes, DNNL_ARG_SRC, 0), "zero point");
    if (call_input(call, places->y_zero))
        DNNL_TRY(call, dnnl.primitive_attr_set_zero_points_mask(attributes, DNNL_ARG_DST, 0), "zero point");
    if (call_input(call, places->x_scale))
        DNNL_TRY(call, dnnl.primitive_attr_set_scales_mask(attributes, DNNL_ARG_SRC, 0), "scale");
    if (w_scale)
        DNNL_TRY(call, dnnl.primitive_attr_set_scales_mask(attributes, DNNL_ARG_WEIGHTS, tensor_count(w_scale) > 1 ? weights_mask : 0), "scale");
    if (call_input(call, places->y_scale))
        DNNL_TRY(call, dnnl.primitive_attr_set_scales_mask(attributes, DNNL_ARG_DST, 0), "scale");
    if (*attribute_string(call->attributes, "activation", "") == '\0')
        return MITRAL_OK;
    dnnl_post_ops_t list;
    DNNL_TRY(call, dnnl.post_ops_create(&list), "post-operations");
    dnnl_status_t status = dnnl.post_ops_append_eltwise(list, dnnl_eltwise_relu, 0, 0);
    if (status == dnnl_success)
        status = dnnl.primitive_attr_set_post_ops(attributes, list);
    dnnl.post_ops_destroy(list);
    DNNL_TRY(call, status, "activation");
    return MITRAL_OK;
}

/* A list of float32 or int32 from a known input, in a buffer. */
static mitral_status add_list(struct onednn_program *program, const struct kernel_call *call, size_t input, int argument,
                              struct onednn_operand *operands, size_t *count)
{
    const mitral_tensor *tensor = call_input(call, input);
    if (!tensor)
        return MITRAL_OK;
    const int64_t length = tensor_count(tensor);
    void *data;
    struct onednn_operand *operand = &operands[(*count)++];
    operand->argument = argument;
    TRY(onednn_add_buffer(program, call, (size_t)length * 4, &data, &operand->where));
    for (int64_t i = 0; i < length; i++)
        if (argument & DNNL_ARG_ATTR_SCALES)
            ((float *)data)[i] = ((const float *)tensor->data)[i];
        else
            ((int32_t *)data)[i] = (int32_t)tensor_get_int(tensor, i);
    return MITRAL_OK;
}

static mitral_status read_zero(const struct kernel_call *call, void *const *addresses, const void *data)
{
    (void)call;
    mitral_tensor zero = *(const mitral_tensor *)data;
    zero.data = addresses[0];
    *(int32_t *)addresses[1] = (int32_t)tensor_get_int(&zero, 0);
    return MITRAL_OK;
}

/* In units of the result: an int32 bias counts products of the scales. */
static mitral_status add_bias(struct onednn_program *program, const struct kernel_call *call, const struct quantized_places *places,
                              int64_t columns, struct onednn_operand *operands, size_t *count)
{
    const mitral_tensor *bias = call_input(call, places->bias), *x_scale = call_input(call, places->x_scale);
    const mitral_tensor *w_scale = call_input(call, places->w_scale);
    if (!bias)
        return MITRAL_OK;
    void *data;
    struct onednn_operand *operand = &operands[(*count)++];
    operand->argument = DNNL_ARG_BIAS;
    TRY(onednn_add_buffer(program, call, (size_t)columns * sizeof(float), &data, &operand->where));
    for (int64_t i = 0; i < columns; i++) {
        const double scale = (double)*(const float *)x_scale->data * (double)((const float *)w_scale->data)[tensor_count(w_scale) > 1 ? i : 0];
        ((float *)data)[i] = (float)(tensor_get_double(bias, i) * (bias->dtype == MITRAL_INT32 ? scale : 1));
    }
    return MITRAL_OK;
}

mitral_status quantized_operands(struct onednn_program *program, const struct kernel_call *call, const struct quantized_places *places,
                                 int64_t columns, struct onednn_operand *operands, size_t *count)
{
    const mitral_tensor *x_zero = call_input(call, places->x_zero);
    TRY(add_list(program, call, places->x_scale, DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC, operands, count));
    TRY(add_list(program, call, places->w_scale, DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, operands, count));
    TRY(add_list(program, call, places->y_scale, DNNL_ARG_ATTR_SCALES | DNNL_ARG_DST, operands, count));
    TRY(add_list(program, call, places->y_zero, DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_DST, operands, count));
    TRY(add_bias(program, call, places, columns, operands, count));
    if (!x_zero || x_zero->data)
        return add_list(program, call, places->x_zero, DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC, operands, count);
    const struct onednn_where wheres[] = {{PLACE_INPUT, places->x_zero, 0}, onednn_scratch(program, sizeof(int32_t))};
    operands[(*count)++] = (struct onednn_operand){DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC, wheres[1]};
    return onednn_add_function(program, call, read_zero, wheres, 2, x_zero, sizeof *x_zero);
}

mitral_status quantized_delegate(const struct kernel_call *call, const struct quantized_places *places, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, onednn_add_delegate(program, call, places->reference, call->input_count, NULL), state,
                                 scratch_bytes);
}
