#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/training.h"
#include "mitral/train.h"

enum { KEY_CONFIG = 256, KEY_OPTION = 512, MAX_OPTIONS = 128, MAX_SETTINGS = 256 };

struct setting {
    const char *name, *value;
};

/* Flags in their order; they are applied after the configuration file, wherever it stands. */
struct arguments {
    const char *command, *config;
    bool teacher;
    struct setting settings[MAX_SETTINGS];
    size_t count;
    size_t rows[MAX_OPTIONS]; /* [key - KEY_OPTION]: index of the option */
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    struct setting setting = {.value = value};
    if (key == KEY_CONFIG) {
        arguments->config = value;
        return 0;
    }
    if (key == 'o')
        setting.name = "output";
    else if (key >= KEY_OPTION && key < KEY_OPTION + MAX_OPTIONS)
        setting.name = mitral_training_option_at(arguments->rows[key - KEY_OPTION])->name;
    else if (key == ARGP_KEY_ARG)
        cli_usage(state, "expected options only, found '%s'", value);
    else
        return ARGP_ERR_UNKNOWN;
    if (arguments->count == MAX_SETTINGS)
        cli_usage(state, "expected at most %d options", MAX_SETTINGS);
    arguments->settings[arguments->count++] = setting;
    return 0;
}

/* The student is called a model where there is no teacher. */
static void list_options(struct arguments *arguments, struct argp_option *out)
{
    size_t count = 0;
    const mitral_training_option *option;
    out[count++] = (struct argp_option){.name = "config", .key = KEY_CONFIG, .arg = "FILE", .doc = "a JSON object of these options; flags win over it"};
    for (size_t i = 0; (option = mitral_training_option_at(i)) && count + 1 < MAX_OPTIONS; i++) {
        if (option->distillation && !arguments->teacher)
            continue;
        const bool output = strcmp(option->name, "output") == 0, student = strcmp(option->name, "student") == 0 && !arguments->teacher;
        const int key = output ? 'o' : KEY_OPTION + (int)count;
        const bool is_switch = !option->argument; /* which a configuration may have set, and a flag takes back */
        arguments->rows[count] = i;
        const char *argument = student ? "M.onnx" : is_switch ? "true|false" : option->argument;
        out[count++] = (struct argp_option){.name = student ? "model" : option->name, .key = key, .arg = argument,
                                            .flags = is_switch ? OPTION_ARG_OPTIONAL : 0, .doc = option->help};
    }
    out[count] = (struct argp_option){0};
}

/* ---- the terminal ---------------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static bool was_interrupted(void *user)
{
    (void)user;
    return interrupted != 0;
}

struct terminal {
    bool live;        /* a terminal: the progress line is drawn over itself */
    bool drawn;
    double last;
    char line[1024];  /* the newest, where it was not printed */
};

static void clear_line(struct terminal *terminal)
{
    if (terminal->drawn)
        fputs("\r\033[K", stderr);
    terminal->drawn = false;
}

/* A line that wraps could not be drawn over. */
static int visible_width(const char *line)
{
    struct winsize size;
    const int length = (int)strlen(line);
    const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    return known && length >= size.ws_col ? size.ws_col - 1 : length;
}

static void show_progress(void *user, const char *line)
{
    struct terminal *terminal = user;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    const double now = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
    snprintf(terminal->line, sizeof terminal->line, "%s", line);
    if (now - terminal->last < (terminal->live ? 0.1 : 10) && terminal->last > 0)
        return;
    terminal->last = now;
    if (terminal->live) {
        clear_line(terminal);
        fprintf(stderr, "%.*s", visible_width(line), line);
        fflush(stderr);
        terminal->drawn = true;
    } else {
        fprintf(stderr, "%s\n", line);
    }
    terminal->line[0] = 0;
}

static void show_log(void *user, const char *line)
{
    clear_line(user);
    fprintf(stderr, "%s\n", line);
}

static mitral_status apply(mitral_training *training, const struct arguments *arguments)
{
    mitral_status status = MITRAL_OK;
    if (arguments->config)
        status = mitral_training_read(training, arguments->config);
    for (size_t i = 0; i < arguments->count && status == MITRAL_OK; i++)
        status = mitral_training_set(training, arguments->settings[i].name, arguments->settings[i].value);
    return status;
}

int cli_training(int argc, char **argv, const char *command, const char *documentation, bool teacher)
{
    struct arguments arguments = {.command = command, .teacher = teacher};
    struct argp_option list[MAX_OPTIONS];
    list_options(&arguments, list);
    const struct argp argp = {list, parse, NULL, documentation, 0, 0, 0};
    cli_parse(&argp, CLI_LOADS_MODEL, argc, argv, &arguments);

    struct terminal terminal = {.live = isatty(STDERR_FILENO)};
    mitral_context_options options = cli_context_options();
    options.log = show_log;
    options.progress = show_progress;
    options.cancel = was_interrupted;
    options.user = &terminal;
    mitral_context *context = NULL;
    mitral_training *training = NULL;
    mitral_training_result result;
    mitral_status status = cli_context_open(&context, &options);
    if (status == MITRAL_OK)
        status = mitral_training_create(&training, context);
    if (status == MITRAL_OK)
        status = apply(training, &arguments);
    if (status == MITRAL_OK && teacher != (*mitral_training_get(training, "teacher") != 0)) {
        mitral_training_destroy(&training);
        mitral_context_destroy(&context);
        return cli_error(command, teacher ? "--teacher: expected a network to learn from, found none"
                                          : "--config: expected no teacher, found one; mitral distill learns from it");
    }
    /* A second signal ends the process at once, as usual. */
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (status == MITRAL_OK)
        status = mitral_training_run(training, &result);
    clear_line(&terminal);
    int code = 0;
    if (status == MITRAL_OK) {
        if (*terminal.line)
            fprintf(stderr, "%s\n", terminal.line);
        printf("%s: %lld steps, loss %.4f", mitral_training_get(training, "output"), (long long)result.steps, result.loss);
        if (result.best_step >= 0)
            printf(", validation Dice %.2f %% (best %.2f %% at step %lld); holds the weights of step %lld", 100 * result.dice,
                   100 * result.best_dice, (long long)result.best_step, (long long)result.kept_step);
        putchar('\n');
    } else {
        code = cli_fail(command, context, status);
        if (status == MITRAL_CANCELLED)
            code = 130; /* as the shell has it for an interrupt */
    }
    mitral_training_destroy(&training);
    mitral_context_destroy(&context);
    return code;
}

int command_train(int argc, char **argv)
{
    return cli_training(argc, argv, "train",
                        "Trains a segmentation network that is an ONNX file and writes it under its own names.\v"
                        "Example: mitral train --model unet.onnx --data acdc --steps 2000 --checkpoint run -o teacher.onnx", false);
}
