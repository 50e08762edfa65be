/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Typed constants against two other sources: abi_facts.txt, which was written
 * from the reference, and Linux's header for user space. Usage: test_abi abi_facts.txt
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include "../cmocka_names.h"
#include <linux/psp-sev.h>

#include "psp/internal.h"
#include "status_name.h"
#include "../../machine/firmware/internal.h"

#define MAX_FACTS 512
#define MAX_WORDS 6

struct fact {
    char words[MAX_WORDS][32];  /* words[0] is its kind */
};

static struct fact facts[MAX_FACTS];
static unsigned fact_count;

static unsigned number(const struct fact *f, unsigned word)
{
    char *end;
    unsigned long value = strtoul(f->words[word], &end, 0);

    if (!*f->words[word] || *end)
        fail_msg("%s %s: word %u is no number", f->words[0], f->words[1], word);
    return (unsigned)value;
}

static bool is(const struct fact *f, unsigned word, const char *text)
{
    return strcmp(f->words[word], text) == 0;
}

/* The next fact of a kind; start with NULL. */
static const struct fact *next(const struct fact *f, const char *kind)
{
    for (f = f ? f + 1 : facts; f < facts + fact_count; f++) {
        if (is(f, 0, kind))
            return f;
    }
    return NULL;
}

static const struct psp_command_row *row_named(const char *name)
{
    for (unsigned command = 0; command < 256; command++) {
        const struct psp_command_row *row = psp_command_row((uint8_t)command);

        if (row && strcmp(row->name, name) == 0)
            return row;
    }
    return NULL;
}

static void every_command_of_the_api_has_its_row(void **state)
{
    unsigned matched = 0, rows = 0;

    (void)state;
    for (const struct fact *f = next(NULL, "command"); f; f = next(f, "command")) {
        const struct psp_command_row *row = row_named(f->words[1]);

        if (!row)
            fail_msg("no row for %s", f->words[1]);
        assert_int_equal(row->command, number(f, 2));
        assert_int_equal(row->size, number(f, 3));
        assert_string_equal(sev_command_name(row->command), f->words[1]);
        assert_int_equal(row->direction == PSP_NONE, row->size == 0);
        matched++;
    }
    for (unsigned command = 0; command < 256; command++)
        rows += psp_command_row((uint8_t)command) != NULL;
    assert_int_equal(rows, matched);
    assert_int_equal(rows, 41);
}

static bool is_slow(const char *command)
{
    for (const struct fact *f = next(NULL, "slow"); f; f = next(f, "slow")) {
        if (is(f, 1, command))
            return true;
    }
    return false;
}

static void every_row_has_its_states_and_version(void **state)
{
    unsigned known = 0, rows = 0;

    (void)state;
    for (const struct fact *f = next(NULL, "states"); f; f = next(f, "states")) {
        const struct psp_command_row *row = row_named(f->words[1]);
        unsigned states = (strchr(f->words[2], 'U') ? 1u << SEV_PLATFORM_UNINIT : 0) |
                          (strchr(f->words[2], 'I') ? 1u << SEV_PLATFORM_INIT : 0) |
                          (strchr(f->words[2], 'W') ? 1u << SEV_PLATFORM_WORKING : 0);
        unsigned api = 0;

        assert_non_null(row);
        for (const struct fact *since = next(NULL, "since"); since; since = next(since, "since")) {
            if (is(since, 1, row->name))
                api = number(since, 2) * 256 + number(since, 3);
        }
        assert_int_equal(row->states, states);
        assert_int_equal(row->api, api);
        assert_int_equal(row->timeout_s, is_slow(row->name) ? 100 : 30);
        known++;
    }
    for (unsigned command = 0; command < 256; command++)
        rows += psp_command_row((uint8_t)command) != NULL;
    assert_int_equal(rows, known);
}

