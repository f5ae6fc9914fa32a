#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "runtime/pinning.h"

#ifdef __linux__
#include <sched.h>

struct pinning {
    cpu_set_t before; /* the caller's, during a run */
    bool restore;
    int count, cores[CPU_SETSIZE];
};

mitral_status pinning_create(struct pinning **out, mitral_context *context)
{
    cpu_set_t allowed;
    *out = NULL;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return MITRAL_OK;
    struct pinning *pinning = mitral_allocate(context, sizeof *pinning);
    if (!pinning)
        return MITRAL_NO_MEMORY;
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &allowed))
            pinning->cores[pinning->count++] = core;
    *out = pinning;
    return MITRAL_OK;
}

void pinning_begin(struct pinning *pinning)
{
    if (pinning)
        pinning->restore = sched_getaffinity(0, sizeof pinning->before, &pinning->before) == 0;
}

void pinning_thread(const struct pinning *pinning, int thread)
{
    cpu_set_t own;
    if (!pinning || !pinning->count)
        return;
    CPU_ZERO(&own);
    CPU_SET(pinning->cores[thread % pinning->count], &own);
    sched_setaffinity(0, sizeof own, &own); /* a core that went away meanwhile: the thread stays where it is */
}

void pinning_end(struct pinning *pinning)
{
    if (pinning && pinning->restore)
        sched_setaffinity(0, sizeof pinning->before, &pinning->before);
}
#else
mitral_status pinning_create(struct pinning **out, mitral_context *context)
{
    (void)context;
    *out = NULL;
    return MITRAL_OK;
}

void pinning_begin(struct pinning *pinning) { (void)pinning; }
void pinning_thread(const struct pinning *pinning, int thread) { (void)pinning, (void)thread; }
void pinning_end(struct pinning *pinning) { (void)pinning; }
#endif

void pinning_destroy(mitral_context *context, struct pinning **pinning)
{
    mitral_release(context, *pinning);
    *pinning = NULL;
}
