/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A machine for hv's launch code, in a process: memory that is under one key per page at a
 * time, caches that have to be flushed before the key changes, a pool and extents whose pages are
 * counted, allocations that fail on demand, and a secure processor: the firmware model.
 */
#ifndef TESTS_UNIT_HV_DEVICES_FAKE_MACHINE_H
#define TESTS_UNIT_HV_DEVICES_FAKE_MACHINE_H

#include "hv/vm/guest.h"
#include "../../machine/firmware/mailbox.h"
#include "../../machine/firmware/sevfw.h"

#define MACHINE_RAM UINT64_C(0x100000000)
#define MACHINE_RAM_SIZE (UINT64_C(20) << 20)
#define MACHINE_POOL_PAGES 512u
#define MACHINE_OLD_BYTE 0xa5       /* of what guests' memory held before the machine's start */
#define MACHINE_C_BIT_POSITION 51u
#define MACHINE_C_BIT (UINT64_C(1) << MACHINE_C_BIT_POSITION)
#define MACHINE_PLAIN_ASIDS 4u
#define MACHINE_SEV_ASIDS 2u

struct machine_options {
    bool no_sme;                /* no C-bit: hv runs plain */
    bool no_sev;                /* boot/ found no SEV */
    bool no_device;
    uint32_t sev_asids;         /* 0: MACHINE_SEV_ASIDS */
    uint32_t address_bits;      /* CPUID 8000_0008 EAX; 0: 48 */
};

extern struct machine {
    struct machine_options options;
    struct handoff handoff;
    struct sevfw *fw;
    struct mailbox *mailbox;
    uint64_t now_ns;

    unsigned coherency_faults;  /* a page was looked at through another key while cached */
    unsigned wrong_views;       /* a window or command through a view that the page does not have */
    unsigned open_windows;
    bool own_window;            /* the CPU's own is mapped */
    bool cpu_busy;              /* does not look around when it is kicked */
    int contexts;               /* of guests, in the firmware */
    unsigned rejected;          /* commands that the firmware answered with a status */
    char commands[4096];        /* their names, in order, each followed by a blank */

    /* The so manieth of these fails, counted down; 0: none does. */
    unsigned fail_pool, fail_extent, fail_npt_create, fail_npt_map, fail_vcpu, fail_window, fail_zero;

    const char *keys;           /* what the operator types, at each look; NULL: nothing */
    unsigned polls;
    unsigned late_looks;        /* so many steps of the loop before the other CPU does its WBINVD */
    uint64_t zeroed;            /* bytes of guests' memory */

    char console[1 << 18];
    size_t console_length;
} machine;

/* Ends the boot before, if there was one. */
void machine_start(const struct machine_options *options);
void machine_stop(void);

/* Places a manifest, and the copy of its table, which is no longer than a page, where boot/ would. */
void machine_manifest(const void *manifest, uint64_t size);
/* What lies there changes, but for the copy. */
void machine_change_manifest(const void *manifest, uint64_t size);

/* What a guest would read: byte of its RAM through its own key, and as shared memory. */
uint8_t machine_private(const struct guest *guest, uint64_t gpa);
uint8_t machine_shared(const struct guest *guest, uint64_t gpa);
/* A guest runs and leaves lines in the cache under its key. */
void machine_guest_writes(const struct guest *guest, uint64_t gpa, uint8_t byte);
/* True when all memory that guests ever had is zero in the plain view, i.e. scrubbed. */
bool machine_scrubbed(void);

/* The operator's keys are looked at. */
void machine_poll(void);
/* Time passes until the secure processor has something to say, a second at most. */
void machine_wait(void);
/* To be called by whatever the operator's keys must not reach: it would be in somebody else's middle. */
void machine_not_in_poll(void);

bool machine_said(const char *text);

/* The boot CPU's loop, but for jobs and the operator: takes vCPUs onto its queue, and those of ended guests off it. */
void machine_look_around(void);
/* vCPUs on its queue. */
unsigned machine_scheduled(void);
/* A step of the other CPU. */
void machine_other_cpu(void);

/* Forgets hv/control/sev.c's and job.c's state: a new boot. */
void sev_forget(void);
void jobs_forget(void);
/* And control.c's. */
void control_forget(void);

#endif
