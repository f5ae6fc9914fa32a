#include "cli/inputs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mitral/tools.h"

bool cli_inputs_add(struct cli_inputs *inputs, const char *item)
{
    if (inputs->count == CLI_MAX_INPUTS || !*item)
        return false;
    inputs->items[inputs->count++] = item;
    return true;
}

void cli_inputs_close(mitral_value **values)
{
    for (size_t i = 0; i < CLI_MAX_INPUTS; i++)
        mitral_value_destroy(&values[i]);
}

/* What a model or a plan declares of its inputs, behind one face. */
struct declared {
    const mitral_model *model;
    const mitral_plan *plan;
};

static size_t input_count(const struct declared *declared)
{
    return declared->plan ? mitral_plan_input_count(declared->plan) : mitral_model_input_count(declared->model);
}

static mitral_value_info input_info(const struct declared *declared, size_t index)
{
    return declared->plan ? mitral_plan_input(declared->plan, index) : mitral_model_input(declared->model, index);
}

static size_t find_input(const struct declared *declared, const char *name, size_t length)
{
    size_t count = input_count(declared);
    for (size_t i = 0; i < count; i++)
        if (strlen(input_info(declared, i).name) == length && strncmp(input_info(declared, i).name, name, length) == 0)
            return i;
    return count;
}

