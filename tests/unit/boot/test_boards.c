/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the preflight says of real machines (tests/unit/boards), and what hv is handed there. What a file does not tell is as on
 * machine.c's own machine; 256 MiB of each board's memory is this machine's, whose Secure Processor has its BAR in reach. */
#include "machine.h"

#include <stdlib.h>

#include "hv/lib/text.h"
#include "psp/psp.h"
#include "../boards/boards.h"

#define SMEE SYSCFG_MEM_ENCRYPTION_MOD_EN
#define BY_PORTS \
    "not by the MCFG, or not mapped by UEFI: BARs of virtual functions (SR-IOV) are not checked there. Update the BIOS"

static void set_cpuid(const struct board *board)
{
    for (uint32_t i = 0; i < board->leaf_count; i++) {
        const struct board_leaf *l = &board->leaves[i];
        if (l->subleaf == 0)
            machine_set_leaf(l->leaf, (struct cpuid){l->eax, l->ebx, l->ecx, l->edx});
    }
}

static void add_part(const struct board_range *r, uint64_t first, uint64_t end)
{
    uint64_t from = r->base > first ? r->base : first, to = r->base + r->pages * 4096;
    to = to < end ? to : end;
    if (from < to)
        machine_descriptor(r->type, from, (to - from) / 4096, r->attribute);
}

static void set_map(const struct board *board)
{
    if (board->map_count == 0)
        return;
    machine.map_count = 0;
    for (uint32_t i = 0; i < board->map_count; i++) {
        add_part(&board->map[i], 0, RAM_BASE);
        add_part(&board->map[i], RAM_BASE + RAM_SIZE, PSP_BAR);
        add_part(&board->map[i], PSP_BAR + PSP_BAR_SIZE, UINT64_MAX);
    }
    machine_descriptor(EfiConventionalMemory, RAM_BASE, RAM_SIZE / 4096, EFI_MEMORY_WB);
}

static void set_madt(const struct board *board)
{
    if (board->cpus == 0)
        return;
    acpi_build(2, true, true);
    uint8_t *madt = acpi_add("APIC", 44 + 16 * board->cpus);
    for (uint32_t i = 0; i < board->cpus; i++) {
        uint32_t id = board->apic_ids[i];
        const uint32_t wide[4] = {9 | 16 << 8, id, 1, i},
                       narrow[4] = {0 | 8 << 8 | (i & 0xff) << 16 | id << 24, 1, 3 | 8 << 8, 0};
        memcpy(madt + 44 + 16 * i, id < 255 ? narrow : wide, 16);
    }
    acpi_seal(madt);
}

static void add_function(uint16_t bdf, uint16_t device)
{
    for (unsigned i = 0; i < sizeof(machine.pci) / sizeof(*machine.pci) && machine.pci[i].config[0] != 0; i++)
        if (machine.pci[i].bdf == bdf)
            return;
    machine_pci(bdf, (uint32_t)device << 16 | 0x1022, bdf % 8 == 0 ? 0x80 : 0, 0);
}

static const struct board_function *set_pci(const struct board *board)
{
    const struct board_function *sev = NULL;
    for (uint32_t i = board->function_count; i-- > 0;)
        sev = board->functions[i].sev ? &board->functions[i] : sev;
    if (sev == NULL)
        return NULL;
    memset(&machine.pci[1], 0, sizeof(machine.pci[1]));
    memset(&machine.pci[2], 0, sizeof(machine.pci[2]));
    machine.pci[0].bdf = sev->bdf;
    machine.pci[0].config[0] = (uint32_t)sev->device << 16 | 0x1022;
    for (uint32_t i = 0; i < board->function_count; i++) {
        const struct board_function *f = &board->functions[i];
        add_function(f->bdf, f->device);
        add_function(f->bdf & 0xfff8, 0x1480);
    }
    /* Naples has its mailbox elsewhere (Linux drivers/crypto/ccp/sp-pci.c: pspv1). */
    memset((void *)(uintptr_t)(PSP_BAR + 0x10000), 0, 0x1000);
    *(uint32_t *)(uintptr_t)(PSP_BAR + (sev->device == 0x1456 ? 0x105fc : 0x109fc)) = 1;
    return sev;
}

/* What it answers to PLATFORM_STATUS. Without a version of its own it has machine.c's. */
static uint16_t set_sev_firmware(const struct board *board)
{
    if (board->api.known) {
        machine.psp.answer[0] = board->api.major;
        machine.psp.answer[1] = board->api.minor;
        machine.psp.answer[7] = board->api.build;
    }
    for (uint32_t i = 0; i < board->status_count; i++)
        if (board->statuses[i].command == SEV_CMD_PLATFORM_STATUS)
            machine.psp.status = board->statuses[i].status;
    return machine.psp.status;
}

