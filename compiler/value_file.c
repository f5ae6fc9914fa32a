/* Values in files: .npy, and the protos that ONNX has for tensors, sequences, optionals and maps. */
#include <string.h>

#include "compiler/import_internal.h"
#include "runtime/file.h"
#include "runtime/values.h"
#include "schemas/onnx-data.pb-c.h"

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static mitral_status read_sequence(mitral_value *out, struct importer *importer, const Onnx__SequenceProto *proto);
static mitral_status read_map(mitral_value *out, struct importer *importer, const Onnx__MapProto *proto);

static mitral_status make_items(mitral_value *out, struct importer *importer, mitral_kind kind, size_t count)
{
    if (count > INT32_MAX / sizeof *out->items)
        return mitral_fail(importer->context, MITRAL_LIMIT, "expected fewer items, found %zu", count);
    *out = (mitral_value){.kind = kind, .count = (int32_t)count};
    out->items = arena_allocate(importer->graph->arena, (count + 1) * sizeof *out->items);
    return out->items ? MITRAL_OK : MITRAL_NO_MEMORY;
}

static mitral_status read_optional(mitral_value *out, struct importer *importer, const Onnx__OptionalProto *proto)
{
    bool full = proto->tensor_value || proto->sequence_value || proto->map_value || proto->optional_value;
    TRY(make_items(out, importer, MITRAL_OPTIONAL, full));
    if (proto->tensor_value)
        return import_tensor(importer, proto->tensor_value, &out->items[0].tensor);
    if (proto->sequence_value)
        return read_sequence(&out->items[0], importer, proto->sequence_value);
    if (proto->map_value)
        return read_map(&out->items[0], importer, proto->map_value);
    return proto->optional_value ? read_optional(&out->items[0], importer, proto->optional_value) : MITRAL_OK;
}

static mitral_status read_sequence(mitral_value *out, struct importer *importer, const Onnx__SequenceProto *proto)
{
    if (proto->n_sparse_tensor_values)
        return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "expected a sequence of dense tensors, found sparse ones");
    TRY(make_items(out, importer, MITRAL_SEQUENCE,
                   proto->n_tensor_values + proto->n_sequence_values + proto->n_map_values + proto->n_optional_values));
    size_t next = 0;
    for (size_t i = 0; i < proto->n_tensor_values; i++)
        TRY(import_tensor(importer, proto->tensor_values[i], &out->items[next++].tensor));
    for (size_t i = 0; i < proto->n_sequence_values; i++)
        TRY(read_sequence(&out->items[next++], importer, proto->sequence_values[i]));
    for (size_t i = 0; i < proto->n_map_values; i++)
        TRY(read_map(&out->items[next++], importer, proto->map_values[i]));
    for (size_t i = 0; i < proto->n_optional_values; i++)
        TRY(read_optional(&out->items[next++], importer, proto->optional_values[i]));
    return MITRAL_OK;
}

/* A sequence of scalars of one type is a map's values: they become one tensor. */
static mitral_status gather_scalars(mitral_value *value, struct importer *importer)
{
    for (int32_t i = 0; i < value->count; i++)
        if (value->items[i].kind != MITRAL_TENSOR || tensor_count(&value->items[i].tensor) != 1
            || value->items[i].tensor.dtype != value->items[0].tensor.dtype)
            return MITRAL_OK;
    if (value->count == 0)
        return MITRAL_OK;
    mitral_value gathered = {.kind = MITRAL_TENSOR};
    tensor_set(&gathered.tensor, value->items[0].tensor.dtype, 1, (int64_t[]){value->count});
    size_t size = mitral_dtype_size((mitral_dtype)gathered.tensor.dtype);
    gathered.tensor.data = arena_allocate(importer->graph->arena, tensor_bytes(&gathered.tensor));
    if (!gathered.tensor.data)
        return MITRAL_NO_MEMORY;
    for (int32_t i = 0; i < value->count; i++)
        memcpy((char *)gathered.tensor.data + (size_t)i * size, value->items[i].tensor.data, size);
    *value = gathered;
    return MITRAL_OK;
}

