# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Layout of a guest's memory: which bytes are placed where, without overlaps."""

from __future__ import annotations

from .errors import PackError
from .manifest import MAX_SECRET, PAGE, SECRET_UNIT, Kind, Step


def round_up(value: int, unit: int = PAGE) -> int:
    return -(-value // unit) * unit


def human_size(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


class GuestMemory:
    def __init__(self, size: int) -> None:
        self.size = size
        self.warnings: list[str] = []  # of what is packed as requested, but will probably not work
        self.secret_gpa = self.secret_size = 0
        self._steps: list[Step] = []

    def _add(self, step: Step) -> None:
        if step.gpa % PAGE != 0:
            raise PackError(f"{step.label} would be at {step.gpa:#x}, which is not the start of a page")
        if step.gpa + step.size > self.size:
            raise PackError(
                f"{step.label} needs memory up to {step.gpa + step.size:#x}, but memory ends at {self.size:#x} "
                f"({human_size(self.size)}): give the guest more memory"
            )
        for other in self._steps:
            if step.gpa < other.gpa + other.size and other.gpa < step.gpa + step.size:
                raise PackError(
                    f"{step.label} ({step.gpa:#x}, {human_size(step.size)}) would overlap {other.label} "
                    f"({other.gpa:#x}, {human_size(other.size)}): give the guest more memory"
                )
        self._steps.append(step)

    def place(self, gpa: int, data: bytes, label: str, kind: Kind = Kind.DATA) -> None:
        """Puts bytes at a page; the rest of the last page is zeros."""
        size = round_up(len(data))
        self._add(Step(kind, gpa, size, data.ljust(size, b"\0"), label))

    def zero(self, gpa: int, size: int, label: str) -> None:
        self._add(Step(Kind.ZERO, gpa, size, b"", label))

    def secret(self, gpa: int, size: int) -> None:
        """The place of a secret, in memory that is not placed, or in zeros."""
        if size <= 0 or size > MAX_SECRET or gpa % SECRET_UNIT or size % SECRET_UNIT:
            raise ValueError(f"no place for a secret: {size} bytes at {gpa:#x}")
        if gpa + size > self.size:
            raise PackError(
                f"secret-address: {size} bytes from {gpa:#x} do not end within the guest's {human_size(self.size)}"
            )
        for step in self._steps:
            if step.kind != Kind.ZERO and gpa < step.gpa + step.size and step.gpa < gpa + size:
                raise PackError(
                    f"secret-address: {size} bytes from {gpa:#x} would overwrite {step.label} "
                    f"({step.gpa:#x}, {human_size(step.size)})"
                )
        self.secret_gpa, self.secret_size = gpa, size

    def steps(self) -> list[Step]:
        """In the order of the launch."""
        return sorted(self._steps, key=lambda step: step.gpa)
