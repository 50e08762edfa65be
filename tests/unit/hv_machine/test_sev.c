/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's side of the Secure Processor: which commands, in which order, and what it keeps in mind of what was answered. */
#include "hv/control/identity.c"
#include "hv/control/program.c"
#include "hv/control/psp_platform.c"
#include "hv/control/sev.c"

#include "hv/console/console.h"
#include "hv/control/control.h"
#include "hv/control/end.h"
#include "hv/control/jobs.h"
#include "hv/control/launch.h"
#include "hv/control/leak.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/trap.h"
#include "psp/internal.h"
#include "hv/monitor/monitor.h"
#include "hv/svm/asid.h"
#include "hv/mm/window.h"
#include "hv/mm/memory.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"

#include "../boards/boards.h"
#include "../fake_uart.h"
#include "fake_cpu.h"

#define SILENT 0xffffu /* as a status: the command is not answered */
#define MEMORY (UINT64_C(48) << 20)
#define HZ UINT64_C(1000000000)
#define MEMORY_BASE UINT64_C(0x100000000)

static struct handoff handoff;
static bool sessions; /* of the manifest: made with the PDH */
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

/* ---- the secure processor's mailbox: registers, and pages that the driver names in them ---- */

#define C2PMSG 0x10900u /* of a Rome */
#define SPAN 0x11000u
static uint8_t registers[SPAN];
static struct {
    uint32_t cmdresp, answer; /* what is read there now, and once the command is over */
    uint64_t buffer;
    unsigned looks; /* until then; 0: it is over */
    bool silent;
    uint8_t state; /* the platform's */
} mailbox;

static uint8_t *at(uint64_t address)
{
    assert_int_equal(address & FAKE_C_BIT, FAKE_C_BIT); /* nothing of hv's is plain */
    return page_va(paddr(address & ~FAKE_C_BIT));
}

/* Certificates of another value each, whose key, and nothing else, may change. */
static void export_chain(const struct sev_pdh_cert_export_buffer *buffer)
{
    uint8_t *chain = at(buffer->pdh_paddr);
    assert_int_equal(buffer->certs_paddr, buffer->pdh_paddr + SEV_CERT_SIZE);
    for (unsigned i = 0; i < 4; i++)
        memset(chain + i * SEV_CERT_SIZE, (int)('a' + i), SEV_CERT_SIZE);
    memset(chain + SEV_CERT_KEY_AT, pdh, SEV_CERT_KEY_SIZE);
    chain[0] = (uint8_t)sent[SEV_CMD_PDH_CERT_EXPORT]; /* a header that differs makes no other PDH */
}

static void execute(uint8_t command, void *buffer)
{
    const struct sev_activate_buffer *guest = buffer;
    const struct sev_download_firmware_buffer *image = buffer;
    struct sev_platform_status_buffer *status = buffer;
    struct sev_launch_start_buffer *start = buffer;
    struct sev_launch_measure_buffer *measure = buffer;
    struct sev_get_id_buffer *id = buffer;
    switch (command) {
    case SEV_CMD_INIT:
        mailbox.state = SEV_PLATFORM_INIT;
        pdh += pdh_is_made_at_init;
        break;
    case SEV_CMD_SHUTDOWN:
        mailbox.state = SEV_PLATFORM_UNINIT;
        break;
    case SEV_CMD_PLATFORM_STATUS:
        *status = (struct sev_platform_status_buffer){
            .api_major = (uint8_t)(running >> 16),
            .api_minor = (uint8_t)(running >> 8),
            .build = (uint8_t)running,
            .state = mailbox.state,
            .owner = left_in,
        };
        break;
    case SEV_CMD_DOWNLOAD_FIRMWARE:
        assert_true(image->image_paddr == 0x5000 && image->image_len == 4000);
        running = offered;
        break;
    case SEV_CMD_PDH_CERT_EXPORT:
        export_chain(buffer);
        break;
    case SEV_CMD_GET_ID:
        for (unsigned i = 0; i < SEV_CHIP_ID_SIZE; i++)
            at(id->id_paddr)[i] = (uint8_t)(0xf0 + i);
        break;
    case SEV_CMD_LAUNCH_START:
        assert_int_equal(start->policy, 0x01010001);
        assert_true(start->dh_cert_len == 0 && start->session_len == 0);
        start->handle = 77;
        mailbox.state = SEV_PLATFORM_WORKING;
        break;
    case SEV_CMD_LAUNCH_MEASURE:
        assert_int_equal(guest->handle, 77);
        memset(at(measure->measure_paddr), 'M', sizeof(struct sev_measurement));
        break;
    case SEV_CMD_DF_FLUSH:
        break;
    case SEV_CMD_ACTIVATE:
        assert_int_equal(guest->asid, 9);
        assert_int_equal(guest->handle, 77);
        break;
    default:
        assert_int_equal(guest->handle, 77);
        break;
    }
}

