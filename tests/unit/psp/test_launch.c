/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Attaching, platform commands and launches where nothing goes wrong, and what the driver itself refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include "../cmocka_names.h"

#include "../firmware/signed_image.h"
#include "launch.h"

static struct launch l;

static void start(struct fake_options options)
{
    fake_start(&options);
}

static int stop(void **state)
{
    (void)state;
    assert_int_equal(fake.violations, 0);
    assert_int_equal(fake_pci.violations, 0);
    psp_detach(&l.psp);
    assert_int_equal(fake_pci.mapped, 0);
    fake_stop();
    return 0;
}

/* The n-th submission of `command`, from 0. */
static const struct fake_submission *submitted(uint8_t command, unsigned n)
{
    for (unsigned i = 0; i < fake.submissions && i < FAKE_LOG; i++) {
        if (fake.log[i].command == command && n-- == 0)
            return &fake.log[i];
    }
    fail_msg("%s was not submitted often enough", sev_command_name(command));
    return NULL;
}

static void discovery_finds_the_function_that_attach_wants(void **state)
{
    (void)state;
    for (uint32_t segment = 0; segment <= 0xffff; segment += 0xffff) {
        struct psp_location location;

        start((struct fake_options){.segment = (uint16_t)segment});
        assert_int_equal(fake_pci_discover(&location), PSP_OK);
        assert_int_equal(location.function.sbdf, segment << 16 | FAKE_BDF(0x42, 0, 1));
        assert_int_equal(location.function.ecam != 0, segment != 0);
        assert_int_equal(location.bar, FAKE_BAR);
        assert_int_equal(launch_try_to_attach(&l, &location).error, PSP_OK);
        if (segment == 0) {
            psp_detach(&l.psp);
            fake_stop();
        }
    }
}

static void attach_reads_the_status_with_polling_and_bus_mastering_on(void **state)
{
    const struct psp_generation *generation = psp_generation_of(0x1486);

    (void)state;
    start((struct fake_options){.api_major = 1, .api_minor = 49, .latency_us = 300});
    /* As the firmware's own driver may have left it. */
    mailbox_write(fake.mailbox, generation->int_enable, 3, fake.now_ns);
    psp_platform_pci_write32(fake.location.function, 4, 0x0443);
    launch_attach(&l);
    assert_int_equal(l.psp.status.api_major, 1);
    assert_int_equal(l.psp.status.api_minor, 49);
    assert_int_equal(l.psp.status.build, 21);
    assert_int_equal(l.psp.status.state, SEV_PLATFORM_UNINIT);
    assert_int_equal(l.psp.commands, 1);
    assert_in_range(l.psp.command_us, 300, 400);
    assert_int_equal(mailbox_read(fake.mailbox, l.psp.generation->int_enable), 0);
    assert_int_equal(psp_platform_pci_read32(fake.location.function, 4) & 0xffff, 0x0447);
}

static void odd_bits(uint8_t *page, uint8_t *data)
{
    (void)data;
    page[3] = 0xfe;             /* owner */
    page[4] = 0xfe;             /* config */
    page[5] = 0xff;
}

static void all_bits(uint8_t *page, uint8_t *data)
{
    odd_bits(page, data);
    page[3] = page[4] = 0xff;
}

/* SEV API 5.6: of owner and config one bit each has a meaning. */
static void of_owner_and_config_one_bit_counts(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_attach(&l);
    for (unsigned bit = 0; bit < 2; bit++) {
        fake.tamper_command = SEV_CMD_PLATFORM_STATUS;
        fake.tamper = bit ? all_bits : odd_bits;
        assert_int_equal(launch_step(&l, SEV_CMD_PLATFORM_STATUS).error, PSP_OK);
        assert_int_equal(l.psp.status.owner, bit ? SEV_OWNER_EXTERNAL : 0);
        assert_int_equal(l.psp.status.config, bit ? SEV_CONFIG_ES : 0);
    }
}

/* SEV API 5.11: 64 bytes per socket, of which there are two at most. */
static void the_id_has_room_for_two_sockets(void **state)
{
    uint32_t length;

    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    assert_int_equal(launch_step(&l, SEV_CMD_GET_ID).error, PSP_OK);
    memcpy(&length, submitted(SEV_CMD_GET_ID, 0)->page + 8, 4);
    assert_int_equal(length, 128);
}

