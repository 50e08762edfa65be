# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Guests that try everything, beside guests that work: the host lives, the work goes on, and the report says
what the guest did.

Time is by executed instructions here, so that the shares measured are the same in every run; nearly, where the
machine has two CPUs.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

import attendant
import machines
import packing
import sayings
from emulator import Emulator
from machines import MEMORY
from packing import GuestSpec

pytestmark = pytest.mark.sev

# Sixteen nanoseconds of virtual time, and as many TSC cycles, for each instruction.
CLOCK = ["-icount", "shift=4,sleep=off", "-rtc", "base=2026-01-01T00:00:00,clock=vm", "-seed", "1"]
TIME_LIMIT = 600
PHASE_MS = 240
# For an answer to the operator, of real time: the machine is slow, and its console is read through a pipe.
ANSWER_S = 30
# Of its fair share, what a worker has at least, whatever the third guest does.
FAIR = 0.8
# hv/vm/exit_npf.c: pages of the empty bus that a launch may read.
BUS_PAGES = 48

PROBES = "cpuid rdmsr wrmsr tsc ports bus vmmcall ipi instructions xsetbv step modes control".split()
TABLES = "tables pvclock".split()
STORMS = (
    "storm-cpuid storm-msr storm-in storm-vmmcall storm-log storm-cache storm-fault storm-clock storm-hlt "
    "flood-periodic flood-asleep flood-self flood-pending flood-deadline flood-priority "
    "uart-noise uart-lines uart-registers"
).split()
SEV = (
    "cpuid wrmsr ports bus instructions modes control storm-cpuid storm-cache storm-hlt flood-asleep flood-self uart-noise"
).split()
CARELESS = "tables pvclock storm-clock".split()

WORKERS = ("anna", "bert")


def hostile(name: str, encryption: str, attacks: list[str], words: str = "", **more) -> GuestSpec:
    keys = {"image": "${BUILD}/hostile.bin", "cmdline": f"attack={','.join(attacks)} {words}".strip()}
    return GuestSpec(name, "16M", encryption, keys, **more)


def workers(cpus: int = 1) -> list[GuestSpec]:
    """With two CPUs, one on each."""
    return [
        hostile(name, encryption, ["work"], pins=[number % cpus])
        for number, (name, encryption) in enumerate(zip(WORKERS, ("sev", "none"), strict=True))
    ]


@contextmanager
def boot(folder: Path, image: Path, name: str, cpus: int = 1, memory: str = MEMORY) -> Iterator[Emulator]:
    arguments = machines.sev(folder, memory, seed="hostile", cpus=cpus) + CLOCK
    with Emulator(arguments, [image], name=name, time_limit=TIME_LIMIT, folder=folder) as machine:
        try:
            yield machine
        finally:
            text = shortened(machine.console.text)
            print(f"----- console of {name}\n{text}\n----- end; QEMU said: {machine.words()}")


def shortened(text: str) -> str:
    """Without the thousands of lines that say that work is done."""
    return re.sub(r"(?m)^(?:anna|bert)\| w .*\n", "", text)


def dismiss_workers(machine: Emulator, guests: int = len(WORKERS)) -> None:
    for number in range(1, len(WORKERS) + 1):
        attendant.type_line(machine, number, "", guests)


@dataclass
class Phase:
    """From an attack's beginning to its report: what it said it did, and how fast others worked meanwhile."""

    name: str
    deeds: dict[str, int]
    speed: dict[str, float]  # of each worker: units per 10^9 TSC cycles


@dataclass
class Run:
    text: str
    counters: dict[str, int]
    words: str  # QEMU's

    def phases(self, guest: str) -> dict[str, Phase]:
        found = {}
        pattern = rf"^{guest}\| hostile: (\S+) begins\n(.*?)^{guest}\| hostile: \1: ([^\n]*)$"
        for m in re.finditer(pattern, self.text, re.M | re.S):
            deeds = {what: int(count) for count, what in re.findall(r"(\d+) ([^,]+)", m[3])}
            found[m[1]] = Phase(m[1], deeds, {worker: speed(m[2], worker) for worker in WORKERS})
        return found

    @cached_property
    def ends(self) -> dict[str, tuple[str, str]]:
        return {name: (how, why) for name, how, why in sayings.ends(self.text)}


