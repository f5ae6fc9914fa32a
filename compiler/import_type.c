/* TypeProto to struct value_type, and the standard's names of types. */
#include <stdio.h>
#include <string.h>

#include "compiler/import_internal.h"

static const char *const dtype_names[MITRAL_DTYPE_COUNT] = {
    [MITRAL_FLOAT] = "float", [MITRAL_UINT8] = "uint8", [MITRAL_INT8] = "int8", [MITRAL_UINT16] = "uint16",
    [MITRAL_INT16] = "int16", [MITRAL_INT32] = "int32", [MITRAL_INT64] = "int64", [MITRAL_STRING] = "string",
    [MITRAL_BOOL] = "bool", [MITRAL_FLOAT16] = "float16", [MITRAL_DOUBLE] = "double", [MITRAL_UINT32] = "uint32",
    [MITRAL_UINT64] = "uint64", [MITRAL_COMPLEX64] = "complex64", [MITRAL_COMPLEX128] = "complex128",
    [MITRAL_BFLOAT16] = "bfloat16", [MITRAL_FLOAT8E4M3FN] = "float8e4m3fn", [MITRAL_FLOAT8E4M3FNUZ] = "float8e4m3fnuz",
    [MITRAL_FLOAT8E5M2] = "float8e5m2", [MITRAL_FLOAT8E5M2FNUZ] = "float8e5m2fnuz", [MITRAL_UINT4] = "uint4",
    [MITRAL_INT4] = "int4", [MITRAL_FLOAT4E2M1] = "float4e2m1", [MITRAL_FLOAT8E8M0] = "float8e8m0", [MITRAL_UINT2] = "uint2",
    [MITRAL_INT2] = "int2", [MITRAL_FLOAT6E2M3] = "float6e2m3", [MITRAL_FLOAT6E3M2] = "float6e3m2",
};

const char *onnx_dtype_name(int32_t dtype)
{
    return dtype > 0 && dtype < MITRAL_DTYPE_COUNT ? dtype_names[dtype] : NULL;
}

int32_t onnx_dtype_of_name(const char *name, size_t size)
{
    for (int32_t i = 1; i < MITRAL_DTYPE_COUNT; i++)
        if (dtype_names[i] && strlen(dtype_names[i]) == size && memcmp(dtype_names[i], name, size) == 0)
            return i;
    return MITRAL_UNDEFINED;
}

static size_t put(char *text, size_t size, size_t used, const char *piece)
{
    int length = snprintf(used < size ? text + used : NULL, used < size ? size - used : 0, "%s", piece);
    return used + (size_t)(length > 0 ? length : 0);
}

static size_t put_type(const struct value_type *type, char *text, size_t size, size_t used, bool in_map)
{
    const char *name = onnx_dtype_name(type->dtype);
    switch (type->kind) {
    case MITRAL_SEQUENCE:
    case MITRAL_OPTIONAL:
        used = put(text, size, used, type->kind == MITRAL_SEQUENCE ? "seq(" : "optional(");
        used = type->element ? put_type(type->element, text, size, used, false) : put(text, size, used, "?");
        return put(text, size, used, ")");
    case MITRAL_MAP:
        used = put(text, size, used, "map(");
        used = put(text, size, used, name ? name : "?");
        used = put(text, size, used, ", ");
        used = type->element ? put_type(type->element, text, size, used, true) : put(text, size, used, "?");
        return put(text, size, used, ")");
    default:
        if (in_map)
            return put(text, size, used, name ? name : "?");
        used = put(text, size, used, "tensor(");
        used = put(text, size, used, name ? name : "?");
        return put(text, size, used, ")");
    }
}

const char *onnx_type_name(const struct value_type *type, char *text, size_t size)
{
    if (size)
        text[0] = '\0';
    put_type(type, text, size, 0, false);
    return text;
}

/* ---- from text ----------------------------------------------------------------------------------------------------- */

static bool skip(const char **cursor, const char *word)
{
    size_t size = strlen(word);
    if (strncmp(*cursor, word, size) != 0)
        return false;
    *cursor += size;
    return true;
}

static bool parse_dtype(const char **cursor, int32_t *out)
{
    size_t size = strcspn(*cursor, "(), ");
    *out = onnx_dtype_of_name(*cursor, size);
    *cursor += size;
    return *out != MITRAL_UNDEFINED;
}

