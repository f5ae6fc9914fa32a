#include "compiler/model.h"

#include <omp.h>
#include <string.h>

#include "compiler/export.h"
#include "compiler/import.h"
#include "compiler/pipeline.h"
#include "compiler/tune.h"
#include "runtime/file.h"
#include "runtime/plan_file.h"
#include "runtime/session.h"

mitral_status model_create(mitral_model **out, struct graph *graph)
{
    *out = mitral_allocate(graph->context, sizeof **out);
    if (!*out)
        return MITRAL_NO_MEMORY;
    (*out)->context = graph->context;
    (*out)->graph = graph;
    return MITRAL_OK;
}

mitral_status mitral_model_parse(mitral_model **out, mitral_context *context, const void *bytes, size_t size, const char *folder)
{
    *out = NULL;
    struct graph *graph = NULL;
    TRY(import_onnx(&graph, context, bytes, size, folder));
    mitral_status status = model_create(out, graph);
    if (status != MITRAL_OK)
        graph_destroy(&graph);
    return status;
}

/* The folder of a path, for external data: "." when there is none. */
static char *folder_of(mitral_context *context, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) + (slash == path) : 1;
    char *folder = mitral_allocate(context, length + 1);
    if (folder)
        memcpy(folder, slash ? path : ".", length);
    return folder;
}

mitral_status mitral_model_load(mitral_model **out, mitral_context *context, const char *path)
{
    *out = NULL;
    struct file_mapping mapping;
    TRY(file_map(&mapping, context, path));
    if (mapping.size >= sizeof PLAN_MAGIC - 1 && memcmp(mapping.data, PLAN_MAGIC, sizeof PLAN_MAGIC - 1) == 0) {
        file_unmap(&mapping);
        return mitral_fail(context, MITRAL_INVALID, "%s: expected an ONNX model, found a compiled plan", path);
    }
    char *folder = folder_of(context, path);
    mitral_status status = folder ? mitral_model_parse(out, context, mapping.data, mapping.size, folder) : MITRAL_NO_MEMORY;
    mitral_release(context, folder);
    file_unmap(&mapping);
    return status == MITRAL_OK ? status : mitral_fail_prefix(context, status, "%s: ", path);
}

mitral_status mitral_model_save(mitral_context *context, const mitral_model *model, const char *path)
{
    return export_onnx(context, model->graph, path);
}

/* Types that break a constraint of the schema make the clearer message, of what inference refuses too. */
static mitral_status infer_and_check(struct graph *graph)
{
    const mitral_status status = graph_infer_declared(graph);
    if (status != MITRAL_OK && status != MITRAL_INVALID && status != MITRAL_UNSUPPORTED)
        return status;
    const mitral_status checked = schema_check_types(graph);
    return checked != MITRAL_OK ? checked : status;
}

mitral_status mitral_model_optimize(mitral_context *context, mitral_model *model, int threads)
{
    TRY(check_threads(context, threads));
    struct pass_options options = {.threads = threads > 0 ? threads : 1, .onnx = true};
    mitral_context *before = model->graph->context;
    model->graph->context = context;
    mitral_status status = infer_and_check(model->graph);
    for (size_t i = 0; i < 2 && status == MITRAL_OK; i++) /* folding exposes copies, whose removal exposes more to fold */
        status = pipeline_run(model->graph, &options, NULL);
    model->graph->context = before;
    return status;
}

void mitral_model_destroy(mitral_model **model)
{
    if (!model || !*model)
        return;
    mitral_context *context = (*model)->context;
    graph_destroy(&(*model)->graph);
    mitral_release(context, *model);
    *model = NULL;
}

static mitral_value_info info_of(const struct graph *graph, value_id id)
{
    const struct graph_value *value = &graph->values[id];
    mitral_value_info info = {.name = value->name, .kind = value->type.kind, .dtype = value->type.dtype, .rank = value->type.rank};
    for (int32_t d = 0; d < value->type.rank; d++) {
        info.dims[d] = value->type.dims[d];
        info.dim_names[d] = value->type.dims[d] >= 0 ? NULL : value->type.symbols[d] ? value->type.symbols[d] : "";
    }
    return info;
}

size_t mitral_model_input_count(const mitral_model *model) { return model->graph->input_count; }
size_t mitral_model_output_count(const mitral_model *model) { return model->graph->output_count; }

mitral_value_info mitral_model_input(const mitral_model *model, size_t index)
{
    return index < model->graph->input_count ? info_of(model->graph, model->graph->inputs[index]) : (mitral_value_info){.name = NULL};
}

mitral_value_info mitral_model_output(const mitral_model *model, size_t index)
{
    return index < model->graph->output_count ? info_of(model->graph, model->graph->outputs[index]) : (mitral_value_info){.name = NULL};
}

const char *mitral_model_metadata(const mitral_model *model, const char *key)
{
    for (size_t i = 0; i < model->graph->metadata_count; i++)
        if (strcmp(model->graph->metadata[i].key, key) == 0)
            return model->graph->metadata[i].value;
    return NULL;
}

/* ---- compile ------------------------------------------------------------------------------------------------------- */

/* Fixes a symbol everywhere it names an input's dimension. */
static void bind_symbol(struct graph *graph, const char *symbol, int64_t size)
{
    for (size_t i = 0; i < graph->input_count; i++) {
        struct value_type *type = &graph->values[graph->inputs[i]].type;
        for (int32_t d = 0; d < type->rank; d++)
            if (type->dims[d] < 0 && type->symbols[d] && strcmp(type->symbols[d], symbol) == 0)
                type->dims[d] = size;
    }
}

