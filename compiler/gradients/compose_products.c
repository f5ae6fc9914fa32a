/* Einsum in its general forms, and convolutions that are composed of gathering and products. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "compiler/gradients/compose.h"

static mitral_status fail_symbolic(const struct composer *c)
{
    return gradient_fail(c->gradient, c->node, MITRAL_UNSUPPORTED, "expected inputs of fixed shape");
}

/* ---- Einsum: every axis gets a letter of its own; an axis that is repeated is tied to the first one by a unit matrix ------ */

enum { MAX_TERMS = 16, MAX_LETTERS = MITRAL_MAX_RANK + 1 };

struct equation {
    char terms[MAX_TERMS][MAX_LETTERS]; /* of the operands; the units come behind them */
    value_id operands[MAX_TERMS];
    size_t count;
    char output[MAX_LETTERS];
    int64_t sizes[128];
    bool used[128];
    int32_t under;          /* axes under an ellipsis */
    char ellipsis[MAX_LETTERS];
    bool changed;
};

static char fresh_letter(struct equation *e)
{
    for (int letter = 'A'; letter <= 'z'; letter++)
        if (isalpha(letter) && !e->used[letter]) {
            e->used[letter] = true;
            return (char)letter;
        }
    return 0;
}

/* One term; *dots is where its ellipsis stands, -1: nowhere. False for what is no equation. */
static bool read_term(struct equation *e, const char **text, char *term, int32_t *dots)
{
    size_t length = 0;
    *dots = -1;
    for (; **text && **text != ',' && **text != '-'; ++*text) {
        if (**text == ' ')
            continue;
        if (strncmp(*text, "...", 3) == 0 && *dots < 0) {
            *dots = (int32_t)length;
            *text += 2;
            continue;
        }
        if (!isalpha((unsigned char)**text) || length + 1 >= MAX_LETTERS)
            return false;
        term[length++] = **text;
        e->used[(unsigned char)**text] = true;
    }
    term[length] = 0;
    return true;
}

/* Puts the last `count` letters of the ellipsis at `at`. */
static bool insert(struct equation *e, char *term, int32_t at, int32_t count)
{
    const size_t length = strlen(term);
    if (length + (size_t)count >= MAX_LETTERS)
        return false;
    memmove(term + at + count, term + at, length - (size_t)at + 1);
    memcpy(term + at, e->ellipsis + e->under - count, (size_t)count);
    return true;
}

/* The letters that occur once, in their order, behind what is under the ellipsis. */
static bool implicit_output(struct equation *e)
{
    int uses[128] = {0};
    size_t length = 0;
    for (size_t k = 0; k < e->count; k++)
        for (const char *letter = e->terms[k]; *letter; letter++)
            uses[(unsigned char)*letter]++;
    for (int32_t i = 0; i < e->under; i++) {
        e->output[length++] = e->ellipsis[i];
        uses[(unsigned char)e->ellipsis[i]] = 0;
    }
    for (int letter = 'A'; letter <= 'z'; letter++)
        if (uses[letter] == 1) {
            if (length + 1 >= MAX_LETTERS)
                return false;
            e->output[length++] = (char)letter;
        }
    e->output[length] = 0;
    return true;
}

static bool parse(struct composer *c, const char *text, struct equation *e)
{
    int32_t dots[MAX_TERMS], output_dots = -1;
    bool arrow = false;
    for (;;) {
        if (e->count == MAX_TERMS || !read_term(e, &text, e->terms[e->count], &dots[e->count]))
            return false;
        e->count++;
        if (*text != ',')
            break;
        text++;
    }
    if (e->count != c->node->input_count)
        return false;
    if (text[0] == '-' && text[1] == '>') {
        text += 2;
        arrow = true;
        if (!read_term(e, &text, e->output, &output_dots))
            return false;
    }
    for (size_t k = 0; k < e->count; k++) {
        const int32_t more = input_type(c, k).rank - (int32_t)strlen(e->terms[k]);
        if (more < 0 || (more > 0 && dots[k] < 0))
            return false;
        e->under = dots[k] >= 0 && more > e->under ? more : e->under;
        e->changed |= dots[k] >= 0;
    }
    for (int32_t i = 0; i < e->under; i++)
        if (!(e->ellipsis[i] = fresh_letter(e)))
            return false;
    for (size_t k = 0; k < e->count; k++)
        if (dots[k] >= 0 && !insert(e, e->terms[k], dots[k], input_type(c, k).rank - (int32_t)strlen(e->terms[k])))
            return false;
    if (!arrow)
        return implicit_output(e);
    return output_dots < 0 || insert(e, e->output, output_dots, e->under);
}

