/* What tests of the importer share: a model that is built for each test, and what becomes of it. */
#ifndef MITRAL_TESTS_IMPORT_SUPPORT_H
#define MITRAL_TESTS_IMPORT_SUPPORT_H

#include "onnx_builder.h"

#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "compiler/import.h"

static struct builder builder;

static inline int start(void **state)
{
    (void)state;
    builder_start(&builder);
    return 0;
}

static inline int stop(void **state)
{
    (void)state;
    builder_stop(&builder);
    return 0;
}

static inline struct graph *import(void)
{
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    struct graph *graph;
    assert_ok(builder.context, import_onnx(&graph, builder.context, bytes, size, NULL));
    assert_ok(builder.context, graph_verify(graph));
    return graph;
}

static inline void imports_to(const char *want)
{
    struct graph *graph = import();
    assert_dump(graph, want);
    graph_destroy(&graph);
}

/* The import fails so, with all of the words in its message. */
static inline void refuses(mitral_status want, const char *const *words)
{
    size_t size;
    const void *bytes = builder_pack(&builder, &size);
    struct graph *graph;
    mitral_status status = import_onnx(&graph, builder.context, bytes, size, NULL);
    assert_null(graph);
    if (status != want)
        fail_msg("expected status %d, found %d: %s", want, status, mitral_context_message(builder.context));
    for (; *words; words++)
        if (!strstr(mitral_context_message(builder.context), *words))
            fail_msg("expected '%s' in the message, found: %s", *words, mitral_context_message(builder.context));
}
#define REFUSES(status, ...) refuses(status, (const char *const[]){__VA_ARGS__, NULL})

#endif
