/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The mailbox: a command register, two address registers, and polling. One
 * command at a time; an answer that does not come is never waited for again,
 * because a late one would write to a buffer that has another use by then.
 */
#include "psp/internal.h"

static uint32_t read_cell(const struct psp *psp, uint32_t cell)
{
    return psp_platform_mmio_read32(psp->registers, psp->generation->c2pmsg + cell);
}

static void write_cell(const struct psp *psp, uint32_t cell, uint32_t value)
{
    psp_platform_mmio_write32(psp->registers, psp->generation->c2pmsg + cell, value);
}

/* A longer time between two looks at the register is a stall of the machine (an SMI, a debugger, a host that stops its
 * emulator), in which the firmware may have stood still as well. */
#define PSP_STALL_US UINT64_C(1000000)
#define PSP_STALL_COUNTS_US UINT64_C(10000)

/* Polls for RESP; false when the time is over. The clock is read before the
 * register, so that a CPU that was away for long still sees an answer in time. */
static bool wait_response(const struct psp *psp, uint64_t timeout_us, uint32_t *cmdresp)
{
    uint64_t last_us = psp_platform_now_us(), waited_us = 0;
    for (;;) {
        uint64_t now_us = psp_platform_now_us(), step_us = now_us - last_us;

        last_us = now_us;
        waited_us += step_us <= PSP_STALL_US ? step_us : PSP_STALL_COUNTS_US;
        *cmdresp = read_cell(psp, PSP_C2PMSG_CMDRESP);
        if (*cmdresp & PSP_CMDRESP_RESP)
            return true;
        if (waited_us >= timeout_us)
            return false;
        psp_platform_pause();
    }
}

enum psp_error psp_mailbox_wait_ready(const struct psp *psp, bool *answered)
{
    uint32_t cmdresp = read_cell(psp, PSP_C2PMSG_CMDRESP);

    /* No document says what a mailbox shows that nobody has used since reset:
     * no RESP and no command counts as ready. A command without RESP is one that
     * somebody before us has submitted: still being executed, or left behind by
     * whoever resets the mailbox. So it is waited for, and then not believed. */
    *answered = (cmdresp & (PSP_CMDRESP_RESP | PSP_CMDRESP_CMD)) != 0 &&
                wait_response(psp, PSP_FIRST_TIMEOUT_US, &cmdresp);
    return cmdresp == PSP_ABSENT ? PSP_BLOCKED : PSP_OK;
}

void psp_mailbox_log(const struct psp *psp)
{
    char text[160];

    psp_registers_text((const uint32_t[]){
        read_cell(psp, PSP_C2PMSG_CMDRESP), read_cell(psp, PSP_C2PMSG_ADDR_LO), read_cell(psp, PSP_C2PMSG_ADDR_HI),
        read_cell(psp, PSP_C2PMSG_BOOT_LOADER), read_cell(psp, PSP_C2PMSG_FEATURE),
    }, text, sizeof text);
    psp_platform_log(text);
}

enum psp_error psp_mailbox_call(struct psp *psp, uint8_t command, psp_addr_t buffer, uint64_t timeout_us,
                                uint16_t *status)
{
    uint64_t start_us = psp_platform_now_us();
    uint32_t cmdresp;

    /* A failing command leaves error details in the address cells: write both every time. */
    write_cell(psp, PSP_C2PMSG_ADDR_LO, (uint32_t)buffer.raw);
    write_cell(psp, PSP_C2PMSG_ADDR_HI, (uint32_t)(buffer.raw >> 32));
    __asm__ volatile("" ::: "memory");  /* the buffer is complete before the command is seen */
    write_cell(psp, PSP_C2PMSG_CMDRESP, (uint32_t)command << PSP_CMDRESP_CMD_SHIFT);
    psp->commands++;

    bool answered = wait_response(psp, timeout_us, &cmdresp);
    __asm__ volatile("" ::: "memory");  /* and read after the answer */
    psp->command_us += psp_platform_now_us() - start_us;

    if (!answered || cmdresp == PSP_ABSENT) {   /* silent, or gone from the bus */
        psp->dead = true;
        return PSP_TIMEOUT;
    }
    psp->used = true;
    *status = (uint16_t)(cmdresp & PSP_CMDRESP_STATUS);
    return PSP_OK;
}
