/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The AMD Secure Processor's PCI function: registers, time, interrupts and
 * memory for the firmware library in ../firmware. See ../README.md.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "cpu.h"
#include "hw/boards.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-properties.h"
#include "system/system.h"
#include "memcrypt.h"
#include "sev_psp.h"
#include "sevcpu.h"
#include "firmware/mailbox.h"

#define TYPE_SEV_PSP "sev-psp"
OBJECT_DECLARE_SIMPLE_TYPE(SevPsp, SEV_PSP)

#define PCI_CLASS_ENCRYPTION_OTHER 0x1080
#define BAR_SIZE (1 * MiB)

struct SevPsp {
    PCIDevice parent_obj;

    /* Properties. */
    char *part, *trace_name, *nv_name, *seed;
    uint32_t latency_us;
    uint8_t api_major, api_minor, build;
    uint32_t max_guests;
    bool never_ready, no_sev, keep_pdh, msix, bar64, coherency_fatal;

    MemoryRegion registers;
    QEMUTimer *timer;
    Notifier machine_done;
    struct sevfw *fw;
    struct mailbox *mb;
    uint8_t c_bit;
    bool irq;
    FILE *trace;
    char *fault;
    uint64_t commands, rejected;
};

static const struct part {
    const char *name;
    uint16_t device_id;
    uint32_t c2pmsg_base, int_enable, int_status;
} parts[] = {
    {"naples", 0x1456, 0x10500, 0x10610, 0x10614}, {"rome", 0x1486, 0x10900, 0x10690, 0x10694},
    {"milan", 0x1486, 0x10900, 0x10690, 0x10694},  {"genoa", 0x14ca, 0x10900, 0x10690, 0x10694},
    {"turin", 0x156e, 0x10900, 0x10510, 0x10514},
};

/* The device whose firmware owns the keys: the one with SEV. */
static SevPsp *master;

/* ------------------------------------------------- the firmware's callbacks */

static memcrypt_view view_of(SevPsp *psp, uint64_t *spa)
{
    bool c = *spa >> psp->c_bit & 1;

    *spa &= ~(1ull << psp->c_bit);
    return c ? memcrypt_host_view() : MEMCRYPT_PLAIN;
}

static bool fw_read(void *opaque, uint64_t spa, void *buf, size_t len)
{
    memcrypt_view view = view_of(opaque, &spa);

    return memcrypt_read(spa, buf, len, view);
}

static bool fw_write(void *opaque, uint64_t spa, const void *buf, size_t len)
{
    memcrypt_view view = view_of(opaque, &spa);

    return memcrypt_write(spa, buf, len, view);
}

static bool fw_read_guest(void *opaque, uint32_t asid, uint64_t spa, void *buf, size_t len)
{
    view_of(opaque, &spa);
    return memcrypt_read(spa, buf, len, memcrypt_guest_view(asid));
}

static bool fw_write_guest(void *opaque, uint32_t asid, uint64_t spa, const void *buf, size_t len)
{
    view_of(opaque, &spa);
    return memcrypt_write(spa, buf, len, memcrypt_guest_view(asid));
}

static bool fw_is_ram(void *opaque, uint64_t spa, uint64_t len)
{
    return memcrypt_is_ram(spa, len);
}

static void fw_install_key(void *opaque, uint32_t asid, const uint8_t vek[SEVFW_VEK_SIZE])
{
    memcrypt_install_key(asid, vek);
}

static void fw_remove_key(void *opaque, uint32_t asid)
{
    memcrypt_remove_key(asid);
}

static bool fw_memory_encryption_enabled(void *opaque)
{
    CPUState *cs;

    CPU_FOREACH(cs)
    {
        if (!X86_CPU(cs)->sev.host_c) {
            return false;
        }
    }
    return true;
}

static bool fw_nv_load(void *opaque, uint8_t nv[SEVFW_NV_SIZE])
{
    SevPsp *psp = opaque;
    g_autofree char *bytes = NULL;
    gsize len;

    if (!psp->nv_name || !g_file_get_contents(psp->nv_name, &bytes, &len, NULL) || len != SEVFW_NV_SIZE) {
        return false;
    }
    memcpy(nv, bytes, SEVFW_NV_SIZE);
    return true;
}

