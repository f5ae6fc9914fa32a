/* channels.concat and channels.split: Concat and Split along the channels of channels-last maps. */
#include <string.h>

#include "runtime/kernels/onednn/onednn.h"
#include "runtime/kernels/reference/operand.h"

static mitral_status concat_shape_plain(struct kernel_call *call)
{
    const struct kernel *kernel = kernel_find("Concat");
    return kernel ? kernel->shape(call) : call_fail(call, MITRAL_UNSUPPORTED, "the kernel Concat expected, found none");
}

static mitral_status split_shape_plain(struct kernel_call *call)
{
    const struct kernel *kernel = kernel_find("Split");
    return kernel ? kernel->shape(call) : call_fail(call, MITRAL_UNSUPPORTED, "the kernel Split expected, found none");
}

static mitral_status split_shape(struct kernel_call *call)
{
    return onednn_shape_keeping_layouts(call, split_shape_plain);
}

static mitral_status concat_shape(struct kernel_call *call)
{
    return onednn_shape_keeping_layouts(call, concat_shape_plain);
}

/* `count` rows of `width` units from rows `from_pitch` apart to rows `to_pitch` apart. */
#define DEFINE_COPY(T)                                                                                                 \
    VECTOR_CLONES static void copy_##T(const T *restrict from, T *restrict to, int64_t count, int64_t width,           \
                                       int64_t from_pitch, int64_t to_pitch)                                           \
    {                                                                                                                  \
        for (int64_t i = 0; i < count; i++, from += from_pitch, to += to_pitch)                                        \
            for (int64_t c = 0; c < width; c++)                                                                        \
                to[c] = from[c];                                                                                       \
    }
DEFINE_COPY(uint32_t)
DEFINE_COPY(uint16_t)

static void copy_rows(const char *from, char *to, int64_t count, int64_t width, int64_t from_pitch, int64_t to_pitch, size_t element)
{
    if (element == 4) {
        copy_uint32_t((const uint32_t *)(const void *)from, (uint32_t *)(void *)to, count, width, from_pitch, to_pitch);
    } else if (element == 2) {
        copy_uint16_t((const uint16_t *)(const void *)from, (uint16_t *)(void *)to, count, width, from_pitch, to_pitch);
    } else {
        for (int64_t i = 0; i < count; i++)
            memcpy(to + (size_t)(i * to_pitch) * element, from + (size_t)(i * from_pitch) * element, (size_t)width * element);
    }
}

/* Rows of a map: images × pixels. */
static int64_t rows_of(const mitral_tensor *tensor)
{
    int64_t rows = tensor->dims[0];
    for (int32_t i = 2; i < tensor->rank; i++)
        rows *= tensor->dims[i];
    return rows;
}

enum { ROW_BLOCK = 256 };

/* Between one map of all channels and its parts. */
static mitral_status move_parts(struct kernel_call *call, const mitral_tensor *whole, bool join)
{
    const size_t parts = join ? call->input_count : call->output_count, element = mitral_dtype_size((mitral_dtype)whole->dtype);
    const int64_t rows = rows_of(whole), channels = whole->dims[1];
#pragma omp parallel for num_threads(call->threads) schedule(static) if (rows * channels > 65536)
    for (int64_t first = 0; first < rows; first += ROW_BLOCK) {
        const int64_t count = rows - first < ROW_BLOCK ? rows - first : ROW_BLOCK;
        int64_t channel = 0;
        for (size_t i = 0; i < parts; i++) {
            const mitral_tensor *part = join ? call_input(call, i) : call_output(call, i);
            if (!part) /* only Concat knows how wide it would be; Split's outputs are all there */
                continue;
            const int64_t width = part->dims[1];
            char *inner = (char *)part->data + (size_t)(first * width) * element;
            char *outer = (char *)whole->data + (size_t)(first * channels + channel) * element;
            if (join)
                copy_rows(inner, outer, count, width, width, channels, element);
            else
                copy_rows(outer, inner, count, width, channels, width, element);
            channel += width;
        }
    }
    return MITRAL_OK;
}

static mitral_status concat_run(struct kernel_call *call)
{
    const mitral_tensor *y = call_output(call, 0);
    return y && tensor_count(y) ? move_parts(call, y, true) : MITRAL_OK;
}

static mitral_status split_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    return tensor_count(x) ? move_parts(call, x, false) : MITRAL_OK;
}

const struct kernel channels_concat[] = {
    {.name = "channels.concat", .shape = concat_shape, .run = concat_run},
    {.name = "channels.split", .shape = split_shape, .run = split_run},
};
const size_t channels_concat_count = sizeof channels_concat / sizeof *channels_concat;
