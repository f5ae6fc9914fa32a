/* RotaryEmbedding: X, cos cache, sin cache, position ids?; of com.microsoft: X, position ids or the first one, cos
 * cache, sin cache. Pairs of each head's first elements are turned by an angle that its position chooses from the
 * caches. */
#include <string.h>

#include "runtime/kernels/reference/operand.h"

struct rotary {
    int64_t batch, heads, length, head_size, half; /* half: pairs that are turned */
    bool merged;                                   /* X is [batch, length, heads · head_size] */
    bool interleaved;                              /* pairs are neighbours, not `half` apart */
    int64_t cache_rows;                            /* of a cache that position ids index */
    bool counted;                                  /* the only position id is that of the first element */
};

struct operands {
    const mitral_tensor *x, *cosine, *sine, *ids;
};

static struct operands operands_of(const struct kernel_call *call, bool microsoft)
{
    const mitral_tensor *a = call_input(call, 1), *b = call_input(call, 2), *c = call_input(call, 3);
    return microsoft ? (struct operands){call_input(call, 0), b, c, a}
                     : (struct operands){call_input(call, 0), a, b, c};
}

static mitral_status decode(const struct kernel_call *call, bool microsoft, struct rotary *r)
{
    const struct operands o = operands_of(call, microsoft);
    const mitral_tensor *x = o.x, *cosine = o.cosine, *sine = o.sine, *ids = o.ids;
    char text[3][160];
    if (!x || !cosine || !sine || (x->rank != 3 && x->rank != 4) || !tensor_same_shape(cosine, sine)
        || (microsoft && !ids)
        || cosine->rank != (ids ? 2 : 3) || cosine->dtype != x->dtype || sine->dtype != x->dtype)
        return call_fail(call, MITRAL_INVALID,
                         "X of rank 3 or 4 and equal caches of rank %d expected, found %s, %s, %s", ids ? 2 : 3,
                         x ? tensor_describe(x, text[0], sizeof(text[0])) : "none",
                         cosine ? tensor_describe(cosine, text[1], sizeof(text[1])) : "none",
                         sine ? tensor_describe(sine, text[2], sizeof(text[2])) : "none");
    *r = (struct rotary){.batch = x->dims[0], .merged = x->rank == 3,
                         .interleaved = attribute_int(call->attributes, "interleaved", 0) != 0};
    if (r->merged) {
        r->heads = attribute_int(call->attributes, "num_heads", 0);
        /* com.microsoft may leave it out where the caches cover whole heads. */
        if (microsoft && r->heads == 0 && cosine->dims[1] > 0)
            r->heads = x->dims[2] / (2 * cosine->dims[1]);
        r->length = x->dims[1];
        if (r->heads < 1 || x->dims[2] % r->heads)
            return call_fail(call, MITRAL_INVALID, "num_heads that divides %lld expected, found %lld",
                             (long long)x->dims[2], (long long)r->heads);
        r->head_size = x->dims[2] / r->heads;
    } else {
        r->heads = x->dims[1];
        r->length = x->dims[2];
        r->head_size = x->dims[3];
    }
    int64_t turned = attribute_int(call->attributes, "rotary_embedding_dim", 0);
    turned = turned == 0 ? r->head_size : turned;
    r->half = turned / 2;
    if (turned < 0 || turned % 2 || turned > r->head_size || cosine->dims[cosine->rank - 1] != r->half)
        return call_fail(call, MITRAL_INVALID,
                         "an even rotary dimension up to %lld and caches of half of it expected, found %lld and %s",
                         (long long)r->head_size, (long long)turned, tensor_describe(cosine, text[1], sizeof(text[1])));
    r->cache_rows = cosine->dims[0];
    r->counted = microsoft && tensor_count(ids) == 1 && ids->rank <= 1 && ids->dtype == MITRAL_INT64;
    if (r->counted)
        return MITRAL_OK;
    if (ids ? ids->dtype != MITRAL_INT64 || ids->rank != 2 || ids->dims[0] != r->batch || ids->dims[1] != r->length
            : cosine->dims[0] != r->batch || cosine->dims[1] != r->length)
        return call_fail(call, MITRAL_INVALID, "%s for [%lld,%lld] positions expected, found %s",
                         ids ? "int64 position ids" : "caches", (long long)r->batch, (long long)r->length,
                         tensor_describe(ids ? ids : cosine, text[0], sizeof(text[0])));
    return MITRAL_OK;
}

