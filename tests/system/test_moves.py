# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What hv knows of guests' pages, and guests that leave and arrive, by a control guest of the test's."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import attendant
import control_client
import owner_side
import packing
import sayings
from control_client import DATA, Client, Op, Result, State
from machines import Boot

pytestmark = pytest.mark.sev

CTL, GUEST = 0, 1
MEMORY = 256 << 20


def check_linux(name: str, kernel: dict[str, str], version: str, pack: Callable[..., Path], boot_sev: Boot) -> None:
    """Unmodified Linux says which pages it shares; most of its memory is not touched, and little is written when it sleeps."""
    guests = [
        control_client.client(),
        packing.linux(name, "sev", "sevisor.hold sevisor.input=60", keys=kernel, flags=("snapshot",)),
    ]
    with boot_sev(packing.bootable(pack(name, guests)), name=name, cpus=2) as machine:
        client = Client(machine)
        machine.wait_for(rf"^{name}\| {sayings.LINUX_PROMPT}")
        assert f"Linux {version}" in machine.console.text
        attendant.type_line(machine, GUEST + 1, "stressed")
        machine.wait_for(rf"^{name}\| {sayings.LINUX_HOLDS}")
        attendant.attach(machine, CTL + 1)

        booted = client.pages(GUEST, MEMORY, track=True)
        again = client.pages(GUEST, MEMORY, track=True)
        client.good(Op.PAUSE, GUEST)
        paused = client.pages(GUEST, MEMORY)
        assert client.pages(GUEST, MEMORY) == paused  # nobody writes, and looking changes nothing
        assert booted.all == again.all == MEMORY >> 12
        # swiotlb has 1 MiB by the sample's command line, beside it are the clock's pages; .bss..decrypted's rest is private again.
        assert 256 <= booted.shared <= 1024, booted
        assert booted.shared == paused.shared
        assert booted.all // 8 < booted.touched < booted.all * 3 // 5, booted
        assert booted.touched <= again.touched <= paused.touched
        assert again.dirty < booted.dirty // 4 and paused.dirty < booted.dirty // 4, (booted, again, paused)

        # A page that it shares is read; others are not, nor if it is told how.
        client.good(Op.PAGES, GUEST, size=16384)
        flags = client.read(DATA, 16384)
        shared = next(page for page, flag in enumerate(flags) if flag & 1)
        private = next(page for page, flag in enumerate(flags) if not flag & 1)
        client.good(Op.MEMORY_READ, GUEST, address=shared << 12, size=16)
        refused = client.ask(Op.MEMORY_READ, GUEST, address=private << 12, size=16)
        assert refused.result == Result.POLICY
        client.good(Op.RESUME, GUEST)
        client.machine.send(b"o\n")
        attendant.type_line(machine, GUEST + 1, "")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert "sevisor-linux: self-check passed" in text and "unchecked MSR access" not in text
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}


def test_linux_6_1_says_which_pages_it_shares(pack: Callable[..., Path], boot_sev: Boot) -> None:
    check_linux("linux61", {}, "6.1.", pack, boot_sev)


def test_linux_6_12_says_which_pages_it_shares(
    pack: Callable[..., Path], boot_sev: Boot, suite_kernel: Callable[[str], Path]
) -> None:
    check_linux("linux612", {"kernel": str(suite_kernel("trixie"))}, "6.12.", pack, boot_sev)


# -- a guest that leaves and arrives -------------------------------------------------------

SOURCE, TARGET = 1, 2
HELLO = 16 << 20
PDH_CERT_EXPORT, SEND_START, SEND_FINISH, SEND_CANCEL, RECEIVE_FINISH = 0x08, 0x40, 0x43, 0x44, 0x53
WHOLE_GUEST = 0xFFFFFFFF
CERT_SIZE, ROOT_SIZE, SESSION_SIZE = 2084, 1600, 128
LATENCY_US = 1000  # what real parts are said to take a page
PDH, CHAIN, ROOTS, SESSION = DATA, DATA + 0x1000, DATA + 0x3000, DATA + 0x4000


