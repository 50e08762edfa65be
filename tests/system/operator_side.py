# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The operator's side of a machine whose control guest is at its second serial port, which is a socket; and what AMD's server has."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import owner_side
import packing
from emulator import Emulator
from machines import CONTROL_SOCKET

TOOL = packing.ROOT / "guest" / "sevisorctl.py"


@dataclass
class Amd:
    """What AMD's server has of the machine's chip."""

    folder: Path

    def words(self) -> list[object]:
        return ["--cek", self.folder / "cek", "--ca", self.folder / "ask_ark", "--root", self.folder / "ark"]


def ask_amd(build: Path, folder: Path) -> Amd:
    done = subprocess.run(
        [build / "unit" / "firmware" / "sevfw-tool", "--chip-id", owner_side.CHIP_ID],
        input="kds\n", stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = {
        name: bytes.fromhex(data) for name, data in json.loads(done.stdout).items() if name in ("ark", "ask", "cek")
    }
    (folder / "cek").write_bytes(found["cek"])
    (folder / "ark").write_bytes(found["ark"])
    (folder / "ask_ark").write_bytes(found["ask"] + found["ark"])
    return Amd(folder)


def ctl(
    machine: Emulator, *words: object, status: int = 0, time_limit: float = 900
) -> subprocess.CompletedProcess[str]:
    """sevisorctl, in the machine's folder."""
    done = subprocess.run(
        [sys.executable, TOOL, "--to", f"unix:{CONTROL_SOCKET}", "--timeout", "300", *map(str, words)], cwd=machine.folder,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=time_limit,
    )  # fmt: skip
    assert done.returncode == status, done
    return done
