/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The control interface: what the one guest with `control = true` asks of the hypervisor. Published: hv/ implements it,
 * guest/control/ and programs of the operator's use it.
 *
 * The guest has a window, CONTROL_WINDOW_SIZE bytes of memory that it shares with hv, at CONTROL_WINDOW: no RAM, reserved in its
 * E820, always plain. It writes a request there, then the request's sequence number to the doorbell, a port of 32 bits. hv
 * copies the request once, and checks the copy only. The boot CPU carries it out; when it is over, hv writes the answer, the
 * answer's sequence last. One request is under way at a time: the doorbell does nothing before the last answer.
 * All numbers are little-endian. Offsets called `data` are of the window, inside of [CONTROL_DATA, CONTROL_WINDOW_SIZE).
 */
#ifndef SEVISOR_CONTROL_ABI_H
#define SEVISOR_CONTROL_ABI_H

#include <stddef.h>
#include <stdint.h>

#define CONTROL_VERSION 1u
#define CONTROL_MAGIC UINT32_C(0x4c544353)      /* "SCTL" */
#define CONTROL_WINDOW UINT64_C(0xf0000000)     /* guest-physical; the guest's RAM ends below */
#define CONTROL_WINDOW_SIZE (UINT32_C(1) << 20)
#define CONTROL_DOORBELL 0x0cb0u                /* port; reads as CONTROL_MAGIC, and as all ones for other guests */

#define CONTROL_REQUEST 0x400u                  /* offsets in the window */
#define CONTROL_ANSWER 0x800u
#define CONTROL_EVENTS 0x1000u
#define CONTROL_EVENT_COUNT 128u
#define CONTROL_DATA 0x10000u
#define CONTROL_DATA_SIZE (CONTROL_WINDOW_SIZE - CONTROL_DATA)

#define CONTROL_LOG UINT32_MAX                  /* in place of a guest: hv's log (CONSOLE_READ) */

/* At the window's start. */
struct control_header {
    uint32_t magic;
    uint32_t version;
    uint32_t events;            /* hv: events ever written; the last is at index (events - 1) % CONTROL_EVENT_COUNT */
    uint32_t reserved;
};

/* guest: its index in the manifest. `in`, `out`: bytes at `data`. */
enum control_operation {
    CONTROL_NOTHING = 0,
    CONTROL_PLATFORM_INFO = 1,  /* out: struct control_platform */
    CONTROL_GUEST_INFO = 2,     /* guest; out: struct control_guest */
    CONTROL_INTERRUPT = 3, /* argument: vector (32 to 255) that events and answers raise on its vCPU 0; 0: none */
    /* Guests' lives. What lasts goes on behind the answer: GUEST_INFO and events tell. */
    CONTROL_LAUNCH = 8, /* guest: ended or refused. In `session` guests it waits for CONTROL_SESSION */
    CONTROL_END = 9, /* guest: running, paused, or being launched */
    CONTROL_PAUSE = 10, /* guest: running; when answered, none of its vCPUs runs */
    CONTROL_RESUME = 11, /* guest: paused, or held before its first instruction (require-secret): goes on */
    CONTROL_STEP =
        12, /* guest: paused; vcpu executes one instruction without interrupts, then EVENT_STOPPED; a vCPU that
                        * sleeps executes it when it wakes. The others stand */
    CONTROL_SESSION = 13, /* guest: waits for its session; in: struct control_session */
    CONTROL_RECEIVE = 14, /* guest: ended or refused; a launch that waits for a guest from elsewhere: see below */
    /* Consoles. */
    CONTROL_CONSOLE_READ =
        16, /* guest or CONTROL_LOG; address: position in the stream; out: at most `size` bytes of what is
                                 * kept from there on; answer.value: position of the first of them */
    CONTROL_CONSOLE_WRITE = 17, /* guest; in: bytes for its UART; answer.value: how many it took */
    /* Debugging. Refused with CONTROL_POLICY for NODBG; for guests without SEV unless `debug = true`. */
    CONTROL_VCPU_GET = 24, /* guest, vcpu: paused; out: struct control_vcpu */
    CONTROL_VCPU_SET =
        25, /* The same; in: what a vCPU can hold, and state as it is. Breakpoints that it enables in DR7 stop the
                            * guest until it disables them; those that the guest has enabled itself stay its own */
    CONTROL_MEMORY_READ =
        26, /* guest, address (guest-physical); out: `size` bytes as the guest shares them (plain and host
                                 * guests: all of RAM; SEV guests: pages that they share) */
    CONTROL_MEMORY_WRITE = 27,
    /* Moves, see below. */
    CONTROL_PAGES =
        28, /* guest: running or paused; address: of the first page, page aligned; out: bytes of CONTROL_PAGE_* */
    CONTROL_STATE_GET = 29, /* guest: paused; vcpu; out: struct control_vcpu_state or control_guest_state */
    CONTROL_STATE_SET = 30, /* guest: in CONTROL_STATE_RECEIVING; vcpu; in */
    /* The secure processor: `command` with its buffer of the SEV API in `buffer`. hv fills in the handle; in place of a
     * physical address stands an offset `data` of the window, or a guest-physical address where the API wants the guest's
     * memory. answer.buffer: the buffer as the SEV firmware left it, addresses zero. INIT_EX copies its 32 KiB, page aligned, from
     * the window into hv's memory. Then commands without a guest that have so much room, page aligned, at `data`, bring
     * them back as they are by then. */
    CONTROL_FIRMWARE = 32,
};

