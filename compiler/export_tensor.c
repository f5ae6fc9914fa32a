/* Tensors, types and attributes as their protobuf structures. */
#include <string.h>

#include "compiler/export_internal.h"

void *export_allocate(struct exporter *exporter, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(bytes, size, &bytes)) {
        mitral_fail(exporter->context, MITRAL_NO_MEMORY, "out of memory: %zu times %zu bytes were asked for", count, size);
        return NULL;
    }
    return arena_allocate(&exporter->scratch, bytes); /* one more: an empty list is no NULL */
}

/* protobuf-c's structures have no const; packing does not write. */
char *export_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------- */

static mitral_status pack_bits(struct exporter *exporter, const mitral_tensor *tensor, ProtobufCBinaryData *out)
{
    size_t count = (size_t)tensor_count(tensor), bits = (size_t)dtype_bits(tensor->dtype);
    const uint8_t *elements = tensor->data;
    out->len = (count * bits + 7) / 8;
    out->data = export_allocate(exporter, out->len, 1);
    if (!out->data)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++) { /* the first element lies in the lowest bits */
        const size_t byte = i * bits / 8, shift = i * bits % 8;
        const unsigned value = (elements[i] & ((1u << bits) - 1)) << shift;
        out->data[byte] |= (uint8_t)value;
        if (shift + bits > 8)
            out->data[byte + 1] |= (uint8_t)(value >> 8);
    }
    return MITRAL_OK;
}

static mitral_status put_strings(struct exporter *exporter, const mitral_string *strings, size_t count, ProtobufCBinaryData **out)
{
    *out = export_allocate(exporter, count, sizeof **out);
    if (!*out)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        (*out)[i] = (ProtobufCBinaryData){strings[i].size, (uint8_t *)(uintptr_t)strings[i].data};
    return MITRAL_OK;
}

mitral_status export_tensor(struct exporter *exporter, const char *name, const mitral_tensor *tensor, Onnx__TensorProto **out)
{
    if (tensor->packing || !tensor->data || mitral_tensor_size(tensor) < 0)
        return mitral_fail(exporter->context, MITRAL_UNSUPPORTED, "tensor '%s': expected plain data, found none or packed ones", name ? name : "");
    Onnx__TensorProto *proto = export_allocate(exporter, 1, sizeof *proto);
    if (!proto)
        return MITRAL_NO_MEMORY;
    *out = proto;
    onnx__tensor_proto__init(proto);
    proto->name = export_text(name);
    proto->has_data_type = 1;
    proto->data_type = tensor->dtype;
    proto->n_dims = (size_t)tensor->rank;
    proto->dims = (int64_t *)(uintptr_t)tensor->dims;
    size_t count = (size_t)tensor_count(tensor);
    if (tensor->dtype == MITRAL_STRING) {
        proto->n_string_data = count;
        return put_strings(exporter, tensor->data, count, &proto->string_data);
    }
    proto->has_raw_data = 1;
    if (dtype_bits(tensor->dtype) < 8)
        return pack_bits(exporter, tensor, &proto->raw_data);
    proto->raw_data = (ProtobufCBinaryData){tensor_bytes(tensor), tensor->data};
    return MITRAL_OK;
}

/* ---- types --------------------------------------------------------------------------------------------------------- */

