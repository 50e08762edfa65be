/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The CPU side of SEV. See sevcpu.h. */
#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/error-report.h"
#include "cpu.h"
#include "exec/address-spaces.h"
#include "exec/cpu_ldst.h"
#include "exec/cputlb.h"
#include "exec/helper-proto.h"
#include "system/reset.h"
#include "system/runstate.h"
#include "tcg/helper-tcg.h"
#include "sev_psp.h"
#include "sevcpu.h"

#define MSR_SPEC_CTRL 0x48
#define MSR_PRED_CMD 0x49
#define MSR_SYSCFG 0xc0010010
#define MSR_HWCR 0xc0010015
#define MSR_VM_CR 0xc0010114
#define MSR_SEV_STATUS 0xc0010131
#define MSR_DE_CFG 0xc0011029

#define SPEC_CTRL_WRITABLE MAKE_64BIT_MASK(0, 3) /* IBRS, STIBP, SSBD */
#define PRED_CMD_IBPB BIT_ULL(0)
#define SVM_V_SPEC_CTRL BIT(20)
#define VMCB_SPEC_CTRL 0x6e0

#define MSR_SMCA 0xc0002000 /* 16 registers per bank */

#define SYSCFG_MEME BIT_ULL(23)
#define SYSCFG_WRITABLE MAKE_64BIT_MASK(18, 6)
#define HWCR_SMMLOCK BIT_ULL(0)
#define HWCR_TSC_FREQ_SEL BIT_ULL(24)
#define VM_CR_LOCK BIT_ULL(3)
#define VM_CR_SVMDIS BIT_ULL(4)
#define VM_CR_WRITABLE MAKE_64BIT_MASK(0, 5)

#define NESTED_CTL_NP BIT_ULL(0)
#define NESTED_CTL_SEV BIT_ULL(1)

/* ------------------------------------------------------ addresses and MSRs */

uint64_t sev_pa_reserved(CPUX86State *env)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;
    unsigned bits = env_archcpu(env)->phys_bits;

    if (sev->host_c) {
        bits -= sev->reduced_phys_bits;
    }
    return (~0ULL << bits) & ~sev->host_c;
}

uint64_t sev_pte_reserved(CPUX86State *env, bool guest_tables)
{
    if (!guest_tables) {
        return sev_pa_reserved(env);
    }
    /* Guest-physical addresses keep their full width. */
    return (~0ULL << env_archcpu(env)->phys_bits) & ~env_archcpu(env)->sev.guest_c;
}

static void update_c_bit(X86CPU *cpu)
{
    struct sev_cpu *sev = &cpu->sev;
    bool any = false;
    CPUState *cs;

    sev->host_c = sev->syscfg & SYSCFG_MEME ? 1ull << sev->c_bit_position : 0;
    CPU_FOREACH(cs)
    {
        any |= X86_CPU(cs)->sev.host_c != 0;
    }
    memcrypt_set_c_bit_enabled(any);
    tlb_flush(CPU(cpu));
}

static void reset_mca(X86CPU *cpu);

static void reset_msrs(X86CPU *cpu)
{
    struct sev_cpu *sev = &cpu->sev;

    sev->syscfg = sev->smee ? SYSCFG_MEME : 0;
    sev->hwcr = HWCR_TSC_FREQ_SEL | (sev->smm_lock ? HWCR_SMMLOCK : 0);
    sev->vm_cr = (sev->svm_lock ? VM_CR_LOCK : 0) | (sev->svm_disable ? VM_CR_SVMDIS : 0);
    sev->guest_c = 0;
    reset_mca(cpu);
    sev->de_cfg = sev->spec_ctrl = 0;
    sev->guest_spec_ctrl = false;
    if (sev->vmcbs) {
        g_hash_table_remove_all(sev->vmcbs);
    }
    sev->vmcb = NULL;
    update_c_bit(cpu);
}

