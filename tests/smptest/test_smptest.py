# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The self-test of many CPUs on this machine's own: a test that fails where nothing is wrong would tell nothing elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit


@pytest.fixture(scope="session")
def program(build: Path, built: Callable[..., None]) -> Path:
    built(os.environ.get("BUILD", ".build") + "/tests/smptest")
    return build / "tests" / "smptest"


def test_it_passes_here_on_all_cpus_and_on_one(program: Path) -> None:
    one = str(min(os.sched_getaffinity(0)))
    for command in ([], ["taskset", "-c", one]) if one == "0" else ([],):
        done = subprocess.run([*command, program, "any-kernel"], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout
        lines = done.stdout.splitlines()
        assert all(line.startswith("sevisor-linux: smp: ") for line in lines)
        assert lines[-1].startswith("sevisor-linux: smp: 0 failures in ")


def test_a_machine_that_has_much_else_to_do_is_no_failure(program: Path) -> None:
    """Stopped in the middle of its sleeps, for as long as a busy desk may keep a guest from its CPU."""
    with subprocess.Popen([program, "any-kernel"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        lines = []
        for line in running.stdout:
            lines.append(line.rstrip("\n"))
            if "smp: mappings: " in line:
                time.sleep(0.1)
                running.send_signal(signal.SIGSTOP)
                time.sleep(5.5)
                running.send_signal(signal.SIGCONT)
    assert running.returncode == 0, "\n".join(lines)
    assert lines[-1].startswith("sevisor-linux: smp: 0 failures in ")
