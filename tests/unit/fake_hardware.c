/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The hardware's edge, where a program links the product's side of it but says nothing about it: instructions of fake_x86.h that
 * nobody is to execute, windows that nobody is to open, for a process has no page tables of its own; and panic(). */
#include "fake_x86.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "hv/lib/panic.h"
#include "hv/mm/window.h"

#define NOBODY_EXECUTES(name)                                       \
    do {                                                            \
        fprintf(stderr, "%s(): an instruction of no test\n", name); \
        abort();                                                    \
    } while (0)

/* A UART in memory, where hv has its page. */
__attribute__((weak)) uint8_t fake_uart_page[4096];

__attribute__((weak)) struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    (void)leaf, (void)subleaf;
    NOBODY_EXECUTES("cpuid");
}

__attribute__((weak)) uint64_t rdmsr(uint32_t msr)
{
    (void)msr;
    NOBODY_EXECUTES("rdmsr");
}

__attribute__((weak)) void wrmsr(uint32_t msr, uint64_t value)
{
    (void)msr, (void)value;
    NOBODY_EXECUTES("wrmsr");
}

__attribute__((weak)) uint8_t in8(uint16_t port)
{
    (void)port;
    NOBODY_EXECUTES("in8");
}

__attribute__((weak)) void out8(uint16_t port, uint8_t value)
{
    (void)port, (void)value;
    NOBODY_EXECUTES("out8");
}

__attribute__((weak)) uint16_t in16(uint16_t port)
{
    (void)port;
    NOBODY_EXECUTES("in16");
}

__attribute__((weak)) void out16(uint16_t port, uint16_t value)
{
    (void)port, (void)value;
    NOBODY_EXECUTES("out16");
}

__attribute__((weak)) uint32_t in32(uint16_t port)
{
    (void)port;
    NOBODY_EXECUTES("in32");
}

__attribute__((weak)) void out32(uint16_t port, uint32_t value)
{
    (void)port, (void)value;
    NOBODY_EXECUTES("out32");
}

__attribute__((weak)) uint64_t rdtsc(void)
{
    NOBODY_EXECUTES("rdtsc");
}

__attribute__((weak)) uint64_t read_cr0(void)
{
    NOBODY_EXECUTES("read_cr0");
}

__attribute__((weak)) uint64_t read_cr2(void)
{
    NOBODY_EXECUTES("read_cr2");
}

__attribute__((weak)) uint64_t read_cr3(void)
{
    NOBODY_EXECUTES("read_cr3");
}

__attribute__((weak)) uint64_t read_cr4(void)
{
    NOBODY_EXECUTES("read_cr4");
}

__attribute__((weak)) void write_cr0(uint64_t value)
{
    (void)value;
    NOBODY_EXECUTES("write_cr0");
}

__attribute__((weak)) void write_cr3(uint64_t value)
{
    (void)value;
    NOBODY_EXECUTES("write_cr3");
}

__attribute__((weak)) void write_cr4(uint64_t value)
{
    (void)value;
    NOBODY_EXECUTES("write_cr4");
}

__attribute__((weak)) void write_dr7(uint64_t value)
{
    (void)value;
    NOBODY_EXECUTES("write_dr7");
}

__attribute__((weak)) void wbinvd(void)
{
    NOBODY_EXECUTES("wbinvd");
}

__attribute__((weak)) void cli(void)
{
    NOBODY_EXECUTES("cli");
}

__attribute__((weak)) void sti(void)
{
    NOBODY_EXECUTES("sti");
}

__attribute__((weak)) void hlt(void)
{
    NOBODY_EXECUTES("hlt");
}

__attribute__((weak)) void sti_hlt(void)
{
    NOBODY_EXECUTES("sti_hlt");
}

__attribute__((weak)) uint64_t read_rflags(void)
{
    NOBODY_EXECUTES("read_rflags");
}

__attribute__((weak)) uint64_t xgetbv(void)
{
    NOBODY_EXECUTES("xgetbv");
}

__attribute__((weak)) void xsetbv(uint64_t value)
{
    (void)value;
    NOBODY_EXECUTES("xsetbv");
}

__attribute__((weak)) void xsave64(uint8_t *area, uint64_t mask)
{
    (void)area, (void)mask;
    NOBODY_EXECUTES("xsave64");
}

__attribute__((weak)) void xrstor64(const uint8_t *area, uint64_t mask)
{
    (void)area, (void)mask;
    NOBODY_EXECUTES("xrstor64");
}

__attribute__((weak)) void fxsave64(uint8_t *area)
{
    (void)area;
    NOBODY_EXECUTES("fxsave64");
}

__attribute__((weak)) void fxrstor64(const uint8_t *area)
{
    (void)area;
    NOBODY_EXECUTES("fxrstor64");
}

__attribute__((weak)) void x87_overwrite_pointers(void)
{
    NOBODY_EXECUTES("x87_overwrite_pointers");
}

__attribute__((weak)) void read_dr0_3(uint64_t dr[4])
{
    (void)dr;
    NOBODY_EXECUTES("read_dr0_3");
}

__attribute__((weak)) void write_dr0_3(const uint64_t dr[4])
{
    (void)dr;
    NOBODY_EXECUTES("write_dr0_3");
}

__attribute__((weak)) void *window_map(paddr_t base, uint64_t size, enum memory_view view)
{
    (void)base, (void)size, (void)view;
    NOBODY_EXECUTES("window_map");
}

__attribute__((weak)) void window_unmap(void *va, uint64_t size)
{
    (void)va, (void)size;
    NOBODY_EXECUTES("window_unmap");
}

__attribute__((weak)) void *window_map_own(paddr_t page, enum memory_view view)
{
    (void)page, (void)view;
    NOBODY_EXECUTES("window_map_own");
}

__attribute__((weak)) void window_unmap_own(void)
{
    NOBODY_EXECUTES("window_unmap_own");
}

__attribute__((weak)) void panic(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "panic: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}