/* Executed at once, and answered at the third look. */
static void ring(uint8_t command)
{
    uint16_t status = SEV_STATUS_SUCCESS;
    assert_int_equal(mailbox.looks, 0); /* one at a time */
    sent[command]++;
    for (unsigned i = 0; i < 3; i++)
        if (faults[i].command == command && sent[command] >= faults[i].from &&
            sent[command] < faults[i].from + faults[i].count)
            status = faults[i].status;
    if (command == SEV_CMD_LAUNCH_UPDATE_DATA) {
        const struct sev_launch_update_data_buffer *data = (const void *)at(mailbox.buffer);
        note("data %lx %x", data->paddr, data->length);
    }
    note("%02x%s", command, status == SEV_STATUS_SUCCESS ? "" : "!");
    if (status == SEV_STATUS_SUCCESS)
        execute(command, mailbox.buffer != 0 ? at(mailbox.buffer) : NULL);
    mailbox.cmdresp = (uint32_t)command << PSP_CMDRESP_CMD_SHIFT;
    mailbox.answer = PSP_CMDRESP_RESP | status;
    mailbox.silent = status == SILENT;
    mailbox.looks = 3;
}

/* Of a command that is never answered each look takes half a second. */
uint32_t mmio_read32(const volatile void *base, uint64_t offset)
{
    assert_ptr_equal(base, registers);
    if (offset == C2PMSG + PSP_C2PMSG_FEATURE)
        return PSP_FEATURE_SEV;
    if (offset != C2PMSG + PSP_C2PMSG_CMDRESP)
        return 0;
    if (mailbox.silent)
        fake_tsc += HZ / 2;
    else if (mailbox.looks > 0 && --mailbox.looks == 0)
        mailbox.cmdresp = mailbox.answer;
    return mailbox.cmdresp;
}

void mmio_write32(volatile void *base, uint64_t offset, uint32_t value)
{
    assert_ptr_equal(base, registers);
    if (offset == C2PMSG + PSP_C2PMSG_ADDR_LO)
        mailbox.buffer = (mailbox.buffer & ~UINT64_C(0xffffffff)) | value;
    else if (offset == C2PMSG + PSP_C2PMSG_ADDR_HI)
        mailbox.buffer = (mailbox.buffer & UINT64_C(0xffffffff)) | (uint64_t)value << 32;
    else if (offset == C2PMSG + PSP_C2PMSG_CMDRESP)
        ring((uint8_t)(value >> PSP_CMDRESP_CMD_SHIFT));
}

volatile void *mmio_map(paddr_t base, uint64_t size)
{
    assert_true(base.raw == UINT64_C(0x20f0200000) && size == SPAN);
    return registers;
}

void mmio_unmap(volatile void *va, uint64_t size)
{
    assert_true(va == registers && size == SPAN);
    note("detach");
}

/* Its command register, which changes. */
static uint32_t configuration(uint32_t address, const uint32_t *value)
{
    assert_true(value == NULL || (address & 0xff) == 4);
    return 0;
}

/* ---- the rest of the machine ---- */

void *window_map(paddr_t base, uint64_t size, enum memory_view view)
{
    static uint8_t window[JOB_PIECE];
    (void)view;
    assert_true(base.raw >= MEMORY_BASE && size <= sizeof(window));
    return window;
}
void window_unmap(void *va, uint64_t size)
{
    (void)va, (void)size;
}

/* A second CPU, which has done its WBINVD a few looks at the clock after it was asked for. */
static struct cpu other_cpu;
static uint32_t lapic[0x400 / 4];

static void other_cpu_answers(void)
{
    static unsigned looks;
    static uint64_t tickets;
    if (lapic[0x300 / 4] == 0) /* its ICR */
        return;
    assert_int_equal(lapic[0x300 / 4], LAPIC_MESSAGE_FIXED | TRAP_WBINVD);
    if (++looks < 4)
        return;
    looks = 0;
    lapic[0x300 / 4] = 0;
    other_cpu.wbinvd_done = ++tickets;
}

