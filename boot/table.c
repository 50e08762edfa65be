/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The preflight table: feature, needed, found; below a row its remedy. */
#include "boot/boot.h"

#include "hv/lib/text.h"

static void table_print(const struct preflight_row *row)
{
    static const char *const marks[] = {"ok", "note", "note", "no SEV", "STOP"};
    text_print(" %-6s %-20s %-22s %s\n", marks[row->verdict], row->feature, row->needed, row->found);
    if (row->remedy[0] != '\0')
        text_print("        -> %s\n", row->remedy);
}

void table_row(enum preflight_verdict verdict, const char *feature, const char *needed, const char *format, ...)
{
    static struct preflight_row not_kept;
    struct preflight_row *r = boot.row_count < PREFLIGHT_ROWS ? &boot.rows[boot.row_count++] : &not_kept;
    char *end = r->found;
    va_list arguments;
    va_start(arguments, format);
    text_format_list(r->found, sizeof(r->found), format, arguments);
    va_end(arguments);
    while (*end != '\0' && *end != '\n')
        end++;
    r->verdict = verdict;
    r->remedy = verdict != PREFLIGHT_FINE && *end == '\n' ? end + 1 : "";
    *end = '\0';
    text_format(r->feature, sizeof(r->feature), "%s", feature);
    text_format(r->needed, sizeof(r->needed), "%s", needed);
    table_print(r);
    boot.refused |= verdict == PREFLIGHT_FATAL;
    if (verdict == PREFLIGHT_NO_SEV && handoff.sev_refusal[0] == '\0')
        text_format(handoff.sev_refusal, sizeof(handoff.sev_refusal), "%s: %s; %s", feature, r->found, r->remedy);
}

void table_refusals(void)
{
    text_print("\nRefused because of:\n");
    for (uint32_t i = 0; i < boot.row_count; i++)
        if (boot.rows[i].verdict > PREFLIGHT_NOTE)
            table_print(&boot.rows[i]);
}
