/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's side of the Secure Processor: which commands, in which order, and what it keeps in mind of what was answered. */
#include "hv/control/identity.c"
#include "hv/control/sev.c"

#include "../boards/boards.h"
#include "fake_cpu.h"

#define SILENT 0xffffu          /* as a status: the command is not answered */
#define MEMORY (UINT64_C(100) << 20)
#define MEMORY_BASE UINT64_C(0x100000000)

static struct handoff handoff;
static struct sev_wishes wishes;
static struct guest guest;
static struct manifest_guest config;
static uint8_t left_in;                 /* the platform's state when hv comes */
static uint32_t running, offered;       /* firmware: what runs, what an image says it is */
static bool pdh_is_made_at_init;
static uint8_t pdh;                     /* each byte of its key */

/* The answers to a command: from the n-th one on (from 1), for so many times, this status. */
static struct { uint8_t command; unsigned from, count; uint16_t status; } faults[2];
static unsigned sent[256];

static struct psp_result answer(uint8_t command)
{
    struct psp_result result = {.error = PSP_OK, .command = command};
    sent[command]++;
    for (unsigned i = 0; i < 2; i++) {
        if (faults[i].command != command || sent[command] < faults[i].from || sent[command] >= faults[i].from + faults[i].count)
            continue;
        result.error = faults[i].status == SILENT ? PSP_TIMEOUT : PSP_FIRMWARE;
        result.status = faults[i].status;
        psp.dead = result.error == PSP_TIMEOUT;
    }
    psp.commands++;
    note("%02x%s", command, psp_ok(result) ? "" : "!");
    return result;
}

void psp_result_text(struct psp_result result, char *text, unsigned size)
{
    snprintf(text, size, "command %02x error %d status %x", result.command, result.error, result.status);
}

static void runs(struct psp *p)
{
    p->status.api_major = (uint8_t)(running >> 16);
    p->status.api_minor = (uint8_t)(running >> 8);
    p->status.build = (uint8_t)running;
}

struct psp_result psp_attach(struct psp *p, const struct psp_location *location)
{
    if (location->bar == 0)
        return (struct psp_result){.error = PSP_NO_DEVICE};
    assert_int_equal(location->function.ecam, handoff.psp.ecam);
    assert_int_equal(location->bar, UINT64_C(0x20f0200000));
    assert_int_equal(location->bar_size, 0x100000);
    p->location = *location;
    p->status = (struct sev_platform_status){.state = left_in, .owner = left_in};
    runs(p);
    return answer(SEV_CMD_PLATFORM_STATUS);
}

void psp_detach(struct psp *p) { note("detach %d", p == &psp); }

static struct psp_result platform_command(struct psp *p, uint8_t command, uint8_t state_after)
{
    struct psp_result result = answer(command);
    assert_ptr_equal(p, &psp);
    if (psp_ok(result))
        p->status.state = state_after;
    return result;
}

struct psp_result sev_init(struct psp *p)
{
    pdh += pdh_is_made_at_init;
    return platform_command(p, SEV_CMD_INIT, SEV_PLATFORM_INIT);
}

struct psp_result sev_shutdown(struct psp *p) { return platform_command(p, SEV_CMD_SHUTDOWN, SEV_PLATFORM_UNINIT); }
struct psp_result sev_platform_status(struct psp *p) { return platform_command(p, SEV_CMD_PLATFORM_STATUS, p->status.state); }
struct psp_result sev_df_flush(struct psp *p) { return platform_command(p, SEV_CMD_DF_FLUSH, p->status.state); }

struct psp_result sev_get_id(struct psp *p, uint8_t id[64])
{
    for (unsigned i = 0; i < 64; i++)
        id[i] = (uint8_t)(0xf0 + i);
    return platform_command(p, SEV_CMD_GET_ID, p->status.state);
}

/* Certificates of another value each, whose key, and nothing else, may change. */
struct psp_result sev_pdh_cert_export(struct psp *p, psp_addr_t address)
{
    struct psp_result result = platform_command(p, SEV_CMD_PDH_CERT_EXPORT, p->status.state);
    uint8_t *chain = page_va(paddr(address.raw & ~FAKE_C_BIT));
    if (!psp_ok(result))
        return result;
    for (unsigned i = 0; i < 4; i++)
        memset(chain + i * SEV_CERT_SIZE, (int)('a' + i), SEV_CERT_SIZE);
    memset(chain + SEV_CERT_KEY_AT, pdh, SEV_CERT_KEY_SIZE);
    chain[0] = (uint8_t)sent[SEV_CMD_PDH_CERT_EXPORT];      /* a header that differs makes no other PDH */
    return result;
}

