/* A context, a temporary folder, and an allocator that fails on demand, for the tests of data/. */
#ifndef MITRAL_TEST_DATA_SUPPORT_H
#define MITRAL_TEST_DATA_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mitral/data.h"

struct bench {
    mitral_context *context;
    char folder[64];
    long left;  /* allocations until one fails; below 0: never */
    long alive; /* blocks not yet released */
};

int bench_setup(void **state);
int bench_teardown(void **state); /* fails when memory was lost */
/* A path in the folder; valid until the next call but three. */
const char *bench_path(const struct bench *bench, const char *name);
void bench_write(const struct bench *bench, const char *name, const void *bytes, size_t size);
/* The whole file; *size its length; malloc'ed. */
void *bench_read(const char *path, size_t *size);
bool bench_exists(const char *path);

#define assert_ok(call)                                                                                                            \
    do {                                                                                                                           \
        mitral_status assert_status = (call);                                                                                      \
        if (assert_status != MITRAL_OK)                                                                                            \
            print_error("%s\n", mitral_context_message(bench->context));                                                           \
        assert_int_equal(assert_status, MITRAL_OK);                                                                                \
    } while (0)
/* The status, and words that the one-line message must hold. */
#define assert_refused(call, expected, words)                                                                                      \
    do {                                                                                                                           \
        assert_int_equal((call), (expected));                                                                                      \
        if (!strstr(mitral_context_message(bench->context), (words)))                                                              \
            fail_msg("expected '%s' in '%s'", (words), mitral_context_message(bench->context));                                    \
        assert_null(strchr(mitral_context_message(bench->context), '\n'));                                                         \
    } while (0)

#endif
