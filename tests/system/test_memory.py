# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Machines with much memory, and one whose memory map is full of holes."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import machines
import packing
import sayings
from emulator import Emulator
from machines import Boot

pytestmark = pytest.mark.sev

PAGE = 4096
LOW = 2 << 30  # what the chipset has below its hole; the rest lies from 4 GiB upwards
HIGH = 4 << 30
HV_MAX = 48  # MiB that hv keeps for itself at most: 16, 8 KiB for each GiB of memory (20 for 2.5 TiB), image and tables
FIRMWARE_MAX = 200  # MiB that UEFI's runtime services, ACPI's tables and pieces below 2 MiB take

# tests/system/efi/holes.c
HOLES_PATTERN = 0x53454C4F482D4556


def placed_at(text: str, guest: str) -> int:
    found = re.search(rf"launch {guest}: \d+ MiB at 0x([0-9a-f]+), ASID", text)
    assert found, f"no word of where {guest} lies"
    return int(found[1], 16)


def all_went_well(machine: Emulator, reason: str) -> None:
    text, counters = machine.console.text, machines.counters(machine)
    assert reason == "guest-shutdown"
    assert text.rstrip().split("\n")[-1] == sayings.FINAL_LINE
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}
    assert counters["coherency faults"] == counters["commands rejected"] == 0


@pytest.mark.parametrize("memory", [8, 2560])
def test_much_memory(memory: int, pack: Callable[..., Path], boot_sev: Boot) -> None:
    """The chips of 2.5 TiB need not all be there: what nobody touches costs the host nothing. (The coherency checker would
    touch 24 bytes for each page, so that machine is a coherent one.)"""
    guests = [
        packing.linux("large", "sev", "sevisor.input=0", vcpus=2),
        packing.hello("aligned", "sev"),
        packing.hello("small", "host"),
    ]
    guests[0].memory, guests[1].memory = "2560M", "1G"
    options = {"memory": f"{memory}G", "cpus": 2, "hw_coherency": memory > 64, "phys_bits": 43 if memory > 64 else 41}
    with boot_sev(packing.bootable(pack("large", guests)), name="large", **options) as machine:
        reason = machine.wait_off()
        all_went_well(machine, reason)
        text = machine.console.text
    found = re.search(r"memory: (\d+) MiB for guests, (\d+) MiB for hv", text)
    assert found and int(found[2]) <= HV_MAX
    assert (memory << 10) - FIRMWARE_MAX - HV_MAX < int(found[1]) < memory << 10
    assert placed_at(text, "large") >= HIGH  # there is no such piece below
    assert placed_at(text, "large") % (1 << 30) == placed_at(text, "aligned") % (1 << 30) == 0
    linux = sayings.guest_lines(text, "large")
    assert "sevisor-linux: self-check passed" in linux
    assert any(re.search(r"Memory: \d+K/26\d{5}K available", line) for line in linux)


def test_memory_that_ends_at_514_gib(pack: Callable[..., Path], boot_sev: Boot) -> None:
    """The firmware gives hv the highest memory there is. No address of hv's own may depend on where that lies: at 512 GiB
    one more entry of the root is used by a map that begins at 0."""
    guests = [packing.hello("own-key", "sev"), packing.hello("plain", "none")]
    low, high = "512M", f"{(514 - 4) * 1024 + 512}M"
    with boot_sev(
        packing.bootable(pack("high", guests)), name="high", memory=high, hw_coherency=True, cpus=2,
        more_arguments=["-machine", f"max-ram-below-4g={low}"], time_limit=300,
    ) as machine:  # fmt: skip
        reason = machine.wait_off()
        all_went_well(machine, reason)


def page_of_hole(address: int) -> bytes:
    return struct.pack("<512Q", *(HOLES_PATTERN ^ address << 16 ^ i for i in range(PAGE // 8)))


def test_memory_map_full_of_holes(pack: Callable[..., Path], boot_sev: Boot, build: Path) -> None:
    """What the firmware keeps for itself is nobody else's, wherever it lies."""
    guests = [
        packing.linux("linux", "sev", "sevisor.input=0"),
        packing.hello("host", "host"),
        packing.hello("plain", "none"),
    ]
    disk = packing.bootable(pack("holes", guests), first=build / "tests" / "holes.efi")
    with boot_sev(disk, name="holes") as machine:
        reason = machine.wait_off()
        text = machine.console.text
        found = re.search(r"holes: (\d+) pages taken, (\d+) were not free", text)
        assert found and int(found[1]) > 500
        dump = machine.dump(machines.MEMORY_SIZE)
        try:
            kept = sum(
                dump.at(address, PAGE) == page_of_hole(address) for address in range(0, machines.MEMORY_SIZE, PAGE)
            )
        finally:
            dump.close()
        all_went_well(machine, reason)
    assert kept == int(found[1])
