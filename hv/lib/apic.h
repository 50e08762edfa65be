/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The local APIC's registers (APM2 16), the host's and the guests'. */
#ifndef SEVISOR_APIC_H
#define SEVISOR_APIC_H

#include "hv/lib/x86.h"

/* By their x2APIC MSRs (APM2 16.11); in memory they lie at APIC_OFFSET(). */
/* clang-format off */
enum {
    APIC_ID = 0x802, APIC_VERSION = 0x803, APIC_TPR = 0x808, APIC_PPR = 0x80a, APIC_EOI = 0x80b,
    APIC_LDR = 0x80d, APIC_SVR = 0x80f,
    APIC_ISR = 0x810, APIC_TMR = 0x818, APIC_IRR = 0x820,      /* eight each */
    APIC_ESR = 0x828, APIC_ICR = 0x830, APIC_ICR_HIGH = 0x831,  /* the latter in memory only */
    APIC_LVT_TIMER = 0x832, APIC_LVT_THERMAL = 0x833, APIC_LVT_PERF = 0x834,
    APIC_LVT_LINT0 = 0x835, APIC_LVT_LINT1 = 0x836, APIC_LVT_ERROR = 0x837,
    APIC_TIMER_INITIAL = 0x838, APIC_TIMER_CURRENT = 0x839, APIC_TIMER_DIVIDE = 0x83e,
    APIC_SELF_IPI = 0x83f, APIC_LAST = 0x8ff,
};
/* clang-format on */
#define APIC_OFFSET(msr) (((msr) - MSR_X2APIC_BASE) * 16)

#define APIC_BASE_BSC (UINT64_C(1) << 8)
#define APIC_BASE_EXTD (UINT64_C(1) << 10)
#define APIC_BASE_AE (UINT64_C(1) << 11)
#define APIC_BASE_ADDRESS UINT64_C(0x000ffffffffff000)
#define SVR_ENABLE (1u << 8)
#define LVT_MASK (1u << 16)

/* APM2 16.5 */
#define ICR_MESSAGE(icr) ((unsigned)((icr) >> 8) & 7u)
enum { MESSAGE_FIXED = 0, MESSAGE_LOWEST = 1, MESSAGE_NMI = 4, MESSAGE_INIT = 5, MESSAGE_STARTUP = 6 };
#define ICR_LOGICAL (UINT64_C(1) << 11)
#define ICR_DELIVERY_STATUS (UINT64_C(1) << 12)
#define ICR_LEVEL_ASSERT (UINT64_C(1) << 14)
#define ICR_TRIGGER_LEVEL (UINT64_C(1) << 15)
#define ICR_SHORTHAND(icr) ((unsigned)((icr) >> 18) & 3u)
enum { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

#endif
