/* An evaluation as a table, JSON and CSV. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cli/evaluate.h"

enum { PHASES = 3 };

const mitral_overlap *evaluation_overlap(const struct evaluation *evaluation, size_t index, int32_t label)
{
    return &evaluation->overlaps[index * (size_t)evaluation->dataset->class_count + (size_t)label];
}

double evaluation_score(const struct evaluation *evaluation, size_t index)
{
    double sum = 0;
    int count = 0;
    for (int32_t label = 1; label < evaluation->dataset->class_count; label++) {
        const mitral_overlap *overlap = evaluation_overlap(evaluation, index, label);
        if (!overlap->in_prediction && !overlap->in_reference)
            continue;
        sum += overlap->in_prediction && overlap->in_reference ? overlap->dice : 0;
        count++;
    }
    return count ? sum / count : NAN;
}

/* One structure in one phase over all patients. */
struct row {
    size_t volumes, missing_in_prediction, missing_in_reference, absent;
    mitral_summary dice, hausdorff, hausdorff95;
    mitral_agreement volume;
};

/* values: room for five times the number of cases. */
static struct row make_row(const struct evaluation *evaluation, int32_t label, int phase, double *values)
{
    struct row row = {0};
    size_t count = evaluation->dataset->count;
    double *dice = values, *hausdorff = dice + count, *hausdorff95 = hausdorff + count, *predicted = hausdorff95 + count;
    double *reference = predicted + count;
    for (size_t i = 0; i < count; i++) {
        if (phase >= 0 && (int)evaluation->dataset->cases[i].phase != phase)
            continue;
        const mitral_overlap *overlap = evaluation_overlap(evaluation, i, label);
        row.missing_in_prediction += overlap->in_reference && !overlap->in_prediction;
        row.missing_in_reference += overlap->in_prediction && !overlap->in_reference;
        row.absent += !overlap->in_prediction && !overlap->in_reference;
        dice[row.volumes] = overlap->dice;
        hausdorff[row.volumes] = overlap->hausdorff_mm;
        hausdorff95[row.volumes] = overlap->hausdorff95_mm;
        predicted[row.volumes] = overlap->prediction_ml;
        reference[row.volumes++] = overlap->reference_ml;
    }
    row.dice = mitral_summarise(dice, row.volumes);
    row.hausdorff = mitral_summarise(hausdorff, row.volumes);
    row.hausdorff95 = mitral_summarise(hausdorff95, row.volumes);
    row.volume = mitral_agree(predicted, reference, row.volumes);
    return row;
}

/* Ejection fractions of the patients who have both phases. values: room for two times the number of cases. */
static mitral_agreement ejection_agreement(const struct evaluation *evaluation, int32_t label, double *values)
{
    const mitral_dataset *dataset = evaluation->dataset;
    double *predicted = values, *reference = values + dataset->count;
    size_t patients = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        if (dataset->cases[i].phase != MITRAL_PHASE_ED)
            continue;
        for (size_t j = 0; j < dataset->count; j++) {
            if (dataset->cases[j].phase != MITRAL_PHASE_ES || strcmp(dataset->cases[i].patient, dataset->cases[j].patient) != 0)
                continue;
            const mitral_overlap *ed = evaluation_overlap(evaluation, i, label), *es = evaluation_overlap(evaluation, j, label);
            /* A ventricle that was not found has no ejection fraction. */
            bool found = ed->in_prediction && es->in_prediction;
            predicted[patients] = found ? mitral_ejection_fraction(ed->prediction_ml, es->prediction_ml) : NAN;
            reference[patients++] = mitral_ejection_fraction(ed->reference_ml, es->reference_ml);
            break;
        }
    }
    return mitral_agree(predicted, reference, patients);
}

static bool is_ventricle(const char *name)
{
    return strcmp(name, "LV") == 0 || strcmp(name, "RV") == 0;
}

static double *make_room(const struct evaluation *evaluation)
{
    return malloc((5 * evaluation->dataset->count + 1) * sizeof(double));
}

/* ---- table --------------------------------------------------------------------------------------------------------- */

static void print_summary(FILE *out, const mitral_summary *summary, int decimals)
{
    if (summary->count == 0)
        fprintf(out, "  %15s", "-");
    else
        fprintf(out, "  %7.*f +- %4.*f", decimals, summary->mean, decimals, summary->deviation);
}

static void print_row(FILE *out, const char *name, const char *phase, const struct row *row)
{
    fprintf(out, "%-12.12s %-5s %4zu", name, phase, row->dice.count);
    print_summary(out, &row->dice, 3);
    print_summary(out, &row->hausdorff, 1);
    print_summary(out, &row->hausdorff95, 1);
    fprintf(out, "  %9zu  %9zu\n", row->missing_in_prediction, row->missing_in_reference);
}

