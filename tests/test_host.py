# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The tiers that run on the build host: each `unit-*` and `fuzz-*` target of the rooms' fragments is one test."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("make")  # one after the other: they build

TESTS = Path(__file__).resolve().parent


def targets(kind: str) -> list[str]:
    """The targets of that kind that some fragment declares phony."""
    found: set[str] = set()
    for fragment in TESTS.glob("**/*.mk"):
        for names in re.findall(r"^\.PHONY:(.*)$", fragment.read_text(), re.MULTILINE):
            found.update(name for name in names.split() if re.fullmatch(rf"{kind}-[a-z0-9-]+", name))
    return sorted(found)


@pytest.mark.unit
def test_no_unit_test_is_left_out_by_its_fragment(make: Callable[..., str]) -> None:
    """Each file is built into a program that make would run."""
    files = sorted(path.relative_to(TESTS.parent) for path in TESTS.glob("unit/**/test_*.c"))
    assert files
    planned = make("--dry-run", "--always-make", *targets("unit"))
    assert [str(path) for path in files if str(path) not in planned] == []


@pytest.mark.unit
@pytest.mark.parametrize("target", targets("unit"))
def test_unit_program_passes(target: str, make: Callable[..., str]) -> None:
    print(make(target))


@pytest.mark.fuzz
@pytest.mark.parametrize("target", targets("fuzz"))
def test_fuzzer_finds_nothing(target: str, make: Callable[..., str]) -> None:
    print(make(target))
