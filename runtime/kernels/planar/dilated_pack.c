/* Weights in the order that the loops read them. */
#include "runtime/kernels/planar/dilated.h"
#include "runtime/kernels/planar/pack.h"

size_t dilated_packed_size(const struct dilated_block *block, const struct dilated_stage *stage, enum dilated_part part)
{
    size_t outputs = (size_t)stage->outputs, channels = (size_t)stage->channels;
    const bool branch = part == PART_BRANCH;
    if (part == PART_HEAD)
        return pack_width(outputs) * channels;
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
    if (part == PART_HEAD)
        pack_channel_weights(&head, out);
    else if (part == PART_OF_X)
        pack_product(block, stage, weights, out);
    else if (block->planes)
        (block->pairs ? pack_plane_winograd_pairs : pack_plane_winograd)(stage->outputs, stage->channels, weights, out);
    else
        pack_channel_winograd(stage->outputs, stage->channels, (size_t)dilated_branch_width(block, stage->outputs), weights, out);
}
