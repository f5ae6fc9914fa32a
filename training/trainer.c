#include "training/trainer.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"
#include "runtime/clock.h"
#include "runtime/splitmix.h"
#include "training/cache.h"
#include "training/classes.h"
#include "training/parameters.h"

/* ---- loading ---------------------------------------------------------------------------------------------------------------- */

static const char *lookup(void *user, const char *key)
{
    return mitral_model_metadata(user, key);
}

static mitral_status load_student(struct trainer *trainer)
{
    const struct options *options = trainer->options;
    TRY(mitral_model_load(&trainer->student, trainer->context, options->student));
    TRY(parameters_separate(trainer->student->graph));
    TRY(mitral_preprocessing_read(&trainer->preprocessing, trainer->context, lookup, trainer->student));
    trainer->names_classes = mitral_model_metadata(trainer->student, "mitral.labels") != NULL;
    if (mitral_model_input_count(trainer->student) == 1) {
        /* A fixed input size wins over what the metadata say. */
        const mitral_value_info input = mitral_model_input(trainer->student, 0);
        if (input.rank == 4 && input.dims[2] > 0 && input.dims[3] > 0) {
            trainer->preprocessing.height = input.dims[2];
            trainer->preprocessing.width = input.dims[3];
        }
    }
    size_t without, convolutions;
    if (network_looks_folded(trainer->student->graph, &without, &convolutions))
        mitral_log(trainer->context, "%s: %zu of %zu convolutions have a bias and no normalisation behind them; if batch norms were folded at export, "
                   "their names and statistics are gone: to keep them, export from PyTorch with training=TrainingMode.TRAINING and "
                   "do_constant_folding=False", options->student, without, convolutions);
    return MITRAL_OK;
}

/* Both networks see the images that the student expects. */
static mitral_status remark_on_preprocessing(struct trainer *trainer)
{
    const mitral_preprocessing *ours = &trainer->preprocessing;
    mitral_preprocessing theirs;
    TRY(mitral_preprocessing_read(&theirs, trainer->context, lookup, trainer->teacher));
    if (theirs.normalisation != ours->normalisation || theirs.spacing[0] != ours->spacing[0] || theirs.spacing[1] != ours->spacing[1])
        mitral_log(trainer->context, "%s was made for spacing %gx%g mm and normalisation %d, the student for %gx%g mm and %d: the student's are used",
                   trainer->options->teacher, theirs.spacing[0], theirs.spacing[1], (int)theirs.normalisation, ours->spacing[0], ours->spacing[1],
                   (int)ours->normalisation);
    return classes_compare(trainer->context, &theirs, mitral_model_metadata(trainer->teacher, "mitral.labels"), trainer->options->teacher, ours,
                           trainer->names_classes, trainer->options->student);
}

static mitral_status load_teacher(struct trainer *trainer)
{
    const struct options *options = trainer->options;
    if (!*options->teacher || options->method == METHOD_NONE)
        return MITRAL_OK;
    TRY(mitral_model_load(&trainer->teacher, trainer->context, options->teacher));
    TRY(remark_on_preprocessing(trainer));
    TRY(network_set_inference(trainer->teacher->graph));
    TRY(graph_copy(&trainer->teacher_graph, trainer->teacher->graph));
    trainer->teacher_graph->context = trainer->context;
    return interface_read(&trainer->teacher_interface, trainer->teacher_graph, "teacher", options->batch, trainer->preprocessing.height,
                          trainer->preprocessing.width);
}

/* ---- compiling -------------------------------------------------------------------------------------------------------------- */

