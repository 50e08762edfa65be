/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Discovery, linked with psp/discover.c alone, as boot/ does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "psp/internal.h"
#include "fake_pci.h"

#define AMD 0x1022
#define BAR UINT64_C(0x20f0200000)
#define MIB UINT64_C(0x100000)
#define CLASS 0x10800000u       /* encryption controller, other */

static int setup(void **state)
{
    (void)state;
    fake_pci_reset();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(fake_pci.violations, 0);
    assert_int_equal(fake_pci.mapped, 0);
    return 0;
}

static enum psp_error discover(struct psp_location *location)
{
    memset(location, 0xee, sizeof(*location));
    return fake_pci_discover(location);
}

/* The configuration space of `f` is what it was, but for memory decoding. */
static void assert_config_restored(const struct fake_function *f, const struct fake_function *before, bool decoding)
{
    struct fake_function want = *before;

    if (decoding)
        want.config[1] |= 2;
    assert_memory_equal(f->config, want.config, sizeof(f->config));
}

static void no_device_is_said_and_nothing_written(void **state)
{
    struct psp_location location;

    (void)state;
    assert_int_equal(discover(&location), PSP_NO_DEVICE);
}

static void each_generation_is_found(void **state)
{
    static const uint16_t ids[] = {0x1456, 0x1486, 0x14ca, 0x156e, 0x17d8};
    static const uint16_t functions[] = {2, 1, 5, 0, 1};

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct psp_location location;
        uint16_t bdf = FAKE_BDF(0x42, 0, functions[i]);

        fake_pci_reset();
        struct fake_function *f = fake_pci_add(bdf, AMD, ids[i], BAR, MIB);
        struct fake_function before = *f;

        assert_int_equal(discover(&location), PSP_OK);
        assert_int_equal(location.function.sbdf, bdf);
        assert_int_equal(location.device_id, ids[i]);
        assert_int_equal(location.bar, BAR);
        assert_int_equal(location.bar_size, MIB);
        assert_config_restored(f, &before, true);
        assert_int_equal(fake_pci.violations, 0);
        assert_int_equal(fake_pci.mapped, 0);
    }
}

static uint32_t only_feature(void *opaque, uint32_t offset)
{
    return offset == *(uint32_t *)opaque ? 1 : 0;
}

static void the_feature_register_is_the_generations(void **state)
{
    static const struct {
        uint16_t id;
        uint32_t offset;
    } parts[] = {
        {0x1456, 0x105fc}, {0x1486, 0x109fc}, {0x14ca, 0x109fc}, {0x156e, 0x109fc}, {0x17d8, 0x109fc},
    };

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct psp_location location;
        uint32_t offset = parts[i].offset;

        fake_pci_reset();
        struct fake_function *f = fake_pci_add(FAKE_BDF(1, 0, 0), AMD, parts[i].id, BAR, MIB);
        f->read = only_feature;
        f->opaque = &offset;
        assert_int_equal(discover(&location), PSP_OK);
        offset += 4;
        assert_int_equal(discover(&location), PSP_NO_SEV);
    }
}

static void bar_may_be_32_bits_wide(void **state)
{
    struct psp_location location;

    (void)state;
    struct fake_function *f = fake_pci_add(FAKE_BDF(3, 0, 0), AMD, 0x1486, 0xfe300000, MIB);
    f->config[6] &= ~6u;
    f->config[7] = 0xdeadbee0;  /* BAR 3 is another BAR, and none of our business */
    f->bar3_mask = 0xffffffe0;
    struct fake_function before = *f;

    assert_int_equal(discover(&location), PSP_OK);
    assert_int_equal(location.bar, 0xfe300000);
    assert_int_equal(location.bar_size, MIB);
    assert_config_restored(f, &before, true);
}

