# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Launch and end, again and again: what a guest held is free afterwards, to the last page and ASID."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import machines
import packing
import sayings
from machines import Boot

pytestmark = pytest.mark.sev

LAUNCHES = 10


def test_ten_launches_in_a_row_with_one_usable_asid(pack: Callable[..., Path], boot_sev: Boot) -> None:
    guests = [
        packing.hello("again", "sev", "reset", keys={"on_reboot": "restart"}, restarts=LAUNCHES - 1),
        packing.hello("one-too-many", "sev"),
    ]
    efi = pack("again", guests)
    with boot_sev(packing.bootable(efi), name="again", asids=1) as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
        counters, commands = machines.counters(machine), machines.trace(machine)

    assert sayings.refusals(text) == {"one-too-many": "no ASID is free for another encrypted guest"}
    assert [end[:2] for end in sayings.ends(text)] == [("again", "reset")] * LAUNCHES
    assert sayings.guest_lines(text, "again").count("hello: tick 3") == LAUNCHES
    nonces = [line for line in text.split("\n") if line.startswith("measurement again:")]
    assert len(set(nonces)) == LAUNCHES  # each launch was measured anew

    after_refusal, *after_ends = sayings.resources(text)
    assert after_refusal.verdict == "all returned"
    assert len(after_ends) == LAUNCHES
    assert len(set(after_ends)) == 1 and after_ends[0].verdict == "all returned"
    assert after_ends[0].asids == after_refusal.asids + 1  # the one that the guest held

    names = [command.name for command in commands]
    for command in ("LAUNCH_START", "ACTIVATE", "LAUNCH_FINISH", "DEACTIVATE", "DECOMMISSION"):
        assert names.count(command) == LAUNCHES
    assert counters["commands rejected"] == counters["coherency faults"] == 0


def test_restart_on_poweroff_and_on_crash_stops_when_the_manifest_says_so(
    pack: Callable[..., Path], boot_sev: Boot
) -> None:
    guests = [
        packing.hello("off", "host", "ticks=1", keys={"on_poweroff": "restart"}, restarts=2),
        packing.hello("fault", "sev", "triple-fault", keys={"on_crash": "restart"}, restarts=1),
        packing.hello("bystander", "none"),
    ]
    with boot_sev(packing.bootable(pack("restart", guests)), name="restart") as machine:
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    hows = [end[:2] for end in sayings.ends(text)]
    assert hows.count(("off", "poweroff")) == 3
    assert hows.count(("fault", "crash")) == 2
    assert hows.count(("bystander", "poweroff")) == 1
    assert sayings.FINAL_LINE_NOT in text.split("\n")  # a crash is never as expected
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}


def test_spinning_guest_cannot_starve_another(pack: Callable[..., Path], boot_sev: Boot) -> None:
    """It never exits by itself; the operator ends it when the others are done."""
    guests = [packing.hello("spinner", "sev", "spin ticks=0"), packing.hello("worker", "sev")]
    with boot_sev(packing.bootable(pack("spin", guests)), name="spin") as machine:
        machine.wait_for(r"^spinner\| hello: spinning")
        machine.wait_for(r"^ended worker: poweroff")
        machine.send(b"\x1dk1y")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert ("spinner", "destroyed") in [end[:2] for end in sayings.ends(text)]
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}
