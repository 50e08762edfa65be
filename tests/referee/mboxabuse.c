/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Drives the Secure Processor's mailbox with no driver in between: commands in wrong
 * orders and states, with every field spoilt, and registers used as nobody should.
 *
 *   mboxabuse: ok   LAUNCH_FINISH before MEASURE: 0x02
 *   mboxabuse: ok   wrong platform state, UNINIT: 24 calls
 *
 * The expectation stands beside each call, from the SEV API reference; [model] marks
 * what no document says, and the firmware model's README does. The last line counts.
 * ccp must be unloaded, and the machine told to be slow with its first NOPs.
 */
#include "mbox.h"

#include <cpuid.h>
#include <stdio.h>
#include <string.h>

static uint32_t first_asid, last_asid;
static uint8_t buffer[BUFFER_MAX];

static const uint32_t not_commands[][2] = {
                                               /* section 1; first and last */
    {0x00, 0x00}, {0x10, 0x1f}, {0x26, 0x2f}, {0x37, 0x3f}, {0x45, 0x4f}, {0x54, 0x5f}, {0x62, 0x6f}, {0x72, 0x7ff},
};

/* ------------------------------------------------------------------ single calls */

static bool by_handle(unsigned want, const char *what, uint32_t id, uint32_t handle)
{
    return expect(want, what, id, &handle, sizeof(handle));
}

static bool activate(unsigned want, const char *what, uint32_t handle, uint32_t asid)
{
    const uint32_t words[] = {handle, asid};

    return expect(want, what, ACTIVATE, words, sizeof(words));
}

static uint32_t start(unsigned want, const char *what, uint32_t shared, uint32_t policy)
{
    good_buffer(command_of(LAUNCH_START), 0, buffer);
    put32(buffer, 0x00, shared);
    put32(buffer, 0x04, policy);
    return expect(want, what, LAUNCH_START, buffer, 0x24) && !want ? get32(arena + AT_COMMAND, 0) : 0;
}

static void update(unsigned want, const char *what, uint32_t handle, uint64_t address, uint32_t length)
{
    good_buffer(command_of(LAUNCH_UPDATE_DATA), handle, buffer);
    put64(buffer, 0x08, address);
    put32(buffer, 0x10, length);
    flush(AT_GUEST, 2 * PAGE);
    expect(want, what, LAUNCH_UPDATE_DATA, buffer, 0x14);
}

static void platform_is(unsigned state, unsigned guests, const char *what)
{
    ring(PLATFORM_STATUS, arena_spa + AT_COMMAND);
    check(arena[AT_COMMAND + 2] == state && get32(arena + AT_COMMAND, 8) == guests, what);
}

static void guest_is(uint32_t handle, unsigned state, uint32_t asid, const char *what)
{
    memcpy(arena + AT_COMMAND, &handle, sizeof(handle));
    ring(GUEST_STATUS, arena_spa + AT_COMMAND);
    check(get32(arena + AT_COMMAND, 8) == asid && arena[AT_COMMAND + 12] == state, what);
}

static void init(unsigned want, const char *what)
{
    good_call(want, what, INIT, 0);
}

/* Clean ASIDs, as after every INIT and DEACTIVATE. */
static void recycle(void)
{
    wbinvd();
    expect_bare(SEV_RET_SUCCESS, "DF_FLUSH after WBINVD", DF_FLUSH);
}

static void end(uint32_t handle)
{
    by_handle(SEV_RET_SUCCESS, "DEACTIVATE", DEACTIVATE, handle);
    by_handle(SEV_RET_SUCCESS, "DECOMMISSION", DECOMMISSION, handle);
}

/* --------------------------------------------------------------- the platform's life */

