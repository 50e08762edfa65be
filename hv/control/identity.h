/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The platform's identity for guest owners: its SEV certificates and the chip's id. */
#ifndef SEVISOR_IDENTITY_H
#define SEVISOR_IDENTITY_H

#include "psp/psp.h"

/* Written by identity.c, but for has_pdh, which is false when the certificates are not the platform's any more. */
extern struct identity {
    uint8_t *chain; /* PDH, PEK, OCA, CEK; never freed */
    uint8_t key[SEV_CERT_KEY_SIZE]; /* public key of the PDH */
    uint8_t chip[SEV_CHIP_ID_SIZE];
    const char *
        survival; /* whether the PDH survives INIT, in words, as two calls of identity_take_chain() have shown; NULL: not known */
    bool has_pdh, has_chip;
} identity;

/* Allocates the pages that hold the certificates; once. */
void identity_init(void);
/* After INIT: PDH_CERT_EXPORT and GET_ID, whose results are kept. identity_request_chain() submits; the others take the
 * answer. A status other than SUCCESS is logged, and psp_ok() is returned:
 * only a secure processor without an answer is an error. */
struct psp_result identity_request_chain(struct psp *psp);
struct psp_result identity_take_chain(struct psp *psp, struct psp_result result);
struct psp_result identity_take_id(struct psp *psp, struct psp_result result);
/* Prints both, and that. `guest/owner.py` finds the lines in a log of the console by their prefix, which no guest's line can have. */
void identity_show(void);
#define IDENTITY_LINES 181u

#endif
