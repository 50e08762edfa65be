/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* EFER.SVME and the host save area. */
#include "hv/svm/svm.h"

#include "hv/console/log.h"
#include "hv/lib/x86.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"

bool svm_allocate(struct cpu *cpu)
{
    return page_alloc(1, &cpu->host_save) && page_alloc(1, &cpu->host_vmcb);
}

void svm_init(struct cpu *cpu)
{
    uint64_t vm_cr = rdmsr(MSR_VM_CR);
    if ((vm_cr & VM_CR_SVMDIS) != 0)
        wrmsr(MSR_VM_CR, vm_cr & ~VM_CR_SVMDIS);    /* the preflight saw that it is not locked */
    wrmsr(MSR_EFER, EFER_HOST | EFER_SVME);

    /* APM2 15.30.4: the CPU's own use of the page, under the key that the address names. */
    wrmsr(MSR_VM_HSAVE_PA, view_entry_address(cpu->host_save, VIEW_ENCRYPTED));
    if (cpu != cpu_boot())
        return;
    log_print(LOG_NOTICE, "SVM on: %u ASIDs%s%s%s%s", cpu->features.svm.ebx, cpu->features.next_rip ? ", next RIP" : "",
              cpu->features.clean_bits ? ", clean bits" : "", cpu->features.flush_by_asid ? ", flush by ASID" : "",
              cpu->features.decode_assists ? ", decode assists" : "");
}
