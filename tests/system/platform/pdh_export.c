/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What a guest's owner asks a platform for: its PDH certificate (on a real one,
 * `sevctl export`). Runs the machine's firmware model on its persistent data,
 * INIT and PDH_CERT_EXPORT, without a machine around it.
 *
 *   pdh-export NV-FILE PDH-FILE      makes NV-FILE when there is none
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sevfw.h"
#include "sevfw_abi.h"

/* Memory of this platform: command buffer, certificate, chain. */
enum { COMMAND = 0x0000, CERTIFICATE = 0x1000, CHAIN = 0x2000, MEMORY_SIZE = 0x6000 };

static uint8_t memory[MEMORY_SIZE];
static const char *nv_name;

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "pdh-export: %s: %s\n", what, why);
    exit(1);
}

static bool inside(uint64_t spa, size_t len)
{
    return spa < MEMORY_SIZE && len <= MEMORY_SIZE - spa;
}

static bool read_memory(void *opaque, uint64_t spa, void *buf, size_t len)
{
    (void)opaque;
    if (!inside(spa, len))
        return false;
    memcpy(buf, memory + spa, len);
    return true;
}

static bool write_memory(void *opaque, uint64_t spa, const void *buf, size_t len)
{
    (void)opaque;
    if (!inside(spa, len))
        return false;
    memcpy(memory + spa, buf, len);
    return true;
}

static bool no_guest_read(void *opaque, uint32_t asid, uint64_t spa, void *buf, size_t len)
{
    (void)opaque, (void)asid, (void)spa, (void)buf, (void)len;
    return false;
}

static bool no_guest_write(void *opaque, uint32_t asid, uint64_t spa, const void *buf, size_t len)
{
    (void)opaque, (void)asid, (void)spa, (void)buf, (void)len;
    return false;
}

static void no_key_install(void *opaque, uint32_t asid, const uint8_t vek[SEVFW_VEK_SIZE])
{
    (void)opaque, (void)asid, (void)vek;
}

static void no_key_remove(void *opaque, uint32_t asid)
{
    (void)opaque, (void)asid;
}

static bool encryption_enabled(void *opaque)
{
    (void)opaque;
    return true;
}

static bool nv_load(void *opaque, uint8_t nv[SEVFW_NV_SIZE])
{
    FILE *file = fopen(nv_name, "rb");

    (void)opaque;
    if (file == NULL)
        return false;
    size_t count = fread(nv, 1, SEVFW_NV_SIZE, file);
    fclose(file);
    return count == SEVFW_NV_SIZE;
}

static void write_file(const char *name, const uint8_t *bytes, size_t count)
{
    FILE *file = fopen(name, "wb");

    if (file == NULL || fwrite(bytes, 1, count, file) != count || fclose(file) != 0)
        fail(name, "cannot be written");
}

static void nv_store(void *opaque, const uint8_t nv[SEVFW_NV_SIZE])
{
    (void)opaque;
    write_file(nv_name, nv, SEVFW_NV_SIZE);
}

static void put(uint64_t value, unsigned offset, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        memory[COMMAND + offset + i] = (uint8_t)(value >> 8 * i);
}

static void command(struct sevfw *fw, uint32_t id)
{
    uint16_t status = sevfw_command(fw, id, COMMAND);

    if (status != SEVFW_SUCCESS)
        fail(sevfw_command_name(id), sevfw_status_name(status));
}

int main(int argc, char **argv)
{
    static const struct sevfw_ops ops = {
        .read = read_memory, .write = write_memory,
        .read_guest = no_guest_read, .write_guest = no_guest_write,
        .install_key = no_key_install, .remove_key = no_key_remove,
        .memory_encryption_enabled = encryption_enabled,
        .nv_load = nv_load, .nv_store = nv_store,
    };
    /* As the SEV machine has it: persistent data are bound to the chip. */
    struct sevfw_config config = {
        .api_major = 1, .api_minor = 55, .build = 21, .cpus = 1, .max_sev_asid = 15, .min_sev_asid = 1,
        .max_guests = 1, .keep_pdh = true, .c_bit = 51, .phys_bits = 48, .chip_id = "Sevisor test chip",
    };

    if (argc != 3)
        fail("usage", "pdh-export NV-FILE PDH-FILE");
    nv_name = argv[1];
    struct sevfw *fw = sevfw_new(&config, &ops, NULL);
    if (fw == NULL)
        fail("the firmware model", "refuses its configuration");
    command(fw, SEVFW_CMD_INIT);

    /* SEV API 5, PDH_CERT_EXPORT: two buffers and their lengths. */
    put(CERTIFICATE, 0x00, 8);
    put(SEVFW_CERT_SIZE, 0x08, 4);
    put(CHAIN, 0x10, 8);
    put(SEVFW_CHAIN_SIZE, 0x18, 4);
    command(fw, SEVFW_CMD_PDH_CERT_EXPORT);
    write_file(argv[2], memory + CERTIFICATE, SEVFW_CERT_SIZE);

    /* Neither SHUTDOWN nor anything else that would change the persistent data. */
    sevfw_free(fw);
    return 0;
}
