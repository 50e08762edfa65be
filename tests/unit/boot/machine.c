/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/boot.h"
#include "guest/crc32.h"
#include "hv/lib/mmio.h"
#include "hv/lib/pagetable.h"
#include "hv/lib/uart.h"

struct machine machine;

/* What the CPU does, and ports. */

void machine_event(enum event what)
{
    assert_true(machine.event_count < sizeof(machine.events) / sizeof(*machine.events));
    machine.events[machine.event_count++] = what;
}

struct leaf *machine_leaf(uint32_t leaf)
{
    for (unsigned i = 0; i < sizeof(machine.leaves) / sizeof(*machine.leaves); i++)
        if (machine.leaves[i].leaf == leaf)
            return &machine.leaves[i];
    return NULL;
}

void machine_set_leaf(uint32_t leaf, struct cpuid regs)
{
    struct leaf *l = machine_leaf(leaf);
    for (unsigned i = 1; l == NULL; i++)
        l = machine.leaves[i].leaf == 0 ? &machine.leaves[i] : NULL;
    *l = (struct leaf){leaf, regs};
}

struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    const struct leaf *l = machine_leaf(leaf);
    assert_int_equal(subleaf, 0);
    /* Beyond the last leaf of its kind is what the last one of the basic kind says: never zeros (AMD: zeros, Intel: not). */
    if (leaf >= 0x80000000 && leaf > machine_leaf(0x80000000)->regs.eax)
        return (struct cpuid){~0u, ~0u, ~0u, ~0u};
    return l != NULL ? l->regs : (struct cpuid){0, 0, 0, 0};
}

static uint64_t *msr_at(uint32_t msr)
{
    switch (msr) {
    case MSR_VM_CR:
        return &machine.vm_cr;
    case MSR_SYSCFG:
        return &machine.syscfg;
    case MSR_HWCR:
        return &machine.hwcr;
    case MSR_EFER:
        return &machine.efer;
    default:
        fail_msg("MSR %x is nobody's here: #GP", msr);
        return NULL;
    }
}

uint64_t rdmsr(uint32_t msr)
{
    /* Without AMD's word for it an MSR means nothing. */
    assert_int_equal(machine_leaf(0)->regs.ebx, 0x68747541);
    return *msr_at(msr);
}

void wrmsr(uint32_t msr, uint64_t value)
{
    uint64_t *at = msr_at(msr), stuck = msr == MSR_SYSCFG ? machine.syscfg_stuck : 0;
    if (msr == MSR_SYSCFG) {
        /* An interrupt handler of the firmware's would meet it. */
        assert_int_equal(machine.rflags & RFLAGS_IF, 0);
        machine.syscfg_writes++;
        if (machine.boot_services_over)
            machine_event(EV_SYSCFG);
    }
    *at = (*at & stuck) | (value & ~stuck);
    if (msr == MSR_EFER)
        machine_event(EV_EFER);
}

uint64_t rdtsc(void)
{
    if (machine.interrupted_rdtsc > 0 && --machine.interrupted_rdtsc == 0) {
        machine.tsc += machine.hz / 50;
        machine.interrupted_rdtsc = machine.interrupted_then;
        machine.interrupted_then = 0;
    }
    return machine.tsc += machine.tsc_per_access;
}

uint64_t read_cr3(void)
{
    return machine.firmware_cr3;
}
uint64_t read_cr4(void)
{
    return machine.cr4;
}
uint64_t read_rflags(void)
{
    return machine.rflags;
}

void cli(void)
{
    machine.rflags &= ~RFLAGS_IF;
    if (machine.boot_services_over)
        machine_event(EV_CLI);
}

void sti(void)
{
    assert_int_equal(machine.syscfg, machine.syscfg_before);
    assert_int_equal(machine.pci_address, PCI_ADDRESS_BEFORE);
    assert_int_equal(machine.sized, 0);
    machine.rflags |= RFLAGS_IF;
}

void write_cr4(uint64_t value)
{
    machine.cr4 = value;
    machine_event(EV_CR4);
}

void wbinvd(void)
{
    machine_event(EV_WBINVD);
}