static mitral_status read_map(mitral_value *out, struct importer *importer, const Onnx__MapProto *proto)
{
    TRY(make_items(out, importer, MITRAL_MAP, 2));
    bool strings = proto->n_string_keys > 0;
    mitral_tensor *keys = &out->items[0].tensor;
    tensor_set(keys, strings ? MITRAL_STRING : MITRAL_INT64, 1, (int64_t[]){(int64_t)(strings ? proto->n_string_keys : proto->n_keys)});
    keys->data = arena_allocate(importer->graph->arena, tensor_bytes(keys) + 1);
    if (!keys->data)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < keys->dims[0]; i++)
        if (strings) {
            mitral_string *string = (mitral_string *)keys->data + i;
            string->size = proto->string_keys[i].len;
            string->data = arena_string_sized(importer->graph->arena, (const char *)proto->string_keys[i].data, string->size);
            if (!string->data)
                return MITRAL_NO_MEMORY;
        } else {
            ((int64_t *)keys->data)[i] = proto->keys[i];
        }
    if (!proto->values)
        return mitral_fail(importer->context, MITRAL_INVALID, "expected a map with values, found none");
    TRY(read_sequence(&out->items[1], importer, proto->values));
    return gather_scalars(&out->items[1], importer);
}

static const ProtobufCMessageDescriptor *descriptor_of(mitral_kind kind)
{
    switch (kind) {
    case MITRAL_SEQUENCE: return &onnx__sequence_proto__descriptor;
    case MITRAL_OPTIONAL: return &onnx__optional_proto__descriptor;
    case MITRAL_MAP: return &onnx__map_proto__descriptor;
    default: return &onnx__tensor_proto__descriptor;
    }
}

/* As in import: a tensor of many bytes stays where protobuf-c put it, so those lie in the value's own arena. */
static void *unpack_allocate(void *user, size_t size)
{
    struct importer *importer = user;
    return arena_allocate(size >= IMPORT_LARGE_BYTES ? importer->graph->arena : &importer->scratch, size);
}

static void unpack_release(void *user, void *pointer)
{
    (void)user;
    (void)pointer;
}

static mitral_status read_proto(mitral_value *out, struct importer *importer, mitral_kind kind, const void *bytes, size_t size)
{
    size_t unpacked;
    TRY(wire_check(importer->context, "value", bytes, size, descriptor_of(kind), &unpacked));
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor_of(kind), &importer->allocator, size, bytes);
    if (!message)
        return mitral_fail(importer->context, MITRAL_INVALID, "expected the bytes of a %s, found others", descriptor_of(kind)->short_name);
    return kind == MITRAL_SEQUENCE   ? read_sequence(out, importer, (const Onnx__SequenceProto *)message)
           : kind == MITRAL_OPTIONAL ? read_optional(out, importer, (const Onnx__OptionalProto *)message)
           : kind == MITRAL_MAP      ? read_map(out, importer, (const Onnx__MapProto *)message)
                                     : import_tensor(importer, (const onnx_tensor *)message, &out->tensor);
}

static mitral_status load(struct owned_value *owned, mitral_context *context, const struct file_mapping *file, mitral_kind kind)
{
    if (npy_has_magic(file->data, file->size)) {
        if (kind != MITRAL_TENSOR)
            return mitral_fail(context, MITRAL_INVALID, "expected a sequence, optional or map, found the tensor of a .npy file");
        return npy_read(&owned->value.tensor, &owned->arena, context, file->data, file->size);
    }
    if (file->size == 0 && kind == MITRAL_TENSOR)
        return mitral_fail(context, MITRAL_INVALID, "expected a .npy file or a TensorProto, found an empty file");
    struct graph holder = {.context = context, .arena = &owned->arena};
    struct importer importer = {.context = context, .graph = &holder};
    importer.allocator = (ProtobufCAllocator){unpack_allocate, unpack_release, &importer};
    arena_initialise(&importer.scratch, context);
    mitral_status status = read_proto(&owned->value, &importer, kind, file->data, file->size);
    arena_clear(&importer.scratch);
    return status;
}

mitral_status mitral_value_load(mitral_value **out, mitral_context *context, const char *path, mitral_kind kind)
{
    *out = NULL;
    struct file_mapping file;
    TRY(file_map(&file, context, path));
    struct owned_value *owned;
    mitral_status status = owned_value_create(&owned, context);
    if (status == MITRAL_OK) {
        status = load(owned, context, &file, kind);
        *out = &owned->value;
        if (status != MITRAL_OK) {
            mitral_value_destroy(out);
            mitral_fail_prefix(context, status, "%s: ", path);
        }
    }
    file_unmap(&file);
    return status;
}

/* ---- writing: protos are made in an arena and packed in one piece ----------------------------------------------------- */

