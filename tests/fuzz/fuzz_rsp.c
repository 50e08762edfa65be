/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * libFuzzer on the control guest: a line that carries anything, in front of a hypervisor that answers anything. Random bytes
 * would die at the first checksum, so the input is a list of packets, of which all but few are framed here. The model of hv
 * (tests/unit/guest_control/fake_hv.c) ends the program at a request that breaks guest/control.h.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/machine.h"
#include "guest/control/rsp.h"
#include "guest/control/server.h"
#include "tests/unit/guest_control/fake_hv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#define END_OF_PACKET 0xff      /* in the input: the next byte says what happens then */

static uint64_t now_ms;
static uint32_t replies;

static void require(int condition)
{
    if (!condition)
        abort();
}

/* ------------------------------------------------------------- the machine */

void machine_sleep(void)
{
    now_ms += 50;
    fake_time();
}

uint64_t machine_ms(void)
{
    return now_ms += 1;
}

/* What is sent is a sign, or frames of a size that gdb takes. */
void machine_send(const uint8_t *bytes, size_t size)
{
    uint8_t sum = 0;
    unsigned checksum;
    char hex[3] = {0};

    if (size == 1 && (*bytes == '+' || *bytes == '-'))
        return;
    if (size == 0)
        return;         /* asked again before the first reply */
    require(size >= 4 && size <= RSP_PACKET_SIZE + 4 && bytes[0] == '$' && bytes[size - 3] == '#');
    for (size_t i = 1; i < size - 3; i++) {
        require(bytes[i] != '$' && bytes[i] != '#');
        sum = (uint8_t)(sum + bytes[i]);
    }
    memcpy(hex, bytes + size - 2, 2);
    checksum = (unsigned)strtoul(hex, NULL, 16);
    require(checksum == sum);
    replies++;
}

/* ------------------------------------------------------------- the line */

static void packet(const uint8_t *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t sum = 0;

    server_byte('$');
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '#' || data[i] == '$') {     /* only noise has them */
            server_byte(0x7d);
            server_byte(data[i] ^ 0x20);
            sum = (uint8_t)(sum + 0x7d + (data[i] ^ 0x20));
        } else {
            server_byte(data[i]);
            sum = (uint8_t)(sum + data[i]);
        }
    }
    server_byte('#');
    server_byte((uint8_t)digits[sum >> 4]);
    server_byte((uint8_t)digits[sum & 0xf]);
}

/* hv tells what it likes. */
static void hostile(uint8_t what, uint8_t with)
{
    struct fake_guest *guest = &fake_hv.guests[with % FAKE_GUESTS];

    switch (what % 8) {
    case 0:
        fake_event(with % 5, with % 7, with / 16, with % 10);
        break;
    case 1:
        guest->info.state = with % 12;
        fake_event(CONTROL_EVENT_STATE, with % FAKE_GUESTS, 0, guest->info.state);
        break;
    case 2:
        if (guest->info.console_end < 4000)
            fake_print(with % FAKE_GUESTS, "words $#*}\n");
        break;
    case 3:
        fake_hv.refuse_status = with;
        break;
    case 4:
        guest->info.vcpus = with % 4;
        break;
    case 5:
        memset(guest->info.end_reason, with, sizeof(guest->info.end_reason));
        memset(guest->info.name, with | 1, with % (sizeof(guest->info.name) + 1));
        break;
    case 6:
        for (uint32_t i = 0; i < CONTROL_EVENT_COUNT + with; i++)
            fake_event(CONTROL_EVENT_CONSOLE, i % FAKE_GUESTS, 0, 0);
        break;
    default:
        guest->vcpus[0].cr3 = (uint64_t)with << 12;
        guest->vcpus[0].dr7 ^= with;
        break;
    }
}

static void act(const uint8_t *data, size_t size, uint8_t how, uint8_t with)
{
    uint32_t before = replies;

    if (how < 0xc0) {
        uint8_t first = size == 0 ? 0 : size > 1 && data[0] == 0x7d ? data[1] ^ 0x20 : data[0];

        packet(data, size);
        /* Silent are vCont, until a guest stops, k, and what is repeated in acknowledgement mode. */
        require(replies > before || first == 'v' || first == 'k' || size > RSP_PACKET_SIZE);
    } else if (how < 0xd0) {
        for (size_t i = 0; i < size; i++)
            server_byte(data[i]);
        server_byte('#');       /* ends whatever has begun */
        server_byte('0');
        server_byte('0');
    } else if (how < 0xd8) {
        server_byte(0x03);
    } else {
        hostile(how, with);
    }
    server_poll();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t first = 0;

    packet((const uint8_t *)"D", 1);
    fake_start();
    ask_start();
    packet((const uint8_t *)"qSupported", 10);
    for (size_t at = 0; at + 2 < size; at++) {
        if (data[at] != END_OF_PACKET)
            continue;
        act(data + first, at - first, data[at + 1], data[at + 2]);
        first = at + 3;
        at += 2;
    }
    return 0;
}

