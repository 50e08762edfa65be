/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The mailbox registers in front of the firmware: C2PMSG cells, completion
 * interrupt, latency, and faults on demand. No QEMU in here: the device model
 * and the unit tests of psp/ both drive it, each with its own clock.
 */
#ifndef SEVFW_MAILBOX_H
#define SEVFW_MAILBOX_H

#include "sevfw.h"

/* One completed, lost or refused command, for the JSON trace. */
struct mailbox_event {
    uint64_t sequence;       /* from 1 */
    uint32_t command;
    uint64_t spa;
    uint16_t status;         /* what the host was told */
    uint16_t true_status;    /* what the firmware said, before a fault replaced it */
    bool has_handle;
    uint32_t handle;
    const char *fault;       /* NULL, "hang", "status", "slow", "corrupt", ... */
};

enum mailbox_fault_kind {
    MAILBOX_FAULT_NONE,
    MAILBOX_FAULT_HANG,        /* the command never completes (it is not executed) */
    MAILBOX_FAULT_STATUS,      /* not executed; completes with `status` */
    MAILBOX_FAULT_STATUS_LATE, /* executed, but completes with `status` */
    MAILBOX_FAULT_SLOW,        /* completes after `delay_ns` more */
    MAILBOX_FAULT_CORRUPT,     /* completes; its output buffer is overwritten with 0xA5 */
    MAILBOX_FAULT_RESET,       /* the firmware resets instead of answering: registers zero, UNINIT */
};

struct mailbox_fault {
    enum mailbox_fault_kind kind;
    uint32_t command;    /* id that triggers it; 0 = any */
    uint32_t skip;       /* let this many of them pass first */
    uint32_t count;      /* then hit this many; 0 = all that follow */
    uint16_t status;
    uint64_t delay_ns;
};

struct mailbox;

struct mailbox_config {
    uint32_t c2pmsg_base;      /* 0x10500 (1022:1456) or 0x10900 */
    uint32_t int_enable, int_status; /* register offsets of the part */
    uint64_t latency_ns;       /* of every command */
    bool never_ready;          /* RESP stays 0 from power-on */
    bool no_sev;               /* feature register bit 0 clear: a second socket's device */
    void (*trace)(void *opaque, const struct mailbox_event *event);
    void (*raise_irq)(void *opaque, bool level); /* may be NULL */
    void *opaque;
};

struct mailbox *mailbox_new(const struct mailbox_config *config, struct sevfw *fw);
void mailbox_free(struct mailbox *mb);
void mailbox_reset(struct mailbox *mb);

/* 32-bit register accesses at byte offsets of BAR 2; unknown ones read 0. */
uint32_t mailbox_read(struct mailbox *mb, uint32_t offset);
void mailbox_write(struct mailbox *mb, uint32_t offset, uint32_t value, uint64_t now_ns);

/* Completes what is due. Returns the time of the next completion, or UINT64_MAX. */
uint64_t mailbox_run(struct mailbox *mb, uint64_t now_ns);

/* Replaces all faults by the one given; kind NONE clears. */
void mailbox_set_fault(struct mailbox *mb, const struct mailbox_fault *fault);
/* Reads "hang:LAUNCH_START", "status:0x30:0x0b:skip=1:count=1", "slow:any:500ms",
 * "corrupt:PLATFORM_STATUS", "reset:INIT", "none". False: not understood. */
bool mailbox_parse_fault(const char *text, struct mailbox_fault *fault);

#endif
