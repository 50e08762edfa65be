/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Each row of the preflight: what it finds, says, and decides; and that a refusal leaves the machine as it was. */
#include "machine.h"

#include "hv/lib/text.h"

static const char good_table[] =
    "\r\nSevisor preflight\r\n"
    "        feature              needed                 found\r\n"
    " ok     processor            AuthenticAMD           AuthenticAMD\r\n"
    " ok     SVM                  CPUID 8000_0001 ECX[2] yes\r\n"
    " ok     SVM not locked off   VM_CR                  enabled\r\n"
    " ok     nested paging        CPUID 8000_000A EDX[0] yes\r\n"
    " ok     page tables          4 levels               4 levels\r\n"
    " ok     hypervisor           PE section .hv         32 KiB\r\n"
    " ok     manifest             valid                  3 guests, 36 KiB\r\n"
    " ok     TSC frequency        ACPI PM timer          2399.997 MHz\r\n"
    " ok     SME and SEV          CPUID 8000_001F        both\r\n"
    " ok     memory encryption    SYSCFG[23]             on\r\n"
    " ok     PCI addresses        below 2^43             all\r\n"
    " ok     C-bit, reduction     as each guest says     51 and 5\r\n"
    " ok     ASIDs for SEV        1                      10 (6 to 15)\r\n"
    " ok     SMM locked           HWCR[0] SmmLock        yes\r\n"
    " ok     Secure Processor     PCI function with SEV  1022:1486 at 41:00.1\r\n"
    " ok     SEV firmware         PLATFORM_STATUS        API 1.55.21, UNINIT\r\n"
    " ok     processors           1                      1\r\n"
    " ok     memory guests + hv   48 + 18 MiB            236 + 18 MiB\r\n"
    " ok     guests               at least 1             3 of 3 can run\r\n"
    " ok     console              a 16550 UART           port 0x3f8 (probed), 115200 (default)\r\n"
    "\r\n";

static void a_good_machine_has_this_table(void **state)
{
    (void)state;
    assert_int_equal(machine_boot(), ENTERED);
    assert_string_equal(machine.console, good_table);
    /* A PCI address has all its parts. */
    assert_string_equal(machine_row("Secure Processor")->found, "1022:1486 at 41:00.1");
}

static void a_row_has_its_mark_and_a_remedy_if_there_is_one(void **state)
{
    (void)state;
    machine_attach();
    for (enum preflight_verdict v = PREFLIGHT_FINE; v <= PREFLIGHT_FATAL; v++)
        table_row(v, "f", "n", "%s\n%s", "x", "r");
    table_row(PREFLIGHT_NO_SEV, "f", "n", "%u", 7);
    assert_int_equal(boot.row_count, 6);
    assert_string_equal(machine.console, " ok     f                    n                      x\r\n"
                                         " note   f                    n                      x\r\n        -> r\r\n"
                                         " note   f                    n                      x\r\n        -> r\r\n"
                                         " no SEV f                    n                      x\r\n        -> r\r\n"
                                         " STOP   f                    n                      x\r\n        -> r\r\n"
                                         " no SEV f                    n                      7\r\n");
}

static struct manifest_guest *guest(unsigned i)
{
    return &machine_manifest()->guests[i];
}

static void seal(void)
{
    good_seal(machine_manifest());
}

/* alpha, which is the SEV guest of the three, as it must not be. */
static void alpha_for(unsigned cbitpos, unsigned reduced)
{
    guest(0)->cbitpos = (uint8_t)cbitpos;
    guest(0)->reduced_phys_bits = (uint8_t)reduced;
    seal();
}

static void c_bit_at(unsigned position, unsigned reduction)
{
    machine_leaf(0x8000001f)->regs.ebx = reduction << 6 | position;
}

/* beta becomes encrypted, too, packed for this machine. */
static void beta_is_sev(void)
{
    guest(1)->encryption = MANIFEST_ENCRYPTION_SEV;
    guest(1)->cbitpos = 51;
    guest(1)->reduced_phys_bits = 5;
    memset(guest(1)->launch_digest, 1, sizeof(guest(1)->launch_digest));
    seal();
}

/* 226 MiB are left in one piece, and 4 in another, which are beta's. */
static void gamma_takes(unsigned mib)
{
    machine_descriptor(EfiReservedMemoryType, RAM_BASE, 8 * MIB / 4096, EFI_MEMORY_WB);
    guest(1)->memory = 4 * MIB;
    guest(2)->memory = mib * MIB;
    seal();
}

static void the_control_guests_window_is_memory_that_is_needed(void **state)
{
    (void)state;
    guest(1)->flags |= MANIFEST_GUEST_CONTROL;
    seal();
    assert_int_equal(machine_boot(), ENTERED);
    assert_string_equal(machine_row("memory guests + hv")->needed, "50 + 18 MiB");
}

/* Its policy asks for this version of the SEV API. */
static void alpha_wants(unsigned major, unsigned minor)
{
    guest(0)->sev_policy = 1 | major << 16 | minor << 24;
    seal();
}

static void pin(unsigned i, unsigned vcpu, uint16_t cpu)
{
    guest(i)->vcpus = vcpu + 1 > guest(i)->vcpus ? vcpu + 1 : guest(i)->vcpus;
    guest(i)->cpus[vcpu] = cpu;
    seal();
}

static void vendor(const char *name)
{
    struct cpuid *r = &machine_leaf(0)->regs;
    memcpy(&r->ebx, name, 4);
    memcpy(&r->edx, name + 4, 4);
    memcpy(&r->ecx, name + 8, 4);
}

static void no_section(const char *name)
{
    uint8_t *image = (uint8_t *)(uintptr_t)IMAGE_BASE;
    for (unsigned i = 0; i < 0x200; i++)
        if (memcmp(image + i, name, strlen(name) + 1) == 0)
            image[i] = '_';
}

static void psp_bar_at(uint64_t bar)
{
    machine.pci[0].config[6] = (uint32_t)bar | 4;
    machine.pci[0].config[7] = (uint32_t)(bar >> 32);
}

static uint32_t *psp_feature(void)
{
    return (uint32_t *)(uintptr_t)(PSP_BAR + 0x10900 + 4 * 63);
}

static uint32_t *psp_command(void)
{
    return (uint32_t *)(uintptr_t)(PSP_BAR + 0x10900 + 4 * 32);
}

/* INIT, which nobody works on. */
static void old_firmware(uint8_t build)
{
    memcpy(machine.psp.answer, (const uint8_t[]){0, 17, 0, 0, 0, 0, 0, build}, 8);
}

static void offer_firmware(uint8_t major, uint8_t minor, uint8_t build)
{
    struct manifest_header *header = &machine_manifest()->header;
    header->sev_firmware_size = 4096;
    memcpy(header->sev_firmware_version, (const uint8_t[]){build, minor, major}, 3);
    seal();
}

static void leave_command(void)
{
    *psp_command() = 1 << 16;
    machine.psp.left_over = true;
}

/* Its 64-bit register `bar`; bit 3 (prefetchable) does not matter. */
static struct function *bar_of(uint16_t bdf, uint32_t header, unsigned bar, uint64_t address)
{
    struct function *f = machine_pci(bdf, 0x12341022, header, 6);
    f->config[4 + bar] = (uint32_t)address | 4 | 8;
    f->config[5 + bar] = (uint32_t)(address >> 32);
    return f;
}

static void bars_of_all_kinds(void)
{
    struct function *f = bar_of(0x500, 0, 1, UINT64_C(1) << 44);    /* the second of them, and the last two */
    f->config[4] = 0xfffffff0;                                      /* of 32 bits */
    f->config[7] = 0xfffffff1;                                      /* ports */
    f->config[8] = 0xc;
    f->config[9] = 0x00ffffff;
    f = bar_of(0x600, 1, 0, UINT64_C(1) << 45);                     /* a bridge's: two registers, then bus numbers */
    f->config[6] = 0x4;
    f->config[7] = 0xffffffff;
    bar_of(0x700, 0x80, 0, UINT64_C(1) << 43);
    bar_of(0x703, 0, 4, UINT64_C(0xfffffffffff) << 20);
    bar_of(0x501, 0, 0, UINT64_C(1) << 44);                         /* an echo: there is no other function */
}

