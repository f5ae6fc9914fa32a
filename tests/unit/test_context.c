#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/context.h"

struct budget {
    size_t left, live;
};

static void *limited_allocate(void *user, size_t size, size_t alignment)
{
    struct budget *budget = user;
    void *pointer = NULL;
    if (budget->left == 0 || posix_memalign(&pointer, alignment, size) != 0)
        return NULL;
    budget->left--;
    budget->live++;
    return pointer;
}

static void limited_release(void *user, void *pointer)
{
    ((struct budget *)user)->live--;
    free(pointer);
}

static void message_is_one_line(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    assert_string_equal(mitral_context_message(context), "");
    assert_int_equal(mitral_fail(context, MITRAL_INVALID, "expected %d,\nfound %s", 3, "four"), MITRAL_INVALID);
    assert_string_equal(mitral_context_message(context), "expected 3, found four");
    mitral_fail_prefix(context, MITRAL_INVALID, "pass %s: ", "layout");
    assert_string_equal(mitral_context_message(context), "pass layout: expected 3, found four");
    mitral_context_destroy(&context);
    assert_null(context);
    mitral_context_destroy(&context);
}

static void arena_aligns_zeroes_and_keeps(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct arena arena;
    arena_initialise(&arena, context);
    char *text = arena_string(&arena, "kept");
    for (size_t size = 1; size < 300000; size = size * 3 + 1) {
        unsigned char *memory = arena_allocate(&arena, size);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % (size >= 64 ? 64 : 16), 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(memory[i], 0);
        memset(memory, 0xff, size);
    }
    assert_string_equal(text, "kept");
    arena_clear(&arena);
    mitral_context_destroy(&context);
}

static void arena_has_a_limit(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct arena arena;
    arena_initialise(&arena, context);
    struct meter meter = {.limit = 1000};
    arena.meter = &meter;
    assert_non_null(arena_allocate(&arena, 900));
    assert_false(meter.passed);
    assert_null(arena_allocate(&arena, 200));
    assert_true(meter.passed);
    assert_true(strstr(mitral_context_message(context), "at most 1000 bytes (max_run_bytes, --max-run-bytes), found 900 in use and 200 more") != NULL);
    assert_null(arena_allocate(&arena, SIZE_MAX));
    assert_true(strstr(mitral_context_message(context), "out of memory") != NULL);
    arena_clear(&arena);
    assert_int_equal(meter.used, 0);
    assert_non_null(arena_allocate(&arena, 1000));
    arena_clear(&arena);
    mitral_context_destroy(&context);
}

static void allocation_failure_is_a_status(void **state)
{
    (void)state;
    struct budget budget = {.left = 2};
    mitral_context *context = NULL;
    mitral_context_options options = {.allocate = limited_allocate, .release = limited_release, .user = &budget};
    assert_int_equal(mitral_context_create(&context, &options), MITRAL_OK);
    struct arena arena;
    arena_initialise(&arena, context);
    assert_non_null(arena_allocate(&arena, 100));
    assert_null(arena_allocate(&arena, 1 << 20));
    arena_clear(&arena);
    mitral_context_destroy(&context);
    assert_int_equal(budget.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_is_one_line),
        cmocka_unit_test(arena_aligns_zeroes_and_keeps),
        cmocka_unit_test(arena_has_a_limit),
        cmocka_unit_test(allocation_failure_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
