/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Framing of GDB's remote protocol (GDB manual, appendix E.1): $data#hh, the sum of the data's bytes modulo 256; + and - until
 * QStartNoAckMode; 7Dh, byte XOR 20h for bytes that mean something; a lone 03h interrupts. Noise between packets is skipped. */
#include "guest/control/rsp.h"

#include "guest/control/machine.h"
#include "guest/control/text.h"

#define ESCAPE 0x7d
#define ESCAPED_BY 0x20
#define INTERRUPT 0x03

enum state {
    OUTSIDE,
    INSIDE,
    FIRST_DIGIT,
    SECOND_DIGIT,
};

static const char digits[] = "0123456789abcdef";

static void acknowledge(const struct rsp *rsp, char sign)
{
    if (!rsp->no_ack)
        machine_send((const uint8_t *)&sign, 1);
}

static void begin(struct rsp *rsp)
{
    rsp->state = INSIDE;
    rsp->sum = 0;
    rsp->length = 0;
    rsp->escaped = rsp->too_long = false;
}

static enum rsp_event outside(struct rsp *rsp, uint8_t byte)
{
    if (byte == '$')
        begin(rsp);
    else if (byte == '-' && !rsp->no_ack)
        machine_send(rsp->frame, rsp->sent);
    else if (byte == INTERRUPT)
        return RSP_INTERRUPT;
    return RSP_NOTHING;
}

static void inside(struct rsp *rsp, uint8_t byte)
{
    if (byte == '#') {
        rsp->state = FIRST_DIGIT;
        return;
    }
    if (byte == '$') { /* never within a packet: the one before was cut */
        begin(rsp);
        return;
    }
    rsp->sum = (uint8_t)(rsp->sum + byte);
    if (byte == ESCAPE) {
        rsp->escaped = true;
        return;
    }
    if (rsp->length == sizeof(rsp->packet)) {
        rsp->too_long = true;
        return;
    }
    rsp->packet[rsp->length++] = rsp->escaped ? byte ^ ESCAPED_BY : byte;
    rsp->escaped = false;
}

static enum rsp_event finish(struct rsp *rsp, uint8_t second)
{
    uint8_t hex[2] = {rsp->wanted, second}, sum;
    struct cursor cursor = {hex, hex + 2};
    bool good = cursor_hex_bytes(&cursor, &sum, 1) && sum == rsp->sum && !rsp->too_long;

    rsp->state = OUTSIDE;
    acknowledge(rsp, good ? '+' : '-');
    return good ? RSP_PACKET : RSP_NOTHING;
}

enum rsp_event rsp_byte(struct rsp *rsp, uint8_t byte)
{
    switch (rsp->state) {
    case INSIDE:
        inside(rsp, byte);
        return RSP_NOTHING;
    case FIRST_DIGIT:
        rsp->wanted = byte;
        rsp->state = SECOND_DIGIT;
        return RSP_NOTHING;
    case SECOND_DIGIT:
        return finish(rsp, byte);
    default:
        return outside(rsp, byte);
    }
}

static bool must_escape(uint8_t byte)
{
    return byte == ESCAPE || byte == '#' || byte == '$' || byte == '*';
}

size_t rsp_escaped(uint8_t byte)
{
    return must_escape(byte) ? 2 : 1;
}

void rsp_send(struct rsp *rsp, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    uint8_t *to = rsp->frame, sum = 0;

    *to++ = '$';
    for (size_t i = 0; i < size && rsp_escaped(from[i]) <= RSP_PACKET_SIZE - (size_t)(to - rsp->frame - 1); i++) {
        if (must_escape(from[i])) {
            *to++ = ESCAPE;
            *to++ = from[i] ^ ESCAPED_BY;
        } else {
            *to++ = from[i];
        }
    }
    for (const uint8_t *at = rsp->frame + 1; at < to; at++)
        sum = (uint8_t)(sum + *at);
    *to++ = '#';
    *to++ = (uint8_t)digits[sum >> 4];
    *to++ = (uint8_t)digits[sum & 0xf];
    rsp->sent = (size_t)(to - rsp->frame);
    machine_send(rsp->frame, rsp->sent);
}
