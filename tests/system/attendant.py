# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The operator's hands: what to type on Sevisor's console to reach a guest."""

from __future__ import annotations

from emulator import Emulator

ESCAPE = b"\x1d"  # Ctrl-]


def wait_for_guest(machine: Emulator, name: str, text: str) -> None:
    """Until a guest has printed this text; fails at once when the guest is refused or has ended."""
    found = machine.wait_for(rf"^{name}\| {text}|{name} is refused: .*|^ended {name}: .*")
    assert found[0].startswith(f"{name}| "), f"{machine.name}: {found[0]}"


def attach(machine: Emulator, number: int) -> None:
    """What is typed from now on goes to the guest in this place of the manifest, from 1."""
    machine.send(ESCAPE + str(number).encode())


def type_line(machine: Emulator, number: int, line: str) -> None:
    attach(machine, number)
    machine.send(line.encode() + b"\r")
