/* The folder layout of the ACDC challenge as it was published. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset.h"

#define MAX_INFO_BYTES ((size_t)1 << 16)
#define MAX_PATIENTS 100000

static const char *const class_names[] = {"background", "RV", "myocardium", "LV"};

struct info {
    long ed, es, frames;
    double height, weight;
    const char *group;
};

/* Only the names that ACDC uses: "patient" and digits. */
static bool is_patient(const char *name)
{
    if (strncmp(name, "patient", 7) != 0 || !name[7])
        return false;
    for (const char *digit = name + 7; *digit; digit++)
        if (!isdigit((unsigned char)*digit))
            return false;
    return true;
}

/* By number, then by text: 2 before 10, whatever the number of leading zeros. */
static int compare_patients(const void *left, const void *right)
{
    const char *a = *(char *const *)left, *b = *(char *const *)right;
    const char *x = a + 7 + strspn(a + 7, "0"), *y = b + 7 + strspn(b + 7, "0");
    size_t p = strlen(x), q = strlen(y);
    if (p != q)
        return p < q ? -1 : 1;
    int order = strcmp(x, y);
    return order ? order : strcmp(a, b);
}

static mitral_status list_patients(char ***out, size_t *out_count, struct dataset_builder *builder, const char *folder)
{
    DIR *stream = opendir(folder);
    if (!stream)
        return mitral_fail(builder->context, MITRAL_IO, "%s: expected a readable folder, found: %s", folder, strerror(errno));
    size_t count = 0, capacity = 0;
    char **names = NULL;
    mitral_status status = MITRAL_OK;
    for (struct dirent *entry; status == MITRAL_OK && (entry = readdir(stream)) != NULL;) {
        if (!is_patient(entry->d_name))
            continue;
        if (count == MAX_PATIENTS) {
            status =
                mitral_fail(builder->context, MITRAL_LIMIT, "%s: expected at most %d patients, found more", folder, MAX_PATIENTS);
            break;
        }
        if (count == capacity) {
            size_t larger = capacity ? capacity * 2 : 128;
            char **moved = arena_allocate(&builder->arena, larger * sizeof *moved);
            if (moved && count)
                memcpy(moved, names, count * sizeof *moved);
            names = moved;
            capacity = larger;
        }
        char *name = names ? arena_string(&builder->arena, entry->d_name) : NULL;
        if (!name)
            status = MITRAL_NO_MEMORY;
        else
            names[count++] = name;
    }
    closedir(stream);
    if (status == MITRAL_OK && count == 0)
        status = mitral_fail(builder->context, MITRAL_INVALID, "%s: expected folders patient001 and so on, found none", folder);
    if (status == MITRAL_OK)
        qsort(names, count, sizeof *names, compare_patients);
    *out = names;
    *out_count = count;
    return status;
}

static mitral_status parse_frame(long *out, mitral_context *context, const char *path, const char *key, const char *value)
{
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (end == value || *end || errno || number < 1 || number > 999999)
        return mitral_fail(context, MITRAL_INVALID, "%s: %s: expected a frame number from 1, found '%s'", path, key, value);
    *out = number;
    return MITRAL_OK;
}

/* Sizes are for information; a value that is none is left out. */
static double parse_size(const char *value)
{
    char *end;
    double number = strtod(value, &end);
    return end != value && number > 0 && number < 1000 ? number : 0.0;
}

static mitral_status set_info(struct info *info, mitral_context *context, const char *path, const char *key, const char *value)
{
    if (strcmp(key, "ED") == 0)
        return parse_frame(&info->ed, context, path, key, value);
    if (strcmp(key, "ES") == 0)
        return parse_frame(&info->es, context, path, key, value);
    if (strcmp(key, "NbFrame") == 0)
        return parse_frame(&info->frames, context, path, key, value);
    if (strcmp(key, "Height") == 0)
        info->height = parse_size(value);
    else if (strcmp(key, "Weight") == 0)
        info->weight = parse_size(value);
    else if (strcmp(key, "Group") == 0)
        info->group = value;
    return MITRAL_OK;
}

/* Trims in place. */
static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        text[--length] = 0;
    return text;
}

