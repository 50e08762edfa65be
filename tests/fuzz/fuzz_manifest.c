/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * libFuzzer on the manifest's validator. Random bytes would die at the first
 * checksum, so the mutator repairs magic, sizes and checksums most of the time;
 * and whatever is accepted is walked as the hypervisor would walk it, so that a
 * hole in the checks shows as an address outside.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "guest/crc32.h"
#include "guest/manifest.h"
#include "../unit/manifest/good.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static volatile uint32_t sink;

static void require(int condition)
{
    if (!condition)
        abort();
}

static void touch(const uint8_t *manifest, uint64_t offset, uint64_t size)
{
    sink = crc32_update(sink, manifest + offset, size);
}

/* What hv/ relies on after MANIFEST_OK. */
static void execute(const uint8_t *manifest, uint64_t size)
{
    const struct manifest_header *header = (const struct manifest_header *)(const void *)manifest;

    uint32_t control = 0;

    require(header->total_size <= size && header->guest_count > 0 && header->flags <= MANIFEST_SHOW_PDH);
    require(header->sev_firmware_size <= MANIFEST_MAX_SEV_FIRMWARE);
    touch(manifest, header->payload_offset, header->sev_firmware_size);
    for (uint32_t i = 0; i < header->guest_count; i++) {
        const struct manifest_guest *guest = manifest_guest(manifest, i);
        uint64_t free_from = 0;

        require(memchr(guest->name, 0, sizeof(guest->name)) != NULL);
        require(guest->vcpus > 0 && guest->vcpus <= MANIFEST_MAX_VCPUS && guest->memory <= MANIFEST_MAX_MEMORY);
        for (uint32_t j = 0; j < MANIFEST_MAX_VCPUS; j++)
            require(guest->cpus[j] == MANIFEST_CPU_ANY || (j < guest->vcpus && guest->cpus[j] < MANIFEST_MAX_CPUS));
        require((guest->registers.efer & (1u << 12)) == 0 && (guest->sev_policy & 4) == 0);
        if (guest->session_size != 0) {
            require(guest->encryption == MANIFEST_ENCRYPTION_SEV);
            touch(manifest, guest->dh_cert_offset, guest->dh_cert_size);
            touch(manifest, guest->session_offset, guest->session_size);
        }
        control += (guest->flags & MANIFEST_GUEST_CONTROL) != 0;
        require(control <= 1 && guest->flags <= MANIFEST_GUEST_FLAGS_KNOWN);
        require(guest->secret_size <= MANIFEST_MAX_SECRET && guest->secret_gpa <= guest->memory &&
                guest->secret_size <= guest->memory - guest->secret_gpa);
        for (uint32_t j = 0; j < guest->step_count; j++) {
            const struct manifest_step *step = manifest_step(manifest, guest->first_step + j);

            require(guest->first_step + j < header->step_count);
            require(step->gpa >= free_from && step->gpa <= guest->memory && step->size <= guest->memory - step->gpa);
            require(step->gpa % MANIFEST_PAGE == 0 && step->size % MANIFEST_PAGE == 0 && step->size > 0);
            if (step->kind != MANIFEST_STEP_ZERO)
                touch(manifest, step->payload_offset, step->size);
            free_from = step->gpa + step->size;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest_where where;
    uint8_t *copy = malloc(size > 0 ? size : 1);    /* aligned, and exactly as long */
    enum manifest_error error;

    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    error = manifest_check(copy, size, &where);
    require(manifest_error_text(error) != NULL && where.guest < (int32_t)MANIFEST_MAX_GUESTS);
    if (error == MANIFEST_OK)
        execute(copy, size);
    free(copy);
    return 0;
}

static void seal(uint8_t *data, size_t size)
{
    struct manifest_header header;
    uint64_t table, total;

    if (size < sizeof(header))
        return;
    memcpy(&header, data, sizeof(header));
    header.magic = MANIFEST_MAGIC;
    header.revision = MANIFEST_REVISION;
    header.header_size = sizeof(header);
    header.guest_size = sizeof(struct manifest_guest);
    header.step_size = sizeof(struct manifest_step);
    table = header.payload_offset < size ? header.payload_offset : size;
    total = header.total_size < size ? header.total_size : size;
    header.payload_checksum = total > table ? crc32_update(0, data + table, total - table) : 0;
    header.table_checksum = 0;
    memcpy(data, &header, sizeof(header));
    header.table_checksum = crc32_update(0, data, table);
    memcpy(data, &header, sizeof(header));
}

/* A field of a step or a guest, to a value near an edge. */
static void spoil_field(uint8_t *data, size_t size, unsigned seed)
{
    static const uint64_t edges[] = {
        0,
        1,
        MANIFEST_CPU_ANY,
        MANIFEST_MAX_CPUS,
        4096,
        8192,
        0x100000,
        0xfff000,
        0x1000000,
        0xffffffff,
        UINT64_C(1) << 32,
        UINT64_C(1) << 51,
        UINT64_MAX,
        UINT64_MAX - 4095,
        INT64_MAX,
    };
    uint64_t value = edges[seed % (sizeof(edges) / sizeof(edges[0]))];
    size_t words = (size < MANIFEST_PAGE ? size : MANIFEST_PAGE) / 8;

    if (words > 0)
        memcpy(data + (seed >> 8) % words * 8, &value, seed & 0x80 ? 8 : 4);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    if (size < sizeof(struct manifest_header) && max_size >= sizeof(struct good)) {
        static struct good good;    /* where everything starts from */

        good_make(&good);
        good.guests[2].cpus[0] = 0;     /* it has 64 vCPUs */
        good.guests[2].cpus[63] = MANIFEST_MAX_CPUS - 1;
        good_seal(&good);
        memcpy(data, &good, sizeof(good));
        return sizeof(good);
    }
    if (seed % 4 == 0)
        spoil_field(data, size, seed / 4);
    else
        size = LLVMFuzzerMutate(data, size, max_size);
    if (seed % 16 != 1)
        seal(data, size);
    return size;
}
