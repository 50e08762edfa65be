/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The control guest's hardware: a UART, the window to hv, a timer. README.md describes what it does.
 *
 * The packer enters control() in 64-bit mode with all memory mapped to itself (guest/pack/flat.py). Interrupts are off but
 * inside of HLT, so that what was asked for just before it wakes it up.
 */
#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/leave.h"
#include "guest/control/machine.h"
#include "guest/control/server.h"
#include "guest/hello/bare.h"

#define VECTOR_TIMER 0x40
#define VECTOR_CONTROL 0x41     /* events and answers of hv */

#define COM2 0x2f8
/* Registers of a 16550, from its first port on. */
#define DATA 0
#define INTERRUPT_ENABLE 1
#define FIFO_CONTROL 2
#define LINE_CONTROL 3
#define MODEM_CONTROL 4
#define LINE_STATUS 5
#define SCRATCH 7
#define DIVISOR_LATCH 0x80
#define FIFO_BYTES 16u
#define FIFO_START 0xc7 /* on and empty; 14 bytes tell that there is input: what an emulated UART takes at once */

#define BUSY_TICK_US 1000u /* 115200 baud fill 12 bytes of the FIFO in it */
#define IDLE_TICK_US 10000u
#define IDLE_AFTER_MS 1000u
#define POLLS 64u /* of the transmitter, and of the receiver behind a byte, before it is slept on */

#define PTE_WINDOW 0x83u /* present, writable, large; no C-bit: the window is always plain */

struct interrupt_frame;

static struct gate idt[VECTOR_CONTROL + 1];
static uint64_t page_directory[512] __attribute__((aligned(4096)));
static uint16_t port;
static uint64_t tsc_khz = 2000000; /* until hv tells */
static uint64_t last_byte_ms;

extern uint8_t bss_start[], bss_end[];

/* ------------------------------------------------------------- the window */

/* The packer's page tables map the guest's RAM, which ends below the window; no other entry of their PDPT is used there. */
static void map_window(void)
{
    uint64_t cr3, *table;

    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    table = (uint64_t *)(cr3 & UINT64_C(0x000ffffffffff000));
    table = (uint64_t *)(table[0] & UINT64_C(0x000ffffffffff000));
    page_directory[CONTROL_WINDOW >> 21 & 0x1ff] = CONTROL_WINDOW | PTE_WINDOW;
    table[CONTROL_WINDOW >> 30] = (uint64_t)page_directory | 3;
    __asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
}

volatile uint8_t *machine_window(void)
{
    return (volatile uint8_t *)CONTROL_WINDOW;
}

void machine_doorbell(uint32_t sequence)
{
    __asm__ volatile("outl %0, %1" : : "a"(sequence), "Nd"((uint16_t)CONTROL_DOORBELL) : "memory");
}

static uint32_t read_doorbell(void)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"((uint16_t)CONTROL_DOORBELL));
    return value;
}

/* ------------------------------------------------------------- time */

__attribute__((interrupt)) static void wake(struct interrupt_frame *frame)
{
    (void)frame;
    __asm__ volatile("wrmsr" : : "a"(0), "d"(0), "c"(MSR_X2APIC_EOI));
}

static void set_gate(unsigned vector)
{
    uint64_t handler = (uint64_t)wake;

    idt[vector] = (struct gate){
        .offset_low = (uint16_t)handler,
        .selector = 0x10,
        .attributes = 0x8e00,
        .offset_middle = (uint16_t)(handler >> 16),
        .offset_high = (uint32_t)(handler >> 32),
    };
}

static void start_interrupts(void)
{
    struct table_register idtr = {sizeof(idt) - 1, (uint64_t)idt};

    set_gate(VECTOR_TIMER);
    set_gate(VECTOR_CONTROL);
    __asm__ volatile("lidt %0" : : "m"(idtr));
    write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    write_msr(MSR_X2APIC_SVR, 0x1ff);
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
}

