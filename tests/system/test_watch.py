# SPDX-License-Identifier: BSD-2-Clause-Patent
"""CPUs look after each other: one that no longer comes round is reported, and the others go on."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import attendant
import debugger
import machines
import packing
import sayings
from debugger import RFLAGS, RIP, Debugger
from emulator import Emulator
from machines import Boot

pytestmark = pytest.mark.sev

HV_IMAGE_BASE = 0xFFFFFFFF80000000  # boot/handoff.h
HLT_FOR_EVER = b"\xf4\xeb\xfd"  # hlt; jmp to it, hv's end in a panic
NOP = b"\x90"
RFLAGS_IF = 1 << 9
TRIES = 50


def address(elf: Path, name: str) -> int:
    names = subprocess.run(["nm", elf], capture_output=True, text=True, check=True).stdout
    return int(re.search(rf"^([0-9a-f]+) [tT] {name}$", names, re.M)[1], 16)


def stop_in_hv(socket_path: Path, cpu: int, elf: Path, place: int) -> tuple[int, int]:
    """Sends the CPU to go round at `place` with interrupts off, from where a guest's CPUID is answered.

    It must not halt there: a CPU that is set back stays halted until something interrupts it. Where it was, and its flags.
    """
    answers = address(elf, "exit_cpuid")
    for _ in range(TRIES):  # the other CPU's guest asks too, now and then
        with Debugger(socket_path, cpu) as hand:
            if hand.run_to(answers):
                before = hand.read(RIP), hand.read(RFLAGS)
                assert before[0] == answers and before[1] & RFLAGS_IF
                assert hand.memory(place, len(HLT_FOR_EVER)) == HLT_FOR_EVER
                hand.overwrite(place, NOP)
                hand.write(RIP, place)
                hand.write(RFLAGS, before[1] & ~RFLAGS_IF)
                return before
        time.sleep(0.05)
    pytest.fail(f"CPU {cpu} answered no CPUID")


def works_on(machine: Emulator) -> None:
    done = len(re.findall(r"^worker\| w ", machine.console.text, re.M))
    machine.wait_for(rf"^worker\| w {done + 20:x} ", 60)


@pytest.mark.parametrize("stuck", [0, 1])
def test_a_cpu_that_is_stuck_is_reported(
    stuck: int, pack: Callable[..., Path], boot_sev: Boot, build: Path, tmp_path: Path
) -> None:
    image = {"image": "${BUILD}/hostile.bin"}
    guests = [
        packing.hello("storm", "none", pins=[stuck], keys={**image, "cmdline": "attack=storm-cpuid ms=4000000000"}),
        packing.hello("worker", "none", pins=[1 - stuck], keys={**image, "cmdline": "attack=work"}),
    ]
    place = HV_IMAGE_BASE + (build / "hv" / "hv.bin").read_bytes().index(HLT_FOR_EVER)
    socket_path = tmp_path / "gdb"
    with boot_sev(
        packing.bootable(pack("watch", guests)), name="watch", cpus=2, more_arguments=debugger.arguments(socket_path)
    ) as machine:
        attendant.wait_for_guest(machine, "storm", "hostile: storm-cpuid begins")
        works_on(machine)
        was, flags = stop_in_hv(socket_path, stuck, build / "hv" / "hv.elf", place)
        machine.wait_for(rf"error: CPU {stuck} is stuck at ({place:x}|{place + 1:x}) ", 30)
        works_on(machine)
        with Debugger(socket_path, stuck) as hand:
            hand.write(RIP, was)
            hand.write(RFLAGS, flags)
            hand.overwrite(place, HLT_FOR_EVER)
        machine.wait_for(rf"error: CPU {stuck} responds again", 60)
        works_on(machine)
        attendant.command(machine, "k1y", "k2y")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert {end[:2] for end in sayings.ends(text)} == {("storm", "destroyed"), ("worker", "destroyed")}
    assert "panic" not in text
