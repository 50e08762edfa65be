/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The platform's identity for guest owners: its SEV certificates and the chip's id. */
#ifndef SEVISOR_IDENTITY_H
#define SEVISOR_IDENTITY_H

#include "psp/psp.h"

/* Allocates the pages that hold the certificates; once. */
void identity_init(void);
/* After INIT: PDH_CERT_EXPORT and GET_ID, whose results are kept. identity_request_chain() submits; the others take the
 * answer. A status other than SUCCESS is logged, and psp_ok() is returned:
 * only a secure processor without an answer is an error. */
struct psp_result identity_request_chain(struct psp *psp);
struct psp_result identity_take_chain(struct psp *psp, struct psp_result result);
struct psp_result identity_take_id(struct psp *psp, struct psp_result result);
/* The certificates are not the platform's any more. */
void identity_forget(void);
bool identity_has_pdh(void);
/* Whether the PDH survives INIT, in words, as two calls of identity_take_chain() have shown; NULL: not known. */
const char *identity_survival(void);
/* SEV_CHIP_ID_SIZE bytes; NULL: unknown. */
const uint8_t *identity_chip(void);
/* Prints both, and that. `guest/owner.py` finds the lines in a log of the console by their prefix, which no guest's line can have. */
void identity_show(void);
#define IDENTITY_LINES 181u

#endif
