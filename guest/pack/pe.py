# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Adds a section to an existing PE32+ file, as unified kernel images do (Microsoft PE/COFF format).

A section's name has 8 bytes, so `.manifest` is stored as `.manifes`. The file must be Sevisor's, and unchanged since the linker or
this module wrote it: contiguous sections, nothing after them, and a correct checksum.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .errors import PackError
from .layout import round_up

SECTION_NAME = b".manifest"[:8]
HV_SECTION = b".hv"
HV_MAGIC = 0x00564852535645BA  # boot/handoff.h
PAGE = 4096

_X86_64 = 0x8664
_PE32_PLUS = 0x20B
_EFI_APPLICATION = 10
_INITIALISED_DATA_READ = 0x40000040
_SECTION = struct.Struct("<8sIIIIIIHHI")

# Offsets in the optional header.
_SIZE_OF_INITIALISED_DATA = 8
_SECTION_ALIGNMENT = 32
_FILE_ALIGNMENT = 36
_SIZE_OF_IMAGE = 56
_SIZE_OF_HEADERS = 60
_CHECKSUM = 64
_SUBSYSTEM = 68
_SECURITY_DIRECTORY = 112 + 4 * 8


@dataclass
class _Section:
    name: bytes
    virtual_size: int
    address: int
    raw_size: int
    raw_offset: int
    characteristics: int


