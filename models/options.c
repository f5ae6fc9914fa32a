#include "models/options.h"

#include "runtime/context.h"

mitral_status network_options(mitral_network_options *out, mitral_context *context, const mitral_network_options *options,
                              const int64_t widths[MITRAL_STAGES], int64_t width_multiple)
{
    static const int64_t dilations[MITRAL_STAGES][4] = {{1, 2, 4, 8}, {1, 2, 4, 8}, {1, 2, 4, 8}, {1, 2, 4, 8}, {1, 2, 3, 4}};
    *out = options ? *options : (mitral_network_options){0};
    out->classes = out->classes ? out->classes : 4;
    out->channels = out->channels ? out->channels : 1;
    out->size = out->size ? out->size : 224;
    for (int i = 0; i < MITRAL_STAGES; i++) {
        out->widths[i] = out->widths[i] ? out->widths[i] : widths[i];
        if (out->widths[i] < width_multiple || out->widths[i] > 65536 || out->widths[i] % width_multiple)
            return mitral_fail(context, MITRAL_INVALID, "widths: expected multiples of %lld up to 65536, found %lld",
                               (long long)width_multiple, (long long)out->widths[i]);
        for (int k = 0; k < 4; k++) {
            out->dilations[i][k] = out->dilations[i][k] ? out->dilations[i][k] : dilations[i][k];
            if (out->dilations[i][k] < 1 || out->dilations[i][k] > 1024)
                return mitral_fail(context, MITRAL_INVALID, "dilations: expected numbers from 1 to 1024, found %lld",
                                   (long long)out->dilations[i][k]);
        }
    }
    if (out->classes < 2 || out->classes > 65536)
        return mitral_fail(context, MITRAL_INVALID, "classes: expected a number from 2 to 65536, found %lld", (long long)out->classes);
    if (out->channels < 1 || out->channels > 65536)
        return mitral_fail(context, MITRAL_INVALID, "channels: expected a number from 1 to 65536, found %lld", (long long)out->channels);
    if (out->size < 16 || out->size > 65536 || out->size % 16)
        return mitral_fail(context, MITRAL_INVALID, "size: expected a multiple of 16 from 16 to 65536, found %lld", (long long)out->size);
    if (out->batch < 0 || out->batch > 65536)
        return mitral_fail(context, MITRAL_INVALID, "batch: expected a number from 1 to 65536, found %lld", (long long)out->batch);
    if (out->merge < MITRAL_MERGE_HFF || out->merge > MITRAL_MERGE_CONCAT)
        return mitral_fail(context, MITRAL_INVALID, "merge: expected 0, 1 or 2, found %d", (int)out->merge);
    return MITRAL_OK;
}
