; SPDX-License-Identifier: BSD-2-Clause-Patent
;
; The one place where a guest is entered (APM2 15.5).
;
; VMRUN and #VMEXIT swap what is in the VMCB's save area from ES to CR4, RFLAGS, RIP, RSP and
; RAX. FS, GS, TR, LDTR and the system-call MSRs are VMLOAD's and VMSAVE's: the host's come back
; before STGI, because with GIF set an NMI may need the host's TSS and GS. The general registers
; are saved here, straight into struct vmrun_state; no C runs with a guest's value in a register.
; All else that a guest can change is written down in switch.c.

%include "offsets.inc"

bits 64
default rel

extern exit_dispatch
global vmrun_enter:function
global vmrun_after_stgi:function

section .text

%macro save_gpr 1-*
%rep %0
    mov [rax + VMRUN_ %+ %1], %1
%rotate 1
%endrep
%endmacro

%macro load_gpr 1-*
%rep %0
    mov %1, [rdi + VMRUN_ %+ %1]
%rotate 1
%endrep
%endmacro

%macro clear 1-*
%rep %0
    xor %1, %1
%rotate 1
%endrep
%endmacro

; void vmrun_enter(struct vmrun_state *state, const bool *timer_fired, uint64_t host_vmcb)
; Interrupts are on and GIF is set, before and after.
vmrun_enter:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    push rdx
    push rsi
    push rdi                    ; 9 pushes and the return address: aligned for the call below
%define FRAME_STATE rsp
%define FRAME_TIMER_FIRED rsp + 8
%define FRAME_HOST_VMCB rsp + 16

.enter:
    mov rdi, [FRAME_STATE]
    mov rax, [FRAME_TIMER_FIRED]
    clgi
    cmp byte [rax], 0           ; checked with GIF clear: a timer that fires later ends VMRUN
    jne .timer_fired
    mov rax, [rdi + VMRUN_vmcb_address]
    vmload
    load_gpr rbx, rcx, rdx, rsi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rdi
    vmrun
    vmsave                      ; RAX is the host's again: the VMCB
    mov rax, [FRAME_STATE]
    save_gpr rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
    mov rdi, rax
    ; No guest value is left for speculation to use.
    clear ebx, ecx, edx, esi, ebp, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
    mov rax, [FRAME_HOST_VMCB]
    vmload
    stgi                        ; the host's interrupt that ended VMRUN is taken here
.after_stgi:
    call exit_dispatch
    test al, al
    jnz .enter
    jmp .leave

.timer_fired:
    stgi
.leave:
    add rsp, 24
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

vmrun_after_stgi equ vmrun_enter.after_stgi     ; trap.c: what interrupts here, came with the guest

section .note.GNU-stack noalloc noexec nowrite progbits
