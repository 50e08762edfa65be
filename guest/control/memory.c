/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Guest memory at any address and length: in pieces that lie in one page, which the SEV firmware wants in units of 16 bytes;
 * guest-virtual addresses through the guest's own page tables, whose walks are remembered while it stands. */
#include "guest/control/memory.h"

#include <string.h>

#include "guest/control/ask.h"

#define PAGE 4096u
#define UNIT 16u /* DBG_DECRYPT, DBG_ENCRYPT: addresses and length (SEV API 7.1, 7.2) */
#define DBG_DECRYPT 0x60u
#define DBG_ENCRYPT 0x61u

#define CR0_PG (UINT64_C(1) << 31)
#define CR4_LA57 (UINT64_C(1) << 12)
#define EFER_LMA (UINT64_C(1) << 10)
#define PTE_PRESENT UINT64_C(1)
#define PTE_LARGE UINT64_C(0x80)
#define PTE_ADDRESS UINT64_C(0x000000fffffff000) /* RAM ends at 1 TiB at most (MANIFEST_MAX_MEMORY) */
#define PTE_C_BIT UINT64_C(0x000fff0000000000) /* wherever the guest has it, above RAM: 47 and 51 are known */

struct dbg {
    uint32_t handle, reserved;
    uint64_t source, destination;
    uint32_t length;
};

struct place {
    uint64_t gpa;
    enum memory_view view;
};

/* A walk's end: the page at `page` of the address space `cr3`. */
static struct walk {
    bool valid;
    uint32_t guest;
    uint64_t cr3, page;
    struct place place;
} walks[64];

void memory_forget(void)
{
    memset(walks, 0, sizeof(walks));
}

static uint32_t dbg(uint32_t command, uint32_t guest, uint64_t source, uint64_t destination, uint32_t length)
{
    uint8_t buffer[80] = {0};
    struct dbg fields = {.source = source, .destination = destination, .length = length};

    memcpy(buffer, &fields, offsetof(struct dbg, length) + sizeof(fields.length));
    return ask_firmware(command, guest, buffer);
}

static uint32_t plain(enum control_operation operation, uint32_t guest, uint64_t gpa, uint32_t size)
{
    return ask(
        (struct control_request){
            .operation = operation, .guest = guest, .address = gpa, .data = CONTROL_DATA, .size = size},
        NULL);
}

/* Decrypts the units that hold [gpa, gpa + size), which lie in one page, to CONTROL_DATA. */
static uint32_t decrypt(uint32_t guest, uint64_t gpa, uint32_t size, uint32_t *skip, uint32_t *whole)
{
    *skip = (uint32_t)(gpa % UNIT);
    *whole = (*skip + size + UNIT - 1) / UNIT * UNIT;
    return dbg(DBG_DECRYPT, guest, gpa - *skip, CONTROL_DATA, *whole);
}

static uint32_t read_piece(uint32_t guest, enum memory_view view, uint64_t gpa, void *bytes, uint32_t size)
{
    uint32_t skip = 0, whole, result = CONTROL_NOT_SHARED;

    if (view != MEMORY_PRIVATE)
        result = plain(CONTROL_MEMORY_READ, guest, gpa, size);
    if (view == MEMORY_PRIVATE || (view == MEMORY_EITHER && result == CONTROL_NOT_SHARED))
        result = decrypt(guest, gpa, size, &skip, &whole);
    if (result == CONTROL_OK)
        ask_get(CONTROL_DATA + skip, bytes, size);
    return result;
}

static uint32_t write_private(uint32_t guest, uint64_t gpa, const void *bytes, uint32_t size)
{
    uint32_t skip = (uint32_t)(gpa % UNIT), whole = size, result;

    if (skip != 0 || size % UNIT != 0) {
        result = decrypt(guest, gpa, size, &skip, &whole);
        if (result != CONTROL_OK)
            return result;
    }
    ask_put(CONTROL_DATA + skip, bytes, size);
    return dbg(DBG_ENCRYPT, guest, CONTROL_DATA, gpa - skip, whole);
}

static uint32_t write_piece(uint32_t guest, enum memory_view view, uint64_t gpa, const void *bytes, uint32_t size)
{
    uint32_t result;

    if (view == MEMORY_PRIVATE)
        return write_private(guest, gpa, bytes, size);
    ask_put(CONTROL_DATA, bytes, size);
    result = plain(CONTROL_MEMORY_WRITE, guest, gpa, size);
    return view == MEMORY_EITHER && result == CONTROL_NOT_SHARED ? write_private(guest, gpa, bytes, size) : result;
}

static uint32_t piece_size(uint64_t address, size_t size)
{
    uint32_t room = PAGE - (uint32_t)(address % PAGE);

    return size < room ? (uint32_t)size : room;
}