static void command_ids_are_the_enums(void **state)
{
    static const struct {
        const char *name;
        unsigned id;
    } ids[] = {
#define ID(name) {#name, SEV_CMD_##name}
        ID(INIT),
        ID(SHUTDOWN),
        ID(PLATFORM_RESET),
        ID(PLATFORM_STATUS),
        ID(PEK_GEN),
        ID(PEK_CSR),
        ID(PEK_CERT_IMPORT),
        ID(PDH_CERT_EXPORT),
        ID(PDH_GEN),
        ID(DF_FLUSH),
        ID(DOWNLOAD_FIRMWARE),
        ID(GET_ID),
        ID(INIT_EX),
        ID(NOP),
        ID(RING_BUFFER),
        ID(DECOMMISSION),
        ID(ACTIVATE),
        ID(DEACTIVATE),
        ID(GUEST_STATUS),
        ID(COPY),
        ID(ACTIVATE_EX),
        ID(LAUNCH_START),
        ID(LAUNCH_UPDATE_DATA),
        ID(LAUNCH_UPDATE_VMSA),
        ID(LAUNCH_MEASURE),
        ID(LAUNCH_SECRET),
        ID(LAUNCH_FINISH),
        ID(ATTESTATION),
        ID(SEND_START),
        ID(SEND_UPDATE_DATA),
        ID(SEND_UPDATE_VMSA),
        ID(SEND_FINISH),
        ID(SEND_CANCEL),
        ID(RECEIVE_START),
        ID(RECEIVE_UPDATE_DATA),
        ID(RECEIVE_UPDATE_VMSA),
        ID(RECEIVE_FINISH),
        ID(DBG_DECRYPT),
        ID(DBG_ENCRYPT),
        ID(SWAP_OUT),
        ID(SWAP_IN),
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(ids) / sizeof(*ids); i++)
        assert_int_equal(row_named(ids[i].name)->command, ids[i].id);
}

static bool is_reference(const struct fact *f, const struct psp_reference *reference)
{
    unsigned kind = (is(f, 4, "guest") ? PSP_GUEST_MEMORY : 0) | (strncmp(f->words[5], "in", 2) == 0 ? PSP_IN : 0) |
                    (strstr(f->words[5], "out") ? PSP_OUT : 0);

    return reference->kind == kind && reference->address == number(f, 2) && reference->length == number(f, 3);
}

static unsigned count_references(const struct psp_command_row *row)
{
    unsigned count = 0;

    for (unsigned i = 0; i < PSP_REFERENCES; i++) {
        if (row->references[i].kind == 0)
            continue;
        assert_int_equal(count++, i);       /* none behind the first that is missing */
        assert_true(row->references[i].address + 8 <= row->size);
        assert_true(row->references[i].length + 4 <= row->size);
    }
    return count;
}

static void every_address_that_a_guest_can_fill_in_is_known(void **state)
{
    unsigned known = 0, found = 0;

    (void)state;
    for (const struct fact *f = next(NULL, "reference"); f; f = next(f, "reference"), known++) {
        const struct psp_command_row *row = row_named(f->words[1]);
        bool has = false;

        for (unsigned i = 0; i < PSP_REFERENCES; i++)
            has |= is_reference(f, &row->references[i]);
        if (!has)
            fail_msg("%s has no reference at %s", f->words[1], f->words[2]);
    }
    for (unsigned command = 0; command < 256; command++) {
        const struct psp_command_row *row = psp_command_row((uint8_t)command);

        found += row ? count_references(row) : 0;
    }
    assert_int_equal(found, known);
}