static void fw_nv_store(void *opaque, const uint8_t nv[SEVFW_NV_SIZE])
{
    SevPsp *psp = opaque;
    g_autoptr(GError) error = NULL;

    if (psp->nv_name && !g_file_set_contents(psp->nv_name, (const char *)nv, SEVFW_NV_SIZE, &error)) {
        warn_report("sev-psp: %s", error->message);
    }
}

static void fw_random(void *opaque, void *buf, size_t len)
{
    memcrypt_random(buf, len);
}

static const struct sevfw_ops fw_ops = {
    .read = fw_read,
    .write = fw_write,
    .read_guest = fw_read_guest,
    .write_guest = fw_write_guest,
    .is_ram = fw_is_ram,
    .install_key = fw_install_key,
    .remove_key = fw_remove_key,
    .memory_encryption_enabled = fw_memory_encryption_enabled,
    .nv_load = fw_nv_load,
    .nv_store = fw_nv_store,
    .random = fw_random,
};

/* -------------------------------------------------- the mailbox's callbacks */

static void mb_trace(void *opaque, const struct mailbox_event *event)
{
    SevPsp *psp = opaque;
    const char *command = sevfw_command_name(event->command);
    const char *status = sevfw_status_name(event->status);

    psp->commands++;
    psp->rejected += event->status != 0;
    if (!psp->trace) {
        return;
    }
    fprintf(psp->trace,
            "{\"seq\": %" PRIu64 ", \"time_ns\": %" PRId64
            ", \"command\": \"%s\", \"id\": %u, \"address\": \"0x%" PRIx64
            "\", \"status\": \"%s\", \"code\": %u, \"true_code\": %u",
            event->sequence, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL), command ? command : "?", event->command, event->spa,
            status ? status : "?", event->status, event->true_status);
    if (event->has_handle) {
        fprintf(psp->trace, ", \"handle\": %u", event->handle);
    }
    if (event->fault) {
        fprintf(psp->trace, ", \"fault\": \"%s\"", event->fault);
    }
    fprintf(psp->trace, "}\n");
    fflush(psp->trace);
}

static void mb_raise_irq(void *opaque, bool level)
{
    SevPsp *psp = opaque;
    PCIDevice *pci = PCI_DEVICE(psp);

    if (level && !psp->irq) {
        if (msix_enabled(pci)) {
            msix_notify(pci, 0);
        } else if (msi_enabled(pci)) {
            msi_notify(pci, 0);
        }
    }
    psp->irq = level;
}

/* ---------------------------------------------------------- registers, time */

static void psp_run(void *opaque)
{
    SevPsp *psp = opaque;
    uint64_t next = mailbox_run(psp->mb, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL));

    if (next == UINT64_MAX) {
        timer_del(psp->timer);
    } else {
        timer_mod(psp->timer, next);
    }
}

static uint64_t psp_read(void *opaque, hwaddr offset, unsigned size)
{
    SevPsp *psp = opaque;

    return psp->mb ? mailbox_read(psp->mb, offset) : 0;
}

static void psp_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    SevPsp *psp = opaque;

    if (psp->mb) {
        mailbox_write(psp->mb, offset, value, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL));
        psp_run(psp);
    }
}

static const MemoryRegionOps psp_ops = {
    .read = psp_read,
    .write = psp_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 4, .max_access_size = 4},
    .impl = {.min_access_size = 4, .max_access_size = 4},
};

void sev_psp_wbinvd(int cpu_index)
{
    BQL_LOCK_GUARD();
    if (master) {
        sevfw_wbinvd(master->fw, cpu_index);
    }
}

/* ------------------------------------------------------------------- QOM */

static char *get_fault(Object *obj, Error **errp)
{
    return g_strdup(SEV_PSP(obj)->fault ?: "none");
}

static void set_fault(Object *obj, const char *text, Error **errp)
{
    SevPsp *psp = SEV_PSP(obj);
    struct mailbox_fault fault;

    if (!mailbox_parse_fault(text, &fault)) {
        error_setg(errp, "sev-psp: '%s' is not a fault: see mailbox.h", text);
        return;
    }
    g_free(psp->fault);
    psp->fault = g_strdup(text);
    if (psp->mb) {
        mailbox_set_fault(psp->mb, &fault);
        psp_run(psp);
    }
}

static bool get_fatal(Object *obj, Error **errp)
{
    return SEV_PSP(obj)->coherency_fatal;
}

