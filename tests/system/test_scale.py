# SPDX-License-Identifier: BSD-2-Clause-Patent
"""As many guests as there are ASIDs, or as memory holds, ended and launched again in random order by the operator."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import attendant
import machines
import packing
import sayings
from emulator import Emulator
from machines import Boot

pytestmark = pytest.mark.sev

ASIDS = 15
ROUNDS = 200
SEED = 20261125
# More guests than the memory holds, and more ASIDs than that.
CROWD = 300
CROWD_ASIDS = 509  # of Milan
NO_MEMORY = r"error: (g\d+) is refused: needs 16 MiB of contiguous memory; \d+ MiB are free in total"


class Guests:
    """What the operator knows of the guests, by their numbers from 1."""

    def __init__(self, machine: Emulator, count: int) -> None:
        self.machine = machine
        self.count = count
        self.launches = dict.fromkeys(range(1, count + 1), 1)
        self.ends = dict.fromkeys(range(1, count + 1), 0)
        self.refusals = dict.fromkeys(range(1, count + 1), 0)
        self.alive = set(self.launches)
        self.unsettled: set[int] = set()
        self.room = count

    def learn_refusals(self, text: str) -> None:
        """Of the first launches: those that memory had no room for."""
        for name in re.findall(NO_MEMORY, text):
            number = int(name[1:])
            self.alive.remove(number)
            self.launches[number], self.refusals[number] = 0, 1
        self.room = len(self.alive)

    def press(self, key: str, number: int) -> None:
        """A command about a guest; the keeper is the manifest's first."""
        attendant.command(self.machine, key + attendant.number_keys(number + 1, self.count + 1))

    def await_count(self, pattern: str, wanted: int) -> None:
        self.machine.wait_for(rf"(?s:(?:{pattern}.*){{{wanted}}})", 60)

    def end(self, number: int) -> None:
        self.await_count(f"launch report: g{number},", self.launches[number])
        self.press("k", number)
        self.machine.send(b"y")
        self.alive.remove(number)
        self.ends[number] += 1
        self.unsettled.add(number)

    def launch(self, number: int) -> None:
        self.settle_one(number)
        while self.room < self.count and self.unsettled:  # memory is scarce, and theirs until then
            self.settle_one(self.unsettled.pop())
        self.unsettled.add(number)
        self.press("r", number)
        if len(self.alive) < self.room:
            self.alive.add(number)
            self.launches[number] += 1
        else:
            self.refusals[number] += 1

    def settle_one(self, number: int) -> None:
        self.await_count(f"launch report: g{number},", self.launches[number])
        self.await_count(f"ended g{number}: destroyed", self.ends[number])
        self.await_count(f"error: g{number} is refused: needs", self.refusals[number])

    def settle(self) -> None:
        for number in self.launches:
            self.settle_one(number)


@dataclass
class Scale:
    guests: int
    asids: int
    cpus: int
    memory: str = machines.MEMORY


@pytest.mark.parametrize(
    "scale",
    [Scale(ASIDS, ASIDS, 1), Scale(ASIDS, ASIDS, 4), Scale(CROWD, CROWD_ASIDS, 4, "4G")],
    ids=["1cpu", "4cpus", "crowd"],
)
def test_guests_are_ended_and_launched_in_random_order(scale: Scale, pack: Callable[..., Path], boot_sev: Boot) -> None:
    guests = [packing.hello("keeper", "none", "hold")]  # a plain guest that stays, so that the machine does
    guests += [packing.hello(f"g{number}", "sev", "hold") for number in range(1, scale.guests + 1)]
    choose = random.Random(SEED)
    image = packing.bootable(pack("scale", guests))
    with boot_sev(
        image, name="scale", cpus=scale.cpus, memory=scale.memory, asids=scale.asids, max_guests=scale.asids
    ) as machine:
        machine.wait_for(rf"launch report: g{scale.guests},|error: g{scale.guests} is refused")
        known = Guests(machine, scale.guests)
        known.learn_refusals(machine.console.text)
        for _ in range(ROUNDS):
            number = choose.randint(1, scale.guests)
            if number in known.alive:
                known.end(number)
            else:
                known.launch(number)
        known.settle()
        for number in sorted(known.alive):
            known.end(number)
        known.settle()
        attendant.command(machine, "k" + attendant.number_keys(1, scale.guests + 1) + "y")
        reason = machine.wait_off()
        text, counters, commands = machine.console.text, machines.counters(machine), machines.trace(machine)

    assert reason == "guest-shutdown"
    assert "panic" not in text and "stuck" not in text
    found = sayings.resources(text)
    assert len(found) == sum(known.ends.values()) + sum(known.refusals.values()) + 1
    assert (scale.guests == CROWD) == (sum(known.refusals.values()) > 0)
    assert {resources.verdict for resources in found} == {"all returned"}
    assert counters["coherency faults"] == counters["commands rejected"] == 0
    names = [command.name for command in commands]
    launches = sum(known.launches.values())
    for name in ("LAUNCH_START", "ACTIVATE", "LAUNCH_FINISH", "DEACTIVATE", "DECOMMISSION"):
        assert names.count(name) == launches, name
    assert "ended keeper: destroyed: ended by the operator" in text
