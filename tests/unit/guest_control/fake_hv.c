/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's side of guest/control.h: answers at the doorbell. What no control guest may do ends the program. */
#include "tests/unit/guest_control/fake_hv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/control/machine.h"
#include "guest/manifest_format.h"
#include "tests/unit/guest_control/fake_lab.h"
#include "tests/unit/guest_control/fake_moves.h"

#define C_BIT (UINT64_C(1) << 51)
#define PAGE 4096u

struct fake_hv fake_hv;
static _Alignas(4096) uint8_t window[CONTROL_WINDOW_SIZE];
static uint32_t events;

volatile uint8_t *machine_window(void)
{
    return window;
}

void fake_require(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "the control guest breaks guest/control.h: %s\n", what);
    abort();
}

/* ------------------------------------------------------------- guests */

static void entry(struct fake_guest *guest, uint32_t table, uint32_t index, uint64_t value)
{
    memcpy(guest->memory + table + index * 8, &value, sizeof(value));
}

/* The low 64 KiB mapped to themselves, with one page shared, and 2 MiB at FAKE_HIGH. */
static void page_tables(struct fake_guest *guest)
{
    memset(guest->memory + 0x1000, 0, 0x6000);
    entry(guest, 0x1000, 0, 0x2003 | C_BIT);
    entry(guest, 0x2000, 0, 0x3003 | C_BIT);
    entry(guest, 0x3000, 0, 0x4003 | C_BIT);
    for (uint32_t page = 0; page < FAKE_MEMORY / PAGE; page++)
        entry(guest, 0x4000, page, page * PAGE | 3 | (page * PAGE == FAKE_SHARED_PAGE ? 0 : C_BIT));
    entry(guest, 0x1000, 511, 0x5003 | C_BIT);
    entry(guest, 0x5000, 510, 0x6003 | C_BIT);
    entry(guest, 0x6000, 0, 0x83 | C_BIT);
}

static void make_guest(uint32_t index, const char *name, uint32_t encryption, uint32_t state, uint32_t policy)
{
    struct fake_guest *guest = &fake_hv.guests[index];

    strcpy(guest->info.name, name);
    guest->info.encryption = encryption;
    guest->info.state = state;
    guest->info.policy = policy;
    guest->info.vcpus = index == FAKE_LINUX ? 2 : 1;
    guest->info.memory = FAKE_MEMORY;
    guest->info.launches = 1;
    for (uint32_t i = 0; i < sizeof(guest->info.digest); i++)
        guest->info.digest[i] = (uint8_t)(index * 16 + i);
    for (uint32_t i = 0; i < FAKE_MEMORY; i++)
        guest->memory[i] = (uint8_t)(i * 7 + i / 256);
    for (uint32_t i = 0; i < 2; i++) {
        struct control_vcpu *vcpu = &guest->vcpus[i];

        vcpu->rip = 0x9000 + i * 0x100;
        vcpu->rsp = 0xb000;
        vcpu->rax = UINT64_C(0x1122334455667788) + i;
        vcpu->rflags = 2;
        vcpu->cr0 = 0x80000011;
        vcpu->cr3 = 0x1000;
        vcpu->cr4 = 0x20;
        vcpu->efer = 0x500;
        vcpu->dr7 = 0x400;
        vcpu->cs.selector = 0x10;
        vcpu->cpu = i + 2;
    }
    page_tables(guest);
}

static void make(void)
{
    fake_hv.platform = (struct control_platform){.version = 1,
                                                 .guests = FAKE_GUESTS,
                                                 .self = FAKE_CONTROL,
                                                 .cpus = 4,
                                                 .api_major = 1,
                                                 .api_minor = 55,
                                                 .build = 24,
                                                 .state = 2,
                                                 .sev_ready = 1,
                                                 .asids = 509,
                                                 .asids_used = 2,
                                                 .tsc_khz = 2000000};
    make_guest(FAKE_CONTROL, "control", MANIFEST_ENCRYPTION_HOST, CONTROL_STATE_RUNNING, 0);
    make_guest(FAKE_LINUX, "linux", MANIFEST_ENCRYPTION_SEV, CONTROL_STATE_RUNNING, 0);
    make_guest(FAKE_HELLO, "hello", MANIFEST_ENCRYPTION_SEV, CONTROL_STATE_RUNNING, 1);
    make_guest(FAKE_PLAIN, "plain", MANIFEST_ENCRYPTION_NONE, CONTROL_STATE_ENDED, 0);
    make_guest(FAKE_OPEN, "open", MANIFEST_ENCRYPTION_NONE, CONTROL_STATE_RUNNING, 0);
    memset(fake_hv.guests[FAKE_LINUX].info.measure, 0x4d, 32);
    memset(fake_hv.guests[FAKE_LINUX].info.mnonce, 0x4e, 16);
    fake_hv.guests[FAKE_LINUX].info.secret_gpa = FAKE_SECRET_GPA;
    fake_hv.guests[FAKE_LINUX].info.secret_size = 64;
    fake_moves_make();
    strcpy(fake_hv.log, "sevisor: the log\n");
    fake_hv.log_length = (uint32_t)strlen(fake_hv.log);
}

