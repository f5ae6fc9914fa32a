/* com.microsoft.nchwc: how many channels its blocks have, and weights in the order of ONNX Runtime's kernels. */
#include <string.h>

#include "compiler/import_internal.h"
#include "runtime/cpu.h"

enum { NARROW = 8, WIDE = 16 };

/* ---- how many channels a block has ---------------------------------------------------------------------------------- */

static bool is_convolution(const onnx_node *proto)
{
    return strcmp(import_domain(proto->domain), IMPORT_BLOCKED_DOMAIN) == 0 && strcmp(import_text(proto->op_type), "Conv") == 0;
}

const mitral_tensor *import_blocked_weights(struct scope *scope, const onnx_node *proto, value_id *id)
{
    bool found = false;
    if (proto->n_input < 2 || scope_find(scope, import_text(proto->input[1]), id, &found) != MITRAL_OK || !found || *id == NO_VALUE)
        return NULL;
    const mitral_tensor *tensor = scope->graph->values[*id].constant;
    return tensor && tensor->dtype == MITRAL_FLOAT && tensor->rank == 4 && tensor_count(tensor) > 0 ? tensor : NULL;
}

/* Whether the last 16 output channels, taken as one block, have something in their first half alone: the other fills the block. */
static bool half_is_empty(const mitral_tensor *weights)
{
    const int64_t count = tensor_count(weights) / weights->dims[0];
    const float *last = (const float *)weights->data + count * (weights->dims[0] - WIDE);
    bool first = false, second = false;
    for (int64_t i = 0; i < count * WIDE && !second; i++)
        if (last[i] != 0)
            *(i % WIDE < NARROW ? &first : &second) = true;
    return first && !second;
}

/* 8 or 16 where the weights' shape allows but one, else 0. */
static int block_of(const onnx_node *proto, const mitral_tensor *weights)
{
    const int64_t outputs = weights->dims[0], inputs = weights->dims[1];
    const bool whole = import_int_of(proto, "group", 1) == 1;
    if (outputs % WIDE || (whole && inputs > NARROW && inputs % WIDE == NARROW))
        return NARROW;
    const bool fewer = whole && inputs > NARROW && inputs % NARROW; /* than a block: such an input is not in blocks */
    if (fewer || half_is_empty(weights))
        return WIDE;
    return 0;
}

void import_find_block(struct scope *scope, const onnx_graph *proto)
{
    for (size_t i = 0; i < proto->n_node; i++) {
        value_id id;
        const mitral_tensor *weights = is_convolution(proto->node[i]) ? import_blocked_weights(scope, proto->node[i], &id) : NULL;
        const int block = weights ? block_of(proto->node[i], weights) : 0;
        if (block && scope->importer->channel_block != NARROW)
            scope->importer->channel_block = block;
    }
}

/* A file that does not show it was written on a CPU like this one: ONNX Runtime itself runs it on no other. */
int64_t import_block(const struct scope *scope)
{
    if (scope->importer->channel_block)
        return scope->importer->channel_block;
    return cpu_isa_supported() >= ISA_AVX512 ? WIDE : NARROW;
}

/* [outputs / block][inputs / inner][points][inner][block] → [outputs][inputs][points]. */
static void put_back(float *to, const float *from, const int64_t dims[4], int64_t block, int64_t inner)
{
    const int64_t outputs = dims[0], inputs = dims[1], points = dims[2] * dims[3];
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t i = 0; i < inputs; i++)
            for (int64_t p = 0; p < points; p++)
                *to++ =
                    from[((o / block * (inputs / inner) + i / inner) * points + p) * inner * block + i % inner * block + o % block];
}

mitral_status import_plain_weights(struct scope *scope, const onnx_node *proto, const char **out)
{
    const int64_t block = import_block(scope), group = import_int_of(proto, "group", 1);
    value_id id;
    const mitral_tensor *weights = import_blocked_weights(scope, proto, &id);
    if (!weights)
        return mitral_fail(scope->importer->context, MITRAL_UNSUPPORTED,
                           "%s (domain " IMPORT_BLOCKED_DOMAIN
                           "): expected weights that are a constant of type float32 and rank 4, found none",
                           import_node_label(scope, proto));
    const int64_t inputs = weights->dims[1];
    const bool one_by_one = group == 1 ? inputs < block : inputs == 1 && group == weights->dims[0];
    if (weights->dims[0] % block)
        return import_refuse(scope, proto, MITRAL_INVALID,
                             block == WIDE ? "output channels in blocks of 16" : "output channels in blocks of 8",
                             weights->dims[0]);
    if (!one_by_one && inputs % block)
        return import_refuse(scope, proto, MITRAL_INVALID,
                             block == WIDE ? "input channels in blocks of 16" : "input channels in blocks of 8", inputs);
    const int64_t inner = one_by_one ? 1 : block;
    const char *name = proto->input[1];
    char *key = arena_format(&scope->importer->scratch, "%s\x1f%lld", name, (long long)inner);
    if (!key)
        return MITRAL_NO_MEMORY;
    *out = key;
    if (name_map_find(&scope->names, key))
        return MITRAL_OK;
    mitral_tensor plain = *weights;
    plain.data = arena_allocate(&scope->importer->scratch, tensor_bytes(weights));
    if (!plain.data)
        return MITRAL_NO_MEMORY;
    put_back(plain.data, weights->data, weights->dims, block, inner);
    scope->graph->values[id].parameter = false;
    TRY(scope_add_unnamed(scope, key, name, &plain, &id));
    scope->graph->values[id].parameter = true;
    return MITRAL_OK;
}
