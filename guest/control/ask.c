/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Requests to hv through the window: written, announced by the doorbell, slept on until the answer stands there. */
#include "guest/control/ask.h"

#include <string.h>

#include "guest/control/machine.h"
#include "guest/control/text.h"

#define PATIENCE_MS 120000u /* a command of the SEV firmware may take hv's own limit; longer: hv does not listen */

static uint32_t sequence; /* of the last request */
static bool unanswered;
static uint32_t events_seen;
static char why[256] = "nothing was refused";

const char *ask_why(void)
{
    return why;
}

void ask_refuse(const char *words)
{
    struct text text = {.at = why, .size = sizeof(why) - 1};

    text_bytes(&text, words, text_field_length(words, text.size));
    why[text.length] = '\0';
}

void ask_put(uint32_t offset, const void *bytes, uint32_t size)
{
    volatile uint8_t *window = machine_window() + offset;

    for (uint32_t i = 0; i < size; i++)
        window[i] = ((const uint8_t *)bytes)[i];
}

void ask_get(uint32_t offset, void *bytes, uint32_t size)
{
    const volatile uint8_t *window = machine_window() + offset;

    for (uint32_t i = 0; i < size; i++)
        ((uint8_t *)bytes)[i] = window[i];
}

static uint32_t get32(uint32_t offset)
{
    return *(volatile uint32_t *)(volatile void *)(machine_window() + offset);
}

void ask_start(void)
{
    sequence = get32(CONTROL_ANSWER + (uint32_t)offsetof(struct control_answer, sequence));
    events_seen = get32((uint32_t)offsetof(struct control_header, events));
    unanswered = false;
}

static const char *result_words(uint32_t result)
{
    static const char *const words[] = {
        [CONTROL_UNKNOWN] = "the hypervisor does not offer that",
        [CONTROL_INVALID] = "a field of the request is out of its range",
        [CONTROL_NO_GUEST] = "no such guest",
        [CONTROL_STATE] = "not in the guest's present state",
        [CONTROL_POLICY] = "policy forbids debugging, or the guest's entry lacks debug = true",
        [CONTROL_IN_USE] = "SEV guests live, and this would destroy them: end them first",
        [CONTROL_NO_SEV] = "the secure processor cannot be used",
        [CONTROL_SEV_FAILED] = "the SEV firmware refused",
        [CONTROL_NOT_SHARED] = "the guest does not share this memory",
        [CONTROL_LIMIT] = "the hypervisor has no room left",
    };

    return result < sizeof(words) / sizeof(words[0]) && words[result] != NULL ? words[result]
                                                                              : "the hypervisor does not answer";
}

static void remember(uint32_t result, const struct control_answer *answer)
{
    struct text text = {.at = why, .size = sizeof(why) - 1};

    if (answer->text[0] != '\0') {
        text_bytes(&text, answer->text, text_field_length(answer->text, sizeof(answer->text)));
    } else {
        text_add(&text, result_words(result));
        if (result == CONTROL_SEV_FAILED) {
            text_add(&text, " (status 0x");
            text_hex(&text, answer->status);
            text_char(&text, ')');
        }
    }
    why[text.length] = '\0';
}

static bool answered(void)
{
    return get32(CONTROL_ANSWER + (uint32_t)offsetof(struct control_answer, sequence)) == sequence;
}

/* One request is under way at a time, also when nobody waits for it any more. */
static bool wait_for_answer(void)
{
    uint64_t began = machine_ms();

    while (unanswered && !answered()) {
        if (machine_ms() - began > PATIENCE_MS)
            return false;
        machine_sleep();
    }
    unanswered = false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return true;
}

uint32_t ask(struct control_request request, struct control_answer *answer)
{
    static struct control_answer copy;

    if (answer == NULL)
        answer = &copy;
    memset(answer, 0, sizeof(*answer));
    if (!wait_for_answer()) {
        remember(ASK_NO_ANSWER, answer);
        return ASK_NO_ANSWER;
    }
    if (++sequence == 0)
        sequence = 1;
    request.sequence = sequence;
    ask_put(CONTROL_REQUEST, &request, sizeof(request));
    unanswered = true;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    machine_doorbell(sequence);
    if (!wait_for_answer()) {
        remember(ASK_NO_ANSWER, answer);
        return ASK_NO_ANSWER;
    }
    ask_get(CONTROL_ANSWER, answer, sizeof(*answer));
    if (answer->result != CONTROL_OK)
        remember(answer->result, answer);
    return answer->result;
}

uint32_t ask_guest(enum control_operation operation, uint32_t guest)
{
    return ask((struct control_request){.operation = operation, .guest = guest}, NULL);
}

static uint32_t ask_struct(struct control_request request, void *out, uint32_t size)
{
    uint32_t result;

    request.data = CONTROL_DATA;
    request.size = size;
    memset(out, 0, size);
    result = ask(request, NULL);
    if (result == CONTROL_OK)
        ask_get(CONTROL_DATA, out, size);
    return result;
}

uint32_t ask_platform_info(struct control_platform *platform)
{
    return ask_struct((struct control_request){.operation = CONTROL_PLATFORM_INFO}, platform, sizeof(*platform));
}

uint32_t ask_guest_info(uint32_t guest, struct control_guest *info)
{
    return ask_struct((struct control_request){.operation = CONTROL_GUEST_INFO, .guest = guest}, info, sizeof(*info));
}

uint32_t ask_vcpu_get(uint32_t guest, uint32_t vcpu, struct control_vcpu *state)
{
    return ask_struct((struct control_request){.operation = CONTROL_VCPU_GET, .guest = guest, .vcpu = vcpu}, state,
                      sizeof(*state));
}

uint32_t ask_vcpu_set(uint32_t guest, uint32_t vcpu, const struct control_vcpu *state)
{
    struct control_request request = {
        .operation = CONTROL_VCPU_SET, .guest = guest, .vcpu = vcpu, .data = CONTROL_DATA, .size = sizeof(*state)};

    ask_put(CONTROL_DATA, state, sizeof(*state));
    return ask(request, NULL);
}

uint32_t ask_firmware(uint32_t command, uint32_t guest, void *buffer)
{
    struct control_request request = {.operation = CONTROL_FIRMWARE, .guest = guest, .command = command};
    struct control_answer answer;
    uint32_t result;

    memcpy(request.buffer, buffer, sizeof(request.buffer));
    result = ask(request, &answer);
    memcpy(buffer, answer.buffer, sizeof(answer.buffer));
    return result;
}

bool ask_event(struct control_event *event)
{
    uint32_t written = get32((uint32_t)offsetof(struct control_header, events));

    if (written == events_seen)
        return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (written - events_seen > CONTROL_EVENT_COUNT) {
        events_seen = written;
        *event = (struct control_event){0};
        return true;
    }
    ask_get(CONTROL_EVENTS + events_seen % CONTROL_EVENT_COUNT * (uint32_t)sizeof(*event), event, sizeof(*event));
    events_seen++;
    return true;
}
