/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Port I/O: a whitelist. All devices here are one byte wide; a wider access is one
 * to each byte in turn, as on the ISA bus. */
#include "hv/vm/exit_io.h"

#include "hv/cpu/clock.h"
#include "hv/dev/vpower.h"
#include "hv/dev/vuart.h"
#include "hv/vm/exit.h"
#include "hv/vm/guest.h"

enum port_kind { PORT_UNKNOWN, PORT_UART, PORT_POWER, PORT_TIMER, PORT_IGNORED };

/* Ignored: where PCs have devices that operating systems probe, or a delay. Reads are all ones, writes are dropped, and nothing
 * is logged. A switch is a few comparisons, whichever the port. */
static inline __attribute__((always_inline)) enum port_kind port_kind(uint32_t port)
{
    /* clang-format off */
    switch (port & ~7u) {
    case VUART_PORT:
        return PORT_UART;
    case 0x2e8: case 0x2f8: case 0x3e8:                         /* COM4, COM2, COM3 */
        return PORT_IGNORED;
    case 0xcf8:                                                 /* PCI configuration */
        return port == VPOWER_PCI_RESET ? PORT_POWER : PORT_IGNORED;
    case VPOWER_TIMER:
        return port < VPOWER_TIMER + 4 ? PORT_TIMER : PORT_UNKNOWN;
    default:
        break;
    }
    switch (port) {
    case VPOWER_SLEEP_CONTROL: case VPOWER_SLEEP_STATUS: case VPOWER_RESET: case VPOWER_KEYBOARD:
        return PORT_POWER;
    case 0x80: case 0xed:                                       /* POST code: a delay */
    case 0x20: case 0x21: case 0xa0: case 0xa1: case 0x4d0: case 0x4d1: /* interrupt controllers */
    case 0x40: case 0x41: case 0x42: case 0x43: case 0x61:      /* timer, speaker */
    case 0x60:                                                  /* keyboard */
    case 0x70: case 0x71:                                       /* clock */
        return PORT_IGNORED;
    default:
        return PORT_UNKNOWN;
    }
    /* clang-format on */
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

/* Kernels without the paravirtual clock calibrate the TSC by it. */
OUT_OF_LINE uint32_t timer_read(void)
{
    uint64_t ns = clock_tsc_to_ns(clock_tsc());
    return (uint32_t)(ns / NS_PER_S * VPOWER_TIMER_HZ + ns % NS_PER_S * VPOWER_TIMER_HZ / NS_PER_S) & VPOWER_TIMER_MASK;
}

static uint8_t port_read(struct vcpu *vcpu, uint32_t port)
{
    switch (port_kind(port)) {
    case PORT_UART:
        return uart_read(vcpu->guest, port - VUART_PORT);
    case PORT_POWER:
        return vpower_read((uint16_t)port);
    case PORT_TIMER:
        return (uint8_t)(timer_read() >> 8 * (port - VPOWER_TIMER));
    case PORT_UNKNOWN:
        exit_log(vcpu, "reads port 0x%x, which no device decodes (RIP 0x%lx)", port, vcpu->vmcb->rip);
        return 0xff;
    default:
        return 0xff;
    }
}

static void power_write(struct vcpu *vcpu, uint16_t port, uint8_t value)
{
    struct vpower_verdict power = vpower_write(port, value);
    if (power.verdict == VPOWER_GOES_ON)
        return;
    guest_end(vcpu->guest, power.verdict == VPOWER_OFF ? GUEST_END_POWEROFF : GUEST_END_RESET, "%s", power.reason);
    vcpu->request = true;
}

static void port_write(struct vcpu *vcpu, uint32_t port, uint8_t value)
{
    switch (port_kind(port)) {
    case PORT_UART:
        uart_write(vcpu->guest, port - VUART_PORT, value);
        break;
    case PORT_POWER:
        power_write(vcpu, (uint16_t)port, value);
        break;
    case PORT_UNKNOWN:
        exit_log(vcpu, "writes 0x%x to port 0x%x, which no device decodes (RIP 0x%lx)", value, port, vcpu->vmcb->rip);
        break;
    default:
        break;
    }
}

/* A wide access to ports that no device decodes is one message, not four. */
static bool nothing_there(uint32_t port, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (port_kind(port + i) != PORT_UNKNOWN)
            return false;
    }
    return true;
}

/* The boot CPU takes the request (control/); until then the guest can ring as often as it wants. */
static void ring(struct guest *guest, uint32_t sequence)
{
    if (__atomic_exchange_n(&guest->doorbell, sequence, __ATOMIC_SEQ_CST) == 0)
        guest_note_end();
}

/* Of 2 or 4 bytes: one at a time, where they mean nothing together. */
OUT_OF_LINE void exit_ioio_wide(struct vcpu *vcpu, uint32_t port, uint32_t size)
{
    struct vmcb *vmcb = vcpu->vmcb;
    bool in = (vmcb->exitinfo1 & IOIO_IN) != 0;
    uint64_t rax = vmcb->rax, value = 0;

    if (port == CONTROL_DOORBELL && size == 4 && (vcpu->guest->config->flags & MANIFEST_GUEST_CONTROL) != 0) {
        value = CONTROL_MAGIC;
        if (!in)
            ring(vcpu->guest, (uint32_t)rax);
    } else if (port == VPOWER_TIMER && size == 4 && in) {
        value = timer_read();
    } else if (nothing_there(port, size)) {
        value = size == 2 ? 0xffff : 0xffffffff;
        if (in)
            exit_log(vcpu, "reads port 0x%x, which no device decodes (RIP 0x%lx)", port, vmcb->rip);
        else
            exit_log(vcpu, "writes 0x%x to port 0x%x, which no device decodes (RIP 0x%lx)", (uint32_t)rax, port,
                     vmcb->rip);
    } else {
        for (uint32_t i = 0; i < size; i++) {
            if (in)
                value |= (uint64_t)port_read(vcpu, port + i) << 8 * i;
            else if (port + i != VPOWER_PCI_RESET) /* of a wide access that is a part of 0xcf8, an address */
                port_write(vcpu, port + i, (uint8_t)(rax >> 8 * i));
        }
    }
    if (in)
        vmcb_set_rax(vmcb, size == 2 ? (rax & ~UINT64_C(0xffff)) | value : value); /* EAX: the upper half becomes 0 */
    exit_skip_to(vcpu, vmcb->exitinfo2);
}

OUT_OF_LINE void exit_ioio_string(struct vcpu *vcpu, uint32_t port)
{
    exit_crash(vcpu, "string I/O (INS, OUTS) to port 0x%x at RIP 0x%lx is not supported", port, vcpu->vmcb->rip);
}

void exit_ioio(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    uint64_t info = vmcb->exitinfo1;
    uint32_t port = (uint32_t)(info >> IOIO_PORT_SHIFT) & 0xffffu;
    uint32_t size = (uint32_t)(info >> IOIO_SIZE_SHIFT) & 7u;

    if ((info & IOIO_STRING) != 0 || (size != 1 && size != 2 && size != 4)) {
        exit_ioio_string(vcpu, port);
        return;
    }
    if (size != 1) {
        exit_ioio_wide(vcpu, port, size);
        return;
    }
    if ((info & IOIO_IN) != 0)
        vmcb_set_rax(vmcb, (vmcb->rax & ~UINT64_C(0xff)) | port_read(vcpu, port));
    else
        port_write(vcpu, port, (uint8_t)vmcb->rax);
    exit_skip_to(vcpu, vmcb->exitinfo2);
}
