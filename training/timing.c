/* How long a training step takes. */
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/session.h"
#include "training/run.h"
#include "training/trainer.h"

static int compare_reals(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void tell_steps(struct trainer *trainer, mitral_training_timing *timing)
{
    size_t count;
    const double *seconds = mitral_session_step_seconds(trainer->session, &count);
    for (size_t i = 0; seconds && i < count; i++) {
        const mitral_step_info info = mitral_session_step(trainer->session, i);
        timing->step(timing->user, &info, seconds[i]);
    }
}

static mitral_status time_steps(struct trainer *trainer, mitral_training_timing *timing)
{
    const struct network *network = &trainer->network;
    const size_t pixels = (size_t)(network->batch * network->height * network->width), values = pixels * (size_t)network->channels;
    float *images = mitral_allocate(trainer->context, values * sizeof *images);
    uint8_t *labels = mitral_allocate(trainer->context, pixels);
    double *teacher = mitral_allocate(trainer->context, (timing->repeat + 1) * sizeof *teacher);
    mitral_status status = images && labels && teacher ? MITRAL_OK : MITRAL_NO_MEMORY;
    uint64_t random = 1;
    if (status == MITRAL_OK && timing->step)
        status = mitral_session_profile(trainer->session, true);
    for (size_t i = 0; status == MITRAL_OK && i < values; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        images[i] = (float)((double)(random >> 11) * 0x1p-52 - 1) * 1.7320508f; /* variance 1 */
        if (i < pixels)
            labels[i] = (uint8_t)((random >> 33) % (uint64_t)network->classes);
    }
    for (size_t i = 0; status == MITRAL_OK && i < timing->repeat + 2; i++) {
        struct step_report report;
        const double start = clock_seconds();
        status = trainer_step(trainer, &report, images, labels, NULL, (int64_t)i, true, true);
        if (i >= 2) {
            timing->step_seconds[i - 2] = clock_seconds() - start;
            teacher[i - 2] = trainer->teacher_seconds;
        }
    }
    if (status == MITRAL_OK && timing->repeat) {
        qsort(teacher, timing->repeat, sizeof *teacher, compare_reals);
        timing->teacher_seconds = teacher[timing->repeat / 2];
        timing->arena_bytes = (int64_t)trainer->session->frame.memory_bytes;
        if (timing->step)
            tell_steps(trainer, timing);
    }
    mitral_release(trainer->context, images);
    mitral_release(trainer->context, labels);
    mitral_release(trainer->context, teacher);
    return status;
}

mitral_status mitral_training_time(mitral_training *training, mitral_training_timing *timing)
{
    struct trainer trainer;
    const double start = clock_seconds();
    TRY(options_check(&training->options, training->context, true));
    TRY(trainer_create(&trainer, training->context, &training->options));
    timing->build_seconds = clock_seconds() - start;
    timing->teacher_seconds = 0;
    mitral_status status = time_steps(&trainer, timing);
    trainer_clear(&trainer);
    return status;
}
