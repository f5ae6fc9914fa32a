/* Numbers and names of classes: of the student, its teacher and the data. */
#ifndef MITRAL_TRAINING_CLASSES_H
#define MITRAL_TRAINING_CLASSES_H

#include "mitral/data.h"
#include "runtime/context.h"

/* The student's metadata against its `outputs`. A network that names no classes (`named` false) has as many as it has outputs; then `student`
 * is filled in. */
mitral_status classes_check(mitral_context *context, mitral_preprocessing *student, bool named, int64_t outputs, const char *path);
/* Where both networks name their classes: the same names in another order would teach the wrong classes and are refused; other names may mean
 * the same, which is said. */
mitral_status classes_compare(mitral_context *context, const mitral_preprocessing *teacher, bool teacher_named, const char *teacher_path,
                              const mitral_preprocessing *student, bool student_named, const char *student_path);
/* The data's names for a network that has none of its own. Those that metadata cannot hold, and the network's in another order, leave it as it
 * is. */
void classes_take_names(mitral_preprocessing *student, const mitral_dataset *dataset);

#endif
