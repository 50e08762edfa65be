/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Encrypted memory. The idea is in memcrypt.h and ../README.md.
 *
 * Who touches what:
 * - only the vCPU thread converts pages, at a TLB fill. It holds `lock` while it
 *   does, so that the firmware and devices, which look through windows from
 *   other threads under the same lock, see a page either before or after.
 * - `held[]` is read without the lock: by the vCPU thread, which alone writes
 *   it, and by others to choose between RAM and window. A choice that is out of
 *   date by one conversion needs software that lets a device and a CPU use the
 *   same page under two keys at the same time.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "cpu.h"
#include "exec/address-spaces.h"
#include "exec/cputlb.h"
#include "exec/exec-all.h"
#include "exec/page-protection.h"
#include "exec/ram_addr.h"
#include "exec/tb-flush.h"
#include "hw/boards.h"
#include "system/runstate.h"
#include "tcg/tcg.h"
#include <nettle/aes.h>
#include <nettle/sha2.h>
#include "memcrypt.h"

#define PAGE 4096
#define BLOCK AES_BLOCK_SIZE
#define BLOCKS (PAGE / BLOCK)

bool memcrypt_active;

struct key {
    struct aes128_ctx encrypt, decrypt;
    char name[24];
    bool live;              /* installed now; else only pages remember it */
};

/* What the caches of the CPUs hold of a page: the checker's model. */
struct lines {
    uint64_t touched;       /* CPUs that may have lines under `view` */
    uint64_t dirty;         /* ... lines that DRAM does not have yet */
    memcrypt_view view;
    memcrypt_view author;   /* the encrypted guest that wrote all of `dirty`; PLAIN: anybody */
    bool has_others;        /* `others` knows lines under more views */
};

/* Clean lines that stayed behind when the CPUs went on under another view. */
struct other_lines {
    memcrypt_view view;
    bool stale;             /* DRAM has changed since */
    uint64_t touched;
};

/* CLFLUSHes of one CPU: a page counts as flushed after all of its lines. */
struct flush_progress {
    size_t page;
    memcrypt_view view;
    uint64_t lines;
};

#define CHECKED_CPUS 64 /* bits of a mask */

static struct {
    QemuMutex lock;
    struct memcrypt_config config;
    hwaddr c_bit;
    bool c_bit_enabled;

    MemoryRegion *ram;
    ram_addr_t ram_addr;
    size_t pages;
    uint8_t *host;
    memcrypt_view *held;

    struct aes128_ctx tweak;
    struct key **keys;      /* by view */
    unsigned nkeys;
    memcrypt_view host_view;
    GHashTable *guests;     /* asid -> view */

    MemoryRegion plain_window, host_window;

    struct lines *lines;    /* by page; NULL: no checker */
    GHashTable *others;     /* page -> GArray of other_lines */
    /* By CPU: at least the pages that it has lines of, so that WBINVD need not
     * look at all of RAM. NULL: it never touched one. */
    unsigned long *cached[CHECKED_CPUS];
    struct flush_progress flush[CHECKED_CPUS];
    bool fatal;
    uint64_t faults, guest_faults, conversions, encrypted_mmio;

    bool seeded;
    struct aes128_ctx random;
    uint64_t random_counter;
} mc;

/* ------------------------------------------------------------- randomness */

void memcrypt_seed(const char *seed)
{
    struct sha256_ctx sha;
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256_init(&sha);
    sha256_update(&sha, strlen(seed), (const uint8_t *)seed);
    sha256_digest(&sha, sizeof(digest), digest);
    aes128_set_encrypt_key(&mc.random, digest);
    mc.random_counter = 0;
    mc.seeded = true;
}

void memcrypt_random(void *buf, size_t len)
{
    uint8_t *out = buf;

    if (!mc.seeded) {
        qemu_guest_getrandom_nofail(buf, len);
        return;
    }
    while (len) {
        uint8_t block[BLOCK] = {0};
        size_t n = MIN(len, sizeof(block));

        stq_le_p(block, mc.random_counter++);
        aes128_encrypt(&mc.random, sizeof(block), block, block);
        memcpy(out, block, n);
        out += n;
        len -= n;
    }
}

/* ------------------------------------------------------------------- keys */

