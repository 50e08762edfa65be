# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The manifest's binary format, as guest/manifest_format.h defines it: writing and reading."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from .errors import PackError

MAGIC = 0x54464E4D56455300
REVISION = 2
PAGE = 4096
MAX_SIZE = 1 << 32
MAX_GUESTS = 512
MAX_STEPS = 16384
MAX_VCPUS = 64
MAX_CPUS = 1024
CPU_ANY = 0xFFFF
MAX_MEMORY = 1 << 40
MEMORY_UNIT = 2 << 20
NAME_SIZE = 32
DH_CERT_SIZE = 2084
SESSION_SIZE = 128
MAX_SEV_FIRMWARE = 1 << 20
SHOW_PDH = 1
MAX_SECRET = 0x4000
SECRET_UNIT = 16
CONTROL_WINDOW = 0xF0000000  # guest/control.h
CONTROL_WINDOW_SIZE = 1 << 20

HEADER = struct.Struct("<QIIQIIIIIIQIB3s")
GUEST_HEAD = struct.Struct("<32sIIQIIIBBBBBxHIQQII32s")
STEP = struct.Struct("<IIQQQ")
GUEST_CPUS = struct.Struct(f"<{MAX_VCPUS}H")
SEGMENT = struct.Struct("<HHIQ")
GUEST_SECRET = struct.Struct("<QI4x")
REGISTER_NAMES = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags cr0 cr3 cr4 efer".split()
SEGMENT_NAMES = "es cs ss ds fs gs gdtr ldtr idtr tr".split()
REGISTERS_AT = GUEST_HEAD.size + GUEST_CPUS.size
SECRET_AT = REGISTERS_AT + 8 * len(REGISTER_NAMES) + SEGMENT.size * len(SEGMENT_NAMES)
GUEST_SIZE = SECRET_AT + GUEST_SECRET.size

assert HEADER.size == 64 and STEP.size == 32 and GUEST_SIZE == 608


class Encryption(IntEnum):
    NONE = 0
    HOST = 1
    SEV = 2


class Action(IntEnum):
    DESTROY = 0
    RESTART = 1


class Flag(IntFlag):
    CONTROL = 1 << 0
    DEBUG = 1 << 1
    REQUIRE_SECRET = 1 << 2
    SESSION_AT_LAUNCH = 1 << 3
    SERIAL_COM2 = 1 << 4
    SNAPSHOT = 1 << 5


class Kind(IntEnum):
    DATA = 1
    ZERO = 2
    SHARED = 3


@dataclass(frozen=True)
class Segment:
    selector: int = 0
    attributes: int = 0
    limit: int = 0
    base: int = 0


@dataclass
class Registers:
    """Values that are not named are 0."""

    values: dict[str, int] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)

    def pack(self) -> bytes:
        out = b"".join(struct.pack("<Q", self.values.get(name, 0)) for name in REGISTER_NAMES)
        for name in SEGMENT_NAMES:
            s = self.segments.get(name, Segment())
            out += SEGMENT.pack(s.selector, s.attributes, s.limit, s.base)
        return out

    @classmethod
    def unpack(cls, raw: bytes) -> Registers:
        count = len(REGISTER_NAMES)
        values = dict(zip(REGISTER_NAMES, struct.unpack_from(f"<{count}Q", raw)))
        segments = {
            name: Segment(*SEGMENT.unpack_from(raw, 8 * count + SEGMENT.size * i))
            for i, name in enumerate(SEGMENT_NAMES)
        }
        return cls(values, segments)


@dataclass
class Step:
    kind: Kind
    gpa: int
    size: int
    data: bytes = b""  # padded to `size`; empty for ZERO
    label: str = ""  # for people; not part of the binary


