/* A look at protobuf bytes before protobuf-c sees them: it recurses once a level of nesting and allocates as it goes, so both
 * are bounded here first. */
#ifndef MITRAL_RUNTIME_WIRE_H
#define MITRAL_RUNTIME_WIRE_H

#include <protobuf-c/protobuf-c.h>

#include "runtime/context.h"

enum { WIRE_MAX_DEPTH = 100 }; /* of messages in messages, as other implementations have it */

/* Checks that `bytes` are well-formed records of that message, nested at most WIRE_MAX_DEPTH deep, every length inside what
 * holds it. *unpacked is an upper bound of the memory that unpacking takes. `what` names the input in messages. */
mitral_status wire_check(mitral_context *context, const char *what, const void *bytes, size_t size,
                         const ProtobufCMessageDescriptor *descriptor, size_t *unpacked);

#endif
