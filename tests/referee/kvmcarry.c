/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The file: policy (4 bytes), count of pages (4), the source's PDH certificate, SEND_START's session; for each page its
 * number (4), its packet's header (52) and ciphertext (4096); struct control_guest_state, struct control_vcpu_state of
 * guest/control.h. Pages that are not in it were never touched.
 */
#include "tests/referee/kvmcarry.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/psp-sev.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "guest/control.h"
#include "guest/manifest.h"

#define PAGE 4096u
#define CERT_SIZE 2084u
#define AMD_SIZE 3200u
#define HEADER_SIZE 52u
#define NEVER UINT64_MAX
#define LAPIC(offset) *(uint32_t *)(void *)(lapic.regs + (offset))

struct start {
    uint32_t policy, pages;
    uint8_t pdh[CERT_SIZE], session[128];
};

struct page {
    uint32_t number;
    uint8_t header[HEADER_SIZE], data[PAGE];
};

/* MSRs of a vCPU, and their fields in struct control_vcpu_state. */
#define MSRS(X)                             \
    X(0xc0000081, registers.star)           \
    X(0xc0000082, registers.lstar)          \
    X(0xc0000083, registers.cstar)          \
    X(0xc0000084, registers.sfmask)         \
    X(0xc0000102, registers.kernel_gs_base) \
    X(0x174, registers.sysenter_cs)         \
    X(0x175, registers.sysenter_esp)        \
    X(0x176, registers.sysenter_eip)        \
    X(0x277, pat) X(0x2ff, mtrr_def_type) X(0xc0000103, tsc_aux) X(0x6e0, apic_deadline)

#define GPRS(X) \
    X(rax)      \
    X(rbx)      \
    X(rcx) X(rdx) X(rsi) X(rdi) X(rbp) X(rsp) X(r8) X(r9) X(r10) X(r11) X(r12) X(r13) X(r14) X(r15) X(rip) X(rflags)
#define SEGMENTS(X) X(es, es) X(cs, cs) X(ss, ss) X(ds, ds) X(fs, fs) X(gs, gs) X(ldt, ldtr) X(tr, tr)
#define LAPIC_REGISTERS(X) X(0x80, tpr) X(0xf0, svr) X(0x280, esr) X(0x380, timer_initial) X(0x3e0, timer_divide)
#define LAPIC_LVT 0x320
#define XSTATE_BV 512
#define CARRIED_STATES 7 /* x87, SSE, AVX; KVM always has PKRU, too, whatever XCR0 says */
#define LAPIC_ISR 0x100
#define LAPIC_IRR 0x200

struct msrs {
    struct kvm_msrs head;
    struct kvm_msr_entry entries[16];
};

static uint64_t address(const void *pointer)
{
    return (uint64_t)(uintptr_t)pointer;
}

static int must(int result, const char *what)
{
    if (result < 0)
        err(1, "kvmcarry: %s", what);
    return result;
}

static void sev(const struct carried *guest, uint32_t id, void *data, const char *what)
{
    struct kvm_sev_cmd call = {.id = id, .data = address(data), .sev_fd = (uint32_t)guest->sev_device};

    if (ioctl(guest->vm, KVM_MEMORY_ENCRYPT_OP, &call) != 0)
        errx(1, "kvmcarry: %s: %s, firmware 0x%x", what, strerror(errno), call.error);
}

static void take(int file, void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t now = read(file, (uint8_t *)bytes + done, size - done);

        if (now <= 0)
            errx(1, "kvmcarry: a file is too short");
        done += (size_t)now;
    }
}

static void put(int file, const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t now = write(file, (const uint8_t *)bytes + done, size - done);

        if (now <= 0)
            err(1, "kvmcarry: write");
        done += (size_t)now;
    }
}

static void read_file(const char *path, void *bytes, size_t size)
{
    int file = must(open(path, O_RDONLY), path);

    take(file, bytes, size);
    close(file);
}

