# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The two machines that Sevisor is booted on, as QEMU arguments; and what they tell of a run."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from emulator import Emulator

ROOT = Path(__file__).resolve().parent.parent.parent

STOCK_QEMU = "qemu-system-x86_64"
# Software emulation models SVM with nested paging, but no SEV: what a desk without an EPYC has.
STOCK_CPU = "EPYC,+svm,+npt"
SEV_CPU = "EPYC-Milan,+svm,-hypervisor,sev-machine=on,phys-bits=48,+vmcb-clean,+flushbyasid,+decodeassists,+svm-lock"

# What tests boot with: room for some guests, and small, so that a dump is quick to search.
MEMORY = "1G"
MEMORY_SIZE = 1 << 30

PSP = "psp"  # the device's id, to ask it for its counters and give it faults
TRACE = "psp.trace"

# Virtual time by executed instructions, 64 ns each: limits of half a minute are over in seconds.
FAST_CLOCK = ["-icount", "shift=6,sleep=off"]

Boot = Callable[..., AbstractContextManager[Emulator]]  # conftest.py: boot_stock, boot_sev


def common(memory: str) -> list[str]:
    """One CPU and one machine type, nothing by default."""
    return ["-no-user-config", "-nodefaults", "-M", "q35", "-accel", "tcg,thread=single", "-smp", "1", "-m", memory]


def stock(memory: str = MEMORY, cpu: str | None = None) -> list[str]:
    """The distribution's own QEMU."""
    return [STOCK_QEMU, *common(memory), "-cpu", cpu or STOCK_CPU]


@functools.cache
def sev_qemu() -> str:
    """The SEV machine's QEMU; built if need be."""
    if chosen := os.environ.get("SEVISOR_QEMU"):
        return chosen
    build = subprocess.run([ROOT / "tests/machine/build"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if build.returncode:
        raise RuntimeError("the SEV machine could not be built: tests/machine/build says why")
    return build.stdout.split("\n")[-2]


def sev(
    folder: Path,
    memory: str = MEMORY,
    *,
    cpu: Sequence[str] = (),
    psp: Sequence[str] = (),
    with_psp: bool = True,
    nv: Path | None = None,
    fast_clock: bool = False,
) -> list[str]:
    """The SEV machine, with the secure processor's files in `folder`. `nv`: persistent data to start from."""
    qemu = Path(sev_qemu())
    arguments = [str(qemu), *common(memory), "-cpu", ",".join([SEV_CPU, *cpu])]
    roms = qemu.parent.parent / "share" / "qemu"
    if roms.is_dir():
        arguments += ["-L", str(roms)]
    if with_psp:
        if nv:
            shutil.copyfile(nv, folder / "psp.nv")
        properties = [f"id={PSP}", f"nv={folder / 'psp.nv'}", f"trace={folder / TRACE}", *psp]
        arguments += ["-device", ",".join(["sev-psp", *properties])]
    if fast_clock:
        arguments += FAST_CLOCK
    return arguments


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


def _psp(machine: Emulator) -> str:
    return f"/machine/peripheral/{PSP}"


def counters(machine: Emulator) -> dict[str, int]:
    """What the SEV machine counted since power-on; to be asked before `close`."""
    names = {"commands": "commands", "commands rejected": "rejected", "coherency faults": "coherency-faults"}
    return {
        words: int(machine.qmp.command("qom-get", path=_psp(machine), property=name)) for words, name in names.items()
    }


def set_fault(machine: Emulator, fault: str) -> None:
    """What the secure processor does wrong from now on: mailbox.h has the words."""
    machine.qmp.command("qom-set", path=_psp(machine), property="fault", value=fault)