static mitral_status compile_teacher(struct trainer *trainer)
{
    const struct graph *graph = trainer->teacher_graph;
    const struct network *network = &trainer->network;
    const char *taps[MAX_TAPS + 1];
    size_t count = 0;
    trainer->teacher_logits = graph->values[trainer->teacher_interface.logits].name;
    if (network->teacher_logits != NO_VALUE && trainer->teacher_interface.logits != graph->outputs[0])
        taps[count++] = trainer->teacher_logits;
    for (size_t i = 0; i < network->pair_count; i++) {
        trainer->teacher_maps[i] = graph->values[network->pairs[i].teacher].name;
        taps[count++] = trainer->teacher_maps[i];
    }
    const struct value_type *type = &graph->values[trainer->teacher_interface.input].type;
    mitral_shape shape = {.name = graph->values[trainer->teacher_interface.input].name, .rank = 4};
    memcpy(shape.dims, type->dims, sizeof shape.dims);
    /* One image after another needs less memory, and maps that stay in the caches. */
    const struct graph *loaded = trainer->teacher->graph;
    trainer->teacher_images = loaded->values[loaded->inputs[0]].type.dims[0] < 0 ? 1 : network->batch;
    shape.dims[0] = trainer->teacher_images;
    const mitral_compile_options options = {.shapes = &shape, .shape_count = 1, .taps = taps, .tap_count = count, .threads = trainer->threads,
                                            .precision = (mitral_precision)trainer->options->precision};
    TRY(mitral_compile(&trainer->teacher_plan, trainer->context, trainer->teacher, &options));
    return mitral_session_create(&trainer->teacher_session, trainer->context, trainer->teacher_plan,
                                 &(mitral_session_options){.threads = trainer->threads});
}

/* Describes the training plan's inputs by the types that the plan has; data come with each step. */
static mitral_status describe_inputs(struct trainer *trainer)
{
    const struct mitral_plan *plan = trainer->plan;
    trainer->values = mitral_allocate(trainer->context, (plan->input_count + 1) * sizeof *trainer->values);
    trainer->inputs = mitral_allocate(trainer->context, (plan->input_count + 1) * sizeof *trainer->inputs);
    if (!trainer->values || !trainer->inputs)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < plan->input_count; i++) {
        const struct plan_value *value = &plan->values[plan->inputs[i]];
        tensor_set(&trainer->values[i].tensor, value->dtype, value->rank, value->dims);
        trainer->inputs[i] = &trainer->values[i];
        if (strcmp(value->name, "training/rate") == 0)
            trainer->values[i].tensor.data = &trainer->rate;
        else if (strcmp(value->name, "training/step") == 0)
            trainer->values[i].tensor.data = &trainer->step;
        else if (strcmp(value->name, "training/apply") == 0)
            trainer->values[i].tensor.data = &trainer->apply;
        else if (strcmp(value->name, "training/first") == 0)
            trainer->values[i].tensor.data = &trainer->first;
    }
    return MITRAL_OK;
}

static mitral_status compile_student(struct trainer *trainer)
{
    const mitral_compile_options options = {.threads = trainer->threads, .low_memory = trainer->options->memory != 0,
                                            .precision = (mitral_precision)trainer->options->precision};
    TRY(compile_graph(&trainer->plan, trainer->context, trainer->network.graph, &options, true));
    TRY(describe_inputs(trainer));
    TRY(mitral_session_create(&trainer->session, trainer->context, trainer->plan, &(mitral_session_options){.threads = trainer->threads}));
    return session_prepare(trainer->session, trainer->inputs);
}

static mitral_status create(struct trainer *trainer)
{
    TRY(load_student(trainer));
    TRY(load_teacher(trainer));
    TRY(network_build(&trainer->network, trainer->context, trainer->student->graph, trainer->teacher_graph, &trainer->teacher_interface,
                      trainer->options, trainer->preprocessing.height, trainer->preprocessing.width));
    TRY(classes_check(trainer->context, &trainer->preprocessing, trainer->names_classes, trainer->network.classes, trainer->options->student));
    if (trainer->teacher)
        TRY(compile_teacher(trainer));
    return compile_student(trainer);
}

