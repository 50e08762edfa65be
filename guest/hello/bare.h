/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* For bare-metal guests: ports, MSRs, the console, the command line. */
#ifndef SEVISOR_GUEST_BARE_H
#define SEVISOR_GUEST_BARE_H

#include <stdbool.h>
#include <stdint.h>

#define COM1 0x3f8
#define UART_DATA (COM1 + 0)
#define UART_IER (COM1 + 1)
#define UART_FCR (COM1 + 2)
#define UART_LCR (COM1 + 3)
#define UART_MCR (COM1 + 4)
#define UART_LSR (COM1 + 5)
#define LSR_DATA_READY 0x01
#define LSR_OVERRUN 0x02
#define LSR_BREAK 0x10
#define LSR_THR_EMPTY 0x20

#define SLEEP_CONTROL 0x600
#define SLEEP_S5 (5 << 2 | 0x20)        /* SLP_TYP 5, SLP_EN (ACPI 6.3, 4.8.3.7) */
#define RESET 0x602

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_X2APIC 0xc00          /* EN, EXTD */
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_EOI 0x80b
#define MSR_X2APIC_SVR 0x80f
#define MSR_X2APIC_LVT_TIMER 0x832
#define LVT_TSC_DEADLINE (2 << 17)
#define MSR_SEV_STATUS 0xc0010131

struct gate {
    uint16_t offset_low, selector;
    uint16_t attributes;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

struct table_register {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* ------------------------------------------------------------- the CPU */

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void write_msr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr) : "memory");
}

static inline uint64_t read_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static inline void cpuid(uint32_t leaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *a = leaf;
    *c = 0;
    __asm__ volatile("cpuid" : "+a"(*a), "=b"(*b), "+c"(*c), "=d"(*d));
}

/* ------------------------------------------------------------- the console */

static inline void uart_start(void)
{
    out8(UART_IER, 0);
    out8(UART_LCR, 0x03);   /* 8N1 */
    out8(UART_FCR, 0x01);
    out8(UART_MCR, 0x03);
}

static inline void put_char(char c)
{
    while ((in8(UART_LSR) & LSR_THR_EMPTY) == 0)
        __asm__ volatile("pause");
    out8(UART_DATA, (uint8_t)c);
}

static inline void put(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            put_char('\r');
        put_char(*text);
    }
}

static inline void put_number(uint64_t value, unsigned base)
{
    char digits[20];
    unsigned count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (count > 0)
        put_char(digits[--count]);
}

static inline void put_hex(uint64_t value)
{
    put("0x");
    put_number(value, 16);
}

static inline void wait_for_byte(void)
{
    while ((in8(UART_LSR) & LSR_DATA_READY) == 0)
        __asm__ volatile("pause");
    in8(UART_DATA);
}

/* ------------------------------------------------------------- the command line */

/* The text after `word` where the command line has it at a word's start; else NULL.
 * A word that ends in '=' is followed by its value, others by a space or the end. */
static inline const char *find_word(const char *cmdline, const char *word)
{
    for (const char *at = cmdline; *at != '\0'; at++) {
        unsigned i = 0;

        if (at != cmdline && at[-1] != ' ')
            continue;
        while (word[i] != '\0' && at[i] == word[i])
            i++;
        if (word[i] == '\0' && (word[i - 1] == '=' || at[i] == ' ' || at[i] == '\0'))
            return at + i;
    }
    return 0;
}

static inline uint32_t number_after(const char *cmdline, const char *word, uint32_t otherwise)
{
    const char *text = find_word(cmdline, word);
    uint32_t value = 0;

    if (text == 0)
        return otherwise;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint32_t)(*text - '0');
    return value;
}

#endif
