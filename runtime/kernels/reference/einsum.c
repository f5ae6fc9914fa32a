/* Einsum. The equation is parsed into labels: letters are 0 … 51, the dimensions under an ellipsis, aligned at the
 * right, come after them. Operands are contracted from left to right; a label is summed as soon as no later operand and
 * not the output names it. Dimensions of size 1 broadcast. */
#include <ctype.h>
#include <string.h>

#include "runtime/kernels/reference/operand.h"

enum { EINSUM_LETTERS = 52, EINSUM_LABELS = EINSUM_LETTERS + MITRAL_MAX_RANK };

struct term {
    int32_t labels[EINSUM_LABELS], count;
    int64_t dims[EINSUM_LABELS];
};

struct equation {
    int64_t sizes[EINSUM_LABELS];
    int32_t uses[EINSUM_LABELS];
    struct term output;
    int32_t ellipsis; /* dimensions under it */
};

/* y[output labels] = Σ_{sum labels} a · b; strides in elements, 0 where an operand lacks the label or broadcasts. */
struct contraction {
    int64_t sizes[EINSUM_LABELS], a_strides[EINSUM_LABELS], b_strides[EINSUM_LABELS];
    int32_t output_labels[EINSUM_LABELS], sum_labels[EINSUM_LABELS], output_count, sum_count;
    int64_t outer, summed, total; /* steps over all output labels but the last; over the summed ones; elements of y */
};

/* ---- the equation --------------------------------------------------------------------------------------------------
 */

static int32_t letter(char c)
{
    return c >= 'a' && c <= 'z' ? c - 'a' : c >= 'A' && c <= 'Z' ? c - 'A' + 26 : -1;
}

/* Reads one term up to ',', '-' or the end. With a rank the ellipsis stands for what the letters leave of it; without
 * (the output), for *covered dimensions. */
static mitral_status parse_term(const struct kernel_call *call, const char **text, int32_t rank, struct term *term,
                                int32_t *covered)
{
    int32_t labels[MITRAL_MAX_RANK], count = 0, ellipsis_at = -1;
    const char *at = *text;
    for (; *at && *at != ',' && *at != '-'; at++) {
        if (isspace((unsigned char)*at))
            continue;
        if (*at == '.') {
            if (strncmp(at, "...", 3) != 0 || ellipsis_at >= 0)
                return call_fail(call, MITRAL_INVALID, "one ellipsis of three dots a term expected, found '%.40s'",
                                 *text);
            ellipsis_at = count;
            at += 2;
            continue;
        }
        if (letter(*at) < 0 || count == MITRAL_MAX_RANK)
            return call_fail(call, MITRAL_INVALID,
                             "at most %d letters, ellipsis, commas and one arrow expected, found '%.40s'",
                             MITRAL_MAX_RANK, at);
        labels[count++] = letter(*at);
    }
    *text = at;
    const int32_t under = ellipsis_at < 0 ? 0 : rank < 0 ? *covered : rank - count;
    if (under < 0 || count + under > MITRAL_MAX_RANK || (rank >= 0 && count + under != rank))
        return call_fail(call, MITRAL_INVALID, "a label for each dimension expected, found %d labels for rank %d",
                         (int)count, (int)rank);
    term->count = 0;
    for (int32_t i = 0; i <= count; i++) {
        for (int32_t j = 0; i == ellipsis_at && j < under; j++)
            term->labels[term->count++] = EINSUM_LABELS - under + j;
        if (i < count)
            term->labels[term->count++] = labels[i];
    }
    *covered = under > *covered ? under : *covered;
    return MITRAL_OK;
}

static mitral_status add_operand(const struct kernel_call *call, struct equation *equation,
                                 const mitral_tensor *operand, struct term *term)
{
    for (int32_t d = 0; d < term->count; d++) {
        const int32_t label = term->labels[d];
        const int64_t size = operand->dims[d], known = equation->sizes[label];
        if (equation->uses[label]++ && size != known && size != 1 && known != 1)
            return call_fail(call, MITRAL_INVALID, "equal sizes for one label expected, found %lld and %lld",
                             (long long)known, (long long)size);
        if (equation->uses[label] == 1 || known == 1)
            equation->sizes[label] = size;
        term->dims[d] = size;
    }
    return MITRAL_OK;
}

