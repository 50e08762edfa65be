/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* See mbox.h. */
#include "mbox.h"

#include <cpuid.h>
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define DEVICES "/sys/bus/pci/devices"
#define ANSWER_SECONDS 10

uint8_t *arena;
uint64_t arena_plain, arena_spa, bar_address, ram_end;
unsigned calls, misses;

static volatile uint8_t *registers;
static const char *sweeping;
static unsigned sweep_calls, sweep_misses;

/* ---------------------------------------------------------------------- set-up */

static uint64_t number_in(const char *device, const char *name)
{
    char path[320];
    uint64_t value = 0;

    snprintf(path, sizeof(path), DEVICES "/%s/%s", device, name);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%" SCNx64, &value) != 1)
        err(1, "mboxabuse: %s", path);
    fclose(file);
    return value;
}

static void say(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);

    if (file < 0 || write(file, text, strlen(text)) != (ssize_t)strlen(text))
        err(1, "mboxabuse: %s", path);
    close(file);
}

static void map_registers(const char *device)
{
    char path[320];

    snprintf(path, sizeof(path), DEVICES "/%s/enable", device);
    say(path, "1");
    snprintf(path, sizeof(path), DEVICES "/%s/resource", device);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%*[^\n]\n%*[^\n]\n%" SCNx64, &bar_address) != 1)
        err(1, "mboxabuse: %s", path);
    fclose(file);
    snprintf(path, sizeof(path), DEVICES "/%s/resource2", device);
    int bar = open(path, O_RDWR | O_CLOEXEC);
    registers = bar < 0 ? MAP_FAILED : mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0);
    if (registers == MAP_FAILED)
        err(1, "mboxabuse: %s", path);
}

static void find_device(void)
{
    DIR *folder = opendir(DEVICES);
    struct dirent *entry;

    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.' && number_in(entry->d_name, "vendor") == 0x1022 &&
            number_in(entry->d_name, "device") == 0x1486) {
            map_registers(entry->d_name);
            closedir(folder);
            return;
        }
    errx(1, "mboxabuse: no Secure Processor");
}

static void find_memory(void)
{
    uint32_t eax, ebx, ecx, edx;
    uint64_t entry, end;
    char line[128];

    say("/proc/sys/vm/nr_hugepages", "1");
    arena = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE | MAP_LOCKED, -1, 0);
    if (arena == MAP_FAILED)
        err(1, "mboxabuse: a huge page");
    arena[0] = 1;
    int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (file < 0 || pread(file, &entry, sizeof(entry), (off_t)((uintptr_t)arena / PAGE * 8)) != sizeof(entry))
        err(1, "mboxabuse: pagemap");
    close(file);
    arena_plain = (entry & ((UINT64_C(1) << 55) - 1)) * PAGE;
    if (!__get_cpuid_count(0x8000001f, 0, &eax, &ebx, &ecx, &edx) || arena_plain % HUGE_PAGE || !arena_plain)
        errx(1, "mboxabuse: no C-bit, or an odd huge page");
    arena_spa = arena_plain | UINT64_C(1) << (ebx & 0x3f);  /* Linux maps our memory encrypted */
    FILE *map = fopen("/proc/iomem", "r");
    while (map && fgets(line, sizeof(line), map))
        if (strstr(line, "System RAM") && sscanf(line, "%*x-%" SCNx64, &end) == 1 && end >= ram_end)
            ram_end = end + 1;
    if (!map || !ram_end)
        errx(1, "mboxabuse: no RAM in /proc/iomem");
    fclose(map);
}

void mbox_open(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    find_device();
    find_memory();
    printf("mboxabuse: registers at 0x%" PRIx64 ", memory at 0x%" PRIx64 ", RAM ends at 0x%" PRIx64 "\n", bar_address,
           arena_spa, ram_end);
}

/* ------------------------------------------------------------ registers, caches */

volatile void *reg(uint32_t offset)
{
    return registers + offset;
}

uint32_t reg_read(uint32_t offset)
{
    return *(volatile uint32_t *)reg(offset);
}

void reg_write(uint32_t offset, uint32_t value)
{
    *(volatile uint32_t *)reg(offset) = value;
}

void submit(uint32_t id, uint64_t address)
{
    reg_write(REG_ADDRESS_LOW, (uint32_t)address);
    reg_write(REG_ADDRESS_HIGH, (uint32_t)(address >> 32));
    reg_write(REG_COMMAND, id << 16);
}

