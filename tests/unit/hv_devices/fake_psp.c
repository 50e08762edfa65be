/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The fake machine's secure processor: the firmware model behind a mailbox, and what psp/ and the model ask for. */
#include "fake_machine.h"
#include "fake_memory.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "hv/cpu/cpu.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"
#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "psp/internal.h"
#include "../psp/fake_pci.h"

#define BAR UINT64_C(0x20f0200000)

/* ---- what the firmware asks of the machine ---- */

static bool copy(uint64_t physical, int key, void *to, const void *from, size_t len)
{
    if (physical < MACHINE_RAM || len > MACHINE_RAM_SIZE || physical - MACHINE_RAM > MACHINE_RAM_SIZE - len)
        return false;
    bool pool = physical < MACHINE_RAM + (1 + MACHINE_POOL_PAGES) * PAGE_SIZE;
    if (pool && key != key_of(VIEW_ENCRYPTED))
        machine.wrong_views++;
    for (uint64_t at = physical & ~(PAGE_SIZE - 1); !pool && at < physical + len; at += PAGE_SIZE)
        look_through(page_of(at), key, false);
    if (to)
        memcpy(to, ram + (physical - MACHINE_RAM), len);
    else
        memcpy(ram + (physical - MACHINE_RAM), from, len);
    return true;
}

static int host_key(uint64_t spa)
{
    return (spa & MACHINE_C_BIT) != 0 ? HOST_KEY : PLAIN;
}

static bool ops_read(void *o, uint64_t spa, void *buf, size_t len)
{
    (void)o;
    return copy(spa & ~MACHINE_C_BIT, host_key(spa), buf, NULL, len);
}
static bool ops_write(void *o, uint64_t spa, const void *buf, size_t len)
{
    (void)o;
    return copy(spa & ~MACHINE_C_BIT, host_key(spa), NULL, buf, len);
}
static bool ops_read_guest(void *o, uint32_t asid, uint64_t spa, void *buf, size_t len)
{
    (void)o;
    return copy(spa & ~MACHINE_C_BIT, (int)asid, buf, NULL, len);
}
static bool ops_write_guest(void *o, uint32_t asid, uint64_t spa, const void *buf, size_t len)
{
    (void)o;
    return copy(spa & ~MACHINE_C_BIT, (int)asid, NULL, buf, len);
}
static void ops_install_key(void *o, uint32_t asid, const uint8_t vek[SEVFW_VEK_SIZE])
{
    (void)o;
    memcpy(keys[asid], vek, SEVFW_VEK_SIZE);
}
static void ops_remove_key(void *o, uint32_t asid)
{
    (void)o, (void)asid;
}     /* the pages stay scrambled */
static bool ops_enabled(void *o)
{
    (void)o;
    return true;
}
static bool ops_nv_load(void *o, uint8_t nv[SEVFW_NV_SIZE])
{
    (void)o, (void)nv;
    return false;
}
static void ops_nv_store(void *o, const uint8_t nv[SEVFW_NV_SIZE])
{
    (void)o, (void)nv;
}
static void ops_random(void *o, void *buf, size_t len)
{
    static uint64_t r = 3;
    (void)o;
    for (size_t i = 0; i < len; i++) {
        r = r * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)buf)[i] = (uint8_t)(r >> 40);
    }
}

static const struct sevfw_ops ops = {
    .read = ops_read,
    .write = ops_write,
    .read_guest = ops_read_guest,
    .write_guest = ops_write_guest,
    .install_key = ops_install_key,
    .remove_key = ops_remove_key,
    .memory_encryption_enabled = ops_enabled,
    .nv_load = ops_nv_load,
    .nv_store = ops_nv_store,
    .random = ops_random,
};

static uint32_t registers_read(void *o, uint32_t offset)
{
    machine_not_in_poll();
    (void)o;
    mailbox_run(machine.mailbox, machine.now_ns);
    return mailbox_read(machine.mailbox, offset);
}

static void registers_write(void *o, uint32_t offset, uint32_t value)
{
    machine_not_in_poll();
    (void)o;
    mailbox_write(machine.mailbox, offset, value, machine.now_ns);
}

static void on_event(void *o, const struct mailbox_event *event)
{
    (void)o;
    machine.rejected += event->status != 0;
    if (event->true_status == 0 && (event->fault == NULL || strcmp(event->fault, "hang") != 0))
        machine.contexts += (event->command == SEV_CMD_LAUNCH_START) - (event->command == SEV_CMD_DECOMMISSION);
    size_t used = strlen(machine.commands);
    const char *name = sevfw_command_name(event->command);
    snprintf(machine.commands + used, sizeof(machine.commands) - used, "%s ", name ? name : "?");
}

/* ---- psp/platform.h ---- */

uint64_t psp_platform_now_us(void)
{
    return machine.now_ns / 1000;
}

void machine_wait(void)
{
    uint64_t limit = machine.now_ns + UINT64_C(1000000000);
    uint64_t next = machine.mailbox != NULL ? mailbox_run(machine.mailbox, machine.now_ns) : 0;
    machine.now_ns += 1000;
    if (next > machine.now_ns)
        machine.now_ns = next < limit ? next : limit;
    if (machine.mailbox != NULL)
        mailbox_run(machine.mailbox, machine.now_ns);
}

static void *kept_page(paddr_t *page, psp_addr_t *address)
{
    if (page->raw == 0)
        assert(page_alloc(1, page));
    address->raw = view_firmware_address(*page, VIEW_ENCRYPTED);
    return page_va(*page);
}

static paddr_t command_page, data_page;
void *psp_platform_command_page(psp_addr_t *address)
{
    return kept_page(&command_page, address);
}
void *psp_platform_data_page(psp_addr_t *address)
{
    return kept_page(&data_page, address);
}
void psp_platform_log(const char *line)
{
    log_print(LOG_ERROR, "psp: %s", line);
}

void fake_psp_forget(void)
{
    command_page = data_page = paddr(0);
}

struct psp_location fake_psp_start(void)
{
    const struct psp_generation *generation = psp_generation_of(0x1486);
    struct sevfw_config firmware = {
        .api_major = 1,
        .api_minor = 55,
        .build = 21,
        .cpus = 1,
        .max_sev_asid = 15,
        .min_sev_asid = 5,
        .max_guests = 8,
        .c_bit = MACHINE_C_BIT_POSITION,
        .phys_bits = 43,
    };
    struct mailbox_config mailbox = {
        .c2pmsg_base = generation->c2pmsg,
        .int_enable = generation->int_enable,
        .int_status = generation->int_status,
        .latency_ns = 50000,
        .trace = on_event,
    };
    machine.fw = sevfw_new(&firmware, &ops, NULL);
    machine.mailbox = mailbox_new(&mailbox, machine.fw);
    assert(machine.fw && machine.mailbox);
    struct fake_function *f = fake_pci_add(FAKE_BDF(0x42, 0, 1), PSP_VENDOR_AMD, 0x1486, BAR, 0x100000);
    f->read = registers_read;
    f->write = registers_write;
    return (struct psp_location){.function.sbdf = f->sbdf, .device_id = 0x1486, .bar = BAR, .bar_size = 0x100000};
}