/* Without an arrow: the ellipsis, then the labels that occur once, capitals first as in ASCII. */
static mitral_status imply_output(const struct kernel_call *call, struct equation *equation)
{
    struct term *output = &equation->output;
    for (int32_t i = 0; i < equation->ellipsis; i++)
        output->labels[output->count++] = EINSUM_LABELS - equation->ellipsis + i;
    for (int32_t i = 0; i < EINSUM_LETTERS; i++)
        if (equation->uses[(i + 26) % EINSUM_LETTERS] == 1)
            output->labels[output->count++] = (i + 26) % EINSUM_LETTERS;
    if (output->count > MITRAL_MAX_RANK)
        return call_fail(call, MITRAL_LIMIT, "an output of rank at most %d expected, found %d", MITRAL_MAX_RANK,
                         (int)output->count);
    return MITRAL_OK;
}

/* `term` receives the operand of that index; other operands are only counted. */
static mitral_status parse(const struct kernel_call *call, struct equation *equation, size_t index, struct term *term)
{
    *equation = (struct equation){.ellipsis = 0};
    const char *text = attribute_string(call->attributes, "equation", ""), *at = text;
    for (size_t i = 0; i < call->input_count; i++) {
        const mitral_tensor *operand = call_input(call, i);
        if (!operand || operand->dtype != call_input(call, 0)->dtype)
            return call_fail(call, MITRAL_INVALID, "operands of one type expected, found %s for operand %zu",
                             operand ? mitral_dtype_name((mitral_dtype)operand->dtype) : "none", i);
        if (i > 0 && *at++ != ',')
            return call_fail(call, MITRAL_INVALID, "%zu terms expected, found %zu in '%.80s'", call->input_count, i,
                             text);
        struct term local, *to = term && i == index ? term : &local;
        TRY(parse_term(call, &at, operand->rank, to, &equation->ellipsis));
        TRY(add_operand(call, equation, operand, to));
    }
    if (!*at)
        return imply_output(call, equation);
    if (strncmp(at, "->", 2) != 0)
        return call_fail(call, MITRAL_INVALID, "%zu terms and an arrow '->' expected, found '%.40s'", call->input_count,
                         at);
    at += 2;
    TRY(parse_term(call, &at, -1, &equation->output, &equation->ellipsis));
    if (*at)
        return call_fail(call, MITRAL_INVALID, "one output term expected, found '%.40s' after it", at);
    for (int32_t i = 0; i < equation->output.count; i++) {
        bool twice = false;
        for (int32_t j = 0; j < i; j++)
            twice = twice || equation->output.labels[i] == equation->output.labels[j];
        if (twice || !equation->uses[equation->output.labels[i]])
            return call_fail(call, MITRAL_INVALID, "output labels once each, from the operands, expected in '%.80s'",
                             text);
    }
    return MITRAL_OK;
}

/* ---- contractions --------------------------------------------------------------------------------------------------
 */

/* Strides by label: a label that occurs twice walks the diagonal, size 1 under a larger label stays in place. */
static void add_strides(const struct equation *equation, const struct term *term, int64_t strides[EINSUM_LABELS])
{
    int64_t scale = 1;
    for (int32_t i = term->count - 1; i >= 0; i--) {
        strides[term->labels[i]] += term->dims[i] == 1 && equation->sizes[term->labels[i]] != 1 ? 0 : scale;
        scale *= term->dims[i];
    }
}

/* Contracts `running` with `operand` (NULL: with the number 1) into `result`; remaining[label] counts the uses by later
 * operands.
 */
static mitral_status plan_contraction(const struct kernel_call *call, const struct equation *equation,
                                      const struct term *running, const struct term *operand, const int32_t *remaining,
                                      struct contraction *c, struct term *result)
{
    bool present[EINSUM_LABELS] = {false}, kept[EINSUM_LABELS] = {false};
    *c = (struct contraction){.outer = 1, .summed = 1, .total = 1};
    memcpy(c->sizes, equation->sizes, sizeof(c->sizes));
    add_strides(equation, running, c->a_strides);
    for (int32_t i = 0; i < running->count; i++)
        present[running->labels[i]] = true;
    if (operand)
        add_strides(equation, operand, c->b_strides);
    for (int32_t i = 0; operand && i < operand->count; i++)
        present[operand->labels[i]] = true;
    /* In the output's order, then what later operands need, which can only be in an intermediate result. */
    for (int32_t i = 0; i < equation->output.count; i++)
        if (present[equation->output.labels[i]]) {
            kept[equation->output.labels[i]] = true;
            c->output_labels[c->output_count++] = equation->output.labels[i];
        }
    for (int32_t label = 0; label < EINSUM_LABELS; label++) {
        if (!present[label] || kept[label])
            continue;
        if (remaining[label])
            c->output_labels[c->output_count++] = label;
        else
            c->sum_labels[c->sum_count++] = label;
    }
    bool fits = true;
    for (int32_t i = 0; i < c->sum_count; i++)
        fits = fits && multiply_sizes(c->summed, c->sizes[c->sum_labels[i]], &c->summed);
    result->count = c->output_count;
    for (int32_t i = 0; i < c->output_count; i++) {
        result->labels[i] = c->output_labels[i];
        result->dims[i] = c->sizes[c->output_labels[i]];
        fits = fits && multiply_sizes(c->total, result->dims[i], &c->total);
    }
    if (!fits)
        return call_fail(call, MITRAL_LIMIT, "intermediate sizes that can be addressed expected, they overflow");
    const int64_t last = c->output_count ? result->dims[c->output_count - 1] : 1;
    c->outer = c->total == 0 ? 0 : c->total / last;
    return MITRAL_OK;
}

