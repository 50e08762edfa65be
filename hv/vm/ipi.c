/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Between the vCPUs of a guest: interrupts, NMI, INIT, startup; and vCPUs that nothing else can wake. */
#include "hv/vm/ipi.h"

#include "hv/cpu/smp.h"
#include "hv/lib/apic.h"
#include "hv/vm/event.h"
#include "hv/vm/guest.h"
#include "hv/vm/vcpu_start.h"

/* Something was written to vcpu->posted: its CPU takes it soon. */
static void notify(struct vcpu *vcpu)
{
    struct cpu *cpu = vcpu->cpu;
    struct vcpu_posted *posted = &vcpu->posted;
    if (!__atomic_exchange_n(&posted->listed, true, __ATOMIC_SEQ_CST)) {
        posted->next = __atomic_load_n(&cpu->posted, __ATOMIC_RELAXED);
        while (
            !__atomic_compare_exchange_n(&cpu->posted, &posted->next, vcpu, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            ;
    }
    /* Without this limit vCPUs on other CPUs could take the CPU from the guest that runs there, by IPIs that wake none. */
    if (__atomic_load_n(&cpu->slices, __ATOMIC_SEQ_CST) >= __atomic_load_n(&vcpu->no_kick_until, __ATOMIC_SEQ_CST))
        smp_kick(cpu);
}

static void post(struct vcpu *target, unsigned message, uint8_t vector)
{
    struct vcpu_posted *posted = &target->posted;
    switch (message) {
    case MESSAGE_NMI:
        __atomic_store_n(&posted->nmi, 1, __ATOMIC_RELAXED);
        break;
    case MESSAGE_INIT:
        __atomic_store_n(&posted->startup, 0, __ATOMIC_RELAXED); /* one sent before is lost, as in a CPU */
        __atomic_store_n(&posted->init, 1, __ATOMIC_RELAXED);
        break;
    case MESSAGE_STARTUP:
        __atomic_store_n(&posted->startup, STARTUP_VALID | vector, __ATOMIC_RELAXED);
        break;
    default:
        __atomic_fetch_or(&posted->irr[vector / 32], 1u << vector % 32, __ATOMIC_RELAXED);
        break;
    }
    __atomic_store_n(&posted->any, 1, __ATOMIC_SEQ_CST);
    notify(target);
}

void ipi_send(struct vcpu *vcpu, uint64_t icr)
{
    const struct guest *guest = vcpu->guest;
    unsigned message = ICR_MESSAGE(icr);
    bool interrupt = message == MESSAGE_FIXED || message == MESSAGE_LOWEST;
    /* The de-assertion that ends an INIT on old parts does nothing (APM2 16.5). */
    if (message == MESSAGE_INIT && (icr & ICR_TRIGGER_LEVEL) != 0 && (icr & ICR_LEVEL_ASSERT) == 0)
        return;
    if (message == MESSAGE_LOWEST && vlapic_addressed(vcpu->id, vcpu->id, icr))
        return; /* one vCPU alone gets it: the sender, which has it already */
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++) {
        struct vcpu *target = guest->vcpus[i];
        if ((interrupt && target == vcpu) || !vlapic_addressed(target->id, vcpu->id, icr))
            continue;
        post(target, message, (uint8_t)icr);
        if (message == MESSAGE_LOWEST)
            break;
    }
}

void ipi_raise(struct vcpu *vcpu, uint8_t vector)
{
    post(vcpu, MESSAGE_FIXED, vector);
}

/* Has all been taken that was ever posted to the guest's vCPUs? */
static bool all_taken(const struct guest *guest)
{
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++)
        if (__atomic_load_n(&guest->vcpus[i]->posted.any, __ATOMIC_SEQ_CST) != 0)
            return false;
    return true;
}

/* What Linux leaves behind after `halt`: each CPU has disabled its local APIC and halted. One that never started has it disabled. */
static bool all_disabled(const struct guest *guest)
{
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++)
        if (vlapic_enabled(&guest->vcpus[i]->lapic))
            return false;
    return true;
}

/* Other CPUs do the same for theirs meanwhile. If all vCPUs await an IPI before what is posted is looked at, and none ceased to
 * until after it, then none was running that could have posted more. The last of them to come here sees that. */
void ipi_await(struct vcpu *vcpu)
{
    struct guest *guest = vcpu->guest;
    uint32_t vcpus = guest->config->vcpus;
    if (vcpu->state == VCPU_HALTED && vcpu->asleep_tsc != 0)
        return; /* by hv */
    vcpu->awaits_ipi = true;
    uint64_t awaiting = __atomic_add_fetch(&guest->awaiting_ipi, 1, __ATOMIC_SEQ_CST);
    if (awaiting % GUEST_IPI_CAME != vcpus || !all_taken(guest) ||
        __atomic_load_n(&guest->awaiting_ipi, __ATOMIC_SEQ_CST) != awaiting)
        return;
    if (all_disabled(guest))
        guest_end(guest, GUEST_END_POWEROFF, "halted");
    else if (vcpus == 1)
        guest_end(guest, GUEST_END_CRASH, "HLT with interrupts off: nothing can wake its only vCPU; RIP 0x%lx",
                  vcpu->vmcb->rip);
    else
        guest_end(guest, GUEST_END_CRASH,
                  "HLT with interrupts off: nothing can wake any of its %u vCPUs; RIP 0x%lx is "
                  "that of vCPU %u, the last",
                  vcpus, vcpu->vmcb->rip, vcpu->id);
}

void ipi_take(struct vcpu *vcpu)
{
    struct vcpu_posted *posted = &vcpu->posted;
    if (__atomic_load_n(&posted->any, __ATOMIC_RELAXED) == 0)
        return;
    if (vcpu->awaits_ipi) { /* before it takes what was posted, which may or may not wake it */
        vcpu->awaits_ipi = false;
        __atomic_fetch_add(&vcpu->guest->awaiting_ipi, GUEST_IPI_CAME - 1, __ATOMIC_SEQ_CST);
    }
    (void)__atomic_exchange_n(&posted->any, 0, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&posted->init, 0, __ATOMIC_RELAXED) != 0) {
        vcpu->wbinvd_ticket = vcpu->asleep_tsc = 0;
        if (vcpu->id == 0) /* it would go to the reset vector, where there is no firmware */
            guest_end(vcpu->guest, GUEST_END_RESET, "sent INIT to its boot vCPU");
        else
            vcpu_start_init(vcpu);
    }
    uint32_t startup = __atomic_exchange_n(&posted->startup, 0, __ATOMIC_RELAXED);
    if ((startup & STARTUP_VALID) != 0 && vcpu->state == VCPU_WAIT_SIPI)
        vcpu_start_at(vcpu, (uint8_t)startup);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t bits = __atomic_exchange_n(&posted->irr[i], 0, __ATOMIC_RELAXED);
        for (; bits != 0; bits &= bits - 1)
            vlapic_post(&vcpu->lapic, (uint8_t)(i * 32 + (uint32_t)__builtin_ctz(bits)));
    }
    if (__atomic_exchange_n(&posted->nmi, 0, __ATOMIC_RELAXED) != 0 && vcpu->state != VCPU_WAIT_SIPI)
        vcpu->nmi_pending = true;
    event_notice(vcpu);
}
