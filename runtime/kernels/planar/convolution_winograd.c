/* 3×3 convolutions of stride 1 by Winograd in both directions, channels last. Tiles of the whole batch are worked through in groups,
 * each by one thread; when there are too few groups for all threads, a group's three steps are shared out instead. Either way each
 * element is computed by the same operations. */
#include <omp.h>

#include "runtime/cpu.h"
#include "runtime/kernels/planar/convolution.h"
#include "runtime/kernels/planar/pack.h"
#include "runtime/kernels/planar/tiles.h"
#include "runtime/round.h"

enum { POSITIONS = WINOGRAD_INPUTS * WINOGRAD_INPUTS };
enum { TILES = 14, MOST_TILES = 9 * TILES, SHARED_TILES = 224, GROUP_BYTES = 1 << 20, ZEN4_GROUP_BYTES = 512 << 10 };

struct geometry {
    int down, across;                  /* tiles of an image */
    int64_t tiles;                     /* of the batch */
    int group;                         /* tiles of a group */
    bool shared;
    ptrdiff_t spread_pitch, spread_position, product_pitch, product_position;
    size_t spread, products;           /* floats */
};

/* Of a group's tiles, spread and multiplied. Half of Zen 4's second-level cache: the other half is for weights, and maps that pass through. */
static int64_t group_bytes(const struct convolution *c)
{
    return cpu_splits_vectors(c->blocks->lanes) ? ZEN4_GROUP_BYTES : GROUP_BYTES;
}

static void measure(const struct convolution *c, struct geometry *g)
{
    const struct convolution_shape *s = &c->shape;
    int lanes = c->blocks->lanes;
    *g = (struct geometry){.down = (int)tiles_along(s->output[0], s->dilation[0]),
                           .across = (int)tiles_along(s->output[1], s->dilation[1])};
    g->tiles = s->batch * g->down * g->across;
    g->spread_pitch = round_up(s->channels, lanes);
    g->product_pitch = round_up(s->features, lanes);
    /* As many tiles as a cache holds; more where each group would otherwise spend its time on fetching weights. */
    int64_t fits = group_bytes(c) / (POSITIONS * (int64_t)sizeof(float) * (g->spread_pitch + g->product_pitch)) / TILES * TILES;
    int64_t worth = g->spread_pitch * g->product_pitch / (2 * (g->spread_pitch + g->product_pitch)) / TILES * TILES;
    fits = fits < worth ? worth : fits;
    g->group = (int)(fits < TILES ? TILES : fits > MOST_TILES ? MOST_TILES : fits);
    g->shared = c->threads > 1 && (g->tiles + g->group - 1) / g->group < 3 * c->threads;
    if (g->shared)
        g->group = SHARED_TILES;
    if (g->group > g->tiles)
        g->group = g->tiles > 0 ? (int)g->tiles : 1;
    g->spread_position = g->group * g->spread_pitch + LINE_FLOATS;
    g->product_position = g->group * g->product_pitch + LINE_FLOATS;
    g->spread = aligned_floats((size_t)(POSITIONS * g->spread_position) + PLANAR_SLACK);
    g->products = aligned_floats((size_t)(POSITIONS * g->product_position) + PLANAR_SLACK);
}

size_t convolution_winograd_scratch(const struct convolution *c)
{
    struct geometry g;
    measure(c, &g);
    return (g.spread + g.products) * (g.shared ? 1 : (size_t)c->threads) * sizeof(float);
}

static void place_tiles(const struct convolution *c, const struct geometry *g, int64_t first, int count, struct channel_tile *tiles)
{
    const struct convolution_shape *s = &c->shape;
    for (int i = 0; i < count; i++) {
        int64_t index = first + i, image = index / (g->down * g->across), rest = index % (g->down * g->across);
        int64_t y = tile_start(rest / g->across, s->dilation[0]), x = tile_start(rest % g->across, s->dilation[1]);
        int64_t top = y - s->pad_begin[0], left = x - s->pad_begin[1];
        tiles[i] = (struct channel_tile){
            .input = (ptrdiff_t)((image * s->input[0] + top) * s->input[1] + left),
            .output = (ptrdiff_t)(((image * s->output[0] + y) * s->output[1] + x) * c->y_pitch),
            .rows_there = tile_inputs_inside(top, s->dilation[0], s->input[0]),
            .columns_there = tile_inputs_inside(left, s->dilation[1], s->input[1]),
            .rows = tile_outputs_inside(y, s->dilation[0], s->output[0]),
            .columns = tile_outputs_inside(x, s->dilation[1], s->output[1])};
    }
}

/* The three steps, of `count` tiles that begin at tile `at` of a group's scratch; the second one of one product. */
static void spread(const struct convolution *c, const struct geometry *g, const struct channel_tile *tiles, int at, int count, float *to)
{
    const struct convolution_shape *s = &c->shape;
    const struct convolution_part whole = {c->x_rounded ? (const void *)c->rounded_x : c->x, c->x_rounded, (ptrdiff_t)s->channels};
    const struct convolution_part *part = c->part_count > 0 ? c->parts : &whole, *end = part + (c->part_count > 0 ? c->part_count : 1);
    float *output = to + at * g->spread_pitch;
    for (; part < end; output += part->channels, part++) {
        const ptrdiff_t pitch = part == &whole ? c->x_pitch : part->channels;
        struct channel_spread call = {.count = count, .channels = (int)part->channels, .tiles = tiles, .pixel = pitch,
                                      .row = (ptrdiff_t)(s->dilation[0] * s->input[1]) * pitch,
                                      .column = (ptrdiff_t)s->dilation[1] * pitch, .output = output,
                                      .position = g->spread_position, .pitch = g->spread_pitch};
        if (part->rounded)
            call.rounded = part->values;
        else
            call.input = part->values;
        c->blocks->channel_spread(&call);
    }
}

