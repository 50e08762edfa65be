/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The watchdog, on CPUs that can be taken away. */
#include "hv/cpu/smp.c"

#include "test.h"

#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/console/console.h"
#include "hv/lib/apic.h"
#include "../fake_uart.h"

#include "hv/vm/watch.h"

#define CPUS 3u
#define SECOND UINT64_C(1000000)

static struct cpu processors[CPUS];
static uint64_t now;
static char said[4096];
static unsigned nmis[CPUS];

uint64_t rdtsc(void)
{
    return now;
}

/* To an x2APIC. */
void wrmsr(uint32_t msr, uint64_t value)
{
    assert_int_equal(msr, APIC_ICR);
    assert_int_equal((uint32_t)value, LAPIC_MESSAGE_NMI);
    assert_in_range(value >> 32, 0, CPUS - 1);
    nmis[value >> 32]++;
}

uint8_t in8(uint16_t port)
{
    return fake_uart_read(port);
}
void out8(uint16_t port, uint8_t value)
{
    fake_uart_write(port, value);
}

void fake_uart_printed(const char *line)
{
    static const char level[] = "error: ";
    assert_memory_equal(line, level, strlen(level));
    strcat(said, line + strlen(level));
    strcat(said, "\n");
}

static int set_up(void **state)
{
    (void)state;
    memset(nmis, 0, sizeof(nmis));
    said[0] = '\0';
    now = 100 * SECOND;
    for (uint32_t i = 0; i < CPUS; i++) {
        processors[i] = (struct cpu){.self = &processors[i], .index = i, .apic_id = i};
        smp_add(&processors[i], true);
    }
    syscall(SYS_arch_prctl, ARCH_SET_GS, &processors[0]);
    clock_init(SECOND, 0, 0);
    console_init(&fake_uart);
    return 0;
}

/* A second, in which the CPUs of `up` come round. */
static void second(unsigned up)
{
    for (unsigned ms = 0; ms < 1000; ms += 10) {
        now += 10000;
        for (uint32_t i = 0; i < CPUS; i++) {
            if ((up >> i & 1) != 0) {
                processors[i].rounds++;
                watch_poll(&processors[i], now);
            }
        }
    }
}

static void who_comes_round_or_sleeps_is_left_alone(void **state)
{
    (void)state;
    processors[2].idle = true;
    for (unsigned i = 0; i < 30; i++)
        second(3);
    assert_string_equal(said, "");
    assert_int_equal(nmis[0] + nmis[1] + nmis[2], 0);
}

static void who_is_stuck_is_reported_once_with_his_whereabouts(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        second(7);
    for (unsigned i = 0; i < 7 && nmis[2] == 0; i++)
        second(3);
    assert_int_equal(nmis[2], 1);
    assert_true(watch_answer(&processors[2], 0xffffffff80012345));
    assert_false(watch_answer(&processors[2], 1));        /* the next NMI is the hardware's */
    for (unsigned i = 0; i < 20; i++)
        second(3);
    assert_string_equal(said, "CPU 2 is stuck at ffffffff80012345 (addr2line -e hv.elf)\n");
    second(7);
    second(7);
    assert_string_equal(strchr(said, '\n') + 1, "CPU 2 responds again\n");
}

static void who_does_not_even_answer_is_reported_too(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        second(3);
    assert_string_equal(said, "CPU 2 is stuck, and does not answer an NMI\n");
}

static void the_first_of_the_others_looks_after_the_boot_cpu(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        second(6);
    assert_string_equal(said, "CPU 0 is stuck, and does not answer an NMI\n");
    assert_int_equal(set_up(state), 0);
    cpus[1] = NULL;
    for (unsigned i = 0; i < 10; i++)
        second(4);
    assert_string_equal(said, "CPU 0 is stuck, and does not answer an NMI\n");
}

/* The machine stands still (an SMI, a debugger, a host that stops its emulator); the watcher may be the first to go on, and
 * that again and again. */
static void a_stall_of_all_is_nobodys_fault(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        second(7);
    for (unsigned i = 0; i < 2; i++) {
        now += 15 * SECOND;
        watch_poll(&processors[0], now);
        watch_poll(&processors[1], now);
    }
    assert_string_equal(said, "");
    assert_int_equal(nmis[0] + nmis[1] + nmis[2], 0);
    for (unsigned i = 0; i < 10; i++)
        second(3); /* but a CPU that does not go on then is noticed */
    assert_string_equal(said, "CPU 2 is stuck, and does not answer an NMI\n");
}

/* Two long looks and two ordinary ones are the five seconds after which a CPU is stuck, and not a moment less. */
static void a_look_counts_for_a_second_and_a_half_at_most(void **state)
{
    (void)state;
    static const unsigned seconds[] = {15, 15, 1, 1};
    watch_poll(&processors[0], now); /* the first is none: nothing is known of before */
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(nmis[2], 0);
        now += seconds[i] * SECOND;
        processors[1].rounds++;
        watch_poll(&processors[0], now);
    }
    assert_int_equal(nmis[2], 1);
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_comes_round_or_sleeps_is_left_alone),  T(who_is_stuck_is_reported_once_with_his_whereabouts),
        T(who_does_not_even_answer_is_reported_too), T(the_first_of_the_others_looks_after_the_boot_cpu),
        T(a_stall_of_all_is_nobodys_fault),          T(a_look_counts_for_a_second_and_a_half_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
