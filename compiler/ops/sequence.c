/* Sequences and optionals. */
#include "compiler/gradients/compose.h"

const struct op ops_sequence[] = {
    {.name = "ConcatFromSequence", .compose = compose_concat_from_sequence},
    {.name = "Optional"},
    {.name = "OptionalGetElement", .compose = compose_optional_element},
    {.name = "OptionalHasElement"},
    {.name = "SequenceAt", .compose = compose_sequence_at},
    {.name = "SequenceConstruct"},
    {.name = "SequenceEmpty"},
    {.name = "SequenceErase"},
    {.name = "SequenceInsert"},
    {.name = "SequenceLength"},
    {.name = "SplitToSequence"},
};
const size_t ops_sequence_count = sizeof(ops_sequence) / sizeof(*ops_sequence);
