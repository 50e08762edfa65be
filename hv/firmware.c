/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * hv never maps firmware's memory beside its own. For a call it switches to a root that has the
 * runtime regions one to one, plain and executable, and hv's half above.
 */
#include "firmware.h"

#include "console.h"
#include "cpu.h"
#include "hostmap.h"
#include "log.h"
#include "pagetable.h"
#include "smp.h"
#include "trap.h"
#include "x86.h"

/* UEFI 2.9, 8.1: EFI_RUNTIME_SERVICES, as far as it is used. */
#define RUNTIME_SERVICES_SIGNATURE UINT64_C(0x56524553544e5552)
struct runtime_services {
    uint64_t signature;
    uint32_t revision, header_size, crc32, reserved;
    uint64_t before_get_variable[6];
    uint64_t get_variable, get_next_variable_name, set_variable;
    uint64_t get_next_high_monotonic_count;
    uint64_t reset_system;
};
_Static_assert(__builtin_offsetof(struct runtime_services, get_variable) == 72, "UEFI 2.9, 4.5");
_Static_assert(__builtin_offsetof(struct runtime_services, set_variable) == 88, "UEFI 2.9, 4.5");
_Static_assert(__builtin_offsetof(struct runtime_services, reset_system) == 104, "UEFI 2.9, 4.5");

enum reset_type { RESET_COLD = 0, RESET_WARM = 1, RESET_SHUTDOWN = 2 };
typedef void __attribute__((ms_abi)) (*reset_system_t)(uint32_t type, uint64_t status, uint64_t size, void *data);

/* UEFI 2.9, 8.2: variables, and 3.3: those of the boot manager. */
struct guid { uint32_t a; uint16_t b, c; uint8_t d[8]; };
static const struct guid global_variable = {0x8be4df61, 0x93ca, 0x11d2, {0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c}};
typedef uint64_t __attribute__((ms_abi)) (*get_variable_t)(const uint16_t *name, const struct guid *vendor,
                                                           uint32_t *attributes, uint64_t *size, void *data);
typedef uint64_t __attribute__((ms_abi)) (*set_variable_t)(const uint16_t *name, const struct guid *vendor,
                                                           uint32_t attributes, uint64_t size, const void *data);
#define VARIABLE_NON_VOLATILE 1u
#define VARIABLE_BOOT_SERVICES 2u
#define VARIABLE_RUNTIME 4u
#define BOOT_OPTIONS 256u

/* For one range, at worst: three tables above its first page and three above its last; those between are
 * 2 MiB pages, a table per GiB. */
#define FIRMWARE_TABLES_PER_RANGE 6u

static uint64_t firmware_cr3;
static uint64_t firmware_reset_system;      /* 0: no runtime services */
static uint64_t firmware_get_variable, firmware_set_variable;

/* One to one ends with the lower half, hv's is above; and the firmware has never seen more by its own tables of 4 levels. */
#define FIRMWARE_END (UINT64_C(1) << 47)

static bool firmware_range(const struct handoff_range *range, uint64_t *bits)
{
    if (range->base + range->pages * PAGE_SIZE > FIRMWARE_END)
        return false;
    switch (range->kind) {
    case HANDOFF_RUNTIME_CODE:
        *bits = PTE_W;      /* an image's code and data lie in one region */
        return true;
    case HANDOFF_RUNTIME_DATA:
    case HANDOFF_ACPI:
        *bits = PTE_W | PTE_NX;
        return true;
    case HANDOFF_MMIO:
        *bits = PTE_W | PTE_NX | PTE_PCD | PTE_PWT;
        return true;
    default:
        return false;
    }
}

