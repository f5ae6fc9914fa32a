/* TensorProto to tensor: every encoding of every element type. */
#include <string.h>

#include "compiler/import_internal.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is little-endian and is taken as it is");

/* The one list of a TensorProto that holds elements of a type, and how. */
struct typed_data {
    const void *data;
    size_t count;        /* entries in the list */
    size_t size;         /* bytes of an entry */
    const char *field;
};

static struct typed_data typed_data_of(const onnx_tensor *proto)
{
    switch (proto->data_type) {
    case MITRAL_FLOAT: case MITRAL_COMPLEX64:
        return (struct typed_data){proto->float_data, proto->n_float_data, 4, "float_data"};
    case MITRAL_DOUBLE: case MITRAL_COMPLEX128:
        return (struct typed_data){proto->double_data, proto->n_double_data, 8, "double_data"};
    case MITRAL_INT64:
        return (struct typed_data){proto->int64_data, proto->n_int64_data, 8, "int64_data"};
    case MITRAL_UINT32: case MITRAL_UINT64:
        return (struct typed_data){proto->uint64_data, proto->n_uint64_data, 8, "uint64_data"};
    case MITRAL_STRING:
        return (struct typed_data){proto->string_data, proto->n_string_data, sizeof *proto->string_data, "string_data"};
    default:
        return (struct typed_data){proto->int32_data, proto->n_int32_data, 4, "int32_data"};
    }
}

static size_t typed_total(const onnx_tensor *proto)
{
    return proto->n_float_data + proto->n_double_data + proto->n_int64_data + proto->n_uint64_data + proto->n_string_data +
           proto->n_int32_data;
}

/* Elements of 2, 4 or 6 bits from packed bytes, the first in the lowest bits, to one a byte. Entries are `stride` bytes apart: 1 in raw data, 4 in int32_data,
 * whose lowest byte comes first. */
static void unpack_bits(uint8_t *out, const uint8_t *packed, size_t stride, size_t count, int32_t dtype)
{
    unsigned bits = (unsigned)dtype_bits(dtype), mask = (1u << bits) - 1, sign = 1u << (bits - 1);
    bool extend = dtype_is_integer(dtype) && dtype_is_signed(dtype);
    for (size_t i = 0; i < count; i++) {
        /* Eight elements take whole bytes: no product of the count. */
        size_t byte = i / 8 * bits + i % 8 * bits / 8, shift = i % 8 * bits % 8;
        unsigned value = packed[byte * stride] >> shift;
        if (shift + bits > 8)
            value |= (unsigned)packed[(byte + 1) * stride] << (8 - shift);
        value &= mask;
        out[i] = (uint8_t)(extend ? (value ^ sign) - sign : value);
    }
}


/* Memory for the elements, from the graph's arena. */
static mitral_status allocate_data(struct importer *importer, mitral_tensor *out)
{
    size_t bytes = tensor_bytes(out);
    out->data = arena_allocate(importer->graph->arena, bytes ? bytes : 1);
    return out->data ? MITRAL_OK : MITRAL_NO_MEMORY;
}

/* The tensor's data are these bytes. Large ones lie in the graph's arena already and are kept without a copy. */
static mitral_status take_bytes(struct importer *importer, mitral_tensor *out, const void *bytes, size_t size)
{
    if (size >= IMPORT_LARGE_BYTES) {
        out->data = (void *)(uintptr_t)bytes;
        return MITRAL_OK;
    }
    TRY(allocate_data(importer, out));
    if (size)
        memcpy(out->data, bytes, size);
    return MITRAL_OK;
}

static void normalise_bools(mitral_tensor *tensor)
{
    uint8_t *bytes = tensor->data;
    for (size_t i = 0, n = tensor_bytes(tensor); i < n; i++)
        bytes[i] = bytes[i] != 0;
}

/* Bytes as files hold the elements: packed where they are narrower than a byte. */
static size_t stored_bytes(const mitral_tensor *tensor)
{
    size_t count = (size_t)tensor_count(tensor), bits = (size_t)dtype_bits(tensor->dtype);
    return bits < 8 ? (count * bits + 7) / 8 : tensor_bytes(tensor);
}

static mitral_status wrong_size(struct importer *importer, const char *field, size_t expected, size_t found, const mitral_tensor *tensor)
{
    char text[256];
    return mitral_fail(importer->context, MITRAL_INVALID, "expected %zu %s in %s of %s, found %zu", expected,
                       strcmp(field, "raw_data") == 0 ? "bytes" : "entries", field, tensor_describe(tensor, text, sizeof text), found);
}

