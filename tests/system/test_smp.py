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
        packing.linux("linux", "sev", "sevisor.input=0", vcpus=VCPUS, pins=request.param),
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
    assert "sevisor-linux: self-check passed" in run.linux
    assert "sevisor-linux: smp self-test passed" in run.linux
    assert [line for line in run.linux if "FAILED" in line] == []


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
