/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A control guest for tests: it does what it reads on its console, line by line, and knows nothing of what the requests mean.
 * All numbers are hexadecimal. An answer ends with a semicolon: a line can be interrupted by what others print.
 *
 *   q FIELDS      a request, the numbers of struct control_request from `operation` to `command`, and its buffer's words of 8 bytes
 *                 → "answer SEQUENCE RESULT STATUS SIZE VALUE TEXT", or "silent" after a while
 *   r OFFSET SIZE  of the window → lines of "at OFFSET: BYTES"
 *   w OFFSET BYTES to the window
 *   c OFFSET SIZE  counts bytes of the window by their value, of 0 to 7 → "counts COUNT COUNT ..."
 *   m FROM TO PAGES  memory of a guest to another that is received: pages from 0 on that were touched or are shared, private ones by
 *                 SEND_UPDATE_DATA and RECEIVE_UPDATE_DATA → "moved PRIVATE SHARED LIST CYCLES", cycles of the TSC
 *                 until the pages were listed and then, or "page NUMBER: RESULT STATUS"
 *   b NUMBER      to the doorbell, nothing else
 *   s             the last request's sequence number
 *   d             what the doorbell reads as
 *   v VECTOR      of which interrupts are counted → n says how often they came
 *   f SEED COUNT  random requests, with the window changing while they are carried out → "fuzzed COUNT, answered COUNT"
 *   x             crash;   o  power off;   t CYCLES  crash so many cycles of the TSC later, whatever it does by then
 */
#include "guest/control.h"
#include "guest/hello/bare.h"

#define PAGE 4096u
#define VECTOR_CRASH 0x42u
#define PRESENT_WRITE 0x3u
#define LARGE 0x80u
#define ADDRESS UINT64_C(0x000ffffffffff000)
#define LINE 600u
#define PATIENCE UINT64_C(60000000000)

struct interrupt_frame;

static uint64_t directory[512] __attribute__((aligned(PAGE)));
static struct gate idt[256];
static volatile uint32_t interrupts;
static volatile uint8_t *const window = (volatile uint8_t *)CONTROL_WINDOW;
static uint32_t sequence;

/* The packer has mapped the guest's memory only. */
static void map_window(void)
{
    uint64_t cr3, *table;

    directory[CONTROL_WINDOW >> 21 & 511] = CONTROL_WINDOW | LARGE | PRESENT_WRITE;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    table = (uint64_t *)(cr3 & ADDRESS);
    table = (uint64_t *)(table[0] & ADDRESS);
    table[CONTROL_WINDOW >> 30] = (uint64_t)directory | PRESENT_WRITE;
}

static void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static uint32_t in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

/* ------------------------------------------------------------- interrupts */

__attribute__((interrupt)) static void count_interrupt(struct interrupt_frame *frame)
{
    (void)frame;
    interrupts = interrupts + 1;
    write_msr(MSR_X2APIC_EOI, 0);
}

static void take_vector(uint8_t vector, uint64_t handler)
{
    struct table_register idtr = {sizeof(idt) - 1, (uint64_t)idt};

    idt[vector] = (struct gate){
        .offset_low = (uint16_t)handler,
        .selector = 0x10,
        .attributes = 0x8e00,
        .offset_middle = (uint16_t)(handler >> 16),
        .offset_high = (uint32_t)(handler >> 32),
    };
    __asm__ volatile("lidt %0" : : "m"(idtr));
    write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    write_msr(MSR_X2APIC_SVR, 0x1ff);
    __asm__ volatile("sti");
}

/* ------------------------------------------------------------- lines */