/* What hv never sends for a guest: it would take over guests' lives, or the mailbox. */
static void what_a_guest_can_ask_for_has_its_class(void **state)
{
    static const struct {
        enum psp_class class;
        const char *commands[20];
    } classes[] = {
        {PSP_HV_ONLY,
         {"RING_BUFFER", "DECOMMISSION", "ACTIVATE", "DEACTIVATE", "ACTIVATE_EX", "LAUNCH_START", "LAUNCH_UPDATE_DATA",
          "LAUNCH_UPDATE_VMSA", "LAUNCH_MEASURE", "LAUNCH_FINISH", "RECEIVE_START"}},
        {PSP_PLATFORM, {"PLATFORM_STATUS", "PEK_CSR", "PDH_CERT_EXPORT", "PDH_GEN", "DF_FLUSH", "GET_ID", "NOP"}},
        {PSP_PLATFORM_IDLE,
         {"INIT", "INIT_EX", "SHUTDOWN", "DOWNLOAD_FIRMWARE", "PLATFORM_RESET", "PEK_GEN", "PEK_CERT_IMPORT"}},
        {PSP_GUEST, {"GUEST_STATUS"}},
        {PSP_GUEST_HELD, {"LAUNCH_SECRET"}},
        {PSP_GUEST_LIVE,
         {"ATTESTATION", "DBG_DECRYPT", "DBG_ENCRYPT", "SEND_START", "SEND_UPDATE_DATA", "SEND_CANCEL"}},
        {PSP_GUEST_PAUSED, {"COPY", "SEND_UPDATE_VMSA", "SEND_FINISH", "SWAP_OUT", "SWAP_IN"}},
        {PSP_GUEST_RECEIVING, {"RECEIVE_UPDATE_DATA", "RECEIVE_UPDATE_VMSA", "RECEIVE_FINISH"}},
    };
    unsigned seen = 0, rows = 0;

    (void)state;
    for (unsigned i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
        for (unsigned n = 0; classes[i].commands[n]; n++, seen++)
            assert_int_equal(row_named(classes[i].commands[n])->class, classes[i].class);
    }
    for (unsigned command = 0; command < 256; command++)
        rows += psp_command_row((uint8_t)command) != NULL;
    assert_int_equal(rows, seen);
}

static bool is_zero(const struct psp_command_row *row, unsigned offset)
{
    return row->zero >> offset / 4 & 1;
}

/* The firmware model's table is another one, written from the same reference. */
static void the_table_agrees_with_the_firmware_models(void **state)
{
    (void)state;
    for (unsigned command = 0; command < 256; command++) {
        const struct psp_command_row *row = psp_command_row((uint8_t)command);
        const struct sevfw_command *model = sevfw_commands_find(command);

        assert_int_equal(row != NULL, model != NULL);
        if (!row)
            continue;
        assert_int_equal(row->size, model->size);
        assert_int_equal(model->platform_states & ~row->states, 0);
        assert_int_equal(row->direction & PSP_OUT ? 1 : 0, model->out.size > 0 ? 1 : 0);
        if (row->class == PSP_HV_ONLY)
            continue;
        assert_int_equal(row->class >= PSP_GUEST, model->guest_states != 0);
        assert_int_equal(model->handle, 0);
        assert_int_equal(model->policy_forbids & ~row->forbidden, 0);
        for (unsigned i = 0; i < 3; i++)
            assert_true(model->reserved[i].size == 0 || is_zero(row, model->reserved[i].offset));
        for (unsigned i = 0; i < SEVFW_BUFFERS && model->run != sevfw_unsupported; i++) {
            const struct sevfw_buffer *buffer = &model->buffers[i];
            const struct psp_reference *reference = &row->references[i];
            bool writes = buffer->kind == BUFFER_OUT || buffer->kind == BUFFER_OUT_EXACT;

            assert_int_equal(reference->kind == 0, buffer->kind == BUFFER_UNUSED);
            assert_int_equal(reference->address, buffer->paddr);
            assert_int_equal(reference->length, buffer->len);
            assert_int_equal((reference->kind & PSP_GUEST_MEMORY) != 0, buffer->kind == BUFFER_GUEST);
            assert_true(!writes || reference->kind == PSP_OUT);
            assert_true(reference->kind == 0 || !is_zero(row, reference->address));
        }
    }
}

