/* Strings: StringNormalizer, StringConcat, StringSplit, RegexFullMatch. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <locale.h>
#include <pcre2.h>
#include <string.h>
#include <wctype.h>

#include "runtime/kernels/reference/copy.h"
#include "runtime/kernels/registry.h"

static mitral_status need_strings(const struct kernel_call *call, size_t index, const mitral_tensor **out)
{
    TRY(need_tensor(call, index, out));
    if ((*out)->dtype != MITRAL_STRING) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "input %zu: strings expected, found %s", index,
                         tensor_describe(*out, text, sizeof(text)));
    }
    return MITRAL_OK;
}

/* ---- StringNormalizer -------------------------------------------------------------------------------------------------- */

enum case_change { CASE_NONE, CASE_LOWER, CASE_UPPER };

/* Reads one code point of UTF-8; a byte that begins none stands for itself (and is written back as it is). */
static size_t decode(const unsigned char *text, size_t size, uint32_t *code)
{
    size_t length = text[0] < 0x80 ? 1 : text[0] >= 0xc2 && text[0] < 0xe0 ? 2 : text[0] >= 0xe0 && text[0] < 0xf0 ? 3
                    : text[0] >= 0xf0 && text[0] < 0xf5 ? 4 : 0;
    *code = UINT32_MAX;
    if (length == 0 || length > size)
        return 1;
    uint32_t value = length == 1 ? text[0] : text[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 1;
        value = value << 6 | (text[i] & 0x3fu);
    }
    *code = value;
    return length;
}

static size_t encode(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((0xf00 >> length & 0xff) | code);
    return length;
}

static mitral_status change_case(struct kernel_call *call, mitral_string *out, const mitral_string *from, enum case_change change,
                                 locale_t locale)
{
    if (from->size > SIZE_MAX / 4)
        return call_fail(call, MITRAL_LIMIT, "shorter strings expected");
    char *text = arena_allocate(call->arena, from->size * 4 + 1);
    if (!text)
        return MITRAL_NO_MEMORY;
    size_t size = 0;
    for (size_t i = 0; i < from->size;) {
        uint32_t code;
        size_t length = decode((const unsigned char *)from->data + i, from->size - i, &code);
        if (code == UINT32_MAX) {
            text[size++] = from->data[i];
        } else {
            wint_t changed = change == CASE_LOWER ? towlower_l((wint_t)code, locale) : towupper_l((wint_t)code, locale);
            size += encode(text + size, (uint32_t)changed);
        }
        i += length;
    }
    *out = (mitral_string){text, size};
    return MITRAL_OK;
}

static bool same_string(const mitral_string *a, const mitral_string *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

static mitral_status shape_string_normalizer(struct kernel_call *call)
{
    return defer_output(call, 0, MITRAL_STRING);
}

/* The named locale where the system has it, else one that knows the case of all letters. */
static locale_t open_locale(const char *name)
{
    const char *const names[] = {name, "C.UTF-8", "en_US.UTF-8", "C"};
    locale_t locale = (locale_t)0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !locale; i++)
        if (names[i] && *names[i])
            locale = newlocale(LC_CTYPE_MASK, names[i], (locale_t)0);
    return locale;
}

