/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* No source file of hv/ writes a VMCB field but through an accessor; and each accessor clears
 * the clean bit that APM2 15.15.3 gives its field. Runs in the repository's root. */
#include "with_cmocka.h"

#include <glob.h>
#include <regex.h>
#include <stdio.h>

#include "hv/svm/vmcb.h"

static void vmcb_fields_are_written_by_accessors_only(void **state)
{
    (void)state;
    regex_t write;
    assert_int_equal(
        regcomp(&write, "vmcb->[a-z0-9_.]+ *([-+|&^]|<<|>>)?=[^=]|vmcb->[a-z0-9_]+(\\+\\+|--)", REG_EXTENDED), 0);
    assert_int_equal(regexec(&write, "vcpu->vmcb->rip += 2;", 0, NULL, 0), 0);
    assert_int_equal(regexec(&write, "if (vmcb->v_intr == x)", 0, NULL, 0), REG_NOMATCH);
    glob_t sources;
    assert_int_equal(glob("hv/*/*.c", 0, NULL, &sources), 0);
    for (size_t i = 0; i < sources.gl_pathc; i++) {
        char line[1024];
        FILE *file = fopen(sources.gl_pathv[i], "r");
        assert_non_null(file);
        while (fgets(line, sizeof(line), file) != NULL) {
            if (regexec(&write, line, 0, NULL, 0) == 0)
                fail_msg("%s: %s", sources.gl_pathv[i], line);
        }
        fclose(file);
    }
    assert_true(sources.gl_pathc > 50);
    globfree(&sources);
    regfree(&write);
}

/* APM2 tables B-1 and B-2. */
static void fields_are_where_the_processor_has_them(void **state)
{
    (void)state;
#define AT(field, offset) assert_int_equal(offsetof(struct vmcb, field), offset)
    AT(intercept_misc3, 0x014);
    AT(pause_filter_threshold, 0x03c);
    AT(iopm_base_pa, 0x040);
    AT(msrpm_base_pa, 0x048);
    AT(tsc_offset, 0x050);
    AT(guest_asid, 0x058);
    AT(tlb_control, 0x05c);
    AT(v_intr, 0x060);
    AT(interrupt_shadow, 0x068);
    AT(exitcode, 0x070);
    AT(exitinfo1, 0x078);
    AT(exitinfo2, 0x080);
    AT(exitintinfo, 0x088);
    AT(nested_ctl, 0x090);
    AT(eventinj, 0x0a8);
    AT(n_cr3, 0x0b0);
    AT(vmcb_clean, 0x0c0);
    AT(nrip, 0x0c8);
    AT(guest_instruction_count, 0x0d0);
    AT(avic_apic_backing_page, 0x0e0);
    AT(avic_logical_table, 0x0f0);
    AT(vmsa_pa, 0x108);
    AT(es, 0x400);
    AT(cs, 0x410);
    AT(gdtr, 0x460);
    AT(tr, 0x490);
    AT(cpl, 0x4cb);
    AT(efer, 0x4d0);
    AT(cr4, 0x548);
    AT(cr3, 0x550);
    AT(cr0, 0x558);
    AT(dr7, 0x560);
    AT(dr6, 0x568);
    AT(rflags, 0x570);
    AT(rip, 0x578);
    AT(rsp, 0x5d8);
    AT(rax, 0x5f8);
    AT(star, 0x600);
    AT(kernel_gs_base, 0x620);
    AT(cr2, 0x640);
    AT(g_pat, 0x668);
    AT(lastexcp_to, 0x690);
    AT(spec_ctrl, 0x6e0);
#undef AT
}

#define CLEARS(field, bit)                                          \
    do {                                                            \
        vmcb_mark_clean(&vmcb);                                     \
        vmcb_set_##field(&vmcb, vmcb.field);                        \
        assert_int_equal(vmcb.vmcb_clean, VMCB_CLEAN_ALL & ~(bit)); \
    } while (0)

static void accessors_clear_the_bit_of_their_field(void **state)
{
    (void)state;
    static struct vmcb vmcb;
    CLEARS(intercept_exceptions, 1u << 0);
    CLEARS(intercept_misc1, 1u << 0);
    CLEARS(intercept_misc2, 1u << 0);
    CLEARS(tsc_offset, 1u << 0);
    CLEARS(iopm_base_pa, 1u << 1);
    CLEARS(msrpm_base_pa, 1u << 1);
    CLEARS(guest_asid, 1u << 2);
    CLEARS(v_intr, 1u << 3);
    CLEARS(n_cr3, 1u << 4);
    CLEARS(g_pat, 1u << 4);
    CLEARS(nested_ctl, 1u << 4);
    CLEARS(cr0, 1u << 5);
    CLEARS(cr3, 1u << 5);
    CLEARS(cr4, 1u << 5);
    CLEARS(efer, 1u << 5);
    CLEARS(dr6, 1u << 6);
    CLEARS(dr7, 1u << 6);
    CLEARS(cs, 1u << 8);
    CLEARS(cpl, 1u << 8);
    CLEARS(rip, 0u);
    CLEARS(rsp, 0u);
    CLEARS(rax, 0u);
    CLEARS(rflags, 0u);
    CLEARS(eventinj, 0u);
    CLEARS(tlb_control, 0u);
    CLEARS(interrupt_shadow, 0u);

    struct vmcb_segment segments[VMCB_SEGMENTS];
    for (size_t i = 0; i < VMCB_SEGMENTS; i++)
        segments[i] = (struct vmcb_segment){.selector = (uint16_t)(8 * i + 8), .limit = (uint32_t)i};
    vmcb_mark_clean(&vmcb);
    vmcb_set_segments(&vmcb, segments);
    assert_int_equal(vmcb.vmcb_clean, VMCB_CLEAN_ALL & ~(1u << 7 | 1u << 8));       /* descriptor tables, segments */
    const struct vmcb_segment *set[VMCB_SEGMENTS] = {
        &vmcb.es, &vmcb.cs, &vmcb.ss, &vmcb.ds, &vmcb.fs, &vmcb.gs, &vmcb.gdtr, &vmcb.ldtr, &vmcb.idtr, &vmcb.tr,
    };
    for (size_t i = 0; i < VMCB_SEGMENTS; i++)
        assert_memory_equal(set[i], &segments[i], sizeof(segments[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vmcb_fields_are_written_by_accessors_only),
        cmocka_unit_test(fields_are_where_the_processor_has_them),
        cmocka_unit_test(accessors_clear_the_bit_of_their_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