static void set_fatal(Object *obj, bool value, Error **errp)
{
    SEV_PSP(obj)->coherency_fatal = value;
    memcrypt_set_coherency_fatal(value);
}

static void get_counter(Object *obj, Visitor *v, const char *name, void *opaque, Error **errp)
{
    SevPsp *psp = SEV_PSP(obj);
    uint64_t value = 0;
    CPUState *cs;

    if (!strcmp(name, "commands")) {
        value = psp->commands;
    } else if (!strcmp(name, "rejected")) {
        value = psp->rejected;
    } else if (!strcmp(name, "coherency-faults")) {
        value = memcrypt_coherency_faults();
    } else if (!strcmp(name, "guest-coherency-faults")) {
        value = memcrypt_guest_coherency_faults();
    } else if (!strcmp(name, "conversions")) {
        value = memcrypt_conversions();
    } else if (!strcmp(name, "encrypted-mmio")) {
        value = memcrypt_encrypted_mmio();
    } else if (!strcmp(name, "ibpbs")) {
        CPU_FOREACH(cs)
        {
            value += X86_CPU(cs)->sev.ibpbs;
        }
    } else {
        CPU_FOREACH(cs)
        {
            value += X86_CPU(cs)->sev.clean_bit_poisonings;
        }
    }
    visit_type_uint64(v, name, &value, errp);
}

static void psp_machine_done(Notifier *notifier, void *unused)
{
    if (!X86_CPU(first_cpu)->sev.enabled) {
        error_report("sev-psp: the CPU has no SEV; use -cpu ...,"
                     "sev-machine=on");
        exit(1);
    }
}

static void psp_realize(PCIDevice *pci, Error **errp)
{
    SevPsp *psp = SEV_PSP(pci);
    const struct sev_cpu *sev = &X86_CPU(first_cpu)->sev;
    const struct part *part = NULL;
    struct mailbox_fault fault;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (!strcmp(psp->part ?: "milan", parts[i].name)) {
            part = &parts[i];
        }
    }
    if (!part) {
        error_setg(errp, "sev-psp: unknown part '%s'", psp->part);
        return;
    }
    if (!psp->no_sev && master) {
        error_setg(errp, "sev-psp: only one device has SEV; use no-sev=on "
                         "for a second socket's");
        return;
    }
    pci_set_word(pci->config + PCI_DEVICE_ID, part->device_id);
    if (psp->seed) {
        memcrypt_seed(psp->seed);
    }
    if (psp->trace_name) {
        psp->trace = fopen(psp->trace_name, "w");
        if (!psp->trace) {
            error_setg_errno(errp, errno, "sev-psp: %s", psp->trace_name);
            return;
        }
    }

    struct sevfw_config fw_config = {
        .api_major = psp->api_major,
        .api_minor = psp->api_minor,
        .build = psp->build,
        .part = part - parts,
        .cpus = current_machine->smp.cpus,
        .max_sev_asid = sev->asids,
        .min_sev_asid = sev->min_asid,
        .max_guests = psp->max_guests,
        .keep_pdh = psp->keep_pdh,
        .c_bit = sev->c_bit_position,
        .phys_bits = X86_CPU(first_cpu)->phys_bits - sev->reduced_phys_bits,
    };
    memcpy(fw_config.chip_id, "Sevisor test chip", 17);
    psp->c_bit = sev->c_bit_position;
    psp->fw = sevfw_new(&fw_config, &fw_ops, psp);
    if (!psp->fw) {
        error_setg(errp, "sev-psp: the firmware refuses its configuration");
        return;
    }

    struct mailbox_config mb_config = {
        .c2pmsg_base = part->c2pmsg_base,
        .int_enable = part->int_enable,
        .int_status = part->int_status,
        .latency_ns = psp->latency_us * 1000ull,
        .never_ready = psp->never_ready,
        .no_sev = psp->no_sev,
        .trace = mb_trace,
        .raise_irq = mb_raise_irq,
        .opaque = psp,
    };
    psp->mb = mailbox_new(&mb_config, psp->fw);
    if (!psp->mb) {
        error_setg(errp, "sev-psp: out of memory");
        return;
    }
    if (psp->fault && mailbox_parse_fault(psp->fault, &fault)) {
        mailbox_set_fault(psp->mb, &fault);
    }
    psp->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, psp_run, psp);

    memory_region_init_io(&psp->registers, OBJECT(psp), &psp_ops, psp, "sev-psp", BAR_SIZE);
    pci_register_bar(pci, 2, PCI_BASE_ADDRESS_SPACE_MEMORY | (psp->bar64 ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0),
                     &psp->registers);
    if (msi_init(pci, 0, 1, true, false, errp)) {
        return;
    }
    if (psp->msix) {
        /* As on real parts: entry 0 for the PSP, 1 for the CCP's engines. */
        if (msix_init_exclusive_bar(pci, 2, 5, errp)) {
            return;
        }
        msix_vector_use(pci, 0);
        msix_vector_use(pci, 1);
    }
    psp->machine_done.notify = psp_machine_done;
    qemu_add_machine_init_done_notifier(&psp->machine_done);
    if (!psp->no_sev) {
        master = psp;
    }
}

