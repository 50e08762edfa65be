; SPDX-License-Identifier: BSD-2-Clause-Patent
; A bare-metal program for QEMU's -kernel (Multiboot 1): long mode, exceptions
; that can be caught, VMRUN, and the guests' code. See payload.c.
bits 32
section .text.start
extern payload_main, bss_start, bss_end
global start

MAGIC equ 0x1badb002
FLAGS equ 1 << 16
multiboot:
    dd MAGIC, FLAGS, -(MAGIC + FLAGS)
    dd multiboot, 0x100000, bss_start, bss_end, start

start:
    mov esp, boot_stack_top
    mov esi, ebx                        ; multiboot information
    ; Identity map of 4 GiB in 2 MiB pages.
    mov eax, pdpt + 7
    mov [pml4], eax
    mov ecx, 4
    mov edi, pdpt
    mov eax, pd + 7
.pdpt:
    mov [edi], eax
    add eax, 4096
    add edi, 8
    loop .pdpt
    mov ecx, 2048
    mov edi, pd
    mov eax, 0x87
.pd:
    mov [edi], eax
    add eax, 0x200000
    add edi, 8
    loop .pd
    mov eax, pml4
    mov cr3, eax
    mov eax, cr4
    or eax, 1 << 5 | 1 << 9 | 1 << 10   ; PAE, SSE for whoever
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 1 << 8 | 1 << 11            ; LME, NXE
    wrmsr
    mov eax, cr0
    and eax, ~(1 << 2)
    or eax, 1 << 31 | 1 << 16 | 1 << 1
    mov cr0, eax
    lgdt [gdtr]
    jmp 8:long_mode
bits 64
long_mode:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov rsp, boot_stack_top
    ; IDT: every vector to its own 16-byte stub.
    mov ecx, 0
    mov rdi, idt
    mov rax, vector_stubs
.idt:
    mov [rdi], ax
    mov word [rdi + 2], 8
    mov word [rdi + 4], 0x8e00
    mov rdx, rax
    shr rdx, 16
    mov [rdi + 6], edx
    mov dword [rdi + 10], 0
    mov dword [rdi + 12], 0
    add rdi, 16
    add rax, 16
    inc ecx
    cmp ecx, 32
    jb .idt
    lidt [idtr]
    mov edi, esi
    call payload_main
.stop:
    cli
    hlt
    jmp .stop

align 16
vector_stubs:
%assign v 0
%rep 32
    align 16
%if v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21
%else
    push 0
%endif
    push v
    jmp strict near caught
%assign v v + 1
%endrep

; A fault that was expected goes on at caught_rip; another one ends the run.
extern unexpected
caught:
    push rax
    mov rax, [rsp + 8]
    mov [caught_vector], rax
    mov rax, [rsp + 16]
    mov [caught_error], rax
    mov rax, [rsp + 24]
    mov [caught_at], rax
    mov rax, cr2
    mov [caught_cr2], rax
    mov rax, [caught_rip]
    test rax, rax
    jz .unexpected
    mov [rsp + 24], rax
    mov qword [caught_rip], 0
    pop rax
    add rsp, 16
    iretq
.unexpected:
    and rsp, -16
    call unexpected

; int try_rdmsr(u32 msr, u64 *value): nonzero when it faulted
global try_rdmsr, try_wrmsr, try_read, try_efer_svme
try_rdmsr:
    lea rax, [rel .fault]
    mov [caught_rip], rax
    mov ecx, edi
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov [rsi], rax
    jmp no_fault
.fault:
    mov eax, 1
    ret
no_fault:
    mov qword [caught_rip], 0
    xor eax, eax
    ret
; int try_wrmsr(u32 msr, u64 value)
try_wrmsr:
    lea rax, [rel .fault]
    mov [caught_rip], rax
    mov ecx, edi
    mov rax, rsi
    mov rdx, rsi
    shr rdx, 32
    wrmsr
    jmp no_fault
.fault:
    mov eax, 1
    ret
