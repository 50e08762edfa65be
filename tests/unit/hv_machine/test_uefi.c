/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The address space in which the firmware's runtime services run, and the end of the machine. */
#include <stdlib.h>

#include "fake_cpu.h"

#include "../alone.h"
#include "../boards/boards.h"

#include "boot/boot.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/smp.h"
#include "hv/init/uefi.h"
#include "hv/init/shutdown.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"
#include "hv/svm/confine.h"
#include "hv/mm/window.h"
#include "hv/lib/pagetable.h"
#include "hv/cpu/trap.h"

#define HOST_CR3 UINT64_C(0x1234000)
#define MOST 2560u                      /* pages for tables */
#define TABLES "page_alloc 2560\n"

struct handoff handoff;
/* In guest mode between the two. */
static bool confined;
void confine_begin(void)
{
    assert_true(fake_if && !confined);
    confined = true;
}
void confine_end(void)
{
    confined = false;
}
uint64_t confine_rip(uint64_t rip)
{
    return rip;
}

static const char *caught;              /* what happens in the firmware, when it is called; NULL: it comes back */
static const char *variables_fault;     /* the same of SetVariable(), once */
static bool panics;                     /* that is hv's own fault there; or the CPU does not come back from there */
static bool variables_hang;             /* the same in SetVariable() */
static bool in_call;                    /* as smp.c has it */
static bool loses, lost;                /* another CPU takes over meanwhile, and has */
static uint64_t stack_then;

#define IN_TIME "the UEFI firmware has not returned in time, interrupted"

static void fault(uint64_t here, const char *what)
{
    struct trap_frame frame = {
        .rip = 0x7abc0123, .rsp = here, .rflags = 0x10202, .vector = strcmp(what, IN_TIME) == 0 ? TRAP_TIMER : 6};
    fake_if = false;            /* an interrupt gate */
    assert_true(end_catch(&frame, what));
    assert_int_equal(frame.rflags, 2);
    assert_int_equal(frame.rsp % 16, 8);
    assert_true(frame.rsp > here && frame.rsp < stack_then);    /* hv's part of the stack */
    assert_false(end_catch(&frame, "again"));
    ((void (*)(void))frame.rip)();
}

static void __attribute__((ms_abi)) reset_system(uint32_t type, uint64_t status, uint64_t size, void *data)
{
    assert_true(status == 0 && size == 0 && data == NULL);
    note("reset %u", type);
    assert_true(fake_if);       /* so that the timer comes through */
    assert_true(confined);      /* also where the firmware disables interrupts */
    assert_true(in_call);       /* and in SMM, another CPU */
    lost = loses;
    if (panics)
        longjmp(*fake_out, 1);
    if (caught != NULL)
        fault((uintptr_t)__builtin_frame_address(0), caught);
}

static bool ends_here;
bool shutdown_is_here(void)
{
    return ends_here;
}

void shutdown_call(void)
{
    assert_false(in_call);
    assert_false(fake_if);
    in_call = true;
}

bool shutdown_return(void)
{
    in_call = false;
    return !lost;
}

static bool waits;                      /* until it takes the other CPU's place */

void shutdown_wait(void)
{
    fake_if = false;
    if (!waits) {
        note("lost");
        longjmp(*fake_out, 1);
    }
}

void __wrap_lapic_eoi(void);
void __wrap_lapic_eoi(void)
{
    note("eoi");
}
void __wrap_lapic_timer_arm(uint64_t tsc);
void __wrap_lapic_timer_arm(uint64_t tsc)
{
    note("timer in %lu s", (tsc - fake_tsc) / 1000000);
}
static void look_at_clock(void)
{
    fake_tsc += 10;
}

static int32_t boot_next;               /* the variable; -1: not written */
static bool variables_fail;

static bool is_name(const uint16_t *name, const char *expected)
{
    while (*expected != '\0' && *name == (uint8_t)*expected)
        name++, expected++;
    return *name == 0 && *expected == '\0';
}

static void assert_global(const void *vendor)
{
    /* UEFI 2.9, 3.3: 8BE4DF61-93CA-11D2-AA0D-00E098032B8C, as GUIDs lie in memory. */
    static const uint8_t global[16] = {
        0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
    };
    assert_memory_equal(vendor, global, 16);
    assert_int_equal(fake_cr3, POOL_BASE | FAKE_C_BIT);     /* in the firmware's address space */
}

