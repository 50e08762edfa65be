/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The secure processor: its bring-up as a job, its mailbox, which one job has at a time, and what it came to. */
#ifndef SEVISOR_SEV_H
#define SEVISOR_SEV_H

#include "boot/handoff.h"
#include "hv/control/job.h"
#include "psp/psp.h"

#define SEV_TEXT 256u

/* What the manifest asks of the platform. */
struct sev_wishes {
    psp_addr_t image;           /* firmware, which is loaded where it is newer than what runs */
    uint32_t image_size;        /* 0: none */
    uint32_t image_version;     /* SEV_VERSION() of it, as the manifest says */
    bool pdh;                   /* a session was made with the PDH, or will be: see whether it outlives INIT */
    bool show;                  /* print the platform's certificates when they are known */
};

/* Attaches to the device; its job then loads firmware and runs INIT. A failure is logged in words and leaves
 * encrypted guests refused with that reason: sev_ready() false. Only the first call counts. */
void sev_start(const struct handoff *handoff, const struct sev_wishes *wishes);
struct job *sev_job(void);
enum job_verdict sev_step(struct job *job);
/* The bring-up is under way. */
bool sev_comes_up(void);
bool sev_ready(void);
const char *sev_refusal(void);
/* SHUTDOWN, before power-off, which waits for it. Nothing when sev_start() did not get so far. */
void sev_stop(void);

/*
 * A job that has a command to send asks sev_mailbox(). JOB_IDLE: the mailbox is free, it submits (to sev_psp()), and
 * sev_submitted() takes note of what came of it: true, the command is outstanding; false, it was refused at once.
 * JOB_MOVED: the job's command is over, *result tells how. JOB_WAITS: it is not. JOB_WANTS_MAILBOX: another job's is not.
 */
enum job_verdict sev_mailbox(const struct job *job, struct psp_result *result);
bool sev_submitted(struct job *job, struct psp_result result);
struct psp *sev_psp(void);
/* Who submitted the outstanding command; NULL: none is. */
struct job *sev_mailbox_owner(void);

/* Whether the guest's page tables were built for this CPU's C-bit (CPUID 8000_001F EBX);
 * false: `text` says what to change in guests.toml. */
bool sev_check_config(const struct manifest_guest *config, char *text, size_t size);

/* Mailbox commands so far, the firmware's version, and the pool's pages that the driver holds. */
uint64_t sev_commands(void);
struct sev_platform_status_buffer sev_version(void);
uint64_t sev_pool_pages(void);

#endif
