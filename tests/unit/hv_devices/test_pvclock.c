/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "hv/cpu/clock.h"
#include "hv/mm/window.h"
#include "hv/vm/guest.h"
#include "hv/vm/vcpu_clock.h"
#include "hv/vm/vcpu.h"

#define RAM_SIZE (UINT64_C(4) << 20)

typedef unsigned __int128 u128;

static uint8_t page[4096 + 64];     /* the guest's page 0x3000, and what must not be touched */
uint8_t *fake_arena;                /* unused: there is no pool, and a page's address is its own */
static unsigned maps, unmaps;
static const uint64_t hz = 3000000000;

/* The guest's memory begins at 0. */
void *window_map_own(paddr_t base, enum memory_view view)
{
    assert_true(base.raw < RAM_SIZE && base.raw % PAGE_SIZE == 0 && view == VIEW_PLAIN);
    maps++;
    return page;
}

void clflush(const void *va)
{
    (void)va;
    abort();
}

void window_unmap_own(void)
{
    unmaps++;
}

uint64_t rdtsc(void)
{
    return 0;
}

/* Nanoseconds since 1970 when the TSC was 0; a whole number of cycles before a second. */
static void boot_wall_is(uint64_t ns)
{
    uint64_t seconds = ns != 0 ? ns / NS_PER_S + 1 : 0;
    clock_init(hz, seconds, (seconds * NS_PER_S - ns) * 3);
}

static struct manifest_guest config;
static struct guest guest = {.config = &config, .memory = {.size = RAM_SIZE}};
static struct vmcb vmcb;
static struct vcpu vcpu;

static int setup(void **state)
{
    (void)state;
    memset(page, 0x5a, sizeof(page));
    static uint64_t root[512]; /* maps nothing: who writes is told by hv_vcpu's tests */
    memset(&vcpu, 0, sizeof(vcpu));
    memset(&vmcb, 0, sizeof(vmcb));
    guest.npt.root = paddr((uintptr_t)root);
    vcpu.guest = &guest;
    vcpu.vmcb = &vmcb;
    maps = unmaps = 0;
    boot_wall_is(0);
    return 0;
}

static uint32_t u32(unsigned at)
{
    uint32_t v;
    memcpy(&v, page + at, 4);
    return v;
}
static uint64_t u64(unsigned at)
{
    uint64_t v;
    memcpy(&v, page + at, 8);
    return v;
}

/* What a guest makes of a TSC difference. */
static uint64_t guest_ns(struct pvclock_scale s, uint64_t tsc)
{
    u128 shifted = s.shift < 0 ? (u128)tsc >> -s.shift : (u128)tsc << s.shift;
    return (uint64_t)(shifted * s.mul >> 32);
}

static void the_scale_is_exact_to_its_last_bit(void **state)
{
    (void)state;
    uint64_t r = 1, in_range = 0;
    for (unsigned i = 0; i < 200000; i++) {
        r = r * 6364136223846793005u + 1442695040888963407u;
        uint64_t f = i < 4000 ? i + 1 : (r >> 8) % (UINT64_C(1) << (10 + i % 40)) + 1;
        struct pvclock_scale s = pvclock_scale(f);
        assert_true(s.mul >= UINT32_C(1) << 31 || f > UINT64_C(8000000000));
        in_range += f > 1000000 && f <= UINT64_C(8000000000);
        /* mul = floor(2^32 * 10^9 / (f * 2^shift)) */
        u128 numerator = (u128)1000000000 << 32, denominator = f;
        if (s.shift < 0)
            numerator <<= -s.shift;
        else
            denominator <<= s.shift;
        assert_true((u128)s.mul * denominator <= numerator && ((u128)s.mul + 1) * denominator > numerator);
    }
    assert_true(in_range > 50000);
}

static void a_day_of_tsc_is_a_day_of_nanoseconds(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1000000,    999999999,  1000000000, 1000000001, 2249998000,
                                     2450000123, 3000000000, 3999999999, 4000000000, 5700000000};
    for (unsigned i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
        uint64_t day = 86400 * rates[i], ns = guest_ns(pvclock_scale(rates[i]), day);
        assert_true(ns <= UINT64_C(86400000000000) && ns >= UINT64_C(86400000000000) - 50000);
    }
}