/* After the MADT's. Behind the last bus that the MCFG has is a function that only ports reach. */
static void set_mcfg(const struct board *board)
{
    const struct board_mcfg *m = &board->mcfg;
    if (board->cpus == 0)
        acpi_build(2, true, true);
    machine.ecam_0 = m->there ? m->base : ECAM_0;
    machine_mcfg(machine.ecam_0, m->segment, m->first, m->there ? m->last : 255);
    if (machine.ecam_0 >> 32 != 0)
        machine_maps(machine.ecam_0 + m->first * MIB, (m->last + 1u - m->first) * MIB);
    if (m->there && m->last < 255)
        machine_pci((uint16_t)((m->last + 1) << 8), 0x14801022, 0, 0);
}

/* After the MADT's, which makes the tables anew. */
static void set_serial(const struct board *board)
{
    for (uint32_t i = 0; i < 4; i++) {
        machine.uarts[i].port = i < board->port_count ? board->ports[i] : 0;
        machine.uarts[i].scratch = 0x33;
    }
    const struct board_spcr *s = &board->spcr;
    if (!s->there)
        return;
    uint8_t *table = acpi_add("SPCR", 88);
    table[8] = s->revision;
    table[36] = s->type;
    table[40] = s->io;
    table[41] = s->bits;
    table[43] = (uint8_t)(s->bits == 32 ? 3 : s->bits == 16 ? 2 : 1);
    memcpy(table + 44, &s->address, 8);
    table[58] = s->baud == 115200 ? 7 : s->baud == 57600 ? 6 : s->baud == 19200 ? 4 : s->baud == 9600 ? 3 : 0;
    acpi_seal(table);
}

static void assert_row(const char *feature, const char *found)
{
    assert_string_equal(machine_row(feature)->found, found);
    assert_in_range(machine_row(feature)->verdict, PREFLIGHT_FINE, PREFLIGHT_NOTE);
}

static bool apart(uint64_t base, uint64_t size, uint64_t first, uint64_t last)
{
    return base + size <= (first & ~(SIZE_2M - 1)) || base > last;
}

static void assert_memory(const struct board *board)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < handoff.range_count; i++) {
        const struct handoff_range *r = &handoff.ranges[i];
        assert_true(r->pages > 0 && r->base >= end);
        end = r->base + r->pages * 4096;
        assert_true(end <= UINT64_C(1) << handoff.phys_bits);
        if (r->kind == HANDOFF_USABLE)
            assert_true(end <= UINT64_C(0xfd00000000) || r->base > UINT64_C(0xffffffffff));
        for (uint32_t k = 0; k < board->rmp_count && r->kind == HANDOFF_USABLE; k++)
            if (board->rmp[k].last < RAM_BASE || board->rmp[k].first >= RAM_BASE + RAM_SIZE)
                assert_true(end <= board->rmp[k].first || r->base > board->rmp[k].last);
    }
    assert_true(apart(handoff.arena_base, handoff.arena_size, UINT64_C(0xfd00000000), UINT64_C(0xffffffffff)));
    /* A vCPU of each of the three guests, not a share of the board's memory. */
    assert_in_range(handoff.arena_size, 16 * MIB, 64 * MIB + handoff.cpu_count * UINT64_C(96) * 1024);
    bool told = false;
    for (uint32_t i = 0; i < boot.row_count; i++)
        told |= strcmp(boot.rows[i].feature, "memory left out") == 0;
    assert_int_equal(told, boot.memory_withheld > 0);
}

static void assert_processors(const struct board *board)
{
    char found[28];
    bool listed = board->cpus == 0;
    for (uint32_t i = 0; i < board->cpus; i++)
        listed |= board->apic_ids[i] == handoff.apic_ids[0];
    uint32_t count = (board->cpus == 0 ? 1 : board->cpus) + !listed;
    text_format(found, sizeof(found), "%u", count);
    assert_row("processors", found);
    assert_int_equal(handoff.cpu_count + handoff.cpus_left_out, count);
    assert_int_equal(machine_row("processors")->remedy[0] != '\0', handoff.cpus_left_out > 0);
}

static bool has_row(const char *feature)
{
    for (uint32_t i = 0; i < boot.row_count; i++)
        if (strcmp(boot.rows[i].feature, feature) == 0)
            return true;
    return false;
}

/* Where the Secure Processor is asked at all: what it answered, with a remedy; and of which version it is known that it fails
 * (AMDESE/AMDSEV issues 32 and 36, sev-tool issue 6), gives its key away (CVE-2019-9836), or has guests' memory corrupted (AMD-SB-3003:
 * mended in 0.24 build 20 on Rome, 1.55 build 21 on Milan, 1.55 build 37 on Genoa). */
