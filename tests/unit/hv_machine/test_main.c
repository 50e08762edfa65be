/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The order of hv's life: what is set up before what needs it, and how it ends. */
#include "fake_cpu.h"

#include "hv/svm/asid.h"
#include "hv/cpu/clock.h"
#include "hv/console/console.h"
#include "hv/init/entry.h"
#include "hv/init/uefi.h"
#include "hv/control/lifecycle.h"
#include "hv/control/report.h"
#include "hv/init/loop.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/memory.h"
#include "hv/mm/window.h"
#include "hv/cpu/mca.h"
#include "hv/monitor/monitor.h"
#include "hv/control/sev.h"
#include "hv/console/mca_log.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/smp.h"
#include "hv/init/cpu_pages.h"
#include "hv/init/smp.h"
#include "hv/mm/hostmap.h"
#include "hv/vm/run.h"
#include "hv/svm/svm.h"
#include "../fake_uart.h"

static struct handoff handoff;
static struct cpu others[3];
static void *stack = (void *)0x5000;

/* ---- called, and noted ---- */

static const struct handoff_uart no_uart;       /* none of this machine's lies in memory */

#define NOTED(name, parameter, argument, ...) \
    void __real_##name(parameter);            \
    void __wrap_##name(parameter);            \
    void __wrap_##name(parameter)             \
    {                                         \
        note(__VA_ARGS__);                    \
        __real_##name(argument);              \
    }

NOTED(console_init, const struct handoff_uart *uart, uart->in_memory ? &no_uart : uart, "console %lx", uart->base)
NOTED(view_init, const struct handoff *h, h, "view %d", h == &handoff)
NOTED(page_init, const struct handoff *h, h, "pages %d", h == &handoff)
NOTED(lapic_use_registers, volatile void *registers, registers, "registers %lx", (uintptr_t)registers)
NOTED(memory_init, const struct handoff *h, h, "memory %d", h == &handoff)

void __real_clock_init(uint64_t hz, uint64_t wall_seconds, uint64_t wall_tsc);
void __wrap_clock_init(uint64_t hz, uint64_t wall_seconds, uint64_t wall_tsc);
void __wrap_clock_init(uint64_t hz, uint64_t wall_seconds, uint64_t wall_tsc)
{
    note("clock %lu %lu %lu", hz, wall_seconds, wall_tsc);
    __real_clock_init(hz, wall_seconds, wall_tsc);
}

void __real_asid_init(uint32_t asids, uint32_t min, uint32_t max);
void __wrap_asid_init(uint32_t asids, uint32_t min, uint32_t max);
void __wrap_asid_init(uint32_t asids, uint32_t min, uint32_t max)
{
    note("asids %u %u %u", asids, min, max);
    __real_asid_init(asids, min, max);
}

/* Keys: some from before, then one after `key_after` looks, each of two milliseconds; -1: never. */
static int keys_before, key_after;
static unsigned looks;

void __real_console_drain(void);
void __wrap_console_drain(void);
void __wrap_console_drain(void)
{
    if (looks == 2)
        note("drain");
    __real_console_drain();
}

int __real_console_read(void);
int __wrap_console_read(void);
int __wrap_console_read(void)
{
    if (keys_before > 0) {
        keys_before--;
        fake_uart_type("x", 1);
    } else if (looks++ > 0 && key_after >= 0 &&
               (int)looks > key_after) { /* the first finds that all from before are taken */
        fake_uart_type("y", 1);
    }
    return __real_console_read();
}

static void look_at_clock(void)
{
    fake_tsc = looks * UINT64_C(24000000) / 5; /* no stall of the machine */
}

void fake_uart_printed(const char *line)
{
    note("%s", line);
}

/* ---- noted only ---- */

struct cpu *cpu_boot(void)
{
    return &fake_cpu;
}
void cpu_init(struct cpu *cpu)
{
    note("cpu %u", cpu->index);
}
void *cpu_pages_stacks(struct cpu *cpu)
{
    note("stacks %u", cpu->index);
    return stack;
}
void hostmap_init(const struct handoff *h)
{
    note("hostmap %d", h == &handoff);
}
void dma_stop(const struct handoff *h)
{
    note("dma %d", h == &handoff);
}
volatile void *mmio_map_all(paddr_t base)
{
    note("map for all %lx", base.raw);
    return (volatile void *)0x7000;
}
void __wrap_lapic_init(void);
void __wrap_lapic_init(void)
{
    note("lapic");
}
void mca_log_init(struct cpu *cpu)
{
    note("mca %u", cpu->index);
}
bool svm_allocate(struct cpu *cpu)
{
    note("svm pages %u", cpu->index);
    return fake_pages_left > 0;
}
void svm_init(struct cpu *cpu)
{
    note("svm %u", cpu->index);
}
void run_init(struct cpu *cpu, bool com2_free)
{
    note("vcpu %u%s", cpu->index, com2_free ? ", COM2 is free" : "");
}
void uefi_end_init(const struct handoff *h)
{
    note("end %d", h == &handoff);
}
void uefi_init(const struct handoff *h)
{
    note("uefi %d", h == &handoff);
}
void monitor_report_losses(void)
{
    note("losses");
}
void smp_start(const struct handoff *h)
{
    note("smp %d", h == &handoff);
}
struct guest guests[GUEST_MAX];
static struct manifest_guest configs[2] = {{.name = "alpha"}, {.name = "beta"}};
void lifecycle_begin(const struct handoff *h)
{
    note("launch %d", h == &handoff);
}
static bool relaunched;                 /* by the operator, while others were launched */
void loop_run(struct cpu *cpu)
{
    note("loop %u", cpu->index);
    guests[0].launches += relaunched;
}
void sev_stop(void)
{
    note("sev stop");
}
bool report_summary(void)
{
    note("summary");
    return true;
}
void machine_power_off(void)
{
    note("power off");
    longjmp(*fake_out, 1);
}
void machine_reset(void)
{
    note("reset");
    longjmp(*fake_out, 1);
}
void entry_on_stack(void *top, void (*function)(const struct handoff *), const struct handoff *h)
{
    note("on stack %lx", (uintptr_t)top);
    function(h);
    longjmp(*fake_out, 1);
}