static void init_arguments(void)
{
    static const struct {
        unsigned want;
        const char *what;
        uint32_t flags, length;
        uint64_t plus;
    } rows[] = {
        {SEV_RET_INVALID_PARAM, "INIT with an unknown flag", 2, 0, 0},
        {SEV_RET_INVALID_PARAM, "INIT with all flags", 0xffffffff, 0x100000, 0},
        {SEV_RET_INVALID_LEN, "INIT for ES without a TMR", 1, 0, 0},
        {SEV_RET_INVALID_LEN, "INIT for ES with an odd TMR", 1, 0x100001, 0},
        {SEV_RET_INVALID_LEN, "INIT for ES with a huge TMR", 1, 0xffffffff, 0},
        {SEV_RET_INVALID_ADDRESS, "INIT for ES, TMR not aligned", 1, 0x100000, PAGE},
        {SEV_RET_INVALID_ADDRESS, "INIT for ES, TMR of 2 MiB aligned to 1 MiB", 1, 0x200000, 0x100000},
        {SEV_RET_INVALID_ADDRESS, "INIT for ES, TMR not RAM", 1, 0x100000, UINT64_C(1) << 41},
        {SEV_RET_INVALID_ADDRESS, "INIT for ES, TMR at the end of the address space", 1, 0x100000, -UINT64_C(0x200000)},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t base = rows[i].plus >> 63 ? 0 : arena_plain;

        good_buffer(command_of(INIT), 0, buffer);
        put32(buffer, 0x00, rows[i].flags);
        put64(buffer, 0x08, base + rows[i].plus);
        put32(buffer, 0x10, rows[i].length);
        expect(rows[i].want, rows[i].what, INIT, buffer, 0x14);
    }
    put32(buffer, 0x00, 1);
    put64(buffer, 0x08, arena_spa);     /* mailbox reference, section 4: without */
    put32(buffer, 0x10, 0x100000);
    expect(SEV_RET_INVALID_ADDRESS, "INIT for ES, TMR with the C-bit", INIT, buffer, 0x14);
    good_buffer(command_of(INIT_EX), 0, buffer);
    put32(buffer, 0x00, 0x20);
    expect(SEV_RET_INVALID_LEN, "INIT_EX of another size", INIT_EX, buffer, 0x24);
    platform_is(0, 0, "still UNINIT");
}

/* Section 6: longer is allowed, and the true length told. Mailbox reference, section 4: the C-bit chooses the view. */
static void outputs(void)
{
    uint8_t *out = arena + AT_FIELDS, id[64];

    good_buffer(command_of(GET_ID), 0, buffer);
    put32(buffer, 0x08, PAGE);
    expect(SEV_RET_SUCCESS, "GET_ID with room to spare", GET_ID, buffer, 0x0c);
    check(get32(arena + AT_COMMAND, 0x08) == sizeof(id), "the true length is told");
    memcpy(id, out, sizeof(id));
    put64(buffer, 0x00, arena_plain + AT_FIELDS);
    flush(AT_FIELDS, PAGE);
    expect(SEV_RET_SUCCESS, "GET_ID to an address without the C-bit", GET_ID, buffer, 0x0c);
    check(memcmp(id, out, sizeof(id)) != 0, "the host, whose memory is encrypted, cannot read that");
    flush(AT_FIELDS, PAGE);
    good_buffer(command_of(PDH_CERT_EXPORT), 0, buffer);
    put64(buffer, 0x00, arena_spa + AT_COMMAND);
    put64(buffer, 0x10, arena_spa + AT_COMMAND);
    expect(SEV_RET_SUCCESS, "PDH_CERT_EXPORT over its own command buffer", PDH_CERT_EXPORT, buffer, 0x1c);
    /* Whatever the last four bytes of RAM say: there is no guest. */
    expect_at(SEV_RET_INVALID_GUEST, "a command buffer that ends where RAM does", DECOMMISSION,
              (ram_end - 4) | (arena_spa ^ arena_plain));
}

