; SPDX-License-Identifier: BSD-2-Clause-Patent
;
; A guest that survives its own faults: a stub per vector, and attempt(), which calls a function and
; comes back when it faults.

bits 64
default rel

global attempt, unblock_nmi, vector_stubs
global faults, interrupts
extern stray_fault

section .text

; uint32_t attempt(void (*function)(uint64_t, uint64_t, uint64_t), uint64_t a, uint64_t b, uint64_t c)
; 0, or 0x100 + the vector of the fault that ended it. Interrupts are off afterwards.
attempt:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8
    mov [attempt_rsp], rsp
    mov rax, rdi
    mov rdi, rsi
    mov rsi, rdx
    mov rdx, rcx
    call rax
    xor eax, eax
attempt_over:
    cli
    mov qword [attempt_rsp], 0
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; An IRET to the next instruction: an NMI that waits for the end of another comes then.
unblock_nmi:
    push rbx
    mov rax, rsp
    mov ecx, ss
    push rcx
    push rax
    pushfq
    mov ecx, cs
    push rcx
    lea rcx, [.next]
    push rcx
    iretq
.next:
    xor eax, eax                ; and if the hypervisor looks only then: an exit
    cpuid
    pop rbx
    ret

; At [rsp]: the vector, then what the processor pushed. Whether it pushed an error code does not matter: the
; frame is thrown away.
fault:
    pop rdi
    lea rax, [faults]
    inc qword [rax + rdi * 8]
    mov rax, [attempt_rsp]
    test rax, rax
    jz .stray
    mov rsp, rax
    cld
    lea eax, [edi + 0x100]
    jmp attempt_over
.stray:
    mov rsi, rsp                ; its frame, for the report
    and rsp, -16
    jmp stray_fault

; Vectors from 32 on: counted, acknowledged, back.
interrupt:
    push rcx
    push rdx
    mov rdx, [rsp + 24]         ; the vector
    lea rax, [interrupts]
    inc qword [rax + rdx * 8]
    mov ecx, 0x80b              ; EOI
    xor eax, eax
    xor edx, edx
    wrmsr
    pop rdx
    pop rcx
    pop rax
    add rsp, 8
    iretq

align 16
vector_stubs:                   ; 16 bytes each
%assign vector 0
%rep 256
    align 16
%if vector < 32
    push qword vector
    jmp fault
%else
    push qword vector
    push rax
    jmp interrupt
%endif
%assign vector vector + 1
%endrep

section .bss
alignb 16
attempt_rsp: resq 1
faults: resq 32
interrupts: resq 256
