# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Two traces of the Secure Processor's mailbox, cut into what they are about and laid side by side."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

BRING_UP, END = "bring-up", "end"  # before the first guest, after the last


@dataclass(frozen=True)
class Cell:
    """A command and its status, so many times in a row."""

    command: str
    status: str
    times: int

    def __str__(self) -> str:
        return f"{self.command} {self.status}" + (f" x {self.times}" if self.times > 1 else "")


@dataclass(frozen=True)
class Row:
    sevisor: Cell | None
    kvm: Cell | None

    def difference(self) -> str:
        """In words, without numbers; "" where both did the same."""
        if self.sevisor and self.kvm:
            return "" if self.sevisor.times == self.kvm.times else f"how often: {self.kvm.command}"
        cell = self.sevisor or self.kvm
        assert cell
        status = "" if cell.status == "SUCCESS" else f" {cell.status}"
        return f"only {'Sevisor' if self.sevisor else 'KVM'}: {cell.command}{status}"


def stages(commands: Sequence[dict], guests: Sequence[str]) -> dict[str, list[dict]]:
    """The trace's commands by what they are about; `guests` as they were launched.

    A guest's own are those with its handle; hv's guests live at the same time. DF_FLUSH has
    none: after a DEACTIVATE it is the guest's that waits for it longest. Whatever else has none
    belongs to the guest that the last command was about, as long as its life lasts.
    """
    found: dict[str, list[dict]] = {stage: [] for stage in (BRING_UP, *guests, END)}
    waiting, alive, now = iter(guests), {}, BRING_UP
    dirty: list[str] = []  # deactivated, not yet flushed
    for command in commands:
        handle = command.get("handle")
        if command["command"] == "LAUNCH_START":
            alive[handle] = next(waiting)
        if handle is not None:
            now = alive[handle]
        flushes = command["command"] == "DF_FLUSH" and dirty
        found[dirty.pop(0) if flushes else now].append(command)
        if command["command"] == "DEACTIVATE":
            dirty.append(now)
        if command["command"] == "DECOMMISSION":
            del alive[handle]
            dirty = [guest for guest in dirty if guest != now]
            now = END
    assert not alive, f"guests {alive} were not decommissioned"
    assert next(waiting, None) is None, "fewer launches than guests"
    return found


def cells(commands: Sequence[dict]) -> list[Cell]:
    pairs = [(command["command"], command["status"]) for command in commands]
    return [Cell(*pair, len(list(same))) for pair, same in itertools.groupby(pairs)]


def side_by_side(sevisor: Sequence[dict], kvm: Sequence[dict]) -> list[Row]:
    """One stage of both: the same commands with the same status in one row, in order; others alone in theirs."""
    left, right = cells(sevisor), cells(kvm)
    keys = [[(cell.command, cell.status) for cell in side] for side in (left, right)]
    rows: list[Row] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, *keys, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += map(Row, left[i1:i2], right[j1:j2])
        else:
            rows += [Row(cell, None) for cell in left[i1:i2]] + [Row(None, cell) for cell in right[j1:j2]]
    return rows


def table(stage: str, rows: Sequence[Row]) -> str:
    """For people; differences on the left."""
    lines = [(stage, "Sevisor", "KVM")]
    lines += [(row.difference(), str(row.sevisor or ""), str(row.kvm or "")) for row in rows]
    return "\n".join(f"{left:<34} {middle:<34} {right}".rstrip() for left, middle, right in lines)
