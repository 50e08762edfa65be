; SPDX-License-Identifier: BSD-2-Clause-Patent
;
; Where a second vCPU begins (APM2 15.27.8, 14.1.3): in real mode at the start of the page that STARTUP named,
; to which bench.c has copied ap_trampoline. From there straight to 64-bit mode, with the first
; vCPU's page tables and GDT, whose places are the packer's (guest/pack/flat.py).

%define GDT 0x3000
%define GDT_LIMIT 4 * 8 - 1
%define PAGE_TABLES 0x4000
%define STACK_TOP 0x7f000               ; a page below the first vCPU's
%define SELECTOR_CODE 0x10
%define SELECTOR_DATA 0x18

%define CR0_PG_WP_NE_ET_PE 0x80010031
%define CR4_PAE 0x20
%define EFER 0xc0000080
%define EFER_LME_NXE 0x900

extern second
global ap_trampoline:data
global ap_trampoline_end:data

section .text

bits 16
ap_trampoline:
    cli
    o32 lgdt [cs:gdt_register - ap_trampoline]
    mov eax, CR4_PAE
    mov cr4, eax
    mov eax, PAGE_TABLES
    mov cr3, eax
    mov ecx, EFER
    rdmsr
    or eax, EFER_LME_NXE
    wrmsr
    mov eax, CR0_PG_WP_NE_ET_PE
    mov cr0, eax
    jmp dword SELECTOR_CODE:ap_start
gdt_register:
    dw GDT_LIMIT
    dd GDT
ap_trampoline_end:

bits 64
ap_start:
    mov eax, SELECTOR_DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, STACK_TOP
    call second

section .note.GNU-stack noalloc noexec nowrite progbits
