/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A virtual CPU and its run loop. */
#ifndef SEVISOR_VCPU_H
#define SEVISOR_VCPU_H

#include "cpu.h"
#include "pvclock.h"
#include "vlapic.h"
#include "vmcb.h"

struct guest;
struct manifest_registers;

/* What VMRUN does not save; the assembly's layout (offsets generated, asserted). */
struct vcpu_gprs {
    uint64_t rbx, rcx, rdx, rsi, rdi, rbp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
};

enum vcpu_state {
    VCPU_RUNNABLE,
    VCPU_HALTED,        /* HLT: wakes by interrupt or timer */
    VCPU_WAIT_SIPI,
    VCPU_DEAD,
};

#define VCPU_EXIT_KINDS 16u     /* counters for the report and the monitor */

struct vcpu {
    struct vcpu_gprs gprs;      /* first: the assembly's */
    struct vmcb *vmcb;          /* its accessors are in vmcb.h */
    paddr_t vmcb_pa;
    struct guest *guest;
    uint32_t id;                /* x2APIC id */
    enum vcpu_state state;
    struct cpu *last_cpu;
    struct vlapic lapic;
    struct pvclock pvclock;
    struct vcpu *next;          /* run queue */
    uint8_t *fpu;               /* FXSAVE/XSAVE area, 64-byte aligned, pool page */
    uint64_t xcr0;
    uint64_t run_tsc;           /* time in the guest */
    uint64_t exits[VCPU_EXIT_KINDS];
    bool pending_exception;     /* to inject at the next entry */
    uint8_t exception_vector;
    uint32_t exception_error;
    bool exception_has_error;
};

/* Allocates VMCB, FPU area; loads the initial registers. False: out of pool pages. */
bool vcpu_create(struct guest *guest, uint32_t id, const struct manifest_registers *registers, struct vcpu **out);
void vcpu_destroy(struct vcpu *vcpu);

/* Runs until the slice is over, the vCPU halts, or its guest has ended. */
void vcpu_run(struct vcpu *vcpu);
/* Something for a halted vCPU to do arrived (an interrupt): runnable again. */
void vcpu_wake(struct vcpu *vcpu);
/* #GP(0), #UD, ... at the next entry. */
void vcpu_inject_exception(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error);

/* sched.c: the run queue of a CPU. */
void sched_add(struct cpu *cpu, struct vcpu *vcpu);
void sched_remove(struct vcpu *vcpu);
/* Runs guests until none is alive. */
void sched_loop(struct cpu *cpu);

/* exit.c: one handler per exit code; false: the vCPU must leave the run loop. */
bool exit_dispatch(struct vcpu *vcpu);

#endif
