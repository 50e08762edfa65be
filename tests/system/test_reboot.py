# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Every way in which Linux ends its machine is told for what it is: a reset, or an orderly end; none is a crash, none hangs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import packing
import sayings
from machines import Boot

pytestmark = pytest.mark.sev

ACPI = "asked for a reset"
TRIPLE = "asked for a reset by a triple fault without an IDT"
KEYBOARD = "asked the keyboard controller for a reset"
CHIPSET = "asked the chipset for a reset (port 0xcf9)"


@dataclass(frozen=True)
class Way:
    name: str
    words: str
    encryption: str
    vcpus: int
    kind: str
    reason: str


# Of a machine with hardware-reduced ACPI and without EFI, Linux reboots by the BIOS's reset vector, if not told otherwise.
REBOOT = Way("reboot", "end=reboot", "sev", 1, "reset", ACPI)
TRIPLE_SMP = Way("triple", "end=reboot reboot=t", "sev", 2, "reset", TRIPLE)
HALT_SMP = Way("halt-smp", "end=halt", "none", 2, "poweroff", "halted")
DEBIAN_12 = [
    REBOOT,
    TRIPLE_SMP,
    HALT_SMP,
    Way("acpi", "end=reboot reboot=a", "host", 1, "reset", ACPI),
    Way("keyboard", "end=reboot reboot=k", "none", 2, "reset", KEYBOARD),
    Way("chipset", "end=reboot reboot=p", "sev", 1, "reset", CHIPSET),
    Way("bios", "end=reboot reboot=b", "sev", 2, "reset", ACPI),
    Way("sysrq", "end=sysrq", "sev", 2, "reset", ACPI),
    Way("panic", "end=panic panic=1", "none", 2, "reset", ACPI),
    Way("halt", "end=halt", "sev", 1, "poweroff", "halted"),
]
DEBIAN_13 = [
    TRIPLE_SMP,
    HALT_SMP,
    Way("reboot-smp", "end=reboot", "none", 2, "reset", ACPI),
    Way("efi", "end=reboot reboot=e", "none", 1, "reset", ACPI),
]
UNSTABLE = [REBOOT, HALT_SMP]


@pytest.fixture(scope="session")
def initrd(folder: Path) -> Path:
    path = folder / "end.cpio.gz"
    command = [sys.executable, packing.ROOT / "guest" / "linux" / "make-initramfs"]
    subprocess.run([*command, "--init", packing.ROOT / "tests" / "system" / "end-init", "-o", path], check=True)
    return path


def check(ways: list[Way], kernel: Path | str, initrd: Path, pack: Callable[..., Path], boot: Boot, name: str) -> str:
    keys = {"kernel": str(kernel), "initrd": str(initrd)}
    guests = [
        packing.linux(way.name, way.encryption, f"{way.words} quiet", vcpus=way.vcpus, keys=dict(keys)) for way in ways
    ]
    for guest in guests:
        guest.memory = "128M"
    guests[0].keys["on_reboot"], guests[0].restarts = "restart", 1
    with boot(packing.bootable(pack(name, guests)), name=name, memory="2G") as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    ends = [(way.name, way.kind, way.reason) for way in (ways[0], *ways)]
    assert sorted(sayings.ends(text)) == sorted(ends)
    assert sayings.FINAL_LINE in text.split("\n")
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}
    return text


def test_every_way_ends_as_what_it_is(pack: Callable[..., Path], initrd: Path, boot_sev: Boot) -> None:
    check(DEBIAN_12, "${BUILD}/vmlinuz", initrd, pack, boot_sev, "ends-12")


def test_also_with_debian_13(
    pack: Callable[..., Path], initrd: Path, boot_sev: Boot, suite_kernel: Callable[[str], Path]
) -> None:
    check(DEBIAN_13, suite_kernel("trixie"), initrd, pack, boot_sev, "ends-13")


def test_also_with_unstable(
    pack: Callable[..., Path], initrd: Path, boot_sev: Boot, suite_kernel: Callable[[str], Path]
) -> None:
    text = check(UNSTABLE, suite_kernel("sid"), initrd, pack, boot_sev, "ends-sid")
    # The chipset's reset-status register, since Linux 6.16: once for each launch.
    for way in UNSTABLE:
        reads = re.findall(rf"guest: {way.name}: reads unmapped guest-physical address 0xfed803c0.*: all ones", text)
        assert len(reads) == sum(end[0] == way.name for end in sayings.ends(text))


def test_without_the_paravirtual_clock_the_tsc_is_measured(
    pack: Callable[..., Path], initrd: Path, boot_sev: Boot
) -> None:
    """Else Linux hangs before its console is there. Time is by executed instructions: a measurement is not disturbed then."""
    keys = {"kernel": "${BUILD}/vmlinuz", "initrd": str(initrd)}
    guest = packing.linux("alone", "sev", "end=poweroff no-kvmclock", keys=keys)
    clock = ["-icount", "shift=4,sleep=off"]
    with boot_sev(packing.bootable(pack("alone", [guest])), name="alone", more_arguments=clock) as machine:
        first = float(machine.wait_for(r"^alone\| .*tsc: Detected ([\d.]+) MHz processor")[1])
        refined = float(machine.wait_for(r"^alone\| .*tsc: Refined TSC clocksource calibration: ([\d.]+) MHz")[1])
        said = float(machine.wait_for(r"notice: TSC ([\d.]+) MHz")[1])
    assert abs(first - said) < said / 200
    assert abs(refined - said) < said / 2000
