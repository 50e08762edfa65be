/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * libFuzzer as two guests. The scheduler, the run loop, the exit handlers and the virtual devices are hv's own, as a
 * host program (tests/unit/hv_vcpu/rig.c); the input is what the processor says at each #VMEXIT, what the guests'
 * registers are then, and how much time has passed. Before each VMRUN the VMCB is looked at as the processor
 * would: what hv alone may choose is as it was, what changed has its clean bit cleared, what is injected is
 * well-formed (APM2 15.20), and the host's timer will end this guest's turn.
 */
#include "../unit/hv_vcpu/with_cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/cpu/clock.h"
#include "hv/monitor/monitor.h"
#include "hv/vm/sched.h"
#include "../unit/hv_vcpu/rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#define GUESTS 2u
/* Without a VMRUN the scheduler comes by so often before the operator ends the guests. */
#define PATIENCE 32u

#define CR0_PG (UINT64_C(1) << 31)
#define V_INTR_USED (V_TPR_MASK | V_IRQ | UINT64_C(0xf) << V_INTR_PRIO_SHIFT | V_INTR_MASKING)
#define EFER_GUEST (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
/* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX (APM2 8.2). */
#define HAS_ERROR_CODE UINT32_C(0x60227d00)

static const uint8_t *input;
static size_t input_left;
static unsigned idle_polls;
static uint64_t started_tsc;

/* What the processor and hv knew at a guest's last exit. */
static struct side {
    struct vmcb constant;       /* at the start */
    struct vmcb at_exit;
    struct vmrun_gprs gprs;
    bool ran;
} sides[GUESTS];

static void require(bool condition, const char *rule)
{
    if (condition)
        return;
    fprintf(stderr, "broken: %s\n", rule);
    abort();
}

/* ---- what hv asks of the rest ---- */

void monitor_poll(void)
{
    if (input_left > 0 && ++idle_polls < PATIENCE)
        return;
    for (uint32_t i = 0; i < GUESTS; i++) {
        if (guests[i].state == GUEST_RUNNING)
            guest_end(&guests[i], GUEST_END_DESTROYED, "no more input");
    }
}

uint32_t monitor_poll_us(void)
{
    return 10000;
}
/* ---- the input ---- */

static uint8_t byte(void)
{
    if (input_left == 0)
        return 0;
    input_left--;
    return *input++;
}

static uint64_t bytes(unsigned count)
{
    uint64_t value = 0;
    while (count-- > 0)
        value = value << 8 | byte();
    return value;
}

/* One byte chooses most of what numbers can be wrong by. */
static uint64_t number(uint64_t guest_now)
{
    uint8_t kind = byte();
    if (kind >= 0xc0)
        return UINT64_C(1) << (kind & 63);
    switch (kind % 13) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return byte();
    case 3:
        return bytes(2);
    case 4:
        return bytes(4);
    case 5:
        return bytes(8);
    case 6:
        return guest_now + (uint64_t)(int64_t)(int16_t)bytes(2);
    case 7:
        return RIG_RAM_SIZE - byte();
    case 8:
        return bytes(2) * 4 % RIG_RAM_SIZE | 1;
    case 9:
        return UINT64_MAX - bytes(2);
    case 10:
        return (UINT64_C(1) << (byte() & 63)) - 1;
    case 11:
        return (PAGE_SIZE - (byte() & 0x3c)) | 1;       /* the end of a page */
    default:
        return bytes(3);
    }
}

static uint32_t some_msr(uint64_t guest_now)
{
    static const uint32_t known[] = {
        0x10,       0x1b,       0x8b,       0xfe,       0x179,      0x17a,      0x1a0,      0x1d9,
        0x277,      0x2ff,      0x6e0,      0x4b564d00, 0x4b564d01, 0xc0000080, 0xc0000103, 0xc0010010,
        0xc0010015, 0xc001001f, 0xc0010058, 0xc0010114, 0xc0010131, 0xc0011020, 0xc0011029,
    };
    uint8_t kind = byte();
    if (kind < 0x80)
        return 0x800 + (kind & 0x3f);
    if (kind < 0xe0)
        return known[kind % (sizeof(known) / sizeof(known[0]))];
    return (uint32_t)number(guest_now);
}

