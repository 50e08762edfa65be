# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A SEV guest that travels: the file, or the pipe, that `sevisorctl snapshot` writes and `restore` reads. Little-endian.

    8 bytes "SEVISOR" 1Ah, then records: kind (4 bytes), length of what follows (4), content. In this order:
    1 header    once: struct Header below
    2 shared    once: a bit for each page of 4 KiB that the guest shares, page 0 lowest
    3 private   page number (4), SEND_UPDATE_DATA's packet: header (52), ciphertext (4096)
    4 plain     page number (4), bytes (4096) of a page that the guest shares
    5 guest     state of the guest and its devices
    6 vcpu      number (4), state of a vCPU; each once, ascending
    7 end       private pages (4), plain pages (4), SHA-256 (32) of all bytes before it

Pages ascend, private and plain together; those that the guest never touched are left out. The SEV firmware's packets have no
number under their MAC: the sum binds each to its page and place. It is no signature: it guards against accidents, and whoever can
write the file can make another. What such a stream can do is what its session's MACs and the SEV firmware allow.

Nobody's stream is believed: each length is known before the content is read, and each number has its range.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from .errors import Damaged

MAGIC = b"SEVISOR\x1a"
VERSION = 1
PAGE = 4096
PACKET_HEADER = 52
PACKET = PACKET_HEADER + PAGE
CERTIFICATE = 2084
SESSION = 128
MOST_MEMORY = 1 << 40  # as of a guest of the manifest
MOST_VCPUS = 64
MOST_STATE = 1 << 16  # bytes, of the guest's state and of each vCPU's

_RECORD = struct.Struct("<II")
_NUMBER = struct.Struct("<I")
_END = struct.Struct("<II32s")
_HEADER = struct.Struct("<IIBBBxIIQ32s32s2084s128s")
_NAME = re.compile(rb"[a-zA-Z0-9._-]{1,31}")
_CHUNK = 1 << 20


class Kind(IntEnum):
    HEADER = 1
    SHARED = 2
    PRIVATE = 3
    PLAIN = 4
    GUEST = 5
    VCPU = 6
    END = 7


class Source(Protocol):
    def read(self, size: int, /) -> bytes:
        ...


class Sink(Protocol):
    def write(self, data: bytes, /) -> object:
        ...


@dataclass(frozen=True)
class Header:
    name: str  # of the guest where it came from
    policy: int
    api: tuple[int, int, int]  # SEV API of the source: major, minor, build
    control: int  # version of guest/control.h, which names the states' structures
    vcpus: int
    memory: int  # bytes of RAM
    target: bytes  # SHA-256 of the PDH's certificate that the session was made for
    pdh: bytes  # the source's certificate
    session: bytes  # SEND_START's

    @property
    def pages(self) -> int:
        return self.memory // PAGE

    def bytes(self) -> bytes:
        if not _NAME.fullmatch(self.name.encode()):
            raise Damaged("the stream's guest has a name that no guest can have")
        return _HEADER.pack(
            VERSION, self.policy, *self.api, self.control, self.vcpus, self.memory, self.name.encode(), self.target,
            self.pdh, self.session,
        )  # fmt: skip


@dataclass(frozen=True)
class Page:
    number: int
    data: bytes  # of a private page: header and ciphertext of its packet
    private: bool


@dataclass(frozen=True)
class State:
    data: bytes
    vcpu: int | None  # None: the guest's own


Record = Header | Page | State | bytes  # bytes: the shared pages' bits


