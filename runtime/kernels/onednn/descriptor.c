/* Memory descriptors: from tensors, to text, and back from packed to plain. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kernels/onednn/onednn.h"

bool onednn_layouts_agree(int32_t rank, const int64_t *dims)
{
    if (rank < 3 || dims[1] == 1)
        return true;
    for (int32_t i = 2; i < rank; i++)
        if (dims[i] != 1)
            return false;
    return true;
}

/* rank 0 is one element in one dimension for oneDNN. */
mitral_status onednn_descriptor_strided(const struct kernel_call *call, dnnl_memory_desc_t *out, int32_t dtype, int32_t rank,
                                        const int64_t *dims, const int64_t *strides)
{
    static const int64_t one = 1;
    *out = NULL;
    TRY(onednn_open(call->context));
    dnnl_dims_t wanted_dims = {0}, wanted_strides = {0};
    memcpy(wanted_dims, rank ? dims : &one, (size_t)(rank ? rank : 1) * sizeof *dims);
    memcpy(wanted_strides, rank ? strides : &one, (size_t)(rank ? rank : 1) * sizeof *strides);
    DNNL_TRY(call, dnnl.memory_desc_create_with_strides(out, rank ? rank : 1, wanted_dims, onednn_type(dtype), wanted_strides),
             "memory descriptor");
    return MITRAL_OK;
}

mitral_status onednn_descriptor(const struct kernel_call *call, dnnl_memory_desc_t *out, int32_t dtype, int32_t rank,
                                const int64_t *dims, int layout)
{
    int64_t strides[MITRAL_MAX_RANK], stride = 1;
    if (layout == LAYOUT_CHANNELS_LAST && rank > 2) {
        strides[1] = 1;
        stride = dims[1];
        for (int32_t i = rank - 1; i >= 2; i--) {
            strides[i] = stride;
            stride *= dims[i];
        }
        strides[0] = stride;
    } else {
        for (int32_t i = rank - 1; i >= 0; i--) {
            strides[i] = stride;
            stride *= dims[i];
        }
    }
    return onednn_descriptor_strided(call, out, dtype, rank, dims, strides);
}

mitral_status onednn_descriptor_any(const struct kernel_call *call, dnnl_memory_desc_t *out, int32_t dtype, int32_t rank,
                                    const int64_t *dims)
{
    *out = NULL;
    TRY(onednn_open(call->context));
    DNNL_TRY(call, dnnl.memory_desc_create_with_tag(out, rank, dims, onednn_type(dtype), dnnl_format_tag_any), "memory descriptor");
    return MITRAL_OK;
}

void onednn_descriptor_free(dnnl_memory_desc_t *descriptor)
{
    if (*descriptor)
        dnnl.memory_desc_destroy(*descriptor);
    *descriptor = NULL;
}

void onednn_descriptors_free(struct onednn_descriptors *d)
{
    onednn_descriptor_free(&d->x);
    onednn_descriptor_free(&d->w);
    onednn_descriptor_free(&d->plain_w);
    onednn_descriptor_free(&d->bias);
    onednn_descriptor_free(&d->y);
    if (d->attributes)
        dnnl.primitive_attr_destroy(d->attributes);
    d->attributes = NULL;
}

/* ---- as text -------------------------------------------------------------------------------------------------------- */

static const struct {
    dnnl_data_type_t type;
    int32_t dtype;
    const char *name;
} type_names[] = {
    {dnnl_f32, MITRAL_FLOAT, "f32"}, {dnnl_bf16, MITRAL_BFLOAT16, "bf16"}, {dnnl_f16, MITRAL_FLOAT16, "f16"},
    {dnnl_s8, MITRAL_INT8, "s8"}, {dnnl_u8, MITRAL_UINT8, "u8"}, {dnnl_s32, MITRAL_INT32, "s32"},
};
enum { TYPE_NAMES = sizeof type_names / sizeof *type_names };

struct text {
    char *at, *end;
};

