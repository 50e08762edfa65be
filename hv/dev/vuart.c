/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's 16550A: output goes to the console, input comes from a ring. */
#include "hv/dev/vuart.h"

#include "hv/console/console.h"
#include "hv/console/line.h"
#include "hv/console/output.h"
#include "hv/lib/uart.h"

/* PC16550D data sheet: bits that only the model knows. */
#define IER_RECEIVED 0x01u
#define IER_TRANSMIT 0x02u
#define IER_LINE_STATUS 0x04u
#define IER_WRITABLE 0x0fu

#define IIR_NONE 0x01u
#define IIR_TRANSMIT 0x02u
#define IIR_RECEIVED 0x04u
#define IIR_LINE_STATUS 0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFO 0xc0u

#define FCR_TRIGGER 0xc0u

#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_WRITABLE 0x1fu

/* Bytes that a guest may write without waiting for THRE before any is lost. */
#define OUTPUT_SLACK 4096u

#define MSR_CTS 0x10u
#define MSR_DSR 0x20u
#define MSR_RI 0x40u
#define MSR_DCD 0x80u

void vuart_reset(struct vuart *uart, struct output *output)
{
    uart->output = output;
    uart->ier = uart->fcr = uart->lcr = uart->mcr = uart->scr = 0;
    uart->dll = 1;              /* 115200 baud */
    uart->dlm = 0;
    uart->overrun = false;
    uart->transmit_event = false;
    if (uart->input_count == 0)
        uart->break_after = VUART_NO_BREAK;     /* the first time, that is */
}

/* ---- the receiver ---- */

static uint32_t ring_size(const struct vuart *uart)
{
    return uart->input != NULL ? VUART_INPUT : VUART_FIFO;
}

uint32_t vuart_input_room(const struct vuart *uart)
{
    return ring_size(uart) - __atomic_load_n(&uart->input_count, __ATOMIC_RELAXED);
}

bool vuart_input(struct vuart *uart, uint8_t byte)
{
    if (vuart_input_room(uart) == 0) {
        uart->overrun = true;
        return false;
    }
    uint8_t *ring = uart->input != NULL ? uart->input : uart->fifo;
    ring[(uart->input_head + uart->input_count) % ring_size(uart)] = byte;
    uart->input_count++;
    return true;
}

uint8_t vuart_peek(const struct vuart *uart, uint32_t i)
{
    const uint8_t *ring = uart->input != NULL ? uart->input : uart->fifo;
    return ring[(uart->input_head + i) % ring_size(uart)];
}

bool vuart_valid(const struct vuart *uart)
{
    return (uart->ier & ~IER_WRITABLE) == 0 && (uart->mcr & ~MCR_WRITABLE) == 0 &&
           (uart->fcr == 0 || (uart->fcr & ~FCR_TRIGGER) == FCR_ENABLE) && uart->input_count <= ring_size(uart) &&
           (uart->break_after == VUART_NO_BREAK || uart->break_after < uart->input_count);
}

/* Comes with a NUL, as in a 16550. */
bool vuart_break(struct vuart *uart)
{
    if (uart->break_after != VUART_NO_BREAK || !vuart_input(uart, 0))
        return false;
    uart->break_after = uart->input_count - 1;
    return true;
}

static uint8_t take_input(struct vuart *uart)
{
    if (uart->input_count == 0)
        return 0;
    uint8_t byte = vuart_peek(uart, 0);
    uart->input_head = (uart->input_head + 1) % ring_size(uart);
    uart->input_count--;
    if (uart->break_after != VUART_NO_BREAK)
        uart->break_after = uart->break_after == 0 ? VUART_NO_BREAK : uart->break_after - 1;
    return byte;
}

static void clear_fifo(struct vuart *uart)
{
    for (uint32_t i = 0; i < VUART_FIFO; i++)
        take_input(uart);
}

void vuart_power_off(struct vuart *uart)
{
    if (uart->input_count > 0)
        line_print("monitor: %s ended without reading the last %u bytes of input", uart->output->name,
                   uart->input_count);
    uart->input_count = 0;
    uart->break_after = VUART_NO_BREAK;
    output_finish(uart->output);
}

static bool receiver_triggered(const struct vuart *uart)
{
    static const uint8_t levels[4] = {1, 4, 8, 14};
    return (uart->fcr & FCR_ENABLE) == 0 || uart->input_count >= levels[uart->fcr >> 6];
}

