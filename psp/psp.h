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
    PSP_NO_DEVICE,      /* no function with AMD's ids */
    PSP_UNKNOWN,        /* an encryption controller of AMD's with an id that this version does not know */
    PSP_NO_SEV,         /* the device is there; in its feature register the SEV bit is clear */
    PSP_BLOCKED,        /* its registers cannot be reached, or read all ones: hidden by the BIOS */
    PSP_NOT_READY,      /* the mailbox did not become ready before the first command */
    PSP_TIMEOUT,        /* this command had no answer; the device is dead from now on */
    PSP_DEAD,           /* an earlier command had no answer */
    PSP_STATE,          /* illegal in this platform state or firmware version, or another command is outstanding */
    PSP_LENGTH,         /* a length or alignment that the driver refuses to send */
    PSP_ANSWER,         /* the firmware's answer contradicts itself */
    PSP_FIRMWARE,       /* the firmware refused: see status */
};

struct psp_result {
    enum psp_error error;
    uint16_t status;        /* enum sev_status; valid for PSP_OK (0) and PSP_FIRMWARE */
    uint8_t command;        /* the last command tried */
};

static inline bool psp_ok(struct psp_result r)
{
    return r.error == PSP_OK;
}

/* Registers that each failure is logged with: CMDRESP, ADDR_LO, ADDR_HI, BOOT_LOADER, FEATURE. */
#define PSP_CELLS 5u
#define PSP_CELL_FEATURE 4u
void psp_registers_log(const uint32_t cells[static PSP_CELLS]);

/* Where a SEV-capable function is. */
struct psp_location {
    struct psp_function function;
    uint16_t device_id;
    uint64_t bar;           /* physical address of BAR 2 */
    uint64_t bar_size;
    uint32_t cells[PSP_CELLS];  /* psp_discover(): as they were read; zeros where they could not be reached */
};

/* One step of a walk over the PCI functions whose header is a device's, in ascending order. `before`: what the last step has
 * returned, PSP_NO_DEVICE at first. PSP_OK: this one's feature register says SEV, and the walk is over. Else, of those so far:
 * PSP_NO_DEVICE, or what was wrong with the one in *location: PSP_UNKNOWN, PSP_NO_SEV, PSP_BLOCKED.
 * Leaves the configuration space as it was, but for memory decoding. */
enum psp_error psp_discover(struct psp_function function, enum psp_error before, struct psp_location *location);

/* Names and sentences for people; never NULL. The remedy is "" where none is known. */
const char *psp_error_text(enum psp_error error);
const char *sev_command_name(uint8_t command);
const char *sev_status_remedy(uint8_t command, uint16_t status);

/* Writes "LAUNCH_START: INVALID_LENGTH (0x04): ..." into `text`, cut to size. */
void psp_result_text(struct psp_result result, char *text, size_t size);

/* ---- What is known of each command: one table, command.c. ---- */

enum psp_direction {
    PSP_NONE = 0,
    PSP_IN = 1, /* driver to firmware */
    PSP_OUT = 2, /* firmware to driver */
    PSP_INOUT = PSP_IN | PSP_OUT,
    PSP_GUEST_MEMORY = 4, /* of a reference: through the guest's key */
};

/* An address in a command buffer. */
struct psp_reference {
    uint8_t kind; /* enum psp_direction; 0: none, nor behind it */
    uint8_t address; /* its offset, 8 bytes */
    uint8_t length; /* offset of its length in bytes, 4 bytes; 0: a page */
};
#define PSP_REFERENCES 4u

/* For whom hv/ sends a command, and when. */
enum psp_class {
    PSP_HV_ONLY, /* for nobody: guests' lives are hv's own */
    PSP_PLATFORM, /* no guest notices */
    PSP_PLATFORM_IDLE, /* would destroy guests, or needs state INIT or UNINIT: no SEV guest lives */
    PSP_GUEST, /* from here on the buffer begins with a guest's handle */
    PSP_GUEST_HELD, /* measured, and not run yet */
    PSP_GUEST_LIVE, /* running or paused */
    PSP_GUEST_PAUSED,
    PSP_GUEST_RECEIVING, /* RECEIVE_START, and not run yet */
};

struct psp_command_row {
    const char *name;
    uint8_t command;
    uint8_t size; /* bytes of the command buffer */
    uint8_t direction; /* enum psp_direction */
    uint8_t states; /* bit n: legal in platform state n */
    uint8_t next; /* platform state after success, or PSP_STATE_KEEPS */
    uint8_t timeout_s;
    uint16_t api; /* minimum version, major * 256 + minor */
    uint8_t class; /* enum psp_class; only in rows that are not PSP_HV_ONLY: */
    uint8_t forbidden; /* policy bits with which hv does not send it */
    uint32_t zero; /* bit n: the word at 4 * n is reserved, or hv gives no choice: zero */
    struct psp_reference references[PSP_REFERENCES];
};

#define PSP_STATE_KEEPS 0xffu

/* NULL: a command that the driver does not know. */
const struct psp_command_row *psp_command_row(uint8_t command);

#define PSP_ANSWER_SIZE 80u /* no command buffer is longer */