static void a_frequency_of_zero_does_not_hang(void **state)
{
    (void)state;
    pvclock_scale(0);
    pvclock_scale(1);
    pvclock_scale((UINT64_C(1) << 62) - 1);
}

static void system_time_is_zero_where_the_guests_tsc_is(void **state)
{
    (void)state;
    assert_true(vcpu_clock_write_system_time(&vcpu, 0x3040 | 1));
    assert_int_equal(u32(0x40), 2);             /* even: complete */
    assert_int_equal(u64(0x48), 0);
    assert_int_equal(u64(0x50), 0);
    struct pvclock_scale s = pvclock_scale(hz);
    assert_int_equal(u32(0x58), s.mul);
    assert_int_equal((int8_t)page[0x5c], s.shift);
    assert_int_equal(page[0x5d], 1);            /* stable */
    assert_int_equal(page[0x3f], 0x5a);
    assert_int_equal(page[0x60], 0x5a);
    assert_int_equal(vcpu.pvclock.system_time_msr, 0x3041);
    assert_true(vcpu_clock_write_system_time(&vcpu, 0x3040 | 1));
    assert_int_equal(u32(0x40), 4);
    assert_true(vcpu_clock_write_system_time(&vcpu, 0));
    assert_int_equal(vcpu.pvclock.system_time_msr, 0);
    assert_int_equal(u32(0x40), 4);
    assert_true(maps == 2 && unmaps == 2);
}

static void wall_clock_is_that_of_the_guests_tsc_zero(void **state)
{
    (void)state;
    boot_wall_is(UINT64_C(1700000000) * 1000000000 + 5);
    vmcb.tsc_offset = -(10 * hz);               /* the guest began 10 s after the host */
    assert_true(vcpu_clock_write_wall(&vcpu, 0x3000));
    assert_int_equal(u32(0), 2);
    assert_int_equal(u32(4), 1700000010);
    assert_int_equal(u32(8), 5);
    assert_int_equal(page[12], 0x5a);
    vmcb.tsc_offset = 3 * hz;                   /* its TSC was set ahead */
    assert_true(vcpu_clock_write_wall(&vcpu, 0x3ff4));
    assert_int_equal(u32(0xff8), 1699999997);
    boot_wall_is(0);                              /* unknown */
    assert_true(vcpu_clock_write_wall(&vcpu, 0x3000));
    assert_int_equal(u32(4), 0);
    boot_wall_is(1);
    vmcb.tsc_offset = INT64_MAX;
    assert_true(vcpu_clock_write_wall(&vcpu, 0x3000));
    assert_int_equal(u32(4), 0);
}

static void bad_addresses_fault_and_write_nothing(void **state)
{
    (void)state;
    static const uint64_t system[] = {
        0x3002 | 1,
        0x3fe4 | 1,
        0x3ffc | 1,
        RAM_SIZE | 1,
        (RAM_SIZE - 28) | 1,
        UINT64_MAX,
        (UINT64_C(1) << 51) | 0x3001,
        0xfffffffffffffff1,
        0x8000000000000001,
    };
    static const uint64_t wall[] = {
        0x3001, 0x3002, 0x3003, 0x3ff8, 0x3ffc, RAM_SIZE, RAM_SIZE - 8, UINT64_MAX, 0xfffffffffffffff4};
    for (unsigned i = 0; i < sizeof(system) / sizeof(*system); i++)
        assert_false(vcpu_clock_write_system_time(&vcpu, system[i]));
    for (unsigned i = 0; i < sizeof(wall) / sizeof(*wall); i++)
        assert_false(vcpu_clock_write_wall(&vcpu, wall[i]));
    assert_int_equal(vcpu.pvclock.system_time_msr, 0);
    assert_int_equal(maps, 0);
    for (unsigned i = 0; i < sizeof(page); i++)
        assert_int_equal(page[i], 0x5a);
    assert_true(vcpu_clock_write_system_time(&vcpu, 0x3fe0 | 1));      /* the last that fits */
    assert_int_equal(page[4096], 0x5a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, setup)
        T(the_scale_is_exact_to_its_last_bit),        T(a_day_of_tsc_is_a_day_of_nanoseconds),
        T(a_frequency_of_zero_does_not_hang),         T(system_time_is_zero_where_the_guests_tsc_is),
        T(wall_clock_is_that_of_the_guests_tsc_zero), T(bad_addresses_fault_and_write_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
