/* Tensors, values and attributes as the runtime's kernels see them. */
#ifndef MITRAL_RUNTIME_TENSOR_H
#define MITRAL_RUNTIME_TENSOR_H

#include "runtime/context.h"

/* Physical order of a tensor's elements; dims stay in ONNX order. */
enum layout {
    LAYOUT_PLAIN = 0,         /* row-major */
    LAYOUT_CHANNELS_LAST = 1, /* N, spatial…, C */
    LAYOUT_PACKED = 2         /* constants only: as `packing` says */
};

/* How a constant was packed: the kernel-specific order of its elements. `scheme` names the code that packed it;
 * `description` tells variants of one scheme apart ("8i16o", …). Equal strings mean equal layouts. */
struct mitral_packing {
    const char *scheme;
    const char *description;
    size_t bytes;
};

/* Floor of a kernel's element-type checks. */
bool dtype_is_float(int32_t dtype);   /* float16, bfloat16, float, double and the 8- and 4-bit floats */
bool dtype_is_real(int32_t dtype);    /* of those: float16, bfloat16, float and double */
bool dtype_is_integer(int32_t dtype); /* signed and unsigned, every width; not bool */
bool dtype_is_byte(int32_t dtype);    /* of those: int8 and uint8 */
bool dtype_is_signed(int32_t dtype);
int dtype_bits(int32_t dtype);        /* as stored in files: 4 for int4, … */

int64_t tensor_count(const mitral_tensor *tensor); /* of a tensor whose size has been checked */
size_t tensor_bytes(const mitral_tensor *tensor);
bool tensor_same_shape(const mitral_tensor *a, const mitral_tensor *b);
/* Row-major strides in elements. */
void tensor_strides(const mitral_tensor *tensor, int64_t strides[MITRAL_MAX_RANK]);
/* Sets dtype, rank, dims; data NULL, plain layout. */
void tensor_set(mitral_tensor *tensor, int32_t dtype, int32_t rank, const int64_t *dims);
/* "float32[1,3,224,224]" into `text`; returns text. Any rank may be given: of one out of bounds the dimensions are not read. */
const char *tensor_describe(const mitral_tensor *tensor, char *text, size_t size);
/* Checks that every size fits in the context's limit. */
mitral_status tensor_check_size(mitral_context *context, const mitral_tensor *tensor);

/* One element of a numeric tensor, converted as the ONNX Cast of float types to double / integers to int64 does. */
double tensor_get_double(const mitral_tensor *tensor, int64_t index);
int64_t tensor_get_int(const mitral_tensor *tensor, int64_t index);
/* Round to nearest even; out of range saturates only where `saturate` (float8). */
void tensor_set_double(mitral_tensor *tensor, int64_t index, double value, bool saturate);
void tensor_set_int(mitral_tensor *tensor, int64_t index, int64_t value);

/* Bit-level conversions of the small floats (runtime/float.c). */
float float16_to_float(uint16_t bits);
uint16_t float_to_float16(float value);
static inline float bfloat16_to_float(uint16_t bits)
{
    union { uint32_t u; float f; } x = {(uint32_t)bits << 16};
    return x.f;
}
uint16_t float_to_bfloat16(float value);
float small_float_to_float(int32_t dtype, uint8_t bits);
uint8_t float_to_small_float(int32_t dtype, float value, bool saturate);

/* Deep copies; memory from `arena`. */
mitral_status value_copy(mitral_value *out, struct arena *arena, const mitral_value *value);
mitral_status tensor_copy(mitral_tensor *out, struct arena *arena, const mitral_tensor *tensor);

/* ---- attributes ---------------------------------------------------------------------------------------------------- */

enum attribute_kind {
    ATTRIBUTE_INT = 1, ATTRIBUTE_FLOAT, ATTRIBUTE_STRING, ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH,
    ATTRIBUTE_INTS, ATTRIBUTE_FLOATS, ATTRIBUTE_STRINGS, ATTRIBUTE_TENSORS
};

struct attribute {
    const char *name;
    enum attribute_kind kind;
    size_t count; /* of the list kinds; 1 otherwise */
    union {
        const int64_t *ints;
        const float *floats;
        const mitral_string *strings;
        const mitral_tensor *tensors;
        int32_t subgraph; /* ATTRIBUTE_GRAPH: index into the node's subgraphs / the step's sub-plans */
    };
};

struct attributes {
    struct attribute *items;
    size_t count;
};

const struct attribute *attribute_find(const struct attributes *attributes, const char *name);
bool attribute_has(const struct attributes *attributes, const char *name);
int64_t attribute_int(const struct attributes *attributes, const char *name, int64_t fallback);
float attribute_float(const struct attributes *attributes, const char *name, float fallback);
/* NUL-terminated; fallback when absent. */
const char *attribute_string(const struct attributes *attributes, const char *name, const char *fallback);
/* The list and its length; NULL and 0 when absent. */
const int64_t *attribute_ints(const struct attributes *attributes, const char *name, size_t *count);
const float *attribute_floats(const struct attributes *attributes, const char *name, size_t *count);
const mitral_string *attribute_strings(const struct attributes *attributes, const char *name, size_t *count);
const mitral_tensor *attribute_tensor(const struct attributes *attributes, const char *name);
int32_t attribute_subgraph(const struct attributes *attributes, const char *name); /* -1 when absent */

/* Builders; memory from `arena`, an attribute of that name is replaced. */
mitral_status attributes_set_int(struct attributes *attributes, struct arena *arena, const char *name, int64_t value);
mitral_status attributes_set_float(struct attributes *attributes, struct arena *arena, const char *name, float value);
mitral_status attributes_set_string(struct attributes *attributes, struct arena *arena, const char *name, const char *value);
mitral_status attributes_set_ints(struct attributes *attributes, struct arena *arena, const char *name,
                                  const int64_t *values, size_t count);
mitral_status attributes_set_floats(struct attributes *attributes, struct arena *arena, const char *name,
                                    const float *values, size_t count);
mitral_status attributes_set(struct attributes *attributes, struct arena *arena, const struct attribute *attribute);
void attributes_remove(struct attributes *attributes, const char *name);
mitral_status attributes_copy(struct attributes *out, struct arena *arena, const struct attributes *attributes);

#endif
