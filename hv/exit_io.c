/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Port I/O: a whitelist. All devices here are one byte wide; a wider access is one
 * to each byte in turn, as on the ISA bus. */
#include "exit.h"

#include "guest.h"
#include "vpower.h"
#include "vuart.h"

enum port_kind { PORT_UNKNOWN, PORT_UART, PORT_POWER, PORT_QUIET };

/* Where PCs have devices that operating systems look for, or a delay: nothing is there, and
 * nobody needs to be told. */
static const struct { uint16_t first, last; } quiet_ports[] = {
    {0x80, 0x80}, {0xed, 0xed},                         /* POST code: a delay */
    {0x20, 0x21}, {0xa0, 0xa1}, {0x4d0, 0x4d1},         /* interrupt controllers */
    {0x40, 0x43}, {0x61, 0x61},                         /* timer, speaker */
    {0x60, 0x60}, {0x64, 0x64},                         /* keyboard */
    {0x70, 0x71},                                       /* clock */
    {0x2e8, 0x2ef}, {0x2f8, 0x2ff}, {0x3e8, 0x3ef},     /* COM4, COM2, COM3 */
    {0xcf8, 0xcff},                                     /* PCI configuration */
};

static enum port_kind port_kind(uint32_t port)
{
    if ((port & ~7u) == VUART_PORT)
        return PORT_UART;
    if (port >= VPOWER_SLEEP_CONTROL && port <= VPOWER_RESET)
        return PORT_POWER;
    for (size_t i = 0; i < sizeof(quiet_ports) / sizeof(quiet_ports[0]); i++) {
        if (port >= quiet_ports[i].first && port <= quiet_ports[i].last)
            return PORT_QUIET;
    }
    return PORT_UNKNOWN;
}

/* The operator's input comes from another CPU, and other vCPUs have the UART, too. */
static uint8_t uart_read(struct guest *guest, uint32_t offset)
{
    lock_take(&guest->lock, LOCK_GUEST);
    uint8_t value = vuart_read(&guest->uart, offset);
    lock_release(&guest->lock, LOCK_GUEST);
    return value;
}

static void uart_write(struct guest *guest, uint32_t offset, uint8_t value)
{
    lock_take(&guest->lock, LOCK_GUEST);
    vuart_write(&guest->uart, offset, value);
    lock_release(&guest->lock, LOCK_GUEST);
}

static uint8_t port_read(struct vcpu *vcpu, uint32_t port)
{
    switch (port_kind(port)) {
    case PORT_UART:
        return uart_read(vcpu->guest, port - VUART_PORT);
    case PORT_POWER:
        return vpower_read((uint16_t)port);
    case PORT_UNKNOWN:
        exit_log(vcpu, "reads port 0x%x, where there is nothing (RIP 0x%lx)", port, vcpu->vmcb->rip);
        return 0xff;
    default:
        return 0xff;
    }
}

static void port_write(struct vcpu *vcpu, uint32_t port, uint8_t value)
{
    switch (port_kind(port)) {
    case PORT_UART:
        uart_write(vcpu->guest, port - VUART_PORT, value);
        break;
    case PORT_POWER:
        vpower_write(vcpu->guest, (uint16_t)port, value);
        if (vcpu->guest->end != GUEST_END_NONE)
            vcpu->attention = true;
        break;
    case PORT_UNKNOWN:
        exit_log(vcpu, "writes 0x%x to port 0x%x, where there is nothing (RIP 0x%lx)", value, port, vcpu->vmcb->rip);
        break;
    default:
        break;
    }
}

/* A wide access to ports where there is nothing is one message, not four. */
static bool nothing_there(uint32_t port, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (port_kind(port + i) != PORT_UNKNOWN)
            return false;
    }
    return true;
}

static uint64_t port_read_wide(struct vcpu *vcpu, uint32_t port, uint32_t size)
{
    uint64_t value = 0;
    if (nothing_there(port, size)) {
        exit_log(vcpu, "reads port 0x%x, where there is nothing (RIP 0x%lx)", port, vcpu->vmcb->rip);
        return size == 2 ? 0xffff : 0xffffffff;
    }
    for (uint32_t i = 0; i < size; i++)
        value |= (uint64_t)port_read(vcpu, port + i) << 8 * i;
    return value;
}

static void port_write_wide(struct vcpu *vcpu, uint32_t port, uint32_t size, uint64_t value)
{
    if (nothing_there(port, size)) {
        exit_log(vcpu, "writes 0x%x to port 0x%x, where there is nothing (RIP 0x%lx)", (uint32_t)value, port,
                 vcpu->vmcb->rip);
        return;
    }
    for (uint32_t i = 0; i < size; i++)
        port_write(vcpu, port + i, (uint8_t)(value >> 8 * i));
}

void exit_ioio(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    uint64_t info = vmcb->exitinfo1, rax = vmcb->rax;
    uint32_t port = (uint32_t)(info >> IOIO_PORT_SHIFT) & 0xffffu;
    uint32_t size = (uint32_t)(info >> IOIO_SIZE_SHIFT) & 7u;

    if ((info & IOIO_STRING) != 0 || (size != 1 && size != 2 && size != 4)) {
        exit_report(vcpu);
        guest_end(vcpu->guest, GUEST_END_CRASH, "string I/O (INS, OUTS) to port 0x%x at RIP 0x%lx: guests have none", port,
                  vmcb->rip);
        vcpu->attention = true;
        return;
    }
    if ((info & IOIO_IN) != 0) {
        if (size == 1)
            rax = (rax & ~UINT64_C(0xff)) | port_read(vcpu, port);
        else if (size == 2)
            rax = (rax & ~UINT64_C(0xffff)) | port_read_wide(vcpu, port, size);
        else
            rax = port_read_wide(vcpu, port, size);     /* EAX: the upper half becomes 0 */
        vmcb_set_rax(vmcb, rax);
    } else if (size == 1) {
        port_write(vcpu, port, (uint8_t)rax);
    } else {
        port_write_wide(vcpu, port, size, rax);
    }
    exit_skip_to(vcpu, vmcb->exitinfo2);
}