static mitral_status normalise(struct kernel_call *call, const mitral_tensor *input, locale_t locale)
{
    const char *action = attribute_string(call->attributes, "case_change_action", "NONE");
    bool sensitive = attribute_int(call->attributes, "is_case_sensitive", 0) != 0;
    enum case_change change = strcmp(action, "LOWER") == 0 ? CASE_LOWER : strcmp(action, "UPPER") == 0 ? CASE_UPPER : CASE_NONE;
    if (change == CASE_NONE && strcmp(action, "NONE") != 0)
        return call_fail(call, MITRAL_INVALID, "case_change_action LOWER, UPPER or NONE expected, found %s", action);
    size_t stop_count;
    const mitral_string *given = attribute_strings(call->attributes, "stopwords", &stop_count);
    int64_t count = tensor_count(input), kept = 0;
    mitral_string *stops = arena_allocate(call->arena, (stop_count + 1) * sizeof(*stops));
    mitral_string *words = arena_allocate(call->arena, ((size_t)count + 1) * sizeof(*words));
    if (!stops || !words)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < stop_count; i++) {
        stops[i] = given[i];
        if (!sensitive)
            TRY(change_case(call, &stops[i], &given[i], CASE_LOWER, locale));
    }
    for (int64_t i = 0; i < count; i++) {
        const mitral_string *word = (const mitral_string *)input->data + i;
        mitral_string compared = *word;
        bool stopped = false;
        if (!sensitive && stop_count)
            TRY(change_case(call, &compared, word, CASE_LOWER, locale));
        for (size_t s = 0; s < stop_count && !stopped; s++)
            stopped = same_string(&compared, &stops[s]);
        if (stopped)
            continue;
        words[kept] = *word;
        if (change != CASE_NONE)
            TRY(change_case(call, &words[kept], word, change, locale));
        kept++;
    }
    if (kept == 0) { /* nothing left: one empty string */
        words[0] = (mitral_string){"", 0};
        kept = 1;
    }
    TRY(call_allocate(call, 0, MITRAL_STRING, input->rank, input->rank == 2 ? (int64_t[]){1, kept} : (int64_t[]){kept}));
    if (call_output(call, 0))
        memcpy(call_output(call, 0)->data, words, (size_t)kept * sizeof(*words));
    return MITRAL_OK;
}

static mitral_status run_string_normalizer(struct kernel_call *call)
{
    const mitral_tensor *input;
    TRY(need_strings(call, 0, &input));
    if (input->rank != 1 && !(input->rank == 2 && input->dims[0] == 1)) {
        char text[256];
        return call_fail(call, MITRAL_INVALID, "strings [C] or [1,C] expected, found %s", tensor_describe(input, text, sizeof(text)));
    }
    locale_t locale = open_locale(attribute_string(call->attributes, "locale", "en_US.UTF-8"));
    if (!locale)
        return call_fail(call, MITRAL_NO_MEMORY, "no locale can be opened");
    mitral_status status = normalise(call, input, locale);
    freelocale(locale);
    return status;
}

/* ---- StringConcat ------------------------------------------------------------------------------------------------------ */

static mitral_status shape_string_concat(struct kernel_call *call)
{
    const mitral_tensor *a, *b;
    int32_t rank;
    int64_t dims[MITRAL_MAX_RANK];
    TRY(need_strings(call, 0, &a));
    TRY(need_strings(call, 1, &b));
    TRY(call_broadcast(call, a, b, &rank, dims));
    return set_output(call, 0, MITRAL_STRING, rank, dims);
}

/* Index in a tensor that is broadcast to `whole`. */
static int64_t broadcast_index(const mitral_tensor *tensor, const mitral_tensor *whole, int64_t at)
{
    int64_t index = 0, stride = 1;
    for (int32_t i = whole->rank - 1, d = tensor->rank - 1; d >= 0; i--, d--) {
        int64_t here = at % whole->dims[i];
        at /= whole->dims[i];
        index += tensor->dims[d] == 1 ? 0 : here * stride;
        stride *= tensor->dims[d];
    }
    return index;
}

static mitral_status run_string_concat(struct kernel_call *call)
{
    const mitral_tensor *a = call_input(call, 0), *b = call_input(call, 1);
    mitral_tensor *output = call_output(call, 0);
    mitral_string *target = output->data;
    for (int64_t i = 0; i < tensor_count(output); i++) {
        const mitral_string *left = (const mitral_string *)a->data + broadcast_index(a, output, i);
        const mitral_string *right = (const mitral_string *)b->data + broadcast_index(b, output, i);
        size_t size;
        if (__builtin_add_overflow(left->size, right->size, &size) || size == SIZE_MAX)
            return call_fail(call, MITRAL_LIMIT, "shorter strings expected");
        char *text = arena_allocate(call->arena, size + 1);
        if (!text)
            return MITRAL_NO_MEMORY;
        if (left->size)
            memcpy(text, left->data, left->size);
        if (right->size)
            memcpy(text + left->size, right->data, right->size);
        target[i] = (mitral_string){text, size};
    }
    return MITRAL_OK;
}

