#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/evaluate.h"
#include "cli/plan_options.h"
#include "mitral/tools.h"

enum { KEY_DATA = 256, KEY_SPLIT, KEY_JSON, KEY_CSV, KEY_OVERLAYS, KEY_WORST, KEY_KEEP_ISLANDS };

struct arguments {
    const char *model, *folder, *split, *json, *csv, *overlays;
    bool json_on_output;
    long worst;
    mitral_segment_options segment;
    struct cli_plan_options plan;
};

static const struct argp_option options[] = {
    {"data", KEY_DATA, "DIR", 0, "a folder in ACDC's layout, or any with a dataset.json", 0},
    {"split", KEY_SPLIT, "training|testing", 0, "[testing]", 0},
    {"json", KEY_JSON, "FILE.json", OPTION_ARG_OPTIONAL,
     "all figures as JSON; without a file on standard output, instead of the table", 0},
    {"csv", KEY_CSV, "FILE", 0, "a line for each structure of each volume", 0},
    {"overlays", KEY_OVERLAYS, "DIR", 0, "pictures of the worst volumes, prediction and reference", 0},
    {"worst", KEY_WORST, "N", 0, "how many pictures [6]", 0},
    {"keep-islands", KEY_KEEP_ISLANDS, 0, 0, "keep all parts of a structure, not the largest alone", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &arguments->plan; return 0;
    case KEY_DATA: arguments->folder = value; return 0;
    case KEY_SPLIT:
        if (strcmp(value, "training") != 0 && strcmp(value, "testing") != 0)
            cli_usage(state, "--split: expected training or testing, found '%s'", value);
        arguments->split = value;
        return 0;
    case KEY_JSON:
        arguments->json = value;
        arguments->json_on_output = !value;
        return 0;
    case KEY_CSV: arguments->csv = value; return 0;
    case KEY_OVERLAYS: arguments->overlays = value; return 0;
    case KEY_WORST:
        if (!cli_parse_count(value, &arguments->worst))
            cli_usage(state, "--worst: expected a number from 1, found '%s'", value);
        return 0;
    case KEY_KEEP_ISLANDS: arguments->segment.keep_islands = true; return 0;
    case ARGP_KEY_ARG:
        if (arguments->model)
            cli_usage(state, "expected one model, found also '%s'", value);
        arguments->model = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->model || !arguments->folder)
            cli_usage(state, "expected a model and --data DIR, found too few");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

struct work {
    const struct arguments *arguments;
    mitral_context *context;
    mitral_plan *plan;
    mitral_predictor *predictor;
    mitral_dataset dataset;
    uint8_t map[256]; /* the network's labels to the dataset's */
    struct evaluation evaluation;
};

/* By name where the dataset has all of the network's names, which may be in another order; else by number. */
static mitral_status match_classes(struct work *work)
{
    const mitral_preprocessing *network = mitral_predictor_preprocessing(work->predictor);
    const mitral_dataset *dataset = &work->dataset;
    if (network->class_count != dataset->class_count) {
        cli_error("evaluate", "%s: expected a network with the %d classes of the data, found %d", work->arguments->model,
                  (int)dataset->class_count, (int)network->class_count);
        return MITRAL_INVALID;
    }
    bool all = true;
    for (int32_t i = 0; i < network->class_count; i++) {
        int32_t found = 0;
        while (found < dataset->class_count && strcmp(network->labels[i], dataset->labels[found]) != 0)
            found++;
        all &= found < dataset->class_count;
        work->map[i] = (uint8_t)found;
    }
    for (int32_t i = 0; i < network->class_count && !all; i++)
        work->map[i] = (uint8_t)i;
    work->evaluation.by_position = !all;
    return MITRAL_OK;
}

struct loaded {
    mitral_volume image;
    mitral_labels labels;
    uint8_t *prediction;
};

static void unload(struct loaded *loaded, mitral_context *context)
{
    mitral_volume_free(context, &loaded->image);
    mitral_labels_free(context, &loaded->labels);
    free(loaded->prediction);
    loaded->prediction = NULL;
}

/* Reads a case and segments it. */
static mitral_status segment_case(struct loaded *out, struct work *work, size_t index)
{
    *out = (struct loaded){0};
    mitral_status status = mitral_case_read(&out->image, &out->labels, work->context, &work->dataset, index);
    if (status != MITRAL_OK)
        return status;
    int64_t voxels = mitral_geometry_frame_voxels(&out->image.geometry);
    double seconds = 0;
    out->prediction = malloc((size_t)voxels);
    status = out->prediction
               ? mitral_predictor_segment(out->prediction, work->predictor, &out->image, 0, &work->arguments->segment, &seconds)
               : MITRAL_NO_MEMORY;
    mitral_context_about(work->context, status, work->dataset.cases[index].image);
    if (status == MITRAL_OK)
        status = match_classes(work); /* the number of classes is known for certain after a run */
    for (int64_t i = 0; i < voxels && status == MITRAL_OK; i++)
        out->prediction[i] = work->map[out->prediction[i]];
    work->evaluation.seconds += seconds;
    work->evaluation.slices += out->image.geometry.size[2];
    if (status != MITRAL_OK)
        unload(out, work->context);
    return status;
}

static mitral_status measure_all(struct work *work)
{
    int32_t classes = work->dataset.class_count;
    work->evaluation.overlaps = calloc(work->dataset.count * (size_t)classes, sizeof *work->evaluation.overlaps);
    if (!work->evaluation.overlaps)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < work->dataset.count; i++) {
        struct loaded loaded;
        mitral_status status = segment_case(&loaded, work, i);
        if (status != MITRAL_OK)
            return status;
        status = mitral_measure_overlap(work->evaluation.overlaps + i * (size_t)classes, work->context, loaded.prediction,
                                        loaded.labels.voxels, &loaded.image.geometry, classes);
        mitral_context_about(work->context, status, work->dataset.cases[i].image);
        unload(&loaded, work->context);
        if (status != MITRAL_OK)
            return status;
    }
    return MITRAL_OK;
}

