/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The mailbox registers: psp-mailbox reference sections 2, 3 and 12. */
#include "mailbox.h"

#include <stdlib.h>

#include "sevfw_abi.h"

#define CELL(n) (4u * (n))
#define CMDRESP CELL(32)
#define ADDR_LO CELL(56)
#define ADDR_HI CELL(57)
#define FEATURE CELL(63)

#define RESP (UINT32_C(1) << 31)
#define COMMAND_SHIFT 16
#define COMMAND_MASK 0x7ffu
#define IOC 1u
#define INT_SEV (UINT32_C(1) << 1)
#define FEATURE_SEV 1u
/* A fused part that reports on its security, debugging locked: what Linux 6.12 asks for
 * by another mailbox when the register does not say (psp_init_hsti). */
#define FEATURE_SECURITY (1u << 7 | 1u << 8 | 1u << 10)
#define CORRUPT_PATTERN 0xa5u

/* In the trace: the host was told nothing. */
#define NO_ANSWER 0xffffu

struct mailbox {
    struct mailbox_config config;
    struct sevfw *fw;
    struct mailbox_fault fault;
    uint32_t cmdresp, lo, hi, int_enable, int_status;
    uint64_t sequence;
    bool busy;
    bool ioc;
    bool irq;                   /* level of the line */
    uint32_t command;
    uint64_t spa;
    uint64_t due_ns;            /* UINT64_MAX: never */
    enum mailbox_fault_kind hit;    /* the fault that this command runs into */
    uint16_t hit_status;            /* and its status, latched: the fault may be replaced meanwhile */
};

static const char *const fault_names[] = {
    [MAILBOX_FAULT_HANG] = "hang", [MAILBOX_FAULT_STATUS] = "status",   [MAILBOX_FAULT_STATUS_LATE] = "late",
    [MAILBOX_FAULT_SLOW] = "slow", [MAILBOX_FAULT_CORRUPT] = "corrupt", [MAILBOX_FAULT_RESET] = "reset",
};

/* The line follows the registers; the callback hears of changes only. */
static void update_irq(struct mailbox *mb)
{
    bool level = (mb->int_status & mb->int_enable) != 0;

    if (level != mb->irq) {
        mb->irq = level;
        if (mb->config.raise_irq) {
            mb->config.raise_irq(mb->config.opaque, level);
        }
    }
}

struct mailbox *mailbox_new(const struct mailbox_config *config, struct sevfw *fw)
{
    struct mailbox *mb = calloc(1, sizeof(*mb));

    if (mb) {
        mb->config = *config;
        mb->fw = fw;
        mailbox_reset(mb);
    }
    return mb;
}

void mailbox_free(struct mailbox *mb)
{
    free(mb);
}

void mailbox_reset(struct mailbox *mb)
{
    /* Whether a mailbox shows RESP after reset is undocumented: ready is what drivers need. */
    mb->cmdresp = mb->config.never_ready ? 0 : RESP;
    mb->lo = mb->hi = mb->int_enable = mb->int_status = 0;
    mb->busy = false;
    update_irq(mb);
}

/* ------------------------------------------------------------------- faults */

static enum mailbox_fault_kind next_fault(struct mailbox *mb, uint32_t command)
{
    struct mailbox_fault *fault = &mb->fault;
    enum mailbox_fault_kind kind = fault->kind;

    if (kind == MAILBOX_FAULT_NONE || (fault->command != 0 && fault->command != command)) {
        return MAILBOX_FAULT_NONE;
    }
    if (fault->skip > 0) {
        fault->skip--;
        return MAILBOX_FAULT_NONE;
    }
    if (fault->count > 0 && --fault->count == 0) {
        fault->kind = MAILBOX_FAULT_NONE;   /* this was the last */
    }
    return kind;
}

void mailbox_set_fault(struct mailbox *mb, const struct mailbox_fault *fault)
{
    mb->fault = *fault;
}

/* ----------------------------------------------------------------- commands */

static void trace(struct mailbox *mb, uint32_t command, uint16_t status, uint16_t true_status, const char *fault)
{
    struct mailbox_event event = {
        .sequence = ++mb->sequence,
        .command = command,
        .spa = mb->spa,
        .status = status,
        .true_status = true_status,
        .fault = fault,
    };

    if (true_status != NO_ANSWER) {
        event.has_handle = sevfw_last_handle(mb->fw, &event.handle);
    }
    if (mb->config.trace) {
        mb->config.trace(mb->config.opaque, &event);
    }
}