static void *place(uint64_t at, uint64_t size, int file, uint64_t offset)
{
    int flags = MAP_SHARED | MAP_FIXED_NOREPLACE | (file < 0 ? MAP_ANONYMOUS : 0);
    void *got = mmap((void *)(uintptr_t)at, size, PROT_READ | PROT_WRITE, flags, file, (off_t)offset);
    if (got != (void *)(uintptr_t)at) {
        perror("no room for the machine's memory");
        abort();
    }
    return got;
}

static int ram_file;

void write_cr3(uint64_t value)
{
    machine.cr3 = value;
    machine_event(EV_CR3);
    place(HV_ARENA_BASE, handoff.arena_size, ram_file, handoff.arena_base - RAM_BASE);
    const uint8_t *arena = (const uint8_t *)(uintptr_t)handoff.arena_base;
    if (machine.junk)
        machine.arena_touched_before_cr3 |= arena[0] != 0xa5 || memcmp(arena, arena + 1, handoff.arena_size - 1) != 0;
}

void hlt(void)
{
    longjmp(*machine.out, 1 + HALTED);
}

/* The UART that decodes the port, and which register of its; NULL: none. One in memory may answer at ports, too. */
static uint8_t *uart_register(uint16_t port, uint32_t *index)
{
    for (unsigned i = 0; i < sizeof(machine.uarts) / sizeof(*machine.uarts); i++) {
        unsigned stride = machine.uarts[i].stride > 1 ? machine.uarts[i].stride : 1,
                 offset = port - machine.uarts[i].port;
        if (machine.uarts[i].port == 0 || port < machine.uarts[i].port || offset % stride != 0 || offset / stride > 7)
            continue;
        *index = offset / stride;
        if (machine.uarts[i].in_memory)
            return (uint8_t *)(uintptr_t)UART_BASE + *index * 4;
        if (*index == UART_LCR && machine.uarts[i].lcr_busy > 0) {
            static uint8_t ignored;
            ignored = machine.uarts[i].lcr;
            machine.uarts[i].lcr_busy--;
            return &ignored;
        }
        if (*index == UART_SCR)
            return &machine.uarts[i].scratch;
        if (*index < 2 && (machine.uarts[i].lcr & LCR_DLAB) != 0) {
            assert_int_equal(machine.rflags & RFLAGS_IF, 0); /* the firmware's driver would write to it */
            return &machine.uarts[i].divisor[*index];
        }
        return *index == UART_LCR ? &machine.uarts[i].lcr : NULL;
    }
    return NULL;
}

uint8_t in8(uint16_t port)
{
    uint32_t index;
    const uint8_t *there = uart_register(port, &index);
    return there != NULL ? *there : 0xff;
}

void out8(uint16_t port, uint8_t value)
{
    uint32_t index;
    uint8_t *there = uart_register(port, &index);
    if (there == NULL)
        return;
    *there = value;
    for (unsigned i = 0; index == UART_SCR && i < sizeof(machine.uarts) / sizeof(*machine.uarts); i++)
        if (there == &machine.uarts[i].scratch)
            *there = (uint8_t)((value & ~machine.uarts[i].stuck) | (0x0f & machine.uarts[i].stuck));
}

static struct function *pci_selected(void)
{
    assert_true(machine.pci_address >> 31 == 1 && machine.pci_address % 4 == 0);
    for (unsigned i = 0; i < sizeof(machine.pci) / sizeof(*machine.pci); i++)
        if (machine.pci[i].config[0] != 0 && machine.pci[i].bdf == (machine.pci_address >> 8 & 0xffff))
            return &machine.pci[i];
    return NULL;
}

uint32_t in32(uint16_t port)
{
    machine.tsc += machine.tsc_per_access;
    if (port == 0xcf8)
        return machine.pci_address;
    if (port == 0xcfc) {
        assert_int_equal(machine.rflags & RFLAGS_IF, 0); /* a timer's handler may come between, and use them */
        const struct function *f = pci_selected();
        return f == NULL ? UINT32_MAX : f->config[machine.pci_address >> 2 & 63];
    }
    assert_true(machine.pm_port != 0 && port == machine.pm_port);
    return (uint32_t)((unsigned __int128)machine.tsc * machine.pm_hz / machine.hz) | 0xff000000; /* some have 32 bits */
}

