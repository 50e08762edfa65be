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
VIEW = r"^top: [^\v]*?^cpu 0: .*$[^\v]*?"


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
        attendant.command(machine, "?", "T")
        machine.wait_for(VIEW * 3)
        machine.send(b"q")
        machine.wait_for(r"^monitor: top ended")

        attendant.command(machine, "-", "-")
        machine.wait_for(r"^monitor: log level error")
        attendant.command(machine, "c")
        machine.wait_for(r"^monitor: colour on")
        attendant.type_line(machine, 12, "")
        machine.wait_for(rf"^ended holder-12: poweroff[^\v]*^holder-12\| {sayings.HELLO_HOLDS}")
        attendant.command(machine, "c")
        machine.wait_for(r"^monitor: colour off")
        attendant.command(machine, "i", "t", "0", "s12", "k11y")
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


def test_top_repeats_until_a_key_and_shows_who_uses_the_processor(text: str) -> None:
    views = sayings.tops(text[: text.index("monitor: top ended")])
    assert len(views) >= 3
    view = views[2]  # the first counts from power-on
    assert set(view) == {"spinner", *(f"holder-{number}" for number in HOLDS)}
    print({name: row.cpu for name, row in view.items()})
    assert 80 < sum(row.cpu for row in view.values()) <= 100.5
    assert all(row.state == "running" and row.cpu > 1 for row in view.values())
    assert view["spinner"].kinds["io"] == "0" != view["spinner"].kinds["host"]
    assert all(view[f"holder-{number}"].kinds["io"] != "0" for number in HOLDS)


def test_counters_outlive_a_launch(text: str) -> None:
    view = sayings.tops(text)[-1]
    assert view["holder-12"].launches == 2
    assert view["holder-12"].kinds["io"] != "0"


def test_hypervisors_tables_fit_into_80_columns(text: str) -> None:
    table = text[text.index("monitor: the escape key") : text.index("monitor: top ended")]
    assert max(map(len, table.split("\n"))) < 80


def test_numbers_of_two_digits_and_of_one_with_enter_reach_their_guests(text: str) -> None:
    ends = [end[:2] for end in sayings.ends(text)]
    assert ends[:3] == [("holder-12", "poweroff"), ("holder-11", "destroyed"), ("holder-2", "poweroff")]
    others = {"spinner", "holder-12", *(f"holder-{number}" for number in range(3, 11))}
    assert sorted(ends[3:]) == sorted((name, "destroyed") for name in others)


def test_last_lines_are_shown_of_any_number(text: str) -> None:
    start, end = text.index("--- what holder-12 printed last ---"), text.index("--- end of holder-12's last lines ---")
    shown = text[start:end]
    assert shown.count(f"holder-12: {sayings.HELLO_HOLDS}\n") == 2


def test_colour_is_sent_only_while_it_is_on(raw: bytes) -> None:
    start, on, off = (raw.index(words) for words in (b"hv runs", b"monitor: colour on", b"monitor: colour off"))
    assert b"\x1b" not in raw[start:on] + raw[off:]
    coloured = re.findall(rb"\x1b\[3[1-6]mholder-12\| \x1b\[0mhello: .*?\x1b\[0m\r\n", raw[on:off])
    assert len(coloured) >= 2


def test_log_level_leaves_out_and_counts(text: str) -> None:
    quiet = text[text.index("monitor: log level error") :]
    assert sayings.log_lines(text[: -len(quiet)])
    assert sayings.log_lines(quiet) == []  # though a guest was launched again
    assert int(re.findall(r"^  log: up to level error is printed; (\d+) lines left out so far$", quiet, re.M)[0]) >= 3


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
        attendant.command(machine, "i")
        machine.wait_for(r"^Sevisor .*, up ")
        between = machine.console.raw[before:].index(b"Sevisor ")
        machine.wait_for(r"^hello\| hello: tick 40$")
        attendant.command(machine, "k1y")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert between < 16_000  # on its way when the key was hit: the flood's share, and what pipes hold
    assert re.search(r"^flood\|  \[\d+ bytes lost\]$", text, re.M)
    assert [line for line in sayings.guest_lines(text, "hello") if "lost" in line] == []
    assert sum(line.startswith("hello: tick ") for line in sayings.guest_lines(text, "hello")) == 40
