/* onednn.matmul: A, B, bias [n]?, residual? with MatMul's rules; onednn.gemm: A, B, C? with Gemm's. Both with the attributes of
 * onednn_read_post, and onednn.matmul with `alpha`, a factor of the product. */
#include <string.h>

#include "runtime/kernels/onednn/few_rows.h"
#include "runtime/kernels/onednn/program.h"
#include "runtime/kernels/reference/matmul.h"
#include "runtime/kernels/reference/shapes.h"

enum { A, B, BIAS, RESIDUAL };

/* One product as oneDNN sees it. */
struct product {
    int32_t rank;
    int64_t a_dims[MITRAL_MAX_RANK], b_dims[MITRAL_MAX_RANK], y_dims[MITRAL_MAX_RANK];
    int64_t a_strides[MITRAL_MAX_RANK], b_strides[MITRAL_MAX_RANK], y_strides[MITRAL_MAX_RANK];
    float alpha;
    bool has_addend;
    int64_t addend_dims[MITRAL_MAX_RANK], addend_strides[MITRAL_MAX_RANK];
    float beta;
};

static void row_major(int32_t rank, const int64_t *dims, int64_t *strides)
{
    int64_t stride = 1;
    for (int32_t i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= dims[i];
    }
}

/* ---- MatMul ----------------------------------------------------------------------------------------------------------- */

static bool all_zero(const int64_t *values, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        if (values[i])
            return false;
    return true;
}

static bool broadcasts(const struct matmul_parameters *p, const int64_t *strides)
{
    for (int32_t i = 0; i < p->batch_rank; i++)
        if (!strides[i] && p->batch[i] != 1)
            return true;
    return false;
}

/* Leading dimensions are folded where they allow it: into the rows when B is one matrix, into one when nothing broadcasts. */
static void matmul_product(const struct matmul_parameters *p, struct product *out)
{
    int32_t leading = 0;
    int64_t m = p->m;
    if (all_zero(p->b_strides, p->batch_rank) && !broadcasts(p, p->a_strides)) {
        m *= p->batches;
    } else if (!broadcasts(p, p->a_strides) && !broadcasts(p, p->b_strides)) {
        out->a_dims[0] = out->b_dims[0] = out->y_dims[0] = p->batches;
        leading = 1;
    } else {
        leading = p->batch_rank;
        for (int32_t i = 0; i < leading; i++) {
            out->y_dims[i] = p->batch[i];
            out->a_dims[i] = p->a_strides[i] ? p->batch[i] : 1;
            out->b_dims[i] = p->b_strides[i] ? p->batch[i] : 1;
        }
    }
    out->rank = leading + 2;
    out->a_dims[leading] = out->y_dims[leading] = m;
    out->a_dims[leading + 1] = out->b_dims[leading] = p->k;
    out->b_dims[leading + 1] = out->y_dims[leading + 1] = p->n;
    row_major(out->rank, out->a_dims, out->a_strides);
    row_major(out->rank, out->b_dims, out->b_strides);
    row_major(out->rank, out->y_dims, out->y_strides);
}

static mitral_status matmul_shape(struct kernel_call *call)
{
    return onednn_shape_keeping_layouts(call, shape_matmul);
}

static mitral_status read_matmul(const struct kernel_call *call, struct product *out)
{
    struct matmul_parameters p;
    *out = (struct product){.alpha = attribute_float(call->attributes, "alpha", 1), .beta = 1};
    TRY(matmul_decode(call, call_input(call, A), call_input(call, B), &p));
    matmul_product(&p, out);
    const mitral_tensor *bias = call_input(call, BIAS);
    if (bias) {
        if (tensor_count(bias) != p.n)
            return call_fail(call, MITRAL_INVALID, "bias: expected %lld numbers, found %lld", (long long)p.n, (long long)tensor_count(bias));
        out->has_addend = true;
        for (int32_t i = 0; i < out->rank; i++)
            out->addend_dims[i] = 1;
        out->addend_dims[out->rank - 1] = p.n;
        row_major(out->rank, out->addend_dims, out->addend_strides);
    }
    return MITRAL_OK;
}

/* ---- Gemm ------------------------------------------------------------------------------------------------------------- */

static mitral_status gemm_shape(struct kernel_call *call)
{
    return onednn_shape_keeping_layouts(call, shape_gemm);
}

