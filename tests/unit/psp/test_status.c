/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the operator reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "psp/psp.h"

static const char *text_of(enum psp_error error, uint8_t command, uint16_t status)
{
    static char text[256];

    psp_result_text((struct psp_result){.error = error, .command = command, .status = status}, text, sizeof(text));
    return text;
}

static void refusal_names_command_status_code_and_sentence(void **state)
{
    (void)state;
    assert_string_equal(text_of(PSP_FIRMWARE, SEV_CMD_GET_ID, SEV_STATUS_INVALID_LENGTH),
                        "GET_ID: INVALID_LENGTH (0x04): a buffer has the wrong length");
    assert_string_equal(text_of(PSP_FIRMWARE, SEV_CMD_SHUTDOWN, 0xab),
                        "SHUTDOWN: unknown status (0xab): no document names this status");
}

/* Every cause with its remedy, and no others; 0: whatever the command. */
static void known_causes_come_with_their_remedy(void **state)
{
    static const struct {
        uint8_t command;
        uint16_t status;
        const char *word;
    } known[] = {
        {SEV_CMD_INIT, SEV_STATUS_HWERROR_PLATFORM, "SMEE"},
        {SEV_CMD_INIT, SEV_STATUS_INVALID_PLATFORM_STATE, "Disable SEV-SNP"},
        {SEV_CMD_INIT, SEV_STATUS_SECURE_DATA_INVALID, "flash"},
        {SEV_CMD_INIT, 0x8003, "0.16 build 10"},
        {SEV_CMD_INIT, 0x8004, "0.16 build 10"},
        {SEV_CMD_ACTIVATE, SEV_STATUS_INVALID_ASID, "SEV-ES ASID space limit"},
        {SEV_CMD_DOWNLOAD_FIRMWARE, SEV_STATUS_BAD_SIGNATURE, "another family"},
        {SEV_CMD_DOWNLOAD_FIRMWARE, SEV_STATUS_INVALID_PLATFORM_STATE, "reset the machine"},
        {SEV_CMD_DOWNLOAD_FIRMWARE, SEV_STATUS_INVALID_LENGTH, "not whole"},
        {SEV_CMD_LAUNCH_START, SEV_STATUS_INVALID_LENGTH, "2084-byte certificate"},
        {SEV_CMD_LAUNCH_START, SEV_STATUS_INVALID_CERTIFICATE, "no SEV certificate"},
        {SEV_CMD_LAUNCH_START, SEV_STATUS_BAD_MEASUREMENT, "this platform's PDH"},
        {SEV_CMD_LAUNCH_START, SEV_STATUS_POLICY_FAILURE, "newer SEV API"},
        {SEV_CMD_LAUNCH_START, SEV_STATUS_UNSUPPORTED, "SEV-ES"},
        {SEV_CMD_LAUNCH_START, SEV_STATUS_RESOURCE_LIMIT, "another encrypted guest"},
        {SEV_CMD_LAUNCH_SECRET, SEV_STATUS_BAD_MEASUREMENT, "another launch or session"},
        {SEV_CMD_PEK_CERT_IMPORT, SEV_STATUS_ALREADY_OWNED, "PLATFORM_RESET"},
        {SEV_CMD_SEND_START, SEV_STATUS_INVALID_CERTIFICATE, "AMD's root"},
        {SEV_CMD_SEND_START, SEV_STATUS_POLICY_FAILURE, "the same owner's"},
        {SEV_CMD_RECEIVE_START, SEV_STATUS_BAD_MEASUREMENT, "another platform"},
        {SEV_CMD_RECEIVE_UPDATE_DATA, SEV_STATUS_BAD_MEASUREMENT, "damaged"},
        {0, SEV_STATUS_WBINVD_REQUIRED, "WBINVD is needed on every core"},
        {0, SEV_STATUS_DF_FLUSH_REQUIRED, "DF_FLUSH must come first"},
        {0, SEV_STATUS_HWERROR_UNSAFE, "trust no guest"},
        {0, SEV_STATUS_HWERROR_PLATFORM, "off and on"},
        {0, SEV_STATUS_INVALID_COMMAND, "newer SEV firmware"},
        {0, SEV_STATUS_UNSUPPORTED, "newer SEV firmware"},
        {0, SEV_STATUS_BAD_SVN, "newer firmware image"},
        {0, SEV_STATUS_BAD_VERSION, "newer firmware image"},
        {0, SEV_STATUS_RING_BUFFER_EXIT, "try again"},
        /* What real boards answer to any command. */
        {SEV_CMD_INIT, SEV_STATUS_WBINVD_REQUIRED, "Also after WBINVD on every CPU"},
        {0, 0x8003, "Update the BIOS"},
        {0, 0x8004, "Update the BIOS"},
        {0, 0x9000, "Update the BIOS"},
    };

    (void)state;
    for (unsigned command = 1; command < 256; command++) {
        for (unsigned status = 0; status < 0x9100; status += status == 0x100 ? 0x7f00 : status == 0x8100 ? 0xf00 : 1) {
            const char *word = NULL, *remedy = sev_status_remedy((uint8_t)command, (uint16_t)status);

            for (unsigned i = sizeof(known) / sizeof(*known); i-- > 0;) {
                if (known[i].status == status && (known[i].command == command || (known[i].command == 0 && !word)))
                    word = known[i].word;
            }
            if (!word && status >= 0x100)
                word = "Update the BIOS for newer SEV firmware; enable SMEE";
            if (!word && command == SEV_CMD_INIT && status != 0)
                word = "Update the BIOS";       /* without INIT no encrypted guest runs */
            if (!word && command == SEV_CMD_PLATFORM_STATUS && status != 0)
                word = "off and on";            /* boot's table wants one for whatever it is */
            if (word)
                assert_non_null(strstr(remedy, word));
            else
                assert_string_equal(remedy, "");
        }
    }
    assert_non_null(strstr(text_of(PSP_FIRMWARE, SEV_CMD_INIT, SEV_STATUS_HWERROR_PLATFORM), "SMEE"));
}

