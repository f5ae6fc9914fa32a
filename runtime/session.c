#include "runtime/session.h"
#include "runtime/pinning.h"

#include <omp.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

mitral_status check_threads(mitral_context *context, int threads)
{
    if (threads >= 0 && threads <= MOST_THREADS)
        return MITRAL_OK;
    return mitral_fail(context, MITRAL_INVALID, "threads: expected 0 to %d, found %d", MOST_THREADS, threads);
}

mitral_status mitral_session_create(mitral_session **out, mitral_context *context, mitral_plan *plan,
                                    const mitral_session_options *options)
{
    *out = NULL;
    if (options)
        TRY(check_threads(context, options->threads));
    mitral_session *session = mitral_allocate(context, sizeof *session);
    if (!session)
        return MITRAL_NO_MEMORY;
    int threads = options && options->threads > 0 ? options->threads : omp_get_num_procs();
    session->context = context;
    session->keep_denormals = (options && options->keep_denormals) || plan->exact;
    session->meter.limit = (size_t)context->options.max_run_bytes;
    frame_initialise(&session->frame, context, plan, threads, 0, &session->meter);
    mitral_status status = options && options->pin ? pinning_create(&session->pinning, context, threads) : MITRAL_OK;
    if (status != MITRAL_OK)
        mitral_session_destroy(&session);
    *out = session;
    return status;
}

void mitral_session_destroy(mitral_session **session)
{
    if (!session || !*session)
        return;
    mitral_context *context = (*session)->context;
    frame_clear(&(*session)->frame);
    pinning_destroy(context, &(*session)->pinning);
    mitral_release(context, *session);
    *session = NULL;
}

/* Flush-to-zero and denormals-are-zero, in the control register of each thread of the team. */
static unsigned denormal_mode(void)
{
#if defined(__x86_64__)
    return _mm_getcsr() & 0x8040u;
#else
    return 0;
#endif
}

static void set_denormal_mode(unsigned mode)
{
#if defined(__x86_64__)
    _mm_setcsr((_mm_getcsr() & ~0x8040u) | mode);
#else
    (void)mode;
#endif
}

static mitral_status run_guarded(mitral_session *session, const mitral_value *const *inputs)
{
    int threads = session->frame.threads, threads_before = omp_get_max_threads();
    unsigned mode_before = denormal_mode(), mode = session->keep_denormals ? 0 : 0x8040u;
    omp_set_num_threads(threads); /* of this caller only: oneDNN takes the team size from here */
    struct pinning *pinning = session->pinning;
#pragma omp parallel num_threads(threads)
    {
        set_denormal_mode(mode);
        pinning_begin(pinning, omp_get_thread_num());
    }
    mitral_status status = frame_run(&session->frame, inputs);
    if (pinning) {
#pragma omp parallel num_threads(threads)
        pinning_end(pinning, omp_get_thread_num());
    }
    set_denormal_mode(mode_before);
    omp_set_num_threads(threads_before);
    return status;
}

/* What can be told of a value without the plan, items of sequences and maps too: kernels trust ranks and pointers. */
static mitral_status check_given(mitral_context *context, const char *name, const mitral_value *value)
{
    const mitral_tensor *tensor = &value->tensor;
    if (value->kind == MITRAL_TENSOR) {
        if (tensor->rank < 0 || tensor->rank > MITRAL_MAX_RANK)
            return mitral_fail(context, MITRAL_INVALID, "input '%s': expected 0 to %d dimensions, found %d", name, MITRAL_MAX_RANK, tensor->rank);
        if (!tensor->data && mitral_tensor_count(tensor) != 0)
            return mitral_fail(context, MITRAL_INVALID, "input '%s': expected data, found a null pointer", name);
        return MITRAL_OK;
    }
    if (value->count > 0 && !value->items)
        return mitral_fail(context, MITRAL_INVALID, "input '%s': expected %d items, found a null pointer", name, value->count);
    for (int32_t i = 0; i < value->count; i++)
        TRY(check_given(context, name, &value->items[i]));
    return MITRAL_OK;
}

mitral_status mitral_session_run(mitral_session *session, const mitral_value *const *inputs, size_t input_count,
                                 const mitral_value **outputs, size_t output_count)
{
    struct mitral_plan *plan = session->frame.plan;
    if (input_count != plan->input_count)
        return mitral_fail(session->context, MITRAL_INVALID, "expected %zu inputs, found %zu", plan->input_count, input_count);
    if (output_count > plan->output_count)
        return mitral_fail(session->context, MITRAL_INVALID, "expected at most %zu outputs, found %zu", plan->output_count, output_count);
    for (size_t i = 0; i < input_count; i++)
        if (inputs[i])
            TRY(check_given(session->context, plan->values[plan->inputs[i]].name, inputs[i]));
        else if (plan->values[plan->inputs[i]].kind != MITRAL_OPTIONAL)
            return mitral_fail(session->context, MITRAL_INVALID, "input '%s': expected a value, found none",
                               plan->values[plan->inputs[i]].name);
    session->ran = false;
    session->meter.passed = false;
    mitral_status status = run_guarded(session, inputs);
    if (status == MITRAL_NO_MEMORY && session->meter.passed)
        status = MITRAL_LIMIT;
    TRY(status);
    session->ran = true;
    for (size_t i = 0; i < output_count; i++)
        outputs[i] = &session->frame.values[plan->outputs[i]];
    return MITRAL_OK;
}

static uint32_t find_value(const struct mitral_plan *plan, const char *name)
{
    for (size_t v = 0; v < plan->value_count; v++)
        if (plan->values[v].name && strcmp(plan->values[v].name, name) == 0)
            return (uint32_t)v;
    return NO_ID;
}

const mitral_value *mitral_session_value(const mitral_session *session, const char *name)
{
    uint32_t id = find_value(session->frame.plan, name);
    if (id == NO_ID || !session->ran)
        return NULL;
    const struct plan_value *value = &session->frame.plan->values[id];
    return value->keep || value->role != ROLE_COMPUTED ? &session->frame.values[id] : NULL;
}

/* Variables live from the first run on; before it their memory is made here. */
mitral_tensor *session_variable(mitral_session *session, const char *name)
{
    uint32_t id = find_value(session->frame.plan, name);
    if (id == NO_ID || session->frame.plan->values[id].role != ROLE_VARIABLE || !session->frame.values)
        return NULL;
    return &session->frame.values[id].tensor;
}

const struct specialisation *session_specialisation(const mitral_session *session) { return session->frame.specialisation; }

mitral_status session_prepare(mitral_session *session, const mitral_value *const *inputs)
{
    int threads_before = omp_get_max_threads();
    omp_set_num_threads(session->frame.threads);
    mitral_status status = frame_prepare(&session->frame, inputs);
    omp_set_num_threads(threads_before);
    return status;
}
