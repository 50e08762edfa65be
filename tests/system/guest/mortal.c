/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * mortal: the control guest of guest/control as it is, but for this file, which the linker puts between its others (--wrap). It dies
 * by a triple fault behind a random moment, up to LIFE_TSC from its start: in a third of its lives wherever it is then, in the
 * others when it next asks hv for something, or replies on its line. On the virtual UART, which the control guest does not use:
 *   mortal: dies WHERE
 */
#include "guest/control/machine.h"
#include "guest/control/server.h"
#include "guest/hello/bare.h"

#define LIFE_TSC 900000000u     /* below a second where the TSC counts nanoseconds, as under -icount */

enum place { ANYWHERE, ASKING, REPLYING, PLACES };

static uint64_t dies_tsc;       /* 0: it has not come to any place yet */
static enum place dies_at;

/* Whether it is to die in this place, now. */
static bool is_time(enum place place)
{
    if (dies_tsc == 0) {
        uint64_t random = (read_tsc() * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407)) >> 33;

        dies_at = (enum place)(random % PLACES);
        dies_tsc = read_tsc() + random / PLACES % LIFE_TSC;
    }
    return read_tsc() >= dies_tsc && (dies_at == ANYWHERE || dies_at == place);
}

static void die(const char *where)
{
    struct table_register idtr = {0, (uint64_t)die};     /* without a base it would be a reset */

    put("mortal: dies ");
    put(where);
    put("\n");
    __asm__ volatile("lidt %0; ud2" : : "m"(idtr));
}

void __real_machine_doorbell(uint32_t sequence);
void __wrap_machine_doorbell(uint32_t sequence);
void __real_machine_sleep(void);
void __wrap_machine_sleep(void);
void __real_machine_send(const uint8_t *bytes, size_t size);
void __wrap_machine_send(const uint8_t *bytes, size_t size);
void __real_server_poll(void);
void __wrap_server_poll(void);

void __wrap_machine_doorbell(uint32_t sequence)
{
    bool rings = (sequence & 1) != 0;

    if (!rings && is_time(ASKING))
        die("with a request that it has written");
    __real_machine_doorbell(sequence);
    if (rings && is_time(ASKING))
        die("with a request under way");
}

/* main.c's own sleep is not this one. */
void __wrap_machine_sleep(void)
{
    if (is_time(ASKING))
        die("asleep until an answer comes");
    __real_machine_sleep();
}

void __wrap_machine_send(const uint8_t *bytes, size_t size)
{
    if (is_time(REPLYING)) {
        __real_machine_send(bytes, size / 2);
        die("in the middle of a reply");
    }
    __real_machine_send(bytes, size);
}

void __wrap_server_poll(void)
{
    if (is_time(ANYWHERE))
        die("idle");
    __real_server_poll();
}
