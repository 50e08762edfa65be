/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * sevfw-tool: the firmware model on standard input. One command per line, one
 * line of JSON as the answer. 16 MiB of RAM; numbers as in C, bytes in hexadecimal.
 *
 *   sevfw-tool [--nv FILE] [--chip-id TEXT]
 *
 * FILE: persistent data, the PDH's key included, as the SEV machine keeps them; made
 * when there is none. They are bound to the chip: for the machine's it must have the
 * machine's id.
 *
 *   write ADDRESS BYTES          put bytes into RAM (plain view)
 *   read ADDRESS LENGTH          {"data": ...}
 *   read-guest ASID ADDRESS LENGTH  through a guest's key
 *   command NAME ADDRESS         {"status": name, "handle": number or null}
 *   wbinvd                       on every CPU
 *   reset
 *   kds                          {"ark": ..., "ask": ..., "cek": ...}: what the key server tells
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kds.h"
#include "sevfw.h"
#include "sevfw_abi.h"

#define RAM_SIZE 0x1000000u
#define CPUS 2u
#define MAX_ASID 15u

static uint8_t *ram;
static uint8_t keys[MAX_ASID + 1][SEVFW_VEK_SIZE];
static const char *nv_name;

static struct sevfw_config config = {
    .api_major = 1,
    .api_minor = 55,
    .build = 31,
    .part = 2,
    .cpus = CPUS,
    .max_sev_asid = MAX_ASID,
    .min_sev_asid = 1,
    .max_guests = 16,
    .c_bit = 51,
    .phys_bits = 43,
    .chip_id = "sevfw-tool's own chip, of which there is only this one in all",
};

static bool in_ram(uint64_t spa, size_t len)
{
    return spa < RAM_SIZE && len <= RAM_SIZE - spa;
}

static bool op_read(void *opaque, uint64_t spa, void *buf, size_t len)
{
    (void)opaque;
    if (in_ram(spa, len)) {
        memcpy(buf, ram + spa, len);
    }
    return in_ram(spa, len);
}

static bool op_write(void *opaque, uint64_t spa, const void *buf, size_t len)
{
    (void)opaque;
    if (in_ram(spa, len)) {
        memcpy(ram + spa, buf, len);
    }
    return in_ram(spa, len);
}

/* A stand-in for AES: the view is what matters here. */
static bool op_read_guest(void *opaque, uint32_t asid, uint64_t spa, void *buf, size_t len)
{
    bool ok = op_read(opaque, spa, buf, len);

    for (size_t i = 0; ok && i < len; i++) {
        ((uint8_t *)buf)[i] ^= keys[asid][(spa + i) % SEVFW_VEK_SIZE];
    }
    return ok;
}

static bool op_write_guest(void *opaque, uint32_t asid, uint64_t spa, const void *buf, size_t len)
{
    bool ok = op_write(opaque, spa, buf, len);

    for (size_t i = 0; ok && i < len; i++) {
        ram[spa + i] ^= keys[asid][(spa + i) % SEVFW_VEK_SIZE];
    }
    return ok;
}

static void op_install_key(void *opaque, uint32_t asid, const uint8_t vek[SEVFW_VEK_SIZE])
{
    (void)opaque;
    memcpy(keys[asid], vek, SEVFW_VEK_SIZE);
}

static void op_remove_key(void *opaque, uint32_t asid)
{
    (void)opaque;
    memset(keys[asid], 0, SEVFW_VEK_SIZE);
}

static bool op_enabled(void *opaque)
{
    (void)opaque;
    return true;
}

static bool op_nv_load(void *opaque, uint8_t nv[SEVFW_NV_SIZE])
{
    FILE *file = nv_name ? fopen(nv_name, "rb") : NULL;
    size_t count;

    (void)opaque;
    if (!file) {
        return false;
    }
    count = fread(nv, 1, SEVFW_NV_SIZE, file);
    fclose(file);
    return count == SEVFW_NV_SIZE;
}

static void op_nv_store(void *opaque, const uint8_t nv[SEVFW_NV_SIZE])
{
    FILE *file;

    (void)opaque;
    if (!nv_name) {
        return;
    }
    file = fopen(nv_name, "wb");
    if (!file || fwrite(nv, 1, SEVFW_NV_SIZE, file) != SEVFW_NV_SIZE || fclose(file) != 0) {
        perror(nv_name);
        exit(1);
    }
}

static const struct sevfw_ops ops = {
    .read = op_read,
    .write = op_write,
    .read_guest = op_read_guest,
    .write_guest = op_write_guest,
    .install_key = op_install_key,
    .remove_key = op_remove_key,
    .memory_encryption_enabled = op_enabled,
    .nv_load = op_nv_load,
    .nv_store = op_nv_store,
};