struct psp_result sev_download_firmware(struct psp *p, psp_addr_t image, uint32_t size)
{
    assert_true(image.raw == 0x5000 && size == 4000);
    struct psp_result result = platform_command(p, SEV_CMD_DOWNLOAD_FIRMWARE, p->status.state);
    if (psp_ok(result))
        running = offered;
    runs(p);
    return result;
}

const char *sev_version_fault(uint32_t version) { return version < SEV_VERSION(1, 0, 0) ? "is known" : NULL; }

struct psp_result sev_launch_start(struct psp *p, uint32_t policy, const void *cert, const void *session, uint32_t *handle)
{
    struct psp_result result = platform_command(p, SEV_CMD_LAUNCH_START, SEV_PLATFORM_WORKING);
    assert_int_equal(policy, 0x01010001);
    assert_true(cert == &config && session == &guest);
    if (psp_ok(result))
        *handle = 77;
    return result;
}

struct psp_result sev_activate(struct psp *p, uint32_t handle, uint32_t asid)
{
    assert_int_equal(handle, 77);
    assert_int_equal(asid, 9);
    return platform_command(p, SEV_CMD_ACTIVATE, p->status.state);
}

struct psp_result sev_launch_update_data(struct psp *p, uint32_t handle, psp_addr_t address, uint32_t size)
{
    assert_int_equal(handle, 77);
    note("data %lx %x", address.raw, size);
    return platform_command(p, SEV_CMD_LAUNCH_UPDATE_DATA, p->status.state);
}

struct psp_result sev_launch_measure(struct psp *p, uint32_t handle, struct sev_measurement *measurement)
{
    assert_true(handle == 77 && measurement == &guest.measurement);
    return platform_command(p, SEV_CMD_LAUNCH_MEASURE, p->status.state);
}

static struct psp_result with_handle(struct psp *p, uint32_t handle, uint8_t command)
{
    assert_int_equal(handle, 77);
    return platform_command(p, command, p->status.state);
}

struct psp_result sev_launch_finish(struct psp *p, uint32_t handle) { return with_handle(p, handle, SEV_CMD_LAUNCH_FINISH); }
struct psp_result sev_deactivate(struct psp *p, uint32_t handle) { return with_handle(p, handle, SEV_CMD_DEACTIVATE); }
struct psp_result sev_decommission(struct psp *p, uint32_t handle) { return with_handle(p, handle, SEV_CMD_DECOMMISSION); }

void line_print(const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    note("%s", line);
}

void cpu_wbinvd_all(void) { note("wbinvd"); }

bool guest_ram_address(const struct guest *g, gpaddr_t gpa, uint64_t size, paddr_t *out)
{
    assert_ptr_equal(g, &guest);
    if (gpa.raw > MEMORY || size > MEMORY - gpa.raw)
        return false;
    *out = paddr(MEMORY_BASE + gpa.raw);
    return true;
}

static int set_up(void **state)
{
    fake_reset(state);
    psp = (struct psp){0};
    memset(&identity, 0, sizeof identity);
    wishes = (struct sev_wishes){.image = {0x5000}, .image_version = SEV_VERSION(1, 55, 22)};
    running = SEV_VERSION(1, 55, 21);
    offered = SEV_VERSION(1, 55, 22);
    pdh_is_made_at_init = false;
    pdh = 'P';
    started = ready = false;
    text_format(refusal, sizeof refusal, "not started");
    left_in = SEV_PLATFORM_UNINIT;
    memset(faults, 0, sizeof faults);
    memset(sent, 0, sizeof sent);
    handoff = (struct handoff){
        .sev_usable = 1, .psp = {.sbdf = 0x42 << 8 | 3 << 3 | 1, .device_id = 0x14ca, .bar = UINT64_C(0x20f0200000), .bar_size = 0x100000},
    };
    config = (struct manifest_guest){.name = "alpha", .sev_policy = 0x01010001, .cbitpos = 51, .reduced_phys_bits = 5, .memory = MEMORY};
    guest = (struct guest){.config = &config, .asid = 9};
    fake_leaves[0] = (struct fake_leaf){0x8000001f, {3, 5 << 6 | 51, 15, 6}};
    fake_leaves[1] = (struct fake_leaf){0x80000008, {0x3030, 0, 0, 0}};
    return 0;
}

