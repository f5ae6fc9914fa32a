/* NIfTI files written piece by piece, for images that are made frame by frame. */
#ifndef MITRAL_DATA_NIFTI_WRITE_H
#define MITRAL_DATA_NIFTI_WRITE_H

#include "mitral/data.h"

enum nifti_element { NIFTI_ELEMENT_UINT8, NIFTI_ELEMENT_INT16, NIFTI_ELEMENT_FLOAT };

struct nifti_sink;
/* Voxels in storage order. */
mitral_status nifti_append(struct nifti_sink *sink, const void *voxels, size_t bytes);

/* Header, then whatever `write` appends, which must be every voxel. Compressed at `level` (1 … 9) when the name ends in .gz. The
 * file appears only when it is complete. */
mitral_status nifti_write(mitral_context *context, const char *path, const mitral_geometry *geometry, enum nifti_element element,
                          int level, mitral_status (*write)(struct nifti_sink *sink, void *user), void *user);

#endif
