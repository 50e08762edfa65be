/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The host's local APIC, by MSR and in memory: how it is set up, its one-shot timer, and the messages that it sends. */
#include "hv/cpu/lapic.c"

#include "fake_cpu.h"

#define HZ UINT64_C(2000000000)
#define TIMER_HZ UINT64_C(100000000)

static uint64_t tick = 200; /* of a look at the clock */
static uint32_t initial; /* the timer's count, and when it was written */
static uint64_t initial_tsc;
static uint64_t timer_hz;
static uint32_t id;
static volatile uint32_t page[1024]; /* the registers in memory */

static uint32_t current_count(void)
{
    uint64_t gone = (fake_tsc - initial_tsc) * timer_hz / HZ;
    return gone < initial ? initial - (uint32_t)gone : 0;
}

/* Memory holds what a device would say: as of this look at the clock. */
static void look_at_clock(void)
{
    fake_tsc += tick;
    if (page[APIC_OFFSET(APIC_TIMER_INITIAL) / 4] != initial) {
        initial = page[APIC_OFFSET(APIC_TIMER_INITIAL) / 4];
        initial_tsc = fake_tsc;
    }
    page[APIC_OFFSET(APIC_TIMER_CURRENT) / 4] = current_count();
}

static uint64_t x2apic(uint32_t msr, const uint64_t *value)
{
    if (value == NULL)
        return msr == 0x802 ? id : msr == 0x839 ? current_count() : 0;
    if (msr == 0x838) {
        initial = (uint32_t)*value;
        initial_tsc = fake_tsc;
        page[APIC_OFFSET(APIC_TIMER_INITIAL) / 4] = initial; /* look_at_clock() looks there */
    }
    return 0;
}

static int set_up(void **state)
{
    fake_reset(state);
    clock_init(HZ, 0, 0);
    fake_rdtsc_seen = look_at_clock;
    lapic_registers = NULL;
    lapic_hz = 0;
    memset((void *)(uintptr_t)page, 0, sizeof(page));
    fake_msrs[0] = (struct fake_msr){MSR_APIC_BASE, UINT64_C(0xfee00100)};
    fake_x2apic = x2apic;
    fake_cpu.features.x2apic = true;
    id = 0x12345;
    initial = 0;
    timer_hz = TIMER_HZ;
    tick = 200;
    fake_tsc = 1000000;
    return 0;
}

/* The value that was written last. */
static uint64_t written(uint32_t offset)
{
    char line[32], *at = did, *last = NULL;
    snprintf(line, sizeof(line), "wrmsr %x ", 0x800 + offset / 16);
    while ((at = strstr(at, line)) != NULL)
        last = at++;
    if (last == NULL)
        fail_msg("%x was not written in:\n%s", offset, did);
    unsigned long value;
    assert_int_equal(sscanf(last, "wrmsr %*x %lx", &value), 1);
    return value;
}

static void by_msr_where_the_cpu_has_x2apic(void **state)
{
    (void)state;
    lapic_init();
    assert_ptr_equal(strstr(did, "out 21 ff\nout a1 ff\nwrmsr 1b fee00900\nwrmsr 1b fee00d00\n"),
                     did); /* 8259s masked; EN, then EXTD */
    assert_int_equal(fake_cpu.apic_id, 0x12345);
    assert_int_equal(fake_cpu.timer_tsc, UINT64_MAX);
    /* APM2 16.4.7, 16.4.1, 16.4.2, 16.6.2 */
    assert_int_equal(written(0xf0), 0x1ff);
    assert_int_equal(written(0x80), 0);
    assert_int_equal(written(0x350), 0x10000);
    assert_int_equal(written(0x370), 0x10000);
    assert_int_equal(written(0x3e0), 0xb);
    assert_int_equal(written(0x320), 0x40);
    assert_int_equal(written(0x380), 0);
    /* The timer is masked until it is calibrated. */
    assert_true(strstr(did, "wrmsr 832 10040\n") < strstr(did, "wrmsr 838 "));
    assert_null(strstr(did, "log"));
}

static void in_memory_elsewhere(void **state)
{
    (void)state;
    fake_cpu.features.x2apic = false;
    page[0x20 / 4] = 0x7fabcdef;
    *fake_msr(MSR_APIC_BASE) = UINT64_C(0xfed00100);
    assert_int_equal(lapic_address().raw, 0xfed00000);
    lapic_use_registers(page);
    lapic_init();
    assert_non_null(strstr(did, "wrmsr 1b fed00900\n"));
    assert_int_equal(fake_cpu.apic_id, 0x7f);
    assert_int_equal(page[0xf0 / 4], 0x1ff);
    assert_int_equal(page[0x350 / 4], 0x10000);
    assert_int_equal(page[0x320 / 4], 0x40);
    page[0xb0 / 4] = 7;
    lapic_eoi();
    assert_int_equal(page[0xb0 / 4], 0);
}

