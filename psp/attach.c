/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Taking the device over from whoever had it before, and giving it back. */
#include "psp/internal.h"

struct psp_result sev_platform_status_locked(struct psp *psp)
{
    struct sev_platform_status_buffer answer = { 0 };
    struct psp_result result = psp_command_locked(psp, SEV_CMD_PLATFORM_STATUS, &answer);

    if (!psp_ok(result))
        return result;
    /* No firmware has version 0.0: this one wrote nothing. */
    if (answer.state > SEV_PLATFORM_WORKING || (answer.api_major == 0 && answer.api_minor == 0)) {
        return psp_command_disbelieve(psp, result);
    }
    psp->status = (struct sev_platform_status){
        .api_major = answer.api_major,
        .api_minor = answer.api_minor,
        .state = answer.state,
        .owner = answer.owner & SEV_OWNER_EXTERNAL,
        .config = answer.config & SEV_CONFIG_ES,
        .build = answer.build,
        .guest_count = answer.guest_count,
    };
    return result;
}

/* The part of psp_attach() that the lock covers: the first words with the firmware. */
static struct psp_result greet(struct psp *psp)
{
    struct psp_result result = { .error = psp_feature_check(psp->generation, psp->registers) };
    bool answered = false;

    if (result.error == PSP_OK) {
        /* The driver polls: no interrupt from now on, none pending. */
        psp->interrupts = psp_platform_mmio_read32(psp->registers, psp->generation->int_enable);
        psp_platform_mmio_write32(psp->registers, psp->generation->int_enable, 0);
        psp_platform_mmio_write32(psp->registers, psp->generation->int_status, UINT32_MAX);
        result.error = psp_mailbox_wait_ready(psp, &answered);
    }
    if (result.error != PSP_OK) {
        psp_mailbox_log(psp);
        return result;
    }

    result = sev_platform_status_locked(psp);
    if (result.error == PSP_TIMEOUT && !answered)
        result.error = PSP_NOT_READY;   /* nothing shows that it ever answered anybody */
    return result;
}

struct psp_result psp_attach(struct psp *psp, const struct psp_location *location)
{
    struct psp_result result = { .error = PSP_NO_DEVICE };

    *psp = (struct psp){ .location = *location, .generation = psp_generation_of(location->device_id) };
    if (!psp->generation || location->bar_size < PSP_REGISTER_SPAN)
        return result;

    psp->registers = psp_platform_map_mmio(location->bar, PSP_REGISTER_SPAN);
    if (!psp->registers) {
        result.error = PSP_BLOCKED;
        return result;
    }

    uint32_t command = psp_platform_pci_read32(location->function, PSP_PCI_COMMAND) & 0xffff;

    psp_platform_lock();
    psp_platform_pci_write32(location->function, PSP_PCI_COMMAND,
                             command | PSP_PCI_COMMAND_MEMORY | PSP_PCI_COMMAND_MASTER);
    result = greet(psp);
    if (!psp_ok(result))
        psp_platform_pci_write32(location->function, PSP_PCI_COMMAND, command);
    psp_platform_unlock();

    if (!psp_ok(result))
        psp_detach(psp);
    return result;
}

void psp_detach(struct psp *psp)
{
    if (psp->registers && psp->interrupts != 0)
        psp_platform_mmio_write32(psp->registers, psp->generation->int_enable, psp->interrupts);
    if (psp->registers)
        psp_platform_unmap_mmio(psp->registers, PSP_REGISTER_SPAN);
    psp->registers = NULL;
}
