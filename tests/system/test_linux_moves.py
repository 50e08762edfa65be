# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Debian's Linux, encrypted and unmodified, moves: into a file and back, and to another machine while it runs. Its /init counts
(guest/linux/init, sevisor.count), and says so when its marker or its clock is not as it should be.

It has the least memory that this kernel starts in, and touches nearly all of it: some 75 MB go over each serial line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import packing
from emulator import Emulator
from machines import COM1, CONTROL_LINE, CONTROL_SOCKET, Boot
from markers import linux_marker
from operator_side import Amd, ctl
from packing import GuestSpec

NAME = "linux"
MEMORY = 72  # MiB
LINES = [*COM1, *CONTROL_LINE]
TIME_LIMIT = 3000  # seconds
pytestmark = pytest.mark.sev


def linux() -> GuestSpec:
    guest = packing.linux(NAME, "sev", "sevisor.count quiet", flags=("snapshot",))
    guest.memory = f"{MEMORY}M"
    return guest


def counts(machine: Emulator) -> list[int]:
    """What it counted, without a word of something that is wrong."""
    text = machine.console.text
    assert "FAILED" not in text and "BUG:" not in text and "Kernel panic" not in text
    return [int(number) for number in re.findall(rf"^{NAME}\| sevisor-linux: count (\d+)\r?$", text, re.M)]


def figures(what: str, found: dict) -> str:
    """Of a report of sevisorctl."""
    pages, size, seconds = found["pages"], found["bytes"], found["seconds"]
    inside = sum(value for name, value in found.items() if name.endswith("-command-us")) / 1e6
    commands = sum(value for name, value in found.items() if name.endswith("-commands"))
    rounds = ", ".join(f"{part['pages']:.0f} in {part['seconds']:.1f} s" for part in found["rounds"])
    return (
        f"Linux of {MEMORY} MiB, {what}: {pages} pages, {size / 2**20:.1f} MiB in {seconds:.0f} s "
        f"({size / 1024 / seconds:.0f} KiB/s), stopped for {found['downtime']:.1f} s; rounds: {rounds}; "
        f"{commands} commands, {inside:.1f} s inside of them"
    )


def test_linux_goes_on_where_its_snapshot_was_taken(
    pack: Callable[..., Path], boot_sev: Boot, amd: Amd, tmp_path: Path, show: Callable[[str], None]
) -> None:
    file = tmp_path / "linux.snapshot"
    image = packing.bootable(pack("linuxsnap", [packing.control(), linux()]))
    with boot_sev(image, name="linuxsnap", cpus=2, uart=LINES, time_limit=TIME_LIMIT) as machine:
        machine.wait_for(rf"^{NAME}\| sevisor-linux: count 5\b")
        ctl(machine, "pause", NAME)
        done = ctl(machine, "snapshot", NAME, file, *amd.words(), "--json", time_limit=TIME_LIMIT)
        found = json.loads(done.stdout)
        assert found["pages"] > 8 << 8 and not found["warnings"]  # more than the kernel's 8 MiB of code
        show(figures("into a file", found))
        last = counts(machine)[-1]
        data = file.read_bytes()
        assert linux_marker(NAME) not in data and linux_marker(NAME)[:16] not in data

        ctl(machine, "end", NAME, "--wait", "120")
        before = len(counts(machine))
        done = ctl(machine, "restore", NAME, file, "--json", time_limit=TIME_LIMIT)
        show(figures("and out of it", json.loads(done.stdout)))
        machine.wait_for(rf"(?s)^ended {NAME}.*^{NAME}\| sevisor-linux: count {last + 12}\b")
        again = counts(machine)[before:]
        # A line that the pause cut in two is none.
        assert again[0] in (last + 1, last + 2) and again == list(range(again[0], again[0] + len(again)))


def test_linux_moves_to_another_machine_while_it_runs(
    pack: Callable[..., Path], boot_sev: Boot, amd: Amd, show: Callable[[str], None]
) -> None:
    image = packing.bootable(pack("linuxmove", [packing.control(), linux()]))
    with boot_sev(image, name="from", cpus=2, uart=LINES, time_limit=TIME_LIMIT) as here:
        with boot_sev(image, name="to", cpus=2, uart=LINES, time_limit=TIME_LIMIT) as there:
            there.wait_for(rf"^{NAME}\| sevisor-linux: count 1\b")
            ctl(there, "end", NAME, "--wait", "120")
            before = len(counts(there))
            here.wait_for(rf"^{NAME}\| sevisor-linux: count 5\b")
            line = ("migrate", NAME, "--target", f"unix:{there.folder / CONTROL_SOCKET}", *amd.words(), "--json")
            found = json.loads(ctl(here, *line, time_limit=TIME_LIMIT).stdout)
            show(figures("to another machine", found))
            here.wait_for(rf"^ended {NAME}: destroyed")
            last = counts(here)[-1]
            there.wait_for(rf"(?s)^ended {NAME}.*^{NAME}\| sevisor-linux: count {last + 12}\b")
            arrived = counts(there)[before:]
            assert arrived[0] in (last, last + 1, last + 2)
            assert arrived == list(range(arrived[0], arrived[0] + len(arrived)))
            assert counts(here)[-1] == last and len(found["rounds"]) > 2
