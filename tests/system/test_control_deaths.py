# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The control guest dies again and again, while it is asked for all kinds of things; hv starts it again, and no guest notices."""

from __future__ import annotations

import random
import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import machines
import packing
import sayings
from emulator import Emulator
from machines import COM1, CONTROL_LINE, CONTROL_SOCKET, Boot
from packing import GuestSpec

DEATHS = 100
# What guest/mortal.c says of them, and how many of each there are at least: chance makes it 10 to 40.
WHERE = {
    "idle": 5, "with a request that it has written": 3, "with a request under way": 3, "asleep until an answer comes": 3,
    "in the middle of a reply": 5,
}  # fmt: skip
CONTROL, WATCHED, OPEN = 1, 2, 3
LATENCY_US = 20_000  # of each command of the secure processor: longer than the end of a guest takes
TICK_TSC = 40_000_000  # guest/mover.c; the TSC counts nanoseconds


def hexadecimal(text: str) -> str:
    return text.encode().hex()


def opened(path: str) -> list[str]:
    return [f"vFile:open:{hexadecimal(path)},0,0", "vFile:pread:0,400,0", "vFile:close:0"]


# The third guest's owner allows debugging: it is paused, looked at, stepped, stopped at breakpoints, and let go, or not.
ERRANDS = [
    ["vAttach;3", "g", "m1000,40", "p10"],
    ["vAttach;3", "g", "m200000,400", "D;3"],
    ["vAttach;3", "vCont;s:p3.1", "vCont;s:p3.1", "vCont;c"],
    ["vAttach;3", "M1800,10:" + "5a" * 16, "vCont;c", "\x03"],
    ["vAttach;3", "Z1,{breakpoint},1", "vCont;c"],
    ["qRcmd," + hexadecimal("pause open")],
    ["qRcmd," + hexadecimal("resume open")],
    ["qRcmd," + hexadecimal("list"), "qXfer:osdata:read:guests:0,1000", "qXfer:osdata:read:platform:0,1000"],
    opened("/platform/status") + opened("/platform/pdh") + opened("/log"),
    opened("/guest/watched/status") + opened("/guest/watched/measurement") + opened("/guest/watched/console"),
    opened("/guest/watched/report-" + "5a" * 16) + opened("/guest/watched/pages-0"),
    opened("/guest/open/memory") + opened("/guest/open/dirty-0"),
    ["D"],
]


class Asker(threading.Thread):
    """A client on the control guest's line that takes no answer for granted. One packet at a time, until `enough` is set."""

    def __init__(self, path: Path, breakpoint: int) -> None:
        super().__init__(name="asker", daemon=True)
        self.enough = threading.Event()
        self.asked = self.answered = 0
        self._breakpoint = f"{breakpoint:x}"
        self._random = random.Random(12)
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(path))

    def _ask(self, words: str) -> None:
        packet = f"+${words}#{sum(words.encode()) & 0xFF:02x}" if words != "\x03" else words
        self._line.sendall(packet.encode())
        self.asked += 1
        answer, end = b"", time.monotonic() + 0.05
        while not re.search(rb"\$[^#]*#..", answer) and (left := end - time.monotonic()) > 0:
            if select.select([self._line], [], [], left)[0]:
                answer += self._line.recv(1 << 16)
        self.answered += b"#" in answer

    def run(self) -> None:
        while not self.enough.is_set():
            for words in self._random.choice(ERRANDS):
                self._ask(words.replace("{breakpoint}", self._breakpoint))
        self._ask("vAttach;3")  # whose end lets it go on, too


def mover(name: str, policy: int) -> GuestSpec:
    keys = {"image": "${BUILD}/mover.bin", "cmdline": f"marker={name} clock"}
    return GuestSpec(name, "4M", "sev", keys, policy=policy)


def counts(text: str, name: str) -> list[int]:
    return [int(number) for number in re.findall(rf"^{name}\| mover: count (\d+)$", text, re.M)]


def wait_until(machine: Emulator, reached: Callable[[str], bool], patience: float = 120, keys: bytes = b"") -> None:
    """Typing `keys` again and again."""
    end = machine.clock() + patience
    while not reached(machine.console.text):
        assert not machine.off() and machine.clock() < end, machine.console.tail()
        machine.send(keys)
        time.sleep(1)


@pytest.mark.sev
def test_a_hundred_deaths_of_the_control_guest_are_noticed_by_no_guest(
    build: Path, pack: Callable[..., Path], boot_sev: Boot
) -> None:
    mortal = packing.control()
    mortal.keys["image"] = "${BUILD}/mortal.bin"
    image = packing.bootable(pack("deaths", [mortal, mover("watched", packing.NODBG), mover("open", 0)]))
    with boot_sev(
        image, name="deaths", cpus=2, uart=[*COM1, *CONTROL_LINE], fast_clock=machines.SLOWER_CLOCK, time_limit=900,
        latency_us=LATENCY_US,
    ) as machine:  # fmt: skip
        machine.wait_for(r"^open\| mover: count 3$")
        asker = Asker(
            machine.folder / CONTROL_SOCKET, packing.symbol(build / "tests/guest/mover.elf", "timer_interrupt")
        )
        asker.start()
        wait_until(machine, lambda text: text.count("notice: control: restarting") >= DEATHS, 300)
        asker.enough.set()
        asker.join()

        # For good, which is not possible while it is being started again.
        wait_until(machine, lambda text: "ended control: destroyed" in text, keys=b"\x1dk%dy" % CONTROL)
        lived = {name: counts(machine.console.text, name)[-1] for name in ("watched", "open")}
        wait_until(machine, lambda text: all(counts(text, name)[-1] > lived[name] + 100 for name in lived))
        machine.send(b"\x1dk%dy\x1dk%dy" % (WATCHED, OPEN))
        assert machine.wait_off() == "guest-shutdown"
        text, counted = machine.console.text, machines.counters(machine)

    print(f"asked {asker.asked}, answered {asker.answered}")
    died = Counter(re.findall(r"^control\| mortal: dies (.*)$", text, re.M))
    print(died)
    crashes = [end for end in sayings.ends(text) if end[:2] == ("control", "crash")]
    assert len(crashes) >= DEATHS and len(crashes) == died.total() and set(died) <= set(WHERE)
    assert all(died[where] >= least for where, least in WHERE.items()), died
    assert asker.answered > 5 * DEATHS

    for name in ("watched", "open"):
        assert " is wrong" not in text
        assert (told := counts(text, name)) == list(range(1, len(told) + 1)), name
        assert text.count(f"launch report: {name},") == 1
    late = [int(cycles) for cycles in re.findall(r"^watched\| mover: late by (\d+)$", text, re.M)]
    print(f"late by {late[-1]}")
    assert late[-1] < TICK_TSC
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}
    assert (counted["commands rejected"], counted["coherency faults"]) == (0, 0), counted