static uint64_t some_rflags(void)
{
    uint8_t bits = byte();
    return 2 | ((bits & 1) != 0 ? RFLAGS_IF : 0) | ((bits & 0x0e) == 0x0e ? RFLAGS_TF : 0);
}

/* What the processor may have been delivering: nothing malformed, as that comes from no guest. */
static uint64_t some_event(void)
{
    static const uint64_t types[] = {
        EVENT_TYPE_INTERRUPT, EVENT_TYPE_NMI, EVENT_TYPE_EXCEPTION, UINT64_C(4) << 8, UINT64_C(6) << 8,
    };
    uint8_t kind = byte(), vector = byte();
    uint64_t type = types[kind % 5];
    if (kind < 0xc0)
        return kind;                    /* not valid: the rest has no meaning */
    if (type != EVENT_TYPE_EXCEPTION)
        return vmcb_event(type, type == EVENT_TYPE_NMI ? 2 : vector);
    vector %= 32;
    if (vector == 2)
        vector = 0;
    uint64_t error = EVENT_ERROR_VALID | (uint64_t)byte() << EVENT_ERROR_SHIFT;
    return vmcb_event(type, vector) | ((HAS_ERROR_CODE >> vector & 1) != 0 ? error : 0);
}

/* ---- before VMRUN ---- */

static void check_constant(const struct vmcb *now, const struct vmcb *then)
{
    const uint32_t passing = INTERCEPT(VMEXIT_VINTR) | INTERCEPT(VMEXIT_IRET) |
                             (rig_cpu.features.decode_assists ? INTERCEPT(VMEXIT_CR0_SEL_WRITE) : 0);
    const uint32_t zero = INTERCEPT(VMEXIT_READ_CR0) | INTERCEPT(VMEXIT_WRITE_CR0);
    require(now->guest_asid == then->guest_asid && now->n_cr3 == then->n_cr3 && now->nested_ctl == then->nested_ctl,
            "ASID and nested tables stay");
    require(now->iopm_base_pa == then->iopm_base_pa && now->msrpm_base_pa == then->msrpm_base_pa, "the maps stay");
    require((now->intercept_cr & ~zero) == then->intercept_cr && now->intercept_dr == then->intercept_dr &&
                (now->intercept_exceptions & then->intercept_exceptions) == then->intercept_exceptions &&
                (now->intercept_misc1 | passing) == (then->intercept_misc1 | passing) &&
                now->intercept_misc2 == then->intercept_misc2 && now->intercept_misc3 == then->intercept_misc3,
            "all intercepts but VINTR, IRET and those of CR0 stay");
    require(now->virtualization_ext == 0 && now->avic_apic_bar == 0 && now->ghcb_pa == 0 && now->vmsa_pa == 0 &&
                now->avic_apic_backing_page == 0 && now->avic_logical_table == 0 && now->avic_physical_table == 0,
            "what hv does not use stays off");
    require((now->efer & EFER_SVME) != 0 && (now->efer & ~(EFER_SVME | EFER_GUEST)) == 0,
            "EFER is one that VMRUN takes");
    require((now->v_intr & ~V_INTR_USED) == 0 && (now->v_intr & V_INTR_MASKING) != 0, "V_INTR_MASKING is on");
    for (int i = 0; i < 8; i++) {
        uint8_t type = (uint8_t)(now->g_pat >> 8 * i);
        require(type <= 7 && type != 2 && type != 3, "PAT is one that VMRUN takes");
    }
    require(now->tlb_control == TLB_CONTROL_NONE || now->tlb_control == TLB_CONTROL_FLUSH_ALL ||
                now->tlb_control == TLB_CONTROL_FLUSH_ASID,
            "TLB_CONTROL is none of the reserved values");
}

