# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The control guest's objects as files, by GDB's Host I/O packets (vFile), its tables (qXfer), and its words (qRcmd).

All numbers are hexadecimal, errnos too. A write is carried out at close, whose answer has its result.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum

from .errors import Refused, Uncertain, Unreached
from .rsp import LARGEST, Packets, escape

LARGEST_OBJECT = 1 << 26  # bytes of what is read whole
LARGEST_TEXT = 1 << 16  # characters of what `monitor` says
_MARGIN = 64  # of a packet: its head


class Flags(IntEnum):
    READ = 0x0
    WRITE = 0x1
    BOTH = 0x2
    REPLACE = 0x601  # write, create, truncate


# GDB manual, "Errno Values" of the File-I/O protocol.
ERRNO = {
    1: "it is not permitted",
    2: "there is no such object",
    4: "it was interrupted",
    5: "it failed",
    9: "it is not open",
    13: "it is not permitted",
    14: "the address is not valid",
    16: "it is in use, or not in the state for this",
    17: "it exists already",
    19: "there is no such device",
    20: "the path is wrong",
    21: "it is a folder",
    22: "a value is not valid",
    23: "too many objects are open",
    24: "too many objects are open",
    27: "it is too large",
    28: "there is no room left",
    29: "it has no positions",
    30: "it cannot be written",
    91: "the name is too long",
}
EBADF, UNKNOWN = 9, 9999


_RESULT = re.compile(rb"F(-?[0-9a-fA-F]{1,16})(?:,([0-9a-fA-F]{1,16}))?")
_RESULT_AND_DATA = re.compile(rb"F([0-9a-fA-F]{1,16});(.*)|F(-[0-9a-fA-F]{1,16}),([0-9a-fA-F]{1,16})", re.S)


