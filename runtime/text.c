#include "runtime/text.h"

#include <stdio.h>
#include <string.h>

static bool reserve(struct text *text, size_t more)
{
    if (text->failed || text->size + more <= text->capacity)
        return !text->failed;
    size_t capacity = (text->size + more) * 2;
    char *larger = mitral_allocate_raw(text->context, capacity);
    if (!larger) {
        text->failed = true;
        return false;
    }
    if (text->size)
        memcpy(larger, text->data, text->size);
    mitral_release(text->context, text->data);
    text->data = larger;
    text->capacity = capacity;
    return true;
}

void text_put(struct text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length >= 0 && reserve(text, (size_t)length + 1)) {
        vsnprintf(text->data + text->size, (size_t)length + 1, format, again);
        text->size += (size_t)length;
    }
    va_end(again);
}

mitral_status text_finish(struct text *text, char **out)
{
    *out = NULL;
    if (!text->data && !text->failed)
        text_put(text, "%s", "");
    if (text->failed) {
        mitral_release(text->context, text->data);
        return MITRAL_NO_MEMORY;
    }
    *out = text->data;
    return MITRAL_OK;
}