def speed(text: str, worker: str) -> float:
    """Between the first and the last unit of work that was done in this part of the console's text."""
    pattern = rf"^{worker}\| w ([0-9a-f]+) ([0-9a-f]+)$"
    units = [(int(m[1], 16), int(m[2], 16)) for m in re.finditer(pattern, text, re.M)]
    if len(units) < 3:
        return 0.0
    (first, since), (last, until) = units[0], units[-1]
    return (last - first) * 1e9 / (until - since)


def check_host(run: Run, careless: str = "") -> None:
    """What must hold whatever guests do. `careless`: a guest that asks hv to write to its private pages."""
    assert "panic" not in run.text
    assert not re.search(r"^\[ *\d+\.\d+\] (?:error|fatal):", run.text, re.M)
    assert {line.verdict for line in sayings.resources(run.text)} == {"all returned"}
    if not careless:
        assert run.counters["coherency faults"] == 0
        return
    launched = re.search(rf"launch {careless}: (\d+) MiB at (0x[0-9a-f]+),", run.text)
    assert launched
    size, base = int(launched[1]), int(launched[2], 16)
    pages = [int(page, 16) for page in re.findall(r"coherency: RAM page (0x[0-9a-f]+):", run.words)]
    assert pages  # else this says nothing
    assert all(base <= page < base + (size << 20) for page in pages), "of nobody else's memory"


@pytest.fixture(scope="session")
def pack(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, list[GuestSpec]], Path]:
    folder = tmp_path_factory.mktemp("hostile")
    return lambda name, guests: packing.pack(guests, build, folder, name)


# -- one guest, one attack after the other ------------------------------------------------


def attack_in_turn(
    folder: Path, pack: Callable[..., Path], name: str, encryption: str, attacks: list[str],
    *, cpus: int = 1, pins: list[int] | None = None, ms: int = PHASE_MS,
) -> Run:  # fmt: skip
    """A hostile guest, good at first, then bad in all these ways, beside two workers."""
    vcpus = len(pins or [0])
    evil = hostile(name, encryption, attacks, f"ms={ms} seed=7 vcpus={vcpus}", vcpus=vcpus, pins=pins)
    with boot(folder, packing.bootable(pack(name, [*workers(cpus), evil])), name, cpus) as machine:
        machine.wait_for(rf"^ended {name}: ")
        dismiss_workers(machine)
        assert machine.wait_off() == "guest-shutdown"
        return Run(machine.console.text, machines.counters(machine), machine.words())


def check_phases(run: Run, guest: str, attacks: list[str]) -> None:
    """The first of the attacks is none: what it leaves to others is their fair share."""
    phases = run.phases(guest)
    assert list(phases) == attacks
    fair = phases[attacks[0]].speed
    for phase in phases.values():
        print(phase.name, *(f"{phase.speed[worker] / fair[worker]:.2f}" for worker in WORKERS), phase.deeds)
    for phase in phases.values():
        assert phase.deeds, phase
        assert phase.deeds.get("wrong", 0) == 0, phase
        first, *_ = phase.deeds.values()
        assert first > 0, phase
        for worker, reached in phase.speed.items():
            assert reached >= FAIR * fair[worker], f"{worker} during {phase.name}: {reached / fair[worker]:.2f}"
    assert run.ends[guest] == ("poweroff", "powered off")
    assert "stray fault" not in run.text


def check_log_is_short(run: Run, guest: str) -> None:
    """Ten lines a second and one about the rest, however many hundred thousand there were to say; and each page of
    the empty bus once."""
    pages = [int(m, 16) >> 12 for m in re.findall(rf"guest: {guest}: reads .* address (0x\w+).*: all ones", run.text)]
    assert len(set(pages)) == len(pages) <= BUS_PAGES
    assert len(pages) > BUS_PAGES / 2 or "bus" not in run.phases(guest)
    times = [float(time) for time in re.findall(rf"^\[ *(\d+\.\d+)\] guest: {guest}: (?!reads )", run.text, re.M)]
    assert times
    assert len(times) <= 11 * (times[-1] - times[0] + 1)


