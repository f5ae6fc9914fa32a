/* Matrix products. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "compiler/gradients/gradients.h"

static mitral_status with_axis(struct gradient *gradient, value_id *out, value_id value, int64_t axis)
{
    value_id axes;
    TRY(gradient_ints(gradient, &axes, &axis, 1));
    return gradient_binary(gradient, out, "Unsqueeze", value, axes);
}

/* The last two axes of a value of that rank exchanged. */
static mitral_status transposed(struct gradient *gradient, value_id *out, value_id value, int32_t rank)
{
    struct attributes attributes = {0};
    int64_t permutation[MITRAL_MAX_RANK];
    for (int32_t i = 0; i < rank; i++)
        permutation[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    TRY(attributes_set_ints(&attributes, gradient_graph(gradient)->arena, "perm", permutation, (size_t)rank));
    return gradient_emit(gradient, "Transpose", &attributes, &value, 1, out, 1);
}

/* Sums a gradient over the leading dimensions that the operand was repeated along. */
static mitral_status reduce_to(struct gradient *gradient, value_id *out, value_id value, value_id like)
{
    struct attributes attributes = {0};
    value_id inputs[2] = {value};
    size_t count = 1;
    TRY(gradient_set_shape(gradient, &attributes, like, inputs, &count));
    return gradient_emit(gradient, "mitral.ReduceTo", &attributes, inputs, count, out, 1);
}

/* Vectors are treated as the matrices that numpy's rules make of them: dA = dY Bᵀ, dB = Aᵀ dY. */
mitral_status differentiate_matmul(struct gradient *gradient, const struct node *node)
{
    value_id a = node->inputs[0], b = node->inputs[1], arriving = gradient_of(gradient, node, 0), value;
    int32_t rank_a = gradient_type(gradient, a)->rank, rank_b = gradient_type(gradient, b)->rank;
    if (rank_a < 1 || rank_b < 1)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected operands of known rank");
    value_id matrix_a = a, matrix_b = b;
    if (rank_a == 1)
        TRY(with_axis(gradient, &matrix_a, a, 0));
    if (rank_b == 1) {
        TRY(with_axis(gradient, &matrix_b, b, 1));
        TRY(with_axis(gradient, &arriving, arriving, -1));
    }
    if (rank_a == 1)
        TRY(with_axis(gradient, &arriving, arriving, -2));
    if (gradient_wants(gradient, node, 0)) {
        value_id other;
        TRY(transposed(gradient, &other, matrix_b, rank_b == 1 ? 2 : rank_b));
        TRY(gradient_binary(gradient, &value, "MatMul", arriving, other));
        if (rank_a != rank_b || rank_a > 2 || rank_a == 1)
            TRY(reduce_to(gradient, &value, value, a));
        TRY(gradient_contribute(gradient, node, 0, value));
    }
    if (gradient_wants(gradient, node, 1)) {
        value_id other;
        TRY(transposed(gradient, &other, matrix_a, rank_a == 1 ? 2 : rank_a));
        TRY(gradient_binary(gradient, &value, "MatMul", other, arriving));
        if (rank_b == 1) {
            value_id axes;
            TRY(gradient_ints(gradient, &axes, (const int64_t[]){-1}, 1));
            TRY(gradient_binary(gradient, &value, "Squeeze", value, axes));
        }
        if (rank_a != rank_b || rank_b > 2 || rank_b == 1)
            TRY(reduce_to(gradient, &value, value, b));
        TRY(gradient_contribute(gradient, node, 1, value));
    }
    return MITRAL_OK;
}

static mitral_status product(struct gradient *gradient, value_id *out, value_id a, bool transpose_a, value_id b, bool transpose_b,
                             float alpha)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    struct attributes attributes = {0};
    TRY(attributes_set_float(&attributes, arena, "alpha", alpha));
    TRY(attributes_set_float(&attributes, arena, "beta", 1));
    TRY(attributes_set_int(&attributes, arena, "transA", transpose_a));
    TRY(attributes_set_int(&attributes, arena, "transB", transpose_b));
    return gradient_emit(gradient, "Gemm", &attributes, (value_id[]){a, b}, 2, out, 1);
}

/* Y = α A' B' + β C, where ' is an optional transposition. */
mitral_status differentiate_gemm(struct gradient *gradient, const struct node *node)
{
    value_id a = node->inputs[0], b = node->inputs[1], arriving = gradient_of(gradient, node, 0), value;
    bool ta = attribute_int(&node->attributes, "transA", 0) != 0, tb = attribute_int(&node->attributes, "transB", 0) != 0;
    float alpha = attribute_float(&node->attributes, "alpha", 1), beta = attribute_float(&node->attributes, "beta", 1);
    if (gradient_wants(gradient, node, 0)) {
        if (ta)
            TRY(product(gradient, &value, b, tb, arriving, true, alpha));
        else
            TRY(product(gradient, &value, arriving, false, b, !tb, alpha));
        TRY(gradient_contribute(gradient, node, 0, value));
    }
    if (gradient_wants(gradient, node, 1)) {
        if (tb)
            TRY(product(gradient, &value, arriving, true, a, ta, alpha));
        else
            TRY(product(gradient, &value, a, !ta, arriving, false, alpha));
        TRY(gradient_contribute(gradient, node, 1, value));
    }
    if (gradient_wants(gradient, node, 2)) {
        TRY(gradient_scale(gradient, &value, arriving, node->outputs[0], (double)beta));
        TRY(gradient_contribute_reduced(gradient, node, 2, value));
    }
    return MITRAL_OK;
}

