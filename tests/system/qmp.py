# SPDX-License-Identifier: BSD-2-Clause-Patent
"""QEMU's control socket, the part of it that the tests need (QEMU docs/interop/qmp-spec)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class QmpError(RuntimeError):
    """QEMU refused a command, or is gone."""


class Qmp:
    """One connection. Commands are answered in order; events are kept for who asks."""

    def __init__(self, path: Path, patience: float, alive: Callable[[], bool] = lambda: True) -> None:
        deadline = time.monotonic() + patience
        while True:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                self._socket.close()
                if not alive():
                    raise QmpError("QEMU has ended") from error
                if time.monotonic() > deadline:
                    raise QmpError(f"no control socket within {patience:.0f} s") from error
                time.sleep(0.05)
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        self._receive(patience)  # the greeting
        self.command("qmp_capabilities", patience=patience)

    def _receive(self, patience: float) -> dict[str, Any]:
        self._socket.settimeout(patience)
        while b"\n" not in self._buffer:
            try:
                part = self._socket.recv(65536)
            except OSError as error:
                raise QmpError(f"no answer within {patience:.0f} s: {error}") from error
            if not part:
                raise QmpError("QEMU closed the connection")
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def command(self, name: str, patience: float = 60, **arguments: Any) -> Any:
        """The `return` value of a command; underscores in argument names stand for hyphens."""
        request: dict[str, Any] = {"execute": name}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"{name}: {error}") from error
        while True:
            answer = self._receive(patience)
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError(f"{name}: {answer['error'].get('desc')}")
            elif "return" in answer:
                return answer["return"]

    def poll(self) -> None:
        """Takes in the events that have come, without waiting."""
        self._socket.setblocking(False)
        try:
            while part := self._socket.recv(65536):
                self._buffer += part
        except BlockingIOError:
            pass
        except OSError:
            return  # QEMU is gone
        while b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            message = json.loads(line)
            if "event" in message:
                self.events.append(message)

    def close(self) -> None:
        self._socket.close()
