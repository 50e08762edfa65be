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
    uint64_t before_reset_system[10];
    uint64_t reset_system;
};
_Static_assert(__builtin_offsetof(struct runtime_services, reset_system) == 104, "UEFI 2.9, 4.5");

enum reset_type { RESET_COLD = 0, RESET_WARM = 1, RESET_SHUTDOWN = 2 };
typedef void __attribute__((ms_abi)) (*reset_system_t)(uint32_t type, uint64_t status, uint64_t size, void *data);

/* For one range, at worst: three tables above its first page and three above its last; those between are
 * 2 MiB pages, a table per GiB. */
#define FIRMWARE_TABLES_PER_RANGE 6u

static uint64_t firmware_cr3;
static uint64_t firmware_reset_system;      /* 0: no runtime services */

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
    if (found->signature == RUNTIME_SERVICES_SIGNATURE)
        firmware_reset_system = found->reset_system;
    else
        log_print(LOG_ERROR, "firmware: no runtime services at %lx; power-off will be a halt", handoff->runtime_services);
    window_unmap(window, 2 * PAGE_SIZE);
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
