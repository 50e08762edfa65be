/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Machine check banks: APM2 9.3; with ScalableMca each has 16 registers of its own (PPR of family 19h, 3.1). */
#include "hv/cpu/mca.h"

#include "hv/cpu/clock.h"
#include "hv/lib/text.h"
#include "hv/lib/x86.h"

#define MSR_MCG_CAP 0x179u
#define MSR_MCG_STATUS 0x17au
#define MSR_MCG_CTL 0x17bu
#define MSR_MC0_CTL 0x400u              /* and STATUS, ADDR, MISC; the next bank follows */
#define MSR_SMCA_MC0_CTL 0xc0002000u
#define LEGACY_BANKS 32u                /* beyond, other MSRs follow */

#define MCG_CAP_COUNT 0xffu
#define MCG_CAP_CTL_P (UINT64_C(1) << 8)
#define MCG_STATUS_RIPV (UINT64_C(1) << 0)

#define STATUS_VAL (UINT64_C(1) << 63)
#define STATUS_OVER (UINT64_C(1) << 62)
#define STATUS_UC (UINT64_C(1) << 61)
#define STATUS_EN (UINT64_C(1) << 60)
#define STATUS_MISCV (UINT64_C(1) << 59)
#define STATUS_ADDRV (UINT64_C(1) << 58)
#define STATUS_PCC (UINT64_C(1) << 57)
#define STATUS_TCC (UINT64_C(1) << 55)
#define STATUS_SYNDV (UINT64_C(1) << 53)
#define STATUS_DEFERRED (UINT64_C(1) << 44)
#define STATUS_POISON (UINT64_C(1) << 43)
/* Without it uncorrectable errors stop the machine, contained or not. */
#define CONFIG_MCAX_EN (UINT64_C(1) << 32)

#define ADDRESS_BITS UINT64_C(0x000fffffffffffff)
#define IPID_HWID 0xfffu                /* bits 43:32 */
#define HWID_UMC 0x096u

#define LOOK_US 5000000u                /* so often */
/* clang-format off */
enum mca_register { MCA_CTL, MCA_STATUS, MCA_ADDR, MCA_MISC, MCA_CONFIG, MCA_IPID, MCA_SYND, MCA_DESTAT = 8, MCA_DEADDR };

/* Bits 63:32 of MCA_IPID: McaType, HwId (PPR; the names are Linux's). */
static const struct {
    uint32_t type;
    const char *name;
} smca_names[] = {
    {0x000000b0, "load-store unit"}, {0x001000b0, "load-store unit"}, {0x000100b0, "instruction fetch unit"},
    {0x000200b0, "L2 cache"}, {0x000300b0, "decode unit"}, {0x000500b0, "execution unit"},
    {0x000600b0, "floating point unit"}, {0x000700b0, "L3 cache"}, {0x0000002e, "coherent slave"},
    {0x0001002e, "power, interrupts, etc."}, {0x0002002e, "coherent slave"}, {0x00000096, "memory controller"},
    {0x00010096, "memory controller"}, {0x00000005, "parameter block"}, {0x000000ff, "secure processor"},
    {0x000100ff, "secure processor"}, {0x00000001, "system management unit"}, {0x00010001, "system management unit"},
    {0x00020001, "microprocessor 5"}, {0x00000018, "northbridge I/O"}, {0x00000046, "PCI Express"},
    {0x00010046, "PCI Express"}, {0x00000050, "xGMI link"}, {0x00000259, "xGMI PHY"}, {0x00000267, "WAFL PHY"},
};
/* clang-format on */

static const struct {
    uint64_t bit;
    const char *name;
} status_names[] = {
    {STATUS_OVER, "OVER"},     {STATUS_UC, "UC"},   {STATUS_EN, "EN"},
    {STATUS_PCC, "PCC"},       {STATUS_TCC, "TCC"}, {STATUS_DEFERRED, "deferred"},
    {STATUS_POISON, "poison"},
};

/* The same on all CPUs, or smp.c leaves the CPU out; set by the boot CPU before others start. */
static bool scalable, overflow_recoverable;

