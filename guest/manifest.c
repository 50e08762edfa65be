/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The manifest's validator: the only parser in the trusted code. It works from
 * the outside in, so that each check may rely on those before it:
 *   header and sizes -> the table's checksum -> each guest, its registers, its
 *   steps -> the payload's extents against each other -> the payload's checksum.
 */
#include "guest/manifest.h"

#include <stdbool.h>
#include <stddef.h>

#include "guest/control.h"
#include "guest/crc32.h"
#include "guest/manifest_registers.h"

#define POLICY_ES (UINT32_C(1) << 2)
#define POLICY_RESERVED UINT32_C(0x0000ffc0)    /* SEV API 7: bits 15:6 */
#define DH_CERT_SIZE 2084u
#define SESSION_SIZE 128u

/* A manifest whose header holds; `end` is its total size. */
struct view {
    const uint8_t *bytes;
    const struct manifest_header *header;
    const struct manifest_guest *guests;
    const struct manifest_step *steps;
    uint64_t end;
};

struct extent {
    uint64_t offset;
    uint64_t size;      /* 0: there is none */
};

static bool all_zero(const void *bytes, uint64_t size)
{
    const uint8_t *p = bytes;
    uint8_t any = 0;

    for (uint64_t i = 0; i < size; i++)
        any |= p[i];
    return any == 0;
}

static bool inside(uint64_t offset, uint64_t size, uint64_t begin, uint64_t end)
{
    uint64_t last;

    return offset >= begin && !__builtin_add_overflow(offset, size, &last) && last <= end;
}

static bool aligned(uint64_t value)
{
    return (value & (MANIFEST_PAGE - 1)) == 0;
}

/* ------------------------------------------------------------- the header */

static uint64_t table_end(const struct manifest_header *header)
{
    /* Counts are bounded: this cannot overflow. */
    return sizeof(*header) + (uint64_t)header->guest_count * sizeof(struct manifest_guest) +
           (uint64_t)header->step_count * sizeof(struct manifest_step);
}

static uint32_t table_checksum(const struct manifest_header *header)
{
    const uint32_t zero = 0;
    const size_t field = offsetof(struct manifest_header, table_checksum);
    const uint8_t *bytes = (const uint8_t *)header;
    uint32_t crc = crc32_update(0, bytes, field);

    crc = crc32_update(crc, &zero, sizeof(zero));
    return crc32_update(crc, bytes + field + sizeof(zero), header->payload_offset - field - sizeof(zero));
}

static enum manifest_error check_header(const struct manifest_header *header, uint64_t size)
{
    uint64_t end;

    if (header->magic != MANIFEST_MAGIC)
        return MANIFEST_BAD_MAGIC;
    if (header->revision != MANIFEST_REVISION)
        return MANIFEST_BAD_REVISION;
    if (header->header_size != sizeof(*header))
        return MANIFEST_BAD_HEADER_SIZE;
    if (header->guest_size != sizeof(struct manifest_guest))
        return MANIFEST_BAD_GUEST_SIZE;
    if (header->step_size != sizeof(struct manifest_step))
        return MANIFEST_BAD_STEP_SIZE;
    if ((header->flags & ~MANIFEST_SHOW_PDH) != 0)
        return MANIFEST_HEADER_FLAGS;
    if (header->guest_count == 0)
        return MANIFEST_NO_GUESTS;
    if (header->guest_count > MANIFEST_MAX_GUESTS)
        return MANIFEST_TOO_MANY_GUESTS;
    if (header->step_count > MANIFEST_MAX_STEPS)
        return MANIFEST_TOO_MANY_STEPS;
    if (header->total_size > MANIFEST_MAX_SIZE)
        return MANIFEST_TOTAL_TOO_BIG;
    if (header->total_size > size)
        return MANIFEST_TRUNCATED;

    end = table_end(header);
    if (header->payload_offset != ((end + MANIFEST_PAGE - 1) & ~(uint64_t)(MANIFEST_PAGE - 1)))
        return MANIFEST_PAYLOAD_MISPLACED;
    if (header->payload_offset > header->total_size)
        return MANIFEST_PAYLOAD_OUTSIDE;
    if (header->sev_firmware_size > MANIFEST_MAX_SEV_FIRMWARE)
        return MANIFEST_SEV_FIRMWARE_SIZE;
    if ((header->sev_firmware_size == 0) !=
        all_zero(header->sev_firmware_version, sizeof(header->sev_firmware_version)))
        return MANIFEST_SEV_FIRMWARE_VERSION;
    if (header->sev_firmware_size > header->total_size - header->payload_offset)
        return MANIFEST_SEV_FIRMWARE_OUTSIDE;
    if (table_checksum(header) != header->table_checksum)
        return MANIFEST_TABLE_CHECKSUM;
    if (!all_zero((const uint8_t *)header + end, header->payload_offset - end))
        return MANIFEST_TABLE_PADDING;
    return MANIFEST_OK;
}

