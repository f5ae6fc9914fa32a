/* Plain to channels-last and back: the transposition of a matrix of channels × pixels for each image. */
#include <string.h>

#include "runtime/cpu.h"
#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/reference/operand.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

struct relayout {
    int64_t images, rows, columns; /* out[image][column][row] = in[image][row][column] */
    size_t element;
    bool copy;
    enum isa isa;
};

/* A block of 16 × 16 elements of four bytes moves through two cache lines a row; the compiler turns the inner loops into shuffles
 * or gathers as it sees fit. */
enum { BLOCK = 16, ROWS_PER_TASK = 64, FEW_PER_TASK = 4096 };

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

/* Four-byte elements, 16 × 16 in registers: rows that are a power of two apart fall into the same cache set, so each line is taken
 * whole, once. */
#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx512f"))) static inline void transpose_16(const float *in, float *out, int64_t in_row, int64_t out_row)
{
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i++)
        a[i] = _mm512_loadu_ps(in + i * in_row);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        a[i] = _mm512_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm512_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        b[i] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88);
        b[i + 4] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd);
        b[i + 8] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x88);
        b[i + 12] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_f32x4(b[i], b[i + 8], 0x88);
        a[i + 8] = _mm512_shuffle_f32x4(b[i], b[i + 8], 0xdd);
        a[i + 4] = _mm512_shuffle_f32x4(b[i + 4], b[i + 12], 0x88);
        a[i + 12] = _mm512_shuffle_f32x4(b[i + 4], b[i + 12], 0xdd);
    }
    for (int i = 0; i < 16; i++)
        _mm512_storeu_ps(out + i * out_row, a[i]);
}

__attribute__((target("avx512f"))) static void transpose_avx512(const float *in, float *out, int64_t rows, int64_t columns, int64_t first,
                                                               int64_t last)
{
    for (int64_t column = first; column + 16 <= last; column += 16)
        for (int64_t row = 0; row + 16 <= rows; row += 16)
            transpose_16(in + row * columns + column, out + column * rows + row, columns, rows);
}

__attribute__((target("avx2"))) static inline void transpose_8(const float *in, float *out, int64_t in_row, int64_t out_row)
{
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i++)
        a[i] = _mm256_loadu_ps(in + i * in_row);
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out + i * out_row, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps(out + (i + 4) * out_row, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}

__attribute__((target("avx2"))) static void transpose_avx2(const float *in, float *out, int64_t rows, int64_t columns, int64_t first,
                                                          int64_t last)
{
    for (int64_t column = first; column + 16 <= last; column += 16)
        for (int64_t row = 0; row + 8 <= rows; row += 8) {
            transpose_8(in + row * columns + column, out + column * rows + row, columns, rows);
            transpose_8(in + row * columns + column + 8, out + (column + 8) * rows + row, columns, rows);
        }
}
#endif

DEFINE_TRANSPOSE(uint8_t)
DEFINE_TRANSPOSE(uint16_t)
DEFINE_TRANSPOSE(uint32_t)
DEFINE_TRANSPOSE(uint64_t)

/* Columns [first, last) of four-byte elements: whole blocks in registers, edges by single elements. */
static void transpose_words(const struct relayout *r, const uint32_t *in, uint32_t *out, int64_t first, int64_t last)
{
    int64_t columns_done = first, rows_done = 0;
#if defined(__x86_64__) && defined(__GNUC__)
    const int64_t block = r->isa >= ISA_AVX512 ? 16 : 8;
    if (r->isa != ISA_PORTABLE && r->rows >= block && last - first >= BLOCK) {
        (r->isa >= ISA_AVX512 ? transpose_avx512 : transpose_avx2)((const float *)(const void *)in, (float *)(void *)out, r->rows, r->columns,
                                                                   first, last);
        columns_done = first + (last - first) / BLOCK * BLOCK;
        rows_done = r->rows / block * block;
    }
#endif
    if (rows_done < r->rows) /* the last rows of the columns that are done */
        for (int64_t column = first; column < columns_done; column++)
            for (int64_t row = rows_done; row < r->rows; row++)
                out[column * r->rows + row] = in[row * r->columns + column];
    transpose_uint32_t(in, out, r->rows, r->columns, columns_done, last);
}

/* Few channels: pixels [first, last) of planes to pixels and back, with the number of channels known to the compiler. */
#define DEFINE_FEW(CHANNELS)                                                                                           \
    VECTOR_CLONES static void weave_##CHANNELS(const uint32_t *restrict in, uint32_t *restrict out, int64_t plane,     \
                                               int64_t first, int64_t last)                                            \
    {                                                                                                                  \
        for (int64_t i = first; i < last; i++)                                                                         \
            for (int c = 0; c < (CHANNELS); c++)                                                                       \
                out[i * (CHANNELS) + c] = in[c * plane + i];                                                           \
    }                                                                                                                  \
    VECTOR_CLONES static void part_##CHANNELS(const uint32_t *restrict in, uint32_t *restrict out, int64_t plane,      \
                                              int64_t first, int64_t last)                                             \
    {                                                                                                                  \
        for (int64_t i = first; i < last; i++)                                                                         \
            for (int c = 0; c < (CHANNELS); c++)                                                                       \
                out[c * plane + i] = in[i * (CHANNELS) + c];                                                           \
    }
DEFINE_FEW(2)
DEFINE_FEW(3)
DEFINE_FEW(4)

typedef void few_function(const uint32_t *in, uint32_t *out, int64_t plane, int64_t first, int64_t last);

/* *plane: the side that is walked. NULL: not so few, or not of four bytes. */
static few_function *few_channels(const struct relayout *r, int64_t *plane)
{
    static few_function *const weave[] = {weave_2, weave_3, weave_4}, *const part[] = {part_2, part_3, part_4};
    if (r->element != 4)
        return NULL;
    *plane = r->columns;
    if (r->rows >= 2 && r->rows <= 4)
        return weave[r->rows - 2];
    *plane = r->rows;
    return r->columns >= 2 && r->columns <= 4 ? part[r->columns - 2] : NULL;
}

static void transpose(const struct relayout *r, const char *in, char *out, int64_t first, int64_t last)
{
    switch (r->element) {
    case 1: transpose_uint8_t((const uint8_t *)in, (uint8_t *)out, r->rows, r->columns, first, last); break;
    case 2: transpose_uint16_t((const uint16_t *)(const void *)in, (uint16_t *)(void *)out, r->rows, r->columns, first, last); break;
    case 4: transpose_words(r, (const uint32_t *)(const void *)in, (uint32_t *)(void *)out, first, last); break;
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
    int64_t plane;
    few_function *few = few_channels(r, &plane);
    if (few) {
        const int64_t parts = (plane + FEW_PER_TASK - 1) / FEW_PER_TASK;
#pragma omp parallel for num_threads(call->threads) schedule(static) if (r->images * parts > 1)
        for (int64_t task = 0; task < r->images * parts; task++) {
            const int64_t first = task % parts * FEW_PER_TASK, last = first + FEW_PER_TASK < plane ? first + FEW_PER_TASK : plane;
            const size_t offset = (size_t)(task / parts) * image_bytes;
            few((const uint32_t *)(const void *)(in + offset), (uint32_t *)(void *)(out + offset), plane, first, last);
        }
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
    struct relayout r = {.images = 1, .rows = 1, .columns = 1, .element = mitral_dtype_size((mitral_dtype)tensor->dtype),
                         .isa = cpu_isa()};
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
