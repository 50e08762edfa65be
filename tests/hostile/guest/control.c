/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* CR0 and CR4: what the guest reads is what it wrote, whatever the hardware has, and MOV does as a processor does. */
#include "kit.h"

#define CR0_MP 0x2u
#define CR0_TS 0x8u
#define CR0_NW 0x20000000u
#define CR0_CD 0x40000000u
#define CR4_MCE 0x40u
#define CR4_VMXE 0x2000u
#define CR4_LA57 0x1000u
#define CR4_PGE 0x80u
#define CR4_PAE 0x20u

static uint64_t wrong;

static void expect(bool right, const char *what)
{
    if (right || wrong++ != 0)
        return;
    put("(wrong: ");
    put(what);
    put(")\n");
}

static uint64_t read_cr0(void)
{
    uint64_t value;

    __asm__ volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}

static uint64_t read_cr4(void)
{
    uint64_t value;

    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

static void write_cr0(uint64_t value, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    __asm__ volatile("mov %0, %%cr0" : : "r"(value) : "memory");
}

/* By R15 and RSP's neighbour in the encoding, so that the register's number matters. */
static void write_cr4(uint64_t value, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    __asm__ volatile("mov %0, %%r15\n\tmov %%r15, %%cr4" : : "r"(value) : "r15", "memory");
}

static void lmsw(uint64_t value, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    __asm__ volatile("lmsw %w0" : : "r"(value) : "memory");
}

/* LMSW from a page that is not there. */
static void lmsw_nowhere(uint64_t a, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    __asm__ volatile("lmsw (%0)" : : "r"(a) : "memory");
}

static void clts(uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    __asm__ volatile("clts" ::: "memory");
}

/* With RFLAGS.TF: a trap behind each instruction. */
static void clts_step(uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; clts; nop" ::: "memory");
}

static uint64_t flags(void)
{
    uint64_t value;

    __asm__ volatile("pushfq; pop %0" : "=r"(value) : : "memory");
    return value;
}

static uint16_t smsw(void)
{
    uint16_t value;

    __asm__ volatile("smsw %0" : "=m"(value));
    return value;
}

static void machine_status_word(uint64_t cr0)
{
    uint64_t none = UINT64_C(0x7fffffff0000);

    lmsw((cr0 & 0xffff) | CR0_TS, 0, 0);
    expect(read_cr0() == (cr0 | CR0_TS), "LMSW");
    expect(smsw() == ((cr0 | CR0_TS) & 0xffff), "SMSW");
    clts(0, 0, 0);
    expect(read_cr0() == cr0, "CLTS");
    expect((flags() & 0x100) == 0, "TF is left on");
    lmsw(0, 0, 0);
    expect(read_cr0() == (cr0 & ~UINT64_C(0xe)), "LMSW of 0");        /* PE stays */
    write_cr0(cr0, 0, 0);
    expect(attempt(lmsw_nowhere, none, 0, 0) == FAULT(VECTOR_PF), "LMSW from nowhere");
    expect(attempt(clts_step, 0, 0, 0) == FAULT(VECTOR_DB), "a step over CLTS");
    expect(read_cr0() == cr0, "CR0");
}

static void attack_control(void)
{
    uint64_t rounds = 0, cr0 = read_cr0(), cr4 = read_cr4();

    wrong = 0;
    for (; more(); rounds++) {
        expect((cr4 & CR4_MCE) == 0, "CR4.MCE is seen");
        expect(attempt(write_cr4, cr4 | CR4_MCE, 0, 0) == FAULT(VECTOR_GP), "CR4.MCE");
        expect(attempt(write_cr4, cr4 | CR4_VMXE, 0, 0) == FAULT(VECTOR_GP), "CR4.VMXE");
        expect(attempt(write_cr4, cr4 | CR4_LA57, 0, 0) == FAULT(VECTOR_GP), "CR4.LA57");
        expect(attempt(write_cr4, cr4 & ~(uint64_t)CR4_PAE, 0, 0) == FAULT(VECTOR_GP), "CR4.PAE");
        expect(attempt(write_cr4, cr4 | UINT64_C(1) << 40, 0, 0) == FAULT(VECTOR_GP), "CR4, reserved");
        expect(attempt(write_cr4, cr4 ^ CR4_PGE, 0, 0) == 0 && read_cr4() == (cr4 ^ CR4_PGE), "CR4.PGE");
        write_cr4(cr4, 0, 0);
        machine_status_word(cr0);
        expect(attempt(write_cr0, cr0 | CR0_NW, 0, 0) == FAULT(VECTOR_GP), "CR0.NW without CD");
        write_cr0(cr0 | CR0_CD, 0, 0);
        expect(read_cr0() == (cr0 | CR0_CD), "CR0.CD");
        /* Now each write exits; else the emulator lets this one pass, as if it had 32 bits. */
        expect(attempt(write_cr0, cr0 | CR0_CD | UINT64_C(1) << 32, 0, 0) == FAULT(VECTOR_GP), "CR0, reserved");
        machine_status_word(cr0 | CR0_CD);
        write_cr0(cr0 | CR0_CD | CR0_NW, 0, 0);
        expect(read_cr0() == (cr0 | CR0_CD | CR0_NW), "CR0.CD and NW");
        expect(attempt(write_cr0, cr0 | CR0_NW, 0, 0) == FAULT(VECTOR_GP), "CR0.NW with CD taken away");
        mode_trip();
        write_cr0(cr0, 0, 0);
        expect(read_cr0() == cr0, "CR0 as it was");
    }
    tell(rounds, "rounds");
    tell(wrong, "wrong");
}

/* CR0.CD stays on: what the hardware runs with is for the machine's monitor to see. */
static void attack_uncached(void)
{
    uint64_t rounds = 0;

    write_cr0(read_cr0() | CR0_CD, 0, 0);
    for (; more(); rounds++)
        (void)*(volatile uint64_t *)&rounds;
    tell(read_cr0() & CR0_CD ? 1 : 0, "uncached");
}

const struct attack controls[] = {
    {"control", attack_control},
    {"uncached", attack_uncached},
    {0, 0},
};