/* ------------------------------------------------------------- a guest */

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static enum manifest_error check_name(const char name[MANIFEST_NAME_SIZE])
{
    unsigned length = 0;

    while (length < MANIFEST_NAME_SIZE && name[length] != '\0')
        length++;
    if (length == 0)
        return MANIFEST_NAME_EMPTY;
    if (length == MANIFEST_NAME_SIZE)
        return MANIFEST_NAME_NOT_TERMINATED;
    if (!is_letter_or_digit(name[0]))
        return MANIFEST_NAME_CHARACTER;
    for (unsigned i = 1; i < length; i++)
        if (!is_letter_or_digit(name[i]) && name[i] != '.' && name[i] != '_' && name[i] != '-')
            return MANIFEST_NAME_CHARACTER;
    if (!all_zero(name + length, MANIFEST_NAME_SIZE - length))
        return MANIFEST_NAME_PADDING;
    return MANIFEST_OK;
}

/* Names are padded with zeros: whole fields compare. */
static bool same_name(const struct manifest_guest *a, const struct manifest_guest *b)
{
    for (unsigned i = 0; i < MANIFEST_NAME_SIZE; i++)
        if (a->name[i] != b->name[i])
            return false;
    return true;
}

static enum manifest_error check_pins(const struct manifest_guest *guest)
{
    for (uint32_t i = 0; i < MANIFEST_MAX_VCPUS; i++) {
        if (guest->cpus[i] == MANIFEST_CPU_ANY)
            continue;
        if (i >= guest->vcpus)
            return MANIFEST_PIN_WITHOUT_VCPU;
        if (guest->cpus[i] >= MANIFEST_MAX_CPUS)
            return MANIFEST_PIN_RANGE;
    }
    return MANIFEST_OK;
}

static enum manifest_error check_resources(const struct manifest_guest *guest)
{
    bool restarts = guest->on_poweroff == MANIFEST_ACTION_RESTART || guest->on_reboot == MANIFEST_ACTION_RESTART ||
                    guest->on_crash == MANIFEST_ACTION_RESTART;

    if (guest->reserved0 != 0 || guest->reserved1 != 0)
        return MANIFEST_GUEST_RESERVED;
    if (guest->encryption > MANIFEST_ENCRYPTION_SEV)
        return MANIFEST_ENCRYPTION_UNKNOWN;
    if (guest->vcpus == 0)
        return MANIFEST_NO_VCPUS;
    if (guest->vcpus > MANIFEST_MAX_VCPUS)
        return MANIFEST_TOO_MANY_VCPUS;
    if (guest->memory == 0)
        return MANIFEST_NO_MEMORY;
    if (guest->memory % MANIFEST_MEMORY_UNIT != 0)
        return MANIFEST_MEMORY_UNALIGNED;
    if (guest->memory > MANIFEST_MAX_MEMORY)
        return MANIFEST_MEMORY_TOO_BIG;
    if (guest->on_poweroff > MANIFEST_ACTION_RESTART || guest->on_reboot > MANIFEST_ACTION_RESTART ||
        guest->on_crash > MANIFEST_ACTION_RESTART)
        return MANIFEST_ACTION_UNKNOWN;
    if (!restarts && guest->restarts != 0)
        return MANIFEST_RESTARTS_WITHOUT_ACTION;
    if (restarts && guest->restarts == 0)
        return MANIFEST_ACTION_WITHOUT_RESTARTS;
    return MANIFEST_OK;
}

static enum manifest_error check_flags(const struct view *view, uint32_t index)
{
    const struct manifest_guest *guest = &view->guests[index];

    if ((guest->flags & ~MANIFEST_GUEST_FLAGS_KNOWN) != 0)
        return MANIFEST_GUEST_FLAGS;
    if ((guest->flags & MANIFEST_GUEST_CONTROL) == 0)
        return (guest->flags & MANIFEST_GUEST_SERIAL_COM2) != 0 ? MANIFEST_COM2_WITHOUT_CONTROL : MANIFEST_OK;
    if (guest->encryption == MANIFEST_ENCRYPTION_SEV)
        return MANIFEST_CONTROL_WITH_SEV;
    if (guest->memory > CONTROL_WINDOW)
        return MANIFEST_CONTROL_MEMORY;
    for (uint32_t i = 0; i < index; i++)
        if ((view->guests[i].flags & MANIFEST_GUEST_CONTROL) != 0)
            return MANIFEST_CONTROL_TWICE;
    return MANIFEST_OK;
}

