#include "runtime/kernels/reference/copy.h"

#include <string.h>

enum { BLOCK = 32 };

struct dimension {
    int64_t size, target, source; /* strides in bytes */
};

/* Constant sizes, so that the compiler makes plain loads and stores of them. */
#define BY_SIZE(element, ACTION)                                                                                       \
    switch (element) {                                                                                                 \
    case 1: ACTION(1); break;                                                                                          \
    case 2: ACTION(2); break;                                                                                          \
    case 4: ACTION(4); break;                                                                                          \
    case 8: ACTION(8); break;                                                                                          \
    case 16: ACTION(16); break;                                                                                        \
    default: ACTION(element); break;                                                                                   \
    }

void copy_element(void *target, const void *source, size_t element)
{
#define ONE(size) memcpy(target, source, size)
    BY_SIZE(element, ONE)
#undef ONE
}

static void copy_row(char *target, const char *source, size_t element, int64_t count, int64_t target_step, int64_t source_step)
{
#define ROW(size)                                                                                                      \
    for (int64_t i = 0; i < count; i++)                                                                                \
        memcpy(target + i * target_step, source + i * source_step, size)
    BY_SIZE(element, ROW)
#undef ROW
}

/* rows × columns, the source contiguous along rows, the target along columns. */
static void copy_block(char *target, const char *source, size_t element, int64_t rows, int64_t columns, int64_t target_step,
                       int64_t source_step)
{
#define TRANSPOSE(size)                                                                                                \
    for (int64_t from = 0; from < columns; from += BLOCK) {                                                            \
        int64_t to = from + BLOCK < columns ? from + BLOCK : columns;                                                  \
        for (int64_t r = 0; r < rows; r++)                                                                             \
            for (int64_t c = from; c < to; c++)                                                                        \
                memcpy(target + r * target_step + c * (int64_t)(size), source + r * (int64_t)(size) + c * source_step, \
                       size);                                                                                          \
    }
    BY_SIZE(element, TRANSPOSE)
#undef TRANSPOSE
}

typedef uint32_t quad __attribute__((vector_size(16)));

static inline quad load_quad(const char *from)
{
    quad value;
    memcpy(&value, from, sizeof(value));
    return value;
}

static inline void transpose_quads(char *to, const char *from, int64_t target_step, int64_t source_step)
{
    quad a = load_quad(from), b = load_quad(from + source_step);
    quad c = load_quad(from + 2 * source_step), d = load_quad(from + 3 * source_step);
    quad low_ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), high_ab = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    quad low_cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), high_cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    quad out[4] = {__builtin_shufflevector(low_ab, low_cd, 0, 1, 4, 5), __builtin_shufflevector(low_ab, low_cd, 2, 3, 6, 7),
                   __builtin_shufflevector(high_ab, high_cd, 0, 1, 4, 5), __builtin_shufflevector(high_ab, high_cd, 2, 3, 6, 7)};
    for (int i = 0; i < 4; i++)
        memcpy(to + i * target_step, &out[i], sizeof(out[i]));
}

/* The same for elements of four bytes: four by four in registers, by tiles of whole cache lines; what is left over goes one by one. */
static void copy_block_quads(char *target, const char *source, int64_t rows, int64_t columns, int64_t target_step, int64_t source_step)
{
    int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (int64_t tile_c = 0; tile_c < whole_columns; tile_c += 16)
        for (int64_t tile_r = 0; tile_r < whole_rows; tile_r += 16)
            for (int64_t r = tile_r; r < whole_rows && r < tile_r + 16; r += 4)
                for (int64_t c = tile_c; c < whole_columns && c < tile_c + 16; c += 4)
                    transpose_quads(target + r * target_step + c * 4, source + r * 4 + c * source_step, target_step, source_step);
    if (whole_rows < rows)
        copy_block(target + whole_rows * target_step, source + whole_rows * 4, 4, rows - whole_rows, columns, target_step, source_step);
    if (whole_columns < columns)
        copy_block(target + whole_columns * 4, source + whole_columns * source_step, 4, whole_rows, columns - whole_columns, target_step,
                   source_step);
}

/* Drops dimensions of one, joins neighbours that are contiguous on both sides. */
static int collapse(struct dimension *list, size_t element, int32_t rank, const int64_t *dims, const int64_t *target_strides,
                    const int64_t *source_strides)
{
    int count = 0;
    for (int32_t i = 0; i < rank; i++) {
        if (dims[i] == 1)
            continue;
        struct dimension next = {dims[i], target_strides[i] * (int64_t)element, source_strides[i] * (int64_t)element};
        struct dimension *last = count ? &list[count - 1] : NULL;
        if (last && last->target == next.target * next.size && last->source == next.source * next.size) {
            next.size *= last->size;
            *last = next;
        } else {
            list[count++] = next;
        }
    }
    return count;
}

/* A collapsed copy: `outer` dimensions are walked, the inner ones done at once. */
struct walk {
    struct dimension list[COPY_MAX_RANK + 1], inner, across;
    size_t element;
    int outer;
    bool blocked;
};

