/* Image decoding: every format is read into one RGB buffer. */
#ifndef MITRAL_REFERENCE_IMAGE_H
#define MITRAL_REFERENCE_IMAGE_H

#include "runtime/kernel.h"

struct image {
    struct kernel_call *call;
    const uint8_t *data; /* the encoded stream */
    size_t size;
    int64_t width, height;
    uint8_t *pixels;     /* height × width × 3: red, green, blue; from image_start */
};

/* Before decoding, and whatever the stream's few bytes promise: checks the size against the context's limits and makes the buffer. MITRAL_CORRUPT for an empty size. */
mitral_status image_start(struct image *image, int64_t width, int64_t height);

/* Each returns MITRAL_CORRUPT when the stream cannot be decoded (the operator then gives an empty result), and MITRAL_LIMIT
 * or MITRAL_NO_MEMORY as failures of the call. */
mitral_status decode_png(struct image *image);
mitral_status decode_jpeg(struct image *image);
mitral_status decode_tiff(struct image *image);
mitral_status decode_webp(struct image *image);
mitral_status decode_jpeg2000(struct image *image);
mitral_status decode_bmp(struct image *image);
mitral_status decode_pnm(struct image *image);

#endif
