/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The validator at its limits: what is just still right beside what is just not, and each bit of each register
 * by the manual's list. test_manifest.c has a case for each error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "good.h"
#include "guest/control.h"

static struct good good;

#define ALPHA good.guests[0]    /* encrypted */
#define BETA good.guests[1]     /* plain */
#define GAMMA good.guests[2]    /* with the host's key */
#define REGISTERS ALPHA.registers

static enum manifest_error check(void)
{
    good_seal(&good);
    return manifest_check(&good, sizeof(good), NULL);
}

#define FIRMWARE                             \
    good.header.sev_firmware_version[0] = 1; \
    good.header.sev_firmware_size
#define AFTER(change, error)                         \
    do {                                             \
        good_make(&good);                            \
        change;                                      \
        assert_int_equal(check(), MANIFEST_##error); \
    } while (0)

static void counts_and_sizes(void **state)
{
    (void)state;
    /* Of what is too large to be made here it is seen that the next check, not this one, refuses it. */
    AFTER(good.header.guest_count = 512, PAYLOAD_MISPLACED);
    AFTER(good.header.step_count = 16384, PAYLOAD_MISPLACED);
    AFTER(good.header.total_size = UINT64_C(1) << 32, TRUNCATED);
    AFTER(good.header.total_size = good.header.payload_offset, DH_CERT_OUTSIDE);
    AFTER(good.header.total_size = good.header.payload_offset - 1, PAYLOAD_OUTSIDE);
    AFTER(GAMMA.vcpus = 1; memset(GAMMA.cpus, 0xff, sizeof(GAMMA.cpus)), OK);
    AFTER(BETA.memory = 2 << 20, OK);
    AFTER(BETA.memory = UINT64_C(1) << 40, OK);
    AFTER(BETA.memory = (2 << 20) - 1, MEMORY_UNALIGNED);
    AFTER(BETA.encryption = MANIFEST_ENCRYPTION_HOST, OK);
    AFTER(ALPHA.cbitpos = 32; ALPHA.memory = UINT64_C(1) << 32, OK);
    AFTER(ALPHA.cbitpos = 51; ALPHA.reduced_phys_bits = 63, OK);
    AFTER(good.header.flags = MANIFEST_SHOW_PDH, OK);
    AFTER(good.header.flags = 0x80 | MANIFEST_SHOW_PDH, HEADER_FLAGS);
    AFTER(FIRMWARE = MANIFEST_PAGE, OK);       /* the same piece as alpha's tables */
    AFTER(FIRMWARE = MANIFEST_PAGE + 1, PAYLOAD_OVERLAP);
    AFTER(FIRMWARE = 1, PAYLOAD_OVERLAP);
    AFTER(FIRMWARE = sizeof(good.payload), PAYLOAD_OVERLAP);
    AFTER(FIRMWARE = 1 << 20, SEV_FIRMWARE_OUTSIDE);
    AFTER(FIRMWARE = UINT32_MAX, SEV_FIRMWARE_SIZE);
    AFTER(good.padding[0] = 1, TABLE_PADDING);
    AFTER(BETA.reserved0 = 0x80, GUEST_RESERVED);
    AFTER(BETA.reserved1 = UINT32_C(1) << 31, GUEST_RESERVED);
    AFTER(memset(ALPHA.launch_digest, 0, 31), OK);
    AFTER(memset(ALPHA.launch_digest + 1, 0, 31), OK);
}

/* A manifest need not have more than one guest, nor more than one step. */
static void one_guest_with_one_step(void **state)
{
    (void)state;
    good_make(&good);
    good.header.guest_count = good.header.step_count = 1;
    BETA.first_step = 0;
    BETA.step_count = 1;
    BETA.registers.cr0 = 0x11;
    BETA.registers.cr3 = BETA.registers.efer = 0;
    BETA.registers.cs.attributes = 0xc9b;
    struct manifest_guest guest = BETA;
    struct manifest_step step = good.steps[5];
    memset(good.guests, 0, offsetof(struct good, payload) - offsetof(struct good, guests));
    good.guests[0] = guest;
    memcpy(&good.guests[1], &step, sizeof(step));
    assert_int_equal(check(), MANIFEST_OK);
    good.header.guest_count = 0;
    assert_int_equal(check(), MANIFEST_NO_GUESTS);
}

static void names(void **state)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    (void)state;
    for (unsigned c = 1; c < 256; c++) {
        bool alone = strchr(letters, (int)c) != NULL, inside = alone || strchr("._-", (int)c) != NULL;
        good_make(&good);
        ALPHA.name[0] = (char)c;
        assert_int_equal(check(), alone ? MANIFEST_OK : MANIFEST_NAME_CHARACTER);
        good_make(&good);
        ALPHA.name[4] = (char)c;        /* the last one */
        assert_int_equal(check(), inside ? MANIFEST_OK : MANIFEST_NAME_CHARACTER);
    }
    AFTER(memset(ALPHA.name, 'x', 31), OK);
    AFTER(memset(ALPHA.name + 1, 0, 31), OK);
    AFTER(memcpy(ALPHA.name, "a\0b", 3), NAME_PADDING);
    /* Names that differ in one place only. */
    AFTER(memset(ALPHA.name, 'x', 31); memset(BETA.name, 'x', 31); BETA.name[30] = 'y', OK);
    AFTER(memset(ALPHA.name, 'x', 31); memset(BETA.name, 'x', 31); BETA.name[0] = 'y', OK);
    AFTER(memcpy(GAMMA.name, BETA.name, 32), NAME_TWICE);
}