/* ---- Einsum ---------------------------------------------------------------------------------------------------------- */

#define EINSUM_TERMS 8
#define EINSUM_LENGTH 64

struct einsum {
    char terms[EINSUM_TERMS][EINSUM_LENGTH]; /* of the inputs */
    size_t count;
    char output[EINSUM_LENGTH];
};

/* Explicit letters only: no ellipsis, no letter twice in a term. Without "->" the output is the sorted letters that occur once. */
static bool parse_einsum(const char *equation, struct einsum *out)
{
    size_t length = 0, uses[128] = {0};
    char *term = out->terms[0];
    bool explicit_output = false;
    out->count = 1;
    for (const char *at = equation; *at; at++) {
        if (*at == ' ')
            continue;
        if (at[0] == '-' && at[1] == '>' && !explicit_output) {
            explicit_output = true;
            term = out->output;
            length = 0;
            at++;
        } else if (*at == ',' && !explicit_output && out->count < EINSUM_TERMS) {
            term = out->terms[out->count++];
            length = 0;
        } else if (isalpha((unsigned char)*at) && length + 1 < MITRAL_MAX_RANK + 1 && !memchr(term, *at, length)) {
            term[length++] = *at;
            term[length] = 0;
            uses[(unsigned char)*at] += !explicit_output;
        } else {
            return false;
        }
    }
    if (!explicit_output) {
        length = 0;
        for (int letter = 'A'; letter <= 'z'; letter++)
            if (uses[letter] == 1) {
                if (length >= MITRAL_MAX_RANK)
                    return false;
                out->output[length++] = (char)letter;
            }
        out->output[length] = 0;
    }
    return true;
}

/* The gradient of one term is the product of the others and dY, summed to its letters. Letters that only this term has were summed
 * away: they are missing from the product, and are put back as repeated axes. */
mitral_status differentiate_einsum(struct gradient *gradient, const struct node *node)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    struct einsum einsum = {0};
    const char *equation = attribute_string(&node->attributes, "equation", "");
    if (!parse_einsum(equation, &einsum) || einsum.count != node->input_count)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected an equation of plain letters, each once in a term, found '%s'",
                             equation);
    for (size_t i = 0; i < einsum.count; i++) {
        value_id inputs[EINSUM_TERMS + 1], value;
        char text[EINSUM_LENGTH * (EINSUM_TERMS + 2)], target[EINSUM_LENGTH] = "";
        size_t count = 0, used = 0, kept = 0;
        int64_t missing[MITRAL_MAX_RANK];
        size_t missing_count = 0;
        if (!gradient_wants(gradient, node, i))
            continue;
        inputs[count++] = gradient_of(gradient, node, 0);
        used += (size_t)snprintf(text, sizeof text, "%s", einsum.output);
        for (size_t k = 0; k < einsum.count; k++)
            if (k != i) {
                inputs[count++] = node->inputs[k];
                used += (size_t)snprintf(text + used, sizeof text - used, ",%s", einsum.terms[k]);
            }
        for (const char *letter = einsum.terms[i]; *letter; letter++) {
            bool elsewhere = strchr(einsum.output, *letter) != NULL;
            for (size_t k = 0; k < einsum.count; k++)
                elsewhere |= k != i && strchr(einsum.terms[k], *letter) != NULL;
            if (elsewhere)
                target[kept++] = *letter;
            else
                missing[missing_count++] = letter - einsum.terms[i];
        }
        target[kept] = 0;
        snprintf(text + used, sizeof text - used, "->%s", target);
        struct attributes attributes = {0};
        TRY(attributes_set_string(&attributes, arena, "equation", text));
        TRY(gradient_emit(gradient, "Einsum", &attributes, inputs, count, &value, 1));
        if (missing_count) {
            struct attributes spread = {0};
            value_id spread_inputs[2] = {value};
            size_t spread_count = 1;
            TRY(attributes_set_ints(&spread, arena, "axes", missing, missing_count));
            TRY(attributes_set_int(&spread, arena, "keepdims", 0));
            TRY(gradient_set_shape(gradient, &spread, node->inputs[i], spread_inputs, &spread_count));
            TRY(gradient_emit(gradient, "mitral.ReduceGradient", &spread, spread_inputs, spread_count, &value, 1));
        }
        TRY(gradient_contribute(gradient, node, i, value));
    }
    return MITRAL_OK;
}
