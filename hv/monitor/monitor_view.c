/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Shares and rates are differences, between two views, of monotonic counters over all launches of a guest. Other CPUs count
 * on while they are read: a difference may be slightly stale, never negative.
 */
#include "hv/monitor/monitor_view.h"

#include "hv/console/line.h"
#include "hv/console/log.h"
#include "hv/control/report.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/lib/text.h"
#include "hv/lib/version.h"
#include "hv/mm/page.h"
#include "hv/monitor/monitor_attach.h"
#include "hv/svm/asid.h"
#include "hv/vm/exit.h"
#include "hv/vm/guest.h"
#include "hv/vm/vcpu.h"

#define NUMBER_SIZE 24u
#define COLUMNS 80u
#define KIND_COLUMN 6u
#define CPU_LINES 16u
#define GUEST_ROWS 24u
#define ROW_CHOSEN UINT64_MAX

struct cpu_counters {
    uint64_t idle_tsc, interrupts;
};

static struct {
    uint64_t tsc;
    struct guest_counters guests[GUEST_MAX];
    struct cpu_counters cpus[MAX_CPUS];
    uint64_t worked[GUEST_MAX];     /* cycles since then; ROW_CHOSEN: it gets a row */
} previous;

void monitor_view_init(void)
{
    previous.tsc = clock_tsc();
    for (uint32_t i = 0; i < GUEST_MAX; i++)
        previous.guests[i] = (struct guest_counters){0};
    for (uint32_t i = 0; i < MAX_CPUS; i++)
        previous.cpus[i] = (struct cpu_counters){0};
}

