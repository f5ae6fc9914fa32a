/* oneDNN's LSTM, GRU and RNN against the reference kernels: directions, states, outputs that are left out, and the same
 * bits for any number of threads. */
#include <string.h>

#include "runtime/cpu.h"
#include "test_onednn_support.h"

enum { H0 = 1, C0 = 2, BIAS = 4, FORMS = 8 };

static const struct layer {
    const char *reference, *kernel;
    int64_t gates;
    bool linear_before_reset, relu;
} layers[] = {{"LSTM", "onednn.lstm", 4, false, false}, {"GRU", "onednn.gru", 3, false, false}, {"GRU", "onednn.gru", 3, true, false},
              {"RNN", "onednn.rnn", 1, false, false}, {"RNN", "onednn.rnn", 1, false, true}};

static void add_operands(struct bench *bench, const struct layer *layer, const char *direction, const int64_t sizes[4], int form)
{
    const int64_t time = sizes[0], batch = sizes[1], input = sizes[2], hidden = sizes[3], directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    const int64_t state[3] = {directions, batch, hidden};
    bench_int(bench, "hidden_size", hidden);
    bench_text(bench, "direction", direction);
    if (layer->linear_before_reset)
        bench_int(bench, "linear_before_reset", 1);
    if (layer->relu)
        assert_int_equal(attributes_set(&bench->attributes, &bench->arena,
                                        &(struct attribute){"activations", ATTRIBUTE_STRINGS, 1, .strings = &(mitral_string){"Relu", 4}}),
                         MITRAL_OK);
    bench_input(bench, MITRAL_FLOAT, 3, (int64_t[]){time, batch, input}, 3);
    bench_input(bench, MITRAL_FLOAT, 3, (int64_t[]){directions, layer->gates * hidden, input}, 4);
    bench_input(bench, MITRAL_FLOAT, 3, (int64_t[]){directions, layer->gates * hidden, hidden}, 5);
    if (layer->gates == 1) /* nothing holds an RNN's states back: by weights within ±1 roundings grow with each step */
        for (int64_t i = 0; i < directions * hidden * hidden; i++)
            ((float *)bench->inputs[2].tensor.data)[i] *= 0.25f;
    if (form & BIAS)
        bench_input(bench, MITRAL_FLOAT, 2, (int64_t[]){directions, 2 * layer->gates * hidden}, 6);
    else
        bench_absent(bench);
    bench_absent(bench);
    for (uint32_t i = 0; i < (layer->gates == 4 ? 2 : 1); i++)
        if (form & (i ? C0 : H0))
            bench_input(bench, MITRAL_FLOAT, 3, state, 7 + i);
        else
            bench_absent(bench);
    bench->output_count = layer->gates == 4 ? 3 : 2;
}

static void check(const struct layer *layer, const char *direction, const int64_t sizes[4], int form)
{
    struct bench bench;
    mitral_tensor expected[3], first[3];
    bench_open(&bench);
    add_operands(&bench, layer, direction, sizes, form);
    assert_int_equal(bench_run(&bench, layer->reference, true), MITRAL_OK);
    const size_t outputs = bench.output_count;
    for (size_t i = 0; i < outputs; i++)
        expected[i] = bench.outputs[i].tensor;
    for (bench.threads = 1; bench.threads < 4; bench.threads += 2) {
        assert_int_equal(bench_run(&bench, layer->kernel, true), MITRAL_OK);
        for (size_t i = 0; i < outputs; i++) {
            /* Sums of up to 100 products of numbers within ±1, through a few steps. */
            const double distance = bench_distance(&bench, &bench.outputs[i].tensor, &expected[i]);
            if (!(distance <= 2e-5))
                print_error("%s %s, form %d, output %zu: distance %g\n", layer->kernel, direction, form, i, distance);
            assert_true(distance <= 2e-5);
            if (bench.threads == 1)
                first[i] = bench.outputs[i].tensor;
            else
                assert_memory_equal(bench.outputs[i].tensor.data, first[i].data, tensor_bytes(&first[i]));
        }
    }
    if (cpu_isa() >= ISA_AVX2 && (sizes[0] > 1 || sizes[1] > 1))
        assert_null(strstr(bench.description, layer->reference));
    bench_close(&bench);
}

static void test_forms(void **state)
{
    (void)state;
    static const char *const directions[] = {"forward", "reverse", "bidirectional"};
    static const int64_t sizes[][4] = {{5, 1, 7, 16}, {1, 1, 16, 16}, {1, 3, 33, 5}, {6, 2, 24, 37}};
    for (size_t l = 0; l < sizeof layers / sizeof *layers; l++)
        for (int d = 0; d < 3; d++)
            for (int s = 0; s < 4; s++)
                for (int form = 0; form < FORMS; form++)
                    if (layers[l].gates == 4 || !(form & C0))
                        check(&layers[l], directions[d], sizes[s], form);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
