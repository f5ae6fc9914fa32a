/* Random numbers. Without a seed every run draws new ones; with a seed the numbers are those of ONNX's reference
 * implementation. */
#include <math.h>
#include <string.h>

#include "runtime/kernels/reference/convert.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/twister.h"

enum { BLOCK = 256 };

static mitral_status random_type(const struct kernel_call *call, int32_t fallback, int32_t *out)
{
    int64_t dtype = attribute_int(call->attributes, "dtype", fallback);
    if (dtype <= 0 || dtype >= MITRAL_DTYPE_COUNT || !dtype_is_real((int32_t)dtype))
        return call_fail(call, MITRAL_INVALID, "a dtype of float32, float64, float16 or bfloat16 expected, found %lld",
                         (long long)dtype);
    *out = (int32_t)dtype;
    return MITRAL_OK;
}

/* RandomNormal, RandomUniform: the shape is an attribute. */
static mitral_status random_shape(struct kernel_call *call)
{
    int32_t dtype = 0;
    size_t rank;
    const int64_t *dims = attribute_ints(call->attributes, "shape", &rank);
    TRY(random_type(call, MITRAL_FLOAT, &dtype));
    if (rank > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "a shape of at most %d dimensions expected, found %zu", MITRAL_MAX_RANK,
                         rank);
    for (size_t i = 0; i < rank; i++)
        if (dims[i] < 0)
            return call_fail(call, MITRAL_INVALID, "sizes of at least 0 expected, found %lld", (long long)dims[i]);
    call_set_output(call, 0, dtype, (int32_t)rank, dims);
    return MITRAL_OK;
}

static mitral_status random_like_shape(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    int32_t dtype = 0;
    if (!input)
        return call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    TRY(random_type(call, input->dtype, &dtype));
    call_set_output(call, 0, dtype, input->rank, input->dims);
    return MITRAL_OK;
}

static mitral_status random_run(struct kernel_call *call, bool normal)
{
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    double scale = (double)attribute_float(call->attributes, "scale", 1),
           mean = (double)attribute_float(call->attributes, "mean", 0);
    double low = (double)attribute_float(call->attributes, "low", 0),
           high = (double)attribute_float(call->attributes, "high", 1);
    const struct conversion conversion = {.from = MITRAL_DOUBLE, .to = output->dtype};
    size_t size = mitral_dtype_size((mitral_dtype)output->dtype);
    struct twister twister;
    twister_seed_call(&twister, call);
    for (int64_t start = 0, count = tensor_count(output); start < count; start += BLOCK) {
        double values[BLOCK];
        size_t length = (size_t)(count - start < BLOCK ? count - start : BLOCK);
        for (size_t i = 0; i < length; i++)
            values[i] =
                normal ? mean + scale * twister_normal(&twister) : low + (high - low) * twister_uniform(&twister);
        convert(&conversion, values, (char *)output->data + (size_t)start * size, length);
    }
    return MITRAL_OK;
}

static mitral_status normal_run(struct kernel_call *call)
{
    return random_run(call, true);
}

static mitral_status uniform_run(struct kernel_call *call)
{
    return random_run(call, false);
}

/* ---- Bernoulli --------------------------------------------------------------------------------------------------- */

static mitral_status Bernoulli_shape(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    if (!input || !dtype_is_real(input->dtype))
        return input ? fail_type(call, 0, input)
                     : call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    int64_t dtype = attribute_int(call->attributes, "dtype", input->dtype);
    bool known = dtype > 0 && dtype < MITRAL_DTYPE_COUNT
                 && (dtype_is_real((int32_t)dtype) || dtype == MITRAL_BOOL || dtype_is_integer((int32_t)dtype));
    if (!known)
        return call_fail(call, MITRAL_INVALID, "a numeric or boolean dtype expected, found %lld", (long long)dtype);
    call_set_output(call, 0, (int32_t)dtype, input->rank, input->dims);
    return MITRAL_OK;
}

