/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the files of the firmware model share among themselves. */
#ifndef SEVFW_INTERNAL_H
#define SEVFW_INTERNAL_H

#include <nettle/sha2.h>
#include <string.h>

#include "sevfw.h"
#include "sevfw_abi.h"

#define SEVFW_EC_SIZE 48u        /* a P-384 number */
#define SEVFW_EC_FIELD_SIZE 72u  /* the little-endian field that holds one */
#define SEVFW_EC_SIG_SIZE (2u * SEVFW_EC_FIELD_SIZE)
#define SEVFW_KEY_SIZE 16u
#define SEVFW_BUFFER_MAX 0x48u   /* the largest command buffer: SEND_START */
#define SEVFW_SCRATCH_SIZE 0x4000u
#define SEVFW_BUFFERS 4u         /* that a command can have: SEND_START */

/* Keys and certificates of the platform. Private scalars are big-endian. */
struct sevfw_identity {
    uint8_t owner;    /* 0 self, 1 external: PLATFORM_STATUS byte 3 */
    uint8_t pek[SEVFW_EC_SIZE], oca[SEVFW_EC_SIZE], pdh[SEVFW_EC_SIZE], cek[SEVFW_EC_SIZE];
    uint8_t pek_cert[SEVFW_CERT_SIZE], oca_cert[SEVFW_CERT_SIZE];
    uint8_t pdh_cert[SEVFW_CERT_SIZE], cek_cert[SEVFW_CERT_SIZE];
};

struct sevfw_guest {
    uint32_t handle;  /* 0: the slot is free */
    uint32_t policy;
    uint32_t asid;    /* 0: inactive */
    enum sevfw_guest_state state;
    bool has_session;
    bool launched;    /* here, so that it has a digest; a received guest has none */
    uint8_t vek[SEVFW_VEK_SIZE], tek[SEVFW_KEY_SIZE], tik[SEVFW_KEY_SIZE];
    struct sha256_ctx ld;               /* while LUPDATE */
    uint8_t digest[SHA256_DIGEST_SIZE]; /* from LAUNCH_MEASURE on */
    uint8_t measure[SHA256_DIGEST_SIZE];
};

struct sevfw_asid {
    uint32_t handle;  /* the guest that is active on it, 0: none */
    bool dirty;       /* lines tagged with a former key may be in the caches */
};

struct sevfw_output {
    uint64_t spa;
    uint32_t size;
};

/* What runs: the configuration's after power-on, a downloaded image's after DOWNLOAD_FIRMWARE. */
struct sevfw_version {
    uint8_t api_major, api_minor, build;
};

struct sevfw {
    struct sevfw_config config;
    struct sevfw_version running;
    struct sevfw_ops ops;
    void *opaque;
    enum sevfw_platform_state state;
    bool es;
    struct sevfw_identity id;
    struct sevfw_guest *guests;  /* config.max_guests */
    uint32_t guest_count;
    uint32_t next_handle;
    struct sevfw_asid *asids;    /* config.max_sev_asid + 1 */
    bool wbinvd[SEVFW_MAX_CPUS]; /* since the last DEACTIVATE, INIT or SHUTDOWN of active guests */
    bool keys_torn_down;         /* SHUTDOWN removed installed keys: INIT wants WBINVDs */
    bool nv_in_memory;           /* INIT_EX: persistent data is at nv_spa */
    uint64_t nv_spa;
    bool nv_rejected;            /* SECURE_DATA_INVALID was returned once */
    uint8_t nv[SEVFW_NV_SIZE];
    uint8_t scratch[SEVFW_SCRATCH_SIZE];
    struct sevfw_output outputs[4]; /* what the last command wrote to host memory */
    uint32_t output_count;
    bool has_last_handle;
    uint32_t last_handle;
};

/* The stages of a command's checks. In which order they run is one array in sevfw.c. */
enum sevfw_check {
    CHECK_PLATFORM_STATE,
    CHECK_HANDLE,
    CHECK_GUEST_STATE,
    CHECK_PARAM,
    CHECK_LENGTH,
    CHECK_POLICY,
    CHECK_ACTIVE,
    CHECK_ASID,
    CHECK_ADDRESS,
    CHECK_COUNT
};

