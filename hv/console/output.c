/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What guests print, gathered to lines, each with the guest's name before it. */
#include "hv/console/output.h"

#include "guest/manifest_format.h"
#include "hv/console/console.h"
#include "hv/console/line.h"
#include "hv/cpu/clock.h"
#include "hv/lib/panic.h"
#include "hv/lib/text.h"

#define PREFIX_SIZE (MANIFEST_NAME_SIZE + 2u)
#define LOST_SIZE sizeof(" [4294967295 bytes lost]")

static struct output *outputs[MANIFEST_MAX_GUESTS];    /* by guest's number */
static uint32_t outputs_end;

/* Under the console lock. */
static const struct output *open;       /* whose unfinished line is the last on the console; NULL: none */
static uint64_t open_position;          /* console_position() then */
static uint32_t unshown;                /* how many have bytes that the operator has not seen */
static const struct output *let_through;

void output_init(struct output *output, uint32_t number, const char *name, uint8_t *history)
{
    ASSERT(number < MANIFEST_MAX_GUESTS && (outputs[number] == NULL || outputs[number] == output));
    *output = (struct output){.name = name, .owner = number + 1, .history.bytes = history};
    outputs[number] = output;
    if (number >= outputs_end)
        outputs_end = number + 1;
}

static bool line_is_open(const struct output *output)
{
    return open == output && open_position == console_position();
}

/* A guest must not steer the operator's terminal, nor forge another guest's lines. Who
 * attaches to it asks for its escape sequences; line ends are ours in any case. */
static bool passes(uint8_t byte, bool raw)
{
    if ((byte >= 0x20 && byte < 0x7f) || byte == '\t')
        return true;
    return raw && (byte == '\b' || byte == '\a' || byte == 0x1b || byte >= 0x80);
}

static size_t append(char *text, size_t length, const uint8_t *bytes, uint32_t count, bool raw)
{
    for (uint32_t i = 0; i < count; i++) {
        if (passes(bytes[i], raw))
            text[length++] = (char)bytes[i];
        else if (bytes[i] >= 0x80)
            text[length++] = '?';
    }
    return length;
}

static bool is_unshown(const struct output *output)
{
    return output->line_length > output->line_shown;
}

/* Shows what the operator has not seen of the line; `complete`: and ends it. */
static void show_line(struct output *output, bool complete)
{
    char text[PREFIX_SIZE + 1 + OUTPUT_LINE + LOST_SIZE];
    size_t length = 0;
    bool raw = let_through == output;
    uint32_t lost = complete ? __atomic_exchange_n(&output->lost, 0, __ATOMIC_RELAXED) : 0;

    console_set_owner(output->owner);
    if (line_is_open(output)) {
        length = append(text, 0, output->line + output->line_shown, output->line_length - output->line_shown, raw);
    } else {
        line_fresh();
        length = text_format(text, PREFIX_SIZE + 1, "%s| ", output->name);
        length = append(text, length, output->line, output->line_length, raw);
    }
    if (complete) {
        if (lost > 0)
            length += text_format(text + length, LOST_SIZE, " [%u bytes lost]", lost);
        text[length++] = '\n';
    }
    console_write(text, length);
    console_set_owner(0);

    unshown -= is_unshown(output);
    output->line_shown = output->line_length;
    open = complete ? NULL : output;
    open_position = console_position();
    if (complete || output->line_length == OUTPUT_LINE)
        output->line_length = output->line_shown = 0;   /* a longer line goes on as the open line */
}

static void take_byte(struct output *output, uint8_t byte)
{
    history_add(&output->history, byte);
    if (byte == '\n') {
        show_line(output, true);
        return;
    }
    if (byte == '\r' || byte == 0)
        return;
    unshown += !is_unshown(output);
    output->line[output->line_length++] = byte;
    output->line_tsc = clock_tsc();
    if (output->line_length == OUTPUT_LINE)
        show_line(output, false);
}

void output_byte(struct output *output, uint8_t byte)
{
    console_begin();
    take_byte(output, byte);
    console_end();
}

void output_show_prompts(void)
{
    if (__atomic_load_n(&unshown, __ATOMIC_RELAXED) == 0)
        return;
    console_begin();
    uint64_t now = clock_tsc(), silence = clock_us_to_tsc(OUTPUT_PROMPT_US);
    for (uint32_t i = 0; i < outputs_end; i++) {
        struct output *output = outputs[i];
        if (output != NULL && is_unshown(output) && now - output->line_tsc >= silence)
            show_line(output, false);
    }
    console_end();
}

void output_finish(struct output *output)
{
    console_begin();
    if (output->line_length > 0)
        show_line(output, true);
    console_end();
}

void output_let_through(const struct output *output)
{
    let_through = output;
}
