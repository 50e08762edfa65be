/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's side of the Secure Processor: which commands, in which order, and what it keeps in mind of what was answered. */
#include "hv/control/identity.c"
#include "hv/control/sev.c"

#include "hv/control/end.h"
#include "hv/control/jobs.h"
#include "hv/control/launch.h"
#include "hv/control/leak.h"
#include "hv/control/program.h"
#include "hv/control/report.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/smp.h"
#include "hv/monitor/monitor.h"
#include "hv/svm/asid.h"
#include "hv/mm/window.h"
#include "hv/mm/memory.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"

#include "../boards/boards.h"
#include "fake_cpu.h"

#define SILENT 0xffffu /* as a status: the command is not answered */
#define MEMORY (UINT64_C(100) << 20)
#define MEMORY_BASE UINT64_C(0x100000000)

static struct handoff handoff;
static struct sev_request request;
static struct manifest_guest config;
static uint8_t left_in; /* the platform's state when hv comes */
static uint32_t running, offered; /* firmware: what runs, what an image says it is */
static bool pdh_is_made_at_init;
static uint8_t pdh; /* each byte of its key */

/* The answers to a command: from the n-th one on (from 1), for so many times, this status. */
static struct {
    uint8_t command;
    unsigned from, count;
    uint16_t status;
} faults[3];
static unsigned sent[256];

static struct psp_result answer(uint8_t command)
{
    struct psp_result result = {.error = PSP_OK, .command = command};
    sent[command]++;
    for (unsigned i = 0; i < 3; i++) {
        if (faults[i].command != command || sent[command] < faults[i].from ||
            sent[command] >= faults[i].from + faults[i].count)
            continue;
        result.error = faults[i].status == SILENT ? PSP_TIMEOUT : PSP_FIRMWARE;
        result.status = faults[i].status;
    }
    psp.commands++;
    note("%02x%s", command, psp_ok(result) ? "" : "!");
    return result;
}

void psp_result_text(struct psp_result result, char *text, size_t size)
{
    snprintf(text, size, "command %02x error %d status %x", result.command, result.error, result.status);
}

static void runs(struct psp *p)
{
    p->status.api_major = (uint8_t)(running >> 16);
    p->status.api_minor = (uint8_t)(running >> 8);
    p->status.build = (uint8_t)running;
}

/* What was submitted is answered at the third look. */
static struct psp_result outstanding;
static unsigned looks;

static struct psp_result submitted(struct psp *p, uint8_t command)
{
    assert_ptr_equal(p, &psp);
    if (p->dead)
        return (struct psp_result){.error = PSP_DEAD, .command = command};
    assert_int_equal(looks, 0); /* one at a time */
    outstanding = answer(command);
    looks = 3;
    return (struct psp_result){.command = command};
}

bool psp_poll(struct psp *p, struct psp_result *result)
{
    assert_true(p == &psp && looks > 0);
    if (--looks > 0)
        return false;
    *result = outstanding;
    if (outstanding.error == PSP_TIMEOUT)
        p->dead = true;
    return true;
}

struct psp_result psp_wait(struct psp *p, struct psp_result result)
{
    while (psp_ok(result) && !psp_poll(p, &result))
        ;
    return result;
}

struct psp_result psp_attach(struct psp *p, const struct psp_location *location)
{
    if (location->bar == 0)
        return (struct psp_result){.error = PSP_NO_DEVICE};
    assert_int_equal(location->function.ecam, handoff.psp.function.ecam);
    assert_int_equal(location->bar, UINT64_C(0x20f0200000));
    assert_int_equal(location->bar_size, 0x100000);
    p->location = *location;
    p->registers = p;
    p->status = (struct sev_platform_status_buffer){.state = left_in, .owner = left_in};
    runs(p);
    return submitted(p, SEV_CMD_PLATFORM_STATUS);
}

void psp_detach(struct psp *p)
{
    note("detach %d", p == &psp);
    p->registers = NULL;
}

static struct psp_result platform_command(struct psp *p, uint8_t command, uint8_t state_after)
{
    struct psp_result result = submitted(p, command);
    if (psp_ok(result) && psp_ok(outstanding))
        p->status.state = state_after;
    return result;
}

struct psp_result sev_init(struct psp *p)
{
    pdh += pdh_is_made_at_init;
    return platform_command(p, SEV_CMD_INIT, SEV_PLATFORM_INIT);
}

struct psp_result sev_shutdown(struct psp *p)
{
    return platform_command(p, SEV_CMD_SHUTDOWN, SEV_PLATFORM_UNINIT);
}
struct psp_result sev_platform_status(struct psp *p)
{
    return platform_command(p, SEV_CMD_PLATFORM_STATUS, p->status.state);
}
struct psp_result sev_df_flush(struct psp *p)
{
    return platform_command(p, SEV_CMD_DF_FLUSH, p->status.state);
}
struct psp_result sev_get_id(struct psp *p)
{
    return platform_command(p, SEV_CMD_GET_ID, p->status.state);
}

struct psp_result sev_platform_status_answer(struct psp *p, struct psp_result result)
{
    runs(p);
    return result;
}

