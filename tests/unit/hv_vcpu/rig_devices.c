/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Devices that only count. The fuzzer of the exits has the real ones in their place. */
#include "with_cmocka.h"

#include "hv/monitor/monitor.h"
#include "hv/vm/exit.h"
#include "hv/vm/vcpu_clock.h"
#include "rig.h"

unsigned rig_uart_reads, rig_uart_writes;
uint8_t rig_uart_last;
uint64_t rig_poll_cost;
unsigned rig_drains;
uint32_t rig_line_us = 10000;

uint8_t vuart_read(struct vuart *uart, uint32_t offset)
{
    (void)uart;
    assert_true(offset < 8);
    rig_uart_reads++;
    return (uint8_t)(0x50 + offset);
}

void vuart_write(struct vuart *uart, uint32_t offset, uint8_t value)
{
    (void)uart;
    assert_true(offset < 8);
    rig_uart_writes++;
    rig_uart_last = value;
}

bool vcpu_clock_write_wall(struct vcpu *vcpu, uint64_t value)
{
    (void)vcpu;
    return value == 0x1000;
}

bool vcpu_clock_write_system_time(struct vcpu *vcpu, uint64_t value)
{
    vcpu->pvclock.system_time_msr = value;
    return value == 0x1001;
}

unsigned rig_polls;
void monitor_poll(void)
{
    rig_polls++;
    rig_tsc += rig_poll_cost;
}
uint32_t monitor_poll_us(void)
{
    return rig_line_us;
}
void console_drain(void)
{
    rig_drains++;
}