static mitral_status read_gemm(const struct kernel_call *call, struct product *out)
{
    struct gemm_parameters p;
    TRY(call_gemm_parameters(call, &p));
    *out = (struct product){.rank = 2, .alpha = p.alpha, .beta = p.beta, .has_addend = p.has_c,
                            .a_dims = {p.m, p.k}, .b_dims = {p.k, p.n}, .y_dims = {p.m, p.n}};
    out->a_strides[0] = p.transpose_a ? 1 : p.k;
    out->a_strides[1] = p.transpose_a ? p.m : 1;
    out->b_strides[0] = p.transpose_b ? 1 : p.n;
    out->b_strides[1] = p.transpose_b ? p.k : 1;
    out->y_strides[0] = p.n;
    out->y_strides[1] = 1;
    out->addend_dims[0] = p.has_c && p.c_row_stride ? p.m : 1;
    out->addend_dims[1] = p.has_c && p.c_column_stride ? p.n : 1;
    row_major(2, out->addend_dims, out->addend_strides);
    return MITRAL_OK;
}

/* ---- both ------------------------------------------------------------------------------------------------------------- */

struct descriptors {
    dnnl_memory_desc_t a, b, plain_b, addend, y;
};

static void free_descriptors(struct descriptors *d)
{
    onednn_descriptor_free(&d->a);
    onednn_descriptor_free(&d->b);
    onednn_descriptor_free(&d->plain_b);
    onednn_descriptor_free(&d->addend);
    onednn_descriptor_free(&d->y);
}

static mitral_status describe(const struct kernel_call *call, const struct product *p, struct descriptors *d)
{
    const mitral_tensor *a = call_input(call, A), *b = call_input(call, B), *y = call_output(call, 0), *addend = call_input(call, BIAS);
    TRY(onednn_descriptor_strided(call, &d->a, a->dtype, p->rank, p->a_dims, p->a_strides));
    TRY(onednn_descriptor_strided(call, &d->y, y->dtype, p->rank, p->y_dims, p->y_strides));
    TRY(onednn_descriptor_strided(call, &d->plain_b, b->dtype, p->rank, p->b_dims, p->b_strides));
    /* What is known is packed once; what is not is multiplied as it lies. */
    if (b->data && p->rank == 2)
        TRY(onednn_descriptor_any(call, &d->b, a->dtype, p->rank, p->b_dims));
    else
        TRY(onednn_descriptor_strided(call, &d->b, b->dtype, p->rank, p->b_dims, p->b_strides));
    if (p->has_addend)
        TRY(onednn_descriptor_strided(call, &d->addend, addend->dtype, p->rank, p->addend_dims, p->addend_strides));
    return MITRAL_OK;
}

/* The addend times beta, in a buffer. */
static mitral_status scale_addend(struct onednn_program *program, const struct kernel_call *call, float beta, struct onednn_where *where)
{
    const mitral_tensor *addend = call_input(call, BIAS);
    *where = (struct onednn_where){PLACE_INPUT, BIAS, 0};
    if (beta == 1)
        return MITRAL_OK;
    if (!addend->data)
        return MITRAL_DEFERRED;
    mitral_tensor scaled = *addend;
    TRY(onednn_add_buffer(program, call, tensor_bytes(addend), &scaled.data, where));
    for (int64_t i = 0; i < tensor_count(addend); i++)
        tensor_set_double(&scaled, i, (double)beta * tensor_get_double(addend, i), false);
    return MITRAL_OK;
}

static mitral_status append_all(struct onednn_program *program, const struct kernel_call *call, const struct product *p,
                                const struct onednn_post *post, const struct descriptors *d, bool as_bias, dnnl_post_ops_t list,
                                struct onednn_operand *operands, size_t *count)
{
    if (p->alpha != 1)
        DNNL_TRY(call, dnnl.post_ops_append_eltwise(list, dnnl_eltwise_linear, p->alpha, 0), "factor");
    if (p->has_addend && p->beta != 0) {
        struct onednn_operand *operand = &operands[(*count)++];
        operand->argument = as_bias ? DNNL_ARG_BIAS : DNNL_ARG_ATTR_MULTIPLE_POST_OP(dnnl.post_ops_len(list)) | DNNL_ARG_SRC_1;
        TRY(scale_addend(program, call, p->beta, &operand->where));
        if (!as_bias)
            DNNL_TRY(call, dnnl.post_ops_append_binary(list, dnnl_binary_add, d->addend), "addend");
    }
    return onednn_append_post(program, call, post, LAYOUT_PLAIN, d->y, list, operands, count);
}

