/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* ACPI's tables as firmware has them or gets them wrong; the clock and the processors that they tell of; date and time. */
#include "machine.h"

#include <time.h>

#define RSDT ((uint8_t *)(uintptr_t)(TABLES_BASE + 0x100))
#define XSDT ((uint8_t *)(uintptr_t)(TABLES_BASE + 0x200))
#define ROOT ((uint8_t *)(uintptr_t)TABLES_BASE)

static void attach(void)
{
    machine_attach();
}

/* ---- finding tables ---- */

static void the_newer_root_is_taken_wherever_it_stands(void **state)
{
    (void)state;
    attach();
    EFI_CONFIGURATION_TABLE other = configuration[0], old = configuration[1], new = configuration[2];
    const void *found = acpi_find("FACP", 36, 0);
    assert_non_null(found);
    configuration[0] = new;
    configuration[2] = other;
    assert_ptr_equal(acpi_find("FACP", 36, 0), found);
    configuration[0] = other;
    configuration[1] = old;
    assert_null(acpi_find("FACP", 36, 0)); /* the old one's is not looked at */
    configuration[2] = new;
    assert_ptr_equal(acpi_find("FACP", 36, 0), found);
    system_table.NumberOfTableEntries = 2;
    assert_null(acpi_find("FACP", 36, 0));
    system_table.NumberOfTableEntries = 3;
    configuration[2].VendorTable = NULL;
    assert_null(acpi_find("FACP", 36, 0));
}

static void root_checksum(void)
{
    uint8_t total = 0;
    ROOT[8] = 0;
    for (unsigned i = 0; i < 20; i++)
        total = (uint8_t)(total + ROOT[i]);
    ROOT[8] = (uint8_t)-total;
}

static void the_wide_list_is_used_from_revision_2_and_no_other(void **state)
{
    static const struct {
        uint8_t revision;
        bool xsdt, rsdt, found;
    } cases[] = {
        {0, false, true, false}, {0, true, true, false}, {0, true, false, false},
        {1, true, false, false}, {2, true, false, true}, {2, false, true, false},
        {2, true, true, true},   {3, true, false, true}, {2, false, false, false},
    };
    (void)state;
    attach();
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        acpi_build(cases[i].revision, cases[i].xsdt, cases[i].rsdt);
        assert_int_equal(acpi_find("FACP", 244, 0) != NULL, cases[i].found);
    }
    acpi_build(2, true, true);
    RSDT[9]++; /* nobody looks there */
    assert_non_null(acpi_find("FACP", 244, 0));
}

static void what_is_damaged_is_not_believed(void **state)
{
    (void)state;
    attach();
    acpi_build(2, true, true);
    ROOT[0] = 'r';
    root_checksum();
    assert_null(acpi_find("FACP", 244, 0));
    acpi_build(2, true, true);
    memcpy(XSDT + 4, &(uint32_t){35}, 4);
    acpi_seal(XSDT);
    assert_null(acpi_find("FACP", 244, 0));
}

static void a_wrong_checksum_is_told_once_and_the_table_is_used(void **state)
{
    static const struct {
        unsigned root;
        bool list, table;
        const char *told;
    } cases[] = {
        {0, false, false, ""},
        {10, false, false, "RSDP "},
        {19, false, false, "RSDP "},
        {33, false, false, ""},
        {0, true, false, "XSDT "},
        {0, false, true, "FACP "},
        {10, true, true, "RSDP XSDT FACP "},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        attach();
        acpi_build(2, true, true);
        uint8_t *fadt = (uint8_t *)(uintptr_t)acpi_find("FACP", 244, 0);
        ROOT[cases[i].root]++;
        ROOT[0] = 'R';
        XSDT[10] += cases[i].list;
        fadt[243] += cases[i].table;
        for (unsigned again = 0; again < 2; again++)
            assert_ptr_equal(acpi_find("FACP", 244, 0), fadt);
        assert_string_equal(boot.acpi_wrong_sums, cases[i].told);
    }
    attach();
    acpi_build(2, true, true);
    ROOT[10]++;
    char name[] = "TES0";
    for (; name[3] <= '4'; name[3]++) {
        uint8_t *table = acpi_add("TEST", 40);
        memcpy(table, name, 4);
        assert_ptr_equal(acpi_find(name, 40, 0), table);
    }
    assert_string_equal(boot.acpi_wrong_sums, "RSDP TES0 TES1 TES2 TES3 "); /* as many as fit */
}

