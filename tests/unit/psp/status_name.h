/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A status' name, as psp_result_text() has it before its number. */
#ifndef TESTS_UNIT_PSP_STATUS_NAME_H
#define TESTS_UNIT_PSP_STATUS_NAME_H

#include <string.h>

#include "psp/psp.h"

/* Until the next call. */
static inline const char *status_name(uint16_t status)
{
    static char text[256];
    psp_result_text((struct psp_result){.error = PSP_FIRMWARE, .status = status}, text, sizeof(text));
    *strstr(text, " (0x") = '\0';
    return text;
}

#endif
