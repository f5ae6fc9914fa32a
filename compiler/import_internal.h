/* What the files of the importer share. */
#ifndef MITRAL_COMPILER_IMPORT_INTERNAL_H
#define MITRAL_COMPILER_IMPORT_INTERNAL_H

#include "compiler/import.h"
#include "compiler/import_names.h"
#include "compiler/op.h"
#include "runtime/wire.h"
#include "schemas/onnx.pb-c.h"

typedef Onnx__ModelProto onnx_model;
typedef Onnx__GraphProto onnx_graph;
typedef Onnx__NodeProto onnx_node;
typedef Onnx__AttributeProto onnx_attribute;
typedef Onnx__TensorProto onnx_tensor;
typedef Onnx__FunctionProto onnx_function;

enum {
    IMPORT_LARGE_BYTES = 64 * 1024,    /* allocations of protobuf-c from here on lie in the graph's arena and stay there */
    IMPORT_OLDEST_OPSET = 7,
    IMPORT_OLDEST_IR = 3,
    IMPORT_MAX_ATTRIBUTES = 256,       /* of one node */
    IMPORT_MAX_EXPANDED = 1 << 19,     /* nodes and values that expanding functions may make */
    IMPORT_MAX_EXPANSION_DEPTH = 64
};
#define IMPORT_MAX_DENSE_BYTES ((size_t)1 << 30) /* that sparse tensors of a file may become: nothing else bounds them */

struct opsets {
    const struct model_import *items;
    size_t count;
};

struct function {
    const onnx_function *proto;
    struct opsets opsets;
};

/* A node that nothing here can run. Nodes of one operator and version are one entry. */
struct unsupported {
    const char *domain, *name;
    int64_t opset;
    const char *node; /* the first such node */
    const char *type; /* of its first input, where the file says it; else NULL */
    size_t count;
};

struct importer {
    mitral_context *context;
    struct graph *graph;         /* the outermost */
    struct arena scratch;        /* for the time of the import */
    ProtobufCAllocator allocator;
    const char *folder;
    struct name_map functions;   /* key of function_key: struct function */
    struct name_map bodies;      /* "<domain>:<name>:<version>": struct function of schemas' bodies */
    struct unsupported *unsupported;
    size_t unsupported_count, unsupported_capacity;
    struct name_map unsupported_index; /* key of the entry: its index */
    size_t dense_bytes, expanded;
    int64_t opset;               /* of the default domain; 0: not imported */
    int channel_block;           /* of com.microsoft.nchwc, where the file shows it; else 0 */
};

/* The function whose body is being expanded, and what its attributes are. */
struct frame {
    const void *function;          /* identity: for noticing recursion */
    const struct frame *parent;
    int depth;
    const onnx_attribute **attributes;
    size_t attribute_count;
};

/* Names and what they mean: of a graph, a subgraph or a function's body. */
struct scope {
    struct importer *importer;
    struct graph *graph;
    struct scope *parent;          /* around a subgraph; NULL: nothing outside can be seen */
    struct name_map names;         /* value ids; NO_VALUE: a function's input that was left out */
    struct name_map bound;         /* of a function: its outputs, and the ids that its caller has for them */
    struct name_map infos;         /* Onnx__ValueInfoProto: what the file declares of names */
    struct name_map own_unique, *unique; /* every value name of `graph`; a function's body shares its caller's */
    const struct frame *frame;     /* NULL outside function bodies */
    const struct opsets *opsets;
    const char *prefix;            /* in front of the names of nodes and values: "" or "call/" */
    int depth;                     /* of subgraphs */
    struct capture {
        value_id outer, inner;
    } *captures;                   /* of a subgraph: values of parent->graph and the inputs that stand for them */
    size_t capture_count, capture_capacity;
    struct name_map captured;      /* by name of the outer value: the inner id */
};

/* import.c */
mitral_status import_unpack_function(struct importer *importer, const unsigned char *bytes, size_t size, onnx_function **out);
mitral_status import_opsets(struct importer *importer, const char *what, Onnx__OperatorSetIdProto *const *items, size_t count,
                            struct opsets *out);
/* 0 when the domain is not imported. */
int64_t opset_of_domain(const struct opsets *opsets, const char *domain);
const char *import_text(const char *text); /* "" for NULL */
const char *import_domain(const char *domain); /* "" for the default one, whatever its spelling */

/* import_type.c */
mitral_status import_type(struct importer *importer, const Onnx__TypeProto *proto, struct value_type *out);

/* import_tensor.c */
mitral_status import_tensor(struct importer *importer, const onnx_tensor *proto, mitral_tensor *out);
mitral_status import_sparse_tensor(struct importer *importer, const Onnx__SparseTensorProto *proto, mitral_tensor *out);

/* import_external.c: reads `size` bytes of a tensor's external data into `data`. */
mitral_status import_external(struct importer *importer, const onnx_tensor *proto, void *data, size_t size);

