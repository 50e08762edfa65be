# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The control guest in memory, with a SEV platform behind it: objects `firmware`, `state`, `image`.

Written from guest/control/README.md and the SEV API, not from the client: it lays out no buffer, it reads what comes.
"""

from __future__ import annotations

import hashlib
import struct

from ctl_fake import EBUSY, EINVAL, EIO, MEASURED, Guest, Handle, Machine, Refusal, certificate

DATA, ROOM, STATE = 0x30000, (1 << 20) - 0x30000, 0x8000
OK, UNKNOWN, INVALID, IN_STATE, POLICY, IN_USE, FAILED = 0, 1, 2, 4, 5, 6, 8
ERRNO = {UNKNOWN: EINVAL, INVALID: EINVAL, IN_STATE: EBUSY, POLICY: 13, IN_USE: EBUSY, FAILED: EIO}
KNOWN = {
    *range(1, 0x10),
    *range(0x20, 0x26),
    *range(0x30, 0x37),
    *range(0x40, 0x45),
    *range(0x50, 0x54),
    0x60,
    0x61,
    0x70,
    0x71,
}
OWN = {0x0F, 0x20, 0x21, 0x22, 0x25, 0x30, 0x31, 0x32, 0x33, 0x35, 0x50, 0x53}
IDLE = {1, 2, 3, 5, 7, 0x0B, 0x0D}
PAUSED = {0x24, 0x40, 0x41, 0x42, 0x43, 0x44, 0x70, 0x71}
LIVE = {0x36, 0x60, 0x61}
DOWN_ONLY, UP_OR_DOWN = {1, 3, 0x0B, 0x0D}, {2, 4, 0x0C, 0x0E}
FORBIDDEN = {0x24: 1, 0x60: 1, 0x61: 1, 0x70: 9, 0x71: 9, 0x40: 8, 0x41: 8, 0x42: 8, 0x43: 8, 0x44: 8}
SIZES = {
    4: 12,
    6: 12,
    7: 28,
    8: 28,
    0x0B: 12,
    0x0C: 12,
    1: 0x14,
    0x0D: 0x24,
    0x23: 13,
    0x24: 24,
    0x36: 0x24,
    0x40: 0x44,
    0x60: 28,
    0x61: 28,
}


def real_certificate(number: int) -> bytes:
    return b"\1\0\0\0" + certificate(number)[4:]


class Lab(Machine):
    """`down`: UNINIT. `busy`: so many requests are refused, since the platform comes up."""

    def __init__(self) -> None:
        super().__init__()
        self.guests[0].policy = 0
        self.sent: list[int] = []  # commands that reached the SEV firmware
        self.answer_bytes = struct.pack("<4IQ80s160s", 0, OK, 0, 0, 0, b"", b"")
        self.window = bytearray(ROOM)
        self.busy = 0
        self.state: bytes | None = None  # INIT_EX's
        self.build, self.keys = 31, 0
        self.sending = False
        self.lacks: set[int] = {0x70, 0x71}  # UNSUPPORTED
        self.wrong: dict[int, int] = {}  # statuses instead of the true ones
        self.platform["state"] = "working"

    @property
    def down(self) -> bool:
        return self.platform["state"] == "uninit"

    def living(self) -> bool:
        return any(guest.encryption == "sev" and guest.state in MEASURED for guest in self.guests)

    # -------------------------------------------------------------- objects

    def opened(self, path: str, writing: bool) -> Handle:
        if path.endswith("/firmware") or path in ("/platform/state", "/platform/image"):
            if path.startswith("/guest/"):
                self.guest(path.split("/")[2])
            return Handle(path, writing, b"" if writing else self.content(path))
        return super().opened(path, writing)

    def content(self, path: str) -> bytes:
        if path.endswith("/firmware"):
            return self.answer_bytes
        if path == "/platform/state":
            if self.state is None:
                raise Refusal(EBUSY, "only after INIT_EX is it kept here")
            return self.state
        return super().content(path)

    def carry_out(self, path: str, data: bytes) -> None:
        if path.endswith("/firmware"):
            self.firmware(None if path.startswith("/platform") else self.guest(path.split("/")[2]), data)
        elif path == "/platform/state":
            self.simple(0x0D, struct.pack("<IIQIIQI", 0x24, 0, 0, 0, 0, DATA, STATE), data)
        elif path == "/platform/image":
            self.simple(0x0B, struct.pack("<QI", DATA, len(data)), data)
        elif path == "/platform/command" and data == b"init":
            self.simple(1, b"", b"")
            super().carry_out(path, data)
        else:
            super().carry_out(path, data)
            if path == "/platform/command" and data == b"shutdown":
                self.platform["state"] = "uninit"

    def simple(self, number: int, buffer: bytes, data: bytes) -> None:
        self.firmware(None, struct.pack("<4IQQ4I80s", 1, 0, 0, 0, 0, 0, 0, 0, number, 0, buffer) + data)

    # -------------------------------------------------------------- hv

    def firmware(self, guest: Guest | None, raw: bytes) -> None:
        if len(raw) < 128:
            raise Refusal(EINVAL, "a command begins with struct control_request")
        tag, _, _, _, _, room, data, size, number, _, buffer = struct.unpack("<4IQQ4I80s", raw[:128])
        self.window[: len(raw) - 128] = raw[128:]
        self.window[len(raw) - 128 : room] = bytes(max(0, room - (len(raw) - 128)))
        self.buffer, status, words = bytearray(buffer), 0, ""
        result = self.refusal(number, guest)
        if result == OK:
            self.sent.append(number)
            status = self.wrong.get(number, self.execute(number, guest))
            result = FAILED if status else OK
        if result != OK:
            words = {UNKNOWN: "the hypervisor does not offer that", IN_STATE: "not in the guest's present state", POLICY: "policy",
                     IN_USE: "SEV guests live, and this would destroy them: end them first", INVALID: "out of its range",
                     FAILED: f"command {number:#x}: status {status:#x}"}[result]  # fmt: skip
        head = struct.pack("<4IQ80s160s", tag, result, status, 0, 250, bytes(self.buffer), words.encode())
        self.answer_bytes = head + bytes(self.window[:room])
        if result != OK:
            raise Refusal(ERRNO[result], words)

    def refusal(self, number: int, guest: Guest | None) -> int:
        if number not in KNOWN or number in OWN:
            return UNKNOWN
        if self.busy:
            self.busy -= 1
            return IN_STATE
        if self.down != (number in DOWN_ONLY) and number not in UP_OR_DOWN:
            return IN_STATE
        if number in IDLE and self.living():
            return IN_USE
        if number < 0x20:
            return OK
        if guest is None or guest.encryption != "sev" or guest.state not in MEASURED:
            return IN_STATE
        if number in PAUSED and guest.state != "paused" or number in LIVE and guest.state == "held":
            return IN_STATE
        if number in (0x34, 0x51, 0x52):
            return IN_STATE
        if guest.policy & FORBIDDEN.get(number, 0):
            return POLICY
        return INVALID if self.buffer[:4] != bytes(4) else OK

    # -------------------------------------------------------------- the SEV firmware

    def at(self, offset: int, size: int = 8) -> int:
        return int.from_bytes(self.buffer[offset : offset + size], "little")

    def read(self, address: int, length: int) -> bytes:
        where = self.at(address) - DATA
        assert 0 <= where and where + self.at(length, 4) <= ROOM, "an address outside of the data"
        return bytes(self.window[where : where + self.at(length, 4)])

    def write(self, address: int, length: int, data: bytes) -> int:
        fits = self.at(length, 4) >= len(data)
        self.buffer[length : length + 4] = len(data).to_bytes(4, "little")
        if not fits:
            return 4
        where = self.at(address) - DATA
        assert 0 <= where and where + len(data) <= ROOM, "an address outside of the data"
        self.window[where : where + len(data)] = data
        return 0

    def execute(self, number: int, guest: Guest | None) -> int:
        if number in self.lacks:
            return 0x15
        if number < 0x20:
            return getattr(self, f"do_{number:x}", lambda: 0)()
        assert guest
        return {0x23: self.guest_status, 0x24: self.copy, 0x36: self.attest, 0x40: self.send_start, 0x41: self.send_data, 0x42: lambda guest: 7,
                0x44: self.send_cancel, 0x60: self.decrypt, 0x61: self.encrypt}[number](guest)  # fmt: skip

    def up(self) -> int:
        self.platform["state"], self.platform["sev-ready"] = "init", "yes"
        self.busy, self.keys = 2, self.keys + 1
        return 0

    do_1 = up

    def do_2(self) -> int:
        self.platform["state"], self.platform["sev-ready"] = "uninit", "no"
        self.busy = 1
        return 0

    def do_4(self) -> int:
        self.buffer[:12] = bytes([1, 55, 0 if self.down else 2, 0, 0, 0, 0, self.build, 2, 0, 0, 0])
        return 0

    def do_6(self) -> int:
        return self.write(0, 8, real_certificate(4))

    def do_7(self) -> int:
        assert len(self.read(0, 8)) == len(self.read(0x10, 0x18)) == 2084
        return 6

    def do_8(self) -> int:
        return self.write(0, 8, real_certificate(0)) or self.write(
            0x10, 0x18, certificate(1) + certificate(2) + certificate(3)
        )

    def do_9(self) -> int:
        self.busy = 1
        return 0

    do_5 = do_9

    def do_b(self) -> int:
        image = self.read(0, 8)
        if not image.startswith(b"$PS1"):
            return 0x0A
        self.build = image[4]
        self.platform["build"] = str(self.build)
        return 0

    def do_c(self) -> int:
        return self.write(0, 8, bytes(range(128)))

    def do_d(self) -> int:
        if self.at(0, 4) != 0x24 or self.at(0x20, 4) != STATE or (self.at(0x18) - DATA) % 4096:
            return 4
        self.state = b"K" + self.read(0x18, 0x20)[1:]
        return self.up()

    def guest_status(self, guest: Guest) -> int:
        self.buffer[4:13] = struct.pack("<IIB", guest.policy, 1, 3)
        return 0

    def copy(self, guest: Guest) -> int:
        size, source, target = self.at(4, 4), self.at(8), self.at(0x10)
        guest.memory[target : target + size] = guest.memory[source : source + size]
        return 0

    def attest(self, guest: Guest) -> int:
        return self.write(8, 0x20, bytes(self.buffer[0x10:0x20]).ljust(208, b"\x5a"))

    def decrypt(self, guest: Guest) -> int:
        at, size = self.at(8), self.at(0x18, 4)
        return self.write(0x10, 0x18, bytes(guest.memory[at : at + size])) if at + size <= len(guest.memory) else 9

    def encrypt(self, guest: Guest) -> int:
        at, data = self.at(0x10), self.read(8, 0x18)
        guest.memory[at : at + len(data)] = data
        return 0

    def send_start(self, guest: Guest) -> int:
        if self.at(0x40, 4) != 128:
            return self.write(0x38, 0x40, bytes(128))
        assert len(self.read(0x08, 0x10)) == 2084 and len(self.read(0x18, 0x20)) == 6252
        if self.at(0x30, 4) != 1664:
            return 4
        self.sending = True
        return self.write(0x38, 0x40, hashlib.shake_256(b"session").digest(128))

    def send_data(self, guest: Guest) -> int:
        if not self.sending:
            return 2
        at, size = self.at(0x18), self.at(0x20, 4)
        if size == 0:
            self.buffer[0x30:0x34] = (4096).to_bytes(4, "little")
            return self.write(0x08, 0x10, bytes(52))
        return self.write(0x08, 0x10, bytes(52)) or self.write(
            0x28, 0x30, bytes(byte ^ 0x55 for byte in guest.memory[at : at + size])
        )

    def send_cancel(self, guest: Guest) -> int:
        was, self.sending = self.sending, False
        return 0 if was else 2