enum sevfw_buffer_kind {
    BUFFER_UNUSED = 0,
    BUFFER_IN,          /* len == size */
    BUFFER_IN_OPTIONAL, /* len == 0 (absent), or size */
    BUFFER_OUT,         /* len >= size, else INVALID_LENGTH and the size is written back */
    BUFFER_OUT_EXACT,   /* the same with len == size */
    BUFFER_BLOCKS,      /* host view; 16-byte blocks, 0 < len, len <= size unless size is 0 */
    BUFFER_GUEST,       /* the same through the guest's key */
};

/* An address and its length in a command buffer. */
struct sevfw_buffer {
    uint8_t kind;
    uint8_t paddr, len;  /* offsets */
    uint8_t alignment;
    uint8_t holds; /* BUFFER_OUT: offset of the length of what goes in, `size` is its limit; 0: `size` bytes go in */
    uint32_t size;
};

struct sevfw_span {
    uint8_t offset, size;
};

/* Which command's a packet is: the first byte under its MAC, sev-crypto section 7.2. */
enum sevfw_packet {
    PACKET_SECRET = 0x01,
    PACKET_DATA = 0x02, /* second-hand, and so is what follows it: no vector and no second source were found */
};

struct sevfw_call;
typedef uint16_t sevfw_step(struct sevfw *fw, struct sevfw_call *call);

/* All that is particular to a command. */
struct sevfw_command {
    uint32_t id;
    uint8_t size;
    struct sevfw_span out; /* fields of the command buffer that are written back */
    uint8_t platform_states; /* mask of 1 << state */
    uint8_t guest_states; /* mask of 1 << state; 0: names no guest */
    uint8_t handle; /* offset of the handle, if it names a guest */
    enum { NEED_NOTHING, NEED_ACTIVE, NEED_INACTIVE } need;
    uint32_t policy_forbids; /* bits of the guest's policy: POLICY_FAILURE */
    struct sevfw_span reserved[3]; /* must be zero: INVALID_PARAM */
    struct sevfw_buffer buffers[SEVFW_BUFFERS];
    sevfw_step *check[CHECK_COUNT]; /* what the stages above cannot say */
    sevfw_step *run;
};

struct sevfw_call {
    const struct sevfw_command *command;
    uint8_t buf[SEVFW_BUFFER_MAX];
    struct sevfw_guest *guest;
};

/* commands.c */
const struct sevfw_command *sevfw_commands_find(uint32_t id);

/* sevfw.c: address checks, for steps that have addresses outside the table. */
uint64_t sevfw_strip_c_bit(const struct sevfw *fw, uint64_t spa);
/* The whole range lies below phys_bits and is RAM. `asid` 0: host view. */
bool sevfw_range_ok(struct sevfw *fw, uint32_t asid, uint64_t spa, uint32_t size);
/* Writes host memory and remembers the range as an output. */
uint16_t sevfw_output(struct sevfw *fw, uint64_t spa, const void *data, uint32_t size);
bool sevfw_all_wbinvd(const struct sevfw *fw);
void sevfw_forget_wbinvd(struct sevfw *fw);

/* platform.c */
sevfw_step sevfw_init_param, sevfw_init_address, sevfw_init;
sevfw_step sevfw_init_ex_param, sevfw_init_ex_address, sevfw_init_ex;
sevfw_step sevfw_shutdown, sevfw_platform_reset, sevfw_platform_status;
sevfw_step sevfw_df_flush, sevfw_get_id, sevfw_nop;
/* A command that the model knows by name and by its place among the states only. */
sevfw_step sevfw_unsupported;

/* image.c */
#define SEVFW_IMAGE_MAX 0x20000u
sevfw_step sevfw_download_firmware;
/* The test key that signs images for a part: anybody can make it, make_image.py does. */
void sevfw_image_key(uint8_t part, uint8_t d[SEVFW_EC_SIZE]);

/* owner.c */
sevfw_step sevfw_pek_gen, sevfw_pek_csr, sevfw_pek_cert_import_owner, sevfw_pek_cert_import;
sevfw_step sevfw_pdh_gen, sevfw_pdh_cert_export;

/* guest.c */
struct sevfw_guest *sevfw_guest_find(struct sevfw *fw, uint32_t handle);
/* A free slot with a fresh handle, all else zero; NULL: RESOURCE_LIMIT. */
struct sevfw_guest *sevfw_guest_new(struct sevfw *fw);
/* Removes every guest and its key. Returns whether any key was installed. */
bool sevfw_guest_destroy_all(struct sevfw *fw);
sevfw_step sevfw_activate_asid, sevfw_activate, sevfw_deactivate, sevfw_decommission, sevfw_guest_status;
sevfw_step sevfw_activate_ex_param, sevfw_activate_ex_asid, sevfw_activate_ex_address, sevfw_activate_ex;

