# SPDX-License-Identifier: BSD-2-Clause-Patent
"""One boot of Debian's Linux as a host on the SEV machine, and what is left of it to judge."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import initramfs
import machines
from emulator import Emulator

MEMORY = "3G"
TIME_LIMIT = 400


@dataclass
class Host:
    """What one Linux said and did on the machine."""

    text: str  # its console
    words: str  # what QEMU said
    commands: list[dict]  # the Secure Processor's trace
    counters: dict[str, int]


def commands(folder: Path) -> list[dict]:
    """The Secure Processor's trace of a machine that is off: machine/README.md names the keys."""
    return [json.loads(line) for line in (folder / machines.TRACE).read_text().splitlines()]


def boot(
    kernel_tree: Path, files: Mapping[str, Path], errand: str, folder: Path, *,
    modules: Sequence[str] = initramfs.MODULES, cmdline: str = "", memory: str = MEMORY,
    time_limit: float = TIME_LIMIT, nv: Path | None = None, uart: Sequence[str] = machines.COM1, **options: object,
) -> Host:  # fmt: skip
    """The kernel's EFI stub, started by OVMF's shell from a FAT file system, does the errand and powers off.

    `files` and `errand`: see initramfs.make. `uart`: see Emulator. `nv` and `options`: the machine's, see machines.sev.
    """
    initrd, disk, start = folder / "initrd", folder / "esp.img", folder / "startup.nsh"
    initramfs.make(kernel_tree, files, errand, initrd, modules)
    kernel = next((kernel_tree / "boot").glob("vmlinuz-*"))
    start.write_text(
        f"\\vmlinuz.efi initrd=\\initrd console=ttyS0 mem_encrypt=on loglevel=4 no_timer_check {cmdline}\r\n"
    )
    with disk.open("wb") as file:
        file.truncate(kernel.stat().st_size + initrd.stat().st_size + (40 << 20) & ~0xFFFFF)
    subprocess.run(["mformat", "-i", disk, "-F", "::"], check=True)
    for source, name in ((kernel, "vmlinuz.efi"), (initrd, "initrd"), (start, "startup.nsh")):
        subprocess.run(["mcopy", "-i", disk, source, f"::/{name}"], check=True)
    arguments = machines.sev(folder, memory, nv=nv, **{"phys_bits": 43, **options})
    machine = Emulator(arguments, [disk], name="referee", folder=folder, time_limit=time_limit, hopeless={}, uart=uart)
    with machine:
        try:
            machine.wait_for("Press .*ESC")
            machine.send(b"\r")  # any key but ESC: startup.nsh now, not in five seconds
            machine.wait_off()
            counters = machines.counters(machine)
        finally:
            print(machine.console.text, machine.words())
        text, words = machine.console.text, machine.words()
    for path in (initrd, disk):
        path.unlink()
    return Host(text, words, commands(folder), counters)