class Image:
    """A PE32+ file; what this module relies on is checked."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        if len(data) < 0x40 or data[:2] != b"MZ":
            raise PackError("this is not an EFI file (no MZ header)")
        self.coff = struct.unpack_from("<I", data, 0x3C)[0] + 4
        if data[self.coff - 4 : self.coff] != b"PE\0\0" or self.coff + 20 > len(data):
            raise PackError("this is not an EFI file (no PE header)")
        self.count, optional_size = struct.unpack_from("<H12xH", data, self.coff + 2)
        self.optional = self.coff + 20
        self.table = self.optional + optional_size
        if self.table + _SECTION.size * self.count > len(data) or optional_size < _SECURITY_DIRECTORY + 8:
            raise PackError("this EFI file is truncated")
        if struct.unpack_from("<H", data, self.optional)[0] != _PE32_PLUS:
            raise PackError("this EFI file is not for 64-bit machines (no PE32+ header)")
        self.section_alignment = self.field(_SECTION_ALIGNMENT)
        self.file_alignment = self.field(_FILE_ALIGNMENT)
        for alignment in (self.section_alignment, self.file_alignment):
            if alignment == 0 or alignment & (alignment - 1):
                raise PackError("this EFI file is malformed (an alignment is not a power of two)")
        self._check_ranges()

    def _check_ranges(self) -> None:
        """Sections must lie inside the file, and must not overlap in the file or in memory."""
        headers = self.field(_SIZE_OF_HEADERS)
        if headers < self.table + _SECTION.size * self.count or headers > len(self.data):
            raise PackError("this EFI file is truncated or malformed (its headers are not whole)")
        in_file, in_memory = [(0, headers, "the headers")], [(0, headers, "the headers")]
        for section in self.sections():
            name = f"section {section.name.decode('ascii', 'backslashreplace')}"
            end = section.raw_offset + section.raw_size
            if section.raw_size and end > len(self.data):
                raise PackError(
                    f"this EFI file is truncated: its {name} ends at byte {end}, and the file has {len(self.data)}: copy it again"
                )
            if section.raw_size:
                in_file.append((section.raw_offset, end, name))
            in_memory.append((section.address, section.address + max(section.virtual_size, 1), name))
        for ranges in (sorted(in_file), sorted(in_memory)):
            for (_, end, first), (start, _, second) in zip(ranges, ranges[1:]):
                if start < end:
                    raise PackError(f"this EFI file is malformed ({first} and {second} overlap)")
        if in_memory and max(end for _, end, _ in in_memory) > self.field(_SIZE_OF_IMAGE):
            raise PackError("this EFI file is malformed (a section lies outside of the image)")

    def end_of_file(self) -> int:
        """Offset of the end of headers and sections."""
        ends = [section.raw_offset + section.raw_size for section in self.sections() if section.raw_size]
        return round_up(max([self.field(_SIZE_OF_HEADERS), *ends]), self.file_alignment)

    def signature(self) -> int:
        """Size of the signature, which must be at the end of the file; 0: not signed."""
        offset, size = struct.unpack_from("<II", self.data, self.optional + _SECURITY_DIRECTORY)
        if size and (offset != round_up(self.end_of_file(), 8) or offset + size != len(self.data)):
            raise PackError(
                "this EFI file is signed, but its signature is not what follows its sections: sign it again"
            )
        return size

    def check_origin(self) -> None:
        """Checks that this is Sevisor's file, undamaged. The checksum of a signed file is not checked: signing tools need not
        update it, and UEFI verifies the signature."""
        (machine,) = struct.unpack_from("<H", self.data, self.coff)
        (subsystem,) = struct.unpack_from("<H", self.data, self.optional + _SUBSYSTEM)
        if (machine, subsystem) != (_X86_64, _EFI_APPLICATION):
            raise PackError("this is not an EFI application for x86-64")
        hypervisor = self.content(HV_SECTION)
        if hypervisor is None or hypervisor[:8] != struct.pack("<Q", HV_MAGIC):
            raise PackError(
                "this EFI file is not Sevisor's: it holds no hypervisor (`make efi` builds boot/sevisor.efi)"
            )
        if self.signature():
            return
        if len(self.data) != self.end_of_file():
            raise PackError(
                f"this EFI file should have {self.end_of_file()} bytes, and it has {len(self.data)}: "
                "something was appended or cut off: build or copy it again"
            )
        if pe_checksum(bytes(self.data), self.optional + _CHECKSUM) != self.field(_CHECKSUM):
            raise PackError("this EFI file is damaged or was changed (its checksum is wrong): build or copy it again")

    def field(self, offset: int) -> int:
        return struct.unpack_from("<I", self.data, self.optional + offset)[0]

    def set_field(self, offset: int, value: int) -> None:
        if not 0 <= value < 1 << 32:
            raise PackError("this EFI file is malformed (the sizes in its headers contradict each other)")
        struct.pack_into("<I", self.data, self.optional + offset, value)

    def sections(self) -> list[_Section]:
        out = []
        for i in range(self.count):
            name, size, address, raw_size, raw_offset, *_, flags = _SECTION.unpack_from(
                self.data, self.table + _SECTION.size * i
            )
            out.append(_Section(name.rstrip(b"\0"), size, address, raw_size, raw_offset, flags))
        return out

    def content(self, name: bytes) -> bytes | None:
        for section in self.sections():
            if section.name == name:
                size = min(section.virtual_size, section.raw_size)
                return bytes(self.data[section.raw_offset : section.raw_offset + size])
        return None

    def end_of_image(self) -> int:
        ends = [section.address + section.virtual_size for section in self.sections()]
        return round_up(max(ends, default=self.field(_SIZE_OF_HEADERS)), self.section_alignment)

    def remove_last(self, name: bytes) -> None:
        """Removes the last section, in memory and in the file."""
        sections = self.sections()
        found = [section for section in sections if section.name == name]
        if not found:
            return
        last = sections[-1]
        follows = any(s.address > last.address or s.raw_offset > last.raw_offset for s in sections)
        end = round_up(last.raw_offset + last.raw_size, self.file_alignment)
        if len(found) > 1 or found[0] is not last or follows or len(self.data) > end:
            raise PackError(f"the section {name.decode()} cannot be replaced: something follows it in the file")
        del self.data[last.raw_offset :]
        self.count -= 1
        header = self.table + _SECTION.size * self.count
        self.data[header : header + _SECTION.size] = bytes(_SECTION.size)
        struct.pack_into("<H", self.data, self.coff + 2, self.count)
        self.set_field(_SIZE_OF_INITIALISED_DATA, self.field(_SIZE_OF_INITIALISED_DATA) - last.raw_size)
        self.set_field(_SIZE_OF_IMAGE, self.end_of_image())

    def append(self, name: bytes, content: bytes) -> None:
        """Adds a section of read-only data at the end, page aligned in memory."""
        header = self.table + _SECTION.size * self.count
        room_until = min(
            [self.field(_SIZE_OF_HEADERS)] + [s.raw_offset for s in self.sections() if s.raw_size and s.raw_offset]
        )
        if header + _SECTION.size > room_until or any(self.data[header : header + _SECTION.size]):
            raise PackError("this EFI file has no room for one more section header")
        address = round_up(self.end_of_image(), max(PAGE, self.section_alignment))
        raw_offset = round_up(len(self.data), self.file_alignment)
        raw_size = round_up(len(content), self.file_alignment)
        if raw_offset + raw_size >= 1 << 32 or address + raw_size >= 1 << 32:
            raise PackError("the manifest is too big for an EFI file: the file would have 4 GiB or more")

        self.data[header : header + _SECTION.size] = _SECTION.pack(
            name, len(content), address, raw_size, raw_offset, 0, 0, 0, 0, _INITIALISED_DATA_READ
        )
        self.data += bytes(raw_offset - len(self.data)) + content + bytes(raw_size - len(content))
        self.count += 1
        struct.pack_into("<H", self.data, self.coff + 2, self.count)
        self.set_field(_SIZE_OF_INITIALISED_DATA, self.field(_SIZE_OF_INITIALISED_DATA) + raw_size)
        self.set_field(_SIZE_OF_IMAGE, self.end_of_image())

    def update_checksum(self) -> None:
        self.set_field(_CHECKSUM, pe_checksum(bytes(self.data), self.optional + _CHECKSUM))


def pe_checksum(data: bytes, at: int) -> int:
    """The sum of all 16-bit words with end-around carry, plus the length; the four bytes of the sum itself, `at`, count as 0."""
    padded = data[:at] + bytes(4) + data[at + 4 :] + bytes(-len(data) % 4)
    # 2^16 = 1 modulo 0xffff, so 32-bit words give the same sum, at half the number.
    total = sum(memoryview(padded).cast("I"))
    folded = total % 0xFFFF
    if folded == 0 and total != 0:
        folded = 0xFFFF
    return (folded + len(data)) & 0xFFFFFFFF


def check(efi: bytes) -> None:
    """Checks that this is Sevisor's file, packed or not, signed or not, and undamaged."""
    Image(efi).check_origin()


def insert_manifest(efi: bytes, manifest: bytes) -> bytes:
    """The EFI file with the manifest as its last section; an existing one is replaced."""
    image = Image(efi)
    if any(image.data[image.optional + _SECURITY_DIRECTORY : image.optional + _SECURITY_DIRECTORY + 8]):
        raise PackError("this EFI file is signed; packing would break the signature: pack first, then sign")
    image.check_origin()
    image.remove_last(SECTION_NAME)
    image.append(SECTION_NAME, manifest)
    image.update_checksum()
    return bytes(image.data)


def extract_manifest(data: bytes) -> bytes:
    """The manifest of an EFI file, or the data itself if it is no EFI file."""
    if data[:2] != b"MZ":
        return data
    content = Image(data).content(SECTION_NAME)
    if content is None:
        raise PackError("this EFI file holds no manifest: pack one first")
    return content
