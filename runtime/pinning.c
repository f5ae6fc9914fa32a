#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "runtime/pinning.h"

#ifdef __linux__
#include <sched.h>

struct pinning {
    int count, cores[CPU_SETSIZE];
    cpu_set_t before[]; /* of each thread, during a run; empty where it is not known */
};

mitral_status pinning_create(struct pinning **out, mitral_context *context, int threads)
{
    cpu_set_t allowed;
    *out = NULL;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return MITRAL_OK;
    struct pinning *pinning = mitral_allocate(context, sizeof *pinning + (size_t)threads * sizeof *pinning->before);
    if (!pinning)
        return MITRAL_NO_MEMORY;
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &allowed))
            pinning->cores[pinning->count++] = core;
    *out = pinning;
    return MITRAL_OK;
}

void pinning_begin(struct pinning *pinning, int thread)
{
    cpu_set_t own;
    if (!pinning || !pinning->count)
        return;
    if (sched_getaffinity(0, sizeof own, &pinning->before[thread]) != 0) {
        CPU_ZERO(&pinning->before[thread]);
        return; /* what cannot be restored is left alone */
    }
    CPU_ZERO(&own);
    CPU_SET(pinning->cores[thread % pinning->count], &own);
    sched_setaffinity(0, sizeof own, &own); /* a core that went away meanwhile: the thread stays where it is */
}

void pinning_end(struct pinning *pinning, int thread)
{
    if (pinning && CPU_COUNT(&pinning->before[thread]))
        sched_setaffinity(0, sizeof pinning->before[thread], &pinning->before[thread]);
}
#else
mitral_status pinning_create(struct pinning **out, mitral_context *context, int threads)
{
    (void)context, (void)threads;
    *out = NULL;
    return MITRAL_OK;
}

void pinning_begin(struct pinning *pinning, int thread) { (void)pinning, (void)thread; }
void pinning_end(struct pinning *pinning, int thread) { (void)pinning, (void)thread; }
#endif

void pinning_destroy(mitral_context *context, struct pinning **pinning)
{
    mitral_release(context, *pinning);
    *pinning = NULL;
}
