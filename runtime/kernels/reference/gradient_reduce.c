/* Sums back to a shape that was broadcast, and the gradients of reductions: mitral.ReduceTo, mitral.ReduceGradient,
 * mitral.ReduceProdGradient. */
#include <string.h>

#include "runtime/kernels/reference/gradient.h"
#include "runtime/kernels/registry.h"

#define REDUCE_BLOCK 256

/* A shape whose neighbouring dimensions of one fate are merged. */
struct reduction {
    int rank; /* from 1 */
    bool kept[MITRAL_MAX_RANK + 1];
    int64_t dims[MITRAL_MAX_RANK + 1], strides[MITRAL_MAX_RANK + 1];
};

/* y index → x: strides 0 where x is repeated. */
struct spread {
    int rank; /* from 1 */
    int64_t dims[MITRAL_MAX_RANK + 1], strides[MITRAL_MAX_RANK + 1];
    double factor;
};

/* Offset in the full tensor of the index-th combination of the kept (or the reduced) dimensions of the first `rank` ones. */
static int64_t partial_offset(const struct reduction *r, int rank, bool kept, int64_t index)
{
    int64_t offset = 0;
    for (int i = rank; i-- > 0;)
        if (r->kept[i] == kept) {
            offset += index % r->dims[i] * r->strides[i];
            index /= r->dims[i];
        }
    return offset;
}

/* Without the innermost dimension, which the loops run along. */
static int64_t reduction_offset(const struct reduction *r, bool kept, int64_t index)
{
    return partial_offset(r, r->rank - 1, kept, index);
}

static int64_t full_offset(const struct reduction *r, bool kept, int64_t index)
{
    return partial_offset(r, r->rank, kept, index);
}

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/gradient_reduce_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/gradient_reduce_body.h"
#undef REAL
#undef NAME

static void make_reduction(struct reduction *out, int32_t rank, const int64_t *dims, const bool *kept)
{
    *out = (struct reduction){0};
    for (int32_t i = 0; i < rank; i++) {
        if (dims[i] == 1)
            continue;
        if (out->rank && out->kept[out->rank - 1] == kept[i]) {
            out->dims[out->rank - 1] *= dims[i];
        } else {
            out->kept[out->rank] = kept[i];
            out->dims[out->rank++] = dims[i];
        }
    }
    if (out->rank == 0) {
        out->kept[0] = true;
        out->dims[0] = 1;
        out->rank = 1;
    }
    int64_t stride = 1;
    for (int i = out->rank; i-- > 0; stride *= out->dims[i])
        out->strides[i] = stride;
}

/* ---- ReduceTo: g, like? → a shape that broadcasts to g's ------------------------------------------------------------- */

static mitral_status reduce_to_decode(const struct kernel_call *call, mitral_tensor *y, struct reduction *out)
{
    const mitral_tensor *x = call_input(call, 0);
    bool kept[MITRAL_MAX_RANK];
    TRY(call_gradient_shape(call, 1, y));
    char first[160], second[160];
    bool fits = y->rank <= x->rank;
    for (int32_t i = 0; i < x->rank && fits; i++) {
        const int32_t at = i - (x->rank - y->rank);
        kept[i] = at >= 0 && y->dims[at] == x->dims[i];
        fits = at < 0 || kept[i] || y->dims[at] == 1;
    }
    if (!fits)
        return call_fail(call, MITRAL_INVALID, "a shape that %s broadcasts from expected, found %s",
                         tensor_describe(x, first, sizeof(first)), tensor_describe(y, second, sizeof(second)));
    make_reduction(out, x->rank, x->dims, kept);
    return MITRAL_OK;
}

static mitral_status reduce_to_shape(struct kernel_call *call)
{
    mitral_tensor y;
    struct reduction reduction;
    enum compute compute;
    TRY(check_same_float(call, 1, &compute));
    TRY(reduce_to_decode(call, &y, &reduction));
    call_set_output(call, 0, y.dtype, y.rank, y.dims);
    return MITRAL_OK;
}

