# SPDX-License-Identifier: BSD-2-Clause-Patent
"""GUID partition tables (UEFI 2.10, 5.3) with one partition, for disks with sectors of 512 and of 4,096 bytes.

A disk's firmware looks for the header in sector 1, so one image can carry a table for either kind of disk:

    0x00000  protective MBR
    0x00200  header for sectors of 512 bytes      0x08000  its entries
    0x01000  header for sectors of 4,096 bytes    0x02000  its entries
    0x10000  the first byte that a partition may have
    and the same behind the last 64 KiB: the backup entries, and the backup headers in the last sector of either size
"""

from __future__ import annotations

import struct
import uuid
import zlib

MARGIN = 64 << 10  # bytes at either end of the disk that hold tables
SECTOR_SIZES = (512, 4096)
EFI_SYSTEM_PARTITION = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

_ENTRIES = 128
_ENTRY = struct.Struct("<16s16sQQQ72s")
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRIES_SIZE = _ENTRIES * _ENTRY.size
# By sector size: where the entries lie, from the disk's start, and the backup's from its end.
_ENTRIES_AT = {512: 0x8000, 4096: 0x2000}
_BACKUP_ENTRIES_AT = {512: 4096 + 2 * _ENTRIES_SIZE, 4096: 4096 + _ENTRIES_SIZE}


def _guid(text: str) -> bytes:
    return uuid.UUID(text).bytes_le


def _header(sector: int, size: int, disk: str, entries: bytes, at: int, other: int, entries_at: int) -> bytes:
    def pack(checksum: int) -> bytes:
        return _HEADER.pack(
            b"EFI PART", 0x10000, _HEADER.size, checksum, 0, at // sector, other // sector, MARGIN // sector,
            (size - MARGIN) // sector - 1, _guid(disk), entries_at // sector, _ENTRIES, _ENTRY.size, zlib.crc32(entries),
        )  # fmt: skip

    return pack(zlib.crc32(pack(0)))


def tables(size: int, start: int, end: int, disk: str, partition: str, name: str) -> list[tuple[int, bytes]]:
    """(offset, bytes) of all tables of a disk of `size` bytes whose only partition has the bytes [start, end).

    All three are multiples of 4,096. `disk` and `partition` are GUIDs.
    """
    assert all(at % max(SECTOR_SIZES) == 0 for at in (size, start, end)) and MARGIN <= start < end <= size - MARGIN
    mbr_entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(size // 512 - 1, 0xFFFFFFFF))
    pieces = [(446, mbr_entry), (510, b"\x55\xaa")]
    for sector in SECTOR_SIZES:
        entry = _ENTRY.pack(_guid(EFI_SYSTEM_PARTITION), _guid(partition), start // sector, end // sector - 1, 0,
                            name.encode("utf-16-le"))  # fmt: skip
        entries = entry.ljust(_ENTRIES_SIZE, b"\0")
        first, last = sector, size - sector
        first_entries, last_entries = _ENTRIES_AT[sector], size - _BACKUP_ENTRIES_AT[sector]
        pieces += [
            (first, _header(sector, size, disk, entries, first, last, first_entries)),
            (first_entries, entries),
            (last_entries, entries),
            (last, _header(sector, size, disk, entries, last, first, last_entries)),
        ]
    return pieces