static memcrypt_view key_add(const uint8_t secret[MEMCRYPT_KEY_SIZE], const char *name)
{
    struct key *key = g_new0(struct key, 1);

    /* 16 bits of views last for 65,000 ACTIVATEs; a test bench ends earlier. */
    if (mc.nkeys == MEMCRYPT_NO_VIEW) {
        error_report("sev-machine: out of views after %u keys", mc.nkeys);
        exit(1);
    }
    aes128_set_encrypt_key(&key->encrypt, secret);
    aes128_set_decrypt_key(&key->decrypt, secret);
    pstrcpy(key->name, sizeof(key->name), name);
    key->live = true;
    mc.keys = g_renew(struct key *, mc.keys, mc.nkeys + 1);
    mc.keys[mc.nkeys] = key;
    return mc.nkeys++;
}

static const char *view_name(memcrypt_view view)
{
    return view == MEMCRYPT_PLAIN ? "plain" : mc.keys[view]->name;
}

static void key_retire(memcrypt_view view)
{
    struct key *key = mc.keys[view];
    size_t n = strlen(key->name);

    key->live = false;
    snprintf(key->name + n, sizeof(key->name) - n, "(old)");
}

memcrypt_view memcrypt_host_view(void)
{
    return mc.host_view;
}

/* The lock is held. */
static memcrypt_view guest_view(uint32_t asid)
{
    gpointer view = g_hash_table_lookup(mc.guests, GUINT_TO_POINTER(asid));

    return view ? GPOINTER_TO_UINT(view) : MEMCRYPT_NO_VIEW;
}

memcrypt_view memcrypt_guest_view(uint32_t asid)
{
    QEMU_LOCK_GUARD(&mc.lock);
    return guest_view(asid);
}

void memcrypt_install_key(uint32_t asid, const uint8_t key[MEMCRYPT_KEY_SIZE])
{
    g_autofree char *name = g_strdup_printf("asid %u", asid);

    QEMU_LOCK_GUARD(&mc.lock);
    memcrypt_view old = guest_view(asid);
    if (old != MEMCRYPT_NO_VIEW) {
        key_retire(old);
    }
    g_hash_table_insert(mc.guests, GUINT_TO_POINTER(asid), GUINT_TO_POINTER(key_add(key, name)));
}

void memcrypt_remove_key(uint32_t asid)
{
    QEMU_LOCK_GUARD(&mc.lock);
    memcrypt_view old = guest_view(asid);
    if (old != MEMCRYPT_NO_VIEW) {
        key_retire(old);
        g_hash_table_remove(mc.guests, GUINT_TO_POINTER(asid));
    }
}

/* ----------------------------------------------------------------- cipher */

/*
 * XEX on each 16-byte block by itself, so that any block can be read alone:
 * c = E_key(p ^ t) ^ t with t = E_tweak(address of the block). `offset` is
 * where the blocks lie in RAM. From one view's bytes to another's.
 */
static void recode(uint8_t *dst, const uint8_t *src, size_t offset, size_t nblocks, memcrypt_view from,
                   memcrypt_view to)
{
    uint64_t tweak[BLOCKS * 2], text[BLOCKS * 2];
    size_t len = nblocks * BLOCK;

    assert(nblocks <= BLOCKS && offset % BLOCK == 0);
    for (size_t i = 0; i < nblocks; i++) {
        tweak[2 * i] = cpu_to_le64(offset + i * BLOCK);
        tweak[2 * i + 1] = 0;
    }
    aes128_encrypt(&mc.tweak, len, (uint8_t *)tweak, (uint8_t *)tweak);
    memcpy(text, src, len);
    for (size_t i = 0; i < 2 * nblocks; i++) {
        text[i] ^= tweak[i];
    }
    if (from != MEMCRYPT_PLAIN) {
        aes128_encrypt(&mc.keys[from]->encrypt, len, (uint8_t *)text, (uint8_t *)text);
    }
    if (to != MEMCRYPT_PLAIN) {
        aes128_decrypt(&mc.keys[to]->decrypt, len, (uint8_t *)text, (uint8_t *)text);
    }
    for (size_t i = 0; i < 2 * nblocks; i++) {
        text[i] ^= tweak[i];
    }
    memcpy(dst, text, len);
}

static void drop_from_tlbs(size_t page)
{
    CPUState *cpu;

    CPU_FOREACH(cpu)
    {
        tlb_drop_host_page(cpu, (uintptr_t)mc.host + page * PAGE);
    }
}

