# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The control interface from a test's side: requests by way of the test guest guest/client.c."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import IntEnum

import packing
from emulator import Emulator
from packing import GuestSpec

DATA = 0x10000
WINDOW_SIZE = 1 << 20
LOG = 0xFFFFFFFF


class Op(IntEnum):
    """guest/control.h, enum control_operation."""

    NOTHING = 0
    PLATFORM_INFO = 1
    GUEST_INFO = 2
    INTERRUPT = 3
    LAUNCH = 8
    END = 9
    PAUSE = 10
    RESUME = 11
    STEP = 12
    SESSION = 13
    RECEIVE = 14
    CONSOLE_READ = 16
    CONSOLE_WRITE = 17
    VCPU_GET = 24
    VCPU_SET = 25
    MEMORY_READ = 26
    MEMORY_WRITE = 27
    PAGES = 28
    STATE_GET = 29
    STATE_SET = 30
    FIRMWARE = 32


class Result(IntEnum):
    OK = 0
    UNKNOWN = 1
    INVALID = 2
    NO_GUEST = 3
    STATE = 4
    POLICY = 5
    IN_USE = 6
    NO_SEV = 7
    SEV_FAILED = 8
    NOT_SHARED = 9
    LIMIT = 10


class State(IntEnum):
    NONE = 0
    LAUNCHING = 1
    SESSION = 2
    HELD = 3
    RUNNING = 4
    PAUSED = 5
    ENDING = 6
    ENDED = 7
    REFUSED = 8
    RECEIVING = 9


@dataclass(frozen=True)
class Answer:
    result: Result
    status: int
    size: int
    value: int
    text: str


@dataclass(frozen=True)
class Platform:
    version: int
    guests: int
    self: int
    cpus: int
    api: tuple[int, int, int]
    state: int
    owner: int
    sev_ready: int
    asids: int
    asids_used: int
    tsc_khz: int
    tsc: int
    memory: int
    memory_free: int
    commands: int
    command_us: int
    refusal: str


@dataclass(frozen=True)
class Guest:
    name: str
    state: State
    encryption: int
    vcpus: int
    policy: int
    asid: int
    handle: int
    launches: int
    end: int
    phase: int
    flags: int
    memory: int
    done: int
    total: int
    secret_gpa: int
    secret_size: int
    commands: int
    run_tsc: int
    alive_tsc: int
    exits: tuple[int, ...]
    console_first: int
    console_end: int
    digest: bytes
    measure: bytes
    mnonce: bytes
    end_reason: str


@dataclass(frozen=True)
class Event:
    kind: int
    guest: int
    vcpu: int
    code: int


@dataclass(frozen=True)
class Pages:
    """How many there are, and how many of them are ..."""

    all: int
    shared: int
    touched: int
    dirty: int


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode()


def client(name: str = "ctl", encryption: str = "none", **more) -> GuestSpec:
    keys = {"image": "${BUILD}/client.bin", **more.pop("keys", {})}
    return GuestSpec(name, "4M", encryption, keys, flags=("control",), **more)