static void bar_above_4_gib_and_prefetchable_is_read_whole(void **state)
{
    struct psp_location location;

    (void)state;
    struct fake_function *f = fake_pci_add(FAKE_BDF(3, 0, 0), AMD, 0x1486, UINT64_C(0x800000000000), UINT64_C(1) << 33);
    f->config[6] |= 8;
    assert_int_equal(discover(&location), PSP_OK);
    assert_int_equal(location.bar, UINT64_C(0x800000000000));
    assert_int_equal(location.bar_size, UINT64_C(1) << 33);
}

static void lowest_of_two_is_taken(void **state)
{
    struct psp_location location;

    (void)state;
    struct fake_function *far = fake_pci_add(FAKE_BDF(0x81, 0, 2), AMD, 0x1486, BAR + MIB, MIB);
    fake_pci_add(FAKE_BDF(0x01, 0, 2), AMD, 0x1486, BAR, MIB);
    assert_int_equal(discover(&location), PSP_OK);
    assert_int_equal(location.function.sbdf, FAKE_BDF(0x01, 0, 2));
    assert_int_equal(far->config_writes, 0);
}

static void second_sockets_device_is_passed_over_and_left_as_it_was(void **state)
{
    struct psp_location location;

    (void)state;
    struct fake_function *other = fake_pci_add(FAKE_BDF(0x01, 0, 2), AMD, 0x1486, BAR, MIB);
    other->feature = 2; /* TEE, no SEV */
    other->config[1] |= 0x0401;
    struct fake_function before = *other;
    fake_pci_add(FAKE_BDF(0x81, 0, 2), AMD, 0x1486, BAR + MIB, MIB);

    assert_int_equal(discover(&location), PSP_OK);
    assert_int_equal(location.function.sbdf, FAKE_BDF(0x81, 0, 2));
    assert_config_restored(other, &before, false);
}

/* A newer part: found, and its id told, but not touched. What is known counts for more. */
static void unknown_encryption_controller_of_amds_is_named(void **state)
{
    struct psp_location location;

    (void)state;
    struct fake_function *f = fake_pci_add(FAKE_BDF(0x41, 0, 5), AMD, 0x1999, BAR, MIB);
    fake_pci_add(FAKE_BDF(0x61, 0, 5), AMD, 0x199a, BAR + MIB, MIB)->config[2] = CLASS;
    f->config[2] = CLASS | 0xff01;
    assert_int_equal(discover(&location), PSP_UNKNOWN);
    assert_int_equal(location.device_id, 0x1999);
    assert_int_equal(location.function.sbdf, FAKE_BDF(0x41, 0, 5));
    f->config[2] = 0x10000000;                  /* network encryption */
    assert_int_equal(discover(&location), PSP_UNKNOWN);
    assert_int_equal(location.device_id, 0x199a);
    for (unsigned i = 0; i < fake_pci.count; i++)
        assert_int_equal(fake_pci.functions[i].config_writes, 0);

    fake_pci_add(FAKE_BDF(0x71, 0, 0), AMD, 0x14ca, BAR + 2 * MIB, MIB)->feature = UINT32_MAX;
    assert_int_equal(discover(&location), PSP_BLOCKED);
    fake_pci_add(FAKE_BDF(0x81, 0, 0), AMD, 0x14ca, BAR + 3 * MIB, MIB);
    assert_int_equal(discover(&location), PSP_OK);
}

/* Told apart from none, with which one it is and what its registers read. */
static void device_without_sev_is_named_with_its_registers(void **state)
{
    struct psp_location location;

    (void)state;
    fake_pci_add(FAKE_BDF(1, 0, 0), AMD, 0x14ca, BAR, MIB)->feature = 0x1e;
    fake_pci_add(FAKE_BDF(2, 0, 0), AMD, 0x14ca, BAR + MIB, MIB)->feature = 0;      /* the other socket's */
    assert_int_equal(discover(&location), PSP_NO_SEV);
    assert_int_equal(location.function.sbdf, FAKE_BDF(1, 0, 0));
    assert_int_equal(location.device_id, 0x14ca);
    for (unsigned i = 0; i < PSP_CELLS; i++)
        assert_int_equal(location.cells[i], 0x1e);
    /* It says more than an unknown one does, before it or behind it. */
    fake_pci_add(FAKE_BDF(0, 1, 0), AMD, 0x1999, BAR + 2 * MIB, MIB)->config[2] = CLASS;
    fake_pci_add(FAKE_BDF(3, 0, 0), AMD, 0x1999, BAR + 3 * MIB, MIB)->config[2] = CLASS;
    assert_int_equal(discover(&location), PSP_NO_SEV);
    assert_int_equal(location.function.sbdf, FAKE_BDF(1, 0, 0));
}

