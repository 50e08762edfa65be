# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What memory held before a guest had it: the machine's earlier content, other guests' words, launches that failed.

RAM is full of a pattern at power-on. A guest of each kind (guest/scan.c) reads all of its memory before it uses
it, and leaves words of its own behind; then two of them get each other's memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import attendant
import machines
import packing
import sayings
from emulator import Emulator
from launch_program import PAGE, STEP_SHARED, LaunchProgram
from machines import Boot
from markers import fnv1a_bytes
from packing import GuestSpec

pytestmark = pytest.mark.sev

MEMORY = 512 << 20
GUEST_SIZE = 34 << 20  # across the border of hv's windows of 16 MiB, and no multiple of them
GUESTS = ("sev", "none", "host", "refused")
AGAIN = ("sev", "none")  # end, and are launched a second time: each where the other was
# guest/scan.c: the upper half of a word that an owner leaves behind.
OLD_WORD = 0x4C4F5345
COMMAND_LINE = (
    0x1000  # guest/pack/flat.py: of the pages that are written by a launch, the one that the scanner looks at
)
LAST_WORDS = r"scan: holding, send a byte to go on"


@dataclass
class Scan:
    """What one launch of the scanner saw."""

    not_zero: set[int] = field(default_factory=set)  # pages, without the C-bit
    old_words: int = 0
    hashes: dict[int, int] = field(default_factory=dict)  # of pages, with the C-bit


@dataclass
class Run:
    text: str
    reason: str
    program: LaunchProgram
    scans: dict[str, list[Scan]]
    places: dict[str, list[int]]
    after: dict[str, bytes]  # what the chips held where a guest was, once it was gone
    counters: dict[str, int]
    commands: list[machines.Command]


def scanner(name: str, encryption: str) -> GuestSpec:
    keys = {"image": "${BUILD}/scan.bin", "cmdline": f"scan of {name}"}
    return GuestSpec(name, f"{GUEST_SIZE >> 20}M", encryption, keys)


