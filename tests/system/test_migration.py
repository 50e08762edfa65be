# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Encrypted guests that move, by sevisorctl: into a file and back, and from one machine to another."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import machines
import markers
import packing
from emulator import Emulator
from machines import COM1, CONTROL_LINE, CONTROL_SOCKET, Boot
from operator_side import Amd, ctl
from packing import GuestSpec

PAGE = 4096
PATTERN_PAGES = 12  # guest/mover.c


def mover(name: str = "mover", policy: int = packing.NODBG) -> GuestSpec:
    keys = {"image": "${BUILD}/mover.bin", "cmdline": f"marker={name}"}
    return GuestSpec(name, "4M", "sev", keys, policy=policy, flags=("snapshot",) if not policy & 8 else ())


def pattern(number: int) -> bytes:
    """A page as the guest fills it."""
    words = []
    for _ in range(PAGE // 8):
        number = (number * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        words.append(number)
    return struct.pack(f"<{len(words)}Q", *words)


def private_pages(name: str) -> list[bytes]:
    return [pattern(markers.fnv1a(name) + i & (1 << 64) - 1) for i in range(PATTERN_PAGES)]


def shared_page(name: str) -> bytes:
    return pattern(~markers.fnv1a(name) & (1 << 64) - 1)


def counts(machine: Emulator, name: str = "mover") -> list[int]:
    """What it counted, without a word of something that is wrong."""
    text = machine.console.text
    assert f"{name}| mover:" in text and "is wrong" not in text and "is refused" not in text
    return [int(number) for number in re.findall(rf"^{name}\| mover: count (\d+)\r?$", text, re.M)]


@pytest.mark.sev
def test_a_guest_goes_on_where_its_snapshot_was_taken(
    pack: Callable[..., Path], boot_sev: Boot, amd: Amd, tmp_path: Path
) -> None:
    file = tmp_path / "mover.snapshot"
    image = packing.bootable(pack("snapshot", [packing.control(), mover()]))
    with boot_sev(image, name="snap", cpus=2, uart=[*COM1, *CONTROL_LINE]) as machine:
        machine.wait_for(r"^mover\| mover: count 5\b")
        ctl(machine, "pause", "mover")
        found = json.loads(ctl(machine, "snapshot", "mover", file, *amd.words(), "--json").stdout)
        assert found["pages"] > PATTERN_PAGES and not found["warnings"]
        at_snapshot = counts(machine)[-1]
        ctl(machine, "resume", "mover")
        data = file.read_bytes()
        assert not any(page[:64] in data or page[-64:] in data for page in private_pages("mover"))
        assert shared_page("mover") in data
        machine.wait_for(rf"^mover\| mover: count {at_snapshot + 5}\b")

        ctl(machine, "end", "mover", "--wait", "120")
        for name, other in (
            ("cut", data[:-100]), ("altered", data[:9000] + bytes((data[9000] ^ 1,)) + data[9001:]),
            ("longer", data + b"\0"), ("headless", data[8:]),
        ):  # fmt: skip
            (tmp_path / name).write_bytes(other)
            ctl(machine, "restore", "mover", tmp_path / name, status=1)
        assert json.loads(ctl(machine, "status", "mover", "--json").stdout)["launches"] == 1

        before = len(counts(machine))
        ctl(machine, "restore", "mover", file)
        machine.wait_for(rf"(?s)^ended mover.*^mover\| mover: count {at_snapshot + 9}\b")
        again = counts(machine)[before:]
        # A line that the pause cut in two is none.
        assert again[0] in (at_snapshot + 1, at_snapshot + 2) and again == list(range(again[0], again[0] + len(again)))

        ctl(machine, "end", "mover", "--wait", "120")
        ctl(machine, "platform", "pdh-gen")
        done = ctl(machine, "restore", "mover", file, status=1)
        assert "its PDH was made anew since" in done.stderr


@pytest.mark.sev
@pytest.mark.parametrize("words", [["--paused"], []], ids=["paused", "live"])
def test_a_guest_goes_on_at_another_machine(
    pack: Callable[..., Path], boot_sev: Boot, amd: Amd, words: list[str]
) -> None:
    image = packing.bootable(pack(f"move{len(words)}", [packing.control(), mover()]))
    with boot_sev(image, name="from", cpus=2, uart=[*COM1, *CONTROL_LINE]) as here:
        with boot_sev(image, name="to", cpus=2, uart=[*COM1, *CONTROL_LINE]) as there:
            here.wait_for(r"^mover\| mover: count 5\b")
            there.wait_for(r"^mover\| mover: count 5\b")
            ctl(there, "end", "mover", "--wait", "120")
            before = len(counts(there))
            line = (
                "migrate",
                "mover",
                "--target",
                f"unix:{there.folder / CONTROL_SOCKET}",
                *amd.words(),
                *words,
                "--json",
            )
            found = json.loads(ctl(here, *line).stdout)
            here.wait_for(r"^ended mover: destroyed")
            last = counts(here)[-1]
            there.wait_for(rf"(?s)^ended mover.*^mover\| mover: count {last + 5}\b")
            arrived = counts(there)[before:]
            assert arrived[0] in (last, last + 1) and arrived == list(range(arrived[0], arrived[0] + len(arrived)))
            assert counts(here)[-1] == last and found["downtime"] > 0
            assert json.loads(ctl(here, "status", "mover", "--json").stdout)["state"] == "ended"
            assert json.loads(ctl(there, "status", "mover", "--json").stdout)["state"] == "running"


@pytest.mark.sev
def test_a_policy_that_keeps_a_guest_here_is_named_before_anything_is_sent(
    pack: Callable[..., Path], boot_sev: Boot, amd: Amd, tmp_path: Path
) -> None:
    image = packing.bootable(pack("nosend", [packing.control(), mover("stays", 0x9)]))
    with boot_sev(image, name="stays", cpus=2, uart=[*COM1, *CONTROL_LINE]) as machine:
        machine.wait_for(r"^stays\| mover: count 2\b")
        done = ctl(machine, "snapshot", "stays", tmp_path / "file", *amd.words(), status=1)
        assert "has NOSEND" in done.stderr and not (tmp_path / "file").exists()
        assert not any(command.name.startswith("SEND") for command in machines.trace(machine))
