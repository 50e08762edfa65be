# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The operator's hands: what to type on Sevisor's console to reach a guest."""

from __future__ import annotations

from emulator import Emulator

ESCAPE = b"\x1d"  # Ctrl-]


def wait_for_guest(machine: Emulator, name: str, text: str) -> None:
    """Until a guest has printed this text; fails at once when the guest is refused or has ended."""
    found = machine.wait_for(rf"^{name}\| {text}|{name} is refused: .*|^ended {name}: .*")
    assert found[0].startswith(f"{name}| "), f"{machine.name}: {found[0]}"


def command(machine: Emulator, *keys: str) -> None:
    """Hypervisor's commands, each without its escape key."""
    for key in keys:
        machine.send(ESCAPE + key.encode())


def number_keys(number: int, guests: int) -> str:
    """How the guest in this place of the manifest, from 1, is typed when the manifest has so many."""
    return str(number) if len(str(number)) == len(str(guests)) else f"{number}\r"


def attach(machine: Emulator, number: int, guests: int = 1) -> None:
    """What is typed from now on goes to that guest."""
    command(machine, number_keys(number, guests))


def type_line(machine: Emulator, number: int, line: str, guests: int = 1) -> None:
    attach(machine, number, guests)
    machine.send(line.encode() + b"\r")


def hit_key_at_refusal(machine: Emulator) -> None:
    """The table of a machine on which nothing can run stays until a key is hit, or for a while."""
    machine.wait_for(r"^Sevisor cannot run here; back to the UEFI firmware's boot order in \d+ seconds, or at a key\.$")
    machine.send(b" ")