def header(data: bytes) -> Header:
    """Of a header record's content; Damaged where a number is out of its range."""
    version = int.from_bytes(data[:4], "little")
    if version != VERSION:
        raise Damaged(f"this stream has version {version}: this tool reads version {VERSION}")
    if len(data) != _HEADER.size:
        raise Damaged("the stream's header has another length")
    _, policy, major, minor, build, control, vcpus, memory, name, target, pdh, session = _HEADER.unpack(data)
    name = name.rstrip(b"\0")
    if not _NAME.fullmatch(name):
        raise Damaged("the stream's guest has a name that no guest can have")
    if not 1 <= vcpus <= MOST_VCPUS:
        raise Damaged(f"the stream's guest has {vcpus} vCPUs, not 1 to {MOST_VCPUS}")
    if not 0 < memory <= MOST_MEMORY or memory % PAGE:
        raise Damaged(f"the stream's guest has {memory} bytes of memory, which no guest has")
    found = Header(name.decode(), policy, (major, minor, build), control, vcpus, memory, target, pdh, session)
    if found.bytes() != data:
        raise Damaged("the stream's header has bits set that mean nothing")
    return found


def bitmap_size(pages: int) -> int:
    return (pages + 7) // 8


def is_set(bits: bytes, page: int) -> bool:
    return bits[page // 8] >> page % 8 & 1 != 0


def bitmap(pages: int, of: set[int]) -> bytes:
    bits = bytearray(bitmap_size(pages))
    for page in of:
        bits[page // 8] |= 1 << page % 8
    return bytes(bits)


class _Order:
    """What may follow what: shared by those who write a stream and those who read one."""

    def __init__(self) -> None:
        self.header: Header | None = None
        self.shared: bytes | None = None
        self._next_page = 0
        self._next_vcpu = -1  # -1: the guest's state is to come
        self.private = self.plain = 0

    @property
    def complete(self) -> bool:
        return self.header is not None and self._next_vcpu == self.header.vcpus

    def lengths(self, kind: int) -> range:
        """That a record of this kind may have now; none: it may not stand here."""
        states = range(1, MOST_STATE + 1)
        found = self.header
        if found is None:
            return range(_HEADER.size, _HEADER.size + 1) if kind == Kind.HEADER else range(0)
        if self.shared is None:
            size = bitmap_size(found.pages)
            return range(size, size + 1) if kind == Kind.SHARED else range(0)
        allowed: dict[int, range] = {
            Kind.PRIVATE: range(4 + PACKET, 4 + PACKET + 1) if self._next_vcpu < 0 else range(0),
            Kind.PLAIN: range(4 + PAGE, 4 + PAGE + 1) if self._next_vcpu < 0 else range(0),
            Kind.GUEST: states if self._next_vcpu < 0 else range(0),
            Kind.VCPU: range(5, MOST_STATE + 5) if 0 <= self._next_vcpu < found.vcpus else range(0),
            Kind.END: range(_END.size, _END.size + 1) if self.complete else range(0),
        }
        return allowed.get(kind, range(0))

    def take(self, kind: int, content: bytes) -> Record:
        """Notes a record of an allowed kind and length; returns what it says."""
        if kind == Kind.HEADER:
            self.header = header(content)
            return self.header
        assert self.header
        if kind == Kind.SHARED:
            spare = self.header.pages % 8
            if spare and content[-1] >> spare:
                raise Damaged("the stream's list of shared pages names some behind the guest's memory")
            self.shared = content
            return content
        if kind == Kind.GUEST:
            self._next_vcpu = 0
            return State(content, None)
        number = _NUMBER.unpack_from(content)[0]
        if kind == Kind.VCPU:
            if number != self._next_vcpu:
                raise Damaged(f"the stream has vCPU {number} where vCPU {self._next_vcpu} belongs")
            self._next_vcpu += 1
            return State(content[4:], number)
        return self._page(number, content[4:], kind == Kind.PRIVATE)

    def _page(self, number: int, data: bytes, private: bool) -> Page:
        assert self.header and self.shared is not None
        if number >= self.header.pages:
            raise Damaged(f"the stream has page {number}, which lies behind the guest's memory")
        if number < self._next_page:
            raise Damaged(f"the stream has page {number} twice, or out of its order")
        if private == is_set(self.shared, number):
            raise Damaged(f"the stream has page {number} as private and as shared")
        self._next_page = number + 1
        self.private += private
        self.plain += not private
        return Page(number, data, private)


class Writer:
    """Writes a stream. It is whole after `end`, and of no use without."""

    def __init__(self, sink: Sink, found: Header, shared: bytes) -> None:
        self._sink, self._order, self._sum = sink, _Order(), hashlib.sha256()
        self.bytes = 0
        self._write(MAGIC)
        self._record(Kind.HEADER, found.bytes())
        self._record(Kind.SHARED, shared)

    def _write(self, data: bytes) -> None:
        self._sum.update(data)
        self._sink.write(data)
        self.bytes += len(data)

    def _record(self, kind: Kind, content: bytes) -> None:
        if len(content) not in self._order.lengths(kind):
            raise Damaged(f"the stream cannot have this here: {kind.name.lower()}, {len(content)} bytes")
        self._order.take(kind, content)
        self._write(_RECORD.pack(kind, len(content)) + content)

    def page(self, page: Page) -> None:
        self._record(Kind.PRIVATE if page.private else Kind.PLAIN, _NUMBER.pack(page.number) + page.data)

    def state(self, state: State) -> None:
        if state.vcpu is None:
            self._record(Kind.GUEST, state.data)
        else:
            self._record(Kind.VCPU, _NUMBER.pack(state.vcpu) + state.data)

    def end(self) -> bytes:
        """The sum, which names the stream."""
        if not self._order.complete:
            raise Damaged("the stream lacks states of the guest's vCPUs")
        head = _RECORD.pack(Kind.END, _END.size) + struct.pack("<II", self._order.private, self._order.plain)
        self._write(head)
        found = self._sum.digest()
        self._write(found)
        return found


class Reader:
    """Reads a stream, record by record. What it has given is true only when `records` has ended without Damaged."""

    def __init__(self, source: Source) -> None:
        self._source, self._order, self._sum = source, _Order(), hashlib.sha256()
        self.sum = b""  # when it has ended
        self.bytes = 0

    @property
    def private(self) -> int:
        return self._order.private

    @property
    def plain(self) -> int:
        return self._order.plain

    def _read(self, size: int) -> bytes:
        """No more is held than has come."""
        data = bytearray()
        while len(data) < size:
            chunk = self._source.read(min(size - len(data), _CHUNK))
            if not chunk:
                raise Damaged(f"the stream is cut: it ends after {self.bytes + len(data)} bytes")
            data += chunk
        self.bytes += size
        return bytes(data)

    def _taken(self, size: int) -> bytes:
        data = self._read(size)
        self._sum.update(data)
        return data

    def records(self) -> Iterator[Record]:
        if self._taken(len(MAGIC)) != MAGIC:
            raise Damaged("this is no snapshot of a guest")
        while True:
            kind, length = _RECORD.unpack(self._taken(_RECORD.size))
            if length not in self._order.lengths(kind):
                raise Damaged(f"the stream is damaged: at byte {self.bytes - _RECORD.size} no such record can stand")
            if kind == Kind.END:
                break
            yield self._order.take(kind, self._taken(length))
        self._finish()

    def _finish(self) -> None:
        counts = self._taken(_END.size - 32)
        self.sum = self._read(32)
        if self.sum != self._sum.digest():
            raise Damaged("the stream is damaged: its sum is not that of its bytes")
        if struct.unpack("<II", counts) != (self.private, self.plain):
            raise Damaged("the stream has other pages than it counts")
        if self._source.read(1):
            raise Damaged("bytes follow the stream's end")


def verify(source: Source) -> tuple[Header, Reader]:
    """Reads the whole stream; Damaged, or what it is."""
    reader = Reader(source)
    found: Header | None = None
    for record in reader.records():
        if isinstance(record, Header):
            found = record
    assert found
    return found, reader
