/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Runs one guest of a Sevisor manifest under KVM: a second, independent
 * executor of the same launch program.
 *
 *   kvmrun MANIFEST GUEST [--launch-only] [--irqchip] [--lines N] [--receive FILE] [--send CEK AMD FILE]
 *
 * --lines: until it has printed so many. --receive: what came from elsewhere, instead of a launch. --send: away at the end
 * (kvmcarry.c; of guests with one vCPU).
 * --irqchip: the old interrupt controllers are the kernel's too, and their ports are answered there.
 *
 * Of an encrypted guest it prints `kvmrun: measurement <64 hex> nonce <32 hex>`,
 * `kvmrun: status policy 0x<hex> state <number>`, and `kvmrun: report <416 hex>`:
 * the firmware's attestation report, asked for with the measurement's nonce. Then
 * the guest's console, and how it ended. A vCPU is a thread; all but the first
 * wait for another to start them (INIT, SIPI).
 */
#include <err.h>
#include <stdbool.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/manifest.h"
#include "tests/referee/kvmcarry.h"

#define UART 0x3f8u
#define SLEEP_CONTROL 0x600u
#define RESET 0x602u

struct vcpu {
    int fd;
    struct kvm_run *run;
};

static int kvm, vm, sev_device = -1;
static unsigned long lines, lines_wanted; /* wanted: 0, all */

static int must(int result, const char *what)
{
    if (result < 0)
        err(1, "kvmrun: %s", what);
    return result;
}

static void sev(uint32_t id, void *data, const char *name)
{
    struct kvm_sev_cmd call = {.id = id, .data = (uint64_t)(uintptr_t)data, .sev_fd = (uint32_t)sev_device};

    if (ioctl(vm, KVM_MEMORY_ENCRYPT_OP, &call) != 0)
        errx(1, "kvmrun: %s: %s, firmware 0x%x", name, strerror(errno), call.error);
}

static const uint8_t *read_manifest(const char *path, uint64_t *size)
{
    int file = must(open(path, O_RDONLY), path);
    struct stat stat;

    must(fstat(file, &stat), path);
    void *bytes = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (bytes == MAP_FAILED)
        err(1, "kvmrun: %s", path);
    *size = (uint64_t)stat.st_size;
    return bytes;
}

static void hex(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%02x", bytes[i]);
}

static void load(const uint8_t *manifest, const struct manifest_guest *guest, uint8_t *memory)
{
    bool encrypted = guest->encryption == MANIFEST_ENCRYPTION_SEV;

    for (uint32_t i = 0; i < guest->step_count; i++) {
        const struct manifest_step *step = manifest_step(manifest, guest->first_step + i);

        if (step->kind != MANIFEST_STEP_ZERO)
            memcpy(memory + step->gpa, manifest + step->payload_offset, step->size);
        if (!encrypted || step->kind == MANIFEST_STEP_SHARED)
            continue;
        struct kvm_sev_launch_update_data update = {.uaddr = (uint64_t)(uintptr_t)(memory + step->gpa),
                                                    .len = (uint32_t)step->size};
        sev(KVM_SEV_LAUNCH_UPDATE_DATA, &update, "LAUNCH_UPDATE_DATA");
    }
}

/* What the firmware says of the running guest: the report has the launch digest in the clear. */
static void ask_firmware(const uint8_t nonce[16])
{
    enum { REPORT_SIZE = 208 };
    uint8_t bytes[REPORT_SIZE];
    struct kvm_sev_guest_status status = {0};
    struct kvm_sev_attestation_report report = {.uaddr = (uint64_t)(uintptr_t)bytes, .len = sizeof(bytes)};

    sev(KVM_SEV_GUEST_STATUS, &status, "GUEST_STATUS");
    printf("kvmrun: status policy 0x%x state %u\n", status.policy, status.state);
    memcpy(report.mnonce, nonce, sizeof(report.mnonce));
    sev(KVM_SEV_GET_ATTESTATION_REPORT, &report, "ATTESTATION");
    printf("kvmrun: report ");
    hex(bytes, sizeof(bytes));
    putchar('\n');
}

