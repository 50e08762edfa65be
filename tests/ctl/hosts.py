# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Machines with a guest that can be sent and received, without lines between: each packet is answered at once, in virtual time.

Written from guest/control/README.md and guest/control.h, not from the client. What the SEV firmware encrypts is not the point
here (the SEV machine's is true), but who may open it is: a session is for one PDH, and a packet is of one session.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import ctl_fake as fake
import ctl_platforms as platforms
from ctl_fake import EACCES, EBUSY, EINVAL, EIO, Guest, Refusal

from ctl.connection import Connection
from ctl.errors import TimedOut, Unreached

PAGE = 4096
PAGES = 14
SHARED, TOUCHED, DIRTY = 1, 2, 4
RECORDS = {"packets": 4 + 52 + PAGE, "plain": 4 + PAGE}


class Clock:
    """Instead of the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class World:
    """All machines: who runs the guest, and who ever did."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.hosts: list[Host] = []
        self.arrived = False  # it has run at a target

    def look(self) -> None:
        running = [host for host in self.hosts if host.web.state == "running"]
        assert len(running) <= 1, "two machines run the guest"
        if any(host.received for host in running):
            self.arrived = True
        assert not self.arrived or not any(not host.received for host in running), "it came back to life at the source"


@dataclass
class Fault:
    """What happens to a host's packet number `at`, counted from 1."""

    at: int
    kind: str  # before, after: the line breaks before or after it was carried out; restart: so does the control guest, after
    again: bool = True  # connections work later


@dataclass
class Moving:
    """A guest's memory, and what its firmware knows of its way."""

    memory: bytearray = field(default_factory=lambda: bytearray(PAGES * PAGE))
    flags: bytearray = field(default_factory=lambda: bytearray(PAGES))
    state: str = "running"  # of the SEV firmware's guest
    keys: bytes = b""
    states: dict[int, bytes] = field(default_factory=dict)
    counter: int = 0
    shares: int = 1  # MIGRATION_CONTROL
    tsc_hz: int = fake.TSC_KHZ * 1000
    writes: bool = True  # to its memory, as it runs


class Host(fake.Machine):
    def __init__(self, world: World, platform: platforms.Platform, runs: bool) -> None:
        super().__init__()
        self.world, self.sev = world, platform
        self.web = Guest("web", state="running" if runs else "ended", launches=1, memory=bytearray(PAGES * PAGE))
        self.guests = [self.web]
        self.size = 0x4000
        self.moving = Moving()
        self.received = self.arrived = False
        self.remembered = b""  # by the control guest: the session
        self.records: dict[int, tuple[int, bytes]] = {}  # of open objects
        self.messages = 0
        self.fault: Fault | None = None
        self.spoil: Callable[[str, bytes], bytes] = lambda path, data: data  # of what goes over the line
        self.dead = False
        self.interrupted = 0  # Ctrl-C at this packet, whose answer comes yet
        self.lost = 0  # this packet's answer does not arrive
        self.commands = 0
        self.sent: list[int] = []  # pages, in order
        if runs:
            self._fill()
        world.hosts.append(self)

    def _fill(self) -> None:
        for page in range(PAGES):
            if page in (3, 4, 10):
                self.moving.flags[page] = SHARED | TOUCHED | DIRTY
            elif page not in (7, 11):
                self.moving.flags[page] = TOUCHED | DIRTY
            text = f"page {page}".encode() if self.moving.flags[page] else b"never seen"
            self.moving.memory[page * PAGE : (page + 1) * PAGE] = hashlib.shake_256(text).digest(PAGE)
        self.moving.memory[12 * PAGE : 13 * PAGE] = b"}$#*" * (PAGE // 4)  # what the line escapes, in a private page
        self.moving.memory[4 * PAGE : 5 * PAGE] = b"$" * PAGE  # and in a shared one

    # -------------------------------------------------------------- time

    def tick(self) -> None:
        """The guest runs for a while: counts, writes a private and a shared page, sometimes shares another one."""
        if self.web.state == "running" and self.moving.writes:
            self.moving.counter += 1
            self.write(1, self.moving.counter)
            self.write(3, self.moving.counter)
            if self.moving.counter == 40:
                self.moving.flags[9] |= SHARED | DIRTY
                self.moving.flags[10] = TOUCHED | DIRTY
        self.world.look()

    def write(self, page: int, value: int) -> None:
        self.moving.memory[page * PAGE : page * PAGE + 8] = value.to_bytes(8, "little")
        self.moving.flags[page] |= TOUCHED | DIRTY

    def seen(self) -> tuple[bytes, ...]:
        """Memory as the guest has seen it."""
        return tuple(
            bytes(self.moving.memory[page * PAGE : (page + 1) * PAGE])
            for page in range(PAGES)
            if self.moving.flags[page] & (SHARED | TOUCHED)
        )

    # -------------------------------------------------------------- the line

    def connect(self) -> Connection:
        if self.dead:
            raise TimedOut("no connection")
        return Connection(Wire(self), 5.0)

    def packet(self, data: bytes) -> bytes:
        """The answer; Unreached: the line broke."""
        self.world.clock.now += 0.001
        if data == b"vMustReplyEmpty":
            return b""
        self.messages += 1
        fault = self.fault if self.fault and self.fault.at == self.messages else None
        if fault and fault.kind == "before":
            self.break_line(fault)
        answer = self.answer(data)
        self.tick()
        if fault:
            if fault.kind == "restart":
                self.handles.clear()
                self.remembered = b""
            self.break_line(fault)
        return answer

    def break_line(self, fault: Fault) -> None:
        self.dead = not fault.again
        raise Unreached("the line broke")

    # -------------------------------------------------------------- objects

    def platform_status(self) -> bytes:
        self.platform = {"commands": str(self.commands), "command-us": str(self.commands * 1000)}
        return super().platform_status()

    def content(self, path: str) -> bytes:
        whole = {"/platform/pdh": self.sev.pdh, "/platform/chain": self.sev.exported[2084:]}
        if path in whole:
            return whole[path]
        found = re.fullmatch("/guest/web/(pages-|dirty-|state-|send|packets|plain)([0-9a-f]*)", path)
        if not found:
            return super().content(path)
        item, number = found[1], int(found[2] or "0", 16)
        if item in ("pages-", "dirty-"):
            return self.spoil(item, self.summed(number, self.pages(item, number)))
        if item == "state-":
            self.need("paused")
            return self.spoil(item, self.summed(number, self.state_of(number)))
        if item == "send":
            if not self.remembered:
                raise Refusal(EBUSY, "the last SEND_START was none of this guest's")
            return self.remembered
        return b""

    @staticmethod
    def summed(number: int, data: bytes) -> bytes:
        return zlib.crc32(number.to_bytes(8, "little") + data).to_bytes(4, "little") + data

    def need(self, *states: str) -> None:
        if self.web.state not in states:
            raise Refusal(EBUSY, f"guest web is {self.web.state}, not {' or '.join(states)}")

    def pages(self, item: str, first: int) -> bytes:
        self.need("running", "paused")
        found = bytes(self.moving.flags[first:])
        if item == "dirty-":
            for page in range(first, PAGES):
                self.moving.flags[page] &= ~DIRTY & 0xFF
        return found

    def state_of(self, number: int) -> bytes:
        if number == 0xFF:
            counter, hz = self.moving.counter.to_bytes(8, "little"), self.moving.tsc_hz.to_bytes(8, "little")
            return b"head" * 3 + self.moving.shares.to_bytes(4, "little") + counter * 2 + hz + counter * 97
        if number > 1:
            raise Refusal(EINVAL, "no such vCPU")
        return b"vcpu%d" % number + self.moving.counter.to_bytes(8, "little") * 20

    def opened(self, path: str, writing: bool) -> fake.Handle:
        if writing and re.fullmatch("/guest/web/(send|packets|plain|state-[0-9a-f]+)", path):
            return fake.Handle(path, True)
        return super().opened(path, writing)

    def live(self, handle: fake.Handle) -> bytes:
        raise AssertionError

    def file_answer(self, packet: bytes) -> bytes:
        operation, _, rest = packet.partition(b":")
        if operation == b"pread":
            number, size, offset = (int(word, 16) for word in rest.split(b","))
            if number not in self.handles:
                raise Refusal(fake.EBADF, "it is not open")
            handle = self.handles[number]
            data = self.pread(handle, number, size, offset)
            room = 0x4000 - 64
            while len(escaped := data) and len(data) + sum(map(data.count, b"}$#*")) > room:
                data = escaped[: len(escaped) - 256]
            return b"%x;%s" % (len(data), data)
        return super().file_answer(packet)

    def pread(self, handle: fake.Handle, number: int, size: int, offset: int) -> bytes:
        item = handle.path.rpartition("/")[2]
        if item not in RECORDS:
            return handle.data[offset : offset + size]
        one = RECORDS[item]
        if offset % one == 0:
            count = max(1, min(size // one, 3))
            made = b"".join(self.record(item, offset // one + i) for i in range(count))
            self.records[number] = (offset, made)
        first, made = self.records.get(number, (0, b""))
        if not first <= offset < first + len(made):
            raise Refusal(EINVAL, "a record is read from its beginning")
        return made[offset - first : offset - first + size]

    def record(self, item: str, page: int) -> bytes:
        if page >= PAGES:
            raise Refusal(EINVAL, "no such page")
        data = bytes(self.moving.memory[page * PAGE : (page + 1) * PAGE])
        private = not self.moving.flags[page] & SHARED
        if item == "plain" and private:
            raise Refusal(EACCES, "the guest does not share this memory")
        if item == "plain":
            return self.spoil(item, self.summed(page, data))
        if self.moving.state != "sending":
            raise Refusal(EIO, "INVALID_GUEST_STATE")
        self.commands += 1
        self.sent.append(page)
        data = data if private else hashlib.shake_256(data).digest(PAGE)  # noise of the guest's key
        iv = os.urandom(16)
        ciphertext = self.crypt(iv, data)
        header = bytes(4) + iv + hmac.digest(self.moving.keys, iv + ciphertext, "sha256")
        return self.spoil(item, self.summed(page, header + ciphertext))

    def crypt(self, iv: bytes, data: bytes) -> bytes:
        stream = hashlib.shake_256(self.moving.keys + iv).digest(len(data))
        return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(len(data), "little")

    def written(self, handle: fake.Handle, offset: int, data: bytes) -> int:
        item = handle.path.rpartition("/")[2]
        if item not in RECORDS:
            return super().written(handle, offset, data)
        one, done = RECORDS[item], 0
        if offset % one or len(data) < one:
            raise Refusal(EINVAL, "records are written whole, each at its place")
        self.need("receiving")
        while len(data) - done >= one:
            try:
                self.put(item, (offset + done) // one, self.spoil(f"to {item}", data[done : done + one]))
            except Refusal:
                if done:
                    break
                raise
            done += one
        return done

    def put(self, item: str, page: int, record: bytes) -> None:
        if record != self.summed(page, record[4:]):
            raise Refusal(EINVAL, "damaged on the line, or of another place: its sum is wrong. Nothing of it was taken")
        if page >= PAGES:
            raise Refusal(EINVAL, "no such page")
        data = record[4:]
        if item == "packets":
            self.commands += 1
            iv, mac, ciphertext = data[4:20], data[20:52], data[52:]
            if data[:4] != bytes(4) or not hmac.compare_digest(
                mac, hmac.digest(self.moving.keys, iv + ciphertext, "sha256")
            ):
                raise Refusal(
                    EIO, "RECEIVE_UPDATE_DATA: BAD_MEASUREMENT: The packet is damaged, or of another session."
                )
            data = self.crypt(iv, ciphertext)
        self.moving.memory[page * PAGE : (page + 1) * PAGE] = data
        self.moving.flags[page] = TOUCHED | (SHARED if item == "plain" else 0)

    # -------------------------------------------------------------- what is carried out

    def carry_out(self, path: str, data: bytes) -> None:
        item = path.rpartition("/")[2]
        if item == "send":
            self.send_start(data)
        elif item.startswith("state-"):
            number = int(item[6:], 16)
            self.need("receiving")
            data = self.spoil("to state", data)
            if data != self.summed(number, data[4:]):
                raise Refusal(
                    EINVAL, "damaged on the line, or of another place: its sum is wrong. Nothing of it was taken"
                )
            self.moving.states[number] = data[4:]
            self.done.append(path)
        else:
            super().carry_out(path, data)
            self.world.look()

    def send_start(self, data: bytes) -> None:
        self.need("running", "paused")
        if self.web.policy & 8:
            raise Refusal(EACCES, "policy")
        if self.moving.state != "running":
            raise Refusal(EIO, "SEND_START: INVALID_GUEST_STATE")
        body = os.urandom(96)
        self.moving.keys = hashlib.sha256(body).digest()
        self.moving.state = "sending"
        self.remembered = self.web.policy.to_bytes(4, "little") + body + hashlib.sha256(body + data[:2084]).digest()
        self.done.append("send")

    def session(self, guest: Guest, data: bytes) -> None:
        if guest.state != "session":
            raise Refusal(EBUSY, f"guest {guest.name} waits for no session")
        body, mac = data[-128:-32], data[-32:]
        if mac != hashlib.sha256(body + self.sev.pdh).digest():
            raise Refusal(EIO, "RECEIVE_START: BAD_MEASUREMENT: the session is for another PDH")
        self.moving.keys = hashlib.sha256(body).digest()
        self.web.policy = int.from_bytes(data[:4], "little")
        guest.goes("receiving")

    def guest_command(self, guest: Guest, data: bytes) -> None:
        word, moving = data.decode(), self.moving
        if word == "receive":
            self.need("none", "ended", "refused")
            self.moving = Moving(state="receiving")
            guest.end_reason, self.received = "", True
            guest.launches += 1
            guest.goes("launching", "session")
        elif word in ("send-finish", "send-cancel"):
            self.need("paused", *(["running"] if word == "send-cancel" else []))
            if moving.state != "sending":
                raise Refusal(EIO, "INVALID_GUEST_STATE")
            moving.state = "sent" if word == "send-finish" else "running"
            if word == "send-finish":
                guest.end_reason = "sent to another platform by the control guest"
                guest.goes("ended")
        elif word == "receive-finish":
            self.need("receiving")
            if set(moving.states) != {0, 1, 0xFF}:
                raise Refusal(EBUSY, "states lack")
            moving.state = "received"
        elif word == "yours":
            self.need("receiving")
            if moving.state != "received":
                raise Refusal(EBUSY, "not all of it has come")
            moving.counter = int.from_bytes(moving.states[0xFF][16:24], "little")
            assert moving.states[0] == self.state_of(0) and moving.states[1] == self.state_of(1)
            moving.state = "running"
            self.arrived, self.arrived_with = True, self.seen()
            guest.goes("running")
        elif word == "end" and guest.state == "receiving":
            guest.goes("ended")
        else:
            super().guest_command(guest, data)


class Wire:
    """A line to a host."""

    def __init__(self, host: Host) -> None:
        self._host, self._in, self._out, self._broken = host, bytearray(), bytearray(), False
        self._late = b""  # comes with the next answer

    def read(self, seconds: float) -> bytes:
        if self._broken:
            raise Unreached("the line broke")
        found = bytes(self._out)
        self._out.clear()
        if not found:
            self._host.world.clock.now += seconds
        return found

    def write(self, data: bytes, seconds: float) -> None:
        if self._broken or self._host.dead:
            self._broken = True
            raise Unreached("the line broke")
        self._out += self._late
        self._late = b""
        self._in += data
        while (found := re.match(rb"[^$]*\$([^#]*)#(..)", self._in, re.S)) is not None:
            body, told = bytes(found[1]), int(found[2], 16)
            del self._in[: found.end()]
            assert told == sum(body) % 256
            packet = fake.unframed(body)
            try:
                answer = self._host.packet(packet)
            except Unreached:
                self._broken = True
                raise
            if self._host.interrupted == self._host.messages and packet != b"vMustReplyEmpty":
                self._host.interrupted = 0
                self._late = b"+" + fake.framed(answer)
                raise KeyboardInterrupt
            if self._host.lost == self._host.messages and packet != b"vMustReplyEmpty":
                self._host.lost = 0
                continue
            last = (
                b"".join(map(fake.framed, answer.split(b"\0"))) if packet.startswith(b"qRcmd") else fake.framed(answer)
            )
            self._out += b"+" + last

    def close(self) -> None:
        self._broken = True