static void machine_reset(void *opaque)
{
    CPUState *cs;

    memcrypt_reset();
    CPU_FOREACH(cs)
    {
        reset_msrs(X86_CPU(cs));
    }
}

void sev_cpu_machine_done(X86CPU *cpu)
{
    struct sev_cpu *sev = &cpu->sev;

    if (!sev->enabled) {
        return;
    }
    if (sev->c_bit_position < 32 || sev->c_bit_position > 51) {
        error_report("sev-machine: sev-cbitpos must be from 32 to 51");
        exit(1);
    }
    if (!memcrypt_active) {
        memcrypt_start(&(struct memcrypt_config){
            .c_bit = sev->c_bit_position,
            .checker = !sev->hw_coherency,
        });
        qemu_register_reset(machine_reset, NULL);
    }
    sev->vmcbs = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    reset_msrs(cpu);
}

uint32_t sev_svm_asids(CPUX86State *env)
{
    /* EPYC has 32,768: those above the encrypted guests' are the others'. */
    return env_archcpu(env)->sev.enabled ? 0x8000 : 0x10;
}

/* ---------------------------------------------------------- machine checks */

/* HwId and McaType of MCA_IPID[63:32]: Zen 3's core, then L3, memory controller,
 * coherent slave (Linux arch/x86/kernel/cpu/mce/amd.c). */
static const uint32_t mca_types[SEV_MCA_BANKS] = {
    0x1000b0, 0x100b0, 0x200b0, 0x300b0, 0, 0x500b0, 0x600b0, 0x700b0, 0x96, 0x2002e,
};
QEMU_BUILD_BUG_ON(SEV_MCA_BANKS != MCE_BANKS_DEF);

#define MCA_CONFIG_MCAX BIT_ULL(0)
#define MCA_CONFIG_MCAX_EN BIT_ULL(32)

uint32_t sev_cpuid_80000007(CPUX86State *env)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;

    /* McaOverflowRecov, ScalableMca. Without SUCCOR: its interrupt for deferred
     * errors needs the APIC's extended LVT, which QEMU's has not. */
    return sev->enabled ? 1 | (sev->smca ? 8 : 0) : 0;
}

/* A reset leaves what the banks hold: the next boot reports it. */
static void reset_mca(X86CPU *cpu)
{
    CPUX86State *env = &cpu->env;

    env->mcg_ctl = 0;
    for (int i = 0; i < SEV_MCA_BANKS; i++) {
        env->mce_banks[i * 4] = 0;
        cpu->sev.mca_config[i] = MCA_CONFIG_MCAX;
    }
}

/* The register, or `none` for one that keeps nothing (IPID); NULL: not of ours. */
static uint64_t *mca_register(CPUX86State *env, uint32_t msr, uint64_t *none)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;
    uint32_t bank = (msr - MSR_SMCA) >> 4;

    *none = 0;
    if (!sev->smca || msr < MSR_SMCA || bank >= SEV_MCA_BANKS) {
        return NULL;
    }
    switch (msr & 0xf) {
    case 0 ... 3:
        return &env->mce_banks[bank * 4 + (msr & 3)];
    case 4:
        return &sev->mca_config[bank];
    case 5:
        *none = (uint64_t)mca_types[bank] << 32;
        return none;
    case 8:
        return &sev->mca_destat[bank];
    case 9:
        return &sev->mca_deaddr[bank];
    default:
        return none;
    }
}

/* Software that has not set MCAX_EN knows nothing of contained errors: the
 * machine stops them all (Linux, smca_configure()). */
void sev_machine_check(CPUX86State *env)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;

    for (int i = 0; sev->enabled && sev->smca && i < SEV_MCA_BANKS; i++) {
        uint64_t status = env->mce_banks[i * 4 + 1];

        if (status & MCI_STATUS_VAL && status & MCI_STATUS_UC && !(sev->mca_config[i] & MCA_CONFIG_MCAX_EN)) {
            error_report("sev-machine: machine check in bank %d without "
                         "MCA_CONFIG[McaxEn]: reset",
                         i);
            qemu_system_reset_request(SHUTDOWN_CAUSE_GUEST_RESET);
        }
    }
}

