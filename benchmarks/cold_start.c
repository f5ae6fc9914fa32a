/* From the start of a process to the first output, each engine by its C interface, its library opened by name:
 *
 *     cold_start RUNS mitral      libmitral.so        model.plan THREADS 1x1x224x224
 *     cold_start RUNS onnxruntime libonnxruntime.so.… model.onnx THREADS 1x1x224x224
 *     cold_start RUNS openvino    libopenvino_c.so.…  model.onnx THREADS 1x1x224x224
 *
 * Runs so many processes one after another; prints "milliseconds megabytes" of each: until the first output is there, and the peak
 * of resident memory. The wheels have the libraries, not the headers: what is called is declared here. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mitral.h"

struct job {
    const char *engine, *library, *model;
    int threads;
    int64_t dims[8], count; /* of the only input, floats */
    size_t rank;
};

static void stop(const char *what, const char *detail)
{
    fprintf(stderr, "cold_start: %s: %s\n", what, detail ? detail : "no message");
    _exit(1);
}

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found)
        stop(name, dlerror());
    return found;
}

static float *make_input(const struct job *job)
{
    float *values = aligned_alloc(64, ((size_t)job->count * sizeof *values + 63) / 64 * 64);
    if (!values)
        stop("input", "expected memory");
    for (int64_t i = 0; i < job->count; i++)
        values[i] = (float)(i % 17) / 16 - 0.5f;
    return values;
}

/* ---- mitral ---------------------------------------------------------------------------------------------------------------- */

#define MITRAL_CALL(name) __typeof__(&name) p_##name = (__typeof__(&name))symbol(library, #name)

static double run_mitral(const struct job *job, void *library)
{
    MITRAL_CALL(mitral_context_create);
    MITRAL_CALL(mitral_context_message);
    MITRAL_CALL(mitral_plan_open);
    MITRAL_CALL(mitral_session_create);
    MITRAL_CALL(mitral_session_run);
    mitral_context *context = NULL;
    mitral_plan *plan = NULL;
    mitral_session *session = NULL;
    const mitral_session_options options = {.threads = job->threads};
    mitral_value input = {.kind = MITRAL_TENSOR, .tensor = {.dtype = MITRAL_FLOAT, .rank = (int32_t)job->rank, .data = make_input(job)}};
    const mitral_value *inputs[] = {&input}, *outputs[8] = {NULL};
    memcpy(input.tensor.dims, job->dims, job->rank * sizeof *job->dims);
    if (p_mitral_context_create(&context, NULL) != MITRAL_OK || p_mitral_plan_open(&plan, context, job->model) != MITRAL_OK
        || p_mitral_session_create(&session, context, plan, &options) != MITRAL_OK
        || p_mitral_session_run(session, inputs, 1, outputs, 1) != MITRAL_OK)
        stop("mitral", p_mitral_context_message(context));
    return (double)((const float *)outputs[0]->tensor.data)[0];
}

/* ---- ONNX Runtime: a table of functions that only grows ------------------------------------------------------------------------ */

enum ort_index {
    ORT_ERROR_MESSAGE = 2, ORT_CREATE_ENV = 3, ORT_CREATE_SESSION = 7, ORT_RUN = 9, ORT_CREATE_OPTIONS = 10, ORT_INTRA_THREADS = 24,
    ORT_INTER_THREADS = 25, ORT_INPUT_NAME = 36, ORT_OUTPUT_NAME = 37, ORT_CREATE_TENSOR = 49, ORT_TENSOR_DATA = 51, ORT_CPU_MEMORY = 69,
    ORT_ALLOCATOR = 78
};

struct ort_base {
    const void *(*api)(uint32_t version);
    const char *(*version)(void);
};

static double run_onnxruntime(const struct job *job, void *library)
{
    const struct ort_base *(*base)(void) = (const struct ort_base *(*)(void))symbol(library, "OrtGetApiBase");
    void *const *api = base()->api(1);
    void *environment, *options, *session, *memory, *allocator, *input, *output = NULL, *status;
    char *input_name, *output_name;
    const float *result;
#define ORT(index, types, ...)                                                                                         \
    if ((status = ((void *(*)types)api[index])(__VA_ARGS__)) != NULL)                                                  \
    stop("onnxruntime", ((const char *(*)(const void *))api[ORT_ERROR_MESSAGE])(status))
    ORT(ORT_CREATE_ENV, (int, const char *, void **), 3, "cold", &environment);
    ORT(ORT_CREATE_OPTIONS, (void **), &options);
    ORT(ORT_INTRA_THREADS, (void *, int), options, job->threads);
    ORT(ORT_INTER_THREADS, (void *, int), options, 1);
    ORT(ORT_CREATE_SESSION, (void *, const char *, void *, void **), environment, job->model, options, &session);
    ORT(ORT_ALLOCATOR, (void **), &allocator);
    ORT(ORT_INPUT_NAME, (void *, size_t, void *, char **), session, 0, allocator, &input_name);
    ORT(ORT_OUTPUT_NAME, (void *, size_t, void *, char **), session, 0, allocator, &output_name);
    ORT(ORT_CPU_MEMORY, (int, int, void **), 1, 0, &memory);
    ORT(ORT_CREATE_TENSOR, (void *, void *, size_t, const int64_t *, size_t, int, void **), memory, make_input(job),
        (size_t)job->count * sizeof(float), job->dims, job->rank, 1, &input);
    const char *input_names[] = {input_name}, *output_names[] = {output_name};
    ORT(ORT_RUN, (void *, void *, const char *const *, void *const *, size_t, const char *const *, size_t, void **), session, NULL,
        input_names, &input, 1, output_names, 1, &output);
    ORT(ORT_TENSOR_DATA, (void *, const float **), output, &result);
    return (double)result[0];
}

