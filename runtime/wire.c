#include "runtime/wire.h"

/* What protobuf-c keeps of each record while it unpacks a message, and what an allocation costs beside its bytes. */
enum { RECORD_BYTES = 48, ALLOCATION_BYTES = 32 };

struct wire {
    mitral_context *context;
    const char *what;
    const uint8_t *start;
    size_t unpacked;
};

static mitral_status malformed(const struct wire *wire, const uint8_t *at, const char *expected)
{
    return mitral_fail(wire->context, MITRAL_INVALID, "%s: expected %s at byte %zu, found none: the file is truncated or not of this format",
                       wire->what, expected, (size_t)(at - wire->start));
}

/* At most `bytes` long; the bits past 64 are dropped, as every decoder does. */
static bool read_varint(const uint8_t **cursor, const uint8_t *end, int bytes, uint64_t *value)
{
    *value = 0;
    for (int i = 0; i < bytes && *cursor < end; i++) {
        uint8_t byte = *(*cursor)++;
        *value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static size_t element_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32: case PROTOBUF_C_TYPE_SINT32: case PROTOBUF_C_TYPE_SFIXED32: case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: case PROTOBUF_C_TYPE_FLOAT: case PROTOBUF_C_TYPE_ENUM: case PROTOBUF_C_TYPE_BOOL:
        return 4;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 8;
    }
}

static bool is_fixed(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_SFIXED32 || field->type == PROTOBUF_C_TYPE_FIXED32 ||
           field->type == PROTOBUF_C_TYPE_FLOAT || field->type == PROTOBUF_C_TYPE_SFIXED64 ||
           field->type == PROTOBUF_C_TYPE_FIXED64 || field->type == PROTOBUF_C_TYPE_DOUBLE;
}

static void count(struct wire *wire, size_t bytes)
{
    if (__builtin_add_overflow(wire->unpacked, bytes, &wire->unpacked))
        wire->unpacked = SIZE_MAX;
}

static void count_packed(struct wire *wire, const ProtobufCFieldDescriptor *field, const uint8_t *bytes, size_t size)
{
    size_t elements = 0;
    if (is_fixed(field))
        elements = size / element_size(field);
    else
        for (size_t i = 0; i < size; i++)
            elements += !(bytes[i] & 0x80);
    size_t total;
    count(wire, __builtin_mul_overflow(elements, element_size(field), &total) ? SIZE_MAX : total);
}

static mitral_status check_message(struct wire *wire, const uint8_t *cursor, const uint8_t *end,
                                   const ProtobufCMessageDescriptor *descriptor, int depth)
{
    if (depth > WIRE_MAX_DEPTH)
        return mitral_fail(wire->context, MITRAL_LIMIT, "%s: expected messages nested at most %d deep, found more", wire->what,
                           (int)WIRE_MAX_DEPTH);
    count(wire, descriptor->sizeof_message + ALLOCATION_BYTES);
    while (cursor < end) {
        const uint8_t *record = cursor;
        uint64_t tag, value;
        if (!read_varint(&cursor, end, 5, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
            return malformed(wire, record, "a field's number");
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3));
        count(wire, RECORD_BYTES);
        if (field && field->label == PROTOBUF_C_LABEL_REPEATED)
            count(wire, element_size(field));
        switch (tag & 7) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
            if (!read_varint(&cursor, end, 10, &value))
                return malformed(wire, record, "a number");
            break;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
        case PROTOBUF_C_WIRE_TYPE_32BIT: {
            size_t size = (tag & 7) == PROTOBUF_C_WIRE_TYPE_64BIT ? 8 : 4;
            if ((size_t)(end - cursor) < size)
                return malformed(wire, record, "a number");
            cursor += size;
            break;
        }
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
            if (!read_varint(&cursor, end, 10, &value) || value > (uint64_t)(end - cursor))
                return malformed(wire, record, "as many bytes as the field says");
            if (field && field->type == PROTOBUF_C_TYPE_MESSAGE)
                TRY(check_message(wire, cursor, cursor + value, field->descriptor, depth + 1));
            else if (field && field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_BYTES)
                count_packed(wire, field, cursor, (size_t)value);
            else
                count(wire, (size_t)value + ALLOCATION_BYTES);
            cursor += value;
            break;
        default:
            return malformed(wire, record, "a field of a known kind");
        }
    }
    return MITRAL_OK;
}

mitral_status wire_check(mitral_context *context, const char *what, const void *bytes, size_t size,
                         const ProtobufCMessageDescriptor *descriptor, size_t *unpacked)
{
    struct wire wire = {.context = context, .what = what, .start = size ? bytes : (const void *)""};
    *unpacked = 0;
    TRY(check_message(&wire, wire.start, wire.start + size, descriptor, 1));
    *unpacked = wire.unpacked;
    return MITRAL_OK;
}
