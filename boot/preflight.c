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
#define REMEDY_SMEE "BIOS: AMD CBS > CPU Common Options > SMEE = Enabled"
#define POLICY_CHANGE \
    "update the BIOS, name newer SEV firmware as sev-firmware in guests.toml, or lower the version in the policy"
#define REMEDY_LEFT_OUT "in the HyperTransport range (0xfd00000000 to 0xffffffffff), or beyond the address width"

static struct cpuid encryption;         /* leaf 8000_001F; zeros if there is none */
static uint32_t c_bit, reduction;       /* its EBX[5:0] and EBX[11:6] */
static uint32_t host_asids;             /* leaf 8000_000A EBX */
static struct runs free_memory;         /* what is left for guests */

/* `verdict` and `remedy` apply if it is not fine. */
static void row_if(bool fine, enum preflight_verdict verdict, const char *feature, const char *needed,
                   const char *found, const char *remedy)
{
    table_row(fine ? PREFLIGHT_FINE : verdict, feature, needed, found, fine ? "" : remedy);
}

static void check_processor(void)
{
    struct cpuid vendor = cpuid(0, 0);
    const uint32_t letters[] = {vendor.ebx, vendor.edx, vendor.ecx, 0};
    const char *name = (const char *)letters;
    bool amd = memcmp(name, "AuthenticAMD", 12) == 0;
    row_if(amd, PREFLIGHT_FATAL, "processor", "AuthenticAMD", name, "an AMD EPYC processor is needed");
    if (!amd)
        return;     /* other leaves and MSRs are AMD's */

    uint32_t highest = cpuid(0x80000000, 0).eax;
    bool offered = highest >= LEAF_SVM && (cpuid(0x80000001, 0).ecx >> 2 & 1) != 0;
    row_if(offered, PREFLIGHT_FATAL, "SVM", "CPUID 8000_0001 ECX[2]", offered ? "yes" : "no", REMEDY_SVM);
    if (highest >= 0x80000008)
        handoff.phys_bits = cpuid(0x80000008, 0).eax & 0xff;
    if (highest >= LEAF_ENCRYPTION)
        encryption = cpuid(LEAF_ENCRYPTION, 0);
    c_bit = encryption.ebx & 0x3f;
    reduction = encryption.ebx >> 6 & 0x3f;
    if (!offered)
        return;

    uint64_t vm_cr = rdmsr(MSR_VM_CR);
    bool disabled = (vm_cr & VM_CR_SVMDIS) != 0, locked = (vm_cr & VM_CR_LOCK) != 0;
    row_if(!disabled || !locked, PREFLIGHT_FATAL, "SVM not locked off", "VM_CR",
           !disabled ? "enabled"
           : locked  ? "disabled, locked"
                     : "disabled, not locked",
           REMEDY_SVM);
    struct cpuid svm = cpuid(LEAF_SVM, 0);
    host_asids = svm.ebx;
    row_if((svm.edx & 1) != 0, PREFLIGHT_FATAL, "nested paging", "CPUID 8000_000A EDX[0]",
           (svm.edx & 1) != 0 ? "yes" : "no", "this processor cannot run guests: an AMD EPYC is needed");
    bool five = (read_cr4() & CR4_LA57) != 0;
    row_if(!five, PREFLIGHT_FATAL, "page tables", "4 levels", five ? "5 levels" : "4 levels",
           "BIOS: disable 5-level paging (LA57)");
}

static void check_image(void)
{
    char found[28];
    const char *fault =
        boot.hv.size == 0 ? "no such section" : image_check(boot.hv.base, boot.hv.size, &boot.hv_header);
    text_format(found, sizeof found, "%lu KiB", boot.hv_header.total_size >> 10);
    row_if(fault == NULL, PREFLIGHT_FATAL, "hypervisor", "PE section .hv", fault == NULL ? found : fault,
           "this EFI file is damaged: build or copy it again");
}

static void check_manifest(void)
{
    if (boot.manifest.size == 0) {
        table_row(PREFLIGHT_FATAL, "manifest", "PE section .manifest", "none",
                  "this EFI file has no guests: add them with guest/pack.py");
        return;
    }
    struct manifest_where where;
    enum manifest_error error = manifest_check(boot.manifest.base, boot.manifest.size, &where);
    char found[28], remedy[88];
    if (error != MANIFEST_OK) {
        const char *name = manifest_error_name(error), *text = manifest_error_text(error);
        text_format(found, sizeof found,
                    where.step >= 0    ? "guest %d, step %d"
                    : where.guest >= 0 ? "guest %d"
                                       : "refused",
                    where.guest, where.step);
        text_format(remedy, sizeof remedy, "%s: %s", name, text);
        table_row(PREFLIGHT_FATAL, "manifest", "valid", found, remedy);
        return;
    }
    boot.guests = (const void *)boot.manifest.base;
    handoff.manifest_base = (uintptr_t)boot.manifest.base;
    handoff.manifest_size = boot.guests->total_size;
    text_format(found, sizeof found, "%u guests, %lu KiB", boot.guests->guest_count, boot.guests->total_size >> 10);
    table_row(PREFLIGHT_FINE, "manifest", "valid", found, "");
}

