/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Are a vCPU's registers its own? Each fills all that it has with patterns, lets others have the CPU (who do the same),
 * and looks again. Where the processor shows a register in two ways, it is looked at in the one that hv does not answer.
 */
#include "crowd.h"

#define MSR_SPEC_CTRL 0x48u
#define MSR_TSC_AUX 0xc0000103u
#define LVT_DEADLINE (UINT64_C(2) << 17 | VECTOR_WAKE)

#define CR4_DE (UINT64_C(1) << 3)
#define CR4_OSFXSR (UINT64_C(1) << 9)
#define CR4_OSXMMEXCPT (UINT64_C(1) << 10)
#define CR4_OSXSAVE (UINT64_C(1) << 18)
#define CR4_PKE (UINT64_C(1) << 22)
#define XCR0_AVX 7u
#define CANONICAL UINT64_C(0x00007fffffffffff)
#define DR6_FIXED UINT64_C(0xffff0ff0)
#define DR6_PATTERN UINT64_C(0xe00f)
#define DR7_FIXED UINT64_C(0x400)
#define DR7_PATTERN UINT64_C(0xffff0300)        /* conditions and lengths; none is enabled */
#define DR7_GD UINT64_C(0x2000)

#define GPRS 15u
#define GPR_COUNTER (GPRS - 1)
#define SPINS 60000u
#define SLEEP_CYCLES 300000u

/* XSAVE area, standard form, of x87, SSE and AVX; FXSAVE's is its first 512 bytes (APM2 11.4.4, 11.5). */
#define AREA_FCW 0
#define AREA_FSW 2
#define AREA_FTW 4
#define AREA_MXCSR 24
#define AREA_ST 32
#define AREA_XMM 160
#define AREA_HEADER 512
#define AREA_YMM 576
#define AREA_END 832

void registers_sleep(uint64_t gprs[GPRS]);
void registers_spin(uint64_t gprs[GPRS]);

enum kind { GENERAL, X87, VECTORS, XCR0, PKRU, DEBUG, MSRS, KINDS };
static const char *const kind_names[KINDS] = {
    "general registers changed", "x87 states changed",  "vector states changed", "XCR0 changed", "PKRU changed",
    "debug registers changed",   "MSRs or CR2 changed",
};

/* These never exit, but for the last three. */
static const struct {
    uint32_t msr;
    uint64_t pattern;
} msrs[] = {
    {0xc0000081, UINT64_MAX}, {0xc0000082, CANONICAL}, {0xc0000083, CANONICAL}, {0xc0000084, UINT32_MAX},
    {0xc0000100, CANONICAL},  {0xc0000101, CANONICAL}, {0xc0000102, CANONICAL}, {0x174, 0xffff},
    {0x175, UINT32_MAX},      {0x176, UINT32_MAX},
};
#define MSRS_COUNT (sizeof(msrs) / sizeof(msrs[0]))

struct registers {
    uint8_t area[AREA_END] __attribute__((aligned(64)));
    uint64_t gprs[GPRS], dr[4], dr6, dr7, cr2, xcr0, msrs[MSRS_COUNT], spec_ctrl;
    uint32_t pkru, tsc_aux;
};

static struct registers written[MEMBERS_MAX], found[MEMBERS_MAX];
static uint64_t changed[MEMBERS_MAX][KINDS];

/* What this processor has for guests; the same for all vCPUs, and written by each. */
static bool has_xsave, has_avx, has_rdtscp, has_pkru, full;
static uint64_t spec_ctrl_bits;

static uint64_t read_xcr0(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void write_xcr0(uint64_t value)
{
    __asm__ volatile("xsetbv" : : "a"((uint32_t)value), "d"(0), "c"(0) : "memory");
}

static void load_area(const uint8_t *area)
{
    if (has_xsave)
        __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(XCR0_AVX), "d"(0) : "memory");
    else
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

static void save_area(uint8_t *area)
{
    if (has_xsave)
        __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(XCR0_AVX), "d"(0) : "memory");
    else
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static uint32_t read_tsc_aux(void)
{
    uint32_t aux;

    __asm__ volatile("rdtscp" : "=c"(aux) : : "rax", "rdx");
    return aux;
}

static uint32_t read_pkru(void)
{
    uint32_t pkru;

    __asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(pkru) : "c"(0) : "rdx");
    return pkru;
}

static void write_pkru(uint32_t pkru)
{
    __asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(pkru), "c"(0), "d"(0));
}

/* ------------------------------------------------------------- once per start */

