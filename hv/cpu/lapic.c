/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The host's local APIC (APM2 16): by MSR as x2APIC, else in memory. */
#include "hv/cpu/lapic.h"

#include "hv/cpu/clock.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/trap.h"
#include "hv/lib/apic.h"
#include "hv/lib/panic.h"

#define DIVIDE_BY_1 0xbu

#define PIC_MASTER_MASK 0x21u
#define PIC_SLAVE_MASK 0xa1u
#define CALIBRATION_US 10000u
#define CALIBRATIONS 10u

static volatile uint32_t *lapic_registers;      /* NULL: x2APIC */
static uint64_t lapic_hz;                       /* of the timer; the same on all CPUs */

static uint32_t lapic_read(uint32_t msr)
{
    if (lapic_registers == NULL)
        return (uint32_t)rdmsr(msr);
    return lapic_registers[APIC_OFFSET(msr) / 4];
}

static void lapic_write(uint32_t msr, uint32_t value)
{
    if (lapic_registers == NULL)
        wrmsr(msr, value);
    else
        lapic_registers[APIC_OFFSET(msr) / 4] = value;
}

/* An SMI in between makes the measurement longer and inaccurate: it is repeated then. */
static void lapic_calibrate(void)
{
    uint64_t ticks, tsc, wanted = clock_us_to_tsc(CALIBRATION_US);
    for (uint32_t i = 0; i < CALIBRATIONS; i++) {
        lapic_write(APIC_TIMER_INITIAL, UINT32_MAX);
        uint64_t start = clock_tsc(), first = lapic_read(APIC_TIMER_CURRENT);
        while (clock_tsc() - start < wanted)
            cpu_relax();
        ticks = first - lapic_read(APIC_TIMER_CURRENT);
        tsc = clock_tsc() - start;
        if (tsc < wanted + wanted / 8)
            break;
    }
    lapic_write(APIC_TIMER_INITIAL, 0);
    ASSERT(ticks > 0 && ticks < UINT32_MAX);
    lapic_hz = ticks * clock_hz() / tsc;
    ASSERT(lapic_hz > 0);
}

paddr_t lapic_address(void)
{
    return paddr(rdmsr(MSR_APIC_BASE) & APIC_BASE_ADDRESS);
}

void lapic_use_registers(volatile void *registers)
{
    lapic_registers = registers;
}

void lapic_init(void)
{
    struct cpu *cpu = this_cpu();
    /* Nothing of the PC's old interrupt controllers: a masked 8259 pair. */
    out8(PIC_MASTER_MASK, 0xff);
    out8(PIC_SLAVE_MASK, 0xff);

    uint64_t base = rdmsr(MSR_APIC_BASE) | APIC_BASE_AE;
    wrmsr(MSR_APIC_BASE, base);
    if (cpu->features.x2apic)
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_EXTD);
    uint32_t id = lapic_read(APIC_ID);
    cpu->apic_id = lapic_registers == NULL ? id : id >> 24;

    lapic_write(APIC_SVR, SVR_ENABLE | TRAP_SPURIOUS);
    lapic_write(APIC_TPR, 0);
    lapic_write(APIC_LVT_LINT0, LVT_MASK);
    lapic_write(APIC_LVT_ERROR, LVT_MASK);
    lapic_write(APIC_LVT_TIMER, LVT_MASK | TRAP_TIMER);
    lapic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    if (lapic_hz == 0)
        lapic_calibrate();
    cpu->timer_tsc = UINT64_MAX;
    lapic_write(APIC_LVT_TIMER, TRAP_TIMER);
}

/* Starts the one-shot countdown towards this_cpu()->timer_tsc: a second at most at a time. */
static void lapic_timer_start(uint64_t now)
{
    uint64_t left = this_cpu()->timer_tsc > now ? this_cpu()->timer_tsc - now : 0;
    if (left > clock_hz())
        left = clock_hz();
    uint64_t ticks = left * lapic_hz / clock_hz() + 1;      /* both are below 2^32 or so; never early */
    lapic_write(APIC_TIMER_INITIAL, ticks < UINT32_MAX ? (uint32_t)ticks : UINT32_MAX);
}

void lapic_timer_arm(uint64_t tsc)
{
    uint64_t rflags = read_rflags();
    cli();
    this_cpu()->timer_tsc = tsc;
    if (tsc == UINT64_MAX)
        lapic_write(APIC_TIMER_INITIAL, 0);
    else
        lapic_timer_start(clock_tsc());
    if ((rflags & RFLAGS_IF) != 0)
        sti();
}

void lapic_timer_interrupt(void)
{
    struct cpu *cpu = this_cpu();
    uint64_t now = clock_tsc();
    __atomic_store_n(&cpu->interrupted_tsc, now, __ATOMIC_RELAXED);
    if (now >= cpu->timer_tsc) {
        cpu->timer_tsc = UINT64_MAX;
        cpu->timer_fired = true;
    } else if (cpu->timer_tsc != UINT64_MAX) {
        lapic_timer_start(now);
    }
}

bool lapic_reaches(uint32_t apic_id)
{
    return apic_id < (lapic_registers == NULL ? UINT32_MAX : UINT8_MAX);
}

void lapic_send(uint32_t apic_id, uint32_t message)
{
    mfence();       /* APM2 16.11.2: the ICR's MSR waits for no store */
    if (lapic_registers == NULL) {
        wrmsr(APIC_ICR, (uint64_t)apic_id << 32 | message);
        return;
    }
    uint64_t rflags = read_rflags();
    cli();          /* an interrupt's own message must not come between the halves */
    while ((lapic_read(APIC_ICR) & ICR_DELIVERY_STATUS) != 0)
        cpu_relax();
    lapic_write(APIC_ICR_HIGH, apic_id << 24);
    lapic_write(APIC_ICR, message);
    if ((rflags & RFLAGS_IF) != 0)
        sti();
}

void lapic_eoi(void)
{
    lapic_write(APIC_EOI, 0);
}
