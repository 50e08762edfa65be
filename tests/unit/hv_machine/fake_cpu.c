/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "fake_cpu.h"

#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/mm/hostmap.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"
#include "../fake_uart.h"

char did[16384];
struct cpu fake_cpu;
uint64_t fake_tsc, fake_cr0, fake_cr3;
struct fake_leaf fake_leaves[16];
struct fake_msr fake_msrs[8];
uint64_t (*fake_x2apic)(uint32_t msr, const uint64_t *value);
uint32_t (*fake_config)(uint32_t address, const uint32_t *value);
uint16_t fake_port;
void (*fake_out16_seen)(uint16_t port);
void (*fake_rdtsc_seen)(void);
void (*fake_noting)(void);
bool fake_if;
unsigned fake_pages_left;
jmp_buf *fake_out;

static uint32_t pci_address;
_Alignas(4096) uint8_t fake_pool[POOL_PAGES][PAGE_SIZE];
static unsigned pages_taken;

void note(const char *format, ...)
{
    va_list arguments;
    if (fake_noting != NULL)
        fake_noting();
    size_t length = strlen(did);
    va_start(arguments, format);
    int n = vsnprintf(did + length, sizeof(did) - length, format, arguments);
    va_end(arguments);
    assert_true(n >= 0 && length + (size_t)n + 2 < sizeof(did));
    strcat(did, "\n");
}

/* ---- instructions ---- */

struct cpuid *fake_leaf(uint32_t leaf)
{
    for (unsigned i = 0; i < sizeof(fake_leaves) / sizeof(*fake_leaves); i++)
        if (fake_leaves[i].leaf == leaf)
            return &fake_leaves[i].regs;
    return NULL;
}

struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    const struct cpuid *found = fake_leaf(leaf);
    assert_int_equal(subleaf, 0);
    return found != NULL ? *found : (struct cpuid){~0u, ~0u, ~0u, ~0u};
}

uint64_t *fake_msr(uint32_t msr)
{
    for (unsigned i = 0; i < sizeof(fake_msrs) / sizeof(*fake_msrs); i++)
        if (fake_msrs[i].msr == msr)
            return &fake_msrs[i].value;
    fail_msg("MSR %x is nobody's here: #GP", msr);
    return NULL;
}

uint64_t rdmsr(uint32_t msr)
{
    return fake_x2apic != NULL && msr >> 8 == 8 ? fake_x2apic(msr, NULL) : *fake_msr(msr);
}

void wrmsr(uint32_t msr, uint64_t value)
{
    if (fake_x2apic != NULL && msr >> 8 == 8)
        fake_x2apic(msr, &value);
    else
        *fake_msr(msr) = value;
    note("wrmsr %x %lx", msr, value);
}

/* A program without the console has no operator's UART either. */
__attribute__((weak)) uint8_t fake_uart_read(uint16_t port)
{
    note("in %x", port);
    return (uint8_t)fake_port;
}

__attribute__((weak)) void fake_uart_write(uint16_t port, uint8_t value)
{
    note("out %x %x", port, value);
}

uint8_t in8(uint16_t port)
{
    if (fake_uart_is_at(port))
        return fake_uart_read(port);
    note("in %x", port);
    return (uint8_t)fake_port;
}

void out8(uint16_t port, uint8_t value)
{
    if (fake_uart_is_at(port))
        fake_uart_write(port, value);
    else
        note("out %x %x", port, value);
}

uint16_t in16(uint16_t port)
{
    note("in16 %x", port);
    return fake_port;
}

void out16(uint16_t port, uint16_t value)
{
    note("out16 %x %x", port, value);
    if (fake_out16_seen != NULL)
        fake_out16_seen(port);
}

uint32_t in32(uint16_t port)
{
    if (port == 0xcf8)
        return pci_address;
    assert_int_equal(port, 0xcfc);
    assert_false(fake_if);      /* a handler may come between, and use them */
    if (fake_config != NULL)
        return fake_config(pci_address, NULL);
    note("pci %x read", pci_address);
    return ~pci_address;
}