static void flush_code_work(CPUState *cpu, run_on_cpu_data data)
{
    tb_flush(cpu);
}

/* The page's bytes change under the translated code that was made from them. */
static void drop_code(CPUState *cpu, size_t page)
{
    ram_addr_t start = mc.ram_addr + page * PAGE;

    /* Pages without translated code are the rule, and cost one bit test. */
    if (cpu_physical_memory_get_dirty_flag(start, DIRTY_MEMORY_CODE)) {
        return;
    }
    if (tcg_ctx->gen_tb) {
        /* The translator is fetching from the next page, and holds page locks.
         * This request is served before the next block of code runs. */
        async_safe_run_on_cpu(cpu, flush_code_work, RUN_ON_CPU_NULL);
    } else {
        tb_invalidate_phys_range(start, start + PAGE - 1);
    }
}

static void convert(CPUState *cpu, size_t page, memcrypt_view view)
{
    uint8_t *bytes = mc.host + page * PAGE;

    QEMU_LOCK_GUARD(&mc.lock);
    recode(bytes, bytes, page * PAGE, BLOCKS, mc.held[page], view);
    qatomic_set(&mc.held[page], view);
    mc.conversions++;
    drop_code(cpu, page);
    drop_from_tlbs(page);
}

/* ---------------------------------------------------------------- checker */

/* The encrypted guest whose code runs, else PLAIN. */
static memcrypt_view running_guest(CPUState *cpu)
{
    const struct sev_cpu *sev = &X86_CPU(cpu)->sev;

    return sev->guest_c ? sev->guest_view : MEMCRYPT_PLAIN;
}

static void G_GNUC_PRINTF(2, 3) fault(size_t page, const char *format, ...)
{
    g_autofree char *what = NULL;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    mc.faults++;
    if (mc.faults <= 100) {
        fprintf(stderr, "sev-machine: coherency: RAM page 0x%zx: %s\n", page * PAGE, what);
        if (mc.faults == 100) {
            fprintf(stderr, "sev-machine: coherency: no more of these are "
                            "printed, the counter goes on\n");
        }
    }
    if (mc.fatal) {
        qemu_system_shutdown_request_with_code(SHUTDOWN_CAUSE_HOST_ERROR, 99);
    }
}

static struct other_lines *others_find(size_t page, memcrypt_view view, GArray **array, guint *index)
{
    *array = g_hash_table_lookup(mc.others, GSIZE_TO_POINTER(page));
    for (guint i = 0; *array && i < (*array)->len; i++) {
        struct other_lines *o = &g_array_index(*array, struct other_lines, i);

        if (o->view == view) {
            *index = i;
            return o;
        }
    }
    return NULL;
}

static void others_add(size_t page, memcrypt_view view, uint64_t touched, bool stale)
{
    GArray *array;
    guint index;
    struct other_lines *o = others_find(page, view, &array, &index);

    if (o) {
        o->touched |= touched;
        o->stale |= stale;
        return;
    }
    if (!array) {
        array = g_array_new(false, true, sizeof(struct other_lines));
        g_hash_table_insert(mc.others, GSIZE_TO_POINTER(page), array);
    }
    g_array_append_vals(array,
                        &(struct other_lines){
                            .view = view,
                            .touched = touched,
                            .stale = stale,
                        },
                        1);
    mc.lines[page].has_others = true;
}

static void others_drop(size_t page, memcrypt_view view)
{
    GArray *array;
    guint index;

    if (mc.lines[page].has_others && others_find(page, view, &array, &index)) {
        g_array_remove_index_fast(array, index);
        if (!array->len) {
            g_hash_table_remove(mc.others, GSIZE_TO_POINTER(page));
            mc.lines[page].has_others = false;
        }
    }
}

static void others_now_stale(size_t page)
{
    GArray *array;

    if (!mc.lines[page].has_others) {
        return;
    }
    array = g_hash_table_lookup(mc.others, GSIZE_TO_POINTER(page));
    for (guint i = 0; i < array->len; i++) {
        g_array_index(array, struct other_lines, i).stale = true;
    }
}

/*
 * What goes wrong on a part without coherent encryption, and when it is
 * reported:
 * - an access through another view while dirty lines exist: a read misses what
 *   they hold, a write is overwritten when they leave the cache;
 * - an access through a view that has clean lines from before somebody else
 *   changed DRAM: it gets the old bytes.
 * Clean lines of another view by themselves harm nobody.
 */
