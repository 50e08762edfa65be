# SPDX-License-Identifier: BSD-2-Clause-Patent
"""sevisorctl against the true control guest, as a program of this machine, whose hypervisor is a model (fake_hv.c)."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import ctl_fake as fake
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
