/* Arbitrary bytes as an ONNX model: import, check, infer, export, and import of what was exported. */
#include <stdlib.h>

#include "compiler/export.h"
#include "compiler/import.h"
#include "fuzz.h"

static void round_trip(mitral_context *context, const struct graph *graph)
{
    void *bytes;
    size_t size;
    if (export_onnx_bytes(context, graph, &bytes, &size) != MITRAL_OK)
        return;
    struct graph *again;
    /* What we write ourselves must be readable, but for limits that a damaged model may just have met. */
    mitral_status status = import_onnx(&again, context, bytes, size, NULL);
    if (status != MITRAL_OK && status != MITRAL_LIMIT && status != MITRAL_NO_MEMORY)
        fuzz_fail("an exported model was not imported", context);
    graph_destroy(&again);
    mitral_release(context, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mitral_context *context = fuzz_context();
    struct graph *graph;
    mitral_status status = import_onnx(&graph, context, data, size, NULL);
    if (status == MITRAL_OK) {
        if (graph_verify(graph) != MITRAL_OK)
            fuzz_fail("an imported graph is not sound", context);
        round_trip(context, graph);
        if (graph_infer(graph) == MITRAL_OK)
            (void)schema_check_types(graph);
        char *text = NULL;
        if (graph_dump(graph, &text) == MITRAL_OK)
            mitral_release(context, text);
    } else if (!*mitral_context_message(context)) {
        fuzz_fail("a failure without a message", context);
    }
    graph_destroy(&graph);
    mitral_context_destroy(&context);
    return 0;
}
