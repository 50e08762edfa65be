/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Each way in which a manifest can be wrong, by changing one thing in a sound
 * one. The last test holds the list against manifest_errors.h: an error that
 * no case provokes is a failure.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/crc32.h"
#include "good.h"

enum seal { SEALED, UNSEALED };

struct spoilt {
    enum manifest_error error;
    int32_t guest, step;        /* where it is to be found */
    enum seal seal;
    const char *rule;
    void (*spoil)(struct good *good);
};

/* With a version. */
#define FIRMWARE good->header.sev_firmware_version[2] = 1, good->header.sev_firmware_size

/* Of alpha, in its step of zeros; a secret may be as large as that. */
#define SECRET                                                                                  \
    good->guests[0].flags = MANIFEST_GUEST_REQUIRE_SECRET, good->guests[0].secret_gpa = 0x8000, \
    good->guests[0].secret_size = MANIFEST_MAX_SECRET

/* SPOIL(rule, error, guest, step, what to change), then the table of all. */
#define SPOIL_ALL                                                                                                      \
    /* header */                                                                                                       \
    SPOIL(magic, BAD_MAGIC, -1, -1, good->header.magic ^= 1)                                                           \
    SPOIL(revision_0, BAD_REVISION, -1, -1, good->header.revision = 0)                                                 \
    SPOIL(revision_1, BAD_REVISION, -1, -1, good->header.revision = 1)                                                 \
    SPOIL(revision_3, BAD_REVISION, -1, -1, good->header.revision = 3)                                                 \
    SPOIL(header_size, BAD_HEADER_SIZE, -1, -1, good->header.header_size = 72)                                         \
    SPOIL(guest_size, BAD_GUEST_SIZE, -1, -1, good->header.guest_size = 0)                                             \
    SPOIL(step_size, BAD_STEP_SIZE, -1, -1, good->header.step_size = 0xffffffff)                                       \
    SPOIL(header_flags, HEADER_FLAGS, -1, -1, good->header.flags = 2)                                                  \
    SPOIL(sev_firmware_without_version, SEV_FIRMWARE_VERSION, -1, -1, good->header.sev_firmware_size = 4096)           \
    SPOIL(version_without_sev_firmware, SEV_FIRMWARE_VERSION, -1, -1, good->header.sev_firmware_version[0] = 1)        \
    SPOIL(sev_firmware_over_1m, SEV_FIRMWARE_SIZE, -1, -1, good->header.sev_firmware_size = (1 << 20) + 1)             \
    SPOIL(sev_firmware_over_end, SEV_FIRMWARE_OUTSIDE, -1, -1, FIRMWARE = sizeof(good->payload) + 1)                   \
    SPOIL(sev_firmware_in_a_step, PAYLOAD_OVERLAP, -1, -1, FIRMWARE = MANIFEST_PAGE - 1)                               \
    SPOIL(no_guests, NO_GUESTS, -1, -1, good->header.guest_count = 0)                                                  \
    SPOIL(guests_513, TOO_MANY_GUESTS, -1, -1, good->header.guest_count = 513)                                         \
    SPOIL(guests_huge, TOO_MANY_GUESTS, -1, -1, good->header.guest_count = 0xffffffff)                                 \
    SPOIL(steps_16385, TOO_MANY_STEPS, -1, -1, good->header.step_count = 16385)                                        \
    SPOIL(steps_huge, TOO_MANY_STEPS, -1, -1, good->header.step_count = 0xffffffff)                                    \
    SPOIL(total_over_4g, TOTAL_TOO_BIG, -1, -1, good->header.total_size = (UINT64_C(1) << 32) + 1)                     \
    SPOIL(total_all_ones, TOTAL_TOO_BIG, -1, -1, good->header.total_size = UINT64_MAX)                                 \
    SPOIL(total_one_more, TRUNCATED, -1, -1, good->header.total_size += 1)                                             \
    SPOIL(total_in_table, PAYLOAD_OUTSIDE, -1, -1, good->header.total_size = 64)                                       \
    SPOIL(payload_in_table, PAYLOAD_MISPLACED, -1, -1, good->header.payload_offset = 0)                                \
    SPOIL(payload_later, PAYLOAD_MISPLACED, -1, -1, good->header.payload_offset += MANIFEST_PAGE)                      \
    SPOIL(payload_unaligned, PAYLOAD_MISPLACED, -1, -1, good->header.payload_offset += 8)                              \
    SPOIL(payload_all_ones, PAYLOAD_MISPLACED, -1, -1, good->header.payload_offset = UINT64_MAX)                       \
    SPOIL(more_guests_than_a_page, PAYLOAD_MISPLACED, -1, -1, good->header.guest_count = 64)                           \
    SPOIL(table_padding, TABLE_PADDING, -1, -1, good->padding[sizeof(good->padding) - 1] = 1)                          \
    /* identity and size */                                                                                            \
    SPOIL(name_empty, NAME_EMPTY, 1, -1, memset(good->guests[1].name, 0, 32))                                          \
    SPOIL(name_without_nul, NAME_NOT_TERMINATED, 1, -1, memset(good->guests[1].name, 'x', 32))                         \
    SPOIL(name_starts_with_dash, NAME_CHARACTER, 0, -1, good->guests[0].name[0] = '-')                                 \
    SPOIL(name_with_space, NAME_CHARACTER, 0, -1, good->guests[0].name[1] = ' ')                                       \
    SPOIL(name_with_escape, NAME_CHARACTER, 0, -1, good->guests[0].name[1] = '\033')                                   \
    SPOIL(name_with_high_byte, NAME_CHARACTER, 0, -1, good->guests[0].name[1] = (char)0xe4)                            \
    SPOIL(name_padding, NAME_PADDING, 2, -1, good->guests[2].name[31] = 'x')                                           \
    SPOIL(name_twice, NAME_TWICE, 2, -1, memcpy(good->guests[2].name, good->guests[0].name, 32))                       \
    SPOIL(guest_reserved0, GUEST_RESERVED, 0, -1, good->guests[0].reserved0 = 1)                                       \
    SPOIL(guest_reserved1, GUEST_RESERVED, 2, -1, good->guests[2].reserved1 = 1)                                       \
    SPOIL(encryption_3, ENCRYPTION_UNKNOWN, 1, -1, good->guests[1].encryption = 3)                                     \
    SPOIL(vcpus_0, NO_VCPUS, 1, -1, good->guests[1].vcpus = 0)                                                         \
    SPOIL(vcpus_65, TOO_MANY_VCPUS, 1, -1, good->guests[1].vcpus = 65)                                                 \
    SPOIL(pin_1024, PIN_RANGE, 2, -1, good->guests[2].cpus[1] = MANIFEST_MAX_CPUS)                                     \
    SPOIL(pin_of_the_last_vcpu, PIN_RANGE, 2, -1, good->guests[2].cpus[63] = MANIFEST_CPU_ANY - 1)                     \
    SPOIL(pin_of_no_vcpu, PIN_WITHOUT_VCPU, 1, -1, good->guests[1].cpus[1] = 0)                                        \
    SPOIL(pin_of_the_last_entry, PIN_WITHOUT_VCPU, 0, -1, good->guests[0].cpus[63] = 1)                                \
    SPOIL(vcpu_taken_from_a_pin, PIN_WITHOUT_VCPU, 2, -1, (good->guests[2].cpus[63] = 0, good->guests[2].vcpus = 63))  \
    SPOIL(memory_0, NO_MEMORY, 1, -1, good->guests[1].memory = 0)                                                      \
    SPOIL(memory_odd, MEMORY_UNALIGNED, 1, -1, good->guests[1].memory += 4096)                                         \
    SPOIL(memory_over_1t, MEMORY_TOO_BIG, 1, -1, good->guests[1].memory = (UINT64_C(1) << 40) + (2 << 20))             \
    SPOIL(memory_huge, MEMORY_TOO_BIG, 1, -1, good->guests[1].memory = UINT64_MAX & ~UINT64_C(0x1fffff))               \
    /* what a guest may do */                                                                                          \
    SPOIL(flag_6, GUEST_FLAGS, 1, -1, good->guests[1].flags = 1 << 6)                                                  \
    SPOIL(flag_15, GUEST_FLAGS, 2, -1, good->guests[2].flags = 1 << 15)                                                \
    SPOIL(control_guest_with_sev, CONTROL_WITH_SEV, 0, -1, good->guests[0].flags = MANIFEST_GUEST_CONTROL)             \
    SPOIL(control_guest_in_the_window, CONTROL_MEMORY, 1, -1,                                                          \
          (good->guests[1].flags = MANIFEST_GUEST_CONTROL, good->guests[1].memory = UINT64_C(0xf0200000)))             \
    SPOIL(two_control_guests, CONTROL_TWICE, 2, -1,                                                                    \
          good->guests[1].flags = good->guests[2].flags = MANIFEST_GUEST_CONTROL)                                      \
    SPOIL(com2_of_another, COM2_WITHOUT_CONTROL, 1, -1, good->guests[1].flags = MANIFEST_GUEST_SERIAL_COM2)            \
    /* end of life */                                                                                                  \
    SPOIL(action_2, ACTION_UNKNOWN, 1, -1, good->guests[1].on_crash = 2)                                               \
    SPOIL(action_255, ACTION_UNKNOWN, 1, -1, good->guests[1].on_poweroff = 255)                                        \
    SPOIL(restarts_alone, RESTARTS_WITHOUT_ACTION, 0, -1, good->guests[0].restarts = 1)                                \
    SPOIL(restart_no_times, ACTION_WITHOUT_RESTARTS, 1, -1, good->guests[1].restarts = 0)                              \
    SPOIL(crash_restart_no_times, ACTION_WITHOUT_RESTARTS, 0, -1, good->guests[0].on_crash = MANIFEST_ACTION_RESTART)  \
    /* SEV */                                                                                                          \
    SPOIL(policy_without_sev, POLICY_WITHOUT_SEV, 1, -1, good->guests[1].sev_policy = 1)                               \
    SPOIL(c_bit_without_sev, C_BIT_WITHOUT_SEV, 2, -1, good->guests[2].cbitpos = 51)                                   \
    SPOIL(reduction_without_sev, C_BIT_WITHOUT_SEV, 2, -1, good->guests[2].reduced_phys_bits = 1)                      \
    SPOIL(session_without_sev, SESSION_WITHOUT_SEV, 1, -1, good->guests[1].session_size = 128)                         \
    SPOIL(digest_without_sev, DIGEST_WITHOUT_SEV, 1, -1, good->guests[1].launch_digest[31] = 1)                        \
    SPOIL(host_guest_with_sev_digest, DIGEST_WITHOUT_SEV, 2, -1, good->guests[2].launch_digest[0] = 1)                 \
    SPOIL(secret_without_sev, SECRET_WITHOUT_SEV, 2, -1, good->guests[2].flags = MANIFEST_GUEST_REQUIRE_SECRET)        \
    SPOIL(at_launch_without_sev, SESSION_WITHOUT_SEV, 1, -1, good->guests[1].flags = MANIFEST_GUEST_SESSION_AT_LAUNCH) \
    SPOIL(two_sessions, SESSION_TWICE, 0, -1, good->guests[0].flags = MANIFEST_GUEST_SESSION_AT_LAUNCH)                \
    SPOIL(policy_bit_6, POLICY_RESERVED, 0, -1, good->guests[0].sev_policy |= 1 << 6)                                  \
    SPOIL(policy_bit_15, POLICY_RESERVED, 0, -1, good->guests[0].sev_policy |= 1 << 15)                                \
    SPOIL(policy_es, POLICY_ES, 0, -1, good->guests[0].sev_policy |= 1 << 2)                                           \
    SPOIL(c_bit_31, C_BIT_RANGE, 0, -1, good->guests[0].cbitpos = 31)                                                  \
    SPOIL(c_bit_52, C_BIT_RANGE, 0, -1, good->guests[0].cbitpos = 52)                                                  \
    SPOIL(c_bit_64, C_BIT_RANGE, 0, -1, good->guests[0].cbitpos = 64)                                                  \
    SPOIL(reduction_0, REDUCED_PHYS_BITS_RANGE, 0, -1, good->guests[0].reduced_phys_bits = 0)                          \
    SPOIL(reduction_64, REDUCED_PHYS_BITS_RANGE, 0, -1, good->guests[0].reduced_phys_bits = 64)                        \
    SPOIL(memory_over_c_bit, MEMORY_REACHES_C_BIT, 0, -1,                                                              \
          (good->guests[0].cbitpos = 32, good->guests[0].memory = (UINT64_C(1) << 32) + (2 << 20)))                    \
    SPOIL(digest_missing, DIGEST_MISSING, 0, -1, memset(good->guests[0].launch_digest, 0, 32))                         \
    SPOIL(cert_2083, DH_CERT_SIZE, 0, -1, good->guests[0].dh_cert_size = 2083)                                         \
    SPOIL(session_129, SESSION_SIZE, 0, -1, good->guests[0].session_size = 129)                                        \
    SPOIL(cert_alone, SESSION_INCOMPLETE, 0, -1,                                                                       \
          (good->guests[0].session_size = 0, good->guests[0].session_offset = 0))                                      \
    SPOIL(session_alone, SESSION_INCOMPLETE, 0, -1,                                                                    \
          (good->guests[0].dh_cert_size = 0, good->guests[0].dh_cert_offset = 0))                                      \
    SPOIL(offset_of_nothing, SESSION_OFFSET, 0, -1,                                                                    \
          (good->guests[0].session_size = 0, good->guests[0].dh_cert_size = 0))                                        \
    SPOIL(cert_in_table, DH_CERT_OUTSIDE, 0, -1, good->guests[0].dh_cert_offset = 64)                                  \
    SPOIL(cert_over_end, DH_CERT_OUTSIDE, 0, -1, good->guests[0].dh_cert_offset = sizeof(*good) - 2083)                \
    SPOIL(cert_wraps, DH_CERT_OUTSIDE, 0, -1, good->guests[0].dh_cert_offset = UINT64_MAX - 100)                       \
    SPOIL(session_over_end, SESSION_OUTSIDE, 0, -1, good->guests[0].session_offset = sizeof(*good) - 127)              \
    SPOIL(session_wraps, SESSION_OUTSIDE, 0, -1, good->guests[0].session_offset = UINT64_MAX)                          \
    /* registers */                                                                                                    \
    SPOIL(cr0_bit_63, CR0_RESERVED, 0, -1, REGISTERS.cr0 |= UINT64_C(1) << 63)                                         \
    SPOIL(cr0_bit_6, CR0_RESERVED, 0, -1, REGISTERS.cr0 |= 1 << 6)                                                     \
    SPOIL(nw_without_cd, CR0_NW_WITHOUT_CD, 0, -1, REGISTERS.cr0 |= 1 << 29)                                           \
    SPOIL(pg_without_pe, CR0_PG_WITHOUT_PE, 0, -1, REGISTERS.cr0 &= ~UINT64_C(1))                                      \
    SPOIL(cr4_bit_63, CR4_RESERVED, 0, -1, REGISTERS.cr4 |= UINT64_C(1) << 63)                                         \
    SPOIL(cr4_la57, CR4_RESERVED, 0, -1, REGISTERS.cr4 |= 1 << 12)                                                     \
    SPOIL(efer_svme, EFER_RESERVED, 0, -1, REGISTERS.efer |= 1 << 12)                                                  \
    SPOIL(efer_bit_63, EFER_RESERVED, 0, -1, REGISTERS.efer |= UINT64_C(1) << 63)                                      \
    SPOIL(lme_and_pg_without_lma, EFER_LMA, 0, -1, REGISTERS.efer &= ~UINT64_C(0x400))                                 \
    SPOIL(lma_without_lme, EFER_LMA, 0, -1, REGISTERS.efer &= ~UINT64_C(0x100))                                        \
    SPOIL(lma_without_pg, EFER_LMA, 0, -1, (REGISTERS.cr0 = 0x11, REGISTERS.cr3 = 0))                                  \
    SPOIL(long_mode_without_pae, LONG_MODE_WITHOUT_PAE, 0, -1, REGISTERS.cr4 = 0)                                      \
    SPOIL(cr3_low_bits, CR3_UNALIGNED, 0, -1, REGISTERS.cr3 |= 8)                                                      \
    SPOIL(cr3_without_paging, CR3_WITHOUT_PAGING, 0, -1, (REGISTERS.cr0 = 0x11, REGISTERS.efer = 0))                   \
    SPOIL(cr3_at_page_0, CR3_NOT_PLACED, 0, -1, REGISTERS.cr3 = 0)                                                     \
    SPOIL(cr3_in_zeros, CR3_NOT_PLACED, 0, -1, REGISTERS.cr3 = 0x8000)                                                 \
    SPOIL(cr3_in_shared, CR3_NOT_PLACED, 0, -1, REGISTERS.cr3 = 0x200000)                                              \
    SPOIL(cr3_beyond_memory, CR3_NOT_PLACED, 0, -1, REGISTERS.cr3 = UINT64_C(1) << 62)                                 \
    SPOIL(cr3_c_bit_without_sev, CR3_NOT_PLACED, 1, -1, good->guests[1].registers.cr3 |= UINT64_C(1) << 51)            \
    SPOIL(rflags_bit_1, RFLAGS_RESERVED, 0, -1, REGISTERS.rflags = 0)                                                  \
    SPOIL(rflags_bit_3, RFLAGS_RESERVED, 0, -1, REGISTERS.rflags |= 8)                                                 \
    SPOIL(rflags_bit_63, RFLAGS_RESERVED, 0, -1, REGISTERS.rflags |= UINT64_C(1) << 63)                                \
    SPOIL(rflags_vm, RFLAGS_VM, 0, -1, REGISTERS.rflags |= 1 << 17)                                                    \
    SPOIL(rip_unplaced, RIP_NOT_PLACED, 0, -1, REGISTERS.rip = 0x102000)                                               \
    SPOIL(rip_in_shared, RIP_NOT_PLACED, 0, -1, REGISTERS.rip = 0x200000)                                              \
    SPOIL(rip_not_canonical, RIP_NOT_PLACED, 0, -1, REGISTERS.rip = UINT64_C(1) << 47)                                 \
    SPOIL(rip_all_ones, RIP_NOT_PLACED, 0, -1, REGISTERS.rip = UINT64_MAX)                                             \
    SPOIL(rip_plus_base_wraps, RIP_NOT_PLACED, 0, -1,                                                                  \
          (protected_mode(&REGISTERS), REGISTERS.cs.base = 0x100000, REGISTERS.rip = UINT64_MAX))                      \
    SPOIL(segment_bit_12, SEGMENT_RESERVED, 0, -1, REGISTERS.ds.attributes |= 0x1000)                                  \
    SPOIL(segment_bit_15, SEGMENT_RESERVED, 0, -1, REGISTERS.tr.attributes |= 0x8000)                                  \
    SPOIL(limit_over_1m, SEGMENT_LIMIT, 0, -1, REGISTERS.ldtr.limit = 0x100000)                                        \
    SPOIL(limit_not_in_pages, SEGMENT_LIMIT, 0, -1, REGISTERS.cs.limit = 0xfffffffe)                                   \
    SPOIL(fs_base_not_canonical, SEGMENT_BASE, 0, -1, REGISTERS.fs.base = UINT64_C(1) << 48)                           \
    SPOIL(ss_base_over_4g, SEGMENT_BASE, 0, -1, REGISTERS.ss.base = UINT64_C(1) << 32)                                 \
    SPOIL(gdtr_base_not_canonical, SEGMENT_BASE, 0, -1, REGISTERS.gdtr.base = UINT64_C(1) << 63)                       \
    SPOIL(cs_absent, CS_NOT_CODE, 0, -1, REGISTERS.cs.attributes &= ~0x80u)                                            \
    SPOIL(cs_data, CS_NOT_CODE, 0, -1, REGISTERS.cs = REGISTERS.ds)                                                    \
    SPOIL(cs_system, CS_NOT_CODE, 0, -1, REGISTERS.cs.attributes &= ~0x10u)                                            \
    SPOIL(cs_l_and_d, CS_LONG_AND_BIG, 0, -1, REGISTERS.cs.attributes |= 0x400)                                        \
    SPOIL(ss_absent, SS_NOT_STACK, 0, -1, memset(&REGISTERS.ss, 0, sizeof(REGISTERS.ss)))                              \
    SPOIL(ss_read_only, SS_NOT_STACK, 0, -1, REGISTERS.ss.attributes &= ~2u)                                           \
    SPOIL(ss_code, SS_NOT_STACK, 0, -1, REGISTERS.ss.attributes |= 8)                                                  \
    SPOIL(cs_ring_3, NOT_RING_0, 0, -1, REGISTERS.cs.attributes |= 0x60)                                               \
    SPOIL(ss_ring_1, NOT_RING_0, 0, -1, REGISTERS.ss.attributes |= 0x20)                                               \
    SPOIL(ds_execute_only, DATA_SEGMENT, 0, -1, REGISTERS.ds.attributes = 0xc99)                                       \
    SPOIL(gs_system, DATA_SEGMENT, 0, -1, REGISTERS.gs = REGISTERS.ldtr)                                               \
    SPOIL(ldtr_is_tss, LDTR, 0, -1, REGISTERS.ldtr.attributes = 0x8b)                                                  \
    SPOIL(tr_absent, TR, 0, -1, REGISTERS.tr.attributes = 0x0b)                                                        \
    SPOIL(tr_available, TR, 0, -1, REGISTERS.tr.attributes = 0x89)                                                     \
    SPOIL(tr_16_bit_in_long_mode, TR, 0, -1, REGISTERS.tr.attributes = 0x83)                                           \
    SPOIL(tr_is_data, TR, 0, -1, REGISTERS.tr.attributes = 0x9b)                                                       \
    SPOIL(gdtr_limit, TABLE_REGISTER, 0, -1, REGISTERS.gdtr.limit = 0x10000)                                           \
    SPOIL(idtr_selector, TABLE_REGISTER, 0, -1, REGISTERS.idtr.selector = 8)                                           \
    SPOIL(idtr_attributes, TABLE_REGISTER, 0, -1, REGISTERS.idtr.attributes = 0x82)                                    \
    /* steps */                                                                                                        \
    SPOIL(guest_without_steps, NO_STEPS, 1, -1, good->guests[1].step_count = 0)                                        \
    SPOIL(steps_of_another, STEPS_NOT_CONSECUTIVE, 1, -1, good->guests[1].first_step = 0)                              \
    SPOIL(steps_skipped, STEPS_NOT_CONSECUTIVE, 1, -1, good->guests[1].first_step = 5)                                 \
    SPOIL(more_steps_than_table, STEPS_OUTSIDE, 2, -1, good->guests[2].step_count = 4)                                 \
    SPOIL(step_count_huge, STEPS_OUTSIDE, 0, -1, good->guests[0].step_count = 0xffffffff)                              \
    SPOIL(step_unowned, STEPS_UNOWNED, -1, -1, good->guests[2].step_count = 2)                                         \
    SPOIL(kind_0, STEP_KIND, 0, 0, good->steps[0].kind = 0)                                                            \
    SPOIL(kind_4, STEP_KIND, 2, 8, good->steps[8].kind = 4)                                                            \
    SPOIL(step_reserved, STEP_RESERVED, 0, 1, good->steps[1].reserved = 1)                                             \
    SPOIL(step_empty, STEP_EMPTY, 0, 2, good->steps[2].size = 0)                                                       \
    SPOIL(step_gpa_unaligned, STEP_UNALIGNED, 0, 2, good->steps[2].gpa += 16)                                          \
    SPOIL(step_size_unaligned, STEP_UNALIGNED, 0, 2, good->steps[2].size -= 16)                                        \
    SPOIL(step_over_memory, STEP_OUTSIDE, 2, 8, good->steps[8].gpa += MANIFEST_PAGE)                                   \
    SPOIL(step_end_over_memory, STEP_OUTSIDE, 0, 1, good->steps[1].size = 16 << 20)                                    \
    SPOIL(step_wraps, STEP_OUTSIDE, 0, 1, good->steps[1].size = UINT64_MAX & ~UINT64_C(0xfff))                         \
    SPOIL(step_gpa_wraps, STEP_OUTSIDE, 0, 3, good->steps[3].gpa = UINT64_MAX & ~UINT64_C(0xfff))                      \
    SPOIL(steps_descend, STEP_ORDER, 0, 1, good->steps[1].gpa = 0x1000)                                                \
    SPOIL(steps_same_address, STEP_OVERLAP, 0, 1, good->steps[1].gpa = 0x4000)                                         \
    SPOIL(steps_overlap, STEP_OVERLAP, 0, 2, good->steps[2].gpa = 0xa000)                                              \
    SPOIL(zeros_with_payload, ZERO_WITH_PAYLOAD, 0, 1, good->steps[1].payload_offset = good->steps[0].payload_offset)  \
    SPOIL(payload_not_on_page, STEP_PAYLOAD_UNALIGNED, 0, 0, good->steps[0].payload_offset += 64)                      \
    SPOIL(payload_is_table, STEP_PAYLOAD_OUTSIDE, 0, 0, good->steps[0].payload_offset = 0)                             \
    SPOIL(payload_over_end, STEP_PAYLOAD_OUTSIDE, 0, 2, good->steps[2].payload_offset = sizeof(*good) - MANIFEST_PAGE) \
    SPOIL(payload_wraps, STEP_PAYLOAD_OUTSIDE, 0, 2, good->steps[2].payload_offset = UINT64_MAX & ~UINT64_C(0xfff))    \
    /* the secret's place */                                                                                           \
    SPOIL(secret_for_nobody, SECRET_NOT_REQUIRED, 0, -1, good->guests[0].secret_size = 16)                             \
    SPOIL(place_for_nobody, SECRET_NOT_REQUIRED, 1, -1, good->guests[1].secret_gpa = 4096)                             \
    SPOIL(secret_without_session, SECRET_WITHOUT_SESSION, 0, -1,                                                       \
          (SECRET, good->guests[0].dh_cert_size = good->guests[0].session_size = 0,                                    \
           good->guests[0].dh_cert_offset = good->guests[0].session_offset = 0))                                       \
    SPOIL(secret_empty, SECRET_SIZE, 0, -1, (SECRET, good->guests[0].secret_size = 0))                                 \
    SPOIL(secret_over_16k, SECRET_SIZE, 0, -1, (SECRET, good->guests[0].secret_size = 0x4010))                         \
    SPOIL(secret_size_unaligned, SECRET_SIZE, 0, -1, (SECRET, good->guests[0].secret_size = 0x1008))                   \
    SPOIL(secret_gpa_unaligned, SECRET_SIZE, 0, -1, (SECRET, good->guests[0].secret_gpa += 8))                         \
    SPOIL(secret_over_memory, SECRET_OUTSIDE, 0, -1, (SECRET, good->guests[0].secret_gpa = (16 << 20) - 0x3ff0))       \
    SPOIL(secret_wraps, SECRET_OUTSIDE, 0, -1, (SECRET, good->guests[0].secret_gpa = UINT64_MAX - 15))                 \
    SPOIL(secret_over_page_tables, SECRET_OVER_STEP, 0, -1, (SECRET, good->guests[0].secret_gpa = 0x4ff0))             \
    SPOIL(secret_over_shared, SECRET_OVER_STEP, 0, -1, (SECRET, good->guests[0].secret_gpa = 0x1fc010))                \
    SPOIL(payloads_overlap, PAYLOAD_OVERLAP, -1, -1, good->steps[3].payload_offset = good->steps[2].payload_offset)    \
    SPOIL(payload_overlaps_session, PAYLOAD_OVERLAP, -1, -1,                                                           \
          good->guests[0].session_offset = good->guests[0].dh_cert_offset)                                             \
    SPOIL(payload_overlaps_cert, PAYLOAD_OVERLAP, -1, -1,                                                              \
          good->guests[0].dh_cert_offset = good->steps[0].payload_offset + 100)

