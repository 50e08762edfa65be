/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Drives KVM's SEV ioctls in wrong orders and with wrong values. KVM forwards
 * most of it to the firmware unchecked, so most answers are the firmware's.
 *
 *   kvmabuse: ok   LAUNCH_FINISH before MEASURE: errno=5 fw=0x02
 *
 * The expectation stands beside each call; the last line counts the misses.
 */
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

static int kvm, vm = -1, sev_device;
static unsigned calls, misses;
static uint8_t *page;

static void new_vm(void)
{
    if (vm >= 0)
        close(vm);      /* KVM: DEACTIVATE, DECOMMISSION */
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        err(1, "kvmabuse: KVM_CREATE_VM");
}

#define REFUSED (-1)    /* by KVM itself, whose words differ from version to version */

/* `want_errno` 0: success. `want_status` is looked at where the firmware was asked (EIO). */
static void report(int want_errno, unsigned want_status, const char *what, int got, unsigned status)
{
    int good = want_errno == REFUSED ? got != 0 && got != EIO
                                     : got == want_errno && (want_errno != EIO || status == want_status);

    calls++;
    misses += !good;
    printf("kvmabuse: %s %s: errno=%d fw=0x%02x", good ? "ok  " : "MISS", what, got, status);
    if (!good)
        printf(" (wanted errno=%d fw=0x%02x)", want_errno, want_status);
    putchar('\n');
}

static void expect(int want_errno, unsigned want_status, const char *what, uint32_t id, void *data)
{
    struct kvm_sev_cmd call = {.id = id, .data = (uint64_t)(uintptr_t)data, .sev_fd = (uint32_t)sev_device};
    int got = ioctl(vm, KVM_MEMORY_ENCRYPT_OP, &call) == 0 ? 0 : errno;

    report(want_errno, want_status, what, got, call.error);
}

/* The same for /dev/sev's own ioctls, which do not go through a guest. */
static void expect_platform(int want_errno, unsigned want_status, const char *what, uint32_t command, void *data)
{
    struct sev_issue_cmd call = {.cmd = command, .data = (uint64_t)(uintptr_t)data};
    int got = ioctl(sev_device, SEV_ISSUE_CMD, &call) == 0 ? 0 : errno;

    report(want_errno, want_status, what, got, call.error);
}

static struct kvm_sev_launch_update_data data_at(void *address, uint32_t length)
{
    return (struct kvm_sev_launch_update_data){.uaddr = (uint64_t)(uintptr_t)address, .len = length};
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    sev_device = open("/dev/sev", O_RDWR | O_CLOEXEC);
    if (kvm < 0 || sev_device < 0)
        err(1, "kvmabuse: /dev/kvm, /dev/sev");
    page = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (page == MAP_FAILED)
        err(1, "kvmabuse: memory");

    struct kvm_sev_launch_start start = {.policy = 1};
    struct kvm_sev_launch_start newer = {.policy = 0xffff0001};
    struct kvm_sev_launch_start short_cert = {.policy = 1,
                                              .dh_uaddr = (uint64_t)(uintptr_t)page,
                                              .dh_len = 100,
                                              .session_uaddr = (uint64_t)(uintptr_t)page,
                                              .session_len = 128};
    struct kvm_sev_launch_start bad_cert = short_cert;
    struct kvm_sev_launch_update_data good = data_at(page, PAGE);
    struct kvm_sev_launch_update_data odd_length = data_at(page, 17);
    struct kvm_sev_launch_update_data odd_address = data_at(page + 8, 16);
    struct kvm_sev_launch_measure no_space = {0};
    uint8_t measurement[48];
    struct kvm_sev_launch_measure measure = {.uaddr = (uint64_t)(uintptr_t)measurement, .len = sizeof(measurement)};
    struct kvm_sev_guest_status status = {0};
    struct kvm_sev_dbg debug = {
        .src_uaddr = (uint64_t)(uintptr_t)page, .dst_uaddr = (uint64_t)(uintptr_t)(page + PAGE), .len = 16};
    struct kvm_sev_launch_secret secret = {.hdr_uaddr = (uint64_t)(uintptr_t)(page + 2 * PAGE),
                                           .hdr_len = 52,
                                           .guest_uaddr = (uint64_t)(uintptr_t)page,
                                           .guest_len = 64,
                                           .trans_uaddr = (uint64_t)(uintptr_t)(page + 3 * PAGE),
                                           .trans_len = 64};

    struct sev_user_data_pek_cert_import certificates = {.pek_cert_address = (uint64_t)(uintptr_t)page,
                                                         .pek_cert_len = 2084,
                                                         .oca_cert_address = (uint64_t)(uintptr_t)page,
                                                         .oca_cert_len = 2084};

    bad_cert.dh_len = 2084;

