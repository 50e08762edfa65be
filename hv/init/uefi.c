/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The end of the machine: ACPI's registers, the UEFI firmware, the chipset.
 * hv never maps UEFI's memory beside its own. For a call it switches to a root that has UEFI's
 * regions one to one, plain, runtime code executable, and hv's half above.
 */
#include "hv/init/uefi.h"

#include "hv/console/console.h"
#include "hv/console/log.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/trap.h"
#include "hv/init/shutdown.h"
#include "hv/lib/pagetable.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"
#include "hv/svm/confine.h"

/* UEFI 2.9, 8.2, 8.5.1 */
enum { RESET_COLD = 0, RESET_SHUTDOWN = 2 };
enum { VARIABLE_NON_VOLATILE = 1, VARIABLE_BOOT_SERVICES = 2, VARIABLE_RUNTIME = 4 };
typedef void __attribute__((ms_abi)) (*reset_system_t)(uint32_t type, uint64_t status, uint64_t size, void *data);
typedef uint64_t __attribute__((ms_abi)) (*set_variable_t)(const uint16_t *name, const void *vendor,
                                                           uint32_t attributes, uint64_t size, const void *data);
/* UEFI 2.9, 3.3: EFI_GLOBAL_VARIABLE, as a GUID lies in memory. */
static const uint8_t global_variable[] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                          0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};

#define BELOW_4G (UINT64_C(1) << 32)
/* Pages for tables, of the 16 MiB that boot/load.c sets aside: all of 4 GiB in pages of 4 KiB takes 2,054. */
#define UEFI_TABLES_MOST 2560u

static uint64_t uefi_cr3;               /* 0: there is no such address space yet */
static uint64_t uefi_reset_system;      /* 0: it cannot be called */
static uint64_t uefi_set_variable;
static uint32_t uefi_boot_next;

/* One to one ends with the lower half, hv's is above; and UEFI has never seen more by its own tables of 4 levels. */
#define UEFI_END (UINT64_C(1) << 47)
#define UEFI_LONGEST (UINT64_C(64) << 30) /* what is longer is a bridge's window, and would cost a table per GiB */
#define DEVICE_BITS (PTE_W | PTE_NX | PTE_PCD | PTE_PWT)

/* 0: not mapped. All but memory that has become hv's or guests': boards' ResetSystem() reads what is not marked as a runtime region. What
 * was boot services' holds what a guest wrote there: a fault is better, which end_catch() survives. */
static uint64_t uefi_bits(const struct handoff_range *range)
{
    static const uint64_t bits[] = {
        [HANDOFF_RUNTIME_CODE] = PTE_W, /* an image's code and data lie in one region */
        [HANDOFF_RUNTIME_DATA] = PTE_W | PTE_NX, [HANDOFF_ACPI] = PTE_W | PTE_NX,
        [HANDOFF_RESERVED] = PTE_W | PTE_NX,     [HANDOFF_MMIO] = DEVICE_BITS,
    };
    bool reached = range->base + range->pages * PAGE_SIZE <= UEFI_END && range->pages <= UEFI_LONGEST / PAGE_SIZE;
    return reached && range->kind < sizeof(bits) / sizeof(*bits) ? bits[range->kind] : 0;
}

/* False: out of pages. */
static bool uefi_map(struct pagetable *table, uint64_t base, uint64_t end, uint64_t bits)
{
    return base >= end || pagetable_map(table, base, view_entry_address(paddr(base), VIEW_PLAIN), end - base, bits);
}

static bool uefi_map_all(struct pagetable *table, const struct handoff *handoff)
{
    uint64_t at = 0;
    bool fine = true;
    for (uint32_t i = 0; fine && i < handoff->range_count; i++) {
        const struct handoff_range *range = &handoff->ranges[i];
        uint64_t bits = uefi_bits(range);
        /* What no map tells of below 4 GiB are devices. */
        fine = uefi_map(table, at, range->base < BELOW_4G ? range->base : BELOW_4G, DEVICE_BITS);
        at = range->base + range->pages * PAGE_SIZE;
        fine = fine && (bits == 0 || uefi_map(table, range->base, at, bits));
    }
    return fine && uefi_map(table, at, BELOW_4G, DEVICE_BITS);
}