#define UNSEALED_ALL                                                                      \
    SPOIL(table_changed, TABLE_CHECKSUM, -1, -1, good->guests[0].sev_policy ^= 1)         \
    SPOIL(step_moved, TABLE_CHECKSUM, -1, -1, good->steps[2].gpa += MANIFEST_PAGE)        \
    SPOIL(checksum_changed, TABLE_CHECKSUM, -1, -1, good->header.table_checksum ^= 1)     \
    SPOIL(image_changed, PAYLOAD_CHECKSUM, -1, -1, good->payload[PAGE_IMAGE][17] ^= 0x40) \
    SPOIL(last_byte_changed, PAYLOAD_CHECKSUM, -1, -1, good->payload[PAGE_SPARE][MANIFEST_PAGE - 1] ^= 1)

#define REGISTERS good->guests[0].registers

/* A start without paging, as a 32-bit loader would have it. */
static void protected_mode(struct manifest_registers *r)
{
    r->cr0 = 0x11;
    r->cr3 = 0;
    r->cr4 = 0;
    r->efer = 0;
    r->cs.attributes = 0xc9b;
}

#define SPOIL(rule, error, guest, step, ...)    \
    static void spoil_##rule(struct good *good) \
    {                                           \
        __VA_ARGS__;                            \
    }
