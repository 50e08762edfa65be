# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Requests and answers in the packets of GDB's remote serial protocol, over a line that may lose and change bytes.

`$data#hh`: hh is the sum of data modulo 256. `+` and `-` acknowledge; the mode without them is not used, since a serial line
is not reliable, and a `+` costs no time: the answer comes right behind it. Bytes between packets are skipped, so that a
line can carry other text as well.

The protocol does not number its packets. So after any loss the two ends are first brought back into step: a request
that both know to have an empty answer, and that nothing else here has, tells where the old answers end.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from enum import Enum

from .errors import TimedOut, Uncertain, Unreached
from .transport import Line

LARGEST = 1 << 20  # bytes of a packet that the other end may send
DEFAULT_SIZE, SMALLEST_SIZE = 0x400, 0x80  # PacketSize, bytes that it takes, if it does not say; what is usable at all
TRIES = 4
# Seconds of a line whose answers take _USUAL at most; of a slower one (--timeout), more in proportion.
_USUAL = 30.0
_ACK_SECONDS = 2.0  # plus the time on the line
_STEP_SECONDS = 5.0
_SLOWEST = 5000  # bytes a second on the line
_QUIET = 0.05  # nothing for so long: the line is silent
_GRACE = 0.2  # between what may be a damaged packet and what is done about it
_LATE = 0.5  # for an answer that comes behind another one
_STALL = 2.0  # a packet's bytes do not come this slowly: its end is lost
_GATHER = 0.0002  # of a packet under way: bytes are taken in pieces as large as come in this time
_MAX_SKIPPED = 10_000  # packets that answer something else
_IN_STEP = b"vMustReplyEmpty"
_SPECIAL = re.compile(rb"[}#$*]")
_ESCAPED = re.compile(rb"[}*](.?)", re.S)
_BEGINS = re.compile(rb"[-+$]")


def escape(data: bytes) -> bytes:
    return _SPECIAL.sub(lambda found: bytes((0x7D, found[0][0] ^ 0x20)), data)


def frame(data: bytes) -> bytes:
    """A packet of escaped data."""
    return b"$%s#%02x" % (data, sum(data) & 0xFF)


def unescape(data: bytes) -> bytes | None:
    """Removes escapes and run lengths (`x*n`: x and n - 29 more of it). None: these are wrong, or the result is too long."""
    out = bytearray()
    at = 0
    for found in _ESCAPED.finditer(data):
        out += data[at : found.start()]
        at = found.end()
        if not found[1]:
            return None
        if found[0][:1] == b"}":
            out.append(found[1][0] ^ 0x20)
        else:
            count = found[1][0] - 29
            if not out or not 3 <= count <= 97:
                return None
            out += out[-1:] * count
        if len(out) > LARGEST:
            return None
    out += data[at:]
    return bytes(out) if len(out) <= LARGEST else None


class _Event(Enum):
    ACK = 1
    NAK = 2
    DAMAGED = 3
    PACKET = 4