/* False: out of pages. */
static bool uefi_build(const struct handoff *handoff)
{
    struct pagetable table;
    paddr_t pages;
    if (!page_alloc(UEFI_TABLES_MOST, &pages))
        return false;
    uint64_t end = pages.raw + UEFI_TABLES_MOST * PAGE_SIZE;
    pagetable_init(&table, pages.raw, end, (uintptr_t)page_va(pages) - pages.raw,
                   view_entry_address(paddr(0), VIEW_ENCRYPTED));
    if (!uefi_map_all(&table, handoff)) {
        page_free(pages, UEFI_TABLES_MOST);
        return false;
    }
    if (table.next < end)
        page_free(paddr(table.next), (end - table.next) / PAGE_SIZE);
    hostmap_share(page_va(paddr(table.root)));
    uefi_cr3 = pagetable_cr3(&table);
    return true;
}

void uefi_init(const struct handoff *handoff)
{
    if (!uefi_build(handoff)) {
        log_print(LOG_ERROR, "UEFI: no pages to map %u ranges of memory for it; it cannot be asked to power off",
                  handoff->range_count);
        return;
    }
    uefi_reset_system = handoff->reset_system;
    uefi_set_variable = handoff->set_variable;
    uefi_boot_next = handoff->boot_next;
}

/* The end of the machine: one way after another, each told of if it failed within its time. */
enum { CHIPSET_RESET = 0xcf9, CHIPSET_RESET_SYSTEM = 0x02, CHIPSET_RESET_CPU = 0x04 };
#define END_US 2000000u /* for what takes effect by itself */
#define END_UEFI_US 5000000u /* of the UEFI firmware's own time */

static struct handoff_register end_registers[2][2]; /* by ACPI: of a power-off; of a reset */
static bool end_resets, end_boot_next;
static uint32_t end_way; /* the next to be tried */
static uint64_t end_own_cr3; /* hv's tables, while UEFI's are in use; 0: they are not */
static uint64_t end_stack; /* 0: a fault is no way's, but hv's own */
static bool end_in_uefi; /* the call that is watched is one of the UEFI firmware's */

void uefi_end_init(const struct handoff *handoff)
{
    memcpy(end_registers[0], handoff->off, sizeof(handoff->off));
    end_registers[1][0] = handoff->reset;
}

static void end_write(const struct handoff_register *end)
{
    uint16_t port = (uint16_t)end->address;
    volatile uint8_t *memory = (volatile uint8_t *)(uintptr_t)end->address;
    if (end->address == 0)
        return;
    if (!end->port)
        *memory = (uint8_t)((*memory & end->keep) | end->value);
    else if (end->bytes == 2)
        out16(port, (uint16_t)((in16(port) & end->keep) | end->value));
    else
        out8(port, (uint8_t)((in8(port) & end->keep) | end->value));
}

static void end_wait(void)
{
    struct clock_limit limit = clock_limit(END_US);
    while (!clock_limit_over(&limit))
        cpu_relax();
}

static void end_leave(void)
{
    confine_end();
    if (!shutdown_return()) /* first: another CPU may have taken over */
        end_elsewhere();
    end_stack = 0;
    if (end_own_cr3 != 0)
        write_cr3(end_own_cr3);
    end_own_cr3 = 0;
}

/* With UEFI's tables, until end_leave(). `frame`: what end_catch() may use the stack from. */
static void end_enter(void *frame)
{
    end_own_cr3 = read_cr3();
    write_cr3(uefi_cr3);
    end_stack = ((uintptr_t)frame & ~UINT64_C(15)) - 8; /* as a function finds it */
}

static void end_by_acpi(void)
{
    const struct handoff_register *registers = end_registers[end_resets];
    bool tables = !registers[0].port;
    if (registers[0].address == 0 || (tables && uefi_cr3 == 0))
        return;
    if (tables)
        end_enter(__builtin_frame_address(0));
    end_in_uefi = false;
    shutdown_call(); /* a write may raise an SMI, whose handler may hang */
    end_write(&registers[0]);
    end_write(&registers[1]);
    end_leave();
    end_wait();
}

/* The UEFI firmware is called next: its time is up by the timer's interrupt, which one that a panic came out of must not hold
 * back, nor the firmware, should it disable interrupts. In SMM nothing comes: there another CPU goes on, later.
 * Until cli() and end_leave(). */
_Static_assert(END_UEFI_US < SHUTDOWN_CALL_US, "the timer's interrupt comes first");
static void end_enter_uefi(void *frame)
{
    lapic_eoi();
    lapic_eoi();
    this_cpu()->timer_fired = false;
    lapic_timer_arm(clock_tsc() + clock_us_to_tsc(END_UEFI_US));
    end_enter(frame);
    end_in_uefi = true;
    shutdown_call();
    sti();
    confine_begin();
}

