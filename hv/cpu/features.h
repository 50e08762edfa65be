/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#ifndef SEVISOR_FEATURES_H
#define SEVISOR_FEATURES_H

#include "hv/lib/x86.h"

/* From CPUID. The same on all CPUs: smp.c leaves out a CPU that differs. */
struct cpu_features {
    bool next_rip, decode_assists, flush_by_asid, clean_bits, one_gib_pages, x2apic, sme_coherent;
    bool ibpb;                  /* PRED_CMD */
    bool virtual_spec_ctrl;     /* VMRUN and #VMEXIT switch SPEC_CTRL (CPUID 8000_000A EDX[20]) */
    bool lfence_by_msr;         /* LFENCE serialises, by DE_CFG */
    uint32_t phys_bits;
    struct cpuid svm, encryption; /* leaves 8000_000A and 8000_001F whole: EBX of the first is the number of ASIDs */
};

#endif