static uint32_t bank_count(void)
{
    uint32_t edx = cpuid(1, 0).edx;
    if ((edx >> 7 & 1) == 0 || (edx >> 14 & 1) == 0)        /* MCE, MCA */
        return 0;
    uint32_t count = (uint32_t)(rdmsr(MSR_MCG_CAP) & MCG_CAP_COUNT);
    return scalable || count <= LEGACY_BANKS ? count : LEGACY_BANKS;
}

static uint32_t msr_of(uint32_t bank, enum mca_register reg)
{
    return scalable ? MSR_SMCA_MC0_CTL + bank * 16 + reg : MSR_MC0_CTL + bank * 4 + reg;
}

static uint64_t read(uint32_t bank, enum mca_register reg)
{
    return rdmsr(msr_of(bank, reg));
}

/* ---- words ---- */

/* APM2 9.3.2.4 */
static const char *code_name(uint32_t code)
{
    if ((code & 0xfff0) == 0x0010)
        return "TLB";
    if ((code & 0xff00) == 0x0100)
        return "memory hierarchy";
    if ((code & 0xf800) == 0x0800)
        return "bus or interconnect";
    return (code & 0xfcff) == 0x0400 ? "internal" : "other";
}

static const char *severity(uint64_t status)
{
    if ((status & STATUS_PCC) != 0)
        return "uncorrected error, processor context corrupt";
    if ((status & STATUS_UC) != 0)
        return (status & STATUS_TCC) != 0 ? "uncorrected error, task context corrupt" : "uncorrected error";
    return (status & STATUS_DEFERRED) != 0 ? "deferred error" : "corrected error";
}

static const char *unit_name(uint64_t ipid)
{
    for (size_t i = 0; i < sizeof(smca_names) / sizeof(*smca_names); i++)
        if (smca_names[i].type == ipid >> 32)
            return smca_names[i].name;
    return NULL;
}

void mca_describe(const struct mca_error *e, char *text, size_t size)
{
    const char *unit = e->ipid != 0 ? unit_name(e->ipid) : NULL;
    size_t n = text_format(text, size, "%s in bank %u%s%s (%s), status 0x%016lx:", severity(e->status), e->bank,
                           unit != NULL ? ", " : "", unit != NULL ? unit : "", code_name((uint32_t)e->status & 0xffff),
                           e->status);
    for (size_t i = 0; i < sizeof(status_names) / sizeof(*status_names); i++)
        if ((e->status & status_names[i].bit) != 0 && n < size)
            n += text_format(text + n, size - n, " %s", status_names[i].name);
    if ((e->status & STATUS_ADDRV) != 0 && n < size)
        n += text_format(text + n, size - n, ", address 0x%lx", e->address);
    if ((e->status & STATUS_MISCV) != 0 && n < size)
        n += text_format(text + n, size - n, ", misc 0x%lx", e->misc);
    if (e->ipid != 0 && n < size)
        n += text_format(text + n, size - n, ", IPID 0x%lx", e->ipid);
    if (e->syndrome != 0 && n < size)
        text_format(text + n, size - n, ", syndrome 0x%lx", e->syndrome);
}

/* Memory controllers have addresses of their own, which are not the machine's (PPR, UMC::MCA_ADDR: "normalized"). */
bool mca_address(const struct mca_error *e, uint64_t *address)
{
    *address = e->address & ADDRESS_BITS;
    return (e->status & STATUS_UC) != 0 && (e->status & STATUS_ADDRV) != 0 && (e->ipid >> 32 & IPID_HWID) != HWID_UMC;
}

/* ---- banks ---- */

