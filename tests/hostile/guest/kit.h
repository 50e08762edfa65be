/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What attacks are made of. */
#ifndef TESTS_HOSTILE_GUEST_KIT_H
#define TESTS_HOSTILE_GUEST_KIT_H

#include "guest/hello/bare.h"

#define VECTOR_DB 1u
#define VECTOR_UD 6u
#define VECTOR_NP 11u
#define VECTOR_GP 13u
#define VECTOR_PF 14u
#define FAULT(vector) (0x100u + (vector))

#define MSR_TSC 0x10u
#define MSR_WALL_CLOCK 0x4b564d00u
#define MSR_SYSTEM_TIME 0x4b564d01u
#define MSR_X2APIC_ICR 0x830u
#define ICR_MODE 0x700u
#define ICR_NMI 0x400u
#define ICR_INIT 0x500u
#define MSR_EFER 0xc0000080u

struct attack {
    const char *name;
    void (*run)(void);
};
/* Each file has a table, which ends with a name of NULL. */
extern const struct attack probes[], controls[], storms[], tables[], ends[], crowds[];

extern const char *command_line;
extern uint64_t memory_size;        /* bytes of RAM */
extern uint64_t c_bit;              /* 0 without SEV */

/* faults.asm */
uint32_t attempt(void (*function)(uint64_t, uint64_t, uint64_t), uint64_t a, uint64_t b, uint64_t c);
void unblock_nmi(uint64_t a, uint64_t b, uint64_t c);
extern volatile uint64_t faults[32], interrupts[256];
/* modes.asm */
void mode_trip(void);

/* True while the attack's time is not over; not to be relied on while the TSC is being changed. */
bool more(void);
uint64_t random64(void);            /* the same sequence for the same `seed=` */
/* What an attack did: "hostile: NAME: 12 of this, 34 of that". */
void tell(uint64_t count, const char *what);
/* The table entry that maps `address`, of large pages. */
volatile uint64_t *page_entry(uint64_t address);
void load_idt(uint16_t limit);
/* In the page at 8 MiB of the address space stands whatever address is asked for, from now on. */
volatile uint32_t *map(uint64_t address);
/* The same without the C-bit, as device registers are mapped. */
volatile uint32_t *map_shared(uint64_t address);
/* Some 4-byte aligned address below 4 GiB where there is no memory. */
uint64_t bus_address(void);
/* Exits of different kinds, one by each function; NULL ends the list. */
extern void (*const exits[])(void);
/* The vlapic as at the start; what was pending is taken. */
void quiesce(void);

void power_off(void) __attribute__((noreturn));
/* The end of a guest whose own tables or code are wrong; `frame`: RIP, CS, RFLAGS, RSP. */
void stray_fault(uint64_t vector, const uint64_t *frame) __attribute__((noreturn));

static inline uint64_t address_of(void (*function)(uint64_t, uint64_t, uint64_t))
{
    return (uint64_t)function;
}

#endif