static __attribute__((noinline)) bool run(void)
{
    return ENDS(hv_main(&handoff));
}

static int set_up(void **state)
{
    fake_reset(state);
    fake_rdtsc_seen = look_at_clock;
    fake_msrs[0] = (struct fake_msr){MSR_APIC_BASE, UINT64_C(0xfed00900)};
    memset(others, 0, sizeof(others));
    smp_add(&fake_cpu, true);
    for (uint32_t i = 0; i < 3; i++) {
        others[i].index = i + 1;
        smp_add(&others[i], i == 1);    /* CPUs 1 and 3 did not come */
    }
    memset(guests, 0, sizeof(guests));
    for (unsigned i = 0; i < 2; i++)
        guests[i].config = &configs[i];
    strcpy(guests[0].end_reason, "LAUNCH_START: no");
    strcpy(guests[1].end_reason, "wants too much");
    guests[1].launches = 1;
    relaunched = false;
    keys_before = 0;
    key_after = -1;
    looks = 0;
    stack = (void *)0x5000;
    fake_cpu.features.svm.ebx = 509;
    handoff = (struct handoff){
        .magic = HANDOFF_MAGIC,
        .version = HANDOFF_VERSION,
        .size = sizeof(handoff),
        .uart = fake_uart,
        .wall_seconds = 1795955696,
        .wall_tsc = 777,
        .tsc_hz = 2400056789,
        .min_sev_asid = 6,
        .max_sev_asid = 15,
        .c_bit_mask = UINT64_C(1) << 51,
        .arena_base = POOL_BASE,
        .arena_size = UINT64_C(18) << 20,
        .sev_usable = 1,
        .range_count = 4,
        .ranges = {{0x1000, 3, HANDOFF_USABLE, 0},
                   {0x100000, 300 * 256 + 256, HANDOFF_USABLE, 0},
                   {1 << 30, 18 << 8, HANDOFF_ARENA, 0},
                   {UINT64_C(1) << 32, 1 << 20, HANDOFF_RESERVED, 0}},
    };
    return 0;
}

/* The lines of `words`, in this order, among others. */
static void assert_order(const char *words)
{
    const char *at = did;
    char line[160];
    while (*words != '\0') {
        size_t length = strcspn(words, "\n");
        snprintf(line, sizeof(line), "%.*s\n", (int)length, words);
        at = strstr(at, line);
        if (at == NULL)
            fail_msg("not in its place: %sin:\n%s", line, did);
        at += strlen(line);
        words += length + 1;
    }
}

static void each_part_is_set_up_before_what_needs_it(void **state)
{
    (void)state;
    assert_true(run());
    assert_order(
        "console 3f8\nclock 2400056789 1795955696 777\nend 1\ncpu 0\nview 1\npages 1\nmemory 1\nhostmap 1\nstacks 0\non stack 5000\ndma 1\nlapic\n"
        "mca 0\nsvm pages 0\nsvm 0\nvcpu 0\nasids 509 6 15\nuefi 1\nsti\nsmp 1\nlaunch 1\nloop 0\nsev stop\nloop 0\nlosses\nsummary\npower off\n");
}

static void the_lapic_is_told_and_mapped_where_it_has_no_msrs(void **state)
{
    (void)state;
    fake_cpu.apic_id = 3;
    assert_true(run());
    assert_order("map for all fed00000\nregisters 7000\nlapic\nnotice: LAPIC 3: xAPIC\n");
    set_up(NULL);
    fake_cpu.apic_id = 3;
    fake_cpu.features.x2apic = true;
    assert_true(run());
    assert_null(strstr(did, "map for all"));
    assert_order("lapic\nnotice: LAPIC 3: x2APIC\n");
}

static void the_second_serial_port_is_free_where_boot_says_so(void **state)
{
    (void)state;
    handoff.com2_free = 1;
    assert_true(run());
    assert_order("vcpu 0, COM2 is free\n");
}

