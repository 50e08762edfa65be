# SPDX-License-Identifier: BSD-2-Clause-Patent
"""sevisorctl against the true control guest, as a program of this machine, whose hypervisor is a model (fake_hv.c)."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ctl_fake as fake
import ctl_platforms as platforms
import pytest

from ctl import Connection, Refused

NAMES = ["control", "linux", "hello", "plain", "open"]


@pytest.fixture
def place(build: Path, built, tmp_path: Path) -> Iterator[fake.Relay]:
    """Instead of the control guest in memory."""
    built(f"{os.environ.get('BUILD', '.build')}/unit/guest_control/control-host")
    found = fake.Relay(build / "unit" / "guest_control" / "control-host", tmp_path)
    found.start()
    yield found
    found.stop()


def test_the_whole_list(tool, tmp_path: Path) -> None:
    """Each command, in the order of a day."""
    cert, session = bytes(range(256)) * 8 + bytes(36), bytes(128)
    for name, data in (("cert", cert), ("session", session), ("header", bytes(52)), ("data", b"}$#*" * 8)):
        (tmp_path / name).write_bytes(data)
    out = tmp_path / "out"

    # What there is.
    guests = tool("list", "--json").json()
    assert [guest["name"] for guest in guests] == NAMES and [guest["guest"] for guest in guests] == [1, 2, 3, 4, 5]
    assert guests[1]["state"] == "running" and guests[1]["vcpus"] == 2 and guests[1]["memory"] == 0x10000
    status = tool("status", "linux", "--json").json()
    assert (
        status["name"] == "linux"
        and status["index"] == 1
        and status["secret-gpa"] == 0xA000
        and len(status["exits"]) == 16
    )
    platform = tool("platform", "status", "--json").json()
    assert (
        platform["api"] == "1.55"
        and platform["guests"] == 5
        and platform["sev-ready"] == "yes"
        and platform["tsc-khz"] == 2_000_000
    )
    assert tool("log").out == "sevisor: the log\n"
    assert tool("console", "linux").status == 0
    top = tool("top", "-n", "1", "--interval", "0.05", "--json").json()
    assert sorted(row["name"] for row in top["guests"]) == sorted(NAMES)

    # Lives.
    assert tool("pause", "linux").status == 0 and tool("wait", "linux", "paused", "--seconds", "5").status == 0
    assert tool("resume", "linux").status == 0
    said = tool("resume", "linux")
    assert said.status == 1 and said.err.startswith("sevisorctl.py: /guest/linux/command: ")
    assert tool("launch", "plain", "--wait", "20").out == "guest plain: running\n"
    assert tool("end", "plain", "--wait", "20").out == "guest plain: ended\n"
    assert tool("relaunch", "plain", "--wait", "20").out == "guest plain: running\n"
    said = tool("launch", "nobody")
    assert said.status == 1 and "nobody" in said.err
    assert tool("send", "linux", "uname -a").status == 0

    # The owner's.
    found = tool("measurement", "linux", "-o", out)
    assert out.read_bytes() == b"M" * 32 + b"N" * 16 == base64.b64decode(found.out)
    assert tool("digest", "linux").out == bytes(range(16, 48)).hex() + "\n"
    assert tool("measurement", "plain").status == 1
    words = ("secret", "linux", "--header", tmp_path / "header", "--data", tmp_path / "data")
    said = tool(*words)
    assert said.status == 1 and "the SEV firmware refused (status 0xb)" in said.err, said
    (tmp_path / "header").write_bytes(bytes(51) + b"\x77")  # what the model takes
    for address, option in ((0xA000, []), (0xB010, ["--address", "0xb010"])):
        assert tool(*words, *option).status == 0
        assert tool("dump", "linux", "--address", hex(address), "--size", "32", "-o", out).status == 0
        assert out.read_bytes() == b"}$#*" * 8

    # Debugging.
    assert tool("dump", "linux", "--address", "0x9003", "--size", "3K", "-o", out).status == 0
    assert out.read_bytes() == bytes((i * 7 + i // 256) & 0xFF for i in range(0x9003, 0x9003 + 3072))
    assert tool("poke", "linux", "--address", "0x9011", tmp_path / "data").status == 0
    assert tool("dump", "linux", "--address", "0x9011", "--size", "32", "-o", out).status == 0
    assert out.read_bytes() == b"}$#*" * 8
    said = tool("dump", "hello", "--address", "0", "--size", "16", "-o", out)
    assert said.status == 1 and "policy" in said.err
    registers = tool("registers", "linux", "1", "--json").json()
    assert registers["rax"] == 0x1122334455667789 and registers["rip"] == 0x9100 and registers["cr3"] == 0x1000
    assert tool("status", "linux", "--json").json()["state"] == "running"
    assert tool("registers", "hello").status == 1 and tool("registers", "linux", "7").status == 1
    assert tool("debug", "open").out.endswith("-ex 'attach 5'\n")

    # The platform.
    assert tool("platform", "export", "-o", out).status == 0
    assert len(out.read_bytes()) == 4 * 2084
    assert len(tool("platform", "id", "--json").json()[0]["id"]) == 128
    assert tool("platform", "pek-csr", "-o", out).status == 0
    assert len(out.read_bytes()) == 2084
    assert tool("attest", "linux", "--nonce", "5a" * 16, "-o", out).status == 0
    assert out.read_bytes() == b"Z" * 208  # the model's report: the nonce's first byte
    for word in ("nop", "df-flush", "pdh-gen"):
        assert tool("platform", word).status == 0
    words = ("platform", "pek-import", "--pek", tmp_path / "cert", "--oca", tmp_path / "cert")
    assert tool(*words).status == 0

    # The model takes a session in any state.
    words = ("session", "linux", "--policy", "0x5", "--dh-cert", tmp_path / "cert", "--session", tmp_path / "session")
    assert tool(*words).status == 0
    assert tool("status", "linux", "--json").json()["policy"] == 5


def test_a_line_in_use_by_gdb_before(place) -> None:
    """It was left without acknowledgements, in the middle of a packet, and with objects open."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(place.to.removeprefix("unix:"))
    client.sendall(fake.framed(b"qSupported") + b"+" + fake.framed(b"QStartNoAckMode") + b"+")
    for _ in range(4):
        client.sendall(fake.framed(b"vFile:open:2f6c6f67,0,0"))
    client.sendall(fake.framed(b"vAttach;2") + b"$vFile:pre")
    seen = b""
    while b"F3#" not in seen:
        seen += client.recv(4096)
    client.close()
    with Connection.open(place.to, 10.0) as sevisor:
        assert sevisor.names() == NAMES and b"".join(sevisor.log()) == b"sevisor: the log\n"
        with pytest.raises(Refused):
            sevisor.status("nobody")


