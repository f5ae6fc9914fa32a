/* Finds operators over the families' tables. */
#include "compiler/op.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Every table of `struct op` rows, one line each, in alphabetical order. A family F defines `const struct op F[]` and
 * `const size_t F_count`. */
#define OP_FAMILIES(FAMILY)                                                                                            \
    FAMILY(ops_activation)                                                                                             \
    FAMILY(ops_attention)                                                                                              \
    FAMILY(ops_binary)                                                                                                 \
    FAMILY(ops_cast)                                                                                                   \
    FAMILY(ops_control)                                                                                                \
    FAMILY(ops_convolution)                                                                                            \
    FAMILY(ops_detection)                                                                                              \
    FAMILY(ops_dilated)                                                                                                \
    FAMILY(ops_fused)                                                                                                  \
    FAMILY(ops_gather)                                                                                                 \
    FAMILY(ops_generate)                                                                                               \
    FAMILY(ops_gradient)                                                                                               \
    FAMILY(ops_image)                                                                                                  \
    FAMILY(ops_loss)                                                                                                   \
    FAMILY(ops_matmul)                                                                                                 \
    FAMILY(ops_microsoft)                                                                                              \
    FAMILY(ops_ml)                                                                                                     \
    FAMILY(ops_normalization)                                                                                          \
    FAMILY(ops_optimizers)                                                                                             \
    FAMILY(ops_pooling)                                                                                                \
    FAMILY(ops_quantize)                                                                                               \
    FAMILY(ops_random)                                                                                                 \
    FAMILY(ops_recurrent)                                                                                              \
    FAMILY(ops_reduce)                                                                                                 \
    FAMILY(ops_resize)                                                                                                 \
    FAMILY(ops_sequence)                                                                                               \
    FAMILY(ops_shape)                                                                                                  \
    FAMILY(ops_signal)                                                                                                 \
    FAMILY(ops_text)                                                                                                   \
    FAMILY(ops_unary)                                                                                                  \
    FAMILY(ops_variadic)                                                                                               \

#define DECLARE_OP_FAMILY(table)                                                                                       \
    extern const struct op table[];                                                                                    \
    extern const size_t table##_count;
OP_FAMILIES(DECLARE_OP_FAMILY)

struct family {
    const struct op *rows;
    const size_t *count;
};

#define FAMILY_ENTRY(table) {table, &table##_count},
static const struct family families[] = {OP_FAMILIES(FAMILY_ENTRY){NULL, NULL}};

#define INDEX_SIZE 2048u
static const struct op *op_index[INDEX_SIZE];
static pthread_once_t index_once = PTHREAD_ONCE_INIT;

/* Kernel names of other domains begin with a short prefix. */
static const struct {
    const char *domain, *prefix;
} domains[] = {
    {"ai.onnx.ml", "ml."},
    {"ai.onnx.preview.training", "training."},
    {"ai.onnx.preview", "preview."},
    {"com.microsoft", "microsoft."},
    {"mitral", "mitral."},
};

static const char *plain_domain(const char *domain)
{
    return !domain || strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

const char *op_domain(const struct op *op)
{
    return plain_domain(op->domain);
}

static uint32_t hash_text(uint32_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash;
}

static uint32_t hash_op(const char *domain, const char *name)
{
    uint32_t hash = hash_text(hash_text(2166136261u, domain) * 31u, name);
    return hash ^ hash >> 15;
}

static bool op_matches(const struct op *op, const char *domain, const char *name)
{
    return strcmp(op->name, name) == 0 && strcmp(op_domain(op), domain) == 0;
}

const struct op *op_at(size_t index)
{
    for (const struct family *family = families; family->rows; family++) {
        if (index < *family->count)
            return &family->rows[index];
        index -= *family->count;
    }
    return NULL;
}

static void build_index(void)
{
    const struct op *op;
    for (size_t i = 0; i < INDEX_SIZE / 2 && (op = op_at(i)) != NULL; i++) {
        uint32_t slot = hash_op(op_domain(op), op->name) % INDEX_SIZE;
        while (op_index[slot])
            slot = (slot + 1) % INDEX_SIZE;
        op_index[slot] = op;
    }
}

const struct op *op_find(const char *domain, const char *name)
{
    if (!name)
        return NULL;
    domain = plain_domain(domain);
    pthread_once(&index_once, build_index);
    for (uint32_t slot = hash_op(domain, name) % INDEX_SIZE; op_index[slot]; slot = (slot + 1) % INDEX_SIZE)
        if (op_matches(op_index[slot], domain, name))
            return op_index[slot];
    for (size_t i = INDEX_SIZE / 2; op_at(i); i++)
        if (op_matches(op_at(i), domain, name))
            return op_at(i);
    return NULL;
}

const struct kernel *op_kernel(const struct op *op)
{
    if (op->custom)
        return op->custom;
    if (op->kernel)
        return kernel_find(op->kernel);
    const char *domain = op_domain(op);
    if (!*domain)
        return kernel_find(op->name);
    for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++)
        if (strcmp(domains[i].domain, domain) == 0) {
            char name[128];
            if ((size_t)snprintf(name, sizeof(name), "%s%s", domains[i].prefix, op->name) < sizeof(name))
                return kernel_find(name);
        }
    return NULL;
}
