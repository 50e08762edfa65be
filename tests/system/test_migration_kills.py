# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Migrations in which something dies: sevisorctl, a line, a control guest, a machine. Never do both sides run the guest, and the
source goes on with it until it has given it away.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import machines
import packing
from emulator import Emulator
from faulty_line import Fault, FaultyLine, Where
from machines import COM1, CONTROL_LINE, Boot
from operator_side import TOOL, Amd, ctl
from packing import GuestSpec

pytestmark = pytest.mark.sev

CONTROL = 1  # its number on the operator's line
TSC_TOLERANCE = 240e-6  # guest/control.h: tsc_hz
PACE = 3  # counts that show that it runs
TIMEOUT, SHORT_TIMEOUT = 10, 2  # seconds for an answer; of a control guest that dies with it
# What carries it out (guest/ctl/moves.py).
BEGIN, FINISH, GIVE, YOURS = b"receive", b"receive-finish", b"send-finish", b"yours"


def guests() -> list[GuestSpec]:
    control = packing.control()
    control.keys["image"] = "${BUILD}/doomed.bin"
    keys = {"image": "${BUILD}/mover.bin", "cmdline": "marker=mover"}
    mover = GuestSpec("mover", "4M", "sev", keys, policy=packing.NODBG, flags=("snapshot",))
    return [control, mover, packing.hello("stays", "none", "hold")]  # without a guest, the machine would be off


def counts(machine: Emulator) -> list[int]:
    text = machine.console.text
    assert not re.search(r"^mover\|.*(is wrong|is refused)", text, re.M), machine.console.tail()
    return [int(number) for number in re.findall(r"^mover\| mover: count (\d+)\n", text, re.M)]


def given_by(machine: Emulator) -> int:
    return sum(command.name == "SEND_FINISH" and command.status == "SUCCESS" for command in machines.trace(machine))


def wait_until(machine: Emulator, reached: Callable[[], bool], patience: float = 60) -> None:
    end = machine.clock() + patience
    while not reached():
        assert not machine.off() and machine.clock() < end, machine.console.tail()
        time.sleep(0.02)


def runs_on(machine: Emulator) -> None:
    before = len(counts(machine))
    wait_until(machine, lambda: len(counts(machine)) >= before + PACE)


def in_step(told: list[int], last: int) -> list[int]:
    """What was counted behind `last`, one by one. A line that was cut in two when the guest left is none."""
    assert told[:-1] == list(range(last + 1, last + len(told))), (last, told)
    if told and told[-1] != last + len(told):
        assert str(last + len(told)).startswith(str(told[-1])), (last, told)
        return told[:-1]
    return told


@dataclass
class Side:
    machine: Emulator
    line: FaultyLine


@dataclass
class Attempt:
    """What became of a migration."""

    status: int
    said: str
    given: bool  # by the source's SEV firmware
    words: str = ""  # of `migrate --settle`, if it was called


