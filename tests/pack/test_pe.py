# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The manifest as a section of a built EFI file, judged by two independent readers: pefile and objdump."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pefile
import pytest

from launch_program import ANY_CPU, LaunchProgram
from pack import pe
from pack.errors import PackError

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def packed(pack, guests_toml: Path, empty_efi: Path, tmp_path: Path) -> Path:
    pack(guests_toml, "--efi", empty_efi, "-o", tmp_path / "packed.efi")
    pack(guests_toml, "--manifest-only", "-o", tmp_path / "alone.manifest")
    return tmp_path / "packed.efi"


def section(image: pefile.PE):
    return next(s for s in image.sections if s.Name == b".manifes")


def test_the_section_holds_the_manifest(packed: Path) -> None:
    image = pefile.PE(str(packed))
    found = section(image)
    manifest = (packed.parent / "alone.manifest").read_bytes()
    assert found.get_data()[: found.Misc_VirtualSize] == manifest
    assert found.Misc_VirtualSize == len(manifest)
    assert found.Characteristics == 0x40000040


def test_headers_agree_with_the_file(packed: Path, empty_efi: Path) -> None:
    image, before = pefile.PE(str(packed)), pefile.PE(str(empty_efi))
    found, optional = section(image), image.OPTIONAL_HEADER
    assert image.FILE_HEADER.NumberOfSections == before.FILE_HEADER.NumberOfSections + 1
    assert found is image.sections[-1]
    assert found.VirtualAddress % max(optional.SectionAlignment, 4096) == 0
    assert found.PointerToRawData % optional.FileAlignment == 0 and found.SizeOfRawData % optional.FileAlignment == 0
    assert found.PointerToRawData + found.SizeOfRawData == packed.stat().st_size
    assert optional.SizeOfImage % optional.SectionAlignment == 0
    assert optional.SizeOfImage >= found.VirtualAddress + found.Misc_VirtualSize
    assert optional.SizeOfInitializedData == before.OPTIONAL_HEADER.SizeOfInitializedData + found.SizeOfRawData
    assert image.verify_checksum()
    new = set(image.get_warnings()) - set(before.get_warnings())
    assert not [warning for warning in new if not warning.startswith("Byte 0x00 makes up")]
    for other in image.sections[:-1]:
        assert other.VirtualAddress + other.Misc_VirtualSize <= found.VirtualAddress


def test_everything_else_is_as_it_was(packed: Path, empty_efi: Path) -> None:
    before, after = pefile.PE(str(empty_efi)), pefile.PE(str(packed))
    assert before.sections
    for old, new in zip(before.sections, after.sections[:-1], strict=True):
        assert old.__pack__() == new.__pack__() and old.get_data() == new.get_data()
    assert before.FILE_HEADER.TimeDateStamp == after.FILE_HEADER.TimeDateStamp
    assert before.OPTIONAL_HEADER.AddressOfEntryPoint == after.OPTIONAL_HEADER.AddressOfEntryPoint


def test_objdump_reads_it(packed: Path) -> None:
    out = subprocess.run(["objdump", "-h", packed], capture_output=True, text=True, check=True)
    assert ".manifes" in out.stdout and not out.stderr


def test_packing_again_replaces_the_section(pack, guests_toml: Path, packed: Path, tmp_path: Path) -> None:
    pack(guests_toml, "--efi", packed, "-o", tmp_path / "again.efi")
    assert (tmp_path / "again.efi").read_bytes() == packed.read_bytes()
    guests_toml.write_text(guests_toml.read_text().replace("marker=secret", "marker=other"))
    pack(guests_toml, "--efi", packed, "-o", tmp_path / "other.efi")
    image = pefile.PE(str(tmp_path / "other.efi"))
    assert sum(s.Name == b".manifes" for s in image.sections) == 1 and image.verify_checksum()
    pack(guests_toml, "--efi", packed, "-o", packed)
    assert packed.read_bytes() == (tmp_path / "other.efi").read_bytes()


def test_show_reads_the_efi_file(pack, packed: Path) -> None:
    alone = pack("--show", packed.parent / "alone.manifest").stdout
    assert pack("--show", packed).stdout == alone


