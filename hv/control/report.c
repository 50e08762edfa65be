/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What is printed after a launch, at a guest's end, as the table of guests, and as the last summary. */
#include "hv/control/report.h"

#include "hv/console/line.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/lib/text.h"
#include "hv/mm/page.h"

#define HEX_SIZE(bytes) (2 * (bytes) + 1)

static const char *const phase_names[LAUNCH_PHASES] = {
    [LAUNCH_ALLOC] = "allocate memory, tables, vCPU", [LAUNCH_COPY] = "place bytes",
    [LAUNCH_START_CMD] = "LAUNCH_START, ACTIVATE",    [LAUNCH_UPDATE] = "LAUNCH_UPDATE_DATA",
    [LAUNCH_MEASURE_CMD] = "LAUNCH_MEASURE",          [LAUNCH_FINISH_CMD] = "LAUNCH_FINISH, shared pages",
};

static const char *const encryption_names[] = {
    [MANIFEST_ENCRYPTION_NONE] = "none",
    [MANIFEST_ENCRYPTION_HOST] = "host",
    [MANIFEST_ENCRYPTION_SEV] = "sev",
};

static const char *const end_names[] = {
    [GUEST_END_NONE] = "running", [GUEST_END_POWEROFF] = "poweroff",   [GUEST_END_RESET] = "reset",
    [GUEST_END_CRASH] = "crash",  [GUEST_END_DESTROYED] = "destroyed", [GUEST_END_REFUSED] = "refused",
};

static const char *hex(const uint8_t *bytes, size_t count, char *text)
{
    for (size_t i = 0; i < count; i++)
        text_format(text + 2 * i, HEX_SIZE(1), "%02x", bytes[i]);
    return text;
}

static void report_measurement(const struct guest *guest)
{
    const struct manifest_guest *config = guest->config;
    const struct sev_platform_status_buffer *version = &sev_psp()->status;
    char digest[HEX_SIZE(sizeof(config->launch_digest))];
    char measure[HEX_SIZE(sizeof(guest->measurement.measure))], nonce[HEX_SIZE(sizeof(guest->measurement.mnonce))];

    hex(config->launch_digest, sizeof(config->launch_digest), digest);
    hex(guest->measurement.measure, sizeof(guest->measurement.measure), measure);
    hex(guest->measurement.mnonce, sizeof(guest->measurement.mnonce), nonce);
    line_print("digest %s: %s", config->name, digest);
    line_print("measurement %s: %s nonce %s policy 0x%x api %u.%u build %u", config->name, measure, nonce,
               guest->sev_policy, version->api_major, version->api_minor, version->build);
}

void report_launch(const struct guest *guest)
{
    const struct launch_report *report = &guest->report;
    uint64_t total = 0;

    line_print("launch report: %s, encryption %s, %lu MiB", guest->config->name,
               encryption_names[guest->config->encryption], guest->config->memory >> 20);
    line_print("  %-30s %16s %12s", "phase", "TSC cycles", "us");
    for (uint32_t i = 0; i < LAUNCH_PHASES; i++) {
        if (!guest->sev && i >= LAUNCH_START_CMD)
            break;
        total += report->tsc[i];
        line_print("  %-30s %16lu %12lu", phase_names[i], report->tsc[i], clock_tsc_to_ns(report->tsc[i]) / 1000);
    }
    line_print("  %-30s %16lu %12lu", "all", total, clock_tsc_to_ns(total) / 1000);
    if (guest->sev)
        line_print("  mailbox commands %lu, bytes through the secure processor %lu", report->commands,
                   report->psp_bytes);
    line_print("  host pages of 4 KiB: nested tables %lu, other for this guest %lu; hypervisor in total %lu of %lu",
               report->table_pages, report->hv_pages, page_count() - page_free_count(), page_count());
    if (guest->sev)
        report_measurement(guest);
}

void report_end(const struct guest *guest)
{
    line_print("ended %s: %s: %s", guest->config->name, end_names[guest->end], guest->end_reason);
}

struct totals {
    uint64_t alive_tsc, run_tsc, exits;
};

/* Over all launches, including the current one. */
static struct totals totals_of(const struct guest *guest)
{
    struct guest_counters counters;
    guest_read_counters(guest, &counters);
    struct totals totals = {.alive_tsc = guest->alive_tsc, .run_tsc = counters.run_tsc};
    if (guest->started_tsc != 0)
        totals.alive_tsc += clock_tsc() - guest->started_tsc;
    for (uint32_t kind = 0; kind < VCPU_EXIT_KINDS; kind++)
        totals.exits += counters.exits[kind];
    return totals;
}

static uint64_t milliseconds(uint64_t tsc)
{
    return clock_tsc_to_ns(tsc) / 1000000;
}

static const char *state_name(const struct guest *guest)
{
    if (guest->state == GUEST_LAUNCHING)
        return guest->awaits != 0 ? "held" : "launching";
    if (guest->state == GUEST_RUNNING && guest->end == GUEST_END_NONE && guest->paused)
        return "paused";
    return guest->state == GUEST_EMPTY ? "waiting" : end_names[guest->end];
}

void report_guests(void)
{
    line_print("%3s %-31s %-9s %-4s %7s %5s %9s", "no", "name", "state", "key", "MiB", "asid", "cpu ms");
    for (uint32_t i = 0, count = guest_count(); i < count; i++) {
        struct totals totals = totals_of(&guests[i]);
        line_print("%3u %-31s %-9s %-4s %7lu %5u %9lu", i + 1, guests[i].config->name, state_name(&guests[i]),
                   encryption_names[guests[i].config->encryption], guests[i].config->memory >> 20, guests[i].asid,
                   milliseconds(totals.run_tsc));
    }
}

bool report_summary(void)
{
    bool as_expected = guest_count() > 0; /* a refused manifest has no guests */
    line_print("summary");
    line_print("  %-31s %-10s %8s %10s %10s %12s  %s", "name", "end", "launches", "ms", "cpu ms", "exits", "reason");
    for (uint32_t i = 0, count = guest_count(); i < count; i++) {
        const struct guest *guest = &guests[i];
        struct totals totals = totals_of(guest);
        as_expected &= guest->end == GUEST_END_POWEROFF || guest->end == GUEST_END_RESET;
        line_print("  %-31s %-10s %8u %10lu %10lu %12lu  %s", guest->config->name, end_names[guest->end],
                   guest->launches, milliseconds(totals.alive_tsc), milliseconds(totals.run_tsc), totals.exits,
                   guest->end_reason);
    }
    line_print("sevisor: %s", as_expected ? "all guests ended as expected" : "not all guests ended as expected");
    return as_expected;
}
