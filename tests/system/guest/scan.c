/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A guest that looks at all of its memory before it uses any, as one would that hopes to find
 * what an earlier owner left there. It prints
 *
 *   scan: shared 0x1000 to 0x7fff is not zero     a run of pages that hold anything, read without the C-bit
 *   scan: old words shared N, private N           words that look as if an earlier owner had written them
 *   scan: private 0x1000 holds HASH               FNV-1a of a page that its owner had measured, read with the C-bit
 *   scan: done
 *
 * then fills what it has no use for with such words, waits for a byte on its console, and powers off.
 * Without SEV shared and private are the same memory.
 */
#include "guest/hello/bare.h"

#define PAGE 4096u
#define LARGE_PAGE (UINT64_C(2) << 20)
#define ADDRESS UINT64_C(0x000ffffffffff000)
#define PRESENT_WRITE 0x3u
#define LARGE 0x80u

/* All of memory once more, without the C-bit: 1 GiB at most, the ninth of this address space. */
#define SHARED_BASE (UINT64_C(8) << 30)
static uint64_t shared_directory[512] __attribute__((aligned(PAGE)));

/* Below it lies what this program is made of. */
#define FREE_GPA LARGE_PAGE

/* guest/pack/flat.py. What the program, or the CPU for it, writes under its own key is not looked at under another. */
#define COMMAND_LINE_GPA 0x1000u
#define GDT_GPA 0x3000u
#define TABLES_END 0x7000u
#define STACK_GPA 0x7f000u
#define IMAGE_GPA 0x100000u
extern const uint8_t image_end[];

/* The upper half of a word that owners leave behind; the lower half is its address. test_scrub.py has the same. */
#define OLD_WORD UINT64_C(0x4c4f534500000000)
#define OLD_MASK UINT64_C(0xffffffff00000000)

static uint64_t find_c_bit(void)
{
    uint32_t a, b, c, d;

    cpuid(0x80000000, &a, &b, &c, &d);
    if (a < 0x8000001f)
        return 0;
    cpuid(0x8000001f, &a, &b, &c, &d);
    return (a & 0x2) != 0 && (read_msr(MSR_SEV_STATUS) & 1) != 0 ? UINT64_C(1) << (b & 0x3f) : 0;
}

static void map_shared(uint64_t memory, uint64_t c_bit)
{
    uint64_t cr3, *table;

    for (uint64_t i = 0; i < memory / LARGE_PAGE; i++)
        shared_directory[i] = i * LARGE_PAGE | LARGE | PRESENT_WRITE;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    table = (uint64_t *)(cr3 & ADDRESS & ~c_bit);
    table = (uint64_t *)(table[0] & ADDRESS & ~c_bit);
    table[SHARED_BASE >> 30] = (uint64_t)shared_directory | c_bit | PRESENT_WRITE;
}

static bool is_own(uint64_t gpa)
{
    return (gpa >= GDT_GPA && gpa < TABLES_END) || gpa == STACK_GPA || (gpa >= IMAGE_GPA && gpa < (uint64_t)image_end);
}

static void put_range(uint64_t start, uint64_t end)
{
    put("scan: shared ");
    put_hex(start);
    put(" to ");
    put_hex(end - 1);
    put(" is not zero\n");
}

static bool page_is_zero(const volatile uint64_t *page, uint64_t *old)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < PAGE / 8; i++) {
        uint64_t word = page[i];

        any |= word;
        *old += (word & OLD_MASK) == OLD_WORD;
    }
    return any == 0;
}

static void look_around(uint64_t memory, uint64_t c_bit)
{
    uint64_t start = 0, shared_old = 0, private_old = 0;
    bool inside = false;

    for (uint64_t gpa = 0; gpa < memory; gpa += PAGE) {
        bool zero = is_own(gpa) || page_is_zero((const volatile uint64_t *)(SHARED_BASE + gpa), &shared_old);

        if (zero && inside)
            put_range(start, gpa);
        if (!zero && !inside)
            start = gpa;
        inside = !zero;
    }
    if (inside)
        put_range(start, memory);
    for (uint64_t gpa = 0; c_bit != 0 && gpa < memory; gpa += PAGE)
        page_is_zero((const volatile uint64_t *)gpa, &private_old);
    put("scan: old words shared ");
    put_number(shared_old, 10);
    put(", private ");
    put_number(private_old, 10);
    put("\n");
}

static void put_hash(uint64_t gpa)
{
    const volatile uint8_t *page = (const volatile uint8_t *)gpa;
    uint64_t hash = 0xcbf29ce484222325;

    for (unsigned i = 0; i < PAGE; i++)
        hash = (hash ^ page[i]) * 0x100000001b3;
    put("scan: private ");
    put_hex(gpa);
    put(" holds ");
    put_hex(hash);
    put("\n");
}

/* The first half of its pages as others can read them, the rest under its own key. */
static void leave_words(uint64_t memory)
{
    uint64_t middle = (FREE_GPA + (memory - FREE_GPA) / 2) & ~(LARGE_PAGE - 1);

    for (uint64_t gpa = FREE_GPA; gpa < memory; gpa += 8)
        *(volatile uint64_t *)(gpa < middle ? SHARED_BASE + gpa : gpa) = OLD_WORD | gpa;
}

__attribute__((section(".text.entry"), noreturn)) void scan(const char *cmdline, uint64_t memory);

void scan(const char *cmdline, uint64_t memory)
{
    uint64_t c_bit = find_c_bit();

    (void)cmdline;
    uart_start();
    map_shared(memory, c_bit);
    look_around(memory, c_bit);
    put_hash(COMMAND_LINE_GPA);
    put_hash(GDT_GPA);
    put("scan: done\n");
    leave_words(memory);
    put("scan: holding, send a byte to go on\n");
    wait_for_byte();
    out8(SLEEP_CONTROL, SLEEP_S5);
    for (;;)
        __asm__ volatile("cli; hlt");
}
