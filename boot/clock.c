/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The frequency of the TSC, measured against the ACPI power management timer (ACPI 6.4, 4.8.3.3), which runs at 3.579545
 * MHz on every board; and the date and time, by UEFI. */
#include "boot/boot.h"

#include "hv/lib/x86.h"

#define PM_TIMER_HZ UINT64_C(3579545)
#define PM_TIMER_MASK 0xffffffu /* 24 bits are always there: 4.7 s */
#define PM_TIMER_STUCK 1000000u /* reads without a tick: no timer at this port */
#define SAMPLES 3u
#define SAMPLE_TICKS (PM_TIMER_HZ / 20)
#define STALL_US 100000u

#define WALL_FIRST_YEAR 2024u /* before Sevisor's first release: the clock is wrong */
#define WALL_LAST_YEAR 2105u /* guests get 32 bits of seconds */
#define WALL_ZONE_MAX 1440

/* ACPI 6.4, table 5.9 */
#define FADT_PM_TMR_BLK 76u
#define FADT_X_PM_TMR_BLK 208u

/* The frequency of the TSC by SAMPLE_TICKS of the timer, from one tick to another; 0: it does not advance. *doubt: how long both
 * ends took to be read, in cycles. */
static uint64_t clock_sample(uint16_t port, uint64_t *doubt)
{
    uint64_t first = 0, ticks = 0;
    uint32_t last = in32(port) & PM_TIMER_MASK;
    for (uint32_t still = 0; still < PM_TIMER_STUCK; still++) {
        uint64_t before = rdtsc();
        uint32_t now = in32(port) & PM_TIMER_MASK;
        if (now == last)
            continue;
        uint64_t tsc = rdtsc();
        ticks += first == 0 ? 0 : (now - last) & PM_TIMER_MASK;
        *doubt = first == 0 ? tsc - before : *doubt;
        first = first == 0 ? tsc : first;
        if (ticks >= SAMPLE_TICKS) {
            *doubt += tsc - before;
            return (tsc - first) * PM_TIMER_HZ / ticks;
        }
        last = now;
        still = 0;
    }
    return 0;
}

uint64_t clock_measure(const char **source)
{
    uint64_t hz = 0, least = UINT64_MAX, doubt = 0;
    struct handoff_register timer = acpi_register(FADT_X_PM_TMR_BLK, FADT_PM_TMR_BLK, 4);
    uint16_t port = timer.port ? (uint16_t)timer.address : 0;
    *source = "ACPI PM timer";
    for (uint32_t i = 0; port != 0 && i < SAMPLES; i++) {
        uint64_t sample = clock_sample(port, &doubt);
        port = sample != 0 ? port : 0;
        hz = doubt < least ? sample : hz;
        least = doubt < least ? doubt : least;
    }
    if (port != 0)
        return hz; /* an SMI, or the host where this runs nested, may spoil the ends of the others */

    *source = "UEFI's Stall()";
    uint64_t tsc = rdtsc();
    boot.services->Stall(STALL_US);
    return (rdtsc() - tsc) * (1000000 / STALL_US);
}

/* UEFI 2.9, 8.3: EFI_TIME is UTC - TimeZone, in minutes, and an hour later in daylight saving time; without a time zone
 * it is taken as UTC. 0: no such date or time, or a year that cannot be. */
static uint64_t clock_seconds(const EFI_TIME *t)
{
    if (t->Year < WALL_FIRST_YEAR || t->Year > WALL_LAST_YEAR || t->Month < 1 || t->Month > 12 || t->Day < 1 ||
        t->Day > 31 || t->Hour > 23 || t->Minute > 59 || t->Second > 59)
        return 0;
    /* Years that start in March put the leap day last. */
    uint32_t y = t->Month > 2 ? t->Year : t->Year - 1u, m = (t->Month + 9u) % 12;
    int64_t days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + t->Day - 719469; /* since 1970-01-01 */
    int64_t minutes = (days * 24 + t->Hour) * 60 + t->Minute;
    if (t->TimeZone >= -WALL_ZONE_MAX && t->TimeZone <= WALL_ZONE_MAX)
        minutes += t->TimeZone - ((t->Daylight & EFI_TIME_IN_DAYLIGHT) != 0 ? 60 : 0);
    return (uint64_t)minutes * 60 + t->Second;
}

void clock_read_wall(void)
{
    EFI_TIME now;
    if (!EFI_ERROR(boot.system->RuntimeServices->GetTime(&now, NULL)))
        handoff.wall_seconds = clock_seconds(&now);
    handoff.wall_tsc = rdtsc();
}
