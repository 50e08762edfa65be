; SPDX-License-Identifier: BSD-2-Clause-Patent
; A stub per vector: brings the stack to the shape of struct trap_frame (trap.h).

bits 64
default rel

global isr_stubs
extern trap_handle

; Exceptions that push an error code (APM2 8.2): #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX
%define HAS_ERROR(v) ((v) == 8 || ((v) >= 10 && (v) <= 14) || (v) == 17 || (v) == 21 || (v) == 29 || (v) == 30)

section .text

align 16
isr_stubs:
%assign vector 0
%rep 256
    align 16
%if !HAS_ERROR(vector)
    push 0
%endif
    push vector
    jmp strict near isr_common
%assign vector vector + 1
%endrep

align 16
isr_common:
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    mov rbp, rsp
    and rsp, -16
    call trap_handle
    mov rsp, rbp
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16                 ; vector, error code
    iretq
