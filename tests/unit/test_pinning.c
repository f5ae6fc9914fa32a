/* Pinned threads: each on one core that the process may use during a run, and wherever it was allowed to be before and after. */
#include "build.h"

#include <omp.h>
#include <string.h>
#ifdef __linux__
#include <sched.h>
#endif

#include "compiler/lower.h"
#include "runtime/pinning.h"

#ifdef __linux__
enum { THREADS = 4 };

static void read_affinities(cpu_set_t sets[THREADS])
{
    memset(sets, 0, THREADS * sizeof *sets);
#pragma omp parallel num_threads(THREADS)
    sched_getaffinity(0, sizeof *sets, &sets[omp_get_thread_num()]);
}
#endif

static void test_threads(void **state)
{
    (void)state;
#ifdef __linux__
    mitral_context *context = test_context();
    struct pinning *pinning;
    cpu_set_t before[THREADS], during[THREADS], after[THREADS], narrow;
    read_affinities(before);
    /* One worker has an affinity of its own, as OMP_PLACES or a caller may give it. */
    CPU_ZERO(&narrow);
    for (int core = 0; core < CPU_SETSIZE && !CPU_COUNT(&narrow); core++)
        if (CPU_ISSET(core, &before[0]))
            CPU_SET(core, &narrow);
    int team = 0;
#pragma omp parallel num_threads(THREADS)
    {
        if (omp_get_thread_num() == THREADS - 1)
            sched_setaffinity(0, sizeof narrow, &narrow);
#pragma omp single
        team = omp_get_num_threads();
    }
    read_affinities(before);
    assert_ok(context, pinning_create(&pinning, context, THREADS));
    assert_non_null(pinning);
    for (int run = 0; run < 3; run++) {
#pragma omp parallel num_threads(THREADS)
        pinning_begin(pinning, omp_get_thread_num());
        read_affinities(during);
#pragma omp parallel num_threads(THREADS)
        pinning_end(pinning, omp_get_thread_num());
        read_affinities(after);
        for (int i = 0; i < team; i++) {
            assert_int_equal(CPU_COUNT(&during[i]), 1);
            assert_true(CPU_EQUAL(&before[i], &after[i]));
            for (int j = 0; j < i && team <= CPU_COUNT(&before[0]); j++)
                assert_false(CPU_EQUAL(&during[i], &during[j]));
        }
    }
    pinning_destroy(context, &pinning);
    assert_null(pinning);
    mitral_context_destroy(&context);
#endif
}

/* The team is the process's: what a pinned session leaves is what others run with. */
static void test_sessions(void **state)
{
    (void)state;
#ifdef __linux__
    mitral_context *context = test_context();
    struct graph *graph = NULL;
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    cpu_set_t before[THREADS], after[THREADS];
    mitral_value input = {.tensor = {.dtype = MITRAL_FLOAT, .rank = 1, .dims = {3}, .data = (float[]){1, 2, 3}}};
    const mitral_value *inputs[] = {&input};
    assert_ok(context, graph_create(&graph, context));
    assert_ok(context, graph_add_output(graph, test_node(graph, "Neg", "y", NULL, (value_id[]){test_input(graph, "x", 1, (int64_t[]){3})}, 1)));
    assert_ok(context, graph_infer(graph));
    assert_ok(context, lower_graph(&plan, context, graph, 0, 1, MITRAL_PRECISION_F32, false));
    assert_ok(context, mitral_session_create(&session, context, plan, &(mitral_session_options){.threads = THREADS, .pin = true}));
    read_affinities(before);
    for (int run = 0; run < 3; run++) {
        assert_ok(context, mitral_session_run(session, inputs, 1, NULL, 0));
        read_affinities(after);
        for (int i = 0; i < THREADS; i++)
            assert_true(CPU_EQUAL(&before[i], &after[i]));
    }
    mitral_session_destroy(&session);
    mitral_plan_destroy(&plan);
    graph_destroy(&graph);
    mitral_context_destroy(&context);
#endif
}

static void test_nothing(void **state)
{
    (void)state;
    pinning_begin(NULL, 0);
    pinning_end(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_sessions), cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
