/* Operators with subgraphs. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

const struct op ops_control[] = {
    {.name = "If", .traits = OP_CONTROL, .gradient = differentiate_if, .compose = compose_if},
    {.name = "Loop", .traits = OP_CONTROL, .compose = compose_loop},
    {.name = "Scan", .traits = OP_CONTROL, .compose = compose_scan},
    {.name = "SequenceMap", .traits = OP_CONTROL, .compose = compose_sequence_map},
};
const size_t ops_control_count = sizeof(ops_control) / sizeof(*ops_control);