static void launch_encrypted(const uint8_t *manifest, const struct manifest_guest *guest, uint8_t *memory)
{
    struct kvm_enc_region region = {.addr = (uint64_t)(uintptr_t)memory, .size = guest->memory};
    struct kvm_sev_launch_start start = {.policy = guest->sev_policy};
    uint8_t measurement[48];
    struct kvm_sev_launch_measure measure = {.uaddr = (uint64_t)(uintptr_t)measurement, .len = sizeof(measurement)};

    if (guest->dh_cert_size != 0) {
        start.dh_uaddr = (uint64_t)(uintptr_t)(manifest + guest->dh_cert_offset);
        start.dh_len = guest->dh_cert_size;
        start.session_uaddr = (uint64_t)(uintptr_t)(manifest + guest->session_offset);
        start.session_len = guest->session_size;
    }
    sev(KVM_SEV_LAUNCH_START, &start, "LAUNCH_START");
    must(ioctl(vm, KVM_MEMORY_ENCRYPT_REG_REGION, &region), "KVM_MEMORY_ENCRYPT_REG_REGION");
    load(manifest, guest, memory);
    sev(KVM_SEV_LAUNCH_MEASURE, &measure, "LAUNCH_MEASURE");
    printf("kvmrun: measurement ");
    hex(measurement, 32);
    printf(" nonce ");
    hex(measurement + 32, 16);
    putchar('\n');
    sev(KVM_SEV_LAUNCH_FINISH, NULL, "LAUNCH_FINISH");
    ask_firmware(measurement + 32);
}

static struct kvm_segment segment(const struct manifest_segment *s)
{
    uint16_t a = s->attributes;

