# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What all tiers share: the order of the tiers, and the make that built the product."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "system"), str(ROOT / "guest" / "hello")]

TIERS = ("unit", "pack", "fuzz", "stock", "sev", "bench", "referee")  # cheap ones first
# Of pytest files that do not say it themselves.
TIER_BY_FOLDER = {"unit": "unit", "pack": "pack", "fuzz": "fuzz", "machine": "sev"}


def tier_of(item: pytest.Item) -> str | None:
    return next((tier for tier in TIERS if item.get_closest_marker(tier)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if tier_of(item) is None:
            folder = item.path.relative_to(ROOT / "tests").parts[0]
            if folder in TIER_BY_FOLDER:
                item.add_marker(TIER_BY_FOLDER[folder])
    items.sort(key=lambda item: TIERS.index(tier_of(item)) if tier_of(item) else -1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Nothing is skipped: whatever a test needs, make sets up, or has failed to."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skips itself, which none may: {call.excinfo and call.excinfo.value}"


def build_folder() -> Path:
    return ROOT / os.environ.get("BUILD", ".build")


def run_make(*words: str, directory: Path = ROOT, time_limit: float = 900, **variables: str) -> str:
    """Runs make in a tree as a user would, outside of the make that runs the tests; its output."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    environment.update(variables)
    done = subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", timeout=time_limit,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"make {' '.join(words)} returned {done.returncode}:\n{done.stdout[-20000:]}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="session")
def build() -> Path:
    """Where the product under test was built."""
    return build_folder()


@pytest.fixture(scope="session")
def make() -> Callable[..., str]:
    return run_make
