#include "training/options.h"

#include <ctype.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cpu.h"
#include "runtime/file.h"

#define AT(member) offsetof(struct options, member)
/* Which runs have the option, and whether a run that is resumed must agree with it. */
enum { ANY_RUN = false, TAUGHT_RUN = true };
enum { MAY_CHANGE = false, MUST_AGREE = true };
#define ROW(name, argument, help, run, kind, member, low, high, initial, resumed)                                     \
    {{name, argument, help, run}, kind, AT(member), 0, low, high, initial, resumed}
#define SHOWN(help, initial) help " [" initial "]"
/* Empty unless it is given; the help says what that means. */
#define TEXT(name, member, argument, help, run, resumed) ROW(name, argument, help, run, OPTION_PATH, member, 0, 0, "", resumed)
#define TEXT_FROM(name, member, argument, initial, help, run, resumed)                                                \
    ROW(name, argument, SHOWN(help, initial), run, OPTION_PATH, member, 0, 0, initial, resumed)
#define SWITCH(name, member, help, resumed) ROW(name, NULL, help, ANY_RUN, OPTION_SWITCH, member, 0, 0, "false", resumed)
#define INTEGER(name, member, low, high, initial, help, run, resumed)                                                 \
    ROW(name, "N", SHOWN(help, initial), run, OPTION_INTEGER, member, low, high, initial, resumed)
#define REAL(name, member, low, high, initial, help)                                                                  \
    ROW(name, "X", SHOWN(help, initial), ANY_RUN, OPTION_REAL, member, low, high, initial, MUST_AGREE)
#define TEACHER_REAL(name, member, low, high, initial, help)                                                          \
    ROW(name, "X", SHOWN(help, initial), TAUGHT_RUN, OPTION_REAL, member, low, high, initial, MUST_AGREE)
/* None unless they are given; the help says what that means. */
#define REALS(name, member, count, low, high, help, run)                                                              \
    {{name, "X,X,…", help, run}, OPTION_REALS, AT(member), AT(count), low, high, "", MUST_AGREE}
#define CHOICE(name, member, choices, initial, help, run, resumed)                                                    \
    ROW(name, choices, SHOWN(help, initial), run, OPTION_CHOICE, member, 0, 0, initial, resumed)

