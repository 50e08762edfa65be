# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The self-test of many CPUs on this machine's own: a test that fails where nothing is wrong would tell nothing elsewhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def program(build: Path, make: Callable[..., str]) -> Path:
    path = os.environ.get("BUILD", ".build") + "/tests/smptest"
    make(path)
    return build / "tests" / "smptest"


def test_it_passes_here_on_all_cpus_and_on_one(program: Path) -> None:
    one = str(min(os.sched_getaffinity(0)))
    for command in ([], ["taskset", "-c", one]) if one == "0" else ([],):
        done = subprocess.run([*command, program], capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, done.stdout
        lines = done.stdout.splitlines()
        assert all(line.startswith("sevisor-linux: smp: ") for line in lines)
        assert lines[-1].startswith("sevisor-linux: smp: 0 failures in ")