static mitral_status shape_any(struct kernel_call *call, bool microsoft)
{
    enum compute compute;
    struct rotary r;
    TRY(check_float_operand(call, 0, &compute));
    TRY(decode(call, microsoft, &r));
    const mitral_tensor *x = call_input(call, 0);
    call_set_output(call, 0, x->dtype, x->rank, x->dims);
    return MITRAL_OK;
}

static mitral_status run_any(struct kernel_call *call, bool microsoft)
{
    struct rotary r;
    TRY(decode(call, microsoft, &r));
    const struct operands o = operands_of(call, microsoft);
    const mitral_tensor *x = o.x, *cosine = o.cosine, *sine = o.sine, *ids = o.ids;
    mitral_tensor *y = call_output(call, 0);
    if (!y || !y->data)
        return MITRAL_OK;
    const int64_t *positions = ids ? ids->data : NULL;
    for (int64_t i = 0; ids && i < (r.counted ? smaller(r.length, 1) : r.batch * r.length); i++)
        if (positions[i] < 0 || positions[i] > r.cache_rows - (r.counted ? r.length : 1))
            return call_fail(call, MITRAL_INVALID, "position ids from 0 to %lld expected, found %lld",
                             (long long)(r.cache_rows - (r.counted ? r.length : 1)), (long long)positions[i]);
    memcpy(y->data, x->data, tensor_bytes(y));
    const int64_t step = r.interleaved ? 2 : 1, apart = r.interleaved ? 1 : r.half;
#pragma omp parallel for num_threads(call->threads) schedule(static)
    for (int64_t index = 0; index < r.batch * r.heads * r.length; index++) {
        const int64_t t = index % r.length, h = index / r.length % r.heads, b = index / r.length / r.heads;
        const int64_t row = r.merged ? (b * r.length + t) * r.heads + h : index, position = b * r.length + t;
        const int64_t cache = (r.counted ? positions[0] + t : ids ? positions[position] : position) * r.half;
        for (int64_t i = 0; i < r.half; i++) {
            const int64_t first = row * r.head_size + i * step, second = first + apart;
            const double c = tensor_get_double(cosine, cache + i), s = tensor_get_double(sine, cache + i);
            const double a = tensor_get_double(x, first), z = tensor_get_double(x, second);
            tensor_set_double(y, first, c * a - s * z, true);
            tensor_set_double(y, second, s * a + c * z, true);
        }
    }
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call)
{
    return shape_any(call, false);
}

static mitral_status run(struct kernel_call *call)
{
    return run_any(call, false);
}

static mitral_status shape_microsoft(struct kernel_call *call)
{
    if (attribute_int(call->attributes, "is_packed_batching", 0) || attribute_float(call->attributes, "scale", 1) != 1)
        return call_fail(call, MITRAL_UNSUPPORTED, "no packed batching and scale 1 expected");
    return shape_any(call, true);
}

static mitral_status run_microsoft(struct kernel_call *call)
{
    return run_any(call, true);
}

const struct kernel reference_rotary[] = {
    {.name = "RotaryEmbedding", .shape = shape, .run = run},
    {.name = "microsoft.RotaryEmbedding", .shape = shape_microsoft, .run = run_microsoft},
};
const size_t reference_rotary_count = sizeof(reference_rotary) / sizeof(*reference_rotary);