static bool has_spec_ctrl(CPUX86State *env)
{
    return env->features[FEAT_8000_0008_EBX] &
           (CPUID_8000_0008_EBX_IBRS | CPUID_8000_0008_EBX_STIBP | CPUID_8000_0008_EBX_AMD_SSBD);
}

uint32_t sev_svm_features(CPUX86State *env)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;

    return sev->enabled && sev->v_spec_ctrl && has_spec_ctrl(env) ? SVM_V_SPEC_CTRL : 0;
}

void sev_cpuid_8000001f(CPUX86State *env, uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;

    if (!sev->enabled) {
        return;
    }
    *eax = (sev->hide_sme ? 0 : 1) | (sev->hide_sev ? 0 : 2) | (sev->hw_coherency ? 1 << 10 : 0);
    *ebx = sev->c_bit_position | sev->reduced_phys_bits << 6;
    *ecx = sev->hide_sev ? 0 : sev->asids;
    *edx = sev->hide_sev ? 0 : sev->min_asid;
}

bool sev_rdmsr_not_intercepted(CPUX86State *env, uint32_t msr)
{
    return msr == MSR_SEV_STATUS && env_archcpu(env)->sev.guest_c;
}

bool sev_rdmsr(CPUX86State *env, uint32_t msr, uint64_t *value, bool *gp)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;
    uint64_t none, *mca;

    *gp = false;
    if (!sev->enabled) {
        return false;
    }
    switch (msr) {
    case MSR_SYSCFG:
        *value = sev->syscfg;
        return true;
    case MSR_HWCR:
        *value = sev->hwcr;
        return true;
    case MSR_VM_CR:
        *value = sev->vm_cr;
        return true;
    case MSR_SEV_STATUS:
        /* The host reads 0: Linux's sme_enable() relies on it. */
        *value = sev->guest_c ? 1 : 0;
        *gp = sev->hide_sev && sev->hide_sme;
        return true;
    case MSR_DE_CFG:
        *value = sev->de_cfg;
        return true;
    case MSR_SPEC_CTRL:
        *value = sev->spec_ctrl;
        *gp = !has_spec_ctrl(env);
        return true;
    case MSR_PRED_CMD:
        *gp = true; /* write-only */
        return true;
    }
    mca = mca_register(env, msr, &none);
    if (mca) {
        *value = *mca;
    }
    return mca != NULL;
}

bool sev_wrmsr(CPUX86State *env, uint32_t msr, uint64_t value, bool *gp)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;
    uint64_t none, *mca;

    *gp = false;
    if (!sev->enabled) {
        return false;
    }
    switch (msr) {
    case MSR_SYSCFG:
        if (value & ~SYSCFG_WRITABLE || (value & SYSCFG_MEME && sev->hide_sme && sev->hide_sev)) {
            *gp = true;
            return true;
        }
        sev->syscfg = value;
        update_c_bit(env_archcpu(env));
        return true;
    case MSR_HWCR:
        sev->hwcr = value | (sev->hwcr & HWCR_SMMLOCK);
        return true;
    case MSR_VM_CR:
        if (value & ~VM_CR_WRITABLE || (value & VM_CR_SVMDIS && env->efer & MSR_EFER_SVME)) {
            *gp = true;
            return true;
        }
        if (sev->vm_cr & VM_CR_LOCK) {
            value = (value & ~(VM_CR_LOCK | VM_CR_SVMDIS)) | (sev->vm_cr & (VM_CR_LOCK | VM_CR_SVMDIS));
        }
        sev->vm_cr = value;
        return true;
    case MSR_SEV_STATUS:
        *gp = true;
        return true;
    case MSR_DE_CFG:
        sev->de_cfg = value;
        return true;
    case MSR_SPEC_CTRL:
        *gp = !has_spec_ctrl(env) || (value & ~SPEC_CTRL_WRITABLE);
        if (!*gp) {
            sev->spec_ctrl = value;
        }
        return true;
    case MSR_PRED_CMD:
        *gp = !(env->features[FEAT_8000_0008_EBX] & CPUID_8000_0008_EBX_IBPB) || (value & ~PRED_CMD_IBPB);
        if (!*gp) {
            sev->ibpbs += value & PRED_CMD_IBPB;
        }
        return true;
    }
    mca = mca_register(env, msr, &none);
    if (mca && (msr & 0xf) == 4) {
        *mca = (value & MCA_CONFIG_MCAX_EN) | MCA_CONFIG_MCAX;
    } else if (mca) {
        *gp = (msr & 0xf) == 1 && value;    /* HWCR.McStatusWrEn is 0 */
        *mca = *gp ? *mca : value;
    }
    return mca != NULL;
}

