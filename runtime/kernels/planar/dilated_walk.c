#include "runtime/kernels/planar/dilated_walk.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

/* Counts in the team's memory: items taken; then pieces and fills done, of each phase. */
enum { TAKEN, FIRST_DONE, PIECE = 0, FILL = 1, KINDS };

size_t dilated_walk_floats(int phases)
{
    _Static_assert(sizeof(atomic_int) == sizeof(float), "counts take the place of floats");
    return FIRST_DONE + KINDS * (size_t)phases;
}

static void wait_until(atomic_int *done, int count)
{
    enum { PATIENCE = 2000 }; /* then another thread may need this core */
    for (int i = 0; atomic_load_explicit(done, memory_order_acquire) < count; i++)
        if (i >= PATIENCE)
            sched_yield();
#if defined(__x86_64__)
        else
            __builtin_ia32_pause();
#endif
}

void dilated_walk_run(const struct dilated_walk *walk, struct worker *worker, float *memory)
{
    atomic_int *counts = (atomic_int *)(void *)memory, *done = counts + FIRST_DONE;
#pragma omp single
    memset(memory, 0, dilated_walk_floats(walk->phases) * sizeof *memory);
    int first = 0, waited[KINDS] = {0, 0}; /* the first item of the phase; phases before are known to be done */
    for (int phase = 0; phase < walk->phases;) {
        const int item = atomic_fetch_add_explicit(counts + TAKEN, 1, memory_order_relaxed);
        int pieces = walk->pieces(worker, phase), all = pieces + walk->fills(worker, phase);
        while (item >= first + all && ++phase < walk->phases) {
            first += all;
            pieces = walk->pieces(worker, phase);
            all = pieces + walk->fills(worker, phase);
        }
        if (phase == walk->phases)
            break;
        const int index = item - first, kind = index < pieces ? PIECE : FILL, needs = kind == PIECE ? FILL : PIECE;
        for (; waited[needs] < phase; waited[needs]++)
            wait_until(done + KINDS * waited[needs] + needs,
                       (needs == PIECE ? walk->pieces : walk->fills)(worker, waited[needs]));
        if (kind == PIECE)
            walk->piece(worker, phase, index);
        else
            walk->fill(worker, phase, index - pieces);
        atomic_fetch_add_explicit(done + KINDS * phase + kind, 1, memory_order_release);
    }
#pragma omp barrier
}