/* ---- StringSplit ------------------------------------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The pieces of one string, written to `pieces` unless it is NULL; returns how many. At most `limit` cuts (negative: any number). */
static int64_t split_spaces(const mitral_string *text, int64_t limit, mitral_string *pieces)
{
    int64_t count = 0;
    for (size_t at = 0;;) {
        while (at < text->size && is_space(text->data[at]))
            at++;
        if (at == text->size)
            return count;
        size_t end = at;
        while (end < text->size && !is_space(text->data[end]))
            end++;
        if (limit >= 0 && count == limit)
            end = text->size;
        if (pieces)
            pieces[count] = (mitral_string){text->data + at, end - at};
        count++;
        at = end;
    }
}

static int64_t split_delimiter(const mitral_string *text, const char *delimiter, int64_t limit, mitral_string *pieces)
{
    size_t length = strlen(delimiter), at = 0;
    int64_t count = 0;
    for (;;) {
        const char *cut = NULL;
        if ((limit < 0 || count < limit) && text->size - at >= length)
            cut = memmem(text->data + at, text->size - at, delimiter, length);
        size_t end = cut ? (size_t)(cut - text->data) : text->size;
        if (pieces)
            pieces[count] = (mitral_string){text->data ? text->data + at : "", end - at};
        count++;
        if (!cut)
            return count;
        at = end + length;
    }
}

static mitral_status shape_string_split(struct kernel_call *call)
{
    defer_output(call, 1, MITRAL_INT64);
    return defer_output(call, 0, MITRAL_STRING);
}

static mitral_status run_string_split(struct kernel_call *call)
{
    const mitral_tensor *input;
    TRY(need_strings(call, 0, &input));
    const char *delimiter = attribute_string(call->attributes, "delimiter", "");
    int64_t limit = attribute_int(call->attributes, "maxsplit", -1), count = tensor_count(input), most = 0;
    const mitral_string *texts = input->data;
    for (int64_t i = 0; i < count; i++) {
        int64_t pieces = *delimiter ? split_delimiter(&texts[i], delimiter, limit, NULL) : split_spaces(&texts[i], limit, NULL);
        most = pieces > most ? pieces : most;
    }
    int64_t dims[MITRAL_MAX_RANK + 1];
    memcpy(dims, input->dims, sizeof(input->dims));
    dims[input->rank] = most;
    TRY(call_allocate(call, 0, MITRAL_STRING, input->rank + 1, dims));
    TRY(call_allocate(call, 1, MITRAL_INT64, input->rank, dims));
    mitral_tensor *parts = call_output(call, 0), *counts = call_output(call, 1);
    for (int64_t i = 0; i < count; i++) {
        mitral_string *row = parts ? (mitral_string *)parts->data + i * most : NULL;
        int64_t pieces = *delimiter ? split_delimiter(&texts[i], delimiter, limit, row) : split_spaces(&texts[i], limit, row);
        for (int64_t p = pieces; row && p < most; p++)
            row[p] = (mitral_string){"", 0};
        for (int64_t p = 0; row && p < pieces; p++) { /* the input's characters may not live as long as the output */
            row[p].data = arena_string_sized(call->arena, row[p].data, row[p].size);
            if (!row[p].data)
                return MITRAL_NO_MEMORY;
        }
        if (counts)
            ((int64_t *)counts->data)[i] = pieces;
    }
    return MITRAL_OK;
}

/* ---- RegexFullMatch ---------------------------------------------------------------------------------------------------- */

/* Steps that one match may take before the search that cannot run away is tried, and what that one may use. */
enum { MATCH_STEPS = 1000000, MATCH_DEPTH = 10000, MATCH_HEAP_KILOBYTES = 64 * 1024, AUTOMATON_WORDS = 1 << 16 };

