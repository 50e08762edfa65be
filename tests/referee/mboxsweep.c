/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* One wrong thing at a time, in every command that has it: from the table in mboxtable.c. */
#include "mbox.h"

#include <string.h>

static uint8_t buffer[BUFFER_MAX];

bool good_call(unsigned want, const char *what, uint32_t id, uint32_t handle)
{
    const struct command *command = command_of(id);

    good_buffer(command, handle, buffer);
    return expect(want, what, id, buffer, command->size);
}

void every_id(const uint32_t (*ranges)[2], size_t count, const char *what)
{
    sweep(what);
    for (size_t i = 0; i < count; i++)
        for (uint32_t id = ranges[i][0]; id <= ranges[i][1]; id++)
            expect_at(SEV_RET_INVALID_COMMAND, "an id", id, arena_spa + AT_COMMAND);
    sweep_end();
}

void wrong_platform_state(unsigned state, const char *what)
{
    sweep(what);
    for (size_t i = 0; i < command_count; i++)
        if (!(commands[i].platform & state))
            good_call(SEV_RET_INVALID_PLATFORM_STATE, commands[i].name, commands[i].id, 1);
    sweep_end();
}

void wrong_guest_state(uint32_t handle, unsigned state, const char *what)
{
    sweep(what);
    for (size_t i = 0; i < command_count; i++)
        if (commands[i].guest && !(commands[i].guest & IN(state)))
            good_call(SEV_RET_INVALID_GUEST_STATE, commands[i].name, commands[i].id, handle);
    sweep_end();
}

/* Commands of this guest's state that want an ASID, which it has not. */
void inactive(uint32_t handle, unsigned state, const char *what)
{
    sweep(what);
    for (size_t i = 0; i < command_count; i++)
        if (commands[i].active && (commands[i].guest & IN(state)) && commands[i].id != LAUNCH_UPDATE_VMSA)
            good_call(SEV_RET_INACTIVE, commands[i].name, commands[i].id, handle);
    sweep_end();
}

void unknown_handles(const char *what)
{
    static const uint32_t nobody[] = {0, 0x7fffffff, 0x80000000, 0xffffffff};

    sweep(what);
    for (size_t i = 0; i < command_count; i++)
        for (size_t j = 0; commands[i].guest && j < 4; j++)
            good_call(SEV_RET_INVALID_GUEST, commands[i].name, commands[i].id, nobody[j]);
    sweep_end();
}

/* No RAM, or not all of it; aligned enough that nothing else is wrong. */
static size_t bad_addresses(uint64_t list[16], uint32_t size)
{
    size_t count = 0;

    list[count++] = ram_end;
    list[count++] = ram_end - (size > 16 ? 16 : size > 4 ? 4 : 2);
    list[count++] = bar_address;
    list[count++] = bar_address + REG_COMMAND - REG_COMMAND % PAGE;
    list[count++] = 0xfee00000;                 /* the local APIC */
    list[count++] = 0xfffff000;                 /* flash */
    list[count++] = (UINT64_C(1) << 32) - 16;   /* flash, then RAM */
    list[count++] = UINT64_MAX - 15;            /* around 2^64, to 0 */
    list[count++] = UINT64_MAX & -(uint64_t)PAGE;
    for (unsigned bit = 42; bit < 64; bit += 5)
        list[count++] = (arena_spa + AT_FIELDS) ^ UINT64_C(1) << bit;
    return count;
}

void bad_command_buffers(const char *what)
{
    uint64_t list[16];

    sweep(what);
    for (size_t i = 0; i < command_count; i++)
        for (size_t j = 0; commands[i].size && j < bad_addresses(list, commands[i].size); j++)
            expect_at(SEV_RET_INVALID_ADDRESS, commands[i].name, commands[i].id, list[j]);
    sweep_end();
}

static void spoil_length(const struct command *command, uint32_t handle, const struct field *field, uint32_t length)
{
    good_buffer(command, handle, buffer);
    put32(buffer, field->length, length);
    if (expect(SEV_RET_INVALID_LEN, command->name, command->id, buffer, command->size) && field->kind == OUTPUT)
        check(get32(arena + AT_COMMAND, field->length) == field->size, "the needed length is told");   /* section 6 */
}

static void spoil_lengths(const struct command *command, uint32_t handle, const struct field *field)
{
    spoil_length(command, handle, field, 0);
    spoil_length(command, handle, field, field->kind == BLOCKS ? 17 : field->size - 1);
    if (field->kind == BLOCKS) {
        spoil_length(command, handle, field, 15);
        spoil_length(command, handle, field, 0xffffffff);
    }
    if (field->kind == INPUT) {
        spoil_length(command, handle, field, field->size + 1);
        spoil_length(command, handle, field, 0xffffffff);
    }
    if (field->limit)
        spoil_length(command, handle, field, field->limit + 16);
}

static void spoil_address(const struct command *command, uint32_t handle, const struct field *field, uint64_t address)
{
    good_buffer(command, handle, buffer);
    put64(buffer, field->address, address);
    expect(SEV_RET_INVALID_ADDRESS, command->name, command->id, buffer, command->size);
}

static void spoil(const struct command *command, uint32_t handle)
{
    uint64_t list[16];

    for (unsigned i = 0; i < FIELDS; i++) {
        const struct field *field = &command->fields[i];

        if (command->reserved[i])
            for (unsigned bit = 0; bit < 32; bit += 31) {
                good_buffer(command, handle, buffer);
                put32(buffer, command->reserved[i], UINT32_C(1) << bit);
                expect(SEV_RET_INVALID_PARAM, command->name, command->id, buffer, command->size);
            }
        if (field->kind == NONE || field->kind == OPTIONAL)
            continue;
        spoil_lengths(command, handle, field);
        for (size_t j = 0; j < bad_addresses(list, field->size); j++)
            spoil_address(command, handle, field, list[j]);
        for (uint32_t odd = 1; odd < field->alignment; odd *= 2)
            spoil_address(command, handle, field, arena_spa + AT_FIELDS + odd);
    }
}

void spoil_platform(unsigned state, const char *what)
{
    sweep(what);
    for (size_t i = 0; i < command_count; i++)
        if (!commands[i].guest && (commands[i].platform & state))
            spoil(&commands[i], 0);
    sweep_end();
}

void spoil_guest(uint32_t handle, unsigned state, const char *what)
{
    sweep(what);
    for (size_t i = 0; i < command_count; i++)
        if (commands[i].guest != ANY_GUEST && (commands[i].guest & IN(state)))
            spoil(&commands[i], handle);
    sweep_end();
}
