/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest that leaves, and one that arrives. */
#include "tests/unit/guest_control/fake_moves.h"

#include <string.h>

#include "guest/manifest_format.h"

#define PAGE 4096u
#define NOSEND 8u
#define HEADER 52u
#define WHOLE (UINT32_C(1) << 31)

static uint64_t number(const uint8_t *buffer, size_t offset, size_t size)
{
    uint64_t value = 0;

    memcpy(&value, buffer + offset, size);
    return value;
}

static uint8_t sum(const uint8_t *bytes, size_t size, uint8_t from)
{
    while (size > 0)
        from = (uint8_t)(from * 5 + bytes[--size]);
    return from;
}

void fake_moves_make(void)
{
    struct fake_moving *moving = &fake_hv.guests[FAKE_LINUX].moving;

    for (uint32_t page = 0; page < FAKE_PAGES; page++)
        moving->pages[page] = CONTROL_PAGE_TOUCHED | CONTROL_PAGE_DIRTY;
    moving->pages[FAKE_SHARED_PAGE / PAGE] |= CONTROL_PAGE_SHARED;
    moving->pages[FAKE_UNTOUCHED / PAGE] = 0;
    moving->whole.version = CONTROL_VERSION;
    moving->whole.migration_control = 1;
    moving->whole.memory = FAKE_MEMORY;
    memset(moving->whole.input, 'i', sizeof(moving->whole.input));
    for (uint32_t i = 0; i < 2; i++)
        memset(moving->vcpus[i].xsave, (int)('x' + i), sizeof(moving->vcpus[i].xsave));
}

void fake_moves_time(struct fake_guest *guest)
{
    if (!guest->moving.tracked)
        return;
    guest->memory[FAKE_COUNTER]++;
    guest->moving.pages[FAKE_COUNTER / PAGE] |= CONTROL_PAGE_DIRTY;
}

static uint32_t all_states(const struct fake_guest *guest)
{
    return WHOLE | ((UINT32_C(1) << guest->info.vcpus) - 1);
}

bool fake_moves_arrived(struct fake_guest *guest)
{
    struct fake_moving *moving = &guest->moving;

    if (!moving->finished || moving->states != all_states(guest))
        return false;
    for (uint32_t i = 0; i < guest->info.vcpus; i++)
        guest->vcpus[i] = moving->vcpus[i].registers;
    moving->tracked = true;
    return true;
}

uint32_t fake_moves_receive(uint32_t index)
{
    struct fake_guest *guest = &fake_hv.guests[index];

    if (guest->info.state != CONTROL_STATE_ENDED && guest->info.state != CONTROL_STATE_REFUSED)
        return CONTROL_STATE;
    memset(guest->memory, 0, sizeof(guest->memory));
    guest->moving = (struct fake_moving){0};
    guest->info.launches++;
    fake_set_state(index, CONTROL_STATE_SESSION);
    return CONTROL_OK;
}

uint32_t fake_moves_session(uint32_t index, const struct control_session *session)
{
    struct fake_guest *guest = &fake_hv.guests[index];

    memcpy(fake_hv.session, session->session, sizeof(fake_hv.session));
    if (session->session[0] != sum(fake_hv.certificates[0], sizeof(fake_hv.certificates[0]), 1))
        return CONTROL_SEV_FAILED;
    guest->info.policy = session->policy;
    guest->moving.key = session->session[1];
    fake_set_state(index, CONTROL_STATE_RECEIVING);
    return CONTROL_OK;
}

uint32_t fake_moves_plain(const struct control_request *request, struct fake_guest *guest, const uint8_t *data)
{
    if (request->operation == CONTROL_MEMORY_READ || request->size != PAGE || request->address % PAGE != 0 ||
        request->address >= FAKE_MEMORY)
        return CONTROL_INVALID;
    memcpy(guest->memory + request->address, data, PAGE);
    guest->moving.pages[request->address / PAGE] = CONTROL_PAGE_TOUCHED | CONTROL_PAGE_SHARED;
    return CONTROL_OK;
}

static uint32_t pages(const struct control_request *request, struct fake_moving *moving, struct control_answer *answer,
                      uint8_t *data)
{
    uint64_t first = request->address / PAGE;

    fake_require(request->address % PAGE == 0 && request->argument <= CONTROL_PAGES_TRACK, "PAGES' arguments");
    if (first >= FAKE_PAGES)
        return CONTROL_INVALID;
    while (answer->size < request->size && answer->size < CONTROL_PAGES_MAX && first + answer->size < FAKE_PAGES) {
        uint8_t *page = &moving->pages[first + answer->size];

        data[answer->size++] = *page;
        if (request->argument == CONTROL_PAGES_TRACK)
            *page &= (uint8_t)~CONTROL_PAGE_DIRTY;
    }
    moving->tracked |= request->argument == CONTROL_PAGES_TRACK;
    return CONTROL_OK;
}

/* The whole guest's or a vCPU's. */
static void *state_of(struct fake_guest *guest, uint32_t vcpu, size_t *size)
{
    *size = vcpu == CONTROL_WHOLE_GUEST ? sizeof(guest->moving.whole) : sizeof(guest->moving.vcpus[0]);
    if (vcpu == CONTROL_WHOLE_GUEST)
        return &guest->moving.whole;
    return vcpu < guest->info.vcpus && vcpu < 2 ? &guest->moving.vcpus[vcpu] : NULL;
}