static mitral_status refuse_name(const struct declared *declared, const char *option, const char *name, size_t length)
{
    char names[1024] = "";
    for (size_t i = 0, used = 0; i < input_count(declared) && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", input_info(declared, i).name);
    return cli_refuse("%s: expected the name of an input (%s), found '%.*s'", option, names, (int)length, name);
}

static mitral_status load_given(mitral_value **values, mitral_context *context, const struct declared *declared,
                                const struct cli_inputs *inputs)
{
    size_t count = input_count(declared), next = 0;
    if (count > CLI_MAX_INPUTS)
        return cli_refuse("expected at most %d inputs, found %zu", CLI_MAX_INPUTS, count);
    for (size_t i = 0; i < inputs->count; i++) {
        const char *item = inputs->items[i], *equals = strchr(item, '='), *file = item;
        size_t index = count;
        if (equals) {
            index = find_input(declared, item, (size_t)(equals - item));
            if (index == count)
                return refuse_name(declared, "-i", item, (size_t)(equals - item));
            file = equals + 1;
        } else {
            while (next < count && values[next])
                next++;
            index = next;
        }
        if (index >= count || values[index])
            return cli_refuse("-i: expected each of %zu inputs once, found '%s' as well", count, item);
        mitral_status status = mitral_value_load(&values[index], context, file, (mitral_kind)input_info(declared, index).kind);
        if (status != MITRAL_OK)
            return status;
    }
    return MITRAL_OK;
}

static mitral_status fill_random(mitral_value **values, mitral_context *context, const struct declared *declared, uint64_t seed,
                                 const mitral_compile_options *options)
{
    for (size_t i = 0; i < input_count(declared); i++) {
        if (values[i])
            continue;
        mitral_value_info info = input_info(declared, i);
        for (size_t j = 0; options && j < options->shape_count; j++)
            if (strcmp(options->shapes[j].name, info.name) == 0 && (info.rank < 0 || info.rank == options->shapes[j].rank)) {
                info.rank = options->shapes[j].rank;
                memcpy(info.dims, options->shapes[j].dims, sizeof info.dims);
            }
        mitral_status status = mitral_value_random(&values[i], context, &info, seed + i);
        if (status != MITRAL_OK)
            return status;
    }
    return MITRAL_OK;
}

static mitral_status check_given(const struct declared *declared, mitral_value **values)
{
    for (size_t i = 0; i < input_count(declared); i++)
        if (!values[i])
            return cli_refuse("input '%s': expected -i %s=FILE, found none", input_info(declared, i).name, input_info(declared, i).name);
    return MITRAL_OK;
}

static const char *describe_shape(char *text, size_t size, int32_t rank, const int64_t *dims)
{
    size_t used = 0;
    *text = 0;
    for (int32_t i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? "x" : "", (long long)dims[i]);
    return text;
}

/* Inputs settle the shapes; what --shape says must be true of them. */
static mitral_status check_shapes(const struct declared *declared, mitral_value **values, const mitral_compile_options *options)
{
    for (size_t i = 0; i < options->shape_count; i++) {
        const mitral_shape *shape = &options->shapes[i];
        size_t index = find_input(declared, shape->name, strlen(shape->name));
        if (index == input_count(declared))
            return refuse_name(declared, "--shape", shape->name, strlen(shape->name));
        const mitral_tensor *tensor = &values[index]->tensor;
        if (values[index]->kind == MITRAL_TENSOR && tensor->rank == shape->rank
            && memcmp(tensor->dims, shape->dims, (size_t)shape->rank * sizeof *shape->dims) == 0)
            continue;
        char expected[256], found[256];
        return cli_refuse("--shape: expected %s, the shape of input '%s', found %s",
                          describe_shape(expected, sizeof expected, tensor->rank, tensor->dims), shape->name,
                          describe_shape(found, sizeof found, shape->rank, shape->dims));
    }
    return MITRAL_OK;
}

mitral_status cli_inputs_open(mitral_plan **plan, mitral_value **values, mitral_context *context, const char *path,
                              const struct cli_inputs *inputs, const mitral_compile_options *options, const uint64_t *random_seed)
{
    static mitral_shape shapes[CLI_MAX_INPUTS];
    mitral_model *model = NULL;
    struct declared declared = {0};
    mitral_status status = MITRAL_OK;
    if (!cli_is_plan(path))
        status = mitral_model_load(&model, context, path);
    else if ((status = cli_check_plan_options(path, options)) == MITRAL_OK)
        status = mitral_plan_open(plan, context, path);
    declared.model = model;
    declared.plan = *plan;
    if (status == MITRAL_OK)
        status = load_given(values, context, &declared, inputs);
    if (status == MITRAL_OK)
        status = random_seed ? fill_random(values, context, &declared, *random_seed, options) : check_given(&declared, values);
    if (status == MITRAL_OK)
        status = check_shapes(&declared, values, options);
    if (status == MITRAL_OK && model) {
        mitral_compile_options fixed = *options;
        fixed.shapes = shapes;
        fixed.shape_count = 0;
        for (size_t i = 0; i < input_count(&declared); i++) {
            mitral_value_info info = input_info(&declared, i);
            bool open = info.rank < 0;
            for (int32_t d = 0; d < info.rank; d++)
                open |= info.dims[d] < 0;
            if (!open || values[i]->kind != MITRAL_TENSOR || (info.rank >= 0 && info.rank != values[i]->tensor.rank))
                continue;
            mitral_shape *shape = &shapes[fixed.shape_count++];
            *shape = (mitral_shape){.name = info.name, .rank = values[i]->tensor.rank};
            memcpy(shape->dims, values[i]->tensor.dims, sizeof shape->dims);
        }
        status = mitral_compile(plan, context, model, &fixed);
    }
    mitral_model_destroy(&model);
    return status;
}

mitral_status cli_inputs_load_case(mitral_value **values, mitral_context *context, const mitral_plan *plan, const char *folder)
{
    for (size_t i = 0; i < mitral_plan_input_count(plan) && i < CLI_MAX_INPUTS; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/input_%zu.pb", folder, i);
        if (access(path, F_OK) != 0 && mitral_plan_input(plan, i).kind == MITRAL_OPTIONAL)
            continue;
        mitral_status status = mitral_value_load(&values[i], context, path, (mitral_kind)mitral_plan_input(plan, i).kind);
        if (status != MITRAL_OK)
            return status;
    }
    return MITRAL_OK;
}
