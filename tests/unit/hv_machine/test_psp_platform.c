/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What psp/ asks of hv: configuration space, registers, time, pages. */
#include "fake_cpu.h"

#include "hv/cpu/clock.h"
#include "hv/lib/mmio.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/page.h"
#include "hv/mm/window.h"
#include "psp/platform.h"

static uint32_t registers[4];

volatile void *mmio_map(paddr_t base, uint64_t size)
{
    note("map %lx %lx", base.raw, size);
    return registers;
}

void mmio_unmap(volatile void *va, uint64_t size)
{
    assert_ptr_equal((void *)(uintptr_t)va, registers);
    note("unmap %lx", size);
}

/* PCI 3.0, 3.2.2.3.2: configuration mechanism 1; in other segments the page of the function alone is mapped. */
static void configuration_space_is_reached_by_ports_or_as_memory(void **state)
{
    const struct psp_function first = {0x4101, 0}, last = {0xffff, 0}, other = {0x14101, UINT64_C(0x3ffb04101000)};
    (void)state;
    assert_int_equal(psp_platform_pci_read32(first, 0x1b), ~UINT32_C(0x80410118));
    psp_platform_pci_write32(last, 0x04, 0x12345678);
    assert_string_equal(did, "cli\npci 80410118 read\ncli\npci 80ffff04 write 12345678\n");
    did[0] = '\0';
    psp_platform_pci_write32(other, 0x04, 0x12345678);
    assert_int_equal(registers[1], 0x12345678);
    registers[2] = 88;
    assert_int_equal(psp_platform_pci_read32(other, 0x08), 88);
    assert_string_equal(did, "map 3ffb04101000 1000\nunmap 1000\nmap 3ffb04101000 1000\nunmap 1000\n");
}

static void registers_are_mapped_read_and_written(void **state)
{
    (void)state;
    volatile void *mapped = psp_platform_map_mmio(UINT64_C(0x123456000), 0x11000);
    mmio_write32(mapped, 8, 0xabcd);
    assert_int_equal(registers[2], 0xabcd);
    registers[3] = 77;
    assert_int_equal(mmio_read32(mapped, 12), 77);
    psp_platform_unmap_mmio(mapped, 0x11000);
    assert_string_equal(did, "map 123456000 11000\nunmap 11000\n");
}

static void pages_are_taken_once_and_are_encrypted(void **state)
{
    psp_addr_t address, again, data;
    (void)state;
    void *page = psp_platform_command_page(&address);
    assert_ptr_equal(psp_platform_command_page(&again), page);
    assert_int_equal(address.raw, page_pa(page).raw | FAKE_C_BIT);
    assert_int_equal(again.raw, address.raw);
    assert_ptr_not_equal(psp_platform_data_page(&data), page);
    assert_int_not_equal(data.raw, address.raw);
    assert_string_equal(did, "page_alloc 1\npage_alloc 1\n");
}

static void the_rest_is_hvs(void **state)
{
    (void)state;
    clock_init(1000000, 0, 0);
    fake_tsc += 4321;
    assert_int_equal(psp_platform_now_us(), 4321);
    psp_platform_log("words");
    char expected[64];
    snprintf(expected, sizeof(expected), "log %d psp: words\n", LOG_ERROR);
    assert_string_equal(did, expected);
}

#define T(name) cmocka_unit_test_setup(name, fake_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(configuration_space_is_reached_by_ports_or_as_memory),
        T(registers_are_mapped_read_and_written),
        T(pages_are_taken_once_and_are_encrypted),
        T(the_rest_is_hvs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
