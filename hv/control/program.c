/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Header, guests and steps are used from hv's own copy only. The payload is read where boot/ placed it, within bounds that
 * are checked here again.
 */
#include "hv/control/program.h"

#include "hv/console/log.h"
#include "hv/lib/string.h"
#include "hv/mm/page.h"
#include "hv/mm/window.h"

static struct {
    const uint8_t *manifest;    /* a window that stays mapped for later launches */
    uint64_t size;
    const uint8_t *table;       /* hv's copy of header, guests and steps */
} source;

static uint64_t pages_of(uint64_t bytes)
{
    return bytes / PAGE_SIZE + (bytes % PAGE_SIZE != 0);
}

/* Bytes of header, guests and steps by the header's counts. 0: more than allowed. */
static uint64_t table_size(const struct manifest_header *header, uint64_t limit)
{
    uint64_t size = sizeof *header;
    if (header->guest_count > MANIFEST_MAX_GUESTS || header->step_count > MANIFEST_MAX_STEPS)
        return 0;
    size += header->guest_count * sizeof(struct manifest_guest) + header->step_count * sizeof(struct manifest_step);
    return size <= limit ? size : 0;
}

/* Copies the table, then checks the manifest, then that the copy is what was checked. */
static bool take_table(void)
{
    struct manifest_header header;
    struct manifest_where where = {-1, -1};
    paddr_t copy;
    if (source.size < sizeof header) {
        log_print(LOG_ERROR,
                  "the manifest is shorter than its header: put it into the EFI file again with guest/pack.py");
        return false;
    }
    memcpy(&header, source.manifest, sizeof header);
    uint64_t size = table_size(&header, source.size);
    if (size == 0)
        size = sizeof header;       /* manifest_check() names the error */
    if (!page_alloc(pages_of(size), 1, &copy)) {
        log_print(
            LOG_ERROR,
            "no guest is launched: the hypervisor's own memory has no room for the manifest's table of %lu bytes: "
            "pack fewer guests",
            size);
        return false;
    }
    memcpy(page_va(copy), source.manifest, size);
    enum manifest_error error = manifest_check(source.manifest, source.size, &where);
    if (error != MANIFEST_OK) {
        log_print(LOG_ERROR, "the manifest is refused: %s: %s (guest %d, step %d)", manifest_error_name(error),
                  manifest_error_text(error), where.guest, where.step);
    } else if (memcmp(page_va(copy), &header, sizeof header) != 0 ||
               memcmp(page_va(copy), source.manifest, size) != 0) {
        log_print(LOG_ERROR,
                  "the manifest changed while it was read: no guest is launched; the memory is faulty, or a device "
                  "wrote to it");
    } else {
        source.table = page_va(copy);
        return true;
    }
    page_free(copy, pages_of(size));
    return false;
}

bool program_open(const struct handoff *handoff)
{
    source.size = handoff->manifest_size;
    if (source.size == 0 || source.size > MANIFEST_MAX_SIZE || handoff->manifest_base % PAGE_SIZE != 0) {
        log_print(LOG_ERROR,
                  "this EFI file has no manifest, so there are no guests to launch: add one with guest/pack.py");
        return false;
    }
    source.manifest = window_map(paddr(handoff->manifest_base), pages_of(source.size) * PAGE_SIZE, VIEW_PLAIN);
    if (source.manifest == NULL) {
        log_print(LOG_ERROR,
                  "no guest is launched: a manifest of %lu MiB is more than the hypervisor can map: pack smaller or "
                  "fewer guests",
                  source.size >> 20);
        return false;
    }
    return take_table();
}

const struct manifest_header *program_header(void)
{
    return (const void *)source.table;
}

const struct manifest_guest *program_guest(uint32_t index)
{
    return manifest_guest(source.table, index);
}

const struct manifest_step *program_step(const struct manifest_guest *guest, uint32_t i)
{
    return manifest_step(source.table, guest->first_step + i);
}

const uint8_t *program_payload(uint64_t offset, uint64_t size)
{
    uint64_t end;
    if (__builtin_add_overflow(offset, size, &end) || end > source.size)
        return NULL;
    return source.manifest + offset;
}
