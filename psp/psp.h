/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The AMD Secure Processor's SEV firmware: discovery, mailbox, commands.
 * Knows nothing of guests' memory layout and nothing of VMCBs.
 */
#ifndef SEVISOR_PSP_H
#define SEVISOR_PSP_H

#include "psp/platform.h"
#include "psp/sev_abi.h"

/* How a command failed to reach or leave the firmware; apart from its status. */
enum psp_error {
    PSP_OK = 0,
    PSP_NO_DEVICE,      /* no function with AMD's ids and the SEV feature bit */
    PSP_UNKNOWN,        /* an encryption controller of AMD's with an id that this version does not know */
    PSP_BLOCKED,        /* the device reads all ones: hidden by the BIOS */
    PSP_NOT_READY,      /* the mailbox did not become ready before the first command */
    PSP_TIMEOUT,        /* this command had no answer; the device is dead from now on */
    PSP_DEAD,           /* an earlier command had no answer */
    PSP_STATE,          /* the table says that the command is illegal in this platform state or firmware version */
    PSP_LENGTH,         /* a length or alignment that the driver refuses to send */
    PSP_ANSWER,         /* the firmware's answer contradicts itself */
    PSP_FIRMWARE,       /* the firmware refused: see status */
};

struct psp_result {
    enum psp_error error;
    uint16_t status;        /* enum sev_status; valid for PSP_OK (0) and PSP_FIRMWARE */
    uint8_t command;        /* the last command tried */
};

static inline bool psp_ok(struct psp_result r) { return r.error == PSP_OK; }

/* Where a SEV-capable function is. */
struct psp_location {
    struct psp_function function;
    uint16_t device_id;
    uint64_t bar;           /* physical address of BAR 2 */
    uint64_t bar_size;
};

/* One step of a walk over the PCI functions whose header is a device's, in ascending order. `before`: what the last step has
 * returned, PSP_NO_DEVICE at first. PSP_OK: this one's feature register says SEV, and the walk is over. Else, of those so far:
 * PSP_NO_DEVICE, PSP_BLOCKED, or PSP_UNKNOWN with `function` and `device_id` in *location.
 * Leaves the configuration space as it was, but for memory decoding. */
enum psp_error psp_discover(struct psp_function function, enum psp_error before, struct psp_location *location);

/* Names and sentences for people; never NULL. The remedy is "" where none is known. */
const char *psp_error_text(enum psp_error error);
const char *sev_command_name(uint8_t command);
const char *sev_status_name(uint16_t status);
const char *sev_status_remedy(uint8_t command, uint16_t status);

/* Writes "LAUNCH_START: INVALID_LENGTH (0x04): ..." into `text`, cut to size. */
void psp_result_text(struct psp_result result, char *text, unsigned size);

/* One device, the master. All state of the driver. */
struct psp {
    struct psp_location location;
    volatile void *registers;
    const struct psp_generation *generation;
    bool dead;
    bool used;              /* a command went through before */
    uint32_t interrupts;    /* that were enabled before */
    uint64_t commands;      /* number submitted since attach */
    uint64_t command_us;    /* time spent waiting */
    struct sev_platform_status status;   /* as of the last PLATFORM_STATUS; state: also of INIT, SHUTDOWN, LAUNCH_START */
};

/* Maps the registers, waits for readiness, reads PLATFORM_STATUS. On failure
 * nothing stays mapped. PSP_NOT_READY: nothing shows that the mailbox ever
 * worked, or it has been busy since before us. Bus mastering is switched
 * on. A dead device is only given another chance by attaching to it again. */
struct psp_result psp_attach(struct psp *psp, const struct psp_location *location);
void psp_detach(struct psp *psp);

/* The one function behind all commands: checks the table's row, takes the lock,
 * copies `buffer` (of the row's size) to the command page, rings, waits, copies
 * back (also on failure: lengths come back with INVALID_LENGTH). */
struct psp_result psp_command(struct psp *psp, uint8_t command, void *buffer);

/* Platform (SEV API, shared reference sev-api.md section 5). */
/* Repeats once on SECURE_DATA_INVALID, and on WBINVD_REQUIRED after a WBINVD everywhere. Then WBINVD everywhere and
 * DF_FLUSH; if that fails, SHUTDOWN. */
struct psp_result sev_init(struct psp *psp);
struct psp_result sev_shutdown(struct psp *psp);            /* then WBINVD everywhere */
struct psp_result sev_platform_status(struct psp *psp);     /* into psp->status */
struct psp_result sev_get_id(struct psp *psp, uint8_t id[64]);
/* PDH, PEK, OCA and CEK, one after another, into SEV_CHAIN_SIZE bytes at `address`. */
#define SEV_CHAIN_SIZE ((1 + SEV_CHAIN_CERTS) * SEV_CERT_SIZE)
struct psp_result sev_pdh_cert_export(struct psp *psp, psp_addr_t address);
struct psp_result sev_df_flush(struct psp *psp);            /* the caller has run WBINVD everywhere */

/* Firmware: major.minor build as one number that grows. */
#define SEV_VERSION(major, minor, build) ((uint32_t)(major) << 16 | (uint32_t)(minor) << 8 | (uint32_t)(build))
static inline uint32_t sev_version_of(const struct sev_platform_status *status)
{
    return SEV_VERSION(status->api_major, status->api_minor, status->build);
}
/* Before sev_init(). Afterwards psp->status is what runs, whatever came of it. */
struct psp_result sev_download_firmware(struct psp *psp, psp_addr_t image, uint32_t size);
/* Why this firmware should not be used, in words, with the source; NULL: nothing is known against it. */
const char *sev_version_fault(uint32_t version);

/* Guests. Handles are the firmware's. dh_cert and session: plain copies in
 * memory, both NULL or both given (2084 and 128 bytes); copied to the data page.
 * What comes back is written to the caller's variables on PSP_OK only. */
struct psp_result sev_launch_start(struct psp *psp, uint32_t policy, const void *dh_cert,
                                   const void *session, uint32_t *handle);
struct psp_result sev_activate(struct psp *psp, uint32_t handle, uint32_t asid);
/* Address and size in units of 16 bytes. Sent in pieces of 1 MiB, so that no command comes near its time limit. */
struct psp_result sev_launch_update_data(struct psp *psp, uint32_t handle, psp_addr_t address, uint32_t size);
struct psp_result sev_launch_measure(struct psp *psp, uint32_t handle, struct sev_measurement *measurement);
struct psp_result sev_launch_finish(struct psp *psp, uint32_t handle);
struct psp_result sev_guest_status(struct psp *psp, uint32_t handle, struct sev_guest_status *status);
struct psp_result sev_deactivate(struct psp *psp, uint32_t handle);
struct psp_result sev_decommission(struct psp *psp, uint32_t handle);

#endif