static void check_clock(void)
{
    char found[28];
    const char *source;
    handoff.rsdp = acpi_rsdp();
    handoff.tsc_hz = clock_measure(handoff.rsdp, &source);
    text_format(found, sizeof found, "%lu.%03lu MHz", handoff.tsc_hz / 1000000, handoff.tsc_hz / 1000 % 1000);
    row_if(handoff.tsc_hz >= 1000000, PREFLIGHT_FATAL, "TSC frequency", source, found,
           "neither the ACPI PM timer nor UEFI's Stall() measures it: update the BIOS");
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
    bool sme = (encryption.eax & 1) != 0, sev = (encryption.eax & 2) != 0;
    row_if(sme && sev, PREFLIGHT_NO_SEV, "SME and SEV", "CPUID 8000_001F",
           sme   ? sev ? "both" : "SME only"
           : sev ? "SEV only"
                 : "neither",
           "an EPYC server processor is needed; in a BIOS: SEV Control / SMEE = Enabled");
    if (!sme)
        return true;
    uint64_t syscfg = rdmsr(MSR_SYSCFG);
    /* APM2 15.36.2: only a reset clears it, and writes to pages that the RMP assigns to a guest fault. */
    if ((syscfg & SYSCFG_SNP_EN) != 0) {
        table_row(PREFLIGHT_FATAL, "SEV-SNP", "SYSCFG[24] clear", "on, left by an earlier OS",
                  "reset the machine: the RMP that was set up earlier still protects its pages");
        return false;
    }
    bool on = (syscfg & SYSCFG_MEM_ENCRYPTION_MOD_EN) != 0, settable = on || encryption_settable(syscfg);
    table_row(settable ? PREFLIGHT_FINE : PREFLIGHT_NO_SEV, "memory encryption", "SYSCFG[23]",
              on         ? "on"
              : settable ? "off; Sevisor turns it on"
                         : "off, cannot be set",
              on         ? ""
              : settable ? REMEDY_SMEE ", if INIT is answered by HWERROR_PLATFORM (0x13)"
                         : REMEDY_SMEE);
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

/* The number of guests that do not fit, and the remedy of their row; "": all fit. */
static uint32_t guests_unfit(enum need need, const char *change, char remedy[static 200])
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
    text_format(remedy, 200, unfit > 0 ? "%u guests refused (%s): %s" : "", unfit, first, change);
    return unfit;
}

static void check_sev(void)
{
    if ((encryption.eax & 2) == 0)
        return;
    char found[28], needed[28], change[64], remedy[200];
    uint32_t sev_guests = 0;
    for (uint32_t i = 0; i < boot.guests->guest_count; i++)
        sev_guests += manifest_guest(boot.guests, i)->encryption == MANIFEST_ENCRYPTION_SEV;

    text_format(found, sizeof found, "%u and %u", c_bit, reduction);
    text_format(change, sizeof change, "set cbitpos = %u, reduced-phys-bits = %u", c_bit,
                reduction > 0 ? reduction : 1);
    uint32_t unfit = guests_unfit(NEED_C_BIT, change, remedy);
    table_row(unfit > 0 && unfit == sev_guests ? PREFLIGHT_NO_SEV : PREFLIGHT_FINE, "C-bit, reduction",
              "as each guest says", found, remedy);

    uint32_t max = encryption.ecx, min = encryption.edx > 0 ? encryption.edx : 1;
    boot.sev_asids = max >= min ? max - min + 1 : 0;
    handoff.max_sev_asid = max;
    handoff.min_sev_asid = min;
    text_format(needed, sizeof needed, "%u", sev_guests);
    text_format(found, sizeof found, "%lu (%u to %u)", boot.sev_asids, min, max);
    table_row(boot.sev_asids == 0 ? PREFLIGHT_NO_SEV : PREFLIGHT_FINE, "ASIDs for SEV", needed, found,
              boot.sev_asids < (sev_guests > 0 ? sev_guests : 1)
                  ? "BIOS: lower SEV-ES ASID Space Limit (Minimum SEV non-ES ASID)"
                  : "");

    bool smm_lock = (rdmsr(MSR_HWCR) & HWCR_SMM_LOCK) != 0;
    row_if(smm_lock, PREFLIGHT_NO_SEV, "SMM locked", "HWCR[0] SmmLock", smm_lock ? "yes" : "no",
           "BIOS: AMD CBS > SMM Lock = Enabled, or update the BIOS");
    secure_processor_check();
    text_format(found, sizeof found, "%u.%u", boot.sev_version >> 16, boot.sev_version >> 8 & 0xff);
    if (boot.sev_version != 0 && guests_unfit(NEED_API, POLICY_CHANGE, remedy) > 0)
        table_row(PREFLIGHT_GUESTS, "SEV API of policies", "as each policy says", found, remedy);
}

