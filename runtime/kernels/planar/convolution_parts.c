/* Convolutions of several maps, one after another along the channels: of a concatenation that is not made. Winograd spreads each map
 * where it lies; the other ways, which the pass that makes such convolutions does not ask for, get the maps brought together. */
#include <string.h>

#include "runtime/kernels/planar/convolution.h"
#include "runtime/round.h"

enum { X, FURTHER = 5 /* the inputs from this one on */, LANES_AT_MOST = 16 };

static size_t part_count(const struct kernel_call *call)
{
    return call->input_count > FURTHER ? call->input_count - FURTHER + 1 : 1;
}

static const mitral_tensor *part_at(const struct kernel_call *call, size_t index)
{
    return call_input(call, index == 0 ? X : FURTHER + index - 1);
}

mitral_status convolution_as_one(const struct kernel_call *call, struct convolution_call *out)
{
    out->call = *call;
    const size_t count = part_count(call);
    const mitral_tensor *first = part_at(call, 0);
    if (count == 1)
        return MITRAL_OK;
    if (count > CONVOLUTION_PARTS || !first || first->rank != 4)
        return call_fail(call, MITRAL_INVALID, "up to %d maps of rank 4 expected", CONVOLUTION_PARTS);
    int64_t channels = 0;
    for (size_t i = 0; i < count; i++) {
        const mitral_tensor *part = part_at(call, i);
        bool fits = part && part->rank == 4 && (part->dtype == MITRAL_FLOAT || part->dtype == MITRAL_BFLOAT16);
        for (int32_t d = 0; fits && d < 4; d++)
            fits = d == 1 || part->dims[d] == first->dims[d];
        if (!fits || __builtin_add_overflow(channels, part->dims[1], &channels))
            return call_fail(call, MITRAL_INVALID, "map %zu: float32 or bfloat16 of the first one's size expected", i);
    }
    out->x = (mitral_value){.kind = MITRAL_TENSOR, .tensor = *first};
    out->x.tensor.dims[1] = channels;
    out->x.tensor.dtype = MITRAL_FLOAT;
    memcpy(out->inputs, call->inputs, sizeof out->inputs);
    out->inputs[X] = &out->x;
    out->call.inputs = out->inputs;
    out->call.input_count = FURTHER;
    return MITRAL_OK;
}

mitral_status convolution_read_parts(const struct kernel_call *call, struct convolution *c)
{
    c->part_count = part_count(call) > 1 ? (int)part_count(call) : 0;
    c->joins = c->way != WAY_WINOGRAD && c->part_count > 0;
    for (int i = 0; i < c->part_count; i++) {
        const mitral_tensor *part = part_at(call, (size_t)i);
        if (part->layout != LAYOUT_CHANNELS_LAST)
            return call_fail(call, MITRAL_UNSUPPORTED, "channels-last maps expected, found a plain one");
        c->parts[i] = (struct convolution_part){.rounded = part->dtype == MITRAL_BFLOAT16, .channels = (ptrdiff_t)part->dims[1]};
        /* Whole vectors are written when a map is spread: those of the last one alone may end behind its channels. */
        c->joins = c->joins || (i + 1 < c->part_count && part->dims[1] % LANES_AT_MOST != 0);
    }
    return MITRAL_OK;
}

static size_t joined_floats(const struct convolution *c)
{
    const struct convolution_shape *s = &c->shape;
    return c->joins ? aligned_floats((size_t)(s->batch * s->input[0] * s->input[1] * s->channels)) : 0;
}

size_t convolution_parts_scratch(const struct convolution *c)
{
    return joined_floats(c) * sizeof(float);
}

void convolution_place_parts(const struct kernel_call *call, struct convolution *c)
{
    for (int i = 0; i < c->part_count; i++)
        c->parts[i].values = part_at(call, (size_t)i)->data;
    if (!c->joins)
        return;
    const struct convolution_shape *s = &c->shape;
    const int64_t pixels = s->batch * s->input[0] * s->input[1];
    float *joined = c->scratch;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t pixel = 0; pixel < pixels; pixel++) {
        float *to = joined + pixel * s->channels;
        for (int i = 0; i < c->part_count; to += c->parts[i].channels, i++) {
            const struct convolution_part *part = &c->parts[i];
            const ptrdiff_t at = (ptrdiff_t)pixel * part->channels;
            if (part->rounded)
                c->blocks->row_widen(&(struct row_widen){part->channels, (const uint16_t *)part->values + at, to});
            else
                memcpy(to, (const float *)part->values + at, (size_t)part->channels * sizeof *to);
        }
    }
    c->x = joined;
    c->scratch = joined + joined_floats(c);
    c->part_count = 0;
}