mitral_status trainer_create(struct trainer *out, mitral_context *context, const struct options *options)
{
    *out = (struct trainer){.context = context, .options = options};
    out->threads = options->threads > 0 ? (int)options->threads : omp_get_num_procs();
    mitral_status status = create(out);
    if (status != MITRAL_OK)
        trainer_clear(out);
    return status;
}

void trainer_clear(struct trainer *trainer)
{
    teacher_cache_close(&trainer->cache, trainer->context);
    mitral_session_destroy(&trainer->session);
    mitral_session_destroy(&trainer->teacher_session);
    mitral_session_destroy(&trainer->inference_session);
    mitral_plan_destroy(&trainer->plan);
    mitral_plan_destroy(&trainer->teacher_plan);
    mitral_plan_destroy(&trainer->inference_plan);
    mitral_release(trainer->context, trainer->values);
    mitral_release(trainer->context, trainer->inputs);
    mitral_release(trainer->context, trainer->kept);
    for (size_t i = 0; i < MAX_TAPS + 1; i++)
        mitral_release(trainer->context, trainer->teacher_memory[i]);
    network_clear(&trainer->network);
    graph_destroy(&trainer->teacher_graph);
    mitral_model_destroy(&trainer->teacher);
    mitral_model_destroy(&trainer->student);
    *trainer = (struct trainer){.context = trainer->context};
}

/* ---- stepping --------------------------------------------------------------------------------------------------------------- */

mitral_tensor *trainer_input(struct trainer *trainer, const char *name)
{
    for (size_t i = 0; i < trainer->plan->input_count; i++)
        if (strcmp(trainer->plan->values[trainer->plan->inputs[i]].name, name) == 0)
            return &trainer->values[i].tensor;
    return NULL;
}

/* The index-th of the teacher's outputs that the loss takes: its name in the teacher's plan, and that of the training plan's input. */
static bool teacher_names(const struct trainer *trainer, size_t index, const char **theirs, const char **input)
{
    const struct network *network = &trainer->network;
    const size_t logits = network->teacher_logits != NO_VALUE, map = index - logits;
    const bool is_map = index >= logits;
    if (is_map && map >= network->pair_count)
        return false;
    *theirs = is_map ? trainer->teacher_maps[map] : trainer->teacher_logits;
    *input = is_map ? network->graph->values[network->teacher_maps[map]].name : "teacher/logits";
    return true;
}

mitral_tensor *trainer_teacher_value(struct trainer *trainer, size_t index)
{
    const char *theirs, *input;
    return teacher_names(trainer, index, &theirs, &input) ? trainer_input(trainer, input) : NULL;
}

/* What the teacher said of images from `first` on goes where the training plan finds it: it stays in the session where it is a whole batch. */
static mitral_status take_teacher_values(struct trainer *trainer, int64_t first)
{
    const char *theirs, *input;
    for (size_t i = 0; teacher_names(trainer, i, &theirs, &input); i++) {
        const mitral_value *value = mitral_session_value(trainer->teacher_session, theirs);
        mitral_tensor *into = trainer_input(trainer, input), expected = {0};
        if (into) {
            expected = *into;
            expected.dims[0] = trainer->teacher_images;
        }
        if (!value || !into || !tensor_same_shape(&value->tensor, &expected) || value->tensor.layout != LAYOUT_PLAIN)
            return mitral_fail(trainer->context, MITRAL_INVALID, "teacher: expected a value for '%s' of the size that was declared", input);
        if (trainer->teacher_images == trainer->network.batch) {
            into->data = value->tensor.data;
            continue;
        }
        if (!trainer->teacher_memory[i] && !(trainer->teacher_memory[i] = mitral_allocate_raw(trainer->context, tensor_bytes(into))))
            return MITRAL_NO_MEMORY;
        into->data = trainer->teacher_memory[i];
        const size_t bytes = tensor_bytes(&expected);
        memcpy((char *)into->data + bytes * (size_t)(first / trainer->teacher_images), value->tensor.data, bytes);
    }
    return MITRAL_OK;
}

