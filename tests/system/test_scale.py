# SPDX-License-Identifier: BSD-2-Clause-Patent
"""As many guests as the secure processor has ASIDs, ended and launched again in random order by the operator."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import machines
import packing
import sayings
from attendant import ESCAPE
from emulator import Emulator
from machines import Boot

pytestmark = pytest.mark.sev

ASIDS = 15
ROUNDS = 200
SEED = 20261125
KEEPER = ASIDS + 1          # a plain guest that stays, so that the machine does


def press(machine: Emulator, key: str, number: int) -> None:
    """A command about a guest; there are more than nine, so a number of one digit ends with Enter."""
    machine.send(ESCAPE + f"{key}{number}".encode() + (b"\r" if number < 10 else b""))


class Guests:
    """What the operator knows of the guests, by their numbers from 1."""

    def __init__(self, machine: Emulator) -> None:
        self.machine = machine
        self.launches = dict.fromkeys(range(1, ASIDS + 1), 1)
        self.ends = dict.fromkeys(range(1, ASIDS + 1), 0)
        self.alive = set(self.launches)

    def await_count(self, pattern: str, wanted: int) -> None:
        self.machine.wait_for(rf"(?s:(?:{pattern}.*){{{wanted}}})", 60)

    def end(self, number: int) -> None:
        self.await_count(f"launch report: g{number},", self.launches[number])
        press(self.machine, "k", number)
        self.machine.send(b"y")
        self.alive.remove(number)
        self.ends[number] += 1

    def launch(self, number: int) -> None:
        self.await_count(f"ended g{number}: destroyed", self.ends[number])
        press(self.machine, "r", number)
        self.alive.add(number)
        self.launches[number] += 1

    def settle(self) -> None:
        for number in self.launches:
            self.await_count(f"launch report: g{number},", self.launches[number])
            self.await_count(f"ended g{number}: destroyed", self.ends[number])


@pytest.mark.parametrize("cpus", [1, 4])
def test_guests_are_ended_and_launched_in_random_order(cpus: int, pack: Callable[..., Path], boot_sev: Boot) -> None:
    guests = [packing.hello(f"g{number}", "sev", "hold") for number in range(1, ASIDS + 1)]
    guests.append(packing.hello("keeper", "none", "hold"))
    choose = random.Random(SEED)
    with boot_sev(packing.bootable(pack("scale", guests)), name="scale", cpus=cpus) as machine:
        machine.wait_for("launch report: keeper")
        known = Guests(machine)
        for _ in range(ROUNDS):
            number = choose.randint(1, ASIDS)
            if number in known.alive:
                known.end(number)
            else:
                known.launch(number)
        known.settle()
        for number in sorted(known.alive):
            known.end(number)
        known.settle()
        machine.send(ESCAPE + f"k{KEEPER}y".encode())
        reason = machine.wait_off()
        text, counters, commands = machine.console.text, machines.counters(machine), machines.trace(machine)

    assert reason == "guest-shutdown"
    assert "panic" not in text and "stuck" not in text
    found = sayings.resources(text)
    assert len(found) == sum(known.ends.values()) + 1
    assert {resources.verdict for resources in found} == {"all returned"}
    assert counters["coherency faults"] == counters["commands rejected"] == 0
    names = [command.name for command in commands]
    launches = sum(known.launches.values())
    for name in ("LAUNCH_START", "ACTIVATE", "LAUNCH_FINISH", "DEACTIVATE", "DECOMMISSION"):
        assert names.count(name) == launches, name
    assert "ended keeper: destroyed: ended by the operator" in text