static void add(struct mca_errors *found, const struct mca_error *error)
{
    uint64_t status = error->status;
    bool lost = (status & STATUS_OVER) != 0 && !overflow_recoverable; /* a second error was lost, of unknown severity */
    if ((status & STATUS_PCC) != 0 || ((status & STATUS_UC) != 0 && lost))
        found->context_corrupt = true;
    if ((status & STATUS_UC) != 0 && (status & STATUS_TCC) != 0)
        found->task_corrupt = true;
    struct mca_error left_out, *place = &left_out;
    if (found->count < MCA_ERRORS)
        place = &found->errors[found->count++];
    else
        found->left_out++;
    *place = *error;
    if ((status & STATUS_UC) != 0 && (found->errors[0].status & STATUS_UC) == 0) {
        *place = found->errors[0];
        found->errors[0] = *error;
    }
}

static void read_bank(uint32_t bank, struct mca_errors *found)
{
    struct mca_error error = {.bank = bank, .status = read(bank, MCA_STATUS)};
    bool deferred = (error.status & (STATUS_VAL | STATUS_DEFERRED)) == (STATUS_VAL | STATUS_DEFERRED);
    if ((error.status & STATUS_VAL) != 0) {
        error.ipid = scalable ? read(bank, MCA_IPID) : 0;
        if ((error.status & STATUS_ADDRV) != 0)
            error.address = read(bank, MCA_ADDR);
        if ((error.status & STATUS_MISCV) != 0)
            error.misc = read(bank, MCA_MISC);
        if (scalable && (error.status & STATUS_SYNDV) != 0)
            error.syndrome = read(bank, MCA_SYND);
        add(found, &error);
        wrmsr(msr_of(bank, MCA_STATUS), 0);
    }
    if (!scalable)
        return;
    /* A deferred error is here, too; and it alone, when a worse one took STATUS. */
    error = (struct mca_error){.bank = bank, .status = read(bank, MCA_DESTAT)};
    if ((error.status & STATUS_VAL) == 0)
        return;
    error.ipid = read(bank, MCA_IPID);
    error.address = (error.status & STATUS_ADDRV) != 0 ? read(bank, MCA_DEADDR) : 0;
    error.status &= ~(STATUS_MISCV | STATUS_SYNDV);
    if (!deferred)
        add(found, &error);
    wrmsr(msr_of(bank, MCA_DESTAT), 0);
}

void mca_collect(struct mca_errors *found)
{
    uint32_t banks = bank_count();
    *found = (struct mca_errors){.mcg_status = banks != 0 ? rdmsr(MSR_MCG_STATUS) : 0};
    for (uint32_t bank = 0; bank < banks; bank++)
        read_bank(bank, found);
    if ((found->mcg_status & MCG_STATUS_RIPV) == 0)
        found->task_corrupt = true;
}

void mca_done(void)
{
    if (bank_count() != 0)
        wrmsr(MSR_MCG_STATUS, 0);
}

void mca_init(struct cpu *cpu, struct mca_errors *before)
{
    if (cpu->index == 0 && cpuid(0x80000000, 0).eax >= 0x80000007) {
        uint32_t ebx = cpuid(0x80000007, 0).ebx;
        overflow_recoverable = (ebx & 1) != 0;
        scalable = (ebx >> 3 & 1) != 0;
    }
    uint32_t banks = bank_count();
    cpu->mca_due_tsc = UINT64_MAX;
    mca_collect(before);
    if (banks == 0)
        return;
    for (uint32_t bank = 0; bank < banks; bank++) {
        if (scalable)
            wrmsr(msr_of(bank, MCA_CONFIG), read(bank, MCA_CONFIG) | CONFIG_MCAX_EN);
        wrmsr(msr_of(bank, MCA_STATUS), 0);
        wrmsr(msr_of(bank, MCA_CTL), UINT64_MAX);
    }
    if ((rdmsr(MSR_MCG_CAP) & MCG_CAP_CTL_P) != 0)
        wrmsr(MSR_MCG_CTL, UINT64_MAX);
    wrmsr(MSR_MCG_STATUS, 0);
    cpu->mca_due_tsc = clock_tsc() + clock_us_to_tsc(LOOK_US);
}

void mca_look(struct cpu *cpu, uint64_t now, struct mca_errors *found)
{
    mca_collect(found);
    cpu->mca_due_tsc = now + clock_us_to_tsc(LOOK_US);
}