static mitral_status bind_shape(struct graph *graph, const mitral_shape *shape)
{
    for (size_t i = 0; i < graph->input_count; i++) {
        struct graph_value *value = &graph->values[graph->inputs[i]];
        if (strcmp(value->name, shape->name) != 0)
            continue;
        if (value->type.kind != MITRAL_TENSOR || (value->type.rank >= 0 && value->type.rank != shape->rank))
            return mitral_fail(graph->context, MITRAL_INVALID, "shape of input '%s': expected %d dimensions, found %d", shape->name,
                               value->type.rank, shape->rank);
        if (shape->rank < 0 || shape->rank > MITRAL_MAX_RANK)
            return mitral_fail(graph->context, MITRAL_INVALID, "shape of input '%s': expected 0 to %d dimensions, found %d", shape->name,
                               MITRAL_MAX_RANK, shape->rank);
        if (value->type.rank < 0) {
            value->type.rank = shape->rank;
            for (int32_t d = 0; d < shape->rank; d++)
                value->type.dims[d] = -1;
        }
        for (int32_t d = 0; d < shape->rank; d++) {
            if (shape->dims[d] < 0)
                return mitral_fail(graph->context, MITRAL_INVALID, "shape of input '%s': expected a size in dimension %d, found %lld",
                                   shape->name, d, (long long)shape->dims[d]);
            if (value->type.dims[d] >= 0 && value->type.dims[d] != shape->dims[d])
                return mitral_fail(graph->context, MITRAL_INVALID, "shape of input '%s': expected %lld in dimension %d, found %lld",
                                   shape->name, (long long)value->type.dims[d], d, (long long)shape->dims[d]);
            if (value->type.dims[d] < 0 && value->type.symbols[d])
                bind_symbol(graph, value->type.symbols[d], shape->dims[d]);
            value->type.dims[d] = shape->dims[d];
        }
        return MITRAL_OK;
    }
    char known[512] = "";
    for (size_t i = 0; i < graph->input_count; i++) {
        strncat(known, i ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, graph->values[graph->inputs[i]].name, sizeof known - strlen(known) - 1);
    }
    return mitral_fail(graph->context, MITRAL_INVALID, "shape: expected the name of an input (%s), found '%s'", known, shape->name);
}

static mitral_status mark_taps(struct graph *graph, const mitral_compile_options *options)
{
    for (size_t i = 0; i < options->tap_count; i++) {
        bool found = false;
        for (size_t v = 0; v < graph->value_count && !found; v++)
            if (graph->values[v].producer != NO_NODE && strcmp(graph->values[v].name, options->taps[i]) == 0)
                found = graph->values[v].tap = true;
        if (!found)
            return mitral_fail(graph->context, MITRAL_INVALID, "tap: expected the name of a computed value, found '%s'", options->taps[i]);
    }
    return MITRAL_OK;
}

mitral_status compile_graph(mitral_plan **out, mitral_context *context, struct graph *graph,
                            const mitral_compile_options *options, bool training)
{
    static const mitral_compile_options defaults = {0};
    *out = NULL;
    if (!options)
        options = &defaults;
    TRY(check_threads(context, options->threads));
    if (options->precision != MITRAL_PRECISION_F32 && options->precision != MITRAL_PRECISION_BF16)
        return mitral_fail(context, MITRAL_INVALID, "precision: expected %d (float32) or %d (bfloat16), found %d", MITRAL_PRECISION_F32,
                           MITRAL_PRECISION_BF16, (int)options->precision);
    int threads = options->threads > 0 ? options->threads : omp_get_num_procs();
    struct pass_options pass_options = {.precision = options->precision, .threads = threads, .training = training, .tune = options->tune,
                                        .low_memory = options->low_memory};
    for (size_t i = 0; i < options->shape_count; i++)
        TRY(bind_shape(graph, &options->shapes[i]));
    TRY(mark_taps(graph, options));
    TRY(infer_and_check(graph));
    TRY(expand_gradients(graph));
    if (!training)
        TRY(match_runtime(graph));
    TRY(graph_verify(graph));
    if (!options->interpret)
        TRY(pipeline_run(graph, &pass_options, options));
    int threads_before = omp_get_max_threads();
    omp_set_num_threads(threads); /* primitives are made for this team size */
    mitral_status status = lower_graph(out, context, graph, options->interpret ? 0 : 1, threads, options->precision, training);
    if (status == MITRAL_OK && options->tune)
        status = plan_tune(context, *out);
    if (status == MITRAL_OK)
        status = plan_pack(context, *out);
    omp_set_num_threads(threads_before);
    if (status != MITRAL_OK)
        mitral_plan_destroy(out);
    return status;
}

mitral_status mitral_compile(mitral_plan **out, mitral_context *context, const mitral_model *model,
                             const mitral_compile_options *options)
{
    *out = NULL;
    struct graph *graph = NULL;
    TRY(graph_copy(&graph, model->graph));
    /* Errors of the passes go to the caller's context, not to the one that the model was loaded with. */
    graph->context = context;
    mitral_status status = compile_graph(out, context, graph, options, false);
    graph->context = model->context;
    graph_destroy(&graph);
    return status;
}
