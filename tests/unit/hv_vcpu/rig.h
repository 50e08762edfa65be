/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the vCPU core needs of the rest of hv, as a host program: a pool of pages, a clock, a log that
 * can be read, a CPU whose CPUID is the test's, and a VMRUN that a test scripts. */
#ifndef TESTS_UNIT_HV_VCPU_RIG_H
#define TESTS_UNIT_HV_VCPU_RIG_H

#include "hv/control/job.h"
#include "hv/init/loop.h"
#include "hv/vm/exit.h"
#include "hv/mm/page.h"
#include "hv/vm/guest.h"
#include "hv/vm/ipi.h"
#include "hv/vm/run.h"
#include "hv/vm/sched.h"
#include "hv/vm/vcpu_cr.h"
#include "hv/vm/vcpu_poll.h"
#include "hv/vm/vcpu_start.h"

#define RIG_C_BIT (UINT64_C(1) << 51)
#define RIG_HZ UINT64_C(1000000000)
#define RIG_POOL_BASE UINT64_C(0x40000000)
#define RIG_WALL_S UINT64_C(1767225600)     /* when the TSC was 0 */
/* Guests' memory, as far as hv maps it. */
#define RIG_RAM_BASE UINT64_C(0x100000000)
#define RIG_RAM_STEP UINT64_C(0x1000000)
#define RIG_RAM_SIZE (8 * PAGE_SIZE)

extern struct cpu rig_cpu;                  /* this_cpu() */
extern struct cpu rig_others[2];            /* 1 and 2: halted, but for interrupts */
extern uint64_t rig_tsc;                    /* each look at the clock adds RIG_TICK */
extern uint64_t rig_stall_at;           /* as soon as a vCPU follows one that sleeps; 0: never */
#define RIG_STALL (15 * RIG_HZ)
#define RIG_TICK 10u
extern struct manifest_guest rig_config[GUEST_MAX];

/* The pool. */
uint64_t rig_pages_taken(void);
/* From now on so many are free; UINT64_MAX: all that are not taken. */
void rig_leave_pages(uint64_t count);

/* The nested tables' entry of a page of 4 KiB; 0: it is not there, or what leads there is not writable and for users. */
uint64_t rig_leaf_entry(const struct npt *npt, uint64_t gpa);

/* guests[index]'s memory; and whether hv has a window onto a guest's. */
uint8_t *rig_ram(uint32_t index);
extern bool rig_window_open;

/* CPUID: this function answers when set; else all ones, as from a CPU of the future. */
extern struct cpuid (*rig_cpuid)(uint32_t leaf, uint32_t subleaf);
/* From now on it does, and hv learns of it. */
void rig_use_cpuid(struct cpuid (*answers)(uint32_t leaf, uint32_t subleaf));
/* MSRs: these, when set; else each reads its number, and writes are lost. */
extern uint64_t (*rig_rdmsr)(uint32_t msr);
extern void (*rig_wrmsr)(uint32_t msr, uint64_t value);

/* What the code under test said and did. */
extern char rig_log[8192]; /* all lines */
extern unsigned rig_log_lines;
extern uint64_t rig_xcr0; /* XCR0 of the "CPU" */
extern unsigned rig_arms; /* of the timer */
extern unsigned rig_halts, rig_wbinvds; /* HLT, WBINVD of the host */
extern uint64_t rig_halted_tsc; /* spent in HLT */

/* CLGI has been executed; and interrupts that the CPU then sent to itself. */
extern bool rig_gif_clear;
extern unsigned rig_self_kicks;

/* A guest's WBINVD: what it takes here, and on each other CPU; and whether those have not answered. */
extern uint64_t rig_wbinvd_tsc, rig_wbinvd_others_tsc;
extern bool rig_wbinvd_late;
void rig_be_late(bool late);

/* What each round of the scheduler costs before a guest is entered. */
extern uint64_t rig_poll_cost;
extern uint32_t rig_line_us; /* how often the operator's line wants to be looked at */
extern unsigned rig_polls; /* for the operator's keys */
/* How often the operator's line was looked at since the last call, but to print. */
unsigned rig_count_drains(void);

/* The processor in guest mode: from here to the next #VMEXIT of `vcpu`; must set exitcode. */
extern void (*rig_vmrun)(struct vcpu *vcpu);
/* Lets time pass; the host's timer fires when due. True: it did. */
bool rig_time(uint64_t tsc);

/* What jobs_step() is; NULL: there is no job. */
extern enum job_verdict (*rig_job)(void);
/* Called in each round of the loop, where control/ looks around. NULL: nothing. */
extern void (*rig_control)(void);

/* All back to the beginning: no guests, all pages free. A cmocka set-up. */
int rig_reset(void **state);
/* guests[index] with one vCPU, on no run queue. */
struct vcpu *rig_guest(uint32_t index, bool sev);
/* Onto the CPU's queue. */
void rig_schedule(struct vcpu *vcpu);
/* One exit with `code`; RIP 0x1000, IF set; returns what exit_dispatch() did. */
bool rig_exit(struct vcpu *vcpu, uint64_t code, uint64_t info1, uint64_t info2);
/* A register state that VMRUN takes. */
extern const struct manifest_registers rig_registers;

#endif
