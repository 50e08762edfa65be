/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A machine around the firmware and mailbox models, with simulated time: RAM,
 * CPUs that count their WBINVDs, one PCI function. It keeps a log of what the
 * driver submits, and can falsify what the firmware answers.
 */
#ifndef TESTS_UNIT_PSP_FAKE_PLATFORM_H
#define TESTS_UNIT_PSP_FAKE_PLATFORM_H

#include "psp/internal.h"
#include "../../machine/firmware/mailbox.h"
#include "../../machine/firmware/sevfw.h"
#include "fake_pci.h"

#define FAKE_CPUS 4u
#define FAKE_C_BIT (UINT64_C(1) << 51)
#define FAKE_RAM_BASE UINT64_C(0x100000000)
#define FAKE_RAM_SIZE UINT64_C(0x400000)
#define FAKE_COMMAND_PAGE (FAKE_RAM_BASE + 0x1000)
#define FAKE_DATA_PAGE (FAKE_RAM_BASE + 0x2000)
#define FAKE_GUEST_PAGES (FAKE_RAM_BASE + 0x100000)
#define FAKE_BAR UINT64_C(0x20f0200000)
#define FAKE_LOG 64u

struct fake_options {
    uint16_t device_id;         /* 0: 0x1486 */
    uint16_t segment;           /* of PCI, that it is in */
    uint8_t api_major, api_minor;   /* 0.0: 1.55 */
    bool sme;                   /* the driver's pages are in the host's encrypted view */
    bool no_syscfg;             /* SYSCFG.MemEncryptionModEn is clear */
    bool never_ready;
    bool no_sev;
    uint64_t latency_us;
    uint32_t max_guests;        /* 0: 8 */
};

struct fake_submission {
    uint8_t command;
    uint64_t address;
    uint8_t page[PSP_PAGE_SIZE];    /* the command page at that moment */
    uint8_t data[PSP_PAGE_SIZE];    /* the data page */
};

/* How a read of the command register is falsified while a command runs. */
enum fake_lie {
    FAKE_TRUTH,
    FAKE_ALL_ONES,              /* the device has gone */
    FAKE_STATUS_WITHOUT_RESP,   /* the status stands there, RESP never comes */
    FAKE_RECOVERY_BIT,          /* RESP comes with bit 30 and a left-over command id */
};

extern struct fake_platform {
    struct fake_options options;
    struct sevfw *fw;
    struct mailbox *mailbox;
    struct psp_location location;
    uint64_t now_ns;
    uint64_t stall_us;          /* for so long the machine stands still in the next pause */
    unsigned wbinvds;           /* calls, each on all CPUs */
    unsigned lines;             /* logged */
    char last_line[200], line_before[200];
    uint32_t left_over;         /* what the command register shows until the first command */
    uint32_t left_over_answer;  /* and once after it, before the first command's own answer; 0: nothing */
    unsigned violations;        /* submitted on top of another, data page touched meanwhile, wrong view */

    unsigned submissions;
    struct fake_submission log[FAKE_LOG];   /* the first ones */

    /* Called once, when the answer to `tamper_command` is first seen. */
    uint8_t tamper_command;
    void (*tamper)(uint8_t *command_page, uint8_t *data_page);
    enum fake_lie lie;

    bool running;               /* submitted, RESP not yet seen */
    uint8_t command;
} fake;

void fake_start(const struct fake_options *options);
void fake_stop(void);
/* WBINVD on every CPU. */
void fake_wbinvd_all(void);
uint8_t *fake_ram(uint64_t address);
psp_addr_t fake_guest_page(unsigned page);

/* One fault in the mailbox: `kind` for the next `count` commands of that id (0: any id, all). */
void fake_fault(enum mailbox_fault_kind kind, uint8_t command, uint32_t count, uint16_t status, uint64_t delay_us);
void fake_no_fault(void);

/* Lets time pass until the command is over. `submitted`: what its submission returned. */
struct psp_result psp_wait(struct psp *psp, struct psp_result submitted);

#endif
