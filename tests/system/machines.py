# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The two machines that Sevisor is booted on, as QEMU arguments; and what they tell of a run."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import packing
from emulator import Emulator, option

STOCK_QEMU = "qemu-system-x86_64"
# Software emulation models SVM with nested paging, but no SEV: what a desk without an EPYC has.
STOCK_CPU = "EPYC,+svm,+npt"

# What tests boot with: room for some guests, and small, so that a dump is quick to search.
MEMORY = "1G"
MEMORY_SIZE = 1 << 30

TRACE = "psp.trace"
NV = "psp.nv"

# The physical address bits of a Milan are 43: for each above 40 OVMF computes longer, up to three seconds. Tests that boot
# Sevisor have fewer, but for the one of all kinds of guests.
PHYS_BITS = 41

# Virtual time by executed instructions, so that limits of half a minute are over in seconds: each takes 2^shift ns. A second
# that the tests' host is late is then some 10 s of the machine's; where a test types meanwhile, the clock is a slower one.
FAST_CLOCK, SLOWER_CLOCK = 8, 5

# What the operator's end of the line is put on.
COM1 = ["-serial", "chardev:operator"]
COM2 = ["-device", "isa-serial,index=1,chardev=operator"]
PCI_CARD = ["-device", "pci-serial,chardev=operator"]  # OVMF has a driver for it; hv looks for none there
# Behind these: the machine's second serial port, which is the control guest's. A socket in the machine's folder.
CONTROL_SOCKET = "control.sock"
CONTROL_LINE = ["-chardev", f"socket,id=control,path={CONTROL_SOCKET},server=on,wait=off", "-serial", "chardev:control"]
FIRMWARE_LINE = "firmware.txt"  # in the machine's folder: what the firmware prints where hv has a line of its own


def uart_in_memory(spcr: Path) -> list[str]:
    """One that no firmware knows, with registers as on AMD's FCH, told of by SPCR; the firmware's is COM1."""
    address, clock, baud = 0xFEDC9000, 48_000_000, 115_200
    body = struct.pack("<B3x4BQ6xB17xII4x", 0x12, 0, 32, 0, 3, address, 0, clock, baud)
    spcr.write_bytes(
        struct.pack("<4sIBB6s8sI4sI", b"SPCR", 36 + len(body), 4, 0, b"SEVISR", b"TESTTEST", 1, b"TEST", 1) + body
    )
    return [
        "-acpitable", f"file={option(spcr)}", "-serial", f"file:{FIRMWARE_LINE}",
        "-device", f"mmio-uart,addr={address},stride=4,width=4,baudbase={clock // 16},chardev=operator",
    ]  # fmt: skip


Boot = Callable[..., AbstractContextManager[Emulator]]  # conftest.py: boot_stock, boot_sev


def _load_sev_machine() -> ModuleType:
    """tests/machine/machine.py, under a name that says which machine."""
    spec = importlib.util.spec_from_file_location("sev_machine", packing.ROOT / "tests" / "machine" / "machine.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sev_machine = _load_sev_machine()


def stock(memory: str = MEMORY, cpu: str | None = None) -> list[str]:
    """The distribution's own QEMU, pinned to one CPU and one machine type."""
    return [
        STOCK_QEMU, "-no-user-config", "-nodefaults", "-M", "q35", "-accel", "tcg,thread=single",
        "-cpu", cpu or STOCK_CPU, "-smp", "1", "-m", memory,
    ]  # fmt: skip


@functools.cache
def sev_qemu() -> Path:
    """The SEV machine's QEMU; built if need be."""
    chosen = os.environ.get("SEVISOR_QEMU")
    return Path(chosen) if chosen else sev_machine.binary()


def sev(
    folder: Path, memory: str = MEMORY, *, nv: Path | None = None, fast_clock: int = 0, **options: Any
) -> list[str]:
    """The SEV machine, with the secure processor's files in `folder`.

    `nv`: persistent data to start from; `fast_clock`: FAST_CLOCK, SLOWER_CLOCK, or 0 for real time; `options` are those of tests/machine/machine.py.
    """
    if nv:
        shutil.copyfile(nv, folder / NV)
    if not options.get("cpu_model"):
        options.setdefault("phys_bits", PHYS_BITS)
    arguments = sev_machine.argv(qemu=sev_qemu(), memory=memory, nv=folder / NV, trace=folder / TRACE, **options)
    return arguments + (["-icount", f"shift={fast_clock},sleep=off"] if fast_clock else [])


# -- what a SEV machine tells --------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """One line of the secure processor's trace."""

    name: str
    status: str  # what the host was told
    fault: str | None


def trace(machine: Emulator) -> list[Command]:
    """The commands so far; a line that is being written is left for the next time."""
    text = (machine.folder / TRACE).read_text()
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [Command(line["command"], line["status"], line.get("fault")) for line in lines]


def counters(machine: Emulator) -> dict[str, int]:
    """What the SEV machine counted since power-on; to be asked before `close`."""
    names = {"commands": "commands", "commands rejected": "rejected", "coherency faults": "coherency-faults"}
    return {
        words: int(machine.qmp.command("qom-get", path=sev_machine.PSP, property=name)) for words, name in names.items()
    }


def set_fault(machine: Emulator, fault: str) -> None:
    """What the secure processor does wrong from now on: mailbox.h has the words."""
    machine.qmp.command("qom-set", path=sev_machine.PSP, property="fault", value=fault)
