/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The manifest, of whose table hv has a copy. */
#ifndef SEVISOR_PROGRAM_H
#define SEVISOR_PROGRAM_H

#include "boot/handoff.h"
#include "guest/manifest_format.h"
#include "hv/lib/types.h"

/* False: the manifest is refused, and the log says why. */
bool program_open(const struct handoff *handoff);
/* manifest_guest() takes it, too. */
const struct manifest_header *program_header(void);
/* Step i of the guest's launch program, from 0. */
const struct manifest_step *program_step(const struct manifest_guest *guest, uint32_t i);
/* Payload [offset, offset+size), or NULL. */
const uint8_t *program_payload(uint64_t offset, uint64_t size);

#endif