static void look_at_processor(void)
{
    uint32_t a, b, c, d;

    cpuid(1, &a, &b, &c, &d);
    has_xsave = (c & UINT32_C(1) << 26) != 0;
    has_avx = has_xsave && (c & UINT32_C(1) << 28) != 0;
    full = find_word(command_line, "full") != 0;
    cpuid(0x80000001, &a, &b, &c, &d);
    has_rdtscp = (d & UINT32_C(1) << 27) != 0;
    cpuid(0x80000000, &a, &b, &c, &d);
    if (a < 0x80000008)
        return;
    cpuid(0x80000008, &a, &b, &c, &d);
    spec_ctrl_bits = (b >> 14 & 1) | (b >> 15 & 1) << 1 | (b >> 24 & 1) << 2;   /* IBRS, STIBP, SSBD */
}

static void open_registers(void)
{
    uint64_t cr4;

    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    cr4 |= CR4_DE | CR4_OSFXSR | CR4_OSXMMEXCPT | (has_xsave ? CR4_OSXSAVE : 0);
    /* CPUID does not offer PKRU: refused, where hv can watch CR4 (hv/vm/exit_cr.c). */
    has_pkru = full && crowd_write_cr4(cr4 | CR4_PKE);
    if (!has_pkru)
        crowd_write_cr4(cr4);
}

static void read_debug_addresses(uint64_t dr[4])
{
    __asm__ volatile("mov %%db0, %0; mov %%db1, %1; mov %%db2, %2; mov %%db3, %3"
                     : "=r"(dr[0]), "=r"(dr[1]), "=r"(dr[2]), "=r"(dr[3]));
}

/* ------------------------------------------------------------- patterns */

