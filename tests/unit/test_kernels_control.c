/* Loops, branches and sequences called by hand, with bodies written in C. */
#include "kernel_bench.h"

#include <string.h>

/* The body of a loop: inputs (trip, condition, state…), outputs (condition, state + 1, the trip's number). */
static mitral_status counting_body(struct kernel_call *call, int32_t index, const mitral_value *const *inputs, size_t input_count,
                                   mitral_value *outputs, size_t output_count)
{
    assert_int_equal(index, 0);
    assert_int_equal(input_count, 3);
    assert_int_equal(output_count, 3);
    int64_t trip = *(const int64_t *)inputs[0]->tensor.data, last = *(int64_t *)call->executor;
    uint8_t *going = arena_allocate(call->arena, 1);
    float *state = arena_allocate(call->arena, sizeof(float));
    int64_t *number = arena_allocate(call->arena, sizeof(int64_t));
    assert_true(going && state && number);
    *going = trip < last;
    *state = *(const float *)inputs[2]->tensor.data + 1;
    *number = trip;
    outputs[0] = (mitral_value){.tensor = {.dtype = MITRAL_BOOL, .data = going}};
    outputs[1] = (mitral_value){.tensor = {.dtype = MITRAL_FLOAT, .data = state}};
    outputs[2] = (mitral_value){.tensor = {.dtype = MITRAL_INT64, .data = number}};
    return MITRAL_OK;
}

static void open_loop(struct bench *bench, const int64_t *trips, int64_t *last)
{
    static const float start = 10;
    bench_open(bench, "Loop", 16);
    bench->call.run_subplan = counting_body;
    bench->call.executor = last;
    bench->call.output_count = 2;
    const struct attribute body = {.name = "body", .kind = ATTRIBUTE_GRAPH, .count = 1, .subgraph = 0};
    assert_int_equal(attributes_set(&bench->attributes, &bench->arena, &body), MITRAL_OK);
    if (trips)
        bench_input(bench, MITRAL_INT64, 0, NULL, trips);
    else
        bench_absent(bench);
    bench_absent(bench);
    bench_input(bench, MITRAL_FLOAT, 0, NULL, &start);
}

static void test_loop_ends_by_count_or_condition(void **state)
{
    (void)state;
    static const int64_t five = 5, many = INT64_MAX;
    const int64_t *const counts[] = {&five, &many, NULL};
    for (int i = 0; i < 3; i++) {
        int64_t last = i == 0 ? 1000 : 6; /* false after trip 6: seven trips */
        struct bench bench;
        open_loop(&bench, counts[i], &last);
        assert_ok(bench.context, bench_run(&bench));
        int64_t trips = i == 0 ? 5 : 7;
        assert_true(*(float *)bench.outputs[0].tensor.data == (float)(10 + trips));
        assert_int_equal(bench.outputs[1].tensor.rank, 1);
        assert_int_equal(bench.outputs[1].tensor.dims[0], trips);
        for (int64_t t = 0; t < trips; t++)
            assert_int_equal(((int64_t *)bench.outputs[1].tensor.data)[t], t);
        bench_close(&bench);
    }
}

static void test_loop_without_a_trip(void **state)
{
    (void)state;
    static const int64_t none = -3;
    int64_t last = 0;
    struct bench bench;
    open_loop(&bench, &none, &last);
    bench.outputs[1].tensor = (mitral_tensor){.dtype = MITRAL_INT64, .rank = 2, .dims = {-1, 4}}; /* as declared */
    assert_ok(bench.context, bench_run(&bench));
    assert_true(*(float *)bench.outputs[0].tensor.data == 10.0f);
    assert_int_equal(bench.outputs[1].tensor.dtype, MITRAL_INT64);
    assert_int_equal(bench.outputs[1].tensor.rank, 2);
    assert_int_equal(bench.outputs[1].tensor.dims[0], 0);
    assert_int_equal(bench.outputs[1].tensor.dims[1], 4);
    bench_close(&bench);
}

static void test_loop_that_never_ends_is_stopped(void **state)
{
    (void)state;
    int64_t last = INT64_MAX;
    struct bench bench;
    open_loop(&bench, NULL, &last);
    bench.context->options.max_loop_trips = 1000;
    bench_refuses(&bench, MITRAL_LIMIT);
}

static void test_control_refuses(void **state)
{
    (void)state;
    static const float number = 1;
    static const uint8_t two[2] = {1, 1};
    struct bench bench;
    bench_open(&bench, "If", 16);
    bench_input(&bench, MITRAL_FLOAT, 0, NULL, &number);
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "If", 16);
    bench_input(&bench, MITRAL_BOOL, 1, DIMS(2), two);
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "If", 16); /* no branches */
    bench_input(&bench, MITRAL_BOOL, 0, NULL, two);
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "Loop", 16); /* more captures than inputs, no body */
    bench_int(&bench, "captures", 77);
    bench_refuses(&bench, MITRAL_INVALID);
    for (int64_t count = -1; count < 4; count += 4) {
        bench_open(&bench, "Scan", 16);
        bench_int(&bench, "num_scan_inputs", count);
        bench_input(&bench, MITRAL_FLOAT, 0, NULL, &number);
        bench_refuses(&bench, MITRAL_INVALID);
    }
    bench_open(&bench, "SequenceMap", 17);
    bench_input(&bench, MITRAL_FLOAT, 0, NULL, &number);
    bench_refuses(&bench, MITRAL_INVALID);
}