static void every_field_is_where_the_api_has_it(void **state)
{
    static const struct {
        const char *command, *field;
        unsigned offset, size;
    } fields[] = {
#define FIELD(command, type, member, fact) \
    {#command, #fact, offsetof(struct sev_##type##_buffer, member), sizeof(((struct sev_##type##_buffer *)0)->member)}
        FIELD(PLATFORM_STATUS, platform_status, api_major, api_major),
        FIELD(PLATFORM_STATUS, platform_status, api_minor, api_minor),
        FIELD(PLATFORM_STATUS, platform_status, state, state),
        FIELD(PLATFORM_STATUS, platform_status, owner, owner),
        FIELD(PLATFORM_STATUS, platform_status, config, config),
        FIELD(PLATFORM_STATUS, platform_status, build, build),
        FIELD(PLATFORM_STATUS, platform_status, guest_count, guest_count),
        FIELD(PDH_CERT_EXPORT, pdh_cert_export, pdh_paddr, pdh_paddr),
        FIELD(PDH_CERT_EXPORT, pdh_cert_export, pdh_len, pdh_len),
        FIELD(PDH_CERT_EXPORT, pdh_cert_export, certs_paddr, certs_paddr),
        FIELD(PDH_CERT_EXPORT, pdh_cert_export, certs_len, certs_len),
        FIELD(DOWNLOAD_FIRMWARE, download_firmware, image_paddr, paddr),
        FIELD(DOWNLOAD_FIRMWARE, download_firmware, image_len, len),
        FIELD(GET_ID, get_id, id_paddr, paddr),
        FIELD(GET_ID, get_id, id_len, len),
        FIELD(ACTIVATE, activate, handle, handle),
        FIELD(ACTIVATE, activate, asid, asid),
        FIELD(LAUNCH_START, launch_start, handle, handle),
        FIELD(LAUNCH_START, launch_start, policy, policy),
        FIELD(LAUNCH_START, launch_start, dh_cert_paddr, dh_cert_paddr),
        FIELD(LAUNCH_START, launch_start, dh_cert_len, dh_cert_len),
        FIELD(LAUNCH_START, launch_start, session_paddr, session_paddr),
        FIELD(LAUNCH_START, launch_start, session_len, session_len),
        FIELD(LAUNCH_UPDATE_DATA, launch_update_data, handle, handle),
        FIELD(LAUNCH_UPDATE_DATA, launch_update_data, paddr, paddr),
        FIELD(LAUNCH_UPDATE_DATA, launch_update_data, length, len),
        FIELD(LAUNCH_MEASURE, launch_measure, handle, handle),
        FIELD(LAUNCH_MEASURE, launch_measure, measure_paddr, paddr),
        FIELD(LAUNCH_MEASURE, launch_measure, measure_len, len),
    };
    const unsigned count = sizeof(fields) / sizeof(*fields);
    unsigned seen = 0;

    (void)state;
    for (const struct fact *f = next(NULL, "field"); f; f = next(f, "field"), seen++) {
        unsigned i = 0;

        while (i < count && !(is(f, 1, fields[i].command) && is(f, 2, fields[i].field)))
            i++;
        if (i == count)
            fail_msg("no field %s.%s", f->words[1], f->words[2]);
        assert_int_equal(fields[i].offset, number(f, 3));
        assert_int_equal(fields[i].size, number(f, 4));
    }
    assert_int_equal(seen, count);
}

static void every_status_has_its_name_and_no_other_has_one(void **state)
{
    unsigned known = 0, named = 0, undocumented = 0;

    (void)state;
    for (const struct fact *f = next(NULL, "status"); f; f = next(f, "status"), known++)
        assert_string_equal(status_name((uint16_t)number(f, 2)), f->words[1]);
    for (unsigned status = 0; status <= UINT16_MAX; status++)
        named += strcmp(status_name((uint16_t)status), "unknown status") != 0;
    for (unsigned status = 0; status <= UINT16_MAX; status++)
        undocumented += strcmp(status_name((uint16_t)status), "undocumented status") == 0;
    assert_int_equal(undocumented, 0xff00); /* such as boards answer all the same: test_status.c */
    assert_int_equal(named, known + undocumented);
}

/* The enum's own names; the spelling on the left is this project's, on the right Linux's. */
static void statuses_are_those_of_linux(void **state)
{
    static const struct {
        unsigned ours;
        int theirs;
    } pairs[] = {
        {SEV_STATUS_SUCCESS, SEV_RET_SUCCESS},
        {SEV_STATUS_INVALID_PLATFORM_STATE, SEV_RET_INVALID_PLATFORM_STATE},
        {SEV_STATUS_INVALID_GUEST_STATE, SEV_RET_INVALID_GUEST_STATE},
        {SEV_STATUS_INVALID_CONFIG, SEV_RET_INVALID_GUEST_STATE + 1},     /* its spelling changes between versions */
        {SEV_STATUS_INVALID_LENGTH, SEV_RET_INVALID_LEN},
        {SEV_STATUS_ALREADY_OWNED, SEV_RET_ALREADY_OWNED},
        {SEV_STATUS_INVALID_CERTIFICATE, SEV_RET_INVALID_CERTIFICATE},
        {SEV_STATUS_POLICY_FAILURE, SEV_RET_POLICY_FAILURE},
        {SEV_STATUS_INACTIVE, SEV_RET_INACTIVE},
        {SEV_STATUS_INVALID_ADDRESS, SEV_RET_INVALID_ADDRESS},
        {SEV_STATUS_BAD_SIGNATURE, SEV_RET_BAD_SIGNATURE},
        {SEV_STATUS_BAD_MEASUREMENT, SEV_RET_BAD_MEASUREMENT},
        {SEV_STATUS_ASID_OWNED, SEV_RET_ASID_OWNED},
        {SEV_STATUS_INVALID_ASID, SEV_RET_INVALID_ASID},
        {SEV_STATUS_WBINVD_REQUIRED, SEV_RET_WBINVD_REQUIRED},
        {SEV_STATUS_DF_FLUSH_REQUIRED, SEV_RET_DFFLUSH_REQUIRED},
        {SEV_STATUS_INVALID_GUEST, SEV_RET_INVALID_GUEST},
        {SEV_STATUS_INVALID_COMMAND, SEV_RET_INVALID_COMMAND},
        {SEV_STATUS_ACTIVE, SEV_RET_ACTIVE},
        {SEV_STATUS_HWERROR_PLATFORM, SEV_RET_HWSEV_RET_PLATFORM},
        {SEV_STATUS_HWERROR_UNSAFE, SEV_RET_HWSEV_RET_UNSAFE},
        {SEV_STATUS_UNSUPPORTED, SEV_RET_UNSUPPORTED},
        {SEV_STATUS_INVALID_PARAM, SEV_RET_INVALID_PARAM},
        {SEV_STATUS_RESOURCE_LIMIT, SEV_RET_RESOURCE_LIMIT},
        {SEV_STATUS_SECURE_DATA_INVALID, SEV_RET_SECURE_DATA_INVALID},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
        assert_int_equal(pairs[i].ours, pairs[i].theirs);
}

static void platform_status_is_that_of_linux(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct sev_platform_status_buffer), sizeof(struct sev_user_data_status));
#define SAME(member) \
    assert_int_equal(offsetof(struct sev_platform_status_buffer, member), offsetof(struct sev_user_data_status, member))
    SAME(api_major);
    SAME(api_minor);
    SAME(state);
    SAME(build);
    SAME(guest_count);
    /* Linux reads bytes 3 to 6 as one little-endian word. */
    assert_int_equal(offsetof(struct sev_platform_status_buffer, owner), offsetof(struct sev_user_data_status, flags));
    assert_int_equal(SEV_CONFIG_ES << 8 * (offsetof(struct sev_platform_status_buffer, config) -
                                           offsetof(struct sev_user_data_status, flags)),
                     SEV_STATUS_FLAGS_CONFIG_ES);
}

