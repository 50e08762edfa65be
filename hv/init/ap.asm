; SPDX-License-Identifier: BSD-2-Clause-Patent
;
; The first instructions of a CPU other than the boot CPU. smp.c copies them to a plain page below 1 MiB, where
; the startup IPI finds them: real mode, CS:IP = page number << 8 : 0 (APM2 14.1.4). From there to 64-bit mode on
; tables that have this page one to one, and hv's half; then to hv's own (entry.asm).

%define MSR_EFER 0xc0000080
%define MSR_SYSCFG 0xc0010010
%define EFER_LME_NXE 0x900
%define CR0_PE 0x1
%define CR0_PG 0x80000000
%define CR0_CD_NW 0x60000000
%define CR4_PAE 0x20
%define CODE32 0x08
%define DATA 0x10
%define CODE64 0x18

global ap_start:data
global ap_parameters:data
global ap_end:data

section .rodata

align 16
%define AT(label) (label - ap_start)

bits 16
ap_start:
    cli
    cld
    xor ebx, ebx
    mov bx, cs
    mov ds, bx
    shl ebx, 4                  ; EBX: physical address of this page
    o32 lgdt [AT(.gdt_limit)]
    mov eax, cr0
    or eax, CR0_PE
    mov cr0, eax
    jmp far dword [AT(.far32)]

bits 32
.protected:
    mov eax, DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    ; SYSCFG as on the boot CPU: before a table entry with a C-bit is used (APM2 7.10.1).
    mov esi, [ebx + AT(.syscfg)]
    test esi, esi
    jz .encryption_done
    mov ecx, MSR_SYSCFG
    rdmsr
    test eax, esi
    jnz .encryption_done        ; set by the BIOS, which may also have locked it
    or eax, esi
    wrmsr
.encryption_done:
    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, [ebx + AT(.tables)]
    mov cr3, eax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME_NXE
    wrmsr
    mov eax, cr0
    and eax, ~CR0_CD_NW
    or eax, CR0_PG
    mov cr0, eax
    jmp far dword [ebx + AT(.far64)]

bits 64
.long:
    mov rsp, [rbx + AT(.stack)]
    mov rdi, [rbx + AT(.cpu)]
    mov rsi, [rbx + AT(.cr3)]
    mov rax, [rbx + AT(.entry)]
    jmp rax

align 8
.gdt:
    dq 0
    dq 0x00cf9b000000ffff       ; CODE32
    dq 0x00cf93000000ffff       ; DATA
    dq 0x00af9b000000ffff       ; CODE64

; struct ap_parameters of smp.c, which fills it for each CPU.
align 8
ap_parameters:
.start:
ap_start.entry: dq 0
ap_start.stack: dq 0
ap_start.cpu: dq 0
ap_start.cr3: dq 0
ap_start.tables: dd 0
ap_start.syscfg: dd 0
ap_start.far32: dd AT(ap_start.protected)
    dw CODE32
ap_start.gdt_limit: dw 31
ap_start.gdt_base: dd AT(ap_start.gdt)
ap_start.far64: dd AT(ap_start.long)
    dw CODE64
    dw 0
ap_end:

section .note.GNU-stack noalloc noexec nowrite progbits
