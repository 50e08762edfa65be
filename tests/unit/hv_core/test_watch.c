/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "test.h"

#include <string.h>

#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "hv/cpu/smp.h"
#include "hv/vm/watch.h"

#define CPUS 3u
#define SECOND UINT64_C(1000000)

static bool online[CPUS];
static struct cpu cpus[CPUS];
static uint64_t now;
static char said[4096];
static unsigned nmis[CPUS];

uint64_t clock_tsc(void)
{
    return now;
}
uint64_t clock_us_to_tsc(uint64_t us)
{
    return us;
}

struct cpu *smp_cpu(uint32_t index)
{
    assert_in_range(index, 0, CPUS - 1);
    return online[index] ? &cpus[index] : NULL;
}

uint32_t smp_cpus(void)
{
    return CPUS;
}

void lapic_send(uint32_t apic_id, uint32_t message)
{
    assert_int_equal(message, LAPIC_MESSAGE_NMI);
    nmis[apic_id]++;
}

void log_print(enum log_level level, const char *format, ...)
{
    va_list arguments;
    assert_int_equal(level, LOG_ERROR);
    va_start(arguments, format);
    size_t length = strlen(said);
    length += text_format_list(said + length, sizeof said - length, format, arguments);
    said[length] = '\n';
    said[length + 1] = '\0';
    va_end(arguments);
}

static int set_up(void **state)
{
    (void)state;
    memset(cpus, 0, sizeof cpus);
    memset(nmis, 0, sizeof nmis);
    said[0] = '\0';
    now = 100 * SECOND;
    for (uint32_t i = 0; i < CPUS; i++) {
        cpus[i] = (struct cpu){.index = i, .apic_id = i};
        online[i] = true;
    }
    return 0;
}

/* A second, in which the CPUs of `up` come round. */
static void second(unsigned up)
{
    for (unsigned ms = 0; ms < 1000; ms += 10) {
        now += 10000;
        for (uint32_t i = 0; i < CPUS; i++) {
            if ((up >> i & 1) != 0) {
                cpus[i].rounds++;
                watch_poll(&cpus[i], now);
            }
        }
    }
}

static void who_comes_round_or_sleeps_is_left_alone(void **state)
{
    (void)state;
    cpus[2].idle = true;
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
    assert_true(watch_answer(&cpus[2], 0xffffffff80012345));
    assert_false(watch_answer(&cpus[2], 1));        /* the next NMI is the hardware's */
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
    online[1] = false;
    assert_int_equal(set_up(state), 0);
    online[1] = false;
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
        watch_poll(&cpus[0], now);
        watch_poll(&cpus[1], now);
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
    watch_poll(&cpus[0], now); /* the first is none: nothing is known of before */
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(nmis[2], 0);
        now += seconds[i] * SECOND;
        cpus[1].rounds++;
        watch_poll(&cpus[0], now);
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