static mitral_status draw_case(struct work *work, size_t index, size_t rank)
{
    struct loaded loaded;
    mitral_status status = segment_case(&loaded, work, index);
    if (status != MITRAL_OK)
        return status;
    const mitral_case *item = &work->dataset.cases[index];
    const char *patient = strrchr(item->patient, '/');
    patient = patient ? patient + 1 : item->patient;
    char title[200], path[4096];
    snprintf(title, sizeof title, "%.60s %s: mean Dice %.3f, %.60s", patient, mitral_phase_name(item->phase),
             evaluation_score(&work->evaluation, index), work->dataset.name);
    snprintf(path, sizeof path, "%s/%02zu_%.60s_%s.png", work->arguments->overlays, rank + 1, patient,
             mitral_phase_name(item->phase));
    mitral_overlay_options overlay = {.reference = loaded.labels.voxels,
                                      .title = title,
                                      .crop = true,
                                      .names = (const char *const *)work->dataset.labels,
                                      .class_count = work->dataset.class_count};
    mitral_picture picture;
    status = mitral_picture_overlay(&picture, work->context, &loaded.image, 0, loaded.prediction, &overlay);
    if (status == MITRAL_OK)
        status = mitral_picture_write(work->context, &picture, path);
    mitral_picture_free(work->context, &picture);
    unload(&loaded, work->context);
    return status;
}

struct ranked {
    double score;
    size_t index;
};

static int compare_ranked(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;
    if (a->score != b->score)
        return a->score < b->score ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

/* A file to write: neither the model nor one of the data's. */
static mitral_status check_output(const struct work *work, const char *path)
{
    mitral_context *context = work->context;
    char description[4096];
    snprintf(description, sizeof description, "%s/dataset.json", work->arguments->folder);
    mitral_status status = mitral_file_check_apart(context, path, work->arguments->model);
    if (status == MITRAL_OK)
        status = mitral_file_check_apart(context, path, description);
    for (size_t i = 0; i < work->dataset.count && status == MITRAL_OK; i++) {
        status = mitral_file_check_apart(context, path, work->dataset.cases[i].image);
        if (status == MITRAL_OK && work->dataset.cases[i].label)
            status = mitral_file_check_apart(context, path, work->dataset.cases[i].label);
    }
    return status == MITRAL_OK ? mitral_file_check(context, path) : status;
}

/* Before there is anything to lose. */
static mitral_status check_outputs(const struct work *work)
{
    mitral_context *context = work->context;
    const struct arguments *arguments = work->arguments;
    mitral_status status = arguments->json ? check_output(work, arguments->json) : MITRAL_OK;
    if (status == MITRAL_OK && arguments->csv)
        status = check_output(work, arguments->csv);
    if (status == MITRAL_OK && arguments->csv && arguments->json)
        status = mitral_file_check_apart(context, arguments->csv, arguments->json);
    if (status == MITRAL_OK && arguments->overlays && arguments->json)
        status = mitral_file_check_apart(context, arguments->overlays, arguments->json);
    if (status == MITRAL_OK && arguments->overlays && arguments->csv)
        status = mitral_file_check_apart(context, arguments->overlays, arguments->csv);
    const char *folder = arguments->overlays;
    struct stat facts;
    if (status == MITRAL_OK && folder && mkdir(folder, 0777) != 0
        && (errno != EEXIST || stat(folder, &facts) != 0 || !S_ISDIR(facts.st_mode))) {
        cli_error("evaluate", "%s: expected to make a folder, found: %s", folder, strerror(errno));
        return MITRAL_IO;
    }
    return status;
}

static mitral_status draw_worst(struct work *work)
{
    struct ranked *ranking = calloc(work->dataset.count, sizeof *ranking);
    if (!ranking)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < work->dataset.count; i++) {
        double score = evaluation_score(&work->evaluation, i);
        ranking[i] = (struct ranked){isnan(score) ? 2 : score, i};
    }
    qsort(ranking, work->dataset.count, sizeof *ranking, compare_ranked);
    size_t count = work->arguments->worst ? (size_t)work->arguments->worst : 6;
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < count && i < work->dataset.count && status == MITRAL_OK; i++)
        status = draw_case(work, ranking[i].index, i);
    free(ranking);
    return status;
}

