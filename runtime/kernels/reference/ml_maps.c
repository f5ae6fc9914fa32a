/* ai.onnx.ml: operators that look keys up, and those on maps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kernels/reference/convert.h"
#include "runtime/kernels/reference/elementwise.h"
#include "runtime/kernels/reference/ml.h"

/* ---- lookup ------------------------------------------------------------------------------------------------------ */

/* A key of any type; numbers of integer types in `whole`, of float types in `real`. */
struct key {
    mitral_string text;
    int64_t whole;
    double real;
    size_t index; /* in the list of keys */
};

static struct key key_at(const mitral_tensor *tensor, int64_t index)
{
    struct key key = {.index = (size_t)index};
    if (tensor->dtype == MITRAL_STRING)
        key.text = ((const mitral_string *)tensor->data)[index];
    else if (dtype_is_float(tensor->dtype))
        key.real = tensor_get_double(tensor, index);
    else
        key.whole = tensor_get_int(tensor, index);
    return key;
}

/* All NaN are one key, after all numbers; 0 and -0 are one too. */
static int compare_keys(const void *left, const void *right)
{
    const struct key *a = left, *b = right;
    size_t common = a->text.size < b->text.size ? a->text.size : b->text.size;
    int order = common ? memcmp(a->text.data, b->text.data, common) : 0;
    if (order || a->text.size != b->text.size)
        return order ? order : a->text.size < b->text.size ? -1 : 1;
    if (a->whole != b->whole)
        return a->whole < b->whole ? -1 : 1;
    if (isnan(a->real) || isnan(b->real))
        return (isnan(a->real) != 0) - (isnan(b->real) != 0);
    return (a->real > b->real) - (a->real < b->real);
}

static int compare_entries(const void *left, const void *right)
{
    int order = compare_keys(left, right);
    const struct key *a = left, *b = right;
    return order ? order : (a->index > b->index) - (a->index < b->index);
}

/* The keys in order; memory from the call's arena. */
static mitral_status sort_keys(const struct kernel_call *call, const mitral_tensor *keys, struct key **out,
                               size_t *count)
{
    *count = (size_t)tensor_count(keys);
    *out = arena_allocate(call->arena, (*count + 1) * sizeof(**out));
    if (!*out)
        return MITRAL_NO_MEMORY;
    for (size_t i = 0; i < *count; i++)
        (*out)[i] = key_at(keys, (int64_t)i);
    qsort(*out, *count, sizeof(**out), compare_entries);
    return MITRAL_OK;
}

/* Index of the last of the equal keys in the list; -1: none. */
static int64_t look_up(const struct key *keys, size_t count, const struct key *wanted)
{
    size_t low = 0, high = count; /* the first key beyond the wanted one */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_keys(&keys[middle], wanted) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low && compare_keys(&keys[low - 1], wanted) == 0 ? (int64_t)keys[low - 1].index : -1;
}

/* A list attribute as a tensor that borrows its memory; false when absent or empty. */
static bool list_tensor(const struct kernel_call *call, const char *name, int32_t dtype, mitral_tensor *out)
{
    const struct attribute *attribute = attribute_find(call->attributes, name);
    enum attribute_kind kind = dtype == MITRAL_STRING ? ATTRIBUTE_STRINGS
                             : dtype == MITRAL_FLOAT  ? ATTRIBUTE_FLOATS
                                                      : ATTRIBUTE_INTS;
    if (!attribute || attribute->kind != kind || attribute->count == 0)
        return false;
    tensor_set(out, dtype, 1, (const int64_t[]){(int64_t)attribute->count});
    const void *data = dtype == MITRAL_STRING ? (const void *)attribute->strings
                       : dtype == MITRAL_FLOAT ? (const void *)attribute->floats
                                               : (const void *)attribute->ints;
    out->data = (void *)(uintptr_t)data;
    return true;
}

struct mapping {
    mitral_tensor keys, values;
    bool index_is_value;  /* LabelEncoder 1: strings map to their places */
    mitral_tensor fallback;
    union {
        int64_t whole;
        float real;
        mitral_string text;
    } fallback_storage;
};

