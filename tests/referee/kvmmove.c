/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * KVM sends a guest, and KVM receives it: from one VM to another on the same platform, whose PDH is thus the sender's
 * and the target's. The guest counts in a register and in its memory, and tells both numbers at a port:
 * `kvmmove: source 3 3`.
 *
 *   kvmmove CEK AMD
 *
 * CEK: the chip's certificate as AMD's key server signed it; AMD: ASK and ARK. Answers of the firmware that are not 0
 * are printed where they are wanted; anything else that fails ends the program.
 */
#define _GNU_SOURCE  /* memmem */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/psp-sev.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u
#define PAGES 4u
#define CERT_SIZE 2084u
#define SESSION_SIZE 128u
#define HEADER_SIZE 52u
#define AT_CODE 0x1000u     /* the counter in memory is a page higher */
#define POLICY 0x20u        /* SEV: an authentic target only */

/* In 16-bit mode all of a SEV guest's memory is private. */
static const uint8_t code[] = {
    0x43,                       /* inc bx */
    0xff, 0x06, 0x00, 0x20,     /* inc word [0x2000] */
    0xa1, 0x00, 0x20,           /* mov ax, [0x2000] */
    0xe7, 0x10,                 /* out 0x10, ax */
    0x93,                       /* xchg ax, bx */
    0xe7, 0x12,                 /* out 0x12, ax */
    0x93,                       /* xchg ax, bx */
    0xeb, 0xf0,                 /* jmp to the start */
};

struct machine {
    const char *name;
    int vm, vcpu;
    struct kvm_run *run;
    size_t run_size;
    uint8_t *memory;
};

struct packet {
    uint8_t header[HEADER_SIZE], data[PAGE];
};

static int kvm, sev_device;

static uint64_t address(const void *pointer)
{
    return (uint64_t)(uintptr_t)pointer;
}

static int must(int result, const char *what)
{
    if (result < 0)
        err(1, "kvmmove: %s", what);
    return result;
}

/* The firmware's answer; ends the program if it was not asked. */
static unsigned ask(const struct machine *m, uint32_t id, void *data, const char *what)
{
    struct kvm_sev_cmd call = {.id = id, .data = address(data), .sev_fd = (uint32_t)sev_device};

    if (ioctl(m->vm, KVM_MEMORY_ENCRYPT_OP, &call) != 0 && errno != EIO)
        err(1, "kvmmove: %s, %s", m->name, what);
    return call.error;
}

static void sev(const struct machine *m, uint32_t id, void *data, const char *what)
{
    unsigned status = ask(m, id, data, what);

    if (status != 0)
        errx(1, "kvmmove: %s, %s: firmware 0x%x", m->name, what, status);
}

static void tell_state(const struct machine *m)
{
    struct kvm_sev_guest_status status = {0};

    sev(m, KVM_SEV_GUEST_STATUS, &status, "GUEST_STATUS");
    printf("kvmmove: %s policy 0x%x state %u\n", m->name, status.policy, status.state);
}

static struct machine make(const char *name)
{
    struct machine m = {.name = name, .vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM")};

    m.run_size = (size_t)must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    m.memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (m.memory == MAP_FAILED)
        err(1, "kvmmove: memory");
    struct kvm_userspace_memory_region slot = {.memory_size = PAGES * PAGE, .userspace_addr = address(m.memory)};
    struct kvm_enc_region region = {.addr = address(m.memory), .size = PAGES * PAGE};

