/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The CPU side of SEV: properties, MSRs, CPUID, and what TCG's SVM lacks
 * (next RIP, decode assists, VMCB clean bits). See ../README.md.
 */
#ifndef SEVISOR_SEVCPU_H
#define SEVISOR_SEVCPU_H

#include "memcrypt.h"

typedef struct CPUArchState CPUX86State;
typedef struct ArchCPU X86CPU;

#define SEV_MCA_BANKS 10        /* QEMU's MCE_BANKS_DEF */

/* In each X86CPU. All false and zero: a CPU as QEMU makes it. */
struct sev_cpu {
    /* Properties, `-cpu ...,sev-machine=on,sev-...=`. */
    bool enabled;
    uint8_t c_bit_position;
    uint8_t reduced_phys_bits;
    uint32_t asids;             /* CPUID 8000_001F ECX */
    uint32_t min_asid;          /* ... EDX */
    bool hide_sev, hide_sme;    /* CPUID EAX bits off */
    bool hw_coherency;          /* CPUID EAX[10]; no checker */
    bool smee, smm_lock;        /* what the BIOS left in SYSCFG and HWCR */
    bool svm_lock, svm_disable; /* ... in VM_CR */
    bool poison_clean_bits;
    bool smca;                  /* CPUID 8000_0007 EBX[3] */
    bool v_spec_ctrl;           /* CPUID 8000_000A EDX[20]: VMRUN switches SPEC_CTRL */

    /* State. */
    uint64_t syscfg, hwcr, vm_cr;
    uint64_t de_cfg, spec_ctrl; /* spec_ctrl: of who runs */
    uint64_t host_spec_ctrl;    /* while spec_ctrl is a guest's */
    bool guest_spec_ctrl;       /* it is */
    uint64_t ibpbs;             /* PRED_CMD[0] written, by host and guests */
    uint64_t host_c;            /* the C-bit when SYSCFG.MEME, else 0 */
    uint64_t guest_c;           /* the C-bit in a guest with SEV, else 0 */
    memcrypt_view guest_view;   /* and its key's view */

    uint64_t mca_config[SEV_MCA_BANKS];
    uint64_t mca_destat[SEV_MCA_BANKS], mca_deaddr[SEV_MCA_BANKS];

    void *vmcbs;                /* GHashTable: VMCB address -> cached VMCB */
    void *vmcb;                 /* the one that runs */
    uint64_t clean_bit_poisonings; /* fields that kept their old value */
};

/* Bits that must be zero in a host-physical address above `low`. */
uint64_t sev_pa_reserved(CPUX86State *env);
/* The same for an address in a page-table entry or CR3: a guest's own, or the
 * host's and nested tables'. */
uint64_t sev_pte_reserved(CPUX86State *env, bool guest_tables);

/* CPUID 8000_0007 EBX: what EPYCs say of machine checks. */
uint32_t sev_cpuid_80000007(CPUX86State *env);
/* #MC is about to be taken, or intercepted. */
void sev_machine_check(CPUX86State *env);
/* CPUID 8000_000A EBX. */
uint32_t sev_svm_asids(CPUX86State *env);
/* CPUID 8000_000A EDX: what QEMU has no name for. */
uint32_t sev_svm_features(CPUX86State *env);
void sev_cpuid_8000001f(CPUX86State *env, uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx);
/* True: it was ours. *gp: raise #GP(0). */
bool sev_rdmsr(CPUX86State *env, uint32_t msr, uint64_t *value, bool *gp);
bool sev_wrmsr(CPUX86State *env, uint32_t msr, uint64_t value, bool *gp);
/* RDMSR of SEV_STATUS in a guest with SEV is never intercepted. */
bool sev_rdmsr_not_intercepted(CPUX86State *env, uint32_t msr);
/* EFER.SVME may not be set: VM_CR.SVMDIS. */
bool sev_svm_disabled(CPUX86State *env);

/* VMRUN, after vm_vmcb is set and before anything is read from there. */
void sev_vmrun_clean_bits(CPUX86State *env);
/* False: VMEXIT_INVALID. True: guest_c and guest_view are set. */
bool sev_vmrun_enter(CPUX86State *env, uint64_t nested_ctl, uint32_t asid);
/* The guest has left; its state is in the VMCB. */
void sev_vmexit(CPUX86State *env);
/* cpu_vmexit(), with eip at the instruction: next RIP and decode assists. May
 * change the exit code's EXITINFO1. */
uint64_t sev_vmexit_info(CPUX86State *env, uint64_t exit_code, uint64_t exit_info_1);
/* The instruction at eip, which raises a software interrupt, is INT3 or INTO:
 * SVM has them intercepted as exceptions, not as INTn. */
bool sev_int3_or_into(CPUX86State *env);
/* Where an INTn, INT3 or INTO that VMRUN injects returns to. */
target_ulong sev_injected_next_rip(CPUX86State *env);

void sev_wbinvd(CPUX86State *env, bool invalidate);
void sev_parked(CPUX86State *env);

/* Machine-wide: called by each CPU's machine-done notifier. */
void sev_cpu_machine_done(X86CPU *cpu);

#endif
