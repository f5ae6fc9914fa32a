/* Nodes of opset 6 and before as the nodes of opset 7 that mean the same, where there are such: opset 7 changed how shapes
 * broadcast and dropped attributes that asked for it. */
#include <string.h>

#include "compiler/import_internal.h"

enum alignment {
    ALIGN_NONE,
    ALIGN_AXIS,   /* the second input's first dimension goes to the first one's dimension `axis` */
    ALIGN_CHANNEL /* likewise to dimension 1, unless it is one number */
};

struct legacy {
    const char *name;
    int version;                /* that is rewritten */
    const char *dropped[2];     /* attributes that opset 7 has no more */
    const char *must_be_1;      /* one of them: with another value opset 7 has no such node */
    enum alignment alignment;
};

static const struct legacy table[] = {
    {"Add", 6, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
    {"And", 1, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
    {"AveragePool", 1, {NULL}, NULL, ALIGN_NONE},
    {"BatchNormalization", 6, {"is_test"}, "is_test", ALIGN_NONE},
    {"Div", 6, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
    {"Dropout", 6, {"is_test"}, "is_test", ALIGN_NONE},
    {"Equal", 1, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
    {"GRU", 3, {"output_sequence"}, NULL, ALIGN_NONE},
    {"Gemm", 6, {"broadcast"}, NULL, ALIGN_NONE},
    {"Greater", 1, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
    {"LSTM", 1, {"output_sequence"}, NULL, ALIGN_NONE},
    {"Less", 1, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
    {"Mul", 6, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
    {"Or", 1, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
    {"PRelu", 6, {NULL}, NULL, ALIGN_CHANNEL},
    {"Pow", 1, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
    {"RNN", 1, {"output_sequence"}, NULL, ALIGN_NONE},
    {"Sub", 6, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
    {"Xor", 1, {"axis", "broadcast"}, NULL, ALIGN_AXIS},
};

static bool is_dropped(const struct legacy *legacy, const char *name)
{
    for (size_t i = 0; i < sizeof legacy->dropped / sizeof *legacy->dropped; i++)
        if (legacy->dropped[i] && strcmp(legacy->dropped[i], name) == 0)
            return true;
    return false;
}

static mitral_status type_of_input(struct scope *scope, const onnx_node *proto, size_t index, struct value_type *out, value_id *id)
{
    *out = (struct value_type){.rank = -1};
    bool found = false;
    *id = NO_VALUE;
    if (index < proto->n_input && *import_text(proto->input[index]))
        TRY(scope_find(scope, proto->input[index], id, &found));
    if (found && *id != NO_VALUE)
        *out = scope->graph->values[*id].type;
    return MITRAL_OK;
}

/* The second input with `count` dimensions of 1 behind it, under a new name. */
static mitral_status add_dimensions(struct scope *scope, onnx_node *proto, value_id id, int32_t rank, int64_t count)
{
    struct importer *importer = scope->importer;
    const struct op *unsqueeze = op_find(NULL, "Unsqueeze");
    if (!unsqueeze)
        return mitral_fail(importer->context, MITRAL_UNSUPPORTED, "%s: expected an operator Unsqueeze to align its inputs",
                           import_node_label(scope, proto));
    int64_t axes[MITRAL_MAX_RANK];
    for (int64_t i = 0; i < count; i++)
        axes[i] = rank + i;
    struct attributes attributes = {0};
    TRY(attributes_set_ints(&attributes, &importer->scratch, "axes", axes, (size_t)count));
    char *name = arena_format(&importer->scratch, "%s\x1f%s", proto->input[1], import_text(proto->output[0])); /* no file's name is this */
    char **inputs = arena_allocate(&importer->scratch, (proto->n_input + 1) * sizeof *inputs);
    if (!name || !inputs)
        return MITRAL_NO_MEMORY;
    value_id aligned;
    TRY(scope_add_unnamed(scope, name, scope->graph->values[id].name, NULL, &aligned));
    TRY(graph_add_node(scope->graph, unsqueeze, 1, NULL, &attributes, &id, 1, &aligned, 1, NULL));
    memcpy(inputs, proto->input, proto->n_input * sizeof *inputs);
    inputs[1] = name;
    proto->input = inputs;
    return MITRAL_OK;
}

static mitral_status align(struct scope *scope, const struct legacy *legacy, const onnx_node *original, onnx_node *proto)
{
    struct value_type first, second;
    value_id first_id, second_id;
    int64_t axis = 1;
    if (legacy->alignment == ALIGN_AXIS) {
        const onnx_attribute *given = import_attribute_of(original, "axis");
        if (!given) /* at the end, as it is now */
            return MITRAL_OK;
        axis = given->i;
    }
    TRY(type_of_input(scope, proto, 0, &first, &first_id));
    TRY(type_of_input(scope, proto, 1, &second, &second_id));
    if (second_id == NO_VALUE || proto->n_output == 0)
        return MITRAL_OK; /* refused later, with the count */
    if (legacy->alignment == ALIGN_CHANNEL && second.rank == 1 && second.dims[0] == 1)
        return MITRAL_OK;
    int64_t rank = first.rank, trailing = rank - (axis < 0 ? axis + rank : axis) - second.rank;
    if (first.rank < 0 || second.rank < 0 || axis >= rank || axis < -rank || trailing < 0)
        return mitral_fail(scope->importer->context, MITRAL_UNSUPPORTED,
                           "%s (opset %lld): expected inputs of declared rank that align at axis %lld, found ranks %d and %d (-1: not declared)",
                           import_node_label(scope, original), (long long)scope->importer->opset, (long long)axis, first.rank, second.rank);
    return trailing ? add_dimensions(scope, proto, second_id, second.rank, trailing) : MITRAL_OK;
}

mitral_status import_legacy(struct scope *scope, const onnx_node *original, const struct schema *schema, const onnx_node **out)
{
    *out = NULL;
    const struct legacy *legacy = NULL;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, schema->name) == 0 && table[i].version == schema->since_version)
            legacy = &table[i];
    if (!legacy || original->n_attribute > IMPORT_MAX_ATTRIBUTES)
        return MITRAL_OK;
    if (legacy->must_be_1) {
        const onnx_attribute *given = import_attribute_of(original, legacy->must_be_1);
        if (!given || given->i != 1)
            return MITRAL_OK;
    }
    onnx_node *proto = arena_allocate(&scope->importer->scratch, sizeof *proto);
    onnx_attribute **attributes = arena_allocate(&scope->importer->scratch, (original->n_attribute + 1) * sizeof *attributes);
    if (!proto || !attributes)
        return MITRAL_NO_MEMORY;
    *proto = *original;
    proto->attribute = attributes;
    proto->n_attribute = 0;
    for (size_t i = 0; i < original->n_attribute; i++)
        if (!is_dropped(legacy, import_text(original->attribute[i]->name)))
            attributes[proto->n_attribute++] = original->attribute[i];
    if (legacy->alignment != ALIGN_NONE)
        TRY(align(scope, legacy, original, proto));
    *out = proto;
    return MITRAL_OK;
}