static void check_cpu_access(CPUState *cpu, size_t page, memcrypt_view view, bool store)
{
    struct lines *l = &mc.lines[page];
    uint64_t me = 1ull << cpu->cpu_index;

    QEMU_LOCK_GUARD(&mc.lock);
    if (l->view != view) {
        GArray *array;
        guint index;
        struct other_lines *o = NULL;
        uint64_t touched = 0;

        if (l->dirty && l->author && l->author == running_guest(cpu)) {
            mc.guest_faults++;  /* its own lines, which nobody else can flush in time */
        } else if (l->dirty) {
            fault(page,
                  "cpu %d %s through view %s; unflushed writes through "
                  "view %s by cpus 0x%" PRIx64,
                  cpu->cpu_index, store ? "writes" : "reads", view_name(view), view_name(l->view), l->dirty);
        } else if (l->touched) {
            others_add(page, l->view, l->touched, false);
        }
        if (l->has_others) {
            o = others_find(page, view, &array, &index);
        }
        if (o && o->stale) {
            fault(page,
                  "cpu %d %s through view %s; cpus 0x%" PRIx64 " still "
                  "have lines from before the memory was changed",
                  cpu->cpu_index, store ? "writes" : "reads", view_name(view), o->touched);
        } else if (o) {
            touched = o->touched;
        }
        others_drop(page, view);
        l->view = view;
        l->touched = touched;
        l->dirty = 0;
    }
    l->touched |= me;
    if (!mc.cached[cpu->cpu_index]) {
        mc.cached[cpu->cpu_index] = bitmap_new(mc.pages);
    }
    set_bit(page, mc.cached[cpu->cpu_index]);
    if (store) {
        l->author = !l->dirty || l->author == running_guest(cpu) ? running_guest(cpu) : MEMCRYPT_PLAIN;
        l->dirty |= me;
        others_now_stale(page);
    }
}

/* The firmware's accesses; the lock is held. They leave no lines behind. Says
 * whether CPUs that use the page must be seen to do so again. */
static bool check_firmware_access(size_t page, memcrypt_view view, bool store)
{
    struct lines *l = &mc.lines[page];
    bool forgot = false;

    if (l->view != view && l->dirty) {
        fault(page,
              "firmware %s through view %s; unflushed writes through "
              "view %s by cpus 0x%" PRIx64,
              store ? "writes" : "reads", view_name(view), view_name(l->view), l->dirty);
        l->dirty = l->touched = 0;
        forgot = true;
    }
    if (!store) {
        return forgot;
    }
    if (l->view != view && l->touched) {
        others_add(page, l->view, l->touched, true);
        l->touched = 0;
        l->view = view;
        forgot = true;
    }
    others_now_stale(page);
    others_drop(page, view); /* its writes are coherent with its own view */
    return forgot;
}

static void drop_from_tlbs_work(CPUState *cpu, run_on_cpu_data data)
{
    drop_from_tlbs(data.target_ptr / PAGE);
}

/* One CPU's lines of the page under views that were left. */
static void others_invalidate(size_t page, uint64_t me)
{
    GArray *array;

    if (!mc.lines[page].has_others) {
        return;
    }
    array = g_hash_table_lookup(mc.others, GSIZE_TO_POINTER(page));
    for (guint i = 0; i < array->len;) {
        struct other_lines *o = &g_array_index(array, struct other_lines, i);

        o->touched &= ~me;
        if (o->touched) {
            i++;
        } else {
            g_array_remove_index_fast(array, i);
        }
    }
    if (!array->len) {
        g_hash_table_remove(mc.others, GSIZE_TO_POINTER(page));
        mc.lines[page].has_others = false;
    }
}

void memcrypt_wbinvd(CPUState *cpu, bool invalidate)
{
    uint64_t me = 1ull << cpu->cpu_index;
    unsigned long *cached = mc.lines ? mc.cached[cpu->cpu_index] : NULL;

    if (!cached) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&mc.lock)
    {
        for (size_t page = find_first_bit(cached, mc.pages); page < mc.pages;
             page = find_next_bit(cached, mc.pages, page + 1)) {
            mc.lines[page].dirty &= ~me;
            if (invalidate) {
                mc.lines[page].touched &= ~me;
                others_invalidate(page, me);
            }
        }
        if (invalidate) {
            bitmap_zero(cached, mc.pages);
        }
    }
    /* From now on the next access to each page must be seen again. */
    tlb_flush(cpu);
}

