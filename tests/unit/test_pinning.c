/* Pinned threads: each on one core that the process may use, the caller's own affinity as before. */
#include "support.h"

#include <omp.h>
#ifdef __linux__
#include <sched.h>
#endif

#include "runtime/pinning.h"

static void test_threads(void **state)
{
    (void)state;
#ifdef __linux__
    mitral_context *context = test_context();
    struct pinning *pinning;
    cpu_set_t before, after;
    int counts[4] = {0};
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_ok(context, pinning_create(&pinning, context));
    assert_non_null(pinning);
    pinning_begin(pinning);
#pragma omp parallel num_threads(4)
    {
        cpu_set_t own;
        pinning_thread(pinning, omp_get_thread_num());
        if (sched_getaffinity(0, sizeof own, &own) == 0)
            counts[omp_get_thread_num()] = CPU_COUNT(&own);
    }
    for (int i = 0; i < omp_get_max_threads() && i < 4; i++)
        assert_int_equal(counts[i], 1);
    pinning_end(pinning);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
    pinning_destroy(context, &pinning);
    assert_null(pinning);
    mitral_context_destroy(&context);
#endif
}

static void test_nothing(void **state)
{
    (void)state;
    pinning_begin(NULL);
    pinning_thread(NULL, 0);
    pinning_end(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