/* Segment 1 from bus 0 on, segment 2 from bus 40 on. */
static void two_segments(bool mapped)
{
    machine_mcfg(ECAM, 1, 0, 1);
    machine_mcfg(ECAM + 2 * MIB - 0x40 * MIB, 2, 0x40, 0x41);
    machine_maps(ECAM, (mapped ? 4 : 3) * MIB);
}

static void bar_in_ecam(uint32_t number, uint64_t address)
{
    uint32_t *f = machine_ecam(number, 0x12341022, 0x80, 6);
    f[4] = (uint32_t)address | 4 | 8;
    f[5] = (uint32_t)(address >> 32);
}

static void bars_in_segments(bool mapped)
{
    two_segments(mapped);
    bar_of(0x500, 0, 0, UINT64_C(1) << 43);
    bar_in_ecam(0x008, UINT64_C(1) << 44);
    bar_in_ecam(0x100, (UINT64_C(1) << 43) - MIB);
    bar_in_ecam(0x200, UINT64_C(1) << 43);
    bar_in_ecam(0x3f8, UINT64_C(1) << 45);
}

/* As it is at 41:00.1, and nothing there. */
static uint32_t *psp_in_segment(uint32_t number)
{
    uint32_t *f = machine_ecam(number & ~7u, 0x14841022, 0x80, 7);
    f = machine_ecam(number, machine.pci[0].config[0], 0, 0x0400);
    memcpy(f + 6, &machine.pci[0].config[6], 8);
    machine.pci[0].config[0] = 0x14801022;
    machine.ecam_psp = (uintptr_t)f;
    return f;
}

/* PCIe 4.0, 9.3.3: SR-IOV, the second of its extended capabilities, whose registers 0 and 4 are of 64 bits. */
static void vfs_in_ecam(uint32_t number, uint64_t first, uint64_t last)
{
    uint32_t *f = machine_ecam(number, 0x12341022, 0x80, 6);
    memset((uint8_t *)f + 256, 0, 4096 - 256);
    machine.vf_bars = (uintptr_t)f + 0x174;
    f[0x100 / 4] = 0x0001 | 1 << 16 | 0x150u << 20;
    f[0x150 / 4] = 0x0010 | 1 << 16;
    memcpy(f + 0x174 / 4,
           (uint32_t[]){(uint32_t)first | 0xc, (uint32_t)(first >> 32), 0xfffffff0, 0xfffffff0, (uint32_t)last | 4,
                        (uint32_t)(last >> 32), 0xc, 0xffffffff},
           32);     /* the last two are another's */
}

/* So many of them, each with `size` bytes at the second register. */
static void number_of_vfs(uint32_t number, uint32_t count, uint64_t size)
{
    uint8_t *f = (uint8_t *)(uintptr_t)(ECAM + number * UINT64_C(4096));
    memcpy(f + 0x150 + 0x0c, (uint32_t[]){count << 16 | 77}, 4);        /* TotalVFs; InitialVFs */
    machine.vf_size = size;
}

/* They end at `end`, from which none is away further than its size. */
static void vfs_that_end_at(uint64_t end, uint32_t count, uint64_t size)
{
    two_segments(true);
    vfs_in_ecam(0x008, size, end - count * size);
    number_of_vfs(0x008, count, size);
}

/* By the UEFI firmware; their status bit is one that a write of a one would clear. */
static void vfs_in_use(uint64_t end, uint32_t control)
{
    vfs_that_end_at(end, 8, MIB);
    ((uint32_t *)(uintptr_t)(ECAM + 0x8000))[0x158 / 4] = 1 << 16 | control;
}

/* Of segment 0, and nothing else. */
static void only_mcfg(uint64_t base, uint8_t first, uint8_t last)
{
    acpi_build(2, true, true);
    machine_madt(1, (const uint8_t[]){0});
    machine_mcfg(base, 0, first, last);
}

/* Segment 0 is reached by ports, but for what only memory has. */
static void vfs_in_segment_0(uint32_t id)
{
    only_mcfg(ECAM, 1, 3);
    machine_maps(ECAM, 4 * MIB);
    machine_pci(0x100, id, 0x80, 6);
    vfs_in_ecam(0x100, UINT64_C(1) << 43, UINT64_C(1) << 44);
}

/* In which entry it comes does not matter. */
static void segment_0_in_two_pieces(bool in_first)
{
    vfs_in_segment_0(0x12341022);
    only_mcfg(in_first ? ECAM : ECAM_0, in_first ? 0 : 2, in_first ? 1 : 255);
    machine_mcfg(in_first ? ECAM_0 : ECAM, 0, in_first ? 2 : 0, in_first ? 255 : 1);
    memset((void *)(uintptr_t)ECAM, 0, MIB);
    memcpy((void *)(uintptr_t)ECAM, machine.pci[2].config, 256);        /* 00:00.0 */
}

static void capabilities_in_a_circle(void)
{
    two_segments(true);
    vfs_in_ecam(0x008, UINT64_C(1) << 43, 0);
    ((uint32_t *)(uintptr_t)(ECAM + 0x8000))[0x150 / 4] |= 0x100u << 20;
}

static void bridge_with_its_id(uint32_t number)
{
    psp_in_segment(number)[3] = 0x00010000;
}

static void three_cpus(uint8_t last)
{
    acpi_build(2, true, true);
    machine_madt(3, (const uint8_t[]){0, 2, last});
}

#define SVM_BIOS "BIOS: AMD CBS > CPU Common Options > SVM Lock / SVM Mode = Enabled"
#define BUILD_AGAIN "this EFI file is damaged: build or copy it again"
#define SME_BIOS "an EPYC server processor is needed; in a BIOS: SEV Control / SMEE = Enabled"
#define ES_BIOS "BIOS: lower SEV-ES ASID Space Limit (Minimum SEV non-ES ASID)"
#define PSP_BIOS "BIOS: enable the AMD Secure Processor (PSP); update the BIOS"
#define LEFT_OUT "in the HyperTransport range (0xfd00000000 to 0xffffffffff), or beyond the address width"
#define OFF_AND_ON "Switch the machine off and on; if it stays, update the BIOS"
#define LEFT(guests) "in use by an earlier OS, with " #guests " guests: Sevisor sends SHUTDOWN, which ends them"
#define LEAKS "CVE-2019-9836: up to 0.17 build 11 it discloses its private PDH key: "
#define NAME_NEWER "update the BIOS, or name a newer file as sev-firmware in guests.toml"
#define BEYOND(of)                                                                        \
    of "out of reach once memory encryption is on; only the Secure Processor's matters. " \
       "BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit"
#define NOT_MAPPED(from) \
    "from " from "on: the UEFI firmware does not map it: no BAR is checked there, and no Secure Processor looked for"
#define BY_PORTS(from)                                                                              \
    "from " from " on: not by the MCFG, or not mapped by UEFI: BARs of virtual functions (SR-IOV) " \
    "are not checked there. Update the BIOS"
#define NEWER                                                                                                      \
    "1 guests refused (alpha): update the BIOS, name newer SEV firmware as sev-firmware in guests.toml, or lower " \
    "the version in the policy"
#define PINS(guests, name) #guests " guests refused (" name "): change pins in guests.toml"

#define WANT(memory, reasons) \
    #memory " do not fit into memory (lower memory in guests.toml), " #reasons " fail a row above"

