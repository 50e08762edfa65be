/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Random commands, the same for the same seed. What the firmware writes must stay
 * in the arena: an address is one of there, with a length that stays there too, or
 * one that is no RAM; and no address or length is put together from random halves.
 */
#include "mbox.h"

#include <stdio.h>
#include <string.h>

#define HANDLES 4u
#define CALM 25u        /* so many commands, then the platform is helped up again */

static uint64_t state;
static uint32_t handles[HANDLES];   /* LAUNCH_START's last answers, some of guests that are gone */
static unsigned next_handle, successes;

static uint32_t pick(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static uint32_t a_handle(void)
{
    return pick(16) ? handles[pick(HANDLES)] : pick(2) ? 0 : UINT32_MAX - pick(4);
}

/* Spoils one field: its address to one that is no RAM, or its length. */
static void spoil_field(const struct field *field, uint8_t *buffer)
{
    static const uint32_t lengths[] = {0,    1,    15,   16,   17,   48,     52,     64,     128,        208,
                                       2083, 2084, 2085, 4096, 6252, 0x4000, 0x4010, 0x8000, 0xfffffff0, 0xffffffff};
    const uint64_t nowhere[] = {
        ram_end,        bar_address, 0xfee00000, arena_spa | UINT64_C(1) << 47, arena_spa | UINT64_C(1) << 63,
        UINT64_MAX - 15};

    if (pick(3) == 0)
        put64(buffer, field->address, nowhere[pick(sizeof(nowhere) / sizeof(nowhere[0]))]);
    else if (pick(2) == 0)
        put64(buffer, field->address, arena_spa + AT_HALF + pick(0x8000) * (pick(2) ? 16 : 1));
    else
        put32(buffer, field->length, lengths[pick(sizeof(lengths) / sizeof(lengths[0]))]);
}

static void fill(const struct command *command, uint8_t *buffer)
{
    good_buffer(command, a_handle(), buffer);
    if (command->id == LAUNCH_START && pick(8) == 0)
        put32(buffer, 0, a_handle());
    if (command->id == ACTIVATE || command->id == ACTIVATE_EX)
        put32(buffer, command->id == ACTIVATE ? 4 : 8, pick(18));
    for (unsigned spoils = pick(2) ? pick(3) : 0; spoils; spoils--) {
        const struct field *field = &command->fields[pick(FIELDS)];
        unsigned reserved = command->reserved[pick(FIELDS)];

        if (field->kind != NONE && pick(4))
            spoil_field(field, buffer);
        else if (reserved && pick(4) == 0)
            put32(buffer, reserved, UINT32_C(1) << pick(32));
        else if (command->id == LAUNCH_START)
            put32(buffer, 4, pick(4) ? pick(4) : UINT32_C(1) << pick(32));
    }
}

/* More of those that name a guest than of the others. */
static uint32_t a_command(void)
{
    const struct command *command;

    do
        command = &commands[pick((uint32_t)command_count)];
    while (!command->guest && pick(4));
    return command->id;
}

static void one_command(void)
{
    uint32_t id = pick(20) ? a_command() : pick(0x800);
    const struct command *command = command_of(id);
    uint64_t address = arena_spa + AT_COMMAND;
    uint8_t buffer[BUFFER_MAX] = {0};

    if ((id == SHUTDOWN || id == DECOMMISSION) && pick(16))
        return;     /* or there would hardly ever be a guest */
    if (command)
        fill(command, buffer);
    if (pick(20) == 0)
        address = pick(2) ? ram_end - pick(2) * 4 : (uint64_t)pick(UINT32_MAX) << 44;
    memcpy(arena + AT_COMMAND, buffer, sizeof(buffer));
    unsigned status = ring(id, address);
    calls++;
    successes += status == SEV_RET_SUCCESS;
    if (status > SEV_RET_SECURE_DATA_INVALID)
        check(false, "a random command's status is one of SEV's");
    if (id == LAUNCH_START && address == arena_spa + AT_COMMAND && get32(arena + AT_COMMAND, 0))
        handles[next_handle++ % HANDLES] = get32(arena + AT_COMMAND, 0);
}

static unsigned by_words(uint32_t id, uint32_t first, uint32_t second)
{
    memset(arena + AT_COMMAND, 0, BUFFER_MAX);
    put32(arena + AT_COMMAND, 0, first);
    put32(arena + AT_COMMAND, 4, second);
    return ring(id, arena_spa + AT_COMMAND);
}

/* INIT, clean ASIDs, a new guest in the place of an old one; each may be refused, where it is not needed. */
static void help_up(void)
{
    uint32_t *handle = &handles[next_handle++ % HANDLES];

    wbinvd();
    by_words(INIT, 0, 0);
    ring(DF_FLUSH, 0);
    by_words(DEACTIVATE, *handle, 0);
    by_words(DECOMMISSION, *handle, 0);
    if (by_words(LAUNCH_START, 0, 0) == SEV_RET_SUCCESS) {
        *handle = get32(arena + AT_COMMAND, 0);
        by_words(ACTIVATE, *handle, 1 + pick(15));
    }
}

void random_commands(uint64_t seed, unsigned count)
{
    state = seed;
    flush(0, HUGE_PAGE);    /* the arena changes hands: none of its lines may linger */
    for (unsigned i = 0; i < count; i++) {
        if (i % CALM == 0)
            help_up();
        one_command();
    }
    printf("mboxabuse: %u random commands, of which %u succeeded\n", count, successes);
}
