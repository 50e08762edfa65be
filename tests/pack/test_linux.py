# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A bzImage becomes a launch program by the 64-bit boot protocol."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pack import linux
from pack.errors import PackError
from pack.layout import GuestMemory
from pack.manifest import Kind

MIB = 1 << 20


def bzimage(**changes: int) -> bytes:
    """The smallest file that has a setup header as Linux 6 has it."""
    fields = {"setup_sects": 1, "syssize": 512, "version": 0x20F, "loadflags": 1, "xloadflags": 0x7F, "cmdline_size": 255,
              "pref_address": 16 * MIB, "init_size": 8 * MIB, "initrd_addr_max": 0x7FFFFFFF, "alignment": 0,
              "relocatable": 0} | changes  # fmt: skip
    setup = bytearray((1 + (fields["setup_sects"] or 4)) * 512)
    setup[0x1F1] = fields["setup_sects"]
    struct.pack_into("<I", setup, 0x1F4, fields["syssize"])
    setup[0x1FE:0x200] = b"\x55\xaa"
    setup[0x200:0x202] = b"\xeb\x6a"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, fields["version"])
    setup[0x211] = fields["loadflags"]
    struct.pack_into("<I", setup, 0x22C, fields["initrd_addr_max"])
    struct.pack_into("<IB", setup, 0x230, fields["alignment"], fields["relocatable"])
    struct.pack_into("<H", setup, 0x236, fields["xloadflags"])
    struct.pack_into("<I", setup, 0x238, fields["cmdline_size"])
    struct.pack_into("<QI", setup, 0x258, fields["pref_address"], fields["init_size"])
    return bytes(setup) + bytes(i * 7 & 0xFF for i in range(512 * 16))


@pytest.fixture
def dsdt(samples: Path) -> bytes:
    return (samples / "dsdt.aml").read_bytes()


def build(
    dsdt: bytes,
    image: bytes,
    memory: int = 64 * MIB,
    initrd: bytes = b"",
    cmdline: str = "",
    cbitpos: int | None = None,
):
    guest = GuestMemory(memory)
    registers = linux.build(guest, image, initrd, cmdline, 1, dsdt, cbitpos)
    return registers, {step.gpa: step for step in guest.steps()}


def test_boot_params_follow_the_boot_protocol(dsdt: bytes) -> None:
    image = bzimage()
    registers, steps = build(dsdt, image, initrd=b"I" * 5000, cmdline="console=ttyS0")
    page = steps[registers.values["rsi"]].data
    assert page[0x1F1:0x1FA] == image[0x1F1:0x1FA] and page[0x1FC:0x210] == image[0x1FC:0x210]
    assert page[0x1FA:0x1FC] == b"\xff\xff"  # vid_mode: normal
    assert page[0x210] == 0xFF  # type_of_loader
    ramdisk, size = struct.unpack_from("<II", page, 0x218)
    assert (ramdisk, size) == (64 * MIB - 8192, 5000) and steps[ramdisk].data.rstrip(b"\0") == b"I" * 5000
    cmdline = struct.unpack_from("<I", page, 0x228)[0]
    assert steps[cmdline].data.split(b"\0")[0] == b"console=ttyS0"
    rsdp = struct.unpack_from("<Q", page, 0x70)[0]
    assert steps[rsdp].data[:8] == b"RSD PTR "
    assert struct.unpack_from("<Q", page, 0x250)[0] == 0  # setup_data
    assert not any(page[:0x70]) and not any(page[0x78:0x1E8])  # screen_info and the rest: nothing there


def test_e820_covers_memory_and_marks_acpi(dsdt: bytes) -> None:
    registers, steps = build(dsdt, bzimage())
    page = steps[registers.values["rsi"]].data
    entries = [struct.unpack_from("<QQI", page, 0x2D0 + 20 * i) for i in range(page[0x1E8])]
    assert entries == [(0, 0xA0000, 1), (0x100000, 0x10000, 3), (0x110000, 64 * MIB - 0x110000, 1)]


