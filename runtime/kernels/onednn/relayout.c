/* Plain to channels-last and back: the transposition of a matrix of channels × pixels for each image. */
#include <string.h>

#include "runtime/kernels/onednn/program.h"

struct relayout {
    int64_t images, rows, columns; /* out[image][column][row] = in[image][row][column] */
    size_t element;
    bool copy;
};

/* A block of 16 × 16 elements of four bytes moves through two cache lines a row; the compiler turns the inner loops into shuffles
 * or gathers as it sees fit. */
enum { BLOCK = 16, ROWS_PER_TASK = 64 };

#define DEFINE_TRANSPOSE(T)                                                                                            \
    static void transpose_##T(const T *restrict in, T *restrict out, int64_t rows, int64_t columns, int64_t first,     \
                              int64_t last)                                                                            \
    {                                                                                                                  \
        for (int64_t column = first; column < last; column += BLOCK) {                                                 \
            const int64_t width = last - column < BLOCK ? last - column : BLOCK;                                       \
            for (int64_t row = 0; row < rows; row += BLOCK) {                                                          \
                const int64_t height = rows - row < BLOCK ? rows - row : BLOCK;                                        \
                for (int64_t c = 0; c < width; c++)                                                                    \
                    for (int64_t r = 0; r < height; r++)                                                               \
                        out[(column + c) * rows + row + r] = in[(row + r) * columns + column + c];                     \
            }                                                                                                          \
        }                                                                                                              \
    }

DEFINE_TRANSPOSE(uint8_t)
DEFINE_TRANSPOSE(uint16_t)
DEFINE_TRANSPOSE(uint32_t)
DEFINE_TRANSPOSE(uint64_t)

static void transpose(const struct relayout *r, const char *in, char *out, int64_t first, int64_t last)
{
    switch (r->element) {
    case 1: transpose_uint8_t((const uint8_t *)in, (uint8_t *)out, r->rows, r->columns, first, last); break;
    case 2: transpose_uint16_t((const uint16_t *)(const void *)in, (uint16_t *)(void *)out, r->rows, r->columns, first, last); break;
    case 4: transpose_uint32_t((const uint32_t *)(const void *)in, (uint32_t *)(void *)out, r->rows, r->columns, first, last); break;
    case 8: transpose_uint64_t((const uint64_t *)(const void *)in, (uint64_t *)(void *)out, r->rows, r->columns, first, last); break;
    default: /* complex128 */
        for (int64_t column = first; column < last; column++)
            for (int64_t row = 0; row < r->rows; row++)
                memcpy(out + (size_t)(column * r->rows + row) * r->element, in + (size_t)(row * r->columns + column) * r->element,
                       r->element);
    }
}

static mitral_status run_relayout(const struct kernel_call *call, void *const *addresses, const void *data)
{
    const struct relayout *r = data;
    const char *in = addresses[0];
    char *out = addresses[1];
    const size_t image_bytes = (size_t)(r->rows * r->columns) * r->element;
    if (r->copy) {
        memcpy(out, in, (size_t)r->images * image_bytes);
        return MITRAL_OK;
    }
    const int64_t parts = (r->columns + ROWS_PER_TASK - 1) / ROWS_PER_TASK;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (r->images * parts > 1)
    for (int64_t task = 0; task < r->images * parts; task++) {
        const int64_t first = task % parts * ROWS_PER_TASK;
        const int64_t last = first + ROWS_PER_TASK < r->columns ? first + ROWS_PER_TASK : r->columns;
        const size_t offset = (size_t)(task / parts) * image_bytes;
        transpose(r, in + offset, out + offset, first, last);
    }
    return MITRAL_OK;
}

mitral_status onednn_add_relayout(struct onednn_program *program, const struct kernel_call *call, const mitral_tensor *tensor,
                                  int from_layout, struct onednn_where from, int to_layout, struct onednn_where to)
{
    struct relayout r = {.images = 1, .rows = 1, .columns = 1, .element = mitral_dtype_size((mitral_dtype)tensor->dtype)};
    if (tensor->rank > 0)
        r.images = tensor->dims[0];
    if (tensor->rank > 1)
        r.rows = tensor->dims[1];
    for (int32_t i = 2; i < tensor->rank; i++)
        r.columns *= tensor->dims[i];
    r.copy = from_layout == to_layout || onednn_layouts_agree(tensor->rank, tensor->dims);
    if (from_layout == LAYOUT_CHANNELS_LAST) {
        int64_t rows = r.rows;
        r.rows = r.columns;
        r.columns = rows;
    }
    const struct onednn_where wheres[] = {from, to};
    onednn_program_say(program, r.copy ? "copy" : "relayout");
    return onednn_add_function(program, call, run_relayout, wheres, 2, &r, sizeof r);
}