/* No guest here is the control guest. */
bool control_open(struct guest *guest)
{
    (void)guest;
    __builtin_trap();
}
bool control_close(struct guest *guest)
{
    return guest->window.size == 0;
}
struct job *control_job(void)
{
    static struct job job;
    return &job;
}
enum job_verdict control_step(struct job *job)
{
    (void)job;
    __builtin_trap();
}

/* What is printed. The driver's own lines are judged with the driver. */
void fake_uart_printed(const char *line)
{
    if (strncmp(line, "error: psp: ", 12) != 0)
        note("%s", line);
}

/* When memory and ASID are free again, between the commands. */
static bool had_memory, had_asid;

static void look_at_pools(void)
{
    static bool looking;
    if (looking)
        return;
    looking = true;
    bool has_memory = memory_free_bytes() != MEMORY, has_asid = asid_free_count(ASID_SEV) == 0;
    if (had_memory && !has_memory)
        note("memory free");
    if (had_asid && !has_asid)
        note("asid 9 free");
    had_memory = has_memory;
    had_asid = has_asid;
    looking = false;
}

/* A manifest, as far as it is a launch program: one guest with one step. */
static struct {
    struct manifest_header header;
    struct manifest_guest guest;
    struct manifest_step step;
} program;

/* What the driver says of a command's failure. */
static const char *said(uint8_t command, uint16_t status)
{
    static char text[SEV_TEXT];
    struct psp_result result = {.command = command, .error = status == SILENT ? PSP_TIMEOUT : PSP_FIRMWARE};
    result.status = status == SILENT ? 0 : status;
    psp_result_text(result, text, sizeof(text));
    return text;
}