static void fault_from(uint8_t command, unsigned from, unsigned count, uint16_t status)
{
    unsigned i = faults[0].command == 0 ? 0 : 1;
    faults[i].command = command;
    faults[i].from = from;
    faults[i].count = count;
    faults[i].status = status;
}

static void up(void)
{
    sev_start(&handoff, &wishes);
    assert_true(sev_ready());
    did[0] = '\0';
    memset(sent, 0, sizeof sent);
}

/* ---- the platform ---- */

static void the_platform_is_started_once_and_said(void **state)
{
    (void)state;
    assert_false(sev_ready());
    sev_start(&handoff, &wishes);
    assert_true(sev_ready());
    assert_string_equal(did,
        "04\nlog 2 sev: INIT\n01\n04\npage_alloc 3\n08\n0c\n"
        "log 2 sev: AMD secure processor 1022:14ca at 42:03.1, API 1.55 build 21, state INIT, self-owned, chip f0f1f2f3f4f5f6f7\n");
    did[0] = '\0';
    sev_start(&handoff, &wishes);
    assert_string_equal(did, "");
    assert_int_equal(sev_commands(), 5);
    assert_int_equal(sev_version().api_minor, 55);
}

static void what_somebody_left_is_shut_down_first(void **state)
{
    static const char *const names[] = {"UNINIT", "INIT", "WORKING", "unknown"};
    char expected[128];
    for (uint8_t s = SEV_PLATFORM_INIT; s <= 3; s++) {
        set_up(state);
        left_in = s;
        sev_start(&handoff, &wishes);
        snprintf(expected, sizeof expected, "04\nlog 2 sev: the platform was left in state %s: SHUTDOWN first\n02\nlog 2 sev: INIT\n01\n", names[s]);
        assert_ptr_equal(strstr(did, expected), did);
        assert_int_equal(strstr(did, "externally owned") != NULL, (s & SEV_OWNER_EXTERNAL) != 0);
        assert_true(sev_ready());
    }
}

/* Each command of the start, refused or not answered: what is sent after it, and in which words guests are refused. */
static void a_start_that_fails_refuses_with_its_reason(void **state)
{
    static const struct { uint8_t command; unsigned nth; const char *where, *sent; } cases[] = {
        {SEV_CMD_PLATFORM_STATUS, 1, "the secure processor is of no use: ", "04!\n"},
        {SEV_CMD_SHUTDOWN, 1, "", "02!\ndetach 1\n"},
        {SEV_CMD_INIT, 1, "", "01!\ndetach 1\n"},
        {SEV_CMD_PLATFORM_STATUS, 2, "", "01\n04!\ndetach 1\n"},
    };
    char expected[512];
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned silent = 0; silent < 2; silent++) {
            set_up(state);
            left_in = SEV_PLATFORM_WORKING;
            uint16_t status = silent ? SILENT : SEV_STATUS_HWERROR_PLATFORM;
            fault_from(cases[i].command, cases[i].nth, 1, status);
            sev_start(&handoff, &wishes);
            assert_false(sev_ready());
            snprintf(expected, sizeof expected, "%scommand %02x error %d status %x", cases[i].where, cases[i].command,
                     silent ? PSP_TIMEOUT : PSP_FIRMWARE, status);
            assert_string_equal(sev_refusal(), expected);
            snprintf(expected, sizeof expected, "%slog 1 sev: encrypted guests are refused: %s\n", cases[i].sent, sev_refusal());
            assert_string_equal(strstr(did, cases[i].sent), expected);
            did[0] = '\0';
            sev_stop();
            assert_string_equal(did, "");
        }
    }
}

static void without_an_id_the_chip_has_no_name(void **state)
{
    (void)state;
    fault_from(SEV_CMD_GET_ID, 1, 1, SEV_STATUS_INVALID_COMMAND);
    sev_start(&handoff, &wishes);
    assert_true(sev_ready());
    assert_non_null(strstr(did, "self-owned, chip unknown\n"));
    set_up(state);
    fault_from(SEV_CMD_GET_ID, 1, 1, SILENT);
    sev_start(&handoff, &wishes);
    assert_false(sev_ready());
    assert_string_equal(sev_refusal(), "command 0c error 5 status ffff");
    assert_non_null(strstr(did, "detach 1\n"));
}

