/* Sequences and optionals. What takes an item out takes the tensor itself, so that no gradient has to go through the sequence: its items
 * are found by following it back to where it was made, at positions that are known. */
#include <string.h>

#include "compiler/gradients/compose.h"

/* A tensor, or part of one that SplitToSequence cuts. */
struct item {
    value_id tensor;
    bool whole, squeezed;
    int64_t axis, start, end;
};

struct items {
    struct item *list;
    size_t count;
};

static bool reserve(struct composer *c, struct items *items, size_t count)
{
    if (c->status == MITRAL_OK) {
        items->list = arena_allocate(arena_of(c), (count + 1) * sizeof *items->list);
        if (!items->list)
            c->status = MITRAL_NO_MEMORY;
    }
    return c->status == MITRAL_OK;
}

/* A position that is a constant, or left out; false when it is not known. */
static bool read_position(struct composer *c, const struct node *node, size_t input, size_t items, size_t usual, size_t most, size_t *out)
{
    size_t count;
    *out = usual;
    if (node_input(node, input) != NO_VALUE) {
        const int64_t *given = gradient_constant_ints(c->gradient, node, input, &count);
        if (!given || count != 1)
            return false;
        *out = (size_t)(given[0] < 0 ? given[0] + (int64_t)items : given[0]);
    }
    return *out <= most && items + 1 > usual; /* none: the run says what is wrong */
}

/* Pieces of `split` (given once or for each), or of one element, which may lose the axis. */
static bool cut(struct composer *c, const struct node *node, struct items *items, size_t more)
{
    size_t given;
    const struct value_type x = *gradient_type(c->gradient, node->inputs[0]);
    const bool listed = node_input(node, 1) != NO_VALUE;
    const int64_t *split = listed ? gradient_constant_ints(c->gradient, node, 1, &given) : NULL;
    int64_t axis = attribute_int(&node->attributes, "axis", 0), start = 0;
    axis += axis < 0 ? x.rank : 0;
    if ((listed && !split) || x.rank < 1 || axis < 0 || axis >= x.rank || x.dims[axis] < 0)
        return false;
    const bool each = listed && gradient_type(c->gradient, node->inputs[1])->rank == 1;
    if (!reserve(c, items, (each ? given : (size_t)x.dims[axis]) + more))
        return false;
    while (start < x.dims[axis]) {
        if (each && items->count == given)
            return false;
        int64_t size = !listed ? 1 : each ? split[items->count] : split[0], left = x.dims[axis] - start;
        if (size < 1 || (each && size > left))
            return false;
        size = size < left ? size : left;
        items->list[items->count++] = (struct item){.tensor = node->inputs[0], .axis = axis, .start = start, .end = start + size,
                                                    .squeezed = !listed && !attribute_int(&node->attributes, "keepdims", 1)};
        start += size;
    }
    return true;
}

static bool start_items(struct composer *c, const struct node *made, struct items *items, size_t more)
{
    if (node_is(made, "SplitToSequence"))
        return cut(c, made, items, more);
    if (!node_is(made, "SequenceConstruct") && !node_is(made, "SequenceEmpty"))
        return false;
    if (!reserve(c, items, made->input_count + more))
        return false;
    for (size_t i = 0; i < made->input_count; i++)
        items->list[items->count++] = (struct item){.tensor = made->inputs[i], .whole = true};
    return true;
}

static bool change(struct composer *c, const struct node *node, struct items *items)
{
    size_t at;
    if (node_is(node, "SequenceInsert")) {
        if (!read_position(c, node, 2, items->count, items->count, items->count, &at))
            return false;
        memmove(items->list + at + 1, items->list + at, (items->count++ - at) * sizeof *items->list);
        items->list[at] = (struct item){.tensor = node->inputs[1], .whole = true};
    } else if (node_is(node, "SequenceErase")) {
        if (items->count == 0 || !read_position(c, node, 1, items->count, items->count - 1, items->count - 1, &at))
            return false;
        memmove(items->list + at, items->list + at + 1, (--items->count - at) * sizeof *items->list);
    }
    return true;
}

/* The items of a sequence; false when they are not known (yet: a loop that makes it may still be unrolled). */
static bool find_items(struct composer *c, value_id sequence, struct items *items)
{
    const struct graph *graph = gradient_graph(c->gradient);
    const struct node *node;
    value_id at = sequence;
    size_t changes = 0;
    *items = (struct items){0};
    while ((node = graph_producer(graph, at)) != NULL
           && (node_is(node, "SequenceInsert") || node_is(node, "SequenceErase") || node_is(node, "Identity") || node_is(node, "Optional")
               || node_is(node, "OptionalGetElement"))) {
        if (node->input_count == 0 || node->inputs[0] == NO_VALUE)
            return false;
        at = node->inputs[0];
        changes++;
    }
    const struct node **chain = arena_allocate(arena_of(c), (changes + 1) * sizeof *chain);
    if (!chain)
        c->status = MITRAL_NO_MEMORY;
    if (!node || !chain || !start_items(c, node, items, changes))
        return false;
    at = sequence;
    for (size_t i = changes; i-- > 0; at = chain[i]->inputs[0])
        chain[i] = graph_producer(graph, at);
    for (size_t i = 0; i < changes; i++)
        if (!change(c, chain[i], items))
            return false;
    return true;
}

