/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * hv's own address space on a host: real page tables in an arena, and a model of CPUs that walk them and keep what
 * they found in their TLBs until it is flushed.
 */
#ifndef TESTS_UNIT_HV_MAP_RIG_H
#define TESTS_UNIT_HV_MAP_RIG_H

#include "../hv_core/test.h"

#include "hv/mm/hostmap.h"
#include "hv/mm/memory.h"
#include "hv/mm/page.h"

#define RIG_C_BIT (UINT64_C(1) << 51)
#define RIG_ARENA UINT64_C(0x40000000)
/* The image's parts. */
#define RIG_TEXT UINT64_C(0x3000)
#define RIG_DATA UINT64_C(0x5000)
#define RIG_IMAGE_END UINT64_C(0x9000)
#define RIG_TABLES 40u                          /* pages for those that boot/ makes */
/* Where these have image and arena, and the page of boot/ that enters hv. */
#define RIG_IMAGE_VA UINT64_C(0xffffffff80000000)
#define RIG_ARENA_VA UINT64_C(0xffff800000000000)
#define RIG_TRAMPOLINE UINT64_C(0x7654000)

struct rig_options {
    bool no_sme;
    uint32_t cpus;              /* 0: one */
    uint64_t arena_size;        /* 0: 8 MiB */
    uint64_t arena_base;        /* physical; 0: RIG_ARENA */
    uint64_t uart;              /* where it lies in memory; 0: at ports */
};

/* memory_init() and hostmap_init() on a new machine; the boot CPU is the one that executes. */
void rig_start(struct rig_options options);
void rig_stop(void);
/* From now on this CPU executes; another than the boot CPU is given hostmap_cr3() the first time. */
void rig_run_on(uint32_t index);

struct translation {
    bool present;
    uint64_t address;           /* of the page, without C-bit */
    bool encrypted, writable, executable, uncached;
    unsigned level;
};
/* What the CPU that executes finds at `va`: by its TLB, which a walk fills. */
struct translation rig_access(uint64_t va);
/* Loads of CR3 so far, on all CPUs: each empties its TLB. */
extern unsigned rig_cr3_loads;
/* By a walk alone. */
struct translation rig_walk(uint64_t cr3, uint64_t va);
/* Calls `check` for each present entry at the end of a walk; fails the test where a pointer to a table lacks the C-bit. */
void rig_each(uint64_t cr3, void (*check)(uint64_t va, struct translation t));

uint64_t rig_pool_free(void);
/* Takes pool pages until `left` are free; gives them back. */
void rig_drain_pool(uint64_t left);
void rig_refill_pool(void);

/* What cache_flush() did. */
extern unsigned rig_fences;
extern uint32_t rig_line; /* bytes of a cache line, as CPUID has it */
extern uint64_t rig_flushed[4096];
extern unsigned rig_flushes;

extern jmp_buf rig_panicked;
extern bool rig_panic_expected;
#define EXPECT_PANIC(statement)          \
    do {                                 \
        volatile bool returned = false;  \
        rig_panic_expected = true;       \
        if (setjmp(rig_panicked) == 0) { \
            statement;                   \
            returned = true;             \
        }                                \
        rig_panic_expected = false;      \
        assert_false(returned);          \
    } while (0)

#endif
