/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A processor whose instructions are written down, in words, in the order in which they came. */
#ifndef TESTS_UNIT_HV_MACHINE_FAKE_CPU_H
#define TESTS_UNIT_HV_MACHINE_FAKE_CPU_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include "../cmocka_names.h"

#include <stdio.h>
#include <string.h>

#include "hv/cpu/cpu.h"
#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "hv/mm/memory.h"
#include "hv/mm/page.h"

#define FAKE_C_BIT (UINT64_C(1) << 47)
#define POOL_BASE UINT64_C(0x7000000)   /* physical, of the pool's first page */
#define POOL_PAGES 2600u

extern char did[16384];                  /* a line each */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

extern struct cpu fake_cpu;             /* GS:0 */
extern uint64_t fake_tsc, fake_cr0, fake_cr3;
extern struct fake_leaf {
    uint32_t leaf;
    struct cpuid regs;
} fake_leaves[16];
extern struct fake_msr {
    uint32_t msr;
    uint64_t value;
} fake_msrs[8];
extern uint32_t (*fake_config)(uint32_t address,
                               const uint32_t *value);     /* PCI by ports; NULL: told, and read inverted */
extern uint16_t fake_port;              /* what other ports read as */
extern void (*fake_out16_seen)(uint16_t port);  /* called by out16() */
extern void (*fake_rdtsc_seen)(void);   /* called by rdtsc() */
extern void (*fake_noting)(void);       /* called before each line of did[] */
extern bool fake_if;                    /* RFLAGS.IF */
extern uint64_t (*fake_x2apic)(uint32_t msr, const uint64_t *value);    /* MSRs 800 to 8FF; NULL: there are none */
extern unsigned fake_pages_left;        /* page_alloc() fails beyond */
extern jmp_buf *fake_out;               /* HLT, panic() and other ends come back here */
#define ENDS(call)                     \
    ({                                 \
        jmp_buf here;                  \
        fake_out = &here;              \
        bool back = setjmp(here) == 0; \
        if (back) {                    \
            call;                      \
        }                              \
        !back;                         \
    })

struct cpuid *fake_leaf(uint32_t leaf);
uint64_t *fake_msr(uint32_t msr);

/* All back to the beginning. A cmocka set-up. */
int fake_reset(void **state);

#endif