static void statuses_of_the_enum_are_the_references(void **state)
{
    static const struct {
        const char *name;
        unsigned code;
    } codes[] = {
#define STATUS(name) {#name, SEV_STATUS_##name}
        STATUS(SUCCESS),
        STATUS(INVALID_PLATFORM_STATE),
        STATUS(INVALID_GUEST_STATE),
        STATUS(INVALID_CONFIG),
        STATUS(INVALID_LENGTH),
        STATUS(ALREADY_OWNED),
        STATUS(INVALID_CERTIFICATE),
        STATUS(POLICY_FAILURE),
        STATUS(INACTIVE),
        STATUS(INVALID_ADDRESS),
        STATUS(BAD_SIGNATURE),
        STATUS(BAD_MEASUREMENT),
        STATUS(ASID_OWNED),
        STATUS(INVALID_ASID),
        STATUS(WBINVD_REQUIRED),
        STATUS(DF_FLUSH_REQUIRED),
        STATUS(INVALID_GUEST),
        STATUS(INVALID_COMMAND),
        STATUS(ACTIVE),
        STATUS(HWERROR_PLATFORM),
        STATUS(HWERROR_UNSAFE),
        STATUS(UNSUPPORTED),
        STATUS(INVALID_PARAM),
        STATUS(RESOURCE_LIMIT),
        STATUS(SECURE_DATA_INVALID),
        STATUS(INVALID_PAGE_SIZE),
        STATUS(INVALID_PAGE_STATE),
        STATUS(INVALID_MDATA_ENTRY),
        STATUS(INVALID_PAGE_OWNER),
        STATUS(AEAD_OFLOW),
        STATUS(RING_BUFFER_EXIT),
        STATUS(RMP_INIT_REQUIRED),
        STATUS(BAD_SVN),
        STATUS(BAD_VERSION),
        STATUS(SHUTDOWN_REQUIRED),
        STATUS(UPDATE_FAILED),
        STATUS(RESTORE_REQUIRED),
        STATUS(RMP_INIT_FAILED),
        STATUS(INVALID_KEY),
    };
    const unsigned count = sizeof(codes) / sizeof(*codes);
    unsigned seen = 0;

    (void)state;
    for (const struct fact *f = next(NULL, "status"); f; f = next(f, "status"), seen++) {
        unsigned i = 0;

        while (i < count && !is(f, 1, codes[i].name))
            i++;
        if (i == count)
            fail_msg("no status %s", f->words[1]);
        assert_int_equal(codes[i].code, number(f, 2));
    }
    assert_int_equal(seen, count);
}