static void certificates(void)
{
    memset(arena + AT_FIELDS, 0, 2 * FIELD_ROOM);
    good_call(SEV_RET_INVALID_CERTIFICATE, "PEK_CERT_IMPORT of zeros", PEK_CERT_IMPORT, 0);
    good_call(SEV_RET_SUCCESS, "PEK_CSR", PEK_CSR, 0);
    good_call(SEV_RET_SUCCESS, "PDH_CERT_EXPORT", PDH_CERT_EXPORT, 0);
    /* Its own PDH is a certificate that is in order; the session of zeros is not. */
    good_buffer(command_of(LAUNCH_START), 0, buffer);
    put32(buffer, 0x10, CERT_SIZE);
    expect(SEV_RET_INVALID_LEN, "LAUNCH_START with a certificate, no session", LAUNCH_START, buffer, 0x24);
    put32(buffer, 0x20, 127);
    expect(SEV_RET_INVALID_LEN, "LAUNCH_START with a session of 127 bytes", LAUNCH_START, buffer, 0x24);
    put32(buffer, 0x20, 128);
    expect(SEV_RET_BAD_MEASUREMENT, "LAUNCH_START with a session of another", LAUNCH_START, buffer, 0x24);
    put64(buffer, 0x08, ram_end - 16);
    expect(SEV_RET_INVALID_ADDRESS, "LAUNCH_START, its certificate beyond RAM", LAUNCH_START, buffer, 0x24);
    put64(buffer, 0x08, arena_spa + AT_FIELDS + 2 * FIELD_ROOM);
    expect(SEV_RET_INVALID_CERTIFICATE, "LAUNCH_START with a certificate of zeros", LAUNCH_START, buffer, 0x24);
    put32(buffer, 0x14, 1);
    expect(SEV_RET_INVALID_PARAM, "LAUNCH_START with a reserved bit", LAUNCH_START, buffer, 0x24);
    start(SEV_RET_POLICY_FAILURE, "LAUNCH_START for API 1.56", 0, 56u << 24 | 1u << 16);
    start(SEV_RET_POLICY_FAILURE, "LAUNCH_START for API 2.0", 0, 2u << 16);
    start(SEV_RET_INVALID_PARAM, "LAUNCH_START with a reserved policy bit", 0, 1u << 6);
    start(SEV_RET_UNSUPPORTED, "LAUNCH_START of an ES guest", 0, SEV_POLICY_ES);    /* [HW] AMDSEV #282 */
    platform_is(1, 0, "still INIT, no guest");
}

/* ----------------------------------------------------------------------- guests */