static void the_chain_is_written_pdh_first_to_the_callers_memory(void **state)
{
    static const uint32_t usages[] = {SEVFW_USAGE_PDH, SEVFW_USAGE_PEK, SEVFW_USAGE_OCA, SEVFW_USAGE_CEK};

    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    assert_int_equal(launch_step(&l, SEV_CMD_PDH_CERT_EXPORT).error, PSP_OK);
    const uint8_t *chain = fake_ram(fake_guest_page(8).raw);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(sevfw_get32(chain + i * SEV_CERT_SIZE + 8), usages[i]);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(chain[SEV_CHAIN_SIZE + i], 0);
    assert_true(sevfw_cert_signed_by(chain, chain + SEV_CERT_SIZE, SEVFW_USAGE_PEK) >= 0);
}

static void short_chain(uint8_t *page, uint8_t *data)
{
    (void)data;
    page[0x18]--;
}

static void a_chain_of_another_length_is_no_chain(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    fake.tamper_command = SEV_CMD_PDH_CERT_EXPORT;
    fake.tamper = short_chain;
    assert_int_equal(launch_step(&l, SEV_CMD_PDH_CERT_EXPORT).error, PSP_ANSWER);
}

/* A good image in the guest's pages; where it is. */
static psp_addr_t image(uint32_t version)
{
    psp_addr_t address = fake_guest_page(0);

    signed_image(fake.fw, fake_ram(address.raw), 0, version);
    return address;
}

static struct psp_result download(psp_addr_t address, uint32_t size)
{
    return psp_wait(&l.psp, sev_download_firmware(&l.psp, address, size));
}

static void newer_firmware_is_loaded_and_its_version_read(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_attach(&l);
    assert_int_equal(download(image(SEV_VERSION(1, 56, 3)), IMAGE_SIZE).error, PSP_OK);
    assert_int_equal(launch_step(&l, SEV_CMD_PLATFORM_STATUS).error, PSP_OK);
    assert_int_equal(sev_version_of(&l.psp.status), SEV_VERSION(1, 56, 3));
    assert_int_equal(fake.submissions, 3);      /* the two statuses */
    assert_int_equal(launch_init(&l).error, PSP_OK);
    assert_int_equal(download(image(SEV_VERSION(1, 56, 4)), IMAGE_SIZE).error, PSP_STATE);
    assert_int_equal(launch_run(&l).error, PSP_OK);
}

static void firmware_that_is_refused_leaves_the_old_one_at_work(void **state)
{
    char text[200];

    (void)state;
    start((struct fake_options){0});
    launch_attach(&l);
    psp_addr_t address = image(SEV_VERSION(1, 55, 40)), odd = {address.raw + 16};
    fake_ram(address.raw)[0x101] ^= 1;
    struct psp_result r = download(address, IMAGE_SIZE);
    assert_int_equal(r.error, PSP_FIRMWARE);
    assert_int_equal(r.status, SEV_STATUS_BAD_SIGNATURE);
    assert_int_equal(r.command, SEV_CMD_DOWNLOAD_FIRMWARE);
    psp_result_text(r, text, sizeof(text));
    assert_non_null(strstr(text, "another family"));
    assert_int_equal(sev_version_of(&l.psp.status), SEV_VERSION(1, 55, 21));

    unsigned before = fake.submissions;
    assert_int_equal(download(odd, IMAGE_SIZE).error, PSP_LENGTH);
    assert_int_equal(download(address, 0).error, PSP_LENGTH);
    assert_int_equal(fake.submissions, before);
    assert_int_equal(launch_init(&l).error, PSP_OK);
}

static void firmware_before_0_15_cannot_be_replaced(void **state)
{
    (void)state;
    start((struct fake_options){.api_minor = 14});
    launch_attach(&l);
    assert_int_equal(download(image(SEV_VERSION(1, 55, 40)), IMAGE_SIZE).error, PSP_STATE);
    assert_int_equal(l.psp.commands, 1);
}

