/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What /proc/interrupts counted meanwhile: timer ticks on each CPU, and each kind of interrupt between CPUs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smptest.h"

static const struct {
    const char *label, *what;
    bool needs_others;          /* one CPU alone never has it */
} rows[] = {
    {"LOC:", "timer", false},
    {"RES:", "rescheduling", true},
    {"CAL:", "function call", true},
    {"TLB:", "TLB shoot-down", true},
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]), SHOOT_DOWN = ROWS - 1 };

struct interrupts {
    uint64_t count[ROWS][MAX_CPUS];
};

struct interrupts *interrupts_read(void)
{
    struct interrupts *all = calloc(1, sizeof(*all));
    FILE *file = fopen("/proc/interrupts", "r");
    char line[MAX_CPUS * 12 + 100];

    if (file == NULL || all == NULL) {
        fail("/proc/interrupts cannot be read");
        exit(1);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        char *place = line + strspn(line, " ");

        for (unsigned row = 0; row < ROWS; row++) {
            if (strncmp(place, rows[row].label, 4) != 0)
                continue;
            place += 4;
            for (unsigned cpu = 0; cpu < cpus; cpu++)
                all->count[row][cpu] = strtoull(place, &place, 10);
            break;
        }
    }
    fclose(file);
    return all;
}

void interrupts_rose(const struct interrupts *before, bool any_kernel)
{
    const struct interrupts *after = interrupts_read();

    for (unsigned row = 0; row < ROWS; row++) {
        char counts[MAX_CPUS * 12] = "";

        for (unsigned cpu = 0; cpu < cpus; cpu++) {
            uint64_t rise = after->count[row][cpu] - before->count[row][cpu];
            size_t used = strlen(counts);

            snprintf(counts + used, sizeof(counts) - used, " %llu", (unsigned long long)rise);
            if (rise == 0 && (!rows[row].needs_others || cpus > 1) && !(row == SHOOT_DOWN && any_kernel))
                fail("CPU %u had no %s interrupt", cpu, rows[row].what);
        }
        say("interrupts: %s%s", rows[row].what, counts);
    }
}