static void a_damaged_table_is_passed_over(void **state)
{
    (void)state;
    attach();
    acpi_build(2, true, true);
    uint8_t *first = acpi_add("TEST", 60), *second = acpi_add("TEST", 50);
    assert_ptr_equal(acpi_find("TEST", 36, 0), first);
    assert_ptr_equal(acpi_find("TEST", 36, 1), second);
    assert_null(acpi_find("TEST", 36, 2));
    assert_null(acpi_find("TEST", 51, 1)); /* what is shorter does not count */
    memcpy(first + 4, &(uint32_t){(16 << 20) + 1}, 4); /* no table is that long: nobody adds it up */
    assert_ptr_equal(acpi_find("TEST", 50, 0), second);
    assert_null(acpi_find("TEST", 51, 0)); /* shorter than asked for */
    memcpy(second + 4, &(uint32_t){20}, 4); /* shorter than its header */
    acpi_seal(second);
    assert_null(acpi_find("TEST", 0, 0));
    assert_null(acpi_find("TESS", 0, 0));
    second[4] = 36;
    acpi_seal(second);
    assert_ptr_equal(acpi_find("TEST", 36, 0), second);
}

static void a_list_ends_with_its_last_whole_entry(void **state)
{
    uint32_t length;
    (void)state;
    attach();
    acpi_build(2, true, true);
    void *table = acpi_add("LAST", 36);
    assert_ptr_equal(acpi_find("LAST", 36, 0), table);
    memcpy(&length, XSDT + 4, 4);
    length--;
    memcpy(XSDT + 4, &length, 4);
    acpi_seal(XSDT);
    assert_null(acpi_find("LAST", 36, 0));
}

/* ---- the clock ---- */

static uint8_t *fadt(void)
{
    return (uint8_t *)(uintptr_t)acpi_find("FACP", 116, 0);
}

static void assert_clock(const char *source, uint64_t hz)
{
    const char *found;
    uint64_t measured = clock_measure(&found);
    assert_string_equal(found, source);
    assert_in_range(measured, hz - hz / 10000, hz + hz / 10000);
    assert_int_equal(machine.stalls, strcmp(source, "ACPI PM timer") != 0);
    machine.stalls = 0;
}

static void any_speed_is_measured_at_any_time_of_the_timer(void **state)
{
    static const uint64_t speeds[] = {1000000000, 1996250000, 2400000000, 3793000000, 5100000000};
    (void)state;
    attach();
    for (unsigned i = 0; i < sizeof(speeds) / sizeof(*speeds); i++) {
        machine.hz = speeds[i];
        machine.tsc_per_access = speeds[i] / 1000000;
        /* The timer's 24 bits wrap in the first sample, in another one, in none. */
        for (uint64_t before = 0; before < 4; before++) {
            uint64_t ticks = (UINT64_C(5) << 24) - before * 100000;
            machine.tsc = (uint64_t)((unsigned __int128)ticks * machine.hz / machine.pm_hz);
            assert_clock("ACPI PM timer", speeds[i]);
        }
    }
}

/* A timer that is read so fast that it stands still most of the time. */
static void a_fast_port_is_no_dead_timer(void **state)
{
    (void)state;
    attach();
    machine.tsc_per_access = HZ / 50000000;
    assert_clock("ACPI PM timer", HZ);
}

static void one_interruption_does_no_harm(void **state)
{
    (void)state;
    attach();
    /* 20 ms between the reading of the timer and that of the TSC: if it is the first or the last, the sample is wrong by
     * 40 %. */
    machine.interrupted_rdtsc = 1u << 30;
    assert_clock("ACPI PM timer", HZ);
    unsigned reads = (1u << 30) - machine.interrupted_rdtsc, each = reads / 3;
    for (unsigned sample = 0; sample < 3; sample++)
        for (unsigned n = sample * each; n <= sample * each + 6; n++) {
            machine.interrupted_rdtsc = n > 3 ? n - 3 : n + 1;
            assert_clock("ACPI PM timer", HZ);
        }
    for (unsigned n = reads - 6; n <= reads; n++) {
        machine.interrupted_rdtsc = n;
        assert_clock("ACPI PM timer", HZ);
        assert_int_equal(machine.interrupted_rdtsc, 0);
    }
}

/* The ends of two samples of three, each 20 ms late. */
static void two_interruptions_do_no_harm(void **state)
{
    (void)state;
    attach();
    machine.interrupted_rdtsc = 1u << 30;
    assert_clock("ACPI PM timer", HZ);
    unsigned each = ((1u << 30) - machine.interrupted_rdtsc) / 3;
    for (unsigned n = each - 4; n <= each + 4; n++)
        for (unsigned then = each - 4; then <= each + 4; then++) {
            machine.interrupted_rdtsc = n;
            machine.interrupted_then = then;
            assert_clock("ACPI PM timer", HZ);
            assert_int_equal(machine.interrupted_then, 0);
        }
}

static void without_a_timer_the_firmware_waits(void **state)
{
    (void)state;
    attach();
    machine.pm_hz = 0; /* it stands still */
    assert_clock("UEFI's Stall()", HZ);
    acpi_build(2, false, false); /* nobody tells of it */
    assert_clock("UEFI's Stall()", HZ);
}

