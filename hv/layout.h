/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's virtual addresses beyond those of boot/handoff.h. */
#ifndef SEVISOR_LAYOUT_H
#define SEVISOR_LAYOUT_H

#include "types.h"

#define HOSTMAP_STACKS UINT64_C(0xffff808000000000)
#define HOSTMAP_STACKS_END (HOSTMAP_STACKS + SIZE_2M)

#define WINDOW_PAGES_BASE UINT64_C(0xffff808040000000)      /* windows of a few pages */
#define WINDOW_PAGES 512u
#define WINDOW_SLOTS_BASE UINT64_C(0xffff808080000000)      /* large ones, in slots of 2 MiB */
#define WINDOW_SLOTS 2048u

/* Page tables that hostmap_init() makes in advance: the root, 3 + 4 for the image (up to 8 MiB), 2 for the
 * arena (and one per GiB), 3 for stacks, 2 for small windows, 4 for large ones; and spare. */
#define HOSTMAP_TABLE_PAGES 32u

#endif