struct psp_result sev_get_id_answer(struct psp *p, struct psp_result result, uint8_t id[SEV_CHIP_ID_SIZE])
{
    assert_ptr_equal(p, &psp);
    for (unsigned i = 0; i < SEV_CHIP_ID_SIZE && psp_ok(result); i++)
        id[i] = (uint8_t)(0xf0 + i);
    return result;
}

/* Certificates of another value each, whose key, and nothing else, may change. */
struct psp_result sev_pdh_cert_export(struct psp *p, psp_addr_t address)
{
    struct psp_result result = platform_command(p, SEV_CMD_PDH_CERT_EXPORT, p->status.state);
    uint8_t *chain = page_va(paddr(address.raw & ~FAKE_C_BIT));
    if (!psp_ok(outstanding))
        return result;
    for (unsigned i = 0; i < 4; i++)
        memset(chain + i * SEV_CERT_SIZE, (int)('a' + i), SEV_CERT_SIZE);
    memset(chain + SEV_CERT_KEY_AT, pdh, SEV_CERT_KEY_SIZE);
    chain[0] = (uint8_t)sent[SEV_CMD_PDH_CERT_EXPORT]; /* a header that differs makes no other PDH */
    return result;
}

struct psp_result sev_pdh_cert_export_answer(struct psp *p, struct psp_result result)
{
    assert_ptr_equal(p, &psp);
    return result;
}

struct psp_result sev_download_firmware(struct psp *p, psp_addr_t image, uint32_t size)
{
    assert_true(image.raw == 0x5000 && size == 4000);
    struct psp_result result = platform_command(p, SEV_CMD_DOWNLOAD_FIRMWARE, p->status.state);
    if (psp_ok(outstanding))
        running = offered;
    return result;
}

const char *sev_version_fault(uint16_t device_id, uint32_t version)
{
    assert_int_equal(device_id, psp.location.device_id);
    return version < SEV_VERSION(1, 0, 0) ? "is known" : NULL;
}

struct psp_result sev_launch_start(struct psp *p, uint32_t policy, const void *cert, const void *session)
{
    assert_int_equal(policy, 0x01010001);
    assert_true(cert == NULL && session == NULL);
    return platform_command(p, SEV_CMD_LAUNCH_START, SEV_PLATFORM_WORKING);
}