static uint64_t __attribute__((ms_abi)) set_variable(const uint16_t *name, const void *vendor, uint32_t attributes,
                                                     uint64_t size, const void *data)
{
    uint16_t next;
    assert_global(vendor);
    assert_true(is_name(name, "BootNext") && fake_if && in_call && confined);
    if (variables_hang)
        longjmp(*fake_out, 1);
    if (variables_fault != NULL) {
        const char *what = variables_fault;
        variables_fault = NULL;
        fault((uintptr_t)__builtin_frame_address(0), what);
    }
    assert_int_equal(attributes, 7);            /* kept, and visible before and after ExitBootServices() */
    assert_int_equal(size, 2);
    memcpy(&next, data, 2);
    boot_next = next;
    return variables_fail ? UINT64_C(0x8000000000000009) : 0;
}

void hostmap_share(uint64_t *root)
{
    assert_true((uint8_t *)root == page_va(paddr(POOL_BASE)));
    note("share");
}

static struct cpu other;
bool shutdown_begin(void)
{
    note("end begins");
    ends_here = true;
    in_call = false;
    return !lost;
}

void console_break(void)
{
    note("break");
}
void console_flush(void)
{
    note("flush");
}
void console_print(const char *format, ...)
{
    char text[256];
    va_list arguments;
    assert_false(in_call);      /* the console is the other CPU's as soon as that has taken over */
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    note("print %s", text);
}

static int set_up(void **state)
{
    fake_reset(state);
    clock_init(1000000, 0, 0);
    fake_rdtsc_seen = look_at_clock;
    other.index = 2;
    smp_add(&fake_cpu, true);
    smp_add(&other, true);
    fake_cr3 = HOST_CR3;
    memset(&handoff, 0, sizeof(handoff));
    handoff.reset_system = (uintptr_t)reset_system;
    handoff.set_variable = (uintptr_t)set_variable;
    handoff.boot_next = HANDOFF_NO_OPTION;
    boot_next = -1;
    variables_fail = false;
    return 0;
}

static void add(uint64_t base, uint64_t pages, uint32_t kind)
{
    handoff.ranges[handoff.range_count++] = (struct handoff_range){base, pages, kind, 0};
}

/* The last entry for an address, 0: none. Tables are encrypted, their addresses say so. */
static uint64_t walk(uint64_t va, uint64_t *size)
{
    uint64_t entry = POOL_BASE | FAKE_C_BIT;    /* the root */
    for (unsigned level = 4; level > 0; level--) {
        assert_int_equal(entry & PTE_ADDRESS & FAKE_C_BIT, FAKE_C_BIT);
        const uint64_t *table = page_va(paddr(entry & PTE_ADDRESS & ~FAKE_C_BIT));
        entry = table[va >> (3 + 9 * level) & 511];
        *size = level == 1 ? PAGE_SIZE : SIZE_2M;
        if ((entry & PTE_P) == 0)
            return 0;
        if (level == 2 && (entry & PTE_PS) != 0)
            break;
    }
    return entry & ~PTE_PS;
}

static void each_kind_of_range_is_one_to_one_with_its_rights(void **state)
{
    static const struct {
        uint32_t kind;
        bool mapped;
        uint64_t bits;
    } kinds[] = {
        {HANDOFF_RUNTIME_CODE, true, PTE_P | PTE_W},
        {HANDOFF_RUNTIME_DATA, true, PTE_P | PTE_W | PTE_NX},
        {HANDOFF_ACPI, true, PTE_P | PTE_W | PTE_NX},
        {HANDOFF_MMIO, true, PTE_P | PTE_W | PTE_NX | PTE_PCD | PTE_PWT},
        {HANDOFF_RESERVED, true, PTE_P | PTE_W | PTE_NX},
        {HANDOFF_USABLE, false, 0},
        {HANDOFF_ARENA, false, 0},
        {HANDOFF_MANIFEST, false, 0},
    };
    const uint64_t above = UINT64_C(1) << 32;
    (void)state;
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        add(above + 0x100000 + i * 0x10000, 2, kinds[i].kind);
    uefi_init(&handoff);
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        uint64_t size, at = above + 0x100000 + i * 0x10000;
        assert_int_equal(walk(at, &size), kinds[i].mapped ? at | kinds[i].bits : 0);
        assert_int_equal(walk(at + 0x1000, &size), kinds[i].mapped ? (at + 0x1000) | kinds[i].bits : 0);
        assert_int_equal(walk(at + 0x2000, &size), 0);
        assert_int_equal(walk(at - 0x1000, &size), 0);
    }
    assert_non_null(strstr(did, "share\n"));
}

