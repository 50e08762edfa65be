# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Guests' shares of the CPUs and their exits, from two looks at their status."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import output
from .connection import Connection, Status, Value
from .errors import Refused

# In the order of enum vcpu_exit_kind.
EXITS = (
    "other",
    "interrupt",
    "window",
    "cpuid",
    "msr",
    "io",
    "hlt",
    "vmmcall",
    "exception",
    "cache",
    "cr",
    "forbidden",
)
COLUMNS = ("name", "state", "vcpus", "cpu%", "exits/s", "most")


@dataclass(frozen=True)
class Sample:
    platform: Status
    guests: dict[str, Status] = field(default_factory=dict)


def sample(sevisor: Connection) -> Sample:
    guests: dict[str, Status] = {}
    for name in sevisor.names():
        try:
            guests[name] = sevisor.status(name)
        except Refused:
            pass  # gone meanwhile
    return Sample(sevisor.platform(), guests)


def _number(found: Status | None, key: str) -> int:
    value = found.get(key) if found else None
    return value if isinstance(value, int) else 0


def _exits(found: Status | None) -> list[int]:
    value = found.get("exits") if found else None
    return value if isinstance(value, list) else [value] if isinstance(value, int) else []


def seconds(before: Sample, after: Sample) -> float:
    """By the server's own clock."""
    cycles = _number(after.platform, "tsc") - _number(before.platform, "tsc")
    return max(cycles, 1) / (1000 * max(_number(after.platform, "tsc-khz"), 1))


def rates(before: Sample, after: Sample) -> list[dict[str, Value | float]]:
    """A row each: cpu% of one CPU, so a guest of two vCPUs has up to 200; exits a second, and the most frequent kind."""
    cycles = max(_number(after.platform, "tsc") - _number(before.platform, "tsc"), 1)
    time = seconds(before, after)
    rows: list[dict[str, Value | float]] = []
    for name, now in after.guests.items():
        was = before.guests.get(name)
        if was is None or _number(was, "launches") != _number(now, "launches"):
            was = None  # its counters began anew
        ran = max(_number(now, "run-tsc") - _number(was, "run-tsc"), 0)
        earlier = _exits(was)
        exits = [max(count - (earlier[i] if i < len(earlier) else 0), 0) for i, count in enumerate(_exits(now))]
        most = max(range(len(exits)), key=exits.__getitem__) if any(exits) else None
        rows.append(
            {
                "name": name,
                "state": now.get("state", ""),
                "vcpus": now.get("vcpus", 0),
                "cpu%": round(100 * ran / cycles, 1),
                "exits/s": round(sum(exits) / time),
                "most": "" if most is None else EXITS[most] if most < len(EXITS) else f"kind {most}",
            }
        )
    return sorted(rows, key=lambda row: row["cpu%"], reverse=True)  # type: ignore[arg-type, return-value]


def text(before: Sample, after: Sample, rows: list[dict[str, Value | float]]) -> str:
    platform = after.platform
    gib = 1 << 30
    head = (
        f"{len(rows)} guests on {output.text(platform.get('cpus'))} CPUs; "
        f"memory {_number(platform, 'memory-free') / gib:.1f} of {_number(platform, 'memory') / gib:.1f} GiB free; "
        f"ASIDs {_number(platform, 'asids-used')} of {_number(platform, 'asids')} used; "
        f"SEV commands {_number(platform, 'commands') - _number(before.platform, 'commands')}"
    )
    return f"{head}\n{output.table(rows, COLUMNS)}"
