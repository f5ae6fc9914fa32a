/* Operators that are composed of others before gradients are built, and what their hooks write graphs with.
 *
 * A composer remembers the first failure: from then on its functions give NO_VALUE and do nothing, so that a hook reads as the formula
 * that it is, and asks once, with composer_end. */
#ifndef MITRAL_COMPILER_COMPOSE_H
#define MITRAL_COMPILER_COMPOSE_H

#include "compiler/gradient.h"

struct composer {
    struct gradient *gradient;
    const struct node *node;
    int32_t dtype; /* of numbers that are made */
    mitral_status status;
};

/* dtype: that of the first floating-point input. */
struct composer composer_start(struct gradient *gradient, const struct node *node);
/* The first failure, if any; else *done. */
mitral_status composer_end(const struct composer *c, bool *done);
/* The type of the node's input; rank -1 where it is absent. */
struct value_type input_type(const struct composer *c, size_t index);
static inline value_id input_of(const struct composer *c, size_t index)
{
    return node_input(c->node, index);
}
void become(struct composer *c, size_t output, value_id value);
/* The graph's: what a hook allocates lives as long as the graph. */
static inline struct arena *arena_of(const struct composer *c)
{
    return gradient_graph(c->gradient)->arena;
}
static inline void set_int(struct composer *c, struct attributes *attributes, const char *name, int64_t value)
{
    if (c->status == MITRAL_OK)
        c->status = attributes_set_int(attributes, arena_of(c), name, value);
}

value_id apply(struct composer *c, const char *op, const struct attributes *attributes, const value_id *inputs, size_t count);
/* The same for several outputs. */
void apply_many(struct composer *c, const char *op, const struct attributes *attributes, const value_id *inputs, size_t count,
                value_id *outputs, size_t output_count);
value_id unary(struct composer *c, const char *op, value_id a);
value_id binary(struct composer *c, const char *op, value_id a, value_id b);
static inline value_id add(struct composer *c, value_id a, value_id b)
{
    return binary(c, "Add", a, b);
}
static inline value_id subtract(struct composer *c, value_id a, value_id b)
{
    return binary(c, "Sub", a, b);
}
static inline value_id multiply(struct composer *c, value_id a, value_id b)
{
    return binary(c, "Mul", a, b);
}
static inline value_id divide(struct composer *c, value_id a, value_id b)
{
    return binary(c, "Div", a, b);
}
static inline value_id matrix_product(struct composer *c, value_id a, value_id b)
{
    return binary(c, "MatMul", a, b);
}
value_id where(struct composer *c, value_id condition, value_id a, value_id b);
value_id number(struct composer *c, double value);
value_id scaled(struct composer *c, value_id a, double factor);
value_id integers(struct composer *c, const int64_t *values, size_t count);
/* A constant of the composer's dtype. */
value_id numbers(struct composer *c, const double *values, int32_t rank, const int64_t *dims);
value_id reshaped(struct composer *c, value_id a, int32_t rank, const int64_t *dims); /* -1: what is left over; 0: zero */
value_id with_axis(struct composer *c, value_id a, int64_t axis);
value_id without_axis(struct composer *c, value_id a, int64_t axis);
value_id permuted(struct composer *c, value_id a, int32_t rank, const int64_t *permutation);
/* Elements [start, end) of an axis. */
value_id part(struct composer *c, value_id a, int64_t axis, int64_t start, int64_t end);
value_id reversed(struct composer *c, value_id a, int64_t axis);
value_id joined(struct composer *c, const value_id *parts, size_t count, int64_t axis);
value_id summed(struct composer *c, value_id a, int64_t axis, bool keep);
value_id softmax(struct composer *c, value_id a, int64_t axis);
value_id cast(struct composer *c, value_id a, int32_t dtype);
/* The activation that a composed operator names: "Relu", "Tanh", …; fails for one that is not known. */
value_id activated(struct composer *c, const char *function, double alpha, double beta, value_id a);

typedef mitral_status compose_hook(struct gradient *gradient, const struct node *node, bool *done);

/* compose_recurrent.c */
compose_hook compose_rnn, compose_gru, compose_lstm;
compose_hook compose_linear_attention;
/* compose_attention.c */
compose_hook compose_attention, compose_flexible_attention, compose_rotary_embedding;
/* compose_attention_microsoft.c */
compose_hook compose_projected_attention, compose_separate_attention, compose_grouped_attention;
/* compose_fused.c: com.microsoft */
compose_hook compose_fused_gemm, compose_fused_matmul, compose_skip_normalization,
    compose_simplified_normalization, compose_embedding;
/* compose_moves.c */
compose_hook compose_cumulative_product, compose_affine_grid, compose_one_hot, compose_range, compose_compress,
    compose_unique, compose_tensor_scatter, compose_top_k, compose_dropout, compose_gather_nd, compose_swiglu,
    compose_dequantize;
/* compose_products.c */
compose_hook compose_einsum, compose_deformable_convolution, compose_causal_convolution;
/* compose_spatial.c: more than three spatial dimensions */
compose_hook compose_convolution, compose_transposed_convolution, compose_pooling, compose_global_pooling;
/* compose_signal.c */
compose_hook compose_stft;
/* compose_control.c */
compose_hook compose_if, compose_loop, compose_scan;
/* compose_sequence.c */
compose_hook compose_sequence_at, compose_concat_from_sequence, compose_optional_element, compose_sequence_map;
/* compose_ml.c */
compose_hook compose_scaler, compose_normalizer, compose_imputer, compose_linear_regressor, compose_linear_classifier, compose_vector_regressor,
    compose_feature_vectorizer, compose_array_feature_extractor;

#endif
