/* Recurrent layers. */
#include "compiler/gradients/compose.h"
#include "compiler/lower_onednn.h"

const struct op ops_recurrent[] = {
    {.name = "GRU", .lower = lower_recurrent, .compose = compose_gru},
    {.name = "LSTM", .lower = lower_recurrent, .compose = compose_lstm},
    {.name = "RNN", .lower = lower_recurrent, .compose = compose_rnn},
};
const size_t ops_recurrent_count = sizeof(ops_recurrent) / sizeof(*ops_recurrent);
