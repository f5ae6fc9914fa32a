#include "support.h"

#include <string.h>

#include "runtime/memory_plan.h"

static bool overlap(const struct buffer *a, const struct buffer *b)
{
    return a->first <= b->last && b->first <= a->last && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

static void check(struct buffer *buffers, size_t count, uint32_t steps, size_t *total, size_t *bound)
{
    mitral_context *context = test_context();
    assert_ok(context, memory_plan(context, buffers, count, steps, total, bound));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(buffers[i].offset % 64, 0);
        assert_true(buffers[i].offset + buffers[i].bytes <= *total);
        for (size_t j = 0; j < i; j++)
            assert_false(overlap(&buffers[i], &buffers[j]));
    }
    assert_int_equal(*total % 64, 0);
    assert_true(*total >= *bound);
    mitral_context_destroy(&context);
}

static void chain_uses_two_buffers(void **state)
{
    (void)state;
    struct buffer buffers[10];
    for (uint32_t i = 0; i < 10; i++)
        buffers[i] = (struct buffer){1024, i, i + 1, 0};
    size_t total, bound;
    check(buffers, 10, 11, &total, &bound);
    assert_int_equal(total, 2048);
    assert_int_equal(bound, 2048);
}

static void sizes_round_up_in_total_and_bound(void **state)
{
    (void)state;
    struct buffer buffers[2] = {{65, 0, 1, 0}, {1, 1, 2, 0}};
    size_t total, bound;
    check(buffers, 2, 3, &total, &bound);
    assert_int_equal(total, 192);
    assert_int_equal(bound, 192);
}

static void random_lifetimes_never_overlap(void **state)
{
    (void)state;
    struct buffer buffers[200];
    uint32_t seed = 1;
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < 200; i++) {
            seed = seed * 1664525u + 1013904223u;
            uint32_t first = seed >> 24;
            seed = seed * 1664525u + 1013904223u;
            buffers[i] = (struct buffer){(seed >> 16) % 5000 + 1, first, first + (seed >> 8) % 40, 0};
        }
        size_t total, bound;
        check(buffers, 200, 300, &total, &bound);
        assert_true(total <= bound * 2);
    }
}

static void nothing_needs_nothing(void **state)
{
    (void)state;
    size_t total, bound;
    check(NULL, 0, 0, &total, &bound);
    assert_int_equal(total, 0);
}

static void sizes_beyond_addresses_are_refused(void **state)
{
    (void)state;
    mitral_context *context = test_context();
    struct buffer buffers[3] = {{(size_t)1 << 62, 0, 1, 0}, {(size_t)1 << 62, 1, 2, 0}, {SIZE_MAX - 8, 2, 3, 0}};
    size_t total, bound;
    assert_int_equal(memory_plan(context, buffers, 2, 4, &total, &bound), MITRAL_LIMIT);
    assert_non_null(strstr(mitral_context_message(context), "more than 2^63 bytes"));
    assert_int_equal(memory_plan(context, buffers + 2, 1, 4, &total, &bound), MITRAL_LIMIT);
    mitral_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chain_uses_two_buffers),
        cmocka_unit_test(sizes_round_up_in_total_and_bound),
        cmocka_unit_test(random_lifetimes_never_overlap),
        cmocka_unit_test(nothing_needs_nothing),
        cmocka_unit_test(sizes_beyond_addresses_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
