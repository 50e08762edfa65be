/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The firmware's front door: finds a command's row, runs its checks stage by
 * stage, then the command, then writes the outputs back.
 */
#include <stdlib.h>

#include "internal.h"

#define PAGE 0x1000u

/* Which status wins when several apply. No public source says (SEV API reference
 * section 10, [U]): correct it here after a run on real hardware. The command id
 * and the command buffer's own address always come first. */
static const enum sevfw_check order[] = {
    CHECK_PLATFORM_STATE, CHECK_HANDLE, CHECK_GUEST_STATE, CHECK_PARAM,   CHECK_LENGTH,
    CHECK_POLICY,         CHECK_ACTIVE, CHECK_ASID,        CHECK_ADDRESS,
};

_Static_assert(sizeof(order) / sizeof(order[0]) == CHECK_COUNT, "every stage runs");

static uint16_t check_platform_state(struct sevfw *fw, struct sevfw_call *call)
{
    return call->command->platform_states & (1u << fw->state) ? SEVFW_SUCCESS : SEVFW_INVALID_PLATFORM_STATE;
}

static uint16_t check_handle(struct sevfw *fw, struct sevfw_call *call)
{
    if (call->command->guest_states == 0) {
        return SEVFW_SUCCESS;
    }
    fw->last_handle = sevfw_get32(call->buf + call->command->handle);
    fw->has_last_handle = true;
    call->guest = sevfw_guest_find(fw, fw->last_handle);
    return call->guest ? SEVFW_SUCCESS : SEVFW_INVALID_GUEST;
}

static uint16_t check_guest_state(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    if (call->command->guest_states != 0 && !(call->command->guest_states & (1u << call->guest->state))) {
        return SEVFW_INVALID_GUEST_STATE;
    }
    return SEVFW_SUCCESS;
}

static uint16_t check_param(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    for (size_t i = 0; i < 3; i++) {
        const struct sevfw_span *span = &call->command->reserved[i];

        for (size_t byte = 0; byte < span->size; byte++) {
            if (call->buf[span->offset + byte] != 0) {
                return SEVFW_INVALID_PARAM;
            }
        }
    }
    return SEVFW_SUCCESS;
}

/* A query names no memory of the guest: then it is the most that the buffer may have to hold. */
static uint32_t needed_size(const struct sevfw_buffer *buffer, const struct sevfw_call *call)
{
    uint32_t held = buffer->holds ? sevfw_get32(call->buf + buffer->holds) : 0;

    return held > 0 && held < buffer->size ? held : buffer->size;
}

static bool length_ok(const struct sevfw_buffer *buffer, uint32_t size, uint32_t len)
{
    switch (buffer->kind) {
    case BUFFER_IN:
    case BUFFER_OUT_EXACT:
        return len == size;
    case BUFFER_IN_OPTIONAL:
        return len == 0 || len == size;
    case BUFFER_OUT:
        return len >= size;
    case BUFFER_BLOCKS:
    case BUFFER_GUEST:
        return len > 0 && len % 16 == 0 && (size == 0 || len <= size);
    default:
        return true;
    }
}

static uint16_t check_length(struct sevfw *fw, struct sevfw_call *call)
{
    const struct sevfw_buffer *buffers = call->command->buffers;
    uint32_t needed[SEVFW_BUFFERS];
    uint16_t status = SEVFW_SUCCESS;

    (void)fw;
    for (size_t i = 0; i < SEVFW_BUFFERS; i++) {
        needed[i] = needed_size(&buffers[i], call);
        if (!length_ok(&buffers[i], needed[i], sevfw_get32(call->buf + buffers[i].len))) {
            status = SEVFW_INVALID_LENGTH;
        }
    }
    for (size_t i = 0; i < SEVFW_BUFFERS; i++) {
        /* Needed, or written: in both cases the answer is the same number (section 6). */
        if (buffers[i].kind == BUFFER_OUT || buffers[i].kind == BUFFER_OUT_EXACT) {
            sevfw_put32(call->buf + buffers[i].len, needed[i]);
        }
    }
    return status;
}

static uint16_t check_policy(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    return call->guest && (call->guest->policy & call->command->policy_forbids) ? SEVFW_POLICY_FAILURE : SEVFW_SUCCESS;
}

static uint16_t check_active(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    if (call->command->need == NEED_ACTIVE && call->guest->asid == 0) {
        return SEVFW_INACTIVE;
    }
    if (call->command->need == NEED_INACTIVE && call->guest->asid != 0) {
        return SEVFW_ACTIVE;
    }
    return SEVFW_SUCCESS;
}

