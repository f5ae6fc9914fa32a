/* DPU-Net: a light U-Net of dilated-parallel blocks. */
#include <stdio.h>

#include "models/builder.h"
#include "models/options.h"

enum { NAME = 64 };

/* 1×1 reduce to C/4, BN, ReLU; four dilated 3×3 convolutions; merge; BN; shortcut; ReLU. `name` is that of the output. */
static value_id dilated_parallel_block(struct builder *b, const char *prefix, const char *name, value_id x, int64_t in, int64_t out,
                                       const int64_t dilations[4], const mitral_network_options *options)
{
    char text[NAME];
    int64_t quarter = out / 4;
    value_id reduced, branches[4], merged[4], y;
#define PART(...) (snprintf(text, sizeof text, __VA_ARGS__), text)
    reduced = build_convolution(b, PART("%s.reduce", prefix), x, in, quarter, 1, 1, false, NULL);
    reduced = build_batch_norm(b, PART("%s.reduce_bn", prefix), reduced, quarter);
    reduced = build_relu(b, PART("%s.reduce_relu", prefix), reduced);
    for (int k = 0; k < 4; k++)
        branches[k] = merged[k] = build_convolution(b, PART("%s.branch%d", prefix, k), reduced, quarter, quarter, 3, dilations[k], false, NULL);
    int first = options->merge == MITRAL_MERGE_HFF ? 2 : options->merge == MITRAL_MERGE_HFF_FIRST ? 1 : 4;
    for (int k = first; k < 4; k++)
        merged[k] = build_add(b, PART("%s.sum%d", prefix, k), merged[k - 1], branches[k]);
    y = build_concat(b, PART("%s.concat", prefix), merged, 4);
    y = build_batch_norm(b, PART("%s.bn", prefix), y, out);
    if (!options->no_residual) {
        value_id shortcut = x;
        if (in != out) {
            shortcut = build_convolution(b, PART("%s.shortcut", prefix), x, in, out, 1, 1, false, NULL);
            shortcut = build_batch_norm(b, PART("%s.shortcut_bn", prefix), shortcut, out);
        }
        y = build_add(b, PART("%s.add", prefix), y, shortcut);
    }
#undef PART
    return build_relu(b, name, y);
}

mitral_status mitral_create_dpu_net(mitral_model **out, mitral_context *context, const mitral_network_options *given)
{
    static const int64_t widths[MITRAL_STAGES] = {32, 64, 96, 128, 160};
    *out = NULL;
    mitral_network_options options;
    struct builder builder, *b = &builder;
    TRY(network_options(&options, context, given, widths, 4));
    TRY(build_start(b, context, "dpu-net", options.seed));
    char prefix[NAME], name[NAME];
    value_id skips[MITRAL_STAGES], x = build_input(b, "image", options.batch, options.channels, options.size);
    x = build_convolution(b, "stem.conv", x, options.channels, options.widths[0], 3, 1, false, NULL);
    x = build_batch_norm(b, "stem.bn", x, options.widths[0]);
    x = build_relu(b, "stem", x);
    for (int i = 0; i < MITRAL_STAGES; i++) {
        int64_t in = options.widths[i ? i - 1 : 0];
        if (i) {
            snprintf(name, sizeof name, "pool%d", i);
            x = build_max_pool(b, name, x);
        }
        for (int k = 0; k < 2; k++) {
            snprintf(prefix, sizeof prefix, "enc%d.%d", i, k);
            snprintf(name, sizeof name, k ? "enc%d" : "enc%d.0", i);
            x = dilated_parallel_block(b, prefix, name, x, k ? options.widths[i] : in, options.widths[i], options.dilations[i], &options);
        }
        skips[i] = x;
    }
    for (int i = MITRAL_STAGES - 2; i >= 0; i--) {
        int64_t width = options.widths[i];
        snprintf(prefix, sizeof prefix, "dec%d.up.conv", i);
        x = build_convolution(b, prefix, x, options.widths[i + 1], width, 1, 1, false, NULL);
        snprintf(prefix, sizeof prefix, "dec%d.up.bn", i);
        x = build_batch_norm(b, prefix, x, width);
        snprintf(name, sizeof name, "dec%d.up.relu", i);
        x = build_relu(b, name, x);
        snprintf(name, sizeof name, "dec%d.resize", i);
        x = build_resize_twice(b, name, x);
        snprintf(name, sizeof name, "dec%d.concat", i);
        x = build_concat(b, name, (value_id[]){x, skips[i]}, 2);
        snprintf(prefix, sizeof prefix, "dec%d.block", i);
        snprintf(name, sizeof name, "dec%d", i);
        x = dilated_parallel_block(b, prefix, name, x, 2 * width, width, options.dilations[i], &options);
    }
    x = build_convolution(b, "head", x, options.widths[0], options.classes, 1, 1, true, "logits");
    return build_finish(b, out, x, options.classes, options.size);
}
