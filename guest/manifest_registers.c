/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The initial state of a boot vCPU: what VMRUN would answer with
 * VMEXIT_INVALID (APM2 15.5.1) is refused here, where it can be named.
 */
#include "guest/manifest_registers.h"

#include <stdbool.h>

#define CR0_PE (UINT64_C(1) << 0)
#define CR0_NW (UINT64_C(1) << 29)
#define CR0_CD (UINT64_C(1) << 30)
#define CR0_KNOWN UINT64_C(0xe005003f)      /* PG CD NW AM WP NE ET TS EM MP PE (APM2 3.1.1) */

#define CR4_PAE (UINT64_C(1) << 5)
/* VME to OSXMMEXCPT, UMIP, FSGSBASE, SMEP, SMAP (APM2 3.1.3). Not LA57, PCIDE,
 * OSXSAVE, PKE, CET: a guest turns those on by itself if CPUID offers them. */
#define CR4_KNOWN UINT64_C(0x00310fff)

#define EFER_SCE (UINT64_C(1) << 0)
#define EFER_LME (UINT64_C(1) << 8)
#define EFER_NXE (UINT64_C(1) << 11)

#define RFLAGS_ONE (UINT64_C(1) << 1)
#define RFLAGS_VM (UINT64_C(1) << 17)
#define RFLAGS_KNOWN UINT64_C(0x003f7fd7)   /* APM2 3.1.6 */

/* Segment attributes as the VMCB has them (APM2 15.5.1, "Segment State"). */
#define SEGMENT_TYPE 0x00fu
#define SEGMENT_TYPE_LDT 0x2u
#define SEGMENT_TYPE_BUSY_TSS16 0x3u
#define SEGMENT_TYPE_BUSY_TSS 0xbu
#define SEGMENT_READABLE_OR_WRITABLE 0x002u     /* of code; of data */
#define SEGMENT_CODE 0x008u
#define SEGMENT_S 0x010u
#define SEGMENT_DPL 0x060u
#define SEGMENT_P 0x080u
#define SEGMENT_D 0x400u
#define SEGMENT_G 0x800u
#define SEGMENT_KNOWN 0xfffu

static bool canonical(uint64_t address)
{
    uint64_t top = address >> 47;

    return top == 0 || top == UINT64_C(0x1ffff);
}

static bool is_absent(const struct manifest_segment *segment)
{
    return (segment->attributes & SEGMENT_P) == 0;
}

static bool is_user_type(const struct manifest_segment *segment)
{
    return (segment->attributes & (SEGMENT_P | SEGMENT_S)) == (SEGMENT_P | SEGMENT_S);
}

static bool is_code(const struct manifest_segment *segment)
{
    return is_user_type(segment) && (segment->attributes & SEGMENT_CODE) != 0;
}

static bool is_writable_data(const struct manifest_segment *segment)
{
    return is_user_type(segment) && (segment->attributes & SEGMENT_CODE) == 0 &&
           (segment->attributes & SEGMENT_READABLE_OR_WRITABLE) != 0;
}

static bool is_readable(const struct manifest_segment *segment)
{
    return is_user_type(segment) &&
           ((segment->attributes & SEGMENT_CODE) == 0 || (segment->attributes & SEGMENT_READABLE_OR_WRITABLE) != 0);
}

/* A descriptor's limit has 20 bits, scaled by G. */
static bool limit_fits(const struct manifest_segment *segment)
{
    if ((segment->attributes & SEGMENT_G) != 0)
        return (segment->limit & 0xfffu) == 0xfffu;
    return segment->limit <= 0xfffffu;
}

static enum manifest_error check_control(const struct manifest_registers *r)
{
    bool paging = (r->cr0 & CR0_PG) != 0;
    bool long_mode = (r->efer & EFER_LME) != 0 && paging;