static void ends_of_life(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 3; which++) {
        for (unsigned action = 0; action < 3; action++) {
            for (unsigned restarts = 0; restarts < 2; restarts++) {
                good_make(&good);
                BETA.on_poweroff = BETA.on_reboot = BETA.on_crash = MANIFEST_ACTION_DESTROY;
                *(which == 0 ? &BETA.on_poweroff : which == 1 ? &BETA.on_reboot : &BETA.on_crash) = (uint8_t)action;
                BETA.restarts = restarts;
                assert_int_equal(check(), action == 2          ? MANIFEST_ACTION_UNKNOWN
                                          : action == restarts ? MANIFEST_OK
                                          : restarts           ? MANIFEST_RESTARTS_WITHOUT_ACTION
                                                               : MANIFEST_ACTION_WITHOUT_RESTARTS);
            }
        }
    }
}

static void policy_and_what_only_encrypted_guests_have(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 32; bit++) {
        good_make(&good);
        ALPHA.sev_policy |= UINT32_C(1) << bit;
        /* SEV API 3: bit 2 is ES, bits 15:6 are reserved. */
        assert_int_equal(check(), bit == 2               ? MANIFEST_POLICY_ES
                                  : bit >= 6 && bit < 16 ? MANIFEST_POLICY_RESERVED
                                                         : MANIFEST_OK);
    }
    AFTER(BETA.dh_cert_size = 2084, SESSION_WITHOUT_SEV);
    AFTER(BETA.dh_cert_offset = 4096, SESSION_WITHOUT_SEV);
    AFTER(BETA.session_offset = 4096, SESSION_WITHOUT_SEV);
    AFTER(BETA.sev_policy = UINT32_C(1) << 31, POLICY_WITHOUT_SEV);
    AFTER(ALPHA.dh_cert_size = 2085, DH_CERT_SIZE);
    AFTER(ALPHA.session_size = 127, SESSION_SIZE);
    AFTER(ALPHA.dh_cert_size = ALPHA.session_size = 0; ALPHA.dh_cert_offset = 0, SESSION_OFFSET);
    AFTER(ALPHA.dh_cert_size = ALPHA.session_size = 0; ALPHA.session_offset = 0, SESSION_OFFSET);
    /* The last bytes of the payload, and its first. */
    AFTER(ALPHA.session_offset = sizeof(good) - 128, OK);
    AFTER(ALPHA.dh_cert_offset = sizeof(good) - 2084, OK);
    AFTER(good.steps[8].payload_offset = good.header.payload_offset; good.steps[8].kind = MANIFEST_STEP_SHARED, OK);
}

