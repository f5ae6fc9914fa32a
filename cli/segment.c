#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "cli/plan_options.h"
#include "mitral/data.h"
#include "mitral/tools.h"

enum { KEY_OVERLAY = 256, KEY_FRAME, KEY_KEEP_ISLANDS, KEY_WHOLE };

struct arguments {
    const char *model, *scan, *mask, *overlay;
    long frame; /* from 1; 0: all */
    bool whole;
    mitral_segment_options segment;
    struct cli_plan_options plan;
};

static const struct argp_option options[] = {
    {"output", 'o', "MASK.nii.gz", 0, "the labels, with the geometry of the scan", 0},
    {"overlay", KEY_OVERLAY, "PICTURE.png", 0, "a mosaic of the slices with contours; of the first frame that is segmented", 0},
    {"whole", KEY_WHOLE, 0, 0, "show whole slices in the picture, not the heart alone", 0},
    {"frame", KEY_FRAME, "N", 0, "one frame of a 4D scan, from 1 [all]", 0},
    {"keep-islands", KEY_KEEP_ISLANDS, 0, 0, "keep all parts of a structure, not the largest alone", 0},
    {0}};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &arguments->plan; return 0;
    case 'o': arguments->mask = value; return 0;
    case KEY_OVERLAY:
        if (strlen(value) < 4 || strcmp(value + strlen(value) - 4, ".png") != 0)
            cli_usage(state, "--overlay: expected a name ending in .png, found '%s'", value);
        arguments->overlay = value;
        return 0;
    case KEY_WHOLE: arguments->whole = true; return 0;
    case KEY_FRAME:
        if (!cli_parse_count(value, &arguments->frame))
            cli_usage(state, "--frame: expected a number from 1, found '%s'", value);
        return 0;
    case KEY_KEEP_ISLANDS: arguments->segment.keep_islands = true; return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            cli_usage(state, "expected a model and a scan, found also '%s'", value);
        *(state->arg_num ? &arguments->scan : &arguments->model) = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->scan || !arguments->mask)
            cli_usage(state, "expected a model, a scan and -o MASK.nii.gz, found too few");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

struct work {
    mitral_plan *plan;
    mitral_predictor *predictor;
    mitral_volume scan;
    mitral_labels labels;
    int64_t first, count; /* frames */
    double seconds;
};

/* The labels' geometry is the scan's; fewer frames when one was asked for. */
static mitral_status segment(struct work *work, mitral_context *context, const struct arguments *arguments)
{
    mitral_geometry *geometry = &work->labels.geometry;
    *geometry = work->scan.geometry;
    if (arguments->frame > work->scan.geometry.size[3]) {
        cli_error("segment", "%s: expected a frame from 1 to %lld, found %ld", arguments->scan,
                  (long long)work->scan.geometry.size[3], arguments->frame);
        return MITRAL_INVALID;
    }
    work->first = arguments->frame ? arguments->frame - 1 : 0;
    work->count = geometry->size[3] = arguments->frame ? 1 : geometry->size[3];
    int64_t voxels = mitral_geometry_frame_voxels(geometry);
    work->labels.voxels = malloc((size_t)(voxels * work->count));
    if (!work->labels.voxels)
        return MITRAL_NO_MEMORY;
    for (int64_t i = 0; i < work->count; i++) {
        double seconds = 0;
        mitral_status status = mitral_predictor_segment(work->labels.voxels + i * voxels, work->predictor, &work->scan,
                                                        work->first + i, &arguments->segment, &seconds);
        if (status != MITRAL_OK)
            return mitral_context_about(context, status, arguments->scan);
        work->seconds += seconds;
    }
    return MITRAL_OK;
}

static mitral_status draw(const struct work *work, mitral_context *context, const struct arguments *arguments)
{
    const mitral_preprocessing *network = mitral_predictor_preprocessing(work->predictor);
    const char *names[MITRAL_MAX_CLASSES];
    for (int32_t i = 0; i < network->class_count; i++)
        names[i] = network->labels[i];
    const char *slash = strrchr(arguments->scan, '/');
    char title[160];
    snprintf(title, sizeof title, "%.100s, frame %lld", slash ? slash + 1 : arguments->scan, (long long)work->first + 1);
    mitral_overlay_options overlay = {
        .title = title, .names = names, .class_count = network->class_count, .crop = !arguments->whole};
    mitral_picture picture;
    mitral_status status = mitral_picture_overlay(&picture, context, &work->scan, work->first, work->labels.voxels, &overlay);
    if (status == MITRAL_OK)
        status = mitral_picture_write(context, &picture, arguments->overlay);
    mitral_picture_free(context, &picture);
    return status;
}