/* Axes of size 1 that are repeated are taken out of the operand. */
static void drop_repeated(struct composer *c, struct equation *e)
{
    for (size_t k = 0; k < e->count; k++)
        for (size_t i = 0; e->terms[k][i]; i++) {
            const int64_t size = input_type(c, k).dims[i];
            int64_t *all = &e->sizes[(unsigned char)e->terms[k][i]];
            *all = size > *all ? size : *all;
        }
    for (size_t k = 0; k < e->count; k++) {
        const struct value_type type = input_type(c, k);
        size_t kept = 0;
        e->operands[k] = input_of(c, k);
        for (size_t i = 0; e->terms[k][i]; i++) {
            const char letter = e->terms[k][i];
            if (type.dims[i] == 1 && e->sizes[(unsigned char)letter] > 1) {
                e->operands[k] = without_axis(c, e->operands[k], (int64_t)kept);
                e->changed = true;
            } else {
                e->terms[k][kept++] = letter;
            }
        }
        e->terms[k][kept] = 0;
    }
}

static value_id unit_matrix(struct composer *c, int64_t size)
{
    const int64_t dims[2] = {size, size};
    double *values = arena_allocate(arena_of(c), (size_t)(size * size + 1) * sizeof *values);
    if (!values) {
        c->status = MITRAL_NO_MEMORY;
        return NO_VALUE;
    }
    for (int64_t i = 0; i < size; i++)
        values[i * size + i] = 1;
    return numbers(c, values, 2, dims);
}

/* "ii" is "ij" with a unit matrix "ij". */
static bool untie(struct composer *c, struct equation *e)
{
    for (size_t k = 0, count = e->count; k < count; k++)
        for (size_t i = 0; e->terms[k][i]; i++) {
            const char letter = e->terms[k][i];
            if (!memchr(e->terms[k], letter, i))
                continue;
            const char other = fresh_letter(e);
            if (!other || e->count == MAX_TERMS)
                return false;
            e->terms[k][i] = other;
            e->operands[e->count] = unit_matrix(c, e->sizes[(unsigned char)letter]);
            snprintf(e->terms[e->count++], MAX_LETTERS, "%c%c", letter, other);
            e->changed = true;
        }
    return true;
}

mitral_status compose_einsum(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    struct equation e = {0};
    const char *text = attribute_string(&node->attributes, "equation", "");
    struct attributes attributes = {0};
    char joined_terms[MAX_TERMS * (MAX_LETTERS + 1) + MAX_LETTERS + 4];
    size_t used = 0;
    *done = false;
    for (size_t i = 0; i < node->input_count; i++)
        if (!type_is_static(gradient_type(gradient, node->inputs[i])))
            return MITRAL_OK; /* plain equations need no sizes */
    if (!parse(&c, text, &e))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected an equation of at most %d terms that fits its operands, found '%.80s'",
                             MAX_TERMS, text);
    drop_repeated(&c, &e);
    if (!untie(&c, &e))
        return gradient_fail(gradient, node, MITRAL_UNSUPPORTED, "expected fewer repeated letters, found '%.80s'", text);
    if (!e.changed)
        return MITRAL_OK;
    for (size_t k = 0; k < e.count; k++)
        used += (size_t)snprintf(joined_terms + used, sizeof joined_terms - used, "%s%s", k ? "," : "", e.terms[k]);
    snprintf(joined_terms + used, sizeof joined_terms - used, "->%s", e.output);
    TRY(attributes_set_string(&attributes, arena_of(&c), "equation", joined_terms));
    become(&c, 0, apply(&c, "Einsum", &attributes, e.operands, e.count));
    return composer_end(&c, done);
}

