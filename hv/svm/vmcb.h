/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The virtual machine control block (APM2 15.5, appendix B). Read fields directly;
 * write them only through the accessors below: each clears the clean bit that its
 * field belongs to (APM2 15.15), so that none can be forgotten.
 */
#ifndef SEVISOR_VMCB_H
#define SEVISOR_VMCB_H

#include "hv/lib/types.h"

/* APM2 table B-2; attributes are the descriptor's bits 55:52 and 47:40. */
struct vmcb_segment {
    uint16_t selector;
    uint16_t attributes;
    uint32_t limit;
    uint64_t base;
};

struct vmcb {
    /* Control area, APM2 table B-1. */
    uint32_t intercept_cr;              /* exits 0 to 0x1f: reads of CR0-15, writes */
    uint32_t intercept_dr;
    uint32_t intercept_exceptions;      /* bit = vector */
    uint32_t intercept_misc1;           /* exits 0x60 to 0x7f */
    uint32_t intercept_misc2;           /* exits 0x80 to 0x9f */
    uint32_t intercept_misc3;
    uint8_t reserved_018[0x24];
    uint16_t pause_filter_threshold;
    uint16_t pause_filter_count;
    uint64_t iopm_base_pa;
    uint64_t msrpm_base_pa;
    uint64_t tsc_offset;
    uint32_t guest_asid;
    uint8_t tlb_control;                /* TLB_CONTROL_* */
    uint8_t reserved_05d[3];
    uint64_t v_intr;                    /* V_* */
    uint64_t interrupt_shadow;          /* INTERRUPT_SHADOW, GUEST_INTERRUPT_MASK */
    uint64_t exitcode;                  /* VMEXIT_* */
    uint64_t exitinfo1;
    uint64_t exitinfo2;
    uint64_t exitintinfo;               /* EVENT_* */
    uint64_t nested_ctl;                /* NESTED_CTL_* */
    uint64_t avic_apic_bar;
    uint64_t ghcb_pa;
    uint64_t eventinj;                  /* EVENT_* */
    uint64_t n_cr3;
    uint64_t virtualization_ext;        /* LBR, VMLOAD/VMSAVE virtualisation */
    uint32_t vmcb_clean;                /* VMCB_CLEAN_* */
    uint32_t reserved_0c4;
    uint64_t nrip;                      /* 0 on processors without next-RIP save */
    uint8_t guest_instruction_count;
    uint8_t guest_instruction_bytes[15];
    uint64_t avic_apic_backing_page;
    uint64_t reserved_0e8;
    uint64_t avic_logical_table;
    uint64_t avic_physical_table;
    uint64_t reserved_100;
    uint64_t vmsa_pa;
    uint8_t reserved_110[0x2d0];
    uint8_t software_3e0[0x20];

    /* Save area, APM2 table B-2. */
    struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t reserved_4a0[0x2b];
    uint8_t cpl;
    uint32_t reserved_4cc;
    uint64_t efer;
    uint8_t reserved_4d8[0x70];
    uint64_t cr4;
    uint64_t cr3;
    uint64_t cr0;
    uint64_t dr7;
    uint64_t dr6;
    uint64_t rflags;
    uint64_t rip;
    uint8_t reserved_580[0x58];
    uint64_t rsp;
    uint64_t s_cet, ssp, isst_addr;
    uint64_t rax;
    uint64_t star, lstar, cstar, sfmask;
    uint64_t kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t cr2;
    uint8_t reserved_648[0x20];
    uint64_t g_pat;
    uint64_t dbgctl;
    uint64_t br_from, br_to, lastexcp_from, lastexcp_to;
    uint8_t reserved_698[0x48];
    uint64_t spec_ctrl;
    uint8_t reserved_6e8[0x918];
};

/* tests/unit/hv_vcpu/test_accessors.c has the offsets. */
_Static_assert(sizeof(struct vmcb) == 0x1000, "VMCB page");

#define TLB_CONTROL_NONE 0u
#define TLB_CONTROL_FLUSH_ALL 1u
#define TLB_CONTROL_FLUSH_ASID 3u       /* where CPUID has FlushByAsid */

/* v_intr */
#define V_TPR_MASK UINT64_C(0xf)
#define V_IRQ (UINT64_C(1) << 8)
#define V_INTR_PRIO_SHIFT 16
#define V_INTR_MASKING (UINT64_C(1) << 24)

#define INTERRUPT_SHADOW (UINT64_C(1) << 0)

#define NESTED_CTL_NP_ENABLE (UINT64_C(1) << 0)
#define NESTED_CTL_SEV_ENABLE (UINT64_C(1) << 1)