/* ------------------------------------------------------------- the vCPU */

static void make_segment(const struct kvm_segment *from, struct control_segment *to)
{
    *to = (struct control_segment){
        .selector = from->selector,
        .attributes = (uint16_t)(from->type | from->s << 4 | from->dpl << 5 | (from->present && !from->unusable) << 7 |
                                 from->avl << 8 | from->l << 9 | from->db << 10 | from->g << 11),
        .limit = from->limit,
        .base = from->base,
    };
}

static void load_segment(const struct control_segment *from, struct kvm_segment *to)
{
    uint16_t a = from->attributes;

    *to = (struct kvm_segment){.base = from->base,
                               .limit = from->limit,
                               .selector = from->selector,
                               .type = a & 15,
                               .s = a >> 4 & 1,
                               .dpl = a >> 5 & 3,
                               .present = a >> 7 & 1,
                               .avl = a >> 8 & 1,
                               .l = a >> 9 & 1,
                               .db = a >> 10 & 1,
                               .g = a >> 11 & 1,
                               .unusable = !(a >> 7 & 1)};
}

static struct msrs msrs_of(const struct control_vcpu_state *state)
{
    struct msrs msrs = {0};

#define MSR(number, field) \
    msrs.entries[msrs.head.nmsrs++] = (struct kvm_msr_entry){.index = (number), .data = state->field};
    MSRS(MSR)
#undef MSR
    return msrs;
}

/* Not by the MSR: KVM takes a value that is near those of the VM's other vCPUs for theirs. */
static void tsc_offset(int vcpu, unsigned long operation, uint64_t *offset)
{
    struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = address(offset)};

    must(ioctl(vcpu, operation, &attr), "KVM_VCPU_TSC_OFFSET");
}