/* The default of the values' type, from attributes default_int64, default_float, default_string or default_tensor. */
static void set_fallback(const struct kernel_call *call, int32_t dtype, struct mapping *mapping)
{
    const mitral_tensor *tensor = attribute_tensor(call->attributes, "default_tensor");
    mapping->fallback = (mitral_tensor){.dtype = dtype, .data = &mapping->fallback_storage};
    if (tensor && tensor->dtype == dtype && tensor_count(tensor) >= 1) {
        mapping->fallback.data = tensor->data;
    } else if (dtype == MITRAL_STRING) {
        const char *text = attribute_string(call->attributes, "default_string", "_Unused");
        mapping->fallback_storage.text = (mitral_string){text, strlen(text)};
    } else if (dtype == MITRAL_FLOAT) {
        mapping->fallback_storage.real = attribute_float(call->attributes, "default_float", -0.0f);
    } else if (dtype_is_float(dtype)) {
        tensor_set_double(&mapping->fallback, 0, -0.0, false);
    } else {
        tensor_set_int(&mapping->fallback, 0, attribute_int(call->attributes, "default_int64", -1));
    }
}

static mitral_status read_mapping(const struct kernel_call *call, bool categories, struct mapping *mapping)
{
    static const struct {
        const char *keys, *values;
        int32_t dtype;
    } lists[] = {{"keys_strings", "values_strings", MITRAL_STRING},
                 {"keys_int64s", "values_int64s", MITRAL_INT64},
                 {"keys_floats", "values_floats", MITRAL_FLOAT}};
    const mitral_tensor *x = call_input(call, 0), *tensor;
    bool has_keys = false, has_values = false;
    if (!x)
        return call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    *mapping = (struct mapping){.index_is_value = false};
    if (categories) {
        bool from_strings = x->dtype == MITRAL_STRING;
        has_keys = list_tensor(call, from_strings ? "cats_strings" : "cats_int64s",
                               from_strings ? MITRAL_STRING : MITRAL_INT64, &mapping->keys);
        has_values = list_tensor(call, from_strings ? "cats_int64s" : "cats_strings",
                                 from_strings ? MITRAL_INT64 : MITRAL_STRING, &mapping->values);
    } else if (call->opset < 2) {
        has_keys = has_values = list_tensor(call, "classes_strings", MITRAL_STRING, &mapping->keys);
        mapping->values = mapping->keys;
        mapping->index_is_value = true;
    } else {
        for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
            has_keys = has_keys || list_tensor(call, lists[i].keys, lists[i].dtype, &mapping->keys);
            has_values = has_values || list_tensor(call, lists[i].values, lists[i].dtype, &mapping->values);
        }
        if (!has_keys && (tensor = attribute_tensor(call->attributes, "keys_tensor")) != NULL) {
            mapping->keys = *tensor;
            has_keys = true;
        }
        if (!has_values && (tensor = attribute_tensor(call->attributes, "values_tensor")) != NULL) {
            mapping->values = *tensor;
            has_values = true;
        }
    }
    if (!has_keys || !has_values || tensor_count(&mapping->keys) != tensor_count(&mapping->values))
        return call_fail(call, MITRAL_INVALID, "keys and as many values expected, found %lld and %lld",
                         has_keys ? (long long)tensor_count(&mapping->keys) : 0,
                         has_values ? (long long)tensor_count(&mapping->values) : 0);
    if (mapping->index_is_value) {
        if (x->dtype != MITRAL_STRING && x->dtype != MITRAL_INT64)
            return fail_type(call, 0, x);
        set_fallback(call, x->dtype == MITRAL_STRING ? MITRAL_INT64 : MITRAL_STRING, mapping);
        return MITRAL_OK;
    }
    if (x->dtype != mapping->keys.dtype)
        return fail_type(call, 0, x);
    set_fallback(call, mapping->values.dtype, mapping);
    return MITRAL_OK;
}

