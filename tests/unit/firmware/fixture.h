/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A machine for the firmware: 32 MiB of RAM that is really scrambled under the
 * host's and the guests' keys, a guest owner, and a word per command.
 */
#ifndef FIRMWARE_FIXTURE_H
#define FIRMWARE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "internal.h"
#include "signed_image.h"

#define RAM_SIZE 0x2000000u
#define C_BIT_POSITION 51
#define C_BIT (UINT64_C(1) << C_BIT_POSITION)
#define PHYS_BITS 43
#define CPUS 4u
#define MIN_ASID 5u
#define MAX_ASID 15u
#define MAX_GUESTS 8u
#define API_MAJOR_ 1
#define API_MINOR_ 55
#define BUILD_ 31
#define PART 3u

/* Where the tests keep things. */
#define AT_COMMAND 0x1000u
#define AT_CERT 0x4000u
#define AT_SESSION 0x6000u
#define AT_HEADER 0x7000u
#define AT_OUT 0x8000u
#define AT_CHAIN 0xA000u
#define AT_AMD 0xC000u
#define AT_PACKET 0x10000u
#define AT_GUEST 0x100000u
#define AT_TMR 0x200000u
#define AT_NV 0x300000u
#define NOT_RAM UINT64_C(0x80000000)

struct machine {
    struct sevfw *fw;
    struct sevfw_config config;
    uint8_t *ram;
    uint8_t keys[MAX_ASID + 1][SEVFW_VEK_SIZE];
    bool installed[MAX_ASID + 1];
    bool smee;
    bool nv_there;
    uint8_t nv[SEVFW_NV_SIZE];
    unsigned nv_stores;
    /* Bytes that the next draws return first, for known answers. */
    uint8_t forced[256];
    size_t forced_len, forced_at;
    uint64_t seed;
    uint64_t reads, writes;
};

/* A guest owner's side of a session, test keys as test-vectors section 3. */
struct owner {
    uint8_t tek[16], tik[16], nonce[16], wrap_iv[16];
    uint32_t policy;
};

int machine_setup(void **state);
int machine_teardown(void **state);
/* The same with a changed configuration; persistent state stays. */
void machine_rebuild(struct machine *m);
const struct sevfw_ops *machine_ops(void);

void ram_put(struct machine *m, uint64_t spa, const void *data, size_t len);
void ram_get(struct machine *m, uint64_t spa, void *data, size_t len);
void ram_fill(struct machine *m, uint64_t spa, uint8_t value, size_t len);
void guest_get(struct machine *m, uint32_t asid, uint64_t spa, void *data, size_t len);
void guest_put(struct machine *m, uint32_t asid, uint64_t spa, const void *data, size_t len);

/* Places `buf` at AT_COMMAND, runs the command, reads the buffer back. */
uint16_t command(struct machine *m, uint32_t id, void *buf, size_t size);
uint16_t command0(struct machine *m, uint32_t id);

void set32(uint8_t *buf, size_t offset, uint32_t value);
void set64(uint8_t *buf, size_t offset, uint64_t value);

uint16_t do_init(struct machine *m);
void wbinvd_everywhere(struct machine *m);
/* INIT, WBINVD everywhere, DF_FLUSH. */
void bring_up(struct machine *m);
uint16_t do_status(struct machine *m, uint8_t out[12]);
unsigned platform_state(struct machine *m);
uint16_t launch_start(struct machine *m, uint32_t policy, uint32_t share, uint32_t *handle);
uint16_t launch_start_session(struct machine *m, const struct owner *owner, uint32_t policy, uint32_t *handle);
uint16_t by_handle(struct machine *m, uint32_t id, uint32_t handle);
uint16_t activate(struct machine *m, uint32_t handle, uint32_t asid);
uint16_t update_data(struct machine *m, uint32_t handle, uint64_t spa, uint32_t len);
uint16_t measure(struct machine *m, uint32_t handle, uint8_t out[48]);
uint16_t secret(struct machine *m, uint32_t handle, uint64_t guest_spa, uint32_t guest_len, uint32_t trans_len);
/* The same for each command that has a packet. */
uint16_t packet(struct machine *m, uint32_t id, uint32_t handle, uint64_t guest_spa, uint32_t guest_len,
                uint32_t trans_len);
/* What a sender must know of the platform `target`, in m's memory, as send_start() wants it: PDH, PEK, OCA and the CEK as the
 * key server signed it, ASK and ARK. */
void target_put(struct machine *m, struct machine *target);
uint16_t send_start(struct machine *m, uint32_t handle);
uint16_t receive_start(struct machine *m, uint32_t policy, uint32_t share, uint32_t *handle);
uint16_t copy(struct machine *m, uint32_t handle, uint64_t src, uint64_t dst, uint32_t len);
uint16_t dbg(struct machine *m, uint32_t id, uint32_t handle, uint64_t src, uint64_t dst, uint32_t len);
uint16_t attest(struct machine *m, uint32_t handle, const uint8_t mnonce[16], uint8_t report[208]);
unsigned guest_state(struct machine *m, uint32_t handle);
uint16_t pdh_export(struct machine *m, uint8_t pdh[2084], uint8_t chain[6252]);
/* A firmware image of IMAGE_SIZE bytes, signed for a family; `version`: API major, minor and build, 8 bits each. */
uint32_t image_put(struct machine *m, uint64_t spa, uint8_t part, uint32_t version);
uint16_t download(struct machine *m, uint64_t spa, uint32_t len);
/* A guest brought to this state, active on `asid`, policy without NODBG. */
uint32_t guest_in(struct machine *m, unsigned state, uint32_t asid);

void owner_make(struct owner *owner, uint32_t policy);
/* The owner's certificate and session blob for the PDH that the machine exports, in RAM. */
void owner_session(struct machine *m, const struct owner *owner);
/* Header and packet of a secret, in RAM. */
void owner_secret(struct machine *m, const struct owner *owner, const uint8_t measurement[32], const uint8_t *plain,
                  uint32_t len);

/* n bytes counting up from `first`, as test-vectors.md writes seq(first, n). */
void seq(uint8_t first, size_t n, uint8_t *out);

#define assert_status(expected, expression) \
    assert_status_at(SEVFW_##expected, (expression), #expression, __FILE__, __LINE__)
void assert_status_at(uint16_t expected, uint16_t got, const char *what, const char *file, int line);

#endif