    sev(&m, KVM_SEV_INIT, NULL, "SEV_INIT");
    must(ioctl(m.vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
    must(ioctl(m.vm, KVM_MEMORY_ENCRYPT_REG_REGION, &region), "KVM_MEMORY_ENCRYPT_REG_REGION");
    m.vcpu = must(ioctl(m.vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    m.run = mmap(NULL, m.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m.vcpu, 0);
    if (m.run == MAP_FAILED)
        err(1, "kvmmove: kvm_run");
    return m;
}

static void launch(struct machine *m)
{
    struct kvm_sev_launch_start start = {.policy = POLICY};
    struct kvm_sev_launch_update_data update = {.uaddr = address(m->memory), .len = PAGES * PAGE};
    uint8_t measurement[48];
    struct kvm_sev_launch_measure measure = {.uaddr = address(measurement), .len = sizeof(measurement)};
    struct kvm_regs registers = {.rip = AT_CODE, .rflags = 2};
    struct kvm_sregs s;

    memcpy(m->memory + AT_CODE, code, sizeof(code));
    sev(m, KVM_SEV_LAUNCH_START, &start, "LAUNCH_START");
    sev(m, KVM_SEV_LAUNCH_UPDATE_DATA, &update, "LAUNCH_UPDATE_DATA");
    sev(m, KVM_SEV_LAUNCH_MEASURE, &measure, "LAUNCH_MEASURE");
    sev(m, KVM_SEV_LAUNCH_FINISH, NULL, "LAUNCH_FINISH");
    must(ioctl(m->vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    s.cs.base = 0;
    s.cs.selector = 0;
    must(ioctl(m->vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
    must(ioctl(m->vcpu, KVM_SET_REGS, &registers), "KVM_SET_REGS");
}

static unsigned told(struct machine *m, uint16_t port)
{
    must(ioctl(m->vcpu, KVM_RUN, 0), "KVM_RUN");
    if (m->run->exit_reason != KVM_EXIT_IO || m->run->io.port != port)
        errx(1, "kvmmove: %s: exit reason %u, port 0x%x", m->name, m->run->exit_reason, m->run->io.port);
    uint16_t number;
    memcpy(&number, (uint8_t *)m->run + m->run->io.data_offset, sizeof(number));
    return number;
}

static void count(struct machine *m, unsigned times)
{
    while (times--) {
        unsigned in_memory = told(m, 0x10), in_register = told(m, 0x12);

        printf("kvmmove: %s %u %u\n", m->name, in_memory, in_register);
    }
    m->run->immediate_exit = 1;     /* the last OUT is only over when KVM_RUN was called again */
    if (ioctl(m->vcpu, KVM_RUN, 0) != -1 || errno != EINTR)
        errx(1, "kvmmove: %s: KVM_RUN that should not run", m->name);
    m->run->immediate_exit = 0;
}

static void move_registers(const struct machine *from, const struct machine *to)
{
    struct kvm_regs registers;
    struct kvm_sregs s;

    must(ioctl(from->vcpu, KVM_GET_REGS, &registers), "KVM_GET_REGS");
    must(ioctl(from->vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    must(ioctl(to->vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
    must(ioctl(to->vcpu, KVM_SET_REGS, &registers), "KVM_SET_REGS");
}

static void read_file(const char *path, uint8_t *bytes, size_t size)
{
    int file = must(open(path, O_RDONLY), path);

    if (read(file, bytes, size) != (ssize_t)size)
        errx(1, "kvmmove: %s is too short", path);
    close(file);
}

/* The target, as a sender must know it. */
static uint8_t pdh[CERT_SIZE], chain[3 * CERT_SIZE], amd[3200], session[SESSION_SIZE];

static void export(void)
{
    struct sev_user_data_pdh_cert_export export = {.pdh_cert_address = address(pdh),
                                                   .pdh_cert_len = sizeof(pdh),
                                                   .cert_chain_address = address(chain),
                                                   .cert_chain_len = sizeof(chain)};
    struct sev_issue_cmd call = {.cmd = SEV_PDH_CERT_EXPORT, .data = address(&export)};

    if (ioctl(sev_device, SEV_ISSUE_CMD, &call) != 0)
        errx(1, "kvmmove: PDH_CERT_EXPORT: firmware 0x%x", call.error);
}

static unsigned send_start(const struct machine *m)
{
    struct kvm_sev_send_start start = {.pdh_cert_uaddr = address(pdh),
                                       .pdh_cert_len = sizeof(pdh),
                                       .plat_certs_uaddr = address(chain),
                                       .plat_certs_len = sizeof(chain),
                                       .amd_certs_uaddr = address(amd),
                                       .amd_certs_len = sizeof(amd),
                                       .session_uaddr = address(session),
                                       .session_len = sizeof(session)};
    unsigned status = ask(m, KVM_SEV_SEND_START, &start, "SEND_START");

    printf("kvmmove: SEND_START: firmware 0x%x policy 0x%x session %u\n", status, start.policy, start.session_len);
    return status;
}

static unsigned receive_start(const struct machine *m, uint32_t policy)
{
    struct kvm_sev_receive_start start = {.policy = policy,
                                          .pdh_uaddr = address(pdh),
                                          .pdh_len = sizeof(pdh),
                                          .session_uaddr = address(session),
                                          .session_len = sizeof(session)};

    return ask(m, KVM_SEV_RECEIVE_START, &start, "RECEIVE_START");
}

static void start_query(const struct machine *m)
{
    struct kvm_sev_send_start start = {0};
    unsigned status = ask(m, KVM_SEV_SEND_START, &start, "SEND_START's query");

    printf("kvmmove: query of SEND_START: firmware 0x%x session %u\n", status, start.session_len);
}

static void packet_query(const struct machine *m)
{
    struct kvm_sev_send_update_data update = {0};
    unsigned status = ask(m, KVM_SEV_SEND_UPDATE_DATA, &update, "SEND_UPDATE_DATA's query");

    printf("kvmmove: query of SEND_UPDATE_DATA: firmware 0x%x header %u packet %u\n", status, update.hdr_len,
           update.trans_len);
}

static void send(const struct machine *m, unsigned page, struct packet *packet)
{
    struct kvm_sev_send_update_data update = {.hdr_uaddr = address(packet->header),
                                              .hdr_len = HEADER_SIZE,
                                              .guest_uaddr = address(m->memory + page * PAGE),
                                              .guest_len = PAGE,
                                              .trans_uaddr = address(packet->data),
                                              .trans_len = PAGE};

    sev(m, KVM_SEV_SEND_UPDATE_DATA, &update, "SEND_UPDATE_DATA");
}

static unsigned receive(const struct machine *m, unsigned page, const struct packet *packet)
{
    struct kvm_sev_receive_update_data update = {.hdr_uaddr = address(packet->header),
                                                 .hdr_len = HEADER_SIZE,
                                                 .guest_uaddr = address(m->memory + page * PAGE),
                                                 .guest_len = PAGE,
                                                 .trans_uaddr = address(packet->data),
                                                 .trans_len = PAGE};

    return ask(m, KVM_SEV_RECEIVE_UPDATE_DATA, &update, "RECEIVE_UPDATE_DATA");
}

int main(int argc, char **argv)
{
    static struct packet packets[PAGES];

    if (argc != 3)
        errx(2, "usage: kvmmove CEK AMD");
    setvbuf(stdout, NULL, _IOLBF, 0);
    kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    sev_device = must(open("/dev/sev", O_RDWR | O_CLOEXEC), "/dev/sev");
    read_file(argv[2], amd, sizeof(amd));

    struct machine source = make("source"), target = make("target");
    launch(&source);
    export();
    count(&source, 3);
    start_query(&source);
    send_start(&source);                                /* the CEK as the firmware exports it: nobody signed it */
    read_file(argv[1], chain + 2 * CERT_SIZE, CERT_SIZE);

    if (send_start(&source) != 0)
        return 1;
    tell_state(&source);
    packet_query(&source);
    send(&source, 0, &packets[0]);
    sev(&source, KVM_SEV_SEND_CANCEL, NULL, "SEND_CANCEL");
    tell_state(&source);
    count(&source, 2);

    if (send_start(&source) != 0)
        return 1;
    printf("kvmmove: RECEIVE_START with another policy: firmware 0x%x\n", receive_start(&target, 0));
    if (receive_start(&target, POLICY) != 0)
        errx(1, "kvmmove: RECEIVE_START");
    tell_state(&target);
    printf("kvmmove: packet of the cancelled session: firmware 0x%x\n", receive(&target, 0, &packets[0]));
    for (unsigned page = 0; page < PAGES; page++) {
        send(&source, page, &packets[page]);
        packets[page].data[page] ^= 1;
        printf("kvmmove: changed packet: firmware 0x%x\n", receive(&target, page, &packets[page]));
        packets[page].data[page] ^= 1;
        if (receive(&target, page, &packets[page]) != 0)
            errx(1, "kvmmove: RECEIVE_UPDATE_DATA");
        if (memmem(packets[page].data, PAGE, code, sizeof(code)))
            errx(1, "kvmmove: the guest's code is in a packet");
    }
    sev(&target, KVM_SEV_RECEIVE_FINISH, NULL, "RECEIVE_FINISH");
    sev(&source, KVM_SEV_SEND_FINISH, NULL, "SEND_FINISH");
    tell_state(&source);
    tell_state(&target);
    move_registers(&source, &target);
    munmap(source.run, source.run_size);
    close(source.vcpu);
    close(source.vm);                                   /* KVM: DEACTIVATE, DECOMMISSION */
    count(&target, 3);
    printf("kvmmove: done\n");
    return 0;
}