static uint16_t check_asid(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    (void)call;
    return SEVFW_SUCCESS;
}

static uint16_t check_address(struct sevfw *fw, struct sevfw_call *call)
{
    for (size_t i = 0; i < SEVFW_BUFFERS; i++) {
        const struct sevfw_buffer *buffer = &call->command->buffers[i];
        uint64_t spa = sevfw_get64(call->buf + buffer->paddr);
        uint32_t len = sevfw_get32(call->buf + buffer->len);

        if (buffer->kind == BUFFER_UNUSED || len == 0) {
            continue; /* absent: an address of 0 alone does not say so */
        }
        if (buffer->alignment > 1 && spa % buffer->alignment != 0) {
            return SEVFW_INVALID_ADDRESS;
        }
        if (!sevfw_range_ok(fw, buffer->kind == BUFFER_GUEST ? call->guest->asid : 0, spa, len)) {
            return SEVFW_INVALID_ADDRESS;
        }
    }
    return SEVFW_SUCCESS;
}

static sevfw_step *const stages[CHECK_COUNT] = {
    [CHECK_PLATFORM_STATE] = check_platform_state,
    [CHECK_HANDLE] = check_handle,
    [CHECK_GUEST_STATE] = check_guest_state,
    [CHECK_PARAM] = check_param,
    [CHECK_LENGTH] = check_length,
    [CHECK_POLICY] = check_policy,
    [CHECK_ACTIVE] = check_active,
    [CHECK_ASID] = check_asid,
    [CHECK_ADDRESS] = check_address,
};

uint64_t sevfw_strip_c_bit(const struct sevfw *fw, uint64_t spa)
{
    return spa & ~(UINT64_C(1) << fw->config.c_bit);
}

bool sevfw_range_ok(struct sevfw *fw, uint32_t asid, uint64_t spa, uint32_t size)
{
    const uint64_t limit = UINT64_C(1) << fw->config.phys_bits;
    const uint64_t address = sevfw_strip_c_bit(fw, spa), c_bit = spa ^ address;
    uint8_t probe;

    if (address >= limit || size > limit - address) {
        return false;
    }
    if (fw->ops.is_ram) {
        return fw->ops.is_ram(fw->opaque, address, size);
    }
    for (uint64_t at = address; at < address + size; at = (at | (PAGE - 1)) + 1) {
        bool ram = asid ? fw->ops.read_guest(fw->opaque, asid, at | c_bit, &probe, 1)
                        : fw->ops.read(fw->opaque, at | c_bit, &probe, 1);
        if (!ram) {
            return false;
        }
    }
    return true;
}

uint16_t sevfw_output(struct sevfw *fw, uint64_t spa, const void *data, uint32_t size)
{
    if (!fw->ops.write(fw->opaque, spa, data, size)) {
        return SEVFW_INVALID_ADDRESS;
    }
    if (fw->output_count < sizeof(fw->outputs) / sizeof(fw->outputs[0])) {
        fw->outputs[fw->output_count++] = (struct sevfw_output){.spa = spa, .size = size};
    }
    return SEVFW_SUCCESS;
}

static uint16_t run_checked(struct sevfw *fw, struct sevfw_call *call)
{
    uint16_t status;

    for (size_t i = 0; i < CHECK_COUNT; i++) {
        sevfw_step *own = call->command->check[order[i]];

        status = stages[order[i]](fw, call);
        if (status == SEVFW_SUCCESS && own) {
            status = own(fw, call);
        }
        if (status != SEVFW_SUCCESS) {
            return status;
        }
    }
    return call->command->run(fw, call);
}

uint16_t sevfw_command(struct sevfw *fw, uint32_t id, uint64_t spa)
{
    const struct sevfw_command *command = sevfw_commands_find(id);
    struct sevfw_call call = {.command = command};
    uint16_t status;

    fw->has_last_handle = false;
    fw->output_count = 0;
    if (!command) {
        return SEVFW_INVALID_COMMAND;
    }
    if (command->size > 0 &&
        (!sevfw_range_ok(fw, 0, spa, command->size) || !fw->ops.read(fw->opaque, spa, call.buf, command->size))) {
        return SEVFW_INVALID_ADDRESS;
    }
    status = run_checked(fw, &call);
    /* INVALID_LENGTH reports the length that is needed (section 6). */
    if (command->out.size > 0 && (status == SEVFW_SUCCESS || status == SEVFW_INVALID_LENGTH)) {
        uint16_t written =
            sevfw_output(fw, spa + command->out.offset, call.buf + command->out.offset, command->out.size);
        if (status == SEVFW_SUCCESS) {
            status = written;
        }
    }
    return status;
}

