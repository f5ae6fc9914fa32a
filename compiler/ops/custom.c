/* Rows of operators that the caller registers. They belong to the context: the tables stay constant. */
#include <string.h>

#include "compiler/op.h"
#include "runtime/custom.h"

enum { LONGEST_NAME = 100 };

struct registration {
    struct custom_operator custom; /* first: that is what the context holds and releases */
    struct op row;
    char text[3 * (LONGEST_NAME + 1) + 1]; /* domain, name, "<domain>:<name>" */
};

static bool is_name(const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t size = text ? strspn(text, allowed) : 0;
    return size && size <= LONGEST_NAME && !text[size];
}

static bool is_reserved(const char *domain)
{
    return strcmp(domain, "mitral") == 0 || strcmp(domain, "ai.onnx") == 0 || strncmp(domain, "ai.onnx.", strlen("ai.onnx.")) == 0;
}

static bool is_arity(int32_t least, int32_t most)
{
    return least >= 0 && (most == -1 || most >= least);
}

static mitral_status check(mitral_context *context, const mitral_operator *description)
{
    if (!is_name(description->name))
        return mitral_fail(context, MITRAL_INVALID, "registration: expected a name of 1 to %d letters, digits, '.', '_' and '-', found '%.120s'",
                           LONGEST_NAME, description->name ? description->name : "");
    const char *name = description->name;
    if (!is_name(description->domain))
        return mitral_fail(context, MITRAL_INVALID,
                           "registration of %s: expected a domain of 1 to %d letters, digits, '.', '_' and '-', found '%.120s'", name,
                           LONGEST_NAME, description->domain ? description->domain : "");
    if (is_reserved(description->domain))
        return mitral_fail(context, MITRAL_INVALID, "registration of %s: expected a domain of the caller's own, found '%s'", name,
                           description->domain);
    if (!description->shape || !description->run)
        return mitral_fail(context, MITRAL_INVALID, "registration of %s: expected a shape and a run function, found no %s", name,
                           description->shape ? "run" : "shape");
    if (!is_arity(description->min_inputs, description->max_inputs))
        return mitral_fail(context, MITRAL_INVALID, "registration of %s: expected inputs from 0 to at least as many, found %d to %d", name,
                           (int)description->min_inputs, (int)description->max_inputs);
    if (!is_arity(description->min_outputs, description->max_outputs) || !description->max_outputs)
        return mitral_fail(context, MITRAL_INVALID, "registration of %s: expected outputs, and from 0 to at least as many, found %d to %d", name,
                           (int)description->min_outputs, (int)description->max_outputs);
    if (op_find(description->domain, name) || custom_find(context, description->domain, name))
        return mitral_fail(context, MITRAL_INVALID, "registration of %s: expected a name that is free in domain '%s', found it taken", name,
                           description->domain);
    return MITRAL_OK;
}

mitral_status mitral_context_register(mitral_context *context, const mitral_operator *description)
{
    if (!context || !description)
        return mitral_fail(context, MITRAL_INVALID, "registration: expected a context and a description, found none");
    TRY(check(context, description));
    struct registration *made = mitral_allocate(context, sizeof *made);
    if (!made)
        return MITRAL_NO_MEMORY;
    size_t domain_size = strlen(description->domain), name_size = strlen(description->name);
    char *domain = made->text, *name = domain + domain_size + 1, *kernel = name + name_size + 1;
    memcpy(domain, description->domain, domain_size);
    memcpy(name, description->name, name_size);
    memcpy(kernel, domain, domain_size);
    kernel[domain_size] = ':';
    memcpy(kernel + domain_size + 1, name, name_size);
    made->custom.description = *description;
    made->custom.description.domain = domain;
    made->custom.description.name = name;
    custom_make_kernel(&made->custom, kernel);
    made->row = (struct op){.name = name, .domain = domain, .traits = description->impure ? OP_RANDOM : 0, .custom = &made->custom.kernel};
    made->custom.row = &made->row;
    made->custom.next = context->operators;
    context->operators = &made->custom;
    return MITRAL_OK;
}

const struct op *op_find_registered(const mitral_context *context, const char *domain, const char *name)
{
    const struct custom_operator *custom = custom_find(context, domain, name);
    return custom ? custom->row : NULL;
}
