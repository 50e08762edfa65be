/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "good.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "guest/crc32.h"

_Static_assert(sizeof(struct good) == (1 + GOOD_PAYLOAD_PAGES) * MANIFEST_PAGE, "a table of one page");

static const struct manifest_segment code_64 = {0x10, 0xa9b, 0xffffffff, 0};
static const struct manifest_segment data = {0x18, 0xc93, 0xffffffff, 0};

static uint64_t payload_offset(unsigned page)
{
    return offsetof(struct good, payload) + page * MANIFEST_PAGE;
}

static struct manifest_guest guest(const char *name, uint32_t encryption)
{
    struct manifest_guest g = {
        .encryption = encryption,
        .vcpus = 1,
        .memory = 16 << 20,
        .registers =
            {
                .rip = 0x100000,
                .rsp = 0x7fff8,
                .rflags = 0x2,
                .cr0 = 0x80010033,
                .cr3 = 0x4000,
                .cr4 = 0x20,
                .efer = 0xd00,
                .cs = code_64,
                .ds = data,
                .es = data,
                .ss = data,
                .fs = data,
                .gs = data,
                .gdtr = {0, 0, 0x1f, 0x3000},
                .ldtr = {0, 0x82, 0xffff, 0},
                .tr = {0, 0x8b, 0xffff, 0},
            },
    };

    for (unsigned i = 0; i < MANIFEST_MAX_VCPUS; i++)
        g.cpus[i] = MANIFEST_CPU_ANY;
    snprintf(g.name, sizeof(g.name), "%s", name);
    return g;
}

static struct manifest_step step(uint32_t kind, uint64_t gpa, uint64_t pages, unsigned page)
{
    return (struct manifest_step){
        .kind = kind,
        .gpa = gpa,
        .size = pages * MANIFEST_PAGE,
        .payload_offset = kind == MANIFEST_STEP_ZERO ? 0 : payload_offset(page),
    };
}

void good_make(struct good *good)
{
    struct manifest_guest *alpha = &good->guests[0], *beta = &good->guests[1], *gamma = &good->guests[2];

    memset(good, 0, sizeof(*good));
    good->header = (struct manifest_header){
        .magic = MANIFEST_MAGIC,
        .revision = MANIFEST_REVISION,
        .header_size = sizeof(good->header),
        .total_size = sizeof(*good),
        .guest_count = GOOD_GUESTS,
        .guest_size = sizeof(struct manifest_guest),
        .step_count = GOOD_STEPS,
        .step_size = sizeof(struct manifest_step),
        .payload_offset = payload_offset(0),
    };
    for (unsigned page = 0; page < GOOD_PAYLOAD_PAGES; page++)
        for (unsigned i = 0; i < MANIFEST_PAGE; i++)
            good->payload[page][i] = (uint8_t)(page * 37 + i * 11 + i / 256);

    *alpha = guest("alpha", MANIFEST_ENCRYPTION_SEV);
    alpha->step_count = 4;
    alpha->sev_policy = 0x01010001;
    alpha->cbitpos = 51;
    alpha->reduced_phys_bits = 1;
    alpha->dh_cert_offset = payload_offset(PAGE_CERT);
    alpha->dh_cert_size = 2084;
    alpha->session_offset = payload_offset(PAGE_SESSION);
    alpha->session_size = 128;
    memset(alpha->launch_digest, 0xd1, sizeof(alpha->launch_digest));
    good->steps[0] = step(MANIFEST_STEP_DATA, 0x4000, 1, PAGE_TABLES);
    good->steps[1] = step(MANIFEST_STEP_ZERO, 0x8000, 3, 0);
    good->steps[2] = step(MANIFEST_STEP_DATA, 0x100000, 2, PAGE_IMAGE);
    good->steps[3] = step(MANIFEST_STEP_SHARED, 0x200000, 1, PAGE_SHARED);

    *beta = guest("beta-2.x_y", MANIFEST_ENCRYPTION_NONE);   /* shares alpha's pieces */
    beta->first_step = 4;
    beta->step_count = 2;
    beta->on_reboot = MANIFEST_ACTION_RESTART;
    beta->restarts = 3;
    beta->cpus[0] = 0;      /* pinned */
    good->steps[4] = step(MANIFEST_STEP_DATA, 0x4000, 1, PAGE_TABLES);
    good->steps[5] = step(MANIFEST_STEP_DATA, 0x100000, 2, PAGE_IMAGE);

    *gamma = guest("9gamma", MANIFEST_ENCRYPTION_HOST);
    gamma->first_step = 6;
    gamma->step_count = 3;
    gamma->vcpus = 64;
    good->steps[6] = step(MANIFEST_STEP_DATA, 0x4000, 1, PAGE_TABLES);
    good->steps[7] = step(MANIFEST_STEP_DATA, 0x100000, 2, PAGE_IMAGE);
    good->steps[8] = step(MANIFEST_STEP_DATA, 0xfff000, 1, PAGE_GAMMA);
    good_seal(good);
}

void good_seal(struct good *good)
{
    const uint8_t *bytes = (const uint8_t *)good;
    uint64_t table_end = good->header.payload_offset, end = good->header.total_size;

    if (table_end > sizeof(*good))
        table_end = sizeof(*good);
    if (end > sizeof(*good))
        end = sizeof(*good);
    good->header.payload_checksum = end > table_end ? crc32_update(0, bytes + table_end, end - table_end) : 0;
    good->header.table_checksum = 0;
    good->header.table_checksum = crc32_update(0, bytes, table_end);
}
