# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Debian's Linux judges the SEV machine: an independent reading of AMD's documents, in two versions.

Each kernel boots once, unmodified, with its own modules; `init` says what it did. What
the serial line showed is checked here, the certificates by python3-cryptography.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "unit" / "firmware")]

import initramfs
import kernels
import machines
import test_chain as chain
from emulator import Emulator
from launch_program import LaunchProgram

pytestmark = pytest.mark.referee

TIME_LIMIT = 400
API = (1, 55, 21)   # the machine's default
NO_SESSION_TIK = bytes(16)


@dataclass
class Host:
    """What one Linux said and did on the machine."""

    text: str
    program: LaunchProgram
    commands: list[dict]
    counters: dict[str, int]

    def blob(self, name: str) -> bytes:
        found = re.search(rf"^devsev: blob {re.escape(name)} ([0-9a-f]*)$", self.text, re.MULTILINE)
        assert found, f"no blob {name}"
        return bytes.fromhex(found.group(1))

    def certs(self, suffix: str = "") -> dict[str, bytes]:
        exported = self.blob(f"chain{suffix}")
        names = ("pek", "oca", "cek")
        return {"pdh": self.blob(f"pdh{suffix}")} | {n: exported[i * 2084 : (i + 1) * 2084] for i, n in enumerate(names)}

    def calls(self) -> dict[str, str]:
        """The first answer of each devsev call."""
        found: dict[str, str] = {}
        for name, answer in re.findall(r"^devsev: (\S+) (ret=.*)$", self.text, re.MULTILINE):
            found.setdefault(name, answer)
        return found


def boot(kernel_tree: Path, files: dict[str, Path], folder: Path) -> tuple[str, list[dict], dict[str, int]]:
    """The kernel's EFI stub, started by OVMF's shell from a FAT file system."""
    initrd, disk, start = folder / "initrd", folder / "esp.img", folder / "startup.nsh"
    initramfs.make(kernel_tree, files, initrd)
    kernel = next((kernel_tree / "boot").glob("vmlinuz-*"))
    start.write_text("\\vmlinuz.efi initrd=\\initrd console=ttyS0 mem_encrypt=on loglevel=4\r\n")
    with disk.open("wb") as file:
        file.truncate(kernel.stat().st_size + initrd.stat().st_size + (40 << 20) & ~0xFFFFF)
    subprocess.run(["mformat", "-i", disk, "-F", "::"], check=True)
    for source, name in ((kernel, "vmlinuz.efi"), (initrd, "initrd"), (start, "startup.nsh")):
        subprocess.run(["mcopy", "-i", disk, source, f"::/{name}"], check=True)
    arguments = machines.sev(folder, "3G")
    machine = Emulator(arguments, [disk], name="referee", folder=folder, time_limit=TIME_LIMIT, hopeless={})
    with machine:
        machine.wait_off()
        counters = machines.counters(machine)
        text = machine.console.text
    print(text, machine.words())
    trace = (folder / machines.TRACE).read_text().splitlines()
    return text, [json.loads(line) for line in trace], counters


@pytest.fixture(scope="module", params=["own", "next_release"], ids=["debian12", "debian13"])
def host(request: pytest.FixtureRequest, build: Path, make: Callable[..., str], tmp_path_factory) -> Host:
    make("referee-programs")
    make(os.environ.get("BUILD", ".build") + "/guest/guests.manifest")
    files = {f"bin/{name}": build / "referee" / name for name in ("devsev", "kvmabuse", "kvmrun")}
    files["guests.manifest"] = build / "guest" / "guests.manifest"
    tree = getattr(kernels, request.param)()
    text, commands, counters = boot(tree, files, tmp_path_factory.mktemp("referee"))
    return Host(text, LaunchProgram(build / "BOOTX64.EFI"), commands, counters)


# -- 1. Linux as a SEV host -----------------------------------------------------------------


def test_linux_uses_memory_encryption_for_itself(host: Host) -> None:
    assert "Memory Encryption Features active: AMD SME" in host.text


def test_ccp_binds_and_initialises_the_firmware(host: Host) -> None:
    assert re.search(r"ccp [0-9a-f:.]+: SEV API:1\.55 build:21$", host.text, re.MULTILINE)
    complaints = re.findall(r"^referee: log: .*ccp.*(?:error|timed out|failed).*$", host.text, re.MULTILINE)
    assert [line for line in complaints if "firmware: failed to load" not in line] == []  # no update files here


def test_kvm_finds_the_asid_range(host: Host) -> None:
    assert "SEV enabled (ASIDs 1 - 15)" in host.text


# -- 2. /dev/sev by hand ----------------------------------------------------------------------


