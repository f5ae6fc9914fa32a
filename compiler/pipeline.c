#include "compiler/pipeline.h"

#include <string.h>

enum { INFERENCE = 1, TRAINING = 2, ONNX = 4, ALWAYS = 7 };

static const struct pass {
    const char *name;
    pass_function *function;
    int when;
} passes[] = {
    {"sink-constants", pass_sink_constants, ALWAYS},
    {"choose-branch", pass_choose_branch, ALWAYS},
    {"move-quantized", pass_move_quantized, INFERENCE},
    {"fuse-quantized", pass_fuse_quantized, INFERENCE},
    {"fold-constants", pass_fold_constants, ALWAYS},
    {"simplify", pass_simplify, ALWAYS},
    {"merge-equal", pass_merge_equal, ALWAYS},
    {"widen", pass_widen, INFERENCE},
    {"find-shuffle", pass_find_shuffle, INFERENCE},
    {"find-normalization", pass_find_normalization, INFERENCE},
    {"find-one-hot", pass_find_one_hot, INFERENCE},
    {"fold-batch-norm", pass_fold_batch_norm, INFERENCE},
    {"dilated-parallel", pass_dilated_parallel, INFERENCE},
    {"fuse-convolution", pass_fuse_convolution, INFERENCE},
    {"fuse-concat", pass_fuse_concat, INFERENCE},
    {"fuse-matmul", pass_fuse_matmul, INFERENCE},
    {"fuse-attention", pass_fuse_attention, INFERENCE},
    {"fuse-elementwise", pass_fuse_elementwise, INFERENCE},
    {"precision", pass_precision, INFERENCE},
    {"layout", pass_layout, INFERENCE},
    {"read-parts", pass_read_parts, INFERENCE},
    {"fuse-normalization", pass_fuse_normalization, TRAINING},
    {"fuse-addend", pass_fuse_addend, TRAINING},
    {"fuse-pool", pass_fuse_pool, TRAINING},
    {"fuse-divergence", pass_fuse_divergence, TRAINING},
    {"fuse-points", pass_fuse_points, TRAINING},
    {"round-operands", pass_round_operands, TRAINING},
    {"fuse-branches", pass_fuse_branches, TRAINING},
    {"recompute", pass_recompute, TRAINING},
    {"mark-open", pass_mark_open, TRAINING},
};

enum { PASS_COUNT = sizeof passes / sizeof *passes };

static mitral_status run_pass(struct graph *graph, const struct pass *pass, const struct pass_options *options)
{
    bool changed = false;
    mitral_status status = pass->function(graph, options, &changed);
    if (status == MITRAL_OK && changed) {
        status = graph_sort(graph); /* what is dead shows only in a graph in order */
        if (status == MITRAL_OK) {
            graph_remove_dead(graph);
            status = graph_sort(graph);
        }
        if (status == MITRAL_OK)
            status = graph_infer(graph);
    }
    if (status == MITRAL_OK)
        status = graph_verify(graph);
    if (status != MITRAL_OK)
        return mitral_fail_prefix(graph->context, status, "pass %s: ", pass->name);
    return MITRAL_OK;
}

static mitral_status dump(const struct graph *graph, const char *name, const mitral_compile_options *compile)
{
    if (!compile || !compile->dump || !compile->dump_after
        || (strcmp(compile->dump_after, "all") != 0 && strcmp(compile->dump_after, name) != 0))
        return MITRAL_OK;
    char *text;
    TRY(graph_dump(graph, &text));
    compile->dump(compile->dump_user, text);
    mitral_release(graph->context, text);
    return MITRAL_OK;
}

static mitral_status check_name(const struct graph *graph, const char *name, const char *option)
{
    if (!name || strcmp(name, "all") == 0 || strcmp(name, "import") == 0)
        return MITRAL_OK;
    char known[512] = "import";
    for (size_t i = 0; i < PASS_COUNT; i++) {
        if (strcmp(passes[i].name, name) == 0)
            return MITRAL_OK;
        strncat(known, ", ", sizeof known - strlen(known) - 1);
        strncat(known, passes[i].name, sizeof known - strlen(known) - 1);
    }
    return mitral_fail(graph->context, MITRAL_INVALID, "%s: expected one of %s, found '%s'", option, known, name);
}

static mitral_status run_on_subgraphs(struct graph *graph, const struct pass_options *options, const char *stop_after)
{
    const mitral_compile_options silent = {.stop_after = stop_after};
    for (size_t i = 0; i < graph->node_count; i++)
        for (size_t j = 0; graph->nodes[i].op && j < graph->nodes[i].subgraph_count; j++)
            TRY(pipeline_run(graph->nodes[i].subgraphs[j], options, &silent));
    return MITRAL_OK;
}

mitral_status pipeline_run(struct graph *graph, const struct pass_options *options, const mitral_compile_options *compile)
{
    if (compile) {
        TRY(check_name(graph, compile->dump_after, "--dump-after"));
        TRY(check_name(graph, compile->stop_after, "--stop-after"));
    }
    TRY(dump(graph, "import", compile));
    if (compile && compile->stop_after && strcmp(compile->stop_after, "import") == 0)
        return MITRAL_OK;
    const int now = options->onnx ? ONNX : options->training ? TRAINING : INFERENCE;
    for (size_t i = 0; i < PASS_COUNT; i++) {
        if (passes[i].when & now)
            TRY(run_pass(graph, &passes[i], options));
        if (passes[i].function == pass_choose_branch) /* those of branches that are not taken are gone */
            TRY(run_on_subgraphs(graph, options, compile ? compile->stop_after : NULL));
        TRY(dump(graph, passes[i].name, compile));
        if (compile && compile->stop_after && strcmp(compile->stop_after, passes[i].name) == 0)
            break;
    }
    return MITRAL_OK;
}

mitral_status pipeline_run_one(struct graph *graph, const char *name, const struct pass_options *options)
{
    for (size_t i = 0; i < PASS_COUNT; i++)
        if (strcmp(passes[i].name, name) == 0)
            return run_pass(graph, &passes[i], options);
    return mitral_fail(graph->context, MITRAL_INVALID, "expected the name of a pass, found '%s'", name);
}