static void firmware_that_is_known_to_fail_or_to_leak_is_named(void **state)
{
    (void)state;
    start((struct fake_options){0});
    enum { NAPLES = 0x1456, ROME_OR_MILAN = 0x1486, GENOA = 0x14ca, TURIN = 0x156e };
    assert_non_null(strstr(sev_version_fault(NAPLES, SEV_VERSION(0, 16, 9)), "INIT"));
    assert_non_null(strstr(sev_version_fault(NAPLES, SEV_VERSION(0, 16, 10)), "CVE-2019-9836"));
    assert_non_null(strstr(sev_version_fault(NAPLES, SEV_VERSION(0, 17, 11)), "CVE-2019-9836"));
    assert_null(sev_version_fault(NAPLES, SEV_VERSION(0, 17, 22)));
    assert_null(sev_version_fault(ROME_OR_MILAN, SEV_VERSION(1, 55, 21)));
    /* AMD-SB-3003: mended by 0.24 build 20 (Rome), 1.55 build 21 (Milan), 1.55 build 37 (Genoa, Bergamo). */
    static const struct {
        uint16_t device_id;
        uint32_t version;
        bool fault;
    } cases[] = {
        {ROME_OR_MILAN, SEV_VERSION(0, 17, 48), true},  {ROME_OR_MILAN, SEV_VERSION(0, 24, 19), true},
        {ROME_OR_MILAN, SEV_VERSION(0, 24, 20), false}, {ROME_OR_MILAN, SEV_VERSION(0, 24, 255), false},
        {ROME_OR_MILAN, SEV_VERSION(0, 31, 43), true},  {ROME_OR_MILAN, SEV_VERSION(1, 55, 20), true},
        {GENOA, SEV_VERSION(1, 55, 36), true},          {GENOA, SEV_VERSION(1, 55, 37), false},
        {NAPLES, SEV_VERSION(0, 17, 48), false},        {TURIN, SEV_VERSION(1, 55, 20), false},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *fault = sev_version_fault(cases[i].device_id, cases[i].version);
        assert_int_equal(fault != NULL, cases[i].fault);
        if (fault != NULL)
            assert_non_null(strstr(fault, "CVE-2023-31356"));
    }
}

static void init_and_shutdown_change_the_state(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    assert_int_equal(fake.log[1].command, SEV_CMD_INIT);
    assert_int_equal(fake.log[2].command, SEV_CMD_DF_FLUSH);
    assert_int_equal(fake.submissions, 3);
    assert_int_equal(l.psp.status.state, SEV_PLATFORM_INIT);
    assert_int_equal(launch_step(&l, SEV_CMD_PLATFORM_STATUS).error, PSP_OK);
    assert_int_equal(l.psp.status.state, SEV_PLATFORM_INIT);
    assert_int_equal(launch_step(&l, SEV_CMD_SHUTDOWN).error, PSP_OK);
    assert_int_equal(l.psp.status.state, SEV_PLATFORM_UNINIT);
    assert_int_equal(launch_init(&l).error, PSP_OK);
    assert_int_equal(launch_run(&l).error, PSP_OK);
}

/* Nobody waits in psp/: a command is outstanding until a poll finds its answer, and no other is sent or touches its pages. */
static void a_command_is_outstanding_until_a_poll_finds_its_answer(void **state)
{
    static const uint8_t blob[SEV_CERT_SIZE];
    struct psp_result r;

    (void)state;
    start((struct fake_options){.latency_us = 1000});
    launch_up(&l);
    assert_int_equal(launch_step(&l, SEV_CMD_LAUNCH_START).error, PSP_OK);
    assert_int_equal(launch_step(&l, SEV_CMD_ACTIVATE).error, PSP_OK);
    unsigned before = fake.submissions, polls = 0;
    uint64_t start_us = psp_platform_now_us();
    assert_int_equal(sev_launch_update_data(&l.psp, l.handle, fake_guest_page(0), 4096).error, PSP_OK);
    assert_int_equal(psp_platform_now_us(), start_us); /* no pause */
    assert_int_equal(fake.submissions, before + 1);
    assert_int_equal(sev_command(&l.psp, SEV_CMD_DF_FLUSH, 0).error, PSP_STATE);
    assert_int_equal(sev_guest_start(&l.psp, SEV_CMD_LAUNCH_START, 0, blob, blob).error, PSP_STATE);
    assert_int_equal(sev_launch_measure(&l.psp, l.handle).error, PSP_STATE);
    assert_int_equal(sev_get_id(&l.psp).error, PSP_STATE);
    assert_int_equal(fake.submissions, before + 1);
    for (; !psp_poll(&l.psp, &r); polls++) {
        assert_int_equal(psp_platform_now_us(), start_us + polls * 100);
        fake.now_ns += 100000;
    }
    assert_int_equal(polls, 10);
    assert_int_equal(r.error, PSP_OK);
    assert_int_equal(r.command, SEV_CMD_LAUNCH_UPDATE_DATA);
    assert_true(psp_poll(&l.psp, &r)); /* and then nothing is */
    assert_int_equal(r.error, PSP_STATE);
    launch_clean(&l);
}