SPOIL_ALL
UNSEALED_ALL
#undef SPOIL

static const struct spoilt spoilt[] = {
#define SPOIL(rule, error, guest, step, ...) {MANIFEST_##error, guest, step, SEALED, #rule, spoil_##rule},
    SPOIL_ALL
#undef SPOIL
#define SPOIL(rule, error, guest, step, ...) {MANIFEST_##error, guest, step, UNSEALED, #rule, spoil_##rule},
        UNSEALED_ALL
#undef SPOIL
};

#define ERROR_COUNT (sizeof(error_names) / sizeof(error_names[0]))
static const char *const error_names[] = {"OK",
#define MANIFEST_ERROR(name, text) #name,
                                          MANIFEST_ERRORS
#undef MANIFEST_ERROR
};

static unsigned hits[ERROR_COUNT];

/* On the heap and exactly as long as claimed, so that the sanitizer sees a byte too far. */
static enum manifest_error check(const void *bytes, size_t size, struct manifest_where *where)
{
    void *copy = malloc(size > 0 ? size : 1);
    enum manifest_error error;

    assert_non_null(copy);
    memcpy(copy, bytes, size);
    error = manifest_check(copy, size, where);
    hits[error]++;
    free(copy);
    return error;
}

static void a_sound_manifest_is_accepted(void **state)
{
    struct good *good = *state;
    struct manifest_where where = {7, 7};

    assert_int_equal(check(good, sizeof(*good), &where), MANIFEST_OK);
    assert_int_equal(where.guest, -1);
    assert_int_equal(where.step, -1);
    assert_int_equal(manifest_check(good, sizeof(*good), NULL), MANIFEST_OK);
}