mitral_status trainer_run_teacher(struct trainer *trainer, const float *images)
{
    const struct network *network = &trainer->network;
    mitral_value input = {.kind = MITRAL_TENSOR};
    const mitral_value *inputs[1] = {&input}, *outputs[1];
    tensor_set(&input.tensor, MITRAL_FLOAT, 4, (const int64_t[]){trainer->teacher_images, network->channels, network->height, network->width});
    for (int64_t first = 0; first < network->batch; first += trainer->teacher_images) {
        input.tensor.data = (void *)(images + first * network->channels * network->height * network->width);
        TRY(mitral_session_run(trainer->teacher_session, inputs, 1, outputs, 1));
        TRY(take_teacher_values(trainer, first));
    }
    return MITRAL_OK;
}

static mitral_status run_step(struct trainer *trainer, struct step_report *report, const float *images, const uint8_t *labels,
                              const int64_t *slices)
{
    const mitral_value *outputs[MAX_TERMS + 2];
    const size_t terms = trainer->network.loss.count;
    const double start = clock_seconds();
    if (trainer->cache && slices)
        teacher_cache_take(trainer->cache, trainer, slices);
    else if (trainer->teacher_session)
        TRY(trainer_run_teacher(trainer, images));
    trainer->teacher_seconds = clock_seconds() - start;
    trainer->values[0].tensor.data = (void *)images;
    trainer_input(trainer, "training/labels")->data = (void *)labels;
    TRY(mitral_session_run(trainer->session, trainer->inputs, trainer->plan->input_count, outputs, terms + 2));
    report->loss = (double)*(const float *)outputs[0]->tensor.data;
    report->norm = (double)*(const float *)outputs[terms + 1]->tensor.data;
    report->term_count = terms;
    for (size_t i = 0; i < terms; i++) {
        report->names[i] = trainer->network.loss.terms[i].name;
        report->terms[i] = (double)*(const float *)outputs[1 + i]->tensor.data;
    }
    return MITRAL_OK;
}

mitral_status trainer_step(struct trainer *trainer, struct step_report *report, const float *images, const uint8_t *labels,
                           const int64_t *slices, int64_t update, bool first, bool apply)
{
    trainer->rate = (float)schedule_rate(trainer->options, update);
    trainer->step = (float)(update + 1);
    trainer->first = first;
    trainer->apply = apply;
    if (first) { /* Dropout and the like: the same in each run, and after a checkpoint */
        trainer->context->random.stream = splitmix_at((uint64_t)trainer->options->seed, (uint64_t)update);
        trainer->context->random.drawn = 0;
    }
    trainer->context->random.fixed = true;
    /* A run that stops among the updates would leave some weights moved and others not. */
    bool (*cancel)(void *) = trainer->context->options.cancel;
    trainer->context->options.cancel = NULL;
    mitral_status status = run_step(trainer, report, images, labels, slices);
    trainer->context->options.cancel = cancel;
    trainer->context->random.fixed = false;
    return status;
}

/* ---- weights ---------------------------------------------------------------------------------------------------------------- */

bool trainer_variable(struct trainer *trainer, size_t index, const char **name, mitral_tensor **tensor)
{
    const struct mitral_plan *plan = trainer->plan;
    for (size_t v = 0; v < plan->value_count; v++)
        if (plan->values[v].role == ROLE_VARIABLE && index-- == 0) {
            *name = plan->values[v].name;
            *tensor = &trainer->session->frame.values[v].tensor;
            return true;
        }
    return false;
}

mitral_status trainer_keep(struct trainer *trainer)
{
    const char *name;
    mitral_tensor *tensor;
    size_t total = 0;
    for (size_t i = 0; trainer_variable(trainer, i, &name, &tensor); i++)
        total += tensor_bytes(tensor);
    if (!trainer->kept)
        trainer->kept = mitral_allocate_raw(trainer->context, total + 1);
    if (!trainer->kept)
        return MITRAL_NO_MEMORY;
    unsigned char *at = trainer->kept;
    for (size_t i = 0; trainer_variable(trainer, i, &name, &tensor); at += tensor_bytes(tensor), i++)
        memcpy(at, tensor->data, tensor_bytes(tensor));
    return MITRAL_OK;
}

