# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What the system tests read the operator's line with."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator

import pytest

from console import Console

pytestmark = pytest.mark.unit


@pytest.fixture
def line() -> Iterator[tuple[Callable[..., Console], Callable[[bytes], None]]]:
    """The reader of a pipe, once it is asked for, and what writes there; b"" ends it. Its thread ends before its descriptors do:
    they are another's soon."""
    source, sink = os.pipe()
    consoles = []
    ended = []

    def write(data: bytes) -> None:
        if data:
            os.write(sink, data)
        elif not ended:
            ended.append(os.close(sink))

    def read(**words) -> Console:
        consoles.append(Console(os.fdopen(source, "rb", buffering=0), **words))
        return consoles[0]

    yield read, write
    write(b"")
    consoles[0].join(60)


def test_what_came_last_is_there_although_the_reader_gets_no_time(line, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = line
    wait = select.select

    def slow(*words):
        found = wait(*words)
        time.sleep(1)  # the host has others to run
        return found

    monkeypatch.setattr(select, "select", slow)
    console = read()
    write(b"resources: 10")
    write(b"38 ASIDs free\n")
    console.settle()
    assert console.text == "resources: 1038 ASIDs free\n"


def test_a_line_that_has_ended_is_settled(line) -> None:
    read, write = line
    console = read()
    write(b"the end\n")
    write(b"")
    console.join(60)
    console.settle()
    assert console.lines == ["the end", ""]


def test_a_slow_line_is_read_to_its_end(line) -> None:
    read, write = line
    console = read(rate=400)
    write(b"x" * 200)
    console.settle(0.01)
    assert console.raw == b"x" * 200
