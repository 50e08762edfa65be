/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The guest's system time is 0 where its TSC is 0, for all its vCPUs alike: then the
 * structure never has to be written again, and no two CPUs can disagree.
 */
#include "hv/dev/pvclock.h"

#include "hv/cpu/clock.h"

#define PVCLOCK_TSC_STABLE 0x01u

struct pvclock_wall_clock {
    uint32_t version;           /* odd while being written */
    uint32_t sec;               /* since 1970, when the system time was 0 */
    uint32_t nsec;
};
_Static_assert(sizeof(struct pvclock_wall_clock) == PVCLOCK_WALL_SIZE, "wall clock");

struct pvclock_vcpu_time_info {
    uint32_t version;
    uint32_t pad0;
    uint64_t tsc_timestamp;     /* guest TSC at system_time */
    uint64_t system_time;       /* ns */
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad[2];
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct pvclock_vcpu_time_info) == PVCLOCK_TIME_SIZE, "vCPU time");
_Static_assert(offsetof(struct pvclock_vcpu_time_info, tsc_to_system_mul) == 24, "mul");
_Static_assert(offsetof(struct pvclock_vcpu_time_info, flags) == 29, "flags");

struct pvclock_scale pvclock_scale(uint64_t hz)
{
    uint64_t mul = (NS_PER_S << 34) / (hz == 0 ? 1 : hz);      /* the most that fits */
    int8_t shift = 32 - 34;
    for (; mul > UINT32_MAX; mul >>= 1)
        shift++;
    return (struct pvclock_scale){.mul = (uint32_t)mul, .shift = shift};
}

/* The fences: the writes of one version, in the order in which another CPU may see them. */

void pvclock_fill_wall(struct pvclock *clock, void *place, uint64_t tsc_offset)
{
    volatile struct pvclock_wall_clock *wall = place;
    /* Where the guest's TSC is 0, the host's is -tsc_offset. */
    uint64_t ns = clock_boot_wall_ns();
    if (ns != 0) {
        if ((int64_t)tsc_offset <= 0)
            ns += clock_tsc_to_ns(-tsc_offset);
        else
            ns -= clock_tsc_to_ns(tsc_offset) < ns ? clock_tsc_to_ns(tsc_offset) : ns;
    }
    wall->version = ++clock->version;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    wall->sec = (uint32_t)(ns / NS_PER_S);
    wall->nsec = (uint32_t)(ns % NS_PER_S);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    wall->version = ++clock->version;
}

void pvclock_fill_time(struct pvclock *clock, void *place)
{
    volatile struct pvclock_vcpu_time_info *time = place;
    struct pvclock_scale scale = pvclock_scale(clock_hz());
    time->version = ++clock->version;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    time->pad0 = 0;
    time->tsc_timestamp = 0;
    time->system_time = 0;
    time->tsc_to_system_mul = scale.mul;
    time->tsc_shift = scale.shift;
    time->flags = PVCLOCK_TSC_STABLE;
    time->pad[0] = time->pad[1] = 0;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    time->version = ++clock->version;
}
