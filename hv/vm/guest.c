/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "hv/vm/guest.h"

#include "hv/console/line.h"
#include "hv/console/log.h"
#include "hv/control/launch.h"
#include "hv/control/report.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/smp.h"
#include "hv/lib/panic.h"
#include "hv/lib/text.h"
#include "hv/mm/hostmap.h"
#include "hv/monitor/monitor.h"
#include "hv/svm/asid.h"
#include "hv/vm/exit_npf.h"

struct guest guests[GUEST_MAX];

/* What can be held by a guest, in the units in which it is given out. */
struct resources {
    uint64_t asids, pool_pages, extent_bytes;
};

static struct resources marked;         /* free before the first launch */
static struct resources quarantined;

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

bool guest_input(struct guest *guest, uint8_t byte)
{
    lock_take(&guest->lock, LOCK_GUEST);
    bool taken = vuart_input(&guest->uart, byte);
    lock_release(&guest->lock, LOCK_GUEST);
    return taken;
}

bool guest_input_break(struct guest *guest)
{
    lock_take(&guest->lock, LOCK_GUEST);
    bool taken = vuart_break(&guest->uart);
    lock_release(&guest->lock, LOCK_GUEST);
    return taken;
}

uint32_t guest_input_room(struct guest *guest)
{
    lock_take(&guest->lock, LOCK_GUEST);
    uint32_t room = vuart_input_room(&guest->uart);
    lock_release(&guest->lock, LOCK_GUEST);
    return room;
}

/* ---- the leak check ---- */

static struct resources resources_free(void)
{
    struct memory_stats stats;
    memory_stats(&stats);
    return (struct resources){
        .asids = asid_free_count(ASID_PLAIN) + asid_free_count(ASID_SEV),
        .pool_pages = stats.pool_free,
        .extent_bytes = stats.extent_free,
    };
}

void guest_resources_mark(void)
{
    marked = resources_free();
    quarantined = (struct resources){0};
}

static struct resources resources_missing(const struct resources *now)
{
    struct resources missing = {
        .asids = marked.asids - now->asids - quarantined.asids,
        .pool_pages = marked.pool_pages - now->pool_pages - quarantined.pool_pages,
        .extent_bytes = marked.extent_bytes - now->extent_bytes - quarantined.extent_bytes,
    };
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        const struct guest *guest = &guests[i];
        if (guest->state != GUEST_RUNNING)
            continue;
        missing.asids -= 1;
        missing.pool_pages -= guest->report.hv_pages + guest->npt.pages;
        missing.extent_bytes -= guest->memory.size;
    }
    return missing;
}

void guest_resources_check(void)
{
    exit_npf_freeze(true);
    struct resources now = resources_free(), missing = resources_missing(&now);
    exit_npf_freeze(false);
    char verdict[120];
    if (missing.asids != 0 || missing.pool_pages != 0 || missing.extent_bytes != 0)
        text_format(verdict, sizeof verdict, "LEAK of %ld ASIDs, %ld pool pages, %ld MiB", (int64_t)missing.asids,
                    (int64_t)missing.pool_pages, (int64_t)missing.extent_bytes / (1 << 20));
    else if (quarantined.asids != 0 || quarantined.extent_bytes != 0)
        text_format(verdict, sizeof verdict, "all returned but a quarantine of %lu ASIDs, %lu MiB",
                    quarantined.asids, quarantined.extent_bytes >> 20);
    else
        text_format(verdict, sizeof verdict, "all returned");
    line_print("resources: %lu ASIDs free, %lu pool pages free, %lu MiB free: %s", now.asids, now.pool_pages,
                  now.extent_bytes >> 20, verdict);
}

/* ---- end of life ---- */

static void count_vcpu(const struct vcpu *vcpu, struct guest_counters *counters)
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
            count_vcpu(guest->vcpus[i], counters);
    }
}

static void release_vcpus(struct guest *guest)
{
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS; i++) {
        struct vcpu *vcpu = guest->vcpus[i];
        if (vcpu == NULL)
            continue;
        count_vcpu(vcpu, &guest->past);
        guest->vcpus[i] = NULL;     /* first: who looks meanwhile counts it once, and no freed page */
        vcpu_destroy(vcpu);
    }
}

static void release_memory(struct guest *guest)
{
    if (guest->memory.size == 0)
        return;
    if (guest->sev_memory_given) {
        quarantined.extent_bytes += guest->memory.size;
        log_print(LOG_ERROR, "%s: %lu MiB at 0x%lx stay in quarantine until the next boot: the secure processor may still "
                  "write to them", guest->config->name, guest->memory.size >> 20, guest->memory.base.raw);
    } else if (guest->memory_damaged) {
        quarantined.extent_bytes += SIZE_2M;
        log_print(LOG_ERROR, "%s: 2 MiB around 0x%lx stay in quarantine until the next boot: a memory error was reported "
                  "there; the BMC's event log should name the module", guest->config->name, guest->memory.base.raw + guest->damaged_at);
        extent_set_view(&guest->memory, VIEW_PLAIN);
        extent_retire(&guest->memory, guest->damaged_at);
    } else {
        extent_set_view(&guest->memory, VIEW_PLAIN);
        ASSERT(extent_zero(&guest->memory, 0, guest->memory.size));
        extent_free(&guest->memory);
    }
    guest->memory = (struct extent){0};
}