static bool parse_type(const char **cursor, struct value_type *out, struct arena *arena, bool in_map, int depth)
{
    *out = (struct value_type){.kind = MITRAL_TENSOR, .rank = -1};
    if (depth > WIRE_MAX_DEPTH)
        return false;
    if (skip(cursor, "tensor("))
        return parse_dtype(cursor, &out->dtype) && skip(cursor, ")");
    if (skip(cursor, "map(")) {
        out->kind = MITRAL_MAP;
        if (!parse_dtype(cursor, &out->dtype) || !skip(cursor, ","))
            return false;
        (void)skip(cursor, " ");
    } else if (skip(cursor, "seq(")) {
        out->kind = MITRAL_SEQUENCE;
    } else if (skip(cursor, "optional(")) {
        out->kind = MITRAL_OPTIONAL;
    } else {
        return in_map && parse_dtype(cursor, &out->dtype);
    }
    struct value_type *element = arena_allocate(arena, sizeof *element);
    if (!element || !parse_type(cursor, element, arena, out->kind == MITRAL_MAP, depth + 1) || !skip(cursor, ")"))
        return false;
    out->element = element;
    return true;
}

mitral_status onnx_type_of_name(struct value_type *out, struct arena *arena, const char *text)
{
    const char *cursor = text;
    if (!parse_type(&cursor, out, arena, false, 0) || *cursor)
        return mitral_fail(arena->context, MITRAL_INVALID, "expected a type such as \"seq(tensor(float))\", found \"%s\"", text);
    return MITRAL_OK;
}

/* ---- from the file ------------------------------------------------------------------------------------------------- */

static mitral_status import_dtype(struct importer *importer, int32_t number, int32_t *out)
{
    *out = number;
    if (number == MITRAL_UNDEFINED || onnx_dtype_name(number))
        return MITRAL_OK;
    return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "expected an element type from 1 to %d, found %d",
                       MITRAL_DTYPE_COUNT - 1, number);
}

static mitral_status import_shape(struct importer *importer, const Onnx__TensorShapeProto *shape, struct value_type *out)
{
    if (!shape)
        return MITRAL_OK;
    if (shape->n_dim > MITRAL_MAX_RANK)
        return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "expected at most %d dimensions, found %zu", MITRAL_MAX_RANK, shape->n_dim);
    out->rank = (int32_t)shape->n_dim;
    for (size_t i = 0; i < shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[i];
        out->dims[i] = -1;
        if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) {
            /* Some exporters write -1 for a dimension that is not fixed. */
            if (dim->dim_value < -1)
                return mitral_fail(importer->context, MITRAL_INVALID, "expected dimension %zu to be 0 or more, found %lld", i,
                                   (long long)dim->dim_value);
            out->dims[i] = dim->dim_value;
        } else if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && dim->dim_param && *dim->dim_param) {
            out->symbols[i] = arena_string(importer->graph->arena, dim->dim_param);
            if (!out->symbols[i])
                return MITRAL_NO_MEMORY;
        }
    }
    return MITRAL_OK;
}

static mitral_status import_element(struct importer *importer, const Onnx__TypeProto *proto, struct value_type *out)
{
    if (!proto)
        return MITRAL_OK;
    struct value_type *element = arena_allocate(importer->graph->arena, sizeof *element);
    if (!element)
        return MITRAL_NO_MEMORY;
    out->element = element;
    return import_type(importer, proto, element);
}

mitral_status import_type(struct importer *importer, const Onnx__TypeProto *proto, struct value_type *out)
{
    *out = (struct value_type){.kind = MITRAL_TENSOR, .rank = -1};
    if (!proto)
        return MITRAL_OK;
    /* Nested at most as deep as wire_check allows. */
    switch (proto->value_case) {
    case ONNX__TYPE_PROTO__VALUE__NOT_SET:
        return MITRAL_OK;
    case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE:
        TRY(import_dtype(importer, proto->tensor_type->elem_type, &out->dtype));
        return import_shape(importer, proto->tensor_type->shape, out);
    case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
        out->kind = MITRAL_SEQUENCE;
        return import_element(importer, proto->sequence_type->elem_type, out);
    case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE:
        out->kind = MITRAL_OPTIONAL;
        return import_element(importer, proto->optional_type->elem_type, out);
    case ONNX__TYPE_PROTO__VALUE_MAP_TYPE:
        out->kind = MITRAL_MAP;
        TRY(import_dtype(importer, proto->map_type->key_type, &out->dtype));
        return import_element(importer, proto->map_type->value_type, out);
    default:
        return mitral_fail(importer->context, MITRAL_UNSUPPORTED,
                           "expected a tensor, sequence, optional or map type, found a sparse tensor or an opaque type");
    }
}
