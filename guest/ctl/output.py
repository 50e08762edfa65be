# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What the operator sees: tables, JSON, guests' bytes made harmless for a terminal, progress."""

from __future__ import annotations

import codecs
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence

from pack import cli
from pack.errors import printable

from .connection import Value

_CONTROL = re.compile(r"[^\n\t\x20-\x7e]")


def as_json(found: object) -> None:
    """One document, one line: control characters are escaped by JSON."""
    cli.say(json.dumps(found))


def text(value: Value | None) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else printable(str(value))


def table(rows: Sequence[Mapping[str, Value]], columns: Sequence[str]) -> str:
    """Numbers to the right."""
    cells = [[column.upper() for column in columns], *([text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    right = [bool(rows) and all(isinstance(row.get(column), int) for row in rows) for column in columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    )


def lines(found: Mapping[str, Value]) -> str:
    """`key: value` lines."""
    width = max((len(printable(key)) for key in found), default=0) + 1
    return "\n".join(f"{printable(key) + ':':{width}} {text(value)}".rstrip() for key, value in found.items())


class Stream:
    """Guests' bytes on standard output. On a terminal, control characters are escaped unless `raw`; pipes get the bytes."""

    def __init__(self, raw: bool) -> None:
        self._escape = sys.stdout.isatty() and not raw
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""  # a CR, until what follows is known

    def escaped(self, data: bytes, final: bool = False) -> str:
        found = self._held + self._decoder.decode(data, final)
        self._held = "\r" if found.endswith("\r") and not final else ""
        found = found.removesuffix("\r") if self._held else found
        return _CONTROL.sub(lambda one: printable(one[0]), found.replace("\r\n", "\n"))

    def write(self, data: bytes) -> None:
        if self._escape:
            sys.stdout.write(self.escaped(data))
            sys.stdout.flush()
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def close(self) -> None:
        if self._escape:
            sys.stdout.write(self.escaped(b"", final=True))
            sys.stdout.flush()


class Progress:
    """A bar on standard error, if that is a terminal and nobody wants JSON."""

    _WIDTH = 30

    def __init__(self, what: str, total: int, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._what, self._total, self._start, self._last = what, max(total, 1), time.monotonic(), 0.0

    def at(self, done: int) -> None:
        now = time.monotonic()
        if not self._shown or now - self._last < 0.1 and done < self._total:
            return
        self._last = now
        full = min(done, self._total) * self._WIDTH // self._total
        speed = done / max(now - self._start, 0.001)
        left = (self._total - done) / speed if speed else 0
        print(
            f"\r{self._what} [{'#' * full:{self._WIDTH}}] {100 * done // self._total:3}% "
            f"{speed / 1024:,.0f} KiB/s, {left:,.0f} s left \x1b[K",
            end="", file=sys.stderr, flush=True,
        )  # fmt: skip

    def close(self) -> None:
        if self._shown and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
