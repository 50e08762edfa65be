/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include <asm/prctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "fake_cpu.h"

#define MSR_UNKNOWN UINT32_MAX

struct fake_cpu fake;
struct cpu fake_this_cpu;

int fake_reset(void **state)
{
    (void)state;
    fake = (struct fake_cpu){
        .xsave = true,
        .rdtscp = true,
        .ibpb = true,
        .clears_pointers = true,
        .xsaves = true,
        .tsc_ratio = true,
        .spec_ctrl = true,
        .lfence_bit = true,
        .family = 0x19,
        .last_extended = 0x80000023,
        .components = LEGACY | BIT_OF(AVX) | BIT_OF(OPMASK) | BIT_OF(ZMM_HIGH) | BIT_OF(ZMM_16_31) | BIT_OF(PKRU),
        .xcr0 = 1,
    };
    for (unsigned i = 0; i < FAKE_MSRS; i++)
        fake.msrs[i].msr = MSR_UNKNOWN;
    fake_this_cpu = (struct cpu){.self = &fake_this_cpu, .features = {.ibpb = true}};
    syscall(SYS_arch_prctl, ARCH_SET_GS, &fake_this_cpu);
    return 0;
}

struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    switch (leaf) {
    case 0:
        return (struct cpuid){0x10, 0, 0, 0};
    case 1:
        return (struct cpuid){0xfu << 8 | (fake.family - 0xf) << 20, 0, (uint32_t)fake.xsave << 26, 0};
    case 0xd:
        if (subleaf == 1)
            return (struct cpuid){(uint32_t)fake.xsaves << 3, 0, 0, 0};
        return (struct cpuid){(uint32_t)fake.components, 2696, 2696, (uint32_t)(fake.components >> 32)};
    case 0x80000000:
        return (struct cpuid){fake.last_extended, 0, 0, 0};
    case 0x80000001:
        return (struct cpuid){0, 0, 0, (uint32_t)fake.rdtscp << 27};
    case 0x80000008:
        assert_true(leaf <= fake.last_extended);
        return (struct cpuid){
            0, (uint32_t)fake.clears_pointers << 2 | (uint32_t)fake.ibpb << 12 | (uint32_t)fake.spec_ctrl << 24, 0, 0};
    case 0x8000000a:
        assert_true(leaf <= fake.last_extended);
        return (struct cpuid){0, 0, 0, (uint32_t)fake.tsc_ratio << 4 | (uint32_t)fake.spec_ctrl << 20};
    default:
        fail();
        return (struct cpuid){0, 0, 0, 0};
    }
}

uint64_t *fake_msr(uint32_t msr)
{
    for (unsigned i = 0; i < FAKE_MSRS; i++)
        if (fake.msrs[i].msr == msr)
            return &fake.msrs[i].value;
    return NULL;
}

void fake_set_msr(uint32_t msr, uint64_t value)
{
    uint64_t *known = fake_msr(msr);
    for (unsigned i = 0; known == NULL; i++) {
        assert_true(i < FAKE_MSRS);
        if (fake.msrs[i].msr == MSR_UNKNOWN) {
            fake.msrs[i].msr = msr;
            known = &fake.msrs[i].value;
        }
    }
    *known = value;
}

static bool exists(uint32_t msr)
{
    switch (msr) {
    case MSR_XSS:
        return fake.xsaves;
    case MSR_TSC_AUX:
        return fake.rdtscp;
    case MSR_TSC_RATIO:
        return fake.tsc_ratio;
    case MSR_SPEC_CTRL:
        return fake.spec_ctrl;
    case MSR_PRED_CMD:
        return fake.ibpb;
    case MSR_DE_CFG:
        return fake.family >= 0x10 && fake.family != 0x11;
    default:
        return true;
    }
}

uint64_t rdmsr(uint32_t msr)
{
    fake.accesses++;
    assert_true(exists(msr) && msr != MSR_PRED_CMD);
    return fake_msr(msr) != NULL ? *fake_msr(msr) : 0;
}

void wrmsr(uint32_t msr, uint64_t value)
{
    fake.accesses++;
    assert_true(exists(msr));
    if (msr == MSR_PRED_CMD) {
        assert_int_equal(value, 1);
        fake.ibpbs++;
    } else {
        fake_set_msr(msr, msr == MSR_DE_CFG && !fake.lfence_bit ? value & ~UINT64_C(2) : value);
    }
}

uint64_t xgetbv(void)
{
    fake.accesses++;
    assert_true(fake.xsave);
    return fake.xcr0;
}

void xsetbv(uint64_t value)
{
    fake.accesses++;
    assert_true(fake.xsave && (value & 1) != 0 && (value & ~fake.components) == 0);
    fake.xcr0 = value;
}

/* The area's first numbers are the components'; what is not asked for keeps its place, as in memory. */
static void save(uint8_t *area, uint64_t mask)
{
    uint64_t numbers[COMPONENTS + 1];
    fake.accesses++;
    assert_int_equal((uintptr_t)area % 64, 0);
    memcpy(numbers, area + 64, sizeof(numbers));
    for (unsigned i = 0; i < COMPONENTS; i++)
        if ((mask >> i & 1) != 0)
            numbers[i] = fake.state[i];
    numbers[COMPONENTS] = fake.x87_pointers;
    memcpy(area + 64, numbers, sizeof(numbers));
}

static void restore(const uint8_t *area, uint64_t mask)
{
    uint64_t numbers[COMPONENTS + 1];
    fake.accesses++;
    assert_int_equal((uintptr_t)area % 64, 0);
    memcpy(numbers, area + 64, sizeof(numbers));
    for (unsigned i = 0; i < COMPONENTS; i++)
        if ((mask >> i & 1) != 0)
            fake.state[i] = numbers[i];
    /* APM3 FXRSTOR: without a pending exception, which no guest here has, only newer processors load them. */
    if (fake.clears_pointers)
        fake.x87_pointers = numbers[COMPONENTS];
}

void xsave64(uint8_t *area, uint64_t mask)
{
    assert_true(fake.xsave);
    save(area, mask & fake.xcr0);
}

void xrstor64(const uint8_t *area, uint64_t mask)
{
    assert_true(fake.xsave);
    restore(area, mask & fake.xcr0);
}

void fxsave64(uint8_t *area)
{
    save(area, LEGACY);
}
void fxrstor64(const uint8_t *area)
{
    restore(area, LEGACY);
}

void x87_overwrite_pointers(void)
{
    fake.accesses++;
    fake.pointers_overwritten++;
    fake.x87_pointers = 0;
    fake.state[X87] = 0;
}

void read_dr0_3(uint64_t dr[4])
{
    fake.accesses++;
    memcpy(dr, fake.dr, sizeof(fake.dr));
}

void write_dr0_3(const uint64_t dr[4])
{
    fake.accesses++;
    memcpy(fake.dr, dr, sizeof(fake.dr));
}

void panic(const char *format, ...)
{
    mock_assert(0, format, "panic", 0);
    abort();
}
