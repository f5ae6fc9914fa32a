#include "training/classes.h"

#include <stdio.h>
#include <string.h>

mitral_status classes_check(mitral_context *context, mitral_preprocessing *student, bool named, int64_t outputs, const char *path)
{
    if (outputs > MITRAL_MAX_CLASSES)
        return mitral_fail(context, MITRAL_LIMIT, "%s: expected at most %d classes, found %lld outputs", path, MITRAL_MAX_CLASSES, (long long)outputs);
    if (named && student->class_count != outputs)
        return mitral_fail(context, MITRAL_INVALID, "%s: expected as many classes as its metadata name (%d), found %lld outputs", path,
                           (int)student->class_count, (long long)outputs);
    if (student->class_count == outputs)
        return MITRAL_OK;
    student->class_count = (int32_t)outputs;
    for (int32_t i = 0; i < student->class_count; i++)
        snprintf(student->labels[i], sizeof student->labels[i], i ? "class %d" : "background", (int)i);
    return MITRAL_OK;
}

mitral_status classes_compare(mitral_context *context, const mitral_preprocessing *teacher, bool teacher_named, const char *teacher_path,
                              const mitral_preprocessing *student, bool student_named, const char *student_path)
{
    int32_t different = -1, found = 0;
    if (!teacher_named || !student_named || teacher->class_count != student->class_count)
        return MITRAL_OK; /* the networks' outputs are compared elsewhere */
    for (int32_t i = 0; i < student->class_count; i++) {
        if (different < 0 && strcmp(student->labels[i], teacher->labels[i]) != 0)
            different = i;
        for (int32_t k = 0; k < student->class_count; k++)
            found += strcmp(student->labels[i], teacher->labels[k]) == 0;
    }
    if (different < 0)
        return MITRAL_OK;
    if (found >= student->class_count)
        return mitral_fail(context, MITRAL_INVALID, "expected teacher and student with their classes in the same order, found class %d '%s' in %s and "
                           "'%s' in %s", (int)different, teacher->labels[different], teacher_path, student->labels[different], student_path);
    mitral_log(context, "class %d is '%s' in %s and '%s' in %s: taken as the same", (int)different, teacher->labels[different], teacher_path,
               student->labels[different], student_path);
    return MITRAL_OK;
}

static bool has_label(const mitral_dataset *dataset, const char *name)
{
    for (int32_t i = 0; i < dataset->class_count; i++)
        if (strcmp(dataset->labels[i], name) == 0)
            return true;
    return false;
}

void classes_take_names(mitral_preprocessing *student, const mitral_dataset *dataset)
{
    bool same = true;
    if (dataset->class_count != student->class_count)
        return;
    for (int32_t i = 0; i < dataset->class_count; i++) {
        const size_t length = strlen(dataset->labels[i]);
        if (length == 0 || length >= sizeof student->labels[i] || strchr(dataset->labels[i], ','))
            return;
        same &= has_label(dataset, student->labels[i]);
    }
    for (int32_t i = 0; !same && i < dataset->class_count; i++)
        memcpy(student->labels[i], dataset->labels[i], strlen(dataset->labels[i]) + 1);
}
