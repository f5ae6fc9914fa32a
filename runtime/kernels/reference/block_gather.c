/* com.microsoft's GatherBlockQuantized: slices of weights in blocks along an axis, each block with a scale and perhaps a zero point.
 * Inputs data (int4, uint4, uint8 that holds 2, 4 or 8 bits an element, or small floats), indices, scales, zero points? like data. */
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/reference/gather.h"
#include "runtime/kernels/reference/quantized.h"

enum { DATA, INDICES, SCALES, ZEROS };

struct blocks {
    int64_t bits;                              /* of elements that are packed into bytes; 0: none are */
    int64_t gather, quantized, block, blocks;  /* the two axes */
    int32_t rank;
    int64_t dims[MITRAL_MAX_RANK];             /* of the data in elements */
    int64_t scale_strides[MITRAL_MAX_RANK];    /* 0 where one scale serves the whole axis */
};

static bool is_small_float(int32_t dtype)
{
    return dtype == MITRAL_FLOAT8E4M3FN || dtype == MITRAL_FLOAT8E4M3FNUZ || dtype == MITRAL_FLOAT8E5M2 || dtype == MITRAL_FLOAT8E5M2FNUZ
           || dtype == MITRAL_FLOAT4E2M1;
}

static mitral_status check_zeros(const struct kernel_call *call, const struct blocks *b, const mitral_tensor *data, const mitral_tensor *scales)
{
    const mitral_tensor *zeros = call_input(call, ZEROS);
    char text[160];
    if (!zeros)
        return MITRAL_OK;
    bool fits = zeros->dtype == data->dtype && !is_small_float(data->dtype) && zeros->rank == scales->rank;
    for (int32_t i = 0; fits && i < b->rank; i++)
        fits = zeros->dims[i] == (b->bits && i == b->rank - 1 ? divide_up(scales->dims[i] * b->bits, 8) : scales->dims[i]);
    return fits ? MITRAL_OK : call_fail(call, MITRAL_INVALID, "zero points of integers, as many as scales and of the data's type, expected, found %s",
                                        tensor_describe(zeros, text, sizeof(text)));
}

static mitral_status decode(const struct kernel_call *call, struct blocks *b)
{
    const mitral_tensor *data, *indices, *scales;
    char text[160];
    TRY(need_tensor(call, DATA, &data));
    TRY(need_tensor(call, INDICES, &indices));
    TRY(need_tensor(call, SCALES, &scales));
    TRY(check_index_type(call, INDICES));
    const bool floats = is_small_float(data->dtype), bytes = data->dtype == MITRAL_UINT8;
    const int64_t bits = attribute_int(call->attributes, "bits", 4);
    *b = (struct blocks){.bits = bytes ? bits : 0, .block = attribute_int(call->attributes, "block_size", 128), .rank = data->rank};
    if (!floats && !bytes && data->dtype != MITRAL_INT4 && data->dtype != MITRAL_UINT4)
        return call_fail(call, MITRAL_UNSUPPORTED, "data of int4, uint4, uint8 or a float of 4 or 8 bits expected, found %s",
                         mitral_dtype_name((mitral_dtype)data->dtype));
    if (bytes && bits != 2 && bits != 4 && bits != 8)
        return call_fail(call, MITRAL_INVALID, "2, 4 or 8 bits expected, found %lld", (long long)bits);
    TRY(call_axis(call, attribute_int(call->attributes, "gather_axis", 0), data->rank, &b->gather));
    TRY(call_axis(call, attribute_int(call->attributes, "quantize_axis", 1), data->rank, &b->quantized));
    memcpy(b->dims, data->dims, sizeof(b->dims));
    if (bytes && (b->gather != 0 || (bits < 8 && b->quantized == 0) || !multiply_sizes(b->dims[b->rank - 1], 8 / bits, &b->dims[b->rank - 1])))
        return call_fail(call, MITRAL_INVALID, "uint8 data gathered along axis 0 and in blocks along another expected, found axes %lld and %lld",
                         (long long)b->gather, (long long)b->quantized);
    if (floats && b->block == 0)
        b->block = larger(b->dims[b->quantized], 1);
    else if (b->block < 16 || (b->block & (b->block - 1)))
        return call_fail(call, MITRAL_INVALID, "a power of 2 from 16 as block_size expected, found %lld", (long long)b->block);
    b->blocks = divide_up(b->dims[b->quantized], b->block);
    bool fits = scales->rank == b->rank && (scales->dtype == MITRAL_FLOAT || scales->dtype == MITRAL_FLOAT16 || scales->dtype == MITRAL_BFLOAT16);
    tensor_strides(scales, b->scale_strides);
    for (int32_t i = 0; fits && i < b->rank; i++) {
        const int64_t wanted = i == b->quantized ? b->blocks : b->dims[i];
        fits = scales->dims[i] == wanted || (floats && scales->dims[i] == 1);
        if (scales->dims[i] == 1)
            b->scale_strides[i] = 0;
    }
    if (!fits)
        return call_fail(call, MITRAL_INVALID, "scales like the data with %lld blocks along axis %lld expected, found %s", (long long)b->blocks,
                         (long long)b->quantized, tensor_describe(scales, text, sizeof(text)));
    return check_zeros(call, b, data, scales);
}

