/* Regions that passes find and one kernel runs. Domain mitral. */
#include "compiler/lower.h"

static mitral_status lower_dilated(struct lowering *lowering, const struct node *node, bool *done)
{
    return lower_node(lowering, node, "planar.dilated_block", done);
}

const struct op ops_dilated[] = {
    /* Reduce, dilated convolutions in parallel, merge, normalize, add: runtime/kernels/planar/dilated.h has the inputs. */
    {.name = "DilatedParallelBlock", .domain = "mitral", .lower = lower_dilated},
};
const size_t ops_dilated_count = sizeof ops_dilated / sizeof *ops_dilated;