static mitral_status write_tensor(onnx_tensor *out, struct arena *arena, const mitral_tensor *tensor, const char *name)
{
    onnx__tensor_proto__init(out);
    out->has_data_type = 1;
    out->data_type = tensor->dtype;
    out->name = (char *)name;
    out->n_dims = (size_t)tensor->rank;
    out->dims = (int64_t *)tensor->dims;
    int64_t count = tensor_count(tensor);
    if (tensor->dtype == MITRAL_STRING) {
        out->n_string_data = (size_t)count;
        out->string_data = arena_allocate(arena, ((size_t)count + 1) * sizeof *out->string_data);
        if (!out->string_data)
            return MITRAL_NO_MEMORY;
        for (int64_t i = 0; i < count; i++) {
            const mitral_string *string = (const mitral_string *)tensor->data + i;
            out->string_data[i] = (ProtobufCBinaryData){string->size, (uint8_t *)string->data};
        }
        return MITRAL_OK;
    }
    out->has_raw_data = 1;
    int bits = dtype_bits(tensor->dtype);
    if (bits >= 8) {
        out->raw_data = (ProtobufCBinaryData){tensor_bytes(tensor), tensor->data};
        return MITRAL_OK;
    }
    size_t bytes = ((size_t)count * (size_t)bits + 7) / 8;
    uint8_t *packed = arena_allocate(arena, bytes + 1);
    if (!packed)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < count; i++) { /* the first element lies in the lowest bits */
        const int value = (((const uint8_t *)tensor->data)[i] & ((1 << bits) - 1)) << (i * bits % 8);
        packed[i * bits / 8] |= (uint8_t)value;
        if (value >> 8)
            packed[i * bits / 8 + 1] |= (uint8_t)(value >> 8);
    }
    out->raw_data = (ProtobufCBinaryData){bytes, packed};
    return MITRAL_OK;
}

static mitral_status write_value(ProtobufCMessage **out, struct arena *arena, const mitral_value *value, const char *name);

static void *allocate_list(struct arena *arena, int64_t count)
{
    return arena_allocate(arena, ((size_t)count + 1) * sizeof(void *));
}

static mitral_status write_sequence(Onnx__SequenceProto *out, struct arena *arena, const mitral_value *value, const char *name)
{
    onnx__sequence_proto__init(out);
    out->name = (char *)name;
    int32_t kind = value->count ? value->items[0].kind : MITRAL_TENSOR;
    out->has_elem_type = 1;
    out->elem_type = kind == MITRAL_TENSOR     ? ONNX__SEQUENCE_PROTO__DATA_TYPE__TENSOR
                     : kind == MITRAL_SEQUENCE ? ONNX__SEQUENCE_PROTO__DATA_TYPE__SEQUENCE
                     : kind == MITRAL_MAP      ? ONNX__SEQUENCE_PROTO__DATA_TYPE__MAP
                                               : ONNX__SEQUENCE_PROTO__DATA_TYPE__OPTIONAL;
    void **list = allocate_list(arena, value->count);
    if (!list)
        return MITRAL_NO_MEMORY;
    for (int32_t i = 0; i < value->count; i++) {
        ProtobufCMessage *item;
        TRY(write_value(&item, arena, &value->items[i], ""));
        list[i] = item;
    }
    size_t count = (size_t)value->count;
    if (kind == MITRAL_TENSOR)
        out->tensor_values = (onnx_tensor **)list, out->n_tensor_values = count;
    else if (kind == MITRAL_SEQUENCE)
        out->sequence_values = (Onnx__SequenceProto **)list, out->n_sequence_values = count;
    else if (kind == MITRAL_MAP)
        out->map_values = (Onnx__MapProto **)list, out->n_map_values = count;
    else
        out->optional_values = (Onnx__OptionalProto **)list, out->n_optional_values = count;
    return MITRAL_OK;
}

static mitral_status write_optional(Onnx__OptionalProto *out, struct arena *arena, const mitral_value *value, const char *name)
{
    onnx__optional_proto__init(out);
    out->name = (char *)name;
    out->has_elem_type = 1;
    if (value->count == 0)
        return MITRAL_OK;
    ProtobufCMessage *item;
    TRY(write_value(&item, arena, &value->items[0], ""));
    switch (value->items[0].kind) {
    case MITRAL_TENSOR:
        out->elem_type = ONNX__OPTIONAL_PROTO__DATA_TYPE__TENSOR;
        out->tensor_value = (onnx_tensor *)item;
        break;
    case MITRAL_SEQUENCE:
        out->elem_type = ONNX__OPTIONAL_PROTO__DATA_TYPE__SEQUENCE;
        out->sequence_value = (Onnx__SequenceProto *)item;
        break;
    case MITRAL_MAP:
        out->elem_type = ONNX__OPTIONAL_PROTO__DATA_TYPE__MAP;
        out->map_value = (Onnx__MapProto *)item;
        break;
    default:
        out->elem_type = ONNX__OPTIONAL_PROTO__DATA_TYPE__OPTIONAL;
        out->optional_value = (Onnx__OptionalProto *)item;
    }
    return MITRAL_OK;
}