/* An address of 48 bits and more would come around to the lower half, or into hv's. */
static void what_lies_above_the_lower_half_is_not_mapped(void **state)
{
    const uint64_t end = UINT64_C(1) << 47;
    uint64_t size;
    (void)state;
    add(end - PAGE_SIZE, 1, HANDOFF_MMIO);
    add(end, 1, HANDOFF_MMIO);
    add(2 * end + 0x5000, 1, HANDOFF_RUNTIME_DATA);
    add(UINT64_C(1) << 41, (UINT64_C(64) << 30) / PAGE_SIZE + 1, HANDOFF_RESERVED);      /* nor what is enormous */
    uefi_init(&handoff);
    assert_int_equal(walk(UINT64_C(1) << 41, &size), 0);
    assert_int_equal(walk(end - PAGE_SIZE, &size) & PTE_ADDRESS, end - PAGE_SIZE);
    assert_int_equal(walk(end, &size), 0);
    assert_int_equal(walk(0x5000, &size), PTE_P | PTE_W | PTE_NX | PTE_PCD | PTE_PWT);       /* as all below 4 GiB */
}

/* Below 4 GiB that is where devices are, whether the map tells of them or not; but no memory of guests' or hv's. */
static void what_the_map_does_not_tell_of_below_4_gib_are_devices(void **state)
{
    const uint64_t device = PTE_P | PTE_W | PTE_NX | PTE_PCD | PTE_PWT;
    uint64_t size;
    (void)state;
    add(0x1000, 0x9f, HANDOFF_USABLE);
    add(0x100000, 0x7ff00, HANDOFF_USABLE);
    add(0x80000000, 3, HANDOFF_ARENA);
    add(UINT64_C(0xfffff000), 0x1001, HANDOFF_RESERVED);       /* across the border */
    add(UINT64_C(0x101000000), 1, HANDOFF_USABLE);
    uefi_init(&handoff);
    assert_int_equal(walk(0, &size), device);
    assert_int_equal(walk(0x1000, &size), 0);
    assert_int_equal(walk(0x9f000, &size), 0);
    assert_int_equal(walk(0xa0000, &size), 0xa0000 | device);
    assert_int_equal(walk(0xff000, &size), 0xff000 | device);
    for (uint64_t at = 0x100000; at < 0x80003000; at += 0x1ff000)
        assert_int_equal(walk(at, &size), 0);
    assert_int_equal(walk(0x80002000, &size), 0);
    assert_int_equal(walk(0x80003000, &size), 0x80003000 | device);
    for (uint64_t at = 0x80003000; at < 0xfffff000; at += 0x1ff000)
        assert_int_equal(walk(at, &size) & ~PTE_ADDRESS, device);
    assert_int_equal(walk(0xfed80000, &size), 0xfec00000 | device);
    assert_int_equal(size, SIZE_2M);
    assert_int_equal(walk(0xfffff000, &size), 0xfffff000 | PTE_P | PTE_W | PTE_NX);
    assert_int_equal(walk(UINT64_C(0x100fff000), &size) & ~PTE_ADDRESS, PTE_P | PTE_W | PTE_NX);
    assert_int_equal(walk(UINT64_C(0x101001000), &size), 0);
}