/* Rows [first, first + rows · parts) of a product of two matrices; of more dimensions, all of it as one part. */
struct slice {
    int64_t first, rows, parts;
};

/* How far an operand moves with each row, in bytes. */
static size_t row_step(const struct kernel_call *call, const struct product *p, const struct onednn_operand *operand)
{
    const size_t element = mitral_dtype_size((mitral_dtype)call_input(call, A)->dtype);
    if (operand->argument == DNNL_ARG_SRC)
        return (size_t)p->a_strides[0] * element;
    if (operand->argument == DNNL_ARG_DST || (operand->where.place == PLACE_INPUT && operand->where.index == RESIDUAL))
        return (size_t)p->y_strides[0] * element;
    if (operand->argument == DNNL_ARG_WEIGHTS || operand->argument == DNNL_ARG_BIAS || p->addend_dims[0] == 1)
        return 0;
    return (size_t)p->addend_strides[0] * mitral_dtype_size((mitral_dtype)call_input(call, BIAS)->dtype);
}

/* The product, or with `slice` some of its rows, whatever the number of threads. MITRAL_DEFERRED: oneDNN has nothing fast for it, or
 * *depends: what it has gives results that depend on the number of threads. */
static mitral_status add_product(struct onednn_program *program, const struct kernel_call *call, const struct product *whole,
                                 const struct onednn_post *post, const struct slice *slice, struct descriptors *d,
                                 dnnl_primitive_attr_t attributes, bool *depends)
{
    struct onednn_operand operands[4 + ONEDNN_POST_OPERANDS] = {
        {DNNL_ARG_SRC, {PLACE_INPUT, A, 0}}, {DNNL_ARG_WEIGHTS, {PLACE_INPUT, B, 0}}, {DNNL_ARG_DST, {PLACE_OUTPUT, 0, 0}}};
    size_t count = 3, steps[4 + ONEDNN_POST_OPERANDS] = {0};
    struct product part = *whole;
    const struct product *p = &part;
    if (slice && whole->rank == 2) {
        part.a_dims[0] = part.y_dims[0] = slice->rows;
        if (part.addend_dims[0] != 1)
            part.addend_dims[0] = slice->rows;
    }
    const bool as_bias = p->has_addend && p->beta != 0 && p->alpha == 1 && p->addend_dims[p->rank - 2] == 1
                         && p->addend_dims[p->rank - 1] == p->y_dims[p->rank - 1];
    TRY(describe(call, p, d));
    dnnl_post_ops_t list;
    DNNL_TRY(call, dnnl.post_ops_create(&list), "post-operations");
    mitral_status status = append_all(program, call, p, post, d, as_bias, list, operands, &count);
    if (status == MITRAL_OK && dnnl.primitive_attr_set_post_ops(attributes, list) != dnnl_success)
        status = MITRAL_NO_MEMORY;
    dnnl.post_ops_destroy(list);
    TRY(status);
    dnnl_primitive_desc_t descriptor;
    if (dnnl.matmul_primitive_desc_create(&descriptor, dnnl.engine, d->a, d->b, as_bias ? d->addend : NULL, d->y, attributes)
        != dnnl_success)
        return MITRAL_DEFERRED;
    *depends = !slice && onednn_depends_on_threads(descriptor, true); /* one thread takes the same parts as several */
    if (onednn_is_reference(descriptor) || *depends)
        status = MITRAL_DEFERRED;
    else
        status = onednn_add_weights(program, call, B, d->plain_b, dnnl.primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0),
                                    &operands[1].where);
    if (status != MITRAL_OK) {
        dnnl.primitive_desc_destroy(descriptor);
        return status;
    }
    if (!slice)
        return onednn_add_primitive(program, call, descriptor, operands, count);
    for (size_t i = 0; i < count; i++) {
        operands[i].where.offset += (size_t)slice->first * row_step(call, whole, &operands[i]);
        steps[i] = (size_t)slice->rows * row_step(call, whole, &operands[i]);
    }
    return onednn_add_parts(program, call, descriptor, operands, steps, count, (size_t)slice->parts);
}

