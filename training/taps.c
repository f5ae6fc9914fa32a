#include "training/taps.h"

#include <string.h>

#include "compiler/op.h"
#include "compiler/passes/activation.h"

static bool is_map(const struct graph *graph, value_id value)
{
    const struct value_type *type = &graph->values[value].type;
    return type->kind == MITRAL_TENSOR && type->rank == 4 && dtype_is_float(type->dtype) && type_is_static(type);
}

/* Erf is what GELU is written with. */
static bool is_activation(const struct node *node)
{
    return node && node->op
           && ((node->op->traits & OP_ACTIVATION) != 0 || node_is(node, "Relu") || node_is(node, "PRelu") || node_is(node, "Erf"));
}

/* A sum, product or quotient with one number. */
static bool takes_a_number(const struct graph *graph, const struct node *node)
{
    if (!node_is(node, "Mul") && !node_is(node, "Div") && !node_is(node, "Add") && !node_is(node, "Sub"))
        return false;
    for (size_t i = 0; i < 2; i++) {
        const mitral_tensor *constant = graph_constant(graph, node->inputs[i]);
        if (constant && tensor_count(constant) == 1)
            return true;
    }
    return false;
}

/* The map that an activation ends in. SiLU, Mish, GELU and gates are written with an activation that is only a factor: x · sigmoid(x),
 * x / 2 · (1 + erf(x / √2)). Their map is the product. */
static value_id end_of_activation(const struct graph *graph, const struct graph_uses *uses, const struct node *node)
{
    value_id value = node->outputs[0];
    for (;;) {
        const node_id id = only_reader(graph, uses, value);
        const struct node *reader = id == NO_NODE ? NULL : &graph->nodes[id];
        const bool gates = reader && node_is(reader, "Mul") && !graph_constant(graph, reader->inputs[0]) && !graph_constant(graph, reader->inputs[1]);
        if (!reader || (!gates && !takes_a_number(graph, reader)))
            return value;
        value = reader->outputs[0];
    }
}

static bool is_upsampling(const struct node *node)
{
    return node_is(node, "Resize") || node_is(node, "Upsample") || node_is(node, "ConvTranspose");
}

/* Values that the first output depends on. */
static mitral_status find_ancestors(const struct graph *graph, bool *ancestor)
{
    if (graph->output_count == 0)
        return mitral_fail(graph->context, MITRAL_INVALID, "expected a network with an output, found none");
    ancestor[graph->outputs[0]] = true;
    for (size_t n = graph->node_count; n-- > 0;) {
        const struct node *node = &graph->nodes[n];
        bool needed = false;
        for (size_t i = 0; node->op && i < node->output_count; i++)
            needed |= node->outputs[i] != NO_VALUE && ancestor[node->outputs[i]];
        for (size_t i = 0; needed && i < node->input_count; i++)
            if (node->inputs[i] != NO_VALUE)
                ancestor[node->inputs[i]] = true;
    }
    return MITRAL_OK;
}

/* The convolution that a value comes from, through normalisations and other operators of one map. */
static const struct node *convolution_before(const struct graph *graph, value_id value)
{
    for (int depth = 0; depth < 8 && value != NO_VALUE && graph->values[value].producer != NO_NODE; depth++) {
        const struct node *node = &graph->nodes[graph->values[value].producer];
        if (node_is(node, "Conv"))
            return node;
        if (!is_activation(node) && !takes_a_number(graph, node) && !node_is(node, "BatchNormalization")
            && !node_is(node, "InstanceNormalization") && !node_is(node, "GroupNormalization") && !node_is(node, "Identity"))
            return NULL;
        value = node_input(node, graph_constant(graph, node_input(node, 0)) ? 1 : 0);
    }
    return NULL;
}

/* A pointwise convolution to no more channels, before the activation `node`, whose result is upsampled and used by nothing else. */
static bool only_prepares_upsampling(const struct graph *graph, const struct graph_uses *uses, const struct node *node, value_id value)
{
    for (uint32_t i = uses->offsets[value]; i < uses->offsets[value + 1]; i++)
        if (!is_upsampling(&graph->nodes[uses->nodes[i]]))
            return false;
    const struct node *convolution = graph_use_count(uses, value) ? convolution_before(graph, node->inputs[0]) : NULL;
    if (!convolution)
        return false;
    const struct value_type *weights = &graph->values[convolution->inputs[1]].type;
    return weights->rank == 4 && weights->dims[2] == 1 && weights->dims[3] == 1 && weights->dims[0] <= weights->dims[1];
}

struct stages {
    value_id values[64];
    size_t count;
};

/* One value a size, in ascending order of size. */
static mitral_status find_stages(struct stages *out, const struct graph *graph)
{
    bool *ancestor = mitral_allocate(graph->context, graph->value_count * sizeof *ancestor);
    struct graph_uses uses = {0};
    mitral_status status = ancestor ? graph_find_uses(graph, &uses) : MITRAL_NO_MEMORY;
    if (status == MITRAL_OK)
        status = find_ancestors(graph, ancestor);
    *out = (struct stages){.count = 0};
    for (size_t n = 0; n < graph->node_count && status == MITRAL_OK; n++) {
        const struct node *node = &graph->nodes[n];
        const value_id value = is_activation(node) ? end_of_activation(graph, &uses, node) : NO_VALUE;
        if (value == NO_VALUE || !ancestor[value] || !is_map(graph, value) || only_prepares_upsampling(graph, &uses, node, value))
            continue;
        const int64_t *dims = graph->values[value].type.dims, area = dims[2] * dims[3];
        if (area == 1) /* pooled: weights of channels, no map */
            continue;
        size_t at = 0;
        while (at < out->count && graph->values[out->values[at]].type.dims[2] * graph->values[out->values[at]].type.dims[3] < area)
            at++;
        const int64_t *found = at < out->count ? graph->values[out->values[at]].type.dims : NULL;
        if (found && found[2] == dims[2] && found[3] == dims[3]) {
            out->values[at] = value; /* a later one */
        } else if (out->count < sizeof out->values / sizeof *out->values) {
            memmove(&out->values[at + 1], &out->values[at], (out->count - at) * sizeof *out->values);
            out->values[at] = value;
            out->count++;
        }
    }
    if (uses.offsets)
        graph_free_uses(graph, &uses);
    mitral_release(graph->context, ancestor);
    return status;
}