/* Section 5 "Activation", section 9 rule 3. All ASIDs are dirty, as INIT leaves them. */
static void asids(void)
{
    uint32_t a = start(SEV_RET_SUCCESS, "LAUNCH_START", 0, 0), b;

    activate(SEV_RET_WBINVD_REQUIRED, "ACTIVATE after INIT, no WBINVD", a, first_asid);  /* [model] 0E before 0F */
    expect_bare(SEV_RET_WBINVD_REQUIRED, "DF_FLUSH without WBINVD", DF_FLUSH);
    wbinvd();
    activate(SEV_RET_DFFLUSH_REQUIRED, "ACTIVATE after WBINVD, no DF_FLUSH", a, first_asid);
    recycle();
    activate(SEV_RET_INVALID_ASID, "ACTIVATE of ASID 0", a, 0);
    activate(SEV_RET_INVALID_ASID, "ACTIVATE of the ASID above the limit", a, last_asid + 1);
    activate(SEV_RET_INVALID_ASID, "ACTIVATE of ASID 2^32 - 1", a, UINT32_MAX);
    by_handle(SEV_RET_INACTIVE, "DEACTIVATE before ACTIVATE", DEACTIVATE, a);
    activate(SEV_RET_SUCCESS, "ACTIVATE", a, first_asid);
    activate(SEV_RET_ACTIVE, "ACTIVATE twice", a, first_asid);
    activate(SEV_RET_ACTIVE, "ACTIVATE of a second ASID", a, last_asid);
    by_handle(SEV_RET_ACTIVE, "DECOMMISSION while active", DECOMMISSION, a);
    b = start(SEV_RET_SUCCESS, "LAUNCH_START", 0, SEV_POLICY_NOKS);
    check(a && b && a != b, "handles are not 0, and differ");
    activate(SEV_RET_ASID_OWNED, "ACTIVATE of another guest's ASID", b, first_asid);
    activate(SEV_RET_SUCCESS, "ACTIVATE of the last ASID", b, last_asid);
    platform_is(2, 2, "WORKING, two guests");
    start(SEV_RET_POLICY_FAILURE, "LAUNCH_START, to share under NOKS", b, SEV_POLICY_NOKS);
    start(SEV_RET_POLICY_FAILURE, "LAUNCH_START, to share under another policy", a, SEV_POLICY_NODBG);
    by_handle(SEV_RET_SUCCESS, "DEACTIVATE", DEACTIVATE, a);
    by_handle(SEV_RET_INACTIVE, "DEACTIVATE twice", DEACTIVATE, a);
    activate(SEV_RET_WBINVD_REQUIRED, "ACTIVATE after DEACTIVATE, no WBINVD", a, first_asid);
    wbinvd();
    activate(SEV_RET_DFFLUSH_REQUIRED, "ACTIVATE after DEACTIVATE, no DF_FLUSH", a, first_asid);
    by_handle(SEV_RET_SUCCESS, "DEACTIVATE", DEACTIVATE, b);
    expect_bare(SEV_RET_WBINVD_REQUIRED, "DF_FLUSH, a DEACTIVATE after WBINVD", DF_FLUSH);
    recycle();
    activate(SEV_RET_SUCCESS, "ACTIVATE of a recycled ASID", b, first_asid);
    by_handle(SEV_RET_SUCCESS, "DECOMMISSION", DECOMMISSION, a);
    by_handle(SEV_RET_INVALID_GUEST, "DECOMMISSION twice", DECOMMISSION, a);
    end(b);
    recycle();
    platform_is(1, 0, "INIT again, no guest");
}

static void launch(void)
{
    const uint64_t there = arena_spa + AT_GUEST;
    uint32_t guest, compressed = 1;

    start(SEV_RET_INVALID_GUEST, "LAUNCH_START, to share with nobody", 0x7fffffff, 0);
    update(SEV_RET_INVALID_GUEST, "LAUNCH_UPDATE_DATA before START", 0, there, PAGE);
    guest = start(SEV_RET_SUCCESS, "LAUNCH_START", 0, SEV_POLICY_NODBG);
    wrong_platform_state(WORKING, "wrong platform state, WORKING");
    spoil_platform(WORKING, "spoilt fields, WORKING");
    inactive(guest, LUPDATE, "commands of LUPDATE without an ASID");
    activate(SEV_RET_SUCCESS, "ACTIVATE", guest, first_asid);
    wrong_guest_state(guest, LUPDATE, "wrong guest state, LUPDATE");
    spoil_guest(guest, LUPDATE, "spoilt fields, LUPDATE");
    guest_is(guest, LUPDATE, first_asid, "the guest is where it was");
    update(SEV_RET_INVALID_ADDRESS, "LAUNCH_UPDATE_DATA of nearly 4 GiB", guest, there, 0xfffffff0);
    good_call(SEV_RET_INAVLID_CONFIG, "LAUNCH_UPDATE_VMSA without ES", LAUNCH_UPDATE_VMSA, guest);  /* [HW] */
    by_handle(SEV_RET_INVALID_GUEST_STATE, "LAUNCH_FINISH before MEASURE", LAUNCH_FINISH, guest);
    update(SEV_RET_SUCCESS, "LAUNCH_UPDATE_DATA", guest, there, PAGE);
    good_call(SEV_RET_SUCCESS, "LAUNCH_MEASURE", LAUNCH_MEASURE, guest);
    good_call(SEV_RET_INVALID_GUEST_STATE, "LAUNCH_MEASURE twice", LAUNCH_MEASURE, guest);
    update(SEV_RET_INVALID_GUEST_STATE, "LAUNCH_UPDATE_DATA after MEASURE", guest, there, PAGE);
    wrong_guest_state(guest, LSECRET, "wrong guest state, LSECRET");
    spoil_guest(guest, LSECRET, "spoilt fields, LSECRET");
    guest_is(guest, LSECRET, first_asid, "the guest is where it was");
    memset(arena + AT_FIELDS, 0, PAGE);
    good_call(SEV_RET_BAD_MEASUREMENT, "LAUNCH_SECRET without a session", LAUNCH_SECRET, guest);
    memcpy(arena + AT_FIELDS, &compressed, sizeof(compressed));
    good_call(SEV_RET_UNSUPPORTED, "LAUNCH_SECRET, compressed", LAUNCH_SECRET, guest);  /* [model] */
    by_handle(SEV_RET_SUCCESS, "LAUNCH_FINISH", LAUNCH_FINISH, guest);
    by_handle(SEV_RET_INVALID_GUEST_STATE, "LAUNCH_FINISH twice", LAUNCH_FINISH, guest);
    wrong_guest_state(guest, RUNNING, "wrong guest state, RUNNING");
    good_call(SEV_RET_POLICY_FAILURE, "DBG_DECRYPT under NODBG", DBG_DECRYPT, guest);
    good_call(SEV_RET_POLICY_FAILURE, "DBG_ENCRYPT under NODBG", DBG_ENCRYPT, guest);
    end(guest);
    recycle();
}

