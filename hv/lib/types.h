/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Address spaces as types: what compiles cannot be mixed up. */
#ifndef SEVISOR_TYPES_H
#define SEVISOR_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* clang-format off */
typedef struct { uint64_t raw; } paddr_t;   /* system physical, without C-bit */
typedef struct { uint64_t raw; } gpaddr_t;  /* guest physical, without C-bit */
/* clang-format on */

#define PAGE_SIZE UINT64_C(4096)
#define PAGE_SHIFT 12
#define SIZE_2M (UINT64_C(1) << 21)
#define SIZE_1G (UINT64_C(1) << 30)

/* For the rarer ways through an exit: the function that leads there need not save the registers that they need. */
#define OUT_OF_LINE static __attribute__((noinline))

/* clang-format off */
static inline paddr_t paddr(uint64_t raw) { return (paddr_t){raw}; }
static inline gpaddr_t gpaddr(uint64_t raw) { return (gpaddr_t){raw}; }
static inline paddr_t paddr_add(paddr_t p, uint64_t bytes) { return paddr(p.raw + bytes); }
/* clang-format on */

#endif