static void read_line(char *line)
{
    unsigned length = 0;

    for (;;) {
        char c;

        while ((in8(UART_LSR) & LSR_DATA_READY) == 0)
            __asm__ volatile("pause");
        c = (char)in8(UART_DATA);
        if (c == '\n' || c == '\r')
            break;
        if (length < LINE - 1)
            line[length++] = c;
    }
    line[length] = '\0';
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The next number of the line; 0 where there is none. */
static uint64_t number(const char **at)
{
    uint64_t value = 0;

    while (**at == ' ')
        (*at)++;
    while (digit(**at) >= 0)
        value = value << 4 | (uint64_t)digit(*(*at)++);
    return value;
}

static void put_byte(uint8_t byte)
{
    put_char("0123456789abcdef"[byte >> 4]);
    put_char("0123456789abcdef"[byte & 15]);
}

/* ------------------------------------------------------------- the window */

static void copy_to_window(uint32_t offset, const void *bytes, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        window[offset + i] = ((const uint8_t *)bytes)[i];
}

static uint32_t answered(void)
{
    return *(volatile uint32_t *)(window + CONTROL_ANSWER);
}

static bool wait_for_answer(uint64_t patience)
{
    for (uint64_t start = read_tsc(); answered() != sequence;) {
        if (read_tsc() - start > patience)
            return false;
        __asm__ volatile("pause");
    }
    return true;
}

static bool carry_out(struct control_request *request)
{
    request->sequence = ++sequence;
    copy_to_window(CONTROL_REQUEST, request, sizeof(*request));
    out32(CONTROL_DOORBELL, sequence);
    return wait_for_answer(PATIENCE);
}

static const volatile struct control_answer *const answer = (const volatile void *)(CONTROL_WINDOW + CONTROL_ANSWER);

static void ask(const char *at)
{
    struct control_request request = {0};

    request.operation = (uint32_t)number(&at);
    request.guest = (uint32_t)number(&at);
    request.vcpu = (uint32_t)number(&at);
    request.address = number(&at);
    request.argument = number(&at);
    request.data = (uint32_t)number(&at);
    request.size = (uint32_t)number(&at);
    request.command = (uint32_t)number(&at);
    for (unsigned i = 0; i < sizeof(request.buffer) / 8; i++) {
        uint64_t word = number(&at);

        for (unsigned b = 0; b < 8; b++)
            request.buffer[8 * i + b] = (uint8_t)(word >> 8 * b);
    }
    if (!carry_out(&request)) {
        put("silent;\n");
        return;
    }
    put("answer ");
    put_number(sequence, 16);
    put(" ");
    put_number(answer->result, 16);
    put(" ");
    put_number(answer->status, 16);
    put(" ");
    put_number(answer->size, 16);
    put(" ");
    put_number(answer->value, 16);
    put(" ");
    for (unsigned i = 0; i < sizeof(answer->text) && answer->text[i] != '\0'; i++)
        put_char(answer->text[i]);
    put(";\n");
}

static void show(const char *at)
{
    uint32_t offset = (uint32_t)number(&at), size = (uint32_t)number(&at);

    for (uint32_t done = 0; done < size; done += 64) {
        put("at ");
        put_number(offset + done, 16);
        put(": ");
        for (uint32_t i = done; i < size && i < done + 64; i++)
            put_byte(window[offset + i]);
        put("\n");
    }
}

static void count_values(const char *at)
{
    uint32_t offset = (uint32_t)number(&at), size = (uint32_t)number(&at), counts[8] = {0};

    for (uint32_t i = 0; i < size; i++)
        counts[window[offset + i] & 7]++;
    put("counts");
    for (unsigned value = 0; value < 8; value++) {
        put(" ");
        put_number(counts[value], 16);
    }
    put(";\n");
}

/* ------------------------------------------------------------- a guest's memory to another */

#define FLAGS 0x80000u /* offsets in the window */
#define HEADER CONTROL_DATA
#define PACKET (CONTROL_DATA + PAGE)

static bool good(struct control_request request)
{
    return carry_out(&request) && answer->result == CONTROL_OK;
}

static void put_field(uint8_t *buffer, unsigned at, uint64_t value, unsigned size)
{
    for (unsigned b = 0; b < size; b++)
        buffer[at + b] = (uint8_t)(value >> 8 * b);
}

/* SEND_UPDATE_DATA, RECEIVE_UPDATE_DATA. */
static bool packet(uint32_t guest, uint32_t command, uint64_t gpa)
{
    struct control_request request = {.operation = CONTROL_FIRMWARE, .guest = guest, .command = command};

    put_field(request.buffer, 0x08, HEADER, 8);
    put_field(request.buffer, 0x10, 52, 4);
    put_field(request.buffer, 0x18, gpa, 8);
    put_field(request.buffer, 0x20, PAGE, 4);
    put_field(request.buffer, 0x28, PACKET, 8);
    put_field(request.buffer, 0x30, PAGE, 4);
    return good(request);
}

static bool shared_page(uint32_t from, uint32_t to, uint64_t gpa)
{
    struct control_request request = {
        .operation = CONTROL_MEMORY_READ, .guest = from, .address = gpa, .data = PACKET, .size = PAGE};

    if (!good(request))
        return false;
    request.operation = CONTROL_MEMORY_WRITE;
    request.guest = to;
    return good(request);
}

static void move(const char *at)
{
    uint32_t from = (uint32_t)number(&at), to = (uint32_t)number(&at), npages = (uint32_t)number(&at);
    uint32_t counts[2] = {0};
    uint64_t begin = read_tsc(), listed, cycles;
    bool fine =
        good((struct control_request){.operation = CONTROL_PAGES, .guest = from, .data = FLAGS, .size = npages});

    listed = read_tsc();
    for (uint32_t page = 0; fine && page < npages; page++) {
        bool shared = (window[FLAGS + page] & CONTROL_PAGE_SHARED) != 0;
        uint64_t gpa = (uint64_t)page * PAGE;

        if ((window[FLAGS + page] & (CONTROL_PAGE_SHARED | CONTROL_PAGE_TOUCHED)) == 0)
            continue;
        fine = shared ? shared_page(from, to, gpa) : packet(from, 0x41, gpa) && packet(to, 0x51, gpa);
        counts[shared]++;
        if (!fine) {
            put("page ");
            put_number(page, 16);
        }
    }
    if (!fine) {
        put(": ");
        put_number(answer->result, 16);
        put(" ");
        put_number(answer->status, 16);
        put(";\n");
        return;
    }
    cycles = read_tsc() - listed;
    put("moved ");
    put_number(counts[0], 16);
    put(" ");
    put_number(counts[1], 16);
    put(" ");
    put_number(listed - begin, 16);
    put(" ");
    put_number(cycles, 16);
    put(";\n");
}

static void write(const char *at)
{
    uint32_t offset = (uint32_t)number(&at);

    while (*at == ' ')
        at++;
    for (; digit(at[0]) >= 0 && digit(at[1]) >= 0; at += 2)
        window[offset++] = (uint8_t)(digit(at[0]) << 4 | digit(at[1]));
    put("written;\n");
}

/* ------------------------------------------------------------- random requests */

static uint64_t random_state;

static uint32_t random(uint32_t limit)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 33) % limit;
}