static void complete(struct mailbox *mb)
{
    uint16_t status = NO_ANSWER, true_status = NO_ANSWER;

    mb->busy = false;
    if (mb->hit == MAILBOX_FAULT_RESET) {
        trace(mb, mb->command, NO_ANSWER, NO_ANSWER, fault_names[mb->hit]);
        sevfw_reset(mb->fw);
        mailbox_reset(mb);
        mb->cmdresp = 0;
        return;
    }
    if (mb->hit != MAILBOX_FAULT_STATUS) {
        status = true_status = sevfw_command(mb->fw, mb->command, mb->spa);
    }
    if (mb->hit == MAILBOX_FAULT_STATUS || mb->hit == MAILBOX_FAULT_STATUS_LATE) {
        status = mb->hit_status;
    }
    if (mb->hit == MAILBOX_FAULT_CORRUPT) {
        sevfw_scribble_outputs(mb->fw, CORRUPT_PATTERN);
    }
    trace(mb, mb->command, status, true_status, fault_names[mb->hit]);
    if (status != SEVFW_SUCCESS) {
        mb->lo = 0xbad00000u | status;      /* extra error information: section 3, point 6 */
        mb->hi = mb->command;
    }
    mb->cmdresp = RESP | status;
    if (mb->ioc && (mb->int_enable & INT_SEV) != 0) {
        mb->int_status |= INT_SEV;
        update_irq(mb);
    }
}

static void submit(struct mailbox *mb, uint32_t value, uint64_t now_ns)
{
    if (mb->busy) {
        /* The driver's mistake: seen in the trace, the running command goes on. */
        trace(mb, value >> COMMAND_SHIFT & COMMAND_MASK, NO_ANSWER, NO_ANSWER, "busy");
        return;
    }
    mb->busy = true;
    mb->cmdresp = value & ~RESP;
    mb->command = value >> COMMAND_SHIFT & COMMAND_MASK;
    mb->ioc = (value & IOC) != 0;
    mb->spa = (uint64_t)mb->hi << 32 | mb->lo;
    mb->hit = mb->config.never_ready ? MAILBOX_FAULT_HANG : next_fault(mb, mb->command);
    mb->hit_status = mb->fault.status;
    mb->due_ns = now_ns + mb->config.latency_ns;
    if (mb->hit == MAILBOX_FAULT_SLOW) {
        mb->due_ns += mb->fault.delay_ns;
    }
    if (mb->hit == MAILBOX_FAULT_HANG) {
        mb->due_ns = UINT64_MAX;
        trace(mb, mb->command, NO_ANSWER, NO_ANSWER, mb->config.never_ready ? "never-ready" : fault_names[mb->hit]);
    }
}

uint64_t mailbox_run(struct mailbox *mb, uint64_t now_ns)
{
    if (mb->busy && mb->due_ns <= now_ns) {
        complete(mb);
    }
    return mb->busy ? mb->due_ns : UINT64_MAX;
}

/* ---------------------------------------------------------------- registers */

uint32_t mailbox_read(struct mailbox *mb, uint32_t offset)
{
    if (offset == mb->config.int_enable) {
        return mb->int_enable;
    }
    if (offset == mb->config.int_status) {
        return mb->int_status;
    }
    switch (offset - mb->config.c2pmsg_base) {
    case CMDRESP:
        return mb->cmdresp;
    case ADDR_LO:
        return mb->lo;
    case ADDR_HI:
        return mb->hi;
    case FEATURE:
        return FEATURE_SECURITY | (mb->config.no_sev ? 0 : FEATURE_SEV);
    default:
        return 0;
    }
}

void mailbox_write(struct mailbox *mb, uint32_t offset, uint32_t value, uint64_t now_ns)
{
    if (offset == mb->config.int_enable) {
        mb->int_enable = value;
        update_irq(mb);
        return;
    }
    if (offset == mb->config.int_status) {
        mb->int_status &= ~value;
        update_irq(mb);
        return;
    }
    switch (offset - mb->config.c2pmsg_base) {
    case CMDRESP:
        if (!mb->config.no_sev) {
            submit(mb, value, now_ns);
        }
        break;
    case ADDR_LO:
        mb->lo = value;
        break;
    case ADDR_HI:
        mb->hi = value;
        break;
    default:
        break;
    }
}
