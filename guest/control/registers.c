/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The registers of a vCPU as gdb numbers them: its features for x86 (GDB manual, appendix G.5.16), whose order is fixed, then ours. */
#include "guest/control/registers.h"

#include <string.h>

enum kind {
    VALUE,
    FIXED, /* shown, but never changed: what belongs to it would not change with it */
    ABSENT, /* hv does not hand it out */
};

struct row {
    const char *name, *type;
    uint16_t offset; /* in struct control_vcpu */
    uint8_t size; /* bytes in packets */
    uint8_t kind;
};

/* clang-format off */
#define IN_VCPU(name, field, type, size, kind) {name, type, offsetof(struct control_vcpu, field), size, kind}
#define GENERAL(field) IN_VCPU(#field, field, "int64", 8, VALUE)
#define SELECTOR(field) IN_VCPU(#field, field.selector, "int32", 4, FIXED)
#define FPU_STACK(name) {name, "i387_ext", 0, 10, ABSENT}
#define FPU_CONTROL(name) {name, "int", 0, 4, ABSENT}

static const struct row core[] = {
    GENERAL(rax), GENERAL(rbx), GENERAL(rcx), GENERAL(rdx), GENERAL(rsi), GENERAL(rdi),
    IN_VCPU("rbp", rbp, "data_ptr", 8, VALUE), IN_VCPU("rsp", rsp, "data_ptr", 8, VALUE),
    GENERAL(r8), GENERAL(r9), GENERAL(r10), GENERAL(r11), GENERAL(r12), GENERAL(r13), GENERAL(r14), GENERAL(r15),
    IN_VCPU("rip", rip, "code_ptr", 8, VALUE), IN_VCPU("eflags", rflags, "i386_eflags", 4, VALUE),
    SELECTOR(cs), SELECTOR(ss), SELECTOR(ds), SELECTOR(es), SELECTOR(fs), SELECTOR(gs),
    FPU_STACK("st0"), FPU_STACK("st1"), FPU_STACK("st2"), FPU_STACK("st3"),
    FPU_STACK("st4"), FPU_STACK("st5"), FPU_STACK("st6"), FPU_STACK("st7"),
    FPU_CONTROL("fctrl"), FPU_CONTROL("fstat"), FPU_CONTROL("ftag"), FPU_CONTROL("fiseg"),
    FPU_CONTROL("fioff"), FPU_CONTROL("foseg"), FPU_CONTROL("fooff"), FPU_CONTROL("fop"),
};
static const struct row segments[] = {
    IN_VCPU("fs_base", fs.base, "int64", 8, VALUE), IN_VCPU("gs_base", gs.base, "int64", 8, VALUE),
};
static const struct row system[] = {
    IN_VCPU("kernel_gs_base", kernel_gs_base, "int64", 8, VALUE),
    GENERAL(cr0), GENERAL(cr2), GENERAL(cr3), GENERAL(cr4), GENERAL(efer),
    GENERAL(dr0), GENERAL(dr1), GENERAL(dr2), GENERAL(dr3), GENERAL(dr6), GENERAL(dr7),
    IN_VCPU("gdtr_base", gdtr.base, "int64", 8, FIXED), IN_VCPU("idtr_base", idtr.base, "int64", 8, FIXED),
    IN_VCPU("tr_base", tr.base, "int64", 8, FIXED), GENERAL(lstar),
};

static const struct feature {
    const char *name;
    const struct row *rows;
    unsigned count;
} features[] = {
    {"org.gnu.gdb.i386.core", core, sizeof(core) / sizeof(core[0])},
    {"org.gnu.gdb.i386.segments", segments, sizeof(segments) / sizeof(segments[0])},
    {"sevisor.control", system, sizeof(system) / sizeof(system[0])},
};
#define FEATURES (sizeof(features) / sizeof(features[0]))

static const struct {
    const char *name;
    unsigned bit;
} flags[] = {
    {"CF", 0}, {"", 1}, {"PF", 2}, {"AF", 4}, {"ZF", 6}, {"SF", 7}, {"TF", 8}, {"IF", 9}, {"DF", 10}, {"OF", 11},
    {"NT", 14}, {"RF", 16}, {"VM", 17}, {"AC", 18}, {"VIF", 19}, {"VIP", 20}, {"ID", 21},
};
/* clang-format on */

static void describe_flags(struct text *text)
{
    text_add(text, "<flags id=\"i386_eflags\" size=\"4\">");
    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        text_add(text, "<field name=\"");
        text_add(text, flags[i].name);
        text_add(text, "\" start=\"");
        text_number(text, flags[i].bit);
        text_add(text, "\" end=\"");
        text_number(text, flags[i].bit);
        text_add(text, "\"/>");
    }
    text_add(text, "</flags>\n");
}

void registers_describe(struct text *text)
{
    text_add(text, "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
                   "<target version=\"1.0\"><architecture>i386:x86-64</architecture>\n");
    for (unsigned i = 0; i < FEATURES; i++) {
        text_add(text, "<feature name=\"");
        text_add(text, features[i].name);
        text_add(text, "\">\n");
        if (i == 0)
            describe_flags(text);
        for (unsigned j = 0; j < features[i].count; j++) {
            const struct row *row = &features[i].rows[j];

            text_add(text, "<reg name=\"");
            text_add(text, row->name);
            text_add(text, "\" bitsize=\"");
            text_number(text, row->size * 8u);
            text_add(text, "\" type=\"");
            text_add(text, row->type);
            text_add(text, "\"/>\n");
        }
        text_add(text, "</feature>\n");
    }
    text_add(text, "</target>\n");
}

/* NULL: no register has this number. */
static const struct row *row_of(uint64_t number)
{
    for (unsigned i = 0; i < FEATURES; i++) {
        if (number < features[i].count)
            return &features[i].rows[number];
        number -= features[i].count;
    }
    return NULL;
}

bool registers_add(struct text *text, const struct control_vcpu *vcpu, uint64_t number)
{
    const struct row *row = row_of(number);
    uint8_t value[16] = {0};

    if (row == NULL)
        return false;
    if (vcpu == NULL || row->kind == ABSENT) {
        for (unsigned i = 0; i < row->size * 2u; i++)
            text_char(text, 'x');
        return true;
    }
    /* A selector has two bytes of its own: what follows is not its. */
    memcpy(value, (const uint8_t *)vcpu + row->offset, row->kind == FIXED && row->size == 4 ? 2 : row->size);
    text_hex_bytes(text, value, row->size);
    return true;
}

bool registers_set(struct control_vcpu *vcpu, uint64_t number, struct cursor *cursor)
{
    const struct row *row = row_of(number);
    uint8_t value[16];

    if (row == NULL || cursor_left(cursor) < row->size * 2u)
        return false;
    if (row->kind != VALUE || *cursor->at == 'x') {
        cursor->at += row->size * 2u;
        return true;
    }
    if (!cursor_hex_bytes(cursor, value, row->size))
        return false;
    memcpy((uint8_t *)vcpu + row->offset, value, row->size);
    return true;
}

void registers_add_all(struct text *text, const struct control_vcpu *vcpu)
{
    for (uint64_t number = 0; registers_add(text, vcpu, number); number++)
        ;
}

bool registers_set_all(struct control_vcpu *vcpu, struct cursor *cursor)
{
    uint64_t number = 0;

    while (cursor_left(cursor) > 0 && row_of(number) != NULL) {
        if (!registers_set(vcpu, number++, cursor))
            return false;
    }
    return cursor_left(cursor) == 0;
}