/* name, row, its verdict, what it found, its remedy; what makes it so */
#define CASES(X)                                                                                                          \
    X(intel, "processor", PREFLIGHT_FATAL, "GenuineIntel", "an AMD EPYC processor is needed", vendor("GenuineIntel"))     \
    X(amd_in_part, "processor", PREFLIGHT_FATAL, "AuthenticAMd", "an AMD EPYC processor is needed",                       \
      vendor("AuthenticAMd"))                                                                                             \
    X(svm_beyond_last_leaf, "SVM", PREFLIGHT_FATAL, "no", SVM_BIOS, machine_leaf(0x80000000)->regs.eax = 0x80000009)      \
    X(no_svm, "SVM", PREFLIGHT_FATAL, "no", SVM_BIOS, machine_leaf(0x80000001)->regs.ecx = ~4u)                           \
    X(svm_off_locked, "SVM not locked off", PREFLIGHT_FATAL, "disabled, locked", SVM_BIOS,                                \
      machine.vm_cr = VM_CR_SVMDIS | VM_CR_LOCK)                                                                          \
    X(svm_off_not_locked, "SVM not locked off", PREFLIGHT_FINE, "disabled, not locked", "",                               \
      machine.vm_cr = VM_CR_SVMDIS)                                                                                       \
    X(svm_on_locked, "SVM not locked off", PREFLIGHT_FINE, "enabled", "", machine.vm_cr = VM_CR_LOCK)                     \
    X(no_npt, "nested paging", PREFLIGHT_FATAL, "no", "this processor cannot run guests: an AMD EPYC is needed",          \
      machine_leaf(0x8000000a)->regs.edx = ~1u)                                                                           \
    X(five_levels, "page tables", PREFLIGHT_FATAL, "5 levels", "BIOS: disable 5-level paging (LA57)",                     \
      machine.cr4 |= CR4_LA57)                                                                                            \
    X(no_hv, "hypervisor", PREFLIGHT_FATAL, "no such section", BUILD_AGAIN, no_section(".hv"))                            \
    X(bad_hv, "hypervisor", PREFLIGHT_FATAL, "no hv image", BUILD_AGAIN, machine_hv()->magic++)                           \
    X(damaged_hv, "hypervisor", PREFLIGHT_FATAL, "damaged: wrong checksum", BUILD_AGAIN,                                  \
      ((uint8_t *)machine_hv())[HV_RODATA * 4096 + 7] ^= 4)                                                               \
    X(no_manifest, "manifest", PREFLIGHT_FATAL, "none", "this EFI file has no guests: add them with guest/pack.py",       \
      no_section(".manifes"))                                                                                             \
    X(bad_header, "manifest", PREFLIGHT_FATAL, "refused",                                                                 \
      "MANIFEST_BAD_MAGIC: this is not a manifest: the magic number is wrong", machine_manifest()->header.magic++)        \
    X(bad_guest, "manifest", PREFLIGHT_FATAL, "guest 0", "MANIFEST_NO_VCPUS: a guest has no vCPU",                        \
      guest(0)->vcpus = 0;                                                                                                \
      seal())                                                                                                             \
    X(bad_step, "manifest", PREFLIGHT_FATAL, "guest 0, step 0", "MANIFEST_STEP_EMPTY: a step has no bytes",               \
      machine_manifest()->steps[0].size = 0;                                                                              \
      seal())                                                                                                             \
    X(slow_tsc, "TSC frequency", PREFLIGHT_FATAL, "0.999 MHz",                                                            \
      "neither the ACPI PM timer nor UEFI's Stall() measures it: update the BIOS", machine.hz = 999900;                   \
      machine.tsc_per_access = 1)                                                                                         \
    X(least_tsc, "TSC frequency", PREFLIGHT_FINE, "1.000 MHz", "", machine.hz = 1000010; machine.tsc_per_access = 1)      \
    X(no_encryption_leaf, "SME and SEV", PREFLIGHT_NO_SEV, "neither", SME_BIOS,                                           \
      machine_leaf(0x80000000)->regs.eax = 0x8000001e)                                                                    \
    X(last_is_encryption, "SME and SEV", PREFLIGHT_FINE, "both", "", machine_leaf(0x80000000)->regs.eax = 0x8000001f)     \
    X(sme_only, "SME and SEV", PREFLIGHT_NO_SEV, "SME only", SME_BIOS, machine_leaf(0x8000001f)->regs.eax = 0xfd)         \
    X(sev_only, "SME and SEV", PREFLIGHT_NO_SEV, "SEV only", SME_BIOS, machine_leaf(0x8000001f)->regs.eax = 0xfe)         \
    X(smee_cannot, "memory encryption", PREFLIGHT_NO_SEV, "off, cannot be set",                                           \
      "BIOS: AMD CBS > CPU Common Options > SMEE = Enabled", machine.syscfg = 0;                                          \
      machine.syscfg_stuck = SYSCFG_MEM_ENCRYPTION_MOD_EN)                                                                \
    X(other_c_bit, "C-bit, reduction", PREFLIGHT_GUESTS, "47 and 5",                                                      \
      "1 guests refused (alpha): set cbitpos = 47, reduced-phys-bits = 5", c_bit_at(47, 5))                               \
    X(no_reduction, "C-bit, reduction", PREFLIGHT_GUESTS, "47 and 0",                                                     \
      "1 guests refused (alpha): set cbitpos = 47, reduced-phys-bits = 1", c_bit_at(47, 0))                               \
    X(c_bit_right_above, "C-bit, reduction", PREFLIGHT_FINE, "47 and 5", "", c_bit_at(47, 5); alpha_for(47, 1))           \
    X(c_bit_above_what_is_left, "C-bit, reduction", PREFLIGHT_FINE, "43 and 5", "", c_bit_at(43, 5); alpha_for(43, 1))    \
    X(c_bit_within_width, "C-bit, reduction", PREFLIGHT_GUESTS, "42 and 5",                                               \
      "1 guests refused (alpha): set cbitpos = 42, reduced-phys-bits = 5", c_bit_at(42, 5);                               \
      alpha_for(42, 1))                                                                                                   \
    X(no_width_left, "C-bit, reduction", PREFLIGHT_GUESTS, "51 and 5",                                                    \
      "1 guests refused (alpha): set cbitpos = 51, reduced-phys-bits = 5", alpha_for(51, 48))                             \
    X(memory_fits_width, "C-bit, reduction", PREFLIGHT_FINE, "51 and 5", "", alpha_for(51, 24))                           \
    X(memory_beyond_width, "C-bit, reduction", PREFLIGHT_GUESTS, "51 and 5",                                              \
      "1 guests refused (alpha): set cbitpos = 51, reduced-phys-bits = 5", alpha_for(51, 25))                             \
    X(one_of_two_unfit, "C-bit, reduction", PREFLIGHT_GUESTS, "51 and 5",                                                 \
      "1 guests refused (alpha): set cbitpos = 51, reduced-phys-bits = 5", beta_is_sev();                                 \
      alpha_for(50, 5))                                                                                                   \
    X(other_of_two_unfit, "C-bit, reduction", PREFLIGHT_GUESTS, "51 and 5",                                               \
      "1 guests refused (beta-2.x_y): set cbitpos = 51, reduced-phys-bits = 5", beta_is_sev();                            \
      guest(1)->cbitpos = 40; seal())                                                                                     \
    X(both_unfit, "C-bit, reduction", PREFLIGHT_GUESTS, "51 and 5",                                                       \
      "2 guests refused (alpha): set cbitpos = 51, reduced-phys-bits = 5", beta_is_sev();                                 \
      guest(1)->cbitpos = 40; alpha_for(40, 5))                                                                           \
    X(no_asids, "ASIDs for SEV", PREFLIGHT_NO_SEV, "0 (16 to 15)", ES_BIOS, machine_leaf(0x8000001f)->regs.edx = 16)      \
    X(one_asid, "ASIDs for SEV", PREFLIGHT_FINE, "1 (15 to 15)", "", machine_leaf(0x8000001f)->regs.edx = 15)             \
    X(all_asids, "ASIDs for SEV", PREFLIGHT_FINE, "15 (1 to 15)", "", machine_leaf(0x8000001f)->regs.edx = 0)             \
    X(fewer_asids_than_guests, "ASIDs for SEV", PREFLIGHT_NOTE, "1 (15 to 15)", ES_BIOS, beta_is_sev();                   \
      machine_leaf(0x8000001f)->regs.edx = 15)                                                                            \
    X(smm_open, "SMM locked", PREFLIGHT_NO_SEV, "no", "BIOS: AMD CBS > SMM Lock = Enabled, or update the BIOS",           \
      machine.hwcr = ~HWCR_SMM_LOCK)                                                                                      \
    X(snp_left_on, "SEV-SNP", PREFLIGHT_FATAL, "on, left by an earlier OS",                                               \
      "reset the machine: the RMP that was set up earlier still protects its pages",                                      \
      machine.syscfg |= UINT64_C(1) << 24)                                                                                \
    X(smee_off, "memory encryption", PREFLIGHT_NOTE, "off; Sevisor turns it on",                                          \
      "BIOS: AMD CBS > CPU Common Options > SMEE = Enabled, if INIT is answered by HWERROR_PLATFORM (0x13)",              \
      machine.syscfg = 1)                                                                                                 \
    X(bar_at_the_width, "PCI addresses", PREFLIGHT_NOTE, "1 are above", BEYOND("05:00.0 "),                               \
      bar_of(0x500, 0, 0, UINT64_C(1) << 43))                                                                             \
    X(bar_by_ari, "PCI addresses", PREFLIGHT_NOTE, "1 are above", BEYOND("05:03.5 "),                                     \
      machine_pci(0x500, 0x12341022, 0x80, 6);                                                                            \
      bar_of(0x51d, 0, 0, UINT64_C(1) << 43))                                                                             \
    X(bar_below_the_width, "PCI addresses", PREFLIGHT_FINE, "all", "", bar_of(0x500, 0, 4, (UINT64_C(1) << 43) - MIB))    \
    X(bars_of_all_kinds, "PCI addresses", PREFLIGHT_NOTE, "5 are above", BEYOND("05:00.0 06:00.0 07:00.0 07:00.3 "),      \
      bars_of_all_kinds())                                                                                                \
    X(bars_with_smee_off, "PCI addresses", PREFLIGHT_NOTE, "1 are above", BEYOND("05:00.0 "), machine.syscfg = 0;         \
      bar_of(0x500, 0, 2, UINT64_C(1) << 47))                                                                             \
    X(bars_without_sme, "PCI addresses", PREFLIGHT_FINE, "all", "", machine_leaf(0x8000001f)->regs.eax = 0;               \
      bar_of(0x500, 0, 2, UINT64_C(1) << 47))                                                                             \
    X(bars_in_all_segments, "PCI addresses", PREFLIGHT_NOTE, "4 are above",                                               \
      BEYOND("05:00.0 0001:00:01.0 0002:40:00.0 0002:41:1f.0 "), bars_in_segments(true))                                  \
    X(bars_in_some_segments, "PCI addresses", PREFLIGHT_NOTE, "2 are above", BEYOND("05:00.0 0001:00:01.0 "),             \
      bars_in_segments(false))                                                                                            \
    X(virtual_functions, "PCI addresses", PREFLIGHT_NOTE, "2 are above", BEYOND("0001:00:01.0 "), two_segments(true);     \
      vfs_in_ecam(0x008, UINT64_C(1) << 43, UINT64_C(1) << 44))                                                           \
    X(virtual_functions_below, "PCI addresses", PREFLIGHT_FINE, "all", "", two_segments(true);                            \
      vfs_in_ecam(0x008, (UINT64_C(1) << 43) - MIB, 0))                                                                   \
    X(virtual_functions_of_segment_0, "PCI addresses", PREFLIGHT_NOTE, "2 are above", BEYOND("01:00.0 "),                 \
      vfs_in_segment_0(0x12341022))                                                                                       \
    X(segment_0_in_pieces, "PCI addresses", PREFLIGHT_NOTE, "2 are above", BEYOND("01:00.0 "),                            \
      segment_0_in_two_pieces(true))                                                                                      \
    X(segment_0_in_other_pieces, "PCI addresses", PREFLIGHT_NOTE, "2 are above", BEYOND("01:00.0 "),                      \
      segment_0_in_two_pieces(false))                                                                                     \
    X(another_function_is_there, "PCI addresses", PREFLIGHT_FINE, "all that can be read", "",                             \
      vfs_in_segment_0(0x12351022))                                                                                       \
    X(virtual_functions_end_below, "PCI addresses", PREFLIGHT_FINE, "all", "",                                            \
      vfs_that_end_at(UINT64_C(1) << 43, 8, 64 * MIB))                                                                    \
    X(virtual_functions_end_above, "PCI addresses", PREFLIGHT_NOTE, "1 are above", BEYOND("0001:00:01.0 "),               \
      vfs_that_end_at((UINT64_C(1) << 43) + 64 * MIB, 8, 64 * MIB))                                                       \
    X(most_virtual_functions, "PCI addresses", PREFLIGHT_NOTE, "1 are above", BEYOND("0001:00:01.0 "),                    \
      vfs_that_end_at((UINT64_C(1) << 43) + 4096, 65535, 4096))                                                           \
    X(virtual_functions_of_all_there_is, "PCI addresses", PREFLIGHT_NOTE, "2 are above", BEYOND("0001:00:01.0 "),         \
      vfs_that_end_at(0, 2, UINT64_C(1) << 63))                                                                           \
    X(virtual_functions_that_are_on, "PCI addresses", PREFLIGHT_NOTE, "1 are above", BEYOND("0001:00:01.0 "),             \
      vfs_in_use((UINT64_C(1) << 43) + MIB, 1))                                                                           \
    X(virtual_functions_in_memory, "PCI addresses", PREFLIGHT_NOTE, "1 are above", BEYOND("0001:00:01.0 "),               \
      vfs_in_use((UINT64_C(1) << 43) + MIB, 0x19))                                                                        \
    X(virtual_functions_in_use_below, "PCI addresses", PREFLIGHT_FINE, "all", "", vfs_in_use(UINT64_C(1) << 43, 0x19))    \
    X(segment_0_without_an_mcfg, "PCI addresses", PREFLIGHT_FINE, "all that can be read", "",                             \
      acpi_build(2, true, true))                                                                                          \
    X(no_bus_in_the_mcfg, "PCI segments", PREFLIGHT_NOTE, "some by ports only", BY_PORTS("00:00.0"),                      \
      acpi_build(2, true, true))                                                                                          \
    X(some_buses_in_the_mcfg, "PCI segments", PREFLIGHT_NOTE, "some by ports only", BY_PORTS("41:00.0"),                  \
      only_mcfg(ECAM_0, 0, 0x40))                                                                                         \
    X(all_buses_that_matter_in_the_mcfg, "PCI addresses", PREFLIGHT_FINE, "all", "", only_mcfg(ECAM_0, 0, 0x41))          \
    X(ecam_in_ram, "PCI segments", PREFLIGHT_NOTE, "some by ports only", BY_PORTS("00:00.0"),                             \
      only_mcfg(RAM_BASE, 0, 255);                                                                                        \
      machine_maps(RAM_BASE, RAM_SIZE))                                                                                   \
    X(capabilities_in_a_circle, "PCI addresses", PREFLIGHT_NOTE, "240 are above", BEYOND("0001:00:01.0 "),                \
      capabilities_in_a_circle())                                                                                         \
    X(segment_0_not_mapped, "PCI addresses", PREFLIGHT_FINE, "all that can be read", "", only_mcfg(ECAM, 0, 255))         \
    X(all_segments, "PCI addresses", PREFLIGHT_FINE, "all", "", two_segments(true))                                       \
    X(some_segments, "PCI addresses", PREFLIGHT_FINE, "all that can be read", "", two_segments(false))                    \
    X(segment_not_mapped, "PCI segments", PREFLIGHT_NOTE, "some cannot be read here", NOT_MAPPED("0002:40:00.0 "),        \
      bars_in_segments(false))                                                                                            \
    X(psp_in_another_segment, "Secure Processor", PREFLIGHT_FINE, "1022:1486 at 0002:41:02.3", "", two_segments(true);    \
      psp_in_segment(0x313))                                                                                              \
    X(psp_in_no_readable_segment, "Secure Processor", PREFLIGHT_NO_SEV, "none", PSP_BIOS, two_segments(false);            \
      psp_in_segment(0x313))                                                                                              \
    X(psp_is_no_bridge, "Secure Processor", PREFLIGHT_NO_SEV, "none", PSP_BIOS, two_segments(true);                       \
      bridge_with_its_id(0x313))                                                                                          \
    X(psp_of_a_newer_part, "Secure Processor", PREFLIGHT_NO_SEV, "1022:1999 at 41:00.1",                                  \
      "an AMD encryption controller that this version does not know: use a newer Sevisor",                                \
      machine.pci[0].config[0] = 0x19991022;                                                                              \
      machine.pci[0].config[2] = 0x10800000)                                                                              \
    X(psp_17d8, "Secure Processor", PREFLIGHT_FINE, "1022:17d8 at 41:00.1", "", machine.pci[0].config[0] = 0x17d81022)    \
    X(psp_silent, "SEV firmware", PREFLIGHT_NO_SEV, "not usable",                                                         \
      "PLATFORM_STATUS: the Secure Processor's mailbox is not ready. " OFF_AND_ON, machine.psp.silent = true)             \
    X(psp_silent_after_an_answer, "SEV firmware", PREFLIGHT_NO_SEV, "not usable",                                         \
      "PLATFORM_STATUS: no answer in "                                                                                    \
      "time; the Secure Processor is not used again. Switch the machine off and on",                                      \
      machine.psp.silent = true;                                                                                          \
      *psp_command() = 1u << 31)                                                                                          \
    X(psp_left_with_a_command, "SEV firmware", PREFLIGHT_FINE, "API 1.55.21, UNINIT", "", *psp_command() = 0;             \
      leave_command())                                                                                                    \
    X(psp_contradicts_itself, "SEV firmware", PREFLIGHT_NO_SEV, "not usable",                                             \
      "PLATFORM_STATUS: the SEV firmware's answer contradicts itself: update the BIOS", machine.psp.answer[2] = 3)        \
    X(psp_refuses, "SEV firmware", PREFLIGHT_NO_SEV, "not usable",                                                        \
      "PLATFORM_STATUS: INVALID_CONFIG (0x03): the platform's configuration is invalid. " OFF_AND_ON ".",                 \
      machine.psp.status = 3)                                                                                             \
    X(psp_8003, "SEV firmware", PREFLIGHT_NO_SEV, "not usable",                                                           \
      "PLATFORM_STATUS: undocumented status (0x8003): no "                                                                \
      "document names it; boards with an old BIOS answered such. Update the BIOS for newer SEV firmware; enable SMEE; "   \
      "switch the machine off and on.",                                                                                   \
      machine.psp.status = 0x8003)                                                                                        \
    X(psp_9000, "SEV firmware", PREFLIGHT_NO_SEV, "not usable",                                                           \
      "PLATFORM_STATUS: undocumented status (0x9000): no"                                                                 \
      " document names it; boards with an old BIOS answered such. Update the BIOS, load its defaults, then enable SMEE; " \
      "switch the machine off and on.",                                                                                   \
      machine.psp.status = 0x9000)                                                                                        \
    X(psp_old, "SEV firmware's age", PREFLIGHT_NOTE, "old", LEAKS NAME_NEWER, old_firmware(11))                           \
    X(psp_old_with_a_file, "SEV firmware's age", PREFLIGHT_NOTE, "old",                                                   \
      LEAKS "Sevisor loads the newer sev-firmware of guests.toml "                                                        \
            "before INIT",                                                                                                \
      old_firmware(11);                                                                                                   \
      offer_firmware(1, 55, 21))                                                                                          \
    X(psp_old_as_the_file_is, "SEV firmware's age", PREFLIGHT_NOTE, "old", LEAKS NAME_NEWER, old_firmware(11);            \
      offer_firmware(0, 17, 11))                                                                                          \
    X(psp_old_with_a_file_no_better, "SEV firmware's age", PREFLIGHT_NOTE, "old", LEAKS NAME_NEWER, old_firmware(10);     \
      offer_firmware(0, 17, 11))                                                                                          \
    X(psp_old_with_an_older_file, "SEV firmware's age", PREFLIGHT_NOTE, "old",                                            \
      "CVE-2023-31356 (AMD-SB-3003): guests' memory can be corrupted: " NAME_NEWER, machine.psp.answer[7] = 20;           \
      offer_firmware(0, 24, 20))                                                                                          \
    X(psp_old_on_milan, "SEV firmware's age", PREFLIGHT_NOTE, "old",                                                      \
      "CVE-2023-31356 (AMD-SB-3003): guests' memory can be corrupted: " NAME_NEWER, machine.psp.answer[7] = 20)           \
    X(psp_not_so_old, "SEV firmware", PREFLIGHT_FINE, "API 0.17.22, UNINIT", "", old_firmware(22))                        \
    X(psp_left_in_init, "SEV firmware", PREFLIGHT_NOTE, "API 1.55.21, INIT", LEFT(0), machine.psp.answer[2] = 1)          \
    X(psp_left_working, "SEV firmware", PREFLIGHT_NOTE, "API 0.24.1, WORKING", LEFT(3),                                   \
      memcpy(machine.psp.answer, (const uint8_t[]){0, 24, 2, 0, 0, 0, 0, 1, 3}, 9))                                       \
    X(psp_without_a_page, "memory guests + hv", PREFLIGHT_FATAL, "254 + 0 MiB",                                           \
      "add RAM, or lower memory in guests.toml", machine.no_reserved_page = true;                                         \
      machine.allocations_left = 0)                                                                                       \
    X(no_psp, "Secure Processor", PREFLIGHT_NO_SEV, "none", PSP_BIOS, machine.pci[0].config[0] = 0x14851022)              \
    X(psp_without_sev, "Secure Processor", PREFLIGHT_NO_SEV, "SEV off, feature 0x00000002",                               \
      "it is present, but SEV is unsupported or disabled: BIOS: enable SMEE and SEV; update the BIOS",                    \
      *psp_feature() = 2)                                                                                                 \
    X(psp_hidden, "Secure Processor", PREFLIGHT_NO_SEV, "hidden", PSP_BIOS, *psp_feature() = UINT32_MAX)                  \
    X(psp_beyond_width, "Secure Processor", PREFLIGHT_NO_SEV, "BAR beyond address width",                                 \
      "BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit", psp_bar_at(UINT64_C(1) << 43))                         \
    X(psp_at_the_end_of_it, "Secure Processor", PREFLIGHT_NO_SEV, "BAR beyond address width",                             \
      "BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit", machine.bar2_mask = ~0xfffffu;                         \
      psp_bar_at((UINT64_C(1) << 43) + 0xfff00000))                                                                       \
    X(psp_where_the_firmware_maps_nothing, "Secure Processor", PREFLIGHT_NO_SEV, "BAR not mapped by UEFI",                \
      "BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit", psp_bar_at(UINT64_C(1) << 42))                         \
    X(policy_of_this_version, "guests", PREFLIGHT_FINE, "3 of 3 can run", "", alpha_wants(1, 55))                         \
    X(policy_of_an_earlier_major, "guests", PREFLIGHT_FINE, "3 of 3 can run", "", alpha_wants(0, 255))                    \
    X(policy_of_a_newer_minor, "SEV API of policies", PREFLIGHT_GUESTS, "1.55", NEWER, alpha_wants(1, 56))                \
    X(policy_of_a_newer_major, "SEV API of policies", PREFLIGHT_GUESTS, "1.55", NEWER, alpha_wants(2, 0))                 \
    X(guest_of_a_newer_policy, "guests", PREFLIGHT_NOTE, "2 of 3 can run", WANT(0, 1), alpha_wants(1, 56))                \
    X(policy_that_a_file_meets, "guests", PREFLIGHT_FINE, "3 of 3 can run", "", alpha_wants(1, 56);                       \
      offer_firmware(1, 56, 0))                                                                                           \
    X(policy_that_a_file_does_not_meet, "SEV API of policies", PREFLIGHT_GUESTS, "1.56", NEWER, alpha_wants(1, 57);       \
      offer_firmware(1, 56, 255))                                                                                         \
    X(policy_and_an_older_file, "SEV API of policies", PREFLIGHT_GUESTS, "1.55", NEWER, alpha_wants(1, 56);               \
      offer_firmware(1, 54, 0))                                                                                           \
    X(policy_where_nobody_answers, "guests", PREFLIGHT_NOTE, "2 of 3 can run", WANT(0, 1), alpha_wants(1, 56);            \
      machine.psp.silent = true)                                                                                          \
    X(pin_to_no_cpu, "CPUs of pins", PREFLIGHT_GUESTS, "0 to 2", PINS(1, "beta-2.x_y"), three_cpus(4); pin(1, 1, 3))      \
    X(pin_to_the_last_cpu, "guests", PREFLIGHT_FINE, "3 of 3 can run", "", three_cpus(4); pin(1, 1, 2))                   \
    X(pins_to_no_cpu, "CPUs of pins", PREFLIGHT_GUESTS, "0 to 0", PINS(2, "alpha"), pin(0, 0, 1023); pin(2, 0, 1))        \
    X(guests_pinned_to_no_cpu, "guests", PREFLIGHT_NOTE, "1 of 3 can run", WANT(0, 2), pin(0, 0, 1023); pin(2, 0, 1))     \
    X(all_guests_pinned_to_no_cpu, "guests", PREFLIGHT_FATAL, "0 of 3 can run", WANT(0, 3),                               \
      for (unsigned i = 0; i < 3; i++) pin(i, 0, 1))                                                                      \
    X(pin_where_one_cpu_can_run, "CPUs of pins", PREFLIGHT_GUESTS, "0 to 0", PINS(1, "9gamma"), three_cpus(4);            \
      machine.low_base = 0; pin(2, 0, 1))                                                                                 \
    X(three_processors, "processors", PREFLIGHT_FINE, "3", "", three_cpus(4))                                             \
    X(one_with_the_last_id, "processors", PREFLIGHT_FINE, "3", "", three_cpus(255))                                       \
    X(three_without_low_memory, "processors", PREFLIGHT_NOTE, "3, one can run",                                           \
      "no memory is free below 1 MiB to start the others from", three_cpus(4);                                            \
      machine.low_base = 0)                                                                                               \
    X(no_map, "memory map", PREFLIGHT_FATAL, "unusable",                                                                  \
      "GetMemoryMap fails, or has more ranges than this version handles", machine.map_reads_left = 0)                     \
    X(no_second_map, "memory map", PREFLIGHT_FATAL, "unusable",                                                           \
      "GetMemoryMap fails, or has more ranges than this version handles", machine.map_reads_left = 1)                     \
    X(map_beyond_its_buffer, "memory map", PREFLIGHT_FATAL, "unusable",                                                   \
      "GetMemoryMap fails, or has more ranges than this version handles", machine.wide_map_count = 4000)                  \
    X(no_arena, "memory guests + hv", PREFLIGHT_FATAL, "254 + 0 MiB", "add RAM, or lower memory in guests.toml",          \
      machine.allocations_left = 0)                                                                                       \
    X(ram_on_hypertransport, "memory left out", PREFLIGHT_NOTE, "12288 MiB", LEFT_OUT,                                    \
      machine_descriptor(EfiConventionalMemory, UINT64_C(0xe030000000), UINT64_C(0x1ffff80), EFI_MEMORY_WB))              \
    X(ram_out_of_reach, "memory left out", PREFLIGHT_NOTE, "3 MiB", LEFT_OUT,                                             \
      machine_descriptor(EfiConventionalMemory, (UINT64_C(1) << 43) - MIB, 1024, EFI_MEMORY_WB))                          \
    X(memory_for_two, "guests", PREFLIGHT_NOTE, "2 of 3 can run", WANT(1, 0), guest(2)->memory = 224 * MIB; seal())       \
    X(memory_for_all, "guests", PREFLIGHT_FINE, "3 of 3 can run", "", gamma_takes(210))                                   \
    X(memory_for_all_but_the_window, "guests", PREFLIGHT_NOTE, "2 of 3 can run", WANT(1, 0),                              \
      guest(1)->flags |= MANIFEST_GUEST_CONTROL;                                                                          \
      gamma_takes(210))                                                                                                   \
    X(memory_for_all_and_the_window, "guests", PREFLIGHT_FINE, "3 of 3 can run", "",                                      \
      guest(1)->flags |= MANIFEST_GUEST_CONTROL;                                                                          \
      gamma_takes(208))                                                                                                   \
    X(no_memory_for_the_last_ones_window, "guests", PREFLIGHT_NOTE, "2 of 3 can run", WANT(1, 0),                         \
      guest(2)->flags |= MANIFEST_GUEST_CONTROL;                                                                          \
      gamma_takes(210))                                                                                                   \
    X(memory_for_none, "guests", PREFLIGHT_FATAL, "0 of 3 can run", WANT(3, 0),                                           \
      for (unsigned i = 0; i < 3; i++) guest(i)->memory = 512 * MIB;                                                      \
      seal())                                                                                                             \
    X(no_sme_for_host_key, "guests", PREFLIGHT_NOTE, "1 of 3 can run", WANT(0, 2),                                        \
      machine_leaf(0x8000001f)->regs.eax = 0)                                                                             \
    X(nobody_left, "guests", PREFLIGHT_FATAL, "0 of 3 can run", WANT(0, 3), machine_leaf(0x8000001f)->regs.eax = 0;       \
      guest(1)->encryption = MANIFEST_ENCRYPTION_HOST; seal())                                                            \
    X(one_plain_asid, "guests", PREFLIGHT_NOTE, "2 of 3 can run", WANT(0, 1), machine_leaf(0x8000000a)->regs.ebx = 17)    \
    X(two_plain_asids, "guests", PREFLIGHT_FINE, "3 of 3 can run", "", machine_leaf(0x8000000a)->regs.ebx = 18)           \
    X(no_plain_asid, "guests", PREFLIGHT_NOTE, "1 of 3 can run", WANT(0, 2), machine_leaf(0x8000000a)->regs.ebx = 16)     \
    X(plain_asids_odd, "guests", PREFLIGHT_NOTE, "1 of 3 can run", WANT(0, 2),                                            \
      machine_leaf(0x8000000a)->regs.ebx = 15)                                                                            \
    X(asids_without_sev, "guests", PREFLIGHT_NOTE, "1 of 3 can run", WANT(0, 2),                                          \
      machine_leaf(0x8000001f)->regs.eax = 1;                                                                             \
      machine_leaf(0x8000000a)->regs.ebx = 2)                                                                             \
    X(no_asid_at_all, "guests", PREFLIGHT_FATAL, "0 of 3 can run", WANT(0, 3), machine_leaf(0x8000001f)->regs.eax = 1;    \
      machine_leaf(0x8000000a)->regs.ebx = 0)                                                                             \
    X(one_sev_asid_for_two, "guests", PREFLIGHT_NOTE, "2 of 3 can run", WANT(0, 1), beta_is_sev();                        \
      machine_leaf(0x8000001f)->regs.edx = 15)

