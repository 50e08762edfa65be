/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's console, which only counts. The fuzzer of the exits has its own in its place. */
#include "with_cmocka.h"

#include "hv/monitor/monitor.h"
#include "rig.h"

uint64_t rig_poll_cost;
uint32_t rig_line_us = 10000;
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