# ---------------------------------------------------------------- guests that move, between two of them


@dataclass
class Machine:
    relay: fake.Relay
    platform: platforms.Platform
    folder: Path

    def words(self) -> list[object]:
        """Options that lead from its certificates to the test's root."""
        return ["--cek", self.folder / "cek", "--ca", self.folder / "ask_ark", "--root", self.folder / "ark"]


@pytest.fixture
def two(build: Path, built, tmp_path: Path) -> Iterator[list[Machine]]:
    """A guest linux runs on the first; that of the second has ended."""
    built(f"{os.environ.get('BUILD', '.build')}/unit/guest_control/control-host")
    found = []
    for name in ("one", "two"):
        folder, platform = tmp_path / name, platforms.Platform()
        folder.mkdir()
        parts = {
            "chain": platform.exported,
            "cek": platform.signed_cek,
            "ask_ark": platform.ask + platform.ark,
            "ark": platform.ark,
        }
        for part, data in parts.items():
            (folder / part).write_bytes(data)
        relay = fake.Relay(build / "unit" / "guest_control" / "control-host", folder, folder / "chain")
        relay.start()
        found.append(Machine(relay, platform, folder))
    with Connection.open(found[1].relay.to, 10.0) as sevisor:
        sevisor.end("linux")
    yield found
    for machine in found:
        machine.relay.stop()


SHARED_PAGE, UNTOUCHED, COUNTER = 0x8000, 0xE000, 0xC000


def memory(machine: Machine) -> bytes:
    with Connection.open(machine.relay.to, 10.0) as sevisor:
        return b"".join(sevisor.dump("linux", 0, 0x10000))


def same_but_untouched(one: bytes, other: bytes) -> bool:
    return one[:COUNTER] + one[COUNTER + 1 : UNTOUCHED] == other[:COUNTER] + other[COUNTER + 1 : UNTOUCHED]


