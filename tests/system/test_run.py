# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What `make run` does: the default guests, all at once, with nobody there and with an operator at a terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

import packing
import sayings
from console import plain
from emulator import kept_waiting

RUN = [sys.executable, str(packing.ROOT / "tests" / "system" / "run.py"), "--build"]
TIME_LIMIT = 900


def run_unattended(build: Path, *words: str) -> tuple[int, str, str]:
    command = [*RUN, str(build), "--image", str(build / "sevisor.img"), *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_LIMIT)
    print(done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    return done.returncode, plain(done.stdout), done.stderr.decode()


@pytest.mark.sev
def test_default_guests_all_end_as_expected_with_nobody_there(build: Path) -> None:
    code, text, complaints = run_unattended(build)
    assert (code, complaints) == (0, "")
    assert {end[:2] for end in sayings.ends(text)} == {
        ("hello", "poweroff"), ("linux", "poweroff"), ("hello-plain", "poweroff"), ("control", "poweroff"),
    }  # fmt: skip
    assert "hello: SEV active (SEV_STATUS 0x1, C-bit 51)" in sayings.guest_lines(text, "hello")
    linux = sayings.guest_lines(text, "linux")
    assert "sevisor-linux: Memory Encryption Features active: AMD SEV" in linux
    assert "sevisor-linux: reversed: rotarepo eht morf olleh" in linux
    assert "sevisor-linux: self-check passed" in linux
    assert sayings.FINAL_LINE in text.split("\n")
    counted = r"^run: the SEV machine counted \d+ commands, 0 commands rejected, 0 coherency faults$"
    assert re.search(counted, text, re.M)


@pytest.mark.sev
def test_operator_at_a_terminal_reaches_a_guest_and_the_control_guest(build: Path) -> None:
    """As the first line says how. The machine ends all the same, when nobody uses that line any more."""
    program, *words = [*RUN, str(build), "--image", str(build / "sevisor.img")]
    with pexpect.spawn(program, words, timeout=TIME_LIMIT, encoding="utf-8", codec_errors="replace") as terminal:
        terminal.expect(r"^run: operate it by (\S+) (--to \S+ list) ")
        operator, *how = terminal.match[1], *terminal.match[2].split()
        terminal.expect_exact(sayings.LINUX_PROMPT)
        listed = subprocess.run(
            [sys.executable, packing.ROOT / operator, *how], capture_output=True, text=True, timeout=TIME_LIMIT
        )
        assert re.search(r"^ *2 +linux +running +sev ", listed.stdout, re.M), listed
        terminal.send("\x1d2stressed\r")
        terminal.expect_exact("sevisor-linux: reversed: desserts")
        terminal.expect_exact(sayings.FINAL_LINE)
        terminal.expect(pexpect.EOF)
        terminal.wait()
        assert terminal.exitstatus == 0


@pytest.mark.stock
def test_refused_guests_are_a_failure_explained_in_the_last_line(build: Path) -> None:
    code, text, complaints = run_unattended(build, "--stock")
    assert code == 1
    assert set(sayings.refusals(text)) == {"hello", "linux", "control"}  # SEV, SEV, SME
    assert "run: operate it by" not in text and ("hello-plain", "poweroff") in {end[:2] for end in sayings.ends(text)}
    assert complaints.startswith("run: FAILED: ") and sayings.FINAL_LINE in complaints


@pytest.mark.stock
def test_limits_are_of_the_time_that_a_machine_was_let_run() -> None:
    """Two that both want one CPU keep each other waiting, half of the time; who sleeps was let run whenever he wanted."""
    one = str(min(os.sched_getaffinity(0)))
    busy = [subprocess.Popen(["taskset", "-c", one, "sh", "-c", "while :; do :; done"]) for _ in range(2)]
    with subprocess.Popen(["sleep", "60"]) as asleep:
        try:
            while time.clock_gettime(cpu_clock(busy[0].pid)) < 0.5:
                time.sleep(0.05)
            assert kept_waiting(busy[0].pid) > 0.25
            assert kept_waiting(asleep.pid) < 0.25
        finally:
            for process in (*busy, asleep):
                process.kill()
                process.wait()


def cpu_clock(pid: int) -> int:
    """The number of its CPU-time clock (clock_getcpuclockid)."""
    return ~pid << 3 | 2


@pytest.mark.stock
def test_time_limit_is_a_failure(build: Path) -> None:
    code, _, complaints = run_unattended(build, "--stock", "--time-limit", "1")
    assert code == 1
    assert "time limit of 1 s" in complaints