static void init_with_smee_off_names_the_bios_option(void **state)
{
    char text[200];

    (void)state;
    start((struct fake_options){.no_syscfg = true});
    launch_attach(&l);
    struct psp_result r = launch_init(&l);
    assert_int_equal(r.error, PSP_FIRMWARE);
    assert_int_equal(r.status, SEV_STATUS_HWERROR_PLATFORM);
    psp_result_text(r, text, sizeof(text));
    assert_non_null(strstr(text, "SMEE"));
}

static void a_guest_lives_on_every_generation(void **state)
{
    static const uint16_t ids[] = {0x1456, 0x1486, 0x14ca, 0x156e};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned sme = 0; sme < 2; sme++) {
            start((struct fake_options){.device_id = ids[i], .sme = sme, .latency_us = 1000});
            launch_up(&l);
            assert_int_equal(launch_run(&l).error, PSP_OK);
            assert_int_not_equal(l.handle, 0);
            assert_int_equal(l.status.state, SEVFW_GUEST_RUNNING);
            assert_int_equal(l.status.asid, LAUNCH_ASID);
            assert_int_equal(l.status.policy, LAUNCH_POLICY);
            assert_int_equal(l.id[0], 1);
            assert_int_equal(l.id[63], 64);

            static const struct sev_measurement nothing;
            assert_memory_not_equal(&l.measurement, &nothing, 32);
            assert_memory_not_equal(l.measurement.mnonce, nothing.mnonce, 16);

            for (unsigned n = 0; n < fake.submissions; n++) {
                uint64_t page =
                    psp_command_row(fake.log[n].command)->size ? FAKE_COMMAND_PAGE | (sme ? FAKE_C_BIT : 0) : 0;
                assert_int_equal(fake.log[n].address, page);
            }
            assert_int_equal(l.psp.commands, fake.submissions);
            assert_int_equal(fake.violations + fake_pci.violations, 0);
            psp_detach(&l.psp);
            fake_stop();
        }
    }
    start((struct fake_options){0});
}

static void guest_memory_is_encrypted_by_update_data_only(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    memset(fake_ram(fake_guest_page(0).raw), 0x3c, 3 * 4096);
    assert_int_equal(launch_step(&l, SEV_CMD_LAUNCH_START).error, PSP_OK);
    assert_int_equal(launch_step(&l, SEV_CMD_ACTIVATE).error, PSP_OK);
    assert_int_equal(launch_step(&l, SEV_CMD_LAUNCH_UPDATE_DATA).error, PSP_OK);
    assert_memory_not_equal(fake_ram(fake_guest_page(0).raw), fake_ram(fake_guest_page(2).raw), 4096);
    assert_memory_not_equal(fake_ram(fake_guest_page(1).raw), fake_ram(fake_guest_page(2).raw), 4096);
    assert_int_equal(*fake_ram(fake_guest_page(2).raw), 0x3c);
}

