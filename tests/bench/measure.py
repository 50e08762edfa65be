# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What exits cost: boots the benchmark guest under Sevisor and under KVM on the same machine, and reads its figures."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "system"), str(ROOT / "tests" / "referee")]

import linux  # noqa: E402
import machines  # noqa: E402
import packing  # noqa: E402
import sayings  # noqa: E402
from emulator import Emulator  # noqa: E402
from launch_program import LaunchProgram  # noqa: E402

BASELINE = HERE / "baseline.toml"
TIME_LIMIT = 600

# A bare VMRUN loop that only saves and restores registers: instructions per CPUID exit.
BARE_LOOP = {"cpuid": 83}
# In the order of the table: what the guest calls them, and what they are.
OPERATIONS = {
    "cpuid": "CPUID, leaf 0",
    "cpuid-1": "CPUID, leaf 1 (differs by vCPU)",
    "vmmcall": "VMMCALL, unknown number",
    "port-read": "port read, 8259 at 0x21",
    "port-read-uart": "port read, UART status",
    "msr-write": "MSR write, x2APIC EOI",
    "msr-write-timer": "MSR write, TSC deadline",
    "self-ipi": "IPI to itself, handler, EOI",
    "hlt-timer": "timer, HLT, handler, EOI",
    "wake-up": "timer's moment to handler",
    "ipi-ping-pong": "IPI to another vCPU and back",
}
WITHOUT_NEXT_RIP = ("nrip-save",)
VCPUS = (1, 2)
PAIR = "ipi-ping-pong"  # the figure for which it takes two


@dataclass(frozen=True)
class Figure:
    """Instructions."""

    least: int
    mean: int


@dataclass(frozen=True)
class Run:
    """What one benchmark guest printed."""

    lines: tuple[str, ...]
    figures: dict[str, Figure]


class BenchError(RuntimeError):
    """A guest did not come to its end, or says that a figure is worth nothing."""


def read(lines: list[str], may_lose: bool = False) -> Run:
    """From the console's lines of one guest. `may_lose`: an interrupt that did not come is no reason to give up."""
    said = tuple(line for line in lines if line.startswith("bench: "))
    bad = ("bench: error",) if may_lose else ("bench: error", "bench: lost")
    problems = [line for line in said if line.startswith(bad)]
    if problems or "bench: done" not in said:
        raise BenchError("\n".join(problems or lines))
    found = (re.fullmatch(r"bench: (\S+) (\d+)(?: mean (\d+))?", line) for line in said)
    return Run(said, {m[1]: Figure(int(m[2]), int(m[3] or m[2])) for m in found if m})


def pack(build: Path, folder: Path, encryption: str, vcpus: tuple[int, ...]) -> Path:
    """An EFI file with a benchmark guest for each number of vCPUs: bench-1, bench-2 ..."""
    listing = folder / "bench.toml"
    guest = packing.GuestSpec("bench", "16M", encryption, {"image": str(build / "bench" / "bench.bin")}).toml()
    listing.write_text("\n".join(
        guest.replace('name = "bench"', f'name = "bench-{count}"').replace("vcpus = 1", f"vcpus = {count}")
        for count in vcpus
    ))  # fmt: skip
    return packing.pack_file(listing, build / "boot" / "sevisor.efi", build, folder / "bench.efi")


def with_pair(one: Run, two: Run) -> Run:
    """The figures of a guest with one vCPU, and the one that takes two."""
    return Run(one.lines + two.lines, one.figures | {PAIR: two.figures[PAIR]})


def sevisor(build: Path, folder: Path, encryption: str, *, without: tuple[str, ...] = ()) -> Run:
    """Two boots of Sevisor: each has the benchmark as its only guest, so that nothing else wants the CPU."""
    runs = []
    for vcpus in VCPUS:
        (place := folder / f"{vcpus}").mkdir()
        runs.append(boot_sevisor(build, place, encryption, without, vcpus))
    return with_pair(*runs)


