; SPDX-License-Identifier: BSD-2-Clause-Patent
;
; In and out of a VMCB that has the CPU's own state. General registers are not switched: what is
; inside goes on outside. VMRUN and #VMEXIT switch RAX, RSP, RIP and RFLAGS (APM2 15.5, 15.6).

%include "offsets.inc"

bits 64
default rel

global confine_enter:function
global confine_leave:function
global confine_interrupted:function
global confine_vmcb, confine_vmcb_address, confine_inside

VMEXIT_INTR equ 0x60
VMEXIT_VMMCALL equ 0x81

section .text

; void confine_enter(void): returns inside. Outside nothing of its frame is used again.
confine_enter:
    mov rdx, [confine_vmcb]
    lea rax, [.inside]
    mov [rdx + VMCB_rip], rax
    mov [rdx + VMCB_rsp], rsp
.run:
    mov rax, [confine_vmcb_address]
    clgi
    mov byte [confine_inside], 1
    vmrun
    mov byte [confine_inside], 0
    mov rax, [confine_vmcb]
    mov rsp, [rax + VMCB_rsp]
    cmp dword [rax + VMCB_exitcode], VMEXIT_INTR
    jne .out
    stgi                        ; the interrupt is taken here, on the stack that it has inside
confine_interrupted:
    jmp confine_enter.run
confine_enter.out:
    cmp dword [rax + VMCB_exitcode], VMEXIT_VMMCALL
    jne .unconfined             ; VMEXIT_INVALID: as if SVM were off
    cli
.unconfined:
    stgi
    ret
confine_enter.inside:
    ret

; void confine_leave(void): called inside, returns outside, by `ret` above.
confine_leave:
    vmmcall

section .data
confine_vmcb: dq 0
confine_vmcb_address: dq 0
confine_inside: db 0

section .note.GNU-stack noalloc noexec nowrite progbits
