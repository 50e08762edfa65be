# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The operator's hands: what to type on Sevisor's console to reach a guest."""

from __future__ import annotations

from emulator import Emulator

ESCAPE = b"\x1d"  # Ctrl-]


def attach(machine: Emulator, number: int) -> None:
    """What is typed from now on goes to the guest in this place of the manifest, from 1."""
    machine.send(ESCAPE + str(number).encode())


def type_line(machine: Emulator, number: int, line: str) -> None:
    attach(machine, number)
    machine.send(line.encode() + b"\r")