/* `text` is freed; NULL is taken for want of memory. */
static mitral_status write_text(mitral_context *context, char *text, const char *path)
{
    mitral_status status = text ? mitral_file_write(context, path, text, strlen(text)) : MITRAL_NO_MEMORY;
    free(text);
    return status;
}

static mitral_status report(struct work *work)
{
    const struct arguments *arguments = work->arguments;
    mitral_status status = MITRAL_OK;
    if (!arguments->json_on_output) /* first: it is there when a file cannot be written */
        evaluation_print(&work->evaluation, stdout);
    if (arguments->json)
        status = write_text(work->context, evaluation_json(&work->evaluation), arguments->json);
    if (status == MITRAL_OK && arguments->csv)
        status = write_text(work->context, evaluation_csv(&work->evaluation), arguments->csv);
    if (status != MITRAL_OK || !arguments->json_on_output)
        return status;
    char *text = evaluation_json(&work->evaluation);
    if (!text)
        return MITRAL_NO_MEMORY;
    fputs(text, stdout);
    free(text);
    return MITRAL_OK;
}

static mitral_status run(struct work *work)
{
    const struct arguments *arguments = work->arguments;
    const char *split = arguments->split ? arguments->split : "testing";
    mitral_status status = mitral_dataset_open(&work->dataset, work->context, arguments->folder, split);
    if (status == MITRAL_OK)
        status = cli_open_plan(&work->plan, work->context, arguments->model, &arguments->plan.compile);
    if (status == MITRAL_OK)
        status = mitral_predictor_create(&work->predictor, work->context, work->plan, &arguments->plan.session);
    if (status == MITRAL_OK)
        status = check_outputs(work);
    if (status != MITRAL_OK)
        return status;
    work->evaluation = (struct evaluation){.model = arguments->model, .split = split, .dataset = &work->dataset};
    status = measure_all(work);
    int64_t slices = work->evaluation.slices;
    double seconds = work->evaluation.seconds;
    if (status == MITRAL_OK && arguments->overlays)
        status = draw_worst(work);
    work->evaluation.slices = slices; /* the pictures' runs do not count */
    work->evaluation.seconds = seconds;
    return status == MITRAL_OK ? report(work) : status;
}

int command_evaluate(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "MODEL.onnx|MODEL.plan",
        "Measures a network on labelled volumes in 3D on their own grid: Dice, Hausdorff distances, volumes and ejection "
        "fraction. A structure that is missing on one side is counted, never averaged in.\v"
        "Example: mitral evaluate student.plan --data hearts --csv student.csv --overlays worst",
        cli_plan_children,
        0,
        0};
    static struct arguments arguments;
    cli_parse(&argp, CLI_LOADS_MODEL, argc, argv, &arguments);
    struct work work = {.arguments = &arguments};
    mitral_status status = cli_context_create(&work.context);
    if (status == MITRAL_OK)
        status = run(&work);
    int code = status == MITRAL_OK                   ? 0
             : *mitral_context_message(work.context) ? cli_fail("evaluate", work.context, status)
             : status == MITRAL_NO_MEMORY            ? cli_error("evaluate", "expected enough memory, found too little")
                                                     : cli_exit_code(status);
    mitral_predictor_destroy(&work.predictor);
    mitral_plan_destroy(&work.plan);
    mitral_dataset_free(work.context, &work.dataset);
    free(work.evaluation.overlaps);
    mitral_context_destroy(&work.context);
    return code;
}