static void lengths_that_the_firmware_must_refuse_are_not_sent(void **state)
{
    static const uint8_t blob[SEV_CERT_SIZE];
    uint32_t handle = 0x1234;

    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    unsigned before = fake.submissions;
    psp_addr_t page = fake_guest_page(0), odd = {page.raw + 8}, last = {UINT64_MAX - 15};

    assert_int_equal(psp_wait(&l.psp, sev_launch_update_data(&l.psp, 1, page, 0)).error, PSP_LENGTH);
    assert_int_equal(psp_wait(&l.psp, sev_launch_update_data(&l.psp, 1, page, 24)).error, PSP_LENGTH);
    assert_int_equal(psp_wait(&l.psp, sev_launch_update_data(&l.psp, 1, odd, 16)).error, PSP_LENGTH);
    assert_int_equal(psp_wait(&l.psp, sev_launch_update_data(&l.psp, 1, last, 32)).error, PSP_LENGTH);
    assert_int_equal(launch_start(&l.psp, 0, blob, NULL, &handle).error, PSP_LENGTH);
    assert_int_equal(launch_start(&l.psp, 0, NULL, blob, &handle).error, PSP_LENGTH);
    assert_int_equal(psp_wait(&l.psp, psp_submit(&l.psp, SEV_CMD_ACTIVATE, NULL)).error, PSP_LENGTH);
    assert_int_equal(handle, 0x1234);
    assert_int_equal(fake.submissions, before);
}

static void certificate_and_session_reach_the_firmware_whole(void **state)
{
    uint8_t cert[SEV_CERT_SIZE], session[SEV_SESSION_SIZE];
    struct sev_launch_start_buffer request;
    uint32_t handle = 0x1234;

    (void)state;
    for (unsigned i = 0; i < sizeof(cert); i++)
        cert[i] = (uint8_t)(i * 7 + 1);
    for (unsigned i = 0; i < sizeof(session); i++)
        session[i] = (uint8_t)(i ^ 0x80);
    start((struct fake_options){.sme = true});
    launch_up(&l);
    memset(fake_ram(FAKE_DATA_PAGE), 0xff, PSP_PAGE_SIZE); /* what the command before left there */

    /* The firmware refuses this certificate: nothing is returned, and the next guest starts. */
    struct psp_result r = launch_start(&l.psp, LAUNCH_POLICY, cert, session, &handle);
    assert_int_equal(r.error, PSP_FIRMWARE);
    assert_int_equal(handle, 0x1234);

    const struct fake_submission *s = submitted(SEV_CMD_LAUNCH_START, 0);
    memcpy(&request, s->page, sizeof(request));
    assert_int_equal(request.handle, 0);
    assert_int_equal(request.policy, LAUNCH_POLICY);
    assert_int_equal(request.reserved_14, 0);
    assert_int_equal(request.dh_cert_len, sizeof(cert));
    assert_int_equal(request.session_len, sizeof(session));
    uint64_t data = FAKE_DATA_PAGE | FAKE_C_BIT;
    assert_in_range(request.dh_cert_paddr, data, data + PSP_PAGE_SIZE - sizeof(cert));
    assert_in_range(request.session_paddr, request.dh_cert_paddr + sizeof(cert),
                    data + PSP_PAGE_SIZE - sizeof(session));
    assert_memory_equal(s->data + (request.dh_cert_paddr - data), cert, sizeof(cert));
    assert_memory_equal(s->data + (request.session_paddr - data), session, sizeof(session));
    uint8_t left[PSP_PAGE_SIZE];
    memcpy(left, s->data, sizeof(left));
    memset(left + (request.dh_cert_paddr - data), 0, sizeof(cert));
    memset(left + (request.session_paddr - data), 0, sizeof(session));
    for (unsigned i = 0; i < sizeof(left); i++)
        assert_int_equal(left[i], 0);

    assert_int_equal(launch_run(&l).error, PSP_OK);
}

static void command_page_holds_nothing_but_the_command(void **state)
{
    static const uint8_t zeroes[PSP_PAGE_SIZE];

    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    launch_run(&l);
    for (unsigned n = 0; n < fake.submissions; n++) {
        unsigned size = psp_command_row(fake.log[n].command)->size;

        assert_memory_equal(fake.log[n].page + size, zeroes, PSP_PAGE_SIZE - size);
    }
}

