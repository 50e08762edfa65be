/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* UEFI's side of the machine: boot services as far as boot/ calls them, and ACPI's tables. */
#include <ctype.h>
#include <stdlib.h>

#include "machine.h"

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);

static bool is_name(const CHAR16 *name, const char *expected)
{
    while (*expected != '\0' && *name == (CHAR16)*expected)
        name++, expected++;
    return *name == 0 && *expected == '\0';
}

static EFI_STATUS EFIAPI get_variable(CHAR16 *name, EFI_GUID *vendor, UINT32 *attributes, UINTN *size, void *data)
{
    static const EFI_GUID global = EFI_GLOBAL_VARIABLE;
    assert_memory_equal(vendor, &global, sizeof(global));
    assert_null(attributes);
    unsigned digits = 0, option = 0;
    for (; digits < 4 && name[4 + digits] < 0x80 && isxdigit(name[4 + digits]) && !islower(name[4 + digits]); digits++)
        option =
            option << 4 | (unsigned)(name[4 + digits] <= '9' ? name[4 + digits] - '0' : name[4 + digits] - 'A' + 10);
    bool order = is_name(name, "BootOrder"), current = is_name(name, "BootCurrent");
    if (order || current) {
        UINTN bytes = order ? machine.boot_order_bytes : 2;
        if (bytes == 0 || *size < bytes || (current && machine.no_boot_current))
            return EFI_NOT_FOUND;
        *size = bytes;
        memcpy(data, order ? machine.boot_order : &machine.boot_current, bytes);
        return EFI_SUCCESS;
    }
    if (digits == 4 && name[8] == 0) {
        if (*size < 100 || machine.boot_attributes[option % 16] == NO_OPTION)
            return EFI_NOT_FOUND;
        *size = 100;
        memset(data, 0xff, 100);
        memcpy(data, &machine.boot_attributes[option % 16], 4);
        return EFI_SUCCESS;
    }
    assert_true(is_name(name, "ConOut"));
    if (machine.con_out_size == 0)
        return EFI_NOT_FOUND;
    bool fits = machine.con_out_size <= *size;
    *size = machine.con_out_size;
    if (!fits)
        return EFI_BUFFER_TOO_SMALL;
    memcpy(data, machine.con_out, machine.con_out_size);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI set_variable(CHAR16 *name, EFI_GUID *vendor, UINT32 attributes, UINTN size, void *data)
{
    (void)vendor;
    assert_true(is_name(name, "BootNext") && attributes == 7 && size == 2);
    memcpy(&machine.boot_next, data, 2);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI get_time(EFI_TIME *time, EFI_TIME_CAPABILITIES *capabilities)
{
    assert_false(machine.boot_services_over);
    assert_null(capabilities);
    machine.tsc += machine.hz;
    if (!EFI_ERROR(machine.time_status))
        *time = machine.time;
    return machine.time_status;
}

static EFI_STATUS EFIAPI reset_system(EFI_RESET_TYPE type, EFI_STATUS status, UINTN size, CHAR16 *data)
{
    assert_true(type == EfiResetCold && status == EFI_SUCCESS && size == 0 && data == NULL);
    if (!machine.no_reset)
        longjmp(*machine.out, 1 + RESET);
    return EFI_SUCCESS;
}

EFI_RUNTIME_SERVICES runtime = {.GetTime = get_time,
                                .GetVariable = get_variable,
                                .SetVariable = (void *)set_variable,
                                .ResetSystem = (void *)reset_system};
EFI_CONFIGURATION_TABLE configuration[3];

static int application;         /* its address is the handle */
static EFI_LOADED_IMAGE loaded;

/* ---- boot services ---- */

/* The firmware runs: it finds the processor as it left it. */
static void alive(void)
{
    assert_false(machine.boot_services_over);
    assert_int_equal(machine.syscfg, machine.syscfg_before);
    assert_int_not_equal(machine.rflags & RFLAGS_IF, 0);
    assert_int_equal(machine.pci_address, PCI_ADDRESS_BEFORE);
}

static EFI_STATUS EFIAPI set_watchdog(UINTN timeout, UINT64 code, UINTN size, CHAR16 *data)
{
    alive();
    machine.watchdog = timeout;
    return code == 0 && size == 0 && data == NULL ? EFI_SUCCESS : EFI_INVALID_PARAMETER;
}

static EFI_STATUS EFIAPI handle_protocol(EFI_HANDLE handle, EFI_GUID *guid, void **interface)
{
    static const EFI_GUID wanted = LOADED_IMAGE_PROTOCOL;
    alive();
    if (handle != &application || memcmp(guid, &wanted, sizeof(wanted)) != 0 || loaded.ImageBase == NULL)
        return EFI_UNSUPPORTED;
    *interface = &loaded;
    return EFI_SUCCESS;
}

/* UEFI PI 1.7, volume 2, 13.4.3: the third function. Here the other CPUs are this one, too. */
static EFI_STATUS EFIAPI startup_all_aps(void *self, void(EFIAPI *procedure)(void *), BOOLEAN one_by_one,
                                         EFI_EVENT event, UINTN timeout_us, void *argument, UINTN **failed)
{
    alive();
    assert_non_null(self);
    assert_true(!one_by_one && event == NULL && failed == NULL && timeout_us > 0);
    if (EFI_ERROR(machine.mp_status))
        return machine.mp_status;
    unsigned before = machine.event_count;
    procedure(argument);
    assert_int_equal(machine.event_count, before + 1);
    assert_int_equal(machine.events[before], EV_WBINVD);
    machine.events[before] = EV_OTHERS_WBINVD;
    return EFI_SUCCESS;
}
static void *mp_services[] = {NULL, NULL, (void *)startup_all_aps, NULL, NULL, NULL, NULL};

static EFI_STATUS EFIAPI locate_protocol(EFI_GUID *guid, void *registration, void **interface)
{
    static const uint8_t mp[16] = {0x05, 0xa6, 0xdd, 0x3f, 0x6e, 0xa7, 0x46, 0x4f,
                                   0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08};
    alive();
    if (registration != NULL || memcmp(guid, mp, sizeof(mp)) != 0 || machine.no_mp_services)
        return EFI_NOT_FOUND;
    *interface = mp_services;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI allocate_pages(EFI_ALLOCATE_TYPE type, EFI_MEMORY_TYPE memory, UINTN count,
                                        EFI_PHYSICAL_ADDRESS *at)
{
    static uint64_t top = RAM_BASE + RAM_SIZE;
    uint64_t base = machine.low_base;
    alive();
    if (memory == EfiReservedMemoryType) {
        assert_true(type == AllocateMaxAddress && *at < UINT64_C(0xfd00000000) && count == 1 &&
                    machine.reserved_page == 0);
        machine.highest_asked = *at;
        if (machine.no_reserved_page)
            return EFI_OUT_OF_RESOURCES;
        machine.reserved_page = *at = RAM_BASE + 6 * MIB;
        return EFI_SUCCESS;
    }
    assert_int_equal(memory, EfiLoaderData);
    assert_true(type == AllocateMaxAddress && *at < UINT64_C(0xfd00000000));     /* HyperTransport's range */
    assert_true(count > 0);
    if (type == AllocateMaxAddress && *at < MIB) {
        assert_int_equal(*at, 0x9ffff);         /* above that is what PCs never had as RAM */
        if (base == 0)
            return EFI_OUT_OF_RESOURCES;
    } else {
        machine.highest_asked = *at;
        if (machine.allocations_left == 0)
            return EFI_OUT_OF_RESOURCES;
        machine.allocations_left--;
        base = ((top - count * 4096) & ~(2 * MIB - 1)) - (count > 512 ? 2 * MIB - machine.allocation_skew : 0);
        top = base;
        /* What is asked for changes the map that it is asked for. */
        machine_descriptor(EfiBootServicesData, RAM_BASE + 4 * MIB, 1, EFI_MEMORY_WB);
        if (machine.junk)
            memset((void *)(uintptr_t)base, 0xa5, count * 4096);
    }
    unsigned i = 0;
    while (machine.pages[i].pages != 0)
        i++;
    machine.pages[i].base = base;
    machine.pages[i].pages = count;
    machine.map_key++;
    *at = base;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI free_pages(EFI_PHYSICAL_ADDRESS at, UINTN count)
{
    alive();
    if (count == 1 && at == machine.reserved_page) {
        machine.reserved_page = 0;
        return EFI_SUCCESS;
    }
    for (unsigned i = 0; i < sizeof(machine.pages) / sizeof(*machine.pages); i++) {
        if (machine.pages[i].pages == count && machine.pages[i].base == at) {
            machine.pages[i].pages = 0;
            return EFI_SUCCESS;
        }
    }
    fail_msg("%llu pages at %llx were never allocated", (unsigned long long)count, (unsigned long long)at);
    return EFI_NOT_FOUND;
}

static EFI_STATUS EFIAPI get_memory_map(UINTN *size, EFI_MEMORY_DESCRIPTOR *map, UINTN *key, UINTN *stride,
                                        UINT32 *version)
{
    UINTN step = sizeof(*map) + 8;       /* UEFI 2.9, 7.2: may be larger than the structure */
    UINTN count = machine.wide_map_count > 0 ? machine.wide_map_count : machine.map_count;
    alive();
    *stride = step;
    *version = 1;
    if (*size < count * step) {
        *size = count * step;
        return EFI_BUFFER_TOO_SMALL;
    }
    if (machine.map_reads_left == 0)
        return EFI_DEVICE_ERROR;
    machine.map_reads_left--;
    *size = count * step;
    for (unsigned i = 0; i < count; i++) {
        EFI_MEMORY_DESCRIPTOR wide = {
            .Type = EfiConventionalMemory,
            .PhysicalStart = RAM_BASE + i * MIB,
            .NumberOfPages = 200,
            .Attribute = EFI_MEMORY_WB,
        };
        memcpy((uint8_t *)map + i * step, machine.wide_map_count > 0 ? &wide : &machine.map[i], sizeof(*map));
    }
    *key = machine.map_key;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI stall(UINTN us)
{
    alive();
    machine.stalls++;
    machine_psp_run();
    machine.tsc += (uint64_t)((unsigned __int128)machine.hz * us / 1000000);
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI exit_boot_services(EFI_HANDLE handle, UINTN key)
{
    alive();
    assert_ptr_equal(handle, &application);
    machine.exit_boot_calls++;
    if (machine.exit_boot_refusals > 0) {
        machine.exit_boot_refusals--;
        machine.map_key++;      /* a timer event allocated something */
        machine_descriptor(EfiBootServicesData, RAM_BASE + 5 * MIB, 1, EFI_MEMORY_WB);
        return EFI_INVALID_PARAMETER;
    }
    if (key != machine.map_key)
        return EFI_INVALID_PARAMETER;
    if (machine.maps_in_the_end != 0)
        machine_maps(machine.maps_in_the_end, SIZE_2M);
    machine.boot_services_over = true;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI leave(EFI_HANDLE handle, EFI_STATUS status, UINTN size, CHAR16 *data)
{
    alive();
    assert_ptr_equal(handle, &application);
    assert_true(size == 0 && data == NULL);
    machine.exit_status = status;
    machine.refused_tsc = machine.tsc;
    longjmp(*machine.out, 1 + REFUSED);
}

static EFI_STATUS EFIAPI output(SIMPLE_TEXT_OUTPUT_INTERFACE *self, CHAR16 *text)
{
    size_t n = strlen(machine.console);
    alive();
    assert_non_null(self);
    for (; *text != 0; text++) {
        assert_true(n < sizeof(machine.console) - 1);
        assert_true(*text == '\r' || *text == '\n' || (*text >= ' ' && *text <= '~'));
        if (*text == '\n')
            assert_true(n > 0 && machine.console[n - 1] == '\r');
        machine.console[n++] = (char)*text;
    }
    machine.console[n] = '\0';
    machine.tsc_at_words = machine.tsc;
    return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI read_key(SIMPLE_INPUT_INTERFACE *self, EFI_INPUT_KEY *key)
{
    alive();
    assert_non_null(self);
    if (machine.looks++ < machine.keys_at || machine.keys == 0)
        return EFI_NOT_READY;
    machine.keys--;
    *key = (EFI_INPUT_KEY){0, 'x'};
    return EFI_SUCCESS;
}

static EFI_BOOT_SERVICES services = {
    .SetWatchdogTimer = set_watchdog,
    .HandleProtocol = handle_protocol,
    .LocateProtocol = locate_protocol,
    .AllocatePages = allocate_pages,
    .FreePages = free_pages,
    .GetMemoryMap = get_memory_map,
    .Stall = stall,
    .ExitBootServices = exit_boot_services,
    .Exit = leave,
};
static SIMPLE_TEXT_OUTPUT_INTERFACE console = {.OutputString = output};
static SIMPLE_INPUT_INTERFACE keyboard = {.ReadKeyStroke = read_key};
EFI_SYSTEM_TABLE system_table = {
    .BootServices = &services,
    .RuntimeServices = &runtime,
    .ConOut = &console,
    .ConIn = &keyboard,
    .ConfigurationTable = configuration,
};

static void start(void)
{
    efi_main(&application, &system_table);
}

enum end machine_boot(void)
{
    loaded.ImageBase = (void *)(uintptr_t)machine.image_base;
    loaded.ImageSize = IMAGE_BYTES;
    machine.syscfg_before = machine.syscfg;
    return machine_until(start);
}

void machine_attach(void)
{
    machine.syscfg_before = machine.syscfg;
    boot = (struct boot){
        .handle = &application, .system = &system_table, .services = &services, .guests = &machine_manifest()->header};
}

/* ---- ACPI ---- */

struct root {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
    uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

#define ENTRIES 8u
static struct {
    uint8_t bytes[36 + ENTRIES * 8];
} *const rsdt = (void *)(TABLES_BASE + 0x100), *const xsdt = (void *)(TABLES_BASE + 0x200);
static uint64_t tables_next;

static void sum(uint8_t *bytes, uint32_t size, uint8_t *checksum)
{
    uint8_t total = 0;
    *checksum = 0;
    for (uint32_t i = 0; i < size; i++)
        total = (uint8_t)(total + bytes[i]);
    *checksum = (uint8_t)-total;
}

void acpi_seal(void *table)
{
    uint32_t length;
    memcpy(&length, (uint8_t *)table + 4, 4);
    sum(table, length, (uint8_t *)table + 9);
}

static void table_start(void *table, const char *signature, uint32_t length)
{
    memcpy(table, signature, 4);
    memcpy((uint8_t *)table + 4, &length, 4);
    acpi_seal(table);
}

static void table_append(uint8_t *list, uint64_t address, uint32_t width)
{
    uint32_t length;
    memcpy(&length, list + 4, 4);
    assert_true(length + width <= 36 + ENTRIES * 8);
    memcpy(list + length, &address, width);
    table_start(list, (const char[]){(char)list[0], (char)list[1], (char)list[2], (char)list[3]}, length + width);
}

void acpi_list(const void *table)
{
    table_append(rsdt->bytes, (uintptr_t)table, 4);
    table_append(xsdt->bytes, (uintptr_t)table, 8);
}

void *acpi_add(const char *signature, uint32_t size)
{
    uint8_t *table = (uint8_t *)(uintptr_t)tables_next;
    tables_next += (size + 63u) & ~63u;
    memset(table, 0, size);
    table_start(table, signature, size);
    acpi_list(table);
    return table;
}

void acpi_build(uint8_t revision, bool has_xsdt, bool has_rsdt)
{
    static const EFI_GUID acpi_20 = ACPI_20_TABLE_GUID, acpi_10 = ACPI_TABLE_GUID, other = LOADED_IMAGE_PROTOCOL;
    struct root *root = (void *)TABLES_BASE;
    tables_next = TABLES_BASE + 0x400;
    memset(root, 0, 0x1000);
    table_start(rsdt, "RSDT", 36);
    table_start(xsdt, "XSDT", 36);
    /* First and last, what must be passed over: an entry of 0, another table. */
    table_append(rsdt->bytes, 0, 4);
    table_append(xsdt->bytes, 0, 8);
    acpi_add("OTHR", 64);
    memcpy(root->signature, "RSD PTR ", 8);
    root->revision = revision;
    root->rsdt = has_rsdt ? (uint32_t)(uintptr_t)rsdt : 0;
    root->xsdt = has_xsdt ? (uintptr_t)xsdt : 0;
    root->length = sizeof(*root);
    sum((uint8_t *)root, 20, &root->checksum);
    sum((uint8_t *)root, sizeof(*root), &root->extended_checksum);

    configuration[0] = (EFI_CONFIGURATION_TABLE){other, &application};
    configuration[1] = (EFI_CONFIGURATION_TABLE){acpi_10, (void *)1};
    configuration[2] = (EFI_CONFIGURATION_TABLE){acpi_20, root};
    system_table.NumberOfTableEntries = 3;

    /* ACPI 6.4, table 5.9: the port in both forms. */
    uint8_t *fadt = acpi_add("FACP", 244);
    const uint32_t port = PM_PORT;
    memcpy(fadt + 76, &port, 4);
    fadt[208] = 1;
    memcpy(fadt + 212, &port, 4);
    acpi_seal(fadt);
}

void machine_madt(unsigned count, const uint8_t *ids)
{
    uint8_t *madt = acpi_add("APIC", 44 + 8 * count);
    for (unsigned i = 0; i < count; i++)
        memcpy(madt + 44 + 8 * i, (const uint8_t[]){0, 8, (uint8_t)i, ids[i], 1, 0, 0, 0}, 8);
    acpi_seal(madt);
}