static void tables_are_made_as_they_are_needed_and_the_rest_goes_back(void **state)
{
    uint64_t size;
    (void)state;
    /* Each at the borders of 1 GiB and 512 GiB pieces, nothing shared with another. */
    const uint64_t base = (UINT64_C(1) << 39) - PAGE_SIZE;
    add(0x201000, 0x1fe, HANDOFF_USABLE);       /* not a whole 2 MiB */
    add(base, 2 + 3 * (SIZE_1G / PAGE_SIZE), HANDOFF_MMIO);
    add(UINT64_C(5) << 39, 1, HANDOFF_RUNTIME_CODE);
    add(UINT64_C(7) << 39, UINT64_C(1) << 40, HANDOFF_USABLE);
    uefi_init(&handoff);
    assert_ptr_equal(strstr(did, TABLES), did);
    assert_int_equal(walk(base, &size) & PTE_ADDRESS, base);
    assert_int_equal(size, PAGE_SIZE);
    assert_int_equal(walk(base + PAGE_SIZE, &size) & PTE_ADDRESS, base + PAGE_SIZE);
    assert_int_equal(size, SIZE_2M);
    assert_int_equal(walk(base + 3 * SIZE_1G + PAGE_SIZE, &size) & PTE_ADDRESS, base + 3 * SIZE_1G + PAGE_SIZE);
    /* PML4; a PDPT, 4 page directories and a page table below 4 GiB; for the second 2 + 5 + 2, of which it has a PDPT already;
     * 3 for the third. */
    char expected[64];
    unsigned used = 1 + 6 + (1 + 5 + 2) + 3;
    snprintf(expected, sizeof(expected), "page_free %lx %u\n", POOL_BASE + used * PAGE_SIZE, MOST - used);
    assert_non_null(strstr(did, expected));
}

/* As many as the hand-over has, where they take the most: each with a border inside 2 MiB; and those above 4 GiB close together. */
static void a_map_in_many_pieces_is_mapped(void **state)
{
    static const struct {
        uint64_t base, step;
    } cases[] = {
        {0, SIZE_2M - SIZE_2M / 8},
        {UINT64_C(1) << 32, SIZE_2M / 2},
        {UINT64_C(1) << 32, 2 * PAGE_SIZE},
        {UINT64_C(1) << 40, SIZE_2M / 8},
    };
    uint64_t size;
    (void)state;
    for (unsigned k = 0; k < sizeof(cases) / sizeof(*cases); k++) {
        set_up(NULL);
        for (unsigned i = 0; i < HANDOFF_MAX_RANGES; i++)
            add(cases[k].base + i * cases[k].step, 1, k == 0 ? HANDOFF_USABLE : HANDOFF_RUNTIME_CODE);
        uefi_init(&handoff);
        assert_null(strstr(did, "log "));
        assert_non_null(strstr(did, "share\n"));
        for (unsigned i = 0; i < HANDOFF_MAX_RANGES; i++) {
            uint64_t at = cases[k].base + i * cases[k].step;
            assert_int_equal(walk(at, &size) & PTE_ADDRESS, k == 0 ? 0 : at);
            if (k == 0 && i + 1 < HANDOFF_MAX_RANGES)
                assert_int_equal(walk(at + PAGE_SIZE, &size) & PTE_ADDRESS, at + PAGE_SIZE);
        }
    }
}

/* The ranges that boot/ makes of a board's map: what runtime services may reach is mapped to its last page, what has become
 * guests' or hv's memory is not. */
