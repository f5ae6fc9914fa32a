/* Sequences and optionals. */
#include "compiler/op.h"

const struct op ops_sequence[] = {
    {.name = "ConcatFromSequence"},
    {.name = "Optional"},
    {.name = "OptionalGetElement"},
    {.name = "OptionalHasElement"},
    {.name = "SequenceAt"},
    {.name = "SequenceConstruct"},
    {.name = "SequenceEmpty"},
    {.name = "SequenceErase"},
    {.name = "SequenceInsert"},
    {.name = "SequenceLength"},
    {.name = "SplitToSequence"},
};
const size_t ops_sequence_count = sizeof(ops_sequence) / sizeof(*ops_sequence);
