# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The guest's ACPI tables: a hardware-reduced machine without PIC, PIT, HPET, RTC, IOAPIC or PCI.

The DSDT comes compiled from guest/dsdt.asl (iasl); all other tables are built here. ACPI 6.3, chapters 4 and 5.
"""

from __future__ import annotations

import struct

from .errors import PackError

OEM_ID = b"SEVSOR"
OEM_TABLE_ID = b"SEVISOR "
CREATOR_ID = b"SVSR"

SLEEP_CONTROL_PORT = 0x600
SLEEP_STATUS_PORT = 0x601
RESET_PORT = 0x602
RESET_VALUE = 1
PM_TIMER_PORT = 0x608

# FADT flags (table 5-35): WBINVD, PROC_C1, no fixed power and sleep buttons, no RTC wake, RESET_REG_SUP, HEADLESS,
# HW_REDUCED_ACPI.
_FADT_FLAGS = 1 << 0 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 12 | 1 << 20
# IA-PC boot architecture flags (table 5-36): no VGA, no CMOS RTC; no legacy devices, no 8042.
_BOOT_ARCH = 1 << 2 | 1 << 5

_HEADER = struct.Struct("<4sIBB6s8sI4sI")
RSDP_SIZE = 36


def _checksum(data: bytes) -> int:
    return -sum(data) & 0xFF


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    def header(checksum: int) -> bytes:
        return _HEADER.pack(
            signature, _HEADER.size + len(body), revision, checksum, OEM_ID, OEM_TABLE_ID, 1, CREATOR_ID, 1
        )

    return header(_checksum(header(0) + body)) + body


def _port(port: int, size: int = 1) -> bytes:
    """Generic Address Structure: 1 or 4 bytes of system I/O space."""
    return struct.pack("<BBBBQ", 1, 8 * size, 0, {1: 1, 4: 3}[size], port)


def fadt(dsdt_gpa: int) -> bytes:
    body = bytearray(276 - _HEADER.size)

    def put(offset: int, data: bytes) -> None:
        body[offset - _HEADER.size : offset - _HEADER.size + len(data)] = data

    # Not required with hardware-reduced ACPI, but Linux without kvmclock calibrates the TSC by it.
    put(208, _port(PM_TIMER_PORT, 4))
    put(109, struct.pack("<H", _BOOT_ARCH))
    put(112, struct.pack("<I", _FADT_FLAGS))
    put(116, _port(RESET_PORT) + bytes([RESET_VALUE]))
    put(131, bytes([3]))  # minor version: 6.3
    put(140, struct.pack("<Q", dsdt_gpa))
    put(244, _port(SLEEP_CONTROL_PORT))
    put(256, _port(SLEEP_STATUS_PORT))
    put(268, b"SEVISOR\0")
    return _table(b"FACP", 6, bytes(body))


def madt(vcpus: int) -> bytes:
    """x2APIC entries only: the guest starts in x2APIC mode and never sees the MMIO page."""
    body = struct.pack("<II", 0xFEE00000, 0)
    for i in range(vcpus):
        body += struct.pack("<BBHIII", 9, 16, 0, i, 1, i)
    return _table(b"APIC", 5, body)


def xsdt(tables: list[int]) -> bytes:
    return _table(b"XSDT", 1, b"".join(struct.pack("<Q", gpa) for gpa in tables))


def rsdp(xsdt_gpa: int) -> bytes:
    def with_checksums(first: int, second: int) -> bytes:
        return struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", first, OEM_ID, 2, 0, RSDP_SIZE, xsdt_gpa, second)

    first = _checksum(with_checksums(0, 0)[:20])
    return with_checksums(first, _checksum(with_checksums(first, 0)))


def build(gpa: int, vcpus: int, dsdt: bytes) -> bytes:
    """All tables as one block that lies at `gpa`; the RSDP is its first byte."""
    if len(dsdt) < _HEADER.size or dsdt[:4] != b"DSDT" or struct.unpack_from("<I", dsdt, 4)[0] != len(dsdt):
        raise PackError("the DSDT file is not a compiled DSDT (make it with iasl from guest/dsdt.asl)")

    block = bytearray(64)  # the RSDP's place
    where = {}

    def add(name: str, table: bytes) -> None:
        block.extend(bytes(-len(block) % 64))
        where[name] = gpa + len(block)
        block.extend(table)

    add("DSDT", dsdt)
    add("FACP", fadt(where["DSDT"]))
    add("APIC", madt(vcpus))
    add("XSDT", xsdt([where["FACP"], where["APIC"]]))
    block[:RSDP_SIZE] = rsdp(where["XSDT"])
    return bytes(block)
