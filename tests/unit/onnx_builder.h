/* ONNX models built in memory, for tests of the importer: structures of protobuf-c, packed to bytes. */
#ifndef MITRAL_TESTS_ONNX_BUILDER_H
#define MITRAL_TESTS_ONNX_BUILDER_H

#include "support.h"

#include "runtime/context.h"
#include "schemas/onnx.pb-c.h"

struct builder {
    mitral_context *context;
    struct arena arena;
    Onnx__ModelProto model;
    Onnx__GraphProto *graph;
    void *bytes; /* of the last pack */
};

/* A model of one empty graph, opset 17 of the default domain, IR version 8. */
void builder_start(struct builder *builder);
void builder_stop(struct builder *builder);
void builder_opset(struct builder *builder, const char *domain, int64_t version);

Onnx__GraphProto *builder_graph(struct builder *builder, const char *name);
/* dims: -1 is unknown; `symbols` may be NULL. */
Onnx__ValueInfoProto *builder_info(struct builder *builder, const char *name, int dtype, int rank, const int64_t *dims, const char *const *symbols);
void builder_input(struct builder *builder, Onnx__GraphProto *graph, Onnx__ValueInfoProto *info);
void builder_output(struct builder *builder, Onnx__GraphProto *graph, Onnx__ValueInfoProto *info);
/* Float tensors of shape [2, 3], the usual case. */
void builder_input_2x3(struct builder *builder, const char *name);
void builder_output_2x3(struct builder *builder, const char *name);
/* `inputs` and `outputs` are names with commas between; an empty name is an absent one. */
Onnx__NodeProto *builder_node(struct builder *builder, Onnx__GraphProto *graph, const char *op, const char *inputs, const char *outputs);
Onnx__TensorProto *builder_tensor(struct builder *builder, const char *name, int dtype, int rank, const int64_t *dims);
Onnx__TensorProto *builder_initializer(struct builder *builder, Onnx__GraphProto *graph, const char *name, int dtype, int rank,
                                       const int64_t *dims);
void builder_raw(struct builder *builder, Onnx__TensorProto *tensor, const void *bytes, size_t size);
void builder_floats(struct builder *builder, Onnx__TensorProto *tensor, const float *values, size_t count);
void builder_external(struct builder *builder, Onnx__TensorProto *tensor, const char *key, const char *value);

Onnx__AttributeProto *builder_attribute(struct builder *builder, Onnx__NodeProto *node, const char *name, int type);
void builder_int(struct builder *builder, Onnx__NodeProto *node, const char *name, int64_t value);
void builder_float(struct builder *builder, Onnx__NodeProto *node, const char *name, float value);
void builder_subgraph(struct builder *builder, Onnx__NodeProto *node, const char *name, Onnx__GraphProto *graph);
void builder_reference(struct builder *builder, Onnx__NodeProto *node, const char *name, int type, const char *target);

Onnx__FunctionProto *builder_function(struct builder *builder, const char *domain, const char *name, const char *inputs, const char *outputs);
Onnx__NodeProto *builder_function_node(struct builder *builder, Onnx__FunctionProto *function, const char *op, const char *inputs,
                                       const char *outputs);
void builder_function_opset(struct builder *builder, Onnx__FunctionProto *function, const char *domain, int64_t version);

/* Bytes that live until the next pack. */
const void *builder_pack(struct builder *builder, size_t *size);

#endif