/* A product of few dozen rows by known weights as the 1×1 convolution of a map of one row, whose weights are packed once; oneDNN's
 * product of matrices packs them in each run, and in each part. */
static mitral_status add_as_convolution(struct onednn_program *program, const struct kernel_call *call, const struct product *p,
                                        const struct onednn_post *post, struct descriptors *d, dnnl_primitive_attr_t attributes)
{
    enum { ROWS = 128 };
    const int64_t m = p->y_dims[0], k = p->a_dims[1], n = p->y_dims[1];
    const mitral_tensor *a = call_input(call, A), *b = call_input(call, B), *y = call_output(call, 0), *addend = call_input(call, BIAS);
    const bool adds = p->has_addend && p->beta != 0;
    if (p->rank != 2 || m > ROWS || !b->data || a->dtype != MITRAL_FLOAT || b->dtype != MITRAL_FLOAT || p->alpha != 1
        || p->a_strides[1] != 1 || p->a_strides[0] != k || (adds && (p->addend_dims[0] != 1 || p->addend_dims[1] != n || p->beta != 1)))
        return MITRAL_DEFERRED;
    const int64_t from[] = {1, k, 1, m}, weights[] = {n, k, 1, 1}, lie[] = {p->b_strides[1], p->b_strides[0], 1, 1}, to[] = {1, n, 1, m};
    struct onednn_operand operands[4 + ONEDNN_POST_OPERANDS] = {
        {DNNL_ARG_SRC, {PLACE_INPUT, A, 0}}, {DNNL_ARG_WEIGHTS, {PLACE_INPUT, B, 0}}, {DNNL_ARG_DST, {PLACE_OUTPUT, 0, 0}}};
    size_t count = 3;
    TRY(onednn_descriptor(call, &d->a, a->dtype, 4, from, LAYOUT_CHANNELS_LAST));
    TRY(onednn_descriptor_any(call, &d->b, b->dtype, 4, weights));
    TRY(onednn_descriptor_strided(call, &d->plain_b, b->dtype, 4, weights, lie));
    TRY(onednn_descriptor(call, &d->y, y->dtype, 4, to, LAYOUT_CHANNELS_LAST));
    if (adds) {
        TRY(onednn_descriptor(call, &d->addend, addend->dtype, 1, &n, LAYOUT_PLAIN));
        operands[count++] = (struct onednn_operand){DNNL_ARG_BIAS, {PLACE_INPUT, BIAS, 0}};
    }
    dnnl_post_ops_t list;
    DNNL_TRY(call, dnnl.post_ops_create(&list), "post-operations");
    mitral_status status = onednn_append_post(program, call, post, LAYOUT_PLAIN, d->y, list, operands, &count); /* rows lie as pixels do */
    if (status == MITRAL_OK && dnnl.primitive_attr_set_post_ops(attributes, list) != dnnl_success)
        status = MITRAL_NO_MEMORY;
    dnnl.post_ops_destroy(list);
    TRY(status);
    const dnnl_dims_t ones = {1, 1}, zeros = {0, 0};
    dnnl_primitive_desc_t descriptor;
    if (dnnl.convolution_forward_primitive_desc_create(&descriptor, dnnl.engine, dnnl_forward_inference, dnnl_convolution_direct, d->a,
                                                       d->b, d->addend, d->y, ones, zeros, zeros, zeros, attributes) != dnnl_success)
        return MITRAL_DEFERRED;
    if (onednn_is_reference(descriptor) || onednn_depends_on_threads(descriptor, true))
        status = MITRAL_DEFERRED;
    else
        status = onednn_add_weights(program, call, B, d->plain_b, dnnl.primitive_desc_query_md(descriptor, dnnl_query_weights_md, 0),
                                    &operands[1].where);
    if (status == MITRAL_OK)
        return onednn_add_primitive(program, call, descriptor, operands, count);
    dnnl.primitive_desc_destroy(descriptor);
    return status;
}