static void print_agreement(FILE *out, const char *name, const char *what, const char *unit, const mitral_agreement *agreement)
{
    if (agreement->count == 0)
        return;
    fprintf(out, "%-12.12s %-18s %4zu  %+8.1f %s", name, what, agreement->count, agreement->bias, unit);
    if (agreement->count > 1)
        fprintf(out, "  %+8.1f to %+.1f %s", agreement->lower, agreement->upper, unit);
    if (!isnan(agreement->correlation))
        fprintf(out, "   r %.3f", agreement->correlation);
    fputc('\n', out);
}

void evaluation_print(const struct evaluation *evaluation, FILE *out)
{
    const mitral_dataset *dataset = evaluation->dataset;
    double *values = make_room(evaluation);
    if (!values)
        return;
    fprintf(out, "%s on %s, %s: %zu volume%s\n\n", evaluation->model, dataset->name, evaluation->split, dataset->count,
            dataset->count == 1 ? "" : "s");
    fprintf(out, "%-12s %-5s %4s  %15s  %15s  %15s  %9s  %9s\n", "structure", "phase", "n", "Dice", "Hausdorff mm", "HD95 mm",
            "not found", "not there");
    for (int32_t label = 1; label < dataset->class_count; label++) {
        for (int phase = 0; phase < PHASES; phase++) {
            struct row row = make_row(evaluation, label, phase, values);
            if (row.volumes > 0)
                print_row(out, dataset->labels[label], mitral_phase_name((mitral_phase)phase), &row);
        }
    }
    fprintf(out, "\n%-12s %-18s %4s  %8s  %s\n", "structure", "prediction - ref.", "n", "bias", "limits of agreement");
    for (int32_t label = 1; label < dataset->class_count; label++) {
        const char *name = dataset->labels[label];
        for (int phase = 0; phase < PHASES; phase++) {
            char what[40];
            struct row row = make_row(evaluation, label, phase, values);
            snprintf(what, sizeof what, "volume, %s", mitral_phase_name((mitral_phase)phase));
            if (row.volumes > 0)
                print_agreement(out, name, what, "ml", &row.volume);
        }
        if (is_ventricle(name)) {
            mitral_agreement agreement = ejection_agreement(evaluation, label, values);
            print_agreement(out, name, "ejection fraction", "%", &agreement);
        }
    }
    fprintf(out, "\n%.1f ms a slice in the network\n",
            evaluation->slices ? 1e3 * evaluation->seconds / (double)evaluation->slices : 0);
    if (evaluation->by_position)
        fputs("the network's class names are not those of the data: matched by number\n", out);
    free(values);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------- */

/* JSON has no NaN: null. */
static void add_number(cJSON *object, const char *key, double value)
{
    if (isfinite(value))
        cJSON_AddNumberToObject(object, key, value);
    else
        cJSON_AddNullToObject(object, key);
}

static void add_summary(cJSON *object, const char *key, const mitral_summary *summary)
{
    cJSON *item = cJSON_AddObjectToObject(object, key);
    cJSON_AddNumberToObject(item, "n", (double)summary->count);
    add_number(item, "mean", summary->mean);
    add_number(item, "sd", summary->deviation);
    add_number(item, "min", summary->minimum);
    add_number(item, "max", summary->maximum);
}

static void add_agreement(cJSON *object, const char *key, const mitral_agreement *agreement)
{
    cJSON *item = cJSON_AddObjectToObject(object, key);
    cJSON_AddNumberToObject(item, "n", (double)agreement->count);
    add_number(item, "bias", agreement->bias);
    add_number(item, "lower", agreement->lower);
    add_number(item, "upper", agreement->upper);
    add_number(item, "correlation", agreement->correlation);
}

static void add_row(cJSON *object, const char *key, const struct row *row)
{
    cJSON *item = cJSON_AddObjectToObject(object, key);
    cJSON_AddNumberToObject(item, "volumes", (double)row->volumes);
    cJSON_AddNumberToObject(item, "missing_in_prediction", (double)row->missing_in_prediction);
    cJSON_AddNumberToObject(item, "missing_in_reference", (double)row->missing_in_reference);
    cJSON_AddNumberToObject(item, "absent_in_both", (double)row->absent);
    add_summary(item, "dice", &row->dice);
    add_summary(item, "hausdorff_mm", &row->hausdorff);
    add_summary(item, "hausdorff95_mm", &row->hausdorff95);
    add_agreement(item, "volume_ml", &row->volume);
}

static void add_case(cJSON *array, const struct evaluation *evaluation, size_t index)
{
    const mitral_dataset *dataset = evaluation->dataset;
    const mitral_case *item = &dataset->cases[index];
    cJSON *object = cJSON_CreateObject();
    cJSON_AddItemToArray(array, object);
    cJSON_AddStringToObject(object, "patient", item->patient);
    cJSON_AddStringToObject(object, "group", item->group);
    cJSON_AddStringToObject(object, "phase", mitral_phase_name(item->phase));
    cJSON *structures = cJSON_AddObjectToObject(object, "structures");
    for (int32_t label = 1; label < dataset->class_count; label++) {
        const mitral_overlap *overlap = evaluation_overlap(evaluation, index, label);
        cJSON *entry = cJSON_AddObjectToObject(structures, dataset->labels[label]);
        cJSON_AddBoolToObject(entry, "in_prediction", overlap->in_prediction);
        cJSON_AddBoolToObject(entry, "in_reference", overlap->in_reference);
        add_number(entry, "dice", overlap->dice);
        add_number(entry, "hausdorff_mm", overlap->hausdorff_mm);
        add_number(entry, "hausdorff95_mm", overlap->hausdorff95_mm);
        add_number(entry, "prediction_ml", overlap->prediction_ml);
        add_number(entry, "reference_ml", overlap->reference_ml);
    }
}

static void add_structures(cJSON *root, const struct evaluation *evaluation, double *values)
{
    const mitral_dataset *dataset = evaluation->dataset;
    cJSON *structures = cJSON_AddObjectToObject(root, "structures");
    double sum = 0;
    size_t count = 0;
    for (int32_t label = 1; label < dataset->class_count; label++) {
        cJSON *structure = cJSON_AddObjectToObject(structures, dataset->labels[label]);
        for (int phase = 0; phase < PHASES; phase++) {
            struct row row = make_row(evaluation, label, phase, values);
            if (row.volumes > 0)
                add_row(structure, mitral_phase_name((mitral_phase)phase), &row);
        }
        struct row all = make_row(evaluation, label, -1, values);
        add_row(structure, "all", &all);
        sum += all.dice.count ? all.dice.mean * (double)all.dice.count : 0;
        count += all.dice.count;
    }
    add_number(root, "mean_dice", count ? sum / (double)count : NAN);
    cJSON *fractions = cJSON_AddObjectToObject(root, "ejection_fraction_percent");
    for (int32_t label = 1; label < dataset->class_count; label++) {
        if (!is_ventricle(dataset->labels[label]))
            continue;
        mitral_agreement agreement = ejection_agreement(evaluation, label, values);
        add_agreement(fractions, dataset->labels[label], &agreement);
    }
}

char *evaluation_json(const struct evaluation *evaluation)
{
    double *values = make_room(evaluation);
    cJSON *root = values ? cJSON_CreateObject() : NULL;
    char *text = NULL;
    if (root) {
        cJSON_AddStringToObject(root, "model", evaluation->model);
        cJSON_AddStringToObject(root, "dataset", evaluation->dataset->name);
        cJSON_AddStringToObject(root, "split", evaluation->split);
        cJSON_AddNumberToObject(root, "volumes", (double)evaluation->dataset->count);
        cJSON_AddNumberToObject(root, "slices", (double)evaluation->slices);
        add_number(root, "ms_per_slice", evaluation->slices ? 1e3 * evaluation->seconds / (double)evaluation->slices : NAN);
        cJSON_AddBoolToObject(root, "classes_matched_by_number", evaluation->by_position);
        add_structures(root, evaluation, values);
        cJSON *cases = cJSON_AddArrayToObject(root, "cases");
        for (size_t i = 0; i < evaluation->dataset->count; i++)
            add_case(cases, evaluation, i);
        char *printed = cJSON_Print(root);
        size_t length = printed ? strlen(printed) : 0;
        text = printed ? malloc(length + 2) : NULL;
        if (text) {
            memcpy(text, printed, length);
            memcpy(text + length, "\n", 2);
        }
        cJSON_free(printed);
    }
    cJSON_Delete(root);
    free(values);
    return text;
}

/* ---- CSV ----------------------------------------------------------------------------------------------------------- */

static void print_field(FILE *out, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void print_value(FILE *out, double value)
{
    if (isfinite(value))
        fprintf(out, ",%.6g", value);
    else
        fputc(',', out);
}

char *evaluation_csv(const struct evaluation *evaluation)
{
    const mitral_dataset *dataset = evaluation->dataset;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fputs("patient,group,phase,structure,in_prediction,in_reference,dice,hausdorff_mm,hausdorff95_mm,prediction_ml,reference_ml\n",
          out);
    for (size_t i = 0; i < dataset->count; i++) {
        for (int32_t label = 1; label < dataset->class_count; label++) {
            const mitral_overlap *overlap = evaluation_overlap(evaluation, i, label);
            print_field(out, dataset->cases[i].patient);
            fputc(',', out);
            print_field(out, dataset->cases[i].group);
            fprintf(out, ",%s,", mitral_phase_name(dataset->cases[i].phase));
            print_field(out, dataset->labels[label]);
            fprintf(out, ",%d,%d", overlap->in_prediction, overlap->in_reference);
            print_value(out, overlap->dice);
            print_value(out, overlap->hausdorff_mm);
            print_value(out, overlap->hausdorff95_mm);
            print_value(out, overlap->prediction_ml);
            print_value(out, overlap->reference_ml);
            fputc('\n', out);
        }
    }
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