static void the_map_of_each_board_is_mapped(void **state)
{
    uint32_t checked = 0;
    (void)state;
    for (uint32_t n = 0; n < board_count; n++) {
        const struct board *board = &boards[n];
        if (board->map_count == 0)
            continue;
        set_up(NULL);
        uint64_t *map = calloc(board->map_count, 40), size, end = 0, withheld;
        for (uint32_t i = 0; i < board->map_count; i++) {
            const struct board_range *r = &board->map[i];
            memcpy(map + 5 * i, (uint64_t[]){r->type, r->base, 0, r->pages, r->attribute}, 40);
        }
        assert_true(ranges_from_uefi(map, board->map_count * 40u, 40, UINT64_C(1) << 52, &withheld));
        free(map);
        uefi_init(&handoff);
        print_message("%s: %u ranges\n", board->name, handoff.range_count);
        assert_null(strstr(did, "log "));
        assert_non_null(strstr(did, "share\n"));
        for (uint32_t i = 0; i < handoff.range_count; i++) {
            const struct handoff_range *r = &handoff.ranges[i];
            const uint64_t device = PTE_PCD | PTE_PWT, above = UINT64_C(1) << 47;
            bool wanted = r->kind != HANDOFF_USABLE && r->pages <= (UINT64_C(64) << 30) / PAGE_SIZE;
            /* What no range has: devices below 4 GiB, nothing above. */
            for (uint64_t at = end; at < r->base;
                 at += (r->base - PAGE_SIZE - at) > 0 ? r->base - PAGE_SIZE - at : PAGE_SIZE)
                assert_int_equal(at < above && walk(at, &size) != 0, at < UINT64_C(1) << 32);
            end = r->base + r->pages * PAGE_SIZE;
            const uint64_t places[] = {r->base, end - PAGE_SIZE};
            for (unsigned p = 0; p < 2; p++) {
                uint64_t entry = end <= above ? walk(places[p], &size) : 0;
                assert_int_equal(entry != 0, wanted && end <= above);
                if (entry == 0)
                    continue;
                assert_int_equal((entry & PTE_ADDRESS) + (places[p] & (size - 1)), places[p]);
                assert_int_equal((entry & PTE_NX) == 0, r->kind == HANDOFF_RUNTIME_CODE);
                assert_int_equal(entry & device, r->kind == HANDOFF_MMIO ? device : 0);
            }
        }
        checked++;
    }
    assert_true(checked >= 10);
}

static __attribute__((noinline)) bool end(void (*how)(void))
{
    stack_then = (uintptr_t)__builtin_frame_address(0);
    return ENDS(how());
}

/* The firmware is no way to the end then; the others are. */
static void assert_not_mapped(void)
{
    char expected[128];
    uefi_init(&handoff);
    snprintf(expected, sizeof(expected),
             "UEFI: no pages to map %u ranges of memory for it; it cannot be asked to power off\n",
             handoff.range_count);
    assert_non_null(strstr(did, expected));
    assert_null(strstr(did, "share"));
    snprintf(expected, sizeof(expected), "page_free %lx %u\n", POOL_BASE, MOST);
    assert_int_equal(strstr(did, expected) != NULL, strstr(did, TABLES) != NULL);
    did[0] = '\0';
    assert_true(end(machine_power_off));
    assert_null(strstr(did, "cr3"));
    assert_non_null(strstr(did, "the UEFI firmware cannot end the machine; resetting it by port 0xcf9"));
}

static void what_takes_too_many_tables_is_not_mapped_and_told(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HANDOFF_MAX_RANGES; i++)
        add((i + 8) * SIZE_1G - PAGE_SIZE, 2, HANDOFF_RESERVED);
    assert_not_mapped();
}

static void so_it_is_if_the_pool_has_no_pages_for_them(void **state)
{
    (void)state;
    fake_pages_left = MOST - 1;
    assert_not_mapped();
}

static void without_a_map_there_are_devices_alone(void **state)
{
    (void)state;
    uefi_init(&handoff);
    char expected[256];
    snprintf(expected, sizeof(expected), TABLES "page_free %lx %u\nshare\n", POOL_BASE + 6 * PAGE_SIZE, MOST - 6);
    assert_string_equal(did, expected);
}

#define BEGINS "end begins\nbreak\nflush\n"
#define ASKING(why) "print sevisor: ACPI " why " the machine; asking the UEFI firmware\n\nflush\n"
#define NO_REGISTER ASKING("has no register that ends")
#define ENTERS "eoi\neoi\ntimer in 5 s\ncr3 7000000\nsti\n"
#define FIRMWARE(type) ENTERS "reset " #type "\n"
#define CHIPSET(why) \
    "print sevisor: the UEFI firmware " why " the machine; resetting it by port 0xcf9\n\nflush\nout cf9 2\nout cf9 6\n"
#define HALTED "print sevisor: nothing ends the machine; halted, switch it off\n\nflush\nhlt\n"
#define HOST "cr3 1234000\n"

/* With the C-bit left out. */
static void assert_did(const char *words)
{
    char root[32], *at;
    snprintf(root, sizeof(root), "cr3 %lx\n", POOL_BASE | FAKE_C_BIT);
    while ((at = strstr(did, root)) != NULL) {
        memmove(at + strlen("cr3 7000000\n"), at + strlen(root), strlen(at + strlen(root)) + 1);
        memcpy(at, "cr3 7000000\n", strlen("cr3 7000000\n"));
    }
    assert_string_equal(did, words);
}

