/* One operator, one row. Families' tables are in compiler/ops/<family>.c; op.c lists the families. */
#ifndef MITRAL_COMPILER_OP_H
#define MITRAL_COMPILER_OP_H

#include "compiler/graph.h"
#include "runtime/kernel.h"

struct lowering;
struct gradient;

enum op_trait {
    OP_ELEMENTWISE = 1 << 0,    /* output i depends on input element i (after broadcasting) alone */
    OP_LAYOUT_ANY = 1 << 1,     /* works on any layout if all inputs have the same */
    OP_ACTIVATION = 1 << 2,     /* elementwise of one data input: can be a post-op of a convolution or matmul */
    OP_COMMUTATIVE = 1 << 3,
    OP_RANDOM = 1 << 4,         /* never folded, never merged */
    OP_MOVES_DATA = 1 << 5,     /* copies elements without changing them */
    OP_CONTROL = 1 << 6,        /* owns subgraphs */
    OP_QUANTIZES = 1 << 7       /* rounds its first input to 8 bits or fewer */
};

struct op {
    const char *name;
    const char *domain;           /* NULL: ai.onnx. "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft", "mitral" */
    const char *kernel;           /* reference kernel; NULL: named like the operator, with the domain's prefix */
    uint32_t traits;
    /* Emits the steps of this node, choosing fast kernels; sets *done = false to decline: then the reference kernel runs. */
    mitral_status (*lower)(struct lowering *lowering, const struct node *node, bool *done);
    /* Emits the nodes that compute the gradient of the inputs from those of the outputs (compiler/gradient.h). NULL: none. */
    mitral_status (*gradient)(struct gradient *gradient, const struct node *node);
    /* Emits the nodes that this one is made of (compiler/gradients/compose.h): before gradients are built they take its place, and
     * the gradient is that of the parts. *done = false: the node stays, and its own `gradient` serves. NULL: never. */
    mitral_status (*compose)(struct gradient *gradient, const struct node *node, bool *done);
    double tolerance;             /* of an output against the reference, |d| / (1 + |ref|); 0: 1e-5 */
    const struct kernel *custom;  /* of an operator that the caller registered; NULL in all rows of the tables */
};

/* domain NULL or "" or "ai.onnx": the default one. NULL when there is no row. */
const struct op *op_find(const char *domain, const char *name);
/* Among what the caller registered with the context; NULL when there is none. */
const struct op *op_find_registered(const mitral_context *context, const char *domain, const char *name);
const struct op *op_at(size_t index); /* walks all rows; NULL after the last */
const struct kernel *op_kernel(const struct op *op); /* the reference kernel; NULL: none (then a function body or `lower`) */
const char *op_domain(const struct op *op);          /* "" for the default domain */

/* ---- the generated schema table (schemas/generate_schemas.py) ------------------------------------------------------ */

struct schema_attribute {
    const char *name;
    int kind;                 /* enum attribute_kind; 0 for kinds that no attribute here has */
    bool required;
    bool has_default;
    int64_t default_int;
    float default_float;
    const char *default_string;
    const int64_t *default_ints;
    size_t default_ints_count;
    const float *default_floats;
    size_t default_floats_count;
    const char *const *default_strings;
    size_t default_strings_count;
};

struct schema_parameter {
    const char *name;
    const char *type;         /* "T" (a constraint's name) or a type such as "tensor(int64)" */
    int option;               /* 0 single, 1 optional, 2 variadic */
    bool homogeneous;         /* of a variadic one */
    int minimum;              /* of a variadic one */
};

struct schema_constraint {
    const char *name;
    const char *const *types; /* "tensor(float)", "seq(tensor(int64))", … */
    size_t type_count;
};

struct schema {
    const char *domain, *name;   /* domain "" is ai.onnx */
    int since_version;
    int min_input, max_input, min_output, max_output;
    const struct schema_attribute *attributes;
    size_t attribute_count;
    const struct schema_parameter *inputs;
    size_t input_count;
    const struct schema_parameter *outputs;
    size_t output_count;
    const struct schema_constraint *constraints;
    size_t constraint_count;
    const unsigned char *function_body; /* serialised FunctionProto; NULL: none */
    size_t function_body_size;
};

/* Newest schema of the operator whose since_version ≤ `opset`; NULL when there is none. */
const struct schema *schema_find(const char *domain, const char *name, int64_t opset);
/* NULL when it has none of that name; `schema` may be NULL. */
const struct schema_attribute *schema_attribute_find(const struct schema *schema, const char *name);
extern const struct schema schema_table[];      /* sorted by domain, name, since_version */
extern const size_t schema_table_count;
extern const int64_t schema_newest_opset;       /* of ai.onnx in the package that the table was made from */

#endif