static mitral_status shape(struct kernel_call *call)
{
    struct blocks b;
    TRY(decode(call, &b));
    const mitral_tensor *indices = call_input(call, INDICES);
    int64_t dims[2 * MITRAL_MAX_RANK];
    int32_t rank = 0;
    for (int32_t i = 0; i < b.gather; i++)
        dims[rank++] = b.dims[i];
    for (int32_t i = 0; i < indices->rank; i++)
        dims[rank++] = indices->dims[i];
    for (int32_t i = (int32_t)b.gather + 1; i < b.rank; i++)
        dims[rank++] = b.dims[i];
    return set_output(call, 0, call_input(call, SCALES)->dtype, rank, dims);
}

/* Elements are numbered as if none were packed: a row's last byte is full, for its length in elements is whole bytes. */
static double element(const struct blocks *b, const mitral_tensor *data, int64_t index)
{
    return b->bits ? (double)packed_bits(data->data, index, b->bits) : tensor_get_double(data, index);
}

static double zero_point(const struct blocks *b, const mitral_tensor *zeros, const mitral_tensor *scales, int64_t index)
{
    if (!zeros)
        return b->bits ? (double)(1 << (b->bits - 1)) : 0;
    if (!b->bits)
        return tensor_get_double(zeros, index);
    const int64_t row = scales->dims[b->rank - 1];
    return packed_bits((const uint8_t *)zeros->data + index / row * zeros->dims[b->rank - 1], index % row, b->bits);
}

static mitral_status run(struct kernel_call *call)
{
    const mitral_tensor *data = call_input(call, DATA), *indices = call_input(call, INDICES), *scales = call_input(call, SCALES);
    const mitral_tensor *zeros = call_input(call, ZEROS);
    mitral_tensor *y = call_output(call, 0);
    struct blocks b;
    if (!y || !y->data || tensor_count(y) == 0)
        return MITRAL_OK;
    TRY(decode(call, &b));
    const int64_t size = b.dims[b.gather], picks = tensor_count(indices), inner = dims_product(b.dims, (int32_t)b.gather + 1, b.rank);
    const int64_t count = tensor_count(y);
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t i = 0; i < count; i++) {
        int64_t picked = index_at(indices, i / inner % picks);
        picked += picked < 0 ? size : 0;
        if (picked < 0 || picked >= size) { /* unlike Gather: nothing is there */
            tensor_set_double(y, i, 0, true);
            continue;
        }
        const int64_t from = (i / inner / picks * size + picked) * inner + i % inner;
        int64_t scale = 0, left = from;
        for (int32_t axis = b.rank - 1; axis >= 0; axis--) {
            const int64_t at = left % b.dims[axis];
            left /= b.dims[axis];
            scale += (axis == b.quantized ? at / b.block : at) * b.scale_strides[axis];
        }
        const double value = element(&b, data, from) - zero_point(&b, zeros, scales, scale);
        tensor_set_double(y, i, (double)((float)value * (float)tensor_get_double(scales, scale)), true);
    }
    return MITRAL_OK;
}

const struct kernel reference_block_gather[] = {
    {.name = "microsoft.GatherBlockQuantized", .shape = shape, .run = run},
};
const size_t reference_block_gather_count = sizeof(reference_block_gather) / sizeof(*reference_block_gather);