void out32(uint16_t port, uint32_t value)
{
    if (port == 0xcf8) {
        machine.pci_address = value;
        return;
    }
    assert_int_equal(port, 0xcfc);
    assert_int_equal(machine.rflags & RFLAGS_IF, 0);
    struct function *f = pci_selected();
    uint32_t index = machine.pci_address >> 2 & 63;
    assert_non_null(f);
    f->writes++;
    if (index == 1) {
        assert_int_equal(value >> 16, 0); /* ones there would clear status bits */
        value |= f->config[1] & 0xffff0000;
    }
    if (f == &machine.pci[0] && (index == 6 || index == 7))
        machine.sized = value == UINT32_MAX ? machine.sized | 1u << index : machine.sized & ~(1u << index);
    if (f == &machine.pci[0] && index == 6)
        value = (value & machine.bar2_mask) | 4;
    if (f == &machine.pci[0] && index == 7)
        value &= machine.bar3_mask;
    f->config[index] = value;
}

static bool is_mapped(uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < sizeof(machine.mapped) / sizeof(*machine.mapped); i++)
        if (machine.mapped[i].base <= base && base + size <= machine.mapped[i].end)
            return true;
    return false;
}

/* Those of segment 0 that ports reach are in memory, too, with nothing behind the first 256 bytes. */
uint32_t mmio_read32(const volatile void *registers, uint64_t offset)
{
    uint64_t at = (uintptr_t)registers + offset, config = at - machine.ecam_0;
    if (config >= 256 * MIB)
        return *(const volatile uint32_t *)(uintptr_t)at;
    assert_true(is_mapped(at, 4));
    for (unsigned i = 0; i < sizeof(machine.pci) / sizeof(*machine.pci); i++)
        if (machine.pci[i].config[0] != 0 && machine.pci[i].bdf == config / 4096)
            return config % 4096 < 256 ? machine.pci[i].config[config % 4096 / 4] : 0;
    return UINT32_MAX;
}

/* SR-IOV's control and status. */
static volatile uint32_t *vf_control(void)
{
    return (volatile uint32_t *)(uintptr_t)(machine.vf_bars - 0x24 + 8);
}

/* Of virtual functions, while nothing decodes them (PCIe 4.0, 9.3.3.3: VF MSE): those that can be sized are of 64 bits. */
static uint32_t write_vf_bar(uint32_t index, uint32_t value)
{
    assert_int_equal(*vf_control() & 8, 0);
    assert_int_equal(machine.rflags & RFLAGS_IF, 0);
    machine.sized = value == UINT32_MAX ? machine.sized | 0x100u << index : machine.sized & ~(0x100u << index);
    return index % 2 == 0 ? (value & (uint32_t)~(machine.vf_size - 1)) | 4
                          : value & (uint32_t)(~(machine.vf_size - 1) >> 32);
}

/* AddressSanitizer has the place of many boards' registers: they are at UART_BASE, at the same place of a page. */
const struct handoff_uart *fake_uart_place(const struct handoff_uart *uart)
{
    static struct handoff_uart places[2]; /* one function may take two */
    static unsigned calls;
    struct handoff_uart *here = &places[calls++ % 2];
    uint64_t end = uart->base + 7 * uart->stride + uart->width;
    *here = *uart;
    for (unsigned i = 0; uart->in_memory && i < machine.map_count; i++) {
        const EFI_MEMORY_DESCRIPTOR *d = &machine.map[i];
        assert_true(d->Type != EfiConventionalMemory || end <= d->PhysicalStart ||
                    uart->base >= d->PhysicalStart + d->NumberOfPages * 4096);
    }
    if (uart->in_memory) {
        assert_true(is_mapped(uart->base, end - uart->base));
        here->base = UART_BASE + uart->base % 4096;
    }
    return here;
}

