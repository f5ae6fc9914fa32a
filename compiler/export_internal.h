/* What the files of the exporter share. */
#ifndef MITRAL_COMPILER_EXPORT_INTERNAL_H
#define MITRAL_COMPILER_EXPORT_INTERNAL_H

#include "compiler/export.h"
#include "compiler/import.h"
#include "compiler/import_names.h"
#include "compiler/op.h"
#include "schemas/onnx.pb-c.h"

struct exporter {
    mitral_context *context;
    struct arena scratch; /* the whole ModelProto; tensor data are borrowed from the graph where their form allows */
};

/* One graph on its way out: what its values are called. */
struct export_scope {
    const struct graph *graph;
    const struct export_scope *parent;
    const char **names;   /* by value id; NULL: not part of the model */
    struct name_map used;
    int depth;
};

/* export_graph.c */
mitral_status export_graph(struct exporter *exporter, const struct graph *graph, const struct export_scope *parent,
                           const struct node *owner, Onnx__GraphProto **out);

/* export_tensor.c; *out lives in the scratch arena. */
mitral_status export_tensor(struct exporter *exporter, const char *name, const mitral_tensor *tensor, Onnx__TensorProto **out);
mitral_status export_type(struct exporter *exporter, const struct value_type *type, Onnx__TypeProto **out);
/* An attribute of any kind but a graph. */
mitral_status export_attribute(struct exporter *exporter, const struct node *node, const struct attribute *attribute,
                               const struct schema_attribute *schema, Onnx__AttributeProto **out);

/* Zeroed memory that protobuf-c's structures may point to. */
void *export_allocate(struct exporter *exporter, size_t count, size_t size);
char *export_text(const char *text);

#endif