static void set16(uint8_t *at, uint64_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

/* No exception that is not masked, and none pending. */
static void make_area(unsigned id, uint8_t *area)
{
    for (unsigned i = 0; i < AREA_END; i++)
        area[i] = (uint8_t)(some(id) >> 32);
    for (unsigned i = 0; i < AREA_YMM - AREA_HEADER; i++)
        area[AREA_HEADER + i] = 0;
    area[AREA_HEADER] = has_avx ? 7 : 3;
    set16(area + AREA_FCW, 0x7f | (some(id) & 0xf00));
    set16(area + AREA_FSW, some(id) & 0x7f00);
    set16(area + AREA_FTW, some(id) & 0xff);
    set16(area + AREA_MXCSR, 0x1f80 | (some(id) & 0x603f));
    set16(area + AREA_MXCSR + 2, 0);
}

static void fill(unsigned id, struct registers *r)
{
    make_area(id, r->area);
    for (unsigned i = 0; i < GPRS; i++)
        r->gprs[i] = some(id);
    for (unsigned i = 0; i < 4; i++)
        r->dr[i] = some(id) & CANONICAL;
    r->dr6 = DR6_FIXED | (some(id) & DR6_PATTERN);
    r->dr7 = DR7_FIXED | (some(id) & DR7_PATTERN) | (full && some(id) % 8 == 0 ? DR7_GD : 0);
    r->cr2 = some(id);
    r->xcr0 = has_avx ? (uint64_t)(UINT32_C(0x7731) >> some(id) % 4 * 4 & 7) : 3;
    for (unsigned i = 0; i < MSRS_COUNT; i++)
        r->msrs[i] = some(id) & msrs[i].pattern;
    r->spec_ctrl = some(id) & spec_ctrl_bits;
    r->pkru = (uint32_t)some(id);
    r->tsc_aux = (uint32_t)some(id);
}

static void load(const struct registers *r)
{
    if (has_xsave)
        write_xcr0(has_avx ? XCR0_AVX : 3);
    load_area(r->area);
    if (has_xsave)
        write_xcr0(r->xcr0);
    if (has_pkru)
        write_pkru(r->pkru);
    if (has_rdtscp)
        write_msr(MSR_TSC_AUX, r->tsc_aux);
    if (spec_ctrl_bits != 0)
        write_msr(MSR_SPEC_CTRL, r->spec_ctrl);
    for (unsigned i = 0; i < MSRS_COUNT; i++)
        write_msr(msrs[i].msr, r->msrs[i]);
    __asm__ volatile("mov %0, %%cr2" : : "r"(r->cr2));
    __asm__ volatile("mov %0, %%db0; mov %1, %%db1; mov %2, %%db2; mov %3, %%db3" ::"r"(r->dr[0]), "r"(r->dr[1]),
                     "r"(r->dr[2]), "r"(r->dr[3]));
    __asm__ volatile("mov %0, %%db6; mov %1, %%db7" : : "r"(r->dr6), "r"(r->dr7));   /* GD is the last */
}

/* ------------------------------------------------------------- and again */

static bool differ(const uint8_t *one, const uint8_t *other, unsigned first, unsigned size)
{
    for (unsigned i = first; i < first + size; i++) {
        if (one[i] != other[i])
            return true;
    }
    return false;
}

static bool debug_registers_changed(const struct registers *r, struct registers *f)
{
    uint64_t dr6 = r->dr6;
    bool guarded = (r->dr7 & DR7_GD) != 0;

    if (crowd_read_dr7(&f->dr7) == guarded)         /* DR7.GD: #DB, which clears it, and sets DR6.BD */
        return true;
    if (guarded) {
        dr6 |= DR7_GD;
        crowd_read_dr7(&f->dr7);
    }
    __asm__ volatile("mov %%db6, %0" : "=r"(f->dr6));
    read_debug_addresses(f->dr);
    return f->dr7 != (r->dr7 & ~DR7_GD) || f->dr6 != dr6 ||
           differ((const uint8_t *)f->dr, (const uint8_t *)r->dr, 0, sizeof(r->dr));
}

static bool msrs_changed(const struct registers *r)
{
    uint64_t cr2;

    for (unsigned i = 0; i < MSRS_COUNT; i++) {
        if (read_msr(msrs[i].msr) != r->msrs[i])
            return true;
    }
    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    return cr2 != r->cr2 || (has_rdtscp && (read_tsc_aux() != r->tsc_aux || read_msr(MSR_TSC_AUX) != r->tsc_aux)) ||
           (spec_ctrl_bits != 0 && read_msr(MSR_SPEC_CTRL) != r->spec_ctrl);
}

static void note(unsigned id, enum kind kind, bool is_changed)
{
    changed[id][kind] += is_changed;
    wrong[id] += is_changed;
}

static void compare(unsigned id, const struct registers *r, struct registers *f)
{
    bool x87 = false;

    for (unsigned i = 0; i < GPRS; i++)
        note(id, GENERAL, f->gprs[i] != r->gprs[i]);
    note(id, XCR0, has_xsave && read_xcr0() != r->xcr0);
    if (has_xsave)
        write_xcr0(has_avx ? XCR0_AVX : 3);
    save_area(f->area);
    for (unsigned i = 0; i < 8; i++)
        x87 |= differ(f->area, r->area, AREA_ST + 16 * i, 10);
    note(id, X87, x87 || differ(f->area, r->area, AREA_FCW, 5));
    note(id, VECTORS,
         differ(f->area, r->area, AREA_MXCSR, 4) || differ(f->area, r->area, AREA_XMM, 16 * 16) ||
             (has_avx && differ(f->area, r->area, AREA_YMM, 16 * 16)));
    note(id, PKRU, has_pkru && read_pkru() != r->pkru);
    note(id, DEBUG, debug_registers_changed(r, f));
    note(id, MSRS, msrs_changed(r));
}

static void go_away(unsigned id, const struct registers *r, struct registers *f)
{
    for (unsigned i = 0; i < GPRS; i++)
        f->gprs[i] = r->gprs[i];
    if (some(id) % 4 == 0) {
        f->gprs[GPR_COUNTER] = SPINS;
        registers_spin(f->gprs);
        f->gprs[GPR_COUNTER] += r->gprs[GPR_COUNTER];
        return;
    }
    write_msr(MSR_TSC_DEADLINE, read_tsc() + some(id) % SLEEP_CYCLES);
    registers_sleep(f->gprs);
}

static void keep_registers(unsigned id)
{
    struct registers *r = &written[id], *f = &found[id];

    for (unsigned kind = 0; kind < KINDS; kind++)
        changed[id][kind] = 0;
    read_debug_addresses(f->dr);                    /* INIT clears them */
    note(id, DEBUG, id != 0 && (f->dr[0] | f->dr[1] | f->dr[2] | f->dr[3]) != 0);
    look_at_processor();
    open_registers();
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_DEADLINE);
    for (; more(); done[id]++) {
        fill(id, r);
        load(r);
        go_away(id, r, f);
        compare(id, r, f);
    }
    /* A last pattern stays behind, for who comes next. */
    fill(id, r);
    r->dr7 &= ~DR7_GD;
    load(r);
    if (spec_ctrl_bits != 0)
        write_msr(MSR_SPEC_CTRL, 0);
}

void crowd_registers(void)
{
    uint64_t sums[KINDS] = {0};

    for (unsigned id = 1; id < MEMBERS_MAX; id++) {
        for (unsigned kind = 0; kind < KINDS; kind++)
            changed[id][kind] = 0;
    }
    crowd(keep_registers, "looks at the registers");
    for (unsigned id = 0; id < MEMBERS_MAX; id++) {
        for (unsigned kind = 0; kind < KINDS; kind++)
            sums[kind] += changed[id][kind];
    }
    for (unsigned kind = 0; kind < KINDS; kind++) {
        if (sums[kind] != 0)
            tell(sums[kind], kind_names[kind]);
    }
    tell(has_avx, "with AVX");
    tell(has_pkru, "with PKRU");
    tell(spec_ctrl_bits, "bits of SPEC_CTRL");
}
