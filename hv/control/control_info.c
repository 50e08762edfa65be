/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* PLATFORM_INFO and GUEST_INFO, and the states in which the control guest sees guests. */
#include "hv/control/control_info.h"

#include "hv/control/program.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/smp.h"
#include "hv/lib/text.h"
#include "hv/svm/asid.h"

enum control_state control_info_state(const struct guest *guest)
{
    bool ends = __atomic_load_n(&guest->end, __ATOMIC_ACQUIRE) != GUEST_END_NONE;
    switch (guest->state) {
    case GUEST_LAUNCHING:
        return ends ? CONTROL_STATE_ENDING : guest->awaits != 0 ? guest->awaits : CONTROL_STATE_LAUNCHING;
    case GUEST_RUNNING:
        if (ends)
            return CONTROL_STATE_ENDING;
        return guest->paused && __atomic_load_n(&guest->vcpus_queued, __ATOMIC_ACQUIRE) == 0 ? CONTROL_STATE_PAUSED
                                                                                             : CONTROL_STATE_RUNNING;
    case GUEST_ENDED:
        return CONTROL_STATE_ENDED;
    case GUEST_REFUSED:
        return CONTROL_STATE_REFUSED;
    default:
        return CONTROL_STATE_NONE;
    }
}

enum control_result control_info_platform(struct control_call *call)
{
    const struct psp *psp = sev_psp();
    struct control_platform platform = {
        .version = CONTROL_VERSION,
        .guests = guest_count(),
        .api_major = psp->status.api_major,
        .api_minor = psp->status.api_minor,
        .build = psp->status.build,
        .state = psp->status.state,
        .owner = psp->status.owner & SEV_OWNER_EXTERNAL,
        .sev_ready = sev_ready(),
        .asids = asid_free_count(ASID_SEV),
        .memory = memory_bytes(),
        .memory_free = memory_free_bytes(),
        .tsc_khz = (uint32_t)(clock_hz() / 1000),
        .tsc = clock_tsc(),
        .commands = psp->commands,
        .command_us = psp->command_us,
    };
    for (uint32_t i = 0; i < smp_cpus(); i++)
        platform.cpus += smp_cpu(i) != NULL;
    for (uint32_t i = 0; i < platform.guests; i++) {
        if ((guests[i].config->flags & MANIFEST_GUEST_CONTROL) != 0)
            platform.self = i;
        platform.asids_used += guests[i].sev && guests[i].asid != 0;
    }
    platform.asids += platform.asids_used;
    if (!sev_ready())
        text_format(platform.refusal, sizeof(platform.refusal), "%s", sev_refusal());
    return control_put(call, &platform, sizeof(platform));
}

/* Of a SEV guest's memory, what goes through LAUNCH_UPDATE_DATA. */
static uint64_t private_bytes(const struct manifest_guest *config)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < config->step_count; i++) {
        const struct manifest_step *step = program_step(config, i);
        bytes += step->kind != MANIFEST_STEP_SHARED ? step->size : 0;
    }
    return bytes;
}

enum control_result control_info_guest(struct control_call *call)
{
    const struct guest *guest = call->guest;
    const struct manifest_guest *config = guest->config;
    bool encrypts = guest->report.phase == LAUNCH_UPDATE;
    struct guest_counters counters;
    struct control_guest info = {
        .state = control_info_state(guest),
        .encryption = config->encryption,
        .vcpus = config->vcpus,
        .policy = guest->sev_policy,
        .asid = guest->asid,
        .handle = guest->sev_context ? guest->sev_handle : 0,
        .launches = guest->launches,
        .end = guest->end,
        .phase = guest->report.phase,
        .flags = config->flags,
        .memory = config->memory,
        .done = encrypts ? guest->report.psp_bytes : job_of(guest)->offset,
        .total = encrypts ? private_bytes(config) : config->memory,
        .secret_gpa = config->secret_gpa,
        .secret_size = config->secret_size,
        .commands = guest->report.commands,
        .alive_tsc = guest->alive_tsc + (guest->started_tsc != 0 ? clock_tsc() - guest->started_tsc : 0),
        .console_first = history_first(&guest->output.history),
        .console_end = guest->output.history.total,
    };
    _Static_assert(sizeof(info.exits) == sizeof(counters.exits) && sizeof(info.name) == sizeof(config->name), "copied");
    guest_read_counters(guest, &counters);
    info.run_tsc = counters.run_tsc;
    memcpy(info.exits, counters.exits, sizeof(info.exits));
    memcpy(info.name, config->name, sizeof(info.name));
    memcpy(info.digest, config->launch_digest, sizeof(info.digest));
    memcpy(info.measure, guest->measurement.measure, sizeof(info.measure));
    memcpy(info.mnonce, guest->measurement.mnonce, sizeof(info.mnonce));
    text_format(info.end_reason, sizeof(info.end_reason), "%s", guest->end_reason);
    return control_put(call, &info, sizeof(info));
}