/* In parts whose size follows from the shape alone. */
static mitral_status add_slices(struct onednn_program *program, const struct kernel_call *call, const struct product *p,
                                const struct onednn_post *post, struct descriptors *d, dnnl_primitive_attr_t attributes)
{
    enum { ROWS = 16, PARTS = 8 };
    const int64_t m = p->y_dims[0];
    bool depends;
    int64_t rows = p->rank == 2 ? ((m + PARTS - 1) / PARTS + ROWS - 1) / ROWS * ROWS : m;
    rows = rows < m ? rows : m;
    const struct slice main_part = {0, rows, p->rank == 2 ? m / rows : 1}, rest = {main_part.parts * rows, m - main_part.parts * rows, 1};
    const int before = onednn_serial_begin();
    mitral_status status = add_product(program, call, p, post, &main_part, d, attributes, &depends);
    if (status == MITRAL_OK && p->rank == 2 && rest.rows) {
        free_descriptors(d);
        status = add_product(program, call, p, post, &rest, d, attributes, &depends);
    }
    onednn_serial_end(before);
    return status;
}

enum way { WHOLE, CONVOLUTION, SLICES };

static mitral_status attempt_once(const struct kernel_call *call, const struct product *p, const struct onednn_post *post, enum way way,
                                  bool *depends, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    struct descriptors d = {0};
    dnnl_primitive_attr_t attributes;
    TRY(onednn_attributes(call, &attributes));
    mitral_status status = onednn_program_create(&program, call);
    if (status == MITRAL_OK) {
        status = way == SLICES        ? add_slices(program, call, p, post, &d, attributes)
                 : way == CONVOLUTION ? add_as_convolution(program, call, p, post, &d, attributes)
                                      : add_product(program, call, p, post, NULL, &d, attributes, depends);
        status = onednn_program_finish(program, call, status, state, scratch_bytes);
    }
    free_descriptors(&d);
    dnnl.primitive_attr_destroy(attributes);
    return status;
}

static mitral_status attempt(const struct kernel_call *call, const struct product *p, const struct onednn_post *post, void **state,
                             size_t *scratch_bytes)
{
    bool depends = false;
    mitral_status status = attempt_once(call, p, post, WHOLE, &depends, state, scratch_bytes);
    if (depends)
        status = attempt_once(call, p, post, CONVOLUTION, &depends, state, scratch_bytes);
    return depends && status == MITRAL_DEFERRED ? attempt_once(call, p, post, SLICES, &depends, state, scratch_bytes) : status;
}

/* Few rows by plain weights, however they lie; the weights of what is packed already stay with oneDNN. */
static mitral_status attempt_few_rows(const struct kernel_call *call, const struct product *p, const struct onednn_post *post, void **state,
                                      size_t *scratch_bytes)
{
    const mitral_tensor *a = call_input(call, A), *b = call_input(call, B), *addend = call_input(call, BIAS);
    const bool relu = post->has_activation && post->algorithm == dnnl_eltwise_relu && post->alpha == 0;
    const bool transposed = p->b_dims[1] == 1 || (p->b_strides[0] == 1 && p->b_strides[1] == p->b_dims[0]);
    if (p->rank != 2 || p->y_dims[0] > FEW_ROWS || a->dtype != MITRAL_FLOAT || b->dtype != MITRAL_FLOAT || b->layout == LAYOUT_PACKED
        || post->residual_input != SIZE_MAX || (post->has_activation && !relu) || (p->has_addend && p->beta != 1 && p->beta != 0)
        || (addend && (addend->dtype != MITRAL_FLOAT || p->addend_dims[0] != 1 || p->addend_dims[1] != p->y_dims[1]))
        || (!transposed && !(p->b_strides[1] == 1 && p->b_strides[0] == p->b_dims[1])))
        return MITRAL_DEFERRED;
    const struct onednn_few_rows request = {
        .rows = p->y_dims[0], .depth = p->a_dims[1], .columns = p->y_dims[1], .a_row = p->a_strides[0], .a_step = p->a_strides[1],
        .transposed = transposed, .alpha = p->alpha, .relu = relu,
        .bias = {p->has_addend && p->beta != 0 ? PLACE_INPUT : PLACE_NONE, BIAS, 0}};
    struct onednn_program *program;
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, onednn_add_few_rows(program, call, &request), state, scratch_bytes);
}

/* What is left of a MatMul step when the reference kernel does the product. */
struct finish {
    mitral_tensor y, bias;
    float alpha;
    int64_t columns;
};

