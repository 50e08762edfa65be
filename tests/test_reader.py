# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What the system tests read the operator's line with."""

from __future__ import annotations

import os
import select
import time

import pytest

from console import Console

pytestmark = pytest.mark.unit


@pytest.fixture
def pipe():
    ends = os.pipe()
    source = os.fdopen(ends[0], "rb", buffering=0)
    yield source, ends[1]
    for close in (lambda: os.close(ends[1]), source.close):
        try:
            close()
        except OSError:
            pass  # the test did it


def test_what_came_last_is_there_although_the_reader_gets_no_time(pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    source, sink = pipe
    wait = select.select

    def slow(*words):
        found = wait(*words)
        time.sleep(1)  # the host has others to run
        return found

    monkeypatch.setattr(select, "select", slow)
    console = Console(source)
    os.write(sink, b"resources: 10")
    os.write(sink, b"38 ASIDs free\n")
    console.settle()
    assert console.text == "resources: 1038 ASIDs free\n"


def test_a_line_that_has_ended_is_settled(pipe) -> None:
    source, sink = pipe
    console = Console(source)
    os.write(sink, b"the end\n")
    os.close(sink)
    console.join(10)
    console.settle()
    assert console.lines == ["the end", ""]


def test_a_slow_line_is_read_to_its_end(pipe) -> None:
    source, sink = pipe
    console = Console(source, rate=400)
    os.write(sink, b"x" * 200)
    console.settle(0.01)
    assert console.raw == b"x" * 200
