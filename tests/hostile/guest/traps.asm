; SPDX-License-Identifier: BSD-2-Clause-Patent
;
; Interrupts, NMIs and faults of vCPUs that act at the same time: each is told to crowd_trap(), on its own stack.

bits 64
default rel

global crowd_stubs, crowd_return
global crowd_sleep, crowd_slept
global crowd_try, crowd_write_msr, crowd_write_cr4, crowd_read_dr7, crowd_touch, crowd_refused
extern crowd_trap

section .text

; bool crowd_write_msr(uint32_t msr, uint64_t value): false: #GP
crowd_try:
crowd_write_msr:
    mov ecx, edi
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
    wrmsr
    mov eax, 1
    ret

; bool crowd_write_cr4(uint64_t value): false: #GP
crowd_write_cr4:
    mov cr4, rdi
    mov eax, 1
    ret

; bool crowd_read_dr7(uint64_t *value): false: #DB, by DR7.GD
crowd_read_dr7:
    mov rax, dr7
    mov [rdi], rax
    mov eax, 1
    ret

; bool crowd_touch(volatile uint64_t *address, uint64_t *value): reads, and writes without a change; false: #PF
crowd_touch:
    mov rax, [rdi]
    mov [rsi], rax
    lock add qword [rdi], 0
    mov eax, 1
    ret

; Where crowd_trap() goes on after a fault between crowd_try and here: no stack is used there.
crowd_refused:
    xor eax, eax
    ret

; void crowd_sleep(const volatile uint64_t *nmis, uint64_t seen): until there are more. An NMI that comes before the HLT
; has crowd_trap() go on behind it.
crowd_sleep:
    cmp [rdi], rsi
    jne crowd_slept
    hlt
crowd_slept:
    ret

%macro push_all 1-*
%rep %0
    push %1
%rotate 1
%endrep
%endmacro

%macro pop_all 1-*
%rep %0
%rotate -1
    pop %1
%endrep
%endmacro

%define REGISTERS rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11

; At [rsp]: the vector, an error code or 0, and the processor's frame (crowd.c, struct trap_frame).
trap:
    push_all REGISTERS
    cld
    lea rdi, [rsp + 11 * 8]
    mov rbx, rsp
    and rsp, -16
    call crowd_trap
    mov rsp, rbx
    pop_all REGISTERS
    add rsp, 16
crowd_return:
    iretq

; 8 and 10 to 14 come with an error code. Those from 16 on are interrupts here, whoever else may have the vector.
align 16
crowd_stubs:                    ; 16 bytes each
%assign vector 0
%rep 256
    align 16
%if vector != 8 && (vector < 10 || vector > 14)
    push qword 0
%endif
    push qword vector
    jmp near trap
%assign vector vector + 1
%endrep