static void walk_part(const struct walk *walk, char *to, const char *from, int64_t begin, int64_t end)
{
    const struct dimension *list = walk->list;
    size_t element = walk->element;
    int64_t at[COPY_MAX_RANK + 1], rest = begin;
    for (int i = walk->outer - 1; i >= 0; i--) {
        at[i] = rest % list[i].size;
        rest /= list[i].size;
        to += at[i] * list[i].target;
        from += at[i] * list[i].source;
    }
    for (int64_t step = begin; step < end; step++) {
        if (walk->blocked) {
            int64_t done = at[walk->outer - 1] * BLOCK, rows = walk->across.size - done < BLOCK ? walk->across.size - done : BLOCK;
            if (element == 4)
                copy_block_quads(to, from, rows, walk->inner.size, walk->across.target, walk->inner.source);
            else
                copy_block(to, from, element, rows, walk->inner.size, walk->across.target, walk->inner.source);
        } else if (element > 16) {
            memcpy(to, from, element);
        } else {
            copy_row(to, from, element, walk->inner.size, walk->inner.target, walk->inner.source);
        }
        for (int i = walk->outer - 1; i >= 0; i--) {
            to += list[i].target;
            from += list[i].source;
            if (++at[i] < list[i].size)
                break;
            to -= list[i].size * list[i].target;
            from -= list[i].size * list[i].source;
            at[i] = 0;
        }
    }
}

void copy_strided(void *target, const void *source, size_t element, int32_t rank, const int64_t *dims,
                  const int64_t *target_strides, const int64_t *source_strides, int threads)
{
    struct dimension list[COPY_MAX_RANK + 1];
    int64_t bytes = (int64_t)element;
    for (int32_t i = 0; i < rank; i++)
        bytes *= dims[i];
    if (bytes == 0)
        return;
    int count = collapse(list, element, rank, dims, target_strides, source_strides);

    /* A short contiguous run is an element of its own. */
    while (count && list[count - 1].target == (int64_t)element && list[count - 1].source == (int64_t)element) {
        element *= (size_t)list[count - 1].size;
        count--;
        if (element > 16)
            break;
    }
    if (count == 0) {
        copy_bytes(target, source, element, threads);
        return;
    }

    /* The dimension along which the source is contiguous, when it is not the target's: those two go by blocks. */
    struct dimension inner = list[count - 1], across = {0};
    bool blocked = false;
    if (element <= 16 && inner.target == (int64_t)element && inner.source != 0) {
        for (int i = count - 2; i >= 0 && !blocked; i--) {
            if (list[i].source != (int64_t)element || list[i].size < 4)
                continue;
            across = list[i];
            blocked = true;
            /* Blocks of rows become the last outer dimension. */
            memmove(&list[i], &list[i + 1], (size_t)(count - 1 - i) * sizeof(list[0]));
            list[count - 2] = (struct dimension){(across.size + BLOCK - 1) / BLOCK, across.target * BLOCK, across.source * BLOCK};
        }
    }
    if (element > 16) /* runs long enough for memcpy: every dimension is an outer one */
        inner = (struct dimension){1, 0, 0};
    int outer = element > 16 ? count : count - 1;
    int64_t total = 1;
    for (int i = 0; i < outer; i++)
        total *= list[i].size;

    struct walk walk = {.element = element, .outer = outer, .blocked = blocked, .inner = inner, .across = across};
    memcpy(walk.list, list, sizeof(list));
    int team = copy_team(threads, bytes);
    if (team > total)
        team = (int)total;
    if (team == 1) { /* small copies are many: no parallel region for them */
        walk_part(&walk, target, source, 0, total);
        return;
    }
#pragma omp parallel for num_threads(team) schedule(static)
    for (int part = 0; part < team; part++)
        walk_part(&walk, target, source, total * part / team, total * (part + 1) / team);
}

void copy_bytes(void *target, const void *source, size_t bytes, int threads)
{
    if (target == source || bytes == 0)
        return;
    int team = copy_team(threads, (int64_t)bytes);
    if (team == 1) {
        memcpy(target, source, bytes);
        return;
    }
#pragma omp parallel for num_threads(team) schedule(static)
    for (int part = 0; part < team; part++) {
        size_t begin = bytes / (size_t)team * (size_t)part;
        size_t end = part + 1 == team ? bytes : bytes / (size_t)team * ((size_t)part + 1);
        memcpy((char *)target + begin, (const char *)source + begin, end - begin);
    }
}

static void fill_part(char *target, const void *value, size_t element, int64_t count)
{
    bool uniform = true; /* all bytes alike: zero above all */
    for (size_t i = 1; i < element; i++)
        uniform &= ((const char *)value)[i] == ((const char *)value)[0];
    if (uniform)
        memset(target, ((const unsigned char *)value)[0], (size_t)count * element);
    else
        copy_row(target, value, element, count, (int64_t)element, 0);
}

