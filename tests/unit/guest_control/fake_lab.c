/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* INIT_EX's state, an image, COPY, GUEST_STATUS; SWAP_* is not there. */
#include "tests/unit/guest_control/fake_lab.h"

#include <string.h>

#define STATE sizeof(fake_lab.state)

struct fake_lab fake_lab;

static uint32_t word(const uint8_t *buffer, size_t at)
{
    uint32_t value;

    memcpy(&value, buffer + at, sizeof(value));
    return value;
}

/* NULL: not in the window. */
static uint8_t *in_window(volatile uint8_t *window, uint32_t offset, uint32_t size)
{
    return offset >= CONTROL_DATA && offset <= CONTROL_WINDOW_SIZE && size <= CONTROL_WINDOW_SIZE - offset
               ? (uint8_t *)(uintptr_t)window + offset
               : NULL;
}

static uint32_t init_ex(const uint8_t *buffer, struct control_answer *answer, volatile uint8_t *window)
{
    uint32_t at = word(buffer, 0x18);
    const uint8_t *given = in_window(window, at, STATE);

    if (given == NULL || at % 0x1000 != 0 || word(buffer, 0x20) != STATE)
        return CONTROL_INVALID;
    answer->status = word(buffer, 0) == 0x24 ? 0 : 4;
    if (answer->status == 0) {
        memcpy(fake_lab.state, given, STATE);
        fake_lab.state[0] = 'K'; /* the SEV firmware makes keys */
        fake_lab.kept = true;
    }
    return CONTROL_OK;
}

static uint32_t download(const uint8_t *buffer, struct control_answer *answer, volatile uint8_t *window)
{
    const uint8_t *image = in_window(window, word(buffer, 0), word(buffer, 8));

    if (image == NULL)
        return CONTROL_INVALID;
    fake_lab.image_size = word(buffer, 8);
    fake_lab.image_sum = 0;
    for (uint32_t i = 0; i < fake_lab.image_size; i++)
        fake_lab.image_sum += image[i];
    answer->status = image[0] == '$' ? 0 : 0x0a;
    return CONTROL_OK;
}

static uint32_t copy(const uint8_t *buffer, struct fake_guest *guest, struct control_answer *answer)
{
    uint32_t size = word(buffer, 4), from = word(buffer, 8), to = word(buffer, 0x10);

    if (from > FAKE_MEMORY || size > FAKE_MEMORY - from || to > FAKE_MEMORY || size > FAKE_MEMORY - to) {
        answer->status = 9;
        return CONTROL_OK;
    }
    memmove(guest->memory + to, guest->memory + from, size);
    return CONTROL_OK;
}

static void guest_status(const struct fake_guest *guest, struct control_answer *answer)
{
    memcpy(answer->buffer + 4, &guest->info.policy, 4);
    memcpy(answer->buffer + 8, &guest->info.asid, 4);
    answer->buffer[12] = 3;
}

uint32_t fake_lab_command(const struct control_request *request, struct fake_guest *guest,
                          struct control_answer *answer, volatile uint8_t *window)
{
    static const uint8_t version[] = {1, 55, 2, 0, 0, 0, 0, 24, 2};

    switch (request->command) {
    case 0x04:
        memcpy(answer->buffer, version, sizeof(version));
        return CONTROL_OK;
    case 0x0b:
        return download(request->buffer, answer, window);
    case 0x0d:
        return init_ex(request->buffer, answer, window);
    case 0x23:
        guest_status(guest, answer);
        return CONTROL_OK;
    case 0x24:
        if ((guest->info.policy & 1) != 0)
            return CONTROL_POLICY;
        return guest->info.state == CONTROL_STATE_PAUSED ? copy(request->buffer, guest, answer) : CONTROL_STATE;
    case 0x40: /* asked for the length only; else fake_moves.c's */
        if (word(request->buffer, 0x40) != 0)
            return CONTROL_UNKNOWN;
        answer->buffer[0x40] = 128;
        answer->status = 4;
        return CONTROL_OK;
    case 0x70:
    case 0x71:
        answer->status = 0x15;
        return CONTROL_OK;
    default:
        return CONTROL_UNKNOWN;
    }
}

void fake_lab_bring_state(const struct control_request *request, struct control_answer *answer,
                          volatile uint8_t *window)
{
    uint8_t *to = in_window(window, request->data, STATE);

    if (request->command >= 0x20 || request->size < STATE || !fake_lab.kept || to == NULL ||
        request->data % 0x1000 != 0)
        return;
    memcpy(to, fake_lab.state, STATE);
    answer->size = STATE;
}
