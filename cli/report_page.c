/* The page itself: one file, no scripts, nothing fetched from elsewhere. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report.h"
#include "mitral/train.h"

/* A rule a line. */
static const char style[] =
    ":root{color-scheme:light dark;--back:#fff;--fore:#1b1f24;--dim:#5c6570;--line:#d9dee4;--soft:#f4f6f8;--grid:#e6eaee;"
    "--c0:#1b1f24;--c1:#0072b2;--c2:#9a7700;--c3:#d55e00;--c4:#009e73;--c5:#b4568a;--c6:#4a9fd0;--c7:#7a5cc0}\n"
    "@media(prefers-color-scheme:dark){:root{--back:#14171b;--fore:#e6e9ed;--dim:#9aa4af;--line:#333a42;--soft:#1c2127;"
    "--grid:#282e35;--c0:#e6e9ed;--c1:#56b4e9;--c2:#e4c44a;--c3:#f08a4b;--c4:#3fd0a4;--c5:#e59cc4;--c6:#8fc7f0;--c7:#b7a0ee}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--back);color:var(--fore);font:15px/1.5 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}\n"
    "main{max-width:1000px;margin:0 auto;padding:28px 20px 60px}\n"
    "h1{font-size:26px;margin:0 0 4px}\n"
    "h2{font-size:19px;margin:38px 0 10px;border-bottom:1px solid var(--line);padding-bottom:6px}\n"
    "p{margin:8px 0}\n"
    ".dim,.none{color:var(--dim)}\n"
    "code{font:13px/1.4 ui-monospace,'DejaVu Sans Mono',monospace;overflow-wrap:anywhere}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:18px 0}\n"
    ".card{background:var(--soft);border:1px solid var(--line);border-radius:8px;padding:10px 14px}\n"
    ".card b{display:block;font-size:22px;font-weight:600;font-variant-numeric:tabular-nums}\n"
    ".card span{color:var(--dim);font-size:13px}\n"
    ".wide{overflow-x:auto}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:8px 0}\n"
    "th,td{padding:5px 14px 5px 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}\n"
    "th{font-weight:600;white-space:nowrap}\n"
    "td.n,th.n{text-align:right;white-space:nowrap}\n"
    "tr.set td:first-child{font-weight:600}\n"
    "figure{margin:18px 0}\n"
    "figcaption{font-weight:600}\n"
    "svg{width:100%;height:auto;display:block}\n"
    "img{max-width:100%;height:auto;display:block;border-radius:6px;background:#000}\n"
    ".legend{margin:4px 0;font-size:13px;color:var(--dim)}\n"
    ".legend span{margin-right:16px;white-space:nowrap}\n"
    ".legend i{display:inline-block;width:18px;height:3px;vertical-align:middle;margin-right:6px;border-radius:2px}\n"
    ".grid{stroke:var(--grid)}\n"
    ".axis{stroke:var(--dim)}\n"
    ".mark{stroke:var(--dim);stroke-dasharray:4 4}\n"
    ".tick{fill:var(--dim);font-size:12px}\n"
    ".label{fill:var(--fore);font-size:13px}\n"
    "polyline{fill:none;stroke-width:2;stroke-linejoin:round}\n"
    ".faint{opacity:.28;stroke-width:1}\n";

void report_escape(FILE *out, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        default: fputc(*text, out);
        }
}

static double number_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static void write_style(FILE *out)
{
    fputs("<style>\n", out);
    fputs(style, out);
    for (int i = 0; i < 8; i++)
        fprintf(out, "polyline.c%d{stroke:var(--c%d)}.point.c%d{fill:var(--c%d);stroke:var(--back)}.b%d{background:var(--c%d)}\n", i, i, i, i, i, i);
    fputs("</style>\n", out);
}

/* ---- figures ---------------------------------------------------------------------------------------------------------------- */

static void card(FILE *out, const char *what, const char *format, double number)
{
    fputs("<div class=\"card\"><b>", out);
    if (isfinite(number))
        fprintf(out, format, number);
    else
        fputs("–", out);
    fprintf(out, "</b><span>%s</span></div>\n", what);
}

static void write_cards(FILE *out, const struct report *report)
{
    const cJSON *result = report->result;
    const struct series *loss = report->loss;
    fputs("<div class=\"cards\">\n", out);
    if (result) {
        const bool held = strcmp(text_of(result, "measured_on"), "validation") == 0;
        card(out, held ? "mean Dice of the held-back patients, written weights" : "mean Dice of training patients, written weights", "%.2f %%",
             100 * number_of(result, "dice"));
        card(out, "step of the written weights", "%.0f", number_of(result, "kept_step"));
        card(out, "steps done", "%.0f", number_of(result, "steps"));
    } else {
        card(out, "steps logged so far", "%.0f", loss->count ? loss->x[loss->count - 1] : NAN);
    }
    card(out, "loss of the last step", "%.4f", loss->count ? loss->y[loss->count - 1] : NAN);
    const bool long_run = report->seconds >= 120;
    card(out, long_run ? "minutes of training steps" : "seconds of training steps", "%.1f", loss->count ? report->seconds / (long_run ? 60 : 1) : NAN);
    const double images = number_of(report->configuration, "batch") * number_of(report->configuration, "accumulate") * (double)loss->count;
    card(out, "images a second", "%.1f", report->seconds > 0 ? images / report->seconds : NAN);
    fputs("</div>\n", out);
}