static enum manifest_error check_without_sev(const struct manifest_guest *guest)
{
    if (guest->sev_policy != 0)
        return MANIFEST_POLICY_WITHOUT_SEV;
    if (guest->cbitpos != 0 || guest->reduced_phys_bits != 0)
        return MANIFEST_C_BIT_WITHOUT_SEV;
    if (guest->dh_cert_size != 0 || guest->session_size != 0 || guest->dh_cert_offset != 0 ||
        guest->session_offset != 0 || (guest->flags & MANIFEST_GUEST_SESSION_AT_LAUNCH) != 0)
        return MANIFEST_SESSION_WITHOUT_SEV;
    if ((guest->flags & MANIFEST_GUEST_REQUIRE_SECRET) != 0)
        return MANIFEST_SECRET_WITHOUT_SEV;
    if (!all_zero(guest->launch_digest, sizeof(guest->launch_digest)))
        return MANIFEST_DIGEST_WITHOUT_SEV;
    return MANIFEST_OK;
}

static enum manifest_error check_session(const struct view *view, const struct manifest_guest *guest)
{
    if (guest->dh_cert_size != 0 && guest->dh_cert_size != DH_CERT_SIZE)
        return MANIFEST_DH_CERT_SIZE;
    if (guest->session_size != 0 && guest->session_size != SESSION_SIZE)
        return MANIFEST_SESSION_SIZE;
    if ((guest->dh_cert_size == 0) != (guest->session_size == 0))
        return MANIFEST_SESSION_INCOMPLETE;
    if (guest->dh_cert_size == 0)
        return guest->dh_cert_offset != 0 || guest->session_offset != 0 ? MANIFEST_SESSION_OFFSET : MANIFEST_OK;
    if ((guest->flags & MANIFEST_GUEST_SESSION_AT_LAUNCH) != 0)
        return MANIFEST_SESSION_TWICE;
    if (!inside(guest->dh_cert_offset, guest->dh_cert_size, view->header->payload_offset, view->end))
        return MANIFEST_DH_CERT_OUTSIDE;
    if (!inside(guest->session_offset, guest->session_size, view->header->payload_offset, view->end))
        return MANIFEST_SESSION_OUTSIDE;
    return MANIFEST_OK;
}

static enum manifest_error check_sev(const struct view *view, const struct manifest_guest *guest)
{
    if (guest->encryption != MANIFEST_ENCRYPTION_SEV)
        return check_without_sev(guest);
    if ((guest->sev_policy & POLICY_RESERVED) != 0)
        return MANIFEST_POLICY_RESERVED;
    if ((guest->sev_policy & POLICY_ES) != 0)
        return MANIFEST_POLICY_ES;
    if (guest->cbitpos < 32 || guest->cbitpos > 51)
        return MANIFEST_C_BIT_RANGE;
    if (guest->reduced_phys_bits < 1 || guest->reduced_phys_bits > 63)
        return MANIFEST_REDUCED_PHYS_BITS_RANGE;
    if (guest->memory > UINT64_C(1) << guest->cbitpos)
        return MANIFEST_MEMORY_REACHES_C_BIT;
    if (all_zero(guest->launch_digest, sizeof(guest->launch_digest)))
        return MANIFEST_DIGEST_MISSING;
    return check_session(view, guest);
}

/* ------------------------------------------------------------- its steps */

static enum manifest_error check_step(const struct view *view, const struct manifest_guest *guest,
                                      const struct manifest_step *step)
{
    if (step->kind < MANIFEST_STEP_DATA || step->kind > MANIFEST_STEP_SHARED)
        return MANIFEST_STEP_KIND;
    if (step->reserved != 0)
        return MANIFEST_STEP_RESERVED;
    if (step->size == 0)
        return MANIFEST_STEP_EMPTY;
    if (!aligned(step->gpa) || !aligned(step->size))
        return MANIFEST_STEP_UNALIGNED;
    if (!inside(step->gpa, step->size, 0, guest->memory))
        return MANIFEST_STEP_OUTSIDE;
    if (step->kind == MANIFEST_STEP_ZERO)
        return step->payload_offset != 0 ? MANIFEST_ZERO_WITH_PAYLOAD : MANIFEST_OK;
    if (!aligned(step->payload_offset))
        return MANIFEST_STEP_PAYLOAD_UNALIGNED;
    if (!inside(step->payload_offset, step->size, view->header->payload_offset, view->end))
        return MANIFEST_STEP_PAYLOAD_OUTSIDE;
    return MANIFEST_OK;
}