static mitral_status find_automatic(struct tap_pair *pairs, size_t *count, mitral_context *context, const struct graph *student,
                                    const struct graph *teacher)
{
    struct stages ours, theirs;
    TRY(find_stages(&ours, student));
    TRY(find_stages(&theirs, teacher));
    for (size_t i = 0; i < ours.count; i++)
        for (size_t k = 0; k < theirs.count && *count < MAX_TAPS; k++) {
            const int64_t *a = student->values[ours.values[i]].type.dims, *b = teacher->values[theirs.values[k]].type.dims;
            if (a[2] == b[2] && a[3] == b[3])
                pairs[(*count)++] = (struct tap_pair){ours.values[i], theirs.values[k]};
        }
    if (*count == 0)
        return mitral_fail(context, MITRAL_INVALID, "taps auto: expected activations of equal size in both networks, found %zu sizes in the student "
                           "and %zu in the teacher, none in common; name them with taps STUDENT=TEACHER,…", ours.count, theirs.count);
    return MITRAL_OK;
}

static mitral_status find_named(value_id *out, mitral_context *context, const char *option, const char *whose, const struct graph *graph,
                                const char *name, size_t length)
{
    char known[512] = "";
    for (size_t v = 0; v < graph->value_count; v++) {
        const char *found = graph->values[v].name;
        if (!found || graph->values[v].producer == NO_NODE || !is_map(graph, (value_id)v))
            continue;
        if (strlen(found) == length && memcmp(found, name, length) == 0) {
            *out = (value_id)v;
            return MITRAL_OK;
        }
        if (is_activation(&graph->nodes[graph->values[v].producer]) && strlen(known) + strlen(found) + 3 < sizeof known) {
            strcat(known, *known ? ", " : "");
            strcat(known, found);
        }
    }
    return mitral_fail(context, MITRAL_INVALID, "%s: expected the name of a computed map of the %s, found '%.*s'; its activations are %s",
                       option, whose, (int)length, name, *known ? known : "none");
}

mitral_status taps_find(struct tap_pair *pairs, size_t *count, mitral_context *context, const char *spec, const struct graph *student,
                        const struct graph *teacher)
{
    *count = 0;
    if (strcmp(spec, "auto") == 0 || !*spec)
        return find_automatic(pairs, count, context, student, teacher);
    for (const char *at = spec; *at;) {
        const size_t length = strcspn(at, ",");
        const char *equals = memchr(at, '=', length);
        if (!equals || equals == at || equals + 1 == at + length)
            return mitral_fail(context, MITRAL_INVALID, "taps: expected STUDENT=TEACHER, found '%.*s'", (int)length, at);
        if (*count == MAX_TAPS)
            return mitral_fail(context, MITRAL_LIMIT, "taps: expected at most %d pairs", MAX_TAPS);
        struct tap_pair *pair = &pairs[*count];
        TRY(find_named(&pair->student, context, "taps", "student", student, at, (size_t)(equals - at)));
        TRY(find_named(&pair->teacher, context, "taps", "teacher", teacher, equals + 1, (size_t)(at + length - equals - 1)));
        const int64_t batch_student = student->values[pair->student].type.dims[0], batch_teacher = teacher->values[pair->teacher].type.dims[0];
        if (batch_student != batch_teacher)
            return mitral_fail(context, MITRAL_INVALID, "taps '%.*s': expected maps of one batch size, found %lld and %lld", (int)length, at,
                               (long long)batch_student, (long long)batch_teacher);
        (*count)++;
        at += length + (at[length] == ',');
    }
    return MITRAL_OK;
}

static int64_t area_of(const struct graph *graph, value_id value)
{
    return graph->values[value].type.dims[2] * graph->values[value].type.dims[3];
}

mitral_status taps_find_own(value_id *out, size_t *count, mitral_context *context, const char *spec, const struct graph *graph, int64_t height,
                            int64_t width)
{
    *count = 0;
    if (strcmp(spec, "auto") == 0) {
        struct stages stages;
        TRY(find_stages(&stages, graph));
        for (size_t i = stages.count; i-- > 0 && *count < MAX_TAPS;)
            if (area_of(graph, stages.values[i]) < height * width)
                out[(*count)++] = stages.values[i];
        return *count ? MITRAL_OK
                      : mitral_fail(context, MITRAL_INVALID, "deep-supervision auto: expected activations below %lldx%lld, found none; name them",
                                    (long long)height, (long long)width);
    }
    for (const char *at = spec; *at;) {
        const size_t length = strcspn(at, ",");
        value_id value;
        if (*count == MAX_TAPS)
            return mitral_fail(context, MITRAL_LIMIT, "deep-supervision: expected at most %d values", MAX_TAPS);
        TRY(find_named(&value, context, "deep-supervision", "student", graph, at, length));
        size_t place = (*count)++;
        for (; place > 0 && area_of(graph, out[place - 1]) < area_of(graph, value); place--)
            out[place] = out[place - 1];
        out[place] = value;
        at += length + (at[length] == ',');
    }
    return MITRAL_OK;
}