def test_a_guest_that_tries_everything_costs_nobody_his_share(tmp_path: Path, pack: Callable[..., Path]) -> None:
    attacks = ["none", *PROBES, *TABLES, *STORMS]
    run = attack_in_turn(tmp_path, pack, "evil", "none", attacks)
    check_host(run)
    check_phases(run, "evil", attacks)
    check_log_is_short(run, "evil")


def test_nor_does_an_encrypted_one(tmp_path: Path, pack: Callable[..., Path]) -> None:
    """It also has the clock written to its private pages: a loss of its own, and of nobody else."""
    attacks = ["none", *SEV, *CARELESS]
    run = attack_in_turn(tmp_path, pack, "evil-sev", "sev", attacks)
    check_host(run, careless="evil-sev")
    check_phases(run, "evil-sev", attacks)
    assert "evil-sev| hostile: with SEV" in run.text


# -- several vCPUs at the same time --------------------------------------------------------

# The machine's CPUs share its instructions, and so its time: one that waits in a PAUSE leaves its part to the other. So
# the CPUs never sleep, and no guest pauses while a share is measured, but for vCPU 0 while it waits for others.
# In "none" only the first is there, and the others come late to "crowd-late": not with what they have missed.
CROWD = (
    "crowd-none none crowd-late crowd-storms crowd-ipis crowd-starts crowd-tables crowd-clock crowd-halts crowd-deaf "
    "crowd-relay crowd-uart"
).split()
CROWD_SEV = (
    "crowd-none crowd-storms crowd-cache crowd-ipis crowd-starts crowd-tables crowd-halts crowd-relay crowd-clock"
).split()
CROWD_MS = 1000
CROWD_PINS = [0, 1, 0, 1]
# Every other vCPU sleeps in it, so the worker on their CPU is alone there, not one of three.
ALONE = {"crowd-deaf": "bert"}


def check_crowd(run: Run, guest: str, vcpus: int) -> None:
    crowds = [phase for phase in run.phases(guest).values() if phase.name.startswith("crowd-")]
    assert crowds
    for phase in crowds:
        assert phase.deeds["vCPUs"] == vcpus, phase
        assert phase.deeds["by the vCPU with the fewest"] > 0, phase
        assert phase.deeds.get("words beside them overwritten", 0) == 0, phase


def test_nor_does_one_with_several_vcpus_on_several_cpus(tmp_path: Path, pack: Callable[..., Path]) -> None:
    run = attack_in_turn(tmp_path, pack, "crowd", "none", CROWD, cpus=2, pins=CROWD_PINS, ms=CROWD_MS)
    check_host(run)
    check_phases(run, "crowd", CROWD)
    check_crowd(run, "crowd", 4)
    phases = run.phases("crowd")
    for name, worker in ALONE.items():
        reached = phases[name].speed[worker] / phases["crowd-none"].speed[worker]
        assert reached >= FAIR * 3, f"{worker} alone on his CPU during {name}: {reached:.2f}"
    check_log_is_short(run, "crowd")


def test_nor_does_an_encrypted_one_with_several(tmp_path: Path, pack: Callable[..., Path]) -> None:
    run = attack_in_turn(tmp_path, pack, "crowd-sev", "sev", CROWD_SEV, cpus=2, pins=[0, 1, 1], ms=CROWD_MS)
    check_host(run, careless="crowd-sev")
    check_phases(run, "crowd-sev", CROWD_SEV)
    check_crowd(run, "crowd-sev", 3)
    assert "crowd-sev| hostile: with SEV" in run.text