static void firmware_is_loaded_before_init_where_it_is_newer(void **state)
{
    static const struct { uint32_t offered; const char *said; } cases[] = {
        {SEV_VERSION(1, 55, 22), "0b\nlog 2 sev: DOWNLOAD_FIRMWARE: 1.55 build 21 ran, 1.55 build 22 runs now\nlog 2 sev: INIT\n"},
        {SEV_VERSION(1, 56, 0), "0b\nlog 2 sev: DOWNLOAD_FIRMWARE: 1.55 build 21 ran, 1.56 build 0 runs now\nlog 2 sev: INIT\n"},
        {SEV_VERSION(1, 55, 21),
         "log 2 sev: firmware 1.55 build 21 runs; the manifest's is 1.55 build 21, which is not newer: not loaded\nlog 2 sev: INIT\n"},
        {SEV_VERSION(0, 255, 255),
         "log 2 sev: firmware 1.55 build 21 runs; the manifest's is 0.255 build 255, which is not newer: not loaded\nlog 2 sev: INIT\n"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned left = 0; left < 2; left++) {
            set_up(state);
            wishes.image_size = 4000;
            left_in = left ? SEV_PLATFORM_WORKING : SEV_PLATFORM_UNINIT;
            offered = wishes.image_version = cases[i].offered;
            sev_start(&handoff, &wishes);
            assert_true(sev_ready());
            /* Only UNINIT takes firmware: after the SHUTDOWN of what was left. */
            assert_ptr_equal(strstr(did, cases[i].said), left ? strstr(did, "02\n") + 3 : did + 3);
        }
    }
}

static void refused_firmware_leaves_the_old_one_at_work(void **state)
{
    (void)state;
    wishes.image_size = 4000;
    fault_from(SEV_CMD_DOWNLOAD_FIRMWARE, 1, 1, SEV_STATUS_BAD_SIGNATURE);
    sev_start(&handoff, &wishes);
    assert_true(sev_ready());
    assert_non_null(strstr(did, "0b!\nlog 1 sev: firmware 1.55 build 22 was not loaded: command 0b error 10 status a\n"
                                "log 2 sev: going on with firmware 1.55 build 21\nlog 2 sev: INIT\n"));
    set_up(state);
    wishes.image_size = 4000;
    fault_from(SEV_CMD_DOWNLOAD_FIRMWARE, 1, 1, SILENT);
    sev_start(&handoff, &wishes);
    assert_false(sev_ready());
    assert_string_equal(sev_refusal(), "command 0b error 5 status ffff");
    assert_int_equal(sent[SEV_CMD_INIT], 0);
}

static void old_firmware_is_named(void **state)
{
    (void)state;
    running = SEV_VERSION(0, 17, 11);
    sev_start(&handoff, &wishes);
    assert_true(sev_ready());
    assert_non_null(strstr(did, "log 1 sev: this firmware is too old (is known): update the BIOS, or name a newer file as sev-firmware"));
}

/* What was found by trying is said, each way; without the wish nothing is tried. */
static void whether_the_pdh_outlives_init_is_seen_and_said(void **state)
{
    static const char once[] = "01\n04\npage_alloc 3\n08\n0c\n", twice[] = "02\nlog 2 sev: INIT\n01\n04\n08\n0c\n";
    for (unsigned made = 0; made < 2; made++) {
        set_up(state);
        pdh_is_made_at_init = made;
        wishes.pdh = true;
        sev_start(&handoff, &wishes);
        assert_true(sev_ready());
        const char *second = strstr(did, twice);
        assert_ptr_equal(strstr(did, once) + strlen(once), second);
        assert_ptr_equal(strstr(did, made ? "log 2 sev: the PDH does not outlive INIT: no session that was made before"
                                          : "log 2 sev: the PDH outlives SHUTDOWN and INIT: a session made with it can be"),
                         second + strlen(twice));
        set_up(state);
        sev_start(&handoff, &wishes);
        assert_int_equal(sent[SEV_CMD_INIT], 1);
        assert_null(strstr(did, "PDH"));
    }
    /* Not told at all, then not the second time: no word on what is not known, and the guests can run all the same. */
    for (unsigned nth = 1; nth <= 2; nth++) {
        set_up(state);
        wishes.pdh = true;
        fault_from(SEV_CMD_PDH_CERT_EXPORT, nth, 9, SEV_STATUS_HWERROR_PLATFORM);
        sev_start(&handoff, &wishes);
        assert_true(sev_ready());
        assert_int_equal(sent[SEV_CMD_INIT], nth);
        assert_null(strstr(did, "PDH"));
        assert_non_null(strstr(did, "log 1 sev: the platform's certificates are unknown: command 08 error 10 status 13\n"));
    }
    set_up(state);
    wishes.pdh = true;
    fault_from(SEV_CMD_SHUTDOWN, 1, 1, SILENT);
    sev_start(&handoff, &wishes);
    assert_false(sev_ready());
}