static void the_timers_speed_is_measured_once(void **state)
{
    static const uint64_t speeds[] = {1000000, 25000000, 100000000, 1000000000};
    for (unsigned i = 0; i < sizeof(speeds) / sizeof(*speeds); i++) {
        set_up(state);
        timer_hz = speeds[i];
        lapic_init();
        assert_in_range(lapic_hz, speeds[i] - speeds[i] / 1000, speeds[i] + speeds[i] / 1000);
        uint64_t measured = lapic_hz;
        timer_hz /= 2;
        lapic_init();
        assert_int_equal(lapic_hz, measured);
    }
}

static void a_timer_that_stands_still_is_our_end(void **state)
{
    (void)state;
    timer_hz = 0;
    assert_true(ENDS(lapic_init()));
    assert_non_null(strstr(did, "panic"));
}

/* One interrupt, never early; a second at most at a time. */
static void the_timer_counts_to_what_is_asked_for(void **state)
{
    (void)state;
    lapic_init();
    const uint64_t hz = lapic_hz;
    static const uint64_t delays[] = {0, 1, 1999, 20000, HZ / 2, HZ, HZ + 1, 100 * HZ};
    for (unsigned i = 0; i < sizeof(delays) / sizeof(*delays); i++) {
        uint64_t now = fake_tsc + tick, target = now + delays[i], left = delays[i] < HZ ? delays[i] : HZ;
        lapic_timer_arm(target);
        assert_int_equal(fake_cpu.timer_tsc, target);
        assert_int_equal(written(0x380), left * hz / HZ + 1);
    }
    lapic_timer_arm(5); /* long ago: at once */
    assert_int_equal(written(0x380), 1);
    lapic_timer_arm(UINT64_MAX);
    assert_int_equal(written(0x380), 0);
    assert_int_equal(fake_cpu.timer_tsc, UINT64_MAX);
    lapic_hz = UINT64_C(6) << 30; /* more than the register counts in a second */
    lapic_timer_arm(fake_tsc + 100 * HZ);
    assert_int_equal(written(0x380), UINT32_MAX);
}

static void arming_leaves_interrupts_as_they_were(void **state)
{
    (void)state;
    lapic_init();
    for (unsigned on = 0; on < 2; on++) {
        for (unsigned armed = 0; armed < 2; armed++) {
            fake_if = on;
            did[0] = '\0';
            lapic_timer_arm(armed ? fake_tsc + 1000 : UINT64_MAX);
            assert_ptr_equal(strstr(did, "cli\nwrmsr 838"), did);
            assert_int_equal(fake_if, on);
        }
    }
}

static void an_interrupt_that_is_due_is_marked_and_an_early_one_goes_on(void **state)
{
    (void)state;
    lapic_init();
    fake_cpu.timer_tsc = fake_tsc + tick + 5000;
    did[0] = '\0';
    lapic_timer_interrupt();
    assert_false(fake_cpu.timer_fired);
    assert_int_equal(written(0x380), 5000 * lapic_hz / HZ + 1);
    fake_cpu.timer_tsc = fake_tsc + tick;
    did[0] = '\0';
    lapic_timer_interrupt();
    assert_true(fake_cpu.timer_fired);
    assert_int_equal(fake_cpu.timer_tsc, UINT64_MAX);
    assert_string_equal(did, "");
    fake_cpu.timer_fired = false;
    lapic_timer_interrupt(); /* disarmed meanwhile */
    assert_false(fake_cpu.timer_fired);
    assert_string_equal(did, "");
}

static void a_message_goes_to_its_cpu(void **state)
{
    (void)state;
    lapic_send(0x12345, LAPIC_MESSAGE_FIXED | 0x41);
    assert_string_equal(did, "wrmsr 830 1234500004041\n");
    lapic_eoi();
    assert_string_equal(did, "wrmsr 830 1234500004041\nwrmsr 80b 0\n");

    /* In memory: the halves in their order, nothing in between. */
    for (unsigned on = 0; on < 2; on++) {
        set_up(state);
        lapic_registers = page;
        fake_if = on;
        lapic_send(0x7f, LAPIC_MESSAGE_NMI);
        assert_int_equal(page[0x310 / 4], 0x7f000000);
        assert_int_equal(page[0x300 / 4], 0x4400);
        assert_string_equal(did, on ? "cli\nsti\n" : "cli\n");
        assert_int_equal(fake_if, on);
    }
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(by_msr_where_the_cpu_has_x2apic),
        T(in_memory_elsewhere),
        T(the_timers_speed_is_measured_once),
        T(a_timer_that_stands_still_is_our_end),
        T(the_timer_counts_to_what_is_asked_for),
        T(arming_leaves_interrupts_as_they_were),
        T(an_interrupt_that_is_due_is_marked_and_an_early_one_goes_on),
        T(a_message_goes_to_its_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
