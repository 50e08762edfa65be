# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Encrypted guests on the SEV machine: privacy, measurement, and what the secure processor was asked to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import attendant
import machines
import owner_side
import packing
import sayings
from emulator import Dump
from launch_program import LaunchProgram
from machines import MEMORY_SIZE, Boot
from markers import linux_marker, private_marker, shared_marker
from owner_side import Owner, Platform

pytestmark = pytest.mark.sev

OWNED = ("owned", "linux")  # encrypted guests whose owner made a session


@dataclass
class Run:
    text: str
    reason: str
    program: LaunchProgram
    owners: dict[str, Owner]
    dump: Dump
    counters: dict[str, int]
    commands: list[machines.Command]


@pytest.fixture(scope="module")
def platform(build: Path, folder: Path) -> Platform:
    return owner_side.make_platform(build, folder)


@pytest.fixture(scope="module")
def run(platform: Platform, folder: Path, pack: Callable[..., Path], boot_sev: Boot) -> Iterator[Run]:
    """One boot of one guest of each kind. When all have written their markers and hold, memory is dumped."""
    owners = {name: owner_side.make_owner(platform, name) for name in OWNED}
    guests = [
        packing.hello("owned", "sev", "hold", session=owners["owned"].session),
        packing.hello("plain", "none", "hold"),
        packing.hello("host", "host", "hold"),
        packing.linux("linux", "sev", "sevisor.hold sevisor.input=60", session=owners["linux"].session),
    ]
    efi = pack("launch", guests)
    with boot_sev(packing.bootable(efi), name="launch", nv=platform.nv, phys_bits=43) as machine:
        for name in ("owned", "plain", "host"):
            attendant.wait_for_guest(machine, name, sayings.HELLO_HOLDS)
        attendant.wait_for_guest(machine, "linux", sayings.LINUX_PROMPT)
        attendant.type_line(machine, 4, "stressed")
        attendant.wait_for_guest(machine, "linux", sayings.LINUX_HOLDS)
        machine.qmp.command("stop")
        dump = machine.dump(MEMORY_SIZE)
        machine.qmp.command("cont")
        for number in (1, 2, 3, 4):
            attendant.type_line(machine, number, "")
        reason = machine.wait_off()
        yield Run(
            machine.console.text, reason, LaunchProgram(efi), owners, dump,
            machines.counters(machine), machines.trace(machine),
        )  # fmt: skip
        dump.close()


# -- that they ran ---------------------------------------------------------------------


def test_all_guests_end_as_expected_and_the_machine_powers_off(run: Run) -> None:
    assert run.reason == "guest-shutdown"
    assert run.text.rstrip().split("\n")[-1] == sayings.FINAL_LINE
    assert sorted(end[:2] for end in sayings.ends(run.text)) == [
        (name, "poweroff") for name in ("host", "linux", "owned", "plain")
    ]


def test_hello_sees_its_own_key_and_the_others_see_none(run: Run) -> None:
    active = "hello: SEV active (SEV_STATUS 0x1, C-bit 51)"
    assert active in sayings.guest_lines(run.text, "owned")
    for name in ("plain", "host"):
        assert any("SEV not active" in line for line in sayings.guest_lines(run.text, name))
    for name in ("owned", "plain", "host"):
        assert "hello: tick 3" in sayings.guest_lines(run.text, name)


def test_unmodified_linux_runs_encrypted_and_passes_its_self_check(run: Run) -> None:
    lines = sayings.guest_lines(run.text, "linux")
    assert "sevisor-linux: Memory Encryption Features active: AMD SEV" in lines
    assert "sevisor-linux: self-check passed" in lines
    assert "sevisor-linux: reversed: desserts" in lines
    assert not [line for line in lines if "FAILED" in line]


def test_linux_finds_the_speculation_control_that_there_is_and_no_msr_missing(run: Run) -> None:
    kernel = "\n".join(sayings.guest_lines(run.text, "linux"))
    assert "Speculative Store Bypass: Mitigation: Speculative Store Bypass disabled via prctl" in kernel
    assert "Enabling conditional Indirect Branch Prediction Barrier" in kernel
    assert "unchecked MSR access" not in kernel and "WARNING: CPU" not in kernel


# -- privacy ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "marker", [private_marker("owned"), linux_marker("linux"), private_marker("host"), shared_marker("host")]
)
def test_no_private_marker_is_in_physical_memory(run: Run, marker: bytes) -> None:
    assert not run.dump.holds(marker)


@pytest.mark.parametrize("marker", [shared_marker("owned"), private_marker("plain"), shared_marker("plain")])
def test_what_is_not_private_is_in_physical_memory(run: Run, marker: bytes) -> None:
    assert run.dump.holds(marker)


def test_markers_stand_in_no_file(run: Run) -> None:
    """Else the search would find the disk's copy, or miss nothing by chance."""
    for name in ("owned", "plain", "host"):
        assert private_marker(name) not in run.program.file
        assert shared_marker(name) not in run.program.file
    assert linux_marker("linux") not in run.program.file


