/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's virtual addresses beyond those of boot/handoff.h. */
#ifndef SEVISOR_LAYOUT_H
#define SEVISOR_LAYOUT_H

#include "boot/handoff.h"
#include "hv/lib/types.h"

#define HOSTMAP_STACKS UINT64_C(0xffff808000000000)
#define HOSTMAP_STACKS_END (HOSTMAP_STACKS + 128 * SIZE_2M)     /* 1,024 CPUs of 18 pages each take 37 */

#define WINDOW_PAGES_BASE UINT64_C(0xffff808040000000)      /* windows of a few pages */
#define WINDOW_PAGES 512u
#define WINDOW_CPU_BASE UINT64_C(0xffff808060000000)        /* one page for each CPU, and one for all of them */
#define WINDOW_ALL (WINDOW_CPU_BASE + HANDOFF_MAX_CPUS * PAGE_SIZE)
#define WINDOW_SLOTS_BASE UINT64_C(0xffff808080000000)      /* large ones, in slots of 2 MiB */
#define WINDOW_SLOTS 2048u

/* One above the other: arena, stacks, windows, image, the UART. */
_Static_assert(HV_ARENA_BASE + HV_ARENA_MAX <= HOSTMAP_STACKS && HOSTMAP_STACKS_END <= WINDOW_PAGES_BASE &&
                   WINDOW_PAGES_BASE + WINDOW_PAGES * PAGE_SIZE <= WINDOW_CPU_BASE &&
                   WINDOW_ALL + PAGE_SIZE <= WINDOW_SLOTS_BASE &&
                   WINDOW_SLOTS_BASE + WINDOW_SLOTS * SIZE_2M <= HV_IMAGE_BASE,
               "areas overlap");
_Static_assert(HV_UART_PAGE - HV_IMAGE_BASE >= SIZE_1G, "1 GiB for the image");

/* Page tables that hostmap_init() makes in advance: 2 for stacks, 3 for the CPUs' own windows; the boot CPU's root, 2 on the
 * way to its windows, 1 for small ones, 4 for large ones; and spare.
 * And for every so many CPUs, rounded up, one for their stacks and one for their windows. */
#define HOSTMAP_TABLE_PAGES 16u
#define HOSTMAP_CPUS_PER_TABLE 28u

#endif
