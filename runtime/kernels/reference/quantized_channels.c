/* com.microsoft's operators over channels-last data: NhwcMaxPool, and QLinearConv with channels_last. A tensor [N, spatial…, C] is one
 * [N, C, spatial…] whose elements lie channels-last, which is what the kernels of oneDNN take. */
#include <string.h>

#include "runtime/kernel.h"

enum { INPUTS = 9 };

/* The call as the inner kernel sees it. */
struct turned {
    struct kernel_call call;
    mitral_value x, y;
    const mitral_value *inputs[INPUTS];
    mitral_value *outputs[2];
};

static void turn_tensor(const mitral_tensor *from, bool to_channels_first, mitral_tensor *out)
{
    *out = *from;
    out->layout = to_channels_first ? LAYOUT_CHANNELS_LAST : LAYOUT_PLAIN;
    for (int32_t i = 1; i < from->rank; i++)
        out->dims[i] = to_channels_first ? from->dims[i == 1 ? from->rank - 1 : i - 1] : from->dims[i == from->rank - 1 ? 1 : i + 1];
}

static mitral_status open_turned(const struct kernel_call *call, const char *kernel, struct turned *out)
{
    const mitral_tensor *x = call_input(call, 0), *y = call_output(call, 0);
    if (!x || x->rank < 3 || x->layout != LAYOUT_PLAIN || call->input_count > INPUTS)
        return call_fail(call, MITRAL_INVALID, "data [N, spatial…, C] and at most %d inputs expected", INPUTS);
    *out = (struct turned){.call = *call};
    for (size_t i = 0; i < call->input_count; i++)
        out->inputs[i] = call->inputs[i];
    turn_tensor(x, true, &out->x.tensor);
    if (y && y->rank == x->rank)
        turn_tensor(y, true, &out->y.tensor);
    out->y.tensor.layout = LAYOUT_CHANNELS_LAST;
    out->inputs[0] = &out->x;
    out->outputs[0] = &out->y;
    out->call.kernel = kernel_find(kernel);
    out->call.opset = 13; /* of the standard's operator */
    out->call.inputs = out->inputs;
    out->call.outputs = out->outputs;
    out->call.output_count = 1;
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call, const char *kernel)
{
    struct turned turned;
    mitral_tensor y;
    TRY(open_turned(call, kernel, &turned));
    TRY(turned.call.kernel->shape(&turned.call));
    turn_tensor(&turned.y.tensor, false, &y);
    call_set_output(call, 0, y.dtype, y.rank, y.dims);
    return MITRAL_OK;
}

static mitral_status prepare(struct kernel_call *call, const char *kernel, void **state, size_t *scratch_bytes)
{
    struct turned turned;
    TRY(open_turned(call, kernel, &turned));
    return turned.call.kernel->prepare(&turned.call, state, scratch_bytes);
}

static mitral_status run(struct kernel_call *call, const char *kernel)
{
    struct turned turned;
    if (!call_output(call, 0))
        return MITRAL_OK;
    TRY(open_turned(call, kernel, &turned));
    return turned.call.kernel->run(&turned.call);
}

static const char pool[] = "onednn.max_pool", convolution[] = "onednn.qlinear_convolution";

static void release(mitral_context *context, void *state)
{
    kernel_find(pool)->release(context, state); /* programs of oneDNN, all of them */
}

static mitral_status pool_shape(struct kernel_call *call) { return shape(call, pool); }
static mitral_status pool_prepare(struct kernel_call *call, void **state, size_t *bytes) { return prepare(call, pool, state, bytes); }
static mitral_status pool_run(struct kernel_call *call) { return run(call, pool); }

static bool is_plain(const struct kernel_call *call)
{
    return attribute_int(call->attributes, "channels_last", 0) == 0;
}

static mitral_status convolution_shape(struct kernel_call *call)
{
    return is_plain(call) ? kernel_find("QLinearConv")->shape(call) : shape(call, convolution);
}

static mitral_status convolution_prepare(struct kernel_call *call, void **state, size_t *bytes)
{
    return is_plain(call) ? kernel_find(convolution)->prepare(call, state, bytes) : prepare(call, convolution, state, bytes);
}

static mitral_status convolution_run(struct kernel_call *call)
{
    return is_plain(call) ? kernel_find(convolution)->run(call) : run(call, convolution);
}

const struct kernel reference_quantized_channels[] = {
    {.name = "microsoft.NhwcMaxPool", .shape = pool_shape, .prepare = pool_prepare, .run = pool_run, .release = release},
    {.name = "microsoft.QLinearConv", .shape = convolution_shape, .prepare = convolution_prepare, .run = convolution_run, .release = release},
};
const size_t reference_quantized_channels_count = sizeof(reference_quantized_channels) / sizeof(*reference_quantized_channels);
