# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What is typed arrives, or its loss is told; whatever a guest does, the operator's own keys get through."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import attendant
import packing
import sayings
from machines import Boot

pytestmark = pytest.mark.stock

ECHO, SLOW, DEAF = 1, 2, 3  # their places in the manifest
PASTE = [f"{number:03} the quick brown fox jumps over the lazy dog, and back" for number in range(120)]
SHORT = PASTE[:8]
FLOOD = 20_000  # bytes; hv keeps VUART_INPUT of them
VUART_INPUT = 4096


def typed(lines: list[str]) -> bytes:
    return "".join(f"{line}\r" for line in lines).encode()


@pytest.fixture(scope="module")
def text(pack: Callable[..., Path], boot_stock: Boot) -> Iterator[str]:
    echo = {"image": "${BUILD}/hostile.bin"}
    guests = [
        packing.hello("echo", "none", keys={**echo, "cmdline": "attack=echo"}),
        packing.hello("slow", "none", keys={**echo, "cmdline": "attack=echo ms=50"}),
        packing.hello("deaf", "none", "spin ticks=0"),
        packing.hello("again", "none", keys={"on_poweroff": "restart"}, restarts=6),
    ]
    with boot_stock(packing.bootable(pack("input", guests)), name="input", time_limit=400) as machine:
        machine.wait_for(r"^echo\| hostile: without SEV")
        attendant.attach(machine, ECHO)
        machine.send(typed(PASTE))  # while others are launched and end
        machine.wait_for(rf"^echo\| echo \w+: {PASTE[-1]}\$$")
        machine.wait_for(r"^slow\| hostile: without SEV")
        attendant.attach(machine, SLOW)
        machine.send(typed(SHORT))
        machine.wait_for(r"^deaf\| hello: spinning")
        attendant.attach(machine, DEAF)
        machine.send(b"x" * FLOOD)
        attendant.type_line(machine, ECHO, "the operator is heard")
        machine.wait_for(r"^echo\| echo \w+: the operator is heard\$$")
        machine.qmp.command("chardev-send-break", id="operator")
        machine.wait_for(r"^echo\| \[break\]$")
        machine.wait_for(rf"^slow\| echo \w+: {SHORT[-1]}\$$")

        attendant.command(machine, "0", f"k{DEAF}\r\ny")  # a terminal's Enter; the number needs none
        machine.wait_for(r"^ended deaf: destroyed")
        attendant.attach(machine, SLOW)
        machine.send(b"\x04")
        machine.wait_for(r"^ended slow: poweroff")
        attendant.attach(machine, ECHO)
        machine.send(b"\r\x00b\r")  # telnet's Enter, after the number
        machine.wait_for(r"^echo\| echo \w+: b\$$")
        machine.send(b"\x04")
        assert machine.wait_off() == "guest-shutdown"
        yield machine.console.text


def echoed(text: str, guest: str) -> list[str]:
    """Whole lines, each once: one that another guest's line interrupts, if only before its end, is shown again from its start."""
    lines: dict[int, str] = {}
    for found in re.finditer(rf"^{guest}\| echo (0x[0-9a-f]+): (.*)\$$", text, re.M):
        number = int(found[1], 16)
        assert lines.setdefault(number, found[2]) == found[2]
    assert list(lines) == list(range(1, len(lines) + 1))
    return list(lines.values())


def test_pasted_lines_arrive_whole(text: str) -> None:
    assert echoed(text, "echo") == [*PASTE, "the operator is heard", "", "b"]
    assert "[overrun]" not in text


def test_input_waits_for_a_guest_that_reads_slowly(text: str) -> None:
    assert echoed(text, "slow") == SHORT


def test_what_a_guest_does_not_read_is_told(text: str) -> None:
    lost = re.findall(
        r"^monitor: (\d+) bytes of input to deaf were lost: it does not read its serial port$", text, re.M
    )
    assert lost
    assert sum(map(int, lost)) == FLOOD - VUART_INPUT
    assert f"monitor: deaf ended without reading the last {VUART_INPUT} bytes of input" in text
    assert re.findall(r"^monitor: (\S+) ended without", text, re.M) == ["deaf"]


def test_a_break_is_no_byte(text: str) -> None:
    assert text.count("[break]") == 1
    assert "[0x" not in text  # nor does the second half of an Enter become one