/* As it is at first, which the fuzzer wants often. */
void fake_start(void)
{
    static const struct control_header header = {.magic = CONTROL_MAGIC, .version = CONTROL_VERSION};
    static struct fake_hv fresh;
    static bool made;

    if (!made) {
        make();
        fresh = fake_hv;
        made = true;
    }
    fake_hv = fresh;
    memset(&fake_lab, 0, sizeof(fake_lab));
    memset(window, 0, CONTROL_DATA);
    memcpy(window, &header, sizeof(header));
    events = 0;
}

void fake_event(uint32_t kind, uint32_t guest, uint32_t vcpu, uint32_t code)
{
    struct control_event event = {kind, guest, vcpu, code};

    memcpy(window + CONTROL_EVENTS + events % CONTROL_EVENT_COUNT * sizeof(event), &event, sizeof(event));
    events++;
    memcpy(window + offsetof(struct control_header, events), &events, sizeof(events));
}

void fake_set_state(uint32_t guest, uint32_t state)
{
    fake_hv.guests[guest].info.state = state;
    fake_event(CONTROL_EVENT_STATE, guest, 0, state);
}

void fake_print(uint32_t index, const char *text)
{
    struct fake_guest *guest = &fake_hv.guests[index];

    memcpy(guest->console + guest->info.console_end, text, strlen(text));
    guest->info.console_end += strlen(text);
    fake_event(CONTROL_EVENT_CONSOLE, index, 0, 0);
}

void fake_end(uint32_t guest, uint32_t end, const char *reason)
{
    fake_hv.guests[guest].info.end = end;
    strcpy(fake_hv.guests[guest].info.end_reason, reason);
    fake_set_state(guest, CONTROL_STATE_ENDED);
}

void fake_launched(uint32_t guest)
{
    fake_set_state(guest, CONTROL_STATE_RUNNING);
}

/* The first breakpoint is reached; without one, a line is printed. */
static void guest_time(uint32_t index)
{
    struct fake_guest *guest = &fake_hv.guests[index];

    for (uint32_t i = 0; i < 4; i++) {
        struct control_vcpu *vcpu = &guest->vcpus[0];
        const uint64_t addresses[] = {vcpu->dr0, vcpu->dr1, vcpu->dr2, vcpu->dr3};

        if ((vcpu->dr7 >> i * 2 & 3) == 0)
            continue;
        if ((vcpu->dr7 >> (16 + i * 4) & 3) == 0)
            vcpu->rip = addresses[i];
        else if (addresses[i] < FAKE_MEMORY)
            guest->memory[addresses[i]]++;      /* it is written */
        guest->info.state = CONTROL_STATE_PAUSED;
        fake_event(CONTROL_EVENT_STOPPED, index, 0, 1 + i);
        return;
    }
    if (guest->info.console_end < 40)
        fake_print(index, "a line\n");
    fake_moves_time(guest);
}

void fake_time(void)
{
    for (uint32_t i = 1; i < FAKE_GUESTS; i++) {
        if (fake_hv.guests[i].info.state == CONTROL_STATE_RUNNING)
            guest_time(i);
    }
}

/* ------------------------------------------------------------- requests */

static uint32_t out(const struct control_request *request, struct control_answer *answer, const void *bytes,
                    size_t size)
{
    if (size > request->size)
        size = request->size;
    memcpy(window + request->data, bytes, size);
    answer->size = (uint32_t)size;
    return CONTROL_OK;
}

/* Bytes that have a place at `data`. */
static void check_data(const struct control_request *request)
{
    fake_require(request->data >= CONTROL_DATA && request->size <= CONTROL_WINDOW_SIZE - request->data,
                 "data outside of the window");
}

static bool may_debug(const struct fake_guest *guest)
{
    if (guest->info.encryption == MANIFEST_ENCRYPTION_SEV)
        return (guest->info.policy & 1) == 0;
    return guest == &fake_hv.guests[FAKE_OPEN];
}