void memcrypt_clflush(CPUState *cpu, hwaddr spa, memcrypt_view view, bool invalidate)
{
    struct flush_progress *f;
    MemoryRegion *mr;
    hwaddr offset, len = 1;
    size_t page;

    if (!mc.lines) {
        return;
    }
    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(&address_space_memory, spa, &offset, &len, false, MEMTXATTRS_UNSPECIFIED);
    if (mr != mc.ram && !memcrypt_is_window(mr)) {
        return;
    }
    page = offset / PAGE;
    f = &mc.flush[cpu->cpu_index];
    if (f->page != page || f->view != view) {
        *f = (struct flush_progress){.page = page, .view = view};
    }
    f->lines |= 1ull << (offset % PAGE / 64);
    if (f->lines != UINT64_MAX) {
        return;
    }
    f->lines = 0;
    WITH_QEMU_LOCK_GUARD(&mc.lock)
    {
        if (mc.lines[page].view == view) {
            mc.lines[page].dirty = 0;
            if (invalidate) {
                mc.lines[page].touched = 0;
            }
        }
        if (invalidate) {
            others_drop(page, view);
        }
    }
    drop_from_tlbs(page);
}

uint64_t memcrypt_coherency_faults(void)
{
    return mc.faults;
}

uint64_t memcrypt_guest_coherency_faults(void)
{
    return mc.guest_faults;
}

uint64_t memcrypt_conversions(void)
{
    return mc.conversions;
}

uint64_t memcrypt_encrypted_mmio(void)
{
    return mc.encrypted_mmio;
}

void memcrypt_set_coherency_fatal(bool fatal)
{
    mc.fatal = fatal;
}

bool memcrypt_coherency_fatal(void)
{
    return mc.fatal;
}

/* -------------------------------------------------------------- TLB fills */

void memcrypt_tlb_fill(CPUState *cpu, ram_addr_t ram_addr, const CPUTLBEntryFull *full, int *prot)
{
    size_t page = (ram_addr - mc.ram_addr) / PAGE;
    memcrypt_view view = full->memcrypt_view;

    if (page >= mc.pages) {
        return;
    }
    if (unlikely(mc.held[page] != view)) {
        convert(cpu, page, view);
    }
    if (mc.lines) {
        struct lines *l = &mc.lines[page];
        uint64_t me = 1ull << cpu->cpu_index;
        bool store = full->memcrypt_store;

        if (l->view != view || !(l->touched & me) || (store && !(l->dirty & me))) {
            check_cpu_access(cpu, page, view, store);
        }
        if (!(l->dirty & me)) {
            *prot &= ~PAGE_WRITE;
        }
    }
}

void memcrypt_mmio_fill(CPUState *cpu, hwaddr spa)
{
    if (mc.encrypted_mmio++ < 20) {
        fprintf(stderr, "sev-machine: mmio: cpu %d reaches the device at 0x%" PRIx64 " through a C-bit\n",
                cpu->cpu_index, spa);
    }
}

/* ---------------------------------------------------------------- windows */

/* The lock is held; within a page. */
static void rw_locked(size_t offset, uint8_t *buf, size_t len, memcrypt_view view, bool is_write)
{
    size_t page = offset / PAGE;
    memcrypt_view held = mc.held[page];
    uint8_t *bytes = mc.host + offset;
    size_t start = QEMU_ALIGN_DOWN(offset, BLOCK);
    size_t nblocks = DIV_ROUND_UP(offset + len - start, BLOCK);
    uint8_t text[PAGE];

    assert(len && (offset + len - 1) / PAGE == page);
    if (held == view) {
        if (is_write) {
            memcpy(bytes, buf, len);
        } else {
            memcpy(buf, bytes, len);
        }
    } else {
        recode(text, mc.host + start, start, nblocks, held, view);
        if (is_write) {
            memcpy(text + (offset - start), buf, len);
            recode(mc.host + start, text, start, nblocks, view, held);
        } else {
            memcpy(buf, text + (offset - start), len);
        }
    }
}

static void written(size_t offset, size_t len)
{
    ram_addr_t addr = mc.ram_addr + offset;

    if (!cpu_physical_memory_get_dirty_flag(addr, DIRTY_MEMORY_CODE)) {
        tb_invalidate_phys_range(addr, addr + len - 1);
    }
    cpu_physical_memory_set_dirty_range(addr, len, DIRTY_CLIENTS_NOCODE);
}