static void parts_are_found(void **state)
{
    struct good *good = *state;

    assert_ptr_equal(manifest_guest(good, 2), &good->guests[2]);
    assert_ptr_equal(manifest_step(good, 8), &good->steps[8]);
}

static void each_spoilt_manifest_has_its_error(void **state)
{
    struct good *good = *state;
    unsigned failures = 0;

    for (size_t i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
        struct manifest_where where;
        enum manifest_error error;

        good_make(good);
        spoilt[i].spoil(good);
        if (spoilt[i].seal == SEALED)
            good_seal(good);
        error = check(good, sizeof(*good), &where);
        if (error != spoilt[i].error || where.guest != spoilt[i].guest || where.step != spoilt[i].step) {
            print_error("%s: %s guest %d step %d, expected %s guest %d step %d\n", spoilt[i].rule,
                        manifest_error_name(error), where.guest, where.step, manifest_error_name(spoilt[i].error),
                        spoilt[i].guest, spoilt[i].step);
            failures++;
        }
    }
    print_message("%zu spoilt manifests\n", sizeof(spoilt) / sizeof(spoilt[0]));
    assert_int_equal(failures, 0);
}

static void a_manifest_cut_anywhere_is_refused(void **state)
{
    struct good *good = *state;

    for (size_t size = 0; size < sizeof(*good); size += size < 8192 ? 1 : 61) {
        enum manifest_error error = check(good, size, NULL);

        assert_int_equal(error, size < sizeof(good->header) ? MANIFEST_TOO_SHORT : MANIFEST_TRUNCATED);
    }
}