bool sev_svm_disabled(CPUX86State *env)
{
    return env_archcpu(env)->sev.vm_cr & VM_CR_SVMDIS;
}

void sev_wbinvd(CPUX86State *env, bool invalidate)
{
    CPUState *cs = env_cpu(env);

    if (memcrypt_active) {
        memcrypt_wbinvd(cs, invalidate);
        sev_psp_wbinvd(cs->cpu_index);
    }
}

/*
 * HLT with interrupts off, as firmware and hypervisors park processors: real
 * parts write their caches back on the way to CC6. The firmware's count of
 * WBINVDs (DF_FLUSH) does not take this for one.
 */
void sev_parked(CPUX86State *env)
{
    if (memcrypt_active && !(env->hflags & HF_GUEST_MASK)) {
        memcrypt_wbinvd(env_cpu(env), true);
    }
}

void helper_wbinvd(CPUX86State *env, uint32_t invalidate)
{
    sev_wbinvd(env, invalidate);
}

/* -------------------------------------------------------- VMCB clean bits */

#define VMCB_CLEAN 0xc0
#define VMCB_SAVE 0x400
#define VMCB_CACHED 0x700
#define VMCB_CONTROL 0x400

/* The fields that a clean bit covers, as far as this CPU has them. */
static const struct {
    uint8_t bit;
    uint16_t offset, len;
} clean_fields[] = {
    {0, 0x000, 0x18},
    {0, 0x03c, 4},
    {0, 0x050, 8},
    {1, 0x040, 0x10},
    {2, 0x058, 4},
    {3, 0x060, 8},
    {4, 0x090, 8},
    {4, 0x0b0, 8},
    {4, VMCB_SAVE + 0x268, 8},
    {5, VMCB_SAVE + 0x0d0, 8},
    {5, VMCB_SAVE + 0x148, 0x18},
    {6, VMCB_SAVE + 0x160, 0x10},
    {7, VMCB_SAVE + 0x060, 0x10},
    {7, VMCB_SAVE + 0x080, 0x10},
    {8, VMCB_SAVE + 0x000, 0x40},
    {8, VMCB_SAVE + 0x0cb, 1},
    {9, VMCB_SAVE + 0x240, 8},
    {10, VMCB_SAVE + 0x270, 0x28},
};

struct cached_vmcb {
    uint64_t address;
    uint8_t bytes[VMCB_CACHED];
    /* What software wrote to control fields without clearing their clean bit:
     * out of sight while the guest runs, back in memory after #VMEXIT. */
    bool poisoned;
    uint8_t written[VMCB_CONTROL];
    bool hidden[VMCB_CONTROL];
};

static void vmcb_rw(CPUX86State *env, hwaddr address, void *buf, size_t len, bool is_write)
{
    address_space_rw(cpu_addressspace(env_cpu(env), cpu_get_mem_attrs(env)), address, cpu_get_mem_attrs(env), buf, len,
                     is_write);
}

static bool has_clean_bits(CPUX86State *env)
{
    return env_archcpu(env)->sev.poison_clean_bits && (env->features[FEAT_SVM] & CPUID_SVM_VMCBCLEAN);
}