/* Registers as they are in memory; of PCI functions there, as those of the Secure Processor at ports. */
void mmio_write32(volatile void *registers, uint64_t offset, uint32_t value)
{
    uint64_t at = (uintptr_t)registers + offset, config = at - machine.ecam_psp;
    volatile uint32_t *here = (volatile uint32_t *)at;
    if (machine.vf_bars != 0 && at - machine.vf_bars < 24) {
        value = write_vf_bar((uint32_t)(at - machine.vf_bars) / 4, value);
    } else if (machine.vf_bars != 0 && here == vf_control()) {
        assert_int_equal(machine.rflags & RFLAGS_IF, 0);
        assert_int_equal(value >> 16, 0); /* a one there would clear the status bit */
        assert_int_equal((value ^ *here) & 0xfff7, 0);
        machine.sized = (*here & ~value & 8) != 0 ? machine.sized | 1
                        : (value & 8) != 0        ? machine.sized & ~1u
                                                  : machine.sized;
        value |= *here & 0xffff0000;
    } else if (at - ECAM < ECAM_BUSES * MIB) {
        assert_true(config == 4 || config == 0x18 || config == 0x1c);
        if (config == 4) {
            assert_int_equal(value >> 16, 0);
            value |= *here & 0xffff0000;
        }
        if (config != 4)
            machine.sized =
                value == UINT32_MAX ? machine.sized | 1u << config / 4 : machine.sized & ~(1u << config / 4);
        value = config == 0x18 ? (value & machine.bar2_mask) | 4 : config == 0x1c ? value & machine.bar3_mask : value;
    }
    *here = value;
}

/* The assembly's place: what it is called with is the end of boot/. */
void fake_trampoline(uint64_t cr3, uint64_t stack, uint64_t entry, uint64_t final);
void fake_trampoline(uint64_t cr3, uint64_t stack, uint64_t entry, uint64_t final)
{
    machine.final_cr3 = cr3;
    machine.stack = stack;
    machine.entry = entry;
    machine.handoff = final;
    longjmp(*machine.out, 1 + ENTERED);
}

__asm__(".text\n\t.balign 64\n\t.globl trampoline\n"
        "trampoline:\n\tjmp fake_trampoline@PLT\n\t.globl trampoline_end\ntrampoline_end:\n");

/* The set-up. */

struct function *machine_pci(uint16_t bdf, uint32_t id, uint32_t header, uint32_t command)
{
    struct function *f = machine.pci;
    while (f->config[0] != 0)
        f++;
    *f = (struct function){.bdf = bdf};
    f->config[0] = id;
    f->config[1] = command;
    f->config[3] = header << 16;
    return f;
}

static struct pagetable tables;

void machine_mcfg(uint64_t base, uint16_t segment, uint8_t first, uint8_t last)
{
    static uint8_t *mcfg;
    if (acpi_find("MCFG", 44, 0) == NULL) {
        mcfg = acpi_add("MCFG", 44 + 16 * 16);
        mcfg[4] = 44;
        mcfg[5] = 0;
    }
    uint8_t *entry = mcfg + mcfg[4];
    mcfg[4] = (uint8_t)(mcfg[4] + 16);
    memcpy(entry, &base, 8);
    memcpy(entry + 8, &segment, 2);
    entry[10] = first;
    entry[11] = last;
    acpi_seal(mcfg);
}

uint32_t *machine_ecam(uint32_t number, uint32_t id, uint32_t header, uint32_t command)
{
    uint32_t *f = (uint32_t *)(uintptr_t)(ECAM + number * UINT64_C(4096));
    memset(f, 0, 256);
    f[0] = id;
    f[1] = command;
    f[3] = header << 16;
    return f;
}

void machine_maps(uint64_t base, uint64_t size)
{
    unsigned i = 0;
    while (machine.mapped[i].end != 0)
        i++;
    machine.mapped[i].base = base;
    machine.mapped[i].end = base + size;
    assert_true(pagetable_map(&tables, base, base, size, PTE_W));
}

void machine_descriptor(uint32_t type, uint64_t base, uint64_t pages, uint64_t attribute)
{
    machine.map[machine.map_count++] = (EFI_MEMORY_DESCRIPTOR){
        .Type = type,
        .PhysicalStart = base,
        .NumberOfPages = pages,
        .Attribute = attribute,
    };
}

struct good *machine_manifest(void)
{
    return (struct good *)(uintptr_t)(IMAGE_BASE + MANIFEST_OFFSET);
}

struct hv_image_header *machine_hv(void)
{
    return (struct hv_image_header *)(uintptr_t)(IMAGE_BASE + HV_OFFSET);
}