/* All facts of one kind against a list of names and values, both ways. */
struct value {
    const char *name;
    unsigned value;
};

static void assert_values(const char *kind, const struct value *values, unsigned count)
{
    unsigned seen = 0;

    for (const struct fact *f = next(NULL, kind); f; f = next(f, kind), seen++) {
        unsigned i = 0;

        while (i < count && !is(f, 1, values[i].name))
            i++;
        if (i == count)
            fail_msg("no %s %s", kind, f->words[1]);
        assert_int_equal(values[i].value, number(f, 2));
    }
    assert_int_equal(seen, count);
}

static void states_policy_bits_and_sizes_are_the_references(void **state)
{
    static const struct value platform[] = {
        {"UNINIT", SEV_PLATFORM_UNINIT},
        {"INIT", SEV_PLATFORM_INIT},
        {"WORKING", SEV_PLATFORM_WORKING},
    };
    static const struct value guest[] = {
        {"UNINIT", SEVFW_GUEST_UNINIT},   {"LUPDATE", SEVFW_GUEST_LUPDATE}, {"LSECRET", SEVFW_GUEST_LSECRET},
        {"RUNNING", SEVFW_GUEST_RUNNING}, {"SUPDATE", SEVFW_GUEST_SUPDATE}, {"RUPDATE", SEVFW_GUEST_RUPDATE},
        {"SENT", SEVFW_GUEST_SENT},
    };
    static const struct value size[] = {
        {"certificate", SEV_CERT_SIZE},
        {"session", SEV_SESSION_SIZE},
        {"chip_id", SEV_CHIP_ID_SIZE},
        {"measure", sizeof(((struct sev_measurement *)0)->measure)},
        {"mnonce", sizeof(((struct sev_measurement *)0)->mnonce)},
    };
    const struct value policy[] = {
        {"NODBG", (unsigned)__builtin_ctz(SEV_POLICY_NODBG)},
        {"NOKS", (unsigned)__builtin_ctz(SEVFW_POLICY_NOKS)},
        {"ES", (unsigned)__builtin_ctz(SEV_POLICY_ES)},
        {"NOSEND", (unsigned)__builtin_ctz(SEV_POLICY_NOSEND)},
        {"DOMAIN", (unsigned)__builtin_ctz(SEVFW_POLICY_DOMAIN)},
        {"SEV", (unsigned)__builtin_ctz(SEVFW_POLICY_SEV)},
        {"API_MAJOR", SEV_POLICY_API_MAJOR_SHIFT},
        {"API_MINOR", SEV_POLICY_API_MINOR_SHIFT},
    };

    (void)state;
    assert_values("platform", platform, sizeof(platform) / sizeof(*platform));
    assert_values("guest", guest, sizeof(guest) / sizeof(*guest));
    assert_values("size", size, sizeof(size) / sizeof(*size));
    assert_values("policy", policy, sizeof(policy) / sizeof(*policy));
    assert_int_equal(SEV_POLICY_RESERVED, 0xffc0);
}