static void check_cpus(void)
{
    char found[28], remedy[200];
    cpus_find(handoff.rsdp);
    bool startable = handoff.cpu_count == 1 || handoff.startup_base != 0;
    text_format(found, sizeof found, startable ? "%u" : "%u, one can run", handoff.cpu_count + handoff.cpus_left_out);
    table_row(PREFLIGHT_FINE, "processors", "1", found,
              !startable                  ? "no memory is free below 1 MiB to start the others from"
              : handoff.cpus_left_out > 0 ? "the first 1024 are used"
                                          : "");
    if (!startable)
        handoff.cpu_count = 1;
    text_format(found, sizeof found, "0 to %u", handoff.cpu_count - 1);
    if (guests_unfit(NEED_CPUS, "change pins in guests.toml", remedy) > 0)
        table_row(PREFLIGHT_GUESTS, "CPUs of pins", "as each guest says", found, remedy);
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
    bool allocated = mapped && !EFI_ERROR(load_allocate());
    /* The allocation has changed the map. */
    if (!mapped || (allocated && !memory_map_read(&key))) {
        table_row(PREFLIGHT_FATAL, "memory map", "from the firmware", "unusable",
                  "GetMemoryMap fails, or has more ranges than this version handles");
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
    char needed[28], found[28];
    text_format(needed, sizeof needed, "%lu + %lu MiB", wanted >> 20, load_arena_size() >> 20);
    text_format(found, sizeof found, "%lu + %lu MiB", runs_total(&free_memory) >> 20, handoff.arena_size >> 20);
    row_if(allocated, PREFLIGHT_FATAL, "memory guests + hv", needed, found, "add RAM, or lower memory in guests.toml");
    text_format(found, sizeof found, "%lu MiB", boot.memory_withheld >> 20);
    if (boot.memory_withheld > 0)
        table_row(PREFLIGHT_FINE, "memory left out", "0 MiB", found, REMEDY_LEFT_OUT);
    return allocated;
}

/* Simulates the launches in hv's order. */
static void check_guests(void)
{
    uint32_t can_run = 0, no_memory = 0, refused = 0;
    uint64_t sev_asids = boot.sev_asids, base, window;
    uint64_t plain_asids =
        host_asids <= handoff.max_sev_asid ? 0 : host_asids - 1 - handoff.max_sev_asid; /* 0: the host's */
    for (uint32_t i = 0; i < boot.guests->guest_count; i++) {
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
    char found[28], remedy[88] = "";
    text_format(found, sizeof found, "%u of %u can run", can_run, boot.guests->guest_count);
    if (refused + no_memory > 0)
        text_format(remedy, sizeof remedy,
                    "%u do not fit into memory (lower memory in guests.toml), %u fail a row above", no_memory, refused);
    table_row(can_run > 0 ? PREFLIGHT_FINE : PREFLIGHT_FATAL, "guests", "at least 1", found, remedy);
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
    registers_find(handoff.rsdp);
    addresses_check();
    check_sev();
    handoff.sev_usable = handoff.sev_refusal[0] == '\0';
    check_cpus();
    if (check_memory(mapped))
        check_guests();
    console_find(handoff.rsdp);
    console_check_com2();
    power_find(handoff.rsdp);
    if (boot.acpi_wrong_sums[0] !=
        '\0') /* of the tables that are used: RSDP, XSDT, MADT, FADT, MCFG, SPCR, DSDT, SSDT */
        table_row(PREFLIGHT_FINE, "ACPI checksums", "right", boot.acpi_wrong_sums,
                  "wrong in these tables, which are used all the same; update the BIOS");
    return !boot.refused;
}