static void append(struct text *text, const char *lead, const int64_t *numbers, int count)
{
    for (int i = 0; i < count && text->at < text->end; i++)
        text->at += snprintf(text->at, (size_t)(text->end - text->at), "%s%" PRId64, i ? "," : lead, numbers[i]);
    if (!count && text->at < text->end)
        text->at += snprintf(text->at, (size_t)(text->end - text->at), "%s", lead);
}

mitral_status onednn_descriptor_text(const struct kernel_call *call, const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t descriptor,
                                     char out[ONEDNN_TEXT])
{
    int ndims, blocks;
    dnnl_data_type_t type;
    const dnnl_dims_t *dims, *padded, *strides, *sizes, *indices, *from;
    DNNL_TRY(call, dnnl.memory_desc_query(plain, dnnl_query_strides, &from), "query");
    DNNL_TRY(call, dnnl.memory_desc_query(descriptor, dnnl_query_ndims_s32, &ndims), "query");
    DNNL_TRY(call, dnnl.memory_desc_query(descriptor, dnnl_query_data_type, &type), "query");
    DNNL_TRY(call, dnnl.memory_desc_query(descriptor, dnnl_query_dims, &dims), "query");
    DNNL_TRY(call, dnnl.memory_desc_query(descriptor, dnnl_query_padded_dims, &padded), "query");
    DNNL_TRY(call, dnnl.memory_desc_query(descriptor, dnnl_query_strides, &strides), "query");
    DNNL_TRY(call, dnnl.memory_desc_query(descriptor, dnnl_query_inner_nblks_s32, &blocks), "query");
    DNNL_TRY(call, dnnl.memory_desc_query(descriptor, dnnl_query_inner_blks, &sizes), "query");
    DNNL_TRY(call, dnnl.memory_desc_query(descriptor, dnnl_query_inner_idxs, &indices), "query");
    const char *name = NULL;
    for (int i = 0; i < TYPE_NAMES; i++)
        if (type_names[i].type == type)
            name = type_names[i].name;
    struct text text = {out, out + ONEDNN_TEXT};
    text.at += snprintf(out, ONEDNN_TEXT, "%s", name ? name : "?");
    append(&text, " d", *dims, ndims);
    append(&text, " p", *padded, ndims);
    append(&text, " s", *strides, ndims);
    append(&text, " b", *sizes, blocks);
    append(&text, " i", *indices, blocks);
    append(&text, " t", *from, ndims);
    if (!name || text.at >= text.end)
        return call_fail(call, MITRAL_UNSUPPORTED, "expected packed weights that %d characters describe", ONEDNN_TEXT);
    return MITRAL_OK;
}

/* ---- back from text -------------------------------------------------------------------------------------------------- */

struct packed {
    int32_t dtype;
    int ndims, blocks;
    int64_t dims[DNNL_MAX_NDIMS], padded[DNNL_MAX_NDIMS], strides[DNNL_MAX_NDIMS];
    int64_t sizes[DNNL_MAX_NDIMS], indices[DNNL_MAX_NDIMS];
    int64_t tensor_strides[DNNL_MAX_NDIMS]; /* of the unpacked tensor, by the same dimensions */
};

static const char *read_list(const char *text, char letter, int64_t *out, int *count)
{
    *count = 0;
    if (!text || text[0] != ' ' || text[1] != letter)
        return NULL;
    text += 2;
    while (*text >= '0' && *text <= '9') {
        char *end;
        if (*count == DNNL_MAX_NDIMS)
            return NULL;
        out[(*count)++] = strtoll(text, &end, 10);
        text = *end == ',' ? end + 1 : end;
    }
    return text;
}

static bool read_packed(const char *text, struct packed *out)
{
    *out = (struct packed){0};
    for (int i = 0; i < TYPE_NAMES && !out->dtype; i++) {
        size_t length = strlen(type_names[i].name);
        if (strncmp(text, type_names[i].name, length) == 0 && text[length] == ' ') {
            out->dtype = type_names[i].dtype;
            text += length;
        }
    }
    int counts[6];
    text = read_list(text, 'd', out->dims, &counts[0]);
    text = read_list(text, 'p', out->padded, &counts[1]);
    text = read_list(text, 's', out->strides, &counts[2]);
    text = read_list(text, 'b', out->sizes, &counts[3]);
    text = read_list(text, 'i', out->indices, &counts[4]);
    text = read_list(text, 't', out->tensor_strides, &counts[5]);
    out->ndims = counts[0];
    out->blocks = counts[3];
    return text && !*text && out->dtype && counts[0] > 0 && counts[1] == counts[0] && counts[2] == counts[0] && counts[3] == counts[4]
           && counts[5] == counts[0];
}

