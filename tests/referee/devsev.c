/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Drives /dev/sev by hand: the platform ioctls of Linux' ccp driver, in an
 * order that shows each state. Prints one line per call and the certificates
 * in hexadecimal; the test on the other end of the serial line judges. An owner who
 * has signed this platform's PEK beforehand may have left his certificates in
 * /owner; without them nobody takes the platform over.
 *
 *   devsev: PLATFORM_STATUS ret=0 fw=0x0 api=1.55 build=8 state=0 flags=0x0 guests=0
 *   devsev: blob pdh 0100000001...
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/psp-sev.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CERT_SIZE 2084u
#define OWNER_PEK "/owner/pek.cert"
#define OWNER_OCA "/owner/oca.cert"
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
        printf(" api=%u.%u build=%u state=%u flags=0x%x guests=%u", s.api_major, s.api_minor, s.build, s.state, s.flags,
               s.guest_count);
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
    static struct sev_user_data_get_id old;
    struct sev_user_data_get_id2 call = {.address = 0, .length = 0};

    issue("GET_ID2(0)", SEV_GET_ID2, &call);
    printf(" length=%u\n", call.length);
    call.address = (uint64_t)(uintptr_t)id;
    if (call.length > sizeof(id))
        call.length = sizeof(id);
    if (issue("GET_ID2", SEV_GET_ID2, &call) == 0)
        printf(" length=%u", call.length);
    putchar('\n');
    if (last_status == 0)
        blob("id", id, call.length <= sizeof(id) ? call.length : sizeof(id));
    int error = issue("GET_ID", SEV_GET_ID, &old);      /* deprecated, but there */
    putchar('\n');
    if (error == 0)
        blob("id-old", old.socket1, sizeof(old.socket1));
}

static uint8_t pdh[CERT_SIZE], chain[CHAIN_SIZE];   /* of the last export */

static void export(const char *suffix)
{
    struct sev_user_data_pdh_cert_export call = {0};
    char name[32];

    issue("PDH_CERT_EXPORT(0)", SEV_PDH_CERT_EXPORT, &call);
    printf(" pdh=%u chain=%u\n", call.pdh_cert_len, call.cert_chain_len);
    call = (struct sev_user_data_pdh_cert_export){
        .pdh_cert_address = (uint64_t)(uintptr_t)pdh,
        .pdh_cert_len = sizeof(pdh),
        .cert_chain_address = (uint64_t)(uintptr_t)chain,
        .cert_chain_len = sizeof(chain),
    };
    int error = issue("PDH_CERT_EXPORT", SEV_PDH_CERT_EXPORT, &call);
    putchar('\n');
    if (error)
        return;
    snprintf(name, sizeof(name), "pdh%s", suffix);
    blob(name, pdh, sizeof(pdh));
    snprintf(name, sizeof(name), "chain%s", suffix);
    blob(name, chain, sizeof(chain));
}

static void pek_csr(void)
{
    static uint8_t csr[CERT_SIZE];
    struct sev_user_data_pek_csr call = {0};

    issue("PEK_CSR(0)", SEV_PEK_CSR, &call);
    printf(" length=%u\n", call.length);
    call = (struct sev_user_data_pek_csr){.address = (uint64_t)(uintptr_t)csr, .length = sizeof(csr)};
    int error = issue("PEK_CSR", SEV_PEK_CSR, &call);
    putchar('\n');
    if (error == 0)
        blob("csr", csr, sizeof(csr));
}

static bool certificate(const char *path, uint8_t cert[CERT_SIZE])
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bool whole = file >= 0 && read(file, cert, CERT_SIZE) == CERT_SIZE;

    if (file >= 0)
        close(file);
    return whole;
}

static void import(const char *what, const uint8_t *pek, uint32_t pek_len, const uint8_t *oca, uint32_t oca_len)
{
    struct sev_user_data_pek_cert_import call = {
        .pek_cert_address = (uint64_t)(uintptr_t)pek,
        .pek_cert_len = pek_len,
        .oca_cert_address = (uint64_t)(uintptr_t)oca,
        .oca_cert_len = oca_len,
    };

    issue(what, SEV_PEK_CERT_IMPORT, &call);
    putchar('\n');
}

static void change_owner(void)
{
    static uint8_t zeros[CERT_SIZE], pek[CERT_SIZE], oca[CERT_SIZE];
    const uint8_t *own_pek = chain, *own_oca = chain + CERT_SIZE;

    import("PEK_CERT_IMPORT(nowhere)", NULL, CERT_SIZE, NULL, CERT_SIZE);
    import("PEK_CERT_IMPORT(huge)", own_pek, 1u << 20, own_oca, CERT_SIZE);
    import("PEK_CERT_IMPORT(short)", own_pek, CERT_SIZE - 1, own_oca, CERT_SIZE);
    import("PEK_CERT_IMPORT(long)", own_pek, CERT_SIZE, own_oca, CERT_SIZE + 1);
    import("PEK_CERT_IMPORT(zeros)", zeros, CERT_SIZE, zeros, CERT_SIZE);
    import("PEK_CERT_IMPORT(swapped)", own_oca, CERT_SIZE, own_pek, CERT_SIZE);
    import("PEK_CERT_IMPORT(PDH)", pdh, CERT_SIZE, own_oca, CERT_SIZE);
    if (!certificate(OWNER_PEK, pek) || !certificate(OWNER_OCA, oca))
        return;
    import("PEK_CERT_IMPORT(unrelated)", pek, CERT_SIZE, own_oca, CERT_SIZE);
    import("PEK_CERT_IMPORT", pek, CERT_SIZE, oca, CERT_SIZE);
    status();
    export("-after-import");
    import("PEK_CERT_IMPORT(again)", pek, CERT_SIZE, oca, CERT_SIZE);
}

/* Who may not write may ask, and change nothing. */
static void read_only(void)
{
    static const struct {
        const char *name;
        uint32_t command;
    } writers[] = {
        {"READONLY(FACTORY_RESET)", SEV_FACTORY_RESET},
        {"READONLY(PEK_GEN)", SEV_PEK_GEN},
        {"READONLY(PDH_GEN)", SEV_PDH_GEN},
        {"READONLY(PEK_CSR)", SEV_PEK_CSR},
        {"READONLY(PEK_CERT_IMPORT)", SEV_PEK_CERT_IMPORT},
    };
    struct sev_user_data_status s;
    const int writable = device;

    device = open("/dev/sev", O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++)
        simple(writers[i].name, writers[i].command);
    issue("READONLY(PLATFORM_STATUS)", SEV_PLATFORM_STATUS, &s);
    putchar('\n');
    export("-read-only");
    close(device);
    device = writable;
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
    read_only();
    change_owner();
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