def boot_sevisor(build: Path, folder: Path, encryption: str, without: tuple[str, ...], vcpus: int) -> Run:
    disk = packing.bootable(pack(build, folder, encryption, (vcpus,)))
    arguments = machines.sev(folder, icount=True, without=without)
    with Emulator(arguments, [disk], name="bench", folder=folder, time_limit=TIME_LIMIT) as machine:
        machine.wait_off()
        text = machine.console.text
    refused = sayings.refusals(text).get(f"bench-{vcpus}")
    if refused:
        raise BenchError(refused)
    if sayings.FINAL_LINE not in text:
        raise BenchError(text)
    run = read(sayings.guest_lines(text, f"bench-{vcpus}"))
    if ("bench: SEV active" in run.lines) != (encryption == "sev"):
        raise BenchError(f"the guest of encryption {encryption} says: {run.lines[0]}")
    return run


def kvm(build: Path, folder: Path, kernel: Path, *, without: tuple[str, ...] = ()) -> Run:
    """One boot of Debian's Linux, whose KVM runs the guest with one vCPU, then with two."""
    manifest = folder / "manifest"
    manifest.write_bytes(LaunchProgram(pack(build, folder, "none", VCPUS)).manifest())
    files = {"bin/kvmrun": build / "referee" / "kvmrun", "guests.manifest": manifest}
    errand = "\n".join(f"kvmrun /guests.manifest bench-{count} --irqchip" for count in VCPUS) + "\n"
    host = linux.boot(
        kernel, files, errand, folder, cmdline="mitigations=off", memory=machines.MEMORY, time_limit=TIME_LIMIT,
        icount=True, without=without,
    )  # fmt: skip
    parts = host.text.split("kvmrun: powered off")
    if len(parts) != len(VCPUS) + 1:
        raise BenchError(host.text)
    # Seen once, under KVM 6.12, and not explained: of 2,000 self-IPIs not as many came. The least sample is what counts.
    return with_pair(*(read(part.splitlines(), may_lose=True) for part in parts[: len(VCPUS)]))


# -- the table, and what is compared ------------------------------------------------------


def table(columns: Mapping[str, Mapping[str, Figure]]) -> str:
    """Operations down, columns across, in Markdown; the mean in brackets where it is another."""
    rows = [["instructions per round trip", *columns, "bare loop"]]
    for name, words in OPERATIONS.items():
        row = [words]
        for figures in columns.values():
            figure = figures.get(name)
            if figure is None:
                row.append("–")
            elif figure.mean == figure.least:
                row.append(f"{figure.least:,}")
            else:
                row.append(f"{figure.least:,} ({figure.mean:,})")
        rows.append([*row, str(BARE_LOOP.get(name, ""))])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| "
        + " | ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in rows
    ]
    ruler = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], ruler, *lines[1:]])


def growth(figures: Mapping[str, Figure], baseline: Mapping[str, int], percent: int) -> list[str]:
    """In words, what is more than `percent` above the baseline, or in one of the two alone."""
    problems = [f"{name} is no longer measured" for name in baseline if name not in figures]
    for name, figure in figures.items():
        if name not in baseline:
            problems.append(f"{name} is not in {BASELINE.name}: tests/bench/record.py")
        elif figure.least * 100 > baseline[name] * (100 + percent):
            problems.append(f"{name}: {figure.least}, {baseline[name]} in {BASELINE.name}")
    return problems


def baseline() -> dict[str, dict[str, int]]:
    """The recorded figures, by Sevisor's columns."""
    found = tomllib.loads(BASELINE.read_text())
    return {name: value for name, value in found.items() if isinstance(value, dict)}


def compiler() -> str:
    """What hv was built with: figures are its work, too."""
    return subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


# Sevisor's columns: encryption of the guest, and what the machine lacks.
SEVISOR = {"plain": ("none", ()), "sev": ("sev", ()), "plain-without-next-rip": ("none", WITHOUT_NEXT_RIP)}