static void a_manifest_on_an_odd_address_is_refused(void **state)
{
    struct good *good = *state;
    uint8_t *copy = malloc(sizeof(*good) + 8);

    assert_non_null(copy);
    for (unsigned offset = 1; offset < 8; offset++) {
        memcpy(copy + offset, good, sizeof(*good));
        assert_int_equal(manifest_check(copy + offset, sizeof(*good), NULL), MANIFEST_NOT_ALIGNED);
    }
    hits[MANIFEST_NOT_ALIGNED]++;
    free(copy);
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct good *good = *state;
    uint8_t *bytes = (uint8_t *)good;

    for (size_t i = 0; i < sizeof(*good); i += i < MANIFEST_PAGE ? 1 : 113) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1u << bit);
            assert_int_not_equal(manifest_check(good, sizeof(*good), NULL), MANIFEST_OK);
            bytes[i] ^= (uint8_t)(1u << bit);
        }
    }
}

static void padding_after_the_manifest_is_ignored(void **state)
{
    struct good *good = *state;
    uint8_t *longer = malloc(sizeof(*good) + 512);

    assert_non_null(longer);
    memcpy(longer, good, sizeof(*good));
    memset(longer + sizeof(*good), 0xff, 512);
    assert_int_equal(manifest_check(longer, sizeof(*good) + 512, NULL), MANIFEST_OK);
    free(longer);
}

