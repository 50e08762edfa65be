/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Registers, priorities and the timer of a guest's x2APIC, as a model that knows no guest. */
#include "hv/dev/vlapic.h"

#include "hv/lib/apic.h"

#define VLAPIC_ADDRESS UINT64_C(0xfee00000)
#define APIC_VERSION_VALUE 0x14u

#define SVR_WRITABLE 0x3ffu     /* vector, ASE, FCC */
#define SVR_RESET 0xffu

#define LVT_VECTOR 0xffu
#define LVT_MESSAGE (7u << 8)
#define LVT_READ_ONLY (1u << 12 | 1u << 14)     /* delivery status, remote IRR: ignored on writes */
#define LVT_POLARITY (1u << 13)
#define LVT_TRIGGER (1u << 15)
#define LVT_TIMER_MODE (3u << 17)
#define TIMER_ONE_SHOT (0u << 17)
#define TIMER_PERIODIC (1u << 17)
#define TIMER_DEADLINE (2u << 17)

#define ESR_SENT_ILLEGAL_VECTOR (1u << 5)
#define ESR_RECEIVED_ILLEGAL_VECTOR (1u << 6)

#define DIVIDE_WRITABLE 0xbu

/* vector, message type, destination mode, delivery status (ignored), level, trigger, shorthand */
#define ICR_WRITABLE UINT64_C(0xffffffff000cdfff)
#define BROADCAST UINT32_C(0xffffffff)

#define FIRST_LEGAL_VECTOR 16u
#define NEVER UINT64_MAX

static void mask_all(struct vlapic *lapic)
{
    for (uint32_t i = 0; i < VLAPIC_LVTS; i++)
        lapic->lvt[i] |= LVT_MASK;
}

void vlapic_reset(struct vlapic *lapic, uint32_t id, bool boot_cpu)
{
    *lapic = (struct vlapic){
        .id = id,
        .apic_base = VLAPIC_ADDRESS | APIC_BASE_AE | APIC_BASE_EXTD | (boot_cpu ? APIC_BASE_BSC : 0),
        .svr = boot_cpu ? SVR_RESET | SVR_ENABLE : SVR_RESET,
        .deadline_tsc = NEVER,
    };
    mask_all(lapic);
}

static int highest(const uint32_t bits[8])
{
    for (int i = 6; i >= 0; i -= 2) {
        uint64_t pair;      /* half the steps: interrupts come by here several times */
        __builtin_memcpy(&pair, &bits[i], sizeof(pair));
        if (pair != 0)
            return i * 32 + 63 - __builtin_clzll(pair);
    }
    return -1;
}

static uint32_t processor_priority(const struct vlapic *lapic)
{
    int vector = highest(lapic->isr);
    uint32_t in_service = vector < 0 ? 0 : (uint32_t)vector & 0xf0u;
    return (lapic->tpr & 0xf0u) >= in_service ? lapic->tpr : in_service;
}

/* APM2 16.4.6: an error is latched in a shadow until ESR is written, and raises the error
 * interrupt. An illegal vector in the error entry itself is one more error, no interrupt. */
static void error(struct vlapic *lapic, uint32_t bit)
{
    uint32_t vector = lapic->lvt[VLAPIC_LVT_ERROR] & LVT_VECTOR;
    lapic->esr_shadow |= bit;
    if ((lapic->lvt[VLAPIC_LVT_ERROR] & LVT_MASK) != 0 || (lapic->svr & SVR_ENABLE) == 0)
        return;
    if (vector < FIRST_LEGAL_VECTOR)
        lapic->esr_shadow |= ESR_RECEIVED_ILLEGAL_VECTOR;
    else
        lapic->irr[vector / 32] |= 1u << vector % 32;
}

bool vlapic_enabled(const struct vlapic *lapic)
{
    return (lapic->svr & SVR_ENABLE) != 0;
}

