/* What the subcommands share. Each is one file, thin over the public headers. */
#ifndef MITRAL_CLI_COMMAND_H
#define MITRAL_CLI_COMMAND_H

#include <stdio.h>

#include "mitral.h"

int command_compile(int argc, char **argv);
int command_run(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_conformance(int argc, char **argv);
int command_create(int argc, char **argv);
int command_phantom(int argc, char **argv);
int command_segment(int argc, char **argv);
int command_evaluate(int argc, char **argv);
int command_train(int argc, char **argv);
int command_distill(int argc, char **argv);
int command_optimize(int argc, char **argv);
int command_report(int argc, char **argv);

/* Exit codes: 0 success, 1 failure, 2 unsupported (a model that nothing here can run). Wrong usage is 64, as argp's. */
int cli_exit_code(mitral_status status);
double cli_peak_memory(void); /* of this process so far, in MiB */
/* "mitral COMMAND: message" on standard error; returns the exit code. */
int cli_fail(const char *command, const mitral_context *context, mitral_status status);
int cli_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3))); /* returns 1 */

/* cli_error of the command whose line cli_parse has read, for what commands share; returns MITRAL_INVALID. */
mitral_status cli_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The limits that the command line gave (cli/limits.c); all else is left at its default. */
mitral_context_options cli_context_options(void);
/* A context with the operators that the command line gave (cli/operators.c); there, for its message, when they cannot be loaded. */
mitral_status cli_context_open(mitral_context **out, const mitral_context_options *options);
/* The same of these limits whose log lines go to standard error. */
mitral_status cli_context_create(mitral_context **out);
/* A plan from a file: a plan is opened, an ONNX model compiled with `options` (NULL: defaults). By content, not by name. */
mitral_status cli_open_plan(mitral_plan **out, mitral_context *context, const char *path, const mitral_compile_options *options);
bool cli_is_plan(const char *path);
/* Refuses what only a compiler can heed where there is nothing to compile. */
mitral_status cli_check_plan_options(const char *path, const mitral_compile_options *options);

/* Sees to it that threads which wait leave their cores soon, unless the environment says how they are to wait. May start the program anew. */
void cli_wait_briefly(char **argv);

/* What a command has to do with models: it has the options of those, beside its own. */
enum cli_models {
    CLI_NO_MODEL,
    CLI_MAKES_MODEL, /* whose weights' size has a limit */
    CLI_LOADS_MODEL, /* a plan, too: all limits, and operators of one's own */
};
/* argp_parse, but errors are one line, "mitral COMMAND: …", and end the program with exit code 64. */
struct argp;
struct argp_state;
extern const struct argp cli_limits, cli_tensor_limit, cli_operators; /* for cli_parse */
void cli_parse(const struct argp *argp, enum cli_models models, int argc, char **argv, void *input);
/* Such an error, in place of argp_error: what was expected, what was found. */
void cli_usage(const struct argp_state *state, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

/* "NAME=1x3x224x224" into shape (name points into a copy that lives as long as the process); false when malformed. */
bool cli_parse_shape(const char *text, mitral_shape *shape);
/* A whole positive number; false when malformed. */
bool cli_parse_count(const char *text, long *out);
/* A number of threads, 1 to 4096; ends the program with a usage error otherwise. */
int cli_parse_threads(struct argp_state *state, const char *text);
/* f32 or bf16; ends the program with a usage error otherwise. */
mitral_precision cli_parse_precision(struct argp_state *state, const char *text);

#endif
