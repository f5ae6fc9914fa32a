/* Strings. */
#include "compiler/op.h"

const struct op ops_text[] = {
    {.name = "RegexFullMatch"},
    {.name = "StringConcat"},
    {.name = "StringNormalizer"},
    {.name = "StringSplit"},
    {.name = "TfIdfVectorizer"},
};
const size_t ops_text_count = sizeof(ops_text) / sizeof(*ops_text);
