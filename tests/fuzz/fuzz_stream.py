#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Fuzzes the reader of snapshots: what it takes is what was written, all else is refused in words, and nothing large is held.

    tests/fuzz/fuzz_stream.py --seconds 600 [--seed 7]
Half of the damaged streams get the sum that their bytes have, as a hostile writer would give them: what the reader takes of
those, the writer must write again, byte for byte.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import time
import tracemalloc
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "guest"), str(ROOT / "tests" / "ctl")]

import streams  # noqa: E402

from ctl import stream  # noqa: E402
from ctl.errors import Damaged  # noqa: E402


def again(data: bytes) -> bytes:
    """What the writer makes of what the reader took."""
    about, shared, *rest = streams.read(data)
    sink = io.BytesIO()
    writer = stream.Writer(sink, about, shared)
    for record in rest:
        writer.page(record) if isinstance(record, stream.Page) else writer.state(record)
    writer.end()
    return sink.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    good, chance, end = streams.write(), random.Random(args.seed), time.monotonic() + args.seconds
    runs = taken = 0
    tracemalloc.start()
    while time.monotonic() < end:
        runs += 1
        data = streams.damaged(good, chance)
        hostile = chance.random() < 0.5 and len(data) > 32
        data = streams.summed(data) if hostile else data
        try:
            same = again(data) == data
        except Damaged:
            continue
        finally:
            if tracemalloc.get_traced_memory()[1] > 32 << 20:
                print(f"seed {args.seed}, run {runs}: more than 32 MiB held", file=sys.stderr)
                return 1
        taken += 1
        if not same or not hostile and data != good:
            print(f"seed {args.seed}, run {runs}: a damaged stream was taken", file=sys.stderr)
            return 1
    print(f"{runs} streams, {taken} taken")
    return 0 if taken and runs > 10 else 1


if __name__ == "__main__":
    sys.exit(main())