unsigned answer(void)
{
    time_t start = time(NULL);
    uint32_t value;

    while (!((value = reg_read(REG_COMMAND)) & RESP))
        if (time(NULL) - start > ANSWER_SECONDS)
            errx(1, "mboxabuse: no answer");
    return value & 0xffff;
}

unsigned ring(uint32_t id, uint64_t address)
{
    submit(id, address);
    return answer();
}

/* User space has no WBINVD, but the kernel flushes all caches when a memory type changes. The
 * range is of no use to anybody: it lies beyond all RAM, and is uncached already. */
void wbinvd(void)
{
    const uint64_t base = ram_end + 16 * HUGE_PAGE;
    char text[96], line[128];
    int number, ours = -1;
    uint64_t its;

    snprintf(text, sizeof(text), "base=0x%" PRIx64 " size=0x%x type=uncachable\n", base, HUGE_PAGE);
    say("/proc/mtrr", text);
    FILE *file = fopen("/proc/mtrr", "r");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "reg%d: base=0x%" SCNx64, &number, &its) == 2 && its == base)
            ours = number;
    if (!file || ours < 0)
        errx(1, "mboxabuse: /proc/mtrr");
    fclose(file);
    snprintf(text, sizeof(text), "disable=%d\n", ours);
    say("/proc/mtrr", text);
}

void flush(uint32_t offset, uint32_t length)
{
    __builtin_ia32_mfence();
    for (uint32_t at = offset; at < offset + length; at += 64)
        __builtin_ia32_clflush(arena + at);
    __builtin_ia32_mfence();
}

/* ---------------------------------------------------------------- expectations */

void sweep(const char *what)
{
    sweeping = what;
    sweep_calls = calls;
    sweep_misses = misses;
}

void sweep_end(void)
{
    printf("mboxabuse: %s %s: %u calls\n", misses == sweep_misses ? "ok  " : "MISS", sweeping, calls - sweep_calls);
    sweeping = NULL;
}

bool check(bool good, const char *what)
{
    calls++;
    misses += !good;
    if (!good || !sweeping)
        printf("mboxabuse: %s %s\n", good ? "ok  " : "MISS", what);
    return good;
}

bool expect_at(unsigned want, const char *what, uint32_t id, uint64_t address)
{
    unsigned got = ring(id, address);
    bool good = got == want;

    calls++;
    misses += !good;
    if (!good)
        printf("mboxabuse: MISS %s%s%s: 0x%02x (wanted 0x%02x)\n", sweeping ? sweeping : "", sweeping ? ": " : "", what,
               got, want);
    else if (!sweeping)
        printf("mboxabuse: ok   %s: 0x%02x\n", what, got);
    return good;
}

bool expect(unsigned want, const char *what, uint32_t id, const void *buffer, size_t size)
{
    memset(arena + AT_COMMAND, 0, PAGE);
    memcpy(arena + AT_COMMAND, buffer, size);
    return expect_at(want, what, id, arena_spa + AT_COMMAND);
}

bool expect_bare(unsigned want, const char *what, uint32_t id)
{
    return expect_at(want, what, id, 0);
}

/* --------------------------------------------------------------------- buffers */

void put32(uint8_t *buffer, uint32_t offset, uint32_t value)
{
    memcpy(buffer + offset, &value, sizeof(value));
}

void put64(uint8_t *buffer, uint32_t offset, uint64_t value)
{
    memcpy(buffer + offset, &value, sizeof(value));
}

uint32_t get32(const uint8_t *buffer, uint32_t offset)
{
    uint32_t value;

    memcpy(&value, buffer + offset, sizeof(value));
    return value;
}

const struct command *command_of(uint32_t id)
{
    for (size_t i = 0; i < command_count; i++)
        if (commands[i].id == id)
            return &commands[i];
    return NULL;
}

void good_buffer(const struct command *command, uint32_t handle, uint8_t buffer[BUFFER_MAX])
{
    memset(buffer, 0, BUFFER_MAX);
    for (unsigned i = 0; i < FIELDS; i++) {
        const struct field *field = &command->fields[i];

        if (command->words[i].offset || command->words[i].value)
            put32(buffer, command->words[i].offset, command->words[i].value);
        if (field->kind != NONE)
            put64(buffer, field->address, arena_spa + AT_FIELDS + i * FIELD_ROOM);
        if (field->kind != NONE && field->kind != OPTIONAL)
            put32(buffer, field->length, field->size);
    }
    if (command->guest)
        put32(buffer, command->handle, handle);
}
