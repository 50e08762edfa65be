/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "fake_uart.h"

#include <assert.h>
#include <string.h>

#define REGISTERS 8u
enum { DATA = 0, LCR = 3, LSR = 5, DLAB = 0x80, LSR_DATA_READY = 0x01, LSR_SENT = 0x60 };

const struct handoff_uart fake_uart = {.base = FAKE_UART_PORT, .divisor = 1, .stride = 1, .line = 0x03};
bool fake_uart_stuck;
void (*fake_uart_sent)(uint8_t byte);

static uint8_t registers[REGISTERS];
static char line[1024];
static size_t length;

static const char *keys;
static size_t keys_left;

void fake_uart_type(const char *typed, size_t count)
{
    keys = typed;
    keys_left = count;
}

static uint8_t take_key(void)
{
    if (keys_left == 0)
        return 0;
    keys_left--;
    return (uint8_t)*keys++;
}

uint8_t fake_uart_read(uint16_t port)
{
    unsigned index = port - FAKE_UART_PORT;
    assert(index < REGISTERS);
    if (index == LSR)
        return (uint8_t)((fake_uart_stuck ? 0 : LSR_SENT) | (keys_left > 0 ? LSR_DATA_READY : 0));
    if (index == DATA && (registers[LCR] & DLAB) == 0)
        return take_key();
    return registers[index];
}

void fake_uart_write(uint16_t port, uint8_t value)
{
    unsigned index = port - FAKE_UART_PORT;
    assert(index < REGISTERS);
    if (index != DATA || (registers[LCR] & DLAB) != 0) {
        registers[index] = value;
        return;
    }
    if (value == '\r')
        return;
    if (fake_uart_sent != NULL)
        fake_uart_sent(value);
    if (value != '\n') {
        assert(length + 1 < sizeof(line));
        line[length++] = (char)value;
        return;
    }
    line[length] = '\0';
    length = 0;
    const char *time_end = line[0] == '[' ? strstr(line, "] ") : NULL;
    fake_uart_printed(time_end != NULL ? time_end + 2 : line);
}
