/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The registers used as no driver does. The mailbox reference wants 32-bit accesses,
 * one command at a time and zeros in all other bits; of the rest no document speaks,
 * so mostly the rule is: no command runs, and the next proper one does.
 */
#include "mbox.h"

#include <string.h>

#define STATUS_BUFFER (arena_spa + AT_COMMAND)
#define ELSEWHERE 0x800u    /* in the same page as the command buffer */

static void works(const char *what)
{
    memset(arena + AT_COMMAND, 0xee, 16);
    check(ring(PLATFORM_STATUS, STATUS_BUFFER) == SEV_RET_SUCCESS && arena[AT_COMMAND] == 1 &&
              arena[AT_COMMAND + 2] == 0 && get32(arena + AT_COMMAND, 8) == 0,
          what);
}

/* The machine was told that its first NOPs take long: whoever writes while one runs is in time. */
static void while_a_command_runs(void)
{
    memset(arena + AT_COMMAND, 0xee, PAGE);
    submit(PLATFORM_STATUS, STATUS_BUFFER);
    reg_write(REG_ADDRESS_LOW, (uint32_t)STATUS_BUFFER + ELSEWHERE);
    reg_write(REG_ADDRESS_HIGH, 0x7fffffff);
    check(answer() == SEV_RET_SUCCESS && arena[AT_COMMAND] == 1 && arena[AT_COMMAND + ELSEWHERE] == 0xee,
          "a command keeps the address that it was given");

    memset(arena + AT_COMMAND, 0, PAGE);
    submit(NOP, 0);
    check(!(reg_read(REG_COMMAND) & RESP), "no answer while a command runs");
    submit(INIT, STATUS_BUFFER);
    submit(0x7ff, UINT64_MAX);
    reg_write(REG_COMMAND, RESP);
    check(!(reg_read(REG_COMMAND) & RESP), "nor after three more were written");
    check(answer() == SEV_RET_SUCCESS, "the answer is the first one's");
    works("the others did not run");

    submit(NOP, 0);
    for (uint32_t at = 0; at < BAR_SIZE; at += 4)
        if (at != REG_COMMAND)
            reg_write(at, UINT32_MAX);
    check(answer() == SEV_RET_SUCCESS, "all registers written while a command runs");
    reg_write(REG_INT_ENABLE, 0);
    reg_write(REG_INT_STATUS, UINT32_MAX);
}

static void interrupts(void)
{
    reg_write(REG_INT_ENABLE, 0);
    reg_write(REG_COMMAND, PLATFORM_RESET << 16 | IOC);
    answer();
    check(!(reg_read(REG_INT_STATUS) & INT_SEV), "IOC, not enabled: no interrupt status");
    reg_write(REG_INT_ENABLE, UINT32_MAX);
    reg_write(REG_COMMAND, PLATFORM_RESET << 16);
    answer();
    check(!(reg_read(REG_INT_STATUS) & INT_SEV), "enabled, no IOC: no interrupt status");
    reg_write(REG_COMMAND, PLATFORM_RESET << 16 | IOC);
    answer();
    check(reg_read(REG_INT_STATUS) == INT_SEV, "IOC and enabled: interrupt status");
    reg_write(REG_INT_STATUS, (uint32_t)~INT_SEV);
    check(reg_read(REG_INT_STATUS) == INT_SEV, "it is not acknowledged by other bits");
    reg_write(REG_INT_STATUS, INT_SEV);
    check(reg_read(REG_INT_STATUS) == 0, "it is by its own");
    reg_write(REG_INT_ENABLE, 0);
}

static void odd_commands(void)
{
    for (uint32_t high = 1u << 8; high <= 1u << 10; high *= 2)
        expect_at(SEV_RET_INVALID_COMMAND, "PLATFORM_STATUS with bit 24, 25 or 26 set", high | PLATFORM_STATUS,
                  STATUS_BUFFER);
    works("after ids with high bits");
    for (unsigned bit = 27; bit < 32; bit++) {
        reg_write(REG_ADDRESS_LOW, (uint32_t)STATUS_BUFFER);
        reg_write(REG_ADDRESS_HIGH, (uint32_t)(STATUS_BUFFER >> 32));
        reg_write(REG_COMMAND, UINT32_C(1) << bit | PLATFORM_STATUS << 16);
        check(answer() <= SEV_RET_SECURE_DATA_INVALID, "a command with RESP or a reserved bit set is answered");
    }
    reg_write(REG_COMMAND, RESP | INIT << 16 | 0xfffe); /* the addresses of the last one are still there, or not */
    check(answer() <= SEV_RET_SECURE_DATA_INVALID, "a command with status bits set is answered");
    ring(SHUTDOWN, 0);
    works("after commands with odd bits");
}

/* Neither narrow nor wide nor crooked accesses start a command. */
static void odd_accesses(void)
{
    static const uint32_t at[] = {
        0, REG_COMMAND, REG_ADDRESS_LOW, REG_ADDRESS_HIGH, REG_INT_ENABLE, REG_INT_STATUS, BAR_SIZE - 16};
    const uint32_t before = reg_read(REG_COMMAND);
    bool silent = true;

    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
        for (uint32_t byte = 0; byte < 4; byte++) {
            (void)*(volatile uint8_t *)reg(at[i] + byte);
            (void)*(volatile uint16_t *)reg(at[i] + byte);
            (void)*(volatile uint32_t *)reg(at[i] + byte);
            (void)*(volatile uint64_t *)reg(at[i] + byte);
            if (at[i] == REG_COMMAND && byte == 0)
                continue;
            *(volatile uint8_t *)reg(at[i] + byte) = INIT;
            *(volatile uint16_t *)reg(at[i] + byte) = INIT;
            *(volatile uint64_t *)reg(at[i] + byte) = (uint64_t)INIT << 48 | INIT << 16;
            silent = silent && reg_read(REG_COMMAND) == before;
        }
    *(volatile uint64_t *)reg(REG_COMMAND) = INIT << 16;
    *(volatile uint16_t *)reg(REG_COMMAND + 2) = INIT;
    check(silent && reg_read(REG_COMMAND) == before, "odd accesses start no command");
    reg_write(REG_INT_ENABLE, 0);
    reg_write(REG_INT_STATUS, UINT32_MAX);
    works("after odd accesses");
}

static void all_registers(void)
{
    const uint32_t feature = reg_read(REG_FEATURE);
    uint32_t others = 0;

    check((feature & 1) && feature != UINT32_MAX, "the feature register says SEV");
    for (uint32_t at = 0; at < BAR_SIZE; at += 4)
        if (at != REG_COMMAND)
            reg_write(at, UINT32_MAX);
    check(reg_read(REG_FEATURE) == feature, "the feature register is read-only");
    reg_write(REG_INT_ENABLE, 0);
    reg_write(REG_ADDRESS_LOW, 0);
    reg_write(REG_ADDRESS_HIGH, 0);
    for (uint32_t at = 0; at < BAR_SIZE; at += 4)
        if (at != REG_COMMAND && at != REG_FEATURE)
            others |= reg_read(at);
    check(others == 0, "no other register keeps what was written");
    works("after all registers were written");
}

void hostile_registers(void)
{
    works("PLATFORM_STATUS");
    while_a_command_runs();
    interrupts();
    odd_commands();
    odd_accesses();
    all_registers();
}