@dataclass
class Moves:
    """Two machines and the guest, which `here` has."""

    here: Side
    there: Side
    folder: Path
    amd: Amd
    timeout: int = TIMEOUT
    tool: subprocess.Popen[str] | None = None
    requests: dict[tuple[str, bool], int] = field(default_factory=dict)  # by line, and whether live

    def sevisorctl(self, *words: object) -> tuple[int, str]:
        """`migrate`. Exit status, what it said."""
        command = [TOOL, "--to", self.here.line.address, "--timeout", self.timeout, "migrate", "mover",
                   "--target", self.there.line.address, *self.amd.words(), "--json", *words]  # fmt: skip
        self.tool = subprocess.Popen(
            [sys.executable, *map(str, command)], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        said = self.tool.communicate(timeout=300)[0]
        return self.tool.returncode, said

    def signal(self, number: int) -> bool:
        """Its side of the line goes with it."""
        assert self.tool
        self.tool.send_signal(number)
        return number != signal.SIGKILL

    def attempt(self, live: bool, patience: float, **faults: Fault) -> Attempt:
        """A migration with faults on the lines of `here` and `there`. Then it is settled, and the guest is where it should be."""
        here, there = self.here.machine, self.there.machine
        self.here.line.heal(faults.get("here"))
        self.there.line.heal(faults.get("there"))
        gave, counted, seen_there = given_by(here), counts(here), len(counts(there))
        last, seen_here = counted[-1], len(counted)
        status, said = self.sevisorctl(*[] if live else ["--paused"], "--patience", patience)
        given = given_by(here) - gave
        done = Attempt(status, said, given == 1)
        assert given in (0, 1), done
        for name in faults:
            assert getattr(self, name).line.struck, (name, done)
        if status not in (0, -signal.SIGKILL) and not given and not self.here.line.dead and "--settle" not in said:
            runs_on(here)  # without anybody's help
        if not faults:
            self.requests |= {(name, live): len(getattr(self, name).line.requests) for name in ("here", "there")}

        self.here.line.heal()
        self.there.line.heal()
        if status != 0:
            settled, done.words = self.sevisorctl("--settle", "--patience", 60)
            assert settled == 0 and f"runs at the {'target' if given else 'source'}" in done.words, done
        has, lacks = (there, here) if given else (here, there)
        standing = len(counts(lacks))
        runs_on(has)
        assert len(counts(lacks)) == standing, ("both run", done)

        last += len(in_step(counts(here)[seen_here:], last))
        arrived = counts(there)[seen_there:]
        if given:
            # The line that it was in the middle of when it left is none.
            assert arrived[0] in (last + 1, last + 2), (last, arrived, done)
            in_step(arrived, arrived[0] - 1)
            self.here, self.there = self.there, self.here
        else:
            assert not arrived, done
        return done

    def without_a_fault(self, live: bool) -> None:
        done = self.attempt(live, 60)
        assert done.status == 0 and done.given, done


def kill_control(machine: Emulator) -> bool:
    """By the machine's operator, who launches it again."""
    said = "ended control: destroyed"
    before = machine.console.text.count(said)
    machine.send(b"\x1dk%dy" % CONTROL)
    wait_until(machine, lambda: machine.console.text.count(said) > before)
    machine.send(b"\x1dr%d\r" % CONTROL)
    return True


def crash_control(side: Side, place: int) -> bool:
    return side.line.crash(place)


def kill_machine(side: Side) -> bool:
    assert side.machine.process
    side.machine.process.kill()
    side.machine.process.wait()
    return side.line.cut(True)


def booting(image: Path, boot_sev: Boot) -> Callable[[str], AbstractContextManager[Emulator]]:
    return lambda name: boot_sev(image, name=name, cpus=2, uart=[*COM1, *CONTROL_LINE])


def hertz(machine: Emulator) -> float:
    return float(machine.wait_for(r"notice: TSC ([0-9.]+) MHz$")[1])


@contextmanager
def booted_beside(
    boot: Callable[[str], AbstractContextManager[Emulator]], name: str, other: Emulator
) -> Iterator[Emulator]:
    """Until both have measured nearly the same TSC: where others had the tests' CPUs meanwhile they may not, and no guest could move."""
    for _ in range(5):
        with boot(name) as machine:
            if abs(hertz(machine) / hertz(other) - 1) < TSC_TOLERANCE:
                yield machine
                return
    raise AssertionError("no two machines measure the same TSC")


def arriving(machine: Emulator, folder: Path) -> Side:
    """It has a place for the guest."""
    machine.wait_for(r"^mover\| mover: count 1$")
    ctl(machine, "end", "mover", "--wait", "120")
    return Side(machine, FaultyLine(machine, folder, machine.name))


def met(one: Emulator, two: Emulator, folder: Path) -> tuple[Side, Side]:
    """The first runs the guest."""
    one.wait_for(r"^mover\| mover: count 5$")
    return Side(one, FaultyLine(one, folder, one.name)), arriving(two, folder)


Moment = tuple[str, int | bytes, Where]


def moments(moves: Moves, live: bool, steps: int) -> Iterator[Moment]:
    """So many spread over all requests on each line; and those that matter most, which are carried out and not answered."""
    wheres = itertools.cycle((Where.HALF, Where.BEFORE, Where.BEHIND))
    for side in ("here", "there"):
        for step in range(steps):
            yield side, 1 + (2 * step + 1) * moves.requests[side, live] // (2 * steps), next(wheres)
    yield from (("there", BEGIN, Where.BEHIND), ("there", FINISH, Where.BEHIND), ("here", GIVE, Where.BEFORE))
    yield from (("here", GIVE, Where.BEHIND), ("there", YOURS, Where.BEHIND))


def test_whatever_is_killed_one_machine_has_the_guest(
    pack: Callable[..., Path], boot_sev: Boot, amd: Amd, tmp_path: Path, show: Callable[[str], None]
) -> None:
    boot = booting(packing.bootable(pack("kills", guests())), boot_sev)
    began = time.monotonic()
    tally: Counter[tuple[str, str]] = Counter()
    with boot("one") as one, booted_beside(boot, "two", one) as two:
        moves = Moves(*met(one, two, tmp_path), tmp_path, amd)
        for live in (True, False):
            moves.without_a_fault(live)

        def attempt(kind: str, live: bool, moment: Moment, act: Callable[[Side], bool], patience: float = 30) -> int:
            side, at, where = moment
            then = time.monotonic()
            done = moves.attempt(live, patience, **{side: Fault(at, where, lambda: act(getattr(moves, side)))})
            has = "target" if done.given else "source"
            tally[kind, has] += 1
            print(f"{time.monotonic() - then:4.1f} s: {kind}, {side}, {at!r}, {where.value}, live={live}: "
                  f"status {done.status}, {has} has it")  # fmt: skip
            return done.status

        for moment in moments(moves, True, 2):
            status = attempt("tool, SIGKILL", True, moment, lambda _: moves.signal(signal.SIGKILL))
            assert status == -signal.SIGKILL
        for moment in moments(moves, True, 1):
            assert attempt("tool, SIGINT", True, moment, lambda _: moves.signal(signal.SIGINT)) == 130
        for moment in moments(moves, False, 1):
            assert attempt("line for good", False, moment, lambda side: side.line.cut(True), 1) != 0
        for moment in moments(moves, True, 2):
            attempt("line for a moment", True, moment, lambda side: side.line.cut(False))

        half = {side: moves.requests[side, True] // 2 for side in ("here", "there")}
        for moment in (("here", half["here"], Where.HALF), ("here", GIVE, Where.BEHIND),
                       ("there", half["there"], Where.HALF), ("there", YOURS, Where.BEHIND)):  # fmt: skip
            attempt("control guest ended", True, moment, lambda side: kill_control(side.machine))
        moves.timeout = SHORT_TIMEOUT
        for side, at, place in (
            ("here", half["here"], 3), ("here", GIVE, 2), ("here", GIVE, 3), ("here", GIVE, 4), ("there", half["there"], 4),
            ("there", FINISH, 3), ("there", YOURS, 1), ("there", YOURS, 3),
        ):  # fmt: skip
            crash = functools.partial(crash_control, place=place)
            attempt(f"control guest crashed ({place})", True, (side, at, Where.BEFORE), crash)
        moves.timeout = TIMEOUT
        for live in (True, False):
            moves.without_a_fault(live)
        for machine in (one, two):
            assert machines.counters(machine)["coherency faults"] == 0
        text = one.console.text + two.console.text
    deaths = Counter(re.findall(r"^control\| doomed: dies (.*)$", text, re.M))
    assert len(deaths) == 4 and deaths.total() == sum(tally[key] for key in tally if "crashed" in key[0]), deaths
    show(f"{tally.total()} migrations with a fault in {time.monotonic() - began:.0f} s: {dict(tally)}")


def test_a_machine_that_dies_takes_no_guest_with_it_but_its_own(
    pack: Callable[..., Path], boot_sev: Boot, amd: Amd, tmp_path: Path
) -> None:
    """The source behind "yours"; the target that has it all; the source when it has given the guest away, and nobody knows it."""
    boot = booting(packing.bootable(pack("dies", guests())), boot_sev)
    with boot("two") as two:
        with booted_beside(boot, "one", two) as one:
            moves = Moves(*met(one, two, tmp_path), tmp_path, amd)
            last = counts(one)[-1]
            before = len(counts(two))
            moves.there.line.heal(Fault(YOURS, Where.BEHIND, lambda: kill_machine(moves.here)))
            status, said = moves.sevisorctl("--patience", 5)
            assert status == 0 and moves.there.line.struck, said
            runs_on(two)
            one.console.join(10)
            last += len(in_step([count for count in counts(one) if count > last], last))
            arrived = counts(two)[before:]
            assert arrived[0] in (last + 1, last + 2), (last, arrived)
        with booted_beside(boot, "three", two) as three:
            moves = Moves(moves.there, arriving(three, tmp_path), tmp_path, amd)
            done = moves.attempt(True, 1, there=Fault(FINISH, Where.BEHIND, lambda: kill_machine(moves.there)))
            assert done.status == 3 and not done.given, done
        with booted_beside(boot, "four", two) as four:
            moves = Moves(moves.here, arriving(four, tmp_path), tmp_path, amd)
            before = len(counts(four))
            moves.here.line.heal(Fault(GIVE, Where.BEHIND, lambda: kill_machine(moves.here)))
            status, said = moves.sevisorctl("--patience", 1)
            assert status == 3 and given_by(two) == 1 and "runs nowhere" in said, said
            status, said = moves.sevisorctl("--patience", 1, "--settle")
            assert status == 3, said
            assert json.loads(ctl(four, "status", "mover", "--json").stdout)["state"] == "receiving"
            assert len(counts(four)) == before