struct spoilt {
    const char *feature;
    uint32_t verdict;
    const char *found, *remedy;
    void (*spoil)(void);
};

#define X(name, feature, verdict, found, remedy, ...) \
    static void spoil_##name(void)                    \
    {                                                 \
        __VA_ARGS__;                                  \
    }
CASES(X)
#undef X
#define X(name, feature, verdict, found, remedy, ...) \
    static struct spoilt spoilt_##name = {feature, verdict, found, remedy, spoil_##name};
CASES(X)
#undef X

/* One row of the printed table, and what stands below it. */
static void assert_printed(const struct preflight_row *row, const char *mark)
{
    char line[256];
    text_format(line, sizeof(line), "\r\n %-6s %-20s %-22s %s\r\n", mark, row->feature, row->needed, row->found);
    const char *at = strstr(machine.console, line);
    assert_non_null(at);
    text_format(line, sizeof(line), "        -> %s\r\n", row->remedy);
    assert_int_equal(strncmp(strchr(at + 2, '\n') + 1, line, strlen(line)) == 0, row->remedy[0] != '\0');
}

/* Of 80 columns and 25 lines, the last of which is the cursor's. */
static void assert_what_refuses_is_on_the_screen(void)
{
    static const char closing[] =
        "\r\nSevisor cannot run here; back to the UEFI firmware's boot order in 15 seconds, or at a key.\r\n";
    const char *at = machine.console, *lines[2000], *screen;
    unsigned count = 0, column = 0;
    for (lines[count++] = at; *at != '\0'; at++) {
        column = *at == '\n' ? 0 : column + (*at != '\r');
        if (*at == '\n' || (column == 80 && at[1] != '\r'))
            lines[count++] = at + 1, column = 0;
    }
    screen = lines[count > 25 ? count - 25 : 0];
    assert_ptr_equal(strstr(screen, closing), machine.console + strlen(machine.console) - strlen(closing));
    for (uint32_t i = 0; i < boot.row_count; i++) {
        const struct preflight_row *r = &boot.rows[i];
        char line[256];
        if (r->verdict == PREFLIGHT_FINE || r->verdict == PREFLIGHT_NOTE)
            continue;
        text_format(line, sizeof(line), "\r\n %-6s %-20s %-22s %s\r\n        -> %s\r\n",
                    (const char *[]){"", "", "note", "no SEV", "STOP"}[r->verdict], r->feature, r->needed, r->found,
                    r->remedy);
        assert_non_null(strstr(screen, line));
    }
}

