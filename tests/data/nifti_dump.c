/* nifti_dump IN.nii[.gz] OUT.f32 [COPY.nii.gz]: what the reader makes of a file, for tests in other languages. One line on standard
 * output: size (4), spacing (4), qform_code, sform_code; the voxels as native float32 to OUT; the volume written again to COPY. */
#include <stdio.h>

#include "mitral/data.h"

static int fail(const mitral_context *context, mitral_status status)
{
    fprintf(stderr, "%s: %s\n", mitral_status_name(status), mitral_context_message(context));
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "nifti_dump: expected IN OUT [COPY], found %d arguments\n", argc - 1);
        return 2;
    }
    mitral_context *context = NULL;
    mitral_volume volume;
    if (mitral_context_create(&context, NULL) != MITRAL_OK)
        return 1;
    mitral_status status = mitral_volume_read(&volume, context, argv[1], 0);
    if (status != MITRAL_OK)
        return fail(context, status);
    const mitral_geometry *geometry = &volume.geometry;
    size_t count = (size_t)(mitral_geometry_frame_voxels(geometry) * geometry->size[3]);
    for (int i = 0; i < 4; i++)
        printf("%lld ", (long long)geometry->size[i]);
    for (int i = 0; i < 4; i++)
        printf("%.9g ", geometry->spacing[i]);
    printf("%d %d\n", (int)geometry->qform_code, (int)geometry->sform_code);
    status = mitral_file_write(context, argv[2], volume.voxels, count * sizeof(float));
    if (status == MITRAL_OK && argc > 3)
        status = mitral_volume_write(context, &volume, argv[3]);
    if (status != MITRAL_OK)
        return fail(context, status);
    mitral_volume_free(context, &volume);
    mitral_context_destroy(&context);
    return 0;
}
