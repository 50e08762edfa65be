; SPDX-License-Identifier: BSD-2-Clause-Patent
;
; Where all vCPUs but the first begin (APM2 15.27.8, 14.1.3): in real mode at the start of the page that STARTUP
; named, to which ap_trampoline has been copied. From there straight to 64-bit mode, with the first vCPU's page
; tables and GDT, whose places are the packer's (guest/pack/flat.py), to ap_main() of the guest, which is given the
; vCPU's number and a page of stack: that below the stack of the vCPU before it.

%define GDT 0x3000
%define GDT_LIMIT 4 * 8 - 1
%define PAGE_TABLES 0x4000
%define STACK_TOP 0x80000               ; the first vCPU's
%define PAGE_SHIFT 12
%define SELECTOR_CODE 0x10
%define SELECTOR_DATA 0x18

%define CR0_PG_WP_NE_ET_PE 0x80010031
%define CR4_PAE 0x20
%define X2APIC_ID 0x802
%define EFER 0xc0000080
%define EFER_LME_NXE 0x900

extern ap_main
global ap_trampoline:data
global ap_trampoline_idt:data
global ap_trampoline_end:data
global ap_start:function

section .text

bits 16
ap_trampoline:
    cli
    mov ecx, X2APIC_ID
    rdmsr
    shl eax, PAGE_SHIFT
    mov esp, STACK_TOP
    sub esp, eax
    o32 lgdt [cs:gdt_register - ap_trampoline]
    o32 lidt [cs:ap_trampoline_idt - ap_trampoline]
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
ap_trampoline_idt:                      ; of 64-bit mode, for who expects NMIs before ap_main() is there
    dw 0
    dd 0
ap_trampoline_end:

bits 64
ap_start:
    mov eax, SELECTOR_DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov ecx, X2APIC_ID
    rdmsr
    mov edi, eax
    shl eax, PAGE_SHIFT
    mov esp, STACK_TOP
    sub esp, eax
    call ap_main

section .note.GNU-stack noalloc noexec nowrite progbits