static value_id tensor_of(struct composer *c, const struct item *item)
{
    if (item->whole)
        return item->tensor;
    value_id piece = part(c, item->tensor, item->axis, item->start, item->end);
    return item->squeezed ? without_axis(c, piece, item->axis) : piece;
}

mitral_status compose_sequence_at(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    struct items items;
    size_t at;
    *done = false;
    if (!find_items(&c, input_of(&c, 0), &items) || items.count == 0 || !read_position(&c, node, 1, items.count, 0, items.count - 1, &at))
        return c.status;
    become(&c, 0, tensor_of(&c, &items.list[at]));
    return composer_end(&c, done);
}

mitral_status compose_concat_from_sequence(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const int64_t axis = attribute_int(&node->attributes, "axis", 0);
    struct items items;
    *done = false;
    if (!find_items(&c, input_of(&c, 0), &items) || items.count == 0)
        return c.status;
    value_id *parts = arena_allocate(arena_of(&c), items.count * sizeof *parts);
    if (!parts)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < items.count; i++) {
        parts[i] = tensor_of(&c, &items.list[i]);
        if (attribute_int(&node->attributes, "new_axis", 0))
            parts[i] = with_axis(&c, parts[i], axis);
    }
    become(&c, 0, joined(&c, parts, items.count, axis));
    return composer_end(&c, done);
}

/* What Optional wrapped, or what was never wrapped. */
mitral_status compose_optional_element(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    value_id value = input_of(&c, 0);
    for (const struct node *made; node_is(made = graph_producer(gradient_graph(gradient), value), "Identity");)
        value = made->inputs[0];
    const struct node *made = graph_producer(gradient_graph(gradient), value);
    *done = false;
    if (node_is(made, "Optional"))
        value = node_input(made, 0);
    else if (gradient_type(gradient, value)->kind == MITRAL_OPTIONAL)
        return MITRAL_OK;
    if (value == NO_VALUE)
        return MITRAL_OK;
    become(&c, 0, value);
    return composer_end(&c, done);
}

/* The body once for each item; what it gives are sequences again. */
mitral_status compose_sequence_map(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    struct graph *graph = gradient_graph(gradient);
    const int32_t index = attribute_subgraph(&node->attributes, "body");
    const size_t inputs = node->input_count - node->capture_count;
    struct items *sequences = arena_allocate(graph->arena, (inputs + 1) * sizeof *sequences);
    *done = false;
    if (!sequences)
        return MITRAL_NO_MEMORY;
    if (index < 0 || (size_t)index >= node->subgraph_count || !find_items(&c, input_of(&c, 0), &sequences[0]) || sequences[0].count == 0)
        return c.status;
    const struct graph *body = node->subgraphs[index];
    const size_t count = sequences[0].count;
    for (size_t i = 1; i < inputs; i++)
        if (input_type(&c, i).kind != MITRAL_SEQUENCE)
            sequences[i] = (struct items){0};
        else if (!find_items(&c, node->inputs[i], &sequences[i]) || sequences[i].count != count)
            return c.status;
    value_id *given = arena_allocate(graph->arena, (node->input_count + 1) * sizeof *given);
    value_id *made = arena_allocate(graph->arena, (body->output_count + 1) * (count + 1) * sizeof *made);
    if (!given || !made)
        return MITRAL_NO_MEMORY;
    if (body->input_count != node->input_count || body->output_count != node->output_count)
        return gradient_fail(gradient, node, MITRAL_INVALID, "expected a body with the node's inputs and outputs");
    memcpy(given, node->inputs, node->input_count * sizeof *given);
    value_id *outputs = made + body->output_count * count;
    for (size_t at = 0; at < count; at++) {
        for (size_t i = 0; i < inputs; i++)
            if (sequences[i].count)
                given[i] = tensor_of(&c, &sequences[i].list[at]);
        TRY(c.status);
        TRY(gradient_inline(gradient, body, given, outputs));
        for (size_t k = 0; k < body->output_count; k++)
            made[k * count + at] = outputs[k];
    }
    for (size_t k = 0; k < node->output_count; k++)
        if (node->outputs[k] != NO_VALUE)
            TRY(graph_add_node(graph, op_find(NULL, "SequenceConstruct"), 0, NULL, NULL, made + k * count, count, &node->outputs[k], 1, NULL));
    *done = true;
    return MITRAL_OK;
}