static void pdh_prints_nothing_that_is_not_known(void **state)
{
    (void)state;
    identity_show();
    assert_non_null(strstr(did, "monitor: the platform's certificates are not known"));
    assert_null(strstr(did, "-----"));
    fault_from(SEV_CMD_GET_ID, 1, 1, SEV_STATUS_INVALID_COMMAND);
    up();
    identity_show();
    assert_non_null(strstr(did, "-----END SEV CERTIFICATE CHAIN-----"));
    assert_null(strstr(did, "CHIP"));
}

/* Against the vectors of RFC 4648, section 10. */
static void base64_is_that_of_the_rfc(void **state)
{
    static const char *const vectors[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    char text[LINE_CHARACTERS + 1];
    (void)state;
    for (unsigned i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        base64(text, (const uint8_t *)"foobar", i);
        assert_string_equal(text, vectors[i]);
    }
    base64(text, (const uint8_t[]){0xfb, 0xef, 0xff}, 3);
    assert_string_equal(text, "++//");
}

static void the_printed_chain_is_whole_and_counted(void **state)
{
    (void)state;
    up();
    identity_show();
    unsigned lines = 0;
    for (const char *at = did; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, IDENTITY_LINES);
    assert_ptr_equal(strstr(did, "sev pdh: -----BEGIN SEV CERTIFICATE CHAIN-----\nsev pdh: AWFhYWFhYWFhYWFhYWFhYVBQ"), did);
}

static void what_the_preflight_found_is_the_reason(void **state)
{
    (void)state;
    handoff.sev_usable = 0;
    strcpy(handoff.sev_refusal, "SMM locked: no; lock it");
    sev_start(&handoff, &wishes);
    assert_false(sev_ready());
    assert_string_equal(sev_refusal(), "SMM locked: no; lock it");
    assert_string_equal(did, "");       /* it was said already */
    set_up(state);
    handoff.psp = (struct handoff_psp){.bar = 0};
    sev_start(&handoff, &wishes);
    assert_false(sev_ready());
    assert_string_equal(sev_refusal(), "the secure processor is of no use: command 00 error 1 status 0");
    assert_string_equal(did, "log 1 sev: encrypted guests are refused: the secure processor is of no use: command 00 error 1 status 0\n");
}

static void the_end_is_a_shutdown_once(void **state)
{
    (void)state;
    sev_stop();
    assert_string_equal(did, "");
    up();
    sev_stop();
    sev_stop();
    assert_string_equal(did, "02\nlog 2 sev: SHUTDOWN\ndetach 1\n");
    assert_false(sev_ready());
    set_up(state);
    up();
    fault_from(SEV_CMD_SHUTDOWN, 1, 9, SEV_STATUS_HWERROR_UNSAFE);
    sev_stop();
    assert_string_equal(did, "02!\nlog 1 sev: command 02 error 10 status 14\ndetach 1\n");
}

static void a_guest_is_for_this_cpus_c_bit(void **state)
{
    static const struct { uint32_t ebx, width; uint8_t cbitpos, reduced; uint64_t memory; const char *text; } cases[] = {
        {5 << 6 | 51, 48, 51, 5, MEMORY, ""}, {5 << 6 | 47, 48, 47, 1, MEMORY, ""}, {5 << 6 | 51, 48, 51, 24, UINT64_C(1) << 24, ""},
        {5 << 6 | 47, 48, 51, 5, MEMORY, "was packed for C-bit 51, this CPU has it at 47: set cbitpos = 47 in guests.toml"},
        {5 << 6 | 46, 48, 46, 1, MEMORY, ""},           /* it sees 44 bits and subtracts one */
        {5 << 6 | 42, 48, 42, 1, MEMORY,
         "was packed for 1 bits less than the 48 of an address: set reduced-phys-bits = 5 in guests.toml"},
        {45 << 6 | 46, 48, 46, 1, MEMORY,
         "was packed for 1 bits less than the 48 of an address: set reduced-phys-bits = 45 in guests.toml"},
        {1 << 6 | 51, 48, 51, 48, MEMORY,
         "was packed for 48 bits less than the 48 of an address: set reduced-phys-bits = 1 in guests.toml"},
        {1 << 6 | 51, 48, 51, 24, (UINT64_C(1) << 24) + 1,
         "was packed for 24 bits less than the 48 of an address: set reduced-phys-bits = 1 in guests.toml"},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256] = "";
        fake_leaf(0x8000001f)->ebx = cases[i].ebx;
        fake_leaf(0x80000008)->eax = 0xff00 | cases[i].width;
        config.cbitpos = cases[i].cbitpos;
        config.reduced_phys_bits = cases[i].reduced;
        config.memory = cases[i].memory;
        assert_int_equal(sev_check_config(&config, text, sizeof text), cases[i].text[0] == '\0');
        assert_string_equal(text, cases[i].text);
    }
}

