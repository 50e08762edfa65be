; SPDX-License-Identifier: BSD-2-Clause-Patent
; A BIOS of one job, for test_boot.py: QEMU has put a launch program's bytes
; into memory; this brings the CPU into the state that the manifest names, and
; jumps to the guest. Defined from outside: RIP RSP RSI RDI CR0 CR3 CR4 EFER
; GDT_BASE GDT_LIMIT.

%define BASE 0xf0000            ; where the last 64 KiB of the BIOS appear in real mode

        bits 16
        org 0

start:  cli
        o32 lgdt [cs:flat_register]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword 0x08:BASE + protected

        align 8
flat:   dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
flat_register:
        dw 23
        dd BASE + flat
guest_register:
        dw GDT_LIMIT
        dd GDT_BASE

        bits 32
protected:
        mov ax, 0x10
        mov ds, ax
        mov eax, CR4
        mov cr4, eax
        mov eax, CR3
        mov cr3, eax
        mov ecx, 0xc0000080
        mov eax, EFER & ~0x400  ; the CPU sets LMA by itself
        xor edx, edx
        wrmsr
        lgdt [BASE + guest_register]
        mov eax, CR0
        mov cr0, eax
        jmp 0x10:BASE + long_mode

        bits 64
long_mode:
        mov ax, 0x18
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov rsp, RSP
        mov rsi, RSI
        mov rdi, RDI
        mov rax, RIP
        jmp rax

        times 0xfff0 - ($ - $$) db 0
        bits 16
        jmp 0xf000:start
        times 0x10000 - ($ - $$) db 0
