/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What fake_machine.c and fake_psp.c share: RAM, and the keys that its pages are under. */
#ifndef TESTS_UNIT_HV_DEVICES_FAKE_MEMORY_H
#define TESTS_UNIT_HV_DEVICES_FAKE_MEMORY_H

#include "fake_machine.h"

/* Keys besides ASIDs. */
#define HOST_KEY (-1)
#define PLAIN (-2)

extern uint8_t *ram;
extern uint8_t keys[64][SEVFW_VEK_SIZE];

uint64_t page_of(uint64_t physical);
int key_of(enum memory_view view);
/* From now on the page's bytes are as `key` shows them. A CPU leaves lines in the cache; the firmware goes past it. */
void look_through(uint64_t page, int key, bool by_cpu);

/* Where the preflight has found it. */
struct psp_location fake_psp_start(void);
void fake_psp_forget(void);

#endif
