#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "mitral/networks.h"

enum { KEY_WIDTHS = 256, KEY_DILATIONS, KEY_MERGE, KEY_NO_RESIDUAL, KEY_CLASSES, KEY_CHANNELS, KEY_BATCH, KEY_SIZE, KEY_SEED, KEY_THREADS };

struct arguments {
    const char *network, *output;
    mitral_network_options options;
};

static const struct argp_option options[] = {
    {"output", 'o', "MODEL.onnx", 0, "the model to write", 0},
    {"widths", KEY_WIDTHS, "N,N,N,N,N", 0, "channels by stage [dpu-net 32,64,96,128,160; unet 32,64,128,256,512]", 0},
    {"dilations", KEY_DILATIONS, "N,N,N,N", 0, "dpu-net: of the branches, in every stage [1,2,4,8; the deepest stage 1,2,3,4]", 0},
    {"merge", KEY_MERGE, "hff|hff-first|concat", 0, "dpu-net: how branches come together [hff]", 0},
    {"no-residual", KEY_NO_RESIDUAL, 0, 0, "dpu-net: blocks without shortcut", 0},
    {"classes", KEY_CLASSES, "N", 0, "[4]", 0},
    {"channels", KEY_CHANNELS, "N", 0, "of the input [1]", 0},
    {"batch", KEY_BATCH, "N", 0, "fixed batch size [symbolic]", 0},
    {"size", KEY_SIZE, "N", 0, "height and width of the input, a multiple of 16 [224]", 0},
    {"seed", KEY_SEED, "N", 0, "of the initial weights [0]", 0},
    {"threads", KEY_THREADS, "N", 0, "accepted as everywhere; writing a model takes one", 0},
    {0}};

static bool parse_list(const char *text, int64_t *out, int count)
{
    for (int i = 0; i < count; i++) {
        char *end;
        errno = 0;
        out[i] = strtoll(text, &end, 10);
        if (errno || end == text || out[i] <= 0 || *end != (i + 1 < count ? ',' : '\0'))
            return false;
        text = end + 1;
    }
    return true;
}

static void parse_number(struct argp_state *state, const char *option, const char *value, int64_t *out)
{
    long number;
    if (!cli_parse_count(value, &number))
        cli_usage(state, "%s: expected a whole number from 1, found '%s'", option, value);
    *out = number;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    mitral_network_options *network = &arguments->options;
    char *end;
    switch (key) {
    case 'o': arguments->output = value; return 0;
    case KEY_WIDTHS:
        if (!parse_list(value, network->widths, MITRAL_STAGES))
            cli_usage(state, "--widths: expected five numbers such as 32,64,96,128,160, found '%s'", value);
        return 0;
    case KEY_DILATIONS:
        if (!parse_list(value, network->dilations[0], 4))
            cli_usage(state, "--dilations: expected four numbers such as 1,2,4,8, found '%s'", value);
        for (int i = 1; i < MITRAL_STAGES; i++)
            memcpy(network->dilations[i], network->dilations[0], sizeof network->dilations[0]);
        return 0;
    case KEY_MERGE:
        if (strcmp(value, "hff") == 0)
            network->merge = MITRAL_MERGE_HFF;
        else if (strcmp(value, "hff-first") == 0)
            network->merge = MITRAL_MERGE_HFF_FIRST;
        else if (strcmp(value, "concat") == 0)
            network->merge = MITRAL_MERGE_CONCAT;
        else
            cli_usage(state, "--merge: expected hff, hff-first or concat, found '%s'", value);
        return 0;
    case KEY_NO_RESIDUAL: network->no_residual = true; return 0;
    case KEY_CLASSES: parse_number(state, "--classes", value, &network->classes); return 0;
    case KEY_CHANNELS: parse_number(state, "--channels", value, &network->channels); return 0;
    case KEY_BATCH: parse_number(state, "--batch", value, &network->batch); return 0;
    case KEY_SIZE: parse_number(state, "--size", value, &network->size); return 0;
    case KEY_THREADS: cli_parse_threads(state, value); return 0;
    case KEY_SEED:
        errno = 0;
        network->seed = strtoull(value, &end, 10);
        if (errno || end == value || *end || *value == '-')
            cli_usage(state, "--seed: expected a whole number from 0, found '%s'", value);
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->network)
            cli_usage(state, "expected one network, found also '%s'", value);
        arguments->network = value;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->network || !arguments->output)
            cli_usage(state, "expected a network (dpu-net or unet) and -o MODEL.onnx, found too few");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int command_create(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "dpu-net|unet",
                                     "Writes a segmentation network with initial weights as ONNX.\v"
                                     "Example: mitral create dpu-net -o student.onnx", 0, 0, 0};
    struct arguments arguments = {0};
    cli_parse(&argp, CLI_MAKES_MODEL, argc, argv, &arguments);
    mitral_context *context = NULL;
    mitral_model *model = NULL;
    mitral_status status = cli_context_create(&context);
    if (status == MITRAL_OK && strcmp(arguments.network, "dpu-net") == 0)
        status = mitral_create_dpu_net(&model, context, &arguments.options);
    else if (status == MITRAL_OK && strcmp(arguments.network, "unet") == 0)
        status = mitral_create_unet(&model, context, &arguments.options);
    else if (status == MITRAL_OK) {
        mitral_context_destroy(&context);
        return cli_error("create", "expected dpu-net or unet, found '%s'", arguments.network);
    }
    if (status == MITRAL_OK)
        status = mitral_model_save(context, model, arguments.output);
    int code = status == MITRAL_OK ? 0 : cli_fail("create", context, status);
    mitral_model_destroy(&model);
    mitral_context_destroy(&context);
    return code;
}