/* ... as the packer is told to make it on that board; and it has no more memory than it can have addresses. */
static void a_guest_for_a_board_is_taken_there_up_to_its_width(void **state)
{
    char text[256];
    (void)state;
    for (uint32_t i = 0; i < board_count; i++) {
        const struct board_leaf *e = board_leaf(&boards[i], 0x8000001f, 0), *w = board_leaf(&boards[i], 0x80000008, 0);
        if (e == NULL || w == NULL)
            continue;
        uint32_t c_bit = e->ebx & 0x3f, reduction = e->ebx >> 6 & 0x3f, width = w->eax & 0xff;
        if (boards[i].c_bit != BOARD_UNKNOWN)
            assert_int_equal(c_bit, boards[i].c_bit);
        if (boards[i].reduction != BOARD_UNKNOWN)
            assert_int_equal(reduction, boards[i].reduction);
        fake_leaf(0x8000001f)->ebx = e->ebx;
        fake_leaf(0x80000008)->eax = w->eax;
        for (uint32_t reduced = 1; reduced <= reduction; reduced++) {
            /* Of the width that is left, 48 bits at most are shown, and the guest takes some away. */
            uint32_t left = width - reduction < 48 - reduced ? width - reduction : 48 - reduced;
            config.cbitpos = (uint8_t)c_bit;
            config.reduced_phys_bits = (uint8_t)reduced;
            config.memory = UINT64_C(1) << left;
            assert_true(sev_check_config(&config, text, sizeof text));
            config.memory++;
            assert_false(sev_check_config(&config, text, sizeof text));
        }
    }
}

/* ---- one guest ---- */

static struct psp_result begin(void)
{
    return sev_guest_begin(&guest, &config, &guest);
}

static void what_a_guest_has_after_a_failed_beginning(void **state)
{
    static const struct { uint8_t command; uint16_t status; bool context, active, ready; } cases[] = {
        {0, 0, true, true, true},
        {SEV_CMD_LAUNCH_START, SEV_STATUS_RESOURCE_LIMIT, false, false, true}, {SEV_CMD_LAUNCH_START, SILENT, false, false, false},
        {SEV_CMD_ACTIVATE, SEV_STATUS_ASID_OWNED, true, false, true},
        {SEV_CMD_ACTIVATE, SILENT, true, true, false},      /* the key may be in the ASID's slot */
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_up(state);
        up();
        if (cases[i].command != 0)
            fault_from(cases[i].command, 1, 1, cases[i].status);
        struct psp_result result = begin();
        assert_int_equal(psp_ok(result), cases[i].command == 0);
        assert_int_equal(guest.sev_context, cases[i].context);
        assert_int_equal(guest.sev_active, cases[i].active);
        assert_int_equal(sev_ready(), cases[i].ready);
        if (!cases[i].ready)
            assert_ptr_equal(strstr(sev_refusal(), "the secure processor is given up: command "), sev_refusal());
    }
}

static void memory_goes_in_pieces_with_progress(void **state)
{
    (void)state;
    up();
    begin();
    did[0] = '\0';
    assert_true(psp_ok(sev_guest_update(&guest, gpaddr(0x1000), UINT64_C(40) << 20)));
    char expected[1024];
    const uint64_t base = (MEMORY_BASE + 0x1000) | FAKE_C_BIT;
    snprintf(expected, sizeof expected,
             "data %lx 1000000\n31\nlog 2 launch alpha: encrypted and measured 16 of 40 MiB\n"
             "data %lx 1000000\n31\nlog 2 launch alpha: encrypted and measured 32 of 40 MiB\n"
             "data %lx 800000\n31\nlog 2 launch alpha: encrypted and measured 40 of 40 MiB\n",
             base, base + (16 << 20), base + (32 << 20));
    assert_string_equal(did, expected);
    assert_int_equal(guest.report.psp_bytes, 40 << 20);

    did[0] = '\0';
    assert_true(psp_ok(sev_guest_update(&guest, gpaddr(0), 16 << 20)));     /* one piece is no progress */
    snprintf(expected, sizeof expected, "data %lx 1000000\n31\n", MEMORY_BASE | FAKE_C_BIT);
    assert_string_equal(did, expected);

    did[0] = '\0';
    struct psp_result result = sev_guest_update(&guest, gpaddr(MEMORY - 4096), 8192);
    assert_true(result.error == PSP_LENGTH && result.command == SEV_CMD_LAUNCH_UPDATE_DATA);
    assert_string_equal(did, "");
}

