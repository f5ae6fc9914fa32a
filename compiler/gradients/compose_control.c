/* Control flow. Loops whose number of trips is known are unrolled; the gradient of a branch is another branch. */
#include <string.h>

#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"

enum { MAX_TRIPS = 4096 };

static const struct graph *subgraph_of(const struct node *node, const char *name)
{
    const int32_t index = attribute_subgraph(&node->attributes, name);
    return index < 0 || (size_t)index >= node->subgraph_count ? NULL : node->subgraphs[index];
}

static bool constant_bool(const struct graph *graph, value_id value, bool *out)
{
    const mitral_tensor *tensor = graph_constant(graph, value);
    if (!tensor || tensor->dtype != MITRAL_BOOL || tensor_count(tensor) != 1)
        return false;
    *out = *(const uint8_t *)tensor->data != 0;
    return true;
}

/* ---- If -------------------------------------------------------------------------------------------------------------- */

/* A condition that is known leaves one branch. */
mitral_status compose_if(struct gradient *gradient, const struct node *node, bool *done)
{
    bool condition;
    *done = false;
    if (!constant_bool(gradient_graph(gradient), node_input(node, 0), &condition))
        return MITRAL_OK;
    const struct graph *branch = subgraph_of(node, condition ? "then_branch" : "else_branch");
    value_id *outputs = arena_allocate(gradient_graph(gradient)->arena, (node->output_count + 1) * sizeof *outputs);
    if (!outputs)
        return MITRAL_NO_MEMORY;
    if (!branch || branch->output_count != node->output_count || branch->input_count + 1 != node->input_count)
        return MITRAL_OK;
    TRY(gradient_inline(gradient, branch, node->inputs + 1, outputs));
    for (size_t i = 0; i < node->output_count; i++)
        TRY(gradient_become(gradient, node, i, outputs[i]));
    *done = true;
    return MITRAL_OK;
}

static mitral_status emit_in(struct graph *graph, const char *op, const struct attributes *attributes, const value_id *inputs, size_t count,
                             value_id *out)
{
    const struct value_type type = {.kind = MITRAL_TENSOR, .rank = -1};
    TRY(graph_add_value(graph, NULL, &type, out));
    return graph_add_node(graph, op_find(NULL, op), 0, NULL, attributes, inputs, count, out, 1, NULL);
}

/* Zeros like a value of a branch: what the branch's outputs do not depend on. */
static mitral_status zeros_in(struct graph *graph, value_id like, value_id *out)
{
    struct attributes attributes = {0};
    union { double d; int64_t i; } room = {0};
    mitral_tensor zero = {.dtype = graph->values[like].type.dtype, .rank = 1, .dims = {1}, .data = &room};
    struct attribute attribute = {.name = "value", .kind = ATTRIBUTE_TENSOR, .count = 1, .tensors = &zero};
    value_id shape;
    TRY(attributes_set(&attributes, graph->arena, &attribute));
    TRY(emit_in(graph, "Shape", NULL, &like, 1, &shape));
    return emit_in(graph, "ConstantOfShape", &attributes, &shape, 1, out);
}

struct branch_gradient {
    size_t captures;          /* of the forward branch */
    const bool *wanted;       /* [capture] */
    const bool *arriving;     /* [output] */
    size_t output_count;
};

/* The branch again, with the gradients of its outputs behind its inputs, giving those of the captures that are wanted. */
static mitral_status make_branch(struct gradient *gradient, const struct graph *branch, const struct branch_gradient *b, struct graph **out)
{
    struct graph *parent = gradient_graph(gradient), *made;
    TRY(graph_copy_subgraph(out, parent, branch));
    made = *out;
    value_id *seeds = arena_allocate(parent->arena, (b->output_count + 1) * sizeof *seeds);
    value_id *wrt = arena_allocate(parent->arena, (b->captures + 1) * sizeof *wrt);
    value_id *gradients = arena_allocate(parent->arena, (b->captures + 1) * sizeof *gradients);
    size_t count = 0;
    if (!seeds || !wrt || !gradients)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < b->captures; i++)
        if (b->wanted[i])
            wrt[count++] = made->inputs[i];
    for (size_t i = 0; i < b->output_count; i++) {
        seeds[i] = NO_VALUE;
        if (!b->arriving[i])
            continue;
        const struct value_type type = made->values[made->outputs[i]].type;
        TRY(graph_add_value(made, NULL, &type, &seeds[i]));
        TRY(graph_add_input(made, seeds[i]));
    }
    value_id *outputs = arena_allocate(parent->arena, (b->output_count + 1) * sizeof *outputs);
    if (!outputs)
        return MITRAL_NO_MEMORY;
    memcpy(outputs, made->outputs, b->output_count * sizeof *outputs);
    TRY(gradient_build_from(made, outputs, seeds, b->output_count, wrt, count, gradients));
    made->output_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (gradients[i] == NO_VALUE)
            TRY(zeros_in(made, wrt[i], &gradients[i]));
        TRY(graph_add_output(made, gradients[i]));
    }
    TRY(graph_sort(made));
    graph_remove_dead(made);
    return graph_sort(made);
}

