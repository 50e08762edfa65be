# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The way to one control guest for work that lasts: opened anew when it broke."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from .connection import Connection
from .errors import Unreached

T = TypeVar("T")
_PAUSE_SECONDS = 0.5  # between two tries


class Link:
    """`opened`: makes a connection. Whoever uses `connection` gets Unreached when it breaks; `insist` tries again."""

    def __init__(self, opened: Callable[[], Connection], first: Connection | None = None) -> None:
        self._open = opened
        self._connection = first

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def insist(self, work: Callable[[Connection], T], seconds: float) -> T:
        """Does the work until there is an answer, so it may be done twice. Refused is one; after `seconds`: Unreached."""
        end = time.monotonic() + seconds
        while True:
            try:
                return work(self.connection)
            except Unreached:
                self.drop()
                if time.monotonic() >= end:
                    raise
                time.sleep(_PAUSE_SECONDS)
