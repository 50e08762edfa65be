# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The control interface: what the control guest can ask of the hypervisor, and what it cannot."""

from __future__ import annotations

import base64
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import control_client
import owner_side
import packing
import sayings
from control_client import DATA, LOG, WINDOW_SIZE, Client, Event, Op, Result, State
from machines import Boot

pytestmark = pytest.mark.sev

CTL, TICKER, SECRET = 0, 1, 2


def ticks(text: str, guest: str) -> list[int]:
    return [int(n) for n in re.findall(rf"^{guest}\| hello: tick (\d+)", text, re.M)]


def test_guests_are_listed_paused_resumed_ended_and_launched(pack: Callable[..., Path], boot_sev: Boot) -> None:
    guests = [
        control_client.client(),
        control_client.hello("ticker", "ticks=1000000", flags=("debug",)),
        control_client.hello("secret", "hold", encryption="sev"),
    ]
    with boot_sev(packing.bootable(pack("control", guests)), name="control", cpus=2) as machine:
        client = Client(machine)
        assert client.say("d", r"doorbell (\w+)")[1] == "4c544353"
        platform = client.platform()
        assert (platform.version, platform.guests, platform.self, platform.cpus) == (1, 3, CTL, 2)
        assert platform.api == (1, 55, 21) and platform.sev_ready == 1 and platform.refusal == ""
        assert platform.memory_free < platform.memory
        machine.wait_for(r"^secret\| hello: holding")
        secret = client.guest(SECRET)
        assert (secret.name, secret.state, secret.encryption, secret.vcpus) == ("secret", State.RUNNING, 2, 1)
        said = sayings.measurements(machine.console.text)["secret"]
        assert (secret.measure, secret.mnonce) == (said.measure, said.nonce)
        assert secret.digest == sayings.digests(machine.console.text)["secret"]
        assert (secret.launches, secret.phase, secret.end, secret.memory) == (1, 5, 0, 16 << 20)
        assert client.platform().asids_used == 1

        # The ticker stops between two ticks, for as long as wanted, and goes on with the next.
        machine.wait_for(r"^ticker\| hello: tick 3")
        assert client.guest(TICKER).state == State.RUNNING
        client.good(Op.PAUSE, TICKER)
        paused = client.guest(TICKER)
        assert paused.state == State.PAUSED
        begin, kept = client.console(TICKER)
        assert begin == 0 and kept.startswith(b"hello: bare metal guest") and len(kept) == paused.console_end
        still = client.guest(TICKER)
        assert (still.run_tsc, still.exits) == (paused.run_tsc, paused.exits)
        assert client.ask(Op.PAUSE, TICKER).result == Result.STATE
        client.good(Op.MEMORY_READ, TICKER, address=0x1000, size=29)
        assert client.read(DATA, 29) == b"marker=ticker ticks=1000000\0\0"
        client.good(Op.VCPU_GET, TICKER, size=464)
        (rip,) = struct.unpack_from("<Q", client.read(DATA, 464), 128)
        assert 0x100000 <= rip < 0x200000
        client.write(DATA, b"M")
        client.good(Op.MEMORY_WRITE, TICKER, address=0x1000, size=1)
        client.good(Op.MEMORY_READ, TICKER, address=0x1000, size=6)
        assert client.read(DATA, 6) == b"Marker"
        assert client.ask(Op.MEMORY_READ, SECRET, address=0x1000, size=6).result == Result.POLICY
        client.good(Op.RESUME, TICKER)
        last = int(re.findall(rb"tick (\d+)", kept)[-1])
        machine.wait_for(rf"^ticker\| hello: tick {last + 3}")
        told = ticks(machine.console.text, "ticker")
        assert told == list(range(1, len(told) + 1))
        assert client.ask(Op.RESUME, TICKER).result == Result.STATE

        # What it prints from a position on; and input.
        position, more = client.console(TICKER, still.console_end)
        assert position == still.console_end and more.startswith(b"hello: tick ")
        client.write(DATA, b"go on")
        assert client.good(Op.CONSOLE_WRITE, SECRET, size=5).value == 5
        machine.wait_for(r"^ended secret: poweroff")
        _, log = client.console(LOG)
        assert b"launch secret: LAUNCH_MEASURE\n" in log and b"ended secret: poweroff" in log

        # Ended while paused; launched again.
        client.good(Op.PAUSE, TICKER)
        client.good(Op.END, TICKER)
        ended = client.wait_state(TICKER, State.ENDED)
        assert (ended.end, ended.end_reason) == (4, "ended by the control guest")
        client.good(Op.LAUNCH, TICKER)
        assert client.wait_state(TICKER, State.RUNNING).launches == 2

        # Events: by look and by interrupt.
        events = client.events()
        states = [event.code for event in events if event.kind == 1 and event.guest == TICKER]
        assert states[states.index(State.RUNNING) :][:2] == [State.RUNNING, State.PAUSED]
        assert Event(3, SECRET, 0, 0) in events and Event(3, LOG, 0, 0) in events
        client.machine.send(b"v 51\n")
        client.good(Op.INTERRUPT, argument=0x51)
        assert int(client.say("n", r"interrupts (\w+)")[1], 16) >= 1
        for refused in (31, 256, 1 << 32):
            assert client.ask(Op.INTERRUPT, argument=refused).result == Result.INVALID

        # What is refused.
        for op in Op:
            if op in (Op.GUEST_INFO, Op.END, Op.PAUSE, Op.RESUME, Op.LAUNCH, Op.CONSOLE_READ, Op.CONSOLE_WRITE):
                assert client.ask(op, 3, size=616).result == Result.NO_GUEST, op
        assert client.ask(Op.NOTHING).result == client.ask(33).result == client.ask(0xFFFFFFFF).result == Result.UNKNOWN
        assert client.ask(Op.PAUSE, CTL).result == Result.INVALID
        assert client.ask(Op.LAUNCH, TICKER).result == Result.STATE
        assert client.ask(Op.END, SECRET).result == client.ask(Op.CONSOLE_WRITE, SECRET).result == Result.STATE
        for data, size in (
            (DATA - 1, 1),
            (DATA, WINDOW_SIZE - DATA + 1),
            (WINDOW_SIZE, 1),
            (0xFFFFFFFF, 1),
            (DATA, 0xFFFFFFFF),
        ):
            assert client.ask(Op.GUEST_INFO, TICKER, data=data, size=size).result == Result.INVALID
        assert client.good(Op.GUEST_INFO, TICKER, data=WINDOW_SIZE - 32, size=32).size == 32
        assert client.read(WINDOW_SIZE - 32, 32) == b"ticker".ljust(32, b"\0")

        client.good(Op.END, TICKER)
        machine.wait_for(r"(?s)^ended ticker: destroyed.*^ended ticker: destroyed")
        client.machine.send(b"o\n")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}


