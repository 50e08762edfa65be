# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The packer at its limits: the last value that is taken, the first that is refused, and that a refusal leaves nothing behind."""

from __future__ import annotations

import struct
import zlib

import pytest

from pack import acpi, flat, machine, manifest
from pack.errors import PackError
from pack.layout import GuestMemory, human_size, round_up
from pack.manifest import PAGE, Kind

MIB = 1 << 20


def guest(steps: list[manifest.Step], name: str = "g") -> manifest.Guest:
    return manifest.Guest(name, manifest.Encryption.NONE, 16 * MIB, 1, steps, manifest.Registers())


def test_a_flat_images_command_line_fills_its_page_with_the_nul() -> None:
    memory = GuestMemory(16 * MIB)
    registers = flat.build(memory, b"\xf4", "x" * 4095, None)
    page = next(step for step in memory.steps() if step.gpa == registers.values["rdi"])
    assert page.size == PAGE and page.data == b"x" * 4095 + b"\0"
    for words in ("x" * 4096, "\u00e9" * 2048):  # bytes count, not letters
        memory = GuestMemory(16 * MIB)
        with pytest.raises(PackError, match="cmdline: 4096 bytes are too long, 4095 is the most"):
            flat.build(memory, b"\xf4", words, None)
        assert memory.steps() == []


def test_a_flat_guest_starts_as_its_comment_says() -> None:
    memory = GuestMemory(16 * MIB)
    registers = flat.build(memory, b"\xf4" * 5000, "", 51)
    assert {name: registers.values[name] for name in ("rip", "rsp", "rdi", "rsi", "cr3", "rflags")} == {
        "rip": 0x100000, "rsp": 0x80000 - 8, "rdi": 0x1000, "rsi": 16 * MIB, "cr3": 0x4000, "rflags": 2,
    }  # fmt: skip
    assert [(step.gpa, step.size) for step in memory.steps()] == [
        (0x1000, 0x1000), (0x3000, 0x1000), (0x4000, 0x3000), (0x100000, 0x2000),
    ]  # fmt: skip


def test_a_dsdt_is_whole_or_refused() -> None:
    body = b"\x5b" * 100
    dsdt = struct.pack("<4sIBB6s8sI4sI", b"DSDT", 36 + len(body), 2, 0, b"OEM", b"TABLE", 1, b"C", 1) + body
    assert acpi.build(0x100000, 1, dsdt).count(body) == 1
    assert acpi.build(0x100000, 1, struct.pack("<4sI", b"DSDT", 36) + bytes(28))  # nothing but its header
    for bad in (
        dsdt[:-1],
        dsdt + b"\0",
        dsdt[:36],
        dsdt[:35],
        struct.pack("<4sI", b"DSDT", 35) + bytes(27),
        b"SSDT" + dsdt[4:],
        b"",
    ):
        with pytest.raises(PackError, match="not a compiled DSDT"):
            acpi.build(0x100000, 1, bad)


def test_steps_lie_on_pages_inside_memory_and_apart() -> None:
    memory = GuestMemory(2 * MIB)
    memory.place(PAGE, b"x" * (PAGE + 1), "two pages")
    memory.zero(2 * MIB - PAGE, PAGE, "the last page")
    refused = [
        (PAGE * 5 + 1, PAGE, "not the start of a page"), (8, PAGE, "not the start of a page"),
        (2 * MIB, PAGE, "memory ends at 0x200000"), (2 * MIB - PAGE, 2 * PAGE, "memory ends at 0x200000"),
        (PAGE, PAGE, "would overlap two pages"), (2 * PAGE, PAGE, "would overlap two pages"), (0, 2 * PAGE, "would overlap two pages"),
        (0, 2 * MIB, "would overlap"),
    ]  # fmt: skip
    for gpa, size, words in refused:
        with pytest.raises(PackError) as error:
            memory.zero(gpa, size, "one more")
        assert words in str(error.value) and "one more" in str(error.value)
        assert len(memory.steps()) == 2
    memory.zero(0, PAGE, "before")
    memory.zero(3 * PAGE, PAGE, "behind")
    assert [step.gpa for step in memory.steps()] == [0, PAGE, 3 * PAGE, 2 * MIB - PAGE]