static void print_bytes(const char *name, const uint8_t *data, size_t len, const char *end)
{
    printf("\"%s\": \"", name);
    for (size_t i = 0; i < len; i++) {
        printf("%02x", data[i]);
    }
    printf("\"%s", end);
}

static bool number(uint64_t *value)
{
    char *word = strtok(NULL, " "), *end;

    if (!word) {
        return false;
    }
    *value = strtoull(word, &end, 0);
    return *end == '\0';
}

static bool do_write(void)
{
    uint64_t at;
    const char *hex;

    if (!number(&at) || !(hex = strtok(NULL, " "))) {
        return false;
    }
    for (; hex[0] && hex[1]; hex += 2, at++) {
        unsigned byte;

        if (sscanf(hex, "%2x", &byte) != 1 || !in_ram(at, 1)) {
            return false;
        }
        ram[at] = (uint8_t)byte;
    }
    printf("{}\n");
    return *hex == '\0';
}

static bool do_read(bool guest)
{
    uint64_t asid = 0, at, len;
    uint8_t *data;

    if ((guest && !number(&asid)) || asid > MAX_ASID || !number(&at) || !number(&len) || len > RAM_SIZE ||
        !in_ram(at, len)) {
        return false;
    }
    data = malloc(len + 1);
    if (!data) {
        return false;
    }
    (void)op_read_guest(NULL, (uint32_t)asid, at, data, len); /* the host's slot 0 holds zeros */
    printf("{");
    print_bytes("data", data, len, "}\n");
    free(data);
    return true;
}

static bool do_command(struct sevfw *fw)
{
    const char *name = strtok(NULL, " ");
    uint64_t spa;
    uint32_t id, handle;
    uint16_t status;

    if (!name || !sevfw_command_by_name(name, &id) || !number(&spa)) {
        return false;
    }
    status = sevfw_command(fw, id, spa);
    printf("{\"status\": \"%s\", \"handle\": ", sevfw_status_name(status));
    if (sevfw_last_handle(fw, &handle)) {
        printf("%u}\n", handle);
    } else {
        printf("null}\n");
    }
    return true;
}

static bool do_kds(void)
{
    uint8_t root[SEVFW_ROOT_CERT_SIZE], cek[SEVFW_CERT_SIZE];

    kds_ark(root);
    printf("{");
    print_bytes("ark", root, sizeof(root), ", ");
    kds_ask(root);
    print_bytes("ask", root, sizeof(root), ", ");
    kds_cek(config.chip_id, config.api_major, config.api_minor, cek);
    print_bytes("cek", cek, sizeof(cek), "}\n");
    return true;
}

static bool one_line(struct sevfw *fw, char *line)
{
    const char *word = strtok(line, " ");

    if (!word) {
        return false;
    }
    if (strcmp(word, "write") == 0) {
        return do_write();
    }
    if (strcmp(word, "read") == 0 || strcmp(word, "read-guest") == 0) {
        return do_read(word[4] != '\0');
    }
    if (strcmp(word, "command") == 0) {
        return do_command(fw);
    }
    if (strcmp(word, "kds") == 0) {
        return do_kds();
    }
    if (strcmp(word, "wbinvd") == 0) {
        for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
            sevfw_wbinvd(fw, cpu);
        }
    } else if (strcmp(word, "reset") == 0) {
        sevfw_reset(fw);
    } else {
        return false;
    }
    printf("{}\n");
    return true;
}

static bool take_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"nv", required_argument, NULL, 'n'},
        {"chip-id", required_argument, NULL, 'c'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'n') {
            nv_name = optarg;
            config.keep_pdh = true;
        } else if (option == 'c' && strlen(optarg) <= sizeof(config.chip_id)) {
            memset(config.chip_id, 0, sizeof(config.chip_id));
            memcpy(config.chip_id, optarg, strlen(optarg));
        } else {
            return false;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct sevfw *fw = take_options(argc, argv) ? sevfw_new(&config, &ops, NULL) : NULL;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    int result = 0;

    ram = calloc(1, RAM_SIZE);
    if (!fw || !ram) {
        fprintf(stderr, "usage: sevfw-tool [--nv FILE] [--chip-id TEXT]\n");
        return 1;
    }
    while (result == 0 && (len = getline(&line, &size, stdin)) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (!one_line(fw, line)) {
            fprintf(stderr, "sevfw-tool: not understood: %.60s\n", line);
            result = 2;
        }
        fflush(stdout);
    }
    free(line);
    free(ram);
    sevfw_free(fw);
    return result;
}