void vlapic_post(struct vlapic *lapic, uint8_t vector)
{
    if ((lapic->svr & SVR_ENABLE) == 0)
        return;         /* APM2 16.4.7: a disabled APIC accepts no interrupt */
    if (vector < FIRST_LEGAL_VECTOR) {
        error(lapic, ESR_RECEIVED_ILLEGAL_VECTOR);
        return;
    }
    lapic->irr[vector / 32] |= 1u << vector % 32;
}

int vlapic_pending(const struct vlapic *lapic)
{
    int vector = highest(lapic->irr);
    if (vector < 0 || ((uint32_t)vector & 0xf0u) <= (processor_priority(lapic) & 0xf0u))
        return -1;
    return vector;
}

void vlapic_accept(struct vlapic *lapic, uint8_t vector)
{
    lapic->irr[vector / 32] &= ~(1u << vector % 32);
    lapic->isr[vector / 32] |= 1u << vector % 32;
}

void vlapic_take_back(struct vlapic *lapic, uint8_t vector)
{
    lapic->isr[vector / 32] &= ~(1u << vector % 32);
    lapic->irr[vector / 32] |= 1u << vector % 32;
}

/* ---- timer ---- */

static uint32_t timer_mode(const struct vlapic *lapic)
{
    return lapic->lvt[VLAPIC_LVT_TIMER] & LVT_TIMER_MODE;
}

/* TSC cycles in one count: 000b divides by 2, ... 110b by 128, 111b by 1 (APM2 16.4.1). */
static uint64_t timer_scale(const struct vlapic *lapic)
{
    uint32_t code = (lapic->timer_divide & 3u) | (lapic->timer_divide & 8u) >> 1;
    return (UINT64_C(1) << (code + 1) % 8) * VLAPIC_BUS_DIVISOR;
}

static void timer_start(struct vlapic *lapic, uint64_t now)
{
    uint64_t expiry;
    lapic->timer_start_tsc = now;
    if (lapic->timer_initial == 0 || timer_mode(lapic) == TIMER_DEADLINE ||
        __builtin_add_overflow(now, lapic->timer_initial * timer_scale(lapic), &expiry))
        expiry = NEVER;
    lapic->deadline_tsc = expiry;
}

static uint32_t timer_current(const struct vlapic *lapic, uint64_t now)
{
    if (lapic->timer_initial == 0 || now < lapic->timer_start_tsc)
        return lapic->timer_initial;
    uint64_t counts = (now - lapic->timer_start_tsc) / timer_scale(lapic);
    if (timer_mode(lapic) == TIMER_PERIODIC)
        return lapic->timer_initial - (uint32_t)(counts % lapic->timer_initial);
    return counts >= lapic->timer_initial ? 0 : lapic->timer_initial - (uint32_t)counts;
}

/* The first whole period after `now` that is VLAPIC_MIN_PERIOD away. */
static uint64_t timer_next_period(const struct vlapic *lapic, uint64_t now)
{
    uint64_t period = lapic->timer_initial * timer_scale(lapic);
    uint64_t wait = period >= VLAPIC_MIN_PERIOD ? 0 : VLAPIC_MIN_PERIOD;
    uint64_t elapsed, periods, expiry;
    if (__builtin_add_overflow(now - lapic->timer_start_tsc, wait, &elapsed))
        return NEVER;
    periods = elapsed / period + 1;
    if (__builtin_mul_overflow(periods, period, &expiry) ||
        __builtin_add_overflow(expiry, lapic->timer_start_tsc, &expiry))
        return NEVER;
    return expiry;
}

static bool timer_masked(const struct vlapic *lapic)
{
    return (lapic->lvt[VLAPIC_LVT_TIMER] & LVT_MASK) != 0;
}

/* On from what has expired. True: something had. */
static bool timer_expire(struct vlapic *lapic, uint64_t now)
{
    if (lapic->deadline_tsc == NEVER || now < lapic->deadline_tsc)
        return false;
    lapic->deadline_tsc = timer_mode(lapic) == TIMER_PERIODIC ? timer_next_period(lapic, now) : NEVER;
    return true;
}

