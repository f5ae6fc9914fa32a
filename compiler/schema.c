/* Look-up in the table that schemas/generate_schemas.py made of the installed onnx package. */
#include <string.h>

#include "compiler/op.h"

static int compare_name(const struct schema *schema, const char *domain, const char *name)
{
    int order = strcmp(schema->domain, domain);
    return order != 0 ? order : strcmp(schema->name, name);
}

const struct schema *schema_find(const char *domain, const char *name, int64_t opset)
{
    if (!domain || strcmp(domain, "ai.onnx") == 0)
        domain = "";
    /* The first row after all of this operator up to `opset`; the one before it is the answer, if it is of this operator. */
    size_t low = 0, high = schema_table_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_name(&schema_table[middle], domain, name);
        if (order < 0 || (order == 0 && schema_table[middle].since_version <= opset))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || compare_name(&schema_table[low - 1], domain, name) != 0)
        return NULL;
    return &schema_table[low - 1];
}

const struct schema_attribute *schema_attribute_find(const struct schema *schema, const char *name)
{
    for (size_t i = 0; schema && i < schema->attribute_count; i++)
        if (strcmp(schema->attributes[i].name, name) == 0)
            return &schema->attributes[i];
    return NULL;
}