struct control_request {
    uint32_t sequence; /* not 0, not that of the request before */
    uint32_t operation; /* enum control_operation */
    uint32_t guest, vcpu;
    uint64_t address;
    uint64_t argument;
    uint32_t data, size; /* of the request's input, or room for its output */
    uint32_t command; /* CONTROL_FIRMWARE: SEV API command id */
    uint32_t reserved;
    uint8_t buffer[80];
};

enum control_result {
    CONTROL_OK = 0,
    CONTROL_UNKNOWN = 1, /* operation or command that this version does not have, or does not give away */
    CONTROL_INVALID = 2, /* a field is out of its range */
    CONTROL_NO_GUEST = 3,
    CONTROL_STATE = 4, /* not in the guest's present state */
    CONTROL_POLICY = 5, /* forbidden by the guest's policy, or `debug = true` is missing */
    CONTROL_IN_USE = 6, /* SEV guests live, and the command would destroy them */
    CONTROL_NO_SEV = 7, /* the secure processor cannot be used */
    CONTROL_SEV_FAILED = 8, /* answer.status has why */
    CONTROL_NOT_SHARED = 9, /* private memory: DBG_DECRYPT and DBG_ENCRYPT reach it */
    CONTROL_LIMIT = 10, /* no memory left in hv */
};

struct control_answer {
    uint32_t sequence; /* written last */
    uint32_t result; /* enum control_result */
    uint32_t status; /* of the SEV firmware; with a transport error 0x10000 + enum psp_error */
    uint32_t size; /* bytes written at `data` */
    uint64_t value;
    uint8_t buffer[80];
    char text[160]; /* why not, in hv's words; "" where `result` says it all */
};

enum control_event_kind {
    CONTROL_EVENT_STATE = 1, /* code: enum control_state */
    CONTROL_EVENT_STOPPED = 2, /* guest is paused: code 0 step, 1 + n breakpoint n of DR0 to DR3 */
    CONTROL_EVENT_CONSOLE = 3, /* bytes came; told once until they are read */
};

struct control_event {
    uint32_t kind, guest, vcpu, code;
};