bool vlapic_timer_deliverable(const struct vlapic *lapic)
{
    uint32_t vector = lapic->lvt[VLAPIC_LVT_TIMER] & LVT_VECTOR;
    if (timer_masked(lapic))
        return false;
    if (vector < FIRST_LEGAL_VECTOR) {      /* each expiry is an error */
        if ((lapic->lvt[VLAPIC_LVT_ERROR] & LVT_MASK) != 0)
            return false;
        vector = lapic->lvt[VLAPIC_LVT_ERROR] & LVT_VECTOR;
    }
    return vector >= FIRST_LEGAL_VECTOR && (vector & 0xf0u) > (processor_priority(lapic) & 0xf0u);
}

/* A masked timer needs no host timer: else a sleeping guest could make it interrupt the running vCPU
 * once in each VLAPIC_MIN_PERIOD. */
uint64_t vlapic_timer(struct vlapic *lapic, uint64_t now)
{
    if (timer_masked(lapic))
        return NEVER;
    if (timer_expire(lapic, now))
        vlapic_post(lapic, (uint8_t)(lapic->lvt[VLAPIC_LVT_TIMER] & LVT_VECTOR));
    return lapic->deadline_tsc;
}

static void write_lvt_timer(struct vlapic *lapic, uint64_t now, uint32_t value)
{
    uint32_t old = timer_mode(lapic), mode = value & LVT_TIMER_MODE;
    if (timer_masked(lapic))
        timer_expire(lapic, now);
    lapic->lvt[VLAPIC_LVT_TIMER] = value;
    if (mode == old)
        return;
    if (mode == TIMER_DEADLINE || old == TIMER_DEADLINE) {
        lapic->timer_initial = 0; /* APM2 16.4.1: the two kinds disarm each other */
        lapic->deadline_tsc = NEVER;
    } else if (mode == TIMER_PERIODIC && lapic->timer_initial != 0 && now >= lapic->timer_start_tsc)
        lapic->deadline_tsc = timer_next_period(lapic, now);
    else if (mode == TIMER_ONE_SHOT && lapic->deadline_tsc != NEVER)
        lapic->timer_start_tsc = lapic->deadline_tsc - lapic->timer_initial * timer_scale(lapic);
}

OUT_OF_LINE void write_initial(struct vlapic *lapic, uint64_t now, uint32_t value)
{
    if (timer_mode(lapic) == TIMER_DEADLINE)
        return;
    lapic->timer_initial = value;
    timer_start(lapic, now);
}

OUT_OF_LINE void write_divide(struct vlapic *lapic, uint64_t now, uint32_t value)
{
    if (timer_masked(lapic))
        timer_expire(lapic, now);
    lapic->timer_divide = value;
    if (timer_mode(lapic) != TIMER_DEADLINE && lapic->deadline_tsc != NEVER)
        timer_start(lapic, now);    /* the manual is silent on a running timer: it starts over */
}

/* ---- inter-processor interrupts ---- */

static uint32_t logical_id(uint32_t id)
{
    return id >> 4 << 16 | 1u << (id & 15u);
}

bool vlapic_addressed(uint32_t id, uint32_t sender, uint64_t icr)
{
    uint32_t destination = (uint32_t)(icr >> 32);
    switch (ICR_SHORTHAND(icr)) {
    case SHORTHAND_SELF:
        return id == sender;
    case SHORTHAND_ALL:
        return true;
    case SHORTHAND_OTHERS:
        return id != sender;
    default:
        break;
    }
    if (destination == BROADCAST)
        return true;
    if ((icr & ICR_LOGICAL) == 0)
        return destination == id;
    uint32_t own = logical_id(id);
    return destination >> 16 == own >> 16 && (destination & own & 0xffffu) != 0;
}