static void write_curves(FILE *out, const struct report *report)
{
    const double best = number_of(report->result, "kept_step");
    const char *steps = "step (updates of the weights)";
    fputs("<h2>Curves</h2>\n", out);
    chart_write(out, &(struct chart){.title = "Loss, and its terms before weighting (faint: each step; strong: running mean)", .x_label = steps,
                                     .y_label = "loss", .series = report->loss, .count = report->loss_count, .smooth = true, .from_zero = true,
                                     .mark = NAN});
    chart_write(out, &(struct chart){.title = "Dice of the held-back patients, mean over foreground classes and by structure", .x_label = steps,
                                     .y_label = "Dice, %", .series = report->dice, .count = report->dice_count, .markers = true, .mark = best,
                                     .mark_label = "written weights"});
    chart_write(out, &(struct chart){.title = "Learning rate", .x_label = steps, .y_label = "learning rate", .series = &report->rate, .count = 1,
                                     .from_zero = true, .mark = NAN});
    chart_write(out, &(struct chart){.title = "Norm of the gradient", .x_label = steps, .y_label = "norm", .series = &report->norm, .count = 1,
                                     .smooth = true, .from_zero = true, .mark = NAN});
}

static void cell(FILE *out, const char *format, double number)
{
    fputs("<td class=\"n\">", out);
    if (isfinite(number))
        fprintf(out, format, number);
    else
        fputs("–", out);
    fputs("</td>", out);
}

/* Of one structure over the cases that have it. */
static void write_structure(FILE *out, const cJSON *cases, const char *name)
{
    double sum = 0, squares = 0, least = INFINITY;
    int count = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, cases)
    {
        const double dice = 100 * number_of(cJSON_GetObjectItemCaseSensitive(item, "dice"), name);
        if (!isfinite(dice))
            continue;
        sum += dice;
        squares += dice * dice;
        least = fmin(least, dice);
        count++;
    }
    fputs("<tr><td>", out);
    report_escape(out, name);
    fprintf(out, "</td><td class=\"n\">%d</td>", count);
    cell(out, "%.2f", count ? sum / count : NAN);
    cell(out, "%.2f", count > 1 ? sqrt(fmax(0, (squares - sum * sum / count) / (count - 1))) : NAN);
    cell(out, "%.2f", count ? least : NAN);
    fputs("</tr>\n", out);
}

static void write_structures(FILE *out, const struct report *report)
{
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(report->result, "cases"), *item;
    fputs("<h2>Dice by structure</h2>\n", out);
    if (!cJSON_IsArray(cases) || cJSON_GetArraySize(cases) == 0) {
        fputs("<p class=\"none\">The run is not finished: result.json is not there yet.</p>\n", out);
        return;
    }
    fputs("<p class=\"dim\">Each volume as a whole, on the network's grid, by the weights that were written; ", out);
    fputs(strcmp(text_of(report->result, "measured_on"), "validation") == 0
              ? "patients held back from training.</p>\n" : "patients that were trained on, as none were held back.</p>\n", out);
    fputs("<div class=\"wide\"><table><tr><th>structure</th><th class=\"n\">volumes</th><th class=\"n\">mean, %</th><th class=\"n\">SD, %</th>"
          "<th class=\"n\">least, %</th></tr>\n", out);
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(report->result, "dice_by_class")) write_structure(out, cases, item->string);
    fputs("</table></div>\n<details><summary>Each volume</summary><div class=\"wide\"><table><tr><th>patient</th><th>phase</th>", out);
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(report->result, "dice_by_class"))
    {
        fputs("<th class=\"n\">", out);
        report_escape(out, item->string);
        fputs(", %</th>", out);
    }
    fputs("</tr>\n", out);
    const cJSON *volume;
    cJSON_ArrayForEach(volume, cases)
    {
        fputs("<tr><td>", out);
        report_escape(out, text_of(volume, "patient"));
        fputs("</td><td>", out);
        report_escape(out, text_of(volume, "phase"));
        fputs("</td>", out);
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(volume, "dice"))
            cell(out, "%.2f", cJSON_IsNumber(item) ? 100 * item->valuedouble : NAN);
        fputs("</tr>\n", out);
    }
    fputs("</table></div></details>\n", out);
}