mitral_status differentiate_if(struct gradient *gradient, const struct node *node)
{
    static const char *const names[2] = {"then_branch", "else_branch"};
    struct arena *arena = gradient_graph(gradient)->arena;
    const size_t captures = node->input_count - 1;
    bool *wanted = arena_allocate(arena, captures + 1), *arriving = arena_allocate(arena, node->output_count + 1);
    value_id *inputs = arena_allocate(arena, (node->input_count + node->output_count + 1) * sizeof *inputs);
    value_id *outputs = arena_allocate(arena, (captures + 1) * sizeof *outputs);
    struct graph **subgraphs = arena_allocate(arena, node->subgraph_count * sizeof *subgraphs + 1);
    size_t count = 0, input_count = node->input_count;
    struct attributes attributes = {0};
    if (!wanted || !arriving || !inputs || !outputs || !subgraphs)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < captures; i++)
        count += wanted[i] = gradient_wants(gradient, node, 1 + i);
    memcpy(inputs, node->inputs, node->input_count * sizeof *inputs);
    for (size_t i = 0; i < node->output_count; i++) {
        arriving[i] = gradient_of(gradient, node, i) != NO_VALUE;
        if (arriving[i])
            inputs[input_count++] = gradient_of(gradient, node, i);
    }
    const struct branch_gradient b = {captures, wanted, arriving, node->output_count};
    for (int32_t i = 0; i < 2; i++) {
        const struct graph *branch = subgraph_of(node, names[i]);
        if (!branch || branch->input_count != captures || branch->output_count != node->output_count)
            return gradient_fail(gradient, node, MITRAL_INVALID, "expected branches with the node's outputs");
        TRY(make_branch(gradient, branch, &b, &subgraphs[attribute_subgraph(&node->attributes, names[i])]));
    }
    TRY(attributes_copy(&attributes, arena, &node->attributes));
    TRY(gradient_emit(gradient, "If", &attributes, inputs, input_count, outputs, count));
    struct graph *graph = gradient_graph(gradient);
    struct node *made = &graph->nodes[graph->node_count - 1];
    made->subgraphs = subgraphs;
    made->subgraph_count = node->subgraph_count;
    made->capture_count = input_count - 1;
    for (size_t i = 0, at = 0; i < captures; i++)
        if (wanted[i])
            TRY(gradient_contribute(gradient, node, 1 + i, outputs[at++]));
    return MITRAL_OK;
}

/* ---- Loop and Scan, unrolled ----------------------------------------------------------------------------------------- */

/* A body whose condition is always true: a constant, or the one that it is given. */
static bool goes_on(const struct graph *body)
{
    value_id value = body->outputs[0];
    bool condition;
    for (const struct node *node; node_is(node = graph_producer(body, value), "Identity");)
        value = node->inputs[0];
    const struct node *constant = graph_producer(body, value);
    if (node_is(constant, "Constant")) {
        const mitral_tensor *tensor = attribute_tensor(&constant->attributes, "value");
        return tensor && tensor->dtype == MITRAL_BOOL && tensor_count(tensor) == 1 && *(const uint8_t *)tensor->data;
    }
    return value == body->inputs[1] || (constant_bool(body, value, &condition) && condition);
}

struct trips {
    const struct graph *body;
    value_id *inputs, *outputs, *stacks; /* stacks[output · trips + trip] */
    int64_t count;
};

static mitral_status start_trips(struct gradient *gradient, const struct node *node, const struct graph *body, int64_t count, struct trips *out)
{
    struct arena *arena = gradient_graph(gradient)->arena;
    if (count < 1 || count > MAX_TRIPS)
        return gradient_fail(gradient, node, MITRAL_LIMIT, "expected 1 to %d trips, to be unrolled, found %lld", MAX_TRIPS, (long long)count);
    *out = (struct trips){.body = body, .count = count,
                          .inputs = arena_allocate(arena, (body->input_count + 1) * sizeof *out->inputs),
                          .outputs = arena_allocate(arena, (body->output_count + 1) * sizeof *out->outputs),
                          .stacks = arena_allocate(arena, (body->output_count + 1) * (size_t)count * sizeof *out->stacks)};
    return out->inputs && out->outputs && out->stacks ? MITRAL_OK : MITRAL_NO_MEMORY;
}

