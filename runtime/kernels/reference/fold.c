/* Col2Im: column blocks added back into the image that they were taken from. */
#include <string.h>

#include "runtime/kernels/reference/convolution.h"
#include "runtime/kernels/reference/operand.h"

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/fold_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/fold_body.h"
#undef REAL
#undef NAME
#define REAL uint64_t
#define NAME(x) x##_integer
#include "runtime/kernels/reference/fold_body.h"
#undef REAL
#undef NAME


/* The image as the input of a convolution whose windows are the blocks. */
static mitral_status decode(struct kernel_call *call, struct convolution_parameters *p)
{
    *p = (struct convolution_parameters){.group = 1};
    const mitral_tensor *columns = call_input(call, 0);
    const int64_t *image, *block;
    size_t image_count, block_count;
    if (!columns || !call_input(call, 1) || !call_input(call, 2))
        return call_fail(call, MITRAL_INVALID, "columns, image shape and block shape expected");
    char text[160];
    if (columns->rank != 3)
        return call_fail(call, MITRAL_INVALID, "columns [N, C·block, L] expected, found %s",
                         tensor_describe(columns, text, sizeof(text)));
    TRY(call_int_values(call, 1, &image, &image_count));
    TRY(call_int_values(call, 2, &block, &block_count));
    if (image_count < 1 || image_count > MAX_SPATIAL || block_count != image_count)
        return call_fail(call, MITRAL_INVALID,
                         "an image shape and a block shape of one length from 1 to %d expected, found %zu and %zu",
                         MAX_SPATIAL, image_count, block_count);
    p->spatial = (int32_t)image_count;
    TRY(window_attribute(call, "strides", p->spatial, 1, 1, p->strides));
    TRY(window_attribute(call, "dilations", p->spatial, 1, 1, p->dilations));
    int64_t pads[2 * MAX_SPATIAL], size = 1, count = 1;
    TRY(window_attribute(call, "pads", 2 * p->spatial, 0, 0, pads));
    for (int32_t i = 0; i < p->spatial; i++) {
        p->input[i] = image[i];
        p->kernel[i] = block[i];
        p->pads_begin[i] = pads[i];
        p->pads_end[i] = pads[p->spatial + i];
        if (block[i] < 1 || block[i] > INT32_MAX || !multiply_sizes(size, block[i], &size))
            return call_fail(call, MITRAL_INVALID, "block sizes from 1 expected, found %lld", (long long)block[i]);
        TRY(window_resolve(call, "NOTSET", false, image[i], block[i], p->strides[i], p->dilations[i], &p->pads_begin[i],
                           &p->pads_end[i], &p->output[i]));
        if (!multiply_sizes(count, p->output[i], &count))
            return call_fail(call, MITRAL_LIMIT, "a number of blocks that can be addressed expected, it overflows");
    }
    if (columns->dims[1] % size || columns->dims[2] != count)
        return call_fail(call, MITRAL_INVALID, "columns [N, C·%lld, %lld] expected, found %s", (long long)size,
                         (long long)count, tensor_describe(columns, text, sizeof(text)));
    p->batch = columns->dims[0];
    p->channels = columns->dims[1] / size;
    return MITRAL_OK;
}

static bool is_complex(int32_t dtype)
{
    return dtype == MITRAL_COMPLEX64 || dtype == MITRAL_COMPLEX128;
}

static enum compute fold_compute(int32_t dtype)
{
    return dtype == MITRAL_COMPLEX64 ? COMPUTE_FLOAT : dtype == MITRAL_COMPLEX128 ? COMPUTE_DOUBLE : compute_of(dtype);
}

/* Complex elements are pairs of floats, computed where they are. */
static void place(const struct kernel_call *call, struct work *work, enum compute compute, const void **columns,
                  void **y)
{
    const mitral_tensor *from = call_input(call, 0);
    *columns = is_complex(from->dtype) ? from->data : work_operand(work, compute, from);
    mitral_tensor *to = call_output(call, 0);
    *y = to && is_complex(from->dtype) ? to->data : work_result(work, compute, to);
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    struct work work = {0};
    const void *columns;
    void *y;
    place(call, &work, fold_compute(call_input(call, 0)->dtype), &columns, &y);
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status shape(struct kernel_call *call)
{
    struct convolution_parameters p;
    const mitral_tensor *columns = call_input(call, 0);
    if (columns && columns->dtype == MITRAL_STRING)
        return call_fail(call, MITRAL_UNSUPPORTED, "numeric columns expected, found strings, which cannot be added");
    mitral_status status = decode(call, &p);
    if (status == MITRAL_DEFERRED && call_output(call, 0))
        call_output(call, 0)->dtype = columns->dtype;
    TRY(status);
    int64_t dims[MITRAL_MAX_RANK] = {p.batch, p.channels};
    memcpy(dims + 2, p.input, (size_t)p.spatial * sizeof(*dims));
    call_set_output(call, 0, columns->dtype, p.spatial + 2, dims);
    return MITRAL_OK;
}

static mitral_status run(struct kernel_call *call)
{
    struct convolution_parameters p;
    TRY(decode(call, &p));
    const int32_t dtype = call_input(call, 0)->dtype;
    enum compute compute = fold_compute(dtype);
    struct work work = work_of(call);
    const void *columns;
    void *y;
    place(call, &work, compute, &columns, &y);
    if (!y)
        return MITRAL_OK;
    const int64_t parts = is_complex(dtype) ? 2 : 1;
    if (compute == COMPUTE_FLOAT)
        fold_float(&p, parts, call->threads, columns, y);
    else if (compute == COMPUTE_DOUBLE)
        fold_double(&p, parts, call->threads, columns, y);
    else
        fold_integer(&p, parts, call->threads, columns, y);
    if (dtype == MITRAL_BOOL)
        for (int64_t i = 0; i < tensor_count(call_output(call, 0)); i++)
            ((uint64_t *)y)[i] = ((uint64_t *)y)[i] != 0;
    if (!is_complex(dtype))
        work_store(compute, call_output(call, 0), y);
    return MITRAL_OK;
}

const struct kernel reference_fold[] = {
    {.name = "Col2Im", .shape = shape, .prepare = prepare, .run = run},
};
const size_t reference_fold_count = sizeof(reference_fold) / sizeof(*reference_fold);
