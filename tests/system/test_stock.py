# SPDX-License-Identifier: BSD-2-Clause-Patent
"""On a machine without SEV: plain guests run, the others are refused; where nothing can run, the firmware goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import attendant
import packing
import sayings
from emulator import Dump
from launch_program import LaunchProgram
from machines import MEMORY_SIZE, Boot
from markers import private_marker, shared_marker

pytestmark = pytest.mark.stock

NEXT = r"next boot option: started"
GUEST_MEMORY_AT = 64 + 40  # the size of the first guest's memory: guest/manifest_format.h


@dataclass
class Run:
    text: str
    reason: str
    dump: Dump


@pytest.fixture(scope="module")
def run(pack: Callable[..., Path], boot_stock: Boot) -> Iterator[Run]:
    """One boot of three guests, with a dump of the memory while the plain one holds."""
    guests = [
        packing.hello("plain", "none", "hold"),
        packing.hello("own-key", "sev"),
        packing.hello("host-key", "host"),
    ]
    image = packing.bootable(pack("stock", guests))
    with boot_stock(image, name="stock-guests") as machine:
        machine.wait_for(r"^plain\| " + sayings.HELLO_HOLDS)
        dump = machine.dump(MEMORY_SIZE)
        machine.send(b"\x1d1x")
        reason = machine.wait_off()
        yield Run(machine.console.text, reason, dump)
        dump.close()


def test_plain_guest_runs_to_its_end(run: Run) -> None:
    lines = sayings.guest_lines(run.text, "plain")
    assert [line for line in lines if line.startswith("hello: tick")] == [f"hello: tick {n}" for n in (1, 2, 3)]
    assert any("SEV not active" in line for line in lines)
    assert ("plain", "poweroff") in [end[:2] for end in sayings.ends(run.text)]


@pytest.mark.parametrize(("guest", "reason"), [("own-key", "SEV"), ("host-key", "SME")])
def test_encrypted_guest_is_refused_with_the_reason(run: Run, guest: str, reason: str) -> None:
    assert reason in sayings.refusals(run.text)[guest]
    assert sayings.guest_lines(run.text, guest) == []


def test_refusals_are_no_success(run: Run) -> None:
    assert sayings.FINAL_LINE_NOT in run.text.split("\n")
    assert sayings.FINAL_LINE not in run.text.split("\n")
    assert run.reason == "guest-shutdown"


def test_refused_guests_leave_nothing_behind(run: Run) -> None:
    found = sayings.resources(run.text)
    assert len(found) == 3
    assert {resources.verdict for resources in found} == {"all returned"}


def test_search_finds_what_is_not_encrypted(run: Run) -> None:
    """The searches that prove privacy on the SEV machine would find something if there were something."""
    assert run.dump.holds(private_marker("plain"))
    assert run.dump.holds(shared_marker("plain"))
    assert any(run.dump.holds(line.encode()) for line in sayings.log_lines(run.text))
    assert not run.dump.holds(private_marker("nobody"))


def test_one_guest_alone_runs_to_its_end(pack: Callable[..., Path], boot_stock: Boot) -> None:
    """The smallest manifest: the number of digits, the lists and the end of the machine have no second guest to go by."""
    with boot_stock(packing.bootable(pack("alone", [packing.hello("alone", "none")])), name="alone") as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert "hello: tick 3" in sayings.guest_lines(text, "alone")
    assert sayings.ends(text) == [("alone", "poweroff", "powered off")]
    assert [resources.verdict for resources in sayings.resources(text)] == ["all returned"]
    summary = text[text.index("\nsummary\n") :].strip().split("\n")
    assert [line.split()[:3] for line in summary[2:-1]] == [["alone", "poweroff", "1"]]
    assert summary[-1] == sayings.FINAL_LINE


DATE_UNKNOWN = (
    "error: the board's clock (RTC) is not set, or years behind: guests get no date or time; set it in the BIOS"
)


def test_a_board_whose_clock_is_years_behind_is_told_of(pack: Callable[..., Path], boot_stock: Boot, run: Run) -> None:
    image = packing.bootable(pack("clock", [packing.hello("plain", "none")]))
    with boot_stock(image, name="clock", more_arguments=["-rtc", "base=1999-12-31T12:00:00"]) as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert DATE_UNKNOWN in text
    assert ("plain", "poweroff", "powered off") in sayings.ends(text)
    assert DATE_UNKNOWN not in run.text


def boots_next(boot_stock: Boot, name: str, image: Path, next_image: Path, cpu: str) -> str:
    with boot_stock(image, next_image, name=name, cpu=cpu) as machine:
        attendant.hit_key_at_refusal(machine)
        machine.wait_for(NEXT)
        assert machine.wait_off() == "guest-shutdown"
        return machine.console.text


@pytest.mark.parametrize(
    ("name", "cpu", "reason"),
    [("svm-off", "EPYC,-svm", "SVM"), ("intel", "Skylake-Client,-vmx", "AMD")],
)
def test_where_nothing_can_run_the_next_boot_option_starts(
    name: str, cpu: str, reason: str, build: Path, boot_stock: Boot, next_image: Path
) -> None:
    text = boots_next(boot_stock, name, build / "sevisor.img", next_image, cpu)
    assert reason in text[: text.index("next boot option")]
    assert "hv runs" not in text


def test_changed_bookkeeping_is_refused_by_its_checksum(
    pack: Callable[..., Path], boot_stock: Boot, next_image: Path, folder: Path
) -> None:
    program = LaunchProgram(pack("bookkeeping", [packing.hello("plain", "none")]))
    program.flip(GUEST_MEMORY_AT + 3)
    image = packing.bootable(program.write(folder / "bookkeeping-changed.efi"))
    text = boots_next(boot_stock, "bookkeeping", image, next_image, "EPYC,+svm")
    assert "MANIFEST_TABLE_CHECKSUM" in text


def test_changed_payload_is_refused_by_its_checksum(
    pack: Callable[..., Path], boot_stock: Boot, next_image: Path, folder: Path
) -> None:
    program = LaunchProgram(pack("payload", [packing.hello("plain", "none")]))
    program.flip(program.largest_step("plain").payload)
    image = packing.bootable(program.write(folder / "payload-changed.efi"))
    text = boots_next(boot_stock, "payload", image, next_image, "EPYC,+svm")
    assert "MANIFEST_PAYLOAD_CHECKSUM" in text
