/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The referee in small: Linux's KVM and ccp launch an SEV guest on the SEV
 * machine. Runs as a static program in an initramfs of an unmodified kernel;
 * prints "ok ..." or "FAIL ...", then "done".
 */
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

#define MEMORY 0x200000
#define SECRET 0x5000

/* 16-bit code at 0x1000: not in long mode, so all of its memory is private. */
static const uint8_t code[] = {
    0xb8, 0xef, 0xbe,           /* mov ax, 0xbeef */
    0xa3, 0x00, 0x50,           /* mov [0x5000], ax */
    0x31, 0xc0,                 /* xor ax, ax */
    0xa1, 0x00, 0x50,           /* mov ax, [0x5000] */
    0xe7, 0x10,                 /* out 0x10, ax */
    0xa1, 0x00, 0x12,           /* mov ax, [0x1200] */
    0xe7, 0x11,                 /* out 0x11, ax */
    0xf4,                       /* hlt */
};

static int vm, sev;

static void check(const char *name, int good)
{
    printf("%s %s\n", good ? "ok" : "FAIL", name);
    fflush(stdout);
}

static void sev_command(const char *name, uint32_t id, void *data)
{
    struct kvm_sev_cmd cmd = {.id = id, .data = (uintptr_t)data, .sev_fd = (uint32_t)sev};
    int r = ioctl(vm, KVM_MEMORY_ENCRYPT_OP, &cmd);

    check(name, r == 0);
    if (r) {
        printf("errno %d firmware error 0x%x\n", errno, cmd.error);
    }
}

int main(void)
{
    int kvm = open("/dev/kvm", O_RDWR);
    struct kvm_sev_launch_start start = {0};
    struct kvm_sev_launch_update_data update = {0};
    struct kvm_sev_launch_measure measure = {0};
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
    uint8_t digest[48];

    sev = open("/dev/sev", O_RDWR);
    check("open", kvm >= 0 && sev >= 0);
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    check("create-vm", vm >= 0);
    uint8_t *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = 0,
        .memory_size = MEMORY,
        .userspace_addr = (uintptr_t)memory,
    };
    check("memory", ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
    struct kvm_enc_region enc = {.addr = (uintptr_t)memory, .size = MEMORY};

    sev_command("sev-init", KVM_SEV_INIT, NULL);
    check("register", ioctl(vm, KVM_MEMORY_ENCRYPT_REG_REGION, &enc) == 0);
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    check("vcpu", vcpu >= 0);
    memcpy(memory + 0x1000, code, sizeof(code));
    memcpy(memory + 0x1200, "\x34\x12", 2);
    memcpy(memory + 0x3000, "unencrypted page", 16);
    sev_command("launch-start", KVM_SEV_LAUNCH_START, &start);
    update.uaddr = (uintptr_t)memory + 0x1000;
    update.len = 0x1000;
    sev_command("launch-update-data", KVM_SEV_LAUNCH_UPDATE_DATA, &update);
    measure.uaddr = (uintptr_t)digest;
    measure.len = sizeof(digest);
    sev_command("launch-measure", KVM_SEV_LAUNCH_MEASURE, &measure);
    sev_command("launch-finish", KVM_SEV_LAUNCH_FINISH, NULL);
    check("host-sees-ciphertext", memcmp(memory + 0x1000, code, sizeof(code)) != 0);
    check("host-sees-plain-page", memcmp(memory + 0x3000, "unencrypted page", 16) == 0);

    ioctl(vcpu, KVM_GET_SREGS, &sregs);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    ioctl(vcpu, KVM_SET_SREGS, &sregs);
    ioctl(vcpu, KVM_SET_REGS, &regs);
    struct kvm_run *run =
        mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    const uint16_t expected[] = {0xbeef, 0x1234};
    for (int i = 0; i < 2; i++) {
        int r = ioctl(vcpu, KVM_RUN, 0);
        uint16_t got = 0;

        if (r == 0 && run->exit_reason == KVM_EXIT_IO) {
            memcpy(&got, (uint8_t *)run + run->io.data_offset, 2);
        }
        check("guest-runs", r == 0 && run->exit_reason == KVM_EXIT_IO && got == expected[i]);
        if (got != expected[i]) {
            printf("r %d errno %d exit %u got 0x%x\n", r, errno, run->exit_reason, got);
        }
    }
    check("guest-halts", ioctl(vcpu, KVM_RUN, 0) == 0 && run->exit_reason == KVM_EXIT_HLT);
    check("guest-write-is-ciphertext", memcmp(memory + SECRET, "\xef\xbe", 2) != 0);
    close(vcpu);
    close(vm);
    printf("done\n");
    return 0;
}
