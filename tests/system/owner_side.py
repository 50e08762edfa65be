# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The guest owner's side of a launch: the platform's identity, a session for it, the judgement afterwards."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import packing

TOOL = packing.ROOT / "guest" / "owner.py"
# The SEV machine's chip (qemu/sev_psp.c): its persistent data are bound to it.
CHIP_ID = "Sevisor test chip"
CERT_SIZE = 2084
NO_SESSION_TIK = bytes(16)  # what a guest has that was launched without a session


@dataclass
class Platform:
    """The machine's identity: persistent data of its firmware, and the certificates that owners get."""

    folder: Path
    nv: Path
    chain: Path  # PDH, PEK, OCA, CEK, as `sevctl export` writes them

    def pek(self) -> bytes:
        return self.chain.read_bytes()[CERT_SIZE : 2 * CERT_SIZE]


def make_platform(build: Path, folder: Path) -> Platform:
    """INIT and PDH_CERT_EXPORT by the machine's firmware, without a machine around it.

    Nothing after them, SHUTDOWN least of all, that would change the persistent data. Its files, and its owners', are in a folder of
    their own below `folder`: other tests have owners of the same names.
    """
    folder = Path(tempfile.mkdtemp(prefix="platform-", dir=folder))
    platform = Platform(folder, folder / "platform.nv", folder / "platform.chain")
    command, certificate, chain = 0x1000, 0x2000, 0x3000
    export = struct.pack("<QIIQI", certificate, CERT_SIZE, 0, chain, 3 * CERT_SIZE)
    lines = [
        f"command INIT {command:#x}",
        f"write {command:#x} {export.hex()}",
        f"command PDH_CERT_EXPORT {command:#x}",
        f"read {certificate:#x} {CERT_SIZE}",
        f"read {chain:#x} {3 * CERT_SIZE}",
    ]
    done = subprocess.run(
        [build / "unit" / "firmware" / "sevfw-tool", "--nv", platform.nv, "--chip-id", CHIP_ID],
        input="\n".join(lines) + "\n", stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    init, _, exported, *certificates = map(json.loads, done.stdout.splitlines())
    assert init["status"] == exported["status"] == "SUCCESS"
    platform.chain.write_bytes(b"".join(bytes.fromhex(read["data"]) for read in certificates))
    return platform


def platform_of(console: bytes, nv: Path, folder: Path) -> Platform:
    """As an owner knows it who got a log of the console and nothing else."""
    folder = Path(tempfile.mkdtemp(prefix="platform-", dir=folder))
    platform = Platform(folder, folder / "kept.nv", folder / "console.log")
    shutil.copyfile(nv, platform.nv)
    platform.chain.write_bytes(console)
    return platform


def make_image(version: tuple[int, int, int], path: Path) -> tuple[Path, str]:
    """A firmware for the machine's secure processor, and its version in words."""
    tool = packing.ROOT / "tests" / "machine" / "firmware" / "make_image.py"
    told = "{}.{}.{}".format(*version)
    subprocess.run([sys.executable, tool, told, path], check=True)
    return path, told


@dataclass
class Owner:
    """What the owner of one guest has: files to give away, and the key to keep."""

    name: str
    folder: Path
    policy: int

    @property
    def session(self) -> tuple[Path, Path]:
        """dh-cert and session, for guests.toml."""
        return self.folder / f"{self.name}_godh.b64", self.folder / f"{self.name}_session.b64"

    @property
    def tik_file(self) -> Path:
        return self.folder / f"{self.name}_tik.bin"

    @property
    def tik(self) -> bytes:
        return self.tik_file.read_bytes()


def make_owner(platform: Platform, name: str, policy: int = packing.NODBG) -> Owner:
    """What a guest's owner does before the launch, with the project's tool for owners."""
    subprocess.run(
        [sys.executable, TOOL, "session", "--name", name, "--folder", platform.folder, platform.chain, hex(policy)],
        check=True, capture_output=True,
    )  # fmt: skip
    return Owner(name, platform.folder, policy)


def no_owner(platform: Platform, name: str, policy: int = packing.NODBG) -> Owner:
    """Of a guest without a session: everybody knows its key, so nobody need make one."""
    owner = Owner(name, platform.folder, policy)
    owner.tik_file.write_bytes(NO_SESSION_TIK)
    return owner


def verify(packed: Path, owner: Owner, api: tuple[int, int, int], answer: bytes) -> subprocess.CompletedProcess[str]:
    """The owner's judgement on LAUNCH_MEASURE's answer, MEASURE and MNONCE; `api` is major, minor, build."""
    major, minor, firmware_build = api
    return subprocess.run(
        [sys.executable, TOOL, "measurement", "verify", packed, owner.name, "--api-major", str(major), "--api-minor", str(minor),
         "--build-id", str(firmware_build), "--tik", owner.tik_file, "--launch-measure-blob", answer.hex()],
        capture_output=True, text=True,
    )  # fmt: skip
