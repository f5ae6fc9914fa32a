/* The Mersenne Twister (Matsumoto and Nishimura 1998, MT19937), seeded and drawn from as NumPy's RandomState does: a
 * seed gives the numbers that ONNX's reference implementation gives. */
#ifndef MITRAL_RUNTIME_KERNELS_REFERENCE_TWISTER_H
#define MITRAL_RUNTIME_KERNELS_REFERENCE_TWISTER_H

#include "runtime/kernel.h"

enum { TWISTER_WORDS = 624 };

struct twister {
    uint32_t words[TWISTER_WORDS];
    int position;
    bool has_normal;   /* normal numbers come in pairs: the second one waits here */
    double normal;
};

void twister_seed(struct twister *twister, uint32_t seed);
/* From the attribute "seed" of the call (integer or float); from the system's entropy when there is none. */
void twister_seed_call(struct twister *twister, const struct kernel_call *call);
double twister_uniform(struct twister *twister); /* [0, 1), 53 bits */
double twister_normal(struct twister *twister);

#endif