class HostIO:
    """Objects by path. `why` after a refusal: the control guest's own words."""

    def __init__(self, packets: Packets) -> None:
        self.packets = packets

    # -------------------------------------------------------------- packets

    def file_request(self, data: bytes, once: bool = False) -> tuple[int, int]:
        """(result, errno); errno 0: it succeeded."""
        answer = self._file_answer(data, _RESULT, once)
        result = int(answer[1], 16)
        return result, (int(answer[2], 16) if answer[2] else UNKNOWN) if result < 0 else 0

    def _file_answer(self, data: bytes, pattern: re.Pattern[bytes], once: bool = False) -> re.Match[bytes]:
        answer = self.packets.request(data, lambda found: found == b"" or pattern.fullmatch(found) is not None, once)
        found = pattern.fullmatch(answer)
        if found is None:
            raise Refused("the control guest does not know GDB's Host I/O: is it one?")
        return found

    def table(self, name: str) -> str:
        """An osdata table as text: `guests`, or "" for the list of tables."""
        return self.transfer("osdata", name)

    def transfer(self, kind: str, annex: str) -> str:
        """The whole of qXfer:KIND:read:ANNEX."""
        data = bytearray()
        while len(data) <= LARGEST_OBJECT:
            size = self.packets.size - _MARGIN
            answer = self.packets.request(
                b"qXfer:%s:read:%s:%x,%x" % (kind.encode(), annex.encode(), len(data), size),
                lambda answer: answer[:1] in (b"m", b"l", b"E", b""),
            )
            if answer[:1] in (b"", b"E"):
                raise Refused(f"the control guest has no {kind} {annex}".rstrip())
            data += answer[1:]
            if answer[:1] == b"l" or len(answer) == 1:
                return data.decode("utf-8", "replace")
        raise Unreached(f"the control guest's {kind} {annex} has no end")

    def monitor(self, command: str) -> str:
        """What `monitor COMMAND` prints in GDB."""
        said: list[bytes] = []

        def fits(answer: bytes) -> bool:
            if answer[:1] == b"O" and answer != b"OK":
                if sum(map(len, said)) < 2 * LARGEST_TEXT:
                    said.append(answer[1:])
                return False
            return (
                answer in (b"", b"OK")
                or re.fullmatch(rb"E[0-9a-fA-F]{2}|E\..*|([0-9a-fA-F]{2})+", answer, re.S) is not None
            )

        answer = self.packets.request(b"qRcmd," + command.encode().hex().encode(), fits)
        if answer == b"" or answer[:1] == b"E" and len(answer) % 2:
            raise Refused(f"the control guest does not know `monitor {command}`")
        if answer != b"OK":
            said.append(answer)
        text = b"".join(bytes.fromhex(part.decode()) for part in said if re.fullmatch(rb"([0-9a-fA-F]{2})*", part))
        return text.decode("utf-8", "replace")[:LARGEST_TEXT]

    # -------------------------------------------------------------- objects

    def refusal(self, path: str, errno: int) -> Refused:
        """The control guest's words, where it has some."""
        try:
            words = " ".join(self.monitor("why").split())
        except (Refused, Unreached):
            words = ""
        return Refused(f"{path}: {words or ERRNO.get(errno, f'error {errno}')}", errno)

    def open(self, path: str, flags: Flags) -> int:
        handle, errno = self.file_request(b"vFile:open:%s,%x,180" % (path.encode().hex().encode(), flags))
        if errno:
            raise self.refusal(path, errno)
        return handle

    def close(self, handle: int, path: str) -> None:
        """Carries out what was written."""
        _, errno = self.file_request(b"vFile:close:%x" % handle)
        if errno == EBADF and self.packets.repeated:
            raise Uncertain(
                f"{path}: the answer was lost on the line: it was carried out, but may have failed; ask for the status"
            )
        if errno:
            raise self.refusal(path, errno)

    def discard(self, handle: int) -> None:
        """Closes what was only read; errors change nothing any more."""
        try:
            self.file_request(b"vFile:close:%x" % handle)
        except (Refused, Unreached):
            pass

    def pread(self, handle: int, size: int, offset: int, path: str) -> bytes:
        """At most `size` bytes, and no more than fit into a packet; b"" at the end."""
        asked = min(size, self.packets.size - _MARGIN, LARGEST // 2)
        answer = self._file_answer(b"vFile:pread:%x,%x,%x" % (handle, asked, offset), _RESULT_AND_DATA)
        if answer[3]:
            raise self.refusal(path, int(answer[4], 16))
        count, data = int(answer[1], 16), answer[2]
        if count != len(data) or count > asked:
            raise Unreached(f"{path}: the control guest says {count} bytes and sends {len(data)}")
        return data

    def read(self, path: str, limit: int = LARGEST_OBJECT) -> bytes:
        """The whole object."""
        handle = self.open(path, Flags.READ)
        try:
            data = bytearray()
            while chunk := self.pread(handle, LARGEST, len(data), path):
                data += chunk
                if len(data) > limit:
                    raise Unreached(f"{path}: has more than {limit} bytes, which is too much")
            return bytes(data)
        finally:
            self.discard(handle)

    def pwrite(self, handle: int, data: bytes, offset: int, path: str, once: bool = False, unit: int = 1) -> int:
        """As many units of bytes as fit into a packet; returns how many bytes that were."""
        room = self.packets.size - _MARGIN
        part = data[: room // unit * unit]
        while len(escaped := escape(part)) > room:
            part = part[: len(part) // 2 // unit * unit]
        if not part:
            raise Refused(f"{path}: {unit} bytes at once are more than the control guest takes")
        count, errno = self.file_request(b"vFile:pwrite:%x,%x,%s" % (handle, offset, escaped), once)
        if errno:
            raise self.refusal(path, errno)
        if not 0 < count <= len(part):
            raise Unreached(f"{path}: the control guest says that it took {count} of {len(part)} bytes")
        return count

    def write(self, path: str, data: bytes, progress: Callable[[int], None] | None = None) -> None:
        """Writes the object, and has it carried out. Interrupted, nothing of it is."""
        handle = self.open(path, Flags.REPLACE)
        done = 0
        while done < len(data):
            done += self.pwrite(handle, data[done:], done, path)
            if progress:
                progress(done)
        self.close(handle, path)