void firmware_init(const struct handoff *handoff)
{
    uint64_t count = 1, bits;
    for (uint32_t i = 0; i < handoff->range_count; i++)
        if (firmware_range(&handoff->ranges[i], &bits))
            count += FIRMWARE_TABLES_PER_RANGE + handoff->ranges[i].pages * PAGE_SIZE / SIZE_1G;

    paddr_t pages;
    ASSERT(page_alloc(count, 1, &pages));
    struct pagetable table;
    uint64_t end = pages.raw + count * PAGE_SIZE;
    pagetable_init(&table, pages.raw, end, (uintptr_t)page_va(pages) - pages.raw,
                   hostmap_entry_address(paddr(0), VIEW_ENCRYPTED));
    for (uint32_t i = 0; i < handoff->range_count; i++) {
        const struct handoff_range *range = &handoff->ranges[i];
        if (firmware_range(range, &bits))
            ASSERT(pagetable_map(&table, range->base, hostmap_entry_address(paddr(range->base), VIEW_PLAIN),
                                 range->pages * PAGE_SIZE, bits));
    }
    if (table.next < end)
        page_free(paddr(table.next), (end - table.next) / PAGE_SIZE);
    hostmap_share(page_va(paddr(table.root)));
    firmware_cr3 = pagetable_cr3(&table);

    uint8_t *window = window_map(
        paddr(handoff->runtime_services & ~(PAGE_SIZE - 1)), 2 * PAGE_SIZE, VIEW_PLAIN);
    ASSERT(window != NULL);
    const struct runtime_services *found =
        (const void *)(window + handoff->runtime_services % PAGE_SIZE);
    if (found->signature == RUNTIME_SERVICES_SIGNATURE) {
        firmware_reset_system = found->reset_system;
        firmware_get_variable = found->get_variable;
        firmware_set_variable = found->set_variable;
    } else {
        log_print(LOG_ERROR, "firmware: no runtime services at %lx; power-off will be a halt", handoff->runtime_services);
    }
    window_unmap(window, 2 * PAGE_SIZE);
}

/* In the firmware's address space. */
static bool firmware_set_boot_next(uint16_t *option)
{
    uint16_t current = 0, order[BOOT_OPTIONS];
    uint64_t size = sizeof current, bytes = sizeof order;
    get_variable_t get = (get_variable_t)(uintptr_t)firmware_get_variable;
    set_variable_t set = (set_variable_t)(uintptr_t)firmware_set_variable;
    if (get(u"BootCurrent", &global_variable, NULL, &size, &current) != 0 ||
        get(u"BootOrder", &global_variable, NULL, &bytes, order) != 0)
        return false;
    for (uint64_t i = 0; i + 1 < bytes / sizeof *order; i++) {
        if (order[i] != current)
            continue;
        *option = order[i + 1];
        return set(u"BootNext", &global_variable, VARIABLE_NON_VOLATILE | VARIABLE_BOOT_SERVICES | VARIABLE_RUNTIME,
                   sizeof *option, option) == 0;
    }
    return false;
}

bool firmware_boot_next(uint16_t *option)
{
    if (firmware_reset_system == 0)
        return false;
    uint64_t own_cr3 = read_cr3(), flags = read_rflags();
    cli();      /* whatever an interrupt would do, it would do in tables that are not ours */
    write_cr3(firmware_cr3);
    bool set = firmware_set_boot_next(option);
    write_cr3(own_cr3);
    if ((flags & RFLAGS_IF) != 0)
        sti();
    return set;
}

static _Noreturn void firmware_reset(enum reset_type type)
{
    static uint64_t own_cr3;        /* before the firmware's; 0: not asked yet */
    smp_end_begin();
    console_break();
    panic_others();
    console_flush();
    if (firmware_reset_system != 0 && own_cr3 == 0) {
        own_cr3 = read_cr3();
        write_cr3(firmware_cr3);
        ((reset_system_t)(uintptr_t)firmware_reset_system)(type, 0, 0, NULL);
    }
    if (own_cr3 != 0)
        write_cr3(own_cr3);       /* also after a fault in there, whose panic ends here again */
    console_print("sevisor: the firmware does not end the machine; halted, switch it off\n");
    console_flush();
    for (;;)
        hlt();
}

void machine_power_off(void)
{
    firmware_reset(RESET_SHUTDOWN);
}

void machine_reset(void)
{
    firmware_reset(RESET_COLD);
}