struct psp_result sev_launch_start_answer(struct psp *p, struct psp_result result, uint32_t *handle)
{
    assert_ptr_equal(p, &psp);
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

static struct psp_result with_handle(struct psp *p, uint32_t handle, uint8_t command)
{
    assert_int_equal(handle, 77);
    return platform_command(p, command, p->status.state);
}

struct psp_result sev_launch_measure(struct psp *p, uint32_t handle)
{
    return with_handle(p, handle, SEV_CMD_LAUNCH_MEASURE);
}

struct psp_result sev_launch_measure_answer(struct psp *p, struct psp_result result,
                                            struct sev_measurement *measurement)
{
    assert_true(p == &psp && measurement == &guests[0].measurement);
    return result;
}

struct psp_result sev_launch_finish(struct psp *p, uint32_t handle)
{
    return with_handle(p, handle, SEV_CMD_LAUNCH_FINISH);
}
struct psp_result sev_deactivate(struct psp *p, uint32_t handle)
{
    return with_handle(p, handle, SEV_CMD_DEACTIVATE);
}
struct psp_result sev_decommission(struct psp *p, uint32_t handle)
{
    return with_handle(p, handle, SEV_CMD_DECOMMISSION);
}

void *psp_platform_command_page(psp_addr_t *address)
{
    return address;
}
void *psp_platform_data_page(psp_addr_t *address)
{
    return address;
}
void psp_platform_pause(void)
{
}

void line_print(const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    note("%s", line);
}

/* Not at the first look. */
bool wbinvd_all(struct wbinvd *w)
{
    if (w->ticket++ == 0)
        return false;
    w->ticket = 0;
    note("wbinvd");
    return true;
}

/* ---- what launches and ends ask of others ---- */

struct guest guests[GUEST_MAX];

uint64_t page_free_count(void)
{
    return 64 - fake_pages_left;
}
void memory_stats(struct memory_stats *stats)
{
    *stats = (struct memory_stats){0};
}
bool guest_is_ending(const struct guest *g)
{
    return g == NULL;
}
enum memory_view guest_shared_view(const struct guest *g)
{
    (void)g;
    return VIEW_PLAIN;
}
void guest_count_vcpu(const struct vcpu *vcpu, struct guest_counters *counters)
{
    (void)vcpu, (void)counters;
}
bool extent_set_view(struct extent *extent, enum memory_view view, bool flushed)
{
    (void)flushed;
    extent->view = view;
    return true;
}
bool extent_zero(const struct extent *extent, uint64_t offset, uint64_t size)
{
    (void)extent, (void)offset, (void)size;
    return true;
}
void extent_free(struct extent *extent)
{
    *extent = (struct extent){0};
    note("memory free");
}
void extent_retire(struct extent *extent, uint64_t offset)
{
    (void)extent, (void)offset;
}
bool extent_alloc(uint64_t size, struct extent *out)
{
    *out = (struct extent){.base = paddr(MEMORY_BASE), .size = size};
    return true;
}
uint32_t asid_alloc(enum asid_kind kind)
{
    assert_int_equal(kind, ASID_SEV);
    return 9;
}
void asid_free(uint32_t asid)
{
    note("asid %u free", asid);
}
bool npt_create(struct npt *npt)
{
    (void)npt;
    return true;
}
bool npt_map(struct npt *npt, gpaddr_t gpa, paddr_t base, uint64_t size, enum memory_view view)
{
    (void)npt, (void)gpa, (void)base, (void)size, (void)view;
    return true;
}
void npt_destroy(struct npt *npt)
{
    (void)npt;
}
bool vcpu_create(struct guest *g, uint32_t id, const struct manifest_registers *r, struct vcpu **out)
{
    (void)g, (void)id, (void)r, (void)out;
    return false;
}
void vcpu_destroy(struct vcpu *vcpu)
{
    (void)vcpu;
}
void vuart_reset(struct vuart *uart, struct output *output)
{
    (void)uart, (void)output;
}
void sched_place(struct cpu *cpu, struct vcpu *vcpu)
{
    (void)cpu, (void)vcpu;
}
void sched_add(struct vcpu *vcpu)
{
    (void)vcpu;
}
struct cpu *smp_cpu(uint32_t index)
{
    (void)index;
    return NULL;
}
uint32_t smp_cpus(void)
{
    return 1;
}
void *window_map(paddr_t base, uint64_t size, enum memory_view view)
{
    static uint8_t window[JOB_PIECE];
    assert_true(base.raw >= MEMORY_BASE && size <= sizeof window && view == VIEW_ENCRYPTED);
    return window;
}
void window_unmap(void *va, uint64_t size)
{
    (void)va, (void)size;
}
void cache_flush(const void *va, uint64_t size)
{
    (void)va, (void)size;
}
uint64_t clock_tsc(void)
{
    return 0;
}
uint64_t view_c_bit(void)
{
    return FAKE_C_BIT;
}
const uint8_t *program_payload(uint64_t offset, uint64_t size)
{
    (void)offset, (void)size;
    return NULL;
}
static struct manifest_step program; /* of the guest: one step */
const struct manifest_step *program_step(const struct manifest_guest *g, uint32_t i)
{
    assert_true(g->step_count == 1 && i == 0);
    return &program;
}
void vuart_power_off(struct vuart *uart)
{
    (void)uart;
}
void report_end(const struct guest *g)
{
    (void)g;
}
void report_launch(const struct guest *g)
{
    note("runs %d", g == &guests[0]);
}
void leak_check(void)
{
}
void leak_quarantine(uint64_t asids, uint64_t bytes)
{
    note("quarantine %lu %lu", asids, bytes >> 20);
}

bool guest_ram_address(const struct guest *g, gpaddr_t gpa, uint64_t size, paddr_t *out)
{
    assert_ptr_equal(g, &guests[0]);
    if (gpa.raw > MEMORY || size > MEMORY - gpa.raw)
        return false;
    *out = paddr(MEMORY_BASE + gpa.raw);
    return true;
}

static int set_up(void **state)
{
    fake_reset(state);
    psp = (struct psp){0};
    while (job_active())
        job_finish(sev_job()->kind != JOB_NONE ? sev_job() : job_of(&guests[0]));
    memset(&platform, 0, sizeof platform);
    mailbox_owner = NULL;
    looks = 0;
    memset(&identity, 0, sizeof identity);
    request = (struct sev_request){.image = {0x5000}, .image_version = SEV_VERSION(1, 55, 22)};
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
        .sev_usable = 1,
        .psp = {.function.sbdf = 0x42 << 8 | 3 << 3 | 1,
                .device_id = 0x14ca,
                .bar = UINT64_C(0x20f0200000),
                .bar_size = 0x100000},
    };
    config = (struct manifest_guest){.name = "alpha",
                                     .sev_policy = 0x01010001,
                                     .cbitpos = 51,
                                     .reduced_phys_bits = 5,
                                     .memory = MEMORY,
                                     .step_count = 1,
                                     .encryption = MANIFEST_ENCRYPTION_SEV};
    guests[0] = (struct guest){.config = &config};
    program = (struct manifest_step){.kind = MANIFEST_STEP_ZERO, .gpa = 0x1000, .size = UINT64_C(40) << 20};
    fake_leaves[0] = (struct fake_leaf){0x8000001f, {3, 5 << 6 | 51, 15, 6}};
    fake_leaves[1] = (struct fake_leaf){0x80000008, {0x3030, 0, 0, 0}};
    return 0;
}

/* The loop, as far as it is about jobs. */
static void run_jobs(void)
{
    for (unsigned steps = 0; jobs_step() != JOB_IDLE; steps++)
        assert_true(steps < 10000);
}

static void start_up(void)
{
    sev_start(&handoff, &request);
    run_jobs();
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
    start_up();
    assert_true(sev_ready());
    did[0] = '\0';
    memset(sent, 0, sizeof sent);
}

/* ---- the platform ---- */

static void the_platform_is_started_once_and_said(void **state)
{
    (void)state;
    assert_false(sev_ready());
    start_up();
    assert_true(sev_ready());
    assert_string_equal(
        did,
        "page_alloc 3\n04\nlog 2 sev: INIT\n01\nwbinvd\n0a\n04\n08\n0c\n"
        "log 2 sev: AMD secure processor 1022:14ca at 42:03.1, API 1.55 build 21, state INIT, self-owned, chip f0f1f2f3f4f5f6f7\n");
    did[0] = '\0';
    start_up();
    assert_string_equal(did, "");
    assert_int_equal(sev_commands(), 6);
    assert_int_equal(sev_version().api_minor, 55);
}