/* APM2 15.15: a changed field under a set clean bit keeps its old value inside the processor. */
static void check_clean(const struct vmcb *now, const struct vmcb *then)
{
    uint32_t clean = now->vmcb_clean;
    require((clean & ~VMCB_CLEAN_ALL) == 0, "no reserved clean bits");
    if ((clean & VMCB_CLEAN_I) != 0)
        require(now->intercept_cr == then->intercept_cr && now->intercept_exceptions == then->intercept_exceptions &&
                    now->intercept_misc1 == then->intercept_misc1 && now->tsc_offset == then->tsc_offset,
                "clean bit I");
    if ((clean & VMCB_CLEAN_TPR) != 0)
        require(now->v_intr == then->v_intr, "clean bit TPR");
    if ((clean & VMCB_CLEAN_NP) != 0)
        require(now->g_pat == then->g_pat, "clean bit NP");
    if ((clean & VMCB_CLEAN_CRX) != 0)
        require(now->cr0 == then->cr0 && now->cr3 == then->cr3 && now->cr4 == then->cr4 && now->efer == then->efer,
                "clean bit CRX");
    if ((clean & VMCB_CLEAN_DRX) != 0)
        require(now->dr6 == then->dr6 && now->dr7 == then->dr7, "clean bit DRX");
    if ((clean & VMCB_CLEAN_CR2) != 0)
        require(now->cr2 == then->cr2, "clean bit CR2");
}

static void check_event(const struct vmcb *now)
{
    uint64_t event = now->eventinj, type = event & EVENT_TYPE_MASK;
    uint8_t vector = EVENT_VECTOR(event);
    if ((event & EVENT_VALID) == 0) {
        require(event == 0, "EVENTINJ is whole or nothing");
        return;
    }
    require((event & UINT64_C(0x7ffff000)) == 0, "no reserved bits in EVENTINJ");
    require(type == EVENT_TYPE_INTERRUPT || type == EVENT_TYPE_NMI || type == EVENT_TYPE_EXCEPTION, "EVENTINJ's type");
    if (type == EVENT_TYPE_EXCEPTION)
        require(vector < 32 && vector != 2 && ((event & EVENT_ERROR_VALID) != 0) == (HAS_ERROR_CODE >> vector & 1),
                "an exception has its own kind of error code");
    else
        require((event & EVENT_ERROR_VALID) == 0 && event >> EVENT_ERROR_SHIFT == 0,
                "only exceptions have error codes");
    if (type == EVENT_TYPE_INTERRUPT) {
        require((now->rflags & RFLAGS_IF) != 0 && (now->interrupt_shadow & INTERRUPT_SHADOW) == 0,
                "an interrupt goes to who can take it");
        require(vector >= 16 && vector >> 4 > (now->v_intr & V_TPR_MASK), "and above its task priority");
    }
}

