; SPDX-License-Identifier: BSD-2-Clause-Patent
;
; void mode_trip(void): from 64-bit mode through compatibility and protected mode to real mode, and
; back, with intercepted instructions in each. Interrupts are off.

bits 64
default rel

global mode_trip

; Where the part that real mode can reach is copied: memory that the packer leaves alone (guest/pack/flat.py).
%define LOW 0x9000
%define low(label) (LOW + (label) - low_start)
%define EFER 0xc0000080

%macro exits 0
    xor eax, eax
    cpuid
    in al, 0x80
    out 0x80, al
    mov ecx, EFER
    rdmsr
    wrmsr
    vmmcall
    wbinvd
%endmacro

section .text
mode_trip:
    push rbx
    push rbp
    lea rsi, [low_start]
    mov edi, LOW
    mov ecx, low_end - low_start
    cld
    rep movsb
    sgdt [saved_gdt]
    mov rax, cr3
    mov [abs low(low_cr3)], eax
    mov [saved_rsp], rsp
    lgdt [abs low(low_gdtr)]
    push 0x08
    push low(low32)
    db 0x48
    retf

; In 64-bit mode again, with the low GDT.
returned:
    mov rsp, [saved_rsp]
    lgdt [saved_gdt]
    mov eax, 0x18
    mov ds, eax
    mov es, eax
    mov ss, eax
    push 0x10
    lea rax, [.done]
    push rax
    db 0x48
    retf
.done:
    pop rbp
    pop rbx
    ret

low_start:
bits 32
low32:                          ; compatibility mode
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    exits
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax                ; long mode is off
    mov ecx, EFER
    rdmsr
    and eax, ~0x100
    wrmsr
    mov eax, cr4
    and eax, ~0x20
    mov cr4, eax
    exits
    jmp 0x18:low(low16)
bits 16
low16:                          ; protected mode with 16 bits
    mov ax, 0x20
    mov ds, ax
    mov ss, ax
    mov es, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    jmp 0:low(real)
real:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, LOW
    exits
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword 0x08:low(back32)
bits 32
back32:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    exits
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, [low(low_cr3)]
    mov cr3, eax
    mov ecx, EFER
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    jmp 0x28:low(back64)
bits 64
back64:
    mov rax, returned
    jmp rax

align 8
low_gdt:
    dq 0
    dq 0x00cf9b000000ffff       ; 08 code, 32 bits
    dq 0x00cf93000000ffff       ; 10 data
    dq 0x00009b000000ffff       ; 18 code, 16 bits
    dq 0x000093000000ffff       ; 20 data, 64 KiB
    dq 0x00af9b000000ffff       ; 28 code, 64 bits
low_gdtr:
    dw low_gdtr - low_gdt - 1
    dq low(low_gdt)
low_cr3:
    dd 0
low_end:

section .bss
alignb 16
saved_gdt: resb 16
saved_rsp: resq 1