static mitral_status from_raw(struct importer *importer, const onnx_tensor *proto, mitral_tensor *out)
{
    size_t expected = stored_bytes(out);
    if (proto->raw_data.len != expected)
        return wrong_size(importer, "raw_data", expected, proto->raw_data.len, out);
    if (dtype_bits(out->dtype) < 8) {
        TRY(allocate_data(importer, out));
        unpack_bits(out->data, proto->raw_data.data, 1, (size_t)tensor_count(out), out->dtype);
        return MITRAL_OK;
    }
    return take_bytes(importer, out, proto->raw_data.data, expected);
}

static mitral_status from_strings(struct importer *importer, const onnx_tensor *proto, mitral_tensor *out)
{
    TRY(allocate_data(importer, out));
    mitral_string *strings = out->data;
    for (size_t i = 0; i < proto->n_string_data; i++) {
        const ProtobufCBinaryData *bytes = &proto->string_data[i];
        strings[i].size = bytes->len;
        strings[i].data = arena_string_sized(importer->graph->arena, (const char *)bytes->data, bytes->len);
        if (!strings[i].data)
            return MITRAL_NO_MEMORY;
    }
    return MITRAL_OK;
}

/* From entries of 4 or 8 bytes to elements of `width` bytes: the low ones. Integers, and small floats as their bits. */
static void narrow(uint8_t *out, size_t width, const uint8_t *entries, size_t stride, size_t count)
{
    for (size_t i = 0; i < count; i++)
        memcpy(out + i * width, entries + i * stride, width);
}

static bool is_float6(int32_t dtype)
{
    return dtype == MITRAL_FLOAT6E2M3 || dtype == MITRAL_FLOAT6E3M2;
}

static mitral_status from_typed(struct importer *importer, const onnx_tensor *proto, mitral_tensor *out)
{
    struct typed_data typed = typed_data_of(proto);
    size_t count = (size_t)tensor_count(out), width = mitral_dtype_size((mitral_dtype)out->dtype);
    size_t expected = count;
    if (out->dtype == MITRAL_COMPLEX64 || out->dtype == MITRAL_COMPLEX128)
        expected = count * 2; /* cannot overflow: the size in bytes has been checked */
    else if (out->dtype != MITRAL_STRING && dtype_bits(out->dtype) < 8)
        expected = is_float6(out->dtype) ? count : stored_bytes(out);
    if (typed.count != expected || typed_total(proto) != expected)
        return wrong_size(importer, typed.field, expected, typed.count != expected ? typed.count : typed_total(proto), out);
    if (out->dtype == MITRAL_STRING)
        return from_strings(importer, proto, out);
    if (expected * typed.size == tensor_bytes(out) && dtype_bits(out->dtype) >= 8)
        return take_bytes(importer, out, typed.data, tensor_bytes(out));
    TRY(allocate_data(importer, out));
    if (is_float6(out->dtype)) { /* an element an entry */
        narrow(out->data, 1, typed.data, typed.size, count);
        for (size_t i = 0; i < count; i++)
            ((uint8_t *)out->data)[i] &= 0x3f;
    } else if (dtype_bits(out->dtype) < 8)
        unpack_bits(out->data, typed.data, typed.size, count, out->dtype);
    else
        narrow(out->data, width, typed.data, typed.size, count);
    return MITRAL_OK;
}

static mitral_status from_external(struct importer *importer, const onnx_tensor *proto, mitral_tensor *out)
{
    if (typed_total(proto) || proto->raw_data.len)
        return mitral_fail(importer->context, MITRAL_INVALID, "expected external data alone, found data in the file too");
    size_t stored = stored_bytes(out);
    if (dtype_bits(out->dtype) >= 8) {
        TRY(allocate_data(importer, out));
        return import_external(importer, proto, out->data, stored);
    }
    uint8_t *packed = arena_allocate(&importer->scratch, stored ? stored : 1);
    if (!packed)
        return MITRAL_NO_MEMORY;
    TRY(import_external(importer, proto, packed, stored));
    TRY(allocate_data(importer, out));
    unpack_bits(out->data, packed, 1, (size_t)tensor_count(out), out->dtype);
    return MITRAL_OK;
}

static mitral_status set_dims(struct importer *importer, mitral_tensor *out, int32_t dtype, const int64_t *dims, size_t rank)
{
    if (!onnx_dtype_name(dtype))
        return mitral_fail(importer->context, dtype <= 0 ? MITRAL_INVALID : MITRAL_UNSUPPORTED,
                           "expected an element type from 1 to %d, found %d", MITRAL_DTYPE_COUNT - 1, dtype);
    if (rank > MITRAL_MAX_RANK)
        return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "expected at most %d dimensions, found %zu", MITRAL_MAX_RANK, rank);
    for (size_t i = 0; i < rank; i++)
        if (dims[i] < 0)
            return mitral_fail(importer->context, MITRAL_INVALID, "expected dimension %zu to be 0 or more, found %lld", i, (long long)dims[i]);
    tensor_set(out, dtype, (int32_t)rank, dims);
    return tensor_check_size(importer->context, out);
}