OUT_OF_LINE void write_icr(struct vlapic *lapic, uint64_t value, bool *send)
{
    unsigned message = ICR_MESSAGE(value);
    uint8_t vector = (uint8_t)value;
    bool interrupt = message == MESSAGE_FIXED || message == MESSAGE_LOWEST;

    lapic->icr = value & ~ICR_DELIVERY_STATUS;
    if (interrupt && vector < FIRST_LEGAL_VECTOR) {
        error(lapic, ESR_SENT_ILLEGAL_VECTOR);
        return;
    }
    if (interrupt && vlapic_addressed(lapic->id, lapic->id, value))
        vlapic_post(lapic, vector);
    *send = interrupt ? ICR_SHORTHAND(value) != SHORTHAND_SELF
                      : message == MESSAGE_NMI || message == MESSAGE_INIT || message == MESSAGE_STARTUP;
}

OUT_OF_LINE void self_ipi(struct vlapic *lapic, uint8_t vector)
{
    if (vector < FIRST_LEGAL_VECTOR)
        error(lapic, ESR_SENT_ILLEGAL_VECTOR);
    else
        vlapic_post(lapic, vector);
}

/* ---- registers ---- */

#define LVT_LOCAL (LVT_VECTOR | LVT_MESSAGE | LVT_MASK)
static const uint32_t lvt_writable[VLAPIC_LVTS] = {
    [VLAPIC_LVT_TIMER] = LVT_VECTOR | LVT_MASK | LVT_TIMER_MODE,
    [VLAPIC_LVT_THERMAL] = LVT_LOCAL,
    [VLAPIC_LVT_PERF] = LVT_LOCAL,
    [VLAPIC_LVT_LINT0] = LVT_LOCAL | LVT_POLARITY | LVT_TRIGGER,
    [VLAPIC_LVT_LINT1] = LVT_LOCAL | LVT_POLARITY | LVT_TRIGGER,
    [VLAPIC_LVT_ERROR] = LVT_LOCAL,
};

OUT_OF_LINE bool write_lvt(struct vlapic *lapic, uint32_t entry, uint64_t now, uint32_t value)
{
    if ((value & ~(lvt_writable[entry] | LVT_READ_ONLY)) != 0 || (value & LVT_TIMER_MODE) == LVT_TIMER_MODE)
        return false;           /* the latter is a reserved mode */
    value &= lvt_writable[entry];
    if ((lapic->svr & SVR_ENABLE) == 0)
        value |= LVT_MASK;      /* APM2 16.4.7: stuck while disabled */
    if (entry == VLAPIC_LVT_TIMER)
        write_lvt_timer(lapic, now, value);
    else
        lapic->lvt[entry] = value;
    return true;
}

OUT_OF_LINE bool write_svr(struct vlapic *lapic, uint32_t value)
{
    if ((value & ~SVR_WRITABLE) != 0)
        return false;
    lapic->svr = value;
    if ((value & SVR_ENABLE) == 0)
        mask_all(lapic);
    return true;
}

bool vlapic_valid(const struct vlapic *lapic)
{
    uint32_t illegal = (1u << FIRST_LEGAL_VECTOR) - 1, mode = timer_mode(lapic);
    for (uint32_t i = 0; i < VLAPIC_LVTS; i++)
        if ((lapic->lvt[i] & ~lvt_writable[i]) != 0)
            return false;
    return lapic->tpr <= 0xff && (lapic->svr & ~SVR_WRITABLE) == 0 && (lapic->icr & ~ICR_WRITABLE) == 0 &&
           (lapic->esr | lapic->esr_shadow) <= 0xff && (lapic->timer_divide & ~DIVIDE_WRITABLE) == 0 &&
           ((lapic->irr[0] | lapic->isr[0]) & illegal) == 0 && mode != LVT_TIMER_MODE &&
           (mode == TIMER_DEADLINE || lapic->timer_initial != 0 || lapic->deadline_tsc == NEVER);
}

static void end_of_interrupt(struct vlapic *lapic)
{
    int vector = highest(lapic->isr);
    if (vector >= 0)
        lapic->isr[vector / 32] &= ~(1u << vector % 32);
}

#define NO_REGISTER UINT64_MAX  /* no register reads as this */

