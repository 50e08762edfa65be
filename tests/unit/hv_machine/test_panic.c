/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What a panic says, once, and that it ends the machine whatever else goes wrong. */
#include "fake_cpu.h"

#include "hv/console/console.h"
#include "hv/cpu/mca.h"
#include "hv/init/panic.h"
#include "hv/init/uefi.h"
#include "hv/init/shutdown.h"
#include "hv/lib/text.h"
#include "hv/cpu/trap.h"
#include "../alone.h"

_Noreturn void __stack_chk_fail(void);

static bool early;
static unsigned nested;                 /* so many power-offs panic in their turn */

struct cpu *cpu_boot(void)
{
    static struct cpu not_set_up;
    return early ? &not_set_up : &fake_cpu;
}

static bool elsewhere;

bool shutdown_begin(void)
{
    note("end begins%s", !early && fake_cpu.last_words != NULL ? " with words" : "");
    return !elsewhere;
}

void end_elsewhere(void)
{
    note("elsewhere");
    longjmp(*fake_out, 1);
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
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    text_format_list(text, sizeof(text), format, arguments);
    va_end(arguments);
    assert_true(strlen(did) + strlen(text) < sizeof(did));
    strcat(did, text);
}

void mca_describe(const struct mca_error *error, char *text, size_t size)
{
    text_format(text, size, "bank %u, in words", error->bank);
}

void machine_power_off(void)
{
    note("power off");
    if (nested > 0) {
        nested--;
        panic("again, %u to come", nested);
    }
    longjmp(*fake_out, 1);
}

static int set_up(void **state)
{
    fake_reset(state);
    fake_msrs[0] = (struct fake_msr){MSR_EFER, 0xd01};
    fake_cr0 = 0xc0;
    early = false;
    nested = 0;
    return 0;
}

static __attribute__((noinline)) void in_a_panic(const char *text)
{
    assert_true(ENDS(panic("%s", text)));
}

static const char trace_and_end[] =
    "  cr0 c0 cr2 c2 cr3 c3 cr4 c4 efer d01\n  call trace (addr2line -e hv.elf):\nsevisor: powering off\nflush\npower off\n";

static void a_panic_says_why_and_powers_off(void **state)
{
    char expected[1024];
    (void)state;
    in_a_panic("out of pages");
    snprintf(expected, sizeof(expected), "end begins with words\nbreak\n\nsevisor: panic: out of pages\n%s",
             trace_and_end);
    assert_string_equal(did, expected);
    assert_null(fake_cpu.last_words);
}

static void before_there_is_a_cpu_structure_too(void **state)
{
    char expected[1024];
    (void)state;
    early = true;
    fake_cpu.last_words = "nobody's";       /* GS does not point there yet */
    in_a_panic("too early");
    snprintf(expected, sizeof(expected), "end begins\nbreak\n\nsevisor: panic: too early\n%s", trace_and_end);
    assert_string_equal(did, expected);
    assert_string_equal(fake_cpu.last_words, "nobody's");
}

static void a_panic_inside_a_panic_powers_off_without_a_report(void **state)
{
    char expected[2048];
    (void)state;
    nested = 1;
    in_a_panic("first");
    snprintf(
        expected, sizeof(expected),
        "end begins with words\nbreak\n\nsevisor: panic: first\n%s"
        "end begins with words\nbreak\n\nsevisor: panic inside a panic: again, 0 to come\nsevisor: powering off\nflush\npower off\n",
        trace_and_end);
    assert_string_equal(did, expected);
}

static void and_one_inside_that_halts(void **state)
{
    char expected[2048];
    (void)state;
    nested = 2;
    in_a_panic("first");
    const char *third = strstr(did, "sevisor: panic inside a panic: again, 0 to come\n");
    assert_non_null(third);
    assert_string_equal(
        third,
        "sevisor: panic inside a panic: again, 0 to come\nsevisor: halted, switch the machine off\nflush\nhlt\n");
    did[0] = '\0';
    in_a_panic("and later ones");
    snprintf(expected, sizeof(expected), "end begins with words\nbreak\nhlt\n");
    assert_string_equal(did, expected);
}

static void an_exception_is_told_with_its_registers(void **state)
{
    struct trap_frame frame = {
        .rax = 0xa,
        .rbx = 0xb,
        .rcx = 0xc,
        .rdx = 0xd,
        .rsi = 0x51,
        .rdi = 0xd1,
        .rbp = 0xb9,
        .rsp = 0x59,
        .r8 = 8,
        .r9 = 9,
        .r10 = 0x10,
        .r11 = 0x11,
        .r12 = 0x12,
        .r13 = 0x13,
        .r14 = 0x14,
        .r15 = 0x15,
        .error = 0xe,
        .rip = 0xffffffff80001234,
        .cs = 8,
        .ss = 0x10,
        .rflags = 0x202,
        .vector = 14,
    };
    (void)state;
    assert_true(ENDS(panic_trap(&frame, "#PF page fault")));
    assert_string_equal(
        did, "end begins with words\nbreak\n\nsevisor: panic: #PF page fault at ffffffff80001234, error e\n"
             "  rax 000000000000000a rbx 000000000000000b rcx 000000000000000c rdx 000000000000000d\n"
             "  rsi 0000000000000051 rdi 00000000000000d1 rbp 00000000000000b9 rsp 0000000000000059\n"
             "  r8  0000000000000008 r9  0000000000000009 r10 0000000000000010 r11 0000000000000011\n"
             "  r12 0000000000000012 r13 0000000000000013 r14 0000000000000014 r15 0000000000000015\n"
             "  rflags 202 cs 8 ss 10 cr0 c0 cr2 c2 cr3 c3 cr4 c4 efer d01\n"
             "  call trace (addr2line -e hv.elf): ffffffff80001234\nsevisor: powering off\nflush\npower off\n");
}

