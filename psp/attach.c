/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Attaching to the device, whatever an earlier owner left in its mailbox, and detaching from it. */
#include "psp/internal.h"

struct psp_result sev_platform_status_answer(struct psp *psp, struct psp_result result)
{
    struct sev_platform_status_buffer answer;

    if (!psp_ok(result))
        return result;
    __builtin_memcpy(&answer, psp->answer, sizeof(answer));
    /* No firmware has version 0.0: this one wrote nothing. */
    if (answer.state > SEV_PLATFORM_WORKING || (answer.api_major == 0 && answer.api_minor == 0))
        return psp_command_bad_answer(psp, result);
    answer.owner &= SEV_OWNER_EXTERNAL;
    answer.config &= SEV_CONFIG_ES;
    psp->status = answer;
    return result;
}

/* ---- psp_attach() ---- */

/* Attaching failed: the device is left as it was found. */
static struct psp_result give_up(struct psp *psp, struct psp_result result)
{
    psp->attach = PSP_ATTACHED;
    psp_platform_pci_write32(psp->location.function, PSP_PCI_COMMAND, psp->pci_command);
    psp_detach(psp);
    return result;
}

bool psp_attach_poll(struct psp *psp, struct psp_result *result)
{
    uint32_t cmdresp;

    if (psp->attach == PSP_EARLIER_COMMAND) {
        /* No document says what a mailbox shows that nobody has used since reset:
         * no RESP and no command counts as ready. A command without RESP is one that
         * an earlier owner has submitted: it is still being executed, or was left behind by a
         * reset of the mailbox. So its answer is waited for until the time limit. */
        enum psp_look look = psp_mailbox_look(psp, &cmdresp);
        psp->unanswered_before = look != PSP_ANSWERED && (cmdresp & PSP_CMDRESP_CMD) != 0;
        if (look == PSP_NOTHING_YET && psp->unanswered_before)
            return false;
        psp->answered_before = look == PSP_ANSWERED;
        *result = (struct psp_result){.error = PSP_BLOCKED};
        if (cmdresp == PSP_ABSENT)
            psp_mailbox_log(psp);
        else
            *result = sev_command(psp, SEV_CMD_PLATFORM_STATUS, 0);
        psp->attach = PSP_STATUS_SENT;
        if (psp_ok(*result))
            return false;
    } else {
        if (!psp_command_poll(psp, result))
            return false;
        *result = sev_platform_status_answer(psp, *result);
        if (result->error == PSP_TIMEOUT && !psp->answered_before)
            result->error = PSP_NOT_READY;  /* nothing shows that it ever answered anybody */
        /* The answer may have been that of the earlier owner's command, or none at all: then the device writes ours to the
         * command page later. */
        psp->dead |= !psp_ok(*result) && (psp->unanswered_before || result->error == PSP_ANSWER);
        psp->attach = PSP_ATTACHED;
    }
    if (!psp_ok(*result))
        *result = give_up(psp, *result);
    return true;
}

struct psp_result psp_attach(struct psp *psp, const struct psp_location *location)
{
    struct psp_result result = {.error = PSP_NO_DEVICE};

    *psp = (struct psp){.location = *location, .generation = psp_generation_of(location->device_id)};
    if (!psp->generation || location->bar_size < PSP_REGISTER_SPAN)
        return result;

    psp->registers = psp_platform_map_mmio(location->bar, PSP_REGISTER_SPAN);
    if (!psp->registers) {
        result.error = PSP_BLOCKED;
        return result;
    }

    psp->pci_command = (uint16_t)psp_platform_pci_read32(location->function, PSP_PCI_COMMAND);
    psp_platform_pci_write32(location->function, PSP_PCI_COMMAND,
                             psp->pci_command | PSP_PCI_COMMAND_MEMORY | PSP_PCI_COMMAND_MASTER);
    psp_registers_read(psp->generation, psp->registers, psp->location.cells);
    result.error = psp_feature_check(psp->location.cells);
    if (!psp_ok(result)) {
        psp_registers_log(psp->location.cells);
        return give_up(psp, result);
    }
    /* The driver polls: no interrupt from now on, none pending. */
    psp->interrupts = mmio_read32(psp->registers, psp->generation->int_enable);
    mmio_write32(psp->registers, psp->generation->int_enable, 0);
    mmio_write32(psp->registers, psp->generation->int_status, UINT32_MAX);
    psp->attach = PSP_EARLIER_COMMAND;
    psp_mailbox_wait(psp, PSP_FIRST_TIMEOUT_US);
    return result;
}

void psp_detach(struct psp *psp)
{
    if (psp->registers && psp->interrupts != 0)
        mmio_write32(psp->registers, psp->generation->int_enable, psp->interrupts);
    if (psp->registers)
        psp_platform_unmap_mmio(psp->registers, PSP_REGISTER_SPAN);
    psp->registers = NULL;
}
