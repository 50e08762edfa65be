# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Machine checks: the guest that is hit ends, with words from the banks, and the others run on; what concerns hv is its end."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import attendant
import debugger
import packing
import sayings
from debugger import Debugger
from emulator import Emulator

from machine_checks import (
    ADDRV, CR0_CD, CR0_NW, CR4_MCE, EN, MCIP, MEMORY_READ, PCC, TCC, UC, VAL, InGuest, address, control_registers, inject,
)  # fmt: skip
from machines import Boot
from packing import GuestSpec

pytestmark = pytest.mark.sev

UNCORRECTED = VAL | UC | EN | ADDRV | MEMORY_READ
LONG = "ms=4000000000"
SIZE_2M = 2 << 20


def hostile(name: str, encryption: str, words: str, cpu: int) -> GuestSpec:
    return packing.hello(name, encryption, pins=[cpu], keys={"image": "${BUILD}/hostile.bin", "cmdline": words})


def works_on(machine: Emulator) -> None:
    done = len(re.findall(r"^worker\| w ", machine.console.text, re.M))
    machine.wait_for(rf"^worker\| w {done + 20:x} ", 60)


def after_vmrun(elf: Path) -> int:
    """hv's first instruction behind #VMEXIT, where GIF is 0."""
    code = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", elf], capture_output=True, text=True, check=True
    ).stdout
    return int(re.search(r"\tvmrun\b.*\n *([0-9a-f]+):\tvmsave", code)[1], 16)


def at_stgi(machine: Emulator, socket_path: Path, place: int, broken: int) -> None:
    """An error in physical memory at `broken`."""
    for _ in range(100):
        with Debugger(socket_path, 0) as hand:
            if hand.run_to(place):
                inject(machine, 0, 6, UNCORRECTED, place=broken)
                return
    pytest.fail("CPU 0 leaves no guest")


def places(machine: Emulator, guest: str) -> list[int]:
    """Where its launches have put it."""
    return [int(at, 16) for at in re.findall(rf"launch {guest}: \d+ MiB at 0x([0-9a-f]+), ASID", machine.console.text)]


def wait_end(machine: Emulator, known: set[str]) -> tuple[str, str]:
    """The next guest that ends, but for those: its name and the reason."""
    names = "|".join(known) or "-"
    found = machine.wait_for(rf"^ended (?!(?:{names}):)(\S+): crash: (.*)\n", 60)
    return found[1], found[2]


@pytest.mark.parametrize("smca", [True, False], ids=["smca", "legacy"])
def test_the_guest_that_was_hit_ends_and_the_others_run_on(
    smca: bool, pack: Callable[..., Path], boot_sev: Boot, build: Path, tmp_path: Path
) -> None:
    """In VMRUN, with the guest's CR4.MCE at 0 and CR0.CD at 1; then at STGI, in the guest's own memory, which no later guest gets.
    A corrected error is told; one that corrupted the processor's context is the end."""
    guests = [
        hostile("worker", "none", "attack=work", 1),
        hostile("plain", "none", f"attack=uncached {LONG}", 0),
        hostile("secret", "sev", f"attack=uncached {LONG}", 0),
        hostile("third", "sev", f"attack=storm-cpuid {LONG}", 0),
    ]
    elf, socket_path = build / "hv" / "hv.elf", tmp_path / "gdb"
    with boot_sev(
        packing.bootable(pack(f"mce-{smca}", guests)), name="mce", cpus=2, smca=smca,
        more_arguments=debugger.arguments(socket_path),
    ) as machine:  # fmt: skip
        for guest in ("secret", "plain"):
            attendant.wait_for_guest(machine, guest, "hostile: uncached begins")
        attendant.wait_for_guest(machine, "third", "hostile: storm-cpuid begins")
        works_on(machine)
        # The hardware runs with what hv wants, until it is hit.
        hit: dict[str, str] = {}
        for bank in (5, 7):
            with InGuest(machine, socket_path, 0):
                cr0, cr4 = control_registers(machine)
                inject(machine, 0, bank, UNCORRECTED | (TCC if bank == 7 else 0), MCIP if bank == 7 else MCIP | 1)
            name, why = wait_end(machine, set(hit))
            assert re.search(
                rf"^machine check at RIP 0x[0-9a-f]+: uncorrected error.* in bank {bank}\b.*address 0x7654321000", why
            )
            assert cr0 & (CR0_CD | CR0_NW) == 0 and cr4 & CR4_MCE, f"{cr0:#x} {cr4:#x}"
            hit[name] = why
        (last,) = {"secret", "plain", "third"} - set(hit)
        broken = places(machine, last)[0] + (5 << 20) + 0x1238
        at_stgi(machine, socket_path, after_vmrun(elf), broken)
        name, why = wait_end(machine, set(hit))
        assert name == last and "in bank 6" in why and f"address 0x{broken:x}" in why
        hit[name] = why
        machine.wait_for(
            rf"error: {last}: 2 MiB around 0x{broken:x} stay in quarantine until the next boot: a memory error"
        )
        machine.wait_for(r"^resources: .*: all returned but a quarantine of 0 ASIDs, 2 MiB$")
        works_on(machine)
        assert ("execution unit" in hit[next(iter(hit))]) is smca
        # An error that was corrected: told once, by whoever looks, also an idle CPU.
        inject(machine, 0, 8, VAL | EN | ADDRV | MEMORY_READ)
        machine.wait_for(r"error: CPU 0, hardware error: corrected error in bank 8\b", 60)
        attendant.command(machine, f"r{[guest.name for guest in guests].index(last) + 1}")
        machine.wait_for(rf"(?s)^launch report: {last}, .*^launch report: {last}, ")
        assert not places(machine, last)[1] - SIZE_2M < broken & ~(SIZE_2M - 1) < places(machine, last)[1] + (16 << 20)
        # Also the bank of the CPU that has nothing to do is enabled, and PCC is the end.
        inject(machine, 1, 2, UNCORRECTED | PCC)
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert text.count("in bank 8") == 1
    assert re.search(
        r"^sevisor: panic: (machine check while worker ran: the processor's context is corrupt|#MC machine check at)",
        text,
        re.M,
    )
    assert re.search(
        r"^sevisor: machine check: uncorrected error, processor context corrupt in bank 2\b.*: UC EN PCC", text, re.M
    )
    assert [end[0] for end in sayings.ends(text)] == list(hit)


def test_what_hits_hv_itself_is_its_end_with_the_banks(
    pack: Callable[..., Path], boot_sev: Boot, build: Path, tmp_path: Path
) -> None:
    guests = [hostile("storm", "none", f"attack=storm-cpuid {LONG}", 0)]
    socket_path = tmp_path / "gdb"
    with boot_sev(
        packing.bootable(pack("mce-hv", guests)), name="mce-hv", more_arguments=debugger.arguments(socket_path)
    ) as machine:
        attendant.wait_for_guest(machine, "storm", "hostile: storm-cpuid begins")
        place = address(build / "hv" / "hv.elf", "exit_cpuid")
        with Debugger(socket_path, 0) as hand:
            assert hand.run_to(place)
            inject(machine, 0, 0, UNCORRECTED)
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert re.search(rf"^sevisor: panic: #MC machine check at {place:x}, ", text, re.M)
    assert re.search(
        r"^sevisor: machine check: uncorrected error in bank 0, load-store unit .*, address 0x7654321000", text, re.M
    )
    assert not sayings.ends(text)
