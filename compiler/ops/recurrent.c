/* Recurrent layers. */
#include "compiler/op.h"

const struct op ops_recurrent[] = {
    {.name = "GRU"},
    {.name = "LSTM"},
    {.name = "RNN"},
};
const size_t ops_recurrent_count = sizeof(ops_recurrent) / sizeof(*ops_recurrent);
