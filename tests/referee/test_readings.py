# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Two readings, one result: KVM launches the guests of a Sevisor manifest, and gets what the packer told."""

from __future__ import annotations

import re
from pathlib import Path

import linux
import pytest
from launch_program import LaunchProgram

pytestmark = pytest.mark.referee

API = (1, 55, 21)   # the machine's default
NO_SESSION_TIK = bytes(16)

ERRAND = """
kvmrun /guests.manifest hello
kvmrun /guests.manifest linux --launch-only
"""


@pytest.fixture(scope="module")
def host(kernel: Path, programs: dict[str, Path], manifest: Path, tmp_path_factory) -> linux.Host:
    return linux.boot(kernel, programs | {"guests.manifest": manifest}, ERRAND, tmp_path_factory.mktemp("readings"))


@pytest.fixture(scope="module")
def program(build: Path) -> LaunchProgram:
    return LaunchProgram(build / "BOOTX64.EFI")


def measurements(text: str) -> list[tuple[bytes, bytes]]:
    found = re.findall(r"^kvmrun: measurement ([0-9a-f]{64}) nonce ([0-9a-f]{32})$", text, re.MULTILINE)
    return [(bytes.fromhex(measure), bytes.fromhex(nonce)) for measure, nonce in found]


@pytest.mark.parametrize("index, name", [(0, "hello"), (1, "linux")])
def test_kvm_measures_what_the_packer_told(host: linux.Host, program: LaunchProgram, index: int, name: str) -> None:
    measure, nonce = measurements(host.text)[index]
    assert measure == program.measurement(name, NO_SESSION_TIK, API, nonce)


def test_kvm_runs_a_guest_from_sevisors_manifest(host: linux.Host) -> None:
    assert "hello: SEV active (SEV_STATUS 0x1, C-bit 51)" in host.text
    assert "hello: tick 3" in host.text
    assert "kvmrun: powered off" in host.text


def test_kvm_and_sevisor_ask_the_firmware_for_the_same(host: linux.Host, program: LaunchProgram) -> None:
    """hello's launch by KVM, the last but one in the trace: the same commands that hv/ sends, in its order."""
    names = [command["command"] for command in host.commands if command["status"] == "SUCCESS"]
    starts = [i for i, name in enumerate(names) if name == "LAUNCH_START"]
    launch = names[starts[-2] : starts[-1]]
    life = [name for name in launch if name.startswith("LAUNCH") or name == "ACTIVATE"]
    # KVM's guest memory is scattered: one command per physically contiguous run. hv's is one extent.
    updates = life.count("LAUNCH_UPDATE_DATA")
    assert updates >= len(program.guests["hello"].steps)
    assert life == ["LAUNCH_START", "ACTIVATE", *["LAUNCH_UPDATE_DATA"] * updates, "LAUNCH_MEASURE", "LAUNCH_FINISH"]
    assert [name for name in launch if name in ("DEACTIVATE", "DECOMMISSION")] == ["DEACTIVATE", "DECOMMISSION"]