static void commands_out_of_state_or_version_are_not_sent(void **state)
{
    (void)state;
    start((struct fake_options){.api_major = 0, .api_minor = 15});
    launch_attach(&l);
    unsigned accesses = fake_pci.register_accesses;

    assert_int_equal(launch_step(&l, SEV_CMD_GET_ID).error, PSP_STATE); /* since 0.16 */
    for (unsigned i = 2; i < launch_command_count; i++)
        assert_int_equal(launch_step(&l, launch_commands[i]).error, PSP_STATE);
    for (unsigned command = 0; command < 256; command++) {
        if (!psp_command_row((uint8_t)command))
            assert_int_equal(psp_wait(&l.psp, psp_submit(&l.psp, (uint8_t)command, NULL)).error, PSP_STATE);
    }
    assert_int_equal(fake_pci.register_accesses, accesses);

    assert_int_equal(launch_init(&l).error, PSP_OK);
    accesses = fake_pci.register_accesses;
    struct psp_result r = launch_init(&l);
    assert_int_equal(r.error, PSP_STATE);
    assert_int_equal(r.command, SEV_CMD_INIT);
    assert_int_equal(fake_pci.register_accesses, accesses);
}

static void state_follows_the_first_guest(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    assert_int_equal(launch_step(&l, SEV_CMD_LAUNCH_START).error, PSP_OK);
    assert_int_equal(l.psp.status.state, SEV_PLATFORM_WORKING);
    assert_int_equal(launch_step(&l, SEV_CMD_PLATFORM_STATUS).error, PSP_OK);
    assert_int_equal(l.psp.status.state, SEV_PLATFORM_WORKING);
    assert_int_equal(l.psp.status.guest_count, 1);
    launch_clean(&l);
}

static void versions_compare_major_before_minor(void **state)
{
    (void)state;
    start((struct fake_options){.api_major = 1, .api_minor = 2}); /* newer than 0.16 */
    launch_attach(&l);
    assert_int_equal(launch_step(&l, SEV_CMD_GET_ID).error, PSP_OK);
}

static void failing_command_still_brings_back_its_lengths(void **state)
{
    struct sev_get_id_buffer request = {.id_paddr = FAKE_DATA_PAGE, .id_len = 0};

    (void)state;
    start((struct fake_options){0});
    launch_attach(&l);
    struct psp_result r = psp_wait(&l.psp, psp_submit(&l.psp, SEV_CMD_GET_ID, &request));
    assert_int_equal(r.error, PSP_FIRMWARE);
    assert_int_equal(r.status, SEV_STATUS_INVALID_LENGTH);
    memcpy(&request, l.psp.answer, sizeof(request));
    assert_int_equal(request.id_len, SEV_CHIP_ID_SIZE);
}

static void real_refusals_come_through_with_their_status(void **state)
{
    (void)state;
    start((struct fake_options){.max_guests = 1});
    launch_up(&l);
    assert_int_equal(psp_wait(&l.psp, sev_activate(&l.psp, 0x7777, LAUNCH_ASID)).status, SEV_STATUS_INVALID_GUEST);
    assert_int_equal(launch_step(&l, SEV_CMD_LAUNCH_START).error, PSP_OK);
    assert_int_equal(psp_wait(&l.psp, sev_activate(&l.psp, l.handle, 2)).status,
                     SEV_STATUS_INVALID_ASID); /* of the SEV-ES range */
    assert_int_equal(launch_step(&l, SEV_CMD_LAUNCH_UPDATE_DATA).status, SEV_STATUS_INACTIVE);
    assert_int_equal(launch_step(&l, SEV_CMD_LAUNCH_FINISH).status, SEV_STATUS_INVALID_GUEST_STATE);
    uint32_t second = 0;
    assert_int_equal(launch_start(&l.psp, 0, NULL, NULL, &second).status, SEV_STATUS_RESOURCE_LIMIT);
    assert_int_equal(second, 0);
    assert_int_equal(launch_step(&l, SEV_CMD_ACTIVATE).error, PSP_OK);
    assert_int_equal(launch_step(&l, SEV_CMD_DECOMMISSION).status, SEV_STATUS_ACTIVE);
    launch_clean(&l);
    assert_int_equal(launch_run(&l).error, PSP_OK);
}

