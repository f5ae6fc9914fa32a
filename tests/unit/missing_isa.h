/* A test that MITRAL_ISA asks to run on more than the machine has is skipped: it would run what the test of a lower level does. */
#ifndef MITRAL_TESTS_MISSING_ISA_H
#define MITRAL_TESTS_MISSING_ISA_H

#include <stdlib.h>

#include "runtime/cpu.h"

__attribute__((constructor)) static void skip_missing_isa(void)
{
    enum { SKIPPED = 77 }; /* to meson */
    const char *name = getenv("MITRAL_ISA");
    enum isa wanted;
    if (name && cpu_isa_from_name(name, &wanted) && wanted > cpu_isa_supported())
        exit(SKIPPED);
}

#endif
