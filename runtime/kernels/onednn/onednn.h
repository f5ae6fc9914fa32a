/* What the oneDNN kernels share.
 *
 * The state of a step is a program: a short list of operations — oneDNN primitives, calls of a reference kernel, own loops — over
 * operands that lie in the call's inputs and outputs, in the call's scratch memory, or in buffers that the program holds (packed
 * weights). All of it is made in prepare; a run only sets addresses and executes, so that one program serves several threads. */
#ifndef MITRAL_KERNELS_ONEDNN_H
#define MITRAL_KERNELS_ONEDNN_H

#include "runtime/kernel.h"
#include "runtime/kernels/onednn/library.h"

/* ---- engine, statuses, types ---------------------------------------------------------------------------------------- */

/* Opens the library and makes its engine, on first use; the instruction set is capped as MITRAL_ISA says. Comes before any other call
 * of it: descriptors and attributes are made by functions here, which see to that. */
mitral_status onednn_open(mitral_context *context);
/* A failed oneDNN call as a mitral_status with a message: "<kernel> '<node>': oneDNN <what>: <status>". */
mitral_status onednn_status(const struct kernel_call *call, dnnl_status_t status, const char *what);
#define DNNL_TRY(call, expression, what)                                                                               \
    do {                                                                                                               \
        dnnl_status_t dnnl_try_status = (expression);                                                                  \
        if (dnnl_try_status != dnnl_success)                                                                           \
            return onednn_status(call, dnnl_try_status, what);                                                         \
    } while (0)
/* dnnl_data_type_undef where oneDNN has none. */
dnnl_data_type_t onednn_type(int32_t dtype);
/* Whether the CPU computes in that type (f32 always; bf16 and f16 by instruction set). */
bool onednn_computes(int32_t dtype);

/* ---- descriptors ---------------------------------------------------------------------------------------------------- */

/* Descriptors are made from dims and strides; the caller destroys them. */
mitral_status onednn_descriptor(const struct kernel_call *call, dnnl_memory_desc_t *out, int32_t dtype, int32_t rank,
                                const int64_t *dims, int layout);
mitral_status onednn_descriptor_strided(const struct kernel_call *call, dnnl_memory_desc_t *out, int32_t dtype, int32_t rank,
                                        const int64_t *dims, const int64_t *strides);
/* Format chosen by the primitive. */
mitral_status onednn_descriptor_any(const struct kernel_call *call, dnnl_memory_desc_t *out, int32_t dtype, int32_t rank,
                                    const int64_t *dims);
void onednn_descriptor_free(dnnl_memory_desc_t *descriptor);
/* What a convolution or product by known weights is described by, and its attributes; NULL where it has none. */
struct onednn_descriptors {
    dnnl_memory_desc_t x, w, plain_w, bias, y;
    dnnl_primitive_attr_t attributes;
};
void onednn_descriptors_free(struct onednn_descriptors *descriptors);
/* Whether plain and channels-last are the same bytes: one channel, or one pixel. */
bool onednn_layouts_agree(int32_t rank, const int64_t *dims);
/* A descriptor as text that names the layout exactly, and how the tensor it was packed from lies (`plain`, the same dimensions):
 * "f32 d<dims> p<padded dims> s<strides> b<inner blocks> i<their dimensions> t<strides of the tensor>". Equal texts mean equal
 * layouts. */
enum { ONEDNN_TEXT = 512 };
mitral_status onednn_descriptor_text(const struct kernel_call *call, const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t descriptor,
                                     char text[ONEDNN_TEXT]);
/* Undoes a packing: the elements of `packed` (a LAYOUT_PACKED tensor of scheme "onednn") in the tensor's own order and element type,
 * into `out`. MITRAL_CORRUPT when the description does not fit the tensor. */
mitral_status onednn_unpack(const struct kernel_call *call, const mitral_tensor *packed, void *out);

/* ---- programs ------------------------------------------------------------------------------------------------------- */