def test_a_secret_lies_in_memory_and_over_nothing_but_zeros() -> None:
    memory = GuestMemory(2 * MIB)
    memory.place(PAGE, b"x", "data")
    memory.place(3 * PAGE, b"x", "shared", Kind.SHARED)
    memory.zero(5 * PAGE, PAGE, "zeros")
    for gpa, size in ((0, PAGE), (2 * PAGE, PAGE), (4 * PAGE, 3 * PAGE), (2 * MIB - 16, 16)):
        memory.secret(gpa, size)
        assert (memory.secret_gpa, memory.secret_size) == (gpa, size)
    refused = [(0, PAGE + 16, "overwrite data"), (2 * PAGE - 16, 16, "overwrite data"), (3 * PAGE - 16, 32, "overwrite shared"),
               (4 * PAGE - 16, 16, "overwrite shared"), (2 * MIB - 16, 32, "do not end within the guest's 2 MiB")]  # fmt: skip
    for gpa, size, words in refused:
        with pytest.raises(PackError, match=words):
            memory.secret(gpa, size)
        assert (memory.secret_gpa, memory.secret_size) == (2 * MIB - 16, 16)


@pytest.mark.parametrize(
    ("value", "words"),
    [(1, "1 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (1536, "1536 bytes"), (MIB, "1 MiB"), (3 * MIB + 1024, "3073 KiB"),
     (1 << 30, "1 GiB"), ((1 << 30) + MIB, "1025 MiB")],
)  # fmt: skip
def test_sizes_in_words(value: int, words: str) -> None:
    assert human_size(value) == words


def test_rounding() -> None:
    assert [round_up(value) for value in (0, 1, 4095, 4096, 4097)] == [0, 4096, 4096, 4096, 8192]


def test_a_manifest_has_as_many_steps_and_guests_as_it_may() -> None:
    step = manifest.Step(Kind.ZERO, 0, PAGE)
    assert len(manifest.parse(manifest.serialise([guest([step] * manifest.MAX_STEPS)]))[0].steps) == 16384
    with pytest.raises(PackError, match="16385 steps together, at most 16384"):
        manifest.serialise([guest([step] * manifest.MAX_STEPS), guest([step], "h")])
    many = [guest([step], f"g{i}") for i in range(513)]
    assert len(manifest.parse(manifest.serialise(many[:512]))) == 512
    with pytest.raises(PackError, match="513 guests, at most 512"):
        manifest.serialise(many)


def test_a_manifest_that_contradicts_itself_is_no_guest() -> None:
    """With checksums that are right: a hostile file, not a damaged one."""
    raw = manifest.serialise(
        [guest([manifest.Step(Kind.DATA, 0, PAGE, b"x" * PAGE), manifest.Step(Kind.ZERO, PAGE, PAGE)])]
    )
    step = manifest.HEADER.size + manifest.GUEST_SIZE

    def changed(offset: int, new: bytes) -> bytes:
        spoilt = bytearray(raw)
        spoilt[offset : offset + len(new)] = new
        spoilt[24:28] = bytes(4)
        (payload,) = struct.unpack_from("<Q", spoilt, 48)
        spoilt[24:28] = struct.pack("<I", zlib.crc32(spoilt[:payload]))
        return bytes(spoilt)

    assert len(manifest.parse(changed(0, b"\0"))) == 1
    cases = {
        "kind": (step, b"\x09"), "encryption": (64 + 32, b"\x09"), "action": (64 + 62, b"\x09"),
        "many steps": (40, struct.pack("<I", 1 << 31)), "many guests": (32, struct.pack("<I", 1 << 31)),
        "a step's payload outside": (step + 24, struct.pack("<Q", 1 << 40)), "a huge step of zeros": (step + 32 + 16, struct.pack("<Q", 1 << 62)),
        "a step outside of memory": (step + 32 + 8, struct.pack("<Q", 16 * MIB)),
    }  # fmt: skip
    for name, (offset, new) in cases.items():
        with pytest.raises(PackError):
            manifest.parse(changed(offset, new))
            pytest.fail(name)


def test_descriptors_are_as_the_manual_has_them() -> None:
    """APM2 4.8: flat 64-bit code, flat data."""
    assert machine.gdt()[16:] == struct.pack("<QQ", 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
    assert machine.descriptor(0x08B, 0x12345, 0xAABBCCDD) == struct.pack(
        "<HHBBBB", 0x2345, 0xCCDD, 0xBB, 0x8B, 0x01, 0xAA
    )