def key_server(build: Path) -> tuple[bytes, bytes]:
    """What AMD's key server has of the machine's chip: its CEK with the ASK's signature; ASK and ARK."""
    done = subprocess.run(
        [build / "unit" / "firmware" / "sevfw-tool", "--chip-id", owner_side.CHIP_ID],
        input="kds\n", stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    certificates = {name: bytes.fromhex(value) for name, value in json.loads(done.stdout).items()}
    return certificates["cek"], certificates["ask"] + certificates["ark"]


def send_start(client: Client, build: Path, guest: int) -> bytes:
    """To the machine itself; what CONTROL_SESSION takes."""
    cek, roots = key_server(build)
    export = struct.pack("<QIIQI", PDH, CERT_SIZE, 0, CHAIN, 3 * CERT_SIZE)
    client.good(Op.FIRMWARE, guest, command=PDH_CERT_EXPORT, buffer=export)
    pdh = client.read(PDH, CERT_SIZE)
    client.write(CHAIN + 2 * CERT_SIZE, cek)
    client.write(ROOTS, roots)
    start = struct.pack(
        "<IIQIIQIIQIIQI",
        0,
        0,
        PDH,
        CERT_SIZE,
        0,
        CHAIN,
        3 * CERT_SIZE,
        0,
        ROOTS,
        2 * ROOT_SIZE,
        0,
        SESSION,
        SESSION_SIZE,
    )
    client.good(Op.FIRMWARE, guest, command=SEND_START, buffer=start)
    return struct.pack("<II2084s12x128s", client.guest(guest).policy, 0, pdh, client.read(SESSION, SESSION_SIZE))


def ticks(text: str, guest: str) -> list[int]:
    return [int(n) for n in re.findall(rf"^{guest}\| hello: tick (\d+)", text, re.M)]


def copy_state(client: Client, vcpu: int, size: int) -> None:
    """STATE_GET of one, STATE_SET of the other; it stays in the window."""
    assert client.good(Op.STATE_GET, SOURCE, vcpu, size=size).size == size
    client.good(Op.STATE_SET, TARGET, vcpu, size=size)


def test_a_guest_with_sev_goes_on_counting_as_another(
    build: Path, pack: Callable[..., Path], boot_sev: Boot, show: Callable[[str], None]
) -> None:
    """Sent and received on the same machine: under another key, in other memory; the source never runs again."""
    guests = [
        control_client.client(),
        *(
            control_client.hello(name, "ticks=1000000", encryption="sev", flags=("snapshot",))
            for name in ("one", "two")
        ),
    ]
    with boot_sev(
        packing.bootable(pack("move", guests)),
        name="move",
        cpus=1,
        latency_us=LATENCY_US,
        more_arguments=["-icount", "shift=1"],
    ) as machine:
        client = Client(machine)
        machine.wait_for(r"^one\| hello: tick 3")
        client.good(Op.END, TARGET)
        client.wait_state(TARGET, State.ENDED)

        # At first it is cancelled, and the source goes on.
        send_start(client, build, SOURCE)
        client.good(Op.FIRMWARE, SOURCE, command=SEND_CANCEL)
        last = ticks(machine.console.text, "one")[-1]
        machine.wait_for(rf"^one\| hello: tick {last + 2}")

        session = send_start(client, build, SOURCE)  # while it runs
        assert client.ask(Op.FIRMWARE, SOURCE, command=SEND_FINISH).result == Result.STATE
        client.good(Op.RECEIVE, TARGET)
        client.wait_state(TARGET, State.SESSION)
        client.write(DATA, session)
        client.good(Op.SESSION, TARGET, size=len(session))
        client.wait_state(TARGET, State.RECEIVING)
        client.good(Op.PAUSE, SOURCE)
        before = client.platform()
        private, shared, listing, cycles = client.move(SOURCE, TARGET, HELLO >> 12)
        after = client.platform()
        assert 5 < private < 100, (private, shared)
        inside = LATENCY_US * (after.commands - before.commands) * after.tsc_khz / 1000 / cycles
        show(
            f"a move at the control window: {private} private and {shared} shared pages, {after.commands - before.commands} "
            f"commands of {LATENCY_US} us, {cycles} cycles, after {listing} for the list of pages, {inside:.1%} of them inside of commands"
        )
        assert after.commands - before.commands == 2 * private and inside >= 0.94
        assert client.ask(Op.RESUME, TARGET).result == Result.STATE
        copy_state(client, WHOLE_GUEST, 4152)
        copy_state(client, 0, 1760)
        client.good(Op.FIRMWARE, TARGET, command=RECEIVE_FINISH)
        client.good(Op.FIRMWARE, SOURCE, command=SEND_FINISH)
        sent = client.wait_state(SOURCE, State.ENDED)
        assert sent.end_reason == "sent to another platform by the control guest"
        sent_at = len(machine.console.text)
        client.good(Op.RESUME, TARGET)
        last = ticks(machine.console.text[:sent_at], "one")[-1]
        machine.wait_for(rf"^two\| hello: tick {last + 3}")
        went_on = ticks(machine.console.text[sent_at:], "two")
        assert went_on == list(range(last + 1, last + 1 + len(went_on)))
        assert not ticks(machine.console.text[sent_at:], "one")

        client.good(Op.END, TARGET)
        client.wait_state(TARGET, State.ENDED)
        machine.send(b"o\n")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}