/* Which flag which guest may have: the encrypted one, the plain one, the one with the host's key. */
static void flags(void **state)
{
    static const struct {
        uint16_t flag;
        enum manifest_error error[GOOD_GUESTS];
    } rules[] = {
        {1 << 0, {MANIFEST_CONTROL_WITH_SEV, MANIFEST_OK, MANIFEST_OK}},
        {1 << 1, {MANIFEST_OK, MANIFEST_OK, MANIFEST_OK}},
        {1 << 2, {MANIFEST_SECRET_SIZE, MANIFEST_SECRET_WITHOUT_SEV, MANIFEST_SECRET_WITHOUT_SEV}},
        {1 << 3, {MANIFEST_SESSION_TWICE, MANIFEST_SESSION_WITHOUT_SEV, MANIFEST_SESSION_WITHOUT_SEV}},
        {1 << 4, {MANIFEST_COM2_WITHOUT_CONTROL, MANIFEST_COM2_WITHOUT_CONTROL, MANIFEST_COM2_WITHOUT_CONTROL}},
        {1 << 0 | 1 << 4, {MANIFEST_CONTROL_WITH_SEV, MANIFEST_OK, MANIFEST_OK}},
        {1 << 5, {MANIFEST_OK, MANIFEST_OK, MANIFEST_OK}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        for (unsigned guest = 0; guest < GOOD_GUESTS; guest++) {
            good_make(&good);
            good.guests[guest].flags = rules[i].flag;
            assert_int_equal(check(), rules[i].error[guest]);
        }
    for (unsigned bit = 6; bit < 16; bit++)
        AFTER(BETA.flags = (uint16_t)(1u << bit), GUEST_FLAGS);
    AFTER(BETA.flags = 1; BETA.memory = CONTROL_WINDOW, OK);
    AFTER(BETA.flags = 1; BETA.memory = CONTROL_WINDOW + MANIFEST_MEMORY_UNIT, CONTROL_MEMORY);
    AFTER(BETA.memory = CONTROL_WINDOW + MANIFEST_MEMORY_UNIT, OK);
    AFTER(ALPHA.dh_cert_size = ALPHA.session_size = 0; ALPHA.dh_cert_offset = ALPHA.session_offset = 0;
          ALPHA.flags = 1 << 3, OK);
}

/* Alpha's steps: data from 0x4000 to 0x5000 and from 0x100000 to 0x102000, zeros from 0x8000 to 0xb000, a shared page
 * at 0x200000. */
static void the_place_of_a_secret(void **state)
{
    static const struct {
        uint64_t gpa;
        uint32_t size;
        bool fine;
    } places[] = {
        {0x8000, 16, true},       {0x7ff0, 0x4000, true},   {0xaff0, 16, true},       {0x5000, 0x3000, true},
        {0x4ff0, 16, false},      {0x4000, 0x1000, false},  {0x3ff0, 16, true},       {0x3ff0, 32, false},
        {0, 0x4000, true},        {0x10, 0x4000, false},    {0x102000, 0x4000, true}, {0x101ff0, 32, false},
        {0xfc000, 0x4000, true},  {0xfc010, 0x4000, false}, {0x200ff0, 16, false},    {0x201000, 16, true},
        {0xffc000, 0x4000, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        AFTER(ALPHA.flags = 1 << 2; ALPHA.secret_gpa = places[i].gpa;
              ALPHA.secret_size = places[i].size, OK + (places[i].fine ? 0 : MANIFEST_SECRET_OVER_STEP));
    AFTER(ALPHA.flags = 1 << 2; ALPHA.secret_gpa = 0xffc010; ALPHA.secret_size = 0x4000, SECRET_OUTSIDE);
    AFTER(ALPHA.flags = 1 << 2 | 1 << 3; ALPHA.dh_cert_size = ALPHA.session_size = 0;
          ALPHA.dh_cert_offset = ALPHA.session_offset = 0; ALPHA.secret_size = 16, OK);
}

static void steps(void **state)
{
    (void)state;
    AFTER(good.steps[1].gpa = 0x5000, OK);                  /* right behind the one before it */
    AFTER(good.steps[1].size = 0x100000 - 0x8000, OK);      /* right up to the next */
    AFTER(good.steps[1].size = 0x100000 - 0x7000, STEP_OVERLAP);
    AFTER(good.steps[3].gpa = (16 << 20) - MANIFEST_PAGE, OK);
    AFTER(good.steps[0].gpa = 0; REGISTERS.cr3 = 0, OK);
    AFTER(good.steps[2].gpa += 4095, STEP_UNALIGNED);
    AFTER(good.steps[2].gpa += 2048, STEP_UNALIGNED);
    AFTER(good.steps[1].payload_offset = 1, ZERO_WITH_PAYLOAD);
    AFTER(good.steps[8].payload_offset += MANIFEST_PAGE, OK);       /* the payload's last page */
    AFTER(good.steps[8].payload_offset += 2 * MANIFEST_PAGE, STEP_PAYLOAD_OUTSIDE);
    AFTER(good.steps[3].kind = MANIFEST_STEP_DATA, OK);
    AFTER(good.steps[0].reserved = UINT32_C(1) << 31, STEP_RESERVED);
    /* Pieces of payload: the same one for two, side by side, with a page or a byte in common. */
    AFTER(good.steps[3].payload_offset = good.steps[0].payload_offset, OK);
    AFTER(good.steps[3].payload_offset = good.steps[2].payload_offset + MANIFEST_PAGE, PAYLOAD_OVERLAP);
    AFTER(ALPHA.dh_cert_offset = ALPHA.session_offset - 2084, OK);
    AFTER(ALPHA.dh_cert_offset = ALPHA.session_offset - 2083, PAYLOAD_OVERLAP);
    AFTER(ALPHA.dh_cert_offset = ALPHA.session_offset + 127, PAYLOAD_OVERLAP);
    AFTER(ALPHA.dh_cert_offset = ALPHA.session_offset + 128, OK);
    AFTER(ALPHA.session_offset = good.steps[8].payload_offset + 4095 - 127, PAYLOAD_OVERLAP);
}

/* APM2 3.1.1, 3.1.3, 3.1.7, 3.1.6: which bits there are, by number. */
static void each_bit_of_the_control_registers(void **state)
{
    static const uint8_t cr0[] = {0, 1, 2, 3, 4, 5, 16, 18, 29, 30, 31};
    static const uint8_t cr4[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 20, 21};
    static const uint8_t efer[] = {0, 8, 10, 11};
    static const uint8_t rflags[] = {0, 1, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21};
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t one = UINT64_C(1) << bit;
        good_make(&good);
        REGISTERS.cr0 |= one | UINT64_C(1) << 30;       /* CD, for NW */
        assert_int_equal(check(), memchr(cr0, (int)bit, sizeof(cr0)) ? MANIFEST_OK : MANIFEST_CR0_RESERVED);
        good_make(&good);
        REGISTERS.cr4 |= one;
        assert_int_equal(check(), memchr(cr4, (int)bit, sizeof(cr4)) ? MANIFEST_OK : MANIFEST_CR4_RESERVED);
        good_make(&good);
        REGISTERS.efer |= one;
        assert_int_equal(check(), memchr(efer, (int)bit, sizeof(efer)) ? MANIFEST_OK : MANIFEST_EFER_RESERVED);
        good_make(&good);
        REGISTERS.rflags |= one;
        assert_int_equal(check(), !memchr(rflags, (int)bit, sizeof(rflags)) ? MANIFEST_RFLAGS_RESERVED
                                  : bit == 17                               ? MANIFEST_RFLAGS_VM
                                                                            : MANIFEST_OK);
        good_make(&good);
        REGISTERS.cr3 |= one & 0xfff;
        assert_int_equal(check(), bit < 12 ? MANIFEST_CR3_UNALIGNED : MANIFEST_OK);
    }
    AFTER(REGISTERS.cr0 = 0x11; REGISTERS.cr3 = 0; REGISTERS.cr4 = 0; REGISTERS.efer = 0x100;
          REGISTERS.cs.attributes = 0xc9b, OK);
    AFTER(REGISTERS.cr0 = 0x10; REGISTERS.cr0 |= UINT64_C(1) << 31, CR0_PG_WITHOUT_PE);
    AFTER(REGISTERS.efer = 0; REGISTERS.cr4 = 0; REGISTERS.cs.attributes = 0xc9b, OK);     /* paging of 32 bits */
}

static void segments(void **state)
{
    static const struct {
        uint64_t base;
        bool fine;
    } bases[] = {
        {0, true},
        {UINT64_C(0x7fffffffffff), true},
        {UINT64_C(0x800000000000), false},
        {UINT64_C(0xffff7fffffffffff), false},
        {UINT64_C(0xffff800000000000), true},
        {UINT64_MAX, true},
        {UINT64_C(0x7fff800000000000), false},
    };
    static const struct {
        uint16_t attributes;
        uint32_t limit;
        bool fine;
    } limits[] = {
        {0x82, 0xfffff, true}, {0x82, 0x100000, false}, {0x882, 0xfff, true},  {0x882, 0xffffffff, true},
        {0x882, 0xffe, false}, {0x882, 0x1000, false},  {0x882, 0x7ff, false}, {0x82, 0, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        struct manifest_segment *wide[] = {&REGISTERS.fs, &REGISTERS.gs,   &REGISTERS.ldtr,
                                           &REGISTERS.tr, &REGISTERS.gdtr, &REGISTERS.idtr};
        struct manifest_segment *narrow[] = {&REGISTERS.es, &REGISTERS.cs, &REGISTERS.ss, &REGISTERS.ds};
        for (size_t j = 0; j < sizeof(wide) / sizeof(wide[0]); j++)
            AFTER(wide[j]->base = bases[i].base, OK + (bases[i].fine ? 0 : MANIFEST_SEGMENT_BASE));
        for (size_t j = 0; j < sizeof(narrow) / sizeof(narrow[0]); j++) {
            AFTER(narrow[j]->base = bases[i].base, OK + (bases[i].base == 0 ? 0 : MANIFEST_SEGMENT_BASE));
            AFTER(narrow[j]->base = UINT32_MAX, OK);
            AFTER(narrow[j]->base = UINT64_C(1) << 32, SEGMENT_BASE);
        }
    }
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        AFTER(REGISTERS.ldtr.attributes = limits[i].attributes;
              REGISTERS.ldtr.limit = limits[i].limit, OK + (limits[i].fine ? 0 : MANIFEST_SEGMENT_LIMIT));
    for (unsigned bit = 12; bit < 16; bit++)
        AFTER(REGISTERS.gs.attributes |= (uint16_t)(1u << bit), SEGMENT_RESERVED);
    AFTER(REGISTERS.gdtr.limit = REGISTERS.idtr.limit = 0xffff, OK);
    AFTER(REGISTERS.idtr.limit = 0x10000, TABLE_REGISTER);
    AFTER(REGISTERS.gdtr.selector = 1, TABLE_REGISTER);
    AFTER(REGISTERS.gdtr.attributes = 1, TABLE_REGISTER);
}

/* APM2 4.7, 4.8: every type of descriptor in every register; bit 4 is S, bits 3:0 the type. */
static void each_type_of_segment(void **state)
{
    (void)state;
    for (uint16_t type = 0; type < 32; type++) {
        bool user = type >= 16, code = user && (type & 8), readable = user && (!(type & 8) || (type & 2));
        uint16_t present = type | 0x80;
        AFTER(REGISTERS.cs.attributes = present | 0xa00, OK + (code ? 0 : MANIFEST_CS_NOT_CODE));
        AFTER(REGISTERS.ss.attributes = present | 0xc00,
              OK + (user && !code && (type & 2) ? 0 : MANIFEST_SS_NOT_STACK));
        AFTER(REGISTERS.ds.attributes = present | 0x800, OK + (readable ? 0 : MANIFEST_DATA_SEGMENT));
        AFTER(REGISTERS.gs.attributes = present | 0x800, OK + (readable ? 0 : MANIFEST_DATA_SEGMENT));
        AFTER(REGISTERS.gs.attributes = type | 0x800, OK);      /* absent: nobody asks what it is */
        AFTER(REGISTERS.ldtr.attributes = present, OK + (type == 2 ? 0 : MANIFEST_LDTR));
        AFTER(REGISTERS.ldtr.attributes = type, OK);
        AFTER(REGISTERS.tr.attributes = present, OK + (type == 11 ? 0 : MANIFEST_TR));
        AFTER(REGISTERS.efer = 0; REGISTERS.cs.attributes = 0xc9b;
              REGISTERS.tr.attributes = present, OK + (type == 11 || type == 3 ? 0 : MANIFEST_TR));
    }
    for (uint16_t ring = 1; ring < 4; ring++) {
        AFTER(REGISTERS.cs.attributes |= (uint16_t)(ring << 5), NOT_RING_0);
        AFTER(REGISTERS.ss.attributes |= (uint16_t)(ring << 5), NOT_RING_0);
        AFTER(REGISTERS.ds.attributes |= (uint16_t)(ring << 5), OK);
    }
}

static void where_the_guest_starts(void **state)
{
    (void)state;
    AFTER(REGISTERS.rip = 0x101fff, OK);
    AFTER(REGISTERS.rip = 0xfffff, RIP_NOT_PLACED);
    AFTER(REGISTERS.cr3 = 0x101000, OK);
    AFTER(REGISTERS.cr3 = 0x5000, CR3_NOT_PLACED);
    AFTER(REGISTERS.cr3 = 0x3000, CR3_NOT_PLACED);
    AFTER(REGISTERS.cr3 |= UINT64_C(1) << 50, CR3_NOT_PLACED);      /* not this guest's C-bit */
    AFTER(REGISTERS.cs.base = 0x1000, OK);                          /* of no effect in 64-bit mode */
    AFTER(REGISTERS.cs.base = 0x1000; REGISTERS.rip = 0xff000, RIP_NOT_PLACED);
    AFTER(REGISTERS.cs.base = 0x1000; REGISTERS.rip = 0xff000;
          REGISTERS.cs.attributes = 0xc9b, OK);    /* but in compatibility mode */
    AFTER(REGISTERS.cs.base = 0x1000; REGISTERS.rip = 0xfefff; REGISTERS.cs.attributes = 0xc9b, RIP_NOT_PLACED);
    /* The L bit alone is no long mode. */
    AFTER(REGISTERS.cr0 = 0x11; REGISTERS.cr3 = REGISTERS.efer = 0; REGISTERS.cs.base = 0x1000;
          REGISTERS.rip = 0xff000, OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_and_sizes),
        cmocka_unit_test(one_guest_with_one_step),
        cmocka_unit_test(names),
        cmocka_unit_test(ends_of_life),
        cmocka_unit_test(policy_and_what_only_encrypted_guests_have),
        cmocka_unit_test(flags),
        cmocka_unit_test(the_place_of_a_secret),
        cmocka_unit_test(steps),
        cmocka_unit_test(each_bit_of_the_control_registers),
        cmocka_unit_test(segments),
        cmocka_unit_test(each_type_of_segment),
        cmocka_unit_test(where_the_guest_starts),
    };

    return cmocka_run_group_tests_name("manifest edges", tests, NULL, NULL);
}