static void the_row_the_decision_and_the_machine_agree(void **state)
{
    const struct spoilt *s = *state;
    machine_reset(NULL);
    s->spoil();
    const uint64_t syscfg = machine.syscfg;
    const uint32_t command = machine.pci[0].config[1];
    enum end end = machine_boot();

    const struct preflight_row *row = machine_row(s->feature);
    assert_string_equal(row->found, s->found);
    assert_string_equal(row->remedy, s->remedy);
    assert_int_equal(row->verdict, s->verdict);
    bool fatal = false;
    const struct preflight_row *no_sev = NULL;
    for (uint32_t i = 0; i < boot.row_count; i++) {
        const struct preflight_row *r = &boot.rows[i];
        fatal |= r->verdict == PREFLIGHT_FATAL;
        if (r->verdict == PREFLIGHT_NO_SEV && no_sev == NULL)
            no_sev = r;
        assert_printed(r, (const char *[]){"ok", "note", "note", "no SEV", "STOP"}[r->verdict]);
        assert_int_equal(r->remedy[0] != '\0', r->verdict != PREFLIGHT_FINE);
    }
    assert_int_equal(end, fatal ? REFUSED : ENTERED);
    if (fatal) {
        assert_int_equal(machine.exit_status, EFI_UNSUPPORTED);
        assert_what_refuses_is_on_the_screen();
        assert_true(machine_holds_nothing());
        assert_int_equal(machine.syscfg, syscfg);
        assert_int_equal(machine.pci[0].config[1], command);
        return;
    }
    char refusal[256] = "";
    if (no_sev != NULL)
        text_format(refusal, sizeof(refusal), "%s: %s; %s", no_sev->feature, no_sev->found, no_sev->remedy);
    assert_string_equal(handoff.sev_refusal, refusal);
    assert_int_equal(handoff.sev_usable, no_sev == NULL);
    bool sme = (machine_leaf(0x8000001f)->regs.eax & 1) != 0 && machine_leaf(0x80000000)->regs.eax >= 0x8000001f;
    assert_int_equal(machine.pci[0].config[1], command & ~4u);
    bool on = sme && (machine.syscfg & SYSCFG_MEM_ENCRYPTION_MOD_EN) != 0;
    uint32_t ebx = machine_leaf(0x8000001f)->regs.ebx;
    assert_int_equal(handoff.c_bit_mask, on ? UINT64_C(1) << (ebx & 63) : 0);
    assert_int_equal(handoff.phys_bits, 48 - (on ? ebx >> 6 : 0));
}