void sev_vmrun_clean_bits(CPUX86State *env)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;
    uint8_t now[VMCB_CACHED];
    struct cached_vmcb *v;
    uint32_t clean;

    sev->vmcb = NULL;
    if (!sev->enabled || !has_clean_bits(env)) {
        return;
    }
    v = g_hash_table_lookup(sev->vmcbs, &env->vm_vmcb);
    if (!v) {
        v = g_new0(struct cached_vmcb, 1);
        v->address = env->vm_vmcb;
        g_hash_table_insert(sev->vmcbs, &v->address, v);
        sev->vmcb = v;
        return;
    }
    sev->vmcb = v;
    vmcb_rw(env, env->vm_vmcb, now, sizeof(now), false);
    clean = ldl_le_p(now + VMCB_CLEAN);
    for (size_t i = 0; clean && i < ARRAY_SIZE(clean_fields); i++) {
        uint16_t offset = clean_fields[i].offset, len = clean_fields[i].len;

        if (!(clean & BIT(clean_fields[i].bit)) || !memcmp(now + offset, v->bytes + offset, len)) {
            continue;
        }
        if (sev->clean_bit_poisonings++ < 20) {
            fprintf(stderr,
                    "sev-machine: clean: VMCB 0x%" PRIx64 ": offset "
                    "0x%x was changed, but clean bit %u says it was not; the "
                    "CPU uses its old value\n",
                    (uint64_t)env->vm_vmcb, offset, clean_fields[i].bit);
        }
        if (offset < VMCB_CONTROL) {
            memcpy(v->written + offset, now + offset, len);
            memset(v->hidden + offset, 1, len);
            v->poisoned = true;
        }
        vmcb_rw(env, env->vm_vmcb + offset, v->bytes + offset, len, true);
    }
}

static void vmcb_leave(CPUX86State *env)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;
    struct cached_vmcb *v = sev->vmcb;

    if (!v) {
        return;
    }
    vmcb_rw(env, v->address, v->bytes, sizeof(v->bytes), false);
    if (v->poisoned) {
        for (size_t i = 0; i < VMCB_CONTROL; i++) {
            if (v->hidden[i]) {
                vmcb_rw(env, v->address + i, &v->written[i], 1, true);
                v->hidden[i] = false;
            }
        }
        v->poisoned = false;
    }
    sev->vmcb = NULL;
}

/* ------------------------------------------------------------ enter, leave */

static bool enter(CPUX86State *env, uint64_t nested_ctl, uint32_t asid)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;
    memcrypt_view view;

    if (nested_ctl & NESTED_CTL_NP) {
        uint64_t ncr3 = x86_ldq_phys(env_cpu(env), env->vm_vmcb + 0xb0);

        if (ncr3 & sev_pa_reserved(env)) {
            return false;
        }
    }
    if (!(nested_ctl & NESTED_CTL_SEV)) {
        return true;
    }
    if (sev->hide_sev || !sev->host_c || !(nested_ctl & NESTED_CTL_NP) || asid == 0 || asid > sev->asids ||
        asid < sev->min_asid || (nested_ctl & ~(NESTED_CTL_NP | NESTED_CTL_SEV))) {
        return false;
    }
    view = memcrypt_guest_view(asid);
    if (view == MEMCRYPT_NO_VIEW) {
        return false;
    }
    sev->guest_view = view;
    sev->guest_c = 1ull << sev->c_bit_position;
    return true;
}

bool sev_vmrun_enter(CPUX86State *env, uint64_t nested_ctl, uint32_t asid)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;

    sev->guest_c = 0;
    if (!sev->enabled) {
        return true;
    }
    if (!enter(env, nested_ctl, asid)) {
        return false;
    }
    if (sev_svm_features(env) & SVM_V_SPEC_CTRL) {
        sev->host_spec_ctrl = sev->spec_ctrl;
        sev->spec_ctrl = x86_ldq_phys(env_cpu(env), env->vm_vmcb + VMCB_SPEC_CTRL);
        sev->guest_spec_ctrl = true;
    }
    return true;
}

