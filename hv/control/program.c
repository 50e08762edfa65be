/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Header, guests and steps are used from hv's own copy only, which boot/ has made and checked. The payload is read where
 * boot/ found it, within bounds that are checked here again.
 */
#include "hv/control/program.h"

#include "hv/console/log.h"
#include "hv/mm/page.h"
#include "hv/mm/window.h"

static struct {
    const uint8_t *manifest;    /* a window that stays mapped for later launches */
    uint64_t size;
    const uint8_t *table;       /* hv's copy of header, guests and steps */
} source;

bool program_open(const struct handoff *handoff)
{
    if (handoff->manifest_table == 0) {
        log_print(LOG_ERROR,
                  "the manifest changed while it was read: no guest is launched; the memory is faulty, or a device "
                  "wrote to it");
        return false;
    }
    source.size = handoff->manifest_size;
    source.manifest = window_map(paddr(handoff->manifest_base), source.size, VIEW_PLAIN);
    if (source.manifest == NULL) {
        log_print(LOG_ERROR,
                  "no guest is launched: a manifest of %lu MiB is more than the hypervisor can map: pack smaller or "
                  "fewer guests",
                  source.size >> 20);
        return false;
    }
    source.table = page_va(paddr(handoff->manifest_table));
    return true;
}

const struct manifest_header *program_header(void)
{
    return (const void *)source.table;
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