def test_nor_does_one_whose_vcpus_take_turns(tmp_path: Path, pack: Callable[..., Path]) -> None:
    run = attack_in_turn(tmp_path, pack, "turns", "none", CROWD, pins=[0, 0, 0], ms=CROWD_MS)
    check_host(run)
    check_phases(run, "turns", CROWD)
    check_crowd(run, "turns", 3)


# -- registers ---------------------------------------------------------------------------------

REGISTERS = ["crowd-registers", "crowd-registers-again"]
REGISTERS_MS = 600


def registers(name: str, encryption: str, seed: int, vcpus: int = 1, more: str = "") -> GuestSpec:
    words = f"ms={REGISTERS_MS} seed={seed} vcpus={vcpus} {more}"
    return hostile(name, encryption, REGISTERS, words, vcpus=vcpus, pins=[0] * vcpus)


def check_registers(run: Run, guests: list[GuestSpec], has: dict[str, int]) -> int:
    """How often they looked. `has`: what the processor offers, which says that it was there to be looked at."""
    looks = 0
    for guest in guests:
        phases = run.phases(guest.name)
        assert list(phases) == REGISTERS
        for phase in phases.values():
            print(guest.name, phase.name, phase.deeds)
            assert phase.deeds["wrong"] == 0, phase
            assert phase.deeds["by the vCPU with the fewest"] > 50, phase
            assert has.items() <= phase.deeds.items(), phase
            looks += phase.deeds["looks at the registers"]
        assert run.ends[guest.name] == ("poweroff", "powered off")
    return looks


def test_registers_stay_apart_between_guests_and_between_vcpus(tmp_path: Path, pack: Callable[..., Path]) -> None:
    """Three vCPUs of two guests on one CPU: every look comes after another has had the CPU, which takes a barrier (IBPB)."""
    guests = [registers("one", "none", 3, more="full"), registers("two", "sev", 4, vcpus=2, more="full")]
    with boot(tmp_path, packing.bootable(pack("registers", guests)), "registers") as machine:
        assert machine.wait_off() == "guest-shutdown"
        barriers = int(machine.qmp.command("qom-get", path=machines.sev_machine.PSP, property="ibpbs"))
        run = Run(machine.console.text, machines.counters(machine), machine.words())
    check_host(run)
    looks = check_registers(run, guests, {"with AVX": 1, "with PKRU": 0, "bits of SPEC_CTRL": 7})
    assert looks / 2 < barriers < 2 * looks


@pytest.mark.parametrize("cpu, avx", [("EPYC,+svm,+npt", 1), ("EPYC,+svm,+npt,-xsave", 0)], ids=["xsave", "fxsave"])
def test_nor_are_they_mixed_up_on_a_stock_emulator(
    tmp_path: Path, pack: Callable[..., Path], cpu: str, avx: int
) -> None:
    """Without XSAVE, FXSAVE has to do; and with QEMU's own SVM, which knows neither clean bits nor next RIP."""
    guests = [registers("one", "none", 3), registers("two", "none", 4, vcpus=2)]
    arguments = machines.stock(cpu=cpu) + CLOCK
    with Emulator(arguments, [packing.bootable(pack("registers", guests))], name="registers", time_limit=TIME_LIMIT,
                  folder=tmp_path) as machine:  # fmt: skip
        assert machine.wait_off() == "guest-shutdown"
        print(machine.console.text)
        run = Run(machine.console.text, {}, machine.words())
    check_registers(run, guests, {"with AVX": avx, "bits of SPEC_CTRL": 0})


# -- attacks that end the guest --------------------------------------------------------------

