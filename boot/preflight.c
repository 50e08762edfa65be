/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * All checks of the platform, done while control can still return to the UEFI firmware. PREFLIGHT_NO_SEV refuses
 * encrypted guests only; hv validates each guest again at its launch.
 */
#include "boot/boot.h"

#include "guest/manifest.h"
#include "hv/lib/runs.h"
#include "hv/lib/string.h"
#include "hv/lib/text.h"
#include "hv/lib/width.h"
#include "hv/lib/x86.h"

#define LEAF_SVM 0x8000000au
#define LEAF_ENCRYPTION 0x8000001fu
#define REMEDY_SVM "BIOS: AMD CBS > CPU Common Options > SVM Lock / SVM Mode = Enabled"
#define POLICY_CHANGE \
    "update the BIOS, name newer SEV firmware as sev-firmware in guests.toml, or lower the version in the policy"

static struct cpuid encryption;         /* leaf 8000_001F; zeros if there is none */
static uint32_t c_bit, reduction;       /* its EBX[5:0] and EBX[11:6] */
static uint32_t host_asids;             /* leaf 8000_000A EBX */
static uint64_t sev_asids;              /* usable by guests without SEV-ES */
static struct runs free_memory;         /* what is left for guests */

static enum preflight_verdict unless(bool fine, enum preflight_verdict otherwise)
{
    return fine ? PREFLIGHT_FINE : otherwise;
}

static void check_processor(void)
{
    struct cpuid vendor = cpuid(0, 0);
    const uint32_t letters[] = {vendor.ebx, vendor.edx, vendor.ecx, 0};
    const char *name = (const char *)letters;
    bool amd = memcmp(name, "AuthenticAMD", 12) == 0;
    table_row(unless(amd, PREFLIGHT_FATAL), "processor", "AuthenticAMD", "%s\nan AMD EPYC processor is needed", name);
    if (!amd)
        return;     /* other leaves and MSRs are AMD's */

    uint32_t highest = cpuid(0x80000000, 0).eax;
    bool offered = highest >= LEAF_SVM && (cpuid(0x80000001, 0).ecx >> 2 & 1) != 0;
    table_row(unless(offered, PREFLIGHT_FATAL), "SVM", "CPUID 8000_0001 ECX[2]", "%s\n" REMEDY_SVM,
              offered ? "yes" : "no");
    if (!offered)
        return;
    handoff.phys_bits = cpuid(0x80000008, 0).eax & 0xff;
    if (highest >= LEAF_ENCRYPTION)
        encryption = cpuid(LEAF_ENCRYPTION, 0);
    c_bit = encryption.ebx & 0x3f;
    reduction = encryption.ebx >> 6 & 0x3f;

    static const char *const states[] = {"enabled", "enabled", "disabled, not locked", "disabled, locked"};
    uint64_t vm_cr = rdmsr(MSR_VM_CR);
    uint32_t state = ((vm_cr & VM_CR_SVMDIS) != 0 ? 2 : 0) + ((vm_cr & VM_CR_LOCK) != 0 ? 1 : 0);
    table_row(unless(state != 3, PREFLIGHT_FATAL), "SVM not locked off", "VM_CR", "%s\n" REMEDY_SVM, states[state]);
    struct cpuid svm = cpuid(LEAF_SVM, 0);
    bool nested = (svm.edx & 1) != 0, five = (read_cr4() & CR4_LA57) != 0;
    host_asids = svm.ebx;
    table_row(unless(nested, PREFLIGHT_FATAL), "nested paging", "CPUID 8000_000A EDX[0]",
              "%s\nthis processor cannot run guests: an AMD EPYC is needed", nested ? "yes" : "no");
    table_row(unless(!five, PREFLIGHT_FATAL), "page tables", "4 levels",
              "%u levels\nBIOS: disable 5-level paging (LA57)", five ? 5u : 4u);
}

static void check_image(void)
{
    const char *fault =
        boot.hv.size == 0 ? "no such section" : image_check(boot.hv.base, boot.hv.size, &boot.hv_header);
    char size[28];
    text_format(size, sizeof(size), "%lu KiB", boot.hv_header.total_size >> 10);
    table_row(unless(fault == NULL, PREFLIGHT_FATAL), "hypervisor", "PE section .hv",
              "%s\nthis EFI file is damaged: build or copy it again", fault != NULL ? fault : size);
}

