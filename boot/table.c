/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The preflight table: feature, needed, found; below a row its remedy. */
#include "boot/boot.h"

#include "hv/lib/text.h"

static void table_print(const struct preflight_row *row)
{
    static const char *const marks[] = {"ok", "no SEV", "STOP", "note"};
    bool note = row->verdict == PREFLIGHT_FINE && row->remedy[0] != '\0';
    text_print(" %-6s %-20s %-22s %s\n", note ? "note" : marks[row->verdict], row->feature, row->needed, row->found);
    if (row->remedy[0] != '\0')
        text_print("        -> %s\n", row->remedy);
}

void table_row(enum preflight_verdict verdict, const char *feature, const char *needed, const char *found,
               const char *remedy)
{
    static struct preflight_row not_kept;
    struct preflight_row *r = boot.row_count < PREFLIGHT_ROWS ? &boot.rows[boot.row_count++] : &not_kept;
    r->verdict = verdict;
    text_format(r->feature, sizeof r->feature, "%s", feature);
    text_format(r->needed, sizeof r->needed, "%s", needed);
    text_format(r->found, sizeof r->found, "%s", found);
    text_format(r->remedy, sizeof r->remedy, "%s", remedy);
    table_print(r);
    boot.refused |= verdict == PREFLIGHT_FATAL;
    if (verdict == PREFLIGHT_NO_SEV && handoff.sev_refusal[0] == '\0')
        text_format(handoff.sev_refusal, sizeof handoff.sev_refusal, "%s: %s; %s", feature, found, remedy);
}

void table_refusals(void)
{
    text_print("\nRefused because of:\n");
    for (uint32_t i = 0; i < boot.row_count; i++)
        if (boot.rows[i].verdict != PREFLIGHT_FINE)
            table_print(&boot.rows[i]);
}