@dataclass
class Guest:
    name: str
    encryption: Encryption
    memory: int
    vcpus: int
    steps: list[Step]
    registers: Registers
    policy: int = 0
    cbitpos: int = 0
    reduced_phys_bits: int = 0
    on_poweroff: Action = Action.DESTROY
    on_reboot: Action = Action.DESTROY
    on_crash: Action = Action.DESTROY
    restarts: int = 0
    dh_cert: bytes = b""
    session: bytes = b""
    launch_digest: bytes = bytes(32)
    pins: tuple[int, ...] = ()  # a host CPU per vCPU; empty: the hypervisor places them
    flags: Flag = Flag(0)
    secret_gpa: int = 0  # both 0 unless REQUIRE_SECRET
    secret_size: int = 0


@dataclass(frozen=True)
class Platform:
    """Settings for the whole machine."""

    sev_firmware: bytes = b""
    sev_firmware_version: tuple[int, int, int] = (0, 0, 0)  # API major, minor, build
    show_pdh: bool = False


class _Payload:
    """Payload; equal pieces are stored once."""

    def __init__(self, offset: int) -> None:
        self.base = offset
        self.chunks: list[bytes] = []
        self.length = 0
        self.known: dict[bytes, int] = {}

    def add(self, data: bytes) -> int:
        if data in self.known:
            return self.known[data]
        offset = self.base + self.length
        padded = data + bytes(-len(data) % PAGE)
        self.chunks.append(padded)
        self.length += len(padded)
        self.known[data] = offset
        return offset


def _pack_guest(guest: Guest, first_step: int, payload: _Payload) -> bytes:
    dh_cert_offset = payload.add(guest.dh_cert) if guest.dh_cert else 0
    session_offset = payload.add(guest.session) if guest.session else 0
    head = GUEST_HEAD.pack(
        guest.name.encode("ascii"), guest.encryption, guest.vcpus, guest.memory, first_step, len(guest.steps),
        guest.policy, guest.cbitpos, guest.reduced_phys_bits, guest.on_poweroff, guest.on_reboot, guest.on_crash,
        guest.flags, guest.restarts, dh_cert_offset, session_offset, len(guest.dh_cert), len(guest.session),
        guest.launch_digest,
    )  # fmt: skip
    secret = GUEST_SECRET.pack(guest.secret_gpa, guest.secret_size)
    cpus = guest.pins + (CPU_ANY,) * (MAX_VCPUS - len(guest.pins))
    return head + GUEST_CPUS.pack(*cpus) + guest.registers.pack() + secret