void trainer_restore(struct trainer *trainer)
{
    const char *name;
    mitral_tensor *tensor;
    const unsigned char *at = trainer->kept;
    for (size_t i = 0; at && trainer_variable(trainer, i, &name, &tensor); at += tensor_bytes(tensor), i++)
        memcpy(tensor->data, at, tensor_bytes(tensor));
}

/* The weight of that name: its running mean where there is one. NULL: not trained. */
static const mitral_tensor *current_weight(struct trainer *trainer, const char *name)
{
    char mean[1024];
    const mitral_tensor *tensor = NULL;
    if (trainer->options->ema > 0 && snprintf(mean, sizeof mean, "ema/%s", name) < (int)sizeof mean)
        tensor = session_variable(trainer->session, mean);
    return tensor ? tensor : session_variable(trainer->session, name);
}

static mitral_status make_inference(struct trainer *trainer)
{
    const struct network *network = &trainer->network;
    struct graph *graph;
    mitral_value input = {.kind = MITRAL_TENSOR};
    const mitral_value *inputs[1] = {&input};
    const mitral_compile_options options = {.threads = trainer->threads};
    TRY(network_build_inference(&graph, trainer->context, trainer->student->graph, trainer->options, network->batch, network->height,
                                network->width));
    mitral_status status = compile_graph(&trainer->inference_plan, trainer->context, graph, &options, true);
    graph_destroy(&graph);
    TRY(status);
    TRY(mitral_session_create(&trainer->inference_session, trainer->context, trainer->inference_plan,
                              &(mitral_session_options){.threads = trainer->threads}));
    tensor_set(&input.tensor, MITRAL_FLOAT, 4, (const int64_t[]){network->batch, network->channels, network->height, network->width});
    return session_prepare(trainer->inference_session, inputs);
}

mitral_status trainer_sync(struct trainer *trainer)
{
    if (!trainer->inference_session)
        TRY(make_inference(trainer));
    const struct mitral_plan *plan = trainer->inference_plan;
    for (size_t v = 0; v < plan->value_count; v++) {
        if (plan->values[v].role != ROLE_VARIABLE)
            continue;
        const mitral_tensor *from = current_weight(trainer, plan->values[v].name);
        mitral_tensor *to = &trainer->inference_session->frame.values[v].tensor;
        if (from && tensor_same_shape(from, to))
            memcpy(to->data, from->data, tensor_bytes(to));
    }
    return MITRAL_OK;
}

static void take_highest(uint8_t *out, const float *scores, int64_t classes, int64_t pixels)
{
    for (int64_t i = 0; i < pixels; i++) {
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            if (scores[c * pixels + i] > scores[best * pixels + i])
                best = c;
        out[i] = (uint8_t)best;
    }
}

static bool has_nan(const float *scores, int64_t count)
{
    bool found = false;
    for (int64_t i = 0; i < count; i++)
        found |= isnan(scores[i]);
    return found;
}

/* Nearest neighbour on a coarser or finer grid of the same field. */
static void resize_labels(uint8_t *out, int64_t height, int64_t width, const uint8_t *in, int64_t in_height, int64_t in_width)
{
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            out[y * width + x] = in[(2 * y + 1) * in_height / (2 * height) * in_width + (2 * x + 1) * in_width / (2 * width)];
}

