/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The loaded PE image is our own file, but after somebody's tools have been at it: nothing in its headers is believed. */
#include "test.h"

#include "boot/boot.h"

#define IMAGE_SIZE 0x6000u
#define PE_AT 0x80u
#define OPTIONAL_BYTES 240u
#define TABLE (PE_AT + 24 + OPTIONAL_BYTES)

static uint8_t *image;

static void put16(uint32_t at, uint16_t v)
{
    memcpy(image + at, &v, 2);
}
static void put32(uint32_t at, uint32_t v)
{
    memcpy(image + at, &v, 4);
}

static void put_section(uint32_t i, const char *name, uint32_t va, uint32_t virtual_size, uint32_t raw_size)
{
    uint32_t at = TABLE + 40 * i;
    memset(image + at, 0, 40);
    memcpy(image + at, name, strnlen(name, 8));
    put32(at + 8, virtual_size);
    put32(at + 12, va);
    put32(at + 16, raw_size);
}

static int set_up(void **state)
{
    (void)state;
    image = calloc(1, IMAGE_SIZE);
    memcpy(image, "MZ", 2);
    put32(60, PE_AT);
    memcpy(image + PE_AT, "PE\0\0", 4);
    put16(PE_AT + 6, 3);
    put16(PE_AT + 20, OPTIONAL_BYTES);
    put_section(0, ".text", 0x1000, 0x800, 0x1000);
    put_section(1, ".hv", 0x2000, 0x1234, 0x2000);
    put_section(2, ".manifest", 0x4000, 0x1001, 0x2000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(image);
    return 0;
}

static bool find(const char *name, struct section *out)
{
    return section_find(image, IMAGE_SIZE, name, out);
}

static void sections_are_found_by_their_first_eight_letters(void **state)
{
    (void)state;
    struct section s;
    assert_true(find(".hv", &s));
    assert_ptr_equal(s.base, image + 0x2000);
    assert_int_equal(s.size, 0x1234);
    assert_true(find(".manifest", &s));
    assert_ptr_equal(s.base, image + 0x4000);
    assert_int_equal(s.size, 0x1001);
    assert_false(find(".h", &s));
    assert_false(find(".hvx", &s));
    assert_false(find("", &s));
}

static void without_a_virtual_size_the_raw_size_counts(void **state)
{
    (void)state;
    struct section s;
    put_section(1, ".hv", 0x2000, 0, 0x1800);
    assert_true(find(".hv", &s));
    assert_int_equal(s.size, 0x1800);
    put_section(1, ".hv", 0x2000, 0, 0);
    assert_false(find(".hv", &s));
}

static void a_section_that_leaves_the_image_is_refused(void **state)
{
    (void)state;
    struct section s;
    put_section(1, ".hv", 0x5000, 0x1000, 0);
    assert_true(find(".hv", &s));
    put_section(1, ".hv", 0x5000, 0x1001, 0);
    assert_false(find(".hv", &s));
    put_section(1, ".hv", 0x7000, 1, 0);
    assert_false(find(".hv", &s));
    put_section(1, ".hv", 0xfffff000, 0x2000, 0);
    assert_false(find(".hv", &s));
    put_section(1, ".hv", 0x1000, 0xffffffff, 0);
    assert_false(find(".hv", &s));
    put_section(1, ".hv", 0x2010, 0x10, 0); /* not page aligned */
    assert_false(find(".hv", &s));
}

/* Nothing is behind the headers, not a byte. */
static void headers_may_end_with_the_image(void **state)
{
    (void)state;
    struct section s;
    uint32_t count = TABLE + 3 * 40 - PE_AT, at = IMAGE_SIZE - count;
    memmove(image + at, image + PE_AT, count);
    put32(60, at);
    assert_true(find(".manifest", &s));
    assert_ptr_equal(s.base, image + 0x4000);
    memmove(image + at + 1, image + at, count - 1);
    put32(60, at + 1);
    assert_false(find(".manifest", &s));
}

static void wrong_magic_is_no_image(void **state)
{
    (void)state;
    struct section s;
    image[0] = 'X';
    assert_false(find(".hv", &s));
    image[0] = 'M';
    image[PE_AT + 2] = 1;
    assert_false(find(".hv", &s));
}

static void pointers_out_of_the_image_are_not_followed(void **state)
{
    (void)state;
    struct section s;
    static const uint32_t wild[] = {IMAGE_SIZE, IMAGE_SIZE - 1, IMAGE_SIZE - 23, 0x80000000, 0xffffffff, 0xfffffff0};
    for (unsigned i = 0; i < sizeof(wild) / sizeof(*wild); i++) {
        put32(60, wild[i]);
        assert_false(find(".hv", &s));
    }
    put32(60, PE_AT);
    put16(PE_AT + 20, 0xffff);
    assert_false(find(".hv", &s));
    put16(PE_AT + 20, OPTIONAL_BYTES);
    put16(PE_AT + 6, 0xffff);
    assert_false(find(".none", &s));
    put16(PE_AT + 6, 0);
    assert_false(find(".hv", &s));
}

/* The sanitizer watches each cut. */
static void every_truncation_is_survived(void **state)
{
    (void)state;
    struct section s;
    for (uint32_t size = 0; size <= IMAGE_SIZE; size += size < 0x400 ? 1 : 0x7ff) {
        uint8_t *cut = malloc(size);
        memcpy(cut, image, size);
        if (section_find(cut, size, ".hv", &s))
            assert_true(s.base + s.size <= cut + size);
        section_find(cut, size, ".manifest", &s);
        free(cut);
    }
}

static struct hv_image_header good_header(void)
{
    return (struct hv_image_header){
        .magic = HV_IMAGE_MAGIC,
        .version = HANDOFF_VERSION,
        .entry = 0x2010,
        .text_offset = 0x2000,
        .data_offset = 0x4000,
        .data_size = 0x10,
        .total_size = 0x6000,
    };
}

/* IEEE 802.3's CRC-32, a bit at a time. */
static uint32_t checksum_of(const uint8_t *bytes, uint64_t size)
{
    uint32_t crc = UINT32_MAX;
    for (uint64_t i = 0; i < 8 * size; i++) {
        crc ^= (uint32_t)bytes[i / 8] >> i % 8 & 1u;
        crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* An image of `size` bytes with this header and the checksum that it then must have. */
static uint8_t *image_of(const struct hv_image_header *header, uint64_t size)
{
    uint8_t *bytes = calloc(1, size);
    memcpy(bytes, header, size < sizeof(*header) ? size : sizeof(*header));
    for (uint64_t i = sizeof(*header); i < size; i++)
        bytes[i] = (uint8_t)(i * 7);
    uint64_t end = header->data_offset + header->data_size;
    if (end >= sizeof(*header) && end <= size) {
        uint32_t checksum = checksum_of(bytes + 16, end - 16);
        memcpy(bytes + 12, &checksum, 4);
    }
    return bytes;
}

static const char *check(const struct hv_image_header *header, uint64_t size)
{
    uint8_t *bytes = image_of(header, size);
    struct hv_image_header out;
    const char *fault = image_check(bytes, size, &out);
    free(bytes);
    return fault;
}

static void every_changed_bit_of_an_hv_image_is_noticed(void **state)
{
    (void)state;
    struct hv_image_header h = good_header(), out;
    uint8_t *bytes = image_of(&h, 0x5000);
    for (uint64_t i = 0; i < 0x5000; i += i < sizeof(h) || (i >= 0x4000 && i < 0x4020) ? 1 : 31) {
        bytes[i] ^= (uint8_t)(1u << i % 8);
        if (i < h.data_offset + h.data_size)
            assert_non_null(image_check(bytes, 0x5000, &out));
        else
            assert_null(image_check(bytes, 0x5000, &out)); /* padding, which is not loaded */
        bytes[i] ^= (uint8_t)(1u << i % 8);
    }
    assert_null(image_check(bytes, 0x5000, &out));
    free(bytes);
}

static void a_sane_hv_image_passes(void **state)
{
    (void)state;
    struct hv_image_header h = good_header();
    assert_null(check(&h, 0x4010));
    assert_null(check(&h, 0x5000));
}

/* A refusal names what is wrong: the first thing, from the outside in. */
static void every_broken_field_of_an_hv_image_is_noticed(void **state)
{
    (void)state;
    struct hv_image_header h = good_header();
    for (uint64_t size = 0; size < sizeof(h); size++)
        assert_string_equal(check(&h, size), "shorter than its header");
    assert_string_equal(check(&h, 0x400f), "cut off");
#define BROKEN(words, change)                          \
    do {                                               \
        h = good_header();                             \
        change;                                        \
        assert_string_equal(check(&h, 0x4010), words); \
    } while (0)
    BROKEN("no hv image", h.magic ^= 1);
    BROKEN("another version's image", h.version++);
    BROKEN("cut off", h.data_offset = UINT64_MAX & ~UINT64_C(0xfff));
    BROKEN("cut off", h.data_size = UINT64_MAX);
    BROKEN("cut off", h.data_size = UINT64_MAX - h.data_offset + 1); /* the sum wraps to 0 */
    BROKEN("cut off", h.data_size = UINT64_MAX - h.data_offset + 1 + sizeof(h));
    BROKEN("cut off", h.data_offset = h.data_size = 0);
    BROKEN("cut off", h.data_offset = sizeof(h) - 1; h.data_size = 0);
    BROKEN("cut off", h.data_size++);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sections_are_found_by_their_first_eight_letters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_virtual_size_the_raw_size_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_section_that_leaves_the_image_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(headers_may_end_with_the_image, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_magic_is_no_image, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pointers_out_of_the_image_are_not_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_truncation_is_survived, set_up, tear_down),
        cmocka_unit_test(a_sane_hv_image_passes),
        cmocka_unit_test(every_changed_bit_of_an_hv_image_is_noticed),
        cmocka_unit_test(every_broken_field_of_an_hv_image_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
