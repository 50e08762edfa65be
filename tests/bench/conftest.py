# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The boots of the benchmark, each made once, when a test first asks for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measure  # noqa: E402
from measure import Run  # noqa: E402

Measured = Callable[[str], Run]


@pytest.fixture(scope="session")
def parts(build: Path, built: Callable[..., None]) -> Path:
    """The guest and KVM's runner are there; the build folder."""
    built("bench-guest", "referee-programs")
    return build


@pytest.fixture(scope="session")
def sevisor(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Sevisor's figures, by the name of a column; with " again" behind it, those of another boot."""
    runs: dict[str, Run] = {}

    def measured(column: str) -> Run:
        if column not in runs:
            encryption, without = measure.SEVISOR[column.removesuffix(" again")]
            runs[column] = measure.sevisor(parts, tmp_path_factory.mktemp("bench"), encryption, without=without)
        return runs[column]

    return measured


@pytest.fixture(scope="session")
def kvm(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """KVM's figures: of kernels.first_release or kernels.next_release, on a machine without some features."""
    import kernels

    runs: dict[tuple[str, tuple[str, ...]], Run] = {}

    def measured(kernel: str, without: tuple[str, ...] = ()) -> Run:
        if (kernel, without) not in runs:
            tree = getattr(kernels, kernel)()
            runs[kernel, without] = measure.kvm(parts, tmp_path_factory.mktemp("bench-kvm"), tree, without=without)
        return runs[kernel, without]

    return measured