__attribute__((format(printf, 1, 2))) static const char *text(const char *format, ...)
{
    static char formatted[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(formatted, sizeof(formatted), format, arguments);
    va_end(arguments);
    return formatted;
}

static int set_up(void **state)
{
    fake_reset(state);
    fake_cpu.features.sme_coherent = true; /* as a Rome's are */
    other_cpu = (struct cpu){.self = &other_cpu, .index = 1, .apic_id = 1, .wbinvd_done = other_cpu.wbinvd_done};
    psp = (struct psp){0};
    memset(&mailbox, 0, sizeof(mailbox));
    mailbox.cmdresp = PSP_CMDRESP_RESP; /* that an earlier owner's command was answered */
    while (job_active())
        job_finish(sev_job()->kind != JOB_NONE ? sev_job() : job_of(&guests[0]));
    memset(&platform, 0, sizeof(platform));
    mailbox_owner = NULL;
    memset(&identity, 0, sizeof(identity));
    sessions = false;
    running = SEV_VERSION(1, 55, 21);
    offered = SEV_VERSION(1, 55, 22);
    pdh_is_made_at_init = false;
    pdh = 'P';
    ready = false;
    text_format(refusal, sizeof(refusal), "not started");
    left_in = mailbox.state = SEV_PLATFORM_UNINIT;
    memset(faults, 0, sizeof(faults));
    memset(sent, 0, sizeof(sent));
    handoff = (struct handoff){
        .manifest_base = 0x4000,
        .sev_usable = 1,
        .arena_base = POOL_BASE,
        .arena_size = POOL_PAGES * PAGE_SIZE,
        .c_bit_mask = FAKE_C_BIT,
        .range_count = 1,
        .ranges[0] = {.base = MEMORY_BASE, .pages = MEMORY / PAGE_SIZE, .kind = HANDOFF_USABLE},
        .psp = {.function.sbdf = 0x42 << 8 | 3 << 3 | 1,
                .device_id = 0x1486,
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
    program.header = (struct manifest_header){
        .guest_count = 1, .step_count = 1, .payload_offset = 0x1000, .sev_firmware_version = {22, 55, 1}};
    program.step = (struct manifest_step){.kind = MANIFEST_STEP_ZERO, .gpa = 0x1000, .size = UINT64_C(40) << 20};
    source.table = (const uint8_t *)&program;
    fake_cpu.features.encryption.ebx = 5 << 6 | 51;
    fake_cpu.features.phys_bits = 48;
    fake_leaves[0] = (struct fake_leaf){1, {0, 8 << 8, 0, 0}}; /* lines of 64 bytes */
    fake_config = configuration;
    clock_init(HZ, 0, 0);
    console_init(&fake_uart);
    view_init(&handoff);
    page_init(&handoff);
    static bool has_pages; /* the driver: for good */
    psp_addr_t address;
    paddr_t page;
    for (unsigned i = 0; i < 2 && has_pages; i++)
        assert_true(page_alloc(1, &page));
    psp_platform_command_page(&address);
    psp_platform_data_page(&address);
    has_pages = true;
    memory_init(&handoff);
    asid_init(10, 9, 9);
    lapic_use_registers(lapic);
    smp_add(&fake_cpu, true);
    smp_add(&other_cpu, true);
    had_memory = had_asid = false;
    fake_noting = look_at_pools;
    fake_rdtsc_seen = other_cpu_answers;
    did[0] = '\0';
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
    sev_start(&handoff, sessions);
    leak_mark();
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
    memset(sent, 0, sizeof(sent));
}

/* ---- the platform ---- */

static void the_platform_is_started_and_said(void **state)
{
    (void)state;
    assert_false(sev_ready());
    start_up();
    assert_true(sev_ready());
    assert_string_equal(
        did,
        "04\nnotice: sev: INIT\n01\nwbinvd\n0a\n04\n08\n0c\n"
        "notice: sev: AMD secure processor 1022:1486 at 42:03.1, API 1.55 build 21, state INIT, self-owned, chip f0f1f2f3f4f5f6f7\n");
    assert_int_equal(sev_psp()->commands, 6);
    assert_int_equal(sev_psp()->status.api_minor, 55);
}

static void what_somebody_left_is_shut_down_first(void **state)
{
    static const char *const names[] = {"UNINIT", "INIT", "WORKING"};
    char expected[128];
    for (uint8_t s = SEV_PLATFORM_INIT; s <= SEV_PLATFORM_WORKING; s++) {
        set_up(state);
        left_in = mailbox.state = s;
        start_up();
        snprintf(
            expected, sizeof(expected),
            "04\nnotice: sev: the platform was left in state %s: SHUTDOWN first\n02\nnotice: sev: INIT\nwbinvd\n01\nwbinvd\n0a\n",
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
        {SEV_CMD_PLATFORM_STATUS, 1, "the secure processor cannot be used: ", "04!\ndetach\n"},
        {SEV_CMD_SHUTDOWN, 1, "", "02!\ndetach\n"},
        {SEV_CMD_INIT, 1, "", "01!\ndetach\n"},
        {SEV_CMD_PLATFORM_STATUS, 2, "", "0a\n04!\ndetach\n"},
    };
    char expected[512];
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        for (unsigned silent = 0; silent < 2; silent++) {
            set_up(state);
            left_in = mailbox.state = SEV_PLATFORM_WORKING;
            uint16_t status = silent ? SILENT : SEV_STATUS_HWERROR_PLATFORM;
            fault_from(cases[i].command, cases[i].nth, 1, status);
            start_up();
            assert_false(sev_ready());
            snprintf(expected, sizeof(expected), "%s%s", cases[i].where, said(cases[i].command, status));
            assert_string_equal(sev_refusal(), expected);
            snprintf(expected, sizeof(expected), "%serror: sev: encrypted guests are refused: %s\n", cases[i].sent,
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
    assert_string_equal(sev_refusal(), said(SEV_CMD_GET_ID, SILENT));
    assert_non_null(strstr(did, "detach\n"));
}

static void firmware_is_loaded_before_init_where_it_is_newer(void **state)
{
    static const struct {
        uint32_t offered;
        const char *said;
    } cases[] = {
        {SEV_VERSION(1, 55, 22),
         "0b\n04\nnotice: sev: DOWNLOAD_FIRMWARE: SEV firmware was 1.55 build 21, is 1.55 build 22 now\nnotice: sev: INIT\n"},
        {SEV_VERSION(1, 56, 0),
         "0b\n04\nnotice: sev: DOWNLOAD_FIRMWARE: SEV firmware was 1.55 build 21, is 1.56 build 0 now\nnotice: sev: INIT\n"},
        {SEV_VERSION(1, 55, 21),
         "notice: sev: SEV firmware 1.55 build 21 is running; the manifest's is 1.55 build 21, which is not newer: not loaded\nnotice: sev: INIT\n"},
        {SEV_VERSION(0, 255, 255),
         "notice: sev: SEV firmware 1.55 build 21 is running; the manifest's is 0.255 build 255, which is not newer: not loaded\nnotice: sev: INIT\n"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        for (unsigned left = 0; left < 2; left++) {
            set_up(state);
            program.header.sev_firmware_size = 4000;
            left_in = mailbox.state = left ? SEV_PLATFORM_WORKING : SEV_PLATFORM_UNINIT;
            offered = cases[i].offered;
            for (unsigned at = 0; at < 3; at++)
                program.header.sev_firmware_version[at] = (uint8_t)(offered >> 8 * at);
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
        program.header.sev_firmware_size = 4000;
        start_up();
        assert_true(sev_ready());
        assert_int_equal(sent[SEV_CMD_DOWNLOAD_FIRMWARE], minor < 50 ? 2 : 1);
        assert_non_null(
            strstr(did, minor < 50 ? "0b\n0b\n04\nnotice: sev: DOWNLOAD" : "0b\n04\nnotice: sev: DOWNLOAD"));
    }
}

/* Of the lines of did[]: sent to the secure processor, or done to the caches. */
static bool is_command(const char *line)
{
    return strcmp(line, "wbinvd") == 0 || strcmp(line, "detach") == 0 ||
           (strspn(line, "0123456789abcdef") == 2 && (line[2] == '\0' || strcmp(line + 2, "!") == 0));
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
        {2, 0, false, "01!\n01!\ndetach\n"},
        {0, 2, false, "01!\nwbinvd\n01!\ndetach\n"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        set_up(state);
        if (cases[i].resets > 0)
            fault_from(SEV_CMD_INIT, 1, cases[i].resets, SEV_STATUS_SECURE_DATA_INVALID);
        if (cases[i].flushes > 0)
            fault_from(SEV_CMD_INIT, 1 + cases[i].resets, cases[i].flushes, SEV_STATUS_WBINVD_REQUIRED);
        start_up();
        assert_int_equal(sev_ready(), cases[i].ready);
        char commands[512] = "";
        for (char *line = strtok(did, "\n"); line != NULL; line = strtok(NULL, "\n"))
            if (is_command(line))
                snprintf(commands + strlen(commands), sizeof(commands) - strlen(commands), "%s\n", line);
        assert_non_null(strstr(commands, cases[i].sent));
    }
}

static void init_without_flush_is_undone(void **state)
{
    (void)state;
    fault_from(SEV_CMD_DF_FLUSH, 1, 9, SEV_STATUS_WBINVD_REQUIRED);
    start_up();
    assert_false(sev_ready());
    assert_non_null(strstr(did, "01\nwbinvd\n0a!\n02\ndetach\n"));
    assert_string_equal(sev_refusal(), said(SEV_CMD_DF_FLUSH, SEV_STATUS_WBINVD_REQUIRED));
    set_up(state);
    fault_from(SEV_CMD_DF_FLUSH, 1, 9, SILENT);
    start_up();
    assert_non_null(strstr(did, "0a!\ndetach\n"));
}

static void refused_firmware_leaves_the_old_one_at_work(void **state)
{
    (void)state;
    program.header.sev_firmware_size = 4000;
    fault_from(SEV_CMD_DOWNLOAD_FIRMWARE, 1, 1, SEV_STATUS_BAD_SIGNATURE);
    start_up();
    assert_true(sev_ready());
    assert_non_null(strstr(did, text("0b!\n04\nerror: sev: SEV firmware 1.55 build 22 was not loaded: %s\n"
                                     "notice: sev: continuing with SEV firmware 1.55 build 21\nnotice: sev: INIT\n",
                                     said(SEV_CMD_DOWNLOAD_FIRMWARE, SEV_STATUS_BAD_SIGNATURE))));
    set_up(state);
    program.header.sev_firmware_size = 4000;
    fault_from(SEV_CMD_DOWNLOAD_FIRMWARE, 1, 1, SILENT);
    start_up();
    assert_false(sev_ready());
    assert_string_equal(sev_refusal(), said(SEV_CMD_DOWNLOAD_FIRMWARE, SILENT));
    assert_int_equal(sent[SEV_CMD_INIT], 0);
}

/* What was found by trying is said, each way; without the wish nothing is tried. */
static void whether_the_pdh_outlives_init_is_seen_and_said(void **state)
{
    static const char once[] = "01\nwbinvd\n0a\n04\n08\n0c\n",
                      twice[] = "02\nnotice: sev: INIT\nwbinvd\n01\nwbinvd\n0a\n04\n08\n0c\n";
    for (unsigned made = 0; made < 2; made++) {
        set_up(state);
        pdh_is_made_at_init = made;
        sessions = true;
        start_up();
        assert_true(sev_ready());
        const char *second = strstr(did, twice);
        assert_ptr_equal(strstr(did, once) + strlen(once), second);
        assert_ptr_equal(
            strstr(did, made ? "notice: sev: the PDH does not survive INIT: sessions made before"
                             : "notice: sev: the PDH survives SHUTDOWN and INIT: sessions made with it stay valid"),
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
        sessions = true;
        fault_from(SEV_CMD_PDH_CERT_EXPORT, nth, 9, SEV_STATUS_HWERROR_PLATFORM);
        start_up();
        assert_true(sev_ready());
        assert_int_equal(sent[SEV_CMD_INIT], nth);
        assert_null(strstr(did, "the PDH"));
        assert_non_null(strstr(did, text("error: sev: the platform's certificates are unknown: %s\n",
                                         said(SEV_CMD_PDH_CERT_EXPORT, SEV_STATUS_HWERROR_PLATFORM))));
    }
    set_up(state);
    sessions = true;
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
    for (unsigned i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
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
    handoff.psp = (struct psp_location){0};
    start_up();
    assert_false(sev_ready());
    assert_string_equal(sev_refusal(), "the secure processor cannot be used: no AMD Secure Processor with SEV");
    assert_string_equal(
        did,
        "error: sev: encrypted guests are refused: the secure processor cannot be used: no AMD Secure Processor with SEV\n");
}

#define AT_THE_END "notice: sev: SHUTDOWN (Ctrl-] q powers off without its answer)\n"

static void the_end_is_a_shutdown_once(void **state)
{
    (void)state;
    sev_stop();
    assert_string_equal(did, "");
    up();
    sev_stop();
    sev_stop();
    assert_true(job_active());
    assert_false(sev_ready());
    run_jobs();
    sev_stop();
    assert_string_equal(did, AT_THE_END "wbinvd\n02\ndetach\n");
    assert_false(job_active());
    set_up(state);
    up();
    fault_from(SEV_CMD_SHUTDOWN, 1, 9, SEV_STATUS_HWERROR_UNSAFE);
    sev_stop();
    run_jobs();
    assert_string_equal(did, text(AT_THE_END "wbinvd\n02!\nerror: sev: %s\ndetach\n",
                                  said(SEV_CMD_SHUTDOWN, SEV_STATUS_HWERROR_UNSAFE)));
}

/* The loop goes on with keys in between: each step is a look. */
static void a_shutdown_that_is_not_answered_holds_no_step_up(void **state)
{
    (void)state;
    up();
    fault_from(SEV_CMD_SHUTDOWN, 1, 1, SILENT);
    uint64_t begin = fake_tsc;
    unsigned steps = 0;
    sev_stop();
    assert_int_equal(jobs_step(), JOB_WAITS); /* for the other CPU's WBINVD */
    while (job_active()) {
        uint64_t before = fake_tsc;
        jobs_step();
        assert_true(fake_tsc - before <= HZ);
        steps++;
    }
    assert_true(steps > 100 && fake_tsc - begin >= 100 * HZ && fake_tsc - begin < 110 * HZ);
    assert_string_equal(did, text(AT_THE_END "wbinvd\n02!\nerror: sev: %s\ndetach\n", said(SEV_CMD_SHUTDOWN, SILENT)));
}

static void the_operator_need_not_wait_for_it(void **state)
{
    (void)state;
    assert_false(sev_abandon_stop());
    up();
    assert_false(sev_abandon_stop());
    for (unsigned steps = 1; steps < 20; steps++) {
        set_up(state);
        up();
        fault_from(SEV_CMD_SHUTDOWN, 1, 1, SILENT);
        sev_stop();
        for (unsigned i = 0; i < steps; i++)
            assert_int_not_equal(jobs_step(), JOB_IDLE);
        assert_true(sev_abandon_stop());
        assert_false(sev_abandon_stop());
        assert_false(job_active());
        assert_false(sev_starting()); /* a guest that is launched again does not wait for it */
        assert_false(sev_ready());
        assert_string_equal(sev_refusal(), "no guest was left, so the SEV platform is shut down");
        assert_string_equal(did + strlen(did) - 7, "detach\n");
    }
    assert_int_equal(sent[SEV_CMD_SHUTDOWN], 1);
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
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char text[256] = "";
        fake_cpu.features.encryption.ebx = cases[i].ebx;
        fake_cpu.features.phys_bits = cases[i].width;
        config.cbitpos = cases[i].cbitpos;
        config.reduced_phys_bits = cases[i].reduced;
        config.memory = cases[i].memory;
        assert_int_equal(sev_check_config(&config, text, sizeof(text)), cases[i].text[0] == '\0');
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
        fake_cpu.features.encryption.ebx = e->ebx;
        fake_cpu.features.phys_bits = width;
        for (uint32_t reduced = 1; reduced <= reduction; reduced++) {
            /* Of the width that is left, 48 bits at most are shown, and the guest takes some away. */
            uint32_t left = width - reduction < 48 - reduced ? width - reduction : 48 - reduced;
            config.cbitpos = (uint8_t)c_bit;
            config.reduced_phys_bits = (uint8_t)reduced;
            config.memory = UINT64_C(1) << left;
            assert_true(sev_check_config(&config, text, sizeof(text)));
            config.memory++;
            assert_false(sev_check_config(&config, text, sizeof(text)));
        }
    }
}

/* ---- one guest ---- */

/* What was sent and freed since, and whether all is back that a guest had; and how many failures were logged. */
static const char *commands_sent(unsigned *told)
{
    static char commands[2048];
    commands[0] = '\0';
    *told = 0;
    for (char *line = strtok(did, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        *told += strncmp(line, "error: alpha: ", 14) == 0 && strstr(line, "in quarantine") == NULL;
        char *verdict = strncmp(line, "resources: ", 11) == 0 ? strstr(line, "MiB free: ") : NULL;
        if (verdict != NULL)
            line = verdict + strlen("MiB free: ");
        if (verdict != NULL || (is_command(line) && strcmp(line, "31") != 0) || strstr(line, " free") != NULL)
            snprintf(commands + strlen(commands), sizeof(commands) - strlen(commands), "%s\n", line);
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
        {SEV_CMD_LAUNCH_START, SEV_STATUS_RESOURCE_LIMIT, true, "30!\nmemory free\nasid 9 free\nall returned\n"},
        {SEV_CMD_LAUNCH_START, SILENT, false, "30!\nmemory free\nasid 9 free\nall returned\n"},
        {SEV_CMD_ACTIVATE, SEV_STATUS_ASID_OWNED, true, "30\n21!\n20\nmemory free\nasid 9 free\nall returned\n"},
        /* The key may be in the ASID's slot. */
        {SEV_CMD_ACTIVATE, SILENT, false,
         "30\n21!\nwbinvd\nmemory free\nall returned but a quarantine of 1 ASIDs, 0 MiB\n"},
        {SEV_CMD_LAUNCH_UPDATE_DATA, SEV_STATUS_INVALID_ADDRESS, true,
         "30\n21\n31!\n22\nwbinvd\n0a\n20\nmemory free\nasid 9 free\nall returned\n"},
        /* The firmware may still write. */
        {SEV_CMD_LAUNCH_UPDATE_DATA, SILENT, false,
         "30\n21\n31!\nwbinvd\nall returned but a quarantine of 1 ASIDs, 48 MiB\n"},
        {SEV_CMD_LAUNCH_MEASURE, SEV_STATUS_INVALID_GUEST_STATE, true,
         "30\n21\n33!\n22\nwbinvd\n0a\n20\nmemory free\nasid 9 free\nall returned\n"},
        {SEV_CMD_LAUNCH_MEASURE, SILENT, false,
         "30\n21\n33!\nwbinvd\nmemory free\nall returned but a quarantine of 1 ASIDs, 0 MiB\n"},
        {SEV_CMD_LAUNCH_FINISH, SEV_STATUS_INVALID_GUEST_STATE, true,
         "30\n21\n33\n35!\n22\nwbinvd\n0a\n20\nmemory free\nasid 9 free\nall returned\n"},
        {SEV_CMD_LAUNCH_FINISH, SILENT, false,
         "30\n21\n33\n35!\nwbinvd\nmemory free\nall returned but a quarantine of 1 ASIDs, 0 MiB\n"},
    };
    unsigned told;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        set_up(state);
        up();
        fault_from(cases[i].command, 1, 1, cases[i].status);
        launch();
        assert_string_equal(commands_sent(&told), cases[i].sent);
        assert_int_equal(guests[0].state, GUEST_REFUSED);
        assert_string_equal(guests[0].end_reason, said(cases[i].command, cases[i].status));
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
        snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected), "data %lx 100000\n31\n",
                 base + (i << 20));
        if (i == 15 || i == 31 || i == 39)
            snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected),
                     "notice: launch alpha: encrypted and measured %u of 40 MiB\n", i + 1);
    }
    strcat(expected, "notice: launch alpha: LAUNCH_UPDATE_DATA, 40960 KiB encrypted and measured\n33\n");
    assert_non_null(strstr(did, expected));
    assert_int_equal(guests[0].report.psp_bytes, 40 << 20);
    assert_int_equal(guests[0].report.commands, 44);
    assert_int_equal(guests[0].measurement.measure[0], 'M');
    assert_int_equal(guests[0].state, GUEST_RUNNING);

    set_up(state);
    up();
    program.step.size = (UINT64_C(16) << 20) + PAGE_SIZE; /* a piece that is smaller is the last */
    launch();
    snprintf(expected, sizeof(expected),
             "data %lx 1000\n31\nnotice: launch alpha: encrypted and measured 16 of 16 MiB\n", base + (16 << 20));
    assert_non_null(strstr(did, expected));
    set_up(state);
    up();
    program.step.size = UINT64_C(16) << 20;
    launch();
    assert_null(strstr(did, "encrypted and measured 16 of")); /* that is no progress */

    set_up(state);
    up();
    program.step.gpa = MEMORY - 4096;
    program.step.size = 8192;
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
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        set_up(state);
        up();
        launch();
        assert_int_equal(guests[0].state, GUEST_RUNNING);
        memset(sent, 0, sizeof(sent));
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
        /* Its memory was under its key. */
        snprintf(expected, sizeof(expected), "%swbinvd\nmemory free\n%s", cases[i].sent,
                 cases[i].clean ? "asid 9 free\nall returned\n" : "all returned but a quarantine of 1 ASIDs, 0 MiB\n");
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
        {0, 0, "20!\n22\nwbinvd\n0a\n20\nmemory free\nasid 9 free\nall returned\n"},
        {SEV_CMD_DEACTIVATE, SEV_STATUS_HWERROR_PLATFORM,
         "20!\n22!\n22!\n20\nmemory free\nall returned but a quarantine of 1 ASIDs, 0 MiB\n"},
        {SEV_CMD_DF_FLUSH, SILENT,
         "20!\n22\nwbinvd\n0a!\nmemory free\nall returned but a quarantine of 1 ASIDs, 0 MiB\n"},
    };
    unsigned told;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char expected[256];
        set_up(state);
        up();
        fault_from(SEV_CMD_ACTIVATE, 1, 1, SEV_STATUS_HWERROR_PLATFORM);
        fault_from(SEV_CMD_DECOMMISSION, 1, 1, SEV_STATUS_ACTIVE);
        if (cases[i].command != 0)
            faults[2].command = cases[i].command, faults[2].from = 1, faults[2].count = 9,
            faults[2].status = cases[i].status;
        launch();
        snprintf(expected, sizeof(expected), "30\n21!\n%s", cases[i].sent);
        assert_string_equal(commands_sent(&told), expected);
        assert_int_equal(guests[0].state, GUEST_REFUSED);
    }
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_platform_is_started_and_said),
        T(what_somebody_left_is_shut_down_first),
        T(a_start_that_fails_refuses_with_its_reason),
        T(without_an_id_the_chip_has_no_name),
        T(firmware_is_loaded_before_init_where_it_is_newer),
        T(refused_firmware_leaves_the_old_one_at_work),
        T(firmware_before_1_50_is_told_twice),
        T(init_is_repeated_once_for_each_reason),
        T(init_without_flush_is_undone),
        T(whether_the_pdh_outlives_init_is_seen_and_said),
        T(pdh_prints_nothing_that_is_not_known),
        T(base64_is_that_of_the_rfc),
        T(the_printed_chain_is_whole_and_counted),
        T(what_the_preflight_found_is_the_reason),
        T(the_end_is_a_shutdown_once),
        T(a_shutdown_that_is_not_answered_holds_no_step_up),
        T(the_operator_need_not_wait_for_it),
        T(a_guest_is_for_this_cpus_c_bit),
        T(a_guest_for_a_board_is_taken_there_up_to_its_width),
        T(what_a_failed_launch_leaves_to_be_undone),
        T(memory_goes_in_pieces_with_progress),
        T(an_end_tries_twice_what_is_refused_and_once_what_is_not_answered),
        T(an_activation_that_was_refused_in_words_only_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
