#include <string.h>

#include "cli/command.h"

static const struct {
    const char *name;
    int (*function)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"compile", command_compile, "compile an ONNX model to a plan"},
    {"run", command_run, "run a model or a plan on .npy or .pb inputs"},
    {"inspect", command_inspect, "show what a model or a plan holds"},
    {"bench", command_bench, "time a model or a plan"},
    {"optimize", command_optimize, "write a smaller ONNX model that computes the same"},
    {"create", command_create, "write DPU-Net or the teacher U-Net as ONNX"},
    {"phantom", command_phantom, "write made-up heart scans in ACDC's layout"},
    {"segment", command_segment, "segment a NIfTI scan"},
    {"train", command_train, "train a network on labelled scans"},
    {"distill", command_distill, "train a light network under the guidance of a large one"},
    {"evaluate", command_evaluate, "measure a network on labelled scans"},
    {"report", command_report, "write a training run as one page"},
    {"conformance", command_conformance, "score the cases of ONNX's backend suite"},
};

static void print_help(FILE *out)
{
    fputs("Usage: mitral COMMAND [OPTION...]\n\n"
          "Compiles ONNX models into execution plans for CPUs, runs them, and distils a large network into a light one.\n\n",
          out);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
    fputs("\n'mitral COMMAND --help' explains a command, with an example. 'mitral --version' tells the version.\n", out);
}

/* What was printed may still wait to be written, and the disk be full. */
static int after_printing(int code)
{
    const bool failed = ferror(stdout) != 0;
    if ((fflush(stdout) == 0 && !failed) || code != 0)
        return code;
    fputs("mitral: expected a standard output that can be written, found one that cannot\n", stderr);
    return cli_exit_code(MITRAL_IO);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("mitral: expected a command, found none; 'mitral --help' lists them\n", stderr);
        return 64;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return after_printing(0);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("mitral %s\n", mitral_version());
        return after_printing(0);
    }
    cli_wait_briefly(argv);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return after_printing(commands[i].function(argc - 1, argv + 1));
    fprintf(stderr, "mitral: expected a command, found '%s'; 'mitral --help' lists them\n", argv[1]);
    return 64;
}