uint32_t memory_read(uint32_t guest, enum memory_view view, uint64_t gpa, void *bytes, size_t size)
{
    uint8_t *to = bytes;

    while (size > 0) {
        uint32_t piece = piece_size(gpa, size), result = read_piece(guest, view, gpa, to, piece);

        if (result != CONTROL_OK)
            return result;
        to += piece;
        gpa += piece;
        size -= piece;
    }
    return CONTROL_OK;
}

uint32_t memory_write(uint32_t guest, enum memory_view view, uint64_t gpa, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;

    memory_forget(); /* it may be a page table */
    while (size > 0) {
        uint32_t piece = piece_size(gpa, size), result = write_piece(guest, view, gpa, from, piece);

        if (result != CONTROL_OK)
            return result;
        from += piece;
        gpa += piece;
        size -= piece;
    }
    return CONTROL_OK;
}

static uint32_t not_mapped(void)
{
    ask_refuse("the guest's page tables do not map this address");
    return CONTROL_INVALID;
}

/* APM2 5.3: four levels, or five. Tables of an SEV guest are private: the CPU reads them as such whatever their C-bit is. */
static uint32_t walk(uint32_t guest, bool sev, const struct control_vcpu *vcpu, uint64_t address, struct place *place)
{
    unsigned shift = (vcpu->cr4 & CR4_LA57) != 0 ? 48 : 39;
    uint64_t table = vcpu->cr3 & PTE_ADDRESS, entry;

    for (;; shift -= 9) {
        uint32_t result = memory_read(guest, sev ? MEMORY_PRIVATE : MEMORY_PLAIN,
                                      table + (address >> shift & 0x1ff) * sizeof(entry), &entry, sizeof(entry));

        if (result != CONTROL_OK)
            return result;
        if ((entry & PTE_PRESENT) == 0)
            return not_mapped();
        table = entry & PTE_ADDRESS;
        if (shift == 12 || ((entry & PTE_LARGE) != 0 && shift <= 30))
            break;
    }
    place->gpa = (table & ~((UINT64_C(1) << shift) - 1)) | (address & ((UINT64_C(1) << shift) - PAGE));
    place->view = sev && (entry & PTE_C_BIT) != 0 ? MEMORY_PRIVATE : MEMORY_PLAIN;
    return CONTROL_OK;
}

/* Of the page that `address` is in. */
static uint32_t find(uint32_t guest, bool sev, const struct control_vcpu *vcpu, uint64_t address, struct place *place)
{
    uint64_t page = address / PAGE;
    struct walk *known = &walks[page % (sizeof(walks) / sizeof(walks[0]))];
    uint32_t result;

    if ((vcpu->cr0 & CR0_PG) == 0) {
        *place = (struct place){page * PAGE, sev ? MEMORY_PRIVATE : MEMORY_PLAIN};
        return CONTROL_OK;
    }
    if ((vcpu->efer & EFER_LMA) == 0) {
        ask_refuse("page tables of 32-bit mode are not read: use /guest/NAME/memory");
        return CONTROL_INVALID;
    }
    if (!known->valid || known->guest != guest || known->cr3 != vcpu->cr3 || known->page != page) {
        *known = (struct walk){.guest = guest, .cr3 = vcpu->cr3, .page = page};
        result = walk(guest, sev, vcpu, address, &known->place);
        if (result != CONTROL_OK)
            return result;
        known->valid = true;
    }
    *place = known->place;
    return CONTROL_OK;
}

uint32_t memory_read_virtual(uint32_t guest, bool sev, const struct control_vcpu *vcpu, uint64_t address, void *bytes,
                             size_t size)
{
    uint8_t *to = bytes;

    while (size > 0) {
        uint32_t piece = piece_size(address, size), result;
        struct place place;

        result = find(guest, sev, vcpu, address, &place);
        if (result == CONTROL_OK)
            result = memory_read(guest, place.view, place.gpa + address % PAGE, to, piece);
        if (result != CONTROL_OK)
            return result;
        to += piece;
        address += piece;
        size -= piece;
    }
    return CONTROL_OK;
}

uint32_t memory_write_virtual(uint32_t guest, bool sev, const struct control_vcpu *vcpu, uint64_t address,
                              const void *bytes, size_t size)
{
    const uint8_t *from = bytes;

    while (size > 0) {
        uint32_t piece = piece_size(address, size), result;
        struct place place;

        result = find(guest, sev, vcpu, address, &place);
        if (result == CONTROL_OK)
            result = memory_write(guest, place.view, place.gpa + address % PAGE, from, piece);
        if (result != CONTROL_OK)
            return result;
        from += piece;
        address += piece;
        size -= piece;
    }
    return CONTROL_OK;
}
