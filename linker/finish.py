#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""finish.py FILE: what objcopy cannot say of an EFI file, and the tests that a linker script cannot make.

Sets NX_COMPAT: the firmware may map each section with its own rights, and data without execution. So no section may be
writable and executable, each begins a page, and what start-up code relocates is writable.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guest"))

from pack import pe  # noqa: E402

# Microsoft PE/COFF: section flags, DllCharacteristics; the ELF x86-64 ABI: Elf64_Rela.
EXECUTE, WRITE = 0x20000000, 0x80000000
NX_COMPAT = 0x0100
DLL_CHARACTERISTICS = 70
RELA = struct.Struct("<QQq")


def faults(image: pe.Image) -> list[str]:
    found = []
    sections = {section.name.decode(): section for section in image.sections()}
    for name, section in sections.items():
        if section.address % pe.PAGE or image.section_alignment % pe.PAGE:
            found.append(f"{name} does not begin a page")
        if section.characteristics & EXECUTE and section.characteristics & WRITE:
            found.append(f"{name} is writable and executable")
        if bool(section.characteristics & EXECUTE) != (name == ".text"):
            found.append(f"{name}: code is in .text, and nowhere else")
        if name == ".hv" and not section.characteristics & WRITE:
            found.append(f"{name} is not writable: boot/load.c zeroes it")
    rela = image.content(b".rela") or b""
    for at, *_ in RELA.iter_unpack(rela):
        section = next((s for s in sections.values() if s.address <= at < s.address + s.virtual_size), None)
        if not section or not section.characteristics & WRITE:
            found.append(f"a relocation at {at:#x} is not in a writable section")
    return found


def finish(data: bytes) -> bytes:
    image = pe.Image(data)
    if found := faults(image):
        raise SystemExit("finish.py: " + "; ".join(found))
    at = image.optional + DLL_CHARACTERISTICS
    (flags,) = struct.unpack_from("<H", image.data, at)
    struct.pack_into("<H", image.data, at, flags | NX_COMPAT)
    image.update_checksum()
    return bytes(image.data)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_bytes(finish(path.read_bytes()))
