; SPDX-License-Identifier: BSD-2-Clause-Patent
;
; A while away from the CPU with a pattern in each general register.

bits 64
default rel

global registers_sleep, registers_spin

section .text

%macro load 1-*
%assign at 8
%rep %0
    mov %1, [rdi + at]
%assign at at + 8
%rotate 1
%endrep
%endmacro

%macro store 1-*
%assign at 8
%rep %0
    mov [rdi + at], %1
%assign at at + 8
%rotate 1
%endrep
%endmacro

%define GPRS rax, rbx, rdx, rsi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rcx

%macro begin 0
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdi
    load GPRS
    mov rdi, [rdi]              ; the first is its
    sti
%endmacro

%macro end 0
    cli
    xchg rdi, [rsp]
    store GPRS
    pop rax
    mov [rdi], rax
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
%endmacro

; void registers_sleep(uint64_t gprs[15]): until an interrupt
registers_sleep:
    begin
    hlt
    end

; void registers_spin(uint64_t gprs[15]): as often as the last of them says, which is 0 then
registers_spin:
    begin
.spin:
    dec rcx
    jnz .spin
    end

section .note.GNU-stack noalloc noexec nowrite progbits