static void other_sound_starts_are_accepted(void **state)
{
    struct good *good = *state;

    protected_mode(&REGISTERS);
    good_seal(good);
    assert_int_equal(check(good, sizeof(*good), NULL), MANIFEST_OK);

    good_make(good);    /* real mode */
    REGISTERS.cr0 = 0x10;
    REGISTERS.cr3 = REGISTERS.cr4 = REGISTERS.efer = 0;
    REGISTERS.cs = (struct manifest_segment){0xf000, 0x9b, 0xffff, 0xff000};
    REGISTERS.rip = 0x1010;
    REGISTERS.tr.attributes = 0x83;
    good_seal(good);
    assert_int_equal(check(good, sizeof(*good), NULL), MANIFEST_OK);

    good_make(good);    /* the C-bit in CR3, as Linux itself sets it */
    REGISTERS.cr3 |= UINT64_C(1) << 51;
    good_seal(good);
    assert_int_equal(check(good, sizeof(*good), NULL), MANIFEST_OK);

    good_make(good);    /* an encrypted guest without a session; segments that are absent */
    good->guests[0].dh_cert_offset = good->guests[0].session_offset = 0;
    good->guests[0].dh_cert_size = good->guests[0].session_size = 0;
    memset(&REGISTERS.fs, 0, sizeof(REGISTERS.fs));
    memset(&REGISTERS.ldtr, 0, sizeof(REGISTERS.ldtr));
    good_seal(good);
    assert_int_equal(check(good, sizeof(*good), NULL), MANIFEST_OK);
}