static mitral_status reduce_to_run(struct kernel_call *call)
{
    mitral_tensor y;
    struct reduction reduction;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(reduce_to_decode(call, &y, &reduction));
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0])
        return MITRAL_OK;
    if (compute == COMPUTE_FLOAT)
        reduce_float(&reduction, call->threads, p.inputs[0], p.outputs[0]);
    else
        reduce_double(&reduction, call->threads, p.inputs[0], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- the axes of a reduction ----------------------------------------------------------------------------------------- */

/* Which of the dimensions of `full` attribute `axes` (absent: all) reduces, and whether `reduced` has the shape that is left. */
static mitral_status reduced_axes(const struct kernel_call *call, const mitral_tensor *full, const mitral_tensor *reduced,
                                  bool *kept)
{
    size_t count;
    const int64_t *axes = attribute_ints(call->attributes, "axes", &count);
    const bool keep = attribute_int(call->attributes, "keepdims", 1) != 0;
    char first[160], second[160];
    for (int32_t i = 0; i < full->rank; i++)
        kept[i] = axes != NULL;
    for (size_t i = 0; i < count; i++) {
        int64_t axis;
        TRY(call_axis(call, axes[i], full->rank, &axis));
        kept[axis] = false;
    }
    int32_t at = 0;
    bool fits = true;
    for (int32_t i = 0; i < full->rank && fits; i++)
        if (kept[i] || keep) {
            fits = at < reduced->rank && reduced->dims[at] == (kept[i] ? full->dims[i] : 1);
            at++;
        }
    if (!fits || at != reduced->rank)
        return call_fail(call, MITRAL_INVALID, "a gradient of the reduced %s expected, found %s",
                         tensor_describe(full, first, sizeof(first)), tensor_describe(reduced, second, sizeof(second)));
    return MITRAL_OK;
}

/* ---- ReduceGradient: g, like? → repeated over the reduced axes ------------------------------------------------------- */

static mitral_status spread_decode(const struct kernel_call *call, mitral_tensor *y, struct spread *out)
{
    bool kept[MITRAL_MAX_RANK];
    struct reduction merged;
    int64_t stride = 1, count = 1;
    TRY(call_gradient_shape(call, 1, y));
    TRY(reduced_axes(call, y, call_input(call, 0), kept));
    make_reduction(&merged, y->rank, y->dims, kept);
    *out = (struct spread){.rank = merged.rank, .factor = 1};
    for (int i = merged.rank; i-- > 0;) {
        out->dims[i] = merged.dims[i];
        out->strides[i] = merged.kept[i] ? stride : 0;
        *(merged.kept[i] ? &stride : &count) *= merged.dims[i];
    }
    if (attribute_int(call->attributes, "mean", 0))
        out->factor = 1.0 / (double)(count ? count : 1);
    return MITRAL_OK;
}

static mitral_status spread_shape(struct kernel_call *call)
{
    mitral_tensor y;
    struct spread spread;
    enum compute compute;
    TRY(check_same_float(call, 1, &compute));
    TRY(spread_decode(call, &y, &spread));
    TRY(tensor_check_size(call->context, &y));
    call_set_output(call, 0, y.dtype, y.rank, y.dims);
    return MITRAL_OK;
}

static mitral_status spread_run(struct kernel_call *call)
{
    mitral_tensor y;
    struct spread spread;
    struct placed p;
    const enum compute compute = compute_of(call_input(call, 0)->dtype);
    struct work work = work_of(call);
    TRY(spread_decode(call, &y, &spread));
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0])
        return MITRAL_OK;
    if (compute == COMPUTE_FLOAT)
        spread_float(&spread, call->threads, p.inputs[0], p.outputs[0]);
    else
        spread_double(&spread, call->threads, p.inputs[0], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

/* ---- ReduceProdGradient: g, X → dX ----------------------------------------------------------------------------------- */

static mitral_status product_shape(struct kernel_call *call)
{
    bool kept[MITRAL_MAX_RANK];
    enum compute compute;
    TRY(check_same_float(call, 2, &compute));
    if (!call_input(call, 1))
        return call_fail(call, MITRAL_INVALID, "an input 1 expected, found none");
    TRY(reduced_axes(call, call_input(call, 1), call_input(call, 0), kept));
    call_set_output_like(call, 0, call_input(call, 1));
    return MITRAL_OK;
}

static mitral_status product_run(struct kernel_call *call)
{
    bool kept[MITRAL_MAX_RANK];
    struct reduction r;
    struct placed p;
    const mitral_tensor *x = call_input(call, 1);
    const enum compute compute = compute_of(x->dtype);
    struct work work = work_of(call);
    TRY(reduced_axes(call, x, call_input(call, 0), kept));
    make_reduction(&r, x->rank, x->dims, kept);
    place_floats(call, &work, compute, &p);
    if (!p.outputs[0])
        return MITRAL_OK;
    if (compute == COMPUTE_FLOAT)
        product_float(&r, call->threads, p.inputs[0], p.inputs[1], p.outputs[0]);
    else
        product_double(&r, call->threads, p.inputs[0], p.inputs[1], p.outputs[0]);
    store_floats(call, compute, &p);
    return MITRAL_OK;
}

const struct kernel reference_gradient_reduce[] = {
    {.name = "mitral.ReduceGradient", .shape = spread_shape, .prepare = prepare_floats, .run = spread_run},
    {.name = "mitral.ReduceProdGradient", .shape = product_shape, .prepare = prepare_floats, .run = product_run},
    {.name = "mitral.ReduceTo", .shape = reduce_to_shape, .prepare = prepare_floats, .run = reduce_to_run},
};
const size_t reference_gradient_reduce_count = sizeof reference_gradient_reduce / sizeof *reference_gradient_reduce;
