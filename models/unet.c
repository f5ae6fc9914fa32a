/* The teacher: a plain 2D U-Net. */
#include <stdio.h>

#include "models/builder.h"
#include "models/options.h"

enum { NAME = 64 };

/* (3×3 convolution, BN, ReLU) twice; `prefix` is also the name of the output. */
static value_id double_convolution(struct builder *b, const char *prefix, value_id x, int64_t in, int64_t out)
{
    char text[NAME];
    for (int k = 0; k < 2; k++) {
        snprintf(text, sizeof text, "%s.conv%d", prefix, k);
        x = build_convolution(b, text, x, k ? out : in, out, 3, 1, false, NULL);
        snprintf(text, sizeof text, "%s.bn%d", prefix, k);
        x = build_batch_norm(b, text, x, out);
        snprintf(text, sizeof text, k ? "%s" : "%s.relu0", prefix);
        x = build_relu(b, text, x);
    }
    return x;
}

mitral_status mitral_create_unet(mitral_model **out, mitral_context *context, const mitral_network_options *given)
{
    static const int64_t widths[MITRAL_STAGES] = {32, 64, 128, 256, 512};
    *out = NULL;
    mitral_network_options options;
    struct builder builder, *b = &builder;
    TRY(network_options(&options, context, given, widths, 1));
    TRY(build_start(b, context, "unet", options.seed));
    char text[NAME];
    value_id skips[MITRAL_STAGES], x = build_input(b, "image", options.batch, options.channels, options.size);
    for (int i = 0; i < MITRAL_STAGES; i++) {
        if (i) {
            snprintf(text, sizeof text, "pool%d", i);
            x = build_max_pool(b, text, x);
        }
        snprintf(text, sizeof text, "enc%d", i);
        x = skips[i] = double_convolution(b, text, x, i ? options.widths[i - 1] : options.channels, options.widths[i]);
    }
    for (int i = MITRAL_STAGES - 2; i >= 0; i--) {
        snprintf(text, sizeof text, "up%d", i);
        x = build_upsampling_convolution(b, text, x, options.widths[i + 1], options.widths[i]);
        snprintf(text, sizeof text, "dec%d.concat", i);
        x = build_concat(b, text, (value_id[]){x, skips[i]}, 2);
        snprintf(text, sizeof text, "dec%d", i);
        x = double_convolution(b, text, x, 2 * options.widths[i], options.widths[i]);
    }
    x = build_convolution(b, "head", x, options.widths[0], options.classes, 1, 1, true, "logits");
    return build_finish(b, out, x, options.classes, options.size);
}
