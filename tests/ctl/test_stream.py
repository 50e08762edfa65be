# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The stream of a guest that travels: what was written is read; whatever else happened to it is refused, whole."""

from __future__ import annotations

import dataclasses
import io
import random
import struct

import ctl_streams as streams
import pytest

from ctl import stream
from ctl.errors import Damaged
from ctl.stream import Page, State

GOOD = streams.write()


def test_what_was_written_is_read() -> None:
    found = streams.read(GOOD)
    assert found[0] == streams.header()
    assert found[1] == bytes((0b00011000, 0b00000010))
    assert found[2:] == streams.records()
    about, reader = stream.verify(io.BytesIO(GOOD))
    assert (about.name, about.pages, reader.private, reader.plain) == ("web", 12, 6, 3)
    assert reader.sum == GOOD[-32:] and reader.bytes == len(GOOD)


def test_what_comes_in_pieces_is_read_as_well() -> None:
    class Pipe:
        def __init__(self) -> None:
            self.data = io.BytesIO(GOOD)

        def read(self, size: int) -> bytes:
            return self.data.read(min(size, 7))

    assert list(stream.Reader(Pipe()).records()) == streams.read(GOOD)


def test_a_stream_that_is_cut_anywhere_is_refused() -> None:
    borders = {0, 8}
    for part in streams.parts(GOOD):
        borders.add(max(borders) + len(part))
    for size in sorted(
        {*borders, *range(0, len(GOOD), 997), len(GOOD) - 1, len(GOOD) - 32} - {max(borders), len(GOOD)}
    ):
        if size < len(GOOD):
            with pytest.raises(Damaged, match="cut"):
                streams.read(GOOD[:size])


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(Damaged, match="follow the stream's end"):
        streams.read(GOOD + b"\0")


@pytest.mark.parametrize("step", [1, 101])
def test_a_changed_bit_anywhere_is_refused(step: int) -> None:
    """Of every byte of the heads, and of some in the pages."""
    places = (
        range(0, len(GOOD), step)
        if step > 1
        else [*range(0, 400), *range(2300, 2420), *range(len(GOOD) - 700, len(GOOD))]
    )
    for at in places:
        changed = bytearray(GOOD)
        changed[at] ^= 1 << at % 8
        with pytest.raises(Damaged):
            streams.read(bytes(changed))


def test_pages_that_changed_places_are_refused_though_each_is_whole() -> None:
    """Contents of two pages, and whole records."""
    records = streams.records()
    a, b = records[0], records[1]
    assert isinstance(a, Page) and isinstance(b, Page)
    other = [dataclasses.replace(a, data=b.data), dataclasses.replace(b, data=a.data), *records[2:]]
    swapped = streams.write(other)[:-32] + GOOD[-32:]
    assert swapped[:-32] != GOOD[:-32]
    with pytest.raises(Damaged, match="sum"):
        streams.read(swapped)
    parts = streams.parts(GOOD)
    parts[3], parts[4] = parts[4], parts[3]
    with pytest.raises(Damaged, match="page 0 twice, or out of its order"):
        streams.read(streams.summed(b"".join(parts)))


# What a hostile writer can do: its sum is right. (kind of record, which of them, offset in its content, word, expected words)
@pytest.mark.parametrize(
    ("record", "offset", "value", "words"),
    [
        (1, 0, 2, "version 2"),
        (1, 16, 0, "vCPUs"),
        (1, 16, 65, "vCPUs"),
        (1, 20, 4097, "memory"),
        (1, 20, 0, "memory"),
        (1, 24, 0x101, "memory"),
        (1, 28, 0x2F2E2E2F, "name"),
        (1, 28, 0, "name"),
        (1, 11, 1, "mean nothing"),
        (1, 31, 1, "name"),
        (2, 0, 0xFFFFFFFF, "behind the guest's memory"),
        (2, 0, 0x0219, "private and as shared"),
        (3, 0, 12, "behind"),
        (3, 0, 0xFFFFFFFF, "behind"),
        (3, 0, 3, "private and as shared"),
        (4, 0, 0, "twice"),
        (5, 0, 2, "private and as shared"),
        (13, 0, 1, "vCPU 1 where vCPU 0"),
        (14, 0, 0, "vCPU 0 where vCPU 1"),
        (15, 0, 7, "other pages than it counts"),
        (15, 4, 2, "other pages than it counts"),
    ],
)  # fmt: skip
def test_a_number_out_of_its_range_is_refused_by_name(record: int, offset: int, value: int, words: str) -> None:
    parts = streams.parts(GOOD)
    changed = bytearray(parts[record])
    size = 1 if offset in (11, 31) else min(4, len(changed) - 8 - offset)
    changed[8 + offset : 8 + offset + size] = value.to_bytes(4, "little")[:size]
    assert len(changed) == len(parts[record])
    parts[record] = bytes(changed)
    with pytest.raises(Damaged, match=words):
        streams.read(streams.summed(b"".join(parts)))