/* A sequence of two tensors as input 0. */
static void open_sequence(struct bench *bench, const char *kernel)
{
    static float first[2] = {1, 2}, second[3] = {3, 4, 5};
    static mitral_value items[2] = {{.tensor = {.dtype = MITRAL_FLOAT, .rank = 1, .dims = {2}, .data = first}},
                                    {.tensor = {.dtype = MITRAL_FLOAT, .rank = 1, .dims = {3}, .data = second}}};
    bench_open(bench, kernel, 11);
    bench_input(bench, MITRAL_FLOAT, 0, NULL, NULL);
    bench->inputs[0] = (mitral_value){.kind = MITRAL_SEQUENCE, .count = 2, .items = items, .tensor.dtype = MITRAL_FLOAT};
}

static void test_sequence_positions(void **state)
{
    (void)state;
    static const float item = 9;
    struct bench bench;
    for (int64_t at = -3; at <= 2; at += 5) {
        open_sequence(&bench, "SequenceAt");
        bench_input(&bench, MITRAL_INT64, 0, NULL, &at);
        bench_refuses(&bench, MITRAL_INVALID);
        open_sequence(&bench, "SequenceErase");
        bench_input(&bench, MITRAL_INT64, 0, NULL, &at);
        bench_refuses(&bench, MITRAL_INVALID);
    }
    for (int64_t at = -2; at <= 2; at++) { /* insertion may come after the last */
        open_sequence(&bench, "SequenceInsert");
        bench_input(&bench, MITRAL_FLOAT, 0, NULL, &item);
        bench_input(&bench, MITRAL_INT64, 0, NULL, &at);
        assert_ok(bench.context, bench_run(&bench));
        assert_int_equal(bench.outputs[0].count, 3);
        assert_int_equal(bench.outputs[0].items[at < 0 ? at + 2 : at].tensor.rank, 0);
        bench_close(&bench);
    }
    static const int64_t whole = 1;
    open_sequence(&bench, "SequenceInsert"); /* of another type */
    bench_input(&bench, MITRAL_INT64, 0, NULL, &whole);
    bench_refuses(&bench, MITRAL_INVALID);
    open_sequence(&bench, "ConcatFromSequence"); /* lengths differ: they join, but do not stack */
    bench_int(&bench, "axis", 0);
    assert_ok(bench.context, bench_run(&bench));
    bench_expect_floats(&bench, 0, (float[]){1, 2, 3, 4, 5}, 5, 0);
    bench_close(&bench);
    open_sequence(&bench, "ConcatFromSequence");
    bench_int(&bench, "axis", 0);
    bench_int(&bench, "new_axis", 1);
    bench_refuses(&bench, MITRAL_INVALID);
    open_sequence(&bench, "SequenceLength");
    bench.inputs[0].kind = MITRAL_TENSOR;
    bench_refuses(&bench, MITRAL_INVALID);
}

static void test_split_lengths(void **state)
{
    (void)state;
    static const float values[4] = {1, 2, 3, 4};
    struct bench bench;
    static const int64_t wrong[][2] = {{3, 2}, {-1, 5}, {1, 2}, {INT64_MAX, INT64_MAX}};
    for (size_t i = 0; i < 4; i++) {
        bench_open(&bench, "SplitToSequence", 11);
        bench_input(&bench, MITRAL_FLOAT, 1, DIMS(4), values);
        bench_input(&bench, MITRAL_INT64, 1, DIMS(2), wrong[i]);
        bench_refuses(&bench, MITRAL_INVALID);
    }
    static const int64_t three = 3, zero = 0;
    bench_open(&bench, "SplitToSequence", 11);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(4), values);
    bench_input(&bench, MITRAL_INT64, 0, NULL, &zero);
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "SplitToSequence", 11);
    bench_input(&bench, MITRAL_FLOAT, 1, DIMS(4), values);
    bench_input(&bench, MITRAL_INT64, 0, NULL, &three);
    assert_ok(bench.context, bench_run(&bench));
    assert_int_equal(bench.outputs[0].count, 2);
    assert_int_equal(bench.outputs[0].items[1].tensor.dims[0], 1); /* what is left */
    bench_close(&bench);
}

static void test_empty_optional(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, "OptionalGetElement", 18);
    bench_input(&bench, MITRAL_FLOAT, 0, NULL, NULL);
    bench.inputs[0].kind = MITRAL_OPTIONAL;
    bench_refuses(&bench, MITRAL_INVALID);
    bench_open(&bench, "OptionalHasElement", 18);
    assert_ok(bench.context, bench_run(&bench)); /* no input at all */
    assert_int_equal(*(uint8_t *)bench.outputs[0].tensor.data, 0);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop_ends_by_count_or_condition),
        cmocka_unit_test(test_loop_without_a_trip),
        cmocka_unit_test(test_loop_that_never_ends_is_stopped),
        cmocka_unit_test(test_control_refuses),
        cmocka_unit_test(test_sequence_positions),
        cmocka_unit_test(test_split_lengths),
        cmocka_unit_test(test_empty_optional),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