/* launch.c; RECEIVE_START begins as LAUNCH_START does */
sevfw_step sevfw_start_handle, sevfw_start_param, sevfw_start_policy;
sevfw_step sevfw_launch_start_length, sevfw_launch_start, sevfw_receive_start, sevfw_launch_update_data;
sevfw_step sevfw_vmsa_policy;
sevfw_step sevfw_launch_measure, sevfw_packet_length, sevfw_launch_secret, sevfw_launch_finish;
/* Writes a packet of LAUNCH_SECRET's form into the guest's memory, when its flags and MAC are right. */
uint16_t sevfw_packet_open(struct sevfw *fw, struct sevfw_call *call, enum sevfw_packet packet);
/* A session's keys are gone, the guest is in `state`. */
void sevfw_session_end(struct sevfw_guest *guest, enum sevfw_guest_state state);

/* migrate.c */
sevfw_step sevfw_send_start, sevfw_send_update_data, sevfw_send_finish, sevfw_send_cancel;
sevfw_step sevfw_receive_update_data, sevfw_receive_finish;

/* running.c */
sevfw_step sevfw_attestation_state, sevfw_attestation, sevfw_dbg_decrypt, sevfw_dbg_encrypt;
sevfw_step sevfw_copy_overlap, sevfw_copy;

/* keys.c */
void sevfw_wipe(void *secret, size_t len);
/* nettle_random_func: `ctx` is the struct sevfw. */
void sevfw_random(void *ctx, size_t len, uint8_t *dst);
void sevfw_hmac(const uint8_t *key, size_t key_len, const void *data, size_t len, uint8_t mac[SHA256_DIGEST_SIZE]);
/* sev-crypto section 3. `context` may be NULL when its length is 0. */
void sevfw_kdf(const uint8_t *key, size_t key_len, const char *label, const uint8_t *context, size_t context_len,
               uint8_t *out, size_t out_len);
void sevfw_aes_ctr(const uint8_t key[SEVFW_KEY_SIZE], const uint8_t iv[16], size_t len, uint8_t *dst,
                   const uint8_t *src);
/* KEK and KIK from the ECDH secret, sev-crypto section 2. */
void sevfw_derive_kek_kik(const uint8_t *z, size_t z_len, const uint8_t nonce[16], uint8_t kek[SEVFW_KEY_SIZE],
                          uint8_t kik[SEVFW_KEY_SIZE]);
/* Unwraps a session blob: BAD_MEASUREMENT when a MAC does not match, keys untouched. */
uint16_t sevfw_session_open(const uint8_t *z, size_t z_len, const uint8_t session[SEVFW_SESSION_SIZE], uint32_t policy,
                            uint8_t tek[SEVFW_KEY_SIZE], uint8_t tik[SEVFW_KEY_SIZE]);
/* The sender's side: fresh keys, and the blob that carries them to the other owner of `z`. */
void sevfw_session_seal(struct sevfw *fw, const uint8_t *z, size_t z_len, uint32_t policy,
                        uint8_t session[SEVFW_SESSION_SIZE], uint8_t tek[SEVFW_KEY_SIZE], uint8_t tik[SEVFW_KEY_SIZE]);
/* sev-crypto section 6; `api` is major, minor, build. */
void sevfw_measure(const uint8_t tik[SEVFW_KEY_SIZE], const uint8_t api[3], uint32_t policy,
                   const uint8_t digest[SHA256_DIGEST_SIZE], const uint8_t mnonce[16],
                   uint8_t measure[SHA256_DIGEST_SIZE]);
/* The MAC of a packet, as of API 0.17; `measure` is that of LAUNCH_MEASURE for a secret, else NULL. */
void sevfw_packet_mac(const uint8_t tik[SEVFW_KEY_SIZE], enum sevfw_packet packet,
                      const uint8_t header[SEVFW_PACKET_HEADER_SIZE], uint32_t guest_len, uint32_t trans_len,
                      const uint8_t *trans, const uint8_t *measure, uint8_t mac[SHA256_DIGEST_SIZE]);
/* Flags and MAC of a packet for `guest`. */
uint16_t sevfw_packet_check(const struct sevfw_guest *guest, enum sevfw_packet packet,
                            const uint8_t header[SEVFW_PACKET_HEADER_SIZE], const uint8_t *trans, uint32_t len);