enum onednn_place { PLACE_INPUT, PLACE_OUTPUT, PLACE_SCRATCH, PLACE_BUFFER, PLACE_NONE };

struct onednn_where {
    enum onednn_place place;
    size_t index;  /* of the input, output or buffer; offset in bytes into the scratch memory */
    size_t offset; /* in bytes, from there */
};

/* An operand of a primitive: `argument` is DNNL_ARG_…. */
struct onednn_operand {
    int argument;
    struct onednn_where where;
};

struct onednn_program;

/* An own loop as an operation: `addresses` are those of the `where`s it was added with. */
typedef mitral_status onednn_function(const struct kernel_call *call, void *const *addresses, const void *data);

mitral_status onednn_program_create(struct onednn_program **out, const struct kernel_call *call);
void onednn_program_destroy(mitral_context *context, void *program); /* a kernel's `release` */
mitral_status onednn_program_run(struct kernel_call *call);           /* a kernel's `run` */
const char *onednn_program_describe(const void *program);             /* a kernel's `describe` */
mitral_tensor onednn_program_packed(const void *program, size_t index); /* a kernel's `packed` */
/* The last call of prepare: hands the program over as the state, or destroys it when `status` is a failure. */
mitral_status onednn_program_finish(struct onednn_program *program, const struct kernel_call *call, mitral_status status, void **state,
                                    size_t *scratch_bytes);

/* Room for an intermediate of that many bytes. */
struct onednn_where onednn_scratch(struct onednn_program *program, size_t bytes);
/* Adds a primitive; takes the descriptor over, on failure too. Its scratchpad is added by itself. */
mitral_status onednn_add_primitive(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_desc_t descriptor,
                                   const struct onednn_operand *operands, size_t count);
/* The same primitive `parts` times over operands that move on by `steps` bytes from part to part; parts are shared out among the
 * threads, each runs in one. So results do not depend on the number of threads, whatever the implementation does with it. The descriptor
 * must have been created between onednn_serial_begin and onednn_serial_end. */
mitral_status onednn_add_parts(struct onednn_program *program, const struct kernel_call *call, dnnl_primitive_desc_t descriptor,
                               const struct onednn_operand *operands, const size_t *steps, size_t count, size_t parts);
/* Between these, descriptors and primitives are made for one thread. */
int onednn_serial_begin(void);
void onednn_serial_end(int before);
/* Whether the implementation splits sums by the number of threads (oneDNN's gemm does, and its strided transposed convolutions), or, as
 * blocked convolutions do with windows that are not usual, orders them by it. */
bool onednn_depends_on_threads(const_dnnl_primitive_desc_t descriptor, bool usual_window);
mitral_status onednn_add_reorder(struct onednn_program *program, const struct kernel_call *call, const_dnnl_memory_desc_t from,
                                 struct onednn_where from_where, const_dnnl_memory_desc_t to, struct onednn_where to_where);
/* One reorder here and now. */
mitral_status onednn_reorder_now(const struct kernel_call *call, const_dnnl_memory_desc_t from, void *from_data,
                                 const_dnnl_memory_desc_t to, void *to_data);
/* `tensor` (its type and shape) from one layout to the other; any element type. */
mitral_status onednn_add_relayout(struct onednn_program *program, const struct kernel_call *call, const mitral_tensor *tensor,
                                  int from_layout, struct onednn_where from, int to_layout, struct onednn_where to);
/* `data` is copied (size bytes). */
mitral_status onednn_add_function(struct onednn_program *program, const struct kernel_call *call, onednn_function *function,
                                  const struct onednn_where *wheres, size_t count, const void *data, size_t size);
/* The call's first `input_count` inputs and its outputs by that reference kernel, on plain copies of what is not plain. When
 * `output` is not NULL the first output is left there, plain, for what follows, and finished with onednn_finish_output. */
mitral_status onednn_add_delegate(struct onednn_program *program, const struct kernel_call *call, const char *kernel,
                                  size_t input_count, struct onednn_where *output);
