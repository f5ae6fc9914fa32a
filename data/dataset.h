/* What the readers of dataset layouts share. */
#ifndef MITRAL_DATA_DATASET_H
#define MITRAL_DATA_DATASET_H

#include "mitral/data.h"
#include "runtime/context.h"

struct dataset_builder {
    mitral_context *context;
    struct arena arena;
    mitral_dataset *out;
    size_t capacity;
};

/* A zeroed case at the end of the list; NULL and a message when there is no memory. */
mitral_case *dataset_add(struct dataset_builder *builder);
mitral_status dataset_name_classes(struct dataset_builder *builder, const char *const *names, int32_t count);
/* The whole of a small text file, NUL-terminated, in the builder's arena. */
mitral_status dataset_read_text(char **out, struct dataset_builder *builder, const char *path, size_t limit);
bool dataset_is_folder(const char *path);
bool dataset_is_file(const char *path);

mitral_status dataset_open_acdc(struct dataset_builder *builder, const char *folder, const char *split);
mitral_status dataset_open_described(struct dataset_builder *builder, const char *folder, const char *description,
                                     const char *split);

#endif