    if ((r->cr0 & ~CR0_KNOWN) != 0)
        return MANIFEST_CR0_RESERVED;
    if ((r->cr0 & (CR0_NW | CR0_CD)) == CR0_NW)
        return MANIFEST_CR0_NW_WITHOUT_CD;
    if (paging && (r->cr0 & CR0_PE) == 0)
        return MANIFEST_CR0_PG_WITHOUT_PE;
    if ((r->cr4 & ~CR4_KNOWN) != 0)
        return MANIFEST_CR4_RESERVED;
    if ((r->efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)) != 0)
        return MANIFEST_EFER_RESERVED;
    if (((r->efer & EFER_LMA) != 0) != long_mode)
        return MANIFEST_EFER_LMA;
    if (long_mode && (r->cr4 & CR4_PAE) == 0)
        return MANIFEST_LONG_MODE_WITHOUT_PAE;
    if (!paging && r->cr3 != 0)
        return MANIFEST_CR3_WITHOUT_PAGING;
    if ((r->cr3 & (MANIFEST_PAGE - 1)) != 0)
        return MANIFEST_CR3_UNALIGNED;
    if ((r->rflags & ~RFLAGS_KNOWN) != 0 || (r->rflags & RFLAGS_ONE) == 0)
        return MANIFEST_RFLAGS_RESERVED;
    if ((r->rflags & RFLAGS_VM) != 0)
        return MANIFEST_RFLAGS_VM;
    return MANIFEST_OK;
}

static enum manifest_error check_code_and_stack(const struct manifest_registers *r)
{
    if (!is_code(&r->cs))
        return MANIFEST_CS_NOT_CODE;
    if ((r->cs.attributes & (SEGMENT_L | SEGMENT_D)) == (SEGMENT_L | SEGMENT_D))
        return MANIFEST_CS_LONG_AND_BIG;
    if (!is_writable_data(&r->ss))
        return MANIFEST_SS_NOT_STACK;
    if (((r->cs.attributes | r->ss.attributes) & SEGMENT_DPL) != 0)
        return MANIFEST_NOT_RING_0;
    return MANIFEST_OK;
}

static enum manifest_error check_segment(const struct manifest_segment *segment)
{
    if ((segment->attributes & ~SEGMENT_KNOWN) != 0)
        return MANIFEST_SEGMENT_RESERVED;
    if (!limit_fits(segment))
        return MANIFEST_SEGMENT_LIMIT;
    if (!canonical(segment->base))
        return MANIFEST_SEGMENT_BASE;
    return MANIFEST_OK;
}

static enum manifest_error check_system_segments(const struct manifest_registers *r)
{
    uint16_t tr_type = r->tr.attributes & SEGMENT_TYPE;
    uint16_t ldtr_kind = r->ldtr.attributes & (SEGMENT_TYPE | SEGMENT_S);
    bool long_mode = (r->efer & EFER_LMA) != 0;

    if (!is_absent(&r->ldtr) && ldtr_kind != SEGMENT_TYPE_LDT)
        return MANIFEST_LDTR;
    if (is_absent(&r->tr) || (r->tr.attributes & SEGMENT_S) != 0)
        return MANIFEST_TR;
    if (tr_type != SEGMENT_TYPE_BUSY_TSS && (long_mode || tr_type != SEGMENT_TYPE_BUSY_TSS16))
        return MANIFEST_TR;
    return MANIFEST_OK;
}

static enum manifest_error check_table_register(const struct manifest_segment *table)
{
    if (table->selector != 0 || table->attributes != 0 || table->limit > 0xffff)
        return MANIFEST_TABLE_REGISTER;
    if (!canonical(table->base))
        return MANIFEST_SEGMENT_BASE;
    return MANIFEST_OK;
}

enum manifest_error manifest_registers_check(const struct manifest_registers *r)
{
    const struct manifest_segment *below_4g[] = {&r->es, &r->cs, &r->ss, &r->ds};
    const struct manifest_segment *data[] = {&r->ds, &r->es, &r->fs, &r->gs};
    const struct manifest_segment *all[] = {&r->es, &r->cs, &r->ss, &r->ds, &r->fs, &r->gs, &r->ldtr, &r->tr};
    enum manifest_error error = check_control(r);

    for (unsigned i = 0; error == MANIFEST_OK && i < sizeof(all) / sizeof(*all); i++)
        error = check_segment(all[i]);
    if (error == MANIFEST_OK)
        error = check_code_and_stack(r);
    if (error == MANIFEST_OK)
        error = check_system_segments(r);
    if (error == MANIFEST_OK)
        error = check_table_register(&r->gdtr);
    if (error == MANIFEST_OK)
        error = check_table_register(&r->idtr);
    if (error != MANIFEST_OK)
        return error;

    for (unsigned i = 0; i < sizeof(below_4g) / sizeof(*below_4g); i++)
        if (below_4g[i]->base > UINT32_MAX)
            return MANIFEST_SEGMENT_BASE;
    for (unsigned i = 0; i < sizeof(data) / sizeof(*data); i++)
        if (!is_absent(data[i]) && !is_readable(data[i]))
            return MANIFEST_DATA_SEGMENT;
    return MANIFEST_OK;
}
