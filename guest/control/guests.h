/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Guests by name, and the words of their lives. */
#ifndef SEVISOR_CONTROL_GUESTS_H
#define SEVISOR_CONTROL_GUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/control.h"

/* Guests of the manifest; 0: hv does not answer. */
uint32_t guests_count(void);
/* False: no guest of this name, which is remembered as the reason. */
bool guests_find(const char *name, size_t length, uint32_t *guest);

/* launch, end, pause, resume. Returns enum control_result. */
bool guests_is_command(const char *word, size_t length, enum control_operation *operation);
uint32_t guests_command(enum control_operation operation, uint32_t guest);

const char *guests_state_name(uint32_t state);
const char *guests_encryption_name(uint32_t encryption);
/* Whether memory is private by default: enum manifest_encryption. */
bool guests_has_sev(const struct control_guest *info);

#endif