/* As in PE/COFF: the headers, as far as boot/ reads them, and two sections. */
static void image_build(void)
{
    static const struct {
        char name[10];
        uint32_t at, size;
    } sections[] = {
        {".text", 0x1000, 0x1000},
        {".hv", HV_OFFSET, (HV_RODATA + HV_TEXT + HV_DATA) * 4096},
        {".manifest", MANIFEST_OFFSET, sizeof(struct good)},
    };
    uint8_t *image = (uint8_t *)(uintptr_t)IMAGE_BASE;
    uint32_t pe = 0x80, count = sizeof(sections) / sizeof(*sections);
    memcpy(image, "MZ", 2);
    memcpy(image + 0x3c, &pe, 4);
    memcpy(image + pe, "PE\0", 4);
    memcpy(image + pe + 6, &count, 2);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *header = image + pe + 24 + i * 40;
        memcpy(header, sections[i].name, 8);
        memcpy(header + 8, &sections[i].size, 4);
        memcpy(header + 12, &sections[i].at, 4);
    }
    uint8_t *hv = (uint8_t *)machine_hv();
    for (uint32_t i = 0; i < sections[1].size; i++)
        hv[i] = (uint8_t)(i * 7 + i / 4096 + 1);
    *machine_hv() = (struct hv_image_header){
        .magic = HV_IMAGE_MAGIC,
        .version = HANDOFF_VERSION,
        .entry = HV_RODATA * 4096 + 0x123,
        .text_offset = HV_RODATA * 4096,
        .data_offset = (HV_RODATA + HV_TEXT) * 4096,
        .data_size = HV_DATA * 4096,
        .total_size = HV_PAGES * 4096,
    };
    machine_hv()->checksum = crc32_update(0, hv + 16, sections[1].size - 16);
    good_make(machine_manifest());
}

int machine_reset(void **state)
{
    static bool placed;
    (void)state;
    if (!placed) {
        ram_file = memfd_create("ram", 0);
        assert_int_equal(ftruncate(ram_file, (off_t)RAM_SIZE), 0);
        place(RAM_BASE, RAM_SIZE, ram_file, 0);
        place(PSP_BAR, PSP_BAR_SIZE, -1, 0);
        place(ECAM, ECAM_BUSES * MIB, -1, 0);
        placed = true;
    }
    memset((void *)(uintptr_t)RAM_BASE, 0, 8 * MIB);
    memset((void *)(uintptr_t)ECAM, 0xff, ECAM_BUSES * MIB);
    pagetable_init(&tables, RAM_BASE + 7 * MIB, RAM_BASE + 8 * MIB, 0, 0);
    machine = (struct machine){
        .leaves =
            {
                {0, {0x10, 0x68747541, 0x444d4163, 0x69746e65}},
                {1, {0, 0, 0, 0}},
                {0x80000000, {0x80000020, 0, 0, 0}},
                {0x80000001, {0, 0, 1 << 2, 0}},
                {0x80000008, {0x3030, 0, 0, 0}},
                {0x8000000a, {1, 512, 0, 1}},
                /* SME, SEV; C-bit 51, 5 bits less; ASIDs 1 to 15, of which those from 6 on need no SEV-ES. */
                {0x8000001f, {3, 5 << 6 | 51, 15, 6}},
            },
        .syscfg = SYSCFG_MEM_ENCRYPTION_MOD_EN,
        .rflags = RFLAGS_IF | 2,
        .psp = {.answer = {1, 55, 0, 0, 0, 0, 0, 21}},
        .hwcr = HWCR_SMM_LOCK,
        .cr4 = 0x668 | CR4_OSXSAVE,
        .efer = EFER_LME | EFER_LMA,
        .tsc = UINT64_C(0xfffffff0) * 700,
        .hz = HZ,
        .tsc_per_access = HZ / 1000000,
        .pm_port = PM_PORT,
        .time = {.Year = 2026,
                 .Month = 11,
                 .Day = 29,
                 .Hour = 12,
                 .Minute = 34,
                 .Second = 56,
                 .TimeZone = EFI_UNSPECIFIED_TIMEZONE},
        .pm_hz = 3579545,
        .uarts = {{.port = 0x3f8, .scratch = 0x33}},
        .bar2_mask = (uint32_t)~(PSP_BAR_SIZE - 1),
        .bar3_mask = UINT32_MAX,
        .map_reads_left = 100,
        .low_base = 0x9c000,
        .allocation_skew = 0x3000,
        .allocations_left = 8,
        .image_base = IMAGE_BASE,
        .pci_address = PCI_ADDRESS_BEFORE,
        .firmware_cr3 = pagetable_cr3(&tables),
        .ecam_0 = ECAM_0,
    };
    for (unsigned option = 0; option < 16; option++)
        machine.boot_attributes[option] = 1; /* active */
    machine_maps(PSP_BAR, PSP_BAR_SIZE);
    machine_maps(ECAM_0, 256 * MIB);
    struct function *psp = machine_pci(0x41 << 8 | 1, 0x14861022, 0, 0x0400);
    psp->config[6] = (uint32_t)PSP_BAR | 4;
    machine_pci(0x41 << 8, 0x14841022, 0x80, 7);
    machine_pci(0, 0x14801022, 0, 0);
    memset((void *)(uintptr_t)PSP_BAR, 0, PSP_BAR_SIZE);
    *(uint32_t *)(uintptr_t)(PSP_BAR + 0x10900 + 4 * 63) = 1; /* C2PMSG_63: SEV */

    machine_descriptor(EfiConventionalMemory, 0, 0xa0, EFI_MEMORY_WB);
    machine_descriptor(EfiConventionalMemory, RAM_BASE, RAM_SIZE / 4096, EFI_MEMORY_WB);
    machine_descriptor(EfiRuntimeServicesData, RAM_BASE + 3 * MIB, 16, EFI_MEMORY_WB);

    image_build();
    boot.system = &system_table;
    acpi_build(2, true, true);
    machine_madt(1, (const uint8_t[]){0});
    machine_mcfg(ECAM_0, 0, 0, 255);
    return 0;
}

