/* The attributes and sizes of RNN, GRU and LSTM, decoded and checked once. */
#ifndef MITRAL_REFERENCE_RECURRENT_H
#define MITRAL_REFERENCE_RECURRENT_H

#include "runtime/kernel.h"

enum recurrent_kind { RECURRENT_RNN, RECURRENT_GRU, RECURRENT_LSTM };

enum recurrent_activation {
    ACTIVATION_RELU, ACTIVATION_TANH, ACTIVATION_SIGMOID, ACTIVATION_AFFINE, ACTIVATION_LEAKY_RELU,
    ACTIVATION_THRESHOLDED_RELU, ACTIVATION_SCALED_TANH, ACTIVATION_HARD_SIGMOID, ACTIVATION_ELU, ACTIVATION_SOFTSIGN,
    ACTIVATION_SOFTPLUS
};

struct recurrent_activations {
    enum recurrent_activation function;
    float alpha, beta;
};

struct recurrent_parameters {
    enum recurrent_kind kind;
    int32_t gates;           /* 1, 3, 4 */
    int32_t directions;      /* 1 or 2 */
    bool reverse;            /* the only direction runs backwards; of two, the second does */
    bool batch_first;        /* layout 1: X [batch, time, input], Y [batch, time, directions, hidden], states [batch,
                                directions, hidden] */
    bool input_forget, linear_before_reset;
    int64_t time, batch, input, hidden;
    float clip;              /* 0: none */
    struct recurrent_activations activations[6]; /* gates / 1, 2, 3 a direction, in ONNX order */
};

/* Inputs X, W, R, B?, sequence_lens?, initial_h?, (initial_c?, P?), all shapes checked. */
mitral_status call_recurrent_parameters(const struct kernel_call *call, enum recurrent_kind kind,
                                        struct recurrent_parameters *out);

/* GRU or LSTM of sigmoid and tanh, nothing clipped or coupled, in the direction of these activations. */
bool recurrent_is_usual(const struct recurrent_parameters *p, const struct recurrent_activations *f);

/* One step of an LSTM from the sums of its four gates (input, output, forget, cell): h and c are replaced. peepholes
 * may be NULL.
 */
void lstm_cell_float(const struct recurrent_parameters *p, const struct recurrent_activations *f,
                     const float *peepholes, const float *gates, float *h, float *c);
void lstm_cell_double(const struct recurrent_parameters *p, const struct recurrent_activations *f,
                      const double *peepholes, const double *gates, double *h, double *c);

#endif
