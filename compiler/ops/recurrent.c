/* Recurrent layers. */
#include "compiler/gradients/compose.h"
#include "compiler/lower_onednn.h"

const struct op ops_recurrent[] = {
    {.name = "GRU", .compose = compose_gru},
    {.name = "LSTM", .lower = lower_lstm, .compose = compose_lstm},
    {.name = "RNN", .compose = compose_rnn},
};
const size_t ops_recurrent_count = sizeof(ops_recurrent) / sizeof(*ops_recurrent);