/* Whether every element that the description names lies in `bytes`, and in a tensor of `count` of them. */
static bool packed_fits(const struct packed *p, int64_t count, size_t bytes)
{
    int64_t product = 1, inner = 1, block[DNNL_MAX_NDIMS], last = 0, tensor_last = 0;
    for (int d = 0; d < p->ndims; d++)
        block[d] = 1;
    for (int i = 0; i < p->blocks; i++) {
        if (p->sizes[i] < 1 || p->indices[i] >= p->ndims || __builtin_mul_overflow(inner, p->sizes[i], &inner)
            || __builtin_mul_overflow(block[p->indices[i]], p->sizes[i], &block[p->indices[i]]))
            return false;
    }
    for (int d = 0; d < p->ndims; d++) {
        int64_t step;
        if (p->dims[d] < 1 || p->padded[d] < p->dims[d] || __builtin_mul_overflow(product, p->dims[d], &product)
            || __builtin_mul_overflow((p->padded[d] - 1) / block[d], p->strides[d], &step) || __builtin_add_overflow(last, step, &last)
            || __builtin_mul_overflow(p->dims[d] - 1, p->tensor_strides[d], &step)
            || __builtin_add_overflow(tensor_last, step, &tensor_last))
            return false;
    }
    int64_t elements;
    return product == count && tensor_last < count && !__builtin_add_overflow(last, inner, &elements)
           && (uint64_t)elements <= bytes / mitral_dtype_size((mitral_dtype)p->dtype);
}

static int64_t packed_offset(const struct packed *p, const int64_t *position)
{
    int64_t rest[DNNL_MAX_NDIMS], offset = 0, stride = 1;
    memcpy(rest, position, (size_t)p->ndims * sizeof *rest);
    for (int i = p->blocks - 1; i >= 0; i--) {
        offset += rest[p->indices[i]] % p->sizes[i] * stride;
        rest[p->indices[i]] /= p->sizes[i];
        stride *= p->sizes[i];
    }
    for (int d = 0; d < p->ndims; d++)
        offset += rest[d] * p->strides[d];
    return offset;
}

mitral_status onednn_unpack(const struct kernel_call *call, const mitral_tensor *tensor, void *out)
{
    struct packed packed;
    const int64_t count = tensor_count(tensor);
    if (!tensor->packing || strcmp(tensor->packing->scheme, "onednn") != 0 || !read_packed(tensor->packing->description, &packed)
        || !packed_fits(&packed, count, tensor->packing->bytes))
        return call_fail(call, MITRAL_CORRUPT, "expected weights packed as their description says, found '%s' in %zu bytes",
                         tensor->packing ? tensor->packing->description : "", tensor->packing ? tensor->packing->bytes : 0);
    mitral_tensor from = {.dtype = packed.dtype, .data = tensor->data}, to = *tensor;
    to.data = out;
    to.packing = NULL;
    const size_t size = mitral_dtype_size((mitral_dtype)packed.dtype);
    int64_t position[DNNL_MAX_NDIMS] = {0};
    for (int64_t i = 0; i < count; i++) {
        int64_t offset = packed_offset(&packed, position), at = 0;
        for (int d = 0; d < packed.ndims; d++)
            at += position[d] * packed.tensor_strides[d];
        if (packed.dtype == tensor->dtype)
            memcpy((char *)out + (size_t)at * size, (const char *)tensor->data + (size_t)offset * size, size);
        else
            tensor_set_double(&to, at, tensor_get_double(&from, offset), false);
        for (int d = packed.ndims - 1; d >= 0 && ++position[d] == packed.dims[d]; d--)
            position[d] = 0;
    }
    return MITRAL_OK;
}