/* ---- evaluation ------------------------------------------------------------------------------------------------------------- */

static void write_mean(FILE *out, const cJSON *row, const char *name, double factor, const char *format)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(row, name);
    const double mean = number_of(item, "mean"), deviation = number_of(item, "sd");
    fputs("<td class=\"n\">", out);
    if (isfinite(mean)) {
        fprintf(out, format, factor * mean);
        fputs(" ± ", out);
        fprintf(out, format, factor * deviation);
    } else {
        fputs("–", out);
    }
    fputs("</td>", out);
}

static void write_evaluation(FILE *out, const cJSON *evaluation)
{
    const cJSON *structure, *phase, *fraction;
    if (!evaluation)
        return;
    fputs("<h2>Evaluation on the native grid</h2>\n<p class=\"dim\"><code>", out);
    report_escape(out, text_of(evaluation, "model"));
    fputs("</code> on ", out);
    report_escape(out, text_of(evaluation, "dataset"));
    fputs(", ", out);
    report_escape(out, text_of(evaluation, "split"));
    fprintf(out, ": %.0f volumes, mean Dice %.2f %%. Mean ± SD.</p>\n", number_of(evaluation, "volumes"), 100 * number_of(evaluation, "mean_dice"));
    fputs("<div class=\"wide\"><table><tr><th>structure</th><th>phase</th><th class=\"n\">volumes</th><th class=\"n\">Dice, %</th>"
          "<th class=\"n\">Hausdorff, mm</th><th class=\"n\">HD95, mm</th><th class=\"n\">not found</th></tr>\n", out);
    cJSON_ArrayForEach(structure, cJSON_GetObjectItemCaseSensitive(evaluation, "structures"))
        cJSON_ArrayForEach(phase, structure)
        {
            if (strcmp(phase->string, "all") == 0)
                continue;
            fputs("<tr><td>", out);
            report_escape(out, structure->string);
            fputs("</td><td>", out);
            report_escape(out, phase->string);
            fputs("</td>", out);
            cell(out, "%.0f", number_of(phase, "volumes"));
            write_mean(out, phase, "dice", 100, "%.2f");
            write_mean(out, phase, "hausdorff_mm", 1, "%.1f");
            write_mean(out, phase, "hausdorff95_mm", 1, "%.1f");
            cell(out, "%.0f", number_of(phase, "missing_in_prediction"));
            fputs("</tr>\n", out);
        }
    fputs("</table></div>\n", out);
    cJSON_ArrayForEach(fraction, cJSON_GetObjectItemCaseSensitive(evaluation, "ejection_fraction_percent"))
    {
        if (!isfinite(number_of(fraction, "bias")))
            continue;
        fputs("<p>Ejection fraction, ", out);
        report_escape(out, fraction->string);
        fprintf(out, ": bias %+.1f percentage points", number_of(fraction, "bias"));
        if (isfinite(number_of(fraction, "lower")))
            fprintf(out, ", limits of agreement %+.1f to %+.1f", number_of(fraction, "lower"), number_of(fraction, "upper"));
        fprintf(out, " (%.0f patients).</p>\n", number_of(fraction, "n"));
    }
}

/* ---- pictures and configuration --------------------------------------------------------------------------------------------- */

static void write_base64(FILE *out, const unsigned char *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const unsigned a = bytes[i], b = i + 1 < size ? bytes[i + 1] : 0, c = i + 2 < size ? bytes[i + 2] : 0, all = a << 16 | b << 8 | c;
        fputc(digits[all >> 18], out);
        fputc(digits[all >> 12 & 63], out);
        fputc(i + 1 < size ? digits[all >> 6 & 63] : '=', out);
        fputc(i + 2 < size ? digits[all & 63] : '=', out);
    }
}

static void write_pictures(FILE *out, const struct report *report)
{
    static const char *const captions[] = {"The worst case", "The middle case", "The best case"};
    if (!report->pictures[0] && !report->pictures[1] && !report->pictures[2])
        return;
    fputs("<h2>Examples</h2>\n<p class=\"dim\">Contours: the network's, drawn through; the reference's, dashed.</p>\n", out);
    for (int i = 0; i < 3; i++) {
        if (!report->pictures[i])
            continue;
        fprintf(out, "<figure><figcaption>%s</figcaption><img alt=\"%s: slices with contours\" src=\"data:image/png;base64,", captions[i],
                captions[i]);
        write_base64(out, (const unsigned char *)report->pictures[i], report->picture_sizes[i]);
        fputs("\"></figure>\n", out);
    }
}

static void write_value(FILE *out, const cJSON *item)
{
    char *text = cJSON_IsString(item) ? NULL : cJSON_PrintUnformatted(item);
    const char *shown = text ? text : cJSON_IsString(item) ? item->valuestring : "";
    if (*shown)
        report_escape(out, shown);
    else
        fputs("–", out);
    cJSON_free(text);
}

