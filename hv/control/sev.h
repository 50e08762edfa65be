/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The secure processor: bring-up (a job), the mailbox, which one job uses at a time, and SHUTDOWN. */
#ifndef SEVISOR_SEV_H
#define SEVISOR_SEV_H

#include "boot/handoff.h"
#include "hv/control/job.h"
#include "psp/psp.h"

#define SEV_TEXT 256u

/* Attaches to the device; its job then loads the manifest's SEV firmware, if it is newer than what runs, and runs INIT. `sessions` are
 * made with the PDH: then, and if the manifest shows that, whether it survives INIT is tested. A failure is logged, sev_ready() stays false, and
 * encrypted guests are refused with sev_refusal(). Once. */
void sev_start(const struct handoff *handoff, bool sessions);
struct job *sev_job(void);
enum job_verdict sev_step(struct job *job);
/* The bring-up job is active, or will be when a command of the control guest's is answered. */
bool sev_starting(void);
bool sev_ready(void);
const char *sev_refusal(void);
/* A command of the control guest's has changed the platform's keys or its state: what follows hv's own INIT follows, as the
 * bring-up job: WBINVD, DF_FLUSH, certificates. After SHUTDOWN encrypted guests are refused until INIT. */
void sev_changed(uint8_t command);
/* SEV_NV_SIZE bytes of the pool for INIT_EX, for good: the SEV firmware writes to them whenever its persistent data change.
 * NULL: never used, or, with `take`, no pool pages. */
uint8_t *sev_nv(bool take);
/* SHUTDOWN, as the bring-up job, when no guest is left. Does nothing without INIT. */
void sev_stop(void);
/* Its answer is not waited for any more. False: it was not. */
bool sev_abandon_stop(void);

/*
 * A job with a command to send calls sev_mailbox(). JOB_IDLE: the mailbox is free; the job submits (to sev_psp()) and passes
 * the result to sev_submitted(), which returns true if the command is outstanding, false if the driver refused it.
 * JOB_MOVED: the job's command is complete, with *result. JOB_WAITS: it is outstanding. JOB_WANTS_MAILBOX: another job's is.
 */
enum job_verdict sev_mailbox(const struct job *job, struct psp_result *result);
bool sev_submitted(struct job *job, struct psp_result result);
/* What a job does in one of its states. */
struct sev_job_row {
    enum job_verdict (*step)(struct job *job); /* where there is a command, too: JOB_IDLE when it may be sent */
    uint8_t command; /* sent with the guest's handle; 0: submit() sends one, or there is none */
    struct psp_result (*submit)(const struct job *job);
    enum job_verdict (*answered)(struct job *job,
                                 struct psp_result result); /* also if it was not sent; NULL: no command */
};
/* The step, then the command: submits it when the mailbox is free, and polls for its answer. */
enum job_verdict sev_job_step(struct job *job, const struct sev_job_row *row);
/* Logs "WHAT: COMMAND: STATUS ...". */
void sev_log_failure(const char *what, struct psp_result result);
struct psp *sev_psp(void);
/* The job whose command is outstanding; NULL: none. */
struct job *sev_mailbox_owner(void);

/* Whether the guest's page tables were built for this CPU's C-bit (CPUID 8000_001F EBX);
 * false: `text` says what to change in guests.toml. */
bool sev_check_config(const struct manifest_guest *config, char *text, size_t size);

/* Pages of the pool that the driver has taken for good since sev_start(). */
uint64_t sev_pool_pages(void);

#endif
