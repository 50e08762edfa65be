# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The state of x86 in which every packed guest starts: 64-bit mode, identity mapping, flat segments."""

from __future__ import annotations

import struct

from .layout import GuestMemory
from .manifest import PAGE, Registers, Segment

GDT_GPA = 0x3000
PAGE_TABLES_GPA = 0x4000
MAPPED_MAX = 4 << 30

SELECTOR_CODE = 0x10
SELECTOR_DATA = 0x18

# Attributes as the VMCB has them: type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9, D 10, G 11.
CODE_64 = 0xA9B
DATA = 0xC93
TSS_BUSY = 0x08B
LDT = 0x082

CR0 = 0x80010033  # PG WP NE ET MP PE
CR4 = 0x20  # PAE
EFER = 0xD00  # NXE LMA LME
RFLAGS = 0x2

_PRESENT_WRITE = 0x3
_PRESENT_WRITE_LARGE = 0x83


def descriptor(attributes: int, limit: int = 0xFFFFF, base: int = 0) -> bytes:
    """A GDT entry from the VMCB's attributes; `limit` in units of G."""
    low, high = attributes & 0xFF, attributes >> 8
    return struct.pack(
        "<HHBBBB", limit & 0xFFFF, base & 0xFFFF, base >> 16 & 0xFF, low, high << 4 | limit >> 16, base >> 24
    )


def gdt() -> bytes:
    """Two empty entries, then code at 0x10 and data at 0x18 (Linux boot protocol, "64-bit boot protocol")."""
    return bytes(16) + descriptor(CODE_64) + descriptor(DATA)


def page_tables(memory: int, c_bit: int) -> bytes:
    """PML4, PDPT and page directories that map guest memory (4 GiB at most) to itself in pages of 2 MiB.

    `c_bit` is the mask that makes memory private, 0 without SEV. It stands in every entry, tables included:
    hardware takes walks as private in any case, and software that reads its own tables finds what it expects.
    """
    mapped = min(memory, MAPPED_MAX)
    directories = -(-mapped // (1 << 30))
    pdpt_gpa = PAGE_TABLES_GPA + PAGE
    pml4 = struct.pack("<Q", pdpt_gpa | c_bit | _PRESENT_WRITE).ljust(PAGE, b"\0")
    pdpt = b"".join(
        struct.pack("<Q", (pdpt_gpa + PAGE * (1 + i)) | c_bit | _PRESENT_WRITE) for i in range(directories)
    ).ljust(PAGE, b"\0")
    entries = b"".join(
        struct.pack("<Q", gpa | c_bit | _PRESENT_WRITE_LARGE) for gpa in range(0, mapped, 2 << 20)
    ).ljust(PAGE * directories, b"\0")
    return pml4 + pdpt + entries


def enter_long_mode(memory: GuestMemory, cbitpos: int | None, rip: int, **registers: int) -> Registers:
    """Places GDT and page tables, and returns the registers that go with them. Interrupts are off."""
    table = gdt()
    memory.place(GDT_GPA, table, "GDT")
    memory.place(PAGE_TABLES_GPA, page_tables(memory.size, 0 if cbitpos is None else 1 << cbitpos), "page tables")

    data = Segment(SELECTOR_DATA, DATA, 0xFFFFFFFF)
    return Registers(
        values={
            "rip": rip, "rflags": RFLAGS, "cr0": CR0, "cr3": PAGE_TABLES_GPA, "cr4": CR4, "efer": EFER, **registers,
        },
        segments={
            "cs": Segment(SELECTOR_CODE, CODE_64, 0xFFFFFFFF),
            "ds": data, "es": data, "ss": data,
            "fs": Segment(0, DATA, 0xFFFFFFFF), "gs": Segment(0, DATA, 0xFFFFFFFF),
            "gdtr": Segment(0, 0, len(table) - 1, GDT_GPA),
            "idtr": Segment(0, 0, 0xFFFF, 0),  # limit 0: the first fault would count as a reset (hv/vm/exit_dispatch.c)
            "ldtr": Segment(0, LDT, 0xFFFF),
            "tr": Segment(0, TSS_BUSY, 0xFFFF),
        },
    )  # fmt: skip
