/* Arbitrary bytes as a NIfTI file, plain or compressed: as an image and as a label map; what was read is written and read again. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "mitral/data.h"

/* Small enough that an input of a few bytes cannot ask for more. */
#define MAX_VOXELS ((int64_t)1 << 16)

static int open_memory(char path[64], const void *data, size_t size)
{
    int file = memfd_create("scan", MFD_CLOEXEC);
    if (file < 0 || write(file, data, size) != (ssize_t)size)
        abort();
    snprintf(path, 64, "/proc/self/fd/%d", file);
    return file;
}

static void write_again(mitral_context *context, const mitral_volume *volume)
{
    char path[] = "/tmp/fuzz-nifti-XXXXXX.nii.gz";
    int file = mkstemps(path, 7);
    if (file < 0)
        return;
    close(file);
    mitral_volume again;
    mitral_status status = mitral_volume_write(context, volume, path);
    if (status == MITRAL_OK && mitral_volume_read(&again, context, path, MAX_VOXELS) != MITRAL_OK)
        fuzz_fail("a written file was not read", context);
    if (status == MITRAL_OK) {
        size_t count = (size_t)(mitral_geometry_frame_voxels(&volume->geometry) * volume->geometry.size[3]);
        for (size_t i = 0; i < count; i++)
            if (again.voxels[i] != volume->voxels[i]
                && (again.voxels[i] == again.voxels[i] || volume->voxels[i] == volume->voxels[i]))
                fuzz_fail("a voxel changed", context);
        mitral_volume_free(context, &again);
    }
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int file = open_memory(path, data, size);
    mitral_context *context = fuzz_context();
    mitral_volume volume;
    mitral_labels labels;
    if (mitral_volume_read(&volume, context, path, MAX_VOXELS) == MITRAL_OK) {
        write_again(context, &volume);
        mitral_volume_free(context, &volume);
    } else if (!*mitral_context_message(context) || volume.voxels) {
        fuzz_fail("a failure without a message, or with voxels", context);
    }
    if (mitral_labels_read(&labels, context, path, 4, MAX_VOXELS) == MITRAL_OK)
        mitral_labels_free(context, &labels);
    mitral_context_destroy(&context);
    close(file);
    return 0;
}
