/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Three guests, one of each encryption, and their lives on the fake machine. */
#ifndef TESTS_UNIT_HV_DEVICES_THREE_GUESTS_H
#define TESTS_UNIT_HV_DEVICES_THREE_GUESTS_H

#include "hv/control/job.h"
#include "../manifest/good.h"
#include "fake_machine.h"

enum { SEV = 0, NONE = 1, HOST = 2 };
#define GUEST_MEMORY (UINT64_C(4) << 20)

extern struct good good;        /* the manifest; good_seal() and machine_manifest() after a change */

struct free_now {
    uint64_t asids, pool, extent;
};
struct free_now free_now(void);

void manifest_of_three(void);
void boot(struct machine_options options);
/* The boot CPU's loop once, but for its vCPUs: where guests have ended, one step of a job, the operator's keys. */
enum job_verdict step(void);
/* Steps jobs, looks at the operator's keys, until nothing is left to be done. */
void settle(void);
/* Takes the pages that the secure processor's driver keeps for good. */
void platform_pages(void);
/* All of the manifest, until each runs or is refused. */
void launch(void);
/* Each guest that runs writes a byte, and ends. */
void finish(enum guest_end_kind end);
/* Fails the test unless everything was returned, and no page was looked at through a wrong key. */
void all_is_back(void);

int setup(void **state);
int teardown(void **state);

/* Pool pages that are never given back: each guest's last output and waiting input. */
#define POOL_KEPT (GOOD_GUESTS * (HISTORY_SIZE + VUART_INPUT) / PAGE_SIZE)

#endif
