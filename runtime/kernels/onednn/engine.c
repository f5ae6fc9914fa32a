/* The engine, statuses and element types. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cpu.h"
#include "runtime/kernels/onednn/onednn.h"

static pthread_once_t engine_once = PTHREAD_ONCE_INIT;
static dnnl_engine_t shared_engine; /* never changed after engine_once, never destroyed: primitives may outlive everything else */
static dnnl_status_t engine_status;

static void create_engine(void)
{
    /* Only a cap below what the machine has is handed on: oneDNN's own detection knows finer steps (bf16, AMX). */
    const char *wanted = getenv("MITRAL_ISA");
    if (wanted && *wanted) {
        switch (cpu_isa()) {
        case ISA_PORTABLE: dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41); break;
        case ISA_AVX2: dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2); break;
        default: break;
        }
    }
    engine_status = dnnl_engine_create(&shared_engine, dnnl_cpu, 0);
}

mitral_status onednn_engine(mitral_context *context, dnnl_engine_t *out)
{
    pthread_once(&engine_once, create_engine);
    *out = shared_engine;
    if (engine_status == dnnl_success)
        return MITRAL_OK;
    return mitral_fail(context, engine_status == dnnl_out_of_memory ? MITRAL_NO_MEMORY : MITRAL_UNSUPPORTED,
                       "oneDNN: expected a CPU engine, found status %d", (int)engine_status);
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
    dnnl_engine_t engine;
    if (onednn_engine(NULL, &engine) != MITRAL_OK)
        return false;
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    switch (dtype) {
    case MITRAL_FLOAT: return true;
    case MITRAL_BFLOAT16: return (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
    case MITRAL_FLOAT16: return (isa & dnnl_cpu_isa_avx512_core_fp16) == dnnl_cpu_isa_avx512_core_fp16;
    default: return false;
    }
}