/* The FADT's two forms of the port, as ACPI 6.4, 5.2.9 has them; 0: the timer is not there. */
static void the_timers_port_is_where_the_fadt_says(void **state)
{
    static const struct {
        uint32_t length;
        uint8_t space;
        uint64_t wide;
        uint32_t narrow;
        uint16_t port;
    } cases[] = {
        {244, 1, 0x808, 0x408, 0x808},
        {220, 1, 0x808, 0x408, 0x808},
        {219, 1, 0x808, 0x408, 0x408},
        {116, 1, 0x808, 0x408, 0x408},
        {244, 0, 0x808, 0x408, 0x408},
        {244, 2, 0x808, 0x408, 0x408},
        {244, 1, 0, 0x408, 0x408},
        {244, 1, 0x10808, 0x408, 0x408},
        {244, 1, UINT64_C(0x100000808), 0x408, 0x408},
        {244, 1, 0xffff, 0x408, 0xffff},
        {244, 0, 0, 0xffff, 0xffff},
        {244, 0, 0, 0x10000, 0},
        {244, 0, 0, 0, 0},
        {115, 1, 0x808, 0x408, 0},
    };
    (void)state;
    attach();
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        acpi_build(2, true, true);
        uint8_t *table = fadt();
        memcpy(table + 4, &cases[i].length, 4);
        memcpy(table + 76, &cases[i].narrow, 4);
        table[208] = cases[i].space;
        memcpy(table + 212, &cases[i].wide, 8);
        acpi_seal(table);
        machine.pm_port = cases[i].port; /* access to another fails */
        assert_clock(cases[i].port != 0 ? "ACPI PM timer" : "UEFI's Stall()", HZ);
    }
}

/* ---- processors ---- */

static void look_for_cpus(unsigned count, const uint8_t *ids)
{
    attach();
    handoff.startup_base = handoff.cpu_count = handoff.cpus_left_out = 0;
    acpi_build(2, true, true);
    if (count > 0)
        machine_madt(count, ids);
    cpus_find();
}

static void the_boot_cpu_comes_first_under_its_own_id(void **state)
{
    static const uint8_t ids[] = {0, 2, 4, 6};
    (void)state;
    machine_leaf(1)->regs.ebx = 4 << 24 | 0xffffff;
    look_for_cpus(4, ids);
    assert_int_equal(handoff.cpu_count, 4);
    assert_int_equal(handoff.apic_ids[0], 4);
    assert_int_equal(handoff.apic_ids[1], 0);
    assert_int_equal(handoff.apic_ids[3], 6);

    /* Leaf 0xb has all 32 bits of it, where there is one. */
    machine_set_leaf(0xb, (struct cpuid){1, 2, 0, 0x12345});
    look_for_cpus(4, ids);
    assert_int_equal(handoff.cpu_count, 5);
    assert_int_equal(handoff.apic_ids[0], 0x12345);
    machine_leaf(0xb)->regs.ebx = 0; /* there, and says nothing */
    look_for_cpus(4, ids);
    assert_int_equal(handoff.apic_ids[0], 4);
    machine_leaf(0xb)->regs.ebx = 2;
    machine_leaf(0)->regs.eax = 0xb; /* the last one */
    look_for_cpus(4, ids);
    assert_int_equal(handoff.apic_ids[0], 0x12345);
    machine_leaf(0)->regs.eax = 0xa;
    look_for_cpus(4, ids);
    assert_int_equal(handoff.apic_ids[0], 4);
}

static void others_start_from_pages_below_1_mib(void **state)
{
    static const uint8_t ids[] = {0, 1};
    (void)state;
    look_for_cpus(2, ids);
    assert_int_equal(handoff.startup_base, 0x9c000);
    assert_int_equal(machine.pages[0].pages, HANDOFF_STARTUP_PAGES);
    memory_free();
    assert_true(machine_holds_nothing());
    memory_free(); /* nothing is left to be freed */

    machine.low_base = 0x1000; /* the lowest that serves */
    look_for_cpus(2, ids);
    assert_int_equal(handoff.startup_base, 0x1000);
    memory_free();
    machine.low_base = 0;
    look_for_cpus(2, ids);
    assert_int_equal(handoff.startup_base, 0);
    assert_int_equal(handoff.cpu_count, 2);
}

static void one_cpu_needs_none(void **state)
{
    (void)state;
    look_for_cpus(1, (const uint8_t[]){0});
    assert_int_equal(handoff.cpu_count, 1);
    assert_int_equal(handoff.startup_base, 0);
    look_for_cpus(0, NULL); /* no MADT */
    assert_int_equal(handoff.cpu_count, 1);
    assert_int_equal(handoff.cpus_left_out, 0);
    assert_true(machine_holds_nothing());
}