def test_e820_reserves_where_a_pc_has_devices() -> None:
    below = [(0, 0xA0000, 1), (0x100000, 0x10000, 3), (0x110000, 0xFE000000 - 0x110000, 1)]
    assert linux.e820_map(0xFE000000) == below
    assert linux.e820_map(0xFE200000) == [*below, (0xFE000000, 2 * MIB, 2)]
    assert linux.e820_map(1 << 32) == [*below, (0xFE000000, 32 * MIB, 2)]
    assert linux.e820_map(5 << 30) == [*below, (0xFE000000, 32 * MIB, 2), (1 << 32, 1 << 30, 1)]


def test_e820_reserves_the_control_guests_window(dsdt: bytes) -> None:
    window = (0xF0000000, 1 << 20, 2)
    assert linux.e820_map(64 * MIB, control=True) == [*linux.e820_map(64 * MIB), window]
    assert linux.e820_map(0xF0000000, control=True) == [*linux.e820_map(0xF0000000), window]
    guest = GuestMemory(64 * MIB)
    linux.build(guest, bzimage(), b"", "", 1, dsdt, None, control=True)
    page = next(step for step in guest.steps() if step.gpa == linux.BOOT_PARAMS_GPA).data
    assert (page[0x1E8], struct.unpack_from("<QQI", page, 0x2D0 + 20 * 3)) == (4, window)


@pytest.mark.parametrize(("initrd", "size", "place"), [(5000, 4096, 64 * MIB - 4096), (5000, 0x1010, 64 * MIB - 8192),
                         (8192, 16384, 64 * MIB - 16384), (0, 16, 64 * MIB - 4096)])  # fmt: skip
