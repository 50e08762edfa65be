# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The sample guest/locked.toml, as README.md tells it: an owner and an operator, each with their own tool, and the key of a LUKS2
volume that only the measured launch can read."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import owner_side
import packing
import sayings
from emulator import Emulator
from machines import COM1, CONTROL_LINE, CONTROL_SOCKET, Boot

OPERATOR = packing.ROOT / "guest" / "sevisorctl.py"
GUEST = "locked"
pytestmark = pytest.mark.sev


@pytest.fixture(scope="module")
def image(build: Path, built: Callable[..., None], folder: Path) -> Path:
    built(f"{build}/guest/locked/initramfs.cpio.gz")
    guests = packing.ROOT / "guest" / "locked.toml"
    return packing.pack_file(guests, build / "boot" / "sevisor.efi", build, folder / "locked.efi")


class Desk:
    """Both tools, in the folder of one machine, whose line is a socket there."""

    def __init__(self, machine: Emulator):
        self.folder = machine.folder

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def operator(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(OPERATOR, "--to", f"unix:{CONTROL_SOCKET}", "--timeout", "300", *words)

    def owner(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run(owner_side.TOOL, *words)

    def good(self, done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 0, (done.args, done.stdout, done.stderr)
        return done.stdout

    def launch(self, efi: Path, name: str) -> str:
        """Up to the verified measurement of the guest that is held: in base64."""
        self.good(self.operator("wait", GUEST, "session", "--seconds", "600"))
        self.good(self.operator("platform", "export", "-o", f"{name}.chain"))
        self.good(self.owner("session", "--name", name, f"{name}.chain", "0x1"))
        self.good(self.operator("session", GUEST, "--policy", "0x1", "--dh-cert", f"{name}_godh.b64", "--session", f"{name}_session.b64"))  # fmt: skip
        self.good(self.operator("wait", GUEST, "held", "--seconds", "600"))
        measured = self.good(self.operator("measurement", GUEST)).strip()
        platform = json.loads(self.good(self.operator("platform", "status", "--json")))
        major, minor = platform["api"].split(".")
        self.good(self.owner("measurement", "verify", efi, GUEST, "--tik", f"{name}_tik.bin", "--api-major", major, "--api-minor", minor,
                             "--build-id", str(platform["build"]), "--launch-measure-blob", measured))  # fmt: skip
        return measured

    def secret(self, name: str, measured: str, key: Path) -> subprocess.CompletedProcess[str]:
        self.good(self.owner("secret", "build", "--tik", f"{name}_tik.bin", "--tek", f"{name}_tek.bin", "--launch-measure-blob", measured,
                             "--file", f"secret.key:{key}", "--force", "header", "payload"))  # fmt: skip
        return self.operator("secret", GUEST, "--header", "header", "--data", "payload")


def test_the_owners_key_opens_the_volume_of_the_guest_that_was_measured_and_of_no_other(
    build: Path, image: Path, boot_sev: Boot
) -> None:
    key = build / "guest" / "locked" / "disk.key"
    with boot_sev(packing.bootable(image), name="locked", cpus=2, memory="3G", uart=[*COM1, *CONTROL_LINE]) as machine:
        machine.wait_for(r"^launch report: control")
        desk = Desk(machine)
        first = desk.launch(image, "first")
        assert f"{GUEST}| " not in machine.console.text

        # The key of another volume gets in, and opens nothing.
        other = machine.folder / "other.key"
        other.write_bytes(bytes(32))
        desk.good(desk.secret("first", first, other))
        desk.good(desk.operator("resume", GUEST))
        machine.wait_for(rf"^{GUEST}\| .*FAILED: /secret.key does not open the volume")
        machine.wait_for(rf"^ended {GUEST}: poweroff")

        # The packet of that launch is no use for the next: its measurement has another nonce.
        desk.good(desk.operator("launch", GUEST))
        second = desk.launch(image, "second")
        assert second != first
        replayed = desk.secret("first", first, key)
        assert replayed.returncode == 1 and "LAUNCH_SECRET" in replayed.stderr, replayed
        assert desk.operator("resume", GUEST).returncode == 1
        desk.good(desk.secret("second", second, key))
        desk.good(desk.operator("resume", GUEST))
        machine.wait_for(rf"^{GUEST}\| .*volume opened: the owner's files are here")
        machine.wait_for(rf"^{GUEST}\| .*self-check passed")
        machine.wait_for(rf"(?s)^ended {GUEST}: poweroff.*^ended {GUEST}: poweroff")
        text = machine.console.text
    assert {resources.verdict for resources in sayings.resources(text)} == {"all returned"}


def test_the_key_is_nowhere_in_what_is_packed(build: Path, image: Path) -> None:
    key = (build / "guest" / "locked" / "disk.key").read_bytes()
    initramfs = gzip.decompress((build / "guest" / "locked" / "initramfs.cpio.gz").read_bytes())
    assert b"volume.luks\0" in initramfs
    assert key not in initramfs and key not in image.read_bytes()
    assert b"the owner's files are here" not in initramfs