static uint32_t random_word(void)
{
    static const uint32_t edges[] = {
        0,          1,       2,          0xffff, CONTROL_DATA, CONTROL_WINDOW_SIZE - 1, CONTROL_WINDOW_SIZE,
        0x7fffffff, 0xfffff, 0xffffffff, 0x1000, 0x200000};

    return random(2) == 0 ? edges[random(sizeof(edges) / sizeof(*edges))] : random(0x7fffffff);
}

/* END, LAUNCH and what lives come too often otherwise: of what comes by chance, nearly all is refused. */
static void random_request(struct control_request *request)
{
    for (unsigned i = 0; i < sizeof(*request) / 4; i++)
        ((uint32_t *)request)[i] = random_word();
    request->sequence = sequence;
    if (random(8) != 0)
        request->operation = random(CONTROL_FIRMWARE + 1);
    if (random(4) != 0)
        request->guest = random(4);
    if (random(2) != 0)
        request->vcpu = 0;
    if (random(2) != 0)
        request->command = random(0x60);
    if (random(4) != 0) {
        request->data = CONTROL_DATA + random(CONTROL_DATA_SIZE);
        request->size = random(CONTROL_WINDOW_SIZE - request->data + (random(8) == 0));
    }
}

static void fuzz(const char *at)
{
    uint32_t count, times = 0;

    random_state = number(&at);
    count = (uint32_t)number(&at);
    for (uint32_t i = 0; i < count; i++) {
        struct control_request request;

        sequence++;
        random_request(&request);
        /* It must not end itself, nor by what changes meanwhile. */
        if (request.operation == CONTROL_END && request.guest == 0)
            request.guest = 1;
        copy_to_window(CONTROL_REQUEST, &request, sizeof(request));
        out32(CONTROL_DOORBELL, random(16) != 0 ? sequence : random_word());
        for (unsigned scribbles = 0; scribbles < 200 && answered() != sequence; scribbles++) {
            uint32_t offset =
                random(4) != 0 ? CONTROL_REQUEST + 4 + random(sizeof(request) - 8) : random(CONTROL_WINDOW_SIZE - 4);
            bool own = request.operation == CONTROL_END && offset < CONTROL_ANSWER;

            if (!own && (offset < CONTROL_ANSWER - 4 || offset >= CONTROL_ANSWER + 4))
                *(volatile uint32_t *)(window + offset) = random_word();
        }
        times += wait_for_answer(PATIENCE / 100);
    }
    put("fuzzed ");
    put_number(count, 16);
    put(", answered ");
    put_number(times, 16);
    put(";\n");
}

