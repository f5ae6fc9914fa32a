#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/file.h"
#include "runtime/values.h"

static const struct {
    const char *code; /* NumPy's, without the byte order */
    int32_t dtype;
} codes[] = {
    {"f4", MITRAL_FLOAT}, {"f8", MITRAL_DOUBLE}, {"f2", MITRAL_FLOAT16}, {"i8", MITRAL_INT64}, {"i4", MITRAL_INT32},
    {"i2", MITRAL_INT16}, {"i1", MITRAL_INT8}, {"u8", MITRAL_UINT64}, {"u4", MITRAL_UINT32}, {"u2", MITRAL_UINT16},
    {"u1", MITRAL_UINT8}, {"b1", MITRAL_BOOL}, {"c8", MITRAL_COMPLEX64}, {"c16", MITRAL_COMPLEX128},
};

enum { CODE_COUNT = sizeof codes / sizeof *codes };

bool npy_has_magic(const void *bytes, size_t size)
{
    return size >= 6 && memcmp(bytes, "\x93NUMPY", 6) == 0;
}

static mitral_status bad(mitral_context *context, const char *fact)
{
    return mitral_fail(context, MITRAL_INVALID, ".npy: expected %s", fact);
}

/* The text after `'key':` in the header's dictionary; NULL when it is missing. */
static const char *find_key(const char *header, const char *key)
{
    char quoted[40];
    snprintf(quoted, sizeof quoted, "'%s'", key);
    const char *at = strstr(header, quoted);
    if (!at)
        return NULL;
    at += strlen(quoted);
    while (*at == ' ')
        at++;
    if (*at != ':')
        return NULL;
    for (at++; *at == ' '; at++)
        ;
    return at;
}

static mitral_status parse_header(mitral_context *context, const char *header, mitral_tensor *tensor, bool *swap, bool *fortran)
{
    const char *descr = find_key(header, "descr"), *order = find_key(header, "fortran_order"), *shape = find_key(header, "shape");
    if (!descr || !order || !shape || *descr != '\'' || *shape != '(')
        return bad(context, "a header with 'descr', 'fortran_order' and 'shape'");
    char byte_order = descr[1];
    if (!byte_order || !strchr("<>|=", byte_order))
        return bad(context, "a plain element type such as '<f4' in 'descr'");
    *swap = byte_order == '>';
    *fortran = strncmp(order, "True", 4) == 0;
    for (size_t i = 0; i < CODE_COUNT; i++) {
        size_t length = strlen(codes[i].code);
        if (strncmp(descr + 2, codes[i].code, length) == 0 && descr[2 + length] == '\'')
            tensor->dtype = codes[i].dtype;
    }
    const int end = (int)strcspn(descr + 1, "'");
    if (tensor->dtype == MITRAL_UNDEFINED)
        return mitral_fail(context, MITRAL_UNSUPPORTED, ".npy: expected a boolean, integer, real or complex element type, found '%.*s'",
                           end < 12 ? end : 12, descr + 1);
    const char *at = shape + 1;
    for (;;) {
        while (*at == ' ' || *at == ',')
            at++;
        if (*at == ')')
            break;
        char *end;
        long long size = strtoll(at, &end, 10);
        if (end == at || size < 0 || tensor->rank == MITRAL_MAX_RANK)
            return bad(context, "a shape of at most 12 whole numbers");
        tensor->dims[tensor->rank++] = size;
        at = end;
    }
    return tensor_check_size(context, tensor);
}

/* Copies with reversed bytes of each scalar, or from Fortran order, or both. */
static void copy_elements(mitral_tensor *tensor, const unsigned char *from, bool swap, bool fortran)
{
    size_t size = mitral_dtype_size((mitral_dtype)tensor->dtype);
    size_t scalar = tensor->dtype == MITRAL_COMPLEX64 || tensor->dtype == MITRAL_COMPLEX128 ? size / 2 : size;
    int64_t count = tensor_count(tensor), index[MITRAL_MAX_RANK] = {0};
    unsigned char *to = tensor->data;
    for (int64_t i = 0; i < count; i++) {
        int64_t source = i;
        if (fortran) {
            int64_t stride = 1;
            source = 0;
            for (int32_t d = 0; d < tensor->rank; d++) {
                source += index[d] * stride;
                stride *= tensor->dims[d];
            }
            for (int32_t d = tensor->rank - 1; d >= 0 && ++index[d] == tensor->dims[d]; d--)
                index[d] = 0;
        }
        for (size_t part = 0; part < size; part += scalar)
            for (size_t byte = 0; byte < scalar; byte++)
                to[(size_t)i * size + part + byte] = from[(size_t)source * size + part + (swap ? scalar - 1 - byte : byte)];
    }
}

