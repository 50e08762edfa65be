/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A sound manifest to spoil: three guests, one of each encryption, and each kind of step. */
#ifndef SEVISOR_TEST_MANIFEST_GOOD_H
#define SEVISOR_TEST_MANIFEST_GOOD_H

#include "guest/manifest.h"

enum { GOOD_GUESTS = 3, GOOD_STEPS = 9, GOOD_PAYLOAD_PAGES = 8 };
/* Pages of the payload: alpha's page tables, image (2), shared page, certificate and session; gamma's own page. */
enum { PAGE_TABLES, PAGE_IMAGE, PAGE_SHARED = PAGE_IMAGE + 2, PAGE_CERT, PAGE_SESSION, PAGE_GAMMA, PAGE_SPARE };

struct good {
    struct manifest_header header;
    struct manifest_guest guests[GOOD_GUESTS];
    struct manifest_step steps[GOOD_STEPS];
    uint8_t padding[MANIFEST_PAGE - sizeof(struct manifest_header) - GOOD_GUESTS * sizeof(struct manifest_guest) -
                    GOOD_STEPS * sizeof(struct manifest_step)];
    uint8_t payload[GOOD_PAYLOAD_PAGES][MANIFEST_PAGE];
};

void good_make(struct good *good);
/* Makes the checksums agree again, after a mutation that is to be found by other means. */
void good_seal(struct good *good);

#endif