static void assert_sev_firmware(uint16_t status, uint16_t device)
{
    char found[28];
    const uint8_t *answer = machine.psp.answer;
    const struct preflight_row *row = machine_row("SEV firmware");
    if (status != 0) {
        assert_int_equal(row->verdict, PREFLIGHT_NO_SEV);
        assert_string_equal(row->found, "not usable");
        assert_ptr_equal(strstr(row->remedy, "PLATFORM_STATUS: "), row->remedy);
        assert_non_null(strstr(row->remedy, sev_status_remedy(SEV_CMD_PLATFORM_STATUS, status)));
        text_format(found, sizeof(found), "(0x%04x)", status);
        assert_non_null(strstr(row->remedy, found));
        assert_non_null(strstr(machine.console, "psp: registers: command 0x8"));
        assert_false(has_row("SEV firmware's age"));
        return;
    }
    text_format(found, sizeof(found), "API %u.%u.%u, UNINIT", answer[0], answer[1], answer[7]);
    assert_row("SEV firmware", found);
    assert_string_equal(row->remedy, "");
    unsigned version = answer[0] * 10000u + answer[1] * 256u + answer[7];
    bool old = version <= 17 * 256 + 11 || (device == 0x1486 && version < 24 * 256 + 20) ||
               (device == 0x1486 && version >= 25 * 256 && version < 10000 + 55 * 256 + 21) ||
               (device == 0x14ca && version < 10000 + 55 * 256 + 37);
    assert_int_equal(has_row("SEV firmware's age"), old);
    if (old)
        assert_row("SEV firmware's age", "old");
}