static void psp_exit(PCIDevice *pci)
{
    SevPsp *psp = SEV_PSP(pci);

    if (psp->msix) {
        msix_uninit_exclusive_bar(pci);
    }
    msi_uninit(pci);
    if (master == psp) {
        master = NULL;
    }
    timer_free(psp->timer);
    mailbox_free(psp->mb);
    sevfw_free(psp->fw);
    if (psp->trace) {
        fclose(psp->trace);
    }
}

static void psp_reset(DeviceState *dev)
{
    SevPsp *psp = SEV_PSP(dev);

    if (psp->mb) {
        sevfw_reset(psp->fw);
        mailbox_reset(psp->mb);
        timer_del(psp->timer);
        psp->irq = false;
    }
}

static const Property psp_properties[] = {
    DEFINE_PROP_STRING("part", SevPsp, part),
    DEFINE_PROP_STRING("trace", SevPsp, trace_name),
    DEFINE_PROP_STRING("nv", SevPsp, nv_name),
    DEFINE_PROP_STRING("seed", SevPsp, seed),
    DEFINE_PROP_UINT32("latency-us", SevPsp, latency_us, 200),
    DEFINE_PROP_UINT8("api-major", SevPsp, api_major, 1),
    DEFINE_PROP_UINT8("api-minor", SevPsp, api_minor, 55),
    DEFINE_PROP_UINT8("build", SevPsp, build, 21),
    DEFINE_PROP_UINT32("max-guests", SevPsp, max_guests, 16),
    DEFINE_PROP_BOOL("never-ready", SevPsp, never_ready, false),
    DEFINE_PROP_BOOL("no-sev", SevPsp, no_sev, false),
    DEFINE_PROP_BOOL("keep-pdh", SevPsp, keep_pdh, true),
    DEFINE_PROP_BOOL("msix", SevPsp, msix, true),
    DEFINE_PROP_BOOL("bar64", SevPsp, bar64, false),
};

static void psp_class_init(ObjectClass *oc, void *data)
{
    static const char *const counters[] = {
        "commands",         "rejected",
        "coherency-faults", "guest-coherency-faults",
        "conversions",      "clean-bit-poisonings",
        "encrypted-mmio",   "ibpbs",
    };
    DeviceClass *dc = DEVICE_CLASS(oc);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(oc);

    k->realize = psp_realize;
    k->exit = psp_exit;
    k->vendor_id = PCI_VENDOR_ID_AMD;
    k->device_id = 0x1486;
    k->class_id = PCI_CLASS_ENCRYPTION_OTHER;
    dc->desc = "AMD Secure Processor with SEV firmware";
    dc->hotpluggable = false;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_legacy_reset(dc, psp_reset);
    device_class_set_props(dc, psp_properties);
    object_class_property_add_str(oc, "fault", get_fault, set_fault);
    object_class_property_add_bool(oc, "coherency-fatal", get_fatal, set_fatal);
    for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
        object_class_property_add(oc, counters[i], "uint64", get_counter, NULL, NULL, NULL);
    }
}

static const TypeInfo psp_info = {
    .name = TYPE_SEV_PSP,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(SevPsp),
    .class_init = psp_class_init,
    .interfaces =
        (InterfaceInfo[]){
            {INTERFACE_CONVENTIONAL_PCI_DEVICE},
            {},
        },
};

static void psp_register(void)
{
    type_register_static(&psp_info);
}
type_init(psp_register)
