# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The firmware model as a Python object: sevfw-tool, which has a RAM of its own."""

from __future__ import annotations

import json
import struct
import subprocess

CERT = 2084
AT_COMMAND, AT_A, AT_B, AT_C, AT_GUEST = 0x1000, 0x10000, 0x20000, 0x30000, 0x100000


class Firmware:
    """sevfw-tool, a line at a time."""

    def __init__(self, program: str, *options: str) -> None:
        self.process = subprocess.Popen([program, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line: str) -> dict:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def write(self, at: int, data: bytes) -> None:
        self.ask(f"write {at:#x} {data.hex()}")

    def read(self, at: int, length: int) -> bytes:
        return bytes.fromhex(self.ask(f"read {at:#x} {length}")["data"])

    def command(self, name: str, buffer: bytes = b"\0", expect: str = "SUCCESS") -> bytes:
        self.write(AT_COMMAND, buffer)
        assert self.ask(f"command {name} {AT_COMMAND:#x}")["status"] == expect
        return self.read(AT_COMMAND, len(buffer))

    def bring_up(self) -> None:
        self.command("INIT", bytes(0x14))
        self.ask("wbinvd")
        self.command("DF_FLUSH")

    def export(self) -> dict[str, bytes]:
        self.command("PDH_CERT_EXPORT", struct.pack("<QIIQI", AT_A, CERT, 0, AT_B, 3 * CERT))
        chain = self.read(AT_B, 3 * CERT)
        names = ("pek", "oca", "cek")
        return {"pdh": self.read(AT_A, CERT)} | {n: chain[i * CERT : (i + 1) * CERT] for i, n in enumerate(names)}

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(timeout=10) == 0
