/* metrics_dump PREDICTION.nii REFERENCE.nii CLASSES: for each class from 1 one line of in_prediction, in_reference, Dice,
 * Hausdorff, HD95 and both volumes, for tests in other languages. */
#include <stdio.h>
#include <stdlib.h>

#include "mitral/data.h"

static int fail(const mitral_context *context)
{
    fprintf(stderr, "%s\n", mitral_context_message(context));
    return 1;
}

int main(int argc, char **argv)
{
    mitral_context *context = NULL;
    mitral_labels prediction, reference;
    mitral_overlap out[256];
    if (argc != 4 || mitral_context_create(&context, NULL) != MITRAL_OK)
        return 2;
    int classes = atoi(argv[3]);
    if (mitral_labels_read(&prediction, context, argv[1], classes, 0) != MITRAL_OK
        || mitral_labels_read(&reference, context, argv[2], classes, 0) != MITRAL_OK
        || mitral_measure_overlap(out, context, prediction.voxels, reference.voxels, &reference.geometry, classes) != MITRAL_OK)
        return fail(context);
    for (int c = 1; c < classes; c++)
        printf("%d %d %.12g %.12g %.12g %.12g %.12g\n", out[c].in_prediction, out[c].in_reference, out[c].dice, out[c].hausdorff_mm,
               out[c].hausdorff95_mm, out[c].prediction_ml, out[c].reference_ml);
    mitral_labels_free(context, &prediction);
    mitral_labels_free(context, &reference);
    mitral_context_destroy(&context);
    return 0;
}
