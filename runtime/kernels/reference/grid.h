/* Where GridSample reads: shared by the operator and its gradient. */
#ifndef MITRAL_REFERENCE_GRID_H
#define MITRAL_REFERENCE_GRID_H

#include "runtime/kernel.h"

enum grid_mode { GRID_NEAREST, GRID_LINEAR, GRID_CUBIC };
enum grid_padding { GRID_ZEROS, GRID_BORDER, GRID_REFLECTION };
enum { GRID_MAX_SAMPLES = 1024 }; /* of one output position */

struct grid_request {
    enum grid_mode mode;
    enum grid_padding padding;
    bool align;
    int taps; /* of each dimension */
};

/* The attributes, as the version in call->opset names them. */
mitral_status grid_read_request(const struct kernel_call *call, struct grid_request *request);
/* The taps of one dimension for normalised coordinate n (-1: a tap on zeros), their weights and, unless NULL, the weights'
 * derivatives by n. */
void grid_place(const struct grid_request *request, double n, bool single, int64_t size, int64_t taps[4], double weights[4],
                double slopes[4]);

#endif