def test_a_secret_is_the_initrds_tail(dsdt: bytes, initrd: int, size: int, place: int) -> None:
    """From the page behind it to the end of what Linux is told: measured as zeros until the secret is there."""
    guest = GuestMemory(64 * MIB)
    linux.build(guest, bzimage(), b"I" * initrd, "", 1, dsdt, 51, secret_size=size)
    steps = {step.gpa: step for step in guest.steps()}
    ramdisk, length = struct.unpack_from("<II", steps[linux.BOOT_PARAMS_GPA].data, 0x218)
    assert (guest.secret_gpa, guest.secret_size) == (place, size)
    assert ramdisk + length == place + size and ramdisk == place - -(-initrd // 4096) * 4096
    assert not initrd or steps[ramdisk].data.rstrip(b"\0") == b"I" * initrd
    assert (steps[place].kind, steps[place].size) == (Kind.ZERO, -(-size // 4096) * 4096)


def test_a_secret_must_fit_behind_the_initrd(dsdt: bytes) -> None:
    room = 64 * MIB - 24 * MIB
    linux.build(GuestMemory(64 * MIB), bzimage(), bytes(room - 4096), "", 1, dsdt, 51, secret_size=4096)
    with pytest.raises(PackError, match="kernel and initrd need 65 MiB and the guest has 64 MiB"):
        linux.build(GuestMemory(64 * MIB), bzimage(), bytes(room - 4096), "", 1, dsdt, 51, secret_size=4112)


def test_entry_state_is_that_of_the_boot_protocol(dsdt: bytes) -> None:
    registers, steps = build(dsdt, bzimage())
    values, segments = registers.values, registers.segments
    assert values["rip"] == 16 * MIB + 0x200 and values["rflags"] == 2
    assert steps[16 * MIB].data == bzimage()[1024:]
    assert (segments["cs"].selector, segments["cs"].attributes) == (0x10, 0xA9B)
    for name in ("ds", "es", "ss"):
        assert (segments[name].selector, segments[name].attributes) == (0x18, 0xC93)
    assert (segments["tr"].attributes, segments["ldtr"].attributes) == (0x8B, 0x82)
    assert values["efer"] & 0x1000 == 0
    gdt = steps[segments["gdtr"].base].data
    assert gdt[0x10:0x18] == bytes.fromhex("ffff0000009baf00") and gdt[0x18:0x20] == bytes.fromhex("ffff00000093cf00")


def test_old_pc_areas_are_zeros_so_that_nothing_is_found_there(dsdt: bytes) -> None:
    _, steps = build(dsdt, bzimage())
    zeros = {(step.gpa, step.size) for step in steps.values() if step.kind == Kind.ZERO}
    assert zeros == {(0, 0x1000), (0x9F000, 0x1000), (0xF0000, 0xF000)}


def test_the_reset_vector_writes_the_reset_register(dsdt: bytes) -> None:
    _, steps = build(dsdt, bzimage())
    page = steps[0xFF000].data
    assert not any(page[:0xFF0])
    #                       mov dx, 0x602  mov al, 1  out dx, al  hlt  jmp -3, in 16-bit code
    assert page[0xFF0:] == bytes.fromhex("ba0206 b001 ee f4 ebfd").ljust(16, b"\0")


def test_page_tables_map_up_to_4_gib(dsdt: bytes) -> None:
    registers, steps = build(dsdt, bzimage(), memory=6 << 30, cbitpos=51)
    table = steps[registers.values["cr3"]]
    assert table.size == 6 * 4096
    last = struct.unpack_from("<Q", table.data, table.size - 8)[0]
    assert last == (1 << 51) | 0xFFE00000 | 0x83


def test_initrd_stays_below_what_the_kernel_allows(dsdt: bytes) -> None:
    registers, steps = build(dsdt, bzimage(initrd_addr_max=40 * MIB - 1), initrd=b"I" * 4096)
    assert struct.unpack_from("<I", steps[registers.values["rsi"]].data, 0x218)[0] == 40 * MIB - 4096
    registers, steps = build(dsdt, bzimage(initrd_addr_max=0xFFFFFFFF), memory=6 << 30, initrd=b"I")
    assert struct.unpack_from("<I", steps[registers.values["rsi"]].data, 0x218)[0] == 0xFE000000 - 4096


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"pref_address": 16 * MIB}, 16 * MIB),
        ({"pref_address": 1 * MIB}, 2 * MIB),  # where the ACPI tables lie
        ({"pref_address": 0}, 2 * MIB),
        ({"pref_address": 1 * MIB, "alignment": 16 * MIB}, 16 * MIB),
        ({"pref_address": 16 * MIB, "alignment": 32 * MIB}, 32 * MIB),
        ({"pref_address": 16 * MIB + 1}, 18 * MIB),
        ({"pref_address": 56 * MIB}, 56 * MIB),  # to the last byte of memory
        ({"pref_address": 16 * MIB, "init_size": 48 * MIB}, 16 * MIB),
    ],
)
def test_relocatable_kernel_lies_where_it_prefers_to_or_above(dsdt: bytes, changes: dict[str, int], place: int) -> None:
    """From below, Linux would move itself to the preferred address (boot.rst, pref_address)."""
    image = bzimage(**{"relocatable": 1, "alignment": 2 * MIB} | changes)
    registers, steps = build(dsdt, image)
    assert steps[place].data == image[1024:]
    assert registers.values["rip"] == place + 0x200
    assert struct.unpack_from("<I", steps[registers.values["rsi"]].data, 0x214)[0] == place  # code32_start


@pytest.mark.parametrize(
    ("preferred", "words"),
    [(64 * MIB, "it needs 72 MiB"), (0xFD800000, "it needs 4064 MiB"), (0xFDA00000, "take another kernel"),
     (5 << 30, "take another kernel"), (1 << 63, "take another kernel"), ((1 << 64) - 1, "take another kernel")],
)  # fmt: skip
def test_a_kernel_that_prefers_memory_that_is_not_there_is_packed_with_a_warning(
    dsdt: bytes, preferred: int, words: str
) -> None:
    guest = GuestMemory(64 * MIB)
    image = bzimage(relocatable=1, alignment=2 * MIB, pref_address=preferred)
    registers = linux.build(guest, image, b"", "", 1, dsdt, None)
    assert registers.values["rip"] == 2 * MIB + 0x200
    (warning,) = guest.warnings
    assert f"{preferred:#x}, where this guest has no memory: it would not start; " in warning and warning.endswith(
        words
    )
    guest = GuestMemory(64 * MIB)
    linux.build(guest, bzimage(relocatable=1, alignment=2 * MIB, pref_address=56 * MIB), b"", "", 1, dsdt, None)
    assert guest.warnings == []


