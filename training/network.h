/* The training graph of a student: forward in training mode, losses, gradients, updates. */
#ifndef MITRAL_TRAINING_NETWORK_H
#define MITRAL_TRAINING_NETWORK_H

#include "training/loss.h"
#include "training/optimizer.h"
#include "training/taps.h"

struct network {
    struct graph *graph;            /* owned */
    int64_t batch, channels, height, width, classes;
    bool volumes;                   /* [batch, channels, depth, …]; height is that of all slices together, one below the other */
    struct loss loss;
    struct update_inputs inputs;
    value_id labels;
    value_id norm;                  /* of the gradients */
    value_id teacher_logits;        /* input; NO_VALUE when it is not used */
    value_id teacher_maps[MAX_TAPS]; /* inputs, in the order of `pairs` */
    struct tap_pair pairs[MAX_TAPS];
    size_t pair_count;
    struct trained *trained;        /* parameters and adapters; in the graph's arena */
    size_t trained_count;
};

/* What a segmentation network looks like from outside. */
struct interface {
    value_id input, logits;         /* logits: what goes into a final Softmax, if there is one */
    int64_t channels, height, width, classes;
    int64_t depth;                  /* of a volume; else 1 */
    int64_t output_height, output_width;
};

/* Fixes the input to [batch, channels, height, width] (0: as declared, which must then be fixed), infers types and checks that the
 * network takes one float image, or a volume of a declared size, and gives class scores. `whose`: "student" or "teacher", for messages. */
mitral_status interface_read(struct interface *out, struct graph *graph, const char *whose, int64_t batch, int64_t height, int64_t width);
/* `student` (imported; not changed) and `teacher` (with its sizes fixed and types inferred; NULL: none). */
mitral_status network_build(struct network *out, mitral_context *context, const struct graph *student, const struct graph *teacher,
                            const struct interface *teacher_interface, const struct options *options, int64_t height, int64_t width);
void network_clear(struct network *network);
/* The same network for inference, with its weights as variables of the same names, and the logits as its only output. */
mitral_status network_build_inference(struct graph **out, mitral_context *context, const struct graph *student, const struct options *options,
                                      int64_t batch, int64_t height, int64_t width);
/* A network that was exported in training mode becomes one for inference: running statistics, nothing dropped. */
mitral_status network_set_inference(struct graph *graph);
/* A remark when normalisations seem to have been folded into convolutions; false when there is none to make. */
bool network_looks_folded(const struct graph *student, size_t *without, size_t *convolutions);

#endif