static mitral_status put_tensor_type(struct exporter *exporter, const struct value_type *type, Onnx__TypeProto *proto)
{
    Onnx__TypeProto__Tensor *tensor = export_allocate(exporter, 1, sizeof *tensor);
    if (!tensor)
        return MITRAL_NO_MEMORY;
    onnx__type_proto__tensor__init(tensor);
    proto->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    proto->tensor_type = tensor;
    tensor->has_elem_type = 1;
    tensor->elem_type = type->dtype;
    if (type->rank < 0)
        return MITRAL_OK;
    Onnx__TensorShapeProto *shape = tensor->shape = export_allocate(exporter, 1, sizeof *shape);
    size_t rank = (size_t)type->rank;
    Onnx__TensorShapeProto__Dimension *dims = export_allocate(exporter, rank, sizeof *dims);
    if (!shape || !dims)
        return MITRAL_NO_MEMORY;
    onnx__tensor_shape_proto__init(shape);
    shape->n_dim = rank;
    shape->dim = export_allocate(exporter, rank, sizeof *shape->dim);
    if (!shape->dim)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < rank; i++) {
        onnx__tensor_shape_proto__dimension__init(&dims[i]);
        shape->dim[i] = &dims[i];
        if (type->dims[i] >= 0) {
            dims[i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dims[i].dim_value = type->dims[i];
        } else if (type->symbols[i]) {
            dims[i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dims[i].dim_param = export_text(type->symbols[i]);
        }
    }
    return MITRAL_OK;
}

mitral_status export_type(struct exporter *exporter, const struct value_type *type, Onnx__TypeProto **out)
{
    Onnx__TypeProto *proto = export_allocate(exporter, 1, sizeof *proto), *element = NULL;
    *out = proto;
    if (!proto)
        return MITRAL_NO_MEMORY;
    onnx__type_proto__init(proto);
    if (type->kind == MITRAL_TENSOR)
        return put_tensor_type(exporter, type, proto);
    if (type->element)
        TRY(export_type(exporter, type->element, &element));
    Onnx__TypeProto__Sequence *sequence = export_allocate(exporter, 1, sizeof *sequence);
    Onnx__TypeProto__Optional *optional = export_allocate(exporter, 1, sizeof *optional);
    Onnx__TypeProto__Map *map = export_allocate(exporter, 1, sizeof *map);
    if (!sequence || !optional || !map)
        return MITRAL_NO_MEMORY;
    switch (type->kind) {
    case MITRAL_SEQUENCE:
        onnx__type_proto__sequence__init(sequence);
        sequence->elem_type = element;
        proto->value_case = ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;
        proto->sequence_type = sequence;
        return MITRAL_OK;
    case MITRAL_OPTIONAL:
        onnx__type_proto__optional__init(optional);
        optional->elem_type = element;
        proto->value_case = ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE;
        proto->optional_type = optional;
        return MITRAL_OK;
    default:
        onnx__type_proto__map__init(map);
        map->has_key_type = 1;
        map->key_type = type->dtype;
        map->value_type = element;
        proto->value_case = ONNX__TYPE_PROTO__VALUE_MAP_TYPE;
        proto->map_type = map;
        return MITRAL_OK;
    }
}

/* ---- attributes ---------------------------------------------------------------------------------------------------- */

static mitral_status put_tensors(struct exporter *exporter, const struct attribute *attribute, Onnx__AttributeProto *proto)
{
    Onnx__TensorProto **list = export_allocate(exporter, attribute->count, sizeof *list);
    if (!list)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < attribute->count; i++)
        TRY(export_tensor(exporter, NULL, &attribute->tensors[i], &list[i]));
    if (attribute->kind == ATTRIBUTE_TENSOR) {
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
        proto->t = list[0];
    } else {
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSORS;
        proto->n_tensors = attribute->count;
        proto->tensors = list;
    }
    return MITRAL_OK;
}

/* The importer keeps an attribute that is a type as that type's name. */
static mitral_status put_type(struct exporter *exporter, const struct attribute *attribute, Onnx__AttributeProto *proto)
{
    struct value_type type;
    TRY(onnx_type_of_name(&type, &exporter->scratch, attribute->strings[0].data));
    proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TYPE_PROTO;
    return export_type(exporter, &type, &proto->tp);
}

mitral_status export_attribute(struct exporter *exporter, const struct node *node, const struct attribute *attribute,
                               const struct schema_attribute *schema, Onnx__AttributeProto **out)
{
    Onnx__AttributeProto *proto = export_allocate(exporter, 1, sizeof *proto);
    *out = proto;
    if (!proto)
        return MITRAL_NO_MEMORY;
    onnx__attribute_proto__init(proto);
    proto->name = export_text(attribute->name);
    proto->has_type = 1;
    if (schema && schema->kind == 0 && attribute->kind == ATTRIBUTE_STRING)
        return put_type(exporter, attribute, proto);
    if (schema && schema->kind != (int)attribute->kind)
        return mitral_fail(exporter->context, MITRAL_UNSUPPORTED, "%s '%s': expected attribute '%s' to be of its schema's kind, found another",
                           node->op->name, node->name, attribute->name);
    switch (attribute->kind) {
    case ATTRIBUTE_INT:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
        proto->has_i = 1;
        proto->i = attribute->ints[0];
        return MITRAL_OK;
    case ATTRIBUTE_FLOAT:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
        proto->has_f = 1;
        proto->f = attribute->floats[0];
        return MITRAL_OK;
    case ATTRIBUTE_STRING:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
        proto->has_s = 1;
        proto->s = (ProtobufCBinaryData){attribute->strings[0].size, (uint8_t *)(uintptr_t)attribute->strings[0].data};
        return MITRAL_OK;
    case ATTRIBUTE_INTS:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
        proto->n_ints = attribute->count;
        proto->ints = (int64_t *)(uintptr_t)attribute->ints;
        return MITRAL_OK;
    case ATTRIBUTE_FLOATS:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
        proto->n_floats = attribute->count;
        proto->floats = (float *)(uintptr_t)attribute->floats;
        return MITRAL_OK;
    case ATTRIBUTE_STRINGS:
        proto->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
        proto->n_strings = attribute->count;
        return put_strings(exporter, attribute->strings, attribute->count, &proto->strings);
    case ATTRIBUTE_TENSOR:
    case ATTRIBUTE_TENSORS:
        return put_tensors(exporter, attribute, proto);
    case ATTRIBUTE_GRAPH:
        break;
    }
    return mitral_fail(exporter->context, MITRAL_UNSUPPORTED,
                       "%s '%s': attribute '%s': expected a number, a text, a tensor or a list of these, found a graph", node->op->name, node->name,
                       attribute->name);
}
