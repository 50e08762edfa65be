/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Accesses to registers in memory by one MOV each, from or to EAX. */
#include "hv/lib/mmio.h"

uint32_t mmio_read32(const volatile void *registers, uint64_t offset)
{
    uint32_t value;
    __asm__ volatile("movl (%1), %0" : "=a"(value) : "r"((const volatile uint8_t *)registers + offset) : "memory");
    return value;
}

void mmio_write32(volatile void *registers, uint64_t offset, uint32_t value)
{
    __asm__ volatile("movl %1, (%0)" : : "r"((volatile uint8_t *)registers + offset), "a"(value) : "memory");
}
