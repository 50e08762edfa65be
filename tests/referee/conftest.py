# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Both kernels, and the programs that they run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "unit" / "firmware")]

import kernels  # noqa: E402


@pytest.fixture(scope="module", params=["first_release", "next_release"], ids=["debian12", "debian13"])
def kernel(request: pytest.FixtureRequest) -> Path:
    """An unpacked kernel package; a module's tests run on each."""
    return getattr(kernels, request.param)()


@pytest.fixture(scope="session")
def programs(build: Path, built: Callable[..., None]) -> dict[str, Path]:
    """The referee's programs, by their names in the initramfs."""
    built("referee-programs")
    return {f"bin/{path.name}": path for path in sorted((build / "referee").iterdir()) if path.suffix == ""}


@pytest.fixture(scope="session")
def sevfw_tool(build: Path, built: Callable[..., None]) -> str:
    """The firmware model without a machine, and AMD's key server: for what an owner does at home."""
    built(os.environ.get("BUILD", ".build") + "/unit/firmware/sevfw-tool")
    return str(build / "unit/firmware/sevfw-tool")