static const struct option_row rows[] = {
    TEXT("student", student, "S.onnx", "the network to train", ANY_RUN, MAY_CHANGE),
    TEXT("teacher", teacher, "T.onnx", "the network to learn from", TAUGHT_RUN, MAY_CHANGE),
    TEXT("data", data, "DIR", "ACDC's layout, or a folder with dataset.json", ANY_RUN, MAY_CHANGE),
    TEXT("unlabelled", unlabelled, "DIR",
         "scans to learn from the teacher alone: the training images of a folder like data's, label maps are not read [none]", TAUGHT_RUN,
         MAY_CHANGE),
    TEXT("output", output, "OUT.onnx", "the trained network; the configuration goes beside it", ANY_RUN, MAY_CHANGE),
    TEXT("checkpoint", checkpoint, "DIR", "folder of the run: checkpoints, log, configuration, example pictures", ANY_RUN, MAY_CHANGE),
    TEXT("log", log, "FILE.jsonl", "a JSON line a step [log.jsonl in the run's folder]", ANY_RUN, MAY_CHANGE),
    TEXT("cache-teacher", cache_teacher, "DIR",
         "folder for the teacher's outputs, which runs of one data set share; needs no-augmentation [the run's folder]", TAUGHT_RUN, MAY_CHANGE),
    INTEGER("cache-limit", cache_limit, 0, 1e9, "2048", "largest size of the teacher's cached outputs, MB; 0: none in the run's folder",
            TAUGHT_RUN, MAY_CHANGE),
    SWITCH("resume", resume, "go on from the checkpoint, or start when there is none", MAY_CHANGE),
    INTEGER("steps", steps, 1, 1e12, "1000", "updates of the weights", ANY_RUN, MUST_AGREE),
    INTEGER("batch", batch, 1, 4096, "8", "images a step", ANY_RUN, MUST_AGREE),
    INTEGER("accumulate", accumulate, 1, 4096, "1", "batches whose gradients make one update", ANY_RUN, MUST_AGREE),
    INTEGER("seed", seed, 0, 9e15, "0", "of sampling, augmentation and adapters", ANY_RUN, MUST_AGREE),
    INTEGER("threads", threads, 0, 1024, "0", "0: all cores; the result does not depend on it", ANY_RUN, MAY_CHANGE),
    INTEGER("checkpoint-every", checkpoint_every, 0, 1e12, "50", "steps between checkpoints; 0: only at the end", ANY_RUN, MAY_CHANGE),
    INTEGER("validate-every", validate_every, 0, 1e12, "0", "steps between validations; 0: once every tenth of the run", ANY_RUN, MUST_AGREE),
    REAL("validation", validation, 0, 0.9, "0.2", "share of the training patients that is held back to validate on; 0: none"),
    TEACHER_REAL("unlabelled-share", unlabelled_share, 0, 1, "0.5", "part of each batch that comes from unlabelled; of both kinds a slice at least"),
    INTEGER("patience", patience, 0, 1e6, "0", "validations without a better Dice after which training stops; 0: never", ANY_RUN, MUST_AGREE),
    CHOICE("keep", keep, "best|last", "best", "which weights are written: of the best validation Dice, or of the last step", ANY_RUN, MAY_CHANGE),
    CHOICE("optimizer", optimizer, "sgd|adam|adamw", "sgd", "how gradients become updates", ANY_RUN, MUST_AGREE),
    REAL("lr", rate, 0, 1e38, "0.01", "learning rate"),
    REAL("momentum", momentum, 0, 1, "0.9", "sgd"),
    SWITCH("nesterov", nesterov, "sgd: look ahead", MUST_AGREE),
    REAL("weight-decay", weight_decay, 0, 1e6, "0.0001", "not on norms and biases"),
    SWITCH("decay-all", decay_all, "weight decay on norms and biases too", MUST_AGREE),
    REAL("beta1", beta1, 0, 1, "0.9", "adam"),
    REAL("beta2", beta2, 0, 1, "0.999", "adam"),
    REAL("epsilon", epsilon, 0, 1, "1e-08", "adam"),
    REAL("clip", clip, 0, 1e12, "0", "largest norm of all gradients together; 0: none"),
    REAL("ema", ema, 0, 0.999999, "0", "decay of a running mean of the weights, which is then validated and written; 0: none"),
    CHOICE("schedule", schedule, "constant|step|poly|cosine", "poly", "of the learning rate", ANY_RUN, MUST_AGREE),
    INTEGER("warmup", warmup, 0, 1e12, "0", "steps over which the learning rate rises from 0", ANY_RUN, MUST_AGREE),
    INTEGER("step-size", step_size, 1, 1e12, "1000", "step schedule: steps between decays", ANY_RUN, MUST_AGREE),
    REAL("lr-gamma", gamma, 0, 1, "0.1", "step schedule: factor of a decay"),
    REAL("power", power, 0, 100, "0.9", "poly schedule: exponent"),
    REAL("final-lr", final_rate, 0, 1e6, "0", "poly and cosine schedule: learning rate at the end"),
    CHOICE("memory", memory, "normal|low", "low",
           "low: compute cheap values again in the backward half instead of keeping them; the same results", ANY_RUN, MAY_CHANGE),
    CHOICE("precision", precision, "f32|bf16", "f32",
           "bf16: operands of convolutions and of their gradients are rounded to bfloat16 where that is faster; needs AMX", ANY_RUN, MUST_AGREE),
    SWITCH("freeze-norm", freeze_norm, "batch norms keep their running statistics", MUST_AGREE),
    REAL("cross-entropy", cross_entropy, 0, 1e6, "1", "weight of the cross-entropy"),
    REAL("dice", dice, 0, 1e6, "1", "weight of the soft Dice loss"),
    TEXT("deep-supervision", deep, "auto|VALUE,…",
         "maps of the network that also learn the labels, through heads that are not exported [none]", ANY_RUN, MUST_AGREE),
    REAL("deep-weight", deep_weight, 0, 1e6, "0.4", "weight of deep supervision, all maps together; each coarser one counts half"),
    REALS("class-weights", class_weights, class_weight_count, 0, 1e6, "of the cross-entropy, background first [all 1]", ANY_RUN),
    CHOICE("method", method, "none|logits|fitnet|cwd|at|mavkd", "mavkd", "what is learnt from the teacher", TAUGHT_RUN, MUST_AGREE),
    TEXT_FROM("taps", taps, "auto|STUDENT=TEACHER,…", "auto", "values whose maps are compared", TAUGHT_RUN, MUST_AGREE),
    TEACHER_REAL("logits", logits, 0, 1e6, "0.1", "weight of the logits' divergence (0 leaves it out)"),
    TEACHER_REAL("temperature", temperature, 1e-3, 1e3, "4", "of all soft-max distributions"),
    TEACHER_REAL("feature", feature, 0, 1e6, "1", "fitnet, cwd, at: weight of the method's term"),
    TEACHER_REAL("vector", vector, 0, 1e6, "1", "mavkd: weight of the pooled vectors' distance"),
    TEACHER_REAL("map", map, 0, 1e6, "1", "mavkd: weight of the guided maps' divergence"),
    TEACHER_REAL("guide-temperature", guide_temperature, 1e-3, 1e3, "1", "mavkd: of the guiding vector"),
    REALS("scale-weights", scale_weights, scale_weight_count, 0, 1e6, "of the taps, in their order [all one part]", TAUGHT_RUN),
    SWITCH("no-augmentation", no_augmentation, "slices as they are", MUST_AGREE),
    REAL("flip", flip, 0, 1, "0.5", "probability of mirroring, each axis"),
    REAL("rotation", rotation, 0, 180, "20", "largest angle, degrees"),
    REAL("scale-min", scale_min, 0.1, 10, "0.7", "smallest size"),
    REAL("scale-max", scale_max, 0.1, 10, "1.4", "largest size"),
    REAL("gamma-min", gamma_min, 0.1, 10, "0.7", "contrast"),
    REAL("gamma-max", gamma_max, 0.1, 10, "1.5", "contrast"),
};

