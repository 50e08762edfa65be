/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include "hv/dev/vpower.h"

static int after(uint16_t port, uint8_t value)
{
    struct vpower_verdict power = vpower_write(port, value);
    assert_int_equal(power.reason != NULL, power.verdict != VPOWER_GOES_ON);
    return power.verdict;
}

static void only_s5_with_slp_en_powers_off(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++) {
        bool s5 = (value & 0x20) != 0 && (value >> 2 & 7) == 5;
        assert_int_equal(after(0x600, (uint8_t)value), s5 ? VPOWER_OFF : VPOWER_GOES_ON);
    }
}

static void only_the_reset_value_resets(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++)
        assert_int_equal(after(0x602, (uint8_t)value), value == 1 ? VPOWER_RESETS : VPOWER_GOES_ON);
}

static void the_status_register_takes_no_orders_and_says_awake(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++)
        assert_int_equal(after(0x601, (uint8_t)value), VPOWER_GOES_ON);
    assert_int_equal(vpower_read(0x601), 0x80);
    assert_int_equal(vpower_read(0x600), 0);
    assert_int_equal(vpower_read(0x602), 0);
}

static void a_pcs_own_reset_ports_reset_by_their_bits(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value++) {
        bool pulse = value >= 0xf0 && (value & 1) == 0;
        assert_int_equal(after(0x64, (uint8_t)value), pulse ? VPOWER_RESETS : VPOWER_GOES_ON);
        assert_int_equal(after(0xcf9, (uint8_t)value), (value & 4) != 0 ? VPOWER_RESETS : VPOWER_GOES_ON);
    }
    assert_int_equal(vpower_read(0x64), 0xff);
    assert_int_equal(vpower_read(0xcf9), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_s5_with_slp_en_powers_off),
        cmocka_unit_test(only_the_reset_value_resets),
        cmocka_unit_test(the_status_register_takes_no_orders_and_says_awake),
        cmocka_unit_test(a_pcs_own_reset_ports_reset_by_their_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