enum end machine_until(void (*call)(void))
{
    jmp_buf here;
    machine.out = &here;
    int end = setjmp(here);
    if (end == 0) {
        call();
        fail_msg("it came back");
    }
    return (enum end)(end - 1);
}

const struct preflight_row *machine_row(const char *feature)
{
    for (uint32_t i = 0; i < boot.row_count; i++)
        if (strcmp(boot.rows[i].feature, feature) == 0)
            return &boot.rows[i];
    fail_msg("no row \"%s\"", feature);
    return NULL;
}

void machine_psp_run(void)
{
    /* Naples has its mailbox elsewhere (Linux drivers/crypto/ccp/sp-pci.c: pspv1). */
    uint32_t *cells = (uint32_t *)(uintptr_t)(PSP_BAR + (machine.pci[0].config[0] >> 16 == 0x1456 ? 0x10500 : 0x10900));
    if (machine.psp.silent || (cells[32] & 0x87ff0000) == 0 || cells[32] >> 31 != 0)
        return;
    if (cells[32] == 4 << 16 && machine.psp.left_over && machine.psp.left_over_answers) {
        cells[32] = UINT32_C(1) << 31;
        machine.psp.silent = true;
    }
    if (cells[32] == 4 << 16)
        machine.psp.left_over = false;
    if (machine.psp.left_over)
        return;
    if (machine.psp.seen != NULL)
        machine.psp.seen();
    uint64_t page = (uint64_t)cells[57] << 32 | cells[56];
    assert_int_equal(cells[32], 4 << 16);
    assert_int_equal(page, machine.reserved_page); /* nobody else's, and reachable */
    assert_int_equal(page % 4096, 0);
    machine.psp.commands++;
    machine.psp.command_register = machine.pci[0].config[1];
    memcpy((void *)(uintptr_t)page, machine.psp.answer, sizeof(machine.psp.answer));
    cells[32] = UINT32_C(1) << 31 | machine.psp.status;
}

bool machine_holds_nothing(void)
{
    if (machine.reserved_page != 0)
        return false;
    for (unsigned i = 0; i < sizeof(machine.pages) / sizeof(*machine.pages); i++)
        if (machine.pages[i].pages != 0)
            return false;
    return true;
}
