/* com.microsoft's MatMulNBits: A [.., K] by weights of 2, 4 or 8 bits, each block of a column's elements with a scale and a zero point.
 * Inputs A, B uint8 [N, blocks, block_size · bits / 8], scales [N · blocks], zero points?, group index?, bias [N]?. */
#include <string.h>

#include "runtime/kernels/reference/quantized.h"

enum { A, B, SCALES, ZEROS, GROUPS, BIAS };

struct block_weights {
    int64_t rows, k, n, bits, block, blocks;
    bool packed_zeros; /* as B; else one of A's type each */
};

static mitral_status decode(const struct kernel_call *call, struct block_weights *out)
{
    const mitral_tensor *a = call_input(call, A), *b = call_input(call, B), *scales = call_input(call, SCALES), *zeros = call_input(call, ZEROS);
    const mitral_tensor *groups = call_input(call, GROUPS), *bias = call_input(call, BIAS);
    char text[160];
    int64_t count, bytes;
    *out = (struct block_weights){.k = attribute_int(call->attributes, "K", 0), .n = attribute_int(call->attributes, "N", 0),
                                  .bits = attribute_int(call->attributes, "bits", 4), .block = attribute_int(call->attributes, "block_size", 0)};
    if (out->k < 1 || out->n < 1 || (out->bits != 2 && out->bits != 4 && out->bits != 8) || out->block < 16 || (out->block & (out->block - 1))
        || out->block > INT32_MAX)
        return call_fail(call, MITRAL_INVALID, "K and N from 1, 2, 4 or 8 bits and a power of 2 from 16 as block_size expected, found %lld, %lld, %lld, %lld",
                         (long long)out->k, (long long)out->n, (long long)out->bits, (long long)out->block);
    if (!a || a->rank < 1 || a->dims[a->rank - 1] != out->k)
        return call_fail(call, MITRAL_INVALID, "A of %lld columns expected, found %s", (long long)out->k,
                         a ? tensor_describe(a, text, sizeof(text)) : "none");
    out->rows = tensor_count(a) / out->k;
    out->blocks = out->k / out->block + (out->k % out->block != 0);
    if (!multiply_sizes(out->n, out->blocks, &count) || !multiply_sizes(count, out->block * out->bits / 8, &bytes) || !b || b->dtype != MITRAL_UINT8
        || tensor_count(b) != bytes)
        return call_fail(call, MITRAL_INVALID, "B uint8[%lld,%lld,%lld] expected, found %s", (long long)out->n, (long long)out->blocks,
                         (long long)(out->block * out->bits / 8), b ? tensor_describe(b, text, sizeof(text)) : "none");
    if (!scales || !dtype_is_float(scales->dtype) || tensor_count(scales) != count)
        return call_fail(call, MITRAL_INVALID, "%lld scales expected, found %s", (long long)count,
                         scales ? tensor_describe(scales, text, sizeof(text)) : "none");
    out->packed_zeros = zeros && zeros->dtype == MITRAL_UINT8;
    const int64_t row_bytes = (out->blocks * out->bits + 7) / 8;
    if (zeros && tensor_count(zeros) != (out->packed_zeros ? out->n * row_bytes : count))
        return call_fail(call, MITRAL_INVALID, "zero points of %lld blocks expected, found %s", (long long)count, tensor_describe(zeros, text, sizeof(text)));
    if (bias && tensor_count(bias) != out->n)
        return call_fail(call, MITRAL_INVALID, "a bias of %lld expected, found %s", (long long)out->n, tensor_describe(bias, text, sizeof(text)));
    if (groups)
        return call_fail(call, MITRAL_UNSUPPORTED, "no group index expected, found %s", tensor_describe(groups, text, sizeof(text)));
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call)
{
    struct block_weights w;
    enum compute compute;
    int64_t dims[MITRAL_MAX_RANK] = {0};
    int32_t rank = 0;
    TRY(check_float_operand(call, A, &compute));
    TRY(decode(call, &w));
    const mitral_tensor *a = call_input(call, A);
    for (; a && rank < a->rank - 1; rank++)
        dims[rank] = a->dims[rank];
    dims[rank++] = w.n;
    call_set_output(call, 0, a ? a->dtype : MITRAL_FLOAT, rank, dims);
    return MITRAL_OK;
}

struct places {
    const float *a;
    float *columns, *y; /* one column of weights for each thread */
};

static void place(const struct kernel_call *call, struct work *work, const struct block_weights *w, struct places *out)
{
    out->a = work_operand(work, COMPUTE_FLOAT, call_input(call, A));
    out->columns = work_take(work, call->threads, (size_t)(w->blocks * w->block) * sizeof(float));
    out->y = work_result(work, COMPUTE_FLOAT, call_output(call, 0));
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct block_weights w;
    struct places places;
    struct work work = {0};
    (void)state;
    TRY(decode(call, &w));
    place(call, &work, &w, &places);
    return work_measure(call, &work, scratch_bytes);
}

static void load_column(const struct kernel_call *call, const struct block_weights *w, int64_t column, float *out)
{
    const mitral_tensor *scales = call_input(call, SCALES), *zeros = call_input(call, ZEROS);
    const int64_t row_bytes = (w->blocks * w->bits + 7) / 8;
    const uint8_t *data = (const uint8_t *)call_input(call, B)->data + column * w->blocks * (w->block * w->bits / 8);
    for (int64_t i = 0; i < w->blocks; i++, data += w->block * w->bits / 8) {
        const float scale = (float)tensor_get_double(scales, column * w->blocks + i);
        float zero = (float)(1 << (w->bits - 1));
        if (w->packed_zeros)
            zero = (float)packed_bits((const uint8_t *)zeros->data + column * row_bytes, i, w->bits);
        else if (zeros)
            zero = (float)tensor_get_double(zeros, column * w->blocks + i);
        for (int64_t j = 0; j < w->block; j++)
            out[i * w->block + j] = ((float)packed_bits(data, j, w->bits) - zero) * scale;
    }
}

/* Sixteen sums side by side: a fixed order that a compiler can make vectors of. */
VECTOR_CLONES static float dot(const float *a, const float *b, int64_t count)
{
    enum { LANES = 16 };
    float sums[LANES] = {0}, total = 0;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            sums[lane] += a[i + lane] * b[i + lane];
    for (; i < count; i++)
        total += a[i] * b[i];
    for (int lane = 0; lane < LANES; lane++)
        total += sums[lane];
    return total;
}

static mitral_status run(struct kernel_call *call)
{
    struct block_weights w;
    struct places places;
    struct work work = work_of(call);
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data || tensor_count(y) == 0)
        return MITRAL_OK;
    TRY(decode(call, &w));
    place(call, &work, &w, &places);
    const mitral_tensor *bias = call_input(call, BIAS);
    const int64_t parts = call->threads;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t part = 0; part < parts; part++) {
        float *column = places.columns + part * w.blocks * w.block;
        for (int64_t n = w.n * part / parts; n < w.n * (part + 1) / parts; n++) {
            load_column(call, &w, n, column);
            const float added = bias ? (float)tensor_get_double(bias, n) : 0;
            for (int64_t row = 0; row < w.rows; row++)
                places.y[row * w.n + n] = dot(places.a + row * w.k, column, w.k) + added;
        }
    }
    work_store(COMPUTE_FLOAT, y, places.y);
    return MITRAL_OK;
}

const struct kernel reference_block_weights[] = {
    {.name = "microsoft.MatMulNBits", .shape = shape, .prepare = prepare, .run = run},
};
const size_t reference_block_weights_count = sizeof(reference_block_weights) / sizeof(*reference_block_weights);
