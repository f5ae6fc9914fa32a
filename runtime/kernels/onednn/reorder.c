/* onednn.reorder: the input in another layout (attribute "layout": enum layout) and, with attribute "to", another element type
 * (float32, bfloat16, float16). */
#include "runtime/kernels/onednn/program.h"

static mitral_status reorder_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    const int64_t layout = attribute_int(call->attributes, "layout", LAYOUT_PLAIN);
    const int64_t to = attribute_int(call->attributes, "to", x ? x->dtype : MITRAL_UNDEFINED);
    if (!x || (layout != LAYOUT_PLAIN && layout != LAYOUT_CHANNELS_LAST) || x->dtype == MITRAL_STRING
        || (to != x->dtype && (onednn_type((int32_t)to) == dnnl_data_type_undef || onednn_type(x->dtype) == dnnl_data_type_undef)))
        return call_fail(call, MITRAL_INVALID, "expected layout 0 or 1 and types that can be converted, found %lld and %lld",
                         (long long)layout, (long long)to);
    call_set_output(call, 0, (int32_t)to, x->rank, x->dims);
    mitral_tensor *y = call_output(call, 0);
    if (y)
        y->layout = (int32_t)layout;
    return MITRAL_OK;
}

static mitral_status add_reorder(struct onednn_program *program, const struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0), *y = call_output(call, 0);
    if (!y || tensor_count(y) == 0)
        return MITRAL_OK;
    if (x->dtype == y->dtype)
        return onednn_add_relayout(program, call, x, x->layout, (struct onednn_where){PLACE_INPUT, 0, 0}, y->layout,
                                   (struct onednn_where){PLACE_OUTPUT, 0, 0});
    dnnl_memory_desc_t from = NULL, to = NULL;
    mitral_status status = onednn_descriptor(call, &from, x->dtype, x->rank, x->dims, x->layout);
    if (status == MITRAL_OK)
        status = onednn_descriptor(call, &to, y->dtype, y->rank, y->dims, y->layout);
    if (status == MITRAL_OK)
        status = onednn_add_reorder(program, call, from, (struct onednn_where){PLACE_INPUT, 0, 0}, to, (struct onednn_where){PLACE_OUTPUT, 0, 0});
    onednn_descriptor_free(&from);
    onednn_descriptor_free(&to);
    return status;
}

static mitral_status reorder_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, add_reorder(program, call), state, scratch_bytes);
}

const struct kernel onednn_reorder[] = {
    {.name = "onednn.reorder", .shape = reorder_shape, .prepare = reorder_prepare, .run = onednn_program_run,
     .release = onednn_program_destroy, .describe = onednn_program_describe},
};
const size_t onednn_reorder_count = sizeof onednn_reorder / sizeof *onednn_reorder;