@pytest.mark.parametrize("words", [[], ["--paused"]])
def test_a_guest_migrates_between_two_control_guests(tool, two: list[Machine], words: list[str]) -> None:
    here, there = two
    before = memory(here)
    line = ("migrate", "linux", "--target", there.relay.to, *there.words(), *words)
    said = tool(*line, "--estimate", to=here.relay.to)
    assert said.status == 0 and "15 pages" in said.out, said
    assert tool("status", "linux", "--json", to=here.relay.to).json()["state"] == "running"
    found = tool(*line, "--json", to=here.relay.to).json()
    assert found["name"] == "linux" and found["pages"] >= 15 and found["downtime"] > 0 and not found["warnings"]
    assert len(found["rounds"]) == 1 if words else len(found["rounds"]) >= 2
    source = tool("status", "linux", "--json", to=here.relay.to).json()
    assert source["state"] == "ended" and source["end-reason"] == "sent to another platform by the control guest"
    assert tool("status", "linux", "--json", to=there.relay.to).json()["state"] == "running"
    after = memory(there)
    assert same_but_untouched(before, after) and after[UNTOUCHED : UNTOUCHED + 4096] == bytes(4096)
    said = tool("migrate", "linux", "--target", there.relay.to, "--settle", to=here.relay.to)
    assert said.out == "guest linux: had left, and runs at the target\n"
    said = tool(*line, to=here.relay.to)
    assert said.status == 1 and "is running: end it first" in said.err


def test_a_snapshot_goes_through_a_file_and_a_pipe(tool, two: list[Machine], tmp_path: Path) -> None:
    here, there = two
    before = memory(here)
    (tmp_path / "full").write_bytes(there.platform.full.bytes())
    root = ["--root", there.folder / "ark"]
    file, other = tmp_path / "linux.snapshot", tmp_path / "other.snapshot"
    found = tool("snapshot", "linux", file, "--for", tmp_path / "full", *root, "--json", to=here.relay.to).json()
    assert found["pages"] == 15 and found["bytes"] == file.stat().st_size and found["file"] == str(file)
    assert tool("status", "linux", "--json", to=here.relay.to).json()["state"] == "running"
    for part in (before[0x9000:0xA000], before[SHARED_PAGE : SHARED_PAGE + 4096]):
        assert (part in file.read_bytes()) == (part == before[SHARED_PAGE : SHARED_PAGE + 4096])

    said = tool("restore", "linux", file, to=here.relay.to)
    assert said.status == 1 and "is for the platform whose PDH" in said.err
    other.write_bytes(file.read_bytes()[:-1])
    said = tool("restore", "linux", other, to=there.relay.to)
    assert said.status == 1 and said.err.startswith("sevisorctl.py: the stream is cut")
    assert tool("status", "linux", "--json", to=there.relay.to).json()["launches"] == 1
    os.mkfifo(tmp_path / "fifo")
    feeder = threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(file.read_bytes()))
    feeder.start()
    said = tool("restore", "linux", tmp_path / "fifo", to=there.relay.to)
    feeder.join()
    assert said.status == 0 and said.out.startswith("guest linux: runs as it was saved: 15 pages"), said
    assert same_but_untouched(before, memory(there))


def test_a_snapshot_for_a_pdh_that_is_gone_is_refused_by_name(tool, two: list[Machine], tmp_path: Path) -> None:
    here = two[0]
    here.platform.pdh_gen()
    (tmp_path / "full").write_bytes(here.platform.full.bytes())
    said = tool(
        "snapshot",
        "linux",
        tmp_path / "file",
        "--for",
        tmp_path / "full",
        "--root",
        here.folder / "ark",
        to=here.relay.to,
    )
    assert said.status == 1 and "its PDH is gone" in said.err and not (tmp_path / "file").exists()


def test_certificates_lead_up_to_a_root_that_is_trusted(tool, two: list[Machine], tmp_path: Path) -> None:
    """Before the guest is touched."""
    here, there = two
    line = ("migrate", "linux", "--target", there.relay.to)
    for words, reason in (
        ([], "has no signature of AMD's yet"),
        (there.words()[:2], "ends at the CEK"),
        (there.words()[:4], "its root is none of AMD's"),
        (here.words(), "is another chip's"),
    ):
        said = tool(*line, *words, to=here.relay.to)
        assert said.status == 1 and reason in said.err, said
    status = tool("status", "linux", "--json", to=here.relay.to).json()
    assert status["state"] == "running"
