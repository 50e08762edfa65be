/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Panic: prints the state of the CPU, then powers the machine off. */
#include "hv/init/panic.h"

#include "boot/handoff.h"
#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/mca.h"
#include "hv/cpu/trap.h"
#include "hv/init/shutdown.h"
#include "hv/init/uefi.h"
#include "hv/lib/panic.h"
#include "hv/lib/text.h"
#include "hv/lib/x86.h"

#define PANIC_FRAMES 24u
#define PANIC_TEXT 256u

/* Nested panics on the CPU that powers the machine off. */
static uint32_t panic_depth;

static _Noreturn void panic_end(void)
{
    console_print("sevisor: powering off\n");
    console_flush();
    machine_power_off();
}

void panic_banks(const struct mca_errors *errors)
{
    char text[MCA_TEXT];
    for (uint32_t i = 0; i < errors->count; i++) {
        mca_describe(&errors->errors[i], text, sizeof(text));
        console_print("sevisor: machine check: %s\n", text);
    }
    if (errors->left_out > 0)
        console_print("sevisor: machine check: %u more banks have errors\n", errors->left_out);
    console_print("sevisor: machine check: MCG_STATUS 0x%lx, %u errors\n", errors->mcg_status,
                  errors->count + errors->left_out);
}

/* Returns only once, on the CPU that powers the machine off: a nested panic powers off without a report, one nested in that
 * halts. Other CPUs leave `text` for it to print, and halt. Before cpu_init() there is no this_cpu(). */
static void panic_begin(const char *text)
{
    bool early = cpu_boot()->self == NULL;
    if (!early)
        __atomic_store_n(&this_cpu()->last_words, text, __ATOMIC_RELEASE);
    if (!shutdown_begin())
        end_elsewhere();
    console_break();
    if (!early)
        this_cpu()->last_words = NULL;
    if (panic_depth++ == 0) {
        console_print("\nsevisor: panic: %s\n", text);
    } else if (panic_depth <= 3) {
        console_print("\nsevisor: panic inside a panic: %s\n", text);
    }
    const struct mca_errors *errors = early ? NULL : this_cpu()->mca_errors;
    if (errors != NULL && panic_depth <= 2) {
        this_cpu()->mca_errors = NULL;
        panic_banks(errors);
    }
    if (panic_depth == 1)
        return;
    if (panic_depth == 2)
        panic_end();
    if (panic_depth == 3) {
        console_print("sevisor: halted, switch the machine off\n");
        console_flush();
    }
    for (;;)
        hlt();
}

/* Follows the frame pointers, until one is not plausible. */
static void panic_trace(uint64_t rip, uint64_t rbp)
{
    console_print("  call trace (addr2line -e hv.elf):");
    if (rip != 0)
        console_print(" %lx", rip);
    for (uint32_t i = 0; i < PANIC_FRAMES; i++) {
        if (rbp < HV_ARENA_BASE || rbp % 8 != 0 || rbp > UINT64_MAX - 16)
            break;
        const uint64_t *frame = (const uint64_t *)(uintptr_t)rbp;
        if (frame[1] < HV_IMAGE_BASE)
            break;
        console_print(" %lx", frame[1]);
        if (frame[0] <= rbp)
            break;
        rbp = frame[0];
    }
    console_print("\n");
}

void panic(const char *format, ...)
{
    char text[PANIC_TEXT];
    va_list arguments;
    va_start(arguments, format);
    text_format_list(text, sizeof(text), format, arguments);
    va_end(arguments);
    panic_begin(text);
    console_print("  cr0 %lx cr2 %lx cr3 %lx cr4 %lx efer %lx\n", read_cr0(), read_cr2(), read_cr3(), read_cr4(),
                  rdmsr(MSR_EFER));
    panic_trace(0, (uintptr_t)__builtin_frame_address(0));
    panic_end();
}

void panic_trap(const struct trap_frame *f, const char *name)
{
    char text[PANIC_TEXT];
    text_format(text, sizeof(text), "%s at %lx, error %lx", name, f->rip, f->error);
    panic_begin(text);
    console_print("  rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    console_print("  rsi %016lx rdi %016lx rbp %016lx rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
    console_print("  r8  %016lx r9  %016lx r10 %016lx r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
    console_print("  r12 %016lx r13 %016lx r14 %016lx r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
    console_print("  rflags %lx cs %lx ss %lx cr0 %lx cr2 %lx cr3 %lx cr4 %lx efer %lx\n", f->rflags, f->cs, f->ss,
                  read_cr0(), read_cr2(), read_cr3(), read_cr4(), rdmsr(MSR_EFER));
    panic_trace(f->rip, f->rbp);
    panic_end();
}

/* The compiler's stack protector. */
uint64_t __stack_chk_guard = UINT64_C(0x5eb1a57ed0900d00);
_Noreturn void __stack_chk_fail(void);

_Noreturn void __stack_chk_fail(void)
{
    panic("stack smashed, found on return to 0x%lx", (uintptr_t)__builtin_return_address(0));
}