/* Of a guest. */
enum control_state {
    CONTROL_STATE_NONE = 0, /* never launched */
    CONTROL_STATE_LAUNCHING = 1,
    CONTROL_STATE_SESSION = 2, /* waits for CONTROL_SESSION */
    CONTROL_STATE_HELD = 3, /* measured; waits for LAUNCH_SECRET and CONTROL_RESUME */
    CONTROL_STATE_RUNNING = 4,
    CONTROL_STATE_PAUSED = 5,
    CONTROL_STATE_ENDING = 6,
    CONTROL_STATE_ENDED = 7,
    CONTROL_STATE_REFUSED = 8,
    CONTROL_STATE_RECEIVING = 9, /* waits for memory, state, RECEIVE_FINISH and CONTROL_RESUME */
};

struct control_platform {
    uint32_t version, guests; /* CONTROL_VERSION; guests of the manifest */
    uint32_t self; /* the control guest's index */
    uint32_t cpus;
    uint8_t api_major, api_minor, build, state; /* SEV API, PLATFORM_STATUS; 0 without SEV */
    uint32_t owner; /* 1: externally owned */
    uint32_t sev_ready; /* INIT is done */
    uint32_t asids, asids_used;
    uint32_t tsc_khz;
    uint64_t tsc; /* now */
    uint64_t memory, memory_free; /* bytes for guests */
    uint64_t commands, command_us; /* mailbox commands, time inside of them */
    char refusal[160]; /* why sev_ready is 0 */
};

struct control_guest {
    char name[32];
    uint32_t state; /* enum control_state */
    uint32_t encryption; /* enum manifest_encryption */
    uint32_t vcpus, policy, asid, handle;
    uint32_t launches, end; /* how often; enum guest_end_kind of the last launch, 0: none */
    uint32_t phase; /* of a launch: 0 memory, 1 copy, 2 LAUNCH_START, 3 LAUNCH_UPDATE, 4 measured, 5 finished */
    uint32_t flags; /* MANIFEST_GUEST_ flags */
    uint64_t memory; /* bytes of RAM */
    uint64_t done, total; /* bytes of the launch's present phase */
    uint64_t secret_gpa, secret_size; /* where the manifest wants the secret; 0: none */
    uint64_t commands; /* mailbox commands for its launch */
    uint64_t run_tsc, alive_tsc;
    uint64_t exits[16]; /* enum vcpu_exit_kind */
    uint64_t console_first, console_end; /* stream positions that CONSOLE_READ has */
    uint8_t digest[32]; /* expected, by the manifest */
    uint8_t measure[32], mnonce[16]; /* LAUNCH_MEASURE's answer; zeros before */
    char end_reason[256];
};

/* In the VMCB's format (APM2 table B-2). */
struct control_segment {
    uint16_t selector, attributes;
    uint32_t limit;
    uint64_t base;
};

struct control_vcpu {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
    uint64_t cr0, cr2, cr3, cr4, efer;
    uint64_t dr0, dr1, dr2, dr3, dr6, dr7;
    struct control_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip;
    uint32_t state; /* 0 runnable, 1 halted, 2 waits for STARTUP */
    uint32_t cpu; /* host CPU that it lives on */
};

/* Of a launch, or of CONTROL_RECEIVE: then the source's policy, its PDH certificate, and what SEND_START gave. */
struct control_session {
    uint32_t policy; /* as the session was made for; the manifest's is replaced */
    uint32_t reserved;
    uint8_t dh_cert[2084];
    uint8_t padding[12];
    uint8_t session[128];
};