static void rw(size_t offset, uint8_t *buf, size_t len, memcrypt_view view, bool is_write, bool firmware)
{
    bool drop = false;

    WITH_QEMU_LOCK_GUARD(&mc.lock)
    {
        if (firmware && mc.lines) {
            drop = check_firmware_access(offset / PAGE, view, is_write);
        }
        rw_locked(offset, buf, len, view, is_write);
    }
    if (drop && current_cpu) {
        drop_from_tlbs(offset / PAGE);
    } else if (drop) {
        /* TLBs belong to the vCPU thread. */
        async_run_on_cpu(first_cpu, drop_from_tlbs_work, RUN_ON_CPU_TARGET_PTR(offset));
    }
    if (is_write) {
        written(offset, len);
    }
}

bool memcrypt_is_window(const MemoryRegion *mr)
{
    return mr == &mc.plain_window || mr == &mc.host_window;
}

static memcrypt_view window_view(const MemoryRegion *mr)
{
    return mr == &mc.plain_window ? MEMCRYPT_PLAIN : mc.host_view;
}

void memcrypt_window_rw(const MemoryRegion *mr, hwaddr offset, void *buf, hwaddr len, bool is_write)
{
    uint8_t *bytes = buf;

    while (len) {
        size_t n = MIN(len, PAGE - offset % PAGE);

        rw(offset, bytes, n, window_view(mr), is_write, false);
        bytes += n;
        offset += n;
        len -= n;
    }
}

static uint64_t window_read(void *opaque, hwaddr offset, unsigned size)
{
    uint8_t bytes[8];

    memcrypt_window_rw(opaque, offset, bytes, size, false);
    return ldn_le_p(bytes, size);
}

static void window_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    uint8_t bytes[8];

    stn_le_p(bytes, size, value);
    memcrypt_window_rw(opaque, offset, bytes, size, true);
}

static const MemoryRegionOps window_ops = {
    .read = window_read,
    .write = window_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
    .impl = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
};

hwaddr memcrypt_strip(hwaddr addr)
{
    return mc.c_bit_enabled ? addr & ~mc.c_bit : addr;
}

MemoryRegion *memcrypt_translate(MemoryRegion *mr, hwaddr addr, hwaddr xlat, hwaddr *plen, bool always)
{
    memcrypt_view view;
    MemoryRegion *window;
    size_t page, last;

    if (mr != mc.ram) {
        return mr;
    }
    if (mc.c_bit_enabled && (addr & mc.c_bit)) {
        view = mc.host_view;
        window = &mc.host_window;
    } else {
        view = MEMCRYPT_PLAIN;
        window = &mc.plain_window;
    }
    if (always) {
        return window;
    }
    page = xlat / PAGE;
    if (mc.held[page] != view) {
        *plen = MIN(*plen, PAGE - xlat % PAGE);
        return window;
    }
    if (!*plen) {
        return mr;
    }
    last = MIN((xlat + *plen - 1) / PAGE, mc.pages - 1);
    while (page < last) {
        page++;
        if (mc.held[page] != view) {
            *plen = page * PAGE - xlat;
            break;
        }
    }
    return mr;
}

/* RAM behind an address, which may be seen through a window; NULL: not RAM. */
static MemoryRegion *ram_at(hwaddr spa, hwaddr *offset, hwaddr *len, bool is_write)
{
    MemoryRegion *mr;

    *len = MIN(*len, PAGE - spa % PAGE);
    mr = address_space_translate(&address_space_memory, spa, offset, len, is_write, MEMTXATTRS_UNSPECIFIED);
    return mr == mc.ram || memcrypt_is_window(mr) ? mr : NULL;
}

bool memcrypt_is_ram(hwaddr spa, hwaddr len)
{
    RCU_READ_LOCK_GUARD();
    for (hwaddr done = 0; done < len;) {
        hwaddr offset, n = len - done;

        if (!ram_at(spa + done, &offset, &n, false)) {
            return false;
        }
        done += n;
    }
    return true;
}

