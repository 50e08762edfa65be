# SPDX-License-Identifier: BSD-2-Clause-Patent
"""A debugger's hand on one CPU, by QEMU's gdb stub (GDB manual, appendix E: the Remote Serial Protocol)."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from emulator import option

RSP, RIP, RFLAGS = 7, 16, 17
WIDTH = {RSP: 8, RIP: 8, RFLAGS: 4}
PATIENCE = 30.0


def arguments(socket_path: Path) -> list[str]:
    """What QEMU is started with."""
    return ["-chardev", f"socket,id=debugger,path={option(socket_path)},server=on,wait=off", "-gdb", "chardev:debugger"]


class Debugger:
    """The machine stands still from the beginning of a `with` to its end."""

    def __init__(self, socket_path: Path, cpu: int) -> None:
        self._path = socket_path
        self._cpu = cpu

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(self._path))
        self._ask("?")
        assert self._ask(f"Hg{self._cpu + 1:x}") == "OK"  # QEMU's threads are CPUs, from 1
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        self._ask("D")  # detaches: all CPUs go on
        self._socket.close()

    def _ask(self, words: str) -> str:
        packet = f"${words}#{sum(words.encode()) & 0xFF:02x}".encode()
        self._socket.sendall(packet)
        answer = b""
        while not (b"$" in answer and b"#" in answer.partition(b"$")[2][:-2]):
            part = self._socket.recv(4096)
            assert part, "QEMU closed the debugger's connection"
            answer += part
        self._socket.sendall(b"+")
        return answer.partition(b"$")[2].partition(b"#")[0].decode()

    def run_to(self, place: int) -> bool:
        """All CPUs go on until one is about to execute what is at `place`; whether it is this one."""
        assert self._ask(f"Z0,{place:x},1") == "OK"
        stop = self._ask("c")
        assert self._ask(f"z0,{place:x},1") == "OK"
        who = re.search(r"thread:0*([0-9a-f]+);", stop)
        assert who, f"no CPU came to {place:x}: {stop}"
        self.stopped = int(who[1], 16) - 1  # the CPU that came there
        return self.stopped == self._cpu

    def on(self, cpu: int) -> Self:
        """What is read and written from now on is that CPU's."""
        assert self._ask(f"Hg{cpu + 1:x}") == "OK"
        self._cpu = cpu
        return self

    def step(self) -> None:
        """One instruction of this CPU; others may go on meanwhile."""
        assert self._ask(f"Hc{self._cpu + 1:x}") == "OK"
        self._ask("s")

    def read(self, register: int) -> int:
        return int.from_bytes(bytes.fromhex(self._ask(f"p{register:x}")), "little")

    def memory(self, place: int, size: int) -> bytes:
        return bytes.fromhex(self._ask(f"m{place:x},{size:x}"))

    def overwrite(self, place: int, data: bytes) -> None:
        assert self._ask(f"M{place:x},{len(data):x}:{data.hex()}") == "OK"

    def write(self, register: int, value: int) -> None:
        assert self._ask(f"P{register:x}={value.to_bytes(WIDTH[register], 'little').hex()}") == "OK"
