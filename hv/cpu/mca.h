/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The machine check architecture (APM2 chapter 9): errors that the hardware reports. */
#ifndef SEVISOR_MCA_H
#define SEVISOR_MCA_H

#include "hv/cpu/cpu.h"

/* One bank's report. */
struct mca_error {
    uint32_t bank;
    uint64_t status, address, misc;
    uint64_t ipid, syndrome;    /* 0 without ScalableMca */
};

/* At most so many per scan of the banks. */
#define MCA_ERRORS 8u
struct mca_errors {
    uint32_t count, left_out;   /* the first is the first that was not corrected, if there is one */
    struct mca_error errors[MCA_ERRORS];
    uint64_t mcg_status;
    bool context_corrupt;       /* the processor's: nothing that it does can be relied upon */
    bool task_corrupt;          /* the interrupted context cannot be resumed */
};

/* Clears and enables this CPU's banks (all that are there; 0 is what a reset leaves); `before`: what they held. On each CPU. */
void mca_init(struct cpu *cpu, struct mca_errors *before);
/* On #MC, with the banks of this CPU: reads and clears them. The next #MC shuts the CPU down until mca_done(). */
void mca_collect(struct mca_errors *found);
void mca_done(void);
/* mca_collect(), when cpu->mca_due_tsc has passed; UINT64_MAX: this CPU has no banks. `now` is the TSC. */
void mca_look(struct cpu *cpu, uint64_t now, struct mca_errors *found);

/* The physical address of an uncorrected error, with or without the C-bit. False: the bank has none. */
bool mca_address(const struct mca_error *error, uint64_t *address);
/* One error in words, without a newline. */
#define MCA_TEXT 320u
void mca_describe(const struct mca_error *error, char *text, size_t size);

#endif
