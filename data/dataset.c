#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <nifti1_io.h>

#include "data/dataset.h"

const char *mitral_phase_name(mitral_phase phase)
{
    return phase == MITRAL_PHASE_ED ? "ED" : phase == MITRAL_PHASE_ES ? "ES" : "other";
}

mitral_case *dataset_add(struct dataset_builder *builder)
{
    mitral_dataset *out = builder->out;
    if (out->count == builder->capacity) {
        size_t capacity = builder->capacity ? builder->capacity * 2 : 64;
        mitral_case *cases = arena_allocate(&builder->arena, capacity * sizeof *cases);
        if (!cases)
            return NULL;
        if (out->count > 0)
            memcpy(cases, out->cases, out->count * sizeof *cases);
        out->cases = cases;
        builder->capacity = capacity;
    }
    return &out->cases[out->count++];
}

mitral_status dataset_name_classes(struct dataset_builder *builder, const char *const *names, int32_t count)
{
    char **labels = arena_allocate(&builder->arena, (size_t)count * sizeof *labels);
    if (!labels)
        return MITRAL_NO_MEMORY;
    for (int32_t i = 0; i < count; i++)
        if (!(labels[i] = arena_string(&builder->arena, names[i])))
            return MITRAL_NO_MEMORY;
    builder->out->labels = labels;
    builder->out->class_count = count;
    return MITRAL_OK;
}