static mitral_status write_map(Onnx__MapProto *out, struct arena *arena, const mitral_value *value, const char *name)
{
    onnx__map_proto__init(out);
    out->name = (char *)name;
    const mitral_tensor *keys = &value->items[0].tensor;
    int64_t count = tensor_count(keys);
    out->has_key_type = 1;
    out->key_type = keys->dtype;
    if (keys->dtype == MITRAL_STRING) {
        out->n_string_keys = (size_t)count;
        out->string_keys = arena_allocate(arena, ((size_t)count + 1) * sizeof *out->string_keys);
    } else {
        out->n_keys = (size_t)count;
        out->keys = arena_allocate(arena, ((size_t)count + 1) * sizeof *out->keys);
    }
    out->values = arena_allocate(arena, sizeof *out->values);
    mitral_value *items = arena_allocate(arena, ((size_t)count + 1) * sizeof *items);
    if (!out->values || !items || (!out->keys && !out->string_keys))
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < count; i++)
        if (keys->dtype == MITRAL_STRING) {
            const mitral_string *string = (const mitral_string *)keys->data + i;
            out->string_keys[i] = (ProtobufCBinaryData){string->size, (uint8_t *)string->data};
        } else {
            out->keys[i] = tensor_get_int(keys, i);
        }
    const mitral_value *values = &value->items[1];
    if (values->kind == MITRAL_SEQUENCE)
        return write_sequence(out->values, arena, values, "");
    size_t size = mitral_dtype_size((mitral_dtype)values->tensor.dtype);
    for (int64_t i = 0; i < count; i++)
        items[i].tensor = (mitral_tensor){.dtype = values->tensor.dtype, .data = (char *)values->tensor.data + (size_t)i * size};
    return write_sequence(out->values, arena, &(mitral_value){.kind = MITRAL_SEQUENCE, .count = (int32_t)count, .items = items}, "");
}

static mitral_status write_value(ProtobufCMessage **out, struct arena *arena, const mitral_value *value, const char *name)
{
    union {
        onnx_tensor tensor;
        Onnx__SequenceProto sequence;
        Onnx__OptionalProto optional;
        Onnx__MapProto map;
        ProtobufCMessage base;
    } *proto = arena_allocate(arena, sizeof *proto);
    if (!proto)
        return MITRAL_NO_MEMORY;
    *out = &proto->base;
    switch (value->kind) {
    case MITRAL_SEQUENCE: return write_sequence(&proto->sequence, arena, value, name);
    case MITRAL_OPTIONAL: return write_optional(&proto->optional, arena, value, name);
    case MITRAL_MAP: return write_map(&proto->map, arena, value, name);
    default: return write_tensor(&proto->tensor, arena, &value->tensor, name);
    }
}

mitral_status mitral_value_save(mitral_context *context, const mitral_value *value, const char *name, const char *path)
{
    size_t length = strlen(path);
    if (length >= 4 && strcmp(path + length - 4, ".npy") == 0) {
        if (value->kind != MITRAL_TENSOR)
            return mitral_fail(context, MITRAL_UNSUPPORTED, "%s: expected a tensor, found a sequence, optional or map", path);
        return npy_write(context, &value->tensor, path);
    }
    struct arena arena;
    arena_initialise(&arena, context);
    ProtobufCMessage *message;
    mitral_status status = write_value(&message, &arena, value, name ? name : "");
    if (status == MITRAL_OK) {
        size_t size = protobuf_c_message_get_packed_size(message);
        uint8_t *bytes = mitral_allocate_raw(context, size);
        status = bytes ? MITRAL_OK : MITRAL_NO_MEMORY;
        if (bytes) {
            protobuf_c_message_pack(message, bytes);
            status = file_write_bytes(context, path, bytes, size);
            mitral_release(context, bytes);
        }
    }
    arena_clear(&arena);
    return status;
}