static void begin(void)
{
    uefi_end_init(&handoff);
    uefi_init(&handoff);
    did[0] = '\0';
}

static const struct handoff_register pm1a = {0x804, 1, 2, 0xc3ff, 0x3400}, pm1b = {0x904, 1, 2, 0xc3ff, 0x2000},
                                     cf9 = {0xcf9, 1, 1, 0, 6};

/* UEFI 2.9, 8.5.1: EfiResetCold 0, EfiResetShutdown 2. */
static void each_way_is_tried_in_turn_and_told_of(void **state)
{
    (void)state;
    handoff.off[0] = pm1a;
    handoff.off[1] = pm1b;
    handoff.reset = cf9;
    fake_port = 0x1c01; /* SCI_EN stays */
    begin();
    assert_true(end(machine_power_off));
    assert_did(BEGINS "in16 804\nout16 804 3401\nin16 904\nout16 904 2001\n" ASKING("does not end")
                   FIRMWARE(2) "cli\n" HOST CHIPSET("does not end") HALTED);
}

static void a_reset_leads_to_the_boot_option_that_follows(void **state)
{
    static const uint16_t options[] = {0, 7, 0x2001, 0xffff};
    (void)state;
    for (unsigned i = 0; i < 2 * sizeof(options) / sizeof(*options); i++) {
        char words[64];
        set_up(NULL);
        handoff.boot_next = options[i / 2];
        variables_fail = i % 2 != 0;
        begin();
        assert_true(end(machine_reset));
        assert_int_equal(fake_cr3, HOST_CR3);
        snprintf(words, sizeof(words), "boot option %04x, which follows, is next (BootNext)", options[i / 2]);
        assert_non_null(strstr(did, variables_fail ? "the UEFI firmware's boot order begins anew" : words));
        assert_int_equal(boot_next, options[i / 2]);
    }
}

static void a_power_off_leads_nowhere(void **state)
{
    (void)state;
    handoff.boot_next = 7;
    begin();
    assert_true(end(machine_power_off));
    assert_int_equal(boot_next, -1);
    assert_null(strstr(did, "boot order"));
}

static void a_fault_while_bootnext_is_set_still_ends_in_a_reset(void **state)
{
    (void)state;
    handoff.reset = cf9;
    handoff.boot_next = 2;
    variables_fault = "#UD invalid opcode";
    begin();
    assert_true(end(machine_reset));
    assert_did(BEGINS ENTERS HOST "print sevisor: #UD invalid opcode at 7abc0123\n\n"
                                  "in cf9\nout cf9 6\n" ASKING("does not end")
                                      FIRMWARE(0) "cli\n" HOST CHIPSET("does not end") HALTED);
}

/* The UEFI firmware is in SetVariable() still: it is not called again (UEFI 2.9, 8.1). */
static void nor_is_the_firmware_called_again_when_setvariable_takes_too_long(void **state)
{
    (void)state;
    handoff.reset = cf9;
    handoff.boot_next = 2;
    variables_fault = IN_TIME;
    begin();
    assert_true(end(machine_reset));
    assert_did(BEGINS ENTERS HOST "print sevisor: " IN_TIME " at 7abc0123\n\n"
                                  "in cf9\nout cf9 6\n" ASKING("does not end") CHIPSET("cannot end") HALTED);
}

static void without_its_tables_the_firmware_is_not_called_for_it(void **state)
{
    (void)state;
    fake_pages_left = MOST - 1;
    handoff.boot_next = 2;
    begin();
    assert_true(end(machine_reset));
    assert_non_null(strstr(did, "the UEFI firmware's boot order begins anew"));
    assert_null(strstr(did, "cr3"));
    assert_int_equal(boot_next, -1);
}

static void so_it_is_for_a_reset(void **state)
{
    (void)state;
    handoff.off[0] = pm1a;
    handoff.reset = cf9;
    begin();
    assert_true(end(machine_reset));
    assert_did(BEGINS "print sevisor: the UEFI firmware's boot order begins anew\n\n"
                      "in cf9\nout cf9 6\n" ASKING("does not end") FIRMWARE(0) "cli\n" HOST CHIPSET("does not end")
                          HALTED);
}