class Packets:
    """One end of the line. `timeout`: seconds for an answer, once the request has arrived."""

    def __init__(self, line: Line, timeout: float = 30.0) -> None:
        self._line = line
        self._bytes = bytearray()
        self._in_step = False
        self._packet = b""
        self.timeout = timeout
        self._slow = max(1.0, timeout / _USUAL)
        self.size = DEFAULT_SIZE
        self.repeated = False  # the last request was sent more than once, and may have arrived more than once

    # -------------------------------------------------------------- what comes

    def _take(self) -> _Event | None:
        """The first event in the bytes that are here; None: none is complete."""
        while self._bytes:
            found = _BEGINS.search(self._bytes)
            del self._bytes[: found.start() if found else None]
            if not found:
                return None
            if self._bytes[0] != ord("$"):
                return _Event.ACK if self._bytes.pop(0) == ord("+") else _Event.NAK
            end = self._bytes.find(b"#")
            start = self._bytes.rfind(b"$", 0, end if end >= 0 else None)
            del self._bytes[:start]  # $ begins a packet wherever it stands
            end -= start
            if end < 0 and len(self._bytes) <= 2 * LARGEST or 0 <= end and len(self._bytes) < end + 3:
                return None
            return self._whole(end)
        return None

    def _whole(self, end: int) -> _Event:
        if end < 0:
            self._bytes.clear()
            return _Event.DAMAGED
        data, digits = bytes(self._bytes[1:end]), bytes(self._bytes[end + 1 : end + 3])
        is_sum = all(digit in b"0123456789abcdefABCDEF" for digit in digits)
        del self._bytes[: end + (3 if is_sum else 1)]
        found = unescape(data) if is_sum and int(digits, 16) == sum(data) & 0xFF else None
        if found is None:
            return _Event.DAMAGED
        self._packet = found
        return _Event.PACKET

    def _next(self, deadline: float) -> _Event | None:
        """None: nothing more in time. What is here already is taken even later."""
        while (event := self._take()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if self._bytes:
                time.sleep(_GATHER)
            data = self._line.read(min(left, _STALL * self._slow, self.timeout / 2) if self._bytes else left)
            if not data and self._bytes:
                self._bytes.clear()
                return _Event.DAMAGED
            self._bytes += data
        return event

    def _drain(self) -> None:
        """Drops what comes until the line is silent, for a second at most."""
        self._bytes.clear()
        end = time.monotonic() + 1
        while time.monotonic() < end and self._line.read(_QUIET):
            pass

    # -------------------------------------------------------------- what goes

    def _send(self, data: bytes) -> float:
        """Returns when its acknowledgement is overdue."""
        allowed = max(self.timeout, _ACK_SECONDS) + len(data) / _SLOWEST
        self._line.write(data, allowed)
        return time.monotonic() + min(self.timeout, _ACK_SECONDS * self._slow) + len(data) / _SLOWEST

    def _step(self) -> None:
        """Brings both ends into step: no answer to an earlier request comes later."""
        due = 0  # empty answers
        for _ in range(TRIES):
            self._drain()
            self._send(b"+" + frame(_IN_STEP))
            due += 1
            deadline = time.monotonic() + min(self.timeout, _STEP_SECONDS * self._slow)
            while event := self._next(deadline):
                if event == _Event.PACKET:
                    self._send(b"+")
                    if not self._packet:
                        due -= 1
                        self._in_step = True
                        deadline = time.monotonic() + (_LATE * self._slow if due else 0)
            if self._in_step:
                return
        raise TimedOut("the control guest does not answer: is this its line, and is it running?")

    def request(self, data: bytes, fits: Callable[[bytes], bool], once: bool = False) -> bytes:
        """The first answer that fits. The request is repeated until there is one, so it may arrive twice: see `repeated`.

        `once`: it must not arrive twice; Uncertain instead.
        """
        if not self._in_step:
            self._step()
        self._line.read(0)  # nothing was asked yet
        self._bytes.clear()
        self.repeated = False
        for _ in range(TRIES):
            try:
                answer = self._exchange(frame(data), fits)
            except KeyboardInterrupt:
                self._in_step = False  # its answer may come yet
                raise
            if answer is not None:
                return answer
            self._in_step = False
            self.repeated = True
            self._step()
            if once:
                raise Uncertain("the answer was lost on the line: this may have been done, or not")
        raise TimedOut("the line to the control guest loses too much: the same request failed four times")

    def _exchange(self, packet: bytes, fits: Callable[[bytes], bool]) -> bytes | None:
        """None: the answer was lost, or is overdue."""
        last = time.monotonic() + 10 * self.timeout
        deadline = self._send(packet)
        acknowledged = False
        repeats = skipped = 0
        trouble: _Event | None = None  # NAK or DAMAGED; other text on the line can look like it, so a moment is waited
        grace = 0.0
        while True:
            event = self._next(min(deadline, last) if trouble is None else min(deadline, last, grace))
            if event == _Event.PACKET:
                self._send(b"+")
                if fits(self._packet):
                    return self._packet
                skipped += 1
                if skipped > _MAX_SKIPPED:
                    raise Unreached("what comes on the line are no answers to this tool")
                deadline = time.monotonic() + self.timeout
            elif event == _Event.ACK:
                if not acknowledged:
                    acknowledged, deadline = True, time.monotonic() + self.timeout
                trouble = None if trouble == _Event.NAK else trouble
            elif event is not None:
                if trouble is None and not (event == _Event.NAK and acknowledged):
                    trouble, grace = event, time.monotonic() + _GRACE * self._slow
            elif trouble is None or time.monotonic() >= min(deadline, last):
                return None
            elif self._bytes:
                grace = time.monotonic() + _GRACE * self._slow  # a packet is under way
            else:
                self._in_step = False  # there may be two answers now
                repeats += 1
                if repeats >= TRIES or trouble == _Event.DAMAGED and not acknowledged:
                    return None  # a NAK could bring the answer before this one
                if trouble == _Event.NAK:
                    self.repeated = True
                    deadline = self._send(packet)
                else:
                    self._send(b"-")
                trouble = None