/* ------------------------------------------------------------- */

__attribute__((interrupt)) static void crash(struct interrupt_frame *frame)
{
    (void)frame;
    __asm__ volatile("ud2");
}

static void crash_later(uint64_t cycles)
{
    take_vector(VECTOR_CRASH, (uint64_t)crash);
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_CRASH);
    write_msr(MSR_TSC_DEADLINE, read_tsc() + cycles);
}

static void obey(const char *line)
{
    const char *at = line + 1;

    switch (line[0]) {
    case 'q':
        ask(at);
        break;
    case 'r':
        show(at);
        break;
    case 'w':
        write(at);
        break;
    case 'c':
        count_values(at);
        break;
    case 's':
        put("sequence ");
        put_number(sequence, 16);
        put(";\n");
        break;
    case 'm':
        move(at);
        break;
    case 'b':
        out32(CONTROL_DOORBELL, (uint32_t)number(&at));
        break;
    case 'd':
        put("doorbell ");
        put_number(in32(CONTROL_DOORBELL), 16);
        put(";\n");
        break;
    case 'v':
        take_vector((uint8_t)number(&at), (uint64_t)count_interrupt);
        break;
    case 'n':
        put("interrupts ");
        put_number(interrupts, 16);
        put(";\n");
        break;
    case 'f':
        fuzz(at);
        break;
    case 'x':
        __asm__ volatile("ud2");
        break;
    case 't':
        crash_later(number(&at));
        break;
    case 'o':
        out8(SLEEP_CONTROL, SLEEP_S5);
        break;
    case '\0':
        break;
    default:
        put("what?\n");
        break;
    }
}

__attribute__((section(".text.entry"), noreturn)) void client(const char *cmdline, uint64_t memory);

void client(const char *cmdline, uint64_t memory)
{
    static char line[LINE];

    (void)cmdline;
    (void)memory;
    uart_start();
    map_window();
    put("client ready\n");
    for (;;) {
        read_line(line);
        obey(line);
    }
}