static void a_way_that_there_is_not_is_left_out(void **state)
{
    (void)state;
    fake_pages_left = MOST - 1;
    begin();
    assert_true(end(machine_power_off));
    assert_did(BEGINS NO_REGISTER CHIPSET("cannot end") HALTED);
}

static void a_fault_in_the_firmware_is_no_panic(void **state)
{
    (void)state;
    caught = "#PF page fault";
    begin();
    assert_true(end(machine_power_off));
    assert_did(BEGINS NO_REGISTER FIRMWARE(2) HOST
               "print sevisor: #PF page fault at 7abc0123\n\n" CHIPSET("does not end") HALTED);
}

static void nothing_is_caught_but_there(void **state)
{
    struct trap_frame frame = {.rip = 1};
    (void)state;
    assert_false(end_catch(&frame, "x"));
    begin();
    assert_true(end(machine_power_off));
    assert_false(end_catch(&frame, "x"));
    assert_int_equal(frame.rip, 1);
}

static void what_another_cpu_wanted_to_say_is_said_once(void **state)
{
    (void)state;
    other.last_words = "out of pages";
    fake_cpu.last_words = "mine";
    begin();
    assert_true(end(machine_power_off));
    assert_non_null(strstr(did, "break\nprint sevisor: CPU 2 panicked, too: out of pages\n\nflush\n"));
    assert_null(other.last_words);
    assert_null(strstr(did, "mine"));
    fake_cpu.last_words = NULL;
}

#define TAKEN_OVER "print sevisor: the UEFI firmware does not answer, with interrupts disabled: CPU 3 goes on\n\n"

/* On another CPU, with the tables that all have. The firmware is not called while it is busy: UEFI 2.9, 8.1. */
static void another_cpu_goes_on_without_the_firmware(void **state)
{
    (void)state;
    handoff.off[0] = pm1a;
    panics = true;
    begin();
    assert_true(end(machine_power_off));
    did[0] = '\0';
    in_call = false; /* smp.c has given it to CPU 3 */
    fake_cpu.index = 3;
    waits = true;
    assert_true(end(end_elsewhere));
    waits = false;
    assert_did(HOST TAKEN_OVER CHIPSET("does not end") HALTED);
}

static void another_cpu_goes_on_with_all_ways_left_when_bootnext_hangs(void **state)
{
    (void)state;
    handoff.reset = cf9;
    handoff.boot_next = 2;
    variables_hang = true;
    begin();
    assert_true(end(machine_reset));
    did[0] = '\0';
    in_call = false;
    fake_cpu.index = 3;
    waits = true;
    assert_true(end(end_elsewhere));
    waits = false;
    assert_did(HOST TAKEN_OVER "in cf9\nout cf9 6\n" ASKING("does not end") CHIPSET("cannot end") HALTED);
}

static void port_hangs(uint16_t port)
{
    assert_int_equal(port, 0x804);
    assert_true(in_call);
    longjmp(*fake_out, 1);
}

/* In the handler of an SMI that the write raised. The UEFI firmware was not called, and is what comes next. */
static void another_cpu_goes_on_when_a_write_to_acpis_register_hangs(void **state)
{
    (void)state;
    handoff.reset = pm1a;
    handoff.boot_next = 2;
    fake_out16_seen = port_hangs;
    begin();
    assert_true(end(machine_reset));
    assert_did(BEGINS ENTERS "cli\n" HOST "print sevisor: boot option 0002, which follows, is next (BootNext)\n\n"
                             "in16 804\nout16 804 3400\n");
    did[0] = '\0';
    in_call = false; /* shutdown.c has given it to CPU 3 */
    fake_cpu.index = 3;
    waits = true;
    assert_true(end(end_elsewhere));
    waits = false;
    assert_did(
        "print sevisor: a CPU does not come back from the write to ACPI's register, with interrupts disabled: CPU 3 goes on\n\n" ASKING(
            "does not end") FIRMWARE(0) "cli\n" HOST CHIPSET("does not end") HALTED);
}