static uint64_t read_register(const struct vlapic *lapic, uint32_t msr, uint64_t now)
{
    if (msr >= APIC_ISR && msr < APIC_ISR + 8)
        return lapic->isr[msr - APIC_ISR];
    if (msr >= APIC_TMR && msr < APIC_TMR + 8)
        return 0; /* no interrupt of a guest's is level-triggered */
    if (msr >= APIC_IRR && msr < APIC_IRR + 8)
        return lapic->irr[msr - APIC_IRR];
    if (msr >= APIC_LVT_TIMER && msr <= APIC_LVT_ERROR)
        return lapic->lvt[msr - APIC_LVT_TIMER];
    switch (msr) {
    case MSR_APIC_BASE:
        return lapic->apic_base;
    case MSR_TSC_DEADLINE:
        return timer_mode(lapic) != TIMER_DEADLINE || lapic->deadline_tsc == NEVER ? 0 : lapic->deadline_tsc;
    case APIC_ID:
        return lapic->id;
    case APIC_VERSION:
        return APIC_VERSION_VALUE | (VLAPIC_LVTS - 1) << 16;
    case APIC_TPR:
        return lapic->tpr;
    case APIC_PPR:
        return processor_priority(lapic);
    case APIC_LDR:
        return logical_id(lapic->id);
    case APIC_SVR:
        return lapic->svr;
    case APIC_ESR:
        return lapic->esr;
    case APIC_ICR:
        return lapic->icr;
    case APIC_TIMER_INITIAL:
        return lapic->timer_initial;
    case APIC_TIMER_CURRENT:
        return timer_current(lapic, now);
    case APIC_TIMER_DIVIDE:
        return lapic->timer_divide;
    default:
        return NO_REGISTER;
    }
}

bool vlapic_read(struct vlapic *lapic, uint32_t msr, uint64_t now, uint64_t *value)
{
    if (timer_masked(lapic))
        timer_expire(lapic, now);
    else
        vlapic_timer(lapic, now);       /* an expiry is visible even before the host's timer interrupt */
    *value = read_register(lapic, msr, now);
    return *value != NO_REGISTER;
}

/* EOI and the timer's deadline are most of all writes: what the others need is out of line. */
bool vlapic_write(struct vlapic *lapic, uint32_t msr, uint64_t now, uint64_t value, bool *send)
{
    *send = false;
    switch (msr) {
    case MSR_APIC_BASE:
        return value == lapic->apic_base;       /* there is no way out of x2APIC mode */
    case MSR_TSC_DEADLINE:
        if (timer_mode(lapic) == TIMER_DEADLINE) /* ignored in the other modes */
            lapic->deadline_tsc = value == 0 ? NEVER : value;
        return true;
    case APIC_EOI:
        if (value != 0)
            return false;
        end_of_interrupt(lapic);
        return true;
    case APIC_ICR:
        if ((value & ~ICR_WRITABLE) != 0)
            return false;
        write_icr(lapic, value, send);
        return true;
    default:
        break;
    }
    if (value > UINT32_MAX)
        return false;           /* all others have 32 bits */
    uint32_t low = (uint32_t)value;
    if (msr >= APIC_LVT_TIMER && msr <= APIC_LVT_ERROR)
        return write_lvt(lapic, msr - APIC_LVT_TIMER, now, low);
    switch (msr) {
    case APIC_TPR:
        if (low > 0xff)
            return false;
        lapic->tpr = low;
        return true;
    case APIC_SVR:
        return write_svr(lapic, low);
    case APIC_ESR:
        if (low != 0)
            return false;
        lapic->esr = lapic->esr_shadow;
        lapic->esr_shadow = 0;
        return true;
    case APIC_TIMER_INITIAL:
        write_initial(lapic, now, low);
        return true;
    case APIC_TIMER_DIVIDE:
        if ((low & ~DIVIDE_WRITABLE) != 0)
            return false;
        write_divide(lapic, now, low);
        return true;
    case APIC_SELF_IPI:
        if (low > 0xff)
            return false;
        self_ipi(lapic, (uint8_t)low);
        return true;
    default:
        return false;
    }
}
