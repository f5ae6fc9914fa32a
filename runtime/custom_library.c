/* Shared libraries that register operators of their own. */
#include <dlfcn.h>
#include <string.h>

#include "runtime/custom.h"

static const char entry[] = "mitral_register_operators";

struct custom_library {
    void *handle;
    struct custom_library *next; /* loaded before */
};

void custom_release_libraries(mitral_context *context)
{
    while (context->libraries) {
        struct custom_library *next = context->libraries->next;
        dlclose(context->libraries->handle);
        mitral_release(context, context->libraries);
        context->libraries = next;
    }
}

/* With a slash in it, so that it is a path for the loader too, not a name to search for. */
static mitral_status open_library(mitral_context *context, const char *path, void **out)
{
    char *local = mitral_allocate(context, strlen(path) + 3);
    if (!local)
        return MITRAL_NO_MEMORY;
    strcpy(local, strchr(path, '/') ? "" : "./");
    strcat(local, path);
    *out = dlopen(local, RTLD_NOW | RTLD_LOCAL);
    mitral_release(context, local);
    if (*out)
        return MITRAL_OK;
    const char *reason = dlerror();
    return mitral_fail(context, MITRAL_IO, "%s: expected a shared library that loads, found %s", path, reason ? reason : "none");
}

mitral_status mitral_context_load_operators(mitral_context *context, const char *path)
{
    void *handle;
    if (!context || !path)
        return mitral_fail(context, MITRAL_INVALID, "loading of operators: expected a context and a path, found none");
    TRY(open_library(context, path, &handle));
    union { void *object; mitral_register_operators_function *function; } found = {dlsym(handle, entry)};
    struct custom_library *library = found.object ? mitral_allocate(context, sizeof *library) : NULL;
    if (!library) {
        dlclose(handle);
        return found.object ? MITRAL_NO_MEMORY
                            : mitral_fail(context, MITRAL_INVALID, "%s: expected a function %s, found none", path, entry);
    }
    /* Kept even if it fails: it may have registered some. */
    *library = (struct custom_library){handle, context->libraries};
    context->libraries = library;
    context->message[0] = '\0';
    mitral_status status = found.function(context);
    if (status == MITRAL_OK)
        return MITRAL_OK;
    if (!context->message[0])
        mitral_fail(context, MITRAL_INVALID, "its %s failed with status %d (%s) and no message", entry, (int)status, mitral_status_name(status));
    return mitral_fail_prefix(context, status > MITRAL_OK && status < MITRAL_DEFERRED ? status : MITRAL_INVALID, "%s: ", path);
}
