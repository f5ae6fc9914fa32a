/* The graph that the importer makes, the passes change and lowering reads. One arena owns everything; values and nodes are
 * 32-bit ids. Nodes are kept in topological order. Removed nodes keep their id with op == NULL until graph_compact. */
#ifndef MITRAL_COMPILER_GRAPH_H
#define MITRAL_COMPILER_GRAPH_H

#include "runtime/tensor.h"

typedef uint32_t value_id;
typedef uint32_t node_id;
#define NO_VALUE UINT32_MAX
#define NO_NODE UINT32_MAX

struct op;
struct graph;

/* What is known of a value before a run. */
struct value_type {
    int32_t kind;  /* mitral_kind */
    int32_t dtype; /* MITRAL_UNDEFINED: not known */
    int32_t rank;  /* -1: not known */
    int64_t dims[MITRAL_MAX_RANK];          /* -1: not known */
    const char *symbols[MITRAL_MAX_RANK];   /* name of an unknown dimension where it has one ("N", "16*h"), else NULL */
    const struct value_type *element;       /* of a sequence, optional, or a map's values */
};

struct graph_value {
    const char *name;
    struct value_type type;
    const mitral_tensor *constant; /* data of an initializer or folded node; NULL: computed or an input */
    node_id producer;              /* NO_NODE: a graph input, a constant, or dead */
    int layout;                    /* enum layout; chosen by the layout pass */
    bool parameter;                /* an initializer of the file (trainable if floating-point), not a folded constant */
    bool tap;                      /* must stay readable by name */
    bool variable;                 /* training: `constant` is its first value only, never to be folded; graph_constant gives NULL */
};

/* Training: after a run the variable holds `value`, which may share its memory (plan_value.variable). */
struct graph_update {
    value_id variable, value;
};

struct node {
    const struct op *op;  /* NULL: removed */
    const char *name;     /* never NULL; made from the operator and an output when the file gives none */
    int version;          /* operator version (since_version) that its semantics follow */
    struct attributes attributes; /* schema defaults filled in */
    value_id *inputs;     /* NO_VALUE: optional and absent */
    size_t input_count;
    value_id *outputs;    /* NO_VALUE: not asked for */
    size_t output_count;
    struct graph **subgraphs; /* closed: what they take from outside are extra inputs, appended to the node's inputs, and
                                 extra inputs of the subgraph, appended to its own in the same order */
    size_t subgraph_count;
    size_t capture_count;     /* how many of the inputs were appended so (the same list for each subgraph of the node) */
};

struct graph_property {
    const char *key, *value;
};

struct graph {
    mitral_context *context;
    struct arena *arena;       /* own_arena of the outermost graph */
    struct arena own_arena;
    const char *name;
    struct graph_value *values;
    size_t value_count, value_capacity;
    struct node *nodes;        /* in topological order */
    size_t node_count, node_capacity;
    value_id *inputs;          /* without initializers that merely are listed as inputs */
    size_t input_count;
    value_id *outputs;
    size_t output_count;
    struct graph_update *updates; /* training */
    size_t update_count;
    struct graph_property *metadata; /* ONNX metadata_props */
    size_t metadata_count;
    int64_t opset;             /* of the default domain, as imported */
    int32_t ir_version;
    const char *producer_name, *producer_version, *domain, *doc_string; /* of the model; NULL when absent */
    struct model_imports *imports;   /* opset imports of other domains, for export */
};

mitral_status graph_create(struct graph **out, mitral_context *context);
/* A subgraph in the arena of `parent`. */
mitral_status graph_create_subgraph(struct graph **out, struct graph *parent);
void graph_destroy(struct graph **graph); /* of an outermost graph */
mitral_status graph_copy(struct graph **out, const struct graph *graph); /* deep, but for constant data, which is shared:
                                                                            `graph` must outlive the copy */
/* The same as a subgraph in the arena of `parent`. */
mitral_status graph_copy_subgraph(struct graph **out, struct graph *parent, const struct graph *graph);

mitral_status graph_add_value(struct graph *graph, const char *name, const struct value_type *type, value_id *out);
/* A constant; `tensor` is copied (its data too) into the arena unless `borrow`. */
mitral_status graph_add_constant(struct graph *graph, const char *name, const mitral_tensor *tensor, bool borrow, value_id *out);
mitral_status graph_add_input(struct graph *graph, value_id value);
mitral_status graph_add_output(struct graph *graph, value_id value);
mitral_status graph_add_update(struct graph *graph, value_id variable, value_id value);
/* Appends a node; arrays and attributes are copied. Its outputs' producer is set. op by domain and name (""), newest version
 * unless `version` > 0. */
