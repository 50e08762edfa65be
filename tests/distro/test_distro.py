# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What `make test-distro` says of what it saw; what it sees takes fresh systems, and is no part of this."""

from __future__ import annotations

import os
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def distro():
    loader = SourceFileLoader("distro", str(HERE / "distro.py"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    sys.modules["distro"] = module  # dataclasses look for it
    loader.exec_module(module)
    return module


def release(distro, name: str, folder: Path, fails: str = ""):
    """A release whose step of that name fails."""
    made = distro.Release(name, folder, "")

    def action(log: Path) -> None:
        log.write_text("first line\nlast line\n")
        if fails:
            raise distro.StepFailure("returned 2")

    for step in ("one", "two"):
        try:
            made.step(step, action if step == fails else lambda log: None)
        except distro.StepFailure:
            break
    return made


def test_each_step_has_its_row(distro, tmp_path: Path) -> None:
    rows = distro.table(release(distro, "trixie", tmp_path).results).splitlines()
    assert rows == [
        "release  step  result  minutes",
        "trixie   one   ok          0.0",
        "trixie   two   ok          0.0",
    ]


def test_a_step_that_fails_is_told_with_the_end_of_its_log(distro, tmp_path: Path, capsys) -> None:
    made = release(distro, "trixie", tmp_path, "one")
    assert [(r.step, r.words) for r in made.results] == [("one", "FAILED")]
    assert "last line\n== trixie: one: returned 2" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "found"), [("bookworm", ["bookworm"]), ("trixie", ["trixie"]), ("forky", [])])
def test_the_releases_that_have_to_pass(distro, tmp_path: Path, name: str, found: list[str]) -> None:
    """Debian 12 and 13; the next one is only looked at."""
    assert distro.failed(release(distro, name, tmp_path, "two").results) == found
    assert distro.failed(release(distro, name, tmp_path).results) == []


def test_a_command_that_fails_fails_its_step(distro, tmp_path: Path) -> None:
    distro.run_logged(tmp_path / "log", "sh", "-c", "echo fine")
    assert (tmp_path / "log").read_text() == "fine\n"
    with pytest.raises(distro.StepFailure, match="returned 3"):
        distro.run_logged(tmp_path / "log", "sh", "-c", "exit 3")


def test_who_is_not_root_is_told_in_words(distro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["distro.py", "trixie"])
    with pytest.raises(distro.Failure, match="run this as root"):
        distro.main()