bool dataset_is_folder(const char *path)
{
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

bool dataset_is_file(const char *path)
{
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISREG(facts.st_mode);
}

mitral_status dataset_read_text(char **out, struct dataset_builder *builder, const char *path, size_t limit)
{
    mitral_context *context = builder->context;
    struct stat facts;
    if (stat(path, &facts) != 0)
        return mitral_fail(context, MITRAL_IO, "%s: expected a file, found: %s", path, strerror(errno));
    if (!S_ISREG(facts.st_mode))
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a regular file, found something else", path);
    if ((uint64_t)facts.st_size > limit)
        return mitral_fail(context, MITRAL_LIMIT, "%s: expected at most %zu bytes, found %lld", path, limit,
                           (long long)facts.st_size);
    FILE *file = fopen(path, "rb");
    if (!file)
        return mitral_fail(context, MITRAL_IO, "%s: expected a readable file, found: %s", path, strerror(errno));
    char *text = arena_allocate(&builder->arena, (size_t)facts.st_size + 1);
    size_t size = text ? fread(text, 1, (size_t)facts.st_size, file) : 0;
    fclose(file);
    if (!text)
        return MITRAL_NO_MEMORY;
    text[size] = 0;
    if (strlen(text) != size)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected text, found a NUL byte", path);
    *out = text;
    return MITRAL_OK;
}

mitral_status mitral_dataset_open(mitral_dataset *out, mitral_context *context, const char *folder, const char *split)
{
    *out = (mitral_dataset){0};
    if (strcmp(split, "training") != 0 && strcmp(split, "testing") != 0)
        return mitral_fail(context, MITRAL_INVALID, "split: expected 'training' or 'testing', found '%s'", split);
    if (!dataset_is_folder(folder))
        return mitral_fail(context, MITRAL_IO, "%s: expected a dataset folder, found none", folder);
    struct dataset_builder builder = {.context = context, .out = out};
    arena_initialise(&builder.arena, context);
    char *description = arena_format(&builder.arena, "%s/dataset.json", folder);
    mitral_status status = MITRAL_NO_MEMORY;
    if (description)
        status = dataset_is_file(description) ? dataset_open_described(&builder, folder, description, split)
                                              : dataset_open_acdc(&builder, folder, split);
    struct arena *kept = status == MITRAL_OK ? mitral_allocate(context, sizeof *kept) : NULL;
    if (!kept) {
        arena_clear(&builder.arena);
        *out = (mitral_dataset){0};
        return status == MITRAL_OK ? MITRAL_NO_MEMORY : status;
    }
    *kept = builder.arena;
    out->storage = kept;
    return MITRAL_OK;
}

void mitral_dataset_free(mitral_context *context, mitral_dataset *dataset)
{
    if (!dataset)
        return;
    if (dataset->storage) {
        arena_clear(dataset->storage);
        mitral_release(context, dataset->storage);
    }
    *dataset = (mitral_dataset){0};
}

/* Where the rows, columns and slices lead, as "RAS" for right, anterior, superior; "" where the header does not say. */
static void name_axes(const mitral_geometry *geometry, char axes[4])
{
    static const char letters[2][4] = {"RAS", "LPI"};
    const double *q = geometry->quaternion;
    mat44 made = nifti_quatern_to_mat44((float)q[0], (float)q[1], (float)q[2], 0, 0, 0, 1, 1, 1, (float)geometry->qfac);
    axes[0] = axes[3] = 0;
    if (geometry->sform_code <= 0 && geometry->qform_code <= 0)
        return;
    for (int axis = 0; axis < 3; axis++) {
        double longest = 0;
        axes[axis] = '?';
        for (int i = 0; i < 3; i++) {
            const double along = geometry->sform_code > 0 ? geometry->sform[i][axis] : (double)made.m[i][axis];
            if (fabs(along) > fabs(longest)) {
                longest = along;
                axes[axis] = letters[along < 0][i];
            }
        }
    }
}

/* Voxels are matched by index, as others do it; a map that was turned or mirrored on the way shows in its axes. */
static void remark_on_axes(mitral_context *context, const char *path, const mitral_geometry *image, const mitral_geometry *labels)
{
    char ours[4], theirs[4];
    name_axes(image, ours);
    name_axes(labels, theirs);
    if (*ours && *theirs && strcmp(ours, theirs) != 0)
        mitral_log(context, "%s: its axes are %s and its image's %s: they are taken as the same, voxel by voxel", path, theirs, ours);
}

static mitral_status read_labels(mitral_labels *labels, mitral_context *context, const mitral_dataset *dataset,
                                 const mitral_case *item, const mitral_geometry *geometry)
{
    if (!item->label)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected a label map for it, found none", item->image);
    TRY(mitral_labels_read(labels, context, item->label, dataset->class_count, 0));
    const mitral_geometry *found = &labels->geometry;
    if (mitral_geometry_matches(geometry, found, true)) {
        remark_on_axes(context, item->label, geometry, found);
        return MITRAL_OK;
    }
    mitral_status status =
        mitral_fail(context, MITRAL_INVALID,
                    "%s: expected the geometry of its image, %lldx%lldx%lldx%lld at %g x %g x %g mm, found "
                    "%lldx%lldx%lldx%lld at %g x %g x %g mm",
                    item->label, (long long)geometry->size[0], (long long)geometry->size[1], (long long)geometry->size[2],
                    (long long)geometry->size[3], geometry->spacing[0], geometry->spacing[1], geometry->spacing[2],
                    (long long)found->size[0], (long long)found->size[1], (long long)found->size[2], (long long)found->size[3],
                    found->spacing[0], found->spacing[1], found->spacing[2]);
    mitral_labels_free(context, labels);
    return status;
}

mitral_status mitral_case_read(mitral_volume *image, mitral_labels *labels, mitral_context *context, const mitral_dataset *dataset,
                               size_t index)
{
    *image = (mitral_volume){0};
    if (labels)
        *labels = (mitral_labels){0};
    if (index >= dataset->count)
        return mitral_fail(context, MITRAL_INVALID, "dataset: expected a case below %zu, found %zu", dataset->count, index);
    const mitral_case *item = &dataset->cases[index];
    TRY(mitral_volume_read(image, context, item->image, 0));
    mitral_status status = MITRAL_OK;
    if (image->geometry.size[3] != 1)
        status = mitral_fail(context, MITRAL_INVALID, "%s: expected a 3D image, found %lld frames", item->image,
                             (long long)image->geometry.size[3]);
    else if (labels)
        status = read_labels(labels, context, dataset, item, &image->geometry);
    if (status != MITRAL_OK)
        mitral_volume_free(context, image);
    return status;
}
