/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Guest contexts and their ASIDs: SEV API reference, section 5 "Activation". */
#include "internal.h"

struct sevfw_guest *sevfw_guest_find(struct sevfw *fw, uint32_t handle)
{
    for (uint32_t i = 0; handle != 0 && i < fw->config.max_guests; i++) {
        if (fw->guests[i].handle == handle) {
            return &fw->guests[i];
        }
    }
    return NULL;
}

struct sevfw_guest *sevfw_guest_new(struct sevfw *fw)
{
    for (uint32_t i = 0; i < fw->config.max_guests; i++) {
        struct sevfw_guest *guest = &fw->guests[i];

        if (guest->handle != 0) {
            continue;
        }
        /* Counting up, so that a stale handle does not soon name another guest. */
        while (fw->next_handle == 0 || sevfw_guest_find(fw, fw->next_handle)) {
            fw->next_handle++;
        }
        guest->handle = fw->next_handle++;
        fw->guest_count++;
        fw->state = SEVFW_PLATFORM_WORKING;
        return guest;
    }
    return NULL;
}

static void deactivate(struct sevfw *fw, struct sevfw_guest *guest)
{
    fw->ops.remove_key(fw->opaque, guest->asid);
    fw->asids[guest->asid] = (struct sevfw_asid){.handle = 0, .dirty = true};
    guest->asid = 0;
    sevfw_forget_wbinvd(fw);
}

bool sevfw_guest_destroy_all(struct sevfw *fw)
{
    bool any_installed = false;

    for (uint32_t i = 0; i < fw->config.max_guests; i++) {
        if (fw->guests[i].handle != 0 && fw->guests[i].asid != 0) {
            deactivate(fw, &fw->guests[i]);
            any_installed = true;
        }
        sevfw_wipe(&fw->guests[i], sizeof(fw->guests[i]));
    }
    fw->guest_count = 0;
    return any_installed;
}

/* ES guests have the ASIDs below CPUID 8000_001F EDX, the others those from it on. */
static bool asid_in_range(const struct sevfw *fw, const struct sevfw_guest *guest, uint32_t asid)
{
    if (guest->policy & SEVFW_POLICY_ES) {
        return asid >= 1 && asid < fw->config.min_sev_asid;
    }
    return asid >= fw->config.min_sev_asid && asid <= fw->config.max_sev_asid;
}

static uint16_t check_asid(struct sevfw *fw, const struct sevfw_guest *guest, uint32_t asid)
{
    if (!asid_in_range(fw, guest, asid)) {
        return SEVFW_INVALID_ASID;
    }
    if (fw->asids[asid].handle != 0) {
        return SEVFW_ASID_OWNED;
    }
    if (fw->asids[asid].dirty) {
        /* Both are due; the one that must be done first is the one reported. */
        return sevfw_all_wbinvd(fw) ? SEVFW_DF_FLUSH_REQUIRED : SEVFW_WBINVD_REQUIRED;
    }
    return SEVFW_SUCCESS;
}

static void activate(struct sevfw *fw, struct sevfw_guest *guest, uint32_t asid)
{
    guest->asid = asid;
    fw->asids[asid].handle = guest->handle;
    fw->ops.install_key(fw->opaque, asid, guest->vek);
}

uint16_t sevfw_activate_asid(struct sevfw *fw, struct sevfw_call *call)
{
    return check_asid(fw, call->guest, sevfw_get32(call->buf + 0x04));
}

uint16_t sevfw_activate(struct sevfw *fw, struct sevfw_call *call)
{
    activate(fw, call->guest, sevfw_get32(call->buf + 0x04));
    return SEVFW_SUCCESS;
}

uint16_t sevfw_activate_ex_param(struct sevfw *fw, struct sevfw_call *call)
{
    uint32_t count = sevfw_get32(call->buf + 0x0C);

    if (sevfw_get32(call->buf + 0x00) != call->command->size) {
        return SEVFW_INVALID_LENGTH;
    }
    return count > 0 && count <= fw->config.cpus ? SEVFW_SUCCESS : SEVFW_INVALID_PARAM;
}

uint16_t sevfw_activate_ex_asid(struct sevfw *fw, struct sevfw_call *call)
{
    return check_asid(fw, call->guest, sevfw_get32(call->buf + 0x08));
}

uint16_t sevfw_activate_ex_address(struct sevfw *fw, struct sevfw_call *call)
{
    uint32_t count = sevfw_get32(call->buf + 0x0C);

    return sevfw_range_ok(fw, 0, sevfw_get64(call->buf + 0x10), count * 4) ? SEVFW_SUCCESS : SEVFW_INVALID_ADDRESS;
}

/* The model has one memory controller: the list of APIC ids is checked (ids are
 * taken to be 0 to cpus - 1) and the key then serves all of them. */
uint16_t sevfw_activate_ex(struct sevfw *fw, struct sevfw_call *call)
{
    uint32_t count = sevfw_get32(call->buf + 0x0C);
    uint64_t ids = sevfw_get64(call->buf + 0x10);
    uint8_t id[4];

    for (uint32_t i = 0; i < count; i++) {
        if (!fw->ops.read(fw->opaque, ids + UINT64_C(4) * i, id, sizeof(id))) {
            return SEVFW_INVALID_ADDRESS;
        }
        if (sevfw_get32(id) >= fw->config.cpus) {
            return SEVFW_INVALID_PARAM;
        }
    }
    activate(fw, call->guest, sevfw_get32(call->buf + 0x08));
    return SEVFW_SUCCESS;
}

uint16_t sevfw_deactivate(struct sevfw *fw, struct sevfw_call *call)
{
    deactivate(fw, call->guest);
    return SEVFW_SUCCESS;
}

uint16_t sevfw_decommission(struct sevfw *fw, struct sevfw_call *call)
{
    sevfw_wipe(call->guest, sizeof(*call->guest));
    if (--fw->guest_count == 0) {
        fw->state = SEVFW_PLATFORM_INIT;
    }
    return SEVFW_SUCCESS;
}

uint16_t sevfw_guest_status(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    sevfw_put32(call->buf + 0x04, call->guest->policy);
    sevfw_put32(call->buf + 0x08, call->guest->asid);
    call->buf[0x0C] = (uint8_t)call->guest->state;
    return SEVFW_SUCCESS;
}