/* ---- date and time ---- */

static uint64_t read_wall(void)
{
    handoff.wall_seconds = 0;
    clock_read_wall();
    return handoff.wall_seconds;
}

static void set_time(int64_t seconds)
{
    struct tm t;
    gmtime_r(&(time_t){seconds}, &t);
    machine.time.Year = (UINT16)(t.tm_year + 1900);
    machine.time.Month = (UINT8)(t.tm_mon + 1);
    machine.time.Day = (UINT8)t.tm_mday;
    machine.time.Hour = (UINT8)t.tm_hour;
    machine.time.Minute = (UINT8)t.tm_min;
    machine.time.Second = (UINT8)t.tm_sec;
}

#define YEAR_2024 INT64_C(1704067200)
#define YEAR_2106 INT64_C(4291747200)

static void the_date_is_that_of_the_c_library(void **state)
{
    (void)state;
    machine_attach();
    for (int64_t at = YEAR_2024; at < YEAR_2106; at += 86399) { /* each day, at another time of it */
        set_time(at);
        assert_int_equal(read_wall(), at);
    }
    set_time(YEAR_2106 - 1);
    assert_int_equal(read_wall(), YEAR_2106 - 1);
}

static void the_tsc_is_that_at_which_the_time_was_read(void **state)
{
    (void)state;
    machine_attach();
    uint64_t before = machine.tsc;
    assert_int_equal(read_wall(), 1795955696);
    assert_in_range(handoff.wall_tsc, before + machine.hz, machine.tsc);
}

static void a_time_zone_is_heeded(void **state)
{
    static const struct {
        int16_t zone;
        uint8_t daylight;
        int minutes;
    } cases[] = {
        {-60, 0, -60},
        {-60, EFI_TIME_ADJUST_DAYLIGHT, -60},
        {-60, EFI_TIME_ADJUST_DAYLIGHT | EFI_TIME_IN_DAYLIGHT, -120},
        {0, 0, 0},
        {480, 0, 480},
        {-1440, 0, -1440},
        {1440, 0, 1440},
        {EFI_UNSPECIFIED_TIMEZONE, EFI_TIME_IN_DAYLIGHT, 0},
        {1441, 0, 0},
        {-1441, 0, 0},
    };
    (void)state;
    machine_attach();
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        machine.time.TimeZone = cases[i].zone;
        machine.time.Daylight = cases[i].daylight;
        assert_int_equal(read_wall(), 1795955696 + cases[i].minutes * 60);
    }
}

static void what_is_no_date_is_unknown(void **state)
{
    (void)state;
    machine_attach();
#define UNKNOWN(field, value)                 \
    do {                                      \
        EFI_TIME good = machine.time;         \
        assert_int_not_equal(read_wall(), 0); \
        machine.time.field = (value);         \
        assert_int_equal(read_wall(), 0);     \
        machine.time = good;                  \
    } while (0)
    UNKNOWN(Year, 2023); /* years behind */
    UNKNOWN(Year, 1999);
    UNKNOWN(Year, 0);
    UNKNOWN(Year, 2106);
    UNKNOWN(Year, 0xffff);
    UNKNOWN(Month, 0);
    UNKNOWN(Month, 13);
    UNKNOWN(Day, 0);
    UNKNOWN(Day, 32);
    UNKNOWN(Hour, 24);
    UNKNOWN(Minute, 60);
    UNKNOWN(Second, 60);
    machine.time_status = EFI_DEVICE_ERROR;
    assert_int_equal(read_wall(), 0);
}

#define T(name) cmocka_unit_test_setup(name, machine_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_newer_root_is_taken_wherever_it_stands),
        T(the_wide_list_is_used_from_revision_2_and_no_other),
        T(what_is_damaged_is_not_believed),
        T(a_wrong_checksum_is_told_once_and_the_table_is_used),
        T(a_damaged_table_is_passed_over),
        T(a_list_ends_with_its_last_whole_entry),
        T(any_speed_is_measured_at_any_time_of_the_timer),
        T(a_fast_port_is_no_dead_timer),
        T(one_interruption_does_no_harm),
        T(two_interruptions_do_no_harm),
        T(without_a_timer_the_firmware_waits),
        T(the_timers_port_is_where_the_fadt_says),
        T(the_date_is_that_of_the_c_library),
        T(the_tsc_is_that_at_which_the_time_was_read),
        T(a_time_zone_is_heeded),
        T(what_is_no_date_is_unknown),
        T(the_boot_cpu_comes_first_under_its_own_id),
        T(others_start_from_pages_below_1_mib),
        T(one_cpu_needs_none),
    };
    return run_each_alone(tests, sizeof(tests) / sizeof(*tests));
}