static void check_manifest(void)
{
    if (boot.manifest.size == 0) {
        table_row(PREFLIGHT_FATAL, "manifest", "PE section .manifest",
                  "none\nthis EFI file has no guests: add them with guest/pack.py");
        return;
    }
    struct manifest_where where;
    enum manifest_error error = manifest_check(boot.manifest.base, boot.manifest.size, &where);
    if (error != MANIFEST_OK) {
        char found[28];
        text_format(found, sizeof(found),
                    where.step >= 0    ? "guest %d, step %d"
                    : where.guest >= 0 ? "guest %d"
                                       : "refused",
                    where.guest, where.step);
        table_row(PREFLIGHT_FATAL, "manifest", "valid", "%s\n%s: %s", found, manifest_error_name(error),
                  manifest_error_text(error));
        return;
    }
    boot.guests = (const void *)boot.manifest.base;
    handoff.manifest_base = (uintptr_t)boot.manifest.base;
    handoff.manifest_size = boot.guests->total_size;
    table_row(PREFLIGHT_FINE, "manifest", "valid", "%u guests, %lu KiB", boot.guests->guest_count,
              boot.guests->total_size >> 10);
}

static void check_clock(void)
{
    const char *source;
    handoff.tsc_hz = clock_measure(&source);
    table_row(unless(handoff.tsc_hz >= 1000000, PREFLIGHT_FATAL), "TSC frequency", source,
              "%lu.%03lu MHz\nneither the ACPI PM timer nor UEFI's Stall() measures it: update the BIOS",
              handoff.tsc_hz / 1000000, handoff.tsc_hz / 1000 % 1000);
    clock_read_wall();
}

/* Sets SYSCFG[23] and clears it again, with interrupts off: while it is set, the address width is reduced, and drivers of
 * the UEFI firmware would fault on devices above it. load_enter() sets it for good. A #GP on the write is not caught: no
 * part that reports SME is known to raise it. */
static bool encryption_settable(uint64_t syscfg)
{
    cli();
    wrmsr(MSR_SYSCFG, syscfg | SYSCFG_MEM_ENCRYPTION_MOD_EN);
    bool settable = (rdmsr(MSR_SYSCFG) & SYSCFG_MEM_ENCRYPTION_MOD_EN) != 0;
    wrmsr(MSR_SYSCFG, syscfg);
    sti();
    return settable;
}

/* Sets handoff.c_bit_mask and handoff.phys_bits as hv will have them. False: nothing more may be done on this machine. */
static bool check_encryption(void)
{
    static const char *const kinds[] = {"neither", "SME only", "SEV only", "both"};
    static const char *const states[] = {"off, cannot be set", "off; Sevisor turns it on", "on"};
    uint32_t offered = encryption.eax & 3;
    table_row(unless(offered == 3, PREFLIGHT_NO_SEV), "SME and SEV", "CPUID 8000_001F",
              "%s\nan EPYC server processor is needed; in a BIOS: SEV Control / SMEE = Enabled", kinds[offered]);
    if ((offered & 1) == 0)
        return true;
    uint64_t syscfg = rdmsr(MSR_SYSCFG);
    /* APM2 15.36.2: only a reset clears it, and writes to pages that the RMP assigns to a guest fault. */
    if ((syscfg & SYSCFG_SNP_EN) != 0) {
        table_row(PREFLIGHT_FATAL, "SEV-SNP", "SYSCFG[24] clear",
                  "on, left by an earlier OS\n"
                  "reset the machine: the RMP that was set up earlier still protects its pages");
        return false;
    }
    bool on = (syscfg & SYSCFG_MEM_ENCRYPTION_MOD_EN) != 0, settable = on || encryption_settable(syscfg);
    table_row(unless(on, settable ? PREFLIGHT_NOTE : PREFLIGHT_NO_SEV), "memory encryption", "SYSCFG[23]",
              "%s\nBIOS: AMD CBS > CPU Common Options > SMEE = Enabled%s", states[settable + on],
              settable ? ", if INIT is answered by HWERROR_PLATFORM (0x13)" : "");
    if (settable) {
        handoff.c_bit_mask = UINT64_C(1) << c_bit;
        handoff.phys_bits -= reduction;
    }
    return true;
}

/* What a guest needs of the platform beside memory and an ASID: hv refuses it else. */
enum need { NEED_C_BIT, NEED_API, NEED_CPUS, NEEDS };

