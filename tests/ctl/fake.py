# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A control guest in memory: the objects of guest/control/README.md over RSP, and a line that damages what it is told to.

Written from that page and from GDB's manual, not from the client: its framing is its own.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import select
import socket
import subprocess
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ENOENT, EIO, EBADF, EACCES, EBUSY, EINVAL, EMFILE, EFBIG, ENOSPC = 2, 5, 9, 13, 16, 22, 24, 27, 28
MEASURED = ("held", "running", "paused")
TSC_KHZ = 1000

REGISTERS = ("rax", "rbx", "rip", "eflags")
TARGET = '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0"><xi:include href="core.xml"/></target>'
CORE = (
    '<?xml version="1.0"?><feature name="org.gnu.gdb.i386.core">'
    + "".join(f'<reg name="{name}" bitsize="{32 if name == "eflags" else 64}" type="int"/>' for name in REGISTERS)
    + '<reg name="st0" bitsize="80" type="i387_ext"/></feature>'
)


def certificate(number: int) -> bytes:
    return hashlib.shake_256(b"certificate %d" % number).digest(2084)


@dataclass
class Guest:
    name: str
    encryption: str = "sev"
    state: str = "none"
    policy: int = 0x1
    at_launch: bool = False  # waits for its session
    require_secret: bool = False
    memory: bytearray = field(default_factory=lambda: bytearray(range(256)) * 1024)
    printed: bytearray = field(default_factory=bytearray)
    typed: bytearray = field(default_factory=bytearray)
    uart: int = 16  # bytes that it takes at a time; 0: none
    launches: int = 0
    looks: int = 0  # at its status, since its state last changed by a command
    next: str = ""  # state after some looks
    end_reason: str = ""
    got: dict[str, bytes] = field(default_factory=dict)  # session, secret
    run_tsc: int = 0

    def goes(self, now: str, then: str = "") -> None:
        self.state, self.next, self.looks = now, then, 0

    def looked(self) -> None:
        self.looks += 1
        if self.next and self.looks > 2:
            self.goes(self.next)


class Refusal(Exception):
    def __init__(self, errno: int, words: str) -> None:
        super().__init__(words)
        self.errno = errno


class Handle:
    def __init__(self, path: str, writing: bool, data: bytes = b"") -> None:
        self.path, self.writing, self.data, self.got = path, writing, data, bytearray()


