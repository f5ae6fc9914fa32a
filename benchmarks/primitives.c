/* Times one oneDNN primitive on made-up float32 data, in one thread where OMP_NUM_THREADS is 1: primitives OPERATION SIZES… [/ SIZES…].
 * Prints the median and the least of its runs in µs and the implementation. benchmarks/primitives.py builds and runs it. */
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        if ((call) != dnnl_success) {                                                                                  \
            fprintf(stderr, "primitives: expected %s to succeed\n", #call);                                            \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { MOST_RUNS = 2000, LEAST_RUNS = 20 };
static const double wanted_time = 250000; /* µs */

struct operation {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t descriptor;
    dnnl_exec_arg_t arguments[16];
    int count;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Numbers within ±0.16. */
static void add_argument(struct operation *o, int argument)
{
    const_dnnl_memory_desc_t wanted = dnnl_primitive_desc_query_md(o->descriptor, dnnl_query_exec_arg_md, argument);
    const size_t bytes = dnnl_memory_desc_get_size(wanted);
    float *data = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!data)
        exit(1);
    for (size_t i = 0; i < bytes / sizeof *data; i++)
        data[i] = 0.00125f * (float)((int)((unsigned)i * 2654435761u >> 24) - 128);
    o->arguments[o->count].arg = argument;
    CHECK(dnnl_memory_create(&o->arguments[o->count++].memory, wanted, o->engine, data));
}

static dnnl_memory_desc_t describe(int rank, const dnnl_dims_t dims)
{
    static const dnnl_format_tag_t plain[] = {dnnl_format_tag_undef, dnnl_a, dnnl_ab, dnnl_abc, dnnl_abcd};
    dnnl_memory_desc_t result;
    CHECK(dnnl_memory_desc_create_with_tag(&result, rank, dims, dnnl_f32, plain[rank]));
    return result;
}

/* d: time, batch, input, hidden. */
static void make_recurrent(struct operation *o, int lstm, const dnnl_dim_t *d)
{
    const dnnl_dim_t gates = lstm ? 4 : 3;
    const dnnl_dims_t weights[2] = {{1, 1, d[2], gates, d[3]}, {1, 1, d[3], gates, d[3]}};
    dnnl_memory_desc_t x = describe(3, (dnnl_dims_t){d[0], d[1], d[2]}), y = describe(3, (dnnl_dims_t){d[0], d[1], d[3]});
    dnnl_memory_desc_t state = describe(4, (dnnl_dims_t){1, 1, d[1], d[3]}), bias = describe(4, (dnnl_dims_t){1, 1, 4, d[3]}), w[2];
    for (int i = 0; i < 2; i++)
        CHECK(dnnl_memory_desc_create_with_tag(&w[i], 5, weights[i], dnnl_f32, dnnl_format_tag_any));
    if (lstm)
        CHECK(dnnl_lstm_forward_primitive_desc_create(&o->descriptor, o->engine, dnnl_forward_inference, dnnl_unidirectional_left2right, x, state, state,
                                                      w[0], w[1], NULL, NULL, bias, y, state, state, 0, NULL));
    else
        CHECK(dnnl_lbr_gru_forward_primitive_desc_create(&o->descriptor, o->engine, dnnl_forward_inference, dnnl_unidirectional_left2right, x, state, w[0],
                                                         w[1], bias, y, state, 0, NULL));
    static const int arguments[] = {DNNL_ARG_SRC_LAYER, DNNL_ARG_SRC_ITER, DNNL_ARG_WEIGHTS_LAYER, DNNL_ARG_WEIGHTS_ITER, DNNL_ARG_BIAS,
                                    DNNL_ARG_DST_LAYER, DNNL_ARG_DST_ITER, DNNL_ARG_SRC_ITER_C, DNNL_ARG_DST_ITER_C};
    for (int i = 0; i < (lstm ? 9 : 7); i++)
        add_argument(o, arguments[i]);
}

static void make(struct operation *o, const char *name, dnnl_memory_desc_t x, dnnl_memory_desc_t z)
{
    static const struct {
        const char *name;
        dnnl_alg_kind_t kind;
    } kinds[] = {{"reduce_max", dnnl_reduction_max}, {"reduce_mean", dnnl_reduction_mean}, {"reduce_sum", dnnl_reduction_sum}, {"add", dnnl_binary_add},
                 {"mul", dnnl_binary_mul}, {"sigmoid", dnnl_eltwise_logistic}, {"tanh", dnnl_eltwise_tanh}, {"exp", dnnl_eltwise_exp},
                 {"gelu", dnnl_eltwise_gelu_erf}, {"relu", dnnl_eltwise_relu}};
    dnnl_alg_kind_t kind = dnnl_alg_kind_undef;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(name, kinds[i].name) == 0)
            kind = kinds[i].kind;
    int second = 0;
    if (strcmp(name, "prelu") == 0) {
        CHECK(dnnl_prelu_forward_primitive_desc_create(&o->descriptor, o->engine, dnnl_forward_inference, x, z, x, NULL));
        second = DNNL_ARG_WEIGHTS;
    } else if (strcmp(name, "resize") == 0) {
        CHECK(dnnl_resampling_forward_primitive_desc_create(&o->descriptor, o->engine, dnnl_forward_inference, dnnl_resampling_linear, NULL, x, z, NULL));
    } else if (strncmp(name, "reduce", 6) == 0) {
        CHECK(dnnl_reduction_primitive_desc_create(&o->descriptor, o->engine, kind, x, z, 0, 0, NULL));
    } else if (z) {
        CHECK(dnnl_binary_primitive_desc_create(&o->descriptor, o->engine, kind, x, z, x, NULL));
        second = DNNL_ARG_SRC_1;
    } else {
        CHECK(dnnl_eltwise_forward_primitive_desc_create(&o->descriptor, o->engine, dnnl_forward_inference, kind, x, x, 0, 0, NULL));
    }
    add_argument(o, DNNL_ARG_SRC);
    add_argument(o, DNNL_ARG_DST);
    if (second)
        add_argument(o, second);
}

static void run(const struct operation *o)
{
    static double times[MOST_RUNS];
    dnnl_primitive_t primitive;
    const char *implementation = "";
    int runs = 0;
    CHECK(dnnl_primitive_create(&primitive, o->descriptor));
    CHECK(dnnl_primitive_desc_query(o->descriptor, dnnl_query_impl_info_str, 0, &implementation));
    const double start = now();
    while (runs < LEAST_RUNS || (runs < MOST_RUNS && now() - start < wanted_time)) {
        const double before = now();
        CHECK(dnnl_primitive_execute(primitive, o->stream, o->count, o->arguments));
        CHECK(dnnl_stream_wait(o->stream));
        times[runs++] = now() - before;
    }
    qsort(times, (size_t)runs, sizeof *times, compare);
    printf("%.1f %.1f %s\n", times[runs / 2], times[0], implementation);
}

int main(int argc, char **argv)
{
    struct operation operation = {0};
    dnnl_dims_t dims[2] = {{0}};
    int counts[2] = {0}, which = 0;
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], "/") == 0)
            which = 1;
        else if (counts[which] < 4)
            dims[which][counts[which]++] = atoll(argv[i]);
    if (argc < 3 || !counts[0]) {
        fprintf(stderr, "primitives: expected OPERATION SIZES… [/ SIZES…], up to four of each\n");
        return 2;
    }
    CHECK(dnnl_engine_create(&operation.engine, dnnl_cpu, 0));
    CHECK(dnnl_stream_create(&operation.stream, operation.engine, dnnl_stream_default_flags));
    if (strcmp(argv[1], "lstm") == 0 || strcmp(argv[1], "gru") == 0)
        make_recurrent(&operation, argv[1][0] == 'l', dims[0]);
    else
        make(&operation, argv[1], describe(counts[0], dims[0]), counts[1] ? describe(counts[1], dims[1]) : NULL);
    run(&operation);
    return 0;
}
