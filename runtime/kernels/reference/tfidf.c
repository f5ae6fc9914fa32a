/* TfIdfVectorizer: the pool's n-grams are sorted once, so that each n-gram of the input is found by bisection. */
#include <stdlib.h>
#include <string.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

enum weighting { WEIGHT_TF, WEIGHT_IDF, WEIGHT_TFIDF };

struct gram {
    const int64_t *tokens;
    int64_t id;      /* number in the pool: index of its coordinate and weight */
};

struct tfidf {
    const mitral_string *words; /* the pool's distinct strings, sorted; NULL: tokens are integers */
    size_t word_count;
    int64_t shortest, longest, skips;
    struct gram *grams;         /* sorted within each length */
    size_t *first;              /* grams of n tokens: [first[n - 1], first[n]); longest + 1 entries */
    int64_t columns;
    enum weighting weighting;
    const int64_t *coordinates;
    const float *weights;       /* NULL: ones */
};

static int compare_strings(const mitral_string *a, const mitral_string *b)
{
    size_t shorter = a->size < b->size ? a->size : b->size;
    int order = shorter ? memcmp(a->data, b->data, shorter) : 0;
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static int by_text(const void *a, const void *b)
{
    return compare_strings(a, b);
}

static int compare_tokens(const int64_t *a, const int64_t *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

static int by_tokens(const void *left, const void *right, void *length)
{
    const struct gram *a = left, *b = right;
    int order = compare_tokens(a->tokens, b->tokens, *(const size_t *)length);
    return order ? order : (a->id > b->id) - (a->id < b->id);
}

/* -1: not a word of the pool. */
static int64_t find_word(const struct tfidf *tfidf, const mitral_string *word)
{
    size_t low = 0, high = tfidf->word_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_strings(&tfidf->words[middle], word);
        if (order == 0)
            return (int64_t)middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

static const struct gram *find_gram(const struct tfidf *tfidf, const int64_t *tokens, int64_t length)
{
    size_t low = tfidf->first[length - 1], high = tfidf->first[length];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_tokens(tfidf->grams[middle].tokens, tokens, (size_t)length);
        if (order == 0)
            return &tfidf->grams[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- attributes ---------------------------------------------------------------------------------------------------------- */

static mitral_status count_columns(const struct kernel_call *call, int64_t *columns)
{
    size_t count;
    const int64_t *coordinates = attribute_ints(call->attributes, "ngram_indexes", &count);
    *columns = 0;
    for (size_t i = 0; i < count; i++) {
        if (coordinates[i] < 0 || coordinates[i] > INT32_MAX)
            return call_fail(call, MITRAL_INVALID, "ngram_indexes in [0, 2^31) expected, found %lld", (long long)coordinates[i]);
        *columns = coordinates[i] >= *columns ? coordinates[i] + 1 : *columns;
    }
    if (count == 0)
        return call_fail(call, MITRAL_INVALID, "ngram_indexes expected, found none");
    return MITRAL_OK;
}

static mitral_status shape_tfidf(struct kernel_call *call)
{
    const mitral_tensor *input;
    int64_t columns;
    TRY(need_tensor(call, 0, &input));
    TRY(count_columns(call, &columns));
    bool text = attribute_has(call->attributes, "pool_strings");
    bool fits = text ? input->dtype == MITRAL_STRING : input->dtype == MITRAL_INT32 || input->dtype == MITRAL_INT64;
    if (input->rank > 2 || !fits) {
        char found[256];
        return call_fail(call, MITRAL_INVALID, "%s [C] or [N,C] expected, found %s", text ? "strings" : "int32 or int64",
                         tensor_describe(input, found, sizeof(found)));
    }
    return set_output(call, 0, MITRAL_FLOAT, input->rank == 2 ? 2 : 1,
                      input->rank == 2 ? (int64_t[]){input->dims[0], columns} : (int64_t[]){columns});
}

/* The pool as integers: strings become their place among the distinct ones. */
static mitral_status number_pool(struct kernel_call *call, struct tfidf *tfidf, const int64_t **pool, size_t *count, int64_t *numbers,
                                 mitral_string *words)
{
    const mitral_string *strings = attribute_strings(call->attributes, "pool_strings", count);
    if (!strings) {
        *pool = attribute_ints(call->attributes, "pool_int64s", count);
        return MITRAL_OK;
    }
    memcpy(words, strings, *count * sizeof(*words));
    qsort(words, *count, sizeof(*words), by_text);
    for (size_t i = 0; i < *count; i++)
        if (tfidf->word_count == 0 || compare_strings(&words[tfidf->word_count - 1], &words[i]) != 0)
            words[tfidf->word_count++] = words[i];
    tfidf->words = words;
    for (size_t i = 0; i < *count; i++)
        numbers[i] = find_word(tfidf, &strings[i]);
    *pool = numbers;
    return MITRAL_OK;
}

static mitral_status fill_grams(struct kernel_call *call, struct tfidf *tfidf, const int64_t *pool, size_t pool_count,
                                size_t coordinate_count)
{
    size_t group_count, next = 0, id = 0;
    const int64_t *groups = attribute_ints(call->attributes, "ngram_counts", &group_count);
    for (int64_t n = 1; n <= tfidf->longest; n++) {
        size_t length = (size_t)n;
        tfidf->first[n - 1] = next;
        if (length > group_count)
            continue;
        int64_t from = groups[length - 1], to = length < group_count ? groups[length] : (int64_t)pool_count;
        if (from < 0 || to < from || (uint64_t)to > pool_count || (uint64_t)(to - from) % length != 0)
            return call_fail(call, MITRAL_INVALID, "ngram_counts that divide the pool of %zu into n-grams expected, found %lld to %lld",
                             pool_count, (long long)from, (long long)to);
        for (int64_t at = from; at < to; at += n, id++) {
            if (id >= coordinate_count)
                return call_fail(call, MITRAL_INVALID, "a coordinate for each n-gram expected, found %zu", coordinate_count);
            if (n >= tfidf->shortest)
                tfidf->grams[next++] = (struct gram){pool + at, (int64_t)id};
        }
        if (next > tfidf->first[n - 1])
            qsort_r(tfidf->grams + tfidf->first[n - 1], next - tfidf->first[n - 1], sizeof(struct gram), by_tokens, &length);
    }
    tfidf->first[tfidf->longest] = next;
    return MITRAL_OK;
}

static mitral_status prepare_tfidf(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    struct tfidf read = {.skips = attribute_int(call->attributes, "max_skip_count", 0)};
    read.shortest = attribute_int(call->attributes, "min_gram_length", 1);
    read.longest = attribute_int(call->attributes, "max_gram_length", 1);
    const char *mode = attribute_string(call->attributes, "mode", "TF");
    read.weighting = strcmp(mode, "IDF") == 0 ? WEIGHT_IDF : strcmp(mode, "TFIDF") == 0 ? WEIGHT_TFIDF : WEIGHT_TF;
    if (read.weighting == WEIGHT_TF && strcmp(mode, "TF") != 0)
        return call_fail(call, MITRAL_INVALID, "mode TF, IDF or TFIDF expected, found %s", mode);
    size_t pool_count = 0, coordinate_count, weight_count, group_count;
    read.coordinates = attribute_ints(call->attributes, "ngram_indexes", &coordinate_count);
    read.weights = attribute_floats(call->attributes, "weights", &weight_count);
    attribute_ints(call->attributes, "ngram_counts", &group_count);
    TRY(count_columns(call, &read.columns));
    if (read.shortest < 1 || read.longest < read.shortest || read.longest > (int64_t)group_count || read.skips < 0)
        return call_fail(call, MITRAL_INVALID, "1 <= min_gram_length <= max_gram_length <= %zu and no negative skips expected",
                         group_count);
    if (read.weights && weight_count != coordinate_count)
        return call_fail(call, MITRAL_INVALID, "%zu weights expected, found %zu", coordinate_count, weight_count);
    bool text = attribute_has(call->attributes, "pool_strings");
    if (text)
        attribute_strings(call->attributes, "pool_strings", &pool_count);
    else
        attribute_ints(call->attributes, "pool_int64s", &pool_count);
    size_t bytes = sizeof(read) + (size_t)(read.longest + 1) * sizeof(size_t) + pool_count * sizeof(struct gram) +
                   (text ? pool_count * (sizeof(int64_t) + sizeof(mitral_string)) : 0); /* the lists exist: their sizes fit */
    struct tfidf *tfidf = mitral_allocate(call->context, bytes);
    if (!tfidf)
        return MITRAL_NO_MEMORY;
    *state = tfidf;
    *tfidf = read;
    tfidf->grams = (struct gram *)(tfidf + 1);
    mitral_string *words = (mitral_string *)(tfidf->grams + pool_count);
    int64_t *numbers = (int64_t *)(words + (text ? pool_count : 0));
    tfidf->first = (size_t *)(numbers + (text ? pool_count : 0));
    const int64_t *pool = NULL;
    TRY(number_pool(call, tfidf, &pool, &pool_count, numbers, words));
    TRY(fill_grams(call, tfidf, pool, pool_count, coordinate_count));
    const mitral_tensor *input = call_input(call, 0); /* the tokens of one row, and one n-gram of it */
    int64_t row = input->rank ? input->dims[input->rank - 1] : 1;
    if (__builtin_mul_overflow((size_t)row + (size_t)read.longest, sizeof(int64_t), scratch_bytes))
        return call_fail(call, MITRAL_LIMIT, "shorter rows expected");
    return MITRAL_OK;
}

static void release_tfidf(mitral_context *context, void *state)
{
    mitral_release(context, state);
}

/* ---- run ----------------------------------------------------------------------------------------------------------------- */

static void count_row(const struct tfidf *tfidf, const int64_t *row, int64_t size, int64_t *window, float *target)
{
    int64_t shortest = tfidf->shortest;
    for (int64_t step = 1; step - 1 <= tfidf->skips && shortest <= tfidf->longest; step++) {
        if (shortest > 1 && (step > size || step * (shortest - 1) >= size))
            return; /* no n-gram reaches that far */
        for (int64_t start = 0; start < size; start++) {
            int64_t at = start;
            for (int64_t n = 1; n <= tfidf->longest && at < size; n++, at += step) {
                window[n - 1] = row[at];
                const struct gram *gram = n >= shortest ? find_gram(tfidf, window, n) : NULL;
                if (!gram)
                    continue;
                float weight = tfidf->weights && tfidf->weighting != WEIGHT_TF ? tfidf->weights[gram->id] : 1;
                float *place = &target[tfidf->coordinates[gram->id]];
                *place = tfidf->weighting == WEIGHT_IDF ? weight : *place + weight;
            }
        }
        if (shortest == 1) /* single tokens are counted once, whatever may be skipped */
            shortest = 2;
    }
}

static mitral_status run_tfidf(struct kernel_call *call)
{
    const struct tfidf *tfidf = call->state;
    const mitral_tensor *input = call_input(call, 0);
    float *target = call_output(call, 0)->data;
    int64_t size = input->rank ? input->dims[input->rank - 1] : 1, rows = input->rank == 2 ? input->dims[0] : 1;
    int64_t *row = call->scratch, *window = row + size;
    memset(target, 0, tensor_bytes(call_output(call, 0)));
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < size; i++)
            row[i] = tfidf->words ? find_word(tfidf, (const mitral_string *)input->data + r * size + i)
                                  : tensor_get_int(input, r * size + i);
        count_row(tfidf, row, size, window, target + r * tfidf->columns);
    }
    return MITRAL_OK;
}

const struct kernel reference_tfidf[] = {
    {.name = "TfIdfVectorizer", .flags = KERNEL_EXACT, .shape = shape_tfidf, .prepare = prepare_tfidf, .run = run_tfidf,
     .release = release_tfidf},
};
const size_t reference_tfidf_count = sizeof(reference_tfidf) / sizeof(reference_tfidf[0]);