static void check_entry(struct vcpu *vcpu)
{
    struct side *side = &sides[vcpu->guest->index];
    const struct vmcb *now = vcpu->vmcb;
    require(vcpu->state == VCPU_RUNNABLE && vcpu->guest->end == GUEST_END_NONE, "only the living run");
    require(vcpu->exception == 0, "no exception is forgotten");
    require(rig_cpu.timer_fired || rig_cpu.timer_tsc <= rig_cpu.slice_end_tsc, "the host's timer ends the slice");
    require(!rig_window_open, "no window is left open");
    check_constant(now, &side->constant);
    require((now->cr0 & (CR0_CD | CR0_NW)) == 0, "guests run cached");
    require((now->cr0 & CR0_PG) == 0 || (now->cr0 & CR0_PE) != 0, "no paging out of protected mode");
    if (rig_cpu.features.decode_assists) {
        bool intercepted = (now->intercept_cr & INTERCEPT(VMEXIT_READ_CR0)) != 0;
        require((now->cr4 & CR4_MCE) != 0, "machine checks are on");
        require(vcpu->stepping ? (now->intercept_exceptions | 1u << 2) == UINT32_MAX && (now->rflags & RFLAGS_TF) != 0
                               : now->intercept_exceptions == side->constant.intercept_exceptions,
                "all exceptions are intercepted while hv steps, and then only");
        require(intercepted == (vcpu->cr0_hidden != 0 && !vcpu->stepping),
                "CR0 exits as long as it is not the hardware's");
        require(!vcpu->stepping || (now->eventinj & EVENT_VALID) == 0, "no event is delivered with hv's TF");
    }
    require((now->intercept_misc1 & INTERCEPT(VMEXIT_IRET)) == 0 || vcpu->nmi_blocked,
            "IRET is waited for after an NMI only");
    if (side->ran) {
        check_clean(now, &side->at_exit);
        require(now->rip - side->at_exit.rip <= 15, "RIP moves by an instruction at most");
        bool mov_cr = rig_cpu.features.decode_assists;      /* to and from RSP, to CR0; TF while hv steps */
        require((mov_cr || (now->rsp == side->at_exit.rsp && now->cr0 == side->at_exit.cr0)) &&
                    now->cr3 == side->at_exit.cr3 && now->cpl == side->at_exit.cpl &&
                    ((now->rflags ^ side->at_exit.rflags) & ~(mov_cr ? RFLAGS_TF : 0)) == 0,
                "hv does not touch what no exit is about");
        bool read_cr = (side->at_exit.exitcode == VMEXIT_READ_CR0 || side->at_exit.exitcode == VMEXIT_READ_CR4) &&
                       (side->at_exit.exitinfo1 & CR_MOV) != 0;
        require(read_cr || memcmp(&vcpu->run.gprs.rsi, &side->gprs.rsi,
                                  sizeof(side->gprs) - offsetof(struct vmrun_gprs, rsi)) == 0,
                "nor any register but RAX to RDX, and the one into which CR0 or CR4 is read");
    }
    check_event(now);
}

/* ---- VMRUN ---- */

static void msr_exit(struct vcpu *vcpu, uint64_t guest_now)
{
    vcpu->vmcb->exitcode = VMEXIT_MSR;
    vcpu->vmcb->exitinfo1 = byte() & 1;
    vcpu->run.gprs.rcx = some_msr(guest_now);
    uint64_t value = number(guest_now);
    vcpu->vmcb->rax = value;
    vcpu->run.gprs.rdx = value >> 32;
}

static void io_exit(struct vcpu *vcpu, uint64_t guest_now)
{
    static const uint16_t known[] = {0x3f8, 0x3fa, 0x3fc, 0x3f7, 0x5ff, 0x600, 0x602, 0x603, 0x80, 0xcfc, 0xffff};
    uint8_t kind = byte(), flags = byte();
    uint64_t port = kind < 0x60 ? 0x3f8u + kind % 8 : kind < 0xe0 ? known[kind % (sizeof(known) / 2)] : bytes(2);
    vcpu->vmcb->exitcode = VMEXIT_IOIO;
    vcpu->vmcb->exitinfo1 =
        port << IOIO_PORT_SHIFT | (flags & 1) | (UINT64_C(1) << IOIO_SIZE_SHIFT << (flags >> 1 & 3) % 3);
    if (flags >= 0xf8)
        vcpu->vmcb->exitinfo1 = number(guest_now);
    vcpu->vmcb->rax = (flags & 0x40) != 0 ? number(guest_now) : byte();
}