/* EVENTINJ and EXITINTINFO, APM2 15.20. */
#define EVENT_VECTOR(event) ((uint8_t)(event))
#define EVENT_TYPE_MASK (UINT64_C(7) << 8)
#define EVENT_TYPE_INTERRUPT (UINT64_C(0) << 8)
#define EVENT_TYPE_NMI (UINT64_C(2) << 8)
#define EVENT_TYPE_EXCEPTION (UINT64_C(3) << 8)
#define EVENT_ERROR_VALID (UINT64_C(1) << 11)
#define EVENT_VALID (UINT64_C(1) << 31)
#define EVENT_ERROR_SHIFT 32

/* vmcb_clean */
#define VMCB_CLEAN_I (1u << 0)          /* intercepts, TSC offset, pause filter */
#define VMCB_CLEAN_IOPM (1u << 1)
#define VMCB_CLEAN_ASID (1u << 2)
#define VMCB_CLEAN_TPR (1u << 3)        /* V_TPR, V_IRQ, V_INTR_PRIO, V_IGN_TPR, V_INTR_MASKING, V_INTR_VECTOR */
#define VMCB_CLEAN_NP (1u << 4)         /* nested paging: N_CR3, G_PAT */
#define VMCB_CLEAN_CRX (1u << 5)        /* CR0, CR3, CR4, EFER */
#define VMCB_CLEAN_DRX (1u << 6)        /* DR6, DR7 */
#define VMCB_CLEAN_DT (1u << 7)         /* GDT, IDT limit and base */
#define VMCB_CLEAN_SEG (1u << 8)        /* CS, DS, SS, ES, CPL */
#define VMCB_CLEAN_CR2 (1u << 9)
#define VMCB_CLEAN_ALL 0xfffu

/* Exit codes, APM2 appendix C. An intercept's bit is its exit code's distance from its word's first. */
#define INTERCEPT(exit) (1u << ((exit) & 31))
#define VMEXIT_READ_CR0 0x00u
#define VMEXIT_READ_CR4 0x04u
#define VMEXIT_WRITE_CR0 0x10u
#define VMEXIT_WRITE_CR4 0x14u
#define VMEXIT_EXCEPTION_DE 0x40u        /* the first of 32 */
#define VMEXIT_EXCEPTION_DB 0x41u
#define VMEXIT_EXCEPTION_AC 0x51u
#define VMEXIT_EXCEPTION_MC 0x52u
#define VMEXIT_INTR 0x60u
#define VMEXIT_NMI 0x61u
#define VMEXIT_SMI 0x62u
#define VMEXIT_INIT 0x63u
#define VMEXIT_VINTR 0x64u
#define VMEXIT_CR0_SEL_WRITE 0x65u
#define VMEXIT_RDPMC 0x6fu
#define VMEXIT_CPUID 0x72u
#define VMEXIT_RSM 0x73u
#define VMEXIT_IRET 0x74u
#define VMEXIT_INVD 0x76u
#define VMEXIT_HLT 0x78u
#define VMEXIT_INVLPGA 0x7au
#define VMEXIT_IOIO 0x7bu
#define VMEXIT_MSR 0x7cu
#define VMEXIT_TASK_SWITCH 0x7du
#define VMEXIT_FERR_FREEZE 0x7eu
#define VMEXIT_SHUTDOWN 0x7fu
#define VMEXIT_VMRUN 0x80u
#define VMEXIT_VMMCALL 0x81u
#define VMEXIT_VMLOAD 0x82u
#define VMEXIT_VMSAVE 0x83u
#define VMEXIT_STGI 0x84u
#define VMEXIT_CLGI 0x85u
#define VMEXIT_SKINIT 0x86u
#define VMEXIT_WBINVD 0x89u
#define VMEXIT_MONITOR 0x8au
#define VMEXIT_MWAIT 0x8bu
#define VMEXIT_MWAIT_CONDITIONAL 0x8cu
#define VMEXIT_XSETBV 0x8du
#define VMEXIT_RDPRU 0x8eu
#define VMEXIT_NPF 0x400u
/* -1; only the low half is compared, as some processors write 32 bits. */
#define VMEXIT_INVALID 0xffffffffu

/* EXITINFO1 of the above about control registers, where there are decode assists, APM2 15.33.1. */
#define CR_GPR UINT64_C(0xf)
#define CR_MOV (UINT64_C(1) << 63)      /* else CLTS, LMSW, SMSW */

/* Exceptions that are always intercepted. #DB and #AC: their delivery can raise themselves for ever inside the
 * processor (CVE-2015-5307, CVE-2015-8104). #MC is the host's. */
#define VMCB_EXCEPTIONS \
    (INTERCEPT(VMEXIT_EXCEPTION_DB) | INTERCEPT(VMEXIT_EXCEPTION_AC) | INTERCEPT(VMEXIT_EXCEPTION_MC))

/* EXITINFO1 of VMEXIT_IOIO, APM2 15.10.2; EXITINFO2 is the next RIP. */
#define IOIO_IN (UINT64_C(1) << 0)
#define IOIO_STRING (UINT64_C(1) << 2)
#define IOIO_SIZE_SHIFT 4               /* 6:4: bytes, one of 1, 2, 4 */
#define IOIO_PORT_SHIFT 16