@pytest.fixture(scope="module")
def used_ram(folder: Path) -> Iterator[Path]:
    """RAM that earlier owners wrote all over: words that a scanner recognises."""
    path = folder / "ram"
    piece = b"".join((OLD_WORD << 32 | address).to_bytes(8, "little") for address in range(0, 1 << 20, 8))
    with path.open("wb") as file:
        for _ in range(MEMORY // len(piece)):
            file.write(piece)
    yield path
    path.unlink()


def scans(text: str, guest: str) -> list[Scan]:
    found = [Scan()]
    for line in sayings.guest_lines(text, guest):
        if m := re.fullmatch(r"scan: shared 0x([0-9a-f]+) to 0x([0-9a-f]+) is not zero", line):
            found[-1].not_zero |= set(range(int(m[1], 16), int(m[2], 16), PAGE))
        elif m := re.fullmatch(r"scan: old words shared (\d+), private (\d+)", line):
            found[-1].old_words = int(m[1]) + int(m[2])
        elif m := re.fullmatch(r"scan: private 0x([0-9a-f]+) holds 0x([0-9a-f]+)", line):
            found[-1].hashes[int(m[1], 16)] = int(m[2], 16)
        elif line == "scan: done":
            found.append(Scan())
    return found[:-1]


def places(text: str, guest: str) -> list[int]:
    return [int(at, 16) for at in re.findall(rf"notice: launch {guest}: \d+ MiB at 0x([0-9a-f]+), ASID", text)]


def chips(machine: Emulator, base: int) -> bytes:
    dump = machine.dump(GUEST_SIZE, base)
    try:
        return dump.at(0, GUEST_SIZE)
    finally:
        dump.close()


def end(machine: Emulator, guest: str) -> None:
    attendant.type_line(machine, GUESTS.index(guest) + 1, "", len(GUESTS))


@pytest.fixture(scope="module")
def run(pack: Callable[..., Path], boot_sev: Boot, used_ram: Path) -> Iterator[Run]:
    """Three guests scan; two of them end, and are launched again while the third goes on. The fourth's launch fails
    when the secure processor has encrypted its program."""
    kinds = {"refused": "sev"}
    efi = pack("scrub", [scanner(name, kinds.get(name, name)) for name in GUESTS])
    with boot_sev(
        packing.bootable(efi), name="scrub", memory=f"{MEMORY >> 20}M", ram=used_ram, cpus=2,
        fault="status:LAUNCH_MEASURE:0x17:skip=1:count=1",
    ) as machine:  # fmt: skip
        machine.wait_for(r"error: refused is refused: ")
        for guest in ("sev", "none", "host"):
            machine.wait_for(rf"^{guest}\| {LAST_WORDS}")
        after = {"refused": chips(machine, places(machine.console.text, "refused")[0])}
        for guest in AGAIN:
            end(machine, guest)
            machine.wait_for(rf"^ended {guest}: poweroff")
            machine.wait_for(rf"(?s)^ended {guest}: poweroff.*?^resources: ")
            after[guest] = chips(machine, places(machine.console.text, guest)[0])
        # What is launched first gets the lower place.
        for guest in sorted(AGAIN, key=lambda guest: -places(machine.console.text, guest)[0]):
            attendant.command(machine, "r" + attendant.number_keys(GUESTS.index(guest) + 1, len(GUESTS)))
            machine.wait_for(rf"(?s)^ended {guest}: .*^{guest}\| {LAST_WORDS}")
        for guest in ("sev", "none", "host"):
            end(machine, guest)
        reason = machine.wait_off()
        text = machine.console.text
        yield Run(
            text, reason, LaunchProgram(efi), {guest: scans(text, guest) for guest in GUESTS},
            {guest: places(text, guest) for guest in GUESTS}, after, machines.counters(machine), machines.trace(machine),
        )  # fmt: skip


@pytest.mark.parametrize("guest", ["sev", "none", "host"])
def test_what_the_launch_program_does_not_write_is_zero_in_ram_that_was_full(run: Run, guest: str) -> None:
    scan = run.scans[guest][0]
    assert scan.not_zero == {COMMAND_LINE}
    assert scan.old_words == 0


@pytest.mark.parametrize("guest", AGAIN)
def test_what_another_guest_left_there_is_gone_at_the_next_launch(run: Run, guest: str) -> None:
    other = AGAIN[1 - AGAIN.index(guest)]
    assert run.places[guest][1] == run.places[other][0], "the test needs another order, or other sizes"
    scan = run.scans[guest][1]
    assert scan.not_zero == {COMMAND_LINE}
    assert scan.old_words == 0


@pytest.mark.parametrize("guest", ["refused", *AGAIN])
def test_memory_is_scrubbed_when_its_guest_is_gone(run: Run, guest: str) -> None:
    """Also of a guest that never ran, but that the secure processor had encrypted in part."""
    assert run.after[guest] == bytes(GUEST_SIZE)


@pytest.mark.parametrize("guest", ["sev", "none", "host"])
def test_the_guest_finds_its_program_under_its_own_key(run: Run, guest: str) -> None:
    for scan in run.scans[guest]:
        assert len(scan.hashes) == 2
        for gpa, value in scan.hashes.items():
            step = next(s for s in run.program.guests[guest].steps if s.gpa <= gpa < s.gpa + s.size)
            assert value == fnv1a_bytes(run.program.step_bytes(step)[gpa - step.gpa :][:PAGE])


def updates(run: Run, guest: str) -> int:
    """LAUNCH_UPDATE_DATA: one for each run of measured pages without a gap."""
    steps = [step for step in run.program.guests[guest].steps if step.kind != STEP_SHARED]
    return sum(before is None or before.gpa + before.size != step.gpa for before, step in zip([None, *steps], steps))


def test_digest_and_commands_are_those_of_the_measured_pages_alone(run: Run) -> None:
    assert sayings.digests(run.text)["sev"] == run.program.launch_digest("sev")
    launch = ["LAUNCH_START", "ACTIVATE", *["LAUNCH_UPDATE_DATA"] * updates(run, "sev"), "LAUNCH_MEASURE"]
    end_of_life = ["DEACTIVATE", "DF_FLUSH", "DECOMMISSION"]
    names = [command.name for command in run.commands]
    first = names.index("LAUNCH_START")
    assert names[first:] == [
        *launch, "LAUNCH_FINISH", *launch, *end_of_life,  # sev; refused
        *end_of_life, *launch, "LAUNCH_FINISH", *end_of_life, "SHUTDOWN",  # sev, twice
    ]  # fmt: skip
    assert [command.status for command in run.commands if command.status != "SUCCESS"] == ["RESOURCE_LIMIT"]


def test_no_page_is_used_under_one_key_before_it_was_flushed_under_another(run: Run) -> None:
    assert run.counters["coherency faults"] == 0


def test_all_ends_well(run: Run) -> None:
    assert run.reason == "guest-shutdown"
    assert {resources.verdict for resources in sayings.resources(run.text)} == {"all returned"}
    assert set(sayings.refusals(run.text)) == {"refused"}
