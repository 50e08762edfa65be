# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A board's acceptance run with sevisorctl.py: every legacy command of the SEV API is executed, or named with its reason."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import machines
import markers
import owner_side
import packing
from emulator import Emulator
from machines import COM1, CONTROL_LINE, CONTROL_SOCKET, Boot

OPERATOR = packing.ROOT / "guest" / "sevisorctl.py"
pytestmark = pytest.mark.sev

PRIVATE = 0x200000  # where hello has its marker
# What neither run executes, and a word of the reason that the tool must give.
NOT_EXERCISED = {
    "RING_BUFFER": "one command at a time",
    "DECOMMISSION": "when a SEV guest ends", "DEACTIVATE": "when a SEV guest ends", "ACTIVATE_EX": "by ACTIVATE",
    "LAUNCH_UPDATE_VMSA": "SEV-ES", "LAUNCH_SECRET": "held", "SEND_FINISH": "gives the guest away",
    "RECEIVE_START": "another platform", "RECEIVE_UPDATE_DATA": "another platform", "RECEIVE_UPDATE_VMSA": "another platform",
    "RECEIVE_FINISH": "another platform",
}  # fmt: skip
# Of these, what hv has sent in between: the device's trace has it.
BY_THE_HYPERVISOR = {
    "DECOMMISSION",
    "DEACTIVATE",
    "ACTIVATE",
    "LAUNCH_START",
    "LAUNCH_UPDATE_DATA",
    "LAUNCH_MEASURE",
    "LAUNCH_FINISH",
}
CERTIFICATE = owner_side.CERT_SIZE


def drivers_commands() -> set[str]:
    return set(re.findall(r"\{ROW\((\w+)\)", (packing.ROOT / "psp" / "command.c").read_text()))


class Operator:
    def __init__(self, machine: Emulator) -> None:
        self.folder = machine.folder

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, OPERATOR, "--to", f"unix:{CONTROL_SOCKET}", "--timeout", "300", *words], cwd=self.folder,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
        )  # fmt: skip

    def good(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, (done.args, done.stdout, done.stderr)
        return done.stdout

    def exercise(self, *words: str) -> dict:
        found = json.loads(self.good("exercise", "--json", *words))
        print(json.dumps(found, indent=1))
        ran = {row["command"] for row in found["commands"]}
        assert ran | set(found["not-exercised"]) == drivers_commands() and not ran & set(found["not-exercised"])
        return found


def amd(build: Path, folder: Path) -> None:
    """What AMD's server has of the machine's chip."""
    done = subprocess.run(
        [build / "unit" / "firmware" / "sevfw-tool", "--nv", folder / "none.nv", "--chip-id", owner_side.CHIP_ID],
        input="kds\n", stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = {name: bytes.fromhex(data) for name, data in json.loads(done.stdout).items()}
    (folder / "cek.cert").write_bytes(found["cek"])
    (folder / "ask_ark.cert").write_bytes(found["ask"] + found["ark"])


def executed(machine: Emulator) -> dict[str, set[str]]:
    """By the device's own trace: commands with their statuses."""
    found: dict[str, set[str]] = {}
    for command in machines.trace(machine):
        found.setdefault(command.name, set()).add(command.status)
    return found


def test_every_legacy_command_is_exercised_or_named_with_its_reason(
    build: Path, pack: Callable[..., Path], boot_sev: Boot, folder: Path
) -> None:
    guests = [packing.control(), packing.hello("lab", "sev", "hold", policy=0)]
    with boot_sev(
        packing.bootable(pack("lab", guests)), name="lab", cpus=2, time_limit=1500, uart=[*COM1, *CONTROL_LINE]
    ) as machine:
        machine.wait_for(r"^launch report: control")
        machine.wait_for(r"^lab\| hello: holding")
        operator = Operator(machine)
        amd(build, machine.folder)
        status = json.loads(operator.good("firmware-status", "lab", "--json"))
        assert (status["policy"], status["state-name"]) == (0, "RUNNING") and status["asid"] > 0

        def two_pages() -> bytes:
            operator.good("dump", "lab", "--address", hex(PRIVATE), "--size", "8K", "-o", "memory")
            return (machine.folder / "memory").read_bytes()

        # With a guest, whose memory stays.
        before = two_pages()
        assert before.count(markers.private_marker("lab")) == 64
        first = operator.exercise(
            "--guest", "lab", "--address", hex(PRIVATE), "--ca", "ask_ark.cert", "--cek", "cek.cert", "--destructive"
        )
        assert "end lab first" in first["not-exercised"]["SHUTDOWN"]
        sent = {row["command"]: row["status"] for row in first["commands"]}
        for name in (
            "COPY",
            "DBG_DECRYPT",
            "DBG_ENCRYPT",
            "ATTESTATION",
            "SEND_START",
            "SEND_UPDATE_DATA",
            "SEND_CANCEL",
            "GUEST_STATUS",
        ):
            assert sent[name] == "SUCCESS (0x00): done", (name, sent[name])
        assert two_pages() == before
        refused = operator("firmware", "PEK_GEN")
        assert refused.returncode == 1 and "end lab first" in refused.stdout, refused

        # Without: everything else.
        operator.good("end", "lab", "--wait", "300")
        image, told = owner_side.make_image((1, 55, 99), machine.folder / "image")
        second = operator.exercise("--destructive", "--image", image.name)
        version = json.loads(operator.good("platform", "status", "--json"))
        assert (version["api"], version["build"], version["sev-ready"]) == ("1.55", 99, "yes")
        trace = executed(machine)
        ran = {row["command"] for found in (first, second) for row in found["commands"]}
        assert ran - {"ACTIVATE"} <= set(trace), ran - set(trace)
        assert ran | set(NOT_EXERCISED) == drivers_commands() and not ran & set(NOT_EXERCISED)
        for name, word in NOT_EXERCISED.items():
            assert word in first["not-exercised"][name], (name, first["not-exercised"][name])
        assert BY_THE_HYPERVISOR <= set(trace) and not (set(NOT_EXERCISED) - BY_THE_HYPERVISOR) & set(trace)

        # The state by file: INIT_EX with it is the same platform.
        def pek() -> bytes:
            operator.good("platform", "export", "-o", "chain")
            return (machine.folder / "chain").read_bytes()[CERTIFICATE : 2 * CERTIFICATE]

        operator.good("platform", "shutdown")
        assert operator("platform", "export", "-o", "chain").returncode == 1
        operator.good("platform", "init", "--blank")
        kept = pek()
        operator.good("platform", "state", "-o", "state")
        operator.good("platform", "shutdown")
        operator.good("platform", "init")
        assert pek() != kept
        operator.good("platform", "shutdown")
        operator.good("platform", "init", "--state", "state")
        assert pek() == kept
        operator.good("launch", "lab")
        machine.wait_for(r"(?s)^lab\| hello: holding.*^lab\| hello: holding")
        text = machine.console.text
    assert "fatal" not in text