static mitral_status shape_regex(struct kernel_call *call)
{
    const mitral_tensor *input;
    TRY(need_strings(call, 0, &input));
    call_set_output(call, 0, MITRAL_BOOL, input->rank, input->dims);
    return MITRAL_OK;
}

static mitral_status prepare_regex(struct kernel_call *call, void **state, size_t *scratch_bytes)
{
    const char *pattern = attribute_string(call->attributes, "pattern", "");
    int error = 0;
    PCRE2_SIZE offset = 0;
    /* As in RE2: UTF-8, and $ means the very end. */
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C, &error, &offset, NULL);
    if (!code) {
        unsigned char text[128] = "";
        pcre2_get_error_message(error, text, sizeof(text));
        return call_fail(call, MITRAL_INVALID, "a regular expression expected, found '%s': %s at %zu", pattern, (const char *)text,
                         (size_t)offset);
    }
    *state = code;
    *scratch_bytes = AUTOMATON_WORDS * sizeof(int);
    return MITRAL_OK;
}

static void release_regex(mitral_context *context, void *state)
{
    (void)context;
    pcre2_code_free(state);
}

static mitral_status match_one(struct kernel_call *call, const mitral_string *text, pcre2_match_data *data,
                               pcre2_match_context *limits, uint8_t *out)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)(text->size ? text->data : "");
    int found = pcre2_match(call->state, subject, text->size, 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED, data, limits);
    if (found == PCRE2_ERROR_MATCHLIMIT || found == PCRE2_ERROR_DEPTHLIMIT || found == PCRE2_ERROR_HEAPLIMIT)
        found = pcre2_dfa_match(call->state, subject, text->size, 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED, data, limits,
                                call->scratch, AUTOMATON_WORDS);
    if (found >= 0 || found == PCRE2_ERROR_NOMATCH || (found <= PCRE2_ERROR_UTF8_ERR1 && found >= PCRE2_ERROR_UTF8_ERR21)) {
        /* Text that is not UTF-8 matches nothing. The automaton lists the longest match first, and may ignore the end's anchor. */
        *out = found >= 0 && pcre2_get_ovector_pointer(data)[1] == text->size;
        return MITRAL_OK;
    }
    if (found == PCRE2_ERROR_NOMEMORY)
        return call_fail(call, MITRAL_NO_MEMORY, "out of memory while matching");
    return call_fail(call, MITRAL_LIMIT, "a match within %d steps expected, found more (code %d)", MATCH_STEPS, found);
}

static mitral_status run_regex(struct kernel_call *call)
{
    const mitral_tensor *input = call_input(call, 0);
    uint8_t *target = call_output(call, 0)->data;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(call->state, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    mitral_status status = MITRAL_OK;
    if (!data || !limits)
        status = call_fail(call, MITRAL_NO_MEMORY, "out of memory while matching");
    if (status == MITRAL_OK) {
        pcre2_set_match_limit(limits, MATCH_STEPS);
        pcre2_set_depth_limit(limits, MATCH_DEPTH);
        pcre2_set_heap_limit(limits, MATCH_HEAP_KILOBYTES);
    }
    for (int64_t i = 0, count = tensor_count(input); i < count && status == MITRAL_OK; i++)
        status = match_one(call, (const mitral_string *)input->data + i, data, limits, &target[i]);
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    return status;
}

const struct kernel reference_text[] = {
    {.name = "StringNormalizer", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_string_normalizer,
     .run = run_string_normalizer},
    {.name = "StringConcat", .flags = KERNEL_EXACT, .shape = shape_string_concat, .run = run_string_concat},
    {.name = "StringSplit", .flags = KERNEL_ALLOCATES | KERNEL_EXACT, .shape = shape_string_split, .run = run_string_split},
    {.name = "RegexFullMatch", .flags = KERNEL_EXACT, .shape = shape_regex, .prepare = prepare_regex, .run = run_regex,
     .release = release_regex},
};
const size_t reference_text_count = sizeof(reference_text) / sizeof(reference_text[0]);
