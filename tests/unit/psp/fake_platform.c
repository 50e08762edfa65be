/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "fake_platform.h"

#include <assert.h>
#include <string.h>

#define NS_PER_US 1000u

struct fake_platform fake;

static uint8_t ram[FAKE_RAM_SIZE];
static uint8_t keys[64][SEVFW_VEK_SIZE];
static uint64_t seed;

uint8_t *fake_ram(uint64_t address)
{
    assert(address >= FAKE_RAM_BASE && address < FAKE_RAM_BASE + FAKE_RAM_SIZE);
    return &ram[address - FAKE_RAM_BASE];
}

psp_addr_t fake_guest_page(unsigned page)
{
    return (psp_addr_t){FAKE_GUEST_PAGES + page * 4096u};
}

/* --- what the firmware model asks of the machine --- */

static bool in_ram(uint64_t address, size_t len)
{
    return address >= FAKE_RAM_BASE && len <= FAKE_RAM_SIZE && address - FAKE_RAM_BASE <= FAKE_RAM_SIZE - len;
}

/* The driver's pages are readable in one view only, which the C-bit of the address must name. */
static void check_view(uint64_t spa)
{
    uint64_t address = spa & ~FAKE_C_BIT;
    bool drivers = address >= FAKE_COMMAND_PAGE && address < FAKE_DATA_PAGE + PSP_PAGE_SIZE;

    if (drivers && !!(spa & FAKE_C_BIT) != fake.options.sme)
        fake.violations++;
}

static bool ops_read(void *opaque, uint64_t spa, void *buf, size_t len)
{
    (void)opaque;
    check_view(spa);
    if (!in_ram(spa & ~FAKE_C_BIT, len))
        return false;
    memcpy(buf, fake_ram(spa & ~FAKE_C_BIT), len);
    return true;
}

static bool ops_write(void *opaque, uint64_t spa, const void *buf, size_t len)
{
    (void)opaque;
    check_view(spa);
    if (!in_ram(spa & ~FAKE_C_BIT, len))
        return false;
    memcpy(fake_ram(spa & ~FAKE_C_BIT), buf, len);
    return true;
}

static bool ops_read_guest(void *opaque, uint32_t asid, uint64_t spa, void *buf, size_t len)
{
    if (!ops_read(opaque, spa, buf, len))
        return false;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] ^= keys[asid][i % SEVFW_VEK_SIZE];
    return true;
}

static bool ops_write_guest(void *opaque, uint32_t asid, uint64_t spa, const void *buf, size_t len)
{
    if (!ops_write(opaque, spa, buf, len))
        return false;
    for (size_t i = 0; i < len; i++)
        fake_ram(spa & ~FAKE_C_BIT)[i] ^= keys[asid][i % SEVFW_VEK_SIZE];
    return true;
}

static void ops_install_key(void *opaque, uint32_t asid, const uint8_t vek[SEVFW_VEK_SIZE])
{
    (void)opaque;
    memcpy(keys[asid], vek, SEVFW_VEK_SIZE);
}

static void ops_remove_key(void *opaque, uint32_t asid)
{
    (void)opaque;
    memset(keys[asid], 0, SEVFW_VEK_SIZE);
}

static bool ops_memory_encryption_enabled(void *opaque)
{
    (void)opaque;
    return !fake.options.no_syscfg;
}

static bool ops_nv_load(void *opaque, uint8_t nv[SEVFW_NV_SIZE])
{
    (void)opaque;
    (void)nv;
    return false;
}

static void ops_nv_store(void *opaque, const uint8_t nv[SEVFW_NV_SIZE])
{
    (void)opaque;
    (void)nv;
}

/* Repeatable: xorshift. */
static void ops_random(void *opaque, void *buf, size_t len)
{
    (void)opaque;
    for (size_t i = 0; i < len; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        ((uint8_t *)buf)[i] = (uint8_t)(seed >> 32);
    }
}