/* hv is told where it is; and its configuration space is as it was. */
static void assert_handed_over(const uint32_t *config, uint32_t sbdf, uint64_t ecam)
{
    assert_int_equal(machine_boot(), ENTERED);
    const struct psp_location *psp = &((const struct handoff *)machine.handoff)->psp;
    assert_int_equal(psp->function.sbdf, sbdf);
    assert_int_equal(psp->function.ecam, ecam);
    assert_int_equal(psp->device_id, 0x1486);
    assert_int_equal(psp->bar, PSP_BAR);
    assert_int_equal(psp->bar_size, PSP_BAR_SIZE);
    assert_int_equal(config[1], 0x0400);
    assert_int_equal(config[6], PSP_BAR | 4);
    assert_int_equal(machine.psp.commands, 1);
}

static void the_secure_processor_is_handed_over(void **state)
{
    (void)state;
    two_segments(true);
    assert_handed_over(machine.pci[0].config, 0x4101, 0);
}

static void so_it_is_in_another_segment(void **state)
{
    (void)state;
    two_segments(true);
    assert_handed_over(psp_in_segment(0x313), 0x24113, ECAM + 0x313000);
}

/* Rows that do not refuse say it of guests that are encrypted alone. */
static void rows_of_guests_are_there_for_those_that_they_refuse(void **state)
{
    (void)state;
    guest(1)->sev_policy = 0;
    seal();
    assert_int_equal(machine_boot(), ENTERED);
    for (uint32_t i = 0; i < boot.row_count; i++) {
        assert_string_not_equal(boot.rows[i].feature, "SEV API of policies");
        assert_string_not_equal(boot.rows[i].feature, "CPUs of pins");
    }
}