/* Volumes of the first frame, for a look at whether the result makes sense. */
static void print_result(const struct work *work, const struct arguments *arguments)
{
    const mitral_preprocessing *network = mitral_predictor_preprocessing(work->predictor);
    const mitral_geometry *geometry = &work->labels.geometry;
    int64_t voxels = mitral_geometry_frame_voxels(geometry), slices = geometry->size[2] * work->count, counts[256] = {0};
    for (int64_t i = 0; i < voxels; i++)
        counts[work->labels.voxels[i]]++;
    double voxel_ml = geometry->spacing[0] * geometry->spacing[1] * geometry->spacing[2] * 1e-3;
    printf("%s: %lld frame%s of %lld slice%s, %.1f ms a slice in the network\n", arguments->mask, (long long)work->count,
           work->count == 1 ? "" : "s", (long long)geometry->size[2], geometry->size[2] == 1 ? "" : "s", 1e3 * work->seconds / (double)slices);
    for (int32_t i = 1; i < network->class_count && voxel_ml > 0; i++)
        printf("  %-12s %7.1f ml\n", network->labels[i], (double)counts[i] * voxel_ml);
}

/* Before there is anything to lose; the scan and the model above all. */
static mitral_status check_output(mitral_context *context, const struct arguments *arguments, const char *path)
{
    mitral_status status = mitral_file_check_apart(context, path, arguments->scan);
    if (status == MITRAL_OK)
        status = mitral_file_check_apart(context, path, arguments->model);
    return status == MITRAL_OK ? mitral_file_check(context, path) : status;
}

static mitral_status run(struct work *work, mitral_context *context, const struct arguments *arguments)
{
    mitral_status status = check_output(context, arguments, arguments->mask);
    if (status == MITRAL_OK && arguments->overlay)
        status = check_output(context, arguments, arguments->overlay);
    if (status == MITRAL_OK)
        status = mitral_volume_read(&work->scan, context, arguments->scan, 0);
    if (status == MITRAL_OK)
        status = cli_open_plan(&work->plan, context, arguments->model, &arguments->plan.compile);
    if (status == MITRAL_OK)
        status = mitral_predictor_create(&work->predictor, context, work->plan, &arguments->plan.session);
    if (status == MITRAL_OK)
        status = segment(work, context, arguments);
    if (status == MITRAL_OK)
        status = mitral_labels_write(context, &work->labels, arguments->mask);
    if (status == MITRAL_OK && arguments->overlay)
        status = draw(work, context, arguments);
    if (status == MITRAL_OK)
        print_result(work, arguments);
    return status;
}

int command_segment(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "MODEL.onnx|MODEL.plan SCAN.nii.gz",
        "Segments a scan, 3D or 4D, slice by slice. How the network wants it resampled and normalised is read from the "
        "model (metadata mitral.*); the mask is on the scan's own grid.\v"
        "Example: mitral segment student.plan patient101_frame01.nii.gz -o mask.nii.gz --overlay mask.png",
        cli_plan_children,
        0,
        0};
    static struct arguments arguments;
    cli_parse(&argp, CLI_LOADS_MODEL, argc, argv, &arguments);
    mitral_context *context = NULL;
    struct work work = {0};
    mitral_status status = cli_context_create(&context);
    if (status == MITRAL_OK)
        status = run(&work, context, &arguments);
    int code = status == MITRAL_OK              ? 0
             : *mitral_context_message(context) ? cli_fail("segment", context, status)
             : status == MITRAL_NO_MEMORY       ? cli_error("segment", "expected memory for the mask, found none")
                                                : cli_exit_code(status);
    mitral_predictor_destroy(&work.predictor);
    mitral_plan_destroy(&work.plan);
    mitral_volume_free(context, &work.scan);
    free(work.labels.voxels);
    mitral_context_destroy(&context);
    return code;
}
