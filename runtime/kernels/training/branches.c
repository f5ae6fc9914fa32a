/* training.branches: addend?, X × inputs, W × branches → Y × outputs: 3×3 convolutions of one map at several dilations, as dilated-parallel
 * blocks have them, or their data gradients. Attribute `sums`: whether a branch's result is added to the one before it. With one input all
 * branches read it, with one output all are added up in it. An image goes through all branches in bands of rows, so that what one branch
 * has read or written is still in the cache for the next. */
#include <omp.h>
#include <string.h>

#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/training/convolution.h"
#include "runtime/round.h"

enum { MOST = 8, BAND_BYTES = 512 << 10, LONGEST_PERIOD = 96 };

struct branches {
    int count, inputs, outputs, threads;
    bool transposed, sums[MOST];
    struct planes_call calls[MOST];
    struct planes_geometry geometry[MOST];
    int64_t batch, channels, features, band, bands; /* rows of a band, bands of an image */
    size_t turned, packed, offsets, spread, products; /* floats; of one branch, and of a thread */
    size_t sum;                                       /* floats of a thread's running sum of a band; 0: none */
};

static int64_t common_multiple(int64_t a, int64_t b)
{
    int64_t x = a, y = b;
    while (y) {
        const int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

/* Bands end where the groups of every dilation end. */
static void measure_bands(struct branches *b, int64_t height, int64_t width)
{
    int64_t period = 1;
    for (int k = 0; k < b->count && period <= LONGEST_PERIOD; k++)
        period = common_multiple(period, WINOGRAD_OUTPUTS * b->calls[k].slide.dilation[0]);
    const int64_t row = (b->channels + 2 * b->features) * width * (int64_t)sizeof(float), rows = BAND_BYTES / (row > 0 ? row : 1);
    b->band = period > LONGEST_PERIOD || rows >= height ? height : rows < period ? period : rows / period * period;
    b->bands = b->band > 0 ? (height + b->band - 1) / b->band : 0;
}

static mitral_status decode(const struct kernel_call *call, struct branches *b)
{
    size_t count, sums;
    const int64_t *dilations = attribute_ints(call->attributes, "dilations", &count), *added = attribute_ints(call->attributes, "sums", &sums);
    const int64_t inputs = attribute_int(call->attributes, "inputs", 1), outputs = attribute_int(call->attributes, "outputs", 1);
    if (count < 1 || count > MOST || sums != count || (inputs != 1 && inputs != (int64_t)count) || (outputs != 1 && outputs != (int64_t)count))
        return call_fail(call, MITRAL_INVALID, "1 to %d branches with one or as many inputs and outputs expected, found %zu, %lld and %lld", (int)MOST,
                         count, (long long)inputs, (long long)outputs);
    *b = (struct branches){.count = (int)count, .inputs = (int)inputs, .outputs = (int)outputs, .threads = call->threads > 0 ? call->threads : 1,
                           .transposed = attribute_int(call->attributes, "transposed", 0) != 0};
    const mitral_tensor *first = call_input(call, 1), *weights = call_input(call, 1 + (size_t)inputs);
    if (!first || first->rank != 4 || !weights || weights->rank != 4)
        return call_fail(call, MITRAL_INVALID, "maps and weights of rank 4 expected");
    b->batch = first->dims[0];
    b->channels = first->dims[1];
    b->features = weights->dims[b->transposed ? 1 : 0];
    const int64_t w[4] = {b->transposed ? b->channels : b->features, b->transposed ? b->features : b->channels, 3, 3};
    for (int64_t i = 0; i < inputs; i++)
        if (!call_input(call, 1 + (size_t)i) || call_input(call, 1 + (size_t)i)->dtype != MITRAL_FLOAT
            || !tensor_same_shape(call_input(call, 1 + (size_t)i), first))
            return call_fail(call, MITRAL_INVALID, "input %lld: a float32 map like the others expected", (long long)i + 1);
    if (first->dims[2] > INT32_MAX / 64 || first->dims[3] > INT32_MAX / 64 || b->channels > INT32_MAX / 1024 || b->features > INT32_MAX / 1024)
        return call_fail(call, MITRAL_LIMIT, "a smaller map expected");
    for (size_t k = 0; k < count; k++) {
        const mitral_tensor *tensor = call_input(call, 1 + (size_t)inputs + k);
        if (!tensor || tensor->dtype != MITRAL_FLOAT || tensor->rank != 4 || memcmp(tensor->dims, w, sizeof w) != 0 || dilations[k] < 1
            || dilations[k] > INT32_MAX / 64 || (outputs == 1 && k && !added[k]))
            return call_fail(call, MITRAL_INVALID, "branch %zu: float32 weights [%lld, %lld, 3, 3] and a dilation from 1 expected", k, (long long)w[0],
                             (long long)w[1]);
        b->sums[k] = added[k] != 0;
        struct slide slide = {.batch = b->batch, .channels = b->channels, .features = b->features, .kernel = {3, 3}, .stride = {1, 1}};
        for (int i = 0; i < 2; i++) {
            slide.input[i] = slide.output[i] = first->dims[2 + i];
            slide.dilation[i] = slide.pad[i] = dilations[k];
        }
        b->calls[k] = (struct planes_call){.slide = slide, .planar = planar_blocks_of(cpu_isa()), .blocks = training_blocks_of(cpu_isa()),
                                           .threads = b->threads};
        planes_measure(&b->calls[k], 1, &b->geometry[k]);
        const size_t packed = aligned_floats(PLANAR_SLACK + planes_packed_floats(&b->calls[k]));
        b->packed = packed > b->packed ? packed : b->packed;
        b->spread += aligned_floats(b->geometry[k].spread);
        b->products = aligned_floats(b->geometry[k].products) > b->products ? aligned_floats(b->geometry[k].products) : b->products;
    }
    measure_bands(b, first->dims[2], first->dims[3]);
    const int64_t written = b->batch * b->features * first->dims[2] * first->dims[3] * outputs;
    if (outputs > 1 && !call_input(call, 0) && training_is_large(written)) {
        for (size_t k = 0; k < count; k++)
            b->calls[k].through = true;
        b->sum = aligned_floats((size_t)(b->features * b->band * first->dims[3]) + PLANAR_SLACK);
    }
    b->turned = b->transposed ? aligned_floats((size_t)(9 * b->channels * b->features)) : 0;
    b->offsets = aligned_floats((size_t)(3 * b->channels) * sizeof(ptrdiff_t) / sizeof(float));
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call)
{
    struct branches b;
    TRY(decode(call, &b));
    const mitral_tensor *x = call_input(call, 1);
    const int64_t dims[4] = {b.batch, b.features, x->dims[2], x->dims[3]};
    mitral_tensor y;
    tensor_set(&y, MITRAL_FLOAT, 4, dims);
    TRY(check_addend(call, 0, &y));
    for (int k = 0; k < b.outputs; k++)
        call_set_output(call, (size_t)k, MITRAL_FLOAT, 4, dims);
    return MITRAL_OK;
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct branches b;
    (void)state;
    TRY(decode(call, &b));
    *scratch_bytes = (b.turned + (size_t)b.count * (b.packed + b.offsets) + (size_t)b.threads * (b.spread + b.products + b.sum) + PLANAR_SLACK) * sizeof(float);
    return MITRAL_OK;
}

/* W [M, C, 3, 3] to [C, M, 3, 3], each filter from its end to its beginning. */
static void turn_over(const struct branches *b, const float *w, float *out)
{
    for (int64_t f = 0; f < b->features; f++)
        for (int64_t c = 0; c < b->channels; c++)
            for (int64_t t = 0; t < 9; t++)
                out[(f * b->channels + c) * 9 + t] = w[(c * b->features + f) * 9 + 8 - t];
}

/* The first group of a band; blocks of groups lie one below the other, 4 d rows each. */
static int64_t first_group(const struct branches *b, int k, int64_t band)
{
    const int64_t d = b->calls[k].slide.dilation[0];
    return band * b->band / (4 * d) * d;
}

/* The groups of a band, one item after another. */
static void run_band(const struct branches *b, int k, int64_t image, int64_t band, const ptrdiff_t *offsets, float *spread, float *products,
                     float *sum)
{
    const struct segments *q = &b->geometry[k].square.segments;
    const int64_t row = band * b->band, end = band + 1 < b->bands ? first_group(b, k, band + 1) : q->down;
    const bool last = k + 1 == b->count, turns = last && band + 1 == b->bands;
    const int k_after = last ? 0 : k + 1;
    for (int64_t group = first_group(b, k, band); group < end; group += q->together) {
        struct planes_piece piece = {.image = image, .first = group, .spread = spread, .products = products, .offsets = offsets};
        piece.count = end - group < q->together ? (int)(end - group) : q->together;
        piece.next.call = &b->calls[k];
        piece.next.image = image;
        piece.next.first = group + q->together;
        if (group + q->together >= end) { /* the next branch, or the next band's first */
            piece.next.call = turns && image + 1 == b->batch ? NULL : &b->calls[k_after];
            piece.next.image = turns ? image + 1 : image;
            piece.next.first = first_group(b, k_after, turns ? 0 : last ? band + 1 : band);
        }
        if (b->sum) {
            piece.sum = sum;
            piece.sum_first = row;
            piece.sum_step = (ptrdiff_t)(b->band * b->calls[k].slide.output[1]);
            piece.read_sum = b->sums[k];
            piece.write_sum = k + 1 < b->count && b->sums[k + 1];
        }
        planes_groups(&b->calls[k], &b->geometry[k], &piece);
    }
}

static mitral_status run(struct kernel_call *call)
{
    struct branches b;
    TRY(decode(call, &b));
    float *turned = call->scratch, *packed = turned + b.turned, *tables = packed + (size_t)b.count * b.packed;
    float *threads = tables + (size_t)b.count * b.offsets;
    for (int k = 0; k < b.count; k++) {
        const mitral_tensor *addend = k ? NULL : call_input(call, 0), *y = call_output(call, b.outputs == 1 ? 0 : (size_t)k);
        const float *weights = call_input(call, 1 + (size_t)(b.inputs + k))->data;
        struct planes_call *c = &b.calls[k];
        if (!y || tensor_count(y) == 0)
            return y ? MITRAL_OK : call_fail(call, MITRAL_INVALID, "every output expected");
        if (b.transposed) {
            turn_over(&b, weights, turned);
            weights = turned;
        }
        planes_pack(c, weights, packed + (size_t)k * b.packed);
        planes_place(c, &b.geometry[k], (ptrdiff_t *)(void *)(tables + (size_t)k * b.offsets));
        c->weights = packed + (size_t)k * b.packed;
        c->x = call_input(call, 1 + (size_t)(b.inputs == 1 ? 0 : k))->data;
        c->y = y->data;
        c->addend = b.sums[k] && k && !b.sum ? b.calls[k - 1].y : addend ? addend->data : NULL;
    }
#pragma omp parallel num_threads(b.threads) if (b.threads > 1)
    {
        float *own = threads + (size_t)omp_get_thread_num() * (b.spread + b.products + b.sum);
        memset(own, 0, b.spread * sizeof *own); /* what lies between the segments stays zero */
#pragma omp for schedule(static)
        for (int64_t item = 0; item < b.batch * b.bands; item++) {
            float *spread = own;
            for (int k = 0; k < b.count; k++) {
                run_band(&b, k, item / b.bands, item % b.bands, (const ptrdiff_t *)(const void *)(tables + (size_t)k * b.offsets), spread,
                         own + b.spread, own + b.spread + b.products);
                spread += aligned_floats(b.geometry[k].spread);
            }
        }
    }
    return MITRAL_OK;
}

static double flops(const struct kernel_call *call)
{
    struct branches b;
    if (decode(call, &b) != MITRAL_OK)
        return 0;
    const int64_t *size = b.calls[0].slide.output;
    return 18.0 * (double)b.count * (double)(b.batch * b.channels * b.features) * (double)(size[0] * size[1]);
}

const struct kernel training_branches[] = {
    {.name = "training.branches", .flags = KERNEL_IN_PLACE, .shape = shape, .prepare = prepare, .run = run, .flops = flops},
};
const size_t training_branches_count = sizeof training_branches / sizeof *training_branches;
