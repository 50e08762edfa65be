/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* How wide a guest's physical addresses are. Pure: boot/'s preflight asks, too. */
#ifndef SEVISOR_WIDTH_H
#define SEVISOR_WIDTH_H

#include <stdbool.h>
#include <stdint.h>

#define WIDTH_NESTED 48u /* bits that nested tables of 4 levels translate, as npt.c builds them (APM2 15.25.3, 5.3) */

/* CPUID 8000_0008 EAX[7:0] for a guest. `host`: the host's, with its reduction by memory encryption applied. `reduced`: what
 * a SEV guest subtracts itself, as CPUID 8000_001F EBX[11:6] says; else 0. What the guest is left with is never
 * more than the host reaches, and what it sees never more than nested tables translate. */
static inline uint32_t width_of_guest(uint32_t host, uint32_t reduced)
{
    return host + reduced < WIDTH_NESTED ? host + reduced : WIDTH_NESTED;
}

/* Whether a SEV guest of `memory` bytes has all of it, and the C-bit above it, in that width. */
static inline bool width_fits(uint32_t host, uint32_t reduced, uint32_t c_bit, uint64_t memory)
{
    uint32_t seen = width_of_guest(host, reduced);
    return reduced < seen && seen - reduced <= c_bit && memory <= UINT64_C(1) << (seen - reduced);
}

#endif