#define REAL float
#define NAME(x) x##_float
#include "runtime/kernels/reference/einsum_body.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_double
#include "runtime/kernels/reference/einsum_body.h"
#undef REAL
#undef NAME
#define REAL uint64_t
#define NAME(x) x##_integer
#include "runtime/kernels/reference/einsum_body.h"
#undef REAL
#undef NAME

static void contract(const struct contraction *c, enum compute compute, int threads, const void *a, const void *b,
                     void *y)
{
    static const float one_float = 1;
    static const double one_double = 1;
    static const uint64_t one_integer = 1;
    if (compute == COMPUTE_FLOAT)
        contract_float(c, threads, a, b ? b : &one_float, y);
    else if (compute == COMPUTE_DOUBLE)
        contract_double(c, threads, a, b ? b : &one_double, y);
    else
        contract_integer(c, threads, a, b ? b : &one_integer, y);
}

/* Places all operands and intermediate results, and computes them when `compute_now`. */
static mitral_status walk(struct kernel_call *call, struct work *work, bool compute_now)
{
    struct equation equation;
    struct term running, operand, result;
    struct contraction c;
    mitral_tensor *output = call_output(call, 0);
    enum compute compute = compute_of(call_input(call, 0)->dtype);
    TRY(parse(call, &equation, 0, &running));
    int32_t remaining[EINSUM_LABELS];
    memcpy(remaining, equation.uses, sizeof(remaining));
    for (int32_t i = 0; i < running.count; i++)
        remaining[running.labels[i]]--;
    const void *a = work_operand(work, compute, call_input(call, 0)), *b = NULL;
    void *y = NULL;
    const size_t steps = call->input_count > 1 ? call->input_count - 1 : 1;
    for (size_t step = 0; step < steps; step++) {
        const bool lone = call->input_count == 1;
        if (!lone) {
            TRY(parse(call, &equation, step + 1, &operand));
            for (int32_t i = 0; i < operand.count; i++)
                remaining[operand.labels[i]]--;
            b = work_operand(work, compute, call_input(call, step + 1));
        }
        TRY(plan_contraction(call, &equation, &running, lone ? NULL : &operand, remaining, &c, &result));
        y = step + 1 == steps ? work_result(work, compute, output) : work_take(work, c.total, compute_size(compute));
        if (compute_now && c.total > 0)
            contract(&c, compute, call->threads, a, b, y);
        running = result;
        a = y;
    }
    if (compute_now)
        work_store(compute, output, y);
    return MITRAL_OK;
}

static mitral_status shape(struct kernel_call *call)
{
    const mitral_tensor *first = call_input(call, 0);
    if (!first || compute_of(first->dtype) == COMPUTE_NONE || first->dtype == MITRAL_BOOL)
        return call_fail(call, MITRAL_UNSUPPORTED, "numeric operands expected, found %s",
                         first ? mitral_dtype_name((mitral_dtype)first->dtype) : "none");
    struct equation equation;
    TRY(parse(call, &equation, 0, NULL));
    int64_t dims[MITRAL_MAX_RANK] = {0};
    for (int32_t i = 0; i < equation.output.count; i++)
        dims[i] = equation.sizes[equation.output.labels[i]];
    call_set_output(call, 0, first->dtype, equation.output.count, dims);
    return MITRAL_OK;
}

static mitral_status prepare(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    (void)state;
    if (!call_output(call, 0))
        return MITRAL_OK;
    struct work work = {0};
    TRY(walk(call, &work, false));
    return work_measure(call, &work, scratch_bytes);
}

static mitral_status run(struct kernel_call *call)
{
    if (!call_output(call, 0))
        return MITRAL_OK;
    struct work work = work_of(call);
    return walk(call, &work, true);
}

const struct kernel reference_einsum[] = {
    {.name = "Einsum", .shape = shape, .prepare = prepare, .run = run},
};
const size_t reference_einsum_count = sizeof(reference_einsum) / sizeof(*reference_einsum);