/* Three were seen (AMDESE/AMDSEV issues 32, 36, 105, 246, sev-tool 6, 66); others of that kind are told so, too. */
static void undocumented_statuses_as_real_boards_answer_have_a_sentence_of_their_own(void **state)
{
    static const uint16_t statuses[] = {0x8003, 0x8004, 0x9000, 0x0100, 0x8001, 0xfffe, 0xffff};

    (void)state;
    for (unsigned i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
        const char *text = text_of(PSP_FIRMWARE, SEV_CMD_PLATFORM_STATUS, statuses[i]);

        assert_non_null(strstr(text, "PLATFORM_STATUS: undocumented status (0x"));
        assert_non_null(strstr(text, "boards with an old BIOS answered such"));
        assert_non_null(strstr(text, ". Update the BIOS"));
    }
}

static void transport_errors_say_so_without_a_status(void **state)
{
    (void)state;
    assert_string_equal(
        text_of(PSP_TIMEOUT, SEV_CMD_ACTIVATE, 0x1234),
        "ACTIVATE: no answer in time; the Secure Processor is not used again. Switch the machine off and on");
    assert_string_equal(text_of(PSP_NO_DEVICE, 0, 0), "no AMD Secure Processor with SEV");
    assert_string_equal(text_of(PSP_OK, SEV_CMD_INIT, 0), "INIT: done");
    assert_string_equal(text_of(PSP_STATE, 0xff, 0),
                        "unknown command: not possible in this platform state or with this firmware version");
}

static void every_error_has_its_own_text(void **state)
{
    (void)state;
    for (int a = PSP_OK; a <= PSP_FIRMWARE; a++) {
        assert_string_not_equal(psp_error_text((enum psp_error)a), "unknown error");
        for (int b = PSP_OK; b < a; b++)
            assert_string_not_equal(psp_error_text((enum psp_error)a), psp_error_text((enum psp_error)b));
    }
    assert_string_equal(psp_error_text((enum psp_error)(PSP_FIRMWARE + 1)), "unknown error");
}

static void text_is_cut_to_size_and_terminated(void **state)
{
    char whole[256];
    struct psp_result r = {.error = PSP_FIRMWARE, .command = SEV_CMD_INIT, .status = SEV_STATUS_HWERROR_PLATFORM};

    (void)state;
    psp_result_text(r, whole, sizeof(whole));
    for (unsigned size = 0; size < sizeof(whole); size++) {
        char *exact = malloc(size + 1); /* a byte too many, to see that it stays; beyond it is ASan's */

        memset(exact, '#', size + 1);
        psp_result_text(r, exact, size);
        assert_int_equal(exact[size], '#');
        if (size > 0) {
            size_t want = strlen(whole) < size ? strlen(whole) : size - 1;

            assert_int_equal(strlen(exact), want);
            assert_memory_equal(exact, whole, want);
        }
        free(exact);
    }
}

/* The console's lines and boot's table have their width. */
static void every_text_fits_the_operators_line(void **state)
{
    (void)state;
    for (unsigned command = 0; command < 256; command++) {
        for (unsigned status = 0; status <= UINT16_MAX;
             status += status < 0x100 || status >= 0x7fff ? 1 : 0x7fff - 0x100) {
            assert_true(strlen(sev_status_remedy((uint8_t)command, (uint16_t)status)) <= 104);
            assert_true(strlen(text_of(PSP_FIRMWARE, (uint8_t)command, (uint16_t)status)) < 200);
            if (status > 0x8100)
                break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusal_names_command_status_code_and_sentence),
        cmocka_unit_test(known_causes_come_with_their_remedy),
        cmocka_unit_test(undocumented_statuses_as_real_boards_answer_have_a_sentence_of_their_own),
        cmocka_unit_test(transport_errors_say_so_without_a_status),
        cmocka_unit_test(every_error_has_its_own_text),
        cmocka_unit_test(text_is_cut_to_size_and_terminated),
        cmocka_unit_test(every_text_fits_the_operators_line),
    };

    return cmocka_run_group_tests_name("psp status", tests, NULL, NULL);
}
