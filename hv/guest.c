/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "guest.h"

#include "asid.h"
#include "clock.h"
#include "hostmap.h"
#include "launch.h"
#include "log.h"
#include "monitor.h"
#include "report.h"
#include "sev.h"
#include "text.h"
#include "vcpu.h"

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

void *guest_map_shared(struct guest *guest, gpaddr_t gpa, uint64_t size)
{
    paddr_t address;
    if (size == 0 || !guest_ram_address(guest, gpa, size, &address))
        return NULL;
    uint64_t offset = address.raw % PAGE_SIZE;
    uint64_t whole = (offset + size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
    uint8_t *window = window_map(paddr(address.raw - offset), whole, guest_shared_view(guest));
    return window == NULL ? NULL : window + offset;
}

void guest_unmap_shared(const volatile void *va, uint64_t size)
{
    uint64_t offset = (uintptr_t)va % PAGE_SIZE;
    uint64_t whole = (offset + size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
    window_unmap((void *)((uintptr_t)va - offset), whole);
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
    struct resources now = resources_free(), missing = resources_missing(&now);
    char verdict[120];
    if (missing.asids != 0 || missing.pool_pages != 0 || missing.extent_bytes != 0)
        text_format(verdict, sizeof verdict, "LEAK of %ld ASIDs, %ld pool pages, %ld MiB", (int64_t)missing.asids,
                    (int64_t)missing.pool_pages, (int64_t)missing.extent_bytes / (1 << 20));
    else if (quarantined.asids != 0 || quarantined.extent_bytes != 0)
        text_format(verdict, sizeof verdict, "all returned but a quarantine of %lu ASIDs, %lu MiB",
                    quarantined.asids, quarantined.extent_bytes >> 20);
    else
        text_format(verdict, sizeof verdict, "all returned");
    monitor_print("resources: %lu ASIDs free, %lu pool pages free, %lu MiB free: %s", now.asids, now.pool_pages,
                  now.extent_bytes >> 20, verdict);
}

/* ---- end of life ---- */

static void release_vcpus(struct guest *guest)
{
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS; i++) {
        struct vcpu *vcpu = guest->vcpus[i];
        if (vcpu == NULL)
            continue;
        guest->run_tsc += vcpu->run_tsc;
        for (uint32_t kind = 0; kind < VCPU_EXIT_KINDS; kind++)
            guest->exits += vcpu->exits[kind];
        vcpu_destroy(vcpu);
        guest->vcpus[i] = NULL;
    }
}

static void release_memory(struct guest *guest)
{
    if (guest->memory.size == 0)
        return;
    if (guest->sev_memory_given) {
        quarantined.extent_bytes += guest->memory.size;
        log_print(LOG_ERROR, "%s: %lu MiB at 0x%lx stay in quarantine: the secure processor may still write to them",
                  guest->config->name, guest->memory.size >> 20, guest->memory.base.raw);
    } else {
        extent_set_view(&guest->memory, VIEW_PLAIN);
        extent_zero(&guest->memory);
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
        log_print(LOG_ERROR, "%s: ASID %u stays in quarantine: the secure processor still holds its key there",
                  guest->config->name, guest->asid);
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
    guest->sev_context = guest->sev_active = guest->sev_memory_given = false;
}

void guest_end(struct guest *guest, enum guest_end end, const char *format, ...)
{
    if (guest->state != GUEST_RUNNING || guest->end != GUEST_END_NONE)
        return;
    va_list arguments;
    va_start(arguments, format);
    text_format_list(guest->end_reason, sizeof guest->end_reason, format, arguments);
    va_end(arguments);
    guest->end = end;
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS; i++) {
        if (guest->vcpus[i] != NULL && guest->vcpus[i]->state == VCPU_HALTED)
            vcpu_wake(guest->vcpus[i]);     /* so that the scheduler comes by */
    }
}

bool guest_is_ending(const struct guest *guest)
{
    return guest->state == GUEST_RUNNING && guest->end != GUEST_END_NONE;
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

void guest_teardown(struct guest *guest)
{
    if (!guest_is_ending(guest))
        return;
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS; i++) {
        if (guest->vcpus[i] != NULL)
            sched_remove(guest->vcpus[i]);
    }
    bool again = wants_restart(guest);
    guest->alive_tsc += clock_tsc() - guest->started_tsc;
    guest->started_tsc = 0;
    monitor_guest_ended(guest->index, !again);
    guest_release(guest);
    guest->state = GUEST_ENDED;
    report_end(guest);
    guest_resources_check();
    if (!again)
        return;

    guest->restarts_left--;
    log_print(LOG_NOTICE, "%s: launched again, %u more times at most", guest->config->name, guest->restarts_left);
    if (!launch_guest(guest)) {
        monitor_guest_ended(guest->index, true);
        guest_resources_check();
    }
}

bool guest_any_alive(void)
{
    for (uint32_t i = 0; i < GUEST_MAX && guests[i].config != NULL; i++) {
        if (guests[i].state == GUEST_LAUNCHING || guests[i].state == GUEST_RUNNING)
            return true;
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