static void write_configuration(FILE *out, const struct report *report, bool set, mitral_training *defaults)
{
    const cJSON *item;
    fputs("<div class=\"wide\"><table><tr><th>option</th><th>value</th><th>default</th></tr>\n", out);
    cJSON_ArrayForEach(item, report->configuration)
    {
        char *text = cJSON_IsString(item) ? NULL : cJSON_PrintUnformatted(item);
        const char *value = text ? text : cJSON_IsString(item) ? item->valuestring : "", *usual = mitral_training_get(defaults, item->string);
        char *end;
        const double number = strtod(value, &end);
        const bool same = usual && (strcmp(value, usual) == 0 || (*value && !*end && number == strtod(usual, NULL)));
        if (set != same) {
            fprintf(out, "<tr class=\"%s\"><td>", same ? "" : "set");
            report_escape(out, item->string);
            fputs("</td><td><code>", out);
            write_value(out, item);
            fputs("</code></td><td class=\"dim\"><code>", out);
            report_escape(out, usual && *usual ? usual : "–");
            fputs("</code></td></tr>\n", out);
        }
        cJSON_free(text);
    }
    fputs("</table></div>\n", out);
}

static void write_patients(FILE *out, const struct report *report, const char *list, const char *what, const char *slices)
{
    const cJSON *patients = cJSON_GetObjectItemCaseSensitive(report->result, list), *item;
    if (!cJSON_IsArray(patients))
        return;
    fprintf(out, "<p>%s: %d patients, %.0f slices", what, cJSON_GetArraySize(patients), number_of(report->result, slices));
    bool first = true;
    cJSON_ArrayForEach(item, patients)
    {
        fputs(first ? " <span class=\"dim\">(" : ", ", out);
        report_escape(out, cJSON_IsString(item) ? item->valuestring : "?");
        first = false;
    }
    fputs(first ? ".</p>\n" : ")</span>.</p>\n", out);
}

void report_page(FILE *out, const struct report *report)
{
    const char *student = text_of(report->configuration, "student"), *teacher = text_of(report->configuration, "teacher");
    const char *method = text_of(report->configuration, "method");
    mitral_context *context = NULL;
    mitral_training *defaults = NULL;
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
          "<title>mitral: ", out);
    report_escape(out, report->folder);
    fputs("</title>\n", out);
    write_style(out);
    fputs("</head><body><main>\n<h1>Training run</h1>\n<p class=\"dim\"><code>", out);
    report_escape(out, report->folder);
    fputs("</code></p>\n<p>Network <code>", out);
    report_escape(out, student);
    if (*teacher && strcmp(method, "none") != 0) {
        fputs("</code>, taught by <code>", out);
        report_escape(out, teacher);
        fputs("</code> with method <b>", out);
        report_escape(out, method);
        fputs("</b>", out);
    } else {
        fputs("</code>, trained without a teacher", out);
    }
    fputs(", on <code>", out);
    report_escape(out, text_of(report->configuration, "data"));
    fputs("</code>", out);
    if (*text_of(report->result, "data")) {
        fputs(" (", out);
        report_escape(out, text_of(report->result, "data"));
        fputs(")", out);
    }
    fputs(".</p>\n", out);
    write_cards(out, report);
    write_structures(out, report);
    write_evaluation(out, report->evaluation);
    write_pictures(out, report);
    write_curves(out, report);
    if (report->unread)
        fprintf(out, "<p>Lines of the log that are damaged, and left out here: %zu.</p>\n", report->unread);
    fputs("<h2>Data</h2>\n", out);
    write_patients(out, report, "training_patients", "Trained on", "training_slices");
    write_patients(out, report, "validation_patients", "Held back for validation", "validation_slices");
    const double unlabelled = number_of(report->result, "unlabelled_slices");
    if (unlabelled > 0) {
        fprintf(out, "<p>Without labels, learnt from the teacher alone: %.0f slices of <code>", unlabelled);
        report_escape(out, text_of(report->configuration, "unlabelled"));
        fputs("</code>.</p>\n", out);
    }
    fputs("<h2>Configuration</h2>\n", out);
    if (mitral_context_create(&context, NULL) == MITRAL_OK && mitral_training_create(&defaults, context) == MITRAL_OK) {
        write_configuration(out, report, true, defaults);
        fputs("<details><summary>Options at their defaults</summary>\n", out);
        write_configuration(out, report, false, defaults);
        fputs("</details>\n", out);
    }
    mitral_training_destroy(&defaults);
    mitral_context_destroy(&context);
    fputs("<p class=\"dim\">Not for clinical use.</p>\n</main></body></html>\n", out);
}
