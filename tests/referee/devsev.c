/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Drives /dev/sev by hand: the platform ioctls of Linux' ccp driver, in an
 * order that shows each state. Prints one line per call and the certificates
 * in hexadecimal; the test on the other end of the serial line judges.
 *
 *   devsev: PLATFORM_STATUS ret=0 fw=0x0 api=1.55 build=8 state=0 flags=0x0 guests=0
 *   devsev: blob pdh 0100000001...
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/psp-sev.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CERT_SIZE 2084u
#define CHAIN_SIZE (3u * CERT_SIZE)

static int device;
static unsigned last_status;

static int issue(const char *name, uint32_t command, void *data)
{
    struct sev_issue_cmd call = {.cmd = command, .data = (uint64_t)(uintptr_t)data};
    int ret = ioctl(device, SEV_ISSUE_CMD, &call);
    int error = ret ? errno : 0;

    last_status = call.error;
    printf("devsev: %s ret=%d fw=0x%x", name, error, call.error);
    return error;
}

static void blob(const char *name, const uint8_t *bytes, size_t count)
{
    printf("devsev: blob %s ", name);
    for (size_t i = 0; i < count; i++)
        printf("%02x", bytes[i]);
    putchar('\n');
}

static void status(void)
{
    struct sev_user_data_status s = {0};

    if (issue("PLATFORM_STATUS", SEV_PLATFORM_STATUS, &s) == 0)
        printf(" api=%u.%u build=%u state=%u flags=0x%x guests=%u", s.api_major, s.api_minor, s.build, s.state,
               s.flags, s.guest_count);
    putchar('\n');
}

static void simple(const char *name, uint32_t command)
{
    issue(name, command, NULL);
    putchar('\n');
}

static void get_id(void)
{
    static uint8_t id[256];
    struct sev_user_data_get_id2 call = {.address = 0, .length = 0};

    issue("GET_ID2(0)", SEV_GET_ID2, &call);
    printf(" length=%u\n", call.length);
    call.address = (uint64_t)(uintptr_t)id;
    if (call.length > sizeof id)
        call.length = sizeof id;
    if (issue("GET_ID2", SEV_GET_ID2, &call) == 0)
        printf(" length=%u", call.length);
    putchar('\n');
    if (last_status == 0)
        blob("id", id, call.length <= sizeof id ? call.length : sizeof id);
}

static void export(const char *suffix)
{
    static uint8_t pdh[CERT_SIZE], chain[CHAIN_SIZE];
    struct sev_user_data_pdh_cert_export call = {0};
    char name[32];

    issue("PDH_CERT_EXPORT(0)", SEV_PDH_CERT_EXPORT, &call);
    printf(" pdh=%u chain=%u\n", call.pdh_cert_len, call.cert_chain_len);
    call = (struct sev_user_data_pdh_cert_export){
        .pdh_cert_address = (uint64_t)(uintptr_t)pdh, .pdh_cert_len = sizeof pdh,
        .cert_chain_address = (uint64_t)(uintptr_t)chain, .cert_chain_len = sizeof chain,
    };
    int error = issue("PDH_CERT_EXPORT", SEV_PDH_CERT_EXPORT, &call);
    putchar('\n');
    if (error)
        return;
    snprintf(name, sizeof name, "pdh%s", suffix);
    blob(name, pdh, sizeof pdh);
    snprintf(name, sizeof name, "chain%s", suffix);
    blob(name, chain, sizeof chain);
}

static void pek_csr(void)
{
    static uint8_t csr[CERT_SIZE];
    struct sev_user_data_pek_csr call = {0};

    issue("PEK_CSR(0)", SEV_PEK_CSR, &call);
    printf(" length=%u\n", call.length);
    call = (struct sev_user_data_pek_csr){.address = (uint64_t)(uintptr_t)csr, .length = sizeof csr};
    int error = issue("PEK_CSR", SEV_PEK_CSR, &call);
    putchar('\n');
    if (error == 0)
        blob("csr", csr, sizeof csr);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    device = open("/dev/sev", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        printf("devsev: open /dev/sev: %s\n", strerror(errno));
        return 1;
    }
    status();
    get_id();
    export("");
    status();
    simple("PDH_GEN", SEV_PDH_GEN);
    export("-after-pdh-gen");
    simple("PEK_GEN", SEV_PEK_GEN);
    export("-after-pek-gen");
    pek_csr();
    simple("FACTORY_RESET", SEV_FACTORY_RESET);
    status();
    export("-after-reset");
    issue("UNKNOWN(99)", 99, NULL);
    putchar('\n');
    printf("devsev: done\n");
    return 0;
}