const struct option_row *option_row_at(size_t index)
{
    return index < sizeof rows / sizeof *rows ? &rows[index] : NULL;
}

const mitral_training_option *mitral_training_option_at(size_t index)
{
    const struct option_row *row = option_row_at(index);
    return row ? &row->public : NULL;
}

static const struct option_row *find_row(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].public.name, name) == 0)
            return &rows[i];
    return NULL;
}

static mitral_status parse_real(mitral_context *context, const struct option_row *row, const char *text, const char *end_characters,
                                double *out, const char **end)
{
    char *stop;
    const int digits = row->kind == OPTION_INTEGER ? 16 : 6; /* whole numbers in full */
    errno = 0;
    const double number = strtod(text, &stop);
    if (errno || stop == text || (*stop && !strchr(end_characters, *stop)) || !(number >= row->minimum && number <= row->maximum))
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a number from %.*g to %.*g, found '%.60s'", row->public.name, digits,
                           row->minimum, digits, row->maximum, text);
    *out = number;
    *end = stop;
    return MITRAL_OK;
}

/* Position of `value` in "a|b|c"; -1: none. */
static int32_t choice_index(const char *choices, const char *value)
{
    const size_t length = strlen(value);
    int32_t index = 0;
    for (const char *at = choices; at; at = strchr(at, '|'), index++) {
        at += *at == '|';
        if (length == strcspn(at, "|") && strncmp(at, value, length) == 0)
            return index;
    }
    return -1;
}

mitral_status options_set(struct options *options, mitral_context *context, const char *name, const char *value)
{
    const struct option_row *row = find_row(name);
    const char *end;
    if (!row)
        return mitral_fail(context, MITRAL_INVALID, "expected the name of an option, found '%.60s'", name);
    void *at = (char *)options + row->offset;
    if (row->kind == OPTION_SWITCH) {
        *(bool *)at = !value || strcmp(value, "true") == 0;
        if (value && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
            return mitral_fail(context, MITRAL_INVALID, "%s: expected true or false, found '%.60s'", name, value);
        return MITRAL_OK;
    }
    if (!value)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a value, found none", name);
    double number;
    switch (row->kind) {
    case OPTION_PATH:
        if (strlen(value) >= PATH_SIZE)
            return mitral_fail(context, MITRAL_INVALID, "%s: expected at most %d characters, found %zu", name, PATH_SIZE - 1, strlen(value));
        memcpy(at, value, strlen(value) + 1);
        return MITRAL_OK;
    case OPTION_INTEGER:
        TRY(parse_real(context, row, value, "", &number, &end));
        if (number != floor(number))
            return mitral_fail(context, MITRAL_INVALID, "%s: expected a whole number, found '%.60s'", name, value);
        *(int64_t *)at = (int64_t)number;
        return MITRAL_OK;
    case OPTION_REAL:
        return parse_real(context, row, value, "", at, &end);
    case OPTION_CHOICE: {
        const int32_t index = choice_index(row->public.argument, value);
        if (index < 0)
            return mitral_fail(context, MITRAL_INVALID, "%s: expected %s, found '%.60s'", name, row->public.argument, value);
        *(int32_t *)at = index;
        return MITRAL_OK;
    }
    default: {
        int64_t count = 0;
        for (end = value; *end; end += *end == ',') {
            if (count == MAX_CLASS_WEIGHTS)
                return mitral_fail(context, MITRAL_INVALID, "%s: expected at most %d numbers", name, MAX_CLASS_WEIGHTS);
            TRY(parse_real(context, row, end, ",", &((double *)at)[count++], &end));
        }
        *(int64_t *)(void *)((char *)options + row->count_offset) = count;
        return MITRAL_OK;
    }
    }
}

mitral_status options_initialise(struct options *options, mitral_context *context)
{
    memset(options, 0, sizeof *options);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        TRY(options_set(options, context, rows[i].public.name, rows[i].initial));
    return MITRAL_OK;
}

/* Numbers in the fewest digits that read back as the same number. */
static void real_text(double number, char *text, size_t size)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            return;
    }
}