static bool guest_fits(const struct manifest_guest *guest, enum need need)
{
    bool fits = true, sev = guest->encryption == MANIFEST_ENCRYPTION_SEV;
    uint32_t width = (cpuid(0x80000008, 0).eax & 0xff) - reduction;
    if (need == NEED_C_BIT && sev) /* it was packed for this position, and its address width fits below it */
        return guest->cbitpos == c_bit && width_fits(width, guest->reduced_phys_bits, guest->cbitpos, guest->memory);
    if (need == NEED_API && sev)
        return SEV_VERSION(guest->sev_policy >> SEV_POLICY_API_MAJOR_SHIFT & 0xff,
                           guest->sev_policy >> SEV_POLICY_API_MINOR_SHIFT, 0) <= boot.sev_version;
    for (uint32_t i = 0; need == NEED_CPUS && i < guest->vcpus; i++)
        fits &= guest->cpus[i] == MANIFEST_CPU_ANY || guest->cpus[i] < handoff.cpu_count;
    return fits;
}

/* Row of a need that some guests may not have met. Where all have, only the one of the C-bit is shown. */
static void guests_row(enum need need, const char *feature, const char *found, const char *change)
{
    uint32_t unfit = 0;
    const char *first = "";
    for (uint32_t i = boot.guests->guest_count; i-- > 0;) {
        const struct manifest_guest *guest = manifest_guest(boot.guests, i);
        if (!guest_fits(guest, need)) {
            unfit++;
            first = guest->name;
        }
    }
    if (unfit > 0 || need == NEED_C_BIT)
        table_row(unless(unfit == 0, PREFLIGHT_GUESTS), feature, "as each guest says", "%s\n%u guests refused (%s): %s",
                  found, unfit, first, change);
}

static void check_sev(void)
{
    if ((encryption.eax & 2) == 0)
        return;
    char found[28], needed[28], change[64];
    text_format(found, sizeof(found), "%u and %u", c_bit, reduction);
    text_format(change, sizeof(change), "set cbitpos = %u, reduced-phys-bits = %u", c_bit,
                reduction > 0 ? reduction : 1);
    guests_row(NEED_C_BIT, "C-bit, reduction", found, change);

    uint32_t max = encryption.ecx, min = encryption.edx > 0 ? encryption.edx : 1, sev_guests = 0;
    for (uint32_t i = 0; i < boot.guests->guest_count; i++)
        sev_guests += manifest_guest(boot.guests, i)->encryption == MANIFEST_ENCRYPTION_SEV;
    sev_asids = max >= min ? max - min + 1 : 0;
    handoff.max_sev_asid = max;
    handoff.min_sev_asid = min;
    text_format(needed, sizeof(needed), "%u", sev_guests);
    table_row(unless(sev_asids >= sev_guests && sev_asids > 0, sev_asids == 0 ? PREFLIGHT_NO_SEV : PREFLIGHT_NOTE),
              "ASIDs for SEV", needed, "%lu (%u to %u)\nBIOS: lower SEV-ES ASID Space Limit (Minimum SEV non-ES ASID)",
              sev_asids, min, max);

    bool smm_lock = (rdmsr(MSR_HWCR) & HWCR_SMM_LOCK) != 0;
    table_row(unless(smm_lock, PREFLIGHT_NO_SEV), "SMM locked", "HWCR[0] SmmLock",
              "%s\nBIOS: AMD CBS > SMM Lock = Enabled, or update the BIOS", smm_lock ? "yes" : "no");
    secure_processor_check();
    text_format(found, sizeof(found), "%u.%u", boot.sev_version >> 16, boot.sev_version >> 8 & 0xff);
    if (boot.sev_version != 0)
        guests_row(NEED_API, "SEV API of policies", found, POLICY_CHANGE);
}

static void check_cpus(void)
{
    char found[28];
    cpus_find();
    bool startable = handoff.cpu_count == 1 || handoff.startup_base != 0;
    table_row(unless(startable && handoff.cpus_left_out == 0, PREFLIGHT_NOTE), "processors", "1", "%u%s",
              handoff.cpu_count + handoff.cpus_left_out,
              startable ? "\nthe first 1024 are used"
                        : ", one can run\nno memory is free below 1 MiB to start the others from");
    if (!startable)
        handoff.cpu_count = 1;
    text_format(found, sizeof(found), "0 to %u", handoff.cpu_count - 1);
    guests_row(NEED_CPUS, "CPUs of pins", found, "change pins in guests.toml");
}

/* The control guest's window is memory of its own, from where guests' is (hv/control/control.c). */
static uint64_t window_size(const struct manifest_guest *guest)
{
    return (guest->flags & MANIFEST_GUEST_CONTROL) != 0 ? SIZE_2M : 0;
}

