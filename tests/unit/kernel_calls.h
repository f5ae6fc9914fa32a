/* Calls of reference kernels as tables, for tests that make the same check of many kernels. */
#ifndef MITRAL_TEST_KERNEL_CALLS_H
#define MITRAL_TEST_KERNEL_CALLS_H

#include "test_onednn_support.h"

enum { CALL_INPUTS = 9, CALL_ATTRIBUTES = 7, CALL_VALUES = 10 };

/* rank + 1, so that what is not written is the end of the list; 0 dims are written as such. */
struct call_input {
    int32_t dtype; /* 0: float32 */
    int32_t rank1; /* rank + 1; 0: no further inputs; -1: this one is left out */
    int64_t dims[5];
    const int64_t *integers; /* elements of an integer input; NULL: random */
};

struct call_attribute {
    const char *name;
    const char *text;
    size_t count; /* of a list of integers; 0: one integer, or a float where `real` is not 0 */
    int64_t values[CALL_VALUES];
    float real;
};

struct call_case {
    const char *what; /* for messages; NULL: the kernel */
    const char *kernel;
    int opset, outputs; /* 0: 22, 1 */
    mitral_status status;
    struct call_input inputs[CALL_INPUTS];
    struct call_attribute attributes[CALL_ATTRIBUTES];
};

#define INPUT(rank, ...) {0, (rank) + 1, {__VA_ARGS__}, NULL}
#define TYPED(dtype, rank, ...) {dtype, (rank) + 1, {__VA_ARGS__}, NULL}
#define INTEGERS(dtype, values, rank, ...) {dtype, (rank) + 1, {__VA_ARGS__}, values}
#define ABSENT {0, -1, {0}, NULL}
#define INT(name, value) {name, NULL, 0, {value}, 0}
#define INTS(name, count, ...) {name, NULL, count, {__VA_ARGS__}, 0}
#define TEXT(name, value) {name, value, 0, {0}, 0}
#define REAL_ATTRIBUTE(name, value) {name, NULL, 0, {0}, value}

/* Opens the bench and fills it: inputs in `dtype` where the table says float32. Inputs of more than 2^20 elements have
 * no data. */
void call_open(struct bench *bench, const struct call_case *call, int32_t dtype);
/* Every call is refused with its status and a message, and nothing crashes. */
void check_refused(const struct call_case *calls, size_t count);

#endif