static mitral_status mapping_shape(struct kernel_call *call, bool categories)
{
    struct mapping mapping;
    TRY(read_mapping(call, categories, &mapping));
    call_set_output(call, 0, mapping.fallback.dtype, call_input(call, 0)->rank, call_input(call, 0)->dims);
    return MITRAL_OK;
}

static mitral_status mapping_run(struct kernel_call *call, bool categories)
{
    const mitral_tensor *x = call_input(call, 0);
    mitral_tensor *y = call_output(call, 0);
    struct mapping mapping;
    struct key *keys;
    size_t count;
    if (!y)
        return MITRAL_OK;
    TRY(read_mapping(call, categories, &mapping));
    bool by_place = mapping.index_is_value && x->dtype != MITRAL_STRING; /* integers that are places in the list */
    TRY(sort_keys(call, &mapping.keys, &keys, &count));
    size_t size = mitral_dtype_size((mitral_dtype)y->dtype);
    for (int64_t i = 0, total = tensor_count(x); i < total; i++) {
        struct key wanted = key_at(x, i);
        int64_t found = by_place ? (wanted.whole >= 0 && (size_t)wanted.whole < count ? wanted.whole : -1)
                                 : look_up(keys, count, &wanted);
        const char *from = found < 0 ? mapping.fallback.data : (const char *)mapping.values.data + (size_t)found * size;
        if (mapping.index_is_value && !by_place && found >= 0)
            tensor_set_int(y, i, found);
        else
            memcpy((char *)y->data + (size_t)i * size, from, size);
    }
    return MITRAL_OK;
}

static mitral_status LabelEncoder_shape(struct kernel_call *call)
{
    return mapping_shape(call, false);
}

static mitral_status LabelEncoder_run(struct kernel_call *call)
{
    return mapping_run(call, false);
}

static mitral_status CategoryMapper_shape(struct kernel_call *call)
{
    return mapping_shape(call, true);
}

static mitral_status CategoryMapper_run(struct kernel_call *call)
{
    return mapping_run(call, true);
}

/* ---- ZipMap ------------------------------------------------------------------------------------------------------ */

static mitral_status ZipMap_shape(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    struct ml_labels labels = {0};
    TRY(ml_labels(call, "classlabels_int64s", "classlabels_strings", &labels));
    if (!x || x->dtype != MITRAL_FLOAT)
        return x ? fail_type(call, 0, x) : call_fail(call, MITRAL_INVALID, "a first input expected, found none");
    if (x->rank < 1 || x->rank > 2 || x->dims[x->rank - 1] != (int64_t)labels.count) {
        char text[160];
        return call_fail(call, MITRAL_INVALID, "a column for each of %zu labels expected, found %s", labels.count,
                         tensor_describe(x, text, sizeof(text)));
    }
    if (call->output_count && call->outputs[0])
        *call->outputs[0] = (mitral_value){.kind = MITRAL_SEQUENCE};
    return MITRAL_DEFERRED;
}

static mitral_status ZipMap_run(struct kernel_call *call)
{
    const mitral_tensor *x = call_input(call, 0);
    struct ml_labels labels = {0};
    mitral_status status = ZipMap_shape(call);
    if (status != MITRAL_DEFERRED)
        return status;
    if (!call->output_count || !call->outputs[0])
        return MITRAL_OK;
    TRY(ml_labels(call, "classlabels_int64s", "classlabels_strings", &labels));
    int64_t rows = x->rank == 2 ? x->dims[0] : 1, columns = (int64_t)labels.count;
    if (rows > INT32_MAX)
        return call_fail(call, MITRAL_LIMIT, "at most %d rows expected, found %lld", INT32_MAX, (long long)rows);
    mitral_value *maps = arena_allocate(call->arena, ((size_t)rows + 1) * sizeof(*maps));
    mitral_value *parts = arena_allocate(call->arena, ((size_t)rows + 1) * 2 * sizeof(*parts));
    float *values = arena_allocate(call->arena, tensor_bytes(x) + 1);
    if (!maps || !parts || !values)
        return MITRAL_NO_MEMORY;
    memcpy(values, x->data, tensor_bytes(x));
    const void *keys = labels.strings ? (const void *)labels.strings : (const void *)labels.ints;
    for (int64_t i = 0; i < rows; i++) {
        mitral_value *pair = &parts[2 * i];
        tensor_set(&pair[0].tensor, labels.strings ? MITRAL_STRING : MITRAL_INT64, 1, &columns);
        pair[0].tensor.data = (void *)(uintptr_t)keys;
        tensor_set(&pair[1].tensor, MITRAL_FLOAT, 1, &columns);
        pair[1].tensor.data = values + i * columns;
        maps[i] = (mitral_value){.kind = MITRAL_MAP, .count = 2, .items = pair};
    }
    *call->outputs[0] = (mitral_value){.kind = MITRAL_SEQUENCE, .count = (int32_t)rows, .items = maps};
    return MITRAL_OK;
}

