/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What owners of guests know this platform by: its certificates and the chip's id. */
#ifndef SEVISOR_IDENTITY_H
#define SEVISOR_IDENTITY_H

#include "psp/psp.h"

/* Takes the pages that the certificates are kept in, once. */
void identity_init(void);
/* After INIT: PDH_CERT_EXPORT and GET_ID; what they give is kept, so that the secure processor need not be asked again.
 * identity_ask_chain() submits; the others take an answer. *same: the PDH's key is that of the call before. What the firmware
 * refuses is logged, and is no error: without an answer only. */
struct psp_result identity_ask_chain(struct psp *psp);
struct psp_result identity_take_chain(struct psp *psp, struct psp_result result, bool *same);
struct psp_result identity_take_id(struct psp *psp, struct psp_result result);
bool identity_has_pdh(void);
/* NULL: the firmware did not tell it. */
const uint8_t *identity_chip(void);
/* Prints both, for `guest/owner.py`, which finds the lines in a console's log by how they begin: no guest's line can. */
void identity_show(void);
#define IDENTITY_LINES 180u

#endif