def test_platform_ioctls_answer_as_documented(host: Host) -> None:
    calls = host.calls()
    assert calls["PLATFORM_STATUS"].startswith("ret=0 fw=0x0 api=1.55 build=21 state=1")
    assert calls["GET_ID2(0)"] == "ret=5 fw=0x4 length=64"
    assert calls["PDH_CERT_EXPORT(0)"] == "ret=5 fw=0x4 pdh=2084 chain=6252"
    assert calls["PEK_CSR(0)"] == "ret=5 fw=0x4 length=2084"
    for name in ("GET_ID2", "PDH_CERT_EXPORT", "PDH_GEN", "PEK_GEN", "PEK_CSR", "FACTORY_RESET"):
        assert calls[name].startswith("ret=0 fw=0x0"), name
    assert calls["UNKNOWN(99)"].startswith("ret=22")


@pytest.mark.parametrize("when", ["", "-after-pdh-gen", "-after-pek-gen", "-after-reset"])
def test_exported_chain_verifies(host: Host, when: str) -> None:
    certs = host.certs(when)
    for name, usage, algo in (
        ("cek", chain.CEK, chain.ECDSA_SHA256), ("oca", chain.OCA, chain.ECDSA_SHA256),
        ("pek", chain.PEK, chain.ECDSA_SHA256), ("pdh", chain.PDH, chain.ECDH_SHA256),
    ):  # fmt: skip
        chain.check_form(certs[name], usage, algo)
    chain.check_signed(certs["oca"], certs["oca"], chain.OCA)
    chain.check_signed(certs["pek"], certs["oca"], chain.OCA)
    chain.check_signed(certs["pek"], certs["cek"], chain.CEK)
    chain.check_signed(certs["pdh"], certs["pek"], chain.PEK)


def test_generations_change_what_they_should(host: Host) -> None:
    first, pdh_gen, pek_gen, reset = (host.certs(w) for w in ("", "-after-pdh-gen", "-after-pek-gen", "-after-reset"))
    assert pdh_gen["pdh"] != first["pdh"] and pdh_gen["pek"] == first["pek"]
    assert len({c["pek"] for c in (pdh_gen, pek_gen, reset)}) == 3
    assert len({c["oca"] for c in (pdh_gen, pek_gen, reset)}) == 3
    assert len({c["cek"] for c in (first, pdh_gen, pek_gen, reset)}) == 1
    csr, pek = host.blob("csr"), pek_gen["pek"]
    assert csr[: chain.SIGNED] == pek[: chain.SIGNED]
    assert csr[chain.SIGNED :] == 2 * (b"\x00\x10\x00\x00" + bytes(0x204))  # both slots empty


# -- 4. two readings, one result --------------------------------------------------------------


def measurements(text: str) -> list[tuple[bytes, bytes]]:
    found = re.findall(r"^kvmrun: measurement ([0-9a-f]{64}) nonce ([0-9a-f]{32})$", text, re.MULTILINE)
    return [(bytes.fromhex(measure), bytes.fromhex(nonce)) for measure, nonce in found]


@pytest.mark.parametrize("index, name", [(0, "hello"), (1, "linux")])
def test_kvm_measures_what_the_packer_told(host: Host, index: int, name: str) -> None:
    measure, nonce = measurements(host.text)[index]
    assert measure == host.program.measurement(name, NO_SESSION_TIK, API, nonce)


def test_kvm_runs_a_guest_from_sevisors_manifest(host: Host) -> None:
    assert "hello: SEV active (SEV_STATUS 0x1, C-bit 51)" in host.text
    assert "hello: tick 3" in host.text
    assert "kvmrun: powered off" in host.text


def test_kvm_and_sevisor_ask_the_firmware_for_the_same(host: Host) -> None:
    """hello's launch by KVM, the last but one in the trace: the same commands that hv/ sends, in its order."""
    names = [command["command"] for command in host.commands if command["status"] == "SUCCESS"]
    starts = [i for i, name in enumerate(names) if name == "LAUNCH_START"]
    launch = names[starts[-2] : starts[-1]]
    life = [name for name in launch if name.startswith("LAUNCH") or name == "ACTIVATE"]
    # KVM's guest memory is scattered: one command per physically contiguous run. hv's is one extent.
    updates = life.count("LAUNCH_UPDATE_DATA")
    assert updates >= len(host.program.guests["hello"].steps)
    assert life == ["LAUNCH_START", "ACTIVATE", *["LAUNCH_UPDATE_DATA"] * updates, "LAUNCH_MEASURE", "LAUNCH_FINISH"]
    assert [name for name in launch if name in ("DEACTIVATE", "DECOMMISSION")] == ["DEACTIVATE", "DECOMMISSION"]


# -- 5. hostile use -----------------------------------------------------------------------------


def test_commands_out_of_order_get_the_documented_statuses(host: Host) -> None:
    found = re.search(r"^kvmabuse: (\d+) calls, (\d+) misses$", host.text, re.MULTILINE)
    assert found, "kvmabuse did not come to its end"
    misses = re.findall(r"^kvmabuse: MISS .*$", host.text, re.MULTILINE)
    assert misses == [] and int(found.group(1)) >= 25 and found.group(2) == "0"


def test_linux_comes_to_its_end(host: Host) -> None:
    assert "referee: done" in host.text
    assert len(measurements(host.text)) == 2