    return (struct kvm_segment){.base = s->base,
                                .limit = s->limit,
                                .selector = s->selector,
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

/* Enabled, and in x2APIC mode from the start: INIT does not change that. */
static uint64_t apic_base(uint32_t id)
{
    return 0xfee00000u | 1u << 11 | 1u << 10 | (id == 0 ? 1u << 8 : 0);
}

static void set_waiting(int vcpu, uint32_t id)
{
    struct kvm_sregs s;
    struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_UNINITIALIZED};

    must(ioctl(vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    s.apic_base = apic_base(id);
    must(ioctl(vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
    must(ioctl(vcpu, KVM_SET_MP_STATE, &state), "KVM_SET_MP_STATE");
}

static void set_registers(int vcpu, const struct manifest_registers *m)
{
    struct kvm_sregs s;
    struct kvm_regs r = {.rax = m->rax,
                         .rbx = m->rbx,
                         .rcx = m->rcx,
                         .rdx = m->rdx,
                         .rsi = m->rsi,
                         .rdi = m->rdi,
                         .rsp = m->rsp,
                         .rbp = m->rbp,
                         .r8 = m->r8,
                         .r9 = m->r9,
                         .r10 = m->r10,
                         .r11 = m->r11,
                         .r12 = m->r12,
                         .r13 = m->r13,
                         .r14 = m->r14,
                         .r15 = m->r15,
                         .rip = m->rip,
                         .rflags = m->rflags};

    must(ioctl(vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    s.cs = segment(&m->cs);
    s.ds = segment(&m->ds);
    s.es = segment(&m->es);
    s.ss = segment(&m->ss);
    s.fs = segment(&m->fs);
    s.gs = segment(&m->gs);
    s.tr = segment(&m->tr);
    s.ldt = segment(&m->ldtr);
    s.gdt = (struct kvm_dtable){.base = m->gdtr.base, .limit = (uint16_t)m->gdtr.limit};
    s.idt = (struct kvm_dtable){.base = m->idtr.base, .limit = (uint16_t)m->idtr.limit};
    s.cr0 = m->cr0;
    s.cr3 = m->cr3;
    s.cr4 = m->cr4;
    s.efer = m->efer;
    s.apic_base = apic_base(0);
    must(ioctl(vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
    must(ioctl(vcpu, KVM_SET_REGS, &r), "KVM_SET_REGS");
}

enum { ENTRIES = 256 };

/* A leaf's entry; one of zeros if there was none. */
static struct kvm_cpuid_entry2 *leaf(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index, uint32_t flags)
{
    uint32_t i = 0;

    while (i < cpuid->nent && (cpuid->entries[i].function != function || cpuid->entries[i].index != index))
        i++;
    if (i == ENTRIES)
        errx(1, "kvmrun: too many CPUID leaves");
    if (i == cpuid->nent)
        cpuid->nent++;
    cpuid->entries[i] = (struct kvm_cpuid_entry2){.function = function, .index = index, .flags = flags};
    return &cpuid->entries[i];
}

/* As Sevisor has it: one package, a core per vCPU, a thread per core; APIC ids are the vCPUs' numbers. */
static void set_topology(struct kvm_cpuid2 *cpuid, uint32_t id, uint32_t vcpus)
{
    enum { LEVEL_THREAD = 1 << 8, LEVEL_CORE = 2 << 8 };
    uint32_t id_bits = vcpus > 1 ? 32u - (uint32_t)__builtin_clz(vcpus - 1) : 0;
    struct kvm_cpuid_entry2 *e;

    for (uint32_t i = 0; i < 3; i++) {
        e = leaf(cpuid, 0xb, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
        e->eax = i == 1 ? id_bits : 0;
        e->ebx = i == 0 ? 1 : i == 1 ? vcpus : 0;
        e->ecx = i | (i == 0 ? LEVEL_THREAD : i == 1 ? LEVEL_CORE : 0);
        e->edx = id;
    }
    e = leaf(cpuid, 0x8000001e, 0, 0);
    e->eax = e->ebx = id;
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        e = &cpuid->entries[i];
        if (e->function == 1) {
            e->ebx = (e->ebx & 0xffff) | vcpus << 16 | id << 24;
            e->edx |= vcpus > 1 ? 1u << 28 : 0;         /* HTT */
        }
        if (e->function == 0x80000008)
            e->ecx = id_bits << 12 | (vcpus - 1);
        if (e->function == 0x8000001d)
            e->eax &= ~0x03ffc000u;                     /* caches are not shared */
    }
}

static void set_cpuid(int vcpu, uint32_t id, const struct manifest_guest *guest)
{
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + ENTRIES * sizeof(cpuid->entries[0]));

    if (!cpuid)
        err(1, "kvmrun");
    cpuid->nent = ENTRIES;
    must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid), "KVM_GET_SUPPORTED_CPUID");
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

        if (e->function == 1)
            e->ecx |= 1u << 21 | 1u << 24 | 1u << 31;    /* x2APIC, TSC deadline, hypervisor */
        if (e->function == 0x40000001)
            e->eax &= 1u << 3 | 1u << 24;               /* of KVM's own services the clock, as Sevisor has it */
        if (e->function == 0x8000001f) {
            e->eax = guest->encryption == MANIFEST_ENCRYPTION_SEV ? 2 : 0;
            e->ebx = guest->cbitpos | (uint32_t)guest->reduced_phys_bits << 6;
            e->ecx = e->edx = 0;
        }
    }
    set_topology(cpuid, id, guest->vcpus);
    must(ioctl(vcpu, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
    free(cpuid);
}

/* A 16550A without interrupt, as far as Linux' driver wants to see one: what is written goes out at once. */
static struct {
    uint8_t ier, lcr, mcr, scr;
} uart;

static bool divisor_latch(void)
{
    return uart.lcr >> 7;
}

static uint8_t uart_read(unsigned reg)
{
    uint8_t mcr = uart.mcr;

    switch (reg) {
    case 1:
        return divisor_latch() ? 0 : uart.ier;
    case 2:
        return 0xc0 | ((uart.ier & 2) != 0 ? 2 : 1);    /* FIFO on; transmitter empty, or nothing to report */
    case 3:
        return uart.lcr;
    case 4:
        return mcr;
    case 5:
        return 0x60;                                    /* transmitter empty, nothing received */
    case 6:         /* in loopback: RTS, DTR, OUT1, OUT2; else CTS, DSR, DCD */
        return (mcr & 0x10) == 0 ? 0xb0 : (uint8_t)((mcr & 2) << 3 | (mcr & 1) << 5 | (mcr & 0xc) << 4);
    case 7:
        return uart.scr;
    default:
        return 0;
    }
}

static void uart_write(unsigned reg, uint8_t value)
{
    if (reg == 0 && !divisor_latch() && (uart.mcr & 0x10) == 0) {
        putchar(value);
        lines += value == '\n';
    } else if (reg == 1 && !divisor_latch())
        uart.ier = value & 0xf;
    else if (reg == 3)
        uart.lcr = value;
    else if (reg == 4)
        uart.mcr = value & 0x1f;
    else if (reg == 7)
        uart.scr = value;
}

/* True while the guest goes on. */
static bool port_io(struct kvm_run *run)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    uint32_t bytes = (uint32_t)run->io.size * run->io.count;
    bool is_uart = run->io.port >= UART && run->io.port < UART + 8;

    if (run->io.direction == KVM_EXIT_IO_IN) {
        memset(data, 0xff, bytes);
        if (is_uart)
            data[0] = uart_read(run->io.port - UART);
        return true;
    }
    for (uint32_t i = 0; is_uart && i < bytes; i++)
        uart_write(run->io.port - UART, data[i]);
    if (run->io.port == SLEEP_CONTROL && data[0] == (5 << 2 | 0x20)) {
        printf("kvmrun: powered off\n");
        return false;
    }
    if (run->io.port == RESET && data[0] == 1) {
        printf("kvmrun: reset\n");
        return false;
    }
    return lines_wanted == 0 || lines < lines_wanted;
}

/* Returns when the guest has ended, with the program's status. */
static int run_vcpu(const struct vcpu *vcpu)
{
    for (;;) {
        if (ioctl(vcpu->fd, KVM_RUN, 0) != 0) {
            if (errno == EINTR || errno == EAGAIN)      /* EAGAIN: it waited for SIPI, and was woken */
                continue;
            err(1, "kvmrun: KVM_RUN");
        }
        switch (vcpu->run->exit_reason) {
        case KVM_EXIT_IO:
            if (!port_io(vcpu->run))
                return 0;
            break;
        case KVM_EXIT_SHUTDOWN:
            printf("kvmrun: triple fault\n");
            return 1;
        default:
            printf("kvmrun: exit reason %u\n", vcpu->run->exit_reason);
            return 1;
        }
    }
}

/* The OUT at which it stopped is only over when KVM_RUN was called again. */
static void end_port_io(const struct vcpu *vcpu)
{
    vcpu->run->immediate_exit = 1;
    if (ioctl(vcpu->fd, KVM_RUN, 0) != -1 || errno != EINTR)
        errx(1, "kvmrun: KVM_RUN that should not run");
    vcpu->run->immediate_exit = 0;
}

static void *run_thread(void *vcpu)
{
    exit(run_vcpu(vcpu));
}

/* MTRRs on, all of memory write-back, as firmware would leave them: without it Linux leaves the PAT alone too, and
 * then cannot make memory shared (x86_has_pat_wp()). */
static void set_mtrr(int vcpu)
{
    enum { MTRR_DEF_TYPE = 0x2ff, ENABLED = 1 << 11, WRITE_BACK = 6 };
    union {
        struct kvm_msrs head;
        uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } msrs = {.head.nmsrs = 1};

    msrs.head.entries[0] = (struct kvm_msr_entry){.index = MTRR_DEF_TYPE, .data = ENABLED | WRITE_BACK};
    if (ioctl(vcpu, KVM_SET_MSRS, &msrs) != 1)
        err(1, "kvmrun: KVM_SET_MSRS");
}

static struct vcpu make_vcpu(uint32_t id, const struct manifest_guest *guest)
{
    struct vcpu vcpu = {.fd = must(ioctl(vm, KVM_CREATE_VCPU, id), "KVM_CREATE_VCPU")};
    int run_size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");

    vcpu.run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.fd, 0);
    if (vcpu.run == MAP_FAILED)
        err(1, "kvmrun: kvm_run");
    set_cpuid(vcpu.fd, id, guest);
    set_mtrr(vcpu.fd);
    if (id != 0)
        set_waiting(vcpu.fd, id);
    return vcpu;
}

static const struct manifest_guest *find(const uint8_t *manifest, const char *name)
{
    const struct manifest_header *header = (const void *)manifest;

    for (uint32_t i = 0; i < header->guest_count; i++)
        if (strcmp(manifest_guest(manifest, i)->name, name) == 0)
            return manifest_guest(manifest, i);
    errx(1, "kvmrun: no guest %s in the manifest", name);
}

int main(int argc, char **argv)
{
    uint64_t size;
    bool launch_only = false, irqchip = false;
    const char *received = NULL;
    char **sent = NULL;

    if (argc < 3)
        errx(2, "usage: kvmrun MANIFEST GUEST [OPTION]...");
    for (int i = 3; i < argc; i++) {
        launch_only |= strcmp(argv[i], "--launch-only") == 0;
        irqchip |= strcmp(argv[i], "--irqchip") == 0;
        if (strcmp(argv[i], "--lines") == 0 && i + 1 < argc)
            lines_wanted = strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--receive") == 0 && i + 1 < argc)
            received = argv[i + 1];
        if (strcmp(argv[i], "--send") == 0 && i + 3 < argc)
            sent = argv + i + 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    const uint8_t *manifest = read_manifest(argv[1], &size);
    enum manifest_error error = manifest_check(manifest, size, NULL);
    if (error != MANIFEST_OK)
        errx(1, "kvmrun: %s", manifest_error_name(error));
    const struct manifest_guest *guest = find(manifest, argv[2]);
    bool encrypted = guest->encryption == MANIFEST_ENCRYPTION_SEV;

    kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
    if (irqchip)
        must(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    else
        must(ioctl(vm, KVM_ENABLE_CAP, &split), "KVM_CAP_SPLIT_IRQCHIP");
    if (encrypted) {
        sev_device = must(open("/dev/sev", O_RDWR | O_CLOEXEC), "/dev/sev");
        sev(KVM_SEV_INIT, NULL, "SEV_INIT");
    }

    uint8_t *memory = mmap(NULL, guest->memory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        err(1, "kvmrun: memory");
    struct kvm_userspace_memory_region slot = {.memory_size = guest->memory,
                                               .userspace_addr = (uint64_t)(uintptr_t)memory};
    must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");

    static struct vcpu vcpus[MANIFEST_MAX_VCPUS];
    for (uint32_t i = 0; i < guest->vcpus; i++)
        vcpus[i] = make_vcpu(i, guest);

    struct carried carried = {vm, vcpus[0].fd, sev_device, memory, guest->memory};
    if (received != NULL)
        kvmcarry_receive(&carried, received);
    else if (encrypted)
        launch_encrypted(manifest, guest, memory);
    else
        load(manifest, guest, memory);
    if (launch_only)
        return 0;
    if (received == NULL)
        set_registers(vcpus[0].fd, &guest->registers);
    for (uint32_t i = 1; i < guest->vcpus; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, run_thread, &vcpus[i]) != 0)
            errx(1, "kvmrun: no thread for vCPU %u", i);
    }
    int status = run_vcpu(&vcpus[0]);
    if (sent != NULL && status == 0) {
        end_port_io(&vcpus[0]);
        kvmcarry_send(&carried, sent[0], sent[1], sent[2]);
    }
    return status;
}