/* ---- maps in ----------------------------------------------------------------------------------------------------- */

static mitral_status map_parts(const struct kernel_call *call, const mitral_tensor **keys, const mitral_tensor **values)
{
    const mitral_value *map = call->input_count ? call->inputs[0] : NULL;
    if (!map || map->kind != MITRAL_MAP || map->count != 2 || map->items[0].kind != MITRAL_TENSOR
        || map->items[1].kind != MITRAL_TENSOR
        || tensor_count(&map->items[0].tensor) != tensor_count(&map->items[1].tensor))
        return call_fail(call, MITRAL_INVALID, "a map of keys to single values expected");
    *keys = &map->items[0].tensor;
    *values = &map->items[1].tensor;
    return MITRAL_OK;
}

static mitral_status CastMap_type(const struct kernel_call *call, int32_t *out)
{
    const char *name = attribute_string(call->attributes, "cast_to", "TO_FLOAT");
    *out = strcmp(name, "TO_FLOAT") == 0    ? MITRAL_FLOAT
           : strcmp(name, "TO_STRING") == 0 ? MITRAL_STRING
           : strcmp(name, "TO_INT64") == 0  ? MITRAL_INT64
                                            : MITRAL_UNDEFINED;
    if (*out == MITRAL_UNDEFINED)
        return call_fail(call, MITRAL_INVALID,
                         "attribute cast_to: TO_FLOAT, TO_STRING or TO_INT64 expected, found '%s'", name);
    return MITRAL_OK;
}

static mitral_status CastMap_shape(struct kernel_call *call)
{
    int32_t dtype = MITRAL_UNDEFINED;
    TRY(CastMap_type(call, &dtype));
    call_set_output(call, 0, dtype, 2, (const int64_t[]){1, 0});
    return MITRAL_DEFERRED;
}

static mitral_status convert_element(const struct kernel_call *call, const mitral_tensor *from, int64_t index,
                                     mitral_tensor *to, int64_t at)
{
    if (from->dtype == MITRAL_STRING && to->dtype == MITRAL_STRING)
        ((mitral_string *)to->data)[at] = ((const mitral_string *)from->data)[index];
    else if (to->dtype == MITRAL_STRING)
        return number_to_string(call->arena, from, index, &((mitral_string *)to->data)[at]);
    else if (from->dtype != MITRAL_STRING)
        tensor_set_double(to, at, tensor_get_double(from, index), true);
    else if (!string_to_number(((const mitral_string *)from->data)[index], to, at,
                               &(struct conversion){MITRAL_STRING, to->dtype, true, ROUND_UP}))
        return call_fail(call, MITRAL_INVALID, "value %lld: a number expected, found other text", (long long)index);
    return MITRAL_OK;
}

