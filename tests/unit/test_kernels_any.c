/* Every reference kernel called with inputs that nobody would make: it must answer with a status, and under sanitizers
 * nothing else may happen. The calls are made from a fixed seed. */
#include "kernel_bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/op.h"

enum { TRIALS = 150, BYTES = 4096 };

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

/* Elements that are valid for their type, and small, so that those that are sizes stay small. */
static void *random_data(struct bench *bench, const mitral_tensor *tensor)
{
    int64_t count = tensor_count(tensor);
    mitral_tensor filled = *tensor;
    filled.data = arena_allocate(&bench->arena, tensor_bytes(tensor) + 1);
    assert_non_null(filled.data);
    static const char *const texts[] = {"", "a", "12", "x-y z"};
    for (int64_t i = 0; i < count; i++) {
        if (tensor->dtype == MITRAL_STRING) {
            const char *text = texts[draw(4)];
            ((mitral_string *)filled.data)[i] = (mitral_string){text, strlen(text)};
        } else if (tensor->dtype == MITRAL_BOOL) {
            ((uint8_t *)filled.data)[i] = (uint8_t)draw(2);
        } else if (dtype_is_integer(tensor->dtype)) {
            tensor_set_int(&filled, i, draw(20) ? (int64_t)draw(7) - 3 : (int64_t)random_state);
        } else {
            tensor_set_double(&filled, i, draw(20) ? (double)draw(64) / 8 - 4 : draw(2) ? NAN : INFINITY, true);
        }
    }
    return filled.data;
}

static void random_input(struct bench *bench)
{
    static const int32_t common[] = {MITRAL_FLOAT, MITRAL_FLOAT, MITRAL_INT64, MITRAL_UINT8, MITRAL_BOOL};
    if (draw(12) == 0) {
        bench_absent(bench);
        return;
    }
    /* Often like the input before it: otherwise hardly any call would come past the first check. */
    size_t before = bench->call.input_count;
    bool alike =
        before && bench->input_list[before - 1] && bench->input_list[before - 1]->kind == MITRAL_TENSOR && draw(2);
    int64_t dims[MITRAL_MAX_RANK];
    int32_t rank = (int32_t)draw(6), dtype = draw(3) ? common[draw(5)] : 1 + (int32_t)draw(MITRAL_DTYPE_COUNT - 1);
    if (alike) {
        rank = bench->inputs[before - 1].tensor.rank;
        memcpy(dims, bench->inputs[before - 1].tensor.dims, sizeof(dims));
        dtype = draw(3) ? bench->inputs[before - 1].tensor.dtype : dtype;
    }
    for (int32_t i = 0; i < rank; i++)
        dims[i] = alike && draw(4) ? dims[i] : (int64_t)draw(5);
    if (!mitral_dtype_size((mitral_dtype)dtype))
        dtype = MITRAL_FLOAT;
    mitral_tensor *tensor = bench_input(bench, dtype, rank, dims, NULL);
    if (draw(15))
        tensor->data = random_data(bench, tensor);
    if (draw(25) == 0) { /* of another kind */
        bench->inputs[before].kind = 1 + (int32_t)draw(3);
        bench->inputs[before].count = 0;
    }
}

/* The operator's own attributes, with values that may make no sense. */
static void random_attributes(struct bench *bench, const struct schema *schema)
{
    for (size_t i = 0; schema && i < schema->attribute_count; i++) {
        const struct schema_attribute *attribute = &schema->attributes[i];
        if (draw(2))
            continue;
        int64_t ints[4];
        float floats[4];
        for (int k = 0; k < 4; k++) {
            ints[k] = draw(20) ? (int64_t)draw(6) - 2 : (int64_t)random_state;
            floats[k] = (float)draw(16) / 4 - 2;
        }
        switch (attribute->kind) {
        case ATTRIBUTE_INT: bench_int(bench, attribute->name, ints[0]); break;
        case ATTRIBUTE_FLOAT: bench_float(bench, attribute->name, floats[0]); break;
        case ATTRIBUTE_STRING:
            bench_text(bench, attribute->name,
                       draw(2) && attribute->default_string ? attribute->default_string : "odd");
            break;
        case ATTRIBUTE_INTS: bench_ints(bench, attribute->name, ints, draw(5)); break;
        case ATTRIBUTE_FLOATS: bench_floats(bench, attribute->name, floats, draw(5)); break;
        default: break;
        }
    }
}

/* Tensors without data are never run: the executor does not either. */
static bool all_known(const struct bench *bench)
{
    for (size_t i = 0; i < bench->call.input_count; i++)
        if (bench->input_list[i] && bench->input_list[i]->kind == MITRAL_TENSOR && !bench->input_list[i]->tensor.data)
            return false;
    return true;
}

static void try_operator(const struct op *op, const struct kernel *kernel, const struct schema *schema)
{
    for (int trial = 0; trial < TRIALS; trial++) {
        struct bench bench;
        bench_open(&bench, kernel->name, schema ? schema->since_version : 1);
        size_t most = schema && schema->max_input < BENCH_INPUTS ? (size_t)schema->max_input : 5;
        size_t least = schema && schema->min_input > 0 ? (size_t)schema->min_input : 0;
        size_t count = draw(6) || most < least ? least + draw((uint32_t)(most < least ? 1 : most - least + 1))
                                               : draw(BENCH_INPUTS);
        while (bench.call.input_count < count)
            random_input(&bench);
        bench.call.output_count = schema && schema->max_output < BENCH_OUTPUTS ? (size_t)schema->max_output : 2;
        if (bench.call.output_count > 1
            && draw(8) == 0) /* one that nobody asked for; a step with none would not be there */
            bench.output_list[draw((uint32_t)bench.call.output_count)] = NULL;
        random_attributes(&bench, schema);
        mitral_status status = all_known(&bench) ? bench_run(&bench) : bench_shape(&bench);
        if (status != MITRAL_OK && status != MITRAL_DEFERRED && status != MITRAL_NO_MEMORY
            && !*mitral_context_message(bench.context))
            fail_msg("%s: status %d without a message", op->name, (int)status);
        bench_close(&bench);
    }
}

static void test_every_operator(void **state)
{
    (void)state;
    const char *only = getenv("MITRAL_TEST_OPERATOR"); /* to look at one; MITRAL_TEST_SEED for other calls */
    const struct op *op;
    for (size_t i = 0; (op = op_at(i)) != NULL; i++) {
        const struct kernel *kernel = op_kernel(op);
        /* Control flow needs subgraphs, which a call by hand has not. */
        if (!kernel || op->traits & OP_CONTROL || (only && strcmp(only, op->name) != 0))
            continue;
        random_state = 12345;
        if (getenv("MITRAL_TEST_SEED"))
            random_state = strtoull(getenv("MITRAL_TEST_SEED"), NULL, 10);
        if (only)
            printf("%s\n", op->name);
        for (int64_t opset = INT64_MAX;;) {
            const struct schema *schema = schema_find(op_domain(op), op->name, opset);
            try_operator(op, kernel, schema);
            if (!schema || schema->since_version <= 7)
                break;
            opset = schema->since_version - 1;
            if (!schema_find(op_domain(op), op->name, opset))
                break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_operator)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