static void release_asid(struct guest *guest, bool clean)
{
    if (guest->asid == 0)
        return;
    if (clean) {
        asid_free(guest->asid);
    } else {
        quarantined.asids++;
        log_print(LOG_ERROR, "%s: ASID %u stays in quarantine until the next boot: the secure processor still holds its key "
                  "there", guest->config->name, guest->asid);
    }
    guest->asid = 0;
}

/* DEACTIVATE → WBINVD → DF_FLUSH → DECOMMISSION, then the pages, last the ASID: nobody
 * may get an ASID whose key or cache lines are still somewhere (SEV API, ACTIVATE). */
void guest_release(struct guest *guest)
{
    release_vcpus(guest);
    bool clean = guest->sev ? sev_guest_end(guest) : true;
    release_memory(guest);
    if (guest->npt.root.raw != 0)
        npt_destroy(&guest->npt);
    guest->npt = (struct npt){0};
    release_asid(guest, clean);
    guest->sev_context = guest->sev_active = guest->sev_memory_given = guest->memory_damaged = false;
}

static bool end_noted;

void guest_note_end(void)
{
    __atomic_store_n(&end_noted, true, __ATOMIC_SEQ_CST);
    if (smp_cpu(0) != NULL)
        smp_kick(smp_cpu(0));
}

bool guest_ends_noted(void)
{
    return __atomic_load_n(&end_noted, __ATOMIC_RELAXED) && __atomic_exchange_n(&end_noted, false, __ATOMIC_SEQ_CST);
}

bool guest_end(struct guest *guest, enum guest_end end, const char *format, ...)
{
    lock_take(&guest->lock, LOCK_GUEST);
    bool first = guest->state == GUEST_RUNNING && guest->end == GUEST_END_NONE;
    if (first) {
        va_list arguments;
        va_start(arguments, format);
        text_format_list(guest->end_reason, sizeof guest->end_reason, format, arguments);
        va_end(arguments);
        __atomic_store_n(&guest->end, end, __ATOMIC_RELEASE);
    }
    lock_release(&guest->lock, LOCK_GUEST);
    if (!first)
        return false;
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++) {
        struct cpu *cpu = guest->vcpus[i]->cpu;     /* each CPU takes its own off its queue */
        __atomic_store_n(&cpu->guest_ends, true, __ATOMIC_SEQ_CST);
        smp_kick(cpu);
    }
    guest_note_end();
    return true;
}

/* A CPU may still have to look at what the others sent to its vCPU before they were all off. */
static bool messages_taken(const struct guest *guest)
{
    bool taken = true;
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++) {
        if (__atomic_load_n(&guest->vcpus[i]->posted.listed, __ATOMIC_ACQUIRE)) {
            smp_kick(guest->vcpus[i]->cpu);
            taken = false;
        }
    }
    return taken;
}

bool guest_is_ending(const struct guest *guest)
{
    return guest->state == GUEST_RUNNING && __atomic_load_n(&guest->end, __ATOMIC_ACQUIRE) != GUEST_END_NONE;
}

static bool wants_restart(const struct guest *guest)
{
    uint8_t action;
    switch (guest->end) {
    case GUEST_END_POWEROFF:
        action = guest->config->on_poweroff;
        break;
    case GUEST_END_RESET:
        action = guest->config->on_reboot;
        break;
    case GUEST_END_CRASH:
        action = guest->config->on_crash;
        break;
    default:
        return false;           /* who was ended by the operator stays ended */
    }
    return action == MANIFEST_ACTION_RESTART && guest->restarts_left > 0;
}

static void launch_again(struct guest *guest)
{
    if (!launch_guest(guest))
        guest_resources_check();
}

bool guest_teardown(struct guest *guest)
{
    if (!guest_is_ending(guest) || __atomic_load_n(&guest->vcpus_queued, __ATOMIC_ACQUIRE) != 0 || !messages_taken(guest))
        return false;
    bool again = wants_restart(guest);
    guest->alive_tsc += clock_tsc() - guest->started_tsc;
    guest->started_tsc = 0;
    monitor_guest_ended(guest->index, !again);
    guest_release(guest);
    guest->state = GUEST_ENDED;
    report_end(guest);
    guest_resources_check();
    if (!again)
        return true;

    guest->restarts_left--;
    log_print(LOG_NOTICE, "%s: launched again, %u more times at most", guest->config->name, guest->restarts_left);
    launch_again(guest);
    return true;
}

bool guest_ask_relaunch(struct guest *guest)
{
    if (guest->state != GUEST_ENDED && guest->state != GUEST_REFUSED)
        return false;
    guest->relaunch = true;
    guest_note_end();
    return true;
}

bool guest_relaunch(struct guest *guest)
{
    if (!guest->relaunch)
        return false;
    guest->relaunch = false;
    launch_again(guest);
    return true;
}

bool guest_any_alive(void)
{
    static uint32_t found;      /* most likely still is */
    for (uint32_t i = 0, count = guest_count(); i < count; i++) {
        const struct guest *guest = &guests[(found + i) % count];
        if (guest->state == GUEST_LAUNCHING || guest->state == GUEST_RUNNING || guest->relaunch) {
            found = (found + i) % count;
            return true;
        }
    }
    return false;
}

bool guest_summary(void)
{
    bool as_expected = guests[0].config != NULL;    /* a refused manifest has no guests */
    for (uint32_t i = 0; i < GUEST_MAX && guests[i].config != NULL; i++)
        as_expected &= guests[i].end == GUEST_END_POWEROFF || guests[i].end == GUEST_END_RESET;
    report_summary(as_expected);
    return as_expected;
}
