/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's side of guest/control.h for programs of the build host: a window, and five guests, two of which can be debugged. */
#ifndef TESTS_UNIT_GUEST_CONTROL_FAKE_HV_H
#define TESTS_UNIT_GUEST_CONTROL_FAKE_HV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/control.h"

enum { FAKE_CONTROL, FAKE_LINUX, FAKE_HELLO, FAKE_PLAIN, FAKE_OPEN, FAKE_GUESTS };

#define FAKE_MEMORY 0x10000u /* bytes of each guest */
#define FAKE_PAGES (FAKE_MEMORY / 4096u)
#define FAKE_COUNTER 0xc000u /* of FAKE_LINUX: a byte that counts while its pages are tracked */
#define FAKE_UNTOUCHED 0xe000u /* a page of it */
#define FAKE_SHARED_PAGE 0x8000u /* of FAKE_LINUX, which says so; all else of it is private */
#define FAKE_SECRET_GPA 0xa000u
#define FAKE_HIGH UINT64_C(0xffffffff80000000) /* guest-virtual: a large page, guest-physical 0 */

/* A guest that is sent or received. */
struct fake_moving {
    uint8_t pages[FAKE_PAGES]; /* CONTROL_PAGE_* */
    bool tracked, sending, finished; /* CONTROL_PAGES_TRACK, SEND_START, RECEIVE_FINISH were there */
    uint8_t key; /* of its session; 0: none */
    uint32_t states; /* a bit a vCPU that was set; bit 31: the whole guest */
    struct control_guest_state whole;
    struct control_vcpu_state vcpus[2];
};

struct fake_guest {
    struct control_guest info;
    struct control_vcpu vcpus[2];
    uint8_t memory[FAKE_MEMORY]; /* as the guest sees it */
    char console[4096];
    uint32_t kept; /* of the console, its first byte still there */
    char input[256];
    size_t input_length;
    struct fake_moving moving;
};

struct fake_hv {
    struct fake_guest guests[FAKE_GUESTS];
    struct control_platform platform;
    char log[256];
    uint32_t log_length;
    uint32_t requests, commands[256]; /* counted */
    struct control_request last; /* the last one; of CONTROL_FIRMWARE: */
    struct control_request last_firmware;
    uint32_t refuse_status; /* the next command of the SEV firmware is refused with it */
    bool mute; /* no answers */
    bool launch_lasts; /* until fake_launched() */
    uint8_t session[128], secret[0x4000], imported[2][2084];
    uint8_t certificates[4][2084]; /* PDH, PEK, OCA, CEK; the PDH's first byte is 0: made up */
    uint8_t packets; /* counted */
};

extern struct fake_hv fake_hv;

void fake_start(void);
/* Some time goes by: running guests reach their breakpoints, or print something. */
void fake_time(void);
void fake_event(uint32_t kind, uint32_t guest, uint32_t vcpu, uint32_t code);
void fake_print(uint32_t guest, const char *text);
void fake_end(uint32_t guest, uint32_t end, const char *reason);
void fake_launched(uint32_t guest);

#endif