static uint32_t state(const struct control_request *request, struct fake_guest *guest, struct control_answer *answer,
                      uint8_t *data)
{
    bool get = request->operation == CONTROL_STATE_GET;
    size_t size;
    void *place = state_of(guest, request->vcpu, &size);

    if (guest->info.state != (get ? CONTROL_STATE_PAUSED : CONTROL_STATE_RECEIVING))
        return CONTROL_STATE;
    if (place == NULL || request->size < size)
        return CONTROL_INVALID;
    if (get) {
        guest->moving.whole.vcpus = guest->info.vcpus;
        guest->moving.whole.tsc_hz = UINT64_C(2000000000); /* fake_hv.c's tsc_khz */
        for (uint32_t i = 0; i < 2; i++)
            guest->moving.vcpus[i].registers = guest->vcpus[i];
        memcpy(data, place, size);
        answer->size = (uint32_t)size;
    } else {
        memcpy(place, data, size);
        guest->moving.states |= request->vcpu == CONTROL_WHOLE_GUEST ? WHOLE : UINT32_C(1) << request->vcpu;
    }
    return CONTROL_OK;
}

uint32_t fake_moves_request(const struct control_request *request, struct fake_guest *guest,
                            struct control_answer *answer, uint8_t *data)
{
    if (guest->info.encryption != MANIFEST_ENCRYPTION_SEV || (guest->info.policy & NOSEND) != 0)
        return CONTROL_POLICY;
    if (request->operation != CONTROL_PAGES)
        return state(request, guest, answer, data);
    if (guest->info.state != CONTROL_STATE_RUNNING && guest->info.state != CONTROL_STATE_PAUSED)
        return CONTROL_STATE;
    return pages(request, &guest->moving, answer, data);
}

/* ------------------------------------------------------------- the SEV firmware */

static uint32_t send_start(const uint8_t *buffer, struct fake_guest *guest, struct control_answer *answer)
{
    const uint8_t *pdh = fake_in_window(number(buffer, 0x08, 8), 2084);
    uint8_t *session = fake_in_window(number(buffer, 0x38, 8), 128);

    fake_in_window(number(buffer, 0x18, 8), 6252);
    fake_in_window(number(buffer, 0x28, 8), number(buffer, 0x30, 4));
    fake_require(number(buffer, 0x10, 4) == 2084 && number(buffer, 0x20, 4) == 6252 && number(buffer, 0x40, 4) == 128 &&
                     (number(buffer, 0x30, 4) == 1664 || number(buffer, 0x30, 4) == 3200),
                 "SEND_START's lengths");
    if (guest->moving.sending)
        return 2;
    guest->moving.sending = true;
    guest->moving.key = (uint8_t)(0x41 + fake_hv.packets);
    memset(session, 's', 128);
    session[0] = sum(pdh, 2084, 1);
    session[1] = guest->moving.key;
    memcpy(answer->buffer + 0x04, &guest->info.policy, sizeof(guest->info.policy));
    return 0;
}

/* Header: flags (4), IV (16), MAC (32), of which one byte each is used. */
static uint32_t update(const uint8_t *buffer, struct fake_guest *guest, bool send)
{
    uint8_t *header = fake_in_window(number(buffer, 0x08, 8), HEADER), key = guest->moving.key;
    uint8_t *packet = fake_in_window(number(buffer, 0x28, 8), PAGE);
    uint64_t gpa = number(buffer, 0x18, 8);

    fake_require(number(buffer, 0x10, 4) == HEADER && number(buffer, 0x20, 4) == PAGE &&
                     number(buffer, 0x30, 4) == PAGE && gpa % PAGE == 0,
                 "a packet's lengths");
    if (send ? !guest->moving.sending : guest->info.state != CONTROL_STATE_RECEIVING || guest->moving.finished)
        return 2;
    if (gpa >= FAKE_MEMORY)
        return 9;
    if (send) {
        memset(header, 0, HEADER);
        header[4] = ++fake_hv.packets;
        for (uint32_t i = 0; i < PAGE; i++)
            packet[i] = guest->memory[gpa + i] ^ key ^ header[4];
        header[20] = sum(packet, PAGE, key);
        return 0;
    }
    if (header[20] != sum(packet, PAGE, key))
        return 0x0b;
    for (uint32_t i = 0; i < PAGE; i++)
        guest->memory[gpa + i] = packet[i] ^ key ^ header[4];
    guest->moving.pages[gpa / PAGE] = CONTROL_PAGE_TOUCHED;
    return 0;
}

static uint32_t end_of_sending(uint32_t index, bool finish)
{
    struct fake_guest *guest = &fake_hv.guests[index];

    if (!guest->moving.sending)
        return 2;
    guest->moving.sending = false;
    if (finish)
        fake_end(index, 4, "sent to another platform by the control guest");
    return 0;
}

uint32_t fake_moves_command(const struct control_request *request, struct fake_guest *guest,
                            struct control_answer *answer)
{
    bool lives = guest->info.state == CONTROL_STATE_RUNNING || guest->info.state == CONTROL_STATE_PAUSED;

    if (guest->info.encryption != MANIFEST_ENCRYPTION_SEV || (guest->info.policy & NOSEND) != 0)
        return CONTROL_POLICY;
    if (request->command >= 0x40 && request->command <= 0x44 &&
        (request->command == 0x43 ? guest->info.state != CONTROL_STATE_PAUSED : !lives))
        return CONTROL_STATE;
    switch (request->command) {
    case 0x40:
        answer->status = send_start(request->buffer, guest, answer);
        break;
    case 0x41:
    case 0x51:
        answer->status = update(request->buffer, guest, request->command == 0x41);
        break;
    case 0x43:
    case 0x44:
        answer->status = end_of_sending(request->guest, request->command == 0x43);
        break;
    case 0x53:
        if (guest->info.state != CONTROL_STATE_RECEIVING)
            return CONTROL_STATE;
        guest->moving.finished = true;
        break;
    default:
        return CONTROL_UNKNOWN;
    }
    return answer->status == 0 ? CONTROL_OK : CONTROL_SEV_FAILED;
}