static bool is_placed(const struct view *view, const struct manifest_guest *guest, uint64_t gpa)
{
    for (uint32_t i = 0; i < guest->step_count; i++) {
        const struct manifest_step *step = &view->steps[guest->first_step + i];

        if (step->kind == MANIFEST_STEP_DATA && gpa >= step->gpa && gpa - step->gpa < step->size)
            return true;
    }
    return false;
}

static enum manifest_error check_steps(const struct view *view, const struct manifest_guest *guest,
                                       struct manifest_where *where)
{
    uint64_t free_from = 0, last_gpa = 0;

    for (uint32_t i = 0; i < guest->step_count; i++) {
        const struct manifest_step *step = &view->steps[guest->first_step + i];
        enum manifest_error error = check_step(view, guest, step);

        where->step = (int32_t)(guest->first_step + i);
        if (error != MANIFEST_OK)
            return error;
        if (step->gpa < last_gpa)
            return MANIFEST_STEP_ORDER;
        if (step->gpa < free_from)
            return MANIFEST_STEP_OVERLAP;
        last_gpa = step->gpa;
        free_from = step->gpa + step->size;
    }
    where->step = -1;
    return MANIFEST_OK;
}

/* Filled by one LAUNCH_SECRET. Zeros may be there: the tail of an initrd. */
static enum manifest_error check_secret(const struct view *view, const struct manifest_guest *guest)
{
    uint64_t gpa = guest->secret_gpa, size = guest->secret_size;

    if ((guest->flags & MANIFEST_GUEST_REQUIRE_SECRET) == 0)
        return gpa != 0 || size != 0 ? MANIFEST_SECRET_NOT_REQUIRED : MANIFEST_OK;
    if (guest->session_size == 0 && (guest->flags & MANIFEST_GUEST_SESSION_AT_LAUNCH) == 0)
        return MANIFEST_SECRET_WITHOUT_SESSION;
    if (size == 0 || size > MANIFEST_MAX_SECRET || (gpa | size) % MANIFEST_SECRET_UNIT != 0)
        return MANIFEST_SECRET_SIZE;
    if (!inside(gpa, size, 0, guest->memory))
        return MANIFEST_SECRET_OUTSIDE;
    for (uint32_t i = 0; i < guest->step_count; i++) {
        const struct manifest_step *step = &view->steps[guest->first_step + i];

        if (step->kind != MANIFEST_STEP_ZERO && gpa < step->gpa + step->size && step->gpa < gpa + size)
            return MANIFEST_SECRET_OVER_STEP;
    }
    return MANIFEST_OK;
}

/* Instruction fetches and page-table walks of an encrypted guest are always
 * private (APM2 15.34.5), so both must begin in measured bytes. Revision 2
 * takes the guest's first mapping to be the identity. */
static enum manifest_error check_entry(const struct view *view, const struct manifest_guest *guest)
{
    const struct manifest_registers *registers = &guest->registers;
    uint64_t c_bit = guest->encryption == MANIFEST_ENCRYPTION_SEV ? UINT64_C(1) << guest->cbitpos : 0;
    bool mode_64 = (registers->efer & EFER_LMA) != 0 && (registers->cs.attributes & SEGMENT_L) != 0;
    uint64_t entry;

    if ((registers->cr0 & CR0_PG) != 0 && !is_placed(view, guest, registers->cr3 & ~c_bit))
        return MANIFEST_CR3_NOT_PLACED;
    if (__builtin_add_overflow(mode_64 ? 0 : registers->cs.base, registers->rip, &entry) ||
        !is_placed(view, guest, entry))
        return MANIFEST_RIP_NOT_PLACED;
    return MANIFEST_OK;
}

static enum manifest_error check_guest(const struct view *view, uint32_t index, uint32_t first_step,
                                       struct manifest_where *where)
{
    const struct manifest_guest *guest = &view->guests[index];
    enum manifest_error error = check_name(guest->name);

    for (uint32_t i = 0; error == MANIFEST_OK && i < index; i++)
        if (same_name(guest, &view->guests[i]))
            error = MANIFEST_NAME_TWICE;
    if (error == MANIFEST_OK)
        error = check_resources(guest);
    if (error == MANIFEST_OK)
        error = check_pins(guest);
    if (error == MANIFEST_OK)
        error = check_flags(view, index);
    if (error == MANIFEST_OK)
        error = check_sev(view, guest);
    if (error == MANIFEST_OK)
        error = manifest_registers_check(&guest->registers);
    if (error != MANIFEST_OK)
        return error;

