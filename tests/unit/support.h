/* What unit tests share: CMocka with the headers that it wants first. */
#ifndef MITRAL_TESTS_SUPPORT_H
#define MITRAL_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mitral.h"

/* The call succeeds, or the test fails with its message. */
#define assert_ok(context, call)                                                                                       \
    do {                                                                                                               \
        mitral_status ok_status = (call);                                                                              \
        if (ok_status != MITRAL_OK)                                                                                    \
            fail_msg("%s: %s", #call, mitral_context_message(context));                                                \
    } while (0)

static inline mitral_context *test_context(void)
{
    mitral_context *context = NULL;
    assert_int_equal(mitral_context_create(&context, NULL), MITRAL_OK);
    return context;
}

#endif
