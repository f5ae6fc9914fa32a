/* mitral.ChannelShuffle: y[n, i · G + j, …] = x[n, j · C / G + i, …] of x [N, C, …] in any layout and of any type; attribute `group`: G, a
 * divisor of C. What ShuffleNet writes as Reshape, Transpose, Reshape (Zhang et al., 2018, arXiv 1707.01083). */
#include <string.h>

#include "runtime/kernels/reference/operand.h"

static mitral_status shuffle_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    const int64_t group = attribute_int(call->attributes, "group", 1);
    char text[160];
    if (!x || x->rank < 2 || mitral_dtype_size((mitral_dtype)x->dtype) == 0 || group < 1 || x->dims[1] % group != 0)
        return call_fail(call, MITRAL_INVALID, "a map [N, C, …] of channels that group %lld divides expected, found %s", (long long)group,
                         x ? tensor_describe(x, text, sizeof text) : "none");
    call_set_output_like(call, 0, x);
    return MITRAL_OK;
}

#define SHUFFLE(T, G)                                                                                                  \
    for (int64_t p = 0; p < pixels; p++, from += (G) * each, to += (G) * each)                                         \
        for (int64_t i = 0; i < each; i++)                                                                             \
            for (int64_t j = 0; j < (G); j++)                                                                          \
                to[i * (G) + j] = from[j * each + i];

/* Groups whose number the compiler knows become vectors that are shuffled into each other. */
#define DEFINE_SHUFFLE(T)                                                                                              \
    VECTOR_CLONES static void shuffle_##T(const T *restrict from, T *restrict to, int64_t pixels, int64_t group,       \
                                          int64_t each)                                                                \
    {                                                                                                                  \
        if (group == 2) {                                                                                              \
            SHUFFLE(T, 2)                                                                                              \
        } else if (group == 3) {                                                                                       \
            SHUFFLE(T, 3)                                                                                              \
        } else if (group == 4) {                                                                                       \
            SHUFFLE(T, 4)                                                                                              \
        } else {                                                                                                       \
            SHUFFLE(T, group)                                                                                          \
        }                                                                                                              \
    }
DEFINE_SHUFFLE(uint8_t)
DEFINE_SHUFFLE(uint16_t)
DEFINE_SHUFFLE(uint32_t)
DEFINE_SHUFFLE(uint64_t)

static void shuffle_pixels(const char *from, char *to, int64_t pixels, int64_t group, int64_t each, size_t element)
{
    const void *x = from;
    void *y = to;
    if (element == 1)
        shuffle_uint8_t(x, y, pixels, group, each);
    else if (element == 2)
        shuffle_uint16_t(x, y, pixels, group, each);
    else if (element == 4)
        shuffle_uint32_t(x, y, pixels, group, each);
    else if (element == 8)
        shuffle_uint64_t(x, y, pixels, group, each);
    else
        for (int64_t p = 0; p < pixels * group * each; p++) {
            const int64_t channel = p % (group * each), target = p - channel + channel % each * group + channel / each;
            memcpy(to + (size_t)target * element, from + (size_t)p * element, element);
        }
}

static mitral_status shuffle_run(struct kernel_call *call)
{
    enum { PIXELS = 256 };
    const mitral_tensor *x = call_input(call, 0), *y = call_output(call, 0);
    const int64_t count = tensor_count(x);
    if (!y || count == 0)
        return MITRAL_OK;
    const int64_t channels = x->dims[1], group = attribute_int(call->attributes, "group", 1), each = channels / group;
    const int64_t pixels = count / channels, plane = pixels / x->dims[0];
    const size_t element = mitral_dtype_size((mitral_dtype)x->dtype);
    const char *from = x->data;
    char *to = y->data;
    if (x->layout == LAYOUT_CHANNELS_LAST) {
#pragma omp parallel for num_threads(call->threads) schedule(static) if (count > 65536)
        for (int64_t first = 0; first < pixels; first += PIXELS) {
            const size_t at = (size_t)(first * channels) * element;
            shuffle_pixels(from + at, to + at, pixels - first < PIXELS ? pixels - first : PIXELS, group, each, element);
        }
        return MITRAL_OK;
    }
#pragma omp parallel for num_threads(call->threads) schedule(static) if (count > 65536)
    for (int64_t k = 0; k < x->dims[0] * channels; k++) {
        const int64_t channel = k % channels, target = k - channel + channel % each * group + channel / each;
        memcpy(to + (size_t)(target * plane) * element, from + (size_t)(k * plane) * element, (size_t)plane * element);
    }
    return MITRAL_OK;
}

const struct kernel channels_shuffle[] = {
    {.name = "mitral.ChannelShuffle", .flags = KERNEL_ANY_LAYOUT, .shape = shuffle_shape, .run = shuffle_run},
};
const size_t channels_shuffle_count = sizeof channels_shuffle / sizeof *channels_shuffle;