SEC = 1
SECRET_GPA = 0x300000
LAUNCH_SECRET, DBG_DECRYPT = 0x34, 0x60
HEADER, PAYLOAD = DATA, DATA + 0x1000


def session_bytes(owner: owner_side.Owner, policy: int) -> bytes:
    dh_cert, session = (base64.b64decode(path.read_bytes()) for path in owner.session)
    return struct.pack("<II2084s12x128s", policy, 0, dh_cert, session)


def seal(owner: owner_side.Owner, measured: bytes, folder: Path, plain: bytes) -> tuple[bytes, bytes]:
    """The owner's packet: header and payload."""
    files = [folder / f"{owner.name}.{part}" for part in ("plain", "header", "payload")]
    files[0].write_bytes(plain)
    keys = [f"--tik={owner.tik_file}", f"--tek={owner.folder / f'{owner.name}_tek.bin'}"]
    subprocess.run(
        [sys.executable, owner_side.TOOL, "secret", "build", *keys, f"--launch-measure-blob={measured.hex()}",
         f"--plain={files[0]}", "--force", *files[1:]],
        check=True,
    )  # fmt: skip
    return files[1].read_bytes(), files[2].read_bytes()


def test_guest_waits_for_its_owners_session_and_for_a_secret_that_its_measurement_opens(
    build: Path, pack: Callable[..., Path], boot_sev: Boot, folder: Path
) -> None:
    platform = owner_side.make_platform(build, folder)
    owner = owner_side.make_owner(platform, "owned")
    owned = control_client.hello(
        "owned",
        "ticks=1",
        encryption="sev",
        sev_lines=(
            'session = "at-launch"', "require-secret = true", f"secret-address = {SECRET_GPA:#x}", "secret-size = 64",
        ),
    )  # fmt: skip
    efi = pack("owned", [control_client.client(), owned])
    with boot_sev(packing.bootable(efi), name="owned", cpus=2, nv=platform.nv) as machine:
        client = Client(machine)
        waiting = client.wait_state(SEC, State.SESSION)
        assert (waiting.secret_gpa, waiting.secret_size) == (SECRET_GPA, 64)

        client.write(DATA, session_bytes(owner, packing.NODBG | 4))
        size = len(session_bytes(owner, 0))
        assert client.ask(Op.SESSION, SEC, size=size - 1).result == Result.INVALID
        assert client.ask(Op.SESSION, SEC, size=size).result == Result.INVALID  # SEV-ES
        client.write(DATA, session_bytes(owner, packing.NODBG)[:4])
        client.good(Op.SESSION, SEC, size=size)
        held = client.wait_state(SEC, State.HELD)
        judged = owner_side.verify(efi, owner, client.platform().api, held.measure + held.mnonce)
        assert judged.returncode == 0, judged.stdout + judged.stderr

        header, payload = seal(owner, held.measure + held.mnonce, folder, bytes(range(64)))
        assert (len(header), len(payload)) == (52, 64)
        buffer = struct.pack(
            "<IIQIIQIIQI", 0, 0, HEADER, len(header), 0, SECRET_GPA, len(payload), 0, PAYLOAD, len(payload)
        )
        client.write(HEADER, header)
        client.write(PAYLOAD, bytes([payload[0] ^ 1]) + payload[1:])
        refused = client.ask(Op.RESUME, SEC)
        assert refused.result == Result.STATE and "LAUNCH_SECRET" in refused.text
        refused = client.ask(Op.FIRMWARE, SEC, command=LAUNCH_SECRET, buffer=buffer)
        assert refused.result == Result.SEV_FAILED and refused.text.startswith("LAUNCH_SECRET: "), refused
        assert client.ask(Op.RESUME, SEC).result == Result.STATE
        client.write(PAYLOAD, payload[:1])
        client.good(Op.FIRMWARE, SEC, command=LAUNCH_SECRET, buffer=buffer)
        assert "owned| " not in machine.console.text and client.guest(SEC).state == State.HELD
        client.good(Op.RESUME, SEC)
        machine.wait_for(r"^ended owned: poweroff")

        # The next launch waits again; and is ended meanwhile.
        client.good(Op.LAUNCH, SEC)
        client.wait_state(SEC, State.SESSION)
        assert client.ask(Op.FIRMWARE, SEC, command=LAUNCH_SECRET, buffer=buffer).result == Result.STATE
        client.good(Op.END, SEC)
        client.wait_state(SEC, State.ENDED)
        machine.send(b"o\n")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}


def test_random_requests_while_the_window_changes_harm_neither_host_nor_guests(
    pack: Callable[..., Path], boot_sev: Boot
) -> None:
    """All but SHUTDOWN of the control guest itself. The last guest is `host` and without debug = true: nothing reaches its memory."""
    guests = [
        control_client.client(),
        control_client.hello("sev", "ticks=1000000", encryption="sev", policy=0),
        control_client.hello("none", "ticks=1000000"),
        control_client.hello("host", "hold", encryption="host"),
    ]
    with boot_sev(packing.bootable(pack("random", guests)), name="random", cpus=2) as machine:
        client = Client(machine)
        answered = sum(client.fuzz(seed, 200) for seed in range(1, 6))
        assert answered > 500
        assert client.platform().guests == 4
        for index in range(1, 4):
            guest = client.guest(index)
            assert guest.state in (State.RUNNING, State.PAUSED, State.ENDED, State.LAUNCHING, State.REFUSED), guest
            if guest.state not in (State.ENDED, State.REFUSED):
                client.good(Op.END, index)
                client.wait_state(index, State.ENDED)
        machine.send(b"o\n")
        assert machine.wait_off() == "guest-shutdown"
        text = machine.console.text
    assert "fatal" not in text
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}