def serialise(guests: list[Guest], platform: Platform = Platform()) -> bytes:
    """The manifest's bytes. The same guests give the same bytes."""
    step_count = sum(len(guest.steps) for guest in guests)
    if len(guests) > MAX_GUESTS:
        raise PackError(f"there are {len(guests)} guests, at most {MAX_GUESTS} fit into a manifest")
    if step_count > MAX_STEPS:
        raise PackError(f"the guests have {step_count} steps together, at most {MAX_STEPS} fit into a manifest")

    table_end = HEADER.size + len(guests) * GUEST_SIZE + step_count * STEP.size
    payload_offset = -(-table_end // PAGE) * PAGE
    payload = _Payload(payload_offset)
    if platform.sev_firmware:
        payload.add(platform.sev_firmware)  # first: the header has its size, and not where it is
    guest_records, step_records = b"", b""
    for guest in guests:
        first = len(step_records) // STEP.size
        for step in guest.steps:
            offset = payload.add(step.data) if step.data else 0
            step_records += STEP.pack(step.kind, 0, step.gpa, step.size, offset)
        guest_records += _pack_guest(guest, first, payload)

    body = b"".join(payload.chunks)
    total = payload_offset + len(body)
    if total > MAX_SIZE:
        raise PackError(f"the manifest would have {total} bytes, at most {MAX_SIZE} are possible")

    def table(checksum: int) -> bytes:
        header = HEADER.pack(MAGIC, REVISION, HEADER.size, total, checksum, zlib.crc32(body), len(guests), GUEST_SIZE,
                             step_count, STEP.size, payload_offset, len(platform.sev_firmware),
                             SHOW_PDH if platform.show_pdh else 0,
                             bytes(reversed(platform.sev_firmware_version)))  # fmt: skip
        return (header + guest_records + step_records).ljust(payload_offset, b"\0")

    return table(zlib.crc32(table(0))) + body


def _unpack_guest(raw: bytes, offset: int, steps: list[Step]) -> Guest:
    (name, encryption, vcpus, memory, first, count, policy, cbitpos, reduced, poweroff, reboot, crash, flags, restarts,
     dh_cert_offset, session_offset, dh_cert_size, session_size, digest,
    ) = GUEST_HEAD.unpack_from(raw, offset)  # fmt: skip
    secret_gpa, secret_size = GUEST_SECRET.unpack_from(raw, offset + SECRET_AT)
    cpus = GUEST_CPUS.unpack_from(raw, offset + GUEST_HEAD.size)[:vcpus]
    return Guest(
        name=name.rstrip(b"\0").decode("ascii", "replace"),
        encryption=Encryption(encryption),
        memory=memory,
        vcpus=vcpus,
        steps=steps[first : first + count],
        registers=Registers.unpack(raw[offset + REGISTERS_AT : offset + SECRET_AT]),
        policy=policy,
        cbitpos=cbitpos,
        reduced_phys_bits=reduced,
        on_poweroff=Action(poweroff),
        on_reboot=Action(reboot),
        on_crash=Action(crash),
        restarts=restarts,
        dh_cert=raw[dh_cert_offset : dh_cert_offset + dh_cert_size],
        session=raw[session_offset : session_offset + session_size],
        launch_digest=digest,
        pins=cpus if set(cpus) != {CPU_ANY} else (),
        flags=Flag(flags),
        secret_gpa=secret_gpa,
        secret_size=secret_size,
    )


def parse(raw: bytes) -> list[Guest]:
    """The guests of a manifest. Checks the frame and the checksums; the full check is manifest.c's."""
    if len(raw) < HEADER.size:
        raise PackError("this is not a manifest: it is shorter than a manifest's header")
    (magic, revision, _, total, table_checksum, payload_checksum, guest_count, guest_size, step_count, step_size,
     payload_offset, *_) = HEADER.unpack_from(raw)  # fmt: skip
    if magic != MAGIC:
        raise PackError("this is not a manifest: the magic number is wrong")
    if (revision, guest_size, step_size) != (REVISION, GUEST_SIZE, STEP.size):
        raise PackError(f"this manifest has revision {revision}; this packer reads revision {REVISION}")
    if total > len(raw) or payload_offset > total:
        raise PackError("this manifest is truncated")
    table = raw[:24] + bytes(4) + raw[28:payload_offset]
    if zlib.crc32(table) != table_checksum:
        raise PackError("the table's checksum is wrong: the manifest was damaged or changed")
    if zlib.crc32(raw[payload_offset:total]) != payload_checksum:
        raise PackError("the payload's checksum is wrong: the manifest was damaged or changed")

    guests_end = HEADER.size + guest_count * GUEST_SIZE
    try:
        steps = []
        for i in range(step_count):
            kind, _, gpa, size, offset = STEP.unpack_from(raw, guests_end + i * STEP.size)
            data = b"" if kind == Kind.ZERO else raw[offset : offset + size]
            if size > MAX_MEMORY or kind != Kind.ZERO and len(data) != size:
                raise ValueError(f"step {i} has {size} bytes, which are not there")
            steps.append(Step(Kind(kind), gpa, size, data))
        guests = [_unpack_guest(raw, HEADER.size + i * GUEST_SIZE, steps) for i in range(guest_count)]
        for guest in guests:
            if any(step.gpa + step.size > guest.memory for step in guest.steps):
                raise ValueError(f"guest {guest.name} has a step outside of its memory")
        return guests
    except (struct.error, ValueError) as error:
        raise PackError(f"this manifest is malformed: {error}") from error


def parse_platform(raw: bytes) -> Platform:
    """Of a manifest that parse() took."""
    *_, offset, size, flags, version = HEADER.unpack_from(raw)
    return Platform(raw[offset : offset + size], (version[2], version[1], version[0]), bool(flags & SHOW_PDH))