/* The constant input `index`, wanted as `descriptor` says: taken as it is where the stored packing fits, else packed here. An input
 * whose value is not known yet is packed anew in each run. *out: where the packed weights lie. `plain` describes the tensor's
 * elements in row-major order, in the dimensions of `descriptor`. */
mitral_status onednn_add_weights(struct onednn_program *program, const struct kernel_call *call, size_t index,
                                 const_dnnl_memory_desc_t plain, const_dnnl_memory_desc_t descriptor, struct onednn_where *out);
/* A buffer that the program holds; zeroed. */
mitral_status onednn_add_buffer(struct onednn_program *program, const struct kernel_call *call, size_t bytes, void **data,
                                struct onednn_where *out);
/* The input or output `index` in that layout: itself, or a copy in scratch memory, with the change of layout added (for an output:
 * after its producer, by onednn_finish_output). */
mitral_status onednn_input_in(struct onednn_program *program, const struct kernel_call *call, size_t index, int layout,
                              struct onednn_where *where);
struct onednn_where onednn_output_in(struct onednn_program *program, const struct kernel_call *call, size_t index, int layout);
mitral_status onednn_finish_output(struct onednn_program *program, const struct kernel_call *call, size_t index, int layout,
                                   struct onednn_where where);
/* The same with a descriptor of the result, which the caller destroys. */
mitral_status onednn_input_as(struct onednn_program *program, const struct kernel_call *call, size_t index, int layout,
                              dnnl_memory_desc_t *descriptor, struct onednn_where *where);
mitral_status onednn_output_as(struct onednn_program *program, const struct kernel_call *call, size_t index, int layout,
                               dnnl_memory_desc_t *descriptor, struct onednn_where *where);

/* Attributes of a primitive with the scratchpad in the caller's hands. */
mitral_status onednn_attributes(const struct kernel_call *call, dnnl_primitive_attr_t *out);
/* Whether what a primitive descriptor chose is one of oneDNN's slow reference implementations. */
bool onednn_is_reference(const_dnnl_primitive_desc_t descriptor);
/* Shape functions here call the operator's own and then restore what this keeps: the layouts that the outputs were planned with. */
mitral_status onednn_shape_keeping_layouts(struct kernel_call *call, mitral_status (*shape)(struct kernel_call *call));

/* ---- post-operations ------------------------------------------------------------------------------------------------ */

/* What follows a convolution or matrix product inside the same step, from the call's attributes: `activation` (an operator's
 * name), `activation_alpha`, `activation_beta`, `activation_scale` and `activation_shift` of its result (default 1 and 0),
 * `residual_before_activation` (default 1). */
struct onednn_post {
    size_t residual_input, slope_input; /* SIZE_MAX: none */
    bool residual_first;
    bool has_activation;                /* an eltwise one; PRelu is `slope_input` */
    dnnl_alg_kind_t algorithm;
    float alpha, beta;                  /* oneDNN's */
    float scale, shift;                 /* of the activation's result (Selu, activation_scale, activation_shift); 1 and 0 otherwise */
};

/* Residual and slope are the inputs of those numbers, when they are there. */
mitral_status onednn_read_post(const struct kernel_call *call, size_t residual_input, size_t slope_input, struct onednn_post *out);
/* The oneDNN algorithm of an activation operator with its ONNX parameters; false when there is none that computes the same. */
bool onednn_activation(const char *name, float alpha, float beta, struct onednn_post *out);
/* Appends to `list` and to the operands; the output is computed in `layout` and described by `destination`. */
enum { ONEDNN_POST_OPERANDS = 2 };
mitral_status onednn_append_post(struct onednn_program *program, const struct kernel_call *call, const struct onednn_post *post,
                                 int layout, const_dnnl_memory_desc_t destination, dnnl_post_ops_t list,
                                 struct onednn_operand *operands, size_t *count);
/* The same as a loop over the plain output 0 that lies at `where`. */
mitral_status onednn_add_post_loop(struct onednn_program *program, const struct kernel_call *call, const struct onednn_post *post,
                                   struct onednn_where where);

#endif