/* Allocates hv's memory; the rest is for guests. */
static bool check_memory(bool mapped)
{
    UINTN key;
    bool allocated = mapped && load_allocate();
    /* The allocation has changed the map. */
    if (!mapped || (allocated && !memory_map_read(&key))) {
        table_row(PREFLIGHT_FATAL, "memory map", "from UEFI",
                  "unusable\nGetMemoryMap fails, or has more ranges than this version handles");
        return false;
    }
    uint64_t wanted = 0;
    for (uint32_t i = 0; i < handoff.range_count; i++) {
        const struct handoff_range *r = &handoff.ranges[i];
        if (r->kind == HANDOFF_USABLE)
            runs_give(&free_memory, r->base, r->pages * MANIFEST_PAGE);
    }
    for (uint32_t i = 0; i < boot.guests->guest_count; i++)
        wanted += manifest_guest(boot.guests, i)->memory + window_size(manifest_guest(boot.guests, i));
    char needed[28];
    text_format(needed, sizeof(needed), "%lu + %lu MiB", wanted >> 20, load_arena_size() >> 20);
    table_row(unless(allocated, PREFLIGHT_FATAL), "memory guests + hv", needed,
              "%lu + %lu MiB\nadd RAM, or lower memory in guests.toml", runs_total(&free_memory) >> 20,
              handoff.arena_size >> 20);
    if (boot.memory_withheld > 0)
        table_row(PREFLIGHT_NOTE, "memory left out", "0 MiB",
                  "%lu MiB\nin the HyperTransport range (0xfd00000000 to 0xffffffffff), or beyond the address width",
                  boot.memory_withheld >> 20);
    return allocated;
}

/* Simulates the launches in hv's order. */
static void check_guests(void)
{
    uint32_t can_run = 0, no_memory = 0, refused = 0, count = boot.guests->guest_count;
    uint64_t base, window;
    /* ASID 0 is the host's. */
    uint64_t plain_asids = host_asids <= handoff.max_sev_asid ? 0 : host_asids - 1 - handoff.max_sev_asid;
    for (uint32_t i = 0; i < count; i++) {
        const struct manifest_guest *guest = manifest_guest(boot.guests, i);
        bool sev = guest->encryption == MANIFEST_ENCRYPTION_SEV;
        uint64_t *asids = sev ? &sev_asids : &plain_asids;
        bool possible =
            sev ? handoff.sev_usable != 0 : guest->encryption == MANIFEST_ENCRYPTION_NONE || handoff.c_bit_mask != 0;
        for (enum need need = 0; need < NEEDS; need++)
            possible &= guest_fits(guest, need);
        if (!possible || *asids == 0) {
            refused++;
        } else if (!runs_take(&free_memory, guest->memory, &base)) {
            no_memory++;
        } else if (window_size(guest) > 0 && !runs_take(&free_memory, window_size(guest), &window)) {
            runs_give(&free_memory, base, guest->memory);
            no_memory++;
        } else {
            --*asids;
            can_run++;
        }
    }
    table_row(unless(can_run == count, can_run > 0 ? PREFLIGHT_NOTE : PREFLIGHT_FATAL), "guests", "at least 1",
              "%u of %u can run\n%u do not fit into memory (lower memory in guests.toml), %u fail a row above", can_run,
              count, no_memory, refused);
}

bool preflight_run(void)
{
    text_print("\nSevisor preflight\n        %-20s %-22s %s\n", "feature", "needed", "found");
    check_processor();
    check_image();
    check_manifest();
    if (boot.refused)
        return false;
    check_clock();
    if (!check_encryption())
        return false;
    UINTN key;
    bool mapped = memory_map_read(&key);
    registers_find();
    addresses_check();
    check_sev();
    handoff.sev_usable = handoff.sev_refusal[0] == '\0';
    check_cpus();
    if (check_memory(mapped))
        check_guests();
    console_find();
    console_check_com2();
    power_find();
    /* Of the tables that are used: RSDP, XSDT, MADT, FADT, MCFG, SPCR, DSDT, SSDT. */
    if (boot.acpi_wrong_sums[0] != '\0')
        table_row(PREFLIGHT_NOTE, "ACPI checksums", "right",
                  "%s\nwrong in these tables, which are used all the same; update the BIOS", boot.acpi_wrong_sums);
    return !boot.refused;
}