    new_vm();
    expect(REFUSED, 0, "LAUNCH_START before SEV_INIT", KVM_SEV_LAUNCH_START, &start);
    expect(0, 0, "SEV_INIT", KVM_SEV_INIT, NULL);
    expect(REFUSED, 0, "SEV_INIT twice", KVM_SEV_INIT, NULL);
    expect(REFUSED, 0, "LAUNCH_UPDATE_DATA before START", KVM_SEV_LAUNCH_UPDATE_DATA, &good);
    expect(REFUSED, 0, "LAUNCH_FINISH before START", KVM_SEV_LAUNCH_FINISH, NULL);
    expect(EIO, SEV_RET_POLICY_FAILURE, "LAUNCH_START for newer firmware", KVM_SEV_LAUNCH_START, &newer);
    expect(EIO, SEV_RET_INVALID_LEN, "LAUNCH_START with a short certificate", KVM_SEV_LAUNCH_START, &short_cert);
    expect(EIO, SEV_RET_INVALID_CERTIFICATE, "LAUNCH_START with a zero certificate", KVM_SEV_LAUNCH_START, &bad_cert);
    expect(0, 0, "LAUNCH_START", KVM_SEV_LAUNCH_START, &start);
    expect_platform(EIO, SEV_RET_INVALID_PLATFORM_STATE, "PEK_GEN while there is a guest", SEV_PEK_GEN, NULL);
    expect_platform(EIO, SEV_RET_INVALID_PLATFORM_STATE, "PEK_CERT_IMPORT while there is a guest", SEV_PEK_CERT_IMPORT,
                    &certificates);
    expect_platform(EBUSY, 0, "FACTORY_RESET while there is a guest", SEV_FACTORY_RESET, NULL);
    expect(0, 0, "GUEST_STATUS", KVM_SEV_GUEST_STATUS, &status);
    printf("kvmabuse: guest state %u, policy 0x%x\n", status.state, status.policy);
    expect(EIO, SEV_RET_INVALID_LEN, "LAUNCH_UPDATE_DATA of 17 bytes", KVM_SEV_LAUNCH_UPDATE_DATA, &odd_length);
    expect(EIO, SEV_RET_INVALID_ADDRESS, "LAUNCH_UPDATE_DATA at an odd address", KVM_SEV_LAUNCH_UPDATE_DATA,
           &odd_address);
    expect(EIO, SEV_RET_INVALID_GUEST_STATE, "LAUNCH_FINISH before MEASURE", KVM_SEV_LAUNCH_FINISH, NULL);
    expect(EIO, SEV_RET_INVALID_GUEST_STATE, "LAUNCH_SECRET before MEASURE", KVM_SEV_LAUNCH_SECRET, &secret);
    expect(0, 0, "LAUNCH_UPDATE_DATA", KVM_SEV_LAUNCH_UPDATE_DATA, &good);
    expect(EIO, SEV_RET_INVALID_LEN, "LAUNCH_MEASURE without room", KVM_SEV_LAUNCH_MEASURE, &no_space);
    printf("kvmabuse: measurement length %u\n", no_space.len);
    expect(0, 0, "LAUNCH_MEASURE", KVM_SEV_LAUNCH_MEASURE, &measure);
    expect(EIO, SEV_RET_INVALID_GUEST_STATE, "LAUNCH_UPDATE_DATA after MEASURE", KVM_SEV_LAUNCH_UPDATE_DATA, &good);
    expect(EIO, SEV_RET_INVALID_GUEST_STATE, "LAUNCH_MEASURE twice", KVM_SEV_LAUNCH_MEASURE, &measure);
    expect(EIO, SEV_RET_BAD_MEASUREMENT, "LAUNCH_SECRET with a wrong MAC", KVM_SEV_LAUNCH_SECRET, &secret);
    expect(0, 0, "LAUNCH_FINISH", KVM_SEV_LAUNCH_FINISH, NULL);
    expect(EIO, SEV_RET_INVALID_GUEST_STATE, "LAUNCH_FINISH twice", KVM_SEV_LAUNCH_FINISH, NULL);
    expect(EIO, SEV_RET_POLICY_FAILURE, "DBG_DECRYPT under NODBG", KVM_SEV_DBG_DECRYPT, &debug);

    new_vm();
    expect(0, 0, "SEV_INIT", KVM_SEV_INIT, NULL);
    expect(EIO, SEV_RET_INVALID_GUEST, "LAUNCH_START with the handle of a guest that is gone", KVM_SEV_LAUNCH_START,
           &start);
    start.handle = 0;
    expect(0, 0, "LAUNCH_START", KVM_SEV_LAUNCH_START, &start);
    start.handle = 0;   /* KVM binds the second context to the same ASID */
    expect(EIO, SEV_RET_ASID_OWNED, "LAUNCH_START twice: ACTIVATE of a used ASID", KVM_SEV_LAUNCH_START, &start);
    close(vm);

    printf("kvmabuse: %u calls, %u misses\n", calls, misses);
    return misses != 0;
}
