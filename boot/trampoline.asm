; SPDX-License-Identifier: BSD-2-Clause-Patent
; The last instructions of boot/: they lie in a page that both page tables have at the same address.

bits 64
default rel

global trampoline:function hidden
global trampoline_end:data hidden

section .text

; trampoline(RDI = cr3, RSI = stack, RDX = entry, RCX = struct handoff)
align 64
trampoline:
    mov cr3, rdi
    mov rsp, rsi
    mov rdi, rcx
    jmp rdx
trampoline_end:
