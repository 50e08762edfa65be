/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* ARK and ASK certificates with 4096-bit keys: sev-crypto section 5.3. */
#ifndef SEVFW_ROOT_H
#define SEVFW_ROOT_H

#include "sevfw_abi.h"

enum {
    ROOT_KEY_ID = 0x04,
    ROOT_CERTIFYING_ID = 0x14,
    ROOT_ID_SIZE = 16,
    ROOT_USAGE = 0x24,
    ROOT_EXPONENT_BITS = 0x38,
    ROOT_MODULUS_BITS = 0x3C,
    ROOT_EXPONENT = 0x40,
    ROOT_MODULUS = 0x240,
    ROOT_SIGNATURE = 0x440, /* over all before it */
    ROOT_RSA_BITS = 4096,
    ROOT_RSA_SIZE = 512,
};

_Static_assert(ROOT_SIGNATURE + ROOT_RSA_SIZE == SEVFW_ROOT_CERT_SIZE, "a root certificate ends with its signature");

#endif