static bool firmware_rw(hwaddr spa, void *buf, size_t len, memcrypt_view view, bool is_write)
{
    uint8_t *bytes = buf;

    if (view == MEMCRYPT_NO_VIEW || !memcrypt_active) {
        return false;
    }
    RCU_READ_LOCK_GUARD();
    /* All of it, or nothing. */
    if (!memcrypt_is_ram(spa, len)) {
        return false;
    }
    for (size_t done = 0; done < len;) {
        hwaddr offset, n = len - done;

        if (!ram_at(spa + done, &offset, &n, is_write)) {
            return false;
        }
        rw(offset, bytes + done, n, view, is_write, true);
        done += n;
    }
    return true;
}

bool memcrypt_read(hwaddr spa, void *buf, size_t len, memcrypt_view view)
{
    return firmware_rw(spa, buf, len, view, false);
}

bool memcrypt_write(hwaddr spa, const void *buf, size_t len, memcrypt_view view)
{
    return firmware_rw(spa, (void *)buf, len, view, true);
}

/* ---------------------------------------------------------- start and reset */

void memcrypt_set_c_bit_enabled(bool enabled)
{
    mc.c_bit_enabled = enabled;
}

static void new_host_key(void)
{
    uint8_t key[MEMCRYPT_KEY_SIZE];

    memcrypt_random(key, sizeof(key));
    mc.host_view = key_add(key, "sme");
}

void memcrypt_reset(void)
{
    GHashTableIter iter;
    gpointer asid, view;

    if (!memcrypt_active) {
        return;
    }
    QEMU_LOCK_GUARD(&mc.lock);
    g_hash_table_iter_init(&iter, mc.guests);
    while (g_hash_table_iter_next(&iter, &asid, &view)) {
        key_retire(GPOINTER_TO_UINT(view));
        g_hash_table_iter_remove(&iter);
    }
    key_retire(mc.host_view);
    new_host_key();
    if (mc.lines) {
        /* RESET invalidates all caches without writing back; whoever relies
         * on what was in them is not checked. */
        memset(mc.lines, 0, mc.pages * sizeof(mc.lines[0]));
        g_hash_table_remove_all(mc.others);
        memset(mc.flush, 0, sizeof(mc.flush));
        for (int i = 0; i < CHECKED_CPUS; i++) {
            if (mc.cached[i]) {
                bitmap_zero(mc.cached[i], mc.pages);
            }
        }
    }
}

static void free_array(gpointer array)
{
    g_array_free(array, true);
}

static void window_init(MemoryRegion *window, const char *name)
{
    memory_region_init_io(window, NULL, &window_ops, window, name, memory_region_size(mc.ram));
    window->disable_reentrancy_guard = true;
}

void memcrypt_start(const struct memcrypt_config *config)
{
    uint8_t key[MEMCRYPT_KEY_SIZE];
    CPUState *cpu;

    if (memcrypt_active) {
        return;
    }
    mc.ram = current_machine->ram;
    if (!mc.ram || !memory_region_is_ram(mc.ram)) {
        error_report("sev-machine: needs plain -m memory, without NUMA nodes "
                     "or memory devices");
        exit(1);
    }
    if (qemu_tcg_mttcg_enabled()) {
        error_report("sev-machine: needs -accel tcg,thread=single");
        exit(1);
    }
    CPU_FOREACH(cpu)
    {
        if (config->checker && cpu->cpu_index >= CHECKED_CPUS) {
            error_report("sev-machine: at most %d CPUs without "
                         "sev-hw-coherency=on",
                         CHECKED_CPUS);
            exit(1);
        }
    }
    qemu_mutex_init(&mc.lock);
    mc.config = *config;
    mc.c_bit = 1ull << config->c_bit;
    mc.ram_addr = memory_region_get_ram_addr(mc.ram);
    mc.pages = memory_region_size(mc.ram) / PAGE;
    mc.host = memory_region_get_ram_ptr(mc.ram);
    mc.held = g_new0(memcrypt_view, mc.pages);
    mc.guests = g_hash_table_new(NULL, NULL);
    mc.others = g_hash_table_new_full(NULL, NULL, NULL, free_array);
    if (config->checker) {
        mc.lines = g_new0(struct lines, mc.pages);
    }
    memcrypt_random(key, sizeof(key));
    aes128_set_encrypt_key(&mc.tweak, key);
    key_add(key, "plain"); /* the number 0; its key is never used */
    new_host_key();
    window_init(&mc.plain_window, "memcrypt-plain");
    window_init(&mc.host_window, "memcrypt-sme");
    memcrypt_active = true;
}