mitral_status graph_add_node(struct graph *graph, const struct op *op, int version, const char *name,
                             const struct attributes *attributes, const value_id *inputs, size_t input_count,
                             const value_id *outputs, size_t output_count, node_id *out);
/* Nodes are appended: a pass that adds some before others ends with graph_sort. Pointers into graph->nodes and graph->values are
 * invalid after an add. */
void graph_remove_node(struct graph *graph, node_id node);
/* All uses of `from` (nodes and graph outputs) become `to`. */
void graph_replace_uses(struct graph *graph, value_id from, value_id to);
/* Restores topological order and drops removed nodes. MITRAL_INVALID with the cycle's node when there is one. */
mitral_status graph_sort(struct graph *graph);
/* Drops nodes whose outputs nobody uses. Returns whether there were any. */
bool graph_remove_dead(struct graph *graph);

/* Appends the nodes and constants of a subgraph, given values in place of its inputs; `outputs` are those in place of its outputs. Tensors have no
 * types before graph_infer. With a `prefix` names begin with it and end in a number from *counter, which counts on; NULL: nodes keep theirs. */
mitral_status graph_inline(struct graph *graph, const struct graph *inner, const char *prefix, size_t *counter, const value_id *inputs,
                           value_id *outputs);

/* Consumer lists, valid until the graph changes. */
struct graph_uses {
    uint32_t *offsets; /* value_count + 1 */
    node_id *nodes;    /* consumers of value v: nodes[offsets[v] … offsets[v+1]), once for each use */
    bool *is_output;   /* [v]: a graph output or a tap */
};
mitral_status graph_find_uses(const struct graph *graph, struct graph_uses *out);
void graph_free_uses(const struct graph *graph, struct graph_uses *uses);
static inline size_t graph_use_count(const struct graph_uses *uses, value_id value)
{
    return uses->offsets[value + 1] - uses->offsets[value];
}

/* Fails with the first node that gives a tensor of unknown rank, as behind an If whose branches give different ones. The message begins
 * with `what` it is about. */
mitral_status graph_check_shaped(const struct graph *graph, const char *what);
/* The producer of a value, when it is of that operator of the default domain; else NULL. */
const struct node *graph_producer(const struct graph *graph, value_id value);
bool node_is(const struct node *node, const char *op_name); /* default domain */
/* Entry `index` of an attribute that is a list; `fallback` where the list is absent or shorter. */
int64_t node_int_at(const struct node *node, const char *name, size_t index, int64_t fallback);
static inline value_id node_input(const struct node *node, size_t index)
{
    return index < node->input_count ? node->inputs[index] : NO_VALUE;
}
static inline value_id node_output(const struct node *node, size_t index)
{
    return index < node->output_count ? node->outputs[index] : NO_VALUE;
}
const mitral_tensor *graph_constant(const struct graph *graph, value_id value); /* NULL: none */
bool type_is_static(const struct value_type *type); /* a tensor with every dimension known */
void type_of_tensor(const mitral_tensor *tensor, struct value_type *out);
void type_to_tensor(const struct value_type *type, mitral_tensor *out); /* static types only */

/* Structure is sound: ids in range, one producer each, order, no dangling uses, known ops. For after import and each pass. */
mitral_status graph_verify(const struct graph *graph);
/* Types and shapes of all values, and the values that are known before a run, from the shape functions of the kernels
 * (compiler/infer.c). */
mitral_status graph_infer(struct graph *graph);
/* Of each value whether constants and shapes make it a single true (1) or false (0); else −1. Symbols have made-up sizes there: what depends on
 * one is not known by that. With `training` what depends on floating-point parameters is not known. `known` has value_count entries. */
mitral_status graph_find_conditions(const struct graph *graph, bool training, int8_t *known);
/* The same for a graph as it was imported, whose declared element types must be what follows (compiler/declared.c). */
mitral_status graph_infer_declared(struct graph *graph);
/* The graph as text, one node a line, stable; malloc'ed, freed with mitral_release. */
mitral_status graph_dump(const struct graph *graph, char **out);

#endif