mitral_status npy_read(mitral_tensor *out, struct arena *arena, mitral_context *context, const void *bytes, size_t size)
{
    const unsigned char *data = bytes;
    if (size < 10 || !npy_has_magic(bytes, size))
        return bad(context, "the magic of NumPy's format");
    bool wide = data[6] >= 2;
    size_t start = wide ? 12 : 10, length = data[8] | (size_t)data[9] << 8;
    if (wide && size >= 12)
        length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (data[6] < 1 || data[6] > 3 || size < start || length > size - start || length > 65536)
        return bad(context, "format 1.0 to 3.0 with a header inside the file");
    char *header = arena_string_sized(arena, (const char *)data + start, length);
    if (!header)
        return MITRAL_NO_MEMORY;
    mitral_tensor tensor = {0};
    bool swap = false, fortran = false;
    TRY(parse_header(context, header, &tensor, &swap, &fortran));
    size_t wanted = tensor_bytes(&tensor);
    if (size - start - length < wanted)
        return mitral_fail(context, MITRAL_INVALID, ".npy: expected %zu bytes of elements, found %zu", wanted, size - start - length);
    tensor.data = arena_allocate(arena, wanted ? wanted : 1);
    if (!tensor.data)
        return MITRAL_NO_MEMORY;
    if (swap || (fortran && tensor.rank > 1))
        copy_elements(&tensor, data + start + length, swap, fortran && tensor.rank > 1);
    else if (wanted)
        memcpy(tensor.data, data + start + length, wanted);
    *out = tensor;
    return MITRAL_OK;
}

static const char *code_of(int32_t dtype)
{
    for (size_t i = 0; i < CODE_COUNT; i++)
        if (codes[i].dtype == dtype)
            return codes[i].code;
    return NULL;
}

bool mitral_value_fits_npy(const mitral_value *value)
{
    return value->kind == MITRAL_TENSOR && code_of(value->tensor.dtype) != NULL;
}

struct npy_output {
    const mitral_tensor *tensor;
    char header[512];
    size_t length;
};

static mitral_status write_whole(struct file_writer *writer, void *user)
{
    const struct npy_output *output = user;
    TRY(file_append(writer, output->header, output->length));
    return file_append(writer, output->tensor->data, tensor_bytes(output->tensor));
}

mitral_status npy_write(mitral_context *context, const mitral_tensor *tensor, const char *path)
{
    const char *code = code_of(tensor->dtype);
    if (!code)
        return mitral_fail(context, MITRAL_UNSUPPORTED, "%s: expected an element type that .npy has, found %s", path,
                           mitral_dtype_name((mitral_dtype)tensor->dtype));
    struct npy_output output = {.tensor = tensor};
    char shape[300] = "";
    size_t used = 0;
    for (int32_t i = 0; i < tensor->rank; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, tensor->rank == 1 ? "%lld," : i ? ", %lld" : "%lld",
                                 (long long)tensor->dims[i]);
    int length = snprintf(output.header + 10, sizeof output.header - 10, "{'descr': '%c%s', 'fortran_order': False, 'shape': (%s), }",
                          code[1] == '1' && code[2] == '\0' ? '|' : '<', code, shape);
    size_t total = 10 + (size_t)length + 1;
    total = (total + 63) / 64 * 64; /* elements start at a multiple of 64 */
    memset(output.header + 10 + length, ' ', total - 10 - (size_t)length - 1);
    output.header[total - 1] = '\n';
    memcpy(output.header, "\x93NUMPY\x01\x00", 8);
    output.header[8] = (char)((total - 10) & 255);
    output.header[9] = (char)((total - 10) >> 8);
    output.length = total;
    return file_write_whole(context, path, write_whole, &output);
}