void sev_vmexit(CPUX86State *env)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;

    sev->guest_c = 0;
    if (sev->guest_spec_ctrl) {
        x86_stq_phys(env_cpu(env), env->vm_vmcb + VMCB_SPEC_CTRL, sev->spec_ctrl);
        sev->spec_ctrl = sev->host_spec_ctrl;
        sev->guest_spec_ctrl = false;
    }
    vmcb_leave(env);
}

/* --------------------------------------- next RIP and decode assists */

/* An instruction that SVM can intercept, as far as the VMCB tells of it. */
struct insn {
    unsigned len;       /* 0: not understood */
    uint8_t bytes[15];
    unsigned nbytes;
    uint8_t rex;
    bool address_size, two_bytes;
    int segment;        /* override, or -1 */
    uint8_t opcode;
    bool has_modrm;
    uint8_t modrm, sib;
    int32_t disp;
};

/* `beyond`: also from the next page, which the CPU need not have looked at. */
static void fetch(CPUX86State *env, struct insn *insn, bool beyond)
{
    int mmu_idx = cpu_mmu_index(env_cpu(env), true);

    insn->nbytes = 0;
    for (unsigned i = 0; i < sizeof(insn->bytes); i++) {
        target_ulong pc = env->segs[R_CS].base + env->eip + i;
        void *host;

        if (!(env->hflags & HF_CS64_MASK)) {
            pc = (uint32_t)pc;
        }
        if (i && !beyond && !(pc & ~TARGET_PAGE_MASK)) {
            break;
        }
        /* Never faults: bytes that cannot be had are not fetched. */
        host = tlb_vaddr_to_host(env, pc, MMU_INST_FETCH, mmu_idx);
        if (!host) {
            break;
        }
        insn->bytes[insn->nbytes++] = ldub_p(host);
    }
}

/* Bytes of ModRM, SIB and displacement from `at`; 0 when cut off. */
static unsigned decode_modrm(CPUX86State *env, struct insn *insn, unsigned at)
{
    bool code64 = env->hflags & HF_CS64_MASK;
    bool address16 = !code64 && (!(env->hflags & HF_CS32_MASK) != insn->address_size);
    unsigned mod, rm, n = 1, disp = 0;

    if (at >= insn->nbytes) {
        return 0;
    }
    insn->has_modrm = true;
    insn->modrm = insn->bytes[at];
    mod = insn->modrm >> 6;
    rm = insn->modrm & 7;
    if (mod == 3) {
        return n;
    }
    if (address16) {
        disp = mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0;
    } else {
        if (rm == 4) {
            if (at + n >= insn->nbytes) {
                return 0;
            }
            insn->sib = insn->bytes[at + n++];
        }
        disp = mod == 1 ? 1 : mod == 2 ? 4 : rm == 5 || (rm == 4 && (insn->sib & 7) == 5) ? 4 : 0;
    }
    if (at + n + disp > insn->nbytes) {
        return 0;
    }
    switch (disp) {
    case 1:
        insn->disp = (int8_t)insn->bytes[at + n];
        break;
    case 2:
        insn->disp = (int16_t)lduw_le_p(insn->bytes + at + n);
        break;
    case 4:
        insn->disp = ldl_le_p(insn->bytes + at + n);
        break;
    }
    return n + disp;
}

