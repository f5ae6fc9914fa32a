#include "compiler/passes/minimum_cut.h"

#include <string.h>

enum { NONE = UINT32_MAX };

mitral_status cut_create(struct cut *out, mitral_context *context, uint32_t vertex_count)
{
    *out = (struct cut){.context = context, .vertex_count = vertex_count};
    out->first = mitral_allocate(context, vertex_count * sizeof *out->first);
    out->level = mitral_allocate(context, vertex_count * sizeof *out->level);
    out->cursor = mitral_allocate(context, vertex_count * sizeof *out->cursor);
    out->queue = mitral_allocate(context, vertex_count * sizeof *out->queue);
    if (!out->first || !out->level || !out->cursor || !out->queue) {
        cut_destroy(out);
        return MITRAL_NO_MEMORY;
    }
    for (uint32_t v = 0; v < vertex_count; v++)
        out->first[v] = NONE;
    return MITRAL_OK;
}

void cut_destroy(struct cut *cut)
{
    mitral_release(cut->context, cut->first);
    mitral_release(cut->context, cut->level);
    mitral_release(cut->context, cut->cursor);
    mitral_release(cut->context, cut->queue);
    mitral_release(cut->context, cut->edges);
    *cut = (struct cut){0};
}

static mitral_status grow(struct cut *cut)
{
    if (cut->edge_count + 2 <= cut->edge_capacity)
        return MITRAL_OK;
    if (cut->edge_capacity > UINT32_MAX / 4)
        return mitral_fail(cut->context, MITRAL_LIMIT, "expected a smaller graph");
    uint32_t capacity = cut->edge_capacity ? 2 * cut->edge_capacity : 256;
    struct cut_edge *edges = mitral_allocate(cut->context, capacity * sizeof *edges);
    if (!edges)
        return MITRAL_NO_MEMORY;
    if (cut->edge_count)
        memcpy(edges, cut->edges, cut->edge_count * sizeof *edges);
    mitral_release(cut->context, cut->edges);
    cut->edges = edges;
    cut->edge_capacity = capacity;
    return MITRAL_OK;
}

mitral_status cut_add(struct cut *cut, uint32_t from, uint32_t to, int64_t capacity)
{
    if (from == to || capacity <= 0)
        return MITRAL_OK;
    TRY(grow(cut));
    cut->edges[cut->edge_count] = (struct cut_edge){to, cut->first[from], capacity};
    cut->first[from] = cut->edge_count++;
    cut->edges[cut->edge_count] = (struct cut_edge){from, cut->first[to], 0};
    cut->first[to] = cut->edge_count++;
    return MITRAL_OK;
}

/* Distances from the source over edges with something left; true when the sink is reached. */
static bool find_levels(struct cut *cut)
{
    uint32_t head = 0, tail = 0;
    for (uint32_t v = 0; v < cut->vertex_count; v++)
        cut->level[v] = NONE;
    cut->level[CUT_SOURCE] = 0;
    cut->queue[tail++] = CUT_SOURCE;
    while (head < tail) {
        uint32_t v = cut->queue[head++];
        for (uint32_t e = cut->first[v]; e != NONE; e = cut->edges[e].next)
            if (cut->edges[e].capacity > 0 && cut->level[cut->edges[e].to] == NONE) {
                cut->level[cut->edges[e].to] = cut->level[v] + 1;
                cut->queue[tail++] = cut->edges[e].to;
            }
    }
    return cut->level[CUT_SINK] != NONE;
}

static void change(struct cut *cut, uint32_t edge, int64_t flow)
{
    /* Infinite edges stay infinite; the way back of one is never full. */
    if (cut->edges[edge].capacity != CUT_INFINITE)
        cut->edges[edge].capacity -= flow;
    struct cut_edge *back = &cut->edges[edge ^ 1];
    if (back->capacity != CUT_INFINITE && __builtin_add_overflow(back->capacity, flow, &back->capacity))
        back->capacity = CUT_INFINITE;
}

/* One path from the source to the sink along the levels, kept in `queue` as edges. Without recursion: graphs are deep. */
static bool push_path(struct cut *cut)
{
    uint32_t depth = 0, v = CUT_SOURCE;
    uint32_t *path = cut->queue;
    while (v != CUT_SINK) {
        uint32_t e = cut->cursor[v];
        while (e != NONE && !(cut->edges[e].capacity > 0 && cut->level[cut->edges[e].to] == cut->level[v] + 1))
            e = cut->edges[e].next;
        cut->cursor[v] = e;
        if (e != NONE) {
            path[depth++] = e;
            v = cut->edges[e].to;
            continue;
        }
        if (depth == 0)
            return false;
        e = path[--depth]; /* a dead end: take the next edge of the vertex before */
        v = cut->edges[e ^ 1].to;
        cut->cursor[v] = cut->edges[e].next;
    }
    int64_t flow = CUT_INFINITE;
    for (uint32_t i = 0; i < depth; i++)
        flow = cut->edges[path[i]].capacity < flow ? cut->edges[path[i]].capacity : flow;
    for (uint32_t i = 0; i < depth; i++)
        change(cut, path[i], flow);
    return flow != CUT_INFINITE;
}

mitral_status cut_solve(struct cut *cut, bool *on_source_side)
{
    while (find_levels(cut)) {
        memcpy(cut->cursor, cut->first, cut->vertex_count * sizeof *cut->cursor);
        int64_t before = 0;
        while (push_path(cut))
            before++;
        if (!before) /* a way of infinite cost: whoever asked wants both forms at once */
            return mitral_fail(cut->context, MITRAL_INVALID, "expected forms that can be told apart, found a contradiction");
    }
    for (uint32_t v = 0; v < cut->vertex_count; v++)
        on_source_side[v] = cut->level[v] != NONE;
    return MITRAL_OK;
}