static void asid_is_usable_again_only_after_wbinvd_and_df_flush(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    launch_step(&l, SEV_CMD_LAUNCH_START);
    assert_int_equal(launch_step(&l, SEV_CMD_ACTIVATE).error, PSP_OK);
    assert_int_equal(launch_step(&l, SEV_CMD_DEACTIVATE).error, PSP_OK);
    assert_int_equal(launch_step(&l, SEV_CMD_ACTIVATE).error, PSP_FIRMWARE);
    assert_int_equal(psp_wait(&l.psp, sev_command(&l.psp, SEV_CMD_DF_FLUSH, 0)).status, SEV_STATUS_WBINVD_REQUIRED);
    fake_wbinvd_all();
    assert_int_equal(psp_wait(&l.psp, sev_command(&l.psp, SEV_CMD_DF_FLUSH, 0)).error, PSP_OK);
    assert_int_equal(launch_step(&l, SEV_CMD_ACTIVATE).error, PSP_OK);
    launch_clean(&l);
}

static void detached_driver_reaches_no_device(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_attach(&l);
    psp_detach(&l.psp);
    unsigned accesses = fake_pci.register_accesses;
    assert_int_equal(launch_init(&l).error, PSP_NO_DEVICE);
    assert_int_equal(fake_pci.register_accesses, accesses);
}

static void attach_checks_the_location_and_the_device(void **state)
{
    (void)state;
    start((struct fake_options){.no_sev = true});
    assert_int_equal(launch_try_to_attach(&l, &fake.location).error, PSP_NO_SEV);
    assert_int_equal(fake_pci.mapped, 0);
    fake_stop();

    start((struct fake_options){0});
    struct psp_location wrong = fake.location;
    wrong.device_id = 0x1537;
    assert_int_equal(launch_try_to_attach(&l, &wrong).error, PSP_NO_DEVICE);
    wrong = fake.location;
    wrong.bar_size = 0x10000;
    assert_int_equal(launch_try_to_attach(&l, &wrong).error, PSP_NO_DEVICE);
    fake_pci.map_fails = true;
    assert_int_equal(launch_try_to_attach(&l, &fake.location).error, PSP_BLOCKED);
    fake_pci.map_fails = false;
    fake_pci.functions[1].read = NULL;
    fake_pci.functions[1].feature = UINT32_MAX;
    for (uint32_t command = 0; command < 8; command++) {
        psp_platform_pci_write32(fake.location.function, 4, 0x0400 | command);
        assert_int_equal(launch_try_to_attach(&l, &fake.location).error, PSP_BLOCKED);
        assert_int_equal(psp_platform_pci_read32(fake.location.function, 4) & 0xffff, 0x0400 | command);
    }
    assert_int_equal(fake_pci.mapped, 0);
    assert_int_equal(fake.submissions, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, stop)
    const struct CMUnitTest tests[] = {
        TEST(discovery_finds_the_function_that_attach_wants),
        TEST(attach_reads_the_status_with_polling_and_bus_mastering_on),
        TEST(of_owner_and_config_one_bit_counts),
        TEST(the_id_has_room_for_two_sockets),
        TEST(the_chain_is_written_pdh_first_to_the_callers_memory),
        TEST(a_chain_of_another_length_is_no_chain),
        TEST(newer_firmware_is_loaded_and_its_version_read),
        TEST(firmware_that_is_refused_leaves_the_old_one_at_work),
        TEST(firmware_before_0_15_cannot_be_replaced),
        TEST(firmware_that_is_known_to_fail_or_to_leak_is_named),
        TEST(init_and_shutdown_change_the_state),
        TEST(a_command_is_outstanding_until_a_poll_finds_its_answer),
        TEST(init_with_smee_off_names_the_bios_option),
        TEST(a_guest_lives_on_every_generation),
        TEST(guest_memory_is_encrypted_by_update_data_only),
        TEST(lengths_that_the_firmware_must_refuse_are_not_sent),
        TEST(certificate_and_session_reach_the_firmware_whole),
        TEST(command_page_holds_nothing_but_the_command),
        TEST(commands_out_of_state_or_version_are_not_sent),
        TEST(state_follows_the_first_guest),
        TEST(versions_compare_major_before_minor),
        TEST(failing_command_still_brings_back_its_lengths),
        TEST(real_refusals_come_through_with_their_status),
        TEST(asid_is_usable_again_only_after_wbinvd_and_df_flush),
        TEST(detached_driver_reaches_no_device),
        TEST(attach_checks_the_location_and_the_device),
    };

    return cmocka_run_group_tests_name("psp launch", tests, NULL, NULL);
}
