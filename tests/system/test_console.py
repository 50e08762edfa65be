# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The operator's keys on the serial line, with more guests than there are digits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import attendant
import packing
import sayings
from console import plain
from machines import Boot

pytestmark = pytest.mark.stock

GUESTS = 12  # the first spins and never exits by itself, the others poll their consoles
HOLDS = range(2, GUESTS + 1)
# By executed instructions: shares of the CPU are then those of a machine that has its host for itself.
CLOCK = ["-icount", "shift=5,sleep=off"]
LIST = r"^ no name .*\n(?: *\d+ .*\n){%d}" % GUESTS


@pytest.fixture(scope="module")
def raw(pack: Callable[..., Path], boot_stock: Boot) -> Iterator[bytes]:
    """All that came over the line of one boot, whose operator tries everything once."""
    guests = [packing.hello("spinner", "none", "spin ticks=0")]
    guests += [packing.hello(f"holder-{number}", "none", "hold ticks=0") for number in HOLDS]
    guests[-1].keys["on_poweroff"] = "restart"
    guests[-1].restarts = 1
    image = packing.bootable(pack("console", guests))
    with boot_stock(image, name="console", more_arguments=CLOCK) as machine:
        for number in HOLDS:
            machine.wait_for(rf"^holder-{number}\| {sayings.HELLO_HOLDS}")
        attendant.command(machine, "?", "l")
        machine.wait_for(LIST)

        attendant.command(machine, "-", "-")
        machine.wait_for(r"^monitor: log level error")
        attendant.type_line(machine, 12, "")
        machine.wait_for(rf"^ended holder-12: poweroff[^\v]*^holder-12\| {sayings.HELLO_HOLDS}")
        attendant.command(machine, "l", "-", "0", "k11y")
        machine.wait_for(r"^ended holder-11: destroyed")
        attendant.type_line(machine, 2, "", GUESTS)
        machine.wait_for(r"^ended holder-2: poweroff")

        for number in (1, *range(3, 11), 12):
            attendant.command(machine, f"k{attendant.number_keys(number, GUESTS)}y")
        assert machine.wait_off() == "guest-shutdown"
        yield machine.console.raw


@pytest.fixture(scope="module")
def text(raw: bytes) -> str:
    return plain(raw)


def lists(text: str) -> list[dict[str, list[str]]]:
    """Of each list what stands behind a guest's name: state, encryption, MiB, ASID, ms of a CPU."""
    return [
        {row.split()[1]: row.split()[2:] for row in found.splitlines()[1:]} for found in re.findall(LIST, text, re.M)
    ]


def test_the_list_shows_who_runs_and_what_each_has_used(text: str) -> None:
    first, later = lists(text)
    assert list(first) == list(later) == ["spinner", *(f"holder-{number}" for number in HOLDS)]
    assert all(row[0] == "running" and int(row[4]) > 0 for row in (*first.values(), *later.values()))
    assert all(int(later[name][4]) >= int(row[4]) for name, row in first.items())  # also of one launched again


def test_hypervisors_tables_fit_into_80_columns(text: str) -> None:
    table = text[text.index("monitor: the escape key") : text.index("monitor: log level")]
    assert max(map(len, table.split("\n"))) < 80


def test_numbers_of_two_digits_and_of_one_with_enter_reach_their_guests(text: str) -> None:
    ends = [end[:2] for end in sayings.ends(text)]
    assert ends[:3] == [("holder-12", "poweroff"), ("holder-11", "destroyed"), ("holder-2", "poweroff")]
    others = {"spinner", "holder-12", *(f"holder-{number}" for number in range(3, 11))}
    assert sorted(ends[3:]) == sorted((name, "destroyed") for name in others)


def test_no_escape_sequence_is_sent(raw: bytes) -> None:
    assert b"\x1b" not in raw[raw.index(b"hv runs") :]


def test_log_level_leaves_out_and_counts(text: str) -> None:
    quiet = text[text.index("monitor: log level error") :]
    assert sayings.log_lines(text[: -len(quiet)])
    assert sayings.log_lines(quiet) == []  # though a guest was launched again
    assert int(re.findall(r"^monitor: log level fatal, of .*; (\d+) lines left out so far$", quiet, re.M)[0]) >= 3


def test_a_flood_leaves_the_line_to_others_too(pack: Callable[..., Path], boot_stock: Boot) -> None:
    """At the speed of a real line. What stands between a key and its answer is bounded, however much a guest writes."""
    guests = [
        packing.hello(
            "flood", "none", keys={"image": "${BUILD}/hostile.bin", "cmdline": "attack=uart-lines ms=4000000000"}
        ),
        packing.hello("hello", "none", "ticks=40"),
    ]
    with boot_stock(packing.bootable(pack("flood", guests)), name="flood", line_rate=11_500) as machine:
        machine.wait_for(r"^hello\| hello: tick 5$")
        before = len(machine.console.raw)
        attendant.command(machine, "l")
        machine.wait_for(r"^ no name ")
        between = machine.console.raw[before:].index(b" no name ")
        machine.wait_for(r"^hello\| hello: tick 40$")
        attendant.command(machine, "k1y")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert between < 16_000  # on its way when the key was hit: the flood's share, and what pipes hold
    assert re.search(r"^flood\|  \[\d+ bytes lost\]$", text, re.M)
    assert [line for line in sayings.guest_lines(text, "hello") if "lost" in line] == []
    assert sum(line.startswith("hello: tick ") for line in sayings.guest_lines(text, "hello")) == 40