/* Nothing wrong: owner's measurement, ciphertext, debugger's view. The test computes the first. */
static void good_launch(void)
{
    uint8_t *there = arena + AT_GUEST, *out = arena + AT_FIELDS + FIELD_ROOM;
    bool same = true;
    uint32_t guest;

    for (unsigned i = 0; i < 2 * PAGE; i++)
        there[i] = (uint8_t)(i * 7 + i / 256);
    guest = start(SEV_RET_SUCCESS, "LAUNCH_START", 0, 0);
    activate(SEV_RET_SUCCESS, "ACTIVATE", guest, first_asid);
    update(SEV_RET_SUCCESS, "LAUNCH_UPDATE_DATA", guest, arena_spa + AT_GUEST, 2 * PAGE);
    check(there[0] != 0 || there[1] != 7 || there[2] != 14, "the host reads no plaintext");
    flush(AT_GUEST, 2 * PAGE);
    good_call(SEV_RET_SUCCESS, "LAUNCH_MEASURE", LAUNCH_MEASURE, guest);
    printf("mboxabuse: blob measurement ");
    for (unsigned i = 0; i < 48; i++)
        printf("%02x", arena[AT_FIELDS + i]);
    putchar('\n');
    by_handle(SEV_RET_SUCCESS, "LAUNCH_FINISH", LAUNCH_FINISH, guest);
    good_buffer(command_of(DBG_DECRYPT), guest, buffer);
    put64(buffer, 0x08, arena_spa + AT_GUEST);
    put32(buffer, 0x18, 2 * PAGE);
    expect(SEV_RET_SUCCESS, "DBG_DECRYPT", DBG_DECRYPT, buffer, 0x1c);
    for (unsigned i = 0; i < 2 * PAGE; i++)
        same = same && out[i] == (uint8_t)(i * 7 + i / 256);
    check(same, "the debugger reads the plaintext");
    spoil_guest(guest, RUNNING, "spoilt fields, RUNNING");
    guest_is(guest, RUNNING, first_asid, "the guest runs");
    by_handle(SEV_RET_SUCCESS, "DEACTIVATE", DEACTIVATE, guest);
    inactive(guest, RUNNING, "commands of RUNNING without an ASID");
    by_handle(SEV_RET_SUCCESS, "DECOMMISSION", DECOMMISSION, guest);
}

