/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Hardware breakpoints (APM2 13.1.1). Nothing is kept here: which are set stands in DR7 of the guest's first vCPU. */
#include "guest/control/breakpoints.h"

#include "guest/control/ask.h"

#define COUNT 4u
#define DR7_GLOBAL(n) (UINT64_C(2) << (n) * 2)      /* enabled; a task switch does not clear it */
#define DR7_ANY(n) (UINT64_C(3) << (n) * 2)
#define DR7_CONDITION(n) (UINT64_C(0xf) << (16 + (n) * 4))
#define DR7_SET_CONDITION(n, value) ((uint64_t)(value) << (16 + (n) * 4))

#define RW_EXECUTE 0u
#define RW_WRITE 1u
#define RW_ACCESS 3u

/* DR7's four bits: length and kind. False: there are no such breakpoints. */
static bool condition(enum breakpoint_kind kind, uint64_t address, uint64_t size, unsigned *bits)
{
    static const uint8_t length_bits[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};

    if (kind == BREAKPOINT_EXECUTE) {
        *bits = RW_EXECUTE;
        return true;
    }
    if ((size != 1 && size != 2 && size != 4 && size != 8) || address % size != 0) {
        ask_refuse("a watchpoint has 1, 2, 4 or 8 bytes, at an address that is a multiple of its size");
        return false;
    }
    *bits = (kind == BREAKPOINT_WRITE ? RW_WRITE : RW_ACCESS) | (unsigned)length_bits[size] << 2;
    return true;
}

static uint64_t *address_register(struct control_vcpu *vcpu, uint32_t number)
{
    uint64_t *const registers[COUNT] = {&vcpu->dr0, &vcpu->dr1, &vcpu->dr2, &vcpu->dr3};

    return registers[number];
}

static bool is_set(struct control_vcpu *vcpu, uint32_t number, uint64_t address, unsigned bits)
{
    return (vcpu->dr7 & DR7_ANY(number)) != 0 && *address_register(vcpu, number) == address &&
           (vcpu->dr7 & DR7_CONDITION(number)) == DR7_SET_CONDITION(number, bits);
}

static uint32_t change(uint32_t guest, uint32_t vcpus, uint32_t number, uint64_t address, unsigned bits, bool enable)
{
    for (uint32_t vcpu = 0; vcpu < vcpus; vcpu++) {
        struct control_vcpu state;
        uint32_t result = ask_vcpu_get(guest, vcpu, &state);

        if (result != CONTROL_OK)
            return result;
        state.dr7 &= ~(DR7_ANY(number) | DR7_CONDITION(number));
        if (enable)
            state.dr7 |= DR7_GLOBAL(number) | DR7_SET_CONDITION(number, bits);
        *address_register(&state, number) = enable ? address : 0;
        result = ask_vcpu_set(guest, vcpu, &state);
        if (result != CONTROL_OK)
            return result;
    }
    return CONTROL_OK;
}

uint32_t breakpoints_insert(uint32_t guest, uint32_t vcpus, enum breakpoint_kind kind, uint64_t address, uint64_t size)
{
    struct control_vcpu first;
    uint32_t result, free = COUNT;
    unsigned bits;

    if (!condition(kind, address, size, &bits))
        return CONTROL_INVALID;
    result = ask_vcpu_get(guest, 0, &first);
    if (result != CONTROL_OK)
        return result;
    for (uint32_t i = COUNT; i-- > 0;) {
        if (is_set(&first, i, address, bits))
            return CONTROL_OK;
        if ((first.dr7 & DR7_ANY(i)) == 0)
            free = i;
    }
    if (free == COUNT) {
        ask_refuse("all four debug registers are in use");
        return CONTROL_LIMIT;
    }
    return change(guest, vcpus, free, address, bits, true);
}

uint32_t breakpoints_remove(uint32_t guest, uint32_t vcpus, enum breakpoint_kind kind, uint64_t address, uint64_t size)
{
    struct control_vcpu first;
    uint32_t result;
    unsigned bits;

    if (!condition(kind, address, size, &bits))
        return CONTROL_INVALID;
    result = ask_vcpu_get(guest, 0, &first);
    for (uint32_t i = 0; result == CONTROL_OK && i < COUNT; i++) {
        if (is_set(&first, i, address, bits))
            return change(guest, vcpus, i, address, bits, false);
    }
    return result;
}

uint32_t breakpoints_clear(uint32_t guest, uint32_t vcpu)
{
    struct control_vcpu state;
    uint32_t result = ask_vcpu_get(guest, vcpu, &state);

    for (uint32_t i = 0; i < COUNT; i++)
        state.dr7 &= ~(DR7_ANY(i) | DR7_CONDITION(i));
    return result == CONTROL_OK ? ask_vcpu_set(guest, vcpu, &state) : result;
}

enum breakpoint_kind breakpoints_hit(const struct control_vcpu *vcpu, uint32_t number, uint64_t *address)
{
    const uint64_t addresses[COUNT] = {vcpu->dr0, vcpu->dr1, vcpu->dr2, vcpu->dr3};

    *address = addresses[number % COUNT];
    switch (vcpu->dr7 >> (16 + number % COUNT * 4) & 3) {
    case RW_EXECUTE:
        return BREAKPOINT_EXECUTE;
    case RW_WRITE:
        return BREAKPOINT_WRITE;
    default:
        return BREAKPOINT_ACCESS;
    }
}
