/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Queries the Secure Processor while control can still return to the UEFI firmware: whether it exists, answers, and is
 * in use. INIT is not issued: it writes flash, on some parts with new keys, and requires WBINVD on all CPUs and
 * DF_FLUSH, so SHUTDOWN would not undo it. hv issues it, and resets the machine if it is refused and no guest can run
 * (hv/init/main.c).
 */
#include "boot/boot.h"

#include "guest/manifest.h"
#include "hv/lib/pci.h"
#include "hv/lib/text.h"
#include "hv/lib/x86.h"
#include "psp/psp.h"

#define REMEDY_HIDDEN "BIOS: enable the AMD Secure Processor (PSP); update the BIOS"
#define REMEDY_MMIO "BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit"
#define REMEDY_UNKNOWN "an AMD encryption controller that this version does not know: use a newer Sevisor"

static void secure_processor_ask(const struct psp_location *at, struct psp *psp)
{
    char found[28] = "not usable", remedy[200] = "";
    struct psp_result result = psp_wait(psp, psp_attach(psp, at));
    if (psp_ok(result))
        text_format(found, sizeof found, "API %u.%u.%u, %s", psp->status.api_major, psp->status.api_minor,
                    psp->status.build, sev_state_name(psp->status.state));
    if (!psp_ok(result))
        psp_result_text(result, remedy, sizeof remedy);
    else if (psp->status.state != SEV_PLATFORM_UNINIT)
        text_format(remedy, sizeof remedy,
                    "in use by an earlier OS, with %u guests: Sevisor sends SHUTDOWN, which ends "
                    "them",
                    psp->status.guest_count);
    table_row(psp_ok(result) ? PREFLIGHT_FINE : PREFLIGHT_NO_SEV, "SEV firmware", "PLATFORM_STATUS", found, remedy);
    const uint8_t *file = boot.guests->sev_firmware_version;
    uint32_t offered = boot.guests->sev_firmware_size == 0 ? 0 : SEV_VERSION(file[2], file[1], file[0]);
    uint32_t version = psp_ok(result) ? sev_version_of(&psp->status) : 0;
    boot.sev_version = version != 0 && offered > version ? offered : version;
    const char *fault = psp_ok(result) ? sev_version_fault(at->device_id, version) : NULL;
    if (fault != NULL) {
        bool better = offered > version && sev_version_fault(at->device_id, offered) == NULL;
        text_format(remedy, sizeof remedy, "%s: %s", fault,
                    better ? "Sevisor loads the newer sev-firmware of guests.toml before INIT"
                           : "update the BIOS, or name a newer file as sev-firmware in guests.toml");
        table_row(PREFLIGHT_FINE, "SEV firmware's age", "no known fault", "old", remedy);
    }
    psp_detach(psp);
}

void secure_processor_check(void)
{
    struct psp psp = {.dead = false};
    struct psp_location at = {.bar = 0};
    struct pci_space space;
    char found[28], name[PCI_NAME];
    if (handoff.tsc_hz < 1000000 || !psp_platform_begin())
        return;             /* no clock for the timeout, or no page: another row refuses then */
    enum psp_error error = PSP_NO_DEVICE;
    uint32_t command = 0;       /* of the function that psp_discover() has switched on */
    for (uint32_t i = 0; error != PSP_OK && registers_space(&i, &space);)
        for (uint32_t sbdf = space.first; error != PSP_OK && pci_next(&space, &sbdf); sbdf++)
            if (pci_layout(&space, sbdf) == 0) {
                command = pci_read32(&space, sbdf, PCI_COMMAND) & 0xffff;
                cli();      /* while a BAR is sized its address is invalid: no code of the UEFI firmware may run */
                error = psp_discover((struct psp_function){sbdf, (uintptr_t)pci_ecam(&space, sbdf)}, error, &at);
                sti();
            }
    const char *remedy = error == PSP_OK ? "" : error == PSP_UNKNOWN ? REMEDY_UNKNOWN : REMEDY_HIDDEN;
    text_format(found, sizeof found, "1022:%04x at %s", at.device_id, pci_name(at.function.sbdf, name));
    if (error == PSP_NO_SEV || (error == PSP_BLOCKED && at.cells[PSP_CELL_FEATURE] != 0))
        psp_registers_log(at.cells);
    if (error == PSP_NO_SEV) {
        text_format(found, sizeof found, "SEV off, feature 0x%08x", at.cells[PSP_CELL_FEATURE]);
        remedy = "it is present, but SEV is unsupported or disabled: BIOS: enable SMEE and SEV; update the BIOS";
    } else if (psp_platform_out_of_reach != NULL && error == PSP_BLOCKED) {
        text_format(found, sizeof found, "BAR %s", psp_platform_out_of_reach);
        remedy = REMEDY_MMIO;
    } else if (error == PSP_BLOCKED || error == PSP_NO_DEVICE) {
        text_format(found, sizeof found, error == PSP_BLOCKED ? "hidden" : "none");
    }
    table_row(error == PSP_OK ? PREFLIGHT_FINE : PREFLIGHT_NO_SEV, "Secure Processor", "PCI function with SEV", found,
              remedy);
    if (error == PSP_OK) {
        handoff.psp = at;
        secure_processor_ask(&at, &psp);
        pci_write32(&space, at.function.sbdf, PCI_COMMAND, command);
    }
    psp_platform_end(psp.dead);
}