def test_hypervisors_own_memory_is_not_readable(run: Run) -> None:
    """Its console's buffer has what it logged and what guests printed; test_stock.py finds it where there is no SME."""
    lines = sayings.log_lines(run.text)
    assert len(lines) > 20
    printed = [line for line in sayings.guest_lines(run.text, "owned") if "SEV_STATUS" in line]
    assert printed
    assert run.dump.any_of(line.encode() for line in lines + printed) == []


# -- measurement -----------------------------------------------------------------------


@pytest.mark.parametrize("name", OWNED)
def test_measurement_is_what_the_owner_computes(run: Run, name: str) -> None:
    said = sayings.measurements(run.text)[name]
    assert said.policy == run.program.guests[name].policy == packing.NODBG
    assert said.measure == run.program.measurement(name, run.owners[name].tik, said.api, said.nonce)


@pytest.mark.parametrize("name", OWNED)
def test_packer_told_the_launch_digest_in_advance(run: Run, name: str) -> None:
    digest = run.program.launch_digest(name)
    assert run.program.guests[name].expected_digest == digest
    assert sayings.digests(run.text)[name] == digest


@pytest.mark.parametrize("name", OWNED)
def test_owners_tool_verifies_the_launch(run: Run, name: str, folder: Path) -> None:
    said = sayings.measurements(run.text)[name]
    good = owner_side.verify(folder / "launch.efi", run.owners[name], said.api, said.measure + said.nonce)
    assert good.returncode == 0, good.stdout + good.stderr
    changed = bytes([said.measure[0] ^ 1]) + said.measure[1:]
    bad = owner_side.verify(folder / "launch.efi", run.owners[name], said.api, changed + said.nonce)
    assert bad.returncode == 1


def test_changed_kernel_changes_the_measurement(
    run: Run, platform: Platform, pack: Callable[..., Path], boot_sev: Boot, folder: Path
) -> None:
    """One bit of the kernel, with all checksums repaired: the owner sees it, whoever else does not."""
    owner = run.owners["linux"]
    program = LaunchProgram(pack("changed", [packing.linux("linux", "sev", session=owner.session)]))
    kernel = program.largest_step("linux")
    program.flip(kernel.payload + kernel.size // 2)
    program.repair_checksums()
    image = packing.bootable(program.write(folder / "changed-kernel.efi"))
    with boot_sev(image, name="changed", nv=platform.nv) as machine:
        machine.wait_for(r"^measurement linux: .* build \d+$")
        said = sayings.measurements(machine.console.text)["linux"]
    original = LaunchProgram(folder / "changed.efi")
    assert said.measure != original.measurement("linux", owner.tik, said.api, said.nonce)
    assert said.measure == program.measurement("linux", owner.tik, said.api, said.nonce)


# -- what the machine saw ----------------------------------------------------------------


def test_no_coherency_fault_and_no_rejected_command_in_a_good_run(run: Run) -> None:
    assert run.counters["coherency faults"] == 0
    assert run.counters["commands rejected"] == 0
    assert run.counters["commands"] == len(run.commands) > 0
    assert {command.status for command in run.commands} == {"SUCCESS"}


def test_guests_end_of_life_follows_the_documented_order(run: Run) -> None:
    """DEACTIVATE, WBINVD, DF_FLUSH, DECOMMISSION, per guest; the machine refuses DF_FLUSH without WBINVD."""
    names = [command.name for command in run.commands]
    assert names.count("LAUNCH_START") == names.count("LAUNCH_FINISH") == len(OWNED)
    last = len(names) - 1 - names[::-1].index("LAUNCH_FINISH")
    life_end = [name for name in names[last + 1 :] if name in ("DEACTIVATE", "DF_FLUSH", "DECOMMISSION")]
    assert life_end == ["DEACTIVATE", "DF_FLUSH", "DECOMMISSION"] * len(OWNED)
    assert names[-1] == "SHUTDOWN"


def test_everything_is_returned(run: Run) -> None:
    found = sayings.resources(run.text)
    assert len(found) == 4
    assert {resources.verdict for resources in found} == {"all returned"}


def test_launch_report_counts_commands_and_bytes(run: Run) -> None:
    for name in OWNED:
        report = re.search(
            rf"^launch report: {name}, encryption sev"
            r".*?mailbox commands (\d+), bytes through the secure processor (\d+)",
            run.text, re.M | re.S,
        )  # fmt: skip
        assert report
        measured = sum(s.size for s in run.program.guests[name].steps if s.kind != 3)
        assert int(report[2]) == measured
        assert int(report[1]) >= 5
    assert len(re.findall(r"^  LAUNCH_UPDATE_DATA +\d+ +\d+$", run.text, re.M)) == len(OWNED)
