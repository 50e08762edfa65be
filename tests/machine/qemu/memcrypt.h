/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Encrypted memory: whose key each page of RAM is held in, conversion between
 * keys, and the coherency checker. See ../README.md, "The memory model".
 *
 * A view is the number of a key. View 0 is the plain one: the bytes as they
 * stand in DRAM. The same key is never two views, and a view never changes
 * its key: a new key (reset, ACTIVATE) is a new view, so pages that are still
 * held in an old one stay what they are, ciphertext under a key now forgotten.
 */
#ifndef SEVISOR_MEMCRYPT_H
#define SEVISOR_MEMCRYPT_H

#include "exec/hwaddr.h"
#include "exec/cpu-common.h"
#include "hw/core/cpu.h"

typedef uint16_t memcrypt_view;

#define MEMCRYPT_PLAIN ((memcrypt_view)0)
#define MEMCRYPT_NO_VIEW ((memcrypt_view)0xffff)
#define MEMCRYPT_KEY_SIZE 16

/* False until memcrypt_start(): all hooks are then one branch. */
extern bool memcrypt_active;

struct memcrypt_config {
    unsigned c_bit;      /* position */
    bool checker;        /* report accesses that stale cache lines would spoil */
};

/* Called when the machine is complete, once. */
void memcrypt_start(const struct memcrypt_config *config);
/* A machine reset: new host key, guests' keys forgotten. */
void memcrypt_reset(void);
/* The bytes that all keys come from; without it QEMU's guest random numbers. */
void memcrypt_seed(const char *seed);
/* Random bytes from that source. */
void memcrypt_random(void *buf, size_t len);

/* SYSCFG.MemEncryptionModEn is set on some CPU: devices' C-bits count. */
void memcrypt_set_c_bit_enabled(bool enabled);

memcrypt_view memcrypt_host_view(void);
/* MEMCRYPT_NO_VIEW: no key is installed for the ASID. */
memcrypt_view memcrypt_guest_view(uint32_t asid);
void memcrypt_install_key(uint32_t asid, const uint8_t key[MEMCRYPT_KEY_SIZE]);
void memcrypt_remove_key(uint32_t asid);

/*
 * The firmware's accesses. `spa` without C-bit. False: not RAM.
 * They change no page's view and flush no TLB.
 */
bool memcrypt_is_ram(hwaddr spa, hwaddr len);
bool memcrypt_read(hwaddr spa, void *buf, size_t len, memcrypt_view view);
bool memcrypt_write(hwaddr spa, const void *buf, size_t len, memcrypt_view view);

/* ------------------------------------------------------- hooks in QEMU */

/* cputlb: an entry for the RAM page is about to be made; *prot may lose
 * PAGE_WRITE, so that the first write is seen. */
void memcrypt_tlb_fill(CPUState *cpu, ram_addr_t page, const CPUTLBEntryFull *full, int *prot);
/* cputlb: an entry for a device, through a C-bit, which no device understands:
 * counted and reported, and done as if plain. */
void memcrypt_mmio_fill(CPUState *cpu, hwaddr spa);
/* cputlb, ours: drop all entries that lead to this host page. */
void tlb_drop_host_page(CPUState *cpu, uintptr_t host);

/* physmem: the address without a C-bit that counts. */
hwaddr memcrypt_strip(hwaddr addr);
/*
 * physmem: RAM that is not held in the view which `addr` asks for is handed
 * out as a device, the window of that view. `always`: even when it is, because
 * the caller keeps the pointer for long.
 */
MemoryRegion *memcrypt_translate(MemoryRegion *mr, hwaddr addr, hwaddr xlat, hwaddr *plen, bool always);
bool memcrypt_is_window(const MemoryRegion *mr);
/* physmem: a whole buffer through a window; `len` ends within a page. */
void memcrypt_window_rw(const MemoryRegion *mr, hwaddr offset, void *buf, hwaddr len, bool is_write);

/* CPU: cache maintenance, for the checker. */
void memcrypt_wbinvd(CPUState *cpu, bool invalidate);
void memcrypt_clflush(CPUState *cpu, hwaddr spa, memcrypt_view view, bool invalidate);

/* ------------------------------------------------------------ counters */
uint64_t memcrypt_coherency_faults(void);
/* Those in which an encrypted guest meets nothing but its own unflushed writes
 * through its other view: the guest's business, which a hypervisor can neither
 * cause nor prevent (Linux 6.1 clears .bss..decrypted so). Not in the above. */
uint64_t memcrypt_guest_coherency_faults(void);
uint64_t memcrypt_conversions(void);
uint64_t memcrypt_encrypted_mmio(void);
void memcrypt_set_coherency_fatal(bool fatal);
bool memcrypt_coherency_fatal(void);

#endif