def test_the_warning_names_the_guest(pack, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(bzimage(relocatable=1, alignment=2 * MIB, pref_address=64 * MIB))
    toml = tmp_path / "g.toml"
    toml.write_text('[[guest]]\nname = "lin"\nmemory = "64M"\nencryption = "none"\nkernel = "kernel"\n')
    done = pack(toml, "--set", f"BUILD={samples}", "--manifest-only", "-q", "-o", tmp_path / "out")
    assert (
        done.stderr.startswith('pack.py: warning: guest "lin": kernel: Linux moves itself')
        and done.stderr.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("memory", "changes", "words"),
    [
        (
            8 << 30,
            {"relocatable": 1, "pref_address": 5 << 30},
            "it would lie from 0x140000000 to 0x140800000, and it must lie below 0xfe000000",
        ),
        (8 << 30, {"relocatable": 0, "pref_address": 5 << 30}, "must lie below 0xfe000000"),
        (64 * MIB, {"relocatable": 0, "pref_address": 5 << 30}, "must lie below 0xfe000000"),
        (8 << 30, {"relocatable": 1, "pref_address": 0xFD000000, "init_size": 17 * MIB}, "must lie below 0xfe000000"),
        (8 << 30, {"relocatable": 1, "pref_address": 0xFDFFF000}, "must lie below 0xfe000000"),
        (4 << 30, {"relocatable": 1, "pref_address": 0xFD000000, "init_size": 17 * MIB}, "must lie below 0xfe000000"),
    ],
)
def test_a_kernel_beyond_what_is_mapped_is_refused(
    dsdt: bytes, memory: int, changes: dict[str, int], words: str
) -> None:
    with pytest.raises(PackError) as error:
        build(dsdt, bzimage(**{"alignment": 2 * MIB} | changes), memory=memory)
    assert words in str(error.value)
    build(
        dsdt,
        bzimage(**{"alignment": 2 * MIB} | changes | {"pref_address": 0xFD000000, "init_size": 16 * MIB}),
        memory=8 << 30,
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"relocatable": 1, "alignment": 2 * MIB, "init_size": 63 * MIB}, "memory: this kernel needs 79 MiB to start"),
        (
            {"relocatable": 1, "alignment": 2 * MIB, "init_size": 48 * MIB + 1},
            "memory: this kernel needs 65 MiB to start",
        ),
        (
            {"relocatable": 1, "alignment": 2 * MIB, "pref_address": 60 * MIB},
            "memory: this kernel needs 68 MiB to start",
        ),
        (
            {"relocatable": 1, "alignment": 2 * MIB, "pref_address": 64 * MIB - 1},
            "memory: this kernel needs 72 MiB to start",
        ),
        (
            {"relocatable": 1, "alignment": 32 * MIB, "pref_address": MIB, "init_size": 40 * MIB},
            "needs 72 MiB to start",
        ),
        ({"relocatable": 1, "alignment": 3 * MIB, "pref_address": MIB}, "is not possible"),
        ({"relocatable": 1, "alignment": 0, "pref_address": MIB}, "is not possible"),
        (
            {"relocatable": 0, "alignment": 2 * MIB, "pref_address": 64 * MIB},
            "memory: this kernel needs 72 MiB to start",
        ),
        ({"version": 0x20B}, "boot protocol 2.11 is too old, 2.12"),
        ({"xloadflags": 0x7E}, "no 64-bit entry point"),
        ({"loadflags": 0}, "no 64-bit entry point"),
        ({"syssize": 514}, "the file is truncated"),
        ({"syssize": 0}, "the file is truncated"),
        ({"pref_address": 0x100000}, "is not possible"),
        ({"pref_address": 16 * MIB + 1}, "is not possible"),
        ({"init_size": 4096}, "is not possible"),
        ({"init_size": 49 * MIB}, "memory: this kernel needs 65 MiB to start, and the guest has 64 MiB"),
    ],
)
def test_unfit_kernels_are_refused(dsdt: bytes, changes: dict[str, int], words: str) -> None:
    with pytest.raises(PackError) as error:
        build(dsdt, bzimage(**changes))
    assert words in str(error.value)


