/* Encoded images. */
#include "compiler/op.h"

const struct op ops_image[] = {
    {.name = "ImageDecoder"},
};
const size_t ops_image_count = sizeof(ops_image) / sizeof(*ops_image);