static void decode_bytes(CPUX86State *env, struct insn *insn)
{
    bool code64 = env->hflags & HF_CS64_MASK;
    unsigned at = 0, modrm = 0, immediate = 0;

    insn->segment = -1;
    for (; at < insn->nbytes; at++) {
        uint8_t b = insn->bytes[at];

        if (b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e) {
            insn->segment = code64 ? insn->segment : (b >> 3) & 3;
        } else if (b == 0x64 || b == 0x65) {
            insn->segment = b == 0x64 ? R_FS : R_GS;
        } else if (b == 0x67) {
            insn->address_size = true;
        } else if (b != 0x66 && b != 0xf0 && b != 0xf2 && b != 0xf3) {
            break;
        }
    }
    if (code64 && at < insn->nbytes && (insn->bytes[at] & 0xf0) == 0x40) {
        insn->rex = insn->bytes[at++];
    }
    if (at >= insn->nbytes) {
        return;
    }
    insn->opcode = insn->bytes[at++];
    if (insn->opcode == 0x0f) {
        if (at >= insn->nbytes) {
            return;
        }
        insn->two_bytes = true;
        insn->opcode = insn->bytes[at++];
        switch (insn->opcode) {
        case 0x00:
        case 0x01:                       /* groups 6 and 7 */
        case 0xc7:                                  /* group 9 */
            modrm = decode_modrm(env, insn, at);
            break;
        case 0x20 ... 0x23:                         /* MOV CR, DR: registers */
            if (at < insn->nbytes) {
                insn->modrm = insn->bytes[at];
                insn->has_modrm = true;
                modrm = 1;
            }
            break;
        case 0x38:                                  /* INVPCID: 66 0F 38 82 */
            modrm = decode_modrm(env, insn, ++at);
            break;
        case 0x06:
        case 0x08:
        case 0x09:
        case 0x30 ... 0x33:
        case 0xa2:
        case 0xaa:
            insn->len = at;
            return;
        default:
            return;
        }
        insn->len = modrm ? at + modrm : 0;
        return;
    }
    switch (insn->opcode) {
    case 0x6c ... 0x6f:
    case 0x90:
    case 0x9c:
    case 0x9d:
    case 0xcc:
    case 0xce:
    case 0xcf:
    case 0xec ... 0xef:
    case 0xf1:
    case 0xf4:
        break;
    case 0xcd:
    case 0xe4 ... 0xe7:
        immediate = 1;
        break;
    default:
        return;
    }
    insn->len = at + immediate <= insn->nbytes ? at + immediate : 0;
}

static void decode(CPUX86State *env, struct insn *insn)
{
    fetch(env, insn, false);
    decode_bytes(env, insn);
    if (!insn->len && insn->nbytes < sizeof(insn->bytes)) {
        *insn = (struct insn){0};
        fetch(env, insn, true);
        decode_bytes(env, insn);
    }
}

static target_ulong linear_address(CPUX86State *env, const struct insn *insn)
{
    bool code64 = env->hflags & HF_CS64_MASK;
    unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;
    int segment = R_DS;
    target_ulong a = insn->disp;

    if (!code64 && (!(env->hflags & HF_CS32_MASK) != insn->address_size)) {
        static const int8_t base[8] = {R_EBX, R_EBX, R_EBP, R_EBP, R_ESI, R_EDI, R_EBP, R_EBX};
        static const int8_t index[4] = {R_ESI, R_EDI, R_ESI, R_EDI};

        if (mod != 0 || rm != 6) {
            a += env->regs[base[rm]];
            segment = base[rm] == R_EBP ? R_SS : R_DS;
        }
        a = (uint16_t)(a + (rm < 4 ? env->regs[index[rm]] : 0));
    } else {
        if (rm == 4) {
            unsigned b = insn->sib & 7;
            unsigned i = ((insn->sib >> 3) & 7) | (insn->rex & 2) << 2;

            if (b != 5 || mod != 0) {
                segment = b == R_ESP || b == R_EBP ? R_SS : R_DS;
                a += env->regs[b | (insn->rex & 1) << 3];
            }
            if (i != 4) {
                a += env->regs[i] << (insn->sib >> 6);
            }
        } else if (rm == 5 && mod == 0) {
            a += code64 ? env->eip + insn->len : 0;
        } else {
            segment = rm == R_EBP ? R_SS : R_DS;
            a += env->regs[rm | (insn->rex & 1) << 3];
        }
        if (!code64 || insn->address_size) {
            a = (uint32_t)a;
        }
    }
    if (insn->segment >= 0) {
        segment = insn->segment;
    }
    if (!code64 || segment == R_FS || segment == R_GS) {
        a += env->segs[segment].base;
    }
    return code64 ? a : (uint32_t)a;
}

