/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Packets of GDB's remote protocol out of a stream of bytes, and into one. */
#ifndef SEVISOR_CONTROL_RSP_H
#define SEVISOR_CONTROL_RSP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RSP_PACKET_SIZE 0x4000u     /* bytes between $ and #, escapes included, in both directions */

enum rsp_event {
    RSP_NOTHING,
    RSP_PACKET,     /* in rsp->packet, unescaped; acknowledged */
    RSP_INTERRUPT,  /* Ctrl-C */
};

struct rsp {
    bool no_ack;                /* QStartNoAckMode: set after its reply */
    uint8_t state;
    uint8_t sum, wanted;        /* checksum so far; its first digit */
    bool escaped, too_long;
    size_t length;
    uint8_t packet[RSP_PACKET_SIZE];
    size_t sent;
    uint8_t frame[RSP_PACKET_SIZE + 4];     /* the last reply, sent again when the client asks */
};

enum rsp_event rsp_byte(struct rsp *rsp, uint8_t byte);

/* Bytes that stand for this one. */
size_t rsp_escaped(uint8_t byte);
/* Sends a packet. What has no room, escapes included, is left out: the caller counts by rsp_escaped() where it matters. */
void rsp_send(struct rsp *rsp, const void *bytes, size_t size);

#endif