static const struct sevfw_ops ops = {
    .read = ops_read,
    .write = ops_write,
    .read_guest = ops_read_guest,
    .write_guest = ops_write_guest,
    .install_key = ops_install_key,
    .remove_key = ops_remove_key,
    .memory_encryption_enabled = ops_memory_encryption_enabled,
    .nv_load = ops_nv_load,
    .nv_store = ops_nv_store,
    .random = ops_random,
};

/* --- the mailbox as a PCI function --- */

static uint32_t base(void)
{
    return psp_generation_of(fake.location.device_id)->c2pmsg;
}

static uint32_t lie_about(uint32_t value)
{
    switch (fake.lie) {
    case FAKE_TRUTH:
        break;
    case FAKE_ALL_ONES:
        return UINT32_MAX;
    case FAKE_STATUS_WITHOUT_RESP:
        return (value & ~PSP_CMDRESP_RESP) | SEV_STATUS_INVALID_GUEST;
    case FAKE_RECOVERY_BIT:
        return value & PSP_CMDRESP_RESP ? value | 0x40330000u : value;
    }
    return value;
}

static uint32_t registers_read(void *opaque, uint32_t offset)
{
    (void)opaque;
    mailbox_run(fake.mailbox, fake.now_ns);
    uint32_t value = mailbox_read(fake.mailbox, offset);

    if (offset == base() + PSP_C2PMSG_CMDRESP && fake.left_over != 0 && fake.submissions == 0)
        return fake.left_over;
    if (offset != base() + PSP_C2PMSG_CMDRESP || !fake.running)
        return value;
    if (fake.left_over_answer != 0) {
        fake.running = false;
        return fake.left_over_answer;
    }
    value = lie_about(value);
    if (value & PSP_CMDRESP_RESP) {
        fake.running = false;
        if (fake.tamper && fake.tamper_command == fake.command) {
            fake.tamper(fake_ram(FAKE_COMMAND_PAGE), fake_ram(FAKE_DATA_PAGE));
            fake.tamper = NULL;
        }
    }
    return value;
}

static void registers_write(void *opaque, uint32_t offset, uint32_t value)
{
    (void)opaque;
    if (offset == base() + PSP_C2PMSG_CMDRESP) {
        if (fake.running || (value & ~PSP_CMDRESP_CMD))
            fake.violations++;
        fake.running = true;
        fake.command = (uint8_t)(value >> PSP_CMDRESP_CMD_SHIFT);
        if (fake.submissions < FAKE_LOG) {
            struct fake_submission *s = &fake.log[fake.submissions];

            s->command = fake.command;
            s->address = (uint64_t)mailbox_read(fake.mailbox, base() + PSP_C2PMSG_ADDR_HI) << 32 |
                         mailbox_read(fake.mailbox, base() + PSP_C2PMSG_ADDR_LO);
            memcpy(s->page, fake_ram(FAKE_COMMAND_PAGE), PSP_PAGE_SIZE);
            memcpy(s->data, fake_ram(FAKE_DATA_PAGE), PSP_PAGE_SIZE);
        }
        fake.submissions++;
    }
    mailbox_write(fake.mailbox, offset, value, fake.now_ns);
}

static void ignore_event(void *opaque, const struct mailbox_event *event)
{
    (void)opaque;
    (void)event;
}

