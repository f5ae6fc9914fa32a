/* A network on volumes, through the public interface alone. */
#include <stdio.h>
#include <string.h>

#include "data/preprocess.h"
#include "runtime/context.h"
#include "runtime/clock.h"

struct mitral_predictor {
    mitral_context *context;
    mitral_session *session;
    mitral_preprocessing preprocessing;
    bool labels_stated;
    const char *input_name;
    int64_t channels;
    size_t output_count;
    const mitral_value **outputs; /* output_count */
    float *input;                 /* [channels][height][width] */
};

static const char *look_up(void *user, const char *key)
{
    return mitral_plan_metadata(user, key);
}

/* A fixed side of the network's input overrides what the metadata says. */
static mitral_status read_input(mitral_predictor *predictor, mitral_plan *plan)
{
    mitral_context *context = predictor->context;
    if (mitral_plan_input_count(plan) != 1 || mitral_plan_output_count(plan) < 1)
        return mitral_fail(context, MITRAL_INVALID, "network: expected one input and an output, found %zu and %zu",
                           mitral_plan_input_count(plan), mitral_plan_output_count(plan));
    mitral_value_info info = mitral_plan_input(plan, 0);
    if (info.kind != MITRAL_TENSOR || info.dtype != MITRAL_FLOAT || info.rank != 4)
        return mitral_fail(
            context, MITRAL_INVALID, "network: input '%s': expected a float32 tensor [N,C,H,W], found %s of rank %d", info.name,
            mitral_dtype_name((mitral_dtype)info.dtype) ? mitral_dtype_name((mitral_dtype)info.dtype) : "something else",
            (int)info.rank);
    if (info.dims[0] >= 0 && info.dims[0] != 1)
        return mitral_fail(context, MITRAL_INVALID, "network: input '%s': expected a batch of 1 or a symbolic one, found %lld",
                           info.name, (long long)info.dims[0]);
    predictor->input_name = info.name;
    predictor->channels = info.dims[1] >= 0 ? info.dims[1] : 1;
    mitral_preprocessing *preprocessing = &predictor->preprocessing;
    preprocessing->height = info.dims[2] >= 0 ? info.dims[2] : preprocessing->height;
    preprocessing->width = info.dims[3] >= 0 ? info.dims[3] : preprocessing->width;
    if (predictor->channels < 1 || predictor->channels > 64 || preprocessing->height < 1 || preprocessing->height > 16384
        || preprocessing->width < 1 || preprocessing->width > 16384)
        return mitral_fail(context, MITRAL_INVALID,
                           "network: input '%s': expected 1 to 64 channels of at most 16384x16384, found %lld "
                           "of %lldx%lld",
                           info.name, (long long)predictor->channels, (long long)preprocessing->height,
                           (long long)preprocessing->width);
    return MITRAL_OK;
}

static mitral_status prepare(mitral_predictor *predictor, mitral_plan *plan, const mitral_session_options *options)
{
    mitral_context *context = predictor->context;
    TRY(mitral_preprocessing_read(&predictor->preprocessing, context, look_up, plan));
    predictor->labels_stated = mitral_plan_metadata(plan, "mitral.labels") != NULL;
    TRY(read_input(predictor, plan));
    predictor->output_count = mitral_plan_output_count(plan);
    predictor->outputs = mitral_allocate(context, predictor->output_count * sizeof *predictor->outputs);
    if (!predictor->outputs)
        return MITRAL_NO_MEMORY;
    predictor->input = mitral_allocate(
        context, (size_t)(predictor->channels * predictor->preprocessing.height * predictor->preprocessing.width) * sizeof(float));
    if (!predictor->input)
        return MITRAL_NO_MEMORY;
    return mitral_session_create(&predictor->session, context, plan, options);
}

mitral_status mitral_predictor_create(mitral_predictor **out, mitral_context *context, mitral_plan *plan,
                                      const mitral_session_options *options)
{
    *out = NULL;
    mitral_predictor *predictor = mitral_allocate(context, sizeof *predictor);
    if (!predictor)
        return MITRAL_NO_MEMORY;
    predictor->context = context;
    mitral_status status = prepare(predictor, plan, options);
    if (status != MITRAL_OK)
        mitral_predictor_destroy(&predictor);
    *out = predictor;
    return status;
}

