/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What AMD's key server answers to owners: the ASK-signed certificate of a chip's
 * endorsement key, and the roots. Here for the machine's chips, with a TEST root.
 * Not part of the firmware (sources.txt): only tools and tests link it.
 */
#ifndef SEVFW_KDS_H
#define SEVFW_KDS_H

#include <stdint.h>

#include "sevfw.h"
#include "sevfw_abi.h"

/* The ARK's own certificate (self-signed) and the ASK's, signed by the ARK. The
 * bytes are the same at every call. */
void kds_ark(uint8_t cert[SEVFW_ROOT_CERT_SIZE]);
void kds_ask(uint8_t cert[SEVFW_ROOT_CERT_SIZE]);

/* The CEK certificate of the chip with this id, as firmware of this API version
 * exports it, with the ASK's signature (RSA-PSS, SHA-384) in its first slot. */
void kds_cek(const uint8_t chip_id[SEVFW_CHIP_ID_SIZE], uint8_t api_major, uint8_t api_minor,
             uint8_t cert[SEVFW_CERT_SIZE]);

#endif