/* ------------------------------------------------------------- what is worth saying */

static const char *const sentences[] = {
    "vAttach;2",
    "vAttach;5",
    "vAttach;3",
    "D;2",
    "vKill;2",
    "vRun;6c696e7578",
    "?",
    "g",
    "p10",
    "P0=0100000000000000",
    "m9000,100",
    "mffffffff80009000,10",
    "M9001,2:abcd",
    "X9001,3:abc",
    "vCont?",
    "vCont;c",
    "vCont;s:p2.1;c:p2.-1",
    "Z1,5000,1",
    "z1,5000,1",
    "Z2,a000,4",
    "Z4,a002,2",
    "Hgp2.2",
    "Hc-1",
    "Tp2.1",
    "qC",
    "qfThreadInfo",
    "qXfer:features:read:target.xml:0,fff",
    "qXfer:threads:read::0,fff",
    "qXfer:osdata:read:guests:0,3fff",
    "qXfer:osdata:read:guests:100,80",
    "qXfer:osdata:read::0,fff",
    "qRcmd,6c697374",
    "qRcmd,70617573652068656c6c6f",
    "vFile:setfs:0",
    "vFile:open:2f6c6f67,0,0",
    "vFile:open:2f67756573742f6c696e75782f6d656d6f7279,2,0",
    "vFile:open:2f67756573742f6c696e75782f736563726574,1,0",
    "vFile:open:2f67756573742f6c696e75782f636f6d6d616e64,1,0",
    "vFile:open:2f67756573742f6c696e75782f636f6e736f6c65,2,0",
    "vFile:open:2f706c6174666f726d2f636861696e,0,0",
    "vFile:open:2f706c6174666f726d2f636f6d6d616e64,1,0",
    "vFile:open:2f67756573742f6c696e75782f737461747573,0,0",
    "vFile:open:2f67756573742f6c696e75782f7061636b657473,0,0",
    "vFile:open:2f67756573742f6c696e75782f706c61696e,0,0",
    "vFile:open:2f67756573742f6c696e75782f70616765732d30,0,0",
    "vFile:open:2f67756573742f6c696e75782f64697274792d33,0,0",
    "vFile:open:2f67756573742f6c696e75782f73746174652d6666,0,0",
    "vFile:open:2f67756573742f6c696e75782f73746174652d31,1,0",
    "vFile:open:2f67756573742f6c696e75782f73656e64,1,0",
    "vFile:open:2f67756573742f68656c6c6f2f7061636b657473,1,0",
    "vFile:open:2f67756573742f6c696e75782f706c61696e,1,0",
    "vFile:pread:0,4000,0",
    "vFile:pread:0,4000,3090",
    "vFile:pwrite:0,0,send-cancel",
    "vFile:pwrite:0,0,receive",
    "vFile:pread:1,10,ffff",
    "vFile:pwrite:0,0,pause",
    "vFile:pwrite:1,9001,abc",
    "vFile:fstat:0",
    "vFile:close:0",
    "vFile:close:1",
    "vFile:unlink:2f6c6f67",
    "qSupported",
    "QStartNoAckMode",
    "k",
};

/* Puts a sentence, with its end, somewhere between two packets. */
static size_t insert(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    const char *sentence = sentences[seed % (sizeof(sentences) / sizeof(sentences[0]))];
    size_t length = strlen(sentence), at = size > 0 ? (seed >> 8) % size : 0;

    if (size + length + 3 > max_size)
        return size;
    while (at < size && (at < 3 || data[at - 3] != END_OF_PACKET))
        at++;
    memmove(data + at + length + 3, data + at, size - at);
    memcpy(data + at, sentence, length);
    data[at + length] = END_OF_PACKET;
    data[at + length + 1] = (uint8_t)(seed >> 16) % 4 == 0 ? (uint8_t)(seed >> 20) : 0;
    data[at + length + 2] = (uint8_t)(seed >> 24);
    return size + length + 3;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    if (size < 8 || seed % 2 == 0)
        return insert(data, size, max_size, seed / 2);
    return LLVMFuzzerMutate(data, size, max_size);
}