static void a_handover_of_another_boot_is_not_followed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        set_up(state);
        handoff.magic += i == 0;
        handoff.version += i == 1;
        handoff.size += i == 2;
        assert_true(run());
        assert_string_equal(did, "hlt\n");
    }
}

static void without_what_it_needs_hv_panics(void **state)
{
    (void)state;
    stack = NULL;
    assert_true(run());
    assert_order("stacks 0\npanic %s:%d: %s\n");
    assert_null(strstr(did, "on stack"));
    set_up(state);
    fake_pages_left = 0;
    assert_true(run());
    assert_order("svm pages 0\npanic %s:%d: %s\n");
    assert_null(strstr(did, "svm 0"));
}

static void what_the_machine_is_is_said(void **state)
{
    (void)state;
    assert_true(run());
    assert_order(
        "notice: Sevisor: hv runs, encrypted\nnotice: memory: 300 MiB for guests, 18 MiB for hv, 1036 KiB unused in pieces below 2 MiB; hv's is encrypted (SME)\n"
        "notice: TSC 2400.056 MHz\n");
    assert_null(strstr(did, "refused"));
    assert_null(strstr(did, "NMI"));
    set_up(state);
    handoff.c_bit_mask = 0;
    handoff.sev_usable = 0;
    strcpy(handoff.sev_refusal, "SMM locked: no; lock it");
    assert_true(run());
    assert_order(
        "notice: Sevisor: hv runs, plain: this machine has no SME\n"
        "notice: memory: 300 MiB for guests, 18 MiB for hv, 1036 KiB unused in pieces below 2 MiB; plain (no SME)\n"
        "notice: encrypted guests are refused: SMM locked: no; lock it\n");
}

static void a_missing_date_is_told(void **state)
{
    (void)state;
    run();
    assert_null(strstr(did, "RTC"));
    set_up(state);
    handoff.wall_seconds = 0;
    run();
    assert_order(
        "error: the board's clock (RTC) is not set, or years behind: guests get no date or time; set it in the BIOS\n");
}

/* All refused: said, shown for a minute, and back into the firmware's boot order. */
static void refusal_of_all_guests_ends_in_a_reset(void **state)
{
    (void)state;
    guests[1].launches = 0;
    assert_true(run());
    assert_order(
        "launch 1\nloop 0\nsev stop\nloop 0\nlosses\nsummary\nerror: no guest runs: alpha is refused: LAUNCH_START: no\n"
        "error: the machine is reset in 60 seconds, or at a key, into the next boot option\n"
        "drain\nreset\n");
    assert_null(strstr(did, "power off"));
    assert_in_range(looks, 30000, 30010);
    assert_in_range(fake_cpu.rounds, 29990, 30010);     /* watch.c: it is not stuck */

    set_up(state);
    guests[1].launches = 0;
    keys_before = 3;
    key_after = 20;
    assert_true(run());
    assert_order("error: the machine is reset in 60 seconds, or at a key, into the next boot option\nreset\n");
    assert_int_equal(looks, 21);
}

static void a_manifest_that_cannot_be_used_does_too(void **state)
{
    (void)state;
    guests[0].config = guests[1].config = NULL;
    guests[1].launches = 0;
    assert_true(run());
    assert_order("summary\nerror: no guest runs: the manifest cannot be used\ndrain\nreset\n");
}

static void any_guest_that_has_run_makes_it_a_power_off(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        set_up(state);
        guests[1].launches = i == 1;
        guests[1].end = i == 2 ? GUEST_END_DESTROYED : GUEST_END_REFUSED;       /* before it could */
        relaunched = i == 0;
        assert_true(run());
        assert_order("launch 1\nloop 0\nsev stop\nloop 0\nlosses\nsummary\npower off\n");
        assert_null(strstr(did, "reset"));
        assert_null(strstr(did, "no guest runs"));
    }
}

static void nmis_of_all_cpus_are_told_at_the_end(void **state)
{
    (void)state;
    fake_cpu.nmis = 2;
    others[1].nmis = 3;
    others[0].nmis = 50;        /* it is not there */
    assert_true(run());
    assert_order(
        "sev stop\nerror: 5 NMIs were received: boards report hardware errors by NMI; look into the BMC's event log\nsummary\n");
    set_up(state);
    fake_cpu.nmis = 1;
    assert_true(run());
    assert_order("error: 1 NMIs were received: boards report hardware errors by NMI; look into the BMC's event log\n");
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_part_is_set_up_before_what_needs_it),
        T(a_handover_of_another_boot_is_not_followed),
        T(the_lapic_is_told_and_mapped_where_it_has_no_msrs),
        T(the_second_serial_port_is_free_where_boot_says_so),
        T(without_what_it_needs_hv_panics),
        T(what_the_machine_is_is_said),
        T(a_missing_date_is_told),
        T(nmis_of_all_cpus_are_told_at_the_end),
        T(refusal_of_all_guests_ends_in_a_reset),
        T(a_manifest_that_cannot_be_used_does_too),
        T(any_guest_that_has_run_makes_it_a_power_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
