# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A second reader of packed EFI files, for tests: written from guest/manifest_format.h, sharing no code with the packer.

It also breaks files on purpose, which the packer would refuse to do, and computes launch
digest and measurement from the bytes that are in the file (SEV API, LAUNCH_MEASURE).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import pefile

PAGE = 4096
SECTION = b".manifes"  # PE section names have eight bytes

# struct manifest_header
TABLE_CHECKSUM_AT = 24
PAYLOAD_CHECKSUM_AT = 28
HEADER = struct.Struct("<QIIQIIIIIIQII")
# struct manifest_guest up to the pins; struct manifest_step
GUEST = struct.Struct("<32sIIQIIIBBBBBxHIQQII32s64H")
VCPUS_AT, FLAGS_AT, DIGEST_AT, PINS_AT = 2, 12, 18, 19  # among its values
STEP = struct.Struct("<II3Q")
ANY_CPU = 0xFFFF
NO_ENCRYPTION = 0
SERIAL_COM2 = 1 << 4  # of its flags
STEP_DATA, STEP_ZERO, STEP_SHARED = 1, 2, 3


@dataclass(frozen=True)
class Step:
    kind: int
    gpa: int
    size: int
    payload: int  # offset in the manifest


@dataclass(frozen=True)
class Guest:
    name: str
    encryption: int
    vcpus: int
    pins: tuple[int, ...]  # one per vCPU; ANY_CPU where the hypervisor chooses
    policy: int
    flags: int
    expected_digest: bytes
    steps: tuple[Step, ...]


class LaunchProgram:
    """The manifest inside an EFI file's bytes."""

    def __init__(self, path: Path) -> None:
        self.file = bytearray(path.read_bytes())
        with_sections = pefile.PE(data=bytes(self.file), fast_load=True)
        section = next(s for s in with_sections.sections if s.Name == SECTION)
        self.start = section.PointerToRawData
        self.size = section.Misc_VirtualSize
        fields = HEADER.unpack_from(self.file, self.start)
        self.table_checksum, self.payload_checksum = fields[4], fields[5]
        guest_count, guest_size, _, step_size = fields[6:10]
        self.payload_start = fields[10]
        self.guests: dict[str, Guest] = {}
        for index in range(guest_count):
            at = self.start + HEADER.size + index * guest_size
            values = GUEST.unpack_from(self.file, at)
            first, count = values[4], values[5]
            steps = []
            for number in range(first, first + count):
                kind, _, gpa, size, payload = STEP.unpack_from(
                    self.file, self.start + HEADER.size + guest_count * guest_size + number * step_size
                )
                steps.append(Step(kind, gpa, size, payload))
            name = values[0].split(b"\0")[0].decode()
            vcpus, pins = values[VCPUS_AT], values[PINS_AT:]
            assert set(pins[vcpus:]) <= {ANY_CPU}, f"{name} has pins for vCPUs that it does not have"
            self.guests[name] = Guest(
                name, values[1], vcpus, pins[:vcpus], values[6], values[FLAGS_AT], values[DIGEST_AT], tuple(steps)
            )

    # -- reading ------------------------------------------------------------

    def step_bytes(self, step: Step) -> bytes:
        if step.kind == STEP_ZERO:
            return bytes(step.size)
        at = self.start + step.payload
        return bytes(self.file[at : at + step.size])

    def manifest(self) -> bytes:
        """What an executor reads."""
        return bytes(self.file[self.start : self.start + self.size])

    def launch_digest(self, name: str) -> bytes:
        """SHA-256 of what LAUNCH_UPDATE_DATA is given, in order."""
        digest = hashlib.sha256()
        for step in self.guests[name].steps:
            if step.kind != STEP_SHARED:
                digest.update(self.step_bytes(step))
        return digest.digest()

    def measurement(self, name: str, tik: bytes, api: tuple[int, int, int], nonce: bytes) -> bytes:
        """What the firmware must answer; `api` is major, minor, build."""
        guest = self.guests[name]
        message = bytes([0x04, *api]) + struct.pack("<I", guest.policy) + self.launch_digest(name) + nonce
        return hmac.new(tik, message, hashlib.sha256).digest()

    def largest_step(self, name: str) -> Step:
        """For a Linux guest: the kernel."""
        return max((s for s in self.guests[name].steps if s.kind == STEP_DATA), key=lambda step: step.size)

    # -- breaking -------------------------------------------------------------

    def flip(self, offset: int) -> None:
        """Changes a bit of the byte at this offset from the manifest's start."""
        self.file[self.start + offset] ^= 0x01

    def repair_checksums(self) -> None:
        def put(at: int, value: int) -> None:
            struct.pack_into("<I", self.file, self.start + at, value)

        end = self.start + self.size
        put(PAYLOAD_CHECKSUM_AT, zlib.crc32(self.file[self.start + self.payload_start : end]))
        put(TABLE_CHECKSUM_AT, 0)
        put(TABLE_CHECKSUM_AT, zlib.crc32(self.file[self.start : self.start + self.payload_start]))

    def write(self, path: Path) -> Path:
        path.write_bytes(self.file)
        return path
