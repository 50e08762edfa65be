/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The serial line of unit tests. */
#include "tests/unit/guest_control/line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/machine.h"
#include "guest/control/server.h"
#include "tests/unit/guest_control/fake_hv.h"

uint64_t line_ms;
static uint8_t sent[1 << 20];
static size_t sent_size;
static char taken[1 << 20];
static size_t taken_size;

void machine_sleep(void)
{
    line_ms += 10;
    fake_time();
}

uint64_t machine_ms(void)
{
    return line_ms;
}

void machine_send(const uint8_t *bytes, size_t size)
{
    if (size > sizeof(sent) - sent_size)
        abort();
    memcpy(sent + sent_size, bytes, size);
    sent_size += size;
}

void line_send(const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        server_byte(((const uint8_t *)bytes)[i]);
}

void line_packet(const void *bytes, size_t size)
{
    uint8_t sum = 0;
    char end[4];

    line_send("$", 1);
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = ((const uint8_t *)bytes)[i], escape[2] = {0x7d, byte ^ 0x20};

        if (byte == 0x7d || byte == '#' || byte == '$' || byte == '*') {
            sum = (uint8_t)(sum + escape[0] + escape[1]);
            line_send(escape, 2);
        } else {
            sum = (uint8_t)(sum + byte);
            line_send(&byte, 1);
        }
    }
    snprintf(end, sizeof(end), "#%02x", sum);
    line_send(end, 3);
}

const char *line_raw(void)
{
    memcpy(taken, sent, sent_size);
    taken[sent_size] = '\0';
    taken_size = sent_size;
    sent_size = 0;
    return taken;
}

const char *line_taken(void)
{
    size_t at = 0;

    taken_size = 0;
    while (at < sent_size) {
        if (sent[at++] != '$')
            continue;
        if (taken_size > 0)
            taken[taken_size++] = '\n';
        while (sent[at] != '#') {
            bool escaped = sent[at] == 0x7d;

            at += escaped;
            taken[taken_size++] = (char)(escaped ? sent[at] ^ 0x20 : sent[at]);
            at++;
        }
        at += 3;
    }
    sent_size = 0;
    taken[taken_size] = '\0';
    return taken;
}

size_t line_taken_size(void)
{
    return taken_size;
}

const char *line_ask(const char *packet)
{
    line_packet(packet, strlen(packet));
    return line_taken();
}

void line_start(void)
{
    line_ask("D");
    fake_start();
    ask_start();
    line_ask("qSupported:multiprocess+");
    line_ask("QStartNoAckMode");
}