/* ec.c: P-384. Scalars and Z are big-endian, all else 72-byte little-endian fields. */
void sevfw_ec_generate(struct sevfw *fw, uint8_t d[SEVFW_EC_SIZE]);
/* The chip's endorsement key, sev-crypto section 5.6. */
void sevfw_ec_chip_key(const uint8_t chip_id[SEVFW_CHIP_ID_SIZE], uint8_t d[SEVFW_EC_SIZE]);
void sevfw_ec_public(const uint8_t d[SEVFW_EC_SIZE], uint8_t xy[SEVFW_EC_SIG_SIZE]);
bool sevfw_ec_on_curve(const uint8_t xy[SEVFW_EC_SIG_SIZE]);
bool sevfw_ec_ecdh(const uint8_t d[SEVFW_EC_SIZE], const uint8_t xy[SEVFW_EC_SIG_SIZE], uint8_t z[SEVFW_EC_SIZE]);
/* ECDSA over the SHA-256 of `data`; rs is r then s. */
void sevfw_ec_sign(struct sevfw *fw, const uint8_t d[SEVFW_EC_SIZE], const void *data, size_t len,
                   uint8_t rs[SEVFW_EC_SIG_SIZE]);
bool sevfw_ec_verify(const uint8_t xy[SEVFW_EC_SIG_SIZE], const void *data, size_t len,
                     const uint8_t rs[SEVFW_EC_SIG_SIZE]);

/* cert.c: certificates of sev-crypto section 5.1. */
void sevfw_cert_make(uint8_t cert[SEVFW_CERT_SIZE], uint8_t api_major, uint8_t api_minor, uint32_t usage, uint32_t algo,
                     const uint8_t d[SEVFW_EC_SIZE]);
/* Signs into slot 0 or 1 as `usage`. */
void sevfw_cert_sign(struct sevfw *fw, uint8_t cert[SEVFW_CERT_SIZE], unsigned slot, uint32_t usage,
                     const uint8_t d[SEVFW_EC_SIZE]);
/* Version, usage, algorithm, curve, point, reserved bytes. */
bool sevfw_cert_well_formed(const uint8_t cert[SEVFW_CERT_SIZE], uint32_t usage, uint32_t algo);
/* The signature in slot 0 or 1, NULL when it is not `usage`'s by `algo`. It is over SEVFW_CERT_SIGNED bytes. */
#define SEVFW_CERT_SIGNED 0x414u
const uint8_t *sevfw_cert_signature(const uint8_t cert[SEVFW_CERT_SIZE], unsigned slot, uint32_t usage, uint32_t algo);
/* The slot in which `parent` (a certificate of usage `usage`) signed: 0, 1, or -1. */
int sevfw_cert_signed_by(const uint8_t cert[SEVFW_CERT_SIZE], const uint8_t parent[SEVFW_CERT_SIZE], uint32_t usage);
const uint8_t *sevfw_cert_public(const uint8_t cert[SEVFW_CERT_SIZE]);
/* OCA, PEK, PDH: a new key and its certificate. CEK: from the chip id. */
void sevfw_identity_new_owner(struct sevfw *fw);
void sevfw_identity_new_pdh(struct sevfw *fw);
void sevfw_identity_load_cek(struct sevfw *fw);
/* Puts the CEK's signature into a slot of the PEK certificate. */
void sevfw_identity_endorse_pek(struct sevfw *fw, unsigned slot);

/* root.c: whether AMD's certificates, ASK then ARK, are those of the model's root and endorse this CEK. */
bool sevfw_root_endorses(const uint8_t amd_certs[SEVFW_AMD_CERTS_SIZE], const uint8_t cek_cert[SEVFW_CERT_SIZE]);

/* nv.c: persistent data. */
enum sevfw_nv_result { NV_FOUND, NV_BLANK, NV_INVALID };
enum sevfw_nv_result sevfw_nv_load(struct sevfw *fw);
void sevfw_nv_store(struct sevfw *fw);
void sevfw_nv_erase(struct sevfw *fw);

static inline uint32_t sevfw_get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t sevfw_get64(const uint8_t *p)
{
    return (uint64_t)sevfw_get32(p) | (uint64_t)sevfw_get32(p + 4) << 32;
}

static inline void sevfw_put32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
    p[2] = (uint8_t)(value >> 16);
    p[3] = (uint8_t)(value >> 24);
}

#endif