static void a_cpu_that_comes_back_when_another_has_taken_over_does_nothing_more(void **state)
{
    (void)state;
    loses = true;
    begin();
    assert_true(end(machine_power_off));
    assert_did(BEGINS NO_REGISTER FIRMWARE(2) "cli\nlost\n");
}

static void nor_does_one_whose_timer_comes_through_then(void **state)
{
    (void)state;
    loses = true;
    caught = IN_TIME;
    begin();
    assert_true(end(machine_power_off));
    assert_did(BEGINS NO_REGISTER FIRMWARE(2) "lost\n");
}

/* hv's own panic on the way: the way is not tried again. */
static void a_panic_on_the_way_goes_on_with_the_next(void **state)
{
    (void)state;
    handoff.off[0] = pm1a;
    panics = true;
    begin();
    assert_true(end(machine_power_off));
    did[0] = '\0';
    assert_true(end(machine_power_off));
    assert_did(BEGINS HOST CHIPSET("does not end") HALTED);
    did[0] = '\0';
    assert_true(end(machine_power_off));
    assert_did(BEGINS HALTED);
}

static uint8_t sleep_control;

/* One to one in the firmware's tables, so not before they are there. */
static void a_register_in_memory_is_written_there(void **state)
{
    (void)state;
    handoff.off[0] = (struct handoff_register){(uintptr_t)&sleep_control, 0, 1, 0, 0x34};
    uefi_end_init(&handoff);
    sleep_control = 0x55;
    assert_true(end(machine_power_off));
    assert_int_equal(sleep_control, 0x55);
}

static void and_with_the_firmwares_tables(void **state)
{
    (void)state;
    handoff.off[0] = (struct handoff_register){(uintptr_t)&sleep_control, 0, 1, 0, 0x34};
    begin();
    assert_true(end(machine_power_off));
    assert_int_equal(sleep_control, 0x34);
    assert_int_equal(strncmp(did, BEGINS "cr3 ", strlen(BEGINS "cr3 ")), 0);
}

/* A panic before anything is set up still powers off. */
static void registers_are_there_from_the_beginning(void **state)
{
    (void)state;
    handoff.off[0] = pm1a;
    uefi_end_init(&handoff);
    assert_true(end(machine_power_off));
    assert_did(BEGINS "in16 804\nout16 804 3400\n" ASKING("does not end") CHIPSET("cannot end") HALTED);
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_kind_of_range_is_one_to_one_with_its_rights),
        T(what_lies_above_the_lower_half_is_not_mapped),
        T(tables_are_made_as_they_are_needed_and_the_rest_goes_back),
        T(what_the_map_does_not_tell_of_below_4_gib_are_devices),
        T(a_map_in_many_pieces_is_mapped),
        T(the_map_of_each_board_is_mapped),
        T(without_a_map_there_are_devices_alone),
        T(what_takes_too_many_tables_is_not_mapped_and_told),
        T(so_it_is_if_the_pool_has_no_pages_for_them),
        T(each_way_is_tried_in_turn_and_told_of),
        T(so_it_is_for_a_reset),
        T(a_way_that_there_is_not_is_left_out),
        T(a_fault_in_the_firmware_is_no_panic),
        T(nothing_is_caught_but_there),
        T(what_another_cpu_wanted_to_say_is_said_once),
        T(a_panic_on_the_way_goes_on_with_the_next),
        T(a_register_in_memory_is_written_there),
        T(and_with_the_firmwares_tables),
        T(registers_are_there_from_the_beginning),
        T(a_reset_leads_to_the_boot_option_that_follows),
        T(a_power_off_leads_nowhere),
        T(a_fault_while_bootnext_is_set_still_ends_in_a_reset),
        T(nor_is_the_firmware_called_again_when_setvariable_takes_too_long),
        T(another_cpu_goes_on_when_a_write_to_acpis_register_hangs),
        T(without_its_tables_the_firmware_is_not_called_for_it),
        T(another_cpu_goes_on_without_the_firmware),
        T(another_cpu_goes_on_with_all_ways_left_when_bootnext_hangs),
        T(a_cpu_that_comes_back_when_another_has_taken_over_does_nothing_more),
        T(nor_does_one_whose_timer_comes_through_then),
    };
    return run_each_alone(tests, sizeof(tests) / sizeof(*tests));
}
