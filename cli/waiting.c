/* How long threads spin for each other. GNU OpenMP spins for milliseconds, which on a machine with other work keeps from its core the very
 * thread that is waited for: a run on all cores takes 10 to 20 times as long. A shorter spin costs nothing on an idle machine. */
#include <stdlib.h>
#include <unistd.h>

#include "cli/command.h"

void cli_wait_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    /* The OpenMP library has read its settings before main, hence the program starts once more. */
    if (setenv("GOMP_SPINCOUNT", "4000", 1) == 0)
        execv("/proc/self/exe", argv);
}