static void what_somebody_left_is_shut_down_first(void **state)
{
    static const char *const names[] = {"UNINIT", "INIT", "WORKING", "unknown"};
    char expected[128];
    for (uint8_t s = SEV_PLATFORM_INIT; s <= 3; s++) {
        set_up(state);
        left_in = s;
        start_up();
        snprintf(
            expected, sizeof expected,
            "04\nlog 2 sev: the platform was left in state %s: SHUTDOWN first\n02\nlog 2 sev: INIT\nwbinvd\n01\nwbinvd\n0a\n",
            names[s]);
        assert_non_null(strstr(did, expected));
        assert_int_equal(strstr(did, "externally owned") != NULL, (s & SEV_OWNER_EXTERNAL) != 0);
        assert_true(sev_ready());
    }
}

/* Each command of the start, refused or not answered: what is sent after it, and in which words guests are refused. */
static void a_start_that_fails_refuses_with_its_reason(void **state)
{
    static const struct {
        uint8_t command;
        unsigned nth;
        const char *where, *sent;
    } cases[] = {
        {SEV_CMD_PLATFORM_STATUS, 1, "the secure processor cannot be used: ", "04!\ndetach 1\n"},
        {SEV_CMD_SHUTDOWN, 1, "", "02!\ndetach 1\n"},
        {SEV_CMD_INIT, 1, "", "01!\ndetach 1\n"},
        {SEV_CMD_PLATFORM_STATUS, 2, "", "0a\n04!\ndetach 1\n"},
    };
    char expected[512];
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned silent = 0; silent < 2; silent++) {
            set_up(state);
            left_in = SEV_PLATFORM_WORKING;
            uint16_t status = silent ? SILENT : SEV_STATUS_HWERROR_PLATFORM;
            fault_from(cases[i].command, cases[i].nth, 1, status);
            start_up();
            assert_false(sev_ready());
            snprintf(expected, sizeof expected, "%scommand %02x error %d status %x", cases[i].where, cases[i].command,
                     silent ? PSP_TIMEOUT : PSP_FIRMWARE, status);
            assert_string_equal(sev_refusal(), expected);
            snprintf(expected, sizeof expected, "%slog 1 sev: encrypted guests are refused: %s\n", cases[i].sent,
                     sev_refusal());
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
    start_up();
    assert_true(sev_ready());
    assert_non_null(strstr(did, "self-owned, chip unknown\n"));
    set_up(state);
    fault_from(SEV_CMD_GET_ID, 1, 1, SILENT);
    start_up();
    assert_false(sev_ready());
    assert_string_equal(sev_refusal(), "command 0c error 6 status ffff");
    assert_non_null(strstr(did, "detach 1\n"));
}

static void firmware_is_loaded_before_init_where_it_is_newer(void **state)
{
    static const struct {
        uint32_t offered;
        const char *said;
    } cases[] = {
        {SEV_VERSION(1, 55, 22),
         "0b\n04\nlog 2 sev: DOWNLOAD_FIRMWARE: SEV firmware was 1.55 build 21, is 1.55 build 22 now\nlog 2 sev: INIT\n"},
        {SEV_VERSION(1, 56, 0),
         "0b\n04\nlog 2 sev: DOWNLOAD_FIRMWARE: SEV firmware was 1.55 build 21, is 1.56 build 0 now\nlog 2 sev: INIT\n"},
        {SEV_VERSION(1, 55, 21),
         "log 2 sev: SEV firmware 1.55 build 21 is running; the manifest's is 1.55 build 21, which is not newer: not loaded\nlog 2 sev: INIT\n"},
        {SEV_VERSION(0, 255, 255),
         "log 2 sev: SEV firmware 1.55 build 21 is running; the manifest's is 0.255 build 255, which is not newer: not loaded\nlog 2 sev: INIT\n"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned left = 0; left < 2; left++) {
            set_up(state);
            request.image_size = 4000;
            left_in = left ? SEV_PLATFORM_WORKING : SEV_PLATFORM_UNINIT;
            offered = request.image_version = cases[i].offered;
            start_up();
            assert_true(sev_ready());
            /* Only UNINIT takes firmware: after the SHUTDOWN of what was left. */
            const char *said = strstr(did, cases[i].said), *shut_down = strstr(did, "02\n");
            assert_true(said != NULL && (shut_down != NULL) == left && (!left || said > shut_down));
        }
    }
}

/* As Linux does it: the committed version follows then only. */
static void firmware_before_1_50_is_told_twice(void **state)
{
    for (unsigned minor = 49; minor <= 50; minor++) {
        set_up(state);
        running = SEV_VERSION(1, minor, 0);
        request.image_size = 4000;
        start_up();
        assert_true(sev_ready());
        assert_int_equal(sent[SEV_CMD_DOWNLOAD_FIRMWARE], minor < 50 ? 2 : 1);
        assert_non_null(strstr(did, minor < 50 ? "0b\n0b\n04\nlog 2 sev: DOWNLOAD" : "0b\n04\nlog 2 sev: DOWNLOAD"));
    }
}

