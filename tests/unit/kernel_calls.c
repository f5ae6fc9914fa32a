#include "kernel_calls.h"

#include <string.h>

static void add_input(struct bench *bench, const struct call_input *input, int32_t dtype, uint32_t seed)
{
    if (input->rank1 < 0) {
        bench_absent(bench);
        return;
    }
    mitral_tensor described;
    const int32_t type = input->dtype ? input->dtype : dtype;
    tensor_set(&described, type, input->rank1 - 1, input->dims);
    if (mitral_tensor_count(&described) < 0 || mitral_tensor_count(&described) > 1 << 20) {
        mitral_value *value = &bench->inputs[bench->input_count];
        *value = (mitral_value){.kind = MITRAL_TENSOR, .tensor = described};
        bench->input_list[bench->input_count++] = value;
        return;
    }
    mitral_tensor *tensor = bench_input(bench, type, input->rank1 - 1, input->dims, seed);
    for (int64_t i = 0; input->integers && i < tensor_count(tensor); i++)
        tensor_set_int(tensor, i, input->integers[i]);
}

void call_open(struct bench *bench, const struct call_case *call, int32_t dtype)
{
    bench_open(bench);
    bench->opset = call->opset ? call->opset : 22;
    bench->output_count = call->outputs ? (size_t)call->outputs : 1;
    for (size_t i = 0; i < CALL_INPUTS && call->inputs[i].rank1; i++)
        add_input(bench, &call->inputs[i], dtype, (uint32_t)i + 1);
    for (size_t i = 0; i < CALL_ATTRIBUTES && call->attributes[i].name; i++) {
        const struct call_attribute *attribute = &call->attributes[i];
        if (attribute->text)
            bench_text(bench, attribute->name, attribute->text);
        else if (attribute->count)
            bench_ints(bench, attribute->name, attribute->count, attribute->values);
        else if (attribute->real != 0)
            bench_float(bench, attribute->name, attribute->real);
        else
            bench_int(bench, attribute->name, attribute->values[0]);
    }
}

void check_refused(const struct call_case *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct bench bench;
        call_open(&bench, &calls[i], MITRAL_FLOAT);
        const mitral_status status = bench_run(&bench, calls[i].kernel, true);
        if (status != calls[i].status)
            fail_msg("%s, %s: %s expected, found %s: %s", calls[i].kernel, calls[i].what ? calls[i].what : "",
                     mitral_status_name(calls[i].status), mitral_status_name(status),
                     mitral_context_message(bench.context));
        const char *message = mitral_context_message(bench.context);
        if (!strstr(message, calls[i].kernel) || !strstr(message, "expected"))
            fail_msg("%s, %s: a message that names the kernel and what was expected, found '%s'", calls[i].kernel,
                     calls[i].what ? calls[i].what : "", message);
        bench_close(&bench);
    }
}
