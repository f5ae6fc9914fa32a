/* ONNX files to graphs (compiler/import*.c, compiler/function.c). */
#ifndef MITRAL_COMPILER_IMPORT_H
#define MITRAL_COMPILER_IMPORT_H

#include "compiler/graph.h"

/* What a model says beside its graph and the fields of struct graph; kept for export. */
struct model_import {
    const char *domain;
    int64_t version;
};
struct model_imports {
    struct model_import *items; /* every opset import, that of the default domain ("") included */
    size_t count;
    int64_t model_version;
    const char *graph_doc_string; /* NULL when absent */
};

/* Reads a serialised ModelProto. `bytes` may be freed afterwards. External data is read from `folder` (NULL: refused) and
 * nowhere else. The graph is checked against the operator schemas (all but element types: schema_check_types) and sorted;
 * types are those that the file declares: graph_infer comes next.
 *
 * Made on the way: Constant nodes and sparse initializers become constants; functions (the model's own, and those of operators
 * that have no kernel but a body in the standard) are expanded in place, their names under "<node>/"; what subgraphs take from
 * around them becomes inputs (struct node in graph.h). An attribute of kind TYPE_PROTO (Optional's `type`) becomes a string in
 * the standard's notation: "seq(tensor(float))". */
mitral_status import_onnx(struct graph **out, mitral_context *context, const void *bytes, size_t size, const char *folder);

/* Element types and kinds of every node's inputs and outputs, as far as they are known, against the schemas' constraints. */
mitral_status schema_check_types(const struct graph *graph);

/* ---- names of types in the standard's notation (compiler/import_type.c) --------------------------------------------- */

/* "float", "int64", …; NULL for a number that is none. */
const char *onnx_dtype_name(int32_t dtype);
/* MITRAL_UNDEFINED when there is no such element type. */
int32_t onnx_dtype_of_name(const char *name, size_t size);
/* "tensor(float)", "seq(map(string, float))" into `text`, cut where it does not fit. Shapes are left out. */
const char *onnx_type_name(const struct value_type *type, char *text, size_t size);
/* The reverse; elements of the type come from `arena`. MITRAL_INVALID when the text is no type. */
mitral_status onnx_type_of_name(struct value_type *out, struct arena *arena, const char *text);

#endif
