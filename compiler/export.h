/* Graphs to ONNX files (compiler/export*.c). */
#ifndef MITRAL_COMPILER_EXPORT_H
#define MITRAL_COMPILER_EXPORT_H

#include "compiler/graph.h"

/* Writes `graph` as a model that onnx.checker accepts: names, order, metadata and versions as they were imported, names made
 * unique where passes gave one twice, values that subgraphs capture as references to the outer scope. The same graph gives the
 * same bytes; they hold no time and no path. Refused (MITRAL_UNSUPPORTED, naming the nodes): operators of the domain `mitral`,
 * which are nobody else's, and nodes whose versions no one opset has together. */
mitral_status export_onnx(mitral_context *context, const struct graph *graph, const char *path);
/* The same bytes in memory; released with mitral_release. */
mitral_status export_onnx_bytes(mitral_context *context, const struct graph *graph, void **bytes, size_t *size);

#endif