static mitral_status read_info(struct info *info, struct dataset_builder *builder, const char *path)
{
    *info = (struct info){.group = ""};
    char *text = NULL;
    TRY(dataset_read_text(&text, builder, path, MAX_INFO_BYTES));
    char *rest = NULL;
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) /* the mark that editors of Windows put before UTF-8 */
        text += 3;
    for (char *line = strtok_r(text, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
        line = trim(line);
        char *colon = strchr(line, ':');
        if (!*line)
            continue;
        if (!colon)
            return mitral_fail(builder->context, MITRAL_INVALID, "%s: expected lines 'Key: value', found '%.40s'", path, line);
        *colon = 0;
        TRY(set_info(info, builder->context, path, trim(line), trim(colon + 1)));
    }
    if (!info->ed || !info->es)
        return mitral_fail(builder->context, MITRAL_INVALID, "%s: expected the keys ED and ES, found no %s", path,
                           info->ed ? "ES" : "ED");
    if (info->ed == info->es)
        return mitral_fail(builder->context, MITRAL_INVALID, "%s: expected ED and ES to differ, found %ld for both", path,
                           info->ed);
    if (info->frames && (info->ed > info->frames || info->es > info->frames))
        return mitral_fail(builder->context, MITRAL_INVALID, "%s: expected ED and ES within NbFrame %ld, found %ld and %ld", path,
                           info->frames, info->ed, info->es);
    return MITRAL_OK;
}

/* The compressed file where it is there, else the plain one; *out NULL: neither. */
static mitral_status find_file(const char **out, struct dataset_builder *builder, const char *folder, const char *patient,
                               long frame, const char *suffix)
{
    for (int plain = 0; plain < 2; plain++) {
        char *path = arena_format(&builder->arena, "%s/%s_frame%02ld%s.nii%s", folder, patient, frame, suffix, plain ? "" : ".gz");
        if (!path)
            return MITRAL_NO_MEMORY;
        *out = path;
        if (dataset_is_file(path))
            return MITRAL_OK;
    }
    *out = NULL;
    return MITRAL_OK;
}

static mitral_status add_patient(struct dataset_builder *builder, const char *folder, const char *patient)
{
    mitral_context *context = builder->context;
    char *path = arena_format(&builder->arena, "%s/%s", folder, patient);
    char *info_path = path ? arena_format(&builder->arena, "%s/Info.cfg", path) : NULL;
    if (!info_path)
        return MITRAL_NO_MEMORY;
    struct info info;
    TRY(read_info(&info, builder, info_path));
    const long frames[2] = {info.ed, info.es};
    const char *images[2], *labels[2];
    for (int phase = 0; phase < 2; phase++) {
        TRY(find_file(&images[phase], builder, path, patient, frames[phase], ""));
        if (!images[phase])
            return mitral_fail(context, MITRAL_INVALID, "%s: expected %s_frame%02ld.nii.gz, the %s that Info.cfg names, found none",
                               path, patient, frames[phase], mitral_phase_name((mitral_phase)phase));
        TRY(find_file(&labels[phase], builder, path, patient, frames[phase], "_gt"));
    }
    if (!labels[0] != !labels[1])
        return mitral_fail(context, MITRAL_INVALID, "%s: expected label maps for ED and ES, found one for %s alone", path,
                           labels[0] ? "ED" : "ES");
    for (int phase = 0; phase < 2; phase++) {
        mitral_case *item = dataset_add(builder);
        if (!item)
            return MITRAL_NO_MEMORY;
        *item = (mitral_case){.patient = patient,
                              .group = info.group,
                              .phase = (mitral_phase)phase,
                              .frame = (int32_t)frames[phase],
                              .frame_count = (int32_t)info.frames,
                              .height_cm = info.height,
                              .weight_kg = info.weight,
                              .image = images[phase],
                              .label = labels[phase]};
    }
    return MITRAL_OK;
}

mitral_status dataset_open_acdc(struct dataset_builder *builder, const char *folder, const char *split)
{
    char *path = arena_format(&builder->arena, "%s/%s", folder, split);
    /* The published archive has one more folder around the two. */
    if (path && !dataset_is_folder(path)) {
        char *inner = arena_format(&builder->arena, "%s/database/%s", folder, split);
        if (!inner)
            return MITRAL_NO_MEMORY;
        if (dataset_is_folder(inner))
            path = inner;
    }
    /* What was made by the phantom must say so wherever it is measured. */
    char *note = arena_format(&builder->arena, "%s/phantom.txt", folder);
    builder->out->name = arena_string(&builder->arena, note && dataset_is_file(note) ? "phantom (ACDC layout)" : "ACDC layout");
    if (!path || !note || !builder->out->name)
        return MITRAL_NO_MEMORY;
    if (!dataset_is_folder(path))
        return mitral_fail(builder->context, MITRAL_INVALID, "%s: expected the folder '%s' or a dataset.json in it, found neither",
                           folder, split);
    TRY(dataset_name_classes(builder, class_names, 4));
    char **patients = NULL;
    size_t count = 0;
    TRY(list_patients(&patients, &count, builder, path));
    for (size_t i = 0; i < count; i++)
        TRY(add_patient(builder, path, patients[i]));
    return MITRAL_OK;
}
