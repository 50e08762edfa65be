# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What the tests of the operator's tool share: a control guest in memory, and the tool as a person calls it."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "guest"))


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ctl_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


fake = _load("fake")
streams = _load("streams")
platforms = _load("platforms")
hosts = _load("hosts")

from ctl import Connection, arguments  # noqa: E402


@dataclass
class Said:
    status: int
    out: str
    err: str

    def json(self) -> object:
        assert self.status == 0 and not self.err, self
        return json.loads(self.out)


@pytest.fixture
def machine() -> object:
    return fake.Machine()


@pytest.fixture
def server(machine) -> object:
    return fake.Server(machine)


@pytest.fixture
def place(server, tmp_path: Path) -> Iterator[object]:
    found = fake.Socket(server, tmp_path).start()
    yield found
    found.stop()


@pytest.fixture
def pty(server) -> Iterator[object]:
    found = fake.Pty(server).start()
    yield found
    found.stop()


@pytest.fixture
def tool(place, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """sevisorctl.py in this process."""

    def call(*words: object, to: str | None = None, timeout: float = 5.0) -> Said:
        capfd.readouterr()
        status = arguments.main(["--to", to or place.to, "--timeout", str(timeout), *map(str, words)])
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        return Said(status, said.out, said.err)

    return call


@pytest.fixture
def sevisor(place) -> Iterator[Connection]:
    with Connection.open(place.to, 2.0) as found:
        yield found