/* ---- DeformConv: sampled where the offsets say (GridSample), weighted by the mask, then a product for each group ---------- */

struct deformed {
    int32_t spatial;
    int64_t batch, channels, features, groups, offset_groups, kernel, positions;
    int64_t in[MITRAL_MAX_RANK], out[MITRAL_MAX_RANK], window[MITRAL_MAX_RANK];
    int64_t strides[MITRAL_MAX_RANK], pads[MITRAL_MAX_RANK], dilations[MITRAL_MAX_RANK];
};

static int64_t entry(const struct attributes *attributes, const char *name, int32_t index, int64_t fallback)
{
    size_t count;
    const int64_t *list = attribute_ints(attributes, name, &count);
    return (size_t)index < count ? list[index] : fallback;
}

static void read_sizes(const struct composer *c, struct deformed *d)
{
    const struct value_type x = input_type(c, 0), w = input_type(c, 1), y = *gradient_type(c->gradient, c->node->outputs[0]);
    const struct attributes *attributes = &c->node->attributes;
    *d = (struct deformed){.spatial = x.rank - 2, .batch = x.dims[0], .channels = x.dims[1], .features = w.dims[0], .kernel = 1, .positions = 1,
                           .groups = attribute_int(attributes, "group", 1), .offset_groups = attribute_int(attributes, "offset_group", 1)};
    for (int32_t i = 0; i < d->spatial; i++) {
        d->in[i] = x.dims[2 + i];
        d->out[i] = y.dims[2 + i];
        d->window[i] = w.dims[2 + i];
        d->kernel *= d->window[i];
        d->positions *= d->out[i];
        d->strides[i] = entry(attributes, "strides", i, 1);
        d->pads[i] = entry(attributes, "pads", i, 0);
        d->dilations[i] = entry(attributes, "dilations", i, 1);
    }
}

/* Where tap k of output position p reads dimension i without an offset: [1, kernel, 1, positions], one for each dimension. */
static value_id regular_places(struct composer *c, const struct deformed *d, int32_t dimension)
{
    const int64_t dims[3] = {1, d->kernel, d->positions};
    double *values = arena_allocate(arena_of(c), (size_t)(d->kernel * d->positions + 1) * sizeof *values);
    if (!values) {
        c->status = MITRAL_NO_MEMORY;
        return NO_VALUE;
    }
    for (int64_t k = 0; k < d->kernel; k++)
        for (int64_t p = 0; p < d->positions; p++) {
            int64_t tap = k, at = p;
            for (int32_t i = d->spatial - 1; i > dimension; i--) {
                tap /= d->window[i];
                at /= d->out[i];
            }
            tap %= d->window[dimension];
            at %= d->out[dimension];
            values[k * d->positions + p] =
                (double)(at * d->strides[dimension] - d->pads[dimension] + tap * d->dilations[dimension]);
        }
    return numbers(c, values, 3, dims);
}

/* The grid [batch · offset groups, kernel, positions, 1…, spatial] in GridSample's coordinates, the innermost dimension first. */
static value_id sampling_grid(struct composer *c, const struct deformed *d)
{
    const int64_t split[4] = {d->batch * d->offset_groups, d->kernel, d->spatial, d->positions};
    value_id offset = reshaped(c, input_of(c, 2), 4, split), coordinates[MITRAL_MAX_RANK];
    for (int32_t i = 0; i < d->spatial; i++) {
        value_id place = without_axis(c, part(c, offset, 2, i, i + 1), 2);
        place = add(c, place, regular_places(c, d, i));
        /* Without aligned corners place x is coordinate (2 x + 1) / size - 1. */
        place = scaled(c, place, 2 / (double)d->in[i]);
        place = add(c, place, number(c, 1 / (double)d->in[i] - 1));
        coordinates[d->spatial - 1 - i] = with_axis(c, place, 3);
    }
    int64_t dims[MITRAL_MAX_RANK] = {split[0], d->kernel, d->positions};
    for (int32_t i = 2; i < d->spatial; i++)
        dims[1 + i] = 1;
    dims[1 + d->spatial] = d->spatial;
    value_id grid = joined(c, coordinates, (size_t)d->spatial, 3);
    if (d->spatial == 1) { /* one dimension of positions only */
        dims[1] = d->kernel * d->positions;
        dims[2] = 1;
    }
    return reshaped(c, grid, d->spatial + 2, dims);
}

