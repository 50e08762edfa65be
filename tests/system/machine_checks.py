# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Machine checks and NMIs into a machine that runs; and where its CPUs are."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from debugger import RIP, Debugger
from emulator import Emulator

HV_IMAGE_BASE = 0xFFFFFFFF80000000  # boot/handoff.h
GUESTS_END = 1 << 47  # of what hv and the tests' guests execute at: hv is in the upper half

# MCi_STATUS (APM2 9.3.2) and MCG_STATUS.
VAL, UC, EN, ADDRV, PCC, TCC = (1 << bit for bit in (63, 61, 60, 58, 57, 55))
RIPV, MCIP = 1, 4
MEMORY_READ = 0x0135  # error code: memory hierarchy, data read
CR0_CD, CR0_NW, CR4_MCE = 1 << 30, 1 << 29, 1 << 6


def address(elf: Path, name: str) -> int:
    names = subprocess.run(["nm", elf], capture_output=True, text=True, check=True).stdout
    found = re.search(rf"^([0-9a-f]+) \w {re.escape(name)}$", names, re.M)
    assert found, f"{elf} has no {name}"
    return int(found[1], 16)


def monitor(machine: Emulator, line: str) -> str:
    return machine.qmp.command("human-monitor-command", command_line=line)


def inject(
    machine: Emulator, cpu: int, bank: int, status: int, mcg: int = RIPV | MCIP, place: int = 0x7654321000
) -> None:
    """#MC when `status` has UC; else the bank tells of it to who looks."""
    said = monitor(machine, f"mce {cpu} {bank} {status:#x} {mcg:#x} {place:#x} 0")
    assert not said.strip(), said


def nmi(machine: Emulator) -> None:
    machine.qmp.command("inject-nmi")


def control_registers(machine: Emulator) -> tuple[int, int]:
    """CR0 and CR4 of CPU 0 as the hardware has them."""
    text = monitor(machine, "info registers")
    return tuple(int(re.search(rf"\b{name}=([0-9a-f]+)", text)[1], 16) for name in ("CR0", "CR4"))


class InGuest:
    """The machine stands still while one of its CPUs executes a guest's code."""

    def __init__(self, machine: Emulator, socket_path: Path, cpu: int) -> None:
        self._machine, self._path, self._cpu = machine, socket_path, cpu

    def __enter__(self) -> Debugger:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self._hand = Debugger(self._path, self._cpu)
            self._hand.__enter__()
            if self._hand.read(RIP) < GUESTS_END:
                return self._hand
            self._hand.__exit__(None, None, None)
            time.sleep(0.02)
        raise AssertionError(f"CPU {self._cpu} executes no guest")

    def __exit__(self, *why: object) -> None:
        self._hand.__exit__(None, None, None)