uint64_t machine_ms(void)
{
    return read_tsc() / tsc_khz;
}

/* A UART of hardware loses what does not fit into its FIFO between two ticks; hv's waits. */
static uint64_t tick_us(void)
{
    return port == COM2 || machine_ms() - last_byte_ms < IDLE_AFTER_MS ? BUSY_TICK_US : IDLE_TICK_US;
}

void machine_sleep(void)
{
    write_msr(MSR_TSC_DEADLINE, read_tsc() + tick_us() * tsc_khz / 1000);
    /* The interrupt shadow of STI covers HLT. */
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}

/* ------------------------------------------------------------- the line */

static bool has_uart(uint16_t base)
{
    out8(base + SCRATCH, 0x5a);
    if (in8(base + SCRATCH) != 0x5a)
        return false;
    out8(base + SCRATCH, 0xa5);
    return in8(base + SCRATCH) == 0xa5;
}

static void start_uart(const char *cmdline)
{
    const char *choice = find_word(cmdline, "port=");

    port = (choice == 0 || memcmp(choice, "com2", 4) == 0) && has_uart(COM2) ? COM2 : COM1;
    out8(port + INTERRUPT_ENABLE, 0);
    out8(port + LINE_CONTROL, DIVISOR_LATCH);
    out8(port + DATA, 1); /* 115200 baud */
    out8(port + INTERRUPT_ENABLE, 0);
    out8(port + LINE_CONTROL, 0x03); /* 8N1 */
    out8(port + FIFO_CONTROL, FIFO_START);
    out8(port + MODEM_CONTROL, 0x03);
}

int machine_receive(void)
{
    if ((in8(port + LINE_STATUS) & LSR_DATA_READY) == 0)
        return -1;
    last_byte_ms = machine_ms();
    return in8(port + DATA);
}

void machine_send(const uint8_t *bytes, size_t size)
{
    unsigned polls = 0;

    last_byte_ms = machine_ms();
    while (size > 0) {
        size_t now = size < FIFO_BYTES ? size : FIFO_BYTES;

        if ((in8(port + LINE_STATUS) & LSR_THR_EMPTY) == 0) {
            if (++polls > POLLS)
                machine_sleep();
            continue;
        }
        for (size_t i = 0; i < now; i++)
            out8(port + DATA, bytes[i]);
        bytes += now;
        size -= now;
        polls = 0;
    }
}

/* ------------------------------------------------------------- the program */

static void say(const char *words)
{
    size_t length = 0;

    while (words[length] != '\0')
        length++;
    machine_send((const uint8_t *)words, length);
}

static _Noreturn void power_off(void)
{
    out8(SLEEP_CONTROL, SLEEP_S5);
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void start_asking(void)
{
    struct control_platform platform;

    ask_start();
    ask((struct control_request){.operation = CONTROL_INTERRUPT, .argument = VECTOR_CONTROL}, NULL);
    if (ask_platform_info(&platform) == CONTROL_OK && platform.tsc_khz != 0)
        tsc_khz = platform.tsc_khz;
}

__attribute__((section(".text.entry"), noreturn)) void control(const char *cmdline, uint64_t memory);

void control(const char *cmdline, uint64_t memory)
{
    bool leaves = find_word(cmdline, "leave") != 0;

    (void)memory;
    memset(bss_start, 0, (size_t)(bss_end - bss_start));
    start_interrupts();
    start_uart(cmdline);
    if (read_doorbell() != CONTROL_MAGIC) {
        say("control: this guest is not the control guest: its entry in guests.toml lacks control = true\r\n");
        power_off();
    }
    map_window();
    start_asking();
    for (;;) {
        unsigned polls = 0;

        do {
            int byte = machine_receive();

            if (byte >= 0) {
                leave_line_used();
                server_byte((uint8_t)byte);
                polls = POLLS;
            }
        } while (polls-- > 0);
        server_poll();
        if (leaves && leave_now())
            power_off();
        machine_sleep();
    }
}
