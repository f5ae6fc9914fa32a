/* Weights in the order that the loops read them. */
#include <string.h>

#include "runtime/kernels/planar/amx.h"
#include "runtime/kernels/planar/dilated.h"
#include "runtime/kernels/planar/pack.h"

static size_t amx_size(const struct dilated_block *block, const struct dilated_stage *stage, enum dilated_part part)
{
    size_t depth = part == PART_BRANCH ? 9 * (size_t)amx_depth(stage->channels) : part == PART_HEAD ? (size_t)amx_depth(stage->channels) : 0;
    for (int s = 0; s < block->source_count && part == PART_OF_X; s++)
        depth += (size_t)amx_depth(block->sources[s].channels);
    return pack_width((size_t)stage->outputs) * depth;
}

/* One matrix for each source, each tap, or for all. */
static void amx_pack(const struct dilated_block *block, const struct dilated_stage *stage, enum dilated_part part, const float *weights,
                     float *out)
{
    const int taps = part == PART_BRANCH ? 9 : 1, count = part == PART_OF_X ? block->source_count : taps;
    for (int i = 0; i < count; i++) {
        const int first = part == PART_OF_X ? block->sources[i].first : i;
        const struct pack_matrix matrix = {.values = weights + first, .rows = stage->outputs, .row = (ptrdiff_t)stage->channels * taps,
                                           .depth = part == PART_OF_X ? block->sources[i].channels : stage->channels, .step = taps,
                                           .pairs = true};
        const size_t written = pack_channel_weights(&matrix, out);
        const size_t whole = pack_width((size_t)stage->outputs) * (size_t)amx_depth(matrix.depth);
        memset(out + written, 0, (whole - written) * sizeof *out);
        out += whole;
    }
}

size_t dilated_packed_size(const struct dilated_block *block, const struct dilated_stage *stage, enum dilated_part part)
{
    size_t outputs = (size_t)stage->outputs, channels = (size_t)stage->channels;
    const bool branch = part == PART_BRANCH;
    if (block->amx && (part != PART_HEAD || dilated_head_is_rounded(block)))
        return amx_size(block, stage, part);
    if (part == PART_HEAD)
        return (block->planes ? (outputs + 3) / 4 * 4 : pack_width(outputs)) * channels;
    if (block->pairs && !branch) {
        channels = 0;
        for (int s = 0; s < block->source_count; s++)
            channels += (size_t)pack_depth(block->sources[s].channels, true);
    } else if (block->pairs && block->planes) {
        channels = (size_t)pack_depth(stage->channels, true);
    }
    size_t width = block->planes ? (outputs + 3) / 4 * 4 : branch ? (size_t)dilated_branch_width(block, stage->outputs) : pack_width(outputs);
    return width * channels * (!branch ? 1 : block->planes ? 3 * WINOGRAD_INPUTS : WINOGRAD_INPUTS * WINOGRAD_INPUTS);
}

/* One product for each source, so that each begins where its channels do. */
static void pack_product(const struct dilated_block *block, const struct dilated_stage *stage, const float *weights, float *out)
{
    for (int s = 0; s < block->source_count; s++) {
        struct pack_matrix matrix = {.values = weights + block->sources[s].first, .rows = stage->outputs,
                                     .depth = block->sources[s].channels, .row = stage->channels, .step = 1,
                                     .pairs = block->pairs};
        out += block->planes ? pack_plane_weights(&matrix, out) : pack_channel_weights(&matrix, out);
    }
}

void dilated_pack(const struct dilated_block *block, const struct dilated_stage *stage, enum dilated_part part, const float *weights,
                  float *out)
{
    const struct pack_matrix head = {.values = weights, .rows = stage->outputs, .depth = stage->channels, .row = stage->channels, .step = 1};
    if (block->amx && (part != PART_HEAD || dilated_head_is_rounded(block)))
        amx_pack(block, stage, part, weights, out);
    else if (part == PART_HEAD)
        (block->planes ? pack_plane_weights : pack_channel_weights)(&head, out);
    else if (part == PART_OF_X)
        pack_product(block, stage, weights, out);
    else if (block->planes)
        (block->pairs ? pack_plane_winograd_pairs : pack_plane_winograd)(stage->outputs, stage->channels, weights, out);
    else
        pack_channel_winograd(stage->outputs, stage->channels, (size_t)dilated_branch_width(block, stage->outputs), weights, out);
}