static void memory_whose_encryption_is_not_answered_stays_the_firmwares(void **state)
{
    for (unsigned silent = 0; silent < 2; silent++) {
        set_up(state);
        up();
        begin();
        fault_from(SEV_CMD_LAUNCH_UPDATE_DATA, 2, 1, silent ? SILENT : SEV_STATUS_INVALID_ADDRESS);
        assert_false(psp_ok(sev_guest_update(&guest, gpaddr(0), 48 << 20)));
        assert_int_equal(sent[SEV_CMD_LAUNCH_UPDATE_DATA], 2);
        assert_int_equal(guest.report.psp_bytes, 16 << 20);
        assert_int_equal(guest.sev_memory_given, silent);
        assert_int_equal(sev_ready(), !silent);
    }
}

static void a_silent_measure_or_finish_gives_the_device_up(void **state)
{
    for (unsigned silent = 0; silent < 2; silent++) {
        for (unsigned finish = 0; finish < 2; finish++) {
            set_up(state);
            up();
            begin();
            fault_from(finish ? SEV_CMD_LAUNCH_FINISH : SEV_CMD_LAUNCH_MEASURE, 1, 1, silent ? SILENT : SEV_STATUS_INVALID_GUEST_STATE);
            assert_int_equal(psp_ok(sev_guest_measure(&guest)), finish);
            assert_int_equal(psp_ok(sev_guest_finish(&guest)), !finish);
            assert_int_equal(sev_ready(), !silent);
            assert_int_equal(strstr(sev_refusal(), "given up") != NULL, silent);
        }
    }
}

/* The end of a guest that got as far as ACTIVATE, each command failing once, twice, or without an answer. */
static void an_end_tries_twice_what_is_refused_and_once_what_is_not_answered(void **state)
{
    static const struct { uint8_t command; uint16_t status; unsigned count; const char *sent; bool clean; } cases[] = {
        {0, 0, 0, "22\nwbinvd\n0a\n20\n", true},
        {SEV_CMD_DEACTIVATE, SEV_STATUS_HWERROR_PLATFORM, 1, "22!\n22\nwbinvd\n0a\n20\n", true},
        {SEV_CMD_DEACTIVATE, SEV_STATUS_HWERROR_PLATFORM, 9, "22!\n22!\nwbinvd\n0a\n20\n", false},
        {SEV_CMD_DEACTIVATE, SEV_STATUS_INACTIVE, 9, "22!\nwbinvd\n0a\n20\n", true},     /* that is what was wanted */
        {SEV_CMD_DEACTIVATE, SILENT, 9, "22!\nwbinvd\n0a\n20\n", false},
        {SEV_CMD_DF_FLUSH, SEV_STATUS_WBINVD_REQUIRED, 1, "22\nwbinvd\n0a!\nwbinvd\n0a\n20\n", true},
        {SEV_CMD_DF_FLUSH, SEV_STATUS_WBINVD_REQUIRED, 9, "22\nwbinvd\n0a!\nwbinvd\n0a!\n20\n", false},
        {SEV_CMD_DF_FLUSH, SILENT, 9, "22\nwbinvd\n0a!\n20\n", false},
        {SEV_CMD_DECOMMISSION, SEV_STATUS_INVALID_GUEST, 1, "22\nwbinvd\n0a\n20!\n20\n", true},
        {SEV_CMD_DECOMMISSION, SEV_STATUS_INVALID_GUEST, 9, "22\nwbinvd\n0a\n20!\n20!\n", true},
        /* DEACTIVATE did less than it said: once more, and if the firmware insists, the key is still in the ASID's slot. */
        {SEV_CMD_DECOMMISSION, SEV_STATUS_ACTIVE, 1, "22\nwbinvd\n0a\n20!\n22\nwbinvd\n0a\n20\n", true},
        {SEV_CMD_DECOMMISSION, SEV_STATUS_ACTIVE, 9, "22\nwbinvd\n0a\n20!\n22\nwbinvd\n0a\n20!\n", false},
        {SEV_CMD_DECOMMISSION, SILENT, 9, "22\nwbinvd\n0a\n20!\n", true},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_up(state);
        up();
        begin();
        if (cases[i].command != 0)
            fault_from(cases[i].command, 1, cases[i].count, cases[i].status);
        did[0] = '\0';
        assert_int_equal(sev_guest_end(&guest), cases[i].clean);
        char commands[512] = "";
        unsigned refusals = 0, told = 0;
        for (char *line = strtok(did, "\n"); line != NULL; line = strtok(NULL, "\n")) {
            if (strncmp(line, "log", 3) == 0) {
                told++;
                assert_ptr_equal(strstr(line, "log 1 alpha: command "), line);
                continue;
            }
            refusals += strchr(line, '!') != NULL;
            snprintf(commands + strlen(commands), sizeof commands - strlen(commands), "%s\n", line);
        }
        assert_string_equal(commands, cases[i].sent);
        assert_int_equal(told, cases[i].status == SEV_STATUS_INACTIVE ? 0 : cases[i].status == SEV_STATUS_ACTIVE ? refusals - 1 : refusals);
        assert_false(guest.sev_context || guest.sev_active);
        assert_int_equal(sev_ready(), cases[i].status != SILENT);
        did[0] = '\0';
        assert_true(sev_guest_end(&guest));     /* again: nothing is left to be done */
        assert_string_equal(did, "");
    }
}