ENDS = {
    "triple": ("crash", r"triple fault at RIP 0x[0-9a-f]+"),
    "stack": ("crash", r"triple fault at RIP 0x[0-9a-f]+"),
    "outs": ("crash", r"string I/O \(INS, OUTS\) to port 0x3f8 at RIP 0x10[0-9a-f]{4} is not supported"),
    "ins": ("crash", r"string I/O \(INS, OUTS\) to port 0x1f0 at RIP 0x10[0-9a-f]{4} is not supported"),
    # A page of ones is mapped for each of 48; the next is too much.
    "mmio-reads": (
        "crash",
        r"accessed unmapped guest-physical address 0x7030000 \(RIP 0x10[0-9a-f]{4}\), after reading 48 other such pages",
    ),
    "mmio-write": (
        "crash",
        r"accessed unmapped guest-physical address 0xfed80300, where a PC has the chipset's .* a write, error code 0x100000007\)",
    ),
    "mmio-jump": (
        "crash",
        r"accessed unmapped guest-physical address 0xfffffff0, .* the UEFI firmware's ROM .*, an instruction fetch, error code 0x100000015\)",
    ),
    "mmio-walk": (
        "crash",
        r"accessed unmapped guest-physical address 0xfed00[0-9a-f]{3}, .* the HPET .*, a walk of its page tables, error code 0x20000000[0-9a-f]\)",
    ),
    "mmio-far-read": (
        "crash",
        r"accessed unmapped guest-physical address 0x100000000 \(RIP 0x10[0-9a-f]{4}, a read, error code 0x100000004\)",
    ),
    "mmio-apic": ("crash", r"accessed unmapped guest-physical address 0xfee00300.*, error code 0x100000006\)"),
    "mmio-far": ("crash", r"accessed unmapped guest-physical address 0x1000000000c .*, error code 0x100000006\)"),
    "mmio-fetch": ("crash", r"accessed unmapped guest-physical address 0xc0000000 .*"),
    "walk": ("crash", r"accessed unmapped guest-physical address 0x1001[0-9a-f]{3} .*"),
    "hlt": ("crash", r"HLT with interrupts off: nothing can wake its only vCPU; RIP 0x10[0-9a-f]{4}"),
    "reset": ("reset", r"asked for a reset"),
    "init": ("reset", r"sent INIT to its boot vCPU"),
    # The machine lets a code segment of both 32 and 64 bits pass, and refuses it at VMRUN. A processor raises #GP.
    "reserved": ("crash", r"the CPU refuses the guest's state \(VMEXIT_INVALID\) at RIP 0x10[0-9a-f]{4}"),
}
ENDS_SEV = ("triple", "outs", "mmio-apic", "mmio-reads", "mmio-write", "mmio-walk", "hlt")


def end_in_many_ways(
    folder: Path, pack: Callable[..., Path], name: str, attackers: list[GuestSpec], cpus: int = 1
) -> Run:
    """All at about the same time; the workers work on, and then may go."""
    guests = workers(cpus) + attackers
    with boot(folder, packing.bootable(pack(name, guests)), name, cpus) as machine:
        for guest in attackers:
            machine.wait_for(rf"^ended {guest.name}: ")
        for worker in WORKERS:
            done = len(re.findall(rf"^{worker}\| w ", machine.console.text, re.M))
            machine.wait_for(rf"^{worker}\| w {done + 20:x} ")
        dismiss_workers(machine, len(guests))
        assert machine.wait_off() == "guest-shutdown"
        return Run(machine.console.text, machines.counters(machine), machine.words())


def check_end(run: Run, guest: str, end: tuple[str, str]) -> None:
    how, why = end
    assert run.ends[guest][0] == how, guest
    assert re.fullmatch(why, run.ends[guest][1]), run.ends[guest]
    # All of them, although all come within a second or two: none is crowded out by others.
    if how == "crash" and not why.startswith("HLT"):
        assert len(re.findall(rf"^\[ *\d+\.\d+\] \w+: {guest}: (?:rip|cr0) ", run.text, re.M)) == 2, guest


def test_what_ends_a_guest_is_told_with_its_registers(tmp_path: Path, pack: Callable[..., Path]) -> None:
    cases = {name: (name, "none") for name in ENDS} | {f"{name}-sev": (name, "sev") for name in ENDS_SEV}
    attackers = [hostile(guest, encryption, [attack]) for guest, (attack, encryption) in cases.items()]
    run = end_in_many_ways(tmp_path, pack, "ends", attackers)
    check_host(run)
    for guest, (attack, _) in cases.items():
        check_end(run, guest, ENDS[attack])
    assert {run.ends[worker] for worker in WORKERS} == {("poweroff", "powered off")}


