/* The library and its engine, statuses and element types. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cpu.h"
#include "runtime/kernels/onednn/library_path.h"
#include "runtime/kernels/onednn/onednn.h"

struct onednn_library dnnl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char problem[256]; /* empty: opened; like `dnnl`, never changed after `once` */

/* Where the build found it, else where the system's loader looks. */
static void *open_library(void)
{
    void *library = dlopen(MITRAL_ONEDNN, RTLD_NOW | RTLD_LOCAL);
    return library ? library : dlopen("libdnnl.so.3", RTLD_NOW | RTLD_LOCAL);
}

static bool find_functions(void *library)
{
#define FIND(name)                                                                                                     \
    if (!(*(void **)&dnnl.name = dlsym(library, "dnnl_" #name)))                                                       \
        return false;
    ONEDNN_FUNCTIONS(FIND)
#undef FIND
    return true;
}

static void open_once(void)
{
    void *library = open_library();
    if (!library || !find_functions(library)) {
        const char *text = dlerror();
        snprintf(problem, sizeof problem, "oneDNN: expected the library libdnnl.so.3, found %s", text ? text : "none");
        return;
    }
    /* Only a cap below what the machine has is handed on: oneDNN's own detection knows finer steps (bf16, AMX). */
    const char *wanted = getenv("MITRAL_ISA");
    if (wanted && *wanted) {
        switch (cpu_isa()) {
        case ISA_PORTABLE: dnnl.set_max_cpu_isa(dnnl_cpu_isa_sse41); break;
        case ISA_AVX2: dnnl.set_max_cpu_isa(dnnl_cpu_isa_avx2); break;
        case ISA_AVX512:
            if (cpu_isa_supported() > ISA_AVX512)
                dnnl.set_max_cpu_isa(cpu_has_avx512_fp16() ? dnnl_cpu_isa_avx512_core_fp16 : dnnl_cpu_isa_avx512_core_bf16);
            break;
        case ISA_AMX: break;
        }
    }
    const dnnl_status_t status = dnnl.engine_create(&dnnl.engine, dnnl_cpu, 0);
    if (status != dnnl_success)
        snprintf(problem, sizeof problem, "oneDNN: expected a CPU engine, found status %d", (int)status);
}

mitral_status onednn_open(mitral_context *context)
{
    pthread_once(&once, open_once);
    return *problem ? mitral_fail(context, MITRAL_UNSUPPORTED, "%s", problem) : MITRAL_OK;
}

static const char *status_text(dnnl_status_t status)
{
    switch (status) {
    case dnnl_out_of_memory: return "out of memory";
    case dnnl_invalid_arguments: return "invalid arguments";
    case dnnl_unimplemented: return "not implemented";
    case dnnl_runtime_error: return "run-time error";
    default: return "failure";
    }
}

mitral_status onednn_status(const struct kernel_call *call, dnnl_status_t status, const char *what)
{
    mitral_status result = status == dnnl_out_of_memory ? MITRAL_NO_MEMORY : MITRAL_UNSUPPORTED;
    return call_fail(call, result, "oneDNN %s: %s", what, status_text(status));
}

dnnl_data_type_t onednn_type(int32_t dtype)
{
    switch (dtype) {
    case MITRAL_FLOAT: return dnnl_f32;
    case MITRAL_BFLOAT16: return dnnl_bf16;
    case MITRAL_FLOAT16: return dnnl_f16;
    case MITRAL_INT32: return dnnl_s32;
    case MITRAL_INT8: return dnnl_s8;
    case MITRAL_UINT8: return dnnl_u8;
    default: return dnnl_data_type_undef;
    }
}

bool onednn_computes(int32_t dtype)
{
    if (dtype == MITRAL_FLOAT)
        return true;
    if (onednn_open(NULL) != MITRAL_OK)
        return false;
    const dnnl_cpu_isa_t isa = dnnl.get_effective_cpu_isa();
    switch (dtype) {
    case MITRAL_BFLOAT16: return (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
    case MITRAL_FLOAT16: return (isa & dnnl_cpu_isa_avx512_core_fp16) == dnnl_cpu_isa_avx512_core_fp16;
    default: return false;
    }
}
