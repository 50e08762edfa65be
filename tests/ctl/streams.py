# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Streams for tests, and what can happen to one: used by test_stream.py and by tests/fuzz/fuzz_stream.py."""

from __future__ import annotations

import hashlib
import io
import random
import struct

from ctl import stream
from ctl.stream import Header, Page, Reader, State, Writer

PAGES = 12
SHARED = {3, 4, 9}


def header(**changed: object) -> Header:
    fields: dict = {
        "name": "web", "policy": 0x1, "api": (1, 55, 24), "control": 1, "vcpus": 2, "memory": PAGES * 4096,
        "target": bytes(range(32)), "pdh": bytes(2084), "session": bytes(range(128)),
    }  # fmt: skip
    return Header(**{**fields, **changed})


def records() -> list[Page | State]:
    """Pages 2, 6, 7 were never touched."""
    found: list[Page | State] = []
    for number in range(PAGES):
        if number not in (2, 6, 7):
            private = number not in SHARED
            size = 52 * private + 4096
            found.append(Page(number, hashlib.shake_256(b"page %d" % number).digest(size), private))
    return [*found, State(b"guest" * 20, None), State(b"first" * 30, 0), State(b"second" * 30, 1)]


def write(found: list[Page | State] | None = None, about: Header | None = None) -> bytes:
    sink = io.BytesIO()
    writer = Writer(sink, about or header(), stream.bitmap(PAGES, SHARED))
    for record in records() if found is None else found:
        writer.page(record) if isinstance(record, Page) else writer.state(record)
    writer.end()
    return sink.getvalue()


def read(data: bytes) -> list:
    return list(Reader(io.BytesIO(data)).records())


def parts(data: bytes) -> list[bytes]:
    """The magic, then whole records."""
    found, at = [data[:8]], 8
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 4)[0]
        found.append(data[at : at + 8 + length])
        at += 8 + length
    return found


def summed(data: bytes) -> bytes:
    """With the sum that its bytes have: only what else is wrong can be noticed."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Another stream: bytes changed, cut out, put in; records dropped, doubled, swapped; numbers set to what is at a border."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        pieces = parts(data) if bytes(found) == data else None
        kind = chance.randrange(8)
        at = chance.randrange(len(found)) if found else 0
        if pieces and kind < 3:
            one, other = chance.randrange(len(pieces)), chance.randrange(len(pieces))
            if kind == 0:
                del pieces[one]
            elif kind == 1:
                pieces.insert(other, pieces[one])
            else:
                pieces[one], pieces[other] = pieces[other], pieces[one]
            found = bytearray(b"".join(pieces))
        elif pieces and kind < 5:  # in the heads and the first words of records
            starts = [sum(map(len, pieces[:i])) for i in range(1, len(pieces))]
            at = chance.choice(starts) + chance.randrange(0, 24)
            value = chance.choice((0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 4096, PAGES, PAGES - 1, 4152, 65))
            found[at : at + 4] = value.to_bytes(4, "little")
        elif kind == 5 and found:
            found[at] ^= 1 << chance.randrange(8)
        elif kind == 6:
            del found[at : at + chance.choice((1, 4, 8, 52, 4096, 1 << 20))]
        else:
            found[at:at] = chance.randbytes(chance.choice((1, 4, 8, 52, 4096)))
    return bytes(found)