def test_no_manifest_to_show(pack, empty_efi: Path) -> None:
    done = pack("--show", empty_efi, check=False)
    assert done.returncode == 1 and "holds no manifest" in done.stderr


def spoil(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def sealed(data: bytes) -> bytes:
    """With the checksum that the bytes must have, so that something else has to find the fault."""
    at = struct.unpack_from("<I", data, 0x3C)[0] + 24 + 64
    words = struct.unpack(f"<{-(-len(data) // 2)}H", spoil(data, at, bytes(4)) + bytes(len(data) % 2))
    total = 0
    for word in words:
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return spoil(data, at, struct.pack("<I", total + len(data)))


def header_of(data: bytes, name: bytes) -> int:
    """Where the section's header lies."""
    return data.index(name.ljust(8, b"\0"), 0x100, 0x600)


@pytest.fixture(scope="session")
def product(build: Path, built) -> Path:
    """The real thing, as `make efi` builds it before packing."""
    built(f"{os.environ.get('BUILD', '.build')}/boot/sevisor.efi")
    return build / "boot" / "sevisor.efi"


def test_the_product_is_taken(product: Path) -> None:
    data = product.read_bytes()
    assert pe.extract_manifest(pe.insert_manifest(data, b"m" * 5000)) == b"m" * 5000


def test_secure_boots_wishes_are_met_before_and_after_packing(product: Path) -> None:
    """NX_COMPAT: no section is writable and executable, each begins a page, all that start-up code relocates is writable.
    SBAT: without that section shim starts nothing; a component is six fields, none of them empty (shim's SBAT.md)."""
    data = product.read_bytes()
    for image in (pefile.PE(data=data), pefile.PE(data=pe.insert_manifest(data, b"guests"))):
        sections = {s.Name.rstrip(b"\0"): s for s in image.sections}
        assert image.OPTIONAL_HEADER.DllCharacteristics & 0x0100
        assert image.OPTIONAL_HEADER.SectionAlignment == 4096 and image.verify_checksum()
        writable = {name for name, s in sections.items() if s.IMAGE_SCN_MEM_WRITE}
        assert {name for name, s in sections.items() if s.IMAGE_SCN_MEM_EXECUTE} == {b".text"}
        assert b".text" not in writable and b".sbat" not in writable
        assert all(s.VirtualAddress % 4096 == 0 for s in image.sections)
        rela = sections[b".rela"].get_data()[: sections[b".rela"].Misc_VirtualSize]
        assert len(rela) > 0
        for at, *_ in struct.iter_unpack("<QQq", rela):
            assert image.get_section_by_rva(at).Name.rstrip(b"\0") in writable
        sbat = sections[b".sbat"].get_data()[: sections[b".sbat"].Misc_VirtualSize].decode("ascii")
        assert sbat.endswith("\n\0")  # shim reads as far as the zero
        rows = [line.split(",") for line in sbat[:-1].splitlines()]
        assert all(len(row) == 6 and all(row) for row in rows)
        assert [row[:2] for row in rows] == [["sbat", "1"], ["sevisor", "1"]]


def test_an_image_that_does_not_keep_its_promise_is_not_finished(product: Path, tmp_path: Path) -> None:
    """linker/finish.py judges what the linker made before it sets NX_COMPAT."""
    data = product.read_bytes()
    flags = 36  # in a section's header
    (reloc,) = struct.unpack_from("<I", data, header_of(data, b".reloc") + 12)
    breaks = {
        "is writable and executable": (header_of(data, b".text") + flags, struct.pack("<I", 0xE0000020)),
        "code is in .text": (header_of(data, b".rodata") + flags, struct.pack("<I", 0x60000020)),
        "is not in a writable section": (header_of(data, b".data") + flags, struct.pack("<I", 0x40000040)),
        "does not begin a page": (header_of(data, b".reloc") + 12, struct.pack("<I", reloc + 0x200)),
    }
    for words, (at, new) in breaks.items():
        (tmp_path / "broken.efi").write_bytes(spoil(data, at, new))
        done = subprocess.run(
            [sys.executable, ROOT / "linker" / "finish.py", tmp_path / "broken.efi"], capture_output=True, text=True
        )
        assert done.returncode == 1 and words in done.stderr, words
        assert (tmp_path / "broken.efi").read_bytes() == spoil(data, at, new)


@pytest.mark.parametrize("cut", [1, 2, 511, 512, 4095, 4096, 4097, 30_000, 100_000, 200_000])
def test_a_cut_file_is_refused(product: Path, cut: int) -> None:
    data = product.read_bytes()
    for whole in (data, pe.insert_manifest(data, b"manifest" * 40_000)):
        with pytest.raises(PackError, match=r"truncated: its section \.\w+ ends at byte \d+, and the file has \d+"):
            pe.insert_manifest(whole[:-cut], b"two")
    packed = pe.insert_manifest(data, b"manifest" * 40_000)
    with pytest.raises(PackError, match="truncated"):
        pe.extract_manifest(packed[:-cut])


def test_a_cut_is_noticed_anywhere(product: Path) -> None:
    data = product.read_bytes()
    for size in [*range(0, 0x1100, 7), *range(0x1100, len(data), 9973)]:
        with pytest.raises(PackError):
            pe.insert_manifest(data[:size], b"manifest")


def test_a_changed_bit_is_noticed_anywhere(product: Path) -> None:
    data = product.read_bytes()
    for offset in [*range(0, 0x400, 3), *range(0x400, len(data), 5003)]:
        with pytest.raises(PackError):
            pe.insert_manifest(spoil(data, offset, bytes([data[offset] ^ 1 << offset % 8])), b"manifest")


@pytest.mark.parametrize("junk", [b"\0", b"x", bytes(512), bytes(4096), b"MZ" * 5000])
def test_a_file_with_something_appended_is_refused(product: Path, junk: bytes) -> None:
    for whole in (product.read_bytes(), pe.insert_manifest(product.read_bytes(), b"one")):
        for data in (whole + junk, sealed(whole + junk)):
            with pytest.raises(PackError, match="something was appended or cut off"):
                pe.insert_manifest(data, b"two")


def test_what_is_not_ours_or_contradicts_itself_is_refused(product: Path) -> None:
    """Each with a right checksum."""
    data = product.read_bytes()
    pe_header = struct.unpack_from("<I", data, 0x3C)[0]
    optional, text, hv = pe_header + 24, header_of(data, b".text"), header_of(data, b".hv")
    size_of_image, text_end = (
        struct.unpack_from("<I", data, optional + 56)[0],
        struct.unpack_from("<I", data, text + 16)[0],
    )
    begin, reloc = (struct.unpack_from("<I", data, header + 12)[0] for header in (text, header_of(data, b".reloc")))
    number = lambda value: struct.pack("<I", value)  # noqa: E731
    cases = {
        "not an EFI application for x86-64": [
            (pe_header + 4, b"\x64\xaa"),
            (optional + 68, b"\x0b"),
            (optional + 68, b"\x03"),
        ],
        "it holds no hypervisor": [
            (hv, b".xx"),
            (struct.unpack_from("<I", data, hv + 20)[0], b"\xbb"),
            (hv + 8, number(7)),
        ],
        "section .text and section .reloc overlap": [
            (text + 16, number(text_end + 512)),
            (text + 8, number(reloc - begin + 1)),
        ],
        "the headers and section .text overlap": [(text + 20, number(0xE00)), (text + 12, number(0xFFF))],
        "a section lies outside of the image": [
            (optional + 56, number(size_of_image - 4096)),
            (hv + 8, number(0x40000)),
        ],
        "its headers are not whole": [(optional + 60, number(0x100)), (optional + 60, number(len(data) + 1))],
    }
    for words, changes in cases.items():
        for offset, new in changes:
            with pytest.raises(PackError) as error:
                pe.insert_manifest(sealed(spoil(data, offset, new)), b"manifest")
            assert words in str(error.value), (offset, new)
    pe.insert_manifest(sealed(spoil(data, optional + 56, number(size_of_image))), b"manifest")  # sealed() does no harm


def test_sizes_that_contradict_each_other_are_refused(product: Path) -> None:
    packed = pe.insert_manifest(product.read_bytes(), b"manifest")
    initialised = struct.unpack_from("<I", packed, 0x3C)[0] + 24 + 8
    for data, value in ((packed, 4095), (packed, 0), (product.read_bytes(), 0xFFFFFFFF)):
        with pytest.raises(PackError, match="the sizes in its headers contradict each other"):
            pe.insert_manifest(sealed(spoil(data, initialised, struct.pack("<I", value))), b"m")


def test_sections_may_stand_in_any_order(product: Path) -> None:
    data = product.read_bytes()
    first, last = header_of(data, b".text"), header_of(data, b".dynsym")
    swapped = spoil(spoil(data, first, data[last : last + 40]), last, data[first : first + 40])
    packed = pe.insert_manifest(sealed(swapped), b"one" * 3000)
    assert pe.extract_manifest(packed) == b"one" * 3000
    image, before = pefile.PE(data=packed), pefile.PE(data=data)
    assert {s.Name: s.get_data() for s in before.sections}.items() <= {
        s.Name: s.get_data() for s in image.sections
    }.items()
    assert pe.insert_manifest(packed, b"one" * 3000) == packed


def test_no_header_makes_the_packer_fall(product: Path) -> None:
    """Random changes of the headers with a right checksum: packed soundly, or refused in words."""
    data, chance = product.read_bytes(), random.Random(1)
    for _ in range(100):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            at = chance.choice([chance.randrange(0x3C, 0x300), chance.randrange(0x80, 0x200)])
            broken[at : at + 4] = chance.choice(
                [bytes(4), b"\xff" * 4, chance.randbytes(4), struct.pack("<I", chance.randrange(1 << 16))]
            )
        try:
            packed = pe.insert_manifest(sealed(bytes(broken)), b"manifest")
        except PackError:
            continue
        assert pe.extract_manifest(packed) == b"manifest"


def test_what_is_no_efi_file_is_refused(empty_efi: Path) -> None:
    data = empty_efi.read_bytes()
    header = struct.unpack_from("<I", data, 0x3C)[0]
    optional = header + 24
    cases = {
        "no MZ header": b"ELF" + data[3:],
        "no PE header": spoil(data, header, b"XX"),
        "truncated": data[: header + 60],
        "PE32+": spoil(data, optional, b"\x0b\x01"),
        "power of two": spoil(data, optional + 36, b"\x03\x02\0\0"),
        "signed": spoil(data, optional + 112 + 32, b"\0\x10\0\0\0\x10\0\0"),
        "no room": sealed(spoil(data, optional + 60, struct.pack("<I", optional + 240 + 40 * pe.Image(data).count))),
    }
    for words, broken in cases.items():
        with pytest.raises(PackError, match=words.replace("+", r"\+")):
            pe.insert_manifest(broken, b"manifest")


def test_a_section_that_is_followed_is_not_replaced(empty_efi: Path) -> None:
    once = pe.insert_manifest(empty_efi.read_bytes(), b"one")
    with pytest.raises(PackError, match="something was appended"):
        pe.insert_manifest(once + b"overlay".ljust(512, b"\0"), b"two")
    image = pe.Image(once)
    image.append(b".later", b"more")
    image.update_checksum()
    with pytest.raises(PackError, match="something follows"):
        pe.insert_manifest(bytes(image.data), b"two")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 511, 512, 70001])
def test_checksum_is_that_of_pefile(empty_efi: Path, size: int) -> None:
    data = pe.insert_manifest(empty_efi.read_bytes(), b"\xff" * size)
    assert pefile.PE(data=data).verify_checksum()


def test_a_second_reader_finds_the_pins_where_the_packer_put_them(packed: Path) -> None:
    """tests/system/launch_program.py shares no code with the packer."""
    guests = LaunchProgram(packed).guests
    assert {name: (guest.vcpus, guest.pins) for name, guest in guests.items()} == {
        "secret": (1, (ANY_CPU,)), "plain": (2, (1, 0)), "host": (1, (ANY_CPU,)),
    }  # fmt: skip