/*
 * Moves: a guest's memory and state leave as pages and structures, and arrive as such on this or another machine: from where to
 * where, in which order and form, is for the control guest to decide. Of a SEV guest whose policy has NOSEND, and of others
 * without `debug = true`, PAGES and the STATE_ operations are refused (CONTROL_POLICY), and so are the SEND_* commands.
 *
 * The source. The guest runs, or is paused. Of SEV guests: SEND_START and SEND_UPDATE_DATA by CONTROL_FIRMWARE for private
 * pages, 4 KiB at a time; CONTROL_MEMORY_READ for shared ones (of guests without SEV: for all). After PAUSE, STATE_GET of the
 * whole guest, then of each vCPU (CONTROL_STATE while a debugger has breakpoints in it). After SEND_FINISH, which wants it paused, hv ends the guest and never runs it again. Before
 * that, SEND_CANCEL and RESUME: it goes on. Guests without SEV are ended by CONTROL_END.
 *
 * The destination: a guest of the same encryption, memory and vCPUs.
 *   RECEIVE         allocates and clears as a launch does, instead of what stands for the guest there
 *   SESSION         SEV only, when its state is CONTROL_STATE_SESSION: RECEIVE_START and ACTIVATE; RECEIVE_START's failure is
 *                   the answer's. Without SEV the state is CONTROL_STATE_RECEIVING at once
 *   in CONTROL_STATE_RECEIVING, in any order and again as often as wanted:
 *     CONTROL_FIRMWARE with RECEIVE_UPDATE_DATA: private pages
 *     MEMORY_WRITE  shared pages, whole ones (of guests without SEV: any bytes of all pages)
 *                   A page is private or shared as it was written last. Pages that never come are zeros under no key, private:
 *                   so all pages that are shared have to come, touched or not
 *   STATE_SET       of the whole guest, then of each vCPU (before: CONTROL_STATE); from the first of these on the guest's clock
 *                   counts. A field with a value that no guest could have brought about: CONTROL_INVALID, and nothing is set
 *   CONTROL_FIRMWARE with RECEIVE_FINISH: SEV only
 *   RESUME          CONTROL_STATE before all of the above is done. Or, at any time, CONTROL_END: nothing of it has run
 */

/*
 * CONTROL_PAGES answers a byte a page of 4 KiB: for `size` pages, but for CONTROL_PAGES_MAX at most, and not beyond RAM;
 * answer.size says how many. Argument: 0, or CONTROL_PAGES_TRACK.
 *   Without TRACK nothing changes. TOUCHED and DIRTY are of whole nested pages: of 4 KiB in guests with `snapshot = true` and
 *   where pages were tracked before, else of 2 MiB or 1 GiB.
 *   TRACK first splits the nested pages into 4 KiB, for the rest of the launch (CONTROL_LIMIT: hv has no pages left for that,
 *   nothing has changed); then it reads DIRTY and clears it. What is written from then on is dirty again. So a page that is
 *   read or sent behind the answer may be told dirty once too often next time, but never too seldom.
 */
#define CONTROL_PAGES_MAX 16384u /* 64 MiB */
#define CONTROL_PAGES_TRACK 1u

/* The guest maps it with C=0, as it says itself. Never set without SEV: there MEMORY_READ has all pages. */
#define CONTROL_PAGE_SHARED 1u
/* Accessed since its launch, or in the launch program, or written by hv or the secure processor. Nobody has seen the content
 * of the others: noise under SEV, else zeros. */
#define CONTROL_PAGE_TOUCHED 2u
/* Written, or changed between shared and private, since the last TRACK, or since launch. */
#define CONTROL_PAGE_DIRTY 4u

#define CONTROL_WHOLE_GUEST UINT32_MAX /* in place of a vcpu: struct control_guest_state */

/* Of a paused guest as a whole. */
struct control_guest_state {
    uint32_t version; /* CONTROL_VERSION */
    /* SET wants these three as the guest's entry in its own manifest has them. */
    uint32_t encryption, vcpus; /* enum manifest_encryption */
    /* MSR 4b564d08, MIGRATION_CONTROL. 1: the guest says of all pages that it shares that it does. 0: it is of another kind, or
     * does not run yet: what CONTROL_PAGE_SHARED says may be wrong. */
    uint32_t migration_control;
    uint64_t memory; /* bytes */
    /* GET: the host's TSC; a vCPU's own is that + its tsc_offset. SET: the vCPUs' go on from there, so that nothing passes for
     * the guest in between. Whoever wants that it does adds so many cycles. */
    uint64_t tsc;
    uint64_t tsc_hz; /* SET wants it within 250 in a million of this machine's */
    uint8_t uart_ier, uart_fcr, uart_lcr, uart_mcr, uart_scr, uart_dll, uart_dlm;
    uint8_t uart_flags; /* 1: overrun, 2: THR became empty */
    uint32_t input_count; /* bytes of `input`, first to last */
    uint32_t input_break; /* bytes before a break among them; all ones: none */
    uint8_t input[4096]; /* for the UART; not read yet */
};