@pytest.mark.parametrize("image", [b"", b"\x7fELF" * 400, bytes(4096), bzimage()[:0x260]])
def test_what_is_no_bzimage_is_refused(dsdt: bytes, image: bytes) -> None:
    with pytest.raises(PackError, match="not a bzImage"):
        build(dsdt, image)


def test_cmdline_is_bounded_by_the_kernel(dsdt: bytes) -> None:
    build(dsdt, bzimage(), cmdline="x" * 255)
    with pytest.raises(PackError, match="256 bytes are too long, this kernel takes 255"):
        build(dsdt, bzimage(), cmdline="x" * 256)


@pytest.mark.parametrize(
    ("changes", "memory", "words"),
    [
        ({}, 64 * MIB, "kernel and initrd need 65 MiB and the guest has 64 MiB: give the guest more memory"),
        (
            {"initrd_addr_max": 0},
            256 * MIB,
            "would lie up to 0x4002000, behind the kernel; this kernel takes an initrd below 0x0",
        ),
        ({"initrd_addr_max": 64 * MIB - 1}, 64 * MIB, "this kernel takes an initrd below 0x4000000: take a smaller"),
        ({"initrd_addr_max": 64 * MIB + 0x1FFE}, 256 * MIB, "this kernel takes an initrd below 0x4001000"),
        (
            {"initrd_addr_max": 0xFFFFFFFF, "pref_address": 0xFB800000},
            8 << 30,
            "this kernel takes an initrd below 0xfe000000",
        ),
    ],
)
def test_initrd_must_fit(dsdt: bytes, changes: dict[str, int], memory: int, words: str) -> None:
    initrd = bytes(40 * MIB + 4097)
    with pytest.raises(PackError) as error:
        build(dsdt, bzimage(**changes), memory=memory, initrd=initrd)
    assert words in str(error.value)
    build(dsdt, bzimage(initrd_addr_max=64 * MIB + 0x1FFF), memory=66 * MIB, initrd=initrd)  # the last place


def test_dsdt_must_be_compiled() -> None:
    with pytest.raises(PackError, match="not a compiled DSDT"):
        build(b"DefinitionBlock", bzimage())


def test_errors_name_guest_and_file(pack, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"x" * 5000)
    toml = tmp_path / "g.toml"
    toml.write_text('[[guest]]\nname = "lin"\nmemory = "64M"\nencryption = "none"\nkernel = "kernel"\n')
    words = ["--set", f"BUILD={samples}", "--manifest-only", "-o", tmp_path / "out"]
    done = pack(toml, *words, check=False)
    assert f'pack.py: {toml}: guest "lin": kernel: this is not a bzImage' in done.stderr
    done = pack(toml, *words, "--dsdt", tmp_path / "none.aml", check=False)
    assert "none.aml" in done.stderr


def test_debians_kernel_gets_the_memory_that_it_needs(debian_kernel: Path, dsdt: bytes) -> None:
    """Below, it would move itself to 16 MiB and beyond the end of its memory: a triple fault."""
    image = debian_kernel.read_bytes()
    kernel = linux.read_bzimage(image)
    needed = -(-(kernel.load_gpa + kernel.init_size) // (2 * MIB)) * 2 * MIB
    build(dsdt, image, memory=needed)
    with pytest.raises(PackError, match=r"memory: this kernel needs \d+ MiB to start"):
        build(dsdt, image, memory=needed - 2 * MIB)


def test_debians_kernel_is_placed_where_it_wants_to_be(debian_kernel: Path, dsdt: bytes) -> None:
    kernel = linux.read_bzimage(debian_kernel.read_bytes())
    registers, steps = build(dsdt, debian_kernel.read_bytes(), memory=256 * MIB, cbitpos=51)
    assert kernel.load_gpa == 16 * MIB and steps[kernel.load_gpa].data.startswith(kernel.image)
    assert registers.values["rip"] == kernel.load_gpa + 0x200
