#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/command.h"

int cli_exit_code(mitral_status status)
{
    return status == MITRAL_OK ? 0 : status == MITRAL_UNSUPPORTED ? 2 : 1;
}

int cli_fail(const char *command, const mitral_context *context, mitral_status status)
{
    const char *message = mitral_context_message(context);
    fprintf(stderr, "mitral %s: %s\n", command, *message ? message : mitral_status_name(status));
    return cli_exit_code(status);
}

static void print_error(const char *who, const char *format, va_list arguments)
{
    fprintf(stderr, "%s: ", who);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

int cli_error(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("mitral ", stderr);
    print_error(command, format, arguments);
    va_end(arguments);
    return 1;
}

static char command_name[64] = "mitral"; /* a process parses one command line */

mitral_status cli_refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_error(command_name, format, arguments);
    va_end(arguments);
    return MITRAL_INVALID;
}

static void print_line(void *user, const char *line)
{
    (void)user;
    fprintf(stderr, "%s\n", line);
}

mitral_status cli_context_create(mitral_context **out)
{
    mitral_context_options options = cli_context_options();
    options.log = print_line;
    return cli_context_open(out, &options);
}

bool cli_is_plan(const char *path)
{
    char magic[8] = "";
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe that nobody writes to is not waited for */
    if (file < 0)
        return false;
    const ssize_t size = read(file, magic, sizeof magic);
    close(file);
    return size == (ssize_t)sizeof magic && memcmp(magic, "MITRALPL", 8) == 0;
}

mitral_status cli_check_plan_options(const char *path, const mitral_compile_options *options)
{
    const char *option = !options                                        ? NULL
                         : options->interpret                            ? "--interpret"
                         : options->tune                                 ? "--tune"
                         : options->precision != MITRAL_PRECISION_F32    ? "--precision"
                                                                         : NULL;
    return option ? cli_refuse("%s: expected a model for %s, found a plan, which is compiled already", path, option) : MITRAL_OK;
}

mitral_status cli_open_plan(mitral_plan **out, mitral_context *context, const char *path, const mitral_compile_options *options)
{
    if (cli_is_plan(path)) {
        mitral_status allowed = cli_check_plan_options(path, options);
        if (allowed == MITRAL_OK && options && options->shape_count > 0)
            allowed = cli_refuse("%s: expected a model for --shape, found a plan, which is compiled already", path);
        return allowed == MITRAL_OK ? mitral_plan_open(out, context, path) : allowed;
    }
    mitral_model *model = NULL;
    mitral_status status = mitral_model_load(&model, context, path);
    if (status == MITRAL_OK)
        status = mitral_compile(out, context, model, options);
    mitral_model_destroy(&model);
    return status;
}

bool cli_parse_count(const char *text, long *out)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value <= 0)
        return false;
    *out = value;
    return true;
}

int cli_parse_threads(struct argp_state *state, const char *text)
{
    long number;
    if (!cli_parse_count(text, &number) || number > 4096)
        cli_usage(state, "--threads: expected a number from 1 to 4096, found '%s'", text);
    return (int)number;
}

bool cli_parse_shape(const char *text, mitral_shape *shape)
{
    const char *equals = strrchr(text, '='); /* names may hold '=', sizes cannot */
    if (!equals || equals == text)
        return false;
    char *name = strndup(text, (size_t)(equals - text));
    *shape = (mitral_shape){.name = name};
    const char *at = equals + 1;
    if (!name || !*at)
        return name != NULL; /* "NAME=" is a scalar */
    for (;;) {
        char *end;
        errno = 0;
        long long size = strtoll(at, &end, 10);
        if (errno || end == at || size < 0 || shape->rank == MITRAL_MAX_RANK)
            return false;
        shape->dims[shape->rank++] = size;
        if (!*end)
            return true;
        if (*end != 'x' && *end != ',')
            return false;
        at = end + 1;
    }
}

/* ---- the command line ------------------------------------------------------------------------------------------------ */

static const struct argp *parsed; /* a process parses one command line */

void cli_usage(const struct argp_state *state, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", state->name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "; see '%s --help'\n", state->name);
    va_end(arguments);
    exit(64);
}

static error_t parse_one(int key, char *value, struct argp_state *state)
{
    if (key == ARGP_KEY_ERROR)
        cli_usage(state, "expected an option of the command, with its argument where it takes one, found '%s'", state->argv[state->next - 1]);
    error_t error = parsed->parser(key, value, state);
    if (key == ARGP_KEY_ARG && error == ARGP_ERR_UNKNOWN)
        cli_usage(state, "expected no more arguments, found '%s'", value);
    return error;
}

/* An option that may have a file takes it as --option=FILE.json; "--option FILE.json" means the same. One such option of a command, given once. */
static int join_files(const struct argp_option *options, int argc, char **argv)
{
    static char joined[4096 + 64];
    const char *const ending = ".json";
    for (; options->name || options->key; options++)
        for (int i = 1; i + 1 < argc && options->name && options->flags & OPTION_ARG_OPTIONAL; i++) {
            const size_t length = strlen(argv[i + 1]);
            if (strncmp(argv[i], "--", 2) != 0 || strcmp(argv[i] + 2, options->name) != 0 || length < strlen(ending)
                || strcmp(argv[i + 1] + length - strlen(ending), ending) != 0
                || snprintf(joined, sizeof joined, "%s=%s", argv[i], argv[i + 1]) >= (int)sizeof joined)
                continue;
            argv[i] = joined;
            for (int k = i + 1; k < argc; k++)
                argv[k] = argv[k + 1];
            return argc - 1;
        }
    return argc;
}

void cli_parse(const struct argp *argp, enum cli_models models, int argc, char **argv, void *input)
{
    argc = join_files(argp->options, argc, argv);
    bool help = false; /* argp prints help only where it may print its own errors, which are of two lines */
    for (int i = 1; i < argc; i++)
        help = help || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-?") == 0 || strcmp(argv[i], "--usage") == 0;
    snprintf(command_name, sizeof command_name, "mitral %s", argv[0]);
    argv[0] = command_name;
    enum { MOST = 8 };
    struct argp_child children[MOST + 3] = {{0}}; /* the command's own, then what those with models have */
    size_t count = 0;
    while (argp->children && argp->children[count].argp && count < MOST)
        children[count] = argp->children[count], count++;
    if (models == CLI_LOADS_MODEL)
        children[count++] = (struct argp_child){&cli_operators, 0, "Operators that ONNX does not have:", 2};
    if (models != CLI_NO_MODEL)
        children[count] = (struct argp_child){models == CLI_LOADS_MODEL ? &cli_limits : &cli_tensor_limit, 0,
                                              "Limits; what passes one is refused:", 3};
    struct argp one_line = *argp;
    one_line.parser = parse_one;
    one_line.children = children;
    parsed = argp;
    if (argp_parse(&one_line, argc, argv, help ? 0 : ARGP_NO_ERRS, 0, input) != 0)
        exit(64);
}

mitral_precision cli_parse_precision(struct argp_state *state, const char *text)
{
    if (strcmp(text, "f32") != 0 && strcmp(text, "bf16") != 0)
        cli_usage(state, "--precision: expected f32 or bf16, found '%s'", text);
    return strcmp(text, "bf16") == 0 ? MITRAL_PRECISION_BF16 : MITRAL_PRECISION_F32;
}

double cli_peak_memory(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}
