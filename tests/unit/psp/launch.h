/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The whole life of a guest, and of the platform, as steps that tests interrupt. */
#ifndef TESTS_UNIT_PSP_LAUNCH_H
#define TESTS_UNIT_PSP_LAUNCH_H

#include "fake_platform.h"

#define LAUNCH_POLICY (SEV_POLICY_NODBG | SEV_POLICY_NOSEND)
#define LAUNCH_ASID 7u
#define LAUNCH_BYTES 0x2000u

/* SEV API 6, GUEST_STATUS. */
struct launch_status {
    uint32_t handle, policy, asid;
    uint8_t state;
} __attribute__((packed));

struct launch {
    struct psp psp;
    uint32_t handle;
    bool started, active;
    struct sev_measurement measurement;
    struct launch_status status;
    uint8_t id[SEV_CHIP_ID_SIZE];
};

/* Commands of a platform that is up, in an order in which each succeeds. */
extern const uint8_t launch_commands[];
extern const unsigned launch_command_count;

/* One command by its id, from its submission to its answer. */
struct psp_result launch_step(struct launch *l, uint8_t command);

struct psp_result launch_start(struct psp *psp, uint32_t policy, const void *cert, const void *session,
                               uint32_t *handle);
struct psp_result launch_try_to_attach(struct launch *l, const struct psp_location *location);
/* INIT, and what belongs to it: WBINVD everywhere, DF_FLUSH. */
struct psp_result launch_init(struct launch *l);

/* All of launch_commands until one fails. */
struct psp_result launch_run(struct launch *l);

/* Puts the guest away and makes its ASID clean, whatever went wrong before. */
void launch_clean(struct launch *l);

/* Attached; attached and initialised. Fail the test when that fails. */
void launch_attach(struct launch *l);
void launch_up(struct launch *l);

#endif
