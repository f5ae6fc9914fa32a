/* The same convolutions and products by own kernels (runtime/kernels/quantized), for processors without exact 8-bit products and for weights
 * that are not symmetric: equal to the reference kernels to the bit. */
#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/onednn/quantized.h"

struct exact {
    struct quantized_step step;
    bool has_zero;
    mitral_tensor zero; /* of the data; its element is read in the run */
};

static mitral_status run_exact(const struct kernel_call *call, void *const *addresses, const void *data)
{
    const struct exact *exact = data;
    mitral_tensor zero = exact->zero;
    zero.data = addresses[3];
    quantized_run(&exact->step, addresses[0], exact->has_zero ? (int32_t)tensor_get_int(&zero, 0) : 0, addresses[1], addresses[2], call->threads);
    return MITRAL_OK;
}

static double scale_of(const struct kernel_call *call, size_t input, int64_t index)
{
    const mitral_tensor *scale = call_input(call, input);
    return (double)((const float *)scale->data)[tensor_count(scale) > 1 ? index : 0];
}

/* As the reference kernels define the result: QLinearConv and QLinearMatMul by one float32 factor and an int32 bias, the fused operators in
 * float64 throughout. */
static void set_columns(const struct kernel_call *call, const struct quantized_places *places, int64_t columns, struct quantized_step *step)
{
    const mitral_tensor *bias = call_input(call, places->bias), *y_scale = call_input(call, places->y_scale);
    step->columns.y_scale = y_scale && !places->one_factor ? scale_of(call, places->y_scale, 0) : 1;
    for (int64_t i = 0; i < columns; i++) {
        if (places->one_factor) {
            const float product = (float)scale_of(call, places->x_scale, 0) * (float)scale_of(call, places->w_scale, i);
            const float factor = product / (float)scale_of(call, places->y_scale, 0);
            quantized_set_column(step, i, bias ? (int32_t)tensor_get_int(bias, i) : 0, (double)factor, 0);
        } else if (places->w_scale != SIZE_MAX) {
            const double scale = scale_of(call, places->x_scale, 0) * scale_of(call, places->w_scale, i);
            const double unit = bias && bias->dtype == MITRAL_INT32 ? scale : 1;
            quantized_set_column(step, i, 0, scale, bias ? tensor_get_double(bias, i) * unit : 0);
        }
    }
}

static mitral_status pack(const struct kernel_call *call, const struct quantized_places *places, int64_t columns, bool turned,
                          struct quantized_step *step)
{
    const mitral_tensor *w = call_input(call, places->w), *w_zero = call_input(call, places->w_zero);
    struct quantized_weights_source source = {.data = w->data, .is_signed = w->dtype == MITRAL_INT8, .turned = turned,
                                              .zero_count = w_zero ? tensor_count(w_zero) : 0};
    int32_t *zeros = mitral_allocate_raw(call->context, ((size_t)source.zero_count + 1) * sizeof *zeros);
    if (!zeros)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < source.zero_count; i++)
        zeros[i] = (int32_t)tensor_get_int(w_zero, i);
    source.zeros = zeros;
    mitral_status status = quantized_pack(call->context, step, &source);
    mitral_release(call->context, zeros);
    set_columns(call, places, columns, step);
    return status;
}

static mitral_status add_exact(struct onednn_program *program, const struct kernel_call *call, const struct quantized_places *places, bool turned,
                               struct exact *exact)
{
    const mitral_tensor *y = call_output(call, 0), *x_zero = call_input(call, places->x_zero), *y_zero = call_input(call, places->y_zero);
    const int layout = turned ? LAYOUT_PLAIN : LAYOUT_CHANNELS_LAST;
    struct quantized_step *step = &exact->step;
    struct onednn_where memory, wheres[4];
    void *data;
    step->x_signed = call_input(call, places->x)->dtype == MITRAL_INT8;
    step->columns.rectified = *attribute_string(call->attributes, "activation", "") != '\0';
    step->columns.y_zero = y_zero ? (int32_t)tensor_get_int(y_zero, 0) : 0;
    step->columns.result = y->dtype == MITRAL_INT32 ? RESULT_SUM : y->dtype == MITRAL_FLOAT ? RESULT_FLOAT
                           : y->dtype == MITRAL_INT8 ? RESULT_INT8 : RESULT_UINT8;
    TRY(onednn_add_buffer(program, call, quantized_memory_bytes(step), &data, &memory));
    quantized_place(step, data);
    TRY(pack(call, places, step->shape.features, turned, step));
    if (x_zero) {
        exact->has_zero = true;
        exact->zero = *x_zero;
    }
    TRY(onednn_input_in(program, call, places->x, layout, &wheres[0]));
    wheres[1] = onednn_output_in(program, call, 0, layout);
    wheres[2] = onednn_scratch(program, quantized_scratch_bytes(step, call->threads));
    wheres[3] = x_zero ? (struct onednn_where){PLACE_INPUT, places->x_zero, 0} : (struct onednn_where){PLACE_NONE, 0, 0};
    TRY(onednn_add_function(program, call, run_exact, wheres, 4, exact, sizeof *exact));
    onednn_program_say(program, step->winograd ? "exact:winograd" : step->depthwise ? "exact:depthwise" : "exact:direct");
    return onednn_finish_output(program, call, 0, layout, wheres[1]);
}

mitral_status quantized_exact(const struct kernel_call *call, const struct quantized_places *places, const struct quantized_shape *shape, bool turned,
                              void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    struct exact exact = {0};
    if (!quantized_plan(shape, cpu_isa(), call->threads > 1 ? call->threads : 1, &exact.step))
        return MITRAL_DEFERRED;
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, add_exact(program, call, places, turned, &exact), state, scratch_bytes);
}