CROWD_ENDS = {
    "crowd-triple": ("crash", r"triple fault at RIP 0x[0-9a-f]+"),
    "crowd-mmio": (
        "crash",
        r"accessed unmapped guest-physical address 0x1000000 \(RIP 0x10[0-9a-f]{4}, .* 0x100000006\)",
    ),
    "crowd-reset": ("reset", r"asked for a reset"),
    "crowd-poweroff": ("poweroff", r"powered off"),
    "crowd-hlt": (
        "crash",
        r"HLT with interrupts off: nothing can wake any of its 4 vCPUs; RIP 0x10[0-9a-f]{4} is that of vCPU \d, the last",
    ),
}


def test_one_end_is_told_when_several_vcpus_come_to_theirs(tmp_path: Path, pack: Callable[..., Path]) -> None:
    """Each guest has them on both CPUs: all fault at once, or one ends it while the others keep the CPUs busy."""
    vcpus = len(CROWD_PINS)
    cases = {name: (name, "none") for name in CROWD_ENDS} | {f"{name}-sev": (name, "sev") for name in CROWD_ENDS}
    attackers = [
        hostile(guest, encryption, [attack], f"vcpus={vcpus}", vcpus=vcpus, pins=CROWD_PINS)
        for guest, (attack, encryption) in cases.items()
    ]
    run = end_in_many_ways(tmp_path, pack, "crowd-ends", attackers, cpus=2)
    check_host(run)
    for guest, (attack, _) in cases.items():
        check_end(run, guest, CROWD_ENDS[attack])
        if attack == "crowd-mmio":
            assert re.search(rf"^\[ *\d+\.\d+\] notice: {guest}: vCPU {vcpus - 1}, exit 0x400,", run.text, re.M)
    assert {run.ends[worker] for worker in WORKERS} == {("poweroff", "powered off")}


# -- attacks that never end --------------------------------------------------------------------

NEVER = {
    "never": "none",
    "asleep": "sev",
    "storm-log": "none",
    "uart-lines": "sev",
    "flood-self": "none",
}
# It has no share: its timer is one that nobody hears.
ASLEEP = "asleep"
_LISTED = re.compile(r"^ *\d+ +(\S+) +(\w+) +\w+ +\d+ +\d+ +(\d+)$", re.M)


def listing(machine: Emulator) -> dict[str, int]:
    """What the operator's `l` says of each guest that runs: milliseconds on the CPU."""
    before = len(machine.console.text)
    machine.send(attendant.ESCAPE + b"l")
    last = list(NEVER)[-1]
    machine.wait_for(rf"(?s)\A.{{{before}}}.*?^ *\d+ +{last} +\w+ .*?\n", ANSWER_S)
    return {m[1]: int(m[3]) for m in _LISTED.finditer(machine.console.text[before:]) if m[2] == "running"}


def test_the_operator_is_heard_above_guests_that_never_end(tmp_path: Path, pack: Callable[..., Path]) -> None:
    guests = workers()
    guests += [hostile(name, encryption, [name], "ms=4000000000") for name, encryption in NEVER.items()]
    with boot(tmp_path, packing.bootable(pack("operator", guests)), "operator") as machine:
        for name in NEVER:
            attendant.wait_for_guest(machine, name, f"hostile: {name} begins")
        first = listing(machine)
        worked = len(re.findall(r"^anna\| w ", machine.console.text, re.M))
        machine.wait_for(rf"^anna\| w {worked + 60:x} ")
        second = listing(machine)
        for number, name in enumerate(NEVER, len(WORKERS) + 1):
            machine.send(attendant.ESCAPE + b"k" + str(number).encode() + b"y")
            machine.wait_for(rf"^ended {name}: ", ANSWER_S)
        dismiss_workers(machine)
        assert machine.wait_off() == "guest-shutdown"
        run = Run(machine.console.text, machines.counters(machine), machine.words())
    check_host(run)
    assert set(first) == set(second) == {*WORKERS, *NEVER}
    spent = {name: second[name] - first[name] for name in second}
    print(spent)
    share = sum(spent.values()) / (len(guests) - 1)
    for name, milliseconds in spent.items():
        if name == ASLEEP:
            assert milliseconds <= 0.05 * share
        else:
            assert FAIR * share <= milliseconds <= share / FAIR, (name, spent)
    assert {run.ends[name][0] for name in NEVER} == {"destroyed"}
    assert {run.ends[worker] for worker in WORKERS} == {("poweroff", "powered off")}