static bool config_ok(const struct sevfw_config *config)
{
    return config->cpus > 0 && config->cpus <= SEVFW_MAX_CPUS && config->max_guests > 0 && config->min_sev_asid > 0 &&
           config->min_sev_asid <= config->max_sev_asid && config->phys_bits >= 32 && config->phys_bits < 64 &&
           config->c_bit >= 32 && config->c_bit < 64;
}

static void run_the_bios_version(struct sevfw *fw)
{
    fw->running = (struct sevfw_version){fw->config.api_major, fw->config.api_minor, fw->config.build};
}

struct sevfw *sevfw_new(const struct sevfw_config *config, const struct sevfw_ops *ops, void *opaque)
{
    struct sevfw *fw;

    if (!config_ok(config) || !ops->read || !ops->write || !ops->read_guest || !ops->write_guest || !ops->install_key ||
        !ops->remove_key || !ops->memory_encryption_enabled) {
        return NULL;
    }
    fw = calloc(1, sizeof(*fw));
    if (!fw) {
        return NULL;
    }
    fw->config = *config;
    fw->ops = *ops;
    fw->opaque = opaque;
    run_the_bios_version(fw);
    fw->next_handle = 1;
    fw->guests = calloc(config->max_guests, sizeof(*fw->guests));
    fw->asids = calloc((size_t)config->max_sev_asid + 1, sizeof(*fw->asids));
    if (!fw->guests || !fw->asids) {
        sevfw_free(fw);
        return NULL;
    }
    return fw;
}

void sevfw_free(struct sevfw *fw)
{
    if (!fw) {
        return;
    }
    if (fw->guests) {
        sevfw_wipe(fw->guests, fw->config.max_guests * sizeof(*fw->guests));
    }
    free(fw->guests);
    free(fw->asids);
    sevfw_wipe(fw, sizeof(*fw));
    free(fw);
}

void sevfw_reset(struct sevfw *fw)
{
    (void)sevfw_guest_destroy_all(fw);
    run_the_bios_version(fw);
    fw->state = SEVFW_PLATFORM_UNINIT;
    fw->es = false;
    sevfw_wipe(&fw->id, sizeof(fw->id));
    memset(fw->asids, 0, ((size_t)fw->config.max_sev_asid + 1) * sizeof(*fw->asids));
    sevfw_forget_wbinvd(fw);
    fw->keys_torn_down = false; /* a system reset empties the caches */
    fw->nv_in_memory = false;
    fw->nv_rejected = false;
    fw->next_handle = 1;
    fw->output_count = 0;
    fw->has_last_handle = false;
}

void sevfw_wbinvd(struct sevfw *fw, uint32_t cpu)
{
    if (cpu < fw->config.cpus) {
        fw->wbinvd[cpu] = true;
    }
}

bool sevfw_all_wbinvd(const struct sevfw *fw)
{
    for (uint32_t cpu = 0; cpu < fw->config.cpus; cpu++) {
        if (!fw->wbinvd[cpu]) {
            return false;
        }
    }
    return true;
}

void sevfw_forget_wbinvd(struct sevfw *fw)
{
    memset(fw->wbinvd, 0, sizeof(fw->wbinvd));
}

bool sevfw_asid_active(const struct sevfw *fw, uint32_t asid)
{
    return asid <= fw->config.max_sev_asid && fw->asids[asid].handle != 0;
}

bool sevfw_last_handle(const struct sevfw *fw, uint32_t *handle)
{
    if (fw->has_last_handle) {
        *handle = fw->last_handle;
    }
    return fw->has_last_handle;
}

void sevfw_scribble_outputs(struct sevfw *fw, uint8_t pattern)
{
    uint8_t fill[256];

    memset(fill, pattern, sizeof(fill));
    for (uint32_t i = 0; i < fw->output_count; i++) {
        const struct sevfw_output *output = &fw->outputs[i];

        for (uint32_t done = 0; done < output->size; done += (uint32_t)sizeof(fill)) {
            uint32_t left = output->size - done;

            (void)fw->ops.write(fw->opaque, output->spa + done, fill, left < sizeof(fill) ? left : sizeof(fill));
        }
    }
}