uint64_t sev_vmexit_info(CPUX86State *env, uint64_t exit_code, uint64_t exit_info_1)
{
    struct sev_cpu *sev = &env_archcpu(env)->sev;
    CPUState *cs = env_cpu(env);
    bool nrip = env->features[FEAT_SVM] & CPUID_SVM_NRIPSAVE;
    bool assists = env->features[FEAT_SVM] & CPUID_SVM_DECODEASSIST;
    struct insn insn = {0};
    uint32_t code = exit_code;
    uint64_t next = 0;

    if (!sev->enabled || !(env->hflags & HF_GUEST_MASK)) {
        return exit_info_1;
    }
    if (code == SVM_EXIT_NPF || code == SVM_EXIT_EXCP_BASE + EXCP0E_PAGE) {
        uint8_t guest_insn[16] = {0};

        /* Data accesses only. For a guest with SEV too: they are all that its
         * host can emulate MMIO from (KVM, svm_can_emulate_instruction). */
        if (assists && !(exit_info_1 & PG_ERROR_I_D_MASK)) {
            fetch(env, &insn, true);
            guest_insn[0] = insn.nbytes;
            memcpy(guest_insn + 1, insn.bytes, insn.nbytes);
        }
        vmcb_rw(env, env->vm_vmcb + 0xd0, guest_insn, 16, true);
    } else if (code < SVM_EXIT_EXCP_BASE || code == SVM_EXIT_CR0_SEL_WRITE ||
               (code >= SVM_EXIT_IDTR_READ && code <= SVM_EXIT_MSR) || (code >= SVM_EXIT_VMRUN && code <= 0xa5) ||
               code == SVM_EXIT_EXCP_BASE + EXCP03_INT3 || code == SVM_EXIT_EXCP_BASE + EXCP04_INTO) {
        decode(env, &insn);
        if (insn.len) {
            next = env->eip + insn.len;
            if (!(env->hflags & HF_CS64_MASK)) {
                next = (uint32_t)next;
            }
        }
        if (assists && insn.len && insn.two_bytes && (code < 0x40 || code == SVM_EXIT_CR0_SEL_WRITE) &&
            insn.opcode >= 0x20 && insn.opcode <= 0x23) {
            exit_info_1 = (insn.modrm & 7) | (insn.rex & 1) << 3;
            if (code < 0x20 || code == SVM_EXIT_CR0_SEL_WRITE) {
                exit_info_1 |= BIT_ULL(63); /* a MOV, not CLTS, LMSW, SMSW */
            }
        } else if (assists && insn.len && code == SVM_EXIT_SWINT && insn.opcode == 0xcd) {
            exit_info_1 = insn.bytes[insn.len - 1];
        } else if (assists && insn.len && code == SVM_EXIT_INVLPG) {
            exit_info_1 = linear_address(env, &insn);
        }
    }
    if (nrip) {
        x86_stq_phys(cs, env->vm_vmcb + 0xc8, next);
    }
    return exit_info_1;
}

bool sev_int3_or_into(CPUX86State *env)
{
    struct insn insn = {0};

    if (!env_archcpu(env)->sev.enabled || !(env->hflags & HF_GUEST_MASK)) {
        return false;
    }
    decode(env, &insn);
    return insn.len && !insn.two_bytes && (insn.opcode == 0xcc || insn.opcode == 0xce);
}

target_ulong sev_injected_next_rip(CPUX86State *env)
{
    if (!(env->features[FEAT_SVM] & CPUID_SVM_NRIPSAVE)) {
        return env->eip;
    }
    return x86_ldq_phys(env_cpu(env), env->vm_vmcb + 0xc8);
}