/* ACTIVATE was refused, but DECOMMISSION finds the guest active: refused in words only. */
static void an_activation_that_was_refused_in_words_only_is_undone(void **state)
{
    static const struct { uint8_t command; uint16_t status; const char *sent; bool clean; } cases[] = {
        {0, 0, "20!\n22\nwbinvd\n0a\n20\n", true},
        {SEV_CMD_DEACTIVATE, SEV_STATUS_HWERROR_PLATFORM, "20!\n22!\n22!\n20\n", false},
        {SEV_CMD_DF_FLUSH, SILENT, "20!\n22\nwbinvd\n0a!\n20\n", false},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_up(state);
        up();
        fault_from(SEV_CMD_ACTIVATE, 1, 1, SEV_STATUS_HWERROR_PLATFORM);
        begin();
        memset(faults, 0, sizeof faults);
        fault_from(SEV_CMD_DECOMMISSION, 1, 1, SEV_STATUS_ACTIVE);
        if (cases[i].command != 0)
            fault_from(cases[i].command, 1, 9, cases[i].status);
        did[0] = '\0';
        assert_int_equal(sev_guest_end(&guest), cases[i].clean);
        char commands[512] = "";
        for (char *line = strtok(did, "\n"); line != NULL; line = strtok(NULL, "\n"))
            if (strncmp(line, "log", 3) != 0)
                snprintf(commands + strlen(commands), sizeof commands - strlen(commands), "%s\n", line);
        assert_string_equal(commands, cases[i].sent);
        assert_false(guest.sev_context || guest.sev_active);
    }
    /* Refused for good: nothing but DECOMMISSION, which is tried twice. */
    set_up(state);
    up();
    fault_from(SEV_CMD_ACTIVATE, 1, 1, SEV_STATUS_ASID_OWNED);
    begin();
    did[0] = '\0';
    assert_true(sev_guest_end(&guest));
    assert_string_equal(did, "20\n");
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_platform_is_started_once_and_said), T(what_somebody_left_is_shut_down_first), T(a_start_that_fails_refuses_with_its_reason),
        T(without_an_id_the_chip_has_no_name),
        T(firmware_is_loaded_before_init_where_it_is_newer), T(refused_firmware_leaves_the_old_one_at_work), T(old_firmware_is_named),
        T(whether_the_pdh_outlives_init_is_seen_and_said), T(pdh_prints_nothing_that_is_not_known), T(base64_is_that_of_the_rfc),
        T(the_printed_chain_is_whole_and_counted), T(what_the_preflight_found_is_the_reason), T(the_end_is_a_shutdown_once),
        T(a_guest_is_for_this_cpus_c_bit), T(a_guest_for_a_board_is_taken_there_up_to_its_width),
        T(what_a_guest_has_after_a_failed_beginning), T(memory_goes_in_pieces_with_progress),
        T(memory_whose_encryption_is_not_answered_stays_the_firmwares), T(a_silent_measure_or_finish_gives_the_device_up),
        T(an_end_tries_twice_what_is_refused_and_once_what_is_not_answered),
        T(an_activation_that_was_refused_in_words_only_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
