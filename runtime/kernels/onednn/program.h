/* The inside of a program, for the files that build and run it. */
#ifndef MITRAL_KERNELS_ONEDNN_PROGRAM_H
#define MITRAL_KERNELS_ONEDNN_PROGRAM_H

#include <pthread.h>

#include "runtime/kernels/onednn/onednn.h"

enum { DELEGATE_INPUTS = 16, DELEGATE_OUTPUTS = 8 };

/* A reference kernel in the place of a primitive: its values lie where the operation's operands say, inputs before outputs. */
struct delegate {
    const struct kernel *kernel;
    void *state;
    size_t input_count, output_count;
    mitral_tensor inputs[DELEGATE_INPUTS], outputs[DELEGATE_OUTPUTS]; /* rank -1: absent; data NULL */
    size_t scratch_bytes;
};

struct operation {
    dnnl_primitive_t primitive; /* one of the three */
    size_t parts;               /* 0: whole, by all threads; else one thread runs each part */
    size_t *steps;              /* of each operand, in bytes from part to part */
    size_t work_bytes;          /* of one part */
    onednn_function *function;
    struct delegate *delegate;
    struct onednn_where *wheres;
    int *arguments;             /* of a primitive */
    size_t count;
    const void *data;           /* of a function */
    struct operation *next;
};

/* A constant that the program packed, or other memory it holds. */
struct buffer {
    void *data;
    size_t bytes;
    mitral_tensor tensor;       /* of a packed constant; rank -1 otherwise */
    struct mitral_packing packing;
    size_t input;
    struct buffer *next;
};

/* The oneDNN objects of one run; as many as there are runs at the same time. */
struct frame {
    dnnl_stream_t stream;
    dnnl_exec_arg_t *arguments;
    struct frame *next;
};

struct onednn_program {
    struct arena arena;
    struct operation *first, *last;
    struct buffer *buffers;
    size_t buffer_count;
    size_t argument_count;      /* of all primitives, once for each thread that runs parts */
    int threads;
    size_t scratch_bytes;       /* intermediates; what operations need for themselves lies behind them */
    size_t work_bytes;
    pthread_mutex_t lock;       /* of `frames` */
    struct frame *frames;       /* at rest */
    char description[256];
};

void onednn_program_say(struct onednn_program *program, const char *text);
struct operation *onednn_append(struct onednn_program *program, size_t operand_count);

#endif
