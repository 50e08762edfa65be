/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What the Secure Processor can refuse is asked while the firmware can still take the machine back: whether it is
 * there, answers, and with what it was left. All but INIT: that writes its flash, on some parts with new keys,
 * and wants WBINVD of all CPUs and DF_FLUSH behind it, so that SHUTDOWN would not undo it. hv issues it, and resets
 * the machine if it is refused and nothing else can run (hv/init/main.c).
 */
#include "boot/boot.h"

#include "hv/lib/pci.h"
#include "hv/lib/text.h"
#include "hv/lib/x86.h"
#include "psp/psp.h"

#define REMEDY_HIDDEN "BIOS: leave the AMD Secure Processor visible; update the BIOS"
#define REMEDY_MMIO "BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit"
#define REMEDY_UNKNOWN "an AMD encryption controller that this version does not know: look for a newer one"

static void secure_processor_ask(const struct psp_location *at, struct psp *psp)
{
    char found[28] = "is of no use", remedy[200] = "";
    struct psp_result result = psp_wait(psp, psp_attach(psp, at));
    if (psp_ok(result))
        text_format(found, sizeof found, "API %u.%u.%u, %s", psp->status.api_major, psp->status.api_minor,
                    psp->status.build, sev_state_name(psp->status.state));
    if (!psp_ok(result))
        psp_result_text(result, remedy, sizeof remedy);
    else if (psp->status.state != SEV_PLATFORM_UNINIT)
        text_format(remedy, sizeof remedy, "left so by an earlier owner, with %u guests: Sevisor sends SHUTDOWN, which "
                    "ends them", psp->status.guest_count);
    table_row(psp_ok(result) ? PREFLIGHT_FINE : PREFLIGHT_NO_SEV, "SEV firmware", "PLATFORM_STATUS", found, remedy);
    const char *fault = psp_ok(result) ? sev_version_fault(sev_version_of(&psp->status)) : NULL;
    if (fault != NULL) {
        text_format(remedy, sizeof remedy, "%s: update the BIOS, or name a newer file as sev-firmware in guests.toml", fault);
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
        return;             /* no limit could be watched, no page is free: another row refuses all */
    enum psp_error error = PSP_NO_DEVICE;
    for (uint32_t i = 0; error != PSP_OK && registers_space(&i, &space);)
        for (uint32_t sbdf = space.first; error != PSP_OK && pci_next(&space, &sbdf); sbdf++)
            if (pci_layout(&space, sbdf) == 0) {
                cli();      /* while it is sized a register has no valid address: nothing of the UEFI firmware's may run */
                error = psp_discover((struct psp_function){sbdf, (uintptr_t)pci_ecam(&space, sbdf)}, error, &at);
                sti();
            }
    const char *words = found, *remedy = error == PSP_OK ? "" : error == PSP_UNKNOWN ? REMEDY_UNKNOWN : REMEDY_HIDDEN;
    text_format(found, sizeof found, "1022:%04x at %s", at.device_id, pci_name(at.function.sbdf, name));
    if (error == PSP_NO_SEV || error == PSP_BLOCKED)
        psp_registers_log(at.cells);
    if (error == PSP_NO_SEV) {
        text_format(found, sizeof found, "SEV off, feature 0x%08x", at.cells[PSP_CELL_FEATURE]);
        remedy = "it is present, but SEV is unsupported or disabled: BIOS: enable SMEE and SEV; update the BIOS";
    } else if (psp_platform_out_of_reach != NULL && error == PSP_BLOCKED) {
        words = psp_platform_out_of_reach;
        remedy = REMEDY_MMIO;
    } else if (error == PSP_BLOCKED || error == PSP_NO_DEVICE) {
        words = error == PSP_BLOCKED ? "hidden" : "none";
    }
    table_row(error == PSP_OK ? PREFLIGHT_FINE : PREFLIGHT_NO_SEV, "Secure Processor", "PCI function with SEV", words, remedy);
    if (error == PSP_OK) {
        handoff.psp = (struct handoff_psp){at.bar, at.bar_size, at.function.ecam, at.function.sbdf, at.device_id};
        secure_processor_ask(&at, &psp);
    }
    psp_platform_end(psp.dead);
}
