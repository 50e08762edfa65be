/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The preflight table: feature, needed, found; below a row, what to change. */
#include "boot/boot.h"

static const char *table_mark(const struct handoff_preflight_row *row)
{
    switch (row->verdict) {
    case HANDOFF_FINE:
        return row->remedy[0] == '\0' ? "ok" : "note";
    case HANDOFF_NO_SEV:
        return "no SEV";
    default:
        return "STOP";
    }
}

void table_begin(void)
{
    text_print("\nSevisor preflight\n        %-20s %-22s %s\n", "feature", "needed", "found");
}

void table_row(const struct handoff_preflight_row *row)
{
    text_print(" %-6s %-20s %-22s %s\n", table_mark(row), row->feature, row->needed, row->found);
    if (row->remedy[0] != '\0')
        text_print("        -> %s\n", row->remedy);
}
