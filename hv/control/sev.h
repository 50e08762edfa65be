/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's side of psp/: when commands run, in which order, with which pages. */
#ifndef SEVISOR_SEV_H
#define SEVISOR_SEV_H

#include "boot/handoff.h"
#include "hv/mm/memory.h"
#include "psp/psp.h"

struct guest;
struct manifest_guest;

/* What the manifest asks of the platform. */
struct sev_wishes {
    psp_addr_t image;           /* firmware, which is loaded where it is newer than what runs */
    uint32_t image_size;        /* 0: none */
    uint32_t image_version;     /* SEV_VERSION() of it, as the manifest says */
    bool pdh;                   /* a session was made with the PDH, or will be: see whether it outlives INIT */
};

/* Attaches to the device, loads firmware, runs INIT. A failure is logged in words and leaves
 * encrypted guests refused with that reason: sev_ready() false. Only the first call counts. */
void sev_start(const struct handoff *handoff, const struct sev_wishes *wishes);
bool sev_ready(void);
const char *sev_refusal(void);
/* SHUTDOWN, before power-off. Nothing when sev_start() did not get so far. */
void sev_stop(void);

/* Whether the guest's page tables were built for this CPU's C-bit (CPUID 8000_001F EBX);
 * false: `text` says what to change in guests.toml. */
bool sev_check_config(const struct manifest_guest *config, char *text, size_t size);

/* LAUNCH_START and ACTIVATE on guest->asid. After a failure sev_guest_end(), as after a success. */
struct psp_result sev_guest_begin(struct guest *guest, const void *dh_cert, const void *session);
/* Encrypts and measures [gpa, gpa+size), which hv has filled under the view ENCRYPTED and flushed. */
struct psp_result sev_guest_update(struct guest *guest, gpaddr_t gpa, uint64_t size);
/* LAUNCH_MEASURE; LAUNCH_FINISH. */
struct psp_result sev_guest_measure(struct guest *guest);
struct psp_result sev_guest_finish(struct guest *guest);
/* DEACTIVATE → WBINVD on every CPU → DF_FLUSH → DECOMMISSION, as far as the guest got. On an
 * error (a dead device) the ASID stays taken: false. */
bool sev_guest_end(struct guest *guest);

/* Mailbox commands so far, and the firmware's version, for the launch report. */
uint64_t sev_commands(void);
struct sev_platform_status sev_version(void);

#endif
