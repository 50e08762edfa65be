# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The line to the control guest: a tty, a TCP or a Unix socket, read and written with a time limit."""

from __future__ import annotations

import fcntl
import os
import re
import select
import socket
import termios
import time
from dataclasses import dataclass

from pack.errors import printable

from .errors import TimedOut, Unreached

DEFAULT_BAUD = 115200
_CHUNK = 1 << 16

FORMS = "/dev/ttyUSB0, /dev/ttyUSB0@115200, tcp:HOST:PORT or unix:PATH"


@dataclass(frozen=True)
class Address:
    """Where the control guest is reached. `where`: a path, or a host."""

    kind: str  # "tty", "tcp" or "unix"
    where: str
    number: int = 0  # bits per second, or a port

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError."""
        kind, colon, rest = text.partition(":")
        if colon and kind == "unix" and rest and len(os.fsencode(rest)) < 108 and "\0" not in rest:
            return cls("unix", rest)
        if colon and kind == "tcp":
            host, _, port = rest.rpartition(":")
            if host and re.fullmatch("[0-9]{1,5}", port, re.ASCII) and 0 < int(port) < 65536:
                return cls("tcp", host.removeprefix("[").removesuffix("]"), int(port))
        if text.startswith("/") and "\0" not in text:
            path, _, rate = text.partition("@")
            if not rate and "@" not in text:
                return cls("tty", path, DEFAULT_BAUD)
            if re.fullmatch("[0-9]{1,8}", rate, re.ASCII) and hasattr(termios, f"B{int(rate)}") and int(rate):
                return cls("tty", path, int(rate))
        raise ValueError(f"{text!r} is not a way to the control guest: give {FORMS}")

    def __str__(self) -> str:
        if self.kind == "tty":
            return f"{self.where}@{self.number}"
        return f"unix:{self.where}" if self.kind == "unix" else f"tcp:{self.where}:{self.number}"


class Line:
    """Bytes both ways over a descriptor, which it owns."""

    def __init__(self, handle: int, name: str) -> None:
        self._handle, self._name = handle, name
        os.set_blocking(handle, False)

    def _wait(self, event: int, seconds: float) -> bool:
        if self._handle < 0:
            raise Unreached(f"{self._name}: is closed")
        poll = select.poll()
        poll.register(self._handle, event)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def _broken(self, error: OSError) -> Unreached:
        return Unreached(f"{self._name}: the connection broke: {error.strerror}")

    def read(self, seconds: float) -> bytes:
        """What has come, waiting for the first byte; b"": nothing in that time."""
        if not self._wait(select.POLLIN, seconds):
            return b""
        try:
            data = os.read(self._handle, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._broken(error) from None
        if not data:
            raise Unreached(f"{self._name}: the other end closed the connection")
        return data

    def write(self, data: bytes, seconds: float) -> None:
        """All of it, or TimedOut."""
        end = time.monotonic() + seconds
        while data:
            if not self._wait(select.POLLOUT, end - time.monotonic()):
                raise TimedOut(f"{self._name}: takes no more bytes: is the control guest running?")
            try:
                data = data[os.write(self._handle, data[:_CHUNK]) :]
            except BlockingIOError:
                pass
            except OSError as error:
                raise self._broken(error) from None

    def close(self) -> None:
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)


class Tty(Line):
    """A serial port: raw, 8n1, without flow control. `close` gives it back as it was."""

    def __init__(self, path: str, baud: int) -> None:
        try:
            handle = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Unreached(f"{path}: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._before = termios.tcgetattr(handle)
        except BlockingIOError:
            os.close(handle)
            raise Unreached(f"{path}: is in use by another program") from None
        except termios.error:
            os.close(handle)
            raise Unreached(f"{path}: is not a tty") from None
        super().__init__(handle, path)
        speed = getattr(termios, f"B{baud}")
        control = termios.CS8 | termios.CREAD | termios.CLOCAL  # CLOCAL: no carrier needed; no HUPCL: DTR stays
        characters = list(self._before[6])
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        try:
            termios.tcsetattr(handle, termios.TCSANOW, [0, 0, control, 0, speed, speed, characters])
            termios.tcflush(handle, termios.TCIFLUSH)
        except termios.error as error:
            self.close()
            raise Unreached(f"{path}: cannot be set to {baud} bits per second: {error.args[-1]}") from None

    def close(self) -> None:
        if self._handle >= 0:
            try:
                termios.tcflush(self._handle, termios.TCOFLUSH)  # what nobody takes would delay close
                termios.tcsetattr(self._handle, termios.TCSANOW, self._before)
            except (termios.error, OSError):
                pass  # unplugged
        super().close()


def connect(address: Address, seconds: float) -> Line:
    """Opens the line; Unreached says why not."""
    if address.kind == "tty":
        return Tty(address.where, address.number)
    try:
        if address.kind == "tcp":
            found = socket.create_connection((address.where, address.number), seconds)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            found = socket.socket(socket.AF_UNIX)
            found.settimeout(seconds)
            found.connect(address.where)
    except TimeoutError:
        raise TimedOut(f"{printable(str(address))}: no connection within {seconds:g} s") from None
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Unreached(f"{printable(str(address))}: no connection: {why}") from None
    return Line(found.detach(), printable(str(address)))
