/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* psp/'s table of commands, a line each, for test_lab.py. */
#include <stdio.h>

#include "psp/command.c"

int main(void)
{
    for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const struct psp_command_row *row = &rows[i];

        printf("%s %u %u %u %u %u %u", row->name, row->command, row->size, row->class, row->states, row->forbidden,
               row->zero);
        for (unsigned j = 0; j < PSP_REFERENCES && row->references[j].kind != 0; j++)
            printf(" %u,%u,%u", row->references[j].kind, row->references[j].address, row->references[j].length);
        printf("\n");
    }
    return 0;
}