/* One device, the master. All state of the driver. */
struct psp {
    struct psp_location location;
    volatile void *registers;
    const struct psp_generation *generation;
    bool dead; /* a command may still be executed: the command page stays the device's */
    bool used; /* a command went through before */
    uint32_t interrupts; /* that were enabled before */
    uint64_t commands; /* number submitted since attach */
    uint64_t command_us; /* from their submission to their answers */
    const struct psp_command_row *outstanding; /* NULL: no command is */
    uint64_t submitted_us, last_us, waited_us, limit_us; /* of the wait that is under way */
    enum { PSP_ATTACHED, PSP_EARLIER_COMMAND, PSP_STATUS_SENT } attach; /* how far psp_attach() has come */
    bool answered_before; /* the mailbox showed the end of an earlier owner's command */
    bool unanswered_before; /* it showed such a command whose end was not seen */
    uint16_t pci_command; /* before psp_attach() */
    uint8_t answer[PSP_ANSWER_SIZE]; /* the command buffer as the firmware left it */
    struct sev_platform_status_buffer
        status; /* as of the last PLATFORM_STATUS; state: also of each command whose row changes it */
};

/*
 * Every function below that sends a command only submits it: PSP_OK says that it is outstanding, any other error that it
 * was not sent. psp_poll() then tells when it is over, and the submitter takes the answer. One command is
 * outstanding at a time.
 */

/* Maps the registers, waits for what an earlier owner left in the mailbox, sends PLATFORM_STATUS; its answer is in
 * psp->status. On failure nothing stays mapped. PSP_NOT_READY: nothing shows that the mailbox ever worked, or an
 * earlier owner's command still occupies it. Bus mastering is switched on. A dead device is used again only after attaching to it
 * again. */
struct psp_result psp_attach(struct psp *psp, const struct psp_location *location);
void psp_detach(struct psp *psp);

/* The one function behind all commands: checks the table's row, copies `buffer` (of the row's size) to the command page,
 * and rings. */
struct psp_result psp_submit(struct psp *psp, uint8_t command, const void *buffer);
/* True: the command is over, and *result tells how; psp->answer has its buffer (also on failure: lengths come back with
 * INVALID_LENGTH). False: neither is there an answer nor is the command's time limit over. To be called again and again: of
 * the time between two calls a second counts at most. */
bool psp_poll(struct psp *psp, struct psp_result *result);

/* The commands whose buffer is a guest's handle, or empty, or zeros: handle 0. So is INIT's: no SEV-ES, hence no TMR. INIT leaves
 * every ASID dirty on every core: WBINVD everywhere and DF_FLUSH follow, as they follow DEACTIVATE. SHUTDOWN: WBINVD everywhere
 * afterwards. */
struct psp_result sev_command(struct psp *psp, uint8_t command, uint32_t handle);

/* ---- Platform (SEV API 5) ---- */
struct psp_result sev_get_id(struct psp *psp);
/* PDH, PEK, OCA and CEK, one after another, into SEV_CHAIN_SIZE bytes at `address`. */
#define SEV_CHAIN_SIZE ((1 + SEV_CHAIN_CERTS) * SEV_CERT_SIZE)
struct psp_result sev_pdh_cert_export(struct psp *psp, psp_addr_t address);
/* Before INIT, with a PLATFORM_STATUS afterwards. */
struct psp_result sev_download_firmware(struct psp *psp, psp_addr_t image, uint32_t size);

/* Of psp->status. */
static inline const char *sev_state_name(uint8_t state)
{
    static const char *const names[] = {"UNINIT", "INIT", "WORKING"};

    return state <= SEV_PLATFORM_WORKING ? names[state] : "unknown";
}

/* Firmware: major.minor build as one number that grows. */
#define SEV_VERSION(major, minor, build) ((uint32_t)(major) << 16 | (uint32_t)(minor) << 8 | (uint32_t)(build))
static inline uint32_t sev_version_of(const struct sev_platform_status_buffer *status)
{
    return SEV_VERSION(status->api_major, status->api_minor, status->build);
}
/* Why this version should not be used on the part with this PCI device id, in words, with the source; NULL: nothing is known
 * against it. */
const char *sev_version_fault(uint16_t device_id, uint32_t version);

/* ---- Guests. Handles are the firmware's. ---- */
/* LAUNCH_START or RECEIVE_START. dh_cert (the source's PDH certificate) and session: plain copies in memory, both NULL or both given
 * (2084 and 128 bytes); copied to the data page. */
struct psp_result sev_guest_start(struct psp *psp, uint8_t command, uint32_t policy, const void *dh_cert,
                                  const void *session);
struct psp_result sev_activate(struct psp *psp, uint32_t handle, uint32_t asid);
/* Address and size in units of 16 bytes. The digest is over the bytes in their order and does not depend on command
 * boundaries, so that the caller can cut them in pieces far below the time limit: older parts encrypt a few MiB/s. */
struct psp_result sev_launch_update_data(struct psp *psp, uint32_t handle, psp_addr_t address, uint32_t size);
struct psp_result sev_launch_measure(struct psp *psp, uint32_t handle);

/* ---- Answers: `result` is psp_poll()'s, and is returned unless the answer contradicts itself (PSP_ANSWER). What comes back
 * is written to the caller's variables on PSP_OK only. ---- */
struct psp_result sev_platform_status_answer(struct psp *psp, struct psp_result result); /* into psp->status */
struct psp_result sev_get_id_answer(struct psp *psp, struct psp_result result, uint8_t id[SEV_CHIP_ID_SIZE]);
struct psp_result sev_pdh_cert_export_answer(struct psp *psp, struct psp_result result);
struct psp_result sev_guest_start_answer(struct psp *psp, struct psp_result result, uint32_t *handle);
struct psp_result sev_launch_measure_answer(struct psp *psp, struct psp_result result,
                                            struct sev_measurement *measurement);

#endif