static void hidden_device_is_blocked(void **state)
{
    struct psp_location location;

    (void)state;
    struct fake_function *f = fake_pci_add(FAKE_BDF(1, 0, 0), AMD, 0x14ca, BAR, MIB);
    f->feature = UINT32_MAX;
    struct fake_function before = *f;
    assert_int_equal(discover(&location), PSP_BLOCKED);
    assert_config_restored(f, &before, false);
    assert_int_equal(location.function.sbdf, FAKE_BDF(1, 0, 0));
    assert_int_equal(location.cells[PSP_CELL_FEATURE], UINT32_MAX);

    fake_pci_add(FAKE_BDF(2, 0, 0), AMD, 0x14ca, BAR + MIB, MIB)->feature = 0;
    assert_int_equal(discover(&location), PSP_BLOCKED);

    fake_pci_add(FAKE_BDF(3, 0, 0), AMD, 0x14ca, BAR + 2 * MIB, MIB);
    assert_int_equal(discover(&location), PSP_OK);
    assert_int_equal(location.function.sbdf, FAKE_BDF(3, 0, 0));
}

static void unusable_bar_is_blocked_and_restored(void **state)
{
    static const struct {
        uint32_t bar2, bar3, mask2, mask3;
    } bars[] = {
        {4, 0, 0xfff00000, UINT32_MAX},                   /* no address assigned */
        {0, 0, 0, 0},                                     /* no such register: zeros, whatever is written */
        {0xe001, 0, 0xffffff00, 0},                       /* I/O ports */
        {0xfe300002, 0, 0xfff00000, UINT32_MAX},          /* reserved type */
        {0xfe300006, 0, 0xfff00000, UINT32_MAX},          /* reserved type */
        {0xfe300004, 0, 0xffff0000, UINT32_MAX},          /* too small for the registers */
        {0xfe300004, 0, 0xff500000, UINT32_MAX},          /* size is no power of two */
        {0xfff00004, UINT32_MAX, 0xfff00000, UINT32_MAX}, /* ends beyond 64 bits */
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(bars) / sizeof(*bars); i++) {
        struct psp_location location;

        fake_pci_reset();
        struct fake_function *f = fake_pci_add(FAKE_BDF(1, 0, 0), AMD, 0x1486, BAR, MIB);
        f->config[6] = bars[i].bar2;
        f->config[7] = bars[i].bar3;
        f->bar2_mask = bars[i].mask2;
        f->bar3_mask = bars[i].mask3;
        struct fake_function before = *f;
        assert_int_equal(discover(&location), PSP_BLOCKED);
        assert_config_restored(f, &before, false);
        assert_int_equal(location.cells[PSP_CELL_FEATURE], 0);
        assert_int_equal(fake_pci.violations, 0);
        assert_int_equal(fake_pci.register_accesses, 0);
    }
}

static void mapping_failure_is_blocked(void **state)
{
    struct psp_location location;

    (void)state;
    fake_pci_add(FAKE_BDF(1, 0, 0), AMD, 0x1486, BAR, MIB);
    fake_pci.map_fails = true;
    assert_int_equal(discover(&location), PSP_BLOCKED);
}

