#include "runtime/cpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#define CPU_X86 1
#else
#define CPU_X86 0
#endif

static struct {
    enum isa supported, used;
    bool avx512_bf16, avx512_fp16, avx512_vnni, splits_avx512;
    char brand[64];
    size_t level2_bytes;
} cpu;
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;

static const char *const isa_names[] = {"portable", "avx2", "avx512", "amx"};

#if CPU_X86
static void find_brand(void)
{
    unsigned words[12], highest = __get_cpuid_max(0x80000000u, NULL);
    if (highest < 0x80000004u)
        return;
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    char text[sizeof words + 1] = {0};
    memcpy(text, words, sizeof words);
    const char *start = text + strspn(text, " ");
    size_t length = strlen(start);
    while (length && start[length - 1] == ' ')
        length--;
    if (length) {
        memcpy(cpu.brand, start, length);
        cpu.brand[length] = 0;
    }
}

/* Linux gives a process the tile registers only when it asks for them. */
static bool may_use_tiles(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* arch_prctl's ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static void find_features(void)
{
    __builtin_cpu_init();
    cpu.supported = ISA_PORTABLE;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        cpu.supported = ISA_AVX2;
    if (cpu.supported == ISA_AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        cpu.supported = ISA_AVX512;
    unsigned eax, ebx, ecx, edx;
    if (cpu.supported == ISA_AVX512 && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        cpu.avx512_fp16 = edx >> 23 & 1;
        cpu.avx512_vnni = ecx >> 11 & 1;
        const bool tiles = (edx >> 22 & 1) && (edx >> 24 & 1);
        if (eax >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx))
            cpu.avx512_bf16 = eax >> 5 & 1;
        if (tiles && cpu.avx512_bf16 && may_use_tiles())
            cpu.supported = ISA_AMX;
    }
    if (__get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_AMD_ebx && __get_cpuid(1, &eax, &ebx, &ecx, &edx))
        cpu.splits_avx512 = cpu.supported >= ISA_AVX512 && (eax >> 8 & 15) + (eax >> 20 & 255) == 0x19;
}
#else
static void find_brand(void)
{
}
static void find_features(void)
{
}
#endif

static void find_cpu(void)
{
    strcpy(cpu.brand, "unknown");
    find_brand();
    find_features();
    cpu.used = cpu.supported;
    enum isa asked;
    const char *name = getenv("MITRAL_ISA");
    if (name && cpu_isa_from_name(name, &asked) && asked < cpu.supported)
        cpu.used = asked;
    if (cpu.used < ISA_AVX512)
        cpu.avx512_bf16 = cpu.avx512_fp16 = cpu.avx512_vnni = cpu.splits_avx512 = false;
    long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
    cpu.level2_bytes = bytes > 0 ? (size_t)bytes : (size_t)512 << 10;
}

static void find_once(void)
{
    pthread_once(&cpu_once, find_cpu);
}

enum isa cpu_isa(void)
{
    find_once();
    return cpu.used;
}

const char *cpu_isa_unknown(void)
{
    enum isa asked;
    const char *name = getenv("MITRAL_ISA");
    return name && *name && !cpu_isa_from_name(name, &asked) ? name : NULL;
}

enum isa cpu_isa_supported(void)
{
    find_once();
    return cpu.supported;
}

const char *cpu_isa_name(enum isa isa)
{
    return isa_names[isa];
}

bool cpu_isa_from_name(const char *name, enum isa *out)
{
    for (size_t i = 0; i < sizeof isa_names / sizeof *isa_names; i++)
        if (strcmp(name, isa_names[i]) == 0) {
            *out = (enum isa)i;
            return true;
        }
    return false;
}

const char *cpu_brand(void)
{
    find_once();
    return cpu.brand;
}

bool cpu_has_avx512_bf16(void)
{
    find_once();
    return cpu.avx512_bf16;
}

bool cpu_has_avx512_fp16(void)
{
    find_once();
    return cpu.avx512_fp16;
}

bool cpu_has_avx512_vnni(void)
{
    find_once();
    return cpu.avx512_vnni;
}

bool cpu_splits_vectors(int floats)
{
    find_once();
    return floats == 16 && cpu.splits_avx512;
}

size_t cpu_level2_bytes(void)
{
    find_once();
    return cpu.level2_bytes;
}
