# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What the set-up asks of a package manager, which here is a set of programs that write down how they are called."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
WANTED = sorted(line for line in re.sub("#.*", "", (HERE / "packages.txt").read_text()).split())


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs the set-up where these packages are installed; what apt-get was asked for."""
    programs, lists, calls, there = (tmp_path / name for name in ("bin", "lists", "calls", "there"))
    programs.mkdir()
    lists.mkdir()
    scripts = {
        "id": "echo 0",  # whoever runs the test: no sudo
        "apt-config": f"echo \"LISTS='{lists}/'\"",
        # Installs what it is asked for, but for what is in no archive.
        "apt-get": f'echo "$*" >> {calls}; for word; do case $word in -*|install|update|nowhere) ;; *) echo "installed $word" >> {there};; esac; done',
        "dpkg-query": f"cat {there}; exit 1",
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    def run(installed: list[str], *words: str, known: bool = True, returns: int = 0) -> list[str]:
        calls.write_text("")
        there.write_text("".join(f"installed {name}\n" for name in installed))
        if known:
            (lists / "a_Packages.lz4").touch()
        done = subprocess.run([HERE / "install", *words], env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == returns, done.stdout + done.stderr
        return [
            re.sub(r"-[oqy]\S* |\S+::\S+ |--force-confold ", "", f"{line} ").strip()
            for line in calls.read_text().splitlines()
        ]

    return run


def test_nothing_is_asked_for_when_all_is_there(install: Callable[..., list[str]]) -> None:
    """Nor of the network, whichever distribution's packages the lists name."""
    assert install(WANTED) == []


def test_lists_are_fetched_where_there_are_none(install: Callable[..., list[str]]) -> None:
    """The build downloads packages without installing them."""
    assert install(WANTED, known=False) == ["update"]


def test_what_is_missing_is_installed_and_nothing_else(install: Callable[..., list[str]]) -> None:
    calls = install(WANTED[2:], known=False)
    assert calls == ["update", f"install --no-install-recommends {' '.join(WANTED[:2])}"]


def test_a_check_installs_nothing(install: Callable[..., list[str]]) -> None:
    assert install(WANTED[1:], "--check", returns=1) == [] and install(WANTED, "--check", known=False) == []


def test_no_compiler_is_of_one_release() -> None:
    """clang-14 is in Debian 12 only. The numbers of libpixman-1 or zlib1g are other ones."""
    assert [name for name in WANTED if re.search(r"(clang|clang-rt|llvm|gcc|python|python3)[-.][0-9]", name)] == []
