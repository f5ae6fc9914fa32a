/* Operators with subgraphs. */
#include "compiler/op.h"

const struct op ops_control[] = {
    {.name = "If", .traits = OP_CONTROL},
    {.name = "Loop", .traits = OP_CONTROL},
    {.name = "Scan", .traits = OP_CONTROL},
    {.name = "SequenceMap", .traits = OP_CONTROL},
};
const size_t ops_control_count = sizeof(ops_control) / sizeof(*ops_control);
