/* What the processor can do, found once. */
#ifndef MITRAL_RUNTIME_CPU_H
#define MITRAL_RUNTIME_CPU_H

#include <stdbool.h>
#include <stddef.h>

/* Levels that own kernels are compiled for; each includes the ones before it. */
enum isa {
    ISA_PORTABLE = 0, /* what the compiler assumes without flags */
    ISA_AVX2 = 1,     /* AVX2 and FMA */
    ISA_AVX512 = 2,   /* AVX-512 F, BW, DQ, VL, and what the machine has of BF16, FP16, VNNI */
    ISA_AMX = 3       /* AVX-512 BF16, and AMX tiles with bfloat16 */
};

/* The level in use: the best that processor and system support, or a lower one that the environment's MITRAL_ISA
 * (portable, avx2, avx512 or amx) asks for. A level that the machine lacks is never used, whatever is asked for. */
enum isa cpu_isa(void);
/* What MITRAL_ISA holds when it names no level, or NULL. */
const char *cpu_isa_unknown(void);
/* The best level that processor and system support. */
enum isa cpu_isa_supported(void);
const char *cpu_isa_name(enum isa isa); /* "portable", "avx2", "avx512", "amx" */
/* False when `name` is none of the four. */
bool cpu_isa_from_name(const char *name, enum isa *out);

/* Brand string, blanks trimmed; "unknown" where there is none. */
const char *cpu_brand(void);
/* Parts that only kernels of one element type need; false below ISA_AVX512. */
bool cpu_has_avx512_bf16(void);
bool cpu_has_avx512_fp16(void);
bool cpu_has_avx512_vnni(void); /* exact sums of 8-bit products: what came before it saturates or rounds */
/* Whether operations on vectors of so many floats run as two halves (512 bits on AMD Zen 4): narrower ones cost nothing. */
bool cpu_splits_vectors(int floats);
/* Of the data cache that one core has to itself; a usual size where the system does not say. */
size_t cpu_level2_bytes(void);

#endif