/* Pages that the RMP protects fault when they are written to: no command, no memory of hv's. */
static void nothing_is_done_where_snp_was_left_on(void **state)
{
    (void)state;
    machine.syscfg |= SYSCFG_SNP_EN;
    const unsigned allocations = machine.allocations_left;
    assert_int_equal(machine_boot(), REFUSED);
    assert_string_equal(boot.rows[boot.row_count - 1].feature, "SEV-SNP");
    assert_int_equal(machine.psp.commands, 0);
    assert_int_equal(machine.syscfg_writes, 0);
    assert_int_equal(machine.allocations_left, allocations);
    assert_int_equal(machine.map_key, 0);
    assert_true(machine_holds_nothing());
}

static void where_there_is_none_hv_is_told_of_none(void **state)
{
    (void)state;
    *psp_feature() = 0;
    assert_int_equal(machine_boot(), ENTERED);
    assert_int_equal(((const struct handoff *)machine.handoff)->psp.bar, 0);
}

/* Off, but it can be switched on: it is tried, and then done for hv alone. */
static void encryption_that_is_off_is_on_for_hv_only(void **state)
{
    (void)state;
    machine.syscfg = 1;
    assert_int_equal(machine_boot(), ENTERED);
    assert_int_equal(handoff.c_bit_mask, UINT64_C(1) << 51);
    assert_int_equal(handoff.phys_bits, 43);
    assert_int_equal(machine.syscfg, 1 | SYSCFG_MEM_ENCRYPTION_MOD_EN);
    assert_int_equal(machine.syscfg_writes, 3);
}

/* Nor does the trial end in interrupts that were off before. */
static void encryption_is_tried_with_interrupts_off_and_they_stay_as_they_were(void **state)
{
    (void)state;
    machine_attach();
    machine.syscfg = 0;
    machine.allocations_left = 0;
    assert_int_equal(machine_boot(), REFUSED);
    assert_int_equal(machine.syscfg_writes, 2);
    assert_int_equal(machine.rflags & RFLAGS_IF, RFLAGS_IF);
}

/* A row that is known is shown: also if what is looked at next takes the machine down. */
static bool shown_in_time;

static void look(void)
{
    shown_in_time = strstr(machine.console, "memory encryption    SYSCFG[23]") != NULL &&
                    strstr(machine.console, "PCI addresses ") != NULL &&
                    strstr(machine.console, "SEV firmware ") == NULL;
}

static void rows_appear_as_they_are_known(void **state)
{
    (void)state;
    machine.psp.seen = look;
    assert_int_equal(machine_boot(), ENTERED);
    assert_true(shown_in_time);
}

/* The Secure Processor's answer may come when nobody waits any more: its page is nobody's then, nor an operating system's later. */
static void page_of_an_unanswered_command_is_never_used_again(void **state)
{
    (void)state;
    machine.psp.silent = true;
    for (unsigned i = 0; i < 3; i++)
        guest(i)->memory = 512 * MIB;
    seal();
    assert_int_equal(machine_boot(), REFUSED);
    assert_int_equal(machine.reserved_page, RAM_BASE + 6 * MIB);
    assert_int_equal(*psp_command(), 4 << 16);
    machine.reserved_page = 0;
    assert_true(machine_holds_nothing());
}

static void secure_processor_is_asked_once_and_left_as_it_was(void **state)
{
    (void)state;
    const uint32_t before = machine.pci[0].config[1];
    assert_int_equal(machine_boot(), ENTERED);
    assert_int_equal(machine.psp.commands, 1);
    assert_int_equal(machine.psp.command_register, before | 6);
    assert_int_equal(machine.pci[0].config[1], before);
    assert_int_equal(machine.reserved_page, 0);
}

/* A failure is told with the mailbox's registers. */
static void refusal_of_the_secure_processor_shows_its_registers(void **state)
{
    (void)state;
    machine.psp.status = 0x8003;
    machine_boot();
    assert_non_null(strstr(machine.console,
                           "\r\n        psp: registers: command 0x80008003, buffer low 0x10600000 high 0x00000000, "
                           "boot loader 0x00000000, feature 0x00000001\r\n"));
}

static void secure_processor_without_sev_shows_its_registers(void **state)
{
    (void)state;
    *psp_feature() = 0x1e;
    machine_boot();
    assert_non_null(strstr(machine.console,
                           "\r\n        psp: registers: command 0x00000000, buffer low 0x00000000 high 0x00000000, "
                           "boot loader 0x00000000, feature 0x0000001e\r\n"));
    assert_int_equal(handoff.psp.bar, 0);
}