/* No way to the end. Nothing depends on it but what is started next. */
static void end_with_boot_next(void)
{
    uint16_t option = (uint16_t)uefi_boot_next;
    bool set = false;
    if (uefi_reset_system != 0 && uefi_boot_next != HANDOFF_NO_OPTION) {
        end_enter_uefi(__builtin_frame_address(0));
        set = ((set_variable_t)(uintptr_t)uefi_set_variable)(
                  u"BootNext", global_variable, VARIABLE_NON_VOLATILE | VARIABLE_BOOT_SERVICES | VARIABLE_RUNTIME,
                  sizeof(option), &option) == 0;
        cli();
        end_leave();
    }
    if (set)
        console_print("sevisor: boot option %04x, which follows, is next (BootNext)\n", option);
    else
        console_print("sevisor: the UEFI firmware's boot order begins anew\n");
}

static void end_by_uefi(void)
{
    if (uefi_reset_system == 0)
        return;
    end_enter_uefi(__builtin_frame_address(0));
    ((reset_system_t)(uintptr_t)uefi_reset_system)(end_resets ? RESET_COLD : RESET_SHUTDOWN, 0, 0, NULL);
    cli();
    end_leave();
    end_wait();
}

static _Noreturn void end_go_on(void)
{
    static bool tried;
    end_leave();
    if (end_boot_next) {
        end_boot_next = false;
        end_with_boot_next();
    }
    if (end_way == 0) {
        end_way++;
        tried = end_registers[end_resets][0].address != 0;
        end_by_acpi();
    }
    if (end_way == 1) {
        end_way++;
        console_print("sevisor: ACPI %s the machine; asking the UEFI firmware\n",
                      tried ? "does not end" : "has no register that ends");
        console_flush();
        tried = uefi_reset_system != 0;
        end_by_uefi();
    }
    if (end_way == 2) {
        end_way++;
        console_print("sevisor: the UEFI firmware %s the machine; resetting it by port 0xcf9\n",
                      tried ? "does not end" : "cannot end");
        console_flush();
        out8(CHIPSET_RESET, CHIPSET_RESET_SYSTEM);
        out8(CHIPSET_RESET, CHIPSET_RESET_SYSTEM | CHIPSET_RESET_CPU);
        end_wait();
    }
    console_print("sevisor: nothing ends the machine; halted, switch it off\n");
    console_flush();
    for (;;)
        hlt();
}

bool end_catch(struct trap_frame *frame, const char *what)
{
    uint64_t rip = confine_rip(frame->rip);
    if (end_stack == 0 || !shutdown_is_here())
        return false;
    frame->rip = (uintptr_t)end_go_on;
    frame->rsp = end_stack;
    frame->rflags = RFLAGS_ONE;
    end_leave();
    if (frame->vector == TRAP_TIMER)
        uefi_reset_system = 0; /* it is in a call still: UEFI 2.9, 8.1 */
    console_print("sevisor: %s at %lx\n", what, rip);
    return true;
}

/* The UEFI firmware is still busy with the other CPU's call: it must not be called again (UEFI 2.9, 8.1). */
void end_elsewhere(void)
{
    shutdown_wait();
    end_leave();
    if (end_in_uefi)
        uefi_reset_system = 0;
    console_print("sevisor: %s, with interrupts disabled: CPU %u goes on\n",
                  end_in_uefi ? "the UEFI firmware does not answer"
                              : "a CPU does not come back from the write to ACPI's register",
                  this_cpu()->index);
    end_go_on();
}

/* What CPUs that panicked after the first had to say. */
static void end_last_words(void)
{
    for (uint32_t i = 0; i < smp_cpus(); i++) {
        struct cpu *cpu = smp_cpu(i);
        const char *words = cpu != NULL ? __atomic_exchange_n(&cpu->last_words, NULL, __ATOMIC_ACQUIRE) : NULL;
        if (words != NULL && cpu != this_cpu())
            console_print("sevisor: CPU %u panicked, too: %s\n", i, words);
    }
}

static _Noreturn void end_begin(bool resets)
{
    if (!shutdown_begin())
        end_elsewhere();
    console_break();
    end_last_words();
    console_flush();
    if (end_way == 0)
        end_resets = resets;
    end_go_on(); /* a panic on the way ends here again, and goes on with the next */
}

void machine_power_off(void)
{
    end_begin(false);
}

void machine_reset(void)
{
    end_boot_next = true;
    end_begin(true);
}
