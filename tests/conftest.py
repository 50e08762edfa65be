# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What all tiers share: the order of the tiers, who runs beside whom, and the make that built the product."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "system"), str(ROOT / "guest" / "hello")]

TIERS = ("unit", "pack", "fuzz", "stock", "sev", "bench", "referee")  # cheap ones first
# Of pytest files that do not say it themselves.
TIER_BY_FOLDER = {
    "unit": "unit",
    "pack": "pack",
    "fuzz": "fuzz",
    "machine": "sev",
    "setup": "pack",
    "distro": "pack",
    "ctl": "pack",
}


def tier_of(item: pytest.Item) -> str | None:
    return next((tier for tier in TIERS if item.get_closest_marker(tier)), None)


def work_unit(item: pytest.Item) -> str | None:
    """Of what must run in one process: tests that share a module's fixture, which mostly is a boot. Others go anywhere."""
    definitions = item._fixtureinfo.name2fixturedefs.items()
    shared = sorted(name for name, found in definitions if found[-1].scope == "module")
    if not shared:
        return None
    chosen = getattr(item, "callspec", None)
    variants = [f"{name}{chosen.indices[name]}" for name in shared if chosen and name in chosen.params]
    return ":".join([str(item.path.relative_to(ROOT)), *variants])


@pytest.hookimpl(tryfirst=True)  # pytest-xdist looks at the marks next
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.get_closest_marker("xdist_group") and (unit := work_unit(item)):
            item.add_marker(pytest.mark.xdist_group(unit))
        if tier_of(item) is None:
            folder = item.path.relative_to(ROOT / "tests").parts[0]
            if folder in TIER_BY_FOLDER:
                item.add_marker(TIER_BY_FOLDER[folder])
    items.sort(key=lambda item: TIERS.index(tier_of(item)) if tier_of(item) else -1)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Before a worker process of pytest-xdist gets its tests. Only its main thread, which takes them if it is free, can have handlers of
    signals. With -v it has just been asked for its versions, and execnet tells the answer a moment before it is free again.
    """
    time.sleep(1)


def shown_name(nodeid: str) -> str:
    """The name that pytest takes: pytest-xdist has put the work unit behind it."""
    return re.sub(r"@[^]@]*$", "", nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if hasattr(report, "node"):  # came from another process
        report.nodeid = shown_name(report.nodeid)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Nothing is skipped: whatever a test needs, make sets up, or has failed to."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skips itself, which none may: {call.excinfo and call.excinfo.value}"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests marked `root` run through sudo where somebody else runs the tests: tests/setup/install asks for no less."""
    if os.geteuid() == 0 or not pyfuncitem.get_closest_marker("root"):
        return None
    kept = {key: os.environ[key] for key in ("BUILD", "PYTHONDONTWRITEBYTECODE", "SEVISOR_CACHE") if key in os.environ}
    kept["MAKELEVEL"] = "1"  # all is built: nothing in the tree becomes root's
    done = subprocess.run(
        ["sudo", "-n", "env", *(f"{key}={value}" for key, value in kept.items()), sys.executable, "-m", "pytest", "-c", "tests/pytest.ini",
         "--rootdir=.", "-p", "no:xdist", shown_name(pyfuncitem.nodeid)],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    if done.returncode:
        pytest.fail(f"as root, by sudo without a password:\n{done.stdout}", pytrace=False)
    return True


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """What of a test is worth reading although it passes: it stands before the summary."""
    return lambda text: request.node.user_properties.append(("shown", text))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("passed", []):
        for name, text in report.user_properties:
            if name == "shown":
                terminalreporter.write_line(f"\n{text}")


def build_folder() -> Path:
    return ROOT / os.environ.get("BUILD", ".build")


@contextmanager
def alone_with_make() -> Iterator[None]:
    """One make at a time in this tree: tests run beside each other. Goes when the process goes."""
    build_folder().mkdir(exist_ok=True)
    with (build_folder() / "make.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_make(*words: str, directory: Path = ROOT, time_limit: float = 900, **variables: str) -> str:
    """Runs make in a tree as a user would, outside of the make that runs the tests; its output."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    environment.update(variables)
    with alone_with_make() if directory == ROOT else nullcontext():
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


@pytest.fixture(scope="session")
def built() -> Callable[..., None]:
    """Sees to it that make's targets are there and up to date: make, where it runs the tests, has built all of tests-parts."""
    return lambda *targets: None if "MAKELEVEL" in os.environ else run_make(*targets)


@pytest.fixture(scope="session")
def nothing_built() -> Callable[[], AbstractContextManager[None]]:
    """While its context lasts, no test builds anything in this tree; who has it may not call `make` here either."""
    return alone_with_make