static mitral_status Bernoulli_run(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    struct twister twister;
    twister_seed_call(&twister, call);
    for (int64_t i = 0, count = output ? tensor_count(output) : 0; i < count; i++) {
        double probability = tensor_get_double(input, i), draw;
        if (!(probability >= 0 && probability <= 1))
            return call_fail(call, MITRAL_INVALID, "probabilities in [0, 1] expected, found %g", probability);
        /* Binomial of one trial by inversion, on the side of the smaller probability. */
        draw = twister_uniform(&twister);
        bool one = probability <= 0.5 ? draw > 1 - probability : !(draw > probability);
        tensor_set_double(output, i, one, true);
    }
    return MITRAL_OK;
}

/* ---- Multinomial ------------------------------------------------------------------------------------------------- */

static mitral_status Multinomial_shape(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    if (!input || !dtype_is_real(input->dtype))
        return input ? fail_type(call, 0, input)
                     : call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    int64_t dtype = attribute_int(call->attributes, "dtype", MITRAL_INT32);
    int64_t samples = attribute_int(call->attributes, "sample_size", 1);
    if (input->rank != 2 || input->dims[1] < 1) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "an input [batch, classes] of at least one class expected, found %s",
                         tensor_describe(input, text, sizeof(text)));
    }
    if ((dtype != MITRAL_INT32 && dtype != MITRAL_INT64) || samples < 0)
        return call_fail(call, MITRAL_INVALID,
                         "dtype int32 or int64 and sample_size of at least 0 expected, found %lld and %lld",
                         (long long)dtype, (long long)samples);
    call_set_output(call, 0, (int32_t)dtype, 2, (const int64_t[]){input->dims[0], samples});
    return MITRAL_OK;
}

/* The inputs are logarithms of probabilities up to a constant. */
static mitral_status Multinomial_run(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    mitral_tensor *output = call_output(call, 0);
    if (!output || tensor_count(output) == 0)
        return MITRAL_OK;
    int64_t classes = input->dims[1], samples = output->dims[1];
    double *cumulative = arena_allocate(call->arena, (size_t)classes * sizeof(*cumulative));
    if (!cumulative)
        return MITRAL_NO_MEMORY;
    struct twister twister;
    twister_seed_call(&twister, call);
    for (int64_t row = 0; row < input->dims[0]; row++) {
        double largest = -INFINITY, total = 0;
        for (int64_t i = 0; i < classes; i++)
            largest = fmax(largest, tensor_get_double(input, row * classes + i));
        for (int64_t i = 0; i < classes; i++)
            cumulative[i] = total += exp(tensor_get_double(input, row * classes + i) - largest);
        if (!(total > 0))
            return call_fail(call, MITRAL_INVALID, "row %lld: finite logarithms of probabilities expected",
                             (long long)row);
        for (int64_t i = 0; i < samples; i++) {
            double draw = twister_uniform(&twister) * total;
            int64_t low = 0, high = classes - 1; /* the first class whose cumulative value passes the draw */
            while (low < high) {
                int64_t middle = low + (high - low) / 2;
                if (cumulative[middle] > draw)
                    high = middle;
                else
                    low = middle + 1;
            }
            tensor_set_int(output, row * samples + i, low);
        }
    }
    return MITRAL_OK;
}

const struct kernel reference_random[] = {
    {"Bernoulli", KERNEL_RANDOM, Bernoulli_shape, NULL, Bernoulli_run},
    {"Multinomial", KERNEL_RANDOM, Multinomial_shape, NULL, Multinomial_run},
    {"RandomNormal", KERNEL_RANDOM, random_shape, NULL, normal_run},
    {"RandomNormalLike", KERNEL_RANDOM, random_like_shape, NULL, normal_run},
    {"RandomUniform", KERNEL_RANDOM, random_shape, NULL, uniform_run},
    {"RandomUniformLike", KERNEL_RANDOM, random_like_shape, NULL, uniform_run},
};
const size_t reference_random_count = sizeof(reference_random) / sizeof(reference_random[0]);