/* import_graph.c */
void scope_initialise(struct scope *scope, struct importer *importer, struct graph *graph);
/* The value of a name, captured from around the subgraph where it is not its own. *found is false when there is none. */
mitral_status scope_find(struct scope *scope, const char *name, value_id *out, bool *found);
/* Makes the value of a node's output, of the declared type (NULL: none). Fails when the name is taken. */
mitral_status scope_declare(struct scope *scope, const char *name, const struct value_type *type, value_id *out);
/* Adds a value that the file has no name for (a copy of `constant`, or NULL): nodes find it by `key`, which no file has; `shown`, made
 * unique, is its name in the graph. */
mitral_status scope_add_unnamed(struct scope *scope, const char *key, const char *shown, const mitral_tensor *constant, value_id *out);
/* Remembers the types that a file declares for names. */
mitral_status import_infos(struct scope *scope, Onnx__ValueInfoProto *const *infos, size_t count);
mitral_status import_graph(struct scope *scope, const onnx_graph *proto);
/* A subgraph of a node in `outer`: built, and its captures listed in *inner (not yet inputs). */
mitral_status import_subgraph(struct scope *outer, const onnx_graph *proto, struct scope *inner);
mitral_status import_nodes(struct scope *scope, onnx_node *const *nodes, size_t count);

/* import_node.c */
mitral_status import_node(struct scope *scope, const onnx_node *proto);
/* "Conv 'name'" of a node for messages; its first output where it has no name. */
const char *import_node_label(struct scope *scope, const onnx_node *proto);
/* "Conv 'name' (domain …): expected …, found 3". */
mitral_status import_refuse(struct scope *scope, const onnx_node *proto, mitral_status status, const char *expected, int64_t found);
/* The id of each input and output; arrays in the scratch arena. */
mitral_status import_node_values(struct scope *scope, const onnx_node *proto, value_id **inputs, value_id **outputs);

/* import_legacy.c: a node of opset 6 or before as one of opset 7; *out is NULL when there is none that means the same. */
mitral_status import_legacy(struct scope *scope, const onnx_node *original, const struct schema *schema, const onnx_node **out);

/* import_runtime.c: the domain com.microsoft.nchwc and some of com.microsoft as the nodes that they stand for. *done is false for others. */
mitral_status import_runtime(struct scope *scope, const onnx_node *proto, int64_t opset, bool *done);

/* import_blocks.c */
#define IMPORT_BLOCKED_DOMAIN "com.microsoft.nchwc"
/* Notes how many channels a block has, where the weights of a graph's nodes show it; initializers are there, nodes not yet. */
void import_find_block(struct scope *scope, const onnx_graph *proto);
int64_t import_block(const struct scope *scope);
/* The weights of a convolution as the file has them; NULL: none that are a constant of float32 and rank 4. */
const mitral_tensor *import_blocked_weights(struct scope *scope, const onnx_node *proto, value_id *id);
/* The name in the scope of those weights in the order of the standard: made once, however many nodes share them. */
mitral_status import_plain_weights(struct scope *scope, const onnx_node *proto, const char **out);

/* import_attribute.c */
/* NULL: the node has none of that name. */
const onnx_attribute *import_attribute_of(const onnx_node *proto, const char *name);
int64_t import_int_of(const onnx_node *proto, const char *name, int64_t fallback);
/* Resolves a reference to an attribute of the function around it. *out is NULL when that one was left out. */
mitral_status import_attribute_resolve(struct scope *scope, const onnx_node *node, const onnx_attribute *proto,
                                       const onnx_attribute **out);
/* Attributes of a node, checked against its schema (NULL: none) and completed by its defaults; subgraphs are built. */
mitral_status import_attributes(struct scope *scope, const onnx_node *node, const struct schema *schema, int64_t opset,
                                struct attributes *out, struct scope ***subgraphs, size_t *subgraph_count);
enum attribute_kind import_attribute_kind(const onnx_attribute *proto);

/* import_constant.c: a Constant node's value becomes the constant of its output. */
mitral_status import_constant(struct scope *scope, const onnx_node *proto, const struct schema *schema, int64_t opset);

/* import_report.c */
mitral_status import_note_unsupported(struct scope *scope, const onnx_node *proto, int64_t opset);
mitral_status import_report(struct importer *importer); /* MITRAL_OK when there is nothing to report */

/* import_kinds.c: which values are no tensors, in a graph that is sorted. Kinds that the file does not declare follow from the
 * operators; declared ones that contradict them are refused, for whoever runs the graph relies on them. */
mitral_status import_kinds(struct graph *graph);

/* function.c */
mitral_status function_register(struct importer *importer, const onnx_function *function);
const struct function *function_find(const struct importer *importer, const onnx_node *node); /* model-local */
/* The body of a schema, unpacked; *out is NULL when it has none. */
mitral_status function_of_schema(struct importer *importer, const struct schema *schema, const struct function **out);
/* Puts the body in place of the call. `schema` (NULL for model-local functions) has the defaults of attributes. */
mitral_status function_expand(struct scope *scope, const onnx_node *call, const struct function *callee, const struct schema *schema);

#endif