const char *option_text(const struct options *options, const struct option_row *row, char *text, size_t size)
{
    const void *at = (const char *)options + row->offset;
    *text = 0;
    switch (row->kind) {
    case OPTION_PATH:
        snprintf(text, size, "%s", (const char *)at);
        break;
    case OPTION_SWITCH:
        snprintf(text, size, "%s", *(const bool *)at ? "true" : "false");
        break;
    case OPTION_INTEGER:
        snprintf(text, size, "%lld", (long long)*(const int64_t *)at);
        break;
    case OPTION_REAL:
        real_text(*(const double *)at, text, size);
        break;
    case OPTION_CHOICE: {
        const char *choice = row->public.argument;
        for (int32_t i = *(const int32_t *)at; i > 0 && choice; i--)
            choice = strchr(choice, '|') ? strchr(choice, '|') + 1 : NULL;
        if (choice)
            snprintf(text, size, "%.*s", (int)strcspn(choice, "|"), choice);
        break;
    }
    default: {
        const int64_t count = *(const int64_t *)(const void *)((const char *)options + row->count_offset);
        size_t used = 0;
        for (int64_t i = 0; i < count && used + 32 < size; i++) {
            if (i)
                text[used++] = ',';
            real_text(((const double *)at)[i], text + used, size - used);
            used += strlen(text + used);
        }
    }
    }
    return text;
}

/* ---- JSON --------------------------------------------------------------------------------------------------------------- */

static mitral_status set_from_json(struct options *options, mitral_context *context, const cJSON *item)
{
    char text[PATH_SIZE];
    size_t used = 0;
    if (cJSON_IsString(item)) /* `mitral train` calls the student a model */
        return options_set(options, context, strcmp(item->string, "model") == 0 ? "student" : item->string, item->valuestring);
    const struct option_row *row = find_row(item->string);
    if (row && row->kind == OPTION_PATH)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a text, found something else", row->public.name);
    if (cJSON_IsBool(item))
        return options_set(options, context, item->string, cJSON_IsTrue(item) ? "true" : "false");
    if (cJSON_IsNumber(item)) {
        real_text(item->valuedouble, text, sizeof text);
        return options_set(options, context, item->string, text);
    }
    if (!cJSON_IsArray(item))
        return mitral_fail(context, MITRAL_INVALID, "%.60s: expected a text, a number, true, false or a list of numbers", item->string);
    *text = 0;
    const cJSON *element;
    cJSON_ArrayForEach(element, item) {
        if (!cJSON_IsNumber(element) || used + 40 > sizeof text)
            return mitral_fail(context, MITRAL_INVALID, "%.60s: expected a list of numbers", item->string);
        if (used)
            text[used++] = ',';
        real_text(element->valuedouble, text + used, sizeof text - used);
        used += strlen(text + used);
    }
    return options_set(options, context, item->string, text);
}

mitral_status options_read(struct options *options, mitral_context *context, const char *path)
{
    struct file_mapping file;
    mitral_status status = MITRAL_OK;
    TRY(file_map(&file, context, path));
    if (file.size > 1 << 20) {
        file_unmap(&file);
        return mitral_fail(context, MITRAL_LIMIT, "%s: expected a configuration of at most 1 MiB", path);
    }
    const char *text = file.data, *end = text;
    cJSON *root = cJSON_ParseWithLengthOpts(text, file.size, &end, false);
    if (!cJSON_IsObject(root))
        status = mitral_fail(context, MITRAL_INVALID, "%s: expected a JSON object of options", path);
    while (root && end < text + file.size && isspace((unsigned char)*end))
        end++;
    if (status == MITRAL_OK && end < text + file.size) /* what stands there would be left out unseen */
        status = mitral_fail(context, MITRAL_INVALID, "%s: expected nothing behind the object of options, found something at byte %lld", path,
                             (long long)(end - text));
    for (const cJSON *item = root ? root->child : NULL; item && status == MITRAL_OK; item = item->next) {
        status = set_from_json(options, context, item);
        if (status != MITRAL_OK)
            mitral_fail_prefix(context, status, "%s: ", path);
    }
    cJSON_Delete(root);
    file_unmap(&file);
    return status;
}