static void any_exit(struct vcpu *vcpu, uint64_t guest_now)
{
    uint8_t kind = byte();
    struct vmcb *vmcb = vcpu->vmcb;
    /* Most of those that end a guest are kept for later in the input: they leave nothing to try. */
    vmcb->exitcode = kind < 0xf8 ? 0x40u + kind % 0x50 : kind == 0xff ? VMEXIT_NPF : number(guest_now);
    vmcb->exitinfo1 = number(guest_now);
    vmcb->rax = number(guest_now);
    vcpu->run.gprs.rcx = number(guest_now);
}

/* The guest's own doing since it was entered, and its exit. */
static void run_guest(struct vcpu *vcpu)
{
    struct side *side = &sides[vcpu->guest->index];
    struct vmcb *vmcb = vcpu->vmcb;
    uint64_t guest_now = vcpu_guest_tsc(vcpu, rig_tsc);
    static const uint64_t plain[] = {
        VMEXIT_CPUID,     VMEXIT_HLT,      VMEXIT_VMMCALL,  VMEXIT_VINTR,        VMEXIT_XSETBV,
        VMEXIT_INTR,      VMEXIT_WBINVD,   VMEXIT_STGI,     VMEXIT_WRITE_CR0,    VMEXIT_CR0_SEL_WRITE,
        VMEXIT_WRITE_CR4, VMEXIT_READ_CR0, VMEXIT_READ_CR4, VMEXIT_EXCEPTION_DB,
    };

    idle_polls = 0;
    check_entry(vcpu);
    if (input_left == 0)
        guest_end(vcpu->guest, GUEST_END_DESTROYED, "no more input");

    uint8_t what = byte(), more = byte();
    vmcb->rip = (more & 1) != 0 ? UINT64_C(0x1000) : number(guest_now);
    vmcb->nrip = (more & 2) != 0 ? 0 : vmcb->rip + (more >> 2 & 15);
    vmcb->exitintinfo = what >= 0x80 ? some_event() : 0;
    if ((what & 0x40) != 0) {
        vmcb->rflags = some_rflags() | (vcpu->stepping ? RFLAGS_TF : 0);
        vmcb->interrupt_shadow = byte() & 1;
        vmcb->v_intr = (vmcb->v_intr & ~V_TPR_MASK) | (byte() & V_TPR_MASK);    /* MOV CR8 */
        vmcb->cpl = (more & 0x40) != 0 ? 3 : 0;
        vmcb->cr0 = (more & 0x80) != 0 || (vmcb->cr0 & CR0_PE) == 0 ? vmcb->cr0 & ~CR0_PG : vmcb->cr0 | CR0_PG;
        vmcb->cr4 = byte() << 13 | 0x20 | (rig_cpu.features.decode_assists ? CR4_MCE : 0); /* OSXSAVE among them */
    }
    vmcb->exitinfo1 = vmcb->exitinfo2 = 0;
    switch (what & 7) {
    case 0:
    case 1:
    case 2:
        msr_exit(vcpu, guest_now);
        break;
    case 3:
        io_exit(vcpu, guest_now);
        break;
    case 4:
        any_exit(vcpu, guest_now);
        break;
    default:
        vmcb->exitcode = plain[byte() % (sizeof(plain) / sizeof(plain[0]))];
        vmcb->exitinfo1 = (more & 0x40) != 0 ? CR_MOV | (more & CR_GPR) : 0; /* of those about control registers */
        if (!rig_cpu.features.decode_assists &&
            (vmcb->exitcode <= VMEXIT_WRITE_CR4 || vmcb->exitcode == VMEXIT_CR0_SEL_WRITE))
            vmcb->exitcode = VMEXIT_CPUID;
        vmcb->rax = number(guest_now);
        if (vmcb->exitcode == VMEXIT_CPUID && (more & 0x80) != 0)
            vmcb->rax = (more & 0x40) != 0 ? 0x80000000u | (vmcb->rax & 0x3f)
                                           : 0x40000000u * (more >> 5 & 1) | (vmcb->rax & 0x1f);
        vcpu->run.gprs.rcx = number(guest_now);
        break;
    }
    vmcb->exitinfo2 = vmcb->exitcode == VMEXIT_IOIO ? vmcb->rip + 1 + (more >> 4) % 15 : vmcb->exitinfo1 * 3;
    if (vmcb->exitcode == VMEXIT_VINTR)
        vmcb->v_intr |= V_IRQ;
    /* A processor that has delivered an event says so by leaving EXITINTINFO empty. */
    if ((what & 0x20) != 0)
        rig_time(number(guest_now) & 0xffffffffff);
    if ((what & 0x10) != 0)
        vuart_input(&vcpu->guest->uart, byte());

    side->at_exit = *vmcb;
    side->gprs = vcpu->run.gprs;
    side->ran = true;
}