/* INIT once more: where the firmware has reset its data; and after WBINVD on all CPUs, where it wants that first, as a
 * real board did (AMDESE/AMDSEV 202). For each reason once. */
static void init_is_repeated_once_for_each_reason(void **state)
{
    static const struct {
        unsigned resets, flushes;
        bool ready;
        const char *sent;
    } cases[] = {
        {1, 0, true, "01!\n01\nwbinvd\n0a\n04\n"},
        {0, 1, true, "01!\nwbinvd\n01\nwbinvd\n0a\n04\n"},
        {1, 1, true, "01!\n01!\nwbinvd\n01\nwbinvd\n0a\n04\n"},
        {2, 0, false, "01!\n01!\ndetach 1\n"},
        {0, 2, false, "01!\nwbinvd\n01!\ndetach 1\n"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_up(state);
        if (cases[i].resets > 0)
            fault_from(SEV_CMD_INIT, 1, cases[i].resets, SEV_STATUS_SECURE_DATA_INVALID);
        if (cases[i].flushes > 0)
            fault_from(SEV_CMD_INIT, 1 + cases[i].resets, cases[i].flushes, SEV_STATUS_WBINVD_REQUIRED);
        start_up();
        assert_int_equal(sev_ready(), cases[i].ready);
        char commands[512] = "";
        for (char *line = strtok(did, "\n"); line != NULL; line = strtok(NULL, "\n"))
            if (strncmp(line, "log", 3) != 0)
                snprintf(commands + strlen(commands), sizeof commands - strlen(commands), "%s\n", line);
        assert_non_null(strstr(commands, cases[i].sent));
    }
}

static void init_without_flush_is_undone(void **state)
{
    (void)state;
    fault_from(SEV_CMD_DF_FLUSH, 1, 9, SEV_STATUS_WBINVD_REQUIRED);
    start_up();
    assert_false(sev_ready());
    assert_non_null(strstr(did, "01\nwbinvd\n0a!\n02\ndetach 1\n"));
    assert_string_equal(sev_refusal(), "command 0a error 11 status e");
    set_up(state);
    fault_from(SEV_CMD_DF_FLUSH, 1, 9, SILENT);
    start_up();
    assert_non_null(strstr(did, "0a!\ndetach 1\n"));
}

static void refused_firmware_leaves_the_old_one_at_work(void **state)
{
    (void)state;
    request.image_size = 4000;
    fault_from(SEV_CMD_DOWNLOAD_FIRMWARE, 1, 1, SEV_STATUS_BAD_SIGNATURE);
    start_up();
    assert_true(sev_ready());
    assert_non_null(
        strstr(did, "0b!\n04\nlog 1 sev: SEV firmware 1.55 build 22 was not loaded: command 0b error 11 status a\n"
                    "log 2 sev: continuing with SEV firmware 1.55 build 21\nlog 2 sev: INIT\n"));
    set_up(state);
    request.image_size = 4000;
    fault_from(SEV_CMD_DOWNLOAD_FIRMWARE, 1, 1, SILENT);
    start_up();
    assert_false(sev_ready());
    assert_string_equal(sev_refusal(), "command 0b error 6 status ffff");
    assert_int_equal(sent[SEV_CMD_INIT], 0);
}

static void old_firmware_is_named(void **state)
{
    (void)state;
    running = SEV_VERSION(0, 17, 11);
    start_up();
    assert_true(sev_ready());
    assert_non_null(strstr(
        did,
        "log 1 sev: the SEV firmware is too old (is known): update the BIOS, or name a newer file as sev-firmware"));
}

/* What was found by trying is said, each way; without the wish nothing is tried. */
static void whether_the_pdh_outlives_init_is_seen_and_said(void **state)
{
    static const char once[] = "01\nwbinvd\n0a\n04\n08\n0c\n",
                      twice[] = "02\nlog 2 sev: INIT\nwbinvd\n01\nwbinvd\n0a\n04\n08\n0c\n";
    for (unsigned made = 0; made < 2; made++) {
        set_up(state);
        pdh_is_made_at_init = made;
        request.pdh = true;
        start_up();
        assert_true(sev_ready());
        const char *second = strstr(did, twice);
        assert_ptr_equal(strstr(did, once) + strlen(once), second);
        assert_ptr_equal(
            strstr(did, made ? "log 2 sev: the PDH does not survive INIT: sessions made before"
                             : "log 2 sev: the PDH survives SHUTDOWN and INIT: sessions made with it stay valid"),
            second + strlen(twice));
        did[0] = '\0';
        identity_show();
        assert_non_null(
            strstr(did, made ? "monitor: the PDH does not survive INIT: sessions made before"
                             : "monitor: the PDH survives SHUTDOWN and INIT: sessions made with it stay valid"));
        set_up(state);
        start_up();
        assert_int_equal(sent[SEV_CMD_INIT], 1);
        assert_null(strstr(did, "PDH"));
        identity_show();
        assert_non_null(
            strstr(did, "monitor: whether the PDH survives INIT is not known: with show-pdh = true in guests.toml"));
    }
    /* Not told at all, then not the second time: no word on what is not known, and the guests can run all the same. */
    for (unsigned nth = 1; nth <= 2; nth++) {
        set_up(state);
        request.pdh = true;
        fault_from(SEV_CMD_PDH_CERT_EXPORT, nth, 9, SEV_STATUS_HWERROR_PLATFORM);
        start_up();
        assert_true(sev_ready());
        assert_int_equal(sent[SEV_CMD_INIT], nth);
        assert_null(strstr(did, "PDH"));
        assert_non_null(
            strstr(did, "log 1 sev: the platform's certificates are unknown: command 08 error 11 status 13\n"));
    }
    set_up(state);
    request.pdh = true;
    fault_from(SEV_CMD_SHUTDOWN, 1, 1, SILENT);
    start_up();
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
    assert_ptr_equal(strstr(did, "sev pdh: -----BEGIN SEV CERTIFICATE CHAIN-----\nsev pdh: AWFhYWFhYWFhYWFhYWFhYVBQ"),
                     did);
}

static void what_the_preflight_found_is_the_reason(void **state)
{
    (void)state;
    handoff.sev_usable = 0;
    strcpy(handoff.sev_refusal, "SMM locked: no; lock it");
    start_up();
    assert_false(sev_ready());
    assert_string_equal(sev_refusal(), "SMM locked: no; lock it");
    assert_string_equal(did, ""); /* it was said already */
    set_up(state);
    handoff.psp = (struct psp_location){.bar = 0};
    start_up();
    assert_false(sev_ready());
    assert_string_equal(sev_refusal(), "the secure processor cannot be used: command 00 error 1 status 0");
    assert_string_equal(
        did,
        "page_alloc 3\nlog 1 sev: encrypted guests are refused: the secure processor cannot be used: command 00 error 1 status 0\n");
}

static void the_end_is_a_shutdown_once(void **state)
{
    (void)state;
    sev_stop();
    assert_string_equal(did, "");
    up();
    sev_stop();
    sev_stop();
    assert_string_equal(did, "02\nwbinvd\nlog 2 sev: SHUTDOWN\ndetach 1\n");
    assert_false(sev_ready());
    set_up(state);
    up();
    fault_from(SEV_CMD_SHUTDOWN, 1, 9, SEV_STATUS_HWERROR_UNSAFE);
    sev_stop();
    assert_string_equal(did, "02!\nlog 1 sev: command 02 error 11 status 14\ndetach 1\n");
}

static void a_guest_is_for_this_cpus_c_bit(void **state)
{
    static const struct {
        uint32_t ebx, width;
        uint8_t cbitpos, reduced;
        uint64_t memory;
        const char *text;
    } cases[] = {
        {5 << 6 | 51, 48, 51, 5, MEMORY, ""},
        {5 << 6 | 47, 48, 47, 1, MEMORY, ""},
        {5 << 6 | 51, 48, 51, 24, UINT64_C(1) << 24, ""},
        {5 << 6 | 47, 48, 51, 5, MEMORY,
         "was packed for C-bit 51, this CPU has it at 47: set cbitpos = 47 in guests.toml"},
        {5 << 6 | 46, 48, 46, 1, MEMORY, ""}, /* it sees 44 bits and subtracts one */
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

/* What was sent since, without what was logged; and how many lines that was. */
static const char *commands_sent(unsigned *told)
{
    static char commands[2048];
    commands[0] = '\0';
    *told = 0;
    for (char *line = strtok(did, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        bool failure = strncmp(line, "log 1 alpha: command ", 21) == 0;
        *told += failure;
        if (strncmp(line, "log", 3) != 0 && strncmp(line, "data", 4) != 0 && strcmp(line, "31") != 0)
            snprintf(commands + strlen(commands), sizeof commands - strlen(commands), "%s\n", line);
    }
    return commands;
}

static void launch(void)
{
    job_begin(job_of(&guests[0]), JOB_LAUNCH, &guests[0]);
    run_jobs();
}

static void what_a_failed_launch_leaves_to_be_undone(void **state)
{
    static const struct {
        uint8_t command;
        uint16_t status;
        bool ready;
        const char *sent;
    } cases[] = {
        {SEV_CMD_LAUNCH_START, SEV_STATUS_RESOURCE_LIMIT, true, "30!\nmemory free\nasid 9 free\n"},
        {SEV_CMD_LAUNCH_START, SILENT, false, "30!\nmemory free\nasid 9 free\n"},
        {SEV_CMD_ACTIVATE, SEV_STATUS_ASID_OWNED, true, "30\n21!\n20\nmemory free\nasid 9 free\n"},
        /* The key may be in the ASID's slot. */
        {SEV_CMD_ACTIVATE, SILENT, false, "30\n21!\nwbinvd\nmemory free\nquarantine 1 0\n"},
        {SEV_CMD_LAUNCH_UPDATE_DATA, SEV_STATUS_INVALID_ADDRESS, true,
         "30\n21\n31!\n22\nwbinvd\n0a\n20\nmemory free\nasid 9 free\n"},
        /* The firmware may still write. */
        {SEV_CMD_LAUNCH_UPDATE_DATA, SILENT, false, "30\n21\n31!\nwbinvd\nquarantine 0 100\nquarantine 1 0\n"},
        {SEV_CMD_LAUNCH_MEASURE, SEV_STATUS_INVALID_GUEST_STATE, true,
         "30\n21\n33!\n22\nwbinvd\n0a\n20\nmemory free\nasid 9 free\n"},
        {SEV_CMD_LAUNCH_MEASURE, SILENT, false, "30\n21\n33!\nwbinvd\nmemory free\nquarantine 1 0\n"},
        {SEV_CMD_LAUNCH_FINISH, SEV_STATUS_INVALID_GUEST_STATE, true,
         "30\n21\n33\n35!\n22\nwbinvd\n0a\n20\nmemory free\nasid 9 free\n"},
        {SEV_CMD_LAUNCH_FINISH, SILENT, false, "30\n21\n33\n35!\nwbinvd\nmemory free\nquarantine 1 0\n"},
    };
    unsigned told;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char reason[64];
        set_up(state);
        up();
        fault_from(cases[i].command, 1, 1, cases[i].status);
        launch();
        assert_string_equal(commands_sent(&told), cases[i].sent);
        assert_int_equal(guests[0].state, GUEST_REFUSED);
        snprintf(reason, sizeof reason, "command %02x error %d", cases[i].command,
                 cases[i].status == SILENT ? PSP_TIMEOUT : PSP_FIRMWARE);
        assert_ptr_equal(strstr(guests[0].end_reason, reason), guests[0].end_reason);
        assert_int_equal(sev_ready(), cases[i].ready);
        assert_int_equal(strstr(sev_refusal(), "an earlier command failed") != NULL, !cases[i].ready);
        did[0] = '\0';
        launch(); /* the next one says at once which command was not answered */
        assert_int_equal(guests[0].state, cases[i].ready ? GUEST_RUNNING : GUEST_REFUSED);
        if (!cases[i].ready)
            assert_string_equal(guests[0].end_reason, sev_refusal());
    }
}

static void memory_goes_in_pieces_with_progress(void **state)
{
    (void)state;
    up();
    launch();
    char expected[4096] = "";
    const uint64_t base = (MEMORY_BASE + 0x1000) | FAKE_C_BIT;
    for (unsigned i = 0; i < 40; i++) {
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "data %lx 100000\n31\n",
                 base + (i << 20));
        if (i == 15 || i == 31 || i == 39)
            snprintf(expected + strlen(expected), sizeof expected - strlen(expected),
                     "log 2 launch alpha: encrypted and measured %u of 40 MiB\n", i + 1);
    }
    strcat(expected, "log 2 launch alpha: LAUNCH_UPDATE_DATA, 40960 KiB encrypted and measured\n33\n");
    assert_non_null(strstr(did, expected));
    assert_int_equal(guests[0].report.psp_bytes, 40 << 20);
    assert_int_equal(guests[0].report.commands, 44);
    assert_int_equal(guests[0].state, GUEST_RUNNING);

    set_up(state);
    up();
    program.size = (UINT64_C(16) << 20) + 16; /* a piece that is smaller is the last */
    launch();
    snprintf(expected, sizeof expected, "data %lx 10\n31\nlog 2 launch alpha: encrypted and measured 16 of 16 MiB\n",
             base + (16 << 20));
    assert_non_null(strstr(did, expected));
    set_up(state);
    up();
    program.size = UINT64_C(16) << 20;
    launch();
    assert_null(strstr(did, "encrypted and measured 16 of")); /* that is no progress */

    set_up(state);
    up();
    program.gpa = MEMORY - 4096;
    program.size = 8192;
    launch();
    assert_string_equal(guests[0].end_reason, "a step of its launch program is outside its memory");
    assert_int_equal(sent[SEV_CMD_LAUNCH_START], 0);
}

/* The end of a guest that got as far as ACTIVATE, each command failing once, twice, or without an answer. */
static void an_end_tries_twice_what_is_refused_and_once_what_is_not_answered(void **state)
{
    static const struct {
        uint8_t command;
        uint16_t status;
        unsigned count;
        const char *sent;
        bool clean;
    } cases[] = {
        {0, 0, 0, "22\nwbinvd\n0a\n20\n", true},
        {SEV_CMD_DEACTIVATE, SEV_STATUS_HWERROR_PLATFORM, 1, "22!\n22\nwbinvd\n0a\n20\n", true},
        {SEV_CMD_DEACTIVATE, SEV_STATUS_HWERROR_PLATFORM, 9, "22!\n22!\nwbinvd\n0a\n20\n", false},
        {SEV_CMD_DEACTIVATE, SEV_STATUS_INACTIVE, 9, "22!\nwbinvd\n0a\n20\n", true}, /* that is what was wanted */
        {SEV_CMD_DEACTIVATE, SILENT, 9, "22!\nwbinvd\n", false},
        {SEV_CMD_DF_FLUSH, SEV_STATUS_WBINVD_REQUIRED, 1, "22\nwbinvd\n0a!\nwbinvd\n0a\n20\n", true},
        {SEV_CMD_DF_FLUSH, SEV_STATUS_WBINVD_REQUIRED, 9, "22\nwbinvd\n0a!\nwbinvd\n0a!\n20\n", false},
        {SEV_CMD_DF_FLUSH, SILENT, 9, "22\nwbinvd\n0a!\n", false},
        {SEV_CMD_DECOMMISSION, SEV_STATUS_INVALID_GUEST, 1, "22\nwbinvd\n0a\n20!\n20\n", true},
        {SEV_CMD_DECOMMISSION, SEV_STATUS_INVALID_GUEST, 9, "22\nwbinvd\n0a\n20!\n20!\n", true},
        /* DEACTIVATE did less than it said: once more, and if the firmware insists, the key is still in the ASID's slot. */
        {SEV_CMD_DECOMMISSION, SEV_STATUS_ACTIVE, 1, "22\nwbinvd\n0a\n20!\n22\nwbinvd\n0a\n20\n", true},
        {SEV_CMD_DECOMMISSION, SEV_STATUS_ACTIVE, 9, "22\nwbinvd\n0a\n20!\n22\nwbinvd\n0a\n20!\n", false},
        {SEV_CMD_DECOMMISSION, SILENT, 9, "22\nwbinvd\n0a\n20!\n", true},
        /* What failed the first time may be made good the second. */
        {SEV_CMD_DEACTIVATE, SEV_STATUS_HWERROR_PLATFORM, 2, "22!\n22!\nwbinvd\n0a\n20!\n22\nwbinvd\n0a\n20\n", true},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_up(state);
        up();
        launch();
        assert_int_equal(guests[0].state, GUEST_RUNNING);
        memset(sent, 0, sizeof sent);
        if (cases[i].command != 0)
            fault_from(cases[i].command, 1, cases[i].count, cases[i].status);
        bool then_active = cases[i].command == SEV_CMD_DEACTIVATE && cases[i].count == 2;
        if (then_active)
            fault_from(SEV_CMD_DECOMMISSION, 1, 1, SEV_STATUS_ACTIVE);
        did[0] = '\0';
        guests[0].end = GUEST_END_POWEROFF;
        job_begin(job_of(&guests[0]), JOB_END, &guests[0]);
        run_jobs();
        char expected[512];
        unsigned told, refusals = 0;
        snprintf(expected, sizeof expected, "%smemory free\n%s", cases[i].sent,
                 cases[i].clean ? "asid 9 free\n" : "quarantine 1 0\n");
        assert_string_equal(commands_sent(&told), expected);
        for (const char *at = cases[i].sent; (at = strchr(at, '!')) != NULL; at++)
            refusals++;
        /* After no answer each command that is not sent any more is told, too. */
        if (cases[i].status != SILENT)
            assert_int_equal(told, cases[i].status == SEV_STATUS_INACTIVE                ? 0
                                   : cases[i].status == SEV_STATUS_ACTIVE || then_active ? refusals - 1
                                                                                         : refusals);
        assert_true(cases[i].status != SILENT || told >= refusals);
        assert_false(guests[0].sev_context || guests[0].sev_active);
        assert_int_equal(guests[0].state, GUEST_ENDED);
        assert_int_equal(sev_ready(), cases[i].status != SILENT);
    }
}

/* ACTIVATE was refused, but DECOMMISSION finds the guest active: refused in words only. */
static void an_activation_that_was_refused_in_words_only_is_undone(void **state)
{
    static const struct {
        uint8_t command;
        uint16_t status;
        const char *sent;
    } cases[] = {
        {0, 0, "20!\n22\nwbinvd\n0a\n20\nmemory free\nasid 9 free\n"},
        {SEV_CMD_DEACTIVATE, SEV_STATUS_HWERROR_PLATFORM, "20!\n22!\n22!\n20\nmemory free\nquarantine 1 0\n"},
        {SEV_CMD_DF_FLUSH, SILENT, "20!\n22\nwbinvd\n0a!\nmemory free\nquarantine 1 0\n"},
    };
    unsigned told;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[256];
        set_up(state);
        up();
        fault_from(SEV_CMD_ACTIVATE, 1, 1, SEV_STATUS_HWERROR_PLATFORM);
        fault_from(SEV_CMD_DECOMMISSION, 1, 1, SEV_STATUS_ACTIVE);
        if (cases[i].command != 0)
            faults[2].command = cases[i].command, faults[2].from = 1, faults[2].count = 9,
            faults[2].status = cases[i].status;
        launch();
        snprintf(expected, sizeof expected, "30\n21!\n%s", cases[i].sent);
        assert_string_equal(commands_sent(&told), expected);
        assert_int_equal(guests[0].state, GUEST_REFUSED);
    }
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_platform_is_started_once_and_said),
        T(what_somebody_left_is_shut_down_first),
        T(a_start_that_fails_refuses_with_its_reason),
        T(without_an_id_the_chip_has_no_name),
        T(firmware_is_loaded_before_init_where_it_is_newer),
        T(refused_firmware_leaves_the_old_one_at_work),
        T(firmware_before_1_50_is_told_twice),
        T(init_is_repeated_once_for_each_reason),
        T(init_without_flush_is_undone),
        T(old_firmware_is_named),
        T(whether_the_pdh_outlives_init_is_seen_and_said),
        T(pdh_prints_nothing_that_is_not_known),
        T(base64_is_that_of_the_rfc),
        T(the_printed_chain_is_whole_and_counted),
        T(what_the_preflight_found_is_the_reason),
        T(the_end_is_a_shutdown_once),
        T(a_guest_is_for_this_cpus_c_bit),
        T(a_guest_for_a_board_is_taken_there_up_to_its_width),
        T(what_a_failed_launch_leaves_to_be_undone),
        T(memory_goes_in_pieces_with_progress),
        T(an_end_tries_twice_what_is_refused_and_once_what_is_not_answered),
        T(an_activation_that_was_refused_in_words_only_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
