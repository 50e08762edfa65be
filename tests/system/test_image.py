# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The disk image: it boots from disks of either sector size, and partitioning tools find it sound."""

from __future__ import annotations

import struct
import subprocess
import zlib
from pathlib import Path

import pytest

import gpt
import machines
from emulator import Emulator, option

pytestmark = pytest.mark.stock

DISKS = {
    "AHCI-512": "ide-hd",
    "NVMe-4096": "nvme,serial=1,logical_block_size=4096,physical_block_size=4096",
    "virtio-4096": "virtio-blk-pci,logical_block_size=4096,physical_block_size=4096",
}


@pytest.mark.parametrize("disk", DISKS)
def test_image_boots_from_a_disk_of_any_sector_size(build: Path, disk: str) -> None:
    """The firmware finds the partition, the volume and the application; an old CPU's refusal is enough to see it."""
    words = ["-drive", f"if=none,id=d,format=raw,snapshot=on,file={option((build / 'sevisor.img').resolve())}",
             "-device", f"{DISKS[disk]},drive=d,bootindex=1"]  # fmt: skip
    arguments = machines.stock("512M", cpu="qemu64") + words
    with Emulator(arguments, [], name=disk, time_limit=120) as machine:
        machine.wait_for("^Sevisor preflight")
        machine.wait_for("guests +at least 1|Sevisor cannot run here")


def test_partition_tables_are_sound_for_either_sector_size(build: Path) -> None:
    """sgdisk reads the table for 512-byte sectors; for 4,096 the test takes the same rules from UEFI 2.10 5.3.2."""
    image = build / "sevisor.img"
    told = subprocess.run(["sgdisk", "--verify", image], capture_output=True, text=True, check=True).stdout
    assert "No problems found" in told
    data = image.read_bytes()
    assert len(data) % 4096 == 0
    places = {sector: gpt_partition(data, sector) for sector in (512, 4096)}
    assert places[512] == places[4096]
    assert data[places[512][0] + 82 :][:8] == b"FAT32   "


def gpt_partition(data: bytes, sector: int) -> tuple[int, int]:
    """The bytes [start, end) of the only partition, by a reader that shares no code with gpt.py."""
    found = []
    for at in (1, len(data) // sector - 1):
        header = data[at * sector : at * sector + 92]
        assert header[:12] == b"EFI PART\0\0\1\0" and struct.unpack_from("<I", header, 12) == (92,)
        (crc,) = struct.unpack_from("<I", header, 16)
        assert zlib.crc32(header[:16] + bytes(4) + header[20:]) == crc
        mine, other, first, last = struct.unpack_from("<QQQQ", header, 24)
        assert mine == at and {mine, other} == {1, len(data) // sector - 1}
        entries_at, count, size, entries_crc = struct.unpack_from("<QIII", header, 72)
        entries = data[entries_at * sector : entries_at * sector + count * size]
        assert zlib.crc32(entries) == entries_crc and (count, size) == (128, 128) and not any(entries[128:])
        kind, start, end = entries[:16], *struct.unpack_from("<QQ", entries, 32)
        assert kind == bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b") and first <= start <= end <= last
        assert not first <= entries_at <= last and last < len(data) // sector - 1
        found.append((start * sector, (end + 1) * sector))
    assert found[0] == found[1]
    return found[0]


def test_no_table_lies_on_another() -> None:
    size = 70 << 20
    pieces = gpt.tables(size, 1 << 20, size - (1 << 20), *["0" * 8 + "-0000-4000-8000-" + "0" * 12] * 2, "x")
    ends = 0
    for offset, data in sorted(pieces):
        assert offset >= ends
        ends = offset + len(data)
    assert ends <= size and all(gpt.MARGIN >= at + len(data) or at >= size - gpt.MARGIN for at, data in pieces)