class Client:
    """The control guest, attached to the operator's line. `number`: its place in the manifest, from 1."""

    def __init__(self, machine: Emulator, name: str = "ctl", number: int = 1) -> None:
        self.machine, self.name, self.sequence = machine, name, 0
        machine.wait_for(rf"^{name}\| client ready")
        machine.send(b"\x1d%d\r" % number)
        machine.wait_for(rf"^monitor: {name} is attached")

    def say(self, line: str, pattern: str) -> re.Match[str]:
        """Sends a line; what is answered to it."""
        begin = len(self.machine.console.text)
        pattern += "" if pattern.startswith("at ") else ";"
        self.machine.send(line.encode() + b"\n")
        self.machine.wait_for(rf"\A(?s:.{{{begin}}})(?s:.*?)^{self.name}\| {pattern}\n")
        found = re.compile(rf"^{self.name}\| {pattern}\n", re.M).search(self.machine.console.text, begin)
        assert found
        return found

    def ask(
        self, op: int, guest: int = 0, vcpu: int = 0, *, address: int = 0, argument: int = 0, data: int = DATA,
        size: int = 0, command: int = 0, buffer: bytes = b"",
    ) -> Answer:  # fmt: skip
        self.sequence += 1
        words = [op, guest, vcpu, address, argument, data, size, command]
        words += struct.unpack(f"<{(len(buffer) + 7) // 8}Q", buffer.ljust((len(buffer) + 7) // 8 * 8, b"\0"))
        said = self.say(
            "q " + " ".join(f"{word:x}" for word in words),
            rf"(?:silent|answer {self.sequence:x} (\w+) (\w+) (\w+) (\w+) ?(.*))",
        )
        assert said[1], "the request was not answered"
        numbers = [int(field, 16) for field in said.groups()[:4]]
        return Answer(Result(numbers[0]), *numbers[1:], said[5])

    def good(self, op: int, *where: int, **more) -> Answer:
        answer = self.ask(op, *where, **more)
        assert answer.result == Result.OK, answer
        return answer

    def read(self, offset: int, size: int) -> bytes:
        if size == 0:
            return b""
        begin = len(self.machine.console.text)
        last = offset + (size - 1) // 64 * 64
        self.say(f"r {offset:x} {size:x}", rf"at {last:x}: [0-9a-f]{{{2 * ((size - 1) % 64 + 1)}}}")
        lines = re.findall(rf"^{self.name}\| at (\w+): ([0-9a-f]+)$", self.machine.console.text[begin:], re.M)
        # A line that others' output interrupted is shown again, whole.
        pieces = {
            int(at, 16): bytes.fromhex(piece)
            for at, piece in sorted(lines, key=lambda line: len(line[1]))
            if len(piece) % 2 == 0
        }
        whole = b"".join(pieces[at] for at in range(offset, offset + size, 64))
        assert len(whole) == size
        return whole

    def write(self, offset: int, data: bytes) -> None:
        for at in range(0, len(data), 256):
            self.say(f"w {offset + at:x} {data[at : at + 256].hex()}", "written")

    def pages(self, index: int, size: int, *, track: bool = False) -> Pages:
        """PAGES of all of a guest's memory."""
        counts = [0] * 8
        for gpa in range(0, size, 64 << 20):
            npages = min(size - gpa, 64 << 20) >> 12
            answer = self.good(Op.PAGES, index, address=gpa, argument=int(track), size=npages)
            assert answer.size == npages
            said = self.say(f"c {DATA:x} {npages:x}", r"counts ([0-9a-f ]+)")[1]
            counts = [count + int(more, 16) for count, more in zip(counts, said.split(), strict=True)]
        shared, touched, dirty = (sum(counts[value] for value in range(8) if value & bit) for bit in (1, 2, 4))
        return Pages(sum(counts), shared, touched, dirty)

    def move(self, source: int, target: int, npages: int) -> tuple[int, int, int, int]:
        """Memory, in the control guest; how many pages were private, and how many shared; cycles of its TSC
        until it had the list, and then."""
        said = self.say(f"m {source:x} {target:x} {npages:x}", r"(?:moved (\w+) (\w+) (\w+) (\w+)|page .*|: .*)")
        assert said[1], said[0]
        self.sequence = int(self.say("s", r"sequence (\w+)")[1], 16)
        return int(said[1], 16), int(said[2], 16), int(said[3], 16), int(said[4], 16)

    def platform(self) -> Platform:
        answer = self.good(Op.PLATFORM_INFO, size=240)
        assert answer.size == 240
        f = struct.unpack("<4I4B5I5Q160s", self.read(DATA, 240))
        return Platform(*f[:4], f[4:7], f[7], *f[8:18], _text(f[18]))

    def guest(self, index: int) -> Guest:
        answer = self.good(Op.GUEST_INFO, index, size=616)
        assert answer.size == 616
        f = struct.unpack("<32s10I8Q16Q2Q32s32s16s256s", self.read(DATA, 616))
        return Guest(_text(f[0]), State(f[1]), *f[2:11], *f[11:19], f[19:35], *f[35:40], _text(f[40]))

    def wait_state(self, index: int, *states: State) -> Guest:
        for _ in range(100):
            guest = self.guest(index)
            if guest.state in states:
                return guest
        raise AssertionError(f"guest {index} is {guest.state.name}, none of {states}")

    def console(self, index: int, position: int = 0) -> tuple[int, bytes]:
        """From `position` on; where what is kept begins."""
        answer = self.good(Op.CONSOLE_READ, index, address=position, size=WINDOW_SIZE - DATA)
        return answer.value, self.read(DATA, answer.size)

    def fuzz(self, seed: int, count: int) -> int:
        """Random requests, the window changing meanwhile; how many were answered."""
        said = self.say(f"f {seed:x} {count:x}", rf"fuzzed {count:x}, answered (\w+)")
        self.sequence += count
        return int(said[1], 16)

    def events(self) -> list[Event]:
        (written,) = struct.unpack("<I", self.read(8, 4))
        assert written <= 128, "the ring has gone around: ask earlier"
        raw = self.read(0x1000, 16 * written)
        return [Event(*fields) for fields in struct.iter_unpack("<4I", raw)]


def hello(name: str, *words: str, encryption: str = "none", **more) -> GuestSpec:
    return packing.hello(name, encryption, " ".join(words), **more)