static mitral_status CastMap_run(struct kernel_call *call)
{
    const mitral_tensor *keys = NULL, *values = NULL;
    int32_t dtype = MITRAL_UNDEFINED;
    struct key *sorted;
    size_t count;
    TRY(CastMap_type(call, &dtype));
    TRY(map_parts(call, &keys, &values));
    if (keys->dtype != MITRAL_INT64)
        return call_fail(call, MITRAL_INVALID, "a map with int64 keys expected");
    const char *form = attribute_string(call->attributes, "map_form", "DENSE");
    bool sparse = strcmp(form, "SPARSE") == 0;
    if (!sparse && strcmp(form, "DENSE") != 0)
        return call_fail(call, MITRAL_INVALID, "attribute map_form: DENSE or SPARSE expected, found '%s'", form);
    TRY(sort_keys(call, keys, &sorted, &count));
    int64_t size = sparse ? attribute_int(call->attributes, "max_map", 1) : (int64_t)count;
    if (size < 0)
        return call_fail(call, MITRAL_INVALID, "max_map of at least 0 expected, found %lld", (long long)size);
    TRY(call_allocate(call, 0, dtype, 2, (const int64_t[]){1, size}));
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    for (int64_t i = 0; dtype == MITRAL_STRING && i < size; i++)
        ((mitral_string *)output->data)[i] = (mitral_string){"", 0};
    struct plain_locale locale;
    if (!plain_locale_enter(&locale))
        return call_fail(call, MITRAL_NO_MEMORY, "no memory for a locale");
    mitral_status status = MITRAL_OK;
    for (size_t i = 0; i < count && status == MITRAL_OK; i++) {
        int64_t at = sparse ? sorted[i].whole : (int64_t)i;
        status = at >= 0 && at < size ? convert_element(call, values, (int64_t)sorted[i].index, output, at)
                                      : call_fail(call, MITRAL_INVALID, "keys in [0, %lld) expected, found %lld",
                                                  (long long)size, (long long)at);
    }
    plain_locale_leave(&locale);
    return status;
}

static mitral_status DictVectorizer_shape(struct kernel_call *call)
{
    struct ml_labels vocabulary = {0};
    TRY(ml_labels(call, "int64_vocabulary", "string_vocabulary", &vocabulary));
    call_set_output(call, 0, MITRAL_UNDEFINED, 2, (const int64_t[]){1, (int64_t)vocabulary.count});
    return MITRAL_DEFERRED; /* the type is that of the map's values */
}

static mitral_status DictVectorizer_run(struct kernel_call *call)
{
    const mitral_tensor *keys = NULL, *values = NULL;
    struct ml_labels vocabulary = {0};
    struct key *sorted;
    size_t count;
    TRY(ml_labels(call, "int64_vocabulary", "string_vocabulary", &vocabulary));
    TRY(map_parts(call, &keys, &values));
    if (keys->dtype != (vocabulary.strings ? MITRAL_STRING : MITRAL_INT64))
        return call_fail(call, MITRAL_INVALID, "keys of the vocabulary's type expected");
    TRY(sort_keys(call, keys, &sorted, &count));
    TRY(call_allocate(call, 0, values->dtype, 2, (const int64_t[]){1, (int64_t)vocabulary.count}));
    mitral_tensor *output = call_output(call, 0);
    if (!output)
        return MITRAL_OK;
    for (size_t i = 0; i < vocabulary.count; i++) {
        struct key wanted = {.whole = vocabulary.ints ? vocabulary.ints[i] : 0};
        if (vocabulary.strings)
            wanted.text = vocabulary.strings[i];
        int64_t found = look_up(sorted, count, &wanted);
        if (output->dtype == MITRAL_STRING)
            ((mitral_string *)output->data)[i] = (mitral_string){"", 0};
        if (found >= 0)
            TRY(convert_element(call, values, found, output, (int64_t)i));
    }
    return MITRAL_OK;
}

const struct kernel reference_ml_maps[] = {
    {"ml.CastMap", KERNEL_ALLOCATES, CastMap_shape, NULL, CastMap_run},
    {"ml.CategoryMapper", 0, CategoryMapper_shape, NULL, CategoryMapper_run},
    {"ml.DictVectorizer", KERNEL_ALLOCATES, DictVectorizer_shape, NULL, DictVectorizer_run},
    {"ml.LabelEncoder", 0, LabelEncoder_shape, NULL, LabelEncoder_run},
    {"ml.ZipMap", KERNEL_ALLOCATES, ZipMap_shape, NULL, ZipMap_run},
};
const size_t reference_ml_maps_count = sizeof(reference_ml_maps) / sizeof(reference_ml_maps[0]);
