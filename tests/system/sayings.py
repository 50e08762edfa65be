# SPDX-License-Identifier: BSD-2-Clause-Patent
"""What Sevisor says on the operator's console, for tests to read: one place to change when its words change."""

from __future__ import annotations

import re
from dataclasses import dataclass

FINAL_LINE = "sevisor: all guests ended as expected"
FINAL_LINE_NOT = "sevisor: not all guests ended as expected"

HELLO_HOLDS = "hello: holding, send a byte to go on"
LINUX_HOLDS = "sevisor-linux: holding, type a line to go on"
LINUX_PROMPT = "sevisor-linux: type a line: "

_MEASUREMENT = re.compile(
    r"^measurement (\S+): ([0-9a-f]{64}) nonce ([0-9a-f]{32}) policy 0x([0-9a-f]+) api (\d+)\.(\d+) build (\d+)$", re.M
)
_DIGEST = re.compile(r"^digest (\S+): ([0-9a-f]{64})$", re.M)
_END = re.compile(r"^ended (\S+): (\w+): (.*)$", re.M)
_REFUSED = re.compile(r"^\[ *\d+\.\d+\] error: (\S+) is refused: (.*)$", re.M)
_RESOURCES = re.compile(r"^resources: (\d+) ASIDs free, (\d+) pool pages free, (\d+) MiB free: (.*)$", re.M)
_LOG = re.compile(r"^\[ *\d+\.\d{6}\] (?:notice|error|guest|debug): .*$", re.M)


@dataclass(frozen=True)
class Measurement:
    measure: bytes
    nonce: bytes
    policy: int
    api: tuple[int, int, int]  # major, minor, build


def measurements(text: str) -> dict[str, Measurement]:
    return {
        m[1]: Measurement(bytes.fromhex(m[2]), bytes.fromhex(m[3]), int(m[4], 16), (int(m[5]), int(m[6]), int(m[7])))
        for m in _MEASUREMENT.finditer(text)
    }


def digests(text: str) -> dict[str, bytes]:
    return {m[1]: bytes.fromhex(m[2]) for m in _DIGEST.finditer(text)}


def ends(text: str) -> list[tuple[str, str, str]]:
    """(guest, how, why) of each launch that ended, in order."""
    return [(m[1], m[2], m[3]) for m in _END.finditer(text)]


def refusals(text: str) -> dict[str, str]:
    return {m[1]: m[2] for m in _REFUSED.finditer(text)}


@dataclass(frozen=True)
class Resources:
    asids: int
    pool_pages: int
    mib: int
    verdict: str


def resources(text: str) -> list[Resources]:
    return [Resources(int(m[1]), int(m[2]), int(m[3]), m[4]) for m in _RESOURCES.finditer(text)]


def log_lines(text: str) -> list[str]:
    """Lines of hv's log, with their time: they were put together at run time, and stand in no file."""
    return _LOG.findall(text)


def guest_lines(text: str, guest: str) -> list[str]:
    """What a guest printed, line by line, from behind its name."""
    return [line.split("| ", 1)[1] for line in text.split("\n") if line.startswith(f"{guest}| ")]
