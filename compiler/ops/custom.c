/* Rows of operators that the caller registers. They belong to the context: the tables stay constant. */
#include <stdio.h>
#include <string.h>

#include "compiler/gradients/gradients.h"
#include "runtime/custom.h"

enum { LONGEST_NAME = 100 };
#define GRADIENT ":gradient" /* behind the name; no registered name has a colon */

struct registration {
    struct custom_operator custom, gradient; /* custom first: that is what the context holds and releases */
    struct op row, gradient_row;
    char domain[LONGEST_NAME + 1], name[LONGEST_NAME + 1], gradient_name[LONGEST_NAME + sizeof GRADIENT];
    char kernel[2 * LONGEST_NAME + 2], gradient_kernel[2 * LONGEST_NAME + 2 + sizeof GRADIENT]; /* "<domain>:<name>" */
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
    snprintf(made->domain, sizeof made->domain, "%s", description->domain);
    snprintf(made->name, sizeof made->name, "%s", description->name);
    snprintf(made->kernel, sizeof made->kernel, "%s:%s", made->domain, made->name);
    snprintf(made->gradient_name, sizeof made->gradient_name, "%s" GRADIENT, made->name);
    snprintf(made->gradient_kernel, sizeof made->gradient_kernel, "%s" GRADIENT, made->kernel);
    made->custom.description = *description;
    made->custom.description.domain = made->domain;
    made->custom.description.name = made->name;
    made->row = (struct op){.name = made->name, .domain = made->domain, .traits = description->impure ? OP_RANDOM : 0, .custom = &made->custom.kernel};
    if (description->gradient) {
        made->gradient.description = made->custom.description;
        custom_make_kernel(&made->gradient, made->gradient_kernel, true);
        made->gradient_row = made->row;
        made->gradient_row.name = made->gradient_name;
        made->gradient_row.custom = &made->gradient.kernel;
        made->gradient.row = &made->gradient_row;
        made->custom.gradient = &made->gradient;
        made->row.gradient = differentiate_custom;
    }
    custom_make_kernel(&made->custom, made->kernel, false);
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