@pytest.mark.parametrize("record", range(1, 16))
@pytest.mark.parametrize("length", [0, 1, 5000, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wrong_length_is_refused_before_anything_of_it_is_read(record: int, length: int) -> None:
    parts = streams.parts(GOOD)
    at = sum(map(len, parts[:record]))
    data = GOOD[: at + 4] + struct.pack("<I", length) + GOOD[at + 8 :]

    class Counted(io.BytesIO):
        most = 0

        def read(self, size: int = -1) -> bytes:
            self.most = max(self.most, self.tell() + size)
            return super().read(size)

    source = Counted(data)
    least = {stream.Kind.GUEST: 1, stream.Kind.VCPU: 5}.get(parts[record][0], 1 << 32)
    allowed = least <= length <= stream.MOST_STATE
    with pytest.raises(Damaged):
        list(stream.Reader(source).records())
    assert allowed or source.most == at + 8


@pytest.mark.parametrize("kind", [0, 8, 255, 0xFFFFFFFF, *(kind for kind in stream.Kind)])
@pytest.mark.parametrize("record", [1, 2, 3, 12, 13, 14, 15])
def test_a_record_where_it_does_not_belong_is_refused(record: int, kind: int) -> None:
    parts = streams.parts(GOOD)
    if parts[record][0] == kind:
        return
    parts[record] = struct.pack("<I", kind) + parts[record][4:]
    with pytest.raises(Damaged):
        streams.read(streams.summed(b"".join(parts)))


@pytest.mark.parametrize("left_out", range(16))
def test_a_record_that_lacks_is_noticed(left_out: int) -> None:
    """But for a page: that it lacks only the sum and the counts tell."""
    parts = streams.parts(GOOD)
    del parts[left_out]
    data = b"".join(parts)
    with pytest.raises(Damaged):
        streams.read(streams.summed(data) if left_out < 15 else data)


def test_a_stream_without_its_states_cannot_be_written() -> None:
    with pytest.raises(Damaged, match="lacks states"):
        streams.write(streams.records()[:-1])


@pytest.mark.parametrize(
    "wrong",
    [
        [Page(0, bytes(4096), False)],
        [Page(3, bytes(4148), True)],
        [Page(0, bytes(4147), True)],
        [Page(12, bytes(4148), True)],
        [Page(1, bytes(4148), True), Page(1, bytes(4148), True)],
        [Page(1, bytes(4148), True), Page(0, bytes(4148), True)],
        [State(b"", None)],
        [State(bytes(65537), None)],
        [State(b"vcpu", 0)],
        [State(b"guest", None), State(b"vcpu", 1)],
        [State(b"guest", None), State(b"vcpu", 0), State(b"vcpu", 0)],
        [State(b"guest", None), Page(0, bytes(4148), True)],
    ],
)
def test_what_no_reader_takes_cannot_be_written(wrong: list) -> None:
    with pytest.raises(Damaged):
        streams.write(wrong)


@pytest.mark.parametrize("changed", [{"name": ""}, {"name": "a/b"}, {"vcpus": 0}, {"memory": 5}])
def test_a_header_that_no_reader_takes_cannot_be_written(changed: dict) -> None:
    with pytest.raises(Damaged):
        streams.write(about=streams.header(**changed))


def test_a_fuzzed_stream_is_the_same_or_refused() -> None:
    """The fuzzer's first thousand; tests/fuzz/fuzz_stream.py goes on."""
    chance = random.Random(5)
    for _ in range(1000):
        data = streams.damaged(GOOD, chance)
        if data != GOOD:
            with pytest.raises(Damaged):
                streams.read(data)