; int try_read(const volatile void *at, u64 *value)
try_read:
    lea rax, [rel .fault]
    mov [caught_rip], rax
    mov rax, [rdi]
    mov [rsi], rax
    jmp no_fault
.fault:
    mov eax, 1
    ret

; int run_guest(u64 vmcb, u64 gprs[2] = rbx, rcx): nonzero when VMRUN itself faulted
global run_guest
run_guest:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rsi
    lea rax, [rel .fault]
    mov [caught_rip], rax
    mov rbx, [rsi]
    mov rcx, [rsi + 8]
    mov rax, rdi
    mov rsi, [guest_rsi]
    mov rdi, [guest_rdi]
    clgi
    vmrun
    stgi
    mov rsi, [rsp]
    mov [rsi], rbx
    mov [rsi + 8], rcx
    xor eax, eax
.out:
    mov qword [caught_rip], 0
    pop rsi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
.fault:
    mov eax, 1
    jmp .out

; ------------------------------------------------------------ guests' code
; They run at any address; rbx, rcx, rsi, rdi are parameters.
global guest_basic, guest_basic_end, guest_sev, guest_sev_end
global guest_events, guest_events_end, guest_handler, guest_slow_handler
align 16
guest_basic:
    cpuid
    mov cr3, rax                        ; intercepted: CR3 write, rax
    mov r9, cr0                         ; intercepted: CR0 read, r9
    mov r10, cr4                        ; intercepted: CR4 read, r10
    mov cr0, rax                        ; intercepted: a change of CR0.CD
    int 0x42
    out 0x99, al
    db 0x48, 0x0f, 0x01, 0x7c, 0xcb, 0x10   ; invlpg [rbx + rcx * 8 + 0x10]
    mov ecx, 0xc0010117
    rdmsr
    wbinvd
    mov rax, [rbx]                      ; nested page fault
    vmmcall
    xor eax, eax
    mov cr8, rax                        ; lets a virtual interrupt through, were RFLAGS.IF set
    cpuid
    hlt
guest_basic_end:

align 16
; Software interrupts of its own, and a handler for those that are injected.
guest_events:
    int3
    db 0xcd, 3                          ; INT 3 is INTn, whatever its n
    hlt
guest_handler:
    mov rbx, [rsp]                      ; where it would return to
    vmmcall
; For an interrupt. Long enough for QEMU to leave its loop for another CPU, or its main loop.
guest_slow_handler:
    inc rbx
    mov ecx, 200000000
.spin:
    dec ecx
    jnz .spin
    vmmcall
guest_events_end:

align 16
; A guest with SEV. rsi: a private page, rdi: a page through shared mappings.
guest_sev:
    mov ecx, 0xc0010131
    rdmsr                               ; SEV_STATUS: no exit
    mov [rsi + 8], rax
    mov rax, 0x5345564953455456
    mov [rsi], rax
    mov rax, 0x4445524148535345
    mov [rdi], rax
    vmmcall
    mov rbx, [rdi + 8]                  ; what the host answered
    mov [rsi + 16], rbx
    vmmcall
    mov rbx, [rsi]                      ; still our own
    hlt
    mov rax, [rcx]                      ; nested page fault
    jmp $
guest_sev_end:

section .data
align 8
global gdt
gdt:
    dq 0
    dq 0x00af9b000000ffff
    dq 0x00cf93000000ffff
gdtr:
    dw 23
    dq gdt
idtr:
    dw 511
    dq idt
global guest_rsi, guest_rdi
guest_rsi: dq 0
guest_rdi: dq 0
global caught_vector, caught_error, caught_cr2, caught_at
caught_rip: dq 0
caught_vector: dq 0
caught_error: dq 0
caught_cr2: dq 0
caught_at: dq 0

section .bss
alignb 4096
global pml4
pml4: resb 4096
pdpt: resb 4096
pd: resb 4 * 4096
idt: resb 512
alignb 16
boot_stack: resb 16384
boot_stack_top:

section .note.GNU-stack noalloc noexec nowrite progbits