/* A function cannot paste names: one accessor per field that software writes. */
#define VMCB_ACCESSOR(type, field, clean)                              \
    static inline void vmcb_set_##field(struct vmcb *vmcb, type value) \
    {                                                                  \
        vmcb->field = value;                                           \
        vmcb->vmcb_clean &= ~(uint32_t)(clean);                        \
    }
/* The processor reads these on every VMRUN, or VMLOAD. */
#define VMCB_NOT_CACHED 0u

VMCB_ACCESSOR(uint32_t, intercept_cr, VMCB_CLEAN_I)
VMCB_ACCESSOR(uint32_t, intercept_exceptions, VMCB_CLEAN_I)
VMCB_ACCESSOR(uint32_t, intercept_misc1, VMCB_CLEAN_I)
VMCB_ACCESSOR(uint32_t, intercept_misc2, VMCB_CLEAN_I)
VMCB_ACCESSOR(uint64_t, tsc_offset, VMCB_CLEAN_I)
VMCB_ACCESSOR(uint64_t, iopm_base_pa, VMCB_CLEAN_IOPM)
VMCB_ACCESSOR(uint64_t, msrpm_base_pa, VMCB_CLEAN_IOPM)
VMCB_ACCESSOR(uint32_t, guest_asid, VMCB_CLEAN_ASID)
VMCB_ACCESSOR(uint64_t, v_intr, VMCB_CLEAN_TPR)
VMCB_ACCESSOR(uint64_t, nested_ctl, VMCB_CLEAN_NP)
VMCB_ACCESSOR(uint64_t, n_cr3, VMCB_CLEAN_NP)
VMCB_ACCESSOR(uint64_t, g_pat, VMCB_CLEAN_NP)
VMCB_ACCESSOR(uint64_t, cr0, VMCB_CLEAN_CRX)
VMCB_ACCESSOR(uint64_t, cr2, VMCB_CLEAN_CR2)
VMCB_ACCESSOR(uint64_t, cr3, VMCB_CLEAN_CRX)
VMCB_ACCESSOR(uint64_t, cr4, VMCB_CLEAN_CRX)
VMCB_ACCESSOR(uint64_t, efer, VMCB_CLEAN_CRX)
VMCB_ACCESSOR(uint64_t, dr6, VMCB_CLEAN_DRX)
VMCB_ACCESSOR(uint64_t, dr7, VMCB_CLEAN_DRX)
VMCB_ACCESSOR(struct vmcb_segment, cs, VMCB_CLEAN_SEG)
VMCB_ACCESSOR(uint8_t, cpl, VMCB_CLEAN_SEG)
VMCB_ACCESSOR(uint8_t, tlb_control, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, interrupt_shadow, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, eventinj, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, exitintinfo, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, rflags, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, rip, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, rsp, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, rax, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, spec_ctrl, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, star, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, lstar, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, cstar, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, sfmask, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, kernel_gs_base, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, sysenter_cs, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, sysenter_esp, VMCB_NOT_CACHED)
VMCB_ACCESSOR(uint64_t, sysenter_eip, VMCB_NOT_CACHED)
#undef VMCB_ACCESSOR

/* All of them, from ES to TR, in the VMCB's order. FS, GS, LDTR and TR are VMLOAD's, which has no clean bits. */
#define VMCB_SEGMENTS 10u
static inline void vmcb_set_segments(struct vmcb *vmcb, const struct vmcb_segment segments[static VMCB_SEGMENTS])
{
    __builtin_memcpy(&vmcb->es, segments, VMCB_SEGMENTS * sizeof(*segments));
    vmcb->vmcb_clean &= ~(VMCB_CLEAN_DT | VMCB_CLEAN_SEG);
}

/* After an exit the processor may use its cached VMCB state: all clean until an accessor says
 * otherwise. Processors without clean bits ignore the field. */
static inline void vmcb_mark_clean(struct vmcb *vmcb)
{
    vmcb->vmcb_clean = VMCB_CLEAN_ALL;
}
/* Before the first entry, and on another CPU than the last. */
static inline void vmcb_mark_dirty(struct vmcb *vmcb)
{
    vmcb->vmcb_clean = 0;
}

/* An EVENTINJ value. */
static inline uint64_t vmcb_event(uint64_t type, uint8_t vector)
{
    return EVENT_VALID | type | vector;
}

/* The I/O and MSR permission maps that guests share; once. `com2_free`: a guest may have the second serial port. */
void vmcb_maps_init(bool com2_free);

/* VMRUN refuses others (APM2 15.25.8). */
bool vmcb_pat_valid(uint64_t pat);

/* Fills a zeroed VMCB: intercepts, maps, and registers as after RESET. The caller sets the other registers, and what is its guest's own:
 * ASID, nested tables, TSC offset. `com2`: the host's second serial port is the guest's, and its accesses are not intercepted. */
void vmcb_init(struct vmcb *vmcb, bool sev, bool com2);

#endif