static void each_vcpu_may_be_pinned_or_not(void **state)
{
    struct good *good = *state;

    good->guests[2].cpus[0] = 0;
    good->guests[2].cpus[2] = good->guests[2].cpus[3] = 1;      /* they share a CPU */
    good->guests[2].cpus[63] = MANIFEST_MAX_CPUS - 1;
    good_seal(good);
    assert_int_equal(check(good, sizeof(*good), NULL), MANIFEST_OK);
}

static void every_error_has_a_name_and_a_sentence(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ERROR_COUNT; i++) {
        const char *name = manifest_error_name((enum manifest_error)i);
        const char *text = manifest_error_text((enum manifest_error)i);

        assert_int_equal(strncmp(name, "MANIFEST_", 9), 0);
        assert_string_equal(name + 9, error_names[i]);
        assert_true(strlen(text) > 10);
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(text, manifest_error_text((enum manifest_error)j));
    }
    assert_string_equal(manifest_error_name((enum manifest_error)ERROR_COUNT), "MANIFEST_?");
    assert_string_equal(manifest_error_text((enum manifest_error)0xffff), "an error without a name");
}

static void every_error_was_provoked(void **state)
{
    unsigned missing = 0;

    (void)state;
    for (unsigned i = 0; i < ERROR_COUNT; i++) {
        if (hits[i] == 0) {
            print_error("no test provokes MANIFEST_%s\n", error_names[i]);
            missing++;
        }
    }
    print_message("%zu errors\n", ERROR_COUNT - 1);
    assert_int_equal(missing, 0);
    assert_true(ERROR_COUNT - 1 >= 40);
}