static uint32_t life(const struct control_request *request, struct fake_guest *guest)
{
    uint32_t state = guest->info.state, index = request->guest;

    switch (request->operation) {
    case CONTROL_LAUNCH:
        if (state != CONTROL_STATE_ENDED && state != CONTROL_STATE_NONE && state != CONTROL_STATE_REFUSED)
            return CONTROL_STATE;
        guest->info.launches++;
        fake_set_state(index, CONTROL_STATE_LAUNCHING);
        if (!fake_hv.launch_lasts)
            fake_set_state(index, CONTROL_STATE_RUNNING);
        return CONTROL_OK;
    case CONTROL_END:
        fake_require(index != FAKE_CONTROL, "ends itself");
        if (state != CONTROL_STATE_RUNNING && state != CONTROL_STATE_PAUSED && state != CONTROL_STATE_RECEIVING)
            return CONTROL_STATE;
        fake_end(index, 4, "ended by the operator");
        return CONTROL_OK;
    case CONTROL_PAUSE:
        fake_require(index != FAKE_CONTROL, "pauses itself");
        if (state != CONTROL_STATE_RUNNING)
            return CONTROL_STATE;
        fake_set_state(index, CONTROL_STATE_PAUSED);
        return CONTROL_OK;
    case CONTROL_RESUME:
        if (state == CONTROL_STATE_RECEIVING && !fake_moves_arrived(guest))
            return CONTROL_STATE;
        if (state != CONTROL_STATE_RECEIVING && state != CONTROL_STATE_PAUSED && state != CONTROL_STATE_HELD)
            return CONTROL_STATE;
        fake_set_state(index, CONTROL_STATE_RUNNING);
        return CONTROL_OK;
    default:    /* CONTROL_STEP */
        if (state != CONTROL_STATE_PAUSED)
            return CONTROL_STATE;
        guest->vcpus[request->vcpu].rip++;
        fake_event(CONTROL_EVENT_STOPPED, index, request->vcpu, 0);
        return CONTROL_OK;
    }
}

static uint32_t console(const struct control_request *request, struct control_answer *answer)
{
    struct fake_guest *guest = &fake_hv.guests[request->guest < FAKE_GUESTS ? request->guest : 0];
    const char *from = request->guest == CONTROL_LOG ? fake_hv.log : guest->console;
    uint64_t end = request->guest == CONTROL_LOG ? fake_hv.log_length : guest->info.console_end;
    uint64_t first = request->guest == CONTROL_LOG ? 0 : guest->kept;
    uint64_t at = request->address < first ? first : request->address;

    check_data(request);
    if (at > end)
        at = end;
    answer->value = at;
    return out(request, answer, from + at, end - at);
}

static uint32_t console_write(const struct control_request *request, struct fake_guest *guest,
                              struct control_answer *answer)
{
    size_t room = sizeof(guest->input) - guest->input_length;

    check_data(request);
    answer->value = request->size < room ? request->size : room;
    memcpy(guest->input + guest->input_length, window + request->data, answer->value);
    guest->input_length += answer->value;
    return CONTROL_OK;
}

static uint32_t registers(const struct control_request *request, struct fake_guest *guest,
                          struct control_answer *answer)
{
    check_data(request);
    if (!may_debug(guest))
        return CONTROL_POLICY;
    if (guest->info.state != CONTROL_STATE_PAUSED)
        return CONTROL_STATE;
    if (request->vcpu >= guest->info.vcpus)
        return CONTROL_INVALID;
    fake_require(request->size >= sizeof(struct control_vcpu), "no room for struct control_vcpu");
    if (request->operation == CONTROL_VCPU_GET)
        return out(request, answer, &guest->vcpus[request->vcpu], sizeof(struct control_vcpu));
    memcpy(&guest->vcpus[request->vcpu], window + request->data, sizeof(struct control_vcpu));
    return CONTROL_OK;
}

static bool in_memory(uint64_t gpa, uint64_t size)
{
    return gpa < FAKE_MEMORY && size <= FAKE_MEMORY - gpa;
}

static uint32_t memory(const struct control_request *request, struct fake_guest *guest, struct control_answer *answer)
{
    check_data(request);
    if (guest->info.state == CONTROL_STATE_RECEIVING)
        return fake_moves_plain(request, guest, window + request->data);
    if (!may_debug(guest))
        return CONTROL_POLICY;
    if (!in_memory(request->address, request->size))
        return CONTROL_INVALID;
    if (guest->info.encryption == MANIFEST_ENCRYPTION_SEV && request->address / PAGE != FAKE_SHARED_PAGE / PAGE)
        return CONTROL_NOT_SHARED;
    fake_require(request->address / PAGE == (request->address + request->size - 1) / PAGE, "two pages at once");
    if (request->operation == CONTROL_MEMORY_READ)
        return out(request, answer, guest->memory + request->address, request->size);
    memcpy(guest->memory + request->address, window + request->data, request->size);
    return CONTROL_OK;
}