static void running_decoder_is_stopped_while_sizing(void **state)
{
    struct psp_location location;

    (void)state;
    struct fake_function *f = fake_pci_add(FAKE_BDF(1, 0, 0), AMD, 0x1486, BAR, MIB);
    f->config[1] |= 0x0006; /* the BIOS left memory decoding and bus mastering on */
    struct fake_function before = *f;
    assert_int_equal(discover(&location), PSP_OK);  /* violations: teardown */
    assert_config_restored(f, &before, true);
}

static void other_functions_are_not_written_to(void **state)
{
    static const struct {
        uint16_t vendor, device;
    } others[] = {
        {AMD, 0x1537}, {AMD, 0x1468}, {AMD, 0x15df},    {AMD, 0x15c7},    {AMD, 0x1649},    {AMD, 0x1134},
        {AMD, 0x17e0}, {AMD, 0x115a}, {0x8086, 0x1486}, {0x1002, 0x156e}, {0x1002, 0x1999},
    };
    struct psp_location location;

    (void)state;
    for (unsigned i = 0; i < sizeof(others) / sizeof(*others); i++)
        fake_pci_add(FAKE_BDF(0x10 + i, 0, 0), others[i].vendor, others[i].device, BAR + i * MIB, MIB)->config[2] =
            CLASS;
    struct fake_function *bridge = fake_pci_add(FAKE_BDF(9, 0, 0), AMD, 0x1486, BAR + 9 * MIB, MIB);
    bridge->config[3] = 0x00010000; /* layout 1: no BAR 2 */
    assert_int_equal(discover(&location), PSP_NO_DEVICE);
    for (unsigned i = 0; i < fake_pci.count; i++)
        assert_int_equal(fake_pci.functions[i].config_writes, 0);
}

/* As Linux does (sp_pci_is_master()): the lowest segment's, then the lowest of that. */
static void it_may_be_in_any_segment(void **state)
{
    struct psp_location location;

    (void)state;
    fake_pci_add(0xffffffff, AMD, 0x156e, BAR + 3 * MIB, MIB);
    assert_int_equal(discover(&location), PSP_OK);
    assert_int_equal(location.function.sbdf, 0xffffffff);
    assert_int_equal(location.function.ecam, UINT64_C(0x3f0000000000) + (UINT64_C(0xffffffff) << 12));
    fake_pci_add(0x14105, AMD, 0x156e, BAR, MIB)->feature = 0;
    assert_int_equal(discover(&location), PSP_OK);
    assert_int_equal(location.function.sbdf, 0xffffffff);
    struct fake_function *other = fake_pci_add(0x1c105, AMD, 0x156e, BAR + MIB, MIB);
    assert_int_equal(discover(&location), PSP_OK);
    assert_int_equal(location.function.sbdf, 0x1c105);
    fake_pci_add(0xc105, AMD, 0x1999, BAR + 2 * MIB, MIB)->config[2] = CLASS;
    assert_int_equal(discover(&location), PSP_OK);
    assert_int_equal(location.device_id, 0x156e);
    other->feature = UINT32_MAX;
    assert_int_equal(discover(&location), PSP_OK);
    assert_int_equal(location.function.sbdf, 0xffffffff);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(no_device_is_said_and_nothing_written),
        TEST(each_generation_is_found),
        TEST(the_feature_register_is_the_generations),
        TEST(bar_may_be_32_bits_wide),
        TEST(bar_above_4_gib_and_prefetchable_is_read_whole),
        TEST(lowest_of_two_is_taken),
        TEST(second_sockets_device_is_passed_over_and_left_as_it_was),
        TEST(unknown_encryption_controller_of_amds_is_named),
        TEST(device_without_sev_is_named_with_its_registers),
        TEST(hidden_device_is_blocked),
        TEST(unusable_bar_is_blocked_and_restored),
        TEST(mapping_failure_is_blocked),
        TEST(running_decoder_is_stopped_while_sizing),
        TEST(other_functions_are_not_written_to),
        TEST(it_may_be_in_any_segment),
    };

    return cmocka_run_group_tests_name("psp discovery", tests, NULL, NULL);
}
