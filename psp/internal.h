/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the files of psp/ share among themselves. */
#ifndef SEVISOR_PSP_INTERNAL_H
#define SEVISOR_PSP_INTERNAL_H

#include "hv/lib/mmio.h"
#include "psp/psp.h"

/* The registers of one generation of the part, byte offsets in BAR 2. */
struct psp_generation {
    uint16_t device_id;
    uint32_t c2pmsg;            /* C2PMSG_0; cell n is at + 4 * n */
    uint32_t int_enable;        /* P2C interrupts */
    uint32_t int_status;
};

#define PSP_VENDOR_AMD 0x1022u
#define PSP_REGISTER_SPAN 0x11000u    /* as much of BAR 2 as the driver maps */

#define PSP_C2PMSG_CMDRESP (4u * 32)
#define PSP_C2PMSG_ADDR_LO (4u * 56)
#define PSP_C2PMSG_ADDR_HI (4u * 57)
#define PSP_C2PMSG_BOOT_LOADER (4u * 59)       /* its version, as the part's family has it */
#define PSP_C2PMSG_FEATURE (4u * 63)

#define PSP_CMDRESP_RESP (UINT32_C(1) << 31)
#define PSP_CMDRESP_CMD UINT32_C(0x07ff0000)
#define PSP_CMDRESP_CMD_SHIFT 16
#define PSP_CMDRESP_STATUS UINT32_C(0x0000ffff)

#define PSP_FEATURE_SEV (UINT32_C(1) << 0)
#define PSP_ABSENT UINT32_MAX      /* a read that no device answers */

#define PSP_PCI_COMMAND 0x04
#define PSP_PCI_COMMAND_IO (UINT32_C(1) << 0)
#define PSP_PCI_COMMAND_MEMORY (UINT32_C(1) << 1)
#define PSP_PCI_COMMAND_MASTER (UINT32_C(1) << 2)

/* generation.c: NULL for a device id that is not a SEV-capable part's. */
const struct psp_generation *psp_generation_of(uint16_t device_id);

/* Reads the cells that each failure is logged with. */
void psp_registers_read(const struct psp_generation *generation, volatile void *registers,
                        uint32_t cells[static PSP_CELLS]);
/* PSP_OK when the SEV mailbox is behind registers that read so, else PSP_BLOCKED or PSP_NO_SEV. */
enum psp_error psp_feature_check(const uint32_t cells[static PSP_CELLS]);

#define PSP_PAGE_SIZE 4096u
#define PSP_FIRST_TIMEOUT_US UINT64_C(5000000)

/* The mailbox's registers as they are, for the operator: each failure is told with them. */
void psp_mailbox_log(const struct psp *psp);

/* Begins a wait for RESP. Each look counts the time since the one before, up to a second. */
void psp_mailbox_wait(struct psp *psp, uint64_t limit_us);
enum psp_look { PSP_NOTHING_YET, PSP_ANSWERED, PSP_OVER };
enum psp_look psp_mailbox_look(struct psp *psp, uint32_t *cmdresp);
/* The buffer is complete. */
void psp_mailbox_ring(struct psp *psp, uint8_t command, psp_addr_t buffer);

/* Whether it could be submitted now; the data page is free then, too. */
struct psp_result psp_check(const struct psp *psp, uint8_t command, const void *buffer);
/* psp_poll() but for psp_attach(); and with it, in attach.c. */
bool psp_command_poll(struct psp *psp, struct psp_result *result);
bool psp_attach_poll(struct psp *psp, struct psp_result *result);
/* What becomes of the result of a command whose answer contradicts itself. */
struct psp_result psp_command_bad_answer(const struct psp *psp, struct psp_result result);

#endif
