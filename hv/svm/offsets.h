/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The offsets that the assembly uses: hv.mk compiles this to assembly text, and takes
 * the numbers from there. Never linked. */
#include "hv/svm/vmcb.h"
#include "hv/svm/vmrun.h"

#define OFFSET(name, type, member) __asm__ volatile(".ascii \"@@ " #name " %c0\"" : : "i"(offsetof(type, member)))
#define GPR(name) OFFSET(VMRUN_##name, struct vmrun_state, gprs.name);

void offsets(void);
void offsets(void)
{
    VMRUN_GPRS(GPR)
    OFFSET(VMRUN_vmcb_address, struct vmrun_state, vmcb_address);
    OFFSET(VMCB_exitcode, struct vmcb, exitcode);
    OFFSET(VMCB_rip, struct vmcb, rip);
    OFFSET(VMCB_rsp, struct vmcb, rsp);
}
