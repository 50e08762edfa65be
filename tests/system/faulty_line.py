# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A machine's control line with somebody on it who counts the requests of GDB's protocol, and does something at one of them."""

from __future__ import annotations

import os
import re
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from emulator import Emulator
from machines import CONTROL_SOCKET

_REQUEST = re.compile(rb"\$[^#]*#..", re.S)
_PATIENCE = 30.0


class Where(Enum):
    BEFORE = "before"  # the request does not arrive
    HALF = "half"  # of it does
    BEHIND = "behind"  # it is carried out, its answer does not arrive


@dataclass
class Fault:
    """`at`: a request by its number from 1, or the one that carries out the writing of these bytes. `act` returns whether the line holds."""

    at: int | bytes
    where: Where
    act: Callable[[], bool]


class FaultyLine:
    """Listens at `address`, in the folder that the tool runs in. One client at a time, as the control guest has one line."""

    def __init__(self, machine: Emulator, folder: Path, name: str) -> None:
        self.machine = machine
        self.address = f"unix:{name}"
        self.heal()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / name))
        self._server.listen(8)
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def heal(self, fault: Fault | None = None) -> None:
        """As new, until the fault."""
        self.dead = False  # whoever comes is sent away
        self.requests: list[bytes] = []
        self.fault, self.struck = fault, False
        self._written = b""

    def crash(self, place: int) -> bool:
        """The control guest dies (guest/doomed.c), but the line does not notice."""
        self._control.sendall(b"\x05doomed%d" % place)
        return True

    def cut(self, for_good: bool) -> bool:
        self.dead = for_good
        return False

    def _serve(self) -> None:
        while True:
            client, _ = self._server.accept()
            with client, socket.socket(socket.AF_UNIX) as self._control:
                try:
                    if not self.dead:
                        self._control.connect(str(self.machine.folder / CONTROL_SOCKET))
                        self._relay(client)
                except OSError:
                    pass  # one of the ends is gone

    def _relay(self, client: socket.socket) -> None:
        held = b""
        while True:
            for ready in select.select([client, self._control], [], [])[0]:
                data = ready.recv(1 << 16)
                if not data:
                    return
                if ready is self._control:
                    client.sendall(data)
                    continue
                held += data
                while held:
                    request = _REQUEST.match(held)
                    end = request.end() if request else held.find(b"$", 0 if held[:1] != b"$" else len(held))
                    if not request and held[:1] == b"$":
                        break
                    part, held = (held[:end], held[end:]) if end > 0 else (held, b"")
                    if not self._pass(part):
                        return

    def _pass(self, part: bytes) -> bool:
        """Whether the line still holds."""
        if part[:1] == b"$":
            self.requests.append(part)
        fault = self.fault
        if part[:1] != b"$" or fault is None or self.struck or not self._is_due(fault.at, part):
            self._control.sendall(part)
            return True
        self.struck = True
        if fault.where is not Where.BEFORE:
            self._control.sendall(part[: len(part) // 2] if fault.where is Where.HALF else part)
        if fault.where is Where.BEHIND:
            self._swallow_answer()
        if not fault.act():
            return False
        if fault.where is not Where.BEHIND:
            self._control.sendall(part if fault.where is Where.BEFORE else part[len(part) // 2 :])
        return True

    def _is_due(self, at: int | bytes, part: bytes) -> bool:
        if isinstance(at, int):
            return len(self.requests) == at
        if part.startswith(b"$vFile:pwrite:"):
            self._written = part
        return part.startswith(b"$vFile:close:") and self._written.endswith(b"," + at, 0, -3)

    def _swallow_answer(self) -> None:
        answer = b""
        while not _REQUEST.search(answer):
            if not select.select([self._control], [], [], _PATIENCE)[0]:
                raise OSError("no answer")
            data = os.read(self._control.fileno(), 1 << 16)
            if not data:
                raise OSError("closed")
            answer += data
