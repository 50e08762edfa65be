/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Where real machines have their Secure Processors, and what those have answered (tests/unit/boards). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "psp/internal.h"
#include "../boards/boards.h"
#include "fake_pci.h"
#include "status_name.h"

#define AMD 0x1022

/* Linux drivers/crypto/ccp/sp-pci.c: pspv1 (Naples) has its feature register elsewhere than all later ones. */
static uint32_t feature_offset(uint16_t device)
{
    return device == 0x1456 ? 0x105fc : 0x109fc;
}

struct registers {
    uint32_t offset, feature;
};
static struct registers registers[FAKE_PCI_FUNCTIONS];

static uint32_t only_feature(void *opaque, uint32_t offset)
{
    const struct registers *r = opaque;
    return offset == r->offset ? r->feature : UINT32_MAX - 1;       /* SEV bit clear, not all ones */
}

/* `sev`: those that have the mailbox do so; else none does. */
static void build(const struct board *board, bool sev)
{
    fake_pci_reset();
    for (uint32_t i = 0; i < board->function_count; i++) {
        const struct board_function *b = &board->functions[i];
        struct fake_function *f = NULL;
        for (unsigned k = 0; k < fake_pci.count; k++)
            if (fake_pci.functions[k].sbdf == b->bdf)
                f = &fake_pci.functions[k];         /* function 0, which came with another one */
        if (f != NULL) {
            f->config[0] = (uint32_t)b->device << 16 | AMD;
            continue;
        }
        f = fake_pci_add(b->bdf, AMD, b->device, b->bar, b->size > 0 ? b->size : 0x100000);
        if (!b->wide && b->psp) {
            f->config[6] &= ~6u;
            f->config[7] = 0;
            f->bar3_mask = 0;
        }
        f->config[6] |= b->prefetchable ? 8 : 0;
        registers[i] = (struct registers){feature_offset(b->device), b->sev && sev ? 1 : 2};
        f->read = only_feature;
        f->opaque = &registers[i];
    }
}

static void assert_only_psps_were_touched(const struct board *board)
{
    assert_int_equal(fake_pci.violations, 0);
    assert_int_equal(fake_pci.mapped, 0);
    for (unsigned k = 0; k < fake_pci.count; k++)
        for (uint32_t i = 0; i < board->function_count; i++)
            if (board->functions[i].bdf == fake_pci.functions[k].sbdf && !board->functions[i].psp)
                assert_int_equal(fake_pci.functions[k].config_writes, 0);
}

static void each_boards_secure_processor_with_sev_is_found(void **state)
{
    uint32_t found = 0;
    (void)state;
    for (uint32_t n = 0; n < board_count; n++) {
        const struct board *board = &boards[n];
        const struct board_function *want = NULL;
        for (uint32_t i = board->function_count; i-- > 0;)
            want = board->functions[i].sev ? &board->functions[i] : want;
        if (want == NULL)
            continue;
        print_message("%s\n", board->name);
        found++;
        struct psp_location location;
        build(board, true);
        assert_int_equal(fake_pci_discover(&location), PSP_OK);
        assert_int_equal(location.function.sbdf, want->bdf);
        assert_int_equal(location.device_id, want->device);
        assert_int_equal(location.bar, want->bar);
        assert_int_equal(location.bar_size, want->size);
        assert_only_psps_were_touched(board);
        build(board, false);
        assert_int_equal(fake_pci_discover(&location), PSP_NO_SEV);
        assert_only_psps_were_touched(board);
    }
    assert_true(found >= 15);
}

static void what_real_machines_have_answered_has_a_name_and_a_remedy(void **state)
{
    uint32_t found = 0;
    (void)state;
    for (uint32_t n = 0; n < board_count; n++) {
        for (uint32_t i = 0; i < boards[n].status_count; i++) {
            const struct board_status *s = &boards[n].statuses[i];
            print_message("%s: command 0x%02x, status 0x%x\n", boards[n].name, s->command, s->status);
            found++;
            assert_string_not_equal(sev_status_remedy(s->command, s->status), "");
            if (strncmp(boards[n].name, "synthetic", 9) != 0)      /* those answer what no machine has */
                assert_null(strstr(status_name(s->status), "unknown"));
        }
    }
    assert_true(found >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_boards_secure_processor_with_sev_is_found),
        cmocka_unit_test(what_real_machines_have_answered_has_a_name_and_a_remedy),
    };
    return cmocka_run_group_tests_name("boards", tests, NULL, NULL);
}