static void too_many_guests(void)
{
    unsigned guests = 0;

    sweep("LAUNCH_START until RESOURCE_LIMIT");
    while (guests < 16 && start(SEV_RET_SUCCESS, "LAUNCH_START", 0, 0))
        guests++;
    start(SEV_RET_RESOURCE_LIMIT, "LAUNCH_START", 0, 0);
    sweep_end();
    platform_is(2, guests, "all of them are counted");
    expect_bare(SEV_RET_SUCCESS, "SHUTDOWN drops all guests", SHUTDOWN);
    platform_is(0, 0, "UNINIT, no guest");
}

static void up_and_down(void)
{
    sweep("INIT and SHUTDOWN, twenty times");
    for (unsigned i = 0; i < 20; i++) {
        init(SEV_RET_SUCCESS, "INIT");
        init(SEV_RET_INVALID_PLATFORM_STATE, "INIT twice");
        expect_bare(SEV_RET_INVALID_PLATFORM_STATE, "PLATFORM_RESET in INIT", PLATFORM_RESET);
        expect_bare(SEV_RET_SUCCESS, "SHUTDOWN", SHUTDOWN);
        expect_bare(SEV_RET_SUCCESS, "SHUTDOWN twice", SHUTDOWN);
        expect_bare(SEV_RET_SUCCESS, "PLATFORM_RESET", PLATFORM_RESET);
    }
    sweep_end();
}

static void uninitialised(void)
{
    every_id(not_commands, sizeof(not_commands) / sizeof(not_commands[0]), "ids that do not exist");
    wrong_platform_state(UNINIT, "wrong platform state, UNINIT");
    spoil_platform(UNINIT, "spoilt fields, UNINIT");
    init_arguments();
    good_call(SEV_RET_BAD_SIGNATURE, "DOWNLOAD_FIRMWARE of zeros", DOWNLOAD_FIRMWARE, 0);
    expect_bare(SEV_RET_SUCCESS, "NOP", NOP);
    up_and_down();
}

int main(void)
{
    uint32_t eax, ebx;

    __get_cpuid_count(0x8000001f, 0, &eax, &ebx, &last_asid, &first_asid);
    mbox_open();
    hostile_registers();
    uninitialised();

    init(SEV_RET_SUCCESS, "INIT");
    platform_is(1, 0, "INIT");
    wrong_platform_state(UP, "wrong platform state, INIT");
    unknown_handles("unknown handles");
    bad_command_buffers("command buffers that are not in RAM");
    spoil_platform(UP, "spoilt fields, INIT");
    outputs();
    certificates();
    asids();
    launch();
    good_launch();
    recycle();
    too_many_guests();

    random_commands(0x5e71507, 3000);

    expect_bare(SEV_RET_SUCCESS, "SHUTDOWN after random commands", SHUTDOWN);
    wbinvd();
    init(SEV_RET_SUCCESS, "INIT after random commands");
    recycle();
    good_launch();
    uint32_t guest = start(SEV_RET_SUCCESS, "LAUNCH_START", 0, 0);
    activate(SEV_RET_SUCCESS, "ACTIVATE", guest, last_asid);
    expect_bare(SEV_RET_SUCCESS, "SHUTDOWN with an active guest", SHUTDOWN);
    init(SEV_RET_WBINVD_REQUIRED, "INIT after that, no WBINVD");     /* [HW] AMDSEV #202; when: [model] */
    wbinvd();
    init(SEV_RET_SUCCESS, "INIT after WBINVD");
    expect_bare(SEV_RET_SUCCESS, "SHUTDOWN", SHUTDOWN);
    flush(0, HUGE_PAGE);
    printf("mboxabuse: %u calls, %u misses\n", calls, misses);
    return misses != 0;
}
