/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Starts the other CPUs by INIT and SIPI, one after another, and compares each with the boot CPU. */
#include "hv/init/smp.h"

#include "hv/console/log.h"
#include "hv/console/mca_log.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/mca.h"
#include "hv/cpu/smp.h"
#include "hv/init/cpu_pages.h"
#include "hv/lib/pagetable.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/window.h"
#include "hv/svm/svm.h"
#include "hv/vm/run.h"

/* APM2 16.5: INIT, then two startup IPIs. The 10 ms that Intel's MP specification 1.4, B.4, wants after INIT were for the
 * 82489DX: no part with SVM needs them (Linux waits for none of AMD's from family 0Fh on), and 512 CPUs would take 5 s. */
#define INIT_US 10u
#define STARTUP_US 200u
#define START_LIMIT_US 1000000u
#define STARTUPS 2u
/* TSCs that differ by more than a round trip between the CPUs are not synchronised. */
#define TSC_ROUNDS 8u

/* At `ap_parameters` in ap.asm. */
struct ap_parameters {
    uint64_t entry, stack, cpu, cr3;
    uint32_t tables; /* physical */
    uint32_t syscfg; /* bits to set */
    uint32_t far32;
    uint16_t far32_selector;
    uint16_t gdt_limit;
    uint32_t gdt_base;
    uint32_t far64;
    uint16_t far64_selector, reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct ap_parameters) == 60, "ap.asm's order");

extern const uint8_t ap_start[], ap_parameters[], ap_end[];
extern const uint8_t entry_ap[];

/* Between the boot CPU and the CPU that is being started. */
static struct {
    uint32_t ready; /* index of the CPU that waits for the verdict */
    uint32_t verdict; /* by the boot CPU; VERDICT_* */
    uint64_t ask_tsc, tsc; /* TSC comparison: round, and the other CPU's TSC */
} handshake;
enum { VERDICT_NONE, VERDICT_COMPARE, VERDICT_FINE, VERDICT_LEFT_OUT };

/* ---- start ---- */

/* The code page, and three page tables that map it one to one and share hv's half. All plain. */
static uint8_t *prepare_pages(const struct handoff *handoff)
{
    uint8_t *pages = window_map(paddr(handoff->startup_base), HANDOFF_STARTUP_PAGES * PAGE_SIZE, VIEW_PLAIN);
    ASSERT(pages != NULL && (uint64_t)(ap_end - ap_start) <= PAGE_SIZE);
    memset(pages, 0, HANDOFF_STARTUP_PAGES * PAGE_SIZE);
    memcpy(pages, ap_start, (size_t)(ap_end - ap_start));

    uint64_t *root = (void *)(pages + PAGE_SIZE), *directories = root + 512, *directory = directories + 512;
    hostmap_share(root);
    root[0] = (handoff->startup_base + 2 * PAGE_SIZE) | PTE_P | PTE_W;
    directories[0] = (handoff->startup_base + 3 * PAGE_SIZE) | PTE_P | PTE_W;
    directory[0] = PTE_P | PTE_W | PTE_PS;
    return pages;
}

static void fill_parameters(uint8_t *pages, const struct handoff *handoff, struct cpu *cpu, void *stack)
{
    struct ap_parameters parameters;
    uint8_t *place = pages + (ap_parameters - ap_start);
    uint32_t base = (uint32_t)handoff->startup_base;
    memcpy(&parameters, ap_parameters, sizeof(parameters)); /* ap.asm's own, relative to the page */
    parameters.entry = (uintptr_t)entry_ap;
    parameters.stack = (uintptr_t)stack;
    parameters.cpu = (uintptr_t)cpu;
    parameters.cr3 = hostmap_cr3();
    parameters.tables = base + (uint32_t)PAGE_SIZE;
    parameters.syscfg = (uint32_t)(rdmsr(MSR_SYSCFG) & SYSCFG_MEM_ENCRYPTION_MOD_EN);
    if (view_c_bit() == 0)
        parameters.syscfg = 0; /* a CPU without SME may lack the MSR */
    parameters.far32 += base;
    parameters.gdt_base += base;
    parameters.far64 += base;
    memcpy(place, &parameters, sizeof(parameters));
}

/* The CPU reads its TSC between two readings of the boot CPU's; the round with the shortest interval counts. */
static bool same_tsc(void)
{
    uint64_t best = UINT64_MAX;
    bool same = false;
    for (uint32_t i = 0; i < TSC_ROUNDS; i++) {
        __atomic_store_n(&handshake.tsc, 0, __ATOMIC_RELEASE);
        struct clock_limit limit = clock_limit(START_LIMIT_US);
        uint64_t before = clock_tsc(), theirs;
        __atomic_store_n(&handshake.ask_tsc, i + 1, __ATOMIC_RELEASE);
        while ((theirs = __atomic_load_n(&handshake.tsc, __ATOMIC_ACQUIRE)) == 0) {
            if (clock_limit_over(&limit))
                return false;
            cpu_relax();
        }
        uint64_t after = clock_tsc();
        if (after - before < best) {
            best = after - before;
            same = theirs >= before && theirs <= after;
        }
    }
    return same;
}

