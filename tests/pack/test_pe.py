# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The manifest as a section of a built EFI file, judged by two independent readers: pefile and objdump."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pefile
import pytest

from launch_program import ANY_CPU, LaunchProgram
from pack import pe
from pack.errors import PackError


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
        "no room": spoil(data, optional + 60, struct.pack("<I", optional + 240 + 40 * pe.Image(data).count)),
    }
    for words, broken in cases.items():
        with pytest.raises(PackError, match=words.replace("+", r"\+")):
            pe.insert_manifest(broken, b"manifest")


def test_a_section_that_is_followed_is_not_replaced(empty_efi: Path) -> None:
    once = pe.insert_manifest(empty_efi.read_bytes(), b"one")
    with pytest.raises(PackError, match="something follows"):
        pe.insert_manifest(once + b"overlay".ljust(512, b"\0"), b"two")
    image = pe.Image(once)
    image.append(b".later", b"more")
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