/* The definition, bit by bit. */
static uint32_t crc32_reference(const uint8_t *bytes, size_t size)
{
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void crc32_is_ieee_802_3(void **state)
{
    uint8_t bytes[300];

    (void)state;
    assert_int_equal(crc32_update(0, "123456789", 9), 0xcbf43926);
    assert_int_equal(crc32_update(0, "", 0), 0);
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 197 + (i >> 3));
    for (unsigned begin = 0; begin < 17; begin++)
        for (unsigned size = 0; size + begin <= sizeof(bytes); size++) {
            uint32_t whole = crc32_update(0, bytes + begin, size);
            uint32_t halves =
                crc32_update(crc32_update(0, bytes + begin, size / 3), bytes + begin + size / 3, size - size / 3);

            assert_int_equal(whole, crc32_reference(bytes + begin, size));
            assert_int_equal(halves, whole);
        }
}

static int set_up(void **state)
{
    struct good *good = malloc(sizeof(*good));

    if (good == NULL)
        return -1;
    good_make(good);
    *state = good;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(crc32_is_ieee_802_3),
        TEST(a_sound_manifest_is_accepted),
        TEST(parts_are_found),
        TEST(each_spoilt_manifest_has_its_error),
        TEST(a_manifest_cut_anywhere_is_refused),
        TEST(a_manifest_on_an_odd_address_is_refused),
        TEST(every_flipped_bit_is_noticed),
        TEST(padding_after_the_manifest_is_ignored),
        TEST(other_sound_starts_are_accepted),
        TEST(each_vcpu_may_be_pinned_or_not),
        TEST(every_error_has_a_name_and_a_sentence),
        TEST(every_error_was_provoked),
    };

    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