void mitral_predictor_destroy(mitral_predictor **predictor)
{
    if (!predictor || !*predictor)
        return;
    mitral_predictor *old = *predictor;
    *predictor = NULL;
    mitral_session_destroy(&old->session);
    mitral_release(old->context, old->input);
    mitral_release(old->context, (void *)old->outputs);
    mitral_release(old->context, old);
}

const mitral_preprocessing *mitral_predictor_preprocessing(const mitral_predictor *predictor)
{
    return &predictor->preprocessing;
}

/* The channels of a network that names no classes are its classes. */
static mitral_status check_output(mitral_predictor *predictor, const mitral_value *value)
{
    const mitral_tensor *tensor = value ? &value->tensor : NULL;
    if (!tensor || value->kind != MITRAL_TENSOR || tensor->dtype != MITRAL_FLOAT || tensor->rank != 4 || tensor->dims[0] != 1)
        return mitral_fail(predictor->context, MITRAL_INVALID,
                           "network: first output: expected a float32 tensor [1,classes,H,W], found another type or shape");
    mitral_preprocessing *preprocessing = &predictor->preprocessing;
    int64_t classes = tensor->dims[1];
    if (classes == preprocessing->class_count)
        return MITRAL_OK;
    if (predictor->labels_stated)
        return mitral_fail(predictor->context, MITRAL_INVALID,
                           "network: first output: expected %d channels as mitral.labels says, "
                           "found %lld",
                           (int)preprocessing->class_count, (long long)classes);
    if (classes < 2 || classes > MITRAL_MAX_CLASSES)
        return mitral_fail(predictor->context, MITRAL_INVALID, "network: first output: expected 2 to %d channels, found %lld",
                           MITRAL_MAX_CLASSES, (long long)classes);
    preprocessing->class_count = (int32_t)classes;
    for (int32_t i = 0; i < preprocessing->class_count; i++)
        snprintf(preprocessing->labels[i], sizeof preprocessing->labels[i], i ? "class %d" : "background", (int)i);
    return MITRAL_OK;
}

static mitral_status segment_slice(uint8_t *out, mitral_predictor *predictor, const struct frame_view *view, int64_t z,
                                   const mitral_geometry *geometry, double *seconds)
{
    const mitral_preprocessing *preprocessing = &predictor->preprocessing;
    int64_t pixels = preprocessing->height * preprocessing->width;
    frame_view_slice(predictor->input, view, z);
    for (int64_t c = 1; c < predictor->channels; c++)
        memcpy(predictor->input + c * pixels, predictor->input, (size_t)pixels * sizeof(float));
    mitral_value input = {.kind = MITRAL_TENSOR,
                          .tensor = {.dtype = MITRAL_FLOAT,
                                     .rank = 4,
                                     .dims = {1, predictor->channels, preprocessing->height, preprocessing->width},
                                     .data = predictor->input}};
    const mitral_value *inputs[1] = {&input};
    double before = clock_seconds();
    TRY(mitral_session_run(predictor->session, inputs, 1, predictor->outputs, predictor->output_count));
    *seconds += clock_seconds() - before;
    TRY(check_output(predictor, predictor->outputs[0]));
    const mitral_tensor *scores = &predictor->outputs[0]->tensor;
    return mitral_restore_slice(out, predictor->context, preprocessing, geometry, scores->data, scores->dims[2], scores->dims[3]);
}

mitral_status mitral_predictor_segment(uint8_t *out, mitral_predictor *predictor, const mitral_volume *volume, int64_t frame,
                                       const mitral_segment_options *options, double *seconds)
{
    const mitral_geometry *geometry = &volume->geometry;
    int64_t plane = geometry->size[0] * geometry->size[1];
    double spent = 0;
    struct frame_view view;
    TRY(frame_view_create(&view, predictor->context, &predictor->preprocessing, volume, frame));
    mitral_status status = MITRAL_OK;
    for (int64_t z = 0; z < geometry->size[2] && status == MITRAL_OK; z++) {
        status = segment_slice(out + z * plane, predictor, &view, z, geometry, &spent);
        if (status == MITRAL_OK && mitral_cancelled(predictor->context))
            status = mitral_fail(predictor->context, MITRAL_CANCELLED, "segmentation was cancelled");
    }
    frame_view_destroy(&view, predictor->context);
    if (status == MITRAL_OK && !(options && options->keep_islands))
        status = mitral_keep_largest(predictor->context, out, geometry->size, predictor->preprocessing.class_count);
    if (seconds)
        *seconds = spent;
    return status;
}