/* A BAR that cannot be reached: nothing was read, and no zeros are shown for it. */
static void registers_that_were_not_read_are_not_shown(void **state)
{
    (void)state;
    psp_bar_at(UINT64_C(1) << 43);
    machine_boot();
    assert_non_null(strstr(machine.console, "BAR beyond address width"));
    assert_null(strstr(machine.console, "registers:"));
}

/* What was taken for the answer may have been that of an earlier owner's command; ours is still to come, and would be
 * written to whoever got the page. */
static void page_that_the_device_may_still_write_to_is_not_freed(void **state)
{
    (void)state;
    leave_command();
    machine.psp.left_over_answers = true;
    machine_boot();
    assert_string_equal(machine_row("SEV firmware")->found, "not usable");
    assert_int_not_equal(machine.reserved_page, 0);
}

/* ---- the table stays on the screen ---- */

static void refuse(void)
{
    machine.allocations_left = 0;
    assert_int_equal(machine_boot(), REFUSED);
}

static void refused_table_stays_for_15_seconds(void **state)
{
    (void)state;
    refuse();
    uint64_t shown = machine.refused_tsc - machine.tsc_at_words;
    assert_in_range(shown / HZ, 15, 16);
}

static void key_ends_it_but_not_one_from_before(void **state)
{
    (void)state;
    machine.keys = 3; /* typed before */
    refuse();
    assert_in_range((machine.refused_tsc - machine.tsc_at_words) / HZ, 15, 16);
    assert_int_equal(machine.keys, 0);
}

static void key_ends_it(void **state)
{
    (void)state;
    machine.keys = 1;
    machine.keys_at = 11; /* one look for those from before, ten at a tenth of a second each */
    refuse();
    assert_in_range((machine.refused_tsc - machine.tsc_at_words) / (HZ / 10), 9, 11);
}

static void keyboard_that_never_stops_is_no_way_to_hang(void **state)
{
    (void)state;
    machine.keys = UINT32_MAX;
    refuse();
    assert_in_range(UINT32_MAX - machine.keys, 65, 65);
}

static void table_stays_without_a_keyboard_too(void **state)
{
    (void)state;
    system_table.ConIn = NULL;
    refuse();
    assert_in_range((machine.refused_tsc - machine.tsc_at_words) / HZ, 15, 16);
}

static void encryption_is_off_again_after_a_refusal(void **state)
{
    (void)state;
    machine.syscfg = 1;
    machine.allocations_left = 0;
    assert_int_equal(machine_boot(), REFUSED);
    assert_int_equal(machine.syscfg, 1);
}

static void encryption_that_was_on_stays_on_after_a_refusal(void **state)
{
    (void)state;
    machine.allocations_left = 0;
    assert_int_equal(machine_boot(), REFUSED);
    assert_int_equal(machine.syscfg, SYSCFG_MEM_ENCRYPTION_MOD_EN);
}

/* However much there is to say of the rest. */
static void what_refuses_early_is_on_the_screen_at_the_end(void **state)
{
    (void)state;
    machine.hz = 999900;
    machine.tsc_per_access = 1;
    c_bit_at(47, 5);
    machine_leaf(0x8000001f)->regs.edx = 15;
    beta_is_sev();
    machine.hwcr = 0;
    bars_in_segments(false);
    machine_descriptor(EfiConventionalMemory, UINT64_C(0xe030000000), UINT64_C(0x1ffff80), EFI_MEMORY_WB);
    machine.uarts[0].port = 0;
    assert_int_equal(machine_boot(), REFUSED);
    assert_int_equal(machine_row("TSC frequency")->verdict, PREFLIGHT_FATAL);
    assert_what_refuses_is_on_the_screen();
}

/* Rows that there is no room for are printed, and decide, as all others. */
static void rows_beyond_those_that_are_kept_are_printed_and_count(void **state)
{
    char feature[28], line[256];
    (void)state;
    machine_attach();
    for (uint32_t i = 0; i <= PREFLIGHT_ROWS; i++) {
        assert_false(boot.refused);
        machine.console[0] = '\0';
        text_format(feature, sizeof(feature), "feature %u", i);
        table_row(i < PREFLIGHT_ROWS ? PREFLIGHT_NO_SEV : PREFLIGHT_FATAL, feature, "n", "x\nr");
        text_format(line, sizeof(line), " %-6s %-20s n                      x\r\n        -> r\r\n",
                    i < PREFLIGHT_ROWS ? "no SEV" : "STOP", feature);
        assert_string_equal(machine.console, line);
    }
    assert_true(boot.refused);
    assert_int_equal(boot.row_count, PREFLIGHT_ROWS);
    assert_string_equal(boot.rows[0].feature, "feature 0");
    assert_string_equal(handoff.sev_refusal, "feature 0: x; r");
}

static void more_processors_than_one_version_uses_are_said(void **state)
{
    (void)state;
    acpi_build(2, true, true);
    uint8_t *madt = acpi_add("APIC", 44 + 16 * 1026);
    for (uint32_t i = 0; i < 1026; i++) {
        const uint32_t entry[4] = {9 | 16 << 8, i, 1, i};
        memcpy(madt + 44 + 16 * i, entry, sizeof(entry));
    }
    acpi_seal(madt);
    assert_int_equal(machine_boot(), ENTERED);
    assert_string_equal(machine_row("processors")->found, "1026");
    assert_string_equal(machine_row("processors")->remedy, "the first 1024 are used");
    assert_int_equal(handoff.cpu_count, 1024);
    assert_int_equal(handoff.cpus_left_out, 2);
}

/* The processors are found all the same. */
static void wrong_checksums_of_acpi_are_said_and_change_nothing(void **state)
{
    (void)state;
    three_cpus(4);
    uint8_t *madt = (uint8_t *)(uintptr_t)acpi_find("APIC", 44, 0);
    madt[9] ^= 1;
    ((uint8_t *)(uintptr_t)TABLES_BASE)[0x200 + 9] ^= 1; /* the XSDT's */
    assert_int_equal(machine_boot(), ENTERED);
    const struct preflight_row *row = machine_row("ACPI checksums");
    assert_string_equal(row->found, "XSDT APIC ");
    assert_string_equal(row->remedy, "wrong in these tables, which are used all the same; update the BIOS");
    assert_int_equal(row->verdict, PREFLIGHT_NOTE);
    assert_int_equal(handoff.cpu_count, 3);
}

#define T(name) cmocka_unit_test_setup(name, machine_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {T(a_good_machine_has_this_table),
                                       T(a_row_has_its_mark_and_a_remedy_if_there_is_one),
                                       T(the_control_guests_window_is_memory_that_is_needed),
                                       T(the_control_guests_window_is_memory_that_is_needed),
                                       T(encryption_that_is_off_is_on_for_hv_only),
                                       T(encryption_is_off_again_after_a_refusal),
                                       T(encryption_is_tried_with_interrupts_off_and_they_stay_as_they_were),
                                       T(rows_appear_as_they_are_known),
                                       T(page_of_an_unanswered_command_is_never_used_again),
                                       T(secure_processor_is_asked_once_and_left_as_it_was),
                                       T(refusal_of_the_secure_processor_shows_its_registers),
                                       T(secure_processor_without_sev_shows_its_registers),
                                       T(registers_that_were_not_read_are_not_shown),
                                       T(page_that_the_device_may_still_write_to_is_not_freed),
                                       T(refused_table_stays_for_15_seconds),
                                       T(key_ends_it_but_not_one_from_before),
                                       T(key_ends_it),
                                       T(keyboard_that_never_stops_is_no_way_to_hang),
                                       T(table_stays_without_a_keyboard_too),
                                       T(encryption_that_was_on_stays_on_after_a_refusal),
                                       T(what_refuses_early_is_on_the_screen_at_the_end),
                                       T(rows_beyond_those_that_are_kept_are_printed_and_count),
                                       T(more_processors_than_one_version_uses_are_said),
                                       T(wrong_checksums_of_acpi_are_said_and_change_nothing),
                                       T(the_secure_processor_is_handed_over),
                                       T(so_it_is_in_another_segment),
                                       T(where_there_is_none_hv_is_told_of_none),
                                       T(rows_of_guests_are_there_for_those_that_they_refuse),
                                       T(nothing_is_done_where_snp_was_left_on),
#define X(name, ...) {#name, the_row_the_decision_and_the_machine_agree, NULL, NULL, &spoilt_##name},
                                       CASES(X)
#undef X
    };
    return run_each_alone(tests, sizeof(tests) / sizeof(*tests));
}