/* Of one of its vCPUs, with what was posted to it. */
struct control_vcpu_state {
    struct control_vcpu registers; /* `cpu` means nothing here */
    uint64_t tsc_offset;
    uint64_t pat, mtrr_def_type, spec_ctrl, tsc_aux;
    /* KVM's paravirtual clock: MSR 4b564d01, and its structure's version. What that says stays true, as the TSC goes on. */
    uint64_t system_time_msr;
    uint32_t pvclock_version;
    uint32_t cpl;
    uint64_t interrupt_shadow; /* VMCB's, bit 0 */
    uint64_t event; /* to be delivered first: EVENTINJ (APM2 15.20); 0: none */
    uint32_t nmi_pending, nmi_blocked;
    uint64_t nmi_iret_rip; /* blocked, and the IRET there is next; all ones: not */
    /* Its x2APIC. */
    uint64_t apic_base;
    uint32_t apic_irr[8], apic_isr[8], apic_tmr[8]; /* TMR: zeros, as no interrupt is level-triggered; SET ignores it */
    uint32_t apic_tpr, apic_svr, apic_esr, apic_esr_shadow; /* the last: errors since the write of ESR */
    uint32_t apic_lvt[6]; /* timer, thermal, performance, LINT0, LINT1, error */
    uint32_t apic_timer_initial, apic_timer_divide;
    uint64_t apic_timer_start, apic_deadline; /* guest TSC: when `initial` was written; next expiry, all ones: none */
    uint64_t apic_icr;
    uint64_t xcr0;
    uint8_t xsave[1024]; /* XSAVE's standard format: x87, SSE, AVX and what `xcr0` has; the rest zero */
};

_Static_assert(sizeof(struct control_request) == 128, "request");
_Static_assert(sizeof(struct control_answer) == 264, "answer");
_Static_assert(offsetof(struct control_answer, buffer) == 24, "answer's buffer");
_Static_assert(sizeof(struct control_event) * CONTROL_EVENT_COUNT + CONTROL_EVENTS <= CONTROL_DATA,
               "events end below the data");
_Static_assert(sizeof(struct control_platform) == 240, "platform");
_Static_assert(sizeof(struct control_guest) == 616, "guest");
_Static_assert(sizeof(struct control_segment) == 16, "segment");
_Static_assert(offsetof(struct control_vcpu, es) == 232, "vcpu's segments");
_Static_assert(sizeof(struct control_vcpu) == 464, "vcpu");
_Static_assert(offsetof(struct control_session, session) == 2104, "session");
_Static_assert(sizeof(struct control_session) == 2232, "session's end");
_Static_assert(offsetof(struct control_guest_state, uart_ier) == 40 &&
                   offsetof(struct control_guest_state, input) == 56,
               "guest's state");
_Static_assert(sizeof(struct control_guest_state) == 4152, "guest's state");
_Static_assert(offsetof(struct control_vcpu_state, tsc_offset) == 464, "vCPU's state");
_Static_assert(offsetof(struct control_vcpu_state, apic_base) == 552, "vCPU's x2APIC");
_Static_assert(offsetof(struct control_vcpu_state, xcr0) == 728, "vCPU's XCR0");
_Static_assert(sizeof(struct control_vcpu_state) == 1760, "vCPU's state");

#endif