/* ------------------------------------------------------------- the SEV firmware */

static uint64_t number(const uint8_t *buffer, size_t offset, size_t size)
{
    uint64_t value = 0;

    memcpy(&value, buffer + offset, size);
    return value;
}

uint8_t *fake_in_window(uint64_t offset, uint64_t size)
{
    fake_require(offset >= CONTROL_DATA && offset < CONTROL_WINDOW_SIZE && size <= CONTROL_WINDOW_SIZE - offset,
                 "a firmware address outside of the window");
    return window + offset;
}

/* As the SEV firmware answers it: a length that is too small is corrected. */
static bool room(struct control_answer *answer, size_t offset, uint32_t wanted)
{
    bool fits = number(answer->buffer, offset, 4) >= wanted;

    memcpy(answer->buffer + offset, &wanted, sizeof(wanted));
    return fits;
}

static uint32_t export(const uint8_t *buffer, struct control_answer *answer)
{
    if (!room(answer, 0x08, 2084) | !room(answer, 0x18, 6252))
        return 4;
    memset(fake_in_window(number(buffer, 0, 8), 2084), 'P', 2084);
    memset(fake_in_window(number(buffer, 0x10, 8), 6252), 'C', 6252);
    if (fake_hv.certificates[0][0] != 0) {
        memcpy(fake_in_window(number(buffer, 0, 8), 2084), fake_hv.certificates[0], 2084);
        memcpy(fake_in_window(number(buffer, 0x10, 8), 6252), fake_hv.certificates[1], 6252);
    }
    return 0;
}

static uint32_t fetch(const uint8_t *buffer, struct control_answer *answer, size_t length_at, size_t address_at,
                      uint32_t size, int filler)
{
    if (!room(answer, length_at, size))
        return 4;
    memset(fake_in_window(number(buffer, address_at, 8), size), filler, size);
    return 0;
}

static uint32_t debug(const struct control_request *request, struct fake_guest *guest)
{
    const uint8_t *buffer = request->buffer;
    bool decrypt = request->command == 0x60;
    uint64_t gpa = number(buffer, decrypt ? 0x08 : 0x10, 8), offset = number(buffer, decrypt ? 0x10 : 0x08, 8);
    uint64_t length = number(buffer, 0x18, 4);
    uint8_t *bytes = fake_in_window(offset, length);

    fake_require(gpa % 16 == 0 && offset % 16 == 0 && length % 16 == 0 && length > 0,
                 "DBG with another alignment than 16");
    fake_require(gpa / PAGE == (gpa + length - 1) / PAGE, "DBG of two pages");
    if (!in_memory(gpa, length))
        return 9;
    if (decrypt)
        memcpy(bytes, guest->memory + gpa, length);
    else
        memcpy(guest->memory + gpa, bytes, length);
    return 0;
}

static uint32_t secret(const uint8_t *buffer, struct fake_guest *guest)
{
    uint64_t gpa = number(buffer, 0x18, 8), length = number(buffer, 0x20, 4);

    fake_require(number(buffer, 0x10, 4) == 52 && number(buffer, 0x30, 4) == length, "LAUNCH_SECRET's lengths");
    if (fake_in_window(number(buffer, 0, 8) + number(buffer, 0x08, 8), 52)[51] != 0x77)
        return 0x0b;
    if (!in_memory(gpa, length))
        return 9;
    memcpy(fake_hv.secret, fake_in_window(number(buffer, 0x28, 8), length), length);
    memcpy(guest->memory + gpa, fake_hv.secret, length);
    return 0;
}