void out32(uint16_t port, uint32_t value)
{
    if (port == 0xcf8) {
        pci_address = value;
        return;
    }
    assert_int_equal(port, 0xcfc);
    assert_false(fake_if);
    if (fake_config != NULL)
        fake_config(pci_address, &value);
    else
        note("pci %x write %x", pci_address, value);
}

uint64_t rdtsc(void)
{
    if (fake_rdtsc_seen != NULL)
        fake_rdtsc_seen();
    return fake_tsc;
}
uint64_t read_cr0(void)
{
    return fake_cr0;
}
uint64_t read_cr2(void)
{
    return 0xc2;
}
uint64_t read_cr3(void)
{
    return fake_cr3;
}
uint64_t read_cr4(void)
{
    return 0xc4;
}
void write_cr0(uint64_t value)
{
    note("cr0 %lx", value);
}
void write_cr3(uint64_t value)
{
    note("cr3 %lx", fake_cr3 = value);
}
void write_cr4(uint64_t value)
{
    note("cr4 %lx", value);
}
void write_dr7(uint64_t value)
{
    note("dr7 %lx", value);
}
void wbinvd(void)
{
    note("wbinvd");
}
uint64_t read_rflags(void)
{
    return fake_if ? RFLAGS_IF | 2 : 2;
}

void cli(void)
{
    fake_if = false;
    if (fake_config == NULL)
        note("cli");
}

void clgi(void)
{
}

void sti(void)
{
    fake_if = true;
    if (fake_config == NULL)
        note("sti");
}

void hlt(void)
{
    note("hlt");
    longjmp(*fake_out, 1);
}

/* ---- what hv's core calls wherever it is; a program that links the real ones has those ---- */

__attribute__((weak)) void panic(const char *format, ...)
{
    note("panic %s", format);
    longjmp(*fake_out, 1);
}

__attribute__((weak)) void log_print(enum log_level level, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    note("log %d %s", level, line);
}

__attribute__((weak)) bool page_alloc(uint64_t count, paddr_t *out)
{
    if (count > fake_pages_left)
        return false;
    assert_true(pages_taken + count <= POOL_PAGES);
    fake_pages_left -= (unsigned)count;
    *out = paddr(POOL_BASE + pages_taken * PAGE_SIZE);
    pages_taken += (unsigned)count;
    note("page_alloc %lu", count);
    return true;
}

__attribute__((weak)) void page_free(paddr_t base, uint64_t count)
{
    note("page_free %lx %lu", base.raw, count);
}

__attribute__((weak)) void *page_va(paddr_t page)
{
    assert_true(page.raw >= POOL_BASE && page.raw - POOL_BASE < sizeof(fake_pool));
    return (uint8_t *)fake_pool + (page.raw - POOL_BASE);
}

__attribute__((weak)) paddr_t page_pa(const void *va)
{
    return paddr(POOL_BASE + (uint64_t)((const uint8_t *)va - (const uint8_t *)fake_pool));
}

__attribute__((weak)) uint64_t view_entry_address(paddr_t page, enum memory_view view)
{
    return page.raw | (view == VIEW_ENCRYPTED ? FAKE_C_BIT : 0);
}

__attribute__((weak)) uint64_t view_firmware_address(paddr_t page, enum memory_view view)
{
    assert_int_equal(view, VIEW_ENCRYPTED);     /* nothing of hv's is plain */
    return page.raw | FAKE_C_BIT;
}

int fake_reset(void **state)
{
    (void)state;
    did[0] = '\0';
    memset(fake_leaves, 0, sizeof(fake_leaves));
    memset(fake_msrs, 0, sizeof(fake_msrs));
    memset(fake_pool, 0, sizeof(fake_pool));
    pages_taken = 0;
    fake_pages_left = POOL_PAGES;
    fake_x2apic = NULL;
    fake_if = false;
    fake_port = 0;
    fake_out16_seen = NULL;
    fake_rdtsc_seen = NULL;
    fake_noting = NULL;
    fake_config = NULL;
    fake_tsc = 0;
    fake_cr0 = 0;
    fake_cr3 = 0xc3;
    fake_cpu = (struct cpu){.self = &fake_cpu};
    syscall(SYS_arch_prctl, ARCH_SET_GS, &fake_cpu);
    return 0;
}
