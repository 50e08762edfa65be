/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Attacks on its own tables, and on what hv writes into its memory. */
#include "kit.h"

#define WINDOW UINT64_C(0x800000)       /* 8 MiB: a large page that nothing else uses */
#define OTHER UINT64_C(0xa00000)
#define PTE_LARGE UINT64_C(0x83)
#define PTE_READ_ONLY UINT64_C(0x81)
#define PML4 UINT64_C(0x4000)           /* guest/pack/machine.py */

static void touch(uint64_t address, uint64_t write, uint64_t unused)
{
    (void)unused;
    if (write != 0)
        *(volatile uint64_t *)address = write;
    else
        (void)*(volatile uint64_t *)address;
}

static void undefined(uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    __asm__ volatile("ud2");
}

static void set_clock(uint64_t msr, uint64_t value, uint64_t unused)
{
    (void)unused;
    write_msr((uint32_t)msr, value);
}

/* Page tables, GDT and IDT change under each walk, between exits that write into the same memory. */
static void attack_tables(void)
{
    static const uint64_t entries[] = {
        0,
        WINDOW | PTE_LARGE,
        OTHER | PTE_LARGE,
        WINDOW | PTE_READ_ONLY,
        WINDOW | PTE_LARGE | UINT64_C(1) << 13,
        WINDOW | PTE_LARGE | UINT64_C(1) << 63,
    };
    struct table_register gdtr;
    volatile uint64_t *entry = page_entry(WINDOW);
    uint64_t good = *entry, done = 0, set = 0;

    __asm__ volatile("sgdt %0" : "=m"(gdtr));
    for (; more(); done++) {
        uint64_t r = random64(), value = entries[r % 6];
        struct table_register shorter = {(uint16_t)(r >> 16 & 0x7f), gdtr.base};

        *entry = value == 0 ? 0 : value | c_bit;
        if ((r & 0x40) != 0)
            __asm__ volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
        attempt(touch, WINDOW + (r >> 40 & 0x1ffff8), r & 1, 0);
        set += attempt(set_clock, MSR_SYSTEM_TIME, (OTHER + (r >> 24 & 0x1ffffc)) | 1, 0) == 0;
        __asm__ volatile("lgdt %0" : : "m"(shorter));
        read_msr(MSR_EFER);
        __asm__ volatile("lgdt %0" : : "m"(gdtr));
        /* #UD finds no gate, or none that is present: #GP or #NP instead. */
        load_idt(VECTOR_GP * 16 + 15);
        attempt(undefined, 0, 0, 0);
        load_idt(0xfff);
    }
    *entry = good;
    __asm__ volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
    tell(done, "changes");
    tell(faults[VECTOR_PF], "page faults");
    tell(set, "clocks set beside them");
}

/* ------------------------------------------------------------- the paravirtual clock */

static void expect(uint64_t msr, uint64_t value, bool taken, uint64_t *done, uint64_t *wrong)
{
    uint32_t fault = attempt(set_clock, msr, value, 0);

    (*done)++;
    *wrong += fault != (taken ? 0 : FAULT(VECTOR_GP));
}

/* Refused: beyond RAM, unaligned, across pages. Taken, and the guest's own loss: all the rest. */
static void attack_pvclock(void)
{
    static const uint64_t nowhere[] = {0xfee00000,
                                       UINT64_C(1) << 32,
                                       UINT64_C(1) << 47,
                                       UINT64_C(1) << 51,
                                       UINT64_C(1) << 63,
                                       UINT64_MAX - 3,
                                       UINT64_MAX & ~UINT64_C(0xfff)};
    volatile uint8_t *page = (volatile uint8_t *)WINDOW;
    uint64_t done = 0, wrong = 0;

    while (more()) {
        for (unsigned i = 0; i < 7; i++) {
            expect(MSR_WALL_CLOCK, nowhere[i] & ~UINT64_C(3), false, &done, &wrong);
            expect(MSR_SYSTEM_TIME, (nowhere[i] & ~UINT64_C(3)) | 1, false, &done, &wrong);
        }
        for (uint64_t off = 0; off < 32; off += 4)          /* over the end of RAM */
            expect(MSR_SYSTEM_TIME, (memory_size - off) | 1, false, &done, &wrong);
        expect(MSR_SYSTEM_TIME, (memory_size - 32) | 1, true, &done, &wrong);
        expect(MSR_WALL_CLOCK, memory_size - 8, false, &done, &wrong);
        expect(MSR_WALL_CLOCK, memory_size - 12, true, &done, &wrong);
        expect(MSR_WALL_CLOCK, WINDOW + 1, false, &done, &wrong);
        expect(MSR_SYSTEM_TIME, (WINDOW + 2) | 1, false, &done, &wrong);
        expect(MSR_WALL_CLOCK, WINDOW + 0xff8, false, &done, &wrong);
        expect(MSR_SYSTEM_TIME, (WINDOW + 0xff0) | 1, false, &done, &wrong);
        expect(MSR_SYSTEM_TIME, WINDOW + 0xff2, true, &done, &wrong);   /* not enabled: no address */

        for (unsigned i = 0; i < 128; i++)
            page[i] = 0xa5;
        expect(MSR_SYSTEM_TIME, (WINDOW + 32) | 1, true, &done, &wrong);
        if (c_bit == 0) {
            for (unsigned i = 0; i < 32; i++)               /* nothing beside the structure */
                wrong += page[i] != 0xa5 || page[64 + i] != 0xa5;
        }
        expect(MSR_WALL_CLOCK, WINDOW + 40, true, &done, &wrong);       /* inside it */
        /* The top-level page table's unused end, and the packer's GDT page. */
        expect(MSR_SYSTEM_TIME, (PML4 + 0xf00) | 1, true, &done, &wrong);
        expect(MSR_SYSTEM_TIME, UINT64_C(0x3800) | 1, true, &done, &wrong);
        if (c_bit == 0)         /* else the entry is noise, which may lead out of RAM, and that ends a guest */
            attempt(touch, UINT64_C(0xfffff00000000000), 0, 0);
        for (unsigned i = 0; i < 32; i++) {
            uint64_t address = random64() & (memory_size * 2 - 1) & ~UINT64_C(3);

            /* Anywhere but where this guest lives. */
            if (address > WINDOW)
                attempt(set_clock, MSR_SYSTEM_TIME, address | 1, 0);
            done++;
        }
    }
    tell(done, "addresses");
    tell(wrong, "wrong");
    tell(faults[VECTOR_PF], "page faults");
}

const struct attack tables[] = {
    {"tables", attack_tables},
    {"pvclock", attack_pvclock},
    {0, 0},
};