static uint32_t firmware(const struct control_request *request, struct fake_guest *guest, struct control_answer *answer)
{
    const uint8_t *buffer = request->buffer;
    uint32_t lab;

    fake_hv.platform.command_us += 250;
    fake_hv.commands[request->command & 0xff]++;
    fake_hv.last_firmware = *request;
    memcpy(answer->buffer, buffer, sizeof(answer->buffer));
    if (fake_hv.refuse_status != 0) {
        answer->status = fake_hv.refuse_status;
        fake_hv.refuse_status = 0;
        return CONTROL_SEV_FAILED;
    }
    switch (request->command) {
    case 0x02:
    case 0x03:
        return CONTROL_IN_USE;
    case 0x01:
    case 0x05:
    case 0x09:
    case 0x0a:
    case 0x0e:
        break;
    case 0x06:
        answer->status = fetch(buffer, answer, 0x08, 0x00, 2084, 'R');
        break;
    case 0x07:
        memcpy(fake_hv.imported[0], fake_in_window(number(buffer, 0x00, 8), 2084), 2084);
        memcpy(fake_hv.imported[1], fake_in_window(number(buffer, 0x10, 8), 2084), 2084);
        break;
    case 0x08:
        answer->status = export(buffer, answer);
        break;
    case 0x0c:
        answer->status = fetch(buffer, answer, 0x08, 0x00, 128, 'I');
        break;
    case 0x34:
        answer->status = secret(buffer, guest);
        break;
    case 0x36:
        answer->status = fetch(buffer, answer, 0x20, 0x08, 208, buffer[0x10]);
        break;
    case 0x60:
    case 0x61:
        if (!may_debug(guest))
            return CONTROL_POLICY;
        answer->status = debug(request, guest);
        break;
    default:
        lab = fake_lab_command(request, guest, answer, window);
        if (lab == CONTROL_UNKNOWN)
            return request->command < 0x40 ? CONTROL_UNKNOWN : fake_moves_command(request, guest, answer);
        if (lab != CONTROL_OK)
            return lab;
        break;
    }
    if (answer->status == 0)
        fake_lab_bring_state(request, answer, window);
    return answer->status == 0 ? CONTROL_OK : CONTROL_SEV_FAILED;
}

static uint32_t session(const struct control_request *request, struct fake_guest *guest)
{
    struct control_session given;

    check_data(request);
    fake_require(request->size >= sizeof(given), "a session of another size");
    memcpy(&given, window + request->data, sizeof(given));
    if (guest->info.state == CONTROL_STATE_SESSION)
        return fake_moves_session(request->guest, &given);
    guest->info.policy = given.policy;
    memcpy(fake_hv.session, given.session, sizeof(fake_hv.session));
    return CONTROL_OK;
}

static uint32_t answer_to(const struct control_request *request, struct control_answer *answer)
{
    struct fake_guest *guest = &fake_hv.guests[request->guest < FAKE_GUESTS ? request->guest : 0];

    if (request->operation == CONTROL_FIRMWARE && request->command < 0x20)
        return firmware(request, guest, answer);
    if (request->operation != CONTROL_PLATFORM_INFO && request->guest >= FAKE_GUESTS && request->guest != CONTROL_LOG)
        return CONTROL_NO_GUEST;
    if (request->guest == CONTROL_LOG && request->operation != CONTROL_CONSOLE_READ)
        return CONTROL_NO_GUEST;
    switch (request->operation) {
    case CONTROL_PLATFORM_INFO:
        check_data(request);
        return out(request, answer, &fake_hv.platform, sizeof(fake_hv.platform));
    case CONTROL_GUEST_INFO:
        check_data(request);
        return out(request, answer, &guest->info, sizeof(guest->info));
    case CONTROL_LAUNCH ... CONTROL_RESUME:
    case CONTROL_STEP:
        return life(request, guest);
    case CONTROL_RECEIVE:
        return fake_moves_receive(request->guest);
    case CONTROL_PAGES:
    case CONTROL_STATE_GET:
    case CONTROL_STATE_SET:
        check_data(request);
        return fake_moves_request(request, guest, answer, window + request->data);
    case CONTROL_SESSION:
        return session(request, guest);
    case CONTROL_CONSOLE_READ:
        return console(request, answer);
    case CONTROL_CONSOLE_WRITE:
        return console_write(request, guest, answer);
    case CONTROL_VCPU_GET:
    case CONTROL_VCPU_SET:
        return registers(request, guest, answer);
    case CONTROL_MEMORY_READ:
    case CONTROL_MEMORY_WRITE:
        return memory(request, guest, answer);
    case CONTROL_FIRMWARE:
        return firmware(request, guest, answer);
    default:
        return CONTROL_UNKNOWN;
    }
}

void machine_doorbell(uint32_t sequence)
{
    struct control_request request;
    struct control_answer answer = {0};

    memcpy(&request, window + CONTROL_REQUEST, sizeof(request));
    fake_require(sequence != 0 && request.sequence == sequence && sequence != fake_hv.last.sequence, "sequence");
    fake_require(request.reserved == 0, "reserved is not zero");
    fake_hv.last = request;
    fake_hv.requests++;
    if (fake_hv.mute)
        return;
    answer.result = answer_to(&request, &answer);
    answer.sequence = sequence;
    memcpy(window + CONTROL_ANSWER, &answer, sizeof(answer));
}