static void assert_console(const struct board *board)
{
    static const uint16_t legacy[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    const struct board_spcr *s = &board->spcr;
    const struct preflight_row *row = machine_row("console");
    bool reached = s->address != 0 && s->address >> 32 == 0; /* that much the UEFI firmware maps here */
    bool usable = s->there && (s->type == 0 || s->type == 1 || s->type == 0x12) && reached;
    char found[44] = "none";
    assert_int_equal(row->verdict, row->remedy[0] == '\0' ? PREFLIGHT_FINE : PREFLIGHT_NOTE);
    if (usable) {
        text_format(found, sizeof(found), s->io ? "port 0x%lx (SPCR), %u" : "memory 0x%lx (SPCR), rate by UEFI",
                    s->address, s->baud);
        assert_string_equal(row->remedy, "");
        assert_int_equal(handoff.uart.base, s->address);
        assert_int_equal(handoff.uart.in_memory, !s->io);
        assert_int_equal(handoff.uart.stride, s->io ? 1 : s->bits / 8);
        assert_int_equal(handoff.uart.divisor,
                         s->io ? 115200 / s->baud : 26); /* in memory: as the UEFI firmware set it */
    } else {
        for (uint32_t i = 4; i-- > 0;)
            for (uint32_t k = 0; k < board->port_count; k++)
                if (board->ports[k] == legacy[i])
                    text_format(found, sizeof(found), "port 0x%x (probed), 115200 (default)", legacy[i]);
        assert_int_equal(strncmp(row->remedy, "SPCR: ", 6) == 0, s->there);
    }
    assert_string_equal(row->found, found);
}

/* It says so where it has not seen the registers of all functions. */
static void assert_pci(const struct board *board)
{
    bool all = !board->mcfg.there || board->mcfg.last == 255;
    char remedy[200];
    assert_row("PCI addresses", all ? "all" : "all that can be read");
    assert_int_equal(has_row("PCI segments"), !all);
    if (all)
        return;
    text_format(remedy, sizeof(remedy), "from %02x:00.0 on: " BY_PORTS, board->mcfg.last + 1);
    assert_row("PCI segments", "some by ports only");
    assert_string_equal(machine_row("PCI segments")->remedy, remedy);
}

static void a_board_is_judged_and_handed_over(void **state)
{
    const struct board *board = *state;
    char found[28];
    print_message("%s\n", board->name);
    machine_reset(NULL);
    set_cpuid(board);
    set_map(board);
    set_madt(board);
    set_mcfg(board);
    set_serial(board);
    machine_maps(0, UINT64_C(1) << 32);
    const struct board_function *sev = set_pci(board);
    const uint16_t status = set_sev_firmware(board);
    /* Read under Linux, which had switched SNP on (bits 24 and 25), as no firmware does. */
    machine.syscfg = board->syscfg != 0 ? board->syscfg & ~(UINT64_C(3) << 24) : SMEE;
    machine.syscfg_stuck = board->smee_fixed ? SMEE : 0;

    /* The guest is packed for it. */
    struct cpuid e = machine_leaf(0x8000001f)->regs;
    uint32_t c_bit = e.ebx & 0x3f, reduction = e.ebx >> 6 & 0x3f, width = machine_leaf(0x80000008)->regs.eax & 0xff;
    machine_manifest()->guests[0].cbitpos = (uint8_t)c_bit;
    machine_manifest()->guests[0].reduced_phys_bits = (uint8_t)(reduction > 0 ? reduction : 1);
    machine_manifest()->guests[0].sev_policy = 1 | 1 << 16 | 1 << 24;
    good_seal(machine_manifest());
    uint8_t *uart = (uint8_t *)(uintptr_t)(UART_BASE + board->spcr.address % 4096);
    if (board->spcr.there && !board->spcr.io && board->spcr.address % 4096 + 3 * board->spcr.bits / 8 < 4096) {
        uart[0] = 26; /* its divisor, and 8n1 */
        uart[3 * board->spcr.bits / 8] = 0x03;
    }
    assert_int_equal(machine_boot(), ENTERED);

    assert_row("processor", "AuthenticAMD");
    assert_row("SVM", "yes");
    assert_row("nested paging", "yes");
    assert_console(board);
    assert_pci(board);
    bool capable = (e.eax & 3) == 3;
    if (!capable) {
        assert_int_equal(machine_row("SME and SEV")->verdict, PREFLIGHT_NO_SEV);
        assert_int_equal(handoff.sev_usable, 0);
        assert_processors(board);
        assert_memory(board);
        return;
    }
    assert_row("SME and SEV", "both");
    text_format(found, sizeof(found), "%u and %u", c_bit, reduction);
    assert_row("C-bit, reduction", found);
    assert_string_equal(machine_row("C-bit, reduction")->remedy, "");
    uint32_t first = e.edx > 0 ? e.edx : 1, asids = e.ecx >= first ? e.ecx - first + 1 : 0;
    text_format(found, sizeof(found), "%u (%u to %u)", asids, first, e.ecx);
    assert_string_equal(machine_row("ASIDs for SEV")->found, found);
    assert_int_equal(machine_row("ASIDs for SEV")->verdict, asids > 0 ? PREFLIGHT_FINE : PREFLIGHT_NO_SEV);
    if (board->c_bit != BOARD_UNKNOWN)
        assert_int_equal(c_bit, board->c_bit);
    if (board->reduction != BOARD_UNKNOWN)
        assert_int_equal(reduction, board->reduction);
    if (board->asids != BOARD_UNKNOWN && board->leaf_count > 0)
        assert_int_equal(handoff.max_sev_asid, board->asids);
    if (board->sev_guests != BOARD_UNKNOWN && board->asids != BOARD_UNKNOWN)
        assert_int_equal(asids, board->sev_guests);
    if (sev != NULL) {
        text_format(found, sizeof(found), "1022:%04x at %02x:%02x.%x", sev->device, sev->bdf >> 8u, sev->bdf >> 3 & 31u,
                    sev->bdf & 7u);
        assert_row("Secure Processor", found);
    }
    assert_sev_firmware(status, sev != NULL ? sev->device : 0x1486);
    assert_processors(board);
    assert_memory(board);

    bool on = !board->smee_fixed || (machine.syscfg & SMEE) != 0;
    assert_int_equal(machine_row("memory encryption")->verdict, (machine.syscfg_before & SMEE) != 0 ? PREFLIGHT_FINE
                                                                : on                                ? PREFLIGHT_NOTE
                                                                                                    : PREFLIGHT_NO_SEV);
    bool usable = on && asids > 0 && status == 0;
    assert_int_equal(handoff.sev_usable, usable);
    assert_int_equal(handoff.c_bit_mask, on ? UINT64_C(1) << c_bit : 0);
    assert_int_equal(handoff.phys_bits, width - (on ? reduction : 0));
    if (board->width != BOARD_UNKNOWN && on)
        assert_int_equal(handoff.phys_bits, board->width);
    /* The policy wants 1.1 at least. */
    bool new_enough = machine.psp.answer[0] > 1 || (machine.psp.answer[0] == 1 && machine.psp.answer[1] >= 1);
    assert_int_equal(has_row("SEV API of policies"), status == 0 && !new_enough);
    assert_string_equal(machine_row("guests")->found, usable && new_enough ? "3 of 3 can run"
                                                      : on                 ? "2 of 3 can run"
                                                                           : "1 of 3 can run");
}

int main(void)
{
    struct CMUnitTest *tests = calloc(board_count, sizeof(*tests));
    for (uint32_t i = 0; i < board_count; i++)
        tests[i] = (struct CMUnitTest){
            .name = boards[i].name,
            .test_func = a_board_is_judged_and_handed_over,
            .initial_state = (void *)(uintptr_t)&boards[i],
        };
    int failed = run_each_alone(tests, board_count);
    free(tests);
    return failed;
}