void copy_fill(void *target, const void *value, size_t element, int64_t count, int threads)
{
    if (count <= 0)
        return;
    int team = copy_team(threads, count * (int64_t)element);
    if (team == 1) {
        fill_part(target, value, element, count);
        return;
    }
#pragma omp parallel for num_threads(team) schedule(static)
    for (int part = 0; part < team; part++) {
        int64_t begin = count / team * part, end = part + 1 == team ? count : count / team * (part + 1);
        fill_part((char *)target + begin * (int64_t)element, value, element, end - begin);
    }
}

/* ---- outputs and inputs -------------------------------------------------------------------------------------------- */

mitral_status set_output(struct kernel_call *call, size_t index, int32_t dtype, int32_t rank, const int64_t *dims)
{
    if (rank > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "output of rank at most %d expected, found rank %d", MITRAL_MAX_RANK, (int)rank);
    for (int32_t i = 0; i < rank; i++)
        if (dims[i] < 0)
            return call_fail(call, MITRAL_INVALID, "output dimension %d of at least 0 expected, found %lld", (int)i,
                             (long long)dims[i]);
    mitral_tensor result;
    tensor_set(&result, dtype, rank, dims);
    int64_t bytes = mitral_tensor_size(&result);
    if (bytes < 0 || bytes > call->context->options.max_tensor_bytes) {
        char text[256];
        return call_fail(call, MITRAL_LIMIT, "output of at most %lld bytes " LIMIT_TENSOR_BYTES " expected, found %s",
                         (long long)call->context->options.max_tensor_bytes, tensor_describe(&result, text, sizeof(text)));
    }
    call_set_output(call, index, dtype, rank, dims);
    return MITRAL_OK;
}

mitral_status defer_output(struct kernel_call *call, size_t index, int32_t dtype)
{
    mitral_tensor *output = call_output(call, index);
    if (output) {
        call->outputs[index]->kind = MITRAL_TENSOR;
        output->dtype = dtype;
    }
    return MITRAL_DEFERRED;
}

mitral_status need_tensor(const struct kernel_call *call, size_t index, const mitral_tensor **out)
{
    *out = call_input(call, index);
    if (!*out)
        return call_fail(call, MITRAL_INVALID, "input %zu expected, found none", index);
    if (call->inputs[index]->kind != MITRAL_TENSOR)
        return call_fail(call, MITRAL_INVALID, "input %zu: a tensor expected, found another kind of value", index);
    return MITRAL_OK;
}

mitral_status need_rank(const struct kernel_call *call, size_t index, int32_t rank, const mitral_tensor **out)
{
    TRY(need_tensor(call, index, out));
    if ((*out)->rank != rank)
        return call_fail(call, MITRAL_INVALID, "input %zu: rank %d expected, found %d", index, (int)rank, (int)(*out)->rank);
    return MITRAL_OK;
}

mitral_status read_ints(const struct kernel_call *call, size_t index, int64_t *values, size_t capacity, size_t *count)
{
    const mitral_tensor *tensor;
    TRY(need_tensor(call, index, &tensor));
    if (tensor->rank > 1 || !dtype_is_integer(tensor->dtype)) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "input %zu: integers of rank 0 or 1 expected, found %s", index,
                         tensor_describe(tensor, text, sizeof(text)));
    }
    int64_t length = tensor_count(tensor);
    if (length > (int64_t)capacity)
        return call_fail(call, MITRAL_INVALID, "input %zu: at most %zu integers expected, found %lld", index, capacity,
                         (long long)length);
    if (length && !tensor->data)
        return MITRAL_DEFERRED;
    for (int64_t i = 0; i < length; i++)
        values[i] = tensor_get_int(tensor, i);
    *count = (size_t)length;
    return MITRAL_OK;
}

mitral_status read_int(const struct kernel_call *call, size_t index, int64_t *value)
{
    const mitral_tensor *tensor;
    TRY(need_tensor(call, index, &tensor));
    if (tensor_count(tensor) != 1 || !dtype_is_integer(tensor->dtype)) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "input %zu: one integer expected, found %s", index,
                         tensor_describe(tensor, text, sizeof(text)));
    }
    if (!tensor->data)
        return MITRAL_DEFERRED;
    *value = tensor_get_int(tensor, 0);
    return MITRAL_OK;
}

mitral_status normalise_axes(const struct kernel_call *call, const int64_t *axes, size_t count, int64_t rank, int64_t *out,
                             bool *marked)
{
    for (int64_t i = 0; i < rank; i++)
        marked[i] = false;
    for (size_t i = 0; i < count; i++) {
        TRY(call_axis(call, axes[i], rank, &out[i]));
        if (marked[out[i]])
            return call_fail(call, MITRAL_INVALID, "distinct axes expected, found axis %lld twice", (long long)out[i]);
        marked[out[i]] = true;
    }
    return MITRAL_OK;
}

mitral_status check_index(const struct kernel_call *call, int64_t index, int64_t size, int64_t *out)
{
    if (index < -size || index >= size)
        return call_fail(call, MITRAL_INVALID, "index in [%lld, %lld) expected, found %lld", (long long)-size, (long long)size,
                         (long long)index);
    *out = index < 0 ? index + size : index;
    return MITRAL_OK;
}