    if (guest->step_count == 0)
        return MANIFEST_NO_STEPS;
    if (guest->first_step != first_step)
        return MANIFEST_STEPS_NOT_CONSECUTIVE;
    if (guest->step_count > view->header->step_count - first_step)
        return MANIFEST_STEPS_OUTSIDE;
    error = check_steps(view, guest, where);
    if (error == MANIFEST_OK)
        error = check_secret(view, guest);
    return error == MANIFEST_OK ? check_entry(view, guest) : error;
}

/* ------------------------------------------------------------- the payload */

/* Pieces are numbered: one per step, then a certificate and a session per guest, then the SEV firmware. */
static struct extent piece(const struct view *view, uint32_t index)
{
    uint32_t steps = view->header->step_count;
    const struct manifest_guest *guest;

    if (index < steps) {
        const struct manifest_step *step = &view->steps[index];

        if (step->kind == MANIFEST_STEP_ZERO)
            return (struct extent){0};
        return (struct extent){step->payload_offset, step->size};
    }
    if (index == steps + 2 * view->header->guest_count)
        return (struct extent){view->header->payload_offset, view->header->sev_firmware_size};
    guest = &view->guests[(index - steps) / 2];
    if ((index - steps) % 2 == 0)
        return (struct extent){guest->dh_cert_offset, guest->dh_cert_size};
    return (struct extent){guest->session_offset, guest->session_size};
}

/* Guests may share a piece as a whole (two that boot the same kernel). */
static bool in_conflict(struct extent a, struct extent b)
{
    if (a.size == 0 || b.size == 0 || (a.offset == b.offset && a.size == b.size))
        return false;
    return a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

static enum manifest_error check_extents(const struct view *view)
{
    uint32_t count = view->header->step_count + 2 * view->header->guest_count + 1;

    for (uint32_t i = 0; i < count; i++) {
        struct extent a = piece(view, i);

        for (uint32_t j = 0; a.size != 0 && j < i; j++)
            if (in_conflict(a, piece(view, j)))
                return MANIFEST_PAYLOAD_OVERLAP;
    }
    return MANIFEST_OK;
}

/* ------------------------------------------------------------- the whole */

static enum manifest_error check_all(const void *manifest, uint64_t size, struct manifest_where *where)
{
    struct view view = {.bytes = manifest, .header = manifest};
    uint32_t next_step = 0;
    enum manifest_error error;

    if (((uintptr_t)manifest & 7) != 0)
        return MANIFEST_NOT_ALIGNED;
    if (size < sizeof(*view.header))
        return MANIFEST_TOO_SHORT;
    error = check_header(view.header, size);
    if (error != MANIFEST_OK)
        return error;

    view.end = view.header->total_size;
    view.guests = manifest_guest(manifest, 0);
    view.steps = manifest_step(manifest, 0);
    for (uint32_t i = 0; i < view.header->guest_count; i++) {
        where->guest = (int32_t)i;
        error = check_guest(&view, i, next_step, where);
        if (error != MANIFEST_OK)
            return error;
        next_step += view.guests[i].step_count;
    }
    where->guest = -1;
    if (next_step != view.header->step_count)
        return MANIFEST_STEPS_UNOWNED;

    error = check_extents(&view);
    if (error != MANIFEST_OK)
        return error;
    if (crc32_update(0, view.bytes + view.header->payload_offset, view.end - view.header->payload_offset) !=
        view.header->payload_checksum)
        return MANIFEST_PAYLOAD_CHECKSUM;
    return MANIFEST_OK;
}

enum manifest_error manifest_check(const void *manifest, uint64_t size, struct manifest_where *where)
{
    struct manifest_where unused;

    if (where == NULL)
        where = &unused;
    *where = (struct manifest_where){.guest = -1, .step = -1};
    return check_all(manifest, size, where);
}

/* ------------------------------------------------------------- words */

static const struct {
    const char *name, *text;
} words[] = {{"MANIFEST_OK", "the manifest is sound"},
#define MANIFEST_ERROR(name, text) {"MANIFEST_" #name, text},
             MANIFEST_ERRORS
#undef MANIFEST_ERROR
};

const char *manifest_error_name(enum manifest_error error)
{
    return (uint32_t)error < sizeof(words) / sizeof(*words) ? words[error].name : "MANIFEST_?";
}

const char *manifest_error_text(enum manifest_error error)
{
    return (uint32_t)error < sizeof(words) / sizeof(*words) ? words[error].text : "an error without a name";
}
