# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What an exit costs, in instructions, on the SEV machine: bounded, repeatable, and not growing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import measure
import pytest
from measure import WITHOUT_NEXT_RIP, Figure, Run

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("bench")]  # the boots are made once

COLUMNS = list(measure.SEVISOR)
GROWTH = 5  # per cent
BELOW = {
    "cpuid": 160, "cpuid-1": 160, "vmmcall": 160,
    "port-read": 200, "port-read-uart": 200, "msr-write": 200, "msr-write-timer": 200,
}  # fmt: skip


def test_figures_repeat_exactly(sevisor: Callable[[str], Run]) -> None:
    assert sevisor("sev").lines == sevisor("sev again").lines


@pytest.mark.parametrize("column", COLUMNS)
def test_simple_exits_stay_below_their_limits(sevisor: Callable[[str], Run], column: str) -> None:
    figures = sevisor(column).figures
    assert {name: figures[name].mean for name, limit in BELOW.items() if figures[name].mean >= limit} == {}


@pytest.mark.parametrize("column", COLUMNS)
def test_no_figure_grows(sevisor: Callable[[str], Run], column: str) -> None:
    assert measure.growth(sevisor(column).figures, measure.baseline()[column], GROWTH) == []


def test_growth_above_the_limit_is_noticed() -> None:
    def problems(now: int) -> list[str]:
        return measure.growth({"cpuid": Figure(now, now)}, {"cpuid": 100}, GROWTH)

    assert problems(105) == [] and problems(106) == ["cpuid: 106, 100 in baseline.toml"]
    assert measure.growth({}, {"cpuid": 100}, GROWTH) == ["cpuid is no longer measured"]
    assert measure.growth({"cpuid": Figure(1, 1)}, {}, GROWTH) != []


@pytest.mark.parametrize("kernel", ["first_release", "next_release"])
def test_kvm_executes_more(sevisor: Callable[[str], Run], kvm: Callable[..., Run], kernel: str) -> None:
    ours, theirs = sevisor("plain").figures, kvm(kernel).figures
    assert ours
    assert {name: figure for name, figure in ours.items() if figure.mean >= theirs[name].mean} == {}


def test_table(sevisor: Callable[[str], Run], kvm: Callable[..., Run], build: Path, show) -> None:
    """Prints it, and writes it to table.md in the build folder."""
    text = measure.table({
        "Sevisor, plain": sevisor("plain").figures,
        "Sevisor, SEV": sevisor("sev").figures,
        "KVM 6.1": kvm("first_release").figures,
        "KVM 6.12": kvm("next_release").figures,
    })  # fmt: skip
    text += "\n\nWithout next-RIP save:\n\n" + measure.table({
        "Sevisor, plain": sevisor("plain-without-next-rip").figures,
        "KVM 6.1": kvm("first_release", WITHOUT_NEXT_RIP).figures,
    })  # fmt: skip
    (build / "bench" / "table.md").write_text(text + "\n")
    show(text)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) > len(BELOW)
    assert [line for line in rows if "–" in line] == []