class Machine:
    """What the control guest knows, and what it answers to a packet."""

    def __init__(self) -> None:
        self.guests = [
            Guest("web", state="running", launches=1, printed=bytearray(b"hello\r\nlogin: ")),
            Guest("db", at_launch=True, require_secret=True),
            Guest("plain", encryption="none", state="paused", launches=1, policy=0),
        ]
        self.handles: dict[int, Handle] = {}
        self.log = bytearray(b"Sevisor: 3 guests\n")
        self.why = ""
        self.done: list[str] = []  # what was carried out, in order
        self.attached: int | None = None
        self.tsc = 0
        self.size = 0x400
        self.platform: dict[str, str] = {}
        self.table: str | None = None  # instead of the true one
        self.hooks: dict[
            bytes, Callable[[bytes], bytes]
        ] = {}  # answers instead of the true ones, by a packet's beginning

    def guest(self, name: str) -> Guest:
        found = next((guest for guest in self.guests if guest.name == name), None)
        if found is None:
            raise Refusal(ENOENT, f"there is no guest {name}")
        return found

    # -------------------------------------------------------------- packets

    def answer(self, packet: bytes) -> bytes:
        for beginning, hook in self.hooks.items():
            if packet.startswith(beginning):
                return hook(packet)
        if packet.startswith(b"qSupported"):
            self.handles.clear()
            return b"PacketSize=%x;qXfer:osdata:read+;multiprocess+" % self.size
        if found := re.fullmatch(rb"qXfer:(osdata|features):read:([\w.-]*):([0-9a-f]+),([0-9a-f]+)", packet):
            return self.transfer(found[1].decode(), found[2].decode(), int(found[3], 16), int(found[4], 16))
        if packet.startswith(b"qRcmd,"):
            return self.monitor(bytes.fromhex(packet[6:].decode()).decode())
        if packet.startswith(b"vFile:"):
            return self.file(packet[6:])
        if found := re.fullmatch(rb"vAttach;([0-9a-f]+)", packet):
            return self.attach(int(found[1], 16))
        if found := re.fullmatch(rb"Hgp([0-9a-f]+)\.([0-9a-f]+)", packet):
            return b"OK" if int(found[1], 16) == self.attached and int(found[2], 16) <= 2 else b"E16"
        if packet == b"g":
            return (
                b"".join((0x1122 + i).to_bytes(8 if i < 3 else 4, "little").hex().encode() for i in range(4))
                + b"xx" * 10
            )
        if packet.startswith(b"D;"):
            if self.attached:
                self.guests[self.attached - 1].goes(self.found)
            self.attached = None
            return b"OK"
        return b""

    def attach(self, process: int) -> bytes:
        if not 1 <= process <= len(self.guests) or self.guests[process - 1].state not in ("running", "paused"):
            self.why = "the guest is neither running nor paused"
            return b"E10"
        if self.guests[process - 1].policy & 1:
            self.why = "policy 0x1 forbids debugging"
            return b"E.policy forbids debugging"
        self.attached, self.found = process, self.guests[process - 1].state
        self.guests[process - 1].goes("paused")
        return b"T05thread:p%x.1;" % process

    def transfer(self, kind: str, annex: str, offset: int, size: int) -> bytes:
        texts = {
            ("osdata", "guests"): self.rows,
            ("features", "target.xml"): lambda: TARGET,
            ("features", "core.xml"): lambda: CORE,
        }
        if (kind, annex) not in texts:
            return b"E00"
        data = texts[kind, annex]().encode()[offset:]
        # Escapes may double it.
        return (b"m" if len(data) > size // 2 else b"l") + data[: size // 2]

    def rows(self) -> str:
        if self.table is not None:
            return self.table
        items = []
        for i, guest in enumerate(self.guests):
            columns = {
                "Guest": i + 1, "Name": guest.name, "State": guest.state, "Encryption": guest.encryption, "vCPUs": 2,
                "Memory": len(guest.memory), "Policy": f"{guest.policy:#x}", "ASID": 0, "Launches": guest.launches,
            }  # fmt: skip
            cells = "".join(f'<column name="{name}">{value}</column>' for name, value in columns.items())
            items.append(f"<item>{cells}</item>")
        return f'<?xml version="1.0"?>\n<osdata type="guests">{"".join(items)}</osdata>\n'

    def monitor(self, command: str) -> bytes:
        return b"O" + f"{self.why}\n".encode().hex().encode() + b"\0OK" if command == "why" else b"OK"

    # -------------------------------------------------------------- files

    def file(self, packet: bytes) -> bytes:
        try:
            return b"F" + self.file_answer(packet)
        except Refusal as refusal:
            self.why = str(refusal)
            return b"F-1,%x" % refusal.errno

    def file_answer(self, packet: bytes) -> bytes:
        operation, _, rest = packet.partition(b":")
        if operation == b"open":
            name, flags, _ = rest.split(b",")
            if len(self.handles) == 4:
                raise Refusal(EMFILE, "four objects are open")
            handle = min(set(range(5)) - set(self.handles))
            self.handles[handle] = self.opened(bytes.fromhex(name.decode()).decode(), int(flags, 16) & 3 == 1)
            return b"%x" % handle
        number, _, rest = rest.partition(b",")
        handle = self.handles.get(int(number, 16))
        if handle is None:
            raise Refusal(EBADF, "it is not open")
        if operation == b"close":
            del self.handles[int(number, 16)]
            if handle.writing and handle.got:
                self.carry_out(handle.path, bytes(handle.got))
            return b"0"
        if operation == b"pread":
            size, offset = (int(word, 16) for word in rest.split(b","))
            data = self.live(handle)[offset : offset + min(size, (self.size - 32) // 2)]
            return b"%x;%s" % (len(data), data)
        if operation == b"pwrite":
            offset, _, data = rest.partition(b",")
            return b"%x" % self.written(handle, int(offset, 16), data)
        raise Refusal(EINVAL, "that is not offered")

    def live(self, handle: Handle) -> bytes:
        if handle.path == "/log":
            return bytes(self.log)
        if found := re.fullmatch("/guest/([^/]+)/(console|memory)", handle.path):
            guest = self.guest(found[1])
            return bytes(guest.printed if found[2] == "console" else guest.memory)
        return handle.data

    def opened(self, path: str, writing: bool) -> Handle:
        if not writing:
            return Handle(path, False, self.content(path))
        if not re.fullmatch(
            "/platform/(command|pek-import)|/guest/[^/]+/(command|console|secret|session|memory)", path
        ):
            raise Refusal(EACCES, f"{path} cannot be written")
        if path.startswith("/guest/"):
            guest = self.guest(path.split("/")[2])
            if path.endswith("memory"):
                self.debuggable(guest)
        return Handle(path, True)

    def written(self, handle: Handle, offset: int, data: bytes) -> int:
        if found := re.fullmatch("/guest/([^/]+)/(console|memory)", handle.path):
            guest = self.guest(found[1])
            if found[2] == "memory":
                guest.memory[offset : offset + len(data)] = data
                return len(data)
            if not guest.uart:
                guest.uart = 16
                raise Refusal(ENOSPC, "the UART is full")
            taken = min(guest.uart, len(data))
            guest.typed += data[:taken]
            return taken
        if offset > len(handle.got):
            raise Refusal(EINVAL, "a hole")
        handle.got[offset:] = data
        return len(data)

    @staticmethod
    def debuggable(guest: Guest) -> None:
        if guest.policy & 1:
            raise Refusal(EACCES, f"guest {guest.name}: policy {guest.policy:#x} forbids debugging")

    def content(self, path: str) -> bytes:
        platform = {
            "/platform/status": self.platform_status,
            "/platform/pdh": lambda: certificate(0),
            "/platform/chain": lambda: certificate(1) + certificate(2) + certificate(3),
            "/platform/id": lambda: bytes(range(64)) + bytes(range(64, 128)),
            "/platform/pek.csr": lambda: certificate(4),
            "/log": lambda: b"",
        }
        if path in platform:
            return platform[path]()
        found = re.fullmatch("/guest/([^/]+)/([^/]+)", path)
        if not found:
            raise Refusal(ENOENT, f"there is no {path}")
        guest, item = self.guest(found[1]), found[2]
        if item == "status":
            guest.looked()
            return self.status(guest)
        if item == "digest":
            return hashlib.sha256(guest.name.encode()).digest()
        if item == "memory":
            self.debuggable(guest)
            return b""
        if item == "console":
            return b""
        if item == "measurement":
            if guest.state not in MEASURED:
                raise Refusal(EBUSY, f"guest {guest.name} is not measured yet")
            return hashlib.sha256(b"measure " + guest.name.encode()).digest() + bytes(range(16))
        if nonce := re.fullmatch("report-([0-9a-f]{32})", item):
            if guest.state != "running":
                raise Refusal(EBUSY, f"guest {guest.name} does not run")
            head = (
                bytes.fromhex(nonce[1])
                + hashlib.sha256(guest.name.encode()).digest()
                + guest.policy.to_bytes(4, "little")
            )
            return head.ljust(208, b"\x5a")
        raise Refusal(ENOENT, f"there is no {path}")

    def platform_status(self) -> bytes:
        self.tsc += 1_000_000  # a second
        for guest in self.guests:
            if guest.state == "running":
                guest.run_tsc += 250_000
        found = {
            "version": 1, "guests": len(self.guests), "self": 2, "cpus": 4, "api": "1.55", "build": 31, "state": "working",
            "owner": "self", "sev-ready": "yes", "asids": 15, "asids-used": 1, "tsc-khz": TSC_KHZ, "tsc": self.tsc,
            "memory": 4 << 30, "memory-free": 3 << 30, "commands": 40, "command-us": 100, "refusal": "",
        } | self.platform  # fmt: skip
        return "".join(f"{key}: {value}\n" for key, value in found.items()).encode()

    def status(self, guest: Guest) -> bytes:
        exits = [0, 10, 0, 0, 0, guest.run_tsc // 1000, 5] + [0] * 9
        found = {
            "name": guest.name, "index": self.guests.index(guest), "state": guest.state, "encryption": guest.encryption, "vcpus": 2,
            "policy": f"{guest.policy:#x}", "asid": 1, "handle": 1, "launches": guest.launches, "end": "none", "phase": "memory",
            "flags": "0x0", "memory": len(guest.memory), "done": guest.looks, "total": 4, "secret-gpa": "0x8000", "secret-size": 64,
            "commands": 7, "run-tsc": guest.run_tsc, "alive-tsc": self.tsc, "exits": " ".join(map(str, exits)),
            "console-first": 0, "console-end": len(guest.printed), "digest": "12" * 32, "measure": "34" * 32, "mnonce": "56" * 16,
            "end-reason": guest.end_reason,
        }  # fmt: skip
        return "".join(f"{key}: {value}\n" for key, value in found.items()).encode()

    # -------------------------------------------------------------- what is carried out

    def carry_out(self, path: str, data: bytes) -> None:
        words = path.split("/")
        if path == "/platform/command":
            word = data.decode()
            if word not in ("pek-gen", "pdh-gen", "df-flush", "nop", "shutdown", "init", "reset"):
                raise Refusal(EINVAL, f"{word} is no command")
            if word in ("pek-gen", "pdh-gen", "shutdown", "reset") and any(
                guest.encryption == "sev" and guest.state in MEASURED for guest in self.guests
            ):
                raise Refusal(EBUSY, "SEV guests live: end them first")
        elif path == "/platform/pek-import":
            if len(data) != 4168:
                raise Refusal(EFBIG if len(data) > 4168 else EINVAL, "two certificates have 4168 bytes")
        else:
            guest = self.guest(words[2])
            {"command": self.guest_command, "session": self.session, "secret": self.secret}[words[3]](guest, data)
        self.done.append(f"{path} {data[:40]!r}" if words[-1] != "command" else f"{path} {data.decode()}")

    def guest_command(self, guest: Guest, data: bytes) -> None:
        word = data.decode()
        allowed = {
            "launch": ("none", "ended", "refused"), "end": ("launching", "session", "held", "running", "paused"),
            "pause": ("running",), "resume": ("paused", "held"),
        }  # fmt: skip
        if word not in allowed:
            raise Refusal(EINVAL, f"{word} is no command")
        if guest.state not in allowed[word]:
            raise Refusal(EBUSY, f"guest {guest.name} is {guest.state}")
        if word == "launch":
            guest.launches += 1
            guest.goes("launching", "session" if guest.at_launch else "held" if guest.require_secret else "running")
            if guest.end_reason:
                guest.next = "refused"
        elif word == "end":
            guest.goes("ending", "ended")
        else:
            guest.goes("paused" if word == "pause" else "running")

    def session(self, guest: Guest, data: bytes) -> None:
        if guest.state != "session":
            raise Refusal(EBUSY, f"guest {guest.name} waits for no session")
        if len(data) != 4 + 2084 + 128:
            raise Refusal(EINVAL, "a session has 2216 bytes")
        guest.got["session"] = data
        guest.goes("launching", "held" if guest.require_secret else "running")

    def secret(self, guest: Guest, data: bytes) -> None:
        if guest.state != "held":
            raise Refusal(EBUSY, f"guest {guest.name} is not held")
        if len(data) < 76 or (len(data) - 60) % 16:
            raise Refusal(EINVAL, "a secret's length")
        if data[60:] == b"\xbd" * 16:
            raise Refusal(EIO, "LAUNCH_SECRET: BAD_MEASUREMENT: the secret was made for another launch")
        guest.got["secret"] = data


# ---------------------------------------------------------------- the line


def framed(data: bytes) -> bytes:
    escaped = data
    for byte in b"}$#*":  # the escape first
        escaped = escaped.replace(bytes((byte,)), bytes((0x7D, byte ^ 0x20)))
    return b"$" + escaped + b"#%02x" % (sum(escaped) % 256)


def unframed(data: bytes) -> bytes:
    return re.sub(rb"}(.)", lambda found: bytes((found[1][0] ^ 0x20,)), data, flags=re.S)


class Server:
    """Serves one machine on one line at a time.

    `faults`: for the answers to come, one each, what happens to them; None: nothing. `noise`: probability that a byte is
    lost or changed, both ways.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.faults: deque[str | None] = deque()
        self.noise = 0.0
        self.random = random.Random(1)
        self.requests: list[bytes] = []
        self.before = b""  # text on the line before each answer
        self.receive: Callable[[], bytes] = lambda: b""
        self.emit: Callable[[bytes], None] = lambda data: None
        self.input = bytearray()

    def damaged(self, data: bytes) -> bytes:
        if not self.noise:
            return data
        out = bytearray()
        for byte in data:
            if self.random.random() >= self.noise:
                out.append(byte)
            elif self.random.random() < 0.5:
                out.append(self.random.randrange(256))
        return bytes(out)

    def byte(self) -> int:
        while not self.input:
            data = self.receive()
            if not data:
                raise EOFError
            self.input += self.damaged(data)
        return self.input.pop(0)

    def packet(self) -> bytes | None:
        """The next one as it was sent; None: a NAK."""
        while (byte := self.byte()) not in b"$-":
            pass
        if byte == ord("-"):
            return None
        data = bytearray()
        while (byte := self.byte()) != ord("#"):
            data = bytearray() if byte == ord("$") else data + bytes((byte,))
        digits = bytes((self.byte(), self.byte()))
        return bytes(data) if re.fullmatch(b"[0-9a-f]{2}", digits) and int(digits, 16) == sum(data) % 256 else b"\0bad"

    def serve(self) -> None:
        last = b""
        while True:
            packet = self.packet()
            if packet is None:
                self.emit(self.damaged(last))
                continue
            if packet == b"\0bad":
                self.emit(self.damaged(b"-"))
                continue
            packet = unframed(packet)
            fault = None if packet == b"vMustReplyEmpty" else self.faults.popleft() if self.faults else None
            if fault == "request lost":
                continue
            if fault == "text instead":  # which looks like a packet that was damaged
                self.emit(b"$5 and #00")
                continue
            if fault == "refuse once":
                self.emit(b"-")
                continue
            self.requests.append(packet)
            answer = self.machine.answer(packet)
            last = b"".join(map(framed, answer.split(b"\0"))) if packet.startswith(b"qRcmd") else framed(answer)
            self.emit(self.damaged(self.spoilt(fault, last)))
            if fault == "client's ack lost":  # nothing else is listened to before it comes
                for _ in range(2):
                    while self.byte() != ord("+"):
                        pass

    def spoilt(self, fault: str | None, last: bytes) -> bytes:
        ack, whole = b"+", self.before + last
        if fault == "sum":
            return ack + last[:-2] + b"%02x" % (int(last[-2:], 16) ^ 1)
        if fault == "byte":  # of the data
            middle = 1 + (len(last) - 4) // 2
            changed = next(byte for byte in b"12" if byte != last[middle])
            return ack + last[:middle] + bytes((changed,)) + last[middle + 1 :]
        if fault == "end lost":
            return ack + last[:-3]
        if fault == "begin lost":
            return ack + last[1:]
        if fault == "answer lost":
            return ack
        if fault == "refused, but taken":  # the NAK is noise; what is sent again comes twice
            self.emit(b"-")
            time.sleep(0.4)
        if fault == "all lost":
            return b""
        if fault == "ack lost":
            return whole
        if fault == "twice":
            return ack + last + last
        if fault == "old answer":
            return ack + framed(b"F1;x") + last
        if fault == "close":
            raise EOFError
        if fault == "half":
            self.emit(ack + last[: len(last) // 2])
            raise EOFError
        if fault and fault.startswith("delay "):
            time.sleep(float(fault[6:]))
        return ack + whole


class Place:
    """Where the server is reached: by `to`. One client after the other."""

    def __init__(self, server: Server, to: str) -> None:
        self.server, self.to = server, to
        self._end = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        raise NotImplementedError

    def start(self) -> Place:
        self.thread.start()
        return self

    def stop(self) -> None:
        self._end.set()

    def session(self, receive: Callable[[], bytes], emit: Callable[[bytes], None]) -> None:
        self.server.receive, self.server.emit = receive, emit
        self.server.input.clear()
        try:
            self.server.serve()
        except (EOFError, OSError):
            pass


class Socket(Place):
    def __init__(self, server: Server, folder: Path | None = None) -> None:
        if folder is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            to = f"tcp:127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(folder / "sevisor"))
            self._listener.listen()
            to = f"unix:{folder / 'sevisor'}"
        super().__init__(server, to)

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                self.session(lambda: client.recv(1 << 16), client.sendall)

    def stop(self) -> None:
        super().stop()
        self._listener.close()


class Pty(Place):
    """A serial port that nobody has set up: it echoes and translates, until the client makes it raw."""

    def __init__(self, server: Server) -> None:
        self.master, self.slave = os.openpty()
        super().__init__(server, os.ttyname(self.slave))

    def attributes(self) -> list:
        return termios.tcgetattr(self.slave)

    def run(self) -> None:
        while not self._end.is_set():
            self.session(lambda: os.read(self.master, 1 << 16), self.write)

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data) :]

    def stop(self) -> None:
        super().stop()
        os.close(self.slave)


def raw_pty() -> tuple[int, int]:
    master, slave = os.openpty()
    tty.setraw(slave)
    return master, slave


class Relay:
    """The true control guest as a program on stdin and stdout, which outlives its clients: they come to a Unix socket."""

    def __init__(self, program: Path, folder: Path, *words: object) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "sevisor"))
        self._listener.listen()
        self.to = f"unix:{folder / 'sevisor'}"
        self._line, other = socket.socketpair()
        self.process = subprocess.Popen([program, *map(str, words)], stdin=other, stdout=other)
        other.close()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                ends = {client: self._line, self._line: client}
                try:
                    while True:
                        for end in select.select(list(ends), [], [])[0]:
                            data = end.recv(1 << 16)
                            if not data:
                                raise EOFError
                            ends[end].sendall(data)
                except (EOFError, OSError):
                    pass

    def stop(self) -> None:
        self._listener.close()
        self.process.kill()
        self.process.wait()
        self._line.close()