/* The frames of `count` functions, each `step` bytes above the one before; the last has no caller. */
static uint64_t stack(unsigned count, int64_t step)
{
    uint64_t first = HV_ARENA_BASE + 8192, at = first;
    for (unsigned i = 0; i < count; i++, at += (uint64_t)step) {
        ((uint64_t *)at)[0] = i + 1 < count ? at + (uint64_t)step : 0;
        ((uint64_t *)at)[1] = HV_IMAGE_BASE + 0x100 + i;
    }
    return first;
}

static unsigned frames_of(uint64_t rbp)
{
    struct trap_frame frame = {.rip = 0, .rbp = rbp};
    did[0] = '\0';
    assert_true(ENDS(panic_trap(&frame, "x")));
    unsigned count = 0;
    char address[32];
    const char *at = strstr(did, "hv.elf):");
    assert_non_null(at);
    at += strlen("hv.elf):");
    for (;; count++) {
        snprintf(address, sizeof(address), " %lx", HV_IMAGE_BASE + 0x100 + count);
        if (strncmp(at, address, strlen(address)) != 0)
            break;
        at += strlen(address);
    }
    assert_int_equal(*at, '\n');        /* and nothing else */
    return count;
}

#define TRACE(name, make, count)                  \
    static void name(void **state)                \
    {                                             \
        (void)state;                              \
        assert_int_equal(frames_of(make), count); \
    }
TRACE(a_trace_of_one, stack(1, 16), 1)
TRACE(a_trace_of_three, stack(3, 16), 3)
TRACE(a_trace_of_no_more_than_24, stack(40, 32), 24)
TRACE(a_trace_that_goes_down_ends, stack(3, -16), 1)

static uint64_t circle(void)
{
    uint64_t first = stack(1, 16);
    *(uint64_t *)first = first;
    return first;
}
TRACE(a_trace_that_stands_still_ends, circle(), 1)
TRACE(a_trace_off_its_alignment_is_not_followed, stack(3, 16) + 4, 0)
TRACE(a_trace_below_hvs_memory_is_not_followed, 0x1000, 0)
TRACE(a_trace_at_the_end_of_memory_is_not_followed, UINT64_MAX - 7, 0)

static uint64_t foreign(void)
{
    uint64_t first = stack(3, 16);
    ((uint64_t *)first)[3] = HV_IMAGE_BASE - 1;      /* the second's return address */
    return first;
}
TRACE(a_return_address_outside_of_hv_ends_it, foreign(), 1)

static uint64_t foreign_frame(void)
{
    uint64_t first = stack(3, 16);
    ((uint64_t *)first)[2] = UINT64_MAX;            /* the second's frame pointer: odd */
    return first;
}
TRACE(a_frame_pointer_that_is_none_ends_it, foreign_frame(), 2)

static void the_banks_of_a_machine_check_are_told_once(void **state)
{
    static const struct mca_errors errors = {
        .count = 2, .left_out = 3, .errors = {{.bank = 5}, {.bank = 7}}, .mcg_status = 0x45};
    (void)state;
    fake_cpu.mca_errors = &errors;
    nested = 1;
    in_a_panic("#MC");
    static const char told[] =
        "sevisor: panic: #MC\nsevisor: machine check: bank 5, in words\nsevisor: machine check: bank 7, in words\n"
        "sevisor: machine check: 3 more banks have errors\nsevisor: machine check: MCG_STATUS 0x45, 5 errors\n";
    const char *at = strstr(did, told);
    assert_non_null(at);
    assert_null(strstr(at + strlen(told), "machine check"));
}

static void a_machine_check_of_nothing_left_out_says_so(void **state)
{
    static const struct mca_errors errors = {.count = 1, .errors = {{.bank = 5}}, .mcg_status = 5};
    (void)state;
    panic_banks(&errors);
    assert_string_equal(did,
                        "sevisor: machine check: bank 5, in words\nsevisor: machine check: MCG_STATUS 0x5, 1 errors\n");
}

/* The other CPU tells it: end_last_words(). */
static void who_comes_second_leaves_its_words_and_says_nothing(void **state)
{
    (void)state;
    elsewhere = true;
    assert_true(ENDS(panic("out of %s", "pages")));
    elsewhere = false;
    assert_string_equal(did, "end begins with words\nelsewhere\n");
    fake_cpu.last_words = NULL;     /* they stood on that stack */
}

static void a_smashed_stack_is_a_panic(void **state)
{
    (void)state;
    assert_true(ENDS(__stack_chk_fail()));
    assert_non_null(strstr(did, "sevisor: panic: stack smashed, found on return to "));
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_panic_says_why_and_powers_off),
        T(before_there_is_a_cpu_structure_too),
        T(a_panic_inside_a_panic_powers_off_without_a_report),
        T(and_one_inside_that_halts),
        T(an_exception_is_told_with_its_registers),
        T(a_trace_of_one),
        T(a_trace_of_three),
        T(a_trace_of_no_more_than_24),
        T(a_trace_that_goes_down_ends),
        T(a_trace_that_stands_still_ends),
        T(a_trace_off_its_alignment_is_not_followed),
        T(a_trace_below_hvs_memory_is_not_followed),
        T(a_trace_at_the_end_of_memory_is_not_followed),
        T(a_return_address_outside_of_hv_ends_it),
        T(a_frame_pointer_that_is_none_ends_it),
        T(the_banks_of_a_machine_check_are_told_once),
        T(a_machine_check_of_nothing_left_out_says_so),
        T(who_comes_second_leaves_its_words_and_says_nothing),
        T(a_smashed_stack_is_a_panic),
    };
    return run_each_alone(tests, sizeof(tests) / sizeof(*tests));
}
