# SPDX-License-Identifier: BSD-2-Clause-Patent
"""sevisorctl on terminals: the serial port that it talks over, and the one that a person looks at. As a process of its own."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import ctl_fake as fake
import pytest

from ctl import Connection, Unreached

ROOT = Path(__file__).resolve().parents[2]
TOOL = [sys.executable, ROOT / "guest" / "sevisorctl.py"]


def run(*words: object, **more) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [*TOOL, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, **more
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def until(process: subprocess.Popen, descriptor: int, text: bytes) -> bytes:
    """What comes up to that text."""
    seen = b""
    end = time.monotonic() + 60
    while text not in seen:
        assert time.monotonic() < end, (seen, process.poll())
        if select.select([descriptor], [], [], 1)[0]:
            seen += os.read(descriptor, 1 << 16)
    return seen


# ---------------------------------------------------------------- the serial port


def test_a_serial_port_is_made_raw_and_given_back(pty, machine) -> None:
    before = pty.attributes()
    assert before[3] & termios.ECHO and before[0] & termios.ICRNL
    during = []
    true = machine.answer
    machine.answer = lambda packet: during.append(pty.attributes()) or true(packet)
    with Connection.open(f"{pty.to}@921600", 5.0) as sevisor:
        machine.guest("plain").memory[:256] = bytes(range(256))
        assert b"".join(sevisor.dump("plain", 0, 256)) == bytes(range(256))
        assert sevisor.state("web") == "running"
    assert pty.attributes() == before
    flags = during[0]
    assert (
        not flags[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
        and not flags[0] & (termios.ICRNL | termios.IXON)
        and not flags[1]
    )
    assert flags[2] & termios.CLOCAL and not flags[2] & termios.HUPCL and flags[4] == flags[5] == termios.B921600


def test_a_serial_port_belongs_to_one_program(pty) -> None:
    with Connection.open(pty.to, 5.0):
        with pytest.raises(Unreached, match="is in use by another program"):
            Connection.open(pty.to, 5.0)


def test_a_port_that_is_in_use_keeps_its_settings(pty) -> None:
    handle = os.open(pty.to, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    before = pty.attributes()
    done = run("--to", pty.to, "list")
    assert done.returncode == 3 and "in use" in done.stderr
    assert pty.attributes() == before
    os.close(handle)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "kill"), (signal.SIGHUP, "hang-up")]
)
def test_a_signal_gives_the_serial_port_back(pty, number: signal.Signals, name: str) -> None:
    before = pty.attributes()
    process = subprocess.Popen(
        [*TOOL, "--to", pty.to, "console", "web", "-f"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until(process, process.stdout.fileno(), b"login: ")
    assert pty.attributes() != before
    process.send_signal(number)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 128 + number and said == b"sevisorctl.py: interrupted\n"
    assert pty.attributes() == before


def test_a_serial_port_with_nobody_behind_it(capfd) -> None:
    master, slave = fake.raw_pty()
    before = termios.tcgetattr(slave)
    start = time.monotonic()
    done = run("--to", os.ttyname(slave), "--timeout", "0.3", "list")
    assert done.returncode == 3 and "does not answer" in done.stderr
    assert time.monotonic() - start < 30
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    os.close(master)


# ---------------------------------------------------------------- the operator's terminal


def on_a_terminal(*words: object, only: str = "") -> bytes:
    """All that the tool shows, with both outputs on a terminal, or only one."""
    master, slave = fake.raw_pty()
    outputs = (
        {"stdout": slave, "stderr": slave}
        if not only
        else {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {only: slave}
    )
    process = subprocess.Popen([*TOOL, *map(str, words)], stdin=subprocess.DEVNULL, **outputs)
    os.close(slave)
    seen = b""
    while True:
        try:
            data = os.read(master, 1 << 16)
        except OSError:
            break
        if not data:
            break
        seen += data
    process.wait(600)
    os.close(master)
    assert process.returncode == 0, seen
    return seen


HOSTILE = b"caf\xc3\xa9\r\n\x1b]0;title\x07\x1b[2J\x9b1m\rover\xff\xc2\x9b end\t|\n"


def test_a_guest_does_not_control_the_operators_terminal(place, machine) -> None:
    machine.guest("web").printed[:] = HOSTILE
    seen = on_a_terminal("--to", place.to, "console", "web")
    assert seen == b"caf\xc3\xa9\n" rb"\x1b]0;title\x07\x1b[2J\x9b1m\rover\xff\x9b end" b"\t|\n"
    assert on_a_terminal("--to", place.to, "console", "web", "--raw") == HOSTILE
    assert on_a_terminal("--to", place.to, "log") == b"Sevisor: 3 guests\n"


def test_a_pipe_gets_the_guests_bytes(place, machine) -> None:
    machine.guest("web").printed[:] = HOSTILE
    done = subprocess.run([*TOOL, "--to", place.to, "console", "web"], capture_output=True, timeout=600)
    assert done.stdout == HOSTILE and done.returncode == 0


def test_progress_is_for_terminals_only(place, machine, tmp_path: Path) -> None:
    words = ["--to", place.to, "dump", "plain", "--address", "0", "--size", "64K", "-o", tmp_path / "m"]
    seen = on_a_terminal(*words, only="stderr")
    assert b"plain: [##" in seen and b"100%" in seen and seen.endswith(b"\r\x1b[K")
    assert on_a_terminal(*words, "--json", only="stderr") == b""
    assert run(*words).stderr == ""


def test_top_redraws_a_terminal_and_lists_in_a_pipe(place) -> None:
    words = ("--to", place.to, "top", "-n", "2", "--interval", "0.05")
    assert on_a_terminal(*words).count(b"\x1b[H\x1b[2J3 guests") == 2
    assert "\x1b" not in run(*words).stdout


def test_a_closed_pipe_is_no_error(place) -> None:
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -1', "bash", *map(str, TOOL), "--to", place.to, "status", "web"], capture_output=True, text=True, timeout=600
    )  # fmt: skip
    assert done.stdout.startswith("name:") and not done.stderr


def test_standard_input_is_typed(place, machine) -> None:
    done = subprocess.run([*TOOL, "--to", place.to, "send", "web"], input=b"ls\x03", capture_output=True, timeout=600)
    assert done.returncode == 0 and bytes(machine.guest("web").typed) == b"ls\x03"


def test_bash_completes(place, tmp_path: Path) -> None:
    (tmp_path / "sevisorctl").symlink_to(ROOT / "guest" / "sevisorctl.py")
    script = f"""
        PATH={tmp_path}:$PATH
        source <(sevisorctl completion bash)
        COMP_LINE="sevisorctl --to {place.to} console w"; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=(sevisorctl)
        _sevisorctl; echo "${{COMPREPLY[@]}}"
        complete -p sevisorctl
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=600)
    assert done.stdout == "web\ncomplete -o default -F _sevisorctl sevisorctl\n", done
