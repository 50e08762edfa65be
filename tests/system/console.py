# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The operator's serial line as the outside sees it: a thread reads it, others search what came."""

from __future__ import annotations

import fcntl
import os
import re
import select
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

# What terminals are told to do (colour, cursor): of no interest for what the text says.
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?=]*[ -/]*[@-~]|[()][A-Za-z0-9]|[=>78cM])")


def plain(raw: bytes) -> str:
    """The bytes as text, without escape sequences and carriage returns."""
    return ESCAPES.sub("", raw.decode("utf-8", "replace")).replace("\r", "")


# The least that a pipe can hold.
SMALL_PIPE = 4096


class ConsoleTimeout(AssertionError):
    """What was waited for did not come."""


class Console:
    """Collects all output of a stream. Written to by one thread, read by any.

    `rate`: bytes per second that are taken, as a real line does; who writes has to wait then.
    """

    def __init__(self, source: BinaryIO, echo: Callable[[bytes], None] | None = None, rate: int | None = None) -> None:
        self._rate = rate
        self._raw = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self._source = source
        self._echo = echo
        self._thread = threading.Thread(target=self._read, name="console", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        descriptor = self._source.fileno()
        if self._rate:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, SMALL_PIPE)
        part = b"..."
        while part:
            select.select([descriptor], [], [])
            with self._changed:  # so that what is not in the pipe any more is in _raw: settle()
                try:
                    part = os.read(descriptor, self._rate // 20 if self._rate else 65536)
                except OSError:
                    part = b""
                self._raw += part
                self._ended = not part
                self._changed.notify_all()
            if part and self._echo:
                self._echo(part)
            if self._rate:
                time.sleep(len(part) / self._rate)

    def _unread(self) -> int:
        """Bytes that the pipe holds."""
        if self._ended:
            return 0
        return int.from_bytes(fcntl.ioctl(self._source.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)

    @property
    def text(self) -> str:
        with self._changed:
            return plain(bytes(self._raw))

    @property
    def raw(self) -> bytes:
        with self._changed:
            return bytes(self._raw)

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    def join(self, patience: float) -> None:
        """Waits until the stream is read to its end."""
        self._thread.join(patience)

    def settle(self, quiet: float = 0.3) -> None:
        """Waits until all is read, and nothing has come for a while: what a machine said last is then here."""
        with self._changed:
            while self._changed.wait(quiet) or self._unread():
                pass

    def tail(self, count: int = 40) -> str:
        return "\n".join(self.lines[-count:])

    def wait_for(
        self, pattern: str, patience: float, hopeless: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> re.Match[str]:  # fmt: skip
        """The first match of `pattern`. `hopeless` is asked now and then: why nothing more will come, or ""."""
        compiled = re.compile(pattern, re.MULTILINE)
        deadline = clock() + patience
        why = ""
        while True:
            with self._changed:
                match = compiled.search(plain(bytes(self._raw)))
                if match:
                    return match
                if why:
                    raise ConsoleTimeout(f"waited for {pattern!r} until {why}; the console's end:\n{self.tail()}")
                if self._ended:
                    why = "QEMU ended"
                    continue
                self._changed.wait(min(max(deadline - clock(), 0.01), 0.5))
            # What came until now is looked at once more before giving up.
            why = hopeless() or (f"{patience:.0f} s were over" if clock() > deadline else "")
