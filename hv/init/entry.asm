; SPDX-License-Identifier: BSD-2-Clause-Patent
; hv's first instructions, and the change of stack.

bits 64
default rel

global hv_entry
global entry_on_stack
global entry_ap
extern hv_main
extern smp_main
extern __stack_chk_guard

section .text

; From boot/trampoline.asm: RDI = struct handoff, RSP = top of a stack, interrupts off.
hv_entry:
    cld
    xor ebp, ebp                ; the end of every stack trace
    mov eax, 1
    cpuid
    test ecx, 1 << 30           ; RDRAND
    jz .time
    rdrand rax
    jc .guard
.time:
    rdtsc
    shl rdx, 32
    or rax, rdx
.guard:
    xor al, al                  ; a NUL byte stops string copies
    xor [rel __stack_chk_guard], rax
    call hv_main                ; never returns
    ud2

; entry_on_stack(top, function, handoff)
entry_on_stack:
    mov rsp, rdi
    mov rdi, rdx
    xor ebp, ebp
    call rsi                    ; never returns
    ud2

; From ap.asm, still on its tables: RSP = top of a stack, RDI = struct cpu, RSI = hv's CR3.
entry_ap:
    mov cr3, rsi
    xor ebp, ebp
    call smp_main               ; never returns
    ud2
