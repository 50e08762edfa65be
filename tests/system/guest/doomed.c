/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * doomed: the control guest of guest/control as it is, but for this file, which the linker puts between its others (--wrap). It dies
 * by a triple fault when its line says so: WORD and a digit of `enum place`. On the virtual UART, which the control guest does not use:
 *   doomed: dies WHERE
 */
#include "guest/control/machine.h"
#include "guest/control/server.h"
#include "guest/hello/bare.h"

#define WORD "\005doomed" /* no request has it; outside of one the control guest skips it */
#define LONGEST_ACK 1

enum place { NOWHERE, ANYWHERE, WRITTEN, UNDER_WAY, REPLYING };

static enum place dies_at;

static void die(const char *where)
{
    struct table_register idtr = {0, (uint64_t)die}; /* without a base it would be a reset */

    put("doomed: dies ");
    put(where);
    put("\n");
    __asm__ volatile("lidt %0; ud2" : : "m"(idtr));
}

void __real_machine_doorbell(uint32_t sequence);
void __wrap_machine_doorbell(uint32_t sequence);
void __real_machine_send(const uint8_t *bytes, size_t size);
void __wrap_machine_send(const uint8_t *bytes, size_t size);
void __real_server_byte(uint8_t byte);
void __wrap_server_byte(uint8_t byte);

void __wrap_machine_doorbell(uint32_t sequence)
{
    bool rings = (sequence & 1) != 0;

    if (!rings && dies_at == WRITTEN)
        die("with a request that it has written");
    __real_machine_doorbell(sequence);
    if (rings && dies_at == UNDER_WAY)
        die("with a request under way");
}

void __wrap_machine_send(const uint8_t *bytes, size_t size)
{
    if (size > LONGEST_ACK && dies_at == REPLYING) {
        __real_machine_send(bytes, size / 2);
        die("in the middle of a reply");
    }
    __real_machine_send(bytes, size);
}

void __wrap_server_byte(uint8_t byte)
{
    static unsigned known;

    if (known == sizeof(WORD) - 1) {
        dies_at = byte - '0';
        known = 0;
    } else {
        known = byte == (uint8_t)WORD[known] ? known + 1 : byte == (uint8_t)WORD[0];
    }
    if (dies_at == ANYWHERE)
        die("before a request");
    __real_server_byte(byte);
}