mitral_status import_tensor(struct importer *importer, const onnx_tensor *proto, mitral_tensor *out)
{
    TRY(set_dims(importer, out, proto->data_type, proto->dims, proto->n_dims));
    if (proto->segment)
        return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "expected a whole tensor, found a segment of one");
    bool external = proto->has_data_location && proto->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    if (out->dtype == MITRAL_STRING && (external || proto->raw_data.len))
        return mitral_fail(importer->context, MITRAL_INVALID, "expected a tensor of strings in string_data, found raw or external data");
    if (external) {
        TRY(from_external(importer, proto, out));
    } else if (proto->raw_data.len) {
        if (typed_total(proto))
            return mitral_fail(importer->context, MITRAL_INVALID, "expected data in one field, found raw_data and another");
        TRY(from_raw(importer, proto, out));
    } else {
        TRY(from_typed(importer, proto, out));
    }
    if (out->dtype == MITRAL_BOOL)
        normalise_bools(out);
    return MITRAL_OK;
}

/* ---- sparse tensors ------------------------------------------------------------------------------------------------ */

/* Where element `i` of the values goes, from a row of [count, rank] or a position of [count]. */
static mitral_status sparse_position(struct importer *importer, const mitral_tensor *dense, const mitral_tensor *indices, int64_t i,
                                     int64_t *out)
{
    const int64_t *data = indices->data;
    int64_t position = 0;
    if (indices->rank == 1) {
        position = data[i];
        if (position < 0 || position >= tensor_count(dense))
            return mitral_fail(importer->context, MITRAL_INVALID, "expected sparse index %lld from 0 to %lld, found %lld",
                               (long long)i, (long long)tensor_count(dense) - 1, (long long)position);
    } else {
        for (int32_t d = 0; d < dense->rank; d++) {
            int64_t index = data[i * dense->rank + d];
            if (index < 0 || index >= dense->dims[d])
                return mitral_fail(importer->context, MITRAL_INVALID, "expected sparse index %lld in dimension %d from 0 to %lld, found %lld",
                                   (long long)i, d, (long long)dense->dims[d] - 1, (long long)index);
            position = position * dense->dims[d] + index;
        }
    }
    *out = position;
    return MITRAL_OK;
}

mitral_status import_sparse_tensor(struct importer *importer, const Onnx__SparseTensorProto *proto, mitral_tensor *out)
{
    mitral_context *context = importer->context;
    if (!proto->values)
        return mitral_fail(context, MITRAL_INVALID, "expected a sparse tensor with values, found none");
    mitral_tensor values, indices = {.dtype = MITRAL_INT64, .rank = 1};
    TRY(import_tensor(importer, proto->values, &values));
    if (values.rank != 1)
        return mitral_fail(context, MITRAL_INVALID, "expected sparse values of one dimension, found %d", values.rank);
    if (proto->indices)
        TRY(import_tensor(importer, proto->indices, &indices));
    else if (values.dims[0] != 0)
        return mitral_fail(context, MITRAL_INVALID, "expected a sparse tensor with indices, found none");
    TRY(set_dims(importer, out, values.dtype, proto->dims, proto->n_dims));
    bool rows = indices.rank == 2 && indices.dims[1] == out->rank;
    if (indices.dtype != MITRAL_INT64 || (indices.rank != 1 && !rows) || indices.dims[0] != values.dims[0]) {
        char text[256];
        return mitral_fail(context, MITRAL_INVALID, "expected int64[%lld] or int64[%lld,%d] sparse indices, found %s",
                           (long long)values.dims[0], (long long)values.dims[0], out->rank, tensor_describe(&indices, text, sizeof text));
    }
    size_t bytes = tensor_bytes(out);
    if (bytes > IMPORT_MAX_DENSE_BYTES - importer->dense_bytes)
        return mitral_fail(context, MITRAL_LIMIT, "expected sparse tensors that take at most %zu bytes when made dense, found more",
                           IMPORT_MAX_DENSE_BYTES);
    importer->dense_bytes += bytes;
    TRY(allocate_data(importer, out));
    if (out->dtype == MITRAL_STRING)
        for (int64_t i = 0, n = tensor_count(out); i < n; i++)
            ((mitral_string *)out->data)[i].data = "";
    size_t size = mitral_dtype_size((mitral_dtype)out->dtype);
    for (int64_t i = 0; i < values.dims[0]; i++) {
        int64_t position = 0;
        TRY(sparse_position(importer, out, &indices, i, &position));
        memcpy((char *)out->data + (size_t)position * size, (const char *)values.data + (size_t)i * size, size);
    }
    return MITRAL_OK;
}