/* The highest-priority pending source that IER lets through (table IV). */
static uint8_t interrupt_identification(struct vuart *uart)
{
    uint8_t fifo = (uart->fcr & FCR_ENABLE) != 0 ? IIR_FIFO : 0;
    if ((uart->ier & IER_LINE_STATUS) != 0 && (uart->overrun || uart->break_after == 0))
        return IIR_LINE_STATUS | fifo;
    if ((uart->ier & IER_RECEIVED) != 0 && uart->input_count > 0)
        return (uint8_t)((receiver_triggered(uart) ? IIR_RECEIVED : IIR_TIMEOUT) | fifo);
    if ((uart->ier & IER_TRANSMIT) != 0 && uart->transmit_event) {
        uart->transmit_event = false;   /* this read acknowledges it */
        return IIR_TRANSMIT | fifo;
    }
    return IIR_NONE | fifo;
}

static uint8_t line_status(struct vuart *uart)
{
    /* A byte is sent as soon as it is written. */
    uint8_t status = console_has_room(uart->output->owner, 0) ? LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY : 0;
    if (uart->input_count > 0)
        status |= LSR_DATA_READY;
    if (uart->overrun)
        status |= LSR_OVERRUN;
    uart->overrun = false;
    if (uart->break_after == 0) { /* until LSR is read, or the NUL that stands for it */
        status |= LSR_BREAK;
        uart->break_after = VUART_NO_BREAK;
    }
    return status;
}

/* A terminal that is always there; in loopback, what MCR drives. */
static uint8_t modem_status(const struct vuart *uart)
{
    if ((uart->mcr & MCR_LOOP) == 0)
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (uint8_t)(((uart->mcr & MCR_RTS) != 0 ? MSR_CTS : 0) | ((uart->mcr & MCR_DTR) != 0 ? MSR_DSR : 0) |
                     ((uart->mcr & MCR_OUT1) != 0 ? MSR_RI : 0) | ((uart->mcr & MCR_OUT2) != 0 ? MSR_DCD : 0));
}

static void write_ier(struct vuart *uart, uint8_t value)
{
    uint8_t risen = value & (uint8_t)~uart->ier;
    uart->ier = value & IER_WRITABLE;
    if ((risen & IER_TRANSMIT) != 0)
        uart->transmit_event = true;    /* enabling it while THR is empty is an event */
}

static void write_fcr(struct vuart *uart, uint8_t value)
{
    bool toggled = ((value ^ uart->fcr) & FCR_ENABLE) != 0;
    if (toggled || (value & FCR_CLEAR_RECEIVER) != 0)
        clear_fifo(uart);
    uart->fcr = (value & FCR_ENABLE) != 0 ? value & (FCR_TRIGGER | FCR_ENABLE) : 0;
}

uint8_t vuart_read(struct vuart *uart, uint32_t offset)
{
    bool divisor = (uart->lcr & LCR_DLAB) != 0;
    switch (offset) {
    case UART_DATA:
        return divisor ? uart->dll : take_input(uart);
    case UART_IER:
        return divisor ? uart->dlm : uart->ier;
    case UART_IIR:
        return interrupt_identification(uart);
    case UART_LCR:
        return uart->lcr;
    case UART_MCR:
        return uart->mcr;
    case UART_LSR:
        return line_status(uart);
    case UART_MSR:
        return modem_status(uart);
    case UART_SCR:
        return uart->scr;
    default:
        return 0xff;
    }
}

void vuart_write(struct vuart *uart, uint32_t offset, uint8_t value)
{
    bool divisor = (uart->lcr & LCR_DLAB) != 0;
    switch (offset) {
    case UART_DATA:
        if (divisor) {
            uart->dll = value;
            break;
        }
        uart->transmit_event = true;
        if ((uart->mcr & MCR_LOOP) != 0)
            vuart_input(uart, value);
        else if (console_has_room(uart->output->owner, OUTPUT_SLACK))
            output_byte(uart->output, value);
        else
            __atomic_fetch_add(&uart->output->lost, 1, __ATOMIC_RELAXED);
        break;
    case UART_IER:
        if (divisor)
            uart->dlm = value;
        else
            write_ier(uart, value);
        break;
    case UART_FCR:
        write_fcr(uart, value);
        break;
    case UART_LCR:
        uart->lcr = value;
        break;
    case UART_MCR:
        uart->mcr = value & MCR_WRITABLE;
        break;
    case UART_SCR:
        uart->scr = value;
        break;
    default:
        break;                  /* LSR and MSR are not for writing */
    }
}