/* Product `turn` of a group. Of one thread's, position by position: its spread tiles stay in the cache while the panels' weights pass by.
 * Of a shared one panel by panel, so that each thread reads weights that lie together. */
static const float *weights_of(const struct convolution *c, const struct geometry *g, int turn, int *position, int *first)
{
    const int panels = convolution_panels(c);
    *position = g->shared ? turn % POSITIONS : turn / panels;
    *first = (g->shared ? turn / POSITIONS : turn % panels) * convolution_panel(c);
    return c->weights + convolution_panel_offset(c, *first)
           + *position * c->shape.channels * (ptrdiff_t)pack_width((size_t)convolution_panel_columns(c, *first));
}

static void multiply(const struct convolution *c, const struct geometry *g, int rows, int turn, const float *from, float *to)
{
    const struct convolution_shape *s = &c->shape;
    int position, first, next_position, next_first;
    const float *weights = weights_of(c, g, turn, &position, &first);
    const float *next = weights_of(c, g, (turn + 1) % (POSITIONS * convolution_panels(c)), &next_position, &next_first);
    const int columns = convolution_panel_columns(c, first);
    const ptrdiff_t width = (ptrdiff_t)pack_width((size_t)columns);
    struct channel_batch call = {.count = 1, .rows = rows, .columns = columns, .depth = (int)s->channels,
                                 .input = from + position * g->spread_position, .position = g->spread_position, .pitch = g->spread_pitch,
                                 .weights = weights, .width = width, .output = to + position * g->product_position + first,
                                 .position_out = g->product_position, .pitch_out = g->product_pitch,
                                 .next_row = (s->channels * width + rows - 1) / rows};
    if (convolution_fetches_weights())
        call.next = next;
    c->blocks->channel_batch(&call);
}

static void gather(const struct convolution *c, const struct geometry *g, const struct channel_tile *tiles, int at, int count,
                   const float *from)
{
    const struct convolution_shape *s = &c->shape;
    struct channel_gather call = {.count = count, .channels = (int)s->features, .tiles = tiles, .input = from + at * g->product_pitch,
                                  .position = g->product_position, .pitch = g->product_pitch,
                                  .finish = {.output = c->y_rounded ? NULL : c->y, .rounded = c->y_rounded ? c->rounded_y : NULL,
                                             .residual = c->residual, .step = (ptrdiff_t)(s->dilation[1] * c->y_pitch),
                                             .row = (ptrdiff_t)(s->dilation[0] * s->output[1] * c->y_pitch), .shift = c->bias,
                                             .slope = c->slope, .activation = s->activation}};
    c->blocks->channel_gather(&call);
    for (int i = 0; i < count && c->function.kind != FUNCTION_NONE; i++)
        for (int r = 0; r < tiles[i].rows; r++)
            convolution_follow(c, c->y + tiles[i].output + r * call.finish.row, tiles[i].columns, (int)s->features, call.finish.step);
}

/* Group `index` of `groups` of about the same size. */
static void run_group(const struct convolution *c, const struct geometry *g, int64_t index, int64_t groups, float *own)
{
    struct channel_tile tiles[MOST_TILES];
    int64_t first = g->tiles * index / groups;
    int count = (int)(g->tiles * (index + 1) / groups - first);
    place_tiles(c, g, first, count, tiles);
    spread(c, g, tiles, 0, count, own);
    for (int i = 0; i < POSITIONS * convolution_panels(c); i++)
        multiply(c, g, count, i, own, own + g->spread);
    gather(c, g, tiles, 0, count, own + g->spread);
}

/* One group by the whole team. */
static void share_group(const struct convolution *c, const struct geometry *g, int64_t index, int64_t groups)
{
    float *from = c->scratch, *to = from + g->spread;
    int64_t first = g->tiles * index / groups;
    int count = (int)(g->tiles * (index + 1) / groups - first);
#pragma omp for schedule(static)
    for (int i = 0; i < count; i++) {
        struct channel_tile tile;
        place_tiles(c, g, first + i, 1, &tile);
        spread(c, g, &tile, i, 1, from);
    }
#pragma omp for schedule(static)
    for (int i = 0; i < POSITIONS * convolution_panels(c); i++)
        multiply(c, g, count, i, from, to);
#pragma omp for schedule(static)
    for (int i = 0; i < count; i++) {
        struct channel_tile tile;
        place_tiles(c, g, first + i, 1, &tile);
        gather(c, g, &tile, i, 1, to);
    }
}

void convolution_winograd_run(const struct convolution *c)
{
    struct geometry g;
    measure(c, &g);
    int64_t groups = (g.tiles + g.group - 1) / g.group;
#pragma omp parallel num_threads(c->threads) if (g.shared || groups > 1)
    {
        if (g.shared) {
            for (int64_t i = 0; i < groups; i++)
                share_group(c, &g, i, groups);
        } else {
            float *own = (float *)c->scratch + (size_t)omp_get_thread_num() * (g.spread + g.products);
#pragma omp for schedule(dynamic, convolution_turn(c, groups))
            for (int64_t i = 0; i < groups; i++)
                run_group(c, &g, i, groups, own);
        }
    }
}
