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

#define PAUSE_US 100u

static EFI_PHYSICAL_ADDRESS command_page;
static const char *out_of_reach; /* why psp_discover() could not map a BAR; NULL: it could */

/* psp/platform.h for boot/. UEFI identity-maps memory and device registers. */

uint32_t psp_platform_pci_read32(struct psp_function function, uint8_t offset)
{
    const struct pci_space space = {(volatile void *)(uintptr_t)function.ecam, function.sbdf, 1};
    return pci_read32(&space, function.sbdf, offset);
}

void psp_platform_pci_write32(struct psp_function function, uint8_t offset, uint32_t value)
{
    const struct pci_space space = {(volatile void *)(uintptr_t)function.ecam, function.sbdf, 1};
    pci_write32(&space, function.sbdf, offset, value);
}

/* Unencrypted, as all memory under UEFI. */
void *psp_platform_command_page(psp_addr_t *address)
{
    *address = (psp_addr_t){command_page};
    return (void *)(uintptr_t)command_page;
}

uint64_t psp_platform_now_us(void)
{
    return rdtsc() / (handoff.tsc_hz / 1000000);
}

void psp_platform_log(const char *line)
{
    text_print("        psp: %s\n", line);
}

volatile void *psp_platform_map_mmio(uint64_t physical, uint64_t size)
{
    out_of_reach = registers_fault(physical, size);
    return out_of_reach == NULL ? (volatile void *)(uintptr_t)physical : NULL;
}

void psp_platform_unmap_mmio(volatile void *registers, uint64_t size)
{
    (void)registers;
    (void)size;
}

static void secure_processor_ask(const struct psp_location *at, struct psp *psp)
{
    const struct sev_platform_status_buffer *status = &psp->status;
    struct psp_result result = psp_attach(psp, at);
    if (psp_ok(result))
        while (!psp_poll(psp, &result))
            boot.services->Stall(PAUSE_US);
    if (!psp_ok(result)) {
        char remedy[200];
        psp_result_text(result, remedy, sizeof(remedy));
        table_row(PREFLIGHT_NO_SEV, "SEV firmware", "PLATFORM_STATUS", "not usable\n%s", remedy);
        return;
    }
    table_row(status->state == SEV_PLATFORM_UNINIT ? PREFLIGHT_FINE : PREFLIGHT_NOTE, "SEV firmware", "PLATFORM_STATUS",
              "API %u.%u.%u, %s\n"
              "in use by an earlier OS, with %u guests: Sevisor sends SHUTDOWN, which ends them",
              status->api_major, status->api_minor, status->build, sev_state_name(status->state), status->guest_count);
    const uint8_t *file = boot.guests->sev_firmware_version;
    uint32_t offered = boot.guests->sev_firmware_size == 0 ? 0 : SEV_VERSION(file[2], file[1], file[0]);
    uint32_t version = sev_version_of(status);
    boot.sev_version = offered > version ? offered : version;
    const char *fault = sev_version_fault(at->device_id, version);
    if (fault != NULL)
        table_row(PREFLIGHT_NOTE, "SEV firmware's age", "no known fault", "old\n%s: %s", fault,
                  offered > version && sev_version_fault(at->device_id, offered) == NULL
                      ? "Sevisor loads the newer sev-firmware of guests.toml before INIT"
                      : "update the BIOS, or name a newer file as sev-firmware in guests.toml");
    psp_detach(psp);
}

static void secure_processor_row(enum psp_error error, const struct psp_location *at)
{
    const uint32_t feature = at->cells[PSP_CELL_FEATURE];
    char found[28], name[PCI_NAME];
    const char *remedy = "BIOS: enable the AMD Secure Processor (PSP); update the BIOS";
    if (error == PSP_NO_SEV || (error == PSP_BLOCKED && feature != 0))
        psp_registers_log(at->cells);
    if (error == PSP_NO_SEV) {
        text_format(found, sizeof(found), "SEV off, feature 0x%08x", feature);
        remedy = "it is present, but SEV is unsupported or disabled: BIOS: enable SMEE and SEV; update the BIOS";
    } else if (error == PSP_BLOCKED && out_of_reach != NULL) {
        text_format(found, sizeof(found), "BAR %s", out_of_reach);
        remedy = "BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit";
    } else if (error == PSP_BLOCKED || error == PSP_NO_DEVICE) {
        text_format(found, sizeof(found), error == PSP_BLOCKED ? "hidden" : "none");
    } else {
        text_format(found, sizeof(found), "1022:%04x at %s", at->device_id, pci_name(at->function.sbdf, name));
        remedy = "an AMD encryption controller that this version does not know: use a newer Sevisor";
    }
    table_row(error == PSP_OK ? PREFLIGHT_FINE : PREFLIGHT_NO_SEV, "Secure Processor", "PCI function with SEV",
              "%s\n%s", found, remedy);
}

void secure_processor_check(void)
{
    struct psp psp = {0};
    struct psp_location at = {0};
    struct pci_space space;
    command_page = load_highest();
    if (handoff.tsc_hz < 1000000 ||
        EFI_ERROR(boot.services->AllocatePages(AllocateMaxAddress, EfiReservedMemoryType, 1, &command_page)))
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
    secure_processor_row(error, &at);
    if (error == PSP_OK) {
        handoff.psp = at;
        secure_processor_ask(&at, &psp);
        pci_write32(&space, at.function.sbdf, PCI_COMMAND, command);
    }
    /* Else it stays allocated as reserved, since the Secure Processor may still write to it. */
    if (!psp.dead)
        boot.services->FreePages(command_page, 1);
}