mitral_status options_json(char **out, mitral_context *context, const struct options *options, bool identity_only)
{
    char text[PATH_SIZE];
    *out = NULL;
    cJSON *root = cJSON_CreateObject();
    bool made = root != NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && made; i++) {
        if (identity_only && !rows[i].identity)
            continue;
        option_text(options, &rows[i], text, sizeof text);
        if (rows[i].kind == OPTION_SWITCH)
            made = cJSON_AddBoolToObject(root, rows[i].public.name, strcmp(text, "true") == 0) != NULL;
        else if (rows[i].kind == OPTION_INTEGER || rows[i].kind == OPTION_REAL)
            made = cJSON_AddRawToObject(root, rows[i].public.name, text) != NULL;
        else
            made = cJSON_AddStringToObject(root, rows[i].public.name, text) != NULL;
    }
    char *printed = made ? cJSON_Print(root) : NULL;
    if (printed && (*out = mitral_allocate(context, strlen(printed) + 2))) {
        strcpy(*out, printed);
        strcat(*out, "\n");
    }
    cJSON_free(printed);
    cJSON_Delete(root);
    return *out ? MITRAL_OK : mitral_fail(context, MITRAL_NO_MEMORY, "no memory for the configuration");
}

/* ---- contradictions ----------------------------------------------------------------------------------------------------- */

mitral_status options_check(const struct options *options, mitral_context *context, bool timing)
{
    const struct { const char *value, *name; } needed[] = {
        {options->student, "student"}, {timing ? "-" : options->data, "data"}, {timing ? "-" : options->output, "output"}};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!*needed[i].value)
            return mitral_fail(context, MITRAL_INVALID, "%s: expected a value, found none", needed[i].name);
    const char *ending = strrchr(options->output, '.');
    if (!timing && ending && strcmp(ending, ".json") == 0)
        return mitral_fail(context, MITRAL_INVALID, "output: expected the name of a network, found '%s', which the configuration beside it would take",
                           options->output);
    if (options->resume && !*options->checkpoint)
        return mitral_fail(context, MITRAL_INVALID, "resume: expected a folder for checkpoints (checkpoint), found none");
    if (*options->cache_teacher && !options->no_augmentation)
        return mitral_fail(context, MITRAL_INVALID, "cache-teacher: expected no-augmentation, found augmented slices, whose outputs differ each time");
    if (*options->unlabelled && (options->method == METHOD_NONE || !*options->teacher))
        return mitral_fail(context, MITRAL_INVALID, "unlabelled: expected a teacher and a method that learns from it, found method none");
    if (*options->unlabelled && !timing && options->batch < 2)
        return mitral_fail(context, MITRAL_INVALID, "unlabelled: expected a batch of 2 or more, so that some slices have labels, found 1");
    if (*options->deep && (options->deep_weight == 0 || (options->cross_entropy == 0 && options->dice == 0)))
        return mitral_fail(context, MITRAL_INVALID, "deep-supervision: expected a deep-weight and a cross-entropy or dice above 0, found none");
    if (options->cross_entropy == 0 && options->dice == 0 && (options->method == METHOD_NONE || !*options->teacher))
        return mitral_fail(context, MITRAL_INVALID, "cross-entropy and dice: expected a loss of weight above 0, found none");
    if (options->precision == MITRAL_PRECISION_BF16 && cpu_isa() != ISA_AMX)
        return mitral_fail(context, MITRAL_UNSUPPORTED, "precision: expected f32 on a CPU (or with a MITRAL_ISA) without AMX, found bf16, which would be slower there");
    const struct { double value; const char *name; } decays[] = {{options->beta1, "beta1"}, {options->beta2, "beta2"}};
    for (size_t i = 0; i < sizeof decays / sizeof *decays && options->optimizer != OPTIMIZER_SGD; i++)
        if (decays[i].value >= 1) /* what is divided by 1 less its power */
            return mitral_fail(context, MITRAL_INVALID, "%s: expected a number below 1 for %s, found 1", decays[i].name,
                               options->optimizer == OPTIMIZER_ADAM ? "adam" : "adamw");
    if (options->scale_min > options->scale_max || options->gamma_min > options->gamma_max)
        return mitral_fail(context, MITRAL_INVALID, "augmentation: expected a minimum below its maximum");
    if (options->warmup >= options->steps)
        return mitral_fail(context, MITRAL_INVALID, "warmup: expected fewer steps than the run has (%lld), found %lld",
                           (long long)options->steps, (long long)options->warmup);
    return MITRAL_OK;
}