static mitral_status run_finish(const struct kernel_call *call, void *const *addresses, const void *data)
{
    (void)call;
    const struct finish *f = data;
    mitral_tensor y = f->y, bias = f->bias;
    y.data = addresses[0];
    bias.data = addresses[1];
    for (int64_t i = 0, count = tensor_count(&y); i < count; i++) {
        double value = (double)f->alpha * tensor_get_double(&y, i);
        tensor_set_double(&y, i, bias.data ? value + tensor_get_double(&bias, i % f->columns) : value, false);
    }
    return MITRAL_OK;
}

static mitral_status add_reference(struct onednn_program *program, const struct kernel_call *call, const struct product *p,
                                   const struct onednn_post *post, bool gemm)
{
    struct onednn_where where;
    TRY(onednn_add_delegate(program, call, gemm ? "Gemm" : "MatMul", gemm ? BIAS + 1 : B + 1, &where));
    const mitral_tensor *bias = call_input(call, BIAS);
    if (!gemm && (bias || p->alpha != 1)) {
        struct finish finish = {.y = *call_output(call, 0), .alpha = p->alpha, .columns = p->y_dims[p->rank - 1]};
        struct onednn_where wheres[2] = {where, {PLACE_NONE, 0, 0}};
        if (bias) {
            finish.bias = *bias;
            wheres[1] = (struct onednn_where){PLACE_INPUT, BIAS, 0};
        }
        TRY(onednn_add_function(program, call, run_finish, wheres, 2, &finish, sizeof finish));
    }
    TRY(onednn_add_post_loop(program, call, post, where));
    return onednn_finish_output(program, call, 0, LAYOUT_PLAIN, where);
}

static mitral_status prepare(struct kernel_call *call, bool gemm, void **state, size_t *scratch_bytes)
{
    struct onednn_program *program;
    struct onednn_post post;
    struct product p;
    const mitral_tensor *a = call_input(call, A), *b = call_input(call, B), *addend = call_input(call, BIAS), *y = call_output(call, 0);
    TRY(onednn_read_post(call, gemm ? SIZE_MAX : RESIDUAL, SIZE_MAX, &post));
    TRY(gemm ? read_gemm(call, &p) : read_matmul(call, &p));
    if (tensor_count(y) == 0) {
        TRY(onednn_program_create(&program, call));
        return onednn_program_finish(program, call, MITRAL_OK, state, scratch_bytes);
    }
    if (onednn_computes(a->dtype) && tensor_count(a) && tensor_count(b) && onednn_type(b->dtype) != dnnl_data_type_undef
        && (!addend || addend->dtype == a->dtype || addend->dtype == MITRAL_FLOAT)) {
        mitral_status status = attempt_few_rows(call, &p, &post, state, scratch_bytes);
        if (status == MITRAL_DEFERRED)
            status = attempt(call, &p, &post, state, scratch_bytes);
        if (status != MITRAL_DEFERRED)
            return status;
    }
    TRY(onednn_program_create(&program, call));
    return onednn_program_finish(program, call, add_reference(program, call, &p, &post, gemm), state, scratch_bytes);
}

static mitral_status matmul_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, false, state, scratch_bytes);
}

static mitral_status gemm_prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    return prepare(call, true, state, scratch_bytes);
}

static double count_flops(const struct kernel_call *call, bool gemm)
{
    struct product p;
    if ((gemm ? read_gemm(call, &p) : read_matmul(call, &p)) != MITRAL_OK)
        return 0;
    double count = 2.0 * (double)p.a_dims[p.rank - 1];
    for (int32_t i = 0; i < p.rank; i++)
        count *= (double)p.y_dims[i];
    return count;
}

static double matmul_flops(const struct kernel_call *call) { return count_flops(call, false); }
static double gemm_flops(const struct kernel_call *call) { return count_flops(call, true); }

const struct kernel onednn_matmul[] = {
    {.name = "onednn.gemm", .flags = KERNEL_PREPARES_BY_SHAPE, .shape = gemm_shape, .prepare = gemm_prepare, .run = onednn_program_run,
     .release = onednn_program_destroy, .packed = onednn_program_packed, .describe = onednn_program_describe, .flops = gemm_flops},
    {.name = "onednn.matmul", .flags = KERNEL_PREPARES_BY_SHAPE, .shape = matmul_shape, .prepare = matmul_prepare,
     .run = onednn_program_run, .release = onednn_program_destroy, .packed = onednn_program_packed, .describe = onednn_program_describe,
     .flops = matmul_flops},
};
const size_t onednn_matmul_count = sizeof onednn_matmul / sizeof *onednn_matmul;