/* ---- one input ---- */

static struct cpu fresh_cpu;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    rig_reset(NULL);
    fresh_cpu = rig_cpu;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t pages = rig_pages_taken();
    input = data;
    input_left = size;
    idle_polls = 0;
    rig_cpu = fresh_cpu;
    /* With decode assists CR0 and CR4 are hv's. */
    rig_cpu.features.decode_assists = rig_cpu.features.next_rip = size % 2 == 1;
    rig_tsc = started_tsc = 1000000;
    rig_xcr0 = 1;
    rig_log[0] = '\0';
    rig_log_lines = 0;
    rig_vmrun = run_guest;
    for (uint32_t i = 0; i < GUESTS; i++) {
        struct vcpu *vcpu = rig_guest(i, i == 1);
        sides[i] = (struct side){.constant = *vcpu->vmcb};
        rig_schedule(vcpu);
    }
    loop_run(&rig_cpu);

    for (uint32_t i = 0; i < GUESTS; i++)
        require(guests[i].end != GUEST_END_NONE && guests[i].end_reason[0] != '\0', "each end has a reason");
    require(rig_pages_taken() == pages, "all pages come back");
    /* Ten lines a second and guest, one about those left out, eight of a last report. */
    require(rig_log_lines <= GUESTS * (11 * ((rig_tsc - started_tsc) / RIG_HZ + 1) + 8),
            "a guest cannot flood the log");
    return 0;
}

/* Where everything starts from: the exits of a guest that boots. */
static size_t first_input(uint8_t *data, size_t max_size, unsigned seed)
{
    static const uint8_t boot[] = {
        0x40, 0x01, 0x01, 0x00, 0x00, 0x20, 0x00, 0x02, 0x00, /* interrupts on; its APIC's ID */
        0x00, 0x01, 0x01, 0x0f, 0x03, 0x01, 0xff, /* SVR = 0x1ff */
        0x00, 0x01, 0x01, 0x32, 0x04, 0x00, 0x02, 0x00, 0x60, /* LVT timer: periodic, 0x60 */
        0x00, 0x01, 0x01, 0x38, 0x03, 0x10, 0x00, /* its count */
        0x05, 0x01, 0x01, 0x00, 0x00, 0x25, 0x01, 0x05, 0x03, 0x7f, 0xff, 0x00, /* HLT, time */
        0x03, 0x01, 0x00, 0x00, 0x41, 0x03, 0x01, 0x00, 0x00, 0x0a, /* output */
        0x00, 0x01, 0x01, 0x95, 0x03, 0x10, 0x00, 0x00, 0x01, 0x01, 0x96, 0x0b, 0x24, /* clocks */
        0x05, 0x01, 0x00, 0x02, 0x01, 0x00, 0x05, 0x01, 0x02, 0x01, 0x00, /* CPUID, VMMCALL */
    };
    size_t size = sizeof(boot) < max_size ? sizeof(boot) : max_size;
    memcpy(data, boot, size);
    if (size > 0)
        data[seed % size] ^= (uint8_t)(1u << (seed >> 8 & 7));
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    if (size < 4)
        return first_input(data, max_size, seed);
    return LLVMFuzzerMutate(data, size, max_size);
}