/* Why the CPU cannot be used; NULL: it can. */
static const char *mismatch(const struct cpu *cpu, uint32_t apic_id)
{
    if (cpu->apic_id != apic_id)
        return "another APIC id answered";
    if (memcmp(&cpu->features, &cpu_boot()->features, sizeof(cpu->features)) != 0)
        return "its features are not those of the boot CPU (steppings, microcode or BIOS settings differ)";
    __atomic_store_n(&handshake.verdict, VERDICT_COMPARE, __ATOMIC_RELEASE);
    return same_tsc() ? NULL : "its TSC is not that of the boot CPU";
}

static void start(uint8_t *pages, const struct handoff *handoff, uint32_t index)
{
    uint32_t apic_id = handoff->apic_ids[index];
    if (!lapic_reaches(apic_id)) {
        log_print(LOG_ERROR,
                  "CPU %u (APIC %u) is left out: that id cannot be sent an interrupt of its own; BIOS: AMD CBS > "
                  "Local APIC Mode = x2APIC",
                  index, apic_id);
        return;
    }
    struct cpu *cpu = cpu_pages_create(index, apic_id);
    void *stack = cpu == NULL || !svm_allocate(cpu) ? NULL : cpu_pages_stacks(cpu);
    if (stack == NULL) {
        log_print(LOG_ERROR, "CPU %u (APIC %u) is left out: no pool pages for it", index, apic_id);
        return;
    }
    fill_parameters(pages, handoff, cpu, stack);
    handshake.ready = handshake.verdict = VERDICT_NONE;
    handshake.ask_tsc = 0;
    lapic_send(apic_id, LAPIC_MESSAGE_INIT);
    clock_wait_us(INIT_US);
    bool here = false;
    for (uint32_t i = 0; i < STARTUPS && !here; i++) {
        lapic_send(apic_id, LAPIC_MESSAGE_STARTUP | (uint32_t)(handoff->startup_base >> PAGE_SHIFT));
        here = smp_wait_for(&handshake.ready, index, i + 1 == STARTUPS ? START_LIMIT_US : STARTUP_US);
    }
    if (!here) {
        lapic_send(apic_id, LAPIC_MESSAGE_INIT); /* a late start must not disturb the next CPU's */
        log_print(LOG_ERROR, "CPU %u (APIC %u) is left out: it does not start", index, apic_id);
        return;
    }
    const char *reason = mismatch(cpu, apic_id);
    smp_add(cpu, reason == NULL);
    if (reason != NULL)
        log_print(LOG_ERROR, "CPU %u (APIC %u) is left out: %s", index, apic_id, reason);
    __atomic_store_n(&handshake.verdict, reason != NULL ? VERDICT_LEFT_OUT : VERDICT_FINE, __ATOMIC_RELEASE);
    if (!smp_wait_for((const uint32_t *)&handshake.ready, 0, START_LIMIT_US))
        panic("CPU %u stopped responding during bring-up", index);
}

void smp_start(const struct handoff *handoff)
{
    uint32_t count = handoff->cpu_count < MAX_CPUS ? handoff->cpu_count : MAX_CPUS, running = 0;
    smp_add(cpu_boot(), true);
    if (handoff->startup_base != 0 && count > 1) {
        uint8_t *pages = prepare_pages(handoff);
        for (uint32_t index = 1; index < count; index++)
            start(pages, handoff, index);
        memset(pages, 0, HANDOFF_STARTUP_PAGES * PAGE_SIZE);
        window_unmap(pages, HANDOFF_STARTUP_PAGES * PAGE_SIZE);
    }
    for (uint32_t i = 0; i < smp_cpus(); i++)
        running += smp_cpu(i) != NULL;
    log_print(running == handoff->cpu_count + handoff->cpus_left_out ? LOG_NOTICE : LOG_ERROR, "%u of %u CPUs run",
              running, handoff->cpu_count + handoff->cpus_left_out);
}

void smp_main(struct cpu *cpu)
{
    cpu_init(cpu);
    lapic_init();
    mca_log_init(cpu);
    svm_init(cpu);
    run_init_cpu(cpu);
    __atomic_store_n(&handshake.ready, cpu->index, __ATOMIC_RELEASE);

    uint32_t verdict;
    for (uint64_t answered = 0;;) {
        verdict = __atomic_load_n(&handshake.verdict, __ATOMIC_ACQUIRE);
        if (verdict == VERDICT_FINE || verdict == VERDICT_LEFT_OUT)
            break;
        uint64_t asked = __atomic_load_n(&handshake.ask_tsc, __ATOMIC_ACQUIRE);
        if (verdict == VERDICT_COMPARE && asked != answered) {
            answered = asked;
            __atomic_store_n(&handshake.tsc, clock_tsc(), __ATOMIC_RELEASE);
        }
        cpu_relax();
    }
    __atomic_store_n(&handshake.ready, 0, __ATOMIC_RELEASE);
    sti();
    while (verdict == VERDICT_LEFT_OUT)
        hlt(); /* its interrupt handler still does WBINVD */
    run_loop(cpu);
}
