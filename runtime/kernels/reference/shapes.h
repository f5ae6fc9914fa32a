/* Shape functions of the reference kernels that fast kernels of the same operators reuse as they are. */
#ifndef MITRAL_REFERENCE_SHAPES_H
#define MITRAL_REFERENCE_SHAPES_H

#include "runtime/kernel.h"

mitral_status shape_convolution(struct kernel_call *call);           /* Conv: X, W, B?, sum? */
mitral_status shape_convolution_transpose(struct kernel_call *call); /* ConvTranspose: X, W, B? */
mitral_status shape_max_pool(struct kernel_call *call);              /* MaxPool, with the indices output */
mitral_status shape_pool(struct kernel_call *call);                  /* AveragePool, LpPool */
mitral_status shape_global_pool(struct kernel_call *call);           /* Global{Average,Max,Lp}Pool */
mitral_status shape_batch_normalization(struct kernel_call *call);   /* every version, training outputs too */
mitral_status shape_instance_normalization(struct kernel_call *call);
mitral_status shape_group_normalization(struct kernel_call *call);
mitral_status shape_layer_normalization(struct kernel_call *call);   /* with mean and inverse deviation */
mitral_status shape_lrn(struct kernel_call *call);
mitral_status shape_softmax(struct kernel_call *call);               /* Softmax, LogSoftmax, Hardmax */
mitral_status shape_matmul(struct kernel_call *call);
mitral_status shape_gemm(struct kernel_call *call);
mitral_status shape_rnn(struct kernel_call *call);
mitral_status shape_gru(struct kernel_call *call);
mitral_status shape_lstm(struct kernel_call *call);

#endif
