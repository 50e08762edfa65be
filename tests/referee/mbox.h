/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The Secure Processor's mailbox from Linux' user space, without a driver: BAR 2,
 * memory whose physical addresses are known, and calls with an expectation.
 * The sections named are those of the SEV API reference.
 */
#ifndef MBOX_H
#define MBOX_H

#include <linux/psp-sev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096u
#define HUGE_PAGE (2u << 20)

/* Registers of a Rome or Milan, byte offsets in BAR 2. */
#define BAR_SIZE 0x100000u
#define REG_COMMAND 0x10980u
#define REG_ADDRESS_LOW 0x109e0u
#define REG_ADDRESS_HIGH 0x109e4u
#define REG_FEATURE 0x109fcu
#define REG_INT_ENABLE 0x10690u
#define REG_INT_STATUS 0x10694u
#define RESP (UINT32_C(1) << 31)
#define IOC UINT32_C(1)
#define INT_SEV (UINT32_C(1) << 1)

/* Section 1. */
enum {
    INIT = 0x01,
    SHUTDOWN,
    PLATFORM_RESET,
    PLATFORM_STATUS,
    PEK_GEN,
    PEK_CSR,
    PEK_CERT_IMPORT,
    PDH_CERT_EXPORT,
    PDH_GEN,
    DF_FLUSH,
    DOWNLOAD_FIRMWARE,
    GET_ID,
    INIT_EX,
    NOP,
    RING_BUFFER,
    DECOMMISSION = 0x20,
    ACTIVATE,
    DEACTIVATE,
    GUEST_STATUS,
    COPY,
    ACTIVATE_EX,
    LAUNCH_START = 0x30,
    LAUNCH_UPDATE_DATA,
    LAUNCH_UPDATE_VMSA,
    LAUNCH_MEASURE,
    LAUNCH_SECRET,
    LAUNCH_FINISH,
    ATTESTATION,
    SEND_START = 0x40,
    SEND_UPDATE_DATA,
    SEND_UPDATE_VMSA,
    SEND_FINISH,
    SEND_CANCEL,
    RECEIVE_START = 0x50,
    RECEIVE_UPDATE_DATA,
    RECEIVE_UPDATE_VMSA,
    RECEIVE_FINISH,
    DBG_DECRYPT = 0x60,
    DBG_ENCRYPT,
    SWAP_OUT = 0x70,
    SWAP_IN,
};

/* Sections 3 and 4; sets of states are masks. */
enum { UNINIT = 1, UP = 2, WORKING = 4, ALWAYS = 7 };
enum { LUPDATE = 1, LSECRET, RUNNING, SUPDATE, RUPDATE };
#define IN(state) (1u << (state))
#define ANY_GUEST (IN(LUPDATE) | IN(LSECRET) | IN(RUNNING))

#define BUFFER_MAX 0x44u    /* the longest command buffer in the table: SEND_START's */
#define CERT_SIZE 2084u
#define SEV_POLICY_NODBG 1u     /* section 7 */
#define SEV_POLICY_NOKS 2u
#define SEV_POLICY_ES 4u

enum field_kind { NONE, INPUT, OUTPUT, BLOCKS, OPTIONAL };

/* An address in a command buffer, and where its length is. */
struct field {
    enum field_kind kind;
    uint8_t address, length;
    uint32_t size;          /* that the command wants, or one that is good */
    uint32_t alignment;
    uint32_t limit;         /* of BLOCKS; 0: none */
};

#define FIELDS 4u           /* at most, in a command buffer */

/* Section 5, a row per command: enough to build a buffer that is right, and to spoil it. */
struct command {
    const char *name;
    uint8_t id, size;
    uint8_t platform;       /* mask: where it is legal */
    uint8_t guest;          /* mask; 0: names no guest */
    uint8_t handle;         /* its offset */
    bool active;            /* wants a guest with an ASID */
    uint8_t reserved[FIELDS];   /* offsets of words that must be zero; 0: none */
    struct field fields[FIELDS];
    struct {
        uint8_t offset;
        uint32_t value;
    } words[FIELDS];
};

extern const struct command commands[];
extern const size_t command_count;
const struct command *command_of(uint32_t id);

/* One huge page of memory, and its physical address without and with the C-bit. */
extern uint8_t *arena;
extern uint64_t arena_plain, arena_spa;
/* Offsets in the arena: the command buffer, a guest's memory, room for each field. */
enum { AT_COMMAND = 0, AT_GUEST = 0x10000, AT_FIELDS = 0x20000, AT_HALF = 0x100000 };
#define FIELD_ROOM 0x20000u

extern uint64_t bar_address, ram_end;
extern unsigned calls, misses;

/* Finds the device, maps its registers, gets memory. Ends the program if something is missing. */
void mbox_open(void);
uint32_t reg_read(uint32_t offset);
void reg_write(uint32_t offset, uint32_t value);
volatile void *reg(uint32_t offset);

/* Writes the registers and returns at once; waits for the answer; both. An answer that does
 * not come within seconds ends the program. */
void submit(uint32_t id, uint64_t address);
unsigned answer(void);
unsigned ring(uint32_t id, uint64_t address);

/* All caches of the (only) CPU, by way of the kernel; the lines of a range of the arena. */
void wbinvd(void);
void flush(uint32_t offset, uint32_t length);

/* Between both: calls that went well are counted, not printed one by one. */
void sweep(const char *what);
void sweep_end(void);

/* Anything that can be true or not. */
bool check(bool good, const char *what);
/* Issues a command whose buffer is `size` bytes at `buffer`; what the firmware made of it is
 * then at arena + AT_COMMAND. Returns whether the answer was the wanted one. */
bool expect(unsigned want, const char *what, uint32_t id, const void *buffer, size_t size);
/* The same for commands without a buffer, and at an address of one's own. */
bool expect_bare(unsigned want, const char *what, uint32_t id);
bool expect_at(unsigned want, const char *what, uint32_t id, uint64_t address);

/* Bytes of a command buffer. */
void put32(uint8_t *buffer, uint32_t offset, uint32_t value);
void put64(uint8_t *buffer, uint32_t offset, uint64_t value);
uint32_t get32(const uint8_t *buffer, uint32_t offset);

/* A buffer that nothing is wrong with, for a guest that is in the right state. */
void good_buffer(const struct command *command, uint32_t handle, uint8_t buffer[BUFFER_MAX]);

/* mboxsweep.c: a good buffer's call; and one wrong thing at a time, in every command that can have it. */
bool good_call(unsigned want, const char *what, uint32_t id, uint32_t handle);
void every_id(const uint32_t (*ranges)[2], size_t count, const char *what);
void wrong_platform_state(unsigned state, const char *what);
void wrong_guest_state(uint32_t handle, unsigned state, const char *what);
void inactive(uint32_t handle, unsigned state, const char *what);
void unknown_handles(const char *what);
void bad_command_buffers(const char *what);
void spoil_platform(unsigned state, const char *what);
void spoil_guest(uint32_t handle, unsigned state, const char *what);

/* mboxregs.c: the platform is UNINIT, before and after. */
void hostile_registers(void);

/* mboxrandom.c: `count` random commands, harmless to everything outside of the arena. */
void random_commands(uint64_t seed, unsigned count);

#endif