mitral_status compose_deformable_convolution(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    struct deformed d;
    struct attributes attributes = {0};
    for (size_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NO_VALUE && !type_is_static(gradient_type(gradient, node->inputs[i])))
            return fail_symbolic(&c);
    if (!type_is_static(gradient_type(gradient, node->outputs[0])))
        return fail_symbolic(&c);
    read_sizes(&c, &d);
    const int64_t each = d.channels / d.offset_groups, per_group = d.channels / d.groups * d.kernel;
    int64_t image[MITRAL_MAX_RANK] = {d.batch * d.offset_groups, each}, result[MITRAL_MAX_RANK] = {d.batch, d.features};
    memcpy(image + 2, d.in, (size_t)d.spatial * sizeof *image);
    memcpy(result + 2, d.out, (size_t)d.spatial * sizeof *result);
    TRY(attributes_set_string(&attributes, arena_of(&c), "mode", "linear"));
    TRY(attributes_set_string(&attributes, arena_of(&c), "padding_mode", "zeros"));
    value_id x = reshaped(&c, input_of(&c, 0), d.spatial + 2, image);
    value_id samples = apply(&c, "GridSample", &attributes, (value_id[]){x, sampling_grid(&c, &d)}, 2);
    const int64_t sampled[4] = {d.batch * d.offset_groups, each, d.kernel, d.positions};
    samples = reshaped(&c, samples, 4, sampled);
    if (input_of(&c, 4) != NO_VALUE) {
        const int64_t mask[4] = {d.batch * d.offset_groups, 1, d.kernel, d.positions};
        samples = multiply(&c, samples, reshaped(&c, input_of(&c, 4), 4, mask));
    }
    const int64_t columns[4] = {d.batch, d.groups, per_group, d.positions};
    const int64_t weights[4] = {1, d.groups, d.features / d.groups, per_group};
    value_id y = matrix_product(&c, reshaped(&c, input_of(&c, 1), 4, weights), reshaped(&c, samples, 4, columns));
    if (input_of(&c, 3) != NO_VALUE) {
        const int64_t bias[4] = {1, d.groups, d.features / d.groups, 1};
        y = add(&c, y, reshaped(&c, input_of(&c, 3), 4, bias));
    }
    become(&c, 0, reshaped(&c, y, d.spatial + 2, result));
    return composer_end(&c, done);
}

/* ---- CausalConvWithState: input [N, C, L], weight [C, 1, k], bias?, past state? -------------------------------------------- */

mitral_status compose_causal_convolution(struct gradient *gradient, const struct node *node, bool *done)
{
    struct composer c = composer_start(gradient, node);
    const struct value_type x = input_type(&c, 0), w = input_type(&c, 1);
    struct attributes attributes = {0};
    if (!type_is_static(&x) || !type_is_static(&w))
        return fail_symbolic(&c);
    const int64_t keep = w.dims[2] - 1, length = x.dims[2], axis = 2, pads[2] = {keep, 0};
    value_id all = input_of(&c, 0);
    if (input_of(&c, 3) != NO_VALUE)
        all = joined(&c, (value_id[]){input_of(&c, 3), all}, 2, 2);
    else if (keep)
        all = apply(&c, "Pad", NULL, (value_id[]){all, integers(&c, pads, 2), number(&c, 0), integers(&c, &axis, 1)}, 4);
    TRY(attributes_set_int(&attributes, arena_of(&c), "group", x.dims[1]));
    value_id y = apply(&c, "Conv", &attributes, (value_id[]){all, input_of(&c, 1), input_of(&c, 2)}, input_of(&c, 2) == NO_VALUE ? 2 : 3);
    if (strcmp(attribute_string(&node->attributes, "activation", "none"), "none") != 0)
        y = multiply(&c, y, unary(&c, "Sigmoid", y));
    become(&c, 0, y);
    become(&c, 1, part(&c, all, 2, length, length + keep));
    return composer_end(&c, done);
}