void fake_start(const struct fake_options *options)
{
    memset(&fake, 0, sizeof(fake));
    memset(ram, 0, sizeof(ram));
    memset(keys, 0, sizeof(keys));
    seed = UINT64_C(0x9e3779b97f4a7c15);
    fake_pci_reset();

    fake.options = *options;
    if (fake.options.device_id == 0)
        fake.options.device_id = 0x1486;
    fake.location = (struct psp_location){
        .function = fake_pci_function((uint32_t)options->segment << 16 | FAKE_BDF(0x42, 0, 1)),
        .device_id = fake.options.device_id,
        .bar = FAKE_BAR,
        .bar_size = 0x100000,
    };
    fake.now_ns = UINT64_C(1000000000);

    const struct psp_generation *generation = psp_generation_of(fake.options.device_id);
    bool default_api = options->api_major == 0 && options->api_minor == 0;
    struct sevfw_config firmware = {
        .api_major = default_api ? 1 : options->api_major,
        .api_minor = default_api ? 55 : options->api_minor,
        .build = 21,
        .cpus = FAKE_CPUS,
        .max_sev_asid = 15,
        .min_sev_asid = 5,
        .max_guests = options->max_guests ? options->max_guests : 8,
        .c_bit = 51,
        .phys_bits = 43,
    };
    for (unsigned i = 0; i < sizeof(firmware.chip_id); i++)
        firmware.chip_id[i] = (uint8_t)(i + 1);
    fake.fw = sevfw_new(&firmware, &ops, NULL);
    assert(fake.fw);

    struct mailbox_config mailbox = {
        .c2pmsg_base = generation->c2pmsg,
        .int_enable = generation->int_enable,
        .int_status = generation->int_status,
        .latency_ns = options->latency_us * NS_PER_US,
        .never_ready = options->never_ready,
        .no_sev = options->no_sev,
        .trace = ignore_event,
    };
    fake.mailbox = mailbox_new(&mailbox, fake.fw);
    assert(fake.mailbox);

    struct fake_function *f =
        fake_pci_add(fake.location.function.sbdf, PSP_VENDOR_AMD, fake.options.device_id, FAKE_BAR, 0x100000);
    f->read = registers_read;
    f->write = registers_write;
}

void fake_stop(void)
{
    mailbox_free(fake.mailbox);
    sevfw_free(fake.fw);
}

void fake_fault(enum mailbox_fault_kind kind, uint8_t command, uint32_t count, uint16_t status, uint64_t delay_us)
{
    struct mailbox_fault fault = {
        .kind = kind,
        .command = command,
        .count = count,
        .status = status,
        .delay_ns = delay_us * NS_PER_US,
    };

    mailbox_set_fault(fake.mailbox, &fault);
}

void fake_no_fault(void)
{
    fake_fault(MAILBOX_FAULT_NONE, 0, 0, 0, 0);
}

/* --- psp/platform.h, but for PCI and registers --- */

uint64_t psp_platform_now_us(void)
{
    return fake.now_ns / NS_PER_US;
}

/* Time moves on to the next event, by a second at most and by a microsecond at least. */
static void pass_time(void)
{
    fake.now_ns += fake.stall_us * NS_PER_US;
    fake.stall_us = 0;
    uint64_t limit = fake.now_ns + UINT64_C(1000000000);
    uint64_t next = mailbox_run(fake.mailbox, fake.now_ns);

    fake.now_ns += NS_PER_US;
    if (next > fake.now_ns)
        fake.now_ns = next < limit ? next : limit;
    mailbox_run(fake.mailbox, fake.now_ns);
}

struct psp_result psp_wait(struct psp *psp, struct psp_result result)
{
    if (!psp_ok(result))
        return result;
    while (!psp_poll(psp, &result))
        pass_time();
    return result;
}

static void *page(uint64_t physical, psp_addr_t *address)
{
    address->raw = physical | (fake.options.sme ? FAKE_C_BIT : 0);
    return fake_ram(physical);
}

void *psp_platform_command_page(psp_addr_t *address)
{
    return page(FAKE_COMMAND_PAGE, address);
}

void *psp_platform_data_page(psp_addr_t *address)
{
    if (fake.running)
        fake.violations++;      /* the firmware may be at it */
    return page(FAKE_DATA_PAGE, address);
}

void fake_wbinvd_all(void)
{
    fake.wbinvds++;
    for (uint32_t cpu = 0; cpu < FAKE_CPUS; cpu++)
        sevfw_wbinvd(fake.fw, cpu);
}

void psp_platform_log(const char *line)
{
    fake.lines++;
    memcpy(fake.line_before, fake.last_line, sizeof(fake.line_before));
    strncpy(fake.last_line, line, sizeof(fake.last_line) - 1);
}