static void get_vcpu(int vcpu, struct control_vcpu_state *state)
{
    struct kvm_regs regs;
    struct kvm_sregs s;
    struct kvm_debugregs dr;
    struct kvm_xcrs xcrs;
    struct kvm_lapic_state lapic;
    struct kvm_xsave xsave;
    struct kvm_vcpu_events events;
    struct msrs msrs = msrs_of(state);
    unsigned at = 0;

    must(ioctl(vcpu, KVM_GET_REGS, &regs), "KVM_GET_REGS");
    must(ioctl(vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    must(ioctl(vcpu, KVM_GET_DEBUGREGS, &dr), "KVM_GET_DEBUGREGS");
    must(ioctl(vcpu, KVM_GET_XCRS, &xcrs), "KVM_GET_XCRS");
    must(ioctl(vcpu, KVM_GET_LAPIC, &lapic), "KVM_GET_LAPIC");
    must(ioctl(vcpu, KVM_GET_XSAVE, &xsave), "KVM_GET_XSAVE");
    must(ioctl(vcpu, KVM_GET_VCPU_EVENTS, &events), "KVM_GET_VCPU_EVENTS");
    tsc_offset(vcpu, KVM_GET_DEVICE_ATTR, &state->tsc_offset);
    if (ioctl(vcpu, KVM_GET_MSRS, &msrs) != (int)msrs.head.nmsrs)
        errx(1, "kvmcarry: KVM_GET_MSRS");
#define MSR(number, field) state->field = (__typeof__(state->field))msrs.entries[at++].data;
    MSRS(MSR)
#undef MSR
#define GPR(name) state->registers.name = regs.name;
    GPRS(GPR)
#undef GPR
#define SEGMENT(name, to) make_segment(&s.name, &state->registers.to);
    SEGMENTS(SEGMENT)
#undef SEGMENT
#define REGISTER(offset, field) state->apic_##field = LAPIC(offset);
    LAPIC_REGISTERS(REGISTER)
#undef REGISTER
    for (unsigned i = 0; i < 6; i++)
        state->apic_lvt[i] = LAPIC(LAPIC_LVT + i * 16);
    for (unsigned i = 0; i < 8; i++) {
        state->apic_isr[i] = LAPIC(LAPIC_ISR + i * 16);
        state->apic_irr[i] = LAPIC(LAPIC_IRR + i * 16);
    }
    state->registers.gdtr = (struct control_segment){.limit = s.gdt.limit, .base = s.gdt.base};
    state->registers.idtr = (struct control_segment){.limit = s.idt.limit, .base = s.idt.base};
    state->registers.cr0 = s.cr0;
    state->registers.cr2 = s.cr2;
    state->registers.cr3 = s.cr3;
    state->registers.cr4 = s.cr4;
    state->registers.efer = s.efer;
    memcpy(&state->registers.dr0, dr.db, sizeof(dr.db));
    state->registers.dr6 = dr.dr6;
    state->registers.dr7 = dr.dr7;
    state->apic_base = s.apic_base;
    state->apic_deadline = state->apic_deadline != 0 ? state->apic_deadline : NEVER;
    state->xcr0 = xcrs.xcrs[0].value;
    memcpy(state->xsave, xsave.region, sizeof(state->xsave));
    state->xsave[XSTATE_BV] &= CARRIED_STATES;
    state->xsave[XSTATE_BV + 1] = 0;
    state->cpl = s.ss.dpl;
    state->interrupt_shadow = events.interrupt.shadow != 0;
    state->event = events.interrupt.injected ? UINT64_C(1) << 31 | events.interrupt.nr : 0;
    state->nmi_iret_rip = NEVER;
    if (events.exception.injected || events.exception.pending || events.nmi.pending || events.nmi.injected)
        errx(1, "kvmcarry: an event is under way that this program does not carry");
}

static void set_vcpu(int vcpu, const struct control_vcpu_state *state)
{
    uint64_t offset = state->tsc_offset;
    struct kvm_regs regs = {0};
    struct kvm_sregs s;
    struct kvm_debugregs dr = {.dr6 = state->registers.dr6, .dr7 = state->registers.dr7};
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.value = state->xcr0}}};
    struct kvm_lapic_state lapic;
    struct kvm_xsave xsave;
    struct kvm_vcpu_events events;
    struct kvm_mp_state mp = {.mp_state = state->registers.state == 1 ? KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE};
    struct msrs msrs = msrs_of(state);

    must(ioctl(vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    must(ioctl(vcpu, KVM_GET_XSAVE, &xsave), "KVM_GET_XSAVE");
    must(ioctl(vcpu, KVM_GET_VCPU_EVENTS, &events), "KVM_GET_VCPU_EVENTS");
#define GPR(name) regs.name = state->registers.name;
    GPRS(GPR)
#undef GPR
#define SEGMENT(name, from) load_segment(&state->registers.from, &s.name);
    SEGMENTS(SEGMENT)
#undef SEGMENT
    s.gdt = (struct kvm_dtable){.base = state->registers.gdtr.base, .limit = (uint16_t)state->registers.gdtr.limit};
    s.idt = (struct kvm_dtable){.base = state->registers.idtr.base, .limit = (uint16_t)state->registers.idtr.limit};
    s.cr0 = state->registers.cr0;
    s.cr2 = state->registers.cr2;
    s.cr3 = state->registers.cr3;
    s.cr4 = state->registers.cr4;
    s.efer = state->registers.efer;
    s.apic_base = state->apic_base;
    memset(s.interrupt_bitmap, 0, sizeof(s.interrupt_bitmap));
    memcpy(dr.db, &state->registers.dr0, sizeof(dr.db));
    memcpy(xsave.region, state->xsave, sizeof(state->xsave));
    must(ioctl(vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
    must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
    must(ioctl(vcpu, KVM_SET_DEBUGREGS, &dr), "KVM_SET_DEBUGREGS");
    must(ioctl(vcpu, KVM_SET_XCRS, &xcrs), "KVM_SET_XCRS");
    must(ioctl(vcpu, KVM_SET_XSAVE, &xsave), "KVM_SET_XSAVE");
    must(ioctl(vcpu, KVM_GET_LAPIC, &lapic), "KVM_GET_LAPIC");
#define REGISTER(offset, field) LAPIC(offset) = state->apic_##field;
    LAPIC_REGISTERS(REGISTER)
#undef REGISTER
    for (unsigned i = 0; i < 6; i++)
        LAPIC(LAPIC_LVT + i * 16) = state->apic_lvt[i];
    for (unsigned i = 0; i < 8; i++) {
        LAPIC(LAPIC_ISR + i * 16) = state->apic_isr[i];
        LAPIC(LAPIC_IRR + i * 16) = state->apic_irr[i];
    }
    must(ioctl(vcpu, KVM_SET_LAPIC, &lapic), "KVM_SET_LAPIC");
    tsc_offset(vcpu, KVM_SET_DEVICE_ATTR, &offset);
    for (unsigned i = 0; i < msrs.head.nmsrs; i++)
        if (msrs.entries[i].index == 0x6e0 && msrs.entries[i].data == NEVER)
            msrs.entries[i].data = 0;
    if (ioctl(vcpu, KVM_SET_MSRS, &msrs) != (int)msrs.head.nmsrs)
        errx(1, "kvmcarry: KVM_SET_MSRS");
    events.interrupt.injected = (state->event >> 31 & 1) != 0 && (state->event >> 8 & 7) == 0;
    events.interrupt.nr = (uint8_t)state->event;
    events.interrupt.shadow = state->interrupt_shadow != 0;
    events.flags = KVM_VCPUEVENT_VALID_SHADOW;
    must(ioctl(vcpu, KVM_SET_VCPU_EVENTS, &events), "KVM_SET_VCPU_EVENTS");
    must(ioctl(vcpu, KVM_SET_MP_STATE, &mp), "KVM_SET_MP_STATE");
}

/* ------------------------------------------------------------- there and back */

static void send_start(const struct carried *guest, const char *cek, const char *amd, struct start *start)
{
    static uint8_t chain[3 * CERT_SIZE], amd_certs[AMD_SIZE];
    struct sev_user_data_pdh_cert_export export = {.pdh_cert_address = address(start->pdh),
                                                   .pdh_cert_len = sizeof(start->pdh),
                                                   .cert_chain_address = address(chain),
                                                   .cert_chain_len = sizeof(chain)};
    struct sev_issue_cmd call = {.cmd = SEV_PDH_CERT_EXPORT, .data = address(&export)};
    struct kvm_sev_send_start send = {.pdh_cert_uaddr = address(start->pdh),
                                      .pdh_cert_len = sizeof(start->pdh),
                                      .plat_certs_uaddr = address(chain),
                                      .plat_certs_len = sizeof(chain),
                                      .amd_certs_uaddr = address(amd_certs),
                                      .amd_certs_len = sizeof(amd_certs),
                                      .session_uaddr = address(start->session),
                                      .session_len = sizeof(start->session)};

    if (ioctl(guest->sev_device, SEV_ISSUE_CMD, &call) != 0)
        errx(1, "kvmcarry: PDH_CERT_EXPORT: firmware 0x%x", call.error);
    read_file(cek, chain + 2 * CERT_SIZE, CERT_SIZE);
    read_file(amd, amd_certs, sizeof(amd_certs));
    sev(guest, KVM_SEV_SEND_START, &send, "SEND_START");
    start->policy = send.policy;
}

static int open_output(const char *path)
{
    int file = must(open(path, O_WRONLY | O_NOCTTY), path);
    struct termios raw;

    if (tcgetattr(file, &raw) == 0) {
        cfmakeraw(&raw);
        cfsetspeed(&raw, B115200);
        must(tcsetattr(file, TCSANOW, &raw), path);
    }
    return file;
}

void kvmcarry_send(const struct carried *guest, const char *cek, const char *amd, const char *path)
{
    static struct start start;
    static struct page page;
    static struct control_vcpu_state vcpu;
    struct control_guest_state whole = {
        .version = CONTROL_VERSION,
        .encryption = MANIFEST_ENCRYPTION_SEV,
        .vcpus = 1,
        .memory = guest->size,
        .tsc_hz = 1000ull * (unsigned)must(ioctl(guest->vcpu, KVM_GET_TSC_KHZ), "KVM_GET_TSC_KHZ"),
        .uart_fcr = 0x01,
        .uart_lcr = 0x03,
        .uart_mcr = 0x03,
        .input_break = UINT32_MAX};
    int output = open_output(path);

    get_vcpu(guest->vcpu, &vcpu);
    whole.tsc = __builtin_ia32_rdtsc();
    start.pages = (uint32_t)(guest->size / PAGE);
    send_start(guest, cek, amd, &start);
    put(output, &start, sizeof(start));
    for (uint32_t i = 0; i < start.pages; i++) {
        struct kvm_sev_send_update_data update = {.hdr_uaddr = address(page.header),
                                                  .hdr_len = sizeof(page.header),
                                                  .guest_uaddr = address(guest->memory + i * PAGE),
                                                  .guest_len = PAGE,
                                                  .trans_uaddr = address(page.data),
                                                  .trans_len = sizeof(page.data)};

        page.number = i;
        sev(guest, KVM_SEV_SEND_UPDATE_DATA, &update, "SEND_UPDATE_DATA");
        put(output, &page, sizeof(page));
    }
    put(output, &whole, sizeof(whole));
    put(output, &vcpu, sizeof(vcpu));
    tcdrain(output);
    close(output);
    sev(guest, KVM_SEV_SEND_FINISH, NULL, "SEND_FINISH");
    printf("kvmcarry: sent %u pages\n", start.pages);
}

void kvmcarry_receive(const struct carried *guest, const char *path)
{
    static struct start start;
    static struct page page;
    static struct control_guest_state whole;
    static struct control_vcpu_state vcpu;
    int input = must(open(path, O_RDONLY), path);
    struct kvm_enc_region region = {.addr = address(guest->memory), .size = guest->size};

    take(input, &start, sizeof(start));
    struct kvm_sev_receive_start receive = {.policy = start.policy,
                                            .pdh_uaddr = address(start.pdh),
                                            .pdh_len = sizeof(start.pdh),
                                            .session_uaddr = address(start.session),
                                            .session_len = sizeof(start.session)};
    sev(guest, KVM_SEV_RECEIVE_START, &receive, "RECEIVE_START");
    must(ioctl(guest->vm, KVM_MEMORY_ENCRYPT_REG_REGION, &region), "KVM_MEMORY_ENCRYPT_REG_REGION");
    for (uint32_t i = 0; i < start.pages; i++) {
        take(input, &page, sizeof(page));
        if (page.number >= guest->size / PAGE)
            errx(1, "kvmcarry: there is no page %u", page.number);
        struct kvm_sev_receive_update_data update = {.hdr_uaddr = address(page.header),
                                                     .hdr_len = sizeof(page.header),
                                                     .guest_uaddr = address(guest->memory + page.number * PAGE),
                                                     .guest_len = PAGE,
                                                     .trans_uaddr = address(page.data),
                                                     .trans_len = sizeof(page.data)};

        sev(guest, KVM_SEV_RECEIVE_UPDATE_DATA, &update, "RECEIVE_UPDATE_DATA");
    }
    take(input, &whole, sizeof(whole));
    take(input, &vcpu, sizeof(vcpu));
    close(input);
    sev(guest, KVM_SEV_RECEIVE_FINISH, NULL, "RECEIVE_FINISH");
    vcpu.tsc_offset += whole.tsc - __builtin_ia32_rdtsc();
    set_vcpu(guest->vcpu, &vcpu);
    printf("kvmcarry: received %u pages\n", start.pages);
}
