/* The networks that mitral can make: DPU-Net, our reading of the paper's light student, and the U-Net that teaches it. */
#ifndef MITRAL_NETWORKS_H
#define MITRAL_NETWORKS_H

#include "mitral.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MITRAL_STAGES = 5 };

typedef enum mitral_merge {
    MITRAL_MERGE_HFF = 0,       /* hierarchical feature fusion: y1, y2, y2+y3, y2+y3+y4 (ESPNet), then concatenated */
    MITRAL_MERGE_HFF_FIRST = 1, /* y1, y1+y2, y1+y2+y3, … (ESPNetv2), then concatenated */
    MITRAL_MERGE_CONCAT = 2     /* y1, y2, y3, y4 concatenated */
} mitral_merge;

/* Zero-initialised fields take the defaults in brackets. */
typedef struct mitral_network_options {
    int64_t widths[MITRAL_STAGES]; /* channels from the full size down to the bottleneck
                                      [DPU-Net 32,64,96,128,160, multiples of 4; U-Net 32,64,128,256,512] */
    int64_t dilations[MITRAL_STAGES][4]; /* DPU-Net: of the four branches of each stage [1,2,4,8; last stage 1,2,3,4] */
    mitral_merge merge;            /* DPU-Net */
    bool no_residual;              /* DPU-Net: blocks without their shortcut */
    int64_t classes;               /* [4] */
    int64_t channels;              /* of the input [1] */
    int64_t batch;                 /* [0: symbolic, "batch"] */
    int64_t size;                  /* height and width, a multiple of 16 [224] */
    uint64_t seed;                 /* of the initial weights */
} mitral_network_options;

/* Kaiming-uniform weights with bound sqrt(6 / fan_in), zero biases, batch norms at identity. Each parameter has its own random
 * stream, made from the seed and the parameter's name; models/networks.py makes the same values. Names are those of the PyTorch
 * modules' state_dict; block outputs are named like their stage ("enc4", "dec0", …), for taps. options may be NULL. */
MITRAL_API mitral_status mitral_create_dpu_net(mitral_model **out, mitral_context *context, const mitral_network_options *options);
MITRAL_API mitral_status mitral_create_unet(mitral_model **out, mitral_context *context, const mitral_network_options *options);

#ifdef __cplusplus
}
#endif
#endif