static uint64_t increase(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

/* Thousandths of `cycles`, limited to those of `whole` CPUs, since a time slice is charged only when it is over. */
static uint64_t share(uint64_t part, uint64_t cycles, uint64_t whole)
{
    uint64_t thousandths = cycles < 1000 ? 0 : part / (cycles / 1000);
    return thousandths < 1000 * whole ? thousandths : 1000 * whole;
}

static uint64_t per_second(uint64_t count, uint64_t cycles)
{
    uint64_t milliseconds = clock_tsc_to_ns(cycles) / 1000000;
    return milliseconds == 0 ? 0 : count * 1000 / milliseconds;
}

/* Five characters for values below 10^10. */
static const char *short_number(uint64_t value, char text[static NUMBER_SIZE])
{
    if (value < 100000)
        text_format(text, NUMBER_SIZE, "%lu", value);
    else if (value < 10000000)
        text_format(text, NUMBER_SIZE, "%luk", value / 1000);
    else
        text_format(text, NUMBER_SIZE, "%luM", value / 1000000);
    return text;
}

static void duration(uint64_t tsc, char text[static NUMBER_SIZE])
{
    uint64_t seconds = clock_tsc_to_ns(tsc) / 1000000000;
    text_format(text, NUMBER_SIZE, "%lu:%02lu:%02lu", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

/* Under each guest's line, and once as their heading (`counters` NULL). */
static void show_kinds(const struct guest_counters *counters, const struct guest_counters *then, uint64_t cycles)
{
    char line[COLUMNS], number[NUMBER_SIZE];
    size_t length = text_format(line, sizeof line, "%s", counters == NULL ? "by kind" : "       ");
    for (uint32_t kind = 0; kind < VCPU_EXIT_KINDS && exit_kind_name(kind) != NULL; kind++) {
        const char *cell =
            counters == NULL
                ? exit_kind_name(kind)
                : short_number(per_second(increase(counters->exits[kind], then->exits[kind]), cycles), number);
        if (length + KIND_COLUMN < sizeof line)
            length += text_format(line + length, sizeof line - length, "%6s", cell);
    }
    line_print("%s", line);
}

static void show_guest(uint32_t index, uint64_t now, uint64_t cycles)
{
    const struct guest *guest = &guests[index];
    struct guest_counters counters, *then = &previous.guests[index];
    char rate[NUMBER_SIZE], age[NUMBER_SIZE] = "-";
    uint64_t exits = 0;
    guest_read_counters(guest, &counters);
    for (uint32_t kind = 0; kind < VCPU_EXIT_KINDS; kind++)
        exits += increase(counters.exits[kind], then->exits[kind]);
    if (guest->started_tsc != 0)
        duration(increase(now, guest->started_tsc), age);
    uint64_t used = share(increase(counters.run_tsc, then->run_tsc), cycles, guest->config->vcpus);
    line_print("%3u %-16.16s %-9s %5u %4lu.%lu %7s %7lu %10s %8u", index + 1, guest->config->name, report_state(guest),
               guest->config->vcpus, used / 10, used % 10, short_number(per_second(exits, cycles), rate),
               guest->config->memory >> 20, age, guest->launches);
    if (exits > 0)
        show_kinds(&counters, then, cycles);
    *then = counters;
}

/* The CPU's counts since the last view. */
static struct cpu_counters cpu_increase(const struct cpu *cpu)
{
    struct cpu_counters *then = &previous.cpus[cpu->index];
    struct cpu_counters now = {
        __atomic_load_n(&cpu->idle_tsc, __ATOMIC_RELAXED),
        __atomic_load_n(&cpu->interrupts, __ATOMIC_RELAXED),
    };
    struct cpu_counters more = {increase(now.idle_tsc, then->idle_tsc), increase(now.interrupts, then->interrupts)};
    *then = now;
    return more;
}

static void show_cpus(uint64_t cycles)
{
    struct cpu_counters others = {0};
    uint32_t shown = 0, left = 0;
    for (uint32_t i = 0; i < smp_cpus(); i++) {
        const struct cpu *cpu = smp_cpu(i);
        if (cpu == NULL)
            continue;
        struct cpu_counters more = cpu_increase(cpu);
        uint64_t idle = share(more.idle_tsc, cycles, 1);
        if (shown == CPU_LINES) {
            others.idle_tsc += idle;
            others.interrupts += more.interrupts;
            left++;
            continue;
        }
        shown++;
        line_print("cpu %u: %lu.%lu %% idle, %lu interrupts/s", i, idle / 10, idle % 10,
                   per_second(more.interrupts, cycles));
    }
    if (left > 0)
        line_print("and %u more: %lu.%lu %% idle, %lu interrupts/s", left, others.idle_tsc / left / 10,
                   others.idle_tsc / left % 10, per_second(others.interrupts, cycles));
}

uint32_t monitor_top_lines(void)
{
    uint32_t rows = guest_count() < GUEST_ROWS ? guest_count() : GUEST_ROWS;
    return 5 + (smp_cpus() < CPU_LINES ? smp_cpus() : CPU_LINES) + 2 * rows;
}

static void choose_rows(uint32_t count)
{
    struct guest_counters counters;
    for (uint32_t i = 0; i < count; i++) {
        guest_read_counters(&guests[i], &counters);
        previous.worked[i] = increase(counters.run_tsc, previous.guests[i].run_tsc);
    }
    for (uint32_t row = 0; row < GUEST_ROWS && row < count; row++) {
        uint32_t most = count;
        for (uint32_t i = 0; i < count; i++)
            if (previous.worked[i] != ROW_CHOSEN && (most == count || previous.worked[i] > previous.worked[most]))
                most = i;
        previous.worked[most] = ROW_CHOSEN;
    }
}

/* The guests that used most CPU time, in the manifest's order, and one line for the others. */
static void show_guests(uint32_t count, uint64_t now, uint64_t cycles)
{
    uint64_t others = 0;
    choose_rows(count);
    for (uint32_t i = 0; i < count; i++) {
        if (previous.worked[i] == ROW_CHOSEN) {
            show_guest(i, now, cycles);
            continue;
        }
        others += previous.worked[i];
        guest_read_counters(&guests[i], &previous.guests[i]);
    }
    others = share(others, cycles, smp_cpus());
    if (count > GUEST_ROWS)
        line_print("and %u more guests that used less: %lu.%lu %% cpu", count - GUEST_ROWS, others / 10, others % 10);
}

void monitor_top(bool again)
{
    uint64_t now = clock_tsc(), cycles = increase(now, previous.tsc);
    uint64_t tenths = clock_tsc_to_ns(cycles) / 100000000;
    uint32_t count = guest_count();
    if (again)
        line_clear_screen();
    line_print("top: %u guests over the last %lu.%lu s", count, tenths / 10, tenths % 10);
    line_print("%3s %-16s %-9s %5s %6s %7s %7s %10s %8s", "no", "name", "state", "vcpus", "cpu %", "exits/s", "MiB",
               "up", "launches");
    show_kinds(NULL, NULL, 0);
    show_guests(count, now, cycles);
    show_cpus(cycles);
    previous.tsc = now;
}

void monitor_information(void)
{
    struct memory_stats memory;
    struct sev_platform_status_buffer platform = sev_version();
    uint64_t left_out, up_s = clock_now_us() / 1000000;
    enum log_level level = log_level(&left_out);
    memory_stats(&memory);
    line_print("Sevisor " SEVISOR_VERSION ", up %lu:%02lu:%02lu", up_s / 3600, up_s / 60 % 60, up_s % 60);
    line_print("  memory free: %lu of %lu MiB for guests, %lu of %lu pages of 4 KiB for hv itself",
               memory.extent_free >> 20, memory.extent_total >> 20, page_free_count(), page_count());
    line_print("  ASIDs (one for each guest) free: %u for SEV guests, %u for others", asid_free_count(ASID_SEV),
               asid_free_count(ASID_PLAIN));
    if (sev_ready())
        line_print("  secure processor: ready, API %u.%u build %u, %lu commands so far", platform.api_major,
                   platform.api_minor, platform.build, sev_commands());
    else
        line_print("  secure processor: not in use: %s", sev_refusal());
    line_print("  log: up to level %s is printed; %lu lines left out so far", log_level_name(level), left_out);
    line_print("  colour: %s; attached: %s", line_has_colour() ? "on" : "off",
               monitor_attached() == MONITOR_NOBODY ? "no guest" : guests[monitor_attached()].config->name);
}
