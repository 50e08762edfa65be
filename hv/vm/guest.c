/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's memory as hv may touch it, its console input, its end and its counters. */
#include "hv/vm/guest.h"

#include "hv/console/console.h"
#include "hv/cpu/smp.h"
#include "hv/lib/text.h"
#include "hv/mm/window.h"

struct guest guests[GUEST_MAX];

/* ---- guest memory ---- */

enum memory_view guest_shared_view(const struct guest *guest)
{
    return guest->config->encryption == MANIFEST_ENCRYPTION_HOST ? VIEW_ENCRYPTED : VIEW_PLAIN;
}

bool guest_ram_address(const struct guest *guest, gpaddr_t gpa, uint64_t size, paddr_t *out)
{
    uint64_t end;
    if (__builtin_add_overflow(gpa.raw, size, &end) || end > guest->memory.size)
        return false;
    *out = paddr_add(guest->memory.base, gpa.raw);
    return true;
}

void *guest_map_shared(const struct guest *guest, gpaddr_t gpa, uint64_t size)
{
    paddr_t address;
    uint64_t offset = gpa.raw % PAGE_SIZE;
    if (size == 0 || size > PAGE_SIZE - offset || !guest_ram_address(guest, gpa, size, &address))
        return NULL;
    return (uint8_t *)window_map_own(paddr(address.raw - offset), guest_shared_view(guest)) + offset;
}

void guest_unmap_shared(void)
{
    window_unmap_own();
}

bool guest_input(struct guest *guest, int input)
{
    lock_take(&guest->lock, LOCK_GUEST);
    bool taken = input == CONSOLE_BREAK ? vuart_break(&guest->uart) : vuart_input(&guest->uart, (uint8_t)input);
    lock_release(&guest->lock, LOCK_GUEST);
    return taken;
}

/* ---- counters and ends ---- */

void guest_count_vcpu(const struct vcpu *vcpu, struct guest_counters *counters)
{
    counters->run_tsc += __atomic_load_n(&vcpu->run_tsc, __ATOMIC_RELAXED);
    for (uint32_t kind = 0; kind < VCPU_EXIT_KINDS; kind++)
        counters->exits[kind] += __atomic_load_n(&vcpu->exits[kind], __ATOMIC_RELAXED);
}

void guest_read_counters(const struct guest *guest, struct guest_counters *counters)
{
    *counters = guest->past;
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS; i++) {
        if (guest->vcpus[i] != NULL)
            guest_count_vcpu(guest->vcpus[i], counters);
    }
}

static bool end_noted;

void guest_note_end(void)
{
    __atomic_store_n(&end_noted, true, __ATOMIC_SEQ_CST);
    if (smp_cpu(0) != NULL)
        smp_kick(smp_cpu(0));
}

bool guest_ends_wait(void)
{
    return __atomic_load_n(&end_noted, __ATOMIC_RELAXED);
}

bool guest_ends_noted(void)
{
    return guest_ends_wait() && __atomic_exchange_n(&end_noted, false, __ATOMIC_SEQ_CST);
}

/* Each CPU takes its own off its queue. A guest that is launched has vCPUs, but they are on no CPU yet. */
static void stop_vcpus(struct guest *guest)
{
    for (uint32_t i = 0; guest->state == GUEST_RUNNING && i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++) {
        struct cpu *cpu = guest->vcpus[i]->cpu;
        __atomic_store_n(&cpu->guest_stops, true, __ATOMIC_SEQ_CST);
        smp_kick(cpu);
    }
}

void guest_pause(struct guest *guest)
{
    __atomic_store_n(&guest->paused, true, __ATOMIC_SEQ_CST);
    stop_vcpus(guest);
}

bool guest_end(struct guest *guest, enum guest_end_kind end, const char *format, ...)
{
    lock_take(&guest->lock, LOCK_GUEST);
    bool first = (guest->state == GUEST_RUNNING || guest->state == GUEST_LAUNCHING) && guest->end == GUEST_END_NONE;
    if (first) {
        va_list arguments;
        va_start(arguments, format);
        text_format_list(guest->end_reason, sizeof(guest->end_reason), format, arguments);
        va_end(arguments);
        __atomic_store_n(&guest->end, end, __ATOMIC_RELEASE);
    }
    lock_release(&guest->lock, LOCK_GUEST);
    if (!first)
        return false;
    stop_vcpus(guest);
    guest_note_end();
    return true;
}

bool guest_is_ending(const struct guest *guest)
{
    return guest->state == GUEST_RUNNING && __atomic_load_n(&guest->end, __ATOMIC_ACQUIRE) != GUEST_END_NONE;
}
