# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Guests with more vCPUs than the machine has CPUs: they boot, pass their self-test, and leave nothing behind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import machines
import packing
import sayings
from machines import Boot

pytestmark = pytest.mark.sev

CPUS, VCPUS = 2, 4
MANY_CPUS = 288


@dataclass
class Run:
    text: str
    reason: str
    counters: dict[str, int]

    @property
    def linux(self) -> list[str]:
        return sayings.guest_lines(self.text, "linux")


@pytest.fixture(scope="module", params=[None, [0, 1, 0, 1], [1, 1, 1, 1]], ids=["placed", "pinned", "all-on-one"])
def run(request: pytest.FixtureRequest, pack: Callable[..., Path], boot_sev: Boot) -> Iterator[Run]:
    """An encrypted Linux with more vCPUs than there are CPUs, and a plain guest beside it."""
    guests = [
        packing.linux(
            "linux",
            "sev",
            "sevisor.input=0",
            vcpus=VCPUS,
            pins=request.param,
            keys={"initrd": "${BUILD}/initramfs-smptest.cpio.gz"},
        ),
        packing.hello("plain", "none"),
    ]
    with boot_sev(packing.bootable(pack("smp", guests)), name="smp", cpus=CPUS) as machine:
        reason = machine.wait_off()
        yield Run(machine.console.text, reason, machines.counters(machine))


def test_all_vcpus_come_up_in_an_encrypted_linux(run: Run) -> None:
    assert "sevisor-linux: Memory Encryption Features active: AMD SEV" in run.linux
    assert any(re.search(rf"smp: Brought up 1 node, {VCPUS} CPUs", line) for line in run.linux)
    assert f"sevisor-linux: smp: {VCPUS} CPUs are online" in run.linux


def test_self_test_of_scheduling_ipis_timers_and_memory_passes(run: Run) -> None:
    said = [line for line in run.linux if line.startswith("sevisor-linux:")]
    assert [line for line in said if "FAILED" in line] == [], "\n".join(said)
    assert "sevisor-linux: self-check passed" in said
    assert "sevisor-linux: smp self-test passed" in said


def test_interrupts_between_vcpus_reached_each_of_them(run: Run) -> None:
    for kind in ("timer", "rescheduling", "function call", "TLB shoot-down"):
        counts = [line.split(kind)[1].split() for line in run.linux if f"smp: interrupts: {kind} " in line]
        assert len(counts) == 1 and len(counts[0]) == VCPUS and "0" not in counts[0], kind


def test_guest_beside_it_is_served_meanwhile(run: Run) -> None:
    assert "hello: tick 3" in sayings.guest_lines(run.text, "plain")


def test_all_end_as_expected_and_nothing_is_left(run: Run) -> None:
    assert run.reason == "guest-shutdown"
    assert sorted(end[:2] for end in sayings.ends(run.text)) == [("linux", "poweroff"), ("plain", "poweroff")]
    assert run.text.rstrip().split("\n")[-1] == sayings.FINAL_LINE
    assert {resources.verdict for resources in sayings.resources(run.text)} == {"all returned"}
    assert run.counters["coherency faults"] == run.counters["commands rejected"] == 0


def test_more_cpus_than_a_byte_can_name(pack: Callable[..., Path], boot_sev: Boot) -> None:
    """APIC ids above 255: x2APIC entries in the MADT, and messages by 32 bits."""
    guests = [
        packing.hello("far", "sev", pins=[MANY_CPUS - 1]),
        packing.hello("near", "host", pins=[255]),
        packing.hello("placed", "none"),
    ]
    with boot_sev(
        packing.bootable(pack("many", guests)), name="many", cpus=MANY_CPUS, memory="2G", hw_coherency=True, x2apic=True
    ) as machine:
        reason = machine.wait_off()
        text, rejected = machine.console.text, machines.counters(machine)["commands rejected"]
    assert reason == "guest-shutdown" and rejected == 0
    assert f"{MANY_CPUS} of {MANY_CPUS} CPUs run" in text
    for guest in guests:
        assert "hello: tick 3" in sayings.guest_lines(text, guest.name)
    assert text.rstrip().split("\n")[-1] == sayings.FINAL_LINE
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}


def test_cpus_that_cannot_take_part_are_left_out(pack: Callable[..., Path], boot_sev: Boot, build: Path) -> None:
    """One whose features differ, and two that the firmware invented. The secure processor wants WBINVD of the first, too."""
    cpu = "EPYC-Milan-x86_64-cpu,core-id=0,thread-id=0"
    guests = [
        packing.hello("first", "sev", pins=[2]),
        packing.hello("nowhere", "none", pins=[1]),
        packing.hello("second", "sev"),
    ]
    image = packing.bootable(pack("left-out", guests), first=build / "tests" / "ghost.efi")
    with boot_sev(
        image, name="left-out", cpus="1,maxcpus=3,sockets=3",
        more_arguments=["-device", f"{cpu},socket-id=1,sev-asids=7", "-device", f"{cpu},socket-id=2"],
    ) as machine:  # fmt: skip
        reason = machine.wait_off()
        text, counters = machine.console.text, machines.counters(machine)
    assert reason == "guest-shutdown"
    assert "CPU 1 (APIC 1) is left out: its features are not those of the boot CPU" in text
    # tests/system/efi/ghost.c. This machine has no x2APIC: INIT for the low byte of the second would go to another CPU.
    assert "CPU 3 (APIC 77) is left out: it does not start" in text
    assert "CPU 4 (APIC 74565) is left out: that id cannot be sent an interrupt of its own" in text
    assert "2 of 5 CPUs run" in text
    assert sayings.refusals(text) == {
        "nowhere": "pins vCPU 0 to CPU 1, which does not run on this machine: change pins in guests.toml"
    }
    for guest in ("first", "second"):
        assert "hello: tick 3" in sayings.guest_lines(text, guest)
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}
    assert counters["coherency faults"] == counters["commands rejected"] == 0
