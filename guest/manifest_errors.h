/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Every way in which a manifest can be wrong: a name, and a sentence for the
 * operator. The order is the order of checking, by and large; numbers are not
 * stable between builds, names are.
 *
 * Each has its own name; the texts are in manifest.c. The list is an X-macro so that name and text cannot be forgotten.
 *
 * Conventions: X_RESERVED a bit or byte that must be zero is not; X_OUTSIDE a
 * range that leaves its container (overflow included).
 */
#ifndef SEVISOR_MANIFEST_ERRORS_H
#define SEVISOR_MANIFEST_ERRORS_H

#define MANIFEST_ERRORS                                                                                              \
    /* The header */                                                                                                 \
    MANIFEST_ERROR(NOT_ALIGNED, "the manifest does not lie on an 8-byte boundary")                                   \
    MANIFEST_ERROR(TOO_SHORT, "there are fewer bytes than a manifest's header has")                                  \
    MANIFEST_ERROR(BAD_MAGIC, "this is not a manifest: the magic number is wrong")                                   \
    MANIFEST_ERROR(BAD_REVISION, "the manifest's revision is not one that this hypervisor knows")                    \
    MANIFEST_ERROR(BAD_HEADER_SIZE, "the header's size is not that of this revision")                                \
    MANIFEST_ERROR(BAD_GUEST_SIZE, "the guest record's size is not that of this revision")                           \
    MANIFEST_ERROR(BAD_STEP_SIZE, "the step record's size is not that of this revision")                             \
    MANIFEST_ERROR(HEADER_FLAGS, "the header has a flag that this hypervisor does not know")                         \
    MANIFEST_ERROR(NO_GUESTS, "the manifest names no guest")                                                         \
    MANIFEST_ERROR(TOO_MANY_GUESTS, "the manifest names more than 512 guests")                                       \
    MANIFEST_ERROR(TOO_MANY_STEPS, "the manifest has more than 16384 steps")                                         \
    MANIFEST_ERROR(TOTAL_TOO_BIG, "the manifest claims to be longer than 4 GiB")                                     \
    MANIFEST_ERROR(TRUNCATED, "the manifest claims more bytes than there are")                                       \
    MANIFEST_ERROR(PAYLOAD_MISPLACED, "the payload does not begin at the first page after the table")                \
    MANIFEST_ERROR(PAYLOAD_OUTSIDE, "the payload begins beyond the manifest's end")                                  \
    MANIFEST_ERROR(SEV_FIRMWARE_SIZE, "the SEV firmware is larger than 1 MiB")                                       \
    MANIFEST_ERROR(SEV_FIRMWARE_VERSION, "SEV firmware without a version, or a version without firmware")            \
    MANIFEST_ERROR(SEV_FIRMWARE_OUTSIDE, "the SEV firmware does not end inside the payload")                         \
    MANIFEST_ERROR(TABLE_CHECKSUM, "the table's checksum is wrong: header, guests or steps were damaged or changed") \
    MANIFEST_ERROR(TABLE_PADDING, "the bytes between the table and the payload are not zero")                        \
    /* A guest's identity and size */                                                                                \
    MANIFEST_ERROR(NAME_EMPTY, "a guest has no name")                                                                \
    MANIFEST_ERROR(NAME_NOT_TERMINATED, "a guest's name has no terminating NUL")                                     \
    MANIFEST_ERROR(                                                                                                  \
        NAME_CHARACTER,                                                                                              \
        "a guest's name has a character other than [a-zA-Z0-9._-], or does not start with a letter or digit")        \
    MANIFEST_ERROR(NAME_PADDING, "a guest's name is followed by bytes that are not zero")                            \
    MANIFEST_ERROR(NAME_TWICE, "two guests have the same name")                                                      \
    MANIFEST_ERROR(GUEST_RESERVED, "a reserved field of a guest is not zero")                                        \
    MANIFEST_ERROR(ENCRYPTION_UNKNOWN, "a guest asks for an unknown kind of encryption")                             \
    MANIFEST_ERROR(NO_VCPUS, "a guest has no vCPU")                                                                  \
    MANIFEST_ERROR(TOO_MANY_VCPUS, "a guest has more than 64 vCPUs")                                                 \
    MANIFEST_ERROR(PIN_RANGE, "a vCPU is pinned to a CPU beyond 1023")                                               \
    MANIFEST_ERROR(PIN_WITHOUT_VCPU, "a CPU is given for a vCPU that the guest does not have")                       \
    MANIFEST_ERROR(NO_MEMORY, "a guest has no memory")                                                               \
    MANIFEST_ERROR(MEMORY_UNALIGNED, "a guest's memory is not a multiple of 2 MiB")                                  \
    MANIFEST_ERROR(MEMORY_TOO_BIG, "a guest has more than 1 TiB of memory")                                          \
    /* What a guest may do */                                                                                        \
    MANIFEST_ERROR(GUEST_FLAGS, "a guest has a flag that this hypervisor does not know")                             \
    MANIFEST_ERROR(CONTROL_WITH_SEV, "the control guest has SEV: its requests lie in plain memory (none or host)")   \
    MANIFEST_ERROR(CONTROL_MEMORY,                                                                                   \
                   "the control guest's memory reaches the window of the control interface, 0xf0000000")             \
    MANIFEST_ERROR(CONTROL_TWICE, "two guests are the control guest")                                                \
    MANIFEST_ERROR(COM2_WITHOUT_CONTROL, "a guest other than the control guest asks for the second serial port")     \
    /* A guest's end of life */                                                                                      \
    MANIFEST_ERROR(ACTION_UNKNOWN, "on_poweroff, on_reboot or on_crash is neither destroy nor restart")              \
    MANIFEST_ERROR(RESTARTS_WITHOUT_ACTION, "restarts is given, but no event of the guest restarts it")              \
    MANIFEST_ERROR(ACTION_WITHOUT_RESTARTS, "an event restarts the guest, but at most 0 times")                      \
    /* What only an encrypted guest has */                                                                           \
    MANIFEST_ERROR(POLICY_WITHOUT_SEV, "a guest without SEV has a SEV policy")                                       \
    MANIFEST_ERROR(C_BIT_WITHOUT_SEV, "a guest without SEV has a C-bit position or a reduction of physical bits")    \
    MANIFEST_ERROR(SESSION_WITHOUT_SEV, "a guest without SEV has an owner's certificate or session")                 \
    MANIFEST_ERROR(DIGEST_WITHOUT_SEV, "a guest without SEV has a launch digest")                                    \
    MANIFEST_ERROR(SECRET_WITHOUT_SEV, "a guest without SEV requires a secret")                                      \
    MANIFEST_ERROR(POLICY_RESERVED, "the SEV policy has reserved bits set (15:6)")                                   \
    MANIFEST_ERROR(POLICY_ES, "the SEV policy demands SEV-ES, which this revision does not launch")                  \
    MANIFEST_ERROR(C_BIT_RANGE, "cbitpos is not an address bit of a page-table entry (32 to 51)")                    \
    MANIFEST_ERROR(REDUCED_PHYS_BITS_RANGE, "reduced-phys-bits is not in 1 to 63")                                   \
    MANIFEST_ERROR(MEMORY_REACHES_C_BIT, "the guest's memory reaches the C-bit's position")                          \
    MANIFEST_ERROR(DIGEST_MISSING, "an encrypted guest has no expected launch digest")                               \
    MANIFEST_ERROR(DH_CERT_SIZE, "the owner's certificate is not 2084 bytes long")                                   \
    MANIFEST_ERROR(SESSION_SIZE, "the session is not 128 bytes long")                                                \
    MANIFEST_ERROR(SESSION_INCOMPLETE, "the owner's certificate and the session come together or not at all")        \
    MANIFEST_ERROR(SESSION_OFFSET, "an absent certificate or session has an offset")                                 \
    MANIFEST_ERROR(DH_CERT_OUTSIDE, "the owner's certificate lies outside the payload")                              \
    MANIFEST_ERROR(SESSION_OUTSIDE, "the session lies outside the payload")                                          \
    MANIFEST_ERROR(SESSION_TWICE, "a guest has a session, and waits for one at its launch")                          \
    /* Initial registers (APM2 15.5.1 has the rules of VMRUN) */                                                     \
    MANIFEST_ERROR(CR0_RESERVED, "CR0 has reserved bits set")                                                        \
    MANIFEST_ERROR(CR0_NW_WITHOUT_CD, "CR0.NW is set while CR0.CD is clear")                                         \
    MANIFEST_ERROR(CR0_PG_WITHOUT_PE, "CR0.PG is set while CR0.PE is clear")                                         \
    MANIFEST_ERROR(CR4_RESERVED, "CR4 has bits set that a guest cannot start with")                                  \
    MANIFEST_ERROR(EFER_RESERVED, "EFER has bits set other than SCE, LME, LMA and NXE")                              \
    MANIFEST_ERROR(EFER_LMA, "EFER.LMA is not the same as EFER.LME and CR0.PG")                                      \
    MANIFEST_ERROR(LONG_MODE_WITHOUT_PAE, "long mode is on while CR4.PAE is clear")                                  \
    MANIFEST_ERROR(CR3_UNALIGNED, "CR3 is not the address of a page")                                                \
    MANIFEST_ERROR(CR3_WITHOUT_PAGING, "CR3 is given, but CR0.PG is clear")                                          \
    MANIFEST_ERROR(CR3_NOT_PLACED, "the page table that CR3 names is in no DATA step")                               \
    MANIFEST_ERROR(RFLAGS_RESERVED, "RFLAGS has reserved bits set, or bit 1 clear")                                  \
    MANIFEST_ERROR(RFLAGS_VM, "RFLAGS.VM is set")                                                                    \
    MANIFEST_ERROR(RIP_NOT_PLACED, "the first instruction is in no DATA step")                                       \
    MANIFEST_ERROR(SEGMENT_RESERVED, "a segment's attributes have bits 15:12 set")                                   \
    MANIFEST_ERROR(SEGMENT_LIMIT, "a segment's limit does not fit its granularity bit")                              \
    MANIFEST_ERROR(SEGMENT_BASE, "a segment's base is not canonical, or not below 4 GiB where it must be")           \
    MANIFEST_ERROR(CS_NOT_CODE, "CS is not a present code segment")                                                  \
    MANIFEST_ERROR(CS_LONG_AND_BIG, "CS has both L and D set")                                                       \
    MANIFEST_ERROR(SS_NOT_STACK, "SS is not a present, writable data segment")                                       \
    MANIFEST_ERROR(NOT_RING_0, "CS or SS is not at privilege level 0")                                               \
    MANIFEST_ERROR(DATA_SEGMENT, "DS, ES, FS or GS is neither absent nor a readable segment")                        \
    MANIFEST_ERROR(LDTR, "LDTR is neither absent nor an LDT")                                                        \
    MANIFEST_ERROR(TR, "TR is not a busy TSS of the mode that the guest starts in")                                  \
    MANIFEST_ERROR(TABLE_REGISTER, "GDTR or IDTR has a selector or attributes, or a limit above 65535")              \
    /* Steps */                                                                                                      \
    MANIFEST_ERROR(NO_STEPS, "a guest has no steps")                                                                 \
    MANIFEST_ERROR(STEPS_NOT_CONSECUTIVE, "a guest's steps do not follow those of the guest before it")              \
    MANIFEST_ERROR(STEPS_OUTSIDE, "a guest has more steps than the table holds")                                     \
    MANIFEST_ERROR(STEPS_UNOWNED, "the table holds steps that belong to no guest")                                   \
    MANIFEST_ERROR(STEP_KIND, "a step is of unknown kind")                                                           \
    MANIFEST_ERROR(STEP_RESERVED, "a reserved field of a step is not zero")                                          \
    MANIFEST_ERROR(STEP_EMPTY, "a step has no bytes")                                                                \
    MANIFEST_ERROR(STEP_UNALIGNED, "a step's address or size is not a multiple of 4096")                             \
    MANIFEST_ERROR(STEP_OUTSIDE, "a step lies outside the guest's memory")                                           \
    MANIFEST_ERROR(STEP_ORDER, "a guest's steps do not ascend")                                                      \
    MANIFEST_ERROR(STEP_OVERLAP, "two steps of a guest overlap")                                                     \
    MANIFEST_ERROR(ZERO_WITH_PAYLOAD, "a step of zeros has a payload")                                               \
    MANIFEST_ERROR(STEP_PAYLOAD_UNALIGNED, "a step's payload does not begin on a page")                              \
    MANIFEST_ERROR(STEP_PAYLOAD_OUTSIDE, "a step's payload lies outside the payload")                                \
    /* The secret's place */                                                                                         \
    MANIFEST_ERROR(SECRET_NOT_REQUIRED, "a guest has a place for a secret, but requires none")                       \
    MANIFEST_ERROR(SECRET_WITHOUT_SESSION,                                                                           \
                   "a guest requires a secret, but has no session whose keys would protect it")                      \
    MANIFEST_ERROR(SECRET_SIZE, "the secret's place is empty, larger than 16 KiB, or no multiple of 16 bytes")       \
    MANIFEST_ERROR(SECRET_OUTSIDE, "the secret's place lies outside the guest's memory")                             \
    MANIFEST_ERROR(SECRET_OVER_STEP, "the secret would overwrite bytes of a DATA or SHARED step")                    \
    MANIFEST_ERROR(PAYLOAD_OVERLAP, "two pieces of payload overlap without being the same piece")                    \
    /* Last, because it reads every byte */                                                                          \
    MANIFEST_ERROR(PAYLOAD_CHECKSUM, "the payload's checksum is wrong: an image was damaged or changed")

enum manifest_error {
    MANIFEST_OK = 0,
#define MANIFEST_ERROR(name, text) MANIFEST_##name,
    MANIFEST_ERRORS
#undef MANIFEST_ERROR
};

#endif
