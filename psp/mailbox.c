/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The mailbox: a command register, two address registers, and polling. One
 * command at a time; an answer that does not come is never waited for again,
 * because a late one would write to a buffer that has another use by then.
 */
#include "psp/internal.h"

static void write_cell(const struct psp *psp, uint32_t cell, uint32_t value)
{
    mmio_write32(psp->registers, psp->generation->c2pmsg + cell, value);
}

/* A longer time between two looks at the register is a stall of the machine (an SMI, a debugger, a host that stops its
 * emulator), in which the firmware may have stood still as well. */
#define PSP_STALL_US UINT64_C(1000000)
#define PSP_STALL_COUNTS_US UINT64_C(10000)

void psp_mailbox_wait(struct psp *psp, uint64_t limit_us)
{
    psp->submitted_us = psp->last_us = psp_platform_now_us();
    psp->waited_us = 0;
    psp->limit_us = limit_us;
}

/* The clock is read before the register, so that a CPU that was away for long still sees an answer in time. */
enum psp_look psp_mailbox_look(struct psp *psp, uint32_t *cmdresp)
{
    uint64_t now_us = psp_platform_now_us(), step_us = now_us - psp->last_us;

    psp->last_us = now_us;
    psp->waited_us += step_us <= PSP_STALL_US ? step_us : PSP_STALL_COUNTS_US;
    *cmdresp = mmio_read32(psp->registers, psp->generation->c2pmsg + PSP_C2PMSG_CMDRESP);
    if (*cmdresp & PSP_CMDRESP_RESP)
        return PSP_ANSWERED;
    return psp->waited_us < psp->limit_us ? PSP_NOTHING_YET : PSP_OVER;
}

void psp_mailbox_log(const struct psp *psp)
{
    uint32_t cells[PSP_CELLS];

    psp_registers_read(psp->generation, psp->registers, cells);
    psp_registers_log(cells);
}

void psp_mailbox_ring(struct psp *psp, uint8_t command, psp_addr_t buffer)
{
    /* A failing command leaves error details in the address cells: write both every time. */
    write_cell(psp, PSP_C2PMSG_ADDR_LO, (uint32_t)buffer.raw);
    write_cell(psp, PSP_C2PMSG_ADDR_HI, (uint32_t)(buffer.raw >> 32));
    __asm__ volatile("" ::: "memory");  /* the buffer is complete before the command is seen */
    write_cell(psp, PSP_C2PMSG_CMDRESP, (uint32_t)command << PSP_CMDRESP_CMD_SHIFT);
    psp->commands++;
}