mitral_status compose_loop(struct gradient *gradient, const struct node *node, bool *done)
{
    const struct graph *body = subgraph_of(node, "body");
    struct composer c = composer_start(gradient, node);
    size_t count;
    bool condition = true;
    const int64_t *limit = gradient_constant_ints(gradient, node, 0, &count);
    struct trips trips;
    if (!body || !limit || count != 1 || !goes_on(body)
        || (node_input(node, 1) != NO_VALUE && (!constant_bool(gradient_graph(gradient), node->inputs[1], &condition) || !condition)))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected a loop whose number of trips is known, to be unrolled");
    TRY(start_trips(gradient, node, body, limit[0], &trips));
    const size_t states = node->input_count - 2 - node->capture_count;
    TRY(gradient_scalar(gradient, &trips.inputs[1], MITRAL_BOOL, 1));
    memcpy(trips.inputs + 2, node->inputs + 2, (node->input_count - 2) * sizeof *trips.inputs);
    for (int64_t t = 0; t < trips.count; t++) {
        TRY(gradient_scalar(gradient, &trips.inputs[0], MITRAL_INT64, (double)t));
        TRY(gradient_inline(gradient, body, trips.inputs, trips.outputs));
        memcpy(trips.inputs + 2, trips.outputs + 1, states * sizeof *trips.inputs);
        for (size_t k = 1 + states; k < body->output_count; k++)
            trips.stacks[k * (size_t)trips.count + (size_t)t] = with_axis(&c, trips.outputs[k], 0);
    }
    for (size_t i = 0; i < node->output_count; i++)
        become(&c, i, i < states ? trips.inputs[2 + i] : joined(&c, trips.stacks + (1 + i) * (size_t)trips.count, (size_t)trips.count, 0));
    return composer_end(&c, done);
}

static int64_t entry(const struct node *node, const char *name, size_t index)
{
    size_t count;
    const int64_t *list = attribute_ints(&node->attributes, name, &count);
    return index < count ? list[index] : 0;
}

mitral_status compose_scan(struct gradient *gradient, const struct node *node, bool *done)
{
    const struct graph *body = subgraph_of(node, "body");
    struct composer c = composer_start(gradient, node);
    const size_t scanned = (size_t)attribute_int(&node->attributes, "num_scan_inputs", 0);
    struct trips trips;
    if (!body || node->version < 9 || scanned + node->capture_count > node->input_count || scanned < 1)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected a Scan of version 9 or later");
    const size_t states = node->input_count - node->capture_count - scanned;
    const struct value_type first = input_type(&c, states);
    int64_t axis = entry(node, "scan_input_axes", 0);
    axis += axis < 0 ? first.rank : 0;
    if (first.rank < 1 || axis < 0 || axis >= first.rank || first.dims[axis] < 0)
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected scanned inputs of known length, to be unrolled");
    TRY(start_trips(gradient, node, body, first.dims[axis], &trips));
    memcpy(trips.inputs, node->inputs, node->input_count * sizeof *trips.inputs);
    for (int64_t t = 0; t < trips.count; t++) {
        for (size_t m = 0; m < scanned; m++) {
            const int64_t along = entry(node, "scan_input_axes", m);
            const int64_t rank = input_type(&c, states + m).rank, at = entry(node, "scan_input_directions", m) ? trips.count - 1 - t : t;
            const int64_t place = along < 0 ? along + rank : along;
            trips.inputs[states + m] = without_axis(&c, part(&c, input_of(&c, states + m), place, at, at + 1), place);
        }
        TRY(c.status);
        TRY(gradient_inline(gradient, body, trips.inputs, trips.outputs));
        memcpy(trips.inputs, trips.outputs, states * sizeof *trips.inputs);
        for (size_t k = states; k < body->output_count; k++) {
            const int64_t at = entry(node, "scan_output_directions", k - states) ? trips.count - 1 - t : t;
            trips.stacks[k * (size_t)trips.count + (size_t)at] = with_axis(&c, trips.outputs[k], entry(node, "scan_output_axes", k - states));
        }
    }
    for (size_t i = 0; i < node->output_count; i++)
        become(&c, i, i < states ? trips.inputs[i]
                                 : joined(&c, trips.stacks + i * (size_t)trips.count, (size_t)trips.count,
                                          entry(node, "scan_output_axes", i - states)));
    return composer_end(&c, done);
}