# -- other guests' time: who sleeps takes none of it, nor does a machine that stands still ------

UNHEARD = "priority class service vector error deadline".split()
SLEEPERS = 60
# Of what it has alone.
KEEPS = 0.9
UNITS = 40


def work_on(machine: Emulator, worker: str) -> str:
    """What the console says while the worker does so many units more."""
    before = len(machine.console.text)
    done = len(re.findall(rf"^{worker}\| w ", machine.console.text, re.M))
    machine.wait_for(rf"^{worker}\| w {done + UNITS:x} ")
    return machine.console.text[before:]


def test_sleepers_that_hear_nothing_cost_nothing(tmp_path: Path, pack: Callable[..., Path]) -> None:
    """Each has a timer that expires as often as hv lets it, and is deaf to it."""
    guests = [hostile("anna", "none", ["work"])]
    guests += [hostile(f"s{i}", "none", [f"unheard-{UNHEARD[i % len(UNHEARD)]}"]) for i in range(SLEEPERS)]
    with boot(tmp_path, packing.bootable(pack("sleepers", guests)), "sleepers", memory="2G") as machine:
        for i in range(SLEEPERS):
            attendant.wait_for_guest(machine, f"s{i}", "hostile: asleep")
        beside = speed(work_on(machine, "anna"), "anna")
        for number in range(2, len(guests) + 1):
            attendant.command(machine, "k" + attendant.number_keys(number, len(guests)))
            machine.send(b"y")
            machine.wait_for(rf"^ended s{number - 2}: ", ANSWER_S)
        alone = speed(work_on(machine, "anna"), "anna")
        attendant.type_line(machine, 1, "", len(guests))
        assert machine.wait_off() == "guest-shutdown"
        run = Run(machine.console.text, machines.counters(machine), machine.words())
    check_host(run)
    print(f"beside {SLEEPERS} sleepers: {beside / alone:.3f}")
    assert beside >= KEEPS * alone


STALL_S = 8


def test_after_a_stall_nobody_waits_longer_than_before(tmp_path: Path, pack: Callable[..., Path]) -> None:
    """QEMU is stopped, as by Ctrl-Z: its TSC is the host's, and jumps. Two guests share the second CPU; none of them has to
    give back to the other the time in which nobody ran, and no CPU is reported as stuck."""
    guests = [hostile(name, "none", ["work"], pins=[1]) for name in ("anna", "bert")]
    disk = packing.bootable(pack("stall", guests))
    arguments = machines.sev(tmp_path, machines.MEMORY, seed="stall", cpus=2)
    with Emulator(arguments, [disk], name="stall", time_limit=TIME_LIMIT, folder=tmp_path) as machine:
        for name in ("anna", "bert"):
            machine.wait_for(rf"^{name}\| w 20 ")
        assert machine.process
        for _ in range(2):
            machine.process.send_signal(signal.SIGSTOP)
            time.sleep(STALL_S)
            machine.process.send_signal(signal.SIGCONT)
            turns = re.findall(r"^(anna|bert)\| w ", work_on(machine, "anna"), re.M)
            shares = {name: turns.count(name) / len(turns) for name in ("anna", "bert")}
            print(shares)
            assert min(shares.values()) >= 0.25, shares
        for number in (1, 2):
            attendant.type_line(machine, number, "", 2)
        assert machine.wait_off() == "guest-shutdown"
        run = Run(machine.console.text, machines.counters(machine), machine.words())
        print(shortened(run.text))
    check_host(run)