static unsigned register_offset(const struct psp_generation *g, const struct fact *f)
{
    if (is(f, 2, "cmdresp"))
        return g->c2pmsg + PSP_C2PMSG_CMDRESP;
    if (is(f, 2, "addr_lo"))
        return g->c2pmsg + PSP_C2PMSG_ADDR_LO;
    if (is(f, 2, "addr_hi"))
        return g->c2pmsg + PSP_C2PMSG_ADDR_HI;
    if (is(f, 2, "boot_loader"))
        return g->c2pmsg + PSP_C2PMSG_BOOT_LOADER;
    if (is(f, 2, "feature"))
        return g->c2pmsg + PSP_C2PMSG_FEATURE;
    if (is(f, 2, "int_enable"))
        return g->int_enable;
    if (is(f, 2, "int_status"))
        return g->int_status;
    fail_msg("no register %s", f->words[2]);
    return 0;
}

static void registers_of_every_part_are_the_references(void **state)
{
    unsigned seen = 0, parts = 0;

    (void)state;
    for (const struct fact *f = next(NULL, "register"); f; f = next(f, "register"), seen++) {
        const struct psp_generation *g = psp_generation_of((uint16_t)number(f, 1));

        assert_non_null(g);
        assert_int_equal(register_offset(g, f), number(f, 3));
        assert_true(number(f, 3) + 4 <= PSP_REGISTER_SPAN);
    }
    for (unsigned id = 0; id <= UINT16_MAX; id++)
        parts += psp_generation_of((uint16_t)id) != NULL;
    assert_int_equal(seen, parts * 7);
}

static void fields_of_the_command_register_are_the_references(void **state)
{
    unsigned seen = 0;

    (void)state;
    for (const struct fact *f = next(NULL, "cmdresp"); f; f = next(f, "cmdresp"), seen++) {
        uint32_t mask = (uint32_t)((UINT64_C(2) << number(f, 2)) - (UINT64_C(1) << number(f, 3)));

        if (is(f, 1, "RESP"))
            assert_int_equal(mask, PSP_CMDRESP_RESP);
        else if (is(f, 1, "CMD"))
            assert_int_equal(mask, PSP_CMDRESP_CMD);
        else if (is(f, 1, "STATUS"))
            assert_int_equal(mask, PSP_CMDRESP_STATUS);
        else
            fail_msg("no field %s", f->words[1]);
    }
    assert_int_equal(seen, 3);
    assert_int_equal(__builtin_ctz(PSP_CMDRESP_CMD), PSP_CMDRESP_CMD_SHIFT);
}

static bool read_facts(const char *path)
{
    char line[160];
    FILE *file = fopen(path, "r");

    if (!file)
        return false;
    while (fact_count < MAX_FACTS && fgets(line, sizeof(line), file)) {
        struct fact *f = &facts[fact_count];
        int words = sscanf(line, "%31s %31s %31s %31s %31s %31s", f->words[0], f->words[1], f->words[2], f->words[3],
                           f->words[4], f->words[5]);

        if (words > 0 && f->words[0][0] != '#')
            fact_count++;
        else
            memset(f, 0, sizeof(*f));
    }
    bool whole = feof(file);

    fclose(file);
    return whole;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_of_the_api_has_its_row),
        cmocka_unit_test(every_row_has_its_states_and_version),
        cmocka_unit_test(command_ids_are_the_enums),
        cmocka_unit_test(every_address_that_a_guest_can_fill_in_is_known),
        cmocka_unit_test(what_a_guest_can_ask_for_has_its_class),
        cmocka_unit_test(the_table_agrees_with_the_firmware_models),
        cmocka_unit_test(every_field_is_where_the_api_has_it),
        cmocka_unit_test(every_status_has_its_name_and_no_other_has_one),
        cmocka_unit_test(statuses_of_the_enum_are_the_references),
        cmocka_unit_test(statuses_are_those_of_linux),
        cmocka_unit_test(platform_status_is_that_of_linux),
        cmocka_unit_test(states_policy_bits_and_sizes_are_the_references),
        cmocka_unit_test(registers_of_every_part_are_the_references),
        cmocka_unit_test(fields_of_the_command_register_are_the_references),
    };

    if (argc != 2 || !read_facts(argv[1])) {
        fprintf(stderr, "usage: test_abi abi_facts.txt\n");
        return 2;
    }
    return cmocka_run_group_tests_name("psp abi", tests, NULL, NULL);
}