/* ---- OpenVINO ---------------------------------------------------------------------------------------------------------------- */

struct ov_shape {
    int64_t rank, *dims;
};

#define OV(name, types, ...)                                                                                           \
    if (((int (*)types)symbol(library, name))(__VA_ARGS__) != 0)                                                       \
    stop("openvino", name)

static double run_openvino(const struct job *job, void *library)
{
    void *core, *model, *port, *compiled, *request, *input, *output;
    int type;
    float *result, *values = make_input(job);
    char threads[16];
    /* The only input is fixed to its shape, as the benchmark does. */
    struct {
        struct {
            int64_t low, high;
        } rank;
        void *dims;
    } partial;
    struct ov_shape shape = {(int64_t)job->rank, (int64_t *)job->dims};
    snprintf(threads, sizeof threads, "%d", job->threads);
    OV("ov_core_create", (void **), &core);
    OV("ov_core_read_model", (void *, const char *, const char *, void **), core, job->model, NULL, &model);
    OV("ov_partial_shape_create_static", (int64_t, const int64_t *, void *), shape.rank, job->dims, &partial);
    int (*reshape)(const void *, __typeof__(partial)) = (int (*)(const void *, __typeof__(partial)))symbol(library, "ov_model_reshape_single_input");
    if (reshape(model, partial) != 0)
        stop("openvino", "ov_model_reshape_single_input");
    OV("ov_core_compile_model", (void *, void *, const char *, size_t, void **, ...), core, model, "CPU", 6, &compiled,
       "INFERENCE_PRECISION_HINT", "f32", "INFERENCE_NUM_THREADS", threads, "NUM_STREAMS", "1");
    OV("ov_compiled_model_create_infer_request", (void *, void **), compiled, &request);
    OV("ov_compiled_model_input", (const void *, void **), compiled, &port);
    OV("ov_port_get_element_type", (const void *, int *), port, &type);
    int (*wrap)(int, struct ov_shape, void *, void **) = (int (*)(int, struct ov_shape, void *, void **))symbol(library, "ov_tensor_create_from_host_ptr");
    if (wrap(type, shape, values, &input) != 0)
        stop("openvino", "ov_tensor_create_from_host_ptr");
    OV("ov_infer_request_set_input_tensor", (void *, void *), request, input);
    OV("ov_infer_request_infer", (void *), request);
    OV("ov_infer_request_get_output_tensor_by_index", (void *, size_t, void **), request, 0, &output);
    OV("ov_tensor_data", (void *, void **), output, (void **)&result);
    return (double)result[0];
}

/* ---- processes ---------------------------------------------------------------------------------------------------------------- */

static int child(const struct job *job, int report)
{
    void *library = dlopen(job->library, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        stop(job->library, dlerror());
    double first = strcmp(job->engine, "mitral") == 0        ? run_mitral(job, library)
                   : strcmp(job->engine, "onnxruntime") == 0 ? run_onnxruntime(job, library)
                                                             : run_openvino(job, library);
    if (write(report, &first, sizeof first) != sizeof first)
        stop("report", "expected a pipe");
    _exit(0);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The program itself anew, so that nothing of it is loaded yet. */
static bool run_once(char **argv)
{
    int pipes[2], status;
    char number[16];
    double first;
    struct rusage usage;
    if (pipe(pipes) != 0)
        return false;
    snprintf(number, sizeof number, "-%d", pipes[1]);
    double start = seconds();
    pid_t process = fork();
    if (process == 0) {
        char *arguments[] = {argv[0], number, argv[2], argv[3], argv[4], argv[5], argv[6], NULL};
        execv("/proc/self/exe", arguments);
        _exit(127);
    }
    close(pipes[1]);
    bool there = read(pipes[0], &first, sizeof first) == sizeof first;
    double took = seconds() - start;
    close(pipes[0]);
    if (wait4(process, &status, 0, &usage) != process || !there || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return false;
    printf("%.3f %.1f %.9g\n", 1e3 * took, (double)usage.ru_maxrss / 1024, first);
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: cold_start RUNS mitral|onnxruntime|openvino LIBRARY MODEL THREADS 1x1x224x224\n");
        return 2;
    }
    struct job job = {.engine = argv[2], .library = argv[3], .model = argv[4], .threads = atoi(argv[5]), .count = 1};
    for (char *at = argv[6]; *at && job.rank < 8; at += *at == 'x') {
        job.dims[job.rank] = strtoll(at, &at, 10);
        job.count *= job.dims[job.rank++];
    }
    int runs = atoi(argv[1]);
    if (runs < 0)
        return child(&job, -runs);
    for (int i = 0; i < runs; i++)
        if (!run_once(argv))
            return 1;
    return 0;
}