mitral_status trainer_predict(struct trainer *trainer, uint8_t *out, const float *images, int64_t count)
{
    const struct network *network = &trainer->network;
    const int64_t pixels = network->height * network->width;
    mitral_value input = {.kind = MITRAL_TENSOR};
    const mitral_value *inputs[1] = {&input}, *outputs[1];
    tensor_set(&input.tensor, MITRAL_FLOAT, 4, (const int64_t[]){network->batch, network->channels, network->height, network->width});
    const size_t bytes = tensor_bytes(&input.tensor);
    float *padded = NULL;
    input.tensor.data = (void *)images;
    if (count < network->batch) {
        padded = mitral_allocate(trainer->context, bytes);
        if (!padded)
            return MITRAL_NO_MEMORY;
        memcpy(padded, images, (size_t)(count * network->channels * pixels) * sizeof *padded);
        input.tensor.data = padded;
    }
    mitral_status status = mitral_session_run(trainer->inference_session, inputs, 1, outputs, 1);
    if (status == MITRAL_OK) {
        const mitral_tensor *scores = &outputs[0]->tensor;
        const int64_t found = scores->dims[2] * scores->dims[3];
        uint8_t *small = found == pixels ? NULL : mitral_allocate(trainer->context, (size_t)found);
        if (found != pixels && !small)
            status = MITRAL_NO_MEMORY;
        else if (has_nan(scores->data, count * network->classes * found))
            status = mitral_fail(trainer->context, MITRAL_INVALID, "expected scores that are numbers, found NaN");
        for (int64_t i = 0; i < count && status == MITRAL_OK; i++) {
            take_highest(small ? small : out + i * pixels, (const float *)scores->data + i * network->classes * found, network->classes, found);
            if (small)
                resize_labels(out + i * pixels, network->height, network->width, small, scores->dims[2], scores->dims[3]);
        }
        mitral_release(trainer->context, small);
    }
    mitral_release(trainer->context, padded);
    return status;
}

/* ---- exporting -------------------------------------------------------------------------------------------------------------- */

static mitral_status add_metadata(struct trainer *trainer, struct graph *graph)
{
    const char *key;
    char value[2048];
    size_t extra = 0;
    while (mitral_preprocessing_property(&trainer->preprocessing, extra, &key, value, sizeof value))
        extra++;
    struct graph_property *properties = arena_allocate(graph->arena, (graph->metadata_count + extra + 1) * sizeof *properties);
    if (!properties)
        return MITRAL_NO_MEMORY;
    if (graph->metadata_count)
        memcpy(properties, graph->metadata, graph->metadata_count * sizeof *properties);
    graph->metadata = properties;
    for (size_t i = 0; mitral_preprocessing_property(&trainer->preprocessing, i, &key, value, sizeof value); i++) {
        if (mitral_model_metadata(trainer->student, key))
            continue; /* the file said it: left as it was */
        properties[graph->metadata_count] = (struct graph_property){arena_string(graph->arena, key), arena_string(graph->arena, value)};
        if (!properties[graph->metadata_count].key || !properties[graph->metadata_count].value)
            return MITRAL_NO_MEMORY;
        graph->metadata_count++;
    }
    return MITRAL_OK;
}

mitral_status trainer_export(struct trainer *trainer, const char *path)
{
    struct graph *graph;
    struct mitral_model model = {.context = trainer->context};
    TRY(graph_copy(&graph, trainer->student->graph));
    graph->context = trainer->context;
    mitral_status status = add_metadata(trainer, graph);
    for (size_t v = 0; v < graph->value_count && status == MITRAL_OK; v++) {
        const struct graph_value *value = &graph->values[v];
        const mitral_tensor *trained = value->constant && value->name ? current_weight(trainer, value->name) : NULL;
        if (!trained)
            continue;
        mitral_tensor *copy = arena_allocate(graph->arena, sizeof *copy);
        status = copy ? tensor_copy(copy, graph->arena, trained) : MITRAL_NO_MEMORY;
        graph->values[v].constant = copy;
    }
    if (status == MITRAL_OK)
        status = network_set_inference(graph);
    model.graph = graph;
    if (status == MITRAL_OK)
        status = mitral_model_save(trainer->context, &model, path);
    graph_destroy(&graph);
    return status;
}
